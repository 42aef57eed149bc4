//! RFC 3261 §17.2.2 — non-INVITE server transaction, with RFC 4320.

use super::Gone;
use super::step::{Fate, Step};
use super::timers::Timer;
use crate::{Request, Response, Status};
use bytes::Bytes;

pub(super) enum ServerNonInvite {
    Trying {
        request: Request,
    },
    /// The 100 of RFC 4320 is out.
    Proceeding {
        request: Request,
        response: Bytes,
    },
    /// Without a response it ends in silence (RFC 4320 §4.2).
    Completed {
        response: Option<Bytes>,
    },
}

impl ServerNonInvite {
    pub(super) fn start(request: Request, step: &mut Step<'_>) -> Self {
        step.start(Timer::Trying, step.timers.patience());
        Self::Trying { request }
    }

    pub(super) fn is_unanswered(&self) -> bool {
        !matches!(self, Self::Completed { .. })
    }

    pub(super) fn retransmitted(&self, step: &mut Step<'_>) {
        match self {
            Self::Trying { .. } | Self::Completed { response: None } => {}
            Self::Proceeding { response, .. } | Self::Completed { response: Some(response) } => {
                step.transmit(response);
            }
        }
    }

    /// A provisional response of the user goes nowhere: RFC 4320 §4.1 leaves only the 100 that the table itself sends. Nor
    /// does a 408: the client has timed out by itself, and only the elements between would hear of it (RFC 4320 §4.2).
    pub(super) fn respond(&mut self, response: &Response, step: &mut Step<'_>) -> Result<Fate, Gone> {
        if !self.is_unanswered() {
            return Err(Gone);
        }
        if response.status().is_provisional() {
            return Ok(Fate::Lives);
        }
        Ok(self.complete(response, step))
    }

    fn complete(&mut self, response: &Response, step: &mut Step<'_>) -> Fate {
        let response = (response.status() != Status::REQUEST_TIMEOUT).then(|| response.as_bytes().clone());
        if let Some(response) = &response {
            step.transmit(response);
        }
        *self = Self::Completed { response };
        step.linger(Timer::J, step.timers.life())
    }

    pub(super) fn fired(&mut self, timer: Timer, to_tag: &str, step: &mut Step<'_>) -> Fate {
        match (timer, &*self) {
            (Timer::Trying, Self::Trying { request }) => {
                let response = request.respond(Status::TRYING, "").finish().as_bytes().clone();
                step.transmit(&response);
                *self = Self::Proceeding { request: request.clone(), response };
                step.start(Timer::Abandon, step.timers.abandon_after_patience());
                Fate::Lives
            }
            (Timer::Abandon, Self::Trying { request } | Self::Proceeding { request, .. }) => {
                step.stats.abandoned += 1;
                let response = request.respond(Status::SERVER_INTERNAL_ERROR, to_tag).finish();
                self.complete(&response, step)
            }
            (Timer::J, Self::Completed { .. }) => Fate::Ends,
            _ => Fate::Lives,
        }
    }
}
