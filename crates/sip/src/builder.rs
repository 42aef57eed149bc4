//! RFC 3261 §8.1.1, §8.2.6 — new messages, written straight into octets.

use crate::{Headers, Method, Name, Request, Response, Status, Uri, raw::Raw};
use std::fmt::Display;

/// Writes a request. Headers stand in the order of the calls; Content-Length comes last.
pub struct Builder {
    raw: Raw,
    body: Option<Body>,
}

/// Writes a response. Headers stand in the order of the calls; Content-Length comes last.
pub struct ResponseBuilder {
    status: Status,
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
        let raw = Raw::starting(format_args!("{method} {uri} SIP/2.0"), 512);
        Self { raw, body: None }
    }

    /// Adds a header line. Line breaks in the value become spaces.
    #[must_use]
    pub fn header(mut self, name: Name, value: impl Display) -> Self {
        self.raw.line(name, value);
        self
    }

    /// Adds a header line by the text of its name.
    #[must_use]
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        self.raw.line_named(name, value);
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
    pub(crate) fn new(request: &Request, status: Status, to_tag: &str) -> Self {
        let headers: &Headers = request;
        let copied = |name| {
            matches!(name, Name::Via | Name::From | Name::CallId | Name::CSeq | Name::To)
                || name == Name::Timestamp && status == Status::TRYING
        };
        let lines =
            headers.index.lines.iter().filter_map(|line| Some((line.name.filter(|&n| copied(n))?, line)));
        let length: usize =
            lines.clone().map(|(name, line)| name.as_str().len() + usize::from(line.len)).sum();
        let mut raw = Raw::response(status, status.reason(), length + 256);
        for (name, line) in lines {
            raw.octets(name, headers.octets(line.value_span()));
            let untagged = name == Name::To && status != Status::TRYING && headers.to_tag().is_none();
            if untagged && !to_tag.is_empty() {
                raw.extend_last(format_args!(";tag={to_tag}"));
            }
        }
        Self { status, raw, body: None }
    }

    /// Adds a header line. Line breaks in the value become spaces.
    #[must_use]
    pub fn header(mut self, name: Name, value: impl Display) -> Self {
        self.raw.line(name, value);
        self
    }

    /// Adds a header line by the text of its name.
    #[must_use]
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        self.raw.line_named(name, value);
        self
    }

    /// Replaces the reason phrase of the specifications.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        self.raw.restart(format_args!("SIP/2.0 {} {reason}", self.status));
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
        Response(self.raw.finish(self.body.as_ref()).unwrap_or_else(|_| empty()))
    }
}

/// What a builder gives back when its headers are beyond every limit: a message no peer would take either.
fn empty() -> Headers {
    let raw = Raw::starting("OPTIONS sip:anonymous.invalid SIP/2.0", 0);
    raw.finish(None).unwrap_or_else(|_| unreachable!("a constant that parses"))
}
