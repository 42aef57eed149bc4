//! What stands between: the P-CSCF, and application servers that forward, answer, divert, fork or fall silent.

use crate::network::{EDGE, Network, Stack, hop_of};
use crate::ue::{Notice, Phone};
use sip::proxy::{BranchFailure, BranchId, Context, Heard};
use sip::transaction::{ClientId, Output, ServerId};
use sip::{Message, Method, Name, Request, Response, Status, Uri};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What an application server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trade {
    /// Passes it on; in the route of what follows or not.
    Proxy {
        records: bool,
    },
    /// Passes it on twice.
    Fork,
    /// Sends it to somebody else.
    Divert,
    Reject(u16),
    /// No answer at all.
    Silent,
    /// 100, then nothing.
    Trying,
    /// 180, then nothing.
    Ringing,
    /// A call of its own towards the callee.
    Back2Back,
    /// Answers itself.
    Answers,
}

impl Trade {
    pub(crate) const fn is_phone(self) -> bool {
        matches!(self, Self::Back2Back | Self::Answers)
    }
}

/// Which users an application server takes for registered, and until when.
#[derive(Default)]
pub(crate) struct Beliefs {
    pub(crate) until: BTreeMap<String, u64>,
    heard: BTreeMap<String, u32>,
}

impl Beliefs {
    /// A third-party REGISTER.
    pub(crate) fn registered(&mut self, request: &Request, now: u64) -> Response {
        let last = self.heard.entry(request.call_id().into()).or_default();
        if request.cseq_number() <= *last {
            // It was overtaken.
            return request.respond(Status::SERVER_INTERNAL_ERROR, "as").finish();
        }
        *last = request.cseq_number();
        let seconds = request.expires().unwrap().unwrap();
        let user = request.to().uri.to_string();
        match seconds {
            0 => self.until.remove(&user),
            _ => self.until.insert(user, now + u64::from(seconds) * 1000),
        };
        request.respond(Status::OK, "as").header(Name::Expires, seconds).finish()
    }
}

/// A request on its way through a proxy.
struct Passing {
    request: Request,
    context: Context,
    branches: Vec<(BranchId, ClientId)>,
    answered: bool,
}

/// A proxy that keeps transactions.
pub(crate) struct Proxy {
    pub(crate) stack: Stack,
    pub(crate) trade: Trade,
    pub(crate) alive: bool,
    pub(crate) diverts_to: String,
    pub(crate) beliefs: Beliefs,
    uri: String,
    passing: BTreeMap<ServerId, Passing>,
    sent: BTreeMap<ClientId, ServerId>,
}

impl Proxy {
    pub(crate) fn new(uri: &str, address: SocketAddr, trade: Trade, seed: u64) -> Self {
        Self {
            stack: Stack::new(address, seed ^ 0x7777_0000),
            trade,
            alive: true,
            diverts_to: String::new(),
            beliefs: Beliefs::default(),
            uri: uri.into(),
            passing: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    pub(crate) fn receive(&mut self, message: Message, from: SocketAddr, network: &mut Network) {
        let request = matches!(&message, Message::Request(request) if *request.method() != Method::Register);
        if !self.alive || (self.trade == Trade::Silent && request) {
            return;
        }
        self.stack.receive(message, from, network.now);
        self.work(network);
    }

    pub(crate) fn expire(&mut self, network: &mut Network) {
        self.stack.expire(network.now);
        self.work(network);
    }

    fn work(&mut self, network: &mut Network) {
        loop {
            let said = self.stack.said(network);
            if said.is_empty() {
                return;
            }
            for output in said {
                match output {
                    Output::Request { id, request, .. } => self.requested(id, &request, network),
                    Output::Ack { request, .. } => {
                        let onward = self.onward(&request);
                        self.stack.send_ack(&onward);
                    }
                    Output::Cancel { of: Some(of), request, .. } => self.cancelled(of, &request, network),
                    Output::Response { id, response } => self.answered(id, Some(response), network),
                    Output::TimedOut { id } | Output::TransportFailed { id } => {
                        self.answered(id, None, network);
                    }
                    Output::Cancel { of: None, .. } | Output::StrayResponse(_) | Output::Transmit { .. } => {}
                }
            }
        }
    }

    fn is_own(&self, uri: &Uri) -> bool {
        hop_of(uri) == Some(self.stack.address)
    }

    /// The request as it goes on: our own Route off, ours on Record-Route.
    fn onward(&self, request: &Request) -> Request {
        let mut edit = sip::proxy::forwarded(request);
        if request.addresses(Name::Route).unwrap().first().is_some_and(|top| self.is_own(&top.uri)) {
            edit.remove_top_value(Name::Route);
        }
        let begins = *request.method() == Method::Invite && request.to_tag().is_none();
        let records = self.trade == Trade::Proxy { records: true } || self.trade == Trade::Fork;
        if begins && records {
            edit.push_top(Name::RecordRoute, format_args!("<{};lr>", self.uri));
        }
        if self.stack.address == EDGE && *request.method() == Method::Register {
            edit.append(Name::Route, "<sip:scscf.home1.net;lr>");
        }
        if begins && self.trade == Trade::Divert {
            edit.uri(&Uri::parse(&self.diverts_to).unwrap());
        }
        edit.finish()
    }

    fn requested(&mut self, id: ServerId, request: &Request, network: &mut Network) {
        if *request.method() == Method::Register && self.stack.address != EDGE {
            let _ = self.stack.respond(id, self.beliefs.registered(request, network.now), network.now);
            return;
        }
        let begins = request.to_tag().is_none() && *request.method() != Method::Register;
        let refuse = |status: u16| request.respond(Status::new(status).unwrap(), "as").finish();
        match self.trade {
            Trade::Reject(status) if begins => {
                let _ = self.stack.respond(id, refuse(status), network.now);
                return;
            }
            Trade::Ringing if begins => {
                let _ = self.stack.respond(id, refuse(180), network.now);
                return;
            }
            Trade::Trying if begins => return,
            _ => {}
        }
        let branches = if begins && self.trade == Trade::Fork { 2 } else { 1 };
        let invite = *request.method() == Method::Invite;
        let mut passing = Passing {
            request: request.clone(),
            context: Context::new(invite),
            branches: Vec::new(),
            answered: false,
        };
        let onward = self.onward(request);
        if hop_of(onward.uri()) == Some(self.stack.address) && !onward.has(Name::Route) {
            let _ = self.stack.respond(id, refuse(404), network.now);
            return;
        }
        for branch in 0..branches {
            let branch = BranchId(branch);
            passing.context.open(branch);
            let client = self.stack.send(onward.clone(), None, network.now);
            passing.branches.push((branch, client));
            self.sent.insert(client, id);
        }
        self.passing.insert(id, passing);
    }

    fn cancelled(&mut self, of: ServerId, request: &Request, network: &Network) {
        let Some(passing) = self.passing.get(&of) else { return };
        let reason = request.get(Name::Reason).map(|reason| reason.into_owned());
        for (_, client) in passing.branches.clone() {
            self.stack.cancel(client, reason.as_deref(), network.now);
        }
    }

    fn answered(&mut self, id: ClientId, response: Option<Response>, network: &Network) {
        let Some(&server) = self.sent.get(&id) else { return };
        let Some(passing) = self.passing.get_mut(&server) else { return };
        let Some((branch, _)) = passing.branches.iter().find(|(_, client)| *client == id).copied() else {
            return;
        };
        let heard = match response {
            Some(response) => {
                let mut edit = response.edit();
                edit.remove_top_value(Name::Via);
                passing.context.received(branch, edit.finish())
            }
            None => {
                passing.context.failed(branch, BranchFailure::Timeout);
                Heard::Refused
            }
        };
        let mut cancels = false;
        match heard {
            Heard::Absorbed => {}
            Heard::Provisional(response) => {
                let _ = self.stack.respond(server, response, network.now);
            }
            Heard::Success(response) => {
                passing.answered = true;
                cancels = true;
                let _ = self.stack.respond(server, response, network.now);
            }
            Heard::Refused => {}
            Heard::Declined => cancels = true,
        }
        let open: Vec<_> = passing.context.unanswered().collect();
        if open.is_empty() && !passing.answered {
            passing.answered = true;
            let best = passing.context.best(&passing.request, "edge");
            let _ = self.stack.respond(server, best, network.now);
        }
        if cancels {
            let losers: Vec<_> =
                passing.branches.iter().filter(|(branch, _)| open.contains(branch)).copied().collect();
            for (_, client) in losers {
                self.stack.cancel(client, None, network.now);
            }
        }
    }
}

/// The two sides of a B2BUA.
impl Phone {
    /// Does on the one side what happened on the other.
    pub(crate) fn mirror(&mut self, notice: &Notice, network: &mut Network) {
        match *notice {
            Notice::Incoming { leg } => self.other_side(leg, network),
            Notice::Progress { leg, status }
                if status == Status::RINGING || status == Status::SESSION_PROGRESS =>
            {
                if let Some(peer) = self.legs[leg].peer {
                    self.deed(peer, crate::ue::Deed::Ring, network);
                }
            }
            Notice::Answered { leg, talk } => {
                let Some(peer) = self.legs[leg].peer else { return };
                let name = self.legs[leg].talks[talk].name.clone();
                if self.legs[peer].pending {
                    self.legs[peer].talks[0].name = name;
                    self.answer(peer, network);
                    self.work(network);
                } else {
                    self.hang_up(leg, talk, network);
                }
            }
            Notice::Failed { leg, status } => {
                if let Some(peer) = self.legs[leg].peer {
                    self.reject(peer, status, network);
                }
            }
            Notice::Cancelled { leg } => {
                if let Some(peer) = self.legs[leg].peer {
                    self.deed(peer, crate::ue::Deed::Cancel, network);
                }
            }
            Notice::Ended { leg, .. } => {
                if let Some(peer) = self.legs[leg].peer {
                    self.deed(peer, crate::ue::Deed::HangUp, network);
                }
            }
            Notice::Progress { .. } | Notice::Registered | Notice::Refused | Notice::AskedToRegister => {}
        }
    }

    fn other_side(&mut self, leg: usize, network: &mut Network) {
        let invite = self.legs[leg].invite.clone();
        let n = self.fresh();
        let tag = format!("{}b{n}", self.name);
        let call = self.legs[leg].call;
        let mut edit = sip::proxy::forwarded(&invite);
        for name in [Name::Via, Name::RecordRoute] {
            edit.remove(name);
        }
        edit.replace(Name::From, format_args!("<{}>;tag={tag}", invite.from().uri));
        edit.replace(Name::CallId, format_args!("{}-{n}@{call}", self.name));
        edit.replace(Name::CSeq, "1 INVITE");
        edit.replace(Name::Contact, format_args!("<{}>", self.contact));
        edit.replace(Name::Supported, if self.timer { "timer" } else { "replaces" });
        let other = self.launch(call, edit.finish(), tag, network);
        self.legs[other].peer = Some(leg);
        self.legs[leg].peer = Some(other);
    }
}
