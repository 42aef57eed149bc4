//! What a machine of RFC 3261 §17 may do in one step.

use super::slots::SlotRef;
use super::timers::{Deadlines, Tick, Timer, Timers};
use super::{Flow, Output, Stats};
use bytes::Bytes;

/// Whether a transaction lives on after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Fate {
    Lives,
    Ends,
}

pub(super) struct Step<'a> {
    pub(super) timers: &'a Timers,
    pub(super) deadlines: &'a mut Deadlines,
    pub(super) stats: &'a mut Stats,
    pub(super) out: &'a mut Vec<Output>,
    pub(super) now: Tick,
    pub(super) slot: SlotRef,
    /// Where the transaction sends.
    pub(super) flow: Flow,
}

impl Step<'_> {
    pub(super) fn transmit(&mut self, bytes: &Bytes) {
        self.out.push(Output::Transmit { flow: self.flow, bytes: bytes.clone() });
    }

    pub(super) fn retransmit(&mut self, bytes: &Bytes) {
        self.stats.retransmitted += 1;
        self.transmit(bytes);
    }

    pub(super) fn start(&mut self, timer: Timer, length: u64) {
        self.deadlines.start(self.slot, timer, self.now, length);
    }

    pub(super) fn is_reliable(&self) -> bool {
        self.flow.transport.is_reliable()
    }

    /// Stays for `length` to absorb retransmissions; over a reliable transport there are none.
    pub(super) fn linger(&mut self, timer: Timer, length: u64) -> Fate {
        if self.is_reliable() {
            return Fate::Ends;
        }
        self.start(timer, length);
        Fate::Lives
    }
}
