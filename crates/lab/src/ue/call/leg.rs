//! One call of a UE as a task: what comes to it, one after the other, and what it does when a time has come.

use super::{
    super::{
        Answering, Error, Happening, Inner,
        asked::Asked,
        message::{Draft, Incoming},
    },
    CallEvent, End, Fault, Headers, Received, Record, State,
    callee::Invited,
    caller::Inviting,
    dialog::Dialog,
    session_timer::SessionTimer,
};
use crate::{
    sdp::Session,
    wire::{self, Heard, Key},
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

/// What comes to a call.
pub(in super::super) enum Input {
    /// A request within the dialog.
    Asked(Asked),
    /// An ACK to a 2xx of ours.
    Ack(Incoming),
    /// The CANCEL of an INVITE that is not answered yet.
    Cancelled(Key, Incoming),
    /// The ACK to a 2xx of ours never came.
    Unacknowledged(Key),
    /// What came of a request of ours.
    Heard(Purpose, String, Heard),
    /// Whoever holds the [`super::Call`] wants something.
    Order(Order),
}

/// What somebody wants of a call.
pub(in super::super) struct Order {
    pub(super) wish: Wish,
    pub(super) done: oneshot::Sender<Result<u16, Error>>,
}

pub(super) enum Wish {
    Answer,
    Reject(u16),
    Cancel,
    HangUp(Option<String>),
    Reinvite,
    Update,
    Info(String),
}

/// Why a request of ours was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Purpose {
    Invite,
    Prack,
    Bye,
    /// BYE to a branch answered after another one.
    Surplus,
    Reinvite,
    Update,
    Info,
}

/// What is done when its time comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The ringing is over.
    RangLong,
    HangUp,
    /// A reliable response without PRACK goes out again.
    RingAgain,
    /// The session is refreshed.
    Refresh,
    /// Nobody refreshed the session.
    Expire,
    /// A re-INVITE that met another one is tried again.
    Retry,
    Forget,
}

/// The part that differs between the two sides.
pub(super) enum Role {
    Caller(Inviting),
    Callee(Invited),
}

pub(super) struct Leg {
    pub(super) ue: Arc<Inner>,
    pub(super) peer: String,
    mailbox: mpsc::UnboundedReceiver<Input>,
    pub(super) back: mpsc::UnboundedSender<Input>,
    record: watch::Sender<Record>,
    pub(super) role: Role,
    pub(super) how: Answering,
    pub(super) dialog: Dialog,
    pub(super) session: Session,
    pub(super) timer: Option<SessionTimer>,
    /// Whether the far side can take UPDATE.
    pub(super) updates: bool,
    agenda: Vec<(Instant, Due)>,
    /// ACKs by the branch of their INVITE and the tag of who answered, for a 2xx that comes again.
    pub(super) acks: HashMap<(String, String), Vec<u8>>,
    /// Who waits for the outcome of a request.
    pub(super) waiting: HashMap<Purpose, oneshot::Sender<Result<u16, Error>>>,
    /// Requests of ours without final response.
    pub(super) outstanding: HashSet<Purpose>,
    /// A BYE to send once the dialog is confirmed.
    pub(super) bye_wanted: Option<Option<String>>,
    /// CSeq of re-INVITEs of the far side that wait for their ACK.
    pub(super) reinvited: Vec<(Key, u32)>,
    pub(super) retried: bool,
    over: bool,
}

/// What a leg is made of besides its role.
pub(super) struct Parts {
    pub(super) ue: Arc<Inner>,
    pub(super) peer: String,
    pub(super) dialog: Dialog,
    pub(super) how: Answering,
    pub(super) mailbox: mpsc::UnboundedReceiver<Input>,
    pub(super) back: mpsc::UnboundedSender<Input>,
    pub(super) record: watch::Sender<Record>,
}

impl Leg {
    pub(super) fn new(parts: Parts, role: Role) -> Self {
        let session = Session::new(parts.ue.local.ip());
        let Parts { ue, peer, dialog, how, mailbox, back, record } = parts;
        Self {
            ue,
            peer,
            mailbox,
            back,
            record,
            role,
            how,
            dialog,
            session,
            timer: None,
            updates: false,
            agenda: Vec::new(),
            acks: HashMap::new(),
            waiting: HashMap::new(),
            outstanding: HashSet::new(),
            bye_wanted: None,
            reinvited: Vec::new(),
            retried: false,
            over: false,
        }
    }

    /// Runs until the call is over, and a while longer: what comes after the end is seen, too.
    pub(super) async fn run(mut self) {
        match &self.role {
            Role::Caller(_) => self.invite(),
            Role::Callee(_) => self.invited(),
        }
        while !self.over {
            let due = self.agenda.iter().map(|(at, _)| *at).min();
            let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                input = self.mailbox.recv() => match input {
                    Some(input) => self.take(input),
                    None => break,
                },
                () = sleep_until(due) => self.due(),
            }
        }
        self.ue.legs.forget(&self.dialog.local_tag);
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Asked(asked) => self.asked(&asked),
            Input::Ack(ack) => self.acknowledged(&ack),
            Input::Cancelled(of, cancel) => self.cancelled(&of, &cancel),
            Input::Unacknowledged(of) => self.unacknowledged(&of),
            Input::Heard(purpose, branch, heard) => self.heard(purpose, branch, heard),
            Input::Order(order) => self.ordered(order),
        }
    }

    fn due(&mut self) {
        let now = Instant::now();
        let Some(at) = self.agenda.iter().position(|(at, _)| *at <= now) else { return };
        match self.agenda.swap_remove(at).1 {
            Due::RangLong => self.rang_long(),
            Due::HangUp => self.bye(None),
            Due::RingAgain => self.ring_again(),
            Due::Refresh => self.refresh(),
            Due::Expire => {
                self.fault(Fault::Expired);
                self.bye(Some("SIP;cause=408;text=\"Session expired\"".into()));
            }
            Due::Retry => self.reinvite(),
            Due::Forget => self.over = true,
        }
    }

    /// Does something later, and not earlier planned ones of its kind.
    pub(super) fn later(&mut self, delay: Duration, due: Due) {
        self.never(due);
        self.agenda.push((Instant::now() + delay, due));
    }

    pub(super) fn never(&mut self, due: Due) {
        self.agenda.retain(|(_, other)| *other != due);
    }

    pub(super) fn state(&self) -> State {
        self.record.borrow().state
    }

    pub(super) fn is_over(&self) -> bool {
        self.state() == State::Ended
    }

    pub(super) fn has_come(&self, method: &str, cseq: u32) -> bool {
        self.record.borrow().of(method).any(|received| received.cseq == cseq)
    }

    pub(super) fn bye_came(&self) -> bool {
        self.record.borrow().byes() > 0
    }

    pub(super) fn note(&self, event: CallEvent) {
        self.record.send_modify(|record| record.note(&event));
        let (call_id, peer) = (self.dialog.call_id.clone(), self.peer.clone());
        self.ue.tell(Happening::Call { call_id, peer, event });
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.note(CallEvent::Fault(fault));
    }

    /// Notes a request that came and what was said to it.
    pub(super) fn noted(&self, request: &Incoming, status: u16) {
        let method = request.method().map(|method| method.to_string()).unwrap_or_default();
        let reason = Some(request.value("Reason")).filter(|reason| !reason.is_empty());
        let (uri, headers) = (request.uri().to_owned(), Headers(request.lines()));
        let cseq = request.cseq();
        self.note(CallEvent::Received(Received { method, cseq, reason, status, uri, headers }));
    }

    /// The final response to the INVITE, sent or received.
    pub(super) fn settled(&self, status: u16) {
        self.record.send_modify(|record| record.status = Some(status));
    }

    /// The same, with what was in it.
    pub(super) fn settled_by(&self, response: &Incoming) {
        self.settled(response.status().unwrap_or(0));
        self.record.send_modify(|record| record.answer = Headers(response.lines()));
    }

    /// It is over, unless it was already.
    pub(super) fn end(&mut self, end: End) {
        if self.is_over() {
            return;
        }
        self.agenda.clear();
        self.note(CallEvent::Ended(end));
        // What had to wait for something else will not be sent any more.
        let (sent, unsent): (HashMap<_, _>, HashMap<_, _>) =
            self.waiting.drain().partition(|(purpose, _)| self.outstanding.contains(purpose));
        self.waiting = sent;
        for done in unsent.into_values() {
            let _ = done.send(Err(Error::NotNow(State::Ended)));
        }
        let linger = self.ue.config.timers.longest();
        self.later(linger, Due::Forget);
    }

    /// Sends a request; its outcome comes back as [`Input::Heard`]. Its branch.
    pub(super) fn send(&mut self, purpose: Purpose, draft: &Draft) -> String {
        let (back, branch) = (self.back.clone(), wire::branch());
        let name = branch.clone();
        self.outstanding.insert(purpose);
        self.ue.launch(&branch, draft, move |heard| {
            let _ = back.send(Input::Heard(purpose, name.clone(), heard));
        });
        branch
    }

    /// Tells who waits for it how a request ended.
    pub(super) fn resolve(&mut self, purpose: Purpose, outcome: Result<u16, Error>) {
        if let Some(done) = self.waiting.remove(&purpose) {
            let _ = done.send(outcome);
        }
    }

    /// Starts the timer that a 2xx set.
    pub(super) fn time(&mut self, timer: Option<SessionTimer>) {
        self.timer = timer;
        self.never(Due::Refresh);
        self.never(Due::Expire);
        if let Some(timer) = timer {
            self.later(timer.due(), if timer.refresher { Due::Refresh } else { Due::Expire });
        }
    }
}
