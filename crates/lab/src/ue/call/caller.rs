//! RFC 3261 §13.2, §9.1, RFC 3262 §4 — the side that calls.

use super::{
    super::{
        Error, Happening, Inner,
        answering::Answering,
        asked::ALLOW,
        locked,
        message::{Draft, Incoming},
    },
    Call, CallEvent, Dial, End, Facts, State,
    dialog::Dialog,
    leg::{Leg, Parts, Purpose, Role},
    legs::Known,
    session_timer::SessionTimer,
};
use crate::wire::{Heard, Text, text};
use rsip::Method;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// How many branches of a forked call are told apart.
const BRANCHES: usize = 32;

/// An INVITE of ours.
pub(super) struct Inviting {
    dial: Dial,
    branch: String,
    /// Dialogs of provisional responses.
    early: Vec<Dialog>,
    interval: Option<u32>,
    min_se: Option<u32>,
    /// Who waits for the outcome of giving up.
    pub(super) given_up: Option<oneshot::Sender<Result<u16, Error>>>,
    pub(super) cancelled: bool,
}

impl Inner {
    /// Calls somebody.
    pub(in super::super) fn call(this: &Arc<Self>, dial: Dial) -> Result<Call, Error> {
        if this.legs.is_full() {
            return Err(Error::Missed("too many calls at once"));
        }
        let local = this.config.shown(dial.privacy.is_some());
        let dialog = Dialog::calling(local, &dial.to, locked(&this.standing).service_route.clone());
        let (back, mailbox) = mpsc::unbounded_channel();
        let (record, watched) = watch::channel(super::Record::default());
        let facts = Facts { call_id: dialog.call_id.clone(), peer: dial.to.clone(), invite: None };
        let known = Known {
            call_id: dialog.call_id.clone(),
            tag: dialog.local_tag.clone(),
            caller: None,
            mailbox: back.clone(),
            task: None,
        };
        this.legs.add(known);
        let parts = Parts {
            ue: Arc::clone(this),
            peer: dial.to.clone(),
            how: Answering::default(),
            dialog,
            mailbox,
            back: back.clone(),
            record,
        };
        let tag = parts.dialog.local_tag.clone();
        let inviting = Inviting {
            interval: dial.session_expires,
            dial,
            branch: String::new(),
            early: Vec::new(),
            min_se: None,
            given_up: None,
            cancelled: false,
        };
        let task = tokio::spawn(Leg::new(parts, Role::Caller(inviting)).run());
        this.legs.runs(&tag, task.abort_handle());
        Ok(Call { orders: back, record: watched, facts: Arc::new(facts), read: 0 })
    }

    /// What the P-CSCF adds to a request of the UE.
    pub(in super::super) fn by_p_cscf(&self, draft: Draft) -> Draft {
        draft
            .header("P-Asserted-Identity", format!("<{}>", self.config.impu()))
            .header("P-Access-Network-Info", ACCESS)
            .header(
                "P-Charging-Vector",
                format!(
                    "icid-value=\"{:032x}\";icid-generated-at={}",
                    rand::random::<u128>(),
                    self.local.ip()
                ),
            )
    }

    /// Record-Route of the P-CSCF, as a URI; nothing if it does not stay on the path.
    pub(in super::super) fn record_route(&self) -> String {
        if self.config.record_route { self.path() } else { String::new() }
    }
}

/// P-Access-Network-Info of the lab.
pub(super) const ACCESS: &str = "3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=0010100010000001";

impl Leg {
    fn inviting(&mut self) -> Option<&mut Inviting> {
        match &mut self.role {
            Role::Caller(inviting) => Some(inviting),
            Role::Callee(_) => None,
        }
    }

    /// Sends the INVITE.
    pub(super) fn invite(&mut self) {
        let offer = self.session.offer();
        let Role::Caller(inviting) = &self.role else { return };
        let (dial, interval, min_se) = (inviting.dial.clone(), inviting.interval, inviting.min_se);
        let supported = if dial.reliable { "100rel, timer" } else { "timer" };
        let mut draft = self.ue.by_p_cscf(self.dialog.next(Method::Invite));
        if self.ue.config.record_route {
            draft = draft.header("Record-Route", format!("<{}>", self.ue.path()));
        }
        draft = draft
            .header("Contact", format!("<{}>", self.ue.contact()))
            .header("Allow", ALLOW)
            .header("Supported", supported)
            .header("User-Agent", "rollcall-lab");
        if let Some(interval) = interval {
            draft = draft.header("Session-Expires", interval.to_string());
        }
        if let Some(min_se) = min_se {
            draft = draft.header("Min-SE", min_se.to_string());
        }
        if let Some(privacy) = &dial.privacy {
            draft = draft.header("Privacy", privacy);
        }
        for (name, value) in &dial.headers {
            draft = draft.header(name, value);
        }
        draft = draft.describing((!dial.late_offer).then_some(offer));
        if min_se.is_none() {
            self.note(CallEvent::Calling);
        }
        let branch = self.send(Purpose::Invite, &draft);
        if let Some(inviting) = self.inviting() {
            inviting.branch = branch;
        }
    }

    /// Gives up, as soon as that is allowed.
    pub(super) fn give_up(&mut self, reason: Option<String>) {
        let Some(inviting) = self.inviting() else { return };
        inviting.cancelled = true;
        let branch = inviting.branch.clone();
        let further = reason.map(|reason| ("Reason".to_owned(), reason)).into_iter().collect();
        self.ue.wire.cancel(&branch, further);
    }

    pub(super) fn invite_heard(&mut self, branch: &str, heard: Heard) {
        match heard {
            Heard::Provisional(text) => self.read(&text, |leg, response| leg.progressed(response)),
            Heard::Final(text) => {
                let branch = branch.to_owned();
                self.read(&text, |leg, response| leg.invite_answered(&branch, response));
            }
            Heard::Timeout => self.ended_unanswered(),
            Heard::Unreachable(why) => {
                if self.state() == State::Setup {
                    self.ue.tell(Happening::Failed { why: format!("INVITE: {why}") });
                }
                self.ended_unanswered();
            }
        }
    }

    /// Has rsip read a response.
    pub(super) fn read(&mut self, text: &Text, then: impl FnOnce(&mut Self, &Incoming)) {
        match Incoming::read(text) {
            Ok(response) => then(self, &response),
            Err(why) => self.ue.tell(Happening::Unreadable { why: why.to_string() }),
        }
    }

    fn ended_unanswered(&mut self) {
        if let Some(given_up) = self.inviting().and_then(|inviting| inviting.given_up.take()) {
            let _ = given_up.send(Err(Error::NoAnswer));
        }
        self.end(End::NoAnswer);
    }

    /// A provisional response.
    fn progressed(&mut self, response: &Incoming) {
        let status = response.status().unwrap_or(0);
        let tag = response.tag("To");
        if status == 100 || tag.is_empty() {
            return;
        }
        let own = self.ue.record_route();
        let early = self.dialog.answered(response, &own);
        let Some(inviting) = self.inviting() else { return };
        if inviting.early.len() < BRANCHES && inviting.early.iter().all(|dialog| dialog.remote_tag != tag) {
            inviting.early.push(early);
        }
        let rseq = response.value("RSeq").parse::<u32>().ok().filter(|_| response.lists("Require", "100rel"));
        if let Some(rseq) = rseq
            && !self.prack(response, &tag, rseq)
        {
            return;
        }
        self.note(CallEvent::Ringing { status, reliable: rseq.is_some() });
    }

    /// Acknowledges a reliable response; whether it is a new one.
    fn prack(&mut self, response: &Incoming, tag: &str, rseq: u32) -> bool {
        let answer = self.late_answer(response);
        let Some(inviting) = self.inviting() else { return false };
        let Some(early) = inviting.early.iter_mut().find(|dialog| dialog.remote_tag == tag) else {
            return false;
        };
        // RFC 3262 §4: out of order or once more, it is not acknowledged.
        if early.rseq.is_some_and(|last| rseq != last + 1) {
            return false;
        }
        early.rseq = Some(rseq);
        let invite = response.value("CSeq");
        let prack = early.next(Method::PRack).header("RAck", format!("{rseq} {invite}")).describing(answer);
        self.send(Purpose::Prack, &prack);
        true
    }

    /// The answer to an offer that the called side made.
    fn late_answer(&mut self, response: &Incoming) -> Option<String> {
        let late = self.inviting().is_some_and(|inviting| inviting.dial.late_offer);
        let offer = response.session().filter(|_| late)?;
        Some(self.session.answer(&offer))
    }

    fn invite_answered(&mut self, branch: &str, response: &Incoming) {
        let status = response.status().unwrap_or(0);
        match status {
            200..=299 => self.accepted(branch, response, status),
            422 if self.longer(response) => self.invite(),
            _ => self.refused(response, status),
        }
    }

    /// Whether the network named an interval that is worth another try (RFC 4028 §7.3).
    fn longer(&mut self, response: &Incoming) -> bool {
        let Ok(min_se) = response.value("Min-SE").parse::<u32>() else { return false };
        let Some(inviting) = self.inviting() else { return false };
        let longer = inviting.min_se.is_none_or(|before| before < min_se) && !inviting.cancelled;
        if longer {
            inviting.min_se = Some(min_se);
            inviting.interval = inviting.interval.map(|interval| interval.max(min_se));
        }
        longer
    }

    fn refused(&mut self, response: &Incoming, status: u16) {
        self.settled_by(response);
        let Some(inviting) = self.inviting() else { return };
        let cancelled = inviting.cancelled && status == 487;
        if let Some(given_up) = inviting.given_up.take() {
            let _ = given_up.send(Ok(status));
        }
        self.end(if cancelled { End::Cancelled { reason: None } } else { End::Refused { status } });
    }

    /// A 2xx: the first one confirms the call; one of another branch is acknowledged and released.
    fn accepted(&mut self, branch: &str, response: &Incoming, status: u16) {
        let tag = response.tag("To");
        let name = (branch.to_owned(), tag.clone());
        if let Some(ack) = self.acks.get(&name) {
            self.ue.wire.pass(ack.clone(), self.ue.target());
            return;
        }
        let own = self.ue.record_route();
        let before = |leg: &mut Self| {
            let inviting = leg.inviting()?;
            inviting.early.iter().find(|dialog| dialog.remote_tag == tag).cloned()
        };
        let base = before(self).unwrap_or_else(|| self.dialog.clone());
        let cseq = response.cseq();
        let mut dialog = base.answered(response, &own);
        let answer = self.late_answer(response);
        let first = matches!(self.state(), State::Setup | State::Ringing);
        let ack = self.ue.acknowledge(&dialog.ack(cseq).describing(answer));
        if self.acks.len() < BRANCHES {
            self.acks.insert(name, ack);
        }
        if !first {
            self.note(CallEvent::AnsweredTwice);
            let bye = dialog.next(Method::Bye);
            self.send(Purpose::Surplus, &bye);
            return;
        }
        self.dialog = dialog;
        self.updates = response.lists("Allow", "UPDATE");
        self.settled_by(response);
        self.note(CallEvent::Established);
        self.time(SessionTimer::of_response(response));
        let Some(inviting) = self.inviting() else { return };
        let (cancelled, given_up) = (inviting.cancelled, inviting.given_up.take());
        if let Some(given_up) = given_up {
            let _ = given_up.send(Ok(status));
        }
        if cancelled {
            self.bye(None);
        }
    }

    /// The dialog that a tag belongs to while nothing is confirmed.
    pub(super) fn early(&mut self, tag: &str) -> Option<&mut Dialog> {
        self.inviting()?.early.iter_mut().find(|dialog| dialog.remote_tag == tag)
    }
}

/// The identity of who calls: P-Asserted-Identity, else From.
pub(super) fn caller(invite: &Incoming) -> String {
    let asserted = invite.elements("P-Asserted-Identity").into_iter().next();
    text::uri(&asserted.unwrap_or_else(|| invite.value("From"))).to_owned()
}
