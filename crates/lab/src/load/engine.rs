//! What a run does with what is due and with what comes, without a socket.

use super::{
    call::Calls,
    ground::Ground,
    mark::{Kind, Mark},
    registrations::Registrations,
    tally::Tally,
    text::{Start, Text},
    timers::Whose,
};
use std::net::SocketAddr;
use tokio::time::Instant;

/// What can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Procedure {
    Register,
    Reregister,
    Call,
}

/// Everything under way.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) ground: Ground,
    pub(super) registrations: Registrations,
    pub(super) calls: Calls,
    /// Registrations begun so far, for users take turns.
    turn: u32,
    pub(super) received: u64,
    pub(super) most_in_flight: u64,
}

impl Engine {
    pub(super) fn new(ground: Ground, calls: Calls) -> Self {
        Self { ground, registrations: Registrations::new(), calls, turn: 0, received: 0, most_in_flight: 0 }
    }

    pub(super) fn tallies(&mut self) -> [&mut Tally; 3] {
        [&mut self.registrations.initial, &mut self.registrations.anew, &mut self.calls.tally]
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.registrations.in_flight + self.calls.in_flight
    }

    /// Starts the next of its kind.
    pub(super) fn start(&mut self, procedure: Procedure, intended: Instant) {
        let Self { ground, .. } = self;
        match procedure {
            Procedure::Register | Procedure::Reregister => {
                let user = self.turn % ground.users.len() as u32;
                self.turn = (user + 1) % ground.users.len() as u32;
                self.registrations.begin(ground, user, intended, procedure == Procedure::Reregister);
            }
            Procedure::Call => self.calls.begin(ground, intended),
        }
        self.most_in_flight = self.most_in_flight.max(self.in_flight());
    }

    /// Deals with a datagram.
    pub(super) fn hear(&mut self, socket: u16, from: SocketAddr, octets: &[u8]) {
        let Self { ground, registrations, calls, .. } = self;
        self.received += 1;
        let Some(text) = Text::read(octets) else {
            return ground.seen.unexpected.count("what is no SIP message");
        };
        match text.start {
            Start::Response { .. } => match Mark::of_branch(ground.run, text.branch()) {
                Some((mark, step)) => match mark.kind {
                    Kind::Registration => registrations.response(ground, mark, step, &text),
                    Kind::Call => calls.response(ground, mark, step, &text),
                },
                None => ground.seen.late += 1,
            },
            Start::Request { method, .. } => match Mark::read(ground.run, text.call_id) {
                Some(mark) if mark.kind == Kind::Call => calls.request(ground, mark, &text, socket, from),
                _ => {
                    ground.seen.unexpected.count(&format!("{method} that belongs to nothing"));
                    if method != "ACK" {
                        let line = "481 Call/Transaction Does Not Exist";
                        ground.answer(socket, from, &text, line, None);
                    }
                }
            },
        }
    }

    /// Deals with everything that is due.
    pub(super) fn expire(&mut self) {
        let Self { ground, registrations, calls, .. } = self;
        while let Some((at, whose)) = ground.timers.pop(ground.now) {
            match whose {
                Whose::User(number) => registrations.due(ground, number, at),
                Whose::Caller(_) | Whose::Callee(_) => calls.due(ground, whose, at),
            }
        }
    }
}
