//! TS 24.229 §5.4.1.2, §5.4.2.1.1 — what somebody who overhears, forges or pretends gets: nothing.

use crate::stage::*;
use crate::world::{Watcher, World};
use scscf::Told;
use sip::Status;

/// A user who is asked to authenticate again, its REGISTER, and the challenge to that.
fn challenged() -> (Stage, Ue, sip::Response) {
    let mut stage = Stage::registered();
    assert!(matches!(stage.reauthenticate(600), Told::Reauthenticating { .. }));
    let ue = Ue::new().next().next().protected();
    let challenge = stage.register(&ue);
    assert_eq!(challenge.status().code(), 401);
    (stage, ue, challenge)
}

#[test]
fn whoever_overhears_a_nonce_does_not_keep_the_ue_from_answering() {
    let (mut stage, ue, challenge) = challenged();
    let nonce = challenge_of(&challenge).get("nonce").unwrap().to_owned();
    let auts = credentials(IMPI, &nonce, b"", Some("00000001")).quoted("auts", "uoU/PBJrvTvaszz5vaI=");
    let nothing = credentials(IMPI, &nonce, b"", None).quoted("response", "");
    let (before, mars) = (stage.challenges(), stage.mars().len());
    for forged in [
        ue.clone().next().botching(&challenge).unprotected(),
        ue.clone().next().unprotected().with(auts),
        ue.clone().next().unprotected().with(nothing),
    ] {
        assert_eq!(stage.register(&forged).status().code(), 403);
        assert_eq!((stage.challenges(), stage.mars().len()), (before, mars));
    }
    let ok = stage.register(&ue.next().next().answering(&challenge));
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    stage.pass(600);
    assert!(stage.user.is_registered());
}

#[test]
fn a_right_answer_without_protection_is_one_all_the_same() {
    let (mut stage, ue, challenge) = challenged();
    let ok = stage.register(&ue.next().answering(&challenge).unprotected());
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
}

#[test]
fn a_contact_makes_nobody_an_application_server() {
    let (mut world, _) = World::registered();
    let mut eve = Watcher {
        identity: "P-Asserted-Identity: <sip:eve@home1.net>\r\n".into(),
        contact: "<sip:eve@as1.home1.net>".into(),
        call_id: "eve".into(),
        ..Watcher::ue("reg")
    };
    assert_eq!(world.subscribe(&mut eve, None).status(), Status::FORBIDDEN);
}

#[test]
fn a_server_named_in_the_home_domain_lets_no_other_subscriber_in() {
    let (mut world, mut ue) = World::registered();
    for profile in &mut world.profile.profiles {
        let mut criteria = profile.criteria.to_vec();
        criteria[0].application_server.server_name = "sip:mmtel@home1.net".into();
        profile.criteria = criteria.into();
    }
    ue.expires = 0;
    assert_eq!(world.register(&mut ue, crate::world::Proof::Right, true).status(), Status::OK);
    ue.expires = 3600;
    world.attach(&mut ue);
    let named = |identity: &str| Watcher {
        identity: format!("P-Asserted-Identity: <sip:{identity}@home1.net>\r\n"),
        call_id: identity.into(),
        ..Watcher::ue("reg")
    };
    assert_eq!(world.subscribe(&mut named("eve"), None).status(), Status::FORBIDDEN);
    assert_eq!(world.subscribe(&mut named("mmtel"), None).status(), Status::OK);
}

#[test]
fn dialog_identifiers_are_no_credentials() {
    let (mut world, _) = World::registered();
    let mut watcher = Watcher::ue("reg");
    world.watch(&mut watcher);
    let before = world.user.view().subscriptions;
    for expires in [Some(0), Some(600)] {
        let mut thief = Watcher { contact: "<sip:thief@10.6.6.6>".into(), ..watcher.clone() };
        let request = world.build_subscribe(&mut thief, expires);
        let tx = world.arrive(request, false);
        assert_eq!(world.answers[&tx].status(), Status::FORBIDDEN);
        assert_eq!(world.user.view().subscriptions, before);
    }
}

#[test]
fn a_subscription_gives_way_only_to_one_that_is_accepted() {
    let (mut world, _) = World::registered();
    let mut watcher = Watcher::ue("reg");
    world.watch(&mut watcher);
    let before = world.user.view().subscriptions;
    let mut broken = Watcher {
        call_id: "again".into(),
        to_tag: String::new(),
        identity: format!("{}P-Charging-Vector: ;;=\r\n", watcher.identity),
        ..watcher.clone()
    };
    assert_eq!(world.subscribe(&mut broken, None).status(), Status::BAD_REQUEST);
    assert_eq!(world.user.view().subscriptions, before);
}

#[test]
fn a_contact_smuggles_no_header_fields_into_requests_to_it() {
    let mut stage = Stage::new();
    let ue = Ue::new().contact("<sip:alice@192.0.2.1?Route=%3Csip:evil.example%3Blr%3E>");
    assert_eq!(stage.register(&ue).status().code(), 400);
}

#[test]
fn what_is_no_preference_does_not_spoil_the_document() {
    for (q, told) in
        [("0.5", Some("0.5")), ("1.000", Some("1.000")), ("abc", None), ("2", None), ("-1", None)]
    {
        let mut world = World::new();
        let mut ue = crate::world::Ue::one();
        ue.contact = format!("<sip:alice@10.0.0.1:5060>;q={q}");
        world.attach(&mut ue);
        let contact = world.watch(&mut Watcher::ue("reg")).contacts(crate::world::ALICE).remove(0);
        assert_eq!(contact.q.as_deref(), told, "{q}");
    }
}

#[test]
fn a_minimum_beyond_a_day_is_a_day() {
    let mut stage = Stage::registered();
    stage.policy.reauthentication.min_period = 100_000;
    stage.reauthenticate(600);
    assert_eq!(stage.expires_in(0), 86_400);
}
