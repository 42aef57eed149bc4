//! TS 24.229 §5.4.3.2, §5.4.3.3 — diverted calls, asserted identities and session timers: the scenarios that suites of other
//! S-CSCFs know by name, listed in docs/conformance.md.

use crate::calls::*;
use crate::scenarios_isc::{Way, diverting, host, originating, retargeted, terminating};
use crate::stage::{ALICE, DOMAIN, Stage, TEL, Ue, identity, subscription};
use scscf::cx::Failure;
use sip::{Method, Name};

const CAROL: &str = "sip:carol@c.example";
const WORK: &str = "sip:alice.work@ims.mnc001.mcc001.3gppnetwork.org";

/// Alice called, and her server diverts to `target`: how far that got.
fn diverted(stage: &mut Stage, target: &str) -> Hop {
    stage.arrive(incoming("INVITE", ALICE).call(&format!("{}", stage.tx)).build());
    let hop = stage.hop();
    assert_eq!(host(&hop), "as1.example");
    stage.arrive(retargeted(&hop.through(AS1), target));
    stage.hop()
}

/// Cdiv, CdivToDifferentDomain, TerminatingDiversionExternal, TerminatingDiversionExternalOrigCdiv, MmtelCdiv, Diversion:
/// Unconditional
#[test]
fn a_diverted_call_has_the_diverting_users_services_and_goes_on() {
    for target in [CAROL.to_owned(), format!("sip:carol@{DOMAIN}"), "tel:+15559999".to_owned()] {
        let mut stage =
            Stage::serving(alice_with(vec![terminating(1, AS1), terminating(2, AS2), diverting(3, AS3)]));
        let hop = diverted(&mut stage, &target);
        assert_eq!((host(&hop).as_str(), hop.uri()), ("as3.example", target.as_str()));
        assert_eq!(hop.get(Name::PServedUser).unwrap(), format!("<{ALICE}>;orig-cdiv"));
        let back = stage.arrive(hop.through(AS3));
        let onward = stage.hop();
        assert_eq!(onward.get(Name::PServedUser), None);
        assert!(onward.routes().is_empty());
        // Whoever calls is still who called.
        assert_eq!(values(&onward.request, Name::PAssertedIdentity), [format!("<{BOB}>")]);
        stage.hear(&onward, &Answer::of(200));
        assert_eq!(stage.codes(back), [200]);
    }
}

/// Diversion: Busy, No answer
#[test]
fn a_server_diverts_when_the_contact_did_not_answer() {
    for status in [486, 480, 408] {
        let mut stage = Stage::serving(alice_with(vec![terminating(1, AS1)]));
        let tx = stage.arrive(incoming("INVITE", ALICE).build());
        let at_server = stage.hop();
        let first = stage.arrive(at_server.through(AS1));
        let contact = stage.hop();
        stage.hear(&contact, &Answer::of_alice(180));
        stage.hear(&contact, &Answer::of_alice(status));
        assert_eq!(stage.last_word(first).status().code(), status);
        // It says so to nobody and tries somebody else, with the identifier it was given.
        let mut edit = retargeted(&at_server.through(AS1), CAROL).edit();
        edit.replace(Name::Via, "SIP/2.0/UDP as1.example;branch=z9hG4bKsecond");
        let second = stage.arrive(edit.finish());
        let onward = stage.hop();
        assert_eq!(onward.uri(), CAROL);
        let answered = stage.hear(&onward, &Answer::of(200));
        assert_eq!(stage.last_word(second).to_tag(), answered.to_tag());
        let came = stage.last_word(second);
        stage.hear_through(&at_server, &came);
        assert_eq!(stage.last_word(tx).status().code(), 200);
    }
}

/// MmtelDoubleCdiv
#[test]
fn a_call_is_diverted_twice() {
    let mut profile = subscription(vec![identity(ALICE, false), identity(WORK, false)]);
    profile.profiles[0].identities[1].alias_group = Some("work".into());
    profile.profiles[0].criteria = vec![terminating(1, AS1), diverting(1, AS3)].into();
    let mut stage = Stage::serving(profile);
    let hop = diverted(&mut stage, WORK);
    assert_eq!(hop.get(Name::PServedUser).unwrap(), format!("<{ALICE}>;orig-cdiv"));
    stage.arrive(hop.through(AS3));
    let onward = stage.hop();
    assert_eq!((onward.uri(), onward.routes()), (WORK, vec![]));
    // It comes in again for the other identity, whose services divert once more.
    stage.arrive(onward.request);
    let hop = stage.hop();
    assert_eq!(hop.get(Name::PServedUser).unwrap(), format!("<{WORK}>;sescase=term;regstate=reg"));
    stage.arrive(retargeted(&hop.through(AS1), CAROL));
    let hop = stage.hop();
    assert_eq!(hop.get(Name::PServedUser).unwrap(), format!("<{WORK}>;orig-cdiv"));
    stage.arrive(hop.through(AS3));
    assert_eq!(stage.hop().uri(), CAROL);
}

/// Diversion: Bad target URI
#[test]
fn a_call_that_is_diverted_to_nowhere_is_refused_and_the_server_hears_it() {
    for (target, code) in [
        ("tel:911;phone-context=x.example", 404),
        ("sip:pizza@ims.mnc001.mcc001.3gppnetwork.org;user=phone", 484),
        ("http://c.example", 416),
    ] {
        let mut stage = Stage::serving(alice_with(vec![terminating(1, AS1)]));
        stage.arrive(incoming("INVITE", ALICE).build());
        let hop = stage.hop();
        let back = stage.arrive(retargeted(&hop.through(AS1), target));
        assert_eq!(stage.codes(back), [code], "{target}");
        assert!(stage.hops().is_empty());
    }
}

/// HSSTimeoutOnCdiv, HSSNotFoundOnCdiv
#[test]
fn a_diversion_needs_no_word_of_the_hss() {
    let mut stage = Stage::serving(alice_with(vec![terminating(1, AS1)]));
    stage.hss.sar = Some(Failure::Unreachable);
    assert_eq!(diverted(&mut stage, CAROL).uri(), CAROL);
    assert!(stage.sars().is_empty());
}

fn asserted(stage: &mut Stage, identity: &str) -> Vec<String> {
    let draft = outgoing(stage, "INVITE", AT_HOME)
        .call(&format!("{}", stage.tx))
        .with("P-Asserted-Identity", &format!("<{identity}>"));
    stage.arrive(draft.build());
    values(&stage.hop().request, Name::PAssertedIdentity)
}

/// TestAddSecondSIPPAIHdrNoSIPUri
#[test]
fn where_there_is_no_other_form_nothing_is_added() {
    let mut stage = Stage::serving(subscription(vec![identity(ALICE, false), identity(WORK, false)]));
    assert_eq!(asserted(&mut stage, ALICE), [format!("<{ALICE}>")]);
    let mut apart = subscription(vec![identity(ALICE, false), identity(TEL, false)]);
    apart.profiles[0].identities[1].alias_group = Some("apart".into());
    let mut stage = Stage::serving(apart);
    assert_eq!(asserted(&mut stage, TEL), [format!("<{TEL}>")], "none is made up of the number");
    // A barred one is not told.
    let mut stage = Stage::serving(subscription(vec![identity(ALICE, false), identity(TEL, true)]));
    assert_eq!(asserted(&mut stage, ALICE), [format!("<{ALICE}>")]);
}

/// TestAddSecondTelPAIHdrMultipleAliases, -MultipleAliasesNoMatch
#[test]
fn of_several_numbers_that_of_the_sip_uri_is_added_else_the_first() {
    let home = format!("sip:+15550003@{DOMAIN}");
    let numbers = ["tel:+15550001", "tel:+15550003"];
    for (asserting, added) in [(home.as_str(), numbers[1]), (WORK, numbers[0])] {
        let identities = [asserting, numbers[0], numbers[1]].map(|text| identity(text, false)).into();
        let mut stage = Stage::new();
        stage.hss.user_data = Some(Ok(subscription(identities)));
        let mut ue = Ue::new();
        ue.to = format!("<{asserting}>");
        assert_eq!(stage.register_fully(&ue).status().code(), 200);
        assert_eq!(asserted(&mut stage, asserting), [format!("<{asserting}>"), format!("<{added}>")]);
    }
}

/// TestPAIHdrODIToken
#[test]
fn what_a_server_returns_is_asserted_as_it_is() {
    let mut stage = Stage::serving(alice_with(vec![originating(1, AS1)]));
    stage.arrive(outgoing(&stage, "INVITE", AT_HOME).build());
    let hop = stage.hop();
    let both = [format!("<{ALICE}>"), format!("<{TEL}>")];
    assert_eq!(values(&hop.request, Name::PAssertedIdentity), both, "the server sees both");
    // It hides one of them.
    stage.arrive(with(&hop.through(AS1), Name::PAssertedIdentity, &both[1]));
    assert_eq!(values(&stage.hop().request, Name::PAssertedIdentity), both[1..]);
}

/// TestNoSecondPAIHdrTerm
#[test]
fn the_caller_of_a_terminating_request_is_asserted_as_it_is() {
    let mut stage = Stage::registered();
    let draft = incoming("INVITE", ALICE).with("P-Asserted-Identity", &format!("<{ALICE}>"));
    stage.arrive(draft.build());
    assert_eq!(values(&stage.hop().request, Name::PAssertedIdentity), [format!("<{ALICE}>")]);
}

/// TestSessionExpires, TestSessionExpiresAStoAS
#[test]
fn a_session_timer_is_asked_for_once_however_many_servers_there_are() {
    let mut stage = Stage::serving(alice_with(vec![originating(1, AS1), originating(2, AS2)]));
    let draft = outgoing(&stage, "INVITE", BOB).line("Supported: timer");
    let way = Way::of(&mut stage, draft.build());
    for hop in &way.hops {
        assert_eq!(values(&hop.request, Name::SessionExpires), ["1800"]);
    }
    way.answered(&mut stage, &Answer::of(200));
    let ok = stage.last_word(way.txs[0]);
    assert_eq!(values(&ok, Name::SessionExpires), ["1800;refresher=uac"]);
    assert_eq!(values(&ok, Name::Require), ["timer"]);
    assert!(stage.sessions()[0].expires_at.is_some());
    // One that the far end agreed to stays as it is.
    let draft = outgoing(&stage, "INVITE", BOB).call("2").line("Supported: timer");
    let way = Way::of(&mut stage, draft.build());
    way.answered(&mut stage, &Answer::of(200).line(Name::SessionExpires, "600;refresher=uas"));
    assert_eq!(values(&stage.last_word(way.txs[0]), Name::SessionExpires), ["600;refresher=uas"]);
}

/// TestSessionExpiresInDialog
#[test]
fn a_refresh_in_the_dialog_is_held_against_the_minimum_and_begins_the_interval_anew() {
    let mut stage = Stage::registered();
    let draft = outgoing(&stage, "INVITE", BOB).line("Supported: timer");
    let mut call = stage.calls_as(&draft);
    for method in [Method::Invite, Method::Update] {
        let refresh = |call: &mut Call, interval: &str| {
            let mut edit = call.by_caller(method.clone()).edit();
            edit.replace(Name::SessionExpires, interval);
            edit.replace(Name::Supported, "timer");
            edit.finish()
        };
        let short = refresh(&mut call, "60");
        let tx = stage.arrive(short);
        let refusal = stage.last_word(tx);
        assert_eq!((refusal.status().code(), refusal.get(Name::MinSe).unwrap().as_ref()), (422, "90"));
        assert!(stage.hops().is_empty());
        stage.pass(500);
        let enough = refresh(&mut call, "1200");
        let tx = stage.arrive(enough);
        let hop = stage.hop();
        assert_eq!(hop.get(Name::SessionExpires).unwrap(), "1200");
        stage.hear(&hop, &Answer::of(200).line(Name::SessionExpires, "1200;refresher=uac"));
        assert_eq!(stage.last_word(tx).status().code(), 200);
        stage.pass(600);
        assert_eq!(stage.sessions().len(), 1, "{method}");
    }
    stage.pass(600);
    assert!(stage.sessions().is_empty(), "nobody refreshed it");
    // A request of a session that is forgotten is told so.
    let bye = call.by_caller(Method::Bye);
    let tx = stage.arrive(bye);
    assert_eq!(stage.codes(tx), [481]);
}
