//! What stands around an S-CSCF: HSS, UE, application server, load generator.

pub mod aka;
pub mod as_;
pub mod digest;
pub mod hss;
mod http;
pub mod load;
pub mod provisioning;
mod sdp;
pub mod ue;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a lock guards, whoever panicked while holding it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
