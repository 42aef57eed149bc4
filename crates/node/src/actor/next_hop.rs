//! RFC 3261 §8.1.2 — where a request of ours goes: its first Route, else its Request-URI.

use crate::shell::Shell;
use ahash::AHashMap;
use sip::{Name, Request, Scheme, Transport as Kind, Uri};
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Host, port and transport that a URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    host: Box<str>,
    port: u16,
    pub(crate) transport: Kind,
}

impl Hop {
    /// `None` if the request names no place that UDP or TCP leads to.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let routes = request.addresses(Name::Route).ok()?;
        match routes.first() {
            Some(route) => Self::named(&route.uri),
            None => Self::named(request.uri()),
        }
    }

    fn named(uri: &Uri) -> Option<Self> {
        if uri.scheme() != Scheme::Sip {
            return None;
        }
        let transport = match uri.param("transport").flatten() {
            None => Kind::Udp,
            Some(name) if name.eq_ignore_ascii_case("udp") => Kind::Udp,
            Some(name) if name.eq_ignore_ascii_case("tcp") => Kind::Tcp,
            Some(_) => return None,
        };
        let host = uri.param("maddr").flatten().unwrap_or_else(|| uri.host());
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some(Self { host: host.to_ascii_lowercase().into(), port: uri.port().unwrap_or(5060), transport })
    }
}

/// Names resolved lately.
#[derive(Default)]
pub(crate) struct Names {
    known: RefCell<AHashMap<Box<str>, (IpAddr, u64)>>,
}

/// How long a name stays resolved, milliseconds.
const LIFE: u64 = 60_000;
/// Names remembered.
const MOST: usize = 4096;

impl Shell {
    /// The address of a hop if it is one, or was resolved lately.
    pub(crate) fn resolved(&self, hop: &Hop) -> Option<SocketAddr> {
        if let Ok(address) = hop.host.parse::<IpAddr>() {
            return Some(SocketAddr::new(address, hop.port));
        }
        let known = self.names.known.borrow();
        let (address, until) = known.get(&hop.host)?;
        (*until > self.clock.tick()).then(|| SocketAddr::new(*address, hop.port))
    }

    /// Asks the system's resolver, at most 3 s.
    pub(crate) async fn resolve(&self, hop: &Hop) -> Option<SocketAddr> {
        let looking = tokio::net::lookup_host((&*hop.host, hop.port));
        let found = tokio::time::timeout(Duration::from_secs(3), looking).await.ok()?.ok()?;
        let addresses: Vec<SocketAddr> = found.collect();
        let listeners = self.transport.addresses();
        let reachable =
            |address: &&SocketAddr| listeners.iter().any(|(_, own)| own.is_ipv4() == address.is_ipv4());
        let address = *addresses.iter().find(reachable)?;
        let mut known = self.names.known.borrow_mut();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(hop.host.clone(), (address.ip(), self.clock.tick() + LIFE));
        Some(address)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sip::Method;

    fn hop(uri: &str) -> Option<Hop> {
        Hop::of(&Request::build(Method::Notify, &Uri::parse(uri).unwrap()).finish())
    }

    fn expected(host: &str, port: u16, transport: Kind) -> Option<Hop> {
        Some(Hop { host: host.into(), port, transport })
    }

    #[test]
    fn the_uri_names_host_port_and_transport() {
        assert_eq!(hop("sip:ue@192.0.2.1"), expected("192.0.2.1", 5060, Kind::Udp));
        assert_eq!(
            hop("sip:ue@Pcscf.example.org:5070;transport=TCP"),
            expected("pcscf.example.org", 5070, Kind::Tcp)
        );
        assert_eq!(hop("sip:ue@[2001:db8::1]:5061"), expected("2001:db8::1", 5061, Kind::Udp));
        assert_eq!(hop("sip:ue@host;maddr=192.0.2.9"), expected("192.0.2.9", 5060, Kind::Udp));
        assert_eq!(hop("sip:ue@host;transport=sctp"), None);
        assert_eq!(hop("sips:ue@host"), None);
        assert_eq!(hop("tel:+15551234"), None);
    }

    #[test]
    fn the_first_route_goes_before_the_request_uri() {
        let request = Request::build(Method::Notify, &Uri::parse("sip:ue@192.0.2.1").unwrap())
            .header(Name::Route, "<sip:term@192.0.2.7:4060;lr>, <sip:192.0.2.8;lr>")
            .finish();
        assert_eq!(Hop::of(&request), expected("192.0.2.7", 4060, Kind::Udp));
    }
}
