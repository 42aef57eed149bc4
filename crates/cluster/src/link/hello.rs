//! Who speaks, and the proof that he knows the secret of the cluster.
//!
//! The one that dials says Hello, the other says Hello, then the dialler proves himself, then the other. A proof is an
//! HMAC-SHA256 over both Hellos as they were on the wire; each holds a nonce and all that its side claims, so a proof fits one
//! connection and one role, and the secret itself never leaves a process.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// Tells a link of this project from whatever else may speak at its port.
const MAGIC: &[u8; 4] = b"rlc\0";
/// The version of the frames that this release speaks; the releases before and after it shall overlap.
pub const VERSIONS: (u16, u16) = (1, 1);
/// The longest name of a node or a cluster, in octets.
pub const NAME: usize = 255;

/// Which end of a connection somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Dialler,
    Listener,
}

impl Role {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Listener,
            Self::Listener => Self::Dialler,
        }
    }

    const fn label(self) -> &'static [u8] {
        match self {
            Self::Dialler => b"link dialler",
            Self::Listener => b"link listener",
        }
    }
}

/// A node in its own eyes.
#[derive(Clone)]
pub struct Me {
    /// Its name.
    pub node: Box<str>,
    /// Which run of it.
    pub incarnation: u64,
    /// What all nodes of its cluster have in common and no other cluster has.
    pub domain: Box<str>,
    /// What all nodes of its cluster know and nobody else does.
    pub secret: [u8; 32],
    /// The lowest and the highest version of the frames that it speaks.
    pub versions: (u16, u16),
}

impl fmt::Debug for Me {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Me({}, {:016x}, {})", self.node, self.incarnation, self.domain)
    }
}

/// The first frame of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The lowest and the highest version of the frames that the speaker knows.
    pub versions: (u16, u16),
    /// The cluster.
    pub domain: Box<str>,
    /// Name of the speaker.
    pub node: Box<str>,
    /// Which run of it.
    pub incarnation: u64,
    /// Whom the speaker means.
    pub to: Box<str>,
    /// Which run of him.
    pub to_incarnation: u64,
    /// How many times the speaker has begun a session with this run of the other.
    pub session: u64,
    /// What the other's `session` was when they met; 0 if this session has never met.
    pub known: u64,
    /// The last word of the session that the speaker received.
    pub received: u64,
    /// The last connection of the session; 0 if there was none.
    pub last: u64,
    /// Chance; the dialler's first eight octets name the connection.
    pub nonce: [u8; 16],
    /// The whole as it was on the wire, with what a later version may have added.
    raw: Bytes,
}

impl Hello {
    /// The name of the connection that is opened by this Hello of a dialler.
    pub(super) fn connection(&self) -> u64 {
        (&self.nonce[..]).get_u64().max(1)
    }

    /// Makes it ready to be sent.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        me: &Me,
        to: (&str, u64),
        (session, known): (u64, u64),
        received: u64,
        last: u64,
        nonce: [u8; 16],
    ) -> Self {
        let mut hello = Self {
            versions: me.versions,
            domain: me.domain.clone(),
            node: me.node.clone(),
            incarnation: me.incarnation,
            to: to.0.into(),
            to_incarnation: to.1,
            session,
            known,
            received,
            last,
            nonce,
            raw: Bytes::new(),
        };
        hello.raw = hello.write();
        hello
    }

    fn write(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(128);
        out.put_slice(MAGIC);
        out.put_u16(self.versions.0);
        out.put_u16(self.versions.1);
        for text in [&self.domain, &self.node, &self.to] {
            let text = &text.as_bytes()[..text.floor_char_boundary(NAME)];
            out.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
            out.put_slice(text);
        }
        for number in
            [self.incarnation, self.to_incarnation, self.session, self.known, self.received, self.last]
        {
            out.put_u64(number);
        }
        out.put_slice(&self.nonce);
        out.freeze()
    }

    pub(crate) fn encode(&self) -> Bytes {
        self.raw.clone()
    }

    /// Reads it; what follows the last field known here is a later version's and left alone.
    pub(crate) fn decode(raw: &[u8]) -> Option<Self> {
        let mut body = raw.strip_prefix(MAGIC)?;
        let versions = (body.try_get_u16().ok()?, body.try_get_u16().ok()?);
        let domain = text(&mut body)?;
        let node = text(&mut body).filter(|node| !node.is_empty())?;
        let to = text(&mut body)?;
        let mut numbers = [0; 6];
        for number in &mut numbers {
            *number = body.try_get_u64().ok()?;
        }
        let [incarnation, to_incarnation, session, known, received, last] = numbers;
        let nonce = *body.first_chunk()?;
        let raw = Bytes::copy_from_slice(raw);
        Some(Self {
            versions,
            domain,
            node,
            incarnation,
            to,
            to_incarnation,
            session,
            known,
            received,
            last,
            nonce,
            raw,
        })
    }

    /// Why a node must not talk to the speaker, if it must not.
    pub(super) fn objection(&self, me: &Me) -> Option<Box<str>> {
        let (low, high) = (self.versions.0.max(me.versions.0), self.versions.1.min(me.versions.1));
        if low > high {
            return Some(
                format!(
                    "{} speaks link versions {} to {}, {} speaks {} to {}; expected one that both speak",
                    me.node, me.versions.0, me.versions.1, self.node, self.versions.0, self.versions.1
                )
                .into(),
            );
        }
        if self.domain != me.domain {
            return Some(
                format!(
                    "{} is of the cluster of {}, {} of that of {}; expected the same",
                    me.node, me.domain, self.node, self.domain
                )
                .into(),
            );
        }
        (self.node == me.node).then(|| match self.incarnation == me.incarnation {
            true => format!("{} has reached itself; expected another node", me.node).into(),
            false => format!("two nodes have the name {}; expected different names", me.node).into(),
        })
    }
}

fn text(body: &mut &[u8]) -> Option<Box<str>> {
    let length = usize::from(body.try_get_u8().ok()?);
    let (text, rest) = body.split_at_checked(length)?;
    *body = rest;
    std::str::from_utf8(text).ok().map(Into::into)
}

/// Both Hellos of a connection.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) mine: Hello,
    pub(super) theirs: Hello,
    pub(super) role: Role,
}

impl Greeting {
    pub(super) fn dialler(&self) -> &Hello {
        if self.role == Role::Dialler { &self.mine } else { &self.theirs }
    }

    fn listener(&self) -> &Hello {
        if self.role == Role::Dialler { &self.theirs } else { &self.mine }
    }

    fn transcript(&self, secret: &[u8; 32], role: Role) -> Hmac<Sha256> {
        // A key shorter than a block of the hash is one with zeros behind it (RFC 2104).
        let mut key = [0; 64];
        key[..secret.len()].copy_from_slice(secret);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&key.into());
        mac.update(role.label());
        for hello in [self.dialler(), self.listener()] {
            mac.update(&(hello.raw.len() as u64).to_be_bytes());
            mac.update(&hello.raw);
        }
        mac
    }

    /// What this side says to be believed.
    pub(super) fn proof(&self, secret: &[u8; 32]) -> [u8; 32] {
        self.transcript(secret, self.role).finalize().into_bytes().into()
    }

    /// Whether the other side knows the secret.
    pub(super) fn is_proved_by(&self, secret: &[u8; 32], proof: &[u8; 32]) -> bool {
        self.transcript(secret, self.role.other()).verify_slice(proof).is_ok()
    }

    /// The dialler meant this run of the listener.
    pub(super) fn reached_whom_was_meant(&self) -> bool {
        let (dialler, listener) = (self.dialler(), self.listener());
        dialler.to == listener.node && dialler.to_incarnation == listener.incarnation
    }

    /// Neither side remembers a session that the other has ended. Both sides come to the same conclusion.
    pub(super) fn same_session(&self) -> bool {
        let fits = |one: &Hello, other: &Hello| one.known == 0 || one.known == other.session;
        fits(&self.mine, &self.theirs) && fits(&self.theirs, &self.mine)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn me(node: &str, incarnation: u64) -> Me {
        Me {
            node: node.into(),
            incarnation,
            domain: "home.example".into(),
            secret: [7; 32],
            versions: VERSIONS,
        }
    }

    pub(crate) fn hello(node: &str, incarnation: u64) -> Hello {
        Hello::new(&me(node, incarnation), ("n2", 9), (1, 2), 3, 4, [5; 16])
    }

    fn greeting(role: Role) -> Greeting {
        let (dialler, listener) = (hello("a", 1), hello("b", 2));
        match role {
            Role::Dialler => Greeting { mine: dialler, theirs: listener, role },
            Role::Listener => Greeting { mine: listener, theirs: dialler, role },
        }
    }

    #[test]
    fn a_hello_reads_back_and_leaves_what_a_later_version_added() {
        let hello = hello("n1", 7);
        assert_eq!(Hello::decode(&hello.raw), Some(hello.clone()));
        let later = [&hello.raw[..], b"more"].concat();
        let read = Hello::decode(&later).unwrap();
        assert_eq!((&read.node, read.nonce, &read.raw[..]), (&hello.node, hello.nonce, &later[..]));
        for end in 0..hello.raw.len() {
            assert_eq!(Hello::decode(&hello.raw[..end]), None, "cut after {end}");
        }
    }

    #[test]
    fn a_proof_fits_one_connection_one_role_and_one_secret() {
        let secret = [7; 32];
        let (dialler, listener) = (greeting(Role::Dialler), greeting(Role::Listener));
        let proof = dialler.proof(&secret);
        assert!(
            listener.is_proved_by(&secret, &proof) && dialler.is_proved_by(&secret, &listener.proof(&secret))
        );
        assert!(!listener.is_proved_by(&[8; 32], &proof), "another secret");
        assert!(!dialler.is_proved_by(&secret, &proof), "a proof thrown back");
        let mut other = greeting(Role::Listener);
        other.mine = Hello::new(&me("b", 2), ("n2", 9), (1, 2), 3, 4, [6; 16]);
        assert!(!other.is_proved_by(&secret, &proof), "another nonce");
    }

    #[test]
    fn an_objection_names_both_sides() {
        let versions = |node: &str, versions| Me { versions, ..me(node, 1) };
        let said = |hello: &Hello, me: &Me| hello.objection(me).map(String::from).unwrap_or_default();
        let of = |me: &Me| Hello::new(me, ("", 0), (1, 0), 0, 0, [0; 16]);
        let (old, new) = (versions("a", (1, 2)), versions("b", (3, 4)));
        assert_eq!(
            said(&of(&old), &new),
            "b speaks link versions 3 to 4, a speaks 1 to 2; expected one that both speak"
        );
        assert_eq!(said(&of(&old), &versions("b", (2, 3))), "", "a release apart");
        let abroad = Me { domain: "other.example".into(), ..me("b", 1) };
        assert_eq!(
            said(&of(&me("a", 1)), &abroad),
            "b is of the cluster of other.example, a of that of home.example; expected the same"
        );
        assert_eq!(said(&of(&me("a", 1)), &me("a", 1)), "a has reached itself; expected another node");
        assert_eq!(
            said(&of(&me("a", 1)), &me("a", 2)),
            "two nodes have the name a; expected different names"
        );
    }

    #[test]
    fn the_secret_is_not_shown() {
        assert_eq!(format!("{:?}", me("a", 1)), "Me(a, 0000000000000001, home.example)");
    }
}
