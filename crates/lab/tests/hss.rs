//! The HSS over real loopback connections: Diameter with `diameter::peer` as the S-CSCF, HTTP as plain text.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use bytes::BytesMut;
use diameter::{
    Identity, Message, Tick,
    codes::avp,
    cx::{self, Kind},
    message::RETRANSMITTED,
    peer::{Config as PeerConfig, Output, Peer},
};
use lab::{
    aka::{Key, sequence},
    hss::{Config, Hss, Running},
    provisioning::{self, DOMAIN},
};
use scscf::{
    Impi,
    cx::{
        Answer, AuthItem, Demand, DemandAnswer, DeregistrationReason, Failure, MultimediaAuth, Request,
        ResultCode, Resynchronisation, Scheme, ServerAssignment, ServerAssignmentType,
    },
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

const SERVER: &str = "sip:scscf.example:5060";

fn hss(generate: u32) -> Running {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    Hss::start(Config { generate, diameter_listen: anywhere, http_listen: anywhere, ..Config::default() })
        .unwrap()
}

/// One node of an S-CSCF.
struct Node {
    identity: Identity,
    stream: TcpStream,
    peer: Peer,
    begun: Instant,
    outputs: Vec<Output>,
    sessions: u32,
}

impl Node {
    fn connect(hss: &Running, host: &str) -> Self {
        let stream = TcpStream::connect(hss.diameter_addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let identity = Identity::new(host, DOMAIN);
        let mut outputs = Vec::new();
        let peer = Peer::initiator(identity.clone(), PeerConfig::scscf(7), Tick(0), &mut outputs);
        let mut node = Self { identity, stream, peer, begun: Instant::now(), outputs, sessions: 0 };
        node.until(|output| matches!(output, Output::Open { .. }).then_some(())).unwrap();
        node
    }

    fn now(&self) -> Tick {
        Tick(self.begun.elapsed().as_millis() as u64)
    }

    /// Runs the connection until an output is what is wanted, for at most 3 s.
    fn until<T>(&mut self, mut wanted: impl FnMut(&Output) -> Option<T>) -> Option<T> {
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            let mut found = None;
            for output in std::mem::take(&mut self.outputs) {
                if let Output::Transmit(octets) = &output {
                    self.stream.write_all(octets).unwrap();
                }
                match wanted(&output) {
                    Some(value) if found.is_none() => found = Some(value),
                    _ => {}
                }
            }
            if found.is_some() {
                return found;
            }
            let mut buffer = [0; 65_536];
            if let Ok(length) = self.stream.read(&mut buffer) {
                if length == 0 {
                    self.peer.lost(&mut self.outputs);
                }
                self.peer.receive(&buffer[..length], self.now(), &mut self.outputs);
            }
        }
        None
    }

    fn ask(&mut self, request: &Request) -> Answer {
        self.try_ask(request).expect("an answer")
    }

    fn try_ask(&mut self, request: &Request) -> Option<Answer> {
        self.sessions += 1;
        let session = format!("{};1;{}", self.identity.origin_host, self.sessions);
        let message = cx::encode_request(request, &self.identity, &session, DOMAIN).unwrap();
        let now = self.now();
        self.peer.request(message, 1, 2_000, now, &mut self.outputs);
        let message = self.until(|output| match output {
            Output::Answer { message, .. } => Some(message.clone()),
            _ => None,
        })?;
        Some(cx::decode_answer(Kind::of(request), &message))
    }

    fn vector(&mut self, mar: &MultimediaAuth) -> scscf::cx::AuthenticationVector {
        match self.ask(&Request::MultimediaAuth(mar.clone())) {
            Answer::MultimediaAuth(Ok(answer)) => match &answer.items[..] {
                [AuthItem::Aka(vector)] => vector.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn assign(&mut self, name: &str, assignment: ServerAssignmentType) -> Answer {
        self.ask(&Request::ServerAssignment(ServerAssignment {
            impi: impi(name),
            impus: vec![format!("sip:{name}@{DOMAIN}").into()],
            assignment,
            user_data_available: false,
            server_name: SERVER.into(),
            hss: None,
        }))
    }

    /// Takes the next demand, and answers nothing.
    fn asked(&mut self) -> Message {
        self.until(|output| match output {
            Output::Request(message) => Some(message.clone()),
            _ => None,
        })
        .expect("a demand")
    }

    /// Takes the next demand and answers it.
    fn demanded(&mut self, result: ResultCode) -> Demand {
        let message = self.asked();
        self.answers(&message, result)
    }

    fn answers(&mut self, message: &Message, result: ResultCode) -> Demand {
        let identity = self.identity.clone();
        let demand = cx::decode_demand(message, &identity).unwrap();
        let answer = cx::encode_demand_answer(message, &DemandAnswer::of(result), &identity);
        self.peer.answer(answer, &mut self.outputs);
        let mut octets = BytesMut::new();
        for output in self.outputs.drain(..) {
            if let Output::Transmit(part) = output {
                octets.extend_from_slice(&part);
            }
        }
        self.stream.write_all(&octets).unwrap();
        demand
    }
}

fn impi(name: &str) -> Option<Impi> {
    Impi::new(&format!("{name}@{DOMAIN}"))
}

fn mar(name: &str) -> MultimediaAuth {
    MultimediaAuth {
        impi: impi(name).unwrap(),
        impu: format!("sip:{name}@{DOMAIN}").into(),
        scheme: Scheme::AkaV1Md5,
        resynchronise: None,
        server_name: SERVER.into(),
        hss: None,
    }
}

fn http(hss: &Running, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
    let mut stream = TcpStream::connect(hss.http_addr).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: hss\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or(serde_json::Value::Null))
}

fn show(hss: &Running, name: &str) -> serde_json::Value {
    let (status, body) = http(hss, "GET", &format!("/subscribers/{name}@{DOMAIN}"), "");
    assert_eq!(status, 200, "{body}");
    body
}

/// Sends a command over HTTP while the node answers what it leads to.
fn command(
    hss: &Running,
    node: &mut Node,
    path: &str,
    body: &str,
    result: ResultCode,
) -> (Demand, u16, serde_json::Value) {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| http(hss, "POST", path, body));
        let demand = node.demanded(result);
        let (status, body) = asking.join().unwrap();
        (demand, status, body)
    })
}

#[test]
fn a_vector_a_registration_and_its_end() {
    let hss = hss(1_000_000);
    let mut node = Node::connect(&hss, "n1.scscf.example");
    let vector = node.vector(&mar("user1000000"));
    let key = Key::with_op(provisioning::K.0, provisioning::OP.0);
    let opened = key.open(&vector.rand, &vector.autn).unwrap();
    assert_eq!(opened.res, vector.xres.reveal());
    assert_eq!(sequence::Accepted::default().accept(opened.sqn), Ok(()));
    let Answer::ServerAssignment(Ok(answer)) = node.assign("user1000000", ServerAssignmentType::Registration)
    else {
        panic!("refused")
    };
    let profile = answer.user_data.unwrap().unwrap();
    assert_eq!(profile.default_identity().unwrap().impu.as_str(), format!("sip:user1000000@{DOMAIN}"));
    assert_eq!(answer.hss.unwrap().host.as_ref(), format!("hss.{DOMAIN}"));
    let shown = show(&hss, "user1000000");
    assert_eq!(shown["registration_state"], "registered", "{shown}");
    assert_eq!((&shown["s_cscf"], &shown["scheme"]), (&SERVER.into(), &"aka".into()));
    assert_eq!(shown["last_cx"][0]["operation"], "MAR");
    node.assign("user1000000", ServerAssignmentType::UserDeregistration);
    assert_eq!(show(&hss, "user1000000")["registration_state"], "not_registered");
    hss.stop();
}

#[test]
fn refusals_carry_the_codes_of_ts_29_229() {
    let hss = hss(0);
    let mut node = Node::connect(&hss, "n1.scscf.example");
    let mut code = |mar: &MultimediaAuth| match node.ask(&Request::MultimediaAuth(mar.clone())) {
        Answer::MultimediaAuth(Err(Failure::Refused(code))) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(&mar("nobody")), ResultCode::USER_UNKNOWN);
    let mut mixed = mar("alice");
    mixed.impu = format!("sip:bob@{DOMAIN}").into();
    assert_eq!(code(&mixed), ResultCode::IDENTITIES_DONT_MATCH);
    let mut digest = mar("alice");
    digest.scheme = Scheme::SipDigest;
    assert_eq!(code(&digest), ResultCode::AUTH_SCHEME_NOT_SUPPORTED);
}

#[test]
fn a_resynchronisation_over_the_wire() {
    let hss = hss(0);
    let mut node = Node::connect(&hss, "n1.scscf.example");
    let key = Key::with_op(provisioning::K.0, provisioning::OP.0);
    let mut usim = sequence::Accepted::up_to(77_777);
    let mut asked = mar("alice");
    let first = node.vector(&asked);
    let ahead = usim.accept(key.open(&first.rand, &first.autn).unwrap().sqn).unwrap_err();
    asked.resynchronise = Some(Resynchronisation { rand: first.rand, auts: key.auts(&first.rand, ahead) });
    let second = node.vector(&asked);
    assert_eq!(usim.accept(key.open(&second.rand, &second.autn).unwrap().sqn), Ok(()));
    assert!(show(&hss, "alice")["sqn"].as_u64().unwrap() > 77_777);
}

#[test]
fn commands_reach_the_node_that_serves_the_user() {
    let hss = hss(0);
    let mut idle = Node::connect(&hss, "a.scscf.example");
    let mut node = Node::connect(&hss, "b.scscf.example");
    let path = |verb: &str| format!("/subscribers/alice@{DOMAIN}/{verb}");
    let (status, body) = http(&hss, "POST", &path("reauthenticate"), r#"{"with":"rar"}"#);
    assert_eq!((status, body["status"].as_u64()), (409, Some(409)), "{body}");
    node.vector(&mar("alice"));
    node.assign("alice", ServerAssignmentType::Registration);

    let (demand, status, body) = command(&hss, &mut node, &path("reauthenticate"), "", ResultCode::SUCCESS);
    assert_eq!((status, &body["result_code"]), (200, &2001.into()));
    assert!(matches!(&demand, Demand::ReAuth(rar) if rar.impi == impi("alice").unwrap()), "{demand:?}");

    let code = ResultCode::Experimental(5009);
    let (demand, _, body) = command(&hss, &mut node, &path("reauthenticate"), r#"{"with":"ppr"}"#, code);
    assert_eq!((&body["result_code"], &body["experimental"]), (&5009.into(), &true.into()));
    assert!(matches!(&demand, Demand::PushProfile(ppr) if ppr.auth_data == Some(None)), "{demand:?}");

    let charging = r#"{"charging":{"primary_ccf":"aaa://ccf.example"}}"#;
    let (demand, ..) = command(&hss, &mut node, &path("push"), charging, ResultCode::SUCCESS);
    let Demand::PushProfile(ppr) = demand else { panic!("{demand:?}") };
    assert!(ppr.user_data.unwrap().is_ok());
    assert_eq!(ppr.charging.unwrap().primary_ccf.as_deref(), Some("aaa://ccf.example"));
    assert!(
        idle.until(|output| matches!(output, Output::Request(_)).then_some(())).is_none(),
        "the wrong node"
    );
    drop(idle);

    for (name, reason) in [
        ("permanent_termination", DeregistrationReason::PermanentTermination),
        ("new_server_assigned", DeregistrationReason::NewServerAssigned),
        ("server_change", DeregistrationReason::ServerChange),
        ("remove_s_cscf", DeregistrationReason::RemoveScscf),
    ] {
        node.assign("alice", ServerAssignmentType::Registration);
        let body = format!(r#"{{"reason":"{name}","public_identities":["tel:+15550000001"]}}"#);
        let (demand, status, _) = command(&hss, &mut node, &path("terminate"), &body, ResultCode::SUCCESS);
        assert_eq!(status, 200);
        let Demand::RegistrationTermination(rtr) = demand else { panic!("{demand:?}") };
        assert_eq!((rtr.reason, &*rtr.impus[0]), (reason, "tel:+15550000001"));
        let expected = if name == "new_server_assigned" { "registered" } else { "not_registered" };
        assert_eq!(show(&hss, "alice")["registration_state"], expected, "{name}");
    }
}

#[test]
fn another_node_of_the_cluster_answers_for_one_that_is_gone() {
    let hss = hss(0);
    let mut first = Node::connect(&hss, "a.scscf.example");
    first.vector(&mar("alice"));
    first.assign("alice", ServerAssignmentType::Registration);
    let mut second = Node::connect(&hss, "b.scscf.example");
    drop(first);
    std::thread::sleep(Duration::from_millis(100));
    let path = format!("/subscribers/alice@{DOMAIN}/reauthenticate");
    let (_, status, _) = command(&hss, &mut second, &path, "{}", ResultCode::SUCCESS);
    assert_eq!(status, 200);
    drop(second);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(http(&hss, "POST", &path, "{}").0, 503);
}

#[test]
fn a_demand_whose_connection_ends_is_sent_again_to_another_node() {
    let hss = hss(0);
    let mut first = Node::connect(&hss, "a.scscf.example");
    let mut second = Node::connect(&hss, "b.scscf.example");
    first.vector(&mar("alice"));
    first.assign("alice", ServerAssignmentType::Registration);
    let path = format!("/subscribers/alice@{DOMAIN}/terminate");
    let (once, again, status) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| http(&hss, "POST", &path, "{}"));
        let once = first.asked();
        drop(first);
        let again = second.asked();
        second.answers(&again, ResultCode::SUCCESS);
        (once, again, asking.join().unwrap().0)
    });
    assert_eq!(status, 200);
    let session = |message: &Message| message.text(avp::SESSION_ID).map(|text| text.to_string());
    assert_eq!(session(&once), session(&again));
    assert_eq!((once.end_to_end, once.flags & RETRANSMITTED), (again.end_to_end, 0));
    assert_ne!(again.flags & RETRANSMITTED, 0, "marked as sent before");
    assert_eq!(again.text(avp::DESTINATION_HOST), Some("b.scscf.example"));
    assert_eq!(show(&hss, "alice")["registration_state"], "not_registered");
}

#[test]
fn a_command_goes_by_the_node_it_names() {
    let hss = hss(0);
    let mut serving = Node::connect(&hss, "n1.scscf.example");
    let mut other = Node::connect(&hss, "n2.scscf.example");
    serving.vector(&mar("alice"));
    serving.assign("alice", ServerAssignmentType::Registration);
    for (verb, via) in [("reauthenticate", "n2"), ("push", "n2.scscf.example"), ("terminate", "n2")] {
        let (path, body) = (format!("/subscribers/alice@{DOMAIN}/{verb}"), format!(r#"{{"via":"{via}"}}"#));
        let (_, status, _) = command(&hss, &mut other, &path, &body, ResultCode::SUCCESS);
        assert_eq!(status, 200, "{verb}");
    }
    serving.assign("alice", ServerAssignmentType::Registration);
    let path = format!("/subscribers/alice@{DOMAIN}/reauthenticate");
    let (status, body) = http(&hss, "POST", &path, r#"{"via":"n3"}"#);
    let detail = body["detail"].as_str().unwrap_or_default();
    assert_eq!(status, 503, "{body}");
    assert!(detail.contains("n3") && detail.contains("n1.scscf.example, n2.scscf.example"), "{body}");
}

#[test]
fn faults_are_set_and_cleared() {
    let hss = hss(0);
    let mut node = Node::connect(&hss, "n1.scscf.example");
    let request = Request::MultimediaAuth(mar("alice"));
    let (status, body) = http(&hss, "POST", "/faults", r#"{"result_code":5012}"#);
    assert_eq!((status, &body["result_code"]), (200, &5012.into()));
    assert_eq!(
        node.ask(&request),
        Answer::MultimediaAuth(Err(Failure::Refused(ResultCode::UNABLE_TO_COMPLY)))
    );
    http(&hss, "POST", "/faults", r#"{"result_code":5004}"#);
    assert_eq!(
        node.ask(&request),
        Answer::MultimediaAuth(Err(Failure::Refused(ResultCode::ROAMING_NOT_ALLOWED)))
    );
    http(&hss, "POST", "/faults", r#"{"result_code":null,"delay_ms":300}"#);
    let before = Instant::now();
    assert!(matches!(node.ask(&request), Answer::MultimediaAuth(Ok(_))));
    assert!(before.elapsed() >= Duration::from_millis(300));
    http(&hss, "POST", "/faults", r#"{"delay_ms":0,"drop":true}"#);
    assert_eq!(node.try_ask(&request), None);
    http(&hss, "POST", "/faults", r#"{"delay_ms":0,"drop":false,"result_code":null}"#);
    assert!(matches!(node.ask(&request), Answer::MultimediaAuth(Ok(_))));
}

#[test]
fn provisioning_over_http() {
    let hss = hss(3);
    let body = r#"{"identities":[{"impu":"sip:carol@x.example"},{"impu":"sip:999@x.example","barred":true}],"scheme":"digest","password":"secret"}"#;
    let (status, shown) = http(&hss, "PUT", "/subscribers/carol@x.example", body);
    assert_eq!((status, &shown["scheme"]), (201, &"digest".into()));
    assert_eq!(shown["identities"][1]["barred"], true);
    assert!(!shown.to_string().contains("secret"));
    for (method, path, body, expected) in [
        ("PUT", "/subscribers/carol@x.example", r#"{"shceme":"aka"}"#, 400),
        ("PUT", "/subscribers/carol@x.example", r#"{"identities":[{"impu":"nonsense"}]}"#, 422),
        ("PUT", "/subscribers/carol@x.example", r#"{"k":"rollcall-lab-kez"}"#, 200),
        ("GET", "/subscribers/nobody@x.example", "", 404),
        ("GET", "/nothing", "", 404),
        ("POST", "/faults", r#"{"delay":1}"#, 400),
        ("POST", "/subscribers/nobody@x.example/push", "", 404),
        (
            "POST",
            "/subscribers/carol@x.example/terminate",
            r#"{"public_identities":["sip:bob@x.example"]}"#,
            422,
        ),
    ] {
        let (status, body) = http(&hss, method, path, body);
        assert_eq!(status, expected, "{method} {path}: {body}");
        if status >= 400 {
            assert_eq!(body["status"], expected, "{body}");
        }
    }
    let (_, page) = http(&hss, "GET", "/subscribers?limit=4", "");
    assert_eq!(
        (page["total"].as_u64(), page["subscribers"].as_array().unwrap().len()),
        (Some(6), 4),
        "{page}"
    );
}

#[test]
fn a_port_in_use_is_named() {
    let first = hss(0);
    let config = Config { diameter_listen: first.diameter_addr, ..Config::default() };
    let error = Hss::start(config).unwrap_err().to_string();
    assert!(error.contains(&first.diameter_addr.to_string()), "{error}");
}
