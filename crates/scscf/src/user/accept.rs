//! TS 24.229 §5.4.1.2.2F — successful registration: profile, bindings, the 200 (OK), and who is told.

use super::challenge::refusal;
use super::register::{Register, Wanted, Wish};
use super::registration::ended_meanwhile;
use super::{Cause, ContactBinding, Departed, ImplicitRegistrationSet, ReleaseCause, User};
use crate::cx::{Failure, ResultCode, ServerAssignmentAnswer, ServerAssignmentType};
use crate::profile::{IdentityType, Subscription};
use crate::{Effect, Rejection, Span, user::Step};
use sip::{Name, Status, reginfo::ContactEvent};
use std::sync::Arc;

const CLAUSE: &str = "TS 24.229 §5.4.1.2.2F";
/// Longest visited network, charging identifier and operator identifier that a binding keeps, in octets.
const LONGEST_NOTE: usize = 256;

/// What a Server-Assignment-Answer brought for a set.
#[derive(Debug)]
pub(crate) struct Assigned {
    profile: Option<Arc<Subscription>>,
    answer: ServerAssignmentAnswer,
}

impl User {
    /// 5) The HSS answered a SAR.
    pub(crate) fn assigned(
        &mut self,
        register: &Register,
        nonce: Option<&str>,
        authenticated: bool,
        answer: Result<ServerAssignmentAnswer, Failure>,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        if authenticated {
            // Right or not for the HSS: the vector is spent.
            self.authentication.succeeded(nonce, step);
        }
        let mut answer = match answer {
            Ok(answer) => answer,
            // A refresh owes nothing to the HSS; its outage must not end registrations.
            Err(Failure::Unreachable) if !authenticated => return self.accept(register, None, false, step),
            Err(failure) => return Err(self.assignment_failed(register, &failure, step)),
        };
        if answer.hss.is_some() {
            self.authentication.hss = answer.hss.take();
        }
        let held = self.registration.set_of(&register.impu).map(|set| Arc::clone(&set.profile));
        let initial = self.registration.set_of(&register.impu).is_none_or(|set| set.bindings.is_empty());
        let profile = match (answer.user_data.take(), held) {
            (Some(Ok(profile)), Some(held)) if profile == *held => Some(held),
            (Some(Ok(profile)), _) => Some(Arc::new(profile)),
            (Some(Err(_)) | None, Some(held)) => Some(held),
            (Some(Err(error)), None) => {
                self.undo(register, ServerAssignmentType::DeregistrationTooMuchData, step);
                return Err(Rejection::new(Status::TEMPORARILY_UNAVAILABLE, CLAUSE, error.to_string()));
            }
            (None, None) => {
                self.undo(register, ServerAssignmentType::AdministrativeDeregistration, step);
                let why = "the HSS sent no user profile";
                return Err(Rejection::new(Status::SERVER_INTERNAL_ERROR, CLAUSE, why));
            }
        };
        if let Some(why) = profile.as_deref().and_then(|profile| unfit(profile, register)) {
            self.undo(register, ServerAssignmentType::AdministrativeDeregistration, step);
            if !initial {
                self.drop_set(register, step);
            }
            return Err(Rejection::new(Status::FORBIDDEN, CLAUSE, why));
        }
        self.accept(register, Some(Assigned { profile, answer }), authenticated, step)
    }

    fn undo(&self, register: &Register, assignment: ServerAssignmentType, step: &mut Step<'_>) {
        self.report(vec![register.impu.as_str().into()], assignment, step);
    }

    fn assignment_failed(
        &mut self,
        register: &Register,
        failure: &Failure,
        step: &mut Step<'_>,
    ) -> Rejection {
        // The views of HSS and S-CSCF differ: ours gives way.
        if let Failure::Refused(ResultCode::IDENTITY_ALREADY_REGISTERED | ResultCode::IN_ASSIGNMENT_TYPE) =
            failure
        {
            self.drop_set(register, step);
        }
        refusal(CLAUSE, failure)
    }

    fn drop_set(&mut self, register: &Register, step: &mut Step<'_>) {
        let impu = register.impu.clone();
        self.end_bindings(Cause::ServerChange, |set| set.profile.identity(&impu).is_some(), step);
    }

    /// 6) to 10): binds the contacts, answers, tells everyone. Nothing of the REGISTER can fail any more, save its order.
    pub(crate) fn accept(
        &mut self,
        register: &Register,
        assigned: Option<Assigned>,
        authenticated: bool,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        self.is_in_order(register)?;
        self.has_room(register, step.policy)?;
        let Wish::Bind(contacts) = &register.wish else { return Ok(()) };
        let set = self.registration.set_of(&register.impu);
        if !authenticated && !set.is_some_and(|set| !set.bindings.is_empty() && set.knows(contacts)) {
            // While the HSS was asked, another REGISTER took the place of the contact.
            return Err(ended_meanwhile());
        }
        let mut departed =
            assigned.map_or_else(Vec::new, |assigned| self.keep_profile(register, assigned, step));
        let Some(set) = self.registration.set_of_mut(&register.impu) else {
            return Err(ended_meanwhile());
        };
        let kind = set.registration_type(contacts);
        let mut bound = Vec::new();
        let mut removed = Vec::new();
        for wanted in contacts {
            if wanted.expires == 0 {
                if let Some(gone) = set.unbind(wanted) {
                    removed.push(gone.contact_header());
                    departed.push(set.departed(gone, ContactEvent::Unregistered));
                }
            } else {
                bound.push(set.bind(register, wanted, &mut departed, step));
            }
        }
        if !authenticated {
            let refreshes = &mut self.authentication.refreshes_since_success;
            *refreshes = refreshes.saturating_add(1);
        }
        step.changed();
        if authenticated && !register.is_emergency() {
            self.reauthentication_succeeded(step);
        }
        // A refresh that was on its way to the HSS when the network asked does not outlive the deadline either.
        self.shorten_bindings();
        self.release_unbound(ReleaseCause::ContactReplaced, step);
        let response = self.ok(register, &removed, step);
        step.effect(Effect::Respond { tx: register.tx, response: response.clone() });
        step.say("registered");
        self.servers_hear(register, &response, kind, step);
        self.tell_siblings(&register.impu, step);
        if departed.is_empty() {
            self.notify_all(step);
        } else {
            self.bindings_replaced(departed, &bound, step);
        }
        Ok(())
    }

    /// Keeps what the HSS delivered; tells what subscribers are to hear of identities that are no longer in it.
    fn keep_profile(
        &mut self,
        register: &Register,
        assigned: Assigned,
        step: &mut Step<'_>,
    ) -> Vec<Departed> {
        let Assigned { profile, answer } = assigned;
        let Some(profile) = profile else { return Vec::new() };
        let sets = &self.registration.sets;
        // An identity that the HSS added to a set is of that set, though we have not heard of it before.
        let shares = |set: &ImplicitRegistrationSet| {
            profile.identities().any(|identity| set.profile.identity(&identity.impu).is_some())
        };
        let index = sets
            .iter()
            .position(|set| set.profile.identity(&register.impu).is_some())
            .or_else(|| sets.iter().position(shares));
        match index.and_then(|index| self.registration.sets.get_mut(index)) {
            Some(set) => {
                let departed = set.lost_to(&profile);
                set.profile = profile;
                set.charging = answer.charging.or(set.charging.take());
                if !answer.associated_identities.is_empty() {
                    set.associated_identities = answer.associated_identities;
                }
                set.assigned_at = step.now();
                departed
            }
            None => {
                self.registration.sets.push(ImplicitRegistrationSet {
                    profile,
                    charging: answer.charging,
                    associated_identities: answer.associated_identities,
                    bindings: Vec::new(),
                    assigned_at: step.now(),
                });
                Vec::new()
            }
        }
    }
}

/// Why this profile cannot serve this REGISTER.
fn unfit(profile: &Subscription, register: &Register) -> Option<&'static str> {
    let Some(identity) = profile.identity(&register.impu) else {
        return Some("the identity in To is not in the implicit registration set");
    };
    if matches!(identity.kind, IdentityType::WildcardedImpu | IdentityType::WildcardedPsi) {
        return Some("the identity in To is a wildcard");
    }
    let barred = profile.identities().all(|identity| identity.barred);
    (barred && !register.is_emergency())
        .then_some("every identity of the implicit registration set is barred")
}

impl ImplicitRegistrationSet {
    /// 6) to 9) One contact under every identity of the set that is not barred; the identifier of its binding.
    fn bind(
        &mut self,
        register: &Register,
        wanted: &Wanted,
        departed: &mut Vec<Departed>,
        step: &mut Step<'_>,
    ) -> u64 {
        let id = step.mint();
        let mut binding = ContactBinding::new(id, register, wanted, step);
        let known = self.bindings.iter().position(|binding| binding.is_meant_by(wanted));
        let replaced = match known {
            Some(index) if wanted.reg_id.is_none() || self.bindings[index].edge() == binding.edge() => {
                let old = &mut self.bindings[index];
                binding.id = old.id;
                binding.registered_at = old.registered_at;
                binding.event = if binding.expires_at < old.expires_at {
                    ContactEvent::Shortened
                } else {
                    ContactEvent::Refreshed
                };
                *old = binding;
                return old.id;
            }
            Some(flow) => vec![self.bindings.remove(flow)],
            // 4A) without reg-id the new address takes the place of the old one.
            None if wanted.reg_id.is_none() => {
                let call_id = register.request.call_id();
                let cseq = register.request.cseq().number;
                let old = |old: &ContactBinding| {
                    let same_request = &*old.call_id == call_id && old.cseq == cseq;
                    old.reg_id.is_none() && old.emergency == wanted.emergency && !same_request
                };
                let (gone, kept) = std::mem::take(&mut self.bindings).into_iter().partition(old);
                self.bindings = kept;
                gone
            }
            None => Vec::new(),
        };
        for gone in replaced {
            let gone = self.departed(gone, ContactEvent::Unregistered);
            departed.push(gone);
        }
        self.bindings.push(binding);
        id
    }

    /// Takes a binding away.
    pub(crate) fn unbind(&mut self, wanted: &Wanted) -> Option<ContactBinding> {
        let index = self.bindings.iter().position(|binding| binding.is_meant_by(wanted))?;
        Some(self.bindings.remove(index))
    }

    /// What subscribers are to hear of a binding that ended.
    pub(crate) fn departed(&self, binding: ContactBinding, event: ContactEvent) -> Departed {
        Departed {
            id: binding.id,
            uri: binding.uri.as_str().into(),
            impus: self.unbarred().map(|identity| identity.impu.clone()).collect(),
            event,
            call_id: binding.call_id,
            cseq: binding.cseq,
        }
    }
}

impl ContactBinding {
    fn new(id: u64, register: &Register, wanted: &Wanted, step: &Step<'_>) -> Self {
        let request = &register.request;
        let kept = |text: &str| (text.len() <= LONGEST_NOTE).then(|| text.into());
        let vector = register.charging_vector();
        let cseq = request.cseq().number;
        let uses_gruu = wanted.instance_id.is_some() && register.supports("gruu");
        Self {
            id,
            uri: wanted.address.uri.clone(),
            params: wanted.address.params.clone(),
            instance_id: wanted.instance_id.clone(),
            reg_id: wanted.reg_id,
            path: request.values(Name::Path).map(Into::into).collect(),
            call_id: request.call_id().into(),
            cseq,
            request: register.fingerprint(),
            expires_at: step.now() + Span::seconds(u64::from(wanted.expires)),
            registered_at: step.now(),
            impu: register.impu.clone(),
            visited_network: register.visited_network().and_then(|network| kept(&network)),
            icid: vector.as_ref().and_then(|vector| kept(&vector.icid_value)),
            orig_ioi: vector.and_then(|vector| vector.orig_ioi).and_then(|ioi| kept(&ioi)),
            event: ContactEvent::Registered,
            gruu: uses_gruu.then_some(cseq),
            emergency: wanted.emergency,
        }
    }
}
