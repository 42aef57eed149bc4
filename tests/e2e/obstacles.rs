//! The end of a registration with obstacles: a silent HSS, far ends that are gone, users whose actors rest, streams.
//! The calls end all the same.

use crate::scene::{Person, SOON, ended, no_faults, reaches, talk};
use e2e::{DOMAIN, Lab, eventually, http};
use lab::ue::{End, Flow, OnReauth, Package, Role, State, Transport};
use serde_json::json;
use std::time::{Duration, Instant};

const AT_ONCE: Duration = Duration::from_secs(1);

fn deregister(lab: &Lab, name: &str) {
    let url = format!("{}/v1/users/{name}@{DOMAIN}/deregister", lab.api);
    let (status, body) = http::post(&url, &json!({"reason": "drill"})).unwrap();
    assert_eq!(status, 202, "{body}");
}

fn is_gone(lab: &Lab, name: &str) {
    let gone = eventually(SOON, || (lab.user(name).0 == 404).then_some(()));
    assert!(gone.is_some(), "{:#}", lab.user(name).1);
}

fn released(end: &End) -> bool {
    matches!(end, End::Released { reason: Some(reason) } if reason.contains("cause=480"))
}

// A-50 D-91: the HSS is told, but nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_hss_delays_no_release() {
    let lab = Lab::start(&[], &[("ROLLCALL__CX__REQUEST_TIMEOUT", "2")]);
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let (mut made, mut came) = talk(&alice, &mut bob, "bob").await;
    assert_eq!(http::post(&format!("{}/faults", lab.hss), &json!({"drop": true})).unwrap().0, 200);
    let begun = Instant::now();
    deregister(&lab, "alice");
    assert!(released(&ended(&mut came).await) && released(&ended(&mut made).await));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    no_faults(&[&made, &came]);
    is_gone(&lab, "alice");
}

// D-84: a side that does not answer counts as done in the end, and keeps nobody else waiting.
#[tokio::test(flavor = "multi_thread")]
async fn far_ends_that_are_gone_keep_nothing_alive() {
    let lab = Lab::start(
        &["--generate", "1"],
        &[("ROLLCALL__SIP__T1", "20"), ("ROLLCALL__SESSION__RELEASE_ATTEMPTS", "2")],
    );
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let mut carol = Person::registered(&lab, "user000001").await;
    let (mut to_bob, _) = talk(&alice, &mut bob, "bob").await;
    let (mut to_carol, mut from_alice) = talk(&alice, &mut carol, "user000001").await;
    bob.ue.stop();
    let begun = Instant::now();
    deregister(&lab, "alice");
    for call in [&mut to_bob, &mut to_carol, &mut from_alice] {
        assert!(released(&ended(call).await), "{:#?}", call.record());
    }
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    is_gone(&lab, "alice");
    // And she herself may be the one who is gone.
    let alice = Person::registered(&lab, "alice").await;
    let (_, mut from_alice) = talk(&alice, &mut carol, "user000001").await;
    alice.ue.stop();
    deregister(&lab, "alice");
    assert!(released(&ended(&mut from_alice).await));
    is_gone(&lab, "alice");
    no_faults(&[&from_alice]);
}

// CA-13 CA-26: her actor rests when the deadline passes; the deadline wakes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_wakes_an_actor_at_rest() {
    let lab = Lab::start(
        &[],
        &[("ROLLCALL__NODE__PASSIVATE_AFTER", "1"), ("ROLLCALL__REAUTHENTICATION__MIN_PERIOD", "1")],
    );
    let alice = Person::registered_as(&lab, "alice", |config| config.on_reauth = OnReauth::Ignore).await;
    let mut bob = Person::registered(&lab, "bob").await;
    alice.ue.subscribe(Package::Reg, Role::Ue).await.unwrap();
    let (mut made, mut came) = talk(&alice, &mut bob, "bob").await;
    let url = format!("{}/v1/users/alice@{DOMAIN}/reauthenticate", lab.api);
    assert_eq!(http::post(&url, &json!({"period_s": 5})).unwrap().0, 202);
    let deadline = Instant::now() + Duration::from_secs(5);
    let rested = eventually(SOON, || (lab.metric("rollcall_users_passivated_total") >= 2).then_some(()));
    assert!(rested.is_some() && Instant::now() < deadline, "the actors do not rest in time");
    assert_eq!(made.record().state, State::Established);
    assert!(released(&ended(&mut came).await) && released(&ended(&mut made).await));
    assert!(Instant::now() < deadline + AT_ONCE, "late by {:?}", Instant::now() - deadline);
    no_faults(&[&made, &came]);
    is_gone(&lab, "alice");
}

// CD-38 CD-39: over streams, which are there already.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_over_streams() {
    let lab = Lab::start(&["--generate", "1"], &[]);
    let tcp = |config: &mut lab::ue::Config| config.transport = Transport::Tcp;
    let mut alice = Person::registered_as(&lab, "alice", tcp).await;
    let mut bob = Person::registered_as(&lab, "bob", tcp).await;
    let mut carol = Person::registered(&lab, "user000001").await;
    let (mut to_bob, mut at_bob) = talk(&alice, &mut bob, "bob").await;
    let (mut from_carol, mut at_alice) = talk(&carol, &mut alice, "alice").await;
    carol.lets_it_ring();
    let mut setup = alice.calls("user000001");
    let mut rings = carol.called().await;
    reaches(&mut setup, State::Ringing).await;
    let begun = Instant::now();
    deregister(&lab, "alice");
    for call in [&mut to_bob, &mut at_bob, &mut from_carol, &mut at_alice] {
        assert!(released(&ended(call).await), "{:#?}", call.record());
    }
    assert!(matches!(ended(&mut rings).await, End::Cancelled { reason: Some(_) }));
    assert_eq!(ended(&mut setup).await, End::Refused { status: 480 });
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    no_faults(&[&to_bob, &at_bob, &from_carol, &at_alice, &setup, &rings]);
    is_gone(&lab, "alice");
}

// D-88: one of two contacts deregisters; the calls of the other go on.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_calls_of_the_contact_that_leaves() {
    let lab = Lab::start(&["--generate", "1"], &[]);
    let flow = |number: u8| {
        let instance = format!("urn:uuid:00000000-0000-1000-8000-0000000003{number:02x}");
        Some(Flow { instance, reg_id: 1 })
    };
    let desk = Person::registered_as(&lab, "alice", |config| config.flow = flow(1)).await;
    let pocket = Person::registered_as(&lab, "alice", |config| config.flow = flow(2)).await;
    let mut bob = Person::registered(&lab, "bob").await;
    let mut carol = Person::registered(&lab, "user000001").await;
    let (mut leaves, mut left) = talk(&desk, &mut bob, "bob").await;
    let (mut stays, mut kept) = talk(&pocket, &mut carol, "user000001").await;
    desk.ue.deregister().await.unwrap();
    assert!(released(&ended(&mut left).await) && released(&ended(&mut leaves).await));
    assert_eq!(stays.reinvite().await, Ok(200));
    assert_eq!(kept.info("still here").await, Ok(200));
    deregister(&lab, "alice");
    assert!(released(&ended(&mut stays).await) && released(&ended(&mut kept).await));
    no_faults(&[&leaves, &left, &stays, &kept]);
    is_gone(&lab, "alice");
}
