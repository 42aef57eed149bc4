//! Many UEs at a given rate, whatever the answers do: what the network bears, and how long it takes.

mod caller;
mod drive;
mod report;

pub use report::{Latency, Report};

use crate::ue::Credentials;
use std::{future::Future, net::SocketAddr, time::Duration};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where SIP is sent, over UDP.
    pub proxy: SocketAddr,
    /// Home domain.
    pub domain: String,
    /// Number of the first generated subscriber, from 1.
    pub first: u32,
    /// How many subscribers take part, round and round.
    pub users: u32,
    /// Registrations started per second.
    pub rate: f64,
    /// How long they are started; without it, every user registers once.
    pub duration: Option<Duration>,
    /// What the USIMs hold.
    pub credentials: Credentials,
    /// Expiry asked for, in seconds.
    pub expires: u32,
    /// How many sockets share the load.
    pub sockets: usize,
}

impl Plan {
    /// One hundred lab users at a hundred registrations per second, each once.
    pub fn new(proxy: SocketAddr) -> Self {
        Self {
            proxy,
            domain: crate::provisioning::DOMAIN.to_owned(),
            first: 1,
            users: 100,
            rate: 100.0,
            duration: None,
            credentials: Credentials::default(),
            expires: 3600,
            sockets: 2,
        }
    }
}

/// How a run stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Everybody is being registered first; nothing is measured yet.
    pub preparing: bool,
    /// Since the beginning.
    pub elapsed: Duration,
    /// Registrations to be started in all.
    pub planned: u64,
    /// Registrations started.
    pub started: u64,
    /// Ended well.
    pub succeeded: u64,
    /// Ended otherwise.
    pub failed: u64,
    /// Not ended yet.
    pub in_flight: u64,
    /// Requests sent again.
    pub retransmissions: u64,
}

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan makes no sense.
    #[error("{0}")]
    Plan(&'static str),
    /// A socket cannot be had.
    #[error("no socket: {0}")]
    Socket(#[from] std::io::Error),
    /// Nobody could be registered.
    #[error("nobody could be registered: {0}")]
    Prepare(String),
}

/// Initial registrations: REGISTER, 401, REGISTER with the answer, 200. `progress` hears of it about five times a
/// second; `stop` ends it early, and the report tells of what was measured until then.
pub async fn register(
    plan: Plan,
    progress: impl FnMut(&Progress),
    stop: impl Future<Output = ()>,
) -> Result<Report, Error> {
    drive::Drive::new(plan, "register")?.run(false, progress, stop).await
}

/// Registers everybody, which is not counted; then protected re-REGISTERs at the rate.
pub async fn reregister(
    plan: Plan,
    progress: impl FnMut(&Progress),
    stop: impl Future<Output = ()>,
) -> Result<Report, Error> {
    drive::Drive::new(plan, "reregister")?.run(true, progress, stop).await
}
