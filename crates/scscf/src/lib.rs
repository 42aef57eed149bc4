//! The S-CSCF as a value: the procedures of TS 24.229 §5.4 over one private user identity.

pub mod cx;
pub mod identity;
pub mod moment;
pub mod profile;

pub use identity::{Impi, Impu};
pub use moment::{Moment, Seed, Span, Timestamp};
