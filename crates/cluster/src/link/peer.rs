//! One run of one other node: its words, its heartbeat, its address.

use super::log::{Limits, Log};
use super::{ACK_DELAY, ACK_OCTETS, ACK_WORDS, Act, BACK_OFF, Broken, Conn, Counters, Full, News, Out, Slot};
use super::{FORGET, PING, SILENT};
use crate::frame::Frame;
use bytes::Bytes;

/// The session with one run of a node.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) slot: Slot,
    pub(super) node: Box<str>,
    pub(super) incarnation: u64,
    /// How many sessions with it there were, this included; what it counts itself, once known.
    pub(super) session: u64,
    pub(super) known: u64,
    /// Where it takes links, while it is a member and takes any.
    pub(super) address: Option<Box<str>>,
    pub(super) kept: bool,
    pub(super) log: Log,
    pub(super) received: u64,
    /// As much of what was received is acknowledged; the octets that are not, and when that is due.
    told: u64,
    owed: usize,
    ack_due: Option<u64>,
    pub(super) open: Option<Open>,
    pub(super) dial: Dial,
    tries: usize,
    /// The last connection was closed from its side, and attempts after this one were begun since.
    pub(super) closed: Option<Conn>,
    /// The last connection.
    pub(super) last: u64,
    alone_since: u64,
    counters: Counters,
}

/// The connection that both sides use.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) conn: Conn,
    /// As the dialler named it.
    pub(super) name: u64,
    pub(super) ours: bool,
    heard: u64,
    pinged: u64,
}

/// How far the next connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dial {
    Idle,
    At(u64),
    Trying(Conn),
}

/// What time has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Silent,
    Dial,
    Forget,
}

impl Peer {
    pub(super) fn new(slot: Slot, node: Box<str>, incarnation: u64, session: u64, now: u64) -> Self {
        Self {
            slot,
            node,
            incarnation,
            session,
            known: 0,
            address: None,
            kept: false,
            log: Log::default(),
            received: 0,
            told: 0,
            owed: 0,
            ack_due: None,
            open: None,
            dial: Dial::Idle,
            tries: 0,
            closed: None,
            last: 0,
            alone_since: now,
            counters: Counters::default(),
        }
    }

    pub(super) fn counters(&self) -> Counters {
        Counters { queued: self.log.len(), queued_octets: self.log.octets(), ..self.counters.clone() }
    }

    /// It is a member with this address (`""`: takes no links), or none any more.
    pub(super) fn keep(&mut self, address: Option<&str>, now: u64) {
        if self.kept && address.is_none() {
            self.alone_since = now;
        }
        self.kept = address.is_some();
        self.address = address.filter(|address| !address.is_empty()).map(Into::into);
        self.dial = match self.dial {
            Dial::Idle if self.open.is_none() && self.address.is_some() => Dial::At(now),
            Dial::At(_) if self.address.is_none() => Dial::Idle,
            as_it_is @ (Dial::Idle | Dial::At(_) | Dial::Trying(_)) => as_it_is,
        };
    }

    /// A connection is agreed on. `told` is the last word that we said we received, `received` what the other said.
    pub(super) fn connect(&mut self, open: Open, told: u64, received: u64) -> Result<(), Broken> {
        self.log.acknowledge(received).map_err(|_| Broken::NeverSaid)?;
        self.log.rewind();
        self.told = told;
        self.owed = 0;
        self.ack_due = (self.received > told).then_some(open.heard + ACK_DELAY);
        self.last = open.name;
        self.open = Some(open);
        self.tries = 0;
        self.closed = None;
        self.counters.connections += 1;
        Ok(())
    }

    pub(super) fn disconnect(&mut self, closed: Option<Conn>, now: u64) {
        self.open = None;
        self.closed = closed;
        self.alone_since = now;
        self.tries = 0;
        self.ack_due = None;
        self.dial = match self.dial {
            Dial::Trying(conn) => Dial::Trying(conn),
            Dial::Idle | Dial::At(_) if self.address.is_some() => Dial::At(now),
            Dial::Idle | Dial::At(_) => Dial::Idle,
        };
    }

    /// An attempt has failed; the next is due later.
    pub(super) fn back_off(&mut self, now: u64) {
        self.dial = match &self.address {
            Some(_) if self.open.is_none() => Dial::At(now + BACK_OFF[self.tries.min(BACK_OFF.len() - 1)]),
            Some(_) | None => Dial::Idle,
        };
        self.tries += 1;
    }

    /// Keeps a word, and returns what is to be written now.
    pub(super) fn say(&mut self, word: &[u8], limits: &Limits) -> Result<Option<(Conn, &[u8])>, Full> {
        self.log.push(word, self.received, limits)?;
        let Some(open) = &self.open else { return Ok(None) };
        let (words, octets) = self.log.send();
        if words == 0 {
            return Ok(None);
        }
        self.counters.octets_out += octets.len() as u64;
        self.counters.frames_out += words;
        self.told = self.received;
        self.owed = 0;
        self.ack_due = None;
        Ok(Some((open.conn, octets)))
    }

    /// Something came on the connection.
    pub(super) fn heard(&mut self, octets: usize, now: u64) {
        self.counters.octets_in += octets as u64;
        if let Some(open) = &mut self.open {
            open.heard = now;
        }
    }

    /// A frame on the connection in use, Goodbye apart.
    pub(super) fn take(&mut self, frame: Frame, now: u64, out: &mut Out) -> Result<(), Broken> {
        self.counters.frames_in += 1;
        match frame {
            Frame::Word { number, ack, payload } => {
                self.log.acknowledge(ack).map_err(|_| Broken::NeverSaid)?;
                let expected = self.received + 1;
                if number > expected {
                    return Err(Broken::Gap { expected, got: number });
                }
                self.owed += payload.len();
                self.ack_due.get_or_insert(now + ACK_DELAY);
                // A word that comes again was received on an earlier connection.
                if number == expected {
                    self.received = number;
                    out.news.push(News::Took { slot: self.slot, word: payload });
                }
            }
            Frame::Ack(number) => self.log.acknowledge(number).map_err(|_| Broken::NeverSaid)?,
            Frame::Ping => self.write(&Frame::Pong, out),
            Frame::Pong => {}
            Frame::Hello(_) | Frame::Accept(_) | Frame::Refuse(_) | Frame::Goodbye => {
                return Err(Broken::OutOfTurn);
            }
        }
        Ok(())
    }

    /// Says what is to be said once all that came has been taken.
    pub(super) fn settle(&mut self, out: &mut Out) {
        self.flush(out);
        if self.received - self.told >= ACK_WORDS || self.owed >= ACK_OCTETS {
            self.acknowledge(out);
        }
    }

    /// Writes as many words as the connection may be given.
    pub(super) fn flush(&mut self, out: &mut Out) {
        let Some(open) = &self.open else { return };
        let (words, octets) = self.log.send();
        if words > 0 {
            let octets = Bytes::copy_from_slice(octets);
            self.counters.octets_out += octets.len() as u64;
            self.counters.frames_out += words;
            out.acts.push(Act::Write { conn: open.conn, octets });
        }
    }

    fn acknowledge(&mut self, out: &mut Out) {
        self.told = self.received;
        self.owed = 0;
        self.ack_due = None;
        self.write(&Frame::Ack(self.received), out);
    }

    pub(super) fn write(&mut self, frame: &Frame, out: &mut Out) {
        if let Some(open) = &self.open {
            let octets = frame.to_bytes();
            self.counters.frames_out += 1;
            self.counters.octets_out += octets.len() as u64;
            out.acts.push(Act::Write { conn: open.conn, octets });
        }
    }

    /// When [`Peer::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<u64> {
        let open =
            self.open.as_ref().map(|open| (open.heard.max(open.pinged) + PING).min(open.heard + SILENT));
        let dial = match self.dial {
            Dial::At(at) if self.open.is_none() => Some(at),
            Dial::Idle | Dial::At(_) | Dial::Trying(_) => None,
        };
        let forget = (!self.kept && self.open.is_none()).then_some(self.alone_since + FORGET);
        [open, dial, forget, self.ack_due].into_iter().flatten().min()
    }

    /// Time passed.
    pub(super) fn tick(&mut self, now: u64, out: &mut Out) -> Due {
        if let Some(open) = &mut self.open {
            if now >= open.heard + SILENT {
                return Due::Silent;
            }
            if now >= open.heard.max(open.pinged) + PING {
                open.pinged = now;
                self.write(&Frame::Ping, out);
            }
            if self.ack_due.is_some_and(|due| due <= now) {
                self.acknowledge(out);
            }
            return Due::Nothing;
        }
        match self.dial {
            Dial::At(at) if at <= now => Due::Dial,
            Dial::Idle | Dial::At(_) | Dial::Trying(_) if !self.kept && now >= self.alone_since + FORGET => {
                Due::Forget
            }
            Dial::Idle | Dial::At(_) | Dial::Trying(_) => Due::Nothing,
        }
    }
}

impl Open {
    pub(super) fn new(conn: Conn, name: u64, ours: bool, now: u64) -> Self {
        Self { conn, name, ours, heard: now, pinged: now }
    }
}
