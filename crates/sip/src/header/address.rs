//! RFC 3261 §20.10 — `name-addr` and `addr-spec` with header parameters, as in From, To, Contact, Route.

use crate::{Params, Uri, UriError, header::params, lexis, uri};
use serde::{Deserialize, Serialize};
use std::fmt;

/// An address: display name, URI, header parameters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NameAddr {
    /// The display name without quotes and escapes.
    pub display: Option<Box<str>>,
    /// The URI.
    pub uri: Uri,
    /// The parameters behind the `>`.
    pub params: Params,
}

/// What the Contact headers of a message hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contacts {
    /// There is no Contact header.
    None,
    /// `Contact: *`
    Star,
    /// One or more addresses.
    List(Vec<NameAddr>),
}

impl NameAddr {
    /// An address of nothing but a URI.
    pub fn new(uri: Uri) -> Self {
        Self { display: None, uri, params: Params::default() }
    }

    /// The same with a header parameter set; the empty value leaves a bare name.
    #[must_use]
    pub fn with_param(mut self, name: &str, value: &str) -> Self {
        self.params.insert(name, value);
        self
    }

    /// The same with a display name.
    #[must_use]
    pub fn with_display(mut self, display: &str) -> Self {
        self.display = Some(display.into());
        self
    }

    /// Parses one address.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let text = &*lexis::unfold(lexis::trim(text));
        let spans = scan(text)?;
        let display = match &text[..spans.display] {
            "" => None,
            quoted if quoted.starts_with('"') => {
                let inside = quoted.get(1..quoted.len() - 1).unwrap_or("");
                Some(lexis::unescape(inside).into())
            }
            tokens => Some(tokens.into()),
        };
        let uri = Uri::parse(&text[spans.uri.0..spans.uri.1])?;
        let params = Params::parse(&text[spans.params..])?;
        Ok(Self { display, uri, params })
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&str> {
        self.param("tag")
    }

    /// A header parameter by name in any case, without the quotes around it; one without value gives `""`.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            lexis::write_quoted(f, display)?;
            f.write_str(" ")?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

impl From<Uri> for NameAddr {
    fn from(uri: Uri) -> Self {
        Self::new(uri)
    }
}

pub(crate) struct Spans {
    /// Where the display name ends; zero without one.
    display: usize,
    uri: (usize, usize),
    params: usize,
}

impl Spans {
    pub(crate) fn params(&self) -> usize {
        self.params
    }
}

/// The URI of one trimmed, unfolded address, all of which is checked.
pub(crate) fn uri(text: &str) -> Result<Uri, UriError> {
    let spans = scan(text)?;
    Uri::parse(&text[spans.uri.0..spans.uri.1])
}

/// Checks one trimmed, unfolded address without allocating.
pub(crate) fn scan(text: &str) -> Result<Spans, UriError> {
    let octets = text.as_bytes();
    let open = if octets.first() == Some(&b'"') {
        let display = lexis::quoted_end(octets, 0).ok_or(UriError("a quoted string is not closed"))?;
        let open = display + octets[display..].iter().take_while(|&&b| lexis::is_blank(b)).count();
        if octets.get(open) != Some(&b'<') {
            return Err(UriError("a URI in <> follows the display name"));
        }
        Some((display, open))
    } else {
        let special = octets.iter().position(|b| matches!(b, b'<' | b':' | b';' | b'"' | b',' | b'>' | b'@'));
        match special {
            Some(at) if octets[at] == b'<' => Some((lexis::trim(&text[..at]).len(), at)),
            Some(at) if octets[at] == b':' => None,
            _ => return Err(UriError("no address")),
        }
    };
    let (display, uri_span, rest) = match open {
        Some((display, open)) => {
            let close = memchr::memchr(b'>', &octets[open..]).ok_or(UriError("a < is not closed"))? + open;
            (display, (open + 1, close), close + 1)
        }
        None => {
            let end = octets.iter().position(|&b| b == b';' || lexis::is_blank(b)).unwrap_or(octets.len());
            if memchr::memchr2(b'?', b',', &octets[..end]).is_some() {
                return Err(UriError("a URI with a question mark or comma stands in <>"));
            }
            (0, (0, end), end)
        }
    };
    uri::scan(&text[uri_span.0..uri_span.1])?;
    params::scan(&text[rest..])?;
    Ok(Spans { display, uri: uri_span, params: rest })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_forms() {
        let full = NameAddr::parse(r#""A \"B\" , C" <sip:a@h;x?y=z>;tag=7;q"#).unwrap();
        assert_eq!(full.display.as_deref(), Some(r#"A "B" , C"#));
        assert_eq!(full.uri.as_str(), "sip:a@h;x?y=z");
        assert_eq!((full.tag(), full.param("Q")), (Some("7"), Some("")));
        assert_eq!(full.to_string(), r#""A \"B\" , C" <sip:a@h;x?y=z>;tag=7;q"#);
        let bare = NameAddr::parse("sip:a@h;tag=7").unwrap();
        assert_eq!((bare.uri.as_str(), bare.tag()), ("sip:a@h", Some("7")));
        assert_eq!(NameAddr::parse("caller<tel:+1>").unwrap().display.as_deref(), Some("caller"));
    }

    #[test]
    fn refusals() {
        for text in [
            "",
            "<>",
            "\"open <sip:a@b>",
            "Bell, A <sip:a@b>",
            "< sip:a@b>",
            "<sip:a@b",
            "sip:a@b?x=y",
            "<sip:a@b> x",
            "alice",
            "sip:a@b,sip:c@d",
        ] {
            assert!(NameAddr::parse(text).is_err(), "{text}");
        }
    }
}
