//! What stands around one user, with virtual time: an HSS with vectors and a profile, UEs with a USIM, subscribers.
//!
//! `World::step` is the only way to the user, and after each step it holds the user against what is always true.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

mod calls;
mod parties;

pub use calls::*;
pub use parties::*;

use base64::{Engine, engine::general_purpose::STANDARD};
use scscf::aka::{self, Answer, Qop};
use scscf::cx::{self, AuthItem, AuthenticationVector, Secret, ServerAssignmentType};
use scscf::profile::Subscription;
use scscf::view::View;
use scscf::{
    AskTx, CxPurpose, CxTx, Effect, Event, Impi, Moment, Outcome, Policy, Purpose, Reply, Save, Seed,
    ServerTx, Source, Span, Timestamp, Told, Trigger, User,
};
use sip::reginfo::{Contact, Reginfo, Registration};
use sip::{Method, Name, Request, Response, Status};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub const IMPI: &str = "alice@home1.net";
pub const ALICE: &str = "sip:alice@home1.net";
pub const TEL: &str = "tel:+15551234";
pub const BARRED: &str = "sip:alice-barred@home1.net";
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A request of the user that awaits its fate.
#[derive(Clone, Debug)]
pub struct Sent {
    pub purpose: Purpose,
    pub request: Request,
}

impl Sent {
    pub fn document(&self) -> Reginfo {
        Reginfo::parse(self.request.body()).unwrap()
    }

    pub fn registration(&self, aor: &str) -> Registration {
        self.document().registrations.into_iter().find(|registration| registration.aor == aor).unwrap()
    }

    pub fn contacts(&self, aor: &str) -> Vec<Contact> {
        self.registration(aor).contacts
    }

    /// State and event of each contact of `aor`, as `active registered`.
    pub fn told(&self, aor: &str) -> Vec<String> {
        self.contacts(aor).iter().map(|c| format!("{} {}", c.state.as_str(), c.event.as_str())).collect()
    }

    pub fn event(&self) -> String {
        self.request.get(Name::Event).unwrap().into_owned()
    }

    pub fn state(&self) -> String {
        self.request.get(Name::SubscriptionState).unwrap().into_owned()
    }

    pub fn version(&self) -> u32 {
        self.document().version
    }
}

pub struct World {
    pub user: User,
    pub policy: Policy,
    pub now: Timestamp,
    pub chance: u64,
    pub profile: Subscription,
    /// XRES by nonce.
    pub vectors: BTreeMap<String, [u8; 16]>,
    /// Everything that the HSS was asked.
    pub asked: Vec<cx::Request>,
    /// Answers of the HSS on their way.
    pub pending: VecDeque<(CxPurpose, cx::Answer)>,
    /// Whether they arrive at once.
    pub prompt: bool,
    /// What the HSS believes: the user is registered here.
    pub believed: bool,
    pub answers: BTreeMap<u64, Response>,
    pub open: BTreeSet<u64>,
    pub sent: Vec<Sent>,
    /// Effects in order, as a ladder shows them.
    pub arrows: Vec<String>,
    pub calls: Calls,
    pub told: Vec<Told>,
    pub demand_answers: Vec<cx::DemandAnswer>,
    pub siblings_told: Vec<Vec<scscf::SharedContact>>,
    pub erased: bool,
    pub refused: Option<scscf::Rejection>,
    /// Names of remote targets and Call-IDs, for ladders.
    pub names: BTreeMap<String, String>,
    /// Highest CSeq and version seen per dialog, by Call-ID and our tag.
    pub heard: BTreeMap<(String, String), (u32, u32)>,
    serial: u64,
}

impl World {
    pub fn new() -> Self {
        Self::with(
            policy(),
            profile(vec![identity(ALICE, false), identity(TEL, false), identity(BARRED, true)]),
        )
    }

    pub fn with(policy: Policy, profile: Subscription) -> Self {
        Self {
            user: User::new(Impi::new(IMPI).unwrap()),
            policy,
            now: START,
            chance: 1,
            profile,
            vectors: BTreeMap::new(),
            asked: Vec::new(),
            pending: VecDeque::new(),
            prompt: true,
            believed: false,
            answers: BTreeMap::new(),
            open: BTreeSet::new(),
            sent: Vec::new(),
            arrows: Vec::new(),
            calls: Calls::default(),
            told: Vec::new(),
            demand_answers: Vec::new(),
            siblings_told: Vec::new(),
            erased: false,
            refused: None,
            names: BTreeMap::new(),
            heard: BTreeMap::new(),
            serial: 0,
        }
    }

    /// A world where ue1 is registered and nobody watches.
    pub fn registered() -> (Self, Ue) {
        let mut world = Self::new();
        let mut ue = Ue::one();
        world.attach(&mut ue);
        (world, ue)
    }

    pub fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn moment(&mut self) -> Moment {
        self.chance += 1;
        let seed = u128::from(self.chance).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        Moment { now: self.now, seed: Seed(seed) }
    }

    /// One event, and what it asks of the world.
    pub fn step(&mut self, event: Event) {
        let moment = self.moment();
        let is_deadline = matches!(event, Event::Deadline);
        let before = self.user.clone();
        let outcome = self.user.step(event.clone(), moment, &self.policy);
        self.hold(before, event, moment, &outcome, is_deadline);
        self.refused.clone_from(&outcome.refused);
        if outcome.save == Save::Erase {
            self.erased = true;
            self.user = User::new(Impi::new(IMPI).unwrap());
        } else {
            self.erased = false;
        }
        for effect in outcome.effects {
            self.perform(effect);
        }
        while self.prompt && !self.pending.is_empty() {
            self.deliver();
        }
    }

    /// What is true of every step.
    fn hold(&self, before: User, event: Event, moment: Moment, outcome: &Outcome, is_deadline: bool) {
        let what = format!("{event:?}");
        let record = record(&self.user);
        let reloaded: User = rmp_serde::from_slice(&record).unwrap();
        assert_eq!(self::record(&reloaded), record, "what is written reads back: {what}");
        assert_eq!(saved(reloaded.view()), saved(self.user.view()), "what is written reads back: {what}");
        if let Some(deadline) = self.user.next_deadline().filter(|_| outcome.save != Save::Erase) {
            assert!(deadline >= self.now, "a deadline in the past after {what}");
            assert!(deadline > self.now || !is_deadline, "a deadline that is not met by {what}");
        }
        match outcome.save {
            // What only limits rates need not be saved; what anyone could see must be.
            Save::Unchanged => {
                assert_eq!(saved(before.view()), saved(self.user.view()), "unchanged after {what}");
            }
            Save::Snapshot => {}
            Save::Erase => {
                let view = self.user.view();
                let nothing = view.bindings.is_empty()
                    && view.subscriptions.is_empty()
                    && view.third_party.is_empty()
                    && view.authentication.challenges_outstanding == 0;
                assert!(nothing, "erased while owning something after {what}");
            }
        }
        let mut twin = before;
        let again = twin.step(event, moment, &self.policy);
        assert_eq!(self::record(&twin), record, "the same moment, the same user: {what}");
        assert_eq!(octets(&again), octets(outcome), "the same moment, the same bytes: {what}");
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Respond { tx, response } if self.responded(tx.0, &response) => {}
            Effect::Respond { tx, response } => {
                assert!(self.open.remove(&tx.0), "an answer nobody awaits: {response:?}");
                let to = self.name_of(response.call_id());
                self.arrows.push(format!("{to} {}", response.status().code()));
                self.answers.insert(tx.0, response);
            }
            Effect::Send { purpose, request } => {
                self.listen(&request, purpose);
                self.sent.push(Sent { purpose, request });
            }
            Effect::CxRequest { purpose, request } => {
                self.arrows.push(format!("hss {}", cx_words(&request)));
                let answer = self.hss(&request);
                self.asked.push(request);
                self.pending.push_back((purpose, answer));
            }
            Effect::CxAnswer { answer, .. } => {
                self.arrows.push(format!("hss {}", answer.result));
                self.demand_answers.push(answer);
            }
            Effect::Tell { told, .. } => {
                self.arrows.push(format!("operator {}", told_words(told)));
                self.told.push(told);
            }
            Effect::TellSiblings { contacts, .. } => self.siblings_told.push(contacts),
            Effect::Relay { .. } | Effect::Cancel { .. } | Effect::Pass { .. } => self.forward(effect),
        }
    }

    /// What a receiver of the user's requests insists on.
    fn listen(&mut self, request: &Request, purpose: Purpose) {
        let to = self.name_of(request.call_id());
        match purpose {
            Purpose::Relay(..) => panic!("what is forwarded is no request of the user's own"),
            Purpose::Release(..) => {
                let to = next_of(request).unwrap_or_else(|| whose(request.uri_text()));
                let why = words(request.get(Name::Reason).as_deref());
                self.arrows.push(format!("{to} BYE{why}"));
            }
            Purpose::Refer => {
                let to =
                    self.names.get(request.uri_text()).cloned().unwrap_or_else(|| request.uri_text().into());
                self.arrows.push(format!("{to} REFER"));
            }
            Purpose::ThirdPartyRegister(_) => {
                let to = self.hear_server(request);
                let seconds = request.expires().unwrap().unwrap();
                self.arrows.push(format!("{to} REGISTER expires={seconds}"));
            }
            Purpose::Notify(_) => {
                let sent = Sent { purpose, request: request.clone() };
                assert!(
                    self.sent.iter().all(|other| dialog(&other.request) != dialog(request)),
                    "one NOTIFY at a time in a dialog"
                );
                let (cseq, version) = (request.cseq().number, sent.version());
                if let Some(&(last_cseq, last_version)) = self.heard.get(&dialog(request)) {
                    assert!(cseq > last_cseq && version > last_version, "CSeq and version rise");
                }
                self.heard.insert(dialog(request), (cseq, version));
                let words = sent.document().registrations.first().map_or_else(String::new, |first| {
                    let contacts: Vec<_> =
                        first.contacts.iter().map(|contact| contact.event.as_str()).collect();
                    format!("{} {}", first.state.as_str(), contacts.join(", "))
                });
                let state = sent.state();
                let state = match state.split_once(";expires=") {
                    Some((state, _)) => state,
                    None => &state,
                };
                self.arrows.push(format!("{to} NOTIFY {}: {state}: {words}", sent.event()));
            }
        }
    }

    /// What an application server insists on; its name.
    fn hear_server(&mut self, request: &Request) -> String {
        let cseq = request.cseq().number;
        let at = (self.now - START).as_seconds() as u32;
        if let Some((last, since)) = self.heard.insert(dialog(request), (cseq, at)) {
            assert!(cseq > last, "CSeq rises");
            let waits = self.sent.iter().any(|other| other.request.call_id() == request.call_id());
            assert!(!waits || at - since >= 180, "one REGISTER at a time to a server");
            // What has had no answer for so long has been given up.
            self.sent.retain(|other| other.request.call_id() != request.call_id());
        }
        assert!(request.to_tag().is_none() && !request.has(Name::Authorization) && !request.has(Name::Path));
        server_of(request)
    }

    pub fn name_of(&self, call_id: &str) -> String {
        self.names.get(call_id).cloned().unwrap_or_else(|| call_id.into())
    }

    /// The answer of an HSS in good health.
    fn hss(&mut self, request: &cx::Request) -> cx::Answer {
        match request {
            cx::Request::MultimediaAuth(_) => {
                let serial = self.next();
                let mut rand = [0; 16];
                rand[..8].copy_from_slice(&serial.to_be_bytes());
                let mut xres = [0x5a; 16];
                xres[8..].copy_from_slice(&serial.to_be_bytes());
                let vector = AuthenticationVector {
                    rand,
                    autn: [9; 16],
                    xres: Secret::new(&xres),
                    ck: Secret::new(&[1; 16]),
                    ik: Secret::new(&[2; 16]),
                };
                self.vectors.insert(aka::nonce(&vector), xres);
                cx::Answer::MultimediaAuth(Ok(cx::MultimediaAuthAnswer {
                    hss: None,
                    items: vec![AuthItem::Aka(vector)],
                }))
            }
            cx::Request::ServerAssignment(request) => {
                let assigns = matches!(
                    request.assignment,
                    ServerAssignmentType::Registration | ServerAssignmentType::ReRegistration
                );
                let says_nothing = matches!(
                    request.assignment,
                    ServerAssignmentType::NoAssignment
                        | ServerAssignmentType::AuthenticationFailure
                        | ServerAssignmentType::AuthenticationTimeout
                );
                self.believed = if says_nothing { self.believed } else { assigns };
                cx::Answer::ServerAssignment(Ok(cx::ServerAssignmentAnswer {
                    hss: None,
                    user_data: assigns.then(|| Ok(self.profile.clone())),
                    charging: None,
                    associated_identities: Vec::new(),
                    server_name_not_stored: false,
                }))
            }
        }
    }

    /// The oldest answer of the HSS arrives.
    pub fn deliver(&mut self) {
        if let Some((to, answer)) = self.pending.pop_front() {
            self.step(Event::CxAnswer { to, answer });
        }
    }

    /// A request arrives; the transaction it has.
    pub fn arrive(&mut self, request: Request, trusted: bool) -> u64 {
        let tx = self.next();
        self.open.insert(tx);
        let source = Source { address: [127, 0, 0, 1].into(), trusted };
        self.step(Event::Request { tx: ServerTx(tx), request, source });
        tx
    }

    /// A request arrives, and is answered.
    pub fn ask(&mut self, request: Request) -> Response {
        let tx = self.arrive(request, true);
        self.answers.remove(&tx).unwrap()
    }

    pub fn build_register(&mut self, ue: &mut Ue, proof: Proof, protected: bool) -> Request {
        ue.cseq += 1;
        self.names.insert(ue.call_id.clone(), ue.name.into());
        let uri = sip::NameAddr::parse(&ue.contact).unwrap().uri;
        self.names.insert(uri.as_str().into(), ue.name.into());
        let nonce = match proof {
            Proof::None => String::new(),
            Proof::Right | Proof::Wrong | Proof::Silent | Proof::Synchronise => ue.nonce.clone(),
        };
        let response = match proof {
            Proof::None | Proof::Silent => String::new(),
            Proof::Right => self.answer(&nonce, &self.vectors.get(&nonce).copied().unwrap_or_default()),
            Proof::Synchronise => self.answer(&nonce, b""),
            Proof::Wrong => "0123456789abcdef0123456789abcdef".into(),
        };
        let qop = match proof {
            Proof::None => "",
            Proof::Right | Proof::Wrong | Proof::Silent => {
                ", algorithm=AKAv1-MD5, qop=auth, nc=00000001, cnonce=\"abc\""
            }
            Proof::Synchronise => {
                ", algorithm=AKAv1-MD5, qop=auth, nc=00000001, cnonce=\"abc\", auts=\"uoU/PBJrvTvaszz5vaI=\""
            }
        };
        let protection = if protected { "yes" } else { "no" };
        let path: String = ue.path.iter().map(|path| format!("Path: {path}\r\n")).collect();
        let (n, contact) = (
            self.next(),
            match ue.contact.as_str() {
                "*" => "*".to_owned(),
                contact => format!("{contact};expires={}", ue.expires),
            },
        );
        let text = format!(
            "REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{n}\r\nMax-Forwards: 70\r\n\
             From: <{impu}>;tag={name}\r\nTo: <{impu}>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n{path}\
             Contact: {contact}\r\nExpires: {expires}\r\nSupported: {supported}\r\n\
             Authorization: Digest username=\"{IMPI}\", realm=\"home1.net\", nonce=\"{nonce}\", uri=\"sip:home1.net\", \
             response=\"{response}\"{qop}, integrity-protected=\"{protection}\"\r\nContent-Length: 0\r\n\r\n",
            impu = ue.impu,
            name = ue.name,
            call_id = ue.call_id,
            cseq = ue.cseq,
            expires = ue.expires,
            supported = ue.supported,
        );
        let request = request(&text);
        ue.last = Some(request.clone());
        request
    }

    fn answer(&self, nonce: &str, password: &[u8]) -> String {
        let answer = Answer {
            username: IMPI,
            realm: "home1.net",
            nonce,
            method: "REGISTER",
            uri: "sip:home1.net",
            qop: Some(Qop { nc: "00000001", cnonce: "abc", qop: "auth" }),
        };
        String::from_utf8(aka::response(password, &answer).to_vec()).unwrap()
    }

    pub fn register(&mut self, ue: &mut Ue, proof: Proof, protected: bool) -> Response {
        let request = self.build_register(ue, proof, protected);
        let response = self.ask(request);
        ue.learn(&response);
        response
    }

    /// An initial registration from challenge to 200.
    pub fn attach(&mut self, ue: &mut Ue) {
        let challenge = self.register(ue, Proof::None, false);
        assert_eq!(challenge.status(), Status::UNAUTHORIZED);
        let response = self.register(ue, Proof::Right, true);
        assert_eq!(response.status(), Status::OK);
    }

    pub fn build_subscribe(&mut self, watcher: &mut Watcher, expires: Option<u32>) -> Request {
        watcher.cseq += 1;
        self.names.insert(watcher.call_id.clone(), watcher.name.into());
        let n = self.next();
        let to_tag = match watcher.to_tag.as_str() {
            "" => String::new(),
            tag => format!(";tag={tag}"),
        };
        let routes: String =
            watcher.record_route.iter().map(|route| format!("Record-Route: {route}\r\n")).collect();
        let expires = expires.map_or_else(String::new, |expires| format!("Expires: {expires}\r\n"));
        let event = match watcher.event.as_str() {
            "" => String::new(),
            event => format!("Event: {event}\r\n"),
        };
        request(&format!(
            "SUBSCRIBE {watched} SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK{n}\r\nMax-Forwards: 70\r\n\
             From: <{watched}>;tag={tag}\r\nTo: <{watched}>{to_tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} SUBSCRIBE\r\n\
             {routes}{event}{expires}{identity}{extra}Contact: {contact}\r\nContent-Length: 0\r\n\r\n",
            watched = watcher.watched,
            via = watcher.via_host,
            tag = watcher.tag,
            call_id = watcher.call_id,
            cseq = watcher.cseq,
            identity = watcher.identity,
            extra = watcher.extra,
            contact = watcher.contact,
        ))
    }

    pub fn subscribe(&mut self, watcher: &mut Watcher, expires: Option<u32>) -> Response {
        let request = self.build_subscribe(watcher, expires);
        let response = self.ask(request);
        if response.status().is_success() {
            watcher.to_tag = response.to_tag().unwrap().into();
        }
        response
    }

    /// Subscribes, and answers the NOTIFY that follows.
    pub fn watch(&mut self, watcher: &mut Watcher) -> Sent {
        assert_eq!(self.subscribe(watcher, Some(600_000)).status(), Status::OK);
        let notify = self.only_notify();
        self.reply(&notify, 200);
        notify
    }

    pub fn take(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// The one request that the user has sent.
    pub fn only_notify(&mut self) -> Sent {
        let mut sent = self.take();
        assert_eq!(sent.len(), 1, "{sent:?}");
        let sent = sent.remove(0);
        assert_eq!(sent.request.method(), &Method::Notify);
        sent
    }

    /// The NOTIFY to `watcher`, which is taken.
    pub fn notify_to(&mut self, watcher: &Watcher) -> Sent {
        self.find_notify(watcher).unwrap()
    }

    pub fn find_notify(&mut self, watcher: &Watcher) -> Option<Sent> {
        let at = self.sent.iter().position(|sent| sent.request.call_id() == watcher.call_id)?;
        Some(self.sent.remove(at))
    }

    pub fn reply(&mut self, sent: &Sent, status: u16) {
        let response = sent.request.respond(Status::new(status).unwrap(), "remote").finish();
        self.sent.retain(|other| other.request != sent.request);
        self.step(Event::Reply { to: sent.purpose, reply: Reply::Response(response) });
    }

    pub fn time_out(&mut self, sent: &Sent) {
        self.sent.retain(|other| other.request != sent.request);
        self.step(Event::Reply { to: sent.purpose, reply: Reply::Timeout });
    }

    /// Answers everything that is sent until nothing more is, and gives it back.
    pub fn answer_all(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Some(sent) = self.sent.first().cloned() {
            self.reply(&sent, 200);
            all.push(sent);
        }
        all
    }

    /// Time passes; deadlines are met on the way.
    pub fn pass(&mut self, span: Span) {
        let until = self.now + span;
        while let Some(deadline) = self.user.next_deadline().filter(|&deadline| deadline <= until) {
            self.now = deadline;
            self.step(Event::Deadline);
        }
        self.now = until;
    }

    pub fn reauthenticate(&mut self, period: Option<u64>) -> Told {
        let ask = Some(AskTx(self.next()));
        let period = period.map(Span::seconds);
        self.step(Event::Reauthenticate { by: Trigger::Operator, period, reason: None, ask });
        self.told.pop().unwrap()
    }

    pub fn demand(&mut self, demand: cx::Demand) -> cx::DemandAnswer {
        let tx = CxTx(self.next());
        self.step(Event::CxDemand { tx, demand });
        self.demand_answers.pop().unwrap()
    }

    pub fn terminate(&mut self, reason: cx::DeregistrationReason) -> cx::DemandAnswer {
        self.believed &= reason == cx::DeregistrationReason::RemoveScscf;
        self.demand(cx::Demand::RegistrationTermination(cx::RegistrationTermination {
            impi: Impi::new(IMPI).unwrap(),
            associated_identities: Vec::new(),
            impus: Vec::new(),
            reason,
            reason_info: None,
        }))
    }

    /// The owner dies; another loads the record.
    pub fn fail_over(&mut self) {
        self.user = rmp_serde::from_slice(&record(&self.user)).unwrap();
        self.sent.clear();
        self.pending.clear();
        self.open.clear();
        self.step(Event::Resumed);
    }

    pub fn assignments(&self) -> Vec<ServerAssignmentType> {
        self.asked
            .iter()
            .filter_map(|request| match request {
                cx::Request::ServerAssignment(request) => Some(request.assignment),
                cx::Request::MultimediaAuth(_) => None,
            })
            .collect()
    }

    pub fn seconds(&self, at: Timestamp) -> u32 {
        at.seconds_after(self.now)
    }
}

fn dialog(request: &Request) -> (String, String) {
    (request.call_id().into(), request.from_tag().unwrap_or_default().into())
}

/// What of a view outlives the actor.
fn saved(mut view: View) -> View {
    view.sessions.retain(|session| session.state != "early");
    View { next_deadline: None, releases: Vec::new(), ..view }
}

pub fn record(user: &User) -> Vec<u8> {
    rmp_serde::to_vec_named(user).unwrap()
}

/// What effects look like on the wire.
fn octets(outcome: &Outcome) -> Vec<String> {
    outcome
        .effects
        .iter()
        .map(|effect| match effect {
            Effect::Respond { tx, response } => format!("{tx:?} {:?}", response.as_bytes()),
            Effect::Send { purpose, request } => format!("{purpose:?} {:?}", request.as_bytes()),
            Effect::CxRequest { .. }
            | Effect::CxAnswer { .. }
            | Effect::Tell { .. }
            | Effect::TellSiblings { .. }
            | Effect::Cancel { .. } => format!("{effect:?}"),
            Effect::Relay { relay, branch, request, mark, .. } => {
                format!("{relay:?} {branch:?} {mark} {:?}", request.as_bytes())
            }
            Effect::Pass { request } => format!("{:?}", request.as_bytes()),
        })
        .collect()
}

fn cx_words(request: &cx::Request) -> String {
    match request {
        cx::Request::MultimediaAuth(request) => match request.resynchronise {
            Some(_) => "MAR resynchronisation".into(),
            None => "MAR".into(),
        },
        cx::Request::ServerAssignment(request) => format!("SAR {:?}", request.assignment),
    }
}

fn told_words(told: Told) -> &'static str {
    match told {
        Told::Reauthenticating { .. } => "re-authenticating",
        Told::AlreadyReauthenticating { .. } => "already re-authenticating",
        Told::Deregistering => "deregistering",
        Told::NotRegistered => "not registered",
    }
}

/// The application server that a third-party REGISTER goes to.
pub fn server_of(request: &Request) -> String {
    request.uri().host().split('.').next().unwrap().to_owned()
}

/// The nonce of a challenge that nobody made.
pub fn foreign_nonce() -> String {
    STANDARD.encode([0xee; 32])
}
