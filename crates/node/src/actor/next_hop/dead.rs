//! RFC 3263 §4.3 — hops that failed lately; while they are listed, others are tried first.

use ahash::AHashMap;
use sip::Transport as Kind;
use std::cell::RefCell;
use std::net::SocketAddr;

/// Hops listed at once.
const MOST: usize = 4096;

/// The hops that failed, and until which tick that is remembered.
#[derive(Default)]
pub(crate) struct Dead {
    until: RefCell<AHashMap<(Kind, SocketAddr), u64>>,
}

impl Dead {
    /// Lists a hop for so many milliseconds. Where too many are listed already, one more changes little.
    pub(crate) fn list(&self, transport: Kind, address: SocketAddr, millis: u64, now: u64) {
        let mut until = self.until.borrow_mut();
        if until.len() >= MOST {
            until.retain(|_, until| *until > now);
        }
        if millis > 0 && (until.len() < MOST || until.contains_key(&(transport, address))) {
            until.insert((transport, address), now + millis);
        }
    }

    /// A hop that answers lives.
    pub(crate) fn forget(&self, transport: Kind, address: SocketAddr) {
        let mut until = self.until.borrow_mut();
        if !until.is_empty() {
            until.remove(&(transport, address));
        }
    }

    pub(crate) fn has(&self, transport: Kind, address: SocketAddr, now: u64) -> bool {
        let until = self.until.borrow();
        !until.is_empty() && until.get(&(transport, address)).is_some_and(|until| *until > now)
    }

    /// How many are listed; those whose time is over are forgotten.
    pub(crate) fn count(&self, now: u64) -> usize {
        let mut until = self.until.borrow_mut();
        until.retain(|_, until| *until > now);
        until.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    #[test]
    fn a_hop_is_listed_for_its_time_and_by_its_transport() {
        let dead = Dead::default();
        dead.list(Kind::Udp, hop(1), 1000, 50);
        assert!(dead.has(Kind::Udp, hop(1), 1049) && !dead.has(Kind::Tcp, hop(1), 60));
        assert_eq!(dead.count(1049), 1);
        assert!(!dead.has(Kind::Udp, hop(1), 1050));
        assert_eq!(dead.count(1050), 0);
        dead.list(Kind::Udp, hop(1), 0, 50);
        assert_eq!(dead.count(50), 0);
        dead.list(Kind::Udp, hop(1), 1000, 50);
        dead.forget(Kind::Udp, hop(1));
        assert!(!dead.has(Kind::Udp, hop(1), 60));
    }

    #[test]
    fn the_list_does_not_grow_beyond_its_cap() {
        let dead = Dead::default();
        for n in 0..5000 {
            dead.list(Kind::Udp, hop(n), 1000, 0);
        }
        assert_eq!(dead.count(1), MOST);
        dead.list(Kind::Udp, hop(0), 5000, 1);
        dead.list(Kind::Udp, hop(4999), 1000, 1000);
        assert!(dead.has(Kind::Udp, hop(4999), 1001), "the old ones made room");
        assert_eq!(dead.count(1001), 2);
    }
}
