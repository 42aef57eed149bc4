//! RFC 3261 §16.7 — what changes in every response that is forwarded.

use crate::{Name, Response};

/// A response without our own Via, which is the top one (step 3); `None` where no other is below it: the response was for
/// us.
pub fn returned(response: &Response) -> Option<Response> {
    response.values(Name::Via).nth(1)?;
    Some(Response(response.without_top_via()))
}
