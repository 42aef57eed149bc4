//! TS 29.228 — a Home Subscriber Server for the lab: Cx over Diameter/TCP, Milenage, HTTP to provision and to command it.

mod config;
mod connection;
mod demand;
mod http;
mod journal;
mod location;
mod multimedia_auth;
mod provision;
mod server_assignment;
mod subscribers;
mod user_data;

pub use config::{Config, ConfigError};
pub use provision::{Password, Provision, PublicIdentity, Scheme};

use crate::locked;
use connection::Word;
use diameter::{
    Identity, Message,
    cx::{HssAnswer, HssRequest},
};
use journal::Journal;
use multimedia_auth::Chance;
use scscf::cx::ResultCode;
use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};
use subscribers::Subscribers;
use tokio::sync::mpsc;

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    delay_ms: u64,
    drop: bool,
    result_code: Option<ResultCode>,
}

/// A Home Subscriber Server.
#[derive(Debug)]
pub struct Hss {
    identity: Identity,
    avoid_zero_res: bool,
    store_server_name: bool,
    subscribers: Mutex<Subscribers>,
    /// Locked while the subscribers are.
    journal: Option<Mutex<Journal>>,
    faults: Mutex<Faults>,
    connections: Mutex<BTreeMap<Arc<str>, mpsc::Sender<Word>>>,
    sessions: AtomicU64,
}

/// Why the HSS does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket cannot be had.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        why: io::Error,
    },
    /// What the HSS knew cannot be read.
    #[error("hss.journal: {0}")]
    Journal(String),
    /// A subscriber cannot be provisioned.
    #[error("hss.subscribers: {0}")]
    Subscriber(String),
    /// No thread can be had.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// An HSS that runs. It ends with [`Running::stop`] or when dropped.
#[derive(Debug)]
pub struct Running {
    /// Where it accepts Diameter connections.
    pub diameter_addr: SocketAddr,
    /// Where it serves HTTP.
    pub http_addr: SocketAddr,
    stop: mpsc::UnboundedSender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Says goodbye to the S-CSCFs and ends; returns when it has ended.
    pub fn stop(mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.send(());
    }
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let refused = |why| StartError::Listen { address, why };
    let listener = TcpListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

impl Hss {
    /// Starts an HSS on a thread of its own.
    pub fn start(config: Config) -> Result<Running, StartError> {
        let mut subscribers = Subscribers::new(&config).map_err(StartError::Subscriber)?;
        let journal = config.journal.as_ref().map(|path| Journal::open(path, &mut subscribers));
        let journal = journal.transpose().map_err(StartError::Journal)?.map(Mutex::new);
        let (diameter, diameter_addr) = listen(config.diameter_listen)?;
        let (http, http_addr) = listen(config.http_listen)?;
        let identity = Identity {
            host_ip: diameter_addr.ip(),
            product: "rollcall lab HSS".into(),
            origin_state_id: jiff::Timestamp::now().as_second() as u32,
            ..Identity::new(&format!("hss.{}", config.domain), &config.domain)
        };
        let hss = Arc::new(Self {
            identity,
            avoid_zero_res: config.avoid_zero_res,
            store_server_name: config.store_server_name,
            subscribers: Mutex::new(subscribers),
            journal,
            faults: Mutex::default(),
            connections: Mutex::default(),
            sessions: AtomicU64::new(0),
        });
        let (stop, stopped) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("hss".into())
            .spawn(move || actix_web::rt::System::new().block_on(run(hss, diameter, http, stopped)))
            .map_err(StartError::Thread)?;
        Ok(Running { diameter_addr, http_addr, stop, thread: Some(thread) })
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        locked(&self.subscribers)
    }

    fn faults(&self) -> Faults {
        *locked(&self.faults)
    }

    fn set_faults(&self, faults: Faults) {
        *locked(&self.faults) = faults;
    }

    /// RFC 6733 §8.8: unique for ever.
    fn session_id(&self) -> String {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        format!("{};{};{number}", self.identity.origin_host, self.identity.origin_state_id)
    }

    fn answer(&self, message: &Message, host: &Arc<str>, fault: Option<ResultCode>) -> Message {
        let request = match diameter::cx::decode_request(message, &self.identity) {
            Ok(request) => request,
            Err(refusal) => return refusal,
        };
        let answer = fault.map_or_else(|| self.procedure(&request, host), HssAnswer::Result);
        diameter::cx::encode_answer(message, &answer, &self.identity)
    }

    fn procedure(&self, request: &HssRequest, host: &Arc<str>) -> HssAnswer {
        let mut subscribers = self.subscribers();
        let answer = match request {
            HssRequest::UserAuthorization(uar) => location::user_authorization(&subscribers, uar),
            HssRequest::Location(lir) => location::location(&subscribers, lir),
            HssRequest::MultimediaAuth(mar) => {
                let chance = Chance { avoid_zero_res: self.avoid_zero_res, draw: &mut rand::random };
                multimedia_auth::answer(&mut subscribers, mar, host, chance)
            }
            HssRequest::ServerAssignment(sar) => {
                server_assignment::answer(&mut subscribers, sar, host, self.store_server_name)
            }
        };
        match request {
            HssRequest::MultimediaAuth(mar) => self.keep(&subscribers, mar.impi.as_str()),
            HssRequest::ServerAssignment(sar) => {
                let first = || sar.impus.first().and_then(|impu| subscribers.owners(impu).into_iter().next());
                let impi = sar.impi.as_ref().map(|impi| impi.as_str().into()).or_else(first);
                impi.into_iter().for_each(|impi: Box<str>| self.keep(&subscribers, &impi));
            }
            HssRequest::UserAuthorization(_) | HssRequest::Location(_) => {}
        }
        answer
    }

    /// Has how a subscriber stands outlive this process.
    fn keep(&self, subscribers: &Subscribers, impi: &str) {
        if let Some(journal) = &self.journal {
            locked(journal).keep(subscribers, impi);
        }
    }

    fn keep_provision(&self, impi: &str, body: &[u8]) {
        if let Some(journal) = &self.journal {
            locked(journal).keep_provision(impi, body);
        }
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, mpsc::Sender<Word>>> {
        locked(&self.connections)
    }

    fn joined(&self, host: &Arc<str>, words: &mpsc::Sender<Word>) {
        self.connections().insert(Arc::clone(host), words.clone());
    }

    /// Forgets a connection, unless its host has a newer one by now.
    fn parted(&self, host: &Arc<str>, words: &mpsc::Sender<Word>) {
        let mut connections = self.connections();
        if connections.get(host).is_some_and(|current| current.same_channel(words)) {
            connections.remove(host);
        }
    }

    /// The connection of `host`, or else of any node but those of `tried`.
    fn connection(&self, host: Option<&str>, tried: &[Box<str>]) -> Option<(Box<str>, mpsc::Sender<Word>)> {
        let connections = self.connections();
        let untried = |host: &str| !tried.iter().any(|one| **one == *host);
        let preferred = host.filter(|host| untried(host)).and_then(|host| connections.get_key_value(host));
        let (host, words) = preferred.or_else(|| connections.iter().find(|(host, _)| untried(host)))?;
        Some(((&**host).into(), words.clone()))
    }

    /// The connection of the node of that Origin-Host, of which the first label is enough.
    fn connection_of(&self, node: &str) -> Option<(Box<str>, mpsc::Sender<Word>)> {
        let connections = self.connections();
        let is_meant = |host: &str| host == node || host.split('.').next() == Some(node);
        let (host, words) = connections.iter().find(|(host, _)| is_meant(host))?;
        Some(((&**host).into(), words.clone()))
    }

    /// Origin-Hosts of the nodes that are connected.
    fn hosts(&self) -> Vec<Box<str>> {
        self.connections().keys().map(|host| (&**host).into()).collect()
    }
}

fn result_of(answer: &HssAnswer) -> ResultCode {
    match answer {
        HssAnswer::Server(found) => found.result,
        HssAnswer::MultimediaAuth(_) => ResultCode::SUCCESS,
        HssAnswer::ServerAssignment(assigned) if assigned.server_name_not_stored => {
            ResultCode::Experimental(2004)
        }
        HssAnswer::ServerAssignment(_) => ResultCode::SUCCESS,
        HssAnswer::Result(code) => *code,
    }
}

async fn run(
    hss: Arc<Hss>,
    diameter: TcpListener,
    http: TcpListener,
    mut stopped: mpsc::UnboundedReceiver<()>,
) {
    let server = match http::server(http, Arc::clone(&hss)) {
        Ok(server) => server,
        Err(error) => {
            tracing::error!(%error, "the HSS cannot serve HTTP");
            return;
        }
    };
    let serving = server.handle();
    actix_web::rt::spawn(server);
    let accepting = actix_web::rt::spawn(accept(Arc::clone(&hss), diameter));
    stopped.recv().await;
    accepting.abort();
    let open: Vec<_> = hss.connections().values().cloned().collect();
    for words in &open {
        let _ = words.try_send(Word::Leave);
    }
    // A polite goodbye is answered within a round trip; nobody is waited for longer.
    for _ in 0..40 {
        if hss.connections().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    serving.stop(false).await;
}

async fn accept(hss: Arc<Hss>, listener: TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the HSS cannot accept Diameter connections");
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                actix_web::rt::spawn(connection::serve(Arc::clone(&hss), stream));
            }
            // Out of descriptors, most likely: waiting is all that helps.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}
