//! One event after the other: step, save, then act. A save that fails is tried again; what happened is not undone for it.

use super::UserActor;
use crate::observe::Noting;
use actix::prelude::*;
use scscf::{AskTx, CxTx, Event, Outcome, Save, ServerTx, User};
use std::time::Duration;
use store::{Error, Pending, Write};

/// A step whose save is under way.
struct Step {
    outcome: Outcome,
    noting: Noting,
    write: Keep,
    before: Option<Box<Before>>,
    /// Until which tick its save is tried again.
    until: u64,
}

/// What the store is told.
#[derive(Clone, Copy)]
enum Keep {
    Nothing,
    /// Under this write id.
    Record(u64),
    Erasure,
}

/// A user before a step that the store may refuse.
struct Before {
    user: User,
    version: u64,
    /// What the step is to answer.
    asked: Asked,
}

/// An answer that a step owes.
#[derive(Clone, Copy)]
pub(crate) enum Asked {
    Sip(ServerTx),
    Cx(CxTx),
    Operator(AskTx),
    /// None: the step comes again.
    Nothing,
}

/// A failed save is tried again after so long.
const AGAIN: Duration = Duration::from_millis(100);

fn asked(event: &Event) -> Option<Asked> {
    match event {
        Event::Request { tx, .. } => Some(Asked::Sip(*tx)),
        Event::CxDemand { tx, .. } => Some(Asked::Cx(*tx)),
        Event::Reauthenticate { ask, .. } | Event::Deregister { ask, .. } => ask.map(Asked::Operator),
        Event::Ack { .. }
        | Event::Cancel { .. }
        | Event::Reply { .. }
        | Event::CxAnswer { .. }
        | Event::Sibling { .. } => None,
        Event::Deadline | Event::Resumed => Some(Asked::Nothing),
    }
}

impl UserActor {
    pub(super) fn happen(&mut self, event: Event, ctx: &mut Context<Self>) {
        let asked = asked(&event);
        // While the store fails, a user whom a step brings ahead of its record goes back to where it was. Of steps that answer
        // nobody nobody knows what to do without them.
        let before = asked
            .filter(|_| self.shell.membership.ailing_since().is_some())
            .map(|asked| Box::new(Before { user: self.user.clone(), version: self.version, asked }));
        let until = self.patience(asked);
        let noting = self.shell.note_before(&self.user, &event);
        let outcome = self.user.step(event, self.shell.clock.moment(), &self.shell.policy);
        let write = match outcome.save {
            Save::Unchanged => Keep::Nothing,
            Save::Snapshot => {
                self.version += 1;
                Keep::Record(rand::random())
            }
            Save::Erase if self.version == 0 => Keep::Nothing,
            Save::Erase => {
                self.version = 0;
                Keep::Erasure
            }
        };
        self.keep(Step { outcome, noting, write, before, until }, ctx);
    }

    /// Until which tick a save is worth another try.
    fn patience(&self, asked: Option<Asked>) -> u64 {
        let now = self.shell.clock.tick();
        match asked {
            // What others answered, or did, cannot be had once more.
            None => now + self.shell.config.cluster.hold,
            // A store that has been away for long gets no new work: whoever asks hears so at once.
            Some(Asked::Sip(_) | Asked::Cx(_) | Asked::Operator(_)) => self.shell.doubted_until(now),
            Some(Asked::Nothing) => now,
        }
    }

    fn keep(&mut self, step: Step, ctx: &mut Context<Self>) {
        match self.write(step.write) {
            Pending::Ready(saved) => self.saved(saved, step, ctx),
            // Nobody outside learns what the store does not know: mailbox and timers wait for the save.
            Pending::Later(saving) => {
                ctx.wait(saving.into_actor(self).map(move |saved, this, ctx| this.saved(saved, step, ctx)));
            }
        }
    }

    fn write(&self, keep: Keep) -> Pending<Result<(), Error>> {
        let (shell, impi) = (&self.shell, self.user.impi());
        let write = match keep {
            Keep::Nothing => return Pending::Ready(Ok(())),
            Keep::Record(write_id) => Some(Write { user: &self.user, version: self.version, write_id }),
            Keep::Erasure => None,
        };
        shell.telemetry.saves.inc();
        if let Some(owner) = self.lent_to {
            return shell.keep_abroad(owner, impi, write);
        }
        if shell.shards.term(self.shard) != self.term {
            // The shard went away meanwhile, and may have come back.
            return Pending::Ready(Err(Error::Fenced));
        }
        shell.as_owner(self.shard, |store, fence| match write {
            Some(write) => store.save(self.shard, fence, write),
            None => store.erase(self.shard, fence, impi),
        })
    }

    fn saved(&mut self, saved: Result<(), Error>, step: Step, ctx: &mut Context<Self>) {
        if let Err(error) = saved {
            return self.not_saved(&error, step, ctx);
        }
        let Step { outcome, noting, .. } = step;
        self.shell.note_after(noting, &self.user, &outcome);
        self.count_sessions(self.user.summary().sessions);
        let Outcome { save, effects, .. } = outcome;
        self.shell.perform(self.user.impi(), &self.duties, effects);
        self.shell.take_own();
        let next = self.user.next_deadline();
        if next != self.armed {
            self.shell.shards.rearm(self.user.impi(), self.armed, next);
            self.armed = next;
            self.shell.pace();
        }
        let is_over = save == Save::Erase && self.duties.queued() == 0;
        let shall_leave = self.lent_to.is_some() || self.shell.shards.is_leaving(self.shard);
        if is_over || (shall_leave && self.duties.is_idle()) {
            self.end(ctx);
        }
    }

    /// The same save under the same id is tried again, for it may have been done. After that it has not happened.
    fn not_saved(&mut self, error: &Error, step: Step, ctx: &mut Context<Self>) {
        self.shell.store_failed(self.user.impi(), error);
        let is_away = matches!(error, Error::Unavailable(_));
        if is_away && self.shell.clock.tick() < step.until && !self.shell.stopped.get() {
            self.shell.telemetry.saved_again.inc();
            let pause = tokio::time::sleep(AGAIN).into_actor(self);
            ctx.wait(pause.map(move |(), this, ctx| this.keep(step, ctx)));
            return;
        }
        match step.before.filter(|_| is_away) {
            Some(before) => self.go_back(*before),
            // The user in memory is ahead of its record: it is dropped, not repaired.
            None => {
                self.lose(matches!(error, Error::Fenced | Error::Outdated), ctx);
                // Its deadline may have passed with this very step.
                self.shell.retry_deadline(self.user.impi());
            }
        }
        self.shell.take_own();
    }

    /// What the store did not take has not happened: whoever asked for it hears so, and the user is who it was.
    fn go_back(&mut self, Before { user, version, asked }: Before) {
        self.user = user;
        self.version = version;
        self.duties.take(asked).into_iter().for_each(|owed| self.shell.decline(owed));
        if matches!(asked, Asked::Nothing) {
            self.armed = Some(self.shell.retry_deadline(self.user.impi()));
        }
    }
}
