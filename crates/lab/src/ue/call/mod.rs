//! TS 24.229 §5.1.2A, §5.1.3, §5.1.4 — calls of a UE: each is a task of its own, and this is the handle on it.

mod callee;
mod caller;
mod dialog;
mod leg;
mod legs;
mod orders;
mod record;
mod session_timer;
mod within;

pub use record::{CallEvent, End, Fault, Headers, Received, Record, State};

pub(super) use leg::Input;
pub(super) use legs::Legs;

use super::{Error, message::Incoming};
use leg::{Order, Wish};
use std::{fmt, sync::Arc};
use tokio::sync::{mpsc, oneshot, watch};

/// How a call is made.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Whom to call: a SIP or tel URI.
    pub to: String,
    /// Session interval asked for, in seconds (RFC 4028).
    pub session_expires: Option<u32>,
    /// Takes provisional responses reliably (RFC 3262).
    pub reliable: bool,
    /// Privacy, as `id`; then From is anonymous.
    pub privacy: Option<String>,
    /// Leaves the offer to the called side.
    pub late_offer: bool,
    /// Further headers of the INVITE.
    pub headers: Vec<(String, String)>,
}

impl Dial {
    /// An ordinary call.
    pub fn to(uri: &str) -> Self {
        Self {
            to: uri.to_owned(),
            session_expires: None,
            reliable: false,
            privacy: None,
            late_offer: false,
            headers: Vec::new(),
        }
    }
}

/// A call, made or received. Clones are the same call; it goes on when all are dropped.
#[derive(Clone)]
pub struct Call {
    orders: mpsc::UnboundedSender<Input>,
    record: watch::Receiver<Record>,
    facts: Arc<Facts>,
    read: usize,
}

/// What never changes about a call.
#[derive(Debug)]
struct Facts {
    call_id: String,
    peer: String,
    /// An INVITE that came; one that was made is written later.
    invite: Option<Incoming>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("facts", &self.facts)
            .field("state", &self.record.borrow().state)
            .finish()
    }
}

impl Call {
    /// Call-ID.
    pub fn call_id(&self) -> &str {
        &self.facts.call_id
    }

    /// Whom it is with: the URI called, or the identity of the caller.
    pub fn peer(&self) -> &str {
        &self.facts.peer
    }

    /// Values of the header lines of that name in an INVITE that came.
    pub fn header(&self, name: &str) -> Vec<String> {
        self.facts.invite.as_ref().map(|invite| invite.values(name)).unwrap_or_default()
    }

    /// Request-URI of an INVITE that came.
    pub fn request_uri(&self) -> Option<&str> {
        self.facts.invite.as_ref().map(Incoming::uri)
    }

    /// What is known of it now.
    pub fn record(&self) -> Record {
        self.record.borrow().clone()
    }

    /// Waits until `reached` holds; [`Error::Stopped`] if that will never be.
    pub async fn until(&mut self, mut reached: impl FnMut(&Record) -> bool) -> Result<Record, Error> {
        let found = self.record.wait_for(|record| reached(record)).await;
        found.map(|record| record.clone()).map_err(|_| Error::Stopped)
    }

    /// The next thing that happened to it; `None` when nothing will any more.
    pub async fn next(&mut self) -> Option<CallEvent> {
        let read = self.read;
        // What happened before the task ended can still be read.
        let _ = self.record.wait_for(|record| record.events.len() > read).await;
        let event = self.record.borrow().events.get(read).cloned()?;
        self.read += 1;
        Some(event)
    }

    /// Waits until it rings, or goes on from there.
    pub async fn ringing(&mut self) -> Result<(), Error> {
        let record = self.until(|record| record.state != State::Setup).await?;
        expect(&record, State::Ended, false)
    }

    /// Waits until the dialog is confirmed; [`Error::Refused`] with the final response if it never is.
    pub async fn established(&mut self) -> Result<(), Error> {
        let record = self.until(|record| matches!(record.state, State::Established | State::Ended)).await?;
        expect(&record, State::Established, true)
    }

    /// Waits until it is over.
    pub async fn ended(&mut self) -> Result<End, Error> {
        let record = self.until(|record| record.state == State::Ended).await?;
        record.end.ok_or(Error::Stopped)
    }

    /// Gives up a call that is not answered yet; the final status of the INVITE: 487, or 200 if the answer was faster,
    /// and then the call is released.
    pub async fn cancel(&self) -> Result<u16, Error> {
        self.order(Wish::Cancel).await
    }

    /// Sends BYE, as soon as that is allowed; a call that is not answered yet is cancelled, or rejected with 480. The status
    /// of the answer to BYE, or of the INVITE.
    pub async fn hang_up(&self) -> Result<u16, Error> {
        self.order(Wish::HangUp(None)).await
    }

    /// Sends BYE with a Reason.
    pub async fn hang_up_because(&self, reason: &str) -> Result<u16, Error> {
        self.order(Wish::HangUp(Some(reason.to_owned()))).await
    }

    /// Sends a re-INVITE with a new offer; the status of its answer.
    pub async fn reinvite(&self) -> Result<u16, Error> {
        self.order(Wish::Reinvite).await
    }

    /// Sends UPDATE with a new offer; the status of its answer.
    pub async fn update(&self) -> Result<u16, Error> {
        self.order(Wish::Update).await
    }

    /// Sends INFO; the status of its answer.
    pub async fn info(&self, body: &str) -> Result<u16, Error> {
        self.order(Wish::Info(body.to_owned())).await
    }

    /// Answers a call that came.
    pub async fn answer(&self) -> Result<u16, Error> {
        self.order(Wish::Answer).await
    }

    /// Rejects a call that came.
    pub async fn reject(&self, status: u16) -> Result<u16, Error> {
        self.order(Wish::Reject(status)).await
    }

    async fn order(&self, wish: Wish) -> Result<u16, Error> {
        let (done, outcome) = oneshot::channel();
        self.orders.send(Input::Order(Order { wish, done })).map_err(|_| Error::Stopped)?;
        outcome.await.map_err(|_| Error::Stopped)?
    }
}

/// Whether the call is, or is not, in that state; else why.
fn expect(record: &Record, state: State, wanted: bool) -> Result<(), Error> {
    if (record.state == state) == wanted {
        return Ok(());
    }
    Err(match (record.status, &record.end) {
        (Some(status @ 300..), _) => Error::refused_with(status),
        (_, Some(End::NoAnswer)) => Error::NoAnswer,
        _ => Error::NotNow(record.state),
    })
}
