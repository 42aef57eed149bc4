//! RFC 3261 §20.42 — Via.

use crate::{Params, UriError, header::params, lexis, uri};
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// `UDP`
    Udp,
    /// `TCP`
    Tcp,
    /// `TLS`
    Tls,
    /// `SCTP`
    Sctp,
    /// `WS`
    Ws,
    /// Any other; a [`Via`] keeps its text.
    Other,
}

impl Transport {
    /// As written in Via.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Sctp => "SCTP",
            Self::Ws => "WS",
            Self::Other => "UNKNOWN",
        }
    }

    /// Reads a name in any case.
    pub fn of(text: &str) -> Self {
        let known = [Self::Udp, Self::Tcp, Self::Tls, Self::Sctp, Self::Ws];
        known.into_iter().find(|t| t.as_str().eq_ignore_ascii_case(text)).unwrap_or(Self::Other)
    }

    /// Whether it delivers reliably and in order (so transactions need no retransmission).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One Via value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// The transport.
    pub transport: Transport,
    other: Option<Box<str>>,
    /// The host of sent-by, IPv6 with brackets; empty for a message that has no Via yet.
    pub host: Box<str>,
    /// The port of sent-by, if written.
    pub port: Option<u16>,
    /// The parameters.
    pub params: Params,
}

impl Via {
    /// A Via value without parameters.
    pub fn new(transport: Transport, host: &str, port: Option<u16>) -> Self {
        Self { transport, other: None, host: host.into(), port, params: Params::default() }
    }

    /// The same with a parameter set; the empty value leaves a bare name.
    #[must_use]
    pub fn with_param(mut self, name: &str, value: &str) -> Self {
        self.params.insert(name, value);
        self
    }

    /// Parses one value.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let text = &*lexis::unfold(lexis::trim(text));
        let spans = scan(text)?;
        let name = &text[spans.transport.0..spans.transport.1];
        let transport = Transport::of(name);
        Ok(Self {
            transport,
            other: (transport == Transport::Other).then(|| name.into()),
            host: text[spans.host.0..spans.host.1].into(),
            port: spans.port,
            params: Params::parse(&text[spans.params..])?,
        })
    }

    /// The transport as written, also an unknown one.
    pub fn transport_text(&self) -> &str {
        self.other.as_deref().unwrap_or(self.transport.as_str())
    }

    /// The branch.
    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch")
    }

    /// `received`; an IPv6 address with or without brackets (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.get("received")?;
        text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text).parse().ok()
    }

    /// `rport` of RFC 3581: absent, present without value, or filled in.
    pub fn rport(&self) -> Option<Option<u16>> {
        Some(self.params.raw("rport")?.and_then(|port| port.parse().ok()))
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport_text(), self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)
    }
}

pub(crate) struct Spans {
    transport: (usize, usize),
    host: (usize, usize),
    port: Option<u16>,
    params: usize,
}

impl Spans {
    pub(crate) fn host(&self) -> (usize, usize) {
        self.host
    }

    pub(crate) fn params(&self) -> usize {
        self.params
    }
}

/// Checks one trimmed, unfolded Via value without allocating.
pub(crate) fn scan(text: &str) -> Result<Spans, UriError> {
    let octets = text.as_bytes();
    let blanks = |mut i: usize| {
        while octets.get(i).is_some_and(|&b| lexis::is_blank(b)) {
            i += 1;
        }
        i
    };
    let token = |start: usize| {
        let mut end = start;
        while octets.get(end).is_some_and(|&b| lexis::is_token_octet(b)) {
            end += 1;
        }
        if end == start { Err(UriError("Via begins with protocol, version and transport")) } else { Ok(end) }
    };
    let slash = |i: usize| {
        let i = blanks(i);
        if octets.get(i) == Some(&b'/') {
            Ok(blanks(i + 1))
        } else {
            Err(UriError("Via begins with protocol, version and transport"))
        }
    };
    let name_end = token(0)?;
    let version = slash(name_end)?;
    let version_end = token(version)?;
    if !text[..name_end].eq_ignore_ascii_case("SIP") || &text[version..version_end] != "2.0" {
        return Err(UriError("Via is not of SIP/2.0"));
    }
    let transport = slash(version_end)?;
    let transport_end = token(transport)?;
    let host = blanks(transport_end);
    if host == transport_end {
        return Err(UriError("Via has no sent-by"));
    }
    let rest = &octets[host..];
    let host_len = if rest.first() == Some(&b'[') {
        memchr::memchr(b']', rest).map(|at| at + 1)
    } else {
        rest.iter().position(|&b| matches!(b, b':' | b';') || lexis::is_blank(b))
    }
    .unwrap_or(rest.len());
    let host_end = host + host_len;
    let mut i = blanks(host_end);
    uri::scan_host_port(&text[host..host_end])?;
    let mut port = None;
    if octets.get(i) == Some(&b':') {
        let start = blanks(i + 1);
        let mut end = start;
        while octets.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
        let number = lexis::decimal(&octets[start..end]).and_then(|port| u16::try_from(port).ok());
        port = Some(number.ok_or(UriError("a port is a number below 65536"))?);
        i = blanks(end);
    }
    params::scan(&text[i..])?;
    Ok(Spans { transport: (transport, transport_end), host: (host, host_end), port, params: i })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn blanks_everywhere() {
        let via =
            Via::parse("SIP  /    2.0   / UDP  192.168.255.111 : 5070  ; branch=\r\n z9hG4bK30239 ;rport")
                .unwrap();
        assert_eq!(via.to_string(), "SIP/2.0/UDP 192.168.255.111:5070;branch=z9hG4bK30239;rport");
        assert_eq!((via.branch(), via.rport()), (Some("z9hG4bK30239"), Some(None)));
    }

    #[test]
    fn received_with_and_without_brackets() {
        for received in ["2001:db8::9:255", "[2001:db8::9:255]"] {
            let via =
                Via::parse(&format!("SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z")).unwrap();
            assert_eq!(via.received().unwrap().to_string(), "2001:db8::9:255");
            assert_eq!(&*via.host, "[2001:db8::9:1]");
        }
    }

    #[test]
    fn unknown_transports_are_kept() {
        let via = Via::parse("SIP/2.0/UNHEARD t4.example.com;branch=z9hG4bKasd0f3en").unwrap();
        assert_eq!((via.transport, via.transport_text()), (Transport::Other, "UNHEARD"));
    }

    #[test]
    fn refusals() {
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/7.0/UDP h",
            "SIP/2.0/UDP h;;",
            "SIP/2.0/UDP h:x",
            "UDP h",
        ] {
            assert!(Via::parse(text).is_err(), "{text}");
        }
    }
}
