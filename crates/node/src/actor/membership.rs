//! This node as a member: runs the state machine of ownership and does what it says.

use super::link::Slot;
use crate::config::Config;
use crate::shell::Shell;
use cluster::{Fence, Input, Member, Output, Ownership, Timing, Whose};
use scscf::Impi;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use store::{Error, Leases, Pending, ShardId, Store};

/// Who is there and who owns what.
pub(crate) struct Membership {
    pub(crate) ownership: RefCell<Ownership>,
    ttl: u64,
    /// Since which tick the store fails: users are kept as they were before each step.
    ailing: Cell<Option<u64>>,
    drained: Cell<bool>,
    /// What happened and has not been told yet.
    inputs: RefCell<VecDeque<Input>>,
    busy: Cell<bool>,
}

/// Where a shard is, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Here.
    Mine,
    /// Here, but nothing that must be saved can be promised.
    Suspended,
    /// Here, until those who are busy are not any more.
    Leaving,
    /// At this peer.
    At(Slot),
    /// Nowhere for now.
    Nowhere,
}

/// Whatever happens, the state machine goes on afterwards.
struct Busy<'a>(&'a Cell<bool>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// A lease of a store that nobody shares lapses only for the sake of the rules, milliseconds.
const UNSHARED: u64 = 60_000;
/// What was written lately is sent again so often while the store does not take it,
const RESTORES: u32 = 20;
/// with such a pause.
const BETWEEN_RESTORES: Duration = Duration::from_millis(250);

impl Membership {
    pub(crate) fn new(config: &Config, store: &dyn Store, me: Member, now: u64) -> Self {
        let leases = store.leases();
        let group_of = ShardId::all().map(|shard| leases.group_of(shard)).collect();
        let ttl = if config.store.kind == "redis" { config.cluster.lease } else { UNSHARED };
        let timing = Timing { ttl, beat: (ttl / 4).min(500), margin: ttl / 5, ..Timing::default() };
        Self {
            ownership: RefCell::new(Ownership::new(me, group_of, timing, now)),
            ttl,
            ailing: Cell::new(None),
            drained: Cell::new(false),
            inputs: RefCell::default(),
            busy: Cell::new(false),
        }
    }

    /// Since which tick the store fails, if it does.
    pub(crate) fn ailing_since(&self) -> Option<u64> {
        self.ailing.get()
    }

    /// Whether this node gave everything away.
    pub(crate) fn is_drained(&self) -> bool {
        self.drained.get()
    }
}

impl Shell {
    /// Where a shard is now.
    pub(crate) fn place(&self, shard: ShardId) -> Place {
        let ownership = self.membership.ownership.borrow();
        match ownership.whose(shard, self.clock.tick()) {
            Whose::Mine(_) => Place::Mine,
            Whose::Suspended(_) => Place::Suspended,
            Whose::Leaving(_) => Place::Leaving,
            Whose::Theirs(member) => match self.links.slot(&member.node, member.incarnation) {
                Some(slot) => Place::At(slot),
                None => Place::Nowhere,
            },
            Whose::Nobody => Place::Nowhere,
        }
    }

    /// How many shards are here.
    pub(crate) fn own_shards(&self) -> usize {
        ShardId::all().filter(|shard| !matches!(self.place(*shard), Place::At(_) | Place::Nowhere)).count()
    }

    /// Writes as the owner of a shard.
    pub(crate) fn as_owner(
        &self,
        shard: ShardId,
        write: impl FnOnce(&dyn Store, &Fence) -> Pending<Result<(), Error>>,
    ) -> Pending<Result<(), Error>> {
        let ownership = self.membership.ownership.borrow();
        match ownership.whose(shard, self.clock.tick()) {
            Whose::Mine(fence) | Whose::Leaving(fence) => write(&*self.store, fence),
            Whose::Suspended(_) => {
                Pending::Ready(Err(Error::Unavailable("the lease may have lapsed".into())))
            }
            Whose::Theirs(_) | Whose::Nobody => Pending::Ready(Err(Error::Fenced)),
        }
    }

    /// The store did not do what a user asked of it.
    pub(crate) fn store_failed(self: &Rc<Self>, impi: &Impi, error: &Error) {
        self.telemetry.store_failures.inc();
        match error {
            Error::Fenced | Error::Outdated => {
                tracing::warn!(%impi, "{error}");
                let shard = ShardId::of(impi.as_str());
                let fence = match self.membership.ownership.borrow().whose(shard, self.clock.tick()) {
                    Whose::Mine(fence) | Whose::Suspended(fence) | Whose::Leaving(fence) => {
                        Some(fence.clone())
                    }
                    Whose::Theirs(_) | Whose::Nobody => None,
                };
                if let Some(fence) = fence {
                    self.own(Input::Fenced { shard, fence });
                }
            }
            Error::Unavailable(_) => {
                if self.store_ails() {
                    tracing::error!(%impi, %error, "store");
                }
            }
            Error::Corrupt(_) | Error::Settings(_) => tracing::error!(%impi, %error, "store"),
        }
    }

    /// The store does not do what is asked of it; tells whether that is new.
    fn store_ails(&self) -> bool {
        let since = self.membership.ailing.get();
        self.membership.ailing.set(since.or(Some(self.clock.tick())));
        since.is_none()
    }

    /// Until which tick a store that fails may be expected back by whoever waits: for the time of a lease it may be a hiccup.
    pub(crate) fn doubted_until(&self, now: u64) -> u64 {
        self.membership.ailing.get().unwrap_or(now) + self.config.cluster.lease
    }

    /// The store does what is asked of it.
    pub(crate) fn store_works(&self) {
        if self.membership.ailing.take().is_some() {
            tracing::info!("the store works again");
        }
    }

    /// Tells the state machine what happened, and does what it says. What happens meanwhile comes next.
    pub(crate) fn own(self: &Rc<Self>, input: Input) {
        let membership = &self.membership;
        membership.inputs.borrow_mut().push_back(input);
        if membership.busy.replace(true) {
            return;
        }
        let busy = Busy(&membership.busy);
        let mut out = Vec::new();
        let mut has_moved = false;
        loop {
            let Some(input) = membership.inputs.borrow_mut().pop_front() else { break };
            has_moved |= matches!(&input, Input::Beaten { beat: Some(beat), .. } if beat.owners.is_some());
            membership.ownership.borrow_mut().step(input, self.clock.tick(), &mut out);
            for output in out.drain(..) {
                has_moved |= matches!(output, Output::Begin { .. } | Output::End { .. } | Output::Members(_));
                self.carry_out_ownership(output);
            }
        }
        drop(busy);
        if has_moved {
            self.owners_changed();
        }
        self.pace();
    }

    fn carry_out_ownership(self: &Rc<Self>, output: Output) {
        match output {
            Output::Beat { group, mut member, known } => {
                member.users = u64::try_from(self.telemetry.users.get()).unwrap_or(0);
                let sent = self.clock.tick();
                let beating = self.leases().beat(group, &member, self.membership.ttl, known);
                self.then(beating, move |shell, beat| {
                    let beat = match beat {
                        Ok(beat) => {
                            shell.store_works();
                            Some(beat)
                        }
                        Err(error) => {
                            tracing::debug!(group, %error, "the lease was not renewed");
                            shell.store_ails();
                            shell.telemetry.store_failures.inc();
                            None
                        }
                    };
                    shell.own(Input::Beaten { group, sent, beat });
                });
            }
            Output::Take { group, claims } => {
                let me = self.membership.ownership.borrow().me().clone();
                let taking = self.leases().take(group, &me, &claims);
                self.then(taking, move |shell, taken| {
                    let input = match taken {
                        Ok(taken) => {
                            let shards = claims.into_iter().map(|claim| claim.shard);
                            Input::Taken { group, taken: shards.zip(taken).collect() }
                        }
                        Err(error) => {
                            tracing::debug!(group, %error, "no shard was taken");
                            Input::NotTaken { group }
                        }
                    };
                    shell.own(input);
                });
            }
            Output::Begin { shard, .. } => self.begin_shard(shard),
            Output::HandOver { shard, fence, to } => self.leave_shard(shard, fence, to),
            Output::End { shard, .. } => self.end_shard(shard),
            Output::Release { group, shards } => {
                let releasing = self.leases().release(group, &shards);
                self.then(releasing, move |shell, released| {
                    let done = released.is_ok();
                    shell.own(Input::Released { group, done });
                    if done {
                        shell.tell_peers(&crate::word::Word::Changed);
                    }
                });
            }
            Output::Restored { group, shards } => {
                tracing::warn!(
                    group,
                    shards = shards.len(),
                    "the store may have lost its last writes; they are sent again"
                );
                self.restore(group, shards, RESTORES);
            }
            Output::Members(members) => self.links.keep(&members),
            Output::Drained => self.membership.drained.set(true),
            Output::Replaced => {
                tracing::error!(
                    node = self.config.node.id,
                    "another process runs under the name of this node; this one owns nothing any more"
                );
            }
        }
    }

    fn restore(self: &Rc<Self>, group: u16, shards: Vec<(ShardId, Fence)>, tries: u32) {
        let restoring = self.leases().restore(group, &shards);
        self.then(restoring, move |shell, restored| {
            if tries == RESTORES || restored.is_ok() {
                shards.iter().for_each(|(shard, _)| shell.read_deadlines_again(*shard));
            }
            let Err(error) = restored else { return };
            tracing::warn!(group, %error, tries, "what was written lately could not be sent again");
            if tries > 0 {
                let shell = Rc::clone(shell);
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(BETWEEN_RESTORES).await;
                    shell.restore(group, shards, tries - 1);
                });
            }
        });
    }

    fn leases(&self) -> &dyn Leases {
        self.store.leases()
    }

    /// Goes on when the store has answered: at once if it has already.
    pub(crate) fn then<T: 'static>(
        self: &Rc<Self>,
        pending: Pending<T>,
        go_on: impl FnOnce(&Rc<Self>, T) + 'static,
    ) {
        match pending {
            Pending::Ready(answer) => go_on(self, answer),
            Pending::Later(answer) => {
                let shell = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    let answer = answer.await;
                    go_on(&shell, answer);
                });
            }
        }
    }

    /// Gives back what is left, and ends the leases: whoever comes next need not wait for them to lapse.
    pub(crate) async fn take_leave(self: &Rc<Self>) {
        let me = self.membership.ownership.borrow().me().clone();
        let groups = self.leases().groups();
        let mut left: Vec<Vec<(ShardId, Fence)>> = vec![Vec::new(); usize::from(groups)];
        for (shard, fence) in self.membership.ownership.borrow().owners() {
            if me.holds(fence)
                && let Some(group) = left.get_mut(usize::from(self.leases().group_of(shard)))
            {
                group.push((shard, fence.clone()));
            }
        }
        for (group, shards) in (0..groups).zip(left) {
            let released = self.leases().release(group, &shards).wait().await;
            let left = self.leases().leave(group, &me).wait().await;
            if let Err(error) = released.and(left) {
                tracing::warn!(group, %error, "no leave was taken; the lease lapses by itself");
            }
        }
    }
}
