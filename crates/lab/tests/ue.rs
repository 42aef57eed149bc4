//! The UE against a small S-CSCF that follows a script, over loopback UDP and TCP.
#![allow(clippy::unwrap_used)]

use base64::{Engine, engine::general_purpose::STANDARD};
use lab::{
    aka::{Key, sequence},
    digest::{self, Credentials, Exchange},
    provisioning::{self, DOMAIN},
    ue::{
        Answering, CallArgs, Config, Dial, Errand, Error, Fault, Goal, Happening, OnReauth, Package,
        RegisterArgs, Role, Standalone, SubscribeArgs, Then, Transport, Ue, run_call, run_register,
        run_subscribe,
    },
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    sync::Mutex,
};

/// How the S-CSCF behaves, and what it has seen.
#[derive(Default)]
struct Script {
    /// SQN of the last challenge.
    sqn: u64,
    /// Nonce outstanding.
    nonce: Option<String>,
    /// Requests not to answer, counted down.
    deaf: u32,
    forged: bool,
    min_expires: u32,
    /// NOTIFY bodies to send after the first, one per second answered NOTIFY.
    then: Vec<String>,
    challenge_protected: bool,
    /// The last NOTIFY of a subscription still asks for authentication.
    insists: bool,
    /// Closes a TCP connection after so many messages.
    hangs_up_after: u32,
    /// Ends a call with BYE as soon as it is confirmed.
    releases: bool,
    invites: Vec<String>,
    byes: Vec<String>,
    registers: Vec<String>,
    subscribes: Vec<String>,
    answers: Vec<String>,
    resynchronisations: u32,
}

type Shared = Arc<Mutex<Script>>;

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    message
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value.trim())
}

fn parameter(value: &str, name: &str) -> String {
    let Some(at) = value.find(&format!("{name}=")) else { return String::new() };
    let rest = &value[at + name.len() + 1..];
    let rest = rest
        .strip_prefix('"')
        .map_or_else(|| rest.split(',').next().unwrap(), |rest| rest.split('"').next().unwrap());
    rest.to_owned()
}

fn key() -> Key {
    Key::with_op(provisioning::K.0, provisioning::OP.0)
}

fn answer(request: &str, status: &str, further: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let tag = if name == "To" && !header(request, name).contains("tag=") { ";tag=s1" } else { "" };
        text += &format!("{name}: {}{tag}\r\n", header(request, name));
    }
    for line in request.lines().filter(|line| line.starts_with("Record-Route:")) {
        text += &format!("{line}\r\n");
    }
    text + further + "Content-Length: 0\r\n\r\n"
}

impl Script {
    fn challenge(&mut self, request: &str) -> String {
        self.sqn = sequence::next(self.sqn);
        let mut vector = key().vector(rand::random(), self.sqn, *b"BB");
        if self.forged {
            vector.autn[12] ^= 1;
        }
        let nonce = STANDARD.encode([vector.rand, vector.autn].concat());
        let line = format!(
            "WWW-Authenticate: Digest realm=\"{DOMAIN}\", nonce=\"{nonce}\", algorithm=AKAv1-MD5, qop=\"auth,auth-int\"\r\n"
        );
        self.nonce = Some(nonce);
        answer(request, "401 Unauthorized", &line)
    }

    fn register(&mut self, request: &str) -> String {
        self.registers.push(request.to_owned());
        let authorization = header(request, "Authorization");
        let contact = header(request, "Contact");
        let expires: u32 = contact.rsplit_once("expires=").unwrap().1.parse().unwrap();
        if expires > 0 && expires < self.min_expires {
            let line = format!("Min-Expires: {}\r\n", self.min_expires);
            return answer(request, "423 Interval Too Brief", &line);
        }
        let protected = parameter(authorization, "integrity-protected") == "yes";
        let Some(nonce) = self.nonce.clone().filter(|nonce| parameter(authorization, "nonce") == *nonce)
        else {
            return if protected && !self.challenge_protected {
                self.ok(request)
            } else {
                self.challenge(request)
            };
        };
        self.nonce = None;
        let auts = STANDARD.decode(parameter(authorization, "auts")).unwrap();
        let rand: [u8; 16] = STANDARD.decode(&nonce).unwrap()[..16].try_into().unwrap();
        let password = if auts.is_empty() { key().res(&rand).to_vec() } else { Vec::new() };
        let username = parameter(authorization, "username");
        let (uri, cnonce) = (parameter(authorization, "uri"), parameter(authorization, "cnonce"));
        let expected = digest::response(
            Credentials { username: &username, realm: DOMAIN, password: &password },
            Exchange { method: "REGISTER", uri: &uri, nonce: &nonce, auth: Some((1, &cnonce)) },
        );
        if parameter(authorization, "response") != digest::text(&expected) {
            return answer(request, "403 Forbidden", "");
        }
        if let Ok(auts) = <[u8; 14]>::try_from(auts) {
            self.resynchronisations += 1;
            self.sqn = key().read_auts(&rand, &auts).unwrap();
            return self.challenge(request);
        }
        self.challenge_protected = false;
        self.ok(request)
    }

    fn ok(&self, request: &str) -> String {
        let contact = header(request, "Contact");
        let lines = format!(
            "Contact: {contact}\r\nPath: {}\r\nService-Route: <sip:orig@scscf.example;lr>\r\n\
             P-Associated-URI: <sip:alice@{DOMAIN}>, <tel:+15550000001>\r\n",
            header(request, "Path")
        );
        answer(request, "200 OK", &lines)
    }

    /// The answer to a message, and what follows it.
    fn receive(&mut self, message: &str, local: SocketAddr) -> Vec<String> {
        if self.deaf > 0 {
            self.deaf -= 1;
            return Vec::new();
        }
        match message.split(' ').next().unwrap() {
            "REGISTER" => vec![self.register(message)],
            "SUBSCRIBE" => {
                self.subscribes.push(message.to_owned());
                let lines =
                    format!("Expires: {}\r\nContact: <sip:n7@{local}>\r\n", header(message, "Expires"));
                let ends = header(message, "Expires") == "0";
                let contact = parameter_free(header(&self.registers[0], "Contact"));
                let event = if ends && self.insists { "shortened" } else { "registered" };
                let body = reginfo("active", event, &contact, 600);
                let state = if ends { "terminated;reason=timeout" } else { "active;expires=600" };
                vec![answer(message, "200 OK", &lines), notify(message, state, 0, &body)]
            }
            "SIP/2.0" => {
                self.answers.push(message.to_owned());
                let subscribe = self.subscribes.last().cloned().unwrap_or_default();
                if self.then.is_empty() {
                    return Vec::new();
                }
                let body = self.then.remove(0);
                let state = if body.contains("state=\"terminated\" event") {
                    "terminated;reason=rejected"
                } else {
                    "active;expires=500"
                };
                let contact = parameter_free(header(&self.registers[0], "Contact"));
                self.challenge_protected = body.contains("shortened") || body.contains("re-authenticate");
                vec![notify(&subscribe, state, self.answers.len(), &body.replace("CONTACT", &contact))]
            }
            "INVITE" => {
                self.invites.push(message.to_owned());
                vec![answer(message, "200 OK", &format!("Contact: <sip:bob@{local}>\r\n"))]
            }
            "ACK" if self.releases => vec![bye(&self.invites[0])],
            "ACK" => Vec::new(),
            "BYE" => {
                self.byes.push(message.to_owned());
                vec![answer(message, "200 OK", "")]
            }
            "MESSAGE" => vec![answer(message, "404 Not Found", "")],
            other => panic!("unexpected {other}"),
        }
    }
}

fn parameter_free(contact: &str) -> String {
    contact.split('>').next().unwrap().trim_start_matches('<').to_owned()
}

fn reginfo(state: &str, event: &str, contact: &str, expires: u32) -> String {
    let contact_state = if state == "terminated" { state } else { "active" };
    format!(
        "<?xml version=\"1.0\"?><reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" version=\"VERSION\" state=\"full\">\
         <registration aor=\"sip:alice@{DOMAIN}\" id=\"r\" state=\"{state}\"><contact id=\"c\" state=\"{contact_state}\" \
         event=\"{event}\" expires=\"{expires}\"><uri>{contact}</uri></contact></registration></reginfo>"
    )
}

fn notify(subscribe: &str, state: &str, number: usize, body: &str) -> String {
    let body = body.replace("VERSION", &number.to_string());
    let target = parameter_free(header(subscribe, "Contact"));
    format!(
        "NOTIFY {target} SIP/2.0\r\nVia: SIP/2.0/UDP scscf.example;branch=z9hG4bKn{number}{}\r\nMax-Forwards: 70\r\n\
         Route: {}\r\nFrom: {};tag=s1\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} NOTIFY\r\nEvent: {}\r\n\
         Subscription-State: {state}\r\nContact: <sip:scscf.example>\r\nContent-Type: application/reginfo+xml\r\nContent-Length: {}\r\n\r\n{body}",
        header(subscribe, "CSeq").len(),
        header(subscribe, "Record-Route"),
        header(subscribe, "To").split(";tag").next().unwrap(),
        header(subscribe, "From"),
        header(subscribe, "Call-ID"),
        number + 1,
        header(subscribe, "Event"),
        body.len()
    )
}

/// What an S-CSCF sends that releases a call in the name of who was called.
fn bye(invite: &str) -> String {
    format!(
        "BYE {} SIP/2.0\r\nVia: SIP/2.0/UDP scscf.example;branch=z9hG4bKbye\r\nMax-Forwards: 70\r\nRoute: {}\r\n\
         From: {};tag=s1\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 4711 BYE\r\n\
         Reason: SIP;cause=480;text=\"Temporarily Unavailable\"\r\nContent-Length: 0\r\n\r\n",
        parameter_free(header(invite, "Contact")),
        header(invite, "Record-Route"),
        header(invite, "To"),
        header(invite, "From"),
        header(invite, "Call-ID"),
    )
}

async fn scscf(script: Script) -> (SocketAddr, Shared) {
    let shared = Arc::new(Mutex::new(script));
    // Another test may have the port in TCP.
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    let script = Arc::clone(&shared);
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            for reply in script.lock().await.receive(&text, address) {
                udp.send_to(reply.as_bytes(), from).await.unwrap();
            }
        }
    });
    let script = Arc::clone(&shared);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let script = Arc::clone(&script);
            tokio::spawn(async move {
                let mut text = String::new();
                let mut buffer = vec![0; 65_536];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    text.push_str(&String::from_utf8_lossy(&buffer[..length]));
                    while let Some((message, rest)) = text.split_once("\r\n\r\n") {
                        let (message, rest) = (format!("{message}\r\n\r\n"), rest.to_owned());
                        let mut script = script.lock().await;
                        for reply in script.receive(&message, address) {
                            stream.write_all(reply.as_bytes()).await.unwrap();
                        }
                        text = rest;
                        if script.hangs_up_after > 0 {
                            script.hangs_up_after -= 1;
                            if script.hangs_up_after == 0 {
                                return;
                            }
                        }
                    }
                }
            });
        }
    });
    (address, shared)
}

fn alice(proxy: SocketAddr) -> Config {
    Config::new(&format!("alice@{DOMAIN}"), proxy)
}

fn args(proxy: SocketAddr) -> RegisterArgs {
    RegisterArgs::new(&format!("alice@{DOMAIN}"), &proxy.to_string())
}

async fn never() {
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn registers_over_udp_and_tcp_and_ends() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (proxy, script) = scscf(Script::default()).await;
        let mut seen = Vec::new();
        let args = RegisterArgs { transport, ..args(proxy) };
        run_register(args, |happening| seen.push(happening.to_string()), never()).await.unwrap();
        assert!(seen.iter().any(|line| line.contains("registered for 3600 s as sip:alice@")), "{seen:?}");
        let script = script.lock().await;
        let [first, second] = &script.registers[..] else { panic!("{:?}", script.registers) };
        assert!(first.contains("nonce=\"\"") && first.contains("integrity-protected=\"no\""), "{first}");
        assert!(second.contains("integrity-protected=\"yes\""), "{second}");
        assert_eq!(header(first, "Call-ID"), header(second, "Call-ID"));
        let tcp = transport == Transport::Tcp;
        assert_eq!(header(first, "Path").contains(";transport=tcp;lr"), tcp);
        assert_eq!(header(first, "Via").starts_with("SIP/2.0/TCP"), tcp);
    }
}

#[tokio::test]
async fn the_next_proxy_is_asked_when_one_does_not_answer() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (living, script) = scscf(Script::default()).await;
        // It takes datagrams and says nothing; to streams it refuses itself.
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let timers = lab::ue::Timers::fast();
        let proxy = silent.local_addr().unwrap();
        let config = Config { others: vec![living], transport, timers, ..alice(proxy) };
        let (ue, _happenings) = Ue::start(config).await.unwrap();
        ue.register().await.unwrap();
        ue.register().await.unwrap();
        assert!(script.lock().await.registers.len() >= 3, "and it stays the one");
        let mut buffer = [0; 4096];
        let mut asked = 0;
        while silent.try_recv(&mut buffer).is_ok() {
            asked += 1;
        }
        assert!(transport == Transport::Tcp || (1..8).contains(&asked), "{asked}");
    }
}

#[tokio::test]
async fn a_usim_out_of_step_resynchronises() {
    let (proxy, script) = scscf(Script::default()).await;
    let config = Config { sqn: 9_999, ..alice(proxy) };
    let (ue, mut happenings) = Ue::start(config).await.unwrap();
    assert!(ue.register().await.unwrap().challenged);
    let mut resynchronised = false;
    while let Ok(happening) = happenings.try_recv() {
        resynchronised |= matches!(happening, Happening::Resynchronising);
    }
    assert!(resynchronised);
    assert_eq!(script.lock().await.resynchronisations, 1);
}

#[tokio::test]
async fn a_forged_challenge_is_not_answered() {
    let (proxy, script) = scscf(Script { forged: true, ..Script::default() }).await;
    let (ue, _happenings) = Ue::start(alice(proxy)).await.unwrap();
    let error = ue.register().await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 403, .. } | Error::NotAuthentic), "{error}");
    assert!(script.lock().await.registers[1].contains("response=\"\""));
}

#[tokio::test]
async fn a_wrong_answer_is_wrong_and_a_longer_expiry_is_taken() {
    let (proxy, _script) = scscf(Script { min_expires: 7200, ..Script::default() }).await;
    let (ue, _happenings) = Ue::start(alice(proxy)).await.unwrap();
    let error = ue.register_wrongly().await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 403, .. }), "{error}");
    assert_eq!(ue.register().await.unwrap().expires_s, 7200);
    ue.deregister().await.unwrap();
}

#[tokio::test]
async fn what_is_lost_is_sent_again() {
    let (proxy, script) = scscf(Script { deaf: 1, ..Script::default() }).await;
    let (ue, _happenings) = Ue::start(alice(proxy)).await.unwrap();
    ue.register().await.unwrap();
    assert_eq!(script.lock().await.registers.len(), 2);
}

#[tokio::test]
async fn obeys_the_published_words_and_those_of_the_seed() {
    for (package, event, state) in
        [(Package::Reg, "shortened", "active"), (Package::RegistrationState, "registered", "re-authenticate")]
    {
        let then = vec![reginfo(state, event, "CONTACT", 60)];
        let (proxy, script) = scscf(Script { then, ..Script::default() }).await;
        let mut seen = Vec::new();
        let register = RegisterArgs { stay: Some(Duration::from_millis(600)), ..args(proxy) };
        let args = SubscribeArgs { register, package, role: Role::Ue };
        run_subscribe(args, |happening| seen.push(happening.to_string()), never()).await.unwrap();
        assert!(seen.iter().any(|line| line.contains("re-authenticated")), "{seen:#?}");
        let script = script.lock().await;
        assert_eq!(script.registers.len(), 5, "challenge, answer, challenge, answer, end");
        assert!(script.registers[2].contains("integrity-protected=\"yes\""));
        let subscribe = &script.subscribes[0];
        assert_eq!(header(subscribe, "Event"), package.as_str());
        assert_eq!(header(subscribe, "Route"), "<sip:orig@scscf.example;lr>");
        assert_eq!(header(subscribe, "P-Asserted-Identity"), format!("<sip:alice@{DOMAIN}>"));
        assert!(
            script.subscribes[1].starts_with(&format!("SUBSCRIBE sip:n7@{proxy} ")),
            "{}",
            script.subscribes[1]
        );
        assert!(script.answers.iter().all(|answer| answer.starts_with("SIP/2.0 200")));
    }
}

#[tokio::test]
async fn ignores_or_botches_it_when_told_to() {
    for (on_reauth, registers) in [(OnReauth::Ignore, 4), (OnReauth::Wrong, 6)] {
        let then = vec![reginfo("active", "shortened", "CONTACT", 60)];
        let (proxy, script) = scscf(Script { then, ..Script::default() }).await;
        let mut seen = Vec::new();
        let register = RegisterArgs { stay: Some(Duration::from_millis(600)), on_reauth, ..args(proxy) };
        let args = SubscribeArgs { register, package: Package::Reg, role: Role::PCscf };
        run_subscribe(args, |happening| seen.push(happening.to_string()), never()).await.unwrap();
        assert_eq!(
            seen.iter().any(|line| line.contains("wrongly on purpose: 403")),
            on_reauth == OnReauth::Wrong
        );
        let script = script.lock().await;
        // The end of the registration is challenged too: the demand still stands.
        assert_eq!(script.registers.len(), registers, "{on_reauth}");
        let subscribe = &script.subscribes[0];
        let path = header(&script.registers[0], "Path");
        assert_eq!(header(subscribe, "P-Asserted-Identity"), path);
        assert_eq!(header(subscribe, "Route"), "");
    }
}

#[tokio::test]
async fn a_terminated_registration_ends_the_watch() {
    let then = vec![reginfo("terminated", "rejected", "CONTACT", 0)];
    let (proxy, script) = scscf(Script { then, ..Script::default() }).await;
    let mut seen = Vec::new();
    let args = SubscribeArgs { register: args(proxy), package: Package::Reg, role: Role::Ue };
    run_subscribe(args, |happening| seen.push(happening.to_string()), never()).await.unwrap();
    assert!(seen.iter().any(|line| line.contains("NOTIFY reg terminated;reason=rejected")), "{seen:#?}");
    assert_eq!(script.lock().await.registers.len(), 2, "there is nothing left to deregister");
}

#[tokio::test]
async fn who_leaves_does_not_register_again() {
    let (proxy, script) = scscf(Script { insists: true, ..Script::default() }).await;
    let (ue, _happenings) = Ue::start(alice(proxy)).await.unwrap();
    ue.register().await.unwrap();
    let subscribed = ue.subscribe(Package::Reg, Role::Ue).await.unwrap();
    ue.unsubscribe(&subscribed).await.unwrap();
    ue.deregister().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(script.lock().await.registers.len(), 3, "challenge, answer, end");
}

#[tokio::test]
async fn a_connection_that_ended_is_opened_anew() {
    let (proxy, script) = scscf(Script { hangs_up_after: 2, ..Script::default() }).await;
    let (ue, _happenings) = Ue::start(Config { transport: Transport::Tcp, ..alice(proxy) }).await.unwrap();
    ue.register().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    ue.register().await.unwrap();
    assert_eq!(script.lock().await.registers.len(), 3);
}

#[tokio::test]
async fn a_short_registration_is_refreshed() {
    let (proxy, script) = scscf(Script::default()).await;
    let register = RegisterArgs { expires: 1, stay: Some(Duration::from_millis(800)), ..args(proxy) };
    run_register(register, |_| {}, never()).await.unwrap();
    let script = script.lock().await;
    assert_eq!(script.registers.len(), 4, "challenge, answer, refresh, end");
    assert!(header(&script.registers[3], "Contact").ends_with("expires=0"));
}

fn call(proxy: SocketAddr, hold_ms: u64, goal: Goal) -> CallArgs {
    let errand = Errand::Call {
        dial: Dial::to(&format!("sip:bob@{DOMAIN}")),
        hold: Duration::from_millis(hold_ms),
        ring_timeout: Duration::from_secs(5),
        cancel_after: None,
        reinvite: false,
        update: false,
    };
    let subscribe = Some((Package::Reg, Role::Ue));
    CallArgs { register: args(proxy), unregistered: false, subscribe, errand, goal }
}

#[tokio::test]
async fn an_authentication_asked_for_during_a_call_leaves_the_call_alone() {
    let then = vec![reginfo("active", "shortened", "CONTACT", 60)];
    let (proxy, script) = scscf(Script { then, ..Script::default() }).await;
    let mut seen = Vec::new();
    run_call(call(proxy, 700, Goal::Done), |happening| seen.push(happening.to_string()), never())
        .await
        .unwrap();
    let at = |text: &str| seen.iter().position(|line| line.contains(text)).unwrap();
    assert!(at("re-authenticated") < at("hung up, the BYE was answered 200"), "{seen:#?}");
    let script = script.lock().await;
    let invite = &script.invites[0];
    assert_eq!(header(invite, "Route"), "<sip:orig@scscf.example;lr>");
    assert_eq!(header(invite, "P-Asserted-Identity"), format!("<sip:alice@{DOMAIN}>"));
    assert_eq!(header(invite, "Record-Route"), header(&script.registers[0], "Path"));
    assert!(header(invite, "P-Charging-Vector").contains("icid-value="), "{invite}");
    assert!(!header(invite, "P-Access-Network-Info").is_empty(), "{invite}");
    assert_eq!(script.byes.len(), 1);
    assert_eq!(script.registers.len(), 5, "challenge, answer, challenge, answer, end");
}

#[tokio::test]
async fn a_call_that_the_network_releases_is_a_failure_unless_it_was_the_goal() {
    for (goal, expected) in [
        (Goal::Bye, Ok(())),
        (Goal::Done, Err(Error::Missed("it ended before it was to end"))),
        (Goal::Status(404), Err(Error::Missed("it was answered"))),
    ] {
        let (proxy, script) = scscf(Script { releases: true, ..Script::default() }).await;
        let mut seen = Vec::new();
        let ended =
            run_call(call(proxy, 5_000, goal), |happening| seen.push(happening.to_string()), never()).await;
        assert_eq!(ended, expected);
        let released = "released by BYE (Reason: SIP;cause=480;text=\"Temporarily Unavailable\")";
        assert_eq!(seen.iter().any(|line| line.contains(released)), goal != Goal::Status(404), "{seen:#?}");
        assert!(header(script.lock().await.registers.last().unwrap(), "Contact").ends_with("expires=0"));
    }
}

#[tokio::test]
async fn a_call_that_does_not_come_by_the_path_is_told() {
    let (proxy, script) = scscf(Script::default()).await;
    let (ue, _happenings) = Ue::start(alice(proxy)).await.unwrap();
    let mut calls = ue.answering(Answering { then: Then::Reject(486), ..Answering::default() });
    ue.register().await.unwrap();
    let (contact, path) = {
        let script = script.lock().await;
        let register = &script.registers[0];
        (parameter_free(header(register, "Contact")), header(register, "Path").to_owned())
    };
    let network = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let invite = |number: u32, uri: &str, route: &str| {
        format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKi{number}\r\nMax-Forwards: 70\r\nRoute: {route}\r\n\
             From: <sip:bob@x>;tag=b\r\nTo: <sip:alice@x>\r\nCall-ID: i{number}\r\nCSeq: 1 INVITE\r\nContact: <sip:bob@x>\r\n\
             Content-Length: 0\r\n\r\n",
            network.local_addr().unwrap()
        )
    };
    let other = "<sip:127.0.0.1:9;lr>";
    let elsewhere = format!("sip:alice@{DOMAIN}");
    for (number, uri, route, faults) in [
        (1, &contact, &*path, Vec::new()),
        (2, &contact, other, vec![Fault::Route { method: "INVITE".into(), route: other.into() }]),
        (3, &elsewhere, &path, vec![Fault::Target { method: "INVITE".into(), uri: elsewhere.clone() }]),
    ] {
        network.send_to(invite(number, uri, route).as_bytes(), ue.local()).await.unwrap();
        let mut call = calls.next().await.unwrap();
        call.ended().await.unwrap();
        assert_eq!(call.record().faults, faults);
    }
}

#[tokio::test]
async fn a_message_ends_as_it_was_to_end_or_fails() {
    let (proxy, _script) = scscf(Script::default()).await;
    for (goal, expected) in [
        (Goal::Status(404), Ok(())),
        (Goal::Done, Err(Error::Refused { status: 404, reason: "Not Found".into() })),
    ] {
        let errand = Errand::Send(Standalone::message("sip:nobody@x.example", "hello"));
        let args = CallArgs { errand, subscribe: None, ..call(proxy, 0, goal) };
        assert_eq!(run_call(args, |_| {}, never()).await, expected);
    }
}

#[tokio::test]
async fn what_cannot_be_reached_is_an_error() {
    let bad = RegisterArgs::new("alice", "127.0.0.1:5060");
    assert!(matches!(run_register(bad, |_| {}, never()).await, Err(Error::Missed(_))));
    let bad = RegisterArgs::new("alice@x", "nowhere");
    assert!(matches!(run_register(bad, |_| {}, never()).await, Err(Error::Proxy(_))));
    let stopped = RegisterArgs::new("alice@x", "127.0.0.1:9");
    assert_eq!(run_register(stopped, |_| {}, async {}).await, Err(Error::Stopped));
}
