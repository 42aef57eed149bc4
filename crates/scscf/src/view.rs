//! What an operator sees of a user: the shapes of the HTTP interface. No key, vector or credential is ever in it.

use crate::{
    Timestamp,
    event::{Side, Trigger},
    user::{Phase, ReleaseCause, Said, Subscriber},
};
use serde::{Serialize, Serializer};

/// A user as `GET /v1/users/{impi}` shows it; `shard`, `node` and `recent` are the shell's to add.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// The private user identity.
    pub impi: String,
    /// Registration state.
    pub state: RegistrationState,
    /// Public identities of all implicit registration sets.
    pub identities: Vec<Identity>,
    /// Contact bindings.
    pub bindings: Vec<Binding>,
    /// Reg-event subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Application servers that hear of the registration.
    pub third_party: Vec<ThirdParty>,
    /// Sessions.
    pub sessions: Vec<Session>,
    /// What became of sessions that were released, newest last.
    pub releases: Vec<Release>,
    /// Counters of authentication.
    pub authentication: Authentication,
    /// The pending network-initiated re-authentication.
    pub reauthentication: Option<Reauthentication>,
    /// The next moment the user acts by itself.
    #[serde(serialize_with = "rfc3339_option")]
    pub next_deadline: Option<Timestamp>,
}

/// Registration state of a private user identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationState {
    /// Nothing is bound.
    NotRegistered,
    /// At least one contact is bound.
    Registered,
    /// No contact is bound; the profile is kept for services to the unregistered user.
    UnregisteredServices,
}

/// One public identity.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Identity {
    /// URI.
    pub impu: String,
    /// Registered or not.
    pub state: RegistrationState,
    /// BarringIndication.
    pub barred: bool,
    /// The default public user identity of its set.
    pub default: bool,
}

/// One contact binding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Binding {
    /// Contact URI.
    pub contact: String,
    /// Path.
    pub path: Vec<String>,
    /// Expiry.
    #[serde(serialize_with = "rfc3339")]
    pub expires_at: Timestamp,
    /// First registration.
    #[serde(serialize_with = "rfc3339")]
    pub registered_at: Timestamp,
    /// `+sip.instance`.
    pub instance_id: Option<String>,
    /// `reg-id`.
    pub reg_id: Option<u32>,
    /// Call-ID of the REGISTER.
    pub call_id: String,
    /// CSeq of the REGISTER.
    pub cseq: u32,
}

/// One reg-event subscription.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subscription {
    /// Identifier.
    pub id: String,
    /// `reg` or `registration-state`.
    pub event: &'static str,
    /// Asserted identity of the subscriber.
    pub subscriber: String,
    /// Kind of subscriber.
    pub kind: Subscriber,
    /// Expiry.
    #[serde(serialize_with = "rfc3339")]
    pub expires_at: Timestamp,
    /// Version of the last document sent; `null` before the first.
    pub version: Option<u32>,
    /// The last NOTIFY.
    pub last_notify: Option<LastNotify>,
}

/// The last NOTIFY of a subscription.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastNotify {
    /// When it was sent.
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// Its final status; `null` while awaited, 0 when none came.
    pub status: Option<u16>,
}

/// One application server that hears of the registration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThirdParty {
    /// ServerName of the filter criterion.
    pub application_server: String,
    /// The public identity it hears of.
    pub impu: String,
    /// What it was told last.
    pub state: Said,
    /// Until when it takes the identity for registered; `null` unless it was told so.
    #[serde(serialize_with = "rfc3339_option")]
    pub expires_at: Option<Timestamp>,
    /// Final status of the last REGISTER; `null` while awaited, 0 when none came.
    pub status: Option<u16>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Session {
    /// Identifier.
    pub id: String,
    /// `originating` or `terminating`.
    pub role: &'static str,
    /// `early`, `confirmed` or `releasing`.
    pub state: &'static str,
    /// The other party.
    pub peer: String,
    /// Begin.
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
    /// End of the session timer.
    #[serde(serialize_with = "rfc3339_option")]
    pub expires_at: Option<Timestamp>,
}

/// A session that was released: who was told what, when, and what they answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Release {
    /// The session.
    pub session: String,
    /// Why.
    pub cause: ReleaseCause,
    /// When it began.
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// One entry a side.
    pub told: Vec<ToldSide>,
}

/// What one side of a released session was told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToldSide {
    /// `caller` or `callee`.
    pub side: Side,
    /// `BYE`, `CANCEL`, or the status of the final response.
    pub what: &'static str,
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// The answer; `null` while awaited or where none is due, 0 when none came.
    pub status: Option<u16>,
    /// When it came.
    #[serde(serialize_with = "rfc3339_option")]
    pub answered_at: Option<Timestamp>,
}

/// Counters of authentication.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Authentication {
    /// Scheme of the last success: `aka` or `digest`.
    pub scheme: Option<&'static str>,
    /// Last success.
    #[serde(serialize_with = "rfc3339_option")]
    pub last_success_at: Option<Timestamp>,
    /// Challenges without answer.
    pub challenges_outstanding: usize,
    /// Wrong answers ever.
    pub wrong_answers: u32,
    /// Resynchronisations ever.
    pub resyncs: u32,
}

/// A pending network-initiated re-authentication.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reauthentication {
    /// `hss`, `operator` or `policy:NAME`.
    #[serde(serialize_with = "trigger")]
    pub by: Trigger,
    /// Why.
    pub reason: Option<String>,
    /// When it was asked.
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
    /// When it must have happened.
    #[serde(serialize_with = "rfc3339")]
    pub deadline: Timestamp,
    /// How far it got.
    pub phase: Phase,
    /// NOTIFYs and their answers.
    pub notified: Vec<Notified>,
}

/// One NOTIFY of a re-authentication.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notified {
    /// Subscription.
    pub subscription: String,
    /// Final status; `null` while awaited, 0 when none came.
    pub status: Option<u16>,
}

impl Timestamp {
    /// As RFC 3339 in UTC with milliseconds.
    pub fn rfc3339(self) -> String {
        let days = self.millis() / 86_400_000;
        let (year, month, day) = civil(days as i64);
        let ms = self.millis() % 86_400_000;
        let (h, m, s, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
        format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
    }
}

/// Gregorian date of a day counted from 1970-01-01, for days not before it.
const fn civil(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = (if mp < 10 { mp + 3 } else { mp - 9 }) as u32;
    (yoe + era * 400 + (month <= 2) as i64, month, day)
}

fn rfc3339<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&at.rfc3339())
}

fn rfc3339_option<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, to),
        None => to.serialize_none(),
    }
}

fn trigger<S: Serializer>(by: &Trigger, to: S) -> Result<S::Ok, S::Error> {
    match by {
        Trigger::Hss => to.serialize_str("hss"),
        Trigger::Operator => to.serialize_str("operator"),
        Trigger::Policy(name) => to.collect_str(&format_args!("policy:{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_read_as_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_102_444_800_001, "2100-01-01T00:00:00.001Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).rfc3339(), text);
        }
    }
}
