//! TS 24.229 §5.4.4.1, §5.4.5.3, RFC 4028 §8 — session timers as a proxy asks for them.

use crate::calls::*;
use crate::stage::{ALICE, Stage};
use sip::{Method, Name};

fn expires_in(stage: &Stage) -> Option<u64> {
    let ends = stage.sessions()[0].expires_at?;
    Some((ends - stage.now).as_seconds())
}

#[test]
fn cd_44_an_interval_that_is_too_short_422() {
    let mut stage = Stage::registered();
    for draft in [outgoing(&stage, "INVITE", BOB), incoming("INVITE", ALICE)] {
        let draft = draft.line("Supported: timer").line("Session-Expires: 60");
        let tx = stage.arrive(draft.build());
        let refusal = stage.last_word(tx);
        assert_eq!((refusal.status().code(), refusal.get(Name::MinSe).unwrap().as_ref()), (422, "90"));
        assert!(stage.hops().is_empty() && stage.sessions().is_empty());
    }
    // In the dialog as well, and the session stays.
    let mut call = stage.calls();
    let update = call.by_caller(Method::Update);
    let mut edit = update.edit();
    edit.append(Name::Supported, "timer");
    edit.append(Name::SessionExpires, "60");
    let tx = stage.arrive(edit.finish());
    assert_eq!(stage.codes(tx), [422]);
    assert_eq!(stage.sessions().len(), 1);
}

#[test]
fn one_that_knows_no_timers_is_raised() {
    let mut stage = Stage::registered();
    stage.arrive(outgoing(&stage, "INVITE", BOB).line("Session-Expires: 60").build());
    let hop = stage.hop();
    assert_eq!(hop.get(Name::SessionExpires).unwrap(), "90");
    assert_eq!(hop.get(Name::MinSe).unwrap(), "90");
}

#[test]
fn an_interval_is_asked_for_where_there_is_none() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).line("Supported: timer").build());
    let hop = stage.hop();
    assert_eq!(hop.get(Name::SessionExpires).unwrap(), "1800");
    // The callee does not know timers: the caller is told to refresh.
    stage.hear(&hop, &Answer::of(200));
    let ok = stage.last_word(tx);
    assert_eq!(ok.get(Name::SessionExpires).unwrap(), "1800;refresher=uac");
    assert_eq!(ok.get(Name::Require).unwrap(), "timer");
    assert_eq!(expires_in(&stage), Some(1800));
    // Neither knows them.
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(200));
    assert_eq!(stage.last_word(tx).get(Name::SessionExpires), None);
    assert_eq!(expires_in(&stage), None);
    // The callee alone does.
    let mut stage = Stage::registered();
    stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(200).line(Name::SessionExpires, "600;refresher=uas"));
    assert_eq!(expires_in(&stage), Some(600));
}

#[test]
fn nothing_is_asked_for_where_the_policy_wants_nothing() {
    let mut stage = Stage::registered();
    stage.policy.session.session_expires = 0;
    stage.arrive(outgoing(&stage, "INVITE", BOB).line("Supported: timer").build());
    let hop = stage.hop();
    assert_eq!(hop.get(Name::SessionExpires), None);
    stage.hear(&hop, &Answer::of(200));
    assert_eq!(expires_in(&stage), None);
}

fn timed(stage: &mut Stage) -> Call {
    let draft = outgoing(stage, "INVITE", BOB).line("Supported: timer").line("Session-Expires: 600");
    stage.calls_as(&draft)
}

#[test]
fn cd_45_a_session_that_is_not_refreshed_is_forgotten() {
    let mut stage = Stage::registered();
    let mut call = timed(&mut stage);
    stage.pass(599);
    assert_eq!(stage.sessions().len(), 1);
    stage.pass(1);
    assert!(stage.sessions().is_empty());
    assert!(stage.byes().is_empty(), "its sides know by themselves");
    let tx = stage.arrive(call.by_caller(Method::Invite));
    assert_eq!(stage.codes(tx), [481]);
}

#[test]
fn a_refresh_of_either_kind_and_side_gives_it_time() {
    for (n, method) in [Method::Invite, Method::Update].into_iter().enumerate() {
        for by_caller in [true, false] {
            let mut stage = Stage::registered();
            let mut call = timed(&mut stage);
            stage.pass(500);
            let request = match by_caller {
                true => call.by_caller(method.clone()),
                false => call.by_callee(method.clone()),
            };
            let mut edit = request.edit();
            edit.append(Name::Supported, "timer");
            edit.append(Name::SessionExpires, "1000;refresher=uac");
            stage.arrive(edit.finish());
            let hop = stage.hop();
            let interval = 200 + n * 100;
            let answer = Answer::of(200).line(Name::SessionExpires, &format!("{interval};refresher=uac"));
            stage.hear(&hop, &answer);
            assert_eq!(expires_in(&stage), Some(interval as u64));
            stage.pass(150);
            assert_eq!(stage.sessions().len(), 1);
            stage.pass(interval as u64);
            assert!(stage.sessions().is_empty());
        }
    }
    // One that fails gives none.
    let mut stage = Stage::registered();
    let mut call = timed(&mut stage);
    stage.arrive(call.by_caller(Method::Invite));
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(488));
    stage.pass(600);
    assert!(stage.sessions().is_empty());
}

#[test]
fn every_passage_of_a_chain_runs_the_same_timer() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1)]));
    let invite = outgoing(&stage, "INVITE", BOB).line("Supported: timer").build();
    let chain = stage.by_all_servers(invite);
    assert_eq!(chain.hops[0].get(Name::SessionExpires).unwrap(), "1800");
    assert_eq!(chain.hops[1].get(Name::SessionExpires).unwrap(), "1800");
    stage.hear_along(&chain, &Answer::of(200));
    let ok = stage.last_word(chain.txs[0]);
    assert_eq!(values(&ok, Name::SessionExpires), ["1800;refresher=uac"]);
    assert_eq!(values(&ok, Name::Require), ["timer"]);
    assert_eq!(expires_in(&stage), Some(1800));
}

#[test]
fn the_timer_outlives_the_actor() {
    let mut stage = Stage::registered();
    timed(&mut stage);
    stage.pass(100);
    stage.reload();
    assert_eq!(expires_in(&stage), Some(500));
    stage.pass(500);
    assert!(stage.sessions().is_empty());
}

#[test]
fn what_cannot_be_read_400() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).line("Session-Expires: soon").build());
    assert_eq!(stage.codes(tx), [400]);
}
