//! Random events in random order: nothing panics, every request is heard of once and answered once, nothing remains.

use crate::rig::{VIA, parse, request, status, tcp, text, udp};
use proptest::prelude::*;
use sip::transaction::{ClientId, Flow, Limits, Output, ServerId, Table, Tick, Timers, ViaTemplate};
use sip::{Message, Request};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Happening {
    Receive { method: usize, branch: u8, cookie: bool, reliable: bool },
    Respond { which: usize, code: u16 },
    Again { which: usize },
    Send { method: usize, reliable: bool },
    Reply { which: usize, code: u16, cancel: bool },
    Cancel { which: usize },
    FlowFails { reliable: bool },
    Pass { milliseconds: u64 },
}

const METHODS: [&str; 5] = ["REGISTER", "INVITE", "ACK", "CANCEL", "OPTIONS"];
const SENT: [&str; 3] = ["NOTIFY", "INVITE", "BYE"];

fn happening() -> impl Strategy<Value = Happening> {
    let code = proptest::sample::select(vec![100u16, 180, 200, 202, 302, 401, 487, 503, 603]);
    prop_oneof![
        4 => (0..METHODS.len(), 0u8..6, any::<bool>(), any::<bool>())
            .prop_map(|(method, branch, cookie, reliable)| Happening::Receive { method, branch, cookie, reliable }),
        4 => (any::<usize>(), code.clone()).prop_map(|(which, code)| Happening::Respond { which, code }),
        1 => any::<usize>().prop_map(|which| Happening::Again { which }),
        2 => (0..SENT.len(), any::<bool>()).prop_map(|(method, reliable)| Happening::Send { method, reliable }),
        3 => (any::<usize>(), code, any::<bool>())
            .prop_map(|(which, code, cancel)| Happening::Reply { which, code, cancel }),
        1 => any::<usize>().prop_map(|which| Happening::Cancel { which }),
        1 => any::<bool>().prop_map(|reliable| Happening::FlowFails { reliable }),
        3 => prop_oneof![0u64..700, 0u64..50_000].prop_map(|milliseconds| Happening::Pass { milliseconds }),
    ]
}

struct World {
    table: Table,
    now: u64,
    asked: Vec<(ServerId, Request)>,
    /// Final answers of the user, and whether one was 2xx to an INVITE.
    answered: BTreeMap<ServerId, bool>,
    sent: Vec<(ClientId, Request)>,
    over: BTreeSet<ClientId>,
    next: u64,
    finals: BTreeMap<ClientId, u32>,
}

impl World {
    fn flow(reliable: bool) -> Flow {
        if reliable { tcp() } else { udp() }
    }

    fn heard(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Request { id, request, .. } => {
                    assert!(self.asked.iter().all(|(known, _)| *known != id), "an id is never used again");
                    self.asked.push((id, request));
                }
                Output::Response { id, response } => {
                    assert!(!self.over.contains(&id), "nothing comes after the end");
                    if response.status().is_final() {
                        let finals = self.finals.entry(id).or_default();
                        *finals += 1;
                        assert!(*finals == 1 || response.status().is_success());
                    }
                }
                Output::TimedOut { id } | Output::TransportFailed { id } => {
                    assert!(self.over.insert(id), "one end");
                    assert!(!self.finals.contains_key(&id), "no end after a final response");
                }
                Output::Transmit { bytes, .. } => {
                    Message::parse_datagram(bytes).unwrap();
                }
                Output::Cancel { .. } | Output::Ack { .. } | Output::StrayResponse(_) => {}
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        let mut out = Vec::new();
        let now = Tick(self.now);
        match happening {
            Happening::Receive { method, branch, cookie, reliable } => {
                let via =
                    VIA.replace("z9hG4bKone", &format!("{}{branch}", if cookie { "z9hG4bK" } else { "b" }));
                self.table.receive(parse(&text(METHODS[method], &via)), Self::flow(reliable), now, &mut out);
            }
            Happening::Respond { which, code } => {
                if self.asked.is_empty() {
                    return;
                }
                let (id, request) = self.asked[which % self.asked.len()].clone();
                let response = request.respond(status(code), "t").finish();
                let taken = self.table.respond(id, response, now, &mut out).is_ok();
                if taken && code >= 200 {
                    let accepts = code < 300 && *request.method() == sip::Method::Invite;
                    let before = self.answered.insert(id, accepts);
                    assert!(before.is_none() || (before == Some(true) && accepts), "answered twice");
                }
            }
            Happening::Again { which } => {
                if self.asked.is_empty() {
                    return;
                }
                let (id, request) = self.asked[which % self.asked.len()].clone();
                let repeated = request.respond(status(200), "t").finish();
                if self.table.again(id, &repeated, now, &mut out).is_ok() {
                    assert_eq!(self.answered.get(&id), Some(&true), "only what was accepted");
                    assert!(matches!(out[..], [Output::Transmit { .. }]));
                }
            }
            Happening::Send { method, reliable } => {
                self.next += 1;
                let id = ClientId(self.next);
                let via = ViaTemplate::new("h");
                self.table.send(id, request(SENT[method]), Self::flow(reliable), &via, now, &mut out);
                for output in &out {
                    if let Output::Transmit { bytes, .. } = output
                        && let Message::Request(request) = Message::parse_datagram(bytes.clone()).unwrap()
                    {
                        self.sent.push((id, request));
                    }
                }
            }
            Happening::Reply { which, code, cancel } => {
                if self.sent.is_empty() {
                    return;
                }
                let request = &self.sent[which % self.sent.len()].1;
                let mut edit = request.respond(status(code), "p").finish().edit();
                if cancel {
                    edit.replace(sip::Name::CSeq, "7 CANCEL");
                }
                self.table.receive(edit.finish().into(), udp(), now, &mut out);
            }
            Happening::Cancel { which } => {
                if self.sent.is_empty() {
                    return;
                }
                self.next += 1;
                let _ = self.table.cancel(
                    self.sent[which % self.sent.len()].0,
                    ClientId(self.next),
                    which.is_multiple_of(2).then_some("SIP;cause=480"),
                    now,
                    &mut out,
                );
            }
            Happening::FlowFails { reliable } => self.table.flow_failed(&Self::flow(reliable), &mut out),
            Happening::Pass { milliseconds } => {
                self.now += milliseconds;
                self.table.expire(Tick(self.now), &mut out);
            }
        }
        self.heard(out);
        let open = self.asked.iter().filter(|(id, _)| !self.answered.contains_key(id)).count();
        assert!(self.table.unanswered() <= open, "what waits for the user was asked of the user");
        assert!(self.table.servers() <= 4 && self.table.clients() <= 5);
    }
}

proptest! {
    #[test]
    fn the_table_keeps_its_word(happenings in proptest::collection::vec(happening(), 0..120)) {
        let limits = Limits { servers: 4, clients: 5, ..Limits::default() };
        let mut world = World {
            table: Table::new(Timers::default(), limits, [3, 4]),
            now: 0,
            asked: Vec::new(),
            answered: BTreeMap::new(),
            sent: Vec::new(),
            over: BTreeSet::new(),
            next: 0,
            finals: BTreeMap::new(),
        };
        for happening in happenings {
            world.happen(happening);
        }
        while let Some(Tick(at)) = world.table.next_deadline() {
            world.happen(Happening::Pass { milliseconds: at.saturating_sub(world.now) });
        }
        prop_assert!(world.table.is_empty());
        prop_assert_eq!(world.table.unanswered(), 0);
        let abandoned = world.table.stats().abandoned as usize;
        prop_assert_eq!(world.answered.len() + abandoned, world.asked.len(), "each request has one answer");
        for (id, _) in &world.sent {
            let ends = usize::from(world.over.contains(id)) + usize::from(world.finals.contains_key(id));
            prop_assert_eq!(ends, 1, "each request sent has one end");
        }
    }
}
