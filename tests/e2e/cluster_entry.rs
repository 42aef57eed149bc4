//! Any node takes anything: where a request, a command or a Diameter demand enters makes no difference.

use crate::town::{Resident, SOON, hangs_up, is_released, talk, town};
use e2e::http::Watch;
use e2e::{Answer, DOMAIN, Phone, Process, eventually, http};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn a_registration_a_subscription_and_a_call_enter_anywhere() {
    let Some(town) = town(3) else { return };
    let nodes = town.cluster.ids();
    for owner in &nodes {
        // The first request of each user enters at another node than the one before.
        let mut phone = Phone::among(&town.somebody_at(owner, 0), &town.cluster.entries());
        nodes.iter().take_while(|node| *node != owner).for_each(|_| phone.turn());
        let mut caller = Resident::at(phone);
        let mut callee = town.resident_of(&town.cluster.other(&[owner]), 1);
        let name = caller.name();
        for node in &nodes {
            let (status, view) = town.cluster.user_at(node, &name);
            assert_eq!((status, &view["state"], &view["node"]), (200, &json!("registered"), &json!(owner)));
        }
        caller.subscribes("reg");
        let (mut ours, _) = talk(&mut caller, &mut callee);
        hangs_up(&mut caller, &mut ours, &mut callee);
        let (_, mut theirs) = talk(&mut caller, &mut callee);
        hangs_up(&mut callee, &mut theirs, &mut caller);
        let former = caller.former.clone();
        assert_eq!(caller.phone.register_protected(&former, 0).status(), 200);
        town.forgets(&name, SOON);
    }
}

#[test]
fn a_request_that_comes_again_at_another_node_is_answered_alike() {
    let Some(town) = town(3) else { return };
    let mut phone = Phone::among(&town.somebody_at("n1", 0), &town.cluster.entries());
    let challenge = phone.register_unprotected();
    let line = phone.contact_line(3600) + &phone.authorization(&challenge, Answer::Right, "yes");
    let sent = phone.begin_to_register(&line);
    let first = phone.exchange_within(&sent, SOON).expect("an answer");
    assert_eq!(first.status(), 200, "{}", first.all);
    for _ in 0..3 {
        let again = phone.exchange_within(&sent, SOON).expect("an answer to the copy");
        assert_eq!(again.status(), 200, "{}", again.all);
        assert_eq!(again.header("Service-Route"), first.header("Service-Route"));
    }
    let name = phone.name.clone();
    assert_eq!(town.cluster.user(&name).1["bindings"].as_array().map(Vec::len), Some(1));
    assert_eq!(town.cluster.hss.operations(&name, "SAR REGISTRATION"), 1, "the HSS heard of it once");
}

#[test]
fn every_node_answers_operators_for_every_user() {
    let Some(town) = town(3) else { return };
    let nodes = town.cluster.ids();
    let mut residents: Vec<Resident> = nodes.iter().map(|node| town.resident_of(node, 0)).collect();
    let mut all: Vec<String> = residents.iter().map(|one| format!("{}@{DOMAIN}", one.name())).collect();
    all.sort();
    for node in &nodes {
        let (_, page) = http::get(&format!("{}/v1/users?limit=50", town.cluster.node(node).api)).unwrap();
        let mut listed: Vec<String> = page["users"]
            .as_array()
            .map(|users| users.iter().filter_map(|user| user["impi"].as_str().map(str::to_owned)).collect())
            .unwrap_or_default();
        listed.sort();
        assert_eq!(listed, all, "{node}: {page}");
        // Pages of one go through all of them, wherever they are.
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        while paged.len() < 10 {
            let url = format!("{}/v1/users?limit=1{cursor}", town.cluster.node(node).api);
            let (_, page) = http::get(&url).unwrap();
            paged.extend(page["users"][0]["impi"].as_str().map(str::to_owned));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        paged.sort();
        assert_eq!(paged, all, "{node}");
    }
    for (resident, owner) in residents.iter_mut().zip(&nodes) {
        let name = resident.name();
        let elsewhere = town.cluster.other(&[owner]);
        let url = format!("{}/v1/users/{name}@{DOMAIN}/watch", town.cluster.node(&elsewhere).api);
        let watch = Watch::open(&url).unwrap();
        assert!(eventually(SOON, || (!watch.events().is_empty()).then_some(())).is_some(), "the view");
        let dialog = resident.subscribes("reg");
        let (status, body) =
            town.cluster.command(&elsewhere, &name, "reauthenticate", &json!({"period_s": 60}));
        assert_eq!(status, 202, "{body}");
        let (status, again) = town.cluster.command(owner, &name, "reauthenticate", &json!({}));
        assert_eq!(status, 409, "{again}");
        resident.phone.notified(&dialog, SOON, 200).expect("the demand");
        assert_eq!(resident.proves_itself().status(), 200);
        let seen = eventually(SOON, || (watch.events().len() > 3).then_some(()));
        assert!(seen.is_some(), "the watch at another node sees every step: {:?}", watch.events());
        let (status, _) = town.cluster.command(&elsewhere, &name, "deregister", &json!({"reason": "drill"}));
        assert_eq!(status, 202);
        town.forgets(&name, SOON);
    }
}

#[test]
fn the_hss_is_answered_by_any_node() {
    let Some(town) = town(3) else { return };
    let nodes = town.cluster.ids();
    let mut caller = town.resident_of("n1", 0);
    let mut callee = town.resident_of("n2", 0);
    let dialog = caller.subscribes("reg");
    let name = caller.name();
    for node in &nodes {
        for with in ["rar", "ppr"] {
            let (status, body) =
                town.cluster.hss.command(&name, "reauthenticate", &json!({"with": with, "via": node}));
            assert_eq!((status, &body["result_code"]), (200, &json!(2001)), "{with} via {node}: {body}");
            let demand = caller.phone.notified(&dialog, SOON, 200).expect("the demand");
            assert!(demand.body().contains("event=\"shortened\""), "{}", demand.body());
            assert_eq!(caller.proves_itself().status(), 200);
            caller.phone.notified(&dialog, SOON, 200).expect("it is over");
        }
    }
    let (ours, _) = talk(&mut caller, &mut callee);
    let (status, body) = town.cluster.hss.command(&name, "terminate", &json!({"via": "n3"}));
    assert_eq!((status, &body["result_code"]), (200, &json!(2001)), "{body}");
    is_released(&mut caller, &ours.call_id, SOON);
    is_released(&mut callee, &ours.call_id, SOON);
    town.forgets(&name, SOON);
}

/// Runs `rollcall load`; its report.
pub(crate) fn load(arguments: &[&str], within: Duration) -> Value {
    let mut all = vec!["load"];
    all.extend_from_slice(arguments);
    all.push("--json");
    report(Process::start(&all, &[]), within)
}

/// What a load says at its end.
pub(crate) fn report(mut process: Process, within: Duration) -> Value {
    assert!(process.ends(within).is_some(), "the load does not end: {:?}", process.output());
    let text = process.output().join("\n");
    let (start, end) = (text.find('{').unwrap_or(0), text.rfind('}').map_or(text.len(), |at| at + 1));
    serde_json::from_str(&text[start..end]).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// `A,B,C` for `--proxy`.
pub(crate) fn proxies(cluster: &e2e::Cluster) -> String {
    cluster.entries().iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn a_mix_of_everything_over_all_nodes_fails_nowhere() {
    let Some(town) = town(3) else { return };
    let proxy = proxies(&town.cluster);
    for entry in ["random", "sticky"] {
        let arguments = [
            "mixed",
            "--proxy",
            &proxy,
            "--entry",
            entry,
            "--users",
            "40",
            "--rate",
            "100",
            "--duration",
            "4",
            "--hold",
            "1",
        ];
        let report = load(&arguments, Duration::from_secs(60));
        assert_eq!((&report["failed"], &report["unexpected"]), (&json!(0), &json!({})), "{report:#}");
        assert!(report["succeeded"].as_u64() > Some(390), "{report:#}");
    }
}
