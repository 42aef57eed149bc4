//! The only error of the core: a refusal that names its clause and its reason.

use crate::Span;
use sip::Status;
use std::borrow::Cow;

/// Why a request is refused. One place turns it into a response: `Rejection::response`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{} {why} ({clause})", .status.code())]
pub struct Rejection {
    /// The SIP status.
    pub status: Status,
    /// The clause that demands it, as `TS 24.229 §5.4.1.2.3`.
    pub clause: &'static str,
    /// The reason, for operators and the Warning header. Holds no secret.
    pub why: Cow<'static, str>,
    /// What the answer must carry beside the status.
    pub remedy: Remedy,
}

/// A header that tells the sender what would be accepted.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Remedy {
    /// None.
    #[default]
    None,
    /// Min-Expires, in seconds.
    MinExpires(u32),
    /// Min-SE, in seconds.
    MinSe(u32),
    /// Retry-After.
    RetryAfter(Span),
    /// Allow-Events.
    AllowEvents(&'static str),
    /// Unsupported: the option tags not understood.
    Unsupported(Box<str>),
    /// Accept: the body type offered.
    Accept(&'static str),
    /// Allow: the methods served.
    Allow(&'static str),
    /// A session description of what is allowed.
    SessionDescription(Box<str>),
}

impl Rejection {
    /// A refusal with `status` under `clause`.
    pub fn new(status: Status, clause: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self { status, clause, why: why.into(), remedy: Remedy::None }
    }

    /// The same refusal with a remedy.
    #[must_use]
    pub fn with(self, remedy: Remedy) -> Self {
        Self { remedy, ..self }
    }

    /// The response to `request`, with a Warning (399) that says why, and the remedy.
    pub fn response(&self, request: &sip::Request, to_tag: &str, agent: &str) -> sip::Response {
        let quoted: String =
            self.why.chars().filter(|c| !c.is_control() && *c != '"' && *c != '\\').collect();
        let mut answer = request.respond(self.status, to_tag);
        answer = match &self.remedy {
            Remedy::None => answer,
            Remedy::MinExpires(seconds) => answer.header(sip::Name::MinExpires, seconds),
            Remedy::MinSe(seconds) => answer.header(sip::Name::MinSe, seconds),
            Remedy::RetryAfter(span) => answer.header(sip::Name::RetryAfter, span.as_seconds().max(1)),
            Remedy::AllowEvents(events) => answer.header(sip::Name::AllowEvents, events),
            Remedy::Unsupported(tags) => answer.header(sip::Name::Unsupported, tags),
            Remedy::Accept(kind) => answer.header(sip::Name::Accept, kind),
            Remedy::Allow(methods) => answer.header(sip::Name::Allow, methods),
            Remedy::SessionDescription(text) => answer.body("application/sdp", text.as_bytes()),
        };
        answer.header(sip::Name::Warning, format_args!("399 {agent} \"{quoted} ({})\"", self.clause)).finish()
    }
}
