//! RFC 3261 §17 — the table of all transactions: finds the machine a message belongs to and runs it.

use super::client::Client;
use super::key::{Hashed, Keys};
use super::server::Server;
use super::slots::{SlotRef, Slots};
use super::timers::{Deadlines, Tick, Timers};
use super::{ClientId, Flow, Limits, Output, Stats};
use crate::Message;
use ahash::RandomState;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// All transactions of one transaction user.
pub struct Table {
    pub(super) timers: Timers,
    pub(super) limits: Limits,
    pub(super) keys: Keys,
    pub(super) servers: Slots<Server>,
    pub(super) by_key: HashMap<u128, SlotRef, BuildHasherDefault<Hashed>>,
    pub(super) clients: Slots<Client>,
    pub(super) by_client: HashMap<ClientId, SlotRef, RandomState>,
    /// The CANCEL of an INVITE shares its branch, which names the place of the INVITE.
    pub(super) cancels: HashMap<SlotRef, SlotRef, RandomState>,
    pub(super) deadlines: Deadlines,
    pub(super) unanswered: usize,
    pub(super) stateless: u64,
    pub(super) stats: Stats,
}

impl Table {
    /// An empty table.
    ///
    /// The seed must be fresh in every process and for every table, 128 bits of chance: it makes branches unique and
    /// unguessable, and hashing proof against crafted collisions.
    pub fn new(timers: Timers, limits: Limits, seed: [u64; 2]) -> Self {
        let timers = timers.sane();
        let [a, b] = seed;
        let state = RandomState::with_seeds(a, b, a.rotate_left(17), b.rotate_left(29));
        Self {
            deadlines: Deadlines::new(&timers),
            timers,
            limits,
            keys: Keys::new(seed),
            servers: Slots::new(),
            by_key: HashMap::default(),
            clients: Slots::new(),
            by_client: HashMap::with_hasher(state.clone()),
            cancels: HashMap::with_hasher(state),
            unanswered: 0,
            stateless: 0,
            stats: Stats::default(),
        }
    }

    /// Takes a message that came on `flow`.
    pub fn receive(&mut self, message: Message, flow: Flow, now: Tick, out: &mut Vec<Output>) {
        match message {
            Message::Request(request) => self.request(request, flow, now, out),
            Message::Response(response) => self.response(response, now, out),
        }
    }

    /// When [`Self::expire`] has something to do; may be early, never late.
    pub fn next_deadline(&self) -> Option<Tick> {
        self.deadlines.next()
    }

    /// Runs what is due at `now`.
    pub fn expire(&mut self, now: Tick, out: &mut Vec<Output>) {
        while let Some(due) = self.deadlines.pop(now) {
            if due.timer.is_client() {
                self.with_client(due.slot, now, out, |client, step| client.fired(due.timer, step));
            } else {
                self.with_server(due.slot, now, out, |server, step| server.fired(due.timer, step));
            }
        }
        let (servers, clients) = (&self.servers, &self.clients);
        self.deadlines.prune(|due| {
            if due.timer.is_client() {
                clients.get(due.slot).is_none()
            } else {
                servers.get(due.slot).is_none()
            }
        });
    }

    /// Transactions of both sides.
    pub fn len(&self) -> usize {
        self.servers.len() + self.clients.len()
    }

    /// Whether there is no transaction.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Server transactions.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Client transactions.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Server transactions that wait for the user's final response.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// What has been counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::transaction::ViaTemplate;
    use crate::{Method, Name, Request, Status, Transport, Uri};
    use std::net::SocketAddr;

    fn request(method: Method) -> Request {
        let cseq = format!("1 {method}");
        Request::build(method, &Uri::parse("sip:home.net").unwrap())
            .header(Name::From, "<sip:a@home.net>;tag=a")
            .header(Name::To, "<sip:a@home.net>")
            .header(Name::CallId, "c")
            .header(Name::CSeq, cseq)
            .finish()
    }

    #[test]
    fn no_index_outlives_its_transaction() {
        let address = SocketAddr::from(([192, 0, 2, 1], 5060));
        let flow = Flow { transport: Transport::Udp, local: address, remote: address, connection: 0 };
        let via = ViaTemplate::new("192.0.2.1");
        let mut table = Table::new(Timers::default(), Limits::default(), [1, 2]);
        let mut out = Vec::new();
        table.send(ClientId(1), request(Method::Invite), flow, &via, Tick(0), &mut out);
        table.send(ClientId(2), request(Method::Notify), flow, &via, Tick(0), &mut out);
        let octets: Vec<_> = out
            .drain(..)
            .filter_map(|output| if let Output::Transmit { bytes, .. } = output { Some(bytes) } else { None })
            .collect();
        // What it sent comes back to it: requests of its own peer.
        for octets in octets {
            let message = Message::parse_datagram(octets).unwrap();
            if let Message::Request(request) = &message
                && *request.method() == Method::Invite
            {
                let ringing = request.respond(Status::RINGING, "b").finish();
                table.receive(ringing.into(), flow, Tick(0), &mut out);
                table.cancel(ClientId(1), ClientId(3), None, Tick(0), &mut out).unwrap();
            }
            table.receive(message, flow, Tick(0), &mut out);
        }
        assert_eq!((table.by_client.len(), table.cancels.len(), table.by_key.len()), (3, 1, 2));
        while let Some(at) = table.next_deadline() {
            table.expire(at, &mut out);
        }
        assert!(table.is_empty());
        assert_eq!((table.by_client.len(), table.cancels.len(), table.by_key.len()), (0, 0, 0));
    }
}
