//! How a user is written: MessagePack with named fields, in an envelope that says which schema, version and write it is.
//!
//! Named fields let a release add what an older record lacks. A reader accepts the current schema and the one before.

use crate::Error;
use cluster::Fence;
use scscf::User;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// The schema this release writes.
pub const SCHEMA: u16 = 1;
/// The oldest schema it reads.
const OLDEST: u16 = 1;

#[derive(Serialize, Deserialize)]
struct Envelope<U> {
    schema: u16,
    version: u64,
    write_id: u64,
    fence: Box<str>,
    user: U,
}

/// What stands around the user in a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u64,
    pub(crate) write_id: u64,
}

pub(crate) fn encode(user: &User, header: &Header, fence: &Fence) -> Result<Box<[u8]>, Error> {
    let envelope = Envelope {
        schema: SCHEMA,
        version: header.version,
        write_id: header.write_id,
        fence: fence.to_string().into(),
        user,
    };
    rmp_serde::to_vec_named(&envelope).map(Vec::into_boxed_slice).map_err(corrupt)
}

pub(crate) fn header(record: &[u8]) -> Result<Header, Error> {
    let envelope: Envelope<IgnoredAny> = rmp_serde::from_slice(record).map_err(corrupt)?;
    check(envelope.schema)?;
    Ok(Header { version: envelope.version, write_id: envelope.write_id })
}

pub(crate) fn decode(record: &[u8]) -> Result<User, Error> {
    match rmp_serde::from_slice::<Envelope<User>>(record) {
        Ok(envelope) => check(envelope.schema).map(|()| envelope.user),
        // A user of another schema may not be readable: the number says more than what was missed first.
        Err(error) => header(record).and(Err(corrupt(error))),
    }
}

fn check(schema: u16) -> Result<(), Error> {
    if (OLDEST..=SCHEMA).contains(&schema) {
        return Ok(());
    }
    Err(Error::Corrupt(format!("schema {schema}, and {OLDEST} to {SCHEMA} can be read").into()))
}

fn corrupt(error: impl std::fmt::Display) -> Error {
    Error::Corrupt(error.to_string().into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use scscf::Impi;

    fn fence() -> Fence {
        Fence { epoch: 1, node: "n1".into(), incarnation: 2 }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let user = User::new(Impi::new("alice@ims.example").unwrap());
        let record = encode(&user, &Header { version: 3, write_id: 9 }, &fence()).unwrap();
        assert_eq!(header(&record).unwrap(), Header { version: 3, write_id: 9 });
        assert_eq!(decode(&record).unwrap(), user);
    }

    /// A registered user with a subscription and a call, as the first release of this schema wrote it. A release that cannot read it
    /// needs another schema, and reads this one too.
    const WRITTEN: &[u8] = include_bytes!("fixtures/record_1.msgpack");

    #[test]
    fn a_record_that_was_written_once_is_read_for_ever() {
        let user = decode(WRITTEN).unwrap();
        assert_eq!(user.impi().as_str(), "alice@ims.mnc001.mcc001.3gppnetwork.org");
        let summary = user.summary();
        assert_eq!((summary.bindings, summary.subscriptions, summary.sessions), (1, 1, 1));
        assert_eq!(user.impus().count(), 2);
        let again = encode(&user, &header(WRITTEN).unwrap(), &fence()).unwrap();
        assert_eq!(decode(&again).unwrap(), user);
    }

    #[test]
    fn a_record_of_a_later_schema_is_refused_by_its_number() {
        let later = Envelope {
            schema: SCHEMA + 1,
            version: 1,
            write_id: 1,
            fence: "1:n1:0".into(),
            user: "written by a later release",
        };
        let error = decode(&rmp_serde::to_vec_named(&later).unwrap()).unwrap_err();
        assert_eq!(error, Error::Corrupt("schema 2, and 1 to 1 can be read".into()));
    }

    #[test]
    fn octets_that_are_no_record_are_corrupt() {
        for octets in [&b""[..], b"\xc1", b"\x81\xa6schema\x01", &[0xff; 64]] {
            assert!(matches!(decode(octets), Err(Error::Corrupt(_))), "{octets:?}");
        }
    }

    #[test]
    fn a_cut_record_is_corrupt_and_not_a_panic() {
        let user = User::new(Impi::new("alice@ims.example").unwrap());
        let record = encode(&user, &Header { version: 1, write_id: 1 }, &fence()).unwrap();
        for length in 0..record.len() {
            assert!(matches!(decode(&record[..length]), Err(Error::Corrupt(_))), "{length}");
        }
    }

    #[test]
    fn a_field_of_the_future_is_passed_over() {
        #[derive(Serialize)]
        struct Future<'a> {
            schema: u16,
            version: u64,
            write_id: u64,
            fence: &'a str,
            region: &'a str,
            user: &'a User,
        }
        let user = User::new(Impi::new("alice@ims.example").unwrap());
        let future =
            Future { schema: SCHEMA, version: 1, write_id: 1, fence: "1:n:0", region: "north", user: &user };
        assert_eq!(decode(&rmp_serde::to_vec_named(&future).unwrap()).unwrap(), user);
    }
}
