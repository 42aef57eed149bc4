//! TS 24.229 §5.4.5.1 — the S-CSCF ends sessions: CANCEL and a final response for those being set up, BYE both ways for the others.
//!
//! What each side was told, and what it answered, is kept as a receipt.

use super::chain::Stage;
use super::relay::{Draft, Passage, Relay};
use super::session::{Party, Session};
use super::{Step, User};
use crate::event::{SessionId, Side};
use crate::token::TokenKind;
use crate::{Effect, Impi, Impu, Policy, Purpose, Rejection, Reply, Span, Timestamp};
use serde::{Deserialize, Serialize};
use sip::proxy::BranchId;
use sip::{Dialog, Method, Name, NameAddr, Response, Status};

const CLAUSE: &str = "TS 24.229 §5.4.5.1";
/// Tells our own BYEs from those of others, in the Route values of our further passages.
const OWN_BYE: &[u8] = b"BYE";
/// A BYE that got no answer is sent again after so long.
const AGAIN_AFTER: Span = Span::seconds(2);
/// Receipts kept for one user.
const RECEIPTS: usize = 16;
/// RFC 3261 §8.1.1.5: the first CSeq is less than 2^31; chosen low enough to leave room.
const FIRST_CSEQ_BELOW: u64 = 1 << 30;

/// Why sessions are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseCause {
    /// The user deregistered.
    Deregistered,
    /// The contact was replaced.
    ContactReplaced,
    /// The registration expired.
    Expired,
    /// No re-authentication in time.
    ReauthenticationLapsed,
    /// The answer to a re-authentication was wrong.
    ReauthenticationFailed,
    /// An operator ended the registration.
    Administrative,
    /// An application server without which there is no service refused the registration.
    ApplicationServerFailed,
    /// The HSS ended it: the subscription is over.
    PermanentTermination,
    /// The HSS ended it: the user is to be served elsewhere.
    ServerChange,
    /// The user is served elsewhere already.
    NewServerAssigned,
    /// The far end answered when the session had been given up.
    AnsweredTooLate,
    /// The contact is not bound any more.
    Unbound,
}

impl ReleaseCause {
    /// `text` of Reason.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::ReauthenticationLapsed => "No re-authentication in time",
            Self::ReauthenticationFailed => "Re-authentication failed",
            Self::Administrative => "Deregistered by the operator",
            Self::PermanentTermination => "Subscription terminated",
            Self::Deregistered
            | Self::ContactReplaced
            | Self::Expired
            | Self::ServerChange
            | Self::NewServerAssigned
            | Self::ApplicationServerFailed
            | Self::AnsweredTooLate
            | Self::Unbound => "Temporarily Unavailable",
        }
    }

    /// A Reason value (RFC 3326).
    fn reason(self) -> Box<str> {
        format!("SIP;cause=480;text=\"{}\"", self.text()).into()
    }
}

/// A session that is being released.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Why.
    pub cause: ReleaseCause,
    /// Since when.
    pub since: Timestamp,
    /// What the caller and the callee are told.
    pub legs: Vec<Leg>,
}

/// What one side is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// Who.
    pub side: Side,
    /// CSeq of the last BYE to it.
    pub cseq: u32,
    /// BYEs sent to it.
    pub attempts: u8,
    /// When the last was sent.
    pub sent_at: Option<Timestamp>,
    /// Final status; 0 when none came.
    pub status: Option<u16>,
    /// When it is told again.
    pub retry_at: Option<Timestamp>,
}

impl Leg {
    const fn new(side: Side) -> Self {
        Self { side, cseq: 0, attempts: 0, sent_at: None, status: None, retry_at: None }
    }
}

/// Who was told that a session ended, when, and what was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// The session, or for one that was being set up the passage of its INVITE.
    pub session: u64,
    /// Why.
    pub cause: ReleaseCause,
    /// When the release began.
    pub at: Timestamp,
    /// Who was told what.
    pub told: Vec<ToldSide>,
}

/// One line of a receipt.
#[derive(Clone, Debug, PartialEq)]
pub struct ToldSide {
    /// Who.
    pub side: Side,
    /// `BYE`, `CANCEL` or the status of the final response.
    pub what: &'static str,
    /// When.
    pub at: Timestamp,
    /// The answer; `None` while awaited, 0 when none came.
    pub status: Option<u16>,
    /// When it came.
    pub answered_at: Option<Timestamp>,
}

impl Release {
    pub(crate) fn deadline(&self, ack_until: Option<Timestamp>) -> Option<Timestamp> {
        let retries = self.legs.iter().filter_map(|leg| leg.retry_at);
        let unsent = self.legs.iter().any(|leg| leg.attempts == 0 && leg.status.is_none());
        retries.chain(ack_until.filter(|_| unsent)).min()
    }
}

impl User {
    /// TS 24.229 §5.4.5.1.2A: contacts ended, and the sessions over them end too; those over other contacts stay.
    pub(crate) fn release_unbound(&mut self, cause: ReleaseCause, step: &mut Step<'_>) {
        if self.sessions.is_empty() && self.relays.is_empty() {
            return;
        }
        let unbound: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|session| session.release.is_none())
            .filter(|session| session.binding.is_some_and(|binding| !self.is_bound_contact(binding)))
            .map(|session| session.id)
            .collect();
        for id in unbound {
            self.release_session(id, cause, step);
        }
        self.release_early(|user, binding| binding.is_some_and(|id| !user.is_bound_contact(id)), cause, step);
    }

    /// The network ends the registration of these identities: all their sessions end, whatever contact they are over.
    pub(crate) fn release_served(
        &mut self,
        concerned: impl Fn(&Impu) -> bool,
        cause: ReleaseCause,
        step: &mut Step<'_>,
    ) {
        let ended = self.sessions.iter().filter(|session| session.release.is_none());
        let bound = |binding: Option<u64>| binding.is_some_and(|id| self.is_bound_contact(id));
        let ended = ended.filter(|session| concerned(&session.served) && !bound(session.binding));
        for id in ended.map(|session| session.id).collect::<Vec<_>>() {
            self.release_session(id, cause, step);
        }
        self.release_early(|user, binding| binding.is_none_or(|id| !user.is_bound_contact(id)), cause, step);
    }

    /// TS 24.229 §5.4.5.1.1: sessions that are being set up. The caller's contact ends all of one; a callee's contact the branch
    /// to it alone.
    fn release_early(
        &mut self,
        gone: impl Fn(&Self, Option<u64>) -> bool,
        cause: ReleaseCause,
        step: &mut Step<'_>,
    ) {
        let early: Vec<_> =
            self.relays.values().filter(|relay| relay.early().is_some()).map(|r| r.id).collect();
        for id in early {
            let Some(mut relay) = self.relays.remove(&id).map(|relay| *relay) else { continue };
            let Some(initial) = relay.early() else { continue };
            let in_contacts = matches!(initial.stage, Stage::Contacts(_));
            if in_contacts {
                let ended: Vec<BranchId> = relay
                    .branches
                    .iter()
                    .filter(|branch| !branch.done && gone(self, branch.binding))
                    .map(|branch| branch.id)
                    .collect();
                let others = relay.context.unanswered().any(|open| !ended.contains(&open));
                if !ended.is_empty() && !others {
                    self.release_relay(&mut relay, cause, step);
                } else {
                    for branch in ended {
                        relay.cancel_branch(branch, Some(cause.reason()), step);
                    }
                }
            } else if gone(self, initial.binding) && (initial.binding.is_some() || !initial.is_terminating())
            {
                self.release_relay(&mut relay, cause, step);
            }
            self.keep_relay(relay);
        }
    }

    fn release_relay(&mut self, relay: &mut Relay, cause: ReleaseCause, step: &mut Step<'_>) {
        let now = step.now();
        let mut told = Vec::new();
        if !relay.context.is_done() {
            told.push(ToldSide {
                side: Side::Callee,
                what: "CANCEL",
                at: now,
                status: None,
                answered_at: None,
            });
        }
        relay.cancelled = true;
        relay.cancel_unanswered(Some(cause.reason()), step);
        let tag = step.tag();
        let response = relay
            .request
            .respond(Status::TEMPORARILY_UNAVAILABLE, &tag)
            .header(Name::Reason, cause.reason())
            .finish();
        step.effect(Effect::Respond { tx: relay.tx, response });
        relay.answered = true;
        told.push(ToldSide { side: Side::Caller, what: "480", at: now, status: None, answered_at: None });
        self.file(Receipt { session: relay.id.0, cause, at: now, told });
        step.say(format!("a session being set up is released: {}", cause.text()));
    }

    /// TS 24.229 §5.4.5.1.2: BYE to both sides, each in the name of the other.
    pub(crate) fn release_session(&mut self, id: SessionId, cause: ReleaseCause, step: &mut Step<'_>) {
        // One side has hung up already, and its BYE is on its way to the other.
        let ending = self.relays.values().any(|relay| {
            *relay.request.method() == Method::Bye
                && matches!(relay.passage, Passage::Dialog { session: Some((of, _)), .. } if of == id)
        });
        let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) else { return };
        if ending || session.release.is_some() {
            return;
        }
        let legs = vec![Leg::new(Side::Callee), Leg::new(Side::Caller)];
        session.release = Some(Release { cause, since: step.now(), legs });
        step.changed();
        step.say(format!("a session is released: {}", cause.text()));
        self.release_legs(id, step);
    }

    /// Sends what is due of a release.
    fn release_legs(&mut self, id: SessionId, step: &mut Step<'_>) {
        let Self { sessions, impi, .. } = self;
        let Some(session) = sessions.iter_mut().find(|session| session.id == id) else { return };
        let now = step.now();
        let unacknowledged = session.ack_until.is_some_and(|until| until > now);
        let Some(release) = &session.release else { return };
        let due: Vec<usize> = (0..release.legs.len())
            .filter(|index| {
                let leg = &release.legs[*index];
                // RFC 3261 §15: the callee must not say BYE before it has the ACK.
                let waits = leg.side == Side::Caller && unacknowledged;
                leg.status.is_none()
                    && !waits
                    && (leg.attempts == 0 || leg.retry_at.is_some_and(|at| at <= now))
            })
            .collect();
        for index in due {
            session.bye(index, impi, step);
        }
    }

    /// The ACK has come: the caller can be told.
    pub(crate) fn release_waiting(&mut self, index: usize, step: &mut Step<'_>) {
        if let Some(session) = self.sessions.get(index).filter(|session| session.release.is_some()) {
            let id = session.id;
            self.release_legs(id, step);
        }
    }

    /// What one side answered to its BYE.
    pub(crate) fn release_answered(&mut self, id: SessionId, side: Side, reply: &Reply, step: &mut Step<'_>) {
        let attempts = step.policy.session.release_attempts;
        let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) else {
            return step.say("answer to a BYE of a session that has ended");
        };
        let Some(leg) = session.leg(side) else { return };
        let (status, again) = match reply {
            Reply::Response(response) if response.cseq().number != leg.cseq => {
                return step.say("answer to an earlier BYE");
            }
            Reply::Response(response) => (response.status().code(), response.status().class() == 5),
            Reply::Timeout | Reply::Unsendable => (0, true),
        };
        step.changed();
        step.say(format!("BYE to the {} answered {status}", side.as_str()));
        if again && leg.attempts < attempts {
            leg.retry_at = Some(step.now() + AGAIN_AFTER);
            return;
        }
        self.leg_done(id, side, status, step);
    }

    fn leg_done(&mut self, id: SessionId, side: Side, status: u16, step: &mut Step<'_>) {
        let Some(index) = self.sessions.iter().position(|session| session.id == id) else { return };
        let now = step.now();
        let session = &mut self.sessions[index];
        let Some(leg) = session.leg(side) else { return };
        if leg.status.is_none() {
            leg.status = Some(status);
            leg.retry_at = None;
        }
        let sent_at = leg.sent_at;
        let Some(release) = &session.release else { return };
        let (session_id, cause, since) = (session.id.0, release.cause, release.since);
        let over = release.legs.iter().all(|leg| leg.status.is_some());
        let line = ToldSide {
            side,
            what: "BYE",
            at: sent_at.unwrap_or(since),
            status: Some(status),
            answered_at: Some(now),
        };
        match self.receipts.iter_mut().find(|receipt| receipt.session == session_id) {
            Some(receipt) => receipt.told.push(line),
            None => self.file(Receipt { session: session_id, cause, at: since, told: vec![line] }),
        }
        if over {
            self.sessions.remove(index);
            step.changed();
            step.say(format!("a session was released: {}", cause.text()));
        }
    }

    /// A request in a dialog that is being released.
    pub(crate) fn while_releasing(
        &mut self,
        index: usize,
        from: Side,
        draft: &Draft,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        if *draft.request.method() != Method::Bye {
            let why = "the session is being released";
            return Err(Rejection::new(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST, CLAUSE, why));
        }
        // It hung up by itself meanwhile, or another S-CSCF of the same dialog releases it too.
        let tag = step.tag();
        let response = draft.request.respond(Status::OK, &tag).finish();
        step.effect(Effect::Respond { tx: draft.tx, response });
        if let Some(id) = self.sessions.get(index).map(|session| session.id) {
            self.leg_done(id, from, Status::OK.code(), step);
        }
        Ok(())
    }

    /// A far end answered an INVITE whose sender had been told that it ended: it is acknowledged and released.
    pub(crate) fn release_late(
        &mut self,
        relay: &Relay,
        branch: BranchId,
        response: &Response,
        step: &mut Step<'_>,
    ) {
        let Some(mut session) = self.session_of(relay, branch, response, step) else { return };
        let dialog = session.callee.dialog(&session.caller, &session.call_id);
        let ack = dialog.ack(relay.request.cseq().number).finish();
        step.effect(Effect::Pass { request: ack });
        session.ack_until = None;
        let caller = Leg { status: Some(Status::TEMPORARILY_UNAVAILABLE.code()), ..Leg::new(Side::Caller) };
        let cause = ReleaseCause::AnsweredTooLate;
        let legs = vec![Leg::new(Side::Callee), caller];
        session.release = Some(Release { cause, since: step.now(), legs });
        let id = session.id;
        self.sessions.push(session);
        step.changed();
        step.say("the far end answered too late");
        self.release_legs(id, step);
    }

    /// A branch of a session that was given up has its final response.
    pub(crate) fn note_cancelled(&mut self, relay: &Relay, status: u16, step: &Step<'_>) {
        let receipt = self.receipts.iter_mut().find(|receipt| receipt.session == relay.id.0);
        let line = receipt.and_then(|receipt| receipt.told.iter_mut().find(|line| line.what == "CANCEL"));
        if let Some(line) = line {
            line.status = Some(status);
            line.answered_at = Some(step.now());
        }
    }

    fn file(&mut self, receipt: Receipt) {
        if self.receipts.len() >= RECEIPTS {
            self.receipts.remove(0);
        }
        self.receipts.push(receipt);
    }

    /// BYEs to be sent again, and callers whose ACK never came.
    pub(crate) fn releases_due(&mut self, step: &mut Step<'_>) {
        let now = step.now();
        let due: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|session| session.release.is_some() && session.deadline().is_some_and(|at| at <= now))
            .map(|session| session.id)
            .collect();
        for id in due {
            if let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) {
                session.ack_until = session.ack_until.filter(|until| *until > now);
            }
            step.changed();
            self.release_legs(id, step);
        }
    }

    /// A takeover: BYEs whose fate is not known are sent again, with a higher CSeq.
    pub(crate) fn sessions_resumed(&mut self, step: &mut Step<'_>) {
        let now = step.now();
        for session in &mut self.sessions {
            session.resumed();
            for leg in session.release.iter_mut().flat_map(|release| &mut release.legs) {
                if leg.status.is_none() {
                    leg.retry_at = Some(now);
                }
            }
        }
        self.releases_due(step);
    }
}

impl Session {
    fn leg(&mut self, side: Side) -> Option<&mut Leg> {
        self.release.as_mut()?.legs.iter_mut().find(|leg| leg.side == side)
    }

    /// Sends BYE to one side in the name of the other (D-80 to D-82).
    fn bye(&mut self, leg: usize, impi: &Impi, step: &mut Step<'_>) {
        let Some(Leg { side, attempts, .. }) =
            self.release.as_ref().and_then(|release| release.legs.get(leg)).cloned()
        else {
            return;
        };
        let cause = self.release.as_ref().map_or(ReleaseCause::Unbound, |release| release.cause);
        let speaker = self.party_mut(side.other());
        speaker.cseq = match speaker.cseq {
            // The side never sent a request: its CSeqs begin anywhere.
            0 => 1 + (step.mint() % FIRST_CSEQ_BELOW) as u32,
            last => last.saturating_add(1),
        };
        let cseq = speaker.cseq;
        let mut dialog = self.party(side).dialog(self.party(side.other()), &self.call_id);
        dialog.routes = match attempts {
            0 => self.by_servers(&dialog.routes, impi, step.policy),
            _ => self.past_servers(&dialog.routes, impi, step.policy),
        };
        dialog.local_cseq = cseq - 1;
        let request = dialog.request(Method::Bye).header(Name::Reason, cause.reason()).finish();
        let purpose = Purpose::Release(self.id, side);
        if let Some(leg) = self.release.as_mut().and_then(|release| release.legs.get_mut(leg)) {
            leg.cseq = cseq;
            leg.attempts = leg.attempts.saturating_add(1);
            leg.sent_at = Some(step.now());
            leg.retry_at = None;
        }
        step.changed();
        step.effect(Effect::Send { purpose, request });
    }

    /// The way by the application servers. What we recorded stands on it for our further passages: there it says that this is
    /// our own BYE and no word of the side in whose name it speaks.
    fn by_servers(&self, routes: &[Box<str>], impi: &Impi, policy: &Policy) -> Vec<Box<str>> {
        let token = policy.tokens.mint(TokenKind::RecordRoute, impi, self.key);
        let marked = policy.tokens.mint_with(TokenKind::RecordRoute, impi, self.key, OWN_BYE);
        routes.iter().map(|route| route.replace(&token, &marked).into()).collect()
    }

    /// A way that leaves out the application servers: from our last passage on. The first BYE goes by them; when that leads
    /// nowhere, a server that is gone must not keep the session alive.
    fn past_servers(&self, routes: &[Box<str>], impi: &Impi, policy: &Policy) -> Vec<Box<str>> {
        let token = policy.tokens.mint(TokenKind::RecordRoute, impi, self.key);
        let is_own =
            |route: &Box<str>| NameAddr::parse(route).is_ok_and(|address| address.uri.user() == Some(&token));
        let from = routes.iter().rposition(is_own).map_or(0, |at| at + 1);
        routes[from..].to_vec()
    }
}

impl Party {
    /// The dialog towards this side, spoken in the name of `speaker`.
    fn dialog(&self, speaker: &Self, call_id: &str) -> Dialog {
        Dialog {
            call_id: call_id.into(),
            local: speaker.address.clone(),
            remote: self.address.clone(),
            target: self.target.clone(),
            routes: self.routes.clone(),
            local_cseq: speaker.cseq,
            remote_cseq: self.cseq,
        }
    }
}
