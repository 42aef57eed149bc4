//! TS 24.229 §5.4.3, RFC 3261 §16.7, §16.8, §16.10 — requests on their way: what their senders hear, CANCEL, Timer C.

use crate::calls::*;
use crate::stage::{ALICE, Stage, Ue};
use scscf::profile::{Condition, DefaultHandling};
use scscf::{Save, cx};
use sip::{Method, Name};

#[test]
fn cg_10_a_503_speaks_of_another_server() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(503));
    assert_eq!(stage.codes(tx), [500]);
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).call("2").build());
    let hop = stage.hop();
    stage.unsendable(&hop);
    assert_eq!(stage.codes(tx), [500]);
}

#[test]
fn cg_11_timer_b_408() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    stage.times_out(&hop);
    assert_eq!(stage.codes(tx), [408]);
    let tx = stage.arrive(outgoing(&stage, "MESSAGE", BOB).call("2").build());
    let hop = stage.hop();
    stage.times_out(&hop);
    assert_eq!(stage.codes(tx), [504], "no 408 for what is no INVITE");
}

#[test]
fn cg_11_timer_c_ends_what_rings_for_ever() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    stage.pass(100);
    stage.hear(&hop, &Answer::of(180));
    stage.pass(184);
    assert!(stage.cancels().is_empty(), "every provisional response gives it time");
    stage.pass(1);
    assert_eq!(stage.cancels(), [(hop.relay, hop.branch, None)]);
    assert_eq!(stage.codes(tx), [180]);
    stage.hear(&hop, &Answer::of(487));
    assert_eq!(stage.codes(tx), [180, 408], "who did not cancel is not told that it did");
    assert!(stage.sessions().is_empty());
}

#[test]
fn cg_11_timer_c_where_nothing_was_heard() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    stage.pass(185);
    assert_eq!(stage.codes(tx), [408]);
    assert_eq!(stage.cancels().len(), 1, "should it ring after all");
    // It answers after all.
    stage.hear(&hop, &Answer::of(200));
    assert_eq!(stage.codes(tx), [408]);
    assert_eq!((stage.passed().len(), stage.byes().len()), (1, 1));
}

#[test]
fn calls_that_were_answered_are_remembered_within_bounds() {
    let mut stage = Stage::registered();
    stage.policy.session.max_relays = 2;
    let mut calls = Vec::new();
    for n in 0..4 {
        let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).call(&format!("c{n}")).build());
        let hop = stage.hop();
        stage.hear(&hop, &Answer::of(200));
        calls.push((tx, hop));
        stage.pass(1);
    }
    // Whoever else answers one of the last calls is heard of; who answers one of the first ones is hung up.
    for (_, hop) in &calls {
        stage.hear(hop, &Answer::of(200).tag("another"));
    }
    let heard: Vec<usize> = calls.iter().map(|(tx, _)| stage.codes(*tx).len()).collect();
    assert_eq!(heard, [1, 1, 2, 2]);
    let sessions = stage.sessions();
    let releasing = sessions.iter().filter(|session| session.state == "releasing").count();
    assert_eq!((sessions.len(), releasing), (8, 2));
}

#[test]
fn timer_c_that_crosses_an_answer() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(180));
    stage.pass(185);
    stage.hear(&hop, &Answer::of(200));
    assert_eq!(stage.codes(tx), [180, 200], "an answer is worth more than our patience");
    assert_eq!(stage.sessions().len(), 1);
    assert!(stage.byes().is_empty());
}

#[test]
fn a_cancel_goes_along_and_its_reason_with_it() {
    for rings in [false, true] {
        let mut stage = Stage::registered();
        let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
        let hop = stage.hop();
        if rings {
            stage.hear(&hop, &Answer::of(180));
        }
        stage.cancel(tx, Some("SIP;cause=200;text=\"elsewhere\""));
        let reason = Some("SIP;cause=200;text=\"elsewhere\"".to_owned());
        assert_eq!(stage.cancels(), [(hop.relay, hop.branch, reason)]);
        stage.cancel(tx, None);
        assert!(stage.cancels().is_empty(), "once");
        stage.hear(&hop, &Answer::of(487));
        assert_eq!(stage.codes(tx).last(), Some(&487));
        stage.cancel(tx, None);
        assert!(stage.sessions().is_empty() && stage.releases().is_empty());
    }
}

#[test]
fn a_cancel_to_which_nobody_answers() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    stage.cancel(tx, None);
    stage.pass(31);
    assert!(stage.codes(tx).is_empty());
    stage.times_out(&hop);
    assert_eq!(stage.codes(tx), [487]);
}

#[test]
fn a_cancel_that_crosses_an_answer() {
    let mut stage = Stage::registered();
    let invite = outgoing(&stage, "INVITE", BOB).build();
    let tx = stage.arrive(invite.clone());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(180));
    stage.cancel(tx, None);
    let answered = stage.hear(&hop, &Answer::of(200));
    assert_eq!(stage.codes(tx), [180, 200]);
    assert_eq!(stage.sessions()[0].state, "confirmed");
    // The caller ends it as it must.
    let mut call = Call::new(&invite, &hop.request, &answered, &stage.last_word(tx));
    let ack = call.ack();
    stage.ack(ack);
    assert_eq!(stage.passed().len(), 1);
    let bye = call.by_caller(Method::Bye);
    let bye = stage.arrive(bye);
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(200));
    assert_eq!(stage.codes(bye), [200]);
    assert!(stage.sessions().is_empty());
}

#[test]
fn a_cancel_with_another_refusal_on_its_way() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    stage.cancel(tx, None);
    stage.hear(&hop, &Answer::of(486));
    assert_eq!(stage.codes(tx), [486]);
}

#[test]
fn a_cancel_ends_every_branch_and_opens_none() {
    let mut stage = Stage::new();
    for (name, q) in [("one", 1.0), ("two", 1.0), ("three", 0.5)] {
        let ue = Ue::new().call(name).flow(0, 1);
        let contact = format!("<sip:{name}@192.0.2.1>;+sip.instance=\"<urn:uuid:{name}>\";reg-id=1;q={q}");
        stage.register_fully(&Ue { contacts: vec![contact], ..ue });
    }
    stage.said.clear();
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hops = stage.hops();
    assert_eq!(hops.len(), 2);
    stage.hear(&hops[0], &Answer::of_alice(180));
    stage.cancel(tx, None);
    assert_eq!(stage.cancels().len(), 2);
    stage.hear(&hops[1], &Answer::of_alice(430));
    stage.hear(&hops[0], &Answer::of_alice(487));
    assert!(stage.hops().is_empty(), "neither another flow nor the next group");
    assert_eq!(stage.codes(tx), [180, 487]);
}

#[test]
fn a_cancel_while_the_hss_is_asked() {
    let mut stage = Stage::new();
    stage.hss.prompt = false;
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    assert!(stage.codes(tx).is_empty());
    stage.cancel(tx, None);
    assert_eq!(stage.codes(tx), [487]);
    stage.hss_answers();
    assert!(stage.hops().is_empty());
    assert_eq!(stage.codes(tx), [487]);
    assert_eq!(stage.last, Some(Save::Erase), "{}", stage.summary);
}

#[test]
fn an_answer_of_the_hss_of_another_kind() {
    let mut stage = Stage::new();
    stage.hss.prompt = false;
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let (to, _) = stage.unanswered.remove(0);
    let answer = cx::Answer::MultimediaAuth(Err(cx::Failure::Unreachable));
    stage.step(scscf::Event::CxAnswer { to, answer });
    assert_eq!(stage.codes(tx), [480]);
}

#[test]
fn a_cancel_at_a_server() {
    for handling in [DefaultHandling::SessionContinued, DefaultHandling::SessionTerminated] {
        for fate in ["487", "503", "silence"] {
            let first = criterion(1, AS1, handling, Condition::Method("INVITE".into()));
            let mut stage = Stage::serving(alice_with(vec![first]));
            let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
            let hop = stage.hop();
            stage.cancel(tx, None);
            assert_eq!(stage.cancels().len(), 1);
            match fate {
                "silence" => stage.pass(5),
                status => {
                    stage.hear(&hop, &Answer::of_server(status.parse().unwrap(), AS1));
                }
            }
            assert!(stage.hops().is_empty(), "nobody wants it any more: {fate}");
            let heard = if fate == "503" { 503 } else { 487 };
            assert_eq!(stage.codes(tx), [heard]);
        }
    }
}

#[test]
fn a_cancel_in_the_middle_of_a_chain() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1), continued(2, AS2)]));
    let chain = stage.by_all_servers(outgoing(&stage, "INVITE", BOB).build());
    stage.hear_along(&chain, &Answer::of(180));
    for tx in &chain.txs {
        assert_eq!(stage.codes(*tx), [180]);
    }
    // The servers pass the CANCEL on, each hop by itself.
    for (tx, hop) in chain.txs.iter().zip(&chain.hops) {
        stage.cancel(*tx, None);
        assert_eq!(stage.cancels(), [(hop.relay, hop.branch, None)]);
    }
    stage.hear_along(&chain, &Answer::of(487));
    for tx in &chain.txs {
        assert_eq!(stage.codes(*tx), [180, 487]);
    }
    assert!(stage.sessions().is_empty());
}

#[test]
fn a_cancel_of_something_else_is_left() {
    let mut stage = Stage::registered();
    stage.cancel(scscf::ServerTx(99), None);
    assert!(stage.said.is_empty());
}

#[test]
fn challenges_of_all_branches_go_back_together() {
    let mut stage = Stage::new();
    for name in ["one", "two"] {
        let ue = Ue::new().call(name).flow(0, 1);
        let contact = format!("<sip:{name}@192.0.2.1>;+sip.instance=\"<urn:uuid:{name}>\";reg-id=1");
        stage.register_fully(&Ue { contacts: vec![contact], ..ue });
    }
    stage.said.clear();
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    for (hop, realm) in stage.hops().iter().zip(["a", "b"]) {
        let challenge = format!("Digest realm=\"{realm}\", nonce=\"n\"");
        stage.hear(hop, &Answer::of_alice(407).line(Name::ProxyAuthenticate, &challenge));
    }
    let word = stage.last_word(tx);
    assert_eq!(word.lines(Name::ProxyAuthenticate).count(), 2);
}

#[test]
fn our_via_is_off_what_goes_back() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(183));
    stage.hear(&hop, &Answer::of(200));
    for response in stage.responses(tx) {
        let vias = values(&response, Name::Via);
        assert_eq!(vias.len(), 1);
        assert!(vias[0].contains("neighbour.example"));
    }
}

#[test]
fn unknown_methods_and_header_fields_pass() {
    let mut stage = Stage::registered();
    let mut draft = outgoing(&stage, "GREET", BOB)
        .line("X-Whatever: 1, 2;a=b")
        .line("Session-ID: ab30317f1a784dc48ff824d0d3715d86")
        .line("Replaces: 1@x;to-tag=a;from-tag=b")
        .line("Content-Type: application/octet-stream");
    draft.body = "\u{0}binary";
    let tx = stage.arrive(draft.build());
    let hop = stage.hop();
    assert_eq!(hop.request.method().as_str(), "GREET");
    assert_eq!(hop.request.named("X-Whatever").unwrap(), "1, 2;a=b");
    assert!(hop.request.has(Name::Replaces) && hop.request.named("Session-ID").is_some());
    assert_eq!(hop.request.body(), draft.body.as_bytes());
    stage.hear(&hop, &Answer::of(299));
    assert_eq!(stage.codes(tx), [299]);
    assert!(stage.sessions().is_empty());
}

#[test]
fn nothing_is_written_down_for_what_only_passes() {
    let mut stage = Stage::registered();
    let owned = stage.owned();
    let tx = stage.arrive(outgoing(&stage, "MESSAGE", BOB).build());
    assert_eq!(stage.last, Some(Save::Unchanged));
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(200));
    assert_eq!((stage.last, stage.codes(tx)), (Some(Save::Unchanged), vec![200]));
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).call("2").build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(180));
    stage.hear(&hop, &Answer::of(486));
    assert_eq!((stage.last, stage.codes(tx)), (Some(Save::Unchanged), vec![180, 486]));
    assert_eq!(stage.owned(), owned);
    // A session is saved before its caller hears of it.
    stage.arrive(outgoing(&stage, "INVITE", BOB).call("3").build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(200));
    assert_eq!(stage.last, Some(Save::Snapshot));
}
