//! What happens to a UE, for whoever watches it.

use super::{call::CallEvent, config::Package, reginfo::Reginfo};
use serde::Serialize;
use std::fmt;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Happening {
    /// A request or response left.
    Sent {
        /// Its first line.
        line: String,
    },
    /// A request or response came.
    Received {
        /// Its first line.
        line: String,
    },
    /// Something came that is no SIP to rsip.
    Unreadable {
        /// Why.
        why: String,
    },
    /// The USIM found the challenge out of step and asks for resynchronisation.
    Resynchronising,
    /// The registration stands.
    Registered {
        /// Seconds until it expires.
        expires_s: u32,
        /// P-Associated-URI.
        identities: Vec<String>,
    },
    /// A subscription stands.
    Subscribed {
        /// Event package.
        package: Package,
        /// Seconds until it expires.
        expires_s: u32,
    },
    /// A NOTIFY came.
    Notified(Notification),
    /// The network asks for authentication.
    Asked {
        /// `NOTIFY` or `REFER`.
        by: &'static str,
        /// Seconds left, if it said so.
        within_s: Option<u32>,
    },
    /// A request for authentication was answered with success.
    Reauthenticated,
    /// A wrong answer was given on purpose.
    AnsweredWrongly {
        /// Status code that it led to.
        status: u16,
    },
    /// The registration ended.
    Deregistered {
        /// By the UE, or the contact event of the NOTIFY.
        by: String,
    },
    /// Something happened to a call.
    Call {
        /// Call-ID.
        call_id: String,
        /// Whom it is with.
        peer: String,
        /// What happened.
        event: CallEvent,
    },
    /// A request that makes no dialog came and was answered.
    Messaged {
        /// Its method.
        method: String,
        /// Who sent it: P-Asserted-Identity, else From.
        from: String,
        /// Its body.
        text: String,
        /// Status code of the answer.
        status: u16,
    },
    /// Something that the UE set out to do failed.
    Failed {
        /// Why.
        why: String,
    },
}

/// A NOTIFY of a subscription.
#[derive(Clone, Debug, Serialize)]
pub struct Notification {
    /// Event package.
    pub package: Package,
    /// Subscription-State.
    pub state: String,
    /// Whether the subscription ended with it.
    pub terminated: bool,
    /// The document, if there was one.
    pub reginfo: Option<Reginfo>,
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent { line } => write!(f, "> {line}"),
            Self::Received { line } => write!(f, "< {line}"),
            Self::Unreadable { why } => write!(f, "! unreadable message: {why}"),
            Self::Resynchronising => f.write_str("  USIM out of step: resynchronising"),
            Self::Registered { expires_s, identities } => {
                write!(f, "  registered for {expires_s} s as {}", identities.join(", "))
            }
            Self::Subscribed { package, expires_s } => {
                write!(f, "  subscribed to {package} for {expires_s} s")
            }
            Self::Notified(notification) => notification.fmt(f),
            Self::Asked { by, within_s: Some(within) } => {
                write!(f, "  {by}: authenticate anew within {within} s")
            }
            Self::Asked { by, within_s: None } => write!(f, "  {by}: authenticate anew"),
            Self::Reauthenticated => f.write_str("  re-authenticated"),
            Self::AnsweredWrongly { status } => write!(f, "  answered wrongly on purpose: {status}"),
            Self::Deregistered { by } => write!(f, "  deregistered ({by})"),
            Self::Call { peer, event: event @ CallEvent::Fault(_), .. } => write!(f, "! {peer}: {event}"),
            Self::Call { peer, event, .. } => write!(f, "  {peer}: {event}"),
            Self::Messaged { method, from, text, status } if text.is_empty() => {
                write!(f, "  {method} from {from}, answered {status}")
            }
            Self::Messaged { method, from, text, status } => {
                write!(f, "  {method} from {from}, answered {status}: {text}")
            }
            Self::Failed { why } => write!(f, "! {why}"),
        }
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  NOTIFY {} {}", self.package, self.state)?;
        let Some(reginfo) = &self.reginfo else { return Ok(()) };
        write!(f, " version {}", reginfo.version)?;
        for registration in &reginfo.registrations {
            write!(f, "; {} {}", registration.aor, registration.state)?;
            for contact in &registration.contacts {
                write!(f, " [{} {}", contact.uri, contact.event)?;
                if let Some(expires) = contact.expires {
                    write!(f, " {expires} s")?;
                }
                f.write_str("]")?;
            }
        }
        Ok(())
    }
}
