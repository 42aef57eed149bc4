//! RFC 6733 §5 — capabilities exchange, watchdog and disconnection as messages.

use crate::{
    Identity, Message,
    avp::Writer,
    codes::{application, avp, command, result, vendor},
};

/// Disconnect-Cause (AVP 273).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DisconnectCause {
    /// It will come back.
    Rebooting = 0,
    /// It lacks resources.
    Busy = 1,
    /// It does not expect to need this connection.
    DoNotWantToTalkToYou = 2,
}

impl DisconnectCause {
    /// The cause of this number; an unknown one means the peer wants no connection.
    pub const fn of(number: u32) -> Self {
        match number {
            0 => Self::Rebooting,
            1 => Self::Busy,
            _ => Self::DoNotWantToTalkToYou,
        }
    }
}

/// Vendor-Specific-Application-Id for an application of 3GPP.
pub(crate) fn vendor_specific_application(writer: &mut Writer, application: u32) {
    writer.grouped(avp::VENDOR_SPECIFIC_APPLICATION_ID, |w| {
        w.unsigned32(avp::VENDOR_ID, vendor::TGPP).unsigned32(avp::AUTH_APPLICATION_ID, application);
    });
}

fn origin(writer: &mut Writer, from: &Identity) {
    writer.text(avp::ORIGIN_HOST, &from.origin_host).text(avp::ORIGIN_REALM, &from.origin_realm);
}

fn capabilities(writer: &mut Writer, from: &Identity) {
    origin(writer, from);
    writer
        .address(avp::HOST_IP_ADDRESS, from.host_ip)
        .unsigned32(avp::VENDOR_ID, from.vendor)
        .text(avp::PRODUCT_NAME, &from.product)
        .unsigned32(avp::ORIGIN_STATE_ID, from.origin_state_id)
        .unsigned32(avp::SUPPORTED_VENDOR_ID, vendor::TGPP)
        .unsigned32(avp::SUPPORTED_VENDOR_ID, vendor::ETSI)
        .unsigned32(avp::AUTH_APPLICATION_ID, application::CX)
        .unsigned32(avp::INBAND_SECURITY_ID, 0);
    vendor_specific_application(writer, application::CX);
    writer.unsigned32(avp::FIRMWARE_REVISION, 1);
}

/// CER, RFC 6733 §5.3.1.
pub fn capabilities_request(from: &Identity) -> Message {
    Message::request(command::CAPABILITIES_EXCHANGE, application::BASE, 0, |w| capabilities(w, from))
}

/// CEA, RFC 6733 §5.3.2.
pub fn capabilities_answer(request: &Message, code: u32, from: &Identity) -> Message {
    request.answer(0, |w| {
        w.unsigned32(avp::RESULT_CODE, code);
        capabilities(w, from);
    })
}

/// Whether a CER or CEA announces Cx, also within Vendor-Specific-Application-Id, or that it relays.
pub fn has_common_application(capabilities: &Message) -> bool {
    let common = |id: Option<u32>| matches!(id, Some(application::CX | application::RELAY));
    capabilities.avps().any(|a| {
        if a.is(avp::AUTH_APPLICATION_ID) {
            common(a.unsigned32().ok())
        } else if a.is(avp::VENDOR_SPECIFIC_APPLICATION_ID) {
            let id = a.grouped().find(avp::AUTH_APPLICATION_ID).ok().flatten();
            common(id.and_then(|id| id.unsigned32().ok()))
        } else {
            false
        }
    })
}

/// DWR, RFC 6733 §5.5.1.
pub fn watchdog_request(from: &Identity) -> Message {
    Message::request(command::DEVICE_WATCHDOG, application::BASE, 0, |w| {
        origin(w, from);
        w.unsigned32(avp::ORIGIN_STATE_ID, from.origin_state_id);
    })
}

/// DWA, RFC 6733 §5.5.2.
pub fn watchdog_answer(request: &Message, from: &Identity) -> Message {
    request.answer(0, |w| {
        w.unsigned32(avp::RESULT_CODE, result::SUCCESS);
        origin(w, from);
        w.unsigned32(avp::ORIGIN_STATE_ID, from.origin_state_id);
    })
}

/// DPR, RFC 6733 §5.4.1.
pub fn disconnect_request(cause: DisconnectCause, from: &Identity) -> Message {
    Message::request(command::DISCONNECT_PEER, application::BASE, 0, |w| {
        origin(w, from);
        w.unsigned32(avp::DISCONNECT_CAUSE, cause as u32);
    })
}

/// DPA, RFC 6733 §5.4.2.
pub fn disconnect_answer(request: &Message, from: &Identity) -> Message {
    request.answer(0, |w| {
        w.unsigned32(avp::RESULT_CODE, result::SUCCESS);
        origin(w, from);
    })
}

/// Whether the local side wins the election when both peers have connected, RFC 6733 §5.6.4: the higher Origin-Host
/// keeps the connection it accepted, the other keeps the one it opened.
pub fn wins_election(ours: &str, theirs: &str) -> bool {
    let lower = |text: &str| text.to_ascii_lowercase();
    lower(ours) > lower(theirs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ce_03_supported_vendors_of_cer_and_cea() {
        let us = Identity::new("scscf", "home");
        let cer = capabilities_request(&us);
        for message in [capabilities_answer(&cer, 2001, &us), cer] {
            let vendors: Vec<_> = message
                .avps()
                .filter(|a| a.is(avp::SUPPORTED_VENDOR_ID))
                .map(|a| a.unsigned32().unwrap())
                .collect();
            assert_eq!(vendors, [10415, 13019]);
            assert!(has_common_application(&message));
        }
    }

    #[test]
    fn common_application_is_found_in_either_place_and_nowhere_else() {
        let with = |fill: fn(&mut Writer)| Message::request(257, 0, 0, fill);
        assert!(has_common_application(&with(|w| {
            w.unsigned32(avp::AUTH_APPLICATION_ID, application::RELAY);
        })));
        assert!(has_common_application(&with(|w| vendor_specific_application(w, application::CX))));
        assert!(!has_common_application(&with(|w| vendor_specific_application(w, application::SH))));
        assert!(!has_common_application(&with(|w| {
            w.unsigned32(avp::ACCT_APPLICATION_ID, application::CX);
        })));
    }

    #[test]
    fn election_ignores_case() {
        assert!(wins_election("B.home", "a.home"));
        assert!(!wins_election("A.home", "a.home"));
    }
}
