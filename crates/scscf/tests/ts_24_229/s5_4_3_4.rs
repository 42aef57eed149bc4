//! TS 24.229 §5.4.3.4 — service control: which application servers a request visits, and what becomes of one that fails.

use crate::calls::*;
use crate::stage::{ALICE, Stage};
use scscf::cx::{Demand, PushProfile, ResultCode};
use scscf::profile::{Condition, DefaultHandling, InitialFilterCriteria};
use scscf::token::TokenKind;
use sip::{Method, Name};
use std::collections::BTreeSet;

fn push(stage: &mut Stage, criteria: Vec<InitialFilterCriteria>) {
    let profile = alice_with(criteria);
    let answer = stage.demand(Demand::PushProfile(PushProfile {
        impi: stage.user.impi().clone(),
        user_data: Some(Ok(profile)),
        charging: None,
        auth_data: None,
    }));
    assert_eq!(answer.result, ResultCode::SUCCESS);
}

#[test]
fn cd_28_what_a_server_gets() {
    let mut stage = Stage::serving(alice_with(vec![continued(5, "sip:as1.example:5070;transport=tcp")]));
    stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    let routes = hop.request.addresses(Name::Route).unwrap();
    assert_eq!(routes.len(), 2);
    assert_eq!(routes[0].uri.as_str(), "sip:as1.example:5070;transport=tcp;lr");
    let own = &routes[1].uri;
    assert_eq!((own.host(), own.port()), (stage.policy.name.host(), Some(5060)));
    assert!(own.has_param("lr") && own.has_param("orig"));
    let (kind, impi, ..) = stage.policy.tokens.open(own.user().unwrap()).unwrap();
    assert_eq!((kind, &impi), (TokenKind::OriginalDialog, stage.user.impi()));
    assert_eq!(hop.uri(), BOB);
    assert_eq!(hop.get(Name::PServedUser).unwrap(), format!("<{ALICE}>;sescase=orig;regstate=reg"));
    let recorded = hop.request.addresses(Name::RecordRoute).unwrap();
    assert_eq!(recorded.len(), 2, "ours above that of the P-CSCF");
    assert!(recorded[0].uri.user().is_some_and(|user| user.starts_with('r')));
    assert_eq!(hop.get(Name::MaxForwards).unwrap(), "67");
}

#[test]
fn cd_29_each_server_in_its_turn() {
    let criteria = vec![continued(30, AS3), continued(10, AS1), continued(20, AS2)];
    for terminating in [false, true] {
        let mut stage = Stage::serving(alice_with(criteria.clone()));
        let (invite, answer, side) = match terminating {
            true => (incoming("INVITE", ALICE).build(), Answer::of_alice(200), "proxy.b.example"),
            false => (outgoing(&stage, "INVITE", BOB).build(), Answer::of(200), "pcscf.example"),
        };
        let chain = stage.by_all_servers(invite);
        assert_eq!(chain.servers()[..3], ["as1.example", "as2.example", "as3.example"]);
        assert_eq!(chain.hops.len(), 4);
        // One Record-Route of ours a passage, each server's between.
        let recorded = chain.last().request.addresses(Name::RecordRoute).unwrap();
        let hosts: Vec<_> = recorded.iter().map(|route| route.uri.host()).collect();
        let us = stage.policy.name.host();
        assert_eq!(hosts, [us, "as3.example", us, "as2.example", us, "as1.example", us, side]);
        // An identifier serves one passage.
        let identifiers: BTreeSet<_> = chain.hops[..3].iter().map(|hop| hop.routes()[1].clone()).collect();
        assert_eq!(identifiers.len(), 3);
        // The answer comes back by all of them, and is heard once by each.
        stage.hear_along(&chain, &answer);
        for tx in chain.txs {
            assert_eq!(stage.codes(tx), [200]);
        }
        assert_eq!(stage.sessions().len(), 1, "one session, whatever its passages");
    }
}

#[test]
fn cd_22_a_criterion_for_the_unregistered_is_none_of_a_registered_users() {
    let mut unregistered = continued(1, AS1);
    unregistered.profile_part = Some(1);
    let mut registered = continued(2, AS2);
    registered.profile_part = Some(0);
    let mut stage = Stage::serving(alice_with(vec![unregistered, registered]));
    for draft in [outgoing(&stage, "INVITE", BOB), incoming("INVITE", ALICE)] {
        stage.arrive(draft.build());
        assert_eq!(stage.hop().next_host(), "as2.example");
    }
}

#[test]
fn a_server_without_a_usable_name_is_passed_over() {
    let mut stage = Stage::serving(alice_with(vec![
        continued(1, "tel:+1"),
        continued(2, "not a name"),
        continued(3, AS3),
    ]));
    stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    assert_eq!(stage.hop().next_host(), "as3.example");
}

/// How a server fails.
#[derive(Clone, Copy, Debug)]
enum Fails {
    /// Not a word, or 100 alone, of which we do not hear.
    Silent,
    Says(u16),
    RingsThenSays(u16),
    TimesOut,
    Unsendable,
    ReturnsThenSays(u16),
}

/// What becomes of an INVITE whose first server fails: the next server's name, or what the caller hears.
fn after(handling: DefaultHandling, fails: Fails) -> Result<String, Vec<u16>> {
    let first = criterion(1, AS1, handling, Condition::Method("INVITE".into()));
    let mut stage = Stage::serving(alice_with(vec![first, continued(2, AS2)]));
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    match fails {
        Fails::Silent => {
            let patience = if handling == DefaultHandling::SessionContinued { 2 } else { 4 };
            stage.pass(patience - 1);
            assert!(stage.codes(tx).is_empty() && stage.hops().is_empty(), "not yet");
            stage.pass(1);
            assert_eq!(stage.cancels(), [(hop.relay, hop.branch, None)]);
        }
        Fails::Says(status) => {
            stage.hear(&hop, &Answer::of_server(status, AS1));
        }
        Fails::RingsThenSays(status) => {
            stage.hear(&hop, &Answer::of_server(183, AS1));
            stage.pass(10);
            stage.hear(&hop, &Answer::of_server(status, AS1));
        }
        Fails::TimesOut => stage.times_out(&hop),
        Fails::Unsendable => stage.unsendable(&hop),
        Fails::ReturnsThenSays(status) => {
            stage.arrive(hop.through(AS1));
            assert_eq!(stage.hop().next_host(), "as2.example");
            stage.pass(1);
            stage.hear(&hop, &Answer::of_server(status, AS1));
        }
    }
    let mut hops = stage.hops();
    match hops.pop() {
        Some(next) => {
            assert!(stage.codes(tx).is_empty());
            assert_eq!(next.get(Name::PServedUser), hop.get(Name::PServedUser), "as it was before");
            assert_eq!(values(&next.request, Name::RecordRoute).len(), 2, "not by the server that failed");
            Ok(next.next_host())
        }
        None => Err(stage.codes(tx)),
    }
}

#[test]
fn cd_30_cd_31_cd_33_where_the_session_goes_on() {
    let next = || Ok("as2.example".to_owned());
    for (fails, outcome) in [
        (Fails::Silent, next()),
        (Fails::Says(408), next()),
        (Fails::Says(503), next()),
        (Fails::Says(500), next()),
        (Fails::TimesOut, next()),
        (Fails::Unsendable, next()),
        (Fails::RingsThenSays(503), Err(vec![183, 503])),
        (Fails::RingsThenSays(408), Err(vec![183, 408])),
        (Fails::ReturnsThenSays(503), Err(vec![503])),
        // It decided: that is no failure.
        (Fails::Says(404), Err(vec![404])),
        (Fails::Says(302), Err(vec![302])),
        (Fails::Says(603), Err(vec![603])),
        (Fails::Says(487), Err(vec![487])),
    ] {
        assert_eq!(after(DefaultHandling::SessionContinued, fails), outcome, "{fails:?}");
    }
}

#[test]
fn cd_32_where_the_session_ends() {
    for (fails, codes) in [
        (Fails::Silent, vec![408]),
        (Fails::Says(408), vec![408]),
        (Fails::Says(503), vec![503]),
        (Fails::Says(500), vec![500]),
        (Fails::TimesOut, vec![408]),
        (Fails::Unsendable, vec![500]),
        (Fails::RingsThenSays(503), vec![183, 503]),
        (Fails::ReturnsThenSays(503), vec![503]),
        (Fails::Says(404), vec![404]),
    ] {
        assert_eq!(after(DefaultHandling::SessionTerminated, fails), Err(codes), "{fails:?}");
    }
}

#[test]
fn what_is_no_invite_is_never_answered_408() {
    for (handling, code) in
        [(DefaultHandling::SessionTerminated, Some(504)), (DefaultHandling::SessionContinued, None)]
    {
        let first = criterion(1, AS1, handling, Condition::Method("MESSAGE".into()));
        let mut stage = Stage::serving(alice_with(vec![first]));
        let tx = stage.arrive(outgoing(&stage, "MESSAGE", BOB).build());
        let hop = stage.hop();
        stage.pass(5);
        assert!(stage.cancels().is_empty(), "a MESSAGE is not cancelled");
        assert_eq!(stage.codes(tx), code.into_iter().collect::<Vec<_>>());
        if code.is_none() {
            let onward = stage.hop();
            // The server wakes up too late.
            stage.hear(&hop, &Answer::of_server(200, AS1));
            stage.times_out(&onward);
            assert_eq!(stage.codes(tx), [504]);
        }
    }
}

#[test]
fn a_silent_server_that_answers_after_all_is_released() {
    for handling in [DefaultHandling::SessionContinued, DefaultHandling::SessionTerminated] {
        let first = criterion(1, AS1, handling, Condition::Method("INVITE".into()));
        let mut stage = Stage::serving(alice_with(vec![first]));
        let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
        let hop = stage.hop();
        stage.pass(4);
        stage.hear(&hop, &Answer::of_server(183, AS1));
        stage.hear(&hop, &Answer::of_server(200, AS1));
        let acks = stage.passed();
        assert_eq!(acks.len(), 1);
        let ack = &acks[0];
        assert_eq!((ack.uri_text(), ack.cseq().number, ack.to_tag()), (AS1, 7, Some("server")));
        let byes = stage.byes();
        assert_eq!(byes.len(), 1, "the caller knows nothing of it");
        let bye = &byes[0].request;
        assert_eq!((bye.uri_text(), bye.cseq().number, bye.to_tag()), (AS1, 8, Some("server")));
        // The answer is heard again: the ACK was lost.
        stage.hear(&hop, &Answer::of_server(200, AS1));
        assert_eq!((stage.passed().len(), stage.byes().len()), (1, 0));
        stage.answers_bye(&byes[0], 200);
        if handling == DefaultHandling::SessionTerminated {
            assert_eq!(stage.codes(tx), [408]);
            assert!(stage.sessions().is_empty());
        } else {
            let onward = stage.hop();
            assert_eq!(stage.codes(tx), Vec::<u16>::new(), "the call itself goes on");
            stage.hear(&onward, &Answer::of(200));
            assert_eq!(stage.codes(tx), [200]);
            assert_eq!(stage.sessions().len(), 1);
        }
        assert_eq!(stage.releases().len(), 1);
    }
}

#[test]
fn a_chain_goes_on_after_the_user_was_loaded_anew() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1), continued(2, AS2)]));
    stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let first = stage.hop();
    stage.reload();
    let tx = stage.arrive(first.through(AS1));
    let second = stage.hop();
    assert_eq!(second.next_host(), "as2.example");
    assert_eq!(second.get(Name::PServedUser), first.get(Name::PServedUser));
    let back = stage.arrive(second.through(AS2));
    let onward = stage.hop();
    assert_eq!((onward.uri(), onward.routes()), (BOB, vec![]));
    let answered = stage.hear(&onward, &Answer::of(200));
    stage.hear_through(&second, &stage.last_word(back));
    assert_eq!(stage.codes(tx), [200]);
    let sessions = stage.sessions();
    assert_eq!((sessions.len(), sessions[0].role), (1, "originating"));
    // The session knows the contact it is over.
    let record = stage.record();
    assert_eq!(record["sessions"][0]["binding"], stage.bindings()[0]["id"]);
    let _ = answered;
}

#[test]
fn cb_97_a_chain_keeps_the_criteria_it_began_with() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1), continued(2, AS2)]));
    stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let first = stage.hop();
    push(&mut stage, vec![continued(5, AS3)]);
    stage.arrive(first.through(AS1));
    let second = stage.hop();
    assert_eq!(second.next_host(), "as2.example");
    stage.arrive(second.through(AS2));
    assert_eq!(stage.hop().routes(), Vec::<String>::new());
    stage.arrive(outgoing(&stage, "INVITE", BOB).call("next").build());
    assert_eq!(stage.hop().next_host(), "as3.example");
}

#[test]
fn a_server_that_answers_itself_ends_the_chain() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1), continued(2, AS2)]));
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of_server(200, AS1));
    assert_eq!(stage.codes(tx), [200]);
    assert!(stage.hops().is_empty());
    assert_eq!(stage.sessions().len(), 1);
}

#[test]
fn a_server_of_the_last_priority_and_of_the_first() {
    let mut stage = Stage::serving(alice_with(vec![continued(u32::MAX, AS2), continued(0, AS1)]));
    let chain = stage.by_all_servers(outgoing(&stage, "INVITE", BOB).build());
    assert_eq!(chain.servers(), ["as1.example", "as2.example", ""]);
}

#[test]
fn a_chain_with_a_server_that_calls_anew() {
    let criteria = vec![continued(1, AS1), continued(2, AS2), continued(3, AS3)];
    let mut stage = Stage::serving(alice_with(criteria));
    let invite = outgoing(&stage, "INVITE", BOB).build();
    let tx = stage.arrive(invite.clone());
    let first = stage.hop();
    let returned = stage.arrive(first.through(AS1));
    let second = stage.hop();
    // The second is a back-to-back user agent.
    let other_leg = second.anew(AS2, "leg2");
    let anew = stage.arrive(other_leg.clone());
    let third = stage.hop();
    assert_eq!(third.next_host(), "as3.example");
    let last = stage.arrive(third.through(AS3));
    let onward = stage.hop();
    assert_eq!(onward.request.call_id(), "leg2");
    assert_eq!(stage.sessions().len(), 1, "one call that is being set up");
    // Bob answers the one leg, then the server the other.
    let answered = stage.hear(&onward, &Answer::of(200));
    stage.hear_through(&third, &stage.last_word(last));
    let mut leg = Call::new(&other_leg, &onward.request, &answered, &stage.last_word(anew));
    let answered = stage.hear(&second, &Answer::of_server(200, AS2));
    stage.hear_through(&first, &stage.last_word(returned));
    let mut call = Call::new(&invite, &second.request, &answered, &stage.last_word(tx));
    let record = stage.record();
    let sessions = record["sessions"].as_array().unwrap();
    let calls: BTreeSet<_> = sessions.iter().map(|session| session["call_id"].as_str().unwrap()).collect();
    assert_eq!((sessions.len(), calls), (2, BTreeSet::from(["leg2", "mo1"])));
    assert!(sessions.iter().all(|session| session["binding"] == stage.bindings()[0]["id"]));
    // What follows passes each server once each way.
    for (request, servers, end) in [
        (call.by_caller(Method::Info), vec!["as1.example", ""], AS2),
        (call.by_callee(Method::Info), vec!["as1.example", "pcscf.example"], "sip:alice@192.0.2.1:5060"),
        (leg.by_caller(Method::Info), vec!["as3.example", "proxy.b.example"], "sip:bob@198.51.100.1"),
        (leg.by_callee(Method::Info), vec!["as3.example", ""], AS2),
    ] {
        let chain = stage.by_all_servers(request);
        assert_eq!(
            (chain.servers(), chain.last().uri()),
            (servers.into_iter().map(str::to_owned).collect(), end)
        );
        stage.hear_along(&chain, &Answer::of(200));
        assert!(chain.txs.iter().all(|tx| stage.codes(*tx) == [200]));
    }
}

#[test]
fn a_silent_server_that_returns_the_request_after_all() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1)]));
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let at_server = stage.hop();
    stage.pass(2);
    let without = stage.hop();
    // Bob is rung once.
    let late = stage.arrive(at_server.through(AS1));
    assert_eq!(stage.codes(late), [487]);
    assert!(stage.hops().is_empty());
    stage.hear_through(&at_server, &stage.last_word(late));
    stage.hear(&without, &Answer::of(200).tag("first"));
    assert_eq!(stage.codes(tx), [200]);
    assert!(stage.passed().is_empty() && stage.byes().is_empty());
    assert_eq!(stage.sessions().len(), 1);
}

#[test]
fn a_reply_for_a_branch_that_never_was_is_left() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    let stray = Hop { branch: sip::proxy::BranchId(7), ..hop.clone() };
    stage.hear(&stray, &Answer::of(200));
    assert!(stage.codes(tx).is_empty());
    let stray = Hop { relay: scscf::RelayId(7), ..hop.clone() };
    stage.hear(&stray, &Answer::of(404));
    stage.times_out(&stray);
    assert!(stage.codes(tx).is_empty());
    stage.hear(&hop, &Answer::of(404));
    assert_eq!(stage.codes(tx), [404]);
    assert_eq!(hop.request.method(), &Method::Invite);
}
