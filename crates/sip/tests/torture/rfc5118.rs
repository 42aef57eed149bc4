//! RFC 5118 §4 — its 12 messages.

use super::{
    Case,
    Verdict::{Reads, Refused},
    judge_directory,
};

const CASES: &[Case] = &[
    ("ipv6-good", Reads, Reads, "§4.1 a reference in the Request-URI"),
    ("ipv6-bad", Refused(400), Refused(400), "§4.2 an address without brackets"),
    ("port-ambiguous", Reads, Reads, "§4.3 what looks like a port is part of the address"),
    ("port-unambiguous", Reads, Reads, "§4.4 a port behind the bracket"),
    ("via-received-param-with-delim", Reads, Reads, "§4.5 received with brackets"),
    ("via-received-param-no-delim", Reads, Reads, "§4.5 received without"),
    ("ipv6-in-sdp", Reads, Reads, "§4.6 bodies are not looked at"),
    ("mult-ip-in-header", Reads, Reads, "§4.7 both families in Via"),
    ("mult-ip-in-sdp", Reads, Reads, "§4.8 bodies are not looked at"),
    ("ipv4-mapped-ipv6", Reads, Reads, "§4.9 mapped addresses"),
    (
        "ipv6-bug-abnf-3-colons",
        Reads,
        Reads,
        "§4.10 the first grammar allowed a third colon; it is taken for two",
    ),
    ("ipv6-correct-abnf-2-colons", Reads, Reads, "§4.10 as corrected"),
];

#[test]
fn every_message_has_its_verdict() {
    judge_directory("rfc5118", CASES);
}

#[test]
fn what_they_say() {
    let Some(dir) = super::shared("rfc5118") else { return };
    let read = |name: &str| {
        let octets = std::fs::read(dir.join(format!("{name}.dat"))).unwrap();
        match sip::Message::parse_datagram(octets.into()).unwrap() {
            sip::Message::Request(request) => request,
            sip::Message::Response(_) => panic!("a request"),
        }
    };
    assert_eq!(
        (read("port-ambiguous").uri().host(), read("port-ambiguous").uri().port()),
        ("[2001:db8::10:5070]", None)
    );
    assert_eq!(
        (read("port-unambiguous").uri().host(), read("port-unambiguous").uri().port()),
        ("[2001:db8::10]", Some(5070))
    );
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        assert_eq!(read(name).via().received(), Some("2001:db8::9:255".parse().unwrap()));
    }
    let (three, two) = (read("ipv6-bug-abnf-3-colons"), read("ipv6-correct-abnf-2-colons"));
    assert!(three.uri().equivalent(two.uri()));
    assert_ne!(three.uri_text(), two.uri_text());
}
