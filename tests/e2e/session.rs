//! Calls by clients that nobody here wrote, and by our own UEs.
//!
//! A session timer is 90 s at least, so that a session that is not refreshed is for the clause tests alone.

use crate::scene::{Person, SOON, ended, no_faults, reaches, talk};
use e2e::{DOMAIN, Lab, Sipp, eventually, have};
use lab::ue::{Answering, End, State, Then};
use std::net::SocketAddr;
use std::time::Duration;

/// One call: line `n` of both injection files.
fn lines(first: usize, flows: &[&str]) -> (Vec<String>, Vec<String>) {
    let line = |own: usize, peer: usize, flow: &str| {
        let (own, peer) = (format!("user{own:06}"), format!("user{peer:06}"));
        format!(
            "{own};{DOMAIN};[authentication username={own}@{DOMAIN} aka_K=rollcall-lab-key aka_OP=rollcall-lab-op! \
             aka_AMF=BB];{peer};{flow}"
        )
    };
    let numbered = || flows.iter().enumerate().map(|(at, flow)| (first + 2 * at, *flow));
    let calling = numbered().map(|(user, flow)| line(user, user + 1, flow)).collect();
    let called = numbered().map(|(user, flow)| line(user + 1, user, flow)).collect();
    (calling, called)
}

/// Plays both ends of one call a flow, `rate` a second; every one must go as planned.
fn sipp_calls(lab: &Lab, name: &str, flows: &[&str], rate: u32, within: Duration) {
    let (calling, called) = lines(1, flows);
    let (uac, uas) = (format!("{name}_uac.xml"), format!("{name}_uas.xml"));
    let call_ids = ["-cid_str", "%u-call@sipp"];
    let registered = || lab.metric("rollcall_registered_users");
    let target: SocketAddr = lab.sip;
    let before = registered();
    let uas = Sipp::new(&uas, target).arguments(&call_ids).lines(called).start(rate, within).unwrap();
    let ready = eventually(within, || (registered() == before + flows.len() as u64).then_some(()));
    let calls = Sipp::new(&uac, target).arguments(&call_ids).lines(calling).start(rate, within).unwrap();
    let (called, calling) = (uas.finish(), calls.finish());
    assert!(ready.is_some(), "not all callees registered: {called:?}");
    let (called, calling) = (called.unwrap(), calling.unwrap());
    for counted in [called, calling] {
        assert_eq!((counted.successful, counted.failed), (flows.len() as u64, 0), "{counted:?}");
    }
}

/// Nothing of any call is left at the node.
fn no_session_is_left(lab: &Lab) {
    let none = eventually(Duration::from_secs(5), || (lab.metric("rollcall_sessions") == 0).then_some(()));
    assert!(none.is_some(), "{} sessions are left", lab.metric("rollcall_sessions"));
}

// CD-01 CD-02 CD-07 CD-08 CD-18 CG-14 CG-15: Path and Service-Route, originating and terminating, by SIPp on both sides.
#[test]
fn sipp_fifty_calls_of_each_flow_without_a_failure() {
    if !have("sipp") {
        return;
    }
    let lab = Lab::start(&["--generate", "500"], &[]);
    let flows: Vec<&str> = ["caller", "callee", "cancel", "busy", "unanswered"].repeat(50);
    sipp_calls(&lab, "ue_call", &flows, 50, Duration::from_secs(60));
    no_session_is_left(&lab);
}

// CG-11: a callee who says nothing; 64*T1 with a short T1.
#[test]
fn sipp_nobody_answers_at_all() {
    if !have("sipp") {
        return;
    }
    let lab = Lab::start(&["--generate", "100"], &[("ROLLCALL__SIP__T1", "50")]);
    sipp_calls(&lab, "ue_call", &["silent"; 50], 50, Duration::from_secs(60));
    no_session_is_left(&lab);
}

#[test]
fn sipp_reliable_ringing_updates_new_offers_and_session_timers() {
    if !have("sipp") {
        return;
    }
    let lab = Lab::start(&["--generate", "100"], &[]);
    sipp_calls(&lab, "ue_call_100rel", &["reliable"; 50], 25, Duration::from_secs(60));
    no_session_is_left(&lab);
}

/// One of several UEs with which somebody is registered at once.
fn instance(number: u8) -> impl FnOnce(&mut lab::ue::Config) {
    move |config| {
        let instance = format!("urn:uuid:00000000-0000-1000-8000-0000000000{number:02x}");
        config.flow = Some(lab::ue::Flow { instance, reg_id: 1 });
    }
}

// CD-16 CD-20 CG-14: the branch that did not win is cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_forks_and_one_wins() {
    let lab = Lab::start(&[], &[]);
    let mut desk = Person::registered_as(&lab, "alice", instance(1)).await;
    let mut pocket = Person::registered_as(&lab, "alice", instance(2)).await;
    let bob = Person::registered(&lab, "bob").await;
    desk.lets_it_ring();
    pocket.lets_it_ring();
    assert_eq!(lab.user("alice").1["bindings"].as_array().map(Vec::len), Some(2));
    let mut made = bob.calls("alice");
    let (mut rings, mut wins) = (desk.called().await, pocket.called().await);
    reaches(&mut made, State::Ringing).await;
    assert_eq!(wins.answer().await, Ok(200));
    reaches(&mut made, State::Established).await;
    let End::Cancelled { reason } = ended(&mut rings).await else { panic!("{:#?}", rings.record()) };
    assert!(reason.is_none_or(|reason| reason.contains("200")), "RFC 3326: answered elsewhere, if anything");
    assert_eq!((rings.record().cancels(), rings.record().byes()), (1, 0));
    assert_eq!(made.hang_up().await, Ok(200));
    assert_eq!(ended(&mut wins).await, End::Released { reason: None });
    no_faults(&[&made, &wins, &rings]);
    no_session_is_left(&lab);
}

// CD-20: everybody is asked, and the best refusal is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_forks_and_nobody_takes_it() {
    let lab = Lab::start(&[], &[]);
    let mut desk = Person::registered_as(&lab, "alice", instance(1)).await;
    let mut pocket = Person::registered_as(&lab, "alice", instance(2)).await;
    let bob = Person::registered(&lab, "bob").await;
    for (one, other, heard) in [(486, 480, vec![480, 486]), (480, 603, vec![603])] {
        desk.answers(Answering { then: Then::Reject(one), ..Answering::default() });
        pocket.answers(Answering { then: Then::Reject(other), ..Answering::default() });
        let mut made = bob.calls("alice");
        reaches(&mut made, State::Ended).await;
        let status = made.record().status.unwrap();
        assert!(heard.contains(&status), "{one} and {other}: {status}");
        // Who declined for all may have been faster than the other branch.
        let _ = (desk.called().await, pocket.called().await);
    }
    no_session_is_left(&lab);
}

// A dialog outlives its users' actors: both ends were put to rest, and each request within it wakes them.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_call_outlives_the_actors_of_its_users() {
    let lab = Lab::start(&[], &[("ROLLCALL__NODE__PASSIVATE_AFTER", "1")]);
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let (mut made, came) = talk(&alice, &mut bob, "bob").await;
    let rested = |times: u64| {
        let count = || lab.metric("rollcall_users_passivated_total");
        let rested = eventually(SOON, || (count() >= times).then_some(()));
        assert!(rested.is_some(), "actors that came to rest: {} of {times}", count());
    };
    for round in 1..=2 {
        rested(2 * round);
        assert_eq!(made.info("alice to bob").await, Ok(200), "round {round}");
        assert_eq!(came.info("bob to alice").await, Ok(200), "round {round}");
    }
    rested(6);
    assert_eq!(made.reinvite().await, Ok(200));
    rested(8);
    assert_eq!(came.hang_up().await, Ok(200));
    assert_eq!(ended(&mut made).await, End::Released { reason: None });
    assert_eq!((made.record().of("INFO").count(), came.record().of("INFO").count()), (2, 2));
    no_faults(&[&made, &came]);
    for name in ["alice", "bob"] {
        assert_eq!(lab.user(name).1["sessions"], serde_json::json!([]));
    }
}
