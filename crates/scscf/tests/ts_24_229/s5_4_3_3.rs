//! TS 24.229 §5.4.3.3 — requests that end at the served user.

use crate::calls::*;
use crate::stage::{ALICE, BARRED, CONTACT, DOMAIN, PATH, Stage, TEL, Ue, identity, subscription};
use scscf::Save;
use scscf::cx::{Failure, ResultCode, ServerAssignmentType};
use scscf::profile::{Condition, DefaultHandling};
use sip::Name;

pub(crate) const UE: &str = "sip:alice@192.0.2.1:5060";
pub(crate) const OTHER_UE: &str = "sip:alice@192.0.2.2:5060";

pub(crate) fn codes(stage: &mut Stage, draft: &Draft) -> Vec<u16> {
    let tx = stage.arrive(draft.build());
    stage.codes(tx)
}

/// A device of Alice's at this address, with these parameters of its Contact.
fn device(uri: &str, name: &str, params: &str) -> Ue {
    let ue = Ue::new().call(name).flow(0, 1);
    Ue { contacts: vec![format!("<{uri}>;+sip.instance=\"<urn:uuid:{name}>\";reg-id=1{params}")], ..ue }
}

/// Alice with two devices of these preferences.
fn two(first: &str, second: &str) -> Stage {
    let mut stage = Stage::new();
    for device in [device(UE, "one", first), device(OTHER_UE, "two", second)] {
        assert_eq!(stage.register_fully(&device).status().code(), 200, "{}", stage.summary);
    }
    stage.said.clear();
    stage
}

fn uris(hops: &[Hop]) -> Vec<&str> {
    hops.iter().map(Hop::uri).collect()
}

/// Alice with these flows of one device, the first registered first.
fn flows(ports: &[u16]) -> Stage {
    let mut stage = Stage::new();
    for (port, reg_id) in ports.iter().zip(1..) {
        let ue = Ue::new().call(&format!("reg-{reg_id}")).flow(*port, reg_id);
        assert_eq!(stage.register_fully(&ue).status().code(), 200, "{}", stage.summary);
        stage.pass(1);
    }
    stage.said.clear();
    stage
}

#[test]
fn cd_10_a_barred_callee_404() {
    let mut stage = Stage::registered();
    assert_eq!(codes(&mut stage, &incoming("INVITE", BARRED)), [404]);
    assert!(stage.hops().is_empty() && stage.sars().is_empty());
    let mut stage = Stage::new();
    assert_eq!(codes(&mut stage, &incoming("INVITE", BARRED)), [404], "nor when the HSS has to say so");
}

#[test]
fn cd_11_an_unregistered_callee_without_services_480() {
    let mut stage = Stage::new();
    assert_eq!(codes(&mut stage, &incoming("INVITE", ALICE)), [480]);
    assert_eq!(stage.assignments(), [ServerAssignmentType::UnregisteredUser]);
    let sar = &stage.sars()[0];
    assert_eq!((&*sar.impus, &sar.impi, sar.user_data_available), (&[ALICE.into()][..], &None, false));
}

#[test]
fn cd_12_an_unregistered_callee_with_services() {
    let unregistered = criterion(1, AS1, DefaultHandling::SessionContinued, Condition::SessionCase(2));
    let registered = criterion(0, AS2, DefaultHandling::SessionContinued, Condition::SessionCase(1));
    let mut stage = Stage::new();
    stage.hss.user_data = Some(Ok(alice_with(vec![registered, unregistered])));
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hop = stage.hop();
    assert!(hop.routes()[0].contains("as1.example"));
    assert_eq!(hop.get(Name::PServedUser).unwrap(), format!("<{ALICE}>;sescase=term;regstate=unreg"));
    // A voice box, say, answers.
    let answered = stage.hear(&hop, &Answer::of_server(200, AS1));
    assert_eq!(stage.last_word(tx).to_tag(), answered.to_tag());
    assert_eq!(stage.sessions()[0].state, "confirmed");
    // Whoever returns it finds no contact.
    let tx = stage.arrive(incoming("INVITE", ALICE).call("2").build());
    let back = stage.hop().through(AS1);
    let again = stage.arrive(back);
    assert_eq!(stage.codes(again), [480]);
    assert!(stage.codes(tx).is_empty());
    assert_eq!(stage.assignments().len(), 1, "the profile is kept");
}

#[test]
fn cd_13_a_callee_the_hss_does_not_know_404() {
    for (failure, code) in [
        (Failure::Refused(ResultCode::USER_UNKNOWN), 404),
        (Failure::Unreachable, 504),
        (Failure::Refused(ResultCode::UNABLE_TO_COMPLY), 480),
        (Failure::Malformed("".into()), 480),
    ] {
        let mut stage = Stage::new();
        stage.hss.sar = Some(failure);
        assert_eq!(codes(&mut stage, &incoming("INVITE", ALICE)), [code]);
        assert_eq!(stage.last, Some(Save::Erase));
    }
    let mut stage = Stage::new();
    stage.hss.user_data = None;
    assert_eq!(codes(&mut stage, &incoming("INVITE", ALICE)), [480]);
}

#[test]
fn the_profile_of_somebody_else_serves_the_request_and_is_not_kept() {
    // The directory knows nobody of that name: the user that answers is called after it.
    let mut profile =
        alice_with(vec![criterion(1, AS1, DefaultHandling::SessionContinued, Condition::SessionCase(2))]);
    profile.private_id = "another@ims.mnc001.mcc001.3gppnetwork.org".into();
    let mut stage = Stage::new();
    stage.hss.user_data = Some(Ok(profile));
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hop = stage.hop();
    assert_eq!(stage.user.impus().count(), 0);
    // The chain goes on as long as the request is on its way.
    let back = stage.arrive(hop.through(AS1));
    assert_eq!(stage.codes(back), [480]);
    let refused = Answer::of_server(480, AS1);
    stage.hear(&hop, &refused);
    assert_eq!(stage.codes(tx), [480]);
    assert_eq!(stage.last, Some(Save::Erase));
    // Later it is unknown.
    let late = stage.arrive(hop.through(AS1));
    assert_eq!(stage.codes(late), [481]);
}

#[test]
fn cd_14_a_retargeted_request_goes_where_it_is_meant_to() {
    let diverting = criterion(3, AS3, DefaultHandling::SessionContinued, Condition::SessionCase(4));
    for (criteria, is_served) in [
        (vec![continued(1, AS1), continued(2, AS2)], false),
        (vec![continued(1, AS1), terminating_only(2, AS2), diverting], true),
    ] {
        let mut stage = Stage::serving(alice_with(limited_to_terminating(criteria)));
        let tx = stage.arrive(incoming("INVITE", ALICE).build());
        let mut edit = stage.hop().through(AS1).edit();
        edit.uri(&sip::Uri::parse("sip:carol@c.example").unwrap());
        stage.arrive(edit.finish());
        let hop = stage.hop();
        assert_eq!(hop.uri(), "sip:carol@c.example", "terminating services end");
        if is_served {
            assert!(hop.routes()[0].contains("as3.example"), "{:?}", hop.routes());
            assert_eq!(hop.get(Name::PServedUser).unwrap(), format!("<{ALICE}>;orig-cdiv"));
            stage.arrive(hop.through(AS3));
            let onward = stage.hop();
            assert_eq!((onward.uri(), onward.routes()), ("sip:carol@c.example", vec![]));
            assert_eq!(onward.get(Name::PServedUser), None);
        } else {
            assert!(hop.routes().is_empty());
            assert_eq!(hop.get(Name::PCalledPartyId), None);
        }
        assert!(stage.codes(tx).is_empty());
    }
}

pub(crate) fn terminating_only(priority: u32, server: &str) -> scscf::profile::InitialFilterCriteria {
    criterion(priority, server, DefaultHandling::SessionContinued, Condition::SessionCase(1))
}

/// Criteria of one condition for terminating requests only, those that divert apart.
fn limited_to_terminating(
    mut criteria: Vec<scscf::profile::InitialFilterCriteria>,
) -> Vec<scscf::profile::InitialFilterCriteria> {
    for criterion in &mut criteria {
        let spt = &mut criterion.trigger.as_mut().unwrap().spts[0];
        if spt.condition == Condition::Method("INVITE".into()) {
            spt.condition = Condition::SessionCase(1);
        }
    }
    criteria
}

#[test]
fn a_diverting_user_has_a_chain_of_its_own() {
    // The server that diverts has the lower priority.
    let mut criteria = vec![
        criterion(1, AS1, DefaultHandling::SessionContinued, Condition::SessionCase(4)),
        terminating_only(2, AS2),
        criterion(3, AS3, DefaultHandling::SessionContinued, Condition::SessionCase(4)),
    ];
    criteria[0].priority = 1;
    let mut stage = Stage::serving(alice_with(criteria));
    stage.arrive(incoming("INVITE", ALICE).build());
    let at_server = stage.hop();
    assert!(at_server.routes()[0].contains("as2.example"));
    let mut edit = at_server.through(AS2).edit();
    edit.uri(&sip::Uri::parse("sip:carol@c.example").unwrap());
    stage.arrive(edit.finish());
    let first = stage.hop();
    assert!(first.routes()[0].contains("as1.example"));
    stage.arrive(first.through(AS1));
    let second = stage.hop();
    assert!(second.routes()[0].contains("as3.example"));
    stage.arrive(second.through(AS3));
    assert!(stage.hop().routes().is_empty());
}

#[test]
fn cd_15_an_alias_is_no_other_target() {
    let mut stage = Stage::serving(alice_with(vec![terminating_only(1, AS1), terminating_only(2, AS2)]));
    for (n, alias) in [TEL.to_owned(), format!("sip:+15550001@{DOMAIN};user=phone"), format!("{ALICE};x=y")]
        .into_iter()
        .enumerate()
    {
        stage.arrive(incoming("INVITE", ALICE).call(&format!("c{n}")).build());
        let mut edit = stage.hop().through(AS1).edit();
        edit.uri(&sip::Uri::parse(&alias).unwrap());
        stage.arrive(edit.finish());
        let hop = stage.hop();
        assert!(hop.routes()[0].contains("as2.example"), "{alias}: {:?}", hop.routes());
        assert!(hop.get(Name::PServedUser).unwrap().contains("sescase=term"));
    }
}

#[test]
fn cd_15_an_identity_of_another_alias_group_is_another_target() {
    let work = "sip:alice.work@ims.mnc001.mcc001.3gppnetwork.org";
    let mut profile = subscription(vec![identity(ALICE, false), identity(work, false)]);
    profile.profiles[0].identities[0].alias_group = Some("private".into());
    profile.profiles[0].identities[1].alias_group = Some("work".into());
    profile.profiles[0].criteria = vec![terminating_only(1, AS1), terminating_only(2, AS2)].into();
    let mut stage = Stage::serving(profile);
    stage.arrive(incoming("INVITE", ALICE).build());
    let mut edit = stage.hop().through(AS1).edit();
    edit.uri(&sip::Uri::parse(work).unwrap());
    stage.arrive(edit.finish());
    let hop = stage.hop();
    assert_eq!((hop.uri(), hop.routes()), (work, vec![]), "as if Alice had called");
}

#[test]
fn a_number_in_a_sip_uri_is_the_telephone_number_of_the_user() {
    let mut stage = Stage::serving(alice_with(vec![terminating_only(1, AS1), terminating_only(2, AS2)]));
    stage.arrive(incoming("INVITE", &format!("sip:+1-555-0001@{DOMAIN};user=phone")).build());
    let first = stage.hop();
    assert_eq!(first.get(Name::PServedUser).unwrap(), format!("<{TEL}>;sescase=term;regstate=reg"));
    stage.arrive(first.through(AS1));
    let second = stage.hop();
    assert!(second.routes()[0].contains("as2.example"), "it is still meant for the user");
    stage.arrive(second.through(AS2));
    assert_eq!(stage.hop().uri(), UE);
}

#[test]
fn cd_16_the_preferred_contact_first() {
    let mut stage = two(";q=0.5", ";q=0.8");
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let preferred = stage.hop();
    assert_eq!(preferred.uri(), OTHER_UE);
    stage.hear(&preferred, &Answer::of_alice(180));
    stage.hear(&preferred, &Answer::of_alice(486));
    let next = stage.hop();
    assert_eq!(next.uri(), UE);
    stage.hear(&next, &Answer::of_alice(404));
    assert_eq!(stage.codes(tx), [180, 486], "of what was heard, the first of the lowest class");
    assert!(stage.sessions().is_empty());
}

#[test]
fn cd_16_a_contact_that_ended_meanwhile_is_passed_over() {
    let mut stage = two(";q=0.5", ";q=0.8");
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let preferred = stage.hop();
    let gone = device(UE, "one", ";q=0.5").next().next().expires(0).protected();
    assert_eq!(stage.register(&gone).status().code(), 200);
    stage.hear(&preferred, &Answer::of_alice(486));
    assert!(stage.hops().is_empty());
    assert_eq!(stage.codes(tx), [486]);
}

#[test]
fn cd_17_no_fork_no_second_branch() {
    let mut stage = two("", "");
    let tx = stage.arrive(incoming("INVITE", ALICE).line("Request-Disposition: no-fork").build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of_alice(486));
    assert_eq!(stage.codes(tx), [486], "nor later");
    for (n, (directive, together)) in
        [("fork", 2), ("parallel", 2), ("sequential", 1)].into_iter().enumerate()
    {
        let draft = incoming("INVITE", ALICE).line(&format!("Request-Disposition: {directive}"));
        stage.arrive(draft.call(&format!("c{n}")).build());
        assert_eq!(stage.hops().len(), together, "{directive}");
    }
}

#[test]
fn what_the_caller_prefers_is_weighed() {
    let mut stage = two(";audio;video", ";audio");
    let tried = |stage: &mut Stage, line: &str| {
        let tx = stage.arrive(incoming("INVITE", ALICE).call(&format!("{}", stage.tx)).line(line).build());
        let hops = stage.hops();
        let uris: Vec<_> = hops.iter().map(|hop| hop.uri().to_owned()).collect();
        (uris, stage.codes(tx))
    };
    assert_eq!(tried(&mut stage, "Reject-Contact: *;video"), (vec![OTHER_UE.to_owned()], vec![]));
    assert_eq!(tried(&mut stage, "Accept-Contact: *;video;require;explicit"), (vec![UE.to_owned()], vec![]));
    assert_eq!(tried(&mut stage, "Reject-Contact: *;audio"), (vec![], vec![480]));
    assert_eq!(tried(&mut stage, "Accept-Contact: audio"), (vec![], vec![400]));
}

#[test]
fn cd_18_cb_27_the_contact_is_reached_by_its_path() {
    let mut stage = Stage::new();
    stage.register_fully(&Ue::new().contact("<sip:alice@192.0.2.1:5060;transport=tcp;ob>").path(&[
        "<sip:nearest.example;lr>",
        "<sip:farther.example;lr>",
        "<sip:edge.example;lr;ob>",
    ]));
    let called = format!("{ALICE};x=y");
    stage.arrive(
        incoming("INVITE", &called)
            .line("P-User-Database: <aaa://hss>")
            .line("P-Served-User: <sip:x@y>")
            .build(),
    );
    let hop = stage.hop();
    assert_eq!(hop.uri(), "sip:alice@192.0.2.1:5060;transport=tcp;ob");
    assert_eq!(
        hop.routes(),
        ["<sip:nearest.example;lr>", "<sip:farther.example;lr>", "<sip:edge.example;lr;ob>"]
    );
    assert_eq!(hop.get(Name::PCalledPartyId).unwrap(), format!("<{called}>"));
    assert_eq!((hop.get(Name::PUserDatabase), hop.get(Name::PServedUser)), (None, None));
    assert_eq!(hop.get(Name::PAssertedIdentity).unwrap(), format!("<{BOB}>"));
    let recorded = hop.request.addresses(Name::RecordRoute).unwrap();
    assert_eq!((recorded.len(), recorded[0].uri.host()), (2, stage.policy.name.host()));
}

#[test]
fn cd_19_no_contact_left_480() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hop = stage.hop();
    stage.times_out(&hop);
    assert_eq!(stage.codes(tx), [480], "whoever does not answer at all cannot be reached");
    let tx = stage.arrive(incoming("INVITE", ALICE).call("2").build());
    let hop = stage.hop();
    stage.unsendable(&hop);
    assert_eq!(stage.codes(tx), [480]);
    stage.register(&Ue::new().next().next().expires(0).protected());
    stage.said.clear();
    assert_eq!(codes(&mut stage, &incoming("INVITE", ALICE).call("3")), [480]);
    assert!(stage.hops().is_empty());
}

#[test]
fn cd_20_a_decline_ends_all_branches() {
    let mut stage = two("", "");
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hops = stage.hops();
    assert_eq!(hops.len(), 2);
    for hop in &hops {
        stage.hear(hop, &Answer::of_alice(180));
    }
    stage.hear(&hops[0], &Answer::of_alice(603));
    assert_eq!(stage.cancels(), [(hops[1].relay, hops[1].branch, None)]);
    assert_eq!(stage.codes(tx), [180, 180], "the other one is waited for");
    stage.hear(&hops[1], &Answer::of_alice(487));
    assert_eq!(stage.codes(tx), [180, 180, 603]);
}

#[test]
fn cd_20_a_decline_spares_those_of_lower_preference() {
    let mut stage = two(";q=0.1", "");
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of_alice(600));
    assert!(stage.hops().is_empty());
    assert_eq!(stage.codes(tx), [600]);
}

#[test]
fn an_answer_ends_the_other_branches() {
    let mut stage = two("", "");
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hops = stage.hops();
    stage.hear(&hops[0], &Answer::of_alice(180));
    stage.hear(&hops[1], &Answer::of_alice(200));
    assert_eq!(stage.codes(tx), [180, 200]);
    assert_eq!(stage.cancels(), [(hops[0].relay, hops[0].branch, None)]);
    stage.hear(&hops[0], &Answer::of_alice(487));
    assert_eq!(stage.codes(tx), [180, 200]);
    assert_eq!(stage.sessions().len(), 1);
}

#[test]
fn two_that_answer_at_once_are_two_sessions_and_the_caller_hears_both() {
    let mut stage = two("", "");
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hops = stage.hops();
    stage.hear(&hops[0], &Answer::of_alice(200).tag("one"));
    stage.hear(&hops[1], &Answer::of_alice(200).tag("two"));
    let tags: Vec<_> =
        stage.responses(tx).iter().map(|response| response.to_tag().unwrap().to_owned()).collect();
    assert_eq!(tags, ["one", "two"]);
    assert_eq!(stage.sessions().len(), 2);
    // One that forks farther away, too, and one that comes again makes no further one.
    stage.hear(&hops[1], &Answer::of_alice(200).tag("three"));
    stage.hear(&hops[1], &Answer::of_alice(200).tag("two"));
    assert_eq!(stage.codes(tx), [200, 200, 200]);
    assert_eq!(stage.sessions().len(), 3);
    assert!(stage.byes().is_empty());
    // Nobody waits for more for ever, and nobody is woken for it.
    let binding_ends = stage.bindings()[0]["expires_at"].as_u64().unwrap();
    assert_eq!(stage.user.next_deadline().unwrap().millis(), binding_ends);
    stage.pass(40);
    stage.hear(&hops[1], &Answer::of_alice(200).tag("four"));
    let byes = stage.byes();
    assert_eq!(byes.len(), 1, "it came too late for the caller");
    assert_eq!(byes[0].request.to_tag(), Some("four"));
    stage.answers_bye(&byes[0], 200);
    assert_eq!(stage.sessions().len(), 3);
}

#[test]
fn the_best_of_several_refusals() {
    for (first, second, best) in [
        (404, 486, 404),
        (500, 486, 486),
        (302, 486, 302),
        (404, 401, 401),
        (487, 486, 486),
        (503, 404, 404),
        (503, 503, 500),
        (430, 486, 486),
        (430, 503, 500),
    ] {
        let mut stage = two("", "");
        let tx = stage.arrive(incoming("INVITE", ALICE).build());
        let hops = stage.hops();
        stage.hear(&hops[0], &Answer::of_alice(first));
        assert!(stage.codes(tx).is_empty());
        stage.hear(&hops[1], &Answer::of_alice(second));
        assert_eq!(stage.codes(tx), [best], "{first} {second}");
    }
}

#[test]
fn breadth_is_shared_out_and_its_end_is_told() {
    let mut stage = two("", "");
    let tx = stage.arrive(incoming("INVITE", ALICE).line("Max-Breadth: 5").build());
    let shares: Vec<_> = stage.hops().iter().filter_map(|hop| hop.get(Name::MaxBreadth)).collect();
    assert_eq!(shares, ["3", "2"]);
    assert!(stage.codes(tx).is_empty());
    assert_eq!(codes(&mut stage, &incoming("INVITE", ALICE).call("2").line("Max-Breadth: 1")), [440]);
    assert!(stage.hops().is_empty());
}

#[test]
fn one_flow_of_a_device_at_a_time_and_the_next_when_it_fails() {
    let mut stage = flows(&[5061, 5062, 5063]);
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let latest = stage.hop();
    assert_eq!(latest.uri(), "sip:alice@192.0.2.1:5063");
    stage.hear(&latest, &Answer::of_alice(430));
    let next = stage.hop();
    assert_eq!(next.uri(), "sip:alice@192.0.2.1:5062");
    // RFC 5626 §5.3: the flow that failed is no binding any more.
    assert_eq!(stage.bindings().len(), 2);
    stage.times_out(&next);
    let last = stage.hop();
    assert_eq!(last.uri(), "sip:alice@192.0.2.1:5061");
    assert_eq!(stage.bindings().len(), 2, "silence alone ends no binding");
    stage.hear(&last, &Answer::of_alice(486));
    assert_eq!(stage.codes(tx), [486]);
}

#[test]
fn a_device_that_refuses_is_not_asked_by_another_flow() {
    let mut stage = flows(&[5061, 5062]);
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of_alice(486));
    assert!(stage.hops().is_empty());
    assert_eq!(stage.codes(tx), [486]);
}

#[test]
fn the_last_flow_that_fails_ends_the_registration() {
    let mut stage = flows(&[5061]);
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of_alice(430));
    assert_eq!(stage.codes(tx), [480]);
    assert_eq!(stage.assignments(), [ServerAssignmentType::TimeoutDeregistration]);
    assert!(!stage.user.is_registered());
    // A contact without flow stays: nobody but its UE said so.
    let mut stage = Stage::registered();
    stage.arrive(incoming("INVITE", ALICE).build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of_alice(430));
    assert!(stage.user.is_registered());
}

#[test]
fn two_devices_with_flows_ring_once_each() {
    let mut stage = flows(&[5061, 5062]);
    let mut other = Ue::new().call("other").flow(6000, 1);
    other.contacts = vec!["<sip:alice@192.0.2.8:6000>;+sip.instance=\"<urn:uuid:other>\";reg-id=1".into()];
    stage.register_fully(&other);
    stage.said.clear();
    stage.arrive(incoming("INVITE", ALICE).build());
    let hops = stage.hops();
    let mut uris = uris(&hops);
    uris.sort_unstable();
    assert_eq!(uris, ["sip:alice@192.0.2.1:5062", "sip:alice@192.0.2.8:6000"]);
}

#[test]
fn an_emergency_contact_is_called_when_there_is_no_other() {
    let mut stage = Stage::new();
    stage.register_fully(&Ue::new().contact("<sip:alice@192.0.2.3:5060;sos>"));
    stage.said.clear();
    stage.arrive(incoming("INVITE", ALICE).build());
    assert_eq!(stage.hop().uri(), "sip:alice@192.0.2.3:5060;sos");
    stage.register_fully(&Ue::new().call("normal").contact(CONTACT));
    stage.said.clear();
    stage.arrive(incoming("INVITE", ALICE).call("2").build());
    assert_eq!(stage.hop().uri(), UE);
}

#[test]
fn what_the_user_answers_is_dressed() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hop = stage.hop();
    let vector = "icid-value=ic2;orig-ioi=b.example";
    let asserted = format!("<{ALICE}>");
    for status in [183, 200] {
        stage.hear(
            &hop,
            &Answer::of_alice(status)
                .line(Name::PChargingVector, vector)
                .line(Name::PAssertedIdentity, &asserted),
        );
    }
    for response in stage.responses(tx) {
        assert_eq!(
            values(&response, Name::PAssertedIdentity),
            [asserted.clone(), format!("<{TEL}>")],
            "{}",
            response.status()
        );
        let vector = response.charging_vector().unwrap().unwrap();
        assert_eq!(
            (vector.orig_ioi.as_deref(), vector.term_ioi.as_deref()),
            (Some("b.example"), Some(DOMAIN))
        );
    }
    // Whoever asserts somebody else is left as it is.
    let tx = stage.arrive(incoming("INVITE", ALICE).call("2").build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of_alice(200).line(Name::PAssertedIdentity, "<sip:x@y>"));
    assert_eq!(values(&stage.last_word(tx), Name::PAssertedIdentity), ["<sip:x@y>"]);
}

#[test]
fn towards_a_server_of_the_callee_the_charging_vector_is_of_type_3() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1)]));
    stage.arrive(incoming("INVITE", ALICE).build());
    let at_server = stage.hop();
    let vector = at_server.request.charging_vector().unwrap().unwrap();
    assert_eq!((&*vector.icid_value, vector.orig_ioi), ("ic2", Some(format!("Type 3{DOMAIN}").into())));
    assert_eq!(at_server.get(Name::PServedUser).unwrap(), format!("<{ALICE}>;sescase=term;regstate=reg"));
    assert!(!at_server.routes()[1].contains("orig"));
}

#[test]
fn the_assertion_passes_to_the_p_cscf_whatever_is_private() {
    let mut stage = Stage::registered();
    stage.arrive(incoming("INVITE", ALICE).line("Privacy: id").build());
    let hop = stage.hop();
    assert_eq!(hop.get(Name::PAssertedIdentity).unwrap(), format!("<{BOB}>"));
    assert_eq!(hop.get(Name::Privacy).unwrap(), "id");
    assert_eq!(hop.routes(), [PATH]);
}
