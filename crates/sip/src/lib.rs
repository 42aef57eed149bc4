//! SIP as values: messages, headers, URIs, transactions, dialogs, proxying, reginfo.
//!
//! A [`Message`] is the octets that came in and an index over them. Accessors read on demand, edits splice, and what nobody
//! edits leaves exactly as it came. Nothing here does input or output, reads a clock or draws a random number.

pub mod builder;
pub mod dialog;
pub mod edit;
pub mod error;
mod fingerprint;
pub mod framing;
pub mod header;
pub mod headers;
#[cfg(feature = "interop")]
pub mod interop;
mod lexis;
pub mod limits;
pub mod message;
pub mod method;
pub mod multipart;
pub mod name;
mod parse;
pub mod preferences;
pub mod proxy;
mod raw;
mod refusal;
pub mod reginfo;
pub mod session_timer;
mod start_line;
pub mod status;
mod top_via;
pub mod transaction;
pub mod uri;
pub mod validate;

pub use builder::{Builder, ResponseBuilder};
pub use dialog::Dialog;
pub use edit::{Edit, RequestEdit, ResponseEdit};
pub use error::{Malformed, ParseError, UriError};
pub use framing::{Frame, Framer};
pub use header::{
    address::{Contacts, NameAddr},
    charging::ChargingVector,
    cseq::CSeq,
    digest::Digest,
    event::{Event, SubscriptionState, Substate},
    params::Params,
    reason::Reason,
    served_user::ServedUser,
    session_expires::SessionExpires,
    via::{Transport, Via},
};
pub use headers::Headers;
pub use message::{Message, Request, Response};
pub use method::Method;
pub use name::Name;
pub use status::Status;
pub use uri::{Scheme, Uri};
