//! Who is here: the users of each shard, their deadlines, and how far shards are that are on their way to other nodes.

use super::duties::{Duties, Stay};
use super::link::Slot;
use super::shard::Crashes;
use super::user::UserActor;
use actix::Addr;
use ahash::AHashMap;
use cluster::Fence;
use scscf::{Event, Impi, Timestamp};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use store::ShardId;

/// The users of the shards that this node owns.
pub(crate) struct Shards {
    pub(super) shards: Box<[RefCell<Shard>]>,
    /// Those whose users are to leave.
    leaving: RefCell<BTreeSet<ShardId>>,
    /// Each shard that has a deadline, with its first.
    due: RefCell<BTreeSet<(Timestamp, ShardId)>>,
    /// Actors that live, and users who are being loaded.
    residents: Cell<usize>,
    /// Users on their way from the store.
    loading: Cell<usize>,
    pub(super) crashes: RefCell<AHashMap<Impi, Crashes>>,
}

#[derive(Default)]
pub(super) struct Shard {
    pub(super) residents: AHashMap<Impi, Resident>,
    deadlines: BTreeSet<(Timestamp, Impi)>,
    /// How often it has ended here.
    term: u64,
    /// Registered users, as far as they are counted.
    registered: i64,
    /// Its users are to leave, for an owner to come.
    leaving: Option<Leaving>,
}

/// How far a shard is on its way to another node.
pub(super) struct Leaving {
    pub(super) fence: Fence,
    /// The node that will most likely have it.
    pub(super) to: Box<str>,
    /// Since which tick.
    pub(super) since: u64,
    pub(super) stage: Stage,
}

/// What its users have been asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// To end, or to say that they are busy.
    Asked,
    /// The heir has been asked to have the busy ones on loan.
    Offered(Slot),
    /// The busy ones have been told whom they are lent to.
    Lending(Slot),
}

pub(super) enum Resident {
    Here(Addr<UserActor>, Rc<Duties>),
    Loading(Rc<Duties>, Vec<Event>),
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            shards: ShardId::all().map(|_| RefCell::default()).collect(),
            leaving: RefCell::default(),
            due: RefCell::default(),
            residents: Cell::new(0),
            loading: Cell::new(0),
            crashes: RefCell::default(),
        }
    }
}

impl Shards {
    /// Actors that live.
    pub(crate) fn residents(&self) -> usize {
        self.residents.get()
    }

    /// Users on their way from the store.
    pub(super) fn loading(&self) -> usize {
        self.loading.get()
    }

    pub(super) fn begin_loading(&self) {
        self.loading.set(self.loading.get() + 1);
    }

    pub(super) fn end_loading(&self) {
        self.loading.set(self.loading.get().saturating_sub(1));
    }

    pub(super) fn shard(&self, shard: ShardId) -> &RefCell<Shard> {
        &self.shards[usize::from(shard.number())]
    }

    pub(super) fn of(&self, impi: &Impi) -> &RefCell<Shard> {
        self.shard(ShardId::of(impi.as_str()))
    }

    pub(crate) fn here(&self, impi: &Impi) -> Option<(Addr<UserActor>, Rc<Duties>)> {
        match self.of(impi).borrow().residents.get(impi)? {
            Resident::Here(addr, duties) => Some((addr.clone(), Rc::clone(duties))),
            Resident::Loading(..) => None,
        }
    }

    /// Whether its actor lives, or will in a moment.
    pub(crate) fn is_here(&self, impi: &Impi) -> bool {
        self.of(impi).borrow().residents.contains_key(impi)
    }

    pub(super) fn enter(&self, impi: &Impi, resident: Resident) {
        if self.of(impi).borrow_mut().residents.insert(impi.clone(), resident).is_none() {
            self.residents.set(self.residents.get() + 1);
        }
    }

    pub(super) fn remove(&self, impi: &Impi) -> Option<Resident> {
        let resident = self.of(impi).borrow_mut().residents.remove(impi)?;
        self.residents.set(self.residents.get().saturating_sub(1));
        Some(resident)
    }

    /// Replaces a user's deadline.
    pub(crate) fn rearm(&self, impi: &Impi, old: Option<Timestamp>, new: Option<Timestamp>) {
        self.change_deadlines(ShardId::of(impi.as_str()), |deadlines| {
            if let Some(old) = old {
                deadlines.remove(&(old, impi.clone()));
            }
            if let Some(new) = new {
                deadlines.insert((new, impi.clone()));
            }
        });
    }

    fn change_deadlines<T>(
        &self,
        shard: ShardId,
        change: impl FnOnce(&mut BTreeSet<(Timestamp, Impi)>) -> T,
    ) -> T {
        let deadlines = &mut self.shard(shard).borrow_mut().deadlines;
        let before = deadlines.first().map(|(at, _)| *at);
        let changed = change(deadlines);
        let after = deadlines.first().map(|(at, _)| *at);
        if before != after {
            let mut due = self.due.borrow_mut();
            before.into_iter().for_each(|at| {
                due.remove(&(at, shard));
            });
            after.into_iter().for_each(|at| {
                due.insert((at, shard));
            });
        }
        changed
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.due.borrow().first().map(|(at, _)| *at)
    }

    /// The first user whose time has come.
    pub(super) fn pop_due(&self, now: Timestamp) -> Option<Impi> {
        let (_, shard) = self.due.borrow().first().filter(|(at, _)| *at <= now).copied()?;
        self.change_deadlines(shard, BTreeSet::pop_first).map(|(_, impi)| impi)
    }

    /// The user with these duties is here no longer; another one of the same name stays.
    pub(crate) fn leave(&self, impi: &Impi, duties: &Rc<Duties>) {
        let is_meant = match self.of(impi).borrow().residents.get(impi) {
            Some(Resident::Here(_, of) | Resident::Loading(of, _)) => Rc::ptr_eq(of, duties),
            None => false,
        };
        if is_meant {
            self.remove(impi);
        }
    }

    /// The actors of a shard that ends here, but for those that `stay`; they are here no longer.
    pub(super) fn evict(&self, shard: ShardId, stay: impl Fn(&Impi) -> bool) -> Vec<Addr<UserActor>> {
        let mut evicted = Vec::new();
        self.shard(shard).borrow_mut().residents.retain(|impi, resident| match resident {
            Resident::Here(addr, _) if !stay(impi) => {
                evicted.push(addr.clone());
                false
            }
            Resident::Here(..) | Resident::Loading(..) => true,
        });
        self.residents.set(self.residents.get().saturating_sub(evicted.len()));
        evicted
    }

    /// Which of our times with a shard it is.
    pub(super) fn term(&self, shard: ShardId) -> u64 {
        self.shard(shard).borrow().term
    }

    /// One more registered user of a shard, or one less.
    pub(crate) fn count_registered(&self, impi: &Impi, change: i64) {
        self.of(impi).borrow_mut().registered += change;
    }

    /// A shard is ours, with these deadlines; tells how many users came with it.
    pub(super) fn begin(&self, shard: ShardId, deadlines: Vec<(Timestamp, Impi)>) -> i64 {
        let users = i64::try_from(deadlines.len()).unwrap_or(i64::MAX);
        self.shard(shard).borrow_mut().registered += users;
        self.add_deadlines(shard, deadlines);
        users
    }

    /// More deadlines of a shard; those who are here already keep their own.
    pub(super) fn add_deadlines(&self, shard: ShardId, mut deadlines: Vec<(Timestamp, Impi)>) {
        {
            let shard = self.shard(shard).borrow();
            deadlines.retain(|(_, impi)| !shard.residents.contains_key(impi));
        }
        self.change_deadlines(shard, |all| all.extend(deadlines));
    }

    /// A shard is ours no longer, but for users on loan; tells how many users went with it.
    pub(super) fn end(&self, shard: ShardId) -> i64 {
        let stay: Vec<(Timestamp, Impi)> = {
            let shard = self.shard(shard).borrow();
            let stay = shard.deadlines.iter().filter(|(_, impi)| shard.residents.contains_key(impi));
            if shard.residents.is_empty() { Vec::new() } else { stay.cloned().collect() }
        };
        self.change_deadlines(shard, |deadlines| *deadlines = stay.into_iter().collect());
        let mut shard = self.shard(shard).borrow_mut();
        shard.term += 1;
        std::mem::take(&mut shard.registered)
    }

    /// The users of a shard are to leave, or need not any more.
    pub(super) fn set_leaving(&self, shard: ShardId, leaving: Option<Leaving>) -> Option<Leaving> {
        if leaving.is_some() {
            self.leaving.borrow_mut().insert(shard);
        } else {
            self.leaving.borrow_mut().remove(&shard);
        }
        std::mem::replace(&mut self.shard(shard).borrow_mut().leaving, leaving)
    }

    /// Whether the users of a shard are to leave.
    pub(super) fn is_leaving(&self, shard: ShardId) -> bool {
        !self.leaving.borrow().is_empty() && self.shard(shard).borrow().leaving.is_some()
    }

    /// The heir and the stage of a shard that is on its way.
    pub(super) fn stage(&self, shard: ShardId) -> Option<(Box<str>, Stage)> {
        self.shard(shard).borrow().leaving.as_ref().map(|leaving| (leaving.to.clone(), leaving.stage))
    }

    pub(super) fn set_stage(&self, shard: ShardId, stage: Stage) {
        if let Some(leaving) = &mut self.shard(shard).borrow_mut().leaving {
            leaving.stage = stage;
        }
    }

    /// Whether all users of a shard who are still here stand so; those who are being loaded stay for now.
    pub(super) fn all_stand(&self, shard: ShardId, wanted: Stay) -> bool {
        self.shard(shard).borrow().residents.values().all(|resident| match resident {
            Resident::Here(_, duties) => duties.stay() == wanted,
            Resident::Loading(..) => false,
        })
    }

    /// Whether nobody of a shard is here.
    pub(super) fn is_deserted(&self, shard: ShardId) -> bool {
        self.shard(shard).borrow().residents.is_empty()
    }

    /// The users of a shard who are here.
    pub(super) fn names(&self, shard: ShardId) -> Vec<Impi> {
        self.shard(shard).borrow().residents.keys().cloned().collect()
    }

    /// The shards whose users are to leave, and since when.
    pub(super) fn leaving(&self) -> Vec<(ShardId, u64)> {
        let since = |shard: &ShardId| Some((*shard, self.shard(*shard).borrow().leaving.as_ref()?.since));
        self.leaving.borrow().iter().filter_map(since).collect()
    }

    /// The actors of a shard.
    pub(super) fn actors(&self, shard: ShardId) -> Vec<Addr<UserActor>> {
        let shard = self.shard(shard).borrow();
        let here = shard.residents.values().filter_map(|resident| match resident {
            Resident::Here(addr, _) => Some(addr.clone()),
            Resident::Loading(..) => None,
        });
        here.collect()
    }
}
