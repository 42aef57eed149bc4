//! Every kind against the contract, and Redis through its failures.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod differential;
mod doubts;
mod embedded;
mod failover;
mod failures;
mod figures;
mod full;
mod groups;
mod kinds;
mod proxy;
mod recovery;
mod server;
