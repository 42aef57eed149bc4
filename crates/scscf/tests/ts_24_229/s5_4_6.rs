//! TS 24.229 §5.4.6, §5.4.3.2, §5.4.3.3 — requests in a dialog: along the route set, no services, and what they change.

use crate::calls::*;
use crate::stage::{ALICE, CONTACT, Stage};
use scscf::Save;
use scscf::profile::{Condition, DefaultHandling};
use sip::{Method, Name, Request};

fn cseqs(stage: &Stage) -> (u64, u64) {
    let session = &stage.record()["sessions"][0];
    (session["caller"]["cseq"].as_u64().unwrap(), session["callee"]["cseq"].as_u64().unwrap())
}

fn targets(stage: &Stage) -> (String, String) {
    let session = &stage.record()["sessions"][0];
    let of = |side: &str| session[side]["target"].as_str().unwrap().to_owned();
    (of("caller"), of("callee"))
}

/// A request in a dialog, and the answer of its other side.
fn exchange(stage: &mut Stage, request: Request, status: u16) -> Hop {
    let tx = stage.arrive(request);
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(status));
    assert_eq!(stage.codes(tx), [status]);
    hop
}

#[test]
fn either_side_may_hang_up() {
    for by_caller in [true, false] {
        for called in [true, false] {
            let mut stage = Stage::registered();
            let mut call = if called { stage.is_called() } else { stage.calls() };
            assert_eq!(stage.sessions()[0].state, "confirmed");
            let (bye, beyond) = match by_caller {
                true => (call.by_caller(Method::Bye), if called { TERM_P_CSCF } else { B_PROXY }),
                false => (call.by_callee(Method::Bye), if called { B_PROXY } else { P_CSCF }),
            };
            let tx = stage.arrive(bye.clone());
            let hop = stage.hop();
            assert_eq!(hop.routes(), [beyond]);
            assert_eq!((hop.uri(), hop.request.cseq()), (bye.uri_text(), bye.cseq()));
            assert_eq!(hop.get(Name::MaxForwards).unwrap(), "69");
            assert_eq!(hop.request.lines(Name::Via).count(), 2);
            assert!(stage.codes(tx).is_empty());
            assert_eq!(stage.sessions().len(), 1, "until it is answered");
            stage.hear(&hop, &Answer::of(200));
            assert_eq!(stage.codes(tx), [200]);
            assert!(stage.sessions().is_empty());
            assert_eq!(stage.last, Some(Save::Snapshot));
            assert!(stage.byes().is_empty() && stage.releases().is_empty());
            let again = stage.arrive(call.by_caller(Method::Bye));
            assert_eq!(stage.codes(again), [481]);
        }
    }
}

#[test]
fn a_bye_that_is_refused_ends_the_session_too() {
    for (status, ends) in [(481, true), (500, true), (408, true), (404, true), (401, false), (407, false)] {
        let mut stage = Stage::registered();
        let mut call = stage.calls();
        let tx = stage.arrive(call.by_caller(Method::Bye));
        let hop = stage.hop();
        stage.hear(&hop, &Answer::of(status));
        assert_eq!(stage.codes(tx), [if status == 408 { 504 } else { status }]);
        assert_eq!(stage.sessions().is_empty(), ends, "{status}");
    }
    let mut stage = Stage::registered();
    let mut call = stage.calls();
    stage.arrive(call.by_caller(Method::Bye));
    let hop = stage.hop();
    stage.times_out(&hop);
    assert!(stage.sessions().is_empty());
}

#[test]
fn no_services_in_a_dialog() {
    let every = criterion(1, AS1, DefaultHandling::SessionContinued, Condition::Method("[A-Z]+".into()));
    let mut stage = Stage::serving(alice_with(vec![every]));
    let mut call = stage.calls();
    for method in [Method::Invite, Method::Update, Method::Info, Method::Message] {
        stage.arrive(call.by_caller(method));
        assert_eq!(stage.hop().routes(), [B_PROXY]);
    }
}

#[test]
fn targets_are_refreshed_by_invite_and_update_that_succeed() {
    for method in [Method::Invite, Method::Update] {
        let mut stage = Stage::registered();
        let mut call = stage.calls();
        assert_eq!(targets(&stage), ("sip:alice@192.0.2.1:5060".into(), "sip:bob@198.51.100.1".into()));
        let moved = with(&call.by_caller(method.clone()), Name::Contact, "<sip:alice@192.0.2.1:7>");
        let tx = stage.arrive(moved);
        let hop = stage.hop();
        stage.hear(&hop, &Answer::of(200).line(Name::Contact, "<sip:bob@198.51.100.2>"));
        assert_eq!(stage.codes(tx), [200]);
        assert_eq!(targets(&stage), ("sip:alice@192.0.2.1:7".into(), "sip:bob@198.51.100.2".into()));
        assert_eq!(stage.last, Some(Save::Snapshot));
        // From the other side.
        let moved = with(&call.by_callee(method.clone()), Name::Contact, "<sip:bob@198.51.100.3>");
        stage.arrive(moved);
        let hop = stage.hop();
        stage.hear(&hop, &Answer::of(200));
        assert_eq!(targets(&stage).1, "sip:bob@198.51.100.3");
        // What fails, and what is no target refresh, changes nothing.
        let refused = with(&call.by_caller(method), Name::Contact, "<sip:x@y>");
        exchange(&mut stage, refused, 488);
        let info = with(&call.by_caller(Method::Info), Name::Contact, "<sip:x@y>");
        exchange(&mut stage, info, 200);
        assert_eq!(targets(&stage), ("sip:alice@192.0.2.1:7".into(), "sip:bob@198.51.100.3".into()));
    }
}

#[test]
fn cseqs_are_kept_for_each_direction() {
    let mut stage = Stage::registered();
    let mut call = stage.calls();
    assert_eq!(cseqs(&stage), (7, 0));
    exchange(&mut stage, call.by_caller(Method::Info), 200);
    assert_eq!(cseqs(&stage), (8, 0));
    call.callee.local_cseq = 100;
    exchange(&mut stage, call.by_callee(Method::Update), 200);
    assert_eq!(cseqs(&stage), (8, 101));
    // A refused one counts, an older one does not lower it.
    exchange(&mut stage, call.by_caller(Method::Invite), 491);
    assert_eq!(cseqs(&stage), (9, 101));
    let old = with(&call.by_caller(Method::Info), Name::CSeq, "3 INFO");
    exchange(&mut stage, old, 500);
    assert_eq!(cseqs(&stage), (9, 101));
    let ack = with(&call.ack(), Name::CSeq, "77 ACK");
    stage.ack(ack);
    assert_eq!(stage.passed().len(), 1);
    assert_eq!(cseqs(&stage), (9, 101), "an ACK has no number of its own");
}

#[test]
fn a_dialog_that_the_other_side_does_not_know_is_over() {
    let mut stage = Stage::registered();
    let mut call = stage.calls();
    exchange(&mut stage, call.by_caller(Method::Info), 481);
    assert_eq!(stage.sessions().len(), 1, "an INFO says nothing of the session");
    exchange(&mut stage, call.by_caller(Method::Invite), 486);
    assert_eq!(stage.sessions().len(), 1);
    exchange(&mut stage, call.by_caller(Method::Invite), 481);
    assert!(stage.sessions().is_empty());
}

#[test]
fn acks_pass_as_long_as_there_is_a_session() {
    let mut stage = Stage::registered();
    let invite = outgoing(&stage, "INVITE", BOB).build();
    let tx = stage.arrive(invite.clone());
    let hop = stage.hop();
    let answered = stage.hear(&hop, &Answer::of(200));
    let mut call = Call::new(&invite, &hop.request, &answered, &stage.last_word(tx));
    let ack = call.ack();
    stage.ack(ack.clone());
    let passed = stage.passed();
    assert_eq!(values(&passed[0], Name::Route), [B_PROXY]);
    assert_eq!(
        (passed[0].uri_text(), passed[0].get(Name::MaxForwards).unwrap().as_ref()),
        (ack.uri_text(), "69")
    );
    // Once more, as the answer came once more.
    stage.ack(ack.clone());
    assert_eq!(stage.passed().len(), 1);
    // With another tag, or without hops, it belongs nowhere.
    stage.ack(with(&ack, Name::To, "<sip:bob@b.example>;tag=other"));
    stage.ack(with(&ack, Name::MaxForwards, "0"));
    assert!(stage.passed().is_empty());
    // The one to a re-INVITE.
    let again = call.by_caller(Method::Invite);
    exchange(&mut stage, again.clone(), 200);
    call.invite = again;
    stage.ack(call.ack());
    assert_eq!(stage.passed().len(), 1);
    exchange(&mut stage, call.by_caller(Method::Bye), 200);
    stage.ack(ack);
    assert!(stage.passed().is_empty());
}

#[test]
fn an_ack_that_leads_nowhere_is_left() {
    let mut stage = Stage::registered();
    stage.ack(outgoing(&stage, "ACK", BOB).build());
    stage.ack(incoming("ACK", ALICE).build());
    assert!(stage.said.is_empty());
}

#[test]
fn requests_in_an_early_dialog() {
    let mut stage = Stage::registered();
    let invite = outgoing(&stage, "INVITE", BOB).line("Require: 100rel").build();
    let tx = stage.arrive(invite.clone());
    let hop = stage.hop();
    let early = stage.hear(&hop, &Answer::of(183).line(Name::RSeq, "1"));
    let heard = stage.responses(tx)[0].clone();
    assert_eq!(heard.get(Name::RSeq).unwrap(), "1");
    let mut call = Call::new(&invite, &hop.request, &early, &heard);
    for request in [
        with(&call.by_caller(Method::Prack), Name::RAck, "1 7 INVITE"),
        call.by_caller(Method::Update),
        call.by_callee(Method::Update),
        call.by_callee(Method::Info),
    ] {
        let tx = stage.arrive(request.clone());
        let hop = stage.hop();
        assert_eq!(hop.get(Name::RAck), request.get(Name::RAck).map(|value| value.into_owned()));
        stage.hear(&hop, &Answer::of(200));
        assert_eq!(stage.codes(tx), [200]);
    }
    assert_eq!(stage.sessions()[0].state, "early");
    stage.hear(&hop, &Answer::of(486));
    let late = stage.arrive(call.by_caller(Method::Update));
    assert_eq!(stage.codes(late), [481]);
    assert!(stage.hops().is_empty());
}

#[test]
fn a_caller_may_hang_up_before_the_answer() {
    let mut stage = Stage::registered();
    let invite = outgoing(&stage, "INVITE", BOB).build();
    let tx = stage.arrive(invite.clone());
    let hop = stage.hop();
    let early = stage.hear(&hop, &Answer::of(183));
    let mut call = Call::new(&invite, &hop.request, &early, &stage.responses(tx)[0]);
    exchange(&mut stage, call.by_caller(Method::Bye), 200);
    stage.hear(&hop, &Answer::of(487));
    assert_eq!(stage.codes(tx), [183, 487]);
    assert!(stage.sessions().is_empty());
}

#[test]
fn dialogs_that_are_no_sessions_pass_without_record() {
    let mut stage = Stage::registered();
    let subscribe = outgoing(&stage, "SUBSCRIBE", BOB).line("Event: presence").line("Expires: 60").build();
    let tx = stage.arrive(subscribe.clone());
    let hop = stage.hop();
    let answered = stage.hear(&hop, &Answer::of(200));
    let mut call = Call::new(&subscribe, &hop.request, &answered, &stage.last_word(tx));
    assert!(stage.sessions().is_empty());
    stage.reload();
    for request in [call.by_callee(Method::Notify), call.by_caller(Method::Subscribe)] {
        let request = with(&request, Name::Event, "presence");
        let tx = stage.arrive(request);
        let hop = stage.hop();
        stage.hear(&hop, &Answer::of(200));
        assert_eq!(stage.codes(tx), [200]);
    }
}

#[test]
fn a_session_outlives_the_actor() {
    let mut stage = Stage::registered();
    let mut call = stage.calls();
    stage.reload();
    exchange(&mut stage, call.by_callee(Method::Info), 200);
    stage.ack(call.ack());
    assert_eq!(stage.passed().len(), 1);
    exchange(&mut stage, call.by_caller(Method::Bye), 200);
    assert!(stage.sessions().is_empty());
}

#[test]
fn requests_in_a_dialog_pass_every_server_once_each_way() {
    let criteria = vec![continued(1, AS1), continued(2, AS2), continued(3, AS3)];
    for called in [false, true] {
        let mut stage = Stage::serving(alice_with(criteria.clone()));
        let mut call = if called { stage.is_called_by_servers() } else { stage.calls_by_servers() };
        assert_eq!(stage.sessions().len(), 1);
        let order = ["as1.example", "as2.example", "as3.example"];
        let chain = stage.by_all_servers(call.by_caller(Method::Info));
        assert_eq!(chain.servers()[..3], order);
        stage.hear_along(&chain, &Answer::of(200));
        assert!(chain.txs.iter().all(|tx| stage.codes(*tx) == [200]));
        let back = stage.by_all_servers(call.by_callee(Method::Invite));
        let mut reversed = order;
        reversed.reverse();
        assert_eq!(back.servers()[..3], reversed);
        stage.hear_along(&back, &Answer::of(200));
        // One that hangs up ends it for all passages.
        let bye = stage.by_all_servers(call.by_callee(Method::Bye));
        assert_eq!(bye.hops.len(), 4);
        stage.hear_along(&bye, &Answer::of(200));
        assert!(bye.txs.iter().all(|tx| stage.codes(*tx) == [200]));
        assert!(stage.sessions().is_empty());
        assert!(stage.byes().is_empty());
    }
}

#[test]
fn the_legs_of_a_back_to_back_user_agent_are_sessions_of_their_own() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1)]));
    let (mut first, mut second) = stage.calls_by_back_to_back_agent();
    assert_eq!(stage.sessions().len(), 2);
    for ack in [first.ack(), second.ack()] {
        stage.ack(ack);
        assert_eq!(stage.passed().len(), 1);
    }
    let info = exchange(&mut stage, first.by_caller(Method::Info), 200);
    assert_eq!((info.uri(), info.routes()), (AS1, vec![]));
    let info = exchange(&mut stage, second.by_callee(Method::Info), 200);
    assert_eq!((info.uri(), info.routes()), (AS1, vec![]));
    exchange(&mut stage, first.by_caller(Method::Bye), 200);
    assert_eq!(stage.sessions().len(), 1);
    exchange(&mut stage, second.by_caller(Method::Bye), 200);
    assert!(stage.sessions().is_empty());
}

#[test]
fn a_reinvite_may_be_cancelled_and_may_ring_too_long() {
    let mut stage = Stage::registered();
    let mut call = stage.calls();
    let tx = stage.arrive(call.by_caller(Method::Invite));
    let hop = stage.hop();
    stage.cancel(tx, None);
    assert_eq!(stage.cancels().len(), 1);
    stage.hear(&hop, &Answer::of(487));
    assert_eq!(stage.codes(tx), [487]);
    assert_eq!(stage.sessions()[0].state, "confirmed");
    let tx = stage.arrive(call.by_callee(Method::Invite));
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(180));
    stage.pass(185);
    assert_eq!(stage.cancels().len(), 1);
    stage.hear(&hop, &Answer::of(487));
    assert_eq!(stage.codes(tx), [180, 408]);
    assert_eq!(stage.sessions().len(), 1);
}

#[test]
fn a_request_of_a_dialog_that_is_not_the_one_of_the_token() {
    let mut stage = Stage::registered();
    let mut call = stage.calls();
    let request = call.by_caller(Method::Info);
    for (name, value) in
        [(Name::CallId, "another"), (Name::From, "<sip:a@b>;tag=x"), (Name::To, "<sip:a@b>;tag=x")]
    {
        let tx = stage.arrive(with(&request, name, value));
        assert_eq!(stage.codes(tx), [481], "{name}");
    }
    assert!(stage.hops().is_empty());
    assert_eq!(CONTACT, "<sip:alice@192.0.2.1:5060>");
}
