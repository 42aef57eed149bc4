//! Datagrams on their way out, in one buffer, so that a batch of them costs no allocation.

use std::net::SocketAddr;

/// What is to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    octets: Vec<u8>,
    datagrams: Vec<(u16, SocketAddr, usize)>,
}

impl Outbox {
    /// Appends what `write` writes, from socket `from` to `to`.
    pub(super) fn put(&mut self, from: u16, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.octets);
        self.datagrams.push((from, to, self.octets.len()));
    }

    pub(super) fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Hands out everything in order.
    pub(super) fn drain(&mut self, mut send: impl FnMut(u16, SocketAddr, &[u8])) {
        let mut start = 0;
        for (from, to, end) in self.datagrams.drain(..) {
            send(from, to, &self.octets[start..end]);
            start = end;
        }
        self.octets.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_in_order_and_once() {
        let to = SocketAddr::from(([127, 0, 0, 1], 5060));
        let mut outbox = Outbox::default();
        outbox.put(0, to, |out| out.extend_from_slice(b"one"));
        outbox.put(3, to, |out| out.extend_from_slice(b"three"));
        assert_eq!(outbox.len(), 2);
        let mut sent = Vec::new();
        outbox.drain(|from, _, octets| sent.push((from, octets.to_vec())));
        assert_eq!(sent, [(0, b"one".to_vec()), (3, b"three".to_vec())]);
        outbox.drain(|_, _, _| panic!("nothing is left"));
    }
}
