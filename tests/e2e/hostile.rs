//! Bad input gets a clear answer and loses nothing.

use e2e::{DOMAIN, Lab, Phone, eventually, http};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn register_text(name: &str, via: &str, extra: &str, body: &str) -> String {
    format!(
        "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: <sip:{name}@{DOMAIN}>;tag=1\r\n\
         To: <sip:{name}@{DOMAIN}>\r\nCall-ID: hostile-{name}-{}\r\nCSeq: 1 REGISTER\r\n{extra}\r\n{body}",
        via.len()
    )
}

fn tcp(lab: &Lab, octets: &[u8]) -> (String, bool) {
    let mut stream = TcpStream::connect(lab.sip).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(octets);
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (String::from_utf8_lossy(&text).into_owned(), true),
            Ok(length) => text.extend_from_slice(&buffer[..length]),
            // A stream closed with octets of ours unread is reset.
            Err(error) => {
                let closed = error.kind() == std::io::ErrorKind::ConnectionReset;
                return (String::from_utf8_lossy(&text).into_owned(), closed);
            }
        }
    }
}

#[test]
fn games_with_content_length_are_refused_and_the_stream_closed() {
    let lab = Lab::start(&[], &[]);
    let via = "SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKgame";
    for length in ["-1", "18446744073709551615", "99999999999", "12\r\nContent-Length: 13", "abc"] {
        let text = register_text("alice", via, &format!("Content-Length: {length}\r\n"), "");
        let (answer, closed) = tcp(&lab, text.as_bytes());
        assert!(closed, "Content-Length {length}: the stream stays open");
        assert!(
            answer.is_empty()
                || answer.starts_with("SIP/2.0 400")
                || answer.starts_with("SIP/2.0 413")
                || answer.starts_with("SIP/2.0 513"),
            "Content-Length {length}: {answer}"
        );
    }
    // Two messages in one segment are two messages; a keep-alive is answered.
    let one =
        register_text("alice", "SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKone", "Content-Length: 0\r\n", "");
    let two = register_text("bob", "SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKtwo", "Content-Length: 0\r\n", "");
    let (answer, _) = tcp(&lab, format!("\r\n\r\n{one}{two}").as_bytes());
    assert!(answer.starts_with("\r\n"), "{answer}");
    assert_eq!(answer.matches("SIP/2.0 401").count(), 2, "{answer}");
}

#[test]
fn oversize_messages_are_refused() {
    let lab = Lab::start(&[], &[]);
    let via = "SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKlarge";
    let large = register_text(
        "alice",
        via,
        &format!("X-Filler: {}\r\nContent-Length: 0\r\n", "x".repeat(300_000)),
        "",
    );
    let (answer, closed) = tcp(&lab, large.as_bytes());
    assert!(closed, "the stream stays open");
    assert!(
        answer.is_empty() || answer.starts_with("SIP/2.0 513") || answer.starts_with("SIP/2.0 400"),
        "{answer}"
    );
    let mut phone = Phone::new("alice", lab.sip);
    let port = phone.port();
    let via = format!("SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKmany");
    let many =
        register_text("alice", &via, &format!("{}Content-Length: 0\r\n", "X-Filler: y\r\n".repeat(2000)), "");
    phone.send_raw(many.as_bytes());
    let answer = phone.wait(Duration::from_secs(2), |text| text.status() > 0).unwrap();
    assert!(matches!(answer.status(), 400 | 513), "{}", answer.all);
    phone.register_fully();
}

#[test]
fn rubbish_gets_no_answer_or_400_and_hurts_nobody() {
    let lab = Lab::start(&[], &[]);
    let mut phone = Phone::new("alice", lab.sip);
    for octets in [&b"\0\0\0\0"[..], b"\r\n\r\n", b"REGISTER", b"SIP/2.0 200 OK\r\n\r\n", &[0xff; 1500]] {
        phone.send_raw(octets);
    }
    assert!(phone.wait(Duration::from_millis(300), |text| text.status() >= 500).is_none());
    let port = phone.port();
    let broken = format!(
        "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKb\r\nFrom: <sip:alice@{DOMAIN}>;tag=1\r\n\
         To: <sip:alice@{DOMAIN}>\r\nCall-ID: broken\r\nCSeq: 99999999999 REGISTER\r\nContent-Length: 0\r\n\r\n"
    );
    phone.send_raw(broken.as_bytes());
    let answer = phone.wait(Duration::from_secs(2), |text| text.status() > 0).unwrap();
    assert_eq!(answer.status(), 400, "{}", answer.all);
    phone.register_fully();
}

#[test]
fn malformed_user_data_from_the_hss_is_480_and_reported_back() {
    let lab = Lab::start(&[], &[]);
    let url = format!("{}/subscribers/alice@{DOMAIN}", lab.hss);
    let (status, body) =
        http::put(&url, &json!({"profile_xml": "<IMSSubscription><ServiceProfile>"})).unwrap();
    assert!(status < 300, "{status} {body}");
    let mut phone = Phone::new("alice", lab.sip);
    let challenge = phone.register_unprotected();
    assert_eq!(challenge.status(), 401, "{}", challenge.all);
    let answer = phone.answer(&challenge, e2e::Answer::Right, "yes");
    assert_eq!(answer.status(), 480, "{}", answer.all);
    assert!(answer.header("Warning").contains("§"), "a refusal names its clause: {}", answer.all);
    let told = eventually(Duration::from_secs(5), || {
        let subscriber = lab.subscriber("alice");
        (subscriber["registration_state"] == "not_registered").then_some(())
    });
    assert!(told.is_some(), "{}", lab.subscriber("alice"));
}

#[test]
fn http_errors_are_problem_documents() {
    let lab = Lab::start(&[], &[]);
    for (path, expected) in
        [("/v1/users/nobody@nowhere", 404), ("/v1/users?limit=-1", 400), ("/v1/nothing", 404)]
    {
        let (status, body) = http::get(&format!("{}{path}", lab.api)).unwrap();
        assert_eq!(status, expected, "{path}: {body}");
        assert_eq!(body["status"].as_u64(), Some(u64::from(expected)), "{path}: {body}");
    }
    let url = format!("{}/v1/users/alice@{DOMAIN}/reauthenticate", lab.api);
    let (status, body) = http::post_raw(&url, "application/json", b"{\"period_s\": \"soon\"}").unwrap();
    assert!(matches!(status, 400 | 422), "{status} {body}");
}
