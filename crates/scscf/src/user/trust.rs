//! RFC 3325 §5, TS 24.229 §4.4 — the border of the trust domain: what is said only inside it.

use crate::Policy;
use sip::{Name, Request, RequestEdit, ResponseEdit, Uri};

/// Whether the home network or a domain that is trusted, or anything below them, is named.
pub(crate) fn includes(uri: &Uri, policy: &Policy) -> bool {
    let host = uri.host();
    let within = |domain: &str| {
        let at = host.len().checked_sub(domain.len());
        let ends = at.is_some_and(|at| host.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(domain)));
        ends && at.is_some_and(|at| at == 0 || host.as_bytes().get(at - 1) == Some(&b'.'))
    };
    within(&policy.domain) || policy.session.trusted_domains.iter().any(|domain| within(domain))
}

/// Takes off what networks tell each other inside.
pub(crate) fn keep_what_is_inside(edit: &mut RequestEdit) {
    for name in [
        Name::PAccessNetworkInfo,
        Name::PAssertedService,
        Name::PChargingFunctionAddresses,
        Name::PVisitedNetworkId,
    ] {
        edit.remove(name);
    }
}

/// Takes off who sent it, where the sender wants that.
pub(crate) fn keep_who_is_private(edit: &mut RequestEdit, request: &Request) {
    let wishes = |value: &str| value.split(';').any(|wish| wish.trim().eq_ignore_ascii_case("id"));
    if request.values(Name::Privacy).any(|value| wishes(&value)) {
        edit.remove(Name::PAssertedIdentity);
    }
}

/// Takes off an answer what only somebody inside may say.
pub(crate) fn disbelieve(answer: &mut ResponseEdit) {
    for name in [
        Name::PAssertedIdentity,
        Name::PAssertedService,
        Name::PAccessNetworkInfo,
        Name::PChargingFunctionAddresses,
    ] {
        answer.remove(name);
    }
}
