//! What moves: sockets, transactions, users, the HSS.

pub(crate) mod copies;
pub(crate) mod cx;
pub(crate) mod delivery;
pub(crate) mod duties;
pub(crate) mod handover;
#[cfg(target_os = "linux")]
pub(crate) mod icmp;
pub(crate) mod link;
pub(crate) mod loan;
pub(crate) mod loopback;
pub(crate) mod membership;
pub(crate) mod next_hop;
pub(crate) mod parcel;
pub(crate) mod pipe;
pub(crate) mod relaying;
pub(crate) mod residents;
pub(crate) mod router;
pub(crate) mod sending;
pub(crate) mod shard;
pub(crate) mod speaking;
pub(crate) mod transactions;
pub(crate) mod transport;
pub(crate) mod user;
