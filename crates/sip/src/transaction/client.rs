//! RFC 3261 §17.1 — the client side of the table: requests sent, and which machine a response belongs to.

use super::client_invite::{ClientInvite, WantedCancel};
use super::client_non_invite::ClientNonInvite;
use super::key::Branch;
use super::slots::SlotRef;
use super::step::{Fate, Step};
use super::timers::{Tick, Timer};
use super::{ClientId, Flow, Gone, Output, Table, ViaTemplate};
use crate::{Method, Request, Response};

pub(super) struct Client {
    id: ClientId,
    pub(super) flow: Flow,
    machine: ClientMachine,
}

pub(super) enum ClientMachine {
    Invite(ClientInvite),
    NonInvite { method: Method, machine: ClientNonInvite, cancels: Option<SlotRef> },
}

impl Table {
    /// Sends a request on `flow` in a new client transaction, with our Via on top.
    ///
    /// An ACK belongs to [`Self::send_ack`], a CANCEL to [`Self::cancel`]. At the limit the transaction fails at once with
    /// [`Output::TransportFailed`].
    pub fn send(
        &mut self,
        id: ClientId,
        request: Request,
        flow: Flow,
        via: &ViaTemplate,
        now: Tick,
        out: &mut Vec<Output>,
    ) {
        if self.clients.len() >= self.limits.clients {
            self.fail(id, out);
            return;
        }
        let method = request.method().clone();
        let slot = self.clients.reserve();
        let request = with_via(&request, &flow, via, &self.keys.branch(slot, via.mark));
        self.open_client(slot, id, flow, now, out, |step| {
            if method == Method::Invite {
                return ClientMachine::Invite(ClientInvite::start(request, step));
            }
            let machine = ClientNonInvite::start(request.as_bytes().clone(), step);
            ClientMachine::NonInvite { method, machine, cancels: None }
        });
    }

    /// Sends the ACK to a 2xx: our Via on top, no transaction (RFC 3261 §13.2.2.4, §16.6).
    pub fn send_ack(&mut self, request: &Request, flow: Flow, via: &ViaTemplate, out: &mut Vec<Output>) {
        self.stateless = self.stateless.wrapping_add(1);
        let request = with_via(request, &flow, via, &self.keys.stateless_branch(self.stateless, via.mark));
        out.push(Output::Transmit { flow, bytes: request.as_bytes().clone() });
    }

    /// Cancels the INVITE `invite`; the CANCEL is the client transaction `id`, with `reason` as the value of its Reason
    /// header (RFC 3326).
    ///
    /// It leaves when the INVITE has a provisional response. If a final response comes first, no CANCEL is sent and nothing
    /// is heard of `id`. Once the CANCEL is out, the INVITE ends with its final response or times out after 64*T1.
    ///
    /// # Errors
    /// [`Gone`] if there is no such INVITE without final response.
    pub fn cancel(
        &mut self,
        invite: ClientId,
        id: ClientId,
        reason: Option<&str>,
        now: Tick,
        out: &mut Vec<Output>,
    ) -> Result<(), Gone> {
        let slot = *self.by_client.get(&invite).ok_or(Gone)?;
        let client = self.clients.get_mut(slot).ok_or(Gone)?;
        let ClientMachine::Invite(machine) = &mut client.machine else { return Err(Gone) };
        if !machine.is_unanswered() {
            return Err(Gone);
        }
        let flow = client.flow;
        let mut step = Step {
            timers: &self.timers,
            deadlines: &mut self.deadlines,
            stats: &mut self.stats,
            out,
            now,
            slot,
            flow,
        };
        let Some(request) = machine.cancel(id, reason, &mut step) else { return Ok(()) };
        if self.clients.len() >= self.limits.clients {
            self.fail(id, out);
            return Ok(());
        }
        let cancel = self.clients.reserve();
        self.cancels.insert(slot, cancel);
        self.open_client(cancel, id, flow, now, out, |step| ClientMachine::NonInvite {
            method: Method::Cancel,
            machine: ClientNonInvite::start(request.as_bytes().clone(), step),
            cancels: Some(slot),
        });
        Ok(())
    }

    /// RFC 3261 §17.1.4: what a client transaction sent could not be delivered.
    pub fn transport_error(&mut self, id: ClientId, out: &mut Vec<Output>) {
        if let Some(&slot) = self.by_client.get(&id) {
            self.fail_slot(slot, out);
        }
    }

    /// RFC 3261 §18.4: nothing sent on `flow` arrives: every client transaction on it without final response fails. Looks at
    /// every client transaction, so it is for the rare event.
    pub fn flow_failed(&mut self, flow: &Flow, out: &mut Vec<Output>) {
        let on_it: Vec<_> =
            self.clients.iter().filter(|(_, client)| client.flow == *flow).map(|(slot, _)| slot).collect();
        for slot in on_it {
            self.fail_slot(slot, out);
        }
    }

    /// RFC 3261 §17.1.3: branch and method of CSeq.
    pub(super) fn response(&mut self, response: Response, now: Tick, out: &mut Vec<Output>) {
        let Some(slot) = self.client_of(&response) else {
            self.stats.stray += 1;
            out.push(Output::StrayResponse(response));
            return;
        };
        let mut due_cancel = None;
        self.with_client(slot, now, out, |client, step| match &mut client.machine {
            ClientMachine::Invite(machine) => {
                let fate = machine.received(client.id, response, step);
                due_cancel = machine.due_cancel().map(|wanted| (client.id, wanted));
                fate
            }
            ClientMachine::NonInvite { machine, .. } => machine.received(client.id, response, step),
        });
        if let Some((invite, WantedCancel { id, reason })) = due_cancel {
            // With its final response in, the INVITE needs no CANCEL any more.
            let _ = self.cancel(invite, id, reason.as_deref(), now, out);
        }
    }

    fn client_of(&self, response: &Response) -> Option<SlotRef> {
        let named = self.keys.client(&response.top_branch()?)?;
        let wanted = response.cseq().method;
        let slot = if wanted == Method::Cancel { *self.cancels.get(&named)? } else { named };
        let method = match &self.clients.get(slot)?.machine {
            ClientMachine::Invite(_) => &Method::Invite,
            ClientMachine::NonInvite { method, .. } => method,
        };
        (*method == wanted).then_some(slot)
    }

    fn open_client(
        &mut self,
        slot: SlotRef,
        id: ClientId,
        flow: Flow,
        now: Tick,
        out: &mut Vec<Output>,
        start: impl FnOnce(&mut Step<'_>) -> ClientMachine,
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
        let machine = start(&mut step);
        self.clients.fill(slot, Client { id, flow, machine });
        self.by_client.insert(id, slot);
    }

    pub(super) fn with_client(
        &mut self,
        slot: SlotRef,
        now: Tick,
        out: &mut Vec<Output>,
        run: impl FnOnce(&mut Client, &mut Step<'_>) -> Fate,
    ) {
        let Some(client) = self.clients.get_mut(slot) else { return };
        let mut step = Step {
            timers: &self.timers,
            deadlines: &mut self.deadlines,
            stats: &mut self.stats,
            out,
            now,
            slot,
            flow: client.flow,
        };
        if run(client, &mut step) == Fate::Ends {
            self.close_client(slot);
        }
    }

    fn close_client(&mut self, slot: SlotRef) {
        let Some(client) = self.clients.remove(slot) else { return };
        if self.by_client.get(&client.id) == Some(&slot) {
            self.by_client.remove(&client.id);
        }
        if let ClientMachine::NonInvite { cancels: Some(invite), .. } = client.machine {
            self.cancels.remove(&invite);
        }
    }

    fn fail_slot(&mut self, slot: SlotRef, out: &mut Vec<Output>) {
        let Some(client) = self.clients.get(slot).filter(|client| client.machine.is_unanswered()) else {
            return;
        };
        let id = client.id;
        self.close_client(slot);
        self.fail(id, out);
    }

    fn fail(&mut self, id: ClientId, out: &mut Vec<Output>) {
        self.stats.failed += 1;
        out.push(Output::TransportFailed { id });
    }
}

impl Client {
    pub(super) fn fired(&mut self, timer: Timer, step: &mut Step<'_>) -> Fate {
        match &mut self.machine {
            ClientMachine::Invite(machine) => machine.fired(self.id, timer, step),
            ClientMachine::NonInvite { machine, .. } => machine.fired(self.id, timer, step),
        }
    }
}

impl ClientMachine {
    fn is_unanswered(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.is_unanswered(),
            Self::NonInvite { machine, .. } => machine.is_unanswered(),
        }
    }
}

fn with_via(request: &Request, flow: &Flow, via: &ViaTemplate, branch: &Branch) -> Request {
    let rport = if via.rport { ";rport" } else { "" };
    let transport = flow.transport.as_str();
    let mut value = String::with_capacity(128);
    for piece in ["SIP/2.0/", transport, " ", &via.sent_by, ";branch="] {
        value.push_str(piece);
    }
    branch.write(&mut value);
    value.push_str(rport);
    Request(request.with_top_via(&value))
}
