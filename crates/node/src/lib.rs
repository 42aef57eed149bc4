//! The shell: actix actors, sockets, clock, configuration.
//!
//! One thread runs sockets, transactions, users and the HSS's connections. An actor does nothing but step, save, act; no
//! protocol rule lives here but those of transport (RFC 3261 §18).

mod abroad;
mod actor;
mod clock;
pub mod config;
mod observe;
mod operator;
mod perform;
mod run;
mod shell;
mod telemetry;
mod word;

pub use config::{Config, ConfigError};
pub use run::{Node, Running};
