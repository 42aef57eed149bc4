//! The HSS: connections to Diameter peers, our requests and their answers.

mod demand;
mod link;
mod profiles;

use crate::config::{Config, PeerAddress};
use crate::shell::Shell;
use ahash::AHashMap;
use demand::Demands;
use diameter::cx::{Kind, decode_answer_with, encode_request};
use diameter::pool::{self, LinkId, Output, Pool, Target};
use diameter::{Identity, Message, Tick, peer};
use link::Link;
use profiles::Profiles;
use scscf::cx::{Failure, Request};
use scscf::{CxPurpose, Event, Impi};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::time::Instant;

/// Everything between users and HSSs.
pub(crate) struct Cx {
    pub(crate) pool: RefCell<Pool>,
    identity: Identity,
    realm: Box<str>,
    targets: Vec<PeerAddress>,
    links: RefCell<AHashMap<LinkId, Rc<Link>>>,
    asked: RefCell<AHashMap<u64, Asked>>,
    next: Cell<u64>,
    demands: Demands,
    profiles: RefCell<Profiles>,
    first: RefCell<Vec<Output>>,
    /// High half of our Session-Ids: differs between two runs.
    era: u32,
}

struct Asked {
    impi: Impi,
    purpose: CxPurpose,
    kind: Kind,
    since: Instant,
}

impl Cx {
    pub(crate) fn new(config: &Config, now: u64, era: u32) -> Self {
        let or_domain = |text: &str| -> Box<str> {
            if text.is_empty() { config.node.domain.as_str().into() } else { text.into() }
        };
        let host = if config.cx.origin_host.is_empty() {
            format!("{}.scscf.{}", config.node.id, config.node.domain)
        } else {
            config.cx.origin_host.clone()
        };
        let identity =
            Identity { origin_state_id: era, ..Identity::new(&host, &or_domain(&config.cx.origin_realm)) };
        let targets = config.peers();
        let priorities: Vec<Target> =
            (0..targets.len()).map(|at| Target { priority: u16::try_from(at).unwrap_or(u16::MAX) }).collect();
        let watchdog_ms = config.cx.watchdog * 1000;
        let peer = peer::Config { watchdog_ms, ..peer::Config::scscf(rand::random()) };
        let settings =
            pool::Config { request_timeout_ms: config.cx.request_timeout * 1000, ..pool::Config::new(peer) };
        let mut first = Vec::new();
        let pool = Pool::new(identity.clone(), settings, &priorities, Tick(now), &mut first);
        Self {
            pool: RefCell::new(pool),
            identity,
            realm: or_domain(&config.cx.destination_realm),
            targets,
            links: RefCell::default(),
            asked: RefCell::default(),
            next: Cell::new(1),
            demands: Demands::default(),
            profiles: RefCell::default(),
            first: RefCell::new(first),
            era,
        }
    }

    /// A user who was loaded has its filter criteria for itself: equal ones are kept once, and compiled once.
    pub(crate) fn share_criteria(&self, user: &mut scscf::User) {
        user.share_criteria(|criteria| self.profiles.borrow_mut().share(criteria));
    }

    /// Diameter peers in use.
    pub(crate) fn open(&self) -> usize {
        self.pool.borrow().open_links()
    }

    /// Requests of either side that wait for their answer.
    pub(crate) fn pending(&self) -> usize {
        self.pool.borrow().pending() + self.demands.open()
    }
}

impl Shell {
    /// Begins to connect to the peers.
    pub(crate) fn connect_peers(self: &Rc<Self>) {
        let first = std::mem::take(&mut *self.cx.first.borrow_mut());
        for output in first {
            self.carry_out_cx(output);
        }
        self.pace();
    }

    /// Runs the pool and does what it says.
    pub(crate) fn converse_cx(self: &Rc<Self>, run: impl FnOnce(&mut Pool, Tick, &mut Vec<Output>)) {
        let mut out = Vec::new();
        run(&mut self.cx.pool.borrow_mut(), Tick(self.clock.tick()), &mut out);
        for output in out {
            self.carry_out_cx(output);
        }
        self.pace();
    }

    fn carry_out_cx(self: &Rc<Self>, output: Output) {
        match output {
            Output::Connect { link, target } => self.open_link(link, target),
            Output::Transmit { link, bytes } => self.write_link(link, &bytes),
            Output::Close { link, reason } => self.close_link(link, reason),
            Output::Opened { host, .. } => tracing::info!(%host, "Diameter peer open"),
            Output::Request { link, message } => self.took_demand(link, message),
            Output::Answer { token, message } => self.took_answer(token, &message),
            Output::Failed { token, why } => {
                tracing::debug!(%why, "no answer of the HSS");
                self.telemetry.cx_failures.inc();
                self.hss_answered(token, |kind| kind.failed(Failure::Unreachable));
            }
        }
    }

    /// Asks the HSS on behalf of a user; the answer, or its absence, comes back as an event.
    pub(crate) fn ask_hss(self: &Rc<Self>, impi: Impi, purpose: CxPurpose, request: &Request) {
        let cx = &self.cx;
        let kind = Kind::of(request);
        self.telemetry.cx_requests[usize::from(kind == Kind::ServerAssignment)].inc();
        let token = cx.next.get();
        cx.next.set(token + 1);
        let session = format!("{};{};{}", cx.identity.origin_host, cx.era, token);
        match encode_request(request, &cx.identity, &session, &cx.realm) {
            Ok(message) => {
                let asked = Asked { impi, purpose, kind, since: Instant::now() };
                cx.asked.borrow_mut().insert(token, asked);
                self.converse_cx(|pool, now, out| pool.request(message, token, now, out));
            }
            Err(error) => {
                self.telemetry.cx_failures.inc();
                let answer = kind.failed(Failure::Malformed(error.to_string().into()));
                self.deliver_answer(&impi, Event::CxAnswer { to: purpose, answer });
            }
        }
    }

    fn took_answer(self: &Rc<Self>, token: u64, message: &Message) {
        let cx = &self.cx;
        self.hss_answered(token, |kind| {
            decode_answer_with(kind, message, |octets| cx.profiles.borrow_mut().read(octets))
        });
    }

    fn hss_answered(self: &Rc<Self>, token: u64, read: impl FnOnce(Kind) -> scscf::cx::Answer) {
        let asked = self.cx.asked.borrow_mut().remove(&token);
        if let Some(Asked { impi, purpose, kind, since }) = asked {
            self.telemetry.cx_latency.observe(since.elapsed().as_secs_f64());
            self.deliver_answer(&impi, Event::CxAnswer { to: purpose, answer: read(kind) });
        }
    }
}
