//! TS 24.229 §5.4.3.3 — whom a request means, several contacts, calls that meet, GRUUs: the scenarios that suites of other
//! S-CSCFs and of UEs know by name, listed in docs/conformance.md.

use crate::calls::*;
use crate::stage::{ALICE, DOMAIN, Stage, TEL, Ue, identity, subscription};
use scscf::profile::{Condition, DefaultHandling};
use sip::{Method, Name, NameAddr, Request};

/// What becomes of a hop.
type Deed = dyn Fn(&mut Stage, &Hop);

const UE: &str = "sip:alice@192.0.2.1:5060";

fn tried(stage: &mut Stage, draft: &Draft) -> Result<Vec<String>, u16> {
    let tx = stage.arrive(draft.clone().call(&format!("c{}", stage.tx)).build());
    let hops = stage.hops();
    match hops.is_empty() {
        true => Err(stage.last_word(tx).status().code()),
        false => Ok(hops.iter().map(|hop| hop.uri().to_owned()).collect()),
    }
}

/// TestSimpleMainline, TestSimpleMainlineMaddr, TestTerminatingTelURI, Basic Call: Tel URIs,
/// TestEnumUserPhone without ENUM, TerminatingWithNoEnumRewrite
#[test]
fn a_user_is_meant_by_every_form_of_an_identity() {
    let mut stage = Stage::registered();
    for uri in [
        ALICE.to_owned(),
        format!("{ALICE};maddr=192.0.2.77"),
        format!("{ALICE};transport=tcp"),
        format!("{ALICE};user=phone;x=y"),
        TEL.to_owned(),
        "tel:+1-555-0001;x=y".to_owned(),
        format!("sip:+15550001@{DOMAIN};user=phone"),
        format!("sip:+15550001;x=y@{DOMAIN};user=phone"),
    ] {
        assert_eq!(tried(&mut stage, &incoming("INVITE", &uri)), Ok(vec![UE.to_owned()]), "{uri}");
        // What stands in the request reaches the UE as it was.
        let tx = stage.arrive(incoming("INVITE", &uri).call(&format!("x{}", stage.tx)).build());
        assert_eq!(stage.hop().get(Name::PCalledPartyId).unwrap(), format!("<{uri}>"));
        assert!(stage.codes(tx).is_empty());
    }
    // A contact is called as it was registered, whatever is in it.
    let odd = "sip:alice@192.0.2.1:5061;transport=tcp;maddr=192.0.2.9;ob;x=%20";
    stage.register_fully(&Ue::new().call("odd").contact(&format!("<{odd}>")));
    stage.said.clear();
    assert_eq!(tried(&mut stage, &incoming("INVITE", ALICE)), Ok(vec![odd.to_owned()]));
}

/// Basic Call: Unknown number, Off-net tel, TestNotRegisteredTo, no_local_uas_registered
#[test]
fn a_user_who_is_not_registered_is_known_to_the_hss_by_the_number() {
    let mut stage = Stage::new();
    let numbers = subscription(vec![identity(ALICE, false), identity(TEL, false)]);
    stage.hss.user_data = Some(Ok(numbers));
    let by_number = incoming("INVITE", &format!("sip:+1-555-0001@{DOMAIN};user=phone"));
    assert_eq!(tried(&mut stage, &by_number), Err(480));
    assert_eq!(stage.sars()[0].impus, [TEL.into()], "the HSS knows numbers as tel URIs");
}

/// TestBadScheme, SCSCFHandlesInvalidUri, SCSCFHandlesInvalidUriWithoutEnum, SCSCFHandlesInvalidUriTerm
#[test]
fn a_uri_that_means_nobody_is_refused() {
    let mut stage = Stage::registered();
    for (uri, code) in [
        ("http://example.org", 416),
        ("mailto:bob@b.example", 416),
        (&*format!("sip:12%2034@{DOMAIN};user=phone"), 484),
        ("tel:12;phone-context=x.example", 404),
    ] {
        let draft = outgoing(&stage, "INVITE", uri);
        assert_eq!(tried(&mut stage, &draft), Err(code), "{uri}");
    }
    for (uri, code) in [("x:alice", 416), (&*format!("sip:nobody@{DOMAIN}"), 480)] {
        assert_eq!(tried(&mut stage, &incoming("INVITE", uri)), Err(code), "{uri}");
    }
}

/// SCSCFHandlesUrnUri, URN: Message, URN: Message to AS
#[test]
fn a_urn_is_for_application_servers() {
    let urn = "urn:service:counseling";
    let mut stage = Stage::registered();
    let draft = outgoing(&stage, "MESSAGE", urn);
    assert_eq!(tried(&mut stage, &draft), Err(416), "nobody else serves one");
    let with_route = outgoing(&stage, "MESSAGE", urn).line("Route: <sip:lost.example;lr>");
    assert_eq!(tried(&mut stage, &with_route), Ok(vec![urn.to_owned()]), "unless its sender knows who");
    let criterion = criterion(1, AS1, DefaultHandling::SessionContinued, Condition::Method("MESSAGE".into()));
    let mut stage = Stage::serving(alice_with(vec![criterion]));
    let tx = stage.arrive(outgoing(&stage, "MESSAGE", urn).build());
    let hop = stage.hop();
    assert_eq!((hop.uri(), hop.routes()[0].contains("as1.example")), (urn, true));
    stage.hear(&hop, &Answer::of_server(200, AS1));
    assert_eq!(stage.codes(tx), [200]);
}

/// TestSimpleTelURIVideo, Basic Call: SDP, TestSimpleMultipart, call_mo_noprecondition
#[test]
fn bodies_and_what_is_asked_of_the_far_end_pass_as_they_are() {
    let video = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n\
                 m=video 4002 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\na=curr:qos local none\r\na=des:qos mandatory local sendrecv\r\n";
    let multipart = "--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--x\r\nContent-Type: application/vnd.x\r\n\r\n\x01\x02\r\n--x--\r\n";
    for (kind, body) in [("application/sdp", video), ("multipart/mixed;boundary=x", multipart)] {
        let mut stage = Stage::registered();
        for mut draft in [outgoing(&stage, "INVITE", "tel:+15559999"), incoming("INVITE", ALICE)] {
            draft.body = body;
            let kept = [
                "Supported: 100rel, precondition, replaces, histinfo",
                "Require: sec-agree",
                "Accept-Contact: *;video",
                "History-Info: <sip:x@y>;index=1",
                "Replaces: a;to-tag=b;from-tag=c",
                "Geolocation: <sip:x@y>",
                "Session-ID: abc;remote=0",
            ];
            draft = kept.iter().fold(draft, |draft, line| draft.line(line));
            draft = draft.line(&format!("Content-Type: {kind}"));
            stage.arrive(draft.build());
            let hop = stage.hop();
            assert_eq!(hop.request.body(), body.as_bytes());
            assert_eq!(hop.request.content_type(), Some(kind));
            for line in kept {
                let (name, value) = line.split_once(": ").unwrap();
                assert!(hop.request.all().any(|(known, text)| known == name && text == value), "{line}");
            }
        }
    }
}

/// Alice with so many devices, all of one preference.
fn devices(count: usize) -> Stage {
    let mut stage = Stage::new();
    for n in 0..count {
        let ok = stage.register_fully(&device(n));
        assert_eq!(ok.status().code(), 200, "{}", stage.summary);
    }
    stage.said.clear();
    stage
}

fn address(n: usize) -> String {
    format!("sip:alice@192.0.2.{}:5060", 10 + n)
}

fn device(n: usize) -> Ue {
    let ue = Ue::new().call(&format!("device-{n}")).flow(0, 1);
    let contact = format!("<{}>;+sip.instance=\"<urn:uuid:device {n}>\";reg-id=1;video;audio", address(n));
    Ue { contacts: vec![contact], ..ue }
}

/// TestForkedFlow3, CANCEL: Mainline
#[test]
fn the_caller_who_gives_up_ends_every_branch() {
    let mut stage = devices(3);
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hops = stage.hops();
    assert_eq!(hops.len(), 3);
    stage.hear(&hops[0], &Answer::of_alice(180));
    stage.hear(&hops[1], &Answer::of_alice(500));
    stage.cancel(tx, Some("SIP;cause=487"));
    let cancelled = stage.cancels();
    assert_eq!(
        cancelled.iter().map(|(_, branch, _)| *branch).collect::<Vec<_>>(),
        [hops[0].branch, hops[2].branch]
    );
    assert!(cancelled.iter().all(|(_, _, reason)| reason.as_deref() == Some("SIP;cause=487")));
    stage.hear(&hops[0], &Answer::of_alice(487));
    stage.hear(&hops[2], &Answer::of_alice(487));
    assert_eq!(stage.last_word(tx).status().code(), 487);
    assert!(stage.hops().is_empty() && stage.sessions().is_empty());
}

/// TestForkedFlow4
#[test]
fn an_answer_that_crosses_the_cancel_is_the_callers_to_hang_up() {
    let mut stage = devices(2);
    let invite = incoming("INVITE", ALICE).build();
    let tx = stage.arrive(invite.clone());
    let hops = stage.hops();
    stage.cancel(tx, None);
    let answered = stage.hear(&hops[1], &Answer::of_alice(200));
    stage.hear(&hops[0], &Answer::of_alice(487));
    let ok = stage.last_word(tx);
    assert_eq!(ok.status().code(), 200);
    assert_eq!(stage.sessions().len(), 1);
    let mut call = Call::new(&invite, &hops[1].request, &answered, &ok);
    stage.ack(call.ack());
    assert_eq!(stage.passed().len(), 1);
    let bye = call.by_caller(Method::Bye);
    let tx = stage.arrive(bye);
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of_alice(200));
    assert_eq!(stage.codes(tx), [200]);
    assert!(stage.sessions().is_empty());
}

/// TestForkedFlow, -2, Forking: Mainline, Endpoint offline, Endpoint offline while ringing
#[test]
fn a_device_that_is_gone_does_not_keep_the_others_from_answering() {
    let ways: [&Deed; 4] = [
        &|stage, hop| stage.times_out(hop),
        &|stage, hop| stage.unsendable(hop),
        &|stage, hop| _ = stage.hear(hop, &Answer::of_alice(480)),
        &|stage, hop| {
            stage.hear(hop, &Answer::of_alice(180));
            let gone = device(0).next().next().expires(0).protected();
            assert_eq!(stage.register(&gone).status().code(), 200);
        },
    ];
    for goes in ways {
        let mut stage = devices(2);
        let tx = stage.arrive(incoming("INVITE", ALICE).build());
        let hops = stage.hops();
        let (gone, there) = match hops[0].uri() == address(0) {
            true => (&hops[0], &hops[1]),
            false => (&hops[1], &hops[0]),
        };
        stage.hear(there, &Answer::of_alice(180));
        goes(&mut stage, gone);
        assert!(!stage.codes(tx).iter().any(|code| *code >= 200));
        stage.hear(there, &Answer::of_alice(200));
        assert_eq!(stage.last_word(tx).status().code(), 200);
        assert_eq!(stage.sessions().len(), 1);
    }
}

/// GRUU: first, second and only GRUU as target, AoR, two and three bindings, instance ID that requires escaping,
/// TestNoEnumWhenGRUU
#[test]
fn each_of_three_devices_has_a_gruu_and_the_identity_means_them_all() {
    let mut stage = Stage::new();
    let mut gruus = Vec::new();
    for n in 0..3 {
        let ok = stage.register_fully(&device(n));
        let found = ok.values(Name::Contact).map(|value| NameAddr::parse(&value).unwrap());
        let own = found.into_iter().find(|contact| contact.uri.as_str() == address(n)).unwrap();
        gruus.push(own.param("pub-gruu").unwrap().to_owned());
    }
    stage.said.clear();
    assert_eq!(gruus[1], format!("{ALICE};gr=urn:uuid:device%201"));
    for (n, gruu) in gruus.iter().enumerate() {
        assert_eq!(tried(&mut stage, &incoming("INVITE", gruu)), Ok(vec![address(n)]));
        let phone = incoming("INVITE", &format!("{gruu};x=y"));
        assert_eq!(tried(&mut stage, &phone), Ok(vec![address(n)]), "other parameters do not matter");
    }
    let mut all = tried(&mut stage, &incoming("INVITE", &format!("{ALICE};x=y"))).unwrap();
    all.sort();
    assert_eq!(all, [address(0), address(1), address(2)]);
}

/// GRUU: unknown GRUU with and without assigned ones, TestGRUUFailure
#[test]
fn a_gruu_that_no_device_has_reaches_none() {
    let unknown = format!("{ALICE};gr=urn:uuid:unknown");
    let mut stage = devices(2);
    assert_eq!(tried(&mut stage, &incoming("INVITE", &unknown)), Err(480));
    let mut stage = Stage::registered();
    assert_eq!(tried(&mut stage, &incoming("INVITE", &unknown)), Err(480));
}

/// GRUU: Accept-Contact and Reject-Contact interop; Filtering: Accept-Contact, with response, no match, negated match,
/// Reject-Contact match and no match
#[test]
fn preferences_hold_for_the_device_of_a_gruu_too() {
    let mut stage = devices(2);
    let gruu = format!("{ALICE};gr=urn:uuid:device%200");
    let asked = |line: &str| incoming("INVITE", &gruu).line(line);
    let there = Ok(vec![address(0)]);
    assert_eq!(tried(&mut stage, &asked("Accept-Contact: *;video")), there);
    assert_eq!(tried(&mut stage, &asked("Accept-Contact: *;video;require;explicit")), there);
    assert_eq!(tried(&mut stage, &asked("Reject-Contact: *;automata")), there);
    assert_eq!(tried(&mut stage, &asked("Accept-Contact: *;video=\"FALSE\";require;explicit")), Err(480));
    assert_eq!(tried(&mut stage, &asked("Reject-Contact: *;video")), Err(480));
    let text = incoming("INVITE", ALICE).line("Accept-Contact: *;text;require;explicit");
    assert_eq!(tried(&mut stage, &text), Err(480), "no device is one");
    // One that suits rings and answers as if nobody had asked.
    let invite = incoming("INVITE", ALICE).line("Accept-Contact: *;video;require;explicit").build();
    let tx = stage.arrive(invite);
    let hops = stage.hops();
    stage.hear(&hops[0], &Answer::of_alice(200));
    assert_eq!(stage.codes(tx), [200]);
}

/// TestSIPMessageSupport, Basic Call: Messages - Pager model
#[test]
fn a_message_and_its_answer_pass_both_ways_and_leave_nothing() {
    let mut stage = Stage::registered();
    for mut draft in [outgoing(&stage, "MESSAGE", BOB), incoming("MESSAGE", ALICE)] {
        draft.body = "hello";
        let tx = stage.arrive(draft.line("Content-Type: text/plain").build());
        let hop = stage.hop();
        assert_eq!(hop.request.body(), b"hello");
        assert_eq!(values(&hop.request, Name::RecordRoute).len(), 1, "only what came");
        stage.hear(&hop, &Answer::of(200));
        assert_eq!(stage.codes(tx), [200]);
    }
    assert!(stage.sessions().is_empty());
    // To several devices, of which one takes it.
    let mut stage = devices(2);
    let tx = stage.arrive(incoming("MESSAGE", ALICE).build());
    let hops = stage.hops();
    stage.hear(&hops[0], &Answer::of_alice(480));
    stage.hear(&hops[1], &Answer::of_alice(202));
    assert_eq!(stage.codes(tx), [202]);
    assert!(stage.cancels().is_empty());
    // Nobody there: nobody is kept waiting, and no 408 is said.
    let tx = stage.arrive(incoming("MESSAGE", ALICE).call("2").build());
    let hops = stage.hops();
    hops.iter().for_each(|hop| stage.times_out(hop));
    assert_eq!(stage.codes(tx), [480]);
}

/// The far end of a request in a dialog answers.
fn within(stage: &mut Stage, request: Request, status: u16) -> Hop {
    let tx = stage.arrive(request);
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(status));
    assert_eq!(stage.last_word(tx).status().code(), status, "{}", stage.summary);
    hop
}

/// Basic Call: Mainline, Pracks, call_mo, call_mt, holdresume_mo
#[test]
fn a_call_with_preconditions_hold_and_resume() {
    let mut stage = Stage::registered();
    let invite = outgoing(&stage, "INVITE", BOB).line("Require: precondition").build();
    let tx = stage.arrive(invite.clone());
    let hop = stage.hop();
    let progress = Answer::of(183).line(Name::Require, "100rel");
    let heard = stage.hear(&hop, &progress);
    let mut call = Call::new(&invite, &hop.request, &heard, &stage.responses(tx)[0]);
    // Before there is an answer requests in the dialog pass by its route set.
    for method in [Method::Prack, Method::Update, Method::Info] {
        let request = call.by_caller(method.clone());
        assert_eq!(within(&mut stage, request, 200).uri(), "sip:bob@198.51.100.1", "{method}");
    }
    let update = call.by_callee(Method::Update);
    assert_eq!(within(&mut stage, update, 200).uri(), UE);
    stage.hear(&hop, &Answer::of(180));
    stage.hear(&hop, &Answer::of(200));
    assert_eq!(stage.codes(tx), [183, 180, 200]);
    assert_eq!(stage.sessions()[0].state, "confirmed");
    stage.ack(call.ack());
    assert_eq!(stage.passed().len(), 1);
    // Hold and resume, from either side; a refusal changes nothing.
    for from_caller in [true, false] {
        for status in [200, 200, 491, 488] {
            let again = match from_caller {
                true => call.by_caller(Method::Invite),
                false => call.by_callee(Method::Invite),
            };
            let mut edit = again.edit();
            edit.replace(
                Name::Contact,
                if from_caller { "<sip:alice@192.0.2.99>" } else { "<sip:bob@198.51.100.9>" },
            );
            within(&mut stage, edit.finish(), status);
            if status == 200 {
                stage.ack(call.ack());
                assert_eq!(stage.passed().len(), 1);
            }
            assert_eq!(stage.sessions().len(), 1);
        }
    }
    let bye = call.by_callee(Method::Bye);
    within(&mut stage, bye, 200);
    assert!(stage.sessions().is_empty());
}

/// Call Waiting: Accepted, Cancelled; local_uas_inacall, 2nd_mt_rejected, 2nd_mo_rejected, holdswitchresume_mo, Basic Call:
/// Rejected by remote endpoint
#[test]
fn a_second_call_leaves_the_first_alone() {
    let mut stage = Stage::registered();
    let mut first = stage.is_called();
    // Called again: accepted, cancelled, refused.
    let waiting = incoming("INVITE", ALICE).call("waiting").build();
    let tx = stage.arrive(waiting.clone());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of_alice(182));
    let answered = stage.hear(&hop, &Answer::of_alice(200));
    let mut second = Call::new(&waiting, &hop.request, &answered, &stage.last_word(tx));
    stage.ack(second.ack());
    assert_eq!(stage.sessions().len(), 2);
    let hold = first.by_callee(Method::Invite);
    within(&mut stage, hold, 200);
    let tx = stage.arrive(incoming("INVITE", ALICE).call("cancelled").build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of_alice(180));
    stage.cancel(tx, None);
    stage.hear(&hop, &Answer::of_alice(487));
    assert_eq!(stage.last_word(tx).status().code(), 487);
    let tx = stage.arrive(incoming("INVITE", ALICE).call("busy").build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of_alice(486));
    assert_eq!(stage.codes(tx), [486]);
    // Calls, and is refused.
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).call("mo2").build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of(603));
    assert_eq!(stage.codes(tx), [603]);
    assert_eq!(stage.sessions().len(), 2);
    // The held one is taken up again when the other has ended.
    let bye = second.by_caller(Method::Bye);
    within(&mut stage, bye, 200);
    let resume = first.by_callee(Method::Invite);
    within(&mut stage, resume, 200);
    assert_eq!(stage.sessions().len(), 1);
    let bye = first.by_caller(Method::Bye);
    within(&mut stage, bye, 200);
    assert!(stage.sessions().is_empty());
}

/// TestEmergencyCalleeNotBarred, TestEmergencyMultipleBindings, TestReceiveCallToEmergencyBinding
#[test]
fn a_barred_identity_is_called_back_at_its_emergency_contact_alone() {
    let sos = "sip:alice@192.0.2.3:5060;sos";
    let mut profile = subscription(vec![identity(ALICE, true), identity(TEL, true)]);
    profile.profiles[0].identities.push(identity("sip:other@ims.mnc001.mcc001.3gppnetwork.org", false));
    let mut stage = Stage::new();
    stage.hss.user_data = Some(Ok(profile));
    let mut normal = Ue::new().call("normal");
    normal.to = "<sip:other@ims.mnc001.mcc001.3gppnetwork.org>".into();
    assert_eq!(stage.register_fully(&normal).status().code(), 200);
    stage.said.clear();
    assert_eq!(tried(&mut stage, &incoming("INVITE", ALICE)), Err(404));
    assert_eq!(stage.register_fully(&Ue::new().contact(&format!("<{sos}>"))).status().code(), 200);
    stage.said.clear();
    assert_eq!(tried(&mut stage, &incoming("INVITE", ALICE)), Ok(vec![sos.to_owned()]));
    assert_eq!(tried(&mut stage, &incoming("MESSAGE", TEL)), Ok(vec![sos.to_owned()]));
}
