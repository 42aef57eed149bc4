//! One group of the store as a node sees it: its lease there, who else is there, and the shards of the group.

use super::table::{Hold, Slot};
use super::{Gone, Output, Timing, Whose};
use crate::member::{Beat, Claimed, Member};
use crate::{Fence, ShardId};

/// A table is not asked for more often than this, milliseconds.
const HASTE: u64 = 20;

/// What a group has to know of its node.
pub(super) struct Node<'a> {
    pub(super) me: &'a Member,
    pub(super) timing: &'a Timing,
    pub(super) gone: &'a Gone,
    pub(super) now: u64,
}

impl Node<'_> {
    pub(super) fn is_gone(&self, node: &str, incarnation: u64) -> bool {
        is_gone(self.gone, node, incarnation)
    }
}

fn is_gone(gone: &Gone, node: &str, incarnation: u64) -> bool {
    !gone.is_empty() && gone.contains_key(&(node.into(), incarnation))
}

/// The machine of one group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) number: u16,
    pub(super) shards: Vec<ShardId>,
    pub(super) slots: Vec<Slot>,
    pub(super) members: Vec<Member>,
    /// Between whom the shards are placed, and where each is.
    pub(super) candidates: Vec<Box<str>>,
    pub(super) placed: Vec<usize>,
    /// When shards may move: not while nodes come and go.
    pub(super) settled_at: u64,
    run: Option<Box<str>>,
    known: Option<u64>,
    /// A beat is on the way; whether it says that this node drains.
    asked: Option<bool>,
    last_asked: Option<u64>,
    next_beat: u64,
    /// The table is worth another look than the one that is on the way.
    again: bool,
    /// When the beat was sent that renewed the lease.
    leased: Option<u64>,
    /// Since when the lease has stood without a gap.
    pub(super) standing_since: u64,
    /// Until when shards are served.
    pub(super) until: u64,
    pub(super) is_taking: bool,
    /// What the [`Output::Release`] on the way gives back.
    pub(super) releasing: Vec<(usize, Fence)>,
    /// The others can know that this node drains.
    pub(super) has_told_drain: bool,
}

impl Group {
    pub(super) fn new(number: u16, now: u64) -> Self {
        Self {
            number,
            shards: Vec::new(),
            slots: Vec::new(),
            members: Vec::new(),
            candidates: Vec::new(),
            placed: Vec::new(),
            settled_at: 0,
            run: None,
            known: None,
            asked: None,
            last_asked: None,
            next_beat: now,
            again: false,
            leased: None,
            standing_since: 0,
            until: 0,
            is_taking: false,
            releasing: Vec::new(),
            has_told_drain: false,
        }
    }

    /// One more shard; where it is.
    pub(super) fn add(&mut self, shard: ShardId) -> u16 {
        let place = u16::try_from(self.shards.len()).unwrap_or(u16::MAX);
        self.shards.push(shard);
        self.slots.push(Slot::default());
        place
    }

    pub(super) fn next_deadline(&self) -> u64 {
        if self.asked.is_some() { u64::MAX } else { self.next_beat }
    }

    pub(super) fn beat_if_due(&mut self, me: &Member, now: u64, out: &mut Vec<Output>) {
        if self.next_deadline() > now {
            return;
        }
        self.asked = Some(me.draining);
        self.last_asked = Some(now);
        self.again = false;
        out.push(Output::Beat { group: self.number, member: me.clone(), known: self.known });
    }

    /// The table is worth a look.
    pub(super) fn hasten(&mut self) {
        let soon = self.last_asked.map_or(0, |last| last + HASTE);
        self.next_beat = self.next_beat.min(soon);
        self.again = true;
    }

    /// A save under `fence` was refused.
    pub(super) fn doubt(&mut self, place: u16, fence: &Fence) {
        let held = self.slots[usize::from(place)].hold.fence();
        if held == Some(fence) {
            self.known = None;
            self.hasten();
        }
    }

    pub(super) fn beaten(&mut self, sent: u64, beat: Option<Beat>, node: &Node<'_>, out: &mut Vec<Output>) {
        let Some(draining) = self.asked.take() else { return };
        let last = self.last_asked.unwrap_or(node.now);
        let Some(beat) = beat else {
            self.next_beat = node.now + node.timing.beat / 5;
            return;
        };
        let is_new_run = self.run.as_ref().is_some_and(|run| *run != beat.run);
        if is_new_run && beat.owners.is_none() {
            // A version of another run says nothing.
            self.known = None;
            self.next_beat = last + HASTE;
            return;
        }
        self.next_beat = last + if self.again { HASTE } else { node.timing.beat };
        self.run = Some(beat.run);
        self.known = Some(beat.version);
        self.members = beat.members;
        self.has_told_drain |= draining;
        if let Some(owners) = beat.owners
            && !self.read(owners, sent)
        {
            // It is older than what was taken meanwhile, or the store fell back: the next one tells.
            self.known = None;
            self.hasten();
        }
        self.compare(sent, is_new_run, node, out);
        // Not before the table was looked at: until then nothing of it is served under the new lease.
        if node.now >= self.until {
            self.standing_since = sent;
        }
        self.leased = Some(sent);
        self.until = (sent + node.timing.ttl).saturating_sub(node.timing.margin);
        self.look_again(node, out);
    }

    pub(super) fn taken(&mut self, taken: Vec<(ShardId, Claimed)>, node: &Node<'_>, out: &mut Vec<Output>) {
        self.is_taking = false;
        let mut restored = Vec::new();
        for (shard, claimed) in taken {
            let Ok(place) = self.shards.binary_search(&shard) else { continue };
            let slot = &mut self.slots[place];
            match claimed {
                Ok(fence) => slot.granted(shard, fence, node.now, out, &mut restored),
                Err(owner) => slot.refused(shard, owner, out),
            }
        }
        self.say_restored(restored, out);
        self.plan(node, out);
    }

    pub(super) fn say_restored(&self, shards: Vec<(ShardId, Fence)>, out: &mut Vec<Output>) {
        if !shards.is_empty() {
            out.push(Output::Restored { group: self.number, shards });
        }
    }

    /// Whether the shards were taken is unknown: the next table tells.
    pub(super) fn not_taken(&mut self) {
        self.is_taking = false;
    }

    pub(super) fn quiet(&mut self, place: u16, fence: &Fence, node: &Node<'_>, out: &mut Vec<Output>) {
        let slot = &mut self.slots[usize::from(place)];
        if matches!(&slot.hold, Hold::Leaving(leaving) if leaving == fence) {
            slot.hold = Hold::Releasing(fence.clone());
            self.plan(node, out);
        }
    }

    pub(super) fn pin(&mut self, place: u16, is_pinned: bool, node: &Node<'_>, out: &mut Vec<Output>) {
        self.slots[usize::from(place)].is_pinned = is_pinned;
        if !is_pinned {
            self.plan(node, out);
        }
    }

    pub(super) fn released(&mut self, done: bool, node: &Node<'_>, out: &mut Vec<Output>) {
        let released = std::mem::take(&mut self.releasing);
        if !done {
            return;
        }
        for (place, fence) in released {
            self.slots[place].released(&fence, node.now);
        }
        self.plan(node, out);
    }

    /// All shards end.
    pub(super) fn end(&mut self, out: &mut Vec<Output>) {
        for (shard, slot) in self.shards.iter().zip(&mut self.slots) {
            slot.end(*shard, out);
        }
    }

    pub(super) fn whose<'a>(&'a self, place: u16, me: &Member, gone: &Gone, now: u64) -> Whose<'a> {
        let slot = &self.slots[usize::from(place)];
        match &slot.hold {
            Hold::Mine(fence) if now < self.until => Whose::Mine(fence),
            Hold::Leaving(fence) if now < self.until => Whose::Leaving(fence),
            Hold::Mine(fence) | Hold::Leaving(fence) | Hold::Lost(fence) => Whose::Suspended(fence),
            Hold::Not | Hold::Releasing(_) => {
                let owner = slot.owner.as_ref().and_then(|owner| self.member(owner));
                match owner
                    .filter(|owner| owner.node != me.node && !is_gone(gone, &owner.node, owner.incarnation))
                {
                    Some(owner) => Whose::Theirs(owner),
                    None => Whose::Nobody,
                }
            }
        }
    }

    /// The member that holds `fence`, if its lease stands.
    pub(super) fn member(&self, fence: &Fence) -> Option<&Member> {
        let at = self.members.binary_search_by(|member| member.node.cmp(&fence.node)).ok()?;
        Some(&self.members[at]).filter(|member| member.holds(fence))
    }

    pub(super) fn has_member(&self, node: &str, incarnation: u64) -> bool {
        self.members.iter().any(|member| *member.node == *node && member.incarnation == incarnation)
    }

    /// Whether the group speaks of this run of a node.
    pub(super) fn mentions(&self, node: &str, incarnation: u64) -> bool {
        self.has_member(node, incarnation)
            || self.owners().any(|(_, owner)| *owner.node == *node && owner.incarnation == incarnation)
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// When the beat was sent that renewed the lease last.
    pub(super) fn leased(&self) -> Option<u64> {
        self.leased
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = (ShardId, &Fence)> {
        let owners = self.shards.iter().zip(&self.slots).filter_map(|(shard, slot)| {
            Some((*shard, slot.owner.as_ref().filter(|owner| !owner.node.is_empty())?))
        });
        owners.into_iter()
    }

    pub(super) fn owns_nothing(&self, me: &Member) -> bool {
        let is_free = |slot: &Slot| {
            matches!(slot.hold, Hold::Not) && !slot.owner.as_ref().is_some_and(|owner| me.holds(owner))
        };
        !self.is_taking && self.slots.iter().all(is_free)
    }
}
