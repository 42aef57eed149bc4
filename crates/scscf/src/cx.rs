//! TS 29.228 §6 — the Cx operations as values. How they look on the wire is the business of `diameter`.

use crate::{
    Impi,
    profile::{ChargingAddresses, Subscription},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// An HSS as Diameter knows it; learned from its answers and used as Destination-Host and Destination-Realm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hss {
    /// Origin-Host of its answers.
    pub host: Box<str>,
    /// Origin-Realm of its answers.
    pub realm: Box<str>,
}

/// A request of the S-CSCF to the HSS.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Multimedia-Auth-Request, TS 29.228 §6.3.
    MultimediaAuth(MultimediaAuth),
    /// Server-Assignment-Request, TS 29.228 §6.1.2.
    ServerAssignment(ServerAssignment),
}

/// MAR: asks for one authentication vector.
#[derive(Clone, Debug, PartialEq)]
pub struct MultimediaAuth {
    /// Whose credentials.
    pub impi: Impi,
    /// The public user identity being registered, as URI text.
    pub impu: Box<str>,
    /// Wanted scheme.
    pub scheme: Scheme,
    /// RAND and AUTS of a failed synchronisation.
    pub resynchronise: Option<Resynchronisation>,
    /// Name of the S-CSCF, the cluster's.
    pub server_name: Box<str>,
    /// Where to send it, if known.
    pub hss: Option<Hss>,
}

/// What a UE with an unacceptable sequence number answered; RAND(16) and AUTS(14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resynchronisation {
    /// RAND of the challenge.
    pub rand: [u8; 16],
    /// AUTS of the answer.
    pub auts: [u8; 14],
}

/// SIP-Authentication-Scheme (AVP 608).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// `Digest-AKAv1-MD5`
    AkaV1Md5,
    /// `Digest-AKAv2-SHA-256`
    AkaV2Sha256,
    /// `SIP Digest`
    SipDigest,
    /// `NASS-Bundled`
    NassBundled,
    /// `Early-IMS-Security`
    EarlyImsSecurity,
    /// `Unknown`
    Unknown,
}

/// SAR: tells the HSS what became of a registration.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerAssignment {
    /// The private user identity; absent only for unregistered services.
    pub impi: Option<Impi>,
    /// Public user identities, as URI text; one stands for its implicit registration set. Empty: all of the IMPI.
    pub impus: Vec<Box<str>>,
    /// What happened.
    pub assignment: ServerAssignmentType,
    /// User-Data-Already-Available: the profile is held already.
    pub user_data_available: bool,
    /// Name of the S-CSCF, the cluster's.
    pub server_name: Box<str>,
    /// Where to send it, if known.
    pub hss: Option<Hss>,
}

/// Server-Assignment-Type (AVP 614).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u32)]
pub enum ServerAssignmentType {
    /// Fetch without change of state.
    NoAssignment = 0,
    /// First registration of an implicit registration set.
    Registration = 1,
    /// A later registration.
    ReRegistration = 2,
    /// Request for an unregistered public identity.
    UnregisteredUser = 3,
    /// The registration expired.
    TimeoutDeregistration = 4,
    /// The user ended it.
    UserDeregistration = 5,
    /// It expired, and the S-CSCF wants to keep its name assigned.
    TimeoutDeregistrationStoreServerName = 6,
    /// The user ended it, and the S-CSCF wants to keep its name assigned.
    UserDeregistrationStoreServerName = 7,
    /// The network ended it.
    AdministrativeDeregistration = 8,
    /// Authentication failed.
    AuthenticationFailure = 9,
    /// Authentication timed out.
    AuthenticationTimeout = 10,
    /// The profile is too large or unreadable.
    DeregistrationTooMuchData = 11,
}

/// The HSS's answer to a [`Request`], or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Multimedia-Auth-Answer.
    MultimediaAuth(Result<MultimediaAuthAnswer, Failure>),
    /// Server-Assignment-Answer.
    ServerAssignment(Result<ServerAssignmentAnswer, Failure>),
}

/// A successful MAA.
#[derive(Clone, Debug, PartialEq)]
pub struct MultimediaAuthAnswer {
    /// Who answered.
    pub hss: Option<Hss>,
    /// SIP-Auth-Data-Items in the order of SIP-Item-Number; may be empty.
    pub items: Vec<AuthItem>,
}

/// One SIP-Auth-Data-Item.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthItem {
    /// An AKA authentication vector.
    Aka(AuthenticationVector),
    /// SIP Digest credentials.
    Digest(DigestCredentials),
}

/// An AKA authentication vector, TS 33.203 §6.1.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthenticationVector {
    /// RAND.
    pub rand: [u8; 16],
    /// AUTN.
    pub autn: [u8; 16],
    /// XRES, 4 to 16 octets.
    pub xres: Secret,
    /// CK, 16 octets.
    pub ck: Secret,
    /// IK, 16 octets.
    pub ik: Secret,
}

impl fmt::Debug for AuthenticationVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthenticationVector(..)")
    }
}

/// SIP Digest credentials, TS 29.229 §6.3.36.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestCredentials {
    /// Digest-Realm.
    pub realm: Box<str>,
    /// HA1 as 32 hexadecimal digits.
    pub ha1: Secret,
    /// Digest-QoP.
    pub qop: Box<str>,
}

/// Octets that no log, view or error may show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Keeps `octets` out of sight.
    pub fn new(octets: &[u8]) -> Self {
        Self(octets.into())
    }

    /// The octets, for the arithmetic that needs them.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A successful SAA.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerAssignmentAnswer {
    /// Who answered.
    pub hss: Option<Hss>,
    /// User-Data, if there was any: the profile, or why it cannot be used.
    pub user_data: Option<Result<Subscription, UserDataError>>,
    /// Charging-Information.
    pub charging: Option<ChargingAddresses>,
    /// Associated-Identities: all private user identities of the subscription.
    pub associated_identities: Vec<Impi>,
    /// DIAMETER_SUCCESS_SERVER_NAME_NOT_STORED (experimental 2004).
    pub server_name_not_stored: bool,
}

/// Why User-Data cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserDataError {
    /// It is no well-formed or no valid IMSSubscription.
    #[error("user data cannot be parsed: {0}")]
    Malformed(Box<str>),
    /// It is larger than the limit, in octets.
    #[error("user data of {0} octets is too large")]
    TooLarge(usize),
}

/// Why a Cx request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No answer in time, no connection, DIAMETER_UNABLE_TO_DELIVER or DIAMETER_TOO_BUSY.
    #[error("the HSS cannot be reached")]
    Unreachable,
    /// Refused with this code.
    #[error("the HSS refused: {0}")]
    Refused(ResultCode),
    /// Answered with something that is no valid answer.
    #[error("the answer of the HSS is malformed: {0}")]
    Malformed(Box<str>),
}

/// A result code; the same number means other things as base and as experimental code (TS 29.229 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ResultCode {
    /// Result-Code (AVP 268).
    Base(u32),
    /// Experimental-Result-Code (AVP 298) of vendor 10415.
    Experimental(u32),
}

impl ResultCode {
    /// DIAMETER_SUCCESS
    pub const SUCCESS: Self = Self::Base(2001);
    /// DIAMETER_LIMITED_SUCCESS
    pub const LIMITED_SUCCESS: Self = Self::Base(2002);
    /// DIAMETER_TOO_BUSY
    pub const TOO_BUSY: Self = Self::Base(3004);
    /// DIAMETER_AUTHORIZATION_REJECTED
    pub const AUTHORIZATION_REJECTED: Self = Self::Base(5003);
    /// DIAMETER_UNKNOWN_SESSION_ID
    pub const UNKNOWN_SESSION_ID: Self = Self::Base(5002);
    /// DIAMETER_AVP_OCCURS_TOO_MANY_TIMES
    pub const AVP_OCCURS_TOO_MANY_TIMES: Self = Self::Base(5009);
    /// DIAMETER_UNABLE_TO_COMPLY
    pub const UNABLE_TO_COMPLY: Self = Self::Base(5012);
    /// DIAMETER_ERROR_USER_UNKNOWN
    pub const USER_UNKNOWN: Self = Self::Experimental(5001);
    /// DIAMETER_ERROR_IDENTITIES_DONT_MATCH
    pub const IDENTITIES_DONT_MATCH: Self = Self::Experimental(5002);
    /// DIAMETER_ERROR_ROAMING_NOT_ALLOWED
    pub const ROAMING_NOT_ALLOWED: Self = Self::Experimental(5004);
    /// DIAMETER_ERROR_IDENTITY_ALREADY_REGISTERED
    pub const IDENTITY_ALREADY_REGISTERED: Self = Self::Experimental(5005);
    /// DIAMETER_ERROR_AUTH_SCHEME_NOT_SUPPORTED
    pub const AUTH_SCHEME_NOT_SUPPORTED: Self = Self::Experimental(5006);
    /// DIAMETER_ERROR_IN_ASSIGNMENT_TYPE
    pub const IN_ASSIGNMENT_TYPE: Self = Self::Experimental(5007);
    /// DIAMETER_ERROR_TOO_MUCH_DATA
    pub const TOO_MUCH_DATA: Self = Self::Experimental(5008);
    /// DIAMETER_ERROR_NOT_SUPPORTED_USER_DATA
    pub const NOT_SUPPORTED_USER_DATA: Self = Self::Experimental(5009);
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base(code) => write!(f, "Result-Code {code}"),
            Self::Experimental(code) => write!(f, "Experimental-Result-Code {code}"),
        }
    }
}

/// A request of the HSS to the S-CSCF.
#[derive(Clone, Debug, PartialEq)]
pub enum Demand {
    /// Registration-Termination-Request, TS 29.228 §6.1.3.
    RegistrationTermination(RegistrationTermination),
    /// Push-Profile-Request, TS 29.228 §6.2.1.
    PushProfile(PushProfile),
    /// Re-Auth-Request, RFC 6733 §8.3: asks for re-authentication.
    ReAuth(ReAuth),
}

impl Demand {
    /// Whom it concerns.
    pub fn impi(&self) -> &Impi {
        match self {
            Self::RegistrationTermination(rtr) => &rtr.impi,
            Self::PushProfile(ppr) => &ppr.impi,
            Self::ReAuth(rar) => &rar.impi,
        }
    }
}

/// RTR: the HSS ends registrations.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistrationTermination {
    /// User-Name.
    pub impi: Impi,
    /// Associated-Identities: further private user identities it concerns.
    pub associated_identities: Vec<Impi>,
    /// Public-Identity, as URI text; empty: all of the identities above.
    pub impus: Vec<Box<str>>,
    /// Reason-Code.
    pub reason: DeregistrationReason,
    /// Reason-Info.
    pub reason_info: Option<Box<str>>,
}

/// Reason-Code (AVP 616).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u32)]
pub enum DeregistrationReason {
    /// The subscription ended.
    PermanentTermination = 0,
    /// Another S-CSCF serves the user now.
    NewServerAssigned = 1,
    /// The user shall register anew, at another S-CSCF.
    ServerChange = 2,
    /// The S-CSCF need no longer keep the profile of an unregistered user.
    RemoveScscf = 3,
}

/// PPR: the HSS pushes changed data.
#[derive(Clone, Debug, PartialEq)]
pub struct PushProfile {
    /// User-Name.
    pub impi: Impi,
    /// User-Data.
    pub user_data: Option<Result<Subscription, UserDataError>>,
    /// Charging-Information.
    pub charging: Option<ChargingAddresses>,
    /// SIP-Auth-Data-Item was present; with digest credentials when it carried some.
    pub auth_data: Option<Option<DigestCredentials>>,
}

/// RAR: the HSS asks that the user re-authenticate.
#[derive(Clone, Debug, PartialEq)]
pub struct ReAuth {
    /// User-Name.
    pub impi: Impi,
}

/// The S-CSCF's answer to a [`Demand`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemandAnswer {
    /// The result.
    pub result: ResultCode,
    /// Private user identities deregistered, when more than one (RTA).
    pub associated_identities: Vec<Impi>,
    /// Identity pairs kept because of an emergency registration (RTA).
    pub emergency: Vec<(Impi, Box<str>)>,
}

impl DemandAnswer {
    /// An answer that carries a result and nothing else.
    pub const fn of(result: ResultCode) -> Self {
        Self { result, associated_identities: Vec::new(), emergency: Vec::new() }
    }
}
