//! A telephone: what a UE, a far end and the two sides of a B2BUA have in common. It trusts nobody: what reaches it in a
//! dialog must be what RFC 3261 §12.2 lets it take.

use crate::call::Leg;
use crate::network::{EDGE, Item, Network, Stack};
use scscf::aka::{self, Answer, Qop};
use sip::transaction::{ClientId, Output, ServerId};
use sip::{Contacts, Message, Method, Name, Request, Response, Status, Uri};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What a telephone set itself to do.
#[derive(Clone, Debug)]
pub(crate) enum Alarm {
    /// The 200 to an INVITE again, until its ACK comes.
    Repeat { leg: usize, talk: usize, cseq: u32 },
    /// A reliable provisional response again, until its PRACK comes.
    Reliable { leg: usize, interval: u64 },
    /// The session timer is to be refreshed.
    Refresh { leg: usize, talk: usize, version: u32 },
    /// The session timer was not refreshed.
    Lapse { leg: usize, talk: usize, version: u32 },
    /// Nobody lets it ring longer.
    Patience { leg: usize },
    /// What the person at the telephone does.
    Deed { leg: usize, deed: Deed },
}

/// What a person does at a telephone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Ring,
    /// 183, reliably where the caller knows how.
    Progress,
    Answer,
    Reject(u16),
    Cancel,
    HangUp,
    Reinvite,
    Update,
    Info,
}

/// What the world is to hear of.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    Incoming {
        leg: usize,
    },
    /// A provisional response came in.
    Progress {
        leg: usize,
        status: Status,
    },
    Answered {
        leg: usize,
        talk: usize,
    },
    Failed {
        leg: usize,
        status: u16,
    },
    Cancelled {
        leg: usize,
    },
    Ended {
        leg: usize,
        talk: usize,
    },
    Registered,
    Refused,
    /// Somebody asks for a REGISTER.
    AskedToRegister,
}

/// What must not be.
#[derive(Clone, Debug)]
pub(crate) enum Complaint {
    /// Whatever the weather.
    Always(String),
    /// Where nothing was lost and nobody died, nor did another owner of a user take over, who does not know what
    /// was on its way.
    InFairWeather(String),
}

/// What a telephone does that it should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rudeness {
    None,
    /// No ACK to a 2xx.
    NeverAcknowledges,
    /// 503 to the first BYE, and goes on.
    RefusesBye,
    /// Ends with a BYE, and does not answer it.
    IgnoresBye,
    /// Lets session timers lapse that it has granted.
    NeverRefreshes,
}

/// How a UE answers a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Right,
    Wrong,
    Silent,
}

/// The registration of a UE, or what an attacker pretends.
pub(crate) struct Line {
    pub(crate) impi: String,
    pub(crate) impu: String,
    /// Contact parameters.
    pub(crate) params: &'static str,
    pub(crate) supported: &'static str,
    pub(crate) path: &'static str,
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
    pub(crate) nonce: String,
    pub(crate) expires: u32,
    pub(crate) protected: bool,
    pub(crate) manner: Manner,
    pub(crate) service_route: Option<String>,
    /// The contact it has been registered with.
    pub(crate) registered: Option<Uri>,
}

/// Why a request was sent.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Register,
    Invite { leg: usize },
    Within { leg: usize, talk: usize, reinvite: bool },
    Bye { leg: usize, talk: usize },
    Outside,
}

pub(crate) struct Phone {
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) aor: String,
    pub(crate) contact: Uri,
    pub(crate) stack: Stack,
    pub(crate) line: Option<Line>,
    /// An application server: its requests come with its own URI on top of Route.
    pub(crate) serves: bool,
    /// Knows session timers.
    pub(crate) timer: bool,
    pub(crate) alive: bool,
    pub(crate) has_died: bool,
    pub(crate) rudeness: Rudeness,
    pub(crate) legs: Vec<Leg>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) complaints: Vec<Complaint>,
    pub(crate) beliefs: crate::server::Beliefs,
    /// It has had other contacts.
    pub(crate) moved: bool,
    /// An application server that takes the call itself.
    pub(crate) answers: bool,
    asked: BTreeMap<ClientId, Asked>,
    serial: u32,
}

impl Phone {
    pub(crate) fn new(number: usize, name: &str, aor: &str, address: SocketAddr, seed: u64) -> Self {
        let contact = Uri::parse(&format!("sip:{name}@{address}")).unwrap();
        Self {
            number,
            name: name.into(),
            aor: aor.into(),
            contact,
            stack: Stack::new(address, seed ^ (number as u64 + 1) << 32),
            line: None,
            serves: false,
            timer: true,
            alive: true,
            has_died: false,
            rudeness: Rudeness::None,
            legs: Vec::new(),
            notices: Vec::new(),
            complaints: Vec::new(),
            beliefs: crate::server::Beliefs::default(),
            moved: false,
            answers: false,
            asked: BTreeMap::new(),
            serial: 0,
        }
    }

    pub(crate) fn fresh(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn set(&self, after: u64, alarm: Alarm, network: &mut Network) {
        network.later(after, Item::Alarm { phone: self.number, alarm });
    }

    pub(crate) fn complain(&mut self, why: impl Into<String>) {
        let why = format!("{}: {}", self.name, why.into());
        self.complaints.push(Complaint::Always(why));
    }

    pub(crate) fn doubt(&mut self, why: impl Into<String>) {
        let why = format!("{}: {}", self.name, why.into());
        self.complaints.push(Complaint::InFairWeather(why));
    }

    pub(crate) fn receive(&mut self, message: Message, from: SocketAddr, network: &mut Network) {
        if !self.alive {
            return;
        }
        if self.line.is_some() && from != EDGE && self.stack.address != crate::network::ATTACKER {
            return self.complain(format!("{message:?} came past the P-CSCF, from {from}"));
        }
        self.stack.receive(message, from, network.now);
        self.work(network);
    }

    pub(crate) fn expire(&mut self, network: &mut Network) {
        self.stack.expire(network.now);
        self.work(network);
    }

    pub(crate) fn work(&mut self, network: &mut Network) {
        loop {
            let said = self.stack.said(network);
            if said.is_empty() {
                return;
            }
            for output in said {
                match output {
                    Output::Request { id, request, .. } => self.requested(id, &request, network),
                    Output::Ack { request, .. } => self.acknowledged(&request),
                    Output::Cancel { of: Some(of), request, .. } => self.cancelled(of, &request, network),
                    Output::Response { id, response } => self.answered(id, Some(&response), network),
                    Output::TimedOut { id } | Output::TransportFailed { id } => {
                        self.answered(id, None, network);
                    }
                    Output::Cancel { of: None, .. } | Output::StrayResponse(_) | Output::Transmit { .. } => {}
                }
            }
        }
    }

    pub(crate) fn respond(
        &mut self,
        to: ServerId,
        request: &Request,
        status: u16,
        tag: &str,
        network: &Network,
    ) {
        let response = request.respond(Status::new(status).unwrap(), tag).finish();
        self.say(to, response, network);
    }

    pub(crate) fn say(&mut self, to: ServerId, response: Response, network: &Network) {
        // The transaction may have given up meanwhile.
        let _ = self.stack.respond(to, response, network.now);
    }

    fn requested(&mut self, id: ServerId, request: &Request, network: &mut Network) {
        let request = &self.own_route_off(request);
        let within = request.to_tag().is_some();
        let routed = request.has(Name::Route);
        if (within || !self.serves) && routed {
            self.complain(format!("{request:?} still has a Route: {:?}", request.get(Name::Route)));
        }
        let meant = *request.uri() == self.contact || request.uri_text() == self.aor;
        if !within && !self.serves && !meant && !self.moved {
            self.complain(format!("{request:?} is not for {}", self.contact));
        }
        match request.method() {
            Method::Invite if !within => self.incoming(id, request, network),
            _ if within => self.within(id, request, network),
            Method::Bye | Method::Prack | Method::Update | Method::Info => {
                self.complain(format!("{request:?} without a To tag"));
                self.respond(id, request, 481, "none", network);
            }
            Method::Refer => {
                self.respond(id, request, 202, "refer", network);
                self.notices.push(Notice::AskedToRegister);
            }
            Method::Register => {
                let response = self.beliefs.registered(request, network.now);
                self.say(id, response, network);
            }
            _ => self.respond(id, request, 200, "other", network),
        }
    }

    /// An application server finds its own URI on top.
    fn own_route_off(&self, request: &Request) -> Request {
        let own = request.addresses(Name::Route).unwrap();
        if !self.serves
            || own.first().is_none_or(|top| crate::network::hop_of(&top.uri) != Some(self.stack.address))
        {
            return request.clone();
        }
        let mut edit = request.edit();
        edit.remove_top_value(Name::Route);
        edit.finish()
    }

    /// A response to a request of ours; `None`: there was none.
    fn answered(&mut self, id: ClientId, response: Option<&Response>, network: &mut Network) {
        let Some(asked) = self.asked.get(&id).copied() else { return };
        if let Some(response) = response {
            let vias = response.vias().count();
            if vias != 1 {
                self.complain(format!("{response:?} with {vias} Vias"));
            }
        }
        let status = response.map_or(408, |response| response.status().code());
        match asked {
            Asked::Invite { leg } => self.invite_answered(leg, response, network),
            _ if status < 200 => {}
            Asked::Register => self.register_answered(response, network),
            Asked::Within { leg, talk, reinvite } => {
                self.within_answered(leg, talk, reinvite, response, status, network);
            }
            Asked::Bye { leg, talk } => self.legs[leg].talks[talk].bye_answered = Some(network.now),
            Asked::Outside => {}
        }
    }

    pub(crate) fn ask_invite(&mut self, leg: usize, request: Request, network: &Network) {
        let id = self.stack.send(request, None, network.now);
        self.asked.insert(id, Asked::Invite { leg });
        self.legs[leg].client = Some(id);
    }

    pub(crate) fn ask_within(&mut self, leg: usize, talk: usize, request: Request, network: &Network) {
        let asked = match request.method() {
            Method::Bye => Asked::Bye { leg, talk },
            method => Asked::Within { leg, talk, reinvite: *method == Method::Invite },
        };
        let id = self.stack.send(request, None, network.now);
        self.asked.insert(id, asked);
    }

    /// A request outside any dialog, of which nothing becomes.
    pub(crate) fn ask_outside(&mut self, method: Method, target: &str, network: &mut Network) {
        let n = self.fresh();
        let cseq = format!("{n} {method}");
        let builder = Request::build(method, &Uri::parse(target).unwrap())
            .header(Name::MaxForwards, 70)
            .header(Name::From, format_args!("<{}>;tag={}{n}", self.aor, self.name))
            .header(Name::To, format_args!("<{target}>"))
            .header(Name::CallId, format_args!("{}-{n}", self.name))
            .header(Name::CSeq, cseq);
        let routes = self.preloaded();
        let request =
            routes.iter().fold(builder, |builder, route| builder.header(Name::Route, route)).finish();
        let id = self.stack.send(request, None, network.now);
        self.asked.insert(id, Asked::Outside);
        self.work(network);
    }

    /// The way out of a UE: its P-CSCF, then the Service-Route.
    pub(crate) fn preloaded(&self) -> Vec<String> {
        match &self.line {
            Some(line) => std::iter::once("<sip:orig@pcscf1.visited1.net;lr>".to_owned())
                .chain(line.service_route.clone())
                .collect(),
            None => Vec::new(),
        }
    }

    /// Sends a REGISTER; `nonce` says which challenge it answers, if any.
    pub(crate) fn register(&mut self, answer: Option<Manner>, network: &mut Network) {
        let contact = self.contact.clone();
        let Some(line) = &mut self.line else { return };
        line.cseq += 1;
        let attack = self.stack.address == crate::network::ATTACKER;
        let (nonce, response) = match answer {
            None => (String::new(), String::new()),
            Some(Manner::Wrong) => (line.nonce.clone(), "0123456789abcdef0123456789abcdef".to_owned()),
            Some(Manner::Silent) => (line.nonce.clone(), String::new()),
            Some(Manner::Right) => (line.nonce.clone(), line.proof()),
        };
        let protected = if !attack && (line.protected || answer.is_some()) { "yes" } else { "no" };
        let qop = match answer {
            None => "",
            Some(_) => ", algorithm=AKAv1-MD5, qop=auth, nc=00000001, cnonce=\"abc\"",
        };
        let request = Request::build(Method::Register, &Uri::parse("sip:home1.net").unwrap())
            .header(Name::MaxForwards, 70)
            .header(Name::From, format_args!("<{}>;tag=reg", line.impu))
            .header(Name::To, format_args!("<{}>", line.impu))
            .header(Name::CallId, &line.call_id)
            .header(Name::CSeq, format_args!("{} REGISTER", line.cseq))
            .header(Name::Path, line.path)
            .header(Name::Contact, format_args!("<{contact}>{};expires={}", line.params, line.expires))
            .header(Name::Expires, line.expires)
            .header(Name::Supported, line.supported)
            .header(
                Name::Authorization,
                format_args!(
                    "Digest username=\"{}\", realm=\"home1.net\", nonce=\"{nonce}\", uri=\"sip:home1.net\", \
                     response=\"{response}\"{qop}, integrity-protected=\"{protected}\"",
                    line.impi
                ),
            )
            .header(Name::Route, "<sip:pcscf1.visited1.net;lr>")
            .finish();
        let id = self.stack.send(request, None, network.now);
        self.asked.insert(id, Asked::Register);
        self.work(network);
    }

    fn register_answered(&mut self, response: Option<&Response>, network: &mut Network) {
        let contact = self.contact.clone();
        let attack = self.stack.address == crate::network::ATTACKER;
        let (Some(line), Some(response)) = (&mut self.line, response) else { return };
        match response.status() {
            Status::UNAUTHORIZED => {
                let challenge = response.digest(Name::WwwAuthenticate).unwrap().unwrap();
                line.nonce = challenge.get("nonce").unwrap().to_owned();
                let manner = line.manner;
                self.register(Some(manner), network);
            }
            Status::OK if attack => self.complain("the attacker got a 200"),
            Status::OK => {
                let bound = match response.contacts() {
                    Ok(Contacts::List(list)) => {
                        list.iter().any(|one| one.uri == contact && one.param("expires") != Some("0"))
                    }
                    Ok(_) | Err(_) => false,
                };
                if bound && let Some(route) = response.get(Name::ServiceRoute) {
                    line.service_route = Some(route.into_owned());
                    line.registered = Some(contact);
                }
                if !bound {
                    line.service_route = None;
                    line.registered = None;
                }
                self.notices.push(Notice::Registered);
            }
            _ => self.notices.push(Notice::Refused),
        }
    }
}

impl Line {
    /// The right answer to the last challenge: the RES of this network is made of RAND.
    fn proof(&self) -> String {
        let Some((rand, _)) = aka::rand_and_autn(&self.nonce) else { return String::new() };
        let answer = Answer {
            username: &self.impi,
            realm: "home1.net",
            nonce: &self.nonce,
            method: "REGISTER",
            uri: "sip:home1.net",
            qop: Some(Qop { nc: "00000001", cnonce: "abc", qop: "auth" }),
        };
        String::from_utf8(aka::response(&res(&rand), &answer).to_vec()).unwrap()
    }
}

/// What the USIM makes of RAND.
pub(crate) fn res(rand: &[u8; 16]) -> [u8; 16] {
    rand.map(|octet| octet ^ 0x5a)
}
