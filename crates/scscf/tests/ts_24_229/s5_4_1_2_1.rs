//! TS 24.229 §5.4.1.2.1 — unprotected REGISTER: the challenge.

use crate::stage::*;
use scscf::cx::{AuthItem, DigestCredentials, Failure, ResultCode, Scheme, Secret, ServerAssignmentType};
use scscf::{Save, Span};
use sip::Name;

#[test]
fn cb_07_a_vector_is_asked_for_in_the_name_of_the_cluster() {
    let mut stage = Stage::new();
    stage.register(&Ue::new());
    let mars = stage.mars();
    assert_eq!(mars.len(), 1);
    assert_eq!(mars[0].scheme, Scheme::AkaV1Md5);
    assert_eq!(&*mars[0].server_name, stage.policy.name.as_str());
    assert_eq!((mars[0].impi.as_str(), &*mars[0].impu), (IMPI, ALICE));
    assert_eq!(mars[0].resynchronise, None);
}

#[test]
fn cb_08_the_401_carries_the_challenge_and_nothing_of_the_registration() {
    let mut stage = Stage::new();
    let response = stage.register(&Ue::new());
    assert_eq!(
        response.get(Name::WwwAuthenticate).unwrap(),
        format!(
            "Digest realm=\"{DOMAIN}\", nonce=\"I1U8vpY3qJ0hiuZNrke/NVXzKLQ1d7m5Sp/6w1Tfr7M=\", algorithm=AKAv1-MD5, \
             ck=\"b40ba9a3c58b2a05bbf0d987b21bf8cb\", ik=\"f769bcd751044604127672711c6d3441\", qop=\"auth\""
        )
    );
    for name in [Name::Contact, Name::ServiceRoute, Name::PAssociatedUri] {
        assert!(!response.has(name));
    }
    assert!(response.to_tag().is_some());
}

#[test]
fn cb_09_the_nonce_of_set_1() {
    let mut stage = Stage::new();
    let response = stage.register(&Ue::new());
    assert_eq!(challenge_of(&response).get("nonce"), Some("I1U8vpY3qJ0hiuZNrke/NVXzKLQ1d7m5Sp/6w1Tfr7M="));
}

#[test]
fn the_realm_is_ours_in_the_spelling_of_the_ue() {
    let mut stage = Stage::new();
    let spelled = DOMAIN.to_uppercase();
    let ue = Ue::new().with(empty_authorization(IMPI).quoted("realm", &spelled));
    assert_eq!(challenge_of(&stage.register(&ue)).get("realm"), Some(&*spelled));
    let ue = Ue::new().with(empty_authorization(IMPI).quoted("realm", "elsewhere"));
    assert_eq!(challenge_of(&stage.register(&ue)).get("realm"), Some(DOMAIN));
}

#[test]
fn cb_10_unanswered_for_240_s() {
    let mut stage = Stage::new();
    stage.register(&Ue::new());
    stage.pass(239);
    assert_eq!(stage.challenges(), 1);
    stage.pass(1);
    assert_eq!(stage.challenges(), 0);
    assert_eq!(stage.assignments(), [ServerAssignmentType::AuthenticationTimeout]);
    assert_eq!(stage.last, Some(Save::Erase), "it owns nothing");
}

#[test]
fn cb_11_answered_at_239_s() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    stage.pass(239);
    let ok = stage.register(&Ue::new().next().answering(&challenge));
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
}

#[test]
fn an_answer_after_the_timer_is_an_initial_register() {
    let mut stage = Stage::new();
    let challenge = stage.register(&Ue::new());
    stage.pass(240);
    let late = Ue::new().next().answering(&challenge);
    assert_eq!(stage.register(&late.clone().unprotected()).status().code(), 401);
    assert_eq!(stage.register(&late.protected()).status().code(), 500);
}

#[test]
fn cb_48_a_repeated_register_is_a_new_challenge() {
    let mut stage = Stage::new();
    let first = stage.register(&Ue::new());
    let second = stage.register(&Ue::new().next());
    assert_eq!(second.status().code(), 401);
    assert_ne!(challenge_of(&first).get("nonce"), challenge_of(&second).get("nonce"));
    assert_eq!(stage.register(&Ue::new().next().next().answering(&second)).status().code(), 200);
}

#[test]
fn ca_02_a_challenge_never_answered_leaves_the_registration_alone() {
    let mut stage = Stage::registered();
    let before = stage.owned();
    stage.register(&Ue::new().call("attack").contact("<sip:evil@203.0.113.1>"));
    stage.said.clear();
    stage.pass(240);
    assert_eq!(stage.challenges(), 0);
    assert_eq!(stage.owned(), before);
    assert!(stage.said.is_empty(), "{:?}", stage.said);
}

#[test]
fn ca_03_the_victims_challenge_survives_the_attackers() {
    let mut stage = Stage::new();
    let victim = stage.register(&Ue::new());
    for n in 0..3 {
        assert_eq!(stage.register(&Ue::new().call(&format!("attack-{n}"))).status().code(), 401);
    }
    let ok = stage.register(&Ue::new().next().answering(&victim));
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
}

#[test]
fn ca_04_the_oldest_challenge_gives_way() {
    let mut stage = Stage::registered();
    let before = stage.owned();
    let first = stage.register(&Ue::new().call("a-0"));
    for n in 1..=4 {
        stage.register(&Ue::new().call(&format!("a-{n}")));
    }
    assert_eq!(stage.challenges(), 4);
    assert_eq!(stage.owned(), before);
    let late = stage.register(&Ue::new().call("a-0").next().answering(&first).unprotected());
    assert_eq!(late.status().code(), 401, "its challenge is gone");
}

#[test]
fn ca_05_above_the_rate_limit_the_hss_is_left_in_peace() {
    let mut stage = Stage::registered();
    let before = stage.owned();
    for n in 0..10 {
        assert_eq!(stage.register(&Ue::new().call(&format!("a-{n}"))).status().code(), 401);
    }
    stage.said.clear();
    assert_eq!(stage.register(&Ue::new().call("a-10")).status().code(), 403);
    assert!(stage.mars().is_empty());
    assert_eq!(stage.owned(), before);
    stage.pass(60);
    assert_eq!(stage.register(&Ue::new().call("a-11")).status().code(), 401);
}

#[test]
fn ca_05_wrong_answers_do_not_reset_the_limit() {
    let mut stage = Stage::new();
    for n in 0..10 {
        let ue = Ue::new().call(&format!("a-{n}"));
        let challenge = stage.register(&ue);
        assert_eq!(stage.register(&ue.next().botching(&challenge)).status().code(), 403);
        assert_ne!(stage.last, Some(Save::Erase), "the count would be lost");
    }
    stage.said.clear();
    assert_eq!(stage.register(&Ue::new()).status().code(), 403);
    assert!(stage.mars().is_empty());
    stage.pass(60);
    assert_eq!(stage.last, Some(Save::Erase));
    assert_eq!(stage.user.next_deadline(), None);
}

#[test]
fn cb_52_a_user_unknown_to_the_hss_is_forbidden() {
    for code in [
        ResultCode::USER_UNKNOWN,
        ResultCode::IDENTITIES_DONT_MATCH,
        ResultCode::ROAMING_NOT_ALLOWED,
        ResultCode::AUTHORIZATION_REJECTED,
    ] {
        failing(Err(Failure::Refused(code)), 403);
    }
}

#[test]
fn cb_53_so_is_a_scheme_the_hss_does_not_support() {
    failing(Err(Failure::Refused(ResultCode::AUTH_SCHEME_NOT_SUPPORTED)), 403);
}

#[test]
fn cb_54_a_silent_hss_is_a_timeout() {
    failing(Err(Failure::Unreachable), 504);
    failing(Err(Failure::Refused(ResultCode::TOO_BUSY)), 504);
}

#[test]
fn cb_55_an_hss_that_cannot_is_an_error() {
    failing(Err(Failure::Refused(ResultCode::UNABLE_TO_COMPLY)), 500);
    failing(Err(Failure::Refused(ResultCode::Base(5001))), 500);
    failing(Err(Failure::Malformed("rubbish".into())), 500);
}

#[test]
fn ce_13_no_item_is_an_error() {
    failing(Ok(Vec::new()), 500);
}

#[test]
fn a_digest_user_is_refused() {
    let digest = DigestCredentials { realm: DOMAIN.into(), ha1: Secret::new(b"x"), qop: "auth".into() };
    failing(Ok(vec![AuthItem::Digest(digest)]), 403);
}

fn failing(answer: Result<Vec<AuthItem>, Failure>, status: u16) {
    for mut stage in [Stage::new(), Stage::registered()] {
        stage.hss.mar = Some(answer.clone());
        let before = stage.owned();
        assert_eq!(stage.register(&Ue::new().call("another")).status().code(), status, "{answer:?}");
        assert_eq!(stage.owned(), before);
        assert_eq!(stage.challenges(), 0);
    }
}

#[test]
fn cf_07_an_empty_response_with_an_empty_nonce_is_an_initial_register() {
    let mut stage = Stage::new();
    assert_eq!(stage.register(&Ue::new()).status().code(), 401);
    assert_eq!(stage.record()["authentication"]["wrong_answers"], 0);
}

#[test]
fn cf_08_no_secret_is_told() {
    let mut stage = Stage::new();
    stage.register(&Ue::new());
    let told = format!("{:?} {:?} {}", stage.user, stage.said, stage.summary);
    for secret in ["165, 66, 17, 213", "a54211d5", "b40ba9a3", "f769bcd7", "180, 11, 169, 163"] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[test]
fn registers_that_wait_for_the_hss_are_bounded() {
    let mut stage = Stage::new();
    stage.hss.prompt = false;
    stage.policy.registration.max_attempts = 2;
    for n in 0..2 {
        assert!(stage.send(Ue::new().call(&format!("c-{n}")).register()).is_none());
        assert_eq!(stage.last, Some(Save::Unchanged));
    }
    assert_eq!(stage.register(&Ue::new().call("c-2")).status().code(), 503);
    stage.hss_answers();
    assert_eq!(stage.challenges(), 2);
}

#[test]
fn strangers_that_wait_leave_room_for_the_subscriber() {
    let mut stage = Stage::registered();
    stage.policy.authentication.max_challenges_per_minute = 1000;
    stage.policy.reauthentication.on_every_reregister = true;
    stage.hss.prompt = false;
    let mut refused = 0;
    for n in 0..16 {
        let answer = stage.send(Ue::new().call(&format!("a-{n}")).register());
        refused += usize::from(answer.is_some_and(|answer| answer.status().code() == 503));
    }
    assert_eq!(refused, 4);
    assert!(stage.send(Ue::new().next().next().protected().register()).is_none(), "it waits for its vector");
}

#[test]
fn the_same_moments_give_the_same_octets() {
    let play = || {
        let mut stage = Stage::new();
        let ok = stage.register_fully(&Ue::new());
        stage.now = stage.now + Span::seconds(5);
        (ok.as_bytes().clone(), rmp_serde::to_vec_named(&stage.user).unwrap())
    };
    assert_eq!(play(), play());
}
