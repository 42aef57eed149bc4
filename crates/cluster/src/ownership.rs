//! Which shards this node owns, takes, hands over and loses, as a value.
//!
//! **Invariant: a node serves a shard only while its lease, counted by its own clock from before it asked for it, stands.**

use crate::member::{Beat, Claim, Claimed, Member};
use crate::{Fence, ShardId};

/// Lengths of time, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A lease lapses so long after it was renewed, by the store's clock.
    pub ttl: u64,
    /// It is renewed so often.
    pub beat: u64,
    /// A node stops serving so long before its lease can lapse.
    pub margin: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { ttl: 2_000, beat: 500, margin: 400 }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed.
    Time,
    /// A group answered a [`Output::Beat`] that was sent at `sent`; `None`: it did not.
    Beaten { group: u16, sent: u64, beat: Option<Beat> },
    /// A group answered an [`Output::Take`], shard by shard.
    Taken { group: u16, taken: Vec<(ShardId, Claimed)> },
    /// A group did not answer an [`Output::Take`].
    NotTaken { group: u16 },
    /// Nothing of the shard is at work here any more, as [`Output::HandOver`] asked.
    Quiet { shard: ShardId, fence: Fence },
    /// A group answered an [`Output::Release`].
    Released { group: u16, done: bool },
    /// The process of this run of a node has ended: its link was reset and nobody listens there any more, or it said goodbye.
    Gone { node: Box<str>, incarnation: u64 },
    /// Another node released shards, or took some: the table is worth a look.
    Changed,
    /// The store refused a save of ours: the shard has another owner.
    Fenced { shard: ShardId, fence: Fence },
    /// This node shall give all its shards away.
    Drain,
    /// Registered users here, for the others to see.
    Users(u64),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Renew the lease in a group: `Store::beat`.
    Beat { group: u16, member: Member, known: Option<u64> },
    /// Claim shards of a group: `Store::take`.
    Take { group: u16, claims: Vec<Claim> },
    /// The shard is ours: read its deadlines, and serve it.
    Begin { shard: ShardId, fence: Fence },
    /// The shard shall be another's: let its users end between two messages, then say [`Input::Quiet`].
    HandOver { shard: ShardId, fence: Fence },
    /// The shard is not ours any more: its actors end without a word.
    End { shard: ShardId, fence: Fence },
    /// Give shards back: `Store::release`; then tell the other nodes, who look at once.
    Release { group: u16, shards: Vec<(ShardId, Fence)> },
    /// A group may have lost its last writes, and these shards are ours again under these fences: send it again what was
    /// written lately.
    Restored { group: u16, shards: Vec<(ShardId, Fence)> },
    /// Who is there changed: links are to be kept to these.
    Members(Vec<Member>),
    /// This node has given everything away.
    Drained,
}

/// Whose a shard is, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// Ours, and we may speak for it.
    Mine(&'a Fence),
    /// Ours, but the lease may have lapsed: nothing that must be saved can be promised.
    Suspended(&'a Fence),
    /// We let its users go; it will be another's in a moment.
    Leaving(&'a Fence),
    /// This node's.
    Theirs(&'a Member),
    /// Nobody's for now, or of somebody who is gone: it will be taken soon.
    Nobody,
}
