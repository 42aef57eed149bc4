//! RFC 3261 §17, table 4 — timers, and the queues they wait in.
//!
//! Most timers have one of a few fixed lengths: these wait in first-in-first-out queues. The rest wait in a heap. Nothing is
//! ever taken out early: a timer that fires for a transaction that is gone, or has moved on, does nothing.

use super::slots::SlotRef;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Milliseconds of a monotonic clock that the caller owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    pub(super) const fn after(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}

/// Lengths, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    /// T1: the round trip.
    pub t1: u64,
    /// T2: longest interval between retransmissions of a non-INVITE request and of an INVITE response.
    pub t2: u64,
    /// T4: how long a message stays in the network.
    pub t4: u64,
    /// An INVITE without any response so long gets 100 (Trying); zero: at once.
    pub trying_after: u64,
    /// A request other than INVITE that the user has not answered so long gets 500; must exceed T2.
    pub abandon_after: u64,
    /// The same for an INVITE, counted from the user's last provisional response; must exceed timer C.
    pub abandon_ringing_after: u64,
    /// A client INVITE ends this long after its last provisional response; must exceed timer C.
    pub silent_after: u64,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: 500,
            t2: 4_000,
            t4: 5_000,
            trying_after: 200,
            abandon_after: 40_000,
            abandon_ringing_after: 240_000,
            silent_after: 300_000,
        }
    }
}

impl Timers {
    /// 64*T1: timers B, D, F, H, J, L and M.
    pub const fn life(&self) -> u64 {
        self.t1.saturating_mul(64)
    }

    /// When timer E of a peer has grown to T2: a non-INVITE request without response then gets 100 (RFC 4320 §4.1).
    pub fn patience(&self) -> u64 {
        let (mut interval, mut sum) = (self.t1.max(1), 0u64);
        while interval < self.t2 {
            sum = sum.saturating_add(interval);
            interval = interval.saturating_mul(2);
        }
        sum.max(1)
    }

    /// Intervals of nothing would fire for ever.
    pub(super) fn sane(self) -> Self {
        let t1 = self.t1.max(1);
        Self { t1, t2: self.t2.max(t1), ..self }
    }

    /// What is left of `abandon_after` once `patience` is over.
    pub(super) fn abandon_after_patience(&self) -> u64 {
        self.abandon_after.saturating_sub(self.patience()).max(1)
    }
}

/// Which timer of which machine; letters as in the RFCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// INVITE client retransmits.
    A,
    /// INVITE client gives up.
    B,
    /// INVITE client completed.
    D,
    /// Non-INVITE client retransmits.
    E,
    /// Non-INVITE client gives up.
    F,
    /// INVITE server retransmits its response.
    G,
    /// INVITE server waits for ACK.
    H,
    /// INVITE server confirmed.
    I,
    /// Non-INVITE server completed.
    J,
    /// Non-INVITE client completed.
    K,
    /// INVITE server accepted.
    L,
    /// INVITE client accepted.
    M,
    /// INVITE client proceeding and silent, or cancelled without final response.
    Silence,
    /// Server owes a 100.
    Trying,
    /// The user has not answered.
    Abandon,
}

impl Timer {
    pub(super) const fn is_client(self) -> bool {
        matches!(self, Self::A | Self::B | Self::D | Self::E | Self::F | Self::K | Self::M | Self::Silence)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) at: Tick,
    pub(super) timer: Timer,
    pub(super) slot: SlotRef,
}

pub(super) struct Deadlines {
    fixed: [(u64, VecDeque<Due>); 5],
    others: BinaryHeap<Reverse<Due>>,
}

impl Deadlines {
    pub(super) fn new(timers: &Timers) -> Self {
        let lengths = [
            timers.life(),
            timers.patience(),
            timers.t4,
            timers.trying_after,
            timers.abandon_after_patience(),
        ];
        Self { fixed: lengths.map(|length| (length, VecDeque::new())), others: BinaryHeap::new() }
    }

    pub(super) fn start(&mut self, slot: SlotRef, timer: Timer, now: Tick, length: u64) {
        let due = Due { at: now.after(length), timer, slot };
        match self.fixed.iter_mut().find(|(fixed, _)| *fixed == length) {
            // A clock that went back would break the order of the queue; the heap does not mind.
            Some((_, queue)) if queue.back().is_none_or(|last| last.at <= due.at) => queue.push_back(due),
            _ => self.others.push(Reverse(due)),
        }
    }

    pub(super) fn next(&self) -> Option<Tick> {
        let fixed = self.fixed.iter().filter_map(|(_, queue)| queue.front()).map(|due| due.at).min();
        let other = self.others.peek().map(|Reverse(due)| due.at);
        fixed.into_iter().chain(other).min()
    }

    /// Takes the earliest that is due.
    pub(super) fn pop(&mut self, now: Tick) -> Option<Due> {
        let fixed = self.fixed.iter_mut().map(|(_, queue)| queue).filter(|queue| !queue.is_empty());
        let first = fixed.min_by_key(|queue| queue.front().map(|due| due.at));
        let other = self.others.peek().map(|Reverse(due)| due.at);
        match (first.and_then(|queue| Some((queue.front()?.at, queue))), other) {
            (Some((at, queue)), other) if other.is_none_or(|other| at <= other) => {
                if at > now {
                    None
                } else {
                    queue.pop_front()
                }
            }
            (_, Some(at)) if at <= now => self.others.pop().map(|Reverse(due)| due),
            _ => None,
        }
    }

    /// Drops from the heads what `dead` says nobody waits for any more.
    pub(super) fn prune(&mut self, mut dead: impl FnMut(&Due) -> bool) {
        for (_, queue) in &mut self.fixed {
            while queue.front().is_some_and(&mut dead) {
                queue.pop_front();
            }
        }
        while self.others.peek().is_some_and(|Reverse(due)| dead(due)) {
            self.others.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_when_timer_e_reaches_t2() {
        assert_eq!(Timers::default().patience(), 3_500);
        assert_eq!(Timers { t1: 0, t2: 0, ..Timers::default() }.patience(), 1);
    }

    #[test]
    fn what_is_due_comes_in_order_of_time() {
        let mut deadlines = Deadlines::new(&Timers::default());
        let slot = SlotRef::default();
        for (now, length) in [(0, 32_000), (0, 200), (0, 5_000), (10, 200), (0, 777), (5, 5_000), (4, 5_000)]
        {
            deadlines.start(slot, Timer::K, Tick(now), length);
        }
        assert_eq!(deadlines.next(), Some(Tick(200)));
        let mut order = Vec::new();
        while let Some(due) = deadlines.pop(Tick(10_000)) {
            order.push(due.at.0);
        }
        assert_eq!(order, [200, 210, 777, 5_000, 5_004, 5_005]);
        assert_eq!(deadlines.next(), Some(Tick(32_000)));
        deadlines.prune(|_| true);
        assert_eq!(deadlines.next(), None);
    }
}
