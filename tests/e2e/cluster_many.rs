//! Two thousand users in three nodes: each enters anywhere, is seen from anywhere, and is reached again from anywhere.

use crate::cluster_entry::{proxies, report};
use crate::town::town_with;
use e2e::{Process, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const USERS: u32 = 2000;
/// Of registrations, and then of those that follow, per second.
const RATE: &str = "400";
const DONE: Duration = Duration::from_secs(60);

/// Whether everybody is there once, with one contact and one subscription.
fn is_complete(users: &[Value]) -> bool {
    let names: BTreeSet<&str> = users.iter().filter_map(|user| user["impi"].as_str()).collect();
    users.len() == USERS as usize
        && names.len() == users.len()
        && users.iter().all(|user| user["bindings"] == 1 && user["subscriptions"] == 1)
}

#[test]
fn two_thousand_register_and_subscribe_anywhere_and_are_notified_again() {
    let Some(town) = town_with(3, |settings| settings.generate = USERS) else { return };
    let (proxy, users) = (proxies(&town.cluster), USERS.to_string());
    let load = ["load", "reregister", "--subscribe", "--proxy", &proxy, "--entry", "random", "--json"];
    let rates = ["--users", &users, "--registration-rate", RATE, "--rate", RATE, "--sockets", "8"];
    let running = Process::start(&[&load[..], &rates].concat(), &[]);

    // From here on everybody registers again, and is seen by every node as before.
    for node in ["n2", "n3", "n1"] {
        let seen = eventually(DONE, || is_complete(&town.registered(node)).then_some(()));
        assert!(seen.is_some(), "{node}: {} are seen", town.registered(node).len());
    }
    let report = report(running, DONE);
    let kept = &report["subscriptions"];
    let counts = |of: &Value, names: &[&str]| names.iter().map(|name| of[*name].as_u64()).collect::<Vec<_>>();
    let everybody = Some(u64::from(USERS));
    let registrations =
        counts(&report, &["registered_before", "started", "succeeded", "failed", "unanswered"]);
    assert_eq!(registrations, [everybody, everybody, everybody, Some(0), Some(0)], "{report:#}");
    assert_eq!(counts(kept, &["asked", "active", "failed"]), [everybody, everybody, Some(0)], "{report:#}");
    // One when it subscribed, one when it registered again; two if that was put off and made anew.
    assert!(kept["notifies"].as_u64() >= Some(2 * u64::from(USERS)), "{report:#}");
    assert_eq!(kept["answered"], kept["notifies"], "{report:#}");
    assert_eq!(report["unexpected"], json!({}), "{report:#}");

    let homes = town.is_spread();
    let share = USERS as usize / homes.len();
    assert!(homes.values().all(|count| count.abs_diff(share) <= share / 5), "{homes:?}");
    let users = town.registered("n3");
    assert!(is_complete(&users), "{}", users.len());
    // The network has every answer.
    for user in users.iter().step_by(97) {
        let name = user["impi"].as_str().and_then(|impi| impi.split('@').next()).unwrap();
        let (_, view) = town.cluster.user_at("n2", name);
        assert_eq!(view["subscriptions"][0]["last_notify"]["status"], 200, "{view:#}");
    }
}
