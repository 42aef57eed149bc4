//! RFC 3261 §16 — proxy behaviour as values: what to check in a request, what to change in it, and which of many answers
//! goes back.
//!
//! Nothing here sends, waits or remembers where a request came from: a caller validates a request, opens branches in a
//! [`Context`], tells it what each branch answered, and is told what to forward.

mod best;
mod breadth;
mod context;
mod mark;
mod request;
mod response;
mod route;
mod validate;

pub use breadth::{DEFAULT_BREADTH, TooNarrow, max_breadth, shares};
pub use context::{BranchFailure, BranchId, Context, Heard};
pub use mark::{looped, mark};
pub use request::forwarded;
pub use response::returned;
pub use route::{Arrival, arrival, departure};
pub use validate::{Refused, validate};
