//! RFC 3261 §17.1.2, §17.2.2, §18 — the UE's sockets and its transactions, kept as small as a UE can have them.

use super::{
    Error,
    config::Transport,
    happening::Happening,
    message::{Draft, Incoming},
};
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const TIMER_F: Duration = Duration::from_secs(32);
/// How many answers are kept for requests that come again.
const REMEMBERED: usize = 64;
const LONGEST: usize = 256 * 1024;

/// What the UE says to its wire.
pub(super) enum Word {
    /// Send a request; its final response, or why there is none, comes back.
    Exchange { draft: Draft, answer: oneshot::Sender<Result<Incoming, Error>> },
    /// Answer a request.
    Respond { origin: Origin, branch: String, octets: Vec<u8> },
}

/// A request of the network's.
pub(super) struct Asked {
    pub(super) request: Incoming,
    pub(super) origin: Origin,
}

/// Where a message came from; the answer goes there.
#[derive(Clone)]
pub(super) enum Origin {
    Udp(SocketAddr),
    Tcp(mpsc::Sender<Vec<u8>>),
}

struct Arrived {
    octets: Vec<u8>,
    origin: Origin,
}

struct Transaction {
    octets: Vec<u8>,
    answer: oneshot::Sender<Result<Incoming, Error>>,
    interval: Duration,
    next: Instant,
    ends: Instant,
}

pub(super) struct Wire {
    local: SocketAddr,
    transport: Transport,
    proxy: SocketAddr,
    udp: Option<Arc<UdpSocket>>,
    proxy_connection: Option<mpsc::Sender<Vec<u8>>>,
    arrivals: mpsc::Sender<Arrived>,
    transactions: HashMap<String, Transaction>,
    answered: VecDeque<(String, Vec<u8>)>,
    asked: mpsc::UnboundedSender<Asked>,
    happenings: mpsc::UnboundedSender<Happening>,
}

/// Opens the sockets and serves them until `words` ends; where it listens.
pub(super) async fn open(
    transport: Transport,
    proxy: SocketAddr,
    words: mpsc::UnboundedReceiver<Word>,
    asked: mpsc::UnboundedSender<Asked>,
    happenings: mpsc::UnboundedSender<Happening>,
) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let (arrivals, arriving) = mpsc::channel(256);
    let mut wire = Wire {
        local: proxy,
        transport,
        proxy,
        udp: None,
        proxy_connection: None,
        arrivals,
        transactions: HashMap::new(),
        answered: VecDeque::new(),
        asked,
        happenings,
    };
    let mut listener = None;
    match transport {
        Transport::Udp => {
            // Connecting a throw-away socket tells which address of ours the proxy sees.
            let any: SocketAddr =
                if proxy.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
            let probe = UdpSocket::bind(any).await?;
            probe.connect(proxy).await?;
            let socket = Arc::new(UdpSocket::bind((probe.local_addr()?.ip(), 0)).await?);
            wire.local = socket.local_addr()?;
            tokio::spawn(read_datagrams(Arc::clone(&socket), wire.arrivals.clone()));
            wire.udp = Some(socket);
        }
        Transport::Tcp => {
            let (stream, listening) = connect(proxy).await?;
            wire.local = stream.local_addr()?;
            wire.proxy_connection = Some(converse(stream, wire.arrivals.clone()));
            listener = Some(listening);
        }
    }
    let local = wire.local;
    if let Some(listener) = listener {
        tokio::spawn(accept(listener, wire.arrivals.clone()));
    }
    Ok((local, tokio::spawn(wire.run(words, arriving))))
}

/// Connects from a port on which it listens too, so that the address the proxy sees is one it can call back.
async fn connect(proxy: SocketAddr) -> std::io::Result<(TcpStream, TcpListener)> {
    let socket = || if proxy.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let probe = std::net::UdpSocket::bind(if proxy.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    probe.connect(proxy)?;
    let calling = socket()?;
    calling.set_reuseaddr(true)?;
    calling.set_reuseport(true)?;
    calling.bind(SocketAddr::new(probe.local_addr()?.ip(), 0))?;
    let address = calling.local_addr()?;
    let listening = socket()?;
    listening.set_reuseaddr(true)?;
    listening.set_reuseport(true)?;
    listening.bind(address)?;
    let stream = calling.connect(proxy).await?;
    Ok((stream, listening.listen(16)?))
}

async fn accept(listener: TcpListener, arrivals: mpsc::Sender<Arrived>) {
    while !arrivals.is_closed() {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                converse(stream, arrivals.clone());
            },
            () = arrivals.closed() => return,
        }
    }
}

/// Reads and writes a stream in a task of its own.
fn converse(mut stream: TcpStream, arrivals: mpsc::Sender<Arrived>) -> mpsc::Sender<Vec<u8>> {
    let (sender, mut outgoing) = mpsc::channel::<Vec<u8>>(64);
    // The reader must not keep its own stream's queue open.
    let origin = sender.downgrade();
    tokio::spawn(async move {
        let _ = stream.set_nodelay(true);
        let mut buffer = Vec::new();
        loop {
            tokio::select! {
                read = stream.read_buf(&mut buffer) => {
                    if !matches!(read, Ok(1..)) || buffer.len() > LONGEST {
                        return;
                    }
                    while let Some(length) = frame(&buffer) {
                        let octets: Vec<u8> = buffer.drain(..length).collect();
                        let Some(sender) = origin.upgrade() else { return };
                        let arrived = Arrived { octets, origin: Origin::Tcp(sender) };
                        if !is_blank(&arrived.octets) && arrivals.send(arrived).await.is_err() {
                            return;
                        }
                    }
                }
                octets = outgoing.recv() => match octets {
                    Some(octets) if stream.write_all(&octets).await.is_ok() => {}
                    _ => return,
                },
                () = arrivals.closed() => return,
            }
        }
    });
    // An accepted connection has no other owner, and would end at once.
    let kept = sender.clone();
    tokio::spawn(async move { kept.closed().await });
    sender
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

async fn read_datagrams(socket: Arc<UdpSocket>, arrivals: mpsc::Sender<Arrived>) {
    let mut buffer = vec![0; 65_536];
    loop {
        tokio::select! {
            read = socket.recv_from(&mut buffer) => {
                let Ok((length, from)) = read else { continue };
                let octets = buffer[..length].to_vec();
                if is_blank(&octets) {
                    continue;
                }
                if arrivals.send(Arrived { octets, origin: Origin::Udp(from) }).await.is_err() {
                    return;
                }
            }
            () = arrivals.closed() => return,
        }
    }
}

impl Wire {
    async fn run(mut self, mut words: mpsc::UnboundedReceiver<Word>, mut arriving: mpsc::Receiver<Arrived>) {
        loop {
            let due = self.transactions.values().map(|one| one.next.min(one.ends)).min();
            let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                word = words.recv() => match word {
                    None => return,
                    Some(Word::Exchange { draft, answer }) => self.exchange(&draft, answer).await,
                    Some(Word::Respond { origin, branch, octets }) => {
                        self.tell(&octets, true);
                        self.transmit(&origin, &octets).await;
                        if self.answered.len() == REMEMBERED {
                            self.answered.pop_front();
                        }
                        self.answered.push_back((branch, octets));
                    }
                },
                arrived = arriving.recv() => match arrived {
                    None => return,
                    Some(arrived) => self.arrived(arrived).await,
                },
                () = sleep_until(due) => self.expire().await,
            }
        }
    }

    async fn exchange(&mut self, draft: &Draft, answer: oneshot::Sender<Result<Incoming, Error>>) {
        let branch = format!("z9hG4bK{:016x}", rand::random::<u64>());
        let transport = self.transport.as_str().to_ascii_uppercase();
        let octets = draft.octets(&format!("SIP/2.0/{transport} {};branch={branch};rport", self.local));
        self.tell(&octets, true);
        let now = Instant::now();
        let interval = if self.transport == Transport::Udp { T1 } else { TIMER_F };
        // RFC 3261 §18.1.1: a connection that is gone is opened anew for the next request.
        if self.proxy_connection.as_ref().is_some_and(mpsc::Sender::is_closed)
            && let Ok(stream) = TcpStream::connect(self.proxy).await
        {
            self.proxy_connection = Some(converse(stream, self.arrivals.clone()));
        }
        self.transmit(&self.proxy_origin(), &octets).await;
        let transaction = Transaction { octets, answer, interval, next: now + interval, ends: now + TIMER_F };
        self.transactions.insert(branch, transaction);
    }

    fn proxy_origin(&self) -> Origin {
        match &self.proxy_connection {
            Some(connection) => Origin::Tcp(connection.clone()),
            None => Origin::Udp(self.proxy),
        }
    }

    async fn transmit(&self, origin: &Origin, octets: &[u8]) {
        match (origin, &self.udp) {
            (Origin::Udp(to), Some(socket)) => {
                let _ = socket.send_to(octets, to).await;
            }
            (Origin::Tcp(connection), _) => {
                let _ = connection.send(octets.to_vec()).await;
            }
            (Origin::Udp(_), None) => {}
        }
    }

    async fn arrived(&mut self, arrived: Arrived) {
        let message = match Incoming::read(&arrived.octets) {
            Ok(message) => message,
            Err(why) => {
                let _ = self.happenings.send(Happening::Unreadable { why: why.to_string() });
                return;
            }
        };
        let branch = message.branch();
        match message.status() {
            Some(status) => {
                self.tell(&arrived.octets, false);
                if status < 200 {
                    // RFC 3261 §17.1.2.2: once it is proceeding, a request is repeated every T2.
                    if let Some(transaction) = self.transactions.get_mut(&branch) {
                        transaction.interval = transaction.interval.max(T2);
                    }
                } else if let Some(transaction) = self.transactions.remove(&branch) {
                    let _ = transaction.answer.send(Ok(message));
                }
            }
            None => {
                let again = self.answered.iter().find(|(known, _)| *known == branch);
                if let Some((_, octets)) = again {
                    self.transmit(&arrived.origin, octets).await;
                } else {
                    self.tell(&arrived.octets, false);
                    let _ = self.asked.send(Asked { request: message, origin: arrived.origin });
                }
            }
        }
    }

    async fn expire(&mut self) {
        let now = Instant::now();
        let over: Vec<String> = self
            .transactions
            .iter()
            .filter(|(_, one)| one.ends <= now)
            .map(|(branch, _)| branch.clone())
            .collect();
        for branch in over {
            if let Some(transaction) = self.transactions.remove(&branch) {
                let _ = transaction.answer.send(Err(Error::NoAnswer));
            }
        }
        let mut again = Vec::new();
        for transaction in self.transactions.values_mut().filter(|one| one.next <= now) {
            transaction.interval = (transaction.interval * 2).min(T2);
            transaction.next = now + transaction.interval;
            again.push(transaction.octets.clone());
        }
        let origin = self.proxy_origin();
        for octets in again {
            self.transmit(&origin, &octets).await;
        }
    }

    fn tell(&self, octets: &[u8], sent: bool) {
        let line = octets.split(|octet| *octet == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).into_owned();
        let _ =
            self.happenings.send(if sent { Happening::Sent { line } } else { Happening::Received { line } });
    }
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
