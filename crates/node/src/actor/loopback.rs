//! RFC 3261 §18 — who is trusted, and what a node sends to itself: two users of one node talk SIP, and their octets need no
//! socket.

use super::transport::Transport;
use crate::shell::Shell;
use bytes::Bytes;
use sip::Transport as Kind;
use sip::transaction::Flow;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

/// Datagrams of ours to ourselves, in order.
#[derive(Default)]
pub(crate) struct Loopback {
    queue: RefCell<VecDeque<(Bytes, SocketAddr)>>,
    busy: Cell<bool>,
}

/// Datagrams that may wait; more are lost, as in a socket.
const MOST: usize = 65_536;

impl Loopback {
    /// Takes a datagram for our own address `own`; `false` if it is lost.
    fn put(&self, own: SocketAddr, bytes: &Bytes) -> bool {
        let mut queue = self.queue.borrow_mut();
        let has_room = queue.len() < MOST;
        if has_room {
            queue.push_back((bytes.clone(), own));
        }
        has_room
    }

    fn take(&self) -> Option<(Bytes, SocketAddr)> {
        self.queue.borrow_mut().pop_front()
    }
}

impl Transport {
    /// Whether a peer is inside the trust domain. So are we: what goes to another user of ours leaves and comes in again.
    pub(crate) fn is_trusted(&self, remote: SocketAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(remote.ip()))
            || self.is_own(remote)
            || self.own_ends.borrow().contains(&remote)
    }

    /// Whether we listen there by UDP.
    pub(crate) fn is_own(&self, remote: SocketAddr) -> bool {
        let sends_from = |own: &SocketAddr| match own.ip().is_unspecified() {
            true => own.port() == remote.port() && remote.ip().is_loopback(),
            false => *own == remote,
        };
        self.udp.iter().any(|(own, _)| sends_from(own))
    }
}

impl Shell {
    /// Sends a datagram to ourselves, if it is for us; it is taken by the next [`Self::take_own`].
    pub(crate) fn send_to_self(&self, flow: &Flow, bytes: &Bytes) -> Option<bool> {
        self.transport.is_own(flow.remote).then(|| self.loopback.put(flow.remote, bytes))
    }

    /// Takes what we sent to ourselves. Whoever may have sent something calls this when it holds nothing any more.
    pub(crate) fn take_own(self: &Rc<Self>) {
        if self.loopback.busy.replace(true) {
            return;
        }
        while let Some((bytes, own)) = self.loopback.take() {
            let flow = Flow { transport: Kind::Udp, local: own, remote: own, connection: 0 };
            self.contained(|shell| shell.took_datagram(bytes, flow));
        }
        self.loopback.busy.set(false);
    }
}
