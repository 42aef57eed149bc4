//! RFC 3261 §7 — messages: octets and an index over them.

use crate::{
    Builder, CSeq, Headers, Method, ParseError, RequestEdit, ResponseBuilder, ResponseEdit, Status, Uri,
    headers::{Span, Start},
    lexis, parse, refusal,
};
use bytes::Bytes;
use std::{fmt, ops::Deref};

/// A SIP message. A clone shares the octets and the index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

/// A request; its headers are reached through [`Headers`].
#[derive(Clone, PartialEq, Eq)]
pub struct Request(pub(crate) Headers);

/// A response; its headers are reached through [`Headers`].
#[derive(Clone, PartialEq, Eq)]
pub struct Response(pub(crate) Headers);

impl Message {
    /// Parses a whole datagram. Leading line breaks are skipped, octets beyond Content-Length dropped; a Content-Length
    /// larger than what is there is an error 400.
    pub fn parse_datagram(bytes: Bytes) -> Result<Self, ParseError> {
        Self::parse(bytes, parse::Transfer::Datagram)
    }

    /// Parses exactly one message as [`crate::Framer`] cut it from a stream; Content-Length is mandatory.
    pub fn parse_frame(bytes: Bytes) -> Result<Self, ParseError> {
        Self::parse(bytes, parse::Transfer::Stream)
    }

    fn parse(bytes: Bytes, transfer: parse::Transfer) -> Result<Self, ParseError> {
        let blank = bytes.iter().take_while(|&&b| b == b'\r' || b == b'\n').count();
        let bytes = bytes.slice(blank..);
        match parse::message(&bytes, transfer) {
            Ok(headers) => Ok(Self::of(headers)),
            Err(fault) => Err(refusal::refuse(&bytes, fault)),
        }
    }

    pub(crate) fn of(headers: Headers) -> Self {
        match headers.index.start {
            Start::Request { .. } => Self::Request(Request(headers)),
            Start::Response { .. } => Self::Response(Response(headers)),
        }
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => request,
            Self::Response(response) => response,
        }
    }

    /// The octets.
    pub fn as_bytes(&self) -> &Bytes {
        &self.headers().bytes
    }
}

impl Request {
    /// The method.
    pub fn method(&self) -> &Method {
        match &self.0.index.start {
            Start::Request { method, .. } => method,
            Start::Response { .. } => &Method::Options,
        }
    }

    /// The Request-URI; parsed on first use.
    pub fn uri(&self) -> &Uri {
        self.0.index.uri.get_or_init(|| Uri::parse(self.uri_text()).unwrap_or_else(|_| Uri::nowhere()))
    }

    /// The Request-URI as received.
    pub fn uri_text(&self) -> &str {
        match self.0.index.start {
            Start::Request { uri, .. } => self.0.text(uri),
            Start::Response { .. } => "",
        }
    }

    /// Starts a request. It has no header until they are added; Max-Forwards, Via and CSeq among them.
    pub fn build(method: Method, uri: &Uri) -> Builder {
        Builder::new(&method, uri)
    }

    /// Starts a response to it: copies Via, From, To, Call-ID, CSeq, and Timestamp into a 100; adds `to_tag` to To if that
    /// has no tag and the status is above 100.
    pub fn respond(&self, status: Status, to_tag: &str) -> ResponseBuilder {
        ResponseBuilder::new(self, status, to_tag)
    }

    /// Starts an edit; octets that are not touched are copied.
    pub fn edit(&self) -> RequestEdit {
        RequestEdit::new(self.clone())
    }

    /// The octets.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// The CSeq it must have: its number and method.
    pub fn cseq_for(&self, method: Method) -> CSeq {
        CSeq::new(self.cseq().number, method)
    }
}

impl Response {
    /// The status.
    pub fn status(&self) -> Status {
        match self.0.index.start {
            Start::Response { status, .. } => status,
            Start::Request { .. } => Status::SERVER_INTERNAL_ERROR,
        }
    }

    /// The reason phrase as received; empty if it is no UTF-8.
    pub fn reason(&self) -> &str {
        match self.0.index.start {
            Start::Response { reason, .. } => self.0.text(reason),
            Start::Request { .. } => "",
        }
    }

    /// Starts an edit; octets that are not touched are copied.
    pub fn edit(&self) -> ResponseEdit {
        ResponseEdit::new(self.clone())
    }

    /// The octets.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0.bytes
    }
}

impl Deref for Request {
    type Target = Headers;

    fn deref(&self) -> &Headers {
        &self.0
    }
}

impl Deref for Response {
    type Target = Headers;

    fn deref(&self) -> &Headers {
        &self.0
    }
}

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {}, {} octets)", self.method(), self.uri_text(), self.0.bytes.len())
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({} {}, {} octets)", self.status(), self.reason(), self.0.bytes.len())
    }
}

impl Headers {
    pub(crate) fn text(&self, (from, to): Span) -> &str {
        std::str::from_utf8(&self.bytes[from as usize..to as usize]).map_or("", lexis::trim)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Name, NameAddr};

    const INVITE: &str = "INVITE tel:+1-555-123;phone-context=x SIP/2.0\r\n\
        v: SIP/2.0/UDP [2001:db8::1]:5070;branch=z9hG4bKa, SIP/2.0/TCP far.example;branch=z9hG4bKb\r\n\
        Max-Forwards: 70\r\n\
        f: \"Ann, A\" <sip:ann@home1.net>\r\n ; tag=a1\r\n\
        To: <tel:+1555123>\r\n\
        i: c1@ue\r\n\
        CSeq: 7   INVITE\r\n\
        X-Odd: caf\u{e9}\r\n\
        Route: <sip:a;lr>, <sip:b;lr>\r\n\
        Content-Length: 4\r\n\r\nbodyJUNK";

    fn request(text: &str) -> Request {
        match Message::parse_datagram(Bytes::copy_from_slice(text.as_bytes())).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => panic!("a request"),
        }
    }

    #[test]
    fn reads() {
        let r = request(INVITE);
        assert_eq!(r.method(), &Method::Invite);
        assert_eq!(r.uri().canonical(), "tel:+1555123");
        assert_eq!((r.from_tag(), r.to_tag()), (Some("a1"), None));
        assert_eq!((r.call_id(), r.cseq()), ("c1@ue", CSeq::new(7, Method::Invite)));
        assert_eq!(r.via().branch(), Some("z9hG4bKa"));
        assert_eq!(r.vias().count(), 2);
        assert_eq!(r.named("x-odd").unwrap(), "café");
        assert_eq!(r.body(), b"body");
        assert_eq!(r.from().display.as_deref(), Some("Ann, A"));
    }

    #[test]
    fn answers() {
        let response =
            request(INVITE).respond(Status::UNAUTHORIZED, "t9").header(Name::Server, "x\r\ny").finish();
        assert_eq!(response.status(), Status::UNAUTHORIZED);
        assert_eq!(response.to_tag(), Some("t9"));
        assert_eq!(response.from_tag(), Some("a1"));
        assert_eq!(response.vias().count(), 2);
        assert_eq!(response.get(Name::Server).unwrap(), "x  y");
        assert!(Message::parse_frame(response.as_bytes().clone()).is_ok());
    }

    #[test]
    fn edits_touch_nothing_else() {
        let original = request(INVITE);
        assert_eq!(original.edit().finish().as_bytes(), original.as_bytes());
        let mut edit = original.edit();
        edit.push_top(Name::Via, "SIP/2.0/UDP scscf;branch=z9hG4bKc");
        edit.replace(Name::MaxForwards, 69);
        edit.remove_top_value(Name::Route);
        edit.push_top(Name::RecordRoute, NameAddr::new(Uri::parse("sip:scscf;lr").unwrap()));
        edit.uri(&Uri::parse("sip:bob@ue2").unwrap());
        let edited = edit.finish();
        let want = INVITE
            .replace("tel:+1-555-123;phone-context=x", "sip:bob@ue2")
            .replace("v: ", "Via: SIP/2.0/UDP scscf;branch=z9hG4bKc\r\nv: ")
            .replace("Max-Forwards: 70", "Record-Route: <sip:scscf;lr>\r\nMax-Forwards: 69")
            .replace("<sip:a;lr>, ", "")
            .replace("JUNK", "");
        assert_eq!(std::str::from_utf8(edited.as_bytes()).unwrap(), want);
        assert_eq!(edited.uri_text(), "sip:bob@ue2");
    }

    #[test]
    fn where_it_came_from() {
        let edited = request(INVITE).received_from("192.0.2.9".parse().unwrap(), Some(5099));
        assert_eq!(edited.via().received(), Some("192.0.2.9".parse().unwrap()));
        assert_eq!(edited.via().rport(), Some(Some(5099)));
        assert_eq!(edited.vias().count(), 2);
    }
}
