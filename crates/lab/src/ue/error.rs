//! Why a UE did not get what it wanted.

use super::{call::State, message::Incoming};
use crate::wire::phrase;

/// Why a UE did not get what it wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address of the proxy is none, or cannot be resolved.
    #[error("the proxy '{0}' cannot be resolved")]
    Proxy(String),
    /// A socket cannot be had.
    #[error("no socket: {0}")]
    Socket(String),
    /// No final response before Timer F.
    #[error("no answer")]
    NoAnswer,
    /// A final response that is none of success.
    #[error("refused: {status} {reason}")]
    Refused {
        /// Status code.
        status: u16,
        /// Reason phrase, and the Warning if there was one.
        reason: String,
    },
    /// The challenge is none that a USIM can answer.
    #[error("the challenge cannot be answered: {0}")]
    Challenge(&'static str),
    /// The challenge did not come from the home network, twice.
    #[error("the network could not authenticate itself")]
    NotAuthentic,
    /// Challenged again and again.
    #[error("gave up after several challenges")]
    GaveUp,
    /// The request could not be sent.
    #[error("not sent: {0}")]
    Unreachable(String),
    /// There is no such subscription (any more).
    #[error("no such subscription")]
    NoSubscription,
    /// The call is not in a state for that.
    #[error("the call is {0}")]
    NotNow(State),
    /// The UE was stopped.
    #[error("stopped")]
    Stopped,
    /// What had been set out to do did not happen.
    #[error("{0}")]
    Missed(&'static str),
}

impl Error {
    /// A final response of which the status code is known.
    pub(super) fn refused_with(status: u16) -> Self {
        Self::Refused { status, reason: phrase(status).to_owned() }
    }

    pub(super) fn refused(response: &Incoming) -> Self {
        let mut reason = response.line().splitn(3, ' ').nth(2).unwrap_or_default().to_owned();
        let warning = response.value("Warning");
        if !warning.is_empty() {
            reason = format!("{reason} ({warning})");
        }
        Self::Refused { status: response.status().unwrap_or(0), reason }
    }
}
