//! TS 24.229 §5.4.3.1 — how a request reached this user: which of our URIs led it here.

use crate::event::Source;
use crate::token::TokenKind;
use crate::{Impi, Policy, Rejection};
use sip::{Name, Request, Status, Uri, proxy};

const CLAUSE: &str = "TS 24.229 §5.4.3.1";

/// What the topmost Route said, once it was ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Service-Route of this binding: the user's own request.
    Binding(u64),
    /// `orig`: originating services for the user it names (TS 24.229 §7.2A.6).
    Originating,
    /// Original dialog identifier: an application server returns it.
    Chain(super::chain::Link),
    /// Record-Route of the session with this key.
    Dialog(u64),
    /// Our own BYE on its way through a further passage of the session with this key.
    Release(u64),
    /// Nothing of the kind: for the user in the Request-URI.
    Terminating,
}

/// What only the trust domain may say (TS 24.229 §4.4).
const FOR_THE_TRUSTED: [Name; 6] = [
    Name::PAssertedIdentity,
    Name::PAssertedService,
    Name::PServedUser,
    Name::PAccessNetworkInfo,
    Name::PChargingVector,
    Name::PChargingFunctionAddresses,
];

/// Reads how the request came; takes our own Route off it (RFC 3261 §16.4), and what its sender may not say.
pub(crate) fn read(
    request: &Request,
    source: Source,
    impi: &Impi,
    policy: &Policy,
) -> Result<(Entry, Request), Rejection> {
    let recorded =
        |uri: &Uri| matches!(of_token(uri, impi, policy), Some(Entry::Dialog(_) | Entry::Release(_)));
    let arrival = proxy::arrival(request, recorded, |uri| policy.is_ours(uri))
        .map_err(|malformed| Rejection::new(Status::BAD_REQUEST, "RFC 3261 §20.34", malformed.to_string()))?;
    let entry = arrival.as_ref().map_or(Entry::Terminating, |arrival| {
        let own = arrival.own();
        let plain = if own.has_param("orig") { Entry::Originating } else { Entry::Terminating };
        of_token(own, impi, policy).unwrap_or(plain)
    });
    if !source.trusted && matches!(entry, Entry::Binding(_) | Entry::Originating | Entry::Chain(_)) {
        let why = "services of the user are asked for from outside the trust domain";
        return Err(Rejection::new(Status::FORBIDDEN, CLAUSE, why));
    }
    if arrival.is_none() && source.trusted {
        return Ok((entry, request.clone()));
    }
    let mut edit = request.edit();
    if let Some(arrival) = arrival {
        arrival.apply(&mut edit);
    }
    if !source.trusted {
        FOR_THE_TRUSTED.into_iter().for_each(|name| edit.remove(name));
    }
    Ok((entry, edit.finish()))
}

fn of_token(uri: &Uri, impi: &Impi, policy: &Policy) -> Option<Entry> {
    let (kind, owner, discriminator, note) = policy.tokens.open_with(uri.user()?)?;
    if owner != *impi {
        return None;
    }
    match kind {
        TokenKind::ServiceRoute => Some(Entry::Binding(discriminator)),
        TokenKind::RecordRoute if note.is_empty() => Some(Entry::Dialog(discriminator)),
        TokenKind::RecordRoute => Some(Entry::Release(discriminator)),
        TokenKind::OriginalDialog => super::chain::Link::read(discriminator, &note).map(Entry::Chain),
        TokenKind::RegEvent | TokenKind::TemporaryGruu => None,
    }
}
