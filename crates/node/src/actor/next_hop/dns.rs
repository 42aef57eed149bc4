//! RFC 3263 §4.1, §4.2 — what DNS says about a name: by NAPTR, else by SRV, else by its addresses.

use super::candidates::{MOST, Place, Rank};
use super::names::{Question, Wants};
use super::routes::Routes;
use super::{Hop, Host};
use futures_util::future::join_all;
use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{NAPTR, SRV};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, Resolver, TokioResolver, system_conf};
use sip::Transport as Kind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Places a name leads to, and how long that holds.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) places: Vec<Place>,
    pub(super) ttl: Duration,
}

/// Why nothing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// DNS says that there is nothing.
    Nothing,
    /// DNS says that there decidedly is no such service (RFC 2782: a target that is the root).
    Denied,
    /// DNS did not say.
    Unanswered,
}

/// One query has so long, and is repeated once.
const PATIENCE: Duration = Duration::from_secs(1);
/// What was found although not every question had its answer is asked for again soon.
const INCOMPLETE: Duration = Duration::from_secs(5);
/// How long the hosts file holds.
const FIXED: Duration = Duration::from_secs(3600);
/// Services of one name that are followed.
const SERVICES: usize = 4;

/// The resolver, and the hosts file of the system.
pub(super) struct Dns {
    resolver: Option<TokioResolver>,
    hosts: Arc<Hosts>,
}

/// A server of a name by one transport, and where SRV tells of it.
#[derive(Debug, PartialEq)]
struct Service {
    transport: Kind,
    name: Name,
}

impl Dns {
    /// With these servers, or those of the system.
    pub(super) fn new(servers: &[SocketAddr], routes: &Routes) -> Self {
        let hosts = Arc::new(Hosts::from_system().unwrap_or_default());
        let configured = if servers.is_empty() {
            system_conf::read_system_conf()
        } else {
            let servers = servers.iter().map(|server| name_server(*server)).collect();
            Ok((ResolverConfig::from_parts(None, Vec::new(), servers), ResolverOpts::default()))
        };
        let built = configured.and_then(|(config, options)| {
            let provider = TokioRuntimeProvider::default();
            let mut builder = Resolver::builder_with_config(config, provider).with_options(options);
            let options = builder.options_mut();
            options.timeout = PATIENCE;
            options.attempts = 1;
            // What is found is remembered where messages look for it.
            options.cache_size = 0;
            options.use_hosts_file = ResolveHosts::Never;
            options.ip_strategy = strategy(routes);
            builder.build()
        });
        let resolver = match built {
            Ok(mut resolver) => {
                resolver.set_hosts(Arc::clone(&hosts));
                Some(resolver)
            }
            Err(error) => {
                tracing::warn!(%error, "no DNS server is known: names are not resolved, see sip.dns");
                None
            }
        };
        Self { resolver, hosts }
    }

    pub(super) async fn look_up(&self, question: &Question, routes: &Routes) -> Result<Seen, Missed> {
        match question.wants {
            Wants::Listed => self.listed(&routes.list(&question.name).unwrap_or_default(), routes).await,
            wants @ (Wants::Addresses | Wants::Services | Wants::Udp | Wants::Tcp) => {
                self.of_name(&question.name, wants, routes).await
            }
        }
    }

    /// All that a list of hosts leads to, in its order.
    async fn listed(&self, hops: &[Hop<'static>], routes: &Routes) -> Result<Seen, Missed> {
        let most = (MOST / hops.len().max(1)).max(1);
        let found = join_all(hops.iter().map(|hop| self.of_hop(hop, routes))).await;
        let mut basket = Basket::default();
        for (found, target) in found.into_iter().zip(0u8..) {
            basket.add(found, most, |place| Place {
                rank: Rank(target, place.rank.1, place.rank.2),
                record: target.wrapping_mul(MOST as u8).wrapping_add(place.record),
                ..place
            });
        }
        basket.seen()
    }

    async fn of_hop(&self, hop: &Hop<'static>, routes: &Routes) -> Result<Seen, Missed> {
        let name = match &hop.host {
            Host::Name(name) => name,
            Host::Address(_) => {
                let direct = hop.direct(routes.speaks_udp()).ok_or(Missed::Nothing)?;
                return Ok(Seen { places: vec![place(direct, 0)], ttl: FIXED });
            }
        };
        let (wants, wish) = hop.wants(routes.speaks_udp());
        let mut seen = self.of_name(name, wants, routes).await?;
        if let Some((transport, port)) = wish.forced {
            for place in &mut seen.places {
                place.transport = transport;
                place.address.set_port(port);
            }
        }
        Ok(seen)
    }

    async fn of_name(&self, name: &str, wants: Wants, routes: &Routes) -> Result<Seen, Missed> {
        let name = Name::from_ascii(name).map_err(|_| Missed::Nothing)?;
        let plain = if routes.speaks_udp() { Kind::Udp } else { Kind::Tcp };
        match wants {
            Wants::Addresses | Wants::Listed => self.addresses(name, plain, 0).await,
            Wants::Udp => self.servers(name, &[Kind::Udp], Kind::Udp).await,
            Wants::Tcp => self.servers(name, &[Kind::Tcp], Kind::Tcp).await,
            Wants::Services => {
                let spoken = [Kind::Udp, Kind::Tcp];
                let spoken = spoken.into_iter().filter(|kind| routes.speaks(*kind)).collect::<Vec<_>>();
                self.services(name, &spoken, plain).await
            }
        }
    }

    /// RFC 3263 §4.1: what NAPTR names, if anything; else as [`Self::servers`].
    async fn services(&self, name: Name, spoken: &[Kind], plain: Kind) -> Result<Seen, Missed> {
        if self.is_in_hosts(&name) {
            return self.addresses(name, plain, 5060).await;
        }
        let missed = match self.ask(&name, RecordType::NAPTR).await {
            Ok(lookup) => match self.by_srv(&offered(&lookup, spoken)).await {
                Ok(seen) => return Ok(Seen { ttl: seen.ttl.min(ttl_of(&lookup)), ..seen }),
                Err(missed) => missed,
            },
            Err(missed) => missed,
        };
        doubted(missed, self.servers(name, spoken, plain).await)
    }

    /// RFC 3263 §4.2: what SRV names for these transports; else the addresses of the name itself.
    async fn servers(&self, name: Name, transports: &[Kind], plain: Kind) -> Result<Seen, Missed> {
        if self.is_in_hosts(&name) {
            return self.addresses(name, plain, 5060).await;
        }
        let services: Vec<Service> =
            transports.iter().filter_map(|transport| Service::of(*transport, &name)).collect();
        match self.by_srv(&services).await {
            Ok(seen) => Ok(seen),
            Err(Missed::Denied) => Err(Missed::Denied),
            Err(missed) => doubted(missed, self.addresses(name, plain, 5060).await),
        }
    }

    /// RFC 2782: the addresses of the servers that SRV names.
    async fn by_srv(&self, services: &[Service]) -> Result<Seen, Missed> {
        let asked = services.iter().map(|service| self.ask(&service.name, RecordType::SRV));
        let answers = join_all(asked).await;
        let mut basket = Basket::default();
        let mut records: Vec<(Rank, Kind, &SRV)> = Vec::new();
        for ((answer, service), at) in answers.iter().zip(services).zip(0u8..) {
            match answer {
                Ok(lookup) => {
                    basket.ttl = basket.ttl.min(ttl_of(lookup));
                    records.extend(srv_records(lookup).map(|srv| {
                        let rank = Rank(0, at, srv.priority);
                        (rank, service.transport, srv)
                    }));
                }
                Err(missed) => basket.is_incomplete |= *missed == Missed::Unanswered,
            }
        }
        let is_denied = !records.is_empty() && records.iter().all(|(_, _, srv)| srv.target.is_root());
        if is_denied && !basket.is_incomplete {
            return Err(Missed::Denied);
        }
        records.retain(|(_, _, srv)| !srv.target.is_root());
        records.sort_by_key(|(rank, _, srv)| (*rank, std::cmp::Reverse(srv.weight)));
        records.truncate(MOST);
        let most = (MOST / records.len().max(1)).max(1);
        let targets = records.iter().map(|(_, transport, srv)| {
            let mut target = srv.target.clone();
            target.set_fqdn(true);
            self.addresses(target, *transport, srv.port)
        });
        for ((found, (rank, _, srv)), record) in join_all(targets).await.into_iter().zip(&records).zip(0u8..)
        {
            basket.add(found, most, |place| Place { rank: *rank, weight: srv.weight, record, ..place });
        }
        basket.seen()
    }

    async fn addresses(&self, mut name: Name, transport: Kind, port: u16) -> Result<Seen, Missed> {
        // A name of one label may be short for one in the system's search list.
        let is_whole = name.is_fqdn() || name.num_labels() > 1;
        name.set_fqdn(is_whole);
        let resolver = self.resolver.as_ref().ok_or(Missed::Unanswered)?;
        let found = resolver.lookup_ip(name).await.map_err(|error| missed(&error))?;
        let places = found.iter().take(MOST).zip(0u8..);
        let places: Vec<Place> =
            places.map(|(ip, record)| place((transport, SocketAddr::new(ip, port)), record)).collect();
        let ttl = found.valid_until().saturating_duration_since(Instant::now()).min(FIXED);
        if places.is_empty() { Err(Missed::Nothing) } else { Ok(Seen { places, ttl }) }
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Lookup, Missed> {
        let mut name = name.clone();
        name.set_fqdn(true);
        let resolver = self.resolver.as_ref().ok_or(Missed::Unanswered)?;
        resolver.lookup(name, kind).await.map_err(|error| missed(&error))
    }

    /// Whether the system's hosts file has it: then nobody else is asked.
    fn is_in_hosts(&self, name: &Name) -> bool {
        let has = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)).is_some();
        has(RecordType::A) || has(RecordType::AAAA)
    }
}

impl Service {
    fn of(transport: Kind, name: &Name) -> Option<Self> {
        let label = if transport == Kind::Tcp { "_tcp" } else { "_udp" };
        let name = name.prepend_label(label).and_then(|name| name.prepend_label("_sip")).ok()?;
        Some(Self { transport, name })
    }
}

/// What several answers give together.
struct Basket {
    places: Vec<Place>,
    ttl: Duration,
    is_incomplete: bool,
}

impl Default for Basket {
    fn default() -> Self {
        Self { places: Vec::new(), ttl: FIXED, is_incomplete: false }
    }
}

impl Basket {
    fn add(&mut self, found: Result<Seen, Missed>, most: usize, as_part: impl Fn(Place) -> Place) {
        match found {
            Ok(seen) => {
                self.ttl = self.ttl.min(seen.ttl);
                self.places.extend(seen.places.into_iter().take(most).map(as_part));
            }
            Err(missed) => self.is_incomplete |= missed == Missed::Unanswered,
        }
    }

    fn seen(mut self) -> Result<Seen, Missed> {
        if self.places.is_empty() {
            return Err(if self.is_incomplete { Missed::Unanswered } else { Missed::Nothing });
        }
        if self.is_incomplete {
            self.ttl = self.ttl.min(INCOMPLETE);
        }
        self.places.truncate(MOST);
        Ok(Seen { places: self.places, ttl: self.ttl })
    }
}

/// The answer to a question that was asked because another had none; where that one was only not answered, it may come yet.
fn doubted(before: Missed, found: Result<Seen, Missed>) -> Result<Seen, Missed> {
    match (before, found) {
        (Missed::Unanswered, Ok(seen)) => Ok(Seen { ttl: seen.ttl.min(INCOMPLETE), ..seen }),
        (Missed::Unanswered, Err(_)) => Err(Missed::Unanswered),
        (Missed::Nothing | Missed::Denied, found) => found,
    }
}

/// RFC 3263 §4.1: the services of a name that we speak, the preferred first.
fn offered(lookup: &Lookup, spoken: &[Kind]) -> Vec<Service> {
    let naptrs = lookup
        .answers()
        .iter()
        .filter_map(|record| if let RData::NAPTR(naptr) = &record.data { Some(naptr) } else { None });
    preferred(naptrs, spoken)
}

fn preferred<'a>(naptrs: impl Iterator<Item = &'a NAPTR>, spoken: &[Kind]) -> Vec<Service> {
    let mut offers: Vec<(u16, u16, Service)> = naptrs
        .filter(|naptr| naptr.flags.eq_ignore_ascii_case(b"s") && !naptr.replacement.is_root())
        .filter_map(|naptr| {
            let is = |service: &[u8]| naptr.services.eq_ignore_ascii_case(service);
            let transport = if is(b"SIP+D2U") {
                Kind::Udp
            } else if is(b"SIP+D2T") {
                Kind::Tcp
            } else {
                return None;
            };
            let service = Service { transport, name: naptr.replacement.clone() };
            spoken.contains(&transport).then_some((naptr.order, naptr.preference, service))
        })
        .collect();
    offers.sort_by_key(|(order, preference, _)| (*order, *preference));
    offers.into_iter().take(SERVICES).map(|(_, _, service)| service).collect()
}

fn srv_records(lookup: &Lookup) -> impl Iterator<Item = &SRV> {
    lookup.answers().iter().filter_map(
        |record| {
            if let RData::SRV(srv) = &record.data { Some(srv) } else { None }
        },
    )
}

fn place((transport, address): (Kind, SocketAddr), record: u8) -> Place {
    Place { transport, address, rank: Rank::default(), weight: 0, record }
}

fn ttl_of(lookup: &Lookup) -> Duration {
    lookup.valid_until().saturating_duration_since(Instant::now())
}

fn missed(error: &NetError) -> Missed {
    let is_said = if let NetError::Dns(DnsError::NoRecordsFound(none)) = error {
        matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError)
    } else {
        false
    };
    if is_said { Missed::Nothing } else { Missed::Unanswered }
}

/// The families that our listeners have.
fn strategy(routes: &Routes) -> LookupIpStrategy {
    let has = |address: [u8; 4]| routes.reaches(address.into());
    match (has([127, 0, 0, 1]), routes.reaches(std::net::Ipv6Addr::LOCALHOST.into())) {
        (true, true) => LookupIpStrategy::Ipv4AndIpv6,
        (false, true) => LookupIpStrategy::Ipv6Only,
        (_, false) => LookupIpStrategy::Ipv4Only,
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections.iter_mut().for_each(|connection| connection.port = address.port());
    server
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn naptr(order: u16, preference: u16, flags: &str, service: &str, replacement: &str) -> NAPTR {
        let replacement = Name::from_ascii(replacement).unwrap();
        let octets = |text: &str| text.as_bytes().into();
        NAPTR::new(order, preference, octets(flags), octets(service), octets(""), replacement)
    }

    #[test]
    fn of_the_services_offered_those_we_speak_are_taken_in_their_order() {
        let offers = [
            naptr(20, 0, "s", "SIP+D2U", "last.example."),
            naptr(10, 50, "S", "sip+d2t", "second.example."),
            naptr(10, 10, "s", "SIP+D2U", "first.example."),
            naptr(1, 0, "s", "SIPS+D2T", "secure.example."),
            naptr(1, 0, "s", "SIP+D2S", "sctp.example."),
            naptr(1, 0, "u", "SIP+D2U", "regexp.example."),
            naptr(1, 0, "s", "SIP+D2U", "."),
        ];
        let names = |spoken: &[Kind]| -> Vec<String> {
            let services = preferred(offers.iter(), spoken).into_iter();
            services.map(|service| format!("{} {}", service.transport, service.name)).collect()
        };
        assert_eq!(
            names(&[Kind::Udp, Kind::Tcp]),
            ["UDP first.example.", "TCP second.example.", "UDP last.example."]
        );
        assert_eq!(names(&[Kind::Tcp]), ["TCP second.example."]);
        let many = vec![naptr(1, 1, "s", "SIP+D2U", "a.example."); 9];
        assert_eq!(preferred(many.iter(), &[Kind::Udp]).len(), SERVICES);
    }

    #[test]
    fn what_was_not_answered_is_asked_again_soon() {
        let found = || {
            let places = vec![place((Kind::Udp, ([192, 0, 2, 1], 5060).into()), 0)];
            Ok(Seen { places, ttl: Duration::from_secs(600) })
        };
        let ttl = |seen: Result<Seen, Missed>| seen.map(|seen| seen.ttl);
        assert_eq!(ttl(doubted(Missed::Nothing, found())), Ok(Duration::from_secs(600)));
        assert_eq!(ttl(doubted(Missed::Unanswered, found())), Ok(INCOMPLETE));
        assert_eq!(doubted(Missed::Unanswered, Err(Missed::Nothing)), Err(Missed::Unanswered));
        let gathered = |parts: Vec<Result<Seen, Missed>>| {
            let mut basket = Basket::default();
            parts.into_iter().for_each(|part| basket.add(part, MOST, |place| place));
            ttl(basket.seen())
        };
        assert_eq!(gathered(vec![found(), Err(Missed::Nothing)]), Ok(Duration::from_secs(600)));
        assert_eq!(gathered(vec![found(), Err(Missed::Unanswered)]), Ok(INCOMPLETE));
        assert_eq!(gathered(vec![Err(Missed::Nothing), Err(Missed::Unanswered)]), Err(Missed::Unanswered));
        assert_eq!(gathered(vec![Err(Missed::Nothing)]), Err(Missed::Nothing));
    }

    #[test]
    fn a_service_is_named_after_its_transport() {
        let name = Name::from_ascii("example.net").unwrap();
        let named = |kind| Service::of(kind, &name).unwrap().name.to_string();
        assert_eq!(
            (named(Kind::Udp), named(Kind::Tcp)),
            ("_sip._udp.example.net".into(), "_sip._tcp.example.net".into())
        );
    }
}
