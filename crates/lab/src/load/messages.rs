//! RFC 3428 §4, §7 — short messages of many, both ends of which are ours.

use super::{
    arrival::{Arrival, PATH},
    ground::Ground,
    mark::{Kind, Mark},
    places::Places,
    report::stages,
    tally::Tally,
    text::{Start, Text},
    timers::{T2, Wait, Whose},
};
use std::io::Write;
use tokio::time::Instant;

stages! { STAGES:
    TO_CALLEE = "message_to_callee", "MESSAGE to callee, one way";
    TO_200 = "message_to_200", "MESSAGE to 200";
    FROM_INTENDED = "message_to_200_from_intended", "MESSAGE to 200 from intended";
}
const WORDS: &str = "ready when you are";

#[derive(Debug)]
struct Message {
    mark: Mark,
    caller: u32,
    callee: u32,
    intended: Instant,
    wait: Wait,
    begun: Instant,
    /// How often it was made anew, and whether it waits to be.
    attempt: u32,
    patient: bool,
    arrived: bool,
    /// Why it has failed, though it goes on.
    astray: Option<String>,
}

/// All messages of a run.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) tally: Tally,
    begun: u32,
    messages: Places<Message>,
}

impl Messages {
    pub(super) fn new() -> Self {
        Self { tally: Tally::new(STAGES), begun: 0, messages: Places::default() }
    }

    /// How many are under way.
    pub(super) fn in_flight(&self) -> u64 {
        self.messages.kept()
    }

    /// Sends the next.
    pub(super) fn begin(&mut self, ground: &mut Ground, intended: Instant) {
        let number = self.begun;
        self.begun = self.begun.wrapping_add(1);
        self.tally.started();
        let (caller, callee) = match ground.pair(number) {
            Ok(pair) => pair,
            Err(cause) => return self.tally.failed(cause),
        };
        let wait = ground.fresh(caller);
        let kept = self.messages.keep(number, |place| Message {
            mark: ground.mark(Kind::Message, place, number),
            caller,
            callee,
            intended,
            wait,
            begun: ground.now,
            attempt: 0,
            patient: false,
            arrived: false,
            astray: None,
        });
        let Some(place) = kept else { return self.tally.failed("too many messages are under way already") };
        if let Some(message) = self.messages.at(place) {
            message.transmit(ground);
        }
    }

    pub(super) fn response(&mut self, ground: &mut Ground, mark: Mark, step: u32, text: &Text<'_>) {
        let Start::Response { status, line } = text.start else { return };
        let current = |message: &&mut Message| step == 1 + message.attempt && !message.patient;
        let Some(message) = self.messages.of(mark).filter(current) else {
            ground.seen.late += 1;
            return;
        };
        if let Some(at) = ground.anew_at(status, text, message.begun) {
            message.patient = true;
            message.wait.until(at);
            return ground.timers.set(at, Whose::Message(mark.place));
        }
        match status {
            ..200 => return message.wait.proceeding(),
            200..300 => {
                self.tally.record(TO_200, ground.now - message.wait.since);
                self.tally.record(FROM_INTENDED, ground.now - message.intended);
                match message.astray.take() {
                    Some(cause) => self.tally.failed(&cause),
                    None if !message.arrived => {
                        self.tally.failed("MESSAGE: a 200 that the callee did not give")
                    }
                    None => {
                        self.tally.reached();
                        self.tally.succeeded(None);
                    }
                }
            }
            _ => self.tally.failed(&format!("MESSAGE: {line}")),
        }
        self.messages.forget(mark.place);
    }

    /// What came to the callee.
    pub(super) fn request(&mut self, ground: &mut Ground, mark: Mark, arrival: &Arrival<'_, '_>) {
        if arrival.method != "MESSAGE" {
            ground.seen.unexpected.count(&format!("{} that belongs to a MESSAGE", arrival.method));
            return arrival.answer(ground, "481 Call/Transaction Does Not Exist");
        }
        arrival.answer(ground, "200 OK");
        let Some(message) = self.messages.of(mark) else {
            ground.seen.late += 1;
            return;
        };
        if std::mem::replace(&mut message.arrived, true) {
            ground.seen.repeated += 1;
            return;
        }
        self.tally.record(TO_CALLEE, ground.now - message.wait.since);
        if !arrival.is_routed(ground, message.callee, PATH) {
            message.astray = Some(arrival.astray(ground));
        }
    }

    pub(super) fn due(&mut self, ground: &mut Ground, place: u32, at: Instant) {
        let Some(message) = self.messages.at(place).filter(|message| message.wait.due == Some(at)) else {
            return;
        };
        if std::mem::take(&mut message.patient) {
            self.tally.retried();
            message.attempt += 1;
            message.wait = ground.fresh(message.caller);
            message.transmit(ground);
        } else if ground.again(message.caller, &mut message.wait, T2) {
            self.tally.sent_again();
            message.transmit(ground);
        } else {
            self.tally.unanswered("MESSAGE: no answer (Timer F)");
            self.messages.forget(place);
        }
    }
}

impl Message {
    fn transmit(&self, ground: &mut Ground) {
        if let Some(due) = self.wait.due {
            ground.timers.set(due, Whose::Message(self.mark.place));
        }
        ground.send(self.caller, self.wait.to, |ground, out| self.write(ground, out));
    }

    fn write(&self, ground: &Ground, out: &mut Vec<u8>) {
        let (domain, mark) = (&ground.domain, self.mark);
        let (caller, callee) = (&ground.user(self.caller).name, &ground.user(self.callee).name);
        let uri = format_args!("sip:{callee}@{domain}");
        ground.write_head(self.caller, "MESSAGE", uri, mark.branch(1 + self.attempt), out);
        ground.write_service_route(self.caller, out);
        let _ = write!(
            out,
            "Max-Forwards: 70\r\nFrom: <sip:{caller}@{domain}>;tag=o{mark}\r\nTo: <sip:{callee}@{domain}>\r\n\
             Call-ID: {mark}\r\nCSeq: {} MESSAGE\r\nP-Asserted-Identity: <sip:{caller}@{domain}>\r\n\
             P-Charging-Vector: icid-value=\"{mark}\";orig-ioi={domain}\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{WORDS}",
            1 + self.attempt,
            WORDS.len()
        );
    }
}
