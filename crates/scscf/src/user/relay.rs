//! RFC 3261 §16 — requests on their way through this user: branches, responses, CANCEL, Timer C.
//!
//! A relay lives from the request to its last final response and dies with the actor; what must outlive it is a session.

use super::chain::{Initial, Stage};
use super::{Step, User};
use crate::event::{RelayId, ServerTx, SessionId, Side, Source};
use crate::{Effect, Rejection, Reply, Span, Timestamp};
use sip::proxy::{self, BranchFailure, BranchId, Context, Heard};
use sip::session_timer::Asked;
use sip::{Method, Name, Request, Response, Status};

/// RFC 3261 §16.7 step 2: provisional responses restart Timer C, 100 apart.
pub(crate) const CLAUSE: &str = "RFC 3261 §16";

/// Option tags that a request may require of us as a proxy.
const OPTIONS: [&str; 1] = ["path"];

/// A request on its way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Relay {
    pub(crate) id: RelayId,
    pub(crate) tx: ServerTx,
    /// As it arrived: answers are made of it.
    pub(crate) request: Request,
    pub(crate) mark: u64,
    pub(crate) context: Context,
    pub(crate) branches: Vec<Branch>,
    pub(crate) passage: Passage,
    pub(crate) since: Timestamp,
    /// The highest CSeq that its sender, and whoever answers, used in its dialogs so far.
    pub(crate) used: (u32, u32),
    timer_c: Option<Timestamp>,
    /// Its sender has its final response.
    pub(crate) answered: bool,
    /// Its sender, or the release of the session, wants it to end.
    pub(crate) cancelled: bool,
}

/// One place it was forwarded to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Branch {
    pub(crate) id: BranchId,
    /// The contact binding it leads to.
    pub(crate) binding: Option<u64>,
    /// Other flows of the same instance, to be tried when this one fails (RFC 5626 §5.3).
    pub(crate) flows: Vec<super::contacts::Target>,
    pub(crate) ringing: bool,
    pub(crate) cancelled: bool,
    /// Nothing it answers goes back any more.
    pub(crate) abandoned: bool,
    /// It has its final response.
    pub(crate) done: bool,
}

/// What kind of passage it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Passage {
    /// Outside a dialog: services, then onward.
    Initial(Box<Initial>),
    /// In a dialog, along its route set.
    Dialog {
        /// The session it belongs to, if one is kept, and the side that sent it.
        session: Option<(SessionId, Side)>,
        /// What was asked of the session timer.
        timer: Asked,
    },
}

/// A request that came to be forwarded.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) tx: ServerTx,
    pub(crate) request: Request,
    pub(crate) mark: u64,
    /// The request without our own Route.
    pub(crate) onward: Request,
}

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
            return Err(Rejection::new(
                Status::LOOP_DETECTED,
                "RFC 3261 §16.3",
                "the request has been here before",
            ));
        }
        let policy = &step.policy.session;
        // Whoever hangs up is not turned away: there is room for a BYE from each side of every session.
        let hangs_up = *request.method() == Method::Bye && request.to_tag().is_some();
        let spare = if hangs_up { policy.max_sessions.saturating_mul(2) } else { 0 };
        if self.relays.len() >= policy.max_relays.saturating_add(spare) {
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

    /// Begins a relay; its first branch is opened by whoever called.
    pub(crate) fn begin_relay(&self, draft: &Draft, passage: Passage, step: &mut Step<'_>) -> Relay {
        let invite = *draft.request.method() == Method::Invite;
        Relay {
            id: RelayId(step.mint()),
            tx: draft.tx,
            request: draft.request.clone(),
            mark: draft.mark,
            context: Context::new(invite),
            branches: Vec::new(),
            passage,
            since: step.now(),
            used: (draft.request.cseq().number, 0),
            timer_c: None,
            answered: false,
            cancelled: false,
        }
    }

    /// Keeps a relay that has branches or waits for something, and forgets one that is over.
    pub(crate) fn keep_relay(&mut self, relay: Relay) {
        if !relay.is_over() {
            self.relays.insert(relay.id, Box::new(relay));
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
            return step.say("answer to a request that is no longer on its way");
        };
        let status = match &reply {
            Reply::Response(response) => response.status(),
            Reply::Timeout => BranchFailure::Timeout.status(),
            Reply::Unsendable => BranchFailure::Unsendable.status(),
        };
        let known = relay.branches.iter_mut().find(|known| known.id == branch);
        let abandoned = known.is_some_and(|known| {
            known.done |= status.is_final();
            known.abandoned
        });
        if status.is_final() && relay.cancelled {
            self.note_cancelled(&relay, status.code(), step);
        }
        let heard = match reply {
            Reply::Response(response) => {
                let mut edit = response.edit();
                edit.remove_top_value(Name::Via);
                let response = edit.finish();
                if abandoned && status.is_success() && *relay.request.method() == Method::Invite {
                    self.release_late(&relay, branch, &response, step);
                    Heard::Absorbed
                } else {
                    relay.context.received(branch, response)
                }
            }
            Reply::Timeout => {
                relay.context.failed(branch, BranchFailure::Timeout);
                Heard::Refused
            }
            Reply::Unsendable => {
                relay.context.failed(branch, BranchFailure::Unsendable);
                Heard::Refused
            }
        };
        match heard {
            Heard::Absorbed => {}
            Heard::Provisional(response) => self.relay_progressed(&mut relay, branch, response, step),
            Heard::Success(response) => self.relay_succeeded(&mut relay, branch, response, step),
            Heard::Refused => self.branch_refused(&mut relay, branch, step),
            Heard::Declined => {
                relay.cancel_unanswered(None, step);
                self.conclude_if_done(&mut relay, step);
            }
        }
        self.keep_relay(relay);
    }

    fn relay_progressed(
        &mut self,
        relay: &mut Relay,
        branch: BranchId,
        response: Response,
        step: &mut Step<'_>,
    ) {
        relay.restart_timer_c(step);
        if let Some(branch) = relay.branches.iter_mut().find(|known| known.id == branch) {
            branch.ringing = true;
        }
        if let Passage::Initial(initial) = &mut relay.passage {
            initial.progressed();
        }
        if relay.answered {
            return;
        }
        step.say(format!("{} to {}", response.status().code(), relay.request.method()));
        let response = self.dress(relay, response, step);
        step.effect(Effect::Respond { tx: relay.tx, response });
    }

    /// TS 24.229 §5.4.3.3: what the served user's side answers to an initial request says whose network it is.
    fn dress(&self, relay: &Relay, response: Response, step: &Step<'_>) -> Response {
        let Passage::Initial(initial) = &relay.passage else { return response };
        if !matches!(initial.stage, Stage::Contacts(_)) || !response.has(Name::PChargingVector) {
            return response;
        }
        let Ok(Some(mut vector)) = response.charging_vector() else { return response };
        vector.term_ioi = Some(step.policy.domain.clone());
        let mut edit = response.edit();
        edit.replace(Name::PChargingVector, vector);
        edit.finish()
    }

    fn relay_succeeded(
        &mut self,
        relay: &mut Relay,
        branch: BranchId,
        response: Response,
        step: &mut Step<'_>,
    ) {
        if let Passage::Initial(initial) = &mut relay.passage {
            initial.progressed();
        }
        step.say(format!("{} to {}", response.status().code(), relay.request.method()));
        let mut response = self.dress(relay, response, step);
        let invite = *relay.request.method() == Method::Invite;
        if relay.answered && invite {
            // Its sender was told that it ended: the far end, which answered meanwhile, is released.
            self.release_late(relay, branch, &response, step);
        } else {
            match &relay.passage {
                Passage::Initial(_) if invite => self.session_begins(relay, branch, &mut response, step),
                Passage::Initial(_) => {}
                Passage::Dialog { session, .. } => self.dialog_answered(*session, relay, &mut response, step),
            }
            step.effect(Effect::Respond { tx: relay.tx, response });
            relay.answered = true;
        }
        relay.cancel_unanswered(None, step);
    }

    /// A branch ended without success: another flow, the next contacts, the next server, or the best answer there was.
    fn branch_refused(&mut self, relay: &mut Relay, branch: BranchId, step: &mut Step<'_>) {
        if !relay.answered && !relay.cancelled && matches!(relay.passage, Passage::Initial(_)) {
            self.initial_refused(relay, branch, step);
        }
        self.conclude_if_done(relay, step);
    }

    /// Answers with the best response when every branch has its final one (RFC 3261 §16.7 step 6).
    pub(crate) fn conclude_if_done(&mut self, relay: &mut Relay, step: &mut Step<'_>) {
        if relay.answered || !relay.context.is_done() || relay.waits() {
            return;
        }
        let tag = step.tag();
        let mut response = relay.context.best(&relay.request, &tag);
        let failed = |branch: &Branch| relay.context.refusal(branch.id) == Some(Status::REQUEST_TIMEOUT);
        if response.status() == Status::REQUEST_TIMEOUT && relay.branches.iter().all(failed) {
            response = relay.unreachable(&tag);
        }
        if let Passage::Dialog { session, .. } = &relay.passage {
            self.dialog_refused(*session, relay, &response, step);
        }
        step.say(format!("{} to {}", response.status().code(), relay.request.method()));
        step.effect(Effect::Respond { tx: relay.tx, response });
        relay.answered = true;
    }

    /// RFC 3261 §16.10: the sender cancels its INVITE.
    pub(crate) fn cancelled(&mut self, of: ServerTx, reason: Option<Box<str>>, step: &mut Step<'_>) {
        let found = self.relays.values().find(|relay| relay.tx == of).map(|relay| relay.id);
        let Some(mut relay) = found.and_then(|id| self.relays.remove(&id)).map(|relay| *relay) else {
            return step.say("CANCEL of a request that is no longer on its way");
        };
        step.say("CANCEL");
        relay.cancelled = true;
        relay.cancel_unanswered(reason, step);
        if relay.context.is_done() && !relay.answered {
            let tag = step.tag();
            let response = relay.request.respond(Status::REQUEST_TERMINATED, &tag).finish();
            step.effect(Effect::Respond { tx: relay.tx, response });
            relay.answered = true;
        }
        self.keep_relay(relay);
    }

    /// When a relay next needs attention.
    pub(crate) fn relays_deadline(&self) -> Option<Timestamp> {
        self.relays.values().filter_map(|relay| relay.deadline()).min()
    }

    /// Timer C, and application servers that stay silent.
    pub(crate) fn relays_due(&mut self, step: &mut Step<'_>) {
        let now = step.now();
        let due = self.relays.values().filter(|relay| relay.deadline().is_some_and(|at| at <= now));
        for id in due.map(|relay| relay.id).collect::<Vec<_>>() {
            let Some(mut relay) = self.relays.remove(&id).map(|relay| *relay) else { continue };
            if relay.timer_c.is_some_and(|at| at <= now) {
                relay.timer_c = None;
                step.say("Timer C");
                relay.cancelled = true;
                relay.cancel_unanswered(None, step);
                // RFC 3261 §16.8: a branch without any response counts as timed out.
                let silent = relay.branches.iter().filter(|branch| !branch.ringing && !branch.done);
                let silent: Vec<_> = silent.map(|branch| branch.id).collect();
                for branch in silent {
                    relay.abandon(branch, step);
                    relay.context.failed(branch, BranchFailure::Timeout);
                }
                self.conclude_if_done(&mut relay, step);
            } else {
                self.server_silent(&mut relay, step);
                self.conclude_if_done(&mut relay, step);
            }
            self.keep_relay(relay);
        }
    }
}

impl Relay {
    /// Forwards `request` on a new branch.
    pub(crate) fn open(
        &mut self,
        request: Request,
        binding: Option<u64>,
        flows: Vec<super::contacts::Target>,
        step: &mut Step<'_>,
    ) {
        let branch = BranchId(self.branches.len() as u32);
        self.context.open(branch);
        self.branches.push(Branch {
            id: branch,
            binding,
            flows,
            ringing: false,
            cancelled: false,
            abandoned: false,
            done: false,
        });
        if *self.request.method() == Method::Invite {
            self.restart_timer_c(step);
        }
        step.effect(Effect::Relay { relay: self.id, branch, request, tx: self.tx, mark: self.mark });
    }

    fn restart_timer_c(&mut self, step: &Step<'_>) {
        if *self.request.method() == Method::Invite && !self.cancelled {
            self.timer_c = Some(step.now() + Span::seconds(u64::from(step.policy.session.timer_c)));
        }
    }

    /// Cancels every branch that has no final response.
    pub(crate) fn cancel_unanswered(&mut self, reason: Option<Box<str>>, step: &mut Step<'_>) {
        let unanswered: Vec<BranchId> = self.context.unanswered().collect();
        for branch in unanswered {
            self.cancel_branch(branch, reason.clone(), step);
        }
        self.timer_c = None;
    }

    pub(crate) fn cancel_branch(&mut self, id: BranchId, reason: Option<Box<str>>, step: &mut Step<'_>) {
        let Some(branch) = self.branches.iter_mut().find(|branch| branch.id == id) else { return };
        if *self.request.method() == Method::Invite && !branch.cancelled {
            branch.cancelled = true;
            step.effect(Effect::Cancel { relay: self.id, branch: id, reason });
        }
    }

    /// Cancels a branch of which nothing is wanted any more.
    pub(crate) fn abandon(&mut self, id: BranchId, step: &mut Step<'_>) {
        self.cancel_branch(id, None, step);
        let invite = *self.request.method() == Method::Invite;
        if let Some(branch) = self.branches.iter_mut().find(|branch| branch.id == id) {
            branch.abandoned = true;
            // What is no INVITE ends by itself, and nobody waits for how.
            branch.done |= !invite;
        }
    }

    /// It waits for something else than its branches.
    fn waits(&self) -> bool {
        match &self.passage {
            Passage::Initial(initial) => matches!(initial.stage, Stage::Profile),
            Passage::Dialog { .. } => false,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.answered && self.branches.iter().all(|branch| branch.done)
    }

    fn deadline(&self) -> Option<Timestamp> {
        let server = match &self.passage {
            Passage::Initial(initial) => initial.deadline(),
            Passage::Dialog { .. } => None,
        };
        [self.timer_c, server].into_iter().flatten().min()
    }

    /// RFC 4320 §4.2: no 408 for anything but an INVITE; the sender of a request that lives longer than ours hears why.
    fn unreachable(&self, tag: &str) -> Response {
        let status = match (&self.passage, self.request.method()) {
            (Passage::Initial(initial), _) if matches!(initial.stage, Stage::Contacts(_)) => {
                Status::TEMPORARILY_UNAVAILABLE
            }
            (_, Method::Invite) => Status::REQUEST_TIMEOUT,
            _ => Status::SERVER_TIMEOUT,
        };
        self.request.respond(status, tag).finish()
    }

    /// The initial INVITE of a session that is being set up.
    pub(crate) fn early(&self) -> Option<&Initial> {
        match &self.passage {
            Passage::Initial(initial) if *self.request.method() == Method::Invite && !self.answered => {
                Some(initial)
            }
            Passage::Initial(_) | Passage::Dialog { .. } => None,
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
