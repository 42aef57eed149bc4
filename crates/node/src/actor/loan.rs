//! Users who are busy when their shard goes to another node stay a while: the new owner has them on loan. What they change is saved
//! by the owner, what arrives for them is given to the lender, and when they have nothing left to do they come home.

use super::link::Slot;
use super::membership::Place;
use super::parcel::Parcel;
use crate::shell::Shell;
use crate::word::{Keep, Word};
use ahash::AHashMap;
use cluster::Input;
use scscf::{Impi, User};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use store::{Error, Pending, ShardId, Write};
use tokio::sync::oneshot;

/// Hears whether the owner saved.
type Keeping = oneshot::Sender<Result<(), Error>>;

/// Users who are not where their shard is.
#[derive(Default)]
pub(crate) struct Loans {
    /// Users here of shards of other nodes.
    lent: RefCell<AHashMap<Impi, Slot>>,
    /// Users at other nodes of shards that are ours, or will be in a moment.
    borrowed: RefCell<AHashMap<ShardId, AHashMap<Impi, Slot>>>,
    /// What owners are asked to save.
    keeping: RefCell<AHashMap<u64, (Slot, Keeping)>>,
    next: Cell<u64>,
}

/// An owner that has not saved within so long does not.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a new owner looks whether it is one already.
const LOOK: Duration = Duration::from_millis(10);

impl Loans {
    /// To whom a user here is lent.
    pub(crate) fn owner(&self, impi: &Impi) -> Option<Slot> {
        let lent = self.lent.borrow();
        if lent.is_empty() { None } else { lent.get(impi).copied() }
    }

    /// Where a user of ours still is.
    pub(crate) fn lender(&self, impi: &Impi) -> Option<Slot> {
        let borrowed = self.borrowed.borrow();
        if borrowed.is_empty() {
            return None;
        }
        borrowed.get(&ShardId::of(impi.as_str()))?.get(impi).copied()
    }

    /// Users who are still to come home.
    pub(crate) fn lent(&self) -> usize {
        self.lent.borrow().len()
    }

    pub(super) fn lend(&self, impi: Impi, to: Slot) {
        self.lent.borrow_mut().insert(impi, to);
    }

    /// Whether users of a shard are elsewhere.
    fn is_lent_out(&self, shard: ShardId) -> bool {
        self.borrowed.borrow().contains_key(&shard)
    }

    /// A node keeps these users of a shard for a while, and no others; tells whom else it had.
    fn borrow(&self, from: Slot, shard: ShardId, users: Vec<Impi>) -> Vec<Impi> {
        let mut borrowed = self.borrowed.borrow_mut();
        let all = borrowed.entry(shard).or_default();
        let before: Vec<Impi> = all.extract_if(|_, at| *at == from).map(|(impi, _)| impi).collect();
        all.extend(users.into_iter().map(|impi| (impi, from)));
        let home = before.into_iter().filter(|impi| !all.contains_key(impi)).collect();
        if all.is_empty() {
            borrowed.remove(&shard);
        }
        home
    }

    /// A user of ours is not elsewhere any more.
    fn bring_home(&self, impi: &Impi) {
        let shard = ShardId::of(impi.as_str());
        let mut borrowed = self.borrowed.borrow_mut();
        if let Some(all) = borrowed.get_mut(&shard) {
            all.remove(impi);
            if all.is_empty() {
                borrowed.remove(&shard);
            }
        }
    }

    /// The users of ours who are at this node.
    fn borrowed_from(&self, slot: Slot) -> Vec<Impi> {
        let borrowed = self.borrowed.borrow();
        let all = borrowed.values().flatten();
        all.filter(|(_, at)| **at == slot).map(|(impi, _)| impi.clone()).collect()
    }
}

impl Shell {
    /// Has the owner of a user who is lent save what it changed.
    pub(crate) fn keep_abroad(
        self: &Rc<Self>,
        owner: Slot,
        impi: &Impi,
        write: Option<Write<'_>>,
    ) -> Pending<Result<(), Error>> {
        let refused = |why: &str| Pending::Ready(Err(Error::Unavailable(why.into())));
        let keep = match write {
            Some(Write { user, version, write_id }) => match rmp_serde::to_vec_named(user) {
                Ok(user) => Some(Keep { user: user.into(), version, write_id }),
                Err(error) => return Pending::Ready(Err(Error::Corrupt(error.to_string().into()))),
            },
            None => None,
        };
        let number = self.loans.next.get() + 1;
        self.loans.next.set(number);
        if !self.say(owner, &Word::Keep { number, impi: impi.clone(), keep }) {
            return refused("the owner of the user cannot be reached");
        }
        let (sender, kept) = oneshot::channel();
        self.loans.keeping.borrow_mut().insert(number, (owner, sender));
        Pending::Later(Box::pin(async move {
            match tokio::time::timeout(PATIENCE, kept).await {
                Ok(Ok(kept)) => kept,
                Ok(Err(_)) | Err(_) => {
                    Err(Error::Unavailable("the owner of the user does not answer".into()))
                }
            }
        }))
    }

    /// A lender wants a user of ours saved.
    pub(super) fn keep_for(self: &Rc<Self>, from: Slot, number: u64, impi: Impi, keep: Option<Keep>) {
        let shell = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let kept = shell.keep_now(from, &impi, keep).await;
            let refused = kept.err().map(|error| matches!(error, Error::Fenced | Error::Outdated));
            shell.say(from, &Word::Kept { number, refused });
        });
    }

    async fn keep_now(self: &Rc<Self>, from: Slot, impi: &Impi, keep: Option<Keep>) -> Result<(), Error> {
        let shard = ShardId::of(impi.as_str());
        let until = self.clock.tick() + self.config.cluster.hold / 2;
        // It may know before us that the shard is ours, and not its own any more.
        while matches!(self.place(shard), Place::Nowhere | Place::At(_))
            && self.loans.lender(impi) == Some(from)
            && self.clock.tick() < until
        {
            tokio::time::sleep(LOOK).await;
        }
        if self.loans.lender(impi) != Some(from) {
            return Err(Error::Fenced);
        }
        let saving = match keep {
            Some(Keep { user, version, write_id }) => {
                let user: User =
                    rmp_serde::from_slice(&user).map_err(|error| Error::Corrupt(error.to_string().into()))?;
                self.as_owner(shard, |store, fence| {
                    store.save(shard, fence, Write { user: &user, version, write_id })
                })
            }
            None => self.as_owner(shard, |store, fence| store.erase(shard, fence, impi)),
        };
        saving.wait().await
    }

    /// An owner saved what was lent to it, or did not.
    pub(super) fn kept(&self, from: Slot, number: u64, refused: Option<bool>) {
        let waiting = self.loans.keeping.borrow_mut().remove(&number);
        if let Some((owner, waiting)) = waiting
            && owner == from
        {
            let kept = match refused {
                None => Ok(()),
                Some(true) => Err(Error::Fenced),
                Some(false) => Err(Error::Unavailable("the owner could not save the user".into())),
            };
            // The actor may have been sent away.
            let _ = waiting.send(kept);
        }
    }

    /// A node that hands a shard over to us keeps these users for a while. Whom it named before and does not now is where the
    /// record is.
    pub(super) fn borrow(self: &Rc<Self>, from: Slot, shard: ShardId, users: Vec<Impi>) {
        let home = self.loans.borrow(from, shard, users);
        self.pin(shard);
        self.say(from, &Word::Borrowed { shard });
        if !home.is_empty() {
            home.iter().for_each(|impi| self.look_after(impi));
            self.bring_held();
        }
    }

    /// A user of ours comes home: it is where its record is, and is looked after.
    pub(super) fn returned(self: &Rc<Self>, from: Slot, impi: &Impi) {
        if self.loans.lender(impi) == Some(from) {
            self.loans.bring_home(impi);
            self.pin(ShardId::of(impi.as_str()));
            self.look_after(impi);
            self.bring_held();
        }
    }

    /// A shard whose users are elsewhere stays here, for only we know where they are.
    fn pin(self: &Rc<Self>, shard: ShardId) {
        self.own(Input::Pinned { shard, is_pinned: self.loans.is_lent_out(shard) });
    }

    /// A user who is lent has nothing left to do here, or is lost.
    pub(crate) fn return_user(&self, impi: &Impi) {
        let owner = self.loans.lent.borrow_mut().remove(impi);
        if let Some(owner) = owner {
            self.recorder.end_watches(|gone| gone == impi);
            self.say(owner, &Word::Returned { impi: impi.clone() });
        }
    }

    /// Whether it is here although its shard is not; what is for it goes to it.
    pub(super) fn is_lent(&self, impi: &Impi) -> bool {
        self.loans.owner(impi).is_some() && self.shards.is_here(impi)
    }

    /// What arrives for a user of ours who is still elsewhere goes there; gives it back if the user is not.
    pub(super) fn give_to_lender(
        self: &Rc<Self>,
        impi: &Impi,
        parcel: Parcel,
        patience: u64,
    ) -> Option<Parcel> {
        let Some(lender) = self.loans.lender(impi) else { return Some(parcel) };
        self.give(lender, impi, parcel, patience);
        None
    }

    /// A node does not hear us any more: whom it had on loan from us, or we from it, is where the records are.
    pub(super) fn loans_lost(self: &Rc<Self>, slot: Slot) {
        for impi in self.loans.borrowed_from(slot) {
            self.loans.bring_home(&impi);
            self.pin(ShardId::of(impi.as_str()));
            self.look_after(&impi);
        }
        self.loans.keeping.borrow_mut().retain(|_, (owner, _)| *owner != slot);
        let orphans: Vec<Impi> = {
            let mut lent = self.loans.lent.borrow_mut();
            lent.extract_if(|_, at| *at == slot).map(|(impi, _)| impi).collect()
        };
        for impi in orphans {
            self.recorder.end_watches(|gone| *gone == impi);
            self.send_away(&impi);
        }
    }
}
