//! Rows of the checklist in docs/conformance.md that concern messages alone.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use sip::session_timer::{Outcome, Policy, request as session_timer};
use sip::{Message, Method, Name, Status, Uri};

fn request(head: &str, body: &str) -> Message {
    let text = format!("{head}\r\n\r\n{body}");
    Message::parse_datagram(Bytes::from(text)).unwrap()
}

#[test]
fn cg_16_a_datagram_of_sixty_thousand_octets_is_understood() {
    let body = "x".repeat(60_000);
    let head = "MESSAGE sip:alice@ims.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKlarge\r\n\
                From: <sip:bob@ims.example>;tag=1\r\nTo: <sip:alice@ims.example>\r\nCall-ID: large\r\n\
                CSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 60000";
    let Message::Request(message) = request(head, &body) else { panic!("a request") };
    assert_eq!(*message.method(), Method::Message);
    assert_eq!(message.body().len(), 60_000);
    assert_eq!(message.as_bytes().len(), head.len() + 4 + 60_000);
}

#[test]
fn cg_17_compact_headers_are_accepted_and_canonical_ones_sent() {
    let head = "INVITE sip:alice@ims.example SIP/2.0\r\nv: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKcompact\r\n\
                f: <sip:bob@ims.example>;tag=1\r\nt: <sip:alice@ims.example>\r\ni: compact\r\nCSeq: 1 INVITE\r\n\
                m: <sip:bob@192.0.2.1>\r\nk: timer, 100rel\r\nl: 0";
    let Message::Request(invite) = request(head, "") else { panic!("a request") };
    assert_eq!(invite.call_id(), "compact");
    assert_eq!(invite.from_tag(), Some("1"));
    assert!(invite.has(Name::Contact) && invite.has(Name::Supported));
    let answer = invite.respond(Status::OK, "2").finish();
    let text = String::from_utf8_lossy(answer.as_bytes()).into_owned();
    for line in [
        "Via: SIP/2.0/UDP 192.0.2.1",
        "From: <sip:bob@",
        "To: <sip:alice@",
        "Call-ID: compact",
        "CSeq: 1 INVITE",
    ] {
        assert!(text.contains(&format!("\r\n{line}")), "{line} in\n{text}");
    }
}

#[test]
fn cg_18_the_user_part_of_an_identity_has_case() {
    let [upper, lower, shouted] = ["sip:Bob@ims.example", "sip:bob@ims.example", "SIP:bob@IMS.Example"]
        .map(|text| Uri::parse(text).unwrap());
    assert!(!upper.equivalent(&lower));
    assert_ne!(upper.canonical(), lower.canonical());
    assert!(lower.equivalent(&shouted));
    assert_eq!(lower.canonical(), shouted.canonical());
}

#[test]
fn cd_44_a_session_interval_below_the_minimum_is_422() {
    let invite = |more: &str| {
        let head = format!(
            "INVITE sip:bob@ims.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKtimer\r\n\
             From: <sip:alice@ims.example>;tag=1\r\nTo: <sip:bob@ims.example>\r\nCall-ID: timer\r\n\
             CSeq: 1 INVITE\r\n{more}Content-Length: 0"
        );
        let Message::Request(invite) = request(&head, "") else { panic!("a request") };
        invite
    };
    let policy = Policy { session_expires: 1800, min_se: 90 };
    let short = invite("Supported: timer\r\nSession-Expires: 60\r\n");
    let Ok(Outcome::TooSmall { min_se }) = session_timer(&short, &policy) else { panic!("too small") };
    let answer = short.respond(Status::SESSION_INTERVAL_TOO_SMALL, "us").header(Name::MinSe, min_se).finish();
    assert_eq!((answer.status().code(), answer.min_se()), (422, Ok(Some(90))));
    let again = invite("Supported: timer\r\nSession-Expires: 90\r\nMin-SE: 90\r\n");
    assert!(matches!(session_timer(&again, &policy), Ok(Outcome::Pass(_))), "as the 422 asks for");
}
