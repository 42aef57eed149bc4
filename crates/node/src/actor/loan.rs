//! Users who are busy when their shard goes to another node stay a while: the new owner has them on loan. What they change is saved
//! by the owner, what arrives for them is given to the lender, and when they have nothing left to do they come home.

use super::link::Slot;
use super::parcel::Parcel;
use crate::shell::Shell;
use crate::word::{Keep, Word};
use ahash::AHashMap;
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
    /// Users at other nodes of shards of ours.
    borrowed: RefCell<AHashMap<Impi, Slot>>,
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
        if borrowed.is_empty() { None } else { borrowed.get(impi).copied() }
    }

    /// Users who are still to come home.
    pub(crate) fn lent(&self) -> usize {
        self.lent.borrow().len()
    }

    pub(super) fn lend(&self, impi: Impi, to: Slot) {
        self.lent.borrow_mut().insert(impi, to);
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
        // It may know before us that the shard is ours.
        while self.place(shard) == super::membership::Place::Nowhere && self.clock.tick() < until {
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

    /// A node that hands a shard over to us keeps these users for a while.
    pub(super) fn borrow(self: &Rc<Self>, from: Slot, shard: ShardId, users: Vec<Impi>) {
        self.loans.borrowed.borrow_mut().extend(users.into_iter().map(|impi| (impi, from)));
        self.say(from, &Word::Borrowed { shard });
    }

    /// A user of ours comes home: it is where its record is, and is looked after.
    pub(super) fn returned(self: &Rc<Self>, from: Slot, impi: &Impi) {
        if self.loans.lender(impi) == Some(from) {
            self.loans.borrowed.borrow_mut().remove(impi);
            self.look_after(impi);
            self.bring_held();
        }
    }

    /// A user who is lent has nothing left to do here, or is lost.
    pub(crate) fn return_user(&self, impi: &Impi) {
        let owner = self.loans.lent.borrow_mut().remove(impi);
        if let Some(owner) = owner {
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
        let of_slot = |map: &AHashMap<Impi, Slot>| -> Vec<Impi> {
            map.iter().filter(|(_, at)| **at == slot).map(|(impi, _)| impi.clone()).collect()
        };
        let home = of_slot(&self.loans.borrowed.borrow());
        for impi in home {
            self.loans.borrowed.borrow_mut().remove(&impi);
            self.look_after(&impi);
        }
        self.loans.keeping.borrow_mut().retain(|_, (owner, _)| *owner != slot);
        let orphans = of_slot(&self.loans.lent.borrow());
        for impi in orphans {
            self.loans.lent.borrow_mut().remove(&impi);
            self.send_away(&impi);
        }
    }
}
