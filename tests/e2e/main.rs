//! End to end: real sockets, real processes. Files are named for flows.
#![allow(clippy::unwrap_used)]

mod attack;
mod cluster_entry;
mod cluster_failover;
mod cluster_many;
mod cluster_redis;
mod cluster_refusals;
mod cluster_rolling;
mod cluster_seed;
mod commands;
mod compose;
mod crossing;
mod failover;
mod hostile;
mod lasting;
mod obstacles;
mod reach;
mod reauthentication;
mod registration;
mod release;
mod scene;
mod services;
mod session;
mod standalone;
mod testbed;
mod town;
