//! What the containers promise: images of the program under test, several nodes beside one Redis and one HSS, one of them
//! killed, one of them taken away.

use e2e::compose::{Compose, Container, can_compose};
use e2e::{DOMAIN, eventually};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const STARTED: Duration = Duration::from_secs(40);
/// From the death of a node to the time when its users are served again.
const TAKEN_OVER: Duration = Duration::from_secs(10);
/// Users of the load, besides alice and bob.
const USERS: &str = "60";
/// Users who stay subscribed to their registration state.
const SUBSCRIBERS: u64 = 2000;

fn impi(name: &str) -> String {
    format!("{name}@{DOMAIN}")
}

/// Shards of each node that serves, as `node` sees it.
fn shards(node: &Container) -> Result<BTreeMap<String, u64>, String> {
    let cluster = node.view(&["cluster"])?;
    let nodes = cluster["nodes"].as_array().cloned().unwrap_or_default();
    let serving = nodes.iter().filter(|node| node["state"] == "serving");
    Ok(serving
        .map(|node| (node["id"].as_str().unwrap_or("").to_owned(), node["shards"].as_u64().unwrap_or(0)))
        .collect())
}

/// Waits until every node sees exactly these nodes serve, each with its share of the shards within 10 %.
fn are_even(nodes: &[Container]) {
    let share = 1024.0 / nodes.len() as f64;
    let mut seen = Vec::new();
    let even = eventually(STARTED, || {
        seen = nodes.iter().map(shards).collect();
        let all = seen.iter().all(|seen| {
            seen.as_ref().is_ok_and(|seen| {
                seen.len() == nodes.len()
                    && nodes.iter().all(|node| {
                        seen.get(&node.id).is_some_and(|count| (*count as f64 - share).abs() <= share / 10.0)
                    })
            })
        });
        all.then_some(())
    });
    assert!(even.is_some(), "{seen:#?}");
}

/// IMPI and node of everybody who is registered, as `node` sees it.
fn registered(node: &Container) -> Result<BTreeMap<String, String>, String> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    Ok(listed(node)?.iter().map(|user| (text(&user["impi"]), text(&user["node"]))).collect())
}

/// Everybody who is registered, as `node` lists them.
fn listed(node: &Container) -> Result<Vec<Value>, String> {
    let users = node.view(&["users", "--state", "registered", "--limit", "5000"])?;
    Ok(users["users"].as_array().cloned().unwrap_or_default())
}

/// Two thousand register and subscribe by nodes at random, and then register again by others, of which each is notified. They
/// are seen at any node, each where its shard is.
fn many_subscribe(field: &Container, nodes: &[Container]) {
    let proxies: Vec<String> = nodes.iter().map(|node| format!("{}:5060", node.address())).collect();
    let (proxy, users) = (proxies.join(","), SUBSCRIBERS.to_string());
    let load = ["load", "reregister", "--subscribe", "--proxy", &proxy, "--entry", "random", "--json"];
    let many = [
        "--first",
        "1001",
        "--users",
        &users,
        "--registration-rate",
        "400",
        "--rate",
        "400",
        "--sockets",
        "8",
    ];
    let figures = field.inside(&[&load[..], &many].concat()).good();
    let figures: Value = serde_json::from_str(&figures).unwrap_or_else(|error| panic!("{error}: {figures}"));
    let (kept, twice) = (&figures["subscriptions"], 2 * SUBSCRIBERS);
    let counts = ["registered_before", "succeeded", "failed"].map(|name| figures[name].as_u64());
    assert_eq!(counts, [Some(SUBSCRIBERS), Some(SUBSCRIBERS), Some(0)], "{figures:#}");
    assert_eq!((&kept["active"], &kept["failed"]), (&SUBSCRIBERS.into(), &0.into()), "{figures:#}");
    // A registration that was put off and made anew may be told of twice.
    assert!(kept["notifies"].as_u64() >= Some(twice), "{figures:#}");
    assert_eq!(kept["answered"], kept["notifies"], "{figures:#}");
    let shares = shards(&nodes[0]).unwrap();
    for node in nodes {
        let mut homes: BTreeMap<String, u64> = BTreeMap::new();
        let users = listed(node).unwrap();
        let subscribed = users.iter().filter(|user| user["subscriptions"] == 1 && user["bindings"] == 1);
        for user in subscribed {
            *homes.entry(user["node"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        assert_eq!(homes.values().sum::<u64>(), SUBSCRIBERS, "{homes:?}");
        for (node, share) in &shares {
            let expected = SUBSCRIBERS * share / 1024;
            assert!(homes[node].abs_diff(expected) <= expected / 6, "{homes:?} of {shares:?}");
        }
    }
}

/// Registers all users of the load by that node. None may fail.
fn all_register(field: &Container, entry: &Container, seconds: u64) {
    let proxy = format!("{}:5060", entry.address());
    let rate = (60 / seconds).max(1).to_string();
    let load = ["load", "register", "--users", USERS, "--rate", &rate, "--proxy", &proxy, "--json"];
    let figures = field.inside(&[&load[..], &["--duration", &seconds.to_string()]].concat()).good();
    let figures: Value = serde_json::from_str(&figures).unwrap_or_else(|error| panic!("{error}: {figures}"));
    assert_eq!((&figures["failed"], &figures["unanswered"]), (&0.into(), &0.into()), "{figures:#}");
    assert!(figures["succeeded"].as_u64() >= Some(30), "{figures:#}");
}

#[test]
fn nodes_in_containers_serve_as_one_and_their_users_outlive_a_kill_and_a_departure() {
    if !can_compose() {
        return;
    }
    let lab = Compose::build();
    lab.up(3);
    let nodes = lab.containers("scscf");
    assert_eq!(nodes.len(), 3, "{nodes:?}");
    are_even(&nodes);
    // Each is shown where the others reach it.
    let cluster = nodes[0].view(&["cluster"]).unwrap();
    let shown =
        cluster["nodes"].as_array().unwrap().iter().map(|node| node["address"].as_str().unwrap().to_owned());
    let reached = nodes.iter().map(|node| format!("{}:5060", node.address()));
    assert_eq!(shown.collect::<BTreeSet<_>>(), reached.collect::<BTreeSet<_>>());

    // Bob answers calls from the place where the other UEs are, too; he entered by whichever node the name led to.
    let (alice, bob) = (impi("alice"), impi("bob"));
    let field = lab.run("field", &["ue", "answer", "--impi", &bob]);
    assert!(field.says("registered for", STARTED), "{}", field.log());
    many_subscribe(&field, &nodes);
    let enter =
        |name: &str, proxy: &str| field.inside(&["ue", "register", "--impi", &impi(name), "--proxy", proxy]);
    for number in 901..=906 {
        enter(&format!("user{number:06}"), "scscf:5060").good();
    }
    all_register(&field, &nodes[0], 2);

    // Alice enters by a node that does not own her.
    enter("alice", &format!("{}:5060", nodes[0].address())).good();
    let users = registered(&nodes[1]).unwrap();
    assert_eq!(users.len() as u64, SUBSCRIBERS + 2 + 6 + 60, "{users:#?}");
    let owner = nodes.iter().find(|node| node.id == users[&alice]).unwrap();
    let left: Vec<Container> = nodes.iter().filter(|node| node.id != owner.id).cloned().collect();
    let [entry, other] = &left[..] else { panic!("{left:?}") };
    let proxy = format!("{}:5060", entry.address());
    let watching = lab.run("alice", &["ue", "subscribe", "--impi", &alice, "--proxy", &proxy]);
    assert!(watching.says("NOTIFY reg active", STARTED), "{}", watching.log());

    let orphans: Vec<&String> =
        users.iter().filter(|(_, node)| **node == owner.id).map(|(impi, _)| impi).collect();
    assert!(orphans.len() > 500, "{}", orphans.len());
    let begun = Instant::now();
    owner.kill();
    let again = eventually(TAKEN_OVER, || (other.inside(&["user", &alice]).code == 0).then_some(()));
    let after = begun.elapsed();
    assert!(again.is_some(), "{:?}", other.inside(&["user", &alice]));
    eprintln!("alice is shown again {after:?} after the kill of her node");
    let all = eventually(TAKEN_OVER, || {
        let now = registered(other).ok()?;
        let served = |impi: &&String| now.get(*impi).is_some_and(|node| *node != owner.id);
        (now.len() == users.len() && orphans.iter().all(served)).then_some(())
    });
    assert!(all.is_some(), "{:?} of {}", registered(other).map(|now| now.len()), users.len());
    all_register(&field, entry, 2);
    // Her subscription stands, and she is reached by it.
    other.inside(&["reauthenticate", &alice, "--period", "20", "--wait"]).good();
    assert!(watching.says("re-authenticated", Duration::from_secs(5)), "{}", watching.log());
    field
        .inside(&[
            "ue",
            "call",
            "--impi",
            &impi("user000901"),
            "--to",
            &format!("sip:{bob}"),
            "--proxy",
            &proxy,
        ])
        .good();

    // It comes back as a new incarnation and gets its share; then the last one is told to go, and nothing fails.
    owner.start();
    are_even(&nodes);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| all_register(&field, &nodes[0], 10));
        lab.up(2);
        load.join().unwrap();
    });
    let nodes = lab.containers("scscf");
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    are_even(&nodes);
    // The caller deregistered when the call was over.
    assert_eq!(registered(&nodes[0]).unwrap().len(), users.len() - 1);
}
