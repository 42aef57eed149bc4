//! What stands around an S-CSCF: HSS, UE, application server, load generator.

pub mod aka;
pub mod as_;
pub mod digest;
pub mod hss;
pub mod load;
pub mod provisioning;
mod sdp;
pub mod ue;
mod wire;
