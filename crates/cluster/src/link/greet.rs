//! A connection until it is in use: both sides say who they are, prove it, and agree on whether to go on.

use super::hello::{Greeting, Hello, Role};
use super::mesh::{Mesh, attempt};
use super::peer::{Dial, Open, Peer};
use super::runs::Over;
use super::{ATTEMPT, Act, Broken, Conn, News, Out, Slot};
use crate::frame::Frame;

/// How far a connection is.
#[derive(Debug)]
pub(super) enum Stage {
    /// Another connected to us and has said nothing yet.
    Taken { nonce: [u8; 16] },
    /// We said our Hello to his, and he must prove himself.
    Answered(Box<Greeting>),
    /// We try to connect.
    Dialling { slot: Slot },
    /// We are connected and have said our Hello.
    Greeted { slot: Slot, mine: Box<Hello> },
    /// We have proved ourselves, and the other must do so.
    Proved { slot: Slot, greeting: Box<Greeting> },
    /// In use.
    Open { slot: Slot },
}

impl Stage {
    pub(super) fn is_strange(&self) -> bool {
        matches!(self, Self::Taken { .. } | Self::Answered(_))
    }

    pub(super) fn open(&self) -> Option<Slot> {
        if let Self::Open { slot } = self { Some(*slot) } else { None }
    }

    pub(super) fn slot(&self) -> Option<Slot> {
        match self {
            Self::Taken { .. } | Self::Answered(_) => None,
            Self::Dialling { slot }
            | Self::Greeted { slot, .. }
            | Self::Proved { slot, .. }
            | Self::Open { slot } => Some(*slot),
        }
    }

    pub(super) fn who<'a>(&'a self, mesh: &'a Mesh) -> Option<&'a str> {
        match self {
            Self::Answered(greeting) => Some(&greeting.theirs.node),
            Self::Taken { .. }
            | Self::Dialling { .. }
            | Self::Greeted { .. }
            | Self::Proved { .. }
            | Self::Open { .. } => mesh.peer(self.slot()?).map(|(node, _)| node),
        }
    }
}

impl Mesh {
    /// An attempt to connect succeeded. `nonce` must never come again.
    pub fn dialled(&mut self, conn: Conn, nonce: [u8; 16], now: u64, out: &mut Out) {
        let Some(slot) = self.lines.get(&conn).and_then(|line| line.stage.slot()) else { return };
        let Some(peer) = self.peers.get(&slot) else { return self.close(conn, out) };
        let mine = self.standing(&peer.node, peer.incarnation, nonce);
        write(conn, &Frame::Hello(mine.clone()), out);
        if let Some(line) = self.lines.get_mut(&conn) {
            line.stage = Stage::Greeted { slot, mine: Box::new(mine) };
            line.until = Some(now + ATTEMPT);
        }
    }

    /// A frame on a connection that is not in use yet.
    pub(super) fn greet(&mut self, conn: Conn, frame: Frame, now: u64, out: &mut Out) -> Result<(), Broken> {
        let Some(line) = self.lines.get_mut(&conn) else { return Ok(()) };
        let stage = std::mem::replace(&mut line.stage, Stage::Taken { nonce: [0; 16] });
        let next = match (stage, frame) {
            (Stage::Taken { nonce }, Frame::Hello(theirs)) => {
                if let Some(why) = theirs.objection(&self.me) {
                    self.refuse(conn, &theirs.node, why, now, out);
                    return Ok(());
                }
                let mine = self.standing(&theirs.node, theirs.incarnation, nonce);
                write(conn, &Frame::Hello(mine.clone()), out);
                Stage::Answered(Box::new(Greeting { mine, theirs, role: Role::Listener }))
            }
            (Stage::Answered(greeting), Frame::Accept(proof)) => {
                self.proved(conn, &greeting, &proof, None, now, out);
                return Ok(());
            }
            (Stage::Greeted { slot, mine }, Frame::Hello(theirs)) => {
                if let Some(why) = theirs.objection(&self.me) {
                    self.restore(conn, Stage::Dialling { slot });
                    self.refuse(conn, &theirs.node, why, now, out);
                    return Ok(());
                }
                let greeting = Greeting { mine: *mine, theirs, role: Role::Dialler };
                write(conn, &Frame::Accept(greeting.proof(&self.me.secret)), out);
                Stage::Proved { slot, greeting: Box::new(greeting) }
            }
            (Stage::Proved { slot, greeting }, Frame::Accept(proof)) => {
                self.restore(conn, Stage::Dialling { slot });
                self.proved(conn, &greeting, &proof, Some(slot), now, out);
                return Ok(());
            }
            (
                stage @ (Stage::Answered(_) | Stage::Greeted { .. } | Stage::Proved { .. }),
                Frame::Refuse(why),
            ) => {
                let who = stage.who(self).unwrap_or_default().into();
                self.restore(conn, stage);
                out.news.push(News::Refused { who, why });
                self.fail(conn, now, out);
                return Ok(());
            }
            (stage, _) => {
                self.restore(conn, stage);
                return Err(Broken::OutOfTurn);
            }
        };
        self.restore(conn, next);
        Ok(())
    }

    fn restore(&mut self, conn: Conn, stage: Stage) {
        if let Some(line) = self.lines.get_mut(&conn) {
            line.stage = stage;
        }
    }

    fn refuse(&mut self, conn: Conn, who: &str, why: Box<str>, now: u64, out: &mut Out) {
        write(conn, &Frame::Refuse(why.clone()), out);
        out.news.push(News::Refused { who: who.into(), why });
        self.fail(conn, now, out);
    }

    /// The other sent its proof.
    fn proved(
        &mut self,
        conn: Conn,
        greeting: &Greeting,
        proof: &[u8; 32],
        slot: Option<Slot>,
        now: u64,
        out: &mut Out,
    ) {
        let theirs = &greeting.theirs;
        if !greeting.is_proved_by(&self.me.secret, proof) {
            let why = format!(
                "{} and {} do not have the same cluster secret; expected the same",
                self.me.node, theirs.node
            );
            return self.refuse(conn, &theirs.node, why.into(), now, out);
        }
        let others = self.peers.values();
        let others = others.filter(|peer| peer.node == theirs.node && peer.incarnation != theirs.incarnation);
        // Who answers in the place of an earlier run shows that it has ended. Otherwise a connection may have lain about
        // while its process ended and another began, so the store and what is connected say which run is the later one.
        let is_earlier = |peer: &&Peer| {
            slot == Some(peer.slot)
                || (peer.open.is_none() && self.is_member(&theirs.node, theirs.incarnation))
        };
        let (earlier, present): (Vec<_>, Vec<_>) = others.partition(is_earlier);
        let earlier: Vec<Slot> = earlier.into_iter().map(|peer| peer.slot).collect();
        if !present.is_empty() {
            let why = format!("another run of {} is here", theirs.node);
            return self.refuse(conn, &theirs.node, why.into(), now, out);
        }
        let known = self.slot(&theirs.node, theirs.incarnation).and_then(|slot| self.peers.get(&slot));
        let forgot_us = known.filter(|peer| peer.known != 0 && peer.known != theirs.session);
        let forgot_us = forgot_us.map(|peer| peer.slot);
        for slot in earlier {
            self.end(slot, Over::Superseded, now, out);
        }
        if let Some(slot) = forgot_us {
            self.end(slot, Over::Severed, now, out);
        }
        if greeting.reached_whom_was_meant() && greeting.same_session() && !self.leaving {
            self.agree(conn, greeting, slot, now, out);
        } else {
            // Neither side goes on from here; the dialler learns why from our Hello once it believes it.
            self.accept(conn, greeting, out);
            if greeting.role == Role::Dialler && greeting.mine.to != theirs.node {
                let why = format!("at the address of {} answers {}", greeting.mine.to, theirs.node);
                out.news.push(News::Refused { who: greeting.mine.to.clone(), why: why.into() });
            }
            self.fail(conn, now, out);
        }
        self.begin(now, out);
    }

    fn accept(&self, conn: Conn, greeting: &Greeting, out: &mut Out) {
        if greeting.role == Role::Listener && self.lines.contains_key(&conn) {
            write(conn, &Frame::Accept(greeting.proof(&self.me.secret)), out);
        }
    }

    /// Both sides want to talk: over this connection, unless there is a better one.
    fn agree(&mut self, conn: Conn, greeting: &Greeting, slot: Option<Slot>, now: u64, out: &mut Out) {
        let (mine, theirs) = (&greeting.mine, &greeting.theirs);
        let slot = match slot.or_else(|| self.slot(&theirs.node, theirs.incarnation)) {
            Some(slot) => Some(slot),
            None => self.new_peer(&theirs.node, theirs.incarnation, now, out),
        };
        let peer = slot.and_then(|slot| self.peers.get_mut(&slot));
        // Our Hello spoke of a session that is over meanwhile, or there is no room for another.
        let Some(peer) = peer.filter(|peer| peer.session == mine.session) else {
            return self.close(conn, out);
        };
        let slot = peer.slot;
        let ours = greeting.role == Role::Dialler;
        if let Some(open) = &peer.open {
            let dialler = |ours: bool| if ours { &*mine.node } else { &*theirs.node };
            // Both may have dialled at once: the smaller name's connection is used, by both. Who dials knowing of the
            // connection that we think is in use has lost it.
            let wins = greeting.dialler().last == open.name || dialler(ours) <= dialler(open.ours);
            if !wins {
                if attempt(peer) == Some(conn) {
                    peer.dial = Dial::Idle;
                }
                return self.close(conn, out);
            }
        }
        let old = peer.open.take().map(|open| open.conn);
        let other = attempt(peer).filter(|other| *other != conn);
        // Our own attempt goes on if the other side will prefer it to this one.
        let other = other.filter(|_| ours || theirs.node < mine.node);
        if other.is_some() || attempt(peer).is_none_or(|one| one == conn) {
            peer.dial = Dial::Idle;
        }
        let open = Open::new(conn, greeting.dialler().connection(), ours, now);
        peer.known = theirs.session;
        let connected = peer.connect(open, mine.received, theirs.received);
        for stale in [old, other].into_iter().flatten() {
            self.close(stale, out);
        }
        if connected.is_err() {
            // It cannot be the session that we mean.
            self.end(slot, Over::Severed, now, out);
            return self.close(conn, out);
        }
        self.accept(conn, greeting, out);
        if let Some(line) = self.lines.get_mut(&conn) {
            line.stage = Stage::Open { slot };
            line.until = None;
            line.framer.trust();
        }
        if let Some(peer) = self.peers.get_mut(&slot) {
            peer.flush(out);
        }
        if old.is_none() {
            out.news.push(News::Up { slot });
        }
    }
}

fn write(conn: Conn, frame: &Frame, out: &mut Out) {
    out.acts.push(Act::Write { conn, octets: frame.to_bytes() });
}
