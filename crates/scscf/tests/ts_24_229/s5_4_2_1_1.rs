//! TS 24.229 §5.4.2.1.1 — subscription to the registration state.

use crate::world::{ALICE, BARRED, Ue, Watcher, World};
use scscf::user::Subscriber;
use scscf::{Rejection, Span};
use sip::{Name, Status};

fn refused(world: &World, status: Status) -> &Rejection {
    let refused = world.refused.as_ref().unwrap();
    assert_eq!(refused.status, status);
    refused
}

#[test]
fn cc_01_without_binding_480() {
    let mut world = World::new();
    let before = crate::world::record(&world.user);
    assert_eq!(world.subscribe(&mut Watcher::ue("reg"), None).status(), Status::TEMPORARILY_UNAVAILABLE);
    assert_eq!(refused(&world, Status::TEMPORARILY_UNAVAILABLE).clause, "TS 24.229 §5.4.2.1.1");
    assert_eq!(crate::world::record(&world.user), before);
    assert!(world.sent.is_empty());
}

#[test]
fn cc_01_for_a_barred_identity_480() {
    let (mut world, _) = World::registered();
    let mut watcher = Watcher { watched: BARRED.into(), ..Watcher::ue("reg") };
    assert_eq!(world.subscribe(&mut watcher, None).status(), Status::TEMPORARILY_UNAVAILABLE);
}

#[test]
fn cc_02_own_unbarred_identity_gets_200_and_then_notify() {
    let (mut world, _) = World::registered();
    for (n, identity) in [ALICE, "tel:+1-555-1234"].into_iter().enumerate() {
        let mut watcher = Watcher {
            identity: format!("P-Asserted-Identity: <{identity}>\r\n"),
            call_id: format!("sub{n}"),
            contact: format!("<sip:alice@10.0.0.1:{}>", 5060 + n),
            ..Watcher::ue("reg")
        };
        world.arrows.clear();
        let response = world.subscribe(&mut watcher, Some(3600));
        assert_eq!(response.status(), Status::OK);
        let notify = world.only_notify();
        assert_eq!(notify.request.call_id(), watcher.call_id);
        assert!(world.arrows[0].ends_with("200"), "the 200 goes first: {:?}", world.arrows);
        assert!(world.arrows[1].contains("NOTIFY"), "{:?}", world.arrows);
        assert_eq!(world.user.view().subscriptions.last().unwrap().kind, Subscriber::Ue);
        world.reply(&notify, 200);
    }
}

#[test]
fn cc_03_own_barred_identity_403() {
    let (mut world, _) = World::registered();
    let identity = format!("P-Asserted-Identity: <{BARRED}>\r\n");
    let mut watcher = Watcher { identity, ..Watcher::ue("reg") };
    assert_eq!(world.subscribe(&mut watcher, None).status(), Status::FORBIDDEN);
    assert!(world.sent.is_empty() && world.user.view().subscriptions.is_empty());
}

#[test]
fn cc_04_p_cscf_in_path_200() {
    let (mut world, _) = World::registered();
    let response = world.subscribe(&mut Watcher::p_cscf("reg"), None);
    assert_eq!(response.status(), Status::OK);
    assert_eq!(world.user.view().subscriptions[0].kind, Subscriber::PCscf);
    assert_eq!(world.only_notify().told(ALICE), ["active registered"]);
}

#[test]
fn cc_04_another_port_of_the_same_host_is_another_entity() {
    let (mut world, mut ue) = World::registered();
    ue.path = vec!["<sip:flow-9f@pcscf1.visited1.net:4060;lr>".into()];
    world.attach(&mut ue);
    let mut stranger = Watcher {
        identity: "P-Asserted-Identity: <sip:pcscf1.visited1.net:9999>\r\n".into(),
        ..Watcher::p_cscf("reg")
    };
    assert_eq!(world.subscribe(&mut stranger, None).status(), Status::FORBIDDEN);
    let mut edge = Watcher {
        identity: "P-Asserted-Identity: <sip:PCSCF1.visited1.net:4060>\r\n".into(),
        ..Watcher::p_cscf("reg")
    };
    assert_eq!(world.subscribe(&mut edge, None).status(), Status::OK);
}

#[test]
fn cc_05_application_server_of_the_filter_criteria_200() {
    let (mut world, _) = World::registered();
    assert_eq!(world.subscribe(&mut Watcher::server("reg"), None).status(), Status::OK);
    assert_eq!(world.user.view().subscriptions[0].kind, Subscriber::As);
    // As one that speaks for another identity.
    let mut other = Watcher {
        identity: "P-Asserted-Identity: <sip:service@elsewhere.net>\r\n".into(),
        call_id: "as-2".into(),
        via_host: "as1.home1.net".into(),
        ..Watcher::server("reg")
    };
    assert_eq!(world.subscribe(&mut other, None).status(), Status::OK);
}

#[test]
fn cc_06_stranger_403() {
    let (mut world, _) = World::registered();
    let mut eve = Watcher {
        identity: "P-Asserted-Identity: <sip:eve@home1.net>\r\n".into(),
        contact: "<sip:eve@10.6.6.6>".into(),
        ..Watcher::ue("reg")
    };
    assert_eq!(world.subscribe(&mut eve, None).status(), Status::FORBIDDEN);
    assert!(world.sent.is_empty() && world.user.view().subscriptions.is_empty());
}

#[test]
fn cc_06_an_assertion_from_outside_the_trust_domain_is_worth_nothing() {
    let (mut world, _) = World::registered();
    let request = world.build_subscribe(&mut Watcher::ue("reg"), None);
    let tx = world.arrive(request, false);
    assert_eq!(world.answers[&tx].status(), Status::FORBIDDEN);
}

#[test]
fn a_trusted_sender_that_asserts_nobody_speaks_for_itself() {
    let (mut world, _) = World::registered();
    let mut watcher = Watcher { identity: String::new(), ..Watcher::ue("reg") };
    assert_eq!(world.subscribe(&mut watcher, None).status(), Status::OK);
    let mut eve = Watcher {
        identity: "P-Preferred-Identity: <sip:eve@home1.net>\r\n".into(),
        call_id: "eve".into(),
        ..Watcher::ue("reg")
    };
    assert_eq!(world.subscribe(&mut eve, None).status(), Status::FORBIDDEN);
}

#[test]
fn cc_07_what_is_asked_or_less_is_granted() {
    let (mut world, _) = World::registered();
    let mut watcher = Watcher {
        extra: "P-Charging-Vector: icid-value=i1;orig-ioi=visited1.net\r\n".into(),
        ..Watcher::ue("reg")
    };
    let response = world.subscribe(&mut watcher, Some(700_000));
    assert_eq!(response.get(Name::Expires).unwrap(), "600000");
    let routes: Vec<_> = response.values(Name::RecordRoute).collect();
    assert_eq!(routes, ["<sip:pcscf1.visited1.net;lr>"]);
    let vector = response.charging_vector().unwrap().unwrap();
    assert_eq!(
        (&*vector.icid_value, vector.orig_ioi.as_deref(), vector.term_ioi.as_deref()),
        ("i1", Some("visited1.net"), Some("home1.net"))
    );
    let contact = response.addresses(Name::Contact).unwrap().remove(0).uri;
    let opened = world.policy.tokens.open(contact.user().unwrap()).unwrap();
    assert_eq!((opened.0, opened.1.as_str()), (scscf::token::TokenKind::RegEvent, crate::world::IMPI));
    let notify = world.only_notify();
    assert_eq!(notify.request.charging_vector().unwrap().unwrap().icid_value.as_ref(), "i1");
    assert_eq!(notify.state(), "active;expires=600000");
    assert_eq!(notify.request.addresses(Name::Contact).unwrap()[0].uri, contact);
}

#[test]
fn cc_08_missing_expires_means_3761() {
    let (mut world, _) = World::registered();
    let response = world.subscribe(&mut Watcher::ue("reg"), None);
    assert_eq!(response.get(Name::Expires).unwrap(), "3761");
    assert_eq!(world.only_notify().state(), "active;expires=3761");
}

#[test]
fn a_subscription_too_short_is_told_the_shortest() {
    let (mut world, _) = World::registered();
    let response = world.subscribe(&mut Watcher::ue("reg"), Some(5));
    assert_eq!(response.status(), Status::INTERVAL_TOO_BRIEF);
    assert_eq!(response.get(Name::MinExpires).unwrap(), "60");
    assert!(world.sent.is_empty());
}

#[test]
fn cc_09_a_fetch_is_answered_once() {
    let (mut world, _) = World::registered();
    let response = world.subscribe(&mut Watcher::ue("reg"), Some(0));
    assert_eq!((response.status(), &*response.get(Name::Expires).unwrap()), (Status::OK, "0"));
    let notify = world.only_notify();
    assert_eq!(notify.state(), "terminated;reason=timeout");
    assert_eq!(notify.told(ALICE), ["active registered"]);
    world.reply(&notify, 200);
    assert!(world.sent.is_empty() && world.user.view().subscriptions.is_empty());
}

#[test]
fn cc_10_unknown_dialog_481() {
    let (mut world, _) = World::registered();
    let mut watcher = Watcher { to_tag: "no-such-tag".into(), ..Watcher::ue("reg") };
    assert_eq!(world.subscribe(&mut watcher, None).status(), Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST);
    assert!(world.sent.is_empty());
}

#[test]
fn cc_10_cseq_not_higher_500() {
    let (mut world, _) = World::registered();
    let mut watcher = Watcher::ue("reg");
    world.watch(&mut watcher);
    let before = crate::world::record(&world.user);
    watcher.cseq = 0;
    assert_eq!(world.subscribe(&mut watcher, None).status(), Status::SERVER_INTERNAL_ERROR);
    assert_eq!(crate::world::record(&world.user), before);
}

#[test]
fn cc_11_accept_without_reginfo_406() {
    let (mut world, _) = World::registered();
    for (accept, status) in [
        ("text/plain", Status::NOT_ACCEPTABLE),
        ("text/plain, application/*;q=0.5", Status::OK),
        ("Application/Reginfo+XML", Status::OK),
    ] {
        let call_id = accept.bytes().map(|b| format!("{b:x}")).collect();
        let mut watcher = Watcher { extra: format!("Accept: {accept}\r\n"), call_id, ..Watcher::ue("reg") };
        let response = world.subscribe(&mut watcher, None);
        assert_eq!(response.status(), status, "{accept}");
        if !status.is_success() {
            assert_eq!(response.get(Name::Accept).unwrap(), "application/reginfo+xml");
        }
        world.answer_all();
    }
}

#[test]
fn cc_12_another_event_489() {
    let mut world = World::new();
    // An application server could take it.
    world.profile.profiles[0].criteria = Vec::new().into();
    world.attach(&mut Ue::one());
    for event in ["presence", ""] {
        let response = world.subscribe(&mut Watcher { event: event.into(), ..Watcher::ue("reg") }, None);
        assert_eq!(response.status(), Status::BAD_EVENT, "{event}");
        assert_eq!(response.get(Name::AllowEvents).unwrap(), "reg, registration-state");
    }
    let response =
        world.subscribe(&mut Watcher { event: "reg, presence".into(), ..Watcher::ue("reg") }, None);
    assert_eq!(response.status(), Status::BAD_REQUEST);
    assert!(world.sent.is_empty());
}

#[test]
fn a_required_extension_that_is_unknown_420() {
    let (mut world, _) = World::registered();
    let mut watcher = Watcher { extra: "Require: path, eventlist\r\n".into(), ..Watcher::ue("reg") };
    let response = world.subscribe(&mut watcher, None);
    assert_eq!(response.status(), Status::BAD_EXTENSION);
    assert_eq!(response.get(Name::Unsupported).unwrap(), "eventlist");
}

#[test]
fn ca_28_legacy_disabled_489() {
    let (mut world, _) = World::registered();
    world.policy.reg_event.legacy_enabled = false;
    let response = world.subscribe(&mut Watcher::ue("registration-state"), None);
    assert_eq!(response.status(), Status::BAD_EVENT);
    assert_eq!(response.get(Name::AllowEvents).unwrap(), "reg");
}

#[test]
fn cc_13_a_refresh_gets_200_then_notify_full() {
    let (mut world, _) = World::registered();
    let mut watcher = Watcher { event: "reg;id=7".into(), ..Watcher::ue("reg") };
    world.watch(&mut watcher);
    world.pass(Span::seconds(1000));
    world.arrows.clear();
    watcher.contact = "<sip:alice@10.0.0.9:5060>".into();
    let response = world.subscribe(&mut watcher, Some(2000));
    assert_eq!((response.status(), response.to_tag()), (Status::OK, Some(watcher.to_tag.as_str())));
    assert_eq!(response.get(Name::Expires).unwrap(), "2000");
    assert!(world.arrows[0].ends_with("200") && world.arrows[1].contains("NOTIFY"), "{:?}", world.arrows);
    let notify = world.only_notify();
    assert_eq!(notify.document().state.as_str(), "full");
    assert_eq!(notify.event(), "reg;id=7");
    assert_eq!(notify.state(), "active;expires=2000");
    assert_eq!(notify.request.uri_text(), "sip:alice@10.0.0.9:5060", "the refresh moves the remote target");
    assert_eq!(world.user.view().subscriptions.len(), 1);
}

#[test]
fn an_unsubscription_ends_with_a_last_notify() {
    let (mut world, _) = World::registered();
    let mut watcher = Watcher::ue("reg");
    world.watch(&mut watcher);
    assert_eq!(world.subscribe(&mut watcher, Some(0)).status(), Status::OK);
    let notify = world.only_notify();
    assert_eq!(notify.state(), "terminated;reason=timeout");
    assert_eq!(
        world.subscribe(&mut watcher, Some(600)).status(),
        Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST,
        "what has ended is not prolonged"
    );
    world.reply(&notify, 200);
    assert!(world.user.view().subscriptions.is_empty());
}

#[test]
fn a_subscriber_that_lost_its_dialog_replaces_it() {
    let (mut world, _) = World::registered();
    world.watch(&mut Watcher::ue("reg"));
    world.watch(&mut Watcher::p_cscf("reg"));
    let mut again = Watcher { call_id: "after-restart".into(), ..Watcher::ue("reg") };
    world.watch(&mut again);
    assert_eq!(world.user.view().subscriptions.len(), 2);
    // The other dialect is another subscription.
    world.watch(&mut Watcher::ue("registration-state"));
    assert_eq!(world.user.view().subscriptions.len(), 3);
}

#[test]
fn subscriptions_are_bounded() {
    let (mut world, _) = World::registered();
    for n in 0..world.policy.reg_event.max_subscriptions {
        let contact = format!("<sip:alice@10.0.1.{n}>");
        world.watch(&mut Watcher { call_id: format!("sub{n}"), contact, ..Watcher::ue("reg") });
    }
    let mut late =
        Watcher { call_id: "late".into(), contact: "<sip:alice@10.0.2.1>".into(), ..Watcher::ue("reg") };
    assert_eq!(world.subscribe(&mut late, None).status(), Status::FORBIDDEN);
    assert!(world.sent.is_empty());
    // One that takes the place of another is none too many.
    let contact = "<sip:alice@10.0.1.0>".into();
    world.watch(&mut Watcher { call_id: "again".into(), contact, ..Watcher::ue("reg") });
}
