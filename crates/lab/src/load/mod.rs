//! Many UEs at a given rate, whatever the answers do: what the network bears, and how long it takes.

mod arrival;
mod call;
mod drive;
mod engine;
mod entries;
mod ground;
mod mark;
mod messages;
mod mix;
mod outbox;
mod places;
mod registrations;
mod report;
mod sockets;
mod subscriptions;
mod tally;
mod text;
mod timers;
mod user;

pub use call::Habits;
pub use entries::Entry;
pub use mix::Shares;
pub use report::{Count, Kept, Latency, Report, Stages};

use crate::{provisioning::MOST_GENERATED, ue::Credentials};
use mix::{Mix, Procedure};
use std::{future::Future, net::SocketAddr, time::Duration};

/// How long the last calls may take to end beyond their duration, in seconds: two transactions that time out.
const ENDING_S: f64 = 64.0;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where SIP is sent, over UDP: one node, or several of a cluster.
    pub proxies: Vec<SocketAddr>,
    /// Which of several.
    pub entry: Entry,
    /// Home domain.
    pub domain: String,
    /// Number of the first generated subscriber, from 1.
    pub first: u32,
    /// How many subscribers take part, round and round; for calls, that many callers and as many who are called.
    pub users: u32,
    /// Procedures started per second.
    pub rate: f64,
    /// How long they are started; without it, every user (of calls: every caller) has one.
    pub duration: Option<Duration>,
    /// What the USIMs hold.
    pub credentials: Credentials,
    /// Expiry asked for, in seconds.
    pub expires: u32,
    /// How many sockets share the load; for calls, that many on each side.
    pub sockets: usize,
    /// Registrations per second before the measurement, where it needs registered users.
    pub registration_rate: f64,
    /// Whether each user subscribes to its registration state once it is registered, and stays subscribed; each of its further
    /// registrations must then be followed by a NOTIFY.
    pub subscribe: bool,
}

impl Plan {
    /// One hundred lab users at a hundred procedures per second, each once.
    pub fn new(proxy: SocketAddr) -> Self {
        Self {
            proxies: vec![proxy],
            entry: Entry::default(),
            domain: crate::provisioning::DOMAIN.to_owned(),
            first: 1,
            users: 100,
            rate: 100.0,
            duration: None,
            credentials: Credentials::default(),
            expires: 3600,
            sockets: 2,
            registration_rate: 1000.0,
            subscribe: false,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let rate = |rate: f64| rate.is_finite() && rate > 0.0 && rate <= 1e6;
        if !rate(self.rate) || !rate(self.registration_rate) {
            return Err(Error::Plan("a rate is above 0 and at most 1000000 per second"));
        }
        if self.users > MOST_GENERATED / 2 {
            return Err(Error::Plan("there are no so many users"));
        }
        if self.users == 0 || self.first == 0 || self.sockets == 0 || self.sockets > 256 {
            return Err(Error::Plan(
                "users, the first of them and sockets count from 1; at most 256 sockets",
            ));
        }
        let Some(first) = self.proxies.first() else {
            return Err(Error::Plan("SIP is sent to one node at least"));
        };
        if self.proxies.iter().any(|one| one.is_ipv4() != first.is_ipv4()) {
            return Err(Error::Plan("the nodes are all reached over IPv4, or all over IPv6"));
        }
        Ok(())
    }

    /// Calls need registrations that last, and so do subscriptions that stay, for nobody here sees to it.
    fn lasts(&self, habits: &Habits) -> Result<(), Error> {
        let registering = 2.0 * f64::from(self.users) / self.registration_rate;
        let starting = self.duration.map_or(f64::from(self.users) / self.rate, |one| one.as_secs_f64());
        let call = (habits.hold + habits.ring).as_secs_f64();
        if registering + starting + call + ENDING_S > f64::from(self.expires) {
            return Err(Error::Plan(
                "registrations would expire before the run ends; ask for a longer expiry",
            ));
        }
        Ok(())
    }
}

/// How a run stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Everybody is being registered first; nothing is measured yet.
    pub preparing: bool,
    /// Since the beginning.
    pub elapsed: Duration,
    /// Procedures to be started in all.
    pub planned: u64,
    /// Procedures started.
    pub started: u64,
    /// Ended well.
    pub succeeded: u64,
    /// Ended otherwise.
    pub failed: u64,
    /// Not ended yet.
    pub in_flight: u64,
    /// Reached what counts for the rate: registered, answered.
    pub reached: u64,
    /// Messages sent again.
    pub retransmissions: u64,
    /// Requests made anew because the network asked for patience.
    pub retried: u64,
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

/// Initial registrations: REGISTER, 401, REGISTER with the answer, 200. `progress` hears of it ten times a
/// second; `stop` ends it early, and the report tells of what was measured until then.
pub async fn register(
    plan: Plan,
    progress: impl FnMut(&Progress),
    stop: impl Future<Output = ()>,
) -> Result<Report, Error> {
    drive::Drive::new(plan, "register", Mix::only(Procedure::Register), None)?.run(progress, stop).await
}

/// Registers everybody, which is not counted; then protected re-REGISTERs at the rate.
pub async fn reregister(
    plan: Plan,
    progress: impl FnMut(&Progress),
    stop: impl Future<Output = ()>,
) -> Result<Report, Error> {
    drive::Drive::new(plan, "reregister", Mix::only(Procedure::Reregister), None)?.run(progress, stop).await
}

/// Registers `plan.users` callers and as many who are called, which is not counted; then calls at the rate, both ends of
/// which are played here. A call succeeds when it takes the course that `habits` give it, every message of it routed by the
/// route sets of its dialog.
pub async fn call(
    plan: Plan,
    habits: Habits,
    progress: impl FnMut(&Progress),
    stop: impl Future<Output = ()>,
) -> Result<Report, Error> {
    drive::Drive::new(plan, "call", Mix::only(Procedure::Call), Some(habits))?.run(progress, stop).await
}

/// Registers as for calls, which is not counted; then everything at once, each kind in its share of the rate.
pub async fn mixed(
    plan: Plan,
    habits: Habits,
    shares: Shares,
    progress: impl FnMut(&Progress),
    stop: impl Future<Output = ()>,
) -> Result<Report, Error> {
    drive::Drive::new(plan, "mixed", Mix::of(&shares)?, Some(habits))?.run(progress, stop).await
}

#[cfg(test)]
mod tests;
