//! All sessions of a node and the connections they run over.

use super::hello::Me;
use super::log::{Full, Limits};
use super::peer::{Dial, Due, Peer};
use super::runs::{Over, Runs};
use super::{ATTEMPT, Act, Broken, Conn, Counters, News, Out, STRANGERS, Slot};
use super::{greet::Stage, hello::Hello};
use crate::Member;
use crate::frame::{Frame, Framer};
use std::collections::BTreeMap;

/// A node and its links to the others. **Invariant: a session has no more than one connection in use.**
#[derive(Debug)]
pub struct Mesh {
    pub(super) me: Me,
    limits: Limits,
    runs: Runs,
    pub(super) peers: BTreeMap<Slot, Peer>,
    pub(super) lines: BTreeMap<Conn, Line>,
    members: Vec<Member>,
    next: u64,
    pub(super) leaving: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) framer: Framer,
    pub(super) stage: Stage,
    /// Until then it must have got further.
    pub(super) until: Option<u64>,
}

impl Mesh {
    /// Without any link.
    pub fn new(me: Me, limits: Limits) -> Self {
        Self {
            me,
            limits,
            runs: Runs::default(),
            peers: BTreeMap::new(),
            lines: BTreeMap::new(),
            members: Vec::new(),
            next: 0,
            leaving: false,
        }
    }

    /// The node itself.
    pub fn me(&self) -> &Me {
        &self.me
    }

    /// Links are to be had to these, and to no others. Who is let go may go on talking to us as long as his connection lasts.
    pub fn keep(&mut self, members: &[Member], now: u64, out: &mut Out) {
        if self.leaving {
            return;
        }
        self.members = members.iter().filter(|member| member.node != self.me.node).cloned().collect();
        for peer in self.peers.values_mut() {
            let member =
                self.members.iter().find(|one| one.node == peer.node && one.incarnation == peer.incarnation);
            peer.keep(member.map(|member| &*member.link), now);
        }
        let let_go: Vec<Conn> = self.peers.values().filter(|peer| !peer.kept).filter_map(attempt).collect();
        for conn in let_go {
            self.fail(conn, now, out);
        }
        self.tick(now, out);
    }

    /// The present session with a run of a node: a member's, or of one who has linked himself to us.
    pub fn slot(&self, node: &str, incarnation: u64) -> Option<Slot> {
        self.peers
            .values()
            .find(|peer| peer.incarnation == incarnation && *peer.node == *node)
            .map(|peer| peer.slot)
    }

    /// Whose session a slot is or was.
    pub fn peer(&self, slot: Slot) -> Option<(&str, u64)> {
        self.runs.whose(slot)
    }

    /// Whether the other is connected.
    pub fn is_up(&self, slot: Slot) -> bool {
        self.peers.get(&slot).is_some_and(|peer| peer.open.is_some())
    }

    /// What passed in each session that is not over.
    pub fn counters(&self) -> impl Iterator<Item = (Slot, Counters)> {
        self.peers.iter().map(|(slot, peer)| (*slot, peer.counters()))
    }

    /// Says a word, at once or as soon as the other is connected. Returns what is to be written now, if anything.
    ///
    /// # Errors
    /// It was not taken, see [`Full`].
    pub fn say(&mut self, slot: Slot, word: &[u8]) -> Result<Option<(Conn, &[u8])>, Full> {
        let peer = self.peers.get_mut(&slot).filter(|_| !self.leaving).ok_or(Full)?;
        peer.say(word, &self.limits)
    }

    /// Someone has connected to us; `None`: too many have who say nothing. `nonce` must never come again.
    pub fn accepted(&mut self, nonce: [u8; 16], now: u64) -> Option<Conn> {
        let strangers = self.lines.values().filter(|line| line.stage.is_strange()).count();
        if self.leaving || strangers >= STRANGERS {
            return None;
        }
        Some(self.new_line(Stage::Taken { nonce }, now))
    }

    /// Octets came on a connection.
    pub fn heard(&mut self, conn: Conn, octets: &[u8], now: u64, out: &mut Out) {
        let Some(line) = self.lines.get_mut(&conn) else { return };
        line.framer.push(octets);
        if let Some(peer) = line.stage.open().and_then(|slot| self.peers.get_mut(&slot)) {
            peer.heard(octets.len(), now);
        }
        while let Some(line) = self.lines.get_mut(&conn) {
            let taken = match line.framer.next() {
                Ok(Some(frame)) => self.take(conn, frame, now, out),
                Ok(None) => break,
                Err(error) => Err(error.into()),
            };
            if let Err(broken) = taken {
                self.broken(conn, broken, now, out);
                return;
            }
        }
        let open = self.lines.get(&conn).and_then(|line| line.stage.open());
        if let Some(peer) = open.and_then(|slot| self.peers.get_mut(&slot)) {
            peer.settle(out);
        }
    }

    fn take(&mut self, conn: Conn, frame: Frame, now: u64, out: &mut Out) -> Result<(), Broken> {
        let open = self.lines.get(&conn).and_then(|line| line.stage.open());
        match (open.and_then(|slot| self.peers.get_mut(&slot)), frame) {
            (Some(peer), Frame::Goodbye) => {
                let slot = peer.slot;
                self.end(slot, Over::Gone, now, out);
            }
            // A dialler decides last, when the other already thinks that the connection is in use.
            (Some(peer), Frame::Refuse(why)) => {
                out.news.push(News::Refused { who: peer.node.clone(), why });
                self.fail(conn, now, out);
            }
            (Some(peer), frame) => peer.take(frame, now, out)?,
            (None, frame) => self.greet(conn, frame, now, out)?,
        }
        Ok(())
    }

    fn broken(&mut self, conn: Conn, broken: Broken, now: u64, out: &mut Out) {
        let who = self.lines.get(&conn).and_then(|line| line.stage.who(self)).unwrap_or_default();
        out.news.push(News::Refused { who: who.into(), why: broken.to_string().into() });
        self.fail(conn, now, out);
    }

    /// A connection was closed by the other, or by the network.
    pub fn closed(&mut self, conn: Conn, now: u64, out: &mut Out) {
        let Some(line) = self.lines.remove(&conn) else { return };
        self.after(conn, &line.stage, Lost::Closed, now, out);
    }

    /// An attempt to connect failed; `refused`: nobody listens there.
    pub fn dial_failed(&mut self, conn: Conn, refused: bool, now: u64, out: &mut Out) {
        let Some(line) = self.lines.remove(&conn) else { return };
        let lost = if refused { Lost::Refused } else { Lost::Failed };
        self.after(conn, &line.stage, lost, now, out);
    }

    /// Closes a connection from our side, and goes on without.
    pub(super) fn fail(&mut self, conn: Conn, now: u64, out: &mut Out) {
        let Some(line) = self.lines.remove(&conn) else { return };
        out.acts.push(Act::Close { conn });
        self.after(conn, &line.stage, Lost::Failed, now, out);
    }

    /// Closes a connection that its session does not need.
    pub(super) fn close(&mut self, conn: Conn, out: &mut Out) {
        if self.lines.remove(&conn).is_some() {
            out.acts.push(Act::Close { conn });
        }
    }

    fn after(&mut self, conn: Conn, stage: &Stage, lost: Lost, now: u64, out: &mut Out) {
        let Some(peer) = stage.slot().and_then(|slot| self.peers.get_mut(&slot)) else { return };
        let slot = peer.slot;
        if peer.open.as_ref().is_some_and(|open| open.conn == conn) {
            let closed = (lost == Lost::Closed).then_some(Conn(self.next));
            peer.disconnect(closed, now);
            // An attempt that is under way may be what the other closed this connection for.
            if attempt(peer).is_none() {
                self.dial(slot, now, out);
            }
        } else if peer.dial == Dial::Trying(conn) {
            if lost == Lost::Refused && peer.open.is_none() && peer.closed.is_some_and(|last| last < conn) {
                self.end(slot, Over::Gone, now, out);
            } else {
                peer.back_off(now);
            }
        }
    }

    fn dial(&mut self, slot: Slot, now: u64, out: &mut Out) {
        if self.leaving {
            return;
        }
        let Some(to) = self.peers.get(&slot).and_then(|peer| peer.address.clone()) else { return };
        let conn = self.new_line(Stage::Dialling { slot }, now);
        if let Some(peer) = self.peers.get_mut(&slot) {
            peer.dial = Dial::Trying(conn);
        }
        out.acts.push(Act::Dial { conn, to });
    }

    fn new_line(&mut self, stage: Stage, now: u64) -> Conn {
        self.next += 1;
        let line = Line { framer: Framer::default(), stage, until: Some(now + ATTEMPT) };
        self.lines.insert(Conn(self.next), line);
        Conn(self.next)
    }

    /// Time passed.
    pub fn tick(&mut self, now: u64, out: &mut Out) {
        let late = |line: &Line| line.until.is_some_and(|until| until <= now);
        let late: Vec<Conn> =
            self.lines.iter().filter(|(_, line)| late(line)).map(|(conn, _)| *conn).collect();
        for conn in late {
            self.fail(conn, now, out);
        }
        self.begin(now, out);
        let slots: Vec<Slot> = self.peers.keys().copied().collect();
        for slot in slots {
            let Some(peer) = self.peers.get_mut(&slot) else { continue };
            match peer.tick(now, out) {
                Due::Nothing => {}
                Due::Dial => self.dial(slot, now, out),
                Due::Forget => self.end(slot, Over::Severed, now, out),
                Due::Silent => {
                    if let Some(open) = &peer.open {
                        let conn = open.conn;
                        self.fail(conn, now, out);
                    }
                }
            }
        }
    }

    /// When [`Mesh::tick`] has something to do.
    pub fn deadline(&self) -> Option<u64> {
        let peers = self.peers.values().filter_map(Peer::deadline);
        let lines = self.lines.values().filter_map(|line| line.until);
        let missing = self.missing().map(|(_, due)| due);
        peers.chain(lines).chain(missing).min()
    }

    /// Members without session, and when one may begin.
    fn missing(&self) -> impl Iterator<Item = (&Member, u64)> {
        let members = if self.leaving { &[][..] } else { &self.members };
        members
            .iter()
            .filter(|member| self.slot(&member.node, member.incarnation).is_none())
            .filter_map(|member| Some((member, self.due(&member.node, member.incarnation)?)))
    }

    fn due(&self, node: &str, incarnation: u64) -> Option<u64> {
        let has_later = self.peers.values().any(|peer| *peer.node == *node);
        self.runs.due(node, incarnation, has_later)
    }

    pub(super) fn is_member(&self, node: &str, incarnation: u64) -> bool {
        self.members.iter().any(|member| member.incarnation == incarnation && *member.node == *node)
    }

    /// Begins the sessions with members that are due.
    pub(super) fn begin(&mut self, now: u64, out: &mut Out) {
        let due: Vec<Member> =
            self.missing().filter(|(_, due)| *due <= now).map(|(member, _)| member.clone()).collect();
        for member in due {
            self.new_peer(&member.node, member.incarnation, now, out);
        }
    }

    /// A session with a run of a node with which there is none.
    pub(super) fn new_peer(&mut self, node: &str, incarnation: u64, now: u64, out: &mut Out) -> Option<Slot> {
        let session = self.runs.next_session(node, incarnation);
        let Some(slot) = self.runs.begin(node, incarnation) else {
            let why = "all numbers for other nodes are used up; this node must be restarted";
            out.news.push(News::Refused { who: node.into(), why: why.into() });
            return None;
        };
        let mut peer = Peer::new(slot, node.into(), incarnation, session, now);
        let member = self.members.iter().find(|one| *one.node == *node && one.incarnation == incarnation);
        peer.keep(member.map(|member| &*member.link), now);
        self.peers.insert(slot, peer);
        Some(slot)
    }

    /// A session is over.
    pub(super) fn end(&mut self, slot: Slot, over: Over, now: u64, out: &mut Out) {
        let Some(peer) = self.peers.remove(&slot) else { return };
        let open = peer.open.as_ref().map(|open| open.conn);
        for conn in [open, attempt(&peer)].into_iter().flatten() {
            self.close(conn, out);
        }
        self.runs.end(slot, now, over);
        let dropped = peer.log.len();
        out.news.push(match over {
            Over::Gone | Over::Superseded => News::Gone { slot, dropped },
            Over::Severed => News::Severed { slot, dropped },
        });
    }

    /// Whether those who are connected have been given every word.
    pub fn is_drained(&self) -> bool {
        self.peers.values().all(|peer| peer.open.is_none() || peer.log.unsent() == 0)
    }

    /// This process ends: tells all who are connected. No word is taken any more, and no connection made.
    pub fn farewell(&mut self, out: &mut Out) {
        self.leaving = true;
        for peer in self.peers.values_mut() {
            peer.address = None;
            peer.dial = Dial::Idle;
            peer.write(&Frame::Goodbye, out);
        }
        let others: Vec<Conn> = self
            .lines
            .iter()
            .filter(|(_, line)| line.stage.open().is_none())
            .map(|(conn, _)| *conn)
            .collect();
        for conn in others {
            self.close(conn, out);
        }
    }

    pub(super) fn standing(&self, node: &str, incarnation: u64, nonce: [u8; 16]) -> Hello {
        let peer = self.slot(node, incarnation).and_then(|slot| self.peers.get(&slot));
        let to = (node, incarnation);
        match peer {
            Some(peer) => {
                Hello::new(&self.me, to, (peer.session, peer.known), peer.received, peer.last, nonce)
            }
            None => Hello::new(&self.me, to, (self.runs.next_session(node, incarnation), 0), 0, 0, nonce),
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// The other closed it, or the network.
    Closed,
    /// Nobody listens there.
    Refused,
    /// We closed it, or it was never there.
    Failed,
}

pub(super) fn attempt(peer: &Peer) -> Option<Conn> {
    match peer.dial {
        Dial::Trying(conn) => Some(conn),
        Dial::Idle | Dial::At(_) => None,
    }
}
