//! How requests of ours travel, and how a node ends.
#![allow(clippy::unwrap_used)]

mod scene;

use scene::{DOMAIN, Phone, Scene, phone, scene};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Registers and subscribes with a Contact long enough that a NOTIFY to it is too large for UDP.
fn subscribe(scene: &Scene, name: &str, contact: &str) -> Phone {
    let mut ue = phone(scene, name);
    ue.register_fully();
    let lines = format!(
        "Contact: {contact}\r\nEvent: reg\r\nExpires: 600\r\nP-Asserted-Identity: <sip:{name}@{DOMAIN}>\r\n\
         Accept: application/reginfo+xml\r\n"
    );
    let text = ue.request("SUBSCRIBE", &format!("sip:{name}@{DOMAIN}"), &lines);
    ue.send(&text);
    ue
}

fn padded(port: u16) -> String {
    format!("<sip:alice@127.0.0.1:{port};pad={}>", "x".repeat(900))
}

/// The 200 to a request as it was received.
fn ok_to(request: &str) -> String {
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = request.lines().filter(|line| copied.iter().any(|name| line.starts_with(name)));
    format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", lines.collect::<Vec<_>>().join("\r\n"))
}

/// A port that is free for UDP and TCP.
fn pair() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            udp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            return (udp, tcp);
        }
    }
}

#[test]
fn cg_03_a_request_too_large_for_udp_goes_by_tcp() {
    let scene = scene(&[]);
    let (udp, tcp) = pair();
    let ue = subscribe(&scene, "alice", &padded(udp.local_addr().unwrap().port()));
    let accepted = ue.take();
    assert!(accepted.starts_with("SIP/2.0 200"), "{accepted}");
    let (mut stream, _) = tcp.accept().unwrap();
    let mut buffer = [0; 65536];
    let length = stream.read(&mut buffer).unwrap();
    let notify = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(notify.starts_with("NOTIFY ") && notify.contains("Via: SIP/2.0/TCP "), "{notify}");
    assert!(notify.len() > 1300);
    stream.write_all(ok_to(&notify).as_bytes()).unwrap();
    answered(&scene);
}

#[test]
fn cg_04_what_tcp_refuses_goes_by_udp() {
    let scene = scene(&[]);
    let (udp, tcp) = pair();
    drop(tcp);
    let _ue = subscribe(&scene, "alice", &padded(udp.local_addr().unwrap().port()));
    let mut buffer = [0; 65536];
    let (length, from) = udp.recv_from(&mut buffer).unwrap();
    let notify = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(notify.starts_with("NOTIFY ") && notify.contains("Via: SIP/2.0/UDP "), "{notify}");
    assert!(notify.len() > 1300);
    udp.send_to(ok_to(&notify).as_bytes(), from).unwrap();
    answered(&scene);
}

/// The answer to the NOTIFY reached the user.
fn answered(scene: &Scene) {
    let seen = scene::eventually(Duration::from_secs(5), || {
        (scene.user("alice")["subscriptions"][0]["last_notify"]["status"] == 200).then_some(())
    });
    assert!(seen.is_some(), "{}", scene.user("alice"));
    assert_eq!(scene.metric("rollcall_notifies_total"), 1);
}

#[test]
fn a_notify_that_nobody_can_be_sent_is_told_to_its_user() {
    let scene = scene(&[]);
    let ue = subscribe(&scene, "alice", "<sip:alice@no-such-host.invalid>");
    assert!(ue.take().starts_with("SIP/2.0 200"));
    let seen = scene::eventually(Duration::from_secs(8), || {
        let causes = scene.user("alice")["recent"].to_string();
        causes.contains("NOTIFY could not be sent").then_some(())
    });
    assert!(seen.is_some(), "{}", scene.user("alice"));
}

#[test]
fn a_response_whose_connection_is_gone_opens_another() {
    let scene = scene(&[("ROLLCALL__CX__REQUEST_TIMEOUT", "1")]);
    scene.hss.silent.store(true, std::sync::atomic::Ordering::Relaxed);
    let (udp, tcp) = pair();
    let port = udp.local_addr().unwrap().port();
    let mut alice = phone(&scene, "alice");
    let own = alice.socket.local_addr().unwrap().port();
    let text = alice
        .register("nonce=\"\",response=\"\"", 600)
        .replace(&format!("SIP/2.0/UDP 127.0.0.1:{own}"), &format!("SIP/2.0/TCP 127.0.0.1:{port}"));
    let mut stream = TcpStream::connect(scene.sip).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    // The node has read the request once it asks the HSS.
    let asked = scene::eventually(Duration::from_secs(5), || {
        (scene.metric("rollcall_cx_requests_total{command=\"MAR\"}") == 1).then_some(())
    });
    assert!(asked.is_some());
    drop(stream);
    let (mut back, _) = tcp.accept().unwrap();
    let mut buffer = [0; 4096];
    let length = back.read(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 5"), "{}", String::from_utf8_lossy(&buffer[..length]));
}

#[test]
fn only_trusted_peers_are_believed() {
    let scene = scene(&[("ROLLCALL__SIP__TRUSTED_PEERS", "192.0.2.0/24")]);
    let ue = subscribe(&scene, "alice", "<sip:alice@127.0.0.1:9>");
    let refused = ue.take();
    assert!(
        refused.starts_with("SIP/2.0 4"),
        "an asserted identity from outside is worth nothing: {refused}"
    );
}

#[test]
fn a_node_that_stops_finishes_what_it_began() {
    let mut scene = scene(&[("ROLLCALL__CX__REQUEST_TIMEOUT", "1")]);
    scene.hss.silent.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut alice = phone(&scene, "alice");
    let text = alice.register("nonce=\"\",response=\"\"", 600);
    alice.send(&text);
    let asked = scene::eventually(Duration::from_secs(5), || {
        (scene.metric("rollcall_cx_requests_total{command=\"MAR\"}") == 1).then_some(())
    });
    assert!(asked.is_some());
    let begun = Instant::now();
    scene.node.take().unwrap().stop_and_wait();
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert!(alice.take().starts_with("SIP/2.0 5"), "the request under way was answered");
    assert_eq!(scene.get("/healthz").0, 0, "nobody listens any more");
}

#[test]
fn an_address_in_use_stops_the_start_with_one_line() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = format!("udp:{}", taken.local_addr().unwrap());
    let environment = [("ROLLCALL__SIP__LISTEN".to_owned(), listen)];
    let config = node::Config::read("", environment.into_iter()).unwrap();
    let line = format!("{:#}", node::Node::start(config).unwrap_err());
    assert!(line.contains("sip.listen") && !line.contains('\n'), "{line}");
}
