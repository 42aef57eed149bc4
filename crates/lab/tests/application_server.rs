//! The lab's application server between scripted peers, and between two UEs.
#![allow(clippy::unwrap_used)]

mod peer;

use lab::{
    as_::{AgentState, ApplicationServer, Config, Error, Listen, Mode, Timers},
    ue::{self, Answering, Dial, End, Standalone, State, Ue},
};
use peer::stage::{Stage, ack};
use peer::{Peer, Speech, answer, body, cancel, cseq, header, headers, line, tag, uri};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

#[tokio::test]
async fn a_proxy_lets_through_what_it_does_not_know() {
    let stage = Stage::with(Mode::Proxy).await;
    let odd = "X-Odd: a,\r\n  b\r\nRequire: nothing-known\r\n";
    let request = stage.request("FROB", "tel:+1555;phone-context=x.example", odd, "\u{1}\0body");
    stage.scscf.send(&request, stage.at).await;
    let (onward, from) = stage.onward.until("FROB").await;
    assert_eq!(line(&onward), "FROB tel:+1555;phone-context=x.example");
    assert_eq!(headers(&onward, "Route"), [format!("<sip:odi1@{};lr;orig>", stage.onward.address)]);
    assert_eq!((header(&onward, "Max-Forwards"), header(&onward, "X-Odd")), ("67", "a, b"));
    let vias = headers(&onward, "Via");
    assert!(vias[0].starts_with(&format!("SIP/2.0/UDP {};branch=z9hG4bK", stage.at)), "{onward}");
    assert!(
        vias[1].ends_with(&format!("rport={};received=127.0.0.1", stage.scscf.address.port())),
        "{onward}"
    );
    assert_eq!(body(&onward), "\u{1}\0body");
    assert_eq!(headers(&onward, "Record-Route").len(), 1, "FROB makes no dialog");
    stage.onward.send(&answer(&onward, "299 Frobbed", "b1", "X-Answer: 1\r\n"), from).await;
    let response = stage.hears("SIP/2.0 299").await;
    assert_eq!((line(&response), header(&response, "X-Answer")), ("299 Frobbed", "1"));
    assert_eq!(headers(&response, "Via").len(), 1);
    let entry = &stage.server.requests("FROB")[0];
    assert_eq!((entry.uri.as_str(), entry.routes.len()), ("tel:+1555;phone-context=x.example", 2));
    assert_eq!(entry.served_user.as_deref(), Some("<sip:alice@x.example>;sescase=orig;regstate=reg"));
    assert_eq!((entry.body.as_str(), entry.header("X-Odd")), ("\u{1}\0body", vec!["a, b".into()]));
}

#[tokio::test]
async fn a_proxy_stays_on_the_path_of_a_call() {
    let stage = Stage::with(Mode::Proxy).await;
    let invite = stage.invite("").await;
    stage.hears("SIP/2.0 100").await;
    let (onward, from) = stage.onward.until("INVITE").await;
    let own = format!("<sip:{};lr>", stage.at);
    assert_eq!(headers(&onward, "Record-Route")[0], own);
    stage.onward.send(&answer(&onward, "100 Trying", "", ""), from).await;
    stage.onward.send(&answer(&onward, "180 Ringing", "b1", ""), from).await;
    assert_eq!(line(&stage.hears("SIP/2.0").await), "180 Ringing", "100 goes one hop");
    let ok = answer(&onward, "200 OK", "b1", &stage.contact());
    for _ in 0..2 {
        // Every 2xx goes through: whoever made it repeats it.
        stage.onward.send(&ok, from).await;
        let ok = stage.hears("SIP/2.0 200").await;
        assert_eq!((headers(&ok, "Record-Route").len(), headers(&ok, "Via").len()), (2, 1));
    }
    let routes = format!("Route: {own}\r\n");
    let target = format!("sip:bob@{}", stage.onward.address);
    let via = stage.scscf.via("ack");
    stage.scscf.send(&ack(&invite, &ok, &target, &via, &routes, ""), stage.at).await;
    let (ack, _) = stage.onward.until("ACK").await;
    assert_eq!((line(&ack), header(&ack, "Route")), (format!("ACK {target}").as_str(), ""));
    let speech = Speech {
        target: format!("sip:alice@{}", stage.scscf.address),
        routes,
        ..Speech::called(&invite, "b1")
    };
    let bye = speech.request("BYE", &stage.onward.via("bye"), "Reason: SIP;cause=480\r\n");
    stage.onward.send(&bye, stage.at).await;
    let (bye, from) = stage.scscf.until("BYE").await;
    assert_eq!((header(&bye, "Route"), header(&bye, "Reason")), ("", "SIP;cause=480"));
    stage.scscf.send(&answer(&bye, "200 OK", "", ""), from).await;
    stage.onward.until("SIP/2.0 200").await;
    let methods: Vec<String> = stage.server.journal().into_iter().map(|entry| entry.method).collect();
    assert_eq!(methods, ["INVITE", "ACK", "BYE"]);
    let dialogless = speech
        .request("BYE", &stage.onward.via("late"), "")
        .replace(&format!("sip:alice@{}", stage.scscf.address), &format!("sip:{}", stage.at));
    stage.onward.send(&dialogless, stage.at).await;
    stage.onward.until("SIP/2.0 481").await;
}

#[tokio::test]
async fn a_cancel_goes_through_with_its_reason() {
    let stage = Stage::with(Mode::Proxy).await;
    let invite = stage.invite("").await;
    let (onward, from) = stage.onward.until("INVITE").await;
    stage.onward.send(&answer(&onward, "180 Ringing", "b1", ""), from).await;
    stage.hears("SIP/2.0 180").await;
    let cancel = cancel(&invite, "Reason: SIP;cause=200\r\n");
    stage.scscf.send(&cancel, stage.at).await;
    let ok = stage.hears("SIP/2.0 200").await;
    assert_eq!(header(&ok, "CSeq"), "7 CANCEL");
    let (cancelled, _) = stage.onward.until("CANCEL").await;
    assert_eq!((header(&cancelled, "Via"), cseq(&cancelled)), (headers(&onward, "Via")[0], 7));
    assert_eq!(header(&cancelled, "Reason"), "SIP;cause=200");
    stage.onward.send(&answer(&cancelled, "200 OK", "b1", ""), from).await;
    stage.onward.send(&answer(&onward, "487 Request Terminated", "b1", ""), from).await;
    stage.onward.until("ACK").await;
    let terminated = stage.hears("SIP/2.0 487").await;
    let via = stage.scscf.via("INVITE");
    stage.scscf.send(&ack(&invite, &terminated, "sip:bob@x.example", &via, "", ""), stage.at).await;
    stage.scscf.hear(Duration::from_millis(100)).await;
    assert!(
        stage.scscf.hear(Duration::from_millis(250)).await.is_empty(),
        "the 487 is not repeated after its ACK"
    );
}

#[tokio::test]
async fn who_goes_no_further_is_told() {
    let stage = Stage::with(Mode::Proxy).await;
    let spent =
        stage.request("MESSAGE", "sip:bob@x.example", "", "").replace("Max-Forwards: 68", "Max-Forwards: 0");
    stage.scscf.send(&spent, stage.at).await;
    stage.hears("SIP/2.0 483").await;
    let nowhere = format!("Route: <sip:{};lr>, <sip:odi1@{};lr;orig>\r\n", stage.at, stage.onward.address);
    let itself = stage.request("MESSAGE", &format!("sip:{}", stage.at), "", "").replace(&nowhere, "");
    stage.scscf.send(&itself.replace("bKMESSAGE", "bKm2"), stage.at).await;
    stage.hears("SIP/2.0 404").await;
    // There is no DNS: a name leads to the S-CSCF.
    let named = stage.request("MESSAGE", "sip:bob@x.example", "", "").replace(&nowhere, "");
    stage.scscf.send(&named.replace("bKMESSAGE", "bKm3"), stage.at).await;
    let back = stage.hears("MESSAGE").await;
    assert_eq!(line(&back), "MESSAGE sip:bob@x.example");
    // Nobody answers.
    stage.invite("").await;
    stage.hears("SIP/2.0 408").await;
}

#[tokio::test]
async fn a_proxy_may_leave_the_path_and_be_slow() {
    let (scscf, onward) = (Peer::new().await, Peer::new().await);
    let delay = Duration::from_millis(150);
    let config = Config {
        behaviour: Mode::Proxy.after(delay),
        record_route: false,
        timers: Timers::fast(),
        ..Config::new(Listen::udp("127.0.0.1:0".parse().unwrap()))
    };
    let server = ApplicationServer::start(config).await.unwrap();
    let at = server.addresses()[0].address;
    let stage = Stage { server, at, scscf, onward };
    let begun = std::time::Instant::now();
    stage.invite("").await;
    stage.hears("SIP/2.0 100").await;
    let (onward, _) = stage.onward.until("INVITE").await;
    assert!(begun.elapsed() >= delay);
    assert_eq!(headers(&onward, "Record-Route").len(), 1, "only the S-CSCF's");
}

#[tokio::test]
async fn a_refusal_comes_at_once_after_progress_or_after_a_while() {
    let stage = Stage::with(Mode::Reject(603)).await;
    stage.invite("").await;
    stage.hears("SIP/2.0 603").await;
    stage.server.behave(Mode::Reject(503).after_saying(183));
    let again = |branch: &str| {
        let invite = stage.request("INVITE", "sip:bob@x.example", "", "");
        invite.replace("z9hG4bKINVITE", &format!("z9hG4bK{branch}"))
    };
    stage.scscf.send(&again("i2"), stage.at).await;
    let progress = stage.hears("SIP/2.0 183").await;
    let refusal = stage.hears("SIP/2.0 503").await;
    assert_eq!(header(&progress, "To"), header(&refusal, "To"));
    stage.server.behave(Mode::Reject(500).after(Duration::from_secs(60)));
    let invite = again("i3");
    stage.scscf.send(&invite, stage.at).await;
    let trying = stage.scscf.until("SIP/2.0 100").await.0;
    assert_eq!(tag(header(&trying, "To")), "");
    stage.scscf.send(&cancel(&invite, ""), stage.at).await;
    stage.hears("SIP/2.0 487").await;
    assert_eq!(stage.onward.hear(Duration::from_millis(50)).await, [""; 0]);
}

#[tokio::test]
async fn a_redirection_names_where_to_go_and_a_retarget_goes_there() {
    let stage = Stage::with(Mode::Redirect("sip:carol@x.example".into())).await;
    stage.invite("").await;
    let moved = stage.hears("SIP/2.0 302").await;
    assert_eq!(header(&moved, "Contact"), "<sip:carol@x.example>");
    stage.server.behave(Mode::Retarget("tel:+15550000009".into()));
    let message = stage.request("MESSAGE", "sip:bob@x.example", "", "hello");
    stage.scscf.send(&message, stage.at).await;
    let (onward, _) = stage.onward.until("MESSAGE").await;
    assert_eq!((line(&onward), header(&onward, "To")), ("MESSAGE tel:+15550000009", "<sip:bob@x.example>"));
}

#[tokio::test]
async fn silence_is_silence_and_trying_is_no_more_than_that() {
    let stage = Stage::with(Mode::Silent).await;
    stage.invite("").await;
    assert_eq!(stage.scscf.hear(Duration::from_millis(100)).await, [""; 0]);
    assert_eq!(stage.server.requests("INVITE").len(), 1);
    stage.server.behave(Mode::Trying);
    let invite = stage.request("INVITE", "sip:bob@x.example", "", "").replace("bKINVITE", "bKi2");
    stage.scscf.send(&invite, stage.at).await;
    let heard = stage.scscf.hear(Duration::from_millis(100)).await;
    assert_eq!(heard.iter().map(|one| line(one)).collect::<Vec<_>>(), ["100 Trying"]);
    stage.scscf.send(&cancel(&invite, ""), stage.at).await;
    stage.hears("SIP/2.0 487").await;
}

#[tokio::test]
async fn it_answers_as_a_user_agent() {
    let stage = Stage::with(Mode::Answer).await;
    let message = stage.request("MESSAGE", "sip:bob@x.example", "", "hello");
    stage.scscf.send(&message, stage.at).await;
    stage.hears("SIP/2.0 200").await;
    let invite = stage.invite("").await;
    let ok = stage.hears("SIP/2.0 200").await;
    assert_eq!(header(&ok, "Record-Route"), format!("<sip:scscf@{};lr>", stage.scscf.address));
    assert!(body(&ok).starts_with("v=0\r\no="), "{ok}");
    let target = uri(header(&ok, "Contact")).to_owned();
    assert_eq!(target, format!("sip:{}", stage.at));
    let via = stage.scscf.via("ack");
    stage.scscf.send(&ack(&invite, &ok, &target, &via, "", ""), stage.at).await;
    let (from, to) = (header(&invite, "From").to_owned(), header(&ok, "To").to_owned());
    let speech = Speech { from, to, target, routes: String::new(), cseq: 8, ..Speech::called(&invite, "") };
    for (method, branch) in [("UPDATE", "u1"), ("INFO", "n1"), ("BYE", "b1")] {
        stage.scscf.send(&speech.request(method, &stage.scscf.via(branch), ""), stage.at).await;
        stage.hears("SIP/2.0 200").await;
    }
    let call = &stage.server.calls()[0];
    assert_eq!(call.state(), AgentState::Released { reason: None });
    stage.scscf.send(&speech.request("BYE", &stage.scscf.via("b2"), ""), stage.at).await;
    stage.hears("SIP/2.0 481").await;
    // A call whose ACK never comes is released.
    let lost =
        stage.request("INVITE", "sip:bob@x.example", "", "").replace("bKINVITE", "bKi2").replace("c1", "c2");
    stage.scscf.send(&lost, stage.at).await;
    let (bye, from) = stage.scscf.until("BYE").await;
    assert_eq!(header(&bye, "Route"), format!("<sip:scscf@{};lr>", stage.scscf.address));
    stage.scscf.send(&answer(&bye, "200 OK", "", ""), from).await;
    let mut call = stage.server.calls().pop().unwrap();
    assert_eq!(call.ended().await, Ok(AgentState::HungUp { status: 200 }));
}

#[tokio::test]
async fn third_party_registers_are_kept_and_answered_as_told() {
    let stage = Stage::with(Mode::Silent).await;
    let register = |number: u32| {
        let body = "<ims-3gpp version=\"1\"><service-info>hello</service-info></ims-3gpp>";
        let further = format!("Expires: 600\r\nContent-Type: application/3gpp-ims+xml\r\nX: {number}\r\n");
        let uri = format!("sip:{}", stage.at);
        let text = stage.request("REGISTER", &uri, &further, body);
        text.replace("bKREGISTER", &format!("bKr{number}"))
    };
    stage.scscf.send(&register(1), stage.at).await;
    let ok = stage.hears("SIP/2.0 200").await;
    assert_eq!(header(&ok, "Expires"), "600");
    stage.server.answer_registers(Some(500));
    stage.scscf.send(&register(2), stage.at).await;
    stage.hears("SIP/2.0 500").await;
    stage.server.answer_registers(None);
    stage.scscf.send(&register(3), stage.at).await;
    assert_eq!(stage.scscf.hear(Duration::from_millis(100)).await, [""; 0]);
    let entries = stage.server.requests("REGISTER");
    assert_eq!(entries.len(), 3);
    assert!(entries[0].body.contains("<service-info>hello"));
    assert_eq!(entries[0].content_type.as_deref(), Some("application/3gpp-ims+xml"));
    stage.server.clear_journal();
    assert!(stage.server.journal().is_empty());
}

#[tokio::test]
async fn it_calls_on_behalf_of_a_user() {
    let stage = Stage::with(Mode::Proxy).await;
    let mut call = stage.server.originate("sip:alice@x.example", "tel:+1555", false).await.unwrap();
    let (invite, from) = stage.scscf.until("INVITE").await;
    assert_eq!(line(&invite), "INVITE tel:+1555");
    assert_eq!(header(&invite, "Route"), format!("<sip:{};lr;orig>", stage.scscf.address));
    assert_eq!(header(&invite, "P-Served-User"), "<sip:alice@x.example>;sescase=orig;regstate=unreg");
    assert_eq!(header(&invite, "P-Asserted-Identity"), "<sip:alice@x.example>");
    stage.scscf.send(&answer(&invite, "180 Ringing", "b1", ""), from).await;
    let routed =
        format!("Record-Route: <sip:rr@{};lr>\r\nContact: <sip:bob@10.9.9.9>\r\n", stage.scscf.address);
    stage.scscf.send(&answer(&invite, "200 OK", "b1", &routed), from).await;
    let (ack, _) = stage.scscf.until("ACK").await;
    assert_eq!(line(&ack), "ACK sip:bob@10.9.9.9");
    call.established().await.unwrap();
    let hanging_up = tokio::spawn({
        let call = call.clone();
        async move { call.hang_up().await }
    });
    let (bye, _) = stage.scscf.until("BYE").await;
    assert_eq!(header(&bye, "Route"), format!("<sip:rr@{};lr>", stage.scscf.address));
    stage.scscf.send(&answer(&bye, "200 OK", "", ""), from).await;
    assert_eq!(hanging_up.await.unwrap(), Ok(200));
    assert_eq!(call.hang_up().await, Err(Error::NotNow));

    let mut refused = stage.server.originate("sip:alice@x.example", "sip:bob@x.example", true).await.unwrap();
    let (invite, from) = stage.scscf.until("INVITE").await;
    stage.scscf.send(&answer(&invite, "403 Forbidden", "b1", ""), from).await;
    assert_eq!(refused.established().await, Err(Error::Refused(403)));

    let given_up = stage.server.originate("sip:alice@x.example", "sip:bob@x.example", true).await.unwrap();
    let (invite, from) = stage.scscf.until("INVITE").await;
    stage.scscf.send(&answer(&invite, "180 Ringing", "b1", ""), from).await;
    let giving_up = tokio::spawn(async move { given_up.hang_up().await });
    let (cancel, _) = stage.scscf.until("CANCEL").await;
    stage.scscf.send(&answer(&cancel, "200 OK", "b1", ""), from).await;
    stage.scscf.send(&answer(&invite, "487 Request Terminated", "b1", ""), from).await;
    assert_eq!(giving_up.await.unwrap(), Ok(487));

    let lost = Config { timers: Timers::fast(), ..Config::new(Listen::udp("127.0.0.1:0".parse().unwrap())) };
    let server = ApplicationServer::start(lost).await.unwrap();
    assert_eq!(server.originate("sip:a@x", "sip:b@x", true).await.unwrap_err(), Error::NoSCscf);
}

async fn http(at: SocketAddr, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    let body = response.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn it_is_watched_and_steered_over_http() {
    let scscf = Peer::new().await;
    let config = Config {
        http: Some("127.0.0.1:0".parse().unwrap()),
        timers: Timers::fast(),
        s_cscf: Some(scscf.address),
        ..Config::new(Listen::udp("127.0.0.1:0".parse().unwrap()))
    };
    let server = ApplicationServer::start(config).await.unwrap();
    let (at, web) = (server.addresses()[0].address, server.http().unwrap());
    let stage = Stage { server, at, scscf, onward: Peer::new().await };
    assert_eq!(http(web, "PUT", "/mode", r#"{"mode":"reject","status":486}"#).await.0, 200);
    stage.invite("").await;
    stage.hears("SIP/2.0 486").await;
    let (status, shown) = http(web, "GET", "/journal?method=INVITE", "").await;
    assert_eq!((status, &shown["requests"][0]["uri"]), (200, &"sip:bob@x.example".into()));
    assert_eq!(http(web, "GET", "/journal?after=1", "").await.1["requests"], serde_json::json!([]));
    for (method, path, body, expected) in [
        ("PUT", "/mode", r#"{"mode":"redirect"}"#, 422),
        ("PUT", "/mode", r#"{"mode":"nice"}"#, 400),
        ("PUT", "/registers", r#"{"status":100}"#, 422),
        ("PUT", "/registers", r#"{"status":null}"#, 200),
        ("POST", "/calls", r#"{"served_user":"<x>","to":"sip:b@x"}"#, 422),
        ("DELETE", "/calls/none", "", 404),
        ("GET", "/nothing", "", 404),
        ("DELETE", "/journal", "", 204),
        ("GET", "/healthz", "", 200),
    ] {
        assert_eq!(http(web, method, path, body).await.0, expected, "{method} {path} {body}");
    }
    assert!(stage.server.journal().is_empty());
    let wanted = r#"{"served_user":"sip:alice@x.example","to":"sip:bob@x.example"}"#;
    let (status, call) = http(web, "POST", "/calls", wanted).await;
    assert_eq!((status, &call["state"]), (200, &"calling".into()));
    let (invite, from) = stage.scscf.until("INVITE").await;
    stage.scscf.send(&answer(&invite, "603 Decline", "b1", ""), from).await;
    stage.server.calls()[0].clone().ended().await.unwrap();
    let (_, calls) = http(web, "GET", "/calls", "").await;
    assert_eq!(
        calls["calls"][0],
        serde_json::json!({ "state": "refused", "status": 603, "call_id": call["call_id"] })
    );
    stage.server.stop();
    for _ in 0..100 {
        if TcpStream::connect(web).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("its HTTP goes on");
}

/// Alice calls Bob, who is reached at an address; the server is the proxy of both.
#[tokio::test]
async fn ues_call_each_other_through_every_kind_of_path() {
    for (listen, transport) in [
        (Listen::udp("127.0.0.1:0".parse().unwrap()), ue::Transport::Udp),
        (Listen::tcp("127.0.0.1:0".parse().unwrap()), ue::Transport::Tcp),
        (Listen::udp("[::1]:0".parse().unwrap()), ue::Transport::Udp),
    ] {
        let config = Config { timers: Timers::fast(), ..Config::new(listen) };
        let server = ApplicationServer::start(config).await.unwrap();
        let proxy = server.addresses()[0].address;
        let start = async |name: &str| {
            let config = ue::Config {
                transport,
                timers: Timers::fast(),
                ..ue::Config::new(&format!("{name}@x.example"), proxy)
            };
            Ue::start(config).await.unwrap().0
        };
        let (alice, bob) = (start("alice").await, start("bob").await);
        let parameter = if transport == ue::Transport::Tcp { ";transport=tcp" } else { "" };
        let to = format!("sip:bob@{}{parameter}", bob.local());
        for mode in [Mode::Proxy, Mode::B2bua] {
            server.behave(mode.clone());
            let how = Answering { reliable: true, ring: Duration::from_millis(20), ..Answering::default() };
            let mut calls = bob.answering(how);
            assert_eq!(alice.send(Standalone::message(&to, "hello")).await.unwrap().status, 200);
            let mut made =
                alice.call(Dial { reliable: true, session_expires: Some(2), ..Dial::to(&to) }).unwrap();
            made.established().await.unwrap();
            let mut came = calls.next().await.unwrap();
            came.established().await.unwrap();
            assert_eq!(came.call_id() == made.call_id(), mode == Mode::Proxy);
            assert_eq!(made.reinvite().await, Ok(200));
            assert_eq!(came.reinvite().await, Ok(200));
            assert_eq!(came.info("x").await, Ok(200));
            came.until(|record| record.of("UPDATE").count() > 0).await.unwrap();
            assert_eq!(came.hang_up_because("Q.850;cause=16").await, Ok(200));
            assert_eq!(made.ended().await, Ok(End::Released { reason: Some("Q.850;cause=16".into()) }));
            let _calls = bob.answering(Answering { then: ue::Then::Wait, ..Answering::default() });
            let mut waiting = alice.call(Dial::to(&to)).unwrap();
            waiting.ringing().await.unwrap();
            assert_eq!(waiting.cancel().await, Ok(487));
            assert_eq!(waiting.record().state, State::Ended);
            for call in [&made, &came, &waiting] {
                assert_eq!(call.record().faults, [], "{mode:?} {:#?}", call.record());
            }
        }
        server.behave(Mode::Answer);
        let mut made = alice.call(Dial::to("sip:anybody@x.example")).unwrap();
        made.established().await.unwrap();
        let call = server.calls().pop().unwrap();
        assert_eq!(call.hang_up().await, Ok(200));
        assert_eq!(made.ended().await, Ok(End::Released { reason: None }));
        assert_eq!(made.record().faults, []);
    }
}
