//! RFC 3261 §12.2.2, §14.2, §15.1.2 — requests of the far side within a call, and what is wrong with them.

use super::{
    super::{
        asked::Asked,
        message::{Incoming, Reply},
    },
    End, Fault, State,
    leg::{Leg, Purpose},
    session_timer::SessionTimer,
};
use crate::wire::{Repeated, text};
use rsip::Method;

/// Whose a request is, by its tags.
enum Whose {
    /// The dialog's.
    Ours,
    /// An early dialog's, or a branch's that was released.
    Branch,
    Nobody,
}

impl Leg {
    /// A request within the dialog.
    pub(super) fn asked(&mut self, asked: &Asked) {
        let request = &asked.request;
        let Some(method) = request.method() else { return };
        let name = method.to_string();
        let is_bye = method == Method::Bye;
        match self.whose(request) {
            Whose::Ours => {}
            Whose::Branch if is_bye => return self.answer(asked, 200),
            Whose::Branch if matches!(self.state(), State::Setup | State::Ringing) => {}
            Whose::Branch => return self.answer(asked, 481),
            Whose::Nobody => {
                let swapped = request.tag("To") == self.dialog.remote_tag
                    && request.tag("From") == self.dialog.local_tag;
                let method = name;
                self.fault(if swapped {
                    Fault::TagsSwapped { method }
                } else {
                    Fault::UnknownTags { method }
                });
                return self.answer(asked, 481);
            }
        }
        if self.is_over() {
            return self.too_late(asked, is_bye, name);
        }
        if let Some(after) = self.out_of_order(request) {
            self.fault(Fault::CseqOrder { method: name, got: request.cseq(), after });
            return self.answer(asked, 500);
        }
        self.look_at_the_way(request);
        match method {
            Method::Bye => self.released(asked),
            Method::Invite => self.reinvited(asked),
            Method::Update => self.updated(asked),
            Method::PRack => {
                let status = self.pracked(request);
                let reply = request.response(status, &self.dialog.local_tag);
                self.respond(asked, status, reply);
                self.after_prack();
            }
            Method::Refer => self.answer(asked, 603),
            Method::Subscribe => self.answer(asked, 489),
            Method::Info | Method::Options | Method::Message | Method::Notify => self.answer(asked, 200),
            Method::Publish | Method::Register | Method::Cancel | Method::Ack => self.answer(asked, 501),
        }
    }

    fn whose(&mut self, request: &Incoming) -> Whose {
        let (from, to) = (request.tag("From"), request.tag("To"));
        if to != self.dialog.local_tag {
            return Whose::Nobody;
        }
        if from == self.dialog.remote_tag {
            return Whose::Ours;
        }
        if self.early(&from).is_some() { Whose::Branch } else { Whose::Nobody }
    }

    /// The CSeq that came before one that should be higher.
    fn out_of_order(&mut self, request: &Incoming) -> Option<u32> {
        let (from, cseq) = (request.tag("From"), request.cseq());
        let dialog = if from == self.dialog.remote_tag { &mut self.dialog } else { self.early(&from)? };
        match dialog.remote_cseq {
            Some(after) if cseq <= after => Some(after),
            _ => {
                dialog.remote_cseq = Some(cseq);
                None
            }
        }
    }

    /// A request comes to the contact given, by the way that this UE's P-CSCF gave; the first one, if the UE is registered.
    pub(super) fn look_at_the_way(&self, request: &Incoming) {
        let method = request.method().map(|method| method.to_string()).unwrap_or_default();
        let (initial, registered) = (request.tag("To").is_empty(), self.ue.is_registered());
        if request.uri() != self.ue.contact() && (registered || !initial) {
            self.fault(Fault::Target { method: method.clone(), uri: request.uri().to_owned() });
        }
        let route = request.elements("Route").into_iter().next().unwrap_or_default();
        let given = if initial { registered } else { self.ue.config.record_route };
        if given && text::uri(&route) != self.ue.path() {
            self.fault(Fault::Route { method, route });
        }
    }

    fn too_late(&self, asked: &Asked, is_bye: bool, method: String) {
        // What crosses with a BYE of ours is nobody's fault.
        if self.bye_came() {
            self.fault(if is_bye { Fault::SecondBye } else { Fault::AfterEnd { method } });
        }
        self.answer(asked, 481);
    }

    fn answer(&self, asked: &Asked, status: u16) {
        let reply = asked.request.response(status, &self.dialog.local_tag);
        self.respond(asked, status, reply);
    }

    fn respond(&self, asked: &Asked, status: u16, reply: Reply) {
        self.noted(&asked.request, status);
        self.ue.wire.respond(&asked.key, reply.octets(), Repeated::Here);
    }

    fn released(&mut self, asked: &Asked) {
        self.answer(asked, 200);
        if self.is_asked() {
            self.left_early();
        }
        let reason = Some(asked.request.value("Reason")).filter(|reason| !reason.is_empty());
        self.end(End::Released { reason });
    }

    /// RFC 3261 §14.2: one INVITE at a time.
    fn reinvited(&mut self, asked: &Asked) {
        let unsettled = self.is_asked() || self.state() == State::Answered || !self.reinvited.is_empty();
        if unsettled {
            let reply = asked.request.response(500, &self.dialog.local_tag).header("Retry-After", "3");
            return self.respond(asked, 500, reply);
        }
        let ours = [Purpose::Invite, Purpose::Reinvite].iter().any(|one| self.outstanding.contains(one));
        if ours {
            return self.answer(asked, 491);
        }
        let session = self.describe(&asked.request);
        let reply = self.refreshed(asked).describing(session);
        self.reinvited.push((asked.key.clone(), asked.request.cseq()));
        self.respond(asked, 200, reply);
    }

    fn updated(&mut self, asked: &Asked) {
        let offered = asked.request.session().is_some();
        if offered && self.outstanding.contains(&Purpose::Reinvite) {
            return self.answer(asked, 491);
        }
        let session = if offered { self.describe(&asked.request) } else { None };
        let reply = self.refreshed(asked).describing(session);
        self.respond(asked, 200, reply);
    }

    /// The 2xx to a request that refreshes target and session.
    fn refreshed(&mut self, asked: &Asked) -> Reply {
        let request = &asked.request;
        self.dialog.refresh_target(request);
        let timer = SessionTimer::of_request(request, false);
        let mut reply = request
            .response(200, &self.dialog.local_tag)
            .header("Contact", format!("<{}>", self.ue.contact()));
        if let Some(timer) = timer {
            reply = reply.header("Session-Expires", timer.answer());
            if !timer.refresher {
                reply = reply.header("Require", "timer");
            }
        }
        if self.state() == State::Established {
            self.time(timer);
        }
        reply
    }
}
