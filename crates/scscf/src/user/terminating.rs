//! TS 24.229 §5.4.3.3 — requests that end at the served user.

use super::chain::{Initial, Stage};
use super::relay::{Answered, Draft, Passage};
use super::{ImplicitRegistrationSet, Step, User};
use crate::cx::{Answer, Failure, ResultCode, ServerAssignmentAnswer, ServerAssignmentType};
use crate::event::RelayId;
use crate::ifc::{Chain, SessionCase};
use crate::profile::Subscription;
use crate::{Impu, Rejection};
use sip::{Name, Status, Uri};
use std::sync::Arc;

const CLAUSE: &str = "TS 24.229 §5.4.3.3";

impl User {
    /// A request for the identity in the Request-URI.
    pub(crate) fn terminating(&mut self, draft: Draft, step: &mut Step<'_>) -> Result<(), Rejection> {
        let served = self.identity_in(draft.onward.uri(), step.policy)?;
        let set = self.registration.set_of(&served);
        // 1) a barred identity is not reached, and nobody learns that it exists
        if self.is_out_of_reach(&served) {
            return Err(Rejection::new(Status::NOT_FOUND, CLAUSE, "the identity cannot be called"));
        }
        let registered = set.is_some_and(|set| !set.bindings.is_empty())
            || self.registration.siblings.values().flatten().any(|contact| contact.impus.contains(&served));
        let profile = set.and_then(|set| set.service_profile(&served));
        let criteria = profile.map(|profile| step.policy.chain(profile));
        step.policy.media.check(profile.and_then(|profile| profile.media_profile), &draft.request)?;
        let mut edit = draft.onward.edit();
        edit.remove(Name::PServedUser);
        edit.remove(Name::PUserDatabase);
        // A Route that comes back from a server is that server's word: nobody else leads past the contacts.
        edit.remove(Name::Route);
        let case = if registered {
            SessionCase::TerminatingRegistered
        } else {
            SessionCase::TerminatingUnregistered
        };
        let known = criteria.is_some();
        let initial = Initial::first(&draft, edit, case, served, criteria.unwrap_or_default(), step)?;
        // 2) not registered here: the HSS knows the services
        if known { self.begin(&draft, initial, step) } else { self.ask_for_profile(&draft, initial, step) }
    }

    /// The HSS delivered the profile of a user who is not registered, or did not.
    pub(crate) fn profile_arrived(&mut self, id: RelayId, answer: Answer, step: &mut Step<'_>) {
        let Some(mut relay) = self.relays.remove(&id).map(|relay| *relay) else {
            return step.say("the HSS answered for a request that is no longer on its way");
        };
        let answer = match answer {
            Answer::ServerAssignment(answer) => answer,
            Answer::MultimediaAuth(_) => {
                Err(Failure::Malformed("the answer belongs to another command".into()))
            }
        };
        let Passage::Initial(initial) = &mut relay.passage else { return };
        if relay.ending.is_some() || relay.answered != Answered::No {
            return;
        }
        let served = initial.served.clone();
        let outcome = match profile_of(answer) {
            Ok(profile) => {
                let criteria = profile
                    .profiles
                    .iter()
                    .find(|profile| profile.identities.iter().any(|identity| identity.impu == served))
                    .or_else(|| profile.profiles.first())
                    .map_or_else(Chain::default, |profile| step.policy.chain(profile));
                initial.criteria = criteria;
                initial.stage = Stage::Onward;
                let barred = profile.identity(&served).is_some_and(|identity| identity.barred);
                let terminating = initial.is_terminating();
                self.keep_unregistered(profile, step);
                if barred {
                    let (status, why) = match terminating {
                        true => (Status::NOT_FOUND, "the identity cannot be called"),
                        false => (Status::FORBIDDEN, "the identity of the caller is barred"),
                    };
                    Err(Rejection::new(status, CLAUSE, why))
                } else {
                    self.proceed(&mut relay, step)
                }
            }
            Err(rejection) => Err(rejection),
        };
        if let Err(rejection) = outcome {
            self.refuse_relay(&mut relay, rejection, step);
        }
        self.keep_relay(relay, step);
    }

    /// TS 29.228 §6.1.2: the profile is kept for services to the unregistered user, by the private identity it belongs to.
    fn keep_unregistered(&mut self, profile: Subscription, step: &mut Step<'_>) {
        let known = profile.identities().any(|it| self.registration.set_of(&it.impu).is_some());
        if known || *profile.private_id != *self.impi.as_str() {
            return;
        }
        self.registration.sets.push(ImplicitRegistrationSet {
            profile: Arc::new(profile),
            charging: None,
            associated_identities: Vec::new(),
            bindings: Vec::new(),
            assigned_at: step.now(),
        });
        step.changed();
    }

    /// SAR for an identity whose private identity may not be known (TS 29.228 §6.1.2).
    pub(crate) fn unregistered_assignment(
        &self,
        impus: Vec<Box<str>>,
        assignment: ServerAssignmentType,
        step: &Step<'_>,
    ) -> crate::cx::Request {
        match self.server_assignment(impus, assignment, false, step) {
            crate::cx::Request::ServerAssignment(sar) => {
                let impi = sar.impi.filter(|_| !self.registration.sets.is_empty());
                crate::cx::Request::ServerAssignment(crate::cx::ServerAssignment { impi, ..sar })
            }
            other @ crate::cx::Request::MultimediaAuth(_) => other,
        }
    }
}

fn profile_of(answer: Result<ServerAssignmentAnswer, Failure>) -> Result<Subscription, Rejection> {
    match answer {
        Ok(ServerAssignmentAnswer { user_data: Some(Ok(profile)), .. }) => Ok(profile),
        Ok(ServerAssignmentAnswer { user_data: Some(Err(error)), .. }) => {
            Err(Rejection::new(Status::TEMPORARILY_UNAVAILABLE, CLAUSE, error.to_string()))
        }
        Ok(ServerAssignmentAnswer { user_data: None, .. }) => {
            let why = "the HSS sent no user profile";
            Err(Rejection::new(Status::TEMPORARILY_UNAVAILABLE, CLAUSE, why))
        }
        Err(failure @ Failure::Refused(ResultCode::USER_UNKNOWN)) => {
            Err(Rejection::new(Status::NOT_FOUND, CLAUSE, failure.to_string()))
        }
        Err(failure @ Failure::Unreachable) => {
            Err(Rejection::new(Status::SERVER_TIMEOUT, CLAUSE, failure.to_string()))
        }
        Err(failure @ (Failure::Refused(_) | Failure::Malformed(_))) => {
            Err(Rejection::new(Status::TEMPORARILY_UNAVAILABLE, CLAUSE, failure.to_string()))
        }
    }
}

/// The tel identity behind a SIP URI of a telephone number (RFC 3261 §19.1.6).
pub(crate) fn number_in(uri: &Uri) -> Option<Impu> {
    let user = uri.user().filter(|_| uri.is_sip())?;
    let number = user.split(';').next().unwrap_or(user);
    let phone = uri.param("user").flatten().is_some_and(|kind| kind.eq_ignore_ascii_case("phone"));
    (phone || number.starts_with('+')).then(|| Impu::parse(&format!("tel:{number}"))).flatten()
}
