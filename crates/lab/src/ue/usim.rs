//! TS 33.102 §6.3.3, TS 33.203 §6.1 — the USIM of the UE: checks a challenge, answers it, or says that it is out of step.

use crate::{
    aka::{Key, sequence::Accepted},
    digest::{self, Credentials, Exchange},
};
use base64::{Engine, engine::general_purpose::STANDARD};

/// A USIM.
#[derive(Clone, Debug)]
pub struct Usim {
    key: Key,
    accepted: Accepted,
}

/// What the USIM makes of a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is right; RES.
    Right([u8; 8]),
    /// It is authentic but old: AUTS.
    OutOfStep([u8; 14]),
    /// It does not come from the home network, or is no challenge at all.
    NotAuthentic,
}

impl Usim {
    /// A USIM that has seen no challenge yet.
    pub fn new(key: Key) -> Self {
        Self { key, accepted: Accepted::default() }
    }

    /// A USIM that has accepted everything up to `sqn`.
    pub(super) const fn used_up_to(key: Key, sqn: u64) -> Self {
        Self { key, accepted: Accepted::up_to(sqn) }
    }

    /// Judges the nonce of a challenge: base64 of RAND, AUTN and perhaps server data.
    pub fn judge(&mut self, nonce: &str) -> Verdict {
        let octets = STANDARD.decode(nonce).unwrap_or_default();
        let Some((rand, rest)) = octets.split_first_chunk::<16>() else { return Verdict::NotAuthentic };
        let Some((autn, _)) = rest.split_first_chunk::<16>() else { return Verdict::NotAuthentic };
        let Ok(opened) = self.key.open(rand, autn) else { return Verdict::NotAuthentic };
        match self.accepted.accept(opened.sqn) {
            Ok(()) => Verdict::Right(opened.res),
            Err(sqn) => Verdict::OutOfStep(self.key.auts(rand, sqn)),
        }
    }
}

/// What the UE puts into Authorization.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub(super) realm: String,
    pub(super) nonce: String,
    password: Password,
    auts: Option<String>,
    qop: bool,
    count: u32,
}

#[derive(Clone)]
enum Password {
    Res([u8; 8]),
    Empty,
    /// No answer at all.
    None,
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Proof {
    /// The answer to a challenge.
    pub(super) fn of(verdict: &Verdict, realm: &str, nonce: &str, qop: bool) -> Self {
        let (password, auts) = match verdict {
            Verdict::Right(res) => (Password::Res(*res), None),
            Verdict::OutOfStep(auts) => (Password::Empty, Some(STANDARD.encode(auts))),
            Verdict::NotAuthentic => (Password::None, None),
        };
        Self { realm: realm.to_owned(), nonce: nonce.to_owned(), password, auts, qop, count: 0 }
    }

    /// Makes the answer a wrong one.
    pub(super) fn botch(&mut self) {
        if let Password::Res(res) = &mut self.password {
            res[0] ^= 0x5a;
        }
    }

    /// The header value, for a request of `method` to `uri`.
    pub(super) fn authorization(&mut self, impi: &str, method: &str, uri: &str, protected: &str) -> String {
        self.count += 1;
        let (realm, nonce, count) = (&self.realm, &self.nonce, self.count);
        let cnonce = format!("{:016x}", rand::random::<u64>());
        let password: Option<&[u8]> = match &self.password {
            Password::Res(res) => Some(res),
            Password::Empty => Some(b""),
            Password::None => None,
        };
        let response = password.map(|password| {
            let credentials = Credentials { username: impi, realm, password };
            let auth = self.qop.then_some((count, &*cnonce));
            digest::response(credentials, Exchange { method, uri, nonce, auth })
        });
        let response = response.as_ref().map_or("", digest::text);
        let mut value = format!(
            "Digest username=\"{impi}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", algorithm=AKAv1-MD5"
        );
        if self.qop && !response.is_empty() {
            value.push_str(&format!(", cnonce=\"{cnonce}\", qop=auth, nc={count:08x}"));
        }
        if let Some(auts) = &self.auts {
            value.push_str(&format!(", auts=\"{auts}\""));
        }
        value.push_str(&format!(", integrity-protected=\"{protected}\""));
        value
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{aka::sequence, provisioning};

    fn key() -> Key {
        Key::with_op(provisioning::K.0, provisioning::OP.0)
    }

    fn nonce(sqn: u64) -> String {
        let vector = key().vector([9; 16], sqn, *b"BB");
        STANDARD.encode([vector.rand, vector.autn].concat())
    }

    #[test]
    fn a_fresh_challenge_is_answered_once() {
        let mut usim = Usim::new(key());
        let nonce = nonce(sequence::next(0));
        assert_eq!(usim.judge(&nonce), Verdict::Right(key().res(&[9; 16])));
        let Verdict::OutOfStep(auts) = usim.judge(&nonce) else { panic!("accepted twice") };
        assert_eq!(key().read_auts(&[9; 16], &auts), Some(sequence::next(0)));
    }

    #[test]
    fn a_forged_or_broken_challenge_is_not_answered() {
        let mut usim = Usim::new(key());
        let mut octets = STANDARD.decode(nonce(64)).unwrap();
        octets[31] ^= 1;
        for nonce in [STANDARD.encode(&octets), "short".into(), STANDARD.encode([0; 20]), String::new()] {
            assert_eq!(usim.judge(&nonce), Verdict::NotAuthentic);
        }
        let mut proof = Proof::of(&Verdict::NotAuthentic, "r", "n", true);
        let value = proof.authorization("i@r", "REGISTER", "sip:r", "no");
        assert!(value.contains("response=\"\"") && !value.contains("auts"), "{value}");
    }

    #[test]
    fn authorization_has_what_rfc_3310_asks_for() {
        let mut proof = Proof::of(&Verdict::OutOfStep([1; 14]), "r", "bm9uY2U=", true);
        let value = proof.authorization("i@r", "REGISTER", "sip:r", "yes");
        assert!(value.contains("auts=\"AQEBAQEBAQEBAQEBAQE=\"") && value.contains("nc=00000001"), "{value}");
        assert!(proof.authorization("i@r", "REGISTER", "sip:r", "yes").contains("nc=00000002"));
        let mut right = Proof::of(&Verdict::Right([7; 8]), "r", "n", false);
        let before = right.authorization("i@r", "REGISTER", "sip:r", "yes");
        right.botch();
        assert_ne!(before, right.authorization("i@r", "REGISTER", "sip:r", "yes"));
    }
}
