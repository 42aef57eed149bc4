//! The configuration: a TOML file, overridden by the environment, checked key by key before anything starts.

mod print;
mod read;
mod routes;
mod schema;
mod services;
mod values;

pub use read::ConfigError;
pub use values::{Cidr, DnsServer, Listen, PeerAddress, Target, Unreadable};

use scscf::policy;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// All that an operator decides about a node. `rollcall node --print-config` shows each key with its meaning.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Config {
    /// `[node]`
    pub node: NodeSection,
    /// `[sip]`
    pub sip: SipSection,
    /// `[http]`
    pub http: HttpSection,
    /// `[store]`
    pub store: StoreSection,
    /// `[cluster]`
    pub cluster: ClusterSection,
    /// `[cx]`
    pub cx: CxSection,
    /// `[registration]`
    pub registration: policy::Registration,
    /// `[authentication]`
    pub authentication: policy::Authentication,
    /// `[reg_event]`
    pub reg_event: policy::RegEvent,
    /// `[reauthentication]`
    pub reauthentication: policy::Reauthentication,
    /// `[session]`
    pub session: SessionSection,
    /// `[limits]`
    pub limits: LimitsSection,
    /// `[observe]`
    pub observe: ObserveSection,
    /// `[routes]`: host, `*.DOMAIN` or `*` in lower case, and its targets or `dns`.
    pub routes: BTreeMap<String, Vec<String>>,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NodeSection {
    /// Name of this node.
    pub id: String,
    /// Home network domain.
    pub domain: String,
    /// Name of the S-CSCF.
    pub name: String,
    /// Seals tokens; hexadecimal.
    pub secret: Hidden,
    /// Seconds.
    pub passivate_after: u64,
    /// Seconds.
    pub stop_within: u64,
}

/// `[sip]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SipSection {
    /// `udp:` and `tcp:` addresses.
    pub listen: Vec<String>,
    /// `HOST:PORT`, or empty.
    pub advertise: String,
    /// Networks of the trust domain.
    pub trusted_peers: Vec<String>,
    /// TCP connections.
    pub max_connections: usize,
    /// Seconds.
    pub idle_timeout: u64,
    /// `ADDRESS:PORT` of DNS servers; empty: the system's.
    pub dns: Vec<String>,
    /// Seconds; 0: never.
    pub dead_hop_s: u64,
    /// Milliseconds.
    pub t1: u64,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct HttpSection {
    /// Where.
    pub listen: SocketAddr,
    /// Bearer token, or empty.
    pub token: Hidden,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct StoreSection {
    /// `memory`, `embedded` or `redis`.
    pub kind: String,
    /// Of the embedded kind.
    pub dir: String,
    /// Of Redis, one a group. They may hold passwords.
    pub urls: Vec<Hidden>,
    /// `async` or `wait1`.
    pub durability: String,
}

impl StoreSection {
    /// The same in the store's words.
    pub(crate) fn settings(&self) -> store::Settings {
        match &*self.kind {
            "embedded" => store::Settings::Embedded((&self.dir).into()),
            "redis" => store::Settings::Redis(store::RedisSettings {
                urls: self.urls.iter().map(|url| url.0.clone()).collect(),
                durability: match &*self.durability {
                    "wait1" => store::Durability::Wait1,
                    _ => store::Durability::Async,
                },
            }),
            _ => store::Settings::Memory,
        }
    }
}

/// `[cluster]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ClusterSection {
    /// `ADDRESS:PORT`, or empty.
    pub listen: String,
    /// `ADDRESS:PORT`, or empty.
    pub advertise: String,
    /// Milliseconds.
    pub lease: u64,
    /// Milliseconds.
    pub hold: u64,
}

/// `[cx]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CxSection {
    /// Origin-Host, or empty.
    pub origin_host: String,
    /// Origin-Realm, or empty.
    pub origin_realm: String,
    /// Destination-Realm, or empty.
    pub destination_realm: String,
    /// `tcp:` addresses, the preferred first.
    pub peers: Vec<String>,
    /// Seconds.
    pub request_timeout: u32,
    /// Seconds.
    pub watchdog: u32,
}

/// `[session]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SessionSection {
    /// SIP URI, or empty.
    pub i_cscf: String,
    /// Path of a file, or empty.
    pub shared_ifc: String,
    /// Path of a file, or empty.
    pub media: String,
    /// What the core decides by.
    #[serde(flatten)]
    pub policy: policy::Session,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LimitsSection {
    /// SIP transactions of each side.
    pub transactions: usize,
    /// Users whose actors live at once.
    pub actors: usize,
    /// Events that may wait for one user.
    pub mailbox: usize,
    /// Seconds.
    pub retry_after: u32,
    /// Crashes of one user in a minute.
    pub crashes: u32,
}

/// `[observe]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ObserveSection {
    /// Filter of the log.
    pub log: String,
    /// Observations kept for each user.
    pub recorder: usize,
    /// Users for whom they are kept.
    pub recorded_users: usize,
}

/// A text that is not shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "Hidden()" } else { "Hidden(..)" })
    }
}

impl Config {
    /// Every key with its default.
    pub fn with_defaults() -> Self {
        read::defaults()
    }

    /// Reads TOML text, with overrides as `ROLLCALL__SECTION__KEY` from `environment`.
    ///
    /// # Errors
    /// One line that names the key, its value and what was expected.
    pub fn read(
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        read::read(text, environment)
    }

    /// Reads a file, with overrides from the environment of the process.
    ///
    /// # Errors
    /// As [`Self::read`]; also if the file cannot be read.
    pub fn load(path: &std::path::Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::unreadable(&path.display().to_string(), &error))?;
        Self::read(&text, std::env::vars())
    }

    /// Every key with its default and a comment, as a file that [`Self::read`] takes.
    pub fn print() -> String {
        print::print()
    }

    /// With the name of the host as that of the node, where it is to be that.
    pub fn named(mut self) -> Self {
        if self.node.id == "auto" {
            let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
            self.node.id = host.unwrap_or(self.node.id);
        }
        self
    }

    pub(crate) fn listens(&self) -> impl Iterator<Item = Listen> {
        self.sip.listen.iter().filter_map(|text| text.parse().ok())
    }

    pub(crate) fn trusted(&self) -> Vec<Cidr> {
        self.sip.trusted_peers.iter().filter_map(|text| text.parse().ok()).collect()
    }

    pub(crate) fn dns_servers(&self) -> Vec<SocketAddr> {
        self.sip.dns.iter().filter_map(|text| text.parse().ok()).map(|DnsServer(address)| address).collect()
    }

    pub(crate) fn peers(&self) -> Vec<PeerAddress> {
        self.cx.peers.iter().filter_map(|text| text.parse().ok()).collect()
    }
}
