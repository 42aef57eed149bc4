//! A process of the cluster: the machine under test, and around it as much of a shell as there must be.

use crate::store::{Op, Record};
use cluster::{Fence, Input, Member, Output, Ownership, ShardId, Timing};
use std::collections::{BTreeMap, VecDeque};

pub(crate) const TIMING: Timing = Timing { ttl: 2_000, beat: 500, margin: 400, settle: 1_000 };

/// What is asked of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Write,
    Read,
    Erase,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Which of all attempts it is.
    pub(crate) attempt: u32,
    pub(crate) user: usize,
    pub(crate) kind: Kind,
}

/// What a user has to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Job {
    /// And to tell the process where it entered.
    Request {
        request: Request,
        entry: usize,
    },
    Deadline {
        user: usize,
        due: u64,
    },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Actor {
    pub(crate) is_loaded: bool,
    /// By this call.
    pub(crate) loading: Option<u64>,
    pub(crate) record: Option<Record>,
    pub(crate) queue: VecDeque<Job>,
    pub(crate) saving: Option<(Record, Job)>,
}

impl Actor {
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.saving.is_none()
    }
}

/// A shard that is here.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) fence: Fence,
    pub(crate) is_leaving: bool,
    pub(crate) actors: BTreeMap<usize, Actor>,
    pub(crate) due: BTreeMap<usize, u64>,
}

/// A request at the node where it entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entered {
    pub(crate) request: Request,
    /// Which process has it.
    pub(crate) at: Option<usize>,
    pub(crate) until: u64,
}

/// What a process waits for.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Beat { group: u16, sent: u64 },
    Take { group: u16, shards: Vec<ShardId> },
    Release { group: u16 },
    Leave,
    Load { shard: ShardId, user: usize, tries: u8 },
    Save { shard: ShardId, user: usize, op: Op, tries: u8 },
    Restore { op: Op, tries: u8 },
    Deadlines { shard: ShardId },
}

/// A clock that began at another time than all others, and does not go quite like them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) began: u64,
    /// Per mille of the true time.
    pub(crate) rate: u64,
}

impl Clock {
    fn at(self, now: u64) -> u64 {
        self.began + now * self.rate / 1_000
    }

    /// The first true time at which it shows `time`.
    fn when(self, time: u64) -> u64 {
        if time == u64::MAX { time } else { (time.saturating_sub(self.began) * 1_000).div_ceil(self.rate) }
    }
}

pub(crate) struct Process {
    pub(crate) node: usize,
    pub(crate) is_alive: bool,
    pub(crate) paused_until: u64,
    pub(crate) is_draining: bool,
    pub(crate) is_drained: bool,
    /// Its clock.
    clock: Clock,
    pub(crate) machine: Ownership,
    pub(crate) armed: u64,
    pub(crate) calls: BTreeMap<u64, Call>,
    pub(crate) holds: BTreeMap<ShardId, Hold>,
    /// What it wrote lately, and when.
    pub(crate) recent: BTreeMap<usize, (u64, Record)>,
    pub(crate) entered: BTreeMap<u32, Entered>,
}

impl Process {
    pub(crate) fn new(node: usize, incarnation: u64, group_of: Vec<u16>, clock: Clock, now: u64) -> Self {
        let member = Member {
            node: format!("n{node}").into(),
            incarnation,
            link: "".into(),
            sip: "".into(),
            draining: false,
            users: 0,
        };
        Self {
            node,
            is_alive: true,
            paused_until: 0,
            is_draining: false,
            is_drained: false,
            clock,
            machine: Ownership::new(member, group_of, TIMING, clock.at(now)),
            armed: 0,
            calls: BTreeMap::new(),
            holds: BTreeMap::new(),
            recent: BTreeMap::new(),
            entered: BTreeMap::new(),
        }
    }

    pub(crate) fn clock(&self, now: u64) -> u64 {
        self.clock.at(now)
    }

    /// By the time of the world.
    pub(crate) fn next_deadline(&self) -> u64 {
        self.clock.when(self.machine.next_deadline())
    }

    pub(crate) fn step(&mut self, input: Input, now: u64) -> Vec<Output> {
        let mut out = Vec::new();
        let clock = self.clock(now);
        self.machine.step(input, clock, &mut out);
        out
    }
}
