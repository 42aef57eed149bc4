//! TS 24.229 §5.4.1.2.3 — abnormal cases: a wrong answer changes nothing.

use crate::stage::*;
use scscf::cx::{Answer, ServerAssignmentAnswer, ServerAssignmentType};
use scscf::{CxPurpose, Event, Save};

fn attack(stage: &mut Stage) -> u16 {
    let ue = Ue::new().call("attack").contact("<sip:evil@203.0.113.1>").path(&["<sip:evil.example;lr>"]);
    let challenge = stage.register(&ue);
    assert_eq!(challenge.status().code(), 401);
    stage.register(&ue.next().botching(&challenge).unprotected()).status().code()
}

#[test]
fn ca_01_wrong_res_changes_nothing() {
    let mut stage = Stage::registered();
    let (before, deadline) = (stage.owned(), stage.user.next_deadline());
    assert_eq!(attack(&mut stage), 403);
    assert_eq!(stage.owned(), before);
    assert_eq!(stage.user.next_deadline(), deadline);
    assert!(stage.sars().is_empty() && stage.notifies().is_empty());
    assert_eq!(stage.record()["authentication"]["wrong_answers"], 1);
}

#[test]
fn ca_01_nor_does_it_with_a_protection_it_does_not_have() {
    let mut stage = Stage::registered();
    let before = stage.owned();
    let ue = Ue::new().call("attack").contact("<sip:evil@203.0.113.1>");
    let challenge = stage.register(&ue);
    assert_eq!(stage.register(&ue.next().botching(&challenge)).status().code(), 403);
    assert_eq!(stage.owned(), before);
}

#[test]
fn ca_01_twenty_attacks_end_with_the_registration() {
    let mut stage = Stage::new();
    stage.register_fully(&Ue::new().expires(3600));
    let end = stage.bindings()[0]["expires_at"].clone();
    for _ in 0..20 {
        attack(&mut stage);
        stage.pass(60);
        assert_eq!(stage.bindings()[0]["expires_at"], end);
    }
    stage.pass(2400);
    assert!(!stage.user.is_registered(), "its own expiry ends it");
}

#[test]
fn ca_06_auts_that_nobody_with_the_card_computed() {
    let mut stage = Stage::registered();
    let before = stage.owned();
    let ue = Ue::new().call("attack");
    let challenge = stage.register(&ue);
    stage.said.clear();
    let nonce = challenge_of(&challenge).get("nonce").unwrap().to_owned();
    let digest = credentials(IMPI, &nonce, b"guess", Some("00000001")).quoted("auts", "uoU/PBJrvTvaszz5vaI=");
    assert_eq!(stage.register(&ue.next().with(digest)).status().code(), 403);
    assert!(stage.mars().is_empty());
    assert_eq!(stage.owned(), before);
}

#[test]
fn ca_07_the_answer_to_a_report_deregisters_nobody() {
    let mut stage = Stage::registered();
    let before = stage.owned();
    let taken = ServerAssignmentAnswer {
        hss: None,
        user_data: None,
        charging: None,
        associated_identities: Vec::new(),
        server_name_not_stored: true,
    };
    stage.step(Event::CxAnswer { to: CxPurpose::Report, answer: Answer::ServerAssignment(Ok(taken)) });
    assert_eq!(stage.owned(), before);
    assert!(stage.user.is_registered());
}

#[test]
fn cb_42_a_wrong_answer_of_an_unregistered_user_is_reported() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    let refused = stage.register(&Ue::new().next().botching(&challenge));
    assert_eq!(refused.status().code(), 403);
    assert_eq!(stage.assignments(), [ServerAssignmentType::AuthenticationFailure]);
    assert_eq!(stage.sars()[0].impus, [ALICE.into()]);
    assert_eq!(stage.challenges(), 0, "the timer is stopped");
    // The vector is consumed: the right answer comes too late.
    let late = stage.register(&Ue::new().next().next().answering(&challenge).unprotected());
    assert_eq!(late.status().code(), 401);
}

#[test]
fn cb_42_it_is_not_while_another_challenge_is_out() {
    let mut stage = Stage::new();
    let victim = stage.register(&Ue::new());
    assert_eq!(attack(&mut stage), 403);
    assert!(stage.sars().is_empty(), "the HSS would forget the S-CSCF of the other attempt");
    assert_eq!(stage.register(&Ue::new().next().answering(&victim)).status().code(), 200);
}

#[test]
fn cb_43_a_ue_that_finds_the_mac_invalid_is_challenged_twice_at_most() {
    let mut stage = Stage::new();
    let mut ue = Ue::new();
    let mut response = stage.register(&ue);
    let mut challenges = 0;
    while response.status().code() == 401 {
        challenges += 1;
        assert!(challenges < 3);
        let nonce = challenge_of(&response).get("nonce").unwrap().to_owned();
        let digest = credentials(IMPI, &nonce, &[], None).quoted("response", "");
        ue = ue.next().protected().with(digest);
        response = stage.register(&ue);
    }
    assert_eq!((challenges, response.status().code()), (2, 403));
    assert_eq!(stage.assignments(), [ServerAssignmentType::AuthenticationFailure]);
}

fn resynchronising(nonce: &str, auts: &str, response: &str) -> sip::Digest {
    credentials(IMPI, nonce, &[], Some("00000001")).quoted("response", response).quoted("auts", auts)
}

#[test]
fn cb_44_a_resynchronisation() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    let nonce = challenge_of(&challenge).get("nonce").unwrap().to_owned();
    let digest = resynchronising(&nonce, "uoU/PBJrvTvaszz5vaI=", "da492ad7b08bb89514f214f8c2fdb82b");
    let second = stage.register(&Ue::new().next().with(digest));
    assert_eq!(second.status().code(), 401, "{}", stage.summary);
    let asked = stage.mars()[1].resynchronise.unwrap();
    assert_eq!(scscf::aka::hex(&asked.rand), "23553cbe9637a89d218ae64dae47bf35");
    assert_eq!(scscf::aka::hex(&asked.auts), "ba853f3c126bbd3bdab33cf9bda2");
    let nonce = challenge_of(&second).get("nonce").unwrap().to_owned();
    assert_eq!(nonce, "n3yNAhrM9NshPM/wx/caaqp0eZM5u7m5NLv9wxGP1S8=");
    let digest = credentials(IMPI, &nonce, &[], Some("00000001"))
        .quoted("response", "ea6162ec97920f13ca47b3581fe74c42");
    assert_eq!(stage.register(&Ue::new().next().next().protected().with(digest)).status().code(), 200);
    assert_eq!(stage.record()["authentication"]["resyncs"], 1);
}

#[test]
fn cb_45_but_not_two_in_a_row() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    let nonce = challenge_of(&challenge).get("nonce").unwrap().to_owned();
    let digest = resynchronising(&nonce, "uoU/PBJrvTvaszz5vaI=", "da492ad7b08bb89514f214f8c2fdb82b");
    let second = stage.register(&Ue::new().next().with(digest));
    let nonce = challenge_of(&second).get("nonce").unwrap().to_owned();
    let again = credentials(IMPI, &nonce, &[], Some("00000001")).quoted("auts", "uoU/PBJrvTvaszz5vaI=");
    stage.said.clear();
    assert_eq!(stage.register(&Ue::new().next().next().with(again)).status().code(), 403);
    assert!(stage.mars().is_empty());
    assert_eq!(stage.assignments(), [ServerAssignmentType::AuthenticationFailure]);
}

#[test]
fn cb_46_auts_of_another_length() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    let nonce = challenge_of(&challenge).get("nonce").unwrap().to_owned();
    let digest = resynchronising(&nonce, "uoU/PBJrvTvaszz5vQ==", "da492ad7b08bb89514f214f8c2fdb82b");
    stage.said.clear();
    assert_eq!(stage.register(&Ue::new().next().with(digest)).status().code(), 403);
    assert!(stage.mars().is_empty());
}

#[test]
fn cb_47_an_expired_challenge_of_a_registered_user() {
    let mut stage = Stage::registered();
    stage.policy.reauthentication.on_every_reregister = true;
    let before = stage.owned();
    assert_eq!(stage.register(&Ue::new().next().next().protected()).status().code(), 401);
    stage.pass(240);
    assert_eq!(stage.owned(), before);
    assert!(stage.sars().is_empty());
}

#[test]
fn cb_49_an_answer_with_another_username_or_identity() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    let nonce = challenge_of(&challenge).get("nonce").unwrap().to_owned();
    let other = credentials("b@h", &nonce, vector(0).xres.reveal(), Some("00000001"));
    assert_eq!(stage.register(&Ue::new().next().protected().with(other)).status().code(), 403);
    let mut elsewhere = Ue::new().next().answering(&challenge);
    elsewhere.to = format!("<sip:bob@{DOMAIN}>");
    assert_eq!(stage.register(&elsewhere).status().code(), 403);
    assert_eq!(stage.register(&Ue::new().next().answering(&challenge)).status().code(), 200);
}

#[test]
fn a_failed_attempt_leaves_nothing_behind() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    stage.register(&Ue::new().next().botching(&challenge));
    stage.pass(60);
    assert_eq!(stage.last, Some(Save::Erase));
}
