//! TS 24.229 §5.4.1.6 — network-initiated re-authentication, seen from the REGISTERs it brings.

use crate::stage::*;
use scscf::cx::{Demand, ReAuth, ResultCode, ServerAssignmentType};
use scscf::policy::OnWrongAnswer;
use scscf::{Impi, Save, Told};

fn again() -> Ue {
    Ue::new().next().next().protected()
}

fn demanded(on_wrong_answer: OnWrongAnswer) -> Stage {
    let mut stage = Stage::registered();
    stage.policy.reauthentication.on_wrong_answer = on_wrong_answer;
    assert!(matches!(stage.reauthenticate(600), Told::Reauthenticating { .. }));
    stage.said.clear();
    stage
}

#[test]
fn ca_14_a_protected_wrong_answer_is_challenged_again_a_few_times() {
    let mut stage = demanded(OnWrongAnswer::Rechallenge);
    let mut ue = again();
    let mut response = stage.register(&ue);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        ue = ue.next();
        response = stage.register(&ue.clone().botching(&response));
        statuses.push(response.status().code());
    }
    assert_eq!(statuses, [401, 401, 403]);
    assert!(stage.user.is_registered());
    assert!(stage.sars().is_empty());
    assert_eq!(stage.expires_in(0), 600, "only the deadline ends it");
    stage.pass(600);
    assert!(!stage.user.is_registered());
}

#[test]
fn ca_15_a_protected_wrong_answer_deregisters_where_the_policy_says_so() {
    let mut stage = demanded(OnWrongAnswer::Deregister);
    let challenge = stage.register(&again());
    let refused = stage.register(&again().next().botching(&challenge));
    assert_eq!(refused.status().code(), 403);
    assert!(!stage.user.is_registered());
    assert_eq!(stage.assignments(), [ServerAssignmentType::AdministrativeDeregistration]);
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn ca_16_an_unprotected_wrong_answer_never_does() {
    let mut stage = demanded(OnWrongAnswer::Deregister);
    let before = stage.owned();
    let ue = Ue::new().call("attack").contact("<sip:evil@203.0.113.1>");
    let challenge = stage.register(&ue);
    let refused = stage.register(&ue.clone().next().botching(&challenge).unprotected());
    assert_eq!(refused.status().code(), 403);
    assert_eq!(stage.owned(), before);
    // Nor a protected answer to a challenge that an unprotected REGISTER provoked, ...
    let challenge = stage.register(&ue.clone().next().next());
    assert_eq!(stage.register(&ue.next().next().next().botching(&challenge)).status().code(), 403);
    // ... nor an unprotected answer to one that a protected REGISTER provoked.
    let challenge = stage.register(&again());
    assert_eq!(stage.register(&again().next().botching(&challenge).unprotected()).status().code(), 403);
    assert_eq!(stage.owned(), before);
    assert!(stage.user.is_registered());
}

#[test]
fn ca_17_an_answer_to_no_challenge_of_ours_never_does() {
    let mut stage = demanded(OnWrongAnswer::Deregister);
    let before = stage.owned();
    let digest = credentials(IMPI, "AAAA", b"wrong", Some("00000001"));
    assert_eq!(stage.register(&again().with(digest)).status().code(), 401);
    assert_eq!(stage.owned(), before);
}

#[test]
fn ca_17_nor_one_under_another_call_id() {
    let mut stage = demanded(OnWrongAnswer::Deregister);
    let challenge = stage.register(&again());
    let before = stage.owned();
    assert_eq!(stage.register(&again().call("x").botching(&challenge)).status().code(), 403);
    assert_eq!(stage.owned(), before);
}

#[test]
fn a_wrong_answer_is_refused_where_the_policy_rejects() {
    let mut stage = demanded(OnWrongAnswer::Reject);
    let before = stage.owned();
    let challenge = stage.register(&again());
    assert_eq!(stage.register(&again().next().botching(&challenge)).status().code(), 403);
    assert_eq!(stage.owned(), before);
}

#[test]
fn ca_19_ca_21_every_lifetime_is_shortened() {
    let stage = demanded(OnWrongAnswer::Reject);
    assert_eq!(stage.expires_in(0), 600);
}

#[test]
fn ca_20_and_none_lengthened() {
    let mut stage = Stage::new();
    stage.register_fully(&Ue::new().expires(100));
    stage.reauthenticate(600);
    assert_eq!(stage.expires_in(0), 100);
}

#[test]
fn ca_22_a_protected_refresh_is_challenged() {
    let mut stage = Stage::new();
    let former = stage.register(&Ue::new());
    assert_eq!(stage.register(&Ue::new().next().answering(&former)).status().code(), 200);
    stage.reauthenticate(600);
    let refresh = Ue::new().next().next().answering(&former);
    let challenge = stage.register(&refresh);
    assert_eq!(challenge.status().code(), 401);
    assert_ne!(challenge_of(&challenge).get("nonce"), challenge_of(&former).get("nonce"));
}

#[test]
fn ca_23_a_right_answer_ends_it() {
    let mut stage = demanded(OnWrongAnswer::Deregister);
    let challenge = stage.register(&again());
    let ok = stage.register(&again().next().expires(3600).answering(&challenge));
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    assert_eq!(stage.expires_in(0), 3600);
    assert!(stage.record()["authentication"]["reauthentication"].is_null());
    assert_eq!(stage.bindings()[0]["event"], "refreshed");
    stage.pass(3599);
    assert!(stage.user.is_registered());
}

#[test]
fn ca_24_a_protected_deregistration_needs_no_challenge() {
    let mut stage = demanded(OnWrongAnswer::Rechallenge);
    assert_eq!(stage.register(&again().expires(0)).status().code(), 200);
    assert!(!stage.user.is_registered());
    assert!(stage.mars().is_empty());
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn ca_25_a_second_demand_moves_nothing() {
    let mut stage = demanded(OnWrongAnswer::Rechallenge);
    let deadline = stage.user.next_deadline();
    stage.pass(100);
    assert!(
        matches!(stage.reauthenticate(3600), Told::AlreadyReauthenticating { deadline: at } if Some(at) == deadline)
    );
    assert_eq!(stage.user.next_deadline(), deadline);
}

#[test]
fn ca_26_a_new_owner_keeps_the_deadline() {
    let mut stage = demanded(OnWrongAnswer::Rechallenge);
    let deadline = stage.user.next_deadline();
    stage.pass(100);
    let record = rmp_serde::to_vec_named(&stage.user).unwrap();
    stage.user = rmp_serde::from_slice(&record).unwrap();
    stage.step(scscf::Event::Resumed);
    assert_eq!(stage.user.next_deadline(), deadline);
    stage.pass(500);
    assert!(!stage.user.is_registered());
    assert_eq!(stage.assignments(), [ServerAssignmentType::TimeoutDeregistration]);
}

#[test]
fn the_hss_asks_by_re_auth_request() {
    let ask = || Demand::ReAuth(ReAuth { impi: Impi::new(IMPI).unwrap() });
    let mut stage = Stage::registered();
    assert_eq!(stage.demand(ask()).result, ResultCode::SUCCESS);
    assert_eq!(stage.record()["authentication"]["reauthentication"]["by"], "Hss");
    assert_eq!(stage.demand(ask()).result, ResultCode::SUCCESS, "it is pending already");
    let mut stage = Stage::new();
    assert_eq!(stage.demand(ask()).result, ResultCode::USER_UNKNOWN);
}

#[test]
fn ca_32_a_period_below_the_minimum_is_raised_to_it() {
    let mut stage = Stage::registered();
    stage.reauthenticate(10);
    assert_eq!(stage.expires_in(0), 60);
    let mut stage = Stage::registered();
    stage.reauthenticate(1_000_000);
    assert_eq!(stage.expires_in(0), 86_400);
}
