//! TS 29.228 §6.6, annex E — the user profile as values. The XML is read by `diameter::user_data`.

use crate::{Impu, ifc::Criteria};
use serde::{Deserialize, Serialize};

/// IMSSubscription: the service profiles of one implicit registration set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// PrivateID.
    pub private_id: Box<str>,
    /// ServiceProfile elements in document order, which is the order of the implicit registration set.
    pub profiles: Vec<ServiceProfile>,
}

/// One ServiceProfile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceProfile {
    /// Its public identities in document order.
    pub identities: Vec<PublicIdentity>,
    /// SubscribedMediaProfileId.
    pub media_profile: Option<u32>,
    /// ListOfServiceIds.
    pub service_ids: Vec<Box<str>>,
    /// Initial filter criteria by ascending priority.
    pub criteria: Criteria,
    /// SharedIFCSetID.
    pub shared_criteria: Vec<u32>,
}

/// One PublicIdentity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublicIdentity {
    /// The identity in canonical form.
    pub impu: Impu,
    /// The identity as the HSS wrote it.
    pub text: Box<str>,
    /// BarringIndication.
    pub barred: bool,
    /// IdentityType.
    pub kind: IdentityType,
    /// WildcardedIMPU or WildcardedPSI.
    pub wildcard: Option<Box<str>>,
    /// DisplayName.
    pub display_name: Option<Box<str>>,
    /// AliasIdentityGroupID.
    pub alias_group: Option<Box<str>>,
}

/// IdentityType.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityType {
    /// 0, also when absent.
    PublicUserIdentity,
    /// 1
    DistinctPsi,
    /// 2
    WildcardedPsi,
    /// 3
    NonDistinctImpu,
    /// 4
    WildcardedImpu,
}

/// One InitialFilterCriteria.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InitialFilterCriteria {
    /// Priority, 0 is the highest.
    pub priority: u32,
    /// TriggerPoint; absent: unconditional.
    pub trigger: Option<TriggerPoint>,
    /// The application server.
    pub application_server: ApplicationServer,
    /// ProfilePartIndicator: 0 registered, 1 unregistered.
    pub profile_part: Option<u32>,
}

/// One TriggerPoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriggerPoint {
    /// ConditionTypeCNF.
    pub cnf: bool,
    /// SPT elements.
    pub spts: Vec<ServicePointTrigger>,
}

/// One SPT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServicePointTrigger {
    /// ConditionNegated.
    pub negated: bool,
    /// Group numbers.
    pub groups: Vec<u32>,
    /// The condition.
    pub condition: Condition,
    /// RegistrationType 0 to 2; empty: any. Only with Method REGISTER.
    pub registration_types: Vec<u32>,
}

/// The condition of a service point trigger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// RequestURI, a regular expression.
    RequestUri(Box<str>),
    /// Method.
    Method(Box<str>),
    /// SIPHeader: name and content, regular expressions.
    Header { header: Box<str>, content: Option<Box<str>> },
    /// SessionCase 0 to 4.
    SessionCase(u32),
    /// SessionDescription: line and content, regular expressions.
    SessionDescription { line: Box<str>, content: Option<Box<str>> },
}

/// One ApplicationServer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplicationServer {
    /// ServerName, a SIP URI.
    pub server_name: Box<str>,
    /// DefaultHandling.
    pub default_handling: DefaultHandling,
    /// ServiceInfo.
    pub service_info: Option<Box<str>>,
    /// IncludeRegisterRequest.
    pub include_register_request: bool,
    /// IncludeRegisterResponse.
    pub include_register_response: bool,
}

/// DefaultHandling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultHandling {
    /// 0 SESSION_CONTINUED, also when absent.
    SessionContinued,
    /// 1 SESSION_TERMINATED.
    SessionTerminated,
}

/// Charging-Information (AVP 618).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargingAddresses {
    /// Primary-Event-Charging-Function-Name.
    pub primary_ecf: Option<Box<str>>,
    /// Secondary-Event-Charging-Function-Name.
    pub secondary_ecf: Option<Box<str>>,
    /// Primary-Charging-Collection-Function-Name.
    pub primary_ccf: Option<Box<str>>,
    /// Secondary-Charging-Collection-Function-Name.
    pub secondary_ccf: Option<Box<str>>,
}

impl Subscription {
    /// All public identities in document order.
    pub fn identities(&self) -> impl Iterator<Item = &PublicIdentity> {
        self.profiles.iter().flat_map(|profile| &profile.identities)
    }

    /// The identity `impu`, if it belongs to this set.
    pub fn identity(&self, impu: &Impu) -> Option<&PublicIdentity> {
        self.identities().find(|identity| identity.impu == *impu)
    }

    /// The default public user identity: the first that is distinct and not barred.
    pub fn default_identity(&self) -> Option<&PublicIdentity> {
        self.identities().find(|identity| !identity.barred && identity.is_distinct())
    }
}

impl PublicIdentity {
    /// Whether it stands for itself rather than for a range.
    pub const fn is_distinct(&self) -> bool {
        matches!(self.kind, IdentityType::PublicUserIdentity | IdentityType::DistinctPsi)
    }
}
