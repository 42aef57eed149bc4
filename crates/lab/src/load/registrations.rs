//! TS 24.229 §5.1.1 — registrations and re-registrations of many.

use super::{
    ground::Ground,
    mark::Mark,
    report::stages,
    tally::Tally,
    text::{Start, Text},
    timers::{T2, Whose},
    user::{Phase, write_register},
};
use tokio::time::Instant;

stages! { STAGES:
    CHALLENGE = "challenge", "REGISTER to 401";
    ANSWER = "answer", "REGISTER to 200";
    WHOLE = "whole", "registration";
    FROM_INTENDED = "whole_from_intended", "registration from intended";
}

/// All registrations of a run.
#[derive(Debug)]
pub(super) struct Registrations {
    pub(super) initial: Tally,
    pub(super) anew: Tally,
    pub(super) in_flight: u64,
    /// How many ended well, measured or not.
    pub(super) registered: u64,
}

impl Registrations {
    pub(super) fn new() -> Self {
        Self { initial: Tally::new(STAGES), anew: Tally::new(STAGES), in_flight: 0, registered: 0 }
    }

    fn tally(&mut self, anew: bool) -> &mut Tally {
        if anew { &mut self.anew } else { &mut self.initial }
    }

    /// Registers a user; `anew` for one that is registered, with the challenge answered last.
    pub(super) fn begin(&mut self, ground: &mut Ground, number: u32, intended: Instant, anew: bool) {
        let now = ground.now;
        let user = &mut ground.users[number as usize];
        let tally = self.tally(anew);
        tally.started();
        if user.phase != Phase::Idle {
            tally.failed("the former registration of the user is still under way");
            return;
        }
        if anew && !user.registered {
            tally.failed("the user is not registered");
            return;
        }
        if !anew {
            user.forget();
        }
        user.anew = anew;
        user.phase = Phase::Asking;
        user.tried_before = false;
        user.intended = intended;
        user.begun = now;
        self.in_flight += 1;
        send(ground, number);
    }

    /// A response of which the branch names the user and the CSeq. A user who is registered by it is returned.
    pub(super) fn response(
        &mut self,
        ground: &mut Ground,
        mark: Mark,
        cseq: u32,
        text: &Text<'_>,
    ) -> Option<u32> {
        let Start::Response { status, line } = text.start else { return None };
        let (number, now) = (mark.place, ground.now);
        let user = ground.users.get_mut(number as usize)?;
        if user.cseq != cseq || user.phase == Phase::Idle || user.patient {
            ground.seen.late += 1;
            return None;
        }
        let (anew, since) = (user.anew, user.wait.since);
        let (begun, tried_before) = (user.begun, user.tried_before);
        if let Some(at) = ground.anew_at(status, text, begun) {
            let user = &mut ground.users[number as usize];
            (user.patient, user.tried_before) = (true, true);
            user.wait.until(at);
            ground.timers.set(at, Whose::User(number));
            return None;
        }
        let user = &mut ground.users[number as usize];
        match (status, user.phase) {
            (..200, _) => user.wait.proceeding(),
            (200..300, _) => {
                user.accepted(text);
                let (begun, intended) = (user.begun, user.intended);
                let tally = self.tally(anew);
                tally.record(ANSWER, now - since);
                tally.record(WHOLE, now - begun);
                tally.record(FROM_INTENDED, now - intended);
                tally.reached();
                tally.succeeded(None);
                self.registered += 1;
                self.end(ground, number);
                return Some(number);
            }
            // Who takes over may not know the challenge that the request answers.
            (401, phase) if phase == Phase::Asking || tried_before => {
                user.tried_before = false;
                user.phase = Phase::Answering;
                let answered = user.challenged(&ground.key, &ground.domain, text.challenge);
                self.tally(anew).record(CHALLENGE, now - since);
                if answered {
                    send(ground, number);
                } else {
                    self.tally(anew).failed("a challenge that cannot be answered");
                    self.end(ground, number);
                }
            }
            _ => {
                self.tally(anew).failed(line);
                self.end(ground, number);
            }
        }
        None
    }

    /// A timer of a user's.
    pub(super) fn due(&mut self, ground: &mut Ground, number: u32, at: Instant) {
        let user = &mut ground.users[number as usize];
        if user.phase == Phase::Idle || user.wait.due != Some(at) {
            return;
        }
        let anew = user.anew;
        if std::mem::take(&mut user.patient) {
            self.tally(anew).retried();
            return send(ground, number);
        }
        let mut wait = user.wait;
        let again = ground.again(number, &mut wait, T2);
        ground.users[number as usize].wait = wait;
        if again {
            self.tally(anew).sent_again();
            transmit(ground, number);
        } else {
            self.tally(anew).unanswered("REGISTER: no answer (Timer F)");
            self.end(ground, number);
        }
    }

    fn end(&mut self, ground: &mut Ground, number: u32) {
        ground.users[number as usize].phase = Phase::Idle;
        self.in_flight -= 1;
    }
}

fn send(ground: &mut Ground, number: u32) {
    let wait = ground.fresh(number);
    let user = &mut ground.users[number as usize];
    user.advance();
    user.wait = wait;
    transmit(ground, number);
}

fn transmit(ground: &mut Ground, number: u32) {
    let wait = ground.user(number).wait;
    if let Some(due) = wait.due {
        ground.timers.set(due, Whose::User(number));
    }
    ground.send(number, wait.to, |ground, out| write_register(ground, number, out));
}
