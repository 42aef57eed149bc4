//! A peer that says what it is told to, in plain text over UDP; it shares no code with what it tests.
#![allow(clippy::unwrap_used, dead_code)]

pub(crate) mod stage;

use std::{net::SocketAddr, time::Duration};
use tokio::{net::UdpSocket, time::timeout};

pub(crate) struct Peer {
    socket: UdpSocket,
    pub(crate) address: SocketAddr,
}

impl Peer {
    pub(crate) async fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        Self { socket, address }
    }

    /// The next message.
    pub(crate) async fn next(&self) -> (String, SocketAddr) {
        let mut buffer = vec![0; 65_536];
        let received = timeout(Duration::from_secs(10), self.socket.recv_from(&mut buffer)).await;
        let (length, from) = received.expect("nothing came").unwrap();
        (String::from_utf8_lossy(&buffer[..length]).into_owned(), from)
    }

    /// The next message that begins like that; others are left aside.
    pub(crate) async fn until(&self, start: &str) -> (String, SocketAddr) {
        loop {
            let (message, from) = self.next().await;
            if message.starts_with(start) {
                return (message, from);
            }
        }
    }

    /// What comes within that time.
    pub(crate) async fn hear(&self, span: Duration) -> Vec<String> {
        let mut heard = Vec::new();
        let mut buffer = vec![0; 65_536];
        let end = tokio::time::Instant::now() + span;
        while let Ok(received) = tokio::time::timeout_at(end, self.socket.recv_from(&mut buffer)).await {
            heard.push(String::from_utf8_lossy(&buffer[..received.unwrap().0]).into_owned());
        }
        heard
    }

    pub(crate) async fn send(&self, message: &str, to: SocketAddr) {
        self.socket.send_to(message.as_bytes(), to).await.unwrap();
    }

    /// The Via of a request of the peer's.
    pub(crate) fn via(&self, branch: &str) -> String {
        format!("SIP/2.0/UDP {};branch=z9hG4bK{branch};rport", self.address)
    }
}

/// The first line without the version.
pub(crate) fn line(message: &str) -> &str {
    let line = message.lines().next().unwrap();
    line.strip_prefix("SIP/2.0 ").unwrap_or_else(|| line.trim_end_matches(" SIP/2.0"))
}

pub(crate) fn headers<'a>(message: &'a str, name: &str) -> Vec<&'a str> {
    let head = message.split("\r\n\r\n").next().unwrap();
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

pub(crate) fn header<'a>(message: &'a str, name: &str) -> &'a str {
    headers(message, name).first().copied().unwrap_or("")
}

pub(crate) fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

pub(crate) fn tag(value: &str) -> &str {
    value.split_once(";tag=").map_or("", |(_, tag)| tag.split(';').next().unwrap())
}

pub(crate) fn uri(value: &str) -> &str {
    value.split_once('<').map_or(value, |(_, rest)| rest.split('>').next().unwrap())
}

pub(crate) fn cseq(message: &str) -> u32 {
    header(message, "CSeq").split(' ').next().unwrap().parse().unwrap()
}

/// A response; `further` are whole lines.
pub(crate) fn answer(request: &str, status: &str, to_tag: &str, further: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for via in headers(request, "Via") {
        text += &format!("Via: {via}\r\n");
    }
    for route in headers(request, "Record-Route") {
        text += &format!("Record-Route: {route}\r\n");
    }
    let to = header(request, "To");
    let tag =
        if to.contains(";tag=") || to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    for (name, value) in [
        ("From", header(request, "From").to_owned()),
        ("To", format!("{to}{tag}")),
        ("Call-ID", header(request, "Call-ID").to_owned()),
        ("CSeq", header(request, "CSeq").to_owned()),
    ] {
        text += &format!("{name}: {value}\r\n");
    }
    text + further + "Content-Length: 0\r\n\r\n"
}

/// The CANCEL of an INVITE; `further` are whole lines.
pub(crate) fn cancel(invite: &str, further: &str) -> String {
    let head = invite.split("\r\n\r\n").next().unwrap().replacen("INVITE", "CANCEL", 1);
    let number = cseq(invite);
    let head = head.replace(&format!("CSeq: {number} INVITE"), &format!("CSeq: {number} CANCEL"));
    let kept = head.lines().filter(|line| !line.starts_with("Content-"));
    let lines: String = kept.map(|line| format!("{line}\r\n")).collect();
    format!("{lines}{further}Content-Length: 0\r\n\r\n")
}

/// What the peer sends within a dialog, or to begin one.
#[derive(Clone, Debug)]
pub(crate) struct Speech {
    pub(crate) call_id: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) target: String,
    pub(crate) routes: String,
    pub(crate) cseq: u32,
    pub(crate) body: String,
}

impl Speech {
    /// The dialog of an INVITE that was answered under `to_tag`, as who was called has it.
    pub(crate) fn called(invite: &str, to_tag: &str) -> Self {
        Self {
            call_id: header(invite, "Call-ID").to_owned(),
            from: format!("{};tag={to_tag}", header(invite, "To")),
            to: header(invite, "From").to_owned(),
            target: uri(header(invite, "Contact")).to_owned(),
            routes: headers(invite, "Record-Route").iter().map(|one| format!("Route: {one}\r\n")).collect(),
            cseq: 100,
            body: String::new(),
        }
    }

    pub(crate) fn request(&self, method: &str, via: &str, further: &str) -> String {
        let Self { call_id, from, to, target, routes, cseq, body } = self;
        let number = if method == "ACK" { cseq - 1 } else { *cseq };
        format!(
            "{method} {target} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n{routes}From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {number} {method}\r\n{further}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}
