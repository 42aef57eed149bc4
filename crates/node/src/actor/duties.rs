//! What a user owes and awaits, kept where both its actor and its shard can see it: it outlives a panic of the actor.

use super::parcel::Parcel;
use super::user::Asked;
use scscf::{AskTx, CxTx, ServerTx};
use std::cell::{Cell, RefCell};

/// How a user stands whose shard goes to another node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stay {
    /// It has not been asked to end.
    #[default]
    Unasked,
    /// It is busy.
    Busy,
    /// It is lent to the new owner, which saves what it changes.
    Lent,
}

/// The open accounts of one user.
#[derive(Default)]
pub(crate) struct Duties {
    /// Answers that somebody waits for.
    owed: RefCell<Vec<Parcel>>,
    /// Events in the mailbox.
    queued: Cell<u32>,
    /// Requests of ours without an answer.
    awaited: Cell<u32>,
    /// When the last event came, in ticks.
    last: Cell<u64>,
    stay: Cell<Stay>,
}

impl Duties {
    pub(crate) fn owe(&self, owed: Parcel) {
        self.owed.borrow_mut().push(owed);
    }

    pub(crate) fn answered_sip(&self, tx: ServerTx) {
        self.settle(|owed| matches!(owed, Parcel::Request { tx: open, .. } if *open == tx));
    }

    pub(crate) fn answered_cx(&self, tx: CxTx) {
        self.settle(|owed| matches!(owed, Parcel::Demand { tx: open, .. } if *open == tx));
    }

    pub(crate) fn answered_ask(&self, tx: AskTx) {
        self.settle(|owed| matches!(owed, Parcel::Wish { ask: open, .. } if *open == tx));
    }

    /// What is owed for this step alone; it is not any more.
    pub(crate) fn take(&self, asked: Asked) -> Option<Parcel> {
        let mut owed = self.owed.borrow_mut();
        let at = owed.iter().position(|owed| match (owed, asked) {
            (Parcel::Request { tx, .. }, Asked::Sip(asked)) => *tx == asked,
            (Parcel::Demand { tx, .. }, Asked::Cx(asked)) => *tx == asked,
            (Parcel::Wish { ask, .. }, Asked::Operator(asked)) => *ask == asked,
            (_, Asked::Sip(_) | Asked::Cx(_) | Asked::Operator(_) | Asked::Nothing) => false,
        })?;
        Some(owed.swap_remove(at))
    }

    fn settle(&self, which: impl Fn(&Parcel) -> bool) {
        let mut owed = self.owed.borrow_mut();
        if let Some(at) = owed.iter().position(which) {
            owed.swap_remove(at);
        }
        if owed.is_empty() {
            owed.shrink_to_fit();
        }
    }

    /// All that is owed; nothing is, afterwards.
    pub(crate) fn default_on_all(&self) -> Vec<Parcel> {
        std::mem::take(&mut *self.owed.borrow_mut())
    }

    pub(crate) fn queue(&self, now: u64) {
        self.queued.set(self.queued.get() + 1);
        self.last.set(now);
    }

    pub(crate) fn unqueue(&self) {
        self.queued.set(self.queued.get().saturating_sub(1));
    }

    pub(crate) fn queued(&self) -> u32 {
        self.queued.get()
    }

    pub(crate) fn ask(&self) {
        self.awaited.set(self.awaited.get() + 1);
    }

    pub(crate) fn told(&self) {
        self.awaited.set(self.awaited.get().saturating_sub(1));
    }

    /// Nothing is owed, awaited or waiting.
    pub(crate) fn is_idle(&self) -> bool {
        self.queued.get() == 0 && self.awaited.get() == 0 && self.owed.borrow().is_empty()
    }

    pub(crate) fn stay(&self) -> Stay {
        self.stay.get()
    }

    pub(crate) fn set_stay(&self, stay: Stay) {
        self.stay.set(stay);
    }

    pub(crate) fn silent_since(&self) -> u64 {
        self.last.get()
    }
}
