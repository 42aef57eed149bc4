//! RFC 6665 §8.2 — Event and Subscription-State.

use crate::{Params, UriError, lexis};
use std::fmt;

/// An Event value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event package, with its templates.
    pub package: Box<str>,
    /// `id`
    pub id: Option<Box<str>>,
    /// All parameters, `id` among them.
    pub params: Params,
}

impl Event {
    /// Parses one value.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let (package, params) = token_and_params(text)?;
        Ok(Self { package: package.into(), id: params.get("id").map(Into::into), params })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.package, self.params)
    }
}

/// The state of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Substate {
    /// `active`
    Active,
    /// `pending`
    Pending,
    /// `terminated`
    Terminated,
    /// Any other, which counts as active.
    Other(Box<str>),
}

/// A Subscription-State value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionState {
    /// The state.
    pub state: Substate,
    /// The parameters.
    pub params: Params,
}

impl SubscriptionState {
    /// A state without parameters.
    pub fn new(state: Substate) -> Self {
        Self { state, params: Params::default() }
    }

    /// The same with a parameter set.
    #[must_use]
    pub fn with_param(mut self, name: &str, value: &str) -> Self {
        self.params.insert(name, value);
        self
    }

    /// Parses one value.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let (state, params) = token_and_params(text)?;
        let state = match &*state.to_ascii_lowercase() {
            "active" => Substate::Active,
            "pending" => Substate::Pending,
            "terminated" => Substate::Terminated,
            _ => Substate::Other(state.into()),
        };
        Ok(Self { state, params })
    }

    /// `expires`, in seconds.
    pub fn expires(&self) -> Option<u32> {
        self.params.get("expires")?.parse().ok()
    }

    /// `reason`
    pub fn reason(&self) -> Option<&str> {
        self.params.get("reason")
    }

    /// `retry-after`, in seconds.
    pub fn retry_after(&self) -> Option<u32> {
        self.params.get("retry-after")?.parse().ok()
    }
}

impl fmt::Display for SubscriptionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            Substate::Active => "active",
            Substate::Pending => "pending",
            Substate::Terminated => "terminated",
            Substate::Other(text) => text,
        };
        write!(f, "{state}{}", self.params)
    }
}

fn token_and_params(text: &str) -> Result<(&str, Params), UriError> {
    let text = lexis::trim(text);
    let end = text.find(';').unwrap_or(text.len());
    let token = lexis::trim(&text[..end]);
    if !lexis::is_token(token.as_bytes()) {
        return Err(UriError("the value begins with a token"));
    }
    Ok((token, Params::parse(&text[end..])?))
}
