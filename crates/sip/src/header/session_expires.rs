//! RFC 4028 §4, §5 — Session-Expires and Min-SE.

use crate::{Headers, Malformed, Name, Params, UriError, lexis};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who refreshes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refresher {
    /// `uac`, who sent the request.
    Uac,
    /// `uas`, who answered it.
    Uas,
}

impl Refresher {
    /// As written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uac => "uac",
            Self::Uas => "uas",
        }
    }
}

/// A Session-Expires value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// The session interval, in seconds; more than fits counts as the most that fits.
    pub interval: u32,
    /// `refresher`
    pub refresher: Option<Refresher>,
    /// All other parameters, as received.
    pub params: Params,
}

impl SessionExpires {
    /// An interval in seconds, without parameters.
    pub fn new(interval: u32) -> Self {
        Self { interval, refresher: None, params: Params::default() }
    }

    /// The same with a refresher.
    #[must_use]
    pub fn refreshed_by(mut self, refresher: Refresher) -> Self {
        self.refresher = Some(refresher);
        self
    }

    /// Parses one value.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let (interval, mut params) = seconds_and_params(text)?;
        let refresher = match params.get("refresher") {
            None => None,
            Some(who) if who.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            Some(who) if who.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            Some(_) => return Err(UriError("the refresher is uac or uas")),
        };
        params.remove("refresher");
        Ok(Self { interval, refresher, params })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.interval)?;
        if let Some(refresher) = self.refresher {
            write!(f, ";refresher={}", refresher.as_str())?;
        }
        write!(f, "{}", self.params)
    }
}

impl Headers {
    /// Session-Expires.
    pub fn session_expires(&self) -> Result<Option<SessionExpires>, Malformed> {
        self.typed(Name::SessionExpires, SessionExpires::parse)
    }

    /// Min-SE, in seconds.
    pub fn min_se(&self) -> Result<Option<u32>, Malformed> {
        self.typed(Name::MinSe, |text| seconds_and_params(text).map(|(seconds, _)| seconds))
    }
}

fn seconds_and_params(text: &str) -> Result<(u32, Params), UriError> {
    let end = text.find(';').unwrap_or(text.len());
    let digits = lexis::trim(&text[..end]).as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(UriError("not a number of seconds"));
    }
    let seconds = lexis::decimal(digits).and_then(|seconds| u32::try_from(seconds).ok());
    Ok((seconds.unwrap_or(u32::MAX), Params::parse(&text[end..])?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Method, Request, Uri};

    #[test]
    fn reads_and_writes() {
        let value = SessionExpires::parse("1800 ; Refresher=UAC;x=1").unwrap();
        assert_eq!((value.interval, value.refresher), (1800, Some(Refresher::Uac)));
        assert_eq!(value.to_string(), "1800;refresher=uac;x=1");
        assert_eq!(SessionExpires::parse("90").unwrap(), SessionExpires::new(90));
        assert_eq!(SessionExpires::new(90).refreshed_by(Refresher::Uas).to_string(), "90;refresher=uas");
        assert_eq!(SessionExpires::parse("99999999999999999999999").unwrap().interval, u32::MAX);
    }

    #[test]
    fn refusals() {
        for text in ["", ";refresher=uac", "-1", "90s", "9 0", "90;refresher=proxy", "90;refresher", "90;;"] {
            assert!(SessionExpires::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn both_are_found_in_a_message() {
        let request = Request::build(Method::Update, &Uri::parse("sip:a").unwrap())
            .raw("x", "600")
            .header(Name::MinSe, "120;lr")
            .finish();
        assert_eq!(request.session_expires(), Ok(Some(SessionExpires::new(600))));
        assert_eq!(request.min_se(), Ok(Some(120)));
    }
}
