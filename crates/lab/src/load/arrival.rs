//! A request of the network's: whether it came the way that its route set says.

use super::{
    ground::Ground,
    text::{List, Text},
};
use crate::wire::text::uri;
use std::net::SocketAddr;

/// The P-CSCF's part of a user's URI in Path, and in Record-Route towards the caller and the callee.
pub(super) const PATH: &str = "path";
pub(super) const ORIGINATING: &str = "orig";
pub(super) const TERMINATING: &str = "term";

#[derive(Clone, Copy)]
pub(super) struct Arrival<'a, 'b> {
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    pub(super) text: &'a Text<'b>,
    /// Where it arrived.
    pub(super) socket: u16,
    pub(super) from: SocketAddr,
}

impl Arrival<'_, '_> {
    /// Whether it came to the socket of `user`, with its contact in the Request-URI and nothing but `hop` of that socket in
    /// Route.
    pub(super) fn is_routed(&self, ground: &Ground, user: u32, hop: &str) -> bool {
        let contact =
            self.uri.strip_prefix("sip:").and_then(|rest| rest.strip_prefix(&ground.user(user).name));
        let contact = contact.and_then(|rest| rest.strip_prefix('@'));
        self.socket == ground.socket_of(user)
            && contact == Some(ground.address_of(user))
            && self.text.routes.len() == 1
            && is_hop(ground, user, hop, self.text.routes[0])
    }

    /// Counts one that came another way; what it then is.
    pub(super) fn astray(&self, ground: &mut Ground) -> String {
        let what = format!("{} that did not follow its route set", self.method);
        ground.seen.unexpected.count(&what);
        what
    }

    pub(super) fn answer(&self, ground: &mut Ground, line: &str) {
        ground.answer(self.socket, self.from, self.text, line);
    }
}

/// Whether an element is the URI of `hop` before a user.
fn is_hop(ground: &Ground, user: u32, hop: &str, element: &str) -> bool {
    let uri = uri(element).strip_prefix("sip:").and_then(|rest| rest.strip_prefix(hop));
    let rest = uri.and_then(|rest| rest.strip_prefix('@')?.strip_prefix(ground.address_of(user)));
    rest == Some(";lr")
}

/// The route set beyond the P-CSCF that is ours, which is what that sends on; whether it began with it, as it must.
pub(super) fn beyond<'a>(
    ground: &Ground,
    user: u32,
    hop: &str,
    set: impl Iterator<Item = &'a str>,
) -> (bool, List<'a>) {
    let mut set: List<'a> = set.collect();
    let own = set.first().is_some_and(|first| is_hop(ground, user, hop, first));
    if own {
        set.remove(0);
    }
    (own, set)
}
