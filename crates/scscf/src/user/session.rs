//! TS 24.229 §5.4.4, §5.4.6 — sessions: the record of a dialog that an INVITE made, and requests in it.
//!
//! A record holds just what either side can be released by. It is saved when the session begins, when it is refreshed and when
//! it ends.

mod farewell;
mod record;

pub(crate) use farewell::Farewell;
pub(crate) use record::ACK_WITHIN;
pub use record::{Party, Session};

use super::chain::{Initial, Stage};
use super::entry::Entry;
use super::originating::keeps_session;
use super::relay::{Draft, Passage, Relay};
use super::release::AGAIN_AFTER;
use super::{Step, User, trust};
use crate::event::{SessionId, Side, Source};
use crate::{Effect, Rejection, Span, Timestamp};
pub(crate) use record::contact;
use sip::proxy::{self, BranchId};
use sip::session_timer::{self, Asked, Outcome};
use sip::{Method, Name, NameAddr, Request, RequestEdit, Response, Status, Uri};

const CLAUSE: &str = "TS 24.229 §5.4.6";
/// While a BYE is on its way, which Timer F ends after 64*T1 (RFC 3261 §17.1.2.2), the session is not forgotten for its timer.
const BYE_WITHIN: Span = Span::seconds(40);

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
                further.key == initial.key && (further.depth, other.id) < (initial.depth, relay.id)
            };
            initial.depth == 0 || !early().any(before)
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
        if !initial.is_terminating() && self.has_outer_passage(relay) {
            return;
        }
        let Some(mut session) = self.session_of(relay, branch, response, step) else { return };
        if self.sessions.iter().any(|held| held.is_same(&session)) {
            return;
        }
        session.timer = timer(interval, step.now());
        step.changed();
        step.say("session begins");
        self.sessions.push(session);
    }

    /// A passage nearer to the caller, of the same dialog, is on its way too: it sees the whole chain of servers.
    fn has_outer_passage(&self, inner: &Relay) -> bool {
        let Passage::Initial(passage) = &inner.passage else { return false };
        self.relays.values().any(|outer| match &outer.passage {
            Passage::Initial(initial) => {
                initial.key == passage.key
                    && initial.depth < passage.depth
                    && matches!(initial.stage, Stage::Server(_))
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
            Entry::Dialog(key) => self.held(*key, &draft.request, step)?,
            // Our own BYE passes here once more, on its way through the servers.
            Entry::Release(_) if *draft.request.method() == Method::Bye => None,
            Entry::Release(_)
            | Entry::Binding(_)
            | Entry::Originating
            | Entry::Chain(_)
            | Entry::Terminating => {
                let why = "the dialog does not pass this S-CSCF";
                return Err(Rejection::new(Status::FORBIDDEN, "TS 24.229 §5.4.3.1", why));
            }
        };
        if let Some((id, from)) = held
            && self.is_releasing(id)
        {
            return self.while_releasing(id, from, &draft, step);
        }
        if matches!(draft.request.method(), Method::Invite | Method::Update) {
            step.policy.media.check(self.media_profile_of(held, entry), &draft.request)?;
        }
        let mut edit = proxy::forwarded(&draft.onward);
        let mut outside = false;
        if !trust::includes(&next_hop(&draft.onward)?, step.policy) {
            trust::keep_what_is_inside(&mut edit);
            // Towards the served user the P-CSCF stands at the border.
            if self.comes_from_served(held) {
                outside = true;
                trust::keep_who_is_private(&mut edit, &draft.request);
            }
        }
        let timer = ask_for_timer(&mut edit, &draft.request, step)?;
        let mut relay = self.begin_relay(&draft, Passage::Dialog { session: held, timer }, step);
        relay.outside = outside;
        relay.farewell = self.farewell(entry, held, &draft.request, step);
        step.say(format!("{} in a dialog", draft.request.method()));
        relay.open(edit.finish(), None, Vec::new(), step);
        self.keep_relay(relay, step);
        Ok(())
    }

    /// TS 24.229 §6.3: what the served user of a dialog has subscribed to.
    fn media_profile_of(&self, held: Option<(SessionId, Side)>, entry: &Entry) -> Option<u32> {
        let session = self.sessions.iter().find(|session| held.is_some_and(|(id, _)| session.id == id));
        let early =
            || self.early().map(|(_, initial)| initial).find(|initial| *entry == Entry::Dialog(initial.key));
        let served = session.map(|session| &session.served).or_else(|| early().map(|it| &it.served))?;
        self.registration.set_of(served)?.service_profile(served)?.media_profile
    }

    /// The session that a request belongs to, if one is kept, and the side that sent it.
    fn held(
        &mut self,
        key: u64,
        request: &Request,
        step: &mut Step<'_>,
    ) -> Result<Option<(SessionId, Side)>, Rejection> {
        let number = request.cseq().number;
        let until = step.now() + BYE_WITHIN;
        if let Some((id, from)) = self.session_in(key, request) {
            if let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) {
                let party = session.party_mut(from);
                party.cseq = party.cseq.max(number);
                if let Some((_, ends)) = &mut session.timer
                    && *request.method() == Method::Bye
                    && *ends < until
                {
                    *ends = until;
                    step.changed();
                }
            }
            return Ok(Some((id, from)));
        }
        if !keeps_session(key)
            && !matches!(request.method(), Method::Subscribe | Method::Notify | Method::Refer)
        {
            let why = "a subscription carries nothing else";
            return Err(Rejection::new(Status::FORBIDDEN, "TS 24.229 §5.4.3.1", why));
        }
        if keeps_session(key) && !self.is_early(key, request) {
            // TS 24.229 §5.4.5.1.2: released, or never known.
            let why = "the session has ended";
            return Err(Rejection::new(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST, CLAUSE, why));
        }
        self.count_early(key, request);
        Ok(None)
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

    /// The side that is served speaks, as far as is known.
    fn comes_from_served(&self, held: Option<(SessionId, Side)>) -> bool {
        let Some((id, from)) = held else { return false };
        let session = self.sessions.iter().find(|session| session.id == id);
        session.is_some_and(|session| session.originating == (from == Side::Caller))
    }

    fn is_releasing(&self, id: SessionId) -> bool {
        self.sessions.iter().any(|session| session.id == id && session.release.is_some())
    }

    pub(super) fn session_in(&self, key: u64, request: &Request) -> Option<(SessionId, Side)> {
        let mut held = self.sessions.iter().filter(|session| session.key == key);
        held.find_map(|session| Some((session.id, session.sender(request)?)))
    }

    /// Whether a request belongs to a dialog of an INVITE without final response. One that had a 2xx has a session, or had one.
    fn is_early(&self, key: u64, request: &Request) -> bool {
        let passages = || {
            self.relays.values().filter(|relay| match &relay.passage {
                Passage::Initial(initial) => {
                    let caller = relay.request.from_tag();
                    initial.key == key
                        && relay.request.call_id() == request.call_id()
                        && (request.from_tag() == caller || request.to_tag() == caller)
                }
                Passage::Dialog { .. } => false,
            })
        };
        passages().any(|relay| relay.early().is_some()) && !passages().any(|relay| relay.made_dialog(request))
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
        let method = relay.request.method();
        if *method == Method::Bye {
            return self.session_over(id, "BYE", step);
        }
        if !matches!(method, Method::Invite | Method::Update) {
            return;
        }
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

    /// A final response in a dialog that is no 2xx. A session whose BYE was refused is over all the same (RFC 3261 §15.1.1); where a
    /// server on the way failed, the other side must yet hear of it.
    pub(crate) fn dialog_refused(
        &mut self,
        session: Option<(SessionId, Side)>,
        relay: &Relay,
        response: &Response,
        step: &mut Step<'_>,
    ) {
        let Some((id, from)) = session else { return };
        let status = response.status();
        let asks_again = [Status::UNAUTHORIZED, Status::PROXY_AUTHENTICATION_REQUIRED].contains(&status);
        let gone = status == Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST
            && matches!(relay.request.method(), Method::Invite | Method::Update);
        let bye = *relay.request.method() == Method::Bye;
        if bye && status.class() == 5 && self.tells_past_servers(id, from, AGAIN_AFTER, step) {
            return;
        }
        if (bye && !asks_again) || gone {
            self.session_over(id, "refused BYE", step);
        }
    }

    pub(crate) fn session_over(&mut self, id: SessionId, by: &'static str, step: &mut Step<'_>) {
        let before = self.sessions.len();
        // What is being released ends with the answers to our own BYEs.
        self.sessions.retain(|session| session.id != id || session.release.is_some());
        if self.sessions.len() != before {
            step.changed();
            step.say(format!("session ended by {by}"));
            self.answer_farewells(id, step);
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
        if let Some((id, Side::Caller)) = found
            && let Some(session) = self.sessions.iter_mut().find(|session| session.id == id)
        {
            session.ack_until = None;
            // The caller of a session that is being released can be told now.
            self.release_legs(id, step);
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

/// Where a request goes: to the first Route, else to the Request-URI.
pub(crate) fn next_hop(request: &Request) -> Result<Uri, Rejection> {
    let Some(route) = request.values(Name::Route).next() else { return Ok(request.uri().clone()) };
    let next = NameAddr::parse(&route).map_err(|error| {
        Rejection::new(Status::BAD_REQUEST, "RFC 3261 §20.34", format!("Route: {}", error.0))
    })?;
    Ok(next.uri)
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
