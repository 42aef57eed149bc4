//! The static routes: where requests to a host go, whatever DNS would say.

use super::Hop;
use super::candidates::{Place, Rank};
use crate::Config;
use crate::config::Target;
use ahash::AHashMap;
use sip::{Transport as Kind, Uri};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

/// Where requests to a host go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Route {
    /// To this node itself.
    Own,
    /// To these addresses, the preferred first.
    Places(Rc<[Place]>),
    /// To these hosts, whose addresses have to be found; the text names the list.
    Listed(Box<str>),
    /// Where DNS says.
    Dns,
}

/// All static routes, and where this node itself is reached.
pub(crate) struct Routes {
    hosts: AHashMap<Box<str>, Route>,
    domains: AHashMap<Box<str>, Route>,
    rest: Option<Route>,
    lists: AHashMap<Box<str>, Rc<[Hop<'static>]>>,
    own: Vec<(Kind, SocketAddr)>,
}

impl Routes {
    /// The table of the configuration, then the home domain and our own name where the table does not have them.
    pub(crate) fn new(config: &Config, listeners: &[(Kind, SocketAddr)]) -> Self {
        let mut routes = Self {
            hosts: AHashMap::default(),
            domains: AHashMap::default(),
            rest: None,
            lists: AHashMap::default(),
            own: listeners.iter().map(|(kind, address)| (*kind, reachable(*address))).collect(),
        };
        for (key, targets) in &config.routes {
            let targets: Vec<Target> = targets.iter().filter_map(|text| text.parse().ok()).collect();
            let hops = targets.iter().map(Hop::to).collect();
            let route = if targets.is_empty() { Route::Dns } else { routes.route(key, hops) };
            match key.strip_prefix("*.") {
                Some(domain) => routes.domains.insert(domain.into(), route),
                None if key == "*" => routes.rest.replace(route),
                None => routes.hosts.insert(key.as_str().into(), route),
            };
        }
        let i_cscf = Uri::parse(&config.session.i_cscf).ok();
        let home = match i_cscf.as_ref().and_then(Hop::named) {
            Some(hop) => routes.route(&config.session.i_cscf, vec![hop.into_owned()]),
            None => Route::Own,
        };
        routes.hosts.entry(config.node.domain.to_ascii_lowercase().into()).or_insert(home);
        if let Ok(name) = Uri::parse(&config.node.name) {
            routes.hosts.entry(name.host().to_ascii_lowercase().into()).or_insert(Route::Own);
        }
        routes
    }

    fn route(&mut self, id: &str, hops: Vec<Hop<'static>>) -> Route {
        let direct = hops.iter().zip(0..).map(|(hop, at)| {
            let (transport, address) = hop.direct(self.speaks_udp())?;
            Some(Place { transport, address, rank: Rank(at, 0, 0), weight: 0, record: at })
        });
        match direct.collect::<Option<Vec<Place>>>() {
            Some(places) => Route::Places(places.into()),
            None => {
                self.lists.insert(id.into(), hops.into());
                Route::Listed(id.into())
            }
        }
    }

    /// The route of a host name in lower case: its own, else that of the nearest domain above it, else that of all others.
    pub(crate) fn of(&self, host: &str) -> Option<&Route> {
        let exact = self.hosts.get(host);
        let above = || {
            let mut rest = host;
            while let Some((_, domain)) = rest.split_once('.').filter(|_| !self.domains.is_empty()) {
                if let Some(route) = self.domains.get(domain) {
                    return Some(route);
                }
                rest = domain;
            }
            None
        };
        exact.or_else(above).or(self.rest.as_ref())
    }

    /// The hosts of a list.
    pub(crate) fn list(&self, id: &str) -> Option<Rc<[Hop<'static>]>> {
        self.lists.get(id).cloned()
    }

    /// Our own first listener of that transport, UDP where none is wanted; of the other one if there is no such.
    pub(crate) fn own(&self, wanted: Option<Kind>) -> Option<(Kind, SocketAddr)> {
        let kind = wanted.unwrap_or(Kind::Udp);
        self.own.iter().find(|(own, _)| *own == kind).or_else(|| self.own.first()).copied()
    }

    /// Whether anything can be sent by UDP.
    pub(crate) fn speaks_udp(&self) -> bool {
        self.speaks(Kind::Udp)
    }

    pub(crate) fn speaks(&self, kind: Kind) -> bool {
        self.own.iter().any(|(own, _)| *own == kind)
    }

    /// Whether there is a listener of the address's family.
    pub(crate) fn reaches(&self, address: IpAddr) -> bool {
        self.own.iter().any(|(_, own)| own.is_ipv4() == address.is_ipv4())
    }
}

/// An address at which a listener is reached from its own machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address.ip(),
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn routes(text: &str) -> Routes {
        let node = "[node]\ndomain = \"Ims.example\"\nname = \"sip:scscf.ims.example:5060\"\n";
        let config = Config::read(&format!("{node}{text}"), std::iter::empty()).unwrap();
        let listeners = [(Kind::Udp, "0.0.0.0:5060"), (Kind::Tcp, "192.0.2.7:5070")];
        Routes::new(&config, &listeners.map(|(kind, address)| (kind, address.parse().unwrap())))
    }

    fn addresses(route: Option<&Route>) -> Vec<String> {
        let Some(Route::Places(places)) = route else { panic!("{route:?}") };
        places.iter().map(|place| format!("{} {}", place.transport, place.address)).collect()
    }

    #[test]
    fn the_home_domain_and_our_name_lead_to_ourselves() {
        let routes = routes("");
        assert_eq!(routes.of("ims.example"), Some(&Route::Own));
        assert_eq!(routes.of("scscf.ims.example"), Some(&Route::Own));
        assert_eq!(routes.of("icscf.ims.example"), None);
        assert_eq!(routes.own(None), Some((Kind::Udp, "127.0.0.1:5060".parse().unwrap())));
        assert_eq!(routes.own(Some(Kind::Tcp)), Some((Kind::Tcp, "192.0.2.7:5070".parse().unwrap())));
        assert!(routes.reaches("198.51.100.1".parse().unwrap()) && !routes.reaches("::1".parse().unwrap()));
    }

    #[test]
    fn the_home_domain_leads_to_the_i_cscf_where_there_is_one() {
        let near = routes("[session]\ni_cscf = \"sip:192.0.2.5:4060;transport=tcp\"");
        assert_eq!(addresses(near.of("ims.example")), ["TCP 192.0.2.5:4060"]);
        assert_eq!(near.of("scscf.ims.example"), Some(&Route::Own));
        let named = routes("[session]\ni_cscf = \"sip:icscf.ims.example\"");
        let Some(Route::Listed(id)) = named.of("ims.example") else { panic!() };
        assert_eq!(
            named.list(id).unwrap()[..],
            [Hop::named(&Uri::parse("sip:icscf.ims.example").unwrap()).unwrap()]
        );
    }

    #[test]
    fn the_table_says_otherwise_the_nearest_name_first() {
        let routes = routes(
            "[session]\ni_cscf = \"sip:192.0.2.5\"\n[routes]\n\"ims.example\" = [\"tcp:192.0.2.1\", \"udp:192.0.2.2:5070\"]\n\
             \"*.b.example\" = [\"udp:192.0.2.3\"]\n\"*.example\" = [\"dns\"]\n\"a.b.example\" = [\"udp:sbc\"]\n\
             \"*\" = [\"udp:192.0.2.9\"]",
        );
        assert_eq!(addresses(routes.of("ims.example")), ["TCP 192.0.2.1:5060", "UDP 192.0.2.2:5070"]);
        assert_eq!(addresses(routes.of("c.b.example")), ["UDP 192.0.2.3:5060"]);
        assert_eq!(addresses(routes.of("d.c.b.example")), ["UDP 192.0.2.3:5060"]);
        assert_eq!(routes.of("b.example"), Some(&Route::Dns));
        assert_eq!(
            routes.of("scscf.ims.example"),
            Some(&Route::Own),
            "our own name is nearer than any pattern"
        );
        assert_eq!(routes.of("a.b.example"), Some(&Route::Listed("a.b.example".into())));
        assert_eq!(routes.list("a.b.example").unwrap().len(), 1);
        assert_eq!(addresses(routes.of("elsewhere.org")), ["UDP 192.0.2.9:5060"]);
        assert_eq!(addresses(routes.of("localhost")), ["UDP 192.0.2.9:5060"]);
    }
}
