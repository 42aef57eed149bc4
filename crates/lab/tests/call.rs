//! Calls of the UE: two UEs face to face, each the other's proxy, and peers that behave oddly.
#![allow(clippy::unwrap_used)]

mod peer;

use lab::ue::{
    Answering, Call, CallEvent, Config, Dial, End, Error, Fault, Happening, RegisterArgs, Standalone, State,
    Then, Timers, Transport, Ue,
    script::{ScriptArgs, ScriptError, run_script},
};
use peer::{Peer, Speech, answer, body, cseq, header, headers, line, tag, uri};
use std::{net::SocketAddr, time::Duration};
use tokio::{sync::mpsc::UnboundedReceiver, time::sleep};

const BOB: &str = "sip:bob@x.example";

fn config(name: &str, proxy: SocketAddr) -> Config {
    Config { timers: Timers::fast(), ..Config::new(&format!("{name}@x.example"), proxy) }
}

async fn ue(name: &str, proxy: SocketAddr) -> Ue {
    Ue::start(config(name, proxy)).await.unwrap().0
}

/// Alice and Bob, each the proxy of the other.
async fn pair(transport: Transport, any: &str) -> (Ue, Ue, UnboundedReceiver<Happening>) {
    for _ in 0..20 {
        let ports: Vec<_> = (0..2).map(|_| std::net::UdpSocket::bind(any).unwrap()).collect();
        let [a, b] = [0, 1].map(|at: usize| ports[at].local_addr().unwrap());
        drop(ports);
        let alice = Config { transport, listen: Some(a), ..config("alice", b) };
        let bob = Config { transport, listen: Some(b), ..config("bob", a) };
        if let (Ok((alice, _)), Ok((bob, happenings))) = (Ue::start(alice).await, Ue::start(bob).await) {
            return (alice, bob, happenings);
        }
    }
    panic!("no two ports");
}

async fn udp() -> (Ue, Ue) {
    let (alice, bob, _) = pair(Transport::Udp, "127.0.0.1:0").await;
    (alice, bob)
}

fn came_at(ue: &Ue, transport: Transport) -> String {
    let tcp = if transport == Transport::Tcp { ";transport=tcp" } else { "" };
    format!("sip:bob@{}{tcp}", ue.local())
}

fn no_faults(calls: &[&Call]) {
    for call in calls {
        assert_eq!(call.record().faults, [], "{:#?}", call.record());
    }
}

#[tokio::test]
async fn a_call_is_made_answered_and_ended() {
    for (transport, any) in
        [(Transport::Udp, "127.0.0.1:0"), (Transport::Tcp, "127.0.0.1:0"), (Transport::Udp, "[::1]:0")]
    {
        let (alice, bob, mut happenings) = pair(transport, any).await;
        let ring = Duration::from_millis(40);
        let mut calls = bob.answering(Answering { ring, ..Answering::default() });
        let mut made = alice.call(Dial::to(BOB)).unwrap();
        made.ringing().await.unwrap();
        assert_eq!(made.record().state, State::Ringing);
        let mut came = calls.next().await.unwrap();
        assert_eq!((came.peer(), came.call_id()), ("sip:alice@x.example", made.call_id()));
        made.established().await.unwrap();
        came.established().await.unwrap();
        assert_eq!(came.header("P-Asserted-Identity"), ["<sip:alice@x.example>"]);
        assert!(came.header("P-Charging-Vector")[0].starts_with("icid-value=\""));
        assert_eq!(came.header("P-Access-Network-Info").len(), 1);
        let tcp = if transport == Transport::Tcp { ";transport=tcp" } else { "" };
        assert_eq!(came.header("Record-Route"), [format!("<sip:{}{tcp};lr>", alice.local())]);
        assert_eq!(came.request_uri(), Some(BOB));
        assert_eq!(made.hang_up().await, Ok(200));
        assert_eq!(came.ended().await, Ok(End::Released { reason: None }));
        assert_eq!(made.ended().await, Ok(End::HungUp { status: 200 }));
        let record = came.record();
        let bye = record.of("BYE").next().unwrap();
        assert_eq!(bye.uri, came_at(&bob, transport));
        assert_eq!(bye.headers.of("Call-ID"), [made.call_id()]);
        assert!(made.record().answer.of("To")[0].starts_with("<sip:bob@x.example>;tag="));
        assert_eq!((record.byes(), record.of("ACK").count(), record.status), (1, 1, Some(200)));
        no_faults(&[&made, &came]);
        assert!(matches!(made.hang_up().await, Err(Error::NotNow(State::Ended))));
        let told: Vec<String> =
            std::iter::from_fn(|| happenings.try_recv().ok()).map(|one| one.to_string()).collect();
        assert!(told.contains(&"  sip:alice@x.example: released by BYE".to_owned()), "{told:#?}");
        let mut events = Vec::new();
        while events.last() != Some(&CallEvent::Ended(End::HungUp { status: 200 })) {
            events.push(made.next().await.unwrap());
        }
        let names: Vec<String> = events.iter().map(ToString::to_string).collect();
        let expected =
            ["calling", "180", "established", "BYE was answered 200", "hung up, the BYE was answered 200"];
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn the_called_side_hangs_up_with_a_reason() {
    let (alice, bob) = udp().await;
    let mut calls = bob.answering(Answering::default());
    let mut made = alice.call(Dial::to(BOB)).unwrap();
    made.established().await.unwrap();
    let came = calls.next().await.unwrap();
    assert_eq!(came.hang_up_because("Q.850;cause=16").await, Ok(200));
    assert_eq!(made.ended().await, Ok(End::Released { reason: Some("Q.850;cause=16".into()) }));
    no_faults(&[&made, &came]);
    let soon = Some(Duration::from_millis(30));
    let _calls = bob.answering(Answering { hang_up_after: soon, ..Answering::default() });
    let mut made = alice.call(Dial::to(BOB)).unwrap();
    assert_eq!(made.ended().await, Ok(End::Released { reason: None }));
    assert!(calls.next().await.is_none(), "who answers otherwise now hands out no more calls");
}

#[tokio::test]
async fn a_call_is_rejected_at_once_or_after_ringing() {
    let (alice, bob) = udp().await;
    for ring in [Duration::ZERO, Duration::from_millis(30)] {
        let mut calls = bob.answering(Answering { ring, then: Then::Reject(486), ..Answering::default() });
        let mut made = alice.call(Dial::to(BOB)).unwrap();
        let error = made.established().await.unwrap_err();
        assert_eq!(error, Error::Refused { status: 486, reason: "Busy Here".into() });
        assert_eq!(made.record().provisional.len(), usize::from(!ring.is_zero()));
        let mut came = calls.next().await.unwrap();
        assert_eq!(came.ended().await, Ok(End::Refused { status: 486 }));
    }
    let (carol, nobody) = udp().await;
    let mut made = carol.call(Dial::to(BOB)).unwrap();
    assert!(matches!(made.established().await, Err(Error::Refused { status: 480, .. })));
    drop(nobody);
}

#[tokio::test]
async fn a_ringing_call_is_given_up() {
    let (alice, bob) = udp().await;
    let mut calls = bob.answering(Answering { then: Then::Wait, ..Answering::default() });
    let mut made = alice.call(Dial::to(BOB)).unwrap();
    made.ringing().await.unwrap();
    assert_eq!(made.cancel().await, Ok(487));
    let mut came = calls.next().await.unwrap();
    assert_eq!(came.ended().await, Ok(End::Cancelled { reason: None }));
    assert_eq!((came.record().cancels(), came.record().status), (1, Some(487)));
    assert_eq!(made.ended().await, Ok(End::Cancelled { reason: None }));
    assert!(matches!(came.answer().await, Err(Error::NotNow(State::Ended))));
    no_faults(&[&made, &came]);
}

#[tokio::test]
async fn requests_within_a_call_go_both_ways() {
    let (alice, bob) = udp().await;
    let mut calls = bob.answering(Answering { then: Then::Wait, ..Answering::default() });
    let mut made = alice.call(Dial::to(BOB)).unwrap();
    let mut came = calls.next().await.unwrap();
    assert_eq!(came.answer().await, Ok(200));
    made.established().await.unwrap();
    came.established().await.unwrap();
    for (one, other) in [(&made, &came), (&came, &made)] {
        assert_eq!(one.reinvite().await, Ok(200));
        assert_eq!(one.update().await, Ok(200));
        assert_eq!(one.info("x").await, Ok(200));
        let record = other.record();
        for method in ["INVITE", "UPDATE", "INFO"] {
            assert_eq!(record.of(method).count(), 1, "{record:#?}");
        }
    }
    // RFC 3261 §14.1: whoever meets the other's re-INVITE tries again later.
    let (mine, theirs) = tokio::join!(made.reinvite(), came.reinvite());
    assert_eq!((mine, theirs), (Ok(200), Ok(200)));
    made.hang_up().await.unwrap();
    no_faults(&[&made, &came]);
}

#[tokio::test]
async fn reliable_ringing_is_acknowledged() {
    let (alice, bob) = udp().await;
    for late_offer in [false, true] {
        let mut calls = bob.answering(Answering { reliable: true, ..Answering::default() });
        let mut made = alice.call(Dial { reliable: true, late_offer, ..Dial::to(BOB) }).unwrap();
        made.established().await.unwrap();
        let came = calls.next().await.unwrap();
        let ringing = CallEvent::Ringing { status: 180, reliable: true };
        assert!(made.record().events.contains(&ringing), "{:#?}", made.record());
        assert_eq!(came.record().of("PRACK").map(|prack| prack.status).collect::<Vec<_>>(), [200]);
        made.hang_up().await.unwrap();
        no_faults(&[&made, &came]);
    }
    let _calls = bob.answering(Answering { reliable: true, ..Answering::default() });
    let mut plain = alice.call(Dial::to(BOB)).unwrap();
    plain.established().await.unwrap();
    assert!(plain.record().events.contains(&CallEvent::Ringing { status: 180, reliable: false }));
}

#[tokio::test]
async fn a_session_is_refreshed_by_who_was_named() {
    let (alice, bob) = udp().await;
    for refresh in [false, true] {
        let mut calls = bob.answering(Answering { refresh, min_se: Some(2), ..Answering::default() });
        // One second is refused with 422, and asked for again as two.
        let mut made = alice.call(Dial { session_expires: Some(1), ..Dial::to(BOB) }).unwrap();
        made.established().await.unwrap();
        assert!(calls.next().await.unwrap().record().status == Some(422));
        let mut came = calls.next().await.unwrap();
        let (refreshing, refreshed) = if refresh { (&mut came, &mut made) } else { (&mut made, &mut came) };
        refreshed.until(|record| record.of("UPDATE").count() == 2).await.unwrap();
        assert_eq!(refreshing.record().of("UPDATE").count(), 0);
        assert_eq!(refreshing.record().state, State::Established);
        made.hang_up().await.unwrap();
        no_faults(&[&made, &came]);
    }
}

#[tokio::test]
async fn messages_and_options_are_answered() {
    let (alice, bob, mut happenings) = pair(Transport::Udp, "127.0.0.1:0").await;
    let answer = alice.send(Standalone::message(BOB, "hello")).await.unwrap();
    assert_eq!(answer.status, 200);
    let options = alice.send(Standalone::options(BOB)).await.unwrap();
    assert!(options.allow.iter().any(|method| method == "UPDATE"), "{options:?}");
    let _calls = bob.answering(Answering { then: Then::Reject(488), ..Answering::default() });
    assert_eq!(alice.send(Standalone::message(BOB, "again")).await.unwrap().status, 488);
    let mut told = Vec::new();
    while let Ok(happening) = happenings.try_recv() {
        told.push(happening.to_string());
    }
    assert!(
        told.contains(&"  MESSAGE from sip:alice@x.example, answered 200: hello".to_owned()),
        "{told:#?}"
    );
}

#[tokio::test]
async fn one_ue_has_one_call_made_one_received_and_one_being_set_up() {
    let (alice, bob) = udp().await;
    let mut at_bob = bob.answering(Answering::default());
    let mut at_alice = alice.answering(Answering::default());
    let mut made = alice.call(Dial::to(BOB)).unwrap();
    made.established().await.unwrap();
    let mut theirs = bob.call(Dial::to("sip:alice@x.example")).unwrap();
    theirs.established().await.unwrap();
    let received = at_alice.next().await.unwrap();
    let _waiting = bob.answering(Answering { then: Then::Wait, ..Answering::default() });
    let mut set_up = alice.call(Dial::to(BOB)).unwrap();
    set_up.ringing().await.unwrap();
    assert_eq!(set_up.cancel().await, Ok(487));
    assert_eq!(received.hang_up().await, Ok(200));
    assert_eq!(made.hang_up().await, Ok(200));
    assert_eq!(theirs.ended().await, Ok(End::Released { reason: None }));
    let first = at_bob.next().await.unwrap();
    assert_eq!((first.record().byes(), first.record().cancels()), (1, 0));
    no_faults(&[&made, &received, &set_up, &theirs, &first]);
}

#[tokio::test]
async fn who_calls_itself_has_two_calls() {
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = peer.local_addr().unwrap();
    drop(peer);
    let (alice, _) = Ue::start(Config { listen: Some(own), ..config("alice", own) }).await.unwrap();
    let mut calls = alice.answering(Answering::default());
    let mut made = alice.call(Dial::to("sip:alice@x.example")).unwrap();
    made.established().await.unwrap();
    let mut came = calls.next().await.unwrap();
    came.established().await.unwrap();
    assert_eq!(came.reinvite().await, Ok(200));
    assert_eq!(made.hang_up().await, Ok(200));
    assert_eq!(came.ended().await, Ok(End::Released { reason: None }));
}

#[tokio::test]
async fn privacy_hides_the_caller_from_whom_it_calls() {
    let (alice, bob) = udp().await;
    let mut calls = bob.answering(Answering::default());
    let headers = vec![("X-Test".to_owned(), "1".to_owned())];
    let dial = Dial { privacy: Some("id".into()), headers, ..Dial::to("tel:+15550000002") };
    let mut made = alice.call(dial).unwrap();
    made.established().await.unwrap();
    let came = calls.next().await.unwrap();
    assert!(came.header("From")[0].starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="));
    assert_eq!((came.header("Privacy"), came.header("X-Test")), (vec!["id".into()], vec!["1".into()]));
    assert_eq!(came.request_uri(), Some("tel:+15550000002"));
    made.hang_up().await.unwrap();
}

#[tokio::test]
async fn a_script_is_followed_until_a_step_fails() {
    let (alice, bob) = udp().await;
    let proxy = bob.local().to_string();
    let own = alice.local();
    alice.stop();
    while std::net::UdpSocket::bind(own).is_err() {
        sleep(Duration::from_millis(5)).await;
    }
    let mut calls = bob.answering(Answering { reliable: true, ..Answering::default() });
    let hanging_up = tokio::spawn({
        let bob = bob.clone();
        async move {
            let mut first = calls.next().await.unwrap();
            first.until(|record| record.of("INFO").count() == 1).await.unwrap();
            first.hang_up_because("SIP;cause=480").await.unwrap();
            bob.answering(Answering { then: Then::Reject(486), ..Answering::default() });
            let mut back = bob.call(Dial::to("sip:alice@x.example")).unwrap();
            back.established().await.unwrap();
            back.hang_up().await.unwrap();
        }
    });
    let steps = "answer
        call c1 sip:bob@x.example prack
        expect c1 ringing
        expect c1 established within 2
        reinvite c1
        info c1 'now'
        expect c1 released cause=480
        count c1 BYE 1
        await back within 5
        expect back released
        message sip:bob@x.example hello expect 486
        call c2 sip:bob@x.example
        expect c2 refused 486
        call c3 sip:bob@x.example
        expect c3 established";
    let args = ScriptArgs {
        register: RegisterArgs { listen: Some(own), ..RegisterArgs::new("alice@x.example", &proxy) },
        script: steps.parse().unwrap(),
    };
    let mut told = Vec::new();
    let ended = run_script(args, |one| told.push(one.to_string()), std::future::pending()).await;
    let expected = ScriptError { line: 15, why: "the call was refused with 486".into() };
    assert_eq!(ended, Err(expected), "{told:#?}");
    hanging_up.await.unwrap();
}

// From here on the peer is odd.

#[tokio::test]
async fn nobody_answers() {
    let peer = Peer::new().await;
    let alice = ue("alice", peer.address).await;
    let mut made = alice.call(Dial::to(BOB)).unwrap();
    assert_eq!(made.established().await, Err(Error::NoAnswer));
    assert_eq!(made.record().end, Some(End::NoAnswer));
    let heard = peer.hear(Duration::from_millis(100)).await;
    // 64 T1 leave room for seven INVITEs; a busy machine may miss the last ones.
    assert!((4..=7).contains(&heard.len()), "{}", heard.len());
    assert!(heard.iter().all(|one| *one == heard[0]));
    let tcp = Config { transport: Transport::Tcp, ..config("alice", peer.address) };
    let (alice, mut happenings) = Ue::start(tcp).await.unwrap();
    let mut made = alice.call(Dial::to(BOB)).unwrap();
    assert_eq!(made.established().await, Err(Error::NoAnswer));
    let told =
        std::iter::from_fn(|| happenings.try_recv().ok()).any(|one| one.to_string().contains("refused"));
    assert!(told, "nobody listens there");
}

#[tokio::test]
async fn a_refusal_is_acknowledged_to_the_same_branch() {
    let peer = Peer::new().await;
    let alice = ue("alice", peer.address).await;
    let mut made = alice.call(Dial::to(BOB)).unwrap();
    let (invite, from) = peer.until("INVITE").await;
    for _ in 0..2 {
        peer.send(&answer(&invite, "404 Not Found", "b1", ""), from).await;
        let (ack, _) = peer.until("ACK").await;
        assert_eq!(header(&ack, "Via"), header(&invite, "Via"));
        assert_eq!((cseq(&ack), tag(header(&ack, "To"))), (cseq(&invite), "b1"));
    }
    assert!(matches!(made.established().await, Err(Error::Refused { status: 404, .. })));
}

#[tokio::test]
async fn a_cancel_that_comes_too_late_ends_in_a_bye() {
    let peer = Peer::new().await;
    let alice = ue("alice", peer.address).await;
    let made = alice.call(Dial::to(BOB)).unwrap();
    let (invite, from) = peer.until("INVITE").await;
    let cancelling = tokio::spawn({
        let made = made.clone();
        async move { made.cancel().await }
    });
    sleep(Duration::from_millis(20)).await;
    assert!(
        peer.hear(Duration::from_millis(20)).await.iter().all(|one| one.starts_with("INVITE")),
        "not yet"
    );
    peer.send(&answer(&invite, "180 Ringing", "b1", ""), from).await;
    let (cancel, _) = peer.until("CANCEL").await;
    assert_eq!((header(&cancel, "Via"), cseq(&cancel)), (header(&invite, "Via"), cseq(&invite)));
    assert_eq!((header(&cancel, "To"), line(&cancel)), (header(&invite, "To"), "CANCEL sip:bob@x.example"));
    peer.send(&answer(&cancel, "200 OK", "b1", ""), from).await;
    let contact = format!("Contact: <sip:bob@{}>\r\n", peer.address);
    peer.send(&answer(&invite, "200 OK", "b1", &contact), from).await;
    let (ack, _) = peer.until("ACK").await;
    assert_eq!(line(&ack), format!("ACK sip:bob@{}", peer.address));
    let (bye, _) = peer.until("BYE").await;
    peer.send(&answer(&bye, "200 OK", "", ""), from).await;
    assert_eq!(cancelling.await.unwrap(), Ok(200));
    assert_eq!(made.clone().ended().await, Ok(End::HungUp { status: 200 }));
}

/// A peer that has answered a call of Alice's.
async fn answered(peer: &Peer) -> (Ue, Call, String, SocketAddr) {
    let alice = ue("alice", peer.address).await;
    let mut made = alice.call(Dial::to(BOB)).unwrap();
    let (invite, from) = peer.until("INVITE").await;
    let contact = format!("Contact: <sip:bob@{}>\r\n", peer.address);
    peer.send(&answer(&invite, "200 OK", "b1", &contact), from).await;
    peer.until("ACK").await;
    made.established().await.unwrap();
    (alice, made, invite, from)
}

#[tokio::test]
async fn a_2xx_that_comes_again_is_acknowledged_again() {
    let peer = Peer::new().await;
    let (_alice, made, invite, from) = answered(&peer).await;
    let contact = format!("Contact: <sip:bob@{}>\r\n", peer.address);
    peer.send(&answer(&invite, "200 OK", "b1", &contact), from).await;
    peer.until("ACK").await;
    // RFC 3261 §13.2.2.4: another one that answered is released.
    peer.send(&answer(&invite, "200 OK", "b2", &contact), from).await;
    let (ack, _) = peer.until("ACK").await;
    assert_eq!(tag(header(&ack, "To")), "b2");
    let (bye, _) = peer.until("BYE").await;
    assert_eq!(tag(header(&bye, "To")), "b2");
    peer.send(&answer(&bye, "200 OK", "", ""), from).await;
    assert!(made.record().events.contains(&CallEvent::AnsweredTwice));
    assert_eq!(made.record().state, State::Established);
    no_faults(&[&made]);
}

#[tokio::test]
async fn byes_that_meet_are_both_answered() {
    let peer = Peer::new().await;
    let (_alice, mut made, invite, from) = answered(&peer).await;
    let hanging_up = tokio::spawn({
        let made = made.clone();
        async move { made.hang_up().await }
    });
    let (bye, _) = peer.until("BYE").await;
    let speech = Speech::called(&invite, "b1");
    peer.send(&speech.request("BYE", &peer.via("x1"), "Reason: SIP;cause=480\r\n"), from).await;
    peer.until("SIP/2.0 200").await;
    peer.send(&answer(&bye, "200 OK", "", ""), from).await;
    assert_eq!(hanging_up.await.unwrap(), Ok(200));
    assert_eq!(made.ended().await, Ok(End::Released { reason: Some("SIP;cause=480".into()) }));
    assert_eq!(made.record().byes(), 1);
    no_faults(&[&made]);
}

#[tokio::test]
async fn what_breaks_the_protocol_is_told() {
    let peer = Peer::new().await;
    let (_alice, made, invite, from) = answered(&peer).await;
    let speech = Speech::called(&invite, "b1");
    let send = async |speech: &Speech, method: &str, branch: &str, expected: &str| {
        peer.send(&speech.request(method, &peer.via(branch), ""), from).await;
        let (response, _) = peer.until("SIP/2.0").await;
        assert!(line(&response).starts_with(expected), "{method} {branch}: {response}");
    };
    send(&speech, "OPTIONS", "o1", "200").await;
    send(&Speech { cseq: 99, ..speech.clone() }, "INFO", "o2", "500").await;
    let swapped = Speech { from: speech.to.clone(), to: speech.from.clone(), cseq: 101, ..speech.clone() };
    send(&swapped, "BYE", "o3", "481").await;
    let stranger = Speech { from: "<sip:bob@x.example>;tag=zz".into(), cseq: 102, ..speech.clone() };
    send(&stranger, "BYE", "o4", "481").await;
    let elsewhere = Speech { target: format!("sip:else@{from}"), cseq: 103, ..speech.clone() };
    send(&elsewhere, "INFO", "o5", "200").await;
    let off_the_path = Speech { routes: String::new(), cseq: 104, ..speech.clone() };
    send(&off_the_path, "INFO", "o6", "200").await;
    let last = Speech { cseq: 110, ..speech.clone() };
    send(&last, "BYE", "o7", "200").await;
    // A retransmission is no second BYE; another transaction is.
    send(&last, "BYE", "o7", "200").await;
    assert_eq!(made.record().byes(), 3);
    send(&Speech { cseq: 111, ..speech.clone() }, "BYE", "o8", "481").await;
    send(&Speech { cseq: 112, ..speech.clone() }, "INFO", "o9", "481").await;
    let named = |method: &str| method.to_owned();
    assert_eq!(
        made.record().faults,
        [
            Fault::CseqOrder { method: named("INFO"), got: 99, after: 100 },
            Fault::TagsSwapped { method: named("BYE") },
            Fault::UnknownTags { method: named("BYE") },
            Fault::Target { method: named("INFO"), uri: format!("sip:else@{from}") },
            Fault::Route { method: named("INFO"), route: String::new() },
            Fault::SecondBye,
            Fault::AfterEnd { method: named("INFO") },
        ]
    );
}

/// An INVITE of the peer's.
fn invite(peer: &Peer, to: SocketAddr, number: u32, further: &str) -> String {
    let speech = Speech {
        call_id: format!("call{number}"),
        from: "<sip:carol@x.example>;tag=c1".into(),
        to: "<sip:alice@x.example>".into(),
        target: format!("sip:alice@{to}"),
        routes: format!("Contact: <sip:carol@{}>\r\n", peer.address),
        cseq: 1,
        body: String::new(),
    };
    speech.request("INVITE", &peer.via(&format!("i{number}")), further)
}

fn ack(peer: &Peer, invite: &str, ok: &str) -> String {
    let to = header(ok, "To");
    let routes: String =
        headers(ok, "Record-Route").iter().rev().map(|route| format!("Route: {route}\r\n")).collect();
    format!(
        "ACK {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\n{routes}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {} ACK\r\nContent-Length: 0\r\n\r\n",
        uri(header(ok, "Contact")),
        peer.via(&format!("a{}", rand::random::<u32>())),
        header(invite, "From"),
        header(invite, "Call-ID"),
        cseq(invite),
    )
}

#[tokio::test]
async fn a_lost_200_is_sent_again_until_its_ack() {
    let peer = Peer::new().await;
    let alice = ue("alice", peer.address).await;
    let mut calls = alice.answering(Answering::default());
    let invite = invite(&peer, alice.local(), 1, "");
    peer.send(&invite, alice.local()).await;
    let (ringing, _) = peer.until("SIP/2.0 180").await;
    let (first, _) = peer.until("SIP/2.0 200").await;
    let (second, _) = peer.until("SIP/2.0 200").await;
    assert_eq!(first, second);
    assert_eq!(tag(header(&ringing, "To")), tag(header(&first, "To")));
    assert!(body(&first).starts_with("v=0"), "an offer, since there was none: {first}");
    assert_eq!(headers(&first, "Record-Route"), [format!("<sip:{};lr>", alice.local())]);
    peer.send(&invite, alice.local()).await;
    peer.send(&ack(&peer, &invite, &first), alice.local()).await;
    let mut came = calls.next().await.unwrap();
    came.established().await.unwrap();
    peer.hear(Duration::from_millis(250)).await;
    assert_eq!(
        peer.hear(Duration::from_millis(300)).await,
        [""; 0],
        "after the ACK there is nothing to repeat"
    );
    no_faults(&[&came]);
}

#[tokio::test]
async fn an_ack_that_never_comes_ends_the_call() {
    let peer = Peer::new().await;
    let alice = ue("alice", peer.address).await;
    let mut calls = alice.answering(Answering::default());
    peer.send(&invite(&peer, alice.local(), 1, ""), alice.local()).await;
    let (bye, from) = peer.until("BYE").await;
    peer.send(&answer(&bye, "200 OK", "", ""), from).await;
    let mut came = calls.next().await.unwrap();
    assert_eq!(came.ended().await, Ok(End::HungUp { status: 200 }));
    assert_eq!(came.record().faults, [Fault::NoAck]);
}

#[tokio::test]
async fn a_prack_that_never_comes_ends_the_ringing() {
    let peer = Peer::new().await;
    let alice = ue("alice", peer.address).await;
    let mut calls = alice.answering(Answering { reliable: true, ..Answering::default() });
    peer.send(&invite(&peer, alice.local(), 1, "Supported: 100rel\r\n"), alice.local()).await;
    let (first, _) = peer.until("SIP/2.0 180").await;
    let (again, _) = peer.until("SIP/2.0 180").await;
    assert_eq!(first, again);
    assert_eq!(header(&first, "Require"), "100rel");
    peer.until("SIP/2.0 504").await;
    let came = calls.next().await.unwrap();
    assert_eq!(came.record().faults, [Fault::NoPrack]);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused() {
    let peer = Peer::new().await;
    let alice = ue("alice", peer.address).await;
    let _calls = alice.answering(Answering { then: Then::Wait, ..Answering::default() });
    let local = alice.local();
    peer.send(&invite(&peer, local, 1, "Require: foo, timer\r\n"), local).await;
    let (response, _) = peer.until("SIP/2.0 420").await;
    assert_eq!(header(&response, "Unsupported"), "foo");
    // The same INVITE by another way rings only once.
    let once = invite(&peer, local, 2, "");
    peer.send(&once, local).await;
    peer.until("SIP/2.0 180").await;
    peer.send(&once.replace("z9hG4bKi2", "z9hG4bKi3"), local).await;
    peer.until("SIP/2.0 482").await;
    let unknown = once.replace("INVITE", "FOO").replace("z9hG4bKi2", "z9hG4bKi4");
    peer.send(&unknown, local).await;
    peer.until("SIP/2.0 501").await;
    let bye = once.replace("INVITE", "BYE").replace("call2", "call9").replace("z9hG4bKi2", "z9hG4bKi5");
    peer.send(&bye, local).await;
    peer.until("SIP/2.0 481").await;
    // BYE ends a call that rings (RFC 3261 §15.1.2).
    peer.send(&once, local).await;
    let (ringing, _) = peer.until("SIP/2.0 180").await;
    let to = header(&ringing, "To");
    let bye = ack(&peer, &once, &ringing).replace("ACK", "BYE").replace("CSeq: 1", "CSeq: 2");
    assert!(bye.contains(to), "{bye}");
    peer.send(&bye, local).await;
    peer.until("SIP/2.0 200").await;
    peer.until("SIP/2.0 487").await;
}

#[tokio::test]
async fn a_session_that_nobody_refreshes_ends() {
    let peer = Peer::new().await;
    let alice = ue("alice", peer.address).await;
    let mut calls = alice.answering(Answering::default());
    let session = "Supported: timer\r\nSession-Expires: 1;refresher=uac\r\n";
    let invite = invite(&peer, alice.local(), 1, session);
    peer.send(&invite, alice.local()).await;
    let (ok, from) = peer.until("SIP/2.0 200").await;
    assert_eq!((header(&ok, "Session-Expires"), header(&ok, "Require")), ("1;refresher=uac", "timer"));
    peer.send(&ack(&peer, &invite, &ok), from).await;
    let (bye, _) = peer.until("BYE").await;
    assert!(header(&bye, "Reason").contains("cause=408"), "{bye}");
    peer.send(&answer(&bye, "200 OK", "", ""), from).await;
    let mut came = calls.next().await.unwrap();
    came.ended().await.unwrap();
    assert_eq!(came.record().faults, [Fault::Expired]);
}
