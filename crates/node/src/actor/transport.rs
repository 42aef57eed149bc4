//! RFC 3261 §18 — transport: UDP sockets, TCP connections, and what goes out by them.

use super::pipe::{End, Pipe};
use crate::config::{Cidr, Listen};
use crate::shell::Shell;
use ahash::{AHashMap, AHashSet};
use bytes::Bytes;
use sip::transaction::{Flow, reconnect_target};
use sip::{Frame, Framer, Message, Transport as Kind};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Largest request that goes by UDP when the path MTU is unknown (RFC 3261 §18.1.1).
pub(crate) const LARGEST_DATAGRAM: usize = 1300;
/// How long a connection may take to open before UDP is tried, or the request fails.
const CONNECT: Duration = Duration::from_secs(3);
/// Ports tried when the system chooses them.
const PORTS: usize = 32;
/// Datagrams taken before others get their turn.
const BATCH: usize = 64;

/// All sockets that speak SIP.
pub(crate) struct Transport {
    pub(super) udp: Vec<(SocketAddr, Rc<UdpSocket>)>,
    tcp: Vec<(SocketAddr, Rc<TcpListener>)>,
    connections: RefCell<AHashMap<u64, Rc<Connection>>>,
    by_remote: RefCell<AHashMap<SocketAddr, u64>>,
    next: Cell<u64>,
    /// Who refused TCP lately, and until which tick that is remembered.
    refused_tcp: RefCell<AHashMap<SocketAddr, u64>>,
    pub(super) trusted: Vec<Cidr>,
    advertise: Option<Box<str>>,
    sources: RefCell<AHashMap<IpAddr, IpAddr>>,
    /// Our ends of the connections that we opened.
    pub(super) own_ends: RefCell<AHashSet<SocketAddr>>,
    max_connections: usize,
    idle: Duration,
    /// No new connections are taken.
    pub(crate) closed: Cell<bool>,
}

struct Connection {
    flow: Flow,
    pipe: Pipe,
}

impl Transport {
    pub(crate) async fn bind(config: &crate::Config) -> anyhow::Result<Self> {
        let mut tries = 0;
        let (udp, tcp) = loop {
            match open(config).await {
                Ok(sockets) => break sockets,
                // The system chose a port for one transport that is taken for the other.
                Err((_, address, error))
                    if address.port() == 0
                        && error.kind() == std::io::ErrorKind::AddrInUse
                        && tries < PORTS =>
                {
                    tries += 1;
                }
                Err((transport, address, error)) => anyhow::bail!(
                    "sip.listen = {}:{address}: {error}; expected a free port",
                    transport.as_str().to_ascii_lowercase()
                ),
            }
        };
        let advertise = &config.sip.advertise;
        Ok(Self {
            udp,
            tcp,
            connections: RefCell::default(),
            by_remote: RefCell::default(),
            next: Cell::new(1),
            refused_tcp: RefCell::default(),
            trusted: config.trusted(),
            advertise: (!advertise.is_empty()).then(|| advertise.as_str().into()),
            sources: RefCell::default(),
            own_ends: RefCell::default(),
            max_connections: config.sip.max_connections,
            idle: Duration::from_secs(config.sip.idle_timeout),
            closed: Cell::new(false),
        })
    }

    /// Where SIP is taken.
    pub(crate) fn addresses(&self) -> Vec<(Kind, SocketAddr)> {
        let udp = self.udp.iter().map(|(address, _)| (Kind::Udp, *address));
        udp.chain(self.tcp.iter().map(|(address, _)| (Kind::Tcp, *address))).collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Whether a large request to `remote` should try TCP first.
    pub(crate) fn may_use_tcp(&self, remote: SocketAddr, now: u64) -> bool {
        !self.tcp.is_empty() && self.refused_tcp.borrow().get(&remote).is_none_or(|until| *until <= now)
    }

    /// Host and port where responses reach us (RFC 3261 §18.1.1: sent-by).
    pub(crate) fn sent_by(&self, flow: &Flow) -> Box<str> {
        if let Some(advertised) = &self.advertise {
            return advertised.clone();
        }
        let listeners = self.addresses();
        let own = listeners
            .iter()
            .find(|(kind, address)| *kind == flow.transport && address.is_ipv4() == flow.remote.is_ipv4())
            .or_else(|| listeners.first())
            .map_or(flow.local, |(_, address)| *address);
        let host = if own.ip().is_unspecified() { self.source_towards(flow.remote) } else { own.ip() };
        SocketAddr::new(host, own.port()).to_string().into()
    }

    /// The address of ours from which `remote` is reached; a connected UDP socket knows, without a packet.
    fn source_towards(&self, remote: SocketAddr) -> IpAddr {
        if let Some(known) = self.sources.borrow().get(&remote.ip()) {
            return *known;
        }
        let any: IpAddr =
            if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let found = std::net::UdpSocket::bind((any, 0))
            .and_then(|socket| socket.connect(remote).and_then(|()| socket.local_addr()))
            .map_or(any, |address| address.ip());
        let mut sources = self.sources.borrow_mut();
        if sources.len() >= 4096 {
            sources.clear();
        }
        sources.insert(remote.ip(), found);
        found
    }

    fn datagram(&self, flow: &Flow, bytes: &[u8]) -> bool {
        let exact = self.udp.iter().find(|(local, _)| *local == flow.local);
        let socket =
            exact.or_else(|| self.udp.iter().find(|(local, _)| local.is_ipv4() == flow.remote.is_ipv4()));
        let Some((_, socket)) = socket else { return false };
        match socket.try_send_to(bytes, flow.remote) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            // It may be the network's word on an earlier datagram, and is given once.
            Err(_) => socket.try_send_to(bytes, flow.remote).is_ok(),
            Ok(_) => true,
        }
    }
}

type Sockets = (Vec<(SocketAddr, Rc<UdpSocket>)>, Vec<(SocketAddr, Rc<TcpListener>)>);

/// Opens what the configuration lists; the error names the entry as configured.
async fn open(config: &crate::Config) -> Result<Sockets, (Kind, SocketAddr, std::io::Error)> {
    let (mut udp, mut tcp) = (Vec::new(), Vec::new());
    for Listen { transport, address: wanted } in config.listens() {
        // Port 0 for both transports gives both the same port, as one SIP URI names it.
        let port = if wanted.port() == 0 { chosen(&udp, &tcp).unwrap_or(0) } else { wanted.port() };
        let address = SocketAddr::new(wanted.ip(), port);
        let failed = |error| (transport, wanted, error);
        if transport == Kind::Udp {
            let socket = bind_udp(address).map_err(failed)?;
            udp.push((socket.local_addr().map_err(failed)?, Rc::new(socket)));
        } else {
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            tcp.push((listener.local_addr().map_err(failed)?, Rc::new(listener)));
        }
    }
    Ok((udp, tcp))
}

fn chosen(udp: &[(SocketAddr, Rc<UdpSocket>)], tcp: &[(SocketAddr, Rc<TcpListener>)]) -> Option<u16> {
    udp.first().map(|(address, _)| address.port()).or_else(|| tcp.first().map(|(address, _)| address.port()))
}

fn bind_udp(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    // Bursts wait in the kernel; it grants less where the system's limit is lower.
    let _ = socket.set_recv_buffer_size(8 << 20);
    let _ = socket.set_send_buffer_size(4 << 20);
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    super::icmp::listen_for_errors(&socket, address.is_ipv4());
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

impl Shell {
    /// Begins to take SIP.
    pub(crate) fn listen(self: &Rc<Self>) {
        for (local, socket) in &self.transport.udp {
            #[cfg(target_os = "linux")]
            tokio::task::spawn_local(Rc::clone(self).take_errors(Rc::clone(socket)));
            let (shell, socket, local) = (Rc::clone(self), Rc::clone(socket), *local);
            tokio::task::spawn_local(async move { shell.take_datagrams(&socket, local).await });
        }
        for (local, listener) in &self.transport.tcp {
            let (shell, listener, local) = (Rc::clone(self), Rc::clone(listener), *local);
            tokio::task::spawn_local(async move { shell.take_connections(&listener, local).await });
        }
    }

    async fn take_datagrams(self: Rc<Self>, socket: &UdpSocket, local: SocketAddr) {
        let mut buffer = vec![0; 65_535].into_boxed_slice();
        while !self.stopped.get() {
            if socket.readable().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            for _ in 0..BATCH {
                match socket.try_recv_from(&mut buffer) {
                    Ok((length, remote)) => {
                        let flow = Flow { transport: Kind::Udp, local, remote, connection: 0 };
                        let bytes = Bytes::copy_from_slice(&buffer[..length]);
                        self.contained(|shell| shell.took_datagram(bytes, flow));
                        self.take_own();
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    // The network's word on something we sent earlier, which is read elsewhere.
                    Err(_) => {}
                }
            }
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn took_datagram(self: &Rc<Self>, bytes: Bytes, flow: Flow) {
        if bytes.iter().all(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            return;
        }
        match Message::parse_datagram(bytes) {
            Ok(message) => self.took_message(message, flow),
            Err(error) => self.took_garbage(&error, flow),
        }
    }

    async fn take_connections(self: Rc<Self>, listener: &TcpListener, local: SocketAddr) {
        while !self.stopped.get() {
            let Ok((stream, remote)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if self.transport.closed.get() || self.transport.connections() >= self.transport.max_connections {
                self.telemetry.connections_refused.inc();
                continue;
            }
            let local = stream.local_addr().unwrap_or(local);
            let connection = self.new_connection(local, remote);
            let shell = Rc::clone(&self);
            tokio::task::spawn_local(async move { shell.converse(stream, connection).await });
        }
    }

    fn new_connection(&self, local: SocketAddr, remote: SocketAddr) -> Rc<Connection> {
        let id = self.transport.next.get();
        self.transport.next.set(id + 1);
        let flow = Flow { transport: Kind::Tcp, local, remote, connection: id };
        let connection = Rc::new(Connection { flow, pipe: Pipe::default() });
        self.transport.connections.borrow_mut().insert(id, Rc::clone(&connection));
        self.transport.by_remote.borrow_mut().insert(remote, id);
        connection
    }

    async fn converse(self: Rc<Self>, stream: TcpStream, connection: Rc<Connection>) {
        let _ = stream.set_nodelay(true);
        let mut framer = Framer::new();
        let flow = connection.flow;
        let shell = &self;
        let pipe = &connection.pipe;
        let end = pipe
            .run(&stream, Some(self.transport.idle), |octets| {
                framer.push(octets);
                shell
                    .contained(|shell| {
                        let flows_on = shell.took_frames(&mut framer, pipe, flow);
                        shell.take_own();
                        flows_on
                    })
                    .unwrap_or(ControlFlow::Break(()))
            })
            .await;
        if end == End::Idle {
            self.telemetry.connections_idle.inc();
        }
        self.forget_connection(&flow);
        self.flow_failed(&flow);
    }

    fn took_frames(self: &Rc<Self>, framer: &mut Framer, pipe: &Pipe, flow: Flow) -> ControlFlow<()> {
        while let Some(frame) = framer.next() {
            match frame {
                Frame::KeepAlive => {
                    pipe.write(b"\r\n");
                }
                Frame::Refused(error) => {
                    self.took_garbage(&error, flow);
                    return ControlFlow::Break(());
                }
                Frame::Message(bytes) => match Message::parse_frame(bytes) {
                    Ok(message) => self.took_message(message, flow),
                    Err(error) => self.took_garbage(&error, flow),
                },
            }
        }
        ControlFlow::Continue(())
    }

    fn forget_connection(&self, flow: &Flow) {
        self.transport.connections.borrow_mut().remove(&flow.connection);
        let mut by_remote = self.transport.by_remote.borrow_mut();
        if by_remote.get(&flow.remote) == Some(&flow.connection) {
            by_remote.remove(&flow.remote);
        }
    }

    /// A flow by which `remote` can be sent a request; a connection is opened where there is none.
    pub(crate) fn flow_to(self: &Rc<Self>, transport: Kind, remote: SocketAddr) -> Option<Flow> {
        if transport == Kind::Udp {
            let (local, _) =
                self.transport.udp.iter().find(|(local, _)| local.is_ipv4() == remote.is_ipv4())?;
            return Some(Flow { transport, local: *local, remote, connection: 0 });
        }
        let known = self.transport.by_remote.borrow().get(&remote).copied();
        if let Some(connection) = known.and_then(|id| self.transport.connections.borrow().get(&id).cloned()) {
            return Some(connection.flow);
        }
        if self.transport.connections() >= self.transport.max_connections {
            self.telemetry.connections_refused.inc();
            return None;
        }
        let any: IpAddr =
            if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let connection = self.new_connection(SocketAddr::new(any, 0), remote);
        let flow = connection.flow;
        let shell = Rc::clone(self);
        tokio::task::spawn_local(async move {
            match tokio::time::timeout(CONNECT, TcpStream::connect(remote)).await {
                Ok(Ok(stream)) => {
                    let own = stream.local_addr().ok();
                    shell.transport.own_ends.borrow_mut().extend(own);
                    Rc::clone(&shell).converse(stream, connection).await;
                    if let Some(own) = own {
                        shell.transport.own_ends.borrow_mut().remove(&own);
                    }
                }
                Ok(Err(_)) | Err(_) => {
                    let until = shell.clock.tick() + 60_000;
                    let mut refused = shell.transport.refused_tcp.borrow_mut();
                    if refused.len() >= 4096 {
                        refused.clear();
                    }
                    refused.insert(remote, until);
                    drop(refused);
                    shell.forget_connection(&flow);
                    shell.flow_failed(&flow);
                }
            }
        });
        Some(flow)
    }

    /// Puts octets on the wire. What UDP cannot take now is lost, as on any wire; transactions send again.
    pub(crate) fn transmit(self: &Rc<Self>, flow: &Flow, bytes: &Bytes) {
        if flow.transport == Kind::Udp {
            let sent = self.send_to_self(flow, bytes).unwrap_or_else(|| self.transport.datagram(flow, bytes));
            if !sent {
                self.telemetry.unsent.inc();
            }
            return;
        }
        let connection = self.transport.connections.borrow().get(&flow.connection).cloned();
        if connection.is_some_and(|connection| connection.pipe.write(bytes)) {
            return;
        }
        // RFC 3261 §18.2.2: a response whose connection is gone opens another to where the request came from.
        let target = match Message::parse_datagram(bytes.clone()) {
            Ok(Message::Response(response)) => reconnect_target(&response),
            Ok(Message::Request(_)) | Err(_) => None,
        };
        let other = target.and_then(|remote| self.flow_to(Kind::Tcp, remote));
        let connection =
            other.and_then(|flow| self.transport.connections.borrow().get(&flow.connection).cloned());
        if !connection.is_some_and(|connection| connection.pipe.write(bytes)) {
            self.telemetry.unsent.inc();
        }
    }
}
