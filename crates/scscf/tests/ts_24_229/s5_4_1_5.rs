//! TS 24.229 §5.4.1.5 — deregistration by time and by the network.

use crate::stage::*;
use scscf::cx::{Demand, DeregistrationReason, RegistrationTermination, ResultCode, ServerAssignmentType};
use scscf::{Impi, Save, Told};

fn rtr(reason: DeregistrationReason, impus: &[&str]) -> Demand {
    Demand::RegistrationTermination(RegistrationTermination {
        impi: Impi::new(IMPI).unwrap(),
        associated_identities: Vec::new(),
        impus: impus.iter().map(|&impu| impu.into()).collect(),
        reason,
        reason_info: None,
    })
}

fn subscribed() -> Stage {
    let mut stage = Stage::registered();
    let subscribe = format!(
        "SUBSCRIBE {ALICE} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKs\r\nFrom: <sip:pcscf.example>;tag=1\r\n\
         To: <{ALICE}>\r\nCall-ID: s\r\nCSeq: 1 SUBSCRIBE\r\nMax-Forwards: 70\r\nEvent: reg\r\nExpires: 600000\r\n\
         Contact: <sip:pcscf.example>\r\nP-Asserted-Identity: <sip:term@pcscf.example>\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(stage.send(request(&subscribe)).unwrap().status().code(), 200, "{}", stage.summary);
    settle(&mut stage);
    stage
}

/// Every NOTIFY gets its 200.
fn settle(stage: &mut Stage) -> Vec<sip::Request> {
    let mut seen = Vec::new();
    loop {
        let said = std::mem::take(&mut stage.said);
        let mut any = false;
        for effect in said {
            if let scscf::Effect::Send { purpose, request } = effect {
                any = true;
                let ok = request.respond(sip::Status::OK, "w").finish();
                seen.push(request);
                stage.step(scscf::Event::Reply { to: purpose, reply: scscf::Reply::Response(ok) });
            }
        }
        if !any {
            return seen;
        }
    }
}

fn body(notify: &sip::Request) -> String {
    String::from_utf8_lossy(notify.body()).into_owned()
}

#[test]
fn cb_77_a_binding_expires() {
    let mut stage = subscribed();
    stage.pass(600_000);
    assert!(!stage.user.is_registered());
    assert_eq!(stage.assignments(), [ServerAssignmentType::TimeoutDeregistration]);
    let notifies = stage.notifies();
    assert_eq!(notifies.len(), 1);
    assert!(body(&notifies[0]).contains("event=\"expired\""), "{}", body(&notifies[0]));
    settle(&mut stage);
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn cb_78_it_expires_once() {
    let mut stage = Stage::registered();
    stage.pass(600_000);
    stage.step(scscf::Event::Deadline);
    stage.step(scscf::Event::Resumed);
    assert_eq!(stage.sars().len(), 1);
}

#[test]
fn who_wakes_when_the_deadline_has_passed_notifies_once() {
    let mut stage = subscribed();
    stage.now = stage.now + scscf::Span::seconds(600_000);
    stage.reload();
    assert_eq!(stage.sars().len(), 1);
    let notifies = settle(&mut stage);
    assert_eq!(notifies.len(), 1, "{notifies:#?}");
    assert!(body(&notifies[0]).contains("event=\"expired\""), "{}", body(&notifies[0]));
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn whoever_has_something_in_flight_wakes_at_once_at_the_next_owner() {
    let mut stage = subscribed();
    assert_eq!(stage.user.wakes_at(), stage.user.next_deadline());
    stage.reauthenticate(600);
    let at_once = Some(scscf::Timestamp::from_millis(0));
    assert_eq!(stage.user.wakes_at(), at_once, "NOTIFY awaits its answer");
    assert!(stage.user.next_deadline() > at_once);
    settle(&mut stage);
    assert_eq!(stage.user.wakes_at(), stage.user.next_deadline());
}

#[test]
fn a_late_deadline_is_kept_before_anything_else() {
    let mut stage = Stage::registered();
    stage.now = stage.now + scscf::Span::seconds(700_000);
    let response = stage.register(&Ue::new().next().next().protected());
    assert_eq!(response.status().code(), 500, "the registration has expired");
}

#[test]
fn cb_79_permanent_termination() {
    let mut stage = subscribed();
    let answer = stage.demand(rtr(DeregistrationReason::PermanentTermination, &[]));
    assert_eq!(answer.result, ResultCode::SUCCESS);
    let notifies = settle(&mut stage);
    assert_eq!(notifies.len(), 1);
    assert!(body(&notifies[0]).contains("event=\"rejected\""));
    assert!(notifies[0].get(sip::Name::SubscriptionState).unwrap().starts_with("terminated"));
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn cb_80_server_change() {
    let mut stage = subscribed();
    assert_eq!(
        stage.demand(rtr(DeregistrationReason::ServerChange, &["sip:nobody@h"])).result,
        ResultCode::SUCCESS
    );
    let notifies = settle(&mut stage);
    assert!(body(&notifies[0]).contains("event=\"deactivated\""));
    assert!(!stage.user.is_registered());
}

#[test]
fn cb_81_served_elsewhere_already() {
    let mut stage = subscribed();
    let answer = stage.demand(rtr(DeregistrationReason::NewServerAssigned, &[]));
    assert_eq!(answer.result, ResultCode::SUCCESS);
    assert!(stage.notifies().is_empty());
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn cb_82_the_profile_of_an_unregistered_user() {
    let mut stage = Stage::registered();
    let answer = stage.demand(rtr(DeregistrationReason::RemoveScscf, &[]));
    assert_eq!(answer.result, ResultCode::UNABLE_TO_COMPLY, "the user is registered");
    assert!(stage.user.is_registered());
    stage.policy.registration.store_server_name = true;
    stage.register(&Ue::new().next().next().protected().expires(0));
    assert_eq!(stage.user.impus().count(), 3);
    let answer = stage.demand(rtr(DeregistrationReason::RemoveScscf, &[]));
    assert_eq!(answer.result, ResultCode::SUCCESS);
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn cb_83_one_identity_takes_its_set_along() {
    let mut stage = Stage::registered();
    assert_eq!(
        stage.demand(rtr(DeregistrationReason::PermanentTermination, &[TEL])).result,
        ResultCode::SUCCESS
    );
    assert_eq!(stage.user.impus().count(), 0);
}

fn two_sets() -> Stage {
    let mut stage = Stage::registered();
    let second = format!("sip:second@{DOMAIN}");
    stage.hss.user_data = Some(Ok(subscription(vec![identity(&second, false)])));
    let mut ue = Ue::new().call("second");
    ue.to = format!("<{second}>");
    assert_eq!(stage.register_fully(&ue).status().code(), 200, "{}", stage.summary);
    assert_eq!(stage.user.impus().count(), 4);
    stage.said.clear();
    stage
}

#[test]
fn cb_84_without_identities_all_sets_go() {
    let mut stage = two_sets();
    stage.demand(rtr(DeregistrationReason::PermanentTermination, &[]));
    assert_eq!(stage.user.impus().count(), 0);
    let mut stage = two_sets();
    stage.demand(rtr(DeregistrationReason::PermanentTermination, &[ALICE]));
    assert_eq!(stage.user.impus().count(), 1);
}

#[test]
fn cb_86_an_unknown_user() {
    let mut stage = Stage::new();
    let answer = stage.demand(rtr(DeregistrationReason::PermanentTermination, &[]));
    assert_eq!(answer.result, ResultCode::USER_UNKNOWN);
    assert_eq!(stage.last, Some(Save::Erase));
    let mut stage = Stage::registered();
    let answer = stage.demand(rtr(DeregistrationReason::PermanentTermination, &["sip:nobody@h"]));
    assert_eq!(answer.result, ResultCode::USER_UNKNOWN);
    assert!(stage.user.is_registered());
}

#[test]
fn cb_87_the_hss_is_not_told_what_it_asked_for() {
    for reason in [
        DeregistrationReason::PermanentTermination,
        DeregistrationReason::NewServerAssigned,
        DeregistrationReason::ServerChange,
        DeregistrationReason::RemoveScscf,
    ] {
        let mut stage = Stage::registered();
        stage.demand(rtr(reason, &[]));
        assert!(stage.sars().is_empty(), "{reason:?}");
    }
}

#[test]
fn cb_88_the_answer_waits_for_no_notify() {
    let mut stage = subscribed();
    // The answer stands in the outcome of the same step as the NOTIFY.
    assert_eq!(
        stage.demand(rtr(DeregistrationReason::PermanentTermination, &[])).result,
        ResultCode::SUCCESS
    );
    assert_eq!(stage.notifies().len(), 1);
}

#[test]
fn an_operator_ends_a_registration() {
    let mut stage = subscribed();
    assert_eq!(stage.deregister("fraud"), Told::Deregistering);
    assert_eq!(stage.assignments(), [ServerAssignmentType::AdministrativeDeregistration]);
    let notifies = settle(&mut stage);
    assert!(body(&notifies[0]).contains("event=\"rejected\""));
    assert_eq!(stage.last, Some(Save::Erase));
    let mut stage = Stage::new();
    assert_eq!(stage.deregister("fraud"), Told::NotRegistered);
}
