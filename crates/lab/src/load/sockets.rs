//! The UDP sockets of a run.

use super::outbox::Outbox;
use crate::wire::facing;
use socket2::{Domain, Protocol, Socket, Type};
use std::{future::poll_fn, io, net::SocketAddr, task::Poll};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};

/// Asked of the system for each socket, in octets.
const BUFFER: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Sockets {
    sockets: Vec<UdpSocket>,
    /// Where each can be reached.
    pub(super) addresses: Vec<SocketAddr>,
    buffer: Vec<u8>,
}

impl Sockets {
    /// Opens `count` sockets on the address that the first of `proxies` sees.
    pub(super) fn open(proxies: &[SocketAddr], count: usize) -> io::Result<Self> {
        let proxy = proxies.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let own = facing(*proxy)?;
        let sockets = (0..count).map(|_| open(own)).collect::<io::Result<Vec<_>>>()?;
        let addresses = sockets.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>()?;
        Ok(Self { sockets, addresses, buffer: vec![0; 65_536] })
    }

    /// A socket takes nothing until the runtime has seen that it can be written to.
    pub(super) async fn ready(&self) -> io::Result<()> {
        for socket in &self.sockets {
            socket.writable().await?;
        }
        Ok(())
    }

    /// Waits for a datagram, until `until` at most.
    pub(super) async fn wait(&self, until: Instant) {
        let readable = poll_fn(|context| {
            // Every socket is asked, for each is to wake this task.
            let ready =
                self.sockets.iter().filter(|socket| socket.poll_recv_ready(context).is_ready()).count();
            if ready > 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            () = readable => {}
            () = sleep_until(until) => {}
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// The next datagram that has come to a socket: sender and octets. An error is a refusal of an earlier datagram, or means
    /// that there is nothing more to read.
    pub(super) fn receive(&mut self, number: usize) -> Option<(SocketAddr, &[u8])> {
        let (length, from) = self.sockets[number].try_recv_from(&mut self.buffer).ok()?;
        Some((from, &self.buffer[..length]))
    }

    /// Sends what is in `outbox`. What a socket does not take now is as good as lost, and is sent again like anything lost.
    pub(super) fn send(&self, outbox: &mut Outbox) {
        outbox.drain(|from, to, octets| {
            if let Some(socket) = self.sockets.get(usize::from(from)) {
                let _ = socket.try_send_to(octets, to);
            }
        });
    }
}

fn open(own: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(own), Type::DGRAM, Some(Protocol::UDP))?;
    // The system may grant less than it is asked for; then there are retransmissions, and they are counted.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&own.into())?;
    UdpSocket::from_std(socket.into())
}
