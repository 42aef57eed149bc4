//! Shards come and go: what this node does when it becomes an owner, hands over, or is one no longer.

use super::duties::Stay;
use super::link::Slot;
use super::residents::{Leaving, Stage};
use super::user::{Depart, Leave, Lend};
use crate::shell::Shell;
use crate::word::Word;
use cluster::{Fence, Input, Whose};
use scscf::{Impi, Timestamp};
use std::rc::Rc;
use store::{Error, ShardId};

impl Shell {
    /// This node owns a shard from now on: users come when they are wanted, but their deadlines are kept.
    pub(super) fn begin_shard(self: &Rc<Self>, shard: ShardId) {
        let reading = self.store.deadlines(shard);
        self.then(reading, move |shell, read| shell.took_deadlines(shard, read));
    }

    /// The store may have lost its last writes: what it has for deadlines now counts as well.
    pub(super) fn read_deadlines_again(self: &Rc<Self>, shard: ShardId) {
        let reading = self.store.deadlines(shard);
        self.then(reading, move |shell, read| {
            if let Ok(deadlines) = read {
                shell.shards.add_deadlines(shard, deadlines);
                shell.pace();
            }
        });
    }

    fn took_deadlines(self: &Rc<Self>, shard: ShardId, read: Result<Vec<(Timestamp, Impi)>, Error>) {
        let is_mine = matches!(
            self.membership.ownership.borrow().whose(shard, self.clock.tick()),
            Whose::Mine(_) | Whose::Suspended(_)
        );
        if !is_mine {
            return;
        }
        match read {
            Ok(deadlines) => {
                self.telemetry.users.inc_by(self.shards.begin(shard, deadlines));
                self.pace();
            }
            Err(error) => {
                tracing::warn!(%shard, %error, "the deadlines of a shard cannot be read; once more");
                let shell = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    shell.begin_shard(shard);
                });
            }
        }
    }

    /// The shard will be another node's: users leave between two messages, and those who are busy are lent to it.
    pub(super) fn leave_shard(self: &Rc<Self>, shard: ShardId, fence: Fence, to: Box<str>) {
        let since = self.clock.tick();
        self.shards.set_leaving(shard, Some(Leaving { fence, to, since, stage: Stage::Asked }));
        self.ask_to_leave(shard);
        self.look_whether_quiet(shard);
    }

    fn ask_to_leave(&self, shard: ShardId) {
        for addr in self.shards.actors(shard) {
            // One that has no room for this is asked again.
            let _ = addr.try_send(Leave);
        }
    }

    /// A user of a shard that is being left ended, or said that it is busy, or is lent.
    pub(super) fn look_whether_quiet(self: &Rc<Self>, shard: ShardId) {
        let Some((to, stage)) = self.shards.stage(shard) else { return };
        let all = |stay: Stay| self.shards.all_stand(shard, stay);
        match stage {
            _ if self.shards.is_deserted(shard) => self.give_up(shard),
            Stage::Asked if all(Stay::Busy) => {
                let users = self.shards.names(shard);
                if let Some(heir) = self.member_slot(&to)
                    && self.say(heir, &Word::Lend { shard, users })
                {
                    self.shards.set_stage(shard, Stage::Offered(heir));
                }
            }
            Stage::Lending(heir) if all(Stay::Lent) => {
                for impi in self.shards.names(shard) {
                    self.loans.lend(impi, heir);
                    self.telemetry.lent.inc();
                }
                self.give_up(shard);
            }
            Stage::Asked | Stage::Offered(_) | Stage::Lending(_) => {}
        }
    }

    fn give_up(self: &Rc<Self>, shard: ShardId) {
        if let Some(Leaving { fence, stage, .. }) = self.shards.set_leaving(shard, None) {
            self.settle_loans(shard, stage);
            self.end_watches(shard);
            self.telemetry.users.dec_by(self.shards.end(shard));
            self.own(Input::Quiet { shard, fence });
        }
    }

    /// Tells the heir who was lent to it in the end: who was offered may have ended since.
    fn settle_loans(&self, shard: ShardId, stage: Stage) {
        let (Stage::Offered(heir) | Stage::Lending(heir)) = stage else { return };
        let names = self.shards.names(shard).into_iter();
        let users = names.filter(|impi| self.loans.owner(impi) == Some(heir)).collect();
        self.say(heir, &Word::Lend { shard, users });
    }

    fn end_watches(&self, shard: ShardId) {
        let is_gone = |impi: &Impi| ShardId::of(impi.as_str()) == shard && self.loans.owner(impi).is_none();
        self.recorder.end_watches(is_gone);
    }

    /// The heir of a shard has its busy users on loan.
    pub(super) fn heir_agrees(self: &Rc<Self>, from: Slot, shard: ShardId) {
        if self.shards.stage(shard).is_some_and(|(_, stage)| stage == Stage::Offered(from)) {
            self.shards.set_stage(shard, Stage::Lending(from));
            for addr in self.shards.actors(shard) {
                let _ = addr.try_send(Lend(from));
            }
            self.look_whether_quiet(shard);
        }
    }

    fn member_slot(&self, node: &str) -> Option<Slot> {
        let ownership = self.membership.ownership.borrow();
        let member = ownership.members().iter().find(|member| *member.node == *node)?;
        self.links.slot(&member.node, member.incarnation).filter(|slot| self.links.is_up(*slot))
    }

    /// Asks again those who had no room to be asked, and sends everybody away if it takes too long.
    pub(crate) fn press_leavers(self: &Rc<Self>) {
        let now = self.clock.tick();
        for (shard, since) in self.shards.leaving() {
            let is_late = now.saturating_sub(since) >= self.config.cluster.hold / 2;
            for addr in self.shards.actors(shard) {
                let _ = match self.shards.stage(shard) {
                    _ if is_late => addr.try_send(Depart).is_ok(),
                    Some((_, Stage::Lending(heir))) => addr.try_send(Lend(heir)).is_ok(),
                    Some((_, Stage::Asked)) => addr.try_send(Leave).is_ok(),
                    Some((_, Stage::Offered(_))) | None => true,
                };
            }
            self.look_whether_quiet(shard);
        }
    }

    /// The shard is another node's: whoever was here ends without a word.
    #[allow(clippy::disallowed_methods, reason = "one to each actor, which is not here for anybody else")]
    pub(super) fn end_shard(self: &Rc<Self>, shard: ShardId) {
        if let Some(Leaving { stage, .. }) = self.shards.set_leaving(shard, None) {
            self.settle_loans(shard, stage);
        }
        self.end_watches(shard);
        for addr in self.shards.evict(shard, |impi| self.loans.owner(impi).is_some()) {
            addr.do_send(Depart);
        }
        self.telemetry.users.dec_by(self.shards.end(shard));
    }
}

#[cfg(test)]
mod tests;
