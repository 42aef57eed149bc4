//! What a user owes and awaits, kept where both its actor and its shard can see it: it outlives a panic of the actor.

use scscf::{AskTx, CxTx, ServerTx};
use std::cell::{Cell, RefCell};

/// An answer that somebody waits for.
#[derive(Clone, Debug)]
pub(crate) enum Owed {
    Sip(ServerTx, sip::Request),
    Cx(CxTx),
    Ask(AskTx),
}

/// The open accounts of one user.
#[derive(Default)]
pub(crate) struct Duties {
    owed: RefCell<Vec<Owed>>,
    /// Events in the mailbox.
    queued: Cell<u32>,
    /// Requests of ours without an answer.
    awaited: Cell<u32>,
    /// When the last event came, in ticks.
    last: Cell<u64>,
}

impl Duties {
    pub(crate) fn owe(&self, owed: Owed) {
        self.owed.borrow_mut().push(owed);
    }

    pub(crate) fn answered_sip(&self, tx: ServerTx) {
        self.settle(|owed| matches!(owed, Owed::Sip(open, _) if *open == tx));
    }

    pub(crate) fn answered_cx(&self, tx: CxTx) {
        self.settle(|owed| matches!(owed, Owed::Cx(open) if *open == tx));
    }

    pub(crate) fn answered_ask(&self, tx: AskTx) {
        self.settle(|owed| matches!(owed, Owed::Ask(open) if *open == tx));
    }

    fn settle(&self, which: impl Fn(&Owed) -> bool) {
        let mut owed = self.owed.borrow_mut();
        if let Some(at) = owed.iter().position(which) {
            owed.swap_remove(at);
        }
        if owed.is_empty() {
            owed.shrink_to_fit();
        }
    }

    /// All that is owed; nothing is, afterwards.
    pub(crate) fn default_on_all(&self) -> Vec<Owed> {
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

    pub(crate) fn silent_since(&self) -> u64 {
        self.last.get()
    }
}
