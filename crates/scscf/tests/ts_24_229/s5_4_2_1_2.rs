//! TS 24.229 §5.4.2.1.2 — notification about registration state.

use crate::world::{ALICE, BARRED, Proof, TEL, Ue, Watcher, World, identity, policy, profile, record};
use scscf::cx::DeregistrationReason;
use scscf::profile::{IdentityType, PublicIdentity};
use scscf::{Event, Impi, Impu, SharedContact, Span};
use sip::reginfo::{ContactEvent, ContactState, DocumentState, RegistrationState};
use sip::{Name, Status};

/// A second UE of the same user, told apart by its instance.
fn second_ue() -> Ue {
    flow("ue2", "10.0.0.2", "bbbb", 1)
}

fn flow(name: &'static str, host: &str, instance: &str, reg_id: u32) -> Ue {
    Ue {
        contact: format!("<sip:alice@{host}:5060>;+sip.instance=\"<urn:uuid:{instance}>\";reg-id={reg_id}"),
        path: vec!["<sip:term@pcscf1.visited1.net;lr;ob>".into()],
        supported: "path, outbound",
        ..Ue::new(name, host)
    }
}

fn two_ues() -> (World, Ue, Ue) {
    let mut world = World::new();
    let (mut one, mut two) = (flow("ue1", "10.0.0.1", "aaaa", 1), second_ue());
    world.attach(&mut one);
    world.attach(&mut two);
    assert_eq!(world.user.view().bindings.len(), 2);
    (world, one, two)
}

#[test]
fn cc_14_cseq_rises_by_one_along_the_route_set() {
    let (mut world, mut ue) = World::registered();
    let mut watcher =
        Watcher { record_route: vec!["<sip:p2;lr>".into(), "<sip:p1;lr>".into()], ..Watcher::ue("reg") };
    let first = world.watch(&mut watcher).request;
    world.attach(&mut ue);
    let second = world.only_notify().request;
    assert_eq!(second.cseq().number, first.cseq().number + 1);
    for notify in [first, second] {
        assert_eq!(notify.uri_text(), "sip:alice@10.0.0.1:5060");
        assert_eq!(notify.values(Name::Route).collect::<Vec<_>>(), ["<sip:p2;lr>", "<sip:p1;lr>"]);
        assert_eq!(notify.call_id(), watcher.call_id);
        assert_eq!(notify.get(Name::MaxForwards).unwrap(), "70");
        assert_eq!(notify.content_type(), Some("application/reginfo+xml"));
    }
}

#[test]
fn cc_15_documents_are_full() {
    let (mut world, mut ue) = World::registered();
    assert_eq!(world.watch(&mut Watcher::ue("reg")).document().state, DocumentState::Full);
    world.attach(&mut ue);
    assert_eq!(world.only_notify().document().state, DocumentState::Full);
}

#[test]
fn cc_16_barred_identities_are_not_told() {
    let (mut world, _) = World::registered();
    let notify = world.watch(&mut Watcher::ue("reg"));
    let aors: Vec<_> =
        notify.document().registrations.into_iter().map(|registration| registration.aor).collect();
    assert_eq!(aors, [ALICE, TEL]);
    assert!(!String::from_utf8_lossy(notify.request.body()).contains(BARRED));
}

#[test]
fn cc_17_contacts_of_siblings_are_told() {
    let (mut world, _) = World::registered();
    world.watch(&mut Watcher::ue("reg"));
    world.step(Event::Sibling {
        impi: Impi::new("alice-tablet@home1.net").unwrap(),
        contacts: vec![SharedContact {
            path: Vec::new(),
            impus: vec![Impu::parse(ALICE).unwrap()],
            contact: "<sip:tablet@10.0.0.7>;q=0.5".into(),
            expires_at: world.now + Span::seconds(900),
            id: 77,
        }],
    });
    let notify = world.only_notify();
    let contacts = notify.contacts(ALICE);
    let uris: Vec<_> = contacts.iter().map(|contact| contact.uri.as_str()).collect();
    assert_eq!(uris, ["sip:alice@10.0.0.1:5060", "sip:tablet@10.0.0.7"]);
    assert_eq!((contacts[1].expires, contacts[1].q.as_deref()), (Some(900), Some("0.5")));
    assert_eq!(notify.contacts(TEL).len(), 1, "the other identity is not shared");
}

#[test]
fn cc_18_wildcarded_identities_carry_their_expression() {
    let text = "sip:room!.*!@home1.net";
    let wildcarded = PublicIdentity {
        impu: Impu::parse("sip:room1@home1.net").unwrap(),
        kind: IdentityType::WildcardedImpu,
        wildcard: Some(text.into()),
        ..identity("sip:room1@home1.net", false)
    };
    let mut world = World::with(policy(), profile(vec![identity(ALICE, false), wildcarded]));
    world.attach(&mut Ue::one());
    let notify = world.watch(&mut Watcher::ue("reg"));
    let registration = notify.registration("sip:room@home1.net");
    assert_eq!(registration.wildcarded_identity.as_deref(), Some(text));
    assert_eq!(registration.contacts.len(), 1);
    let xml = String::from_utf8_lossy(notify.request.body()).into_owned();
    assert!(xml.contains("ere:wildcardedIdentity"), "{xml}");
    assert_eq!(notify.registration(ALICE).wildcarded_identity, None);
}

#[test]
fn cc_19_contact_parameters_are_told_escaped() {
    let mut world = World::new();
    let mut ue = Ue {
        contact: "<sip:alice@10.0.0.1:5060>;q=0.7;+sip.instance=\"<urn:uuid:aaaa>\";+g.3gpp.smsip".into(),
        ..Ue::one()
    };
    world.attach(&mut ue);
    let notify = world.watch(&mut Watcher::ue("reg"));
    let contact = notify.contacts(ALICE).remove(0);
    assert!(
        contact.unknown_params.contains(&("+sip.instance".into(), "\"<urn:uuid:aaaa>\"".into())),
        "{:?}",
        contact.unknown_params
    );
    assert!(contact.unknown_params.contains(&("+g.3gpp.smsip".into(), String::new())));
    assert_eq!(contact.q.as_deref(), Some("0.7"));
    let xml = String::from_utf8_lossy(notify.request.body()).into_owned();
    assert!(xml.contains("&lt;urn:uuid:aaaa&gt;") || xml.contains("&lt;urn:uuid:aaaa>"), "{xml}");
}

#[test]
fn cc_20_gruus_are_told() {
    let mut world = World::new();
    let mut ue = Ue {
        contact: "<sip:alice@10.0.0.1:5060>;+sip.instance=\"<urn:uuid:aaaa>\"".into(),
        supported: "path, gruu",
        ..Ue::one()
    };
    world.attach(&mut ue);
    let notify = world.watch(&mut Watcher::ue("reg"));
    let contact = notify.contacts(ALICE).remove(0);
    assert_eq!(contact.pub_gruu.as_deref(), Some("sip:alice@home1.net;gr=urn:uuid:aaaa"));
    let (temporary, first_cseq) = contact.temp_gruu.unwrap();
    assert!(temporary.starts_with("sip:") && temporary.contains("gr"), "{temporary}");
    assert_eq!(first_cseq, ue.cseq);
    let xml = String::from_utf8_lossy(notify.request.body()).into_owned();
    assert!(xml.contains("gr:pub-gruu") && xml.contains("gr:temp-gruu"), "{xml}");
    assert_eq!(notify.contacts(TEL)[0].pub_gruu, None, "a tel URI has no GRUU");
}

#[test]
fn cc_21_versions_count_from_zero() {
    let (mut world, mut ue) = World::registered();
    let mut versions = vec![world.watch(&mut Watcher::ue("reg")).version()];
    for _ in 0..2 {
        world.attach(&mut ue);
        let notify = world.only_notify();
        versions.push(notify.version());
        world.reply(&notify, 200);
    }
    assert_eq!(versions, [0, 1, 2]);
    assert_eq!(world.watch(&mut Watcher::p_cscf("reg")).version(), 0, "each dialog counts for itself");
}

#[test]
fn cc_22_after_a_takeover_version_and_cseq_go_on_upward() {
    let (mut world, mut ue) = World::registered();
    world.watch(&mut Watcher::ue("reg"));
    world.attach(&mut ue);
    let lost = world.only_notify();
    world.fail_over();
    let again = world.only_notify();
    assert_eq!(again.version(), lost.version() + 1);
    assert_eq!(again.request.cseq().number, lost.request.cseq().number + 1);
    assert_eq!(again.told(ALICE), lost.told(ALICE));
    world.reply(&again, 200);
    world.fail_over();
    assert!(world.sent.is_empty(), "nothing is in doubt any more");
    world.attach(&mut ue);
    assert_eq!(world.only_notify().version(), again.version() + 1);
}

#[test]
fn a_takeover_loses_no_contact_that_ended() {
    let (mut world, mut one, _) = two_ues();
    world.watch(&mut Watcher::p_cscf("reg"));
    one.expires = 0;
    world.register(&mut one, Proof::Right, true);
    assert_eq!(world.sent.len(), 1);
    world.fail_over();
    let again = world.only_notify();
    assert!(again.told(ALICE).contains(&"terminated unregistered".into()), "{:?}", again.told(ALICE));
}

#[test]
fn cc_23_the_first_registration_is_registered_and_created() {
    let (mut world, _) = World::registered();
    let notify = world.watch(&mut Watcher::ue("reg"));
    assert_eq!(notify.registration(ALICE).state, RegistrationState::Active);
    assert_eq!(notify.told(ALICE), ["active registered"]);
    assert_eq!(notify.registration(TEL).state, RegistrationState::Active);
    assert_eq!(notify.told(TEL), ["active created"]);
    assert_eq!(notify.contacts(ALICE)[0].expires, Some(3600));
    let (a, b) = (notify.contacts(ALICE).remove(0).id, notify.contacts(TEL).remove(0).id);
    assert_ne!(a, b, "identifiers are unique in the document");
}

#[test]
fn cc_24_a_refresh_is_refreshed() {
    let (mut world, mut ue) = World::registered();
    let first = world.watch(&mut Watcher::ue("reg"));
    world.pass(Span::seconds(600));
    assert_eq!(world.register(&mut ue, Proof::Right, true).status(), Status::OK);
    let notify = world.only_notify();
    assert_eq!(notify.told(ALICE), ["active refreshed"]);
    assert_eq!(notify.told(TEL), ["active refreshed"]);
    assert_eq!(notify.contacts(ALICE)[0].id, first.contacts(ALICE)[0].id, "identifiers are stable");
    assert_eq!(notify.registration(ALICE).id, first.registration(ALICE).id);
    assert_eq!(notify.contacts(ALICE)[0].duration_registered, Some(600));
}

#[test]
fn cc_25_a_refresh_for_less_than_was_left_is_shortened() {
    let (mut world, mut ue) = World::registered();
    world.watch(&mut Watcher::ue("reg"));
    ue.expires = 300;
    assert_eq!(world.register(&mut ue, Proof::Right, true).status(), Status::OK);
    let notify = world.only_notify();
    assert_eq!(notify.told(ALICE), ["active shortened"]);
    assert_eq!(notify.contacts(ALICE)[0].expires, Some(300));
}

#[test]
fn cc_26_one_of_two_contacts_ends() {
    let (mut world, mut one, _) = two_ues();
    let (mut own, mut edge) = (
        Watcher { contact: one.contact.split(';').next().unwrap().into(), ..Watcher::ue("reg") },
        Watcher::p_cscf("reg"),
    );
    world.watch(&mut own);
    world.watch(&mut edge);
    one.expires = 0;
    assert_eq!(world.register(&mut one, Proof::Right, true).status(), Status::OK);
    let notify = world.only_notify();
    assert_eq!(notify.request.call_id(), edge.call_id, "the UE of the ended contact counts as unsubscribed");
    assert_eq!(notify.registration(ALICE).state, RegistrationState::Active);
    let mut told = notify.told(ALICE);
    told.sort();
    assert_eq!(told, ["active registered", "terminated unregistered"]);
    assert!(notify.state().starts_with("active;"), "{}", notify.state());
    assert_eq!(world.user.view().subscriptions.len(), 1);
}

#[test]
fn cc_27_the_ue_ends_its_last_contact() {
    let (mut world, mut ue) = World::registered();
    let (mut own, mut edge) = (Watcher::ue("reg"), Watcher::p_cscf("reg"));
    world.watch(&mut own);
    world.watch(&mut edge);
    ue.expires = 0;
    assert_eq!(world.register(&mut ue, Proof::Right, true).status(), Status::OK);
    let last = world.only_notify();
    assert_eq!(last.request.call_id(), edge.call_id, "the UE's own dialog is dropped silently");
    assert_eq!(last.state(), "terminated;reason=noresource");
    for aor in [ALICE, TEL] {
        assert_eq!(last.registration(aor).state, RegistrationState::Terminated);
        assert_eq!(last.told(aor), ["terminated unregistered"]);
        assert_eq!(last.contacts(aor)[0].expires, Some(0));
    }
    world.reply(&last, 200);
    assert!(world.erased);
}

#[test]
fn cc_28_expiry() {
    let (mut world, _) = World::registered();
    world.watch(&mut Watcher::p_cscf("reg"));
    world.pass(Span::seconds(3600));
    let last = world.only_notify();
    assert_eq!(last.told(ALICE), ["terminated expired"]);
    assert_eq!(last.told(TEL), ["terminated expired"]);
    assert_eq!(last.registration(ALICE).state, RegistrationState::Terminated);
    assert_eq!(last.state(), "terminated;reason=noresource");
}

#[test]
fn cc_28_expiry_of_one_of_two() {
    let mut world = World::new();
    let (mut one, mut two) = (flow("ue1", "10.0.0.1", "aaaa", 1), second_ue());
    one.expires = 600;
    world.attach(&mut one);
    world.attach(&mut two);
    world.watch(&mut Watcher::p_cscf("reg"));
    world.pass(Span::seconds(600));
    let notify = world.only_notify();
    let mut told = notify.told(ALICE);
    told.sort();
    assert_eq!(told, ["active registered", "terminated expired"]);
    assert_eq!(notify.registration(ALICE).state, RegistrationState::Active);
    assert!(notify.state().starts_with("active;"));
}

#[test]
fn cc_29_a_replaced_contact_and_the_new_one_in_one_document() {
    let (mut world, mut ue) = World::registered();
    let mut own = Watcher::ue("reg");
    world.watch(&mut own);
    ue.contact = "<sip:alice@10.0.0.55:5060>".into();
    world.attach(&mut ue);
    let notify = world.only_notify();
    let told: Vec<_> = notify
        .contacts(ALICE)
        .into_iter()
        .map(|contact| format!("{} {} {}", contact.uri, contact.state.as_str(), contact.event.as_str()))
        .collect();
    assert_eq!(
        told,
        ["sip:alice@10.0.0.55:5060 active registered", "sip:alice@10.0.0.1:5060 terminated unregistered"]
    );
    assert!(notify.state().starts_with("active;"), "the UE keeps its subscription: {}", notify.state());
    assert_ne!(notify.contacts(ALICE)[0].id, notify.contacts(ALICE)[1].id);
}

#[test]
fn cc_30_what_ended_is_told_once() {
    let (mut world, mut one, mut two) = two_ues();
    world.watch(&mut Watcher::p_cscf("reg"));
    one.expires = 0;
    world.register(&mut one, Proof::Right, true);
    let notify = world.only_notify();
    assert_eq!(notify.contacts(ALICE).len(), 2);
    world.reply(&notify, 200);
    world.register(&mut two, Proof::Right, true);
    assert_eq!(world.only_notify().told(ALICE), ["active refreshed"]);
}

#[test]
fn cc_31_a_subscription_lapses() {
    let (mut world, _) = World::registered();
    let mut watcher = Watcher::ue("reg");
    assert_eq!(world.subscribe(&mut watcher, Some(600)).status(), Status::OK);
    let first = world.only_notify();
    world.reply(&first, 200);
    world.pass(Span::seconds(599));
    assert!(world.sent.is_empty());
    world.pass(Span::seconds(1));
    let last = world.only_notify();
    assert_eq!(last.state(), "terminated;reason=timeout");
    assert_eq!(last.told(ALICE), ["active registered"]);
    world.reply(&last, 200);
    assert!(world.user.view().subscriptions.is_empty());
    assert_eq!(world.user.view().bindings.len(), 1);
}

#[test]
fn cc_32_nobody_listens_any_more() {
    for status in [404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604] {
        let (mut world, _) = World::registered();
        world.subscribe(&mut Watcher::ue("reg"), None);
        let notify = world.only_notify();
        let bindings = world.user.view().bindings;
        world.reply(&notify, status);
        assert!(world.user.view().subscriptions.is_empty(), "{status}");
        assert!(world.sent.is_empty(), "{status}");
        assert_eq!(world.user.view().bindings, bindings);
    }
    let (mut world, _) = World::registered();
    world.subscribe(&mut Watcher::ue("reg"), None);
    let notify = world.only_notify();
    world.time_out(&notify);
    assert!(world.user.view().subscriptions.is_empty() && world.sent.is_empty());
    assert_eq!(world.user.view().bindings.len(), 1);
}

#[test]
fn cc_33_other_failures_end_nothing() {
    for status in [302, 400, 403, 500, 503, 600] {
        let (mut world, mut ue) = World::registered();
        world.subscribe(&mut Watcher::ue("reg"), None);
        let notify = world.only_notify();
        world.reply(&notify, status);
        assert_eq!(world.user.view().subscriptions.len(), 1, "{status}");
        assert_eq!(world.user.view().subscriptions[0].last_notify.as_ref().unwrap().status, Some(status));
        world.attach(&mut ue);
        assert_eq!(world.only_notify().version(), 1);
    }
}

#[test]
fn cc_34_changes_in_flight_are_merged_into_the_next() {
    let (mut world, mut one, mut two) = two_ues();
    let mut edge = Watcher::p_cscf("reg");
    world.subscribe(&mut edge, Some(600_000));
    let first = world.only_notify();
    world.register(&mut two, Proof::Right, true);
    one.expires = 0;
    world.register(&mut one, Proof::Right, true);
    assert!(world.sent.is_empty(), "the first has no final response yet");
    world.reply(&first, 200);
    let second = world.only_notify();
    let mut told = second.told(ALICE);
    told.sort();
    assert_eq!(told, ["active refreshed", "terminated unregistered"]);
    assert_eq!(second.version(), 1);
    world.reply(&second, 200);
    assert!(world.sent.is_empty());
}

#[test]
fn a_contact_that_ends_in_flight_is_told_after_a_failure_too() {
    let (mut world, mut one, _) = two_ues();
    world.subscribe(&mut Watcher::p_cscf("reg"), None);
    let first = world.only_notify();
    one.expires = 0;
    world.register(&mut one, Proof::Right, true);
    world.reply(&first, 500);
    assert!(world.only_notify().told(ALICE).contains(&"terminated unregistered".into()));
}

#[test]
fn c_41_the_last_words_wait_for_the_notify_in_flight() {
    let (mut world, mut ue) = World::registered();
    world.subscribe(&mut Watcher::p_cscf("reg"), None);
    let first = world.only_notify();
    ue.expires = 0;
    world.register(&mut ue, Proof::Right, true);
    assert!(world.sent.is_empty() && !world.erased);
    world.reply(&first, 200);
    let last = world.only_notify();
    assert_eq!(last.state(), "terminated;reason=noresource");
    assert_eq!(last.told(ALICE), ["terminated unregistered"]);
    world.time_out(&last);
    assert!(world.erased);
}

#[test]
fn c_44_a_2xx_moves_the_remote_target() {
    let (mut world, mut ue) = World::registered();
    world.subscribe(&mut Watcher::ue("reg"), None);
    let first = world.only_notify();
    let response =
        first.request.respond(Status::OK, "x").header(Name::Contact, "<sip:alice@10.9.9.9:5099>").finish();
    world.step(Event::Reply { to: first.purpose, reply: scscf::Reply::Response(response) });
    world.attach(&mut ue);
    assert_eq!(world.only_notify().request.uri_text(), "sip:alice@10.9.9.9:5099");
}

#[test]
fn c_42_a_notify_whose_fate_was_lost_is_given_up() {
    let (mut world, _) = World::registered();
    world.subscribe(&mut Watcher::ue("reg"), None);
    world.take();
    world.pass(Span::seconds(200));
    assert!(world.user.view().subscriptions.is_empty());
    assert!(world.user.next_deadline().is_some_and(|deadline| deadline > world.now));
}

#[test]
fn answers_to_nothing_change_nothing() {
    let (mut world, mut ue) = World::registered();
    let first = world.watch(&mut Watcher::ue("reg"));
    world.attach(&mut ue);
    let second = world.only_notify();
    let before = record(&world.user);
    let late = first.request.respond(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST, "x").finish();
    world.step(Event::Reply { to: first.purpose, reply: scscf::Reply::Response(late) });
    assert_eq!(record(&world.user), before, "an answer to an earlier NOTIFY");
    world.reply(&second, 481);
    let before = record(&world.user);
    world.reply(&second, 200);
    assert_eq!(record(&world.user), before, "an answer for a subscription that is gone");
}

#[test]
fn c_4_the_hss_ends_it() {
    for (reason, state, event) in [
        (DeregistrationReason::PermanentTermination, "terminated;reason=rejected", ContactEvent::Rejected),
        (DeregistrationReason::ServerChange, "terminated;reason=noresource", ContactEvent::Deactivated),
    ] {
        let (mut world, _) = World::registered();
        let (mut own, mut edge) = (Watcher::ue("reg"), Watcher::p_cscf("reg"));
        world.watch(&mut own);
        world.watch(&mut edge);
        world.asked.clear();
        world.terminate(reason);
        assert!(world.asked.is_empty(), "the HSS needs no SAR");
        for watcher in [&own, &edge] {
            let last = world.notify_to(watcher);
            assert_eq!(last.state(), state);
            let contact = last.contacts(ALICE).remove(0);
            assert_eq!((contact.state, contact.event), (ContactState::Terminated, event));
            world.reply(&last, 200);
        }
        assert!(world.erased);
    }
}

#[test]
fn c_4_another_server_serves_the_user_now() {
    let (mut world, _) = World::registered();
    world.watch(&mut Watcher::ue("reg"));
    world.terminate(DeregistrationReason::NewServerAssigned);
    assert!(world.sent.is_empty() && world.erased);
}

#[test]
fn c_4_an_identity_that_the_hss_takes_away_is_told_terminated_once() {
    for by_registration in [false, true] {
        let (mut world, mut ue) = World::registered();
        world.watch(&mut Watcher::p_cscf("reg"));
        world.profile = profile(vec![identity(ALICE, false), identity(TEL, true)]);
        match by_registration {
            true => world.attach(&mut ue),
            false => {
                let user_data = Some(Ok(world.profile.clone()));
                let impi = Impi::new(crate::world::IMPI).unwrap();
                let push = scscf::cx::PushProfile { impi, user_data, charging: None, auth_data: None };
                world.demand(scscf::cx::Demand::PushProfile(push));
            }
        }
        let notify = world.only_notify();
        assert_eq!(notify.registration(TEL).state, RegistrationState::Terminated);
        assert_eq!(notify.told(TEL), ["terminated deactivated"]);
        assert_eq!(notify.registration(ALICE).state, RegistrationState::Active);
        assert_eq!(notify.contacts(ALICE).len(), 1);
        assert!(notify.state().starts_with("active;"));
        world.reply(&notify, 200);
        world.attach(&mut ue);
        let aors =
            world.only_notify().document().registrations.into_iter().map(|registration| registration.aor);
        assert_eq!(aors.collect::<Vec<_>>(), [ALICE]);
    }
}

#[test]
fn c_4_an_identity_that_comes_back_before_anybody_heard_never_went() {
    let (mut world, _) = World::registered();
    world.subscribe(&mut Watcher::p_cscf("reg"), None);
    let first = world.only_notify();
    for barred in [true, false] {
        let user_data = Some(Ok(profile(vec![identity(ALICE, false), identity(TEL, barred)])));
        let impi = Impi::new(crate::world::IMPI).unwrap();
        let push = scscf::cx::PushProfile { impi, user_data, charging: None, auth_data: None };
        world.demand(scscf::cx::Demand::PushProfile(push));
    }
    world.reply(&first, 200);
    assert_eq!(world.only_notify().told(TEL), ["active created"]);
}
