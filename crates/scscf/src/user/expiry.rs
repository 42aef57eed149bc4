//! TS 24.229 §5.4.1.2.3, §5.4.1.5 — what time ends: challenges, bindings, and what siblings told.

use super::{ReleaseCause, User, register::Register};
use crate::cx::ServerAssignmentType;
use crate::{Impu, Timestamp, user::Step};
use sip::reginfo::ContactEvent;
use std::sync::Arc;

impl User {
    /// When the user next acts by itself, read off the state.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let challenges = self.authentication.challenges.iter();
        let next = challenges
            .filter(|challenge| !challenge.verified)
            .map(|challenge| challenge.deadline)
            .chain(self.registration.bindings().map(|binding| binding.expires_at))
            .chain(self.registration.siblings.values().flatten().map(|contact| contact.expires_at))
            .chain(self.reauthentication_deadline())
            .chain(self.subscriptions_deadline())
            .chain(self.sessions_deadline())
            .chain(self.relays_deadline())
            .chain(self.servers_deadline())
            .min();
        // The minute of counted challenges keeps nobody in memory who owns something else.
        next.or_else(|| self.authentication.window_end())
    }

    /// When somebody must look after the user who does not have it in memory: at once, where something is in flight whose fate
    /// only the one knows who sent it.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        if self.has_in_flight() { Some(Timestamp::from_millis(0)) } else { self.next_deadline() }
    }

    /// Whether an answer is awaited to something that [`Event::Resumed`](crate::Event::Resumed) sends again.
    fn has_in_flight(&self) -> bool {
        let servers = || self.registration.third_party.iter().flat_map(|group| &group.servers);
        let legs =
            || self.sessions.iter().filter_map(|session| session.release.as_ref()).flat_map(|one| &one.legs);
        self.subscriptions.values().any(|subscription| subscription.in_flight.is_some())
            || legs().any(|leg| leg.status.is_none())
            || servers().any(|server| server.in_flight.is_some())
    }

    /// Does whatever is due.
    pub(crate) fn deadline(&mut self, step: &mut Step<'_>) {
        self.challenges_due(step);
        if self.reauthentication_deadline().is_some_and(|at| at <= step.now()) {
            self.reauthentication_due(step);
        }
        self.bindings_due(step);
        self.siblings_due(step);
        if self.subscriptions_deadline().is_some_and(|at| at <= step.now()) {
            self.subscriptions_due(step);
        }
        if self.sessions_deadline().is_some_and(|at| at <= step.now()) {
            self.sessions_due(step);
        }
        if self.relays_deadline().is_some_and(|at| at <= step.now()) {
            self.relays_due(step);
        }
        if self.servers_deadline().is_some_and(|at| at <= step.now()) {
            self.servers_due(step);
        }
    }

    /// reg-await-auth expired: the authentication has failed, and nothing else happens to whoever is registered.
    fn challenges_due(&mut self, step: &mut Step<'_>) {
        let now = step.now();
        let mut lapsed: Option<Impu> = None;
        self.authentication.challenges.retain(|challenge| {
            let due = !challenge.verified && challenge.deadline <= now;
            if due {
                lapsed = Some(challenge.impu.clone());
            }
            !due
        });
        if let Some(impu) = lapsed {
            step.changed();
            step.say("a challenge was not answered in time");
            self.report_failure(&impu, ServerAssignmentType::AuthenticationTimeout, step);
        }
    }

    /// RFC 5626 §5.3: the edge says that a flow is gone; its binding ends as if its time were over.
    pub(crate) fn flow_failed(&mut self, id: u64, step: &mut Step<'_>) {
        let now = step.now();
        let bindings = self.registration.sets.iter_mut().flat_map(|set| &mut set.bindings);
        let flow = bindings.filter(|binding| binding.reg_id.is_some()).find(|binding| binding.id == id);
        if let Some(flow) = flow {
            flow.expires_at = now;
            self.bindings_due(step);
        }
    }

    fn bindings_due(&mut self, step: &mut Step<'_>) {
        let now = step.now();
        if !self.registration.bindings().any(|binding| binding.expires_at <= now) {
            return;
        }
        let mut departed = Vec::new();
        let mut ended = Vec::new();
        let mut identities = Vec::new();
        let mut profiles = Vec::new();
        for set in &mut self.registration.sets {
            let (gone, kept): (Vec<_>, Vec<_>) =
                std::mem::take(&mut set.bindings).into_iter().partition(|binding| binding.expires_at <= now);
            set.bindings = kept;
            if gone.is_empty() {
                continue;
            }
            identities.extend(set.profile.identities().next().map(|identity| identity.impu.clone()));
            if set.bindings.is_empty() {
                ended.extend(set.representative());
                profiles.push(Arc::clone(&set.profile));
            }
            departed.extend(gone.into_iter().map(|binding| set.departed(binding, ContactEvent::Expired)));
        }
        step.changed();
        let ends =
            |pending: &Register| profiles.iter().any(|profile| profile.identity(&pending.impu).is_some());
        self.abandon_assignments(ends, step);
        step.say("a registration expired");
        self.release_unbound(ReleaseCause::Expired, step);
        let keep = step.policy.registration.store_server_name;
        if !ended.is_empty() {
            let assignment = if keep {
                ServerAssignmentType::TimeoutDeregistrationStoreServerName
            } else {
                ServerAssignmentType::TimeoutDeregistration
            };
            self.report(ended, assignment, step);
        }
        for impu in &identities {
            self.tell_siblings(impu, step);
        }
        self.forget_unbound_sets(keep);
        self.bindings_departed(departed, "noresource", step);
    }
}
