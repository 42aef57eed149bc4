//! TS 29.229 §6.1 — what all Cx commands have in common: their head, their result, and how a bad one is refused.

use crate::{
    Avp, AvpError, Code, Identity, Message, Writer,
    avp::smallest,
    base::vendor_specific_application,
    codes::{application, avp, result, vendor},
    message::{ERROR, PROXIABLE},
};
use scscf::{
    Impi,
    cx::{Failure, Hss, ResultCode},
    profile::ChargingAddresses,
};

const NO_STATE_MAINTAINED: u32 = 1;

/// Where a request goes.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    pub(super) host: Option<&'a str>,
    pub(super) realm: &'a str,
}

impl<'a> Destination<'a> {
    /// TS 29.229 §5.5: the HSS that is known for the user, else whoever serves the realm.
    pub(super) fn of(hss: Option<&'a Hss>, realm: &'a str) -> Self {
        hss.map_or(Self { host: None, realm }, |hss| Self { host: Some(&hss.host), realm: &hss.realm })
    }
}

pub(super) fn request(
    command: u32,
    from: &Identity,
    session_id: &str,
    to: Destination<'_>,
    body: impl FnOnce(&mut Writer),
) -> Message {
    Message::request(command, application::CX, PROXIABLE, |w| {
        w.text(avp::SESSION_ID, session_id);
        vendor_specific_application(w, application::CX);
        w.unsigned32(avp::AUTH_SESSION_STATE, NO_STATE_MAINTAINED)
            .text(avp::ORIGIN_HOST, &from.origin_host)
            .text(avp::ORIGIN_REALM, &from.origin_realm);
        if let Some(host) = to.host {
            w.text(avp::DESTINATION_HOST, host);
        }
        w.text(avp::DESTINATION_REALM, to.realm);
        body(w);
    })
}

pub(super) fn answer(
    request: &Message,
    code: ResultCode,
    from: &Identity,
    body: impl FnOnce(&mut Writer),
) -> Message {
    let flags = match code {
        ResultCode::Base(3000..4000) => ERROR,
        ResultCode::Base(_) | ResultCode::Experimental(_) => 0,
    };
    request.answer(flags, |w| {
        vendor_specific_application(w, application::CX);
        result(w, code);
        w.unsigned32(avp::AUTH_SESSION_STATE, NO_STATE_MAINTAINED)
            .text(avp::ORIGIN_HOST, &from.origin_host)
            .text(avp::ORIGIN_REALM, &from.origin_realm);
        body(w);
    })
}

/// Result-Code or Experimental-Result, never both.
pub(super) fn result(writer: &mut Writer, code: ResultCode) {
    match code {
        ResultCode::Base(code) => writer.unsigned32(avp::RESULT_CODE, code),
        ResultCode::Experimental(code) => writer.grouped(avp::EXPERIMENTAL_RESULT, |w| {
            w.unsigned32(avp::VENDOR_ID, vendor::TGPP).unsigned32(avp::EXPERIMENTAL_RESULT_CODE, code);
        }),
    };
}

/// The result of an answer; `None` if it has none, or one of a vendor other than 3GPP.
pub fn result_code(message: &Message) -> Option<ResultCode> {
    if let Some(group) = message.find(avp::EXPERIMENTAL_RESULT) {
        let number =
            |code| group.grouped().find(code).ok().flatten().and_then(|a: Avp<'_>| a.unsigned32().ok());
        let ours = number(avp::VENDOR_ID).is_none_or(|id| id == vendor::TGPP);
        return number(avp::EXPERIMENTAL_RESULT_CODE).filter(|_| ours).map(ResultCode::Experimental);
    }
    message.unsigned32(avp::RESULT_CODE).map(ResultCode::Base)
}

/// The result of an answer, with failures of the way there told from refusals by the HSS.
pub(super) fn outcome(message: &Message) -> Result<ResultCode, Failure> {
    match result_code(message) {
        None => Err(malformed("it has no result of the base protocol or of 3GPP")),
        Some(ResultCode::Base(result::UNABLE_TO_DELIVER | result::TOO_BUSY)) => Err(Failure::Unreachable),
        Some(code) => Ok(code),
    }
}

pub(super) fn malformed(why: &str) -> Failure {
    Failure::Malformed(why.into())
}

pub(super) fn misread(error: AvpError) -> Failure {
    Failure::Malformed(error.to_string().into())
}

/// Who answered, TS 29.229 §5.5.
pub(super) fn hss(message: &Message) -> Option<Hss> {
    let host = message.text(avp::ORIGIN_HOST)?;
    let realm = message.text(avp::ORIGIN_REALM)?;
    Some(Hss { host: host.into(), realm: realm.into() })
}

/// A request that is being read.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a>(pub(super) &'a Message);

/// What is wrong with a request: a base Result-Code and the content of Failed-AVP.
pub(super) struct Fault {
    code: u32,
    failed: Vec<u8>,
}

impl Fault {
    pub(super) const fn bare(code: u32) -> Self {
        Self { code, failed: Vec::new() }
    }

    pub(super) fn missing(code: Code) -> Self {
        Self { code: result::MISSING_AVP, failed: smallest(code) }
    }

    pub(super) fn about(code: u32, avp: &Avp<'_>) -> Self {
        let mut writer = Writer::new();
        writer.copy(avp);
        Self { code, failed: writer.finish() }
    }

    pub(super) fn value(avp: &Avp<'_>) -> Self {
        Self::about(result::INVALID_AVP_VALUE, avp)
    }

    pub(super) fn answer(self, request: &Message, from: &Identity) -> Message {
        answer(request, ResultCode::Base(self.code), from, |w| {
            if !self.failed.is_empty() {
                w.octets(avp::FAILED_AVP, &self.failed);
            }
        })
    }
}

impl<'a> Asked<'a> {
    pub(super) fn required(self, code: Code) -> Result<Avp<'a>, Fault> {
        self.0.find(code).ok_or_else(|| Fault::missing(code))
    }

    pub(super) fn text(self, code: Code) -> Result<&'a str, Fault> {
        let avp = self.required(code)?;
        avp.text().map_err(|_| Fault::value(&avp))
    }

    pub(super) fn unsigned32(self, code: Code) -> Result<u32, Fault> {
        number(&self.required(code)?)
    }

    pub(super) fn optional_unsigned32(self, code: Code) -> Result<Option<u32>, Fault> {
        self.0.find(code).map(|avp| number(&avp)).transpose()
    }

    pub(super) fn impi(self) -> Result<Impi, Fault> {
        self.optional_impi()?.ok_or_else(|| Fault::missing(avp::USER_NAME))
    }

    pub(super) fn optional_impi(self) -> Result<Option<Impi>, Fault> {
        self.0.find(avp::USER_NAME).map(|avp| impi(&avp)).transpose()
    }

    /// All Public-Identity AVPs.
    pub(super) fn impus(self) -> Result<Vec<Box<str>>, Fault> {
        let identities = self.0.avps().filter(|avp| avp.is(avp::PUBLIC_IDENTITY));
        identities.map(|avp| avp.text().map(Into::into).map_err(|_| Fault::value(&avp))).collect()
    }

    /// The HSS the request is addressed to, if it names one.
    pub(super) fn destination(self) -> Option<Hss> {
        let host = self.0.text(avp::DESTINATION_HOST)?.into();
        Some(Hss { host, realm: self.0.text(avp::DESTINATION_REALM).unwrap_or_default().into() })
    }
}

/// A grouped AVP's member of this kind; an unreadable group is the fault of the group.
pub(super) fn member<'a>(group: &Avp<'a>, code: Code) -> Result<Option<Avp<'a>>, Fault> {
    group.grouped().find(code).map_err(|_| Fault::about(result::INVALID_AVP_LENGTH, group))
}

pub(super) fn number(avp: &Avp<'_>) -> Result<u32, Fault> {
    avp.unsigned32().map_err(|_| Fault::about(result::INVALID_AVP_LENGTH, avp))
}

fn impi(avp: &Avp<'_>) -> Result<Impi, Fault> {
    avp.text().ok().and_then(Impi::new).ok_or_else(|| Fault::value(avp))
}

/// Associated-Identities: private identities that are none are left out.
pub(super) fn associated_identities(message: &Message) -> Vec<Impi> {
    let Some(group) = message.find(avp::ASSOCIATED_IDENTITIES) else {
        return Vec::new();
    };
    let members = group.grouped().map_while(Result::ok).filter(|member| member.is(avp::USER_NAME));
    members.filter_map(|name| name.text().ok().and_then(Impi::new)).collect()
}

pub(super) fn write_associated_identities(writer: &mut Writer, identities: &[Impi]) {
    if !identities.is_empty() {
        writer.grouped(avp::ASSOCIATED_IDENTITIES, |w| {
            for impi in identities {
                w.text(avp::USER_NAME, impi.as_str());
            }
        });
    }
}

/// Charging-Information, TS 29.229 §6.3.19.
pub(super) fn charging(message: &Message) -> Option<ChargingAddresses> {
    let group = message.find(avp::CHARGING_INFORMATION)?;
    let name =
        |code| group.grouped().find(code).ok().flatten().and_then(|a: Avp<'_>| a.text().ok()).map(Into::into);
    Some(ChargingAddresses {
        primary_ecf: name(avp::PRIMARY_EVENT_CHARGING_FUNCTION_NAME),
        secondary_ecf: name(avp::SECONDARY_EVENT_CHARGING_FUNCTION_NAME),
        primary_ccf: name(avp::PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME),
        secondary_ccf: name(avp::SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME),
    })
}

pub(super) fn write_charging(writer: &mut Writer, charging: &ChargingAddresses) {
    let names = [
        (avp::PRIMARY_EVENT_CHARGING_FUNCTION_NAME, &charging.primary_ecf),
        (avp::SECONDARY_EVENT_CHARGING_FUNCTION_NAME, &charging.secondary_ecf),
        (avp::PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME, &charging.primary_ccf),
        (avp::SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME, &charging.secondary_ccf),
    ];
    writer.grouped(avp::CHARGING_INFORMATION, |w| {
        for (code, name) in names {
            if let Some(name) = name {
                w.text(code, name);
            }
        }
    });
}
