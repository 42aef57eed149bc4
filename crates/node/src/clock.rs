//! Time and chance for the rest of the node, which asks for neither elsewhere.

use scscf::{Moment, Seed, Timestamp};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The clocks of a node: the wall's for users, a monotonic one for transactions and connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Wall-clock time.
    pub(crate) fn now(self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Tells this run of a node from others, and later runs from earlier ones: microseconds of the wall's clock.
    pub(crate) fn incarnation(self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the node started.
    pub(crate) fn tick(self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When `tick` will be.
    pub(crate) fn instant(self, tick: u64) -> Instant {
        self.origin + Duration::from_millis(tick)
    }

    /// The time and chance of one step.
    pub(crate) fn moment(self) -> Moment {
        Moment { now: self.now(), seed: Seed(rand::random()) }
    }
}
