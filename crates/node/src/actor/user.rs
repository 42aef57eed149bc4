//! The whole shell of a user: step, save, then act.

use super::duties::Duties;
use crate::shell::Shell;
use actix::prelude::*;
use scscf::view::View;
use scscf::{Effect, Event, Outcome, Reply, Save, Timestamp, User};
use std::rc::Rc;
use store::{Error, Pending, ShardId, Write};
use tokio::sync::oneshot;

/// One private user identity.
pub(crate) struct UserActor {
    shell: Rc<Shell>,
    user: User,
    shard: ShardId,
    /// Of the record; 0 while there is none.
    version: u64,
    duties: Rc<Duties>,
    armed: Option<Timestamp>,
    /// It ends with leave; an actor that is dropped without has crashed.
    leaving: bool,
}

/// Something happened to this user.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Happen(pub(crate) Event);

/// An operator wants to see it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Show(pub(crate) oneshot::Sender<View>);

/// It may end if nothing is going on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Retire;

impl UserActor {
    pub(crate) fn begin(shell: Rc<Shell>, user: User, version: u64, duties: Rc<Duties>) -> Addr<Self> {
        let shard = ShardId::of(user.impi().as_str());
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(shell.config.limits.mailbox);
            Self { shell, user, shard, version, duties, armed: None, leaving: false }
        })
    }

    fn happen(&mut self, event: Event, ctx: &mut Context<Self>) {
        let noting = self.shell.note_before(&self.user, &event);
        let outcome = self.user.step(event, self.shell.clock.moment(), &self.shell.policy);
        self.shell.note_after(noting, &self.user, &outcome);
        let Outcome { save, effects, .. } = outcome;
        let saved = match save {
            Save::Unchanged => Pending::Ready(Ok(())),
            Save::Snapshot => {
                self.version += 1;
                let write = Write { user: &self.user, version: self.version, write_id: rand::random() };
                self.shell.telemetry.saves.inc();
                self.shell.store.save(self.shard, &self.shell.fence, write)
            }
            Save::Erase if self.version == 0 => Pending::Ready(Ok(())),
            Save::Erase => {
                self.version = 0;
                self.shell.telemetry.saves.inc();
                self.shell.store.erase(self.shard, &self.shell.fence, self.user.impi())
            }
        };
        match saved {
            Pending::Ready(saved) => self.saved(saved, save, effects, ctx),
            // Nobody outside learns what the store does not know: mailbox and timers wait for the save.
            Pending::Later(saving) => ctx.wait(
                saving.into_actor(self).map(move |saved, this, ctx| this.saved(saved, save, effects, ctx)),
            ),
        }
    }

    fn saved(&mut self, saved: Result<(), Error>, save: Save, effects: Vec<Effect>, ctx: &mut Context<Self>) {
        if let Err(error) = saved {
            // The user in memory is ahead of its record: it is dropped, not repaired.
            self.shell.store_failed(self.user.impi(), &error);
            self.end(ctx);
            // What it sent rings for nobody.
            self.shell.cancel_all(self.user.impi());
            self.shell.take_own();
            return;
        }
        self.shell.perform(self.user.impi(), &self.duties, effects);
        self.shell.take_own();
        let next = self.user.next_deadline();
        if next != self.armed {
            self.shell.shards.rearm(self.user.impi(), self.armed, next);
            self.armed = next;
            self.shell.pace();
        }
        if save == Save::Erase && self.duties.queued() == 0 {
            self.end(ctx);
        }
    }

    fn end(&mut self, ctx: &mut Context<Self>) {
        self.leaving = true;
        self.shell.shards.leave(self.user.impi());
        let owed = self.duties.default_on_all();
        owed.into_iter().for_each(|owed| self.shell.decline(owed));
        ctx.stop();
    }
}

impl Actor for UserActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.version > 0 {
            self.shell.cx.share_criteria(&mut self.user);
            self.armed = self.user.next_deadline();
            self.shell.shards.rearm(self.user.impi(), None, self.armed);
            self.happen(Event::Resumed, ctx);
        }
    }
}

impl Handler<Happen> for UserActor {
    type Result = ();

    fn handle(&mut self, Happen(event): Happen, ctx: &mut Self::Context) {
        self.duties.unqueue();
        if self.leaving {
            return;
        }
        match event {
            Event::Reply { reply: Reply::Response(ref response), .. }
                if response.status().is_provisional() => {}
            Event::Reply { .. } | Event::CxAnswer { .. } => self.duties.told(),
            // It is out of the queue already.
            Event::Deadline => self.armed = None,
            Event::Request { .. }
            | Event::Ack { .. }
            | Event::Cancel { .. }
            | Event::CxDemand { .. }
            | Event::Reauthenticate { .. }
            | Event::Deregister { .. }
            | Event::Sibling { .. }
            | Event::Resumed => {}
        }
        self.happen(event, ctx);
    }
}

impl Handler<Show> for UserActor {
    type Result = ();

    fn handle(&mut self, Show(to): Show, _: &mut Self::Context) {
        // Whoever asked may have gone.
        let _ = to.send(self.user.view());
    }
}

impl Handler<Retire> for UserActor {
    type Result = ();

    fn handle(&mut self, Retire: Retire, ctx: &mut Self::Context) {
        if !self.leaving && self.duties.is_idle() {
            self.shell.telemetry.passivated.inc();
            self.end(ctx);
        }
    }
}

impl Drop for UserActor {
    fn drop(&mut self) {
        if !self.leaving && !self.shell.stopped.get() {
            self.shell.crashed(self.user.impi().clone(), Rc::clone(&self.duties), self.armed);
        }
    }
}
