//! TS 24.229 §5.4.4, §5.4.5 — the record of a session: what either side can be released by.

use crate::event::{SessionId, Side};
use crate::user::relay::{Passage, Relay};
use crate::user::release::Release;
use crate::user::{Step, User};
use crate::{Impu, Span, Timestamp};
use serde::{Deserialize, Serialize};
use sip::proxy::BranchId;
use sip::{Contacts, Headers, Name, NameAddr, Request, Response, Uri};

/// 64*T1: an ACK that has not come by then does not come (RFC 3261 §17.2.1, Timer H).
pub(crate) const ACK_WITHIN: Span = Span::seconds(32);
/// A new owner of a user does not know the last CSeqs its former owner saw; it goes on well above them.
const CSEQ_MARGIN: u32 = 1000;

/// One session of the served user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Identifier.
    pub id: SessionId,
    /// What its Record-Route holds.
    pub key: u64,
    /// The served user called, or was called.
    pub originating: bool,
    /// The identity that is served.
    pub served: Impu,
    /// The contact binding of the served user.
    pub binding: Option<u64>,
    /// Call-ID.
    pub call_id: Box<str>,
    /// Who sent the INVITE.
    pub caller: Party,
    /// Who answered it.
    pub callee: Party,
    /// When it was answered.
    pub since: Timestamp,
    /// The session timer (RFC 4028): its interval in seconds, and when it ends.
    pub timer: Option<(u32, Timestamp)>,
    /// It is being released.
    pub release: Option<Release>,
    /// The ACK is awaited until then; not known any more after a takeover.
    #[serde(skip)]
    pub ack_until: Option<Timestamp>,
}

/// One side of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Party {
    /// From or To with its tag.
    pub address: NameAddr,
    /// Its Contact.
    pub target: Uri,
    /// Route set from us to it.
    pub routes: Vec<Box<str>>,
    /// The highest CSeq it used, 0 if it sent no request.
    pub cseq: u32,
}

impl Session {
    pub(crate) const fn party(&self, side: Side) -> &Party {
        match side {
            Side::Caller => &self.caller,
            Side::Callee => &self.callee,
        }
    }

    pub(crate) const fn party_mut(&mut self, side: Side) -> &mut Party {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }

    /// Whether it is of the same dialog, seen by another passage.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.key == other.key
            && self.call_id == other.call_id
            && self.caller.address.tag() == other.caller.address.tag()
            && self.callee.address.tag() == other.callee.address.tag()
    }

    /// Whether a response is one of this dialog.
    pub(crate) fn has(&self, response: &Response) -> bool {
        let tags = [self.caller.address.tag(), self.callee.address.tag()];
        response.call_id() == &*self.call_id
            && (tags == [response.from_tag(), response.to_tag()]
                || tags == [response.to_tag(), response.from_tag()])
    }

    /// The side that sent a request of this dialog.
    pub(super) fn sender(&self, request: &Request) -> Option<Side> {
        if request.call_id() != &*self.call_id {
            return None;
        }
        let (from, to) = (request.from_tag().unwrap_or(""), request.to_tag().unwrap_or(""));
        let (caller, callee) =
            (self.caller.address.tag().unwrap_or(""), self.callee.address.tag().unwrap_or(""));
        if from == caller && to == callee {
            Some(Side::Caller)
        } else if from == callee && to == caller {
            Some(Side::Callee)
        } else {
            None
        }
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        match &self.release {
            Some(release) => release.deadline(self.ack_until),
            None => self.timer.map(|(_, ends)| ends),
        }
    }

    /// A takeover: what the former owner saw since the last save is not known.
    pub(crate) const fn resumed(&mut self) {
        self.caller.cseq =
            if self.caller.cseq == 0 { 0 } else { self.caller.cseq.saturating_add(CSEQ_MARGIN) };
        self.callee.cseq =
            if self.callee.cseq == 0 { 0 } else { self.callee.cseq.saturating_add(CSEQ_MARGIN) };
    }
}

impl User {
    /// The record of the dialog that `response` makes.
    pub(crate) fn session_of(
        &self,
        relay: &Relay,
        branch: BranchId,
        response: &Response,
        step: &mut Step<'_>,
    ) -> Option<Session> {
        let Passage::Initial(initial) = &relay.passage else { return None };
        let request = &relay.request;
        let originating = !initial.is_terminating();
        let recorded = response.addresses(Name::RecordRoute).unwrap_or_default();
        let is_own = |address: &NameAddr| {
            address.uri.user().is_some_and(|user| initial.recorded.as_deref() == Some(user))
        };
        // Nearest to the served user: behind all application servers, whose passages stand between the two.
        let own = match originating {
            true => recorded.iter().rposition(is_own),
            false => recorded.iter().position(is_own),
        };
        let text = |address: &NameAddr| -> Box<str> { address.to_string().into() };
        let (to_callee, to_caller) = match own {
            Some(at) => (
                recorded[..at].iter().rev().map(text).collect(),
                recorded[at + 1..].iter().map(text).collect(),
            ),
            None => (
                Vec::new(),
                request.addresses(Name::RecordRoute).unwrap_or_default().iter().map(text).collect(),
            ),
        };
        let known = relay.branches.iter().find(|known| known.id == branch);
        let binding = initial.binding.or_else(|| known.and_then(|branch| branch.binding));
        Some(Session {
            id: SessionId(step.mint()),
            key: initial.key,
            originating,
            served: initial.served.clone(),
            binding,
            call_id: request.call_id().into(),
            caller: Party {
                address: request.from(),
                target: contact(request).unwrap_or_else(|| request.from().uri),
                routes: to_caller,
                cseq: relay.used.0,
            },
            callee: Party {
                address: response.to(),
                target: contact(response).unwrap_or_else(|| request.uri().clone()),
                routes: to_callee,
                cseq: relay.used.1,
            },
            since: step.now(),
            timer: None,
            release: None,
            ack_until: Some(step.now() + ACK_WITHIN),
        })
    }
}

/// The one Contact of a message.
pub(crate) fn contact(message: &Headers) -> Option<Uri> {
    match message.contacts() {
        Ok(Contacts::List(contacts)) if contacts.len() == 1 => contacts.into_iter().next().map(|one| one.uri),
        Ok(_) | Err(_) => None,
    }
}
