//! RFC 5502 §6, RFC 8498 §4 — P-Served-User.

use crate::{Headers, Malformed, Name, NameAddr, Uri, UriError};
use std::fmt;

/// Whose side of a session an application server serves (`sescase`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServedCase {
    /// `orig`
    Originating,
    /// `term`
    Terminating,
}

/// Whether the served user is registered (`regstate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServedState {
    /// `reg`
    Registered,
    /// `unreg`
    Unregistered,
}

/// A P-Served-User value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedUser {
    /// The served user; its parameters are those that are not named here.
    pub address: NameAddr,
    /// `sescase`
    pub case: Option<ServedCase>,
    /// `regstate`
    pub state: Option<ServedState>,
    /// `orig-cdiv`: the session goes on for a user who diverted it.
    pub orig_cdiv: bool,
}

impl ServedUser {
    /// A served user in a session case and registration state.
    pub fn new(uri: Uri, case: ServedCase, state: ServedState) -> Self {
        Self { address: NameAddr::new(uri), case: Some(case), state: Some(state), orig_cdiv: false }
    }

    /// A served user who diverted the session; that says it all.
    pub fn diverting(uri: Uri) -> Self {
        Self { address: NameAddr::new(uri), case: None, state: None, orig_cdiv: true }
    }

    /// Parses one value.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let mut address = NameAddr::parse(text)?;
        let one_of = |name: &str, first: &str, second: &str, why| match address.param(name) {
            None => Ok(None),
            Some(value) if value.eq_ignore_ascii_case(first) => Ok(Some(true)),
            Some(value) if value.eq_ignore_ascii_case(second) => Ok(Some(false)),
            Some(_) => Err(UriError(why)),
        };
        let case = one_of("sescase", "orig", "term", "sescase is orig or term")?
            .map(|orig| if orig { ServedCase::Originating } else { ServedCase::Terminating });
        let state = one_of("regstate", "reg", "unreg", "regstate is reg or unreg")?
            .map(|reg| if reg { ServedState::Registered } else { ServedState::Unregistered });
        let orig_cdiv = address.param("orig-cdiv").is_some();
        for name in ["sescase", "regstate", "orig-cdiv"] {
            address.params.remove(name);
        }
        Ok(Self { address, case, state, orig_cdiv })
    }
}

impl fmt::Display for ServedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        f.write_str(match self.case {
            None => "",
            Some(ServedCase::Originating) => ";sescase=orig",
            Some(ServedCase::Terminating) => ";sescase=term",
        })?;
        f.write_str(match self.state {
            None => "",
            Some(ServedState::Registered) => ";regstate=reg",
            Some(ServedState::Unregistered) => ";regstate=unreg",
        })?;
        f.write_str(if self.orig_cdiv { ";orig-cdiv" } else { "" })
    }
}

impl Headers {
    /// P-Served-User.
    pub fn served_user(&self) -> Result<Option<ServedUser>, Malformed> {
        self.typed(Name::PServedUser, ServedUser::parse)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_and_writes() {
        for text in [
            "<sip:alice@home.net>;sescase=orig;regstate=reg",
            "<tel:+1-201-555-0123>;sescase=term;regstate=unreg",
            "<sip:alice@home.net>;orig-cdiv",
            "<sip:alice@home.net;x=y>",
            "\"Ann\" <sip:alice@home.net>;z=1;sescase=orig",
        ] {
            assert_eq!(ServedUser::parse(text).unwrap().to_string(), text);
        }
        let uri = Uri::parse("sip:a@b").unwrap();
        let read = ServedUser::parse("sip:a@b ; RegState=REG ;sescase=Orig").unwrap();
        assert_eq!(read, ServedUser::new(uri.clone(), ServedCase::Originating, ServedState::Registered));
        assert_eq!(ServedUser::diverting(uri).to_string(), "<sip:a@b>;orig-cdiv");
    }

    #[test]
    fn refusals() {
        for text in ["", "alice", "<sip:a@b>;sescase=both", "<sip:a@b>;regstate", "<sip:a@b>;sescase="] {
            assert!(ServedUser::parse(text).is_err(), "{text}");
        }
    }
}
