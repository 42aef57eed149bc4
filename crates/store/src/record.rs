//! How a user is written: MessagePack with named fields, packed, in an envelope that says which schema, version and write it is.
//!
//! Named fields let a release add what an older record lacks; packed they take little room. A reader accepts the current schema
//! and the one before.

use crate::{Error, packed};
use cluster::Fence;
use scscf::User;
use serde::{Deserialize, Serialize, Serializer};

/// The schema this release writes.
pub const SCHEMA: u16 = 2;
/// The oldest schema it reads: users are not packed in it.
const OLDEST: u16 = 1;
/// Octets of most users before they are packed.
const USUAL: usize = 2_048;

#[derive(Serialize)]
struct Envelope<'a> {
    schema: u16,
    version: u64,
    write_id: u64,
    fence: &'a str,
    /// Octets of the user.
    size: u32,
    #[serde(serialize_with = "octets")]
    packed: &'a [u8],
}

/// What stands around the user in a record, in any schema.
#[derive(Deserialize)]
struct Outside {
    schema: u16,
}

/// The user in a record of this schema.
#[derive(Deserialize)]
struct Inside<'a> {
    size: u32,
    #[serde(borrow)]
    packed: &'a [u8],
}

/// The user in a record of the schema before.
#[derive(Deserialize)]
struct InsideFormer {
    user: User,
}

/// Which write a record is.
#[cfg_attr(test, derive(Debug, PartialEq, Eq, Deserialize))]
pub(crate) struct Header {
    pub(crate) version: u64,
    pub(crate) write_id: u64,
}

pub(crate) fn encode(user: &User, header: &Header, fence: &Fence) -> Result<Box<[u8]>, Error> {
    let mut plain = Vec::with_capacity(USUAL);
    rmp_serde::encode::write_named(&mut plain, user).map_err(corrupt)?;
    let envelope = Envelope {
        schema: SCHEMA,
        version: header.version,
        write_id: header.write_id,
        fence: &fence.to_string(),
        size: u32::try_from(plain.len()).map_err(corrupt)?,
        packed: &packed::pack(&plain),
    };
    rmp_serde::to_vec_named(&envelope).map(Vec::into_boxed_slice).map_err(corrupt)
}

pub(crate) fn decode(record: &[u8]) -> Result<User, Error> {
    if schema(record)? == OLDEST {
        let InsideFormer { user } = rmp_serde::from_slice(record).map_err(corrupt)?;
        return Ok(user);
    }
    let Inside { size, packed } = rmp_serde::from_slice(record).map_err(corrupt)?;
    rmp_serde::from_slice(&packed::unpack(packed, size)?).map_err(corrupt)
}

fn schema(record: &[u8]) -> Result<u16, Error> {
    let Outside { schema } = rmp_serde::from_slice(record).map_err(corrupt)?;
    if (OLDEST..=SCHEMA).contains(&schema) {
        return Ok(schema);
    }
    Err(Error::Corrupt(format!("schema {schema}, and {OLDEST} to {SCHEMA} can be read").into()))
}

fn octets<S: Serializer>(octets: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(octets)
}

fn corrupt(error: impl std::fmt::Display) -> Error {
    Error::Corrupt(error.to_string().into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use scscf::Impi;

    fn header(record: &[u8]) -> Result<Header, rmp_serde::decode::Error> {
        rmp_serde::from_slice(record)
    }

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

    /// A registered user with a subscription and a call, as the first release of each schema wrote it. A release that cannot read the
    /// last one needs another schema, and reads that one too.
    const WRITTEN: [&[u8]; 2] =
        [include_bytes!("fixtures/record_1.msgpack"), include_bytes!("fixtures/record_2.msgpack")];

    #[test]
    fn a_record_that_was_written_once_is_read_for_ever() {
        for written in WRITTEN {
            let user = decode(written).unwrap();
            assert_eq!(user.impi().as_str(), "alice@ims.mnc001.mcc001.3gppnetwork.org");
            let summary = user.summary();
            assert_eq!((summary.bindings, summary.subscriptions, summary.sessions), (1, 1, 1));
            assert_eq!(user.impus().count(), 2);
            let again = encode(&user, &header(written).unwrap(), &fence()).unwrap();
            assert_eq!(decode(&again).unwrap(), user);
        }
    }

    #[test]
    fn a_record_takes_less_than_half_of_what_is_in_it() {
        let user = crate::contract::user(
            "user1@ims.mnc001.mcc001.3gppnetwork.org",
            &["sip:user1@ims", "tel:+15551"],
            5,
        );
        let record = encode(&user, &Header { version: 1, write_id: u64::MAX }, &fence()).unwrap();
        let plain = rmp_serde::to_vec_named(&user).unwrap();
        assert!(record.len() * 2 < plain.len(), "{} of {}", record.len(), plain.len());
    }

    #[test]
    fn a_record_of_a_later_schema_is_refused_by_its_number() {
        #[derive(Serialize)]
        struct Later {
            schema: u16,
            version: u64,
            write_id: u64,
            user: &'static str,
        }
        let later = Later { schema: SCHEMA + 1, version: 1, write_id: 1, user: "written by a later release" };
        let error = decode(&rmp_serde::to_vec_named(&later).unwrap()).unwrap_err();
        assert_eq!(error, Error::Corrupt("schema 3, and 1 to 2 can be read".into()));
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
            region: &'a str,
            size: u32,
            #[serde(serialize_with = "octets")]
            packed: &'a [u8],
        }
        let user = User::new(Impi::new("alice@ims.example").unwrap());
        let plain = rmp_serde::to_vec_named(&user).unwrap();
        let (size, packed) = (plain.len() as u32, &packed::pack(&plain)[..]);
        let future = Future { schema: SCHEMA, version: 1, write_id: 1, region: "north", size, packed };
        assert_eq!(decode(&rmp_serde::to_vec_named(&future).unwrap()).unwrap(), user);
    }
}
