//! A node between an HSS that does as it is told and a phone that speaks octets.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

pub mod cluster;

use diameter::cx::{Assigned, HssAnswer, HssRequest, decode_request, encode_answer, encode_demand};
use diameter::peer::{Config, Output, Peer};
use diameter::{Identity, Tick};
use md5::{Digest, Md5};
use node::{Node, Running};
use scscf::cx::{
    AuthItem, AuthenticationVector, Demand, DemandAnswer, MultimediaAuthAnswer, ResultCode, Secret,
};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const DOMAIN: &str = "ims.example.org";
pub const RES: [u8; 8] = *b"resresre";

/// An HSS: every user exists, every vector has the same XRES.
pub struct Hss {
    pub address: SocketAddr,
    pub silent: Arc<AtomicBool>,
    pub requests: Arc<AtomicUsize>,
    demands: Demands,
    over: Arc<AtomicBool>,
}

type Demands = Arc<Mutex<Vec<(Demand, Sender<DemandAnswer>)>>>;

impl Hss {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hss = Self {
            address: listener.local_addr().unwrap(),
            silent: Arc::default(),
            requests: Arc::default(),
            demands: Arc::default(),
            over: Arc::default(),
        };
        let (silent, requests) = (Arc::clone(&hss.silent), Arc::clone(&hss.requests));
        let (demands, over) = (Arc::clone(&hss.demands), Arc::clone(&hss.over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                serve(stream.unwrap(), &silent, &requests, &demands, &over);
            }
        });
        hss
    }

    /// Sends a request to the node; the answer comes by the channel.
    pub fn demand(&self, demand: Demand) -> Receiver<DemandAnswer> {
        let (sender, receiver) = channel();
        self.demands.lock().unwrap().push((demand, sender));
        receiver
    }
}

impl Drop for Hss {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut stream: TcpStream,
    silent: &AtomicBool,
    requests: &AtomicUsize,
    demands: &Mutex<Vec<(Demand, Sender<DemandAnswer>)>>,
    over: &AtomicBool,
) {
    let identity =
        Identity { host_ip: IpAddr::V4(Ipv4Addr::LOCALHOST), ..Identity::new("hss.ims.example.org", DOMAIN) };
    let begun = Instant::now();
    let now = || Tick(begun.elapsed().as_millis() as u64);
    let mut peer = Peer::responder(identity.clone(), Config::hss(7), now());
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let mut buffer = [0; 65536];
    let mut waiting: Vec<Option<Sender<DemandAnswer>>> = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let mut out = Vec::new();
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => peer.receive(&buffer[..length], now(), &mut out),
            Err(_) => peer.expire(now(), &mut out),
        }
        if peer.is_open() {
            let remote = peer.remote().map(|(host, realm)| (host.to_owned(), realm.to_owned()));
            for (demand, sender) in demands.lock().unwrap().drain(..) {
                let (host, realm) = remote.clone().unwrap();
                let session = format!("hss;1;{}", waiting.len());
                let message = encode_demand(&demand, None, &identity, &session, &host, &realm);
                peer.request(message, waiting.len() as u64, 3000, now(), &mut out);
                waiting.push(Some(sender));
            }
        }
        let mut at = 0;
        while at < out.len() {
            let output = out[at].clone();
            at += 1;
            match output {
                Output::Transmit(bytes) => {
                    if stream.write_all(&bytes).is_err() {
                        return;
                    }
                }
                Output::Request(message) => {
                    requests.fetch_add(1, Ordering::Relaxed);
                    if !silent.load(Ordering::Relaxed) {
                        let answer = match decode_request(&message, &identity) {
                            Ok(request) => encode_answer(&message, &answer(&request), &identity),
                            Err(refusal) => refusal,
                        };
                        peer.answer(answer, &mut out);
                    }
                }
                Output::Answer { token, message } => {
                    if let Some(sender) = waiting[token as usize].take() {
                        let _ = sender.send(diameter::cx::decode_demand_answer(&message));
                    }
                }
                Output::Close { .. } => return,
                Output::Open { .. } | Output::Failed { .. } => {}
            }
        }
    }
}

fn answer(request: &HssRequest) -> HssAnswer {
    match request {
        HssRequest::MultimediaAuth(_) => {
            static NEXT: AtomicUsize = AtomicUsize::new(1);
            let mut rand = [9; 16];
            rand[..8].copy_from_slice(&(NEXT.fetch_add(1, Ordering::Relaxed) as u64).to_be_bytes());
            let vector = AuthenticationVector {
                rand,
                autn: [2; 16],
                xres: Secret::new(&RES),
                ck: Secret::new(&[3; 16]),
                ik: Secret::new(&[4; 16]),
            };
            HssAnswer::MultimediaAuth(MultimediaAuthAnswer { hss: None, items: vec![AuthItem::Aka(vector)] })
        }
        HssRequest::ServerAssignment(sar) => {
            let name = sar.impi.as_ref().unwrap().as_str().to_owned();
            let xml = format!(
                "<IMSSubscription><PrivateID>{name}</PrivateID><ServiceProfile><PublicIdentity><Identity>sip:{name}\
                 </Identity></PublicIdentity></ServiceProfile></IMSSubscription>"
            );
            let user_data = Some(xml.into_bytes().into());
            HssAnswer::ServerAssignment(Assigned { user_data, ..Assigned::default() })
        }
        HssRequest::UserAuthorization(_) | HssRequest::Location(_) => {
            HssAnswer::Result(ResultCode::UNABLE_TO_COMPLY)
        }
    }
}

/// The node under test.
pub struct Scene {
    pub hss: Hss,
    pub node: Option<Running>,
    pub sip: SocketAddr,
    pub http: SocketAddr,
}

pub fn scene(overrides: &[(&str, &str)]) -> Scene {
    scene_on(Arc::new(store::Memory::new()), overrides)
}

pub fn scene_on(store: Arc<dyn store::Store>, overrides: &[(&str, &str)]) -> Scene {
    let hss = Hss::start();
    let peer = format!("tcp:{}", hss.address);
    let mut environment = vec![
        ("ROLLCALL__NODE__DOMAIN", DOMAIN),
        ("ROLLCALL__NODE__NAME", "sip:scscf.ims.example.org:5060"),
        ("ROLLCALL__NODE__STOP_WITHIN", "3"),
        ("ROLLCALL__SIP__LISTEN", "udp:127.0.0.1:0,tcp:127.0.0.1:0"),
        ("ROLLCALL__HTTP__LISTEN", "127.0.0.1:0"),
        ("ROLLCALL__CX__PEERS", &peer),
        ("ROLLCALL__AUTHENTICATION__MAX_CHALLENGES_PER_MINUTE", "100000"),
    ];
    environment.extend_from_slice(overrides);
    let environment = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let config = node::Config::read("", environment).unwrap();
    let node = Node::start_on(config, store).unwrap();
    let (sip, http) = (node.sip_addrs[0].1, node.http_addr);
    assert!(node.sip_addrs.iter().all(|(_, address)| *address == sip), "{:?}", node.sip_addrs);
    let scene = Scene { hss, node: Some(node), sip, http };
    let ready = eventually(Duration::from_secs(5), || (scene.get("/readyz").0 == 200).then_some(()));
    assert!(ready.is_some(), "{:?}", scene.get("/readyz"));
    scene
}

impl Scene {
    pub fn get(&self, path: &str) -> (u16, String) {
        http(self.http, "GET", path, "")
    }

    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        http(self.http, "POST", path, body)
    }

    pub fn user(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(&format!("/v1/users/{name}@{DOMAIN}")).1).unwrap()
    }

    /// The value of a metric, as `name{labels}`.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").1;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name} in {text}")).parse::<f64>().unwrap() as u64
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop_and_wait();
        }
    }
}

pub fn http(to: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let Ok(mut stream) = TcpStream::connect(to) else { return (0, String::new()) };
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return (status, body.to_owned());
    }
    let (mut plain, mut rest) = (String::new(), body);
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || tail.len() < size {
            break;
        }
        plain.push_str(&tail[..size]);
        rest = tail[size..].trim_start_matches("\r\n");
    }
    (status, plain)
}

pub fn eventually<T>(within: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A phone on UDP.
pub struct Phone {
    pub socket: UdpSocket,
    pub to: SocketAddr,
    pub name: String,
    pub cseq: u32,
}

pub fn phone(scene: &Scene, name: &str) -> Phone {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    Phone { socket, to: scene.sip, name: name.into(), cseq: 0 }
}

impl Phone {
    pub fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.to).unwrap();
    }

    /// The next message that is no provisional response.
    pub fn take(&self) -> String {
        let mut buffer = [0; 65536];
        loop {
            let length = self.socket.recv(&mut buffer).expect("the node answers");
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if !text.starts_with("SIP/2.0 1") {
                return text;
            }
        }
    }

    pub fn request(&mut self, method: &str, uri: &str, lines: &str) -> String {
        self.cseq += 1;
        let (port, name, cseq) = (self.socket.local_addr().unwrap().port(), &self.name, self.cseq);
        let mut text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{name}{port}x{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{name}@{DOMAIN}>;tag=t{port}\r\nTo: <sip:{name}@{DOMAIN}>\r\n\
             Call-ID: c{port}\r\nCSeq: {cseq} {method}\r\n"
        );
        text.push_str(lines);
        text.push_str("Content-Length: 0\r\n\r\n");
        text
    }

    pub fn register(&mut self, authorization: &str, expires: u32) -> String {
        let (port, name) = (self.socket.local_addr().unwrap().port(), self.name.clone());
        let lines = format!(
            "Contact: <sip:{name}@127.0.0.1:{port}>;expires={expires}\r\nPath: <sip:term@127.0.0.1:{port};lr>\r\n\
             Require: path\r\nSupported: path\r\nAuthorization: Digest username=\"{name}@{DOMAIN}\",realm=\"{DOMAIN}\",\
             uri=\"sip:{DOMAIN}\",{authorization}\r\n"
        );
        self.request("REGISTER", &format!("sip:{DOMAIN}"), &lines)
    }

    pub fn challenge(&mut self) -> String {
        let text = self.register("nonce=\"\",response=\"\"", 600);
        self.send(&text);
        let answer = self.take();
        assert!(answer.starts_with("SIP/2.0 401"), "{answer}");
        answer.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    pub fn answer_with(&mut self, nonce: &str, res: &[u8], expires: u32) -> String {
        let first = md5(&[format!("{}@{DOMAIN}:{DOMAIN}:", self.name).as_bytes(), res].concat());
        let second = md5(format!("REGISTER:sip:{DOMAIN}").as_bytes());
        let response = md5(format!("{first}:{nonce}:00000001:abc:auth:{second}").as_bytes());
        let authorization = format!(
            "nonce=\"{nonce}\",algorithm=AKAv1-MD5,qop=auth,nc=00000001,cnonce=\"abc\",response=\"{response}\",\
             integrity-protected=\"yes\""
        );
        let text = self.register(&authorization, expires);
        self.send(&text);
        self.take()
    }

    pub fn register_fully(&mut self) -> String {
        let nonce = self.challenge();
        let ok = self.answer_with(&nonce, &RES, 600);
        assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
        ok
    }
}

fn md5(octets: &[u8]) -> String {
    Md5::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}
