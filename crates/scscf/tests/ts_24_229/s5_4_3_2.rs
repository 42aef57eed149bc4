//! TS 24.229 §5.4.3.2 — requests initiated by the served user.

use crate::calls::*;
use crate::stage::{ALICE, BARRED, DOMAIN, Stage, TEL, Ue, alice, identity, subscription};
use scscf::cx::{Failure, ResultCode, ServerAssignmentType};
use scscf::profile::{ChargingAddresses, Condition, DefaultHandling};
use scscf::token::TokenKind;
use scscf::{Impi, Save};
use sip::{ChargingVector, Method, Name, Request};

fn vector(message: &sip::Headers) -> ChargingVector {
    message.charging_vector().unwrap().unwrap()
}

#[test]
fn cd_04_a_barred_caller_403() {
    let mut stage = Stage::registered();
    for draft in [
        outgoing(&stage, "INVITE", BOB).with("P-Asserted-Identity", &format!("<{BARRED}>")),
        incoming("INVITE", BOB)
            .line(&format!("Route: <sip:scscf.{DOMAIN}:5060;lr;orig>"))
            .line(&format!("P-Served-User: <{BARRED}>")),
    ] {
        let tx = stage.arrive(draft.build());
        assert_eq!(stage.codes(tx), [403]);
        assert!(stage.hops().is_empty());
    }
}

#[test]
fn cd_05_somebody_elses_identity_403() {
    let mut stage = Stage::registered();
    let draft = outgoing(&stage, "INVITE", BOB).with("P-Asserted-Identity", "<sip:carol@b.example>");
    let tx = stage.arrive(draft.build());
    assert_eq!(stage.codes(tx), [403]);
    assert!(stage.hops().is_empty());
}

#[test]
fn cd_05_an_identity_of_another_set_403() {
    let mut stage = Stage::registered();
    // A second implicit registration set of the same private identity, over its own contact.
    let work = "sip:alice.work@ims.mnc001.mcc001.3gppnetwork.org";
    stage.hss.user_data = Some(Ok(subscription(vec![identity(work, false)])));
    let mut ue = Ue::new().call("reg-2").contact("<sip:alice@192.0.2.7:5060>");
    ue.to = format!("<{work}>");
    assert_eq!(stage.register_fully(&ue).status().code(), 200);
    let tx = stage
        .arrive(outgoing(&stage, "INVITE", BOB).with("P-Asserted-Identity", &format!("<{work}>")).build());
    assert_eq!(stage.codes(tx), [403]);
}

#[test]
fn cd_06_the_other_form_of_the_identity_is_asserted_too() {
    let mut stage = Stage::registered();
    stage.arrive(outgoing(&stage, "INVITE", AT_HOME).build());
    assert_eq!(
        values(&stage.hop().request, Name::PAssertedIdentity),
        [format!("<{ALICE}>"), format!("<{TEL}>")]
    );
    let by_number =
        outgoing(&stage, "INVITE", AT_HOME).call("2").with("P-Asserted-Identity", &format!("<{TEL}>"));
    stage.arrive(by_number.build());
    assert_eq!(
        values(&stage.hop().request, Name::PAssertedIdentity),
        [format!("<{TEL}>"), format!("<{ALICE}>")]
    );
    let both = format!("<{ALICE}>, <tel:+15550001>");
    let draft = outgoing(&stage, "INVITE", AT_HOME).call("3").with("P-Asserted-Identity", &both);
    stage.arrive(draft.build());
    assert_eq!(values(&stage.hop().request, Name::PAssertedIdentity).len(), 2, "two are there already");
}

#[test]
fn cd_06_an_alias_is_of_the_same_group_and_number() {
    let mut profile = subscription(vec![
        identity("sip:+15550001@ims.mnc001.mcc001.3gppnetwork.org", false),
        identity("tel:+15550002", false),
        identity("tel:+15550001", false),
    ]);
    for (identity, group) in profile.profiles[0].identities.iter_mut().zip(["a", "a", "b"]) {
        identity.alias_group = Some(group.into());
    }
    let asserted = |profile: &scscf::profile::Subscription| {
        let mut stage = Stage::new();
        stage.hss.user_data = Some(Ok(profile.clone()));
        let mut ue = Ue::new();
        ue.to = "<sip:+15550001@ims.mnc001.mcc001.3gppnetwork.org>".into();
        stage.register_fully(&ue);
        let draft = outgoing(&stage, "INVITE", AT_HOME)
            .with("P-Asserted-Identity", "<sip:+15550001@ims.mnc001.mcc001.3gppnetwork.org>");
        stage.arrive(draft.build());
        values(&stage.hop().request, Name::PAssertedIdentity)[1].clone()
    };
    assert_eq!(asserted(&profile), "<tel:+15550002>", "of its group");
    profile.profiles[0].identities[2].alias_group = Some("a".into());
    assert_eq!(asserted(&profile), "<tel:+15550001>", "of its number");
}

#[test]
fn who_asserts_nobody_is_taken_for_whom_it_says_if_it_may() {
    let mut stage = Stage::registered();
    let draft =
        |stage: &Stage, n: &str| outgoing(stage, "MESSAGE", AT_HOME).call(n).without("P-Asserted-Identity");
    let preferred = draft(&stage, "1").line(&format!("P-Preferred-Identity: <{TEL}>"));
    stage.arrive(preferred.build());
    let hop = stage.hop();
    assert_eq!(hop.get(Name::PPreferredIdentity), None);
    assert_eq!(values(&hop.request, Name::PAssertedIdentity), [format!("<{TEL}>"), format!("<{ALICE}>")]);
    // From is the user's.
    stage.arrive(draft(&stage, "2").build());
    assert_eq!(values(&stage.hop().request, Name::PAssertedIdentity)[0], format!("<{ALICE}>"));
    // Neither: the default identity.
    let mut anonymous = draft(&stage, "3").line("P-Preferred-Identity: <sip:king@b.example>");
    anonymous.from = "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1".into();
    stage.arrive(anonymous.build());
    assert_eq!(values(&stage.hop().request, Name::PAssertedIdentity)[0], format!("<{ALICE}>"));
}

#[test]
fn cd_07_a_callee_of_the_home_network_is_left_to_the_i_cscf() {
    let mut stage = Stage::registered();
    stage.arrive(outgoing(&stage, "INVITE", AT_HOME).build());
    let hop = stage.hop();
    assert_eq!((hop.uri(), hop.routes()), (AT_HOME, vec![]), "the domain is resolved, not our own name");
    // What the UE itself wants by the way is kept.
    let routed = outgoing(&stage, "INVITE", AT_HOME).call("2").line("Route: <sip:bridge.example;lr>");
    stage.arrive(routed.build());
    assert_eq!(stage.hop().routes(), ["<sip:bridge.example;lr>"]);
}

#[test]
fn cd_08_we_stay_in_the_way() {
    let mut stage = Stage::registered();
    for (method, stays) in
        [("INVITE", true), ("SUBSCRIBE", true), ("REFER", true), ("MESSAGE", false), ("OPTIONS", false)]
    {
        let draft = outgoing(&stage, method, BOB).call(method).line("Event: presence");
        stage.arrive(draft.build());
        let recorded = stage.hop().request.addresses(Name::RecordRoute).unwrap();
        let own = &recorded[0].uri;
        let token = own.user().and_then(|user| stage.policy.tokens.open(user));
        if stays {
            assert_eq!(recorded.len(), 2, "{method}");
            assert!(own.has_param("lr") && own.host() == stage.policy.name.host());
            assert!(matches!(token, Some((TokenKind::RecordRoute, _, _))), "{method}");
        } else {
            assert_eq!(recorded.len(), 1, "{method}");
        }
    }
}

#[test]
fn cd_08_each_side_of_a_call_has_its_own() {
    let mut stage = Stage::registered();
    stage.arrive(outgoing(&stage, "INVITE", ALICE).build());
    let out = stage.hop();
    stage.arrive(out.request);
    let recorded = values(&stage.hop().request, Name::RecordRoute);
    assert_ne!(recorded[0], recorded[1]);
}

#[test]
fn p_served_user_stays_at_home() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1)]));
    stage.arrive(outgoing(&stage, "INVITE", AT_HOME).line("P-Served-User: <sip:evil@b.example>").build());
    let at_server = stage.hop();
    assert_eq!(at_server.get(Name::PServedUser).unwrap(), format!("<{ALICE}>;sescase=orig;regstate=reg"));
    stage.arrive(at_server.through(AS1));
    assert_eq!(stage.hop().get(Name::PServedUser), None);
}

#[test]
fn the_charging_vector_names_the_networks() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1)]));
    let draft = outgoing(&stage, "INVITE", AT_HOME).with(
        "P-Charging-Vector",
        "icid-value=ic1;orig-ioi=visited.example;term-ioi=x;access-network-charging-info=\"a\"",
    );
    let tx = stage.arrive(draft.build());
    let at_server = stage.hop();
    let towards = vector(&at_server.request);
    assert_eq!(&*towards.icid_value, "ic1");
    assert_eq!(towards.orig_ioi.unwrap(), format!("Type 3{DOMAIN}").into());
    assert_eq!(towards.term_ioi, None);
    assert!(at_server.get(Name::PChargingVector).unwrap().contains(&format!("\"Type 3{DOMAIN}\"")));
    let back = stage.arrive(at_server.through(AS1));
    let hop = stage.hop();
    let onward = vector(&hop.request);
    assert_eq!((&*onward.icid_value, onward.orig_ioi.as_deref()), ("ic1", Some(DOMAIN)));
    assert!(!onward.params.has("access-network-charging-info"), "it stays here");
    // What the terminating network says of itself passes.
    let terms = format!("icid-value=ic1;orig-ioi={DOMAIN};term-ioi=b.example");
    let answered = stage.hear(&hop, &Answer::of(200).line(Name::PChargingVector, &terms));
    assert_eq!(vector(&stage.last_word(back)).term_ioi.as_deref(), Some("b.example"));
    stage.hear_through(&at_server, &answered);
    assert_eq!(vector(&stage.last_word(tx)).term_ioi.as_deref(), Some("b.example"));
}

#[test]
fn what_is_of_type_3_stays_between_us_and_the_server() {
    for reloaded in [false, true] {
        let mut stage = Stage::serving(alice_with(vec![continued(1, AS1)]));
        stage.arrive(outgoing(&stage, "INVITE", AT_HOME).build());
        let at_server = stage.hop();
        if reloaded {
            stage.reload();
        }
        stage.arrive(at_server.through(AS1));
        assert_eq!(vector(&stage.hop().request).orig_ioi.as_deref(), Some(DOMAIN));
        stage.arrive(incoming("INVITE", ALICE).build());
        let at_server = stage.hop();
        assert_eq!(vector(&at_server.request).orig_ioi.unwrap(), format!("Type 3{DOMAIN}").into());
        if reloaded {
            stage.reload();
        }
        stage.arrive(at_server.through(AS1));
        let to_contact = vector(&stage.hop().request);
        assert_eq!(
            (&*to_contact.icid_value, to_contact.orig_ioi),
            ("ic2", (!reloaded).then(|| "b.example".into()))
        );
    }
}

#[test]
fn a_charging_identifier_is_made_where_none_came() {
    let mut stage = Stage::registered();
    stage.arrive(outgoing(&stage, "INVITE", AT_HOME).without("P-Charging-Vector").build());
    let made = vector(&stage.hop().request);
    assert_eq!((made.icid_value.len(), made.orig_ioi.as_deref()), (16, Some(DOMAIN)));
}

#[test]
fn charging_functions_are_told_to_servers_alone() {
    let mut stage = Stage::new();
    stage.hss.user_data = Some(Ok(alice_with(vec![continued(1, AS1)])));
    stage.hss.charging = Some(ChargingAddresses {
        primary_ccf: Some("aaa://ccf.home".into()),
        ..ChargingAddresses::default()
    });
    stage.register_fully(&Ue::new());
    let draft = outgoing(&stage, "INVITE", BOB).line("P-Access-Network-Info: 3GPP-E-UTRAN-FDD");
    stage.arrive(draft.build());
    let at_server = stage.hop();
    assert_eq!(at_server.get(Name::PChargingFunctionAddresses).unwrap(), "ccf=\"aaa://ccf.home\"");
    assert!(at_server.get(Name::PAccessNetworkInfo).is_some());
    stage.arrive(at_server.through(AS1));
    let hop = stage.hop();
    assert_eq!((hop.get(Name::PChargingFunctionAddresses), hop.get(Name::PAccessNetworkInfo)), (None, None));
}

#[test]
fn at_the_border_of_trust_what_is_private_stays() {
    let mut stage = Stage::registered();
    stage.policy.session.trusted_domains = vec!["friend.example".into()];
    let asserted = |stage: &mut Stage, uri: &str, privacy: &str, route: Option<&str>| {
        let mut draft = outgoing(stage, "INVITE", uri)
            .call(&format!("{}", stage.tx))
            .line(&format!("Privacy: {privacy}"))
            .line("P-Access-Network-Info: 3GPP-E-UTRAN-FDD");
        if let Some(route) = route {
            draft = draft.line(&format!("Route: {route}"));
        }
        stage.arrive(draft.build());
        let hop = stage.hop();
        (hop.get(Name::PAssertedIdentity).is_some(), hop.get(Name::PAccessNetworkInfo).is_some())
    };
    assert_eq!(asserted(&mut stage, BOB, "id", None), (false, false));
    assert_eq!(asserted(&mut stage, BOB, "header;ID", None), (false, false));
    assert_eq!(asserted(&mut stage, BOB, "none", None), (true, false));
    assert_eq!(asserted(&mut stage, AT_HOME, "id", None), (true, true));
    let relative = format!("sip:bob@pbx.{DOMAIN}");
    assert_eq!(asserted(&mut stage, &relative, "id", None), (true, true), "below the home domain");
    assert_eq!(asserted(&mut stage, &format!("sip:bob@evil{DOMAIN}"), "id", None), (false, false));
    assert_eq!(asserted(&mut stage, "sip:bob@Friend.example", "id", None), (true, true));
    // The next hop decides, not who is called.
    assert_eq!(asserted(&mut stage, AT_HOME, "id", Some("<sip:proxy.b.example;lr>")), (false, false));
    assert_eq!(asserted(&mut stage, BOB, "id", Some("<sip:ibcf.friend.example;lr>")), (true, true));
}

#[test]
fn in_a_dialog_what_is_private_stays_too() {
    let mut stage = Stage::registered();
    let private = |request: &Request| {
        let mut edit = request.edit();
        for (name, value) in [
            (Name::Privacy, "id"),
            (Name::PAssertedIdentity, "<sip:somebody@ims.example>"),
            (Name::PAccessNetworkInfo, "3GPP-E-UTRAN-FDD"),
        ] {
            edit.append(name, value);
        }
        edit.finish()
    };
    let mut call = stage.calls();
    let asserted = |stage: &mut Stage, request: Request| {
        stage.arrive(request);
        let hop = stage.hop();
        (hop.get(Name::PAssertedIdentity).is_some(), hop.get(Name::PAccessNetworkInfo).is_some())
    };
    assert_eq!(asserted(&mut stage, private(&call.by_caller(Method::Info))), (false, false));
    // The P-CSCF takes off what the UE must not see.
    assert_eq!(asserted(&mut stage, private(&call.by_callee(Method::Info))), (true, false));
    stage.policy.session.trusted_domains = vec!["proxy.b.example".into(), "pcscf.example".into()];
    assert_eq!(asserted(&mut stage, private(&call.by_caller(Method::Info))), (true, true));
    assert_eq!(asserted(&mut stage, private(&call.by_callee(Method::Info))), (true, true));
}

#[test]
fn services_are_asserted_where_the_profile_has_them() {
    let wanted = "urn:urn-7:3gpp-service.ims.icsi.mmtel";
    let mut profile = alice();
    let asserted = |profile: &scscf::profile::Subscription| {
        let mut stage = Stage::serving(profile.clone());
        let draft = outgoing(&stage, "INVITE", AT_HOME)
            .line(&format!("P-Preferred-Service: {wanted}"))
            .line("P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.king");
        stage.arrive(draft.build());
        let hop = stage.hop();
        assert_eq!(hop.get(Name::PPreferredService), None);
        hop.get(Name::PAssertedService)
    };
    assert_eq!(asserted(&profile).as_deref(), Some(wanted), "no list, no limit");
    profile.profiles[0].service_ids = vec!["urn:urn-7:3gpp-service.ims.icsi.oma".into()];
    assert_eq!(asserted(&profile), None);
    profile.profiles[0].service_ids.push(wanted.into());
    assert_eq!(asserted(&profile).as_deref(), Some(wanted));
}

#[test]
fn telephone_numbers_go_home_or_break_out() {
    let mut stage = Stage::registered();
    let tried = |stage: &mut Stage, uri: &str| {
        let tx = stage.arrive(outgoing(stage, "INVITE", uri).call(&format!("{}", stage.tx)).build());
        let hops = stage.hops();
        match hops.first() {
            Some(hop) => Ok((hop.uri().to_owned(), hop.routes())),
            None => Err(stage.last_word(tx).status().code()),
        }
    };
    let home = format!("sip:+15559@{DOMAIN};user=phone");
    assert_eq!(tried(&mut stage, "tel:+1-555-9"), Ok((home, vec![])));
    assert_eq!(tried(&mut stage, "tel:911;phone-context=x.example"), Err(404));
    stage.policy.session.bgcf = "sip:bgcf.example;lr".into();
    let out = vec!["<sip:bgcf.example;lr>".to_owned()];
    assert_eq!(tried(&mut stage, "tel:+1-555-9"), Ok(("tel:+1-555-9".to_owned(), out.clone())));
    assert_eq!(
        tried(&mut stage, "tel:911;phone-context=x.example"),
        Ok(("tel:911;phone-context=x.example".to_owned(), out))
    );
    assert_eq!(tried(&mut stage, &format!("sip:pizza@{DOMAIN};user=phone")), Err(484));
    let number = format!("sip:+1-(555)9@{DOMAIN};user=phone");
    assert_eq!(tried(&mut stage, &number), Ok((number, vec![])));
}

#[test]
fn cd_49_a_registration_that_was_lost_is_begun_anew() {
    let stage = Stage::registered();
    let draft = outgoing(&stage, "INVITE", BOB);
    let mut lost = Stage::new();
    let tx = lost.arrive(draft.build());
    let refusal = lost.last_word(tx);
    assert_eq!(refusal.status().code(), 504);
    assert_eq!(refusal.content_type(), Some("application/3gpp-ims+xml"));
    let body = String::from_utf8(refusal.body().to_vec()).unwrap();
    assert!(
        body.contains("<type>restoration</type>") && body.contains("<action>initial-registration</action>")
    );
    assert!(lost.hops().is_empty());
    assert_eq!(lost.last, Some(Save::Erase));
}

#[test]
fn a_contact_that_is_not_bound_any_more_calls_nobody() {
    let mut stage = Stage::registered();
    let draft = outgoing(&stage, "INVITE", BOB);
    stage.register_fully(&Ue::new().call("reg-2").contact("<sip:alice@192.0.2.2:5060>"));
    let tx = stage.arrive(draft.build());
    assert_eq!(stage.codes(tx), [403]);
    assert!(stage.hops().is_empty());
}

#[test]
fn a_server_calls_on_behalf_of_a_user_who_is_not_registered() {
    let profile =
        alice_with(vec![criterion(1, AS1, DefaultHandling::SessionContinued, Condition::SessionCase(3))]);
    let mut stage = Stage::new();
    stage.hss.user_data = Some(Ok(profile));
    let draft = incoming("INVITE", AT_HOME)
        .line(&format!("Route: <sip:scscf.{DOMAIN}:5060;lr;orig>"))
        .line(&format!("P-Served-User: <{ALICE}>"));
    let tx = stage.arrive(draft.build());
    assert_eq!(stage.assignments(), [ServerAssignmentType::UnregisteredUser]);
    assert_eq!(stage.sars()[0].impus, [ALICE.into()]);
    let hop = stage.hop();
    assert_eq!(hop.get(Name::PServedUser).unwrap(), format!("<{ALICE}>;sescase=orig;regstate=unreg"));
    stage.arrive(hop.through(AS1));
    assert_eq!(stage.hop().uri(), AT_HOME);
    assert!(stage.codes(tx).is_empty());
    // The profile is kept: the HSS is not asked again.
    stage.arrive(draft.clone().call("2").build());
    stage.hop();
    assert_eq!(stage.assignments().len(), 1);
    for (failure, code) in [
        (Failure::Unreachable, 504),
        (Failure::Refused(ResultCode::USER_UNKNOWN), 404),
        (Failure::Refused(ResultCode::UNABLE_TO_COMPLY), 480),
    ] {
        let mut stage = Stage::new();
        stage.hss.sar = Some(failure);
        let tx = stage.arrive(draft.build());
        assert_eq!(stage.codes(tx), [code]);
    }
}

#[test]
fn a_barred_user_is_not_served_when_it_is_not_registered_either() {
    let mut stage = Stage::new();
    let draft = incoming("INVITE", BOB)
        .line(&format!("Route: <sip:scscf.{DOMAIN}:5060;lr;orig>"))
        .line(&format!("P-Served-User: <{BARRED}>"));
    let tx = stage.arrive(draft.build());
    assert_eq!(stage.codes(tx), [403]);
}

#[test]
fn sessions_have_a_maximum_and_a_chain_of_servers_counts_once() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1), continued(2, AS2)]));
    stage.policy.session.max_sessions = 1;
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let first = stage.hop();
    stage.arrive(first.through(AS1));
    let second = stage.hop();
    stage.arrive(second.through(AS2));
    let hop = stage.hop();
    assert_eq!(hop.uri(), BOB, "{}", stage.summary);
    assert_eq!(stage.sessions().len(), 1, "one call is one session");
    assert_eq!(stage.user.summary().sessions, 1);
    let refused = stage.arrive(outgoing(&stage, "INVITE", BOB).call("2").build());
    assert_eq!(stage.codes(refused), [486]);
    assert!(stage.codes(tx).is_empty());
    // What is no session has room.
    stage.arrive(outgoing(&stage, "MESSAGE", BOB).call("3").build());
    stage.hop();
}

#[test]
fn a_token_of_somebody_else_opens_nothing() {
    let mut stage = Stage::registered();
    let other = Impi::new("mallory@ims.mnc001.mcc001.3gppnetwork.org").unwrap();
    let token = stage.policy.tokens.mint(TokenKind::ServiceRoute, &other, 1);
    let draft = incoming("INVITE", BOB).line(&format!("Route: <sip:{token}@scscf.{DOMAIN}:5060;lr>"));
    let tx = stage.arrive(draft.build());
    // As anyone's request: for the user in the Request-URI, who is none of ours.
    assert!(stage.hops().is_empty());
    assert_eq!(stage.assignments(), [ServerAssignmentType::UnregisteredUser]);
    assert_eq!(stage.codes(tx), [480]);
}
