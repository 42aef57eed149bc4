//! Several nodes: where requests enter, what becomes of those that a dead one gets, and who is asked for patience.

use super::{HOP, PROXY, World, branch, usual};
use crate::load::{
    Entry, Habits, Progress, Shares,
    mix::{Mix, Procedure},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

const HABITS: Habits = Habits {
    hold: Duration::from_millis(200),
    ring: Duration::from_millis(10),
    reject: 10,
    cancel: 10,
    callee_ends: 50,
};

fn nodes() -> Vec<SocketAddr> {
    [PROXY.into(), ([127, 0, 0, 2], 5060).into(), ([127, 0, 0, 3], 5060).into()].into()
}

fn so_far(world: &mut World, procedure: Procedure) -> Progress {
    let mut so_far = Progress::default();
    world.engine.tally(procedure).add_to(&mut so_far);
    so_far
}

/// Branches of CANCELs and of ACKs to refusals, which must come where their INVITE came.
fn strayed(world: &World) -> Vec<String> {
    let of = |octets: &[u8], start: &str| octets.starts_with(start.as_bytes()).then(|| branch(octets));
    let mut strayed = Vec::new();
    for came in world.entered.values() {
        let invites: BTreeSet<String> = came.iter().filter_map(|octets| of(octets, "INVITE")).collect();
        strayed.extend(
            came.iter().filter_map(|octets| of(octets, "CANCEL")).filter(|one| !invites.contains(one)),
        );
    }
    strayed
}

#[test]
fn everything_goes_through_any_node() {
    for entry in [Entry::Random, Entry::Sticky] {
        let mut world = World::among(&nodes(), entry, 6, HABITS, usual());
        let mut mix = Mix::of(&Shares::default()).unwrap();
        for _ in 0..300 {
            world = world.start(mix.next(), 1);
        }
        for procedure in Procedure::ALL {
            let Progress { started, succeeded, retransmissions, .. } = so_far(&mut world, procedure);
            assert!(started > 0 && (succeeded, retransmissions) == (started, 0), "{entry:?} {procedure:?}");
        }
        let counts: Vec<usize> = world.entered.values().map(Vec::len).collect();
        assert!(counts.len() == 3 && counts.iter().all(|count| *count > 100), "{entry:?}: {counts:?}");
        assert_eq!(strayed(&world), Vec::<String>::new());
        assert!(world.engine.ground.seen.unexpected.0.is_empty(), "{:?}", world.engine.ground.seen);
    }
}

#[test]
fn what_a_dead_node_gets_is_sent_to_another() {
    for entry in [Entry::Random, Entry::Sticky] {
        let mut world = World::among(&nodes(), entry, 6, HABITS, usual());
        world.dead = vec![nodes()[1]];
        let mut mix = Mix::of(&Shares::default()).unwrap();
        for _ in 0..200 {
            world = world.start(mix.next(), 1);
        }
        let mut again = 0;
        for procedure in Procedure::ALL {
            let Progress { started, succeeded, retransmissions, .. } = so_far(&mut world, procedure);
            assert_eq!(succeeded, started, "{entry:?} {procedure:?}");
            again += retransmissions;
        }
        // Everybody leaves it; somebody looks after it now and then.
        let silences = world.engine.ground.entries.silences();
        assert_eq!(silences.keys().collect::<Vec<_>>(), [&nodes()[1].to_string()]);
        assert!(again > 0 && again < 80, "{entry:?}: {again}");
    }
}

#[test]
fn who_is_asked_for_patience_makes_it_anew_and_that_is_no_failure() {
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    // Each method is refused now and then, requests made anew among them.
    let scscf = usual().busy(move |text| {
        let method = text.split(' ').next().unwrap_or("").to_owned();
        let count = times.entry(method.clone()).or_default();
        *count += 1;
        method != "CANCEL" && method != "NOTIFY" && (method != "REGISTER" || *count > 12) && *count % 3 == 1
    });
    let mut world = World::among(&nodes(), Entry::Random, 6, HABITS, scscf);
    let mut mix = Mix::of(&Shares::default()).unwrap();
    for _ in 0..300 {
        world = world.start(mix.next(), 1);
    }
    for procedure in Procedure::ALL {
        let Progress { started, succeeded, failed, retried, .. } = so_far(&mut world, procedure);
        assert_eq!((succeeded, failed), (started, 0), "{procedure:?} {:?}", world.engine.tally(procedure));
        assert!(retried > 3, "{procedure:?}: {retried}");
    }
    assert!(world.engine.ground.seen.responses[&503] > 50, "{:?}", world.engine.ground.seen);
    assert!(world.engine.ground.seen.unexpected.0.is_empty(), "{:?}", world.engine.ground.seen);
}

#[test]
fn patience_without_end_is_a_failure() {
    let scscf = usual().busy(|text| text.starts_with("MESSAGE"));
    let world = World::new(3, HABITS, scscf);
    let begun = world.engine.ground.now;
    let world = world.start(Procedure::Message, 1);
    assert!(world.engine.ground.now - begun < Duration::from_secs(35) + HOP);
    let (count, _) = world.count(Procedure::Message);
    assert_eq!((count.failed, count.failures["MESSAGE: 503 Later"]), (1, 1), "{count:?}");
    assert!(count.retried >= 25, "{count:?}");
}
