//! Which shards this node owns, takes, hands over and loses, as a value.
//!
//! **Invariant: a node serves a shard only while its lease, counted by its own clock from before it asked for it, stands.**
//!
//! Each group of the store is a machine of its own (`ownership/group.rs`): it has its leases, its members, its shards and their
//! placement, and when it fails the others go on.

mod group;
mod plan;
mod table;

use crate::member::{Beat, Claim, Claimed, Member};
use crate::{Fence, ShardId};
use group::{Group, Node};
use std::collections::BTreeMap;

/// Lengths of time, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A lease lapses so long after it was renewed, by the store's clock.
    pub ttl: u64,
    /// It is renewed so often.
    pub beat: u64,
    /// A node stops serving so long before its lease can lapse.
    pub margin: u64,
    /// Shards move to other nodes when no node came or went for so long.
    pub settle: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { ttl: 2_000, beat: 500, margin: 400, settle: 1_000 }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed.
    Time,
    /// A group answered an [`Output::Beat`] that was sent at `sent`; `None`: it did not.
    Beaten { group: u16, sent: u64, beat: Option<Beat> },
    /// A group answered an [`Output::Take`], shard by shard.
    Taken { group: u16, taken: Vec<(ShardId, Claimed)> },
    /// A group did not answer an [`Output::Take`].
    NotTaken { group: u16 },
    /// Nothing of the shard is at work here any more, as [`Output::HandOver`] asked.
    Quiet { shard: ShardId, fence: Fence },
    /// A group answered an [`Output::Release`], or did not.
    Released { group: u16, done: bool },
    /// The process of this run of a node has ended: its link was reset and nobody listens there any more, or it said goodbye.
    Gone { node: Box<str>, incarnation: u64 },
    /// Another node released shards, or took some: the table is worth a look.
    Changed,
    /// The store refused a save of ours: the shard may have another owner.
    Fenced { shard: ShardId, fence: Fence },
    /// Whether users of the shard are still at the node that had it before: until they are home it stays, or comes, but does not
    /// move on.
    Pinned { shard: ShardId, is_pinned: bool },
    /// This node shall give all its shards away.
    Drain,
}

/// What is to be done. Each [`Output::Beat`], [`Output::Take`] and [`Output::Release`] is answered by one input, if need be by
/// that of a failure, within a time of the shell's choice that is well below a lease's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Renew the lease in a group: `Store::beat`.
    Beat { group: u16, member: Member, known: Option<u64> },
    /// Claim shards of a group: `Store::take`.
    Take { group: u16, claims: Vec<Claim> },
    /// The shard is ours: read its deadlines, and serve it.
    Begin { shard: ShardId, fence: Fence },
    /// The shard shall be another's, most likely the node's `to`: let its users end between two messages, then say
    /// [`Input::Quiet`].
    HandOver { shard: ShardId, fence: Fence, to: Box<str> },
    /// The shard is not ours any more: its actors end without a word.
    End { shard: ShardId, fence: Fence },
    /// Give shards back: `Store::release`; then tell the other nodes, who look at once.
    Release { group: u16, shards: Vec<(ShardId, Fence)> },
    /// A group may have lost its last writes, and these shards are ours still, or again, from now on under these fences: send it
    /// again what was written lately, and read the deadlines anew, for those it fell back to may be others.
    Restored { group: u16, shards: Vec<(ShardId, Fence)> },
    /// Who is there changed: links are to be kept to these.
    Members(Vec<Member>),
    /// This node has given everything away.
    Drained,
    /// A later run of a node of our name is there: everything has ended here, for good.
    Replaced,
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

/// Runs of nodes whose processes have ended, and when that was heard.
type Gone = BTreeMap<(Box<str>, u64), u64>;

/// A node's part of the cluster. Time is the node's own, in milliseconds, and never goes back.
#[derive(Clone, Debug)]
pub struct Ownership {
    me: Member,
    timing: Timing,
    groups: Vec<Group>,
    /// Group of each shard, and where it is there.
    places: Vec<(u16, u16)>,
    members: Vec<Member>,
    gone: Gone,
    draining: bool,
    is_drained_told: bool,
    /// Since when another run of our node keeps us from a first lease.
    rivalled: Option<u64>,
    is_replaced: bool,
}

impl Ownership {
    /// A node that owns nothing yet; `group_of` names the group of each shard in order. Shards that it does not name are
    /// nobody's for ever.
    pub fn new(me: Member, group_of: Vec<u16>, timing: Timing, now: u64) -> Self {
        let count = group_of.iter().max().map_or(0, |last| last + 1);
        let mut groups: Vec<Group> = (0..count).map(|number| Group::new(number, now)).collect();
        let places = ShardId::all()
            .zip(group_of)
            .map(|(shard, group)| (group, groups[usize::from(group)].add(shard)))
            .collect();
        Self {
            draining: me.draining,
            me,
            timing,
            groups,
            places,
            members: Vec::new(),
            gone: Gone::new(),
            is_drained_told: false,
            rivalled: None,
            is_replaced: false,
        }
    }

    /// Takes what happened, and says what is to be done.
    pub fn step(&mut self, input: Input, now: u64, out: &mut Vec<Output>) {
        if self.is_replaced {
            return;
        }
        let node = Node { me: &self.me, timing: &self.timing, gone: &self.gone, now };
        match input {
            Input::Time => {}
            Input::Beaten { group, sent, beat } => self.beaten(group, sent, beat, now, out),
            Input::Taken { group, taken } => {
                if let Some(group) = self.groups.get_mut(usize::from(group)) {
                    group.taken(taken, &node, out);
                }
            }
            Input::NotTaken { group } => {
                if let Some(group) = self.groups.get_mut(usize::from(group)) {
                    group.not_taken();
                }
            }
            Input::Quiet { shard, fence } => {
                if let Some((group, place)) = self.places.get(usize::from(shard.number())) {
                    self.groups[usize::from(*group)].quiet(*place, &fence, &node, out);
                }
            }
            Input::Released { group, done } => {
                if let Some(group) = self.groups.get_mut(usize::from(group)) {
                    group.released(done, &node, out);
                }
            }
            Input::Gone { node, incarnation } => self.gone(node, incarnation, now, out),
            Input::Changed => self.groups.iter_mut().for_each(Group::hasten),
            Input::Fenced { shard, fence } => {
                if let Some((group, place)) = self.places.get(usize::from(shard.number())) {
                    self.groups[usize::from(*group)].doubt(*place, &fence);
                }
            }
            Input::Pinned { shard, is_pinned } => {
                if let Some((group, place)) = self.places.get(usize::from(shard.number())) {
                    self.groups[usize::from(*group)].pin(*place, is_pinned, &node, out);
                }
            }
            Input::Drain => {
                self.draining = true;
                self.me.draining = true;
                self.groups.iter_mut().for_each(Group::hasten);
            }
        }
        if self.is_replaced {
            return;
        }
        for group in &mut self.groups {
            group.beat_if_due(&self.me, now, out);
        }
        if self.is_drained() && !self.is_drained_told {
            self.is_drained_told = true;
            out.push(Output::Drained);
        }
    }

    /// When [`Input::Time`] is due.
    pub fn next_deadline(&self) -> u64 {
        let deadlines = self.groups.iter().map(Group::next_deadline);
        if self.is_replaced { u64::MAX } else { deadlines.min().unwrap_or(u64::MAX) }
    }

    /// Whose a shard is.
    pub fn whose(&self, shard: ShardId, now: u64) -> Whose<'_> {
        let Some((group, place)) = self.places.get(usize::from(shard.number())) else { return Whose::Nobody };
        self.groups[usize::from(*group)].whose(*place, &self.me, &self.gone, now)
    }

    /// This node.
    pub fn me(&self) -> &Member {
        &self.me
    }

    /// Every node that is there, this one included, by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Every shard that has an owner, as last heard, by group and in order.
    pub fn owners(&self) -> impl Iterator<Item = (ShardId, &Fence)> {
        self.groups.iter().flat_map(Group::owners)
    }

    /// Whether this node shall own nothing, and does not.
    pub fn is_drained(&self) -> bool {
        self.draining && self.groups.iter().all(|group| group.owns_nothing(&self.me))
    }

    fn beaten(&mut self, group: u16, sent: u64, beat: Option<Beat>, now: u64, out: &mut Vec<Output>) {
        let is_rival =
            |member: &Member| member.node == self.me.node && member.incarnation != self.me.incarnation;
        let rival = beat.as_ref().is_some_and(|beat| beat.members.iter().any(is_rival));
        let node = Node { me: &self.me, timing: &self.timing, gone: &self.gone, now };
        let Some(group) = self.groups.get_mut(usize::from(group)) else { return };
        if rival {
            let was_leased = group.leased().is_some();
            group.beaten(sent, None, &node, out);
            self.rivalled(was_leased, now, out);
            return;
        }
        group.beaten(sent, beat, &node, out);
        self.forget_gone();
        self.look_around(now, out);
    }

    /// A run of our node that counts as the later has the lease. Before our first lease it may be one that has just died,
    /// though the clock that numbers them went back.
    fn rivalled(&mut self, was_leased: bool, now: u64, out: &mut Vec<Output>) {
        let since = *self.rivalled.get_or_insert(now);
        if !was_leased && now < since + 2 * self.timing.ttl {
            return;
        }
        self.is_replaced = true;
        for group in &mut self.groups {
            group.end(out);
        }
        out.push(Output::Replaced);
    }

    fn gone(&mut self, node: Box<str>, incarnation: u64, now: u64, out: &mut Vec<Output>) {
        if *node == *self.me.node {
            return;
        }
        self.gone.entry((node, incarnation)).or_insert(now);
        self.forget_gone();
        let node = Node { me: &self.me, timing: &self.timing, gone: &self.gone, now };
        for group in &mut self.groups {
            group.look_again(&node, out);
        }
        self.look_around(now, out);
    }

    /// Whoever is gone is remembered as long as a group speaks of that run; not when its lease is renewed all the same.
    fn forget_gone(&mut self) {
        let (groups, ttl) = (&self.groups, self.timing.ttl);
        self.gone.retain(|(node, incarnation), since| {
            let is_alive = |group: &Group| {
                group.leased().is_some_and(|leased| leased > *since + 2 * ttl)
                    && group.has_member(node, *incarnation)
            };
            groups.iter().any(|group| group.mentions(node, *incarnation)) && !groups.iter().any(is_alive)
        });
    }

    /// Who is there: what the groups say that answered lately.
    fn look_around(&mut self, now: u64, out: &mut Vec<Output>) {
        let is_fresh = |group: &&Group| group.leased().is_some_and(|leased| now < leased + self.timing.ttl);
        let mut found: BTreeMap<&str, &Member> = BTreeMap::new();
        for member in self.groups.iter().filter(is_fresh).flat_map(Group::members) {
            let is_later = |known: &&Member| known.incarnation >= member.incarnation;
            let is_gone =
                !self.gone.is_empty() && self.gone.contains_key(&(member.node.clone(), member.incarnation));
            if !is_gone && !found.get(&*member.node).is_some_and(is_later) {
                found.insert(&member.node, member);
            }
        }
        if found.is_empty() {
            return;
        }
        let is_same = |(one, other): (&Member, &&Member)| {
            (one.incarnation, one.draining) == (other.incarnation, other.draining)
                && (&one.node, &one.link, &one.sip) == (&other.node, &other.link, &other.sip)
        };
        let same = found.len() == self.members.len() && self.members.iter().zip(found.values()).all(is_same);
        self.members = found.into_values().cloned().collect();
        if !same {
            out.push(Output::Members(self.members.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
