//! RFC 3261 §17.2.3, §17.1.3 — which transaction a message belongs to.
//!
//! A server key is 128 bits of a keyed hash over branch, sent-by and method; over most of the request where the branch is not
//! of RFC 3261. A client branch holds the place of its transaction and a keyed proof of it, so it is found without a search
//! and cannot be guessed.

use super::slots::SlotRef;
use crate::{Method, Name, Request, Via};
use ahash::RandomState;
use std::hash::{BuildHasher, Hasher};

const COOKIE: &str = "z9hG4bK";

pub(super) struct Keys {
    first: RandomState,
    second: RandomState,
}

impl Keys {
    pub(super) fn new(seed: [u64; 2]) -> Self {
        let [a, b] = seed;
        Self {
            first: RandomState::with_seeds(a, b, !a, !b),
            second: RandomState::with_seeds(
                b.rotate_left(32),
                a,
                b ^ a,
                a.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            ),
        }
    }

    /// The key of the server transaction that `method` and this request's top Via name; for an ACK or CANCEL, `Invite` gives
    /// the key of the INVITE it belongs to.
    pub(super) fn server(&self, request: &Request, via: &Via, method: &Method) -> u128 {
        let mut hash = Pair(self.first.build_hasher(), self.second.build_hasher());
        hash.field(method.as_str().as_bytes());
        match via.branch() {
            Some(branch) if is_rfc_3261(branch) => hash.field(branch.as_bytes()),
            _ => {
                // RFC 2543: the To tag is left out where an ACK or CANCEL may carry another than its INVITE.
                let to_tag = if *method == Method::Invite { None } else { request.to_tag() };
                hash.number(u64::from(request.cseq().number));
                for field in [request.uri_text(), request.call_id()] {
                    hash.field(field.as_bytes());
                }
                for tag in [request.from_tag(), to_tag] {
                    hash.field(tag.unwrap_or("").as_bytes());
                }
                hash.field(request.values(Name::Via).next().unwrap_or_default().as_bytes());
            }
        }
        hash.field_in_lower_case(via.host.as_bytes());
        hash.number(u64::from(via.port.unwrap_or(0)));
        u128::from(hash.0.finish()) << 64 | u128::from(hash.1.finish())
    }

    /// The branch of a client transaction.
    pub(super) fn branch(&self, slot: SlotRef, mark: Option<u64>) -> Branch {
        let id = slot.to_u64();
        Branch { id, proof: self.first.hash_one(id), mark }
    }

    /// A branch for a message without transaction.
    pub(super) fn stateless_branch(&self, number: u64, mark: Option<u64>) -> Branch {
        Branch { id: number, proof: self.second.hash_one(number), mark }
    }

    /// The place a branch of ours names.
    pub(super) fn client(&self, branch: &str) -> Option<SlotRef> {
        let digits = branch.strip_prefix(COOKIE)?;
        let id = u64::from_str_radix(digits.get(..16)?, 16).ok()?;
        let proof = u64::from_str_radix(digits.get(16..32)?, 16).ok()?;
        (self.first.hash_one(id) == proof).then(|| SlotRef::from_u64(id))
    }
}

/// The mark in a branch of the form that any table writes, if it has one.
pub(crate) fn mark_of(branch: &str) -> Option<u64> {
    let digits = branch.strip_prefix(COOKIE)?.as_bytes();
    let all = digits.len() == 48 && digits.iter().all(u8::is_ascii_hexdigit);
    all.then(|| u64::from_str_radix(branch.get(COOKIE.len() + 32..)?, 16).ok())?
}

fn is_rfc_3261(branch: &str) -> bool {
    branch.len() > COOKIE.len()
        && branch.get(..COOKIE.len()).is_some_and(|head| head.eq_ignore_ascii_case(COOKIE))
}

pub(super) struct Branch {
    id: u64,
    proof: u64,
    mark: Option<u64>,
}

impl Branch {
    pub(super) fn write(&self, out: &mut String) {
        out.push_str(COOKIE);
        for number in [Some(self.id), Some(self.proof), self.mark].into_iter().flatten() {
            let digit = |place: u32| char::from(b"0123456789abcdef"[(number >> (4 * place)) as usize & 15]);
            out.extend((0..16).rev().map(digit));
        }
    }
}

struct Pair(ahash::AHasher, ahash::AHasher);

impl Pair {
    /// The length separates one field from the next.
    fn field(&mut self, octets: &[u8]) {
        self.number(octets.len() as u64);
        self.0.write(octets);
        self.1.write(octets);
    }

    fn field_in_lower_case(&mut self, octets: &[u8]) {
        self.number(octets.len() as u64);
        let mut lower = [0; 64];
        for chunk in octets.chunks(lower.len()) {
            let part = &mut lower[..chunk.len()];
            part.copy_from_slice(chunk);
            part.make_ascii_lowercase();
            self.0.write(part);
            self.1.write(part);
        }
    }

    fn number(&mut self, number: u64) {
        self.0.write_u64(number);
        self.1.write_u64(number);
    }
}

/// For keys that are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.0 = self.0.rotate_left(8) ^ u64::from(octet);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}
