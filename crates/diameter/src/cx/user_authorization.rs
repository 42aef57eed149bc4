//! TS 29.228 §6.1.1 — User-Authorization: an I-CSCF asks which S-CSCF a REGISTER shall go to.

use super::envelope::{self, Asked, Destination, Fault, malformed};
use crate::{
    Identity, Message,
    codes::{avp, command, experimental, result},
};
use scscf::{
    Impi,
    cx::{Failure, Hss, ResultCode},
};

/// UAR.
#[derive(Clone, Debug, PartialEq)]
pub struct UserAuthorization {
    /// User-Name.
    pub impi: Impi,
    /// Public-Identity, as URI text.
    pub impu: Box<str>,
    /// Visited-Network-Identifier.
    pub visited_network: Box<str>,
    /// User-Authorization-Type.
    pub kind: AuthorizationType,
    /// UAR-Flags bit 0: emergency registration.
    pub emergency: bool,
    /// Where to send it, if known.
    pub hss: Option<Hss>,
}

/// User-Authorization-Type (AVP 623).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AuthorizationType {
    /// Also when absent.
    Registration = 0,
    /// The REGISTER ends the registration.
    DeRegistration = 1,
    /// Another S-CSCF is wanted, with its capabilities.
    RegistrationAndCapabilities = 2,
}

/// UAA or LIA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFound {
    /// A success: base 2001 or experimental 2001 to 2003.
    pub result: ResultCode,
    /// Server-Name, if one is assigned.
    pub server_name: Option<Box<str>>,
    /// Server-Capabilities, to choose one by.
    pub capabilities: Option<Capabilities>,
}

/// Server-Capabilities (AVP 603).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Mandatory-Capability.
    pub mandatory: Vec<u32>,
    /// Optional-Capability.
    pub optional: Vec<u32>,
    /// Server-Name.
    pub servers: Vec<Box<str>>,
}

pub(super) fn encode(uar: &UserAuthorization, from: &Identity, session_id: &str, realm: &str) -> Message {
    let to = Destination::of(uar.hss.as_ref(), realm);
    envelope::request(command::USER_AUTHORIZATION, from, session_id, to, |w| {
        w.text(avp::USER_NAME, uar.impi.as_str())
            .text(avp::PUBLIC_IDENTITY, &uar.impu)
            .text(avp::VISITED_NETWORK_IDENTIFIER, &uar.visited_network)
            .unsigned32(avp::USER_AUTHORIZATION_TYPE, uar.kind as u32);
        if uar.emergency {
            w.unsigned32(avp::UAR_FLAGS, 1);
        }
    })
}

pub(super) fn decode(asked: Asked<'_>) -> Result<UserAuthorization, Fault> {
    let kind = match asked.optional_unsigned32(avp::USER_AUTHORIZATION_TYPE)? {
        None | Some(0) => AuthorizationType::Registration,
        Some(1) => AuthorizationType::DeRegistration,
        Some(2) => AuthorizationType::RegistrationAndCapabilities,
        Some(_) => return Err(Fault::value(&asked.required(avp::USER_AUTHORIZATION_TYPE)?)),
    };
    let visited = asked.required(avp::VISITED_NETWORK_IDENTIFIER)?;
    Ok(UserAuthorization {
        impi: asked.impi()?,
        impu: asked.text(avp::PUBLIC_IDENTITY)?.into(),
        visited_network: String::from_utf8_lossy(visited.data).into(),
        kind,
        emergency: asked.optional_unsigned32(avp::UAR_FLAGS)?.is_some_and(|flags| flags & 1 != 0),
        hss: asked.destination(),
    })
}

pub(super) fn encode_answer(request: &Message, found: &ServerFound, from: &Identity) -> Message {
    envelope::answer(request, found.result, from, |w| {
        if let Some(name) = &found.server_name {
            w.text(avp::SERVER_NAME, name);
        }
        if let Some(capabilities) = &found.capabilities {
            w.grouped(avp::SERVER_CAPABILITIES, |w| {
                for number in &capabilities.mandatory {
                    w.unsigned32(avp::MANDATORY_CAPABILITY, *number);
                }
                for number in &capabilities.optional {
                    w.unsigned32(avp::OPTIONAL_CAPABILITY, *number);
                }
                for name in &capabilities.servers {
                    w.text(avp::SERVER_NAME, name);
                }
            });
        }
    })
}

pub(super) fn decode_answer(message: &Message) -> Result<ServerFound, Failure> {
    let code = envelope::outcome(message)?;
    match code {
        ResultCode::Base(result::SUCCESS | result::LIMITED_SUCCESS)
        | ResultCode::Experimental(experimental::FIRST_REGISTRATION..=experimental::UNREGISTERED_SERVICE) => {
        }
        ResultCode::Base(_) | ResultCode::Experimental(_) => return Err(Failure::Refused(code)),
    }
    let mut capabilities = None;
    if let Some(group) = message.find(avp::SERVER_CAPABILITIES) {
        let wanted: &mut Capabilities = capabilities.insert(Capabilities::default());
        for member in group.grouped() {
            let member = member.map_err(envelope::misread)?;
            if member.is(avp::MANDATORY_CAPABILITY) {
                wanted.mandatory.push(member.unsigned32().map_err(envelope::misread)?);
            } else if member.is(avp::OPTIONAL_CAPABILITY) {
                wanted.optional.push(member.unsigned32().map_err(envelope::misread)?);
            } else if member.is(avp::SERVER_NAME) {
                wanted.servers.push(member.text().map_err(envelope::misread)?.into());
            }
        }
    }
    let server_name = match message.find(avp::SERVER_NAME) {
        Some(name) => Some(name.text().map_err(|_| malformed("its Server-Name is not UTF-8"))?.into()),
        None => None,
    };
    Ok(ServerFound { result: code, server_name, capabilities })
}
