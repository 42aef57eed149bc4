//! What must hold, whatever fails.

use crate::process::{Hold, Process};
use crate::scenario::{Act, CALM, Durability, Mutation, Scenario};
use crate::store::Record;
use crate::world::World;
use cluster::{Fence, Registry, ShardId, Whose, place};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A deadline is acted on so long after it was due, or after the last failure.
const TAKEOVER: u64 = 5_000;

/// What the world outside was told.
pub(crate) struct Ledger {
    told: Vec<Told>,
    /// To which process each shard was given last.
    granted: BTreeMap<ShardId, (usize, Fence)>,
    /// Nothing that was told may be lost.
    is_strict: bool,
    /// Versions rise for ever.
    counts: bool,
    /// A node that knows its lease to stand is the only one.
    is_sole: bool,
    pub(crate) troubled_until: u64,
    pub(crate) changes: usize,
    pub(crate) reads: usize,
    pub(crate) deadlines: usize,
    pub(crate) takeovers: usize,
    pub(crate) restored: usize,
    pub(crate) most_late: u64,
}

/// The last change of a user that anybody was told of, and all before it.
#[derive(Clone, Default)]
struct Told {
    past: Rc<Vec<u32>>,
    version: u64,
    epoch: u64,
}

impl Ledger {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let loses = |act: &Act| matches!(act, Act::Failover { .. } | Act::Flush { .. });
        let splits = |act: &Act| matches!(act, Act::Failover { split: Some(_), .. });
        // What moves to another node while the store falls back cannot be given back by either.
        let only_failovers = !scenario.has(|act| !matches!(act, Act::Failover { split: None, .. }))
            && scenario.acts.iter().all(|(at, _)| *at >= CALM);
        Self {
            told: vec![Told::default(); scenario.users],
            granted: BTreeMap::new(),
            is_strict: scenario.durability == Durability::Wait1 || only_failovers || !scenario.has(loses),
            counts: scenario.mutation != Some(Mutation::ForgetsErased),
            is_sole: !scenario.has(splits),
            troubled_until: 0,
            changes: 0,
            reads: 0,
            deadlines: 0,
            takeovers: 0,
            restored: 0,
            most_late: 0,
        }
    }

    /// The store fell back to an earlier state: who was given a shard may not know yet that it is not.
    pub(crate) fn fallen_back(&mut self, before: &Registry, now: &Registry) {
        let before: BTreeMap<ShardId, Fence> = before.owners().into_iter().collect();
        let now: BTreeMap<ShardId, Fence> = now.owners().into_iter().collect();
        self.granted.retain(|shard, _| before.get(shard) == now.get(shard));
    }

    pub(crate) fn troubled(&mut self, until: u64) {
        self.troubled_until = self.troubled_until.max(until);
    }

    pub(crate) fn granted(&mut self, shard: ShardId, process: usize, fence: &Fence) {
        let before = self.granted.insert(shard, (process, fence.clone()));
        self.takeovers += usize::from(before.is_some_and(|(before, _)| before != process));
    }

    /// A change is told to whoever asked for it, or acted upon.
    pub(crate) fn change(&mut self, user: usize, record: &Record, fence: &Fence) {
        self.changes += 1;
        let told = &mut self.told[user];
        if record.past.len() < told.past.len() {
            assert!(
                !self.is_strict || told.past.starts_with(&record.past),
                "user {user}: {:?} was told after {:?}",
                record.past,
                told.past
            );
            return;
        }
        assert!(
            !self.is_strict || record.past.starts_with(&told.past),
            "user {user}: {:?} was told, and then {:?}",
            told.past,
            record.past
        );
        let is_same = record.past.len() == told.past.len();
        if self.is_strict && !is_same {
            assert!(
                !self.counts || record.version > told.version,
                "user {user}: version {} again",
                record.version
            );
            assert!(fence.epoch >= told.epoch, "user {user}: epoch {} after {}", fence.epoch, told.epoch);
        }
        *told = Told { past: record.past.clone(), version: record.version, epoch: fence.epoch };
    }

    /// Something is told that was not saved for it.
    pub(crate) fn read(&mut self, user: usize, record: Option<&Record>, shard: ShardId, process: usize) {
        self.reads += 1;
        if !self.is_sole {
            return;
        }
        if let Some((owner, _)) = self.granted.get(&shard) {
            assert_eq!(*owner, process, "user {user}: {shard} is another's than of him who tells of it");
        }
        let known = record.map_or(&[][..], |record| &record.past);
        let told = &self.told[user].past;
        assert!(
            !self.is_strict || known.starts_with(told),
            "user {user}: {told:?} was told, but {known:?} is known"
        );
    }

    pub(crate) fn acted(&mut self, due: u64, now: u64) {
        self.deadlines += 1;
        self.most_late = self.most_late.max(now - due.max(self.troubled_until).min(now));
    }
}

/// From time to time: no deadline is overdue.
pub(crate) fn on_time(world: &World) {
    let limit = world.now.saturating_sub(TAKEOVER);
    if world.ledger.troubled_until > limit {
        return;
    }
    for group in &world.groups {
        for (user, record) in &group.primary.records {
            let is_overdue = record.deadline.is_some_and(|due| due < limit);
            assert!(!is_overdue, "user {user}: nobody acts on a deadline of {:?}", record.deadline);
        }
    }
}

/// When all failures have ended, and some time has passed.
pub(crate) fn settled(world: &World) {
    let living: Vec<(usize, &Process)> =
        world.processes.iter().enumerate().filter(|(_, process)| process.is_alive).collect();
    assert!(!living.is_empty());
    for number in 0..world.rules.shards {
        let shard = ShardId::new(number).unwrap();
        let mine = |(_, process): &&(usize, &Process)| {
            matches!(process.machine.whose(shard, process.clock(world.now)), Whose::Mine(_))
        };
        let owners: Vec<&str> =
            living.iter().filter(mine).map(|(_, process)| &*process.machine.me().node).collect();
        assert_eq!(owners.len(), 1, "{shard} is owned by {owners:?}");
        for (_, process) in &living {
            match process.machine.whose(shard, process.clock(world.now)) {
                Whose::Mine(fence) => assert!(world.group_of(shard).primary.registry.may_write(shard, fence)),
                Whose::Theirs(member) => assert_eq!(*member.node, *owners[0], "{shard}"),
                whose => panic!("{shard} is {whose:?} to {}", process.machine.me().node),
            }
        }
    }
    evenly(world, &living);
    finished(world);
    for (user, told) in world.ledger.told.iter().enumerate() {
        let shard = world.rules.shard_of(user);
        let record = world.group_of(shard).primary.records.get(&user);
        let known = record.map_or(&[][..], |record| &record.past);
        assert!(
            !world.ledger.is_strict || known.starts_with(&told.past),
            "user {user}: {:?} was told, but {known:?} is left",
            told.past
        );
    }
}

fn evenly(world: &World, living: &[(usize, &Process)]) {
    let names: Vec<&str> = living.iter().map(|(_, process)| &*process.machine.me().node).collect();
    for group in 0..world.groups.len() {
        let shards: Vec<ShardId> = (0..world.rules.shards)
            .filter_map(ShardId::new)
            .filter(|shard| world.number_of_group(*shard) == group)
            .collect();
        for (shard, home) in shards.iter().zip(place(&shards, &names)) {
            let process = living[home].1;
            let whose = process.machine.whose(*shard, process.clock(world.now));
            assert!(matches!(whose, Whose::Mine(_)), "{shard} is not where it is placed");
        }
    }
}

fn finished(world: &World) {
    for (number, order) in world.orders.iter().enumerate() {
        assert!(order.is_done, "order {number} was never carried out: {order:?}");
    }
    for (number, attempt) in world.attempts.iter().enumerate() {
        let lives = attempt.process.is_some_and(|process| world.processes[process].is_alive);
        assert!(attempt.answers <= 1, "request {number} was answered {} times", attempt.answers);
        assert!(!lives || attempt.answers == 1, "request {number} was not answered: {attempt:?}");
    }
    for process in world.processes.iter().filter(|process| process.is_alive) {
        assert!(process.entered.is_empty(), "{:?}", process.entered);
        let idle = |hold: &Hold| hold.actors.values().all(|actor| actor.is_idle());
        assert!(process.holds.values().all(idle), "somebody is busy for ever");
    }
}
