//! Users who are busy when their shard goes to another node: what is under way for them goes on.
#![allow(clippy::unwrap_used)]

mod scene;

use scene::cluster::{Call, SOON, cancel, cluster, hear, member, name_where, view};
use scene::{DOMAIN, Scene, eventually};
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

/// A user of the first of three nodes whose heir is the second.
fn of_the_first_then_the_second() -> String {
    name_where("bob", |owner| owner(&["n1", "n2", "n3"]) == "n1" && owner(&["n2", "n3"]) == "n2")
}

#[test]
fn a_call_that_rings_while_its_users_change_hands_is_answered() {
    for by in ["n1", "n2", "n3"] {
        let (_, cluster) = cluster(3);
        let bob = cluster.registered(&of_the_first_then_the_second());
        let mut call = Call::ring(cluster.node(by), bob, "ring");
        cluster.drain("n1");
        assert_eq!(cluster.node("n1").metric("rollcall_users_lent_total"), 1);
        let name = call.bob.name.clone();
        let user = cluster.node("n3").user(&name);
        assert_eq!(user["sessions"].as_array().map(Vec::len), Some(1), "{user}");
        call.says("200 OK");
        call.is_told("200");
        let home = eventually(SOON, || {
            let user = cluster.node("n3").user(&name);
            (user["node"] == "n2" && user["sessions"][0]["state"] == "confirmed").then_some(())
        });
        assert!(home.is_some(), "{}", cluster.node("n3").user(&name));
        call.bob.to = cluster.node("n3").sip;
        call.bob.register_fully();
    }
}

#[test]
fn a_call_that_is_answered_while_its_users_change_hands_is_saved_by_the_heir() {
    let (_, cluster) = cluster(2);
    let mut calls: Vec<Call> = (0..12)
        .map(|number| {
            let kind = format!("bob{number}x");
            let bob = cluster.registered(&name_where(&kind, |owner| owner(&["n1", "n2"]) == "n1"));
            Call::ring(cluster.node("n2"), bob, &format!("ring{number}"))
        })
        .collect();
    assert_eq!(cluster.node("n1").post("/v1/nodes/n1/drain", "").0, 202);
    let lent =
        eventually(SOON, || (cluster.node("n1").metric("rollcall_users_lent_total") > 0).then_some(()));
    assert!(lent.is_some(), "{}", view(cluster.node("n1"))["nodes"]);
    for call in &calls {
        call.says("200 OK");
    }
    for call in &mut calls {
        call.is_told("200");
    }
}

#[test]
fn a_shard_whose_users_are_on_loan_moves_on_when_they_are_home() {
    let (store, mut cluster) = cluster(2);
    let bob = name_where("bob", |owner| {
        owner(&["n1", "n2"]) == "n1"
            && owner(&["n1", "n2", "n3"]) == "n3"
            && owner(&["n1", "n2", "n3", "n4"]) == "n4"
    });
    let bob = cluster.registered(&bob);
    let mut call = Call::ring(cluster.node("n2"), bob, "ring");
    for (count, id) in [(3, "n3"), (4, "n4")] {
        cluster.nodes.push(member(&store, id));
        cluster.settles(count);
    }
    assert_eq!(cluster.node("n1").metric("rollcall_users_lent_total"), 1);
    let name = call.bob.name.clone();
    assert_eq!(cluster.node("n2").user(&name)["sessions"].as_array().map(Vec::len), Some(1));
    call.says("200 OK");
    call.is_told("200");
    let home = eventually(SOON, || {
        let user = cluster.node("n2").user(&name);
        (user["node"] == "n4" && user["sessions"][0]["state"] == "confirmed").then_some(())
    });
    assert!(home.is_some(), "{}", cluster.node("n2").user(&name));
}

#[test]
fn who_cancels_a_call_to_a_user_on_loan_is_heard() {
    let (_, cluster) = cluster(3);
    let bob = cluster.registered(&of_the_first_then_the_second());
    let first = Call::ring(cluster.node("n1"), bob, "first");
    cluster.drain("n1");
    let mut second = Call::ring(cluster.node("n3"), first.bob, "second");
    second.alice.send(&cancel(&second.invite));
    second.is_told("200");
    let heard = hear(&mut second.bob, "CANCEL");
    assert!(heard.starts_with("CANCEL "), "{heard}");
    second.says("487 Request Terminated");
    second.is_told("487");
}

#[test]
fn an_answer_of_a_user_on_loan_that_comes_again_is_passed_on_again() {
    let (_, cluster) = cluster(3);
    let bob = cluster.registered(&of_the_first_then_the_second());
    let first = Call::ring(cluster.node("n1"), bob, "first");
    cluster.drain("n1");
    let mut second = Call::ring(cluster.node("n3"), first.bob, "second");
    for _ in 0..3 {
        second.says("200 OK");
        second.is_told("200");
    }
    let user = cluster.node("n3").user(&second.bob.name);
    assert_eq!(user["sessions"].as_array().map(Vec::len), Some(2), "{user}");
}

#[test]
fn whoever_watches_a_user_that_moves_is_told_to_ask_again_and_sees_it_then() {
    let (_, cluster) = cluster(2);
    let mut bob = cluster.registered(&name_where("bob", |owner| owner(&["n1", "n2"]) == "n1"));
    let mut watches = ["n1", "n2"].map(|id| watch(cluster.node(id), &bob.name));
    cluster.drain("n1");
    for (lines, id) in watches.iter_mut().zip(["n1", "n2"]) {
        assert!(lines.any(|line| line == "event: end"), "at {id}");
        *lines = watch(cluster.node(id), &bob.name);
    }
    bob.to = cluster.node("n1").sip;
    bob.register_fully();
    for lines in &mut watches {
        assert!(lines.any(|line| line == "event: observation"));
    }
}

/// Follows a user at a node until nothing was said for five seconds.
fn watch(scene: &Scene, name: &str) -> impl Iterator<Item = String> + use<> {
    let mut stream = std::net::TcpStream::connect(scene.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let path = format!("/v1/users/{name}@{DOMAIN}/watch");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", scene.http).unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "event: view"), "{path}");
    lines
}
