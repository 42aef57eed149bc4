//! RFC 3261 §8.1.2 — where a request of ours goes: its first Route, else its Request-URI.

mod candidates;
mod dead;
mod dns;
mod names;
mod routes;

pub(crate) use candidates::{Candidates, Wish};
pub(crate) use names::{Question, Wants};

use crate::Config;
use crate::config::Target;
use crate::shell::Shell;
use dead::Dead;
use dns::Dns;
use names::{Known, Names};
use routes::{Route, Routes};
use sip::{Name, NameAddr, Request, Scheme, Transport as Kind, Uri};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// What is known about the places where requests go.
pub(crate) struct NextHops {
    routes: Rc<Routes>,
    dns: Rc<Dns>,
    names: Names,
    pub(crate) dead: Dead,
}

impl NextHops {
    pub(crate) fn new(config: &Config, listeners: &[(Kind, SocketAddr)]) -> Self {
        let routes = Rc::new(Routes::new(config, listeners));
        Self {
            dns: Rc::new(Dns::new(&config.dns_servers(), &routes)),
            routes,
            names: Names::new(config.limits.transactions),
            dead: Dead::default(),
        }
    }
}

/// Host, port and transport that a URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hop<'a> {
    host: Host<'a>,
    port: Option<u16>,
    transport: Option<Kind>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host<'a> {
    Address(IpAddr),
    /// In lower case.
    Name(Cow<'a, str>),
}

impl<'a> Hop<'a> {
    /// `None` if the URI names no place that UDP or TCP leads to.
    fn named(uri: &'a Uri) -> Option<Self> {
        // A sips URI wants TLS on every hop.
        if uri.scheme() != Scheme::Sip {
            return None;
        }
        let transport = match uri.param("transport").flatten().map(Kind::of) {
            known @ (None | Some(Kind::Udp | Kind::Tcp)) => known,
            Some(Kind::Tls | Kind::Sctp | Kind::Ws | Kind::Other) => return None,
        };
        let host = uri.param("maddr").flatten().unwrap_or_else(|| uri.host());
        Some(Self { host: Host::of(host), port: uri.port(), transport })
    }
}

impl Hop<'_> {
    fn to(target: &Target) -> Hop<'static> {
        let host = Host::of(&target.host).into_owned();
        Hop { host, port: Some(target.port), transport: Some(target.transport) }
    }

    fn into_owned(self) -> Hop<'static> {
        Hop { host: self.host.into_owned(), port: self.port, transport: self.transport }
    }

    /// RFC 3263 §4.1: the place itself where the host is an address: by UDP if nothing else is said.
    fn direct(&self, speaks_udp: bool) -> Option<(Kind, SocketAddr)> {
        let Host::Address(address) = self.host else { return None };
        Some((self.plain(speaks_udp), SocketAddr::new(address, self.port.unwrap_or(5060))))
    }

    fn plain(&self, speaks_udp: bool) -> Kind {
        self.transport.unwrap_or(if speaks_udp { Kind::Udp } else { Kind::Tcp })
    }

    /// RFC 3263 §4.1, §4.2: what must be asked about the name: its addresses where there is a port, its services otherwise.
    fn wants(&self, speaks_udp: bool) -> (Wants, Wish) {
        match (self.port, self.transport) {
            (Some(port), _) => {
                let forced = Some((self.plain(speaks_udp), port));
                (Wants::Addresses, Wish { transport: None, forced })
            }
            (None, None) => (Wants::Services, Wish::default()),
            (None, Some(Kind::Tcp)) => (Wants::Tcp, Wish::default()),
            (None, Some(_)) => (Wants::Udp, Wish::default()),
        }
    }
}

impl<'a> Host<'a> {
    fn of(text: &'a str) -> Self {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse() {
            return Self::Address(address);
        }
        let name = bare.strip_suffix('.').unwrap_or(bare);
        let is_lower = !name.bytes().any(|octet| octet.is_ascii_uppercase());
        Self::Name(if is_lower { name.into() } else { name.to_ascii_lowercase().into() })
    }

    fn into_owned(self) -> Host<'static> {
        match self {
            Self::Address(address) => Host::Address(address),
            Self::Name(name) => Host::Name(Cow::Owned(name.into_owned())),
        }
    }
}

/// Where a request goes, as far as that is known.
pub(crate) enum Way {
    /// There.
    Open(Candidates),
    /// Somebody must be asked first.
    Ask(Question, Wish),
    /// It names no place, or one that nobody knows.
    Nowhere,
}

impl Shell {
    /// Where a request goes: the static routes first, then what was found lately.
    pub(crate) fn way_of(&self, request: &Request) -> Way {
        with_hop(request, |hop| self.way_to(hop)).unwrap_or(Way::Nowhere)
    }

    fn way_to(&self, hop: &Hop<'_>) -> Way {
        let NextHops { routes, .. } = &self.hops;
        let name = match &hop.host {
            Host::Name(name) => name,
            Host::Address(_) => return open(hop.direct(routes.speaks_udp())),
        };
        let wish = Wish { transport: hop.transport, forced: None };
        match routes.of(name) {
            Some(Route::Own) => open(routes.own(hop.transport)),
            Some(Route::Places(places)) => self.draw(places, wish).map_or(Way::Nowhere, Way::Open),
            Some(Route::Listed(id)) => self.way_by(id, Wants::Listed, wish),
            Some(Route::Dns) | None => {
                let (wants, wish) = hop.wants(routes.speaks_udp());
                self.way_by(name, wants, wish)
            }
        }
    }

    fn way_by(&self, name: &str, wants: Wants, wish: Wish) -> Way {
        match self.hops.names.known(name, wants, self.clock.tick()) {
            Known::Places(places) => self.draw(&places, wish).map_or(Way::Nowhere, Way::Open),
            Known::Nothing => Way::Nowhere,
            Known::Unasked => Way::Ask(Question { name: name.into(), wants }, wish),
        }
    }

    fn draw(&self, places: &Rc<[candidates::Place]>, wish: Wish) -> Option<Candidates> {
        let now = self.clock.tick();
        // A single place needs no chance.
        let chance = if places.len() > 1 { rand::random() } else { 0 };
        Candidates::drawn(places, wish, chance, |transport, address| {
            self.hops.dead.has(transport, address, now)
        })
    }
}

/// `None` if the request names no place.
fn with_hop<T>(request: &Request, run: impl FnOnce(&Hop<'_>) -> T) -> Option<T> {
    let first = request.values(Name::Route).next();
    let route = first.map(|route| NameAddr::parse(&route)).transpose().ok()?;
    let uri = route.as_ref().map_or_else(|| request.uri(), |route| &route.uri);
    Hop::named(uri).as_ref().map(run)
}

fn open(place: Option<(Kind, SocketAddr)>) -> Way {
    place.map_or(Way::Nowhere, |(transport, address)| Way::Open(Candidates::one(transport, address)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sip::Method;

    fn hop(uri: &str) -> Option<Hop<'static>> {
        Hop::named(&Uri::parse(uri).unwrap()).map(Hop::into_owned)
    }

    fn expected(host: &str, port: Option<u16>, transport: Option<Kind>) -> Option<Hop<'static>> {
        Some(Hop { host: Host::of(host).into_owned(), port, transport })
    }

    #[test]
    fn the_uri_names_host_port_and_transport() {
        assert_eq!(hop("sip:ue@192.0.2.1"), expected("192.0.2.1", None, None));
        assert_eq!(
            hop("sip:ue@Pcscf.example.org.:5070;transport=TCP"),
            expected("pcscf.example.org", Some(5070), Some(Kind::Tcp))
        );
        assert_eq!(hop("sip:ue@[2001:db8::1]:5061"), expected("2001:db8::1", Some(5061), None));
        assert_eq!(hop("sip:ue@host;maddr=192.0.2.9"), expected("192.0.2.9", None, None));
        assert_eq!(hop("sip:ue@host;transport=sctp"), None);
        assert_eq!(hop("sips:ue@host"), None);
        assert_eq!(hop("tel:+15551234"), None);
    }

    #[test]
    fn the_first_route_goes_before_the_request_uri() {
        let hop = |routes: &[&str]| {
            let request = Request::build(Method::Notify, &Uri::parse("sip:ue@192.0.2.1").unwrap());
            let request = routes.iter().fold(request, |request, route| request.header(Name::Route, *route));
            with_hop(&request.finish(), |hop| hop.clone().into_owned())
        };
        assert_eq!(hop(&[]), expected("192.0.2.1", None, None));
        let routed = expected("192.0.2.7", Some(4060), None);
        assert_eq!(hop(&["<sip:term@192.0.2.7:4060;lr>, <sip:192.0.2.8;lr>"]), routed);
        assert_eq!(hop(&["<sip:term@192.0.2.7:4060;lr>", "<sip:192.0.2.8;lr>"]), routed);
        assert_eq!(hop(&["<sip:"]), None);
    }

    #[test]
    fn an_address_is_a_place_and_a_port_makes_services_needless() {
        let direct = |uri: &str, udp| hop(uri).unwrap().direct(udp).map(|(kind, at)| format!("{kind} {at}"));
        assert_eq!(direct("sip:192.0.2.1", true).unwrap(), "UDP 192.0.2.1:5060");
        assert_eq!(direct("sip:192.0.2.1", false).unwrap(), "TCP 192.0.2.1:5060");
        assert_eq!(direct("sip:[::1]:5070;transport=tcp", true).unwrap(), "TCP [::1]:5070");
        assert_eq!(direct("sip:host", true), None);
        let wants = |uri: &str| hop(uri).unwrap().wants(true);
        let forced = |kind, port| Wish { transport: None, forced: Some((kind, port)) };
        assert_eq!(wants("sip:host:5070"), (Wants::Addresses, forced(Kind::Udp, 5070)));
        assert_eq!(wants("sip:host:5070;transport=tcp"), (Wants::Addresses, forced(Kind::Tcp, 5070)));
        assert_eq!(wants("sip:host"), (Wants::Services, Wish::default()));
        assert_eq!(wants("sip:host;transport=tcp"), (Wants::Tcp, Wish::default()));
        assert_eq!(wants("sip:host;transport=udp"), (Wants::Udp, Wish::default()));
    }
}
