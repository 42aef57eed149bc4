//! RFC 3261 §18 — the sockets of the lab's user agents and servers: datagrams, and streams that are opened when needed,
//! kept, and cut into messages.

use super::Kind;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    sync::mpsc,
    time::timeout,
};

/// Octets of a message at most; a stream with a longer one is closed.
const LONGEST: usize = 256 * 1024;
/// How long the opening of a connection may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// Messages that wait to be written to one connection.
const QUEUE: usize = 4096;

/// Where a message came from; the answer goes there.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// By datagram from that address.
    Udp(SocketAddr),
    /// Over that connection.
    Tcp(SocketAddr, mpsc::Sender<Vec<u8>>),
}

impl Origin {
    /// The address at the far end.
    pub(crate) const fn address(&self) -> SocketAddr {
        match self {
            Self::Udp(address) | Self::Tcp(address, _) => *address,
        }
    }

    /// The transport.
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Udp(_) => Kind::Udp,
            Self::Tcp(..) => Kind::Tcp,
        }
    }

    /// Whether the transport loses nothing.
    pub(super) const fn is_reliable(&self) -> bool {
        matches!(self, Self::Tcp(..))
    }
}

/// What the sockets say.
pub(super) enum Event {
    /// Octets of one message came.
    Came(Origin, Vec<u8>),
    /// A connection was accepted.
    Opened(SocketAddr, mpsc::Sender<Vec<u8>>),
    /// A connection is gone, or could not be opened, which is why.
    Gone(SocketAddr, Option<String>),
}

pub(super) type Events = mpsc::Sender<Event>;

/// The address of ours that `far` sees, with any port. Connecting a socket for datagrams tells it without a packet.
pub(crate) fn facing(far: SocketAddr) -> std::io::Result<SocketAddr> {
    let probe = std::net::UdpSocket::bind(if far.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    probe.connect(far)?;
    Ok(SocketAddr::new(probe.local_addr()?.ip(), 0))
}

pub(super) async fn read_datagrams(socket: Arc<UdpSocket>, events: Events) {
    let mut buffer = vec![0; 65_536];
    loop {
        tokio::select! {
            read = socket.recv_from(&mut buffer) => {
                let Ok((length, from)) = read else { continue };
                let octets = buffer[..length].to_vec();
                if is_blank(&octets) {
                    continue;
                }
                if events.send(Event::Came(Origin::Udp(from), octets)).await.is_err() {
                    return;
                }
            }
            () = events.closed() => return,
        }
    }
}

fn reusable(local: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if local.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(local)?;
    Ok(socket)
}

/// Listens so that connections can be opened from the same port.
pub(super) fn listen(local: SocketAddr) -> std::io::Result<TcpListener> {
    reusable(local)?.listen(64)
}

pub(super) async fn accept(listener: TcpListener, events: Events) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, peer)) = accepted else { continue };
                let (sender, queue) = mpsc::channel(QUEUE);
                if events.send(Event::Opened(peer, sender.clone())).await.is_err() {
                    return;
                }
                tokio::spawn(converse(stream, peer, sender.downgrade(), queue, events.clone()));
            }
            () = events.closed() => return,
        }
    }
}

/// Opens a connection from `local`, the port on which it is called back; what is sent meanwhile waits in the queue.
pub(super) fn dial(local: SocketAddr, peer: SocketAddr, events: Events) -> mpsc::Sender<Vec<u8>> {
    let (sender, queue) = mpsc::channel(QUEUE);
    let origin = sender.downgrade();
    tokio::spawn(async move {
        match timeout(PATIENCE, connect(local, peer)).await {
            Ok(Ok(stream)) => converse(stream, peer, origin, queue, events).await,
            failed => {
                let why = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "no connection in time".to_owned(),
                };
                drop(queue);
                let _ = events.send(Event::Gone(peer, Some(why))).await;
            }
        }
    });
    sender
}

async fn connect(local: SocketAddr, peer: SocketAddr) -> std::io::Result<TcpStream> {
    match reusable(local)?.connect(peer).await {
        // The former connection between the two ports may still linger.
        Err(error) if matches!(error.raw_os_error(), Some(98 | 99)) => TcpStream::connect(peer).await,
        other => other,
    }
}

async fn converse(
    mut stream: TcpStream,
    peer: SocketAddr,
    origin: mpsc::WeakSender<Vec<u8>>,
    mut queue: mpsc::Receiver<Vec<u8>>,
    events: Events,
) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    'talk: loop {
        tokio::select! {
            read = stream.read_buf(&mut buffer) => {
                if !matches!(read, Ok(1..)) || buffer.len() > LONGEST {
                    break;
                }
                while let Some(length) = frame(&buffer) {
                    let octets: Vec<u8> = buffer.drain(..length).collect();
                    if is_blank(&octets) {
                        continue;
                    }
                    let Some(sender) = origin.upgrade() else { break 'talk };
                    if events.send(Event::Came(Origin::Tcp(peer, sender), octets)).await.is_err() {
                        break 'talk;
                    }
                }
            }
            octets = queue.recv() => match octets {
                Some(octets) if stream.write_all(&octets).await.is_ok() => {}
                _ => break,
            },
            () = events.closed() => break,
        }
    }
    drop(queue);
    let _ = events.send(Event::Gone(peer, None)).await;
}

fn is_blank(octets: &[u8]) -> bool {
    octets.iter().all(|octet| matches!(octet, b'\r' | b'\n'))
}

/// Length of the first message in `buffer`, if it is complete.
fn frame(buffer: &[u8]) -> Option<usize> {
    if buffer.starts_with(b"\r\n") {
        return Some(2);
    }
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]);
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named =
            name.trim().eq_ignore_ascii_case("content-length") || name.trim().eq_ignore_ascii_case("l");
        named.then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    let whole = head.checked_add(length.unwrap_or(0))?;
    (whole <= buffer.len()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_cut_into_messages() {
        let first = b"SIP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(frame(first), Some(first.len()));
        assert_eq!(frame(&first[..first.len() - 1]), None);
        assert_eq!(frame(b"\r\n\r\nSIP"), Some(2));
        assert_eq!(frame(b"SIP/2.0 200 OK\r\nl: 0\r\n\r\nSIP"), Some(24));
        assert_eq!(frame(b"SIP/2.0 200 OK\r\n"), None);
    }
}
