//! RFC 3261 §17, §18 — what the lab's user agents and application servers stand on: sockets, transactions, and a small
//! reader of messages. It shares no code with the node: what meets on the wire are two implementations.

mod client;
mod phrase;
mod server;
mod serving;
mod socket;
pub(crate) mod text;

pub(crate) use client::{Heard, ReplyTo};
pub(crate) use phrase::phrase;
pub(crate) use server::{Key, Repeated};
pub(crate) use socket::{Origin, facing};
pub(crate) use text::Text;
pub(crate) use text::Unreadable;

use serving::{Serving, Word};
use std::{fmt, io, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};
use tokio::{net::UdpSocket, sync::mpsc, task::JoinHandle};

/// Over what SIP is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Udp,
    Tcp,
}

impl Kind {
    /// As Via spells it.
    pub(crate) const fn in_via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// RFC 3261 §17.1.1.1: what all other timers are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// The first interval between two sendings.
    pub t1: Duration,
    /// The longest interval, INVITE aside.
    pub t2: Duration,
    /// How long a message may linger in the network.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl Timers {
    /// As fast as tests want them: 64 T1 are less than two seconds.
    pub fn fast() -> Self {
        Self { t1: Duration::from_millis(25), t2: Duration::from_millis(200), t4: Duration::from_millis(250) }
    }

    /// Timers B, F, H, J, L and M.
    pub(crate) fn longest(&self) -> Duration {
        self.t1 * 64
    }
}

/// What comes to whoever stands on the wire.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// A request that was not there before; it is answered under its key.
    Request { key: Key, text: Text, origin: Origin },
    /// An ACK that is not that of a refusal.
    Ack { text: Text, origin: Origin },
    /// An unanswered INVITE is cancelled; the CANCEL has its answer.
    Cancelled { of: Key, text: Text },
    /// The ACK to a 2xx of ours never came.
    Unacknowledged { of: Key },
    /// Octets that are no message.
    Unreadable(Unreadable),
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    To(Kind, SocketAddr),
    /// Back to where something came from.
    Back(Origin),
}

/// Hears of every message that comes or first leaves: whether it leaves, and its first line.
pub(crate) type Witness = Box<dyn Fn(bool, String) + Send>;

/// A handle on open sockets; they close when the last one is dropped.
#[derive(Clone)]
pub(crate) struct Wire {
    words: mpsc::UnboundedSender<Word>,
    addresses: Arc<[Listen]>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wire").field(&self.addresses).finish()
    }
}

/// A branch that no other transaction has.
pub(crate) fn branch() -> String {
    format!("z9hG4bK{:016x}", rand::random::<u64>())
}

/// A tag that no other side of a dialog has.
pub(crate) fn tag() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// A Call-ID that no other dialog has.
pub(crate) fn call_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

impl Wire {
    /// Opens sockets and serves them. Connections are opened from the port on which they are called back.
    pub(crate) async fn open(
        listen: &[Listen],
        timers: Timers,
        arrived: mpsc::UnboundedSender<Arrived>,
        witness: Witness,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (events, happening) = mpsc::channel(256);
        let (mut addresses, mut udp) = (Vec::new(), Vec::new());
        for Listen { kind, address } in listen {
            match kind {
                Kind::Udp => {
                    let socket = Arc::new(UdpSocket::bind(address).await?);
                    addresses.push(Listen::udp(socket.local_addr()?));
                    udp.push((socket.local_addr()?, Arc::clone(&socket)));
                    tokio::spawn(socket::read_datagrams(socket, events.clone()));
                }
                Kind::Tcp => {
                    let listener = socket::listen(*address)?;
                    addresses.push(Listen::tcp(listener.local_addr()?));
                    tokio::spawn(socket::accept(listener, events.clone()));
                }
            }
        }
        let (words, heard) = mpsc::unbounded_channel();
        let wire = Self { words, addresses: addresses.into() };
        let serving = Serving::new(timers, Arc::clone(&wire.addresses), udp, events, arrived, witness);
        Ok((wire, tokio::spawn(serving.run(heard, happening))))
    }

    /// Where it listens.
    pub(crate) fn addresses(&self) -> &Arc<[Listen]> {
        &self.addresses
    }

    /// Where it listens over that transport; over another one if it must be.
    pub(crate) fn reached_over(&self, kind: Kind) -> Option<Listen> {
        self.addresses.iter().find(|own| own.kind == kind).or_else(|| self.addresses.first()).copied()
    }

    /// The Via of a request that goes to `to`.
    pub(crate) fn via(&self, to: &Target, branch: &str) -> String {
        let kind = match to {
            Target::To(kind, _) => *kind,
            Target::Back(origin) => origin.kind(),
        };
        let own = self.reached_over(kind).map_or_else(String::new, |own| own.address.to_string());
        format!("SIP/2.0/{} {own};branch={branch};rport", kind.in_via())
    }

    /// Sends a request, its Via on top; what comes of it is told.
    pub(crate) fn send(&self, request: Text, octets: Vec<u8>, to: Target, tell: ReplyTo) {
        let _ = self.words.send(Word::Send { request, octets, to, tell });
    }

    /// Sends what has no transaction: an ACK to a 2xx.
    pub(crate) fn pass(&self, octets: Vec<u8>, to: Target) {
        let _ = self.words.send(Word::Pass { octets, to });
    }

    /// Cancels an INVITE of ours, as soon as that is allowed.
    pub(crate) fn cancel(&self, branch: &str, further: Vec<(String, String)>) {
        let _ = self.words.send(Word::Cancel { branch: branch.to_owned(), further });
    }

    /// Answers a request.
    pub(crate) fn respond(&self, key: &Key, octets: Vec<u8>, repeated: Repeated) {
        let _ = self.words.send(Word::Respond { key: key.clone(), octets, repeated });
    }

    /// Whether its sockets are closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.words.is_closed()
    }
}

/// A listening address as `udp:HOST:PORT` or `tcp:HOST:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    pub(crate) kind: Kind,
    /// Where; port 0 is any.
    pub address: SocketAddr,
}

/// A text that is no [`Listen`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}': expected udp:ADDRESS:PORT or tcp:ADDRESS:PORT")]
pub struct ListenError(String);

impl Listen {
    /// Datagrams there.
    pub const fn udp(address: SocketAddr) -> Self {
        Self { kind: Kind::Udp, address }
    }

    /// Streams there.
    pub const fn tcp(address: SocketAddr) -> Self {
        Self { kind: Kind::Tcp, address }
    }

    /// The URI that leads there.
    pub fn uri(&self) -> String {
        match self.kind {
            Kind::Udp => format!("sip:{}", self.address),
            Kind::Tcp => format!("sip:{};transport=tcp", self.address),
        }
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let wrong = || ListenError(text.to_owned());
        let (kind, address) = text.split_once(':').ok_or_else(wrong)?;
        let address = address.parse().map_err(|_| wrong())?;
        match kind {
            "udp" => Ok(Self::udp(address)),
            "tcp" => Ok(Self::tcp(address)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.in_via().to_ascii_lowercase(), self.address)
    }
}
