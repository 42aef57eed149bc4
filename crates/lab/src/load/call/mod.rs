//! RFC 3261 §13 — calls of many: the table of them, and what each is to become.

mod callee;
mod caller;
mod sending;
mod words;

use super::{
    Error,
    arrival::Arrival,
    ground::Ground,
    mark::{Kind, Mark},
    places::Places,
    report::stages,
    tally::Tally,
    text::{Start, Text},
    timers::{GIVE_UP, Whose},
};
use callee::Callee;
use caller::Caller;
use std::{net::SocketAddr, time::Duration};
use tokio::time::Instant;

stages! { STAGES:
    TO_CALLEE = "invite_to_callee", "INVITE to callee, one way";
    TO_100 = "invite_to_100", "INVITE to 100";
    TO_180 = "invite_to_180", "INVITE to 180";
    TO_180_FROM_INTENDED = "invite_to_180_from_intended", "INVITE to 180 from intended";
    TO_200 = "invite_to_200", "INVITE to 200, ringing included";
    ANSWER_TO_CALLER = "answer_to_caller", "200 to caller, one way";
    BYE_TO_200 = "bye_to_200", "BYE to 200";
    REJECT_TO_CALLER = "reject_to_caller", "486 to caller, one way";
    CANCEL_TO_487 = "cancel_to_487", "CANCEL to 487";
}

/// Steps of a call as branches tell them, and how often each was made anew: CANCEL and the ACK to a refusal have INVITE's.
const STEPS: u32 = 8;
/// How often BYE is made anew at most.
const ANEW: u32 = 10;
const INVITE: u32 = 1;
const ACK: u32 = 2;
const BYE: u32 = 3;
/// The callee's.
const CALLEE_BYE: u32 = 4;

/// How calls go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// How long a call lasts from its answer.
    pub hold: Duration,
    /// How long the callee rings before it answers, or the caller cancels.
    pub ring: Duration,
    /// Of a hundred calls, so many are refused with 486 (Busy Here).
    pub reject: u8,
    /// Of a hundred calls, so many are cancelled while it rings.
    pub cancel: u8,
    /// Of a hundred answered calls, so many are ended by the callee.
    pub callee_ends: u8,
}

impl Default for Habits {
    fn default() -> Self {
        Self { hold: Duration::ZERO, ring: Duration::ZERO, reject: 0, cancel: 0, callee_ends: 50 }
    }
}

/// What is to become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Answered { callee_ends: bool },
    Rejected,
    Cancelled,
}

impl Habits {
    pub(super) fn check(&self) -> Result<(), Error> {
        if u32::from(self.reject) + u32::from(self.cancel) > 100 || self.callee_ends > 100 {
            return Err(Error::Plan(
                "shares are percents, and those of refused and cancelled calls make 100 at most",
            ));
        }
        Ok(())
    }

    /// The course of call `number`: the shares of all calls are kept over every hundred of them, and mixed within.
    fn course(&self, number: u32) -> Course {
        // 61 and 37 are coprime to 100.
        let mixed = |number: u32, by: u32| u8::try_from(number % 100 * by % 100).unwrap_or(0);
        let place = mixed(number, 61);
        if place < self.reject {
            Course::Rejected
        } else if place < self.reject.saturating_add(self.cancel) {
            Course::Cancelled
        } else {
            Course::Answered { callee_ends: mixed(number.wrapping_add(number / 100), 37) < self.callee_ends }
        }
    }
}

impl Course {
    fn name(self) -> &'static str {
        match self {
            Self::Answered { .. } => "answered",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A call, of which both sides are ours.
#[derive(Debug)]
struct Call {
    mark: Mark,
    caller: u32,
    callee: u32,
    course: Course,
    intended: Instant,
    begun: Instant,
    calling: Caller,
    called: Callee,
    failed: bool,
    /// Nothing more is to happen; what comes again is still answered until it is forgotten.
    ended: bool,
}

/// What the sides of a call work with.
struct Scene<'a> {
    ground: &'a mut Ground,
    tally: &'a mut Tally,
    habits: Habits,
}

/// A response to a request of a call.
struct Heard<'a, 'b> {
    step: u32,
    /// How often that request had been made anew.
    attempt: u32,
    from: SocketAddr,
    status: u16,
    line: &'a str,
    text: &'a Text<'b>,
}

/// All calls of a run.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) tally: Tally,
    pub(super) in_flight: u64,
    habits: Habits,
    /// Calls begun, and so the number of the next.
    begun: u32,
    calls: Places<Call>,
}

impl Calls {
    pub(super) fn new(habits: Habits) -> Self {
        Self { tally: Tally::new(STAGES), in_flight: 0, habits, begun: 0, calls: Places::default() }
    }

    /// Begins the next call.
    pub(super) fn begin(&mut self, ground: &mut Ground, intended: Instant) {
        let number = self.begun;
        self.begun = self.begun.wrapping_add(1);
        self.tally.started();
        let (caller, callee) = match ground.pair(number) {
            Ok(pair) => pair,
            Err(cause) => return self.tally.failed(cause),
        };
        let course = self.habits.course(number);
        let kept = self.calls.keep(number, |place| Call {
            mark: ground.mark(Kind::Call, place, number),
            caller,
            callee,
            course,
            intended,
            begun: ground.now,
            calling: Caller::new(ground.now),
            called: Callee::new(ground.now),
            failed: false,
            ended: false,
        });
        let Some(place) = kept else { return self.tally.failed("too many calls are kept already") };
        self.in_flight += 1;
        self.on(ground, place, Call::invite);
    }

    /// A response to a request of ours.
    pub(super) fn response(
        &mut self,
        ground: &mut Ground,
        mark: Mark,
        step: u32,
        from: SocketAddr,
        text: &Text<'_>,
    ) {
        let Start::Response { status, line } = text.start else { return };
        if self.calls.of(mark).is_none() {
            ground.seen.late += 1;
            return;
        }
        if text.vias.len() != 1 {
            ground.seen.unexpected.count("response with another Via than that of its request");
        }
        let heard = Heard { step: step % STEPS, attempt: step / STEPS, from, status, line, text };
        self.on(ground, mark.place, |call, scene| match heard.step {
            CALLEE_BYE => call.bye_of_callee_answered(scene, &heard),
            _ => call.heard_by_caller(scene, &heard),
        });
    }

    /// A request of the network's.
    pub(super) fn request(&mut self, ground: &mut Ground, mark: Mark, arrival: &Arrival<'_, '_>) {
        let Arrival { method, text, .. } = *arrival;
        if self.calls.of(mark).is_none() {
            ground.seen.late += 1;
            // A call that is over is unknown; what comes again is told the same as before.
            return match method {
                "ACK" => {}
                "BYE" | "CANCEL" => arrival.answer(ground, "200 OK"),
                _ => arrival.answer(ground, "481 Call/Transaction Does Not Exist"),
            };
        }
        // A tag of ours is a letter and the Call-ID.
        if !text.to_tag().is_empty() && text.to_tag().get(1..) != Some(text.call_id) {
            ground.seen.unexpected.count(&format!("{method} to a dialog of nobody's"));
            return arrival.answer(ground, "481 Call/Transaction Does Not Exist");
        }
        self.on(ground, mark.place, |call, scene| {
            if text.to_tag().starts_with('o') {
                call.asked_of_caller(scene, arrival);
            } else {
                call.asked_of_callee(scene, arrival);
            }
        });
    }

    /// A timer of one side's.
    pub(super) fn due(&mut self, ground: &mut Ground, whose: Whose, at: Instant) {
        match whose {
            Whose::Caller(place) => match self.calls.at(place) {
                Some(call) if call.calling.wait.due == Some(at) => {
                    if call.ended {
                        self.calls.forget(place);
                    } else {
                        self.on(ground, place, Call::caller_due);
                    }
                }
                _ => {}
            },
            Whose::Callee(place) => match self.calls.at(place) {
                Some(call) if call.called.wait.due == Some(at) => self.on(ground, place, Call::callee_due),
                _ => {}
            },
            Whose::User(_) | Whose::Message(_) | Whose::Subscription { .. } => {}
        }
    }

    /// Has all calls end early, a thousand a second.
    pub(super) fn hang_up(&mut self, ground: &mut Ground) {
        self.habits.hold = Duration::ZERO;
        let standing = self.calls.all().filter(|call| !call.ended);
        for (number, call) in standing.enumerate() {
            let at = ground.now + Duration::from_millis(number as u64);
            let callee_ends = call.course == Course::Answered { callee_ends: true };
            let place = call.mark.place;
            if callee_ends && call.called.is_up() {
                call.called.wait.until(at);
                ground.timers.set(at, Whose::Callee(place));
            } else if !callee_ends && call.calling.is_up() {
                call.calling.wait.until(at);
                ground.timers.set(at, Whose::Caller(place));
            }
        }
    }

    /// Has something happen to a call, and sees whether it is over.
    fn on(&mut self, ground: &mut Ground, place: u32, happen: impl FnOnce(&mut Call, &mut Scene<'_>)) {
        let Some(call) = self.calls.at(place) else { return };
        let scene = &mut Scene { ground, tally: &mut self.tally, habits: self.habits };
        let before = (call.calling.wait.due, call.called.wait.due);
        happen(call, scene);
        if !call.ended && call.calling.is_over() && call.called.is_over() {
            call.ended = true;
            self.in_flight -= 1;
            // Its place is kept as long as copies of its messages may come (RFC 3261 §17.1.1.2: Timer D).
            call.calling.forget(scene.ground.now + GIVE_UP);
            call.called.forget();
            if !call.failed {
                scene.tally.succeeded(Some(call.course.name()));
            }
        }
        let timers = &mut scene.ground.timers;
        if let Some(at) = call.calling.wait.due.filter(|at| before.0 != Some(*at)) {
            timers.set(at, Whose::Caller(place));
        }
        if let Some(at) = call.called.wait.due.filter(|at| before.1 != Some(*at)) {
            timers.set(at, Whose::Callee(place));
        }
    }
}

impl Call {
    /// It took another course than planned. Only the first such thing counts.
    fn fail(&mut self, scene: &mut Scene<'_>, cause: &str) {
        if !std::mem::replace(&mut self.failed, true) {
            scene.tally.failed(cause);
        }
    }

    /// It cannot go on for want of a message.
    fn starve(&mut self, scene: &mut Scene<'_>, cause: &str) {
        if !std::mem::replace(&mut self.failed, true) {
            scene.tally.unanswered(cause);
        }
    }

    /// Fails if a request to `user` did not come by `hop`, as its route set says.
    fn routed(&mut self, scene: &mut Scene<'_>, arrival: &Arrival<'_, '_>, user: u32, hop: &str) {
        if !arrival.is_routed(scene.ground, user, hop) {
            let what = arrival.astray(scene.ground);
            self.fail(scene, &what);
        }
    }
}

#[cfg(test)]
mod tests;
