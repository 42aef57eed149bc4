//! The reason the project exists: an attacker's wrong answer changes nothing.

use e2e::{Answer, DOMAIN, Lab, Phone, eventually};
use serde_json::Value;
use std::time::Duration;

/// What must not change: everything but the counters of authentication and the flight recorder.
fn owned(lab: &Lab, name: &str) -> Value {
    let (status, mut view) = lab.user(name);
    assert_eq!(status, 200, "{view}");
    let fields = view.as_object_mut().unwrap();
    for volatile in ["authentication", "recent", "next_deadline"] {
        fields.remove(volatile);
    }
    view
}

#[test]
fn twenty_wrong_answers_in_unprotected_registers_change_nothing() {
    let lab = Lab::start(&[], &[("ROLLCALL__AUTHENTICATION__MAX_CHALLENGES_PER_MINUTE", "1000")]);
    let mut victim = Phone::new("alice", lab.sip);
    let (challenge, _) = victim.register_fully();
    let dialog = victim.subscribe("alice", &format!("sip:alice@{DOMAIN}"), "reg", "");
    victim.notified(&dialog, Duration::from_secs(5), 200).unwrap();
    let answered = || lab.user("alice").1["subscriptions"][0]["last_notify"]["status"] == 200;
    assert!(eventually(Duration::from_secs(5), || answered().then_some(())).is_some());
    let before = owned(&lab, "alice");

    let mut attacker = Phone::new("alice", lab.sip);
    for round in 0..20 {
        let challenge = attacker.register_unprotected();
        assert_eq!(challenge.status(), 401, "round {round}: {}", challenge.all);
        let refused = attacker.answer(&challenge, Answer::Wrong, "no");
        assert!(matches!(refused.status(), 401 | 403), "round {round}: {}", refused.all);
        assert_eq!(refused.header("Contact"), "");
        assert_eq!(owned(&lab, "alice"), before, "round {round}");
    }
    assert!(victim.notified(&dialog, Duration::from_millis(300), 0).is_none(), "a NOTIFY told of the attack");
    assert_eq!(lab.user("alice").1["authentication"]["wrong_answers"], 20);

    let again = victim.register_protected(&challenge, 3600);
    assert_eq!(again.status(), 200, "{}", again.all);
    assert_eq!(lab.subscriber("alice")["registration_state"], "registered");
}

#[test]
fn twenty_wrong_answers_in_protected_registers_change_nothing() {
    let lab = Lab::start(
        &[],
        &[
            ("ROLLCALL__AUTHENTICATION__MAX_CHALLENGES_PER_MINUTE", "1000"),
            ("ROLLCALL__REAUTHENTICATION__ON_EVERY_REREGISTER", "true"),
        ],
    );
    let mut victim = Phone::new("alice", lab.sip);
    let (former, _) = victim.register_fully();
    let before = owned(&lab, "alice");
    for round in 0..20 {
        let challenge = victim.register_protected(&former, 3600);
        assert_eq!(challenge.status(), 401, "round {round}: {}", challenge.all);
        let refused = victim.answer(&challenge, Answer::Wrong, "yes");
        assert!(matches!(refused.status(), 401 | 403), "round {round}: {}", refused.all);
        assert_eq!(owned(&lab, "alice"), before, "round {round}");
    }
    let challenge = victim.register_protected(&former, 3600);
    let ok = victim.answer(&challenge, Answer::Right, "yes");
    assert_eq!(ok.status(), 200, "{}", ok.all);
}

#[test]
fn the_victims_challenge_survives_the_attackers() {
    let lab = Lab::start(&[], &[]);
    let mut victim = Phone::new("alice", lab.sip);
    let mut attacker = Phone::new("alice", lab.sip);
    let challenge = victim.register_unprotected();
    assert_eq!(challenge.status(), 401);
    for _ in 0..3 {
        assert_eq!(attacker.register_unprotected().status(), 401);
    }
    let ok = victim.answer(&challenge, Answer::Right, "yes");
    assert_eq!(ok.status(), 200, "{}", ok.all);
}

#[test]
fn integrity_protected_is_not_believed_from_outside_the_trust_domain() {
    let lab = Lab::start(&[], &[("ROLLCALL__SIP__TRUSTED_PEERS", "192.0.2.0/24")]);
    let mut phone = Phone::new("alice", lab.sip);
    let (challenge, _) = phone.register_fully();
    let again = phone.register_protected(&challenge, 3600);
    assert_eq!(again.status(), 401, "a protected REGISTER of a stranger must be challenged: {}", again.all);
}

#[test]
fn forged_identities_by_the_thousand_leave_the_victim_alone() {
    let lab = Lab::start(&[], &[]);
    let mut victim = Phone::new("alice", lab.sip);
    let (challenge, _) = victim.register_fully();
    let before = owned(&lab, "alice");
    let (_, memory_before) = lab.process.usage();
    let attacker = Phone::new("alice", lab.sip);
    let port = attacker.port();
    for n in 0..3000 {
        let text = format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKforged{n}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@{DOMAIN}>;tag=f{n}\r\nTo: <sip:alice@{DOMAIN}>\r\n\
             Call-ID: forged-{n}\r\nCSeq: 1 REGISTER\r\nContact: <sip:evil@192.0.2.66>\r\n\
             Authorization: Digest username=\"alice@{DOMAIN}\", realm=\"{DOMAIN}\", nonce=\"\", uri=\"sip:{DOMAIN}\", response=\"\"\r\n\
             Content-Length: 0\r\n\r\n"
        );
        attacker.send_raw(text.as_bytes());
        if n % 100 == 99 {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let again = victim.register_protected(&challenge, 3600);
    assert_eq!(again.status(), 200, "{}", again.all);
    let mut after = owned(&lab, "alice");
    // The victim's own refresh is the only thing that changed.
    let mut expected = before;
    for view in [&mut after, &mut expected] {
        let binding = view["bindings"][0].as_object_mut().unwrap();
        binding.remove("expires_at");
        binding.remove("cseq");
    }
    assert_eq!(after, expected);
    let view = lab.user("alice").1;
    assert!(view["authentication"]["challenges_outstanding"].as_u64().unwrap() <= 4, "{view}");
    let (_, memory_after) = lab.process.usage();
    assert!(memory_after < memory_before + 64 * 1024 * 1024, "{memory_before} -> {memory_after}");
}
