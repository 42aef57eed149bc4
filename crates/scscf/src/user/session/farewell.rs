//! RFC 3261 §15 — BYEs that pass application servers. They may be silent for so long; then the other side hears of the end by
//! the way that leaves them out, and whoever sent the BYE is answered when the session is over.

use crate::event::{SessionId, Side};
use crate::user::entry::Entry;
use crate::user::relay::{Answered, Passage, Relay};
use crate::user::{Step, User};
use crate::{Span, Timestamp};
use sip::{Method, Request, Status};

/// A BYE on its way by application servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Farewell {
    /// What it ends; `None` if that was over before.
    session: Option<SessionId>,
    /// So long its answer is waited for; `None` once that was in vain.
    until: Option<Timestamp>,
}

impl Farewell {
    pub(crate) const fn deadline(&self) -> Option<Timestamp> {
        self.until
    }
}

impl User {
    /// A BYE of either side of a session with application servers, or one of our own on its way to a further one.
    pub(super) fn farewell(
        &self,
        entry: &Entry,
        held: Option<(SessionId, Side)>,
        request: &Request,
        step: &Step<'_>,
    ) -> Option<Farewell> {
        if *request.method() != Method::Bye {
            return None;
        }
        let session = match (entry, held) {
            (Entry::Release(key), _) => self.session_in(*key, request).map(|(id, _)| id),
            (_, Some((id, _))) => {
                let session = self.sessions.iter().find(|session| session.id == id)?;
                Some(id).filter(|_| session.passes_servers(&self.impi, step.policy))?.into()
            }
            (_, None) => return None,
        };
        let patience = Span::from_millis(step.policy.session.as_terminated_timeout_ms.into());
        Some(Farewell { session, until: Some(step.now() + patience) })
    }

    /// Nothing came of a BYE in time.
    pub(crate) fn farewell_due(&mut self, relay: &mut Relay, step: &mut Step<'_>) {
        let Some(farewell) = &mut relay.farewell else { return };
        farewell.until = None;
        let ends = farewell.session;
        step.say("application servers are silent at a BYE");
        if let Passage::Dialog { session: Some((id, from)), .. } = relay.passage
            && self.tells_past_servers(id, from, Span::seconds(0), step)
        {
            self.release_legs(id, step);
        }
        if !self.sessions.iter().any(|session| Some(session.id) == ends) {
            relay.answer_farewell(step);
        }
    }

    /// A session is over: BYEs in it are answered whose own answers were waited for long enough.
    pub(crate) fn answer_farewells(&mut self, id: SessionId, step: &mut Step<'_>) {
        let in_vain = |farewell: &Farewell| farewell.session == Some(id) && farewell.until.is_none();
        let waiting = self
            .relays
            .values()
            .filter(|relay| relay.answered == Answered::No && relay.farewell.as_ref().is_some_and(in_vain));
        for id in waiting.map(|relay| relay.id).collect::<Vec<_>>() {
            let Some(mut relay) = self.relays.remove(&id).map(|relay| *relay) else { continue };
            relay.answer_farewell(step);
            self.keep_relay(relay, step);
        }
    }
}

impl Relay {
    fn answer_farewell(&mut self, step: &mut Step<'_>) {
        for branch in self.branches.iter().map(|branch| branch.id).collect::<Vec<_>>() {
            self.abandon(branch, step);
        }
        self.respond(self.request.respond(Status::OK, &step.tag()).finish(), step);
    }
}
