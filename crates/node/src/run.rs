//! A node from start to stop.

use crate::abroad::Shows;
use crate::actor::copies::Copies;
use crate::actor::cx::Cx;
use crate::actor::delivery::Deliveries;
use crate::actor::link::{Ears, Links};
use crate::actor::loan::Loans;
use crate::actor::loopback::Loopback;
use crate::actor::membership::Membership;
use crate::actor::next_hop::NextHops;
use crate::actor::relaying::Relays;
use crate::actor::residents::Shards;
use crate::actor::sending::Outbox;
use crate::actor::speaking::Hearing;
use crate::actor::transactions::Transactions;
use crate::actor::transport::Transport;
use crate::clock::Clock;
use crate::config::Config;
use crate::observe::Recorder;
use crate::operator::{Operators, Question, Window};
use crate::shell::{Pacer, Shell};
use crate::telemetry::Telemetry;
use anyhow::{Context, anyhow};
use cluster::{Input, Member};
use diameter::base::DisconnectCause;
use scscf::Policy;
use scscf::token::Tokens;
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use store::Store;
use tokio::sync::{mpsc, oneshot};

/// A node, before it runs.
#[derive(Debug)]
pub struct Node;

/// A node that runs on a thread of its own.
#[derive(Debug)]
pub struct Running {
    /// Where it takes SIP; ports are the actual ones.
    pub sip_addrs: Vec<(sip::Transport, SocketAddr)>,
    /// Where its HTTP interface listens.
    pub http_addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Ends the HTTP interface.
pub(crate) type Closing = Pin<Box<dyn Future<Output = ()>>>;

pub(crate) struct Started {
    sip_addrs: Vec<(sip::Transport, SocketAddr)>,
    http_addr: SocketAddr,
}

impl Node {
    /// Starts a node; returns once it listens. It is ready when it has a connection to an HSS as well.
    ///
    /// # Errors
    /// If an address cannot be used, or the store cannot be opened.
    pub fn start(config: Config) -> anyhow::Result<Running> {
        Self::start_with(config, None)
    }

    /// As [`Self::start`], with a store that is open already.
    ///
    /// # Errors
    /// As there.
    pub fn start_on(config: Config, store: Arc<dyn Store>) -> anyhow::Result<Running> {
        Self::start_with(config, Some(store))
    }

    fn start_with(config: Config, store: Option<Arc<dyn Store>>) -> anyhow::Result<Running> {
        let (report, reported) = std::sync::mpsc::sync_channel(1);
        let (stop, stopping) = oneshot::channel();
        let thread =
            std::thread::Builder::new().name(format!("node {}", config.node.id)).spawn(move || {
                actix_rt::System::new().block_on(async move {
                    let config = config.named();
                    let begun = match store {
                        Some(store) => begin(config, store).await,
                        None => open(config).await,
                    };
                    match begun {
                        Ok((shell, close_http, started)) => {
                            // Whoever started us may have gone; then nobody needs us.
                            if report.send(Ok(started)).is_ok() {
                                let _ = stopping.await;
                            }
                            end(shell, close_http).await;
                        }
                        Err(error) => {
                            let _ = report.send(Err(error));
                        }
                    }
                });
            })?;
        let started = reported.recv().map_err(|_| anyhow!("the node ended while it started"))??;
        let Started { sip_addrs, http_addr } = started;
        Ok(Running { sip_addrs, http_addr, stop: Some(stop), thread: Some(thread) })
    }
}

impl Running {
    /// Takes nothing new, lets what is under way end within `[node] stop_within`, takes leave of the HSS, ends.
    pub async fn stop(mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended as well.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    /// As [`Self::stop`], for callers outside a runtime.
    pub fn stop_and_wait(mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    fn ask_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

async fn open(config: Config) -> anyhow::Result<Begun> {
    let kind = config.store.kind.clone();
    let store =
        store::open(&config.store.settings()).await.with_context(|| format!("store.kind = {kind:?}"))?;
    begin(config, store).await
}

type Begun = (Rc<Shell>, Closing, Started);

pub(crate) async fn begin(config: Config, store: Arc<dyn Store>) -> anyhow::Result<Begun> {
    let clock = Clock::start();
    let era = u32::try_from(clock.now().millis() / 1000).unwrap_or(0);
    let secret = secret(&config, &*store).await.context("store: the secret of the cluster")?;
    let transport = Transport::bind(&config).await?;
    let sip_addrs = transport.addresses();
    let mut me = Member {
        node: config.node.id.as_str().into(),
        incarnation: clock.incarnation(),
        link: "".into(),
        sip: sip_addrs.first().map_or_else(String::new, |(_, address)| reached(*address).to_string()).into(),
        draining: false,
        users: 0,
    };
    let listen = config.cluster.listen.parse::<SocketAddr>().ok();
    let links = Links::bind(listen, me.clone(), &config.node.domain, secret, clock).with_context(|| {
        format!("cluster.listen = {}: expected a free address and port", config.cluster.listen)
    })?;
    me.link = links.local_addr().map_or_else(String::new, |bound| advertised(&config, bound)).into();
    let telemetry = Telemetry::new();
    let shell = Rc::new(Shell {
        policy: policy(&config, &sip_addrs, &secret)?,
        clock,
        telemetry: telemetry.clone(),
        membership: Membership::new(&config, &*store, me, clock.tick()),
        store,
        links,
        deliveries: Deliveries::default(),
        copies: Copies::default(),
        loans: Loans::default(),
        shows: Shows::default(),
        transport,
        transactions: Transactions::new(&config),
        outbox: Outbox::default(),
        relays: Relays::new(&config),
        loopback: Loopback::default(),
        hops: NextHops::new(&config, &sip_addrs),
        shards: Shards::default(),
        cx: Cx::new(&config, clock.tick(), era),
        recorder: Recorder::new(&config),
        operators: Operators::default(),
        draining: Cell::new(false),
        stopped: Cell::new(false),
        pacer: Pacer::default(),
        config,
    });
    let ears: Rc<dyn Ears> = Rc::new(Hearing(Rc::clone(&shell)));
    shell.links.start(Rc::downgrade(&ears));
    shell.own(Input::Time);
    let (questions, asked) = mpsc::channel::<Question>(1024);
    let window = Arc::new(Window { questions, telemetry });
    let token = Some(shell.config.http.token.0.clone()).filter(|token| !token.is_empty());
    let listen = shell.config.http.listen;
    let (server, http_addr) = admin::serve(listen, token, window)
        .with_context(|| format!("http.listen = {listen}: expected a free address and port"))?;
    let http = server.handle();
    actix_rt::spawn(server);
    let close_http: Closing = Box::pin(async move { http.stop(false).await });
    shell.listen();
    shell.connect_peers();
    tokio::task::spawn_local(Rc::clone(&shell).keep_time());
    tokio::task::spawn_local(Rc::clone(&shell).keep_house(ears));
    tokio::task::spawn_local(Rc::clone(&shell).take_questions(asked));
    Ok((shell, close_http, Started { sip_addrs, http_addr }))
}

/// However long it took to give the shards away, what is under way gets so many milliseconds to be answered.
const LAST_ANSWERS: u64 = 1_000;

async fn end(shell: Rc<Shell>, close_http: Closing) {
    let tick = Duration::from_millis(10);
    let until = shell.clock.tick() + shell.config.node.stop_within * 1000;
    // Requests are taken as long as there are shards to give away: each finds its user, here or there.
    shell.drain();
    let has_users = || !shell.membership.is_drained() || shell.loans.lent() > 0;
    while shell.has_heirs() && shell.clock.tick() < until && has_users() {
        tokio::time::sleep(tick).await;
    }
    shell.draining.set(true);
    shell.transport.closed.set(true);
    let until = until.max(shell.clock.tick() + LAST_ANSWERS);
    while shell.clock.tick() < until {
        let waiting =
            shell.transactions.table.borrow().unanswered() + shell.cx.pending() + shell.deliveries.waiting();
        if waiting == 0 {
            break;
        }
        tokio::time::sleep(tick).await;
    }
    shell.take_leave().await;
    shell.converse_cx(|pool, now, out| pool.disconnect(DisconnectCause::Rebooting, now, out));
    let until = shell.clock.tick() + 2_500;
    while shell.clock.tick() < until && !shell.cx.pool.borrow().is_over() {
        tokio::time::sleep(tick).await;
    }
    shell.links.close().await;
    // What was written last leaves with the next turn of each connection.
    tokio::time::sleep(tick).await;
    close_http.await;
    shell.stopped.set(true);
}

/// Where other nodes reach this one.
fn advertised(config: &Config, bound: SocketAddr) -> String {
    match &*config.cluster.advertise {
        "" => reached(bound).to_string(),
        advertise => advertise.to_owned(),
    }
}

/// An address that others can use: one that stands for all of this host becomes one of them.
fn reached(bound: SocketAddr) -> SocketAddr {
    if bound.ip().is_unspecified() { SocketAddr::new(own_address(), bound.port()) } else { bound }
}

/// The first address of this host that others can reach.
fn own_address() -> IpAddr {
    let addresses = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    addresses.filter(|address| !address.is_loopback()).min().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Hosts and ports where we are reached.
fn addresses(config: &Config, listeners: &[(sip::Transport, SocketAddr)]) -> Vec<(Box<str>, u16)> {
    let listened =
        listeners.iter().map(|(_, address)| address).filter(|address| !address.ip().is_unspecified());
    let shown = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => (ip.to_string().into(), address.port()),
        IpAddr::V6(ip) => (format!("[{ip}]").into(), address.port()),
    };
    let advertised = config.sip.advertise.rsplit_once(':');
    let advertised = advertised.and_then(|(host, port)| Some((host.into(), port.parse().ok()?)));
    listened.map(shown).chain(advertised).collect()
}

fn policy(
    config: &Config,
    listeners: &[(sip::Transport, SocketAddr)],
    secret: &[u8; 32],
) -> anyhow::Result<Policy> {
    let name = sip::Uri::parse(&config.node.name).map_err(|error| anyhow!("node.name: {error}"))?;
    Ok(Policy {
        registration: config.registration.clone(),
        authentication: config.authentication.clone(),
        reg_event: config.reg_event.clone(),
        reauthentication: config.reauthentication.clone(),
        session: config.session.policy.clone(),
        addresses: addresses(config, listeners),
        shared_criteria: config.shared_criteria()?,
        media: config.media()?,
        ..Policy::of(name, &config.node.domain, Tokens::new(secret))
    })
}

/// What seals tokens: as configured, else as kept in the store.
async fn secret(config: &Config, store: &dyn Store) -> Result<[u8; 32], store::Error> {
    let text = &config.node.secret.0;
    if text.is_empty() {
        return store.leases().secret(rand::random()).wait().await;
    }
    Ok(std::array::from_fn(|at| {
        text.get(2 * at..2 * at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0)
    }))
}
