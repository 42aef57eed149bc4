//! One UE of the load, with the P-CSCF before it: its REGISTERs are written from a template.

use super::{
    ground::Ground,
    mark::Kind,
    text::{self, Text},
    timers::Wait,
};
use crate::digest::{self, Credentials, Exchange, Hex};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::io::Write;
use tokio::time::Instant;

const CNONCE: &str = "0a4f113b";

/// Where a UE stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    /// The first REGISTER is out.
    Asking,
    /// The REGISTER with the answer is out.
    Answering,
}

/// One UE.
#[derive(Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) phase: Phase,
    /// Whether what is under way is a re-registration.
    pub(super) anew: bool,
    /// Whether it waits to make its request anew, and whether it has done so.
    pub(super) patient: bool,
    pub(super) tried_before: bool,
    /// Grows with every request; the branch carries it.
    pub(super) cseq: u32,
    pub(super) registered: bool,
    /// What its 200 (OK) to REGISTER said, as the value of a Route header.
    pub(super) service_route: String,
    nonce: String,
    ha1: Hex,
    count: u32,
    /// When the registration should have begun, and when it did.
    pub(super) intended: Instant,
    pub(super) begun: Instant,
    pub(super) wait: Wait,
}

impl User {
    pub(super) fn new(name: String, now: Instant) -> Self {
        Self {
            name,
            phase: Phase::Idle,
            anew: false,
            patient: false,
            tried_before: false,
            cseq: 0,
            registered: false,
            service_route: String::new(),
            nonce: String::new(),
            ha1: [0; 32],
            count: 0,
            intended: now,
            begun: now,
            wait: Wait::idle(now),
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

    /// Takes what the 200 (OK) says.
    pub(super) fn accepted(&mut self, text: &Text<'_>) {
        self.registered = true;
        self.service_route.clear();
        for (number, route) in text.service_routes.iter().enumerate() {
            self.service_route.push_str(if number == 0 { "" } else { ", " });
            self.service_route.push_str(route);
        }
    }

    /// Takes a challenge; whether it can be answered.
    pub(super) fn challenged(&mut self, key: &crate::aka::Key, domain: &str, challenge: &str) -> bool {
        let (nonce, realm) = (text::quoted(challenge, "nonce"), text::quoted(challenge, "realm"));
        let mut octets = [0; 96];
        let Ok(32..) = STANDARD.decode_slice(nonce, &mut octets) else { return false };
        let Some((rand, _)) = octets.split_first_chunk::<16>() else { return false };
        let res = key.res(rand);
        let username = format!("{}@{domain}", self.name);
        self.ha1 = digest::ha1(Credentials { username: &username, realm, password: &res });
        self.nonce.clear();
        self.nonce.push_str(nonce);
        self.count = 0;
        true
    }
}

/// Writes the REGISTER that is out, or about to be.
pub(super) fn write_register(ground: &Ground, number: u32, out: &mut Vec<u8>) {
    let Ground { domain, registrar, expires, run, .. } = ground;
    let (user, local) = (ground.user(number), ground.address_of(number));
    let (name, cseq) = (&user.name, user.cseq);
    let mark = ground.mark(Kind::Registration, number, 0);
    ground.write_head(number, "REGISTER", registrar, mark.branch(cseq), out);
    let _ = write!(
        out,
        "Max-Forwards: 70\r\nFrom: <sip:{name}@{domain}>;tag={run:x}{number:x}\r\nTo: <sip:{name}@{domain}>\r\n\
         Call-ID: {mark}\r\nCSeq: {cseq} REGISTER\r\n\
         Contact: <sip:{name}@{local}>;expires={expires}\r\nPath: <sip:path@{local};lr>\r\nSupported: path\r\n\
         P-Visited-Network-ID: \"{domain}\"\r\n\
         P-Charging-Vector: icid-value=\"{run:x}{number:x}.{cseq:x}\";orig-ioi={domain}\r\n\
         Authorization: Digest username=\"{name}@{domain}\", realm=\"{domain}\", uri=\"{registrar}\", "
    );
    if user.nonce.is_empty() {
        let rest = b"nonce=\"\", response=\"\", integrity-protected=\"no\"\r\nContent-Length: 0\r\n\r\n";
        out.extend_from_slice(rest);
        return;
    }
    let exchange =
        Exchange { method: "REGISTER", uri: registrar, nonce: &user.nonce, auth: Some((user.count, CNONCE)) };
    let response = digest::response_of(&user.ha1, exchange);
    let _ = write!(
        out,
        "nonce=\"{}\", response=\"{}\", algorithm=AKAv1-MD5, cnonce=\"{CNONCE}\", qop=auth, nc={:08x}, \
         integrity-protected=\"yes\"\r\nContent-Length: 0\r\n\r\n",
        user.nonce,
        digest::text(&response),
        user.count
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{load::Plan, provisioning};

    fn ground() -> Ground {
        let address = "127.0.0.1:5080".parse().unwrap();
        Ground::new(&Plan { users: 256, ..Plan::new(address) }, &[address], false)
    }

    fn write(ground: &Ground) -> String {
        let mut out = Vec::new();
        write_register(ground, 255, &mut out);
        assert_eq!(rsip::Request::try_from(&out[..]).unwrap().method, rsip::Method::Register);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn registers_are_sip_to_rsip_too() {
        let mut ground = ground();
        ground.users[255].advance();
        assert!(write(&ground).contains("CSeq: 1 REGISTER\r\n"));
        let nonce = STANDARD.encode([[7; 16], [8; 16]].concat());
        let challenge = format!("Digest realm=\"{}\", nonce=\"{nonce}\"", provisioning::DOMAIN);
        let (key, domain) = (ground.key.clone(), ground.domain.clone());
        let user = &mut ground.users[255];
        assert!(user.challenged(&key, &domain, &challenge));
        user.advance();
        let text = write(&ground);
        let res = key.res(&[7; 16]);
        let username = format!("user000256@{domain}");
        let expected = digest::response(
            Credentials { username: &username, realm: &domain, password: &res },
            Exchange { method: "REGISTER", uri: &ground.registrar, nonce: &nonce, auth: Some((1, CNONCE)) },
        );
        assert!(text.contains(digest::text(&expected)) && text.contains("nc=00000001"), "{text}");
        assert!(!ground.users[255].challenged(&key, &domain, "Digest realm=\"r\", nonce=\"short\""));
    }

    #[test]
    fn the_service_route_is_kept_whole() {
        let ok = "SIP/2.0 200 OK\r\nVia: v\r\nFrom: f\r\nTo: t\r\nCall-ID: c\r\nCSeq: 2 REGISTER\r\n\
                  Service-Route: <sip:1@h;lr>, <sip:2@h;lr>\r\nService-Route: <sip:3@h;lr>\r\n\r\n";
        let mut user = User::new("user000001".into(), Instant::now());
        user.accepted(&Text::read(ok.as_bytes()).unwrap());
        assert!(user.registered);
        assert_eq!(user.service_route, "<sip:1@h;lr>, <sip:2@h;lr>, <sip:3@h;lr>");
    }
}
