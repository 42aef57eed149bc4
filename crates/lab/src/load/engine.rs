//! What a run does with what is due and with what comes, without a socket.

use super::{
    arrival::Arrival,
    call::{Calls, Habits},
    ground::Ground,
    mark::{Kind, Mark},
    messages::Messages,
    mix::Procedure,
    registrations::Registrations,
    subscriptions::Subscriptions,
    tally::Tally,
    text::{Start, Text},
    timers::Whose,
    user::Phase,
};
use std::net::SocketAddr;
use tokio::time::Instant;

/// Everything under way.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) ground: Ground,
    pub(super) registrations: Registrations,
    pub(super) calls: Calls,
    pub(super) messages: Messages,
    /// Ended at once.
    pub(super) subscriptions: Subscriptions,
    /// Kept by whoever registers, if the plan has it so.
    pub(super) kept: Subscriptions,
    /// Whose registration is next, for users take turns.
    turn: u32,
    pub(super) received: u64,
    pub(super) most_in_flight: u64,
}

impl Engine {
    pub(super) fn new(ground: Ground, habits: Habits) -> Self {
        Self {
            ground,
            registrations: Registrations::new(),
            calls: Calls::new(habits),
            messages: Messages::new(),
            subscriptions: Subscriptions::new(),
            kept: Subscriptions::that_stay(),
            turn: 0,
            received: 0,
            most_in_flight: 0,
        }
    }

    /// The counts of a kind of procedure.
    pub(super) fn tally(&mut self, procedure: Procedure) -> &mut Tally {
        match procedure {
            Procedure::Register => &mut self.registrations.initial,
            Procedure::Reregister => &mut self.registrations.anew,
            Procedure::Call => &mut self.calls.tally,
            Procedure::Message => &mut self.messages.tally,
            Procedure::Subscribe => &mut self.subscriptions.tally,
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.registrations.in_flight
            + self.calls.in_flight
            + self.messages.in_flight()
            + self.subscriptions.in_flight()
            + self.kept.in_flight()
    }

    /// Starts the next of its kind.
    pub(super) fn start(&mut self, procedure: Procedure, intended: Instant) {
        let Self { ground, .. } = self;
        match procedure {
            Procedure::Register | Procedure::Reregister => {
                // Whoever is at it still is left in peace, unless all are.
                let all = ground.users.len() as u32;
                let next = (0..all.min(1024)).map(|ahead| (self.turn + ahead) % all);
                let user = next
                    .clone()
                    .find(|user| ground.user(*user).phase == Phase::Idle)
                    .unwrap_or(self.turn % all);
                self.turn = (user + 1) % ground.users.len() as u32;
                self.registrations.begin(ground, user, intended, procedure == Procedure::Reregister);
            }
            Procedure::Call => self.calls.begin(ground, intended),
            Procedure::Message => self.messages.begin(ground, intended),
            Procedure::Subscribe => self.subscriptions.begin(ground, intended),
        }
        self.most_in_flight = self.most_in_flight.max(self.in_flight());
    }

    /// Deals with a datagram.
    pub(super) fn hear(&mut self, socket: u16, from: SocketAddr, octets: &[u8]) {
        self.received += 1;
        let ground = &mut self.ground;
        ground.entries.heard(from, ground.now);
        let Some(text) = Text::read(octets) else {
            return ground.seen.unexpected.count("what is no SIP message");
        };
        match text.start {
            Start::Response { status, .. } => match Mark::of_branch(ground.run, text.branch()) {
                Some((mark, step)) => {
                    if status >= 200 {
                        *ground.seen.responses.entry(status).or_default() += 1;
                    }
                    self.response(mark, step, from, &text);
                }
                None => ground.seen.late += 1,
            },
            Start::Request { method, uri } => {
                let arrival = Arrival { method, uri, text: &text, socket, from };
                match Mark::read(ground.run, text.call_id) {
                    Some(mark) => self.request(mark, &arrival),
                    None => stranger(ground, &arrival),
                }
            }
        }
    }

    fn response(&mut self, mark: Mark, step: u32, from: SocketAddr, text: &Text<'_>) {
        let ground = &mut self.ground;
        match mark.kind {
            Kind::Registration => {
                let registered = self.registrations.response(ground, mark, step, text);
                if let Some(user) = registered.filter(|_| ground.subscribes) {
                    self.kept.registered(ground, user);
                }
            }
            Kind::Call => self.calls.response(ground, mark, step, from, text),
            Kind::Message => self.messages.response(ground, mark, step, text),
            Kind::Subscription { stays: false } => self.subscriptions.response(ground, mark, step, text),
            Kind::Subscription { stays: true } => self.kept.response(ground, mark, step, text),
        }
    }

    fn request(&mut self, mark: Mark, arrival: &Arrival<'_, '_>) {
        let ground = &mut self.ground;
        match mark.kind {
            Kind::Registration => stranger(ground, arrival),
            Kind::Call => self.calls.request(ground, mark, arrival),
            Kind::Message => self.messages.request(ground, mark, arrival),
            Kind::Subscription { stays: false } => self.subscriptions.request(ground, mark, arrival),
            Kind::Subscription { stays: true } => self.kept.request(ground, mark, arrival),
        }
    }

    /// Deals with everything that is due.
    pub(super) fn expire(&mut self) {
        let Self { ground, registrations, calls, messages, subscriptions, kept, .. } = self;
        while let Some((at, whose)) = ground.timers.pop(ground.now) {
            match whose {
                Whose::User(number) => registrations.due(ground, number, at),
                Whose::Caller(_) | Whose::Callee(_) => calls.due(ground, whose, at),
                Whose::Message(place) => messages.due(ground, place, at),
                Whose::Subscription { stays: false, place } => subscriptions.due(ground, place, at),
                Whose::Subscription { stays: true, place } => kept.due(ground, place, at),
            }
        }
    }
}

/// A request that nothing here asked for.
fn stranger(ground: &mut Ground, arrival: &Arrival<'_, '_>) {
    ground.seen.unexpected.count(&format!("{} that belongs to nothing", arrival.method));
    if arrival.method != "ACK" {
        arrival.answer(ground, "481 Call/Transaction Does Not Exist");
    }
}
