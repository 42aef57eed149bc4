//! RFC 3261 §18.2 — where a request came from, and where its responses go.

use crate::{Name, Request, Response, Transport, Via};
use std::net::{IpAddr, SocketAddr};

/// Where a message came from, or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The transport.
    pub transport: Transport,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection, in the caller's numbering; zero where there is none.
    pub connection: u64,
}

/// RFC 3261 §18.2.1 and RFC 3581 §4: `received` where sent-by is not the source, `rport` where asked for.
pub(super) fn stamp(request: Request, via: &Via, source: SocketAddr) -> Request {
    let rport = via.params.has("rport");
    if !rport && host_ip(&via.host) == Some(source.ip()) {
        return request;
    }
    request.received_from(source.ip(), rport.then_some(source.port()))
}

/// RFC 3261 §18.2.2 and RFC 3581 §4: where responses to a request go that came on `flow` with this top Via.
///
/// On a reliable transport that is the connection of the request; should that be gone, see [`reconnect_target`]. On UDP it
/// is `maddr` if that is an address, else the source: its port where `rport` asks so, the port of sent-by otherwise.
pub fn response_flow(via: &Via, flow: &Flow) -> Flow {
    if flow.transport.is_reliable() {
        return *flow;
    }
    let port = via.port.unwrap_or(5060);
    let remote = match via.params.get("maddr").and_then(host_ip) {
        Some(maddr) => SocketAddr::new(maddr, port),
        None if via.params.has("rport") => flow.remote,
        None => SocketAddr::new(flow.remote.ip(), port),
    };
    Flow { remote, ..*flow }
}

/// RFC 3261 §18.2.2: where to open a new connection for a response whose own is gone: `received`, else the host of sent-by if
/// that is an address, with the port of sent-by. `None` where only DNS knows, or the message has no Via.
pub fn reconnect_target(response: &Response) -> Option<SocketAddr> {
    if !response.has(Name::Via) {
        return None;
    }
    let via = response.via();
    let default = if via.transport == Transport::Tls { 5061 } else { 5060 };
    let host = via.received().or_else(|| host_ip(&via.host))?;
    Some(SocketAddr::new(host, via.port.unwrap_or(default)))
}

fn host_ip(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}
