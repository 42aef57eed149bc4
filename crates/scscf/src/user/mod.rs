//! TS 24.229 §5.4 — one private user identity as a value, and the table of contents of its procedures.

mod register;
mod state;
mod step;

pub use state::{
    Authentication, Challenge, ContactBinding, Departed, ImplicitRegistrationSet, InFlight, Phase,
    Reauthentication, RegSubscription, Registration, Subscriber, SubscriptionKind,
};
pub use step::Step;

use crate::SubscriptionId;
use crate::{Effect, Event, Impi, Moment, Outcome, Policy, Purpose, Timestamp, event::AttemptId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All that one private user identity owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    impi: Impi,
    #[serde(default)]
    authentication: Authentication,
    #[serde(default)]
    registration: Registration,
    #[serde(default)]
    subscriptions: BTreeMap<SubscriptionId, RegSubscription>,
    /// REGISTERs waiting for the HSS. They die with the actor: the UE retransmits, and the challenge still stands.
    #[serde(skip)]
    attempts: BTreeMap<AttemptId, register::Attempt>,
}
