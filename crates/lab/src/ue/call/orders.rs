//! RFC 3261 §12.2.1, §14.1, §15.1.1, RFC 3311 §5, RFC 4028 §7 — requests of this side within a call, and what comes of them.

use super::{
    super::{
        Error,
        message::{Draft, Incoming},
    },
    CallEvent, End, State,
    caller::ACCESS,
    leg::{Due, Leg, Order, Purpose, Role, Wish},
    session_timer::SessionTimer,
};
use crate::wire::Heard;
use rsip::Method;
use std::time::Duration;
use tokio::sync::oneshot;

type Done = oneshot::Sender<Result<u16, Error>>;

impl Leg {
    pub(super) fn ordered(&mut self, Order { wish, done }: Order) {
        let state = self.state();
        match wish {
            Wish::Answer if self.is_asked() => {
                self.pick_up();
                let _ = done.send(Ok(200));
            }
            Wish::Reject(status) if self.is_asked() => {
                self.refuse(status, |reply| reply);
                let _ = done.send(Ok(status));
            }
            Wish::Cancel => self.cancel_ordered(None, done),
            Wish::HangUp(reason) => match (state, &self.role) {
                (State::Setup | State::Ringing, Role::Caller(_)) => self.cancel_ordered(reason, done),
                (State::Setup | State::Ringing, Role::Callee(_)) => {
                    self.refuse(480, |reply| reply);
                    let _ = done.send(Ok(480));
                }
                (State::Answered, _) => {
                    self.bye_wanted = Some(reason);
                    self.waiting.insert(Purpose::Bye, done);
                }
                (State::Established, _) => {
                    self.waiting.insert(Purpose::Bye, done);
                    self.bye(reason);
                }
                (State::Ended, _) => refuse(done, state),
            },
            Wish::Reinvite if self.is_free(Purpose::Reinvite) => {
                self.waiting.insert(Purpose::Reinvite, done);
                self.reinvite();
            }
            Wish::Update if self.is_free(Purpose::Update) => {
                self.waiting.insert(Purpose::Update, done);
                let offer = self.session.offer();
                self.update(Some(offer));
            }
            Wish::Info(body) if self.is_free(Purpose::Info) => {
                self.waiting.insert(Purpose::Info, done);
                let info = self.dialog.next(Method::Info).body("text/plain", body);
                self.send(Purpose::Info, &info);
            }
            Wish::Answer | Wish::Reject(_) | Wish::Reinvite | Wish::Update | Wish::Info(_) => {
                refuse(done, state);
            }
        }
    }

    fn is_free(&self, purpose: Purpose) -> bool {
        self.state() == State::Established && !self.outstanding.contains(&purpose)
    }

    fn cancel_ordered(&mut self, reason: Option<String>, done: Done) {
        let state = self.state();
        match &mut self.role {
            Role::Caller(inviting)
                if matches!(state, State::Setup | State::Ringing) && !inviting.cancelled =>
            {
                inviting.given_up = Some(done);
                self.give_up(reason);
            }
            Role::Caller(_) | Role::Callee(_) => refuse(done, state),
        }
    }

    /// Sends BYE, once.
    pub(super) fn bye(&mut self, reason: Option<String>) {
        if self.is_over() || self.outstanding.contains(&Purpose::Bye) {
            return;
        }
        let mut bye = self.dialog.next(Method::Bye).header("P-Access-Network-Info", ACCESS);
        if let Some(reason) = reason {
            bye = bye.header("Reason", reason);
        }
        self.send(Purpose::Bye, &bye);
    }

    /// Sends a re-INVITE with a new offer.
    pub(super) fn reinvite(&mut self) {
        let offer = self.session.offer();
        let draft = self.dialog.next(Method::Invite);
        let draft = self.refreshing(draft).describing(Some(offer));
        self.send(Purpose::Reinvite, &draft);
    }

    fn update(&mut self, offer: Option<String>) {
        let draft = self.dialog.next(Method::Update);
        let draft = self.refreshing(draft).describing(offer);
        self.send(Purpose::Update, &draft);
    }

    /// Refreshes the session, in the way that the far side can take.
    pub(super) fn refresh(&mut self) {
        if self.outstanding.contains(&Purpose::Update) || self.outstanding.contains(&Purpose::Reinvite) {
            return;
        }
        if self.updates { self.update(None) } else { self.reinvite() }
    }

    fn refreshing(&self, draft: Draft) -> Draft {
        let draft = draft
            .header("Contact", format!("<{}>", self.ue.contact()))
            .header("Supported", "timer")
            .header("P-Access-Network-Info", ACCESS);
        match self.timer {
            Some(timer) => draft.header("Session-Expires", timer.offer()),
            None => draft,
        }
    }

    /// What came of a request of this side.
    pub(super) fn heard(&mut self, purpose: Purpose, branch: String, heard: Heard) {
        if purpose == Purpose::Invite {
            if !matches!(heard, Heard::Provisional(_)) {
                self.outstanding.remove(&purpose);
            }
            return self.invite_heard(&branch, heard);
        }
        match heard {
            Heard::Provisional(_) => {}
            Heard::Final(text) => self.read(&text, |leg, response| leg.concluded(purpose, branch, response)),
            Heard::Timeout | Heard::Unreachable(_) => {
                self.outstanding.remove(&purpose);
                self.done(purpose, 0);
                self.resolve(purpose, Err(Error::NoAnswer));
                self.settle(purpose, 0);
            }
        }
    }

    fn done(&self, purpose: Purpose, status: u16) {
        let method = match purpose {
            Purpose::Invite | Purpose::Reinvite => "INVITE",
            Purpose::Prack => "PRACK",
            Purpose::Bye | Purpose::Surplus => "BYE",
            Purpose::Update => "UPDATE",
            Purpose::Info => "INFO",
        };
        self.note(CallEvent::Done { method: method.to_owned(), status });
    }

    fn concluded(&mut self, purpose: Purpose, branch: String, response: &Incoming) {
        let status = response.status().unwrap_or(0);
        let success = status / 100 == 2;
        if success && purpose == Purpose::Reinvite {
            let name = (branch, response.tag("To"));
            if let Some(ack) = self.acks.get(&name) {
                return self.ue.wire.pass(ack.clone(), self.ue.target());
            }
            self.dialog.refresh_target(response);
            let ack = self.ue.acknowledge(&self.dialog.ack(response.cseq()));
            // Only the ACK of the latest INVITE may still be missing.
            self.acks.retain(|_, _| false);
            self.acks.insert(name, ack);
        }
        self.outstanding.remove(&purpose);
        if status == 491 && purpose == Purpose::Reinvite && !self.retried {
            self.retried = true;
            let wait = match self.role {
                Role::Caller(_) => 2_100 + rand::random::<u64>() % 1_900,
                Role::Callee(_) => rand::random::<u64>() % 2_000,
            };
            return self.later(Duration::from_millis(wait), Due::Retry);
        }
        self.done(purpose, status);
        if success && matches!(purpose, Purpose::Reinvite | Purpose::Update) {
            self.retried = false;
            self.dialog.refresh_target(response);
            self.time(SessionTimer::of_response(response));
        }
        if status == 422 && self.lengthened(response) {
            self.refresh();
        }
        self.resolve(purpose, Ok(status));
        self.settle(purpose, status);
    }

    /// Whether a longer interval than the one refused was named, and taken.
    fn lengthened(&mut self, response: &Incoming) -> bool {
        let Ok(least) = response.value("Min-SE").parse::<u32>() else { return false };
        let Some(timer) = self.timer.as_mut().filter(|timer| timer.interval < least) else { return false };
        timer.interval = least;
        true
    }

    /// What the outcome means for the call.
    fn settle(&mut self, purpose: Purpose, status: u16) {
        match purpose {
            Purpose::Bye => self.end(End::HungUp { status }),
            // RFC 3261 §12.2.1.2: then the dialog is gone.
            Purpose::Reinvite | Purpose::Update if matches!(status, 0 | 408 | 481) => self.bye(None),
            Purpose::Invite
            | Purpose::Reinvite
            | Purpose::Update
            | Purpose::Info
            | Purpose::Prack
            | Purpose::Surplus => {}
        }
    }
}

fn refuse(done: Done, state: State) {
    let _ = done.send(Err(Error::NotNow(state)));
}
