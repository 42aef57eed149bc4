//! RFC 3261 §19.1 — SIP URIs, with tel (RFC 3966), urn (RFC 8141) and any other scheme carried as text.

use crate::{UriError, lexis, limits};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    borrow::Cow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    net::Ipv6Addr,
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

    /// Equality of RFC 3261 §19.1.4, of RFC 3966 §4 for tel; of the text for other schemes.
    pub fn equivalent(&self, other: &Self) -> bool {
        if self.spans.scheme != other.spans.scheme {
            return false;
        }
        match self.spans.scheme {
            Scheme::Sip | Scheme::Sips => self.same_sip(other),
            Scheme::Tel => self.same_tel(other),
            Scheme::Urn | Scheme::Other => self.canonical() == other.canonical(),
        }
    }

    fn same_sip(&self, other: &Self) -> bool {
        const BOTH_OR_NEITHER: [&str; 5] = ["transport", "maddr", "ttl", "user", "method"];
        let userinfo = |uri: &Self| uri.spans.user.map(|span| decoded(uri.span(span), is_unreserved_char));
        let value = |value: Option<Option<&str>>| {
            value.map(|v| decoded(v.unwrap_or(""), is_unreserved_char).to_ascii_lowercase())
        };
        userinfo(self) == userinfo(other)
            && host_key(self.host()) == host_key(other.host())
            && self.port() == other.port()
            && BOTH_OR_NEITHER.iter().all(|name| value(self.param(name)) == value(other.param(name)))
            && self.params().all(|(name, _)| {
                !other.has_param(name) || value(self.param(name)) == value(other.param(name))
            })
            && header_set(self) == header_set(other)
    }

    fn same_tel(&self, other: &Self) -> bool {
        let set = |uri: &Self| {
            let mut set: Vec<_> = uri
                .params()
                .map(|(name, value)| {
                    let value = value.unwrap_or("").to_ascii_lowercase();
                    (name.to_ascii_lowercase(), if value.starts_with('+') { digits(&value) } else { value })
                })
                .collect();
            set.sort_unstable();
            set
        };
        digits(self.user().unwrap_or("")) == digits(other.user().unwrap_or("")) && set(self) == set(other)
    }

    /// The key of a public user identity: scheme, user with needless escapes undone, host in lower case, port if
    /// written, no password, no parameters. Of tel the digits alone; a local number keeps its `phone-context`.
    pub fn canonical(&self) -> String {
        match self.spans.scheme {
            Scheme::Sip | Scheme::Sips => {
                let mut out = String::with_capacity(self.text.len());
                out.push_str(if self.spans.scheme == Scheme::Sip { "sip:" } else { "sips:" });
                if let Some(user) = self.user() {
                    out.push_str(&decoded(user, lexis::is_user_octet));
                    out.push('@');
                }
                out.push_str(&host_key(self.host()));
                if let Some(port) = self.port() {
                    out.push(':');
                    out.push_str(&port.to_string());
                }
                out
            }
            Scheme::Tel => {
                let number = digits(self.user().unwrap_or(""));
                match self.param("phone-context").flatten().filter(|_| !number.starts_with('+')) {
                    Some(context) => format!("tel:{number};phone-context={}", context.to_ascii_lowercase()),
                    None => format!("tel:{number}"),
                }
            }
            Scheme::Urn | Scheme::Other => {
                let (scheme, rest) = self.text.split_once(':').unwrap_or(("", &self.text));
                let rest: Cow<'_, str> = match rest.split_once(':') {
                    Some((nid, nss)) if self.spans.scheme == Scheme::Urn => {
                        format!("{}:{nss}", nid.to_ascii_lowercase()).into()
                    }
                    _ => rest.into(),
                };
                format!("{}:{rest}", scheme.to_ascii_lowercase())
            }
        }
    }
}

fn is_unreserved_char(b: u8) -> bool {
    lexis::is_unreserved(b)
}

/// Undoes escapes of octets that may stand plain; writes the hexadecimal digits of the others in upper case.
fn decoded(text: &str, plain: impl Fn(u8) -> bool) -> String {
    let octets = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(percent) = rest.find('%') {
        out.push_str(&rest[..percent]);
        let at = text.len() - rest.len() + percent;
        let digit = |at: usize| octets.get(at).and_then(|&b| char::from(b).to_digit(16));
        match (digit(at + 1), digit(at + 2)) {
            (Some(high), Some(low)) => {
                let octet = (high * 16 + low) as u8;
                if plain(octet) {
                    out.push(char::from(octet));
                } else {
                    out.push_str(&text[at..at + 3].to_ascii_uppercase());
                }
                rest = &text[at + 3..];
            }
            _ => {
                out.push('%');
                rest = &text[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn host_key(host: &str) -> Cow<'_, str> {
    match ipv6(host) {
        Some(address) => format!("[{address}]").into(),
        None if host.bytes().any(|b| b.is_ascii_uppercase()) => host.to_ascii_lowercase().into(),
        None => host.into(),
    }
}

fn header_set(uri: &Uri) -> Vec<(String, String)> {
    let mut set: Vec<_> = uri
        .headers()
        .into_iter()
        .flat_map(|headers| headers.split('&'))
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_ascii_lowercase(), decoded(value, is_unreserved_char))
        })
        .collect();
    set.sort_unstable();
    set
}

/// A number without its visual separators.
fn digits(number: &str) -> String {
    number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')')).map(|c| c.to_ascii_lowercase()).collect()
}

/// The address in a bracketed IPv6 reference. Three colons before an embedded IPv4 address count as two: the first
/// grammar of RFC 3261 allowed them (RFC 5118 §4.10).
pub(crate) fn ipv6(host: &str) -> Option<Ipv6Addr> {
    let inside = host.strip_prefix('[')?.strip_suffix(']')?;
    inside.parse().ok().or_else(|| {
        let (head, tail) = inside.split_once(":::")?;
        tail.contains('.').then(|| format!("{head}::{tail}").parse().ok())?
    })
}

/// Checks `host [":" port]`; gives where the host ends and the port.
pub(crate) fn scan_host_port(text: &str) -> Result<(usize, Option<u16>), UriError> {
    let host_end = if text.starts_with('[') {
        let end = text.find(']').ok_or(UriError("an IPv6 reference ends with a bracket"))? + 1;
        ipv6(&text[..end]).ok_or(UriError("no IPv6 address in the brackets"))?;
        end
    } else {
        let end = text.find(':').unwrap_or(text.len());
        if end == 0 || !text.as_bytes()[..end].iter().all(|&b| lexis::is_host_octet(b)) {
            return Err(UriError("no host name"));
        }
        end
    };
    let port = match &text[host_end..] {
        "" => None,
        rest => {
            let digits = rest.strip_prefix(':').ok_or(UriError("only a port follows the host"))?;
            let port = lexis::decimal(digits.as_bytes()).and_then(|port| u16::try_from(port).ok());
            Some(port.ok_or(UriError("a port is a number below 65536"))?)
        }
    };
    Ok((host_end, port))
}

/// Checks a URI without allocating.
pub(crate) fn scan(text: &str) -> Result<Spans, UriError> {
    if text.len() > limits::URI {
        return Err(UriError("the URI is longer than 1024 octets"));
    }
    let colon = memchr::memchr(b':', text.as_bytes()).ok_or(UriError("a URI has a scheme"))?;
    let scheme = &text[..colon];
    let (first, rest) = scheme.as_bytes().split_first().ok_or(UriError("a URI has a scheme"))?;
    let scheme_octet = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    if !first.is_ascii_alphabetic() || !rest.iter().all(scheme_octet) {
        return Err(UriError("no URI scheme"));
    }
    if scheme.eq_ignore_ascii_case("sip") {
        scan_sip(text, colon + 1, Scheme::Sip)
    } else if scheme.eq_ignore_ascii_case("sips") {
        scan_sip(text, colon + 1, Scheme::Sips)
    } else if scheme.eq_ignore_ascii_case("tel") {
        scan_tel(text, colon + 1)
    } else {
        let rest = &text.as_bytes()[colon + 1..];
        if rest.is_empty() || rest.iter().any(|&b| b <= b' ' || b == 0x7f || matches!(b, b'<' | b'>' | b'"'))
        {
            return Err(UriError("no URI"));
        }
        let urn = scheme.eq_ignore_ascii_case("urn");
        if urn && memchr::memchr(b':', rest).is_none_or(|at| at == 0 || at + 1 == rest.len()) {
            return Err(UriError("a urn has a namespace and a name"));
        }
        let end = text.len() as u16;
        let scheme = if urn { Scheme::Urn } else { Scheme::Other };
        Ok(Spans { scheme, user: None, host: (end, end), port: None, params: end, headers: end })
    }
}

fn scan_sip(text: &str, start: usize, scheme: Scheme) -> Result<Spans, UriError> {
    let octets = text.as_bytes();
    let at = memchr::memchr(b'@', &octets[start..]).map(|at| start + at);
    let (user, host) = match at {
        Some(at) => {
            let userinfo = &octets[start..at];
            let name_end = memchr::memchr(b':', userinfo).unwrap_or(userinfo.len());
            let password = userinfo.get(name_end + 1..).unwrap_or(b"");
            let password_octet =
                |b: u8| lexis::is_unreserved(b) || matches!(b, b'&' | b'=' | b'+' | b'$' | b',');
            if name_end == 0 || !lexis::escaped_all(&userinfo[..name_end], lexis::is_user_octet) {
                return Err(UriError("no user part"));
            }
            if !lexis::escaped_all(password, password_octet) {
                return Err(UriError("no password"));
            }
            (Some((start as u16, at as u16)), at + 1)
        }
        None => (None, start),
    };
    let authority_end = memchr::memchr2(b';', b'?', &octets[host..]).map_or(octets.len(), |end| host + end);
    let headers =
        memchr::memchr(b'?', &octets[authority_end..]).map_or(octets.len(), |at| authority_end + at);
    let (host_len, port) = scan_host_port(&text[host..authority_end])?;
    for pair in text[authority_end..headers].split(';').skip(1) {
        let (name, value) = pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
        let fits = |part: &str| {
            !part.is_empty()
                && lexis::escaped_all(part.as_bytes(), |b| {
                    lexis::is_param_octet(b) || lexis::is_token_octet(b)
                })
        };
        if !fits(name) || value.is_some_and(|value| !value.is_empty() && !fits(value)) {
            return Err(UriError("no URI parameter"));
        }
    }
    let header_octet = |b: u8| {
        lexis::is_unreserved(b) || matches!(b, b'[' | b']' | b'/' | b'?' | b':' | b'+' | b'$' | b'=' | b'&')
    };
    if octets.get(headers + 1..).is_some_and(|h| h.is_empty() || !lexis::escaped_all(h, header_octet)) {
        return Err(UriError("no URI headers"));
    }
    Ok(Spans {
        scheme,
        user,
        host: (host as u16, (host + host_len) as u16),
        port,
        params: authority_end as u16,
        headers: headers as u16,
    })
}

fn scan_tel(text: &str, start: usize) -> Result<Spans, UriError> {
    let octets = text.as_bytes();
    let number_end = memchr::memchr(b';', &octets[start..]).map_or(octets.len(), |at| start + at);
    let number = &octets[start..number_end];
    let (global, dialled) = match number.split_first() {
        Some((b'+', rest)) => (true, rest),
        _ => (false, number),
    };
    let separator = |b: u8| matches!(b, b'-' | b'.' | b'(' | b')');
    let digit =
        |b: u8| if global { b.is_ascii_digit() } else { b.is_ascii_hexdigit() || matches!(b, b'*' | b'#') };
    if !dialled.iter().any(|&b| digit(b)) || !dialled.iter().all(|&b| digit(b) || separator(b)) {
        return Err(UriError("no telephone number"));
    }
    for pair in text[number_end..].split(';').skip(1) {
        let (name, value) = pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
        let fits =
            |part: &str| !part.is_empty() && lexis::escaped_all(part.as_bytes(), lexis::is_param_octet);
        if !fits(name) || value.is_some_and(|value| !fits(value)) {
            return Err(UriError("no parameter of a telephone number"));
        }
    }
    let end = octets.len() as u16;
    Ok(Spans {
        scheme: Scheme::Tel,
        user: Some((start as u16, number_end as u16)),
        host: (end, end),
        port: None,
        params: number_end as u16,
        headers: end,
    })
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
