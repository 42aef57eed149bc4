//! TS 29.228 §6.3 — Multimedia-Auth: an authentication vector for a user.

use super::{
    digest,
    envelope::{self, Asked, Destination, Fault, malformed, member, misread},
};
use crate::{
    Avp, Identity, Message, Writer,
    codes::{avp, command, result},
};
use scscf::cx::{
    AuthItem, AuthenticationVector, Failure, MultimediaAuth, MultimediaAuthAnswer, ResultCode,
    Resynchronisation, Scheme, Secret,
};

const VECTORS_WANTED: u32 = 1;

/// SIP-Authentication-Scheme as text, TS 29.229 §6.3.9.
pub(super) const fn scheme_text(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::AkaV1Md5 => "Digest-AKAv1-MD5",
        Scheme::AkaV2Sha256 => "Digest-AKAv2-SHA-256",
        Scheme::SipDigest => "SIP Digest",
        Scheme::NassBundled => "NASS-Bundled",
        Scheme::EarlyImsSecurity => "Early-IMS-Security",
        Scheme::Unknown => "Unknown",
    }
}

/// The scheme that a text names; deployed HSSs also use spellings outside the specification.
fn scheme_of(text: &str) -> Option<Scheme> {
    let same = |other: &str| text.eq_ignore_ascii_case(other);
    Some(match text {
        _ if same("Digest-AKAv1-MD5") => Scheme::AkaV1Md5,
        _ if same("Digest-AKAv2-SHA-256") || same("Digest-AKAv2-MD5") => Scheme::AkaV2Sha256,
        _ if ["SIP Digest", "Digest-MD5", "Digest", "HTTP_DIGEST_MD5"].into_iter().any(same) => {
            Scheme::SipDigest
        }
        _ if same("NASS-Bundled") => Scheme::NassBundled,
        _ if same("Early-IMS-Security") => Scheme::EarlyImsSecurity,
        _ if same("Unknown") => Scheme::Unknown,
        _ => return None,
    })
}

pub(super) fn encode(mar: &MultimediaAuth, from: &Identity, session_id: &str, realm: &str) -> Message {
    let to = Destination::of(mar.hss.as_ref(), realm);
    envelope::request(command::MULTIMEDIA_AUTH, from, session_id, to, |w| {
        w.text(avp::USER_NAME, mar.impi.as_str())
            .text(avp::PUBLIC_IDENTITY, &mar.impu)
            .grouped(avp::SIP_AUTH_DATA_ITEM, |w| {
                w.text(avp::SIP_AUTHENTICATION_SCHEME, scheme_text(mar.scheme));
                if let Some(Resynchronisation { rand, auts }) = &mar.resynchronise {
                    let mut octets = [0; 30];
                    octets[..16].copy_from_slice(rand);
                    octets[16..].copy_from_slice(auts);
                    w.octets(avp::SIP_AUTHORIZATION, &octets);
                }
            })
            .unsigned32(avp::SIP_NUMBER_AUTH_ITEMS, VECTORS_WANTED)
            .text(avp::SERVER_NAME, &mar.server_name);
    })
}

pub(super) fn decode(asked: Asked<'_>) -> Result<MultimediaAuth, Fault> {
    let item = asked.required(avp::SIP_AUTH_DATA_ITEM)?;
    let scheme = member(&item, avp::SIP_AUTHENTICATION_SCHEME)?
        .ok_or_else(|| Fault::missing(avp::SIP_AUTHENTICATION_SCHEME))?;
    let resynchronise = member(&item, avp::SIP_AUTHORIZATION)?
        .map(|avp| resynchronisation(avp.data).ok_or_else(|| Fault::value(&avp)))
        .transpose()?;
    asked.required(avp::SIP_NUMBER_AUTH_ITEMS)?;
    Ok(MultimediaAuth {
        impi: asked.impi()?,
        impu: asked.text(avp::PUBLIC_IDENTITY)?.into(),
        scheme: scheme.text().ok().and_then(scheme_of).unwrap_or(Scheme::Unknown),
        resynchronise,
        server_name: asked.text(avp::SERVER_NAME)?.into(),
        hss: asked.destination(),
    })
}

fn resynchronisation(octets: &[u8]) -> Option<Resynchronisation> {
    let (rand, auts) = octets.split_first_chunk::<16>()?;
    Some(Resynchronisation { rand: *rand, auts: auts.try_into().ok()? })
}

pub(super) fn encode_answer(request: &Message, answer: &MultimediaAuthAnswer, from: &Identity) -> Message {
    let asked = request.find(avp::SIP_AUTH_DATA_ITEM);
    let wanted = asked
        .and_then(|item| item.grouped().find(avp::SIP_AUTHENTICATION_SCHEME).ok().flatten())
        .and_then(|scheme| scheme.text().ok().and_then(scheme_of));
    let aka = if wanted == Some(Scheme::AkaV2Sha256) { Scheme::AkaV2Sha256 } else { Scheme::AkaV1Md5 };
    envelope::answer(request, ResultCode::SUCCESS, from, |w| {
        for code in [avp::USER_NAME, avp::PUBLIC_IDENTITY] {
            if let Some(avp) = request.find(code) {
                w.copy(&avp);
            }
        }
        w.unsigned32(avp::SIP_NUMBER_AUTH_ITEMS, answer.items.len() as u32);
        for (number, item) in (1..).zip(&answer.items) {
            w.grouped(avp::SIP_AUTH_DATA_ITEM, |w| write_item(w, number, item, aka));
        }
    })
}

fn write_item(w: &mut Writer, number: u32, item: &AuthItem, aka: Scheme) {
    w.unsigned32(avp::SIP_ITEM_NUMBER, number);
    match item {
        AuthItem::Aka(vector) => {
            let mut authenticate = [0; 32];
            authenticate[..16].copy_from_slice(&vector.rand);
            authenticate[16..].copy_from_slice(&vector.autn);
            w.text(avp::SIP_AUTHENTICATION_SCHEME, scheme_text(aka))
                .octets(avp::SIP_AUTHENTICATE, &authenticate)
                .octets(avp::SIP_AUTHORIZATION, vector.xres.reveal())
                .octets(avp::CONFIDENTIALITY_KEY, vector.ck.reveal())
                .octets(avp::INTEGRITY_KEY, vector.ik.reveal());
        }
        AuthItem::Digest(credentials) => {
            w.text(avp::SIP_AUTHENTICATION_SCHEME, scheme_text(Scheme::SipDigest));
            digest::write(w, credentials);
        }
    }
}

/// User-Name and Public-Identity may be absent: nothing depends on them, and some HSSs leave them out.
pub(super) fn decode_answer(message: &Message) -> Result<MultimediaAuthAnswer, Failure> {
    match envelope::outcome(message)? {
        ResultCode::Base(result::SUCCESS | result::LIMITED_SUCCESS) => {}
        code @ (ResultCode::Base(_) | ResultCode::Experimental(_)) => return Err(Failure::Refused(code)),
    }
    let mut items = Vec::new();
    for group in message.avps().filter(|avp| avp.is(avp::SIP_AUTH_DATA_ITEM)) {
        let number = group.grouped().find(avp::SIP_ITEM_NUMBER).map_err(misread)?;
        let number = number.map(|number| number.unsigned32()).transpose().map_err(misread)?;
        if let Some(item) = read_item(&group)? {
            items.push((number.unwrap_or(u32::MAX), item));
        }
    }
    items.sort_by_key(|(number, _)| *number);
    Ok(MultimediaAuthAnswer {
        hss: envelope::hss(message),
        items: items.into_iter().map(|(_, item)| item).collect(),
    })
}

/// One item; `None` for a scheme that is neither AKA nor digest. Without a scheme the content decides.
fn read_item(group: &Avp<'_>) -> Result<Option<AuthItem>, Failure> {
    let find = |code| group.grouped().find(code).map_err(misread);
    let scheme = match find(avp::SIP_AUTHENTICATION_SCHEME)? {
        Some(scheme) => scheme_of(scheme.text().map_err(misread)?),
        None if find(avp::SIP_DIGEST_AUTHENTICATE)?.is_some() => Some(Scheme::SipDigest),
        None => Some(Scheme::AkaV1Md5),
    };
    match scheme {
        Some(Scheme::AkaV1Md5 | Scheme::AkaV2Sha256) => {
            let octets = |code, name: &str| {
                find(code)?.map(|avp| avp.data).ok_or_else(|| malformed(&format!("its vector has no {name}")))
            };
            let authenticate = octets(avp::SIP_AUTHENTICATE, "SIP-Authenticate")?;
            let xres = octets(avp::SIP_AUTHORIZATION, "SIP-Authorization")?;
            let ck = octets(avp::CONFIDENTIALITY_KEY, "Confidentiality-Key")?;
            let ik = octets(avp::INTEGRITY_KEY, "Integrity-Key")?;
            vector(authenticate, xres, ck, ik).map(AuthItem::Aka).map(Some)
        }
        Some(Scheme::SipDigest) => {
            let credentials = digest::read(group).map_err(misread)?;
            credentials
                .map(AuthItem::Digest)
                .map(Some)
                .ok_or_else(|| malformed("its digest item has no credentials"))
        }
        Some(Scheme::NassBundled | Scheme::EarlyImsSecurity | Scheme::Unknown) | None => Ok(None),
    }
}

fn vector(authenticate: &[u8], xres: &[u8], ck: &[u8], ik: &[u8]) -> Result<AuthenticationVector, Failure> {
    let split = authenticate.split_first_chunk::<16>();
    let Some((rand, Ok(autn))) = split.map(|(rand, autn)| (rand, autn.try_into())) else {
        return Err(malformed("its SIP-Authenticate is not 32 octets long"));
    };
    if !(4..=16).contains(&xres.len()) {
        return Err(malformed("its SIP-Authorization is not 4 to 16 octets long"));
    }
    if ck.len() != 16 || ik.len() != 16 {
        return Err(malformed("its keys are not 16 octets long"));
    }
    Ok(AuthenticationVector {
        rand: *rand,
        autn,
        xres: Secret::new(xres),
        ck: Secret::new(ck),
        ik: Secret::new(ik),
    })
}
