//! One call between Alice, whom the user serves, and Bob, who is elsewhere; application servers that stay in the way.

use super::{ALICE, IMPI, Sent, World, request};
use scscf::token::TokenKind;
use scscf::{Effect, Event, Impi, Purpose, RelayId, Reply, ServerTx, Source};
use sip::proxy::BranchId;
use sip::{Dialog, Method, Name, Request, Response, Status};
use std::collections::BTreeMap;

pub const BOB: &str = "sip:bob@home2.net";
const BOB_AT: &str = "sip:bob@10.9.9.9";

/// A request that was forwarded to somebody, our Via on top.
#[derive(Clone, Debug)]
pub struct Hop {
    pub to: String,
    relay: RelayId,
    branch: BranchId,
    request: Request,
}

/// Where the answer goes that a server has for us.
#[derive(Clone, Debug)]
enum Back {
    Hop(Hop),
    Sent(Sent),
}

/// What is known of the call and of the requests in it.
#[derive(Debug, Default)]
pub struct Calls {
    /// Requests that somebody may answer.
    hops: Vec<Hop>,
    /// Who sent each request, and for a server on account of what.
    senders: BTreeMap<u64, (String, Option<Back>)>,
    invite: Option<(u64, String, Request)>,
    /// The INVITE as it arrived, and its 200.
    arrived: Option<(Request, Response)>,
    caller: Option<Dialog>,
    callee: Option<Dialog>,
    serial: u32,
}

impl World {
    /// The service-route of the one contact.
    fn service_route(&self) -> String {
        let record = serde_json::to_value(&self.user).unwrap();
        let id = record["registration"]["sets"][0]["bindings"][0]["id"].as_u64().unwrap();
        let token = self.policy.tokens.mint(TokenKind::ServiceRoute, &Impi::new(IMPI).unwrap(), id);
        format!("Route: <sip:{token}@scscf.home1.net:5060;lr>\r\n")
    }

    /// `party` calls the other one.
    pub fn invite(&mut self, party: &str) {
        let by_alice = party != "bob";
        let (from, to, at, route) = match by_alice {
            true => (ALICE, BOB, "sip:alice@10.0.0.1:5060", self.service_route()),
            false => (BOB, ALICE, BOB_AT, String::new()),
        };
        let n = self.next();
        let invite = request(&format!(
            "INVITE {to} SIP/2.0\r\nVia: SIP/2.0/UDP {party}.example;branch=z9hG4bK{n}\r\nMax-Forwards: 70\r\n{route}\
             From: <{from}>;tag={party}\r\nTo: <{to}>\r\nCall-ID: call-{n}\r\nCSeq: 1 INVITE\r\nContact: <{at}>\r\n\
             P-Asserted-Identity: <{from}>\r\nContent-Length: 0\r\n\r\n"
        ));
        let tx = self.sends(party, None, invite.clone());
        self.calls.invite = Some((tx, party.to_owned(), invite));
    }

    fn sends(&mut self, party: &str, back: Option<Back>, request: Request) -> u64 {
        let tx = self.next();
        self.open.insert(tx);
        self.calls.senders.insert(tx, (party.to_owned(), back));
        let source = Source { address: [127, 0, 0, 1].into(), trusted: true };
        self.step(Event::Request { tx: ServerTx(tx), request, source });
        tx
    }

    /// The caller cancels.
    pub fn cancel_call(&mut self) {
        let (tx, ..) = self.calls.invite.clone().unwrap();
        self.step(Event::Cancel { of: ServerTx(tx), reason: None });
    }

    /// The caller acknowledges.
    pub fn acknowledge(&mut self) {
        let ack = self.calls.caller.as_ref().unwrap().ack(1).finish();
        self.pass_ack(ack);
    }

    fn pass_ack(&mut self, ack: Request) {
        let source = Source { address: [127, 0, 0, 1].into(), trusted: true };
        let request = self.with_via(ack);
        self.step(Event::Ack { request, source });
    }

    fn with_via(&mut self, request: Request) -> Request {
        self.calls.serial += 1;
        let mut edit = request.edit();
        edit.push_top(
            Name::Via,
            format_args!("SIP/2.0/UDP party.example;branch=z9hG4bKp{}", self.calls.serial),
        );
        edit.finish()
    }

    /// `party` says something in the dialog.
    pub fn says(&mut self, party: &str, method: Method) {
        let is_caller = self.calls.invite.as_ref().unwrap().1 == party;
        let dialog = if is_caller { &mut self.calls.caller } else { &mut self.calls.callee };
        let request = dialog.as_mut().unwrap().request(method).finish();
        let request = self.with_via(request);
        self.sends(party, None, request);
    }

    /// `party` answers what it was sent last.
    pub fn answers(&mut self, party: &str, status: u16) {
        let at = self.calls.hops.iter().rposition(|hop| hop.to == party);
        let hop = self
            .calls
            .hops
            .get(at.unwrap_or_else(|| panic!("{party} has nothing to answer")))
            .cloned()
            .unwrap();
        if status >= 200 {
            self.calls.hops.remove(at.unwrap());
        }
        let mut answer = hop.request.respond(Status::new(status).unwrap(), party);
        for route in hop.request.lines(Name::RecordRoute) {
            answer = answer.header(Name::RecordRoute, route);
        }
        let contact = hop.request.uri_text().to_owned();
        let contact = match party {
            "bob" => BOB_AT.to_owned(),
            server if server.starts_with("as") => format!("sip:{server}.home1.net"),
            _ => contact,
        };
        let answer = answer.header(Name::Contact, format_args!("<{contact}>")).finish();
        if answer.status().is_success()
            && answer.cseq().method == Method::Invite
            && hop.request.to_tag().is_none()
        {
            self.calls.arrived = Some((hop.request.clone(), answer.clone()));
        }
        self.hear(&hop, answer);
    }

    fn hear(&mut self, hop: &Hop, answer: Response) {
        let to = Purpose::Relay(hop.relay, hop.branch);
        self.step(Event::Reply { to, reply: Reply::Response(answer) });
    }

    /// A server that has an INVITE.
    pub fn server_at_work(&self) -> Option<String> {
        let hop = self.calls.hops.iter().rfind(|hop| hop.to.starts_with("as"))?;
        Some(hop.to.clone())
    }

    /// A server passes on what it was sent last.
    pub fn passes(&mut self, server: &str) {
        let sent = self.sent.iter().position(|sent| next_of(&sent.request).as_deref() == Some(server));
        let (back, request) = match sent {
            Some(at) => {
                let sent = self.sent.remove(at);
                (Back::Sent(sent.clone()), sent.request)
            }
            None => {
                let at =
                    self.calls.hops.iter().rposition(|hop| hop.to == server).expect("something to pass on");
                let hop = self.calls.hops.remove(at);
                (Back::Hop(hop.clone()), hop.request)
            }
        };
        let mut edit = request.edit();
        edit.remove_top_value(Name::Route);
        if *request.method() == Method::Invite && request.to_tag().is_none() {
            edit.push_top(Name::RecordRoute, format_args!("<sip:{server}.home1.net;lr>"));
        }
        let request = edit.finish();
        let request = self.with_via(request);
        self.sends(server, Some(back), request);
    }

    /// What the user does to forward something.
    pub(super) fn forward(&mut self, effect: Effect) {
        match &effect {
            Effect::Relay { relay, branch, request, mark, .. } => {
                let (relay, branch) = (*relay, *branch);
                let to = next_of(request).unwrap_or_else(|| whose(request.uri_text()));
                self.arrows.push(format!("{to} {}", request.method()));
                let mut edit = request.edit();
                let unique = relay.0 ^ u64::from(branch.0);
                edit.push_top(
                    Name::Via,
                    format_args!("SIP/2.0/UDP scscf.home1.net;branch=z9hG4bK{unique:032x}{mark:016x}"),
                );
                self.calls.hops.push(Hop { to, relay, branch, request: edit.finish() });
            }
            Effect::Cancel { relay, branch, reason } => {
                let hop =
                    self.calls.hops.iter().find(|hop| (hop.relay, hop.branch) == (*relay, *branch)).cloned();
                let to = hop.map_or_else(|| "nobody".to_owned(), |hop| hop.to);
                self.arrows.push(format!("{to} CANCEL{}", words(reason.as_deref())));
            }
            Effect::Pass { request } => {
                let next = next_of(request);
                let to = next.clone().unwrap_or_else(|| whose(request.uri_text()));
                self.arrows.push(format!("{to} ACK"));
                if next.is_some() {
                    let mut edit = request.edit();
                    edit.remove_top_value(Name::Route);
                    self.pass_ack(edit.finish());
                }
            }
            Effect::Respond { .. }
            | Effect::Send { .. }
            | Effect::CxRequest { .. }
            | Effect::CxAnswer { .. }
            | Effect::Tell { .. }
            | Effect::TellSiblings { .. } => panic!("{effect:?} forwards nothing"),
        }
    }

    /// A response to a request of the call; `false` if it is to something else.
    pub(super) fn responded(&mut self, tx: u64, response: &Response) -> bool {
        let Some((sender, back)) = self.calls.senders.get(&tx).cloned() else { return false };
        let method = response.cseq().method;
        let of = if method == Method::Invite { String::new() } else { format!(" {method}") };
        self.arrows.push(format!(
            "{sender} {}{of}{}",
            response.status().code(),
            words(response.get(Name::Reason).as_deref())
        ));
        if response.status().is_final() {
            self.open.remove(&tx);
        }
        match back {
            Some(back) => {
                let mut edit = response.edit();
                edit.remove_top_value(Name::Via);
                let passed = edit.finish();
                match back {
                    Back::Hop(hop) => self.hear(&hop, passed),
                    Back::Sent(sent) => {
                        self.step(Event::Reply { to: sent.purpose, reply: Reply::Response(passed) })
                    }
                }
            }
            None if method == Method::Invite && response.status().is_success() => self.answered(tx, response),
            None => {}
        }
        true
    }

    /// Both sides know the dialog.
    fn answered(&mut self, tx: u64, response: &Response) {
        let Some((of, _, invite)) = &self.calls.invite else { return };
        let Some((arrived, answer)) = self.calls.arrived.clone().filter(|_| *of == tx) else { return };
        self.calls.caller = Some(Dialog::established(invite, response).unwrap());
        self.calls.callee = Some(Dialog {
            call_id: invite.call_id().into(),
            local: answer.to(),
            remote: arrived.from(),
            target: arrived.addresses(Name::Contact).unwrap()[0].uri.clone(),
            routes: answer.values(Name::RecordRoute).map(|value| value.as_ref().into()).collect(),
            local_cseq: 0,
            remote_cseq: arrived.cseq().number,
        });
    }
}

/// The server that stands first in Route.
pub fn next_of(request: &Request) -> Option<String> {
    let first = request.addresses(Name::Route).unwrap().into_iter().next()?;
    let name = first.uri.host().split('.').next().unwrap();
    name.starts_with("as").then(|| name.to_owned())
}

/// Who is reached there.
pub fn whose(uri: &str) -> String {
    let server = uri.strip_prefix("sip:").filter(|host| host.starts_with("as"));
    match server {
        Some(host) => host.split('.').next().unwrap().to_owned(),
        None => (if uri.starts_with("sip:bob@") { "bob" } else { "ue1" }).to_owned(),
    }
}

/// The words of a Reason.
pub fn words(reason: Option<&str>) -> String {
    let text = reason.and_then(|reason| reason.split("text=").nth(1));
    text.map_or_else(String::new, |text| format!(" {text}"))
}
