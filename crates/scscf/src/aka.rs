//! RFC 3310, RFC 4169 — the arithmetic of IMS AKA over HTTP Digest, for both ends.

use crate::cx::{AuthenticationVector, Secret};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq;

/// Octets of RAND and AUTN in a nonce.
pub const NONCE_OCTETS: usize = 32;

/// What a digest response is computed from, beside the password.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// `username`
    pub username: &'a str,
    /// `realm`
    pub realm: &'a str,
    /// `nonce`, as sent.
    pub nonce: &'a str,
    /// The method of the request.
    pub method: &'a str,
    /// `uri`
    pub uri: &'a str,
    /// `nc`, `cnonce` and `qop`, if the answer has a qop.
    pub qop: Option<Qop<'a>>,
}

/// The parameters of an answer with quality of protection (RFC 2617 §3.2.2).
#[derive(Clone, Copy, Debug)]
pub struct Qop<'a> {
    /// `nc`
    pub nc: &'a str,
    /// `cnonce`
    pub cnonce: &'a str,
    /// `qop`
    pub qop: &'a str,
}

/// The nonce of a vector: base64 of RAND and AUTN (RFC 3310 §3.2).
pub fn nonce(vector: &AuthenticationVector) -> String {
    let mut octets = [0; NONCE_OCTETS];
    octets[..16].copy_from_slice(&vector.rand);
    octets[16..].copy_from_slice(&vector.autn);
    STANDARD.encode(octets)
}

/// RAND and AUTN of a nonce; `None` if it is none of AKA.
pub fn rand_and_autn(nonce: &str) -> Option<([u8; 16], [u8; 16])> {
    let octets = STANDARD.decode(nonce).ok()?;
    let (rand, rest) = octets.split_first_chunk::<16>()?;
    Some((*rand, *rest.first_chunk::<16>()?))
}

/// AUTS of an `auts` parameter; `None` unless it is base64 of 14 octets.
pub fn auts(parameter: &str) -> Option<[u8; 14]> {
    STANDARD.decode(parameter).ok()?.try_into().ok()
}

/// The `response` to `answer` with `password` (RFC 2617 §3.2.2.1), as 32 hexadecimal digits.
///
/// The password of AKAv1-MD5 is RES as raw octets (RFC 3310 §3.3); that of an answer with `auts` is empty (RFC 3310 §3.4).
pub fn response(password: &[u8], answer: &Answer<'_>) -> [u8; 32] {
    let ha1 = md5([answer.username.as_bytes(), b":", answer.realm.as_bytes(), b":", password]);
    let ha2 = md5([answer.method.as_bytes(), b":", answer.uri.as_bytes()]);
    let nonce = answer.nonce.as_bytes();
    match answer.qop {
        None => md5([&ha1[..], b":", nonce, b":", &ha2[..]]),
        Some(Qop { nc, cnonce, qop }) => md5([
            &ha1[..],
            b":",
            nonce,
            b":",
            nc.as_bytes(),
            b":",
            cnonce.as_bytes(),
            b":",
            qop.as_bytes(),
            b":",
            &ha2[..],
        ]),
    }
}

/// Whether `given` is the response to `answer` with `password`; takes the same time for every wrong one.
pub fn is_right(password: &[u8], answer: &Answer<'_>, given: &str) -> bool {
    let mut lower = [0_u8; 32];
    if given.len() != lower.len() {
        return false;
    }
    lower.copy_from_slice(given.as_bytes());
    lower.make_ascii_lowercase();
    response(password, answer).ct_eq(&lower).into()
}

/// The digest password of AKAv2-MD5 (RFC 4169 §3): base64 of a keyed hash over RES, IK and CK.
pub fn akav2_md5_password(res: &[u8], ik: &[u8], ck: &[u8]) -> Secret {
    let mut key = Vec::with_capacity(res.len() + ik.len() + ck.len());
    for part in [res, ik, ck] {
        key.extend_from_slice(part);
    }
    let Ok(mut mac) = <Hmac<Md5> as KeyInit>::new_from_slice(&key) else {
        return Secret::new(&[]);
    };
    mac.update(b"http-digest-akav2-password");
    Secret::new(STANDARD.encode(mac.finalize().into_bytes()).as_bytes())
}

/// Octets as lower-case hexadecimal digits, as `ck` and `ik` want them.
pub fn hex(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() * 2);
    for octet in octets {
        for digit in [octet >> 4, octet & 15] {
            text.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
    text
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn md5<const N: usize>(parts: [&[u8]; N]) -> [u8; 32] {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    let mut text = [0; 32];
    for (two, octet) in text.chunks_exact_mut(2).zip(hash.finalize()) {
        two[0] = DIGITS[usize::from(octet >> 4)];
        two[1] = DIGITS[usize::from(octet & 15)];
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const USERNAME: &str = "001010000000001@ims.mnc001.mcc001.3gppnetwork.org";
    const REALM: &str = "ims.mnc001.mcc001.3gppnetwork.org";
    const NONCE: &str = "I1U8vpY3qJ0hiuZNrke/NVXzKLQ1d7m5Sp/6w1Tfr7M=";
    const RES: [u8; 8] = [0xa5, 0x42, 0x11, 0xd5, 0xe3, 0xba, 0x50, 0xbf];
    const CK: u128 = 0xb40b_a9a3_c58b_2a05_bbf0_d987_b21b_f8cb;
    const IK: u128 = 0xf769_bcd7_5104_4604_1276_7271_1c6d_3441;

    fn answer(qop: bool) -> Answer<'static> {
        let qop = qop.then_some(Qop { nc: "00000001", cnonce: "0a4f113b", qop: "auth" });
        let uri = "sip:ims.mnc001.mcc001.3gppnetwork.org";
        Answer { username: USERNAME, realm: REALM, nonce: NONCE, method: "REGISTER", uri, qop }
    }

    #[test]
    fn the_nonce_of_set_1() {
        let vector = AuthenticationVector {
            rand: 0x2355_3cbe_9637_a89d_218a_e64d_ae47_bf35_u128.to_be_bytes(),
            autn: 0x55f3_28b4_3577_b9b9_4a9f_fac3_54df_afb3_u128.to_be_bytes(),
            xres: Secret::new(&RES),
            ck: Secret::new(&CK.to_be_bytes()),
            ik: Secret::new(&IK.to_be_bytes()),
        };
        assert_eq!(nonce(&vector), NONCE);
        assert_eq!(rand_and_autn(NONCE), Some((vector.rand, vector.autn)));
        assert_eq!(hex(vector.ck.reveal()), "b40ba9a3c58b2a05bbf0d987b21bf8cb");
    }

    #[test]
    fn cf_04_responses_of_set_1() {
        assert_eq!(&response(&RES, &answer(true)), b"402ab8df9f3a4d63a9f47c2f90e02938");
        assert_eq!(&response(&RES, &answer(false)), b"1125a3c2e293453f07e08957ff235efc");
        assert_eq!(&response(b"", &answer(true)), b"da492ad7b08bb89514f214f8c2fdb82b");
        assert!(is_right(&RES, &answer(true), "402AB8DF9F3A4D63A9F47C2F90E02938"));
        assert!(!is_right(&RES, &answer(true), "fdf3cf50a13e95188ad763670204f085"));
        assert!(!is_right(&RES, &answer(true), ""));
        assert!(!is_right(&RES, &answer(true), "é02ab8df9f3a4d63a9f47c2f90e0293"));
    }

    #[test]
    fn cf_06_akav2_md5_of_set_1() {
        let password = akav2_md5_password(&RES, &IK.to_be_bytes(), &CK.to_be_bytes());
        assert_eq!(password.reveal(), b"shzt3q8CWaZnCAWqs3WmEQ==");
        assert!(is_right(password.reveal(), &answer(true), "6774a29ced9929f3dd734d9a97e04ebe"));
    }

    #[test]
    fn auts_is_14_octets() {
        assert_eq!(hex(&auts("uoU/PBJrvTvaszz5vaI=").unwrap()), "ba853f3c126bbd3bdab33cf9bda2");
        assert_eq!(auts("uoU/PBJrvTvaszz5vQ=="), None);
        assert_eq!(auts("!"), None);
    }
}
