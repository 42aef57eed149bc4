//! RFC 3261 §17.1.1.1 — when something is sent again, given up or done.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};
use tokio::time::Instant;

const T1: Duration = Duration::from_millis(500);
/// The longest interval between two copies, those of INVITE aside.
pub(super) const T2: Duration = Duration::from_secs(4);
/// 64*T1: Timers B, D, F, H, J.
pub(super) const GIVE_UP: Duration = Duration::from_secs(32);

/// Whose timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// A user's registration.
    User(u32),
    /// The caller's of a call.
    Caller(u32),
    /// The callee's of a call.
    Callee(u32),
    /// A MESSAGE.
    Message(u32),
    /// A subscription.
    Subscription { stays: bool, place: u32 },
}

/// All that is due some time. An entry counts only while its owner still waits for that very moment: what is reset leaves its
/// former entry behind, which lasts no longer than the former wait.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Instant, Whose)>>);

impl Timers {
    pub(super) fn set(&mut self, at: Instant, whose: Whose) {
        self.0.push(Reverse((at, whose)));
    }

    /// The next moment at which something may be due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out one that is due by `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Whose)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }
}

/// What one party of a procedure waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// When what is out first left.
    pub(super) since: Instant,
    interval: Duration,
    /// When something is to be done.
    pub(super) due: Option<Instant>,
    /// The node that a request went to; nothing for a response.
    pub(super) to: Option<u16>,
}

impl Wait {
    /// Waits for nothing.
    pub(super) fn idle(now: Instant) -> Self {
        Self { since: now, interval: T1, due: None, to: None }
    }

    /// Something leaves for the first time.
    pub(super) fn sent(now: Instant) -> Self {
        Self { since: now, interval: T1, due: Some(now + T1), to: None }
    }

    /// The same towards somebody.
    pub(super) fn towards(self, to: Option<u16>) -> Self {
        Self { to, ..self }
    }

    /// Its time has come: whether it is sent again, which it then is at doubled intervals up to `longest`; else it is given
    /// up, for 64*T1 have passed.
    pub(super) fn again(&mut self, now: Instant, longest: Duration) -> bool {
        let end = self.since + GIVE_UP;
        if now >= end {
            self.due = None;
            return false;
        }
        self.interval = (self.interval * 2).min(longest);
        self.due = Some((now + self.interval).min(end));
        true
    }

    /// Whether it was sent more than once, as far as no provisional response came.
    pub(super) fn is_repeated(&self) -> bool {
        self.interval > T1
    }

    /// A provisional response to a request other than INVITE has come (RFC 3261 §17.1.2.2).
    pub(super) fn proceeding(&mut self) {
        self.interval = T2;
    }

    /// Nothing is sent again any more; something else is due then.
    pub(super) fn until(&mut self, at: Instant) {
        self.due = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies(longest: Duration, proceeding: bool) -> Vec<u64> {
        let start = Instant::now();
        let mut wait = Wait::sent(start);
        if proceeding {
            wait.proceeding();
        }
        let mut at = Vec::new();
        while let Some(due) = wait.due {
            if wait.again(due, longest) {
                at.push((due - start).as_millis() as u64);
            } else {
                assert_eq!(due - start, GIVE_UP);
            }
        }
        at
    }

    #[test]
    fn copies_leave_when_rfc_3261_has_them_leave() {
        assert_eq!(copies(GIVE_UP, false), [500, 1500, 3500, 7500, 15_500, 31_500]);
        assert_eq!(
            copies(T2, false),
            [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
        );
        let mut once = Wait::sent(Instant::now());
        assert!(!once.is_repeated() && once.again(once.since + T1, T2) && once.is_repeated());
        assert_eq!(copies(T2, true), [500, 4500, 8500, 12_500, 16_500, 20_500, 24_500, 28_500]);
    }

    #[test]
    fn timers_come_in_order_and_not_early() {
        let now = Instant::now();
        let mut timers = Timers::default();
        timers.set(now + T2, Whose::Caller(2));
        timers.set(now + T1, Whose::User(1));
        assert_eq!(timers.next(), Some(now + T1));
        assert_eq!(timers.pop(now), None);
        assert_eq!(timers.pop(now + T2), Some((now + T1, Whose::User(1))));
        assert_eq!(timers.pop(now + T2), Some((now + T2, Whose::Caller(2))));
        assert_eq!((timers.pop(now + T2), timers.next()), (None, None));
    }
}
