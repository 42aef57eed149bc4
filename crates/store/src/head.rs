//! The head of a record: what functions of Redis and lists look at without reading the user.
//!
//! Text of fixed length: layout, version, write id, hash of the public identities, summary. The envelope follows.

use crate::record::{self, Header};
use crate::{Error, Fence, Write};
use scscf::user::Summary;
use scscf::view::RegistrationState;
use scscf::{Impu, User};
use std::fmt::Write as _;

/// Octets of a head.
pub(crate) const LENGTH: usize = 64;
/// The hash of no identities.
pub(crate) const NOBODY: &str = "0000000000000000";

/// What a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) version: u64,
    pub(crate) write_id: u64,
    /// Hash of the public identities, 0 for none.
    pub(crate) identities: u64,
    pub(crate) summary: Summary,
}

impl Head {
    fn of(user: &User, version: u64, write_id: u64, impus: &[Impu]) -> Self {
        Self { version, write_id, identities: hash(impus), summary: user.summary() }
    }

    /// Writes it before the envelope.
    fn before(&self, envelope: &[u8]) -> Box<[u8]> {
        let mut text = String::with_capacity(LENGTH + envelope.len());
        let Summary { state, bindings, subscriptions, sessions, reauthentication } = self.summary;
        let state = match state {
            RegistrationState::NotRegistered => 'n',
            RegistrationState::UnregisteredServices => 'u',
            RegistrationState::Registered => 'r',
        };
        let number = |count: usize| count.min(0xffff);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "1{:016x}{:016x}{:016x}{state}{:04x}{:04x}{:04x}{}-",
            self.version,
            self.write_id,
            self.identities,
            number(bindings),
            number(subscriptions),
            number(sessions),
            if reauthentication { 'y' } else { 'n' },
        );
        debug_assert_eq!(text.len(), LENGTH);
        let mut octets = text.into_bytes();
        octets.extend_from_slice(envelope);
        octets.into_boxed_slice()
    }

    /// Reads the head of a record.
    pub(crate) fn read(record: &[u8]) -> Result<Self, Error> {
        let corrupt = |what: &str| Error::Corrupt(format!("its head has no {what}").into());
        let head = record.get(..LENGTH).ok_or_else(|| corrupt("64 octets"))?;
        let text = std::str::from_utf8(head).map_err(|_| corrupt("plain text"))?;
        if !text.starts_with('1') {
            return Err(corrupt("layout 1"));
        }
        let hex = |from: usize, to: usize, what| {
            text.get(from..to).and_then(|hex| u64::from_str_radix(hex, 16).ok()).ok_or_else(|| corrupt(what))
        };
        let count = |from: usize, what| {
            hex(from, from + 4, what).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
        };
        let state = match head[49] {
            b'n' => RegistrationState::NotRegistered,
            b'u' => RegistrationState::UnregisteredServices,
            b'r' => RegistrationState::Registered,
            _ => return Err(corrupt("state")),
        };
        Ok(Self {
            version: hex(1, 17, "version")?,
            write_id: hex(17, 33, "write id")?,
            identities: hex(33, 49, "hash of identities")?,
            summary: Summary {
                state,
                bindings: count(50, "number of bindings")?,
                subscriptions: count(54, "number of subscriptions")?,
                sessions: count(58, "number of sessions")?,
                reauthentication: head[62] == b'y',
            },
        })
    }
}

/// Reads a record that begins with its head.
pub(crate) fn read(record: &[u8]) -> Result<(Head, User), Error> {
    let head = Head::read(record)?;
    Ok((head, record::decode(&record[LENGTH..])?))
}

/// A user as it is written, and its public identities.
pub(crate) struct Written {
    pub(crate) record: Box<[u8]>,
    pub(crate) impus: Box<[Impu]>,
}

/// Writes a user with its head.
pub(crate) fn write(write: Write<'_>, fence: &Fence) -> Result<Written, Error> {
    let Write { user, version, write_id } = write;
    let impus = identities(user);
    let envelope = record::encode(user, &Header { version, write_id }, fence)?;
    let record = Head::of(user, version, write_id, &impus).before(&envelope);
    Ok(Written { record, impus })
}

/// The same on every node and in every release: FNV-1a, finished by SplitMix64. `impus` are in order.
fn hash(impus: &[Impu]) -> u64 {
    if impus.is_empty() {
        return 0;
    }
    let octets = impus.iter().flat_map(|impu| impu.as_str().bytes().chain([b'\n']));
    let mut hash = octets.fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash ^ (hash >> 31)).max(1)
}

/// The public identities of a user in order, each once.
pub(crate) fn identities(user: &User) -> Box<[Impu]> {
    let mut impus: Vec<Impu> = user.impus().cloned().collect();
    impus.sort_unstable();
    impus.dedup();
    impus.into_boxed_slice()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::contract::user;

    #[test]
    fn a_head_reads_back_as_it_was_written() {
        let user = user("a@a", &["sip:a@a", "tel:+15550001"], 5);
        let head = Head::of(&user, 0xfeed, u64::MAX, &identities(&user));
        let record = head.before(b"envelope");
        assert_eq!(Head::read(&record), Ok(head));
        assert_eq!(&record[LENGTH..], b"envelope");
    }

    #[test]
    fn identities_have_the_same_hash_for_ever() {
        let impus: Vec<_> = ["sip:a@a", "tel:+15550001"].map(|text| Impu::parse(text).unwrap()).into();
        assert_eq!(hash(&[]), 0);
        assert_eq!(hash(&impus), 2_011_664_157_638_333_760);
    }

    #[test]
    fn what_is_no_head_is_corrupt() {
        let user = user("a@a", &[], 5);
        let record = Head::of(&user, 1, 2, &[]).before(b"");
        for cut in 0..LENGTH {
            assert!(matches!(Head::read(&record[..cut]), Err(Error::Corrupt(_))), "{cut}");
        }
        for at in (0..62).filter(|at| *at != 61) {
            let mut other = record.clone();
            other[at] = b'?';
            assert!(matches!(Head::read(&other), Err(Error::Corrupt(_))), "{at}");
        }
    }
}
