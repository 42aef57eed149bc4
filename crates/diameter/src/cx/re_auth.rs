//! RFC 6733 §8.3 — Re-Auth-Request within Cx: the HSS asks that a user re-authenticate.

use super::envelope::{self, Asked, Destination, Fault};
use crate::{
    Identity, Message,
    codes::{application, avp, command},
};
use scscf::cx::{ReAuth, ResultCode};

const AUTHORIZE_AUTHENTICATE: u32 = 1;

pub(super) fn encode(rar: &ReAuth, from: &Identity, session_id: &str, to: Destination<'_>) -> Message {
    envelope::request(command::RE_AUTH, from, session_id, to, |w| {
        w.unsigned32(avp::AUTH_APPLICATION_ID, application::CX)
            .unsigned32(avp::RE_AUTH_REQUEST_TYPE, AUTHORIZE_AUTHENTICATE)
            .text(avp::USER_NAME, rar.impi.as_str());
    })
}

pub(super) fn decode(asked: Asked<'_>) -> Result<ReAuth, Fault> {
    Ok(ReAuth { impi: asked.impi()? })
}

pub(super) fn encode_answer(request: &Message, code: ResultCode, from: &Identity) -> Message {
    envelope::answer(request, code, from, |w| {
        if let Some(impi) = request.find(avp::USER_NAME) {
            w.copy(&impi);
        }
    })
}
