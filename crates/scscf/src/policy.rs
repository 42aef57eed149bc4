//! Where the specification says *may*, the operator decides here. Where it says *shall*, there is no field.

use crate::ifc::{Chain, Criteria};
use crate::media::MediaProfile;
use crate::{Span, profile::ServiceProfile, token::Tokens};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The operator's choices and the names of the cluster.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The S-CSCF's SIP URI, the cluster's, byte for byte the Cx Server-Name.
    pub name: sip::Uri,
    /// Further hosts and ports by which others name it in Route: where it listens, beside the name and the domain.
    pub addresses: Vec<(Box<str>, u16)>,
    /// Home network domain; also the realm of challenges and the inter-operator identifier.
    pub domain: Box<str>,
    /// Mints and reads the user part of URIs that lead back to a user.
    pub tokens: Tokens,
    /// Registration.
    pub registration: Registration,
    /// Authentication.
    pub authentication: Authentication,
    /// The registration-state event package.
    pub reg_event: RegEvent,
    /// Network-initiated re-authentication.
    pub reauthentication: Reauthentication,
    /// Sessions and standalone transactions.
    pub session: Session,
    /// Filter criteria that service profiles name by SharedIFCSetID (TS 29.228 §6.6).
    pub shared_criteria: BTreeMap<u32, Criteria>,
    /// Media that sessions may have.
    pub media: Media,
}

impl Policy {
    /// The choices of somebody who makes none, for a cluster of this name and domain.
    pub fn of(name: sip::Uri, domain: &str, tokens: Tokens) -> Self {
        Self {
            name,
            addresses: Vec::new(),
            domain: domain.into(),
            tokens,
            registration: Registration::default(),
            authentication: Authentication::default(),
            reg_event: RegEvent::default(),
            reauthentication: Reauthentication::default(),
            session: Session::default(),
            shared_criteria: BTreeMap::new(),
            media: Media::default(),
        }
    }

    /// The criteria that apply to `profile`: its own and the shared sets it names. A set that the operator has not configured
    /// is as if it were empty.
    pub fn chain(&self, profile: &ServiceProfile) -> Chain {
        let shared = profile.shared_criteria.iter().filter_map(|id| self.shared_criteria.get(id));
        Chain::new(std::iter::once(&profile.criteria).chain(shared).cloned())
    }

    /// Whether a URI names the S-CSCF itself, whoever its user part leads to.
    pub fn is_ours(&self, uri: &sip::Uri) -> bool {
        let names_us = |host: &str| uri.host().eq_ignore_ascii_case(host);
        let listens = |(host, port): &(Box<str>, u16)| names_us(host) && uri.port().unwrap_or(5060) == *port;
        uri.is_sip()
            && (names_us(self.name.host()) || names_us(&self.domain) || self.addresses.iter().any(listens))
    }

    /// Host and port of the name, as they stand in URIs that lead back here.
    pub fn host_port(&self) -> HostPort<'_> {
        HostPort(&self.name)
    }
}

/// Host, and port if there is one.
#[derive(Clone, Copy, Debug)]
pub struct HostPort<'a>(&'a sip::Uri);

impl std::fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.host())?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// `[registration]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Shortest interval granted, seconds; at most 3600 (RFC 3261 §10.3).
    pub min_expires: u32,
    /// Longest interval granted, seconds.
    pub max_expires: u32,
    /// Interval when the UE asks for none, seconds.
    pub default_expires: u32,
    /// Contact bindings of one private user identity.
    pub max_contacts: usize,
    /// SAR on unauthenticated refreshes at most this often, seconds; 0: never.
    pub reregistration_interval: u32,
    /// REGISTERs of one user waiting for the HSS at once.
    pub max_attempts: usize,
    /// Keep the profile for services to the unregistered user when the last contact ends (TS 29.228 §6.1.2).
    pub store_server_name: bool,
    /// Application servers that hear of one implicit registration set.
    pub max_application_servers: usize,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            min_expires: 60,
            max_expires: 600_000,
            default_expires: 3600,
            max_contacts: 10,
            reregistration_interval: 1800,
            max_attempts: 16,
            store_server_name: false,
            max_application_servers: 16,
        }
    }
}

/// `[authentication]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authentication {
    /// Scheme for a REGISTER that names none.
    pub scheme: DefaultScheme,
    /// Challenges in a row that one attempt may provoke.
    pub max_challenges: u8,
    /// Challenges outstanding for one user; the oldest is dropped (TS 24.229 §5.4.1.2.1).
    pub max_pending: usize,
    /// MARs per minute that unprotected REGISTERs of one user may cause.
    pub max_challenges_per_minute: u32,
    /// Answer above that limit.
    pub over_limit: OverLimit,
    /// What a right answer in an unprotected REGISTER is worth.
    pub unprotected_answer: UnprotectedAnswer,
    /// reg-await-auth, seconds (TS 24.229 table 7.8.1).
    pub await_auth: u32,
    /// Resynchronisations in a row.
    pub max_resyncs: u8,
    /// Accept answers without qop (RFC 2617 §3.2.2).
    pub accept_without_qop: bool,
}

impl Default for Authentication {
    fn default() -> Self {
        Self {
            scheme: DefaultScheme::Aka,
            max_challenges: 3,
            max_pending: 4,
            max_challenges_per_minute: 10,
            over_limit: OverLimit::Forbid,
            unprotected_answer: UnprotectedAnswer::Accept,
            await_auth: 240,
            max_resyncs: 1,
            accept_without_qop: true,
        }
    }
}

/// Scheme asked of the HSS when the REGISTER does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefaultScheme {
    /// IMS AKA.
    Aka,
    /// SIP Digest.
    Digest,
    /// The HSS decides.
    Unknown,
}

/// Answer to a REGISTER that would cause one MAR too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverLimit {
    /// 403 (Forbidden).
    Forbid,
    /// 503 (Service Unavailable) with Retry-After.
    Unavailable,
}

/// What a right answer in an unprotected REGISTER is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnprotectedAnswer {
    /// It proves the key: accepted.
    Accept,
    /// It is challenged again.
    Challenge,
}

/// `[reg_event]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegEvent {
    /// Accept `Event: registration-state`.
    pub legacy_enabled: bool,
    /// Shortest subscription, seconds.
    pub min_expires: u32,
    /// Longest subscription, seconds.
    pub max_expires: u32,
    /// Subscription when the subscriber asks for none, seconds (RFC 3680 §4.4).
    pub default_expires: u32,
    /// Subscriptions to one user.
    pub max_subscriptions: usize,
}

impl Default for RegEvent {
    fn default() -> Self {
        Self {
            legacy_enabled: true,
            min_expires: 60,
            max_expires: 600_000,
            default_expires: 3761,
            max_subscriptions: 16,
        }
    }
}

/// `[reauthentication]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reauthentication {
    /// Time the UE has, seconds.
    pub period: u32,
    /// Shortest period that may be asked for, seconds.
    pub min_period: u32,
    /// What a wrong protected answer does while re-authentication is pending.
    pub on_wrong_answer: OnWrongAnswer,
    /// Ask by REFER when no subscriber can be reached.
    pub refer: bool,
    /// Contact event when the deadline passes.
    pub timeout_event: TimeoutEvent,
    /// Challenge every protected re-REGISTER.
    pub on_every_reregister: bool,
    /// Challenge when the last authentication is older, seconds; 0: never.
    pub interval: u32,
    /// Challenge each n-th protected REGISTER; 0: never.
    pub every_n_registrations: u32,
    /// Challenge this share of protected re-REGISTERs, per cent.
    pub random_percent: u8,
    /// Challenge when Path or P-Visited-Network-ID changed.
    pub on_path_change: bool,
    /// PPR with SIP-Auth-Data-Item starts a re-authentication.
    pub on_profile_push: bool,
    /// Wrong answers after which the next protected REGISTER is challenged; 0: never. Never deregisters.
    pub on_failure_count: u32,
}

impl Default for Reauthentication {
    fn default() -> Self {
        Self {
            period: 600,
            min_period: 60,
            on_wrong_answer: OnWrongAnswer::Rechallenge,
            refer: false,
            timeout_event: TimeoutEvent::Expired,
            on_every_reregister: false,
            interval: 0,
            every_n_registrations: 0,
            random_percent: 0,
            on_path_change: true,
            on_profile_push: true,
            on_failure_count: 0,
        }
    }
}

impl Reauthentication {
    /// The period to use when `asked` was asked for, never below the minimum and never above a day.
    pub fn effective(&self, asked: Option<Span>) -> Span {
        let seconds = asked.map_or(u64::from(self.period), Span::as_seconds);
        Span::seconds(seconds.clamp(u64::from(self.min_period).clamp(1, 86_400), 86_400))
    }
}

/// What a wrong protected answer does while re-authentication is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnWrongAnswer {
    /// 401 with a new vector, at most `max_challenges`, then 403 and wait for the deadline.
    Rechallenge,
    /// 403 and deregister.
    Deregister,
    /// 403 and wait for the deadline.
    Reject,
}

/// Contact event of a registration that ended at the re-authentication deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutEvent {
    /// `expired`
    Expired,
    /// `deactivated`
    Deactivated,
}

/// `[session]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Sessions of one private user identity, those being set up included.
    pub max_sessions: usize,
    /// Requests of one private user identity on their way at once.
    pub max_relays: usize,
    /// Timer C, seconds: a forwarded INVITE may ring so long; more than 180 (RFC 3261 §16.6).
    pub timer_c: u32,
    /// How long an application server whose default handling is SESSION_CONTINUED may stay silent, milliseconds.
    pub as_continued_timeout_ms: u32,
    /// The same for one whose default handling is SESSION_TERMINATED, milliseconds.
    pub as_terminated_timeout_ms: u32,
    /// Session interval put into an INVITE that names none, seconds; 0: none (RFC 4028 §8).
    pub session_expires: u32,
    /// Shortest session interval, seconds; at least 90 (RFC 4028 §5).
    pub min_se: u32,
    /// BYEs sent to one side of a session at most, when no answer comes.
    pub release_attempts: u8,
    /// Where requests to telephone numbers and to users unknown here break out, a SIP URI; empty: nowhere.
    pub bgcf: Box<str>,
    /// Domains inside the trust domain beside the home domain: identities and charging data stay in requests to them.
    pub trusted_domains: Vec<Box<str>>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            max_sessions: 64,
            max_relays: 256,
            timer_c: 185,
            as_continued_timeout_ms: 2000,
            as_terminated_timeout_ms: 4000,
            session_expires: 1800,
            min_se: 90,
            release_attempts: 3,
            bgcf: "".into(),
            trusted_domains: Vec::new(),
        }
    }
}

/// `[media]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// What an offer may hold, by SubscribedMediaProfileId (TS 29.228 §6.6).
    #[serde(deserialize_with = "by_number")]
    pub profiles: BTreeMap<u32, MediaProfile>,
    /// The same for subscribers who have none of these; absent: anything.
    pub otherwise: Option<MediaProfile>,
}

/// Keys of a table are text, also where they are numbers.
fn by_number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<u32, MediaProfile>, D::Error> {
    let read = BTreeMap::<String, MediaProfile>::deserialize(from)?;
    let number = |(key, profile): (String, MediaProfile)| Some((key.parse().ok()?, profile));
    read.into_iter()
        .map(|entry| number(entry).ok_or_else(|| serde::de::Error::custom("a media profile has a number")))
        .collect()
}
