//! RFC 3261 §17.2.1 — INVITE server transaction, with the Accepted state of RFC 6026 §7.1.

use super::Gone;
use super::step::{Fate, Step};
use super::timers::{Tick, Timer};
use crate::{Request, Response, Status};
use bytes::Bytes;
use smallvec::SmallVec;

/// 2xx of different To tags that are kept; a call with more answers than that is repeated by its user alone.
const KEPT: usize = 8;

pub(super) enum ServerInvite {
    /// The user owes the final response, at the latest at `patience`.
    Proceeding { request: Request, response: Option<Bytes>, patience: Tick },
    /// Refused; the ACK is awaited.
    Completed { response: Bytes, interval: u64 },
    /// Refused and acknowledged.
    Confirmed,
    /// Accepted; further 2xx pass, further INVITEs are absorbed. One response for each To tag.
    Accepted { responses: SmallVec<[Accepted; 1]> },
}

pub(super) struct Accepted {
    to_tag: Option<Box<str>>,
    response: Bytes,
}

impl ServerInvite {
    pub(super) fn start(request: Request, step: &mut Step<'_>) -> Self {
        let patience = step.now.after(step.timers.abandon_ringing_after);
        step.start(Timer::Abandon, step.timers.abandon_ringing_after);
        let mut response = None;
        if step.timers.trying_after == 0 {
            response = Some(trying(&request, step));
        } else {
            step.start(Timer::Trying, step.timers.trying_after);
        }
        Self::Proceeding { request, response, patience }
    }

    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self, Self::Proceeding { .. })
    }

    pub(super) fn retransmitted(&self, step: &mut Step<'_>) {
        match self {
            Self::Proceeding { response: Some(response), .. } | Self::Completed { response, .. } => {
                step.transmit(response);
            }
            Self::Proceeding { response: None, .. } | Self::Confirmed | Self::Accepted { .. } => {}
        }
    }

    /// An ACK with the branch of the INVITE. `true`: it is the user's (RFC 6026 §7.1).
    pub(super) fn acknowledged(&mut self, step: &mut Step<'_>) -> (bool, Fate) {
        match self {
            Self::Completed { .. } => {
                *self = Self::Confirmed;
                (false, step.linger(Timer::I, step.timers.t4))
            }
            Self::Accepted { .. } => (true, Fate::Lives),
            Self::Proceeding { .. } | Self::Confirmed => (false, Fate::Lives),
        }
    }

    pub(super) fn respond(&mut self, answer: &Response, step: &mut Step<'_>) -> Result<Fate, Gone> {
        let status = answer.status();
        match self {
            Self::Proceeding { response, patience, .. } if status.is_provisional() => {
                let bytes = answer.as_bytes().clone();
                step.transmit(&bytes);
                *response = Some(bytes);
                *patience = step.now.after(step.timers.abandon_ringing_after);
                Ok(Fate::Lives)
            }
            Self::Proceeding { .. } if status.is_success() => {
                step.transmit(answer.as_bytes());
                let mut responses = SmallVec::new();
                keep(&mut responses, answer);
                *self = Self::Accepted { responses };
                step.start(Timer::L, step.timers.life());
                Ok(Fate::Lives)
            }
            Self::Proceeding { .. } => {
                self.complete(answer, step);
                Ok(Fate::Lives)
            }
            Self::Accepted { responses } if status.is_success() => {
                step.transmit(answer.as_bytes());
                keep(responses, answer);
                Ok(Fate::Lives)
            }
            Self::Completed { .. } | Self::Confirmed | Self::Accepted { .. } => Err(Gone),
        }
    }

    pub(super) fn again(&self, repeated: &Response, step: &mut Step<'_>) -> Result<(), Gone> {
        let Self::Accepted { responses } = self else { return Err(Gone) };
        let sent = responses.iter().find(|sent| sent.to_tag.as_deref() == repeated.to_tag()).ok_or(Gone)?;
        step.retransmit(&sent.response);
        Ok(())
    }

    fn complete(&mut self, answer: &Response, step: &mut Step<'_>) {
        let response = answer.as_bytes().clone();
        step.transmit(&response);
        let interval = step.timers.t1;
        if !step.is_reliable() {
            step.start(Timer::G, interval);
        }
        step.start(Timer::H, step.timers.life());
        *self = Self::Completed { response, interval };
    }

    pub(super) fn fired(&mut self, timer: Timer, to_tag: &str, step: &mut Step<'_>) -> Fate {
        match (timer, &mut *self) {
            (Timer::Trying, Self::Proceeding { request, response: response @ None, .. }) => {
                *response = Some(trying(request, step));
                Fate::Lives
            }
            (Timer::Abandon, Self::Proceeding { request, patience, .. }) => {
                if step.now < *patience {
                    step.start(Timer::Abandon, patience.0 - step.now.0);
                } else {
                    step.stats.abandoned += 1;
                    let answer = request.respond(Status::SERVER_INTERNAL_ERROR, to_tag).finish();
                    self.complete(&answer, step);
                }
                Fate::Lives
            }
            (Timer::G, Self::Completed { response, interval }) => {
                step.retransmit(response);
                *interval = interval.saturating_mul(2).min(step.timers.t2);
                step.start(Timer::G, *interval);
                Fate::Lives
            }
            (Timer::H, Self::Completed { .. })
            | (Timer::I, Self::Confirmed)
            | (Timer::L, Self::Accepted { .. }) => Fate::Ends,
            _ => Fate::Lives,
        }
    }
}

fn keep(responses: &mut SmallVec<[Accepted; 1]>, answer: &Response) {
    let (to_tag, response) = (answer.to_tag(), answer.as_bytes().clone());
    if let Some(sent) = responses.iter_mut().find(|sent| sent.to_tag.as_deref() == to_tag) {
        sent.response = response;
    } else if responses.len() < KEPT {
        responses.push(Accepted { to_tag: to_tag.map(Into::into), response });
    }
}

fn trying(request: &Request, step: &mut Step<'_>) -> Bytes {
    let bytes = request.respond(Status::TRYING, "").finish().as_bytes().clone();
    step.transmit(&bytes);
    bytes
}
