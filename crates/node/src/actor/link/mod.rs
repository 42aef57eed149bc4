//! The sockets of the links to other nodes. What is said over them, and when they are made anew, `cluster::link` decides.
//!
//! **Invariant: whoever hears of a link may say words at once; no borrow is held while it hears.**

#[cfg(test)]
mod tests;

use super::pipe::Pipe;
use crate::clock::Clock;
use ahash::AHashMap;
use bytes::Bytes;
use cluster::Member;
use cluster::link::{Act, Conn, Counters, Limits, Me, Mesh, NAME, News, Out, VERSIONS};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

pub(crate) use cluster::link::{Full, Slot};

/// What is still to be written to a connection that is given up may take so long.
const LINGER: Duration = Duration::from_millis(500);
/// The others get so long to take what they have not yet, before this node says goodbye, and so long again to hear it.
const FAREWELL: Duration = Duration::from_secs(1);
/// One and the same complaint is logged again after so many milliseconds.
const COMPLAIN: u64 = 10_000;
/// Complaints that are remembered.
const COMPLAINTS: usize = 256;

/// Who wants to hear of the links. A crash in here costs the connection by which the news came.
pub(crate) trait Ears {
    /// A word arrived. Words of one slot come once and in the order in which they were said.
    fn took(&self, from: Slot, word: Bytes);
    /// The other is connected, for the first time or again.
    fn up(&self, slot: Slot);
    /// The process of the other has ended; what it has not acknowledged it may not have heard. The slot is over.
    fn gone(&self, slot: Slot);
    /// The slot is over as when the other is gone, but its process may live: it gave us up, or we it. Its next words come from
    /// another slot.
    fn severed(&self, slot: Slot);
}

/// The links of this node.
pub(crate) struct Links {
    mesh: RefCell<Mesh>,
    clock: Clock,
    listener: Option<TcpListener>,
    lines: RefCell<AHashMap<Conn, Rc<Line>>>,
    ears: RefCell<Option<Weak<dyn Ears>>>,
    spare: RefCell<Out>,
    /// What is to be told, in order, and whether it is being told.
    news: RefCell<VecDeque<News>>,
    telling: Cell<bool>,
    timer: Notify,
    /// When the timer wakes; 0 while it does not sleep.
    wakes: Cell<u64>,
    complaints: RefCell<AHashMap<Complaint, u64>>,
    stopped: Cell<bool>,
    stop: Notify,
    ended: Notify,
}

/// Who is refused, or refuses, and why.
type Complaint = (Box<str>, Box<str>);

#[derive(Default)]
struct Line {
    pipe: Pipe,
    given_up: Notify,
}

/// Ends the telling, whatever the ears do.
struct Telling<'a>(&'a Cell<bool>);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Links {
    /// Links of `me` to other nodes of `domain`, all of which know `secret`. Without `listen` it takes none; port 0 lets the system
    /// choose. Needs a runtime; nothing happens before [`Links::start`].
    ///
    /// # Errors
    /// The address cannot be listened on, or a name is longer than [`NAME`].
    pub(crate) fn bind(
        listen: Option<SocketAddr>,
        me: Member,
        domain: &str,
        secret: [u8; 32],
        clock: Clock,
    ) -> io::Result<Rc<Self>> {
        let me = Me {
            node: me.node,
            incarnation: me.incarnation,
            domain: domain.into(),
            secret,
            versions: VERSIONS,
        };
        Self::bind_as(listen, me, clock)
    }

    fn bind_as(listen: Option<SocketAddr>, me: Me, clock: Clock) -> io::Result<Rc<Self>> {
        for name in [&me.node, &me.domain] {
            if name.is_empty() || name.len() > NAME {
                let why = format!("name {name:?}: expected 1 to {NAME} octets");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        }
        Ok(Rc::new(Self {
            mesh: RefCell::new(Mesh::new(me, Limits::default())),
            clock,
            listener: listen.map(listen_on).transpose()?,
            lines: RefCell::default(),
            ears: RefCell::default(),
            spare: RefCell::default(),
            news: RefCell::default(),
            telling: Cell::new(false),
            timer: Notify::new(),
            wakes: Cell::new(0),
            complaints: RefCell::default(),
            stopped: Cell::new(false),
            stop: Notify::new(),
            ended: Notify::new(),
        }))
    }

    /// Where links are taken.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Begins to take links, and to tell `ears`. Must be called on the thread of the node, in its local set.
    pub(crate) fn start(self: &Rc<Self>, ears: Weak<dyn Ears>) {
        *self.ears.borrow_mut() = Some(ears);
        let links = Rc::clone(self);
        tokio::task::spawn_local(async move { links.keep_time().await });
        if self.listener.is_some() {
            let links = Rc::clone(self);
            tokio::task::spawn_local(async move { links.take_connections().await });
        }
    }

    /// Links are to be had to these members, and to no others. A member without link address can only come to us.
    pub(crate) fn keep(self: &Rc<Self>, members: &[Member]) {
        self.converse(|mesh, now, out| mesh.keep(members, now, out));
    }

    /// The present session with a run of a node; of a member there is one even before it is connected.
    pub(crate) fn slot(&self, node: &str, incarnation: u64) -> Option<Slot> {
        self.mesh.borrow().slot(node, incarnation)
    }

    /// Which run of which node a slot stands for; known even when the slot is over.
    pub(crate) fn peer(&self, slot: Slot) -> Option<(Box<str>, u64)> {
        self.mesh.borrow().peer(slot).map(|(node, incarnation)| (node.into(), incarnation))
    }

    /// Whether the other is connected.
    pub(crate) fn is_up(&self, slot: Slot) -> bool {
        self.mesh.borrow().is_up(slot)
    }

    /// What passed in each session that is not over.
    pub(crate) fn counters(&self) -> Vec<(Slot, Counters)> {
        self.mesh.borrow().counters().collect()
    }

    /// Says a word. It leaves with all that is said in this turn of the event loop, or when the other is connected again.
    ///
    /// # Errors
    /// As many words wait as may, the slot is over, or the word is longer than `cluster::MAX_WORD`.
    pub(crate) fn say(&self, slot: Slot, word: &[u8]) -> Result<(), Full> {
        let mut mesh = self.mesh.borrow_mut();
        if let Some((conn, octets)) = mesh.say(slot, word)?
            && let Some(line) = self.lines.borrow().get(&conn)
        {
            line.pipe.write(octets);
        }
        Ok(())
    }

    /// Tells all who are connected that this process ends, once they have been given every word, and ends all links.
    pub(crate) async fn close(self: &Rc<Self>) {
        let drained = async {
            while !self.mesh.borrow().is_drained() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, drained).await;
        self.stopped.set(true);
        self.stop.notify_one();
        self.timer.notify_one();
        self.converse(|mesh, _, out| mesh.farewell(out));
        // The other closes when it has heard the goodbye; if we closed first, it might be lost on the way.
        let closed = async {
            while !self.lines.borrow().is_empty() {
                self.ended.notified().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, closed).await;
        for line in self.lines.borrow().values() {
            line.pipe.close();
            line.given_up.notify_one();
        }
    }

    /// Tells the value what happened, and does and tells what comes of it.
    fn converse<R>(self: &Rc<Self>, event: impl FnOnce(&mut Mesh, u64, &mut Out) -> R) -> R {
        let mut out = std::mem::take(&mut *self.spare.borrow_mut());
        let (result, deadline) = {
            let mut mesh = self.mesh.borrow_mut();
            let result = event(&mut mesh, self.clock.tick(), &mut out);
            (result, mesh.deadline())
        };
        if deadline.is_some_and(|deadline| deadline < self.wakes.get()) {
            self.timer.notify_one();
        }
        // All that is written goes before what the ears may have to say.
        for act in out.acts.drain(..) {
            self.act(act);
        }
        self.news.borrow_mut().extend(out.news.drain(..));
        *self.spare.borrow_mut() = out;
        self.tell_all();
        result
    }

    fn tell_all(&self) {
        // Who hears may cause more news, which come after those that are there.
        if self.telling.replace(true) {
            return;
        }
        let _done = Telling(&self.telling);
        loop {
            let Some(news) = self.news.borrow_mut().pop_front() else { return };
            self.tell(news);
        }
    }

    fn act(self: &Rc<Self>, act: Act) {
        match act {
            Act::Dial { conn, to } => {
                let line = Rc::new(Line::default());
                self.lines.borrow_mut().insert(conn, Rc::clone(&line));
                let links = Rc::clone(self);
                tokio::task::spawn_local(async move { links.dial(conn, &to, &line).await });
            }
            Act::Write { conn, octets } => {
                if let Some(line) = self.lines.borrow().get(&conn) {
                    line.pipe.write(&octets);
                }
            }
            Act::Close { conn } => {
                if let Some(line) = self.lines.borrow().get(&conn) {
                    line.pipe.close();
                    line.given_up.notify_one();
                }
            }
        }
    }

    fn tell(&self, news: News) {
        let name = |slot| self.mesh.borrow().peer(slot).map(|(node, run)| format!("{node}:{run:016x}"));
        let ears = self.ears.borrow().as_ref().and_then(Weak::upgrade);
        match news {
            News::Took { slot, word } => {
                if let Some(ears) = ears {
                    ears.took(slot, word);
                }
            }
            News::Up { slot } => {
                tracing::info!(node = name(slot), slot = slot.0, "linked");
                if let Some(ears) = ears {
                    ears.up(slot);
                }
            }
            News::Gone { slot, dropped } => {
                tracing::warn!(node = name(slot), slot = slot.0, dropped, "the process of a node has ended");
                if let Some(ears) = ears {
                    ears.gone(slot);
                }
            }
            News::Severed { slot, dropped } => {
                tracing::warn!(node = name(slot), slot = slot.0, dropped, "the session with a node is over");
                if let Some(ears) = ears {
                    ears.severed(slot);
                }
            }
            News::Refused { who, why } => self.complain(who, why),
        }
    }

    fn complain(&self, who: Box<str>, why: Box<str>) {
        let now = self.clock.tick();
        let mut complaints = self.complaints.borrow_mut();
        if complaints.len() >= COMPLAINTS {
            complaints.retain(|_, until| *until > now);
        }
        let is_new = complaints.get(&(who.clone(), why.clone())).is_none_or(|until| *until <= now);
        if is_new && complaints.len() < COMPLAINTS {
            // Strangers choose these words, so they are shown with escapes.
            tracing::warn!(node = ?who, ?why, "link refused");
            complaints.insert((who, why), now + COMPLAIN);
        }
    }

    async fn keep_time(self: Rc<Self>) {
        while !self.stopped.get() {
            let deadline = self.mesh.borrow().deadline().unwrap_or(u64::MAX);
            // The instant must be one that the clock of the system can name.
            let wake = deadline.min(self.clock.tick() + 3_600_000);
            self.wakes.set(wake);
            tokio::select! {
                () = tokio::time::sleep_until(self.clock.instant(wake)) => {}
                () = self.timer.notified() => {}
            }
            self.wakes.set(0);
            self.converse(Mesh::tick);
        }
    }

    async fn take_connections(self: Rc<Self>) {
        let Some(listener) = &self.listener else { return };
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.notified() => return,
            };
            let Ok((stream, remote)) = accepted else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            match self.converse(|mesh, now, _| mesh.accepted(rand::random(), now)) {
                Some(conn) => {
                    let line = Rc::new(Line::default());
                    self.lines.borrow_mut().insert(conn, Rc::clone(&line));
                    let links = Rc::clone(&self);
                    tokio::task::spawn_local(async move { links.run(conn, &stream, &line).await });
                }
                None => tracing::debug!(%remote, "too many connections whose other end proves nothing"),
            }
        }
    }

    async fn dial(self: Rc<Self>, conn: Conn, to: &str, line: &Line) {
        let stream = tokio::select! {
            stream = TcpStream::connect(to) => stream,
            () = line.given_up.notified() => return self.forget(conn),
        };
        match stream {
            Ok(stream) => {
                self.converse(|mesh, now, out| mesh.dialled(conn, rand::random(), now, out));
                self.run(conn, &stream, line).await;
            }
            Err(error) => {
                tracing::debug!(to, %error, "a node cannot be reached");
                let refused = error.kind() == io::ErrorKind::ConnectionRefused;
                self.forget(conn);
                self.converse(|mesh, now, out| mesh.dial_failed(conn, refused, now, out));
            }
        }
    }

    async fn run(self: &Rc<Self>, conn: Conn, stream: &TcpStream, line: &Line) {
        let _ = stream.set_nodelay(true);
        {
            let reading = line.pipe.run(stream, None, |octets| {
                self.converse(|mesh, now, out| mesh.heard(conn, octets, now, out));
                ControlFlow::Continue(())
            });
            tokio::pin!(reading);
            tokio::select! {
                _ = &mut reading => {}
                () = line.given_up.notified() => {
                    let _ = tokio::time::timeout(LINGER, reading).await;
                }
            }
        }
        self.forget(conn);
        self.converse(|mesh, now, out| mesh.closed(conn, now, out));
    }

    fn forget(&self, conn: Conn) {
        self.lines.borrow_mut().remove(&conn);
        self.ended.notify_one();
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A node that starts anew takes links where the last run did, whose connections may still be ending.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(256)
}
