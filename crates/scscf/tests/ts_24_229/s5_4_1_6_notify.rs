//! TS 24.229 §5.4.1.6 — network-initiated re-authentication, as subscribers hear of it.

use crate::world::{ALICE, Proof, START, TEL, Ue, Watcher, World};
use scscf::cx::{self, ServerAssignmentType};
use scscf::user::Phase;
use scscf::{Span, Told};
use sip::reginfo::{ContactEvent, ContactState, RegistrationState};
use sip::{Method, Name, Status};

fn deadline_of(told: Told) -> scscf::Timestamp {
    match told {
        Told::Reauthenticating { deadline } | Told::AlreadyReauthenticating { deadline } => deadline,
        Told::Deregistering | Told::NotRegistered => panic!("{told:?}"),
    }
}

fn phase(world: &World) -> Phase {
    world.user.view().reauthentication.unwrap().phase
}

#[test]
fn ca_08_legacy_dialogs_hear_re_authenticate() {
    let (mut world, _) = World::registered();
    world.watch(&mut Watcher::ue("registration-state"));
    world.reauthenticate(None);
    let notify = world.only_notify();
    assert_eq!(notify.event(), "registration-state");
    assert_eq!(notify.registration(ALICE).state, RegistrationState::ReAuthenticate);
    assert_eq!(notify.registration(TEL).state, RegistrationState::ReAuthenticate);
    assert_eq!(notify.told(ALICE), ["active registered"]);
    assert_eq!(notify.contacts(ALICE)[0].expires, Some(600));
}

#[test]
fn ca_09_one_notify_on_each_dialog() {
    let (mut world, _) = World::registered();
    let (mut ue, mut edge) = (Watcher::ue("registration-state"), Watcher::p_cscf("registration-state"));
    world.watch(&mut ue);
    world.watch(&mut edge);
    world.reauthenticate(None);
    assert_eq!(world.sent.len(), 2);
    for watcher in [&ue, &edge] {
        assert_eq!(world.notify_to(watcher).registration(ALICE).state, RegistrationState::ReAuthenticate);
    }
}

#[test]
fn ca_10_request_uri_and_route_are_those_of_the_subscription() {
    let (mut world, _) = World::registered();
    let mut watcher = Watcher {
        record_route: vec!["<sip:b.net;lr>".into(), "<sip:a.net;lr>".into()],
        ..Watcher::ue("registration-state")
    };
    world.watch(&mut watcher);
    world.reauthenticate(None);
    let notify = world.only_notify().request;
    assert_eq!(notify.uri_text(), "sip:alice@10.0.0.1:5060");
    assert_eq!(notify.values(Name::Route).collect::<Vec<_>>(), ["<sip:b.net;lr>", "<sip:a.net;lr>"]);
    assert_eq!(
        (notify.from_tag(), notify.to_tag()),
        (Some(watcher.to_tag.as_str()), Some(watcher.tag.as_str()))
    );
}

#[test]
fn ca_11_after_the_2xx_the_register_is_awaited() {
    let (mut world, _) = World::registered();
    world.watch(&mut Watcher::ue("registration-state"));
    world.watch(&mut Watcher::p_cscf("registration-state"));
    world.reauthenticate(None);
    assert_eq!(phase(&world), Phase::Notifying);
    let sent = world.take();
    world.reply(&sent[0], 200);
    assert_eq!(phase(&world), Phase::Notifying, "one answer is missing");
    world.reply(&sent[1], 200);
    assert_eq!(phase(&world), Phase::Awaiting);
    world.pass(Span::seconds(500));
    assert!(world.sent.is_empty());
    let pending = world.user.view().reauthentication.unwrap();
    assert!(pending.notified.iter().all(|notified| notified.status == Some(200)));
}

#[test]
fn ca_12_notifies_that_time_out_change_no_deadline() {
    let (mut world, _) = World::registered();
    world.watch(&mut Watcher::ue("registration-state"));
    let deadline = deadline_of(world.reauthenticate(None));
    let sent = world.only_notify();
    world.pass(Span::seconds(32));
    world.time_out(&sent);
    assert_eq!(phase(&world), Phase::Awaiting);
    let pending = world.user.view().reauthentication.unwrap();
    assert_eq!((pending.deadline, pending.notified[0].status), (deadline, Some(0)));
    assert_eq!(world.user.view().bindings.len(), 1);
}

#[test]
fn ca_13_a_silent_ue_is_deregistered_at_the_deadline() {
    let (mut world, _) = World::registered();
    let (mut ue, mut edge) = (Watcher::ue("registration-state"), Watcher::p_cscf("reg"));
    world.watch(&mut ue);
    world.watch(&mut edge);
    world.reauthenticate(None);
    world.answer_all();
    world.pass(Span::seconds(599));
    assert_eq!(world.user.view().bindings.len(), 1);
    world.asked.clear();
    world.pass(Span::seconds(1));
    assert!(world.user.view().bindings.is_empty());
    assert!(world.user.view().reauthentication.is_none());
    assert_eq!(world.assignments(), [ServerAssignmentType::TimeoutDeregistration]);
    let last = world.notify_to(&edge);
    assert!(last.state().starts_with("terminated;reason="), "{}", last.state());
    assert_eq!(last.registration(ALICE).state, RegistrationState::Terminated);
    assert_eq!(last.registration(TEL).state, RegistrationState::Terminated);
    assert_eq!(last.told(ALICE), ["terminated expired"]);
    let to_ue = world.notify_to(&ue);
    assert_eq!(to_ue.registration(ALICE).state, RegistrationState::Terminated);
    world.reply(&last, 200);
    assert!(!world.erased, "the UE's last NOTIFY is still in flight");
    world.reply(&to_ue, 200);
    assert!(world.erased);
}

#[test]
fn ca_13_the_event_of_the_deadline_is_the_operators_choice() {
    let (mut world, _) = World::registered();
    world.policy.reauthentication.timeout_event = scscf::policy::TimeoutEvent::Deactivated;
    world.watch(&mut Watcher::p_cscf("reg"));
    world.reauthenticate(None);
    world.answer_all();
    world.pass(Span::seconds(600));
    assert_eq!(world.only_notify().told(ALICE), ["terminated deactivated"]);
}

#[test]
fn ca_18_reg_dialogs_hear_shortened_contacts() {
    let (mut world, _) = World::registered();
    world.watch(&mut Watcher::ue("reg"));
    world.reauthenticate(Some(300));
    let notify = world.only_notify();
    assert_eq!(notify.event(), "reg");
    let document = notify.document();
    let aors: Vec<_> = document.registrations.iter().map(|registration| registration.aor.as_str()).collect();
    assert_eq!(aors, [ALICE, TEL], "the barred identity is not told");
    for registration in &document.registrations {
        assert_eq!(registration.state, RegistrationState::Active);
        assert_eq!(registration.contacts.len(), 1);
        let contact = &registration.contacts[0];
        assert_eq!((contact.state, contact.event), (ContactState::Active, ContactEvent::Shortened));
        assert_eq!(contact.expires, Some(300));
        assert_eq!(contact.uri, "sip:alice@10.0.0.1:5060");
    }
}

#[test]
fn ca_19_the_stored_expiry_is_shortened() {
    let (mut world, _) = World::registered();
    world.reauthenticate(None);
    assert_eq!(world.user.view().bindings[0].expires_at, START + Span::seconds(600));
}

#[test]
fn ca_20_an_earlier_expiry_stays() {
    let mut world = World::new();
    let mut ue = Ue { expires: 100, ..Ue::one() };
    world.attach(&mut ue);
    world.watch(&mut Watcher::ue("reg"));
    world.reauthenticate(None);
    assert_eq!(world.user.view().bindings[0].expires_at, START + Span::seconds(100));
    assert_eq!(world.only_notify().contacts(ALICE)[0].expires, Some(100));
    world.pass(Span::seconds(100));
    assert!(world.user.view().bindings.is_empty());
    assert!(world.user.view().reauthentication.is_none(), "nothing is left to authenticate");
}

#[test]
fn ca_21_without_subscriber_the_expiry_is_shortened_all_the_same() {
    let (mut world, _) = World::registered();
    let deadline = deadline_of(world.reauthenticate(None));
    assert!(world.sent.is_empty());
    assert_eq!(world.user.view().bindings[0].expires_at, deadline);
    assert_eq!(phase(&world), Phase::Awaiting);
    world.pass(Span::seconds(600));
    assert!(world.erased);
}

#[test]
fn ca_23_success_ends_it() {
    let (mut world, mut ue) = World::registered();
    world.watch(&mut Watcher::ue("reg"));
    world.reauthenticate(None);
    world.answer_all();
    world.pass(Span::seconds(300));
    assert_eq!(
        world.register(&mut ue, Proof::Right, true).status(),
        Status::UNAUTHORIZED,
        "always challenged"
    );
    assert_eq!(phase(&world), Phase::Challenged);
    assert!(world.sent.is_empty());
    assert_eq!(world.register(&mut ue, Proof::Right, true).status(), Status::OK);
    assert!(world.user.view().reauthentication.is_none());
    assert_eq!(world.user.view().bindings[0].expires_at, world.now + Span::seconds(3600));
    assert_eq!(world.only_notify().told(ALICE), ["active refreshed"]);
    world.pass(Span::seconds(3599));
    assert_eq!(world.user.view().bindings.len(), 1);
}

#[test]
fn ca_25_a_second_demand_moves_nothing() {
    let (mut world, _) = World::registered();
    world.watch(&mut Watcher::ue("reg"));
    let first = deadline_of(world.reauthenticate(None));
    world.answer_all();
    world.pass(Span::seconds(100));
    for period in [None, Some(60), Some(6000)] {
        assert_eq!(world.reauthenticate(period), Told::AlreadyReauthenticating { deadline: first });
    }
    assert_eq!(world.user.view().reauthentication.unwrap().deadline, first);
    assert_eq!(world.user.view().bindings[0].expires_at, first);
    assert!(world.sent.is_empty());
    let answer =
        world.demand(cx::Demand::ReAuth(cx::ReAuth { impi: scscf::Impi::new(crate::world::IMPI).unwrap() }));
    assert!(matches!(answer.result, cx::ResultCode::Base(2001 | 2002)), "{:?}", answer.result);
    assert_eq!(world.user.view().reauthentication.unwrap().deadline, first);
}

#[test]
fn ca_26_the_deadline_survives_the_owner() {
    let (mut world, _) = World::registered();
    world.watch(&mut Watcher::ue("reg"));
    let deadline = deadline_of(world.reauthenticate(None));
    world.pass(Span::seconds(100));
    world.fail_over();
    assert_eq!(world.user.view().reauthentication.unwrap().deadline, deadline);
    let again = world.only_notify();
    assert_eq!(again.told(ALICE), ["active shortened"]);
    assert_eq!(again.contacts(ALICE)[0].expires, Some(500));
    world.reply(&again, 200);
    assert_eq!(phase(&world), Phase::Awaiting);
    world.pass(Span::seconds(500));
    assert!(world.user.view().bindings.is_empty());
}

#[test]
fn ca_27_each_dialog_hears_its_own_dialect() {
    let (mut world, _) = World::registered();
    let (mut legacy, mut current) = (Watcher::ue("registration-state"), Watcher::p_cscf("reg"));
    world.watch(&mut legacy);
    world.watch(&mut current);
    world.reauthenticate(None);
    let (legacy, current) = (world.notify_to(&legacy), world.notify_to(&current));
    assert_eq!(legacy.event(), "registration-state");
    assert_eq!(legacy.registration(ALICE).state, RegistrationState::ReAuthenticate);
    assert_eq!(current.event(), "reg");
    assert_eq!(current.registration(ALICE).state, RegistrationState::Active);
    assert_eq!(current.told(ALICE), ["active shortened"]);
    let xml = String::from_utf8_lossy(current.request.body()).into_owned();
    assert!(!xml.contains("re-authenticate"), "{xml}");
}

#[test]
fn ca_29_when_nobody_hears_each_contact_is_asked_by_refer() {
    let (mut world, _) = World::registered();
    world.policy.reauthentication.refer = true;
    world.watch(&mut Watcher::ue("reg"));
    world.watch(&mut Watcher::p_cscf("registration-state"));
    world.reauthenticate(None);
    let sent = world.take();
    world.reply(&sent[0], 500);
    assert!(world.sent.is_empty(), "one NOTIFY is still awaited");
    world.time_out(&sent[1]);
    let refers = world.take();
    assert_eq!(refers.len(), 1);
    let refer = &refers[0].request;
    assert_eq!(refer.method(), &Method::Refer);
    assert_eq!(refer.uri_text(), "sip:alice@10.0.0.1:5060");
    assert_eq!(refer.values(Name::Route).collect::<Vec<_>>(), ["<sip:term@pcscf1.visited1.net;lr>"]);
    assert_eq!(refer.get(Name::ReferTo).unwrap(), "<sip:home1.net;method=REGISTER>");
    assert_eq!(refer.get(Name::ReferSub).unwrap(), "false");
    assert_eq!(refer.get(Name::Supported).unwrap(), "norefersub");
    assert_eq!(refer.from().uri.as_str(), "sip:scscf.home1.net:5060");
    assert_eq!(refer.to().uri.as_str(), ALICE);
    assert_eq!(refer.get(Name::PAssertedIdentity).unwrap(), "<sip:scscf.home1.net:5060>");
    let before = world.user.view();
    world.reply(&refers[0], 405);
    assert_eq!(world.user.view(), before, "whatever the answer is, the deadline stands");
}

#[test]
fn ca_29_without_subscriber_it_is_asked_at_once() {
    let (mut world, _) = World::registered();
    world.policy.reauthentication.refer = true;
    world.reauthenticate(None);
    assert_eq!(world.take().len(), 1);
}

#[test]
fn ca_29_one_that_hears_is_enough() {
    let (mut world, _) = World::registered();
    world.policy.reauthentication.refer = true;
    world.watch(&mut Watcher::ue("reg"));
    world.watch(&mut Watcher::p_cscf("reg"));
    world.reauthenticate(None);
    let sent = world.take();
    world.reply(&sent[0], 481);
    world.reply(&sent[1], 200);
    assert!(world.sent.is_empty());
}

#[test]
fn ca_30_without_the_option_nobody_is_referred() {
    let (mut world, _) = World::registered();
    world.watch(&mut Watcher::ue("reg"));
    world.reauthenticate(None);
    let sent = world.only_notify();
    world.time_out(&sent);
    assert!(world.sent.is_empty());
    assert_eq!(phase(&world), Phase::Awaiting);
}

#[test]
fn a_demand_while_a_notify_is_in_flight_follows_it() {
    let (mut world, _) = World::registered();
    let mut watcher = Watcher::ue("reg");
    world.subscribe(&mut watcher, Some(3600));
    let first = world.only_notify();
    world.reauthenticate(None);
    assert!(world.sent.is_empty());
    assert_eq!(phase(&world), Phase::Notifying);
    world.reply(&first, 200);
    assert_eq!(phase(&world), Phase::Notifying, "the demand itself is not answered yet");
    let demand = world.only_notify();
    assert_eq!(demand.told(ALICE), ["active shortened"]);
    world.reply(&demand, 200);
    assert_eq!(phase(&world), Phase::Awaiting);
}

#[test]
fn whoever_subscribes_while_it_is_pending_hears_of_it() {
    let (mut world, _) = World::registered();
    world.reauthenticate(None);
    let notify = world.watch(&mut Watcher::ue("registration-state"));
    assert_eq!(notify.registration(ALICE).state, RegistrationState::ReAuthenticate);
}

#[test]
fn nobody_registered_nothing_to_authenticate() {
    let mut world = World::new();
    assert_eq!(world.reauthenticate(None), Told::NotRegistered);
    assert!(world.sent.is_empty());
}

#[test]
fn the_period_is_never_below_the_minimum() {
    let (mut world, _) = World::registered();
    assert_eq!(deadline_of(world.reauthenticate(Some(1))), START + Span::seconds(60));
}
