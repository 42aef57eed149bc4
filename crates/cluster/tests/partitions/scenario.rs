//! What happens in one run: how the store keeps its promises, what fails and when. Drawn from a seed, or written down.

/// SplitMix64: the same dice for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let hash = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }

    /// From `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }
}

/// When a save is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// When the primary has it.
    Async,
    /// When the replica has it too.
    Wait1,
}

/// A rule that is broken on purpose, to see that somebody notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The store compares epochs instead of whole tokens.
    EpochAlone,
    /// A node goes on after its lease.
    ServesAfterLease,
    /// Some clocks lose more time than leases have margin.
    SlowClocks,
    /// The store lets anybody take what was lost, at once.
    NoGrace,
    /// A store that waits for its replica does not.
    AcknowledgesEarly,
    /// An erased record leaves no version behind.
    ForgetsErased,
    /// Nothing is sent again after a failure of the store.
    RestoresNothing,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) durability: Durability,
    pub(crate) nodes: usize,
    pub(crate) groups: u16,
    pub(crate) shards: u16,
    pub(crate) users: usize,
    /// Milliseconds at most, each way.
    pub(crate) link_delay: u64,
    pub(crate) store_delay: u64,
    pub(crate) replication: u64,
    /// Share of commands that arrive seconds late at the store, per mille.
    pub(crate) late: u64,
    /// Milliseconds between two requests, on average.
    pub(crate) pace: u64,
    pub(crate) acts: Vec<(u64, Act)>,
    pub(crate) mutation: Option<Mutation>,
}

/// Nodes by number; times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// `heard`: the host lives, so the others learn of it.
    Kill {
        node: usize,
        heard: bool,
    },
    /// Again, after it has ended.
    Start {
        node: usize,
    },
    /// One more node.
    Join,
    Drain {
        node: usize,
    },
    /// Time passes without it.
    Pause {
        node: usize,
        time: u64,
    },
    CutLink {
        one: usize,
        other: usize,
        time: u64,
    },
    CutStore {
        node: usize,
        group: u16,
        time: u64,
    },
    /// The primary is lost, and with it what its replica has not got. `split`: the nodes of this mask stay with the old one for a
    /// time.
    Failover {
        group: u16,
        down: u64,
        split: Option<(u64, u64)>,
    },
    /// The store does not answer, and executes later what it was told.
    Freeze {
        group: u16,
        time: u64,
    },
    /// The store comes back as it was.
    Restart {
        group: u16,
        down: u64,
    },
    /// The store comes back empty.
    Flush {
        group: u16,
        down: u64,
    },
    Slow {
        group: u16,
        delay: u64,
        time: u64,
    },
}

/// Failures begin so late.
pub(crate) const CALM: u64 = 4_000;

impl Scenario {
    /// Three nodes and one group, where nothing fails.
    pub(crate) fn plain(seed: u64, durability: Durability) -> Self {
        Self {
            seed,
            durability,
            nodes: 3,
            groups: 1,
            shards: 12,
            users: 10,
            link_delay: 3,
            store_delay: 3,
            replication: 20,
            late: 0,
            pace: 100,
            acts: Vec::new(),
            mutation: None,
        }
    }

    pub(crate) fn drawn(seed: u64, durability: Durability) -> Self {
        let mut dice = Dice(seed);
        let mut scenario = Self::plain(seed, durability);
        scenario.nodes = dice.between(1, 4) as usize;
        scenario.groups = dice.between(1, 2) as u16;
        scenario.shards = dice.between(6, 16) as u16;
        scenario.users = dice.between(4, 12) as usize;
        scenario.link_delay = [1, 5, 40][dice.below(3)];
        scenario.store_delay = [1, 5, 60][dice.below(3)];
        scenario.replication = [1, 30, 300][dice.below(3)];
        scenario.late = [0, 0, 20][dice.below(3)];
        scenario.pace = [60, 150, 300][dice.below(3)];
        if scenario.store_delay + scenario.replication > 100 {
            // Nobody has more to do than it can.
            scenario.pace = 300;
        }
        let mut at = CALM;
        let mut nodes = scenario.nodes;
        for _ in 0..dice.between(1, 9) {
            let most = [50, 500, 3_000][dice.below(3)];
            at += dice.between(0, most);
            let act = scenario.draw(&mut dice, nodes);
            nodes += usize::from(act == Act::Join);
            scenario.acts.push((at, act));
        }
        scenario
    }

    fn draw(&self, dice: &mut Dice, nodes: usize) -> Act {
        let node = dice.below(nodes);
        let group = dice.below(self.groups.into()) as u16;
        let most = [300, 2_500, 6_000][dice.below(3)];
        let time = dice.between(50, most);
        match dice.below(if self.durability == Durability::Async { 17 } else { 16 }) {
            0 | 1 => Act::Kill { node, heard: dice.chance(70) },
            2..=4 => Act::Start { node },
            5 => Act::Join,
            6 => Act::Drain { node },
            7 | 8 => Act::Pause { node, time },
            9 => Act::CutLink { one: node, other: dice.below(nodes), time },
            10 => Act::CutStore { node, group, time },
            11 | 12 => {
                let split = dice.chance(40).then(|| (dice.next() % (1 << nodes), time + 1_000));
                Act::Failover { group, down: dice.between(200, 3_000), split }
            }
            13 => Act::Freeze { group, time },
            14 => Act::Restart { group, down: time },
            15 => Act::Slow { group, delay: dice.between(50, 700), time },
            _ => Act::Flush { group, down: time },
        }
    }

    /// Only failures of the store's primary, far from one another: the nodes stay as they are.
    pub(crate) fn of_failovers(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut scenario = Self::plain(seed, Durability::Async);
        scenario.nodes = dice.between(1, 4) as usize;
        scenario.replication = [30, 300, 1_000][dice.below(3)];
        let mut at = CALM;
        for _ in 0..dice.between(1, 3) {
            at += dice.between(0, 3_000);
            scenario.acts.push((at, Act::Failover { group: 0, down: dice.between(100, 3_000), split: None }));
            at += 9_000;
        }
        scenario
    }

    pub(crate) fn has(&self, is: impl Fn(&Act) -> bool) -> bool {
        self.acts.iter().any(|(_, act)| is(act))
    }
}
