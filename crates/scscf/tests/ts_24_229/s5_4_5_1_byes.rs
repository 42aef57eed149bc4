//! TS 24.229 §5.4.5.1.2 — the BYEs of a release: by which way, how often, and what crosses them.

use crate::calls::*;
use crate::stage::{Stage, Ue};
use scscf::user::ReleaseCause;
use scscf::{Save, Side};
use sip::{Method, Name, Request};

fn cseq(bye: &Bye) -> u32 {
    bye.request.cseq().number
}

fn deregisters(stage: &mut Stage) {
    let ok = stage.register(&Ue::new().next().next().expires(0).protected());
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
}

/// The BYE to this side.
fn bye_to(stage: &mut Stage, side: Side) -> Bye {
    let byes = stage.byes();
    assert_eq!(byes.len(), 1, "{}: {byes:?}", stage.summary);
    assert_eq!(byes[0].side, side);
    byes[0].clone()
}

fn both(stage: &mut Stage) -> (Bye, Bye) {
    let byes = stage.byes();
    assert_eq!(byes.len(), 2, "{}: {byes:?}", stage.summary);
    assert_eq!((byes[0].side, byes[1].side), (Side::Callee, Side::Caller));
    (byes[0].clone(), byes[1].clone())
}

/// What a server does with a BYE that it has from us: it passes it on by its route.
fn passed_on(bye: &Bye, server: &str) -> Request {
    let mut edit = bye.request.edit();
    edit.remove_top_value(Name::Route);
    edit.push_top(Name::Via, format_args!("SIP/2.0/UDP {server};branch=z9hG4bKpassed"));
    edit.finish()
}

/// Alice, served by three servers that stay in the way.
fn served() -> Stage {
    Stage::serving(alice_with(vec![continued(1, AS1), continued(2, AS2), continued(3, AS3)]))
}

#[test]
fn a_bye_passes_the_servers_of_the_user() {
    for called in [false, true] {
        let mut stage = served();
        let _ = if called { stage.is_called_by_servers() } else { stage.calls_by_servers() };
        deregisters(&mut stage);
        let (to_callee, to_caller) = both(&mut stage);
        // Towards the user itself it goes straight; the other one is as if the user had sent it.
        let (far, near, order) = match called {
            true => (to_caller, to_callee, [AS3, AS2, AS1]),
            false => (to_callee, to_caller, [AS1, AS2, AS3]),
        };
        assert_eq!(values(&near.request, Name::Route), [if called { TERM_P_CSCF } else { P_CSCF }]);
        assert_eq!(values(&far.request, Name::Route)[0], format!("<{};lr>", order[0]));
        let first = passed_on(&far, order[0]);
        let mut request = first;
        let mut hops = Vec::new();
        let mut txs = Vec::new();
        for server in &order[1..] {
            txs.push(stage.arrive(request));
            let hop = stage.hop();
            assert_eq!(format!("sip:{}", hop.next_host()), *server);
            request = hop.through(server);
            hops.push(hop);
        }
        txs.push(stage.arrive(request));
        let last = stage.hop();
        assert_eq!(last.routes(), [B_PROXY]);
        assert_eq!(
            (last.request.cseq(), last.request.call_id()),
            (far.request.cseq(), far.request.call_id())
        );
        assert!(stage.byes().is_empty(), "nobody is told twice");
        // It is answered all the way back.
        hops.push(last);
        let chain = Chain { txs: txs.clone(), hops };
        stage.hear_along(&chain, &Answer::of(200));
        assert!(txs.iter().all(|tx| stage.codes(*tx) == [200]));
        assert_eq!(stage.sessions().len(), 1, "our own BYE is answered by what follows");
        stage.answers_bye(&far, 200);
        stage.answers_bye(&near, 200);
        assert!(stage.sessions().is_empty());
        assert_eq!(stage.last, Some(Save::Erase));
    }
}

#[test]
fn where_a_server_is_gone_the_next_bye_leaves_the_servers_out() {
    for fate in ["503", "408", "silence", "unsendable"] {
        let mut stage = served();
        stage.calls_by_servers();
        deregisters(&mut stage);
        let (far, near) = both(&mut stage);
        stage.answers_bye(&near, 200);
        match fate {
            "silence" => stage.bye_times_out(&far),
            "unsendable" => {
                stage.step(scscf::Event::Reply { to: far.purpose, reply: scscf::Reply::Unsendable })
            }
            status => stage.answers_bye(&far, status.parse().unwrap()),
        }
        assert!(stage.byes().is_empty());
        stage.pass(2);
        let again = bye_to(&mut stage, Side::Callee);
        assert_eq!(values(&again.request, Name::Route), [B_PROXY], "{fate}");
        assert_eq!(cseq(&again), cseq(&far) + 1);
        assert_eq!(again.request.uri_text(), far.request.uri_text());
        stage.answers_bye(&again, 481);
        assert!(stage.sessions().is_empty());
        assert_eq!(stage.releases()[0].told.last().unwrap().status, Some(481));
    }
}

#[test]
fn who_stands_behind_a_silent_server_does_not_wait_for_it() {
    for hears in [true, false] {
        let mut stage = served();
        stage.calls_by_servers();
        deregisters(&mut stage);
        let (far, near) = both(&mut stage);
        stage.answers_bye(&near, 200);
        stage.pass(3);
        assert!(stage.byes().is_empty(), "a server has as_terminated_timeout_ms");
        stage.pass(1);
        let again = bye_to(&mut stage, Side::Callee);
        assert_eq!(values(&again.request, Name::Route), [B_PROXY]);
        assert_eq!(cseq(&again), cseq(&far) + 1);
        if hears {
            stage.answers_bye(&again, 200);
            assert_eq!(stage.releases()[0].told.last().unwrap().status, Some(200));
            assert_eq!(stage.last, Some(Save::Erase));
            // What is left of the first is nobody's.
            stage.bye_times_out(&far);
            continue;
        }
        // The end of the first one says nothing of the second.
        stage.bye_times_out(&far);
        stage.pass(5);
        assert!(stage.byes().is_empty());
        assert_eq!(stage.sessions().len(), 1);
        stage.bye_times_out(&again);
        stage.pass(2);
        let last = bye_to(&mut stage, Side::Callee);
        assert_eq!(values(&last.request, Name::Route), [B_PROXY]);
        stage.bye_times_out(&last);
        assert!(stage.sessions().is_empty());
        assert_eq!(stage.releases()[0].told.last().unwrap().status, Some(0));
    }
}

#[test]
fn a_far_end_that_stays_silent_is_told_a_few_times_and_forgotten() {
    let mut stage = Stage::registered();
    stage.calls();
    deregisters(&mut stage);
    let (mut to_callee, to_caller) = both(&mut stage);
    stage.answers_bye(&to_caller, 200);
    for _ in 1..3 {
        let before = cseq(&to_callee);
        stage.bye_times_out(&to_callee);
        assert_eq!(stage.sessions().len(), 1);
        stage.pass(1);
        assert!(stage.byes().is_empty());
        stage.pass(1);
        to_callee = bye_to(&mut stage, Side::Callee);
        assert_eq!(cseq(&to_callee), before + 1);
    }
    stage.bye_times_out(&to_callee);
    assert!(stage.sessions().is_empty());
    assert_eq!(stage.last, Some(Save::Erase));
    let told = &stage.releases()[0].told;
    assert_eq!((told[1].side, told[1].status), (Side::Callee, Some(0)), "no answer came");
    assert_eq!(told.len(), 2);
}

#[test]
fn a_late_answer_to_an_earlier_bye_counts_for_nothing() {
    let mut stage = Stage::registered();
    stage.calls();
    deregisters(&mut stage);
    let (first, to_caller) = both(&mut stage);
    stage.answers_bye(&to_caller, 200);
    stage.bye_times_out(&first);
    stage.pass(2);
    let second = bye_to(&mut stage, Side::Callee);
    stage.answers_bye(&first, 200);
    assert_eq!(stage.sessions().len(), 1);
    stage.answers_bye(&second, 200);
    assert!(stage.sessions().is_empty());
    stage.answers_bye(&second, 200);
    assert_eq!(stage.releases()[0].told.len(), 2);
}

/// A call whose ACK has not come.
fn unacknowledged(stage: &mut Stage) -> Call {
    let invite = outgoing(stage, "INVITE", BOB).build();
    let tx = stage.arrive(invite.clone());
    let hop = stage.hop();
    let answered = stage.hear(&hop, &Answer::of(200));
    Call::new(&invite, &hop.request, &answered, &stage.last_word(tx))
}

#[test]
fn the_caller_is_told_when_its_ack_has_passed() {
    let mut stage = Stage::registered();
    let mut call = unacknowledged(&mut stage);
    deregisters(&mut stage);
    let to_callee = bye_to(&mut stage, Side::Callee);
    stage.answers_bye(&to_callee, 200);
    assert_eq!(stage.sessions()[0].state, "releasing");
    stage.ack(call.ack());
    assert_eq!(stage.passed().len(), 1, "whoever answered gets its ACK");
    let to_caller = bye_to(&mut stage, Side::Caller);
    stage.ack(call.ack());
    assert!(stage.byes().is_empty());
    stage.answers_bye(&to_caller, 200);
    assert!(stage.sessions().is_empty());
}

#[test]
fn the_caller_is_told_when_its_ack_never_comes() {
    let mut stage = Stage::registered();
    unacknowledged(&mut stage);
    stage.pass(10);
    deregisters(&mut stage);
    let to_callee = bye_to(&mut stage, Side::Callee);
    stage.answers_bye(&to_callee, 200);
    stage.pass(21);
    assert!(stage.byes().is_empty());
    stage.pass(1);
    let to_caller = bye_to(&mut stage, Side::Caller);
    stage.answers_bye(&to_caller, 481);
    assert!(stage.sessions().is_empty());
}

#[test]
fn long_after_the_answer_nobody_waits_for_an_ack() {
    let mut stage = Stage::registered();
    unacknowledged(&mut stage);
    stage.pass(33);
    deregisters(&mut stage);
    both(&mut stage);
}

#[test]
fn a_bye_that_crosses_ours() {
    for side in [Side::Caller, Side::Callee] {
        let mut stage = Stage::registered();
        let mut call = stage.calls();
        deregisters(&mut stage);
        let (to_callee, to_caller) = both(&mut stage);
        let own = match side {
            Side::Caller => call.by_caller(Method::Bye),
            Side::Callee => call.by_callee(Method::Bye),
        };
        // The caller's has the number that ours to the callee has.
        assert!(side == Side::Callee || own.cseq() == to_callee.request.cseq());
        let tx = stage.arrive(own);
        assert_eq!(stage.codes(tx), [200]);
        assert!(stage.hops().is_empty(), "the other side has heard already");
        let (crossed, other) = match side {
            Side::Caller => (to_caller, to_callee),
            Side::Callee => (to_callee, to_caller),
        };
        // Its answer to ours says that it knows of no dialog any more.
        stage.answers_bye(&crossed, 481);
        assert_eq!(stage.sessions().len(), 1);
        stage.answers_bye(&other, 200);
        assert!(stage.sessions().is_empty());
        let told = &stage.releases()[0].told;
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!((told[0].side, told[0].status), (side, Some(200)));
    }
}

#[test]
fn a_bye_that_crosses_ours_at_the_first_of_the_servers() {
    let mut stage = served();
    let mut call = stage.calls_by_servers();
    deregisters(&mut stage);
    let (far, _) = both(&mut stage);
    let own = call.by_caller(Method::Bye);
    assert_eq!(own.cseq(), far.request.cseq());
    let tx = stage.arrive(own);
    assert_eq!(stage.codes(tx), [200]);
    // The one of the callee enters behind the last server.
    let tx = stage.arrive(call.by_callee(Method::Bye));
    assert_eq!(stage.codes(tx), [200]);
    assert!(stage.hops().is_empty() && stage.sessions().is_empty());
}

#[test]
fn a_bye_of_the_servers_own_is_not_taken_for_ours() {
    // A back-to-back user agent ends its other leg when it hears our BYE on the one.
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1)]));
    let (mut first, mut second) = stage.calls_by_back_to_back_agent();
    stage.ack(first.ack());
    stage.ack(second.ack());
    deregisters(&mut stage);
    let byes = stage.byes();
    let told: Vec<_> = byes.iter().map(|bye| (bye.request.call_id(), bye.request.uri_text())).collect();
    assert_eq!(
        told,
        [("leg2", "sip:bob@198.51.100.1"), ("leg2", AS1), ("mo1", AS1), ("mo1", "sip:alice@192.0.2.1:5060")]
    );
    let tx = stage.arrive(second.by_caller(Method::Bye));
    assert_eq!(stage.codes(tx), [200]);
    assert!(stage.hops().is_empty(), "Bob has ours");
    for bye in &byes {
        stage.answers_bye(bye, 200);
    }
    assert!(stage.sessions().is_empty());
    assert_eq!(stage.releases().len(), 2);
}

#[test]
fn one_that_hung_up_before_is_not_told() {
    for (answer, left) in [(Some(200), 0), (None, 0), (Some(407), 1)] {
        let mut stage = Stage::registered();
        let mut call = stage.calls();
        let tx = stage.arrive(call.by_caller(Method::Bye));
        let hop = stage.hop();
        deregisters(&mut stage);
        assert!(stage.byes().is_empty(), "its own BYE is on its way");
        match answer {
            Some(status) => {
                stage.hear(&hop, &Answer::of(status));
            }
            None => stage.times_out(&hop),
        }
        assert_eq!(stage.codes(tx).len(), 1);
        assert_eq!(stage.sessions().len(), left);
        if left > 0 {
            // That BYE ended nothing: ours does.
            both(&mut stage);
        } else {
            assert_eq!(stage.last, Some(Save::Erase));
        }
    }
}

#[test]
fn a_takeover_in_the_middle_tells_again_what_was_not_answered() {
    let mut stage = served();
    stage.calls_by_servers();
    deregisters(&mut stage);
    let (far, near) = both(&mut stage);
    stage.answers_bye(&near, 200);
    stage.said.clear();
    stage.reload();
    let again = bye_to(&mut stage, Side::Callee);
    assert!(cseq(&again) > cseq(&far));
    assert_eq!(values(&again.request, Name::Route), values(&far.request, Name::Route), "nothing failed yet");
    // What the former owner sent may be answered still.
    stage.answers_bye(&far, 200);
    assert_eq!(stage.sessions().len(), 1);
    stage.answers_bye(&again, 481);
    assert!(stage.sessions().is_empty());
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn a_takeover_between_two_tries() {
    let mut stage = served();
    stage.calls_by_servers();
    deregisters(&mut stage);
    let (far, near) = both(&mut stage);
    stage.answers_bye(&near, 200);
    stage.bye_times_out(&far);
    stage.reload();
    let again = bye_to(&mut stage, Side::Callee);
    assert_eq!(values(&again.request, Name::Route), [B_PROXY], "the servers had failed");
    stage.answers_bye(&again, 200);
    assert!(stage.sessions().is_empty());
}

#[test]
fn a_takeover_forgets_which_ack_was_awaited() {
    let mut stage = Stage::registered();
    unacknowledged(&mut stage);
    deregisters(&mut stage);
    let first = bye_to(&mut stage, Side::Callee);
    stage.reload();
    let (to_callee, to_caller) = both(&mut stage);
    assert!(cseq(&to_callee) > cseq(&first));
    stage.answers_bye(&to_callee, 200);
    stage.answers_bye(&to_caller, 200);
    assert!(stage.sessions().is_empty());
}

#[test]
fn sessions_survive_a_takeover_and_can_be_released() {
    let mut stage = Stage::registered();
    let mut call = stage.calls();
    stage.arrive(call.by_caller(Method::Info));
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(200));
    stage.reload();
    assert!(stage.byes().is_empty());
    // The former owner may have seen more requests than it wrote down.
    deregisters(&mut stage);
    let (to_callee, to_caller) = both(&mut stage);
    assert!(cseq(&to_callee) > 8 + 100);
    stage.answers_bye(&to_callee, 200);
    stage.answers_bye(&to_caller, 200);
    assert_eq!(stage.releases()[0].cause, ReleaseCause::Deregistered);
}

#[test]
fn a_user_registers_anew_while_a_session_is_released() {
    let mut stage = Stage::registered();
    stage.calls();
    deregisters(&mut stage);
    let (to_callee, to_caller) = both(&mut stage);
    assert_eq!(stage.register_fully(&Ue::new().call("anew")).status().code(), 200);
    let draft = outgoing(&stage, "INVITE", BOB).call("mo2");
    stage.calls_as(&draft);
    stage.answers_bye(&to_callee, 200);
    stage.answers_bye(&to_caller, 200);
    let sessions = stage.sessions();
    assert_eq!((sessions.len(), sessions[0].state), (1, "confirmed"));
}

#[test]
fn receipts_are_kept_in_bounds() {
    let mut stage = Stage::registered();
    for n in 0..20 {
        let draft = outgoing(&stage, "INVITE", BOB).call(&format!("c{n}"));
        stage.calls_as(&draft);
    }
    deregisters(&mut stage);
    let byes = stage.byes();
    assert_eq!(byes.len(), 40);
    for bye in &byes {
        stage.answers_bye(bye, 200);
    }
    assert_eq!(stage.releases().len(), 16);
    assert!(stage.releases().iter().all(|release| release.told.len() == 2));
    assert!(stage.sessions().is_empty());
}

#[test]
fn who_wakes_when_the_deadline_has_passed_says_bye_once() {
    let mut stage = Stage::registered();
    let call = stage.calls();
    stage.now = stage.now + scscf::Span::seconds(600_000);
    stage.reload();
    let (to_callee, _) = both(&mut stage);
    let last = call.invite.cseq().number;
    assert!(cseq(&to_callee) > last + 1, "requests after the last save may have passed, too");
}
