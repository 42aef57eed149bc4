//! TS 29.228 §6.2.1 — Push-Profile: the HSS sends changed data.

use super::{
    digest,
    envelope::{self, Asked, Destination, Fault},
    multimedia_auth::scheme_text,
};
use crate::{
    Identity, Message,
    codes::{avp, command},
    user_data,
};
use scscf::{
    cx::{PushProfile, Scheme, UserDataError},
    profile::Subscription,
};

pub(super) fn encode(
    ppr: &PushProfile,
    user_data: Option<&[u8]>,
    from: &Identity,
    session_id: &str,
    to: Destination<'_>,
) -> Message {
    envelope::request(command::PUSH_PROFILE, from, session_id, to, |w| {
        w.text(avp::USER_NAME, ppr.impi.as_str());
        if let Some(xml) = user_data {
            w.octets(avp::USER_DATA, xml);
        } else if let Some(Ok(subscription)) = &ppr.user_data {
            w.octets(avp::USER_DATA, &user_data::to_xml(subscription));
        }
        if let Some(charging) = &ppr.charging {
            envelope::write_charging(w, charging);
        }
        if let Some(credentials) = &ppr.auth_data {
            let scheme = if credentials.is_some() { Scheme::SipDigest } else { Scheme::AkaV1Md5 };
            w.grouped(avp::SIP_AUTH_DATA_ITEM, |w| {
                w.text(avp::SIP_AUTHENTICATION_SCHEME, scheme_text(scheme));
                if let Some(credentials) = credentials {
                    digest::write(w, credentials);
                }
            });
        }
    })
}

pub(super) fn decode(
    asked: Asked<'_>,
    read: impl FnOnce(&[u8]) -> Result<Subscription, UserDataError>,
) -> Result<PushProfile, Fault> {
    let auth_data = asked.0.find(avp::SIP_AUTH_DATA_ITEM);
    Ok(PushProfile {
        impi: asked.impi()?,
        user_data: asked.0.find(avp::USER_DATA).map(|xml| read(xml.data)),
        charging: envelope::charging(asked.0),
        auth_data: auth_data.map(|item| digest::read(&item).map_err(|_| Fault::value(&item))).transpose()?,
    })
}
