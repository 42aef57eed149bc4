//! This codec against rsip, on the messages that both can hold, and the adapter between them.
#![allow(clippy::unwrap_used)]

mod reading;

// The adapter stands behind the feature `interop`; here it is built without it.
#[allow(unreachable_pub)]
#[path = "../src/interop.rs"]
mod interop;

use bytes::Bytes;
use interop::{Unrepresentable, from_rsip, to_rsip};
use proptest::prelude::*;
use rsip::prelude::{HasHeaders, HeadersExt, ToTypedHeader};
use sip::{Contacts, Message, Name, ParseError};

#[derive(Clone, Debug)]
struct Common {
    method: String,
    status: Option<(u16, &'static str)>,
    user: String,
    host: String,
    port: Option<u16>,
    transport: &'static str,
    branch: String,
    display: Option<String>,
    tags: (String, Option<String>),
    call_id: String,
    cseq: u32,
    hops: u8,
    expires: Option<u32>,
    unknown: (String, String),
    body: String,
}

fn common() -> impl Strategy<Value = Common> {
    let method = prop::sample::select(vec![
        "REGISTER",
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "SUBSCRIBE",
        "NOTIFY",
        "MESSAGE",
        "PUBLISH",
        "INFO",
        "PRACK",
        "UPDATE",
        "REFER",
    ]);
    let status = prop::option::of(prop::sample::select(vec![
        (100, "Trying"),
        (180, "Ringing"),
        (200, "OK"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "Not Found"),
        (503, "Service Unavailable"),
    ]));
    let token = || "[a-z0-9]{1,12}";
    let host = prop_oneof!["[a-z][a-z0-9]{0,8}\\.[a-z]{2,5}", Just("192.0.2.33".to_owned())];
    let start = (method, status, token(), host, prop::option::of(1u16..));
    let via = (prop::sample::select(vec!["UDP", "TCP", "TLS"]), token());
    let ends = (
        prop::option::of("[A-Za-z]{1,10}"),
        token(),
        prop::option::of(token()),
        "[a-z0-9]{4,12}(@[a-z]{3,8})?",
    );
    let numbers = (0u32..1 << 31, 0u8.., prop::option::of(0u32..));
    let rest = ("X-[A-Z][a-z]{2,9}", "[!-~]([ -~]{0,20}[!-~])?", "[ -~]{0,40}");
    (start, via, ends, numbers, rest).prop_map(|(start, via, ends, numbers, rest)| Common {
        method: start.0.to_owned(),
        status: start.1,
        user: start.2,
        host: start.3,
        port: start.4,
        transport: via.0,
        branch: format!("z9hG4bK{}", via.1),
        display: ends.0,
        tags: (ends.1, ends.2),
        call_id: ends.3,
        cseq: numbers.0,
        hops: numbers.1,
        expires: numbers.2,
        unknown: (rest.0, rest.1),
        body: rest.2,
    })
}

impl Common {
    fn uri(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("sip:{}@{}{port}", self.user, self.host)
    }

    fn text(&self) -> String {
        let start = match self.status {
            Some((code, reason)) => format!("SIP/2.0 {code} {reason}"),
            None => format!("{} {} SIP/2.0", self.method, self.uri()),
        };
        let display = self.display.as_ref().map(|name| format!("\"{name}\" ")).unwrap_or_default();
        let to_tag = self.tags.1.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let expires = self.expires.map(|seconds| format!("Expires: {seconds}\r\n")).unwrap_or_default();
        format!(
            "{start}\r\nVia: SIP/2.0/{} {};branch={}\r\nMax-Forwards: {}\r\nFrom: {display}<{}>;tag={}\r\n\
             To: <{}>{to_tag}\r\nCall-ID: {}\r\nCSeq: {} {}\r\nContact: <{}>\r\n{expires}{}: {}\r\nContent-Length: {}\r\n\r\n{}",
            self.transport,
            self.host,
            self.branch,
            self.hops,
            self.uri(),
            self.tags.0,
            self.uri(),
            self.call_id,
            self.cseq,
            self.method,
            self.uri(),
            self.unknown.0,
            self.unknown.1,
            self.body.len(),
            self.body,
        )
    }
}

fn ours(text: &str) -> Message {
    Message::parse_datagram(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn same_uri(ours: &sip::Uri, theirs: &rsip::Uri) -> Result<(), TestCaseError> {
    prop_assert_eq!(ours.user(), theirs.user());
    prop_assert_eq!(ours.host(), theirs.host().to_string());
    prop_assert_eq!(ours.port(), theirs.port().map(|port| *port.value()));
    prop_assert_eq!(ours.as_str(), theirs.to_string());
    Ok(())
}

/// Everything but the reason phrase, which rsip replaces.
fn meaning(message: &Message) -> String {
    let facts = reading::everything(message);
    match message {
        Message::Request(_) => facts,
        Message::Response(response) => format!("{} {}", response.status(), facts.split_once('\n').unwrap().1),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn both_read_the_same(common in common()) {
        let text = common.text();
        let ours = ours(&text);
        let theirs = rsip::SipMessage::try_from(text.as_str()).unwrap();
        let headers = ours.headers();
        match (&ours, &theirs) {
            (Message::Request(ours), rsip::SipMessage::Request(theirs)) => {
                prop_assert_eq!(ours.method().as_str(), theirs.method.to_string());
                same_uri(ours.uri(), &theirs.uri)?;
            }
            (Message::Response(ours), rsip::SipMessage::Response(theirs)) => {
                prop_assert_eq!(ours.status().code(), theirs.status_code.code());
            }
            _ => prop_assert!(false, "a request for one and a response for the other"),
        }
        let from = theirs.from_header().unwrap().typed().unwrap();
        prop_assert_eq!(headers.from_tag(), from.tag().map(|tag| tag.value()));
        same_uri(&headers.from().uri, &from.uri)?;
        let (our_from, our_via, our_cseq) = (headers.from(), headers.via(), headers.cseq());
        prop_assert_eq!(our_from.display.as_deref(), from.display_name.as_deref().map(|name| name.trim_matches('"')));
        let to = theirs.to_header().unwrap().typed().unwrap();
        prop_assert_eq!(headers.to_tag(), to.tag().map(|tag| tag.value()));
        same_uri(&headers.to().uri, &to.uri)?;
        let cseq = theirs.cseq_header().unwrap().typed().unwrap();
        prop_assert_eq!(our_cseq.number, cseq.seq);
        prop_assert_eq!(our_cseq.method.as_str(), cseq.method.to_string());
        let via = theirs.via_header().unwrap().typed().unwrap();
        prop_assert_eq!(our_via.branch(), via.branch().map(|branch| branch.value()));
        prop_assert_eq!(our_via.transport_text(), via.transport.to_string());
        prop_assert_eq!(&*our_via.host, via.uri.host().to_string());
        let contact = theirs.contact_header().unwrap().typed().unwrap();
        let Contacts::List(contacts) = headers.contacts().unwrap() else { panic!("one contact") };
        same_uri(&contacts[0].uri, &contact.uri)?;
        let call_id = theirs.call_id_header().unwrap().to_string();
        prop_assert_eq!(headers.call_id(), call_id.trim_start_matches("Call-ID: "));
        prop_assert_eq!(headers.max_forwards().unwrap(), Some(common.hops));
        prop_assert_eq!(headers.expires().unwrap(), common.expires);
        prop_assert_eq!(headers.body(), theirs.body().as_slice());
        prop_assert_eq!(headers.all().count(), theirs.headers().iter().count());
    }

    #[test]
    fn there_and_back(common in common()) {
        let ours = ours(&common.text());
        let back = from_rsip(&to_rsip(&ours).unwrap()).unwrap();
        prop_assert_eq!(meaning(&back), meaning(&ours));
    }

    #[test]
    fn what_we_build_rsip_reads(common in common()) {
        let Message::Request(request) = ours(&Common { status: None, ..common.clone() }.text()) else {
            panic!("a request")
        };
        let response = request.respond(sip::Status::UNAUTHORIZED, "oak").header(Name::Expires, 7).finish();
        let theirs = rsip::SipMessage::try_from(response.as_bytes().clone()).unwrap();
        let to = theirs.to_header().unwrap().typed().unwrap();
        prop_assert_eq!(to.tag().map(|tag| tag.value()), Some(common.tags.1.as_deref().unwrap_or("oak")));
        let cseq = theirs.cseq_header().unwrap().typed().unwrap();
        prop_assert_eq!(cseq.seq, common.cseq);
    }
}

const IMS: &str =
    "Via: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\n";

#[test]
fn what_rsip_cannot_hold_is_refused() {
    let refused = |start: &str, cseq: &str, more: &str| {
        to_rsip(&ours(&format!("{start}\r\n{IMS}CSeq: 1 {cseq}\r\n{more}Content-Length: 0\r\n\r\n"))).err()
    };
    let tel = refused("INVITE tel:+15551230002;phone-context=home1.net SIP/2.0", "INVITE", "");
    assert!(matches!(tel, Some(Unrepresentable::Unread(_))), "{tel:?}");
    assert!(refused("INVITE urn:service:sos SIP/2.0", "INVITE", "").is_some());
    assert!(refused("HOOT sip:a@b SIP/2.0", "HOOT", "").is_some());
    assert!(refused("register sip:a@b SIP/2.0", "register", "").is_some());
}

#[test]
fn what_only_looks_different_is_not() {
    let message = ours(&format!(
        "REGISTER sip:home1.net SIP/2.0\r\n{}CSeq: 1 REGISTER\r\nm: <sip:a@b>\r\nSubject: one\r\n  two\r\nl: 4\r\n\r\n\u{0}\u{1}\u{7f}x",
        IMS.replace("Call-ID", "i")
    ));
    let theirs = to_rsip(&message).unwrap();
    assert_eq!(theirs.call_id_header().unwrap().to_string(), "Call-ID: c");
    let back = from_rsip(&theirs).unwrap();
    assert_eq!(meaning(&back), meaning(&message));
    assert_eq!(back.headers().body(), message.headers().body());
}

#[test]
fn headers_that_are_no_text_are_refused() {
    let mut octets = format!("OPTIONS sip:a@b SIP/2.0\r\n{IMS}CSeq: 1 OPTIONS\r\nSubject: ").into_bytes();
    octets.extend_from_slice(b"\xff\r\n\r\n");
    let message = Message::parse_datagram(octets.into()).unwrap();
    assert_eq!(to_rsip(&message).err(), Some(Unrepresentable::NotText));
}
