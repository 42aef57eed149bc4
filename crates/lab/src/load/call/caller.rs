//! RFC 3261 §13.2, §9.1, §15.1.1 — the caller's side.

use super::{
    super::{
        arrival::{Arrival, ORIGINATING},
        ground::Dialog,
        text::Text,
        timers::{GIVE_UP, T2, Wait},
    },
    ANEW, ANSWER_TO_CALLER, BYE, BYE_TO_200, CANCEL_TO_487, Call, Course, Heard, INVITE, REJECT_TO_CALLER,
    Scene, TO_100, TO_180, TO_180_FROM_INTENDED, TO_200,
};
use std::time::Duration;
use tokio::time::Instant;

/// When a call to be cancelled has been heard of by 100 alone, the 180 is lost; it is cancelled so much later.
const WITHOUT_180: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// INVITE is out.
    Calling,
    /// The network asks for patience; INVITE follows, made anew.
    Patient,
    /// A provisional response has come.
    Proceeding,
    /// CANCEL is out.
    Cancelling,
    /// CANCEL was answered, INVITE not yet.
    Cancelled,
    /// Answered.
    Up,
    /// BYE is out.
    Leaving,
    /// The network asks for patience; BYE follows, made anew.
    PatientToLeave,
    Over,
}

#[derive(Debug)]
pub(super) struct Caller {
    stage: Stage,
    pub(super) wait: Wait,
    /// When the INVITE left.
    pub(super) invited: Instant,
    /// How often INVITE and BYE were made anew.
    pub(super) attempt: u32,
    pub(super) byes: u32,
    rang: bool,
    /// Whether it has sent BYE.
    left: bool,
    /// From the 2xx on.
    pub(super) dialog: Option<Box<Dialog>>,
}

impl Caller {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            stage: Stage::Calling,
            wait: Wait::idle(now),
            invited: now,
            attempt: 0,
            byes: 0,
            rang: false,
            left: false,
            dialog: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    #[cfg(test)]
    pub(super) fn keeps_more(&self) -> bool {
        self.dialog.is_some()
    }

    pub(super) fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    pub(super) fn has_left(&self) -> bool {
        self.left
    }

    /// Frees what only a call under way needs.
    pub(super) fn forget(&mut self, until: Instant) {
        self.dialog = None;
        self.wait.until(until);
    }

    fn over(&mut self) {
        self.stage = Stage::Over;
        self.wait.due = None;
    }
}

impl Call {
    pub(super) fn invite(&mut self, scene: &mut Scene<'_>) {
        self.calling.stage = Stage::Calling;
        self.calling.invited = scene.ground.now;
        self.calling.wait = scene.ground.fresh(self.caller);
        self.send_invite(scene);
    }

    fn leave(&mut self, scene: &mut Scene<'_>) {
        self.calling.stage = Stage::Leaving;
        self.calling.left = true;
        self.calling.wait = scene.ground.fresh(self.caller);
        self.send_within(scene, self.calling.wait.to, BYE);
    }

    fn cancel(&mut self, scene: &mut Scene<'_>) {
        self.calling.stage = Stage::Cancelling;
        self.calling.wait = Wait::sent(scene.ground.now).towards(self.calling.wait.to);
        self.send_cancel(scene);
    }

    /// A response to a request of the caller's.
    pub(super) fn heard_by_caller(&mut self, scene: &mut Scene<'_>, heard: &Heard<'_, '_>) {
        let Heard { step, attempt, from, status, line, text } = *heard;
        if step == INVITE && attempt != self.calling.attempt && status < 300 {
            scene.ground.seen.late += 1;
            return;
        }
        // CANCEL is for whoever has the INVITE.
        if step == INVITE && attempt == self.calling.attempt {
            self.calling.wait.to = scene.ground.entries.of_several(from).or(self.calling.wait.to);
        }
        match (step, text.method) {
            (INVITE, "INVITE") if status < 200 => self.invite_proceeds(scene, status),
            (INVITE, "INVITE") if status < 300 => self.invite_answered(scene, text),
            (INVITE, "INVITE") => self.invite_refused(scene, heard),
            (INVITE, "CANCEL") => self.cancel_answered(scene, status, line),
            (BYE, "BYE") => self.bye_of_caller_answered(scene, heard),
            _ => scene.ground.seen.unexpected.count("response to a request that was not sent"),
        }
    }

    fn invite_proceeds(&mut self, scene: &mut Scene<'_>, status: u16) {
        let now = scene.ground.now;
        if !matches!(self.calling.stage, Stage::Calling | Stage::Proceeding) {
            return;
        }
        let rings = status > 100;
        if (rings && self.calling.rang) || (!rings && self.calling.stage == Stage::Proceeding) {
            scene.ground.seen.repeated += u64::from(rings);
            return;
        }
        self.calling.stage = Stage::Proceeding;
        let since = now - self.calling.invited;
        if rings {
            self.calling.rang = true;
            scene.tally.record(TO_180, since);
            scene.tally.record(TO_180_FROM_INTENDED, now - self.intended);
        } else {
            scene.tally.record(TO_100, since);
        }
        let patience = match self.course {
            Course::Cancelled if rings => scene.habits.ring,
            Course::Cancelled => scene.habits.ring + WITHOUT_180,
            Course::Answered { .. } | Course::Rejected => scene.habits.ring + GIVE_UP,
        };
        if patience.is_zero() {
            self.cancel(scene);
        } else {
            self.calling.wait.until(now + patience);
        }
    }

    fn invite_answered(&mut self, scene: &mut Scene<'_>, text: &Text<'_>) {
        let now = scene.ground.now;
        if self.ended {
            scene.ground.seen.late += 1;
            return;
        }
        if let Some(dialog) = &self.calling.dialog {
            if dialog.to == text.to {
                scene.ground.seen.repeated += 1;
                self.acknowledge(scene);
            } else {
                scene.ground.seen.unexpected.count("2xx with another tag than the first");
            }
            return;
        }
        let (own, dialog) = Dialog::answered(scene.ground, self.caller, text);
        let routed = own && !dialog.route.is_empty();
        self.calling.dialog = Some(Box::new(dialog));
        self.acknowledge(scene);
        match self.calling.stage {
            Stage::Calling | Stage::Proceeding => {
                scene.tally.record(TO_200, now - self.calling.invited);
                if let Some(answered) = self.called.final_sent() {
                    scene.tally.record(ANSWER_TO_CALLER, now - answered);
                }
            }
            // The answer crossed the CANCEL, or came after everything was given up.
            Stage::Cancelling
            | Stage::Cancelled
            | Stage::Over
            | Stage::Up
            | Stage::Leaving
            | Stage::Patient
            | Stage::PatientToLeave => {
                self.fail(scene, "INVITE: 200 after it was given up");
                return self.leave(scene);
            }
        }
        if !routed {
            scene.ground.seen.unexpected.count("2xx without the Record-Route of every proxy");
            self.fail(scene, "2xx without the Record-Route of every proxy");
        }
        scene.tally.reached();
        self.calling.stage = Stage::Up;
        match self.course {
            Course::Answered { callee_ends: true } => {
                self.calling.wait.until(now + scene.habits.hold + 2 * GIVE_UP);
            }
            Course::Answered { callee_ends: false } if scene.habits.hold.is_zero() => self.leave(scene),
            Course::Answered { callee_ends: false } => self.calling.wait.until(now + scene.habits.hold),
            Course::Rejected | Course::Cancelled => {
                self.fail(scene, "INVITE: an answer that was not given");
                self.leave(scene);
            }
        }
    }

    fn invite_refused(&mut self, scene: &mut Scene<'_>, heard: &Heard<'_, '_>) {
        let Heard { status, line, text, .. } = *heard;
        let now = scene.ground.now;
        self.acknowledge_refusal(scene, heard);
        let former = heard.attempt != self.calling.attempt || self.calling.stage == Stage::Patient;
        if former || self.calling.stage == Stage::Over || self.calling.dialog.is_some() {
            scene.ground.seen.repeated += 1;
            return;
        }
        let anew_at = scene.ground.anew_at(status, text, self.begun);
        if let Some(at) = anew_at.filter(|_| matches!(self.calling.stage, Stage::Calling | Stage::Proceeding))
        {
            self.calling.stage = Stage::Patient;
            return self.calling.wait.until(at);
        }
        let cancelled = matches!(self.calling.stage, Stage::Cancelling | Stage::Cancelled);
        match (self.course, status) {
            (Course::Rejected, 486) => {
                if let Some(refused) = self.called.final_sent() {
                    scene.tally.record(REJECT_TO_CALLER, now - refused);
                }
                scene.tally.reached();
            }
            (Course::Cancelled, 487) if cancelled => {
                scene.tally.record(CANCEL_TO_487, now - self.calling.wait.since);
                scene.tally.reached();
            }
            _ => self.fail(scene, &format!("INVITE: {line}")),
        }
        self.calling.over();
    }

    fn cancel_answered(&mut self, scene: &mut Scene<'_>, status: u16, line: &str) {
        if self.calling.stage != Stage::Cancelling {
            scene.ground.seen.repeated += u64::from(status >= 200);
            return;
        }
        match status {
            ..200 => self.calling.wait.proceeding(),
            200..300 => {
                self.calling.stage = Stage::Cancelled;
                let since = self.calling.wait.since;
                self.calling.wait.until(since + GIVE_UP);
            }
            _ => {
                self.fail(scene, &format!("CANCEL: {line}"));
                self.calling.stage = Stage::Cancelled;
                self.calling.wait.until(scene.ground.now + GIVE_UP);
            }
        }
    }

    fn bye_of_caller_answered(&mut self, scene: &mut Scene<'_>, heard: &Heard<'_, '_>) {
        let Heard { status, line, text, attempt, .. } = *heard;
        if self.calling.stage != Stage::Leaving || attempt != self.calling.byes {
            scene.ground.seen.repeated += u64::from(status >= 200);
            return;
        }
        if let Some(at) =
            scene.ground.anew_at(status, text, self.calling.wait.since).filter(|_| attempt < ANEW)
        {
            self.calling.stage = Stage::PatientToLeave;
            return self.calling.wait.until(at);
        }
        match status {
            ..200 => return self.calling.wait.proceeding(),
            200..300 => scene.tally.record(BYE_TO_200, scene.ground.now - self.calling.wait.since),
            // RFC 3261 §15.1.1: it is one of several, the other side has heard of it, and the call is over.
            481 if (attempt > 0 || self.calling.wait.is_repeated()) && self.called.is_over() => {}
            _ => self.fail(scene, &format!("BYE: {line}")),
        }
        self.calling.over();
    }

    /// A request within the dialog that came to the caller.
    pub(super) fn asked_of_caller(&mut self, scene: &mut Scene<'_>, arrival: &Arrival<'_, '_>) {
        let Arrival { method, text, .. } = *arrival;
        if method != "BYE" {
            scene.ground.seen.unexpected.count(&format!("{method} to the caller"));
            return arrival.answer(scene.ground, "501 Not Implemented");
        }
        arrival.answer(scene.ground, "200 OK");
        match self.calling.stage {
            Stage::Over => scene.ground.seen.repeated += 1,
            Stage::Up | Stage::Leaving | Stage::PatientToLeave if !self.called.has_left() => {
                self.released(scene, text.reason);
                self.calling.over();
            }
            Stage::Up | Stage::Leaving | Stage::PatientToLeave => {
                self.routed(scene, arrival, self.caller, ORIGINATING);
                self.calling.over();
            }
            Stage::Calling | Stage::Patient | Stage::Proceeding | Stage::Cancelling | Stage::Cancelled => {
                scene.ground.seen.unexpected.count("BYE before the answer");
            }
        }
    }

    /// A BYE that the other side did not send.
    pub(super) fn released(&mut self, scene: &mut Scene<'_>, reason: &str) {
        scene.ground.seen.unexpected.count("BYE of the network's own");
        self.fail(scene, &format!("released by the network: {reason}"));
    }

    /// The caller's timer.
    pub(super) fn caller_due(&mut self, scene: &mut Scene<'_>) {
        let now = scene.ground.now;
        match self.calling.stage {
            Stage::Patient => {
                scene.tally.retried();
                self.calling.attempt += 1;
                self.calling.rang = false;
                self.invite(scene);
            }
            Stage::PatientToLeave => {
                scene.tally.retried();
                self.calling.byes += 1;
                self.leave(scene);
            }
            Stage::Calling => {
                if scene.ground.again(self.caller, &mut self.calling.wait, GIVE_UP) {
                    scene.tally.sent_again();
                    self.send_invite(scene);
                } else {
                    self.starve(scene, "INVITE: no answer (Timer B)");
                    self.calling.over();
                }
            }
            Stage::Proceeding => {
                if self.course != Course::Cancelled {
                    self.starve(scene, "INVITE: no final response");
                }
                self.cancel(scene);
            }
            Stage::Cancelling => {
                if self.calling.wait.again(now, T2) {
                    scene.tally.sent_again();
                    self.send_cancel(scene);
                } else {
                    self.starve(scene, "CANCEL: no answer (Timer F)");
                    self.calling.over();
                }
            }
            Stage::Cancelled => {
                self.starve(scene, "INVITE: no final response after CANCEL");
                self.calling.over();
            }
            Stage::Up => {
                if self.course == (Course::Answered { callee_ends: true }) && !self.called.has_left() {
                    self.starve(scene, "no BYE came to the caller");
                }
                self.leave(scene);
            }
            Stage::Leaving => {
                if scene.ground.again(self.caller, &mut self.calling.wait, T2) {
                    scene.tally.sent_again();
                    self.send_within(scene, self.calling.wait.to, BYE);
                } else {
                    self.starve(scene, "BYE: no answer (Timer F)");
                    self.calling.over();
                }
            }
            Stage::Over => self.calling.wait.due = None,
        }
    }
}
