//! The whole shell of a user.

mod step;

pub(crate) use step::Asked;

use super::duties::{Duties, Stay};
use super::link::Slot;
use crate::shell::Shell;
use actix::prelude::*;
use scscf::view::View;
use scscf::{Event, Reply, Timestamp, User};
use std::rc::Rc;
use store::ShardId;
use tokio::sync::oneshot;

/// One private user identity.
pub(crate) struct UserActor {
    shell: Rc<Shell>,
    user: User,
    shard: ShardId,
    /// Which of our times with the shard it is; in another one its record may be another.
    term: u64,
    /// Of the record; 0 while there is none.
    version: u64,
    duties: Rc<Duties>,
    armed: Option<Timestamp>,
    /// Its sessions, as far as they are counted.
    sessions: i64,
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
            let term = shell.shards.term(shard);
            Self {
                shell,
                user,
                shard,
                term,
                version,
                duties,
                armed: None,
                sessions: 0,
                lent_to: None,
                leaving: false,
            }
        })
    }

    /// It has so many sessions now.
    fn count_sessions(&mut self, now: usize) {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        if now != self.sessions {
            self.shell.telemetry.sessions.inc_by(now - self.sessions);
            self.sessions = now;
        }
    }

    /// Ends with something unanswered: it is brought to whoever owns the user now, or declined.
    fn lose(&mut self, elsewhere: bool, ctx: &mut Context<Self>) {
        self.leaving = true;
        let impi = self.user.impi().clone();
        self.shell.shards.leave(&impi, &self.duties);
        ctx.stop();
        // What it sent rings for nobody.
        self.shell.cancel_all(&impi);
        self.shell.return_user(&impi);
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
        self.shell.shards.leave(self.user.impi(), &self.duties);
        let owed = self.duties.default_on_all();
        owed.into_iter().for_each(|owed| self.shell.decline(owed));
        ctx.stop();
        self.shell.return_user(self.user.impi());
        self.shell.look_whether_quiet(self.shard);
    }
}

impl Actor for UserActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.version > 0 {
            self.shell.cx.share_criteria(&mut self.user);
            self.count_sessions(self.user.summary().sessions);
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
        if self.leaving {
            return;
        }
        if self.duties.is_idle() {
            self.end(ctx);
        } else {
            self.lose(true, ctx);
        }
    }
}

impl Drop for UserActor {
    fn drop(&mut self) {
        self.count_sessions(0);
        if !self.leaving && !self.shell.stopped.get() {
            self.shell.crashed(self.user.impi().clone(), Rc::clone(&self.duties), self.armed);
        }
    }
}
