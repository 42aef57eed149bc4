//! RFC 3261 §8.1.1, §8.2.6 — new messages, written straight into octets.

use crate::{Headers, Method, Name, Request, Response, Status, Uri, headers::Line, parse};
use std::fmt::{self, Display, Write};

/// Writes a request. Headers stand in the order of the calls; Content-Length comes last.
pub struct Builder {
    raw: Raw,
    body: Option<Body>,
}

/// Writes a response. Headers stand in the order of the calls; Content-Length comes last.
pub struct ResponseBuilder {
    status: Status,
    reason: Option<Box<str>>,
    raw: Raw,
    body: Option<Body>,
}

#[derive(Clone)]
pub(crate) struct Body {
    pub(crate) content_type: Box<str>,
    pub(crate) octets: Vec<u8>,
}

impl Builder {
    pub(crate) fn new(method: &Method, uri: &Uri) -> Self {
        let mut raw = Raw(Vec::with_capacity(512));
        raw.text(format_args!("{method} {uri} SIP/2.0"));
        raw.end_line();
        Self { raw, body: None }
    }

    /// Adds a header line. Line breaks in the value become spaces.
    #[must_use]
    pub fn header(mut self, name: Name, value: impl Display) -> Self {
        self.raw.line(name.as_str(), value);
        self
    }

    /// Adds a header line by the text of its name.
    #[must_use]
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        self.raw.line(name, value);
        self
    }

    /// Sets the body; Content-Type is written with it.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.body = Some(Body { content_type: content_type.into(), octets: body.to_vec() });
        self
    }

    /// The request.
    pub fn finish(self) -> Request {
        Request(self.raw.finish(self.body.as_ref()).unwrap_or_else(|_| empty()))
    }
}

impl ResponseBuilder {
    // Names are an open list: what is not copied is left.
    #[allow(clippy::wildcard_enum_match_arm)]
    pub(crate) fn new(request: &Request, status: Status, to_tag: &str) -> Self {
        let mut raw = Raw(Vec::with_capacity(512));
        let headers: &Headers = request;
        for line in &headers.index.lines {
            let Some(name) = line.name else { continue };
            match name {
                Name::Via | Name::From | Name::CallId | Name::CSeq => raw.copy(headers, name, line),
                Name::Timestamp if status == Status::TRYING => raw.copy(headers, name, line),
                Name::To => {
                    raw.copy(headers, name, line);
                    if status != Status::TRYING && headers.to_tag().is_none() && !to_tag.is_empty() {
                        raw.extend_last(format_args!(";tag={to_tag}"));
                    }
                }
                _ => {}
            }
        }
        Self { status, reason: None, raw, body: None }
    }

    /// Adds a header line. Line breaks in the value become spaces.
    #[must_use]
    pub fn header(mut self, name: Name, value: impl Display) -> Self {
        self.raw.line(name.as_str(), value);
        self
    }

    /// Adds a header line by the text of its name.
    #[must_use]
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        self.raw.line(name, value);
        self
    }

    /// Replaces the reason phrase of the specifications.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Sets the body; Content-Type is written with it.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.body = Some(Body { content_type: content_type.into(), octets: body.to_vec() });
        self
    }

    /// The response.
    pub fn finish(self) -> Response {
        let mut raw = Raw::response(self.status, self.reason.as_deref().unwrap_or(self.status.reason()));
        raw.0.extend_from_slice(&self.raw.0);
        Response(raw.finish(self.body.as_ref()).unwrap_or_else(|_| empty()))
    }
}

/// What a builder gives back when its headers are beyond every limit: a message no peer would take either.
fn empty() -> Headers {
    let octets = b"OPTIONS sip:anonymous.invalid SIP/2.0\r\nContent-Length: 0\r\n\r\n".to_vec();
    parse::built(octets).unwrap_or_else(|_| unreachable!("a constant that parses"))
}

/// Octets of a start line and header lines.
#[derive(Default)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Raw {
    pub(crate) fn response(status: Status, reason: &str) -> Self {
        let mut raw = Self(Vec::with_capacity(1024));
        raw.text(format_args!("SIP/2.0 {status} {reason}"));
        raw.end_line();
        raw
    }

    fn end_line(&mut self) {
        self.0.extend_from_slice(b"\r\n");
    }

    fn text(&mut self, text: impl Display) {
        // A value whose Display fails leaves what it wrote so far.
        let _ = write!(OneLine(&mut self.0), "{text}");
    }

    pub(crate) fn line(&mut self, name: &str, value: impl Display) {
        self.text(name);
        self.0.extend_from_slice(b": ");
        self.text(value);
        self.end_line();
    }

    /// A line of octets as they came, foldings included.
    pub(crate) fn octets(&mut self, name: Name, value: &[u8]) {
        self.0.extend_from_slice(name.as_str().as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.end_line();
    }

    fn copy(&mut self, headers: &Headers, name: Name, line: &Line) {
        self.octets(name, headers.octets(line.value_span()));
    }

    /// Writes more at the end of the last line.
    pub(crate) fn extend_last(&mut self, more: fmt::Arguments<'_>) {
        self.0.truncate(self.0.len() - 2);
        self.text(more);
        self.end_line();
    }

    pub(crate) fn finish(mut self, body: Option<&Body>) -> Result<Headers, parse::Fault> {
        match body {
            Some(body) => {
                self.line("Content-Type", &body.content_type);
                self.line("Content-Length", body.octets.len());
                self.end_line();
                self.0.extend_from_slice(&body.octets);
            }
            None => self.0.extend_from_slice(b"Content-Length: 0\r\n\r\n"),
        }
        // A final response is kept for as long as its request may be retransmitted.
        self.0.shrink_to_fit();
        parse::built(self.0)
    }
}

/// Lets no value end its line: whoever writes a header writes one header.
struct OneLine<'a>(&'a mut Vec<u8>);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
            self.0.extend_from_slice(&rest[..at]);
            self.0.push(b' ');
            rest = &rest[at + 1..];
        }
        self.0.extend_from_slice(rest);
        Ok(())
    }
}
