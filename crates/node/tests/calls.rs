//! Calls between two users of a node, over real sockets.
#![allow(clippy::unwrap_used)]

mod scene;

use scene::{DOMAIN, Phone, Scene, eventually, phone, scene};
use std::time::Duration;

/// A dialog as one phone sees it.
struct Call {
    call_id: String,
    from: String,
    to: String,
    target: String,
    routes: Vec<String>,
}

fn values(text: &str, name: &str) -> Vec<String> {
    let head = text.split("\r\n\r\n").next().unwrap();
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
}

fn value(text: &str, name: &str) -> String {
    values(text, name).into_iter().next().unwrap_or_else(|| panic!("no {name} in {text}"))
}

fn uri(address: &str) -> String {
    address.split('<').nth(1).and_then(|rest| rest.split('>').next()).unwrap_or(address).to_owned()
}

fn registered(scene: &Scene, name: &str) -> (Phone, String) {
    let mut phone = phone(scene, name);
    let ok = phone.register_fully();
    (phone, value(&ok, "Service-Route"))
}

fn port(phone: &Phone) -> u16 {
    phone.socket.local_addr().unwrap().port()
}

fn invite(phone: &Phone, route: &str, to: &str, call_id: &str) -> String {
    let (name, port) = (&phone.name, port(phone));
    format!(
        "INVITE sip:{to}@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{call_id};rport\r\n\
         Max-Forwards: 70\r\nRoute: {route}\r\nRecord-Route: <sip:mo@127.0.0.1:{port};lr>\r\n\
         P-Asserted-Identity: <sip:{name}@{DOMAIN}>\r\nP-Charging-Vector: icid-value={call_id};orig-ioi=visited.example\r\n\
         From: <sip:{name}@{DOMAIN}>;tag=f{call_id}\r\nTo: <sip:{to}@{DOMAIN}>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:{name}@127.0.0.1:{port}>\r\nSupported: timer, 100rel\r\nContent-Length: 0\r\n\r\n"
    )
}

fn answer(request: &str, status: &str, tag: &str, contact: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in values(request, name) {
            let tagged = name == "To" && !value.contains(";tag=");
            text.push_str(&format!(
                "{name}: {value}{}\r\n",
                if tagged { format!(";tag={tag}") } else { String::new() }
            ));
        }
    }
    text.push_str(&format!("Contact: <{contact}>\r\nContent-Length: 0\r\n\r\n"));
    text
}

fn in_dialog(phone: &Phone, call: &Call, method: &str, cseq: u32) -> String {
    let (port, routes) =
        (port(phone), call.routes.iter().map(|route| format!("Route: {route}\r\n")).collect::<String>());
    format!(
        "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{}{method}{cseq};rport\r\n\
         Max-Forwards: 70\r\n{routes}From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n",
        call.target, call.call_id, call.from, call.to, call.call_id
    )
}

/// Alice calls bob, who answers; both sides of the dialog.
fn established(alice: &Phone, route: &str, bob: &Phone, call_id: &str) -> (Call, Call) {
    alice.send(&invite(alice, route, &bob.name, call_id));
    let asked = bob.take();
    assert!(
        asked.starts_with(&format!("INVITE sip:{}@127.0.0.1:{} SIP/2.0", bob.name, port(bob))),
        "{asked}"
    );
    bob.send(&answer(&asked, "180 Ringing", "bob", &format!("sip:{}@127.0.0.1:{}", bob.name, port(bob))));
    let ok = answer(&asked, "200 OK", "bob", &format!("sip:{}@127.0.0.1:{}", bob.name, port(bob)));
    bob.send(&ok);
    let heard = alice.take();
    assert!(heard.starts_with("SIP/2.0 200"), "{heard}");
    let mut routes = values(&heard, "Record-Route");
    routes.reverse();
    let caller = Call {
        call_id: call_id.into(),
        from: value(&heard, "From"),
        to: value(&heard, "To"),
        target: uri(&value(&heard, "Contact")),
        // The P-CSCF before alice is her own socket: it takes its own entry off.
        routes: routes.into_iter().skip(1).collect(),
    };
    let callee = Call {
        call_id: call_id.into(),
        from: value(&ok, "To"),
        to: value(&ok, "From"),
        target: uri(&value(&asked, "Contact")),
        routes: values(&asked, "Record-Route"),
    };
    alice.send(&in_dialog(alice, &caller, "ACK", 1));
    let ack = bob.take();
    assert!(ack.starts_with("ACK "), "{ack}");
    (caller, callee)
}

#[test]
fn a_call_is_set_up_and_the_caller_hangs_up() {
    let scene = scene(&[]);
    let (alice, route) = registered(&scene, "alice");
    let (bob, _) = registered(&scene, "bob");
    let (caller, _) = established(&alice, &route, &bob, "c1");
    let view = scene.user("alice");
    assert_eq!(view["sessions"][0]["role"], "originating", "{view}");
    assert_eq!(view["sessions"][0]["state"], "confirmed");
    assert_eq!(scene.user("bob")["sessions"][0]["role"], "terminating");
    assert_eq!(scene.metric("rollcall_sessions"), 2);

    alice.send(&in_dialog(&alice, &caller, "BYE", 2));
    let bye = bob.take();
    assert!(bye.starts_with("BYE "), "{bye}");
    bob.send(&answer(&bye, "200 OK", "bob", "sip:bob@127.0.0.1"));
    assert!(alice.take().starts_with("SIP/2.0 200"));
    assert_eq!(scene.user("alice")["sessions"].as_array().unwrap().len(), 0);
    assert_eq!(scene.metric("rollcall_sessions"), 0);
}

#[test]
fn the_callee_hangs_up() {
    let scene = scene(&[]);
    let (alice, route) = registered(&scene, "alice");
    let (bob, _) = registered(&scene, "bob");
    let (_, callee) = established(&alice, &route, &bob, "c2");
    bob.send(&in_dialog(&bob, &callee, "BYE", 7));
    let bye = alice.take();
    assert!(bye.starts_with("BYE "), "{bye}");
    alice.send(&answer(&bye, "200 OK", "x", "sip:alice@127.0.0.1"));
    assert!(bob.take().starts_with("SIP/2.0 200"));
    assert_eq!(scene.user("bob")["sessions"].as_array().unwrap().len(), 0);
}

#[test]
fn a_ringing_call_is_cancelled() {
    let scene = scene(&[]);
    let (alice, route) = registered(&scene, "alice");
    let (bob, _) = registered(&scene, "bob");
    let text = invite(&alice, &route, "bob", "c3");
    alice.send(&text);
    let asked = bob.take();
    bob.send(&answer(&asked, "180 Ringing", "bob", "sip:bob@127.0.0.1"));
    assert!(
        eventually(Duration::from_secs(2), || (scene.user("bob")["sessions"][0]["state"] == "early")
            .then_some(()))
        .is_some()
    );
    let via = value(&text, "Via");
    alice.send(&format!(
        "CANCEL sip:bob@{DOMAIN} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nRoute: {route}\r\nFrom: {}\r\nTo: {}\r\n\
         Call-ID: c3\r\nCSeq: 1 CANCEL\r\nReason: SIP;cause=200;text=\"elsewhere\"\r\nContent-Length: 0\r\n\r\n",
        value(&text, "From"),
        value(&text, "To")
    ));
    assert!(alice.take().starts_with("SIP/2.0 200"));
    let cancel = bob.take();
    assert!(cancel.starts_with("CANCEL "), "{cancel}");
    assert_eq!(value(&cancel, "Reason"), "SIP;cause=200;text=\"elsewhere\"");
    bob.send(&answer(&cancel, "200 OK", "bob", "sip:bob@127.0.0.1"));
    bob.send(&answer(&asked, "487 Request Terminated", "bob", "sip:bob@127.0.0.1"));
    let ended = alice.take();
    assert!(ended.starts_with("SIP/2.0 487"), "{ended}");
    assert!(bob.take().starts_with("ACK "));
}

#[test]
fn whoever_does_not_reauthenticate_loses_his_calls() {
    let scene = scene(&[("ROLLCALL__REAUTHENTICATION__MIN_PERIOD", "1")]);
    let (alice, route) = registered(&scene, "alice");
    let (bob, _) = registered(&scene, "bob");
    let (carol, _) = registered(&scene, "carol");
    let (caller, callee) = established(&alice, &route, &bob, "c4");
    // One is still being set up.
    alice.send(&invite(&alice, &route, "carol", "c5"));
    let ringing = carol.take();
    carol.send(&answer(&ringing, "180 Ringing", "carol", "sip:carol@127.0.0.1"));
    assert!(
        eventually(Duration::from_secs(2), || (scene.metric("rollcall_sessions") == 4).then_some(()))
            .is_some()
    );

    let (status, body) = scene.post(&format!("/v1/users/alice@{DOMAIN}/reauthenticate"), "{\"period_s\":1}");
    assert_eq!(status, 202, "{body}");
    let to_bob = bob.take();
    assert!(to_bob.starts_with(&format!("BYE {}", caller.target)), "{to_bob}");
    assert_eq!(value(&to_bob, "CSeq"), "2 BYE");
    assert!(value(&to_bob, "Reason").starts_with("SIP;cause=480"), "{to_bob}");
    assert_eq!((value(&to_bob, "From"), value(&to_bob, "To")), (caller.from.clone(), caller.to.clone()));
    bob.send(&answer(&to_bob, "200 OK", "x", "sip:bob@127.0.0.1"));
    let mut heard = [alice.take(), alice.take()];
    heard.sort();
    let (bye, refused) = (&heard[0], &heard[1]);
    assert!(bye.starts_with(&format!("BYE {}", callee.target)), "{bye}");
    assert_eq!((value(bye, "From"), value(bye, "To")), (callee.from, callee.to));
    assert!(refused.starts_with("SIP/2.0 480"), "{refused}");
    alice.send(&answer(bye, "200 OK", "x", "sip:alice@127.0.0.1"));
    let cancel = carol.take();
    assert!(cancel.starts_with("CANCEL "), "{cancel}");
    carol.send(&answer(&cancel, "200 OK", "carol", "sip:carol@127.0.0.1"));
    carol.send(&answer(&ringing, "487 Request Terminated", "carol", "sip:carol@127.0.0.1"));
    let gone = eventually(Duration::from_secs(3), || {
        (scene.get(&format!("/v1/users/alice@{DOMAIN}")).0 == 404).then_some(())
    });
    assert!(gone.is_some(), "{}", scene.user("alice"));
    assert!(
        eventually(Duration::from_secs(3), || (scene.metric("rollcall_sessions") == 0).then_some(()))
            .is_some()
    );
}
