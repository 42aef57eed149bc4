//! RFC 3261 §18.4 — what the network says of datagrams that nobody took.
//!
//! It makes a request go on to its next place at once. It ends none: anybody can forge such a word, and a peer that is
//! starting again may still hear a retransmission.

use crate::shell::Shell;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Words taken before others get their turn.
const BATCH: usize = 64;
/// ICMP: destination unreachable; the code of it that only wants smaller packets.
const UNREACHABLE: (u8, u8) = (3, 4);
/// ICMPv6: destination unreachable.
const UNREACHABLE_V6: u8 = 1;

/// Asks the kernel to keep such words. Where it does not, timers notice by themselves.
pub(super) fn listen_for_errors(socket: &impl AsFd, is_ipv4: bool) {
    let _ = if is_ipv4 {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)
    } else {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)
    };
}

impl Shell {
    pub(super) async fn take_errors(self: Rc<Self>, socket: Rc<UdpSocket>) {
        while !self.stopped.get() {
            if socket.ready(Interest::ERROR).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            for _ in 0..BATCH {
                match socket.try_io(Interest::ERROR, || next_error(&socket)) {
                    Ok(Some(remote)) => {
                        self.contained(|shell| shell.unreached(remote));
                    }
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

/// The next word of the network on this socket: whom a datagram did not reach, if it says so.
fn next_error(socket: &UdpSocket) -> std::io::Result<Option<SocketAddr>> {
    // The octets of the datagram itself are not wanted.
    let mut octets = [0; 1];
    let mut octets = [IoSliceMut::new(&mut octets)];
    let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let taken = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut octets, Some(&mut control), flags)?;
    let is_unreachable = taken.cmsgs()?.any(|message| is_unreachable(&message));
    Ok(taken.address.filter(|_| is_unreachable).and_then(|address| destination(&address)))
}

fn is_unreachable(message: &ControlMessageOwned) -> bool {
    if let ControlMessageOwned::Ipv4RecvErr(error, _) = message {
        return error.ee_origin == libc::SO_EE_ORIGIN_ICMP
            && error.ee_type == UNREACHABLE.0
            && error.ee_code != UNREACHABLE.1;
    }
    if let ControlMessageOwned::Ipv6RecvErr(error, _) = message {
        return error.ee_origin == libc::SO_EE_ORIGIN_ICMP6 && error.ee_type == UNREACHABLE_V6;
    }
    false
}

fn destination(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::from((address.ip(), address.port())));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::from((address.ip(), address.port()))))
}
