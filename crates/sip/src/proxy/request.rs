//! RFC 3261 §16.6 — what changes in every request that is forwarded.

use crate::{Name, Request, RequestEdit};

/// What a request without Max-Forwards gets (step 3).
const MAX_FORWARDS: u8 = 70;

/// Starts the copy of a request that [`super::validate`] accepted: one hop less in Max-Forwards. The Via is written where it
/// is sent.
pub fn forwarded(request: &Request) -> RequestEdit {
    let mut edit = request.edit();
    // 3)
    match request.max_forwards() {
        Ok(Some(hops)) => edit.replace(Name::MaxForwards, hops.saturating_sub(1)),
        Ok(None) | Err(_) => edit.replace(Name::MaxForwards, MAX_FORWARDS),
    }
    edit
}
