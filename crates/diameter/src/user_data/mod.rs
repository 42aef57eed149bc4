//! TS 29.228 §6.6, annex E — User-Data: the IMSSubscription document and its values.

mod criteria;
mod elements;
mod identity;
mod write;

pub use write::to_xml;

use elements::Elements;
use scscf::{
    cx::UserDataError,
    profile::{ServiceProfile, Subscription},
};
use std::collections::BTreeSet;

/// The largest document that is read, in octets.
pub const LIMIT: usize = 1_000_000;

/// Reads an IMSSubscription.
///
/// Children may come in any order, unknown elements are passed over, an initial filter criterion that makes no sense is
/// left out, equal priorities keep document order. Refused are documents larger than [`LIMIT`] or nested too deep, text
/// with entities other than the five of XML, and a public identity that occurs twice.
pub fn parse(octets: &[u8]) -> Result<Subscription, UserDataError> {
    if octets.len() > LIMIT {
        return Err(UserDataError::TooLarge(octets.len()));
    }
    // Some HSSs count the terminating zero of their string as part of it.
    let octets = octets.strip_suffix(b"\0").unwrap_or(octets);
    let text = std::str::from_utf8(octets).map_err(|_| malformed("it is not UTF-8"))?;
    let mut elements = Elements::new(text);
    elements.root("IMSSubscription")?;
    let mut private_id = None;
    let mut profiles = Vec::new();
    while let Some(name) = elements.child()? {
        match name {
            "PrivateID" => private_id = Some(elements.text()?),
            "ServiceProfile" => profiles.push(service_profile(&mut elements)?),
            _ => elements.skip()?,
        }
    }
    elements.end()?;
    let private_id = private_id.ok_or_else(|| malformed("PrivateID is missing"))?;
    if profiles.is_empty() {
        return Err(malformed("ServiceProfile is missing"));
    }
    profiles.shrink_to_fit();
    let subscription = Subscription { private_id: private_id.into(), profiles };
    let mut seen = BTreeSet::new();
    if let Some(twice) = subscription.identities().find(|identity| !seen.insert(&identity.impu)) {
        return Err(malformed(&format!("public identity {} occurs twice", twice.impu)));
    }
    Ok(subscription)
}

fn service_profile(elements: &mut Elements<'_>) -> Result<ServiceProfile, UserDataError> {
    let mut identities = Vec::new();
    let mut criteria = Vec::new();
    let mut media_profile = None;
    let mut service_ids = Vec::new();
    let mut shared_criteria = Vec::new();
    while let Some(name) = elements.child()? {
        match name {
            "PublicIdentity" => identities.push(identity::read(elements)?),
            "InitialFilterCriteria" => criteria.extend(criteria::read(elements)?),
            "CoreNetworkServicesAuthorization" => {
                while let Some(name) = elements.child()? {
                    match name {
                        "SubscribedMediaProfileId" => media_profile = elements.number()?,
                        "Extension" => service_ids.extend(list_of_service_ids(elements)?),
                        _ => elements.skip()?,
                    }
                }
            }
            "Extension" => {
                while let Some(name) = elements.child()? {
                    match name {
                        "SharedIFCSetID" => shared_criteria.extend(elements.number()?),
                        _ => elements.skip()?,
                    }
                }
            }
            _ => elements.skip()?,
        }
    }
    if identities.is_empty() {
        return Err(malformed("ServiceProfile has no PublicIdentity"));
    }
    identities.shrink_to_fit();
    Ok(ServiceProfile { identities, media_profile, service_ids, criteria: criteria.into(), shared_criteria })
}

fn list_of_service_ids(elements: &mut Elements<'_>) -> Result<Vec<Box<str>>, UserDataError> {
    let mut ids = Vec::new();
    while let Some(name) = elements.child()? {
        if name != "ListOfServiceIds" {
            elements.skip()?;
            continue;
        }
        while let Some(name) = elements.child()? {
            match name {
                "ServiceId" => ids.push(elements.text()?.into()),
                _ => elements.skip()?,
            }
        }
    }
    Ok(ids)
}

pub(crate) fn malformed(why: &str) -> UserDataError {
    UserDataError::Malformed(why.into())
}
