//! A telephone (and the P-CSCF before it) written as plain text over UDP, sharing no code with what it tests.

mod call;
mod entry;
mod requests;
mod text;

pub use call::Leg;
pub use requests::Sent;
pub use text::Text;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use std::collections::VecDeque;
use std::fmt::Write;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How an answer to a challenge is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With the RES of the USIM.
    Right,
    /// With another RES.
    Wrong,
}

/// One telephone, its socket playing P-CSCF too.
#[derive(Debug)]
pub struct Phone {
    socket: UdpSocket,
    /// Holds its port for TCP, where it refuses: large requests that try TCP first must not find somebody else there.
    _held: socket2::Socket,
    /// Where requests go: one node of these after another, or always the first.
    entries: Vec<SocketAddr>,
    entry: usize,
    waiting: VecDeque<Text>,
    heard: Vec<Text>,
    /// User name; identities are `NAME@DOMAIN` and `sip:NAME@DOMAIN`.
    pub name: String,
    /// Call-ID of its REGISTERs.
    pub call_id: String,
    /// Last CSeq used.
    pub cseq: u32,
    /// Expiry it asks for.
    pub expires: u32,
    /// Port in its Contact; its own unless told otherwise.
    pub contact_port: u16,
    serial: u32,
}

/// A reg-event dialog of a telephone or P-CSCF.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// Event package.
    pub event: String,
    /// The 200 (OK) to SUBSCRIBE.
    pub accepted: Text,
}

/// One port for both transports; that of TCP is held, and nobody listens there.
fn sockets() -> std::io::Result<(UdpSocket, socket2::Socket)> {
    let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let address = held.local_addr()?.as_socket().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    Ok((UdpSocket::bind(address)?, held))
}

fn md5(parts: &[&[u8]]) -> String {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

impl Phone {
    /// A telephone of `name` that talks to `server`.
    ///
    /// # Panics
    /// If no socket can be had.
    pub fn new(name: &str, server: SocketAddr) -> Self {
        Self::among(name, &[server])
    }

    /// A telephone of `name` that sends each request to another of these nodes, and to yet another when none answers.
    ///
    /// # Panics
    /// If no socket can be had, or `entries` is empty.
    pub fn among(name: &str, entries: &[SocketAddr]) -> Self {
        assert!(!entries.is_empty(), "a telephone needs somebody to talk to");
        let (socket, held) =
            (0..100).find_map(|_| sockets().ok()).expect("a port that is free for UDP and TCP");
        let port = socket.local_addr().map_or(0, |address| address.port());
        Self {
            call_id: format!("{name}-{port}@phone.invalid"),
            name: name.to_owned(),
            socket,
            _held: held,
            entries: entries.to_vec(),
            entry: 0,
            waiting: VecDeque::new(),
            heard: Vec::new(),
            cseq: 0,
            expires: 3600,
            contact_port: port,
            serial: 0,
        }
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |address| address.port())
    }

    /// Its private user identity.
    pub fn impi(&self) -> String {
        format!("{}@{}", self.name, crate::DOMAIN)
    }

    /// Its contact URI.
    pub fn contact(&self) -> String {
        format!("sip:{}@127.0.0.1:{}", self.name, self.contact_port)
    }

    /// Sends octets as they are.
    pub fn send_raw(&self, octets: &[u8]) {
        let _ = self.socket.send_to(octets, self.entries[self.entry]);
    }

    /// The next message that `wanted` accepts, within `within`; others are kept.
    pub fn wait(&mut self, within: Duration, wanted: impl Fn(&Text) -> bool) -> Option<Text> {
        if let Some(at) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(at);
        }
        let end = Instant::now() + within;
        let mut buffer = vec![0; 65_536];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let _ = self.socket.set_read_timeout(Some(left));
            let Ok((length, from)) = self.socket.recv_from(&mut buffer) else { continue };
            let text = Text { all: String::from_utf8_lossy(&buffer[..length]).into_owned(), from };
            self.heard.push(text.clone());
            if wanted(&text) {
                return Some(text);
            }
            self.waiting.push_back(text);
        }
    }

    /// Everything that came in so far, oldest first, copies too.
    pub fn heard(&self) -> &[Text] {
        &self.heard
    }

    fn via(&mut self) -> String {
        self.serial += 1;
        format!(
            "Via: SIP/2.0/UDP 127.0.0.1:{};branch=z9hG4bKphone{}x{}\r\n",
            self.port(),
            self.port(),
            self.serial
        )
    }

    /// Sends a REGISTER with these further header lines and returns the final response.
    ///
    /// # Panics
    /// If there is none in time.
    pub fn register(&mut self, lines: &str) -> Text {
        let sent = self.begin_to_register(lines);
        self.exchange(&sent)
    }

    /// Writes a REGISTER with these further header lines, and sends nothing yet.
    pub fn begin_to_register(&mut self, lines: &str) -> Sent {
        self.cseq += 1;
        let via = self.via();
        let (name, domain, port, cseq) = (&self.name, crate::DOMAIN, self.port(), self.cseq);
        let text = format!(
            "REGISTER sip:{domain} SIP/2.0\r\n{via}Max-Forwards: 70\r\nFrom: <sip:{name}@{domain}>;tag=f{port}\r\n\
             To: <sip:{name}@{domain}>\r\nCall-ID: {}\r\nCSeq: {cseq} REGISTER\r\n\
             Path: <sip:term@127.0.0.1:{port};lr>\r\nSupported: path\r\n\
             P-Visited-Network-ID: \"{domain}\"\r\nP-Charging-Vector: icid-value=\"icid-{port}-{cseq}\";orig-ioi=visited.example\r\n\
             {lines}Content-Length: 0\r\n\r\n",
            self.call_id
        );
        Sent { call_id: self.call_id.clone(), method: "REGISTER".into(), cseq, text }
    }

    /// The Contact line of a REGISTER.
    pub fn contact_line(&self, expires: u32) -> String {
        format!("Contact: <{}>;expires={expires}\r\n", self.contact())
    }

    /// An unprotected initial REGISTER; the response.
    pub fn register_unprotected(&mut self) -> Text {
        let lines = self.unprotected();
        self.register(&lines)
    }

    /// What an unprotected initial REGISTER says further.
    pub fn unprotected(&self) -> String {
        let line = format!(
            "Authorization: Digest username=\"{}\", realm=\"{domain}\", nonce=\"\", uri=\"sip:{domain}\", response=\"\", integrity-protected=\"no\"\r\n",
            self.impi(),
            domain = crate::DOMAIN
        );
        self.contact_line(self.expires) + &line
    }

    /// A protected REGISTER that answers no challenge of now: `former` is the challenge answered last; the response.
    pub fn register_protected(&mut self, former: &Text, expires: u32) -> Text {
        let line = self.authorization(former, Answer::Right, "yes");
        let contact = self.contact_line(expires);
        self.register(&format!("{contact}{line}"))
    }

    /// Answers `challenge`; the response.
    pub fn answer(&mut self, challenge: &Text, answer: Answer, integrity_protected: &str) -> Text {
        let line = self.authorization(challenge, answer, integrity_protected);
        let contact = self.contact_line(self.expires);
        self.register(&format!("{contact}{line}"))
    }

    /// The Authorization line that answers `challenge`.
    pub fn authorization(&self, challenge: &Text, answer: Answer, integrity_protected: &str) -> String {
        let nonce = challenge.digest("WWW-Authenticate", "nonce");
        let realm = challenge.digest("WWW-Authenticate", "realm");
        let mut res = usim_res(&nonce);
        if answer == Answer::Wrong {
            res[0] ^= 0x5a;
        }
        let uri = format!("sip:{}", crate::DOMAIN);
        let ha1 = md5(&[self.impi().as_bytes(), b":", realm.as_bytes(), b":", &res]);
        let ha2 = md5(&[b"REGISTER:", uri.as_bytes()]);
        let response =
            md5(&[ha1.as_bytes(), b":", nonce.as_bytes(), b":00000001:0a4f113b:auth:", ha2.as_bytes()]);
        format!(
            "Authorization: Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=AKAv1-MD5, cnonce=\"0a4f113b\", qop=auth, nc=00000001, \
             integrity-protected=\"{integrity_protected}\"\r\n",
            self.impi()
        )
    }

    /// Registers for good; the challenge and the 200 (OK).
    ///
    /// # Panics
    /// If it is refused.
    pub fn register_fully(&mut self) -> (Text, Text) {
        let challenge = self.register_unprotected();
        assert_eq!(challenge.status(), 401, "{}", challenge.all);
        let ok = self.answer(&challenge, Answer::Right, "yes");
        assert_eq!(ok.status(), 200, "{}", ok.all);
        (challenge, ok)
    }

    /// Subscribes to the registration state of `user` as `asserted`; the dialog.
    ///
    /// # Panics
    /// If it is refused.
    pub fn subscribe(&mut self, user: &str, asserted: &str, event: &str, record_route: &str) -> Dialog {
        let (accepted, call_id, local_tag) = self.try_subscribe(user, asserted, event, record_route);
        assert_eq!(accepted.status(), 200, "{}", accepted.all);
        Dialog { call_id, local_tag, event: event.to_owned(), accepted }
    }

    /// Sends a SUBSCRIBE; the final response, Call-ID and From tag.
    pub fn try_subscribe(
        &mut self,
        user: &str,
        asserted: &str,
        event: &str,
        record_route: &str,
    ) -> (Text, String, String) {
        let via = self.via();
        let (port, serial, domain) = (self.port(), self.serial, crate::DOMAIN);
        let call_id = format!("sub{serial}-{port}@phone.invalid");
        let tag = format!("s{serial}x{port}");
        let text = format!(
            "SUBSCRIBE sip:{user}@{domain} SIP/2.0\r\n{via}Max-Forwards: 70\r\n{record_route}From: <{asserted}>;tag={tag}\r\n\
             To: <sip:{user}@{domain}>\r\nCall-ID: {call_id}\r\nCSeq: 1 SUBSCRIBE\r\nEvent: {event}\r\n\
             P-Asserted-Identity: <{asserted}>\r\nExpires: 600000\r\nAccept: application/reginfo+xml\r\n\
             Contact: <sip:watch@127.0.0.1:{port}>\r\nContent-Length: 0\r\n\r\n"
        );
        let sent = Sent { call_id: call_id.clone(), method: "SUBSCRIBE".into(), cseq: 1, text };
        (self.exchange(&sent), call_id, tag)
    }

    /// The next NOTIFY of that dialog, answered with `status`.
    pub fn notified(&mut self, dialog: &Dialog, within: Duration, status: u16) -> Option<Text> {
        let call_id = dialog.call_id.clone();
        let notify =
            self.wait(within, |text| text.method() == "NOTIFY" && text.header("Call-ID") == call_id)?;
        if status > 0 {
            self.respond(&notify, status);
        }
        Some(notify)
    }

    /// Answers a request.
    pub fn respond(&self, request: &Text, status: u16) {
        let mut text = format!("SIP/2.0 {status} Whatever\r\n");
        for via in request.headers("Via") {
            let _ = write!(text, "Via: {via}\r\n");
        }
        for name in ["From", "To", "Call-ID", "CSeq"] {
            let _ = write!(text, "{name}: {}\r\n", request.header(name));
        }
        text.push_str("Content-Length: 0\r\n\r\n");
        self.send_back(request, &text);
    }

    /// Sends a response to whoever sent the request.
    fn send_back(&self, request: &Text, text: &str) {
        let _ = self.socket.send_to(text.as_bytes(), request.from);
    }
}

/// RES of the lab's USIM for the RAND in `nonce`.
///
/// # Panics
/// If the nonce is no base64 of RAND and AUTN.
pub fn usim_res(nonce: &str) -> [u8; 8] {
    let octets = STANDARD.decode(nonce).unwrap_or_else(|error| panic!("nonce '{nonce}': {error}"));
    assert_eq!(octets.len(), 32, "RAND and AUTN have 32 octets");
    let mut rand = [0; 16];
    rand.copy_from_slice(&octets[..16]);
    let mut milenage = milenage::Milenage::new_with_op(*b"rollcall-lab-key", *b"rollcall-lab-op!");
    let (res, _, _, _) = milenage.f2345(&rand);
    res
}
