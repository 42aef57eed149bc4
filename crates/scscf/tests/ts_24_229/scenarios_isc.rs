//! TS 24.229 §5.4.3.4 — application servers at work: the scenarios that suites of other S-CSCFs know by name, listed in
//! docs/conformance.md.

use crate::calls::*;
use crate::stage::{ALICE, DOMAIN, Stage, TEL, identity, subscription};
use scscf::ServerTx;
use scscf::profile::{Condition, DefaultHandling, InitialFilterCriteria};
use sip::{Method, Name, Request, Response, Uri};

/// Of the calling user's services.
pub fn originating(priority: u32, server: &str) -> InitialFilterCriteria {
    criterion(priority, server, DefaultHandling::SessionContinued, Condition::SessionCase(0))
}

/// Of the called user's services.
pub fn terminating(priority: u32, server: &str) -> InitialFilterCriteria {
    criterion(priority, server, DefaultHandling::SessionContinued, Condition::SessionCase(1))
}

/// Of the services of a called user who diverts.
pub fn diverting(priority: u32, server: &str) -> InitialFilterCriteria {
    criterion(priority, server, DefaultHandling::SessionContinued, Condition::SessionCase(4))
}

pub fn host(hop: &Hop) -> String {
    let routes = hop.request.addresses(Name::Route).unwrap();
    routes.first().map_or_else(String::new, |route| route.uri.host().to_owned())
}

pub fn retargeted(request: &Request, uri: &str) -> Request {
    let mut edit = request.edit();
    edit.uri(&Uri::parse(uri).unwrap());
    edit.finish()
}

/// A request that servers passed on: the transaction of each passage, and where each led.
pub struct Way {
    pub txs: Vec<ServerTx>,
    pub hops: Vec<Hop>,
}

impl Way {
    /// A request arrives, and every server called `as...` passes it on.
    pub fn of(stage: &mut Stage, request: Request) -> Self {
        let mut way = Self { txs: vec![stage.arrive(request)], hops: vec![] };
        loop {
            let hop = stage.hop();
            let server = host(&hop);
            way.hops.push(hop.clone());
            if !server.starts_with("as") {
                return way;
            }
            way.txs.push(stage.arrive(hop.through(&format!("sip:{server}"))));
        }
    }

    pub fn servers(&self) -> Vec<String> {
        self.hops.iter().map(host).filter(|server| server.starts_with("as")).collect()
    }

    pub fn end(&self) -> &Hop {
        self.hops.last().unwrap()
    }

    /// The far end answers, and every server passes the answer back.
    pub fn answered(&self, stage: &mut Stage, answer: &Answer) -> Response {
        let response = stage.hear(self.end(), answer);
        for (tx, hop) in self.txs.iter().skip(1).zip(&self.hops).rev() {
            let came = stage.responses(*tx).pop().expect("an answer");
            stage.hear_through(hop, &came);
        }
        response
    }
}

/// SimpleISCMainline, ISCMultipleResponses, MainlineHeaders
#[test]
fn a_server_of_the_callee_sees_the_call_and_every_answer_to_it() {
    let mut stage = Stage::serving(alice_with(vec![terminating(1, AS1)]));
    let invite = incoming("INVITE", ALICE).line("X-Unheard-Of: kept").build();
    let way = Way::of(&mut stage, invite.clone());
    let at_server = &way.hops[0];
    assert_eq!(at_server.uri(), ALICE, "the server sees whom the call is for");
    assert_eq!(at_server.routes().len(), 2);
    assert!(at_server.routes()[1].contains("lr") && !at_server.routes()[1].contains(";orig"));
    assert_eq!(at_server.get(Name::PServedUser).unwrap(), format!("<{ALICE}>;sescase=term;regstate=reg"));
    let contact = way.end();
    assert_eq!(contact.uri(), "sip:alice@192.0.2.1:5060");
    assert_eq!(contact.get(Name::PCalledPartyId).unwrap(), format!("<{ALICE}>"));
    assert!(contact.request.all().any(|(name, value)| name == "X-Unheard-Of" && value == "kept"));
    for status in [100, 180, 183, 180] {
        stage.hear(contact, &Answer::of_alice(status));
        if status != 100 {
            let came = stage.responses(way.txs[1]).pop().unwrap();
            stage.hear_through(at_server, &came);
        }
    }
    let answered = way.answered(&mut stage, &Answer::of_alice(200).line(Name::Subject, "passed"));
    assert_eq!(stage.codes(way.txs[0]), [180, 183, 180, 200]);
    assert_eq!(stage.responses(way.txs[0])[3].get(Name::Subject).unwrap(), "passed");
    assert_eq!(stage.sessions().len(), 1);
    let mut call = Call::new(&invite, &contact.request, &answered, &stage.responses(way.txs[0])[3]);
    // The ACK and the BYE go by the server too.
    let ack = call.ack();
    stage.ack(ack);
    let passed = stage.passed();
    assert!(passed[0].values(Name::Route).next().unwrap().contains("as1.example"));
    let bye = call.by_caller(Method::Bye);
    let tx = stage.arrive(bye);
    let first = stage.hop();
    assert_eq!(host(&first), "as1.example");
    let second = stage.arrive(first.through(AS1));
    let last = stage.hop();
    assert_eq!(last.uri(), "sip:alice@192.0.2.1:5060");
    stage.hear(&last, &Answer::of_alice(200));
    let came = stage.responses(second).pop().unwrap();
    stage.hear_through(&first, &came);
    assert_eq!(stage.codes(tx), [200]);
    assert!(stage.sessions().is_empty());
}

/// Overtaken180
#[test]
fn a_180_that_the_200_overtook_is_not_passed() {
    let mut stage = Stage::serving(alice_with(vec![terminating(1, AS1)]));
    let way = Way::of(&mut stage, incoming("INVITE", ALICE).build());
    let ringing = stage.hear(way.end(), &Answer::of_alice(180));
    let overtaken = stage.responses(way.txs[1]).pop().unwrap();
    assert_eq!(ringing.status(), overtaken.status());
    way.answered(&mut stage, &Answer::of_alice(200));
    stage.hear_through(&way.hops[0], &overtaken);
    assert_eq!(stage.codes(way.txs[0]), [200]);
}

/// SimpleISCTwoRouteHeaders
#[test]
fn a_route_beyond_us_stays_behind_the_servers() {
    let mut stage = Stage::serving(alice_with(vec![originating(1, AS1), originating(2, AS2)]));
    let invite = outgoing(&stage, "INVITE", BOB).line("Route: <sip:bridge.example;lr>").build();
    let way = Way::of(&mut stage, invite);
    assert_eq!(way.servers(), ["as1.example", "as2.example"]);
    for hop in &way.hops[..2] {
        assert_eq!(hop.routes().len(), 3);
        assert_eq!(hop.routes()[2], "<sip:bridge.example;lr>");
    }
    assert_eq!(way.end().routes(), ["<sip:bridge.example;lr>"]);
    assert_eq!(way.end().uri(), BOB);
}

/// ISCASURIMalformed, ISCASURITel
#[test]
fn a_server_that_cannot_be_addressed_is_passed_over() {
    for nonsense in ["", "as1.example", "tel:+15551234", "sip:", "urn:service:x"] {
        let handling = DefaultHandling::SessionTerminated;
        let broken = criterion(1, nonsense, handling, Condition::SessionCase(1));
        let mut stage = Stage::serving(alice_with(vec![broken, terminating(2, AS2)]));
        let way = Way::of(&mut stage, incoming("INVITE", ALICE).build());
        assert_eq!(way.servers(), ["as2.example"], "{nonsense}");
        assert!(stage.codes(way.txs[0]).is_empty());
    }
}

/// SimpleNextOrigFlow, OriginatingExternal, ISC: UDP AS
#[test]
fn servers_of_the_caller_one_after_the_other_and_then_another_network() {
    let criteria = vec![originating(7, AS2), originating(3, AS1), originating(9, AS3)];
    let mut stage = Stage::serving(alice_with(criteria));
    let invite = outgoing(&stage, "INVITE", BOB).build();
    let way = Way::of(&mut stage, invite);
    assert_eq!(way.servers(), ["as1.example", "as2.example", "as3.example"]);
    for hop in &way.hops[..3] {
        assert!(hop.routes()[1].contains(";orig"), "whoever forgets what it is learns it from the URI");
        assert_eq!(hop.get(Name::PServedUser).unwrap(), format!("<{ALICE}>;sescase=orig;regstate=reg"));
    }
    assert_eq!((way.end().uri(), way.end().routes()), (BOB, vec![]));
    way.answered(&mut stage, &Answer::of(200));
    assert_eq!(stage.codes(way.txs[0]), [200]);
    assert_eq!(stage.sessions().len(), 1);
}

/// SimpleReject, SimpleNonLocalReject, Call Barring: Outbound Rejection, Inbound Rejection
#[test]
fn a_server_that_refuses_is_heard() {
    for (criteria, is_outgoing) in
        [(vec![originating(1, AS1), originating(2, AS2)], true), (vec![terminating(1, AS1)], false)]
    {
        for status in [403, 404, 486, 480, 600, 603] {
            let mut stage = Stage::serving(alice_with(criteria.clone()));
            let draft = if is_outgoing { outgoing(&stage, "INVITE", BOB) } else { incoming("INVITE", ALICE) };
            let tx = stage.arrive(draft.build());
            let hop = stage.hop();
            stage.hear(&hop, &Answer::of_server(status, AS1).line(Name::Subject, "barred"));
            let refusal = stage.last_word(tx);
            assert_eq!(refusal.status().code(), status);
            assert_eq!(refusal.get(Name::Subject).unwrap(), "barred");
            assert!(stage.hops().is_empty() && stage.sessions().is_empty());
        }
    }
}

/// Call Barring: Allow non-international, Reject international
#[test]
fn a_server_bars_some_numbers_only() {
    let mut abroad = originating(1, AS1);
    let condition = Condition::RequestUri("^\\+44".into());
    abroad.trigger.as_mut().unwrap().spts[0].condition = condition;
    let mut stage = Stage::serving(alice_with(vec![abroad]));
    stage.arrive(outgoing(&stage, "INVITE", "tel:+15551234").call("1").build());
    assert_eq!(stage.hop().routes(), Vec::<String>::new(), "no server is asked");
    let tx = stage.arrive(outgoing(&stage, "INVITE", "tel:+441234").call("2").build());
    let hop = stage.hop();
    assert_eq!(host(&hop), "as1.example");
    stage.hear(&hop, &Answer::of_server(603, AS1));
    assert_eq!(stage.codes(tx), [603]);
}

/// SimpleAccept, ISC: Terminating
#[test]
fn a_server_answers_in_place_of_the_user() {
    let mut stage = Stage::serving(alice_with(vec![terminating(1, AS1), terminating(2, AS2)]));
    let invite = incoming("INVITE", ALICE).build();
    let tx = stage.arrive(invite.clone());
    let hop = stage.hop();
    let answered = stage.hear(&hop, &Answer::of_server(200, AS1));
    let mut call = Call::new(&invite, &hop.request, &answered, &stage.last_word(tx));
    stage.ack(call.ack());
    assert_eq!(stage.passed()[0].uri_text(), AS1);
    let bye = call.by_callee(Method::Bye);
    let tx = stage.arrive(bye);
    let hop = stage.hop();
    assert_eq!(hop.uri(), "sip:bob@198.51.100.1");
    stage.hear(&hop, &Answer::of(200));
    assert_eq!(stage.codes(tx), [200]);
    assert!(stage.sessions().is_empty() && stage.hops().is_empty(), "nobody else heard of it");
}

/// SimpleRedirect, ISC: Redirect
#[test]
fn a_redirection_goes_back_to_the_caller() {
    for criteria in [vec![originating(1, AS1)], vec![terminating(1, AS1)]] {
        let mut stage = Stage::serving(alice_with(criteria.clone()));
        let is_outgoing = criteria[0] == originating(1, AS1);
        let draft = if is_outgoing { outgoing(&stage, "INVITE", BOB) } else { incoming("INVITE", ALICE) };
        let tx = stage.arrive(draft.build());
        let hop = stage.hop();
        stage.hear(&hop, &Answer::of_server(302, AS1).line(Name::Contact, "<sip:carol@c.example>"));
        let redirection = stage.last_word(tx);
        assert_eq!(redirection.status().code(), 302);
        assert_eq!(redirection.get(Name::Contact).unwrap(), "<sip:carol@c.example>");
        assert!(stage.hops().is_empty());
    }
}

/// SimpleOptionsAccept
#[test]
fn a_server_answers_options() {
    let mut stage = Stage::serving(alice_with(vec![terminating(1, AS1)]));
    let tx = stage.arrive(incoming("OPTIONS", ALICE).build());
    let hop = stage.hop();
    assert_eq!(host(&hop), "as1.example");
    assert_eq!(values(&hop.request, Name::RecordRoute), [B_PROXY], "no dialog, no Record-Route");
    stage.hear(&hop, &Answer::of_server(200, AS1).line(Name::Allow, "INVITE"));
    assert_eq!(stage.last_word(tx).get(Name::Allow).unwrap(), "INVITE");
    assert!(stage.sessions().is_empty());
}

/// AsOriginatedTerm
#[test]
fn what_a_server_sends_to_a_user_of_ours_has_the_users_terminating_services() {
    let mut stage = Stage::serving(alice_with(vec![originating(1, AS1), terminating(2, AS2)]));
    let draft = incoming("INVITE", ALICE)
        .line(&format!("Route: <sip:scscf.{DOMAIN}:5060;lr>"))
        .with("P-Asserted-Identity", "<sip:conference@ims.mnc001.mcc001.3gppnetwork.org>");
    let way = Way::of(&mut stage, draft.build());
    assert_eq!(way.servers(), ["as2.example"]);
    assert_eq!(way.end().uri(), "sip:alice@192.0.2.1:5060");
}

/// OriginatingTerminatingAS
#[test]
fn servers_of_the_caller_and_of_the_callee() {
    let mut stage = Stage::serving(alice_with(vec![originating(1, AS1), terminating(2, AS2)]));
    let invite = outgoing(&stage, "INVITE", ALICE).build();
    let there = Way::of(&mut stage, invite);
    assert_eq!(there.servers(), ["as1.example"]);
    assert_eq!((there.end().uri(), there.end().get(Name::PServedUser)), (ALICE, None));
    let here = Way::of(&mut stage, there.end().request.clone());
    assert_eq!(here.servers(), ["as2.example"]);
    let answered = here.answered(&mut stage, &Answer::of_alice(200));
    assert!(answered.status().is_success());
    // The far end of the caller's half is the near end of the callee's.
    let came = stage.last_word(here.txs[0]);
    stage.hear_as(there.end(), came);
    let came = stage.last_word(there.txs[1]);
    stage.hear_through(&there.hops[0], &came);
    assert_eq!(stage.codes(there.txs[0]), [200]);
    let roles: Vec<_> = stage.sessions().iter().map(|session| session.role).collect();
    assert_eq!(roles.len(), 2, "each half is a session of its own: {roles:?}");
    assert!(roles.contains(&"originating") && roles.contains(&"terminating"));
}

/// OriginatingTerminatingASTimeout, OriginatingTerminatingMessageASTimeout
#[test]
fn silent_servers_of_both_sides_are_passed_over() {
    for method in ["INVITE", "MESSAGE"] {
        let mut stage = Stage::serving(alice_with(vec![originating(1, AS1), terminating(2, AS2)]));
        let tx = stage.arrive(outgoing(&stage, method, ALICE).build());
        assert_eq!(host(&stage.hop()), "as1.example");
        stage.pass(2);
        let onward = stage.hop();
        assert_eq!((onward.uri(), onward.routes()), (ALICE, vec![]));
        let second = stage.arrive(onward.request.clone());
        assert_eq!(host(&stage.hop()), "as2.example");
        stage.pass(2);
        let contact = stage.hop();
        assert_eq!(contact.uri(), "sip:alice@192.0.2.1:5060");
        let cancelled = stage.cancels().len();
        assert_eq!(cancelled, if method == "INVITE" { 2 } else { 0 }, "only an INVITE can be cancelled");
        stage.hear(&contact, &Answer::of_alice(200));
        let came = stage.last_word(second);
        stage.hear_as(&onward, came);
        assert_eq!(stage.codes(tx), [200], "{method}");
    }
}

/// ExpiredChain
#[test]
fn a_server_that_returns_a_request_long_after_it_was_answered_begins_a_new_one_behind_itself() {
    let mut stage = Stage::serving(alice_with(vec![originating(1, AS1), originating(2, AS2)]));
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    stage.hear(&hop, &Answer::of_server(404, AS1));
    assert_eq!(stage.codes(tx), [404]);
    stage.pass(40);
    let late = hop.anew(AS1, "late");
    let way = Way::of(&mut stage, late);
    assert_eq!(way.servers(), ["as2.example"], "its identifier still says where to go on");
    assert_eq!(way.end().uri(), BOB);
}

/// B2BUA, ISC: B2BUA
#[test]
fn a_server_that_ends_the_call_and_begins_another_keeps_the_chain() {
    let mut stage = Stage::serving(alice_with(vec![originating(1, AS1), originating(2, AS2)]));
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let first = stage.hop();
    let second = stage.arrive(first.anew(AS1, "leg2"));
    let to_second = stage.hop();
    assert_eq!((host(&to_second).as_str(), to_second.request.call_id()), ("as2.example", "leg2"));
    let third = stage.arrive(to_second.through(AS2));
    let onward = stage.hop();
    assert_eq!((onward.uri(), onward.request.call_id()), (BOB, "leg2"));
    stage.hear(&onward, &Answer::of(200));
    let came = stage.last_word(third);
    stage.hear_through(&to_second, &came);
    assert_eq!(stage.last_word(second).status().code(), 200);
    // The server answers the call that came to it by itself.
    stage.hear(&first, &Answer::of_server(200, AS1));
    assert_eq!(stage.last_word(tx).status().code(), 200);
    let calls: std::collections::BTreeSet<_> = {
        let record = stage.record();
        let sessions = record["sessions"].as_array().unwrap().clone();
        sessions.iter().map(|session| session["call_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(calls, ["leg2", "mo1"].map(str::to_owned).into(), "two dialogs, two sessions");
}

/// TestMultipleServiceProfiles, TestMultipleAmbiguousServiceProfiles
#[test]
fn each_identity_has_the_services_of_its_own_profile() {
    let mut profile = subscription(vec![identity(ALICE, false)]);
    profile.profiles[0].criteria = vec![terminating(1, AS1)].into();
    let mut other = subscription(vec![identity(TEL, false), identity(ALICE, false)]).profiles.remove(0);
    other.criteria = vec![terminating(1, AS2)].into();
    profile.profiles.push(other);
    let mut stage = Stage::serving(profile);
    let way = Way::of(&mut stage, incoming("INVITE", TEL).build());
    assert_eq!(way.servers(), ["as2.example"]);
    let way = Way::of(&mut stage, incoming("INVITE", ALICE).call("2").build());
    assert_eq!(way.servers(), ["as1.example"], "of two profiles that name an identity the first counts");
}

/// PreloadedRoutePreserveReqUri, PreloadedRouteChangedReqUri, PreloadedRouteNotLastAs
#[test]
fn a_route_that_a_server_of_the_callee_wrote_is_followed() {
    let written = |request: &Request| {
        let mut edit = request.edit();
        edit.append(Name::Route, "<sip:gateway.example;lr>");
        edit.finish()
    };
    // Behind the last server there are no contacts to be found: the Route says where.
    let mut stage = Stage::serving(alice_with(vec![terminating(1, AS1)]));
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let at_server = stage.hop();
    let back = stage.arrive(written(&at_server.through(AS1)));
    let hop = stage.hop();
    assert_eq!((hop.uri(), hop.routes()), (ALICE, vec!["<sip:gateway.example;lr>".to_owned()]));
    assert_eq!((hop.get(Name::PServedUser), hop.get(Name::PCalledPartyId)), (None, None));
    let answered = stage.hear(&hop, &Answer::of_alice(200));
    assert_eq!(stage.last_word(back).to_tag(), answered.to_tag());
    assert!(stage.codes(tx).is_empty());
    // The same where the target is another too.
    stage.arrive(incoming("INVITE", ALICE).call("2").build());
    let request = written(&stage.hop().through(AS1));
    stage.arrive(retargeted(&request, "sip:carol@c.example"));
    let hop = stage.hop();
    assert_eq!((hop.uri(), hop.routes().len()), ("sip:carol@c.example", 1));
    // A server that is not the last does not spare the request the others.
    let mut stage = Stage::serving(alice_with(vec![terminating(1, AS1), terminating(2, AS2)]));
    stage.arrive(incoming("INVITE", ALICE).build());
    let request = written(&stage.hop().through(AS1));
    stage.arrive(request);
    let next = stage.hop();
    assert_eq!((host(&next).as_str(), next.routes().len()), ("as2.example", 3));
    stage.arrive(next.through(AS2));
    assert_eq!(stage.hop().routes(), ["<sip:gateway.example;lr>"]);
}

#[test]
fn a_route_that_a_stranger_wrote_is_not_followed() {
    let mut stage = Stage::registered();
    for trusted in [true, false] {
        stage.trusted = trusted;
        let routes = format!("Route: <sip:scscf.{DOMAIN}:5060;lr>, <sip:evil.example;lr>");
        let draft = incoming("INVITE", ALICE).call(&format!("{trusted}")).line(&routes);
        stage.arrive(draft.build());
        let hop = stage.hop();
        assert_eq!((hop.uri(), host(&hop).as_str()), ("sip:alice@192.0.2.1:5060", "pcscf.example"));
    }
}

#[test]
fn ten_servers_on_either_side_are_no_more_than_a_message_holds() {
    let server = |n: u32| format!("sip:as{n}.example");
    let servers: Vec<_> = (1..=10).map(|n| continued(n, &server(n))).collect();
    let mut caller = Stage::serving(alice_with(servers.clone()));
    let chain = caller.by_all_servers(outgoing(&caller, "INVITE", BOB).build());
    assert_eq!(chain.hops.len(), 11);
    // Bob's S-CSCF, with as many: another Alice stands for him.
    let mut edit = chain.last().request.edit();
    edit.uri(&sip::Uri::parse(ALICE).unwrap());
    let mut callee = Stage::serving(alice_with(servers));
    let chain = callee.by_all_servers(edit.finish());
    let arrived = &chain.last().request;
    assert_eq!(values(arrived, Name::RecordRoute).len(), 43);
    let octets = bytes::Bytes::copy_from_slice(arrived.as_bytes());
    assert!(sip::Message::parse_datagram(octets).is_ok(), "{} octets", arrived.as_bytes().len());
}
