//! TS 24.229 §5.4.6, RFC 3261 §15 — whoever hangs up behind application servers that say nothing.

use crate::calls::*;
use crate::stage::{Stage, Ue};
use scscf::{Save, Side};
use sip::{Method, Name};

fn deregisters(stage: &mut Stage) {
    let ok = stage.register(&Ue::new().next().next().expires(0).protected());
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
}

/// Alice, served by two servers that stay in the way, talks to Bob.
fn talks(called: bool) -> (Stage, Call) {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1), continued(2, AS2)]));
    let call = if called { stage.is_called_by_servers() } else { stage.calls_by_servers() };
    stage.said.clear();
    (stage, call)
}

fn only_bye(stage: &mut Stage) -> Bye {
    let mut byes = stage.byes();
    assert_eq!(byes.len(), 1, "{}: {byes:?}", stage.summary);
    byes.remove(0)
}

#[test]
fn who_hangs_up_behind_a_silent_server_is_heard_as_soon_as_one_who_is_released() {
    for called in [false, true] {
        for by_caller in [false, true] {
            let (mut stage, mut call) = talks(called);
            let bye = if by_caller { call.by_caller(Method::Bye) } else { call.by_callee(Method::Bye) };
            let tx = stage.arrive(bye.clone());
            let silent = stage.hop();
            assert!(silent.next_host().starts_with("as"));
            stage.pass(3);
            assert!(stage.byes().is_empty(), "a server has as_terminated_timeout_ms");
            stage.pass(1);
            let ours = only_bye(&mut stage);
            assert_eq!(ours.side, if by_caller { Side::Callee } else { Side::Caller });
            let beyond = match (by_caller, called) {
                (true, false) | (false, true) => B_PROXY,
                (true, true) => TERM_P_CSCF,
                (false, false) => P_CSCF,
            };
            assert_eq!(values(&ours.request, Name::Route), [beyond]);
            assert_eq!(ours.request.cseq().number, bye.cseq().number + 1);
            assert!(stage.codes(tx).is_empty(), "nobody has heard of it yet");
            stage.answers_bye(&ours, 200);
            assert!(stage.sessions().is_empty());
            assert_eq!(stage.codes(tx), [200]);
            // The server finds its tongue again.
            stage.hear(&silent, &Answer::of(200));
            let late = stage.arrive(silent.through(AS1));
            assert_eq!(stage.codes(late), [481]);
            stage.pass(40);
            assert!(stage.byes().is_empty() && stage.hops().is_empty());
            assert_eq!(stage.codes(tx), [200]);
        }
    }
}

#[test]
fn an_answer_that_comes_after_all_is_passed_back_once() {
    for (status, told) in [(200, 200), (481, 481), (503, 500)] {
        let (mut stage, mut call) = talks(false);
        let tx = stage.arrive(call.by_caller(Method::Bye));
        let slow = stage.hop();
        stage.pass(4);
        let ours = only_bye(&mut stage);
        stage.hear(&slow, &Answer::of(status));
        assert_eq!(stage.codes(tx), [told]);
        assert_eq!(stage.sessions().len(), 1, "ours is not answered");
        stage.answers_bye(&ours, 200);
        assert!(stage.sessions().is_empty());
        stage.pass(40);
        assert_eq!(stage.codes(tx), [told]);
        assert!(stage.byes().is_empty(), "nobody is told twice");
    }
}

#[test]
fn every_server_on_the_way_is_answered_when_one_is_silent() {
    let (mut stage, mut call) = talks(false);
    let first = stage.arrive(call.by_caller(Method::Bye));
    let hop = stage.hop();
    stage.pass(1);
    let second = stage.arrive(hop.through(AS1));
    let silent = stage.hop();
    assert_eq!(format!("sip:{}", silent.next_host()), AS2);
    stage.pass(3);
    let ours = only_bye(&mut stage);
    stage.answers_bye(&ours, 200);
    assert!(stage.sessions().is_empty());
    assert_eq!((stage.codes(first), stage.codes(second).len()), (vec![200], 0), "each has its time");
    stage.pass(1);
    assert_eq!(stage.codes(second), [200]);
    // The first server passes on what it heard.
    let heard = stage.last_word(second);
    stage.hear_through(&hop, &heard);
    assert_eq!(stage.codes(first), [200]);
    deregisters(&mut stage);
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn where_servers_are_not_left_out_a_bye_waits_for_its_answer() {
    let (mut stage, mut call) = talks(false);
    stage.policy.session.release_attempts = 1;
    let tx = stage.arrive(call.by_caller(Method::Bye));
    let silent = stage.hop();
    stage.pass(10);
    assert!(stage.byes().is_empty() && stage.codes(tx).is_empty());
    stage.times_out(&silent);
    assert_eq!(stage.codes(tx), [504]);
    assert!(stage.sessions().is_empty());
}

#[test]
fn a_far_end_that_answers_nothing_keeps_nobody_longer_than_its_byes() {
    let (mut stage, mut call) = talks(false);
    let tx = stage.arrive(call.by_caller(Method::Bye));
    let silent = stage.hop();
    stage.pass(4);
    let ours = only_bye(&mut stage);
    stage.pass(28);
    stage.times_out(&silent);
    assert_eq!(stage.codes(tx), [504]);
    stage.pass(4);
    stage.bye_times_out(&ours);
    stage.pass(2);
    let last = only_bye(&mut stage);
    stage.bye_times_out(&last);
    assert!(stage.sessions().is_empty());
    deregisters(&mut stage);
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn our_own_bye_at_a_silent_server_keeps_nobody() {
    for over_before in [false, true] {
        let (mut stage, mut call) = talks(false);
        deregisters(&mut stage);
        let byes = stage.byes();
        let (far, near) = (byes[0].clone(), byes[1].clone());
        stage.answers_bye(&near, 200);
        let mut edit = far.request.edit();
        edit.remove_top_value(Name::Route);
        edit.push_top(Name::Via, "SIP/2.0/UDP as1.example;branch=z9hG4bKpassed");
        let tx = stage.arrive(edit.finish());
        let silent = stage.hop();
        assert_eq!(format!("sip:{}", silent.next_host()), AS2);
        if over_before {
            // Bob hangs up at the same time.
            let crossing = stage.arrive(call.by_callee(Method::Bye));
            assert_eq!(stage.codes(crossing), [200]);
            assert!(stage.sessions().is_empty() && stage.codes(tx).is_empty());
            assert_ne!(stage.last, Some(Save::Erase), "the answer may still come");
            stage.pass(4);
        } else {
            stage.pass(4);
            let again = only_bye(&mut stage);
            assert!(stage.codes(tx).is_empty());
            stage.answers_bye(&again, 200);
        }
        assert_eq!(stage.codes(tx), [200]);
        assert_eq!(stage.last, Some(Save::Erase), "{}", stage.summary);
        stage.hear(&silent, &Answer::of(200));
        assert_eq!(stage.codes(tx), [200]);
    }
}

#[test]
fn our_own_bye_that_comes_by_after_the_end_passes_and_keeps_nobody() {
    for answers in [true, false] {
        let (mut stage, mut call) = talks(false);
        deregisters(&mut stage);
        let byes = stage.byes();
        let (far, near) = (byes[0].clone(), byes[1].clone());
        stage.answers_bye(&near, 200);
        stage.arrive(call.by_callee(Method::Bye));
        assert_eq!(stage.last, Some(Save::Erase));
        let mut edit = far.request.edit();
        edit.remove_top_value(Name::Route);
        edit.push_top(Name::Via, "SIP/2.0/UDP as1.example;branch=z9hG4bKpassed");
        let tx = stage.arrive(edit.finish());
        let onward = stage.hop();
        if answers {
            stage.hear(&onward, &Answer::of(481));
            assert_eq!(stage.codes(tx), [481]);
        } else {
            stage.pass(4);
            assert_eq!(stage.codes(tx), [200]);
        }
        assert_eq!(stage.last, Some(Save::Erase));
    }
}
