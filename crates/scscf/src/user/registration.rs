//! TS 24.229 §5.4.1.2.2 — a protected REGISTER: challenged again or not, and the Server-Assignment that goes with it.

use super::challenge::Provocation;
use super::register::{Register, Wanted, Wish};
use super::{Attempt, ContactBinding, Goal, ImplicitRegistrationSet, Registration, User};
use crate::cx::{Answer, Failure, Request, ServerAssignment, ServerAssignmentAnswer, ServerAssignmentType};
use crate::event::{AttemptId, CxPurpose};
use crate::profile::PublicIdentity;
use crate::{Effect, Impu, Rejection, Span, user::Step};
use sip::{Name, Status};

const CLAUSE: &str = "TS 24.229 §5.4.1.2.2";

impl User {
    /// It came over the security association of an earlier authentication.
    pub(crate) fn protected(&mut self, register: Register, step: &mut Step<'_>) -> Result<(), Rejection> {
        if !self.is_registered() {
            let why = "the user is not registered here";
            return Err(Rejection::new(Status::SERVER_INTERNAL_ERROR, CLAUSE, why));
        }
        let contacts = match &register.wish {
            Wish::Fetch => {
                self.tell_bindings(&register, step);
                return Ok(());
            }
            Wish::RemoveAll | Wish::Remove(_) => return self.deregister(register, step),
            Wish::Bind(contacts) => contacts,
        };
        let set = self.registration.set_of(&register.impu).filter(|set| !set.bindings.is_empty());
        let known = |set: &ImplicitRegistrationSet| set.knows(contacts);
        // 1) a further identity of the user, or a further emergency contact, begins anew.
        let begins = set.is_none_or(|set| register.is_emergency() && !known(set));
        if begins || self.must_reauthenticate(&register, contacts, step) {
            return self.challenge(register, Provocation::default(), step);
        }
        // 2) a new address needs an initial registration, which is never protected.
        if !set.is_some_and(known) {
            let why = "the contact address was not registered before";
            return Err(Rejection::new(Status::FORBIDDEN, CLAUSE, why));
        }
        let interval = u64::from(step.policy.registration.reregistration_interval);
        let assigned_at = set.map_or_else(Default::default, |set| set.assigned_at);
        if interval > 0 && step.now() >= assigned_at + Span::seconds(interval) {
            return self.assign(register, None, false, step);
        }
        self.accept(&register, None, false, step)
    }

    /// The operator's triggers, in their order.
    fn must_reauthenticate(&self, register: &Register, contacts: &[Wanted], step: &mut Step<'_>) -> bool {
        let policy = &step.policy.reauthentication;
        let authentication = &self.authentication;
        if authentication.reauthentication.is_some() && !register.is_emergency() {
            return true;
        }
        let old = authentication
            .last_success
            .is_none_or(|at| step.now() >= at + Span::seconds(u64::from(policy.interval)));
        let nth = policy.every_n_registrations;
        let failures = policy.on_failure_count;
        policy.on_every_reregister
            || policy.interval > 0 && old
            || nth > 0 && authentication.refreshes_since_success.saturating_add(1) >= nth
            || policy.random_percent > 0 && step.mint() % 100 < u64::from(policy.random_percent)
            || policy.on_path_change && self.arrives_by_another_path(register, contacts)
            || failures > 0 && authentication.wrong_since_success >= failures
    }

    fn arrives_by_another_path(&self, register: &Register, contacts: &[Wanted]) -> bool {
        let Some(set) = self.registration.set_of(&register.impu) else { return false };
        let visited = register.visited_network();
        contacts.iter().filter_map(|wanted| set.binding_of(wanted)).any(|binding| {
            binding.visited_network.as_deref() != visited.as_deref()
                || !binding.path.iter().map(|entry| &**entry).eq(register.request.values(Name::Path))
        })
    }

    /// 5) Server-Assignment-Request for the set of the identity in To.
    pub(crate) fn assign(
        &mut self,
        register: Register,
        nonce: Option<Box<str>>,
        authenticated: bool,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let set = self.registration.set_of(&register.impu);
        let assignment = if set.is_some_and(|set| !set.bindings.is_empty()) {
            ServerAssignmentType::ReRegistration
        } else {
            ServerAssignmentType::Registration
        };
        let held = set.is_some();
        let impu = register.impu.as_str().into();
        let id = self.attempt(register, Goal::Assign { nonce, authenticated }, step)?;
        let request = self.server_assignment(vec![impu], assignment, held, step);
        step.effect(Effect::CxRequest { purpose: CxPurpose::Assign(id), request });
        step.say("asks the HSS to assign the S-CSCF");
        Ok(())
    }

    pub(crate) fn server_assignment(
        &self,
        impus: Vec<Box<str>>,
        assignment: ServerAssignmentType,
        user_data_available: bool,
        step: &Step<'_>,
    ) -> Request {
        Request::ServerAssignment(ServerAssignment {
            impi: Some(self.impi.clone()),
            impus,
            assignment,
            user_data_available,
            server_name: step.policy.name.as_str().into(),
            hss: self.authentication.hss.clone(),
        })
    }

    /// Tells the HSS something to which nobody awaits the answer.
    pub(crate) fn report(&self, impus: Vec<Box<str>>, assignment: ServerAssignmentType, step: &mut Step<'_>) {
        let request = self.server_assignment(impus, assignment, true, step);
        step.effect(Effect::CxRequest { purpose: CxPurpose::Report, request });
    }

    /// An answer of the HSS came home.
    pub(crate) fn cx_answered(&mut self, to: CxPurpose, answer: Answer, step: &mut Step<'_>) {
        match to {
            CxPurpose::Challenge(id) | CxPurpose::Assign(id) => self.attempt_answered(id, answer, step),
            CxPurpose::Report => self.report_answered(answer, step),
            CxPurpose::Profile(id) => self.profile_arrived(id, answer, step),
        }
    }

    fn attempt_answered(&mut self, id: AttemptId, answer: Answer, step: &mut Step<'_>) {
        let Some(index) = self.attempts.iter().position(|(pending, _)| *pending == id) else {
            step.say("the HSS answered a REGISTER that is no longer pending");
            return;
        };
        let (_, Attempt { register, goal }) = self.attempts.remove(index);
        let astray = || Failure::Malformed("the answer belongs to another command".into());
        let outcome = match goal {
            Goal::Challenge(provocation) => {
                let answer = match answer {
                    Answer::MultimediaAuth(answer) => answer,
                    Answer::ServerAssignment(_) => Err(astray()),
                };
                self.vector_arrived(&register, provocation, answer, step)
            }
            Goal::Assign { nonce, authenticated } => {
                let answer = match answer {
                    Answer::ServerAssignment(answer) => answer,
                    Answer::MultimediaAuth(_) => Err(astray()),
                };
                self.assigned(&register, nonce.as_deref(), authenticated, answer, step)
            }
        };
        if let Err(rejection) = outcome {
            self.refuse(register.tx, &register.request, rejection, step);
        }
    }

    /// A registration ended while assignments were on their way to the HSS, which may have heard of them before the end: they
    /// bind nothing any more, and the UE begins anew.
    pub(crate) fn abandon_assignments(
        &mut self,
        concerned: impl Fn(&Register) -> bool,
        step: &mut Step<'_>,
    ) -> bool {
        let concerned =
            |attempt: &Attempt| matches!(attempt.goal, Goal::Assign { .. }) && concerned(&attempt.register);
        let pending = std::mem::take(&mut self.attempts);
        let (ended, kept): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|(_, attempt)| concerned(attempt));
        self.attempts = kept;
        let any = !ended.is_empty();
        for (_, Attempt { register, goal }) in ended {
            if let Goal::Assign { nonce: Some(nonce), .. } = goal {
                self.authentication.challenges.retain(|challenge| challenge.nonce != nonce);
                step.changed();
            }
            self.refuse(register.tx, &register.request, ended_meanwhile(), step);
        }
        any
    }

    /// TS 29.228 §6.1.2: where the HSS did not keep our name, the profile kept for unregistered services goes.
    fn report_answered(&mut self, answer: Answer, step: &mut Step<'_>) {
        let kept = match answer {
            Answer::ServerAssignment(Ok(ServerAssignmentAnswer { server_name_not_stored, .. })) => {
                !server_name_not_stored
            }
            Answer::ServerAssignment(Err(_)) | Answer::MultimediaAuth(_) => false,
        };
        let before = self.registration.sets.len();
        if !kept {
            self.registration.sets.retain(|set| !set.bindings.is_empty());
        }
        if self.registration.sets.len() != before {
            step.changed();
        }
        step.say("the HSS took note");
    }
}

/// The refusal of a REGISTER whose registration ended before the HSS answered.
pub(crate) fn ended_meanwhile() -> Rejection {
    Rejection::new(Status::SERVER_INTERNAL_ERROR, CLAUSE, "the registration ended meanwhile")
}

impl Registration {
    /// The implicit registration set that `impu` belongs to.
    pub fn set_of(&self, impu: &Impu) -> Option<&ImplicitRegistrationSet> {
        self.sets.iter().find(|set| set.profile.identity(impu).is_some())
    }

    pub(crate) fn set_of_mut(&mut self, impu: &Impu) -> Option<&mut ImplicitRegistrationSet> {
        self.sets.iter_mut().find(|set| set.profile.identity(impu).is_some())
    }

    /// All contact bindings.
    pub fn bindings(&self) -> impl Iterator<Item = &ContactBinding> {
        self.sets.iter().flat_map(|set| &set.bindings)
    }
}

impl ImplicitRegistrationSet {
    /// The binding that `wanted` would refresh: of a flow by instance and reg-id (RFC 5626 §6), else by URI.
    pub(crate) fn binding_of(&self, wanted: &Wanted) -> Option<&ContactBinding> {
        self.bindings.iter().find(|binding| binding.is_meant_by(wanted))
    }

    /// Whether every contact was registered before, flows apart: those may be added (RFC 5626 §6).
    pub(crate) fn knows(&self, contacts: &[Wanted]) -> bool {
        contacts
            .iter()
            .all(|wanted| wanted.expires == 0 || wanted.reg_id.is_some() || self.binding_of(wanted).is_some())
    }

    /// Its identities that are not barred, the default one first.
    pub fn unbarred(&self) -> impl Iterator<Item = &PublicIdentity> {
        self.profile.identities().filter(|identity| !identity.barred)
    }

    /// The identity that stands for the set towards the HSS.
    pub(crate) fn representative(&self) -> Option<Box<str>> {
        let identity = self.profile.default_identity().or_else(|| self.profile.identities().next())?;
        Some(identity.impu.as_str().into())
    }
}

impl ContactBinding {
    pub(crate) fn is_meant_by(&self, wanted: &Wanted) -> bool {
        self.emergency == wanted.emergency
            && match wanted.reg_id {
                Some(reg_id) => self.reg_id == Some(reg_id) && self.instance_id == wanted.instance_id,
                None => {
                    (self.reg_id.is_none() || wanted.expires == 0) && self.uri.equivalent(&wanted.address.uri)
                }
            }
    }

    /// The entry of its Path that is nearest to the UE: each proxy put itself before the others.
    pub(crate) fn edge(&self) -> Option<&str> {
        self.path.last().map(|entry| &**entry)
    }
}
