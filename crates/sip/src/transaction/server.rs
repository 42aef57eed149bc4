//! RFC 3261 §17.2 — the server side of the table: which machine a request belongs to, and what becomes of ACK and CANCEL.

use super::server_invite::ServerInvite;
use super::server_non_invite::ServerNonInvite;
use super::slots::SlotRef;
use super::step::{Fate, Step};
use super::timers::{Tick, Timer};
use super::{Flow, Gone, Output, ServerId, Table, flow};
use crate::{Method, Name, Request, Response, Status, Via};

pub(super) struct Server {
    key: u128,
    flow: Flow,
    machine: ServerMachine,
}

pub(super) enum ServerMachine {
    Invite(ServerInvite),
    NonInvite(ServerNonInvite),
}

impl Table {
    /// Sends the user's response to a request.
    ///
    /// # Errors
    /// [`Gone`] if the transaction is over or has its final response; further 2xx to an INVITE pass until timer L fires.
    pub fn respond(
        &mut self,
        id: ServerId,
        response: Response,
        now: Tick,
        out: &mut Vec<Output>,
    ) -> Result<(), Gone> {
        let slot = SlotRef::from_u64(id.0);
        let mut answered = Err(Gone);
        self.with_server(slot, now, out, |server, step| {
            let fate = match &mut server.machine {
                ServerMachine::Invite(machine) => machine.respond(&response, step),
                ServerMachine::NonInvite(machine) => machine.respond(&response, step),
            };
            answered = fate.map(|_| ());
            fate.unwrap_or(Fate::Lives)
        });
        answered
    }

    /// Passes a retransmitted 2xx on without asking the user: `repeated` came in from further down, and what the user made
    /// of the first 2xx with its To tag goes out once more (RFC 6026 §7.1).
    ///
    /// # Errors
    /// [`Gone`] if the transaction is over, or the user sent no 2xx with that To tag in it: then it is news for the user.
    pub fn again(
        &mut self,
        id: ServerId,
        repeated: &Response,
        now: Tick,
        out: &mut Vec<Output>,
    ) -> Result<(), Gone> {
        let mut sent = Err(Gone);
        self.with_server(SlotRef::from_u64(id.0), now, out, |server, step| {
            if let ServerMachine::Invite(machine) = &server.machine {
                sent = machine.again(repeated, step);
            }
            Fate::Lives
        });
        sent
    }

    pub(super) fn request(&mut self, request: Request, flow: Flow, now: Tick, out: &mut Vec<Output>) {
        let via = request.via();
        if *request.method() == Method::Ack {
            return self.ack(request, &via, flow, now, out);
        }
        if *request.method() == Method::Cancel {
            return self.cancelled(request, &via, flow, now, out);
        }
        let key = self.keys.server(&request, &via, request.method());
        if self.retransmitted(key, now, out) {
            return;
        }
        let request = flow::stamp(request, &via, flow.remote);
        let responses = flow::response_flow(&via, &flow);
        if self.servers.len() >= self.limits.servers {
            self.refuse(&request, key, responses, out);
            return;
        }
        let slot = self.servers.reserve();
        self.open_server(slot, key, request.clone(), responses, now, out);
        out.push(Output::Request { id: ServerId(slot.to_u64()), request, flow });
    }

    /// RFC 3261 §17.2.1: the ACK to a refusal ends here, the ACK to a 2xx is the user's.
    fn ack(&mut self, request: Request, via: &Via, flow: Flow, now: Tick, out: &mut Vec<Output>) {
        let key = self.keys.server(&request, via, &Method::Invite);
        let mut for_user = true;
        if let Some(&slot) = self.by_key.get(&key) {
            self.with_server(slot, now, out, |server, step| {
                let ServerMachine::Invite(machine) = &mut server.machine else { return Fate::Lives };
                let (accepted, fate) = machine.acknowledged(step);
                for_user = accepted;
                fate
            });
        }
        if for_user {
            out.push(Output::Ack { request: flow::stamp(request, via, flow.remote), flow });
        }
    }

    /// RFC 3261 §9.2: a CANCEL is answered here, and reaches the user only as the wish to end an INVITE.
    fn cancelled(&mut self, request: Request, via: &Via, flow: Flow, now: Tick, out: &mut Vec<Output>) {
        let key = self.keys.server(&request, via, &Method::Cancel);
        if self.retransmitted(key, now, out) {
            return;
        }
        let invite = self.by_key.get(&self.keys.server(&request, via, &Method::Invite)).copied();
        let of = invite
            .filter(|&slot| self.servers.get(slot).is_some_and(|server| server.machine.is_unanswered()))
            .map(|slot| ServerId(slot.to_u64()));
        let status = if invite.is_some() { Status::OK } else { Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST };
        let request = flow::stamp(request, via, flow.remote);
        let response = request.respond(status, &to_tag(key)).finish();
        let responses = flow::response_flow(via, &flow);
        if self.servers.len() >= self.limits.servers {
            out.push(Output::Transmit { flow: responses, bytes: response.as_bytes().clone() });
            out.push(Output::Cancel { id: None, of, request });
            return;
        }
        let slot = self.servers.reserve();
        let id = ServerId(slot.to_u64());
        self.open_server(slot, key, request.clone(), responses, now, out);
        // A transaction just opened takes its first response.
        let _ = self.respond(id, response, now, out);
        out.push(Output::Cancel { id: Some(id), of, request });
    }

    fn retransmitted(&mut self, key: u128, now: Tick, out: &mut Vec<Output>) -> bool {
        let Some(&slot) = self.by_key.get(&key) else { return false };
        self.stats.absorbed += 1;
        self.with_server(slot, now, out, |server, step| {
            match &server.machine {
                ServerMachine::Invite(machine) => machine.retransmitted(step),
                ServerMachine::NonInvite(machine) => machine.retransmitted(step),
            }
            Fate::Lives
        });
        true
    }

    /// RFC 3261 §21.5.4: at the limit, 503 without a transaction.
    fn refuse(&mut self, request: &Request, key: u128, flow: Flow, out: &mut Vec<Output>) {
        self.stats.refused += 1;
        let (least, most) = self.limits.retry_after;
        let spread = u64::from(most.saturating_sub(least)) + 1;
        let retry_after = u64::from(least) + (key >> 64) as u64 % spread;
        let response = request
            .respond(Status::SERVICE_UNAVAILABLE, &to_tag(key))
            .header(Name::RetryAfter, retry_after)
            .finish();
        out.push(Output::Transmit { flow, bytes: response.as_bytes().clone() });
    }

    fn open_server(
        &mut self,
        slot: SlotRef,
        key: u128,
        request: Request,
        flow: Flow,
        now: Tick,
        out: &mut Vec<Output>,
    ) {
        let mut step = Step {
            timers: &self.timers,
            deadlines: &mut self.deadlines,
            stats: &mut self.stats,
            out,
            now,
            slot,
            flow,
        };
        let machine = if *request.method() == Method::Invite {
            ServerMachine::Invite(ServerInvite::start(request, &mut step))
        } else {
            ServerMachine::NonInvite(ServerNonInvite::start(request, &mut step))
        };
        self.servers.fill(slot, Server { key, flow, machine });
        self.by_key.insert(key, slot);
        self.unanswered += 1;
    }

    pub(super) fn with_server(
        &mut self,
        slot: SlotRef,
        now: Tick,
        out: &mut Vec<Output>,
        run: impl FnOnce(&mut Server, &mut Step<'_>) -> Fate,
    ) {
        let Some(server) = self.servers.get_mut(slot) else { return };
        let mut step = Step {
            timers: &self.timers,
            deadlines: &mut self.deadlines,
            stats: &mut self.stats,
            out,
            now,
            slot,
            flow: server.flow,
        };
        let before = server.machine.is_unanswered();
        let fate = run(server, &mut step);
        if before && !server.machine.is_unanswered() {
            self.unanswered -= 1;
        }
        if fate == Fate::Ends {
            self.by_key.remove(&server.key);
            self.servers.remove(slot);
        }
    }
}

impl Server {
    pub(super) fn fired(&mut self, timer: Timer, step: &mut Step<'_>) -> Fate {
        let to_tag = if timer == Timer::Abandon { to_tag(self.key) } else { String::new() };
        match &mut self.machine {
            ServerMachine::Invite(machine) => machine.fired(timer, &to_tag, step),
            ServerMachine::NonInvite(machine) => machine.fired(timer, &to_tag, step),
        }
    }
}

impl ServerMachine {
    fn is_unanswered(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.is_unanswered(),
            Self::NonInvite(machine) => machine.is_unanswered(),
        }
    }
}

/// The tag of answers the table gives itself: the same for every copy of a request.
fn to_tag(key: u128) -> String {
    format!("{:016x}", key as u64)
}
