//! RFC 3261 §17.1.2 — non-INVITE client transaction.

use super::step::{Fate, Step};
use super::timers::Timer;
use super::{ClientId, Output};
use crate::Response;
use bytes::Bytes;

pub(super) enum ClientNonInvite {
    Trying { request: Bytes, interval: u64 },
    Proceeding { request: Bytes },
    Completed,
}

impl ClientNonInvite {
    pub(super) fn start(request: Bytes, step: &mut Step<'_>) -> Self {
        step.transmit(&request);
        let interval = step.timers.t1;
        if !step.is_reliable() {
            step.start(Timer::E, interval);
        }
        step.start(Timer::F, step.timers.life());
        Self::Trying { request, interval }
    }

    pub(super) fn is_unanswered(&self) -> bool {
        !matches!(self, Self::Completed)
    }

    pub(super) fn received(&mut self, id: ClientId, response: Response, step: &mut Step<'_>) -> Fate {
        let fate = match self {
            Self::Completed => return Fate::Lives,
            Self::Trying { request, .. } if response.status().is_provisional() => {
                *self = Self::Proceeding { request: std::mem::take(request) };
                Fate::Lives
            }
            Self::Proceeding { .. } if response.status().is_provisional() => Fate::Lives,
            Self::Trying { .. } | Self::Proceeding { .. } => {
                *self = Self::Completed;
                step.linger(Timer::K, step.timers.t4)
            }
        };
        step.out.push(Output::Response { id, response });
        fate
    }

    pub(super) fn fired(&mut self, id: ClientId, timer: Timer, step: &mut Step<'_>) -> Fate {
        match (timer, self) {
            (Timer::E, Self::Trying { request, interval }) => {
                step.retransmit(request);
                *interval = interval.saturating_mul(2).min(step.timers.t2);
                step.start(Timer::E, *interval);
                Fate::Lives
            }
            (Timer::E, Self::Proceeding { request }) => {
                step.retransmit(request);
                step.start(Timer::E, step.timers.t2);
                Fate::Lives
            }
            (Timer::F, Self::Trying { .. } | Self::Proceeding { .. }) => {
                step.stats.timed_out += 1;
                step.out.push(Output::TimedOut { id });
                Fate::Ends
            }
            (Timer::K, Self::Completed) => Fate::Ends,
            _ => Fate::Lives,
        }
    }
}
