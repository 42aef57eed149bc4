//! Everything the user may ask of the world. A sealed vocabulary: nothing else gets out.

use crate::{
    Impi, Impu, Rejection, Timestamp, cx,
    event::{AskTx, CxPurpose, CxTx, Purpose, RelayId, ServerTx, SharedContact},
};
use serde::{Deserialize, Serialize};
use sip::proxy::BranchId;

/// An imperative to the shell.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Answer a SIP request; provisional responses may go before the final one.
    Respond { tx: ServerTx, response: sip::Response },
    /// Send a SIP request; its fate comes back as `Event::Reply`. The shell adds Via and picks the next hop.
    Send { purpose: Purpose, request: sip::Request },
    /// Forward a request on a branch; what becomes of it comes back as `Event::Reply` to `Purpose::Relay`. `mark` goes into
    /// the branch parameter, for loop detection (RFC 3261 §16.6); `tx` is the request that is forwarded.
    Relay { relay: RelayId, branch: BranchId, request: sip::Request, tx: ServerTx, mark: u64 },
    /// Cancel a branch of a forwarded INVITE (RFC 3261 §9.1), for this Reason.
    Cancel { relay: RelayId, branch: BranchId, reason: Option<Box<str>> },
    /// Forward a request that has no transaction: an ACK to a 2xx.
    Pass { request: sip::Request },
    /// Ask the HSS; its answer comes back as `Event::CxAnswer`.
    CxRequest { purpose: CxPurpose, request: cx::Request },
    /// Answer the HSS.
    CxAnswer { tx: CxTx, answer: cx::DemandAnswer },
    /// Answer an operator.
    Tell { ask: AskTx, told: Told },
    /// Tell the other private user identities that share these public identities, and these, which did.
    TellSiblings { impus: Vec<Impu>, contacts: Vec<SharedContact>, also: Vec<Impi> },
}

/// How an operator's wish was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// Re-authentication is asked for; it must happen by then.
    Reauthenticating { deadline: Timestamp },
    /// It was asked for already; the deadline stands.
    AlreadyReauthenticating { deadline: Timestamp },
    /// Deregistration has begun.
    Deregistering,
    /// There is no registration.
    NotRegistered,
}

/// What one step asks of the shell, in this order: save, then act.
#[must_use]
#[derive(Debug)]
pub struct Outcome {
    /// What to do with the record first.
    pub save: Save,
    /// What to do then, in order.
    pub effects: Vec<Effect>,
    /// The refusal of this step, if it refused.
    pub refused: Option<Rejection>,
    /// One line about what happened, for people who watch. Holds no secret.
    pub summary: std::borrow::Cow<'static, str>,
}

/// What becomes of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Save {
    /// Nothing that must outlive the actor changed.
    Unchanged,
    /// Write it.
    Snapshot,
    /// The user owns nothing any more: remove it and end the actor.
    Erase,
}
