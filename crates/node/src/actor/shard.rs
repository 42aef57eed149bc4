//! Which users are here: activation from the record, replacement after a crash, one deadline a user.

use super::duties::{Duties, Owed};
use super::user::{Happen, Retire, UserActor};
use crate::shell::Shell;
use actix::Addr;
use actix::prelude::SendError;
use ahash::AHashMap;
use scscf::cx::ResultCode;
use scscf::view::RegistrationState;
use scscf::{Event, Impi, Timestamp, User};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;
use store::{Claim, Fence, Loaded, Member, Pending, ShardId};

/// The users of the shards that this node owns.
#[derive(Default)]
pub(crate) struct Shards {
    residents: RefCell<AHashMap<Impi, Resident>>,
    deadlines: RefCell<BTreeSet<(Timestamp, Impi)>>,
    crashes: RefCell<AHashMap<Impi, Crashes>>,
}

enum Resident {
    Here(Addr<UserActor>, Rc<Duties>),
    Loading(Rc<Duties>, Vec<Event>),
}

#[derive(Clone, Copy, Default)]
struct Crashes {
    /// Tick of the first.
    since: u64,
    count: u32,
}

/// The window of the crash budget, milliseconds.
const MINUTE: u64 = 60_000;
/// Deadlines handled before others get their turn.
const DUE_AT_ONCE: usize = 256;
/// Actors told to leave before others get their turn.
const LEAVING_AT_ONCE: usize = 64;

impl Shards {
    /// Actors that live.
    pub(crate) fn residents(&self) -> usize {
        self.residents.borrow().len()
    }

    pub(crate) fn here(&self, impi: &Impi) -> Option<(Addr<UserActor>, Rc<Duties>)> {
        match self.residents.borrow().get(impi)? {
            Resident::Here(addr, duties) => Some((addr.clone(), Rc::clone(duties))),
            Resident::Loading(..) => None,
        }
    }

    /// Replaces a user's deadline.
    pub(crate) fn rearm(&self, impi: &Impi, old: Option<Timestamp>, new: Option<Timestamp>) {
        let mut deadlines = self.deadlines.borrow_mut();
        if let Some(old) = old {
            deadlines.remove(&(old, impi.clone()));
        }
        if let Some(new) = new {
            deadlines.insert((new, impi.clone()));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.borrow().first().map(|(at, _)| *at)
    }

    pub(crate) fn leave(&self, impi: &Impi) {
        self.residents.borrow_mut().remove(impi);
    }
}

impl Shell {
    /// Brings an event to its user, who is loaded or begun if not here. What is `owed` is declined if it cannot be brought.
    pub(crate) fn deliver(self: &Rc<Self>, impi: &Impi, event: Event, owed: Option<Owed>) {
        if let Some((addr, duties)) = self.shards.here(impi) {
            self.push(impi, &addr, &duties, event, owed);
            return;
        }
        if let Some(Resident::Loading(duties, waiting)) = self.shards.residents.borrow_mut().get_mut(impi)
            && waiting.len() < self.config.limits.mailbox
        {
            owed.into_iter().for_each(|owed| duties.owe(owed));
            waiting.push(event);
            return;
        }
        let loading = self.shards.residents.borrow().contains_key(impi);
        if loading || self.is_broken(impi) || self.is_full() {
            self.telemetry.mailbox_full.inc();
            owed.into_iter().for_each(|owed| self.decline(owed));
            return;
        }
        self.activate(impi, event, owed);
    }

    fn push(
        self: &Rc<Self>,
        impi: &Impi,
        addr: &Addr<UserActor>,
        duties: &Rc<Duties>,
        event: Event,
        owed: Option<Owed>,
    ) {
        if duties.queued() as usize >= self.config.limits.mailbox {
            self.telemetry.mailbox_full.inc();
            owed.into_iter().for_each(|owed| self.decline(owed));
            return;
        }
        match addr.try_send(Happen(event)) {
            Ok(()) => {
                duties.queue(self.clock.tick());
                owed.into_iter().for_each(|owed| duties.owe(owed));
            }
            Err(SendError::Full(_)) => {
                self.telemetry.mailbox_full.inc();
                owed.into_iter().for_each(|owed| self.decline(owed));
            }
            Err(SendError::Closed(Happen(event))) => {
                self.shards.leave(impi);
                self.activate(impi, event, owed);
            }
        }
    }

    /// Brings the answer to something this user asked. It is expected, so it goes past the mailbox's bound; a user who is not
    /// here any more does not miss it.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place: what was asked for is bounded by the asking"
    )]
    pub(crate) fn deliver_answer(self: &Rc<Self>, impi: &Impi, event: Event) {
        let Some((addr, duties)) = self.shards.here(impi) else {
            self.telemetry.unexpected.inc();
            return;
        };
        duties.queue(self.clock.tick());
        addr.do_send(Happen(event));
    }

    /// Brings a CANCEL to its user, behind the INVITE if the user is being loaded. There are no more of them than INVITEs, so it
    /// goes past the mailbox's bound.
    pub(crate) fn deliver_cancel(self: &Rc<Self>, impi: &Impi, cancel: Event) {
        if let Some(Resident::Loading(_, waiting)) = self.shards.residents.borrow_mut().get_mut(impi) {
            waiting.push(cancel);
            return;
        }
        self.deliver_answer(impi, cancel);
    }

    fn activate(self: &Rc<Self>, impi: &Impi, event: Event, owed: Option<Owed>) {
        let duties = Rc::new(Duties::default());
        owed.into_iter().for_each(|owed| duties.owe(owed));
        match self.store.load(ShardId::of(impi.as_str()), impi) {
            Pending::Ready(loaded) => self.arrive(impi, &duties, loaded, vec![event]),
            Pending::Later(loading) => {
                let resident = Resident::Loading(Rc::clone(&duties), vec![event]);
                self.shards.residents.borrow_mut().insert(impi.clone(), resident);
                let (shell, impi) = (Rc::clone(self), impi.clone());
                tokio::task::spawn_local(async move {
                    let loaded = loading.await;
                    let resident = shell.shards.residents.borrow_mut().remove(&impi);
                    if let Some(Resident::Loading(duties, events)) = resident {
                        shell.arrive(&impi, &duties, loaded, events);
                    }
                });
            }
        }
    }

    fn arrive(
        self: &Rc<Self>,
        impi: &Impi,
        duties: &Rc<Duties>,
        loaded: Result<Option<Loaded>, store::Error>,
        events: Vec<Event>,
    ) {
        let (user, version) = match loaded {
            Ok(Some(Loaded { user, version })) => (user, version),
            Ok(None) => (User::new(impi.clone()), 0),
            Err(error) => {
                self.store_failed(impi, &error);
                if events.iter().any(|event| matches!(event, Event::Deadline)) {
                    self.retry_deadline(impi);
                }
                duties.default_on_all().into_iter().for_each(|owed| self.decline(owed));
                return;
            }
        };
        self.telemetry.activated.inc();
        let addr = UserActor::begin(Rc::clone(self), user, version, Rc::clone(duties));
        let resident = Resident::Here(addr.clone(), Rc::clone(duties));
        self.shards.residents.borrow_mut().insert(impi.clone(), resident);
        for event in events {
            self.push(impi, &addr, duties, event, None);
        }
    }

    pub(crate) fn store_failed(&self, impi: &Impi, error: &store::Error) {
        self.telemetry.store_failures.inc();
        tracing::error!(%impi, %error, "store");
    }

    /// Answers what cannot be brought to its user: 503, DIAMETER_TOO_BUSY, nothing.
    pub(crate) fn decline(self: &Rc<Self>, owed: Owed) {
        match owed {
            Owed::Sip(tx, request) => self.unavailable(tx, &request),
            Owed::Cx(tx) => self.answer_demand(tx, scscf::cx::DemandAnswer::of(ResultCode::TOO_BUSY)),
            Owed::Ask(tx) => self.operators.forget(tx),
        }
    }

    /// Answers what a dead actor owed: 500, DIAMETER_UNABLE_TO_COMPLY, nothing.
    fn default_on(self: &Rc<Self>, owed: Owed) {
        self.telemetry.unanswered.inc();
        match owed {
            Owed::Sip(tx, request) => self.failed(tx, &request),
            Owed::Cx(tx) => self.answer_demand(tx, scscf::cx::DemandAnswer::of(ResultCode::UNABLE_TO_COMPLY)),
            Owed::Ask(tx) => self.operators.forget(tx),
        }
    }

    /// An actor ended without leave: what it owed is answered, and its user starts again from its record when next wanted.
    pub(crate) fn crashed(self: &Rc<Self>, impi: Impi, duties: Rc<Duties>, armed: Option<Timestamp>) {
        self.telemetry.crashes.inc();
        tracing::error!(%impi, "a user's actor crashed");
        // While the stack unwinds nothing may be borrowed that the actor was using: others do it.
        let shell = Rc::clone(self);
        tokio::task::spawn_local(async move {
            shell.shards.leave(&impi);
            shell.count_crash(&impi);
            // The record's own deadline comes back with the next activation, at the latest then.
            shell.shards.rearm(&impi, armed, None);
            shell.retry_deadline(&impi);
            shell.cancel_all(&impi);
            duties.default_on_all().into_iter().for_each(|owed| shell.default_on(owed));
        });
    }

    fn count_crash(&self, impi: &Impi) {
        let now = self.clock.tick();
        let mut crashes = self.shards.crashes.borrow_mut();
        crashes.retain(|_, crashes| now.saturating_sub(crashes.since) < MINUTE);
        crashes.entry(impi.clone()).or_insert(Crashes { since: now, count: 0 }).count += 1;
    }

    /// The user crashed too often lately to be started again.
    fn is_broken(&self, impi: &Impi) -> bool {
        let now = self.clock.tick();
        let crashes = self.shards.crashes.borrow().get(impi).copied().unwrap_or_default();
        crashes.count >= self.config.limits.crashes && now.saturating_sub(crashes.since) < MINUTE
    }

    /// As many actors live as may.
    fn is_full(&self) -> bool {
        self.shards.residents() >= self.config.limits.actors
    }

    /// Wakes the user again after a while, to look at its record's deadline.
    fn retry_deadline(&self, impi: &Impi) {
        let delay = if self.is_broken(impi) { MINUTE } else { 1_000 };
        let at = self.clock.now() + scscf::Span::from_millis(delay);
        self.shards.rearm(impi, None, Some(at));
        self.pace();
    }

    /// Wakes the users whose time has come; `true` if more of them wait.
    pub(crate) fn wake_due(self: &Rc<Self>) -> bool {
        let now = self.clock.now();
        for _ in 0..DUE_AT_ONCE {
            let due = {
                let mut deadlines = self.shards.deadlines.borrow_mut();
                if deadlines.first().is_none_or(|(at, _)| *at > now) {
                    return false;
                }
                deadlines.pop_first()
            };
            let Some((_, impi)) = due else { return false };
            if self.shards.here(&impi).is_some() {
                self.deliver_answer(&impi, Event::Deadline);
            } else if self.is_broken(&impi) || self.is_full() {
                self.retry_deadline(&impi);
            } else {
                self.deliver(&impi, Event::Deadline, None);
            }
        }
        true
    }

    /// Lets the actors of silent users end; their records stay.
    pub(crate) async fn retire_silent(self: &Rc<Self>) {
        let limit = self.config.node.passivate_after.saturating_mul(1000);
        let now = self.clock.tick();
        let silent: Vec<Addr<UserActor>> = {
            let residents = self.shards.residents.borrow();
            let here = residents.iter().filter_map(|(impi, resident)| match resident {
                Resident::Here(addr, duties) => Some((impi, addr, duties)),
                Resident::Loading(..) => None,
            });
            let silent = here.filter(|(impi, _, duties)| {
                duties.is_idle()
                    && now.saturating_sub(duties.silent_since()) >= limit
                    && !self.recorder.is_watched(impi)
            });
            silent.map(|(_, addr, _)| addr.clone()).collect()
        };
        for some in silent.chunks(LEAVING_AT_ONCE) {
            for addr in some {
                // A full mailbox means that it is not silent.
                let _ = addr.try_send(Retire);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Becomes the owner of every shard and learns when its users act by themselves.
    pub(crate) async fn take_shards(self: &Rc<Self>) -> Result<(), store::Error> {
        let Fence { node, incarnation, .. } = self.fence.clone();
        let me = Member { node, incarnation, link: "".into(), sip: "".into(), draining: false, users: 0 };
        let leases = self.store.leases();
        leases.beat(0, &me, u64::MAX / 2, None).wait().await?;
        let claims: Vec<Claim> =
            ShardId::all().map(|shard| Claim { shard, gone: None, held: None }).collect();
        leases.take(0, &me, &claims).wait().await?;
        for shard in ShardId::all() {
            let deadlines = self.store.deadlines(shard).wait().await?;
            self.shards.deadlines.borrow_mut().extend(deadlines);
        }
        let registered = store::Filter { state: Some(RegistrationState::Registered), text: None };
        let mut after = None;
        loop {
            let page = self.store.list(&registered, after.as_ref(), 10_000).wait().await?;
            self.telemetry.users.inc_by(i64::try_from(page.users.len()).unwrap_or(0));
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}
