//! RFC 3261 §13 — calls of many: the table of them, and what each is to become.

mod callee;
mod caller;
mod words;

use super::{
    ground::Ground,
    mark::{Kind, Mark},
    report::Stage,
    tally::Tally,
    text::{Start, Text},
    timers::{GIVE_UP, Whose},
};
use callee::Callee;
use caller::Caller;
use std::{net::SocketAddr, time::Duration};
use tokio::time::Instant;

pub(super) const STAGES: &[Stage] = &[
    Stage { name: "invite_to_callee", label: "INVITE to callee, one way" },
    Stage { name: "invite_to_100", label: "INVITE to 100" },
    Stage { name: "invite_to_180", label: "INVITE to 180" },
    Stage { name: "invite_to_180_from_intended", label: "INVITE to 180 from intended" },
    Stage { name: "invite_to_200", label: "INVITE to 200, ringing included" },
    Stage { name: "answer_to_caller", label: "200 to caller, one way" },
    Stage { name: "bye_to_200", label: "BYE to 200" },
    Stage { name: "reject_to_caller", label: "486 to caller, one way" },
    Stage { name: "cancel_to_487", label: "CANCEL to 487" },
];
const TO_CALLEE: usize = 0;
const TO_100: usize = 1;
const TO_180: usize = 2;
const TO_180_FROM_INTENDED: usize = 3;
const TO_200: usize = 4;
const ANSWER_TO_CALLER: usize = 5;
const BYE_TO_200: usize = 6;
const REJECT_TO_CALLER: usize = 7;
const CANCEL_TO_487: usize = 8;

/// How many calls are kept at most, those that ended in the last 32 s included.
const MOST: usize = 1 << 18;

/// Steps of a call as branches tell them: CANCEL and the ACK to a refusal have INVITE's.
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

/// All calls of a run.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) tally: Tally,
    pub(super) in_flight: u64,
    habits: Habits,
    /// Callers; as many are called.
    pairs: u32,
    calls: Vec<Call>,
    free: Vec<u32>,
    serial: u32,
}

impl Calls {
    pub(super) fn new(habits: Habits, pairs: u32) -> Self {
        Self {
            tally: Tally::new(STAGES),
            in_flight: 0,
            habits,
            pairs,
            calls: Vec::new(),
            free: Vec::new(),
            serial: 0,
        }
    }

    /// Begins the next call: callers take turns, and in every round each calls another.
    pub(super) fn begin(&mut self, ground: &mut Ground, intended: Instant) {
        let number = self.serial;
        self.serial = self.serial.wrapping_add(1);
        self.tally.started();
        let caller = number % self.pairs;
        let callee = self.pairs + (caller + number / self.pairs % self.pairs) % self.pairs;
        if !ground.user(caller).registered {
            return self.tally.failed("the caller is not registered");
        }
        if !ground.user(callee).registered {
            return self.tally.failed("the callee is not registered");
        }
        if self.free.is_empty() && self.calls.len() >= MOST {
            return self.tally.failed("too many calls are kept already");
        }
        let place = self.free.pop().unwrap_or(self.calls.len() as u32);
        let call = Call {
            mark: ground.mark(Kind::Call, place, number),
            caller,
            callee,
            course: self.habits.course(number),
            intended,
            calling: Caller::new(ground.now),
            called: Callee::new(ground.now),
            failed: false,
            ended: false,
        };
        match self.calls.get_mut(place as usize) {
            Some(former) => *former = call,
            None => self.calls.push(call),
        }
        self.in_flight += 1;
        self.on(ground, place, Call::invite);
    }

    /// A response to a request of ours.
    pub(super) fn response(&mut self, ground: &mut Ground, mark: Mark, step: u32, text: &Text<'_>) {
        let Start::Response { status, line } = text.start else { return };
        if self.find(mark).is_none() {
            ground.seen.late += 1;
            return;
        }
        if text.vias.len() != 1 {
            ground.seen.unexpected.count("response with another Via than that of its request");
        }
        self.on(ground, mark.place, |call, scene| match step {
            CALLEE_BYE => call.bye_of_callee_answered(scene, status, line),
            _ => call.heard_by_caller(scene, step, status, line, text),
        });
    }

    /// A request of the network's, which arrived at `socket`.
    pub(super) fn request(
        &mut self,
        ground: &mut Ground,
        mark: Mark,
        text: &Text<'_>,
        socket: u16,
        from: SocketAddr,
    ) {
        let Start::Request { method, uri } = text.start else { return };
        if self.find(mark).is_none() {
            ground.seen.late += 1;
            // RFC 3261 §15.1.2: a call that is over is unknown; a BYE that comes again is told the same as before.
            return match method {
                "ACK" => {}
                "BYE" | "CANCEL" => ground.answer(socket, from, text, "200 OK", Some(mark)),
                _ => {
                    let line = "481 Call/Transaction Does Not Exist";
                    ground.answer(socket, from, text, line, Some(mark));
                }
            };
        }
        // A tag of ours is a letter and the Call-ID.
        if !text.to_tag().is_empty() && text.to_tag().get(1..) != Some(text.call_id) {
            ground.seen.unexpected.count(&format!("{method} to a dialog of nobody's"));
            let line = "481 Call/Transaction Does Not Exist";
            return ground.answer(socket, from, text, line, None);
        }
        let arrival = Arrival { method, uri, text, socket, from };
        self.on(ground, mark.place, |call, scene| {
            if text.to_tag().starts_with('o') {
                call.asked_of_caller(scene, &arrival);
            } else {
                call.asked_of_callee(scene, &arrival);
            }
        });
    }

    /// A timer of one side's.
    pub(super) fn due(&mut self, ground: &mut Ground, whose: Whose, at: Instant) {
        match whose {
            Whose::Caller(place) if self.calls[place as usize].calling.wait.due == Some(at) => {
                if self.calls[place as usize].ended {
                    self.calls[place as usize].calling.wait.due = None;
                    self.free.push(place);
                } else {
                    self.on(ground, place, Call::caller_due);
                }
            }
            Whose::Callee(place) if self.calls[place as usize].called.wait.due == Some(at) => {
                self.on(ground, place, Call::callee_due);
            }
            Whose::Caller(_) | Whose::Callee(_) | Whose::User(_) => {}
        }
    }

    /// Has all calls end early, a thousand a second.
    pub(super) fn hang_up(&mut self, ground: &mut Ground) {
        self.habits.hold = Duration::ZERO;
        let standing = self.calls.iter_mut().filter(|call| !call.ended);
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

    fn find(&self, mark: Mark) -> Option<&Call> {
        self.calls.get(mark.place as usize).filter(|call| call.mark == mark && !call.is_forgotten())
    }

    /// Has something happen to a call, and sees whether it is over.
    fn on(&mut self, ground: &mut Ground, place: u32, happen: impl FnOnce(&mut Call, &mut Scene<'_>)) {
        let Some(call) = self.calls.get_mut(place as usize) else { return };
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

/// A request that has come.
struct Arrival<'a, 'b> {
    method: &'a str,
    uri: &'a str,
    text: &'a Text<'b>,
    socket: u16,
    from: SocketAddr,
}

impl Call {
    /// Whether its place is free.
    fn is_forgotten(&self) -> bool {
        self.ended && self.calling.wait.due.is_none()
    }

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

    /// Whether a request came the way that its route set says: to the socket of `user`, with its contact in the Request-URI
    /// and nothing but `hop` of that socket in Route.
    fn routed(&mut self, scene: &mut Scene<'_>, arrival: &Arrival<'_, '_>, user: u32, hop: &str) {
        let Scene { ground, .. } = scene;
        let expected = words::contact(ground, user);
        let routed = arrival.socket == ground.socket_of(user)
            && arrival.uri == expected
            && arrival.text.routes.len() == 1
            && words::is_hop(ground, user, hop, arrival.text.routes[0]);
        if !routed {
            let what = format!("{} that did not follow its route set", arrival.method);
            ground.seen.unexpected.count(&what);
            self.fail(scene, &what);
        }
    }
}

#[cfg(test)]
mod tests;
