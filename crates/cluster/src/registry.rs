//! Leases and owners, as one group of the store keeps them: the rules that every kind of store obeys.
//!
//! A node holds one lease in each group and owns shards through it. A shard may be taken when nobody owns it, when the lease of
//! its owner has lapsed or belongs to a later run of that node, or when its owner's process is known to be gone. After the store
//! came back from a failure, which may have cost it the last changes, nobody takes anything for one lease's time, save whoever
//! held a shard of which nothing is known any more. Of two runs of one node the later has the lease.

use crate::member::{Beat, Claim, Claimed, Member};
use crate::{Fence, ShardId};
use std::collections::BTreeMap;

/// What one group knows of nodes and shards. Time is the store's own, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    leases: BTreeMap<Box<str>, Lease>,
    owners: BTreeMap<ShardId, Fence>,
    version: u64,
    run: u64,
    /// Until then only former holders may take shards, and only forgotten ones.
    grace: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Lease {
    member: Member,
    until: u64,
}

impl Registry {
    /// Renews the lease of `member` for `ttl` and tells what is known; owners only if they changed since version `known` of
    /// this run. While the lease of a later run of that node stands, nothing is renewed, and the answer shows that run.
    pub fn beat(&mut self, member: &Member, ttl: u64, known: Option<u64>, now: u64) -> Beat {
        self.leases.retain(|_, lease| lease.until > now);
        let is_later = |lease: &Lease| lease.member.incarnation > member.incarnation;
        if !self.leases.get(&member.node).is_some_and(is_later) {
            self.leases.insert(member.node.clone(), Lease { member: member.clone(), until: now + ttl });
        }
        let owners = (known != Some(self.version)).then(|| self.owners());
        Beat {
            run: self.run.to_string().into(),
            version: self.version,
            owners,
            members: self.leases.values().map(|lease| lease.member.clone()).collect(),
        }
    }

    /// Makes a node, whose lease must stand, the owner of the shards it claims, as far as it may have them.
    pub fn take(&mut self, node: &str, incarnation: u64, claims: &[Claim], now: u64) -> Vec<Claimed> {
        claims.iter().map(|claim| self.take_one(node, incarnation, claim, now)).collect()
    }

    fn take_one(&mut self, node: &str, incarnation: u64, claim: &Claim, now: u64) -> Claimed {
        let last = self.owners.get(&claim.shard);
        let owner = last.filter(|owner| !owner.node.is_empty());
        let is_mine = |fence: &Fence| *fence.node == *node && fence.incarnation == incarnation;
        // Of a shard that is known others may have been the owner meanwhile, by the side of a store that fell apart.
        let held = claim.held.as_ref().filter(|held| is_mine(held) && last.is_none());
        let may = match owner {
            Some(owner) if is_mine(owner) => return Ok(owner.clone()),
            _ if !self.is_live(node, incarnation, now) => false,
            _ if now < self.grace => held.is_some(),
            _ if claim.held.is_some() => false,
            None => true,
            Some(owner) => {
                !self.is_live(&owner.node, owner.incarnation, now) || claim.gone.as_ref() == Some(owner)
            }
        };
        if !may {
            return Err(owner.cloned());
        }
        let epoch = last.or(held).map_or(0, |last| last.epoch).max(claim.above) + 1;
        let fence = Fence { epoch, node: node.into(), incarnation };
        self.owners.insert(claim.shard, fence.clone());
        self.version += 1;
        Ok(fence)
    }

    /// Gives shards back, of those that are still owned so; their epochs stay.
    pub fn release(&mut self, shards: &[(ShardId, Fence)]) {
        for (shard, fence) in shards {
            if let Some(owner) = self.owners.get_mut(shard)
                && owner == fence
            {
                *owner = Fence { epoch: fence.epoch, node: "".into(), incarnation: 0 };
                self.version += 1;
            }
        }
    }

    /// Ends the lease of a node that takes its leave.
    pub fn leave(&mut self, node: &str, incarnation: u64) {
        if self.leases.get(node).is_some_and(|lease| lease.member.incarnation == incarnation) {
            self.leases.remove(node);
        }
    }

    /// Whether `fence` may write the shard.
    pub fn may_write(&self, shard: ShardId, fence: &Fence) -> bool {
        self.owners.get(&shard) == Some(fence)
    }

    /// The store came back from a failure; for `ttl` only former holders may take, and only what is forgotten.
    pub fn restarted(&mut self, ttl: u64, now: u64) {
        self.run += 1;
        self.grace = now + ttl;
    }

    /// The last owner of every shard that ever had one.
    pub fn owners(&self) -> Vec<(ShardId, Fence)> {
        self.owners.iter().map(|(shard, fence)| (*shard, fence.clone())).collect()
    }

    fn is_live(&self, node: &str, incarnation: u64, now: u64) -> bool {
        self.leases
            .get(node)
            .is_some_and(|lease| lease.member.incarnation == incarnation && lease.until > now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TTL: u64 = 2_000;

    fn member(node: &str, incarnation: u64) -> Member {
        Member { node: node.into(), incarnation, link: "".into(), sip: "".into(), draining: false, users: 0 }
    }

    fn claim(number: u16) -> Claim {
        Claim::new(ShardId::new(number).unwrap())
    }

    fn take(registry: &mut Registry, node: &str, claim: Claim, now: u64) -> Claimed {
        registry.take(node, 1, &[claim], now).remove(0)
    }

    #[test]
    fn a_shard_has_one_owner_until_its_lease_lapses() {
        let mut registry = Registry::default();
        registry.beat(&member("a", 1), TTL, None, 0);
        registry.beat(&member("b", 1), TTL, None, 1_000);
        let first = take(&mut registry, "a", claim(7), 0).unwrap();
        assert_eq!(first, Fence { epoch: 1, node: "a".into(), incarnation: 1 });
        assert_eq!(take(&mut registry, "b", claim(7), 1_999), Err(Some(first.clone())));
        let second = take(&mut registry, "b", claim(7), 2_000).unwrap();
        assert_eq!(second.epoch, 2);
        assert!(!registry.may_write(claim(7).shard, &first) && registry.may_write(claim(7).shard, &second));
    }

    #[test]
    fn an_owner_that_is_known_to_be_gone_is_replaced_at_once() {
        let mut registry = Registry::default();
        registry.beat(&member("a", 1), TTL, None, 0);
        registry.beat(&member("b", 1), TTL, None, 0);
        let first = take(&mut registry, "a", claim(7), 0).unwrap();
        let other = Fence { incarnation: 9, ..first.clone() };
        assert!(take(&mut registry, "b", Claim { gone: Some(other), ..claim(7) }, 1).is_err());
        assert!(take(&mut registry, "b", Claim { gone: Some(first), ..claim(7) }, 1).is_ok());
    }

    #[test]
    fn a_later_run_of_a_node_is_not_its_owner() {
        let mut registry = Registry::default();
        registry.beat(&member("a", 1), TTL, None, 0);
        take(&mut registry, "a", claim(7), 0).unwrap();
        registry.beat(&member("a", 2), TTL, None, 100);
        let fence = registry.take("a", 2, &[claim(7)], 100).remove(0).unwrap();
        assert_eq!((fence.epoch, fence.incarnation), (2, 2));
    }

    #[test]
    fn an_earlier_run_of_a_node_hears_of_the_later_and_renews_nothing() {
        let mut registry = Registry::default();
        registry.beat(&member("a", 2), TTL, None, 0);
        let beat = registry.beat(&member("a", 1), TTL, None, 1_999);
        assert_eq!(beat.members, [member("a", 2)]);
        assert!(take(&mut registry, "a", claim(7), 1_999).is_err());
        assert_eq!(registry.beat(&member("a", 1), TTL, None, 2_000).members, [member("a", 1)]);
    }

    #[test]
    fn an_epoch_that_was_heard_of_is_not_handed_out_again() {
        let mut registry = Registry::default();
        registry.beat(&member("a", 1), TTL, None, 0);
        let forgotten = Claim { above: 6, ..claim(7) };
        assert_eq!(take(&mut registry, "a", forgotten, 0).unwrap().epoch, 7);
    }

    #[test]
    fn who_held_a_shard_that_another_is_known_to_have_comes_after_it() {
        let mut registry = Registry::default();
        registry.beat(&member("a", 1), TTL, None, 0);
        registry.beat(&member("b", 1), TTL, None, 0);
        let known = take(&mut registry, "b", claim(7), 0).unwrap();
        registry.restarted(TTL, 10);
        let held = Some(Fence { epoch: 9, node: "a".into(), incarnation: 1 });
        let late = Claim { held, ..claim(7) };
        assert_eq!(take(&mut registry, "a", late.clone(), 20), Err(Some(known.clone())));
        registry.release(&[(claim(7).shard, known)]);
        assert_eq!(take(&mut registry, "a", late, 20), Err(None));
    }

    #[test]
    fn what_was_held_before_a_failure_counts_only_right_after_it() {
        let mut registry = Registry::default();
        registry.restarted(TTL, 10_000);
        registry.beat(&member("b", 1), TTL, None, 12_000);
        let owner = take(&mut registry, "b", claim(7), 12_000).unwrap();
        registry.beat(&member("a", 1), TTL, None, 12_100);
        let held = Some(Fence { epoch: 9, node: "a".into(), incarnation: 1 });
        let late = Claim { held, ..claim(7) };
        assert_eq!(take(&mut registry, "a", late.clone(), 12_100), Err(Some(owner.clone())));
        registry.release(&[(claim(7).shard, owner)]);
        assert_eq!(take(&mut registry, "a", late, 12_200), Err(None));
        assert!(take(&mut registry, "a", claim(7), 12_200).is_ok());
    }

    #[test]
    fn without_a_lease_nothing_is_taken() {
        let mut registry = Registry::default();
        assert_eq!(take(&mut registry, "a", claim(7), 0), Err(None));
    }

    #[test]
    fn a_released_shard_is_free_and_keeps_its_epoch() {
        let mut registry = Registry::default();
        registry.beat(&member("a", 1), TTL, None, 0);
        registry.beat(&member("b", 1), TTL, None, 0);
        let first = take(&mut registry, "a", claim(7), 0).unwrap();
        registry.release(&[(claim(7).shard, first.clone())]);
        assert!(!registry.may_write(claim(7).shard, &first));
        assert_eq!(take(&mut registry, "b", claim(7), 1).unwrap().epoch, 2);
    }

    #[test]
    fn after_a_failure_of_the_store_a_holder_comes_first() {
        let mut registry = Registry::default();
        registry.beat(&member("a", 1), TTL, None, 0);
        registry.beat(&member("b", 1), TTL, None, 0);
        let first = take(&mut registry, "a", claim(7), 0).unwrap();
        let lost = Registry::default();
        let mut registry = Registry { run: registry.run, ..lost };
        registry.restarted(TTL, 10_000);
        registry.beat(&member("a", 1), TTL, None, 10_100);
        registry.beat(&member("b", 1), TTL, None, 10_100);
        assert_eq!(take(&mut registry, "b", claim(7), 10_200), Err(None));
        let again = take(&mut registry, "a", Claim { held: Some(first), ..claim(7) }, 10_300).unwrap();
        assert_eq!(again.epoch, 2);
        assert!(take(&mut registry, "b", claim(8), 12_000).is_ok());
    }

    #[test]
    fn owners_are_told_when_they_changed() {
        let mut registry = Registry::default();
        let beat = registry.beat(&member("a", 1), TTL, None, 0);
        assert_eq!(beat.owners, Some(Vec::new()));
        assert_eq!(registry.beat(&member("a", 1), TTL, Some(beat.version), 1).owners, None);
        take(&mut registry, "a", claim(7), 1).unwrap();
        let told = registry.beat(&member("a", 1), TTL, Some(beat.version), 1).owners.unwrap();
        assert_eq!(told.len(), 1);
    }
}
