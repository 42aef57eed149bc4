//! The S-CSCF as a value: the procedures of TS 24.229 §5.4 over one private user identity.

pub mod aka;
pub mod cx;
pub mod effect;
pub mod event;
pub mod gruu;
pub mod identity;
pub mod ifc;
pub mod locate;
pub mod media;
pub mod moment;
pub mod policy;
pub mod profile;
pub mod rejection;
pub mod sdp;
pub mod token;
pub mod user;
pub mod view;

pub use effect::{Effect, Outcome, Save, Told};
pub use event::{
    AsId, AskTx, AttemptId, CxPurpose, CxTx, Event, Purpose, RelayId, Reply, ServerTx, SessionId,
    SharedContact, Side, Source, SubscriptionId, Trigger,
};
pub use identity::{Impi, Impu};
pub use locate::{Located, locate};
pub use moment::{Moment, Seed, Span, Timestamp};
pub use policy::Policy;
pub use rejection::{Rejection, Remedy};
pub use user::{Summary, User};
