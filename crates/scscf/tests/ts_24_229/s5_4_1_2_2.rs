//! TS 24.229 §5.4.1.2.2 — protected REGISTER: the answer, and whether there must be one.

use crate::stage::*;
use scscf::cx::ServerAssignmentType;
use scscf::policy::UnprotectedAnswer;
use scscf::{Save, Span};
use sip::Name;

fn again() -> Ue {
    Ue::new().next().next().protected()
}

#[test]
fn cb_02_a_protected_refresh_is_accepted() {
    let mut stage = Stage::registered();
    stage.pass(100);
    let ok = stage.register(&again().expires(3600));
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    assert!(stage.mars().is_empty() && stage.sars().is_empty());
    assert_eq!(stage.expires_in(0), 3600);
    assert_eq!(stage.bindings().len(), 1);
    assert_eq!(stage.last, Some(Save::Snapshot));
}

#[test]
fn a_refresh_tells_the_hss_once_in_a_while() {
    let mut stage = Stage::registered();
    stage.pass(1800);
    assert_eq!(stage.register(&again()).status().code(), 200);
    assert_eq!(stage.assignments(), [ServerAssignmentType::ReRegistration]);
    assert_eq!(stage.register(&again().next()).status().code(), 200);
    assert_eq!(stage.sars().len(), 1);
}

#[test]
fn a_refresh_survives_an_hss_that_is_down() {
    let mut stage = Stage::registered();
    stage.pass(1800);
    stage.hss.sar = Some(scscf::cx::Failure::Unreachable);
    assert_eq!(stage.register(&again().expires(3600)).status().code(), 200);
    assert_eq!(stage.expires_in(0), 3600);
}

#[test]
fn cb_06_no_flow_beyond_the_maximum() {
    let mut stage = Stage::new();
    stage.policy.registration.max_contacts = 2;
    for reg_id in 1..=2 {
        let ok = stage.register_fully(&Ue::new().call(&format!("f{reg_id}")).flow(5060, reg_id));
        assert_eq!(ok.status().code(), 200);
    }
    let third = Ue::new().call("f3").flow(5060, 3);
    let before = stage.owned();
    assert_eq!(stage.register(&third).status().code(), 403);
    assert_eq!(stage.register(&third.protected().next()).status().code(), 403);
    assert_eq!(stage.owned(), before);
    assert_eq!(
        stage.register(&Ue::new().call("f2").flow(5060, 2).next().next().protected()).status().code(),
        200
    );
}

#[test]
fn cb_12_a_protected_register_with_zero_deregisters() {
    let mut stage = Stage::registered();
    assert_eq!(stage.register(&again().expires(0)).status().code(), 200);
    assert!(!stage.user.is_registered());
    assert_eq!(stage.assignments(), [ServerAssignmentType::UserDeregistration]);
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn cb_13_a_new_address_needs_an_initial_registration() {
    let mut stage = Stage::registered();
    let before = stage.owned();
    let other = again().call("reg-2").contact("<sip:alice@192.0.2.2:5060>");
    assert_eq!(stage.register(&other).status().code(), 403);
    assert_eq!(stage.owned(), before);
}

#[test]
fn cb_14_a_first_hop_without_outbound() {
    let mut stage = Stage::new();
    let lacking = Ue::new().flow(5060, 1).path(&["<sip:ibcf.example;lr;ob>", "<sip:pcscf.example;lr>"]);
    assert_eq!(stage.register(&lacking).status().code(), 439);
    assert!(stage.mars().is_empty());
}

#[test]
fn cb_50_a_refresh_over_such_a_hop_keeps_the_binding() {
    let mut stage = Stage::new();
    let ue = Ue::new().flow(5060, 1);
    let lacking = ue.clone().path(&["<sip:ibcf.example;lr;ob>", "<sip:pcscf.example;lr>"]);
    stage.register_fully(&ue);
    let before = stage.owned();
    assert_eq!(stage.register(&lacking.next().next().protected()).status().code(), 439);
    assert_eq!(stage.owned(), before);
}

#[test]
fn cb_15_a_protected_register_of_an_unknown_user() {
    let mut stage = Stage::new();
    assert_eq!(stage.register(&Ue::new().protected()).status().code(), 500);
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn cb_16_the_answer_comes_under_the_call_id_of_the_challenge() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    let astray = Ue::new().next().call("another").answering(&challenge);
    assert_eq!(stage.register(&astray).status().code(), 403);
    assert_eq!(stage.register(&Ue::new().next().answering(&challenge)).status().code(), 200);
}

#[test]
fn cb_17_the_answer_names_the_algorithm() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    let right = Ue::new().next().answering(&challenge);
    let digest = right.authorization.clone().unwrap();
    let mut without = digest.clone();
    without.remove("algorithm");
    for wrong in [digest.clone().token("algorithm", "MD5"), without] {
        assert_eq!(stage.register(&right.clone().with(wrong)).status().code(), 403);
    }
    // As a quoted string and in lower case it is the same algorithm.
    let quoted = right.with(digest.quoted("algorithm", "akav1-md5"));
    assert_eq!(stage.register(&quoted).status().code(), 200);
}

#[test]
fn cb_18_the_response_of_set_1() {
    for (nc, response) in
        [(Some("00000001"), "402ab8df9f3a4d63a9f47c2f90e02938"), (None, "1125a3c2e293453f07e08957ff235efc")]
    {
        let mut stage = Stage::new();
        let challenge = stage.register(&Ue::new());
        let nonce = challenge_of(&challenge).get("nonce").unwrap().to_owned();
        let digest = credentials(IMPI, &nonce, &[], nc).quoted("response", response);
        let ok = stage.register(&Ue::new().next().protected().with(digest));
        assert_eq!(ok.status().code(), 200, "{nc:?} {}", stage.summary);
    }
}

#[test]
fn an_answer_without_qop_is_the_policys_to_refuse() {
    let mut stage = Stage::new();
    stage.policy.authentication.accept_without_qop = false;
    let challenge = stage.register(&Ue::new());
    let nonce = challenge_of(&challenge).get("nonce").unwrap().to_owned();
    let digest = credentials(IMPI, &nonce, &[], None).quoted("response", "1125a3c2e293453f07e08957ff235efc");
    assert_eq!(stage.register(&Ue::new().next().protected().with(digest)).status().code(), 403);
}

#[test]
fn cb_19_res_as_text_is_wrong() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    let nonce = challenge_of(&challenge).get("nonce").unwrap().to_owned();
    let digest = credentials(IMPI, &nonce, b"a54211d5e3ba50bf", Some("00000001"));
    assert_eq!(digest.get("response"), Some("fdf3cf50a13e95188ad763670204f085"));
    assert_eq!(stage.register(&Ue::new().next().protected().with(digest)).status().code(), 403);
}

#[test]
fn cb_20_a_right_answer_without_protection_where_the_policy_is_strict() {
    let mut stage = Stage::new();
    stage.policy.authentication.unprotected_answer = UnprotectedAnswer::Challenge;
    let challenge = stage.register(&Ue::new());
    let again = stage.register(&Ue::new().next().answering(&challenge).unprotected());
    assert_eq!(again.status().code(), 401);
    assert!(!stage.user.is_registered());
    assert_ne!(challenge_of(&challenge).get("nonce"), challenge_of(&again).get("nonce"));
}

#[test]
fn a_right_answer_without_protection_proves_the_key() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    let mut ue = Ue::new().next().answering(&challenge);
    ue.protected = None;
    assert_eq!(stage.register(&ue).status().code(), 200, "{}", stage.summary);
}

#[test]
fn cb_24_the_first_registration_asks_for_the_profile() {
    let mut stage = Stage::new();
    stage.register_fully(&Ue::new());
    let sars = stage.sars();
    assert_eq!(sars.len(), 1);
    assert_eq!(sars[0].assignment, ServerAssignmentType::Registration);
    assert!(!sars[0].user_data_available);
    assert_eq!(sars[0].impus, [ALICE.into()]);
}

#[test]
fn cb_25_a_later_one_has_it() {
    let mut stage = Stage::registered();
    let ok = stage.register_fully(&Ue::new().next().next());
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    let sars = stage.sars();
    assert_eq!(sars.len(), 1);
    assert_eq!(sars[0].assignment, ServerAssignmentType::ReRegistration);
    assert!(sars[0].user_data_available);
    assert_eq!(stage.bindings().len(), 1);
}

#[test]
fn an_answer_is_honoured_once() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    let answer = Ue::new().next().answering(&challenge);
    stage.hss.prompt = false;
    assert!(stage.send(answer.register()).is_none());
    assert_eq!(stage.register(&answer.clone().next()).status().code(), 500);
    stage.hss.prompt = true;
    stage.hss_answers();
    assert!(stage.user.is_registered());
    assert_eq!(stage.challenges(), 0);
    let replayed = stage.register(&answer.next().next().unprotected());
    assert_eq!(replayed.status().code(), 401, "a nonce serves once");
}

#[test]
fn cb_29_an_old_cseq_changes_nothing() {
    let mut stage = Stage::registered();
    let before = stage.owned();
    for ue in [Ue::new(), Ue::new().next()] {
        let late = stage.register(&ue.protected().expires(100));
        assert_eq!(late.status().code(), 500);
    }
    assert_eq!(stage.owned(), before);
}

#[test]
fn ch_01_every_reregister_is_challenged() {
    let mut stage = Stage::registered();
    stage.policy.reauthentication.on_every_reregister = true;
    let challenge = stage.register(&again());
    assert_eq!(challenge.status().code(), 401);
    assert_eq!(stage.register(&again().next().answering(&challenge)).status().code(), 200);
}

#[test]
fn ch_02_the_last_authentication_is_old() {
    let mut stage = Stage::registered();
    stage.policy.reauthentication.interval = 3600;
    stage.pass(7200);
    assert_eq!(stage.register(&again()).status().code(), 401);
}

#[test]
fn ch_03_the_last_authentication_is_recent() {
    let mut stage = Stage::registered();
    stage.policy.reauthentication.interval = 3600;
    stage.pass(600);
    assert_eq!(stage.register(&again()).status().code(), 200);
}

#[test]
fn ch_04_each_third_is_challenged() {
    let mut stage = Stage::registered();
    stage.policy.reauthentication.every_n_registrations = 3;
    let mut ue = again();
    for round in 0..2 {
        for _ in 0..2 {
            assert_eq!(stage.register(&ue).status().code(), 200, "{round}");
            ue = ue.next();
        }
        let challenge = stage.register(&ue);
        assert_eq!(challenge.status().code(), 401, "{round}");
        ue = ue.next();
        assert_eq!(stage.register(&ue.clone().answering(&challenge)).status().code(), 200);
        ue = ue.next();
    }
}

#[test]
fn ch_05_another_path_is_challenged() {
    let mut stage = Stage::registered();
    let moved = again().path(&["<sip:term@pcscf2.example;lr>"]);
    let before = stage.owned();
    let challenge = stage.register(&moved);
    assert_eq!(challenge.status().code(), 401);
    assert_eq!(stage.owned(), before);
    assert_eq!(stage.register(&moved.next().answering(&challenge)).status().code(), 200);
    assert_eq!(stage.bindings()[0]["path"][0], "<sip:term@pcscf2.example;lr>");
    stage.policy.reauthentication.on_path_change = false;
    assert_eq!(stage.register(&again().next().next()).status().code(), 200);
}

#[test]
fn ch_05_so_is_another_visited_network() {
    let mut stage = Stage::registered();
    let roaming = again().line("P-Visited-Network-ID: \"visited.example\"");
    assert_eq!(stage.register(&roaming).status().code(), 401);
}

#[test]
fn ch_06_after_some_wrong_answers_the_next_is_challenged() {
    let mut stage = Stage::registered();
    stage.policy.reauthentication.on_failure_count = 2;
    for n in 0..2 {
        let ue = Ue::new().call(&format!("attack-{n}"));
        let challenge = stage.register(&ue);
        assert_eq!(stage.register(&ue.next().botching(&challenge)).status().code(), 403);
    }
    assert!(stage.user.is_registered());
    assert_eq!(stage.register(&again().next().next()).status().code(), 401);
}

#[test]
fn a_share_of_refreshes_is_challenged() {
    let mut stage = Stage::registered();
    stage.policy.reauthentication.random_percent = 50;
    let mut ue = again();
    let mut challenged = 0;
    for _ in 0..200 {
        match stage.register(&ue).status().code() {
            401 => challenged += 1,
            status => assert_eq!(status, 200),
        }
        ue = ue.next();
    }
    assert!((60..140).contains(&challenged), "{challenged}");
}

#[test]
fn cb_40_a_register_without_contact_tells_the_bindings() {
    let mut stage = Stage::registered();
    stage.pass(100);
    let before = stage.owned();
    let mut fetch = again();
    fetch.contacts.clear();
    for expires in [None, Some(0), Some(3600)] {
        fetch.expires = expires;
        let ok = stage.register(&fetch);
        assert_eq!(ok.status().code(), 200);
        assert_eq!(ok.get(Name::Contact).unwrap(), format!("{CONTACT};expires=599900"));
    }
    assert_eq!(stage.owned(), before);
    assert_eq!(stage.register(&fetch.unprotected()).status().code(), 401);
}

#[test]
fn a_new_owner_goes_on_with_the_challenge() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    let answer = Ue::new().next().answering(&challenge);
    stage.hss.prompt = false;
    assert!(stage.send(answer.register()).is_none());
    // The owner dies with the SAR unanswered; its successor has the record alone.
    let record = rmp_serde::to_vec_named(&stage.user).unwrap();
    stage.user = rmp_serde::from_slice(&record).unwrap();
    stage.unanswered.clear();
    stage.hss.prompt = true;
    stage.step(scscf::Event::Resumed);
    stage.now = stage.now + Span::seconds(4);
    assert_eq!(stage.register(&answer).status().code(), 200, "{}", stage.summary);
}

#[test]
fn a_new_owner_repeats_a_200_that_never_left() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    let answer = Ue::new().next().answering(&challenge);
    let ok = stage.register(&answer);
    let record = rmp_serde::to_vec_named(&stage.user).unwrap();
    stage.user = rmp_serde::from_slice(&record).unwrap();
    stage.step(scscf::Event::Resumed);
    stage.said.clear();
    let before = stage.owned();
    let repeated = stage.register(&answer);
    for name in [Name::Contact, Name::ServiceRoute, Name::PAssociatedUri, Name::Path] {
        assert_eq!(repeated.get(name), ok.get(name));
    }
    assert_eq!(stage.owned(), before);
    assert!(stage.mars().is_empty() && stage.sars().is_empty());
    assert_eq!(stage.register(&answer.line("X-Other: 1")).status().code(), 500, "another one with that CSeq");
}
