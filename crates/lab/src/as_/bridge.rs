//! RFC 3261 §6, back-to-back user agent — a request is ended here and another one, with a Call-ID and tags of its own, goes on
//! in its place; what is said on one side is said on the other.

use super::{
    relay::hops_left,
    server::{Job, MOST, Owner, Server},
    side::Side,
};
use crate::wire::{Heard, Key, Origin, Target, Text};
use std::{collections::HashMap, sync::Arc};

/// What is each side's own and so does not cross.
const OWN: [&str; 11] = [
    "Via",
    "Route",
    "Record-Route",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Contact",
    "Max-Forwards",
    "Content-Length",
    "RAck",
];
/// Tag of a side whose bridge has ended.
const ENDED: &str = "ended";
/// How many CSeqs of a side are remembered.
const NUMBERS: usize = 64;
/// How many ACKs of a bridge are remembered.
const ACKS: usize = 16;

/// An INVITE that was answered on one side and waits for its ACK on the other.
struct Answered {
    /// The side that waits for the ACK.
    side: usize,
    key: Key,
    /// CSeq there.
    cseq: u32,
    /// CSeq on the other side, where the ACK goes.
    other: u32,
    branch: String,
}

/// Two dialogs, one on each side.
pub(super) struct Bridge {
    /// Towards whom it came from, and towards whom it went.
    sides: [Side; 2],
    confirmed: bool,
    /// CSeqs of requests that came on each side, and what they are on the other.
    numbers: [Vec<(u32, u32)>; 2],
    answered: Vec<Answered>,
    /// Tags of who accepted an INVITE first, by its branch.
    accepted: HashMap<String, String>,
    /// ACKs, by the same.
    acks: HashMap<String, (Vec<u8>, Target)>,
}

fn cross_over(from: &Text, to: &mut Text) {
    for (name, value) in from.headers() {
        if OWN.iter().all(|own| !name.eq_ignore_ascii_case(own)) {
            to.push(name, value.clone());
        }
    }
    to.body.clone_from(&from.body);
}

impl Bridge {
    /// What CSeq `cseq` of side `from` is on the other side.
    fn number(&self, from: usize, cseq: u32) -> Option<u32> {
        self.numbers[from].iter().find(|(here, _)| *here == cseq).map(|(_, there)| *there)
    }

    /// The request that stands on the other side for one that came on side `from`.
    fn stand_in(&mut self, from: usize, request: &Text) -> Text {
        self.sides[from].refresh_target(request);
        let mut other = self.sides[1 - from].next(request.method());
        cross_over(request, &mut other);
        let mut rack = request.value("RAck").split_whitespace();
        if let (Some(rseq), Some(cseq), Some(method)) = (rack.next(), rack.next(), rack.next()) {
            let cseq = cseq.parse().ok().and_then(|cseq| self.number(from, cseq)).unwrap_or(0);
            other.push("RAck", format!("{rseq} {cseq} {method}"));
        }
        if self.numbers[from].len() == NUMBERS {
            self.numbers[from].remove(0);
        }
        self.numbers[from].push((request.cseq().0, other.cseq().0));
        other
    }
}

impl Server {
    /// Ends a request and sends another one in its place.
    pub(super) fn bridge(&mut self, key: Key, request: Text, origin: Origin, tag: String) {
        // One that nobody ended makes room.
        if self.bridges.len() >= MOST
            && let Some(oldest) = self.bridges.keys().next().copied()
        {
            self.end_bridge(oldest);
        }
        let mut here = Side::called(&request, origin.clone());
        here.tag = tag;
        let mut there = Side::calling(
            request.value("From"),
            request.value("To"),
            request.uri(),
            request.elements("Route").map(str::to_owned).collect(),
        );
        there.origin = Some(origin.clone());
        let bridge = self.number();
        self.owners.insert(here.name(), Owner::Bridge(bridge, 0));
        self.owners.insert(there.name(), Owner::Bridge(bridge, 1));
        self.bridges.insert(
            bridge,
            Bridge {
                sides: [here, there],
                confirmed: false,
                numbers: [Vec::new(), Vec::new()],
                answered: Vec::new(),
                accepted: HashMap::new(),
                acks: HashMap::new(),
            },
        );
        self.cross(bridge, 0, key, request, Some(origin));
    }

    /// A request came on one side of a bridge: its stand-in goes out on the other.
    pub(super) fn cross(
        &mut self,
        bridge: u64,
        from: usize,
        key: Key,
        request: Text,
        origin: Option<Origin>,
    ) {
        let Some(both) = self.bridges.get_mut(&bridge) else { return };
        let Some(left) = hops_left(&request) else {
            let tag = both.sides[from].tag.clone();
            return self.say(&key, &self.response(&request, 483, &tag));
        };
        if origin.is_some() {
            both.sides[from].origin = origin;
        }
        let mut other = both.stand_in(from, &request);
        let back = both.sides[1 - from].origin.clone();
        other.set("Max-Forwards", left.to_string());
        if request.has("Contact") {
            other.push("Contact", format!("<{}>", self.way.own(back.as_ref())));
        }
        let hop = self.way.next(&other, back.as_ref());
        let request = Arc::new(request);
        let job = Job::Bridge { bridge, from, key: key.clone(), request: Arc::clone(&request) };
        match self.send(other, hop, job) {
            Some(branch) => {
                self.under_way.insert(key, branch);
            }
            None => self.bridge_failed(bridge, from, &key, &request, 404),
        }
    }

    pub(super) fn bridge_heard(
        &mut self,
        bridge: u64,
        from: usize,
        key: &Key,
        request: &Text,
        branch: &str,
        heard: Heard,
    ) {
        match heard {
            Heard::Provisional(response) if response.status() == 100 => {}
            Heard::Provisional(response) => {
                self.bridge_answered(bridge, from, key, request, branch, &response)
            }
            Heard::Final(response) => {
                self.under_way.remove(key);
                self.bridge_answered(bridge, from, key, request, branch, &response);
            }
            Heard::Timeout => self.bridge_failed(bridge, from, key, request, 408),
            Heard::Unreachable(_) => self.bridge_failed(bridge, from, key, request, 503),
        }
    }

    /// A response came: it is said on the side that asked.
    fn bridge_answered(
        &mut self,
        bridge: u64,
        from: usize,
        key: &Key,
        request: &Text,
        branch: &str,
        response: &Text,
    ) {
        let Some(both) = self.bridges.get_mut(&bridge) else {
            return self.unbridged(key, request, response);
        };
        let (status, method) = (response.status(), request.method());
        let success = status / 100 == 2;
        let accepted = success && method == "INVITE";
        match both.accepted.get(branch).filter(|_| accepted) {
            Some(first) if *first != response.tag("To") => return self.surplus(bridge, from, response),
            Some(_) => {
                // The ACK is still to come, or got lost.
                if let Some((octets, target)) = both.acks.get(branch) {
                    self.way.wire.pass(octets.clone(), target.clone());
                }
                return;
            }
            None => {}
        }
        let other = &mut both.sides[1 - from];
        if !both.confirmed && from == 0 && !response.tag("To").is_empty() {
            other.answered(response);
        } else if success {
            other.refresh_target(response);
        }
        let initial = request.tag("To").is_empty();
        both.confirmed |= initial && success;
        if accepted {
            let cseq = request.cseq().0;
            let other = both.number(from, cseq).unwrap_or(0);
            let (key, branch) = (key.clone(), branch.to_owned());
            if both.accepted.len() >= ACKS {
                both.accepted.clear();
            }
            both.accepted.insert(branch.clone(), response.tag("To").to_owned());
            both.answered.push(Answered { side: from, key, cseq, other, branch });
        }
        let mut said = request.response(status, response.reason(), &both.sides[from].tag);
        for route in request.values("Record-Route").filter(|_| initial) {
            said.push("Record-Route", route);
        }
        let origin = both.sides[from].origin.clone();
        cross_over(response, &mut said);
        if response.has("Contact") {
            said.push("Contact", format!("<{}>", self.way.own(origin.as_ref())));
        }
        self.say(key, &said);
        let makes_dialog = matches!(method, "INVITE" | "SUBSCRIBE" | "REFER");
        let gone = initial && status >= 200 && !(success && makes_dialog);
        if gone || (method == "BYE" && status >= 200) {
            self.end_bridge(bridge);
        }
    }

    /// The bridge has ended while a request was on its way: whoever sent it hears of that, and a BYE what was said to it
    /// (RFC 3261 §15.1.2).
    fn unbridged(&self, key: &Key, request: &Text, response: &Text) {
        let status = response.status();
        if status < 200 {
            return;
        }
        if request.method() != "BYE" {
            return self.say(key, &self.response(request, 487, ENDED));
        }
        let mut said = request.response(status, response.reason(), ENDED);
        cross_over(response, &mut said);
        self.say(key, &said);
    }

    /// Another branch of a forked INVITE was answered as well: it is released, and nobody else hears of it.
    fn surplus(&self, bridge: u64, from: usize, response: &Text) {
        let Some(both) = self.bridges.get(&bridge) else { return };
        let mut side = both.sides[1 - from].clone();
        side.answered(response);
        self.acknowledge(side.ack(response.cseq().0), side.origin.as_ref());
        let bye = side.next("BYE");
        let hop = self.way.next(&bye, side.origin.as_ref());
        self.send(bye, hop, Job::Nothing);
    }

    /// Nothing came of a request.
    fn bridge_failed(&mut self, bridge: u64, from: usize, key: &Key, request: &Text, status: u16) {
        self.under_way.remove(key);
        let tag = self.bridges.get(&bridge).map_or(ENDED, |both| &both.sides[from].tag);
        let said = self.response(request, status, tag);
        self.say(key, &said);
        if request.tag("To").is_empty() || request.method() == "BYE" {
            self.end_bridge(bridge);
        }
    }

    /// An ACK to a 2xx came on one side: it is said on the other.
    pub(super) fn bridge_acknowledged(&mut self, bridge: u64, from: usize, ack: &Text) {
        let Some(both) = self.bridges.get_mut(&bridge) else { return };
        let cseq = ack.cseq().0;
        let Some(at) = both.answered.iter().position(|one| one.side == from && one.cseq == cseq) else {
            return;
        };
        let Answered { other, branch, .. } = both.answered.remove(at);
        let side = &both.sides[1 - from];
        let mut said = side.ack(other);
        cross_over(ack, &mut said);
        let origin = side.origin.clone();
        let sent = self.acknowledge(said, origin.as_ref());
        let Some(both) = self.bridges.get_mut(&bridge) else { return };
        if both.acks.len() >= ACKS {
            both.acks.clear();
        }
        if let Some(sent) = sent {
            both.acks.insert(branch, sent);
        }
    }

    /// The ACK never came: both sides are released.
    pub(super) fn bridge_unacknowledged(&mut self, of: &Key) {
        let mut waiting = self.bridges.iter();
        let found = waiting.find(|(_, both)| both.answered.iter().any(|answered| answered.key == *of));
        let Some(bridge) = found.map(|(bridge, _)| *bridge) else { return };
        let Some(mut both) = self.bridges.remove(&bridge) else { return };
        for side in &mut both.sides {
            let bye = side.next("BYE");
            let hop = self.way.next(&bye, side.origin.as_ref());
            self.send(bye, hop, Job::Nothing);
            self.owners.remove(&side.name());
        }
    }

    fn end_bridge(&mut self, bridge: u64) {
        if let Some(both) = self.bridges.remove(&bridge) {
            for side in &both.sides {
                self.owners.remove(&side.name());
            }
        }
    }
}
