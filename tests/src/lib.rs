//! The testbed: starts what a test needs on free ports of 127.0.0.1 and ends what it started.

pub mod cluster;
pub mod compose;
pub mod hss;
pub mod http;
pub mod network;
pub mod phone;
pub mod process;
pub mod redis_server;
pub mod sipp;
pub mod wire;

pub use cluster::{Cluster, Settings, shard_of};
pub use hss::Hss;
pub use network::Network;
pub use phone::{Answer, Dialog, Leg, Phone, Text};
pub use process::{Lab, Process, free_port};
pub use redis_server::{Redis, Sentinels};
pub use sipp::Sipp;
pub use wire::{Cut, Wire};

use std::time::{Duration, Instant};

/// Home network domain of the lab.
pub const DOMAIN: &str = "ims.mnc001.mcc001.3gppnetwork.org";

/// Polls `probe` until it yields something or `within` has passed; `None` then.
pub fn eventually<T>(within: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a tool the test needs is there. Where end-to-end tests are required (`ROLLCALL_E2E=required`), a missing tool is
/// a failure; elsewhere it is said aloud and the test passes without having run.
pub fn have(tool: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|paths| std::env::split_paths(&paths).any(|folder| folder.join(tool).is_file()));
    if !found {
        assert!(
            std::env::var("ROLLCALL_E2E").as_deref() != Ok("required"),
            "'{tool}' is not installed, and end-to-end tests are required here"
        );
        eprintln!("SKIPPED: '{tool}' is not installed");
    }
    found
}
