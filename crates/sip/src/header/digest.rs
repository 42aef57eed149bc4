//! RFC 3261 §20.7, §20.44, RFC 3310 §3 — digest credentials and challenges as an ordered parameter list.

use crate::{UriError, lexis, limits};
use std::fmt;

/// The parameters of Authorization, WWW-Authenticate or Authentication-Info. Its Debug shows names, never values: among
/// them are `ik` and `ck`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Digest(Vec<Param>);

#[derive(Clone, PartialEq, Eq)]
struct Param {
    name: Box<str>,
    value: Box<str>,
    quoted: bool,
}

impl Digest {
    /// Without parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses `Digest name=value, …`.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let text = lexis::trim(text);
        let (scheme, rest) = text.split_once([' ', '\t', '\r']).ok_or(UriError("no digest parameters"))?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Err(UriError("the scheme is not Digest"));
        }
        Self::parse_params(rest)
    }

    /// Parses `name=value, …` without a scheme, as in Authentication-Info.
    pub fn parse_params(text: &str) -> Result<Self, UriError> {
        let mut digest = Self::default();
        for element in lexis::elements(&lexis::unfold(text)) {
            let (name, value) = element.split_once('=').ok_or(UriError("a digest parameter has a value"))?;
            let (name, value) = (lexis::trim(name), lexis::trim(value));
            if !lexis::is_token(name.as_bytes()) {
                return Err(UriError("a digest parameter has a name"));
            }
            if digest.0.len() == limits::DIGEST_PARAMS {
                return Err(UriError("too many digest parameters"));
            }
            if digest.has(name) {
                return Err(UriError("a digest parameter stands twice"));
            }
            let (value, quoted) = if value.starts_with('"') {
                if lexis::quoted_end(value.as_bytes(), 0) != Some(value.len()) {
                    return Err(UriError("a quoted string is not closed"));
                }
                (lexis::unescape(&value[1..value.len() - 1]).into(), true)
            } else if value.is_empty() || value.bytes().any(|b| b <= b' ' || b == b'"') {
                return Err(UriError("a digest parameter has a value"));
            } else {
                (value.into(), false)
            };
            digest.0.push(Param { name: name.into(), value, quoted });
        }
        Ok(digest)
    }

    /// The value of `name` (in any case), without quotes and escapes.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|p| p.name.eq_ignore_ascii_case(name)).map(|p| &*p.value)
    }

    /// The value of `name` as it is written, with quotes if it has them.
    pub fn raw(&self, name: &str) -> Option<String> {
        self.0.iter().find(|p| p.name.eq_ignore_ascii_case(name)).map(|p| Written(p).to_string())
    }

    /// Whether `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Names and values, without quotes and escapes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|p| (&*p.name, &*p.value))
    }

    /// The same with `name="value"` set.
    #[must_use]
    pub fn quoted(mut self, name: &str, value: &str) -> Self {
        self.set(name, value, true);
        self
    }

    /// The same with `name=value` set.
    #[must_use]
    pub fn token(mut self, name: &str, value: &str) -> Self {
        self.set(name, value, false);
        self
    }

    fn set(&mut self, name: &str, value: &str, quoted: bool) {
        match self.0.iter_mut().find(|p| p.name.eq_ignore_ascii_case(name)) {
            Some(param) => {
                param.value = value.into();
                param.quoted = quoted;
            }
            None => self.0.push(Param { name: name.into(), value: value.into(), quoted }),
        }
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|p| !p.name.eq_ignore_ascii_case(name));
    }

    /// The parameters without the scheme, as Authentication-Info wants them.
    pub fn params(&self) -> impl fmt::Display {
        DigestParams(self)
    }
}

struct Written<'a>(&'a Param);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.quoted { lexis::write_quoted(f, &self.0.value) } else { f.write_str(&self.0.value) }
    }
}

struct DigestParams<'a>(&'a Digest);

impl fmt::Display for DigestParams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, param) in self.0.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}={}", param.name, Written(param))?;
        }
        Ok(())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest {}", DigestParams(self))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")?;
        f.debug_list().entries(self.0.iter().map(|p| &p.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_writes_and_hides() {
        let text = r#"Digest username="a\"b@h", realm="h", nc=0000000a, auts="", response="6629""#;
        let digest = Digest::parse(text).unwrap();
        assert_eq!(digest.get("USERNAME"), Some("a\"b@h"));
        assert_eq!(digest.get("auts"), Some(""));
        assert_eq!(digest.raw("nc").as_deref(), Some("0000000a"));
        assert_eq!(digest.to_string(), text);
        assert!(!format!("{digest:?}").contains("6629"));
        let challenge = Digest::new().quoted("realm", "h").token("algorithm", "AKAv1-MD5");
        assert_eq!(challenge.to_string(), r#"Digest realm="h", algorithm=AKAv1-MD5"#);
    }

    #[test]
    fn refusals() {
        for text in
            ["Basic a=b", "Digest", "Digest a", "Digest a=\"b", "Digest a=b, A=c", "Digest =b", "Digest a=b,"]
        {
            assert!(Digest::parse(text).is_err(), "{text}");
        }
    }
}
