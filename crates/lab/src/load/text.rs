//! RFC 3261 §7.3, §25 — a message read in one pass for what a load needs, without a copy.

use crate::wire::text::{elements, parameter};
use smallvec::SmallVec;

/// Elements of a list header, in order.
pub(super) type List<'a> = SmallVec<[&'a str; 6]>;

/// What a message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start<'a> {
    Request {
        method: &'a str,
        uri: &'a str,
    },
    Response {
        status: u16,
        /// Status code and reason phrase.
        line: &'a str,
    },
}

/// A message; what is absent is empty.
#[derive(Debug)]
pub(super) struct Text<'a> {
    pub(super) start: Start<'a>,
    /// Values of the Via lines, the top one first.
    pub(super) vias: List<'a>,
    pub(super) routes: List<'a>,
    pub(super) record_routes: List<'a>,
    pub(super) service_routes: List<'a>,
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) call_id: &'a str,
    pub(super) contact: &'a str,
    pub(super) cseq: u32,
    /// Method of the transaction.
    pub(super) method: &'a str,
    /// WWW-Authenticate.
    pub(super) challenge: &'a str,
    /// Subscription-State.
    pub(super) subscription_state: &'a str,
    /// Reason.
    pub(super) reason: &'a str,
    /// Seconds in Retry-After.
    pub(super) retry_after: Option<u32>,
}

impl<'a> Text<'a> {
    /// Reads a datagram; `None` if it is no SIP message with the headers that every one has.
    pub(super) fn read(octets: &'a [u8]) -> Option<Self> {
        let end = memchr::memmem::find(octets, b"\r\n\r\n")? + 2;
        let head = std::str::from_utf8(&octets[..end]).ok()?;
        let mut lines = Lines(head);
        let mut text = Self {
            start: start(lines.next()?)?,
            vias: List::new(),
            routes: List::new(),
            record_routes: List::new(),
            service_routes: List::new(),
            from: "",
            to: "",
            call_id: "",
            contact: "",
            cseq: 0,
            method: "",
            challenge: "",
            subscription_state: "",
            reason: "",
            retry_after: None,
        };
        for line in lines {
            let (name, value) = line.split_once(':')?;
            text.take(name.trim_end(), value.trim());
        }
        let complete = !text.vias.is_empty()
            && !text.from.is_empty()
            && !text.to.is_empty()
            && !text.call_id.is_empty()
            && !text.method.is_empty();
        complete.then_some(text)
    }

    fn take(&mut self, name: &str, value: &'a str) {
        let is = |long: &str| name.eq_ignore_ascii_case(long);
        match name.len() {
            1 => match name.as_bytes()[0].to_ascii_lowercase() {
                b'v' => self.vias.push(value),
                b'f' => self.from = value,
                b't' => self.to = value,
                b'i' => self.call_id = value,
                b'm' => self.contact = value,
                _ => {}
            },
            2 if is("to") => self.to = value,
            3 if is("via") => self.vias.push(value),
            4 if is("from") => self.from = value,
            4 if is("cseq") => {
                let (number, method) = value.split_once(' ').unwrap_or((value, ""));
                self.cseq = number.parse().unwrap_or(0);
                self.method = method.trim_start();
            }
            5 if is("route") => self.routes.extend(elements(value)),
            6 if is("reason") => self.reason = value,
            7 if is("call-id") => self.call_id = value,
            7 if is("contact") => self.contact = value,
            11 if is("retry-after") => {
                let seconds = value.split([' ', ';', '(']).next();
                self.retry_after = seconds.and_then(|seconds| seconds.parse().ok());
            }
            12 if is("record-route") => self.record_routes.extend(elements(value)),
            13 if is("service-route") => self.service_routes.extend(elements(value)),
            16 if is("www-authenticate") => self.challenge = value,
            18 if is("subscription-state") => self.subscription_state = value,
            _ => {}
        }
    }

    /// Branch of the topmost Via.
    pub(super) fn branch(&self) -> &'a str {
        self.vias.first().and_then(|via| parameter(via, "branch")).unwrap_or("")
    }

    /// Tag in To.
    pub(super) fn to_tag(&self) -> &'a str {
        parameter(self.to, "tag").unwrap_or("")
    }
}

fn start(line: &str) -> Option<Start<'_>> {
    if let Some(line) = line.strip_prefix("SIP/2.0 ") {
        return Some(Start::Response { status: line.get(..3)?.parse().ok()?, line });
    }
    let (method, rest) = line.split_once(' ')?;
    let uri = rest.strip_suffix(" SIP/2.0")?;
    Some(Start::Request { method, uri })
}

/// Lines that end with CRLF.
struct Lines<'a>(&'a str);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let at = memchr::memchr(b'\r', self.0.as_bytes())?;
        let line = &self.0[..at];
        self.0 = self.0.get(at + 2..).unwrap_or("");
        (!line.is_empty()).then_some(line)
    }
}

/// A quoted parameter of a challenge, or nothing.
pub(super) fn quoted<'a>(challenge: &'a str, name: &str) -> &'a str {
    let mut rest = challenge;
    while let Some((before, after)) = rest.split_once("=\"") {
        let (value, next) = after.split_once('"').unwrap_or((after, ""));
        let start = before.rfind([' ', ',']).map_or(0, |at| at + 1);
        if before[start..].eq_ignore_ascii_case(name) {
            return value;
        }
        rest = next;
    }
    ""
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::text::uri;

    const OK: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bKtop;rport=1\r\n\
        v: SIP/2.0/UDP h;branch=z9hG4bKbelow\r\nRetry-After: 3 (soon);duration=9\r\nFROM: \"a, <b>\" <sip:a@d;tag=no>;tag=f\r\nt: <sip:b@d>;tag=t;x=y\r\n\
        Call-ID: c\r\nCSeq: 7 INVITE\r\nRecord-Route: <sip:1@h;lr>, <sip:2@h;lr;a=\",\">\r\n\
        Record-Route:<sip:3@h;lr>\r\nContact: <sip:b@1.2.3.4:5;x=y>;expires=3\r\nContent-Length: 4\r\n\r\na:b\n";

    #[test]
    fn a_response_is_read_for_what_matters() {
        let text = Text::read(OK.as_bytes()).unwrap();
        assert_eq!(text.start, Start::Response { status: 200, line: "200 OK" });
        assert_eq!((text.vias.len(), text.branch()), (2, "z9hG4bKtop"));
        assert_eq!((text.to_tag(), parameter(text.from, "tag"), text.call_id), ("t", Some("f"), "c"));
        assert_eq!((text.cseq, text.method, uri(text.contact)), (7, "INVITE", "sip:b@1.2.3.4:5;x=y"));
        assert_eq!(text.record_routes[..], ["<sip:1@h;lr>", "<sip:2@h;lr;a=\",\">", "<sip:3@h;lr>"]);
        assert!(text.routes.is_empty() && text.challenge.is_empty());
        assert_eq!(text.retry_after, Some(3));
    }

    #[test]
    fn a_request_is_read_for_what_matters() {
        let text = "BYE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nRoute: <sip:p@h;lr>,<sip:q@h;lr>\r\n\
                    From: <sip:b@d>;tag=t\r\nTo: sip:a@d;tag=o1\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n\r\n";
        let text = Text::read(text.as_bytes()).unwrap();
        assert_eq!(text.start, Start::Request { method: "BYE", uri: "sip:a@h" });
        assert_eq!((text.routes.len(), text.to_tag(), uri(text.to)), (2, "o1", "sip:a@d"));
    }

    #[test]
    fn what_is_no_message_is_none() {
        for wrong in [
            "",
            "\r\n\r\n",
            "SIP/2.0 ",
            "SIP/2.0 2\r\n\r\n",
            "SIP/2.0 200 OK\r\n\r\n",
            "INVITE sip:a@b\r\nVia: x\r\n\r\n",
            "INVITE sip:a@b SIP/2.0\r\nno colon\r\n\r\n",
        ] {
            assert!(Text::read(wrong.as_bytes()).is_none(), "{wrong:?}");
        }
        assert!(Text::read(&OK.as_bytes()[..OK.len() - 40]).is_none(), "cut off");
        assert!(Text::read(b"SIP/2.0 200 \xff\r\n\r\n").is_none());
        // No cut and no stray octet makes it panic.
        for at in 0..OK.len() {
            let mut octets = OK.as_bytes().to_vec();
            let _ = Text::read(&octets[..at]);
            octets[at] = b"\r\n,;\"<>:=\xc3"[at % 10];
            let _ = Text::read(&octets);
        }
    }

    #[test]
    fn challenges_are_read_by_name() {
        let challenge = "Digest realm=\"r\", nonce=\"n==\",opaque=\"nonce=no\", algorithm=AKAv1-MD5";
        assert_eq!((quoted(challenge, "nonce"), quoted(challenge, "realm")), ("n==", "r"));
        assert_eq!((quoted(challenge, "qop"), quoted("Digest nonce=\"", "nonce")), ("", ""));
    }
}
