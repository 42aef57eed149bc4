//! RFC 3261 §18.1.1, RFC 3263 §4.3 — requests on their way out: each goes to one place after the other until one takes it.

mod invites;

use super::next_hop::{Candidates, Question, Way, Wish};
use super::transport::LARGEST_DATAGRAM;
use crate::shell::Shell;
use ahash::AHashMap;
use invites::Invites;
use scscf::{Event, Impi, Purpose, Reply, ServerTx};
use sip::transaction::{ClientId, Flow, ViaTemplate};
use sip::{Method, Name, Request, Response, Status, Transport as Kind};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;

/// A request of a user's.
pub(crate) struct Sending {
    pub(crate) impi: Impi,
    pub(crate) purpose: Purpose,
    pub(crate) request: Request,
    /// It is one that is forwarded.
    pub(crate) relayed: Option<Relayed>,
}

/// What is to be known about a request that is forwarded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relayed {
    /// The request it answers to.
    pub(crate) tx: ServerTx,
    /// Goes into the branch, for loop detection.
    pub(crate) mark: u64,
}

/// A request that waits until its name is known.
pub(crate) struct Delayed {
    load: Load,
    wish: Wish,
}

enum Load {
    Request(ClientId, Sending),
    /// With its mark.
    Ack(Request, Option<u64>),
}

impl Delayed {
    pub(crate) fn wish(&self) -> Wish {
        self.wish
    }
}

/// Why each request of ours was sent, and where it may still go.
#[derive(Default)]
pub(crate) struct Outbox {
    sent: RefCell<AHashMap<ClientId, Sent>>,
    /// The INVITEs among them, and those that wait for a name: what a CANCEL may be for.
    invites: RefCell<Invites>,
    /// Those sent by UDP that have another place to go.
    movable: RefCell<BTreeSet<(SocketAddr, ClientId)>>,
    last: Cell<u64>,
}

/// A request with its client transaction.
pub(super) struct Sent {
    pub(super) impi: Impi,
    pub(super) purpose: Purpose,
    pub(super) relayed: Option<Relayed>,
    candidates: Candidates,
    /// As long as it may go elsewhere.
    request: Option<Request>,
    /// It went by TCP for its size alone (RFC 3261 §18.1.1), so UDP is next if TCP is refused.
    is_large: bool,
    /// An INVITE may be ringing, or may be cancelled.
    is_invite: bool,
    /// A provisional response came.
    provisional_seen: bool,
    /// One beyond 100 came: the other side is at work for this request.
    progress_seen: bool,
    /// It goes nowhere else.
    is_cancelled: bool,
}

/// What a Via adds to a request, roughly.
const VIA: usize = 120;
/// Bounds of a Retry-After that is believed, milliseconds.
const RETRY_AFTER: (u64, u64) = (1_000, 300_000);

impl Outbox {
    fn draw_id(&self) -> ClientId {
        self.last.set(self.last.get() + 1);
        ClientId(self.last.get())
    }

    fn put(&self, id: ClientId, sent: Sent, flow: &Flow) {
        if sent.is_invite {
            self.invites.borrow_mut().insert(&sent.impi, sent.purpose, id);
        }
        if !flow.transport.is_reliable() && !sent.candidates.is_last() {
            self.movable.borrow_mut().insert((flow.remote, id));
        }
        self.sent.borrow_mut().insert(id, sent);
    }

    pub(super) fn take(&self, id: ClientId) -> Option<Sent> {
        let sent = self.sent.borrow_mut().remove(&id)?;
        if !sent.candidates.is_last() {
            self.movable.borrow_mut().remove(&(sent.candidates.current().1, id));
        }
        Some(sent)
    }

    /// What was forwarded, if it still waits for its final response.
    pub(super) fn relayed(&self, id: ClientId) -> Option<(Impi, Purpose)> {
        let sent = self.sent.borrow();
        sent.get(&id).filter(|sent| sent.relayed.is_some()).map(|sent| (sent.impi.clone(), sent.purpose))
    }

    pub(super) fn forget_invite(&self, impi: &Impi, purpose: Purpose) {
        self.invites.borrow_mut().remove(impi, purpose);
    }
}

impl Shell {
    /// Sends a request of a user's; its fate comes back as an event.
    pub(crate) fn send(self: &Rc<Self>, sending: Sending) {
        match self.way_of(&sending.request) {
            Way::Open(candidates) => self.depart(sending, candidates),
            Way::Nowhere => self.deliver_reply(sending.impi, sending.purpose, Reply::Unsendable),
            Way::Ask(question, wish) => self.delay(question, sending, wish),
        }
    }

    fn delay(self: &Rc<Self>, question: Question, sending: Sending, wish: Wish) {
        let id = self.outbox.draw_id();
        if *sending.request.method() == Method::Invite {
            self.outbox.invites.borrow_mut().insert(&sending.impi, sending.purpose, id);
        }
        self.await_name(question, Delayed { load: Load::Request(id, sending), wish });
    }

    /// Sends the ACK to a 2xx, which has no transaction; nobody hears what becomes of it.
    pub(crate) fn pass(self: &Rc<Self>, ack: Request, mark: Option<u64>) {
        match self.way_of(&ack) {
            Way::Open(candidates) => self.pass_to(&ack, mark, candidates),
            Way::Nowhere => {
                self.telemetry.unsent.inc();
            }
            Way::Ask(question, wish) => {
                self.await_name(question, Delayed { load: Load::Ack(ack, mark), wish });
            }
        }
    }

    /// A request whose name was looked up goes on.
    pub(crate) fn resume(self: &Rc<Self>, delayed: Delayed, candidates: Option<Candidates>) {
        match (delayed.load, candidates) {
            (Load::Request(id, sending), candidates) => self.resume_request(id, sending, candidates),
            (Load::Ack(ack, mark), Some(candidates)) => self.pass_to(&ack, mark, candidates),
            (Load::Ack(..), None) => {
                self.telemetry.unsent.inc();
            }
        }
    }

    fn resume_request(self: &Rc<Self>, id: ClientId, sending: Sending, candidates: Option<Candidates>) {
        if *sending.request.method() == Method::Invite {
            let known = self.outbox.invites.borrow_mut().remove(&sending.impi, sending.purpose);
            let is_wanted = known == Some(id);
            // Whoever cancelled it was told so.
            if !is_wanted {
                return;
            }
        }
        match candidates {
            Some(candidates) => self.depart(sending, candidates),
            None => self.deliver_reply(sending.impi, sending.purpose, Reply::Unsendable),
        }
    }

    fn depart(self: &Rc<Self>, sending: Sending, candidates: Candidates) {
        let Sending { impi, purpose, request, relayed } = sending;
        let sent = Sent {
            impi,
            purpose,
            relayed,
            candidates,
            is_large: false,
            is_invite: *request.method() == Method::Invite,
            request: None,
            provisional_seen: false,
            progress_seen: false,
            is_cancelled: false,
        };
        self.launch(sent, request);
    }

    /// Sends it to the first of its places that can be sent to.
    fn launch(self: &Rc<Self>, mut sent: Sent, request: Request) {
        // At our own limit no other place helps.
        if self.transactions.table.borrow().clients() >= self.config.limits.transactions {
            self.report(sent, Reply::Unsendable);
            return;
        }
        loop {
            if let Some((flow, is_large)) = self.flow_for(&sent.candidates, &request) {
                sent.is_large = is_large;
                self.dispatch(sent, request, flow);
                return;
            }
            if !sent.candidates.advance() {
                self.report(sent, Reply::Unsendable);
                return;
            }
            self.telemetry.failovers.inc();
        }
    }

    fn pass_to(self: &Rc<Self>, ack: &Request, mark: Option<u64>, mut candidates: Candidates) {
        loop {
            if let Some((flow, _)) = self.flow_for(&candidates, ack) {
                let via = self.via(&flow, mark);
                self.transact(|table, _, out| table.send_ack(ack, flow, &via, out));
                return;
            }
            if !candidates.advance() {
                self.telemetry.unsent.inc();
                return;
            }
        }
    }

    /// RFC 3261 §18.1.1: the flow to the current place; that of TCP, and true, if the request is too large for UDP.
    fn flow_for(self: &Rc<Self>, candidates: &Candidates, request: &Request) -> Option<(Flow, bool)> {
        let (transport, remote) = candidates.current();
        let too_large = transport == Kind::Udp && request.as_bytes().len() + VIA > LARGEST_DATAGRAM;
        let by_tcp = too_large
            && !self.transport.is_own(remote)
            && self.transport.may_use_tcp(remote, self.clock.tick());
        let large = by_tcp.then(|| self.flow_to(Kind::Tcp, remote)).flatten().map(|flow| (flow, true));
        large.or_else(|| self.flow_to(transport, remote).map(|flow| (flow, false)))
    }

    fn via(&self, flow: &Flow, mark: Option<u64>) -> ViaTemplate {
        ViaTemplate { rport: true, mark, ..ViaTemplate::new(&self.transport.sent_by(flow)) }
    }

    fn dispatch(self: &Rc<Self>, mut sent: Sent, request: Request, flow: Flow) {
        let id = self.outbox.draw_id();
        let via = self.via(&flow, sent.relayed.map(|relayed| relayed.mark));
        sent.request = (sent.is_large || !sent.candidates.is_last()).then(|| request.clone());
        self.outbox.put(id, sent, &flow);
        self.transact(|table, now, out| table.send(id, request, flow, &via, now, out));
    }

    /// A provisional response: the other side lives.
    pub(crate) fn heard(&self, id: ClientId, response: &Response) {
        if let Some(sent) = self.outbox.sent.borrow_mut().get_mut(&id) {
            sent.provisional_seen = true;
            sent.progress_seen |= response.status() != Status::TRYING;
        }
    }

    /// Datagrams do not reach this address: what has another place to go goes there now, unless it was heard of.
    #[cfg(target_os = "linux")]
    pub(crate) fn unreached(self: &Rc<Self>, remote: SocketAddr) {
        let all = (remote, ClientId(0))..=(remote, ClientId(u64::MAX));
        let there: Vec<ClientId> = self.outbox.movable.borrow().range(all).map(|(_, id)| *id).collect();
        for id in there {
            let goes_on = self.outbox.sent.borrow().get(&id).is_some_and(Sent::is_unheard);
            if goes_on {
                self.transact(|table, _, out| table.transport_error(id, out));
            }
        }
    }

    /// The end of a client transaction: the request goes elsewhere, or its user is told.
    pub(crate) fn replied(self: &Rc<Self>, id: ClientId, reply: Reply) {
        let Some(mut sent) = self.outbox.take(id) else { return };
        let (transport, address) = sent.candidates.current();
        match self.dead_for(&sent, &reply) {
            Some(millis) => self.hops.dead.list(transport, address, millis, self.clock.tick()),
            None if matches!(reply, Reply::Response(_)) => self.hops.dead.forget(transport, address),
            None => {}
        }
        match sent.request.take().filter(|_| sent.may_go_on(&reply)) {
            // RFC 3261 §18.1.1: what TCP refused goes by UDP, if it was to go by UDP but for its size.
            Some(request) if sent.is_refused_by_tcp(&reply) => {
                sent.is_large = false;
                match self.flow_to(transport, address) {
                    Some(flow) => self.dispatch(sent, request, flow),
                    None => self.report(sent, reply),
                }
            }
            Some(request) if sent.candidates.advance() => {
                self.telemetry.failovers.inc();
                self.launch(sent, request);
            }
            Some(_) | None => self.report(sent, reply),
        }
    }

    /// How long others are to be tried before the hop that answered so, milliseconds.
    fn dead_for(&self, sent: &Sent, reply: &Reply) -> Option<u64> {
        // Nothing else leads to where an address leads.
        if !sent.candidates.is_named() || sent.is_refused_by_tcp(reply) {
            return None;
        }
        let usual = self.config.sip.dead_hop_s * 1000;
        match reply {
            Reply::Response(response) if response.status() == Status::SERVICE_UNAVAILABLE => {
                let wanted = retry_after(response).map(|wanted| wanted.clamp(RETRY_AFTER.0, RETRY_AFTER.1));
                Some(wanted.filter(|_| usual > 0).unwrap_or(usual))
            }
            Reply::Timeout | Reply::Unsendable if !sent.provisional_seen => Some(usual),
            Reply::Response(_) | Reply::Timeout | Reply::Unsendable => None,
        }
    }

    fn report(self: &Rc<Self>, sent: Sent, reply: Reply) {
        if sent.is_invite {
            self.outbox.forget_invite(&sent.impi, sent.purpose);
        }
        self.deliver_reply(sent.impi, sent.purpose, reply);
    }

    /// RFC 3261 §9.1: ends an INVITE of a user's at the place where it is now; it goes to no other. One that still waits for
    /// its name is not sent, and is told to be unsendable; one that has its answer stays as it is.
    pub(crate) fn cancel_sent(self: &Rc<Self>, impi: &Impi, purpose: Purpose, reason: Option<&str>) {
        let known = self.outbox.invites.borrow().get(impi, purpose);
        let Some(id) = known else { return };
        let is_sent = match self.outbox.sent.borrow_mut().get_mut(&id) {
            Some(sent) => {
                sent.is_cancelled = true;
                true
            }
            None => false,
        };
        if is_sent {
            let cancel = self.outbox.draw_id();
            // An INVITE whose final response is on its way needs no CANCEL.
            let _ = self.transact(|table, now, out| table.cancel(id, cancel, reason, now, out));
        } else {
            self.outbox.invites.borrow_mut().remove(impi, purpose);
            self.deliver_reply(impi.clone(), purpose, Reply::Unsendable);
        }
    }

    /// Cancels every INVITE of a user who lost what it knew of them: nobody waits for an answer any more.
    pub(crate) fn cancel_all(self: &Rc<Self>, impi: &Impi) {
        let own = self.outbox.invites.borrow().of(impi);
        for purpose in own {
            self.cancel_sent(impi, purpose, None);
        }
    }

    pub(crate) fn deliver_reply(self: &Rc<Self>, impi: Impi, purpose: Purpose, reply: Reply) {
        self.deliver_answer(&impi, Event::Reply { to: purpose, reply });
    }
}

impl Sent {
    /// RFC 3263 §4.3: another place is tried after a failure of the transport, a timeout or a 503; but not for an INVITE that
    /// may be at work where it is.
    fn may_go_on(&self, reply: &Reply) -> bool {
        let has_failed = match reply {
            Reply::Response(response) => {
                let has_refused = response.status() == Status::SERVICE_UNAVAILABLE;
                has_refused && !(self.is_invite && self.progress_seen)
            }
            Reply::Timeout | Reply::Unsendable => !(self.is_invite && self.provisional_seen),
        };
        has_failed && !self.is_cancelled
    }

    #[cfg(target_os = "linux")]
    fn is_unheard(&self) -> bool {
        !self.provisional_seen && !self.is_cancelled
    }

    fn is_refused_by_tcp(&self, reply: &Reply) -> bool {
        self.is_large && matches!(reply, Reply::Unsendable)
    }
}

/// RFC 3261 §20.33: milliseconds, without what may stand behind the number.
fn retry_after(response: &Response) -> Option<u64> {
    let text = response.get(Name::RetryAfter)?;
    let number = text.trim_start().split(|c: char| !c.is_ascii_digit()).next()?;
    number.parse::<u64>().ok()?.checked_mul(1000)
}

#[cfg(test)]
mod tests;
