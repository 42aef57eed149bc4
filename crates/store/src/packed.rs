//! How the octets of a user are made small: LZ4 with a dictionary.
//!
//! Users are alike: most of a record are names of fields, and most of the rest is said several times. The dictionary is a user who
//! has one of everything. It belongs to the schema of records: another one needs another number.

use crate::Error;
use lz4_flex::block::{compress_with_dict, decompress_with_dict};

/// A user with two identities, filter criteria, a contact, a registration at an application server, a subscription, a call and a
/// re-authentication under way.
const DICTIONARY: &[u8] = include_bytes!("fixtures/dictionary_2.msgpack");
/// Octets of the largest user that is unpacked: what says more of itself is no record.
const LARGEST: u32 = 16 << 20;

/// Packs octets.
pub(crate) fn pack(octets: &[u8]) -> Vec<u8> {
    compress_with_dict(octets, DICTIONARY)
}

/// Unpacks octets that were so many.
///
/// # Errors
/// [`Error::Corrupt`] if they are not what [`pack`] gave.
pub(crate) fn unpack(packed: &[u8], size: u32) -> Result<Vec<u8>, Error> {
    let corrupt = |what: String| Error::Corrupt(what.into());
    if size > LARGEST {
        return Err(corrupt(format!("a user of {size} octets; at most {LARGEST} are unpacked")));
    }
    let octets = decompress_with_dict(packed, size as usize, DICTIONARY);
    let octets = octets.map_err(|error| corrupt(format!("a user that cannot be unpacked: {error}")))?;
    if octets.len() == size as usize {
        return Ok(octets);
    }
    Err(corrupt(format!("a user of {} octets that should have {size}", octets.len())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_dictionary_of_a_schema_is_the_same_for_ever() {
        let hash = DICTIONARY.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
            (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        assert_eq!((DICTIONARY.len(), hash), (6_032, 16_669_364_323_024_091_785));
    }

    #[test]
    fn a_size_that_is_not_theirs_is_refused() {
        let packed = pack(b"registered, registered, registered");
        for size in [0, 1, 33, 35, 1_000, u32::MAX] {
            assert!(matches!(unpack(&packed, size), Err(Error::Corrupt(_))), "{size}");
        }
    }

    proptest! {
        #[test]
        fn octets_come_back(octets in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            prop_assert_eq!(unpack(&pack(&octets), octets.len() as u32).unwrap(), octets);
        }

        #[test]
        fn octets_that_nobody_packed_do_no_harm(octets in proptest::collection::vec(any::<u8>(), 0..200), size in 0_u32..100_000) {
            let _ = unpack(&octets, size);
        }
    }
}
