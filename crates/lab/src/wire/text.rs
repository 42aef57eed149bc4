//! RFC 3261 §7 — the lab's own small reader of messages, for what only passes on what it reads, and for what rsip cannot
//! read: folded lines, compact names, tel URIs, IPv6 and unknown methods. Header values are kept as they are spelled.

use std::fmt::Write;

/// The full names of compact ones.
const COMPACT: [(&str, &str); 17] = [
    ("i", "Call-ID"),
    ("m", "Contact"),
    ("e", "Content-Encoding"),
    ("l", "Content-Length"),
    ("c", "Content-Type"),
    ("f", "From"),
    ("s", "Subject"),
    ("k", "Supported"),
    ("t", "To"),
    ("v", "Via"),
    ("o", "Event"),
    ("u", "Allow-Events"),
    ("r", "Refer-To"),
    ("b", "Referred-By"),
    ("x", "Session-Expires"),
    ("a", "Accept-Contact"),
    ("j", "Reject-Contact"),
];

/// Why octets are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The empty line after the headers is missing.
    #[error("it has no end of headers")]
    NoEnd,
    /// The first line is neither that of a request nor of a response.
    #[error("its first line is that of no SIP message")]
    Start,
    /// A header line has no name.
    #[error("a header line has no name")]
    Header,
    /// One of Via, From, To, Call-ID and CSeq is missing.
    #[error("it lacks Via, From, To, Call-ID or CSeq")]
    Incomplete,
    /// The body is shorter than Content-Length says.
    #[error("its body is shorter than Content-Length says")]
    Short,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Start {
    Request { method: String, uri: String },
    Response { status: u16, reason: String },
}

/// A message as its first line, its header lines in order, and its body.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    start: Start,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    raw: Vec<u8>,
    plain: bool,
}

impl Text {
    /// Reads one message; what follows its body is left aside.
    pub(crate) fn read(octets: &[u8]) -> Result<Self, Unreadable> {
        let end = octets.windows(4).position(|four| four == b"\r\n\r\n").ok_or(Unreadable::NoEnd)?;
        let head = String::from_utf8_lossy(&octets[..end]);
        let mut lines = head.split("\r\n");
        let start = Start::read(lines.next().unwrap_or("")).ok_or(Unreadable::Start)?;
        let (mut headers, mut plain) = (Vec::<(String, String)>::new(), true);
        for line in lines {
            if line.starts_with([' ', '\t']) {
                let (_, value) = headers.last_mut().ok_or(Unreadable::Header)?;
                value.push(' ');
                value.push_str(line.trim());
                plain = false;
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(Unreadable::Header)?;
            let name = name.trim_end();
            if name.is_empty() {
                return Err(Unreadable::Header);
            }
            let full = COMPACT.iter().find(|(short, _)| short.eq_ignore_ascii_case(name));
            plain &= full.is_none();
            headers.push((full.map_or(name, |(_, full)| full).to_owned(), value.trim().to_owned()));
        }
        let after = &octets[end + 4..];
        let text = Self { start, headers, body: Vec::new(), raw: Vec::new(), plain };
        let complete = ["Via", "From", "To", "Call-ID", "CSeq"].iter().all(|name| text.has(name));
        if !complete {
            return Err(Unreadable::Incomplete);
        }
        let length = match text.value("Content-Length") {
            "" => after.len(),
            length => length.parse().unwrap_or(usize::MAX),
        };
        let body = after.get(..length).ok_or(Unreadable::Short)?.to_vec();
        Ok(Self { body, raw: octets[..end + 4 + length].to_vec(), ..text })
    }

    /// A request without headers.
    pub(crate) fn request(method: &str, uri: &str) -> Self {
        Self::new(Start::Request { method: method.to_owned(), uri: uri.to_owned() })
    }

    /// The response to `self` that says `status`, with what a response repeats of its request.
    pub(crate) fn response(&self, status: u16, reason: &str, tag: &str) -> Self {
        let mut response = Self::new(Start::Response { status, reason: reason.to_owned() });
        for (name, value) in &self.headers {
            let to = name.eq_ignore_ascii_case("To");
            if to && status > 100 && parameter(value, "tag").is_none() {
                response.push("To", format!("{value};tag={tag}"));
            } else if to
                || ["Via", "From", "Call-ID", "CSeq"].iter().any(|one| name.eq_ignore_ascii_case(one))
            {
                response.push(name, value.clone());
            }
        }
        response
    }

    fn new(start: Start) -> Self {
        Self { start, headers: Vec::new(), body: Vec::new(), raw: Vec::new(), plain: true }
    }

    /// The octets as they came, up to the end of the body.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Whether it came without folded lines and compact names.
    pub(crate) const fn is_plain(&self) -> bool {
        self.plain
    }

    /// The octets to send; Content-Length is that of the body.
    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut head = self.line();
        head.push_str("\r\n");
        for (name, value) in &self.headers {
            if !name.eq_ignore_ascii_case("Content-Length") {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", self.body.len());
        let mut octets = head.into_bytes();
        octets.extend_from_slice(&self.body);
        octets
    }

    /// The first line.
    pub(crate) fn line(&self) -> String {
        match &self.start {
            Start::Request { method, uri } => format!("{method} {uri} SIP/2.0"),
            Start::Response { status, reason } => format!("SIP/2.0 {status} {reason}"),
        }
    }

    /// The method, or nothing for a response.
    pub(crate) fn method(&self) -> &str {
        match &self.start {
            Start::Request { method, .. } => method,
            Start::Response { .. } => "",
        }
    }

    /// The Request-URI, or nothing for a response.
    pub(crate) fn uri(&self) -> &str {
        match &self.start {
            Start::Request { uri, .. } => uri,
            Start::Response { .. } => "",
        }
    }

    /// Changes the Request-URI.
    pub(crate) fn retarget(&mut self, to: &str) {
        if let Start::Request { uri, .. } = &mut self.start {
            to.clone_into(uri);
        }
    }

    /// Status code, 0 for a request.
    pub(crate) fn status(&self) -> u16 {
        match self.start {
            Start::Response { status, .. } => status,
            Start::Request { .. } => 0,
        }
    }

    /// Reason phrase of a response.
    pub(crate) fn reason(&self) -> &str {
        match &self.start {
            Start::Response { reason, .. } => reason,
            Start::Request { .. } => "",
        }
    }

    /// All header lines, in order.
    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// Values of all lines of that name.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Value of the first line of that name, or nothing.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.values(name).next().unwrap_or("")
    }

    /// Elements of all lines of that name.
    pub(crate) fn elements(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).flat_map(elements)
    }

    /// Adds a line at the end.
    pub(crate) fn push(&mut self, name: &str, value: impl Into<String>) {
        self.headers.push((name.to_owned(), value.into()));
    }

    /// Adds a line before all others.
    pub(crate) fn prepend(&mut self, name: &str, value: impl Into<String>) {
        self.headers.insert(0, (name.to_owned(), value.into()));
    }

    /// One line of that name in place of all there were.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        let Some(at) = self.headers.iter().position(|(found, _)| found.eq_ignore_ascii_case(name)) else {
            return self.push(name, value);
        };
        self.headers[at].1 = value;
        let mut position = 0;
        self.headers.retain(|(found, _)| {
            position += 1;
            position - 1 == at || !found.eq_ignore_ascii_case(name)
        });
    }

    /// Takes the first element of that name away.
    pub(crate) fn take_first(&mut self, name: &str) -> Option<String> {
        let at = self.headers.iter().position(|(found, _)| found.eq_ignore_ascii_case(name))?;
        let mut elements = elements(&self.headers[at].1);
        let first = elements.next().map(str::to_owned);
        let rest = elements.collect::<Vec<_>>().join(", ");
        if rest.is_empty() {
            self.headers.remove(at);
        } else {
            self.headers[at].1 = rest;
        }
        first
    }

    /// The topmost Via.
    pub(crate) fn via(&self) -> &str {
        elements(self.value("Via")).next().unwrap_or("")
    }

    /// RFC 3261 §18.2.1, RFC 3581 §4: says in the topmost Via where a request really came from.
    pub(crate) fn note_source(&mut self, source: std::net::SocketAddr) {
        let Some(via) = self.take_first("Via") else { return };
        let marked: Vec<String> = via
            .split(';')
            .map(|part| match part.trim() {
                "rport" => format!("rport={}", source.port()),
                other => other.to_owned(),
            })
            .collect();
        self.prepend("Via", format!("{};received={}", marked.join(";"), source.ip()));
    }

    /// Branch of the topmost Via.
    pub(crate) fn branch(&self) -> &str {
        parameter(self.via(), "branch").unwrap_or("")
    }

    /// Number and method of CSeq.
    pub(crate) fn cseq(&self) -> (u32, &str) {
        let value = self.value("CSeq");
        let (number, method) = value.split_once([' ', '\t']).unwrap_or((value, ""));
        (number.parse().unwrap_or(0), method.trim())
    }

    /// The tag in From or To.
    pub(crate) fn tag(&self, name: &str) -> &str {
        parameter(self.value(name), "tag").unwrap_or("")
    }
}

impl Start {
    fn read(line: &str) -> Option<Self> {
        if let Some(rest) = line.strip_prefix("SIP/2.0 ") {
            let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
            let status = status.parse().ok().filter(|status| (100..700).contains(status))?;
            return Some(Self::Response { status, reason: reason.to_owned() });
        }
        let (method, rest) = line.split_once(' ')?;
        let (uri, version) = rest.rsplit_once(' ')?;
        let readable = version == "SIP/2.0" && !method.is_empty() && !uri.is_empty() && !uri.contains(' ');
        readable.then(|| Self::Request { method: method.to_owned(), uri: uri.to_owned() })
    }
}

/// The elements of a comma-separated header value, empty ones left out; commas within quotes or `<>` do not separate.
pub(crate) fn elements(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    let all = std::iter::from_fn(move || {
        let value = rest.take()?;
        let (mut quoted, mut angled, mut escaped) = (false, false, false);
        let end = value.bytes().position(|octet| {
            match octet {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'<' if !quoted => angled = true,
                b'>' if !quoted => angled = false,
                _ => return octet == b',' && !quoted && !angled,
            }
            false
        });
        rest = end.map(|end| &value[end + 1..]);
        Some(value[..end.unwrap_or(value.len())].trim())
    });
    all.filter(|element| !element.is_empty())
}

/// The URI of a name-addr or addr-spec.
pub(crate) fn uri(value: &str) -> &str {
    let inner = value.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(uri, _)| uri);
    inner.unwrap_or_else(|| value.split(';').next().unwrap_or("")).trim()
}

/// A header parameter, that is one after the URI; quotes removed.
pub(crate) fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let outside = value.rsplit_once('>').map_or(value, |(_, rest)| rest);
    outside.split(';').skip(1).find_map(|parameter| {
        let (found, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// A name-addr without its parameters.
pub(crate) fn untagged(value: &str) -> String {
    match value.rsplit_once('>') {
        Some((address, _)) => format!("{address}>"),
        None => value.split(';').next().unwrap_or("").trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const INVITE: &str = "INVITE tel:+1555;phone-context=x SIP/2.0\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/TCP b;branch=z9hG4bK2\r\n\
        f: <sip:a@x>;tag=1\r\nt: \"B, C\" <tel:+1555>\r\nRoute: <sip:as;lr>,\r\n <sip:s;lr>\r\nRoute: <sip:z;lr>\r\ni: c\r\nCSeq: 7 INVITE\r\nl: 3\r\n\r\nabcrest";

    #[test]
    fn what_rsip_cannot_read_is_read() {
        let text = Text::read(INVITE.as_bytes()).unwrap();
        assert_eq!((text.method(), text.uri()), ("INVITE", "tel:+1555;phone-context=x"));
        assert_eq!(text.body, b"abc");
        assert!(!text.is_plain());
        assert!(text.raw().ends_with(b"abc"));
        assert_eq!((text.branch(), text.cseq()), ("z9hG4bK1", (7, "INVITE")));
        assert_eq!(text.elements("route").collect::<Vec<_>>(), ["<sip:as;lr>", "<sip:s;lr>", "<sip:z;lr>"]);
        assert_eq!(
            Text::read(
                b"FOO sip:[::1] SIP/2.0\r\nVia: x\r\nFrom: a\r\nTo: b\r\nCall-ID: c\r\nCSeq: 1 FOO\r\n\r\n"
            )
            .unwrap()
            .method(),
            "FOO"
        );
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        for (text, why) in [
            ("INVITE sip:x SIP/2.0\r\n", Unreadable::NoEnd),
            ("INVITE sip:x SIP/3.0\r\n\r\n", Unreadable::Start),
            ("SIP/2.0 999 x\r\n\r\n", Unreadable::Start),
            ("INVITE sip:x SIP/2.0\r\nnothing\r\n\r\n", Unreadable::Header),
            ("INVITE sip:x SIP/2.0\r\n: v\r\n\r\n", Unreadable::Header),
            ("INVITE sip:x SIP/2.0\r\nVia: x\r\n\r\n", Unreadable::Incomplete),
        ] {
            assert_eq!(Text::read(text.as_bytes()).unwrap_err(), why, "{text}");
        }
        let long = INVITE.replace("l: 3", "l: 30");
        assert_eq!(Text::read(long.as_bytes()).unwrap_err(), Unreadable::Short);
        let absurd = INVITE.replace("l: 3", "l: 99999999999999999999999");
        assert_eq!(Text::read(absurd.as_bytes()).unwrap_err(), Unreadable::Short);
    }

    #[test]
    fn edits_leave_the_rest_alone() {
        let mut text = Text::read(INVITE.as_bytes()).unwrap();
        assert_eq!(text.take_first("Route").as_deref(), Some("<sip:as;lr>"));
        assert_eq!(text.take_first("Route").as_deref(), Some("<sip:s;lr>"));
        assert_eq!(text.elements("Route").collect::<Vec<_>>(), ["<sip:z;lr>"]);
        text.prepend("Via", "SIP/2.0/UDP me;branch=z9hG4bK0");
        assert_eq!(text.take_first("Via").as_deref(), Some("SIP/2.0/UDP me;branch=z9hG4bK0"));
        text.prepend("Via", "SIP/2.0/UDP me;rport;branch=z9hG4bK0");
        text.note_source("192.0.2.1:7".parse().unwrap());
        assert_eq!(
            text.take_first("Via").as_deref(),
            Some("SIP/2.0/UDP me;rport=7;branch=z9hG4bK0;received=192.0.2.1")
        );
        text.set("To", "<sip:q>");
        text.set("Max-Forwards", "9");
        text.body = b"longer".to_vec();
        let again = Text::read(&text.octets()).unwrap();
        assert_eq!((again.value("To"), again.value("Max-Forwards")), ("<sip:q>", "9"));
        assert_eq!((again.body.as_slice(), again.value("content-length")), (&b"longer"[..], "6"));
        assert_eq!(again.elements("Via").count(), 2);
    }

    #[test]
    fn a_response_repeats_what_it_must() {
        let text = Text::read(INVITE.as_bytes()).unwrap();
        let trying = text.response(100, "Trying", "t");
        assert_eq!(trying.value("To"), "\"B, C\" <tel:+1555>");
        let ok = Text::read(&text.response(200, "OK", "t").octets()).unwrap();
        assert_eq!((ok.status(), ok.reason(), ok.tag("To")), (200, "OK", "t"));
        assert_eq!((ok.elements("Via").count(), ok.value("Route"), ok.value("Call-ID")), (2, "", "c"));
    }

    #[test]
    fn values_are_taken_apart() {
        assert_eq!(
            elements("\"a, b\" <sip:x@y,z>;q=1 , <sip:b@c>").collect::<Vec<_>>(),
            ["\"a, b\" <sip:x@y,z>;q=1", "<sip:b@c>"]
        );
        assert_eq!(
            elements(r#""a\", b" <sip:x@y>, <sip:b@c>"#).collect::<Vec<_>>(),
            [r#""a\", b" <sip:x@y>"#, "<sip:b@c>"]
        );
        assert_eq!(elements(" a ,b,, \"c,d\" <e,f>,").collect::<Vec<_>>(), ["a", "b", "\"c,d\" <e,f>"]);
        assert_eq!(uri("\"A\" <sip:a@x;lr>;tag=1"), "sip:a@x;lr");
        assert_eq!(uri("sip:a@x;tag=1"), "sip:a@x");
        assert_eq!(parameter("<sip:a@x;tag=no>;tag=yes;Expires=5", "expires"), Some("5"));
        assert_eq!(parameter("<sip:a@x;tag=no>", "tag"), None);
        assert_eq!(untagged("\"A\" <sip:a@x;lr>;tag=1"), "\"A\" <sip:a@x;lr>");
        assert_eq!(untagged("sip:a@x;tag=1"), "sip:a@x");
    }
}
