//! RFC 3261 §18.1.1, §18.2.1 — between the sockets and the transaction table: what comes in goes through it, what it says is done.

use crate::shell::Shell;
use scscf::{Reply, ServerTx};
use sip::transaction::{Flow, Limits, Output, ServerId, Table, Tick, Timers, response_flow};
use sip::{Message, Name, ParseError, Request, Response, Status};
use std::cell::RefCell;
use std::rc::Rc;

/// The transaction table.
pub(crate) struct Transactions {
    pub(crate) table: RefCell<Table>,
    spare: RefCell<Vec<Vec<Output>>>,
}

impl Transactions {
    pub(crate) fn new(config: &crate::Config) -> Self {
        let timers = Timers { t1: config.sip.t1, ..Timers::default() };
        let limits = Limits {
            servers: config.limits.transactions,
            clients: config.limits.transactions,
            retry_after: (1, config.limits.retry_after),
        };
        Self { table: RefCell::new(Table::new(timers, limits, rand::random())), spare: RefCell::default() }
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
            Output::TransportFailed { id } => self.replied(id, Reply::Unsendable),
            Output::StrayResponse(_) => {
                self.telemetry.strays.inc();
            }
        }
    }

    /// Answers a request; the transaction may have been abandoned meanwhile.
    pub(crate) fn respond(self: &Rc<Self>, tx: ServerTx, response: Response) {
        if response.status().is_final() {
            self.answer_copies(tx, &response);
        }
        if self.respond_abroad(tx, &response) {
            return;
        }
        self.telemetry.responded(response.status());
        if response.status().is_final() {
            self.relays.concluded(tx, &response);
        }
        let late =
            self.transact(|table, now, out| table.respond(ServerId(tx.0), response, now, out)).is_err();
        if late {
            self.telemetry.late.inc();
        }
    }

    /// 503 with a Retry-After that differs from request to request, so that they do not come back together.
    pub(crate) fn unavailable(self: &Rc<Self>, tx: ServerTx, request: &Request) {
        let most = self.config.limits.retry_after.max(1);
        self.put_off(tx, request, 1 + rand::random::<u32>() % most);
    }

    /// 503 for a request whose user changes hands, which takes no longer than a lease.
    pub(super) fn put_off_briefly(self: &Rc<Self>, tx: ServerTx, request: &Request) {
        self.put_off(tx, request, 1 + rand::random::<u32>() % 2);
    }

    fn put_off(self: &Rc<Self>, tx: ServerTx, request: &Request, after: u32) {
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

    /// Nothing sent on this flow arrives.
    pub(crate) fn flow_failed(self: &Rc<Self>, flow: &Flow) {
        self.transact(|table, _, out| table.flow_failed(flow, out));
    }
}
