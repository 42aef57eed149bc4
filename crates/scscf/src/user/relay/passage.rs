//! RFC 3261 §16.7, §16.8 — one request on its way: its branches, and what its sender is told.

use super::super::chain::{Initial, Stage};
use super::super::contacts::Target;
use super::super::session::{ACK_WITHIN, Farewell};
use super::super::{Step, User};
use crate::event::{RelayId, ServerTx, SessionId, Side};
use crate::token::TokenKind;
use crate::{Effect, Span, Timestamp};
use sip::proxy::{BranchFailure, BranchId, Context};
use sip::session_timer::Asked;
use sip::{Method, Request, Response, Status};

/// Dialogs that one INVITE may make.
const MOST_DIALOGS: usize = 16;

/// A request on its way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Relay {
    pub(crate) id: RelayId,
    pub(crate) tx: ServerTx,
    /// As it arrived: answers are made of it.
    pub(crate) request: Request,
    mark: u64,
    pub(crate) context: Context,
    pub(crate) branches: Vec<Branch>,
    pub(crate) passage: Passage,
    pub(crate) since: Timestamp,
    /// The highest CSeq that its sender, and whoever answers, used in its dialogs so far.
    pub(crate) used: (u32, u32),
    timer_c: Option<Timestamp>,
    /// What its sender has been told.
    pub(crate) answered: Answered,
    /// It shall end.
    pub(crate) ending: Option<Ending>,
    /// It is a BYE that passes application servers.
    pub(crate) farewell: Option<Farewell>,
    /// It left the trust domain, and what is answered comes from outside.
    pub(crate) outside: bool,
    /// The 2xx that came, if it is an INVITE.
    dialogs: Vec<MadeDialog>,
    /// Further 2xx are awaited until then.
    lingers_until: Option<Timestamp>,
}

/// What the sender of a request has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// Nothing final.
    No,
    /// That it failed.
    Refused,
    /// That it succeeded.
    Accepted,
}

/// Why a request shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its sender wants it.
    BySender,
    /// It was on its way for too long.
    TimerC,
    /// The session is released.
    Released,
}

/// One place it was forwarded to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Branch {
    pub(crate) id: BranchId,
    /// The contact binding it leads to.
    pub(crate) binding: Option<u64>,
    /// Other flows of the same instance, to be tried when this one fails (RFC 5626 §5.3).
    pub(crate) flows: Vec<Target>,
    /// A provisional response came.
    pub(crate) ringing: bool,
    pub(crate) cancelled: bool,
    /// Nothing it answers goes back any more.
    abandoned: bool,
    /// It has its final response, or never gets one.
    pub(crate) done: bool,
    /// It ended without any answer.
    silent: bool,
}

/// A dialog that a 2xx to an INVITE made.
#[derive(Clone, Debug, PartialEq)]
struct MadeDialog {
    branch: BranchId,
    to_tag: Box<str>,
    late: bool,
}

/// What is to be known of a 2xx to an INVITE.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News {
    /// It makes a dialog; otherwise it only comes again.
    pub(crate) first: bool,
    /// Nobody waits for it any more.
    pub(crate) late: bool,
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
    /// Begins a relay; its first branch is opened by whoever called.
    pub(crate) fn begin_relay(&self, draft: &Draft, mut passage: Passage, step: &mut Step<'_>) -> Relay {
        let method = draft.request.method();
        if let Passage::Initial(initial) = &mut passage
            && matches!(method, Method::Invite | Method::Subscribe | Method::Refer)
        {
            let token = step.policy.tokens.mint(TokenKind::RecordRoute, &self.impi, initial.key);
            initial.recorded = Some(token.into());
        }
        Relay {
            id: RelayId(step.mint()),
            tx: draft.tx,
            request: draft.request.clone(),
            mark: draft.mark,
            context: Context::new(*method == Method::Invite),
            branches: Vec::new(),
            passage,
            since: step.now(),
            used: (draft.request.cseq().number, 0),
            timer_c: None,
            answered: Answered::No,
            ending: None,
            farewell: None,
            outside: false,
            dialogs: Vec::new(),
            lingers_until: None,
        }
    }
}

impl Relay {
    pub(crate) fn is_invite(&self) -> bool {
        *self.request.method() == Method::Invite
    }

    pub(crate) fn branch(&mut self, id: BranchId) -> Option<&mut Branch> {
        self.branches.iter_mut().find(|branch| branch.id == id)
    }

    /// Forwards `request` on a new branch.
    pub(crate) fn open(
        &mut self,
        request: Request,
        binding: Option<u64>,
        flows: Vec<Target>,
        step: &mut Step<'_>,
    ) {
        let id = BranchId(self.branches.len() as u32);
        self.context.open(id);
        self.branches.push(Branch {
            id,
            binding,
            flows,
            ringing: false,
            cancelled: false,
            abandoned: false,
            done: false,
            silent: false,
        });
        self.restart_timer_c(step);
        step.effect(Effect::Relay { relay: self.id, branch: id, request, tx: self.tx, mark: self.mark });
    }

    /// Answers the sender; what is final is so once, save that every dialog of an INVITE is told.
    pub(crate) fn respond(&mut self, response: Response, step: &mut Step<'_>) {
        let status = response.status();
        if status.is_success() {
            self.answered = Answered::Accepted;
        } else if status.is_final() {
            self.answered = Answered::Refused;
        }
        step.say(format!("{} to {}", status.code(), self.request.method()));
        step.effect(Effect::Respond { tx: self.tx, response });
    }

    /// The branches without final response that nobody has cancelled.
    pub(crate) fn ringing(&self) -> impl Iterator<Item = BranchId> {
        let cancelled =
            |id: &BranchId| self.branches.iter().any(|branch| branch.id == *id && branch.cancelled);
        self.context.unanswered().filter(move |id| !cancelled(id))
    }

    /// RFC 3261 §16.7 step 2: provisional responses restart Timer C.
    pub(super) fn restart_timer_c(&mut self, step: &Step<'_>) {
        if self.is_invite() && self.ending.is_none() && self.answered == Answered::No {
            self.timer_c = Some(step.now() + Span::seconds(u64::from(step.policy.session.timer_c)));
        }
    }

    pub(super) fn timer_c_fired(&self, now: Timestamp) -> bool {
        self.timer_c.is_some_and(|at| at <= now)
    }

    /// RFC 3261 §16.8: Timer C. What rings is cancelled, what never answered counts as timed out.
    pub(super) fn gives_up(&mut self, step: &mut Step<'_>) {
        step.say("Timer C");
        self.ending = Some(Ending::TimerC);
        self.cancel_unanswered(None, step);
        let silent = self.branches.iter().filter(|branch| !branch.ringing && !branch.done);
        let silent: Vec<_> = silent.map(|branch| branch.id).collect();
        for branch in silent {
            self.abandon(branch, step);
            self.fails(branch, BranchFailure::Timeout);
        }
    }

    /// Cancels every branch that has no final response.
    pub(crate) fn cancel_unanswered(&mut self, reason: Option<Box<str>>, step: &mut Step<'_>) {
        self.timer_c = None;
        let unanswered: Vec<BranchId> = self.context.unanswered().collect();
        for branch in unanswered {
            self.cancel_branch(branch, reason.clone(), step);
        }
    }

    pub(crate) fn cancel_branch(&mut self, id: BranchId, reason: Option<Box<str>>, step: &mut Step<'_>) {
        let (relay, invite) = (self.id, self.is_invite());
        if let Some(branch) = self.branch(id).filter(|branch| invite && !branch.cancelled && !branch.done) {
            branch.cancelled = true;
            step.effect(Effect::Cancel { relay, branch: id, reason });
        }
    }

    /// Gives up a branch: it is cancelled, and nothing it answers goes back.
    pub(crate) fn abandon(&mut self, id: BranchId, step: &mut Step<'_>) {
        self.cancel_branch(id, None, step);
        let invite = self.is_invite();
        if let Some(branch) = self.branch(id) {
            branch.abandoned = true;
            // What is no INVITE ends by itself, and nobody waits for how.
            branch.done |= !invite;
        }
    }

    /// A branch ended, or is as good as ended, without an answer.
    pub(crate) fn fails(&mut self, id: BranchId, failure: BranchFailure) {
        self.context.failed(id, failure);
        if let Some(branch) = self.branch(id) {
            branch.silent = true;
        }
    }

    /// The other side is at work: a server is not passed over any more.
    pub(crate) fn progressed(&mut self) {
        if let Passage::Initial(initial) = &mut self.passage {
            initial.progressed();
        }
    }

    /// Takes note of a 2xx to an INVITE; `None`: there are too many.
    pub(super) fn accepts(&mut self, id: BranchId, response: &Response, now: Timestamp) -> Option<News> {
        let to_tag = response.to_tag().unwrap_or_default();
        let known = self.dialogs.iter().find(|made| made.branch == id && *made.to_tag == *to_tag);
        if let Some(known) = known {
            return Some(News { first: false, late: known.late });
        }
        if self.dialogs.len() >= MOST_DIALOGS {
            return None;
        }
        let abandoned = self.branch(id).is_none_or(|branch| branch.abandoned);
        let late = abandoned || self.answered == Answered::Refused;
        if late {
            self.context.forget(id);
        } else {
            self.context.received(id, response.clone());
        }
        self.dialogs.push(MadeDialog { branch: id, to_tag: to_tag.into(), late });
        self.lingers_until = Some(now + ACK_WITHIN);
        Some(News { first: true, late })
    }

    /// Whether a request is in a dialog that a 2xx made.
    pub(crate) fn made_dialog(&self, request: &Request) -> bool {
        let tags = [request.to_tag(), request.from_tag()];
        self.dialogs.iter().any(|made| tags.contains(&Some(&*made.to_tag)))
    }

    /// The final response that goes back when no branch gave a 2xx.
    pub(super) fn best(&self, tag: &str) -> Response {
        let best = self.context.best(&self.request, tag);
        let kept = || self.branches.iter().filter(|branch| self.context.refusal(branch.id).is_some());
        let nobody = kept().all(|branch| branch.silent);
        let unreached =
            |branch: &Branch| branch.silent || self.context.refusal(branch.id) == Some(Status::FLOW_FAILED);
        let terminated =
            |branch: &Branch| self.context.refusal(branch.id) == Some(Status::REQUEST_TERMINATED);
        let ended = nobody || best.status() == Status::REQUEST_TERMINATED;
        let status = match self.ending {
            Some(Ending::BySender) if ended || best.status().class() == 4 && kept().any(terminated) => {
                Status::REQUEST_TERMINATED
            }
            Some(Ending::TimerC) if ended => Status::REQUEST_TIMEOUT,
            _ if self.is_at_contacts() && kept().all(unreached) => Status::TEMPORARILY_UNAVAILABLE,
            // RFC 4320 §4.2: no 408 for anything but an INVITE.
            _ if !self.is_invite() && best.status() == Status::REQUEST_TIMEOUT => Status::SERVER_TIMEOUT,
            _ => return self.word_of_server(&best).cloned().unwrap_or(best),
        };
        if status == best.status() { best } else { self.request.respond(status, tag).finish() }
    }

    /// What an application server said goes back as it is, a 503 too: it speaks for the service (TS 24.229 §5.4.3.4).
    fn word_of_server(&self, best: &Response) -> Option<&Response> {
        let Passage::Initial(initial) = &self.passage else { return None };
        let hides =
            matches!(initial.stage, Stage::Server(_)) && best.status() == Status::SERVER_INTERNAL_ERROR;
        let said = self.context.refused_with(self.branches.last().filter(|_| hides)?.id)?;
        (said.status() == Status::SERVICE_UNAVAILABLE).then_some(said)
    }

    fn is_at_contacts(&self) -> bool {
        matches!(&self.passage, Passage::Initial(initial) if matches!(initial.stage, Stage::Contacts(_)))
    }

    /// It waits for something else than its branches.
    pub(super) fn waits(&self) -> bool {
        matches!(&self.passage, Passage::Initial(initial) if matches!(initial.stage, Stage::Profile))
    }

    /// Nothing is awaited but further 2xx.
    pub(crate) fn lingers(&self) -> bool {
        self.answered != Answered::No && self.branches.iter().all(|branch| branch.done)
    }

    /// What only lingers keeps no octets but those that a further dialog is made of: there are many of them.
    pub(super) fn give_back_room(&mut self) {
        if let Passage::Initial(initial) = &mut self.passage {
            initial.onward = self.request.clone();
            initial.criteria = Default::default();
            if let Stage::Contacts(groups) = &mut initial.stage {
                *groups = Default::default();
            }
        }
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.lingers() && self.lingers_until.is_none_or(|at| at <= now)
    }

    pub(super) fn awaits_server_until(&self) -> Option<Timestamp> {
        match &self.passage {
            Passage::Initial(initial) if self.answered == Answered::No => initial.deadline(),
            Passage::Initial(_) | Passage::Dialog { .. } => None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let farewell = self.farewell.as_ref().and_then(Farewell::deadline);
        [self.timer_c, self.awaits_server_until(), farewell].into_iter().flatten().min()
    }

    pub(super) fn is_farewell_due(&self, now: Timestamp) -> bool {
        self.farewell.as_ref().and_then(Farewell::deadline).is_some_and(|at| at <= now)
    }

    /// The initial INVITE of a session that is being set up.
    pub(crate) fn early(&self) -> Option<&Initial> {
        match &self.passage {
            Passage::Initial(initial) if self.is_invite() && self.answered == Answered::No => Some(initial),
            Passage::Initial(_) | Passage::Dialog { .. } => None,
        }
    }
}
