//! Registrations, messages and subscriptions, alone and beside calls.

use super::{HOP, PROXY, World, tampering, usual};
use crate::load::{
    Habits, Progress, Shares,
    mix::{Mix, Procedure},
};
use std::time::Duration;

const HABITS: Habits = Habits {
    hold: Duration::from_millis(200),
    ring: Duration::from_millis(10),
    reject: 10,
    cancel: 10,
    callee_ends: 50,
};

fn world() -> World {
    World::new(5, HABITS, usual())
}

#[test]
fn messages_reach_whom_they_are_for() {
    let (count, seen) = world().start(Procedure::Message, 50).count(Procedure::Message);
    assert_eq!((count.started, count.succeeded, count.failed), (50, 50, 0), "{count:?} {seen:?}");
    let stage = |name| (count.stages.get(name).count, count.stages.get(name).p50_us / 1000);
    assert_eq!((stage("message_to_callee"), stage("message_to_200")), ((50, 2), (50, 4)));
    assert!(seen.unexpected.0.is_empty() && seen.repeated == 0);
}

#[test]
fn subscriptions_are_notified_and_ended() {
    let (count, seen) = world().start(Procedure::Subscribe, 50).count(Procedure::Subscribe);
    assert_eq!((count.started, count.succeeded, count.failed), (50, 50, 0), "{count:?} {seen:?}");
    let stage = |name| (count.stages.get(name).count, count.stages.get(name).p50_us / 1000);
    assert_eq!((stage("subscribe_to_200"), stage("subscribe_to_notify")), ((50, 2), (50, 2)));
    assert_eq!(stage("unsubscribe_to_notify"), (50, 2));
    assert!(seen.unexpected.0.is_empty() && seen.late == 0, "{seen:?}");
}

#[test]
fn every_kind_runs_beside_the_others_and_bears_loss() {
    for loses in [false, true] {
        let mut world = world();
        let before = world.number;
        world.lose = Box::new(move |number| loses && (number - before) % 11 == 5);
        let mut mix = Mix::of(&Shares::default()).unwrap();
        for _ in 0..200 {
            world = world.start(mix.next(), 1);
        }
        for procedure in Procedure::ALL {
            let mut so_far = Progress::default();
            world.engine.tally(procedure).add_to(&mut so_far);
            let Progress { started, succeeded, failed, retransmissions, .. } = so_far;
            assert!(started >= 10, "{procedure:?}");
            // The S-CSCF of these tests sends no NOTIFY again.
            let may_fail = loses && procedure == Procedure::Subscribe;
            assert!(
                succeeded + failed == started && (failed == 0 || may_fail),
                "{procedure:?}: {failed} failed"
            );
            assert!(loses || retransmissions == 0);
        }
        assert!(world.engine.ground.seen.unexpected.0.is_empty(), "{:?}", world.engine.ground.seen);
        assert_eq!(world.engine.in_flight(), 0);
    }
}

#[test]
fn what_goes_astray_or_unanswered_is_a_failure() {
    let failed = |tamper: fn(String) -> String, procedure: Procedure| {
        let (count, _) = World::new(2, HABITS, tampering(tamper)).start(procedure, 1).count(procedure);
        assert_eq!((count.failed, count.succeeded), (1, 0), "{count:?}");
        (count.failures.into_keys().next().unwrap(), count.unanswered)
    };
    let astray = |method: &str| (format!("{method} that did not follow its route set"), 0);
    let message = |tamper| failed(tamper, Procedure::Message);
    assert_eq!(message(|text| text.replace("Route: <sip:path@", "Route: <sip:else@")), astray("MESSAGE"));
    assert_eq!(
        message(|text| if text.starts_with("MESSAGE") { String::new() } else { text }),
        ("MESSAGE: no answer (Timer F)".to_owned(), 1)
    );
    let refused = |text: String| {
        let answer = text.starts_with("SIP/2.0 200") && text.contains(" MESSAGE\r\n");
        if answer { text.replacen("200 OK", "480 Temporarily Unavailable", 1) } else { text }
    };
    assert_eq!(message(refused).0, "MESSAGE: 480 Temporarily Unavailable");
    let subscribe = |tamper| failed(tamper, Procedure::Subscribe);
    assert_eq!(
        subscribe(|text| text.replace("\r\nRoute: <sip:orig@", "\r\nRoute: <sip:else@")),
        astray("NOTIFY")
    );
    assert_eq!(
        subscribe(|text| if text.starts_with("NOTIFY") { String::new() } else { text }),
        ("SUBSCRIBE: no NOTIFY (Timer N)".to_owned(), 1)
    );
    assert_eq!(
        subscribe(|text| text.replace("active;expires=600", "terminated;reason=noresource")).0,
        "NOTIFY: terminated;reason=noresource"
    );
    assert_eq!(
        subscribe(|text| text.replace("Record-Route: <sip:orig@", "X: <")).0,
        "200 to SUBSCRIBE without the Record-Route of every proxy"
    );
}

#[test]
fn a_message_that_comes_twice_is_one() {
    let mut world = world();
    let now = world.engine.ground.now;
    world.engine.start(Procedure::Message, now);
    let mut sent = Vec::new();
    world.engine.ground.outbox.drain(|_, _, octets| sent.push(octets.to_vec()));
    let address = ([127, 0, 0, 1], 6000).into();
    let (_, arriving) = world.scscf.hear(address, &sent[0]).remove(0);
    for _ in 0..2 {
        world.engine.hear(2, PROXY.into(), &arriving);
        world.engine.ground.now += HOP;
    }
    let mut answers = Vec::new();
    world.engine.ground.outbox.drain(|_, _, octets| answers.push(octets.to_vec()));
    assert!(answers.len() == 2 && answers[0] == answers[1] && answers[0].starts_with(b"SIP/2.0 200 OK\r\n"));
    let (_, answer) = world.scscf.hear(address, &answers[0]).remove(0);
    world.engine.hear(0, PROXY.into(), &answer);
    world.engine.hear(0, PROXY.into(), &answer);
    let (count, seen) = world.count(Procedure::Message);
    assert_eq!((count.succeeded, seen.repeated, seen.late), (1, 1, 1));
}
