//! Two thousand users in three nodes: each enters anywhere, is seen from anywhere, and is reached again from anywhere.

use crate::cluster_entry::{proxies, report};
use crate::town::{Town, town_with};
use e2e::{Process, eventually, http, shard_of};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const USERS: u32 = 2000;
/// Of registrations, and then of those that follow, per second.
const RATE: &str = "400";
const DONE: Duration = Duration::from_secs(60);

/// All registered users as a node lists them.
fn registered(town: &Town, node: &str) -> Vec<Value> {
    let (mut users, mut cursor) = (Vec::new(), String::new());
    loop {
        let url = format!("{}/v1/users?state=registered&limit=500{cursor}", town.cluster.node(node).api);
        let Ok((200, page)) = http::get(&url) else { return users };
        users.extend(page["users"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) if users.len() <= USERS as usize => cursor = format!("&cursor={next}"),
            _ => return users,
        }
    }
}

/// Whether everybody is there once, with one contact and one subscription.
fn is_complete(users: &[Value]) -> bool {
    let names: std::collections::BTreeSet<&str> =
        users.iter().filter_map(|user| user["impi"].as_str()).collect();
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
        let seen = eventually(DONE, || is_complete(&registered(&town, node)).then_some(()));
        assert!(seen.is_some(), "{node}: {} are seen", registered(&town, node).len());
    }
    let report = report(running, DONE);
    let kept = &report["subscriptions"];
    let counts = |of: &Value, names: &[&str]| names.iter().map(|name| of[*name].as_u64()).collect::<Vec<_>>();
    let everybody = Some(u64::from(USERS));
    let registrations =
        counts(&report, &["registered_before", "started", "succeeded", "failed", "unanswered"]);
    assert_eq!(registrations, [everybody, everybody, everybody, Some(0), Some(0)], "{report:#}");
    assert_eq!(counts(kept, &["asked", "active", "failed"]), [everybody, everybody, Some(0)], "{report:#}");
    // One when it subscribed, one when it registered again.
    let all = Some(2 * u64::from(USERS));
    assert_eq!(counts(kept, &["notifies", "answered"]), [all, all], "{report:#}");
    assert_eq!(report["unexpected"], json!({}), "{report:#}");

    let shares: BTreeMap<String, usize> =
        town.cluster.ids().into_iter().map(|id| (id.clone(), town.cluster.shards_of(&id))).collect();
    assert!(shares.values().all(|share| share.abs_diff(341) <= 34), "{shares:?}");
    let owners = town.cluster.node("n1").owners();
    let users = registered(&town, "n3");
    assert!(is_complete(&users), "{}", users.len());
    let mut homes: BTreeMap<&str, usize> = BTreeMap::new();
    for user in &users {
        let (impi, node) = (user["impi"].as_str().unwrap(), user["node"].as_str().unwrap());
        assert_eq!(owners[usize::from(shard_of(impi))], node, "{user}");
        *homes.entry(node).or_default() += 1;
    }
    for (node, share) in &shares {
        let expected = share * USERS as usize / owners.len();
        assert!(homes[node.as_str()].abs_diff(expected) <= expected / 7, "{homes:?} of {shares:?}");
    }
    // The network has every answer.
    for user in users.iter().step_by(97) {
        let name = user["impi"].as_str().and_then(|impi| impi.split('@').next()).unwrap();
        let (_, view) = town.cluster.user_at("n2", name);
        assert_eq!(view["subscriptions"][0]["last_notify"]["status"], 200, "{view:#}");
    }
}
