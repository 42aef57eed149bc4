//! TS 24.229 §5.4.1.2 — several REGISTERs at once, and what ends while the HSS is asked.

use crate::stage::*;
use scscf::cx::{
    Answer, Demand, DeregistrationReason, RegistrationTermination, Request as CxRequest, ResultCode,
    ServerAssignmentAnswer, ServerAssignmentType,
};
use scscf::{CxPurpose, Event, Impi, ServerTx};

/// An HSS that sends User-Data whether it is held or not, as some do.
fn assigned() -> Answer {
    Answer::ServerAssignment(Ok(ServerAssignmentAnswer {
        hss: None,
        user_data: Some(Ok(alice())),
        charging: None,
        associated_identities: Vec::new(),
        server_name_not_stored: false,
    }))
}

/// The assignment that waits longest.
fn waiting(stage: &mut Stage) -> CxPurpose {
    let at = stage.unanswered.iter().position(|(purpose, _)| matches!(purpose, CxPurpose::Assign(_)));
    stage.unanswered.remove(at.expect("an assignment that waits")).0
}

fn status(stage: &Stage, tx: u64) -> Option<u16> {
    stage.response_to(ServerTx(tx)).map(|response| response.status().code())
}

fn contacts(stage: &Stage) -> Vec<String> {
    stage.bindings().iter().map(|binding| binding["uri"].as_str().unwrap().to_owned()).collect()
}

/// A registered user whose refresh waits for the HSS, and its transaction.
fn refreshing(keep: bool) -> (Stage, u64, CxPurpose) {
    let mut stage = Stage::new();
    stage.policy.registration.store_server_name = keep;
    stage.register_fully(&Ue::new());
    stage.said.clear();
    stage.pass(1800);
    stage.hss.prompt = false;
    assert!(stage.send(Ue::new().next().next().protected().register()).is_none());
    let (tx, refresh) = (stage.tx, waiting(&mut stage));
    (stage, tx, refresh)
}

fn terminate(stage: &mut Stage, reason: DeregistrationReason) -> ResultCode {
    let rtr = RegistrationTermination {
        impi: Impi::new(IMPI).unwrap(),
        associated_identities: Vec::new(),
        impus: Vec::new(),
        reason,
        reason_info: None,
    };
    stage.demand(Demand::RegistrationTermination(rtr)).result
}

#[test]
fn a_refresh_does_not_outlive_the_deregistration() {
    for keep in [false, true] {
        let (mut stage, tx, refresh) = refreshing(keep);
        let gone = Ue::new().next().next().next().protected().expires(0);
        assert_eq!(stage.register(&gone).status().code(), 200);
        stage.step(Event::CxAnswer { to: refresh, answer: assigned() });
        assert!(!stage.user.is_registered(), "keep={keep}");
        assert_eq!(status(&stage, tx), Some(500));
    }
}

#[test]
fn nor_an_end_by_the_hss() {
    for reason in [DeregistrationReason::PermanentTermination, DeregistrationReason::ServerChange] {
        let (mut stage, tx, refresh) = refreshing(false);
        assert_eq!(terminate(&mut stage, reason), ResultCode::SUCCESS);
        assert_eq!(status(&stage, tx), Some(500));
        stage.step(Event::CxAnswer { to: refresh, answer: assigned() });
        assert!(!stage.user.is_registered());
    }
}

#[test]
fn nor_its_own_expiry() {
    let mut stage = Stage::new();
    stage.policy.registration.store_server_name = true;
    stage.register_fully(&Ue::new().expires(1900));
    stage.pass(1850);
    stage.hss.prompt = false;
    assert!(stage.send(Ue::new().next().next().protected().register()).is_none());
    let (tx, refresh) = (stage.tx, waiting(&mut stage));
    stage.pass(60);
    stage.step(Event::CxAnswer { to: refresh, answer: assigned() });
    assert!(!stage.user.is_registered());
    assert_eq!(status(&stage, tx), Some(500));
}

#[test]
fn an_initial_registration_that_the_hss_ends_before_its_answer_arrives() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    stage.hss.prompt = false;
    assert!(stage.send(Ue::new().next().answering(&challenge).register()).is_none());
    let (tx, initial) = (stage.tx, waiting(&mut stage));
    let result = terminate(&mut stage, DeregistrationReason::PermanentTermination);
    assert_eq!(result, ResultCode::SUCCESS);
    assert_eq!(status(&stage, tx), Some(500));
    stage.step(Event::CxAnswer { to: initial, answer: assigned() });
    assert!(!stage.user.is_registered());
    assert_eq!(stage.challenges(), 0);
}

#[test]
fn a_refresh_does_not_bring_a_replaced_contact_back() {
    let (mut stage, tx, refresh) = refreshing(false);
    stage.hss.prompt = true;
    let moved = Ue::new().call("moved").contact("<sip:alice@192.0.2.77:5060>");
    assert_eq!(stage.register_fully(&moved).status().code(), 200);
    stage.step(Event::CxAnswer { to: refresh, answer: assigned() });
    assert_eq!(contacts(&stage), ["sip:alice@192.0.2.77:5060"]);
    assert_eq!(status(&stage, tx), Some(500));
}

#[test]
fn an_earlier_register_does_not_take_the_place_of_a_later_one() {
    let mut stage = Stage::new();
    let first = stage.register(&Ue::new());
    let second = stage.register(&Ue::new().next());
    stage.hss.prompt = false;
    let early = Ue::new().next().next().answering(&first);
    let late = Ue::new().next().next().next().contact("<sip:alice@192.0.2.77:5060>").answering(&second);
    for ue in [&early, &late] {
        assert!(stage.send(ue.register()).is_none());
    }
    let (early, late) = (waiting(&mut stage), waiting(&mut stage));
    for to in [late, early] {
        stage.step(Event::CxAnswer { to, answer: assigned() });
    }
    assert_eq!(contacts(&stage), ["sip:alice@192.0.2.77:5060"]);
}

#[test]
fn flows_in_flight_count_when_they_arrive() {
    let mut stage = Stage::new();
    stage.policy.registration.max_contacts = 2;
    let ue = |port: u16| Ue::new().call(&format!("flow-{port}")).flow(port, u32::from(port));
    let challenges: Vec<_> = (1..=4).map(|port| stage.register(&ue(port))).collect();
    stage.hss.prompt = false;
    for (port, challenge) in (1..=4).zip(&challenges) {
        assert!(stage.send(ue(port).next().answering(challenge).register()).is_none());
    }
    for _ in 0..4 {
        let to = waiting(&mut stage);
        stage.step(Event::CxAnswer { to, answer: assigned() });
    }
    assert_eq!(stage.bindings().len(), 2);
    let answers: Vec<_> = (stage.tx - 3..=stage.tx).map(|tx| status(&stage, tx)).collect();
    assert_eq!(answers, [Some(200), Some(200), Some(403), Some(403)]);
}

#[test]
fn a_right_answer_that_finds_no_room_may_come_again() {
    let mut stage = Stage::registered();
    stage.policy.registration.max_attempts = 4;
    stage.policy.reauthentication.on_every_reregister = true;
    let again = || Ue::new().next().next().protected();
    let challenge = stage.register(&again());
    stage.hss.prompt = false;
    for n in 0..4 {
        assert!(stage.send(again().call(&format!("busy-{n}")).register()).is_none());
    }
    let answer = again().next().answering(&challenge);
    assert_eq!(stage.register(&answer).status().code(), 503);
    stage.hss.prompt = true;
    stage.hss_answers();
    stage.policy.authentication.max_pending = 8;
    assert_ne!(stage.register(&answer.next()).status().code(), 500);
}

#[test]
fn one_request_does_not_bind_and_remove_a_contact() {
    for contacts in [
        ["<sip:alice@192.0.2.1>;expires=600", "<sip:alice@192.0.2.1>;expires=0"],
        ["<sip:alice@192.0.2.1>;expires=0", "<sip:alice@192.0.2.1>;expires=600"],
    ] {
        let mut stage = Stage::new();
        let mut ue = Ue::new();
        ue.contacts = contacts.map(str::to_owned).to_vec();
        assert_eq!(stage.register(&ue).status().code(), 400);
        assert!(stage.mars().is_empty());
    }
}

#[test]
fn contacts_that_differ_in_parameters_are_limited_as_others_are() {
    let mut stage = Stage::new();
    stage.policy.registration.max_contacts = 3;
    let mut ue = Ue::new();
    ue.contacts = (0..4).map(|n| format!("<sip:alice@192.0.2.1;x={n}>")).collect();
    assert_eq!(stage.register(&ue).status().code(), 403);
    ue.contacts.truncate(3);
    assert_eq!(stage.register_fully(&ue).status().code(), 200);
    assert_eq!(stage.bindings().len(), 3);
}

#[test]
fn an_emergency_contact_is_not_removed_beside_another() {
    let mut stage = Stage::registered();
    let sos = "<sip:alice@192.0.2.1:5060;sos>";
    stage.register_fully(&Ue::new().call("sos").contact(sos).expires(3600));
    let mut both = Ue::new().next().next().protected();
    both.contacts.push(format!("{sos};expires=0"));
    assert_eq!(stage.register(&both).status().code(), 501);
    assert_eq!(stage.bindings().len(), 2);
}

#[test]
fn a_path_is_as_long_as_it_is_written() {
    let mut stage = Stage::new();
    let path = format!("\"{}\" {PATH}", "x".repeat(3000));
    assert_eq!(stage.register(&Ue::new().path(&[&path])).status().code(), 400);
}

#[test]
fn an_identity_that_the_hss_added_joins_its_set() {
    let mut stage = Stage::registered();
    let bob = format!("sip:alice-at-work@{DOMAIN}");
    let mut identities: Vec<_> = alice().identities().cloned().collect();
    identities.push(identity(&bob, false));
    stage.hss.user_data = Some(Ok(subscription(identities)));
    let mut ue = Ue::new().call("work");
    ue.to = format!("<{bob}>");
    assert_eq!(stage.register_fully(&ue).status().code(), 200, "{}", stage.summary);
    assert_eq!(stage.record()["registration"]["sets"].as_array().unwrap().len(), 1);
    assert_eq!(stage.bindings().len(), 1);
    let view = stage.user.view();
    assert_eq!(view.identities.iter().filter(|identity| identity.impu == ALICE).count(), 1);
}

#[test]
fn an_assignment_that_fails_leaves_the_registration() {
    for failure in [
        scscf::cx::Failure::Unreachable,
        scscf::cx::Failure::Refused(ResultCode::UNABLE_TO_COMPLY),
        scscf::cx::Failure::Refused(ResultCode::USER_UNKNOWN),
        scscf::cx::Failure::Malformed("nonsense".into()),
    ] {
        let mut stage = Stage::registered();
        let before = stage.bindings();
        let challenge = stage.register(&Ue::new().call("again"));
        stage.hss.sar = Some(failure);
        let refused = stage.register(&Ue::new().call("again").next().answering(&challenge));
        assert!(refused.status().code() >= 400);
        assert_eq!(stage.bindings(), before);
        let asked = stage.assignments();
        assert_eq!(asked, [ServerAssignmentType::ReRegistration], "nothing is undone");
        assert!(stage.said.iter().all(|effect| !matches!(
            effect,
            scscf::Effect::CxRequest { purpose: CxPurpose::Report, request: CxRequest::ServerAssignment(_) }
        )));
    }
}

/// A user who is asked to authenticate again within 600 s, and the REGISTER it sends for that.
fn asked() -> (Stage, Ue) {
    let mut stage = Stage::registered();
    stage.reauthenticate(600);
    stage.said.clear();
    (stage, Ue::new().next().next().protected())
}

#[test]
fn an_hss_that_is_down_for_a_moment_costs_only_that_moment() {
    let (mut stage, ue) = asked();
    let deadline = stage.user.next_deadline();
    stage.hss.mar = Some(Err(scscf::cx::Failure::Unreachable));
    assert_eq!(stage.register(&ue).status().code(), 504);
    stage.hss.mar = None;
    let challenge = stage.register(&ue.clone().next());
    stage.hss.sar = Some(scscf::cx::Failure::Unreachable);
    assert_eq!(stage.register(&ue.clone().next().next().answering(&challenge)).status().code(), 504);
    assert_eq!(stage.user.next_deadline(), deadline, "nothing moved");
    stage.hss.sar = None;
    let challenge = stage.register(&ue.clone().call("anew").next());
    let ok = stage.register(&ue.call("anew").next().next().answering(&challenge));
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    stage.pass(600);
    assert!(stage.user.is_registered());
}

#[test]
fn a_vector_that_comes_after_the_deadline_serves_a_new_registration() {
    let (mut stage, ue) = asked();
    stage.hss.prompt = false;
    assert!(stage.send(ue.register()).is_none());
    let tx = stage.tx;
    stage.pass(600);
    assert!(!stage.user.is_registered());
    stage.hss.prompt = true;
    stage.hss_answers();
    let challenge = stage.response_to(ServerTx(tx)).unwrap();
    assert_eq!(challenge.status().code(), 401);
    let ok = stage.register(&ue.next().answering(&challenge).unprotected());
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    assert!(stage.record()["authentication"]["reauthentication"].is_null());
}

#[test]
fn a_challenge_that_outlives_the_deadline_serves_a_new_registration() {
    for takeover in [false, true] {
        let (mut stage, ue) = asked();
        stage.pass(500);
        let challenge = stage.register(&ue);
        if takeover {
            let record = rmp_serde::to_vec_named(&stage.user).unwrap();
            stage.user = rmp_serde::from_slice(&record).unwrap();
            stage.step(Event::Resumed);
        }
        stage.pass(100);
        assert!(!stage.user.is_registered());
        stage.said.clear();
        assert_eq!(stage.register(&ue.next().answering(&challenge)).status().code(), 200);
        assert_eq!(stage.assignments(), [ServerAssignmentType::Registration]);
    }
}

#[test]
fn an_answer_whose_assignment_is_still_out_at_the_deadline_is_too_late() {
    let (mut stage, ue) = asked();
    let challenge = stage.register(&ue);
    stage.hss.prompt = false;
    assert!(stage.send(ue.next().answering(&challenge).register()).is_none());
    let (tx, late) = (stage.tx, waiting(&mut stage));
    stage.pass(600);
    assert_eq!(status(&stage, tx), Some(500));
    stage.step(Event::CxAnswer { to: late, answer: assigned() });
    assert!(!stage.user.is_registered());
    assert_eq!(stage.challenges(), 0);
}

#[test]
fn a_refresh_on_its_way_when_the_network_asks_ends_at_the_deadline() {
    let (mut stage, tx, refresh) = refreshing(false);
    stage.reauthenticate(600);
    stage.step(Event::CxAnswer { to: refresh, answer: assigned() });
    assert_eq!(status(&stage, tx), Some(200));
    assert_eq!(stage.expires_in(0), 600);
    stage.pass(600);
    assert!(!stage.user.is_registered());
}

#[test]
fn an_assignment_lost_with_its_owner_may_be_asked_for_again() {
    let (mut stage, ue) = asked();
    let challenge = stage.register(&ue);
    stage.hss.prompt = false;
    assert!(stage.send(ue.clone().next().answering(&challenge).register()).is_none());
    let late = waiting(&mut stage);
    let record = rmp_serde::to_vec_named(&stage.user).unwrap();
    stage.user = rmp_serde::from_slice(&record).unwrap();
    stage.step(Event::Resumed);
    stage.step(Event::CxAnswer { to: late, answer: assigned() });
    stage.unanswered.clear();
    stage.hss.prompt = true;
    let ok = stage.register(&ue.next().answering(&challenge));
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    assert!(stage.record()["authentication"]["reauthentication"].is_null());
}
