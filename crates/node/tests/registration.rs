//! A user registers over real sockets, and everything around it.
#![allow(clippy::unwrap_used)]

mod scene;

use scene::{DOMAIN, RES, eventually, phone, scene};
use scscf::Impi;
use scscf::cx::{Demand, DeregistrationReason, ReAuth, RegistrationTermination, ResultCode};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn impi(name: &str) -> Impi {
    Impi::new(&format!("{name}@{DOMAIN}")).unwrap()
}

#[test]
fn a_user_registers_and_is_seen_by_operators() {
    let scene = scene(&[]);
    let mut alice = phone(&scene, "alice");
    let ok = alice.register_fully();
    assert!(ok.contains("Service-Route:"), "{ok}");
    let view = scene.user("alice");
    assert_eq!(view["state"], "registered", "{view}");
    assert_eq!(view["node"], "n1");
    let causes: Vec<&str> =
        view["recent"].as_array().unwrap().iter().map(|seen| seen["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["REGISTER", "MAA", "REGISTER", "SAA"]);
    assert!(!view.to_string().contains("resresre"));
    let list: serde_json::Value = serde_json::from_str(&scene.get("/v1/users?state=registered").1).unwrap();
    assert_eq!(list["users"][0]["impi"], format!("alice@{DOMAIN}"));
    assert_eq!(scene.metric("rollcall_registers_total{result=\"accepted\"}"), 1);
    assert_eq!(scene.metric("rollcall_challenges_total"), 1);
    assert_eq!(scene.metric("rollcall_registered_users"), 1);
}

#[test]
fn a_retransmission_gets_the_same_answer_and_asks_the_hss_once() {
    let scene = scene(&[]);
    let mut alice = phone(&scene, "alice");
    let text = alice.register("nonce=\"\",response=\"\"", 600);
    alice.send(&text);
    let first = alice.take();
    alice.send(&text);
    assert_eq!(alice.take(), first);
    assert_eq!(scene.metric("rollcall_cx_requests_total{command=\"MAR\"}"), 1);
}

#[test]
fn the_hss_asks_for_reauthentication_and_ends_registrations() {
    let scene = scene(&[]);
    let mut alice = phone(&scene, "alice");
    alice.register_fully();
    let asked = scene.hss.demand(Demand::ReAuth(ReAuth { impi: impi("alice") }));
    assert_eq!(asked.recv_timeout(Duration::from_secs(5)).unwrap().result, ResultCode::SUCCESS);
    assert_eq!(scene.user("alice")["reauthentication"]["by"], "hss");
    assert_eq!(scene.metric("rollcall_reauthentications_started_total"), 1);
    let termination = |name: &str, others: &[&str]| {
        Demand::RegistrationTermination(RegistrationTermination {
            impi: impi(name),
            associated_identities: others.iter().map(|name| impi(name)).collect(),
            impus: Vec::new(),
            reason: DeregistrationReason::PermanentTermination,
            reason_info: None,
        })
    };
    let mut bob = phone(&scene, "bob");
    bob.register_fully();
    let ended = scene.hss.demand(termination("alice", &["bob", "carol"]));
    let answer = ended.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(answer.result, ResultCode::SUCCESS);
    assert_eq!(answer.associated_identities, [impi("alice"), impi("bob")]);
    let again = scene.hss.demand(termination("alice", &[]));
    assert_eq!(again.recv_timeout(Duration::from_secs(5)).unwrap().result, ResultCode::USER_UNKNOWN);
    assert_eq!(scene.metric("rollcall_registered_users"), 0);
}

#[test]
fn a_silent_hss_means_504_and_not_silence() {
    let scene = scene(&[("ROLLCALL__CX__REQUEST_TIMEOUT", "1")]);
    scene.hss.silent.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut alice = phone(&scene, "alice");
    let text = alice.register("nonce=\"\",response=\"\"", 600);
    alice.send(&text);
    let answer = alice.take();
    assert!(answer.starts_with("SIP/2.0 504") || answer.starts_with("SIP/2.0 480"), "{answer}");
    assert_eq!(scene.metric("rollcall_cx_failures_total"), 1);
}

#[test]
fn a_silent_user_is_passivated_and_comes_back_from_its_record() {
    let scene = scene(&[("ROLLCALL__NODE__PASSIVATE_AFTER", "1")]);
    let mut alice = phone(&scene, "alice");
    alice.register_fully();
    let gone = eventually(Duration::from_secs(6), || (scene.metric("rollcall_actors") == 0).then_some(()));
    assert!(gone.is_some(), "{}", scene.get("/metrics").1);
    assert_eq!(scene.user("alice")["state"], "registered", "the record stays");
    let nonce = alice.challenge();
    let wrong = alice.answer_with(&nonce, b"wrongres", 600);
    assert!(!wrong.starts_with("SIP/2.0 200"), "{wrong}");
    assert_eq!(scene.user("alice")["state"], "registered");
    assert_eq!(scene.metric("rollcall_wrong_answers_total"), 1);
    let nonce = alice.challenge();
    let gone = alice.answer_with(&nonce, &RES, 0);
    assert!(gone.starts_with("SIP/2.0 200"), "{gone}");
    assert_ne!(scene.user("alice")["state"], "registered");
}

#[test]
fn one_user_flooded_harms_no_other() {
    let scene = scene(&[
        ("ROLLCALL__LIMITS__MAILBOX", "8"),
        ("ROLLCALL__AUTHENTICATION__MAX_CHALLENGES_PER_MINUTE", "10"),
    ]);
    let mut alice = phone(&scene, "alice");
    alice.register_fully();
    let mut attacker = phone(&scene, "alice");
    for _ in 0..2000 {
        let text = attacker.register("nonce=\"\",response=\"\"", 600);
        attacker.send(&text);
    }
    let mut bob = phone(&scene, "bob");
    bob.register_fully();
    assert_eq!(scene.user("alice")["state"], "registered");
    let (full, refused) = (
        scene.metric("rollcall_mailbox_full_total"),
        scene.metric("rollcall_registers_total{result=\"refused\"}"),
    );
    assert!(full + refused > 0, "the flood was met");
    assert!(scene.metric("rollcall_cx_requests_total{command=\"MAR\"}") < 30);
}

#[test]
fn tcp_is_framed_kept_alive_and_answered_on_the_same_connection() {
    let scene = scene(&[]);
    let mut stream = TcpStream::connect(scene.sip).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut buffer = [0; 4096];
    stream.write_all(b"\r\n\r\n").unwrap();
    let length = stream.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"\r\n");
    let mut alice = phone(&scene, "alice");
    let text = alice.register("nonce=\"\",response=\"\"", 600).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let (first, second) = text.split_at(100);
    stream.write_all(first.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    stream.write_all(second.as_bytes()).unwrap();
    let length = stream.read(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 401"), "{}", String::from_utf8_lossy(&buffer[..length]));
    stream.write_all(b"NONSENSE\r\nContent-Length: x\r\n\r\n").unwrap();
    while stream.read(&mut buffer).unwrap() > 0 {}
}

#[test]
fn garbage_is_answered_or_dropped_and_counted() {
    let scene = scene(&[]);
    let mut alice = phone(&scene, "alice");
    alice.send("\r\n\r\n");
    alice.send("not SIP at all\r\n\r\n");
    let broken = alice.request("OPTIONS", "sip:x", "").replace("CSeq: 1 OPTIONS", "CSeq: 1 REGISTER");
    alice.send(&broken);
    let answer = alice.take();
    assert!(answer.starts_with("SIP/2.0 400"), "{answer}");
    assert_eq!(scene.metric("rollcall_sip_unreadable_total"), 2);
}

#[test]
fn a_draining_node_says_so_and_refuses_with_retry_after() {
    let scene = scene(&[]);
    assert_eq!(scene.post("/v1/nodes/n1/drain", "").0, 202);
    assert_eq!(scene.get("/readyz").0, 503);
    let mut alice = phone(&scene, "alice");
    let text = alice.register("nonce=\"\",response=\"\"", 600);
    alice.send(&text);
    let answer = alice.take();
    assert!(answer.starts_with("SIP/2.0 503") && answer.contains("Retry-After: "), "{answer}");
}

#[test]
fn an_operator_asks_for_reauthentication_once() {
    let scene = scene(&[("ROLLCALL__REAUTHENTICATION__MIN_PERIOD", "1")]);
    let path = format!("/v1/users/alice@{DOMAIN}/reauthenticate");
    assert_eq!(scene.post(&path, "{}").0, 404);
    let mut alice = phone(&scene, "alice");
    alice.register_fully();
    let (status, body) = scene.post(&path, "{\"period_s\":1,\"reason\":\"test\"}");
    assert_eq!(status, 202, "{body}");
    assert_eq!(scene.post(&path, "{}").0, 409);
    let lapsed = eventually(Duration::from_secs(5), || {
        (scene.metric("rollcall_reauthentications_lapsed_total") == 1).then_some(())
    });
    assert!(lapsed.is_some(), "{}", scene.user("alice"));
    assert_eq!(scene.metric("rollcall_registered_users"), 0);
}

#[test]
fn a_passivated_user_acts_on_its_deadline() {
    let scene =
        scene(&[("ROLLCALL__NODE__PASSIVATE_AFTER", "1"), ("ROLLCALL__REAUTHENTICATION__MIN_PERIOD", "1")]);
    phone(&scene, "alice").register_fully();
    let path = format!("/v1/users/alice@{DOMAIN}/reauthenticate");
    assert_eq!(scene.post(&path, "{\"period_s\":4}").0, 202);
    let asleep = eventually(Duration::from_secs(4), || (scene.metric("rollcall_actors") == 0).then_some(()));
    assert!(asleep.is_some());
    assert_eq!(scene.user("alice")["state"], "registered");
    let ended =
        eventually(Duration::from_secs(6), || (scene.user("alice")["state"] != "registered").then_some(()));
    assert!(ended.is_some(), "{}", scene.user("alice"));
    assert_eq!(scene.metric("rollcall_reauthentications_lapsed_total"), 1);
}

#[test]
fn strangers_without_number_find_a_limit_and_others_find_room_again() {
    let scene = scene(&[("ROLLCALL__LIMITS__ACTORS", "50"), ("ROLLCALL__NODE__PASSIVATE_AFTER", "1")]);
    phone(&scene, "bob").register_fully();
    let mut sent = Vec::new();
    for number in 0..300 {
        let mut stranger = phone(&scene, &format!("stranger{number}"));
        let text = stranger.register("nonce=\"\",response=\"\"", 600);
        stranger.send(&text);
        sent.push(stranger);
    }
    let answers: Vec<String> = sent.iter().map(|stranger| stranger.take()[8..11].to_owned()).collect();
    let count = |status| answers.iter().filter(|answer| *answer == status).count();
    assert_eq!(count("401") + count("503"), 300, "{answers:?}");
    assert!((1..=50).contains(&count("401")), "{answers:?}");
    let room = eventually(Duration::from_secs(10), || {
        let mut carol = phone(&scene, "carol");
        let text = carol.register("nonce=\"\",response=\"\"", 600);
        carol.send(&text);
        carol.take().starts_with("SIP/2.0 401").then_some(())
    });
    assert!(room.is_some(), "{}", scene.get("/metrics").1);
    assert_eq!(scene.user("bob")["state"], "registered");
}
