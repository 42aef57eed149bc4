//! Every key of the configuration, once: what it expects, what it is by default, what it is for.

use super::values::{Cidr, DnsServer, Listen, PeerAddress};

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) expects: Expects,
    /// As it stands in TOML; empty if the key has none.
    pub(super) default: &'static str,
    pub(super) about: &'static str,
}

/// What a value must be.
#[derive(Debug)]
pub(super) enum Expects {
    /// Any text that is not empty.
    Text,
    /// A SIP URI.
    SipUri,
    /// A SIP URI or an empty text.
    AnySipUri,
    /// A path or an empty text.
    Anything,
    /// A whole number between these.
    Number(u64, u64),
    /// true or false.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `ADDRESS:PORT`.
    Socket,
    /// A list of `udp:ADDRESS:PORT` and `tcp:ADDRESS:PORT`.
    Listens,
    /// A list of `ADDRESS/BITS`.
    Networks,
    /// A list of `tcp:HOST:PORT`.
    Peers,
    /// A list of `ADDRESS:PORT`.
    DnsServers,
    /// A list of texts.
    Words,
}

impl Expects {
    /// What is expected, when `value` is not it.
    pub(super) fn refuse(&self, value: &toml::Value) -> Option<String> {
        let texts = |check: &dyn Fn(&str) -> bool| {
            value.as_array().is_some_and(|list| list.iter().all(|item| item.as_str().is_some_and(check)))
        };
        let (good, expected) = match self {
            Self::Text => (value.as_str().is_some_and(|text| !text.trim().is_empty()), "a text".into()),
            Self::Anything => (value.is_str(), "a text".into()),
            Self::SipUri => {
                (value.as_str().is_some_and(is_sip_uri), "a SIP URI as \"sip:scscf.example.org:5060\"".into())
            }
            Self::AnySipUri => (
                value.as_str().is_some_and(|text| text.is_empty() || is_sip_uri(text)),
                "a SIP URI as \"sip:icscf.example.org:5060\", or nothing".into(),
            ),
            Self::Number(least, most) => (
                value
                    .as_integer()
                    .and_then(|n| u64::try_from(n).ok())
                    .is_some_and(|n| (*least..=*most).contains(&n)),
                format!("a whole number from {least} to {most}"),
            ),
            Self::Flag => (value.is_bool(), "true or false".into()),
            Self::OneOf(words) => (
                value.as_str().is_some_and(|word| words.contains(&word)),
                format!("one of {}", words.join(", ")),
            ),
            Self::Socket => (
                value.as_str().is_some_and(|text| text.parse::<std::net::SocketAddr>().is_ok()),
                "an address and port as \"127.0.0.1:8080\"".into(),
            ),
            Self::Listens => (
                texts(&|text| text.parse::<Listen>().is_ok())
                    && value.as_array().is_some_and(|list| !list.is_empty()),
                "a list as [\"udp:0.0.0.0:5060\", \"tcp:0.0.0.0:5060\"]".into(),
            ),
            Self::Networks => {
                (texts(&|text| text.parse::<Cidr>().is_ok()), "a list of networks as [\"10.0.0.0/8\"]".into())
            }
            Self::Peers => (
                texts(&|text| text.parse::<PeerAddress>().is_ok()),
                "a list of Diameter peers as [\"tcp:127.0.0.1:3868\"]".into(),
            ),
            Self::Words => (texts(&|_| true), "a list of texts".into()),
            Self::DnsServers => (
                texts(&|text| text.parse::<DnsServer>().is_ok()),
                "a list of DNS servers as [\"127.0.0.1:53\"]".into(),
            ),
        };
        (!good).then_some(expected)
    }

    /// Whether it is a list, so that the environment may write it with commas.
    pub(super) const fn is_list(&self) -> bool {
        matches!(self, Self::Listens | Self::Networks | Self::Peers | Self::DnsServers | Self::Words)
    }

    /// Whether the environment's text is taken as it stands.
    pub(super) const fn is_text(&self) -> bool {
        matches!(
            self,
            Self::Text | Self::Anything | Self::SipUri | Self::AnySipUri | Self::OneOf(_) | Self::Socket
        )
    }
}

fn is_sip_uri(text: &str) -> bool {
    sip::Uri::parse(text).is_ok_and(|uri| uri.scheme() == sip::Scheme::Sip)
}

/// What each section is for.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    (
        "node",
        "This process. One thread runs sockets, transactions and users; start more nodes for more cores.",
    ),
    ("sip", "SIP over UDP and TCP."),
    ("http", "The operator's interface."),
    ("store", "Where users outlive their actors."),
    ("cluster", "Other nodes."),
    ("cx", "Diameter towards the HSS."),
    ("registration", "Registration."),
    ("authentication", "Authentication."),
    ("reg_event", "The registration-state event package."),
    ("reauthentication", "Re-authentication that the network asks for."),
    ("session", "Sessions."),
    ("limits", "What one node and one user may hold; at each limit requests get 503 with Retry-After."),
    ("observe", "What operators see."),
    (
        ROUTES,
        "Where requests go without asking DNS: a host, \"*.DOMAIN\" or \"*\", and its targets, the preferred first; \"dns\" alone asks DNS after all.",
    ),
];

/// The one section whose keys are the operator's.
pub(super) const ROUTES: &str = "routes";

/// What the section of routes looks like.
pub(super) const ROUTES_EXAMPLE: &[&str] = &[
    "\"icscf.example.org\" = [\"udp:192.0.2.1:5060\", \"tcp:192.0.2.2:5060\"]",
    "\"*.example.org\" = [\"dns\"]",
    "\"*\" = [\"udp:ibcf.example.org:5060\"]",
];

const DAY: u64 = 86_400;
const YEAR: u64 = 366 * DAY;

macro_rules! keys {
    ($([$section:literal] $($name:literal = $default:literal, $expects:expr, $about:literal;)*)*) => {
        /// All keys, in the order in which they are printed.
        pub(super) const KEYS: &[Key] = &[$($(Key {
            section: $section, name: $name, expects: $expects, default: $default, about: $about,
        },)*)*];
    };
}

use Expects::*;

keys! {
    ["node"]
    "id" = "\"n1\"", Text, "Name of this node, different on every node; auto: the name of the host.";
    "domain" = "\"ims.mnc001.mcc001.3gppnetwork.org\"", Text, "Home network domain: realm of challenges, domain of tokens.";
    "name" = "\"sip:scscf.ims.mnc001.mcc001.3gppnetwork.org:5060\"", SipUri, "Name of the S-CSCF, the same on every node; Server-Name towards the HSS.";
    "secret" = "\"\"", Anything, "64 hexadecimal digits that seal tokens in our URIs, the same on every node; empty: drawn once, and kept in the store.";
    "passivate_after" = "10", Number(1, YEAR), "Seconds of silence after which a user's actor ends; its record stays.";
    "stop_within" = "10", Number(0, 3600), "Seconds that requests under way have to end when the node is told to stop.";
    ["sip"]
    "listen" = "[\"udp:0.0.0.0:5060\", \"tcp:0.0.0.0:5060\"]", Listens, "Where SIP is taken; port 0 lets the system choose.";
    "advertise" = "\"\"", Anything, "HOST:PORT in our Via; empty: the address the peer is reached from.";
    "trusted_peers" = "[\"127.0.0.0/8\"]", Networks, "Networks of the trust domain (P-CSCFs): their integrity-protected and P- headers are believed.";
    "max_connections" = "10000", Number(1, 1_000_000), "TCP connections at once.";
    "idle_timeout" = "900", Number(5, DAY), "Seconds without an octet after which a TCP connection is closed.";
    "dns" = "[]", DnsServers, "DNS servers as [\"127.0.0.1:53\"]; empty: those of the system.";
    "dead_hop_s" = "30", Number(0, 3600), "Seconds for which a next hop that failed is tried last; 0: never.";
    "t1" = "500", Number(10, 10_000), "Timer T1, milliseconds.";
    ["http"]
    "listen" = "\"127.0.0.1:8080\"", Socket, "Where the operator's interface listens.";
    "token" = "\"\"", Anything, "Bearer token; required off loopback.";
    ["store"]
    "kind" = "\"memory\"", OneOf(&["memory", "embedded", "redis"]), "memory: users are forgotten when the process ends; embedded: kept in a directory, for one node; redis: shared by all nodes.";
    "dir" = "\"\"", Anything, "Directory of the embedded kind.";
    "urls" = "[\"redis://127.0.0.1:6379/0\"]", Words, "Redis: one group of shards for each, the same on every node; with Sentinel \"redis+sentinel://HOST:PORT,HOST:PORT/MASTER\".";
    "durability" = "\"async\"", OneOf(&["async", "wait1"]), "Whether a change waits for one replica of Redis before anybody hears of it.";
    ["cluster"]
    "listen" = "\"\"", Anything, "ADDRESS:PORT where other nodes' links are taken; empty: this node is alone.";
    "advertise" = "\"\"", Anything, "ADDRESS:PORT where other nodes reach it; empty: the listening address, or that of this host.";
    "lease" = "2000", Number(500, 60_000), "Milliseconds after which a node that the store does not hear of loses its shards.";
    "hold" = "3000", Number(0, 30_000), "Milliseconds for which a request waits for a shard that is changing hands; then it gets 503.";
    ["cx"]
    "origin_host" = "\"\"", Anything, "Origin-Host of this node; empty: ID.scscf.DOMAIN.";
    "origin_realm" = "\"\"", Anything, "Origin-Realm; empty: the domain.";
    "destination_realm" = "\"\"", Anything, "Realm of the HSS; empty: the domain.";
    "peers" = "[\"tcp:127.0.0.1:3868\"]", Peers, "HSSs or Diameter agents, the preferred first.";
    "request_timeout" = "5", Number(1, 300), "Seconds until an unanswered request counts as unreachable.";
    "watchdog" = "30", Number(6, 600), "Seconds of silence after which a peer is asked whether it lives.";
    ["registration"]
    "min_expires" = "60", Number(1, 3600), "Shortest registration granted, seconds.";
    "max_expires" = "600000", Number(1, YEAR), "Longest registration granted, seconds.";
    "default_expires" = "3600", Number(1, YEAR), "Registration when the UE asks for none, seconds.";
    "max_contacts" = "10", Number(1, 1000), "Contact bindings of one private identity.";
    "reregistration_interval" = "1800", Number(0, YEAR), "SAR on unauthenticated refreshes at most this often, seconds; 0: never.";
    "max_application_servers" = "16", Number(0, 1000), "Application servers that hear of one registration.";
    "max_attempts" = "16", Number(1, 1000), "REGISTERs of one user that may wait for the HSS.";
    ["authentication"]
    "scheme" = "\"aka\"", OneOf(&["aka", "digest", "unknown"]), "Scheme asked of the HSS when the REGISTER does not tell.";
    "max_challenges" = "3", Number(1, 20), "Challenges in a row that one attempt may provoke.";
    "max_pending" = "4", Number(1, 100), "Challenges outstanding for one user.";
    "max_challenges_per_minute" = "10", Number(1, 100_000), "MARs per minute that unprotected REGISTERs of one user may cause.";
    "over_limit" = "\"forbid\"", OneOf(&["forbid", "unavailable"]), "Answer above that limit: 403, or 503 with Retry-After.";
    "unprotected_answer" = "\"accept\"", OneOf(&["accept", "challenge"]), "What a right answer in an unprotected REGISTER is worth.";
    "await_auth" = "240", Number(1, 3600), "Seconds a challenge stands.";
    "max_resyncs" = "1", Number(0, 20), "Resynchronisations in a row.";
    "accept_without_qop" = "true", Flag, "Accept answers without qop.";
    ["reg_event"]
    "legacy_enabled" = "true", Flag, "Accept Event: registration-state beside Event: reg.";
    "min_expires" = "60", Number(1, YEAR), "Shortest subscription, seconds.";
    "max_expires" = "600000", Number(1, YEAR), "Longest subscription, seconds.";
    "default_expires" = "3761", Number(1, YEAR), "Subscription when the subscriber asks for none, seconds.";
    "max_subscriptions" = "16", Number(1, 1000), "Subscriptions to one user.";
    ["reauthentication"]
    "period" = "600", Number(1, DAY), "Seconds the UE has.";
    "min_period" = "60", Number(1, DAY), "Shortest period that may be asked for, seconds.";
    "on_wrong_answer" = "\"rechallenge\"", OneOf(&["rechallenge", "deregister", "reject"]), "What a wrong protected answer does while re-authentication is pending.";
    "refer" = "false", Flag, "Ask by REFER when no subscriber can be reached.";
    "timeout_event" = "\"expired\"", OneOf(&["expired", "deactivated"]), "Contact event when the deadline passes.";
    "on_every_reregister" = "false", Flag, "Challenge every protected re-REGISTER.";
    "interval" = "0", Number(0, YEAR), "Challenge when the last authentication is older, seconds; 0: never.";
    "every_n_registrations" = "0", Number(0, 1_000_000), "Challenge each n-th protected REGISTER; 0: never.";
    "random_percent" = "0", Number(0, 100), "Challenge this share of protected re-REGISTERs, per cent.";
    "on_path_change" = "true", Flag, "Challenge when Path or P-Visited-Network-ID changed.";
    "on_profile_push" = "true", Flag, "A pushed profile with SIP-Auth-Data-Item starts a re-authentication.";
    "on_failure_count" = "0", Number(0, 1_000_000), "Wrong answers after which the next protected REGISTER is challenged; 0: never.";
    ["session"]
    "i_cscf" = "\"\"", AnySipUri, "I-CSCF of the home domain, as \"sip:icscf.example.org\"; empty: this node takes its requests itself.";
    "shared_ifc" = "\"\"", Anything, "File with the filter criteria that profiles name by SharedIFCSetID: an IMSSubscription whose service profiles each name one set.";
    "media" = "\"\"", Anything, "TOML file with the media that sessions may offer: [profiles.NUMBER] by SubscribedMediaProfileId and [otherwise], as audio = [\"AMR\"].";
    "max_sessions" = "64", Number(1, 1_000_000), "Sessions of one user, those being set up included; more are answered 486.";
    "max_relays" = "256", Number(1, 1_000_000), "Requests of one user on their way at once; more are answered 503.";
    "timer_c" = "185", Number(181, 230), "Seconds a forwarded INVITE may ring (Timer C).";
    "as_continued_timeout_ms" = "2000", Number(50, 60_000), "How long an application server with default handling SESSION_CONTINUED may stay silent, milliseconds.";
    "as_terminated_timeout_ms" = "4000", Number(50, 60_000), "The same with default handling SESSION_TERMINATED, and for the BYE that ends a session, milliseconds.";
    "session_expires" = "1800", Number(0, YEAR), "Session interval put into an INVITE that names none, seconds; 0: session timers are left alone.";
    "min_se" = "90", Number(90, YEAR), "Shortest session interval, seconds.";
    "release_attempts" = "3", Number(1, 20), "BYEs sent to one side of a session at most, when no answer comes.";
    "bgcf" = "\"\"", AnySipUri, "Where requests to telephone numbers break out, as \"sip:bgcf.example.org;lr\"; empty: numbers are users of the home domain.";
    "trusted_domains" = "[]", Words, "Domains inside the trust domain beside the home domain; identities and charging data stay in requests to them.";
    ["limits"]
    "transactions" = "500000", Number(16, 100_000_000), "SIP transactions of each side; one lives up to 64*T1 after its end.";
    "actors" = "200000", Number(16, 100_000_000), "Users whose actors live at once; silent ones leave after node.passivate_after.";
    "mailbox" = "64", Number(1, 65_536), "Events that may wait for one user.";
    "retry_after" = "10", Number(1, 3600), "Longest Retry-After, seconds; answers are spread below it.";
    "crashes" = "5", Number(1, 1000), "Crashes of one user's actor in a minute after which the user gets 503 until the minute is over.";
    ["observe"]
    "log" = "\"info\"", Text, "Filter of the log, as \"info\" or \"node=debug\".";
    "recorder" = "32", Number(0, 10_000), "Observations kept for each user.";
    "recorded_users" = "1000", Number(0, 10_000_000), "Users for whom observations are kept; the longest silent are forgotten first.";
}
