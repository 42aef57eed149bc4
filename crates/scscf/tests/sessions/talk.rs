//! RFC 3261 §12.2 to §15, RFC 4028 — dialogs of calls: what is sent and taken in them, and how they end.

use crate::network::Network;
use crate::ue::{Alarm, Complaint, Deed, Notice, Phone, Rudeness};
use sip::dialog::DialogId;
use sip::header::session_expires::Refresher;
use sip::transaction::ServerId;
use sip::{Dialog, Headers, Method, Name, Request, Response, SessionExpires, Status};

pub(crate) const T1: u64 = 500;
const T2: u64 = 4_000;
/// 64*T1: what is not acknowledged by then is given up.
pub(crate) const LIFE: u64 = 32_000;
/// Two messages that crossed each other arrive within that time in fair weather.
const CROSSING: u64 = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Early,
    Confirmed,
    Over,
}

/// One dialog of a leg: a caller may have several.
#[derive(Clone)]
pub(crate) struct Talk {
    pub(crate) dialog: Dialog,
    /// Names it at every place it passes.
    pub(crate) name: String,
    pub(crate) phase: Phase,
    pub(crate) was_confirmed: bool,
    /// When it was answered.
    pub(crate) since: u64,
    pub(crate) over_at: Option<u64>,
    /// When our BYE was answered.
    pub(crate) bye_answered: Option<u64>,
    pub(crate) bye_sent: bool,
    /// A BYE came and was answered with 200.
    pub(crate) byed: bool,
    pub(crate) byed_by_us: bool,
    /// BYEs of the S-CSCF.
    pub(crate) our_byes: u32,
    /// The 200 that awaits its ACK.
    pub(crate) ok: Option<Waiting>,
    pub(crate) ack: Option<Request>,
    hang_up_due: bool,
    inviting: bool,
    version: u32,
    interval: u32,
    pub(crate) rseq: u32,
    /// The last request of the other side was in truth of the S-CSCF.
    last_ours: bool,
    /// The ACK to the INVITE came.
    pub(crate) acknowledged: bool,
}

#[derive(Clone)]
pub(crate) struct Waiting {
    server: ServerId,
    response: Response,
    cseq: u32,
    since: u64,
    interval: u64,
}

impl Talk {
    pub(crate) fn new(dialog: Dialog, name: &str) -> Self {
        Self {
            dialog,
            name: name.into(),
            phase: Phase::Early,
            was_confirmed: false,
            since: 0,
            over_at: None,
            bye_answered: None,
            bye_sent: false,
            byed: false,
            byed_by_us: false,
            our_byes: 0,
            ok: None,
            ack: None,
            hang_up_due: false,
            inviting: false,
            version: 0,
            interval: 0,
            rseq: 0,
            last_ours: false,
            acknowledged: false,
        }
    }

    pub(crate) fn end(&mut self, now: u64) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            self.over_at = Some(now);
        }
    }

    /// Whether it is acknowledged, as far as this side can tell.
    pub(crate) fn is_settled(&self) -> bool {
        self.ok.is_none() && !self.inviting
    }
}

pub(crate) fn header(message: &Headers, name: &str) -> Option<String> {
    message.named(name).map(|value| value.into_owned())
}

/// Whether it is a message of the S-CSCF that a registration is over.
pub(crate) fn says_why(message: &Headers) -> bool {
    message.get(Name::Reason).is_some_and(|reason| reason.contains("cause=480"))
}

pub(crate) fn knows(message: &Headers, name: Name, tag: &str) -> bool {
    message.values(name).any(|value| value.eq_ignore_ascii_case(tag))
}

impl Phone {
    pub(crate) fn await_ack(
        &mut self,
        leg: usize,
        talk: usize,
        server: ServerId,
        response: Response,
        cseq: u32,
        network: &mut Network,
    ) {
        let waiting = Waiting { server, response: response.clone(), cseq, since: network.now, interval: T1 };
        self.legs[leg].talks[talk].ok = Some(waiting);
        self.set(T1, Alarm::Repeat { leg, talk, cseq }, network);
        self.say(server, response, network);
    }

    pub(crate) fn hang_up(&mut self, leg: usize, talk: usize, network: &mut Network) {
        let (caller, call) = (self.legs[leg].caller, self.legs[leg].call);
        let name = self.name.clone();
        let held = &mut self.legs[leg].talks[talk];
        if held.phase != Phase::Confirmed {
            return;
        }
        if !caller && held.ok.as_ref().is_some_and(|ok| network.now < ok.since + LIFE) {
            // RFC 3261 §15: not before the ACK.
            held.hang_up_due = true;
            return;
        }
        held.end(network.now);
        held.ok = None;
        held.bye_sent = true;
        let bye =
            held.dialog.request(Method::Bye).raw("X-From", &name).raw("X-Call", &call.to_string()).finish();
        self.notices.push(Notice::Ended { leg, talk });
        self.ask_within(leg, talk, bye, network);
        self.work(network);
    }

    pub(crate) fn within_talk(&mut self, leg: usize, deed: Deed, network: &mut Network) {
        let fit = |talk: &Talk| talk.phase == Phase::Confirmed && talk.is_settled();
        let Some(talk) = self.legs[leg].talks.iter().position(fit) else { return };
        self.ask_in_talk(leg, talk, deed, network);
    }

    fn ask_in_talk(&mut self, leg: usize, talk: usize, deed: Deed, network: &Network) {
        let (contact, timer, name) = (self.legs[leg].contact.clone(), self.timer, self.name.clone());
        let held = &mut self.legs[leg].talks[talk];
        let method = match deed {
            Deed::Reinvite => Method::Invite,
            Deed::Update => Method::Update,
            _ => Method::Info,
        };
        held.inviting |= method == Method::Invite;
        let refreshes = method != Method::Info;
        let mut request = held.dialog.request(method).raw("X-From", &name);
        if refreshes {
            request = request.header(Name::Contact, format_args!("<{contact}>"));
        }
        if refreshes && timer {
            request = request.header(Name::Supported, "timer");
            if held.interval > 0 {
                let wanted = SessionExpires::new(held.interval).refreshed_by(Refresher::Uac);
                request = request.header(Name::SessionExpires, wanted);
            }
        }
        let request = request.finish();
        self.ask_within(leg, talk, request, network);
    }

    fn find(&self, id: &DialogId) -> Option<(usize, usize)> {
        self.legs.iter().enumerate().find_map(|(leg, held)| {
            let talk = held.talks.iter().position(|talk| talk.dialog.id() == *id)?;
            Some((leg, talk))
        })
    }

    pub(crate) fn acknowledged(&mut self, request: &Request) {
        let found = DialogId::of_request(request).and_then(|id| self.find(&id));
        let Some((leg, talk)) = found else {
            return self.complain(format!("{request:?} belongs to no dialog"));
        };
        if request.has(Name::Route) || *request.uri() != self.legs[leg].contact {
            self.complain(format!("{request:?} is not for {}", self.legs[leg].contact));
        }
        let held = &mut self.legs[leg].talks[talk];
        held.acknowledged = true;
        if held.ok.as_ref().is_some_and(|ok| ok.cseq == request.cseq_number()) {
            held.ok = None;
        }
    }

    /// A request in a dialog: RFC 3261 §12.2.2.
    pub(crate) fn within(&mut self, id: ServerId, request: &Request, network: &mut Network) {
        let ours = header(request, "X-From").is_none();
        let what = format!("{} {}", request.method(), request.cseq_number());
        let Some((leg, talk)) = DialogId::of_request(request).and_then(|id| self.find(&id)) else {
            self.doubt(format!("{what} belongs to no dialog: {}", request.call_id()));
            return self.respond(id, request, 481, "none", network);
        };
        let (caller, tag) = (self.legs[leg].caller, self.legs[leg].tag.clone());
        let held = &mut self.legs[leg].talks[talk];
        let named = held.dialog.remote.uri == request.from().uri && held.dialog.local.uri == request.to().uri;
        let overtaken = held.last_ours;
        let order = held.dialog.received(request);
        if order.is_ok() {
            held.last_ours = ours;
        }
        let phase = held.phase;
        if *request.uri() != self.legs[leg].contact {
            self.complain(format!("{request:?} is not for {}", self.legs[leg].contact));
        }
        if !named {
            self.complain(format!("{what} from {} to {}", request.from(), request.to()));
        }
        if let Err(error) = order {
            if ours {
                let why = format!("{}: {what} of the S-CSCF: {error}", self.name);
                // The BYEs of two owners may overtake each other, and one by an application server the next
                // past it.
                let complaint =
                    if overtaken { Complaint::InFairWeather(why) } else { Complaint::Always(why) };
                self.complaints.push(complaint);
            }
            return self.respond(id, request, 500, &tag, network);
        }
        if *request.method() == Method::Bye {
            return self.byed(id, request, leg, talk, ours, network);
        }
        if ours {
            self.complain(format!("{what} was sent by nobody"));
        }
        let early = !caller && phase == Phase::Early;
        match request.method() {
            Method::Prack if early => self.pracked(id, request, leg, network),
            _ if phase != Phase::Confirmed => self.respond(id, request, 481, &tag, network),
            Method::Invite => self.reinvited(id, request, leg, talk, network),
            Method::Update => {
                let granted = self.accepted_timer(request);
                let response = self.refreshed(leg, request, &tag, granted.as_ref());
                self.say(id, response, network);
                self.time(leg, talk, granted, false, network);
            }
            _ => self.respond(id, request, 200, &tag, network),
        }
    }

    fn byed(
        &mut self,
        id: ServerId,
        request: &Request,
        leg: usize,
        talk: usize,
        ours: bool,
        network: &mut Network,
    ) {
        let tag = self.legs[leg].tag.clone();
        let caller = self.legs[leg].caller;
        let held = self.legs[leg].talks[talk].clone();
        let what = format!("BYE {} for call {}", request.cseq_number(), self.legs[leg].call);
        self.legs[leg].talks[talk].our_byes += u32::from(ours);
        if self.rudeness == Rudeness::IgnoresBye && held.byed {
            return;
        }
        if ours && self.rudeness == Rudeness::RefusesBye && held.our_byes == 0 {
            return self.respond(id, request, 503, &tag, network);
        }
        match held.phase {
            Phase::Confirmed => {}
            // RFC 3261 §15: the callee must not end a dialog that is not confirmed.
            Phase::Early if caller => self.doubt(format!("{what} before the answer")),
            Phase::Early => {}
            Phase::Over => {
                if held.byed {
                    self.doubt(format!("{what} again"));
                } else if ours
                    && held.bye_sent
                    && held.bye_answered.is_some_and(|at| network.now > at + CROSSING)
                {
                    self.doubt(format!("{what} after its own BYE was answered"));
                } else if !held.bye_sent && ours {
                    self.doubt(format!("{what} for a dialog that never was confirmed"));
                }
                let status = if held.byed { 481 } else { 200 };
                self.legs[leg].talks[talk].byed = true;
                return self.respond(id, request, status, &tag, network);
            }
        }
        if ours && !says_why(request) {
            self.complain(format!("{what} of the S-CSCF without a reason"));
        }
        let held = &mut self.legs[leg].talks[talk];
        held.end(network.now);
        held.ok = None;
        held.byed = true;
        held.byed_by_us = ours;
        if self.rudeness != Rudeness::IgnoresBye {
            self.respond(id, request, 200, &tag, network);
        }
        if !caller {
            self.reject(leg, 487, network);
        }
        self.notices.push(Notice::Ended { leg, talk });
    }

    fn pracked(&mut self, id: ServerId, request: &Request, leg: usize, network: &mut Network) {
        let tag = self.legs[leg].tag.clone();
        self.respond(id, request, 200, &tag, network);
        self.legs[leg].reliable = None;
        if std::mem::take(&mut self.legs[leg].answer_due) {
            self.answer(leg, network);
        }
    }

    fn reinvited(&mut self, id: ServerId, request: &Request, leg: usize, talk: usize, network: &mut Network) {
        let tag = self.legs[leg].tag.clone();
        if !self.legs[leg].talks[talk].is_settled() {
            return self.respond(id, request, 491, &tag, network);
        }
        if network.dice.chance(10) {
            return self.respond(id, request, 488, &tag, network);
        }
        let granted = self.accepted_timer(request);
        let response = self.refreshed(leg, request, &tag, granted.as_ref());
        self.await_ack(leg, talk, id, response, request.cseq_number(), network);
        self.time(leg, talk, granted, false, network);
    }

    fn refreshed(
        &self,
        leg: usize,
        request: &Request,
        tag: &str,
        granted: Option<&SessionExpires>,
    ) -> Response {
        let mut response = request
            .respond(Status::OK, tag)
            .header(Name::Contact, format_args!("<{}>", self.legs[leg].contact));
        if let Some(granted) = granted {
            response = response.header(Name::SessionExpires, granted);
            if granted.refresher == Some(Refresher::Uac) {
                response = response.header(Name::Require, "timer");
            }
        }
        response.finish()
    }

    pub(crate) fn within_answered(
        &mut self,
        leg: usize,
        talk: usize,
        reinvite: bool,
        response: Option<&Response>,
        status: u16,
        network: &mut Network,
    ) {
        let held = &mut self.legs[leg].talks[talk];
        if reinvite {
            held.inviting = false;
            if status < 300
                && let Some(response) = response
            {
                let ack = held.dialog.ack(response.cseq_number()).raw("X-From", "ack").finish();
                self.stack.send_ack(&ack);
            }
        }
        let prack = response.is_some_and(|response| response.cseq().method == Method::Prack);
        let held = &mut self.legs[leg].talks[talk];
        if held.phase != Phase::Confirmed || prack {
            return;
        }
        if status == 481 || status == 408 {
            // RFC 3261 §12.2.1.2: the other side is gone.
            return self.hang_up(leg, talk, network);
        }
        let refreshes = response.is_some_and(|response| {
            matches!(response.cseq().method, Method::Invite | Method::Update) && status < 300
        });
        if refreshes && let Some(response) = response {
            self.legs[leg].talks[talk].dialog.refresh_target(response);
            let granted = response.session_expires().unwrap();
            self.time(leg, talk, granted, true, network);
        }
    }

    /// RFC 4028 §9: the timer that a callee grants.
    pub(crate) fn accepted_timer(&self, request: &Request) -> Option<SessionExpires> {
        let asked = request.session_expires().unwrap().filter(|_| self.timer)?;
        let known = knows(request, Name::Supported, "timer");
        let refresher = match asked.refresher {
            Some(refresher) if known => refresher,
            _ if known => Refresher::Uac,
            _ => Refresher::Uas,
        };
        Some(SessionExpires::new(asked.interval).refreshed_by(refresher))
    }

    /// RFC 4028 §10: sets the session timer.
    pub(crate) fn time(
        &mut self,
        leg: usize,
        talk: usize,
        granted: Option<SessionExpires>,
        asked: bool,
        network: &mut Network,
    ) {
        let held = &mut self.legs[leg].talks[talk];
        held.version += 1;
        let version = held.version;
        let Some(granted) = granted.filter(|_| self.timer) else { return };
        held.interval = granted.interval;
        let interval = u64::from(granted.interval) * 1000;
        if (granted.refresher == Some(Refresher::Uac)) == asked {
            self.set(interval / 2, Alarm::Refresh { leg, talk, version }, network);
        }
        let early = (interval / 3).min(32_000);
        self.set(interval - early, Alarm::Lapse { leg, talk, version }, network);
    }

    pub(crate) fn ring(&mut self, alarm: Alarm, network: &mut Network) {
        if !self.alive {
            return;
        }
        match alarm {
            Alarm::Deed { leg, deed } => return self.deed(leg, deed, network),
            Alarm::Refresh { .. } | Alarm::Lapse { .. } if self.rudeness == Rudeness::NeverRefreshes => {}
            Alarm::Patience { leg } => {
                if self.legs[leg].pending {
                    self.doubt(format!("call {} rings for ever", self.legs[leg].call));
                    self.reject(leg, 480, network);
                }
            }
            Alarm::Repeat { leg, talk, cseq } => self.repeat(leg, talk, cseq, network),
            Alarm::Reliable { leg, interval } => {
                let Some((since, response)) = self.legs[leg].reliable.clone() else { return };
                let Some(server) = self.legs[leg].server else { return };
                if network.now >= since + LIFE {
                    self.reject(leg, 504, network);
                } else {
                    self.say(server, response, network);
                    self.set(interval * 2, Alarm::Reliable { leg, interval: interval * 2 }, network);
                }
            }
            Alarm::Refresh { leg, talk, version } => {
                let held = &self.legs[leg].talks[talk];
                if held.version == version && held.phase == Phase::Confirmed {
                    self.ask_in_talk(leg, talk, Deed::Update, network);
                }
            }
            Alarm::Lapse { leg, talk, version } => {
                if self.legs[leg].talks[talk].version == version {
                    self.hang_up(leg, talk, network);
                }
            }
        }
        self.work(network);
    }

    fn repeat(&mut self, leg: usize, talk: usize, cseq: u32, network: &mut Network) {
        let held = &mut self.legs[leg].talks[talk];
        let due = std::mem::take(&mut held.hang_up_due);
        match &mut held.ok {
            Some(ok) if ok.cseq == cseq && network.now < ok.since + LIFE => {
                held.hang_up_due = due;
                ok.interval = (ok.interval * 2).min(T2);
                let (server, response, interval) = (ok.server, ok.response.clone(), ok.interval);
                self.say(server, response, network);
                self.set(interval, Alarm::Repeat { leg, talk, cseq }, network);
            }
            // RFC 3261 §13.3.1.4: no ACK, no call.
            Some(ok) if ok.cseq == cseq => self.hang_up(leg, talk, network),
            // A later INVITE waits for its ACK.
            Some(_) => held.hang_up_due = due,
            None if due => self.hang_up(leg, talk, network),
            None => {}
        }
    }
}
