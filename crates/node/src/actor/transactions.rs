//! RFC 3261 §18.1.1, §18.2.1 — between the sockets and the transaction table: what comes in goes through it, what it says is done.

use super::next_hop::Hop;
use super::transport::LARGEST_DATAGRAM;
use crate::shell::Shell;
use ahash::AHashMap;
use scscf::{Event, Impi, Purpose, Reply, ServerTx};
use sip::transaction::{
    ClientId, Flow, Limits, Output, ServerId, Table, Tick, Timers, ViaTemplate, response_flow,
};
use sip::{Message, Name, ParseError, Request, Response, Status, Transport as Kind};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

/// The transaction table, and why each request of ours was sent.
pub(crate) struct Transactions {
    pub(crate) table: RefCell<Table>,
    sent: RefCell<AHashMap<ClientId, Sent>>,
    next: Cell<u64>,
    spare: RefCell<Vec<Vec<Output>>>,
}

struct Sent {
    impi: Impi,
    purpose: Purpose,
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
            table: RefCell::new(Table::new(timers, limits, rand::random())),
            sent: RefCell::default(),
            next: Cell::new(1),
            spare: RefCell::default(),
        }
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
            // Users keep no sessions: an INVITE has its final response before a CANCEL or an ACK can come.
            Output::Ack { .. } | Output::Cancel { .. } => {
                self.telemetry.unrouted.inc();
            }
            Output::Response { id, response } => {
                if response.status().is_final() {
                    self.replied(id, Reply::Response(response));
                }
            }
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
        let late =
            self.transact(|table, now, out| table.respond(ServerId(tx.0), response, now, out)).is_err();
        if late {
            self.telemetry.late.inc();
        }
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
    pub(crate) fn send(self: &Rc<Self>, impi: Impi, purpose: Purpose, request: Request) {
        let Some(hop) = Hop::of(&request) else {
            self.deliver_reply(impi, purpose, Reply::Unsendable);
            return;
        };
        if let Some(remote) = self.resolved(&hop) {
            self.send_to(impi, purpose, request, hop.transport, remote);
            return;
        }
        let shell = Rc::clone(self);
        tokio::task::spawn_local(async move {
            match shell.resolve(&hop).await {
                Some(remote) => shell.send_to(impi, purpose, request, hop.transport, remote),
                None => shell.deliver_reply(impi, purpose, Reply::Unsendable),
            }
        });
    }

    fn send_to(
        self: &Rc<Self>,
        impi: Impi,
        purpose: Purpose,
        request: Request,
        transport: Kind,
        remote: SocketAddr,
    ) {
        let now = self.clock.tick();
        let too_large = transport == Kind::Udp && request.as_bytes().len() + VIA > LARGEST_DATAGRAM;
        let by_tcp = too_large && self.transport.may_use_tcp(remote, now);
        let fallback = by_tcp.then(|| (request.clone(), remote));
        let transport = if by_tcp { Kind::Tcp } else { transport };
        self.launch(Sent { impi, purpose, fallback }, request, transport, remote);
    }

    fn launch(self: &Rc<Self>, sent: Sent, request: Request, transport: Kind, remote: SocketAddr) {
        let Some(flow) = self.flow_to(transport, remote) else {
            self.failed_to_send(sent);
            return;
        };
        let id = ClientId(self.transactions.next.get());
        self.transactions.next.set(id.0 + 1);
        let via = ViaTemplate { rport: true, ..ViaTemplate::new(&self.transport.sent_by(&flow)) };
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
