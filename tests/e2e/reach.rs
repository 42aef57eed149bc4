//! Who is reached, by what name, over what, and for how long: names of one user, contacts that come and go, long silence,
//! long messages, limits.

use crate::scene::{Person, SOON, ended, no_faults, reaches, sip, talk};
use e2e::{DOMAIN, Lab, eventually, http};
use lab::ue::{Answering, Dial, End, Flow, Standalone, State, Then, Transport};
use serde_json::json;
use std::time::Duration;

fn instance(number: u8) -> Option<Flow> {
    let instance = format!("urn:uuid:00000000-0000-1000-8000-0000000002{number:02x}");
    Some(Flow { instance, reg_id: 1 })
}

fn sessions(lab: &Lab, name: &str) -> usize {
    lab.user(name).1["sessions"].as_array().map_or(0, Vec::len)
}

fn no_sessions(lab: &Lab, names: &[&str]) {
    for name in names {
        let none = eventually(SOON, || (sessions(lab, name) == 0).then_some(()));
        assert!(none.is_some(), "{:#}", lab.user(name).1);
    }
}

// CD-06 D-18: by telephone number, as tel URI and as SIP URI.
#[tokio::test(flavor = "multi_thread")]
async fn by_telephone_number() {
    let lab = Lab::start(&[], &[]);
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::new(&lab, "bob", |_| ()).await;
    let identities = bob.ue.register().await.unwrap().identities;
    let tel = identities.iter().find(|one| one.starts_with("tel:")).unwrap().clone();
    let number = tel.trim_start_matches("tel:");
    let as_sip = format!("sip:{number}@{DOMAIN};user=phone");
    for name in [&tel, &as_sip] {
        let mut made = alice.ue.call(Dial::to(name)).unwrap();
        let mut came = bob.called().await;
        reaches(&mut made, State::Established).await;
        // The home domain has no other translation of a number of its own.
        assert_eq!(came.header("P-Called-Party-ID"), [format!("<{as_sip}>")]);
        // Both forms of who calls.
        let asserted = came.header("P-Asserted-Identity").join(",");
        assert!(asserted.contains(&sip("alice")) && asserted.contains("tel:"), "{asserted}");
        assert_eq!(made.hang_up().await, Ok(200), "{name}");
        assert_eq!(ended(&mut came).await, End::Released { reason: None });
        no_faults(&[&made, &came]);
    }
    no_sessions(&lab, &["alice", "bob"]);
}

// CB-72 CC-17: two private identities share a public one; both ring, one answers, and one leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_identity_rings_at_both_users() {
    let lab = Lab::start(&["--generate", "1"], &[]);
    let family = sip("family");
    for name in ["alice", "bob"] {
        let url = format!("{}/subscribers/{name}@{DOMAIN}", lab.hss);
        let identities = json!([{"impu": sip(name)}, {"impu": family}]);
        assert_eq!(http::put(&url, &json!({ "identities": identities })).unwrap().0, 200);
    }
    let mut alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let carol = Person::registered(&lab, "user000001").await;
    for person in [&mut alice, &mut bob] {
        person.lets_it_ring();
    }
    for winner in 0..2 {
        let mut made = carol.calls("family");
        let mut rings = [alice.called().await, bob.called().await];
        reaches(&mut made, State::Ringing).await;
        assert_eq!(rings[winner].answer().await, Ok(200));
        reaches(&mut made, State::Established).await;
        assert!(matches!(ended(&mut rings[1 - winner]).await, End::Cancelled { .. }));
        // The other user leaves; the call is none of its business.
        let other = if winner == 0 { &bob } else { &alice };
        other.ue.deregister().await.unwrap();
        assert_eq!(made.reinvite().await, Ok(200));
        assert_eq!(rings[winner].hang_up().await, Ok(200));
        assert_eq!(ended(&mut made).await, End::Released { reason: None });
        no_faults(&[&made, &rings[0], &rings[1]]);
        other.ue.register().await.unwrap();
    }
    no_sessions(&lab, &["alice", "bob", "user000001"]);
}

// CD-42: a contact leaves while it rings; the others go on ringing.
#[tokio::test(flavor = "multi_thread")]
async fn a_contact_leaves_and_takes_its_branch_along() {
    let lab = Lab::start(&[], &[]);
    let mut desk = Person::registered_as(&lab, "alice", |config| config.flow = instance(1)).await;
    let mut pocket = Person::registered_as(&lab, "alice", |config| config.flow = instance(2)).await;
    let bob = Person::registered(&lab, "bob").await;
    desk.lets_it_ring();
    pocket.lets_it_ring();
    let mut made = bob.calls("alice");
    let (mut leaves, mut stays) = (desk.called().await, pocket.called().await);
    reaches(&mut made, State::Ringing).await;
    desk.ue.deregister().await.unwrap();
    let End::Cancelled { reason: Some(reason) } = ended(&mut leaves).await else { panic!("{leaves:?}") };
    assert!(reason.contains("cause=480"), "{reason}");
    assert_eq!((made.record().state, stays.record().state), (State::Ringing, State::Ringing));
    assert_eq!(stays.answer().await, Ok(200));
    reaches(&mut made, State::Established).await;
    assert_eq!(made.hang_up().await, Ok(200));
    assert_eq!(ended(&mut stays).await, End::Released { reason: None });
    // The last contact leaves while it rings: nobody is left to answer.
    let mut made = bob.calls("alice");
    let mut leaves = pocket.called().await;
    reaches(&mut made, State::Ringing).await;
    pocket.ue.deregister().await.unwrap();
    assert!(matches!(ended(&mut leaves).await, End::Cancelled { .. }));
    assert_eq!(ended(&mut made).await, End::Refused { status: 480 });
    no_faults(&[&made, &leaves, &stays]);
    no_sessions(&lab, &["alice", "bob"]);
}

// Nobody says a word while it rings: the users are not put to rest meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn it_rings_longer_than_actors_stay_awake() {
    let lab = Lab::start(&["--generate", "1"], &[("ROLLCALL__NODE__PASSIVATE_AFTER", "1")]);
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let _carol = Person::registered(&lab, "user000001").await;
    bob.lets_it_ring();
    let mut made = alice.calls("bob");
    let mut came = bob.called().await;
    reaches(&mut made, State::Ringing).await;
    // Who is not in a call is put to rest, and those in the call would have been, too.
    let rests = || lab.metric("rollcall_users_passivated_total");
    assert!(eventually(SOON, || (rests() >= 1).then_some(())).is_some());
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(came.answer().await, Ok(200));
    reaches(&mut made, State::Established).await;
    assert_eq!(made.hang_up().await, Ok(200));
    assert_eq!(ended(&mut came).await, End::Released { reason: None });
    no_faults(&[&made, &came]);
    no_sessions(&lab, &["alice", "bob"]);
}

// CG-03 CG-04: an INVITE too long for a datagram goes by stream where somebody listens, else as a datagram after all.
#[tokio::test(flavor = "multi_thread")]
async fn over_streams_and_datagrams_short_and_long() {
    let lab = Lab::start(&[], &[]);
    for (caller, callee) in [
        (Transport::Tcp, Transport::Tcp),
        (Transport::Tcp, Transport::Udp),
        (Transport::Udp, Transport::Tcp),
        (Transport::Udp, Transport::Udp),
    ] {
        let alice = Person::registered_as(&lab, "alice", |config| config.transport = caller).await;
        let mut bob = Person::registered_as(&lab, "bob", |config| config.transport = callee).await;
        for long in [0, 4_000] {
            let long = "x".repeat(long);
            let mut dial = Dial::to(&sip("bob"));
            dial.headers = vec![("X-Long".to_owned(), long.clone())];
            let mut made = alice.ue.call(dial).unwrap();
            let mut came = tokio::select! {
                came = bob.called() => came,
                end = ended(&mut made) => panic!("{caller} {callee} {}: {end:?}", long.len()),
            };
            reaches(&mut made, State::Established).await;
            reaches(&mut came, State::Established).await;
            assert_eq!(came.header("X-Long"), std::slice::from_ref(&long), "{caller} {callee}");
            assert_eq!(came.reinvite().await, Ok(200), "{caller} {callee}");
            assert_eq!(made.hang_up().await, Ok(200), "{caller} {callee}");
            assert_eq!(ended(&mut came).await, End::Released { reason: None });
            no_faults(&[&made, &came]);
            let message = Standalone::message(&sip("bob"), &long.repeat(5));
            assert_eq!(alice.ue.send(message).await.unwrap().status, 200, "{caller} {callee}");
        }
        alice.ue.deregister().await.unwrap();
        bob.ue.deregister().await.unwrap();
    }
}

// CD-44: an interval below the least is refused, and the one named taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_interval_that_is_too_small() {
    let lab = Lab::start(&[], &[("ROLLCALL__SESSION__MIN_SE", "120")]);
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let dial = |seconds| Dial { session_expires: Some(seconds), ..Dial::to(&sip("bob")) };
    let mut made = alice.ue.call(dial(100)).unwrap();
    let first = tokio::select! {
        came = bob.called() => Some(came),
        end = ended(&mut made) => {
            assert_eq!(end, End::Refused { status: 422 });
            None
        }
    };
    if let Some(came) = first {
        // The UE tried again with what it was told.
        assert_eq!(came.header("Min-SE"), ["120"]);
        reaches(&mut made, State::Established).await;
        assert_eq!(made.hang_up().await, Ok(200));
    }
    let mut made = alice.ue.call(dial(120)).unwrap();
    let mut came = bob.called().await;
    reaches(&mut made, State::Established).await;
    assert!(!lab.user("alice").1["sessions"][0]["expires_at"].is_null(), "{:#}", lab.user("alice").1);
    assert_eq!(made.hang_up().await, Ok(200));
    assert_eq!(ended(&mut came).await, End::Released { reason: None });
    no_faults(&[&made, &came]);
}

// A user in as many sessions as one may have is busy, and is reached again when one has ended.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_sessions_than_one_may_have() {
    let lab = Lab::start(&["--generate", "1"], &[("ROLLCALL__SESSION__MAX_SESSIONS", "2")]);
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let carol = Person::registered(&lab, "user000001").await;
    let (first, _) = talk(&alice, &mut bob, "bob").await;
    bob.lets_it_ring();
    let mut second = carol.calls("bob");
    let rings = bob.called().await;
    reaches(&mut second, State::Ringing).await;
    assert_eq!(ended(&mut carol.calls("bob")).await, End::Refused { status: 486 });
    assert!(bob.is_not_called(Duration::from_millis(100)).await);
    assert_eq!(first.hang_up().await, Ok(200));
    bob.answers(Answering::default());
    let (third, _) = talk(&alice, &mut bob, "bob").await;
    assert_eq!(rings.reject(603).await, Ok(603));
    assert_eq!(ended(&mut second).await, End::Refused { status: 603 });
    assert_eq!(third.hang_up().await, Ok(200));
    no_sessions(&lab, &["alice", "bob", "user000001"]);
}

// CD-10 CD-19 D-41: barred identities, anonymous callers, and contacts that say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn barred_anonymous_and_dead() {
    let lab = Lab::start(&[], &[("ROLLCALL__SIP__T1", "20")]);
    let url = format!("{}/subscribers/bob@{DOMAIN}", lab.hss);
    let identities = json!([{"impu": sip("bob")}, {"impu": sip("secret"), "barred": true}]);
    assert_eq!(http::put(&url, &json!({ "identities": identities })).unwrap().0, 200);
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    assert_eq!(ended(&mut alice.calls("secret")).await, End::Refused { status: 404 });
    let mut made = alice.ue.call(Dial { privacy: Some("id".into()), ..Dial::to(&sip("bob")) }).unwrap();
    let came = bob.called().await;
    reaches(&mut made, State::Established).await;
    assert_eq!(came.header("Privacy"), ["id"]);
    assert!(came.header("From")[0].contains("anonymous"), "{:?}", came.header("From"));
    assert_eq!(made.hang_up().await, Ok(200));
    bob.answers(Answering { then: Then::Reject(404), ..Answering::default() });
    assert_eq!(ended(&mut alice.calls("bob")).await, End::Refused { status: 404 }, "the callee's own word");
    bob.ue.stop();
    assert_eq!(ended(&mut alice.calls("bob")).await, End::Refused { status: 480 }, "nobody listens there");
    no_sessions(&lab, &["alice", "bob"]);
}
