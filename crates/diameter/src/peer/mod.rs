//! RFC 6733 §5.6 — one connection to a peer, in either role, without its socket.
//!
//! The caller opens the transport, feeds what it receives, sends what [`Output::Transmit`] holds, and calls
//! [`Peer::expire`] when [`Peer::next_deadline`] has passed. A request handed to [`Peer::request`] ends in exactly one
//! [`Output::Answer`] or [`Output::Failed`].

mod exchange;

use crate::{
    Framer, Identity, Message, Tick,
    base::{self, DisconnectCause},
    codes::{command, result},
    message::{LIMIT, REQUEST},
};
use ahash::AHashMap;
use bytes::Bytes;
use std::{collections::BTreeSet, fmt};

/// How a connection behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Tw of RFC 3539 §3.4.1, in milliseconds; 6 s is the minimum there.
    pub watchdog_ms: u32,
    /// Tw varies by up to this much to either side, in milliseconds.
    pub watchdog_jitter_ms: u32,
    /// How long the capabilities exchange may take, in milliseconds.
    pub establish_ms: u32,
    /// How long a DPA, or the close after ours, is awaited, in milliseconds.
    pub disconnect_ms: u32,
    /// Requests that may await their answers.
    pub max_pending: usize,
    /// Commands whose requests are taken; others are answered 3001.
    pub serves: Vec<u32>,
    /// Chance: jitter and first identifiers come from it.
    pub seed: u64,
}

impl Config {
    /// Of an S-CSCF: takes RTR, PPR and RAR.
    pub fn scscf(seed: u64) -> Self {
        let serves = vec![command::REGISTRATION_TERMINATION, command::PUSH_PROFILE, command::RE_AUTH];
        Self {
            watchdog_ms: 30_000,
            watchdog_jitter_ms: 2_000,
            establish_ms: 5_000,
            disconnect_ms: 2_000,
            max_pending: 10_000,
            serves,
            seed,
        }
    }

    /// Of an HSS: takes UAR, SAR, LIR and MAR.
    pub fn hss(seed: u64) -> Self {
        let serves = vec![
            command::USER_AUTHORIZATION,
            command::SERVER_ASSIGNMENT,
            command::LOCATION_INFO,
            command::MULTIMEDIA_AUTH,
        ];
        Self { serves, ..Self::scscf(seed) }
    }
}

/// What a connection asks of its owner.
#[derive(Clone, PartialEq)]
pub enum Output {
    /// Octets for the transport.
    Transmit(Bytes),
    /// The capabilities are exchanged; requests may flow.
    Open { host: Box<str>, realm: Box<str> },
    /// A request of the peer's, to be answered with [`Peer::answer`].
    Request(Message),
    /// The answer to a request of ours.
    Answer { token: u64, message: Message },
    /// A request of ours that will have no answer.
    Failed { token: u64, why: Why },
    /// Close the transport; nothing else follows.
    Close { reason: Closed },
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection ended, or was not open.
    #[error("no connection to the peer")]
    Disconnected,
    /// As many requests as allowed await their answers.
    #[error("too many requests await their answers")]
    Overloaded,
    /// The message exceeds the size limit.
    #[error("message is too large")]
    TooLarge,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The capabilities exchange was not finished in time, or was refused.
    NotEstablished,
    /// No application in common.
    NoCommonApplication,
    /// What came is no Diameter.
    Garbage,
    /// The watchdog was not answered twice.
    Watchdog,
    /// We asked to disconnect and the peer agreed, or did not answer.
    Ours,
    /// The peer asked to disconnect.
    Theirs(DisconnectCause),
    /// The transport was lost.
    Lost,
}

/// State of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The CER was sent.
    WaitAnswer,
    /// The CER is awaited.
    WaitRequest,
    /// In use.
    Open,
    /// In use, but a watchdog was not answered: prefer another.
    Suspect,
    /// A disconnection is under way.
    Closing,
    /// Over.
    Closed,
}

/// One connection.
#[derive(Debug)]
pub struct Peer {
    identity: Identity,
    config: Config,
    state: State,
    framer: Framer,
    remote: Option<(Box<str>, Box<str>)>,
    leaving: Option<Closed>,
    /// When the state's patience ends: establishment, watchdog or disconnection.
    patience: Tick,
    watchdog_pending: bool,
    chance: u64,
    next_hop_by_hop: u32,
    next_end_to_end: u32,
    pending: AHashMap<u32, (u64, Tick)>,
    deadlines: BTreeSet<(Tick, u32)>,
}

/// Octets for the wire may hold keys, so they are never shown.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmit(bytes) => write!(f, "Transmit({} octets)", bytes.len()),
            Self::Open { host, realm } => write!(f, "Open({host}, {realm})"),
            Self::Request(message) => write!(f, "Request({message:?})"),
            Self::Answer { token, message } => write!(f, "Answer({token}, {message:?})"),
            Self::Failed { token, why } => write!(f, "Failed({token}, {why:?})"),
            Self::Close { reason } => write!(f, "Close({reason:?})"),
        }
    }
}

impl Peer {
    /// For a connection that we opened: sends the CER.
    pub fn initiator(identity: Identity, config: Config, now: Tick, out: &mut Vec<Output>) -> Self {
        let mut peer = Self::new(identity, config, State::WaitAnswer, now);
        let cer = base::capabilities_request(&peer.identity);
        peer.transmit_own(cer, out);
        peer
    }

    /// For a connection that we accepted: awaits the CER.
    pub fn responder(identity: Identity, config: Config, now: Tick) -> Self {
        Self::new(identity, config, State::WaitRequest, now)
    }

    fn new(identity: Identity, config: Config, state: State, now: Tick) -> Self {
        let mut peer = Self {
            identity,
            state,
            framer: Framer::new(),
            remote: None,
            leaving: None,
            patience: now.after(config.establish_ms.into()),
            watchdog_pending: false,
            chance: config.seed,
            next_hop_by_hop: 0,
            next_end_to_end: 0,
            pending: AHashMap::new(),
            deadlines: BTreeSet::new(),
            config,
        };
        peer.next_hop_by_hop = peer.draw() as u32;
        peer.next_end_to_end = peer.draw() as u32;
        peer
    }

    /// Where the connection stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether requests may be sent.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open | State::Suspect)
    }

    /// Origin-Host and Origin-Realm of the peer, once known.
    pub fn remote(&self) -> Option<(&str, &str)> {
        self.remote.as_ref().map(|(host, realm)| (&**host, &**realm))
    }

    /// Requests that await their answers.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// When [`Peer::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Tick> {
        if self.state == State::Closed {
            return None;
        }
        let request = self.deadlines.first().map(|(at, _)| *at);
        Some(request.map_or(self.patience, |at| at.min(self.patience)))
    }

    /// Sends a request; its identifiers are chosen here, the End-to-End one only if it is 0.
    pub fn request(
        &mut self,
        mut message: Message,
        token: u64,
        timeout_ms: u32,
        now: Tick,
        out: &mut Vec<Output>,
    ) {
        let refusal = if !self.is_open() {
            Some(Why::Disconnected)
        } else if self.pending.len() >= self.config.max_pending {
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
        self.stamp(&mut message);
        let deadline = now.after(timeout_ms.into());
        self.pending.insert(message.hop_by_hop, (token, deadline));
        self.deadlines.insert((deadline, message.hop_by_hop));
        out.push(Output::Transmit(message.encode()));
    }

    /// Sends the answer to a request of the peer's; dropped if the connection is over.
    pub fn answer(&mut self, message: Message, out: &mut Vec<Output>) {
        if matches!(self.state, State::Closed | State::WaitAnswer | State::WaitRequest) {
            return;
        }
        let message = if message.length() > LIMIT {
            let mut request = message;
            request.flags |= REQUEST;
            request.refusal(result::UNABLE_TO_COMPLY, &[], &self.identity)
        } else {
            Some(message)
        };
        out.extend(message.map(|message| Output::Transmit(message.encode())));
    }

    /// Asks the peer to disconnect and awaits its DPA; at once if nothing was established.
    pub fn disconnect(&mut self, cause: DisconnectCause, now: Tick, out: &mut Vec<Output>) {
        match self.state {
            State::Open | State::Suspect => {
                let dpr = base::disconnect_request(cause, &self.identity);
                self.transmit_own(dpr, out);
                self.state = State::Closing;
                self.leaving = Some(Closed::Ours);
                self.patience = now.after(self.config.disconnect_ms.into());
            }
            State::WaitAnswer | State::WaitRequest => self.close(Closed::Ours, out),
            State::Closing | State::Closed => {}
        }
    }

    /// The transport is gone.
    pub fn lost(&mut self, out: &mut Vec<Output>) {
        let reason = self.leaving.unwrap_or(Closed::Lost);
        self.close(reason, out);
    }

    /// Takes octets from the transport.
    pub fn receive(&mut self, octets: &[u8], now: Tick, out: &mut Vec<Output>) {
        if self.state == State::Closed {
            return;
        }
        self.framer.push(octets);
        while self.state != State::Closed {
            match self.framer.next() {
                None => return,
                Some(Err(_)) => self.close(Closed::Garbage, out),
                Some(Ok(frame)) => match Message::decode(frame) {
                    Ok(message) => self.received(message, now, out),
                    Err(error) if self.is_open() => {
                        // Whatever is wrong with one message, the stream itself is still in step.
                        out.extend(error.answer(&self.identity).map(|m| Output::Transmit(m.encode())));
                    }
                    Err(error) => {
                        out.extend(error.answer(&self.identity).map(|m| Output::Transmit(m.encode())));
                        self.close(Closed::Garbage, out);
                    }
                },
            }
        }
    }

    /// Does what is due: fails late requests, sends watchdogs, gives up on a silent peer.
    pub fn expire(&mut self, now: Tick, out: &mut Vec<Output>) {
        while let Some(&(at, hop_by_hop)) = self.deadlines.first() {
            if at > now {
                break;
            }
            self.deadlines.remove(&(at, hop_by_hop));
            if let Some((token, _)) = self.pending.remove(&hop_by_hop) {
                out.push(Output::Failed { token, why: Why::TimedOut });
            }
        }
        if self.patience > now {
            return;
        }
        match self.state {
            State::WaitAnswer | State::WaitRequest => self.close(Closed::NotEstablished, out),
            State::Open | State::Suspect if !self.watchdog_pending => self.send_watchdog(now, out),
            State::Open => {
                self.state = State::Suspect;
                self.send_watchdog(now, out);
            }
            State::Suspect => self.close(Closed::Watchdog, out),
            State::Closing => self.close(self.leaving.unwrap_or(Closed::Ours), out),
            State::Closed => {}
        }
    }
}
