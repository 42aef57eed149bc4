//! Calls through a small S-CSCF in virtual time.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::load::{
    Count,
    ground::Seen,
    mix::Procedure,
    tests::{HOP, Loss, PROXY, Scscf, World, tampering, usual},
};
use std::collections::BTreeMap;

impl World {
    fn call(self, calls: u32) -> Self {
        self.start(Procedure::Call, calls)
    }

    fn calls(self) -> (Count, Seen) {
        self.count(Procedure::Call)
    }
}

const MIXED: Habits = Habits {
    hold: Duration::from_millis(300),
    ring: Duration::from_millis(40),
    reject: 20,
    cancel: 10,
    callee_ends: 50,
};

#[test]
fn calls_take_their_courses_and_every_stage_is_measured() {
    let (count, seen) = World::new(7, MIXED, usual()).call(200).calls();
    assert_eq!((count.started, count.succeeded, count.failed), (200, 200, 0), "{count:?}");
    let courses = BTreeMap::from([("answered", 140), ("cancelled", 20), ("rejected", 40)]);
    assert_eq!(count.courses, courses);
    assert_eq!((count.retransmissions, count.unanswered, seen.repeated, seen.late), (0, 0, 0, 0), "{seen:?}");
    assert!(seen.unexpected.0.is_empty(), "{seen:?}");
    let stage = |name| {
        let latency = count.stages.get(name);
        (latency.count, latency.p50_us / 1000, latency.max_us / 1000)
    };
    assert_eq!(stage("invite_to_callee"), (200, 2, 2));
    assert_eq!(stage("invite_to_180"), (160, 4, 4));
    assert_eq!(stage("invite_to_200"), (140, 44, 44), "ringing included");
    assert_eq!(stage("answer_to_caller"), (140, 2, 2));
    assert_eq!(stage("bye_to_200"), (140, 4, 4));
    assert_eq!(stage("reject_to_caller"), (40, 2, 2));
    assert_eq!(stage("cancel_to_487"), (20, 4, 4));
    assert_eq!(stage("invite_to_100").0, 0);
    assert!((count.rate_achieved - 200.0).abs() < 1e-9);
}

#[test]
fn both_sides_hang_up_in_their_share_even_at_once() {
    for callee_ends in [0, 30, 100] {
        let habits = Habits { callee_ends, ..Habits::default() };
        let mut world = World::new(3, habits, usual());
        let (sender, seen) = std::sync::mpsc::channel();
        world.scscf = std::mem::replace(&mut world.scscf, usual()).tampering(move |text| {
            if text.starts_with("BYE ") {
                let to_caller = (1..4).any(|n| text.contains(&format!("\r\nTo: <sip:user00000{n}@")));
                sender.send(to_caller).unwrap();
            }
            text
        });
        let (count, unexpected) = world.call(300).calls();
        assert_eq!((count.succeeded, count.retransmissions), (300, 0), "{count:?} {unexpected:?}");
        let byes: Vec<bool> = seen.iter().collect();
        let to_callers = byes.iter().filter(|to| **to).count();
        assert_eq!((byes.len(), to_callers), (300, 3 * usize::from(callee_ends)));
    }
}

#[test]
fn in_every_round_a_caller_calls_another() {
    let mut world = World::new(3, Habits::default(), usual());
    for _ in 0..9 {
        let now = world.engine.ground.now;
        world.engine.start(Procedure::Call, now);
    }
    let mut pairs: Vec<_> = world.engine.calls.calls.all().map(|call| (call.caller, call.callee)).collect();
    pairs.sort_unstable();
    pairs.dedup();
    assert_eq!(pairs.len(), 9, "{pairs:?}");
    assert!(pairs.iter().all(|(caller, callee)| *caller < 3 && (3..6).contains(callee)));
}

#[test]
fn what_is_lost_is_sent_again_and_no_failure() {
    let some = |k: u64| move |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & 0xff < 256 / k;
    let every = |k: u64| move |number: u64| number.is_multiple_of(k);
    // The proxy keeps no transactions, so a request and its answer must make four legs at one go.
    let losses: [(&str, Loss); 6] = [
        ("every 7th", Box::new(every(7))),
        ("every 10th", Box::new(every(10))),
        ("every 29th", Box::new(every(29))),
        ("every 97th", Box::new(every(97))),
        ("one of 8", Box::new(some(8))),
        ("one of 20", Box::new(some(20))),
    ];
    for (what, lost) in losses {
        let mut world = World::new(10, MIXED, usual());
        world.lose = lost;
        let (count, seen) = world.call(100).calls();
        assert_eq!((count.succeeded, count.failed), (100, 0), "{what} lost: {:?}", count.failures);
        assert!(count.retransmissions > 0 && seen.repeated > 0, "{what} lost: {count:?} {seen:?}");
        assert!(seen.unexpected.0.is_empty(), "{what} lost: {seen:?}");
    }
}

#[test]
fn any_one_datagram_may_be_lost() {
    for habits in [
        Habits { callee_ends: 0, ..MIXED },
        Habits { callee_ends: 100, reject: 0, cancel: 0, ..MIXED },
        Habits { reject: 100, cancel: 0, ..MIXED },
        Habits { reject: 0, cancel: 100, ..MIXED },
        Habits { callee_ends: 0, reject: 0, cancel: 0, ..Habits::default() },
        Habits { callee_ends: 100, reject: 0, cancel: 0, ..Habits::default() },
    ] {
        let before = World::new(1, habits, usual()).number;
        for lost in 1..16 {
            let mut world = World::new(1, habits, usual());
            world.lose = Box::new(move |number| number == before + lost);
            let (count, seen) = world.call(1).calls();
            assert_eq!((count.succeeded, count.failed), (1, 0), "{lost} lost of {habits:?}: {count:?}");
            assert!(seen.unexpected.0.is_empty(), "{lost} lost of {habits:?}: {seen:?}");
        }
    }
}

#[test]
fn silence_is_told_by_where_it_fell() {
    let silent = |what: &'static str| {
        let scscf = tampering(move |text| if text.starts_with(what) { String::new() } else { text });
        let habits = Habits { callee_ends: 0, ..Habits::default() };
        World::new(1, habits, scscf).call(1).calls().0
    };
    let cause = |count: &Count| count.failures.keys().next().cloned().unwrap_or_default();
    let count = silent("INVITE");
    assert_eq!((cause(&count).as_str(), count.unanswered), ("INVITE: no answer (Timer B)", 1));
    assert_eq!(count.retransmissions, 6);
    let count = silent("ACK");
    assert_eq!((count.succeeded, count.failed), (1, 0), "BYE ends what no ACK confirmed: {count:?}");
    let count = silent("BYE");
    assert_eq!((cause(&count).as_str(), count.unanswered, count.failed), ("BYE: no answer (Timer F)", 1, 1));
    let scscf = tampering(|text| {
        let ends = text.starts_with("SIP/2.0 2") && text.contains(" INVITE\r\n");
        if ends { String::new() } else { text }
    });
    let (count, _) = World::new(1, Habits::default(), scscf).call(1).calls();
    assert_eq!((count.unanswered, count.failed), (1, 1), "{count:?}");
    assert!(
        ["INVITE: no final response", "200 to INVITE: no ACK"].contains(&cause(&count).as_str()),
        "{count:?}"
    );
}

#[test]
fn a_refusal_by_the_network_is_a_failure_with_its_words() {
    let scscf = tampering(|text| match text.strip_prefix("INVITE ") {
        Some(_) => String::new(),
        None => text,
    });
    let mut world = World::new(1, Habits::default(), scscf);
    let now = world.engine.ground.now;
    world.engine.start(Procedure::Call, now);
    let mut sent = Vec::new();
    world.engine.ground.outbox.drain(|_, _, octets| sent.push(String::from_utf8(octets.to_vec()).unwrap()));
    let via = sent[0].lines().find(|line| line.starts_with("Via")).unwrap();
    let response = format!(
        "SIP/2.0 503 Service Unavailable\r\n{via}\r\nFrom: <sip:a@b>;tag=o1\r\nTo: <sip:c@d>;tag=x\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n"
    );
    for _ in 0..2 {
        world.engine.hear(0, PROXY.into(), response.as_bytes());
        let mut acks = 0;
        world.engine.ground.outbox.drain(|_, _, octets| {
            let text = String::from_utf8_lossy(octets);
            assert!(text.starts_with("ACK sip:user000002@") && text.contains(via), "{text}");
            assert!(
                text.contains("\r\nTo: <sip:c@d>;tag=x\r\n") && text.contains("\r\nRoute: <sip:orig-"),
                "{text}"
            );
            acks += 1;
        });
        assert_eq!(acks, 1, "every copy of a refusal is acknowledged");
    }
    assert_eq!(world.engine.in_flight(), 0);
    let (count, seen) = world.calls();
    assert_eq!((count.failures["INVITE: 503 Service Unavailable"], seen.repeated), (1, 1));
}

/// Replaces the first of `from` in texts that begin with `start`.
fn replaced(start: &'static str, from: &'static str, to: &'static str) -> Scscf {
    tampering(move |text| if text.starts_with(start) { text.replacen(from, to, 1) } else { text })
}

#[test]
fn what_leaves_its_route_set_is_a_failure() {
    let habits = Habits { callee_ends: 0, hold: 10 * HOP, ..Habits::default() };
    let failed = |scscf: Scscf, cause: &str| {
        let (count, seen) = World::new(2, habits, scscf).call(1).calls();
        assert_eq!(count.failed, 1, "{cause}: {count:?}");
        assert_eq!(count.failures.get(cause), Some(&1), "{cause}: {count:?}");
        assert_eq!(seen.unexpected.0.get(cause), Some(&1), "{cause}: {seen:?}");
    };
    failed(
        replaced("INVITE", "Route: <sip:path@", "Route: <sip:other@"),
        "INVITE that did not follow its route set",
    );
    failed(replaced("INVITE sip:", "sip:", "sip:not"), "INVITE that did not follow its route set");
    failed(
        replaced("BYE", "Route: <", "Route: <sip:more@127.0.0.1:9;lr>, <"),
        "BYE that did not follow its route set",
    );
    failed(replaced("ACK sip:", "sip:", "sip:not"), "ACK that did not follow its route set");
    let rr = "<sip:rr-t@127.0.0.1:5060;lr>, <sip:rr-o@127.0.0.1:5060;lr>";
    let scscf = tampering(move |text| text.replace(&format!("Record-Route: {rr}\r\n"), ""));
    failed(scscf, "INVITE without the Record-Route of every proxy");
    let scscf = tampering(|text| {
        let answer = text.starts_with("SIP/2.0 200") && text.contains(" INVITE\r\n");
        if answer { text.replacen("sip:orig@", "sip:oric@", 1) } else { text }
    });
    failed(scscf, "2xx without the Record-Route of every proxy");
}

#[test]
fn a_release_by_the_network_is_told_with_its_reason() {
    let habits = Habits { callee_ends: 0, hold: Duration::from_secs(60), ..Habits::default() };
    let mut world = World::new(1, habits, usual());
    let now = world.engine.ground.now;
    world.engine.start(Procedure::Call, now);
    while !world.engine.calls.calls.at(0).unwrap().called.is_up() {
        world.step();
    }
    let mark = world.engine.calls.calls.at(0).unwrap().mark;
    for (side, socket) in [('o', 0), ('t', 2)] {
        let bye = format!(
            "BYE sip:x@127.0.0.1:6000 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKown{side}\r\n\
             From: <sip:p@d>;tag=p\r\nTo: <sip:u@d>;tag={side}{mark}\r\nCall-ID: {mark}\r\nCSeq: 9 BYE\r\n\
             Reason: SIP;cause=480;text=\"Temporarily Unavailable\"\r\n\r\n"
        );
        world.engine.hear(socket, PROXY.into(), bye.as_bytes());
    }
    let mut answers = Vec::new();
    world
        .engine
        .ground
        .outbox
        .drain(|_, to, octets| answers.push((to, String::from_utf8_lossy(octets).into_owned())));
    assert!(
        answers.iter().all(|(to, text)| *to == PROXY.into() && text.starts_with("SIP/2.0 200 OK")),
        "{answers:?}"
    );
    assert_eq!((answers.len(), world.engine.in_flight()), (2, 0));
    let (count, seen) = world.calls();
    let cause = "released by the network: SIP;cause=480;text=\"Temporarily Unavailable\"";
    assert_eq!((count.failed, count.failures[cause]), (1, 1));
    assert_eq!(seen.unexpected.0["BYE of the network's own"], 2);
}

#[test]
fn strangers_are_answered_and_counted() {
    let mut world = World::new(1, Habits::default(), usual());
    let run = world.engine.ground.run;
    let mut ask = |method: &str, call_id: &str, to_tag: &str| {
        let text = format!(
            "{method} sip:x@127.0.0.1:6000 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKown\r\n\
             From: <sip:p@d>;tag=p\r\nTo: <sip:u@d>{to_tag}\r\nCall-ID: {call_id}\r\nCSeq: 9 {method}\r\n\r\n"
        );
        world.engine.hear(0, PROXY.into(), text.as_bytes());
        let mut answer = String::new();
        world
            .engine
            .ground
            .outbox
            .drain(|_, _, octets| answer = String::from_utf8_lossy(&octets[8..11]).into_owned());
        answer
    };
    assert_eq!(ask("OPTIONS", "somebody", ""), "481");
    assert_eq!(ask("ACK", "somebody", ""), "");
    assert_eq!(
        ask("BYE", &format!("{run:x}.c7.7"), ";tag=t1"),
        "200",
        "one that is over is answered as it was"
    );
    assert_eq!(ask("INVITE", &format!("{run:x}.c7.7"), ""), "481");
    world.engine.hear(0, PROXY.into(), b"what?");
    world.engine.hear(
        0,
        PROXY.into(),
        b"SIP/2.0 200 OK\r\nVia: x;branch=y\r\nf: a\r\nt: b\r\ni: c\r\nCSeq: 1 BYE\r\n\r\n",
    );
    let seen = &world.engine.ground.seen;
    assert_eq!((seen.late, seen.unexpected.0.len()), (3, 3), "{seen:?}");
    assert_eq!(seen.unexpected.0["OPTIONS that belongs to nothing"], 1);
}

#[test]
fn calls_that_stand_are_ended_early_and_in_order() {
    let habits = Habits { hold: Duration::from_secs(3600), ..Habits::default() };
    let mut world = World::new(4, habits, usual());
    for _ in 0..100 {
        let now = world.engine.ground.now;
        world.engine.start(Procedure::Call, now);
        world.step();
    }
    let begun = world.engine.ground.now;
    while world.engine.ground.now < begun + Duration::from_secs(5) && world.step() {}
    assert_eq!(world.engine.in_flight(), 100);
    world.engine.calls.hang_up(&mut world.engine.ground);
    let stopped = world.engine.ground.now;
    world.run();
    assert!(world.engine.ground.now - stopped < Duration::from_secs(1));
    let (count, seen) = world.calls();
    assert_eq!((count.succeeded, count.failed), (100, 0), "{count:?} {seen:?}");
}

#[test]
fn places_are_used_again_after_a_while() {
    let mut world = World::new(2, Habits::default(), usual()).call(50);
    let (used, free) = world.engine.calls.calls.used();
    assert!(free == 0 && used > 10);
    while world.step() {}
    assert_eq!(world.engine.calls.calls.used(), (used, used), "Timer D is over");
    let world = world.call(50);
    assert_eq!(world.engine.calls.calls.used().0, used);
    let (count, seen) = world.calls();
    assert_eq!((count.succeeded, seen.late), (100, 0), "{count:?} {seen:?}");
}

#[test]
fn messages_are_sip_to_rsip_too() {
    let (sender, texts) = std::sync::mpsc::channel();
    let scscf = tampering(move |text| {
        sender.send(text.clone()).unwrap();
        text
    });
    let habits = Habits { reject: 30, cancel: 30, ..MIXED };
    let (count, _) = World::new(2, habits, scscf).call(20).calls();
    assert_eq!(count.succeeded, 20, "{count:?}");
    for text in texts {
        let read = rsip::SipMessage::try_from(text.as_bytes());
        assert!(read.is_ok(), "{read:?}\n{text}");
        assert!(text.len() < 1200, "{} octets would not go by UDP through another proxy", text.len());
    }
}

#[test]
fn a_call_that_has_ended_keeps_little() {
    // One of 1,100 calls a second is kept for 32 s after its end.
    assert!(size_of::<Call>() <= 320, "{}", size_of::<Call>());
    let mut world = World::new(2, Habits::default(), usual()).call(3);
    assert!(
        world.engine.calls.calls.all().all(|call| !call.calling.keeps_more() && !call.called.keeps_more())
    );
}
