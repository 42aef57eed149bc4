//! RFC 3261 §17.1.1 — INVITE client transaction, with the Accepted state of RFC 6026 §7.2.

use super::step::{Fate, Step};
use super::timers::{Tick, Timer};
use super::{ClientId, Output};
use crate::{Method, Name, Request, Response};
use bytes::Bytes;

pub(super) struct ClientInvite {
    state: State,
    /// A CANCEL the user asked for before there was a provisional response (RFC 3261 §9.1).
    wanted_cancel: Option<WantedCancel>,
}

pub(super) struct WantedCancel {
    pub(super) id: ClientId,
    pub(super) reason: Option<Box<str>>,
}

enum State {
    Calling {
        request: Request,
        interval: u64,
    },
    /// Ends at `patience` if nothing more is heard.
    Proceeding {
        request: Request,
        patience: Tick,
        cancelled: bool,
    },
    Completed {
        ack: Bytes,
    },
    Accepted,
}

impl ClientInvite {
    pub(super) fn start(request: Request, step: &mut Step<'_>) -> Self {
        step.transmit(request.as_bytes());
        let interval = step.timers.t1;
        if !step.is_reliable() {
            step.start(Timer::A, interval);
        }
        step.start(Timer::B, step.timers.life());
        Self { state: State::Calling { request, interval }, wanted_cancel: None }
    }

    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Calling { .. } | State::Proceeding { .. })
    }

    pub(super) fn received(&mut self, id: ClientId, response: Response, step: &mut Step<'_>) -> Fate {
        let status = response.status();
        let fate = match &mut self.state {
            State::Calling { request, .. } if status.is_provisional() => {
                let patience = step.now.after(step.timers.silent_after);
                self.state = State::Proceeding { request: request.clone(), patience, cancelled: false };
                step.start(Timer::Silence, step.timers.silent_after);
                Fate::Lives
            }
            State::Proceeding { patience, cancelled, .. } if status.is_provisional() => {
                // RFC 3261 §9.1: a cancelled INVITE has its time, whatever provisional responses still come.
                if !*cancelled {
                    *patience = step.now.after(step.timers.silent_after);
                }
                Fate::Lives
            }
            State::Calling { .. } | State::Proceeding { .. } if status.is_success() => {
                self.state = State::Accepted;
                step.start(Timer::M, step.timers.life());
                Fate::Lives
            }
            State::Calling { request, .. } | State::Proceeding { request, .. } => {
                let ack = acknowledge(request, &response);
                step.transmit(&ack);
                self.state = State::Completed { ack };
                step.linger(Timer::D, step.timers.life())
            }
            State::Accepted if status.is_success() => Fate::Lives,
            State::Completed { ack } => {
                if status.is_final() && !status.is_success() {
                    step.transmit(ack);
                }
                return Fate::Lives;
            }
            State::Accepted => return Fate::Lives,
        };
        step.out.push(Output::Response { id, response });
        fate
    }

    pub(super) fn fired(&mut self, id: ClientId, timer: Timer, step: &mut Step<'_>) -> Fate {
        match (timer, &mut self.state) {
            (Timer::A, State::Calling { request, interval }) => {
                step.retransmit(request.as_bytes());
                *interval = interval.saturating_mul(2);
                step.start(Timer::A, *interval);
                Fate::Lives
            }
            (Timer::Silence, State::Proceeding { patience, .. }) if step.now < *patience => {
                step.start(Timer::Silence, patience.0 - step.now.0);
                Fate::Lives
            }
            (Timer::B, State::Calling { .. }) | (Timer::Silence, State::Proceeding { .. }) => {
                step.stats.timed_out += 1;
                step.out.push(Output::TimedOut { id });
                Fate::Ends
            }
            (Timer::D, State::Completed { .. }) | (Timer::M, State::Accepted) => Fate::Ends,
            _ => Fate::Lives,
        }
    }

    /// RFC 3261 §9.1: the CANCEL to send now; before a provisional response it is remembered, after a final one there is
    /// nothing to cancel.
    pub(super) fn cancel(
        &mut self,
        id: ClientId,
        reason: Option<&str>,
        step: &mut Step<'_>,
    ) -> Option<Request> {
        match &mut self.state {
            State::Calling { .. } => {
                self.wanted_cancel = Some(WantedCancel { id, reason: reason.map(Into::into) });
                None
            }
            State::Proceeding { cancelled: true, .. } => None,
            State::Proceeding { request, patience, cancelled } => {
                *cancelled = true;
                let length = step.timers.life();
                *patience = step.now.after(length);
                step.start(Timer::Silence, length);
                Some(cancellation(request, reason))
            }
            State::Completed { .. } | State::Accepted => None,
        }
    }

    /// The CANCEL that had to wait for a provisional response, once that is there.
    pub(super) fn due_cancel(&mut self) -> Option<WantedCancel> {
        if matches!(self.state, State::Calling { .. }) { None } else { self.wanted_cancel.take() }
    }
}

/// RFC 3261 §17.1.1.3: the ACK to a final response that is no 2xx.
fn acknowledge(request: &Request, response: &Response) -> Bytes {
    hop(request, Method::Ack, &response.get(Name::To).unwrap_or_default(), None).as_bytes().clone()
}

/// RFC 3261 §9.1: the CANCEL of a request.
fn cancellation(request: &Request, reason: Option<&str>) -> Request {
    hop(request, Method::Cancel, &request.get(Name::To).unwrap_or_default(), reason)
}

fn hop(request: &Request, method: Method, to: &str, reason: Option<&str>) -> Request {
    let cseq = request.cseq_for(method.clone());
    let mut builder = Request::build(method, request.uri())
        .header(Name::Via, request.values(Name::Via).next().unwrap_or_default())
        .header(Name::MaxForwards, 70);
    for route in request.lines(Name::Route) {
        builder = builder.header(Name::Route, route);
    }
    if let Some(reason) = reason {
        builder = builder.header(Name::Reason, reason);
    }
    builder
        .header(Name::From, request.get(Name::From).unwrap_or_default())
        .header(Name::To, to)
        .header(Name::CallId, request.call_id())
        .header(Name::CSeq, cseq)
        .finish()
}
