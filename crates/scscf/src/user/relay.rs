//! RFC 3261 §16 — requests on their way through this user: branches, responses, CANCEL, Timer C.
//!
//! A relay lives from the request to its last final response, that of an INVITE which was accepted somewhat longer: further
//! 2xx may come. It dies with the actor; what must outlive it is a session.

mod former;
mod passage;

pub(crate) use passage::{Answered, Branch, Draft, Ending, Passage, Relay};

use super::chain::Stage;
use super::{Step, User, trust};
use crate::event::{RelayId, ServerTx, Source};
use crate::{Rejection, Reply, Span};
use sip::proxy::{self, BranchFailure, BranchId, Heard};
use sip::{Method, Name, Request, Response, Status};

const CLAUSE: &str = "RFC 3261 §16";
/// Option tags that a request may require of us as a proxy.
const OPTIONS: [&str; 1] = ["path"];

impl User {
    /// Takes a request that is not for the S-CSCF itself.
    pub(crate) fn relay(
        &mut self,
        tx: ServerTx,
        request: &Request,
        source: Source,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        validate(request)?;
        let mark = proxy::mark(request);
        if proxy::looped(request, mark) {
            let why = "the request has been here before";
            return Err(Rejection::new(Status::LOOP_DETECTED, "RFC 3261 §16.3", why));
        }
        let policy = &step.policy.session;
        // Whoever hangs up is not turned away: there is room for a BYE from each side of every session.
        let hangs_up = *request.method() == Method::Bye && request.to_tag().is_some();
        let spare = if hangs_up { policy.max_sessions.saturating_mul(2) } else { 0 };
        let on_their_way = self.relays.values().filter(|relay| !relay.lingers()).count();
        if on_their_way >= policy.max_relays.saturating_add(spare) {
            let why = "too many requests of this user are on their way";
            return Err(Rejection::new(Status::SERVICE_UNAVAILABLE, CLAUSE, why)
                .with(crate::Remedy::RetryAfter(Span::seconds(2))));
        }
        let (entry, onward) = super::entry::read(request, source, &self.impi, step.policy)?;
        let draft = Draft { tx, request: request.clone(), mark, onward };
        if request.to_tag().is_some() {
            return self.in_dialog(draft, &entry, step);
        }
        self.initial(draft, entry, step)
    }

    /// Keeps a relay that has branches or waits for something, and forgets one that is over.
    pub(crate) fn keep_relay(&mut self, mut relay: Relay, step: &Step<'_>) {
        if !relay.is_over(step.now()) {
            if relay.lingers() {
                relay.give_back_room();
                self.limit_lingering(step);
            }
            self.relays.insert(relay.id, Box::new(relay));
        }
    }

    /// Of those of which only further 2xx are awaited no more are kept than may be on their way; the oldest goes first.
    fn limit_lingering(&mut self, step: &Step<'_>) {
        let lingering = || self.relays.values().filter(|relay| relay.lingers());
        if lingering().count() >= step.policy.session.max_relays
            && let Some(oldest) =
                lingering().min_by_key(|relay| (relay.since, relay.id)).map(|relay| relay.id)
        {
            self.relays.remove(&oldest);
        }
    }

    /// What became of a branch.
    pub(crate) fn relay_answered(
        &mut self,
        id: RelayId,
        branch: BranchId,
        reply: Reply,
        step: &mut Step<'_>,
    ) {
        let Some(mut relay) = self.relays.remove(&id).map(|relay| *relay) else {
            step.say("answer to a request that is no longer on its way");
            if let Reply::Response(response) = reply {
                self.former_answered(id, branch, &response, step);
            }
            return;
        };
        let unsendable = matches!(reply, Reply::Unsendable);
        match reply {
            Reply::Response(response) => {
                if response.status().is_final() {
                    self.note_cancelled(&relay, branch, response.status().code(), step);
                }
                let mut edit = response.edit();
                edit.remove_top_value(Name::Via);
                if relay.outside {
                    trust::disbelieve(&mut edit);
                }
                self.relay_heard(&mut relay, branch, edit.finish(), step);
            }
            Reply::Timeout | Reply::Unsendable => {
                self.note_cancelled(&relay, branch, 0, step);
                if let Some(known) = relay.branch(branch) {
                    known.done = true;
                }
                relay.fails(
                    branch,
                    if unsendable { BranchFailure::Unsendable } else { BranchFailure::Timeout },
                );
                self.branch_refused(&mut relay, branch, step);
            }
        }
        self.keep_relay(relay, step);
    }

    fn relay_heard(&mut self, relay: &mut Relay, branch: BranchId, response: Response, step: &mut Step<'_>) {
        if let Some(known) = relay.branch(branch) {
            known.done |= response.status().is_final();
        }
        if relay.is_invite() && response.status().is_success() {
            return self.invite_accepted(relay, branch, response, step);
        }
        match relay.context.received(branch, response) {
            Heard::Absorbed => {}
            Heard::Provisional(response) => self.relay_progressed(relay, branch, response, step),
            Heard::Success(response) => self.relay_succeeded(relay, response, step),
            Heard::Refused => self.branch_refused(relay, branch, step),
            Heard::Declined => {
                relay.cancel_unanswered(None, step);
                self.conclude_if_done(relay, step);
            }
        }
    }

    fn relay_progressed(&self, relay: &mut Relay, branch: BranchId, response: Response, step: &mut Step<'_>) {
        relay.restart_timer_c(step);
        if let Some(branch) = relay.branch(branch) {
            branch.ringing = true;
        }
        relay.progressed();
        if relay.answered == Answered::No {
            let response = self.dress(relay, response, step);
            relay.respond(response, step);
        }
    }

    /// TS 24.229 §5.4.3.3: what the served user's side answers says whose network it is, and who the user is in either form.
    fn dress(&self, relay: &Relay, response: Response, step: &Step<'_>) -> Response {
        let Passage::Initial(initial) = &relay.passage else { return response };
        if !matches!(initial.stage, Stage::Contacts(_)) {
            return response;
        }
        let vector = response.charging_vector().ok().flatten();
        let other = self.other_form_in(&response, &initial.served);
        if vector.is_none() && other.is_none() {
            return response;
        }
        let mut edit = response.edit();
        if let Some(mut vector) = vector {
            vector.term_ioi = Some(step.policy.domain.clone());
            edit.replace(Name::PChargingVector, vector);
        }
        if let Some(other) = other {
            edit.append(Name::PAssertedIdentity, format_args!("<{}>", other.text));
        }
        edit.finish()
    }

    /// RFC 3261 §16.7 step 5: every 2xx to an INVITE goes back. One on a branch that was given up, or after its sender was told
    /// that the INVITE failed, is of a far end that must be released.
    fn invite_accepted(
        &mut self,
        relay: &mut Relay,
        branch: BranchId,
        response: Response,
        step: &mut Step<'_>,
    ) {
        let Some(news) = relay.accepts(branch, &response, step.now()) else {
            return step.say("a 2xx too many");
        };
        if !news.first {
            if news.late {
                self.acknowledge_late(relay, branch, &response, step);
            }
            return;
        }
        if news.late {
            self.release_late(relay, branch, &response, step);
        } else {
            relay.progressed();
            let mut response = self.dress(relay, response, step);
            match &relay.passage {
                Passage::Initial(_) => self.session_begins(relay, branch, &mut response, step),
                Passage::Dialog { session, .. } => {
                    self.dialog_answered(*session, relay, &mut response, step);
                }
            }
            relay.respond(response, step);
        }
        if relay.answered != Answered::No {
            relay.cancel_unanswered(None, step);
        }
    }

    fn relay_succeeded(&mut self, relay: &mut Relay, response: Response, step: &mut Step<'_>) {
        let mut response = self.dress(relay, response, step);
        if let Passage::Dialog { session, .. } = &relay.passage {
            self.dialog_answered(*session, relay, &mut response, step);
        }
        relay.respond(response, step);
    }

    /// A branch ended without success: another flow, the next contacts, the next server, or the best answer there was.
    fn branch_refused(&mut self, relay: &mut Relay, branch: BranchId, step: &mut Step<'_>) {
        if relay.answered == Answered::No && relay.ending.is_none() {
            self.initial_refused(relay, branch, step);
        }
        self.conclude_if_done(relay, step);
    }

    /// Answers with the best response when every branch has its final one (RFC 3261 §16.7 step 6).
    pub(crate) fn conclude_if_done(&mut self, relay: &mut Relay, step: &mut Step<'_>) {
        if relay.answered != Answered::No || !relay.context.is_done() || relay.waits() {
            return;
        }
        let response = relay.best(&step.tag());
        if let Passage::Dialog { session, .. } = &relay.passage {
            self.dialog_refused(*session, relay, &response, step);
        }
        relay.respond(response, step);
    }

    /// RFC 3261 §16.10: the sender cancels its INVITE.
    pub(crate) fn cancelled(&mut self, of: ServerTx, reason: Option<Box<str>>, step: &mut Step<'_>) {
        let mut unanswered = self.relays.values().filter(|relay| relay.answered == Answered::No);
        let found = unanswered.find(|relay| relay.tx == of).map(|relay| relay.id);
        let Some(mut relay) = found.and_then(|id| self.relays.remove(&id)).map(|relay| *relay) else {
            return step.say("CANCEL of a request that is no longer on its way");
        };
        step.say("CANCEL");
        relay.ending = Some(Ending::BySender);
        relay.cancel_unanswered(reason, step);
        if relay.context.is_done() {
            let response = relay.best(&step.tag());
            relay.respond(response, step);
        }
        self.keep_relay(relay, step);
    }

    /// When a relay next needs attention.
    pub(crate) fn relays_deadline(&self) -> Option<crate::Timestamp> {
        self.relays.values().filter_map(|relay| relay.deadline()).min()
    }

    /// INVITEs of which nothing more is awaited go when something happens: for their sake nobody is woken.
    pub(crate) fn forget_relays(&mut self, step: &Step<'_>) {
        self.relays.retain(|_, relay| !relay.is_over(step.now()));
    }

    /// Timer C, and application servers that stay silent.
    pub(crate) fn relays_due(&mut self, step: &mut Step<'_>) {
        let now = step.now();
        let due = self.relays.values().filter(|relay| relay.deadline().is_some_and(|at| at <= now));
        for id in due.map(|relay| relay.id).collect::<Vec<_>>() {
            let Some(mut relay) = self.relays.remove(&id).map(|relay| *relay) else { continue };
            if relay.timer_c_fired(now) {
                relay.gives_up(step);
            } else if relay.awaits_server_until().is_some_and(|at| at <= now) {
                self.server_silent(&mut relay, step);
            } else if relay.is_farewell_due(now) {
                self.farewell_due(&mut relay, step);
            }
            self.conclude_if_done(&mut relay, step);
            self.keep_relay(relay, step);
        }
    }
}

/// RFC 3261 §16.3.
fn validate(request: &Request) -> Result<(), Rejection> {
    proxy::validate(request, &OPTIONS).map_err(|refused| {
        let rejection = Rejection::new(refused.status, "RFC 3261 §16.3", refused.why);
        match refused.unsupported {
            Some(tags) => rejection.with(crate::Remedy::Unsupported(tags)),
            None => rejection,
        }
    })
}
