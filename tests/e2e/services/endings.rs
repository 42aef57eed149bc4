//! TS 24.229 §5.4.5.1, RFC 3261 §15 over sockets: the ends of calls that go by application servers, living ones and others.

use super::{Chain, chain, count, nothing_is_left};
use crate::scene::{
    Handling, ORIGINATING, Person, SOON, TERMINATING, application_server, criterion, ended, no_faults,
    provide, talk,
};
use e2e::{DOMAIN, Lab, eventually, http};
use lab::ue::End;
use serde_json::json;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// What became of the server of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lives,
    /// Nobody listens at its address any more.
    Dies,
    /// It takes what comes and says nothing.
    FallsSilent,
}

/// Alice and bob call each other by way of a server of hers; then her registration ends.
async fn released_with_a_server(fate: Fate) {
    // A request without answer is given up after 64*T1; nobody waits so long.
    let lab = Lab::start(&[], &[("ROLLCALL__SESSION__AS_TERMINATED_TIMEOUT_MS", "300")]);
    let server = application_server(&lab).await;
    provide(
        &lab,
        "alice",
        &[
            criterion(1, "INVITE", Some(ORIGINATING), &server.uri(), Handling::Continued),
            criterion(2, "INVITE", Some(TERMINATING), &server.uri(), Handling::Continued),
        ],
    );
    let mut alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let (mut made, mut came) = talk(&alice, &mut bob, "bob").await;
    let (mut makes, mut comes) = talk(&bob, &mut alice, "alice").await;
    let address = server.addresses()[0].address;
    let server = (fate == Fate::Lives).then_some(server);
    let silent =
        (fate == Fate::FallsSilent).then(|| eventually(SOON, || UdpSocket::bind(address).ok()).unwrap());
    let begun = Instant::now();
    let url = format!("{}/v1/users/alice@{DOMAIN}/deregister", lab.api);
    assert_eq!(http::post(&url, &json!({"reason": "stolen"})).unwrap().0, 202);
    for call in [&mut made, &mut comes, &mut came, &mut makes] {
        let End::Released { reason: Some(reason) } = ended(call).await else {
            panic!("{:#?}", call.record())
        };
        assert!(reason.contains("cause=480"), "{reason}");
        assert_eq!(call.record().byes(), 1);
    }
    if let Some(server) = &server {
        // It is in the way of the far ends of both calls.
        assert_eq!(count(server, "BYE"), 2, "{:#?}", server.journal());
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    no_faults(&[&made, &came, &makes, &comes]);
    let gone = eventually(SOON, || (lab.user("alice").0 == 404).then_some(()));
    assert!(gone.is_some(), "{:#}", lab.user("alice").1);
    nothing_is_left(&lab, &["bob"]);
    drop(silent);
}

// CD-38 CD-41: the BYE to the far end passes the servers of the call, as if the served user had hung up.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_passes_the_servers_of_the_call() {
    released_with_a_server(Fate::Lives).await;
}

// D-80: a server that died must not keep the session alive.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_leaves_out_a_server_that_is_gone() {
    released_with_a_server(Fate::Dies).await;
}

// D-80: nor one that has fallen silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_leaves_out_a_server_that_is_silent() {
    released_with_a_server(Fate::FallsSilent).await;
}

/// Alice and bob talk by way of a server of hers of which nothing more is heard; one of them hangs up.
async fn hangs_up_without_the_server(caller_ends: bool, fate: Fate, settings: &[(&str, &str)]) {
    let lab = Lab::start(&[], settings);
    let server = application_server(&lab).await;
    let criteria = [criterion(1, "INVITE", Some(ORIGINATING), &server.uri(), Handling::Continued)];
    provide(&lab, "alice", &criteria);
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let (mut made, mut came) = talk(&alice, &mut bob, "bob").await;
    let address = server.addresses()[0].address;
    server.stop();
    let silent =
        (fate == Fate::FallsSilent).then(|| eventually(SOON, || UdpSocket::bind(address).ok()).unwrap());
    let (ends, hears) = if caller_ends { (&mut made, &mut came) } else { (&mut came, &mut made) };
    let begun = Instant::now();
    let said = ends.hang_up().await;
    assert!(matches!(ended(hears).await, End::Released { .. }), "{:#?}", hears.record());
    assert_eq!(hears.record().byes(), 1);
    if fate == Fate::FallsSilent {
        assert_eq!(said, Ok(200), "when the other side has heard of it");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    no_faults(&[&made, &came]);
    nothing_is_left(&lab, &["alice", "bob"]);
    drop(silent);
}

// RFC 3261 §15: whoever hangs up behind a server that died is heard at the other end all the same.
#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_behind_a_server_that_is_gone() {
    for caller_ends in [true, false] {
        hangs_up_without_the_server(caller_ends, Fate::Dies, &[("ROLLCALL__SIP__T1", "20")]).await;
    }
}

// RFC 3261 §15: and behind one that has fallen silent, without waiting for Timer F.
#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_behind_a_server_that_is_silent() {
    for caller_ends in [true, false] {
        let patience = [("ROLLCALL__SESSION__AS_TERMINATED_TIMEOUT_MS", "300")];
        hangs_up_without_the_server(caller_ends, Fate::FallsSilent, &patience).await;
    }
}

// CD-38 CD-41: a back-to-back user agent stands between two dialogs; nobody hears of the end twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_with_a_back_to_back_user_agent_in_the_way() {
    let Chain { lab, servers, alice, mut bob } = chain().await;
    let (mut made, mut came) = talk(&alice, &mut bob, "bob").await;
    let url = format!("{}/v1/users/alice@{DOMAIN}/deregister", lab.api);
    assert_eq!(http::post(&url, &json!({"reason": "stolen"})).unwrap().0, 202);
    for call in [&mut made, &mut came] {
        assert!(matches!(ended(call).await, End::Released { reason: Some(_) }), "{:#?}", call.record());
    }
    let gone = eventually(SOON, || (lab.user("alice").0 == 404).then_some(()));
    assert!(gone.is_some(), "{:#}", lab.user("alice").1);
    nothing_is_left(&lab, &["bob"]);
    assert_eq!([made.record().byes(), came.record().byes()], [1, 1]);
    no_faults(&[&made, &came]);
    drop(servers);
}
