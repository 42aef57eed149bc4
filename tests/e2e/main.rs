//! End to end: real sockets, real processes. Files are named for flows.
#![allow(clippy::unwrap_used)]

mod attack;
mod commands;
mod compose;
mod crossing;
mod hostile;
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
