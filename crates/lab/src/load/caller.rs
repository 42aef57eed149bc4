//! One UE of the load: its messages are written from a template, its answers read for the few things that matter.

use crate::{
    aka::Key,
    digest::{self, Credentials, Exchange, Hex},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use memchr::memmem;
use std::{io::Write, net::SocketAddr};
use tokio::time::Instant;

const BRANCH: &str = "z9hG4bKload";
const CNONCE: &str = "0a4f113b";

/// Where a UE stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Idle,
    /// The first REGISTER is out.
    Asking,
    /// The REGISTER with the answer is out.
    Answering,
}

/// What all UEs have in common.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) domain: String,
    pub(super) uri: String,
    pub(super) expires: u32,
    pub(super) key: Key,
    /// Tells the requests of one run from those of another.
    pub(super) run: u32,
}

/// One UE.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) phase: Phase,
    /// Grows with every request; the branch carries it.
    pub(super) cseq: u32,
    pub(super) registered: bool,
    nonce: String,
    ha1: Hex,
    count: u32,
    /// When the registration should have begun, when it did, and when the last request first left.
    pub(super) intended: Instant,
    pub(super) begun: Instant,
    pub(super) sent: Instant,
    /// Milliseconds until the request is sent again.
    pub(super) interval_ms: u32,
}

impl Caller {
    pub(super) fn new(name: String, now: Instant) -> Self {
        Self {
            name,
            phase: Phase::Idle,
            cseq: 0,
            registered: false,
            nonce: String::new(),
            ha1: [0; 32],
            count: 0,
            intended: now,
            begun: now,
            sent: now,
            interval_ms: 0,
        }
    }

    /// Forgets the challenge answered last, as a UE does that registers initially.
    pub(super) fn forget(&mut self) {
        self.nonce.clear();
    }

    /// Begins the next request.
    pub(super) fn advance(&mut self) {
        self.cseq += 1;
        self.count += 1;
    }

    /// Takes a challenge; whether it can be answered.
    pub(super) fn challenged(&mut self, template: &Template, nonce: &str, realm: &str) -> bool {
        let mut octets = [0; 96];
        let Ok(32..) = STANDARD.decode_slice(nonce, &mut octets) else { return false };
        let Some((rand, _)) = octets.split_first_chunk::<16>() else { return false };
        let res = template.key.res(rand);
        let username = format!("{}@{}", self.name, template.domain);
        self.ha1 = digest::ha1(Credentials { username: &username, realm, password: &res });
        self.nonce.clear();
        self.nonce.push_str(nonce);
        self.count = 0;
        true
    }

    /// Writes the request that is out, or about to be.
    pub(super) fn write(&self, template: &Template, number: usize, local: SocketAddr, out: &mut Vec<u8>) {
        let Template { domain, uri, expires, run, .. } = template;
        let (name, cseq) = (&self.name, self.cseq);
        out.clear();
        let _ = write!(
            out,
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={BRANCH}{run:x}.{number:x}.{cseq:x};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{name}@{domain}>;tag={run:x}{number:x}\r\nTo: <sip:{name}@{domain}>\r\n\
             Call-ID: {run:x}-{number:x}@{local}\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: <sip:{name}@{local}>;expires={expires}\r\nPath: <sip:{local};lr>\r\nSupported: path\r\n\
             P-Visited-Network-ID: \"{domain}\"\r\n\
             P-Charging-Vector: icid-value=\"{run:x}{number:x}.{cseq:x}\";orig-ioi={domain}\r\n\
             Authorization: Digest username=\"{name}@{domain}\", realm=\"{domain}\", uri=\"{uri}\", "
        );
        if self.nonce.is_empty() {
            let rest = b"nonce=\"\", response=\"\", integrity-protected=\"no\"\r\nContent-Length: 0\r\n\r\n";
            out.extend_from_slice(rest);
            return;
        }
        let exchange =
            Exchange { method: "REGISTER", uri, nonce: &self.nonce, auth: Some((self.count, CNONCE)) };
        let response = digest::response_of(&self.ha1, exchange);
        let _ = write!(
            out,
            "nonce=\"{}\", response=\"{}\", algorithm=AKAv1-MD5, cnonce=\"{CNONCE}\", qop=auth, nc={:08x}, \
             integrity-protected=\"yes\"\r\nContent-Length: 0\r\n\r\n",
            self.nonce,
            digest::text(&response),
            self.count
        );
    }
}

/// What matters of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard<'a> {
    pub(super) status: u16,
    /// Status code and reason phrase.
    pub(super) line: &'a str,
    pub(super) number: usize,
    pub(super) cseq: u32,
    pub(super) nonce: &'a str,
    pub(super) realm: &'a str,
}

impl<'a> Heard<'a> {
    /// Reads a response to a request of this run; `None` for anything else.
    pub(super) fn read(octets: &'a [u8], run: u32) -> Option<Self> {
        let line = octets.strip_prefix(b"SIP/2.0 ")?;
        let line = std::str::from_utf8(&line[..memchr::memchr(b'\r', line)?]).ok()?;
        let branch = memmem::find(octets, BRANCH.as_bytes())? + BRANCH.len();
        let rest = &octets[branch..];
        let end = rest.iter().position(|octet| !octet.is_ascii_hexdigit() && *octet != b'.')?;
        let mut parts = std::str::from_utf8(&rest[..end]).ok()?.split('.');
        let mut next = || u32::from_str_radix(parts.next()?, 16).ok();
        if next()? != run {
            return None;
        }
        let (number, cseq) = (next()? as usize, next()?);
        let challenge = memmem::find(octets, b"WWW-Authenticate:").map_or(&b""[..], |at| &octets[at..]);
        Some(Self {
            status: line.get(..3)?.parse().ok()?,
            line,
            number,
            cseq,
            nonce: quoted(challenge, b"nonce=\""),
            realm: quoted(challenge, b"realm=\""),
        })
    }
}

fn quoted<'a>(octets: &'a [u8], name: &[u8]) -> &'a str {
    let inside = || {
        let rest = &octets[memmem::find(octets, name)? + name.len()..];
        std::str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()
    };
    inside().unwrap_or("")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::provisioning;

    fn template() -> Template {
        Template {
            domain: provisioning::DOMAIN.into(),
            uri: format!("sip:{}", provisioning::DOMAIN),
            expires: 600,
            key: Key::with_op(provisioning::K.0, provisioning::OP.0),
            run: 0xabc,
        }
    }

    #[test]
    fn requests_are_sip_to_rsip_too() {
        let mut caller = Caller::new("user000001".into(), Instant::now());
        let mut out = Vec::new();
        caller.advance();
        caller.write(&template(), 255, "127.0.0.1:5080".parse().unwrap(), &mut out);
        let read = rsip::Request::try_from(&out[..]).unwrap();
        assert_eq!(read.method, rsip::Method::Register);
        let nonce = STANDARD.encode([[7; 16], [8; 16]].concat());
        assert!(caller.challenged(&template(), &nonce, provisioning::DOMAIN));
        caller.advance();
        caller.write(&template(), 255, "127.0.0.1:5080".parse().unwrap(), &mut out);
        let text = String::from_utf8(out.clone()).unwrap();
        assert!(rsip::Request::try_from(&out[..]).is_ok());
        let res = template().key.res(&[7; 16]);
        let username = format!("user000001@{}", provisioning::DOMAIN);
        let expected = digest::response(
            Credentials { username: &username, realm: provisioning::DOMAIN, password: &res },
            Exchange { method: "REGISTER", uri: &template().uri, nonce: &nonce, auth: Some((1, CNONCE)) },
        );
        assert!(text.contains(digest::text(&expected)) && text.contains("nc=00000001"), "{text}");
        assert!(!caller.challenged(&template(), "short", "r"));
    }

    #[test]
    fn a_response_is_read_for_what_matters() {
        let text = b"SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bKloadabc.ff.2;rport=1\r\n\
                     WWW-Authenticate: Digest realm=\"r\",nonce=\"n==\"\r\n\r\n";
        let heard = Heard::read(text, 0xabc).unwrap();
        assert_eq!((heard.status, heard.number, heard.cseq), (401, 255, 2));
        assert_eq!((heard.line, heard.nonce, heard.realm), ("401 Unauthorized", "n==", "r"));
        assert_eq!(Heard::read(text, 1), None, "another run's");
        assert_eq!(Heard::read(b"NOTIFY sip:x SIP/2.0\r\n\r\n", 0xabc), None);
        assert_eq!(Heard::read(b"SIP/2.0 ", 0xabc), None);
    }
}
