//! Nodes die by which users only came in, all of them die, or one after another does; whoever is struck at which moment is told in
//! `failover.rs`.

use crate::town::{Resident, SLACK, SOON, TAKEOVER, hangs_up, talk, town};
use e2e::Phone;
use std::time::Duration;

/// The node that is struck; requests of those whom it serves enter at the others.
const STRUCK: &str = "n2";

#[test]
fn the_node_where_requests_entered() {
    let Some(mut town) = town(3) else { return };
    let mut caller = Resident::at(Phone::new(&town.somebody_at("n1", 0), town.cluster.node(STRUCK).sip));
    let mut callee = Resident::at(Phone::new(&town.somebody_at("n3", 0), town.cluster.node(STRUCK).sip));
    let (mut ours, _) = talk(&mut caller, &mut callee);
    let dialog = caller.subscribes("reg");
    town.cluster.kill(STRUCK);
    let others = town.cluster.entries_but(STRUCK);
    caller.phone.enters_among(&others);
    callee.phone.enters_among(&others);
    // Whoever is left owns them, as before: nothing has to be taken over for them.
    assert_eq!(caller.reregisters().status(), 200);
    assert!(caller.phone.notified(&dialog, SOON, 200).is_some());
    hangs_up(&mut caller, &mut ours, &mut callee);
}

#[test]
fn all_nodes_at_once() {
    let Some(mut town) = town(3) else { return };
    let mut residents: Vec<Resident> =
        ["n1", "n2", "n3"].iter().map(|node| town.resident_of(node, 0)).collect();
    let ids = town.cluster.ids();
    for id in &ids {
        town.cluster.kill(id);
    }
    for id in &ids {
        town.cluster.start_again(id);
    }
    town.cluster.settles(Duration::from_secs(20));
    for resident in &mut residents {
        assert_eq!(town.cluster.user(&resident.name()).1["state"], "registered");
        assert_eq!(resident.reregisters().status(), 200);
    }
}

#[test]
fn one_node_again_and_again() {
    let Some(mut town) = town(3) else { return };
    let mut resident = town.moves_in("alice");
    for _ in 0..4 {
        let owner = town.cluster.owner("alice");
        let others = town.cluster.entries_but(&owner);
        let struck = town.cluster.kill(&owner);
        resident.phone.enters_among(&others);
        assert_eq!(resident.reregisters().status(), 200);
        assert!(struck.elapsed() < TAKEOVER + SLACK, "{:?}", struck.elapsed());
        town.cluster.start_again(&owner);
        town.cluster.settles(Duration::from_secs(20));
    }
}
