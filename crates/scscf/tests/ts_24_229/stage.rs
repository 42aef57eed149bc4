//! A user, an HSS that answers with the vectors of TS 35.208, a UE behind a P-CSCF, and virtual time.

use bytes::Bytes;
use scscf::cx::{
    self, Answer, AuthItem, AuthenticationVector, Demand, DemandAnswer, Failure, MultimediaAuth,
    MultimediaAuthAnswer, Request as CxRequest, ServerAssignment, ServerAssignmentAnswer,
    ServerAssignmentType, UserDataError,
};
use scscf::profile::{ChargingAddresses, IdentityType, PublicIdentity, ServiceProfile, Subscription};
use scscf::token::Tokens;
use scscf::{
    AskTx, CxPurpose, CxTx, Effect, Event, Impi, Impu, Moment, Outcome, Policy, Purpose, Save, Seed,
    ServerTx, SharedContact, Source, Span, Timestamp, Told, Trigger, User, aka,
};
use sip::{Digest, Message, Name, Request, Response};
use std::net::{IpAddr, Ipv4Addr};

pub const DOMAIN: &str = "ims.mnc001.mcc001.3gppnetwork.org";
pub const IMPI: &str = "001010000000001@ims.mnc001.mcc001.3gppnetwork.org";
pub const ALICE: &str = "sip:alice@ims.mnc001.mcc001.3gppnetwork.org";
pub const BARRED: &str = "sip:001010000000001@ims.mnc001.mcc001.3gppnetwork.org";
pub const TEL: &str = "tel:+15550001";
pub const CONTACT: &str = "<sip:alice@192.0.2.1:5060>";
pub const PATH: &str = "<sip:term@pcscf.example;lr>";
pub const INSTANCE: &str = "<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>";
pub const START: u64 = 1_700_000_000_000;

/// RAND, AUTN, RES, CK, IK.
type Vector = (u128, u128, u64, u128, u128);

/// TS 35.208 set 1, and the vector after its resynchronisation.
const VECTORS: [Vector; 2] = [
    (
        0x2355_3cbe_9637_a89d_218a_e64d_ae47_bf35,
        0x55f3_28b4_3577_b9b9_4a9f_fac3_54df_afb3,
        0xa542_11d5_e3ba_50bf,
        0xb40b_a9a3_c58b_2a05_bbf0_d987_b21b_f8cb,
        0xf769_bcd7_5104_4604_1276_7271_1c6d_3441,
    ),
    (
        0x9f7c_8d02_1acc_f4db_213c_cff0_c7f7_1a6a,
        0xaa74_7993_39bb_b9b9_34bb_fdc3_118f_d52f,
        0x7d3a_5720_9193_201d,
        0xb41f_4f3f_ae6b_e7aa_5692_a4af_f3b8_3783,
        0x35d4_93df_8c2e_34b5_608d_4122_245a_98ec,
    ),
];

/// The n-th vector of the HSS: the two published ones, then ones made up.
pub fn vector(n: usize) -> AuthenticationVector {
    let (rand, autn, res, ck, ik) = VECTORS.get(n).copied().unwrap_or_else(|| {
        let n = n as u128;
        (n * 7919, n * 104_729, n as u64 * 15_485_863, n + 1, n + 2)
    });
    AuthenticationVector {
        rand: rand.to_be_bytes(),
        autn: autn.to_be_bytes(),
        xres: cx::Secret::new(&res.to_be_bytes()),
        ck: cx::Secret::new(&ck.to_be_bytes()),
        ik: cx::Secret::new(&ik.to_be_bytes()),
    }
}

/// How the HSS behaves.
#[derive(Clone, Debug)]
pub struct Hss {
    pub vectors: usize,
    pub mar: Option<Result<Vec<AuthItem>, Failure>>,
    pub sar: Option<Failure>,
    pub user_data: Option<Result<Subscription, UserDataError>>,
    pub charging: Option<ChargingAddresses>,
    pub associated: Vec<Impi>,
    pub not_stored: bool,
    /// Whether it answers at once; otherwise its answers wait in `Stage::unanswered`.
    pub prompt: bool,
}

/// One scene.
pub struct Stage {
    pub user: User,
    pub policy: Policy,
    pub now: Timestamp,
    pub hss: Hss,
    pub seed: u128,
    /// Everything the user asked of the world since the last look, in order.
    pub said: Vec<Effect>,
    pub unanswered: Vec<(CxPurpose, CxRequest)>,
    pub last: Option<Save>,
    pub summary: String,
    pub trusted: bool,
    pub tx: u64,
}

pub fn identity(text: &str, barred: bool) -> PublicIdentity {
    PublicIdentity {
        impu: Impu::parse(text).unwrap(),
        text: text.into(),
        barred,
        kind: IdentityType::PublicUserIdentity,
        wildcard: None,
        display_name: None,
        alias_group: None,
    }
}

pub fn subscription(identities: Vec<PublicIdentity>) -> Subscription {
    let profile = ServiceProfile {
        identities,
        media_profile: None,
        service_ids: Vec::new(),
        criteria: Vec::new().into(),
        shared_criteria: Vec::new(),
    };
    Subscription { private_id: IMPI.into(), profiles: vec![profile] }
}

/// Three identities, the first barred.
pub fn alice() -> Subscription {
    subscription(vec![identity(BARRED, true), identity(ALICE, false), identity(TEL, false)])
}

pub fn policy() -> Policy {
    Policy {
        name: sip::Uri::parse("sip:scscf.ims.mnc001.mcc001.3gppnetwork.org:5060").unwrap(),
        domain: DOMAIN.into(),
        tokens: Tokens::new(&[3; 32]),
        registration: Default::default(),
        authentication: Default::default(),
        reg_event: Default::default(),
        reauthentication: Default::default(),
        shared_criteria: Default::default(),
    }
}

impl Stage {
    pub fn new() -> Self {
        Self {
            user: User::new(Impi::new(IMPI).unwrap()),
            policy: policy(),
            now: Timestamp::from_millis(START),
            hss: Hss {
                vectors: 0,
                mar: None,
                sar: None,
                user_data: Some(Ok(alice())),
                charging: None,
                associated: Vec::new(),
                not_stored: false,
                prompt: true,
            },
            seed: 1,
            said: Vec::new(),
            unanswered: Vec::new(),
            last: None,
            summary: String::new(),
            trusted: true,
            tx: 0,
        }
    }

    /// A user who has registered the usual contact.
    pub fn registered() -> Self {
        let mut stage = Self::new();
        let ok = stage.register_fully(&Ue::new());
        assert_eq!(ok.status().code(), 200, "{}", stage.summary);
        stage.said.clear();
        stage
    }

    /// One step, and whatever the HSS makes of it.
    pub fn step(&mut self, event: Event) {
        let Outcome { save, effects, refused: _, summary } = self.step_alone(event);
        self.last = Some(save);
        self.summary = summary.into_owned();
        for effect in effects {
            let asked = match &effect {
                Effect::CxRequest { purpose, request } => Some((*purpose, request.clone())),
                _ => None,
            };
            self.said.push(effect);
            if let Some((purpose, request)) = asked {
                self.unanswered.push((purpose, request));
            }
        }
        if self.hss.prompt {
            self.hss_answers();
        }
        let before = self.user.next_deadline();
        assert!(
            before.is_none_or(|at| at > self.now),
            "a deadline of the past: {before:?} at {:?}",
            self.now
        );
        let record = rmp_serde::to_vec_named(&self.user).unwrap();
        let mut read: User = rmp_serde::from_slice(&record).unwrap();
        assert_eq!(rmp_serde::to_vec_named(&read).unwrap(), record);
        let _ = &mut read;
    }

    fn step_alone(&mut self, event: Event) -> Outcome {
        self.seed = self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d_9e37_79b9_7f4a_7c15).wrapping_add(1);
        let moment = Moment { now: self.now, seed: Seed(self.seed) };
        self.user.step(event, moment, &self.policy)
    }

    /// The HSS answers everything that waits.
    pub fn hss_answers(&mut self) {
        while !self.unanswered.is_empty() {
            let (to, request) = self.unanswered.remove(0);
            let answer = self.hss_answer(&request);
            self.step(Event::CxAnswer { to, answer });
        }
    }

    fn hss_answer(&mut self, request: &CxRequest) -> Answer {
        match request {
            CxRequest::MultimediaAuth(_) => Answer::MultimediaAuth(match self.hss.mar.clone() {
                Some(result) => result.map(|items| MultimediaAuthAnswer { hss: None, items }),
                None => {
                    let item = AuthItem::Aka(vector(self.hss.vectors));
                    self.hss.vectors += 1;
                    Ok(MultimediaAuthAnswer { hss: None, items: vec![item] })
                }
            }),
            CxRequest::ServerAssignment(sar) => Answer::ServerAssignment(match self.hss.sar.clone() {
                Some(failure) => Err(failure),
                None => Ok(ServerAssignmentAnswer {
                    hss: None,
                    user_data: self.hss.user_data.clone().filter(|_| !sar.user_data_available),
                    charging: self.hss.charging.clone(),
                    associated_identities: self.hss.associated.clone(),
                    server_name_not_stored: self.hss.not_stored,
                }),
            }),
        }
    }

    /// Sends a request; the final response if there is one yet.
    pub fn send(&mut self, request: Request) -> Option<Response> {
        self.tx += 1;
        let tx = ServerTx(self.tx);
        let source = Source { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), trusted: self.trusted };
        self.step(Event::Request { tx, request, source });
        self.response_to(tx)
    }

    pub fn response_to(&self, tx: ServerTx) -> Option<Response> {
        let mut answers = self.said.iter().filter_map(|effect| match effect {
            Effect::Respond { tx: to, response } if *to == tx => Some(response.clone()),
            _ => None,
        });
        let answer = answers.next();
        assert!(answers.next().is_none(), "two answers to one request");
        answer
    }

    /// Sends a REGISTER that must be answered at once.
    pub fn register(&mut self, ue: &Ue) -> Response {
        self.send(ue.register()).expect("an answer")
    }

    /// An unprotected REGISTER, then the right answer, protected.
    pub fn register_fully(&mut self, ue: &Ue) -> Response {
        let challenge = self.register(&ue.clone().unprotected());
        assert_eq!(challenge.status().code(), 401, "{}", self.summary);
        self.register(&ue.clone().next().answering(&challenge))
    }

    /// Lets time pass, waking the user at each of its deadlines.
    pub fn pass(&mut self, seconds: u64) {
        let end = self.now + Span::seconds(seconds);
        while let Some(at) = self.user.next_deadline().filter(|at| *at <= end) {
            self.now = at;
            self.step(Event::Deadline);
        }
        self.now = end;
    }

    /// The HSS demands something; its answer.
    pub fn demand(&mut self, demand: Demand) -> DemandAnswer {
        self.tx += 1;
        let tx = CxTx(self.tx);
        self.step(Event::CxDemand { tx, demand });
        let answers: Vec<_> = self
            .said
            .iter()
            .filter_map(|effect| match effect {
                Effect::CxAnswer { tx: to, answer } if *to == tx => Some(answer.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(answers.len(), 1, "every demand gets exactly one answer");
        answers[0].clone()
    }

    /// An operator demands re-authentication.
    pub fn reauthenticate(&mut self, period: u64) -> Told {
        self.tx += 1;
        let ask = AskTx(self.tx);
        self.step(Event::Reauthenticate {
            by: Trigger::Operator,
            period: Some(Span::seconds(period)),
            reason: None,
            ask: Some(ask),
        });
        self.told(ask)
    }

    pub fn deregister(&mut self, reason: &str) -> Told {
        self.tx += 1;
        let ask = AskTx(self.tx);
        self.step(Event::Deregister { reason: reason.into(), ask: Some(ask) });
        self.told(ask)
    }

    fn told(&self, ask: AskTx) -> Told {
        self.said
            .iter()
            .find_map(|effect| match effect {
                Effect::Tell { ask: to, told } if *to == ask => Some(*told),
                _ => None,
            })
            .expect("an operator is told")
    }

    pub fn sibling(&mut self, impi: &str, contacts: Vec<SharedContact>) {
        self.step(Event::Sibling { impi: Impi::new(impi).unwrap(), contacts });
    }

    pub fn mars(&self) -> Vec<MultimediaAuth> {
        let mar = |effect: &Effect| match effect {
            Effect::CxRequest { request: CxRequest::MultimediaAuth(mar), .. } => Some(mar.clone()),
            _ => None,
        };
        self.said.iter().filter_map(mar).collect()
    }

    pub fn sars(&self) -> Vec<ServerAssignment> {
        let sar = |effect: &Effect| match effect {
            Effect::CxRequest { request: CxRequest::ServerAssignment(sar), .. } => Some(sar.clone()),
            _ => None,
        };
        self.said.iter().filter_map(sar).collect()
    }

    pub fn assignments(&self) -> Vec<ServerAssignmentType> {
        self.sars().into_iter().map(|sar| sar.assignment).collect()
    }

    pub fn notifies(&self) -> Vec<Request> {
        let notify = |effect: &Effect| match effect {
            Effect::Send { purpose: Purpose::Notify(_), request } => Some(request.clone()),
            _ => None,
        };
        self.said.iter().filter_map(notify).collect()
    }

    /// The record without challenges and counters: what a wrong answer must leave byte for byte.
    pub fn owned(&self) -> Vec<u8> {
        let record = serde_json::to_value(&self.user).unwrap();
        let mut record = record;
        for volatile in ["challenges", "window", "wrong_answers", "wrong_since_success", "resyncs", "hss"] {
            record["authentication"].as_object_mut().unwrap().remove(volatile);
        }
        if let Some(pending) = record["authentication"]["reauthentication"].as_object_mut() {
            pending.remove("wrong_answers");
            pending.remove("phase");
        }
        serde_json::to_vec(&record).unwrap()
    }

    pub fn record(&self) -> serde_json::Value {
        serde_json::to_value(&self.user).unwrap()
    }

    pub fn bindings(&self) -> Vec<serde_json::Value> {
        let record = self.record();
        let sets = record["registration"]["sets"].as_array().unwrap();
        sets.iter().flat_map(|set| set["bindings"].as_array().unwrap().clone()).collect()
    }

    pub fn challenges(&self) -> usize {
        self.record()["authentication"]["challenges"].as_array().unwrap().len()
    }

    pub fn expires_in(&self, binding: usize) -> u64 {
        (self.bindings()[binding]["expires_at"].as_u64().unwrap() - self.now.millis()) / 1000
    }
}

/// A REGISTER in the making: the UE, and the P-CSCF's word for it.
#[derive(Clone, Debug)]
pub struct Ue {
    pub request_uri: String,
    pub to: String,
    pub call_id: String,
    pub cseq: u32,
    pub contacts: Vec<String>,
    pub expires: Option<u32>,
    pub path: Vec<String>,
    pub lines: Vec<String>,
    pub supported: String,
    /// `integrity-protected`
    pub protected: Option<&'static str>,
    pub authorization: Option<Digest>,
}

impl Ue {
    /// An initial REGISTER over the P-CSCF, `integrity-protected="no"`.
    pub fn new() -> Self {
        Self {
            request_uri: format!("sip:{DOMAIN}"),
            to: format!("<{ALICE}>"),
            call_id: "reg-1".to_owned(),
            cseq: 1,
            contacts: vec![CONTACT.to_owned()],
            expires: Some(600_000),
            path: vec![PATH.to_owned()],
            lines: Vec::new(),
            supported: "path".to_owned(),
            protected: Some("no"),
            authorization: Some(empty_authorization(IMPI)),
        }
    }

    pub fn unprotected(mut self) -> Self {
        self.protected = Some("no");
        self
    }

    pub fn protected(mut self) -> Self {
        self.protected = Some("yes");
        self
    }

    /// A later REGISTER with the same Call-ID.
    pub fn next(mut self) -> Self {
        self.cseq += 1;
        self
    }

    pub fn call(mut self, call_id: &str) -> Self {
        call_id.clone_into(&mut self.call_id);
        self
    }

    pub fn contact(mut self, contact: &str) -> Self {
        self.contacts = vec![contact.to_owned()];
        self
    }

    pub fn expires(mut self, seconds: u32) -> Self {
        self.expires = Some(seconds);
        self
    }

    pub fn path(mut self, path: &[&str]) -> Self {
        self.path = path.iter().map(|&entry| entry.to_owned()).collect();
        self
    }

    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    pub fn flow(mut self, port: u16, reg_id: u32) -> Self {
        self.contacts =
            vec![format!("<sip:alice@192.0.2.1:{port}>;+sip.instance=\"{INSTANCE}\";reg-id={reg_id}")];
        self.supported = "path, outbound, gruu".to_owned();
        self.path = vec!["<sip:flow@pcscf.example;lr;ob>".to_owned()];
        self
    }

    /// The right answer to the challenge in `response`, protected.
    pub fn answering(self, response: &Response) -> Self {
        self.answering_with(response, |nonce| res_of(nonce).to_vec()).protected()
    }

    /// A wrong answer, protected.
    pub fn botching(self, response: &Response) -> Self {
        self.answering_with(response, |nonce| (res_of(nonce) ^ 1).to_vec()).protected()
    }

    fn answering_with(mut self, response: &Response, res: impl Fn(&str) -> Res) -> Self {
        let challenge = challenge_of(response);
        let nonce = challenge.get("nonce").unwrap().to_owned();
        let username = self.authorization.as_ref().and_then(|digest| digest.get("username")).unwrap_or(IMPI);
        self.authorization = Some(credentials(username, &nonce, &res(&nonce), Some("00000001")));
        self
    }

    pub fn with(mut self, authorization: Digest) -> Self {
        self.authorization = Some(authorization);
        self
    }

    pub fn register(&self) -> Request {
        let mut text = format!(
            "REGISTER {} SIP/2.0\r\nVia: SIP/2.0/UDP pcscf.example;branch=z9hG4bK{}{}\r\nMax-Forwards: 70\r\n\
             From: <{ALICE}>;tag=ue\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} REGISTER\r\nSupported: {}\r\n",
            self.request_uri, self.call_id, self.cseq, self.to, self.call_id, self.cseq, self.supported
        );
        for (name, values) in [("Contact", &self.contacts), ("Path", &self.path)] {
            for value in values {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        if let Some(seconds) = self.expires {
            text.push_str(&format!("Expires: {seconds}\r\n"));
        }
        if let Some(digest) = &self.authorization {
            let digest = match self.protected {
                Some(value) => digest.clone().quoted("integrity-protected", value),
                None => digest.clone(),
            };
            text.push_str(&format!("Authorization: {digest}\r\n"));
        }
        for line in &self.lines {
            text.push_str(&format!("{line}\r\n"));
        }
        text.push_str("Content-Length: 0\r\n\r\n");
        request(&text)
    }
}

type Res = Vec<u8>;

pub fn request(text: &str) -> Request {
    match Message::parse_datagram(Bytes::from(text.to_owned())).expect("a message") {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a response"),
    }
}

pub fn empty_authorization(username: &str) -> Digest {
    Digest::new()
        .quoted("username", username)
        .quoted("realm", DOMAIN)
        .quoted("uri", &format!("sip:{DOMAIN}"))
        .quoted("nonce", "")
        .quoted("response", "")
}

pub fn challenge_of(response: &Response) -> Digest {
    response.digest(Name::WwwAuthenticate).unwrap().expect("a challenge")
}

/// Credentials of a UE whose USIM computed `res`; without `nc` there is no qop.
pub fn credentials(username: &str, nonce: &str, res: &[u8], nc: Option<&str>) -> Digest {
    let uri = format!("sip:{DOMAIN}");
    let qop = nc.map(|nc| aka::Qop { nc, cnonce: "0a4f113b", qop: "auth" });
    let answer = aka::Answer { username, realm: DOMAIN, nonce, method: "REGISTER", uri: &uri, qop };
    let response = aka::response(res, &answer);
    let digest = Digest::new()
        .quoted("username", username)
        .quoted("realm", DOMAIN)
        .quoted("nonce", nonce)
        .quoted("uri", &uri)
        .quoted("response", std::str::from_utf8(&response).unwrap())
        .token("algorithm", "AKAv1-MD5");
    match nc {
        Some(nc) => digest.quoted("cnonce", "0a4f113b").token("qop", "auth").token("nc", nc),
        None => digest,
    }
}

/// RES of the vector whose nonce this is.
pub fn res_of(nonce: &str) -> ResOf {
    let found = (0..500).map(vector).find(|vector| aka::nonce(vector) == nonce).expect("a nonce of the HSS");
    ResOf(found.xres.reveal().to_vec())
}

pub struct ResOf(Vec<u8>);

impl ResOf {
    pub fn to_vec(&self) -> Vec<u8> {
        self.0.clone()
    }
}

impl std::ops::BitXor<u8> for ResOf {
    type Output = Self;

    fn bitxor(mut self, bits: u8) -> Self {
        self.0[0] ^= bits;
        self
    }
}
