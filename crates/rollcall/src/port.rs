//! Ports that must be free before lab and HSS start, so that a refusal names flag or key.

use anyhow::bail;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// What listens on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    UdpAndTcp,
}

/// Refuses an address that cannot be listened on, in one line with flag, address and what to do.
pub(crate) fn check(flag: &str, address: SocketAddr, over: Over) -> anyhow::Result<()> {
    let Err((wire, error)) = bind(address, over) else { return Ok(()) };
    let kind = error.kind();
    if kind == ErrorKind::AddrInUse {
        let free = (1..100)
            .filter_map(|step| address.port().checked_add(step))
            .find(|port| bind(SocketAddr::new(address.ip(), *port), over).is_ok());
        let instead = free.map_or_else(|| "another port".into(), |port| format!("{flag} {port}"));
        bail!("{flag}: {wire} {address} is in use by another program; end that, or use {instead}");
    }
    if kind == ErrorKind::AddrNotAvailable {
        let flag = if flag.starts_with("--") { "--bind" } else { flag };
        bail!("{flag}: this machine has no address {}; use one of its own, as 127.0.0.1", address.ip());
    }
    if kind == ErrorKind::PermissionDenied {
        bail!("{flag}: {wire} {address} needs privileges; use a port from 1024 on");
    }
    bail!("{flag}: {wire} {address} cannot be listened on: {error}")
}

fn bind(address: SocketAddr, over: Over) -> Result<(), (&'static str, io::Error)> {
    TcpListener::bind(address).map_err(|error| ("TCP", error))?;
    if over == Over::UdpAndTcp {
        UdpSocket::bind(address).map_err(|error| ("UDP", error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_a_free_one() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert!(check("--sip-port", address, Over::Tcp).is_ok());
        let refused = check("--sip-port", address, Over::UdpAndTcp).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("--sip-port: UDP {address} is in use")), "{refused}");
        let free: u16 = refused.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(free > address.port(), "{refused}");
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let refused =
            check("--http-port", "192.0.2.1:0".parse().unwrap(), Over::Tcp).unwrap_err().to_string();
        assert!(refused.starts_with("--bind: this machine has no address 192.0.2.1"), "{refused}");
    }
}
