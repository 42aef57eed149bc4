//! RFC 3261 §25.1 — URIs checked and cut without allocating.

use super::{Scheme, Spans};
use crate::{UriError, lexis, limits};
use std::net::Ipv6Addr;

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
        let octets = text.as_bytes();
        let end = octets.iter().position(|&b| !lexis::is_host_octet(b)).unwrap_or(octets.len());
        if end == 0 || octets.get(end).is_some_and(|&b| b != b':') {
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
    if !params_fit(&octets[authority_end..headers]) {
        return Err(UriError("no URI parameter"));
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

/// `*(";" name ["=" value])`; an empty value is let pass.
fn params_fit(text: &[u8]) -> bool {
    let octet = |b: u8| lexis::is_param_octet(b) || lexis::is_token_octet(b);
    let Some((_, rest)) = text.split_first() else { return true };
    rest.split(|&b| b == b';').all(|pair| {
        let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        let value = pair.get(equals + 1..).unwrap_or(b"");
        equals > 0 && lexis::escaped_all(&pair[..equals], octet) && lexis::escaped_all(value, octet)
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
