//! Diameter as values: RFC 6733, the Cx application of TS 29.229, the peer state machine.
//!
//! Nothing here owns a socket, a clock or a source of chance. Octets and [`Tick`]s come in, octets and wishes go out.

pub mod avp;
pub mod base;
mod chance;
pub mod codes;
pub mod cx;
pub mod framer;
pub mod message;
pub mod peer;
pub mod pool;
pub mod user_data;

pub use avp::{Avp, AvpError, Avps, Writer};
pub use codes::Code;
pub use framer::{FrameError, Framer};
pub use message::{DecodeError, Message};

use std::net::{IpAddr, Ipv4Addr};

/// Milliseconds of a monotonic clock that the caller owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// This moment and `millis` more.
    #[must_use]
    pub const fn after(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// Who we are to our Diameter peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Origin-Host, a node's own.
    pub origin_host: Box<str>,
    /// Origin-Realm.
    pub origin_realm: Box<str>,
    /// Host-IP-Address of the capabilities exchange.
    pub host_ip: IpAddr,
    /// Product-Name.
    pub product: Box<str>,
    /// Vendor-Id of the implementation; 0 if it has none.
    pub vendor: u32,
    /// Origin-State-Id: grows with every restart that lost state.
    pub origin_state_id: u32,
}

impl Identity {
    /// A peer with this name on the loopback interface, product `rollcall`, vendor 0.
    pub fn new(origin_host: &str, origin_realm: &str) -> Self {
        Self {
            origin_host: origin_host.into(),
            origin_realm: origin_realm.into(),
            host_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            product: "rollcall".into(),
            vendor: 0,
            origin_state_id: 1,
        }
    }
}
