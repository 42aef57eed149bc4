//! TS 29.228 §6.1.4 — Location-Info: an I-CSCF asks which S-CSCF serves a public identity.

use super::envelope::{self, Asked, Destination, Fault};
use crate::{
    Identity, Message,
    codes::{avp, command},
};
use scscf::cx::Hss;

/// LIR.
#[derive(Clone, Debug, PartialEq)]
pub struct LocationQuery {
    /// Public-Identity, as URI text.
    pub impu: Box<str>,
    /// Originating-Request is present.
    pub originating: bool,
    /// Where to send it, if known.
    pub hss: Option<Hss>,
}

pub(super) fn encode(lir: &LocationQuery, from: &Identity, session_id: &str, realm: &str) -> Message {
    let to = Destination::of(lir.hss.as_ref(), realm);
    envelope::request(command::LOCATION_INFO, from, session_id, to, |w| {
        if lir.originating {
            w.unsigned32(avp::ORIGINATING_REQUEST, 0);
        }
        w.text(avp::PUBLIC_IDENTITY, &lir.impu);
    })
}

pub(super) fn decode(asked: Asked<'_>) -> Result<LocationQuery, Fault> {
    Ok(LocationQuery {
        impu: asked.text(avp::PUBLIC_IDENTITY)?.into(),
        originating: asked.0.find(avp::ORIGINATING_REQUEST).is_some(),
        hss: asked.destination(),
    })
}
