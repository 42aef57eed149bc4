//! TS 29.229 §6.1 — the Cx commands: values of `scscf::cx` to messages and back, for both sides of the interface.

mod digest;
mod envelope;
mod location;
mod multimedia_auth;
mod push_profile;
mod re_auth;
mod registration_termination;
mod server_assignment;
mod user_authorization;

pub use envelope::result_code;
pub use location::LocationQuery;
pub use user_authorization::{AuthorizationType, Capabilities, ServerFound, UserAuthorization};

use crate::{
    Identity, Message,
    codes::{command, result},
    user_data,
};
use bytes::Bytes;
use envelope::{Asked, Fault};
use scscf::{
    Impi,
    cx::{
        Answer, Demand, DemandAnswer, Failure, MultimediaAuth, MultimediaAuthAnswer, Request, ResultCode,
        ServerAssignment, ServerAssignmentType, UserDataError,
    },
    profile::{ChargingAddresses, Subscription},
};

/// Which answer a request awaits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MAA.
    MultimediaAuth,
    /// SAA.
    ServerAssignment,
}

impl Kind {
    /// The kind of `request`.
    pub const fn of(request: &Request) -> Self {
        match request {
            Request::MultimediaAuth(_) => Self::MultimediaAuth,
            Request::ServerAssignment(_) => Self::ServerAssignment,
        }
    }

    /// The answer of this kind that tells of a failure.
    pub const fn failed(self, failure: Failure) -> Answer {
        match self {
            Self::MultimediaAuth => Answer::MultimediaAuth(Err(failure)),
            Self::ServerAssignment => Answer::ServerAssignment(Err(failure)),
        }
    }
}

/// Why a value is no legal request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// TS 29.228 §6.1.2: this Server-Assignment-Type names one public identity.
    #[error("a server assignment of type {assignment:?} takes one public identity, not {count}")]
    TooManyIdentities {
        /// Server-Assignment-Type.
        assignment: ServerAssignmentType,
        /// Public identities in the request.
        count: usize,
    },
    /// TS 29.228 §6.1.2: neither a private nor a public identity.
    #[error("a server assignment names no identity")]
    NoIdentity,
}

/// A request to the HSS, of the S-CSCF or the I-CSCF.
#[derive(Clone, Debug, PartialEq)]
pub enum HssRequest {
    /// UAR.
    UserAuthorization(UserAuthorization),
    /// LIR.
    Location(LocationQuery),
    /// MAR.
    MultimediaAuth(MultimediaAuth),
    /// SAR.
    ServerAssignment(ServerAssignment),
}

/// The HSS's answer as the HSS gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum HssAnswer {
    /// UAA or LIA.
    Server(ServerFound),
    /// MAA; its `hss` is not used.
    MultimediaAuth(MultimediaAuthAnswer),
    /// SAA.
    ServerAssignment(Assigned),
    /// Any answer that carries a result and nothing else.
    Result(ResultCode),
}

/// A successful SAA as the HSS gives it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assigned {
    /// User-Data as XML.
    pub user_data: Option<Bytes>,
    /// Charging-Information.
    pub charging: Option<ChargingAddresses>,
    /// Associated-Identities.
    pub associated_identities: Vec<Impi>,
    /// Answer experimental 2004 instead of 2001.
    pub server_name_not_stored: bool,
}

/// MAR or SAR of the S-CSCF. `session_id` is unique for ever (RFC 6733 §8.8); `destination_realm` serves while no HSS
/// is known for the user.
pub fn encode_request(
    request: &Request,
    from: &Identity,
    session_id: &str,
    destination_realm: &str,
) -> Result<Message, EncodeError> {
    match request {
        Request::MultimediaAuth(mar) => Ok(multimedia_auth::encode(mar, from, session_id, destination_realm)),
        Request::ServerAssignment(sar) => server_assignment::encode(sar, from, session_id, destination_realm),
    }
}

/// MAA or SAA as the S-CSCF sees it. The application identifier is not looked at: some HSSs get it wrong in errors.
pub fn decode_answer(kind: Kind, message: &Message) -> Answer {
    decode_answer_with(kind, message, user_data::parse)
}

/// As [`decode_answer`], with a reader of User-Data that may remember what it has read before.
pub fn decode_answer_with(
    kind: Kind,
    message: &Message,
    read: impl FnOnce(&[u8]) -> Result<Subscription, UserDataError>,
) -> Answer {
    match kind {
        Kind::MultimediaAuth => Answer::MultimediaAuth(multimedia_auth::decode_answer(message)),
        Kind::ServerAssignment => Answer::ServerAssignment(server_assignment::decode_answer(message, read)),
    }
}

/// RTR, PPR or RAR as the S-CSCF sees it, or the answer that refuses it.
pub fn decode_demand(message: &Message, from: &Identity) -> Result<Demand, Message> {
    decode_demand_with(message, from, user_data::parse)
}

/// As [`decode_demand`], with a reader of User-Data that may remember what it has read before.
pub fn decode_demand_with(
    message: &Message,
    from: &Identity,
    read: impl FnOnce(&[u8]) -> Result<Subscription, UserDataError>,
) -> Result<Demand, Message> {
    let asked = Asked(message);
    let demand = match message.command {
        command::REGISTRATION_TERMINATION => {
            registration_termination::decode(asked).map(Demand::RegistrationTermination)
        }
        command::PUSH_PROFILE => push_profile::decode(asked, read).map(Demand::PushProfile),
        command::RE_AUTH => re_auth::decode(asked).map(Demand::ReAuth),
        _ => Err(Fault::bare(result::COMMAND_UNSUPPORTED)),
    };
    demand.map_err(|fault| fault.answer(message, from))
}

/// RTA, PPA or RAA for `request`.
pub fn encode_demand_answer(request: &Message, answer: &DemandAnswer, from: &Identity) -> Message {
    match request.command {
        command::REGISTRATION_TERMINATION => registration_termination::encode_answer(request, answer, from),
        command::RE_AUTH => re_auth::encode_answer(request, answer.result, from),
        _ => envelope::answer(request, answer.result, from, |_| {}),
    }
}

/// UAR, LIR, MAR or SAR as the HSS sees it, or the answer that refuses it.
pub fn decode_request(message: &Message, from: &Identity) -> Result<HssRequest, Message> {
    let asked = Asked(message);
    let request = match message.command {
        command::USER_AUTHORIZATION => user_authorization::decode(asked).map(HssRequest::UserAuthorization),
        command::LOCATION_INFO => location::decode(asked).map(HssRequest::Location),
        command::MULTIMEDIA_AUTH => multimedia_auth::decode(asked).map(HssRequest::MultimediaAuth),
        command::SERVER_ASSIGNMENT => server_assignment::decode(asked).map(HssRequest::ServerAssignment),
        _ => Err(Fault::bare(result::COMMAND_UNSUPPORTED)),
    };
    request.map_err(|fault| fault.answer(message, from))
}

/// The HSS's answer to `request`.
pub fn encode_answer(request: &Message, answer: &HssAnswer, from: &Identity) -> Message {
    match answer {
        HssAnswer::Server(found) => user_authorization::encode_answer(request, found, from),
        HssAnswer::MultimediaAuth(answer) => multimedia_auth::encode_answer(request, answer, from),
        HssAnswer::ServerAssignment(assigned) => server_assignment::encode_answer(request, assigned, from),
        HssAnswer::Result(code) => envelope::answer(request, *code, from, |_| {}),
    }
}

/// UAR of an I-CSCF.
pub fn encode_user_authorization(
    request: &UserAuthorization,
    from: &Identity,
    session_id: &str,
    destination_realm: &str,
) -> Message {
    user_authorization::encode(request, from, session_id, destination_realm)
}

/// LIR of an I-CSCF.
pub fn encode_location(
    request: &LocationQuery,
    from: &Identity,
    session_id: &str,
    destination_realm: &str,
) -> Message {
    location::encode(request, from, session_id, destination_realm)
}

/// UAA or LIA as the I-CSCF sees it.
pub fn decode_server_answer(message: &Message) -> Result<ServerFound, Failure> {
    user_authorization::decode_answer(message)
}

/// RTR, PPR or RAR of the HSS. A PPR carries `user_data` if given, else its own profile written as XML.
pub fn encode_demand(
    demand: &Demand,
    user_data: Option<&[u8]>,
    from: &Identity,
    session_id: &str,
    destination_host: &str,
    destination_realm: &str,
) -> Message {
    let to = envelope::Destination { host: Some(destination_host), realm: destination_realm };
    match demand {
        Demand::RegistrationTermination(rtr) => registration_termination::encode(rtr, from, session_id, to),
        Demand::PushProfile(ppr) => push_profile::encode(ppr, user_data, from, session_id, to),
        Demand::ReAuth(rar) => re_auth::encode(rar, from, session_id, to),
    }
}

/// RTA, PPA or RAA as the HSS sees it; an answer without any result counts as DIAMETER_UNABLE_TO_COMPLY.
pub fn decode_demand_answer(message: &Message) -> DemandAnswer {
    registration_termination::decode_answer(message)
}
