//! TS 24.229 §5.4.1.6 and §5.4.2 — the registration-state event and re-authentication, clause by clause, in the specification's words.

#![allow(clippy::unwrap_used)]

mod s5_4_1_6;
mod s5_4_2_1_1;
mod s5_4_2_1_2;
#[path = "../world/mod.rs"]
mod world;
