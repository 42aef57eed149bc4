//! Groups of a store: a primary, its replica some time behind, and what becomes of both.

use crate::scenario::{Durability, Mutation};
use cluster::{Beat, Claim, Claimed, Fence, Member, Registry, ShardId};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// What is kept of a user. An erased one leaves its version.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) version: u64,
    pub(crate) write_id: u64,
    pub(crate) is_erased: bool,
    pub(crate) deadline: Option<u64>,
    /// Every change that led to it, in order: nobody in the cluster reads this, only the assertions do.
    pub(crate) past: Rc<Vec<u32>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Beat { member: Member, known: Option<u64> },
    Take { member: Member, claims: Vec<Claim> },
    Release { shards: Vec<(ShardId, Fence)> },
    Leave { member: Member },
    Save { user: usize, shard: ShardId, fence: Fence, record: Record },
    Load { user: usize },
    Deadlines { shard: ShardId },
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Beat(Beat),
    Taken(Vec<Claimed>),
    Done,
    Fenced,
    Loaded(Option<Record>),
    Deadlines(Vec<(usize, u64)>),
}

/// What one server of a group knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) registry: Registry,
    pub(crate) records: BTreeMap<usize, Record>,
}

/// What all servers of all groups are told once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) ttl: u64,
    pub(crate) shards: u16,
    pub(crate) durability: Durability,
    pub(crate) mutation: Option<Mutation>,
}

impl Rules {
    pub(crate) fn shard_of(&self, user: usize) -> ShardId {
        ShardId::new(user as u16 % self.shards).unwrap()
    }
}

impl State {
    pub(crate) fn apply(&mut self, op: &Op, now: u64, rules: &Rules) -> Answer {
        match op {
            Op::Beat { member, known } => Answer::Beat(self.registry.beat(member, rules.ttl, *known, now)),
            Op::Take { member, claims } => {
                Answer::Taken(self.registry.take(&member.node, member.incarnation, claims, now))
            }
            Op::Release { shards } => {
                self.registry.release(shards);
                Answer::Done
            }
            Op::Leave { member } => {
                self.registry.leave(&member.node, member.incarnation);
                Answer::Done
            }
            Op::Save { user, shard, fence, record } => self.save(*user, *shard, fence, record, rules),
            Op::Load { user } => Answer::Loaded(self.records.get(user).cloned()),
            Op::Deadlines { shard } => {
                let of_shard = |user: &usize| rules.shard_of(*user) == *shard;
                let deadlines = self.records.iter().filter(|(user, _)| of_shard(user));
                Answer::Deadlines(
                    deadlines.filter_map(|(user, record)| Some((*user, record.deadline?))).collect(),
                )
            }
        }
    }

    fn save(&mut self, user: usize, shard: ShardId, fence: &Fence, record: &Record, rules: &Rules) -> Answer {
        let may_write = self.registry.may_write(shard, fence);
        if !may_write {
            let has_epoch = |(owned, owner): &(ShardId, Fence)| *owned == shard && owner.epoch == fence.epoch;
            let mutated =
                rules.mutation == Some(Mutation::EpochAlone) && self.registry.owners().iter().any(has_epoch);
            if !mutated {
                return Answer::Fenced;
            }
        }
        if let Some(known) = self.records.get(&user)
            && known.version >= record.version
        {
            let is_repeated = known.version == record.version && known.write_id == record.write_id;
            return if is_repeated { Answer::Done } else { Answer::Fenced };
        }
        assert!(may_write, "user {user}: a save of {fence} went through, who is not the owner");
        let forgets = record.is_erased && rules.mutation == Some(Mutation::ForgetsErased);
        let version = if forgets { 0 } else { record.version };
        self.records.insert(user, Record { version, ..record.clone() });
        Answer::Done
    }
}

/// A call that a process waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) process: usize,
    pub(crate) call: u64,
}

struct Lagging {
    due: u64,
    at: u64,
    op: Op,
    waits: Option<Ticket>,
}

/// A part of the store that fails by itself.
pub(crate) struct Group {
    pub(crate) primary: State,
    replica: Option<State>,
    lagging: VecDeque<Lagging>,
    /// Which process of a server the primary is: connections lead to one, and end with it.
    server: u64,
    /// The old primary, which the nodes of a mask still take for the real one.
    split: Option<Split>,
    pub(crate) up: bool,
    pub(crate) frozen_until: u64,
    pub(crate) slow: u64,
    runs: u64,
}

struct Split {
    state: State,
    mask: u64,
    server: u64,
}

/// What came of a command.
pub(crate) enum Heard {
    Nothing,
    Answer(Answer),
    /// When the replica has it.
    Later(u64),
}

impl Group {
    pub(crate) fn new() -> Self {
        Self {
            primary: State::default(),
            replica: Some(State::default()),
            lagging: VecDeque::new(),
            server: 0,
            split: None,
            up: true,
            frozen_until: 0,
            slow: 0,
            runs: 0,
        }
    }

    /// To which server a connection of a node leads.
    pub(crate) fn server(&self, node: usize) -> u64 {
        let split = self.split.as_ref().filter(|split| split.mask >> node & 1 == 1);
        split.map_or(self.server, |split| split.server)
    }

    /// A command arrives that was sent to a server; `lag` is how long the replica takes.
    pub(crate) fn hear(
        &mut self,
        server: u64,
        op: Op,
        ticket: Ticket,
        now: u64,
        lag: u64,
        rules: &Rules,
    ) -> Heard {
        let waits = matches!(op, Op::Save { .. }) && rules.durability == Durability::Wait1;
        if let Some(split) = self.split.as_mut().filter(|split| split.server == server) {
            let answer = split.state.apply(&op, now, rules);
            let waits = waits && rules.mutation != Some(Mutation::AcknowledgesEarly);
            return if waits && matches!(answer, Answer::Done) {
                Heard::Nothing
            } else {
                Heard::Answer(answer)
            };
        }
        if !self.up || self.server != server {
            return Heard::Nothing;
        }
        let answer = self.primary.apply(&op, now, rules);
        let reads = matches!(op, Op::Load { .. } | Op::Deadlines { .. });
        let waits =
            waits && matches!(answer, Answer::Done) && rules.mutation != Some(Mutation::AcknowledgesEarly);
        if reads {
            return Heard::Answer(answer);
        }
        if self.replica.is_none() {
            return if waits { Heard::Nothing } else { Heard::Answer(answer) };
        }
        let due = self.lagging.back().map_or(0, |last| last.due).max(now + lag);
        self.lagging.push_back(Lagging { due, at: now, op, waits: waits.then_some(ticket) });
        if waits { Heard::Later(due) } else { Heard::Answer(answer) }
    }

    /// What the replica has got by now; whose saves it has.
    pub(crate) fn replicate(&mut self, now: u64, rules: &Rules) -> Vec<Ticket> {
        let mut waited = Vec::new();
        while self.lagging.front().is_some_and(|next| next.due <= now) {
            let Some(next) = self.lagging.pop_front() else { break };
            if let Some(replica) = &mut self.replica {
                replica.apply(&next.op, next.at, rules);
                waited.extend(next.waits);
            }
        }
        waited
    }

    /// The primary is lost. Without a replica it is only slow to come back.
    pub(crate) fn fail(&mut self, now: u64, split: Option<u64>, rules: &Rules) {
        self.up = false;
        self.replicate(now, rules);
        self.lagging.clear();
        let before = self.server;
        self.server += 1;
        if let Some(replica) = self.replica.take() {
            let old = std::mem::replace(&mut self.primary, replica);
            self.split = split.map(|mask| Split { state: old, mask, server: before });
        }
    }

    pub(crate) fn rejoin(&mut self) {
        self.split = None;
    }

    pub(crate) fn stop(&mut self, is_emptied: bool) {
        self.up = false;
        self.server += 1;
        if is_emptied {
            self.primary = State::default();
            self.replica = None;
            self.lagging.clear();
            for _ in 0..self.runs {
                self.primary.registry.restarted(0, 0);
            }
        }
    }

    pub(crate) fn start(&mut self, now: u64, rules: &Rules) {
        self.up = true;
        self.runs += 1;
        let grace = if rules.mutation == Some(Mutation::NoGrace) { 0 } else { rules.ttl };
        self.primary.registry.restarted(grace, now);
        // What a replica was to get goes on from the state as it is now.
        if self.replica.is_some() {
            self.attach();
        }
    }

    /// A replica gets everything.
    pub(crate) fn attach(&mut self) {
        if self.up {
            self.replica = Some(self.primary.clone());
            self.lagging.clear();
        }
    }
}
