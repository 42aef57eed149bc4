//! TS 24.229 §5.4.1.4, §5.4.1.5 — deregistration by the user and by the network.

use super::register::{Register, Wish};
use super::{Departed, ImplicitRegistrationSet, ReleaseCause, User};
use crate::cx::ServerAssignmentType;
use crate::policy::TimeoutEvent;
use crate::{Effect, Rejection, user::Step};
use sip::{Status, reginfo::ContactEvent};
use std::sync::Arc;

const BY_USER: &str = "TS 24.229 §5.4.1.4";
/// The answer to a request to deregister an emergency contact, which only time ends (TS 24.229 §5.4.8).
pub(crate) const EMERGENCY_REFUSAL: Status = Status::NOT_IMPLEMENTED;

/// Why the network ends a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The UE did not re-authenticate in time.
    ReauthenticationLapsed,
    /// It answered wrongly, and the policy deregisters.
    ReauthenticationFailed,
    /// An operator wants it, in these words.
    Administrative(Box<str>),
    /// An application server did not take the registration, and its filter criterion ends it then.
    ApplicationServerFailed,
    /// RTR: the subscription ended.
    PermanentTermination,
    /// RTR: the user shall register anew elsewhere.
    ServerChange,
    /// RTR: the user is served elsewhere already.
    NewServerAssigned,
    /// RTR: the profile of the unregistered user need not be kept.
    RemoveScscf,
}

impl Cause {
    /// What documents say of the contacts; nothing where nobody is told.
    fn event(&self, policy: &crate::Policy) -> Option<ContactEvent> {
        match self {
            Self::ReauthenticationLapsed => Some(match policy.reauthentication.timeout_event {
                TimeoutEvent::Expired => ContactEvent::Expired,
                TimeoutEvent::Deactivated => ContactEvent::Deactivated,
            }),
            Self::ReauthenticationFailed
            | Self::Administrative(_)
            | Self::ApplicationServerFailed
            | Self::PermanentTermination => Some(ContactEvent::Rejected),
            Self::ServerChange => Some(ContactEvent::Deactivated),
            Self::NewServerAssigned | Self::RemoveScscf => None,
        }
    }

    /// `reason` of Subscription-State where no binding remains.
    const fn reason(&self) -> &'static str {
        match self {
            Self::ReauthenticationFailed
            | Self::Administrative(_)
            | Self::ApplicationServerFailed
            | Self::PermanentTermination => "rejected",
            Self::ReauthenticationLapsed
            | Self::ServerChange
            | Self::NewServerAssigned
            | Self::RemoveScscf => "noresource",
        }
    }

    /// What the HSS is told; nothing where it was the HSS that asked.
    const fn assignment(&self) -> Option<ServerAssignmentType> {
        match self {
            Self::ReauthenticationLapsed => Some(ServerAssignmentType::TimeoutDeregistration),
            Self::ReauthenticationFailed | Self::Administrative(_) | Self::ApplicationServerFailed => {
                Some(ServerAssignmentType::AdministrativeDeregistration)
            }
            Self::PermanentTermination | Self::ServerChange | Self::NewServerAssigned | Self::RemoveScscf => {
                None
            }
        }
    }

    /// Why sessions end with it.
    const fn release(&self) -> ReleaseCause {
        match self {
            Self::ReauthenticationLapsed => ReleaseCause::ReauthenticationLapsed,
            Self::ReauthenticationFailed => ReleaseCause::ReauthenticationFailed,
            Self::Administrative(_) => ReleaseCause::Administrative,
            Self::ApplicationServerFailed => ReleaseCause::ApplicationServerFailed,
            Self::PermanentTermination => ReleaseCause::PermanentTermination,
            Self::ServerChange => ReleaseCause::ServerChange,
            Self::NewServerAssigned | Self::RemoveScscf => ReleaseCause::NewServerAssigned,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::ReauthenticationLapsed => "deregistered: no re-authentication in time".to_owned(),
            Self::ReauthenticationFailed => "deregistered: re-authentication failed".to_owned(),
            Self::Administrative(reason) => format!("deregistered by an operator: {reason}"),
            Self::ApplicationServerFailed => "deregistered: an application server failed".to_owned(),
            Self::PermanentTermination => "deregistered by the HSS: the subscription ended".to_owned(),
            Self::ServerChange => "deregistered: to register anew".to_owned(),
            Self::NewServerAssigned => "dropped: served elsewhere".to_owned(),
            Self::RemoveScscf => "dropped: the profile need not be kept".to_owned(),
        }
    }
}

impl User {
    /// TS 24.229 §5.4.1.4: the user ends its bindings; it has proved who it is.
    pub(crate) fn deregister(&mut self, register: Register, step: &mut Step<'_>) -> Result<(), Rejection> {
        let refuse = |status, why: &'static str| Err(Rejection::new(status, BY_USER, why));
        let keep = step.policy.registration.store_server_name;
        let Some(set) = self.registration.set_of_mut(&register.impu) else {
            return refuse(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST, "the identity is not registered");
        };
        let known = match &register.wish {
            Wish::Remove(contacts) if contacts.iter().any(|wanted| wanted.emergency) => {
                return refuse(EMERGENCY_REFUSAL, "an emergency registration ends by itself");
            }
            Wish::Remove(contacts) => contacts.iter().all(|wanted| set.binding_of(wanted).is_some()),
            Wish::RemoveAll => set.bindings.iter().any(|binding| !binding.emergency),
            Wish::Fetch | Wish::Bind(_) => false,
        };
        if !known {
            return refuse(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST, "the contact is not registered");
        }
        let gone: Vec<_> = match &register.wish {
            Wish::Remove(contacts) => contacts.iter().filter_map(|wanted| set.unbind(wanted)).collect(),
            Wish::RemoveAll | Wish::Fetch | Wish::Bind(_) => set.unbind_all(),
        };
        let removed: Vec<_> = gone.iter().map(super::ContactBinding::contact_header).collect();
        let departed =
            gone.into_iter().map(|binding| set.departed(binding, ContactEvent::Unregistered)).collect();
        let last = set.bindings.is_empty().then(|| set.representative()).flatten();
        let profile = Arc::clone(&set.profile);
        step.changed();
        self.release_unbound(ReleaseCause::Deregistered, step);
        if let Some(impu) = last {
            self.abandon_assignments(|pending| profile.identity(&pending.impu).is_some(), step);
            let assignment = if keep {
                ServerAssignmentType::UserDeregistrationStoreServerName
            } else {
                ServerAssignmentType::UserDeregistration
            };
            self.report(vec![impu], assignment, step);
        }
        let response = self.ok(&register, &removed, step);
        self.servers_see_the_end(&register, &response);
        step.effect(Effect::Respond { tx: register.tx, response });
        step.say("deregistered by the user");
        self.tell_siblings(&register.impu, step);
        self.forget_unbound_sets(keep);
        self.bindings_departed(departed, "noresource", step);
        Ok(())
    }

    /// TS 24.229 §5.4.1.5: the network ends every binding but the emergency ones.
    pub(crate) fn network_initiated_deregistration(&mut self, cause: Cause, step: &mut Step<'_>) {
        self.end_bindings(cause, |_| true, step);
    }

    /// TS 24.229 §5.4.1.5 over the sets that `concerned` picks.
    pub(crate) fn end_bindings(
        &mut self,
        cause: Cause,
        concerned: impl Fn(&ImplicitRegistrationSet) -> bool,
        step: &mut Step<'_>,
    ) {
        step.changed();
        step.say(cause.words());
        if cause == Cause::RemoveScscf {
            self.registration.sets.retain(|set| !set.bindings.is_empty() || !concerned(set));
            return;
        }
        let event = cause.event(step.policy);
        let mut departed: Vec<Departed> = Vec::new();
        let mut ended = Vec::new();
        let mut identities = Vec::new();
        let mut profiles = Vec::new();
        for set in self.registration.sets.iter_mut().filter(|set| concerned(set)) {
            let gone = set.unbind_all();
            profiles.push(Arc::clone(&set.profile));
            if gone.is_empty() && !set.bindings.is_empty() {
                continue;
            }
            identities.extend(set.profile.identities().next().map(|identity| identity.impu.clone()));
            if set.bindings.is_empty() {
                ended.extend(set.representative());
            }
            if let Some(event) = event {
                departed.extend(gone.into_iter().map(|binding| set.departed(binding, event)));
            }
        }
        let ends = |pending: &Register| {
            !pending.is_emergency()
                && profiles.iter().any(|profile| profile.identity(&pending.impu).is_some())
        };
        self.abandon_assignments(ends, step);
        self.release_unbound(cause.release(), step);
        self.release_served(
            |impu| profiles.iter().any(|profile| profile.identity(impu).is_some()),
            cause.release(),
            step,
        );
        if let Some(assignment) = cause.assignment().filter(|_| !ended.is_empty()) {
            self.report(ended, assignment, step);
        }
        for impu in &identities {
            self.tell_siblings(impu, step);
        }
        self.forget_unbound_sets(false);
        if self.registration.bindings().all(|binding| binding.emergency) {
            self.reauthentication_over(step);
        }
        if cause == Cause::NewServerAssigned {
            // The user is alive elsewhere: whoever subscribed here hears it from there.
            self.subscriptions.clear();
            self.authentication.challenges.clear();
        } else {
            self.bindings_departed(departed, cause.reason(), step);
        }
    }

    /// A set without bindings stays only for services to the unregistered user.
    pub(crate) fn forget_unbound_sets(&mut self, keep: bool) {
        self.servers_are_shared();
        if !keep {
            self.registration.sets.retain(|set| !set.bindings.is_empty());
        }
        if self.registration.sets.is_empty() {
            self.forget_siblings();
        }
    }
}

impl ImplicitRegistrationSet {
    /// Takes every binding away but the emergency ones, which only time ends.
    fn unbind_all(&mut self) -> Vec<super::ContactBinding> {
        let (kept, gone) =
            std::mem::take(&mut self.bindings).into_iter().partition(|binding| binding.emergency);
        self.bindings = kept;
        gone
    }
}
