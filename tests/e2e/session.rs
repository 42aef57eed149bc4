//! Calls by clients that nobody here wrote, and by our own UEs.

use e2e::{DOMAIN, Lab, Sipp, eventually, have};
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
