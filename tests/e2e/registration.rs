//! Registration by clients that nobody here wrote, and by our own UE.

use e2e::process::Process;
use e2e::{Answer, DOMAIN, Lab, Phone, Sipp, eventually, have};
use std::time::Duration;

/// A line of SIPp's injection file: name, domain and credentials.
fn aka(name: &str) -> String {
    format!(
        "{name};{DOMAIN};[authentication username={name}@{DOMAIN} aka_K=rollcall-lab-key aka_OP=rollcall-lab-op! aka_AMF=BB]"
    )
}

#[test]
fn a_lab_of_a_thousand_users_is_ready_within_five_seconds() {
    let lab = Lab::start(&["--generate", "1000"], &[]);
    assert!(lab.ready_after < Duration::from_secs(5), "{:?}", lab.ready_after);
    let last = lab.subscriber("user001000");
    assert_eq!(last["registration_state"], "not_registered", "{last}");
}

#[test]
fn sipp_registers_a_thousand_users_over_udp_without_a_failure() {
    if !have("sipp") {
        return;
    }
    let lab = Lab::start(&["--generate", "1000"], &[]);
    let users = (1..=1000).map(|n| aka(&format!("user{n:06}")));
    let counted =
        Sipp::new("ue_register_aka.xml", lab.sip).lines(users).run(200, Duration::from_secs(60)).unwrap();
    assert_eq!((counted.successful, counted.failed), (1000, 0), "{counted:?}");
    for name in ["user000001", "user000500", "user001000"] {
        let (status, view) = lab.user(name);
        assert_eq!((status, view["state"].as_str()), (200, Some("registered")), "{view}");
        assert_eq!(lab.subscriber(name)["registration_state"], "registered");
    }
}

#[test]
fn sipp_registers_over_tcp() {
    if !have("sipp") {
        return;
    }
    let lab = Lab::start(&["--generate", "100"], &[]);
    let users = (1..=100).map(|n| aka(&format!("user{n:06}")));
    let counted = Sipp::new("ue_register_aka.xml", lab.sip)
        .arguments(&["-t", "t1"])
        .lines(users)
        .run(50, Duration::from_secs(60))
        .unwrap();
    assert_eq!((counted.successful, counted.failed), (100, 0), "{counted:?}");
}

#[test]
fn our_ue_registers_over_udp_and_tcp() {
    let lab = Lab::start(&[], &[]);
    let proxy = lab.sip.to_string();
    for (name, transport) in [("alice", "udp"), ("bob", "tcp")] {
        let impi = format!("{name}@{DOMAIN}");
        let mut ue = Process::start(
            &[
                "ue",
                "register",
                "--impi",
                &impi,
                "--proxy",
                &proxy,
                "--transport",
                transport,
                "--expires",
                "600",
            ],
            &[],
        );
        assert_eq!(ue.ends(Duration::from_secs(15)), Some(0), "{:?}", ue.output());
        let (status, view) = lab.user(name);
        assert_eq!((status, view["state"].as_str()), (200, Some("registered")), "{view}");
    }
}

#[test]
fn the_200_carries_what_the_specification_lists() {
    let lab = Lab::start(&[], &[]);
    let mut phone = Phone::new("alice", lab.sip);
    let (challenge, ok) = phone.register_fully();
    assert!(challenge.header("WWW-Authenticate").contains("algorithm=AKAv1-MD5"), "{}", challenge.all);
    for parameter in ["ck", "ik"] {
        assert_eq!(challenge.digest("WWW-Authenticate", parameter).len(), 32, "{}", challenge.all);
    }
    assert_eq!(challenge.digest("WWW-Authenticate", "realm"), DOMAIN);
    assert_eq!(challenge.header("Contact"), "");
    assert_eq!(ok.header("Path"), format!("<sip:term@127.0.0.1:{};lr>", phone.port()));
    let associated = ok.header("P-Associated-URI");
    assert!(associated.starts_with(&format!("<sip:alice@{DOMAIN}>")), "{associated}");
    assert!(associated.contains("tel:"), "{associated}");
    assert!(ok.header("Service-Route").contains(";lr"), "{}", ok.all);
    assert!(ok.header("Contact").contains("expires=3600"), "{}", ok.all);
    let vector = ok.header("P-Charging-Vector");
    assert!(vector.contains(&format!("icid-{}", phone.port())) && vector.contains("term-ioi"), "{vector}");
}

#[test]
fn a_user_deregisters_and_is_forgotten() {
    let lab = Lab::start(&[], &[]);
    let mut phone = Phone::new("alice", lab.sip);
    let (challenge, _) = phone.register_fully();
    let gone = phone.register_protected(&challenge, 0);
    assert_eq!(gone.status(), 200, "{}", gone.all);
    let forgotten = eventually(Duration::from_secs(5), || {
        let (status, view) = lab.user("alice");
        (status == 404 || view["state"] == "not_registered").then_some(())
    });
    assert!(forgotten.is_some(), "{:?}", lab.user("alice"));
    assert_eq!(lab.subscriber("alice")["registration_state"], "not_registered");
}

#[test]
fn a_slow_a_silent_and_a_refusing_hss_give_answers_and_never_a_hung_request() {
    let lab = Lab::start(&[], &[]);
    let faults = format!("{}/faults", lab.hss);
    let clear = serde_json::json!({"delay_ms": 0, "drop": false, "result_code": null});
    for (fault, expected) in [
        (serde_json::json!({"delay_ms": 300}), 401),
        (serde_json::json!({"delay_ms": 0, "result_code": 5012}), 500),
        (serde_json::json!({"delay_ms": 0, "drop": true, "result_code": null}), 504),
    ] {
        e2e::http::post(&faults, &clear).unwrap();
        let (status, body) = e2e::http::post(&faults, &fault).unwrap();
        assert!(status < 300, "{status} {body}");
        let mut phone = Phone::new("alice", lab.sip);
        let port = phone.port();
        let line = format!("Contact: <sip:alice@127.0.0.1:{port}>;expires=600\r\n");
        phone.cseq = 10;
        let answer = patient(&mut phone, &line);
        assert_eq!(answer, expected, "{fault}");
    }
    e2e::http::post(&faults, &clear).unwrap();
    let mut phone = Phone::new("bob", lab.sip);
    phone.register_fully();
    assert_eq!(lab.user("bob").1["state"], "registered");
    let mut stranger = Phone::new("nobody", lab.sip);
    assert_eq!(stranger.register_unprotected().status(), 403);
    let _ = Answer::Right;
}

/// Registers and waits as long as a UE would (retransmitting), for the final status.
fn patient(phone: &mut Phone, lines: &str) -> u16 {
    for _ in 0..4 {
        if let Ok(text) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| phone.register(lines))) {
            return text.status();
        }
        phone.cseq -= 1;
    }
    0
}
