//! RFC 3261 §19.1.4 — when two URIs are the same, and the one form of a public user identity.

use super::{Scheme, Uri, scan::ipv6};
use crate::lexis;
use std::borrow::Cow;

impl Uri {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn uri(text: &str) -> Uri {
        Uri::parse(text).unwrap()
    }

    #[test]
    fn same() {
        for (left, right) in [
            ("sip:%61lice@atlanta.example;transport=TCP", "sip:alice@AtLanTa.ExAmple;Transport=tcp"),
            ("sip:carol@chicago.example", "sip:carol@chicago.example;newparam=5"),
            ("sip:carol@chicago.example;newparam=5", "sip:carol@chicago.example;security=on"),
            (
                "sip:b.example;transport=tcp;method=REGISTER?to=sip:a%40c.example",
                "SIP:b.example;method=REGISTER;transport=tcp?to=sip:a%40c.example",
            ),
            (
                "sip:a@b.example?subject=x%20y&priority=urgent",
                "sip:a@b.example?priority=urgent&subject=x%20y",
            ),
            ("sip:a@[2001:db8:0::1]", "sip:a@[2001:DB8::1]"),
            ("tel:+1-201-555-0123", "tel:+1(201)555.0123"),
            ("tel:863;phone-context=+1-914", "tel:8-6-3;PHONE-context=+1914"),
            ("urn:Service:sos", "URN:service:sos"),
        ] {
            assert!(uri(left).equivalent(&uri(right)) && uri(right).equivalent(&uri(left)), "{left} {right}");
        }
    }

    #[test]
    fn different() {
        for (left, right) in [
            ("sip:ALICE@atlanta.example", "sip:alice@atlanta.example"),
            ("sip:bob@biloxi.example", "sip:bob@biloxi.example:5060"),
            ("sip:bob@biloxi.example", "sip:bob@biloxi.example;transport=udp"),
            ("sip:bob@biloxi.example", "sips:bob@biloxi.example"),
            ("sip:bob@biloxi.example", "sip:biloxi.example"),
            ("sip:carol@chicago.example;security=off", "sip:carol@chicago.example;security=on"),
            ("sip:carol@chicago.example", "sip:carol@chicago.example?subject=x"),
            ("sip:a%3Bb@c.example", "sip:a;b@c.example"),
            ("sip:a:pw@c.example", "sip:a@c.example"),
            ("tel:+12015550123", "tel:+12015550123;ext=7"),
            ("tel:112;phone-context=a.example", "tel:112;phone-context=b.example"),
            ("urn:service:sos", "urn:service:SOS"),
        ] {
            assert!(
                !uri(left).equivalent(&uri(right)) && !uri(right).equivalent(&uri(left)),
                "{left} {right}"
            );
        }
    }

    #[test]
    fn canonical_keys() {
        for (text, key) in [
            ("SIP:%41nn:secret@HOME1.net:5060;user=phone?x=y", "sip:Ann@home1.net:5060"),
            ("sip:a%40b%2f@h", "sip:a%40b/@h"),
            ("sips:H", "sips:h"),
            ("sip:+1-201@h;user=phone", "sip:+1-201@h"),
            ("tel:+1-201-555-0123;ext=7", "tel:+12015550123"),
            ("tel:1-1-2;phone-context=Home1.NET", "tel:112;phone-context=home1.net"),
            ("URN:Service:sos.Fire", "urn:service:sos.Fire"),
        ] {
            let canonical = uri(text).canonical();
            assert_eq!(canonical, key);
            assert_eq!(uri(&canonical).canonical(), key, "a key is its own key");
        }
    }
}
