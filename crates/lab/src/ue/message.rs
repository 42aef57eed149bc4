//! RFC 3261 §7 — messages of the UE, built and read with rsip; what rsip has no type for is carried as header text.

use rsip::{
    Header, Headers, Method, SipMessage,
    headers::{
        CSeq, CallId, Contact, ContentLength, Expires, From, MaxForwards, RecordRoute, Route, Supported, To,
        UserAgent, Via,
    },
};

/// A request before it has a Via.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) method: Method,
    pub(super) uri: String,
    headers: Headers,
}

/// The fields that every request has.
pub(super) struct Dialogue<'a> {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) call_id: &'a str,
    pub(super) cseq: u32,
}

impl Draft {
    pub(super) fn new(method: Method, uri: &str, dialogue: Dialogue<'_>) -> Self {
        let mut headers = Headers::default();
        headers.push(MaxForwards::from("70").into());
        headers.push(From::from(dialogue.from).into());
        headers.push(To::from(dialogue.to).into());
        headers.push(CallId::from(dialogue.call_id).into());
        headers.push(CSeq::from(format!("{} {method}", dialogue.cseq)).into());
        Self { method, uri: uri.to_owned(), headers }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        self.headers.push(match name {
            "Contact" => Contact::from(value).into(),
            "Expires" => Expires::from(value).into(),
            "Route" => Route::from(value).into(),
            "Record-Route" => RecordRoute::from(value).into(),
            "Supported" => Supported::from(value).into(),
            "User-Agent" => UserAgent::from(value).into(),
            other => Header::Other(other.to_owned(), value),
        });
        self
    }

    /// The octets, with `via` on top.
    pub(super) fn octets(&self, via: &str) -> Vec<u8> {
        let mut headers = Headers::default();
        headers.push(Via::from(via).into());
        headers.extend(self.headers.iter().cloned().collect());
        headers.push(ContentLength::from("0").into());
        format!("{} {} SIP/2.0\r\n{headers}\r\n", self.method, self.uri).into_bytes()
    }
}

/// A message that came in.
#[derive(Clone, Debug)]
pub(super) struct Incoming(SipMessage);

impl Incoming {
    pub(super) fn read(octets: &[u8]) -> Result<Self, rsip::Error> {
        SipMessage::try_from(octets).map(Self)
    }

    /// Status code of a response.
    pub(super) fn status(&self) -> Option<u16> {
        match &self.0 {
            SipMessage::Response(response) => Some(response.status_code.code()),
            SipMessage::Request(_) => None,
        }
    }

    /// Method of a request.
    pub(super) fn method(&self) -> Option<Method> {
        match &self.0 {
            SipMessage::Request(request) => Some(request.method),
            SipMessage::Response(_) => None,
        }
    }

    /// The first line.
    pub(super) fn line(&self) -> String {
        match &self.0 {
            SipMessage::Request(request) => format!("{} {}", request.method, request.uri),
            SipMessage::Response(response) => response.status_code.to_string(),
        }
    }

    fn headers(&self) -> &Headers {
        match &self.0 {
            SipMessage::Request(request) => &request.headers,
            SipMessage::Response(response) => &response.headers,
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        match &self.0 {
            SipMessage::Request(request) => &request.body,
            SipMessage::Response(response) => &response.body,
        }
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
        self.values(name).iter().flat_map(|value| split(value)).collect()
    }

    /// Branch of the topmost Via.
    pub(super) fn branch(&self) -> String {
        parameter(&self.value("Via"), "branch").unwrap_or_default()
    }

    /// A response to this request.
    pub(super) fn response(&self, status: &str, tag: &str, further: &[(&str, String)]) -> Vec<u8> {
        let mut text = format!("SIP/2.0 {status}\r\n");
        let mut line = |name: &str, value: &str| {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
        };
        for name in ["Via", "Record-Route", "From"] {
            for value in self.values(name) {
                line(name, &value);
            }
        }
        let to = self.value("To");
        if parameter(&to, "tag").is_some() {
            line("To", &to);
        } else {
            line("To", &format!("{to};tag={tag}"));
        }
        line("Call-ID", &self.value("Call-ID"));
        line("CSeq", &self.value("CSeq"));
        for (name, value) in further {
            line(name, value);
        }
        line("Content-Length", "0");
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// The elements of a comma-separated header value; commas within quotes or `<>` do not separate.
pub(super) fn split(value: &str) -> Vec<String> {
    let (mut quoted, mut angled, mut from) = (false, false, 0);
    let mut elements = Vec::new();
    for (at, octet) in value.bytes().enumerate() {
        match octet {
            b'"' => quoted = !quoted,
            b'<' if !quoted => angled = true,
            b'>' if !quoted => angled = false,
            b',' if !quoted && !angled => {
                elements.push(value[from..at].trim().to_owned());
                from = at + 1;
            }
            _ => {}
        }
    }
    elements.push(value[from..].trim().to_owned());
    elements.retain(|element| !element.is_empty());
    elements
}

/// The URI of a name-addr or addr-spec.
pub(super) fn uri(value: &str) -> &str {
    let inner = value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(uri, _)| uri);
    inner.unwrap_or_else(|| value.split(';').next().unwrap_or("")).trim()
}

/// A header parameter, that is one after the URI; quotes removed.
pub(super) fn parameter(value: &str, name: &str) -> Option<String> {
    let outside = value.rsplit_once('>').map_or(value, |(_, rest)| rest);
    outside.split(';').skip(1).find_map(|parameter| {
        let (found, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
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
            .header("Path", "<sip:127.0.0.1:5070;lr>");
        let octets = draft.octets("SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK1;rport");
        let read = Incoming::read(&octets).unwrap();
        assert_eq!(read.method(), Some(Method::Register));
        assert_eq!((read.branch().as_str(), read.value("CSeq").as_str()), ("z9hG4bK1", "7 REGISTER"));
        assert_eq!(read.value("path"), "<sip:127.0.0.1:5070;lr>");
        let answer = Incoming::read(&read.response("200 OK", "t9", &[])).unwrap();
        assert_eq!((answer.status(), answer.value("To").as_str()), (Some(200), "<sip:a@x.example>;tag=t9"));
    }

    #[test]
    fn values_are_taken_apart() {
        assert_eq!(split("\"a, b\" <sip:x@y,z>;q=1 , <sip:b@c>"), ["\"a, b\" <sip:x@y,z>;q=1", "<sip:b@c>"]);
        assert_eq!(uri("\"A\" <sip:a@x;lr>;tag=1"), "sip:a@x;lr");
        assert_eq!(uri("sip:a@x;tag=1"), "sip:a@x");
        assert_eq!(parameter("<sip:a@x;tag=no>;tag=yes;Expires=5", "expires").as_deref(), Some("5"));
        assert_eq!(parameter("<sip:a@x;tag=no>", "tag"), None);
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
