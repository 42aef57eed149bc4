//! Virtual time, the wires, the clients, and what fails when.

use crate::assertions::{self, Ledger};
use crate::process::{Call, Clock, Kind, Process, Request};
use crate::scenario::{Act, Dice, Mutation, Scenario};
use crate::store::{Answer, Group, Heard, Op, Rules, Ticket};
use crate::{process, shell};
use cluster::{Fence, Input, ShardId};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Act(Act),
    Heal,
    Tick,
    Wake(usize),
    Resume(usize),
    Exit {
        process: usize,
        latest: u64,
    },
    Command {
        ticket: Ticket,
        group: usize,
        server: u64,
        op: Op,
    },
    Reply {
        ticket: Ticket,
        answer: Answer,
    },
    Timeout(Ticket),
    Replicate(usize),
    Up(usize),
    Attach(usize),
    Rejoin(usize),
    Quicken(usize),
    Frame {
        from: usize,
        to: usize,
        frame: Frame,
        waited: bool,
    },
    Gone {
        to: usize,
        of: usize,
    },
    /// A client thinks of something to ask.
    Order,
    Try(usize),
    Arrive(u32),
    Told {
        attempt: u32,
        done: bool,
    },
    Impatient(u32),
    /// The node where a request entered looks where it is.
    Look {
        process: usize,
        attempt: u32,
    },
    Due {
        process: usize,
        shard: ShardId,
        user: usize,
        due: u64,
    },
    Quiet {
        process: usize,
        shard: ShardId,
        fence: Fence,
    },
}

/// What nodes say to each other.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    Request(Request),
    /// The owner did not do it.
    Again(u32),
    Answer {
        attempt: u32,
        done: bool,
    },
    Changed,
}

/// What a client wants done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) user: usize,
    pub(crate) kind: Kind,
    pub(crate) is_done: bool,
    /// The last attempt at it.
    attempt: u32,
}

/// One request of a client at one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) order: usize,
    pub(crate) node: usize,
    /// Where it entered.
    pub(crate) process: Option<usize>,
    pub(crate) answers: u32,
}

pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) rules: Rules,
    pub(crate) dice: Dice,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub(crate) groups: Vec<Group>,
    pub(crate) processes: Vec<Process>,
    /// The last process of each node.
    pub(crate) current: Vec<usize>,
    backlog: BTreeMap<usize, Vec<Event>>,
    pub(crate) orders: Vec<Order>,
    pub(crate) attempts: Vec<Attempt>,
    cuts: BTreeMap<(usize, usize), u64>,
    store_cuts: BTreeMap<(usize, usize), u64>,
    last_frame: BTreeMap<(usize, usize), u64>,
    pub(crate) ledger: Ledger,
    healed: Option<u64>,
    pub(crate) story: Option<Vec<String>>,
    pub(crate) events: u64,
    /// Deadlines that somebody began to act on.
    pub(crate) expiries: u32,
}

impl World {
    pub(crate) fn new(scenario: Scenario, told: bool) -> Self {
        let rules = Rules {
            ttl: process::TIMING.ttl,
            shards: scenario.shards,
            durability: scenario.durability,
            mutation: scenario.mutation,
        };
        let mut world = Self {
            rules,
            dice: Dice(scenario.seed ^ 0x5eed),
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            groups: (0..scenario.groups).map(|_| Group::new()).collect(),
            processes: Vec::new(),
            current: Vec::new(),
            backlog: BTreeMap::new(),
            orders: Vec::new(),
            attempts: Vec::new(),
            cuts: BTreeMap::new(),
            store_cuts: BTreeMap::new(),
            last_frame: BTreeMap::new(),
            ledger: Ledger::new(&scenario),
            healed: None,
            story: told.then(Vec::new),
            events: 0,
            expiries: 0,
            scenario,
        };
        for node in 0..world.scenario.nodes {
            world.current.push(0);
            world.start(node);
        }
        for (at, act) in world.scenario.acts.clone() {
            world.at(at, Event::Act(act));
        }
        let last = world.scenario.acts.last().map_or(0, |(at, _)| *at);
        world.at(last + 1, Event::Heal);
        world.at(0, Event::Tick);
        world.at(500, Event::Order);
        world
    }

    /// All of it.
    pub(crate) fn run(&mut self) {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if self.healed.is_some_and(|healed| at > healed.max(self.ledger.troubled_until) + 16_000) {
                break;
            }
            self.now = at;
            self.events += 1;
            self.happen(event);
        }
        assertions::settled(self);
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), event);
    }

    pub(crate) fn after(&mut self, time: u64, event: Event) {
        self.at(self.now + time, event);
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:6} {}", self.now, line()));
        }
    }

    pub(crate) fn number_of_group(&self, shard: ShardId) -> usize {
        usize::from(shard.number()) % self.groups.len()
    }

    pub(crate) fn group_of(&self, shard: ShardId) -> &Group {
        &self.groups[self.number_of_group(shard)]
    }

    /// To whose process an event goes.
    fn addressee(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Wake(process)
            | Event::Exit { process, .. }
            | Event::Reply { ticket: Ticket { process, .. }, .. }
            | Event::Timeout(Ticket { process, .. })
            | Event::Frame { to: process, .. }
            | Event::Gone { to: process, .. }
            | Event::Look { process, .. }
            | Event::Due { process, .. }
            | Event::Quiet { process, .. } => Some(*process),
            Event::Arrive(attempt) => Some(self.current[self.attempts[*attempt as usize].node]),
            _ => None,
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some(number) = self.addressee(&event) {
            let process = &self.processes[number];
            if !process.is_alive {
                if let Event::Arrive(attempt) = event {
                    self.after(300, Event::Impatient(attempt));
                }
                return;
            }
            if process.paused_until > self.now {
                self.backlog.entry(number).or_default().push(event);
                return;
            }
        }
        match event {
            Event::Act(act) => self.act(act),
            Event::Heal => self.heal(),
            Event::Tick => {
                let works = |process: &Process| process.is_alive && process.paused_until <= self.now;
                if !self.processes.iter().any(works) {
                    self.ledger.troubled(self.now);
                }
                assertions::on_time(self);
                self.after(500, Event::Tick);
            }
            Event::Wake(process) => {
                self.processes[process].armed = u64::MAX;
                shell::tell(self, process, Input::Time);
            }
            Event::Resume(process) => {
                for event in self.backlog.remove(&process).unwrap_or_default() {
                    self.at(self.now, event);
                }
            }
            Event::Exit { process, latest } => self.exit(process, latest),
            Event::Command { ticket, group, server, op } => self.command(ticket, group, server, op),
            Event::Reply { ticket, answer } => shell::answered(self, ticket, Some(answer)),
            Event::Timeout(ticket) => shell::answered(self, ticket, None),
            Event::Replicate(group) => {
                for ticket in self.groups[group].replicate(self.now, &self.rules) {
                    self.reply(ticket, group, Answer::Done);
                }
            }
            Event::Up(group) => self.groups[group].start(self.now, &self.rules),
            Event::Attach(group) => self.groups[group].attach(),
            Event::Rejoin(group) => self.groups[group].rejoin(),
            Event::Quicken(group) => self.groups[group].slow = 0,
            Event::Frame { from, waited, .. } if waited && !self.processes[from].is_alive => {}
            Event::Frame { from, to, frame, .. } => shell::framed(self, from, to, frame),
            Event::Gone { to, of } => {
                let me = self.processes[of].machine.me();
                let (node, incarnation) = (me.node.clone(), me.incarnation);
                shell::tell(self, to, Input::Gone { node, incarnation });
            }
            Event::Order => self.order(),
            Event::Try(order) => self.attempt(order),
            Event::Arrive(attempt) => shell::enter(self, attempt),
            Event::Told { attempt, done } => self.told(attempt, done),
            Event::Impatient(attempt) => {
                let Attempt { order, answers, .. } = self.attempts[attempt as usize];
                if answers == 0 && self.orders[order].attempt == attempt {
                    self.attempt(order);
                }
            }
            Event::Look { process, attempt } => shell::route(self, process, attempt),
            Event::Due { process, shard, user, due } => shell::due(self, process, shard, user, due),
            Event::Quiet { process, shard, fence } => shell::quiet(self, process, shard, fence),
        }
    }

    // Clients.

    fn order(&mut self) {
        if self.healed.is_some_and(|healed| self.now > healed.max(self.ledger.troubled_until) + 3_000) {
            return;
        }
        let user = self.dice.below(self.scenario.users);
        let kind =
            [Kind::Write, Kind::Write, Kind::Write, Kind::Read, Kind::Read, Kind::Erase][self.dice.below(6)];
        self.orders.push(Order { user, kind, is_done: false, attempt: 0 });
        self.attempt(self.orders.len() - 1);
        let pause = self.dice.between(1, 2 * self.scenario.pace);
        self.after(pause, Event::Order);
    }

    fn attempt(&mut self, order: usize) {
        if self.orders[order].is_done {
            return;
        }
        let number = self.attempts.len() as u32;
        self.orders[order].attempt = number;
        let node = self.dice.below(self.current.len());
        self.attempts.push(Attempt { order, node, process: None, answers: 0 });
        let delay = self.dice.between(1, 5);
        self.after(delay, Event::Arrive(number));
        self.after(4_000, Event::Impatient(number));
    }

    fn told(&mut self, attempt: u32, done: bool) {
        let Attempt { order, answers, .. } = &mut self.attempts[attempt as usize];
        *answers += 1;
        assert_eq!(*answers, 1, "request {attempt} was answered again");
        let order = *order;
        if done {
            self.orders[order].is_done = true;
        } else if self.orders[order].attempt == attempt {
            let pause = self.dice.between(200, 800);
            self.after(pause, Event::Try(order));
        }
    }

    // Wires.

    pub(crate) fn call(&mut self, process: usize, group: usize, op: Op, call: Call, limit: u64) -> u64 {
        self.sequence += 1;
        let ticket = Ticket { process, call: self.sequence };
        self.processes[process].calls.insert(ticket.call, call);
        let mut delay = self.dice.between(1, self.scenario.store_delay) + self.groups[group].slow;
        if self.dice.next() % 1_000 < self.scenario.late && self.healed.is_none() {
            delay += self.dice.between(500, 4_000);
        }
        let node = self.processes[process].node;
        let cut = self.store_cuts.get(&(node, group)).copied().unwrap_or(0);
        if cut <= self.now || self.dice.chance(20) {
            let server = self.groups[group].server(node);
            self.at(self.now.max(cut) + delay, Event::Command { ticket, group, server, op });
        }
        self.after(limit, Event::Timeout(ticket));
        ticket.call
    }

    fn command(&mut self, ticket: Ticket, group: usize, server: u64, op: Op) {
        let frozen = self.groups[group].frozen_until;
        if frozen > self.now {
            self.at(frozen, Event::Command { ticket, group, server, op });
            return;
        }
        let lag = self.dice.between(1, self.scenario.replication);
        let taken = match &op {
            Op::Take { claims, .. } => claims.iter().map(|claim| claim.shard).collect(),
            _ => Vec::new(),
        };
        match self.groups[group].hear(server, op, ticket, self.now, lag, &self.rules) {
            Heard::Nothing => {
                if self.dice.chance(50) {
                    self.after(1, Event::Timeout(ticket));
                }
            }
            Heard::Answer(answer) => {
                if let Answer::Taken(answers) = &answer {
                    for (shard, claimed) in taken.into_iter().zip(answers) {
                        if let Ok(fence) = claimed {
                            self.ledger.granted(shard, ticket.process, fence);
                        }
                    }
                }
                self.reply(ticket, group, answer);
            }
            Heard::Later(due) => self.at(due, Event::Replicate(group)),
        }
    }

    fn reply(&mut self, ticket: Ticket, group: usize, answer: Answer) {
        let node = self.processes[ticket.process].node;
        if self.store_cuts.get(&(node, group)).is_none_or(|cut| *cut <= self.now) {
            let delay = self.dice.between(1, self.scenario.store_delay) + self.groups[group].slow;
            self.after(delay, Event::Reply { ticket, answer });
        }
    }

    fn cut(&self, one: usize, other: usize) -> u64 {
        let (one, other) = (self.processes[one].node, self.processes[other].node);
        self.cuts.get(&(one.min(other), one.max(other))).copied().unwrap_or(0)
    }

    /// Frames between two processes arrive in order, after a cut if need be.
    pub(crate) fn send(&mut self, from: usize, to: usize, frame: Frame) {
        let cut = self.cut(from, to);
        let delay = self.dice.between(1, self.scenario.link_delay);
        let last = self.last_frame.get(&(from, to)).copied().unwrap_or(0);
        let at = last.max(self.now.max(cut) + delay);
        self.last_frame.insert((from, to), at);
        self.at(at, Event::Frame { from, to, frame, waited: cut > self.now });
    }

    pub(crate) fn say_changed(&mut self, from: usize) {
        for node in 0..self.current.len() {
            let to = self.current[node];
            if to != from {
                self.send(from, to, Frame::Changed);
            }
        }
    }

    // What fails.

    fn start(&mut self, node: usize) {
        let group_of =
            (0..self.rules.shards).map(|shard| (usize::from(shard) % self.groups.len()) as u16).collect();
        let slow = self.rules.mutation == Some(Mutation::SlowClocks) && self.dice.chance(50);
        let rate = if slow { 600 } else { self.dice.between(990, 1_010) };
        let clock = Clock { began: self.dice.between(0, 1_000_000), rate };
        self.current[node] = self.processes.len();
        let incarnation = self.processes.len() as u64 + 1;
        let mut process = Process::new(node, incarnation, group_of, clock, self.now);
        process.armed = u64::MAX;
        self.processes.push(process);
        self.ledger.troubled(self.now);
        shell::tell(self, self.current[node], Input::Time);
    }

    fn end(&mut self, process: usize, heard: bool) {
        self.processes[process].is_alive = false;
        self.backlog.remove(&process);
        self.ledger.troubled(self.now);
        for node in 0..self.current.len() {
            let to = self.current[node];
            if heard && to != process {
                let at = self.now.max(self.cut(process, to)) + self.dice.between(1, 50);
                self.at(at, Event::Gone { to, of: process });
            }
        }
    }

    fn exit(&mut self, process: usize, latest: u64) {
        if self.now < latest && !self.processes[process].entered.is_empty() {
            self.after(50, Event::Exit { process, latest });
            return;
        }
        for group in 0..self.groups.len() {
            let member = self.processes[process].machine.me().clone();
            self.call(process, group, Op::Leave { member }, Call::Leave, 500);
        }
        self.note(|| format!("process {process} leaves"));
        self.end(process, true);
    }

    fn heal(&mut self) {
        self.note(|| "all starts again".to_owned());
        for node in 0..self.current.len() {
            let process = &self.processes[self.current[node]];
            if !process.is_alive && !process.is_draining {
                self.start(node);
            }
        }
        let stays = |process: &Process| process.is_alive && !process.is_draining;
        if !self.processes.iter().any(stays) {
            self.act(Act::Join);
        }
        self.healed = Some(self.now);
    }

    fn act(&mut self, act: Act) {
        self.note(|| format!("{act:?}"));
        let now = self.now;
        let living = |world: &Self, node: usize| {
            let process = *world.current.get(node)?;
            world.processes[process].is_alive.then_some(process)
        };
        match act {
            Act::Kill { node, heard } => {
                if let Some(process) = living(self, node) {
                    self.end(process, heard);
                }
            }
            Act::Start { node } => {
                if node < self.current.len() && living(self, node).is_none() {
                    self.start(node);
                }
            }
            Act::Join => {
                self.current.push(0);
                self.start(self.current.len() - 1);
            }
            Act::Drain { node } => {
                if let Some(process) = living(self, node) {
                    self.ledger.troubled(now + 8_000);
                    self.processes[process].is_draining = true;
                    self.after(8_000, Event::Exit { process, latest: now + 8_000 });
                    shell::tell(self, process, Input::Drain);
                }
            }
            Act::Pause { node, time } => {
                if let Some(process) = living(self, node) {
                    let paused = &mut self.processes[process].paused_until;
                    *paused = (*paused).max(now + time);
                    let until = *paused;
                    self.at(until, Event::Resume(process));
                    self.ledger.troubled(until);
                }
            }
            Act::CutLink { one, other, time } => {
                self.cuts.insert((one.min(other), one.max(other)), now + time);
                self.ledger.troubled(now + time);
            }
            Act::CutStore { node, group, time } => {
                self.store_cuts.insert((node, group.into()), now + time);
                self.ledger.troubled(now + time);
            }
            Act::Failover { group, down, split } => {
                let group = usize::from(group);
                if !self.groups[group].up {
                    return;
                }
                let before = self.groups[group].primary.registry.clone();
                self.groups[group].fail(now, split.map(|(mask, _)| mask), &self.rules);
                self.ledger.fallen_back(&before, &self.groups[group].primary.registry);
                self.at(now + down, Event::Up(group));
                let attached = now + down + self.dice.between(500, 3_000);
                self.at(attached, Event::Attach(group));
                let rejoined = split.map_or(0, |(_, time)| now + time);
                self.at(rejoined, Event::Rejoin(group));
                self.ledger.troubled(attached.max(rejoined));
            }
            Act::Freeze { group, time } => {
                self.groups[usize::from(group)].frozen_until = now + time;
                self.ledger.troubled(now + time);
            }
            Act::Restart { group, down } | Act::Flush { group, down } => {
                let number = usize::from(group);
                if !self.groups[number].up {
                    return;
                }
                let before = self.groups[number].primary.registry.clone();
                self.groups[number].stop(matches!(act, Act::Flush { .. }));
                self.ledger.fallen_back(&before, &self.groups[number].primary.registry);
                self.at(now + down, Event::Up(number));
                self.at(now + down + 1_000, Event::Attach(number));
                self.ledger.troubled(now + down + 1_000);
            }
            Act::Slow { group, delay, time } => {
                self.groups[usize::from(group)].slow = delay;
                self.at(now + time, Event::Quicken(group.into()));
                self.ledger.troubled(now + time);
            }
        }
    }
}
