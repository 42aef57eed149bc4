//! What a full table does.

use crate::rig::{Rig, VIA, text, udp};
use sip::Name;
use sip::transaction::{Limits, Timers};

fn small() -> Rig {
    Rig::with(Timers::default(), Limits { servers: 1, clients: 1, retry_after: (5, 8) })
}

#[test]
fn beyond_the_limit_requests_get_503_without_a_transaction() {
    let mut rig = small();
    rig.receive("INVITE");
    let invite = rig.asked.clone();
    let mut waits = std::collections::BTreeSet::new();
    for number in 0..50 {
        let other = text("REGISTER", &format!("{VIA}{number}"));
        assert_eq!(rig.receive_on(udp(), &other), ["> 503"]);
        let (first, bytes) = (rig.sent.clone().unwrap().1, rig.receive_on(udp(), &other));
        assert_eq!(bytes, ["> 503"]);
        assert_eq!(first, rig.sent.clone().unwrap().1, "the same answer to the same request");
        let sip::Message::Response(refusal) = sip::Message::parse_datagram(first).unwrap() else {
            panic!("a response")
        };
        assert!(refusal.to_tag().is_some());
        waits.insert(refusal.get(Name::RetryAfter).unwrap().parse::<u32>().unwrap());
    }
    assert!(waits.iter().all(|wait| (5..=8).contains(wait)) && waits.len() > 1, "{waits:?}");
    assert_eq!((rig.table.servers(), rig.table.stats().refused), (1, 100));
    assert!(rig.receive("INVITE").is_empty(), "what is known is still absorbed");
    assert_eq!(rig.receive("CANCEL"), ["> 200", "cancel invite"], "and may still be cancelled");
    assert_eq!(rig.receive("CANCEL"), ["> 200", "cancel invite"]);
    rig.asked = invite;
    assert_eq!(rig.respond(487).unwrap(), ["> 487"]);
}

#[test]
fn beyond_the_limit_sending_fails() {
    let mut rig = small();
    rig.send(1, "INVITE");
    let invite = rig.sent_request();
    assert_eq!(rig.send(2, "NOTIFY"), ["2: failed"]);
    assert!(rig.cancel(1, 3).unwrap().is_empty());
    assert_eq!(rig.reply(&invite, 180), ["1: 180", "3: failed"]);
    assert_eq!((rig.table.clients(), rig.table.stats().failed), (1, 2));
    rig.run(100_000);
    assert!(rig.is_at_rest());
}

#[test]
fn timers_of_nothing_do_not_spin() {
    let timers = Timers {
        t1: 0,
        t2: 0,
        t4: 0,
        trying_after: 0,
        abandon_after: 0,
        abandon_ringing_after: 0,
        silent_after: 0,
    };
    let mut rig = Rig::with(timers, Limits::default());
    rig.receive("INVITE");
    rig.receive("REGISTER");
    rig.send(1, "INVITE");
    rig.send(2, "NOTIFY");
    rig.run(1_000);
    assert!(rig.is_at_rest());
}
