//! RFC 3325 §9.1, TS 24.229 §5.4.3.2 — asserted identities: whose request it is, and the two forms of one identity.

use super::{ImplicitRegistrationSet, User};
use crate::profile::PublicIdentity;
use crate::{Impu, Rejection};
use sip::{Name, Request, RequestEdit, Response, Status, Uri};

const CLAUSE: &str = "TS 24.229 §5.4.3.2";

impl User {
    /// P-Served-User, else of the asserted identities the one that is known here.
    pub(crate) fn served_by_server(&self, request: &Request) -> Result<Uri, Rejection> {
        let named = request
            .addresses(Name::PServedUser)
            .map_err(|malformed| Rejection::new(Status::BAD_REQUEST, "RFC 5502 §6", malformed.to_string()))?;
        if let Some(served) = named.into_iter().next() {
            return Ok(served.uri);
        }
        let mut claimed = claimed(request)?;
        let known = |uri: &Uri| self.registration.set_of(&Impu::of(uri)).is_some();
        let at = claimed.iter().position(known).unwrap_or(0);
        if claimed.is_empty() {
            let why = "originating services are asked for, and nobody is named to be served";
            return Err(Rejection::new(Status::BAD_REQUEST, CLAUSE, why));
        }
        Ok(claimed.swap_remove(at))
    }

    /// The other form of the one identity that a response asserts, if that is one of the user's.
    pub(crate) fn other_form_in(&self, response: &Response, served: &Impu) -> Option<&PublicIdentity> {
        let asserted = response.addresses(Name::PAssertedIdentity).ok()?;
        let [one] = asserted.as_slice() else { return None };
        let set = self.registration.set_of(served)?;
        let identity = set.profile.identity(&Impu::of(&one.uri)).filter(|identity| !identity.barred)?;
        other_form(identity, set)
    }
}

/// What P-Asserted-Identity says.
pub(crate) fn claimed(request: &Request) -> Result<Vec<Uri>, Rejection> {
    let asserted = request
        .addresses(Name::PAssertedIdentity)
        .map_err(|malformed| Rejection::new(Status::BAD_REQUEST, "RFC 3325 §9.1", malformed.to_string()))?;
    Ok(asserted.into_iter().map(|address| address.uri).collect())
}

/// Where nobody asserted an identity: that of P-Preferred-Identity or From if it is the user's, else the default one.
pub(crate) fn preferred<'a>(
    request: &Request,
    set: &'a ImplicitRegistrationSet,
) -> Option<&'a PublicIdentity> {
    let preferred = request.addresses(Name::PPreferredIdentity).ok().and_then(|all| all.into_iter().next());
    let candidates = preferred.into_iter().chain([request.from()]).map(|address| Impu::of(&address.uri));
    let usable = |impu: Impu| set.profile.identity(&impu).filter(|identity| !identity.barred);
    candidates.filter_map(usable).next().or_else(|| set.profile.default_identity())
}

/// P-Asserted-Identity with the other form of the identity, SIP or tel, beside the one that was asserted (RFC 3325 §9.1).
pub(crate) fn assert_identity(
    edit: &mut RequestEdit,
    claimed: &[Uri],
    served: &PublicIdentity,
    set: &ImplicitRegistrationSet,
) {
    if claimed.len() > 1 {
        return;
    }
    if claimed.is_empty() {
        edit.replace(Name::PAssertedIdentity, format_args!("<{}>", served.text));
    }
    if let Some(other) = other_form(served, set) {
        edit.append(Name::PAssertedIdentity, format_args!("<{}>", other.text));
    }
}

/// The identity of the other scheme that stands for the same user: with the same number if there is one.
fn other_form<'a>(served: &PublicIdentity, set: &'a ImplicitRegistrationSet) -> Option<&'a PublicIdentity> {
    let is_tel = |identity: &PublicIdentity| identity.impu.as_str().starts_with("tel:");
    let candidates = || {
        set.unbarred().filter(|other| {
            other.is_distinct() && is_tel(other) != is_tel(served) && other.alias_group == served.alias_group
        })
    };
    let number = |identity: &PublicIdentity| {
        let text = identity.impu.as_str();
        let user = text.split_once(':').map_or(text, |(_, rest)| rest);
        user.split('@').next().unwrap_or(user).to_owned()
    };
    let same = number(served);
    candidates().find(|other| number(other) == same).or_else(|| candidates().next())
}
