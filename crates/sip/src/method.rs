//! RFC 3261 §7.1 — methods. They are case-sensitive, and unknown ones are carried.

use crate::lexis;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

macro_rules! methods {
    ($($variant:ident = $text:literal),* $(,)?) => {
        /// A request method.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Method {
            $(#[doc = $text] $variant,)*
            /// Any other token.
            Other(Box<str>),
        }

        impl Method {
            /// The methods known by name.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),*];

            /// The method as it stands in a request line.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }

            pub(crate) fn of_token(token: &str) -> Self {
                match token {
                    $($text => Self::$variant,)*
                    other => Self::Other(other.into()),
                }
            }
        }
    };
}

methods! {
    Register = "REGISTER", Invite = "INVITE", Ack = "ACK", Cancel = "CANCEL", Bye = "BYE", Options = "OPTIONS",
    Subscribe = "SUBSCRIBE", Notify = "NOTIFY", Message = "MESSAGE", Publish = "PUBLISH", Info = "INFO",
    Prack = "PRACK", Update = "UPDATE", Refer = "REFER",
}

/// The text is no token, so no method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a method is a token")]
pub struct NoMethod;

impl FromStr for Method {
    type Err = NoMethod;

    fn from_str(text: &str) -> Result<Self, NoMethod> {
        if lexis::is_token(text.as_bytes()) { Ok(Self::of_token(text)) } else { Err(NoMethod) }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn case_matters() {
        assert_eq!("REGISTER".parse::<Method>().unwrap(), Method::Register);
        assert_eq!("register".parse::<Method>().unwrap(), Method::Other("register".into()));
        assert!("RE GISTER".parse::<Method>().is_err());
    }
}
