//! Where requests of ours go: static routes, DNS, and on to the next place when one does not answer.
#![allow(clippy::unwrap_used)]

mod scene;
mod zone;

use hickory_proto::rr::RecordType;
use scene::{DOMAIN, Phone, Scene, eventually, phone, scene};
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use zone::{Zone, zone};

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

fn scene_with(zone: &Zone, overrides: &[(&str, &str)]) -> Scene {
    let dns = zone.address.to_string();
    scene(&[&[("ROLLCALL__SIP__DNS", dns.as_str())], overrides].concat())
}

/// A registered user who can ask for a NOTIFY to whatever Contact.
fn user(scene: &Scene, name: &str) -> Phone {
    let mut ue = phone(scene, name);
    ue.register_fully();
    ue
}

/// Each subscription causes one NOTIFY to its Contact.
fn subscribe(ue: &mut Phone, contact: &str) {
    let name = ue.name.clone();
    let lines = format!(
        "Contact: <{contact}>\r\nEvent: reg\r\nExpires: 600\r\nP-Asserted-Identity: <sip:{name}@{DOMAIN}>\r\n\
         Accept: application/reginfo+xml\r\n"
    );
    let text = ue.request("SUBSCRIBE", &format!("sip:{name}@{DOMAIN}"), &lines);
    // A dialog of its own each time.
    let text = text.replace("Call-ID: c", &format!("Call-ID: s{}c", ue.cseq));
    ue.send(&text);
    let accepted = ue.take();
    assert!(accepted.starts_with("SIP/2.0 200"), "{accepted}");
}

/// A SIP server by UDP.
struct Server(UdpSocket);

fn server() -> Server {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
    Server(socket)
}

impl Server {
    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Takes the next NOTIFY and answers it.
    fn answer(&self, status: &str) -> String {
        let mut buffer = [0; 65536];
        let (length, from) = self.0.recv_from(&mut buffer).expect("a NOTIFY comes");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(text.starts_with("NOTIFY "), "{text}");
        self.0.send_to(response(&text, status).as_bytes(), from).unwrap();
        text
    }

    fn is_idle(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let idle = self.0.recv(&mut [0; 65536]).is_err();
        self.0.set_nonblocking(false).unwrap();
        idle
    }
}

fn response(request: &str, status: &str) -> String {
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = request.lines().filter(|line| copied.iter().any(|name| line.starts_with(name)));
    format!("SIP/2.0 {status}\r\n{}\r\nContent-Length: 0\r\n\r\n", lines.collect::<Vec<_>>().join("\r\n"))
}

/// The last NOTIFY of this user's ended so, in words of its view.
fn told(scene: &Scene, name: &str, words: &str) {
    let seen = eventually(Duration::from_secs(8), || {
        scene.user(name)["recent"].to_string().contains(words).then_some(())
    });
    assert!(seen.is_some(), "{words} in {}", scene.user(name));
}

/// A port where nobody listens by TCP, so that a connection is refused at once.
fn refusing() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn naptr_chooses_the_transport_srv_the_server_and_a_its_address() {
    let zone = zone();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    zone.naptr("example.net", 20, 0, "SIP+D2U", "_sip._udp.example.net");
    zone.naptr("example.net", 10, 0, "SIPS+D2T", "_sips._tcp.example.net");
    zone.naptr("example.net", 10, 50, "SIP+D2T", "_sip._tcp.example.net");
    zone.srv("_sip._tcp.example.net", 0, 0, tcp.local_addr().unwrap().port(), "one.example.net");
    zone.a("one.example.net", 60, LOOPBACK);
    let scene = scene_with(&zone, &[]);
    subscribe(&mut user(&scene, "alice"), "sip:alice@Example.net");
    let (mut stream, _) = tcp.accept().unwrap();
    let mut buffer = [0; 65536];
    let length = stream.read(&mut buffer).unwrap();
    let notify = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(notify.starts_with("NOTIFY sip:alice@Example.net "), "{notify}");
    stream.write_all(response(&notify, "200 OK").as_bytes()).unwrap();
    told(&scene, "alice", "200 to NOTIFY");
    assert_eq!(zone.asked("_sips._tcp.example.net", RecordType::SRV), 0);
    assert_eq!(scene.metric("rollcall_lookups_total"), 1);
    assert_eq!(scene.metric("rollcall_lookup_failures_total"), 0);
}

#[test]
fn the_second_service_takes_over_from_a_server_that_refuses() {
    let zone = zone();
    let second = server();
    zone.naptr("example.net", 1, 1, "SIP+D2T", "_sip._tcp.example.net");
    zone.naptr("example.net", 2, 1, "SIP+D2U", "_sip._udp.example.net");
    zone.srv("_sip._tcp.example.net", 1, 0, refusing(), "one.example.net");
    zone.srv("_sip._udp.example.net", 0, 0, second.port(), "one.example.net");
    zone.a("one.example.net", 60, LOOPBACK);
    let scene = scene_with(&zone, &[]);
    let mut alice = user(&scene, "alice");
    subscribe(&mut alice, "sip:alice@example.net");
    second.answer("200 OK");
    told(&scene, "alice", "200 to NOTIFY");
    assert_eq!(scene.metric("rollcall_failovers_total"), 1);
    // While the first is listed it is not tried.
    subscribe(&mut alice, "sip:alice@example.net");
    second.answer("200 OK");
    assert_eq!(scene.metric("rollcall_failovers_total"), 1);
}

#[test]
fn without_naptr_srv_is_asked_for_each_transport_udp_first() {
    let zone = zone();
    let server = server();
    zone.srv("_sip._tcp.example.net", 1, 0, refusing(), "one.example.net");
    zone.srv("_sip._udp.example.net", 2, 0, server.port(), "one.example.net");
    zone.a("one.example.net", 60, LOOPBACK);
    let scene = scene_with(&zone, &[]);
    let mut alice = user(&scene, "alice");
    subscribe(&mut alice, "sip:alice@example.net");
    server.answer("200 OK");
    let asked = |name, kind| zone.asked(name, kind);
    assert_eq!(asked("example.net", RecordType::NAPTR), 1);
    assert_eq!(asked("_sip._tcp.example.net", RecordType::SRV), 1);
    // A URI that names its transport is asked for that one alone.
    subscribe(&mut alice, "sip:alice@example.net;transport=udp");
    server.answer("200 OK");
    assert_eq!(asked("_sip._udp.example.net", RecordType::SRV), 2);
    assert_eq!(asked("_sip._tcp.example.net", RecordType::SRV), 1);
    assert_eq!(asked("example.net", RecordType::NAPTR), 1);
}

#[test]
fn a_503_moves_on_and_the_hop_is_tried_last_for_as_long_as_it_asked() {
    let zone = zone();
    let (first, second) = (server(), server());
    zone.srv("_sip._udp.example.net", 1, 0, first.port(), "one.example.net");
    zone.srv("_sip._udp.example.net", 2, 0, second.port(), "one.example.net");
    zone.a("one.example.net", 60, LOOPBACK);
    let scene = scene_with(&zone, &[]);
    let mut alice = user(&scene, "alice");
    subscribe(&mut alice, "sip:alice@example.net");
    let refused = first.answer("503 Service Unavailable\r\nRetry-After: 3 (restart)");
    let taken = second.answer("200 OK");
    let branch =
        |text: &str| text.split("branch=").nth(1).unwrap().split([';', '\r']).next().unwrap().to_owned();
    assert_ne!(branch(&refused), branch(&taken), "a new transaction");
    let since = Instant::now();
    told(&scene, "alice", "200 to NOTIFY");
    assert!(!scene.user("alice")["recent"].to_string().contains("503"), "{}", scene.user("alice"));
    subscribe(&mut alice, "sip:alice@example.net");
    second.answer("200 OK");
    assert!(first.is_idle());
    assert_eq!(scene.metric("rollcall_failovers_total"), 1);
    let listed =
        eventually(Duration::from_secs(2), || (scene.metric("rollcall_dead_hops") == 1).then_some(()));
    assert!(listed.is_some());
    std::thread::sleep(Duration::from_millis(3100).saturating_sub(since.elapsed()));
    subscribe(&mut alice, "sip:alice@example.net");
    first.answer("200 OK");
    assert!(second.is_idle());
}

#[test]
fn silence_moves_on_and_the_last_failure_is_told() {
    let zone = zone();
    let (first, second) = (server(), server());
    zone.srv("_sip._udp.example.net", 1, 0, first.port(), "one.example.net");
    zone.srv("_sip._udp.example.net", 2, 0, second.port(), "one.example.net");
    zone.a("one.example.net", 60, LOOPBACK);
    // 64*T1 is 640 ms.
    let scene = scene_with(&zone, &[("ROLLCALL__SIP__T1", "10")]);
    let mut alice = user(&scene, "alice");
    subscribe(&mut alice, "sip:alice@example.net");
    second.answer("503 Service Unavailable");
    told(&scene, "alice", "503 to NOTIFY");
    assert_eq!(scene.metric("rollcall_failovers_total"), 1);
    let listed =
        eventually(Duration::from_secs(3), || (scene.metric("rollcall_dead_hops") == 2).then_some(()));
    assert!(listed.is_some());
    // Where all are listed they are tried all the same.
    drop(first);
    subscribe(&mut alice, "sip:alice@example.net");
    second.answer("200 OK");
}

#[test]
fn a_name_with_a_port_is_asked_for_its_addresses_alone() {
    let zone = zone();
    let server = server();
    zone.a("host.example.net", 60, LOOPBACK);
    let scene = scene_with(&zone, &[]);
    subscribe(&mut user(&scene, "alice"), &format!("sip:alice@host.example.net:{}", server.port()));
    server.answer("200 OK");
    assert_eq!(zone.asked("host.example.net", RecordType::A), 1);
    assert_eq!(zone.asked_at_all(), 1);
}

#[test]
fn a_name_without_services_leads_to_its_addresses() {
    let zone = zone();
    // Port 5060 of an address that only this test uses.
    let server = UdpSocket::bind("127.0.5.60:5060").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
    zone.a("host.example.net", 60, [127, 0, 5, 60]);
    let scene = scene_with(&zone, &[]);
    subscribe(&mut user(&scene, "alice"), "sip:alice@host.example.net");
    Server(server).answer("200 OK");
    assert_eq!(zone.asked("_sip._udp.host.example.net", RecordType::SRV), 1);
    assert_eq!(zone.asked("_sip._tcp.host.example.net", RecordType::SRV), 1);
}

#[test]
fn requests_for_one_name_share_a_lookup_and_its_answer_for_its_time() {
    let zone = zone();
    let server = server();
    zone.a("host.example.net", 2, LOOPBACK);
    zone.delay.store(200, Ordering::Relaxed);
    let scene = scene_with(&zone, &[]);
    let contact = format!("sip:x@host.example.net:{}", server.port());
    let mut users: Vec<Phone> = (0..4).map(|n| user(&scene, &format!("user{n}"))).collect();
    for ue in &mut users {
        subscribe(ue, &contact);
    }
    for _ in 0..4 {
        server.answer("200 OK");
    }
    assert_eq!(zone.asked("host.example.net", RecordType::A), 1);
    assert_eq!(scene.metric("rollcall_lookups_total"), 1);
    subscribe(&mut users[0], &contact);
    server.answer("200 OK");
    assert_eq!(zone.asked("host.example.net", RecordType::A), 1);
    std::thread::sleep(Duration::from_millis(2100));
    subscribe(&mut users[0], &contact);
    server.answer("200 OK");
    assert_eq!(zone.asked("host.example.net", RecordType::A), 2);
}

#[test]
fn a_name_that_leads_nowhere_is_told_and_not_asked_again_at_once() {
    let zone = zone();
    let scene = scene_with(&zone, &[]);
    let mut alice = user(&scene, "alice");
    subscribe(&mut alice, "sip:alice@no.example.net");
    told(&scene, "alice", "NOTIFY could not be sent");
    let asked = zone.asked_at_all();
    assert!(asked > 0);
    subscribe(&mut alice, "sip:alice@no.example.net");
    let told = eventually(Duration::from_secs(5), || {
        let recent = scene.user("alice")["recent"].to_string();
        (recent.matches("NOTIFY could not be sent").count() == 2).then_some(())
    });
    assert!(told.is_some(), "{}", scene.user("alice"));
    assert_eq!(zone.asked_at_all(), asked);
    assert_eq!(scene.metric("rollcall_lookup_failures_total"), 1);
}

#[test]
fn a_target_that_is_the_root_means_that_there_is_no_service() {
    let zone = zone();
    zone.srv("_sip._udp.example.net", 0, 0, 0, "");
    zone.srv("_sip._tcp.example.net", 0, 0, 0, "");
    zone.a("example.net", 60, LOOPBACK);
    let scene = scene_with(&zone, &[]);
    subscribe(&mut user(&scene, "alice"), "sip:alice@example.net");
    told(&scene, "alice", "NOTIFY could not be sent");
    assert_eq!(zone.asked("example.net", RecordType::A), 0);
}

#[test]
fn a_lookup_without_an_answer_ends_in_time() {
    let zone = zone();
    zone.silent.store(true, Ordering::Relaxed);
    let scene = scene_with(&zone, &[]);
    let mut alice = user(&scene, "alice");
    let begun = Instant::now();
    subscribe(&mut alice, "sip:alice@example.net");
    told(&scene, "alice", "NOTIFY could not be sent");
    let elapsed = begun.elapsed();
    assert!(elapsed > Duration::from_millis(1500) && elapsed < Duration::from_secs(5), "{elapsed:?}");
}

#[test]
fn an_old_answer_serves_while_nobody_gives_a_new_one() {
    let zone = zone();
    let server = server();
    zone.a("host.example.net", 1, LOOPBACK);
    let scene = scene_with(&zone, &[]);
    let contact = format!("sip:alice@host.example.net:{}", server.port());
    let mut alice = user(&scene, "alice");
    subscribe(&mut alice, &contact);
    server.answer("200 OK");
    zone.silent.store(true, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(1100));
    subscribe(&mut alice, &contact);
    server.answer("200 OK");
    assert_eq!(scene.metric("rollcall_lookup_failures_total"), 1);
    // What DNS denies is gone.
    zone.silent.store(false, Ordering::Relaxed);
    zone.forget();
    std::thread::sleep(Duration::from_millis(5100));
    subscribe(&mut alice, &contact);
    told(&scene, "alice", "NOTIFY could not be sent");
    assert!(server.is_idle());
}

#[test]
fn static_routes_go_before_dns() {
    let zone = zone();
    let (first, second, rest) = (server(), server(), server());
    zone.a("two.example.net", 60, LOOPBACK);
    let routes = format!(
        "a.example.net=udp:127.0.0.1:{}; b.example.net=tcp:127.0.0.1:{},udp:two.example.net:{}; *=udp:127.0.0.1:{}",
        first.port(),
        refusing(),
        second.port(),
        rest.port()
    );
    let scene = scene_with(&zone, &[("ROLLCALL__ROUTES", &routes)]);
    let mut alice = user(&scene, "alice");
    subscribe(&mut alice, "sip:alice@a.example.net");
    first.answer("200 OK");
    subscribe(&mut alice, "sip:alice@elsewhere.example:5070");
    rest.answer("200 OK");
    assert_eq!(zone.asked_at_all(), 0);
    subscribe(&mut alice, "sip:alice@b.example.net");
    second.answer("200 OK");
    assert_eq!(zone.asked("two.example.net", RecordType::A), 1);
    assert_eq!(scene.metric("rollcall_failovers_total"), 1);
    // An address is no name.
    let direct = server();
    subscribe(&mut alice, &format!("sip:alice@127.0.0.1:{}", direct.port()));
    direct.answer("200 OK");
}

#[test]
fn the_home_domain_leads_to_the_node_itself() {
    let zone = zone();
    let scene = scene_with(&zone, &[]);
    subscribe(&mut user(&scene, "alice"), &format!("sip:alice@{DOMAIN}"));
    let came = eventually(Duration::from_secs(5), || {
        (scene.metric("rollcall_sip_requests_total{method=\"NOTIFY\"}") == 1).then_some(())
    });
    assert!(came.is_some());
    assert_eq!(zone.asked_at_all(), 0);
}

#[test]
fn the_home_domain_leads_to_the_i_cscf_where_there_is_one() {
    let zone = zone();
    let i_cscf = server();
    zone.a("icscf.example.net", 60, LOOPBACK);
    let uri = format!("sip:icscf.example.net:{}", i_cscf.port());
    let scene = scene_with(&zone, &[("ROLLCALL__SESSION__I_CSCF", &uri)]);
    let mut alice = user(&scene, "alice");
    subscribe(&mut alice, &format!("sip:alice@{DOMAIN}"));
    let notify = i_cscf.answer("200 OK");
    assert!(notify.starts_with(&format!("NOTIFY sip:alice@{DOMAIN} ")), "{notify}");
    assert_eq!(scene.metric("rollcall_sip_requests_total{method=\"NOTIFY\"}"), 0);
}
