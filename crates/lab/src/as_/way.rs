//! RFC 3261 §16.4, §16.6 — where a request goes on: to the next Route, once the server's own is taken off, else to the
//! Request-URI.

use crate::wire::{
    Kind, Origin, Target, Text, Wire,
    text::{self, parameter},
};
use std::net::{IpAddr, SocketAddr};

/// How an application server finds its way.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) wire: Wire,
    /// For names; there is no DNS in a lab.
    pub(super) s_cscf: Option<SocketAddr>,
}

/// A next hop.
#[derive(Clone, Debug)]
pub(super) enum Hop {
    There(Target),
    /// The server itself.
    Here,
}

impl Way {
    /// The server's own URI, for Contact and Record-Route, as who comes from `from` reaches it.
    pub(super) fn own(&self, from: Option<&Origin>) -> String {
        let kind = from.map_or(Kind::Udp, Origin::kind);
        let own = self.wire.reached_over(kind);
        own.map_or_else(|| "sip:nowhere.invalid".to_owned(), |own| own.uri())
    }

    fn is_own(&self, uri: &str) -> bool {
        named(uri).is_some_and(|(_, host, port)| {
            let address = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
            self.wire.addresses().iter().any(|own| Some(own.address) == address)
        })
    }

    /// Takes the server's own URI off the top of Route.
    pub(super) fn take_own_route(&self, request: &mut Text) {
        while request.elements("Route").next().is_some_and(|route| self.is_own(text::uri(route))) {
            request.take_first("Route");
        }
    }

    /// The next hop of a request. A name leads to the S-CSCF, else back to where the request came from.
    pub(super) fn next(&self, request: &Text, from: Option<&Origin>) -> Hop {
        let uri = request.elements("Route").next().map_or_else(|| request.uri(), text::uri);
        if self.is_own(uri) {
            return Hop::Here;
        }
        let (kind, address) = match named(uri) {
            Some((kind, host, port)) => {
                (kind, host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port)))
            }
            None => (Kind::Udp, None),
        };
        let kind = self.wire.reached_over(kind).map_or(kind, |own| own.kind);
        match (address.or(self.s_cscf), from) {
            (Some(address), _) => Hop::There(Target::To(kind, address)),
            (None, Some(from)) => Hop::There(Target::Back(from.clone())),
            (None, None) => Hop::Here,
        }
    }
}

/// Transport, host and port that a SIP URI names.
fn named(uri: &str) -> Option<(Kind, &str, u16)> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("sip") {
        return None;
    }
    let rest = rest.split('?').next()?;
    // A semicolon may stand in the user part, too.
    let (_, place) = rest.rsplit_once('@').unwrap_or(("", rest));
    let kind = match parameter(place, "transport") {
        Some(transport) if transport.eq_ignore_ascii_case("tcp") => Kind::Tcp,
        _ => Kind::Udp,
    };
    let place = place.split(';').next()?;
    let (host, port) = match place.strip_prefix('[') {
        Some(inner) => {
            let (host, port) = inner.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => 5060,
    };
    Some((kind, host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_a_place() {
        assert_eq!(named("sip:a;x=1@127.0.0.1:5061;lr;transport=TCP"), Some((Kind::Tcp, "127.0.0.1", 5061)));
        assert_eq!(named("SIP:[::1]:5062;orig"), Some((Kind::Udp, "::1", 5062)));
        assert_eq!(named("sip:[::1]"), Some((Kind::Udp, "::1", 5060)));
        assert_eq!(named("sip:a@h.example?Subject=x"), Some((Kind::Udp, "h.example", 5060)));
        assert_eq!(named("tel:+1555"), None);
        assert_eq!(named("sip:h:99999"), None);
    }
}
