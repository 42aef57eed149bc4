//! TS 24.229 §5.4.1.6 — network-initiated re-authentication.
//!
//! One procedure in two dialects: a dialog of `Event: reg` hears of shortened contacts, one of
//! `Event: registration-state` of a registration to be re-authenticated. The deadline is absolute and never moves.

use super::{Phase, Reauthentication, Step, User};
use crate::{Span, SubscriptionId, Timestamp, Told, Trigger};
use sip::reginfo::ContactEvent;
use std::collections::BTreeMap;

impl User {
    /// Asks the UE to authenticate again within `period`, or the policy's period, from now.
    ///
    /// While one such demand is pending, another changes nothing.
    pub(crate) fn reauthenticate(
        &mut self,
        by: Trigger,
        period: Option<Span>,
        reason: Option<Box<str>>,
        step: &mut Step<'_>,
    ) -> Told {
        if let Some(pending) = &self.authentication.reauthentication {
            step.say("re-authentication is pending already");
            return Told::AlreadyReauthenticating { deadline: pending.deadline };
        }
        let deadline = step.now() + step.policy.reauthentication.effective(period);
        if self.registration.bindings().all(|binding| binding.emergency) {
            step.say("no registration to re-authenticate");
            return Told::NotRegistered;
        }
        let mut notified = BTreeMap::new();
        for (&id, subscription) in &mut self.subscriptions {
            if subscription.ending.is_none() {
                subscription.demand = true;
                notified.insert(id, None);
            }
        }
        step.changed();
        step.say(format!("re-authentication asked for, by {}", deadline.rfc3339()));
        self.authentication.reauthentication = Some(Reauthentication {
            by,
            reason,
            since: step.now(),
            deadline,
            phase: Phase::Notifying,
            wrong_answers: 0,
            notified,
            referred: false,
        });
        self.shorten_bindings();
        // 1) one NOTIFY on every dialog
        self.notify_all(step);
        self.demands_settled(step);
        Told::Reauthenticating { deadline }
    }

    /// While re-authentication is pending, no binding outlives its deadline; an earlier expiry stays.
    pub(crate) fn shorten_bindings(&mut self) {
        let Some(deadline) = self.reauthentication_deadline() else { return };
        let bindings = self.registration.sets.iter_mut().flat_map(|set| &mut set.bindings);
        for binding in bindings.filter(|binding| !binding.emergency) {
            binding.expires_at = binding.expires_at.min(deadline);
            binding.event = ContactEvent::Shortened;
        }
    }

    /// 2) The NOTIFY of a demand has its final status; 0 means that none will come.
    pub(super) fn demand_answered(&mut self, id: SubscriptionId, status: u16, step: &mut Step<'_>) {
        let Some(pending) = &mut self.authentication.reauthentication else { return };
        if let Some(awaited @ None) = pending.notified.get_mut(&id) {
            *awaited = Some(status);
            step.changed();
            self.demands_settled(step);
        }
    }

    /// When every NOTIFY has its final status, the UE's REGISTER is awaited; if no subscriber took one, the UE may be asked
    /// by other means.
    fn demands_settled(&mut self, step: &mut Step<'_>) {
        let Some(pending) = &mut self.authentication.reauthentication else { return };
        if pending.phase != Phase::Notifying || pending.notified.values().any(Option::is_none) {
            return;
        }
        // 3) await the user
        pending.phase = Phase::Awaiting;
        step.changed();
        let heard = pending.notified.values().flatten().any(|status| (200..300).contains(status));
        if !heard && step.policy.reauthentication.refer && !pending.referred {
            pending.referred = true;
            self.refer(step);
        }
    }

    /// The UE was challenged for it.
    pub(crate) fn reauthentication_challenged(&mut self) {
        if let Some(pending) = &mut self.authentication.reauthentication {
            pending.phase = Phase::Challenged;
        }
    }

    /// The UE proved itself.
    pub(crate) fn reauthentication_succeeded(&mut self, step: &mut Step<'_>) {
        self.reauthentication_over(step);
    }

    /// Nothing is asked of the UE any more.
    pub(super) fn reauthentication_over(&mut self, step: &mut Step<'_>) {
        if self.authentication.reauthentication.take().is_some() {
            step.changed();
        }
        for subscription in self.subscriptions.values_mut() {
            subscription.demand = false;
        }
    }

    /// When the UE must have authenticated.
    pub(crate) fn reauthentication_deadline(&self) -> Option<Timestamp> {
        self.authentication.reauthentication.as_ref().map(|pending| pending.deadline)
    }

    /// The UE did not authenticate in time: its registration ends (TS 24.229 §5.4.1.5).
    pub(crate) fn reauthentication_due(&mut self, step: &mut Step<'_>) {
        if self.reauthentication_deadline().is_some_and(|deadline| deadline <= step.now()) {
            self.reauthentication_over(step);
            self.network_initiated_deregistration(super::Cause::ReauthenticationLapsed, step);
        }
    }
}
