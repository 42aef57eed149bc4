//! TS 29.229 §6.3.36 — SIP-Digest-Authenticate.

use crate::{Avp, AvpError, Writer, codes::avp};
use scscf::cx::{DigestCredentials, Secret};

const ALGORITHM: &str = "MD5";
const HA1: usize = 32;

/// The credentials in a SIP-Auth-Data-Item, if it carries any.
pub(super) fn read(item: &Avp<'_>) -> Result<Option<DigestCredentials>, AvpError> {
    let Some(group) = item.grouped().find(avp::SIP_DIGEST_AUTHENTICATE)? else {
        return Ok(None);
    };
    let member = |code| group.grouped().find(code);
    if let Some(algorithm) = member(avp::DIGEST_ALGORITHM)? {
        let text = algorithm.text()?.trim_matches('"');
        if !text.is_empty() && !text.eq_ignore_ascii_case(ALGORITHM) {
            return Err(algorithm.malformed("is an algorithm other than MD5"));
        }
    }
    let realm = member(avp::DIGEST_REALM)?.ok_or(group.malformed("has no Digest-Realm"))?;
    let ha1 = member(avp::DIGEST_HA1)?.ok_or(group.malformed("has no Digest-HA1"))?;
    if ha1.data.len() != HA1 || !ha1.data.iter().all(u8::is_ascii_hexdigit) {
        return Err(ha1.malformed("is not 32 hexadecimal digits"));
    }
    let qop = member(avp::DIGEST_QOP)?.map(|qop| qop.text()).transpose()?.unwrap_or("auth");
    Ok(Some(DigestCredentials {
        realm: realm.text()?.into(),
        ha1: Secret::new(&ha1.data.to_ascii_lowercase()),
        qop: qop.into(),
    }))
}

pub(super) fn write(writer: &mut Writer, credentials: &DigestCredentials) {
    writer.grouped(avp::SIP_DIGEST_AUTHENTICATE, |w| {
        w.text(avp::DIGEST_REALM, &credentials.realm)
            .text(avp::DIGEST_ALGORITHM, ALGORITHM)
            .text(avp::DIGEST_QOP, &credentials.qop)
            .octets(avp::DIGEST_HA1, credentials.ha1.reveal());
    });
}
