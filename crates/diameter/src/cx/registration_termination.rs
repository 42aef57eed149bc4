//! TS 29.228 §6.1.3 — Registration-Termination: the HSS ends registrations.

use super::envelope::{self, Asked, Destination, Fault, member, number};
use crate::{
    Identity, Message,
    codes::{avp, command},
};
use scscf::{
    Impi,
    cx::{DemandAnswer, DeregistrationReason, RegistrationTermination, ResultCode},
};

const fn reason_of(number: u32) -> Option<DeregistrationReason> {
    Some(match number {
        0 => DeregistrationReason::PermanentTermination,
        1 => DeregistrationReason::NewServerAssigned,
        2 => DeregistrationReason::ServerChange,
        3 => DeregistrationReason::RemoveScscf,
        _ => return None,
    })
}

pub(super) fn encode(
    rtr: &RegistrationTermination,
    from: &Identity,
    session_id: &str,
    to: Destination<'_>,
) -> Message {
    envelope::request(command::REGISTRATION_TERMINATION, from, session_id, to, |w| {
        w.text(avp::USER_NAME, rtr.impi.as_str());
        envelope::write_associated_identities(w, &rtr.associated_identities);
        for impu in &rtr.impus {
            w.text(avp::PUBLIC_IDENTITY, impu);
        }
        w.grouped(avp::DEREGISTRATION_REASON, |w| {
            w.unsigned32(avp::REASON_CODE, rtr.reason as u32);
            if let Some(text) = &rtr.reason_info {
                w.text(avp::REASON_INFO, text);
            }
        });
    })
}

/// Destination-Host is not compared with ours: some HSSs derive it from Server-Name, port included.
pub(super) fn decode(asked: Asked<'_>) -> Result<RegistrationTermination, Fault> {
    let group = asked.required(avp::DEREGISTRATION_REASON)?;
    let code = member(&group, avp::REASON_CODE)?.ok_or_else(|| Fault::missing(avp::REASON_CODE))?;
    let reason = reason_of(number(&code)?).ok_or_else(|| Fault::value(&code))?;
    let reason_info = member(&group, avp::REASON_INFO)?.and_then(|text| text.text().ok()).map(Into::into);
    Ok(RegistrationTermination {
        impi: asked.impi()?,
        associated_identities: envelope::associated_identities(asked.0),
        impus: asked.impus()?,
        reason,
        reason_info,
    })
}

pub(super) fn encode_answer(request: &Message, answer: &DemandAnswer, from: &Identity) -> Message {
    envelope::answer(request, answer.result, from, |w| {
        envelope::write_associated_identities(w, &answer.associated_identities);
        for (impi, impu) in &answer.emergency {
            w.grouped(avp::IDENTITY_WITH_EMERGENCY_REGISTRATION, |w| {
                w.text(avp::USER_NAME, impi.as_str()).text(avp::PUBLIC_IDENTITY, impu);
            });
        }
    })
}

pub(super) fn decode_answer(message: &Message) -> DemandAnswer {
    let pairs = message.avps().filter(|avp| avp.is(avp::IDENTITY_WITH_EMERGENCY_REGISTRATION));
    let emergency = pairs.filter_map(|pair| {
        let text = |code| pair.grouped().find(code).ok().flatten().and_then(|avp| avp.text().ok());
        Some((Impi::new(text(avp::USER_NAME)?)?, text(avp::PUBLIC_IDENTITY)?.into()))
    });
    DemandAnswer {
        result: envelope::result_code(message).unwrap_or(ResultCode::UNABLE_TO_COMPLY),
        associated_identities: envelope::associated_identities(message),
        emergency: emergency.collect(),
    }
}
