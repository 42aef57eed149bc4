//! RFC 3261 §21.4.1 — what is wrong with octets that are no message, header or URI.

use crate::{Name, Response, Status};
use std::fmt;

/// Why octets are no SIP message, with the answer they deserve.
#[derive(Clone, thiserror::Error)]
#[error("{why}")]
pub struct ParseError {
    pub(crate) why: &'static str,
    pub(crate) status: Option<Status>,
    pub(crate) response: Option<Box<Response>>,
}

impl ParseError {
    /// The status to answer with; `None`: drop it without a word (a response, an ACK, nothing that could be answered).
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// The ready answer, made of what could be read; present exactly when [`Self::status`] is.
    pub fn response(&self) -> Option<Response> {
        self.response.as_deref().cloned()
    }

    /// The reason in words.
    pub fn why(&self) -> &str {
        self.why
    }
}

impl fmt::Debug for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParseError").field("why", &self.why).field("status", &self.status).finish()
    }
}

/// A header whose value is not what its grammar asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{header}: {why}", header = header.as_str())]
pub struct Malformed {
    /// Which header.
    pub header: Name,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Why a text is no URI, or no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UriError(pub &'static str);
