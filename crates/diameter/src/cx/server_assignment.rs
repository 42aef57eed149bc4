//! TS 29.228 §6.1.2 — Server-Assignment: what became of a registration, and the user's profile in return.

use super::{
    Assigned, EncodeError,
    envelope::{self, Asked, Destination, Fault},
};
use crate::{
    Identity, Message,
    codes::{avp, command, experimental, result},
};
use scscf::{
    cx::{
        Failure, ResultCode, ServerAssignment, ServerAssignmentAnswer, ServerAssignmentType, UserDataError,
    },
    profile::Subscription,
};

/// Whether a SAR of this type names exactly one public identity.
const fn is_for_one(assignment: ServerAssignmentType) -> bool {
    use ServerAssignmentType as T;
    match assignment {
        T::NoAssignment
        | T::Registration
        | T::ReRegistration
        | T::UnregisteredUser
        | T::AuthenticationFailure
        | T::AuthenticationTimeout => true,
        T::TimeoutDeregistration
        | T::UserDeregistration
        | T::TimeoutDeregistrationStoreServerName
        | T::UserDeregistrationStoreServerName
        | T::AdministrativeDeregistration
        | T::DeregistrationTooMuchData => false,
    }
}

const fn assignment_of(number: u32) -> Option<ServerAssignmentType> {
    use ServerAssignmentType as T;
    Some(match number {
        0 => T::NoAssignment,
        1 => T::Registration,
        2 => T::ReRegistration,
        3 => T::UnregisteredUser,
        4 => T::TimeoutDeregistration,
        5 => T::UserDeregistration,
        6 => T::TimeoutDeregistrationStoreServerName,
        7 => T::UserDeregistrationStoreServerName,
        8 => T::AdministrativeDeregistration,
        9 => T::AuthenticationFailure,
        10 => T::AuthenticationTimeout,
        11 => T::DeregistrationTooMuchData,
        _ => return None,
    })
}

pub(super) fn encode(
    sar: &ServerAssignment,
    from: &Identity,
    session_id: &str,
    realm: &str,
) -> Result<Message, EncodeError> {
    let count = sar.impus.len();
    if count > 1 && is_for_one(sar.assignment) {
        return Err(EncodeError::TooManyIdentities { assignment: sar.assignment, count });
    }
    if count == 0 && sar.impi.is_none() {
        return Err(EncodeError::NoIdentity);
    }
    let to = Destination::of(sar.hss.as_ref(), realm);
    Ok(envelope::request(command::SERVER_ASSIGNMENT, from, session_id, to, |w| {
        if let Some(impi) = &sar.impi {
            w.text(avp::USER_NAME, impi.as_str());
        }
        for impu in &sar.impus {
            w.text(avp::PUBLIC_IDENTITY, impu);
        }
        w.text(avp::SERVER_NAME, &sar.server_name)
            .unsigned32(avp::SERVER_ASSIGNMENT_TYPE, sar.assignment as u32)
            .unsigned32(avp::USER_DATA_ALREADY_AVAILABLE, sar.user_data_available.into());
    }))
}

pub(super) fn decode(asked: Asked<'_>) -> Result<ServerAssignment, Fault> {
    let kind = asked.required(avp::SERVER_ASSIGNMENT_TYPE)?;
    let assignment = assignment_of(envelope::number(&kind)?).ok_or_else(|| Fault::value(&kind))?;
    let impus = asked.impus()?;
    if is_for_one(assignment)
        && let Some(second) = asked.0.avps().filter(|avp| avp.is(avp::PUBLIC_IDENTITY)).nth(1)
    {
        return Err(Fault::about(result::AVP_OCCURS_TOO_MANY_TIMES, &second));
    }
    let impi = asked.optional_impi()?;
    if impi.is_none() && impus.is_empty() {
        return Err(Fault::missing(avp::PUBLIC_IDENTITY));
    }
    Ok(ServerAssignment {
        impi,
        impus,
        assignment,
        user_data_available: asked.unsigned32(avp::USER_DATA_ALREADY_AVAILABLE)? == 1,
        server_name: asked.text(avp::SERVER_NAME)?.into(),
        hss: asked.destination(),
    })
}

pub(super) fn encode_answer(request: &Message, assigned: &Assigned, from: &Identity) -> Message {
    let code = if assigned.server_name_not_stored {
        ResultCode::Experimental(experimental::SERVER_NAME_NOT_STORED)
    } else {
        ResultCode::SUCCESS
    };
    envelope::answer(request, code, from, |w| {
        if let Some(impi) = request.find(avp::USER_NAME) {
            w.copy(&impi);
        }
        if let Some(xml) = &assigned.user_data {
            w.octets(avp::USER_DATA, xml);
        }
        if let Some(charging) = &assigned.charging {
            envelope::write_charging(w, charging);
        }
        envelope::write_associated_identities(w, &assigned.associated_identities);
    })
}

pub(super) fn decode_answer(
    message: &Message,
    read: impl FnOnce(&[u8]) -> Result<Subscription, UserDataError>,
) -> Result<ServerAssignmentAnswer, Failure> {
    let server_name_not_stored = match envelope::outcome(message)? {
        ResultCode::Base(result::SUCCESS | result::LIMITED_SUCCESS) => false,
        ResultCode::Experimental(experimental::SERVER_NAME_NOT_STORED) => true,
        code @ (ResultCode::Base(_) | ResultCode::Experimental(_)) => return Err(Failure::Refused(code)),
    };
    Ok(ServerAssignmentAnswer {
        hss: envelope::hss(message),
        user_data: message.find(avp::USER_DATA).filter(|xml| !xml.data.is_empty()).map(|xml| read(xml.data)),
        charging: envelope::charging(message),
        associated_identities: envelope::associated_identities(message),
        server_name_not_stored,
    })
}
