//! TS 24.229 §5.4.1.4 — user-initiated deregistration.

use crate::stage::*;
use scscf::cx::ServerAssignmentType;
use scscf::{Impi, Impu, Save, SharedContact, Span};
use sip::Name;

fn leave() -> Ue {
    Ue::new().next().next().protected().expires(0)
}

#[test]
fn cb_51_a_contact_that_is_not_registered() {
    let mut stage = Stage::registered();
    let before = stage.owned();
    let response = stage.register(&leave().contact("<sip:alice@192.0.2.99>"));
    assert_eq!(response.status().code(), 481);
    let mut other = leave();
    other.to = format!("<sip:bob@{DOMAIN}>");
    assert_eq!(stage.register(&other).status().code(), 481);
    assert_eq!(stage.owned(), before);
}

#[test]
fn without_protection_it_is_challenged_first() {
    let mut stage = Stage::registered();
    let before = stage.owned();
    let challenge = stage.register(&leave().unprotected());
    assert_eq!(challenge.status().code(), 401);
    assert_eq!(stage.owned(), before);
    assert_eq!(stage.register(&leave().next().answering(&challenge)).status().code(), 200);
    assert!(!stage.user.is_registered());
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn cb_70_the_star_removes_every_contact_of_the_ue() {
    let mut stage = Stage::new();
    stage.register_fully(&Ue::new().call("f1").flow(5060, 1));
    stage.register_fully(&Ue::new().call("f2").flow(5061, 2));
    assert_eq!(stage.bindings().len(), 2);
    let ok = stage.register(&Ue::new().call("bye").protected().contact("*").expires(0));
    assert_eq!(ok.status().code(), 200);
    assert!(stage.bindings().is_empty());
    assert_eq!(ok.values(Name::Contact).filter(|contact| contact.ends_with(";expires=0")).count(), 2);
}

#[test]
fn one_of_two_flows_goes() {
    let mut stage = Stage::new();
    stage.register_fully(&Ue::new().call("f1").flow(5060, 1));
    stage.register_fully(&Ue::new().call("f2").flow(5061, 2));
    stage.said.clear();
    let ok = stage.register(&Ue::new().call("f2").flow(5061, 2).next().next().protected().expires(0));
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    assert_eq!(stage.bindings().len(), 1);
    assert_eq!(stage.bindings()[0]["reg_id"], 1);
    assert!(stage.sars().is_empty(), "the set stays registered");
    let contacts: Vec<_> = ok.values(Name::Contact).collect();
    assert!(contacts[0].contains("reg-id=1") && contacts[1].ends_with("reg-id=2;expires=0"), "{contacts:?}");
}

#[test]
fn cb_71_an_implicit_identity_takes_the_whole_set_along() {
    let mut stage = Stage::new();
    let other = "sip:second@ims.mnc001.mcc001.3gppnetwork.org";
    stage.hss.user_data =
        Some(Ok(subscription(vec![identity(ALICE, false), identity(other, false), identity(TEL, false)])));
    stage.register_fully(&Ue::new());
    let mut leave = leave();
    leave.to = format!("<{other}>");
    assert_eq!(stage.register(&leave).status().code(), 200);
    assert!(!stage.user.is_registered());
    assert_eq!(stage.user.impus().count(), 0);
}

#[test]
fn cb_72_what_another_private_identity_bound_stays() {
    let mut stage = Stage::new();
    stage.hss.associated = vec![Impi::new(IMPI).unwrap(), Impi::new("b@h").unwrap()];
    stage.register_fully(&Ue::new());
    let contact = SharedContact {
        path: Vec::new(),
        impus: vec![Impu::parse(ALICE).unwrap()],
        contact: "<sip:alice@192.0.2.77>".into(),
        expires_at: stage.now + Span::seconds(1000),
        id: 9,
    };
    stage.sibling("b@h", vec![contact]);
    stage.said.clear();
    let ok = stage.register(&leave());
    let contacts: Vec<_> = ok.values(Name::Contact).collect();
    assert_eq!(contacts, ["<sip:alice@192.0.2.77>;expires=1000".into(), format!("{CONTACT};expires=0")]);
    let told = stage
        .said
        .iter()
        .any(|effect| matches!(effect, scscf::Effect::TellSiblings { contacts, .. } if contacts.is_empty()));
    assert!(told, "the other learns that ours are gone");
}

#[test]
fn cb_73_the_200_lists_what_was_removed() {
    let mut stage = Stage::registered();
    let ok = stage.register(&leave());
    assert_eq!(ok.get(Name::Contact).unwrap(), format!("{CONTACT};expires=0"));
    assert_eq!(ok.get(Name::Path).unwrap(), PATH);
    assert!(!ok.has(Name::ServiceRoute));
    assert_eq!(stage.assignments(), [ServerAssignmentType::UserDeregistration]);
    assert_eq!(stage.sars()[0].impus, [ALICE.into()]);
}

#[test]
fn cb_74_the_profile_is_kept_where_the_policy_says_so() {
    let mut stage = Stage::registered();
    stage.policy.registration.store_server_name = true;
    stage.register(&leave());
    assert_eq!(stage.assignments(), [ServerAssignmentType::UserDeregistrationStoreServerName]);
    assert_eq!(stage.user.impus().count(), 3);
    assert!(!stage.user.is_registered());
    assert_eq!(stage.register(&Ue::new().call("anew")).status().code(), 401);
}

#[test]
fn cb_75_unless_the_hss_did_not_keep_our_name() {
    let mut stage = Stage::registered();
    stage.policy.registration.store_server_name = true;
    stage.hss.not_stored = true;
    stage.register(&leave());
    assert_eq!(stage.user.impus().count(), 0);
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn a_register_may_bind_one_contact_and_remove_another() {
    let mut stage = Stage::registered();
    let mut ue = Ue::new().call("both");
    ue.contacts = vec![format!("{CONTACT};expires=0"), "<sip:alice@192.0.2.2>;expires=600".to_owned()];
    let ok = stage.register_fully(&ue);
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    let contacts: Vec<_> = ok.values(Name::Contact).collect();
    assert_eq!(contacts, ["<sip:alice@192.0.2.2>;expires=600".into(), format!("{CONTACT};expires=0")]);
}
