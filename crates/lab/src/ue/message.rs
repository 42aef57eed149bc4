//! RFC 3261 §7 — messages of the UE, built and read with rsip; what rsip has no type for is carried as header text, and
//! a Request-URI that it cannot read is kept aside.

use crate::wire::{
    Text, phrase,
    text::{self, parameter},
};
use rsip::{
    Header, Headers, Method, SipMessage,
    headers::{
        Allow, CSeq, CallId, Contact, ContentLength, ContentType, Expires, From, MaxForwards, RecordRoute,
        Require, Route, Supported, To, UserAgent, Via,
    },
};

/// A request before it has a Via.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) method: Method,
    pub(super) uri: String,
    headers: Headers,
    body: String,
}

/// The fields that every request has.
pub(super) struct Dialogue<'a> {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) call_id: &'a str,
    pub(super) cseq: u32,
}

fn header(name: &str, value: String) -> Header {
    match name {
        "Allow" => Allow::from(value).into(),
        "Contact" => Contact::from(value).into(),
        "Content-Type" => ContentType::from(value).into(),
        "Expires" => Expires::from(value).into(),
        "Route" => Route::from(value).into(),
        "Record-Route" => RecordRoute::from(value).into(),
        "Require" => Require::from(value).into(),
        "Supported" => Supported::from(value).into(),
        "User-Agent" => UserAgent::from(value).into(),
        other => Header::Other(other.to_owned(), value),
    }
}

impl Draft {
    pub(super) fn new(method: Method, uri: &str, dialogue: Dialogue<'_>) -> Self {
        let mut headers = Headers::default();
        headers.push(MaxForwards::from("70").into());
        headers.push(From::from(dialogue.from).into());
        headers.push(To::from(dialogue.to).into());
        headers.push(CallId::from(dialogue.call_id).into());
        headers.push(CSeq::from(format!("{} {method}", dialogue.cseq)).into());
        Self { method, uri: uri.to_owned(), headers, body: String::new() }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push(header(name, value.into()));
        self
    }

    /// One header line for each value.
    pub(super) fn each(self, name: &str, values: &[String]) -> Self {
        values.iter().fold(self, |draft, value| draft.header(name, value))
    }

    pub(super) fn body(mut self, kind: &str, body: impl Into<String>) -> Self {
        self.body = body.into();
        self.header("Content-Type", kind)
    }

    /// With a session description, if there is one.
    pub(super) fn describing(self, session: Option<String>) -> Self {
        match session {
            Some(session) => self.body("application/sdp", session),
            None => self,
        }
    }

    /// The octets, with `via` on top.
    pub(super) fn octets(&self, via: &str) -> Vec<u8> {
        let mut headers = Headers::default();
        headers.push(Via::from(via).into());
        headers.extend(self.headers.iter().cloned().collect());
        headers.push(ContentLength::from(self.body.len().to_string()).into());
        format!("{} {} SIP/2.0\r\n{headers}\r\n{}", self.method, self.uri, self.body).into_bytes()
    }
}

/// A message that came in.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    sip: SipMessage,
    line: String,
    uri: String,
}

impl Incoming {
    /// Has rsip read a message as it came; one with folded lines or compact names, or whose Request-URI rsip cannot
    /// read, it gets in plainer words.
    pub(super) fn read(text: &Text) -> Result<Self, rsip::Error> {
        let first = if text.is_plain() { SipMessage::try_from(text.raw()) } else { plainly(text) };
        let sip = match first {
            Err(_) if !text.method().is_empty() => plainly(text)?,
            first => first?,
        };
        Ok(Self { sip, line: text.line(), uri: text.uri().to_owned() })
    }

    /// Status code of a response.
    pub(super) fn status(&self) -> Option<u16> {
        match &self.sip {
            SipMessage::Response(response) => Some(response.status_code.code()),
            SipMessage::Request(_) => None,
        }
    }

    /// Method of a request.
    pub(super) fn method(&self) -> Option<Method> {
        match &self.sip {
            SipMessage::Request(request) => Some(request.method),
            SipMessage::Response(_) => None,
        }
    }

    /// The first line.
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// The Request-URI.
    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    fn headers(&self) -> &Headers {
        match &self.sip {
            SipMessage::Request(request) => &request.headers,
            SipMessage::Response(response) => &response.headers,
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        match &self.sip {
            SipMessage::Request(request) => &request.body,
            SipMessage::Response(response) => &response.body,
        }
    }

    /// The session description in it.
    pub(super) fn session(&self) -> Option<String> {
        let described = self.value("Content-Type").to_ascii_lowercase().starts_with("application/sdp");
        (described && !self.body().is_empty()).then(|| String::from_utf8_lossy(self.body()).into_owned())
    }

    /// Values of all header lines called `name`.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        let value = |header: &Header| {
            let line = header.to_string();
            let (found, value) = line.split_once(':')?;
            found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        self.headers().iter().filter_map(value).collect()
    }

    /// Value of the first header line called `name`, or nothing.
    pub(super) fn value(&self, name: &str) -> String {
        self.values(name).into_iter().next().unwrap_or_default()
    }

    /// Elements of all header lines called `name`.
    pub(super) fn elements(&self, name: &str) -> Vec<String> {
        self.values(name).iter().flat_map(|value| text::elements(value)).map(str::to_owned).collect()
    }

    /// Whether an option tag or method stands in the lines called `name`.
    pub(super) fn lists(&self, name: &str, option: &str) -> bool {
        self.elements(name).iter().any(|one| one.eq_ignore_ascii_case(option))
    }

    /// All header lines, in order.
    pub(super) fn lines(&self) -> Vec<(String, String)> {
        let line = |header: &Header| {
            let line = header.to_string();
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        self.headers().iter().filter_map(line).collect()
    }

    /// The tag in From or To.
    pub(super) fn tag(&self, name: &str) -> String {
        parameter(&self.value(name), "tag").unwrap_or("").to_owned()
    }

    /// Number of CSeq.
    pub(super) fn cseq(&self) -> u32 {
        self.value("CSeq").split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// A response to this request.
    pub(super) fn response(&self, status: u16, tag: &str) -> Reply {
        let mut headers = Headers::default();
        for name in ["Via", "From"] {
            for value in self.values(name) {
                headers.push(match name {
                    "Via" => Via::from(value).into(),
                    _ => From::from(value).into(),
                });
            }
        }
        let to = self.value("To");
        let tagged = status == 100 || parameter(&to, "tag").is_some();
        headers.push(To::from(if tagged { to } else { format!("{to};tag={tag}") }).into());
        headers.push(CallId::from(self.value("Call-ID")).into());
        headers.push(CSeq::from(self.value("CSeq")).into());
        Reply { status, headers, body: String::new() }
    }
}

/// What rsip can read of a message: full header names, unfolded lines, and a stand-in for the Request-URI.
fn plainly(text: &Text) -> Result<SipMessage, rsip::Error> {
    let mut plain = text.clone();
    if !text.method().is_empty() {
        plain.retarget("sip:kept.aside");
    }
    SipMessage::try_from(plain.octets())
}

/// A response that is being written.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    status: u16,
    headers: Headers,
    body: String,
}

impl Reply {
    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push(header(name, value.into()));
        self
    }

    /// One header line for each value.
    pub(super) fn each(self, name: &str, values: &[String]) -> Self {
        values.iter().fold(self, |reply, value| reply.header(name, value))
    }

    /// With a session description, if there is one.
    pub(super) fn describing(mut self, session: Option<String>) -> Self {
        let Some(session) = session else { return self };
        self.body = session;
        self.header("Content-Type", "application/sdp")
    }

    pub(super) fn octets(mut self) -> Vec<u8> {
        self.headers.push(ContentLength::from(self.body.len().to_string()).into());
        let (status, headers) = (self.status, self.headers);
        format!("SIP/2.0 {status} {}\r\n{headers}\r\n{}", phrase(status), self.body).into_bytes()
    }
}

/// A parameter of a Digest challenge; rsip knows none of the algorithms of AKA.
pub(super) fn challenge<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = value.trim().strip_prefix("Digest")?;
    loop {
        rest = rest.trim_start_matches([' ', ',', '\t']);
        let (found, value) = rest.split_once('=')?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_once(',').unwrap_or((value, "")),
        };
        if found.trim().eq_ignore_ascii_case(name) {
            return Some(value.trim());
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(octets: &[u8]) -> Incoming {
        Incoming::read(&Text::read(octets).unwrap()).unwrap()
    }

    #[test]
    fn a_request_is_built_and_read_back() {
        let dialogue = Dialogue {
            from: "<sip:a@x.example>;tag=1".into(),
            to: "<sip:a@x.example>".into(),
            call_id: "c1",
            cseq: 7,
        };
        let draft = Draft::new(Method::Register, "sip:x.example", dialogue)
            .header("Contact", "<sip:a@127.0.0.1:5070>;expires=60")
            .header("Path", "<sip:127.0.0.1:5070;lr>")
            .body("text/plain", "hello");
        let octets = draft.octets("SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK1;rport");
        let request = read(&octets);
        assert_eq!(request.method(), Some(Method::Register));
        assert_eq!((request.cseq(), request.tag("From").as_str(), request.body()), (7, "1", &b"hello"[..]));
        assert_eq!(request.value("path"), "<sip:127.0.0.1:5070;lr>");
        let answer = request.response(200, "t9").header("Require", "timer").describing(Some("v=0".into()));
        let answer = read(&answer.octets());
        assert_eq!((answer.status(), answer.value("To").as_str()), (Some(200), "<sip:a@x.example>;tag=t9"));
        assert_eq!((answer.session().as_deref(), answer.lists("Require", "Timer")), (Some("v=0"), true));
        assert_eq!(answer.line(), "SIP/2.0 200 OK");
    }

    #[test]
    fn what_rsip_cannot_read_it_gets_in_plainer_words() {
        for uri in ["tel:+15551230002;phone-context=x.example", "sip:alice@[2001:db8::1]:5070"] {
            let text = format!(
                "INVITE {uri} SIP/2.0\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1\r\nf: <sip:a@x>;tag=1\r\nt: <tel:+1>\r\ni: c\r\n\
                 CSeq: 1 INVITE\r\nSubject: one\r\n two\r\n\r\n"
            );
            let request = read(text.as_bytes());
            assert_eq!((request.uri(), request.value("Subject").as_str()), (uri, "one two"));
            assert_eq!(request.value("Call-ID"), "c");
        }
        let unknown = "FOO sip:x SIP/2.0\r\nVia: a\r\nFrom: a\r\nTo: b\r\nCall-ID: c\r\nCSeq: 1 FOO\r\n\r\n";
        assert!(Incoming::read(&Text::read(unknown.as_bytes()).unwrap()).is_err());
    }

    #[test]
    fn a_challenge_of_aka_is_read() {
        let value = "Digest realm=\"r, s\", nonce=\"abc==\", algorithm=AKAv1-MD5, qop=\"auth\", ck=\"00\"";
        assert_eq!(challenge(value, "nonce"), Some("abc=="));
        assert_eq!(challenge(value, "Realm"), Some("r, s"));
        assert_eq!(challenge(value, "algorithm"), Some("AKAv1-MD5"));
        assert_eq!(challenge(value, "opaque"), None);
        assert_eq!(challenge("Basic realm=\"x\"", "realm"), None);
    }
}
