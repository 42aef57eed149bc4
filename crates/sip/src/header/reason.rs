//! RFC 3326 §2 — Reason.

use crate::{Headers, Malformed, Name, Params, UriError, headers::malformed, lexis};
use std::fmt;

/// A Reason value: why a request is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Whose cause it is: `SIP`, `Q.850` or another protocol.
    pub protocol: Box<str>,
    /// `cause`: for SIP a status code.
    pub cause: Option<u16>,
    /// `text`, for people.
    pub text: Option<Box<str>>,
    /// All other parameters, as received.
    pub params: Params,
}

impl Reason {
    /// A cause of SIP: a status code.
    pub fn sip(cause: crate::Status) -> Self {
        Self { protocol: "SIP".into(), cause: Some(cause.code()), text: None, params: Params::default() }
    }

    /// The same with a text.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Parses one value.
    pub fn parse(value: &str) -> Result<Self, UriError> {
        let end = value.find(';').unwrap_or(value.len());
        let protocol = lexis::trim(&value[..end]);
        if !lexis::is_token(protocol.as_bytes()) {
            return Err(UriError("a reason begins with a protocol"));
        }
        let mut params = Params::parse(&value[end..])?;
        let cause = match params.get("cause") {
            None => None,
            Some(cause) => Some(
                lexis::decimal(cause.as_bytes())
                    .and_then(|cause| u16::try_from(cause).ok())
                    .ok_or(UriError("the cause of a reason is a number"))?,
            ),
        };
        let text = params.get("text").map(|text| lexis::unescape(text).into());
        params.remove("cause");
        params.remove("text");
        Ok(Self { protocol: protocol.into(), cause, text, params })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.protocol)?;
        if let Some(cause) = self.cause {
            write!(f, ";cause={cause}")?;
        }
        if let Some(text) = &self.text {
            f.write_str(";text=")?;
            lexis::write_quoted(f, text)?;
        }
        write!(f, "{}", self.params)
    }
}

impl Headers {
    /// The values of Reason; there is at most one for each protocol.
    pub fn reasons(&self) -> Result<Vec<Reason>, Malformed> {
        self.values(Name::Reason)
            .map(|value| Reason::parse(&value).map_err(|error| malformed(Name::Reason, error)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Method, Request, Status, Uri};

    #[test]
    fn reads_and_writes() {
        for text in [
            "SIP;cause=200;text=\"Call completed elsewhere\"",
            "Q.850;cause=16;text=\"Terminated, \\\"really\\\"\"",
            "preemption;x=1",
            "RELEASE_CAUSE;cause=1;text=\"\"",
        ] {
            assert_eq!(Reason::parse(text).unwrap().to_string(), text);
        }
        let reason = Reason::parse("q.850 ; Text = \"a \\\\ b\" ; CAUSE=16").unwrap();
        assert_eq!((&*reason.protocol, reason.cause), ("q.850", Some(16)));
        assert_eq!(reason.text.as_deref(), Some("a \\ b"));
        let made = Reason::sip(Status::TEMPORARILY_UNAVAILABLE).with_text("say \"no\"");
        assert_eq!(made.to_string(), "SIP;cause=480;text=\"say \\\"no\\\"\"");
        assert_eq!(Reason::parse(&made.to_string()).unwrap(), made);
    }

    #[test]
    fn refusals() {
        for text in ["", ";cause=1", "SIP;cause=x", "SIP;cause=", "SIP;cause=70000", "S IP", "SIP;text=\"a"] {
            assert!(Reason::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_message_has_several() {
        let bye = Request::build(Method::Bye, &Uri::parse("sip:a").unwrap())
            .header(Name::Reason, "SIP;cause=480;text=\"a, b\", Q.850;cause=19")
            .header(Name::Reason, "preemption")
            .finish();
        let causes: Vec<_> = bye.reasons().unwrap().into_iter().map(|reason| reason.cause).collect();
        assert_eq!(causes, [Some(480), Some(19), None]);
        let bad = Request::build(Method::Bye, &Uri::parse("sip:a").unwrap())
            .header(Name::Reason, "SIP;cause=a")
            .finish();
        assert_eq!(bad.reasons().unwrap_err().header, Name::Reason);
    }
}
