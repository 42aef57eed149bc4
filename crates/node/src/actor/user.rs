//! The whole shell of a user: step, save, then act.

use super::duties::{Duties, Stay};
use super::link::Slot;
use crate::shell::Shell;
use actix::prelude::*;
use scscf::view::View;
use scscf::{AskTx, CxTx, Effect, Event, Outcome, Reply, Save, ServerTx, Timestamp, User};
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
    /// The owner of its shard, while it is on loan there.
    lent_to: Option<Slot>,
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

/// Its shard goes to another node: it ends if nothing is going on, and says that it is busy if something is.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Leave;

/// Its shard goes to this node, which saves what it changes from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Lend(pub(crate) Slot);

/// It ends: its shard is another node's.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Depart;

impl UserActor {
    pub(crate) fn begin(shell: Rc<Shell>, user: User, version: u64, duties: Rc<Duties>) -> Addr<Self> {
        let shard = ShardId::of(user.impi().as_str());
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(shell.config.limits.mailbox);
            Self { shell, user, shard, version, duties, armed: None, lent_to: None, leaving: false }
        })
    }

    fn happen(&mut self, event: Event, ctx: &mut Context<Self>) {
        // While the store fails, a user whom a step brings ahead of its record goes back to where it was.
        let before = self.shell.membership.is_ailing().then(|| {
            Box::new(Before { user: self.user.clone(), version: self.version, asked: asked(&event) })
        });
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
                match self.lent_to {
                    None => {
                        self.shell.as_owner(self.shard, |store, fence| store.save(self.shard, fence, write))
                    }
                    Some(owner) => self.shell.keep_abroad(owner, self.user.impi(), Some(write)),
                }
            }
            Save::Erase if self.version == 0 => Pending::Ready(Ok(())),
            Save::Erase => {
                self.version = 0;
                self.shell.telemetry.saves.inc();
                let impi = self.user.impi();
                match self.lent_to {
                    None => {
                        self.shell.as_owner(self.shard, |store, fence| store.erase(self.shard, fence, impi))
                    }
                    Some(owner) => self.shell.keep_abroad(owner, impi, None),
                }
            }
        };
        match saved {
            Pending::Ready(saved) => self.saved(saved, save, effects, before, ctx),
            // Nobody outside learns what the store does not know: mailbox and timers wait for the save.
            Pending::Later(saving) => ctx.wait(
                saving
                    .into_actor(self)
                    .map(move |saved, this, ctx| this.saved(saved, save, effects, before, ctx)),
            ),
        }
    }

    fn saved(
        &mut self,
        saved: Result<(), Error>,
        save: Save,
        effects: Vec<Effect>,
        before: Option<Box<Before>>,
        ctx: &mut Context<Self>,
    ) {
        if let Err(error) = saved {
            self.shell.store_failed(self.user.impi(), &error);
            match before.filter(|_| matches!(error, Error::Unavailable(_))) {
                Some(before) => self.go_back(*before, ctx),
                // The user in memory is ahead of its record: it is dropped, not repaired.
                None => self.lose(error == Error::Fenced, ctx),
            }
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
        let is_over = save == Save::Erase && self.duties.queued() == 0;
        let shall_leave = self.lent_to.is_some() || self.shell.shards.is_leaving(self.shard);
        if is_over || (shall_leave && self.duties.is_idle()) {
            self.end(ctx);
        }
    }

    /// What the store did not take has not happened: whoever asked for it hears so, and the user is who it was.
    fn go_back(&mut self, before: Before, ctx: &mut Context<Self>) {
        let Before { user, version, asked } = before;
        let Some(asked) = asked else { return self.lose(false, ctx) };
        self.user = user;
        self.version = version;
        self.duties.take(asked).into_iter().for_each(|owed| self.shell.decline(owed));
        if matches!(asked, Asked::Nothing) {
            self.armed = Some(self.shell.retry_deadline(self.user.impi()));
        }
    }

    /// Ends with something unanswered: it is brought to whoever owns the user now, or declined.
    fn lose(&mut self, elsewhere: bool, ctx: &mut Context<Self>) {
        self.leaving = true;
        let impi = self.user.impi().clone();
        self.shell.shards.leave(&impi);
        ctx.stop();
        // What it sent rings for nobody.
        self.shell.cancel_all(&impi);
        self.shell.return_user(&impi);
        if !elsewhere {
            // Its deadline may have passed with this very step.
            self.shell.retry_deadline(&impi);
        }
        for owed in self.duties.default_on_all() {
            if elsewhere {
                self.shell.bring_elsewhere(impi.clone(), owed);
            } else {
                self.shell.decline(owed);
            }
        }
        self.shell.look_whether_quiet(self.shard);
    }

    fn end(&mut self, ctx: &mut Context<Self>) {
        self.leaving = true;
        self.shell.shards.leave(self.user.impi());
        let owed = self.duties.default_on_all();
        owed.into_iter().for_each(|owed| self.shell.decline(owed));
        ctx.stop();
        self.shell.return_user(self.user.impi());
        self.shell.look_whether_quiet(self.shard);
    }
}

/// A user before a step that the store may refuse.
struct Before {
    user: User,
    version: u64,
    /// What the step is to answer; of other steps nobody knows what to do without them.
    asked: Option<Asked>,
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

impl Handler<Leave> for UserActor {
    type Result = ();

    fn handle(&mut self, Leave: Leave, ctx: &mut Self::Context) {
        if self.leaving {
            return;
        }
        if self.duties.is_idle() {
            self.end(ctx);
        } else if self.duties.stay() == Stay::Unasked {
            self.duties.set_stay(Stay::Busy);
            self.shell.look_whether_quiet(self.shard);
        }
    }
}

impl Handler<Lend> for UserActor {
    type Result = ();

    fn handle(&mut self, Lend(to): Lend, ctx: &mut Self::Context) {
        if self.leaving {
            return;
        }
        if self.duties.is_idle() {
            self.end(ctx);
        } else {
            self.lent_to = Some(to);
            self.duties.set_stay(Stay::Lent);
            self.shell.look_whether_quiet(self.shard);
        }
    }
}

impl Handler<Depart> for UserActor {
    type Result = ();

    fn handle(&mut self, Depart: Depart, ctx: &mut Self::Context) {
        if !self.leaving {
            self.lose(true, ctx);
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
