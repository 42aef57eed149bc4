//! TS 24.229 §5.4.1.8 — the HSS pushes changed data.

use crate::stage::*;
use scscf::cx::{Demand, PushProfile, ResultCode, UserDataError};
use scscf::profile::{ChargingAddresses, Subscription};
use scscf::{Impi, Save};

fn ppr(user_data: Option<Result<Subscription, UserDataError>>) -> PushProfile {
    PushProfile { impi: Impi::new(IMPI).unwrap(), user_data, charging: None, auth_data: None }
}

fn push(stage: &mut Stage, ppr: PushProfile) -> ResultCode {
    stage.demand(Demand::PushProfile(ppr)).result
}

#[test]
fn cb_98_an_identity_more() {
    let mut stage = Stage::registered();
    let mut profile = alice();
    profile.profiles[0].identities.push(identity("sip:new@h", false));
    assert_eq!(push(&mut stage, ppr(Some(Ok(profile)))), ResultCode::SUCCESS);
    assert_eq!(stage.user.impus().count(), 4);
    assert_eq!(stage.last, Some(Save::Snapshot));
    let ok = stage.register(&Ue::new().next().next().protected());
    assert!(ok.get(sip::Name::PAssociatedUri).unwrap().ends_with(", <sip:new@h>"));
}

#[test]
fn an_identity_less_or_barred() {
    for barred in [true, false] {
        let mut stage = Stage::registered();
        let mut profile = alice();
        if barred {
            profile.profiles[0].identities[2].barred = true;
        } else {
            profile.profiles[0].identities.truncate(2);
        }
        assert_eq!(push(&mut stage, ppr(Some(Ok(profile)))), ResultCode::SUCCESS);
        assert!(stage.user.is_registered());
        let ok = stage.register(&Ue::new().next().next().protected());
        assert_eq!(ok.get(sip::Name::PAssociatedUri).unwrap(), format!("<{ALICE}>"));
    }
}

#[test]
fn the_default_identity_is_not_a_pushs_to_change() {
    let mut stage = Stage::registered();
    let mut profile = alice();
    profile.profiles[0].identities[1].barred = true;
    let before = stage.owned();
    assert_eq!(push(&mut stage, ppr(Some(Ok(profile)))), ResultCode::UNABLE_TO_COMPLY);
    assert_eq!(stage.owned(), before);
}

#[test]
fn cb_99_an_unknown_user() {
    let mut stage = Stage::new();
    assert_eq!(push(&mut stage, ppr(Some(Ok(alice())))), ResultCode::USER_UNKNOWN);
    let mut stage = Stage::registered();
    let stranger = subscription(vec![identity("sip:bob@h", false)]);
    assert_eq!(push(&mut stage, ppr(Some(Ok(stranger)))), ResultCode::USER_UNKNOWN);
}

#[test]
fn cb_100_data_that_cannot_be_used() {
    let mut stage = Stage::registered();
    let before = stage.owned();
    let broken = UserDataError::Malformed("no root".into());
    assert_eq!(push(&mut stage, ppr(Some(Err(broken)))), ResultCode::NOT_SUPPORTED_USER_DATA);
    assert_eq!(push(&mut stage, ppr(Some(Err(UserDataError::TooLarge(2 << 20))))), ResultCode::TOO_MUCH_DATA);
    assert_eq!(stage.owned(), before);
}

#[test]
fn charging_addresses_are_replaced() {
    let mut stage = Stage::registered();
    let charging = ChargingAddresses { primary_ecf: Some("ecf.example".into()), ..Default::default() };
    assert_eq!(push(&mut stage, PushProfile { charging: Some(charging), ..ppr(None) }), ResultCode::SUCCESS);
    assert_eq!(stage.record()["registration"]["sets"][0]["charging"]["primary_ecf"], "ecf.example");
    assert_eq!(stage.last, Some(Save::Snapshot));
}

#[test]
fn ce_20_credentials_ask_for_re_authentication_where_the_policy_says_so() {
    for (wanted, pending) in [(true, true), (false, false)] {
        let mut stage = Stage::registered();
        stage.policy.reauthentication.on_profile_push = wanted;
        let pushed = PushProfile { auth_data: Some(None), ..ppr(None) };
        assert_eq!(push(&mut stage, pushed), ResultCode::SUCCESS);
        assert_eq!(!stage.record()["authentication"]["reauthentication"].is_null(), pending);
    }
}
