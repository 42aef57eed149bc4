//! What moves: sockets, transactions, users, the HSS.

pub(crate) mod cx;
pub(crate) mod duties;
#[cfg(target_os = "linux")]
pub(crate) mod icmp;
pub(crate) mod link;
pub(crate) mod loopback;
pub(crate) mod next_hop;
pub(crate) mod pipe;
pub(crate) mod relaying;
pub(crate) mod router;
pub(crate) mod sending;
pub(crate) mod shard;
pub(crate) mod transactions;
pub(crate) mod transport;
pub(crate) mod user;
