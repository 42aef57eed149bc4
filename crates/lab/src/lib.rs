//! What stands around an S-CSCF: HSS, UE, load generator.

pub mod aka;
pub mod digest;
pub mod hss;
pub mod load;
pub mod provisioning;
mod sdp;
pub mod ue;
mod wire;
