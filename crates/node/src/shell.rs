//! What everything on the node's thread shares. No borrow of a part is held while another part is called.

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
use crate::actor::shard::Woken;
use crate::actor::transactions::Transactions;
use crate::actor::transport::Transport;
use crate::clock::Clock;
use crate::config::Config;
use crate::observe::Recorder;
use crate::operator::Operators;
use crate::telemetry::Telemetry;
use cluster::Input;
use scscf::Policy;
use sip::transaction::Tick;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::Notify;

pub(crate) struct Shell {
    pub(crate) config: Config,
    pub(crate) policy: Policy,
    pub(crate) clock: Clock,
    pub(crate) telemetry: Telemetry,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) membership: Membership,
    pub(crate) links: Rc<Links>,
    pub(crate) deliveries: Deliveries,
    pub(crate) copies: Copies,
    pub(crate) loans: Loans,
    pub(crate) shows: Shows,
    pub(crate) transport: Transport,
    pub(crate) transactions: Transactions,
    pub(crate) outbox: Outbox,
    pub(crate) relays: Relays,
    pub(crate) loopback: Loopback,
    pub(crate) hops: NextHops,
    pub(crate) shards: Shards,
    pub(crate) cx: Cx,
    pub(crate) recorder: Recorder,
    pub(crate) operators: Operators,
    /// New requests get 503.
    pub(crate) draining: Cell<bool>,
    /// Everything ends.
    pub(crate) stopped: Cell<bool>,
    pub(crate) pacer: Pacer,
}

/// Wakes the one task that keeps all timers.
pub(crate) struct Pacer {
    armed: Cell<u64>,
    wake: Notify,
}

impl Default for Pacer {
    fn default() -> Self {
        Self { armed: Cell::new(0), wake: Notify::new() }
    }
}

/// The timer task looks at the clock at least so often, milliseconds. Nearly every new deadline lies further away, so that
/// almost no request makes it arm an earlier one, which would cost the event loop a wake-up of its own.
const LONGEST: u64 = 100;

/// How long users who are due wait for others who are being loaded.
const BREATH: Duration = Duration::from_millis(2);

impl Shell {
    /// Runs something that must not end its caller if it panics.
    pub(crate) fn contained<T>(self: &Rc<Self>, run: impl FnOnce(&Rc<Self>) -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(|| run(self)));
        if result.is_err() {
            self.telemetry.crashes.inc();
            tracing::error!("a crash was contained");
        }
        result.ok()
    }

    /// Makes sure that the timer task wakes early enough.
    pub(crate) fn pace(&self) {
        if self.next_due() < self.pacer.armed.get() {
            self.pacer.wake.notify_one();
        }
    }

    fn next_due(&self) -> u64 {
        let transactions = self.transactions.table.borrow().next_deadline().map(|tick| tick.0);
        let cx = self.cx.pool.borrow().next_deadline().map(|tick| tick.0);
        let users = self
            .shards
            .next_deadline()
            .map(|at| self.clock.tick() + (at - self.clock.now()).millis().min(LONGEST));
        let now = self.clock.tick();
        let held = self.deliveries.next_due(now);
        let ownership = Some(self.membership.ownership.borrow().next_deadline());
        [transactions, cx, users, held, ownership].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// Keeps all timers: of transactions, of Diameter, of users.
    pub(crate) async fn keep_time(self: Rc<Self>) {
        while !self.stopped.get() {
            let due = self.next_due().min(self.clock.tick() + LONGEST);
            self.pacer.armed.set(due);
            tokio::select! {
                () = tokio::time::sleep_until(self.clock.instant(due)) => {}
                () = self.pacer.wake.notified() => continue,
            }
            // Nothing is armed until this task looks again.
            self.pacer.armed.set(0);
            self.contained(|shell| {
                let now = shell.clock.tick();
                let table = shell.transactions.table.borrow().next_deadline();
                if table.is_some_and(|at| at <= Tick(now)) {
                    shell.transact(|table, now, out| table.expire(now, out));
                }
                let pool = shell.cx.pool.borrow().next_deadline();
                if pool.is_some_and(|at| at.0 <= now) {
                    shell.converse_cx(|pool, now, out| pool.expire(now, out));
                }
                if shell.membership.ownership.borrow().next_deadline() <= now {
                    shell.own(Input::Time);
                }
                shell.bring_held();
                shell.take_own();
            });
            // The next round looks at every timer again, however many users are due: a lease must not lapse for them.
            match self.contained(Self::wake_due) {
                Some(Woken::Some) => tokio::task::yield_now().await,
                Some(Woken::AsManyAsCanBeLoaded) => tokio::time::sleep(BREATH).await,
                Some(Woken::All) | None => {}
            }
        }
    }

    /// Looks after gauges and silent users; `_ears` hear of other nodes as long as that goes on.
    pub(crate) async fn keep_house(self: Rc<Self>, _ears: Rc<dyn Ears>) {
        let every = (self.config.node.passivate_after / 4).clamp(1, 15);
        let mut quarters = 0u64;
        while !self.stopped.get() {
            tokio::time::sleep(Duration::from_millis(250)).await;
            quarters += 1;
            self.press_leavers();
            self.decline_unreachable();
            if !quarters.is_multiple_of(4) {
                continue;
            }
            let seconds = quarters / 4;
            self.forget_accepted();
            self.forget_watchers();
            let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
            let (transactions, waiting) = {
                let table = self.transactions.table.borrow();
                (table.len(), table.unanswered())
            };
            self.telemetry.transactions.set(count(transactions));
            self.telemetry.waiting.set(count(waiting));
            self.telemetry.actors.set(count(self.shards.residents()));
            self.telemetry.connections.set(count(self.transport.connections()));
            self.telemetry.peers.set(count(self.cx.open()));
            let (mut linked, mut queued) = (0, 0);
            for (slot, counters) in self.links.counters() {
                linked += usize::from(self.links.is_up(slot));
                queued += counters.queued;
            }
            self.telemetry.links.set(count(linked));
            self.telemetry.words_queued.set(count(queued));
            self.telemetry.shards.set(count(self.own_shards()));
            self.telemetry.lent_now.set(count(self.loans.lent()));
            self.telemetry.dead_hops.set(count(self.hops.dead.count(self.clock.tick())));
            if seconds.is_multiple_of(every) {
                self.retire_silent().await;
            }
        }
    }
}
