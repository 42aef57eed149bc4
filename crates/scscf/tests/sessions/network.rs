//! A network in virtual time: messages are late, out of order, doubled or lost; every place has a transaction table of its own.

use crate::ue::Alarm;
use bytes::Bytes;
use scscf::{CxPurpose, Impi, SharedContact, cx};
use sip::transaction::{ClientId, Flow, Gone, Limits, Output, ServerId, Table, Tick, Timers, ViaTemplate};
use sip::{Message, Request, Response, Scheme, Transport, Uri};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// A generator of numbers that needs nothing but a seed (xorshift64*).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.roll() % sides
    }

    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len() as u64) as usize;
        from[at].clone()
    }
}

/// What the network does to a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Per cent.
    pub(crate) lost: u64,
    /// Per cent.
    pub(crate) doubled: u64,
    /// Longest delay, milliseconds.
    pub(crate) delay: u64,
}

/// What is to happen.
pub(crate) enum Item {
    Datagram { from: SocketAddr, to: SocketAddr, octets: Bytes },
    CxAnswer { user: usize, owner: u32, to: CxPurpose, answer: cx::Answer },
    Sibling { user: usize, impi: Impi, contacts: Vec<SharedContact> },
    Alarm { phone: usize, alarm: Alarm },
    Act(usize),
}

pub(crate) struct Network {
    /// Milliseconds since the beginning.
    pub(crate) now: u64,
    pub(crate) dice: Dice,
    pub(crate) weather: Weather,
    pub(crate) sent: u64,
    queue: BTreeMap<(u64, u64), Item>,
    serial: u64,
}

impl Network {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        Self { now: 0, dice: Dice::new(seed), weather, sent: 0, queue: BTreeMap::new(), serial: 0 }
    }

    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Something happens `after` so many milliseconds.
    pub(crate) fn later(&mut self, after: u64, item: Item) {
        let serial = self.serial();
        self.queue.insert((self.now + after, serial), item);
    }

    fn put(&mut self, from: SocketAddr, to: SocketAddr, octets: &Bytes) {
        self.sent += 1;
        let copies = 1 + u64::from(self.dice.chance(self.weather.doubled));
        for _ in 0..copies {
            if !self.dice.chance(self.weather.lost) {
                let delay = self.dice.between(1, self.weather.delay);
                self.later(delay, Item::Datagram { from, to, octets: octets.clone() });
            }
        }
    }

    pub(crate) fn next(&self) -> Option<u64> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<Item> {
        self.queue.pop_first().map(|(_, item)| item)
    }
}

pub(crate) const fn address(a: u8, b: u8, c: u8, d: u8) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), 5060))
}

/// Where requests to the S-CSCF go.
pub(crate) const FRONT: SocketAddr = address(10, 1, 0, 1);
/// The P-CSCF.
pub(crate) const EDGE: SocketAddr = address(10, 3, 0, 1);
/// Whoever pretends to be a UE.
pub(crate) const ATTACKER: SocketAddr = address(10, 6, 6, 6);

/// Where a user's own transactions live.
pub(crate) const fn owner(user: usize) -> SocketAddr {
    address(10, 1, 1, user as u8)
}

pub(crate) const fn server(server: usize) -> SocketAddr {
    address(10, 2, 0, server as u8)
}

pub(crate) const fn remote(remote: usize) -> SocketAddr {
    address(192, 0, 2, remote as u8)
}

/// Whether the S-CSCF believes what comes from there.
pub(crate) fn trusted(address: SocketAddr) -> bool {
    !address.ip().to_string().starts_with("192.")
}

/// Where a request goes: its first Route, else its Request-URI.
pub(crate) fn hop(request: &Request) -> Option<SocketAddr> {
    let routes = request.addresses(sip::Name::Route).unwrap();
    hop_of(routes.first().map_or_else(|| request.uri(), |route| &route.uri))
}

pub(crate) fn hop_of(uri: &Uri) -> Option<SocketAddr> {
    if uri.scheme() != Scheme::Sip {
        return None;
    }
    let numbered = |host: &str, prefix: &str, suffix: &str| {
        host.strip_prefix(prefix)?.strip_suffix(suffix)?.parse::<usize>().ok()
    };
    match uri.host() {
        "scscf.home1.net" | "home1.net" => Some(FRONT),
        "pcscf1.visited1.net" => Some(EDGE),
        "remote.net" => numbered(uri.user()?, "rem", "").map(remote),
        host => match numbered(host, "as", ".home1.net") {
            Some(number) => Some(server(number)),
            None => host.parse().ok().map(|ip| SocketAddr::new(ip, uri.port().unwrap_or(5060))),
        },
    }
}

/// The transactions of one place.
pub(crate) struct Stack {
    pub(crate) address: SocketAddr,
    pub(crate) table: Table,
    out: Vec<Output>,
    clients: u64,
}

impl Stack {
    pub(crate) fn new(address: SocketAddr, seed: u64) -> Self {
        let table = Table::new(Timers::default(), Limits::default(), [seed, !seed]);
        Self { address, table, out: Vec::new(), clients: 0 }
    }

    fn flow(&self, remote: SocketAddr) -> Flow {
        Flow { transport: Transport::Udp, local: self.address, remote, connection: 0 }
    }

    fn via(&self, mark: Option<u64>) -> ViaTemplate {
        ViaTemplate { mark, ..ViaTemplate::new(&self.address.to_string()) }
    }

    pub(crate) fn receive(&mut self, message: Message, from: SocketAddr, now: u64) {
        let flow = self.flow(from);
        self.table.receive(message, flow, Tick(now), &mut self.out);
    }

    pub(crate) fn expire(&mut self, now: u64) {
        self.table.expire(Tick(now), &mut self.out);
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.table.next_deadline().map(|tick| tick.0)
    }

    fn client(&mut self) -> ClientId {
        self.clients += 1;
        ClientId(self.clients)
    }

    /// Sends a request; nothing comes of it where its next hop is nowhere.
    pub(crate) fn send(&mut self, request: Request, mark: Option<u64>, now: u64) -> ClientId {
        let id = self.client();
        match hop(&request) {
            Some(to) => {
                let (flow, via) = (self.flow(to), self.via(mark));
                self.table.send(id, request, flow, &via, Tick(now), &mut self.out);
            }
            None => self.out.push(Output::TransportFailed { id }),
        }
        id
    }

    pub(crate) fn send_ack(&mut self, request: &Request) {
        if let Some(to) = hop(request) {
            let (flow, via) = (self.flow(to), self.via(None));
            self.table.send_ack(request, flow, &via, &mut self.out);
        }
    }

    pub(crate) fn cancel(&mut self, invite: ClientId, reason: Option<&str>, now: u64) {
        let id = self.client();
        // An INVITE with its final response needs no CANCEL.
        let _ = self.table.cancel(invite, id, reason, Tick(now), &mut self.out);
    }

    pub(crate) fn respond(&mut self, to: ServerId, response: Response, now: u64) -> Result<(), Gone> {
        self.table.respond(to, response, Tick(now), &mut self.out)
    }

    pub(crate) fn again(&mut self, to: ServerId, repeated: &Response, now: u64) -> Result<(), Gone> {
        self.table.again(to, repeated, Tick(now), &mut self.out)
    }

    /// What the table said, once everything it sends is on its way.
    pub(crate) fn said(&mut self, network: &mut Network) -> Vec<Output> {
        let said = std::mem::take(&mut self.out);
        let (own, rest): (Vec<_>, Vec<_>) =
            said.into_iter().partition(|output| matches!(output, Output::Transmit { .. }));
        for output in own {
            if let Output::Transmit { flow, bytes } = output {
                network.put(self.address, flow.remote, &bytes);
            }
        }
        rest
    }
}
