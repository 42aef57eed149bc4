//! TS 24.229 5.4.3.4 over sockets: application servers in the way of calls and messages, and what becomes of those that fail.

mod endings;

use crate::scene::{
    DIVERTING, Handling, ORIGINATING, ORIGINATING_UNREGISTERED, Person, SOON, TERMINATING,
    TERMINATING_UNREGISTERED, application_server, application_server_over, criterion, ended, no_faults,
    provide, reaches, server_config, sip, talk,
};
use e2e::{DOMAIN, Lab, eventually, free_port, http};
use lab::as_::{self, AgentState, ApplicationServer, Behaviour, Entry, Mode};
use lab::ue::{Answering, Dial, End, Happening, Standalone, State, Transport};
use serde_json::json;
use std::time::Duration;

/// Servers are given up after so long, in milliseconds.
const PATIENCE: &[(&str, &str)] = &[
    ("ROLLCALL__SESSION__AS_CONTINUED_TIMEOUT_MS", "400"),
    ("ROLLCALL__SESSION__AS_TERMINATED_TIMEOUT_MS", "400"),
    ("ROLLCALL__REAUTHENTICATION__MIN_PERIOD", "1"),
];

fn requests(server: &ApplicationServer, method: &str) -> Vec<Entry> {
    server.journal().into_iter().filter(|entry| entry.method == method).collect()
}

fn count(server: &ApplicationServer, method: &str) -> usize {
    requests(server, method).len()
}

/// Every session of these users is over, and their views say so.
fn nothing_is_left(lab: &Lab, names: &[&str]) {
    for name in names {
        let none = eventually(SOON, || {
            let view = lab.user(name).1;
            view["sessions"].as_array().is_none_or(Vec::is_empty).then_some(())
        });
        assert!(none.is_some(), "{:#}", lab.user(name).1);
    }
}

/// Three servers of the caller's, of which the second is a back-to-back user agent, and one of the callee's.
struct Chain {
    lab: Lab,
    servers: [ApplicationServer; 4],
    alice: Person,
    bob: Person,
}

async fn chain() -> Chain {
    // All servers answer: however busy the machine is, none is left out.
    let lab = Lab::start(&[], &[("ROLLCALL__REAUTHENTICATION__MIN_PERIOD", "1")]);
    let servers = [
        application_server(&lab).await,
        application_server(&lab).await,
        application_server(&lab).await,
        application_server(&lab).await,
    ];
    servers[1].behave(Mode::B2bua);
    // Not in the order of their priorities.
    let order = [(30, &servers[2]), (10, &servers[0]), (20, &servers[1])];
    let criteria = order.map(|(priority, server)| {
        criterion(priority, "INVITE", Some(ORIGINATING), &server.uri(), Handling::Terminated)
    });
    provide(&lab, "alice", &criteria);
    let terminating = criterion(5, "INVITE", Some(TERMINATING), &servers[3].uri(), Handling::Continued);
    provide(&lab, "bob", &[terminating]);
    let alice = Person::registered(&lab, "alice").await;
    let bob = Person::registered(&lab, "bob").await;
    Chain { lab, servers, alice, bob }
}

// CD-21 CD-28 CD-29 CG-09: the chain is visited in order, each server once, and the call goes through it to the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_three_and_the_caller_hangs_up() {
    let Chain { lab, servers, alice, mut bob } = chain().await;
    let (made, mut came) = talk(&alice, &mut bob, "bob").await;
    for (at, server) in servers.iter().enumerate() {
        let [invite] = &requests(server, "INVITE")[..] else {
            panic!("server {at}: {:#?}", server.journal())
        };
        let (served, original) = if at < 3 { ("alice", ";orig") } else { ("bob", "") };
        let case = if at < 3 { "orig" } else { "term" };
        let expected = format!("<{}>;sescase={case};regstate=reg", sip(served));
        assert_eq!(invite.served_user.as_deref(), Some(&*expected), "server {at}");
        assert_eq!(invite.routes.len(), 2, "server {at}: {:?}", invite.routes);
        assert_eq!(invite.routes[0], format!("<{};lr>", server.uri()), "server {at}");
        assert!(invite.routes[1].ends_with(&format!(";lr{original}>")), "server {at}: {:?}", invite.routes);
        let vector = invite.header("P-Charging-Vector").join(",");
        assert!(vector.contains(&format!("orig-ioi=\"Type 3{DOMAIN}\"")), "server {at}: {vector}");
    }
    assert_eq!(came.header("P-Served-User"), [""; 0], "it is for servers alone");
    assert_eq!(came.header("P-Asserted-Identity"), [format!("<{}>", sip("alice"))]);
    assert_ne!(came.call_id(), made.call_id(), "the back-to-back user agent stands between");
    assert_eq!(made.reinvite().await, Ok(200));
    assert_eq!(came.update().await, Ok(200));
    assert_eq!(made.hang_up().await, Ok(200));
    assert_eq!(ended(&mut came).await, End::Released { reason: None });
    for (at, server) in servers.iter().enumerate() {
        let counts = ["INVITE", "ACK", "UPDATE", "BYE"].map(|method| count(server, method));
        assert_eq!(counts, [2, 2, 1, 1], "server {at}: {:#?}", server.journal());
    }
    no_faults(&[&made, &came]);
    nothing_is_left(&lab, &["alice", "bob"]);
}

// CD-21 CD-28 CD-29: the same, and the callee hangs up.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_three_and_the_callee_hangs_up() {
    let Chain { lab, servers, alice, mut bob } = chain().await;
    let (mut made, came) = talk(&alice, &mut bob, "bob").await;
    assert_eq!(came.hang_up().await, Ok(200));
    assert_eq!(ended(&mut made).await, End::Released { reason: None });
    for (at, server) in servers.iter().enumerate() {
        let counts = ["INVITE", "ACK", "BYE"].map(|method| count(server, method));
        assert_eq!(counts, [1, 1, 1], "server {at}");
    }
    no_faults(&[&made, &came]);
    nothing_is_left(&lab, &["alice", "bob"]);
}

// RFC 3262 §3: reliable ringing, a late offer and a session timer through the chain.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_three_and_everything_a_call_can_have() {
    let Chain { lab, servers, alice, mut bob } = chain().await;
    let ring = Duration::from_millis(50);
    bob.answers(Answering { ring, reliable: true, min_se: Some(90), refresh: true, ..Answering::default() });
    for late_offer in [false, true] {
        let dial = Dial { reliable: true, late_offer, session_expires: Some(1800), ..Dial::to(&sip("bob")) };
        let mut made = alice.ue.call(dial).unwrap();
        let mut came = bob.called().await;
        reaches(&mut made, State::Established).await;
        reaches(&mut came, State::Established).await;
        assert_eq!(came.record().of("PRACK").count(), 1);
        assert_eq!(made.update().await, Ok(200));
        assert_eq!(came.reinvite().await, Ok(200));
        assert_eq!(came.hang_up().await, Ok(200));
        assert_eq!(ended(&mut made).await, End::Released { reason: None });
        no_faults(&[&made, &came]);
    }
    assert!(servers.iter().all(|server| count(server, "PRACK") == 2));
    nothing_is_left(&lab, &["alice", "bob"]);
}

// CD-37 CD-38 CG-14: somebody gives up, or a registration ends, at every moment of the setup through the chain.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_and_the_end_at_every_moment() {
    let Chain { lab, servers, mut alice, mut bob } = chain().await;
    for round in 0..48_u64 {
        let mut made = alice.calls("bob");
        tokio::time::sleep(Duration::from_micros(300 * (round / 3))).await;
        let whose = ["nobody", "alice", "bob"][(round % 3) as usize];
        if whose == "nobody" {
            // It may have been answered already.
            if made.cancel().await.is_err() {
                assert_eq!(made.hang_up().await, Ok(200), "round {round}");
            }
        } else {
            let url = format!("{}/v1/users/{whose}@{DOMAIN}/deregister", lab.api);
            assert_eq!(http::post(&url, &json!({"reason": "drill"})).unwrap().0, 202);
        }
        let end = ended(&mut made).await;
        if let Some(mut came) = bob.was_called().await {
            let other = ended(&mut came).await;
            assert!(
                matches!(other, End::Released { .. } | End::Cancelled { .. }),
                "round {round}, {whose}: {end:?} {other:?}\n{:#?}",
                came.record()
            );
            no_faults(&[&came]);
        }
        no_faults(&[&made]);
        nothing_is_left(&lab, &["alice", "bob"]);
        match whose {
            "alice" => alice = Person::registered(&lab, "alice").await,
            "bob" => bob = Person::registered(&lab, "bob").await,
            _ => {}
        }
    }
    drop(servers);
}

// CG-14: given up while it rings, through the chain.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_three_and_the_caller_gives_up() {
    let Chain { lab, servers, alice, mut bob } = chain().await;
    bob.lets_it_ring();
    let mut made = alice.calls("bob");
    let mut came = bob.called().await;
    reaches(&mut made, State::Ringing).await;
    assert_eq!(made.cancel().await, Ok(487));
    assert!(matches!(ended(&mut came).await, End::Cancelled { .. }));
    assert!(servers.iter().all(|server| count(server, "INVITE") == 1));
    no_faults(&[&made, &came]);
    nothing_is_left(&lab, &["alice", "bob"]);
}

/// What an application server does to a call, and what becomes of it with each default handling.
async fn failing(how: impl Into<Behaviour>, dead: bool, continued: Option<u16>, terminated: Option<u16>) {
    let lab = Lab::start(&[], PATIENCE);
    let (failing, next) = (application_server(&lab).await, application_server(&lab).await);
    failing.behave(how);
    let uri = failing.uri();
    let failing = if dead {
        failing.stop();
        None
    } else {
        Some(failing)
    };
    let mut bob = Person::registered(&lab, "bob").await;
    for (handling, expected) in [(Handling::Continued, continued), (Handling::Terminated, terminated)] {
        provide(
            &lab,
            "alice",
            &[
                criterion(1, "INVITE", Some(ORIGINATING), &uri, handling),
                criterion(2, "INVITE", Some(ORIGINATING), &next.uri(), Handling::Continued),
            ],
        );
        let alice = Person::registered(&lab, "alice").await;
        let before = count(&next, "INVITE");
        match expected {
            None => {
                let (made, mut came) = talk(&alice, &mut bob, "bob").await;
                assert_eq!(made.hang_up().await, Ok(200), "{handling:?}");
                assert_eq!(ended(&mut came).await, End::Released { reason: None });
                no_faults(&[&made, &came]);
                assert_eq!(count(&next, "INVITE"), before + 1, "{handling:?}: the next server was left out");
            }
            Some(status) => {
                let mut made = alice.calls("bob");
                assert_eq!(ended(&mut made).await, End::Refused { status }, "{handling:?}");
                no_faults(&[&made]);
                assert_eq!(count(&next, "INVITE"), before, "{handling:?}: the next server was asked");
            }
        }
        nothing_is_left(&lab, &["alice", "bob"]);
        alice.ue.deregister().await.unwrap();
    }
    if let Some(failing) = failing {
        assert_eq!(count(&failing, "INVITE"), 2);
    }
}

// CD-31 CD-32: nobody listens there; what the network says of it may be forged, and ends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_dead() {
    failing(Mode::Proxy, true, None, Some(408)).await;
}

// CD-31 CD-32: it takes requests and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_silent() {
    failing(Mode::Silent, false, None, Some(408)).await;
}

// CD-31 CD-32: 100 (Trying) is no sign of life.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_tries() {
    failing(Mode::Trying, false, None, Some(408)).await;
}

// CD-30: 503 (Service Unavailable).
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_unavailable() {
    failing(Mode::Reject(503), false, None, Some(503)).await;
}

// CD-33: it showed life first, so its answer counts whatever the default handling.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_after_a_sign_of_life() {
    failing(Mode::Reject(503).after_saying(183), false, Some(503), Some(503)).await;
}

// CD-31 CD-32: nobody listens there, and over TCP that is certain at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_over_tcp_that_is_dead() {
    let lab = Lab::start(&[], &[("ROLLCALL__SESSION__AS_CONTINUED_TIMEOUT_MS", "60000")]);
    let next = application_server(&lab).await;
    let dead = format!("sip:127.0.0.1:{};transport=tcp", free_port());
    let mut bob = Person::registered(&lab, "bob").await;
    for handling in [Handling::Continued, Handling::Terminated] {
        let criteria = [(1, dead.as_str(), handling), (2, &next.uri(), Handling::Continued)];
        let criteria = criteria.map(|(priority, server, handling)| {
            criterion(priority, "INVITE", Some(ORIGINATING), server, handling)
        });
        provide(&lab, "alice", &criteria);
        let alice = Person::registered(&lab, "alice").await;
        if handling == Handling::Continued {
            let (made, mut came) = talk(&alice, &mut bob, "bob").await;
            assert_eq!(made.hang_up().await, Ok(200));
            assert_eq!(ended(&mut came).await, End::Released { reason: None });
            no_faults(&[&made, &came]);
        } else {
            // RFC 3261 §16.7: 503 is for the next hop alone.
            assert_eq!(ended(&mut alice.calls("bob")).await, End::Refused { status: 500 });
        }
        assert_eq!(count(&next, "INVITE"), 1);
        alice.ue.deregister().await.unwrap();
    }
}

// An application server reached over TCP serves as any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_over_tcp() {
    let lab = Lab::start(&[], PATIENCE);
    let server = application_server_over(&lab, "tcp").await;
    let criteria = [criterion(1, "INVITE", Some(ORIGINATING), &server.uri(), Handling::Terminated)];
    provide(&lab, "alice", &criteria);
    let alice = Person::registered_as(&lab, "alice", |config| config.transport = Transport::Tcp).await;
    let mut bob = Person::registered(&lab, "bob").await;
    for mode in [Mode::Proxy, Mode::B2bua] {
        server.behave(mode);
        let (mut made, came) = talk(&alice, &mut bob, "bob").await;
        assert_eq!(made.reinvite().await, Ok(200));
        assert_eq!(came.info("over two transports").await, Ok(200));
        assert_eq!(came.hang_up().await, Ok(200));
        assert_eq!(ended(&mut made).await, End::Released { reason: None });
        no_faults(&[&made, &came]);
    }
    assert_eq!(["INVITE", "BYE"].map(|method| count(&server, method)), [4, 2]);
    nothing_is_left(&lab, &["alice", "bob"]);
}

// A server that goes out of the way after the first request is asked no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_stay_on_the_path() {
    let lab = Lab::start(&[], PATIENCE);
    let config = as_::Config { record_route: false, ..server_config(&lab, "udp") };
    let server = ApplicationServer::start(config).await.unwrap();
    let criteria = [criterion(1, "INVITE", Some(ORIGINATING), &server.uri(), Handling::Terminated)];
    provide(&lab, "alice", &criteria);
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let (made, mut came) = talk(&alice, &mut bob, "bob").await;
    assert_eq!(made.reinvite().await, Ok(200));
    assert_eq!(made.hang_up().await, Ok(200));
    assert_eq!(ended(&mut came).await, End::Released { reason: None });
    assert_eq!(server.journal().iter().map(|entry| &*entry.method).collect::<Vec<_>>(), ["INVITE"]);
    no_faults(&[&made, &came]);
    nothing_is_left(&lab, &["alice", "bob"]);
}

// D-64: what is no failure of the server is its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses() {
    failing(Mode::Reject(403), false, Some(403), Some(403)).await;
}

// CB-97: a profile that is pushed while a call visits its servers is for the calls to come.
#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_profile_does_not_disturb_a_chain_on_its_way() {
    let lab = Lab::start(&[], &[("ROLLCALL__SESSION__AS_CONTINUED_TIMEOUT_MS", "5000")]);
    let (slow, second, new) =
        (application_server(&lab).await, application_server(&lab).await, application_server(&lab).await);
    slow.behave(Mode::Proxy.after(Duration::from_millis(700)));
    let criteria = |servers: &[(u32, &ApplicationServer)]| {
        let one = |(priority, server): &(u32, &ApplicationServer)| {
            criterion(*priority, "INVITE", Some(ORIGINATING), &server.uri(), Handling::Continued)
        };
        servers.iter().map(one).collect::<Vec<_>>()
    };
    provide(&lab, "alice", &criteria(&[(1, &slow), (2, &second)]));
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let mut made = alice.calls("bob");
    let visited = eventually(SOON, || (count(&slow, "INVITE") == 1).then_some(()));
    assert!(visited.is_some(), "the first server is not asked");
    provide(&lab, "alice", &criteria(&[(1, &new)]));
    let url = format!("{}/subscribers/alice@{DOMAIN}/push", lab.hss);
    let (status, body) = http::post(&url, &json!({})).unwrap();
    assert_eq!((status, body["result_code"].as_u64()), (200, Some(2001)), "{body}");
    assert_eq!(made.record().state, State::Setup);
    let mut came = bob.called().await;
    reaches(&mut made, State::Established).await;
    assert_eq!([&slow, &second, &new].map(|server| count(server, "INVITE")), [1, 1, 0]);
    assert_eq!(made.hang_up().await, Ok(200));
    assert_eq!(ended(&mut came).await, End::Released { reason: None });
    let (again, _) = talk(&alice, &mut bob, "bob").await;
    assert_eq!([&slow, &second, &new].map(|server| count(server, "INVITE")), [1, 1, 1]);
    assert_eq!(again.hang_up().await, Ok(200));
    no_faults(&[&made, &came, &again]);
}

// CD-03: a server calls on behalf of a user, with her originating services.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_calls_for_a_user() {
    let lab = Lab::start(&[], PATIENCE);
    let (caller, service) = (application_server(&lab).await, application_server(&lab).await);
    provide(
        &lab,
        "alice",
        &[criterion(1, "INVITE", Some(ORIGINATING), &service.uri(), Handling::Terminated)],
    );
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    for callee_ends in [false, true] {
        let mut call = caller.originate(&sip("alice"), &sip("bob"), true).await.unwrap();
        let mut came = bob.called().await;
        call.established().await.unwrap();
        assert_eq!(came.header("P-Asserted-Identity"), [format!("<{}>", sip("alice"))]);
        reaches(&mut came, State::Established).await;
        if callee_ends {
            assert_eq!(came.hang_up().await, Ok(200));
            assert_eq!(call.ended().await, Ok(AgentState::Released { reason: None }));
        } else {
            assert_eq!(call.hang_up().await, Ok(200));
            assert_eq!(ended(&mut came).await, End::Released { reason: None });
        }
        no_faults(&[&came]);
        nothing_is_left(&lab, &["alice", "bob"]);
    }
    assert_eq!(count(&service, "INVITE"), 2);
    let served = &requests(&service, "INVITE")[0].served_user;
    assert_eq!(served.as_deref(), Some(&*format!("<{}>;sescase=orig;regstate=reg", sip("alice"))));
    drop(alice);
}

// D-11: the same for a user who is not registered.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_calls_for_a_user_who_is_not_registered() {
    let lab = Lab::start(&[], PATIENCE);
    let (caller, service) = (application_server(&lab).await, application_server(&lab).await);
    let criteria =
        [criterion(1, "INVITE", Some(ORIGINATING_UNREGISTERED), &service.uri(), Handling::Terminated)];
    provide(&lab, "alice", &criteria);
    let mut bob = Person::registered(&lab, "bob").await;
    let mut call = caller.originate(&sip("alice"), &sip("bob"), false).await.unwrap();
    let mut came = bob.called().await;
    call.established().await.unwrap();
    let served = &requests(&service, "INVITE")[0].served_user;
    assert_eq!(served.as_deref(), Some(&*format!("<{}>;sescase=orig;regstate=unreg", sip("alice"))));
    assert_eq!(call.hang_up().await, Ok(200));
    assert_eq!(ended(&mut came).await, End::Released { reason: None });
    assert_eq!(lab.subscriber("alice")["registration_state"], "unregistered");
    no_faults(&[&came]);
    let nobody = caller.originate(&sip("nobody"), &sip("bob"), false).await.unwrap().established().await;
    assert!(matches!(nobody, Err(as_::Error::Refused(403 | 404))), "{nobody:?}");
}

// A call that a server made for her ends with her registration, as her own would.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_server_ends_with_the_registration_of_its_user() {
    let lab = Lab::start(&[], PATIENCE);
    let caller = application_server(&lab).await;
    let _alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let mut call = caller.originate(&sip("alice"), &sip("bob"), true).await.unwrap();
    let mut came = bob.called().await;
    call.established().await.unwrap();
    reaches(&mut came, State::Established).await;
    let url = format!("{}/v1/users/alice@{DOMAIN}/deregister", lab.api);
    assert_eq!(http::post(&url, &json!({"reason": "stolen"})).unwrap().0, 202);
    assert!(matches!(ended(&mut came).await, End::Released { reason: Some(_) }));
    assert!(matches!(call.ended().await, Ok(AgentState::Released { reason: Some(_) })));
    no_faults(&[&came]);
}

// CD-14: a server sends it to somebody else; the one who diverts is served as such, and no longer as called.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_diverts_a_call() {
    let lab = Lab::start(&["--generate", "1"], PATIENCE);
    let servers =
        [application_server(&lab).await, application_server(&lab).await, application_server(&lab).await];
    let [diverting, terminating, diversion] = &servers;
    diverting.behave(Mode::Retarget(sip("user000001")));
    provide(
        &lab,
        "bob",
        &[
            criterion(1, "INVITE", Some(TERMINATING), &diverting.uri(), Handling::Terminated),
            criterion(2, "INVITE", Some(TERMINATING), &terminating.uri(), Handling::Terminated),
            criterion(3, "INVITE", Some(DIVERTING), &diversion.uri(), Handling::Terminated),
        ],
    );
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let mut carol = Person::registered(&lab, "user000001").await;
    let mut made = alice.calls("bob");
    let mut came = carol.called().await;
    reaches(&mut made, State::Established).await;
    assert_eq!(servers.each_ref().map(|server| count(server, "INVITE")), [1, 0, 1]);
    let served = &requests(diversion, "INVITE")[0].served_user;
    assert_eq!(served.as_deref(), Some(&*format!("<{}>;orig-cdiv", sip("bob"))));
    assert!(bob.is_not_called(Duration::from_millis(100)).await);
    assert_eq!(made.reinvite().await, Ok(200));
    assert_eq!(made.hang_up().await, Ok(200));
    assert_eq!(ended(&mut came).await, End::Released { reason: None });
    no_faults(&[&made, &came]);
    nothing_is_left(&lab, &["alice", "bob", "user000001"]);
}

// CD-27: a short message visits the servers of both sides.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_visits_servers() {
    let lab = Lab::start(&[], PATIENCE);
    let (sending, receiving) = (application_server(&lab).await, application_server(&lab).await);
    let both = |case, server: &ApplicationServer| {
        [criterion(1, "MESSAGE", Some(case), &server.uri(), Handling::Terminated)]
    };
    provide(&lab, "alice", &both(ORIGINATING, &sending));
    provide(&lab, "bob", &both(TERMINATING, &receiving));
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    let message = |text: &str| Standalone::message(&sip("bob"), text);
    assert_eq!(alice.ue.send(message("good evening")).await.unwrap().status, 200);
    let heard = bob.hears("the message", |one| matches!(one, Happening::Messaged { .. })).await;
    let Happening::Messaged { text, from, .. } = heard else { unreachable!() };
    assert_eq!((text, from), ("good evening".to_owned(), sip("alice")));
    assert_eq!([&sending, &receiving].map(|server| count(server, "MESSAGE")), [1, 1]);
    // A message to a server that delivers it later, as a short message centre does.
    receiving.behave(Mode::Answer);
    assert_eq!(alice.ue.send(message("for later")).await.unwrap().status, 200);
    assert_eq!(requests(&receiving, "MESSAGE")[1].body, "for later");
    let messaged = |one: &Happening| matches!(one, Happening::Messaged { .. });
    assert!(bob.never_hears(Duration::from_millis(100), messaged).await);
}

// CD-11 CD-12 CD-13: who is not registered may have services all the same.
#[tokio::test(flavor = "multi_thread")]
async fn services_of_the_unregistered() {
    let lab = Lab::start(&[], PATIENCE);
    let mailbox = application_server(&lab).await;
    mailbox.behave(Mode::Answer);
    let alice = Person::registered(&lab, "alice").await;
    let refused = async |to: &str| {
        let mut call = alice.calls(to);
        ended(&mut call).await
    };
    assert_eq!(refused("bob").await, End::Refused { status: 480 }, "without services");
    assert_eq!(refused("nobody").await, End::Refused { status: 404 }, "unknown");
    let unregistered =
        criterion(1, "INVITE", Some(TERMINATING_UNREGISTERED), &mailbox.uri(), Handling::Terminated);
    let registered = criterion(2, "INVITE", Some(TERMINATING), &mailbox.uri(), Handling::Terminated);
    provide(&lab, "bob", &[unregistered, registered]);
    let url = format!("{}/subscribers/bob@{DOMAIN}/push", lab.hss);
    let _ = http::post(&url, &json!({})).unwrap();
    let mut call = alice.calls("bob");
    reaches(&mut call, State::Established).await;
    let [invite] = &requests(&mailbox, "INVITE")[..] else { panic!("{:#?}", mailbox.journal()) };
    assert_eq!(
        invite.served_user.as_deref(),
        Some(&*format!("<{}>;sescase=term;regstate=unreg", sip("bob")))
    );
    assert_eq!(lab.subscriber("bob")["registration_state"], "unregistered");
    assert_eq!(lab.user("bob").1["state"], "unregistered_services");
    assert_eq!(call.hang_up().await, Ok(200));
    no_faults(&[&call]);
    nothing_is_left(&lab, &["alice", "bob"]);
}
