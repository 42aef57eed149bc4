//! TS 24.229 §5.4.1.1, RFC 3261 §10.3 — which procedure a REGISTER gets, and what is refused before any.

use crate::stage::*;
use scscf::{Save, policy::OverLimit};
use sip::{Digest, Name};

fn status(stage: &mut Stage, ue: &Ue) -> u16 {
    let before = stage.owned();
    let status = stage.register(ue).status().code();
    assert_eq!(stage.owned(), before, "a refusal changes nothing");
    status
}

#[test]
fn cb_01_integrity_protected_no_is_challenged() {
    let mut stage = Stage::new();
    let response = stage.register(&Ue::new());
    assert_eq!(response.status().code(), 401);
    assert_eq!(challenge_of(&response).get("algorithm"), Some("AKAv1-MD5"));
}

#[test]
fn cb_01_without_the_parameter_too() {
    let mut stage = Stage::registered();
    let mut ue = Ue::new().next().next();
    ue.protected = None;
    assert_eq!(status(&mut stage, &ue), 401);
}

#[test]
fn cb_03_without_authorization_the_private_identity_is_derived_from_to() {
    let mut stage = Stage::new();
    let mut ue = Ue::new();
    ue.authorization = None;
    ue.to = format!("<sip:001010000000001@{DOMAIN}:5060;x=1>");
    assert_eq!(stage.register(&ue).status().code(), 401);
    assert_eq!(stage.mars()[0].impi.as_str(), IMPI);
    assert!(stage.mars()[0].impu.starts_with("sip:001010000000001@"));
}

#[test]
fn cb_04_auth_done_from_a_trusted_peer_needs_no_challenge() {
    let mut stage = Stage::new();
    let mut ue = Ue::new();
    ue.protected = Some("auth-done");
    assert_eq!(stage.register(&ue).status().code(), 200, "{}", stage.summary);
    assert!(stage.mars().is_empty());
    assert_eq!(stage.sars().len(), 1);
}

#[test]
fn cb_05_integrity_protected_of_a_stranger_is_as_if_absent() {
    for word in ["yes", "auth-done", "tls-yes"] {
        let mut stage = Stage::registered();
        stage.trusted = false;
        let mut ue = Ue::new().next().next();
        ue.protected = Some(word);
        assert_eq!(status(&mut stage, &ue), 401, "{word}");
        let challenge = stage.register(&ue.clone().next());
        let challenge = challenge_of(&challenge);
        assert!(!challenge.has("ck") && !challenge.has("ik"), "keys are for the P-CSCF alone");
    }
}

#[test]
fn digest_without_aka_is_refused_with_its_clause() {
    for word in ["ip-assoc-pending", "ip-assoc-yes", "tls-pending", "TLS-yes", "tls-connected"] {
        let mut stage = Stage::new();
        let mut ue = Ue::new();
        ue.protected = Some(word);
        let response = stage.register(&ue);
        assert_eq!(response.status().code(), 403, "{word}");
        assert!(response.get(Name::Warning).unwrap().contains("TS 24.229 §5.4.1"));
        assert_eq!(stage.last, Some(Save::Erase));
    }
}

#[test]
fn cb_36_the_contact_says_more_than_expires() {
    let mut stage = Stage::new();
    let ue = Ue::new().contact(&format!("{CONTACT};expires=1000")).expires(2000);
    stage.register_fully(&ue);
    assert_eq!(stage.expires_in(0), 1000);
}

#[test]
fn cb_37_no_more_than_the_maximum_is_granted() {
    let mut stage = Stage::new();
    stage.policy.registration.max_expires = 3600;
    let ok = stage.register_fully(&Ue::new());
    assert_eq!(ok.get(Name::Contact).unwrap(), format!("{CONTACT};expires=3600"));
    assert_eq!(stage.expires_in(0), 3600);
}

#[test]
fn an_interval_nobody_can_read_counts_as_an_hour() {
    let mut stage = Stage::new();
    stage.register_fully(&Ue::new().contact(&format!("{CONTACT};expires=soon")));
    assert_eq!(stage.expires_in(0), 3600);
}

#[test]
fn cb_38_too_short_an_interval_is_refused_before_any_challenge() {
    let mut stage = Stage::new();
    let response = stage.register(&Ue::new().expires(30));
    assert_eq!(response.status().code(), 423);
    assert_eq!(response.seconds(Name::MinExpires).unwrap(), Some(60));
    assert!(stage.mars().is_empty());
}

#[test]
fn cb_39_a_star_with_an_interval() {
    let mut stage = Stage::registered();
    let star = Ue::new().next().next().protected().contact("*");
    assert_eq!(status(&mut stage, &star.clone().expires(3600)), 400);
    let mut without = star;
    without.expires = None;
    assert_eq!(status(&mut stage, &without), 400);
}

#[test]
fn cb_41_reg_id_out_of_range() {
    let mut stage = Stage::new();
    for number in ["0", "2147483648", "x", ""] {
        let mut ue = Ue::new().flow(5060, 1);
        ue.contacts[0] = ue.contacts[0].replace("reg-id=1", &format!("reg-id={number}"));
        assert_eq!(status(&mut stage, &ue), 400, "{number}");
    }
}

#[test]
fn a_register_binds_one_flow_at_most() {
    let mut stage = Stage::new();
    let mut ue = Ue::new().flow(5060, 1);
    ue.contacts.push(ue.contacts[0].replace("reg-id=1", "reg-id=2"));
    assert_eq!(status(&mut stage, &ue), 400);
}

#[test]
fn what_no_register_may_say() {
    let mut stage = Stage::new();
    let mut foreign = Ue::new();
    foreign.request_uri = "sip:elsewhere.example".to_owned();
    assert_eq!(status(&mut stage, &foreign), 403);
    let mut tel = Ue::new();
    tel.to = format!("<{TEL}>");
    assert_eq!(status(&mut stage, &tel), 400);
    assert_eq!(status(&mut stage, &Ue::new().contact("<sip:a@[::1>")), 400);
    assert_eq!(status(&mut stage, &Ue::new().contact(&format!("<sip:{}@h>", "a".repeat(3000)))), 400);
    assert_eq!(status(&mut stage, &Ue::new().with(Digest::new().quoted("username", "b@h"))), 403);
    let ue = Ue::new().line("Require: path, sec-dance");
    let response = stage.register(&ue);
    assert_eq!(response.status().code(), 420);
    assert_eq!(response.get(Name::Unsupported).unwrap(), "sec-dance");
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn a_refusal_names_its_clause() {
    let mut stage = Stage::new();
    stage.policy.authentication.max_challenges_per_minute = 0;
    stage.policy.authentication.over_limit = OverLimit::Unavailable;
    let response = stage.register(&Ue::new());
    assert_eq!(response.status().code(), 503);
    assert_eq!(response.seconds(Name::RetryAfter).unwrap(), Some(60));
    assert!(response.get(Name::Warning).unwrap().contains("(TS 24.229 §5.4.1.2.1)"));
}
