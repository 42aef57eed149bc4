//! RFC 3261 §7.3.1 — header parameters, in order, their text kept as received.

use crate::{UriError, lexis};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The `;name=value` tail of a header value. Blanks around `;` and `=` are dropped, everything else is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Params(Box<str>);

impl Params {
    /// Parses what begins with the first `;`; the empty text has no parameters.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let text = lexis::trim(text);
        let blanks = scan(text)?;
        if !blanks {
            return Ok(Self(text.into()));
        }
        let mut out = String::with_capacity(text.len());
        for (name, value) in Pairs(text) {
            push(&mut out, name, value);
        }
        Ok(Self(out.into()))
    }

    /// The value of `name` (in any case) without the quotes around it; a parameter without value gives `""`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).map(|value| value.map_or("", bare))
    }

    /// The value of `name` as received, quotes included; `Some(None)` is a parameter without value.
    pub fn raw(&self, name: &str) -> Option<Option<&str>> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// Names and values as received, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        Pairs(&self.0)
    }

    /// Sets `name`, in its place if it is there, else at the end. The empty value leaves a bare name; a value that
    /// could not stand unquoted is quoted.
    pub fn insert(&mut self, name: &str, value: &str) {
        let mut out = String::with_capacity(self.0.len() + name.len() + value.len() + 4);
        let mut done = false;
        for (known, old) in self.iter() {
            if known.eq_ignore_ascii_case(name) {
                if !done {
                    push_new(&mut out, known, value);
                    done = true;
                }
            } else {
                push(&mut out, known, old);
            }
        }
        if !done {
            push_new(&mut out, name, value);
        }
        self.0 = out.into();
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) {
        if !self.has(name) {
            return;
        }
        let mut out = String::with_capacity(self.0.len());
        for (known, value) in self.iter().filter(|(known, _)| !known.eq_ignore_ascii_case(name)) {
            push(&mut out, known, value);
        }
        self.0 = out.into();
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it as text, beginning with `;` unless empty.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Params {
    type Error = UriError;

    fn try_from(text: String) -> Result<Self, UriError> {
        Self::parse(&text)
    }
}

impl From<Params> for String {
    fn from(params: Params) -> Self {
        params.0.into()
    }
}

/// Names and values of text that `scan` has accepted.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    Pairs(text)
}

pub(crate) fn bare(value: &str) -> &str {
    value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value)
}

fn push(out: &mut String, name: &str, value: Option<&str>) {
    out.push(';');
    out.push_str(name);
    if let Some(value) = value {
        out.push('=');
        out.push_str(value);
    }
}

fn push_new(out: &mut String, name: &str, value: &str) {
    let quoted = value.len() > 1 && lexis::quoted_end(value.as_bytes(), 0) == Some(value.len());
    // What is neither token nor host is quoted, as a strict reader wants it.
    let plain = value.bytes().all(|b| lexis::is_token_octet(b) || matches!(b, b':' | b'[' | b']'));
    if value.is_empty() {
        push(out, name, None);
    } else if plain || (quoted && value.starts_with('"')) {
        push(out, name, Some(value));
    } else {
        push(out, name, Some(""));
        // Writing into a String cannot fail.
        let _ = lexis::write_quoted(out, value);
    }
}

fn is_value_octet(b: u8) -> bool {
    b > b' ' && b != 0x7f && !matches!(b, b';' | b',' | b'"' | b'<' | b'>')
}

/// Splits text that `scan` has accepted.
struct Pairs<'a>(&'a str);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, Option<&'a str>);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.trim_start_matches([' ', '\t', '\r', '\n']).strip_prefix(';')?;
        let end = lexis::find_separator(text.as_bytes(), 0, b';').unwrap_or(text.len());
        self.0 = &text[end..];
        let pair = &text[..end];
        Some(match memchr::memchr(b'=', pair.as_bytes()) {
            Some(equals) => (lexis::trim(&pair[..equals]), Some(lexis::trim(&pair[equals + 1..]))),
            None => (lexis::trim(pair), None),
        })
    }
}

/// Checks `*(SEMI name [EQUAL value])`; tells whether blanks are to be dropped.
pub(crate) fn scan(text: &str) -> Result<bool, UriError> {
    let octets = text.as_bytes();
    let mut i = 0;
    let mut blanks = false;
    let skip = |i: &mut usize, blanks: &mut bool| {
        while octets.get(*i).is_some_and(|&b| lexis::is_blank(b) || b == b'\r' || b == b'\n') {
            *i += 1;
            *blanks = true;
        }
    };
    skip(&mut i, &mut blanks);
    while i < octets.len() {
        if octets[i] != b';' {
            return Err(UriError("a parameter begins with a semicolon"));
        }
        i += 1;
        skip(&mut i, &mut blanks);
        let start = i;
        while octets.get(i).is_some_and(|&b| lexis::is_token_octet(b)) {
            i += 1;
        }
        if i == start {
            return Err(UriError("a parameter has a name"));
        }
        skip(&mut i, &mut blanks);
        if octets.get(i) != Some(&b'=') {
            continue;
        }
        i += 1;
        skip(&mut i, &mut blanks);
        if octets.get(i) == Some(&b'"') {
            i = lexis::quoted_end(octets, i).ok_or(UriError("a quoted string is not closed"))?;
        } else {
            let start = i;
            while octets.get(i).is_some_and(|&b| is_value_octet(b)) {
                i += 1;
            }
            if i == start {
                return Err(UriError("a parameter with an equals sign has a value"));
            }
        }
        skip(&mut i, &mut blanks);
    }
    Ok(blanks)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_and_keeps() {
        let params = Params::parse(r#" ; Q = 0.33;lr ;+sip.instance="<urn:uuid:f8;1>"; x=[::1]"#).unwrap();
        assert_eq!(params.as_str(), r#";Q=0.33;lr;+sip.instance="<urn:uuid:f8;1>";x=[::1]"#);
        assert_eq!(params.get("q"), Some("0.33"));
        assert_eq!(params.get("lr"), Some(""));
        assert_eq!(params.get("+SIP.instance"), Some("<urn:uuid:f8;1>"));
        assert_eq!(params.raw("+sip.instance"), Some(Some(r#""<urn:uuid:f8;1>""#)));
        assert_eq!(params.get("absent"), None);
    }

    #[test]
    fn sets_and_removes() {
        let mut params = Params::parse(";expires=10;lr").unwrap();
        params.insert("Expires", "20");
        params.insert("ob", "");
        params.insert("pub-gruu", "sip:a@b;gr=1");
        assert_eq!(params.as_str(), r#";expires=20;lr;ob;pub-gruu="sip:a@b;gr=1""#);
        params.remove("LR");
        assert_eq!(params.as_str(), r#";expires=20;ob;pub-gruu="sip:a@b;gr=1""#);
    }

    #[test]
    fn refuses_empty_and_open_ones() {
        for text in [";", ";;", ";a=", ";a=\"b", "a=b", ";a b", ";a=b c", ";=b"] {
            assert!(Params::parse(text).is_err(), "{text}");
        }
    }
}
