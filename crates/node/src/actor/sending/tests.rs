//! INVITEs that move on, or are cancelled, against hops on loopback.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::Config;
use sip::Uri;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use zone::zone;

#[path = "../../../tests/zone/mod.rs"]
mod zone;

/// Runs with a node that has no users, so that every reply it delivers is counted as unexpected.
fn with_shell(overrides: &[(&str, &str)], run: impl AsyncFnOnce(Rc<Shell>)) {
    let usual = [
        ("ROLLCALL__SIP__LISTEN", "udp:127.0.0.1:0,tcp:127.0.0.1:0"),
        ("ROLLCALL__HTTP__LISTEN", "127.0.0.1:0"),
        ("ROLLCALL__CX__PEERS", "tcp:127.0.0.1:1"),
    ];
    let environment = usual.iter().chain(overrides).map(|(key, value)| ((*key).into(), (*value).into()));
    let config = Config::read("", environment).unwrap();
    actix_rt::System::new().block_on(async {
        let store = Arc::new(store::Memory::new());
        let (shell, close_http, _) = crate::run::begin(config, store).await.unwrap();
        // A socket takes nothing before the event loop has seen it once.
        tokio::time::sleep(Duration::from_millis(10)).await;
        run(Rc::clone(&shell)).await;
        close_http.await;
        shell.stopped.set(true);
    });
}

fn impi() -> Impi {
    Impi::new("alice@example.org").unwrap()
}

fn invite(uri: &str) -> Sending {
    let request = Request::build(Method::Invite, &Uri::parse(uri).unwrap())
        .header(Name::From, "<sip:a@example.org>;tag=a")
        .header(Name::To, "<sip:b@example.org>")
        .header(Name::CallId, "c")
        .header(Name::CSeq, "1 INVITE");
    Sending {
        impi: impi(),
        purpose: Purpose::Refer,
        request: request.finish(),
        relayed: Some(Relayed { tx: scscf::ServerTx(1), mark: 0xabcd }),
    }
}

struct Hop(UdpSocket);

fn socket() -> std::net::UdpSocket {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

impl From<std::net::UdpSocket> for Hop {
    fn from(socket: std::net::UdpSocket) -> Self {
        Self(UdpSocket::from_std(socket).unwrap())
    }
}

impl Hop {
    async fn take(&self, method: &str) -> (String, SocketAddr) {
        let mut buffer = [0; 4096];
        loop {
            let taking = tokio::time::timeout(Duration::from_secs(5), self.0.recv_from(&mut buffer));
            let (length, from) = taking.await.expect("something comes").unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            // Until it has its answer a request is repeated.
            if text.starts_with(&format!("{method} ")) {
                return (text, from);
            }
            assert!(text.starts_with("INVITE "), "{text}");
        }
    }

    async fn answer(&self, (request, from): &(String, SocketAddr), status: &str) {
        self.0.send_to(response(request, status).as_bytes(), from).await.unwrap();
    }

    async fn is_idle(&self) -> bool {
        let mut buffer = [0; 4096];
        tokio::time::timeout(Duration::from_millis(300), self.0.recv_from(&mut buffer)).await.is_err()
    }
}

fn response(request: &str, status: &str) -> String {
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = request.lines().filter(|line| copied.iter().any(|name| line.starts_with(name)));
    let lines = lines.collect::<Vec<_>>().join("\r\n");
    format!("SIP/2.0 {status}\r\n{lines}\r\nContent-Length: 0\r\n\r\n")
}

async fn reported(shell: &Shell, count: u64) {
    for _ in 0..500 {
        if shell.telemetry.unexpected.get() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} replies, not {count}", shell.telemetry.unexpected.get());
}

fn with_two(run: impl AsyncFnOnce(Rc<Shell>, Hop, Hop)) {
    let (first, second) = (socket(), socket());
    let [one, two] = [&first, &second].map(|socket| socket.local_addr().unwrap());
    let routes = format!("two.example=udp:{one},udp:{two}");
    with_shell(&[("ROLLCALL__ROUTES", &routes)], async move |shell| {
        run(shell, first.into(), second.into()).await;
    });
}

#[test]
fn a_cancel_goes_to_the_hop_that_has_the_invite_now() {
    with_two(async |shell, first, second| {
        shell.send(invite("sip:b@two.example"));
        let begun = first.take("INVITE").await;
        first.answer(&begun, "100 Trying").await;
        first.answer(&begun, "503 Service Unavailable").await;
        first.take("ACK").await;
        let taken = second.take("INVITE").await;
        assert!(taken.0.contains("abcd"), "the mark is in the branch: {}", taken.0);
        // It leaves once there is a provisional response.
        shell.cancel_sent(&impi(), Purpose::Refer, None);
        second.answer(&taken, "180 Ringing").await;
        let cancel = second.take("CANCEL").await;
        second.answer(&cancel, "200 OK").await;
        // Of what is forwarded, ringing is reported too.
        reported(&shell, 1).await;
        second.answer(&taken, "487 Request Terminated").await;
        second.take("ACK").await;
        reported(&shell, 2).await;
        assert!(first.is_idle().await);
        assert_eq!(shell.telemetry.failovers.get(), 1);
        assert!(shell.outbox.sent.borrow().is_empty() && shell.outbox.invites.borrow().is_empty());
        shell.cancel_sent(&impi(), Purpose::Refer, None);
        assert!(second.is_idle().await);
    });
}

#[test]
fn an_invite_that_rings_or_is_cancelled_goes_nowhere_else() {
    with_two(async |shell, first, second| {
        shell.send(invite("sip:b@two.example"));
        let ringing = first.take("INVITE").await;
        first.answer(&ringing, "180 Ringing").await;
        first.answer(&ringing, "503 Service Unavailable").await;
        first.take("ACK").await;
        reported(&shell, 2).await;
        shell.hops.dead.list(Kind::Udp, second.0.local_addr().unwrap(), 60_000, 0);
        shell.send(invite("sip:b@two.example"));
        let cancelled = first.take("INVITE").await;
        shell.cancel_sent(&impi(), Purpose::Refer, None);
        first.answer(&cancelled, "503 Service Unavailable").await;
        first.take("ACK").await;
        reported(&shell, 3).await;
        assert!(second.is_idle().await);
        assert_eq!(shell.telemetry.failovers.get(), 0);
    });
}

#[test]
fn a_connection_that_breaks_moves_on_only_an_invite_that_nobody_heard_of() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let second = socket();
    let (tcp, udp) = (listener.local_addr().unwrap(), second.local_addr().unwrap());
    let routes = format!("two.example=tcp:{tcp},udp:{udp}");
    with_shell(&[("ROLLCALL__ROUTES", &routes), ("ROLLCALL__SIP__DEAD_HOP_S", "0")], async |shell| {
        let listener = TcpListener::from_std(listener).unwrap();
        let second = Hop::from(second);
        shell.send(invite("sip:b@two.example"));
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        stream.write_all(response(&text, "100 Trying").as_bytes()).await.unwrap();
        drop(stream);
        reported(&shell, 1).await;
        assert!(second.is_idle().await);
        shell.send(invite("sip:b@two.example"));
        let (stream, _) = listener.accept().await.unwrap();
        drop(stream);
        let taken = second.take("INVITE").await;
        second.answer(&taken, "486 Busy Here").await;
        reported(&shell, 2).await;
        assert_eq!(shell.telemetry.failovers.get(), 1);
    });
}

#[test]
fn a_cancel_while_the_name_is_looked_up_prevents_the_invite() {
    let zone = zone();
    let server = socket();
    zone.a("slow.example", 60, [127, 0, 0, 1]);
    zone.delay.store(200, Ordering::Relaxed);
    let uri = format!("sip:b@slow.example:{}", server.local_addr().unwrap().port());
    with_shell(&[("ROLLCALL__SIP__DNS", &zone.address.to_string())], async |shell| {
        let server = Hop::from(server);
        shell.send(invite(&uri));
        shell.cancel_sent(&impi(), Purpose::Refer, None);
        assert_eq!(shell.telemetry.unexpected.get(), 1, "it is told at once");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(shell.telemetry.lookups.get(), 1);
        assert!(server.is_idle().await);
        assert_eq!(shell.telemetry.unexpected.get(), 1);
        shell.send(invite(&uri));
        server.take("INVITE").await;
        assert_eq!(shell.telemetry.lookups.get(), 1, "the answer was kept");
    });
}

#[test]
fn an_ack_waits_for_its_name_and_leaves_once() {
    let zone = zone();
    let server = socket();
    zone.a("slow.example", 60, [127, 0, 0, 1]);
    let route = format!("<sip:slow.example:{};lr>", server.local_addr().unwrap().port());
    with_shell(&[("ROLLCALL__SIP__DNS", &zone.address.to_string())], async |shell| {
        let server = Hop::from(server);
        let ack = |route: &str| {
            Request::build(Method::Ack, &Uri::parse("sip:b@192.0.2.1").unwrap())
                .header(Name::Route, route)
                .header(Name::From, "<sip:a@example.org>;tag=a")
                .header(Name::To, "<sip:b@example.org>;tag=b")
                .header(Name::CallId, "c")
                .header(Name::CSeq, "1 ACK")
                .finish()
        };
        shell.pass(ack(&route), Some(0xabcd));
        let (text, _) = server.take("ACK").await;
        assert!(text.contains("branch=z9hG4bK") && text.contains("abcd;rport"), "{text}");
        shell.pass(ack(&route), None);
        server.take("ACK").await;
        assert!(server.is_idle().await);
        shell.pass(ack("<sips:slow.example;lr>"), None);
        assert_eq!(shell.telemetry.unsent.get(), 1);
        assert_eq!((shell.telemetry.lookups.get(), shell.telemetry.unexpected.get()), (1, 0));
    });
}

#[test]
fn at_our_own_limit_no_hop_is_blamed() {
    let limits = [("ROLLCALL__LIMITS__TRANSACTIONS", "16")];
    let routes = [("ROLLCALL__ROUTES", "two.example=udp:127.0.0.1:9,udp:127.0.0.2:9")];
    with_shell(&[limits, routes].concat(), async |shell| {
        for _ in 0..17 {
            shell.send(invite("sip:b@two.example"));
        }
        assert_eq!(shell.telemetry.unexpected.get(), 1);
        assert_eq!(shell.telemetry.failovers.get(), 0);
        assert_eq!(shell.hops.dead.count(0), 0);
    });
}

#[test]
fn retry_after_is_a_number_of_seconds_with_more_behind_it() {
    let request = invite("sip:b@two.example").request;
    let read = |text: &str| {
        let response = request.respond(Status::SERVICE_UNAVAILABLE, "t").header(Name::RetryAfter, text);
        retry_after(&response.finish())
    };
    assert_eq!(read("120"), Some(120_000));
    assert_eq!(read("18000;duration=3600"), Some(18_000_000));
    assert_eq!(read("5 (maintenance)"), Some(5_000));
    assert_eq!(read("soon"), None);
    assert_eq!(read("99999999999999999999999"), None);
    assert_eq!(retry_after(&request.respond(Status::SERVICE_UNAVAILABLE, "t").finish()), None);
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_network_cannot_deliver_moves_on_at_once_if_there_is_another_place() {
    let (closed, second) = (socket().local_addr().unwrap(), socket());
    let two = second.local_addr().unwrap();
    let routes = format!("two.example=udp:{closed},udp:{two}; one.example=udp:{closed}");
    // Nothing is sent again while this test lasts.
    with_shell(&[("ROLLCALL__ROUTES", &routes), ("ROLLCALL__SIP__T1", "10000")], async |shell| {
        let second = Hop::from(second);
        shell.send(invite("sip:b@two.example"));
        let taken = second.take("INVITE").await;
        second.answer(&taken, "486 Busy Here").await;
        second.take("ACK").await;
        reported(&shell, 1).await;
        assert_eq!((shell.telemetry.failovers.get(), shell.hops.dead.count(0)), (1, 1));
        assert!(shell.outbox.movable.borrow().is_empty());
        // One without another place waits for its timer, and what is sent next is not lost.
        shell.send(invite("sip:b@one.example"));
        shell.send(invite(&format!("sip:b@{two}")));
        second.take("INVITE").await;
        assert_eq!((shell.telemetry.unexpected.get(), shell.telemetry.unsent.get()), (1, 0));
    });
}
