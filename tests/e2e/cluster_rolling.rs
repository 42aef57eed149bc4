//! Nodes come and go on purpose, under load, and no request fails.

use crate::cluster_entry::report;
use crate::town::{SOON, Town, hangs_up, rings, talk, town, town_with};
use e2e::{Cut, Process, http};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// Everything that users do, all the while: registrations, re-registrations, calls that last, messages and subscriptions.
const EVERYTHING: &[&str] =
    &["mixed", "--users", "60", "--rate", "40", "--register", "15", "--hold", "4", "--entry", "random"];
/// Between two changes.
const CALM: Duration = Duration::from_secs(2);
/// Callers, and as many who are called.
const PEOPLE: usize = 120;

/// Starts a load over these nodes, without waiting for it; it goes on until it is told to end, or for so many seconds.
fn begin(entries: &[SocketAddr], scenario: &[&str], seconds: u64) -> Process {
    let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
    let (proxy, duration) = (entries.join(","), seconds.to_string());
    let mut all = vec!["load"];
    all.extend_from_slice(scenario);
    all.extend_from_slice(&["--proxy", &proxy, "--duration", &duration, "--json"]);
    Process::start(&all, &[])
}

/// Waits until the load has registered everybody.
fn is_under_way(town: &Town, people: usize) {
    let many = e2e::eventually(SOON, || (town.registered("n1").len() >= people).then_some(()));
    assert!(many.is_some(), "the load does not begin");
}

/// Ends a load of everything, of which nothing may have failed, whatever happened to the nodes.
fn has_not_failed(load: Process) -> Value {
    load.signal("INT");
    let report = report(load, Duration::from_secs(150));
    assert_eq!((&report["failed"], &report["unanswered"]), (&json!(0), &json!(0)), "{report:#}");
    assert_eq!(report["started"], report["succeeded"], "{report:#}");
    for kind in ["register", "reregister", "call", "message", "subscribe"] {
        assert!(report["kinds"][kind]["succeeded"].as_u64() > Some(10), "{kind}: {report:#}");
    }
    report
}

#[test]
fn each_node_restarts_under_registrations_and_calls_and_nothing_fails() {
    let Some(mut town) = town_with(3, |settings| settings.generate = 200) else { return };
    let load = begin(&town.cluster.entries(), EVERYTHING, 300);
    is_under_way(&town, PEOPLE);
    for node in town.cluster.ids() {
        assert_eq!(town.cluster.terminate(&node, ENDS_WITHIN), Some(0), "{node} does not end by itself");
        town.cluster.settles(Duration::from_secs(5));
        town.cluster.start_again(&node);
        town.cluster.balances(Duration::from_secs(20));
    }
    has_not_failed(load);
    let homes = town.is_spread();
    assert!(homes.len() == 3 && homes.values().sum::<usize>() == PEOPLE, "{homes:?}");
}

#[test]
fn from_one_node_to_three_to_two_under_load() {
    let Some(mut town) = town_with(1, |settings| settings.generate = 200) else { return };
    // P-CSCFs know all nodes that there will be.
    let load = begin(&town.cluster.entries_of_first(3), EVERYTHING, 300);
    is_under_way(&town, PEOPLE);
    let spread = |town: &Town, nodes: usize| {
        town.cluster.balances(Duration::from_secs(20));
        let homes = town.is_spread();
        let share = PEOPLE / nodes;
        assert!(homes.len() == nodes && homes.values().all(|count| *count > share / 2), "{homes:?}");
        assert_eq!(homes.values().sum::<usize>(), PEOPLE, "{homes:?}");
        std::thread::sleep(CALM);
    };
    spread(&town, 1);
    town.cluster.add();
    town.cluster.add();
    spread(&town, 3);
    // The first, which had all of them.
    assert_eq!(town.cluster.terminate("n1", ENDS_WITHIN), Some(0));
    town.cluster.settles(Duration::from_secs(5));
    spread(&town, 2);
    let report = has_not_failed(load);
    // Who was not there is not passed over in silence.
    let absent = &town.cluster.entries_of_first(3)[1..];
    assert!(absent.iter().all(|node| report["silences"][node.to_string()].as_u64() > Some(0)), "{report:#}");
}

#[test]
fn a_node_killed_under_load_costs_a_moment_and_no_request() {
    let Some(mut town) = town(3) else { return };
    let file = std::env::temp_dir().join(format!("rollcall-gaps-{}.jsonl", std::process::id()));
    let timeline = file.to_string_lossy().into_owned();
    let scenario = ["reregister", "--users", "90", "--rate", "50", "--timeline", &timeline];
    let running = begin(&town.cluster.entries(), &scenario, 9);
    is_under_way(&town, 40);
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

#[test]
fn who_becomes_quiet_while_a_shard_changes_hands_is_not_looked_for_at_its_former_owner() {
    let Some(town) = town_with(2, |settings| settings.wires = true) else { return };
    let (mut caller, mut callee) = (town.resident_of("n1", 0), town.resident_of("n1", 1));
    let (former, heir) = (town.cluster.node("n1"), town.cluster.node("n2"));
    [&mut caller, &mut callee].into_iter().for_each(|who| who.phone.enters_at(former.sip));
    let (sent, invite) = rings(&mut caller, &mut callee);
    // The heir is offered two busy users, and hears of it when they are busy no more.
    former.cut_links(&[heir], Cut::Silent);
    let (status, body) = http::post(&format!("{}/v1/nodes/n1/drain", former.api), &json!({})).unwrap();
    assert_eq!(status, 202, "{body}");
    std::thread::sleep(Duration::from_millis(700));
    callee.phone.pick_up(&invite);
    let ok = caller.phone.outcome(&sent);
    assert_eq!(ok.status(), 200, "{}", ok.all);
    let mut leg = caller.phone.acknowledge(&ok);
    let drained = e2e::eventually(SOON, || heir.owners().iter().all(|owner| owner == "n2").then_some(()));
    assert!(drained.is_some(), "{}", town.cluster.state());
    former.mend();
    heir.mend();
    std::thread::sleep(Duration::from_secs(1));
    [&mut caller, &mut callee].into_iter().for_each(|who| who.phone.enters_at(heir.sip));
    assert_eq!(caller.reregisters().status(), 200);
    hangs_up(&mut caller, &mut leg, &mut callee);
    assert_eq!(callee.reregisters().status(), 200);
}
