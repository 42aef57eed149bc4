//! TS 24.229 §5.4.5.1 — the S-CSCF ends sessions: CANCEL and a final response for those being set up, BYE both ways for the others.
//!
//! What each side was told, and what it answered, is kept as a receipt.

mod legs;
mod receipt;

pub(crate) use legs::AGAIN_AFTER;
pub use legs::{Leg, Release};
pub use receipt::{Receipt, ToldSide};

use super::chain::Stage;
use super::relay::{Answered, Draft, Ending, Passage, Relay};
use super::{Session, Step, User};
use crate::event::{SessionId, Side};
use crate::{Effect, Impu, Rejection, Span};
use serde::{Deserialize, Serialize};
use sip::proxy::BranchId;
use sip::{Method, Name, Response, Status};

const CLAUSE: &str = "TS 24.229 §5.4.5.1";

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
    /// One side hung up, and its BYE did not reach the other.
    HungUp,
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
            | Self::HungUp
            | Self::Unbound => "Temporarily Unavailable",
        }
    }

    /// A Reason value (RFC 3326).
    fn reason(self) -> Box<str> {
        format!("SIP;cause=480;text=\"{}\"", self.text()).into()
    }
}

impl User {
    /// TS 24.229 §5.4.5.1.2A: contacts ended, and the sessions over them end too; those over other contacts stay.
    pub(crate) fn release_unbound(&mut self, cause: ReleaseCause, step: &mut Step<'_>) {
        if self.sessions.is_empty() && self.relays.is_empty() {
            return;
        }
        let ends = |user: &Self, _: &Impu, binding: Option<u64>| {
            binding.is_some_and(|id| !user.is_bound_contact(id))
        };
        self.release_where(ends, cause, step);
    }

    /// The network ends the registration of these identities: all their sessions end that are not over a contact which stays.
    pub(crate) fn release_served(
        &mut self,
        concerned: impl Fn(&Impu) -> bool,
        cause: ReleaseCause,
        step: &mut Step<'_>,
    ) {
        let ends = |user: &Self, served: &Impu, binding: Option<u64>| match binding {
            Some(id) => !user.is_bound_contact(id),
            None => concerned(served),
        };
        self.release_where(ends, cause, step);
    }

    fn release_where(
        &mut self,
        ends: impl Fn(&Self, &Impu, Option<u64>) -> bool,
        cause: ReleaseCause,
        step: &mut Step<'_>,
    ) {
        let held = self.sessions.iter().filter(|session| session.release.is_none());
        let ended = held.filter(|session| ends(self, &session.served, session.binding));
        for id in ended.map(|session| session.id).collect::<Vec<_>>() {
            self.release_session(id, cause, step);
        }
        // Who waits for what becomes of Timer C hears of the release at once.
        let early = self.relays.values().filter(|relay| matches!(relay.ending, None | Some(Ending::TimerC)));
        let mut early: Vec<_> =
            early.filter_map(|relay| relay.early().map(|it| (it.depth, it.key, relay.id))).collect();
        early.sort_unstable();
        // All passages of a call through servers end, and are one session to whoever watches.
        let mut told: Vec<u64> = Vec::new();
        for (_, key, id) in early {
            let Some(mut relay) = self.relays.remove(&id).map(|relay| *relay) else { continue };
            let noted = !told.contains(&key);
            self.release_early(&mut relay, &ends, cause, noted, step);
            if relay.ending.is_some() {
                told.push(key);
            }
            self.keep_relay(relay, step);
        }
    }

    /// TS 24.229 §5.4.5.1.1: a session that is being set up. The caller's contact ends all of it; a callee's contact the branch
    /// to it alone.
    fn release_early(
        &mut self,
        relay: &mut Relay,
        ends: &impl Fn(&Self, &Impu, Option<u64>) -> bool,
        cause: ReleaseCause,
        noted: bool,
        step: &mut Step<'_>,
    ) {
        let Some(initial) = relay.early() else { return };
        let Stage::Contacts(further) = &initial.stage else {
            if !initial.is_terminating() && ends(self, &initial.served, initial.binding) {
                self.release_relay(relay, cause, noted, step);
            }
            return;
        };
        let is_over =
            |branch: &super::relay::Branch| ends(self, &initial.served, branch.binding) && !branch.cancelled;
        let ended: Vec<BranchId> = relay
            .branches
            .iter()
            .filter(|branch| !branch.done && is_over(branch))
            .map(|branch| branch.id)
            .collect();
        if ended.is_empty() {
            return;
        }
        let others = relay.ringing().any(|open| !ended.contains(&open))
            || further.iter().flatten().any(|target| self.is_bound_contact(target.binding));
        if !others {
            return self.release_relay(relay, cause, noted, step);
        }
        step.say(format!("a contact that is called ended: {}", cause.text()));
        for branch in ended {
            relay.cancel_branch(branch, Some(cause.reason()), step);
            let line = ToldSide::cancelled(branch, step.now());
            self.note(relay.id.0, cause, step.now(), line);
        }
    }

    fn release_relay(&mut self, relay: &mut Relay, cause: ReleaseCause, noted: bool, step: &mut Step<'_>) {
        let now = step.now();
        let cancelled = relay.ringing().map(|branch| ToldSide::cancelled(branch, now));
        let lines: Vec<ToldSide> = cancelled.chain([ToldSide::refused(now)]).filter(|_| noted).collect();
        for line in lines {
            self.note(relay.id.0, cause, now, line);
        }
        relay.ending = Some(Ending::Released);
        relay.cancel_unanswered(Some(cause.reason()), step);
        let response = relay
            .request
            .respond(Status::TEMPORARILY_UNAVAILABLE, &step.tag())
            .header(Name::Reason, cause.reason())
            .finish();
        relay.respond(response, step);
        step.say(format!("a session being set up is released: {}", cause.text()));
    }

    /// TS 24.229 §5.4.5.1.2: BYE to both sides, each in the name of the other.
    fn release_session(&mut self, id: SessionId, cause: ReleaseCause, step: &mut Step<'_>) {
        // One side has hung up already, and its BYE is on its way to the other.
        let ending = self.relays.values().any(|relay| {
            *relay.request.method() == Method::Bye
                && relay.answered == Answered::No
                && matches!(relay.passage, Passage::Dialog { session: Some((of, _)), .. } if of == id)
        });
        let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) else { return };
        if ending {
            return;
        }
        let legs = vec![Leg::new(Side::Callee), Leg::new(Side::Caller)];
        session.release = Some(Release { cause, since: step.now(), legs });
        step.changed();
        step.say(format!("a session is released: {}", cause.text()));
        self.release_legs(id, step);
    }

    /// One side hung up, and its BYE failed on the way by application servers, so that the other side may not know: it is told
    /// after so long, by the way that leaves them out. Whether there is one.
    pub(crate) fn tells_past_servers(
        &mut self,
        id: SessionId,
        from: Side,
        after: Span,
        step: &mut Step<'_>,
    ) -> bool {
        let at = step.now() + after;
        let Self { sessions, impi, .. } = self;
        let Some(session) = sessions.iter_mut().find(|session| session.id == id) else { return false };
        let tells = session.release.is_none()
            && session.passes_servers(impi, step.policy)
            && step.policy.session.release_attempts > 1;
        if tells {
            session.release = Some(Release::of_other_side(from, step.now(), at));
            step.changed();
            step.say(format!("the {} hung up, and the other side may not know", from.as_str()));
        }
        tells
    }

    /// A request in a dialog that is being released.
    pub(crate) fn while_releasing(
        &mut self,
        id: SessionId,
        from: Side,
        draft: &Draft,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        if *draft.request.method() != Method::Bye {
            let why = "the session is being released";
            return Err(Rejection::new(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST, CLAUSE, why));
        }
        // It hung up by itself meanwhile, or another S-CSCF of the same dialog releases it too.
        let response = draft.request.respond(Status::OK, &step.tag()).finish();
        step.effect(Effect::Respond { tx: draft.tx, response });
        step.say(format!("the {} hangs up while the session is released", from.as_str()));
        self.leg_done(id, from, Status::OK.code(), step);
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
        self.acknowledge_late(relay, branch, response, step);
        if let Some(session) = self.session_of(relay, branch, response, step) {
            self.release_unknown(session, step);
        }
    }

    /// A dialog of which its caller knows nothing.
    pub(crate) fn release_unknown(&mut self, mut session: Session, step: &mut Step<'_>) {
        session.ack_until = None;
        // A passage nearer to the far end took it for a success, or releases it by now.
        self.sessions.retain(|held| !held.is_same(&session) || held.release.is_some());
        if self.sessions.iter().any(|held| held.is_same(&session)) {
            return;
        }
        let caller = Leg { status: Some(Status::TEMPORARILY_UNAVAILABLE.code()), ..Leg::new(Side::Caller) };
        let legs = vec![Leg::new(Side::Callee), caller];
        session.release = Some(Release { cause: ReleaseCause::AnsweredTooLate, since: step.now(), legs });
        let id = session.id;
        self.sessions.push(session);
        step.changed();
        step.say("the far end answered too late");
        self.release_legs(id, step);
    }

    /// The ACK to a 2xx that nobody waits for.
    pub(crate) fn acknowledge_late(
        &self,
        relay: &Relay,
        branch: BranchId,
        response: &Response,
        step: &mut Step<'_>,
    ) {
        let Some(session) = self.session_of(relay, branch, response, step) else { return };
        let dialog = session.callee.dialog(&session.caller, &session.call_id);
        let ack = dialog.ack(relay.request.cseq().number).finish();
        step.effect(Effect::Pass { request: ack });
    }
}
