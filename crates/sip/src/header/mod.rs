//! RFC 3261 §20 — header fields as values.

pub mod address;
pub mod charging;
pub mod cseq;
pub mod digest;
pub mod event;
pub mod params;
pub mod reason;
pub mod served_user;
pub mod session_expires;
pub mod via;
