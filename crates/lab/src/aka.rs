//! TS 33.102 §6.3 — authentication and key agreement with Milenage (TS 35.206), seen from both ends: the
//! authentication centre that makes vectors and the USIM that checks them.

use milenage::Milenage;
use scscf::cx::{AuthenticationVector, Secret};
use std::fmt;

/// AMF of a resynchronisation, TS 33.102 §6.3.3.
const AMF_RESYNCHRONISATION: [u8; 2] = [0, 0];
const SQN_MASK: u64 = (1 << 48) - 1;

/// K and OPc of one subscriber.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    k: [u8; 16],
    opc: [u8; 16],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What a USIM reads out of a challenge whose MAC is right.
#[derive(Clone)]
pub struct Opened {
    /// SQN, 48 bits.
    pub sqn: u64,
    /// RES.
    pub res: [u8; 8],
    /// CK.
    pub ck: [u8; 16],
    /// IK.
    pub ik: [u8; 16],
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("sqn", &self.sqn).finish_non_exhaustive()
    }
}

/// The MAC of a challenge is wrong: it comes from no network that knows the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the MAC of the challenge is wrong")]
pub struct MacFailure;

impl Key {
    /// From K and OPc.
    pub const fn new(k: [u8; 16], opc: [u8; 16]) -> Self {
        Self { k, opc }
    }

    /// From K and the operator's OP.
    pub fn with_op(k: [u8; 16], op: [u8; 16]) -> Self {
        Self { k, opc: *Milenage::new_with_op(k, op).opc() }
    }

    fn milenage(&self) -> Milenage {
        Milenage::new_with_opc(self.k, self.opc)
    }

    /// RES for `rand`.
    pub fn res(&self, rand: &[u8; 16]) -> [u8; 8] {
        self.milenage().f2345(rand).0
    }

    /// The authentication vector for `rand` and `sqn`.
    pub fn vector(&self, rand: [u8; 16], sqn: u64, amf: [u8; 2]) -> AuthenticationVector {
        let mut milenage = self.milenage();
        let (res, ck, ik, ak) = milenage.f2345(&rand);
        let sqn = octets(sqn);
        let mac = milenage.f1(&rand, &sqn, &amf);
        let mut autn = [0; 16];
        autn[..6].copy_from_slice(&concealed(sqn, ak));
        autn[6..8].copy_from_slice(&amf);
        autn[8..].copy_from_slice(&mac);
        AuthenticationVector {
            rand,
            autn,
            xres: Secret::new(&res),
            ck: Secret::new(&ck),
            ik: Secret::new(&ik),
        }
    }

    /// Checks the MAC of a challenge and reads it.
    pub fn open(&self, rand: &[u8; 16], autn: &[u8; 16]) -> Result<Opened, MacFailure> {
        let mut milenage = self.milenage();
        let (res, ck, ik, ak) = milenage.f2345(rand);
        let mut sqn = [0; 6];
        sqn.copy_from_slice(&autn[..6]);
        let sqn = concealed(sqn, ak);
        let mac = milenage.f1(rand, &sqn, &[autn[6], autn[7]]);
        if mac != autn[8..] {
            return Err(MacFailure);
        }
        Ok(Opened { sqn: number(sqn), res, ck, ik })
    }

    /// AUTS: tells the authentication centre the USIM's `sqn`.
    pub fn auts(&self, rand: &[u8; 16], sqn: u64) -> [u8; 14] {
        let mut milenage = self.milenage();
        let ak = milenage.f5star(rand);
        let sqn = octets(sqn);
        let mac = milenage.f1star(rand, &sqn, &AMF_RESYNCHRONISATION);
        let mut auts = [0; 14];
        auts[..6].copy_from_slice(&concealed(sqn, ak));
        auts[6..].copy_from_slice(&mac);
        auts
    }

    /// SQN_MS out of an AUTS; `None` if its MAC-S is wrong.
    pub fn read_auts(&self, rand: &[u8; 16], auts: &[u8; 14]) -> Option<u64> {
        let mut milenage = self.milenage();
        let ak = milenage.f5star(rand);
        let mut sqn = [0; 6];
        sqn.copy_from_slice(&auts[..6]);
        let sqn = concealed(sqn, ak);
        let mac = milenage.f1star(rand, &sqn, &AMF_RESYNCHRONISATION);
        (mac == auts[6..]).then(|| number(sqn))
    }
}

/// TS 33.102 §C.1.1.1 — a sequence number is SEQ and a 5-bit index.
pub mod sequence {
    const INDEX_BITS: u32 = 5;
    const INDICES: usize = 1 << INDEX_BITS;
    /// How far SEQ may jump at once, TS 33.102 §C.2.1.
    const DELTA: u64 = 1 << 28;

    /// The sequence number after `sqn`: SEQ grows, the index goes round.
    pub const fn next(sqn: u64) -> u64 {
        let (seq, index) = (sqn >> INDEX_BITS, sqn % INDICES as u64);
        (((seq + 1) << INDEX_BITS) | ((index + 1) % INDICES as u64)) & super::SQN_MASK
    }

    /// What a USIM remembers: the greatest SEQ accepted per index.
    #[derive(Clone, Debug)]
    pub struct Accepted {
        seq: [u64; INDICES],
        greatest: u64,
    }

    impl Default for Accepted {
        fn default() -> Self {
            Self { seq: [0; INDICES], greatest: 0 }
        }
    }

    impl Accepted {
        /// A USIM that has accepted everything up to `sqn`.
        pub const fn up_to(sqn: u64) -> Self {
            Self { seq: [sqn >> INDEX_BITS; INDICES], greatest: sqn }
        }

        /// Takes `sqn` if it is fresh (TS 33.102 §C.2.2), else says which one to put into AUTS.
        pub fn accept(&mut self, sqn: u64) -> Result<(), u64> {
            let (seq, index) = (sqn >> INDEX_BITS, (sqn % INDICES as u64) as usize);
            let greatest = self.greatest >> INDEX_BITS;
            let fresh = seq > self.seq[index] && seq.saturating_sub(greatest) <= DELTA;
            if !fresh {
                return Err(self.greatest);
            }
            self.seq[index] = seq;
            self.greatest = self.greatest.max(sqn);
            Ok(())
        }
    }
}

fn octets(sqn: u64) -> [u8; 6] {
    let [_, _, sqn @ ..] = (sqn & SQN_MASK).to_be_bytes();
    sqn
}

fn number(sqn: [u8; 6]) -> u64 {
    sqn.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

fn concealed(sqn: [u8; 6], ak: [u8; 6]) -> [u8; 6] {
    std::array::from_fn(|at| sqn[at] ^ ak[at])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(crate) fn hex<const N: usize>(text: &str) -> [u8; N] {
        text.parse::<crate::provisioning::Octets<N>>().unwrap().0
    }

    fn set_1() -> (Key, [u8; 16]) {
        let key =
            Key::with_op(hex("465b5ce8b199b49faa5f0a2ee238a6bc"), hex("cdc202d5123e20f62b6d676ac72cb318"));
        (key, hex("23553cbe9637a89d218ae64dae47bf35"))
    }

    #[test]
    fn cf_01_res_of_test_set_1() {
        let (key, rand) = set_1();
        assert_eq!(key.res(&rand), hex("a54211d5e3ba50bf"));
        assert_eq!(key.vector(rand, 1, *b"BB").xres.reveal(), hex::<8>("a54211d5e3ba50bf"));
    }

    #[test]
    fn cf_02_opc_of_test_set_1() {
        assert_eq!(set_1().0.opc, hex("cd63cb71954a9f4e48a5994e37a02baf"));
    }

    #[test]
    fn cf_03_mac_and_keys_of_test_set_1() {
        let (key, rand) = set_1();
        let vector = key.vector(rand, 0xff9b_b4d0_b607, hex("b9b9"));
        assert_eq!(vector.autn, hex("55f328b43577b9b94a9ffac354dfafb3"));
        assert_eq!(vector.autn[8..], hex::<8>("4a9ffac354dfafb3"));
        let mut concealed = [0; 6];
        concealed.copy_from_slice(&vector.autn[..6]);
        assert_eq!(super::concealed(concealed, hex("aa689c648370")), hex("ff9bb4d0b607"));
        assert_eq!(vector.ck.reveal(), hex::<16>("b40ba9a3c58b2a05bbf0d987b21bf8cb"));
        assert_eq!(vector.ik.reveal(), hex::<16>("f769bcd751044604127672711c6d3441"));
    }

    #[test]
    fn the_vector_after_a_resynchronisation() {
        let (key, _) = set_1();
        let vector = key.vector(hex("9f7c8d021accf4db213ccff0c7f71a6a"), 0xff9b_b4d0_b660, hex("b9b9"));
        assert_eq!(vector.autn, hex("aa74799339bbb9b934bbfdc3118fd52f"));
        assert_eq!(vector.xres.reveal(), hex::<8>("7d3a57209193201d"));
    }

    #[test]
    fn cf_05_auts_is_made_and_read() {
        let (key, rand) = set_1();
        let auts = key.auts(&rand, 0xff9b_b4d0_b650);
        assert_eq!(auts, hex("ba853f3c126bbd3bdab33cf9bda2"));
        assert_eq!(key.read_auts(&rand, &auts), Some(0xff9b_b4d0_b650));
        for at in 0..14 {
            let mut forged = auts;
            forged[at] ^= 1;
            assert_eq!(key.read_auts(&rand, &forged), None, "octet {at}");
        }
    }

    #[test]
    fn a_usim_reads_what_the_centre_wrote_and_nothing_else() {
        let (key, rand) = set_1();
        let vector = key.vector(rand, 0x2a, *b"BB");
        let opened = key.open(&rand, &vector.autn).unwrap();
        assert_eq!((opened.sqn, &opened.res[..]), (0x2a, vector.xres.reveal()));
        assert_eq!(opened.ck, vector.ck.reveal());
        for at in 0..16 {
            let mut forged = vector.autn;
            forged[at] ^= 0x10;
            assert_eq!(key.open(&rand, &forged).unwrap_err(), MacFailure, "octet {at}");
        }
    }

    #[test]
    fn sequence_numbers_grow_and_are_accepted_once() {
        let mut accepted = sequence::Accepted::default();
        let mut sqn = 0;
        for _ in 0..100 {
            sqn = sequence::next(sqn);
            assert_eq!(accepted.accept(sqn), Ok(()));
            assert_eq!(accepted.accept(sqn), Err(sqn));
        }
        assert_eq!(accepted.accept(sequence::next(0)), Err(sqn));
        assert_eq!(accepted.accept(sqn + (1 << 40)), Err(sqn), "a jump too far");
    }

    #[test]
    fn vectors_out_of_order_are_accepted_within_the_window() {
        let mut accepted = sequence::Accepted::default();
        let first = sequence::next(0);
        let second = sequence::next(first);
        assert_eq!(accepted.accept(second), Ok(()));
        assert_eq!(accepted.accept(first), Ok(()), "its index was not used yet");
    }

    #[test]
    fn keys_stay_out_of_sight() {
        let (key, rand) = set_1();
        let opened = key.open(&rand, &key.vector(rand, 1, *b"BB").autn).unwrap();
        assert_eq!(format!("{key:?}"), "Key(..)");
        assert_eq!(format!("{opened:?}"), "Opened { sqn: 1, .. }");
    }
}
