//! RFC 3261 §18.2, RFC 3581 §4: `received`, `rport`, and the way of responses.

use crate::rig::{Rig, tcp, text, udp};
use sip::transaction::{Flow, reconnect_target};

fn way(flow: Flow, via: &str) -> (String, String) {
    let mut rig = Rig::new();
    rig.receive_on(flow, &text("OPTIONS", via));
    let top = rig.asked.as_ref().unwrap().1.via().to_string();
    rig.respond(200).unwrap();
    (top, rig.sent.unwrap().0.remote.to_string())
}

#[test]
fn cg_01_received_is_added_where_sent_by_is_not_the_source() {
    let same = "SIP/2.0/UDP 192.0.2.1:5099;branch=z9hG4bKx";
    assert_eq!(way(udp(), same), (same.into(), "192.0.2.1:5099".into()));
    let (top, to) = way(udp(), "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx");
    assert!(top.contains("received=192.0.2.1"), "{top}");
    assert_eq!(to, "192.0.2.1:5060");
    let (top, to) = way(udp(), "SIP/2.0/UDP ue.home.net:6000;branch=z9hG4bKx");
    assert!(top.contains("received=192.0.2.1"), "{top}");
    assert_eq!(to, "192.0.2.1:6000");
}

#[test]
fn cg_02_rport_sends_responses_to_the_source_port() {
    let (top, to) = way(udp(), "SIP/2.0/UDP 192.0.2.1:6000;rport;branch=z9hG4bKx");
    assert!(top.contains("rport=5070") && top.contains("received=192.0.2.1"), "{top}");
    assert_eq!(to, "192.0.2.1:5070");
}

#[test]
fn maddr_outranks_the_source_if_it_is_an_address() {
    assert_eq!(way(udp(), "SIP/2.0/UDP 192.0.2.1;maddr=198.51.100.7;branch=z9hG4bKx").1, "198.51.100.7:5060");
    assert_eq!(way(udp(), "SIP/2.0/UDP 192.0.2.1;maddr=not.an.address;branch=z9hG4bKx").1, "192.0.2.1:5060");
}

#[test]
fn bracketed_hosts_are_addresses() {
    let flow = Flow { remote: "[2001:db8::1]:5070".parse().unwrap(), ..udp() };
    let via = "SIP/2.0/UDP [2001:DB8::1]:5070;branch=z9hG4bKx";
    assert_eq!(way(flow, via), (via.into(), "[2001:db8::1]:5070".into()));
}

#[test]
fn reliable_responses_go_back_on_their_connection() {
    let mut rig = Rig::new();
    rig.receive_on(tcp(), &text("OPTIONS", "SIP/2.0/TCP p.home.net;maddr=198.51.100.7;branch=z9hG4bKx"));
    rig.respond(200).unwrap();
    assert_eq!(rig.sent.as_ref().unwrap().0, tcp());
    assert_eq!(reconnect_target(&rig.answer(200)), Some("192.0.2.1:5060".parse().unwrap()));

    rig.receive_on(tcp(), &text("OPTIONS", "SIP/2.0/TLS 192.0.2.1;branch=z9hG4bKy"));
    assert_eq!(reconnect_target(&rig.answer(200)), Some("192.0.2.1:5061".parse().unwrap()));
    let built = crate::rig::request("OPTIONS").respond(sip::Status::OK, "t").finish();
    assert_eq!(reconnect_target(&built), None);
}
