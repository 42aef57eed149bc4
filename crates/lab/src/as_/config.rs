//! What an application server is told: where it listens, and what it does with requests.

use crate::wire::{Listen, Timers};
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

/// Where it listens and how it behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: Vec<Listen>,
    /// What it does with requests that begin something.
    pub behaviour: Behaviour,
    /// Whether it stays on the path of dialogs that it lets through.
    pub record_route: bool,
    /// What third-party REGISTERs are answered; `None` leaves them unanswered.
    pub register_status: Option<u16>,
    /// Where requests go whose next hop is a name, as that of an S-CSCF in a lab without DNS; without it they go back to
    /// where the request came from.
    pub s_cscf: Option<SocketAddr>,
    /// URI of the S-CSCF in Route of calls that the server makes; `sip:` and its address unless given.
    pub s_cscf_name: Option<String>,
    /// Where the journal is shown over HTTP.
    pub http: Option<SocketAddr>,
    /// How long it waits before it sends again, and before it gives up.
    pub timers: Timers,
}

impl Config {
    /// A server that lets everything through and stays on the path.
    pub fn new(listen: Listen) -> Self {
        Self {
            listen: vec![listen],
            behaviour: Behaviour::from(Mode::Proxy),
            record_route: true,
            register_status: Some(200),
            s_cscf: None,
            s_cscf_name: None,
            http: None,
            timers: Timers::default(),
        }
    }
}

/// What is done with a request that begins something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It goes on, to the next Route.
    Proxy,
    /// It goes on with another Request-URI.
    Retarget(String),
    /// It is ended here, and another one in its place goes to the next Route.
    B2bua,
    /// It is refused with that status code.
    Reject(u16),
    /// It is answered 302 (Moved Temporarily) with that Contact.
    Redirect(String),
    /// It is answered here, as by a user agent.
    Answer,
    /// Nothing at all is said to it.
    Silent,
    /// 100 (Trying) is said to it, and nothing else.
    Trying,
}

/// A mode, and what comes before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// What is done in the end.
    pub mode: Mode,
    /// How long that takes.
    pub delay: Duration,
    /// A provisional status code that is said at once.
    pub progress: Option<u16>,
}

impl From<Mode> for Behaviour {
    fn from(mode: Mode) -> Self {
        Self { mode, delay: Duration::ZERO, progress: None }
    }
}

impl Mode {
    /// The same, after a while.
    pub fn after(self, delay: Duration) -> Behaviour {
        Behaviour { delay, ..self.into() }
    }

    /// The same, after a provisional response.
    pub fn after_saying(self, progress: u16) -> Behaviour {
        Behaviour { progress: Some(progress), ..self.into() }
    }
}

/// The names of modes, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// [`Mode::Proxy`].
    Proxy,
    /// [`Mode::B2bua`].
    B2bua,
    /// [`Mode::Reject`].
    Reject,
    /// [`Mode::Redirect`].
    Redirect,
    /// [`Mode::Answer`].
    Answer,
    /// [`Mode::Silent`].
    Silent,
    /// [`Mode::Proxy`], after a while.
    Slow,
    /// [`Mode::Trying`].
    Trying,
    /// [`Mode::Retarget`].
    Retarget,
}

impl Name {
    const ALL: [(&str, Self); 9] = [
        ("proxy", Self::Proxy),
        ("b2bua", Self::B2bua),
        ("reject", Self::Reject),
        ("redirect", Self::Redirect),
        ("answer", Self::Answer),
        ("silent", Self::Silent),
        ("slow", Self::Slow),
        ("trying", Self::Trying),
        ("retarget", Self::Retarget),
    ];
}

/// A text that names no mode, or a mode that lacks something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// There is no such mode.
    #[error("'{0}': expected proxy, b2bua, reject, redirect, answer, silent, slow, trying or retarget")]
    Unknown(String),
    /// The mode needs a URI.
    #[error("redirect and retarget need a URI to send to")]
    NoUri,
    /// The status code is no refusal.
    #[error("{0}: expected a status code from 300 to 699")]
    Status(u16),
    /// The status code is not provisional.
    #[error("{0}: expected a provisional status code from 101 to 199")]
    Progress(u16),
}

impl FromStr for Name {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, name)| *name).ok_or_else(|| ModeError::Unknown(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, name)| name == self).map_or("", |(name, _)| name))
    }
}

/// A behaviour as it is typed: a name, and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Which mode.
    pub mode: Name,
    /// Status code of `reject`; 403 unless given.
    pub status: Option<u16>,
    /// URI of `redirect` and `retarget`.
    pub to: Option<String>,
    /// How long it takes, in milliseconds; with `slow` 3000 unless given.
    pub delay_ms: Option<u64>,
    /// A provisional status code that is said at once.
    pub progress: Option<u16>,
}

impl TryFrom<Wanted> for Behaviour {
    type Error = ModeError;

    fn try_from(wanted: Wanted) -> Result<Self, ModeError> {
        let uri = || wanted.to.clone().filter(|uri| !uri.is_empty()).ok_or(ModeError::NoUri);
        let status = wanted.status.unwrap_or(403);
        let mode = match wanted.mode {
            Name::Proxy | Name::Slow => Mode::Proxy,
            Name::B2bua => Mode::B2bua,
            Name::Reject if (300..700).contains(&status) => Mode::Reject(status),
            Name::Reject => return Err(ModeError::Status(status)),
            Name::Redirect => Mode::Redirect(uri()?),
            Name::Retarget => Mode::Retarget(uri()?),
            Name::Answer => Mode::Answer,
            Name::Silent => Mode::Silent,
            Name::Trying => Mode::Trying,
        };
        let usual = if wanted.mode == Name::Slow { 3_000 } else { 0 };
        if let Some(progress) = wanted.progress.filter(|progress| !(101..200).contains(progress)) {
            return Err(ModeError::Progress(progress));
        }
        let delay = Duration::from_millis(wanted.delay_ms.unwrap_or(usual));
        Ok(Self { mode, delay, progress: wanted.progress })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wanted(mode: Name) -> Wanted {
        Wanted { mode, status: None, to: None, delay_ms: None, progress: None }
    }

    #[test]
    fn names_are_read_and_others_refused() {
        for (text, name) in Name::ALL {
            assert_eq!((text.parse::<Name>().unwrap(), name.to_string().as_str()), (name, text));
        }
        assert!("nice".parse::<Name>().unwrap_err().to_string().contains("'nice': expected proxy"));
    }

    #[test]
    fn what_is_typed_becomes_a_behaviour() {
        let slow = Behaviour::try_from(wanted(Name::Slow)).unwrap();
        assert_eq!(slow, Mode::Proxy.after(Duration::from_secs(3)));
        let reject = Wanted { status: Some(503), progress: Some(183), ..wanted(Name::Reject) };
        assert_eq!(Behaviour::try_from(reject).unwrap(), Mode::Reject(503).after_saying(183));
        let to = Wanted { to: Some("sip:c@x".into()), ..wanted(Name::Redirect) };
        assert_eq!(Behaviour::try_from(to).unwrap().mode, Mode::Redirect("sip:c@x".into()));
        assert_eq!(Behaviour::try_from(wanted(Name::Retarget)), Err(ModeError::NoUri));
        let ok = Wanted { status: Some(200), ..wanted(Name::Reject) };
        assert_eq!(Behaviour::try_from(ok), Err(ModeError::Status(200)));
        let trying = Wanted { progress: Some(100), ..wanted(Name::Proxy) };
        assert_eq!(Behaviour::try_from(trying), Err(ModeError::Progress(100)));
    }
}
