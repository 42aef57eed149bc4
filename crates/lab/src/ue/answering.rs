//! How a UE answers calls and messages.

use super::{Call, Inner, locked};
use std::time::Duration;
use tokio::sync::mpsc;

/// How many calls wait to be taken from [`Calls`].
const WAITING: usize = 256;

/// How calls and messages are answered.
#[derive(Clone, Copy, Debug)]
pub struct Answering {
    /// How long it rings before what follows.
    pub ring: Duration,
    /// What follows.
    pub then: Then,
    /// Hangs up that long after the call is established.
    pub hang_up_after: Option<Duration>,
    /// Rings reliably where the caller can do that (RFC 3262).
    pub reliable: bool,
    /// Least session interval accepted, in seconds (RFC 4028).
    pub min_se: Option<u32>,
    /// Refreshes the session where the caller leaves that open.
    pub refresh: bool,
}

impl Default for Answering {
    fn default() -> Self {
        Self {
            ring: Duration::ZERO,
            then: Then::Answer,
            hang_up_after: None,
            reliable: false,
            min_se: None,
            refresh: false,
        }
    }
}

/// What follows the ringing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// 200 (OK).
    Answer,
    /// That status code.
    Reject(u16),
    /// Nothing: it rings until the caller gives up, or until the [`Call`] is answered or rejected.
    Wait,
}

/// The calls that come.
#[derive(Debug)]
pub struct Calls(mpsc::Receiver<Call>);

impl Calls {
    /// The next call; `None` once the UE answers in another way, or is gone.
    pub async fn next(&mut self) -> Option<Call> {
        self.0.recv().await
    }
}

#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) how: Answering,
    pub(super) calls: mpsc::Sender<Call>,
}

impl Inner {
    pub(super) fn answer_from_now_on(&self, how: Answering) -> Calls {
        let (calls, coming) = mpsc::channel(WAITING);
        *locked(&self.answering) = Some(Policy { how, calls });
        Calls(coming)
    }

    pub(super) fn policy(&self) -> Option<Policy> {
        locked(&self.answering).clone()
    }
}
