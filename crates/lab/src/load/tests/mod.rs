//! A run through a small S-CSCF in virtual time.
#![allow(clippy::unwrap_used)]

mod cluster;
mod kept;
mod mix;
#[path = "../../../tests/load_scscf/mod.rs"]
mod scscf;

pub(crate) use scscf::Scscf;

use super::{
    Count, Entry, Habits, Plan,
    engine::Engine,
    ground::{Ground, Seen},
    mix::Procedure,
    tally::Tally,
    timers::Whose,
};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tokio::time::Instant;

pub(crate) const PROXY: ([u8; 4], u16) = ([127, 0, 0, 1], 5060);
pub(crate) const HOP: Duration = Duration::from_millis(1);

/// Whether the datagram of that number is lost.
pub(crate) type Loss = Box<dyn Fn(u64) -> bool>;

/// Sockets, the network between them, and the clock.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) scscf: Scscf,
    sockets: Vec<SocketAddr>,
    under_way: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    pub(crate) number: u64,
    pub(crate) lose: Loss,
    /// Other nodes in front of the same S-CSCF, those of them that are dead, and what came to each.
    pub(crate) nodes: Vec<SocketAddr>,
    pub(crate) dead: Vec<SocketAddr>,
    pub(crate) entered: BTreeMap<SocketAddr, Vec<Vec<u8>>>,
    /// Where the request of a branch entered.
    entries: BTreeMap<String, SocketAddr>,
}

impl World {
    pub(crate) fn new(pairs: u32, habits: Habits, scscf: Scscf) -> Self {
        Self::among(&[PROXY.into()], Entry::Random, pairs, habits, scscf)
    }

    /// The same behind several nodes.
    pub(crate) fn among(
        nodes: &[SocketAddr],
        entry: Entry,
        pairs: u32,
        habits: Habits,
        scscf: Scscf,
    ) -> Self {
        let plan = Plan { users: pairs, proxies: nodes.to_vec(), entry, ..Plan::new(PROXY.into()) };
        Self::of(&plan, habits, scscf)
    }

    /// Everybody of a plan, registered.
    pub(crate) fn of(plan: &Plan, habits: Habits, scscf: Scscf) -> Self {
        let sockets: Vec<SocketAddr> = (6000..6004).map(|port| ([127, 0, 0, 1], port).into()).collect();
        let (nodes, pairs) = (&plan.proxies, plan.users);
        let ground = Ground::new(plan, &sockets, true);
        let mut world = Self {
            engine: Engine::new(ground, habits),
            scscf,
            sockets,
            under_way: BTreeMap::new(),
            number: 0,
            lose: Box::new(|_| false),
            nodes: nodes.clone(),
            dead: Vec::new(),
            entered: BTreeMap::new(),
            entries: BTreeMap::new(),
        };
        for _ in 0..2 * pairs {
            let now = world.engine.ground.now;
            world.engine.start(Procedure::Register, now);
        }
        world.run();
        assert_eq!(world.engine.registrations.registered, 2 * u64::from(pairs));
        Procedure::ALL.into_iter().for_each(|one| drop(world.engine.tally(one).measure()));
        world
    }

    pub(crate) fn post(&mut self, from: SocketAddr, to: SocketAddr, octets: Vec<u8>) {
        self.number += 1;
        if !(self.lose)(self.number) {
            let at = self.engine.ground.now + HOP;
            self.under_way.insert((at, self.number), (from, to, octets));
        }
    }

    pub(crate) fn collect(&mut self) {
        let mut outbox = std::mem::take(&mut self.engine.ground.outbox);
        let mut letters = Vec::new();
        outbox.drain(|from, to, octets| letters.push((from, to, octets.to_vec())));
        for (from, to, octets) in letters {
            self.post(self.sockets[usize::from(from)], to, octets);
        }
    }

    /// One moment further; `false` when nothing is left to happen.
    pub(crate) fn step(&mut self) -> bool {
        self.collect();
        let letter = self.under_way.keys().next().map(|(at, _)| *at);
        let Some(at) = [letter, self.engine.ground.timers.next()].into_iter().flatten().min() else {
            return false;
        };
        self.engine.ground.now = at.max(self.engine.ground.now);
        if letter == Some(at) {
            let (_, (from, to, octets)) = self.under_way.pop_first().unwrap();
            match self.sockets.iter().position(|socket| *socket == to) {
                Some(socket) => self.engine.hear(socket as u16, from, &octets),
                None if self.dead.contains(&to) => {}
                None => {
                    assert!(to == PROXY.into() || self.nodes.contains(&to), "nobody is there");
                    if !octets.starts_with(b"SIP/2.0") {
                        self.entries.insert(branch(&octets), to);
                    }
                    self.entered.entry(to).or_default().push(octets.clone());
                    for (next, octets) in self.scscf.hear(from, &octets) {
                        // Responses come from where the request entered, requests from whichever node has the user.
                        let entry = self.entries.get(&branch(&octets)).copied();
                        self.post(entry.unwrap_or(PROXY.into()), next, octets);
                    }
                }
            }
        } else {
            self.engine.expire();
        }
        true
    }

    /// Until nothing is under way.
    pub(crate) fn run(&mut self) {
        self.collect();
        while self.engine.in_flight() > 0 || !self.under_way.is_empty() {
            assert!(self.step(), "something is under way, and nothing is due");
            self.collect();
        }
    }

    /// Starts so many, one each 10 ms.
    pub(crate) fn start(mut self, procedure: Procedure, count: u32) -> Self {
        for _ in 0..count {
            let at = self.engine.ground.now + 10 * HOP;
            self.engine.ground.timers.set(at, Whose::User(0));
            while self.engine.ground.now < at {
                self.step();
            }
            self.engine.start(procedure, at);
        }
        self.run();
        self
    }

    pub(crate) fn count(mut self, procedure: Procedure) -> (Count, Seen) {
        let tally = std::mem::replace(self.engine.tally(procedure), Tally::new(&[]));
        (tally.count(Duration::from_secs(1)), self.engine.ground.seen)
    }
}

/// The branch of the topmost Via.
pub(crate) fn branch(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let branch = text.split("branch=").nth(1).unwrap_or("");
    branch.split([';', ',', '\r']).next().unwrap_or("").to_owned()
}

pub(crate) fn usual() -> Scscf {
    Scscf::new(PROXY.into())
}

/// A network that changes or drops (with an empty text) what it sends on.
pub(crate) fn tampering(tamper: impl FnMut(String) -> String + Send + 'static) -> Scscf {
    usual().tampering(tamper)
}
