//! RFC 3261 §13, RFC 3262 — calls as a telephone keeps them, until they are answered.

use crate::network::Network;
use crate::talk::{Phase, T1, Talk, header, knows, says_why};
use crate::ue::{Alarm, Deed, Notice, Phone, Rudeness};
use sip::header::session_expires::Refresher;
use sip::transaction::{ClientId, ServerId};
use sip::{Dialog, Method, Name, Request, Response, Status, Uri};

/// One INVITE outside a dialog, and what came of it.
#[derive(Clone)]
pub(crate) struct Leg {
    /// Which call it belongs to, from end to end.
    pub(crate) call: u32,
    pub(crate) caller: bool,
    pub(crate) tag: String,
    pub(crate) invite: Request,
    pub(crate) client: Option<ClientId>,
    pub(crate) server: Option<ServerId>,
    /// Without final response.
    pub(crate) pending: bool,
    /// The caller wants no answer any more.
    pub(crate) unwanted: bool,
    pub(crate) talks: Vec<Talk>,
    /// The contact of this side.
    pub(crate) contact: Uri,
    pub(crate) began: u64,
    /// When it had its final response, if that was no 2xx.
    pub(crate) over_at: Option<u64>,
    /// The other side of a B2BUA.
    pub(crate) peer: Option<usize>,
    /// The final status it ended with.
    pub(crate) status: Option<u16>,
    /// The S-CSCF ended it before it was answered, and said why.
    pub(crate) released: bool,
    /// The reliable provisional response that awaits its PRACK, since when.
    pub(crate) reliable: Option<(u64, Response)>,
    /// The answer waits for the PRACK.
    pub(crate) answer_due: bool,
}

impl Phone {
    fn leg(&self, call: u32, caller: bool, invite: Request, tag: String, now: u64) -> Leg {
        let registered = self.line.as_ref().and_then(|line| line.registered.clone());
        let contact = match (caller, &self.line) {
            (true, Some(_)) => registered.unwrap_or_else(|| self.contact.clone()),
            (false, Some(_)) => invite.uri().clone(),
            (_, None) => self.contact.clone(),
        };
        Leg {
            call,
            caller,
            tag,
            invite,
            client: None,
            server: None,
            pending: true,
            unwanted: false,
            talks: Vec::new(),
            contact,
            began: now,
            over_at: None,
            peer: None,
            status: None,
            released: false,
            reliable: None,
            answer_due: false,
        }
    }

    /// Calls somebody; the leg it has.
    pub(crate) fn call(
        &mut self,
        call: u32,
        target: &str,
        routes: &[String],
        extra: &[(Name, String)],
        network: &mut Network,
    ) -> usize {
        let n = self.fresh();
        let tag = format!("{}c{n}", self.name);
        let registered = self.line.as_ref().and_then(|line| line.registered.clone());
        let contact = registered.unwrap_or_else(|| self.contact.clone());
        let supported = if self.timer { "100rel, timer" } else { "100rel" };
        let mut builder = Request::build(Method::Invite, &Uri::parse(target).unwrap())
            .header(Name::MaxForwards, 70)
            .header(Name::From, format_args!("<{}>;tag={tag}", self.aor))
            .header(Name::To, format_args!("<{target}>"))
            .header(Name::CallId, format_args!("{}-{n}@{}", self.name, call))
            .header(Name::CSeq, format_args!("{} INVITE", 1 + network.dice.below(50)))
            .header(Name::Contact, format_args!("<{contact}>"))
            .header(Name::Supported, supported)
            .raw("X-Call", &call.to_string());
        for route in routes {
            builder = builder.header(Name::Route, route);
        }
        for (name, value) in extra {
            builder = builder.header(*name, value);
        }
        self.launch(call, builder.finish(), tag, network)
    }

    pub(crate) fn launch(&mut self, call: u32, invite: Request, tag: String, network: &mut Network) -> usize {
        let leg = self.leg(call, true, invite.clone(), tag, network.now);
        self.legs.push(leg);
        let leg = self.legs.len() - 1;
        self.ask_invite(leg, invite, network);
        self.work(network);
        leg
    }

    pub(crate) fn incoming(&mut self, id: ServerId, request: &Request, network: &mut Network) {
        // RFC 3261 §8.2.2.2: the same INVITE by another way.
        let same = |leg: &Leg| {
            !leg.caller
                && leg.invite.call_id() == request.call_id()
                && leg.invite.from_tag() == request.from_tag()
                && leg.invite.cseq_number() == request.cseq_number()
        };
        if self.legs.iter().any(same) {
            return self.respond(id, request, 482, "merged", network);
        }
        let Some(call) = header(request, "X-Call").and_then(|call| call.parse().ok()) else {
            return self.complain("an INVITE lost a header on its way");
        };
        if self.line.is_some() && !request.has(Name::PCalledPartyId) {
            self.complain("an INVITE without P-Called-Party-ID");
        }
        let n = self.fresh();
        let tag = format!("{}e{n}", self.name);
        let Ok(dialog) = Dialog::accepted(request, &tag) else {
            return self.complain("an INVITE that makes no dialog");
        };
        let mut leg = self.leg(call, false, request.clone(), tag.clone(), network.now);
        leg.server = Some(id);
        leg.talks.push(Talk::new(dialog, &tag));
        self.legs.push(leg);
        self.notices.push(Notice::Incoming { leg: self.legs.len() - 1 });
    }

    /// A response of the callee's.
    fn response(&self, leg: usize, status: u16) -> sip::ResponseBuilder {
        let leg = &self.legs[leg];
        let mut response = leg
            .invite
            .respond(Status::new(status).unwrap(), &leg.tag)
            .header(Name::Contact, format_args!("<{}>", leg.contact))
            .raw("X-Leg", &leg.talks[0].name);
        for route in leg.invite.lines(Name::RecordRoute) {
            response = response.header(Name::RecordRoute, route);
        }
        response
    }

    pub(crate) fn deed(&mut self, leg: usize, deed: Deed, network: &mut Network) {
        if !self.alive {
            return;
        }
        match deed {
            Deed::Ring => self.provisional(leg, 180, false, network),
            Deed::Progress => self.provisional(leg, 183, true, network),
            Deed::Answer => self.answer(leg, network),
            Deed::Reject(status) => self.reject(leg, status, network),
            Deed::Cancel => self.give_up(leg, network),
            Deed::HangUp => {
                self.give_up(leg, network);
                for talk in 0..self.legs[leg].talks.len() {
                    self.hang_up(leg, talk, network);
                }
            }
            Deed::Reinvite | Deed::Update | Deed::Info => self.within_talk(leg, deed, network),
        }
        self.work(network);
    }

    fn provisional(&mut self, leg: usize, status: u16, reliable: bool, network: &mut Network) {
        let (Some(server), true) = (self.legs[leg].server, self.legs[leg].pending) else { return };
        let mut response = self.response(leg, status);
        let reliable = reliable
            && self.legs[leg].reliable.is_none()
            && knows(&self.legs[leg].invite, Name::Supported, "100rel");
        if reliable {
            response = response.header(Name::Require, "100rel").header(Name::RSeq, 1);
        }
        let response = response.finish();
        if reliable {
            self.legs[leg].reliable = Some((network.now, response.clone()));
            self.set(T1, Alarm::Reliable { leg, interval: T1 }, network);
        }
        self.say(server, response, network);
    }

    pub(crate) fn answer(&mut self, leg: usize, network: &mut Network) {
        let (Some(server), true) = (self.legs[leg].server, self.legs[leg].pending) else { return };
        if self.legs[leg].reliable.is_some() {
            self.legs[leg].answer_due = true;
            return;
        }
        let mut response = self.response(leg, 200);
        let asked = self.accepted_timer(&self.legs[leg].invite);
        if let Some(granted) = &asked {
            response = response.header(Name::SessionExpires, granted);
            if granted.refresher == Some(Refresher::Uac) {
                response = response.header(Name::Require, "timer");
            }
        }
        let response = response.finish();
        let cseq = self.legs[leg].invite.cseq_number();
        self.legs[leg].pending = false;
        self.legs[leg].talks[0].phase = Phase::Confirmed;
        self.legs[leg].talks[0].was_confirmed = true;
        self.legs[leg].talks[0].since = network.now;
        self.await_ack(leg, 0, server, response, cseq, network);
        self.time(leg, 0, asked, false, network);
    }

    pub(crate) fn reject(&mut self, leg: usize, status: u16, network: &mut Network) {
        let (Some(server), true) = (self.legs[leg].server, self.legs[leg].pending) else { return };
        let response =
            self.legs[leg].invite.respond(Status::new(status).unwrap(), &self.legs[leg].tag).finish();
        self.over(leg, Some(status), network);
        self.say(server, response, network);
        self.work(network);
    }

    /// The INVITE has its final response, which was no 2xx.
    fn over(&mut self, leg: usize, status: Option<u16>, network: &Network) {
        let leg = &mut self.legs[leg];
        leg.pending = false;
        leg.status = status;
        leg.reliable = None;
        leg.over_at = leg.over_at.or(Some(network.now));
        for talk in leg.talks.iter_mut().filter(|talk| talk.phase == Phase::Early) {
            talk.end(network.now);
        }
    }

    /// The caller waits no longer.
    fn give_up(&mut self, leg: usize, network: &mut Network) {
        if let (Some(client), true) = (self.legs[leg].client, self.legs[leg].pending) {
            self.legs[leg].unwanted = true;
            self.stack.cancel(client, None, network.now);
        }
    }

    pub(crate) fn invite_answered(&mut self, leg: usize, response: Option<&Response>, network: &mut Network) {
        let Some(response) = response else {
            if self.legs[leg].pending {
                self.over(leg, Some(408), network);
                self.notices.push(Notice::Failed { leg, status: 408 });
            }
            return;
        };
        let status = response.status();
        if status.is_provisional() {
            self.progressed(leg, response, network);
        } else if status.is_success() {
            self.accepted(leg, response, network);
        } else if self.legs[leg].pending {
            self.legs[leg].released = says_why(response);
            self.over(leg, Some(status.code()), network);
            self.notices.push(Notice::Failed { leg, status: status.code() });
        }
    }

    fn progressed(&mut self, leg: usize, response: &Response, network: &mut Network) {
        if response.status() == Status::TRYING || !self.legs[leg].pending {
            return;
        }
        self.notices.push(Notice::Progress { leg, status: response.status() });
        if response.to_tag().is_none() || !response.has(Name::Contact) {
            return;
        }
        let talk = self.talk_of(leg, response);
        let rseq = response.get(Name::RSeq).and_then(|rseq| rseq.parse::<u32>().ok()).unwrap_or(0);
        let held = &mut self.legs[leg].talks[talk];
        if rseq > held.rseq && held.phase == Phase::Early && knows(response, Name::Require, "100rel") {
            held.rseq = rseq;
            let cseq = response.cseq();
            let rack = format!("{rseq} {} {}", cseq.number, cseq.method);
            let prack =
                held.dialog.request(Method::Prack).header(Name::RAck, rack).raw("X-From", "prack").finish();
            self.ask_within(leg, talk, prack, network);
        }
    }

    fn talk_of(&mut self, leg: usize, response: &Response) -> usize {
        let tag = response.to_tag().unwrap_or("");
        if let Some(known) = self.legs[leg].talks.iter().position(|talk| talk.dialog.remote_tag() == tag) {
            return known;
        }
        let name = header(response, "X-Leg").unwrap_or_default();
        match Dialog::established(&self.legs[leg].invite, response) {
            Ok(dialog) => self.legs[leg].talks.push(Talk::new(dialog, &name)),
            Err(error) => {
                self.complain(format!("{response:?} makes no dialog: {error}"));
                let dialog = Dialog::accepted(&self.legs[leg].invite, "none").unwrap();
                self.legs[leg].talks.push(Talk::new(dialog, &name));
            }
        }
        self.legs[leg].talks.len() - 1
    }

    fn accepted(&mut self, leg: usize, response: &Response, network: &mut Network) {
        let talk = self.talk_of(leg, response);
        if let Some(ack) = self.legs[leg].talks[talk].ack.clone() {
            if self.rudeness != Rudeness::NeverAcknowledges {
                self.stack.send_ack(&ack);
            }
            return;
        }
        let invite = self.legs[leg].invite.clone();
        let name = header(response, "X-Leg").unwrap_or_default();
        let lost = self.legs[leg].over_at.is_some() || self.legs[leg].unwanted;
        let other = self.legs[leg].talks.iter().any(|talk| talk.phase == Phase::Confirmed);
        let held = &mut self.legs[leg].talks[talk];
        let mut dialog = Dialog::established(&invite, response).unwrap();
        dialog.local_cseq = dialog.local_cseq.max(held.dialog.local_cseq);
        dialog.remote_cseq = held.dialog.remote_cseq;
        let ack = dialog.ack(invite.cseq_number()).raw("X-From", "ack").finish();
        held.dialog = dialog;
        held.name = name;
        held.phase = Phase::Confirmed;
        held.was_confirmed = true;
        held.over_at = None;
        held.ack = Some(ack.clone());
        self.legs[leg].pending = false;
        let rude = self.rudeness == Rudeness::NeverAcknowledges;
        for (at, early) in self.legs[leg].talks.iter_mut().enumerate() {
            if at != talk && early.phase == Phase::Early {
                early.end(network.now);
            }
        }
        if !rude {
            self.stack.send_ack(&ack);
        }
        if lost || other {
            return self.hang_up(leg, talk, network);
        }
        let granted = response.session_expires().unwrap();
        self.time(leg, talk, granted, true, network);
        self.notices.push(Notice::Answered { leg, talk });
    }

    pub(crate) fn cancelled(&mut self, of: ServerId, cancel: &Request, network: &mut Network) {
        let Some(leg) = self.legs.iter().position(|leg| leg.server == Some(of) && leg.pending) else {
            return;
        };
        self.legs[leg].released = says_why(cancel);
        self.reject(leg, 487, network);
        self.notices.push(Notice::Cancelled { leg });
    }
}
