//! TS 24.229 clause by clause: `cargo nextest run s5_4_1_2_3` runs one clause. A test that covers a row of the conformance
//! checklist begins with the identifier of that row.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, unreachable_pub, dead_code)]

mod calls;
mod stage;
#[path = "../world/mod.rs"]
mod world;

mod s5_4_1_1;
mod s5_4_1_2_1;
mod s5_4_1_2_2;
mod s5_4_1_2_2f;
mod s5_4_1_2_3;
mod s5_4_1_2_in_flight;
mod s5_4_1_2_outsiders;
mod s5_4_1_4;
mod s5_4_1_5;
mod s5_4_1_6;
mod s5_4_1_6_notify;
mod s5_4_1_7;
mod s5_4_1_7_in_flight;
mod s5_4_1_8;
mod s5_4_2_1_1;
mod s5_4_2_1_2;
mod s5_4_3_1;
mod s5_4_3_2;
mod s5_4_3_3;
mod s5_4_3_3_contacts;
mod s5_4_3_4;
mod s5_4_3_ifc;
mod s5_4_3_relaying;
mod s5_4_3_theft;
mod s5_4_4;
mod s5_4_5_1;
mod s5_4_5_1_byes;
mod s5_4_6;
mod s5_4_6_hanging_up;
mod s5_4_8;
mod s6_3;
mod scenarios_calls;
mod scenarios_default_handling;
mod scenarios_diversion;
mod scenarios_isc;
