//! TS 24.229 §5.4.1.2.2F — successful registration: bindings and the 200 (OK).

use crate::stage::*;
use scscf::cx::{Failure, ResultCode, ServerAssignmentType, UserDataError};
use scscf::profile::ChargingAddresses;
use scscf::token::TokenKind;
use scscf::{CxPurpose, Effect, Impi, Impu, SharedContact, Span};
use sip::{Name, Response};

fn contacts(response: &Response) -> Vec<String> {
    response.values(Name::Contact).map(Into::into).collect()
}

#[test]
fn cb_21_a_new_address_takes_the_place_of_the_old() {
    let mut stage = Stage::registered();
    let old = stage.bindings()[0]["id"].clone();
    let ok = stage.register_fully(&Ue::new().call("reg-2").contact("<sip:alice@192.0.2.2:5060>"));
    assert_eq!(ok.status().code(), 200);
    assert_eq!(contacts(&ok), ["<sip:alice@192.0.2.2:5060>;expires=600000"]);
    let bindings = stage.bindings();
    assert_eq!(bindings.len(), 1);
    assert_ne!(bindings[0]["id"], old);
}

#[test]
fn cb_22_two_flows_of_one_instance() {
    let mut stage = Stage::new();
    stage.register_fully(&Ue::new().flow(5060, 1));
    let ok = stage.register(&Ue::new().call("f2").flow(5061, 2).protected());
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    assert_eq!(ok.get(Name::Require).unwrap(), "outbound");
    let contacts = contacts(&ok);
    assert_eq!(contacts.len(), 2);
    assert!(contacts[0].contains("reg-id=1") && contacts[1].contains("reg-id=2"), "{contacts:?}");
}

#[test]
fn cb_23_a_flow_over_another_hop_is_replaced() {
    let mut stage = Stage::new();
    let ue = Ue::new().flow(5060, 1);
    stage.register_fully(&ue);
    let old = stage.bindings()[0]["id"].clone();
    let refreshed = stage.register(&ue.clone().next().next().protected());
    assert_eq!(refreshed.status().code(), 200);
    assert_eq!(stage.bindings()[0]["id"], old, "the same hop: a refresh");
    let moved = Ue::new().call("f1b").flow(5070, 1).path(&["<sip:flow@pcscf2.example;lr;ob>"]);
    let ok = stage.register_fully(&moved);
    assert_eq!(contacts(&ok).len(), 1);
    assert_ne!(stage.bindings()[0]["id"], old);
}

#[test]
fn cb_26_the_binding_is_on_every_identity_that_is_not_barred() {
    let stage = Stage::registered();
    let view = serde_json::to_value(stage.user.view()).unwrap();
    let state: Vec<_> = view["identities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|identity| (identity["impu"].as_str().unwrap(), identity["barred"].as_bool().unwrap()))
        .collect();
    assert_eq!(state, [(BARRED, true), (ALICE, false), (TEL, false)]);
    assert_eq!(stage.bindings().len(), 1);
    assert_eq!(stage.user.impus().count(), 3);
}

#[test]
fn cb_27_the_path_keeps_its_order() {
    let mut stage = Stage::new();
    let path = ["<sip:a.example;lr>", "<sip:b.example;lr>"];
    let ok = stage.register_fully(&Ue::new().path(&path));
    let echoed: Vec<_> = ok.values(Name::Path).collect();
    assert_eq!(echoed, path);
    assert_eq!(stage.bindings()[0]["path"], serde_json::json!(path));
}

#[test]
fn cb_28_the_200_leaves_first() {
    let mut stage = Stage::registered();
    let subscribe = format!(
        "SUBSCRIBE {ALICE} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKs\r\nFrom: <{ALICE}>;tag=1\r\nTo: <{ALICE}>\r\n\
         Call-ID: s\r\nCSeq: 1 SUBSCRIBE\r\nMax-Forwards: 70\r\nEvent: reg\r\nContact: <sip:alice@192.0.2.1:5060>\r\n\
         P-Asserted-Identity: <{ALICE}>\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(stage.send(request(&subscribe)).unwrap().status().code(), 200, "{}", stage.summary);
    let notify = stage.notifies().pop().unwrap();
    let accepted = notify.respond(sip::Status::OK, "x").finish();
    let purpose = stage.said.iter().find_map(|effect| match effect {
        Effect::Send { purpose, .. } => Some(*purpose),
        _ => None,
    });
    stage.step(scscf::Event::Reply { to: purpose.unwrap(), reply: scscf::Reply::Response(accepted) });
    stage.said.clear();
    assert_eq!(stage.register(&Ue::new().next().next().protected()).status().code(), 200);
    let order: Vec<_> = stage
        .said
        .iter()
        .map(|effect| match effect {
            Effect::Respond { .. } => "respond",
            Effect::Send { .. } => "send",
            _ => "other",
        })
        .collect();
    assert_eq!(order, ["respond", "send"]);
}

#[test]
fn cb_30_what_the_200_carries() {
    let mut stage = Stage::new();
    let ok = stage.register_fully(&Ue::new());
    assert_eq!(ok.get(Name::Path).unwrap(), PATH);
    assert_eq!(ok.get(Name::PAssociatedUri).unwrap(), format!("<{ALICE}>, <{TEL}>"));
    assert_eq!(contacts(&ok), [format!("{CONTACT};expires=600000")]);
    let routes = ok.addresses(Name::ServiceRoute).unwrap();
    assert_eq!(routes.len(), 1);
    assert!(routes[0].uri.has_param("lr"));
    assert_eq!((routes[0].uri.host(), routes[0].uri.port()), (stage.policy.name.host(), Some(5060)));
    let (kind, impi, binding) = stage.policy.tokens.open(routes[0].uri.user().unwrap()).unwrap();
    assert_eq!((kind, impi.as_str()), (TokenKind::ServiceRoute, IMPI));
    assert_eq!(stage.bindings()[0]["id"], binding);
    assert!(!ok.has(Name::PVisitedNetworkId) && !ok.has(Name::WwwAuthenticate));
}

#[test]
fn ce_14_the_default_identity_is_the_first_that_is_not_barred() {
    let mut stage = Stage::new();
    let ok = stage.register_fully(&Ue::new());
    assert!(ok.get(Name::PAssociatedUri).unwrap().starts_with(&format!("<{ALICE}>")));
}

fn sibling_contact(stage: &Stage) -> SharedContact {
    SharedContact {
        path: Vec::new(),
        impus: vec![Impu::parse(ALICE).unwrap(), Impu::parse("sip:other@elsewhere.example").unwrap()],
        contact: "<sip:alice@192.0.2.77>".into(),
        expires_at: stage.now + Span::seconds(100),
        id: 9,
    }
}

#[test]
fn cb_31_contacts_of_both_private_identities_are_listed() {
    let mut stage = Stage::registered();
    let contact = sibling_contact(&stage);
    stage.sibling("b@h", vec![contact.clone()]);
    let told = stage.said.iter().any(|effect| matches!(effect, Effect::TellSiblings { .. }));
    assert!(told, "a newcomer is told our contacts");
    stage.said.clear();
    stage.sibling("b@h", vec![contact]);
    assert!(stage.said.is_empty(), "nothing new, nothing said");
    let ok = stage.register(&Ue::new().next().next().protected());
    let contacts = contacts(&ok);
    assert_eq!(contacts.len(), 2);
    assert_eq!(contacts[1], "<sip:alice@192.0.2.77>;expires=100");
    stage.pass(100);
    assert_eq!(stage.record()["registration"]["siblings"], serde_json::json!({}));
}

#[test]
fn siblings_are_told_when_the_hss_names_them() {
    let mut stage = Stage::new();
    stage.hss.associated = vec![Impi::new(IMPI).unwrap(), Impi::new("b@h").unwrap()];
    stage.register_fully(&Ue::new());
    let told: Vec<_> = stage
        .said
        .iter()
        .filter_map(|effect| match effect {
            Effect::TellSiblings { impus, contacts, .. } => Some((impus.len(), contacts.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0, &*told[0].1[0].contact), (2, CONTACT));
}

#[test]
fn cb_32_gruus() {
    let mut stage = Stage::new();
    let mut ue = with_gruu();
    let (public, temporary) = gruus(&stage.register_fully(&ue));
    assert_eq!(public, format!("{ALICE};gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"));
    let temporary = sip::Uri::parse(&temporary).unwrap();
    let (kind, impi, _) = stage.policy.tokens.open(temporary.user().unwrap()).unwrap();
    assert_eq!((kind, impi.as_str()), (TokenKind::TemporaryGruu, IMPI));
    ue.supported = "path".to_owned();
    let without = stage.register(&ue.next().next().protected());
    assert!(!contacts(&without)[0].contains("gruu"), "a UE that does not ask gets none");
}

#[test]
fn cb_33_the_public_one_stays_and_the_temporary_one_changes() {
    let mut stage = Stage::new();
    let first = gruus(&stage.register_fully(&with_gruu()));
    let second = gruus(&stage.register(&with_gruu().next().next().protected()));
    assert_eq!(first.0, second.0);
    assert_ne!(first.1, second.1);
}

fn with_gruu() -> Ue {
    let mut ue = Ue::new().contact(&format!("{CONTACT};+sip.instance=\"{INSTANCE}\""));
    ue.supported = "path, gruu".to_owned();
    ue
}

fn gruus(response: &Response) -> (String, String) {
    let contact = &response.addresses(Name::Contact).unwrap()[0];
    (contact.param("pub-gruu").unwrap().to_owned(), contact.param("temp-gruu").unwrap().to_owned())
}

#[test]
fn cb_34_charging_functions_are_for_the_home_network() {
    for (network, expected) in [("\"visited.example\"", None), (DOMAIN, Some("ccf=\"aaa://ccf.example\""))] {
        let mut stage = Stage::new();
        stage.hss.charging =
            Some(ChargingAddresses { primary_ccf: Some("aaa://ccf.example".into()), ..Default::default() });
        let ok = stage.register_fully(&Ue::new().line(&format!("P-Visited-Network-ID: {network}")));
        assert_eq!(ok.get(Name::PChargingFunctionAddresses).as_deref(), expected);
    }
}

#[test]
fn cb_35_the_charging_vector_comes_back_with_our_name() {
    let mut stage = Stage::new();
    let ok =
        stage.register_fully(&Ue::new().line("P-Charging-Vector: icid-value=abc;orig-ioi=visited.example"));
    let vector = ok.charging_vector().unwrap().unwrap();
    assert_eq!(&*vector.icid_value, "abc");
    assert_eq!(vector.orig_ioi.as_deref(), Some("visited.example"));
    assert_eq!(vector.term_ioi.as_deref(), Some(DOMAIN));
    assert_eq!(stage.bindings()[0]["icid"], "abc");
}

#[test]
fn of_several_addresses_the_preferred_one_is_bound() {
    let mut stage = Stage::new();
    let mut ue = Ue::new();
    ue.contacts = vec!["<sip:a@192.0.2.1>;q=0.1".into(), "<sip:b@192.0.2.2>;q=0.9".into()];
    let ok = stage.register_fully(&ue);
    assert_eq!(contacts(&ok), ["<sip:b@192.0.2.2>;q=0.9;expires=600000"]);
}

fn refused(stage: &mut Stage, status: u16) {
    let answer = stage.register_fully(&Ue::new());
    assert_eq!(answer.status().code(), status, "{}", stage.summary);
    assert!(!stage.user.is_registered());
    assert_eq!(stage.challenges(), 0);
}

#[test]
fn cb_56_no_profile_at_the_first_registration() {
    let mut stage = Stage::new();
    stage.hss.user_data = None;
    refused(&mut stage, 500);
    assert_eq!(stage.assignments()[1..], [ServerAssignmentType::AdministrativeDeregistration]);
}

#[test]
fn cb_57_a_profile_that_cannot_be_read() {
    for error in [UserDataError::Malformed("no root".into()), UserDataError::TooLarge(2_000_000)] {
        let mut stage = Stage::new();
        stage.hss.user_data = Some(Err(error));
        refused(&mut stage, 480);
        assert_eq!(stage.assignments()[1..], [ServerAssignmentType::DeregistrationTooMuchData]);
    }
}

#[test]
fn cb_58_a_profile_of_somebody_else() {
    let mut stage = Stage::new();
    stage.hss.user_data = Some(Ok(subscription(vec![identity("sip:bob@h", false)])));
    refused(&mut stage, 403);
    assert_eq!(stage.assignments()[1..], [ServerAssignmentType::AdministrativeDeregistration]);
    assert!(matches!(
        stage.said.last(),
        Some(Effect::Respond { .. } | Effect::CxRequest { purpose: CxPurpose::Report, .. })
    ));
}

#[test]
fn a_barred_identity_registers_if_another_of_its_set_may() {
    let mut stage = Stage::new();
    let mut ue = Ue::new();
    ue.to = format!("<{BARRED}>");
    let ok = stage.register_fully(&ue);
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    assert!(!ok.get(Name::PAssociatedUri).unwrap().contains(BARRED));
    let mut stage = Stage::new();
    stage.hss.user_data = Some(Ok(subscription(vec![identity(ALICE, true)])));
    refused(&mut stage, 403);
}

#[test]
fn what_the_hss_refuses_at_assignment() {
    for (code, status) in [
        (Failure::Unreachable, 504),
        (Failure::Refused(ResultCode::IDENTITY_ALREADY_REGISTERED), 500),
        (Failure::Refused(ResultCode::UNABLE_TO_COMPLY), 500),
        (Failure::Refused(ResultCode::USER_UNKNOWN), 403),
    ] {
        let mut stage = Stage::new();
        stage.hss.sar = Some(code);
        refused(&mut stage, status);
    }
}

#[test]
fn an_authenticated_reregistration_that_the_hss_cannot_serve_keeps_the_binding() {
    let mut stage = Stage::registered();
    let before = stage.bindings();
    stage.hss.sar = Some(Failure::Unreachable);
    let answer = stage.register_fully(&Ue::new().next().next().expires(60));
    assert_eq!(answer.status().code(), 504);
    assert_eq!(stage.bindings(), before);
}

#[test]
fn ce_16_associated_identities_are_kept() {
    let mut stage = Stage::new();
    stage.hss.associated = vec![Impi::new(IMPI).unwrap(), Impi::new("b@h").unwrap()];
    stage.register_fully(&Ue::new());
    let sets = &stage.record()["registration"]["sets"];
    assert_eq!(sets[0]["associated_identities"], serde_json::json!([IMPI, "b@h"]));
}

#[test]
fn a_registered_user_costs_little() {
    let mut stage = Stage::new();
    let mut ue =
        Ue::new().flow(5060, 1).line("P-Charging-Vector: icid-value=abcdefgh;orig-ioi=visited.example");
    ue.supported = "path, outbound".to_owned();
    stage.register_fully(&ue);
    let record = rmp_serde::to_vec_named(&stage.user).unwrap();
    assert!(record.len() < 2048, "{} octets", record.len());
    assert_eq!(stage.record()["authentication"]["challenges"], serde_json::json!([]));
}
