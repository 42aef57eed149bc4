//! What one private user identity owns (TS 24.229 §5.4.1.2.2F, §5.4.2.1). Serialised whole, handed over whole.

use crate::cx::{Hss, Scheme, Secret};
use crate::event::{SharedContact, Trigger};
use crate::profile::{ChargingAddresses, Subscription};
use crate::user::ThirdParty;
use crate::{Impi, Impu, SubscriptionId, Timestamp};
use serde::{Deserialize, Serialize};
use sip::reginfo::ContactEvent;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Challenges, their counters, and a pending network-initiated re-authentication.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Authentication {
    /// Outstanding challenges, oldest first.
    pub challenges: Vec<Challenge>,
    /// Start of the current minute of MARs caused by unprotected REGISTERs, and their number (DoS rule A-62).
    pub window: (Timestamp, u32),
    /// Wrong answers ever.
    pub wrong_answers: u32,
    /// Wrong answers since the last success.
    pub wrong_since_success: u32,
    /// Resynchronisations ever.
    pub resyncs: u32,
    /// Scheme of the last success.
    pub scheme: Option<Scheme>,
    /// Last success.
    pub last_success: Option<Timestamp>,
    /// Protected REGISTERs accepted without challenge since the last success.
    pub refreshes_since_success: u32,
    /// Re-authentication that the network asked for.
    pub reauthentication: Option<Reauthentication>,
    /// The HSS that answered last.
    pub hss: Option<Hss>,
}

/// One outstanding challenge (TS 24.229 §5.4.1.2.1): reg-await-auth runs until `deadline`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Challenge {
    /// The nonce as sent.
    pub nonce: Box<str>,
    /// RAND, for resynchronisation.
    pub rand: [u8; 16],
    /// XRES.
    pub xres: Secret,
    /// Scheme it was made for.
    pub scheme: Scheme,
    /// Call-ID of the REGISTER that was challenged.
    pub call_id: Box<str>,
    /// The public user identity being registered.
    pub impu: Impu,
    /// End of reg-await-auth.
    pub deadline: Timestamp,
    /// Resynchronisations that led to it.
    pub resyncs: u8,
    /// Challenges of the same attempt before it.
    pub earlier: u8,
    /// The REGISTER that provoked it came protected.
    pub protected: bool,
    /// Its right answer has been seen and the SAR is out.
    pub verified: bool,
}

/// TS 24.229 §5.4.1.6 — the network has asked for re-authentication.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reauthentication {
    /// Who asked.
    pub by: Trigger,
    /// Why, in the asker's words.
    pub reason: Option<Box<str>>,
    /// When it was asked.
    pub since: Timestamp,
    /// When it must have happened.
    pub deadline: Timestamp,
    /// How far it got.
    pub phase: Phase,
    /// Protected wrong answers to challenges of this re-authentication.
    pub wrong_answers: u8,
    /// NOTIFYs sent for it and their final status; `None` while awaited, 0 when none came.
    pub notified: BTreeMap<SubscriptionId, Option<u16>>,
    /// REFERs were sent for it.
    pub referred: bool,
}

/// How far a re-authentication got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not every NOTIFY has its final response.
    Notifying,
    /// The UE's REGISTER is awaited.
    Awaiting,
    /// The UE was challenged.
    Challenged,
}

/// The implicit registration sets and everything bound to them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registration {
    /// Registered sets; a set without bindings is kept only for unregistered services.
    pub sets: Vec<ImplicitRegistrationSet>,
    /// Contacts of other private user identities under shared public identities.
    pub siblings: BTreeMap<Impi, Vec<SharedContact>>,
    /// Private user identities that shared public ones and have left: sessions at our contacts may be theirs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub departed_siblings: Vec<Impi>,
    /// What application servers have been told, by service profile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub third_party: Vec<ThirdParty>,
}

/// One implicit registration set: identities that register together, and their contact bindings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImplicitRegistrationSet {
    /// The profile as the HSS sent it; its identities are the set.
    pub profile: Arc<Subscription>,
    /// Charging-Information.
    pub charging: Option<ChargingAddresses>,
    /// Associated-Identities.
    pub associated_identities: Vec<Impi>,
    /// Contact bindings, oldest first; each is bound to every non-barred identity of the set.
    pub bindings: Vec<ContactBinding>,
    /// Last SAR that succeeded.
    pub assigned_at: Timestamp,
}

/// One contact (or flow, RFC 5626) of one UE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContactBinding {
    /// Stable identifier for documents and tokens; a contact registered anew gets a new one.
    pub id: u64,
    /// The contact URI as registered.
    pub uri: sip::Uri,
    /// Contact header parameters except expires, pub-gruu and temp-gruu, as received.
    pub params: sip::Params,
    /// `+sip.instance`, quotes removed.
    pub instance_id: Option<Box<str>>,
    /// `reg-id`.
    pub reg_id: Option<u32>,
    /// Path, order kept: the first is nearest to us (TS 24.229 §5.4.1.2.2F step 7).
    pub path: Vec<Box<str>>,
    /// Call-ID of the REGISTER.
    pub call_id: Box<str>,
    /// Its CSeq.
    pub cseq: u32,
    /// Fingerprint of its octets: a new owner of the user knows a retransmission by it.
    #[serde(default)]
    pub request: u64,
    /// Absolute expiry.
    pub expires_at: Timestamp,
    /// First registered.
    pub registered_at: Timestamp,
    /// The public user identity in To.
    pub impu: Impu,
    /// P-Visited-Network-ID.
    pub visited_network: Option<Box<str>>,
    /// icid-value.
    pub icid: Option<Box<str>>,
    /// orig-ioi.
    pub orig_ioi: Option<Box<str>>,
    /// What last happened to it, as documents tell it.
    #[serde(with = "crate::user::state::contact_event")]
    pub event: ContactEvent,
    /// CSeq of the REGISTER that minted the current temporary GRUU; `None` if GRUUs are not used.
    pub gruu: Option<u32>,
    /// Registered for emergency calls (URI parameter `sos`): neither deregistered nor asked to re-authenticate.
    pub emergency: bool,
}

/// A subscription to the registration state (TS 24.229 §5.4.2.1.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegSubscription {
    /// The dialog: identifiers, route set, remote target, CSeqs.
    pub dialog: sip::dialog::Dialog,
    /// Which words it speaks.
    pub kind: SubscriptionKind,
    /// `id` of the Event header.
    pub event_id: Option<Box<str>>,
    /// Who subscribed.
    pub subscriber: Subscriber,
    /// Its asserted identity, for people who watch and for matching.
    pub subscriber_uri: Box<str>,
    /// Contact bindings of the UE that subscribed, when it is a UE: gone with them.
    pub bindings: Vec<u64>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Version of the next document.
    pub version: u32,
    /// icid-value and orig-ioi of the SUBSCRIBE.
    pub icid: Option<Box<str>>,
    /// orig-ioi of the SUBSCRIBE.
    pub orig_ioi: Option<Box<str>>,
    /// The NOTIFY without final response, if there is one.
    pub in_flight: Option<InFlight>,
    /// Something changed while a NOTIFY was in flight; another must follow.
    pub stale: bool,
    /// The document to come is a demand to re-authenticate.
    pub demand: bool,
    /// Contacts that ended and have not been told to this subscriber yet.
    pub departed: Vec<Departed>,
    /// Set when it shall end with the next NOTIFY: the `reason` of Subscription-State.
    pub ending: Option<Box<str>>,
    /// When the last NOTIFY was sent, and its final status once there is one.
    pub last_notify: Option<(Timestamp, Option<u16>)>,
}

/// A NOTIFY on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// Its CSeq.
    pub cseq: u32,
    /// It demanded re-authentication.
    pub demand: bool,
    /// It was the last of its subscription.
    pub last: bool,
    /// How many of the `departed` contacts, from the first, it tells.
    pub told: u16,
}

/// Which dialect a reg-event dialog speaks (spec A.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubscriptionKind {
    /// `Event: reg`: RFC 3680, contact event `shortened`.
    Reg,
    /// `Event: registration-state`: registration state `re-authenticate`.
    RegistrationState,
}

impl SubscriptionKind {
    /// The event package token.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Reg => "reg",
            Self::RegistrationState => "registration-state",
        }
    }
}

/// Who subscribed (TS 24.229 §5.4.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subscriber {
    /// The user's own UE.
    Ue,
    /// An entity on the Path.
    PCscf,
    /// An application server of the user's profile.
    As,
}

/// A contact that ended, to be told once to a subscriber.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Departed {
    /// Its identifier.
    pub id: u64,
    /// Its URI.
    pub uri: Box<str>,
    /// The identities it was bound to.
    pub impus: Vec<Impu>,
    /// Why it ended.
    #[serde(with = "crate::user::state::contact_event")]
    pub event: ContactEvent,
    /// Call-ID of its last REGISTER.
    pub call_id: Box<str>,
    /// CSeq of its last REGISTER.
    pub cseq: u32,
}

/// Serialises a contact event by its name.
pub(crate) mod contact_event {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use sip::reginfo::ContactEvent;

    pub(crate) fn serialize<S: Serializer>(event: &ContactEvent, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(event.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ContactEvent, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(|_| D::Error::custom("unknown contact event"))
    }
}
