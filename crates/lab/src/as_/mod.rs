//! TS 24.229 §5.7 — an application server at the far end of ISC, for labs and tests: it lets requests through, ends them and
//! makes new ones, answers, refuses, redirects, or is silent, and keeps a journal of what it was sent.
//!
//! It stands on the lab's own small reader of messages and not on rsip: what only goes through must go through unchanged,
//! be it a tel URI, IPv6, an unknown method or a binary body. There is no DNS: a name leads to the S-CSCF, else back to
//! where the request came from.

mod agent;
mod bridge;
mod call;
mod config;
mod http;
mod journal;
mod relay;
mod server;
mod side;
mod way;

pub use crate::wire::{Listen, ListenError, Timers};
pub use call::{AgentCall, AgentState};
pub use config::{Behaviour, Config, Mode, ModeError, Name, Wanted};
pub use journal::Entry;

use crate::{locked, wire::Wire};
use actix_web::dev::ServerHandle;
use call::Calls;
use journal::Journal;
use server::{Input, Server};
use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use way::Way;

/// Why an application server cannot do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A socket cannot be had.
    #[error("no socket at {at}: {why}")]
    Socket {
        /// Where.
        at: String,
        /// Why.
        why: String,
    },
    /// It was not told where the S-CSCF is.
    #[error("it does not know where the S-CSCF is")]
    NoSCscf,
    /// The request was refused.
    #[error("refused: {0}")]
    Refused(u16),
    /// Nobody answered in time.
    #[error("no answer")]
    NoAnswer,
    /// The call is not in a state for that.
    #[error("the call is not established")]
    NotNow,
    /// It has too many calls.
    #[error("too many calls at once")]
    TooMany,
    /// The server was stopped.
    #[error("stopped")]
    Stopped,
}

/// What all parts of a server see.
#[derive(Debug)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    register_status: Mutex<Option<u16>>,
    journal: Journal,
    calls: Calls,
    inputs: mpsc::UnboundedSender<Input>,
}

/// An application server that runs. Clones are the same one; it ends when the last is dropped, or when it is stopped.
#[derive(Clone, Debug)]
pub struct ApplicationServer {
    shared: Arc<Shared>,
    tasks: Arc<Tasks>,
    addresses: Arc<[Listen]>,
    http: Option<SocketAddr>,
}

struct Tasks {
    own: Vec<JoinHandle<()>>,
    http: Option<ServerHandle>,
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tasks").field(&self.own.len()).finish()
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.own {
            task.abort();
        }
        if let Some(http) = &self.http {
            // The word is given at once; there is nobody to wait for the end.
            drop(http.stop(false));
        }
    }
}

impl ApplicationServer {
    /// Opens its sockets and serves them.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let named: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
        let socket = |error: std::io::Error| Error::Socket { at: named.join(", "), why: error.to_string() };
        let (inputs, mailbox) = mpsc::unbounded_channel();
        let (arrived, mut arriving) = mpsc::unbounded_channel();
        let witness = Box::new(|sent, line: String| {
            tracing::debug!(target: "as", "{} {line}", if sent { ">" } else { "<" });
        });
        let (wire, serving) =
            Wire::open(&config.listen, config.timers, arrived, witness).await.map_err(socket)?;
        let addresses = Arc::clone(wire.addresses());
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(config.behaviour),
            register_status: Mutex::new(config.register_status),
            journal: Journal::default(),
            calls: Calls::default(),
            inputs: inputs.clone(),
        });
        let mut tasks = vec![serving];
        let (mut http, mut handle) = (None, None);
        if let Some(at) = config.http {
            let why = |error: std::io::Error| Error::Socket { at: at.to_string(), why: error.to_string() };
            let listener = TcpListener::bind(at).map_err(why)?;
            http = Some(listener.local_addr().map_err(why)?);
            let server = http::server(listener, Arc::clone(&shared)).map_err(why)?;
            handle = Some(server.handle());
            tokio::spawn(async move {
                let _ = server.await;
            });
        }
        let name = config.s_cscf_name.or_else(|| config.s_cscf.map(|address| format!("sip:{address}")));
        let way = Way { wire, s_cscf: config.s_cscf };
        let server = Server::new(way, Arc::clone(&shared), config.record_route, name);
        tasks.push(tokio::spawn(server.run(mailbox)));
        tasks.push(tokio::spawn(async move {
            while let Some(arrived) = arriving.recv().await {
                if inputs.send(Input::Arrived(arrived)).is_err() {
                    return;
                }
            }
        }));
        let tasks = Arc::new(Tasks { own: tasks, http: handle });
        Ok(Self { shared, tasks, addresses, http })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[Listen] {
        &self.addresses
    }

    /// Its URI, as iFCs name it.
    pub fn uri(&self) -> String {
        self.addresses.first().map_or_else(String::new, Listen::uri)
    }

    /// Where its journal is shown over HTTP.
    pub const fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// From now on does that with requests that begin something.
    pub fn behave(&self, behaviour: impl Into<Behaviour>) {
        *locked(&self.shared.behaviour) = behaviour.into();
    }

    /// From now on answers third-party REGISTERs so; `None` leaves them unanswered.
    pub fn answer_registers(&self, status: Option<u16>) {
        *locked(&self.shared.register_status) = status;
    }

    /// What it was sent, oldest first.
    pub fn journal(&self) -> Vec<Entry> {
        self.shared.journal.after(0, None)
    }

    /// What it was sent after that number of the journal.
    pub fn journal_after(&self, number: u64) -> Vec<Entry> {
        self.shared.journal.after(number, None)
    }

    /// The requests of that method that it was sent, oldest first.
    pub fn requests(&self, method: &str) -> Vec<Entry> {
        self.shared.journal.after(0, Some(method))
    }

    /// Forgets what it was sent.
    pub fn clear_journal(&self) {
        self.shared.journal.clear();
    }

    /// Calls `to` on behalf of a user, by way of the S-CSCF's originating services. `registered` is what is said of the
    /// user in P-Served-User.
    pub async fn originate(&self, served_user: &str, to: &str, registered: bool) -> Result<AgentCall, Error> {
        self.shared.originate(served_user, to, registered).await
    }

    /// Calls that it made, and answered in the mode for that, those included that ended lately.
    pub fn calls(&self) -> Vec<AgentCall> {
        self.shared.calls.all()
    }

    /// Ends it at once; its calls are left as they are.
    pub fn stop(self) {
        drop(self.tasks);
    }
}

impl Shared {
    async fn originate(&self, served_user: &str, to: &str, registered: bool) -> Result<AgentCall, Error> {
        let (done, made) = oneshot::channel();
        let (served_user, to) = (served_user.to_owned(), to.to_owned());
        let input = Input::Originate { served_user, to, registered, done };
        self.inputs.send(input).map_err(|_| Error::Stopped)?;
        made.await.map_err(|_| Error::Stopped)?
    }
}
