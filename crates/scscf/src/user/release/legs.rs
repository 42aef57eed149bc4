//! TS 24.229 §5.4.5.1.2 — the BYEs of a release: to whom, by which way, how often.

use super::{ReleaseCause, ToldSide};
use crate::event::{SessionId, Side};
use crate::token::TokenKind;
use crate::user::{Party, Session, Step, User};
use crate::{Effect, Impi, Policy, Purpose, Reply, Span, Timestamp};
use serde::{Deserialize, Serialize};
use sip::{Dialog, Method, Name, NameAddr, Status};

/// A BYE that got no answer is sent again after so long.
pub(crate) const AGAIN_AFTER: Span = Span::seconds(2);
/// Tells our own BYEs from those of others, in the Route values of our further passages.
const OWN_BYE: &[u8] = b"BYE";
/// RFC 3261 §8.1.1.5: the first CSeq is less than 2^31; chosen low enough to leave room.
const FIRST_CSEQ_BELOW: u64 = 1 << 30;

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
    /// The application servers between are left out: by them it was not reached.
    #[serde(default)]
    pub past_servers: bool,
    /// So long the application servers between may be silent.
    #[serde(default)]
    pub servers_until: Option<Timestamp>,
    /// The BYE by silent servers was not waited for: its end says nothing of the one that followed.
    #[serde(default)]
    pub overtaken: bool,
}

impl Leg {
    pub(super) const fn new(side: Side) -> Self {
        Self {
            side,
            cseq: 0,
            attempts: 0,
            sent_at: None,
            status: None,
            retry_at: None,
            past_servers: false,
            servers_until: None,
            overtaken: false,
        }
    }

    /// RFC 3261 §15: the callee must not say BYE before it has the ACK.
    fn is_due(&self, now: Timestamp, unacknowledged: bool) -> bool {
        self.status.is_none()
            && !(self.side == Side::Caller && unacknowledged)
            && (self.attempts == 0 || self.again_at().is_some_and(|at| at <= now))
    }

    fn again_at(&self) -> Option<Timestamp> {
        self.retry_at.into_iter().chain(self.servers_until).min()
    }
}

impl Release {
    /// The side that hung up has ended; its own BYE was the first attempt to tell the other.
    pub(super) fn of_other_side(from: Side, now: Timestamp, at: Timestamp) -> Self {
        let told = Leg { status: Some(Status::OK.code()), ..Leg::new(from) };
        let untold = Leg { attempts: 1, retry_at: Some(at), past_servers: true, ..Leg::new(from.other()) };
        Self { cause: ReleaseCause::HungUp, since: now, legs: vec![told, untold] }
    }

    pub(crate) fn deadline(&self, ack_until: Option<Timestamp>) -> Option<Timestamp> {
        let open = || self.legs.iter().filter(|leg| leg.status.is_none());
        let unsent = open().any(|leg| leg.attempts == 0);
        open().filter_map(Leg::again_at).chain(ack_until.filter(|_| unsent)).min()
    }
}

impl User {
    /// Sends what is due of a release.
    pub(crate) fn release_legs(&mut self, id: SessionId, step: &mut Step<'_>) {
        let Self { sessions, impi, .. } = self;
        let Some(session) = sessions.iter_mut().find(|session| session.id == id) else { return };
        let now = step.now();
        let unacknowledged = session.ack_until.is_some_and(|until| until > now);
        let Some(release) = &session.release else { return };
        let due: Vec<Side> =
            release.legs.iter().filter(|leg| leg.is_due(now, unacknowledged)).map(|leg| leg.side).collect();
        for side in due {
            session.bye(side, impi, step);
        }
    }

    /// What one side answered to its BYE.
    pub(crate) fn release_answered(&mut self, id: SessionId, side: Side, reply: &Reply, step: &mut Step<'_>) {
        let attempts = step.policy.session.release_attempts;
        let Self { sessions, impi, .. } = self;
        let Some(session) = sessions.iter_mut().find(|session| session.id == id) else {
            return step.say("answer to a BYE of a session that has ended");
        };
        let waited =
            matches!(reply, Reply::Response(response) if response.status() == Status::REQUEST_TIMEOUT);
        // A server that waited in vain says nothing about the side behind it.
        let in_vain = waited && session.servers_end(side, impi, step.policy) > 0;
        let Some(leg) = session.leg(side).filter(|leg| leg.status.is_none()) else {
            return step.say("answer to a BYE of a side that has hung up");
        };
        let (status, failed) = match reply {
            Reply::Response(response) if response.cseq().number != leg.cseq => {
                return step.say("answer to an earlier BYE");
            }
            Reply::Response(response) => {
                let status = response.status();
                (status.code(), status.class() == 5 || in_vain && !leg.past_servers)
            }
            Reply::Timeout | Reply::Unsendable if std::mem::take(&mut leg.overtaken) => {
                return step.say("a BYE by silent servers came to nothing");
            }
            Reply::Timeout | Reply::Unsendable => (0, true),
        };
        leg.servers_until = None;
        step.changed();
        step.say(format!("BYE to the {} answered {status}", side.as_str()));
        if failed && leg.attempts < attempts {
            leg.retry_at = Some(step.now() + AGAIN_AFTER);
            leg.past_servers = true;
            return;
        }
        self.leg_done(id, side, status, step);
    }

    /// A side has answered its BYE, or hung up by itself.
    pub(super) fn leg_done(&mut self, id: SessionId, side: Side, status: u16, step: &mut Step<'_>) {
        let Some(index) = self.sessions.iter().position(|session| session.id == id) else { return };
        let now = step.now();
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Some(leg) = session.leg(side).filter(|leg| leg.status.is_none()) else { return };
        leg.status = Some(status);
        leg.retry_at = None;
        leg.servers_until = None;
        let sent_at = leg.sent_at;
        let Some(release) = &session.release else { return };
        let (cause, since) = (release.cause, release.since);
        let over = release.legs.iter().all(|leg| leg.status.is_some());
        step.changed();
        if over {
            self.sessions.remove(index);
            step.say(format!("a session was released: {}", cause.text()));
            self.answer_farewells(id, step);
        }
        self.note(id.0, cause, since, ToldSide::bye(side, sent_at.unwrap_or(now), status, now));
    }

    /// BYEs to be sent again, and callers whose ACK never came.
    pub(crate) fn releases_due(&mut self, step: &mut Step<'_>) {
        let now = step.now();
        let due = self
            .sessions
            .iter_mut()
            .filter(|session| session.release.is_some() && session.deadline().is_some_and(|at| at <= now));
        let mut ids = Vec::new();
        for session in due {
            session.ack_until = session.ack_until.filter(|until| *until > now);
            ids.push(session.id);
        }
        for id in ids {
            step.changed();
            self.release_legs(id, step);
        }
    }

    /// A takeover: BYEs whose fate is not known are due again, with a higher CSeq.
    pub(crate) fn sessions_in_doubt(&mut self, now: Timestamp) {
        for session in &mut self.sessions {
            session.resumed();
            for leg in session.release.iter_mut().flat_map(|release| &mut release.legs) {
                if leg.status.is_none() {
                    leg.overtaken = false;
                    leg.retry_at = Some(now);
                }
            }
        }
    }
}

impl Session {
    pub(super) fn leg(&mut self, side: Side) -> Option<&mut Leg> {
        self.release.as_mut()?.legs.iter_mut().find(|leg| leg.side == side)
    }

    /// Sends BYE to one side in the name of the other (TS 24.229 §5.4.5.1.2).
    fn bye(&mut self, side: Side, impi: &Impi, step: &mut Step<'_>) {
        let now = step.now();
        let Some(leg) = self.leg(side) else { return };
        if leg.servers_until.take().is_some_and(|until| until <= now) {
            leg.past_servers = true;
            leg.overtaken = true;
        }
        let past_servers = leg.past_servers;
        let cause = self.release.as_ref().map_or(ReleaseCause::Unbound, |release| release.cause);
        let speaker = self.party_mut(side.other());
        speaker.cseq = match speaker.cseq {
            // The side never sent a request: its CSeqs begin anywhere.
            0 => 1 + (step.mint() % FIRST_CSEQ_BELOW) as u32,
            last => last.saturating_add(1),
        };
        let cseq = speaker.cseq;
        let mut dialog = self.party(side).dialog(self.party(side.other()), &self.call_id);
        let servers = self.servers_end(side, impi, step.policy);
        if past_servers {
            dialog.routes.drain(..servers);
        } else {
            self.mark_as_ours(&mut dialog.routes, impi, step.policy);
        }
        dialog.local_cseq = cseq - 1;
        let request = dialog.request(Method::Bye).header(Name::Reason, cause.reason()).finish();
        let purpose = Purpose::Release(self.id, side);
        if let Some(leg) = self.leg(side) {
            leg.cseq = cseq;
            leg.attempts = leg.attempts.saturating_add(1);
            leg.sent_at = Some(now);
            leg.retry_at = None;
            if servers > 0 && !past_servers && leg.attempts < step.policy.session.release_attempts {
                let patience = step.policy.session.as_terminated_timeout_ms;
                leg.servers_until = Some(now + Span::from_millis(patience.into()));
            }
        }
        step.changed();
        step.effect(Effect::Send { purpose, request });
    }

    /// What we recorded stands on the way by the application servers for our further passages: there it says that this is our
    /// own BYE, and no word of the side in whose name it speaks.
    fn mark_as_ours(&self, routes: &mut [Box<str>], impi: &Impi, policy: &Policy) {
        let token = policy.tokens.mint(TokenKind::RecordRoute, impi, self.key);
        for route in routes.iter_mut().filter(|route| route.contains(&token)) {
            let marked = policy.tokens.mint_with(TokenKind::RecordRoute, impi, self.key, OWN_BYE);
            *route = route.replace(&token, &marked).into();
        }
    }

    /// Whether application servers stand between the two sides.
    pub(crate) fn passes_servers(&self, impi: &Impi, policy: &Policy) -> bool {
        [Side::Caller, Side::Callee].iter().any(|side| self.servers_end(*side, impi, policy) > 0)
    }

    /// How many routes to a side lead through application servers: all up to our last passage.
    pub(super) fn servers_end(&self, side: Side, impi: &Impi, policy: &Policy) -> usize {
        let token = policy.tokens.mint(TokenKind::RecordRoute, impi, self.key);
        let is_own =
            |route: &str| NameAddr::parse(route).is_ok_and(|address| address.uri.user() == Some(&token));
        let routes = &self.party(side).routes;
        routes.iter().rposition(|route| is_own(route)).map_or(0, |at| at + 1)
    }
}

impl Party {
    /// The dialog towards this side, spoken in the name of `speaker`.
    pub(crate) fn dialog(&self, speaker: &Self, call_id: &str) -> Dialog {
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
