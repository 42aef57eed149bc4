//! TS 24.229 §5.4.3.4 — servers that fail, and requests that stay in the way of those that do not: the scenarios that suites
//! of other S-CSCFs know by name, listed in docs/conformance.md.

use crate::calls::*;
use crate::scenarios_isc::{Way, host, originating, terminating};
use crate::stage::{ALICE, Stage};
use scscf::profile::{Condition, DefaultHandling, InitialFilterCriteria};
use scscf::token::TokenKind;
use sip::{Method, Name, Request};

/// What becomes of a hop.
type Deed = dyn Fn(&mut Stage, &Hop);

const CONTACT_URI: &str = "sip:alice@192.0.2.1:5060";

fn or_else_nothing(priority: u32, server: &str) -> InitialFilterCriteria {
    criterion(priority, server, DefaultHandling::SessionTerminated, Condition::SessionCase(1))
}

fn begun(criteria: Vec<InitialFilterCriteria>, method: &'static str) -> (Stage, scscf::ServerTx, Hop) {
    let mut stage = Stage::serving(alice_with(criteria));
    let tx = stage.arrive(incoming(method, ALICE).build());
    let hop = stage.hop();
    assert_eq!(host(&hop), "as1.example");
    (stage, tx, hop)
}

/// Our own Record-Route values in a request, the topmost first; by the session they lead to.
fn own_record_routes(stage: &Stage, request: &Request) -> Vec<u64> {
    let recorded = request.addresses(Name::RecordRoute).unwrap();
    let opened = recorded.iter().filter_map(|address| stage.policy.tokens.open(address.uri.user()?));
    opened
        .map(|(kind, _, key)| {
            assert_eq!(kind, TokenKind::RecordRoute);
            key
        })
        .collect()
}

/// DefaultHandlingTerminate
#[test]
fn terminated_passes_the_servers_failure_on() {
    for (status, heard) in [(500, 500), (504, 504), (503, 503), (408, 408), (404, 404)] {
        let (mut stage, tx, hop) = begun(vec![or_else_nothing(1, AS1), terminating(2, AS2)], "INVITE");
        stage.hear(&hop, &Answer::of_server(status, AS1));
        assert_eq!(stage.codes(tx), [heard], "{status}");
        assert!(stage.hops().is_empty());
    }
}

/// DefaultHandlingTerminateTimeout, -Terminate100AfterTimeout, -TerminateMessage100AfterTimeout
#[test]
fn terminated_ends_with_408_when_the_server_is_silent_and_a_late_word_changes_nothing() {
    for (method, code, cancels) in [("INVITE", 408, 1), ("MESSAGE", 504, 0)] {
        let (mut stage, tx, hop) = begun(vec![or_else_nothing(1, AS1)], method);
        stage.pass(3);
        assert!(stage.codes(tx).is_empty());
        stage.pass(1);
        assert_eq!(stage.codes(tx), [code], "{method}");
        assert_eq!(stage.cancels().len(), cancels);
        for status in [100, 180] {
            stage.hear(&hop, &Answer::of_server(status, AS1));
        }
        assert_eq!(stage.codes(tx), [code]);
        assert!(stage.hops().is_empty() && stage.sessions().is_empty());
    }
}

/// DefaultHandlingTerminate200AfterTimeout
#[test]
fn a_200_of_a_server_that_was_given_up_is_acknowledged_and_hung_up() {
    let (mut stage, tx, hop) = begun(vec![or_else_nothing(1, AS1)], "INVITE");
    stage.pass(4);
    stage.hear(&hop, &Answer::of_server(200, AS1));
    assert_eq!(stage.codes(tx), [408], "the caller has heard enough");
    assert_eq!(stage.passed().iter().map(|ack| ack.uri_text().to_owned()).collect::<Vec<_>>(), [AS1]);
    let byes = stage.byes();
    assert_eq!(byes.len(), 1);
    assert_eq!(byes[0].request.uri_text(), AS1);
    stage.answers_bye(&byes[0], 200);
    assert!(stage.sessions().is_empty());
}

/// DefaultHandlingTerminate4xxAfterTimeout, -Terminate5xxAfterTimeout
#[test]
fn a_refusal_of_a_server_that_was_given_up_is_not_heard() {
    for status in [404, 487, 500, 503, 603] {
        let (mut stage, tx, hop) = begun(vec![or_else_nothing(1, AS1)], "INVITE");
        stage.pass(4);
        stage.hear(&hop, &Answer::of_server(status, AS1));
        assert_eq!(stage.codes(tx), [408], "{status}");
        assert!(stage.user.view().sessions.is_empty());
    }
}

/// TimeoutExtendedByProofOfLife
#[test]
fn a_server_that_returned_the_request_or_rang_is_not_silent() {
    for handling in [DefaultHandling::SessionTerminated, DefaultHandling::SessionContinued] {
        let only = criterion(1, AS1, handling, Condition::SessionCase(1));
        let (mut stage, tx, hop) = begun(vec![only.clone()], "INVITE");
        stage.pass(1);
        stage.arrive(hop.through(AS1));
        assert_eq!(stage.hop().uri(), CONTACT_URI);
        stage.pass(60);
        assert!(stage.codes(tx).is_empty() && stage.hops().is_empty() && stage.cancels().is_empty());
        let (mut stage, tx, hop) = begun(vec![only], "INVITE");
        stage.pass(1);
        stage.hear(&hop, &Answer::of_server(183, AS1));
        stage.pass(60);
        assert_eq!(stage.codes(tx), [183]);
        assert!(stage.hops().is_empty() && stage.cancels().is_empty());
    }
}

/// DefaultHandlingContinueImmediateError, -ContinueErrorSentImmediately, -ContinueTransportTerminate, -ContinueNonExistent,
/// -ContinueNonResponsive, -Continue100ThenError, ISC: Failed
#[test]
fn continued_goes_on_without_the_server() {
    for method in ["INVITE", "MESSAGE", "OPTIONS"] {
        let fails: [&Deed; 7] = [
            &|stage, hop| _ = stage.hear(hop, &Answer::of_server(500, AS1)),
            &|stage, hop| _ = stage.hear(hop, &Answer::of_server(503, AS1)),
            &|stage, hop| _ = stage.hear(hop, &Answer::of_server(504, AS1)),
            &|stage, hop| _ = stage.hear(hop, &Answer::of_server(408, AS1)),
            &|stage, hop| {
                stage.hear(hop, &Answer::of_server(100, AS1));
                stage.hear(hop, &Answer::of_server(500, AS1));
            },
            &|stage, hop| stage.unsendable(hop),
            &|stage, hop| stage.times_out(hop),
        ];
        for (n, fail) in fails.into_iter().enumerate() {
            let (mut stage, tx, hop) = begun(vec![terminating(1, AS1), terminating(2, AS2)], method);
            fail(&mut stage, &hop);
            let next = stage.hop();
            assert_eq!(host(&next), "as2.example", "{method} {n}");
            let again = stage.arrive(next.through(AS2));
            let contact = stage.hop();
            assert_eq!(contact.uri(), CONTACT_URI);
            stage.hear(&contact, &Answer::of_alice(200));
            let came = stage.last_word(again);
            stage.hear_through(&next, &came);
            assert_eq!(stage.codes(tx), [200], "{method} {n}");
        }
    }
}

/// DefaultHandlingContinue1xxThenError, -ContinueInviteReturnedThenError, DefaultHandlingContinueResponsiveError
#[test]
fn continued_passes_the_failure_of_a_server_that_was_at_work() {
    let (mut stage, tx, hop) = begun(vec![terminating(1, AS1), terminating(2, AS2)], "INVITE");
    stage.hear(&hop, &Answer::of_server(183, AS1));
    stage.hear(&hop, &Answer::of_server(500, AS1));
    assert_eq!(stage.codes(tx), [183, 500]);
    assert!(stage.hops().is_empty());
    // It returned the request, and fails then.
    let (mut stage, tx, hop) = begun(vec![terminating(1, AS1)], "INVITE");
    stage.arrive(hop.through(AS1));
    let contact = stage.hop();
    assert_eq!(contact.uri(), CONTACT_URI);
    stage.hear(&hop, &Answer::of_server(500, AS1));
    assert_eq!(stage.codes(tx), [500]);
    assert!(stage.hops().is_empty(), "nobody is called twice");
}

/// DefaultHandlingContinueTimeout, -ContinueErrorTimeoutThenResp, -ContinueMessageErrorTimeoutThenResp
#[test]
fn continued_goes_on_after_its_time_and_a_late_answer_is_not_heard() {
    for (method, status) in [("INVITE", 404), ("INVITE", 500), ("MESSAGE", 200), ("MESSAGE", 404)] {
        let (mut stage, tx, hop) = begun(vec![terminating(1, AS1)], method);
        stage.pass(1);
        assert!(stage.hops().is_empty());
        stage.pass(1);
        let contact = stage.hop();
        assert_eq!(contact.uri(), CONTACT_URI);
        stage.hear(&hop, &Answer::of_server(status, AS1));
        assert!(stage.codes(tx).is_empty(), "{method} {status}");
        stage.hear(&contact, &Answer::of_alice(200));
        assert_eq!(stage.codes(tx), [200]);
        assert!(stage.hops().is_empty());
    }
}

/// DefaultHandlingContinueRecordRouting, -ContinueNonExistentRRTest, -ContinueTimeoutRRTest, -ContinueFirstAsFailsRRTest,
/// -ContinueFirstTermAsFailsRRTest
#[test]
fn a_server_that_was_passed_over_leaves_no_trace_in_the_route_set() {
    let ways: [&Deed; 3] = [&|stage, hop| stage.unsendable(hop), &|stage, _| stage.pass(2), &|stage, hop| {
        _ = stage.hear(hop, &Answer::of_server(500, AS1))
    }];
    for fail in ways {
        // Of the called user, with another server behind.
        let (mut stage, _, hop) = begun(vec![terminating(1, AS1), terminating(2, AS2)], "INVITE");
        fail(&mut stage, &hop);
        let next = stage.hop();
        stage.arrive(next.through(AS2));
        let contact = stage.hop();
        let recorded = values(&contact.request, Name::RecordRoute);
        assert!(!recorded.iter().any(|value| value.contains("as1")), "{recorded:?}");
        assert_eq!(own_record_routes(&stage, &contact.request).len(), 2, "one on each side of the server");
        // Of the calling user, alone.
        let mut stage = Stage::serving(alice_with(vec![originating(1, AS1)]));
        stage.arrive(outgoing(&stage, "INVITE", BOB).build());
        let hop = stage.hop();
        fail(&mut stage, &hop);
        let onward = stage.hop();
        assert_eq!(onward.uri(), BOB);
        assert_eq!(own_record_routes(&stage, &onward.request).len(), 1);
    }
}

/// RecordRoutingTest, RecordRoutingTestStartAndEnd, RecordRoutingTestEachHop
#[test]
fn each_passage_stays_in_the_way_and_leads_to_the_same_session() {
    let criteria = vec![originating(1, AS1), originating(2, AS2), terminating(1, AS1), terminating(2, AS2)];
    let mut stage = Stage::serving(alice_with(criteria));
    let invite = outgoing(&stage, "INVITE", ALICE).build();
    let there = Way::of(&mut stage, invite.clone());
    let here = Way::of(&mut stage, there.end().request.clone());
    let keys = own_record_routes(&stage, &here.end().request);
    assert_eq!(keys.len(), 6, "three of each half");
    assert!(keys[..3].iter().all(|key| *key == keys[0]) && keys[3..].iter().all(|key| *key == keys[3]));
    assert_ne!(keys[0], keys[3], "each half is a session of its own");
    let recorded = values(&here.end().request, Name::RecordRoute);
    let order: Vec<&str> = recorded
        .iter()
        .map(|value| ["as1", "as2", "pcscf"].into_iter().find(|name| value.contains(name)).unwrap_or("us"))
        .collect();
    assert_eq!(order, ["us", "as2", "us", "as1", "us", "us", "as2", "us", "as1", "us", "pcscf"]);
    // A request in the dialog passes them all, whichever side it comes from.
    let answered = here.answered(&mut stage, &Answer::of_alice(200));
    let came = stage.last_word(here.txs[0]);
    stage.hear_as(there.end(), came);
    for (tx, hop) in there.txs.iter().skip(1).zip(&there.hops).rev() {
        let came = stage.responses(*tx).pop().unwrap();
        stage.hear_through(hop, &came);
    }
    let mut call =
        Call::new(&invite, &here.end().request, &answered, &stage.responses(there.txs[0]).pop().unwrap());
    for request in [call.by_caller(Method::Info), call.by_callee(Method::Info)] {
        let from_caller = request.from_tag() == Some("alice");
        let mut request = request;
        let mut passages = 0;
        loop {
            stage.arrive(request);
            let hop = stage.hop();
            passages += 1;
            let next = host(&hop);
            if next.starts_with("as") {
                request = hop.through(&format!("sip:{next}"));
            } else if next.is_empty() || next == "pcscf.example" {
                assert_eq!(passages, 6);
                assert_eq!(hop.uri(), CONTACT_URI, "{from_caller}");
                break;
            } else {
                request = hop.request;
            }
        }
    }
}

/// RecordRoutingTestCollapse, RecordRoutingTestCollapseEveryHop
#[test]
fn servers_that_leave_the_way_are_left_out_and_the_session_ends_by_one_bye() {
    let mut stage = Stage::serving(alice_with(vec![terminating(1, AS1), terminating(2, AS2)]));
    let invite = incoming("INVITE", ALICE).build();
    let mut txs = vec![stage.arrive(invite.clone())];
    let mut hops = vec![stage.hop()];
    for server in [AS1, AS2] {
        let mut edit = hops[hops.len() - 1].through(server).edit();
        edit.remove_top_value(Name::RecordRoute);
        txs.push(stage.arrive(edit.finish()));
        hops.push(stage.hop());
    }
    let way = Way { txs, hops };
    assert_eq!(own_record_routes(&stage, &way.end().request).len(), 3);
    let answered = way.answered(&mut stage, &Answer::of_alice(200));
    assert_eq!(stage.sessions().len(), 1);
    let mut call =
        Call::new(&invite, &way.end().request, &answered, &stage.responses(way.txs[0]).pop().unwrap());
    let mut bye = call.by_caller(Method::Bye);
    let mut seen = Vec::new();
    for passage in 0..3 {
        let tx = stage.arrive(bye.clone());
        let hop = stage.hop();
        assert_eq!(hop.routes().len(), 3 - passage, "our own entries and the P-CSCF are on the way");
        seen.push((tx, hop.clone()));
        bye = hop.request;
    }
    assert_eq!(seen[2].1.uri(), CONTACT_URI);
    stage.hear(&seen[2].1, &Answer::of_alice(200));
    for passage in [1, 0] {
        let came = stage.last_word(seen[passage + 1].0);
        stage.hear_as(&seen[passage].1, came);
    }
    assert_eq!(stage.last_word(seen[0].0).status().code(), 200);
    assert!(stage.sessions().is_empty());
}
