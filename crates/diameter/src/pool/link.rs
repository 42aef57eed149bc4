//! RFC 6733 §2.1, RFC 6733 §5.1 — a link of a pool: a target and the connection to it, tried again and again.

use super::{LinkId, Output, Pool, Status};
use crate::{
    Tick,
    base::DisconnectCause,
    chance,
    peer::{Closed, Peer, State},
};

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) target: Option<usize>,
    pub(super) priority: u16,
    pub(super) stage: Stage,
    pub(super) failures: u32,
    /// Origin-Host, also after the connection is gone.
    pub(super) host: Option<Box<str>>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Until the next attempt.
    Waiting { until: Tick },
    /// The transport is being opened.
    Opening { until: Tick },
    /// There is a connection.
    Up(Box<Peer>),
    /// There will be none any more.
    Over,
}

impl Link {
    pub(super) const fn new(target: Option<usize>, priority: u16) -> Self {
        Self { id: LinkId(0), target, priority, stage: Stage::Over, failures: 0, host: None }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(&self.stage, Stage::Up(peer) if peer.is_open())
    }

    pub(super) fn is_suspect(&self) -> bool {
        matches!(&self.stage, Stage::Up(peer) if peer.state() == State::Suspect)
    }

    pub(super) fn is_host(&self, host: &str) -> bool {
        self.host.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(host))
    }

    pub(super) fn deadline(&self) -> Option<Tick> {
        match &self.stage {
            Stage::Waiting { until } | Stage::Opening { until } => Some(*until),
            Stage::Up(peer) => peer.next_deadline(),
            Stage::Over => None,
        }
    }

    pub(super) fn status(&self) -> Status<'_> {
        let (state, pending) = match &self.stage {
            Stage::Up(peer) => (Some(peer.state()), peer.pending()),
            Stage::Waiting { .. } | Stage::Opening { .. } | Stage::Over => (None, 0),
        };
        Status { target: self.target, host: self.host.as_deref(), state, pending }
    }
}

impl Pool {
    /// Asks for a transport, unless the same host has already connected to us.
    pub(super) fn connect(&mut self, at: usize, now: Tick, out: &mut Vec<Output>) {
        let Some(target) = self.links[at].target else { return };
        let host = self.links[at].host.clone();
        let served = host.is_some_and(|host| {
            self.links.iter().any(|l| l.target.is_none() && l.is_open() && l.is_host(&host))
        });
        if served {
            self.links[at].stage = Stage::Waiting { until: now.after(self.config.reconnect_max_ms.into()) };
            return;
        }
        let link = self.draw_link();
        self.links[at].id = link;
        self.links[at].stage = Stage::Opening { until: now.after(self.config.connect_ms.into()) };
        out.push(Output::Connect { link, target });
    }

    /// Schedules the next attempt: soon after a loss, doubling with each failure, not soon after a refusal.
    pub(super) fn back_off(&mut self, at: usize, reason: Closed, now: Tick) {
        let most = u64::from(self.config.reconnect_max_ms);
        let link = &mut self.links[at];
        if self.stopping || link.target.is_none() {
            link.stage = Stage::Over;
            return;
        }
        let delay = match reason {
            Closed::NoCommonApplication
            | Closed::Ours
            | Closed::Theirs(DisconnectCause::Busy | DisconnectCause::DoNotWantToTalkToYou) => most,
            Closed::Theirs(DisconnectCause::Rebooting)
            | Closed::NotEstablished
            | Closed::Garbage
            | Closed::Watchdog
            | Closed::Lost => {
                let doubled =
                    u64::from(self.config.reconnect_min_ms).saturating_mul(1 << link.failures.min(20));
                let longest = doubled.clamp(1, most.max(1));
                link.failures = link.failures.saturating_add(1);
                // Half of it is chance, so that nodes which lost one HSS together do not return together.
                longest - chance::next(&mut self.chance) % (longest / 2 + 1)
            }
        };
        link.stage = Stage::Waiting { until: now.after(delay) };
    }

    /// Links that a peer had opened and that are over leave no trace.
    pub(super) fn forget_links(&mut self) {
        self.links.retain(|link| link.target.is_some() || !matches!(link.stage, Stage::Over));
    }
}
