//! TS 24.229 §5.4.1.8, TS 29.228 §6.2.1 — the HSS pushes changed data: Push-Profile-Request.

use super::{Departed, ImplicitRegistrationSet, User};
use crate::cx::{DemandAnswer, PushProfile, ResultCode, UserDataError};
use crate::event::Trigger;
use crate::profile::Subscription;
use crate::{Impu, user::Step};
use sip::reginfo::ContactEvent;
use std::sync::Arc;

impl User {
    pub(crate) fn push_profile(&mut self, ppr: PushProfile, step: &mut Step<'_>) -> DemandAnswer {
        let PushProfile { impi: _, user_data, charging, auth_data } = ppr;
        if self.registration.sets.is_empty() {
            step.say("a profile was pushed for a user who is not known");
            return DemandAnswer::of(ResultCode::USER_UNKNOWN);
        }
        let profile = match user_data.transpose() {
            Ok(profile) => profile,
            Err(error) => {
                step.say(error.to_string());
                return DemandAnswer::of(match error {
                    UserDataError::Malformed(_) => ResultCode::NOT_SUPPORTED_USER_DATA,
                    UserDataError::TooLarge(_) => ResultCode::TOO_MUCH_DATA,
                });
            }
        };
        if let Some(profile) = profile
            && let Err(result) = self.replace_profile(profile, step)
        {
            return DemandAnswer::of(result);
        }
        if let Some(charging) = charging {
            for set in &mut self.registration.sets {
                set.charging = Some(charging.clone());
            }
            step.changed();
        }
        if auth_data.is_some() && step.policy.reauthentication.on_profile_push && self.is_registered() {
            let _ = self.reauthenticate(Trigger::Hss, None, None, step);
        }
        DemandAnswer::of(ResultCode::SUCCESS)
    }

    /// The pushed profile takes the place of the one that shares an identity with it. Identities that are new are
    /// registered on every contact of the set; those that are gone or barred are told terminated.
    fn replace_profile(&mut self, profile: Subscription, step: &mut Step<'_>) -> Result<(), ResultCode> {
        let shares = |held: &Subscription| profile.identities().any(|it| held.identity(&it.impu).is_some());
        let Some(set) = self.registration.sets.iter_mut().find(|set| shares(&set.profile)) else {
            step.say("the pushed profile has no identity of this user");
            return Err(ResultCode::USER_UNKNOWN);
        };
        let default = |subscription: &Subscription| subscription.default_identity().map(|it| it.impu.clone());
        if default(&set.profile) != default(&profile) {
            step.say("a pushed profile must not change the default identity");
            return Err(ResultCode::UNABLE_TO_COMPLY);
        }
        if *set.profile == profile {
            return Ok(());
        }
        let departed = set.lost_to(&profile);
        let told = |subscription: &Subscription, impu: &Impu| {
            subscription.identity(impu).is_some_and(|identity| !identity.barred)
        };
        let gained = profile.identities().any(|it| !it.barred && !told(&set.profile, &it.impu));
        let default = default(&profile);
        set.profile = Arc::new(profile);
        step.changed();
        step.say("the HSS changed the profile");
        if let Some(impu) = default {
            self.servers_of_changed_profile(&impu, step);
        }
        if !departed.is_empty() {
            self.bindings_departed(departed, "noresource", step);
        } else if gained {
            self.notify_all(step);
        }
        Ok(())
    }
}

impl ImplicitRegistrationSet {
    /// What subscribers are to hear when `profile` takes the place of the set's: each contact ends for the identities that
    /// are gone or barred, though the contact itself stays.
    pub(crate) fn lost_to(&self, profile: &Subscription) -> Vec<Departed> {
        let told = |impu: &Impu| profile.identity(impu).is_some_and(|identity| !identity.barred);
        let lost: Vec<Impu> =
            self.unbarred().map(|it| &it.impu).filter(|impu| !told(impu)).cloned().collect();
        if lost.is_empty() {
            return Vec::new();
        }
        let departed = self.bindings.iter().map(|binding| Departed {
            id: binding.id,
            uri: binding.uri.as_str().into(),
            impus: lost.clone(),
            event: ContactEvent::Deactivated,
            call_id: binding.call_id.clone(),
            cseq: binding.cseq,
        });
        departed.collect()
    }
}
