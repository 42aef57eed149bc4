//! Calls on a stage: requests that arrive, the hops they are forwarded to, answers that come back, and a dialog as its two
//! sides see it.
//!
//! Alice sits behind the P-CSCF `pcscf.example`, whose own Route entries never reach us; Bob behind `proxy.b.example`.

use crate::stage::{ALICE, CONTACT, DOMAIN, IMPI, Stage, identity, request, subscription};
use scscf::profile::{
    ApplicationServer, Condition, DefaultHandling, InitialFilterCriteria, ServicePointTrigger, Subscription,
    TriggerPoint,
};
use scscf::token::TokenKind;
use scscf::{Effect, Event, Impi, Purpose, RelayId, Reply, ServerTx, Side, Source, User};
use sip::proxy::BranchId;
use sip::{Dialog, Method, Name, Request, Response, Status};
use std::net::{IpAddr, Ipv4Addr};

pub const BOB: &str = "sip:bob@b.example";
pub const AT_HOME: &str = "sip:bob@ims.mnc001.mcc001.3gppnetwork.org";
pub const P_CSCF: &str = "<sip:mo@pcscf.example;lr>";
pub const TERM_P_CSCF: &str = "<sip:term@pcscf.example;lr>";
pub const B_PROXY: &str = "<sip:proxy.b.example;lr>";
pub const AS1: &str = "sip:as1.example";
pub const AS2: &str = "sip:as2.example";
pub const AS3: &str = "sip:as3.example";

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Draft {
    pub method: &'static str,
    pub uri: String,
    pub from: String,
    pub to: String,
    pub call_id: String,
    pub cseq: u32,
    pub branch: String,
    pub lines: Vec<String>,
    pub body: &'static str,
}

impl Draft {
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Without the lines of that name.
    pub fn without(mut self, name: &str) -> Self {
        self.lines.retain(|line| !line.starts_with(&format!("{name}:")));
        self
    }

    /// With one line of that name.
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).line(&format!("{name}: {value}"))
    }

    pub fn call(mut self, call_id: &str) -> Self {
        call_id.clone_into(&mut self.call_id);
        self.branch = format!("z9hG4bK{call_id}");
        self
    }

    pub fn build(&self) -> Request {
        let mut text = format!(
            "{} {} SIP/2.0\r\nVia: SIP/2.0/UDP neighbour.example;branch={}\r\n",
            self.method, self.uri, self.branch
        );
        for line in &self.lines {
            text.push_str(&format!("{line}\r\n"));
        }
        text.push_str(&format!(
            "From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {}\r\nContent-Length: {}\r\n\r\n{}",
            self.from,
            self.to,
            self.call_id,
            self.cseq,
            self.method,
            self.body.len(),
            self.body
        ));
        request(&text)
    }
}

/// A request of Alice's, as her P-CSCF passes it.
pub fn outgoing(stage: &Stage, method: &'static str, uri: &str) -> Draft {
    Draft {
        method,
        uri: uri.to_owned(),
        from: format!("<{ALICE}>;tag=alice"),
        to: format!("<{uri}>"),
        call_id: "mo1".to_owned(),
        cseq: 7,
        branch: "z9hG4bKmo1".to_owned(),
        lines: vec![
            "Max-Forwards: 68".to_owned(),
            format!("Route: {}", stage.service_route(0)),
            format!("Record-Route: {P_CSCF}"),
            format!("P-Asserted-Identity: <{ALICE}>"),
            "P-Charging-Vector: icid-value=ic1;orig-ioi=visited.example".to_owned(),
            format!("Contact: {CONTACT}"),
        ],
        body: "",
    }
}

/// A request of Bob's.
pub fn incoming(method: &'static str, uri: &str) -> Draft {
    Draft {
        method,
        uri: uri.to_owned(),
        from: format!("<{BOB}>;tag=bob"),
        to: format!("<{uri}>"),
        call_id: "mt1".to_owned(),
        cseq: 30,
        branch: "z9hG4bKmt1".to_owned(),
        lines: vec![
            "Max-Forwards: 60".to_owned(),
            format!("Record-Route: {B_PROXY}"),
            format!("P-Asserted-Identity: <{BOB}>"),
            "P-Charging-Vector: icid-value=ic2;orig-ioi=b.example".to_owned(),
            "Contact: <sip:bob@198.51.100.1>".to_owned(),
        ],
        body: "",
    }
}

pub fn criterion(
    priority: u32,
    server: &str,
    handling: DefaultHandling,
    condition: Condition,
) -> InitialFilterCriteria {
    let spt =
        ServicePointTrigger { negated: false, groups: vec![0], condition, registration_types: Vec::new() };
    InitialFilterCriteria {
        priority,
        trigger: Some(TriggerPoint { cnf: true, spts: vec![spt] }),
        application_server: ApplicationServer {
            server_name: server.into(),
            default_handling: handling,
            service_info: None,
            include_register_request: false,
            include_register_response: false,
        },
        profile_part: None,
    }
}

/// For every INVITE; the session goes on when the server fails.
pub fn continued(priority: u32, server: &str) -> InitialFilterCriteria {
    criterion(priority, server, DefaultHandling::SessionContinued, Condition::Method("INVITE".into()))
}

/// For every INVITE; the session ends when the server fails.
pub fn terminated(priority: u32, server: &str) -> InitialFilterCriteria {
    criterion(priority, server, DefaultHandling::SessionTerminated, Condition::Method("INVITE".into()))
}

/// Alice, served by these application servers.
pub fn alice_with(criteria: Vec<InitialFilterCriteria>) -> Subscription {
    let mut alice = crate::stage::alice();
    alice.profiles[0].criteria = criteria.into();
    alice
}

/// Alice with one identity, served by these application servers.
pub fn plain_alice_with(criteria: Vec<InitialFilterCriteria>) -> Subscription {
    let mut alice = subscription(vec![identity(ALICE, false)]);
    alice.profiles[0].criteria = criteria.into();
    alice
}

/// A request as it left on a branch, with our Via on top.
#[derive(Clone, Debug)]
pub struct Hop {
    pub relay: RelayId,
    pub branch: BranchId,
    pub request: Request,
}

impl Hop {
    pub fn uri(&self) -> &str {
        self.request.uri_text()
    }

    pub fn routes(&self) -> Vec<String> {
        values(&self.request, Name::Route)
    }

    pub fn get(&self, name: Name) -> Option<String> {
        self.request.get(name).map(|value| value.into_owned())
    }

    /// Host of the topmost Route.
    pub fn next_host(&self) -> String {
        let route = self.request.addresses(Name::Route).unwrap().into_iter().next();
        route.map_or_else(String::new, |route| route.uri.host().to_owned())
    }

    /// The application server at `server` passes it on: without its own Route, with its own Record-Route.
    pub fn through(&self, server: &str) -> Request {
        let mut edit = self.request.edit();
        edit.remove_top_value(Name::Route);
        if *self.request.method() == Method::Invite {
            edit.push_top(Name::RecordRoute, format_args!("<{server};lr>"));
        }
        edit.push_top(Name::Via, format_args!("SIP/2.0/UDP {server};branch=z9hG4bKas{}", self.branch.0));
        edit.finish()
    }

    /// The application server at `server` begins a dialog of its own with what it got.
    pub fn anew(&self, server: &str, call_id: &str) -> Request {
        let mut edit = self.request.edit();
        edit.remove_top_value(Name::Route);
        edit.remove(Name::RecordRoute);
        edit.replace(Name::Via, format_args!("SIP/2.0/UDP {server};branch=z9hG4bK{call_id}"));
        edit.replace(Name::From, format_args!("<{ALICE}>;tag={call_id}"));
        edit.replace(Name::CallId, call_id);
        edit.replace(Name::CSeq, "1 INVITE");
        edit.replace(Name::Contact, format_args!("<{server}>"));
        edit.finish()
    }
}

/// A response in the making.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    tag: String,
    contact: String,
    record_route: Option<String>,
    lines: Vec<(Name, String)>,
}

impl Answer {
    /// Of Bob, behind his proxy.
    pub fn of(status: u16) -> Self {
        Self {
            status,
            tag: "far".to_owned(),
            contact: "<sip:bob@198.51.100.1>".to_owned(),
            record_route: Some(B_PROXY.to_owned()),
            lines: Vec::new(),
        }
    }

    /// Of Alice, behind her P-CSCF.
    pub fn of_alice(status: u16) -> Self {
        Self {
            tag: "near".to_owned(),
            contact: CONTACT.to_owned(),
            record_route: Some(TERM_P_CSCF.to_owned()),
            ..Self::of(status)
        }
    }

    /// Of an application server itself.
    pub fn of_server(status: u16, server: &str) -> Self {
        Self {
            tag: "server".to_owned(),
            contact: format!("<{server}>"),
            record_route: None,
            ..Self::of(status)
        }
    }

    pub fn tag(mut self, tag: &str) -> Self {
        tag.clone_into(&mut self.tag);
        self
    }

    pub fn line(mut self, name: Name, value: &str) -> Self {
        self.lines.push((name, value.to_owned()));
        self
    }

    pub fn to(&self, request: &Request) -> Response {
        let mut response = request.respond(Status::new(self.status).unwrap(), &self.tag);
        if (101..300).contains(&self.status) && request.to_tag().is_none() {
            for value in self.record_route.iter().cloned().chain(values(request, Name::RecordRoute)) {
                response = response.header(Name::RecordRoute, value);
            }
            response = response.header(Name::Contact, &self.contact);
        }
        for (name, value) in &self.lines {
            response = response.header(*name, value);
        }
        response.finish()
    }
}

/// A request that every application server passed on: the transactions of its passages and where each of them led.
#[derive(Clone, Debug)]
pub struct Chain {
    pub txs: Vec<ServerTx>,
    pub hops: Vec<Hop>,
}

impl Chain {
    pub fn last(&self) -> &Hop {
        self.hops.last().unwrap()
    }

    pub fn servers(&self) -> Vec<String> {
        self.hops.iter().map(Hop::next_host).collect()
    }
}

/// A BYE of ours.
#[derive(Clone, Debug)]
pub struct Bye {
    pub purpose: Purpose,
    pub side: Side,
    pub request: Request,
}

/// A dialog as its two sides see it; `Request`s of it are as they reach us, behind the proxies of the sides.
#[derive(Clone, Debug)]
pub struct Call {
    pub invite: Request,
    /// The INVITE as it reached the other side.
    pub arrived: Request,
    pub ok: Response,
    pub caller: Dialog,
    pub callee: Dialog,
    branch: u32,
}

impl Call {
    /// After `invite` reached the far end as `arrived`, which answered `answered`, of which the caller heard as `ok`.
    pub fn new(invite: &Request, arrived: &Request, answered: &Response, ok: &Response) -> Self {
        let mut caller = Dialog::established(invite, ok).unwrap();
        let mut callee = Dialog {
            call_id: invite.call_id().into(),
            local: answered.to(),
            remote: arrived.from(),
            target: arrived.addresses(Name::Contact).unwrap()[0].uri.clone(),
            routes: values(answered, Name::RecordRoute).into_iter().map(Into::into).collect(),
            local_cseq: 0,
            remote_cseq: arrived.cseq().number,
        };
        for dialog in [&mut caller, &mut callee] {
            // The proxy before each side has taken itself off what reaches us.
            let proxies = [P_CSCF, B_PROXY, TERM_P_CSCF];
            if dialog.routes.first().is_some_and(|first| proxies.contains(&&**first)) {
                dialog.routes.remove(0);
            }
        }
        Self { invite: invite.clone(), arrived: arrived.clone(), ok: ok.clone(), caller, callee, branch: 0 }
    }

    pub fn by_caller(&mut self, method: Method) -> Request {
        self.branch += 1;
        with_via(self.caller.request(method).finish(), &format!("mo{}", self.branch))
    }

    pub fn by_callee(&mut self, method: Method) -> Request {
        self.branch += 1;
        with_via(self.callee.request(method).finish(), &format!("mt{}", self.branch))
    }

    pub fn ack(&mut self) -> Request {
        self.branch += 1;
        let cseq = self.invite.cseq().number;
        with_via(self.caller.ack(cseq).finish(), &format!("ack{}", self.branch))
    }
}

pub fn with_via(request: Request, branch: &str) -> Request {
    let mut edit = request.edit();
    edit.push_top(Name::Via, format_args!("SIP/2.0/UDP neighbour.example;branch=z9hG4bK{branch}"));
    edit.finish()
}

pub fn values(message: &sip::Headers, name: Name) -> Vec<String> {
    message.values(name).map(|value| value.into_owned()).collect()
}

pub fn with(request: &Request, name: Name, value: &str) -> Request {
    let mut edit = request.edit();
    edit.replace(name, value);
    edit.finish()
}

impl Stage {
    /// A user of this profile who has registered the usual contact.
    pub fn serving(profile: Subscription) -> Self {
        let mut stage = Self::new();
        stage.hss.user_data = Some(Ok(profile));
        let ok = stage.register_fully(&crate::stage::Ue::new());
        assert_eq!(ok.status().code(), 200, "{}", stage.summary);
        stage.said.clear();
        stage
    }

    /// The Service-Route of a binding.
    pub fn service_route(&self, binding: usize) -> String {
        let id = self.bindings()[binding]["id"].as_u64().unwrap();
        let token = self.policy.tokens.mint(TokenKind::ServiceRoute, &Impi::new(IMPI).unwrap(), id);
        format!("<sip:{token}@scscf.{DOMAIN}:5060;lr>")
    }

    /// A request arrives.
    pub fn arrive(&mut self, request: Request) -> ServerTx {
        self.tx += 1;
        let tx = ServerTx(self.tx);
        let source = self.source();
        self.step(Event::Request { tx, request, source });
        tx
    }

    pub fn source(&self) -> Source {
        Source { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), trusted: self.trusted }
    }

    /// What has been forwarded since the last look.
    pub fn hops(&mut self) -> Vec<Hop> {
        self.draw(|effect| match effect {
            Effect::Relay { relay, branch, request, mark, .. } => {
                let mut edit = request.edit();
                let unique = relay.0 ^ u64::from(branch.0).rotate_right(8);
                edit.push_top(
                    Name::Via,
                    format_args!("SIP/2.0/UDP scscf.example;branch=z9hG4bK{unique:032x}{mark:016x}"),
                );
                Some(Hop { relay: *relay, branch: *branch, request: edit.finish() })
            }
            _ => None,
        })
    }

    /// The one hop there is.
    pub fn hop(&mut self) -> Hop {
        let mut hops = self.hops();
        assert_eq!(hops.len(), 1, "{}: {hops:?}", self.summary);
        hops.remove(0)
    }

    /// The reasons of the branches that were cancelled since the last look.
    pub fn cancels(&mut self) -> Vec<(RelayId, BranchId, Option<String>)> {
        self.draw(|effect| match effect {
            Effect::Cancel { relay, branch, reason } => {
                Some((*relay, *branch, reason.as_deref().map(Into::into)))
            }
            _ => None,
        })
    }

    /// The BYEs that were sent since the last look.
    pub fn byes(&mut self) -> Vec<Bye> {
        self.draw(|effect| match effect {
            Effect::Send { purpose: purpose @ Purpose::Release(_, side), request } => {
                Some(Bye { purpose: *purpose, side: *side, request: with_via(request.clone(), "release") })
            }
            _ => None,
        })
    }

    /// The ACKs that were passed since the last look.
    pub fn passed(&mut self) -> Vec<Request> {
        self.draw(|effect| match effect {
            Effect::Pass { request } => Some(request.clone()),
            _ => None,
        })
    }

    fn draw<T>(&mut self, wanted: impl Fn(&Effect) -> Option<T>) -> Vec<T> {
        let mut drawn = Vec::new();
        self.said.retain(|effect| {
            let found = wanted(effect);
            let keep = found.is_none();
            drawn.extend(found);
            keep
        });
        drawn
    }

    /// A response comes back from a hop.
    pub fn hear(&mut self, hop: &Hop, answer: &Answer) -> Response {
        let response = answer.to(&hop.request);
        self.hear_as(hop, response.clone());
        response
    }

    pub fn hear_as(&mut self, hop: &Hop, response: Response) {
        let to = Purpose::Relay(hop.relay, hop.branch);
        self.step(Event::Reply { to, reply: Reply::Response(response) });
    }

    /// A request arrives, and servers named `as...` pass it on until one goes elsewhere.
    pub fn by_all_servers(&mut self, request: Request) -> Chain {
        let mut chain = Chain { txs: vec![self.arrive(request)], hops: Vec::new() };
        loop {
            let hop = self.hop();
            let server = hop.next_host();
            chain.hops.push(hop.clone());
            if !server.starts_with("as") {
                return chain;
            }
            chain.txs.push(self.arrive(hop.through(&format!("sip:{server}"))));
        }
    }

    /// The far end of a chain answers, and the servers pass it back.
    pub fn hear_along(&mut self, chain: &Chain, answer: &Answer) -> Response {
        let answered = self.hear(chain.last(), answer);
        // What left by the passage behind a server came to that server by the passage before it.
        for (tx, hop) in chain.txs.iter().skip(1).zip(&chain.hops).rev().collect::<Vec<_>>() {
            if let Some(response) = self.responses(*tx).last() {
                self.hear_through(hop, response);
            }
        }
        answered
    }

    /// A response that an application server has from beyond: it takes its own Via off and passes it back.
    pub fn hear_through(&mut self, hop: &Hop, response: &Response) {
        let mut edit = response.edit();
        edit.remove_top_value(Name::Via);
        self.hear_as(hop, edit.finish());
    }

    pub fn times_out(&mut self, hop: &Hop) {
        self.step(Event::Reply { to: Purpose::Relay(hop.relay, hop.branch), reply: Reply::Timeout });
    }

    pub fn unsendable(&mut self, hop: &Hop) {
        self.step(Event::Reply { to: Purpose::Relay(hop.relay, hop.branch), reply: Reply::Unsendable });
    }

    pub fn cancel(&mut self, of: ServerTx, reason: Option<&str>) {
        self.step(Event::Cancel { of, reason: reason.map(Into::into) });
    }

    pub fn ack(&mut self, request: Request) {
        let source = self.source();
        self.step(Event::Ack { request, source });
    }

    pub fn answers_bye(&mut self, bye: &Bye, status: u16) {
        let response = bye.request.respond(Status::new(status).unwrap(), "x").finish();
        self.step(Event::Reply { to: bye.purpose, reply: Reply::Response(response) });
    }

    pub fn bye_times_out(&mut self, bye: &Bye) {
        self.step(Event::Reply { to: bye.purpose, reply: Reply::Timeout });
    }

    /// All responses to a request so far.
    pub fn responses(&self, tx: ServerTx) -> Vec<Response> {
        let to = |effect: &Effect| match effect {
            Effect::Respond { tx: to, response } if *to == tx => Some(response.clone()),
            _ => None,
        };
        self.said.iter().filter_map(to).collect()
    }

    pub fn codes(&self, tx: ServerTx) -> Vec<u16> {
        self.responses(tx).iter().map(|response| response.status().code()).collect()
    }

    /// The one final response.
    pub fn last_word(&self, tx: ServerTx) -> Response {
        let finals: Vec<_> =
            self.responses(tx).into_iter().filter(|response| response.status().is_final()).collect();
        assert_eq!(finals.len(), 1, "{}: {finals:?}", self.summary);
        finals[0].clone()
    }

    pub fn sessions(&self) -> Vec<scscf::view::Session> {
        self.user.view().sessions
    }

    pub fn releases(&self) -> Vec<scscf::view::Release> {
        self.user.view().releases
    }

    /// The actor dies; another one loads the record.
    pub fn reload(&mut self) {
        let record = rmp_serde::to_vec_named(&self.user).unwrap();
        let user: User = rmp_serde::from_slice(&record).unwrap();
        self.user = user;
        self.step(Event::Resumed);
    }

    /// Alice calls Bob by all her servers, which pass everything on.
    pub fn calls_by_servers(&mut self) -> Call {
        let invite = outgoing(self, "INVITE", BOB).build();
        self.set_up_by_servers(&invite, &Answer::of(200))
    }

    /// Bob calls Alice by all her servers, which pass everything on.
    pub fn is_called_by_servers(&mut self) -> Call {
        let invite = incoming("INVITE", ALICE).build();
        self.set_up_by_servers(&invite, &Answer::of_alice(200))
    }

    /// Alice calls Bob by a back-to-back user agent at AS1: her leg and `leg2`, both answered and not acknowledged yet.
    pub fn calls_by_back_to_back_agent(&mut self) -> (Call, Call) {
        let invite = outgoing(self, "INVITE", BOB).build();
        let tx = self.arrive(invite.clone());
        let at_server = self.hop();
        let anew = at_server.anew(AS1, "leg2");
        let other = self.arrive(anew.clone());
        let onward = self.hop();
        let answered = self.hear(&onward, &Answer::of(200));
        let second = Call::new(&anew, &onward.request, &answered, &self.last_word(other));
        let answered = self.hear(&at_server, &Answer::of_server(200, AS1));
        let first = Call::new(&invite, &at_server.request, &answered, &self.last_word(tx));
        (first, second)
    }

    fn set_up_by_servers(&mut self, invite: &Request, answer: &Answer) -> Call {
        let chain = self.by_all_servers(invite.clone());
        let answered = self.hear_along(&chain, answer);
        let ok = self.last_word(chain.txs[0]);
        let mut call = Call::new(invite, &chain.last().request, &answered, &ok);
        let mut ack = call.ack();
        for _ in &chain.hops {
            self.ack(ack);
            let passed = self.passed();
            assert_eq!(passed.len(), 1, "{}", self.summary);
            let mut edit = passed[0].edit();
            edit.remove_top_value(Name::Route);
            ack = edit.finish();
        }
        call
    }

    /// Alice calls Bob, who answers, and the ACK passes.
    pub fn calls(&mut self) -> Call {
        let draft = outgoing(self, "INVITE", BOB);
        self.calls_as(&draft)
    }

    pub fn calls_as(&mut self, draft: &Draft) -> Call {
        let invite = draft.build();
        let tx = self.arrive(invite.clone());
        let hop = self.hop();
        let answered = self.hear(&hop, &Answer::of(200));
        let call = Call::new(&invite, &hop.request, &answered, &self.last_word(tx));
        self.acknowledge(call)
    }

    /// Bob calls Alice, who answers, and the ACK passes.
    pub fn is_called(&mut self) -> Call {
        let invite = incoming("INVITE", ALICE).build();
        let tx = self.arrive(invite.clone());
        let hop = self.hop();
        let answered = self.hear(&hop, &Answer::of_alice(200));
        let call = Call::new(&invite, &hop.request, &answered, &self.last_word(tx));
        self.acknowledge(call)
    }

    fn acknowledge(&mut self, mut call: Call) -> Call {
        let ack = call.ack();
        self.ack(ack);
        assert_eq!(self.passed().len(), 1, "{}", self.summary);
        call
    }
}
