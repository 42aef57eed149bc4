//! RFC 3261 §17 — transactions, with the Accepted states of RFC 6026.
//!
//! A [`Table`] holds the four machines of the RFC, finds the one a message belongs to, and says in [`Output`]s what goes on
//! the wire and what its user must hear. It owns no socket, clock or chance: the caller brings messages with the [`Flow`]
//! they came on, the [`Tick`] of every call, and a seed. Every request that reaches the user is answered exactly once: by
//! the user, or by the table when the user stays silent too long.

mod client;
mod client_invite;
mod client_non_invite;
mod flow;
mod key;
mod server;
mod server_invite;
mod server_non_invite;
mod slots;
mod step;
mod table;
mod timers;

pub(crate) use key::mark_of;

pub use flow::{Flow, reconnect_target, response_flow};
pub use table::Table;
pub use timers::{Tick, Timers};

use crate::{Request, Response};
use bytes::Bytes;

/// A server transaction, as long as it lives; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u64);

/// A client transaction, named by the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What the table asks of its surroundings, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Put these octets on the wire.
    Transmit {
        /// Where.
        flow: Flow,
        /// What.
        bytes: Bytes,
    },
    /// A new request for the user, who must answer it with [`Table::respond`].
    Request {
        /// Its transaction.
        id: ServerId,
        /// The request; its top Via has `received` and `rport` where due.
        request: Request,
        /// Where it came from.
        flow: Flow,
    },
    /// An ACK to a 2xx: it has no transaction and gets no answer.
    Ack {
        /// The ACK.
        request: Request,
        /// Where it came from.
        flow: Flow,
    },
    /// A CANCEL. The table has answered it: 200, or 481 where no transaction matches.
    Cancel {
        /// The transaction of the CANCEL; `None` when the table was full and answered without one.
        id: Option<ServerId>,
        /// The INVITE to end with 487; `None` when there is none, or it has its final response.
        of: Option<ServerId>,
        /// The CANCEL itself; its Reason (RFC 3326) is worth passing on.
        request: Request,
    },
    /// A response to a request of the user: any provisional one, a final one, or further 2xx to an INVITE.
    Response {
        /// Its transaction.
        id: ClientId,
        /// The response, our Via still on top.
        response: Response,
    },
    /// No final response came in time; the transaction is over.
    TimedOut {
        /// Which.
        id: ClientId,
    },
    /// The request could not be sent; the transaction is over.
    TransportFailed {
        /// Which.
        id: ClientId,
    },
    /// A response that belongs to no transaction.
    StrayResponse(Response),
}

/// The transaction is over, or has its final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the transaction is over")]
pub struct Gone;

/// How much a [`Table`] holds before it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Server transactions; beyond, requests get a stateless 503 with Retry-After.
    pub servers: usize,
    /// Client transactions; beyond, sending fails as if the transport had.
    pub clients: usize,
    /// Shortest and longest Retry-After in seconds; spread over the requests, so they do not come back at once.
    pub retry_after: (u32, u32),
}

impl Default for Limits {
    fn default() -> Self {
        Self { servers: 1 << 20, clients: 1 << 20, retry_after: (5, 15) }
    }
}

/// What a [`Table`] has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that got a stateless 503.
    pub refused: u64,
    /// Requests the user never answered; the table sent 500.
    pub abandoned: u64,
    /// Retransmitted requests absorbed.
    pub absorbed: u64,
    /// Requests and responses sent again by a timer.
    pub retransmitted: u64,
    /// Client transactions without a final response in time.
    pub timed_out: u64,
    /// Client transactions that failed with their transport, or at the limit.
    pub failed: u64,
    /// Responses of no transaction.
    pub stray: u64,
}

/// What goes into the Via of a request the table sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViaTemplate {
    /// Host and port where responses reach us, as they stand in Via.
    pub sent_by: Box<str>,
    /// Ask for responses to the source port (RFC 3581).
    pub rport: bool,
    /// Hash for loop detection, appended to the branch (RFC 3261 §16.6).
    pub mark: Option<u64>,
}

impl ViaTemplate {
    /// Host and port, nothing else.
    pub fn new(sent_by: &str) -> Self {
        Self { sent_by: sent_by.into(), rport: false, mark: None }
    }
}
