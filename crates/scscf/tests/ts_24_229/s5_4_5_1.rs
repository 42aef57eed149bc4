//! TS 24.229 §5.4.5.1 — sessions that the S-CSCF releases.

use crate::calls::*;
use crate::stage::{ALICE, CONTACT, DOMAIN, Stage, TEL, Ue, identity, subscription};
use scscf::cx::{Demand, DeregistrationReason, RegistrationTermination, ServerAssignmentType};
use scscf::policy::OnWrongAnswer;
use scscf::profile::{Condition, DefaultHandling};
use scscf::user::ReleaseCause;
use scscf::view::RegistrationState;
use scscf::{Effect, Event, Purpose, Reply, Save, Side};
use sip::{Method, Name, Request};

const GONE: &str = "SIP;cause=480;text=\"Temporarily Unavailable\"";

fn deregisters(stage: &mut Stage) {
    let ok = stage.register(&Ue::new().next().next().expires(0).protected());
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
}

fn terminates(stage: &mut Stage, reason: DeregistrationReason, impus: &[&str]) {
    let impi = stage.user.impi().clone();
    stage.demand(Demand::RegistrationTermination(RegistrationTermination {
        impi,
        associated_identities: Vec::new(),
        impus: impus.iter().map(|&impu| impu.into()).collect(),
        reason,
        reason_info: None,
    }));
}

/// The BYE to the callee and the one to the caller.
fn both(stage: &mut Stage) -> (Bye, Bye) {
    let mut byes = stage.byes();
    assert_eq!(byes.len(), 2, "{}: {byes:?}", stage.summary);
    let (second, first) = (byes.pop().unwrap(), byes.pop().unwrap());
    assert_eq!((first.side, second.side), (Side::Callee, Side::Caller));
    (first, second)
}

fn cseq(request: &Request) -> u32 {
    assert_eq!(request.cseq().method, *request.method());
    request.cseq().number
}

#[test]
fn cd_38_cd_39_cd_40_cd_43_both_sides_hear_bye_in_the_name_of_the_other() {
    let mut stage = Stage::registered();
    let call = stage.calls();
    deregisters(&mut stage);
    let (to_callee, to_caller) = both(&mut stage);
    let bye = &to_callee.request;
    assert_eq!(bye.method(), &Method::Bye);
    assert_eq!(bye.uri_text(), "sip:bob@198.51.100.1");
    assert_eq!((bye.from(), bye.to()), (call.invite.from(), call.ok.to()));
    assert_eq!((bye.call_id(), cseq(bye)), ("mo1", 8));
    assert_eq!(values(bye, Name::Route), [B_PROXY]);
    assert_eq!(bye.get(Name::Reason).unwrap(), GONE);
    assert_eq!(bye.get(Name::MaxForwards).unwrap(), "70");
    let bye = &to_caller.request;
    assert_eq!(bye.uri_text(), "sip:alice@192.0.2.1:5060");
    assert_eq!((bye.from(), bye.to()), (call.ok.to(), call.invite.from()));
    assert_eq!(bye.call_id(), "mo1");
    assert!((1..1 << 31).contains(&cseq(bye)), "Bob never sent a request: any number will do");
    assert_eq!(values(bye, Name::Route), [P_CSCF]);
    assert_eq!(bye.get(Name::Reason).unwrap(), GONE);
}

#[test]
fn cd_38_cd_39_later_numbers_and_targets_count() {
    let mut stage = Stage::registered();
    let mut call = stage.calls();
    let exchange = |stage: &mut Stage, request: Request| {
        stage.arrive(request);
        let hop = stage.hop();
        stage.hear(&hop, &Answer::of(200).line(Name::Contact, "<sip:bob@198.51.100.9>"));
    };
    exchange(&mut stage, with(&call.by_caller(Method::Invite), Name::Contact, "<sip:alice@192.0.2.1:9>"));
    call.callee.local_cseq = 40;
    exchange(&mut stage, call.by_callee(Method::Info));
    deregisters(&mut stage);
    let (to_callee, to_caller) = both(&mut stage);
    assert_eq!((to_callee.request.uri_text(), cseq(&to_callee.request)), ("sip:bob@198.51.100.9", 9));
    assert_eq!((to_caller.request.uri_text(), cseq(&to_caller.request)), ("sip:alice@192.0.2.1:9", 42));
}

#[test]
fn cd_41_the_mirror_image_where_the_callee_is_served() {
    let mut stage = Stage::registered();
    let call = stage.is_called();
    deregisters(&mut stage);
    let (to_callee, to_caller) = both(&mut stage);
    let bye = &to_callee.request;
    assert_eq!(bye.uri_text(), "sip:alice@192.0.2.1:5060");
    assert_eq!((bye.from(), bye.to(), cseq(bye)), (call.invite.from(), call.ok.to(), 31));
    assert_eq!(values(bye, Name::Route), [TERM_P_CSCF]);
    let bye = &to_caller.request;
    assert_eq!(bye.uri_text(), "sip:bob@198.51.100.1");
    assert_eq!((bye.from(), bye.to()), (call.ok.to(), call.invite.from()));
    assert_eq!(values(bye, Name::Route), [B_PROXY]);
}

#[test]
fn the_session_is_forgotten_when_both_have_answered() {
    for status in [200, 481, 404, 401, 408] {
        let mut stage = Stage::registered();
        stage.calls();
        deregisters(&mut stage);
        let (to_callee, to_caller) = both(&mut stage);
        assert_eq!(stage.sessions()[0].state, "releasing");
        assert_ne!(stage.last, Some(Save::Erase));
        stage.answers_bye(&to_callee, status);
        assert_eq!(stage.sessions().len(), 1);
        assert_eq!(stage.last, Some(Save::Snapshot));
        stage.now = stage.now + scscf::Span::seconds(1);
        stage.answers_bye(&to_caller, status);
        assert!(stage.sessions().is_empty());
        assert_eq!(stage.last, Some(Save::Erase), "nothing is left of the user");
        let releases = stage.releases();
        assert_eq!((releases.len(), releases[0].cause), (1, ReleaseCause::Deregistered));
        let told: Vec<_> = releases[0].told.iter().map(|line| (line.side, line.what, line.status)).collect();
        assert_eq!(told, [(Side::Callee, "BYE", Some(status)), (Side::Caller, "BYE", Some(status))]);
        let caller = &releases[0].told[1];
        assert_eq!((caller.answered_at.unwrap() - caller.at).as_seconds(), 1);
        assert_eq!(caller.at, releases[0].at);
    }
}

#[test]
fn cd_36_a_released_dialog_481() {
    let mut stage = Stage::registered();
    let mut call = stage.calls();
    terminates(&mut stage, DeregistrationReason::PermanentTermination, &[]);
    let (to_callee, to_caller) = both(&mut stage);
    for method in [Method::Invite, Method::Update, Method::Info] {
        let tx = stage.arrive(call.by_caller(method.clone()));
        assert_eq!(stage.codes(tx), [481]);
        let tx = stage.arrive(call.by_callee(method));
        assert_eq!(stage.codes(tx), [481]);
    }
    stage.answers_bye(&to_callee, 200);
    stage.answers_bye(&to_caller, 200);
    for method in [Method::Invite, Method::Bye] {
        let tx = stage.arrive(call.by_caller(method));
        assert_eq!(stage.codes(tx), [481]);
    }
    assert!(stage.hops().is_empty());
}

/// What ends a registration, how, and the words for it.
type Ends = (&'static str, fn(&mut Stage), ReleaseCause, &'static str);

/// Everything that ends a registration.
fn causes() -> Vec<Ends> {
    let gone = "Temporarily Unavailable";
    vec![
        ("the UE", deregisters, ReleaseCause::Deregistered, gone),
        (
            "all contacts",
            |stage| {
                let all = Ue { contacts: vec!["*".into()], ..Ue::new().next().next().expires(0).protected() };
                assert_eq!(stage.register(&all).status().code(), 200);
            },
            ReleaseCause::Deregistered,
            gone,
        ),
        (
            "another contact",
            |stage| {
                let other = Ue::new().call("reg-2").contact("<sip:alice@192.0.2.2:5060>");
                assert_eq!(stage.register_fully(&other).status().code(), 200);
            },
            ReleaseCause::ContactReplaced,
            gone,
        ),
        ("time", |stage| stage.pass(600_000), ReleaseCause::Expired, gone),
        (
            "RTR permanent termination",
            |stage| terminates(stage, DeregistrationReason::PermanentTermination, &[]),
            ReleaseCause::PermanentTermination,
            "Subscription terminated",
        ),
        (
            "RTR server change",
            |stage| terminates(stage, DeregistrationReason::ServerChange, &[ALICE]),
            ReleaseCause::ServerChange,
            gone,
        ),
        (
            "RTR new server",
            |stage| terminates(stage, DeregistrationReason::NewServerAssigned, &[]),
            ReleaseCause::NewServerAssigned,
            gone,
        ),
        (
            "the operator",
            |stage| {
                stage.deregister("unpaid");
            },
            ReleaseCause::Administrative,
            "Deregistered by the operator",
        ),
        (
            "no re-authentication",
            |stage| {
                stage.reauthenticate(600);
                stage.pass(600);
            },
            ReleaseCause::ReauthenticationLapsed,
            "No re-authentication in time",
        ),
        (
            "a wrong answer",
            |stage| {
                stage.policy.reauthentication.on_wrong_answer = OnWrongAnswer::Deregister;
                stage.reauthenticate(600);
                let challenge = stage.register(&Ue::new().next().next().protected());
                assert_eq!(challenge.status().code(), 401);
                let refused = stage.register(&Ue::new().next().next().next().botching(&challenge));
                assert_eq!(refused.status().code(), 403);
            },
            ReleaseCause::ReauthenticationFailed,
            "Re-authentication failed",
        ),
    ]
}

#[test]
fn cb_21_ca_13_ca_15_whatever_ends_the_contact_ends_its_sessions() {
    for (what, end, cause, words) in causes() {
        for called in [false, true] {
            let mut stage = Stage::registered();
            if called {
                stage.is_called()
            } else {
                stage.calls()
            };
            end(&mut stage);
            let (to_callee, to_caller) = both(&mut stage);
            for bye in [&to_callee, &to_caller] {
                let reason = format!("SIP;cause=480;text=\"{words}\"");
                assert_eq!(bye.request.get(Name::Reason).unwrap(), reason, "{what}");
            }
            stage.answers_bye(&to_caller, 200);
            stage.answers_bye(&to_callee, 200);
            assert!(stage.sessions().is_empty(), "{what}");
            assert_eq!(stage.releases()[0].cause, cause, "{what}");
            if cause != ReleaseCause::ContactReplaced {
                assert_eq!(stage.user.view().state, RegistrationState::NotRegistered, "{what}");
                assert_eq!(stage.last, Some(Save::Erase), "{what}");
            }
        }
    }
}

#[test]
fn cd_37_whatever_ends_the_contact_ends_what_its_user_sets_up() {
    for (what, end, cause, words) in causes() {
        let mut stage = Stage::registered();
        let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
        let hop = stage.hop();
        stage.hear(&hop, &Answer::of(180));
        // Timer C would end it first.
        let ringing = what == "time" || what == "no re-authentication";
        if ringing {
            stage.policy.session.timer_c = 1_000_000;
            stage.hear(&hop, &Answer::of(180));
        }
        end(&mut stage);
        let reason = format!("SIP;cause=480;text=\"{words}\"");
        assert_eq!(stage.cancels(), [(hop.relay, hop.branch, Some(reason.clone()))], "{what}");
        let refusal = stage.last_word(tx);
        assert_eq!((refusal.status().code(), refusal.get(Name::Reason).unwrap().as_ref()), (480, &*reason));
        stage.hear(&hop, &Answer::of(487));
        assert_eq!(stage.codes(tx).iter().filter(|code| **code >= 200).count(), 1);
        let releases = stage.releases();
        assert_eq!((releases.len(), releases[0].cause), (1, cause), "{what}");
        let told: Vec<_> = releases[0].told.iter().map(|line| (line.side, line.what, line.status)).collect();
        assert_eq!(told, [(Side::Callee, "CANCEL", Some(487)), (Side::Caller, "480", None)], "{what}");
        assert!(stage.sessions().is_empty());
        if cause != ReleaseCause::ContactReplaced {
            assert_eq!(stage.last, Some(Save::Erase), "{what}");
        }
    }
}

#[test]
fn cd_37_a_call_to_the_contact_that_ends() {
    for (what, end, _, words) in causes() {
        if what == "another contact" {
            continue;
        }
        let mut stage = Stage::registered();
        stage.policy.session.timer_c = 1_000_000;
        let tx = stage.arrive(incoming("INVITE", ALICE).build());
        let hop = stage.hop();
        stage.hear(&hop, &Answer::of_alice(180));
        end(&mut stage);
        let reason = format!("SIP;cause=480;text=\"{words}\"");
        assert_eq!(stage.cancels(), [(hop.relay, hop.branch, Some(reason))], "{what}");
        assert_eq!(stage.codes(tx), [180, 480], "{what}");
        stage.hear(&hop, &Answer::of_alice(487));
        assert_eq!(stage.last, Some(Save::Erase), "{what}");
    }
}

#[test]
fn cd_37_all_passages_of_a_call_by_servers_end_and_are_one_session() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1), continued(2, AS2)]));
    let chain = stage.by_all_servers(outgoing(&stage, "INVITE", BOB).build());
    stage.hear_along(&chain, &Answer::of(180));
    deregisters(&mut stage);
    assert_eq!(stage.cancels().len(), 3);
    assert!(chain.txs.iter().all(|tx| stage.codes(*tx) == [180, 480]));
    for (hop, server) in chain.hops.iter().zip([AS1, AS2, BOB]) {
        stage.hear(hop, &Answer::of_server(487, server));
    }
    assert_eq!(stage.releases().len(), 1);
    assert_eq!(stage.releases()[0].told.len(), 2);
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn cd_37_a_call_by_the_servers_of_the_contact_that_ends() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1)]));
    let chain = stage.by_all_servers(incoming("INVITE", ALICE).build());
    stage.hear_along(&chain, &Answer::of_alice(180));
    deregisters(&mut stage);
    // The server hears that the contact is gone, and has the last word.
    assert_eq!(stage.cancels(), [(chain.hops[1].relay, chain.hops[1].branch, Some(GONE.to_owned()))]);
    assert_eq!(stage.codes(chain.txs[1]), [180, 480]);
    assert_eq!(stage.codes(chain.txs[0]), [180]);
    stage.hear(&chain.hops[1], &Answer::of_alice(487));
    stage.hear_through(&chain.hops[0], &stage.last_word(chain.txs[1]));
    assert_eq!(stage.codes(chain.txs[0]), [180, 480]);
    assert_eq!(stage.releases().len(), 1);
    assert_eq!(stage.last, Some(Save::Erase));
}

fn device(name: &str, q: &str) -> Ue {
    let ue = Ue::new().call(name).flow(0, 1);
    let contact = format!("<sip:{name}@192.0.2.1>;+sip.instance=\"<urn:uuid:{name}>\";reg-id=1{q}");
    Ue { contacts: vec![contact], ..ue }
}

fn devices(devices: &[(&str, &str)]) -> Stage {
    let mut stage = Stage::new();
    for (name, q) in devices {
        assert_eq!(stage.register_fully(&device(name, q)).status().code(), 200);
    }
    stage.said.clear();
    stage
}

fn leaves(stage: &mut Stage, name: &str, q: &str) {
    let ok = stage.register(&device(name, q).next().next().expires(0).protected());
    assert_eq!(ok.status().code(), 200, "{}", stage.summary);
}

#[test]
fn cd_42_of_two_that_ring_only_the_one_that_ended_is_cancelled() {
    let mut stage = devices(&[("one", ""), ("two", "")]);
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hops = stage.hops();
    let at = |name: &str| hops.iter().find(|hop| hop.uri().contains(name)).unwrap();
    for hop in &hops {
        stage.hear(hop, &Answer::of_alice(180));
    }
    leaves(&mut stage, "one", "");
    assert_eq!(stage.cancels(), [(at("one").relay, at("one").branch, Some(GONE.to_owned()))]);
    stage.hear(at("one"), &Answer::of_alice(487));
    assert_eq!(stage.codes(tx), [180, 180], "the other one rings on");
    assert_eq!(stage.releases()[0].told.len(), 1);
    assert_eq!(stage.releases()[0].told[0].status, Some(487));
    stage.hear(at("two"), &Answer::of_alice(200));
    assert_eq!(stage.codes(tx), [180, 180, 200]);
    assert_eq!(stage.sessions().len(), 1);
    assert!(stage.byes().is_empty());
}

#[test]
fn cd_42_when_both_have_ended_so_has_the_call() {
    let mut stage = devices(&[("one", ""), ("two", "")]);
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hops = stage.hops();
    for hop in &hops {
        stage.hear(hop, &Answer::of_alice(180));
    }
    leaves(&mut stage, "one", "");
    leaves(&mut stage, "two", "");
    assert_eq!(stage.cancels().len(), 2);
    for hop in &hops {
        stage.hear(hop, &Answer::of_alice(487));
    }
    assert_eq!(stage.codes(tx), [180, 180, 480]);
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn cd_42_the_next_group_is_tried_when_the_first_has_ended() {
    let mut stage = devices(&[("one", ";q=1.0"), ("two", ";q=0.5")]);
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let first = stage.hop();
    stage.hear(&first, &Answer::of_alice(180));
    leaves(&mut stage, "one", ";q=1.0");
    assert_eq!(stage.cancels().len(), 1);
    stage.hear(&first, &Answer::of_alice(487));
    let second = stage.hop();
    assert!(second.uri().contains("two"));
    stage.hear(&second, &Answer::of_alice(200));
    assert_eq!(stage.codes(tx), [180, 200]);
}

#[test]
fn cd_42_an_answer_that_crosses_the_end_of_its_contact() {
    let mut stage = devices(&[("one", ""), ("two", "")]);
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let hops = stage.hops();
    let one = hops.iter().find(|hop| hop.uri().contains("one")).unwrap();
    leaves(&mut stage, "one", "");
    stage.hear(one, &Answer::of_alice(200));
    assert_eq!(stage.codes(tx), [200], "the caller hears of it, and that it is over");
    // Its ACK is awaited.
    assert_eq!(stage.byes().iter().map(|bye| bye.side).collect::<Vec<_>>(), [Side::Callee]);
}

#[test]
fn sessions_over_other_contacts_stay() {
    let mut stage = devices(&[("one", ""), ("two", "")]);
    stage.arrive(incoming("INVITE", ALICE).build());
    let hops = stage.hops();
    let two = hops.iter().find(|hop| hop.uri().contains("two")).unwrap();
    stage.hear(two, &Answer::of_alice(200));
    leaves(&mut stage, "one", "");
    assert!(stage.byes().is_empty());
    assert_eq!(stage.sessions()[0].state, "confirmed");
    leaves(&mut stage, "two", "");
    assert_eq!(stage.sessions()[0].state, "releasing");
}

#[test]
fn sessions_of_another_set_stay() {
    let mut stage = Stage::registered();
    let work = "sip:alice.work@ims.mnc001.mcc001.3gppnetwork.org";
    stage.hss.user_data = Some(Ok(subscription(vec![identity(work, false)])));
    let mut ue = Ue::new().call("reg-2").contact("<sip:alice@192.0.2.7:5060>");
    ue.to = format!("<{work}>");
    stage.register_fully(&ue);
    stage.said.clear();
    stage.calls();
    // One that a server began on behalf of the other set, and one still being set up.
    for n in ["as-1", "as-2"] {
        let draft = incoming("INVITE", BOB)
            .call(n)
            .line(&format!("Route: <sip:scscf.{DOMAIN}:5060;lr;orig>"))
            .line(&format!("P-Served-User: <{work}>"));
        stage.arrive(draft.build());
        let hop = stage.hop();
        if n == "as-1" {
            stage.hear(&hop, &Answer::of(200));
        }
    }
    terminates(&mut stage, DeregistrationReason::PermanentTermination, &[TEL]);
    assert_eq!(
        stage.byes().iter().map(|bye| bye.request.call_id().to_owned()).collect::<Vec<_>>(),
        ["mo1", "mo1"]
    );
    assert!(stage.cancels().is_empty());
    terminates(&mut stage, DeregistrationReason::PermanentTermination, &[work]);
    let byes = stage.byes();
    assert!(byes.iter().all(|bye| bye.request.call_id() == "as-1"));
    assert_eq!(byes.len(), 1, "the caller has not sent its ACK");
    assert_eq!(stage.cancels().len(), 1);
}

#[test]
fn cb_23_a_flow_that_is_replaced_takes_its_sessions_with_it() {
    let mut stage = Stage::new();
    let first = Ue::new().flow(5061, 1);
    stage.register_fully(&first);
    stage.said.clear();
    stage.calls();
    let refreshed = first.clone().next().next().protected();
    assert_eq!(stage.register(&refreshed).status().code(), 200);
    assert!(stage.byes().is_empty(), "a refresh is no end");
    let elsewhere = first.call("reg-2").path(&["<sip:other.example;lr;ob>"]);
    assert_eq!(stage.register_fully(&elsewhere).status().code(), 200);
    let (to_callee, _) = both(&mut stage);
    assert_eq!(to_callee.request.get(Name::Reason).unwrap(), GONE);
    assert_eq!(stage.bindings().len(), 1);
}

#[test]
fn sessions_over_an_emergency_contact_stay() {
    let mut stage = Stage::new();
    stage.register_fully(&Ue::new().contact("<sip:alice@192.0.2.3:5060;sos>"));
    stage.said.clear();
    let call = stage.is_called();
    assert_eq!(call.arrived.uri_text(), "sip:alice@192.0.2.3:5060;sos");
    stage.register_fully(&Ue::new().call("normal").contact(CONTACT));
    stage.deregister("unpaid");
    terminates(&mut stage, DeregistrationReason::PermanentTermination, &[]);
    assert!(stage.byes().is_empty());
    assert_eq!(stage.sessions()[0].state, "confirmed");
}

#[test]
fn cb_69_bye_goes_before_the_200() {
    let mut stage = Stage::registered();
    stage.calls();
    let tx = stage.arrive(incoming("INVITE", TEL).build());
    stage.hop();
    stage.said.clear();
    deregisters(&mut stage);
    let order: Vec<_> = stage
        .said
        .iter()
        .map(|effect| match effect {
            Effect::Send { purpose: Purpose::Release(..), .. } => "BYE",
            Effect::Cancel { .. } => "CANCEL",
            Effect::Respond { tx: to, .. } if *to == tx => "480",
            Effect::Respond { response, .. } if response.cseq().method == Method::Register => "200",
            Effect::CxRequest { .. } => "SAR",
            _ => "other",
        })
        .collect();
    let at = |what: &str| order.iter().position(|said| *said == what).unwrap();
    for released in ["BYE", "CANCEL", "480"] {
        assert!(at(released) < at("200"), "{order:?}");
    }
    assert!(order.contains(&"SAR"));
}

#[test]
fn ca_31_all_that_ends_with_a_registration() {
    let server = criterion(1, AS1, DefaultHandling::SessionContinued, Condition::Method("REGISTER".into()));
    let mut stage = Stage::serving(alice_with(vec![server]));
    stage.policy.session.timer_c = 1_000_000;
    let subscribe = incoming("SUBSCRIBE", ALICE)
        .call("watch")
        .with("P-Asserted-Identity", "<sip:pcscf.example>")
        .line("Event: reg")
        .line("Expires: 600000");
    let tx = stage.arrive(subscribe.build());
    assert_eq!(stage.codes(tx), [200]);
    stage.calls();
    let tx = stage.arrive(incoming("INVITE", TEL).build());
    let ringing = stage.hop();
    stage.reauthenticate(600);
    answer_all(&mut stage);
    stage.pass(599);
    answer_all(&mut stage);
    stage.said.retain(|effect| matches!(effect, Effect::Respond { .. }));
    stage.pass(1);
    assert_eq!(stage.codes(tx).last(), Some(&480));
    let (to_callee, to_caller) = both(&mut stage);
    assert_eq!(stage.assignments(), [ServerAssignmentType::TimeoutDeregistration]);
    assert_eq!(stage.user.view().state, RegistrationState::NotRegistered);
    let notify = &stage.notifies()[0];
    assert!(notify.get(Name::SubscriptionState).unwrap().starts_with("terminated"));
    let body = String::from_utf8(notify.body().to_vec()).unwrap();
    assert_eq!(body.matches("state=\"terminated\"").count(), 4, "two identities, a contact each: {body}");
    let registers: Vec<_> = sent(&stage, &Method::Register);
    assert_eq!(registers.len(), 1);
    assert_eq!((registers[0].uri_text(), registers[0].get(Name::Expires).unwrap().as_ref()), (AS1, "0"));
    answer_all(&mut stage);
    stage.answers_bye(&to_callee, 200);
    assert_ne!(stage.last, Some(Save::Erase));
    stage.answers_bye(&to_caller, 200);
    // So has the INVITE that was cancelled.
    stage.hear(&ringing, &Answer::of_alice(487));
    assert_eq!(stage.last, Some(Save::Erase));
}

fn sent(stage: &Stage, method: &Method) -> Vec<Request> {
    let request = |effect: &Effect| match effect {
        Effect::Send { request, .. } if request.method() == method => Some(request.clone()),
        _ => None,
    };
    stage.said.iter().filter_map(request).collect()
}

/// Everything but a BYE is answered 200.
fn answer_all(stage: &mut Stage) {
    loop {
        let is_other = |effect: &Effect| matches!(effect, Effect::Send { purpose, .. } if !matches!(purpose, Purpose::Release(..)));
        let Some(at) = stage.said.iter().position(is_other) else { return };
        if let Effect::Send { purpose: to, request } = stage.said.remove(at) {
            let response = request.respond(sip::Status::OK, "x").finish();
            stage.step(Event::Reply { to, reply: Reply::Response(response) });
        }
    }
}
