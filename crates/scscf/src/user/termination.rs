//! TS 29.228 §6.1.3, TS 24.229 §5.4.1.5 — the HSS ends registrations: Registration-Termination-Request.

use super::{Cause, ImplicitRegistrationSet, User, register::Register};
use crate::cx::{Demand, DemandAnswer, DeregistrationReason, ReAuth, RegistrationTermination, ResultCode};
use crate::event::{CxTx, Trigger};
use crate::{Effect, Impu, Told, user::Step};

impl User {
    /// The HSS demands something; it gets exactly one answer.
    pub(crate) fn demanded(&mut self, tx: CxTx, demand: Demand, step: &mut Step<'_>) {
        let answer = match demand {
            Demand::RegistrationTermination(rtr) => self.terminate(&rtr, step),
            Demand::PushProfile(ppr) => self.push_profile(ppr, step),
            Demand::ReAuth(ReAuth { impi: _ }) => self.reauthenticate_for_hss(step),
        };
        step.effect(Effect::CxAnswer { tx, answer });
    }

    /// RFC 6733 §8.3: the registration is the session; without one there is nobody to ask.
    fn reauthenticate_for_hss(&mut self, step: &mut Step<'_>) -> DemandAnswer {
        DemandAnswer::of(match self.reauthenticate(Trigger::Hss, None, None, step) {
            Told::Reauthenticating { .. } | Told::AlreadyReauthenticating { .. } => ResultCode::SUCCESS,
            Told::Deregistering | Told::NotRegistered => ResultCode::USER_UNKNOWN,
        })
    }

    fn terminate(&mut self, rtr: &RegistrationTermination, step: &mut Step<'_>) -> DemandAnswer {
        let named: Vec<Impu> = rtr.impus.iter().filter_map(|text| Impu::parse(text)).collect();
        // The whole user moves, whatever identities are listed.
        let all = rtr.impus.is_empty() || rtr.reason == DeregistrationReason::ServerChange;
        let concerned = |set: &ImplicitRegistrationSet| {
            all || named.iter().any(|impu| set.profile.identity(impu).is_some())
        };
        let pending =
            |register: &Register| !register.is_emergency() && (all || named.contains(&register.impu));
        let abandoned =
            rtr.reason != DeregistrationReason::RemoveScscf && self.abandon_assignments(pending, step);
        let sets = || self.registration.sets.iter().filter(|set| concerned(set));
        if sets().next().is_none() {
            step.say("asked to end what is not registered");
            return DemandAnswer::of(match abandoned {
                true => ResultCode::SUCCESS,
                false => ResultCode::USER_UNKNOWN,
            });
        }
        let bindings = || sets().flat_map(|set| &set.bindings);
        let emergency: Vec<_> = sets()
            .filter(|set| set.bindings.iter().any(|binding| binding.emergency))
            .filter_map(|set| Some((self.impi.clone(), set.representative()?)))
            .collect();
        let cause = match rtr.reason {
            DeregistrationReason::PermanentTermination => Cause::PermanentTermination,
            DeregistrationReason::NewServerAssigned => Cause::NewServerAssigned,
            DeregistrationReason::ServerChange => Cause::ServerChange,
            DeregistrationReason::RemoveScscf => Cause::RemoveScscf,
        };
        let result = if !emergency.is_empty() && bindings().all(|binding| binding.emergency) {
            step.say("an emergency registration is not ended");
            return DemandAnswer { emergency, ..DemandAnswer::of(ResultCode::UNABLE_TO_COMPLY) };
        } else if cause == Cause::RemoveScscf && sets().all(|set| !set.bindings.is_empty()) {
            step.say("asked to forget the profile of a user who is registered");
            return DemandAnswer::of(ResultCode::UNABLE_TO_COMPLY);
        } else if emergency.is_empty() {
            ResultCode::SUCCESS
        } else {
            ResultCode::LIMITED_SUCCESS
        };
        let associated_identities =
            if rtr.associated_identities.is_empty() { Vec::new() } else { vec![self.impi.clone()] };
        self.end_bindings(cause, concerned, step);
        DemandAnswer { result, associated_identities, emergency }
    }
}
