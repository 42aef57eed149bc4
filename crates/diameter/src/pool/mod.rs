//! RFC 6733 §5.1, RFC 6733 §5.5.4 — several peers: which one gets a request, and what happens to it when that one fails.
//!
//! The pool owns a [`Peer`] per connection and asks its caller only to open, feed and close transports. Every request
//! ends in exactly one [`Output::Answer`] or [`Output::Failed`], no later than the request timeout.

mod link;
mod request;

use crate::{
    Identity, Message, Tick,
    base::{self, DisconnectCause},
    chance,
    message::LIMIT,
    peer::{self, Closed, Peer, State},
};
use ahash::AHashMap;
use bytes::Bytes;
use link::{Link, Stage};
use request::Pending;
use std::{collections::BTreeSet, fmt, net::IpAddr};

/// How a pool behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Of each connection; its seed is the pool's.
    pub peer: peer::Config,
    /// How long a request may take in all, in milliseconds.
    pub request_timeout_ms: u32,
    /// How long a request waits for a connection while there is none, in milliseconds.
    pub wait_for_connection_ms: u32,
    /// First delay before a connection is tried again, in milliseconds; it doubles with each failure.
    pub reconnect_min_ms: u32,
    /// Tc of RFC 6733 §2.1, the longest such delay, in milliseconds.
    pub reconnect_max_ms: u32,
    /// How long opening a transport may take, in milliseconds.
    pub connect_ms: u32,
    /// Requests that may be under way.
    pub max_pending: usize,
}

impl Config {
    /// With these connections; 5 s per request, 1 s of waiting for a connection, reconnection from 100 ms to 30 s.
    pub fn new(peer: peer::Config) -> Self {
        Self {
            peer,
            request_timeout_ms: 5_000,
            wait_for_connection_ms: 1_000,
            reconnect_min_ms: 100,
            reconnect_max_ms: 30_000,
            connect_ms: 5_000,
            max_pending: 10_000,
        }
    }
}

/// A peer to connect to; the pool knows it by its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Lower goes first.
    pub priority: u16,
}

/// One connection, or one attempt at it; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What a pool asks of its owner.
#[derive(Clone, PartialEq)]
pub enum Output {
    /// Open a transport to this target; then call [`Pool::connected`] or [`Pool::connect_failed`].
    Connect { link: LinkId, target: usize },
    /// Octets for a transport.
    Transmit { link: LinkId, bytes: Bytes },
    /// Close a transport, or give up opening it; nothing else follows for this link.
    Close { link: LinkId, reason: Closed },
    /// A peer is ready for requests.
    Opened { link: LinkId, host: Box<str>, realm: Box<str> },
    /// A request of a peer's, to be answered with [`Pool::answer`].
    Request { link: LinkId, message: Message },
    /// The answer to a request of ours.
    Answer { token: u64, message: Message },
    /// A request of ours that will have no answer.
    Failed { token: u64, why: Why },
}

/// Why a request has no answer.
pub use peer::Why;

/// What is known of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// Its place in the list of targets; `None` for one that the peer opened.
    pub target: Option<usize>,
    /// Origin-Host, once it was learned.
    pub host: Option<&'a str>,
    /// State of the connection; `None` while there is none.
    pub state: Option<State>,
    /// Requests that await their answers on it.
    pub pending: usize,
}

/// Octets for the wire may hold keys, so they are never shown.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { link, target } => write!(f, "Connect({link:?}, {target})"),
            Self::Transmit { link, bytes } => write!(f, "Transmit({link:?}, {} octets)", bytes.len()),
            Self::Close { link, reason } => write!(f, "Close({link:?}, {reason:?})"),
            Self::Opened { link, host, realm } => write!(f, "Opened({link:?}, {host}, {realm})"),
            Self::Request { link, message } => write!(f, "Request({link:?}, {message:?})"),
            Self::Answer { token, message } => write!(f, "Answer({token}, {message:?})"),
            Self::Failed { token, why } => write!(f, "Failed({token}, {why:?})"),
        }
    }
}

/// Several peers.
#[derive(Debug)]
pub struct Pool {
    identity: Identity,
    config: Config,
    links: Vec<Link>,
    next_link: u64,
    chance: u64,
    stopping: bool,
    requests: AHashMap<u64, Pending>,
    /// When each request needs attention.
    wakes: BTreeSet<(Tick, u64)>,
    /// Requests that wait for a connection.
    waiting: BTreeSet<u64>,
    next_request: u64,
    next_end_to_end: u32,
}

impl Pool {
    /// Asks at once for a connection to each target.
    pub fn new(
        identity: Identity,
        config: Config,
        targets: &[Target],
        now: Tick,
        out: &mut Vec<Output>,
    ) -> Self {
        let mut seed = config.peer.seed;
        let next_end_to_end = chance::next(&mut seed) as u32;
        let mut pool = Self {
            identity,
            config,
            links: Vec::new(),
            next_link: 0,
            chance: seed,
            stopping: false,
            requests: AHashMap::new(),
            wakes: BTreeSet::new(),
            waiting: BTreeSet::new(),
            next_request: 0,
            next_end_to_end,
        };
        for (number, target) in targets.iter().enumerate() {
            pool.links.push(Link::new(Some(number), target.priority));
            pool.connect(number, now, out);
        }
        pool
    }

    /// The transport is open, from this local address.
    pub fn connected(&mut self, link: LinkId, local: IpAddr, now: Tick, out: &mut Vec<Output>) {
        if let Some(at) = self.opening(link) {
            let identity = Identity { host_ip: local, ..self.identity.clone() };
            let mut heard = Vec::new();
            let peer = Peer::initiator(identity, self.peer_config(), now, &mut heard);
            self.links[at].stage = Stage::Up(Box::new(peer));
            self.absorb(at, heard, now, out);
        }
    }

    /// A peer has opened a transport to us; it is used like those we open, after them.
    pub fn accepted(&mut self, local: IpAddr, now: Tick) -> LinkId {
        let identity = Identity { host_ip: local, ..self.identity.clone() };
        let mut link = Link::new(None, u16::MAX);
        link.id = self.draw_link();
        link.stage = Stage::Up(Box::new(Peer::responder(identity, self.peer_config(), now)));
        let id = link.id;
        self.links.push(link);
        id
    }

    /// The transport cannot be opened.
    pub fn connect_failed(&mut self, link: LinkId, now: Tick) {
        if let Some(at) = self.opening(link) {
            self.back_off(at, Closed::Lost, now);
        }
    }

    /// The transport is gone.
    pub fn lost(&mut self, link: LinkId, now: Tick, out: &mut Vec<Output>) {
        self.with_peer(link, now, out, |peer, heard| peer.lost(heard));
    }

    /// Takes octets from a transport.
    pub fn receive(&mut self, link: LinkId, octets: &[u8], now: Tick, out: &mut Vec<Output>) {
        self.with_peer(link, now, out, |peer, heard| peer.receive(octets, now, heard));
    }

    /// Sends the answer to a request that came by this link; dropped if the link is gone.
    pub fn answer(&mut self, link: LinkId, message: Message, now: Tick, out: &mut Vec<Output>) {
        self.with_peer(link, now, out, |peer, heard| peer.answer(message, heard));
    }

    /// Sends a request to whom it suits best. Its Destination-Host is respected while that host can be reached.
    pub fn request(&mut self, mut message: Message, token: u64, now: Tick, out: &mut Vec<Output>) {
        let refusal = if self.stopping {
            Some(Why::Disconnected)
        } else if self.requests.len() >= self.config.max_pending {
            Some(Why::Overloaded)
        } else if message.length() > LIMIT {
            Some(Why::TooLarge)
        } else {
            None
        };
        if let Some(why) = refusal {
            out.push(Output::Failed { token, why });
            return;
        }
        if message.end_to_end == 0 {
            message.end_to_end = self.next_end_to_end.max(1);
            self.next_end_to_end = self.next_end_to_end.wrapping_add(1);
        }
        let id = self.next_request;
        self.next_request += 1;
        let deadline = now.after(self.config.request_timeout_ms.into());
        self.requests.insert(id, Pending::new(message, token, deadline));
        self.wakes.insert((deadline, id));
        self.dispatch(id, now, out);
    }

    /// Takes leave of every peer; requests that wait for a connection fail at once, new ones too.
    pub fn disconnect(&mut self, cause: DisconnectCause, now: Tick, out: &mut Vec<Output>) {
        self.stopping = true;
        for id in std::mem::take(&mut self.waiting) {
            self.finish(id, Err(Why::Disconnected), out);
        }
        for at in 0..self.links.len() {
            let mut heard = Vec::new();
            match &mut self.links[at].stage {
                Stage::Up(peer) => peer.disconnect(cause, now, &mut heard),
                Stage::Opening { .. } => {
                    out.push(Output::Close { link: self.links[at].id, reason: Closed::Ours })
                }
                Stage::Waiting { .. } | Stage::Over => {}
            }
            if !matches!(self.links[at].stage, Stage::Up(_)) {
                self.links[at].stage = Stage::Over;
            }
            self.absorb(at, heard, now, out);
        }
        self.forget_links();
    }

    /// When [`Pool::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Tick> {
        let links = self.links.iter().filter_map(Link::deadline);
        links.chain(self.wakes.first().map(|(at, _)| *at)).min()
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Tick, out: &mut Vec<Output>) {
        while let Some(&(at, id)) = self.wakes.first() {
            if at > now {
                break;
            }
            self.wakes.remove(&(at, id));
            self.wake(id, now, out);
        }
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            if link.deadline().is_none_or(|due| due > now) {
                continue;
            }
            match &mut link.stage {
                Stage::Up(peer) => {
                    let mut heard = Vec::new();
                    peer.expire(now, &mut heard);
                    self.absorb(at, heard, now, out);
                }
                Stage::Opening { .. } => {
                    out.push(Output::Close { link: link.id, reason: Closed::NotEstablished });
                    self.back_off(at, Closed::NotEstablished, now);
                }
                Stage::Waiting { .. } => self.connect(at, now, out),
                Stage::Over => {}
            }
        }
        self.forget_links();
    }

    /// Links on which requests may be sent.
    pub fn open_links(&self) -> usize {
        self.links.iter().filter(|link| link.is_open()).count()
    }

    /// Whether every connection is over after [`Pool::disconnect`].
    pub fn is_over(&self) -> bool {
        self.stopping && self.links.iter().all(|link| matches!(link.stage, Stage::Over))
    }

    /// Requests that are under way.
    pub fn pending(&self) -> usize {
        self.requests.len()
    }

    /// What is known of each link.
    pub fn statuses(&self) -> impl Iterator<Item = Status<'_>> {
        self.links.iter().map(Link::status)
    }

    fn opening(&self, link: LinkId) -> Option<usize> {
        self.links.iter().position(|l| l.id == link && matches!(l.stage, Stage::Opening { .. }))
    }

    fn with_peer(
        &mut self,
        link: LinkId,
        now: Tick,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Peer, &mut Vec<peer::Output>),
    ) {
        let Some(at) = self.links.iter().position(|l| l.id == link) else { return };
        if let Stage::Up(peer) = &mut self.links[at].stage {
            let mut heard = Vec::new();
            act(peer, &mut heard);
            self.absorb(at, heard, now, out);
            self.forget_links();
        }
    }

    fn absorb(&mut self, at: usize, heard: Vec<peer::Output>, now: Tick, out: &mut Vec<Output>) {
        let link = self.links[at].id;
        for output in heard {
            match output {
                peer::Output::Transmit(bytes) => out.push(Output::Transmit { link, bytes }),
                peer::Output::Request(message) => out.push(Output::Request { link, message }),
                peer::Output::Open { host, realm } => {
                    self.links[at].host = Some(host.clone());
                    self.links[at].failures = 0;
                    out.push(Output::Opened { link, host, realm });
                    self.elect(at, now, out);
                    for id in std::mem::take(&mut self.waiting) {
                        self.dispatch(id, now, out);
                    }
                }
                peer::Output::Answer { token, message } => self.answered(token, at, message, now, out),
                peer::Output::Failed { token, why } => self.failed(token, why, now, out),
                peer::Output::Close { reason } => {
                    out.push(Output::Close { link, reason });
                    self.back_off(at, reason, now);
                }
            }
        }
    }

    /// RFC 6733 §5.6.4: of two connections with one peer, the one that the higher Origin-Host accepted stays.
    fn elect(&mut self, at: usize, now: Tick, out: &mut Vec<Output>) {
        let Some(host) = self.links[at].host.clone() else { return };
        let opened_by_us = self.links[at].target.is_some();
        let rival =
            |link: &Link| link.is_open() && link.is_host(&host) && link.target.is_some() != opened_by_us;
        let Some(other) = self.links.iter().position(rival) else { return };
        let keep_accepted = base::wins_election(&self.identity.origin_host, &host);
        let loser = if keep_accepted == opened_by_us { at } else { other };
        let mut heard = Vec::new();
        if let Stage::Up(peer) = &mut self.links[loser].stage {
            peer.disconnect(DisconnectCause::DoNotWantToTalkToYou, now, &mut heard);
        }
        self.absorb(loser, heard, now, out);
    }

    fn peer_config(&mut self) -> peer::Config {
        peer::Config { seed: chance::next(&mut self.chance), ..self.config.peer.clone() }
    }

    fn draw_link(&mut self) -> LinkId {
        self.next_link += 1;
        LinkId(self.next_link)
    }
}
