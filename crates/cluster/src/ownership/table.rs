//! What the table of a group says of each shard, held against what this node believes.

use super::Output;
use super::group::{Group, Node};
use crate::{Fence, ShardId};

/// What this node knows of a shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    /// The owner as last heard; one without name has released it.
    pub(super) owner: Option<Fence>,
    /// The highest epoch that was ever heard of.
    pub(super) highest: u64,
    /// The highest epoch under which its users were here. What ended does not begin again under the same token.
    pub(super) begun: u64,
    pub(super) hold: Hold,
    /// What a beat that was sent before this says of us is older than what we know.
    pub(super) since: u64,
    /// Since when it could be taken and was not.
    pub(super) free_since: Option<u64>,
    /// Not to be claimed again before the next beat.
    pub(super) is_refused: bool,
    /// Not to be handed over.
    pub(super) is_pinned: bool,
}

/// What this node is to a shard.
#[derive(Clone, Debug, Default)]
pub(super) enum Hold {
    /// Nothing.
    #[default]
    Not,
    /// Its owner.
    Mine(Fence),
    /// Its owner, of which the store has lost all memory: to be claimed again.
    Lost(Fence),
    /// Its owner, until its users have gone.
    Leaving(Fence),
    /// About to give it back: none of its users is here any more.
    Releasing(Fence),
}

impl Hold {
    /// Under which fence its users are here.
    pub(super) fn fence(&self) -> Option<&Fence> {
        match self {
            Self::Mine(fence) | Self::Lost(fence) | Self::Leaving(fence) => Some(fence),
            Self::Not | Self::Releasing(_) => None,
        }
    }
}

impl Slot {
    fn hear(&mut self, owner: Option<Fence>) {
        self.highest = owner.as_ref().map_or(0, |owner| owner.epoch).max(self.highest);
        self.owner = owner;
    }

    pub(super) fn end(&mut self, shard: ShardId, out: &mut Vec<Output>) {
        if let Some(fence) = self.hold.fence() {
            out.push(Output::End { shard, fence: fence.clone() });
        }
        self.hold = Hold::Not;
    }

    pub(super) fn granted(
        &mut self,
        shard: ShardId,
        fence: Fence,
        now: u64,
        out: &mut Vec<Output>,
        restored: &mut Vec<(ShardId, Fence)>,
    ) {
        self.hear(Some(fence.clone()));
        self.since = now;
        self.free_since = None;
        match &self.hold {
            // Nobody had it in between.
            Hold::Lost(held) if fence == *held || fence.epoch == held.epoch + 1 => {
                restored.push((shard, fence.clone()));
            }
            Hold::Not | Hold::Mine(_) | Hold::Lost(_) | Hold::Leaving(_) | Hold::Releasing(_) => {
                self.end(shard, out);
                if fence.epoch <= self.begun {
                    self.hold = Hold::Releasing(fence);
                    return;
                }
                out.push(Output::Begin { shard, fence: fence.clone() });
            }
        }
        self.begun = fence.epoch;
        self.hold = Hold::Mine(fence);
    }

    pub(super) fn refused(&mut self, shard: ShardId, owner: Option<Fence>, out: &mut Vec<Output>) {
        self.is_refused = true;
        if owner.is_some() {
            self.hear(owner);
        }
        if matches!(self.hold, Hold::Lost(_)) {
            self.end(shard, out);
        }
    }

    pub(super) fn released(&mut self, fence: &Fence, now: u64) {
        if matches!(&self.hold, Hold::Releasing(releasing) if releasing == fence) {
            self.hold = Hold::Not;
            self.since = now;
            if self.owner.as_ref() == Some(fence) {
                self.owner = Some(Fence { epoch: fence.epoch, node: "".into(), incarnation: 0 });
            }
        }
    }

    /// What becomes of a shard whose users are here, but whose owner in the table is not who we think we are.
    fn missed(&self, fence: &Fence, sent: u64, is_new_run: bool, node: &Node<'_>) -> Missed {
        let Some(owner) = &self.owner else {
            return if sent < self.since && !is_new_run { Missed::Stale } else { Missed::Lost };
        };
        if node.me.holds(owner) && owner.epoch > fence.epoch {
            return Missed::Lost;
        }
        if sent < self.since && owner.epoch <= fence.epoch && !is_new_run {
            return Missed::Stale;
        }
        Missed::Others
    }
}

enum Missed {
    /// The table is older than our right.
    Stale,
    /// The store has lost its memory of it.
    Lost,
    /// It is, or was in between, another's; or so the store says that fell back to an earlier state.
    Others,
}

impl Group {
    /// The table as a beat that was sent at `sent` brought it; whether all of it is news.
    pub(super) fn read(&mut self, owners: Vec<(ShardId, Fence)>, sent: u64) -> bool {
        let mut is_new = true;
        let mut owners = owners.into_iter().peekable();
        for (shard, slot) in self.shards.iter().zip(&mut self.slots) {
            while owners.next_if(|(told, _)| told < shard).is_some() {}
            let told = owners.next_if(|(told, _)| told == shard).map(|(_, owner)| owner);
            let epoch = |owner: &Option<Fence>| owner.as_ref().map(|owner| owner.epoch);
            if sent >= slot.since || epoch(&told) > epoch(&slot.owner) {
                slot.hear(told);
            } else {
                is_new &= slot.owner == told;
            }
        }
        is_new
    }

    /// What the table means for the shards that are here.
    pub(super) fn compare(&mut self, sent: u64, is_new_run: bool, node: &Node<'_>, out: &mut Vec<Output>) {
        let mut restored = Vec::new();
        for (shard, slot) in self.shards.iter().zip(&mut self.slots) {
            slot.is_refused = false;
            match &slot.hold {
                Hold::Not => {}
                Hold::Mine(fence) | Hold::Lost(fence) => {
                    let fence = fence.clone();
                    if slot.owner.as_ref() == Some(&fence) {
                        if is_new_run || matches!(slot.hold, Hold::Lost(_)) {
                            restored.push((*shard, fence.clone()));
                        }
                        slot.hold = Hold::Mine(fence);
                        continue;
                    }
                    match slot.missed(&fence, sent, is_new_run, node) {
                        Missed::Stale => {}
                        Missed::Lost => slot.hold = Hold::Lost(fence),
                        Missed::Others => slot.end(*shard, out),
                    }
                }
                Hold::Leaving(fence) => {
                    let is_others = |owner: &Fence| {
                        owner.epoch >= fence.epoch && !owner.node.is_empty() && !node.me.holds(owner)
                    };
                    if slot.owner.as_ref().is_some_and(is_others) {
                        slot.end(*shard, out);
                    }
                }
                Hold::Releasing(_) => match &slot.owner {
                    Some(owner) if node.me.holds(owner) => slot.hold = Hold::Releasing(owner.clone()),
                    _ => slot.hold = Hold::Not,
                },
            }
        }
        self.say_restored(restored, out);
    }
}
