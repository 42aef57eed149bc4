//! TS 24.229 §5.4.4, §5.4.6 — sessions: the record of a dialog that an INVITE made, and requests in it.
//!
//! A record holds just what either side can be released by. It is saved when the session begins, when it is refreshed and when
//! it ends.

use super::chain::{Initial, Stage};
use super::entry::Entry;
use super::originating::keeps_session;
use super::relay::{Draft, Passage, Relay};
use super::release::Release;
use super::{Step, User};
use crate::event::{SessionId, Side, Source};
use crate::token::TokenKind;
use crate::{Effect, Impu, Rejection, Span, Timestamp};
use serde::{Deserialize, Serialize};
use sip::proxy::{self, BranchId};
use sip::session_timer::{self, Asked, Outcome};
use sip::{Contacts, Headers, Method, Name, NameAddr, Request, RequestEdit, Response, Status, Uri};

const CLAUSE: &str = "TS 24.229 §5.4.6";
/// 64*T1: an ACK that has not come by then does not come (RFC 3261 §17.2.1, Timer H).
const ACK_WITHIN: Span = Span::seconds(32);
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

    /// The side that sent a request of this dialog.
    fn sender(&self, request: &Request) -> Option<Side> {
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
    /// Sessions that are being set up.
    pub(crate) fn early_sessions(&self) -> usize {
        self.early().count()
    }

    /// The first passages of INVITEs that have no final response; where that is gone, the next one stands for the call.
    pub(crate) fn early(&self) -> impl Iterator<Item = (&Relay, &Initial)> {
        let early = || self.relays.values().filter_map(|relay| Some((&**relay, relay.early()?)));
        early().filter(move |(relay, initial)| {
            let before = |(other, further): (&Relay, &Initial)| {
                further.key == initial.key && (further.returned, other.id) < (initial.returned, relay.id)
            };
            !initial.returned || !early().any(before)
        })
    }

    /// A 2xx to an initial INVITE: the session has begun, and is saved before the caller hears of it.
    pub(crate) fn session_begins(
        &mut self,
        relay: &Relay,
        branch: BranchId,
        response: &mut Response,
        step: &mut Step<'_>,
    ) {
        let Passage::Initial(initial) = &relay.passage else { return };
        let interval = run_timer(response, &initial.timer);
        if !initial.is_terminating() && self.has_outer_passage(relay, initial.key) {
            return;
        }
        let Some(mut session) = self.session_of(relay, branch, response, step) else { return };
        let same = |held: &Session| {
            held.key == session.key
                && held.call_id == session.call_id
                && held.caller.address.tag() == session.caller.address.tag()
                && held.callee.address.tag() == session.callee.address.tag()
        };
        if self.sessions.iter().any(same) {
            return;
        }
        session.timer = timer(interval, step.now());
        step.changed();
        step.say("session begins");
        self.sessions.push(session);
    }

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
        let token = step.policy.tokens.mint(TokenKind::RecordRoute, &self.impi, initial.key);
        let recorded = response.addresses(Name::RecordRoute).unwrap_or_default();
        let is_own = |address: &NameAddr| address.uri.user() == Some(&token);
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

    /// A passage nearer to the caller, of the same dialog, is on its way too: it sees the whole chain of servers.
    fn has_outer_passage(&self, inner: &Relay, key: u64) -> bool {
        self.relays.values().any(|outer| match &outer.passage {
            Passage::Initial(initial) => {
                initial.key == key
                    && matches!(initial.stage, Stage::Server(_))
                    && outer.id != inner.id
                    && outer.request.call_id() == inner.request.call_id()
                    && outer.request.from_tag() == inner.request.from_tag()
            }
            Passage::Dialog { .. } => false,
        })
    }

    /// A request in a dialog follows its route set (TS 24.229 §5.4.6.1); no services.
    pub(crate) fn in_dialog(
        &mut self,
        draft: Draft,
        entry: &Entry,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let held = match entry {
            Entry::Dialog(key) => self.held(*key, &draft.request)?,
            Entry::Release if *draft.request.method() == Method::Bye => None,
            Entry::Release
            | Entry::Binding(_)
            | Entry::Originating
            | Entry::Chain(_)
            | Entry::Terminating => {
                let why = "the dialog does not pass this S-CSCF";
                return Err(Rejection::new(Status::FORBIDDEN, "TS 24.229 §5.4.3.1", why));
            }
        };
        if let Some((index, from)) = held
            && self.sessions[index].release.is_some()
        {
            return self.while_releasing(index, from, &draft, step);
        }
        let session = held.map(|(index, from)| (self.sessions[index].id, from));
        let mut edit = proxy::forwarded(&draft.onward);
        let timer = ask_for_timer(&mut edit, &draft.request, step)?;
        let mut relay = self.begin_relay(&draft, Passage::Dialog { session, timer }, step);
        step.say(format!("{} in a dialog", draft.request.method()));
        relay.open(edit.finish(), None, Vec::new(), step);
        self.keep_relay(relay);
        Ok(())
    }

    /// The session that a request belongs to, if one is kept, and the side that sent it.
    fn held(&mut self, key: u64, request: &Request) -> Result<Option<(usize, Side)>, Rejection> {
        let number = request.cseq().number;
        if let Some((index, from)) = self.session_in(key, request) {
            let party = self.sessions[index].party_mut(from);
            party.cseq = party.cseq.max(number);
            return Ok(Some((index, from)));
        }
        if keeps_session(key) && !self.is_early(key) {
            // TS 24.229 §5.4.5.1.2: released, or never known.
            let why = "the session has ended";
            return Err(Rejection::new(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST, CLAUSE, why));
        }
        self.count_early(key, request);
        Ok(None)
    }

    fn session_in(&self, key: u64, request: &Request) -> Option<(usize, Side)> {
        let held = self.sessions.iter().enumerate().filter(|(_, session)| session.key == key);
        held.filter_map(|(index, session)| Some((index, session.sender(request)?))).next()
    }

    /// Requests in a dialog whose INVITE has no final response count too: what ends the session has a higher CSeq.
    fn count_early(&mut self, key: u64, request: &Request) {
        for relay in self.relays.values_mut() {
            let Passage::Initial(initial) = &relay.passage else { continue };
            if initial.key == key && relay.request.call_id() == request.call_id() {
                let number = request.cseq().number;
                let used = match request.from_tag() == relay.request.from_tag() {
                    true => &mut relay.used.0,
                    false => &mut relay.used.1,
                };
                *used = number.max(*used);
            }
        }
    }

    fn is_early(&self, key: u64) -> bool {
        self.relays.values().any(|relay| match &relay.passage {
            Passage::Initial(initial) => initial.key == key,
            Passage::Dialog { .. } => false,
        })
    }

    /// A 2xx in a dialog: target and timer are refreshed, or the session is over.
    pub(crate) fn dialog_answered(
        &mut self,
        session: Option<(SessionId, Side)>,
        relay: &Relay,
        response: &mut Response,
        step: &mut Step<'_>,
    ) {
        let Some((id, from)) = session else { return };
        match relay.request.method() {
            Method::Bye => self.session_over(id, "BYE", step),
            Method::Invite | Method::Update => {
                let Passage::Dialog { timer: asked, .. } = &relay.passage else { return };
                let interval = run_timer(response, asked);
                let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) else { return };
                if let Some(target) = contact(&relay.request) {
                    session.party_mut(from).target = target;
                }
                if let Some(target) = contact(response) {
                    session.party_mut(from.other()).target = target;
                }
                session.timer = timer(interval, step.now());
                step.changed();
            }
            _ => {}
        }
    }

    /// A final response in a dialog that is no 2xx. A session whose BYE was refused is over all the same (RFC 3261 §15.1.1).
    pub(crate) fn dialog_refused(
        &mut self,
        session: Option<(SessionId, Side)>,
        relay: &Relay,
        response: &Response,
        step: &mut Step<'_>,
    ) {
        let Some((id, _)) = session else { return };
        let asks_again =
            [Status::UNAUTHORIZED, Status::PROXY_AUTHENTICATION_REQUIRED].contains(&response.status());
        let gone = response.status() == Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST
            && matches!(relay.request.method(), Method::Invite | Method::Update);
        if (*relay.request.method() == Method::Bye && !asks_again) || gone {
            self.session_over(id, "refused BYE", step);
        }
    }

    fn session_over(&mut self, id: SessionId, by: &'static str, step: &mut Step<'_>) {
        let before = self.sessions.len();
        // What is being released ends with the answers to our own BYEs.
        self.sessions.retain(|session| session.id != id || session.release.is_some());
        if self.sessions.len() != before {
            step.changed();
            step.say(format!("session ended by {by}"));
        }
    }

    /// RFC 3261 §16.11: the ACK to a 2xx goes along the route set, without a transaction.
    pub(crate) fn acknowledged(&mut self, request: &Request, source: Source, step: &mut Step<'_>) {
        let Ok((Entry::Dialog(key), onward)) = super::entry::read(request, source, &self.impi, step.policy)
        else {
            return step.say("an ACK that belongs to no session");
        };
        let found = self.session_in(key, request);
        if found.is_none() && keeps_session(key) {
            return step.say("an ACK of a session that has ended");
        }
        if proxy::validate(request, &[]).is_err() {
            return step.say("an ACK that cannot be forwarded");
        }
        step.say("ACK");
        step.effect(Effect::Pass { request: proxy::forwarded(&onward).finish() });
        if let Some((index, Side::Caller)) = found {
            self.sessions[index].ack_until = None;
            self.release_waiting(index, step);
        }
    }

    /// When a session next needs attention.
    pub(crate) fn sessions_deadline(&self) -> Option<Timestamp> {
        self.sessions.iter().filter_map(Session::deadline).min()
    }

    /// TS 24.229 §5.4.5.3: a session that was not refreshed in time is forgotten.
    pub(crate) fn sessions_due(&mut self, step: &mut Step<'_>) {
        let now = step.now();
        let before = self.sessions.len();
        self.sessions
            .retain(|session| session.release.is_some() || session.timer.is_none_or(|(_, ends)| ends > now));
        if self.sessions.len() != before {
            step.changed();
            step.say("a session was not refreshed in time");
        }
        self.releases_due(step);
    }
}

/// The one Contact of a message.
pub(crate) fn contact(message: &Headers) -> Option<Uri> {
    match message.contacts() {
        Ok(Contacts::List(contacts)) if contacts.len() == 1 => contacts.into_iter().next().map(|one| one.uri),
        Ok(_) | Err(_) => None,
    }
}

/// RFC 4028 §8.1: the session interval of a request that begins or refreshes a session.
pub(crate) fn ask_for_timer(
    edit: &mut RequestEdit,
    request: &Request,
    step: &Step<'_>,
) -> Result<Asked, Rejection> {
    let policy = session_timer::Policy {
        session_expires: step.policy.session.session_expires,
        min_se: step.policy.session.min_se,
    };
    let outcome = session_timer::request(request, &policy)
        .map_err(|malformed| Rejection::new(Status::BAD_REQUEST, "RFC 4028 §4", malformed.to_string()))?;
    outcome.apply(edit);
    match outcome {
        Outcome::Pass(asked) | Outcome::Set { asked, .. } => Ok(asked),
        Outcome::TooSmall { min_se } => {
            let why = "the session interval is too small";
            Err(Rejection::new(Status::SESSION_INTERVAL_TOO_SMALL, "RFC 4028 §8.1", why)
                .with(crate::Remedy::MinSe(min_se)))
        }
    }
}

/// RFC 4028 §8.2: the interval that runs after a 2xx, which is told to the one who asked.
fn run_timer(response: &mut Response, asked: &Asked) -> Option<u32> {
    let answered = session_timer::success(response, asked).ok()?;
    if answered.changes() {
        let mut edit = response.edit();
        answered.apply(&mut edit);
        *response = edit.finish();
    }
    answered.interval
}

fn timer(interval: Option<u32>, now: Timestamp) -> Option<(u32, Timestamp)> {
    interval.map(|interval| (interval, now + Span::seconds(interval.into())))
}
