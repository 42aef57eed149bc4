//! RFC 3261 §13.3, §9.2, §15.1.2 — the callee's side.

use super::{
    super::{
        arrival::{Arrival, ORIGINATING, PATH, TERMINATING, beyond},
        ground::Dialog,
        timers::{GIVE_UP, T2, Wait},
    },
    ANEW, BYE_TO_200, CALLEE_BYE, Call, Course, Heard, Scene, TO_CALLEE, words,
};
use std::net::SocketAddr;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No INVITE has come.
    Idle,
    Ringing,
    /// 200 (OK) is out, ACK has not come.
    Answered,
    /// A refusal with this status is out, ACK has not come.
    Refused(u16),
    Up,
    /// BYE is out.
    Leaving,
    /// The network asks for patience; BYE follows, made anew.
    Patient,
    Over,
}

#[derive(Debug)]
pub(super) struct Callee {
    stage: Stage,
    pub(super) wait: Wait,
    /// CSeq of the INVITE.
    cseq: u32,
    /// How often BYE was made anew.
    pub(super) byes: u32,
    /// Where responses to the INVITE go.
    peer: Option<SocketAddr>,
    /// When the final response first left.
    answered: Option<Instant>,
    /// Whether it has sent BYE.
    left: bool,
    /// From the INVITE to the end.
    invited: Option<Box<Invited>>,
}

/// What an INVITE says.
#[derive(Debug)]
struct Invited {
    /// Parts of responses: for all of them, and for those that make a dialog.
    shared: Vec<u8>,
    record_route: Vec<u8>,
    dialog: Dialog,
}

impl Callee {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            stage: Stage::Idle,
            wait: Wait::idle(now),
            cseq: 0,
            byes: 0,
            peer: None,
            answered: None,
            left: false,
            invited: None,
        }
    }

    /// Whether it does nothing any more, or does not know of the call.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over | Stage::Idle)
    }

    /// Frees what only a call under way needs.
    pub(super) fn forget(&mut self) {
        self.stage = Stage::Over;
        self.wait.due = None;
        self.invited = None;
    }

    #[cfg(test)]
    pub(super) fn keeps_more(&self) -> bool {
        self.invited.is_some()
    }

    pub(super) fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    pub(super) fn has_left(&self) -> bool {
        self.left
    }

    /// When the final response first left.
    pub(super) fn final_sent(&self) -> Option<Instant> {
        self.answered
    }

    fn over(&mut self) {
        self.stage = Stage::Over;
        self.wait.due = None;
    }
}

impl Call {
    /// A request that came to the callee.
    pub(super) fn asked_of_callee(&mut self, scene: &mut Scene<'_>, arrival: &Arrival<'_, '_>) {
        let Arrival { method, text, .. } = *arrival;
        match method {
            "INVITE" if text.to_tag().is_empty() => self.invited(scene, arrival),
            "ACK" => self.acknowledged(scene, arrival),
            "CANCEL" => self.cancelled(scene, arrival),
            "BYE" => self.bye_to_callee(scene, arrival),
            _ => {
                scene.ground.seen.unexpected.count(&format!("{method} to the callee"));
                arrival.answer(scene.ground, "501 Not Implemented");
            }
        }
    }

    fn invited(&mut self, scene: &mut Scene<'_>, arrival: &Arrival<'_, '_>) {
        let now = scene.ground.now;
        let talks = matches!(self.called.stage, Stage::Up | Stage::Leaving | Stage::Patient);
        if arrival.text.cseq > self.called.cseq && !talks {
            // The caller makes it anew: whatever became of the former one, nobody waits for it.
            self.called = Callee::new(now);
            self.called.cseq = arrival.text.cseq;
        }
        match self.called.stage {
            Stage::Idle => {}
            Stage::Ringing => {
                scene.ground.seen.repeated += 1;
                return self.respond(scene, 180);
            }
            Stage::Refused(status) => {
                scene.ground.seen.repeated += 1;
                return self.respond(scene, status);
            }
            Stage::Answered | Stage::Up | Stage::Leaving | Stage::Patient | Stage::Over => {
                scene.ground.seen.repeated += 1;
                return;
            }
        }
        scene.tally.record(TO_CALLEE, now - self.calling.invited);
        self.routed(scene, arrival, self.callee, PATH);
        let text = arrival.text;
        let set = text.record_routes.iter().rev().copied();
        let (own, others) = beyond(scene.ground, self.caller, ORIGINATING, set);
        if !own || others.is_empty() {
            scene.ground.seen.unexpected.count("INVITE without the Record-Route of every proxy");
            self.fail(scene, "INVITE without the Record-Route of every proxy");
        }
        let (shared, record_route) = self.callee_echo(scene.ground, text);
        let dialog = self.callee_dialog(text);
        self.called.invited = Some(Box::new(Invited { shared, record_route, dialog }));
        self.called.peer = Some(arrival.from);
        self.called.stage = Stage::Ringing;
        match self.course {
            Course::Rejected => self.refuse(scene, 486),
            Course::Answered { .. } => {
                self.respond(scene, 180);
                if scene.habits.ring.is_zero() {
                    self.pick_up(scene);
                } else {
                    self.called.wait.until(now + scene.habits.ring);
                }
            }
            Course::Cancelled => {
                self.respond(scene, 180);
                self.called.wait.until(now + scene.habits.ring + 2 * GIVE_UP);
            }
        }
    }

    fn respond(&self, scene: &mut Scene<'_>, status: u16) {
        let (Some(invited), Some(peer)) = (&self.called.invited, self.called.peer) else { return };
        let socket = scene.ground.socket_of(self.callee);
        scene.ground.put(socket, peer, |ground, out| {
            words::write_response(ground, status, &invited.shared, &invited.record_route, out);
        });
    }

    fn pick_up(&mut self, scene: &mut Scene<'_>) {
        let now = scene.ground.now;
        self.called.stage = Stage::Answered;
        self.called.answered = Some(now);
        self.called.wait = Wait::sent(now);
        self.respond(scene, 200);
    }

    fn refuse(&mut self, scene: &mut Scene<'_>, status: u16) {
        let now = scene.ground.now;
        self.called.stage = Stage::Refused(status);
        self.called.answered = Some(now);
        self.called.wait = Wait::sent(now);
        self.respond(scene, status);
    }

    fn acknowledged(&mut self, scene: &mut Scene<'_>, arrival: &Arrival<'_, '_>) {
        let now = scene.ground.now;
        match self.called.stage {
            Stage::Refused(_) => self.called.over(),
            Stage::Answered => {
                self.routed(scene, arrival, self.callee, TERMINATING);
                self.called.stage = Stage::Up;
                match self.course {
                    Course::Answered { callee_ends: true } if scene.habits.hold.is_zero() => {
                        self.callee_leaves(scene);
                    }
                    Course::Answered { callee_ends: true } => self.called.wait.until(now + scene.habits.hold),
                    Course::Answered { callee_ends: false } | Course::Rejected | Course::Cancelled => {
                        self.called.wait.until(now + scene.habits.hold + 2 * GIVE_UP);
                    }
                }
            }
            Stage::Up | Stage::Leaving | Stage::Patient => scene.ground.seen.repeated += 1,
            // A BYE has overtaken it, or it comes again.
            Stage::Over => scene.ground.seen.late += 1,
            Stage::Idle | Stage::Ringing => {
                scene.ground.seen.unexpected.count("ACK before a final response");
            }
        }
    }

    fn cancelled(&mut self, scene: &mut Scene<'_>, arrival: &Arrival<'_, '_>) {
        let text = arrival.text;
        if self.called.stage == Stage::Idle {
            scene.ground.seen.unexpected.count("CANCEL before its INVITE");
            return arrival.answer(scene.ground, "481 Call/Transaction Does Not Exist");
        }
        arrival.answer(scene.ground, "200 OK");
        if self.called.stage != Stage::Ringing {
            // It crossed the final response, or comes again; neither changes anything.
            scene.ground.seen.repeated += u64::from(self.called.stage == Stage::Refused(487));
            return;
        }
        if self.course != Course::Cancelled && !self.failed {
            scene.ground.seen.unexpected.count("CANCEL of the network's own");
            self.fail(scene, &format!("cancelled by the network: {}", text.reason));
        }
        self.refuse(scene, 487);
    }

    fn callee_leaves(&mut self, scene: &mut Scene<'_>) {
        self.called.stage = Stage::Leaving;
        self.called.left = true;
        self.called.wait = scene.ground.fresh(self.callee);
        self.send_callee_bye(scene);
    }

    fn send_callee_bye(&self, scene: &mut Scene<'_>) {
        let Some(invited) = &self.called.invited else { return };
        let to = self.called.wait.to;
        scene.ground.send(self.callee, to, |ground, out| {
            self.write_within(ground, &invited.dialog, CALLEE_BYE, out);
        });
    }

    pub(super) fn bye_of_callee_answered(&mut self, scene: &mut Scene<'_>, heard: &Heard<'_, '_>) {
        let Heard { status, line, text, attempt, .. } = *heard;
        if self.called.stage != Stage::Leaving || attempt != self.called.byes {
            scene.ground.seen.repeated += u64::from(status >= 200);
            return;
        }
        if let Some(at) =
            scene.ground.anew_at(status, text, self.called.wait.since).filter(|_| attempt < ANEW)
        {
            self.called.stage = Stage::Patient;
            return self.called.wait.until(at);
        }
        match status {
            ..200 => return self.called.wait.proceeding(),
            200..300 => scene.tally.record(BYE_TO_200, scene.ground.now - self.called.wait.since),
            // As with the caller's.
            481 if (attempt > 0 || self.called.wait.is_repeated()) && self.calling.is_over() => {}
            _ => self.fail(scene, &format!("BYE: {line}")),
        }
        self.called.over();
    }

    fn bye_to_callee(&mut self, scene: &mut Scene<'_>, arrival: &Arrival<'_, '_>) {
        let text = arrival.text;
        match self.called.stage {
            Stage::Answered | Stage::Up | Stage::Leaving | Stage::Patient if self.calling.has_left() => {
                self.routed(scene, arrival, self.callee, TERMINATING);
                self.called.over();
            }
            Stage::Answered | Stage::Up | Stage::Leaving | Stage::Patient => {
                self.released(scene, text.reason);
                self.called.over();
            }
            Stage::Over => scene.ground.seen.repeated += 1,
            Stage::Idle | Stage::Ringing | Stage::Refused(_) => {
                scene.ground.seen.unexpected.count("BYE before the answer");
            }
        }
        arrival.answer(scene.ground, "200 OK");
    }

    /// The callee's timer.
    pub(super) fn callee_due(&mut self, scene: &mut Scene<'_>) {
        let now = scene.ground.now;
        match self.called.stage {
            Stage::Ringing if matches!(self.course, Course::Answered { .. }) => self.pick_up(scene),
            Stage::Ringing => {
                self.starve(scene, "no CANCEL came to the callee");
                self.refuse(scene, 480);
            }
            // RFC 3261 §13.3.1.4, §17.2.1: Timers G and H, for 200 (OK) too.
            Stage::Answered => {
                if self.called.wait.again(now, T2) {
                    scene.tally.sent_again();
                    self.respond(scene, 200);
                } else {
                    self.starve(scene, "200 to INVITE: no ACK");
                    self.callee_leaves(scene);
                }
            }
            Stage::Refused(status) => {
                if self.called.wait.again(now, T2) {
                    scene.tally.sent_again();
                    self.respond(scene, status);
                } else {
                    self.starve(scene, &format!("{status} to INVITE: no ACK"));
                    self.called.over();
                }
            }
            Stage::Up => {
                if self.course != (Course::Answered { callee_ends: true }) {
                    self.starve(scene, "no BYE came to the callee");
                }
                self.callee_leaves(scene);
            }
            Stage::Patient => {
                scene.tally.retried();
                self.called.byes += 1;
                self.callee_leaves(scene);
            }
            Stage::Leaving => {
                if scene.ground.again(self.callee, &mut self.called.wait, T2) {
                    scene.tally.sent_again();
                    self.send_callee_bye(scene);
                } else {
                    self.starve(scene, "BYE: no answer (Timer F)");
                    self.called.over();
                }
            }
            Stage::Idle | Stage::Over => self.called.wait.due = None,
        }
    }
}
