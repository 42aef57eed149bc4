//! TS 24.229 §5.1.1 — a UE with a soft USIM, its P-CSCF played along; its SIP is rsip's, a second opinion on ours.

mod answering;
mod asked;
mod audience;
mod call;
mod config;
mod error;
mod happening;
mod keep;
mod message;
pub mod reginfo;
mod registration;
mod run;
mod run_call;
pub mod script;
mod standalone;
mod subscription;
mod usim;

pub use crate::wire::Timers;
pub use answering::{Answering, Calls, Then};
pub use call::{Call, CallEvent, Dial, End, Fault, Headers, Received, Record, State};
pub use config::{Config, Credentials, Flow, OnReauth, Operator, Package, Role, Transport, UnknownWord};
pub use error::Error;
pub use happening::{Happening, Notification};
pub use registration::Registered;
pub use run::{RegisterArgs, SubscribeArgs, run_register, run_subscribe};
pub use run_call::{AnswerArgs, CallArgs, Errand, Goal, run_answer, run_call};
pub use standalone::{Answer, Standalone};
pub use subscription::Subscribed;
pub use usim::{Usim, Verdict};

use crate::{
    locked,
    wire::{self, Heard, Kind, Listen, Target, Text, Wire},
};
use call::Legs;
use message::{Draft, Incoming};
use registration::{Registration, Standing};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use subscription::Dialog;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

struct Inner {
    config: Config,
    local: SocketAddr,
    wire: Wire,
    happenings: mpsc::UnboundedSender<Happening>,
    registration: tokio::sync::Mutex<Registration>,
    standing: Mutex<Standing>,
    dialogs: Mutex<Vec<Dialog>>,
    legs: Arc<Legs>,
    answering: Mutex<Option<answering::Policy>>,
    /// When the UE acts on what it was asked for.
    reauthenticate_at: Mutex<Option<Instant>>,
    /// It ends its registration: nothing is refreshed or answered to any more.
    leaving: AtomicBool,
    /// Which of several proxies it talks to.
    proxy: AtomicUsize,
    changed: Notify,
}

/// Of several proxies one is silent for long after so many T1.
const SILENT: u32 = 8;

/// A UE. Clones are the same UE.
#[derive(Clone)]
pub struct Ue {
    inner: Arc<Inner>,
    tasks: Arc<Tasks>,
}

struct Tasks {
    own: Vec<JoinHandle<()>>,
    legs: Arc<Legs>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.own {
            task.abort();
        }
        self.legs.abort();
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
        let (happenings, happening) = mpsc::unbounded_channel();
        let (arrived, mut arriving) = mpsc::unbounded_channel();
        let telling = happenings.clone();
        let witness = Box::new(move |sent, line| {
            let _ = telling.send(if sent { Happening::Sent { line } } else { Happening::Received { line } });
        });
        let socket = |error: std::io::Error| Error::Socket(error.to_string());
        let listen = match config.listen {
            Some(listen) => listen,
            None => wire::facing(config.proxy).map_err(socket)?,
        };
        let opened = Wire::open(
            &[Listen { kind: config.transport.kind(), address: listen }],
            config.timers,
            arrived,
            witness,
        )
        .await;
        let (wire, serving) = opened.map_err(socket)?;
        let local = wire.addresses().first().map_or(listen, |own| own.address);
        let usim = Usim::used_up_to(config.credentials.key(), config.sqn);
        let inner = Arc::new(Inner {
            registration: tokio::sync::Mutex::new(Registration::new(usim, config.expires)),
            config,
            local,
            wire,
            happenings,
            standing: Mutex::default(),
            dialogs: Mutex::default(),
            legs: Arc::default(),
            answering: Mutex::default(),
            reauthenticate_at: Mutex::default(),
            leaving: AtomicBool::new(false),
            proxy: AtomicUsize::new(0),
            changed: Notify::new(),
        });
        let answering = Arc::clone(&inner);
        let answers = tokio::spawn(async move {
            while let Some(arrived) = arriving.recv().await {
                answering.arrived(arrived);
            }
        });
        let keeping = tokio::spawn(Arc::clone(&inner).keep());
        let tasks = Tasks { own: vec![serving, answers, keeping], legs: Arc::clone(&inner.legs) };
        Ok((Self { inner, tasks: Arc::new(tasks) }, happening))
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

    /// Calls somebody; how it goes is in the [`Call`]. Several calls may be under way at once.
    pub fn call(&self, dial: Dial) -> Result<Call, Error> {
        Inner::call(&self.inner, dial)
    }

    /// From now on answers calls and messages as told; the calls that come are handed out.
    pub fn answering(&self, how: Answering) -> Calls {
        self.inner.answer_from_now_on(how)
    }

    /// Sends a request that makes no dialog, as MESSAGE or OPTIONS.
    pub async fn send(&self, request: Standalone) -> Result<Answer, Error> {
        self.inner.send_standalone(request).await
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

    fn target(&self) -> Target {
        let config = &self.config;
        let at = self.proxy.load(Ordering::Relaxed) % (config.others.len() + 1);
        let proxy = at.checked_sub(1).and_then(|other| config.others.get(other)).unwrap_or(&config.proxy);
        Target::To(config.transport.kind(), *proxy)
    }

    /// Sends a request under that branch; what comes of it is told.
    fn launch(&self, branch: &str, draft: &Draft, mut tell: impl FnMut(Heard) + Send + 'static) {
        let target = self.target();
        let octets = draft.octets(&self.wire.via(&target, branch));
        match Text::read(&octets) {
            Ok(text) => self.wire.send(text, octets, target, Box::new(tell)),
            Err(why) => tell(Heard::Unreachable(format!("not written: {why}"))),
        }
    }

    /// Sends an ACK to a 2xx; the octets, for when the 2xx comes again.
    fn acknowledge(&self, draft: &Draft) -> Vec<u8> {
        let target = self.target();
        let octets = draft.octets(&self.wire.via(&target, &wire::branch()));
        self.wire.pass(octets.clone(), target);
        octets
    }

    /// The answer to a request. Of several proxies the next is asked when one is silent for long, and stays the one.
    async fn exchange(&self, draft: Draft) -> Result<Incoming, Error> {
        let patience = self.config.timers.t1 * SILENT;
        for _ in &self.config.others {
            let outcome = tokio::time::timeout(patience, self.exchange_here(&draft)).await;
            match outcome {
                Err(_) | Ok(Err(Error::NoAnswer | Error::Unreachable(_))) => {
                    self.proxy.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => return answer,
            }
        }
        self.exchange_here(&draft).await
    }

    async fn exchange_here(&self, draft: &Draft) -> Result<Incoming, Error> {
        let (answer, answered) = oneshot::channel();
        let mut answer = Some(answer);
        self.launch(&wire::branch(), draft, move |heard| {
            let outcome = match heard {
                Heard::Provisional(_) => return,
                Heard::Final(text) => {
                    Incoming::read(&text).map_err(|why| Error::Unreachable(why.to_string()))
                }
                Heard::Timeout => Err(Error::NoAnswer),
                Heard::Unreachable(why) => Err(Error::Unreachable(why)),
            };
            if let Some(answer) = answer.take() {
                let _ = answer.send(outcome);
            }
        });
        if self.wire.is_closed() {
            return Err(Error::Stopped);
        }
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
        // RFC 5626 §4: it is the first hop, and keeps the flow.
        let outbound = if self.config.flow.is_some() { ";ob" } else { "" };
        self.config.path.clone().unwrap_or_else(|| format!("{};lr{outbound}", self.address("")))
    }
}

impl Transport {
    const fn kind(self) -> Kind {
        match self {
            Self::Udp => Kind::Udp,
            Self::Tcp => Kind::Tcp,
        }
    }
}
