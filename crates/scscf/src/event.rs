//! Everything that can happen to one private user identity.

use crate::{Impi, Impu, Span, cx};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A SIP request arrived; exactly one answer is owed on `tx`.
    Request { tx: ServerTx, request: sip::Request, source: Source },
    /// An ACK to a 2xx arrived; nothing is owed for it.
    Ack { request: sip::Request, source: Source },
    /// The INVITE on `of` shall end (RFC 3261 §9.2); `reason` is the Reason header of the CANCEL.
    Cancel { of: ServerTx, reason: Option<Box<str>> },
    /// The fate of a request this user sent.
    Reply { to: Purpose, reply: Reply },
    /// The HSS answered, or did not.
    CxAnswer { to: CxPurpose, answer: cx::Answer },
    /// The HSS demands something; exactly one answer is owed on `tx`.
    CxDemand { tx: CxTx, demand: cx::Demand },
    /// An operator or a policy asks for re-authentication; `ask` wants to be told how it was taken.
    Reauthenticate { by: Trigger, period: Option<Span>, reason: Option<Box<str>>, ask: Option<AskTx> },
    /// An operator ends the registration; `ask` wants to be told how it was taken.
    Deregister { reason: Box<str>, ask: Option<AskTx> },
    /// Another private user identity that shares public identities with this one tells its contacts for them.
    Sibling { impi: Impi, contacts: Vec<SharedContact> },
    /// `User::next_deadline` has passed.
    Deadline,
    /// The user was loaded from its record by a new actor; what was in flight is in doubt.
    Resumed,
}

/// A SIP server transaction that awaits its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerTx(pub u64);

/// A Diameter request that awaits its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CxTx(pub u64);

/// An operator's question that awaits its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AskTx(pub u64);

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Address of the sender.
    pub address: IpAddr,
    /// The sender is inside the trust domain: its `integrity-protected` and P- headers are believed.
    pub trusted: bool,
}

/// Why a SIP request was sent. It comes home with the reply, so nobody correlates by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// NOTIFY on a subscription.
    Notify(SubscriptionId),
    /// REFER that asks a UE for a REGISTER (TS 24.229 §5.4.1.6, by other means).
    Refer,
    /// A branch of a request on its way; provisional responses but 100 come home too, our Via still on top.
    Relay(RelayId, sip::proxy::BranchId),
    /// BYE that releases one side of a session (TS 24.229 §5.4.5.1).
    Release(SessionId, Side),
    /// Third-party REGISTER to an application server.
    ThirdPartyRegister(AsId),
}

/// A request on its way through this user: a server transaction and its branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelayId(pub u64);

/// A session of this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// One side of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Who sent the initial INVITE.
    Caller,
    /// Who answered it.
    Callee,
}

impl Side {
    /// The other side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }

    /// `caller` or `callee`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
        }
    }
}

/// A subscription to the registration state of this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubscriptionId(pub u64);

/// An application server that hears of the registrations of this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AsId(pub u64);

/// What became of a SIP request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A final response; for a relay also a provisional one.
    Response(sip::Response),
    /// None came in time.
    Timeout,
    /// It could not be sent.
    Unsendable,
}

/// Why a Cx request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CxPurpose {
    /// MAR for the REGISTER of this attempt.
    Challenge(AttemptId),
    /// SAR for the REGISTER of this attempt.
    Assign(AttemptId),
    /// SAR that ends a registration or reports a failed authentication; nobody waits for the answer.
    Report,
    /// SAR that asks for the profile of a user who is not registered, for a request on its way.
    Profile(RelayId),
}

/// A REGISTER in progress between two answers of the HSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId(pub u64);

/// Who asked for re-authentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// The HSS, by RAR or PPR.
    Hss,
    /// An operator, by HTTP.
    Operator,
    /// A policy of this name.
    Policy(Box<str>),
}

/// A contact of another private user identity under a shared public identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedContact {
    /// The shared public identities it is bound to.
    pub impus: Vec<Impu>,
    /// The Contact header value: URI and parameters, `expires` apart.
    pub contact: Box<str>,
    /// When it expires.
    pub expires_at: crate::Timestamp,
    /// Its identifier in documents.
    pub id: u64,
    /// Path, order kept: the first is nearest to us.
    #[serde(default)]
    pub path: Vec<Box<str>>,
}
