//! TS 24.229 §5.4.3.1, RFC 3261 §16.3, §16.6 — how a request came, and what is looked at before it goes on.

use crate::calls::*;
use crate::stage::{ALICE, DOMAIN, Stage, request};
use scscf::profile::{Condition, DefaultHandling};
use scscf::view::RegistrationState;
use sip::{Method, Name};

#[test]
fn cd_01_a_service_route_makes_it_originating() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    assert_eq!(hop.uri(), BOB);
    assert!(hop.routes().is_empty(), "our own Route is taken off");
    assert_eq!(stage.sessions()[0].role, "originating");
    assert!(stage.codes(tx).is_empty());
}

#[test]
fn cd_02_no_token_makes_it_terminating() {
    let mut stage = Stage::registered();
    stage.arrive(incoming("INVITE", ALICE).build());
    assert_eq!(stage.hop().uri(), "sip:alice@192.0.2.1:5060");
    assert_eq!(stage.sessions()[0].role, "terminating");
}

#[test]
fn cd_03_a_server_asks_for_originating_services_of_the_served_user() {
    let mut stage = Stage::serving(alice_with(vec![criterion(
        1,
        AS1,
        DefaultHandling::SessionContinued,
        Condition::SessionCase(0),
    )]));
    let from_server = incoming("INVITE", BOB)
        .line(&format!("Route: <sip:scscf.{DOMAIN}:5060;lr;orig>"))
        .line(&format!("P-Served-User: <{ALICE}>"));
    stage.arrive(from_server.clone().build());
    let hop = stage.hop();
    assert!(hop.routes()[0].starts_with("<sip:as1.example;lr>"), "{:?}", hop.routes());
    assert_eq!(hop.get(Name::PServedUser).unwrap(), format!("<{ALICE}>;sescase=orig;regstate=reg"));
    // Without P-Served-User it is the asserted identity.
    let asserted = from_server.without("P-Served-User").with("P-Asserted-Identity", &format!("<{ALICE}>"));
    stage.arrive(asserted.call("second").build());
    assert!(stage.hop().get(Name::PServedUser).unwrap().starts_with(&format!("<{ALICE}>;sescase=orig")));
}

#[test]
fn of_two_asserted_identities_the_one_with_a_profile_is_served() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1)]));
    let draft = incoming("INVITE", BOB)
        .line(&format!("Route: <sip:scscf.{DOMAIN}:5060;lr;orig>"))
        .with("P-Asserted-Identity", &format!("<sip:+15559999@elsewhere.example>, <{ALICE}>"));
    stage.arrive(draft.build());
    assert!(stage.hop().get(Name::PServedUser).unwrap().starts_with(&format!("<{ALICE}>")));
}

#[test]
fn nobody_to_be_served_400() {
    let mut stage = Stage::registered();
    let draft = incoming("INVITE", BOB)
        .line(&format!("Route: <sip:scscf.{DOMAIN}:5060;lr;orig>"))
        .without("P-Asserted-Identity");
    let tx = stage.arrive(draft.build());
    assert_eq!(stage.codes(tx), [400]);
}

#[test]
fn a_stranger_gets_no_originating_services() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1)]));
    let mut own = outgoing(&stage, "INVITE", BOB).build();
    let served = incoming("INVITE", BOB)
        .line(&format!("Route: <sip:scscf.{DOMAIN}:5060;lr;orig>"))
        .line(&format!("P-Served-User: <{ALICE}>"))
        .build();
    stage.arrive(own.clone());
    let returned = stage.hop().through(AS1);
    stage.trusted = false;
    own = with(&own, Name::CallId, "other");
    for request in [own, served, returned] {
        let tx = stage.arrive(request);
        assert_eq!(stage.codes(tx), [403]);
        assert!(stage.hops().is_empty());
    }
}

#[test]
fn what_only_the_trust_domain_may_say_is_taken_from_strangers() {
    let mut stage = Stage::registered();
    stage.trusted = false;
    let draft = incoming("INVITE", ALICE)
        .line("P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=1")
        .line("P-Charging-Function-Addresses: ccf=\"aaa://evil\"")
        .line("P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.mmtel")
        .line("P-Served-User: <sip:x@y>")
        .line("P-User-Database: <aaa://evil>");
    let tx = stage.arrive(draft.build());
    let hop = stage.hop();
    for name in [
        Name::PAssertedIdentity,
        Name::PAccessNetworkInfo,
        Name::PChargingVector,
        Name::PChargingFunctionAddresses,
        Name::PAssertedService,
        Name::PServedUser,
        Name::PUserDatabase,
    ] {
        assert_eq!(hop.get(name), None, "{name}");
    }
    // In the dialog too.
    let answered = stage.hear(&hop, &Answer::of_alice(200));
    let mut call = Call::new(&draft.build(), &hop.request, &answered, &stage.last_word(tx));
    let info = call.by_caller(Method::Info);
    stage.arrive(with(&info, Name::PAssertedIdentity, "<sip:president@b.example>"));
    assert_eq!(stage.hop().get(Name::PAssertedIdentity), None);
}

#[test]
fn a_forged_original_dialog_identifier_is_none() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1), continued(2, AS2)]));
    stage.arrive(incoming("INVITE", ALICE).build());
    let hop = stage.hop();
    let genuine = hop.routes()[1].clone();
    let at = genuine.find('@').unwrap();
    let mut forged = genuine.into_bytes();
    forged[at - 1] = if forged[at - 1] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    // It is a request for Alice like any other: her chain begins anew.
    let tx = stage.arrive(incoming("INVITE", ALICE).call("x").line(&format!("Route: {forged}")).build());
    assert!(stage.hop().routes()[0].contains("as1.example"));
    assert!(stage.codes(tx).is_empty());
    // With `orig` it asks for originating services of whoever is named.
    let orig = forged.replace(";lr", ";lr;orig");
    stage.arrive(
        incoming("INVITE", BOB)
            .call("y")
            .line(&format!("Route: {orig}"))
            .line(&format!("P-Served-User: <{ALICE}>"))
            .build(),
    );
    assert!(stage.hop().get(Name::PServedUser).unwrap().contains("sescase=orig"));
}

#[test]
fn cd_35_a_request_in_a_dialog_that_does_not_pass_us_is_refused() {
    let mut stage = Stage::registered();
    let mut call = stage.calls();
    for route in [None, Some(stage.service_route(0)), Some(format!("<sip:scscf.{DOMAIN}:5060;lr>"))] {
        let mut edit = call.by_caller(Method::Bye).edit();
        edit.remove(Name::Route);
        if let Some(route) = route {
            edit.push_top(Name::Route, route);
        }
        let tx = stage.arrive(edit.finish());
        assert_eq!(stage.codes(tx), [403]);
        assert!(stage.hops().is_empty());
    }
    assert_eq!(stage.sessions().len(), 1, "nothing ended");
}

#[test]
fn cg_05_no_hop_left() {
    let mut stage = Stage::registered();
    for (hops, code) in [("0", Some(483)), ("1", None), ("x", Some(400)), ("256", Some(400))] {
        let draft = outgoing(&stage, "INVITE", BOB).call(hops).with("Max-Forwards", hops);
        let tx = stage.arrive(draft.build());
        assert_eq!(stage.codes(tx), code.into_iter().collect::<Vec<_>>(), "{hops}");
        assert_eq!(
            stage.hops().iter().filter_map(|hop| hop.get(Name::MaxForwards)).collect::<Vec<_>>(),
            if code.is_none() { vec!["0"] } else { vec![] }
        );
    }
}

#[test]
fn cg_06_seventy_hops_where_none_are_written() {
    let mut stage = Stage::registered();
    stage.arrive(outgoing(&stage, "INVITE", BOB).without("Max-Forwards").build());
    assert_eq!(stage.hop().get(Name::MaxForwards).unwrap(), "70");
}

#[test]
fn cg_07_an_extension_that_a_proxy_would_need() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).line("Proxy-Require: path, foo").build());
    let refusal = stage.last_word(tx);
    assert_eq!((refusal.status().code(), refusal.get(Name::Unsupported).unwrap().as_ref()), (420, "foo"));
    assert!(stage.hops().is_empty());
}

#[test]
fn cg_08_the_same_request_once_more_is_a_loop() {
    let mut stage = Stage::registered();
    stage.arrive(incoming("INVITE", ALICE).build());
    let hop = stage.hop();
    // Somebody beyond sends it back as it was.
    let mut edit = incoming("INVITE", ALICE).build().edit();
    edit.replace(Name::Via, "SIP/2.0/UDP beyond.example;branch=z9hG4bKbeyond");
    edit.append(Name::Via, hop.request.via());
    let tx = stage.arrive(edit.finish());
    assert_eq!(stage.codes(tx), [482]);
}

#[test]
fn cg_09_a_round_trip_by_a_server_is_no_loop() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1)]));
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let back = stage.hop().through(AS1);
    let again = stage.arrive(back);
    assert_eq!(stage.hop().uri(), "sip:alice@192.0.2.1:5060");
    assert!(stage.codes(tx).is_empty() && stage.codes(again).is_empty());
}

#[test]
fn a_call_to_oneself_is_no_loop() {
    let mut stage = Stage::registered();
    stage.arrive(outgoing(&stage, "INVITE", ALICE).build());
    let hop = stage.hop();
    assert_eq!(hop.uri(), ALICE);
    let tx = stage.arrive(hop.request);
    assert_eq!(stage.hop().uri(), "sip:alice@192.0.2.1:5060");
    assert!(stage.codes(tx).is_empty());
}

#[test]
fn cg_17_compact_names_come_in_and_full_ones_go_out() {
    let mut stage = Stage::registered();
    let text = format!(
        "INVITE {ALICE} SIP/2.0\r\nv: SIP/2.0/UDP b.example;branch=z9hG4bKc\r\nf: <{BOB}>;tag=b\r\nt: <{ALICE}>\r\n\
         i: compact\r\nCSeq: 1 INVITE\r\nm: <sip:bob@198.51.100.1>\r\nk: 100rel\r\nl: 0\r\n\r\n"
    );
    let tx = stage.arrive(request(&text));
    let hop = stage.hop();
    assert_eq!((hop.uri(), hop.request.call_id()), ("sip:alice@192.0.2.1:5060", "compact"));
    for written in ["Record-Route", "P-Called-Party-ID", "Max-Forwards", "Session-Expires"] {
        assert!(hop.request.all().any(|(name, _)| name == written), "{written}");
    }
    stage.hear(&hop, &Answer::of_alice(200));
    assert_eq!(stage.codes(tx), [200]);
    assert_eq!(stage.sessions()[0].peer, BOB);
}

#[test]
fn a_strict_router_before_us_is_understood() {
    let mut stage = Stage::registered();
    let mut call = stage.calls();
    let bye = call.by_caller(Method::Bye);
    // It put our Record-Route into the Request-URI, and what stood there last.
    let own = bye.addresses(Name::Route).unwrap()[0].uri.clone();
    let mut edit = bye.edit();
    edit.remove_top_value(Name::Route);
    edit.append(Name::Route, format_args!("<{}>", bye.uri()));
    edit.uri(&own);
    stage.arrive(edit.finish());
    let hop = stage.hop();
    assert_eq!((hop.uri(), hop.routes()), ("sip:bob@198.51.100.1", vec![B_PROXY.to_owned()]));
}

#[test]
fn too_many_requests_on_their_way_are_told_to_come_back() {
    let mut stage = Stage::registered();
    stage.policy.session.max_relays = 2;
    let message = |stage: &Stage, n: &str| outgoing(stage, "MESSAGE", BOB).call(n).build();
    for n in ["1", "2"] {
        let message = message(&stage, n);
        stage.arrive(message);
    }
    let third = message(&stage, "3");
    let tx = stage.arrive(third);
    let refusal = stage.last_word(tx);
    assert_eq!(refusal.status().code(), 503);
    assert!(refusal.has(Name::RetryAfter));
    let hops = stage.hops();
    assert_eq!(hops.len(), 2);
    stage.hear(&hops[0], &Answer::of(200));
    let fourth = message(&stage, "4");
    stage.arrive(fourth);
    stage.hop();
}

#[test]
fn a_subscription_to_something_else_goes_on_its_way() {
    let presence = criterion(
        1,
        AS1,
        DefaultHandling::SessionContinued,
        Condition::Header { header: "Event".into(), content: Some("presence".into()) },
    );
    let mut stage = Stage::serving(alice_with(vec![presence]));
    let subscribe =
        |draft: Draft, event: &str| draft.line(&format!("Event: {event}")).line("Expires: 600").build();
    // Bob's presence, by the server of Alice's services.
    let own = subscribe(outgoing(&stage, "SUBSCRIBE", BOB), "presence");
    stage.arrive(own);
    assert!(stage.hop().routes()[0].contains("as1.example"));
    // Bob's dialogs: nobody serves that here.
    let dialogs = subscribe(outgoing(&stage, "SUBSCRIBE", BOB).call("2"), "dialog");
    stage.arrive(dialogs);
    assert_eq!(stage.hop().uri(), BOB);
    // Bob's registration.
    let registration = subscribe(outgoing(&stage, "SUBSCRIBE", BOB).call("3"), "reg");
    stage.arrive(registration);
    assert_eq!(stage.hop().uri(), BOB);
    // Alice's presence, asked for by Bob, by the server of hers.
    let theirs = subscribe(incoming("SUBSCRIBE", ALICE), "presence");
    stage.arrive(theirs);
    assert!(stage.hop().routes()[0].contains("as1.example"));
    // On behalf of Alice, by a server.
    let served = subscribe(
        incoming("SUBSCRIBE", BOB)
            .call("4")
            .line(&format!("Route: <sip:scscf.{DOMAIN}:5060;lr;orig>"))
            .line(&format!("P-Served-User: <{ALICE}>")),
        "reg",
    );
    stage.arrive(served);
    assert_eq!(stage.hop().uri(), BOB);
}

#[test]
fn a_subscription_that_nobody_takes_489() {
    let mut stage = Stage::registered();
    let draft = incoming("SUBSCRIBE", ALICE).line("Event: presence").line("Expires: 600");
    let tx = stage.arrive(draft.build());
    let refusal = stage.last_word(tx);
    assert_eq!(refusal.status().code(), 489);
    assert_eq!(refusal.get(Name::AllowEvents).unwrap(), "reg, registration-state");
    assert!(stage.hops().is_empty());
}

#[test]
fn a_user_of_whom_nothing_is_left_is_forgotten() {
    let mut stage = Stage::new();
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    assert_eq!(stage.codes(tx), [480]);
    assert_eq!(stage.user.view().state, RegistrationState::UnregisteredServices);
    let mut stage = Stage::new();
    stage.hss.sar = Some(scscf::cx::Failure::Unreachable);
    stage.arrive(incoming("INVITE", ALICE).build());
    assert_eq!(stage.last, Some(scscf::Save::Erase));
}
