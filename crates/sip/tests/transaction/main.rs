//! RFC 3261 §17, RFC 6026 — the four machines and their table, in virtual time.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod client;
mod limits;
mod matching;
mod properties;
mod proxy;
mod rig;
mod routing;
mod server;
