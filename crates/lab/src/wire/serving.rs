//! The loop that serves the sockets: it matches messages with transactions, and looks at each of these when its time comes.

use super::{
    Arrived, Kind, Listen, Target, Timers, Witness,
    client::{Client, Heard, Out, ReplyTo},
    phrase,
    server::{Ended, Key, Repeated, Server},
    socket::{self, Event, Events, Origin},
    text::Text,
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// Most transactions on either side; beyond, requests of others are not heard, and ours fail.
const TRANSACTIONS: usize = 65_536;
/// Most connections.
const CONNECTIONS: usize = 1024;

/// What is asked of the wire.
pub(super) enum Word {
    Send { request: Text, octets: Vec<u8>, to: Target, tell: ReplyTo },
    Pass { octets: Vec<u8>, to: Target },
    Cancel { branch: String, further: Vec<(String, String)> },
    Respond { key: Key, octets: Vec<u8>, repeated: Repeated },
}

/// What the loop knows.
pub(super) struct Serving {
    timers: Timers,
    addresses: Arc<[Listen]>,
    udp: Vec<(SocketAddr, Arc<UdpSocket>)>,
    connections: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>,
    events: Events,
    clients: HashMap<Own, Client>,
    servers: HashMap<Key, Server>,
    /// INVITEs whose 2xx waits for its ACK, by Call-ID and CSeq.
    waiting: HashMap<(String, u32), Vec<Key>>,
    /// When a transaction is to be looked at, or earlier.
    agenda: BinaryHeap<Reverse<(Instant, Which)>>,
    arrived: mpsc::UnboundedSender<Arrived>,
    witness: Witness,
}

/// A transaction of ours: its branch and method.
type Own = (String, String);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    Client(Own),
    Server(Key),
}

impl Serving {
    pub(super) fn new(
        timers: Timers,
        addresses: Arc<[Listen]>,
        udp: Vec<(SocketAddr, Arc<UdpSocket>)>,
        events: Events,
        arrived: mpsc::UnboundedSender<Arrived>,
        witness: Witness,
    ) -> Self {
        Self {
            timers,
            addresses,
            udp,
            connections: HashMap::new(),
            events,
            clients: HashMap::new(),
            servers: HashMap::new(),
            waiting: HashMap::new(),
            agenda: BinaryHeap::new(),
            arrived,
            witness,
        }
    }

    /// Serves until nobody speaks any more.
    pub(super) async fn run(
        mut self,
        mut words: mpsc::UnboundedReceiver<Word>,
        mut happening: mpsc::Receiver<Event>,
    ) {
        let mut out = Vec::new();
        loop {
            let due = self.agenda.peek().map(|Reverse((at, _))| *at);
            let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                word = words.recv() => match word {
                    None => return,
                    Some(word) => self.told(word, &mut out),
                },
                event = happening.recv() => match event {
                    None => return,
                    Some(event) => self.happened(event, &mut out),
                },
                () = sleep_until(due) => self.expire(&mut out),
            }
            for Out { to, octets } in out.drain(..) {
                transmit(&self.udp, &to, octets).await;
            }
        }
    }

    fn told(&mut self, word: Word, out: &mut Vec<Out>) {
        let now = Instant::now();
        match word {
            Word::Send { request, octets, to, mut tell } => {
                if self.clients.len() >= TRANSACTIONS {
                    return tell(Heard::Unreachable("too many transactions".into()));
                }
                let Some(to) = self.origin(to) else {
                    return tell(Heard::Unreachable("no socket of that kind".into()));
                };
                self.tell(true, request.line());
                self.begin(Client::new(request, octets, to, tell), now, out);
            }
            Word::Pass { octets, to } => {
                let line = Text::read(&octets).map(|text| text.line()).unwrap_or_default();
                if let Some(to) = self.origin(to) {
                    self.tell(true, line);
                    out.push(Out { to, octets });
                }
            }
            Word::Cancel { branch, further } => self.cancel(branch, &further, now, out),
            Word::Respond { key, octets, repeated } => {
                let Some(server) = self.servers.get_mut(&key) else { return };
                let Ok(response) = Text::read(&octets) else { return };
                server.respond(&response, octets, repeated, now, &self.timers, out);
                if server.is_waiting() {
                    let call = (response.value("Call-ID").to_owned(), response.cseq().0);
                    self.waiting.entry(call).or_default().push(key.clone());
                }
                self.agenda.push(Reverse((server.due(), Which::Server(key))));
                self.tell(true, response.line());
            }
        }
    }

    fn begin(&mut self, mut client: Client, now: Instant, out: &mut Vec<Out>) {
        let own = client.own();
        out.push(client.start(now, &self.timers));
        self.agenda.push(Reverse((client.due(), Which::Client(own.clone()))));
        self.clients.insert(own, client);
    }

    fn cancel(&mut self, branch: String, further: &[(String, String)], now: Instant, out: &mut Vec<Out>) {
        let Some(invite) = self.clients.get_mut(&(branch.clone(), "INVITE".to_owned())) else { return };
        let to = invite.to.clone();
        let Some(cancel) = invite.cancelled(further, now, &self.timers) else { return };
        self.tell(true, cancel.line());
        self.again(Which::Client((branch, "INVITE".to_owned())));
        let octets = cancel.octets();
        self.begin(Client::new(cancel, octets, to, Box::new(|_| {})), now, out);
    }

    /// Puts a transaction whose timers changed on the agenda again.
    fn again(&mut self, which: Which) {
        let due = match &which {
            Which::Client(own) => self.clients.get(own).map(Client::due),
            Which::Server(key) => self.servers.get(key).map(Server::due),
        };
        if let Some(due) = due {
            self.agenda.push(Reverse((due, which)));
        }
    }

    /// The socket or connection that leads there; a connection is opened if need be.
    fn origin(&mut self, to: Target) -> Option<Origin> {
        match to {
            Target::Back(Origin::Tcp(peer, connection)) if connection.is_closed() => {
                self.origin(Target::To(Kind::Tcp, peer))
            }
            Target::Back(origin) => Some(origin),
            Target::To(Kind::Udp, peer) => (!self.udp.is_empty()).then_some(Origin::Udp(peer)),
            Target::To(Kind::Tcp, peer) => {
                if let Some(connection) = self.connections.get(&peer).filter(|one| !one.is_closed()) {
                    return Some(Origin::Tcp(peer, connection.clone()));
                }
                let mut own = self.addresses.iter().filter(|own| own.kind == Kind::Tcp);
                let local = own.find(|own| own.address.is_ipv4() == peer.is_ipv4())?.address;
                if self.connections.len() >= CONNECTIONS {
                    return None;
                }
                let connection = socket::dial(local, peer, self.events.clone());
                self.connections.insert(peer, connection.clone());
                Some(Origin::Tcp(peer, connection))
            }
        }
    }

    fn happened(&mut self, event: Event, out: &mut Vec<Out>) {
        match event {
            Event::Came(origin, octets) => match Text::read(&octets) {
                Ok(text) if text.status() > 0 => self.response(text, out),
                Ok(text) => self.request(text, origin, out),
                Err(why) => self.up(Arrived::Unreadable(why)),
            },
            Event::Opened(peer, connection) => {
                if self.connections.len() < CONNECTIONS {
                    self.connections.insert(peer, connection);
                }
            }
            Event::Gone(peer, why) => {
                if self.connections.get(&peer).is_some_and(mpsc::Sender::is_closed) {
                    self.connections.remove(&peer);
                }
                let Some(why) = why else { return };
                for client in self.clients.values_mut() {
                    if matches!(&client.to, Origin::Tcp(to, connection) if *to == peer && connection.is_closed())
                    {
                        client.lost(&why);
                    }
                }
                self.clients.retain(|_, client| !client.is_over());
            }
        }
    }

    fn response(&mut self, text: Text, out: &mut Vec<Out>) {
        self.tell(false, text.line());
        let key = (text.branch().to_owned(), text.cseq().1.to_owned());
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.answered(text, Instant::now(), &self.timers, out);
        if client.is_over() {
            self.clients.remove(&key);
        } else {
            self.again(Which::Client(key));
        }
    }

    fn request(&mut self, text: Text, origin: Origin, out: &mut Vec<Out>) {
        let now = Instant::now();
        match text.method() {
            "ACK" => {
                let of = Key::of(&text, "INVITE");
                let refused =
                    self.servers.get_mut(&of).is_some_and(|one| one.acknowledged(now, &self.timers));
                self.tell(false, text.line());
                if refused {
                    return self.again(Which::Server(of));
                }
                let call = (text.value("Call-ID").to_owned(), text.cseq().0);
                for key in self.waiting.get(&call).cloned().unwrap_or_default() {
                    if let Some(server) = self.servers.get_mut(&key) {
                        server.accepted(&text);
                        self.again(Which::Server(key));
                    }
                }
                self.up(Arrived::Ack { text, origin });
            }
            method => {
                let key = Key::of(&text, method);
                if let Some(server) = self.servers.get(&key) {
                    return server.again(out);
                }
                if self.servers.len() >= TRANSACTIONS {
                    return;
                }
                self.tell(false, text.line());
                self.servers.insert(key.clone(), Server::new(&text, origin.clone(), now));
                self.again(Which::Server(key.clone()));
                if method == "CANCEL" {
                    self.cancelled(&key, text, out);
                } else {
                    self.up(Arrived::Request { key, text, origin });
                }
            }
        }
    }

    /// RFC 3261 §9.2: the CANCEL has an answer of its own, whatever becomes of the INVITE.
    fn cancelled(&mut self, key: &Key, text: Text, out: &mut Vec<Out>) {
        let of = Key::of(&text, "INVITE");
        let invite = self.servers.get(&of);
        let status = if invite.is_some() { 200 } else { 481 };
        let tag = invite.and_then(Server::tag).unwrap_or_else(super::tag);
        let open = invite.is_some_and(Server::is_open);
        let response = text.response(status, phrase(status), &tag);
        self.tell(true, response.line());
        if let Some(server) = self.servers.get_mut(key) {
            let octets = response.octets();
            server.respond(&response, octets, Repeated::Here, Instant::now(), &self.timers, out);
        }
        self.again(Which::Server(key.clone()));
        if open {
            self.up(Arrived::Cancelled { of, text });
        }
    }

    fn expire(&mut self, out: &mut Vec<Out>) {
        let now = Instant::now();
        while let Some(Reverse((at, _))) = self.agenda.peek()
            && *at <= now
        {
            let Some(Reverse((_, which))) = self.agenda.pop() else { return };
            match &which {
                Which::Client(own) => {
                    let Some(client) = self.clients.get_mut(own).filter(|one| one.due() <= now) else {
                        continue;
                    };
                    client.expire(now, &self.timers, out);
                    if client.is_over() {
                        self.clients.remove(own);
                        continue;
                    }
                }
                Which::Server(key) => {
                    let Some(server) = self.servers.get_mut(key).filter(|one| one.due() <= now) else {
                        continue;
                    };
                    let ended = server.expire(now, &self.timers, out);
                    if ended != Ended::Not {
                        self.end(key, ended);
                        continue;
                    }
                }
            }
            self.again(which);
        }
    }

    fn end(&mut self, key: &Key, ended: Ended) {
        if let Some(server) = self.servers.remove(key)
            && let Some(others) = self.waiting.get_mut(&server.call)
        {
            others.retain(|other| other != key);
            if others.is_empty() {
                self.waiting.remove(&server.call);
            }
        }
        if ended == Ended::Unacknowledged {
            self.up(Arrived::Unacknowledged { of: key.clone() });
        }
    }

    fn up(&self, arrived: Arrived) {
        let _ = self.arrived.send(arrived);
    }

    fn tell(&self, sent: bool, line: String) {
        (self.witness)(sent, line);
    }
}

async fn transmit(udp: &[(SocketAddr, Arc<UdpSocket>)], to: &Origin, octets: Vec<u8>) {
    match to {
        Origin::Udp(address) => {
            let mut sockets = udp.iter().filter(|(own, _)| own.is_ipv4() == address.is_ipv4());
            if let Some((_, socket)) = sockets.next() {
                let _ = socket.send_to(&octets, address).await;
            }
        }
        // A peer that does not read must not stop everybody else.
        Origin::Tcp(_, connection) => {
            let _ = connection.try_send(octets);
        }
    }
}
