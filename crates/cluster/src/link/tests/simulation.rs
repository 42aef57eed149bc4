//! Nodes that talk over a network that cuts, delays and swallows, in virtual time.
#![allow(clippy::unwrap_used)]

use crate::Member;
use crate::link::hello::tests::me;
use crate::link::{Act, Conn, Limits, Mesh, News, Out, Slot};
use std::collections::{BTreeMap, VecDeque};

/// Which run of which node.
pub(super) type RunId = (usize, u64);

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }
}

#[derive(Debug)]
enum Piece {
    /// At the listener: somebody connects. At the dialler: he is connected.
    Open,
    Refused,
    Octets(Vec<u8>),
    End,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct End {
    run: RunId,
    conn: Option<Conn>,
    coming: VecDeque<(u64, Piece)>,
    shut: bool,
}

pub(super) struct Node {
    pub(super) mesh: Mesh,
    pub(super) run: RunId,
    /// Words said in each session, and received in each.
    pub(super) said: BTreeMap<Slot, u64>,
    took: BTreeMap<Slot, u64>,
    /// Whose words, from which of his sessions, come in each of ours.
    from: BTreeMap<Slot, (RunId, u16)>,
    pub(super) ups: u64,
}

pub(super) struct World {
    pub(super) now: u64,
    chance: Chance,
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) wires: Vec<[End; 2]>,
    /// Nothing passes the network.
    pub(super) silent: bool,
    /// Something between the nodes refuses connections, and has done so before.
    pub(super) refusing: bool,
    pub(super) has_refused: bool,
    runs: u64,
    /// What was received in each session, by the sender's run and slot; outlives the receiver.
    pub(super) heard: BTreeMap<(RunId, u16), u64>,
    pub(super) gone: Vec<(RunId, RunId)>,
    pub(super) severed: Vec<RunId>,
    pub(super) refused: Vec<(usize, Box<str>)>,
}

fn name(index: usize) -> String {
    format!("n{index}")
}

impl World {
    pub(super) fn new(nodes: usize, seed: u64) -> Self {
        let mut world = Self {
            now: 1_000,
            chance: Chance(seed),
            nodes: (0..nodes).map(|_| None).collect(),
            wires: Vec::new(),
            silent: false,
            refusing: false,
            has_refused: false,
            runs: 0,
            heard: BTreeMap::new(),
            gone: Vec::new(),
            severed: Vec::new(),
            refused: Vec::new(),
        };
        (0..nodes).for_each(|index| world.start(index));
        world.introduce();
        world
    }

    pub(super) fn start(&mut self, index: usize) {
        self.runs += 1;
        let run = (index, self.runs);
        let limits = Limits { words: 300, octets: 1 << 20 };
        self.nodes[index] = Some(Node {
            mesh: Mesh::new(me(&name(index), run.1), limits),
            run,
            said: BTreeMap::new(),
            took: BTreeMap::new(),
            from: BTreeMap::new(),
            ups: 0,
        });
    }

    /// All nodes hear of all that run.
    pub(super) fn introduce(&mut self) {
        let members: Vec<Member> = self.nodes.iter().flatten().map(|node| member(node.run)).collect();
        for index in 0..self.nodes.len() {
            self.act(index, |mesh, now, out| mesh.keep(&members, now, out));
        }
    }

    pub(super) fn act(&mut self, index: usize, event: impl FnOnce(&mut Mesh, u64, &mut Out)) {
        let mut out = Out::default();
        let Some(node) = &mut self.nodes[index] else { return };
        event(&mut node.mesh, self.now, &mut out);
        let run = node.run;
        for act in out.acts {
            match act {
                Act::Dial { conn, to } => self.dial(run, conn, &to),
                Act::Write { conn, octets } => self.write(run, conn, &octets),
                Act::Close { conn } => self.close(run, conn),
            }
        }
        for news in out.news {
            self.news(index, news);
        }
    }

    fn news(&mut self, index: usize, news: News) {
        let Some(node) = &mut self.nodes[index] else { return };
        match news {
            News::Took { slot, word } => {
                let number = |at: usize| u64::from_be_bytes(word[at..at + 8].try_into().unwrap());
                let from = ((number(0) as usize, number(8)), number(16) as u16);
                assert_eq!(*node.from.entry(slot).or_insert(from), from, "one session, one sender");
                let next = node.took.entry(slot).or_default();
                assert_eq!(number(24), *next, "every word once and in order");
                *next += 1;
                *self.heard.entry(from).or_default() += 1;
            }
            News::Up { .. } => node.ups += 1,
            News::Gone { slot, dropped } | News::Severed { slot, dropped } => {
                let said = node.said.remove(&slot).unwrap_or_default();
                let heard = self.heard.get(&(node.run, slot.0)).copied().unwrap_or_default();
                assert!(heard + dropped as u64 >= said, "what was acknowledged was heard");
                let (peer, incarnation) = node.mesh.peer(slot).unwrap();
                let peer: RunId = (peer[1..].parse().unwrap(), incarnation);
                let run = node.run;
                if matches!(news, News::Severed { .. }) {
                    self.severed.push(run);
                    return;
                }
                let lives = self.nodes[peer.0].as_ref().is_some_and(|node| node.run == peer);
                assert!(!lives || self.has_refused, "a living process is not gone");
                self.gone.push((run, peer));
            }
            News::Refused { why, .. } => self.refused.push((index, why)),
        }
    }

    fn dial(&mut self, run: RunId, conn: Conn, to: &str) {
        let target: usize = to[1..].parse().unwrap();
        let delay = 1 + self.chance.below(20);
        let listener = self.nodes[target].as_ref().map(|node| node.run);
        let mut ends = [
            End { run, conn: Some(conn), coming: VecDeque::new(), shut: false },
            End { run: listener.unwrap_or((target, 0)), conn: None, coming: VecDeque::new(), shut: false },
        ];
        match listener {
            _ if self.silent => {}
            Some(_) if !self.refusing => {
                ends[1].coming.push_back((self.now + delay, Piece::Open));
                ends[0].coming.push_back((self.now + 2 * delay, Piece::Open));
            }
            Some(_) | None => ends[0].coming.push_back((self.now + delay, Piece::Refused)),
        }
        self.wires.push(ends);
    }

    fn find(&self, run: RunId, conn: Conn) -> Option<(usize, usize)> {
        self.wires.iter().enumerate().find_map(|(wire, ends)| {
            let end = ends.iter().position(|end| end.run == run && end.conn == Some(conn) && !end.shut)?;
            Some((wire, end))
        })
    }

    fn send(&mut self, wire: usize, to: usize, piece: Piece) {
        let soonest = self.wires[wire][to].coming.back().map_or(0, |(at, _)| *at);
        let at = soonest.max(self.now + 1 + self.chance.below(20));
        self.wires[wire][to].coming.push_back((at, piece));
    }

    fn write(&mut self, run: RunId, conn: Conn, octets: &[u8]) {
        let Some((wire, end)) = self.find(run, conn) else { return };
        let mut rest = octets;
        while !rest.is_empty() {
            let (piece, next) = rest.split_at(rest.len().min(1 + self.chance.below(2_000) as usize));
            self.send(wire, 1 - end, Piece::Octets(piece.to_vec()));
            rest = next;
        }
    }

    fn close(&mut self, run: RunId, conn: Conn) {
        let Some((wire, end)) = self.find(run, conn) else { return };
        self.wires[wire][end].shut = true;
        self.send(wire, 1 - end, Piece::End);
    }

    /// The network loses a connection: both ends hear of it, and what was on its way is lost.
    pub(super) fn cut(&mut self, wire: usize) {
        (0..2).for_each(|to| self.cut_from(wire, to));
    }

    /// The connections of one node are lost, and the others do not hear of it.
    pub(super) fn cut_off(&mut self, index: usize) {
        for wire in 0..self.wires.len() {
            for to in 0..2 {
                if self.wires[wire][to].run.0 == index {
                    self.cut_from(wire, to);
                }
            }
        }
    }

    fn cut_from(&mut self, wire: usize, to: usize) {
        let coming = &mut self.wires[wire][to].coming;
        let keep = self.chance.below(coming.len() as u64 + 1) as usize;
        coming.truncate(keep);
        self.send(wire, to, Piece::End);
    }

    pub(super) fn kill(&mut self, index: usize) {
        let Some(node) = self.nodes[index].take() else { return };
        for wire in 0..self.wires.len() {
            for end in 0..2 {
                if self.wires[wire][end].run == node.run && !self.wires[wire][end].shut {
                    self.wires[wire][end].shut = true;
                    let keep = self.chance.below(3);
                    if keep == 0 {
                        self.wires[wire][1 - end].coming.retain(|(_, piece)| matches!(piece, Piece::Open));
                    }
                    self.send(wire, 1 - end, Piece::End);
                }
            }
        }
    }

    pub(super) fn say(&mut self, index: usize, length: usize) {
        let Some(node) = &mut self.nodes[index] else { return };
        let live: Vec<Slot> = node.mesh.counters().map(|(slot, _)| slot).collect();
        if live.is_empty() {
            return;
        }
        let slot = live[self.chance.below(live.len() as u64) as usize];
        let said = node.said.entry(slot).or_default();
        let head = [node.run.0 as u64, node.run.1, u64::from(slot.0), *said];
        let mut word: Vec<u8> = head.iter().flat_map(|number| number.to_be_bytes()).collect();
        word.resize(word.len() + length, b'.');
        let run = node.run;
        if let Ok(write) = node.mesh.say(slot, &word) {
            *said += 1;
            if let Some((conn, octets)) = write {
                let octets = octets.to_vec();
                self.write(run, conn, &octets);
            }
        }
    }

    /// Lets time pass until `until`.
    pub(super) fn run(&mut self, until: u64) {
        loop {
            let pieces = self.wires.iter().flatten().filter_map(|end| Some(end.coming.front()?.0));
            let pieces = pieces.filter(|_| !self.silent);
            let timers = self.nodes.iter().flatten().filter_map(|node| node.mesh.deadline());
            let Some(next) = pieces.chain(timers).min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            for index in 0..self.nodes.len() {
                if self.nodes[index].as_ref().is_some_and(|node| node.mesh.deadline() <= Some(self.now)) {
                    self.act(index, Mesh::tick);
                    let due = self.nodes[index].as_ref().and_then(|node| node.mesh.deadline());
                    assert!(due.is_none_or(|due| due > self.now), "time that passed is dealt with");
                }
            }
            if !self.silent {
                self.deliver();
            }
            self.wires.retain(|ends| !ends.iter().all(|end| end.shut));
        }
        self.now = self.now.max(until);
    }

    fn deliver(&mut self) {
        for wire in 0..self.wires.len() {
            for to in 0..2 {
                while let Some((_, piece)) = {
                    let end = &mut self.wires[wire][to];
                    end.coming.front().is_some_and(|(at, _)| *at <= self.now).then(|| end.coming.pop_front())
                }
                .flatten()
                {
                    self.arrive(wire, to, piece);
                }
            }
        }
    }

    fn arrive(&mut self, wire: usize, to: usize, piece: Piece) {
        let End { run, conn, shut, .. } = self.wires[wire][to];
        let lives = self.nodes[run.0].as_ref().is_some_and(|node| node.run == run);
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.chance.next().to_be_bytes());
        match (piece, conn) {
            _ if shut => {}
            (Piece::Open, None) if lives => {
                let now = self.now;
                let taken = self.nodes[run.0].as_mut().and_then(|node| node.mesh.accepted(nonce, now));
                self.wires[wire][to].conn = taken;
            }
            (Piece::Open, Some(conn)) => {
                self.act(run.0, |mesh, now, out| mesh.dialled(conn, nonce, now, out))
            }
            (Piece::Octets(octets), Some(conn)) => {
                self.act(run.0, |mesh, now, out| mesh.heard(conn, &octets, now, out));
            }
            (Piece::Refused, Some(conn)) => {
                self.wires[wire].iter_mut().for_each(|end| end.shut = true);
                self.act(run.0, |mesh, now, out| mesh.dial_failed(conn, true, now, out));
            }
            (Piece::End, Some(conn)) => {
                self.wires[wire][to].shut = true;
                self.act(run.0, |mesh, now, out| mesh.closed(conn, now, out));
            }
            (_, None) => {
                self.wires[wire][to].shut = true;
                self.send(wire, 1 - to, Piece::End);
            }
        }
    }

    pub(super) fn connections(&self) -> Vec<u64> {
        let nodes = self.nodes.iter().flatten();
        nodes.flat_map(|node| node.mesh.counters().map(|(_, counters)| counters.connections)).collect()
    }

    /// Everybody is connected to everybody, nothing waits, and it stays so.
    pub(super) fn assert_settled(&mut self) {
        let (before, ups) =
            (self.connections(), self.nodes.iter().flatten().map(|node| node.ups).sum::<u64>());
        let until = self.now + 5_000;
        self.run(until);
        assert_eq!(self.connections(), before, "connections come and go");
        assert_eq!(self.nodes.iter().flatten().map(|node| node.ups).sum::<u64>(), ups);
        let all = self.nodes.iter().flatten().count();
        for node in self.nodes.iter().flatten() {
            let live: Vec<_> = node.mesh.counters().collect();
            assert_eq!(live.iter().filter(|(slot, _)| node.mesh.is_up(*slot)).count(), all - 1);
            for (slot, counters) in live.into_iter().filter(|(slot, _)| node.mesh.is_up(*slot)) {
                assert_eq!(counters.queued, 0, "everything is acknowledged");
                let said = node.said.get(&slot).copied().unwrap_or_default();
                let heard = self.heard.get(&(node.run, slot.0)).copied().unwrap_or_default();
                assert_eq!(heard, said, "nothing is lost");
            }
        }
        let used = self.wires.iter().filter(|ends| ends.iter().all(|end| end.conn.is_some()));
        assert_eq!(used.count(), all * (all - 1) / 2, "one connection for each two");
    }
}

pub(super) fn member((index, incarnation): RunId) -> Member {
    let node = name(index);
    Member {
        link: node.as_str().into(),
        sip: "".into(),
        node: node.into(),
        incarnation,
        draining: false,
        users: 0,
    }
}

#[test]
fn whatever_the_network_does_words_come_once_and_in_order_and_none_is_lost_unless_its_session_ends() {
    let seeds = std::env::var_os("ROLLCALL_SEEDS").and_then(|seeds| seeds.to_str()?.parse().ok());
    let (mut gone, mut severed, mut heard) = (0, 0, 0);
    for seed in 0..seeds.unwrap_or(400) {
        let mut world = World::new(2 + (seed % 3 == 0) as usize, seed);
        world.has_refused = seed % 2 == 1;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| trouble(&mut world)));
        if let Err(panic) = outcome {
            eprintln!("seed {seed} at {}", world.now);
            std::panic::resume_unwind(panic);
        }
        gone += world.gone.len();
        severed += world.severed.len();
        heard += world.heard.values().sum::<u64>();
    }
    assert!(gone > 100 && severed > 3 && heard > 10_000, "{gone} gone, {severed} severed, {heard} heard");
}

fn trouble(world: &mut World) {
    let nodes = world.nodes.len() as u64;
    for _ in 0..80 {
        let index = world.chance.below(nodes) as usize;
        match world.chance.below(40) {
            0..3 => world.silent = !world.silent,
            3 => world.cut_off(index),
            4..8 if !world.wires.is_empty() => {
                let wire = world.chance.below(world.wires.len() as u64) as usize;
                world.cut(wire);
            }
            8 => world.kill(index),
            9..11 if world.nodes[index].is_none() => world.start(index),
            11 => world.introduce(),
            12 => {
                let all: Vec<Member> = world.nodes.iter().flatten().map(|node| member(node.run)).collect();
                let some = world.chance.next();
                let some: Vec<Member> = all
                    .into_iter()
                    .enumerate()
                    .filter(|(at, _)| some >> at & 1 == 1)
                    .map(|(_, one)| one)
                    .collect();
                world.act(index, |mesh, now, out| mesh.keep(&some, now, out));
            }
            13 => world.refusing = world.has_refused && !world.refusing,
            _ => {
                for _ in 0..world.chance.below(8) {
                    let length = if world.chance.below(50) == 0 { 40_000 } else { 20 };
                    world.say(index, length);
                }
            }
        }
        let longest = if world.chance.below(12) == 0 { 3_000 } else { 60 };
        let until = world.now + world.chance.below(longest);
        world.run(until);
    }
    (world.silent, world.refusing) = (false, false);
    (0..world.nodes.len()).for_each(|index| {
        if world.nodes[index].is_none() {
            world.start(index);
        }
    });
    world.introduce();
    // As long as it takes until a member that was taken for ended is tried again.
    world.run(world.now + 10_000);
    world.assert_settled();
    // What a process said before it ended may come when the next is here.
    assert!(world.refused.iter().all(|(_, why)| why.starts_with("another run of")), "{:?}", world.refused);
}
