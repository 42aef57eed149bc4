//! Nodes come and go on purpose, under load, and no request fails.

use crate::cluster_entry::{proxies, report};
use crate::town::{SOON, Town, hangs_up, talk, town};
use e2e::{Process, http};
use serde_json::json;
use std::time::Duration;

const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Starts a load over all nodes, without waiting for it.
fn begin(town: &Town, scenario: &[&str], seconds: u64) -> Process {
    let (proxy, duration) = (proxies(&town.cluster), seconds.to_string());
    let mut all = vec!["load"];
    all.extend_from_slice(scenario);
    all.extend_from_slice(&["--proxy", &proxy, "--duration", &duration, "--json"]);
    Process::start(&all, &[])
}

/// Waits until the load has registered everybody.
fn is_under_way(town: &Town) {
    let many = e2e::eventually(SOON, || {
        let (_, page) = http::get(&format!("{}/v1/users?limit=100", town.cluster.node("n1").api)).ok()?;
        (page["users"].as_array()?.len() >= 40).then_some(())
    });
    assert!(many.is_some(), "the load does not begin");
}

#[test]
fn each_node_restarts_under_load_and_nothing_fails() {
    let Some(mut town) = town(3) else { return };
    let running = begin(&town, &["reregister", "--users", "90", "--rate", "60"], 20);
    is_under_way(&town);
    for node in town.cluster.ids() {
        assert_eq!(town.cluster.terminate(&node, ENDS_WITHIN), Some(0), "{node} does not end by itself");
        town.cluster.settles(Duration::from_secs(5));
        town.cluster.start_again(&node);
        town.cluster.balances(Duration::from_secs(20));
    }
    let report = report(running, Duration::from_secs(60));
    assert_eq!(report["failed"], 0, "{report:#}");
    assert_eq!(report["started"], report["succeeded"], "{report:#}");
}

#[test]
fn calls_outlast_the_restart_of_every_node() {
    let Some(mut town) = town(3) else { return };
    let running = begin(&town, &["call", "--users", "40", "--rate", "10", "--hold", "4"], 15);
    is_under_way(&town);
    for node in town.cluster.ids() {
        assert_eq!(town.cluster.terminate(&node, ENDS_WITHIN), Some(0), "{node} does not end by itself");
        town.cluster.start_again(&node);
        town.cluster.balances(Duration::from_secs(20));
    }
    let report = report(running, Duration::from_secs(150));
    assert_eq!(report["failed"], 0, "{report:#}");
}

#[test]
fn a_node_joins_and_another_leaves_under_load() {
    let Some(mut town) = town(2) else { return };
    let running = begin(&town, &["reregister", "--users", "90", "--rate", "60"], 12);
    is_under_way(&town);
    let third = town.cluster.add();
    town.cluster.balances(Duration::from_secs(20));
    let shares: Vec<usize> = town.cluster.ids().iter().map(|id| town.cluster.shards_of(id)).collect();
    assert!(shares.iter().all(|share| (250..450).contains(share)), "{shares:?}");
    assert_eq!(town.cluster.terminate("n1", ENDS_WITHIN), Some(0));
    town.cluster.settles(Duration::from_secs(5));
    assert!(town.cluster.shards_of(&third) > 400);
    let report = report(running, Duration::from_secs(60));
    assert_eq!(report["failed"], 0, "{report:#}");
}

#[test]
fn a_node_killed_under_load_costs_a_moment_and_no_request() {
    let Some(mut town) = town(3) else { return };
    let file = std::env::temp_dir().join(format!("rollcall-gaps-{}.jsonl", std::process::id()));
    let timeline = file.to_string_lossy().into_owned();
    let scenario = ["reregister", "--users", "90", "--rate", "50", "--timeline", &timeline];
    let running = begin(&town, &scenario, 9);
    is_under_way(&town);
    std::thread::sleep(Duration::from_secs(2));
    town.cluster.kill("n2");
    let report = report(running, Duration::from_secs(60));
    let lines = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(report["failed"], 0, "{report:#}\n{lines}");
    // Two of three users never wait; in no whole second is nobody answered.
    let slots: Vec<(f64, u64)> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|slot| (slot["t_s"].as_f64().unwrap(), slot["succeeded"].as_u64().unwrap()))
        .collect();
    assert_eq!(Some(slots.iter().map(|(_, count)| count).sum()), report["succeeded"].as_u64());
    let answered: Vec<f64> =
        slots.iter().filter(|(at, count)| *count > 0 && *at < 9.0).map(|(at, _)| *at).collect();
    let gap = answered.windows(2).map(|two| two[1] - two[0]).fold(0.0, f64::max);
    assert!(gap < 2.0, "nobody was answered for {gap:.1} s:\n{lines}");
}

#[test]
fn an_operator_drains_a_node_with_its_calls() {
    let Some(mut town) = town(3) else { return };
    let (mut caller, mut callee) = (town.resident_of("n2", 0), town.resident_of("n2", 1));
    let dialog = caller.subscribes("reg");
    let (mut ours, _) = talk(&mut caller, &mut callee);
    let url = format!("{}/v1/nodes/n2/drain", town.cluster.node("n1").api);
    let (status, body) = http::post(&url, &json!({})).unwrap();
    assert_eq!(status, 202, "{body}");
    let drained = e2e::eventually(SOON, || {
        let owners = town.cluster.node("n2").owners();
        owners.iter().all(|owner| owner == "n1" || owner == "n3").then_some(())
    });
    assert!(drained.is_some(), "{}", town.cluster.state());
    let (_, view) = http::get(&format!("{}/v1/cluster", town.cluster.node("n3").api)).unwrap();
    let node = view["nodes"].as_array().unwrap().iter().find(|node| node["id"] == "n2").cloned();
    assert!(node.as_ref().is_none_or(|node| node["state"] == "draining"), "{node:?}");
    // A node that owns nothing takes requests all the same.
    caller.phone.enters_at(town.cluster.node("n2").sip);
    assert_eq!(caller.reregisters().status(), 200);
    assert!(caller.phone.notified(&dialog, SOON, 200).is_some());
    hangs_up(&mut caller, &mut ours, &mut callee);
    assert_eq!(town.cluster.terminate("n2", ENDS_WITHIN), Some(0));
    town.cluster.settles(Duration::from_secs(5));
    assert!(!town.cluster.living().contains(&"n2".to_owned()));
}
