//! TS 24.229 §5.4.8 — emergency registrations are kept apart, and only time ends them.

use crate::stage::*;
use scscf::Impi;
use scscf::cx::{Demand, DeregistrationReason, RegistrationTermination, ResultCode};

const SOS: &str = "<sip:alice@192.0.2.1:5060;sos>";

fn emergency() -> Ue {
    Ue::new().call("sos").contact(SOS).expires(3600)
}

fn terminate(stage: &mut Stage) -> scscf::cx::DemandAnswer {
    stage.demand(Demand::RegistrationTermination(RegistrationTermination {
        impi: Impi::new(IMPI).unwrap(),
        associated_identities: Vec::new(),
        impus: Vec::new(),
        reason: DeregistrationReason::PermanentTermination,
        reason_info: None,
    }))
}

#[test]
fn cd_46_barring_does_not_matter() {
    let mut stage = Stage::new();
    stage.hss.user_data = Some(Ok(subscription(vec![identity(ALICE, true)])));
    assert_eq!(stage.register_fully(&emergency()).status().code(), 200, "{}", stage.summary);
    assert_eq!(stage.bindings()[0]["emergency"], true);
}

#[test]
fn cd_47_nobody_deregisters_it() {
    let mut stage = Stage::registered();
    assert_eq!(stage.register_fully(&emergency()).status().code(), 200);
    assert_eq!(stage.bindings().len(), 2, "beside the ordinary contact of the same address");
    let refused = stage.register(&emergency().next().next().protected().expires(0));
    assert_eq!(refused.status().code(), 501);
    stage.reauthenticate(600);
    assert_eq!(stage.expires_in(1), 3600);
    let ok = stage.register(&Ue::new().next().next().protected().contact("*").expires(0));
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    let bindings = stage.bindings();
    assert_eq!(bindings.len(), 1);
    assert_eq!(bindings[0]["emergency"], true);
    assert!(!stage.assignments().iter().any(|kind| *kind as u32 == 5), "the set is registered still");
    stage.pass(3600);
    assert!(!stage.user.is_registered());
}

#[test]
fn cb_85_the_hss_neither() {
    let mut stage = Stage::new();
    stage.register_fully(&emergency());
    let answer = terminate(&mut stage);
    assert_eq!(answer.result, ResultCode::UNABLE_TO_COMPLY);
    assert_eq!(answer.emergency, [(Impi::new(IMPI).unwrap(), ALICE.into())]);
    assert!(stage.user.is_registered());
}

#[test]
fn cb_85_what_is_ordinary_goes() {
    let mut stage = Stage::registered();
    stage.register_fully(&emergency());
    let answer = terminate(&mut stage);
    assert_eq!(answer.result, ResultCode::LIMITED_SUCCESS);
    assert_eq!(answer.emergency.len(), 1);
    let bindings = stage.bindings();
    assert_eq!(bindings.len(), 1);
    assert_eq!(bindings[0]["emergency"], true);
}
