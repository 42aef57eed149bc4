//! Values that the configuration holds as text.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Text that does not say what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot be read")
    }
}

impl std::error::Error for Unreadable {}

/// `udp:ADDRESS:PORT` or `tcp:ADDRESS:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// UDP or TCP.
    pub transport: sip::Transport,
    /// Where.
    pub address: SocketAddr,
}

impl FromStr for Listen {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (transport, address) = text.split_once(':').ok_or(Unreadable)?;
        let transport = match transport {
            "udp" => sip::Transport::Udp,
            "tcp" => sip::Transport::Tcp,
            _ => return Err(Unreadable),
        };
        Ok(Self { transport, address: address.parse().map_err(|_| Unreadable)? })
    }
}

/// `tcp:HOST:PORT` of a Diameter peer; the port may be left out and is then 3868.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Name or address.
    pub host: Box<str>,
    /// Port.
    pub port: u16,
}

impl FromStr for PeerAddress {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (host, port) = host_and_port(text.strip_prefix("tcp:").ok_or(Unreadable)?, 3868)?;
        Ok(Self { host, port })
    }
}

/// `udp:HOST:PORT` or `tcp:HOST:PORT` of a next hop; the port may be left out and is then 5060.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// UDP or TCP.
    pub transport: sip::Transport,
    /// Name or address.
    pub host: Box<str>,
    /// Port.
    pub port: u16,
}

impl FromStr for Target {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (transport, rest) = match text.split_once(':').ok_or(Unreadable)? {
            ("udp", rest) => (sip::Transport::Udp, rest),
            ("tcp", rest) => (sip::Transport::Tcp, rest),
            _ => return Err(Unreadable),
        };
        let (host, port) = host_and_port(rest, 5060)?;
        Ok(Self { transport, host, port })
    }
}

/// A name or an address, and the port behind it; an IPv6 address stands in brackets.
fn host_and_port(text: &str, otherwise: u16) -> Result<(Box<str>, u16), Unreadable> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip().to_string().into(), address.port()));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| Unreadable)?),
        None => (text, otherwise),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if is_host_name(host) { Ok((host.to_ascii_lowercase().into(), port)) } else { Err(Unreadable) }
}

/// Whether these are the octets of a name that DNS may know, or of an IPv4 address.
pub(super) fn is_host_name(text: &str) -> bool {
    let clean = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    text.len() <= 253 && text.split('.').all(clean)
}

/// `ADDRESS:PORT` of a DNS server; the port may be left out and is then 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsServer(pub SocketAddr);

impl FromStr for DnsServer {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let alone = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
        text.parse().or_else(|_| alone()).map(Self).map_err(|_| Unreadable)
    }
}

/// A network as `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Whether `address` is inside; an IPv4 address mapped into IPv6 counts as itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let ignored = 32 - u32::from(self.bits);
                u64::from(network.to_bits() ^ address.to_bits()) >> ignored == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                self.bits == 0 || differing >> (128 - u32::from(self.bits)) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (network, bits) = match text.split_once('/') {
            Some((network, bits)) => (network, Some(bits.parse().map_err(|_| Unreadable)?)),
            None => (text, None),
        };
        let network: IpAddr = network.parse().map_err(|_| Unreadable)?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(Unreadable) } else { Ok(Self { network, bits }) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let holds = |network: &str, address: &str| {
            network.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
        };
        assert!(holds("127.0.0.0/8", "127.9.8.7"));
        assert!(!holds("127.0.0.0/8", "128.0.0.1"));
        assert!(holds("0.0.0.0/0", "203.0.113.9"));
        assert!(!holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("192.0.2.7", "192.0.2.7"));
        assert!(!holds("192.0.2.7", "192.0.2.6"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1"));
        assert!(!holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("::/0", "2001:db9::1"));
        for wrong in ["10.0.0.0/33", "10.0.0/8", "x", "::/129", "10.0.0.0/-1"] {
            assert_eq!(wrong.parse::<Cidr>(), Err(Unreadable), "{wrong}");
        }
    }

    #[test]
    fn listeners_and_peers_read() {
        assert_eq!("udp:0.0.0.0:5060".parse::<Listen>().unwrap().transport, sip::Transport::Udp);
        assert_eq!("tcp:[::1]:5061".parse::<Listen>().unwrap().address.port(), 5061);
        for wrong in ["5060", "tls:0.0.0.0:5061", "udp:localhost:5060", "udp:1.2.3.4"] {
            assert_eq!(wrong.parse::<Listen>(), Err(Unreadable), "{wrong}");
        }
        let peer: PeerAddress = "tcp:hss.example.org:3869".parse().unwrap();
        assert_eq!((&*peer.host, peer.port), ("hss.example.org", 3869));
        assert_eq!("tcp:hss".parse::<PeerAddress>().unwrap().port, 3868);
        assert_eq!(&*"tcp:[::1]:3868".parse::<PeerAddress>().unwrap().host, "::1");
        for wrong in ["hss:3868", "sctp:hss:3868", "tcp:", "tcp:hss:x", "tcp:a b:1"] {
            assert_eq!(wrong.parse::<PeerAddress>(), Err(Unreadable), "{wrong}");
        }
    }

    #[test]
    fn targets_and_dns_servers_read() {
        let target: Target = "tcp:SBC.example.org:5070".parse().unwrap();
        assert_eq!(
            (target.transport, &*target.host, target.port),
            (sip::Transport::Tcp, "sbc.example.org", 5070)
        );
        assert_eq!("udp:sbc".parse::<Target>().unwrap().port, 5060);
        assert_eq!(&*"udp:[2001:db8::1]:5060".parse::<Target>().unwrap().host, "2001:db8::1");
        for wrong in ["sbc:5060", "tls:sbc:5061", "udp:", "udp:a..b", "udp:sbc:65536", "udp:a b", "UDP:sbc"] {
            assert_eq!(wrong.parse::<Target>(), Err(Unreadable), "{wrong}");
        }
        let server = |text: &str| text.parse::<DnsServer>().map(|server| server.0.to_string());
        assert_eq!(server("192.0.2.1:5353").unwrap(), "192.0.2.1:5353");
        assert_eq!(server("2001:db8::1").unwrap(), "[2001:db8::1]:53");
        assert_eq!(server("dns.example.org"), Err(Unreadable));
    }
}
