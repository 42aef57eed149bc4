//! What the lab provisions unless told otherwise: one domain, one key, alice and bob, and as many more as wanted.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// Home domain, TS 23.003 §13.2 for the test network 001-01.
pub const DOMAIN: &str = "ims.mnc001.mcc001.3gppnetwork.org";
/// K of every lab subscriber; printable, so that tools take it as it is.
pub const K: Octets<16> = Octets(*b"rollcall-lab-key");
/// OP of the lab.
pub const OP: Octets<16> = Octets(*b"rollcall-lab-op!");
/// AMF of the lab.
pub const AMF: Octets<2> = Octets(*b"BB");
/// Subscribers with names.
pub const NAMED: [&str; 2] = ["alice", "bob"];
/// How many subscribers can be generated.
pub const MOST_GENERATED: u32 = 9_999_999;

/// Name of the generated subscriber `number`, counted from 1: `user000001`.
pub fn generated_name(number: u32) -> String {
    format!("user{number:06}")
}

/// The number of the generated subscriber called `name`.
pub fn generated_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("user")?;
    let spelled = digits.len() == 6 || (digits.len() == 7 && !digits.starts_with('0'));
    if !spelled || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|number| *number > 0)
}

/// Telephone number of a subscriber as a tel URI; `None` for a name that is not the lab's own.
pub fn telephone(name: &str) -> Option<String> {
    if let Some(number) = generated_number(name) {
        return Some(format!("tel:+1556{number:07}"));
    }
    let position = NAMED.iter().position(|named| *named == name)?;
    Some(format!("tel:+1555{:07}", position + 1))
}

/// The generated subscriber whose telephone number this is.
pub fn generated_by_telephone(tel: &str) -> Option<u32> {
    let digits = tel.strip_prefix("tel:+1556")?;
    if digits.len() != 7 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|number| *number > 0)
}

/// A key or field of `N` octets, written as `N` characters or as `2 N` hexadecimal digits. Never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Octets<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Debug for Octets<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Octets(..)")
    }
}

/// A text that is no [`Octets`]; says what was expected, never what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {characters} characters or {} hexadecimal digits, got {length}", characters * 2)]
pub struct OctetsError {
    characters: usize,
    length: usize,
}

impl<const N: usize> FromStr for Octets<N> {
    type Err = OctetsError;

    fn from_str(text: &str) -> Result<Self, OctetsError> {
        let wrong = OctetsError { characters: N, length: text.len() };
        if let Ok(octets) = <[u8; N]>::try_from(text.as_bytes()) {
            return Ok(Self(octets));
        }
        let digits = text.as_bytes();
        if digits.len() != 2 * N {
            return Err(wrong);
        }
        let mut octets = [0; N];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong)?;
            if pair.starts_with('+') {
                return Err(wrong);
            }
            *octet = u8::from_str_radix(pair, 16).map_err(|_| wrong)?;
        }
        Ok(Self(octets))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Octets<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Writes the hexadecimal digits: a configuration file is where keys belong.
impl<const N: usize> Serialize for Octets<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.iter().map(|octet| format!("{octet:02x}")).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_are_read_as_characters_or_as_digits() {
        assert_eq!("rollcall-lab-key".parse::<Octets<16>>().unwrap(), K);
        assert_eq!("726f6c6c63616c6c2d6c61622d6b6579".parse::<Octets<16>>().unwrap(), K);
        assert_eq!("4242".parse::<Octets<2>>().unwrap(), AMF);
        let error = "short".parse::<Octets<16>>().unwrap_err();
        assert_eq!(error.to_string(), "expected 16 characters or 32 hexadecimal digits, got 5");
        assert!("zz".repeat(16).parse::<Octets<16>>().is_err());
    }

    #[test]
    fn keys_stay_out_of_sight() {
        assert_eq!(format!("{K:?}"), "Octets(..)");
    }

    #[test]
    fn generated_names_and_numbers_agree() {
        for number in [1, 999, 999_999, 1_000_000, MOST_GENERATED] {
            let name = generated_name(number);
            assert_eq!(generated_number(&name), Some(number));
            assert_eq!(generated_by_telephone(&telephone(&name).unwrap()), Some(number));
        }
        for name in ["user000000", "user1", "user0000001", "userabcdef", "alice"] {
            assert_eq!(generated_number(name), None, "{name}");
        }
        assert_eq!(telephone("bob").unwrap(), "tel:+15550000002");
    }
}
