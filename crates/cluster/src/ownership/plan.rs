//! What a node does about the shards of a group: take, hand over, give back.

use super::Output;
use super::group::{Group, Node};
use super::table::{Hold, Slot};
use crate::member::Claim;
use crate::{Fence, place};

/// So many shards are on their way to other nodes at once.
const LEAVING: usize = 64;

/// So many shards are claimed in one call.
const CLAIMS: usize = 256;

impl Group {
    /// Places the shards anew if other nodes are there than before, and does what is to be done.
    pub(super) fn look_again(&mut self, node: &Node<'_>, out: &mut Vec<Output>) {
        let may_own = |name: &str, incarnation: u64, draining: bool| {
            let draining = if *name == *node.me.node { node.me.draining } else { draining };
            !draining && !node.is_gone(name, incarnation)
        };
        let able = self
            .members
            .iter()
            .filter(|member| may_own(&member.node, member.incarnation, member.draining))
            .map(|member| &member.node);
        if !able.clone().eq(&self.candidates) {
            self.candidates = able.cloned().collect();
            let names: Vec<&str> = self.candidates.iter().map(|name| &**name).collect();
            self.placed = place(&self.shards, &names);
            self.settled_at = node.now + node.timing.settle;
        }
        self.plan(node, out);
    }

    pub(super) fn plan(&mut self, node: &Node<'_>, out: &mut Vec<Output>) {
        if node.now >= self.until {
            return;
        }
        self.take(node, out);
        self.hand_over(node, out);
        self.release(out);
    }

    fn take(&mut self, node: &Node<'_>, out: &mut Vec<Output>) {
        let orphaned = 2 * node.timing.ttl;
        let mut claims = Vec::new();
        for place in 0..self.slots.len() {
            let slot = &self.slots[place];
            match &slot.hold {
                Hold::Not => {}
                Hold::Lost(fence) => {
                    let held = Some(fence.clone());
                    let claim = Claim { held, above: slot.highest, ..Claim::new(self.shards[place]) };
                    if !slot.is_refused {
                        claims.push(claim);
                    }
                    continue;
                }
                Hold::Mine(_) | Hold::Leaving(_) | Hold::Releasing(_) => continue,
            }
            if let Some(owner) = slot.owner.clone().filter(|owner| node.me.holds(owner))
                && owner.epoch <= slot.begun
            {
                // Given back or lost before, and the store does not know it any more. Whoever had it since may not have heard.
                if !self.is_taking {
                    self.slots[place].hold = Hold::Releasing(owner);
                }
                continue;
            }
            let takeable = self.takeable(slot, node);
            let slot = &mut self.slots[place];
            let Some(gone) = takeable else {
                slot.free_since = None;
                continue;
            };
            let free_since = *slot.free_since.get_or_insert(node.now);
            let home = self.placed.get(place).map(|at| &self.candidates[*at]);
            let is_home = home == Some(&node.me.node);
            let is_orphan = !node.me.draining && node.now >= free_since + orphaned;
            if is_home || is_orphan {
                if !slot.is_refused {
                    claims.push(Claim { gone, above: slot.highest, ..Claim::new(self.shards[place]) });
                }
            } else if !self.is_taking
                && let Some(owner) = slot.owner.clone().filter(|owner| node.me.holds(owner))
            {
                // Ours in the table, though nothing of it is here, nor about to be.
                slot.hold = Hold::Releasing(owner);
            }
        }
        if self.is_taking || claims.is_empty() {
            return;
        }
        claims.truncate(CLAIMS);
        self.is_taking = true;
        out.push(Output::Take { group: self.number, claims });
    }

    /// Whether a shard can be taken; who is to be deposed because it is gone.
    fn takeable(&self, slot: &Slot, node: &Node<'_>) -> Option<Option<Fence>> {
        match &slot.owner {
            Some(owner) if !owner.node.is_empty() && !node.me.holds(owner) => {
                if node.is_gone(&owner.node, owner.incarnation) {
                    return Some(Some(owner.clone()));
                }
                // If our lease had lapsed too, the store was the cause, and the others come back like us.
                let is_alone = node.now < self.standing_since + node.timing.beat;
                let has_lapsed = self.member(owner).is_none();
                (has_lapsed && (!is_alone || owner.node == node.me.node)).then_some(None)
            }
            _ => Some(None),
        }
    }

    fn hand_over(&mut self, node: &Node<'_>, out: &mut Vec<Output>) {
        let is_settled = if node.me.draining { self.has_told_drain } else { node.now >= self.settled_at };
        if !is_settled || self.placed.is_empty() {
            return;
        }
        let is_leaving = |slot: &&Slot| matches!(slot.hold, Hold::Leaving(_) | Hold::Releasing(_));
        let mut room = LEAVING.saturating_sub(self.slots.iter().filter(is_leaving).count());
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if room == 0 {
                return;
            }
            let to = &self.candidates[self.placed[place]];
            if let Hold::Mine(fence) = &slot.hold
                && *to != node.me.node
                && !slot.is_pinned
            {
                let fence = fence.clone();
                room -= 1;
                out.push(Output::HandOver {
                    shard: self.shards[place],
                    fence: fence.clone(),
                    to: to.clone(),
                });
                slot.hold = Hold::Leaving(fence);
            }
        }
    }

    fn release(&mut self, out: &mut Vec<Output>) {
        if !self.releasing.is_empty() {
            return;
        }
        for (place, slot) in self.slots.iter().enumerate() {
            if let Hold::Releasing(fence) = &slot.hold {
                self.releasing.push((place, fence.clone()));
            }
        }
        if self.releasing.is_empty() {
            return;
        }
        let shards = self.releasing.iter().map(|(place, fence)| (self.shards[*place], fence.clone()));
        out.push(Output::Release { group: self.number, shards: shards.collect() });
    }
}
