//! RFC 3261 §18.1.1, §18.2.1 — between the sockets and the transaction table: what comes in goes through it, what it says is done.

use super::next_hop::Hop;
use super::transport::LARGEST_DATAGRAM;
use crate::shell::Shell;
use ahash::AHashMap;
use scscf::{Event, Impi, Purpose, Reply, ServerTx};
use sip::transaction::{
    ClientId, Flow, Limits, Output, ServerId, Table, Tick, Timers, ViaTemplate, response_flow,
};
use sip::{Message, Method, Name, ParseError, Request, Response, Status, Transport as Kind};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

/// The transaction table, and why each request of ours was sent.
pub(crate) struct Transactions {
    pub(crate) table: RefCell<Table>,
    sent: RefCell<AHashMap<ClientId, Sent>>,
    /// Whose request each INVITE without final response is: CANCEL leads there.
    invites: RefCell<AHashMap<ServerTx, Impi>>,
    /// Forwarded INVITEs that were accepted, and until when their 2xx is listened for.
    accepted: RefCell<AHashMap<ClientId, Accepted>>,
    accepted_until: RefCell<VecDeque<(u64, ClientId)>>,
    /// 64*T1, milliseconds.
    accepted_for: u64,
    next: Cell<u64>,
    spare: RefCell<Vec<Vec<Output>>>,
}

/// Of a request that is forwarded: what it answers to, and its mark for loop detection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Onward {
    pub(crate) tx: Option<ServerTx>,
    pub(crate) mark: Option<u64>,
}

/// A forwarded INVITE that was accepted: its 2xx may come again.
struct Accepted {
    tx: ServerTx,
    impi: Impi,
    purpose: Purpose,
}

struct Sent {
    impi: Impi,
    purpose: Purpose,
    onward: Onward,
    /// Where it goes by UDP if TCP turns out to be refused.
    fallback: Option<(Request, SocketAddr)>,
}

/// What a Via adds to a request, roughly.
const VIA: usize = 120;

impl Transactions {
    pub(crate) fn new(config: &crate::Config) -> Self {
        let timers = Timers { t1: config.sip.t1, ..Timers::default() };
        let limits = Limits {
            servers: config.limits.transactions,
            clients: config.limits.transactions,
            retry_after: (1, config.limits.retry_after),
        };
        Self {
            accepted_for: timers.life(),
            table: RefCell::new(Table::new(timers, limits, rand::random())),
            sent: RefCell::default(),
            invites: RefCell::default(),
            accepted: RefCell::default(),
            accepted_until: RefCell::default(),
            next: Cell::new(1),
            spare: RefCell::default(),
        }
    }

    /// An INVITE has been brought to this user.
    pub(crate) fn opened(&self, tx: ServerTx, impi: &Impi) {
        self.invites.borrow_mut().insert(tx, impi.clone());
    }
}

impl Shell {
    /// Runs the table and does what it says.
    pub(crate) fn transact<T>(
        self: &Rc<Self>,
        run: impl FnOnce(&mut Table, Tick, &mut Vec<Output>) -> T,
    ) -> T {
        let mut out = self.transactions.spare.borrow_mut().pop().unwrap_or_default();
        let now = Tick(self.clock.tick());
        let result = run(&mut self.transactions.table.borrow_mut(), now, &mut out);
        for output in out.drain(..) {
            self.carry_out(output);
        }
        self.transactions.spare.borrow_mut().push(out);
        self.pace();
        result
    }

    pub(crate) fn took_message(self: &Rc<Self>, message: Message, flow: Flow) {
        self.transact(|table, now, out| table.receive(message, flow, now, out));
    }

    /// What is no SIP message is answered as far as it can be, and counted.
    pub(crate) fn took_garbage(self: &Rc<Self>, error: &ParseError, flow: Flow) {
        self.telemetry.unreadable.inc();
        if let Some(response) = error.response() {
            let flow = response_flow(&response.via(), &flow);
            self.telemetry.responded(response.status());
            self.transmit(&flow, response.as_bytes());
        }
    }

    fn carry_out(self: &Rc<Self>, output: Output) {
        match output {
            Output::Transmit { flow, bytes } => self.transmit(&flow, &bytes),
            Output::Request { id, request, flow } => self.route(ServerTx(id.0), request, &flow),
            Output::Ack { request, flow } => self.route_ack(request, &flow),
            Output::Cancel { of, request, .. } => self.took_cancel(of, &request),
            Output::Response { id, response } => self.took_response(id, response),
            Output::TimedOut { id } => self.replied(id, Reply::Timeout),
            Output::TransportFailed { id } => self.unsendable(id),
            Output::StrayResponse(_) => {
                self.telemetry.strays.inc();
            }
        }
    }

    /// Answers a request; the transaction may have been abandoned meanwhile.
    pub(crate) fn respond(self: &Rc<Self>, tx: ServerTx, response: Response) {
        self.telemetry.responded(response.status());
        if response.status().is_final() && response.cseq().method == Method::Invite {
            self.transactions.invites.borrow_mut().remove(&tx);
        }
        let late =
            self.transact(|table, now, out| table.respond(ServerId(tx.0), response, now, out)).is_err();
        if late {
            self.telemetry.late.inc();
        }
    }

    /// RFC 3261 §9.2: an INVITE shall end.
    fn took_cancel(self: &Rc<Self>, of: Option<ServerId>, request: &Request) {
        let Some(of) = of.map(|of| ServerTx(of.0)) else { return };
        let impi = self.transactions.invites.borrow().get(&of).cloned();
        match impi {
            Some(impi) => {
                let reason = request.get(Name::Reason).map(|reason| reason.into());
                self.deliver(&impi, Event::Cancel { of, reason }, None);
            }
            None => {
                self.telemetry.unrouted.inc();
            }
        }
    }

    /// A response to a request of a user's. Provisional ones matter to a request on its way only, 100 to none.
    fn took_response(self: &Rc<Self>, id: ClientId, response: Response) {
        let status = response.status();
        if status.is_success() && response.cseq().method == Method::Invite {
            self.accepted(id, response);
        } else if status.is_final() {
            self.replied(id, Reply::Response(response));
        } else if status != Status::TRYING {
            let relayed = self.transactions.sent.borrow().get(&id).and_then(|sent| {
                matches!(sent.purpose, Purpose::Relay(..)).then(|| (sent.impi.clone(), sent.purpose))
            });
            if let Some((impi, purpose)) = relayed {
                self.deliver_reply(impi, purpose, Reply::Response(response));
            }
        }
    }

    /// RFC 6026 §7.2: a 2xx to a forwarded INVITE. The first is its user's business, and so is one of another far end; one that
    /// comes again is sent again as it went before.
    fn accepted(self: &Rc<Self>, id: ClientId, response: Response) {
        let transactions = &self.transactions;
        let first = transactions.sent.borrow_mut().remove(&id);
        if let Some(Sent { impi, purpose, onward, .. }) = first {
            if let Some(tx) = onward.tx {
                let accepted = Accepted { tx, impi: impi.clone(), purpose };
                transactions.accepted.borrow_mut().insert(id, accepted);
                let now = self.clock.tick();
                let mut until = transactions.accepted_until.borrow_mut();
                while let Some((_, over)) = until.pop_front_if(|(at, _)| *at <= now) {
                    transactions.accepted.borrow_mut().remove(&over);
                }
                until.push_back((now + transactions.accepted_for, id));
            }
            self.deliver_reply(impi, purpose, Reply::Response(response));
            return;
        }
        let known = transactions
            .accepted
            .borrow()
            .get(&id)
            .map(|known| (known.tx, known.impi.clone(), known.purpose));
        let Some((tx, impi, purpose)) = known else {
            self.telemetry.strays.inc();
            return;
        };
        let again = self.transact(|table, now, out| table.again(ServerId(tx.0), &response, now, out));
        if again.is_err() {
            self.deliver_reply(impi, purpose, Reply::Response(response));
        }
    }

    /// Cancels what was sent for this purpose.
    pub(crate) fn cancel_sent(self: &Rc<Self>, impi: &Impi, purpose: Purpose, reason: Option<&str>) {
        let found = self
            .transactions
            .sent
            .borrow()
            .iter()
            .find_map(|(id, sent)| (sent.purpose == purpose && sent.impi == *impi).then_some(*id));
        let Some(invite) = found else { return };
        let id = ClientId(self.transactions.next.get());
        self.transactions.next.set(id.0 + 1);
        // An INVITE with its final response needs no CANCEL.
        let _ = self.transact(|table, now, out| table.cancel(invite, id, reason, now, out));
    }

    /// Sends an ACK to a 2xx, which has no transaction.
    pub(crate) fn pass(self: &Rc<Self>, request: Request) {
        let Some(hop) = Hop::of(&request) else {
            self.telemetry.unrouted.inc();
            return;
        };
        if let Some(remote) = self.resolved(&hop) {
            self.pass_to(&request, hop.transport, remote);
            return;
        }
        let shell = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if let Some(remote) = shell.resolve(&hop).await {
                shell.pass_to(&request, hop.transport, remote);
            }
        });
    }

    fn pass_to(self: &Rc<Self>, request: &Request, transport: Kind, remote: SocketAddr) {
        let Some(flow) = self.flow_to(transport, remote) else { return };
        let via = ViaTemplate { rport: true, ..ViaTemplate::new(&self.transport.sent_by(&flow)) };
        self.transact(|table, _, out| table.send_ack(request, flow, &via, out));
    }

    /// 503 with a Retry-After that differs from request to request, so that they do not come back together.
    pub(crate) fn unavailable(self: &Rc<Self>, tx: ServerTx, request: &Request) {
        let most = self.config.limits.retry_after.max(1);
        let after = 1 + rand::random::<u32>() % most;
        self.telemetry.overloaded.inc();
        let response = request.respond(Status::SERVICE_UNAVAILABLE, &self.tag());
        self.respond(tx, response.header(Name::RetryAfter, after).finish());
    }

    /// 500 for a request whose actor is gone.
    pub(crate) fn failed(self: &Rc<Self>, tx: ServerTx, request: &Request) {
        let response = request.respond(Status::SERVER_INTERNAL_ERROR, &self.tag());
        self.respond(tx, response.finish());
    }

    pub(crate) fn tag(&self) -> String {
        format!("{:016x}", rand::random::<u64>())
    }

    /// Sends a request of a user's; its fate comes back as an event.
    pub(crate) fn send(self: &Rc<Self>, impi: Impi, purpose: Purpose, request: Request, onward: Onward) {
        let Some(hop) = Hop::of(&request) else {
            self.deliver_reply(impi, purpose, Reply::Unsendable);
            return;
        };
        if let Some(remote) = self.resolved(&hop) {
            self.send_to(impi, purpose, request, onward, hop.transport, remote);
            return;
        }
        let shell = Rc::clone(self);
        tokio::task::spawn_local(async move {
            match shell.resolve(&hop).await {
                Some(remote) => shell.send_to(impi, purpose, request, onward, hop.transport, remote),
                None => shell.deliver_reply(impi, purpose, Reply::Unsendable),
            }
        });
    }

    fn send_to(
        self: &Rc<Self>,
        impi: Impi,
        purpose: Purpose,
        request: Request,
        onward: Onward,
        transport: Kind,
        remote: SocketAddr,
    ) {
        let now = self.clock.tick();
        let too_large = transport == Kind::Udp && request.as_bytes().len() + VIA > LARGEST_DATAGRAM;
        let by_tcp = too_large && self.transport.may_use_tcp(remote, now);
        let fallback = by_tcp.then(|| (request.clone(), remote));
        let transport = if by_tcp { Kind::Tcp } else { transport };
        self.launch(Sent { impi, purpose, onward, fallback }, request, transport, remote);
    }

    fn launch(self: &Rc<Self>, sent: Sent, request: Request, transport: Kind, remote: SocketAddr) {
        let Some(flow) = self.flow_to(transport, remote) else {
            self.failed_to_send(sent);
            return;
        };
        let id = ClientId(self.transactions.next.get());
        self.transactions.next.set(id.0 + 1);
        let via = ViaTemplate {
            mark: sent.onward.mark,
            rport: true,
            ..ViaTemplate::new(&self.transport.sent_by(&flow))
        };
        self.transactions.sent.borrow_mut().insert(id, sent);
        self.transact(|table, now, out| table.send(id, request, flow, &via, now, out));
    }

    fn replied(self: &Rc<Self>, id: ClientId, reply: Reply) {
        let sent = self.transactions.sent.borrow_mut().remove(&id);
        if let Some(Sent { impi, purpose, .. }) = sent {
            self.deliver_reply(impi, purpose, reply);
        }
    }

    fn unsendable(self: &Rc<Self>, id: ClientId) {
        let sent = self.transactions.sent.borrow_mut().remove(&id);
        if let Some(sent) = sent {
            self.failed_to_send(sent);
        }
    }

    /// RFC 3261 §18.1.1: what TCP refused goes by UDP, if it was to go by UDP but for its size.
    fn failed_to_send(self: &Rc<Self>, sent: Sent) {
        match sent.fallback {
            Some((request, remote)) => {
                let sent = Sent { fallback: None, ..sent };
                self.launch(sent, request, Kind::Udp, remote);
            }
            None => self.deliver_reply(sent.impi, sent.purpose, Reply::Unsendable),
        }
    }

    fn deliver_reply(self: &Rc<Self>, impi: Impi, purpose: Purpose, reply: Reply) {
        self.deliver_answer(&impi, Event::Reply { to: purpose, reply });
    }

    /// Nothing sent on this flow arrives.
    pub(crate) fn flow_failed(self: &Rc<Self>, flow: &Flow) {
        self.transact(|table, _, out| table.flow_failed(flow, out));
    }
}
