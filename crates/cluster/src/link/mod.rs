//! Links between nodes, as values: a session of words with each run of each other node, which outlives its connections.
//!
//! Words of a session arrive exactly once and in order, or the session ends with a count of those that may not have. A
//! session ends when the other process has ended ([`News::Gone`]), or when one side has given it up although both may live
//! ([`News::Severed`]). Time is in milliseconds.
//!
//! **Invariant: silence is never taken for an end.** A process has ended when it said so, when a later run of its node proves
//! itself, or when its connection was closed from its side and its address then refuses a new one.

mod greet;
pub(crate) mod hello;
mod log;
mod mesh;
mod peer;
mod runs;
#[cfg(test)]
mod tests;

pub use hello::{Hello, Me, NAME, VERSIONS};
pub use log::{Full, Limits};
pub use mesh::Mesh;

use bytes::Bytes;

/// A connection with nothing to say asks so often whether the other is there.
const PING: u64 = 200;
/// A connection on which so long nothing was heard is made anew.
const SILENT: u64 = 1_000;
/// A connection must be open, and then both sides must have proved themselves, within so long.
const ATTEMPT: u64 = 1_000;
/// How long to wait before the next attempt, after so many that failed.
const BACK_OFF: [u64; 7] = [10, 50, 100, 200, 400, 800, 1_000];
/// The words for a node that is no member any more and not connected are kept so long.
const FORGET: u64 = 30_000;
/// A member whose process was taken for ended may have been a member all the same, and is tried again after so long.
const REVIVE: u64 = 5_000;
/// A word is acknowledged by the next that goes the other way, or after so long,
const ACK_DELAY: u64 = 20;
/// or as soon as so many words
const ACK_WORDS: u64 = 128;
/// or octets came.
const ACK_OCTETS: usize = 128 << 10;
/// Connections of those who have not proved themselves yet.
const STRANGERS: usize = 64;

/// Stands for one session with one run of a node; never 0, never used again in the life of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

/// Stands for a connection, or the attempt at one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(u64);

/// What is to be done with connections, in this order, before the [`News`] are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Connect to `to`, a host or address with a port; then say [`Mesh::dialled`] or [`Mesh::dial_failed`].
    Dial { conn: Conn, to: Box<str> },
    /// Write.
    Write { conn: Conn, octets: Bytes },
    /// Close when all is written, or give up the attempt; nothing of this connection is wanted any more.
    Close { conn: Conn },
}

/// What the rest of the node wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A word arrived.
    Took { slot: Slot, word: Bytes },
    /// The other is connected, for the first time or again.
    Up { slot: Slot },
    /// The process of the other has ended. As many words may not have arrived.
    Gone { slot: Slot, dropped: usize },
    /// This session is over although the other's process may live. As many words may not have arrived; the next session with it
    /// has another slot.
    Severed { slot: Slot, dropped: usize },
    /// One side does not want to talk to the other: for the log. `who` is the other's name as far as it said one.
    Refused { who: Box<str>, why: Box<str> },
}

/// What comes of an event.
#[derive(Debug, Default)]
pub struct Out {
    /// To be done, in order.
    pub acts: Vec<Act>,
    /// To be told afterwards, in order.
    pub news: Vec<News>,
}

/// What passed between this node and one other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent, greetings apart.
    pub frames_out: u64,
    /// Octets received.
    pub octets_in: u64,
    /// Octets sent, greetings apart.
    pub octets_out: u64,
    /// Connections of this session so far.
    pub connections: u64,
    /// Words that wait for their acknowledgement,
    pub queued: usize,
    /// and their octets.
    pub queued_octets: usize,
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Frame(#[from] crate::frame::FrameError),
    #[error("a frame out of turn")]
    OutOfTurn,
    #[error("word {got} came, word {expected} was expected")]
    Gap { expected: u64, got: u64 },
    #[error("a word is acknowledged that was never said")]
    NeverSaid,
}
