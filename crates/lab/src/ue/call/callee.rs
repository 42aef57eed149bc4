//! RFC 3261 §13.3, §9.2, RFC 3262 §3 — the side that is called.

use super::{
    super::{
        Inner, Then,
        asked::{ALLOW, Asked},
        message::{Incoming, Reply},
    },
    Call, CallEvent, End, Facts, Fault, State,
    caller::{ACCESS, caller},
    dialog::Dialog,
    leg::{Due, Leg, Parts, Role},
    legs::Known,
    session_timer::SessionTimer,
};
use crate::wire::{Key, Repeated};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// An INVITE of the far side.
pub(super) struct Invited {
    asked: Asked,
    /// Whether its final response was sent.
    pub(super) settled: bool,
    /// A reliable response whose PRACK has not come.
    ringing: Option<Ringing>,
    /// Rang long enough while the PRACK was missing.
    answer_wanted: bool,
    /// Whether a description was in a response already.
    described: bool,
}

struct Ringing {
    rseq: u32,
    octets: Vec<u8>,
    interval: Duration,
    ends: Instant,
}

impl Inner {
    /// An INVITE came.
    pub(in super::super) fn invited(self: &Arc<Self>, asked: Asked) {
        let invite = &asked.request;
        let policy = self.policy();
        if self.legs.knows(invite) {
            return self.answer(&asked, 482);
        }
        let Some(policy) = policy else { return self.answer(&asked, 480) };
        if self.legs.is_full() {
            return self.answer(&asked, 486);
        }
        let dialog = Dialog::called(invite);
        let (back, mailbox) = mpsc::unbounded_channel();
        let (record, watched) = watch::channel(super::Record::default());
        let (peer, tag) = (caller(invite), dialog.local_tag.clone());
        let invite = Some(invite.clone());
        let facts = Facts { call_id: dialog.call_id.clone(), peer: peer.clone(), invite };
        self.legs.add(Known {
            call_id: dialog.call_id.clone(),
            tag: tag.clone(),
            caller: Some((dialog.remote_tag.clone(), asked.request.cseq())),
            mailbox: back.clone(),
            task: None,
        });
        let ue = Arc::clone(self);
        let parts = Parts { ue, peer, dialog, how: policy.how, mailbox, back: back.clone(), record };
        let invited =
            Invited { asked, settled: false, ringing: None, answer_wanted: false, described: false };
        let task = tokio::spawn(Leg::new(parts, Role::Callee(invited)).run());
        self.legs.runs(&tag, task.abort_handle());
        // Who does not take the calls does not want them.
        let _ =
            policy.calls.try_send(Call { orders: back, record: watched, facts: Arc::new(facts), read: 0 });
    }
}

/// Option tags of Require that a UE can do.
const ABLE: [&str; 2] = ["100rel", "timer"];

impl Leg {
    fn callee(&mut self) -> Option<&mut Invited> {
        match &mut self.role {
            Role::Callee(invited) => Some(invited),
            Role::Caller(_) => None,
        }
    }

    /// Whether the far side's INVITE waits for its final response.
    pub(super) fn is_asked(&self) -> bool {
        matches!(&self.role, Role::Callee(invited) if !invited.settled)
    }

    /// What is done about an INVITE at first.
    pub(super) fn invited(&mut self) {
        let how = self.how;
        let Some(request) = self.callee().map(|invited| invited.asked.request.clone()) else { return };
        self.note(CallEvent::Called);
        self.updates = request.lists("Allow", "UPDATE");
        self.look_at_the_way(&request);
        let unable: Vec<String> = request
            .elements("Require")
            .into_iter()
            .filter(|option| ABLE.iter().all(|able| !option.eq_ignore_ascii_case(able)))
            .collect();
        if !unable.is_empty() {
            return self.refuse(420, |reply| reply.header("Unsupported", unable.join(", ")));
        }
        let too_short = |(interval, _): (u32, Option<bool>)| how.min_se.filter(|least| interval < *least);
        let able = request.lists("Supported", "timer");
        if let Some(least) = SessionTimer::asked(&request).filter(|_| able).and_then(too_short) {
            return self.refuse(422, |reply| reply.header("Min-SE", least.to_string()));
        }
        match how.then {
            Then::Reject(status) if how.ring.is_zero() => self.refuse(status, |reply| reply),
            Then::Reject(_) | Then::Answer => {
                self.ring();
                self.later(how.ring, Due::RangLong);
            }
            Then::Wait => self.ring(),
        }
    }

    fn ring(&mut self) {
        let (wants, timers) = (self.how.reliable, self.ue.config.timers);
        let Some(request) = self.callee().map(|invited| invited.asked.request.clone()) else { return };
        let required = request.lists("Require", "100rel");
        let reliable = required || (wants && request.lists("Supported", "100rel"));
        let mut reply = self.within_dialog(&request, 180);
        let rseq = rand::random::<u32>() >> 2 | 1;
        if reliable {
            reply = reply.header("Require", "100rel").header("RSeq", rseq.to_string());
            reply = reply.describing(self.describe(&request));
        }
        let octets = reply.octets();
        self.say(octets.clone());
        self.note(CallEvent::Ringing { status: 180, reliable });
        if reliable {
            let ends = Instant::now() + timers.longest();
            let ringing = Ringing { rseq, octets, interval: timers.t1, ends };
            if let Some(invited) = self.callee() {
                (invited.ringing, invited.described) = (Some(ringing), true);
            }
            self.later(timers.t1, Due::RingAgain);
        }
    }

    /// The PRACK has not come yet.
    pub(super) fn ring_again(&mut self) {
        let Some(ringing) = self.callee().and_then(|invited| invited.ringing.as_mut()) else { return };
        if ringing.ends <= Instant::now() {
            self.fault(Fault::NoPrack);
            return self.refuse(504, |reply| reply);
        }
        ringing.interval *= 2;
        let (octets, interval) = (ringing.octets.clone(), ringing.interval);
        self.say(octets);
        self.later(interval, Due::RingAgain);
    }

    /// A PRACK came; what is said to it.
    pub(super) fn pracked(&mut self, prack: &Incoming) -> u16 {
        let Some(invited) = self.callee() else { return 481 };
        let rack = prack.value("RAck");
        let expected = invited
            .ringing
            .as_ref()
            .map(|ringing| format!("{} {} INVITE", ringing.rseq, invited.asked.request.cseq()));
        let same = |expected: String| rack.split_whitespace().eq(expected.split_whitespace());
        if !expected.is_some_and(same) {
            return 481;
        }
        invited.ringing = None;
        self.never(Due::RingAgain);
        200
    }

    /// After a PRACK: answers if it rang long enough meanwhile.
    pub(super) fn after_prack(&mut self) {
        if self.callee().is_some_and(|invited| std::mem::take(&mut invited.answer_wanted)) {
            self.pick_up();
        }
    }

    pub(super) fn rang_long(&mut self) {
        match self.how.then {
            Then::Reject(status) => self.refuse(status, |reply| reply),
            Then::Answer | Then::Wait => self.pick_up(),
        }
    }

    /// Says 200, once that is allowed.
    pub(super) fn pick_up(&mut self) {
        let rather_here = self.how.refresh;
        let Some(invited) = self.callee() else { return };
        if invited.settled {
            return;
        }
        // RFC 3262 §3: a description in a reliable response is acknowledged before the 2xx.
        if invited.ringing.is_some() {
            invited.answer_wanted = true;
            return;
        }
        let (request, described) = (invited.asked.request.clone(), invited.described);
        invited.settled = true;
        let timer = SessionTimer::of_request(&request, rather_here);
        let mut reply = self.within_dialog(&request, 200);
        if let Some(timer) = timer {
            reply = reply.header("Session-Expires", timer.answer());
            if !timer.refresher {
                reply = reply.header("Require", "timer");
            }
        }
        reply = reply.header("Supported", "100rel, timer");
        if !described {
            reply = reply.describing(self.describe(&request));
        }
        self.settled(200);
        self.note(CallEvent::Answered);
        self.say(reply.octets());
        self.time(timer);
    }

    /// An answer to the offer in `request`, or an offer if it has none.
    pub(super) fn describe(&mut self, request: &Incoming) -> Option<String> {
        Some(match request.session() {
            Some(offer) => self.session.answer(&offer),
            None => self.session.offer(),
        })
    }

    /// Refuses the INVITE, unless it was answered.
    pub(super) fn refuse(&mut self, status: u16, further: impl FnOnce(Reply) -> Reply) {
        let tag = self.dialog.local_tag.clone();
        let Some(invited) = self.callee() else { return };
        if std::mem::replace(&mut invited.settled, true) {
            return;
        }
        invited.ringing = None;
        let reply = further(invited.asked.request.response(status, &tag));
        self.say(reply.octets());
        self.settled(status);
        self.end(End::Refused { status });
    }

    /// The INVITE is cancelled.
    pub(super) fn cancelled(&mut self, of: &Key, cancel: &Incoming) {
        let tag = self.dialog.local_tag.clone();
        let Some(invited) = self.callee() else { return };
        if invited.asked.key != *of || std::mem::replace(&mut invited.settled, true) {
            return;
        }
        invited.ringing = None;
        let octets = invited.asked.request.response(487, &tag).octets();
        self.noted(cancel, 200);
        self.say(octets);
        self.settled(487);
        let reason = Some(cancel.value("Reason")).filter(|reason| !reason.is_empty());
        self.end(End::Cancelled { reason });
    }

    /// The caller sends BYE to a call that is not answered.
    pub(super) fn left_early(&mut self) {
        let tag = self.dialog.local_tag.clone();
        let Some(invited) = self.callee() else { return };
        invited.settled = true;
        let octets = invited.asked.request.response(487, &tag).octets();
        self.say(octets);
        self.settled(487);
    }

    /// An ACK to a 2xx came.
    pub(super) fn acknowledged(&mut self, ack: &Incoming) {
        let cseq = ack.cseq();
        if self.has_come("ACK", cseq) || ack.tag("To") != self.dialog.local_tag {
            return;
        }
        self.noted(ack, 0);
        self.look_at_the_way(ack);
        self.reinvited.retain(|(_, waiting)| *waiting != cseq);
        if self.state() != State::Answered {
            return;
        }
        self.note(CallEvent::Established);
        if let Some(reason) = self.bye_wanted.take() {
            self.bye(reason);
        } else if let Some(after) = self.how.hang_up_after {
            self.later(after, Due::HangUp);
        }
    }

    /// The ACK to a 2xx of ours never came: the call is released.
    pub(super) fn unacknowledged(&mut self, of: &Key) {
        let initial = matches!(&self.role, Role::Callee(invited) if invited.asked.key == *of);
        if self.is_over() || !(initial || self.reinvited.iter().any(|(key, _)| key == of)) {
            return;
        }
        self.fault(Fault::NoAck);
        self.bye(None);
    }

    /// A response to the INVITE that makes the dialog.
    fn within_dialog(&self, request: &Incoming, status: u16) -> Reply {
        let (ue, contact) = (&self.ue, format!("<{}>", self.ue.contact()));
        let mut reply = request.response(status, &self.dialog.local_tag);
        if ue.config.record_route {
            reply = reply.header("Record-Route", format!("<{}>", ue.path()));
        }
        let called = request.elements("P-Called-Party-ID").into_iter().next();
        let called = called.unwrap_or_else(|| format!("<{}>", ue.config.impu()));
        reply
            .each("Record-Route", &request.values("Record-Route"))
            .header("Contact", contact)
            .header("Allow", ALLOW)
            .header("P-Asserted-Identity", called)
            .header("P-Access-Network-Info", ACCESS)
    }

    fn say(&self, octets: Vec<u8>) {
        if let Role::Callee(invited) = &self.role {
            self.ue.wire.respond(&invited.asked.key, octets, Repeated::Here);
        }
    }
}
