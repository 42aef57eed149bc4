//! Users come and go: activation from the record, replacement after a crash, deadlines that wake them, silence that lets them leave.

use super::duties::Duties;
use super::membership::Place;
use super::parcel::Parcel;
use super::residents::Resident;
use super::user::{Depart, Happen, Retire, UserActor};
use crate::shell::Shell;
use actix::Addr;
use actix::prelude::SendError;
use scscf::cx::{DemandAnswer, ResultCode};
use scscf::{Event, Impi, Timestamp, User};
use std::rc::Rc;
use std::time::Duration;
use store::{Loaded, Pending, ShardId};

#[derive(Clone, Copy, Default)]
pub(super) struct Crashes {
    /// Tick of the first.
    since: u64,
    count: u32,
}

/// How many of the users whose time has come were woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    All,
    /// The others get their turn when everybody else had one.
    Some,
    /// The others have to wait until some of these are here.
    AsManyAsCanBeLoaded,
}

/// The window of the crash budget, milliseconds.
const MINUTE: u64 = 60_000;
/// Deadlines handled before others get their turn.
const DUE_AT_ONCE: usize = 256;
/// Users on their way from the store, beyond whom no deadline fetches more: others want to be loaded, too.
const LOADING_AT_ONCE: usize = 1_024;
/// Actors told to leave before others get their turn.
const LEAVING_AT_ONCE: usize = 64;

impl Shell {
    /// Brings an event to its user, who is loaded or begun if not here. What is `owed` is declined if it cannot be brought.
    pub(crate) fn deliver(self: &Rc<Self>, impi: &Impi, event: Event, owed: Option<Parcel>) {
        if let Some((addr, duties)) = self.shards.here(impi) {
            self.push(impi, &addr, &duties, event, owed);
            return;
        }
        if let Some(Resident::Loading(duties, waiting)) =
            self.shards.of(impi).borrow_mut().residents.get_mut(impi)
            && waiting.len() < self.config.limits.mailbox
        {
            owed.into_iter().for_each(|owed| duties.owe(owed));
            waiting.push(event);
            return;
        }
        let loading = self.shards.is_here(impi);
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
        owed: Option<Parcel>,
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
                self.shards.leave(impi, duties);
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
        if let Some(Resident::Loading(_, waiting)) = self.shards.of(impi).borrow_mut().residents.get_mut(impi)
        {
            waiting.push(cancel);
            return;
        }
        self.deliver_answer(impi, cancel);
    }

    fn activate(self: &Rc<Self>, impi: &Impi, event: Event, owed: Option<Parcel>) {
        let duties = Rc::new(Duties::default());
        owed.into_iter().for_each(|owed| duties.owe(owed));
        let shard = ShardId::of(impi.as_str());
        match self.store.load(shard, impi) {
            Pending::Ready(loaded) => self.arrive(impi, &duties, loaded, vec![event]),
            Pending::Later(loading) => {
                self.shards.enter(impi, Resident::Loading(Rc::clone(&duties), vec![event]));
                self.shards.begin_loading();
                let term = self.shards.term(shard);
                let (shell, impi) = (Rc::clone(self), impi.clone());
                tokio::task::spawn_local(async move {
                    let loaded = loading.await;
                    shell.shards.end_loading();
                    let Some(Resident::Loading(duties, events)) = shell.shards.remove(&impi) else { return };
                    if shell.shards.term(shard) == term {
                        shell.arrive(&impi, &duties, loaded, events);
                    } else {
                        shell.came_too_late(&impi, &duties, &events);
                    }
                });
            }
        }
    }

    /// The shard went away while a user was loaded; if it came back, the record may be another.
    fn came_too_late(self: &Rc<Self>, impi: &Impi, duties: &Duties, events: &[Event]) {
        if events.iter().any(|event| matches!(event, Event::Deadline)) {
            self.retry_deadline(impi);
        }
        for owed in duties.default_on_all() {
            self.bring_anew(impi, owed);
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
        self.shards.enter(impi, Resident::Here(addr.clone(), Rc::clone(duties)));
        for event in events {
            self.push(impi, &addr, duties, event, None);
        }
    }

    /// Answers what cannot be brought to its user: 503, DIAMETER_TOO_BUSY, nothing.
    pub(crate) fn decline(self: &Rc<Self>, owed: Parcel) {
        match owed {
            Parcel::Request { tx, request, .. } => self.unavailable(tx, &request),
            Parcel::Demand { tx, .. } => self.answer_demand(tx, DemandAnswer::of(ResultCode::TOO_BUSY)),
            Parcel::Wish { ask, .. } => self.tell_nothing(ask),
            Parcel::Ack { .. } | Parcel::Sibling { .. } => {}
        }
    }

    /// Answers what a dead actor owed: 500, DIAMETER_UNABLE_TO_COMPLY, nothing.
    fn default_on(self: &Rc<Self>, owed: Parcel) {
        self.telemetry.unanswered.inc();
        match owed {
            Parcel::Request { tx, request, .. } => self.failed(tx, &request),
            Parcel::Demand { tx, .. } => {
                self.answer_demand(tx, DemandAnswer::of(ResultCode::UNABLE_TO_COMPLY));
            }
            Parcel::Wish { ask, .. } => self.tell_nothing(ask),
            Parcel::Ack { .. } | Parcel::Sibling { .. } => {}
        }
    }

    /// An actor ended without leave: what it owed is answered, and its user starts again from its record when next wanted.
    pub(crate) fn crashed(self: &Rc<Self>, impi: Impi, duties: Rc<Duties>, armed: Option<Timestamp>) {
        self.telemetry.crashes.inc();
        tracing::error!(%impi, "a user's actor crashed");
        // While the stack unwinds nothing may be borrowed that the actor was using: others do it.
        let shell = Rc::clone(self);
        tokio::task::spawn_local(async move {
            shell.shards.leave(&impi, &duties);
            shell.count_crash(&impi);
            // The record's own deadline comes back with the next activation, at the latest then.
            shell.shards.rearm(&impi, armed, None);
            shell.retry_deadline(&impi);
            shell.cancel_all(&impi);
            shell.return_user(&impi);
            duties.default_on_all().into_iter().for_each(|owed| shell.default_on(owed));
            shell.look_whether_quiet(ShardId::of(impi.as_str()));
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

    /// Wakes the user soon, to look at its record.
    pub(super) fn look_after(&self, impi: &Impi) {
        self.retry_deadline(impi);
    }

    /// Ends the actor of a user who cannot stay.
    pub(super) fn send_away(&self, impi: &Impi) {
        if let Some((addr, _)) = self.shards.here(impi) {
            // One that has no room for this hears from the store that it cannot save.
            let _ = addr.try_send(Depart);
        }
    }

    /// Wakes the user again after a while, to look at its record's deadline; tells when.
    pub(super) fn retry_deadline(&self, impi: &Impi) -> Timestamp {
        let delay = if self.is_broken(impi) { MINUTE } else { 1_000 };
        let at = self.clock.now() + scscf::Span::from_millis(delay);
        self.shards.rearm(impi, None, Some(at));
        self.pace();
        at
    }

    /// Wakes users whose time has come, as many as others can bear with.
    pub(crate) fn wake_due(self: &Rc<Self>) -> Woken {
        let now = self.clock.now();
        for _ in 0..DUE_AT_ONCE {
            if self.shards.loading() >= LOADING_AT_ONCE {
                return Woken::AsManyAsCanBeLoaded;
            }
            let Some(impi) = self.shards.pop_due(now) else { return Woken::All };
            let place = self.place(ShardId::of(impi.as_str()));
            if self.loans.lender(&impi).is_some() {
                // It comes home with its deadline; if that was lost on the way, its turn comes here.
                self.retry_deadline(&impi);
            } else if self.shards.here(&impi).is_some() && place != Place::Suspended {
                self.deliver_answer(&impi, Event::Deadline);
            } else if self.is_broken(&impi) || self.is_full() || place == Place::Suspended {
                self.retry_deadline(&impi);
            } else if place == Place::Mine {
                self.deliver(&impi, Event::Deadline, None);
            }
        }
        Woken::Some
    }

    /// Lets the actors of silent users end; their records stay.
    pub(crate) async fn retire_silent(self: &Rc<Self>) {
        let limit = self.config.node.passivate_after.saturating_mul(1000);
        let now = self.clock.tick();
        let mut silent = Vec::new();
        for shard in &self.shards.shards {
            for (impi, resident) in &shard.borrow().residents {
                if let Resident::Here(addr, duties) = resident
                    && duties.is_idle()
                    && now.saturating_sub(duties.silent_since()) >= limit
                    && !self.recorder.is_watched(impi)
                {
                    silent.push(addr.clone());
                }
            }
        }
        for some in silent.chunks(LEAVING_AT_ONCE) {
            for addr in some {
                // A full mailbox means that it is not silent.
                let _ = addr.try_send(Retire);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
