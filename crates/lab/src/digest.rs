//! RFC 3310 §3.3, RFC 2617 §3.2.2 — the digest of an answer, on the side of who answers.

use md5::{Digest, Md5};
use std::fmt::Write;

/// What a response is computed from.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// Private user identity.
    pub username: &'a str,
    /// Realm of the challenge.
    pub realm: &'a str,
    /// The password; with AKA the octets of RES, or none for a resynchronisation.
    pub password: &'a [u8],
}

/// What is answered.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// SIP method.
    pub method: &'a str,
    /// Digest-URI.
    pub uri: &'a str,
    /// Nonce of the challenge, as text.
    pub nonce: &'a str,
    /// Nonce count and client nonce, for qop=auth; without: the older form.
    pub auth: Option<(u32, &'a str)>,
}

/// Thirty-two lower-case hexadecimal digits.
pub type Hex = [u8; 32];

/// The `response` parameter.
pub fn response(credentials: Credentials<'_>, exchange: Exchange<'_>) -> Hex {
    response_of(&ha1(credentials), exchange)
}

/// HA1.
pub fn ha1(credentials: Credentials<'_>) -> Hex {
    let Credentials { username, realm, password } = credentials;
    md5_hex(&[username.as_bytes(), b":", realm.as_bytes(), b":", password])
}

/// The `response` parameter for an HA1.
pub fn response_of(ha1: &Hex, exchange: Exchange<'_>) -> Hex {
    let Exchange { method, uri, nonce, auth } = exchange;
    let ha2 = md5_hex(&[method.as_bytes(), b":", uri.as_bytes()]);
    match auth {
        Some((count, cnonce)) => {
            let mut middle = String::with_capacity(16 + cnonce.len());
            let _ = write!(middle, ":{count:08x}:{cnonce}:auth:");
            md5_hex(&[ha1, b":", nonce.as_bytes(), middle.as_bytes(), &ha2])
        }
        None => md5_hex(&[ha1, b":", nonce.as_bytes(), b":", &ha2]),
    }
}

fn md5_hex(parts: &[&[u8]]) -> Hex {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    let mut hex = [0; 32];
    for (pair, octet) in hex.chunks_exact_mut(2).zip(hash.finalize()) {
        pair[0] = DIGITS[usize::from(octet >> 4)];
        pair[1] = DIGITS[usize::from(octet & 15)];
    }
    hex
}

/// Such digits as text.
pub fn text(hex: &Hex) -> &str {
    std::str::from_utf8(hex).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const USER: &str = "001010000000001@ims.mnc001.mcc001.3gppnetwork.org";
    const REALM: &str = "ims.mnc001.mcc001.3gppnetwork.org";
    const URI: &str = "sip:ims.mnc001.mcc001.3gppnetwork.org";
    const NONCE: &str = "I1U8vpY3qJ0hiuZNrke/NVXzKLQ1d7m5Sp/6w1Tfr7M=";
    const RES: [u8; 8] = [0xa5, 0x42, 0x11, 0xd5, 0xe3, 0xba, 0x50, 0xbf];

    fn of(password: &[u8], nonce: &str, auth: Option<(u32, &str)>) -> String {
        let credentials = Credentials { username: USER, realm: REALM, password };
        text(&response(credentials, Exchange { method: "REGISTER", uri: URI, nonce, auth })).to_owned()
    }

    #[test]
    fn cf_04_aka_answers_with_the_octets_of_res() {
        let auth = Some((1, "0a4f113b"));
        assert_eq!(
            text(&ha1(Credentials { username: USER, realm: REALM, password: &RES })),
            "da00069eb0de6587da7e09ef503c29db"
        );
        assert_eq!(of(&RES, NONCE, auth), "402ab8df9f3a4d63a9f47c2f90e02938");
        assert_eq!(of(&RES, NONCE, None), "1125a3c2e293453f07e08957ff235efc");
        assert_ne!(of(b"a54211d5e3ba50bf", NONCE, auth), "402ab8df9f3a4d63a9f47c2f90e02938");
    }

    #[test]
    fn a_resynchronisation_answers_with_no_password() {
        assert_eq!(of(b"", NONCE, Some((1, "0a4f113b"))), "da492ad7b08bb89514f214f8c2fdb82b");
    }

    #[test]
    fn sip_digest() {
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c0";
        assert_eq!(of(b"secret", nonce, Some((1, "0a4f113b"))), "108ba03a2aab86a3a2336036308da1af");
    }
}
