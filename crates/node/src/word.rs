//! What nodes say to each other: messages for users of another node, and the answers to them.
//!
//! A message crosses as the octets it arrived in. Whoever took it keeps its transaction under a number; the answer names that
//! number. Words are MessagePack; a release understands those of the one before.

use bytes::Bytes;
use scscf::cx::DemandAnswer;
use scscf::{Impi, SharedContact, Told};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use store::ShardId;

/// One word.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// A SIP request for a user of yours.
    Request { number: u64, impi: Impi, octets: Bytes, address: IpAddr, trusted: bool },
    /// An ACK to a 2xx for a user of yours.
    Ack { impi: Impi, octets: Bytes, address: IpAddr, trusted: bool },
    /// The INVITE of this number shall end.
    Cancel { number: u64, impi: Impi, reason: Option<Box<str>> },
    /// A Diameter request that concerns a user of yours.
    Demand { number: u64, impi: Impi, octets: Bytes },
    /// An operator wants something of a user of yours.
    Wish { number: u64, impi: Impi, wish: Wish },
    /// The contacts of one user, for another who shares public identities with it.
    Sibling { impi: Impi, from: Impi, contacts: Vec<SharedContact> },

    /// A response to the request of this number.
    Response { number: u64, octets: Bytes },
    /// A 2xx to the INVITE of this number came once more, by this client transaction of ours.
    Again { number: u64, client: u64, octets: Bytes },
    /// That 2xx has not been sent before: it is of another far end.
    NotAgain { client: u64, octets: Bytes },
    /// The user's answer to the Diameter request of this number.
    DemandAnswer { number: u64, answer: DemandAnswer },
    /// How the user took the wish of this number.
    Told { number: u64, told: Told },
    /// What has this number was not taken; the user is another node's, or cannot be reached.
    Declined { number: u64, elsewhere: bool },

    /// A shard that is handed over to you: these of its users are busy, and stay until they are not.
    Lend { shard: ShardId, users: Vec<Impi> },
    /// So be it.
    Borrowed { shard: ShardId },
    /// A user on loan changed: save it, or erase it.
    Keep { number: u64, impi: Impi, keep: Option<Keep> },
    /// It is saved; or it is not, since the shard has another owner (`true`) or for want of the store.
    Kept { number: u64, refused: Option<bool> },
    /// A user on loan comes home.
    Returned { impi: Impi },

    /// What somebody wants to see.
    Show { number: u64, show: Show },
    /// What is to be seen, as JSON; `None` if there is nothing.
    Shown { number: u64, json: Option<Box<str>> },
    /// One more observation for the watcher of this number; `None`: there are no more.
    Observed { number: u64, json: Option<Box<str>> },
    /// The watcher of this number has gone.
    Unwatch { number: u64 },

    /// The table of owners changed.
    Changed,
    /// Give your shards away.
    Drain,
}

/// A user as it is to be saved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Keep {
    /// As MessagePack with named fields.
    pub(crate) user: Bytes,
    /// Of the record.
    pub(crate) version: u64,
    /// Of this write.
    pub(crate) write_id: u64,
}

/// What an operator wants of a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// It shall authenticate again, within so many milliseconds if that is given.
    Reauthenticate { period: Option<u64>, reason: Option<Box<str>> },
    /// Its registration shall end.
    Deregister { reason: Box<str> },
}

/// What an operator wants to see.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Show {
    /// A user.
    User(Impi),
    /// A user, and all that happens to it.
    Watch(Impi),
}

impl Word {
    /// As it crosses.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // A vector takes whatever is written, and a word has nothing that MessagePack cannot say.
        rmp_serde::to_vec(self).unwrap_or_default()
    }

    /// What has crossed.
    pub(crate) fn decode(octets: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        rmp_serde::from_slice(octets)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use scscf::cx::ResultCode;

    #[test]
    fn a_word_reads_back_as_it_was_said() {
        let impi = Impi::new("alice@ims.example").unwrap();
        let words = [
            Word::Request {
                number: 7,
                impi: impi.clone(),
                octets: Bytes::from_static(b"OPTIONS sip:a SIP/2.0\r\n\xff\0"),
                address: IpAddr::from([192, 0, 2, 1]),
                trusted: true,
            },
            Word::DemandAnswer { number: 1 << 47, answer: DemandAnswer::of(ResultCode::SUCCESS) },
            Word::Told { number: 1, told: Told::Deregistering },
            Word::Wish { number: 2, impi, wish: Wish::Reauthenticate { period: Some(60_000), reason: None } },
            Word::Changed,
        ];
        for word in words {
            let said = word.encode();
            assert_eq!(format!("{:?}", Word::decode(&said).unwrap()), format!("{word:?}"));
            for length in 0..said.len() {
                assert!(Word::decode(&said[..length]).is_err(), "{length} octets of {word:?}");
            }
        }
    }
}
