//! TS 24.229 §5.1.1 — a UE with a soft USIM, its P-CSCF played along; its SIP is rsip's, a second opinion on ours.

mod config;
mod happening;
mod message;
pub mod reginfo;
mod registration;
mod run;
mod subscription;
mod usim;
mod wire;

pub use config::{Config, Credentials, OnReauth, Operator, Package, Role, Transport, UnknownWord};
pub use happening::{Happening, Notification};
pub use registration::Registered;
pub use run::{RegisterArgs, SubscribeArgs, run_register, run_subscribe};
pub use subscription::Subscribed;
pub use usim::{Usim, Verdict};

use message::{Draft, Incoming};
use registration::{Registration, Standing};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool, atomic::Ordering},
};
use subscription::Dialog;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::{Duration, Instant},
};
use wire::Word;

/// Why a UE did not get what it wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address of the proxy is none, or cannot be resolved.
    #[error("the proxy '{0}' cannot be resolved")]
    Proxy(String),
    /// A socket cannot be had.
    #[error("no socket: {0}")]
    Socket(String),
    /// No final response before Timer F.
    #[error("no answer")]
    NoAnswer,
    /// A final response that is none of success.
    #[error("refused: {status} {reason}")]
    Refused {
        /// Status code.
        status: u16,
        /// Reason phrase, and the Warning if there was one.
        reason: String,
    },
    /// The challenge is none that a USIM can answer.
    #[error("the challenge cannot be answered: {0}")]
    Challenge(&'static str),
    /// The challenge did not come from the home network, twice.
    #[error("the network could not authenticate itself")]
    NotAuthentic,
    /// Challenged again and again.
    #[error("gave up after several challenges")]
    GaveUp,
    /// There is no such subscription (any more).
    #[error("no such subscription")]
    NoSubscription,
    /// The UE was stopped.
    #[error("stopped")]
    Stopped,
    /// What had been set out to do did not happen.
    #[error("{0}")]
    Missed(&'static str),
}

impl Error {
    fn refused(response: &Incoming) -> Self {
        let mut reason = response.line();
        if let Some((_, phrase)) = reason.split_once(' ') {
            reason = phrase.to_owned();
        }
        let warning = response.value("Warning");
        if !warning.is_empty() {
            reason = format!("{reason} ({warning})");
        }
        Self::Refused { status: response.status().unwrap_or(0), reason }
    }
}

struct Inner {
    config: Config,
    local: SocketAddr,
    words: mpsc::UnboundedSender<Word>,
    happenings: mpsc::UnboundedSender<Happening>,
    registration: tokio::sync::Mutex<Registration>,
    standing: Mutex<Standing>,
    dialogs: Mutex<Vec<Dialog>>,
    /// When the UE acts on what it was asked for.
    reauthenticate_at: Mutex<Option<Instant>>,
    /// It ends its registration: nothing is refreshed or answered to any more.
    leaving: AtomicBool,
    changed: Notify,
}

/// A UE. Clones are the same UE.
#[derive(Clone)]
pub struct Ue {
    inner: Arc<Inner>,
    tasks: Arc<Tasks>,
}

struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Ue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ue").field("impi", &self.inner.config.impi).field("local", &self.inner.local).finish()
    }
}

impl Ue {
    /// Opens its sockets. It says nothing yet; what happens to it comes out of the channel.
    pub async fn start(config: Config) -> Result<(Self, mpsc::UnboundedReceiver<Happening>), Error> {
        let (words, heard) = mpsc::unbounded_channel();
        let (asked, mut asking) = mpsc::unbounded_channel();
        let (happenings, happening) = mpsc::unbounded_channel();
        let opened = wire::open(config.transport, config.proxy, heard, asked, happenings.clone()).await;
        let (local, wire) = opened.map_err(|error| Error::Socket(error.to_string()))?;
        let usim = Usim::used_up_to(config.credentials.key(), config.sqn);
        let inner = Arc::new(Inner {
            registration: tokio::sync::Mutex::new(Registration::new(usim, config.expires)),
            config,
            local,
            words,
            happenings,
            standing: Mutex::default(),
            dialogs: Mutex::default(),
            reauthenticate_at: Mutex::default(),
            leaving: AtomicBool::new(false),
            changed: Notify::new(),
        });
        let answering = Arc::clone(&inner);
        let answers = tokio::spawn(async move {
            while let Some(asked) = asking.recv().await {
                answering.asked(&asked);
            }
        });
        let keeping = tokio::spawn(Arc::clone(&inner).keep());
        Ok((Self { inner, tasks: Arc::new(Tasks(vec![wire, answers, keeping])) }, happening))
    }

    /// Where it is reached.
    pub fn local(&self) -> SocketAddr {
        self.inner.local
    }

    /// Registers, initially or anew, and answers what challenge there is.
    pub async fn register(&self) -> Result<Registered, Error> {
        self.inner.register(false).await
    }

    /// Registers and answers the challenge wrongly; the refusal is the error.
    pub async fn register_wrongly(&self) -> Result<Registered, Error> {
        self.inner.register(true).await
    }

    /// Ends the registration.
    pub async fn deregister(&self) -> Result<(), Error> {
        self.inner.deregister().await
    }

    /// Subscribes to its registration state.
    pub async fn subscribe(&self, package: Package, role: Role) -> Result<Subscribed, Error> {
        self.inner.subscribe(package, role).await
    }

    /// Ends a subscription.
    pub async fn unsubscribe(&self, subscription: &Subscribed) -> Result<(), Error> {
        self.inner.subscribing(&subscription.call_id, 0).await.map(|_| ())
    }

    /// Falls silent; its registration stays at the network until it expires.
    pub fn stop(self) {
        self.inner.leaving.store(true, Ordering::Relaxed);
        drop(self.tasks);
    }
}

impl Inner {
    fn tell(&self, happening: Happening) {
        let _ = self.happenings.send(happening);
    }

    fn dialogs(&self) -> MutexGuard<'_, Vec<Dialog>> {
        self.dialogs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, draft: Draft) -> Result<Incoming, Error> {
        let (answer, answered) = oneshot::channel();
        self.words.send(Word::Exchange { draft, answer }).map_err(|_| Error::Stopped)?;
        answered.await.map_err(|_| Error::Stopped)?
    }

    fn address(&self, user: &str) -> String {
        let transport = if self.config.transport == Transport::Tcp { ";transport=tcp" } else { "" };
        format!("sip:{user}{}{transport}", self.local)
    }

    /// The UE's contact address.
    fn contact(&self) -> String {
        let name = self.config.impi.split('@').next().unwrap_or("ue");
        self.address(&format!("{name}@"))
    }

    /// What the P-CSCF puts into Path: unless told otherwise its own address, which is the UE's.
    fn path(&self) -> String {
        self.config.path.clone().unwrap_or_else(|| format!("{};lr", self.address("")))
    }

    /// Notes that the network asked for authentication, and when to act on it.
    fn heed(&self, by: &'static str, within_s: Option<u32>) {
        if self.leaving.load(Ordering::Relaxed) {
            return;
        }
        self.tell(Happening::Asked { by, within_s });
        if self.config.on_reauth == OnReauth::Ignore {
            return;
        }
        let delay = match within_s {
            Some(within) if !self.config.promptly => registration::refresh_after(within),
            _ => Duration::ZERO,
        };
        let mut at = self.reauthenticate_at.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = Instant::now() + delay;
        *at = Some(at.map_or(wanted, |earlier| earlier.min(wanted)));
        self.changed.notify_one();
    }

    /// Refreshes what would expire, and authenticates anew when asked.
    async fn keep(self: Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            let asked = *self.reauthenticate_at.lock().unwrap_or_else(PoisonError::into_inner);
            let refresh = self.standing.lock().unwrap_or_else(PoisonError::into_inner).refresh_at;
            let dialog =
                self.dialogs().iter().filter_map(|one| Some((one.refresh_at?, one.call_id.clone()))).min();
            let refresh = refresh.filter(|_| self.config.refresh);
            let dialog = dialog.filter(|_| self.config.refresh);
            let next = [asked, refresh, dialog.as_ref().map(|(at, _)| *at)].into_iter().flatten().min();
            let next = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                () = changed => continue,
                () = tokio::time::sleep_until(next) => {}
            }
            let now = Instant::now();
            if asked.is_some_and(|at| at <= now) {
                // Several NOTIFYs ask for the same thing; one REGISTER answers them all.
                tokio::time::sleep(Duration::from_millis(20)).await;
                *self.reauthenticate_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
                if !self.leaving.load(Ordering::Relaxed) {
                    self.reauthenticate().await;
                }
            } else if refresh.is_some_and(|at| at <= now) {
                self.refresh().await;
            } else if let Some((_, call_id)) = dialog.filter(|(at, _)| *at <= now)
                && let Err(why) = self.subscribing(&call_id, 600_000).await
            {
                self.dialogs().retain(|dialog| dialog.call_id != call_id);
                self.tell(Happening::Failed { why: format!("refreshing a subscription: {why}") });
            }
        }
    }

    async fn refresh(&self) {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).refresh_at = None;
        if let Err(why) = self.register(false).await {
            self.tell(Happening::Failed { why: format!("refreshing the registration: {why}") });
        }
    }
}
