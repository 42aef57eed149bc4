//! TS 24.229 §5.4.1.7, §5.4.1.7A — the third-party REGISTER and what it carries in its body.

use super::{Messages, Said, ServerRegistration, ThirdParty};
use crate::event::AsId;
use crate::user::Step;
use sip::multipart::Mixed;
use sip::{ChargingVector, Method, Name, NameAddr, Request, Uri};
use std::borrow::Cow;
use std::fmt::Write;

/// TS 24.229 §7.6: service information for an application server.
const SERVICE_INFORMATION: &str = "application/3gpp-ims+xml";
/// RFC 3261 §27.5: a message within a message.
const MESSAGE: &str = "message/sip";

type Part<'a> = (&'static str, Cow<'a, [u8]>);

impl ThirdParty {
    /// The REGISTER that tells `server` what it `said`; none where the server has no address.
    pub(super) fn request(&self, server: &ServerRegistration, step: &Step<'_>) -> Option<Request> {
        let policy = step.policy;
        let ends = server.said == Said::Ended;
        let uri = Uri::parse(&server.server.server_name).ok()?;
        let own = NameAddr::new(policy.name.clone());
        let contact = match self.registration {
            0 => own.clone(),
            id => own.clone().with_param("+g.3gpp.registration-token", &format!("{id:016x}")),
        };
        let expires = if ends { 0 } else { server.expires_at.seconds_after(step.now()) };
        let AsId(id) = server.id;
        let mut request = Request::build(Method::Register, &uri)
            .header(Name::MaxForwards, 70)
            .header(Name::From, own.with_param("tag", &format!("{:016x}", id.rotate_left(29))))
            .header(Name::To, format_args!("<{}>", self.impu))
            .header(Name::CallId, format_args!("{id:016x}@{}", policy.domain))
            .header(Name::CSeq, format_args!("{} REGISTER", server.cseq))
            .header(Name::Contact, contact)
            .header(Name::Expires, expires);
        if let Some(icid) = &self.notes.icid {
            let vector =
                ChargingVector { orig_ioi: Some(policy.domain.clone()), ..ChargingVector::new(icid) };
            request = request.header(Name::PChargingVector, vector);
        }
        // A server of the home network is of the trust domain.
        if is_of(&uri, &policy.domain) {
            let told = [
                (Name::PChargingFunctionAddresses, &self.notes.charging),
                (Name::PAccessNetworkInfo, &self.notes.access_network),
                (Name::PVisitedNetworkId, &self.notes.visited_network),
            ];
            for (name, value) in told.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
                request = request.header(name, value);
            }
        }
        let messages = self.messages.as_deref().filter(|messages| messages.ends == ends);
        Some(match body(&parts(server, messages)) {
            Some((content_type, body)) => request.body(&content_type, &body).finish(),
            None => request.finish(),
        })
    }
}

/// What the filter criterion asks for, as far as it is there.
fn parts<'a>(server: &ServerRegistration, messages: Option<&'a Messages>) -> Vec<Part<'a>> {
    let server = &server.server;
    let mut parts: Vec<Part<'a>> = Vec::new();
    if let Some(information) = &server.service_info {
        parts.push((SERVICE_INFORMATION, Cow::Owned(document(information).into_bytes())));
    }
    if let Some(messages) = messages.filter(|_| server.include_register_request) {
        parts.push((MESSAGE, Cow::Borrowed(&messages.request)));
    }
    if let Some(messages) = messages.filter(|_| server.include_register_response) {
        parts.push((MESSAGE, Cow::Borrowed(&messages.response)));
    }
    parts
}

/// One part stands alone, several within `multipart/mixed`.
fn body(parts: &[Part<'_>]) -> Option<(Cow<'static, str>, Vec<u8>)> {
    match parts {
        [] => None,
        [(content_type, content)] => Some((Cow::Borrowed(content_type), content.to_vec())),
        parts => {
            let mixed = parts
                .iter()
                .fold(Mixed::new(), |mixed, (content_type, content)| mixed.part(content_type, content));
            let (content_type, body) = mixed.finish();
            Some((Cow::Owned(content_type), body))
        }
    }
}

fn document(information: &str) -> String {
    let mut document = String::with_capacity(information.len() + 128);
    document.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<ims-3gpp version=\"1\"><service-info>");
    for letter in information.chars() {
        match letter {
            '&' => document.push_str("&amp;"),
            '<' => document.push_str("&lt;"),
            '>' => document.push_str("&gt;"),
            '\r' => document.push_str("&#13;"),
            '\n' | '\t' => document.push(letter),
            // XML has no way to write these.
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                let _ = document.write_char('\u{fffd}');
            }
            letter => document.push(letter),
        }
    }
    document.push_str("</service-info></ims-3gpp>");
    document
}

/// Whether the host is the domain or below it.
fn is_of(uri: &Uri, domain: &str) -> bool {
    let host = uri.host();
    let Some(at) = host.len().checked_sub(domain.len()) else { return false };
    host.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(domain))
        && (at == 0 || host.as_bytes().get(at - 1) == Some(&b'.'))
}
