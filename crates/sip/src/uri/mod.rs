//! RFC 3261 §19.1 — SIP URIs, with tel (RFC 3966), urn (RFC 8141) and any other scheme carried as text.

mod equality;
mod scan;

pub(crate) use scan::{scan, scan_host_port};

use crate::UriError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip`
    Sip,
    /// `sips`
    Sips,
    /// `tel`
    Tel,
    /// `urn`
    Urn,
    /// Any other.
    Other,
}

/// A URI; its text is kept as received, and equality is that of the text ([`Uri::equivalent`] is the RFC's).
#[derive(Clone)]
pub struct Uri {
    text: Arc<str>,
    spans: Spans,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    pub(crate) scheme: Scheme,
    user: Option<(u16, u16)>,
    host: (u16, u16),
    port: Option<u16>,
    params: u16,
    headers: u16,
}

impl Spans {
    pub(crate) fn has_headers(&self, text: &str) -> bool {
        usize::from(self.headers) < text.len()
    }
}

impl Uri {
    /// Parses a URI of any scheme.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let spans = scan(text)?;
        Ok(Self { text: text.into(), spans })
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.spans.scheme
    }

    /// Whether it is `sip` or `sips`.
    pub fn is_sip(&self) -> bool {
        matches!(self.spans.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The text as received.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn span(&self, (from, to): (u16, u16)) -> &str {
        &self.text[usize::from(from)..usize::from(to)]
    }

    /// The user part without password, escapes kept; the number of a tel URI.
    pub fn user(&self) -> Option<&str> {
        let userinfo = self.span(self.spans.user?);
        Some(if self.is_sip() { userinfo.split(':').next().unwrap_or(userinfo) } else { userinfo })
    }

    /// The password of a SIP URI.
    pub fn password(&self) -> Option<&str> {
        if !self.is_sip() {
            return None;
        }
        self.span(self.spans.user?).split_once(':').map(|(_, password)| password)
    }

    /// Host name, IPv4 address, or IPv6 address with its brackets; empty where the scheme has none.
    pub fn host(&self) -> &str {
        self.span(self.spans.host)
    }

    /// The port, if written.
    pub fn port(&self) -> Option<u16> {
        self.spans.port
    }

    fn params_text(&self) -> &str {
        self.span((self.spans.params, self.spans.headers))
    }

    /// URI parameters in order, as received.
    pub fn params(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.params_text().split(';').skip(1).map(|pair| match pair.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (pair, None),
        })
    }

    /// A URI parameter by name in any case; `Some(None)` if it stands without value.
    pub fn param(&self, name: &str) -> Option<Option<&str>> {
        self.params().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether the URI parameter is there.
    pub fn has_param(&self, name: &str) -> bool {
        self.param(name).is_some()
    }

    /// What follows the `?`, without it.
    pub fn headers(&self) -> Option<&str> {
        self.text.get(usize::from(self.spans.headers) + 1..)
    }

    /// The same without URI parameters and headers.
    pub fn without_params(&self) -> Self {
        self.rebuilt(self.text[..usize::from(self.spans.params)].to_owned())
    }

    /// The same with one URI parameter set, in its place if it is there; for SIP and tel URIs.
    pub fn with_param(&self, name: &str, value: Option<&str>) -> Result<Self, UriError> {
        let mut text = self.text[..usize::from(self.spans.params)].to_owned();
        let mut done = false;
        let mut push = |name: &str, value: Option<&str>| {
            text.push(';');
            text.push_str(name);
            if let Some(value) = value {
                text.push('=');
                text.push_str(value);
            }
        };
        for (known, old) in self.params() {
            let same = known.eq_ignore_ascii_case(name);
            if !same {
                push(known, old);
            } else if !done {
                push(known, value);
                done = true;
            }
        }
        if !done {
            push(name, value);
        }
        text.push_str(&self.text[usize::from(self.spans.headers)..]);
        Self::parse(&text)
    }

    /// The same without one URI parameter.
    pub fn without_param(&self, name: &str) -> Self {
        let mut text = self.text[..usize::from(self.spans.params)].to_owned();
        for pair in self.params_text().split(';').skip(1) {
            let known = pair.split('=').next().unwrap_or(pair);
            if !known.eq_ignore_ascii_case(name) {
                text.push(';');
                text.push_str(pair);
            }
        }
        text.push_str(&self.text[usize::from(self.spans.headers)..]);
        self.rebuilt(text)
    }

    fn rebuilt(&self, text: String) -> Self {
        Self::parse(&text).unwrap_or_else(|_| self.clone())
    }
}

impl PartialEq for Uri {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Uri {}

impl PartialOrd for Uri {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Uri {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Uri {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

impl std::str::FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

impl Serialize for Uri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Uri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parts() {
        let uri = Uri::parse("sip:a;b=c%40d?e:p%25w@[2001:db8::7]:5099;lr;x=[y]:z?Subject=q&to=r").unwrap();
        assert_eq!((uri.user(), uri.password()), (Some("a;b=c%40d?e"), Some("p%25w")));
        assert_eq!((uri.host(), uri.port()), ("[2001:db8::7]", Some(5099)));
        assert_eq!(
            (uri.param("LR"), uri.param("x"), uri.param("y")),
            (Some(None), Some(Some("[y]:z")), None)
        );
        assert_eq!(uri.headers(), Some("Subject=q&to=r"));
        assert_eq!(uri.without_params().as_str(), "sip:a;b=c%40d?e:p%25w@[2001:db8::7]:5099");
        let tel = Uri::parse("tel:+1-201;ext=7").unwrap();
        assert_eq!((tel.user(), tel.host(), tel.param("ext")), (Some("+1-201"), "", Some(Some("7"))));
        let urn = Uri::parse("urn:service:sos").unwrap();
        assert_eq!((urn.scheme(), urn.user(), urn.host()), (Scheme::Urn, None, ""));
        assert_eq!(Uri::parse("http://a/b?c").unwrap().scheme(), Scheme::Other);
    }

    #[test]
    fn parameters_set_and_removed() {
        let uri = Uri::parse("sip:a@b;x=1;y?z=2").unwrap();
        assert_eq!(uri.with_param("X", Some("3")).unwrap().as_str(), "sip:a@b;x=3;y?z=2");
        assert_eq!(uri.with_param("lr", None).unwrap().as_str(), "sip:a@b;x=1;y;lr?z=2");
        assert_eq!(uri.without_param("x").as_str(), "sip:a@b;y?z=2");
        assert!(uri.with_param("q", Some("a b")).is_err());
    }

    #[test]
    fn refusals() {
        for text in [
            "",
            "sip",
            "sip:",
            ":a",
            "1sip:a",
            "sip:@h",
            "sip:a@",
            "sip:a b@c",
            "sip:a@b@c",
            "sip:a%4@b",
            "sip:a@b:x",
            "sip:a@b:65536",
            "sip:a@[::1",
            "sip:a@[1]",
            "sip:a@b;",
            "sip:a@b;;x",
            "sip:a@b;=x",
            "sip:a@b?",
            "sip:a@b%41",
            "sip:\u{e9}@b",
            "tel:",
            "tel:+",
            "tel:+1a",
            "tel:1;",
            "urn:x",
            "urn::x",
            "x:",
            "x:a b",
            "x:<a>",
            "sip:a<@b",
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn equality_is_that_of_the_text() {
        let uri = Uri::parse("sip:a@b;lr").unwrap();
        let copy = uri.clone();
        assert_eq!(uri, copy);
        assert_eq!("sip:a@b;lr".parse::<Uri>().unwrap(), uri);
        assert!(Uri::parse("sip:a@B;lr").unwrap() != uri);
    }
}
