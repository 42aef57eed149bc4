//! TS 24.229 §5.4.5.1 — receipts: who was told that a session ended, when, and what was answered.

use super::ReleaseCause;
use crate::Timestamp;
use crate::event::Side;
use crate::user::relay::Relay;
use crate::user::{Step, User};
use sip::proxy::BranchId;

/// Receipts kept for one user.
const RECEIPTS: usize = 16;
/// Lines of one receipt.
const LINES: usize = 32;

/// Who was told that a session ended, when, and what was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// The session, or for one that was being set up the passage of its INVITE.
    pub session: u64,
    /// Why.
    pub cause: ReleaseCause,
    /// When the release began.
    pub at: Timestamp,
    /// Who was told what.
    pub told: Vec<ToldSide>,
}

/// One line of a receipt.
#[derive(Clone, Debug, PartialEq)]
pub struct ToldSide {
    /// Who.
    pub side: Side,
    /// `BYE`, `CANCEL` or the status of the final response.
    pub what: &'static str,
    /// When.
    pub at: Timestamp,
    /// The answer; `None` while awaited or where none is due, 0 when none came.
    pub status: Option<u16>,
    /// When it came.
    pub answered_at: Option<Timestamp>,
    /// The branch that was cancelled.
    pub branch: Option<BranchId>,
}

impl ToldSide {
    pub(super) const fn cancelled(branch: BranchId, at: Timestamp) -> Self {
        Self { branch: Some(branch), ..Self::told(Side::Callee, "CANCEL", at) }
    }

    pub(super) const fn refused(at: Timestamp) -> Self {
        Self::told(Side::Caller, "480", at)
    }

    pub(super) const fn bye(side: Side, at: Timestamp, status: u16, answered_at: Timestamp) -> Self {
        Self { status: Some(status), answered_at: Some(answered_at), ..Self::told(side, "BYE", at) }
    }

    const fn told(side: Side, what: &'static str, at: Timestamp) -> Self {
        Self { side, what, at, status: None, answered_at: None, branch: None }
    }
}

impl User {
    /// Writes a line into the receipt of a session.
    pub(super) fn note(&mut self, session: u64, cause: ReleaseCause, at: Timestamp, line: ToldSide) {
        match self.receipts.iter_mut().find(|receipt| receipt.session == session) {
            Some(receipt) if receipt.told.len() < LINES => receipt.told.push(line),
            Some(_) => {}
            None => {
                if self.receipts.len() >= RECEIPTS {
                    self.receipts.remove(0);
                }
                self.receipts.push(Receipt { session, cause, at, told: vec![line] });
            }
        }
    }

    /// A branch that was cancelled has its final response, or 0 for none.
    pub(crate) fn note_cancelled(&mut self, relay: &Relay, branch: BranchId, status: u16, step: &Step<'_>) {
        let receipt = self.receipts.iter_mut().find(|receipt| receipt.session == relay.id.0);
        let line = receipt.and_then(|receipt| {
            receipt.told.iter_mut().find(|line| line.branch == Some(branch) && line.status.is_none())
        });
        if let Some(line) = line {
            line.status = Some(status);
            line.answered_at = Some(step.now());
        }
    }
}
