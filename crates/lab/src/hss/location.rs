//! TS 29.228 §6.1.1, §6.1.4 — what an I-CSCF asks: where a REGISTER goes, and who serves a public identity.

use super::subscribers::{RegistrationState, Subscribers};
use diameter::cx::{AuthorizationType, HssAnswer, LocationQuery, ServerFound, UserAuthorization};
use scscf::cx::ResultCode;

const FIRST_REGISTRATION: ResultCode = ResultCode::Experimental(2001);
const SUBSEQUENT_REGISTRATION: ResultCode = ResultCode::Experimental(2002);
const UNREGISTERED_SERVICE: ResultCode = ResultCode::Experimental(2003);
const IDENTITY_NOT_REGISTERED: ResultCode = ResultCode::Experimental(5003);

/// Answers a UAR.
pub(super) fn user_authorization(all: &Subscribers, uar: &UserAuthorization) -> HssAnswer {
    let impi = uar.impi.as_str();
    let Some(subscriber) = all.get(impi) else { return HssAnswer::Result(ResultCode::USER_UNKNOWN) };
    let Some(barred) = all.barring(impi, &uar.impu) else {
        let known = !all.owners(&uar.impu).is_empty();
        return HssAnswer::Result(if known {
            ResultCode::IDENTITIES_DONT_MATCH
        } else {
            ResultCode::USER_UNKNOWN
        });
    };
    // A barred identity may be registered with if its set has one that is not.
    if barred && !uar.emergency && all.identities(impi).iter().all(|identity| identity.barred) {
        return HssAnswer::Result(ResultCode::AUTHORIZATION_REJECTED);
    }
    let server = subscriber.server.as_deref().map(Box::from);
    let result = match (uar.kind, &server) {
        (AuthorizationType::DeRegistration, Some(_)) => ResultCode::SUCCESS,
        (AuthorizationType::DeRegistration, None) => return HssAnswer::Result(IDENTITY_NOT_REGISTERED),
        (AuthorizationType::RegistrationAndCapabilities, _) => ResultCode::SUCCESS,
        (AuthorizationType::Registration, Some(_)) => SUBSEQUENT_REGISTRATION,
        (AuthorizationType::Registration, None) => FIRST_REGISTRATION,
    };
    HssAnswer::Server(ServerFound { result, server_name: server, capabilities: None })
}

/// Answers a LIR.
pub(super) fn location(all: &Subscribers, lir: &LocationQuery) -> HssAnswer {
    let owners = all.owners(&lir.impu);
    if owners.is_empty() {
        return HssAnswer::Result(ResultCode::USER_UNKNOWN);
    }
    let serving = owners.iter().filter_map(|impi| all.get(impi)).find(|subscriber| {
        subscriber.server.is_some() && subscriber.state != RegistrationState::NotRegistered
    });
    match serving.and_then(|subscriber| subscriber.server.as_deref()) {
        Some(server) => HssAnswer::Server(ServerFound {
            result: ResultCode::SUCCESS,
            server_name: Some(server.into()),
            capabilities: None,
        }),
        None if lir.originating => HssAnswer::Server(ServerFound {
            result: UNREGISTERED_SERVICE,
            server_name: None,
            capabilities: None,
        }),
        None => HssAnswer::Result(IDENTITY_NOT_REGISTERED),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{hss::Config, provisioning::DOMAIN};
    use scscf::Impi;

    fn uar(kind: AuthorizationType) -> UserAuthorization {
        UserAuthorization {
            impi: Impi::new(&format!("alice@{DOMAIN}")).unwrap(),
            impu: format!("sip:alice@{DOMAIN}").into(),
            visited_network: "visited.example".into(),
            kind,
            emergency: false,
            hss: None,
        }
    }

    fn found(answer: HssAnswer) -> (ResultCode, Option<Box<str>>) {
        let HssAnswer::Server(found) = answer else { panic!("{answer:?}") };
        (found.result, found.server_name)
    }

    #[test]
    fn a_register_goes_to_the_s_cscf_that_serves_the_user() {
        let mut all = Subscribers::new(&Config::default()).unwrap();
        let register = uar(AuthorizationType::Registration);
        assert_eq!(found(user_authorization(&all, &register)), (FIRST_REGISTRATION, None));
        all.get_mut(register.impi.as_str()).unwrap().server = Some("sip:s.example".into());
        let expected = (SUBSEQUENT_REGISTRATION, Some("sip:s.example".into()));
        assert_eq!(found(user_authorization(&all, &register)), expected);
        let ending = user_authorization(&all, &uar(AuthorizationType::DeRegistration));
        assert_eq!(found(ending).0, ResultCode::SUCCESS);
    }

    #[test]
    fn barred_unknown_and_unmatched_identities_are_refused() {
        let mut all = Subscribers::new(&Config::default()).unwrap();
        let mut wrong = uar(AuthorizationType::Registration);
        wrong.impu = format!("sip:bob@{DOMAIN}").into();
        assert_eq!(user_authorization(&all, &wrong), HssAnswer::Result(ResultCode::IDENTITIES_DONT_MATCH));
        let provision =
            serde_json::from_str(r#"{"identities":[{"impu":"sip:x@x.example","barred":true}]}"#).unwrap();
        all.provision(wrong.impi.as_str(), &provision).unwrap();
        wrong.impu = "sip:x@x.example".into();
        assert_eq!(user_authorization(&all, &wrong), HssAnswer::Result(ResultCode::AUTHORIZATION_REJECTED));
    }

    #[test]
    fn a_public_identity_is_found_where_it_is_served() {
        let mut all = Subscribers::new(&Config::default()).unwrap();
        let mut lir = LocationQuery { impu: "tel:+15550000001".into(), originating: false, hss: None };
        assert_eq!(location(&all, &lir), HssAnswer::Result(IDENTITY_NOT_REGISTERED));
        lir.originating = true;
        assert_eq!(found(location(&all, &lir)), (UNREGISTERED_SERVICE, None));
        let alice = all.get_mut(&format!("alice@{DOMAIN}")).unwrap();
        alice.server = Some("sip:s.example".into());
        alice.state = RegistrationState::Registered;
        assert_eq!(found(location(&all, &lir)), (ResultCode::SUCCESS, Some("sip:s.example".into())));
        lir.impu = "sip:nobody@x.example".into();
        assert_eq!(location(&all, &lir), HssAnswer::Result(ResultCode::USER_UNKNOWN));
    }
}
