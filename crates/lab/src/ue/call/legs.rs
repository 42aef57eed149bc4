//! The calls of a UE, and which of them a message belongs to.

use super::{super::message::Incoming, leg::Input};
use crate::{locked, wire::Key};
use std::sync::{Mutex, MutexGuard};
use tokio::{sync::mpsc, task::AbortHandle};

/// How many calls a UE has at once, those included that ended a moment ago.
pub(super) const MOST: usize = 4096;

/// A call as others find it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) call_id: String,
    /// Tag of this side.
    pub(super) tag: String,
    /// Tag and CSeq of the INVITE, for a call that came.
    pub(super) caller: Option<(String, u32)>,
    pub(super) mailbox: mpsc::UnboundedSender<Input>,
    pub(super) task: Option<AbortHandle>,
}

/// The calls of a UE.
#[derive(Debug, Default)]
pub(in super::super) struct Legs(Mutex<Vec<Known>>);

impl Legs {
    fn all(&self) -> MutexGuard<'_, Vec<Known>> {
        locked(&self.0)
    }

    /// Hands a message within a dialog to its call; what nobody wants comes back.
    pub(in super::super) fn within<T: FnOnce(Incoming) -> Input>(
        &self,
        message: &Incoming,
        input: T,
    ) -> Option<Input> {
        let (call_id, tag) = (message.value("Call-ID"), message.tag("To"));
        let legs = self.all();
        let mut same = legs.iter().filter(|leg| leg.call_id == call_id);
        // Tags that fit nowhere are for the call to judge.
        let leg = same.clone().find(|leg| leg.tag == tag).or_else(|| same.next());
        let input = input(message.clone());
        match leg {
            Some(leg) => leg.mailbox.send(input).err().map(|unsent| unsent.0),
            None => Some(input),
        }
    }

    pub(in super::super) fn cancelled(&self, of: &Key, cancel: &Incoming) {
        let (call_id, caller) = (cancel.value("Call-ID"), Some((cancel.tag("From"), cancel.cseq())));
        for leg in self.all().iter().filter(|leg| leg.call_id == call_id && leg.caller == caller) {
            let _ = leg.mailbox.send(Input::Cancelled(of.clone(), cancel.clone()));
        }
    }

    pub(in super::super) fn unacknowledged(&self, of: &Key) {
        for leg in self.all().iter() {
            let _ = leg.mailbox.send(Input::Unacknowledged(of.clone()));
        }
    }

    /// Whether that very INVITE rings here already, having come another way.
    pub(super) fn knows(&self, invite: &Incoming) -> bool {
        let (call_id, caller) = (invite.value("Call-ID"), Some((invite.tag("From"), invite.cseq())));
        self.all().iter().any(|leg| leg.call_id == call_id && leg.caller == caller)
    }

    pub(super) fn is_full(&self) -> bool {
        self.all().len() >= MOST
    }

    pub(super) fn add(&self, known: Known) {
        self.all().push(known);
    }

    pub(super) fn runs(&self, tag: &str, task: AbortHandle) {
        if let Some(leg) = self.all().iter_mut().find(|leg| leg.tag == tag) {
            leg.task = Some(task);
        }
    }

    pub(super) fn forget(&self, tag: &str) {
        self.all().retain(|leg| leg.tag != tag);
    }

    /// Ends the tasks of all calls.
    pub(in super::super) fn abort(&self) {
        for leg in self.all().drain(..) {
            if let Some(task) = leg.task {
                task.abort();
            }
        }
    }
}
