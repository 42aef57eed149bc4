//! Subscriptions that stay: asked for once, and told of every registration from then on.

use super::{PROXY, Scscf, World, tampering, usual};
use crate::load::{Habits, Kept, Plan, mix::Procedure};
use std::sync::{Arc, Mutex};

/// Six users, registered and subscribed.
fn world(scscf: Scscf) -> World {
    let plan = Plan { users: 3, subscribe: true, ..Plan::new(PROXY.into()) };
    World::of(&plan, Habits::default(), scscf)
}

fn kept(world: World) -> Kept {
    assert_eq!(world.engine.in_flight(), 0, "what stays is not under way");
    let kept = world.engine.kept.kept();
    assert_eq!(kept.asked, kept.active + kept.failed, "{kept:?}");
    kept
}

#[test]
fn who_registers_subscribes_once_and_hears_of_each_registration() {
    for procedure in [Procedure::Register, Procedure::Reregister] {
        let mut world = world(usual());
        let before = world.engine.kept.in_flight();
        world = world.start(procedure, 12);
        assert!(world.engine.ground.seen.unexpected.0.is_empty(), "{:?}", world.engine.ground.seen);
        let kept = kept(world);
        assert_eq!((before, kept.asked, kept.active, kept.failed), (0, 6, 6, 0), "{kept:?}");
        assert_eq!((kept.notifies, kept.answered), (18, 18), "{kept:?}");
        let stage = |name| (kept.stages.get(name).count, kept.stages.get(name).p50_us / 1000);
        assert_eq!((stage("subscribe_to_200"), stage("register_to_notify")), ((6, 2), (12, 2)));
    }
}

#[test]
fn a_registration_that_nobody_is_told_of_is_a_failure() {
    let mut count = 0;
    let scscf = tampering(move |text| {
        count += u32::from(text.starts_with("NOTIFY"));
        // The first after each user has had its first.
        if text.starts_with("NOTIFY") && count == 7 { String::new() } else { text }
    });
    let world = world(scscf).start(Procedure::Reregister, 6);
    let kept = kept(world);
    assert_eq!((kept.active, kept.failed, kept.unanswered, kept.notifies), (5, 1, 1, 11), "{kept:?}");
    assert_eq!(kept.failures["REGISTER: no NOTIFY (Timer N)"], 1, "{kept:?}");
}

#[test]
fn a_subscription_that_fails_is_counted_and_asked_for_again() {
    let (mut asked, mut told) = (0, 0);
    let scscf = tampering(move |text| {
        let answers = text.starts_with("SIP/2.0 200") && text.contains(" SUBSCRIBE\r\n");
        asked += u32::from(answers);
        told += u32::from(text.starts_with("NOTIFY"));
        match (answers, asked, told) {
            (true, 2, _) => text.replacen("200 OK", "480 Temporarily Unavailable", 1),
            (false, _, 10) => text.replacen("active;expires=600", "terminated;reason=probation", 1),
            _ => text,
        }
    });
    let world = world(scscf).start(Procedure::Reregister, 12);
    let kept = kept(world);
    assert_eq!((kept.asked, kept.active, kept.failed), (8, 6, 2), "{kept:?}");
    let causes = ["NOTIFY: terminated;reason=probation", "SUBSCRIBE: 480 Temporarily Unavailable"];
    assert!(causes.iter().all(|cause| kept.failures[*cause] == 1), "{kept:?}");
    assert!(kept.notifies > kept.answered, "what comes to nobody is refused: {kept:?}");
}

#[test]
fn a_notify_that_comes_again_is_one() {
    let last = Arc::new(Mutex::new(Vec::new()));
    let seen = last.clone();
    let mut world = world(tampering(move |text| {
        if text.starts_with("NOTIFY") {
            *seen.lock().unwrap() = text.clone().into_bytes();
        }
        text
    }));
    let octets = last.lock().unwrap().clone();
    world.engine.hear(0, PROXY.into(), &octets);
    let mut answers = Vec::new();
    world.engine.ground.outbox.drain(|_, _, octets| answers.push(octets.to_vec()));
    assert!(answers.len() == 1 && answers[0].starts_with(b"SIP/2.0 200 OK\r\n"), "a copy is answered alike");
    assert_eq!(world.engine.ground.seen.repeated, 1);
    assert_eq!(kept(world).notifies, 6);
}
