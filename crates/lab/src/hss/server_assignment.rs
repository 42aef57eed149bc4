//! TS 29.228 §6.1.2 — Server-Assignment: the HSS hears what became of a registration and gives out the profile.

use super::subscribers::{RegistrationState, Subscriber, Subscribers};
use diameter::cx::{Assigned, HssAnswer};
use scscf::cx::{ResultCode, ServerAssignment, ServerAssignmentType as Type};
use std::sync::Arc;

/// Answers a SAR of the node `host`.
pub(super) fn answer(
    all: &mut Subscribers,
    sar: &ServerAssignment,
    host: &Arc<str>,
    store_server_name: bool,
) -> HssAnswer {
    // 1) the identities exist and belong together
    let impi = match identified(all, sar) {
        Ok(impi) => impi,
        Err(code) => return remembered(all, sar, None, HssAnswer::Result(code)),
    };
    // 2) only a deregistration may name several public identities
    let one = matches!(
        sar.assignment,
        Type::NoAssignment
            | Type::Registration
            | Type::ReRegistration
            | Type::UnregisteredUser
            | Type::AuthenticationFailure
            | Type::AuthenticationTimeout
    );
    if one && sar.impus.len() != 1 {
        let code =
            if sar.impus.is_empty() { ResultCode::Base(5005) } else { ResultCode::AVP_OCCURS_TOO_MANY_TIMES };
        return remembered(all, sar, Some(&impi), HssAnswer::Result(code));
    }
    let server = all.intern(&sar.server_name);
    let Some(subscriber) = all.get_mut(&impi) else { return HssAnswer::Result(ResultCode::USER_UNKNOWN) };
    // 3) what the assignment type asks for
    let answer = match assigned(subscriber, sar.assignment, &server, host, store_server_name) {
        Err(code) => HssAnswer::Result(code),
        Ok(outcome) => {
            let profile = outcome == Outcome::Profile && !sar.user_data_available;
            HssAnswer::ServerAssignment(Assigned {
                user_data: profile.then(|| all.user_data(&impi)),
                charging: None,
                associated_identities: if profile { all.associated(&impi) } else { Vec::new() },
                server_name_not_stored: outcome == Outcome::NameNotStored,
            })
        }
    };
    remembered(all, sar, Some(&impi), answer)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Profile,
    Done,
    NameNotStored,
}

fn assigned(
    subscriber: &mut Subscriber,
    assignment: Type,
    server: &Arc<str>,
    host: &Arc<str>,
    store_server_name: bool,
) -> Result<Outcome, ResultCode> {
    let ours = subscriber.server.as_ref() == Some(server);
    let free = subscriber.server.is_none();
    match assignment {
        Type::Registration | Type::ReRegistration => {
            if !ours && !free {
                return Err(ResultCode::IDENTITY_ALREADY_REGISTERED);
            }
            subscriber.server = Some(Arc::clone(server));
            subscriber.host = Some(Arc::clone(host));
            subscriber.state = RegistrationState::Registered;
            subscriber.authentication_pending = false;
            Ok(Outcome::Profile)
        }
        Type::UnregisteredUser => {
            if subscriber.state == RegistrationState::Registered {
                let other = ResultCode::IDENTITY_ALREADY_REGISTERED;
                return Err(if ours { ResultCode::IN_ASSIGNMENT_TYPE } else { other });
            }
            if !ours && !free {
                return Err(ResultCode::IDENTITY_ALREADY_REGISTERED);
            }
            subscriber.server = Some(Arc::clone(server));
            subscriber.host = Some(Arc::clone(host));
            subscriber.state = RegistrationState::Unregistered;
            Ok(Outcome::Profile)
        }
        Type::NoAssignment if ours => Ok(Outcome::Profile),
        Type::NoAssignment => Err(ResultCode::UNABLE_TO_COMPLY),
        Type::AuthenticationFailure | Type::AuthenticationTimeout => {
            // The name is cleared for an identity that is not registered, and for no other.
            if subscriber.state == RegistrationState::NotRegistered && ours {
                subscriber.release();
            }
            subscriber.authentication_pending = false;
            Ok(Outcome::Done)
        }
        _ if !ours && !free => Err(ResultCode::UNABLE_TO_COMPLY),
        Type::TimeoutDeregistrationStoreServerName | Type::UserDeregistrationStoreServerName
            if store_server_name =>
        {
            subscriber.state = RegistrationState::Unregistered;
            Ok(Outcome::Done)
        }
        Type::TimeoutDeregistrationStoreServerName | Type::UserDeregistrationStoreServerName => {
            subscriber.release();
            Ok(Outcome::NameNotStored)
        }
        Type::TimeoutDeregistration
        | Type::UserDeregistration
        | Type::AdministrativeDeregistration
        | Type::DeregistrationTooMuchData => {
            subscriber.release();
            Ok(Outcome::Done)
        }
    }
}

fn identified(all: &Subscribers, sar: &ServerAssignment) -> Result<Box<str>, ResultCode> {
    let Some(impi) = &sar.impi else {
        let first = sar.impus.first().and_then(|impu| all.owners(impu).into_iter().next());
        return first.ok_or(ResultCode::USER_UNKNOWN);
    };
    let impi = impi.as_str();
    all.get(impi).ok_or(ResultCode::USER_UNKNOWN)?;
    for impu in &sar.impus {
        if all.barring(impi, impu).is_none() {
            let known = !all.owners(impu).is_empty();
            return Err(if known { ResultCode::IDENTITIES_DONT_MATCH } else { ResultCode::USER_UNKNOWN });
        }
    }
    Ok(impi.into())
}

fn remembered(
    all: &mut Subscribers,
    sar: &ServerAssignment,
    impi: Option<&str>,
    answer: HssAnswer,
) -> HssAnswer {
    let impi = impi.or(sar.impi.as_ref().map(scscf::Impi::as_str));
    if let Some(subscriber) = impi.and_then(|impi| all.get_mut(impi)) {
        subscriber.remember(name(sar.assignment), Some(super::result_of(&answer)), None);
    }
    answer
}

const fn name(assignment: Type) -> &'static str {
    match assignment {
        Type::NoAssignment => "SAR NO_ASSIGNMENT",
        Type::Registration => "SAR REGISTRATION",
        Type::ReRegistration => "SAR RE_REGISTRATION",
        Type::UnregisteredUser => "SAR UNREGISTERED_USER",
        Type::TimeoutDeregistration => "SAR TIMEOUT_DEREGISTRATION",
        Type::UserDeregistration => "SAR USER_DEREGISTRATION",
        Type::TimeoutDeregistrationStoreServerName => "SAR TIMEOUT_DEREGISTRATION_STORE_SERVER_NAME",
        Type::UserDeregistrationStoreServerName => "SAR USER_DEREGISTRATION_STORE_SERVER_NAME",
        Type::AdministrativeDeregistration => "SAR ADMINISTRATIVE_DEREGISTRATION",
        Type::AuthenticationFailure => "SAR AUTHENTICATION_FAILURE",
        Type::AuthenticationTimeout => "SAR AUTHENTICATION_TIMEOUT",
        Type::DeregistrationTooMuchData => "SAR DEREGISTRATION_TOO_MUCH_DATA",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{hss::Config, provisioning::DOMAIN};
    use scscf::Impi;

    const SERVER: &str = "sip:scscf.example:5060";

    fn all() -> Subscribers {
        Subscribers::new(&Config::default()).unwrap()
    }

    fn sar(assignment: Type) -> ServerAssignment {
        ServerAssignment {
            impi: Impi::new(&format!("alice@{DOMAIN}")),
            impus: vec![format!("sip:alice@{DOMAIN}").into()],
            assignment,
            user_data_available: false,
            server_name: SERVER.into(),
            hss: None,
        }
    }

    fn ask(all: &mut Subscribers, sar: &ServerAssignment) -> HssAnswer {
        answer(all, sar, &"n1".into(), true)
    }

    fn alice(all: &Subscribers) -> &Subscriber {
        all.get(&format!("alice@{DOMAIN}")).unwrap()
    }

    fn done(answer: HssAnswer) -> Assigned {
        let HssAnswer::ServerAssignment(assigned) = answer else { panic!("{answer:?}") };
        assigned
    }

    #[test]
    fn a_registration_brings_the_profile_and_a_later_one_only_if_asked() {
        let mut all = all();
        assert!(done(ask(&mut all, &sar(Type::Registration))).user_data.is_some());
        assert_eq!(alice(&all).state, RegistrationState::Registered);
        let mut again = sar(Type::ReRegistration);
        again.user_data_available = true;
        assert_eq!(done(ask(&mut all, &again)).user_data, None);
    }

    #[test]
    fn another_s_cscf_does_not_get_a_registered_user() {
        let mut all = all();
        ask(&mut all, &sar(Type::Registration));
        let mut other = sar(Type::Registration);
        other.server_name = "sip:other.example".into();
        assert_eq!(ask(&mut all, &other), HssAnswer::Result(ResultCode::IDENTITY_ALREADY_REGISTERED));
        other.assignment = Type::UserDeregistration;
        assert_eq!(ask(&mut all, &other), HssAnswer::Result(ResultCode::UNABLE_TO_COMPLY));
        assert_eq!(alice(&all).state, RegistrationState::Registered);
    }

    #[test]
    fn every_deregistration_ends_it() {
        for (assignment, state) in [
            (Type::TimeoutDeregistration, RegistrationState::NotRegistered),
            (Type::UserDeregistration, RegistrationState::NotRegistered),
            (Type::AdministrativeDeregistration, RegistrationState::NotRegistered),
            (Type::DeregistrationTooMuchData, RegistrationState::NotRegistered),
            (Type::UserDeregistrationStoreServerName, RegistrationState::Unregistered),
            (Type::TimeoutDeregistrationStoreServerName, RegistrationState::Unregistered),
        ] {
            let mut all = all();
            ask(&mut all, &sar(Type::Registration));
            let mut ending = sar(assignment);
            ending.impus.clear();
            assert_eq!(done(ask(&mut all, &ending)).user_data, None);
            assert_eq!(alice(&all).state, state, "{assignment:?}");
            assert_eq!(alice(&all).server.is_some(), state == RegistrationState::Unregistered);
        }
    }

    #[test]
    fn a_name_that_is_not_kept_is_answered_2004() {
        let mut all = all();
        ask(&mut all, &sar(Type::Registration));
        let answered = answer(&mut all, &sar(Type::UserDeregistrationStoreServerName), &"n1".into(), false);
        assert!(done(answered).server_name_not_stored);
        assert_eq!(alice(&all).server, None);
    }

    #[test]
    fn a_failed_authentication_clears_the_name_of_nobody_who_is_registered() {
        for assignment in [Type::AuthenticationFailure, Type::AuthenticationTimeout] {
            let mut all = all();
            ask(&mut all, &sar(Type::Registration));
            ask(&mut all, &sar(assignment));
            assert_eq!(alice(&all).state, RegistrationState::Registered);
            assert_eq!(alice(&all).server.as_deref(), Some(SERVER));
            ask(&mut all, &sar(Type::UserDeregistration));
            all.get_mut(&format!("alice@{DOMAIN}")).unwrap().server = Some(SERVER.into());
            ask(&mut all, &sar(assignment));
            assert_eq!(alice(&all).server, None);
        }
    }

    #[test]
    fn unregistered_services_and_fetches() {
        let mut all = all();
        assert_eq!(ask(&mut all, &sar(Type::NoAssignment)), HssAnswer::Result(ResultCode::UNABLE_TO_COMPLY));
        let mut unregistered = sar(Type::UnregisteredUser);
        unregistered.impi = None;
        assert!(done(ask(&mut all, &unregistered)).user_data.is_some());
        assert_eq!(alice(&all).state, RegistrationState::Unregistered);
        assert!(done(ask(&mut all, &sar(Type::NoAssignment))).user_data.is_some());
        ask(&mut all, &sar(Type::Registration));
        assert_eq!(ask(&mut all, &unregistered), HssAnswer::Result(ResultCode::IN_ASSIGNMENT_TYPE));
    }

    #[test]
    fn identities_are_checked() {
        let mut all = all();
        let mut wrong = sar(Type::Registration);
        wrong.impus = vec![format!("sip:bob@{DOMAIN}").into()];
        assert_eq!(ask(&mut all, &wrong), HssAnswer::Result(ResultCode::IDENTITIES_DONT_MATCH));
        wrong.impus = vec!["sip:nobody@x.example".into()];
        assert_eq!(ask(&mut all, &wrong), HssAnswer::Result(ResultCode::USER_UNKNOWN));
        let mut two = sar(Type::Registration);
        two.impus.push("tel:+15550000001".into());
        assert_eq!(ask(&mut all, &two), HssAnswer::Result(ResultCode::AVP_OCCURS_TOO_MANY_TIMES));
        two.assignment = Type::UserDeregistration;
        assert_eq!(super::super::result_of(&ask(&mut all, &two)), ResultCode::SUCCESS);
        assert_eq!(alice(&all).operations.len(), 4);
    }
}
