//! Messages of the same classes as RFC 4475 and RFC 5118, in the project's own words. They need no other files.

use super::{
    Case, Verdict,
    Verdict::{Checks, Closed, Dropped, Malformed, Reads, Refused, Waits},
    judge,
};
use sip::Name;

/// A request that is right, as lines to be changed.
const PLAIN: &[(&str, &str)] = &[
    ("", "OPTIONS sip:gate@home1.net SIP/2.0"),
    ("Via", "Via: SIP/2.0/UDP ue1.home1.net;branch=z9hG4bKpebble1"),
    ("Max-Forwards", "Max-Forwards: 70"),
    ("From", "From: <sip:ann@home1.net>;tag=reed"),
    ("To", "To: <sip:gate@home1.net>"),
    ("Call-ID", "Call-ID: moss@ue1.home1.net"),
    ("CSeq", "CSeq: 12 OPTIONS"),
    ("Content-Length", "Content-Length: 0"),
];

/// `PLAIN` with lines replaced by name (an empty text removes one), more lines added, and a body.
fn with(changes: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut lines: Vec<(&str, String)> = PLAIN.iter().map(|&(name, line)| (name, line.to_owned())).collect();
    for &(name, line) in changes {
        match lines.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = line.to_owned(),
            None => lines.push((name, line.to_owned())),
        }
    }
    let mut out = Vec::new();
    if !body.is_empty() {
        lines.push(("", "c: image/x".to_owned()));
    }
    for (_, line) in lines.iter().filter(|(_, line)| !line.is_empty()) {
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

fn check(name: &'static str, octets: &[u8], datagram: Verdict, stream: Verdict) {
    let case: Case = (name, datagram, stream, "own");
    let wrong = judge(octets, &case);
    assert!(
        wrong.is_empty(),
        "{}\n{}",
        wrong.join("\n"),
        String::from_utf8_lossy(&octets[..octets.len().min(600)])
    );
}

fn both(name: &'static str, changes: &[(&str, &str)], verdict: Verdict) {
    check(name, &with(changes, b""), verdict, verdict);
}

#[test]
fn valid_ones_read() {
    both("plain", &[], Reads);
    both(
        "folded",
        &[(
            "From",
            "from\t:\r\n\t\"Ann \\\\ \\\"A\\\"\"\r\n <sip:ann@home1.net>\r\n ;\r\n tag\r\n =\r\n reed",
        )],
        Reads,
    );
    both(
        "compact",
        &[("To", "t:<sip:gate@home1.net>"), ("Call-ID", "i: moss"), ("Content-Length", "l: 0")],
        Reads,
    );
    both(
        "case",
        &[("Max-Forwards", "mAX-fORWARDS: 007"), ("Via", "VIA: sip/2.0/udp h;BRANCH=z9hG4bKx")],
        Reads,
    );
    both("method", &[("", "w!.%*_+`'~x sip:a@b SIP/2.0"), ("CSeq", "CSeq: 1 w!.%*_+`'~x")], Reads);
    both(
        "user",
        &[("", "OPTIONS sip:a;b=c%40d?e/f,g&h=i+$:p&=+$,w@[2001:db8::7]:5099;x=[y]:z/&+$;lr SIP/2.0")],
        Reads,
    );
    both("tel", &[("", "OPTIONS tel:+1-(555).0100;ext=7;isub=%31 SIP/2.0")], Reads);
    both("local tel", &[("", "OPTIONS tel:112;phone-context=home1.net SIP/2.0")], Reads);
    both("urn", &[("", "OPTIONS urn:service:sos.fire SIP/2.0")], Reads);
    both("escapes", &[("To", "To: <sip:%67%00%25@home1.net;n%61me=%20>;x=%zz")], Reads);
    both("odd header", &[("X", "X-+.!%*_`'~9: ;;,\"<=>, \u{43f}\u{440}\u{438} \u{1}")], Reads);
    both("empty header", &[("X", "Subject:")], Reads);
    both(
        "many vias",
        &[("X", "v: SIP/2.0/SCTP a;x=\",;\" , SIP/2.0/OWL b:7;branch=q,SIP / 2.0 / TLS\r\n [::1]")],
        Reads,
    );
    both(
        "contacts",
        &[("M", "m: \"a, b\" <sip:c@d?e=f>;q=1;+sip.instance=\"<urn:uuid:1;2>\",sip:g@h;expires=9")],
        Reads,
    );
    both("star", &[("M", "Contact: *")], Reads);
    both(
        "mapped",
        &[("Via", "Via: SIP/2.0/UDP [::ffff:192.0.2.7]:5061;received=::1;branch=z9hG4bKy")],
        Reads,
    );
    check("binary", &with(&[("Content-Length", "Content-Length: 6")], b"\0\r\n\xff\r\n"), Reads, Reads);
    check("leading breaks", &[b"\r\n\r\n\r\n", &*with(&[], b"")].concat()[4..], Reads, Reads);
    check("two", &[with(&[], b""), with(&[], b"")].concat(), Reads, Reads);
}

#[test]
fn non_utf8_octets_survive() {
    let octets = [&b"OPTIONS sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP h\r\nf: \"a\" <sip:a@b>;tag=1\r\nt: <sip:b@b>\r\ni: c\r\n"[..],
        b"CSeq: 1 OPTIONS\r\nSubject: caf\xe9 \xff\xfe\r\nl: 0\r\n\r\n"].concat();
    let sip::Message::Request(request) = sip::Message::parse_datagram(octets.clone().into()).unwrap() else {
        panic!("a request")
    };
    assert_eq!(request.get(Name::Subject), None);
    let mut edit = request.edit();
    edit.push_top(Name::Via, "SIP/2.0/UDP p;branch=z9hG4bKq");
    let out = edit.finish();
    assert!(out.as_bytes().windows(8).any(|w| w == b"caf\xe9 \xff\xfe\r"));
    assert_eq!(out.as_bytes().len(), octets.len() + "Via: SIP/2.0/UDP p;branch=z9hG4bKq\r\n".len());
}

#[test]
fn invalid_ones_are_answered() {
    for (name, line) in [
        ("", "OPTIONS  sip:a@b SIP/2.0"),
        ("", "OPTIONS sip:a@b  SIP/2.0"),
        ("", "OPTIONS sip:a@b SIP/2.0 "),
        ("", "OPTIONS <sip:a@b> SIP/2.0"),
        ("", "OPTIONS sip:a b@c SIP/2.0"),
        ("", "OPTIONS sip:a@b?Subject=x SIP/2.0"),
        ("", "OPTIONS sip:a%4@b SIP/2.0"),
        ("", "OPTIONS sip:@b SIP/2.0"),
        ("", "OPTIONS sip:a@b:99999 SIP/2.0"),
        ("", "OPTIONS sip:2001:db8::1 SIP/2.0"),
        ("", "OPTIONS sip:[2001:db8::1::2] SIP/2.0"),
        ("", "OPTIONS tel:twelve SIP/2.0"),
        ("", "OPTIONS sip:a@b SIP/2.0.0"),
        ("Via", "Via: SIP/2.0/UDP h;;branch=x"),
        ("Via", "Via: SIP/2.0/UDP"),
        ("Via", "Via: SIP/3.0/UDP h"),
        ("From", "From: \"open <sip:a@b>;tag=1"),
        ("From", "From: Reed, Ann <sip:a@b>;tag=1"),
        ("To", "To: < sip:a@b >"),
        ("To", "To: <sip:a@b"),
        ("To", "To: alice"),
        ("To", ""),
        ("From", ""),
        ("Call-ID", ""),
        ("Call-ID", "Call-ID: a b"),
        ("Call-ID", "Call-ID: a@b@c"),
        ("CSeq", ""),
        ("CSeq", "CSeq: 12 INVITE"),
        ("CSeq", "CSeq: 2147483648 OPTIONS"),
        ("CSeq", "CSeq: -1 OPTIONS"),
        ("CSeq", "CSeq: 12"),
        ("X", "To: <sip:c@d>"),
        ("X", "From: <sip:c@d>;tag=2"),
        ("X", "CSeq: 13 OPTIONS"),
        ("X", "Call-ID: other"),
        ("X", "Max-Forwards: 3"),
        ("X", "No colon here"),
        ("X", ": no name"),
    ] {
        both("invalid", &[(name, line)], Refused(400));
    }
    both("version", &[("", "OPTIONS sip:a@b SIP/3.1")], Refused(505));
    both("response", &[("", "SIP/2.0 99 Low"), ("CSeq", "CSeq: 1 OPTIONS")], Dropped);
    both("response", &[("", "SIP/2.0 2000 High")], Dropped);
    both("response", &[("", "SIP/2.0 200 OK"), ("To", "")], Dropped);
    both("ack", &[("", "ACK sip:a@b SIP/2.0"), ("CSeq", "CSeq: 9 INVITE")], Dropped);
    both("no via", &[("Via", "")], Dropped);
}

#[test]
fn readers_and_checks_say_the_rest() {
    both("hops", &[("Max-Forwards", "Max-Forwards: 256")], Malformed(Name::MaxForwards));
    both("contact", &[("M", "Contact: sip:a@b?x=y")], Malformed(Name::Contact));
    both("star and more", &[("M", "Contact: *"), ("M2", "Contact: <sip:a@b>")], Malformed(Name::Contact));
    both("route", &[("R", "Route: <sip:a;lr>, ,<sip:b>")], Malformed(Name::Route));
    both("expires", &[("E", "Expires: soon")], Malformed(Name::Expires));
    both(
        "digest",
        &[("A", "Authorization: Digest username=\"a\", username=\"b\"")],
        Malformed(Name::Authorization),
    );
    both("scheme", &[("", "OPTIONS owl:hoot SIP/2.0")], Checks(416));
    both("zero", &[("Max-Forwards", "Max-Forwards: 0")], Checks(483));
    both("option", &[("P", "Proxy-Require: owl, hoot")], Checks(420));
}

#[test]
fn content_length_is_strict() {
    let length = |line: &str, body: &[u8]| with(&[("Content-Length", line)], body);
    check("short", &length("Content-Length: 9", b"four"), Refused(400), Waits);
    check("negative", &length("Content-Length: -4", b"four"), Refused(400), Closed(400));
    check("signed", &length("Content-Length: +4", b"four"), Refused(400), Closed(400));
    check("overflow", &length("Content-Length: 18446744073709551615", b"four"), Refused(400), Closed(400));
    check("beyond", &length("Content-Length: 99999999999999999999", b"four"), Refused(400), Closed(400));
    check("empty", &length("Content-Length:", b"four"), Refused(400), Closed(400));
    check("list", &length("Content-Length: 4, 4", b"four"), Refused(400), Closed(400));
    check("huge", &length("Content-Length: 300000", b"four"), Refused(400), Closed(513));
    let two = with(&[("Content-Length", "l: 4"), ("L", "CONTENT-LENGTH: 5")], b"fourx");
    check("two", &two, Refused(400), Closed(400));
    let same = with(&[("Content-Length", "l: 4"), ("L", "CONTENT-LENGTH: 4")], b"four");
    check("same", &same, Reads, Reads);
    check("none", &length("", b""), Reads, Closed(400));
    check("folded", &length("Content-Length:\r\n 4", b"four"), Reads, Reads);
}

#[test]
fn limits_hold() {
    let many = |line: &str, count: usize| vec![line; count].join("\r\n");
    let header = |text: &str| vec![("X", text.to_owned())];
    let cases = [
        (
            "vias",
            header(&many("Via: SIP/2.0/UDP h;branch=z9hG4bKx", 99)),
            header(&many("Via: SIP/2.0/UDP h", 100)),
        ),
        (
            "via list",
            header(&format!("v: h{}", ",h".repeat(98))),
            header(&format!("v: h{}", ",h".repeat(99))),
        ),
        ("routes", header(&many("Route: <sip:h;lr>", 64)), header(&many("Route: <sip:h;lr>", 65))),
        (
            "record-routes",
            header(&many("Record-Route: <sip:h;lr>", 64)),
            header(&many("Record-Route: <sip:h;lr>", 65)),
        ),
        ("contacts", header(&many("m: <sip:h>", 10)), header(&many("m: <sip:h>", 11))),
        ("headers", header(&many("Owl: hoot", 256 - 7)), header(&many("Owl: hoot", 257 - 7))),
        (
            "line",
            header(&format!("Owl: {}", "h".repeat(8192 - 7))),
            header(&format!("Owl: {}", "h".repeat(8193 - 7))),
        ),
    ];
    for (name, within, beyond) in &cases {
        let octets = |change: &Vec<(&'static str, String)>| with(&[(change[0].0, &change[0].1)], b"");
        let parses = |octets: Vec<u8>| sip::Message::parse_datagram(octets.into());
        assert!(parses(octets(within)).is_ok(), "{name} within the limit");
        let error = parses(octets(beyond)).unwrap_err();
        assert_eq!(error.status().map(|s| s.code()), Some(513), "{name} beyond the limit");
    }
    let uri = |n: usize| format!("OPTIONS sip:{}@b SIP/2.0", "a".repeat(n - 6));
    both("uri", &[("", &uri(1024))], Reads);
    both("uri", &[("", &uri(1025))], Refused(513));
    let big = with(&[("Content-Length", "l: 65000")], &[b'x'; 65000]);
    check("large datagram", &big, Reads, Reads);
    let huge = with(&[("Content-Length", "l: 66000")], &[b'x'; 66000]);
    check("too large a datagram", &huge, Refused(513), Reads);
}

#[test]
fn a_stream_without_end_of_headers_is_closed() {
    let mut framer = sip::Framer::new();
    framer.push(&with(&[], b"")[..300.min(with(&[], b"").len() - 4)]);
    for _ in 0..700 {
        framer.push(b"\r\nX: 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789");
        if let Some(frame) = framer.next() {
            let sip::Frame::Refused(error) = frame else { panic!("{frame:?}") };
            assert_eq!(error.status().map(|s| s.code()), Some(513));
            assert!(framer.next().is_none());
            return;
        }
    }
    panic!("the stream grew without bound");
}

#[test]
fn keep_alives_between_messages() {
    let mut framer = sip::Framer::new();
    framer.push(b"\r\n\r\n");
    assert!(matches!(framer.next(), Some(sip::Frame::KeepAlive)));
    framer.push(b"\r\n");
    assert!(framer.next().is_none());
    framer.push(&with(&[], b""));
    assert!(matches!(framer.next(), Some(sip::Frame::Message(_))));
    framer.push(b"\r\n\r");
    assert!(framer.next().is_none());
    framer.push(b"\n");
    assert!(matches!(framer.next(), Some(sip::Frame::KeepAlive)));
    assert_eq!(framer.held(), 0);
}
