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
        let rest = text.strip_prefix("tcp:").ok_or(Unreadable)?;
        if let Ok(address) = rest.parse::<SocketAddr>() {
            return Ok(Self { host: address.ip().to_string().into(), port: address.port() });
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| Unreadable)?),
            None => (rest, 3868),
        };
        let clean = host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-_".contains(&octet));
        if host.is_empty() || !clean { Err(Unreadable) } else { Ok(Self { host: host.into(), port }) }
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
}
