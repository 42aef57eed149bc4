//! TS 24.229 §5.4.3.4 — service control: which application servers a request visits, and what becomes of one that fails.
//!
//! The criteria are fixed when the request first arrives. What goes to a server carries an original dialog identifier, from
//! which any node can go on at the next priority.

mod initial;

pub(crate) use initial::{Initial, Stage};

use super::relay::{Answered, Draft, Passage, Relay};
use super::session::ask_for_timer;
use super::{ImplicitRegistrationSet, Step, User};
use crate::ifc::{Invocation, SessionCase};
use crate::profile::{DefaultHandling, InitialFilterCriteria, ServiceProfile};
use crate::token::TokenKind;
use crate::{Impu, Policy, Rejection, Span};
use initial::Visit;
use sip::proxy::{self, BranchFailure, BranchId};
use sip::{Name, NameAddr, Status, Uri};

const CLAUSE: &str = "TS 24.229 §5.4.3.4";
/// Prefix of an inter-operator identifier between an S-CSCF and an application server.
pub(crate) const TYPE_3: &str = "Type 3";

/// What an original dialog identifier says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) key: u64,
    case: SessionCase,
    last: u32,
    depth: u16,
    binding: Option<u64>,
    served: Impu,
}

impl Link {
    fn note(&self) -> Vec<u8> {
        let mut note = Vec::with_capacity(15 + self.served.as_str().len());
        note.push(self.case as u8);
        note.extend_from_slice(&self.last.to_be_bytes());
        note.extend_from_slice(&self.depth.to_be_bytes());
        note.extend_from_slice(&self.binding.unwrap_or(0).to_be_bytes());
        note.extend_from_slice(self.served.as_str().as_bytes());
        note
    }

    /// Reads what a token holds.
    pub(crate) fn read(key: u64, note: &[u8]) -> Option<Self> {
        let (case, rest) = note.split_first()?;
        let (last, rest) = rest.split_first_chunk::<4>()?;
        let (depth, rest) = rest.split_first_chunk::<2>()?;
        let (binding, served) = rest.split_first_chunk::<8>()?;
        let case = match case {
            0 => SessionCase::Originating,
            1 => SessionCase::TerminatingRegistered,
            2 => SessionCase::TerminatingUnregistered,
            3 => SessionCase::OriginatingUnregistered,
            4 => SessionCase::OriginatingCdiv,
            _ => return None,
        };
        Some(Self {
            key,
            case,
            last: u32::from_be_bytes(*last),
            depth: u16::from_be_bytes(*depth),
            binding: Some(u64::from_be_bytes(*binding)).filter(|binding| *binding != 0),
            served: Impu::parse(std::str::from_utf8(served).ok()?)?,
        })
    }
}

impl User {
    /// Begins the services of an initial request and sends it where they want it.
    pub(crate) fn begin(
        &mut self,
        draft: &Draft,
        initial: Initial,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let mut relay = self.begin_relay(draft, Passage::Initial(Box::new(initial)), step);
        self.proceed(&mut relay, step)?;
        self.keep_relay(relay, step);
        Ok(())
    }

    /// The next server whose criterion the request meets, or what comes after the last.
    pub(crate) fn proceed(&mut self, relay: &mut Relay, step: &mut Step<'_>) -> Result<(), Rejection> {
        let Passage::Initial(initial) = &mut relay.passage else { return Ok(()) };
        let invocation = Invocation {
            request: &initial.onward,
            case: initial.case,
            registered: initial.is_registered(),
            registration_type: None,
        };
        match initial.criteria.next_after(initial.last, &invocation).cloned() {
            Some(criterion) => self.visit(relay, &criterion, step),
            None if initial.is_terminating() && !initial.is_routed() => self.reach_contacts(relay, step),
            None => self.onward(relay, step),
        }
    }

    /// An application server returns a request with our original dialog identifier.
    pub(crate) fn resume_chain(
        &mut self,
        draft: Draft,
        link: Link,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        if self.has_passed_over(&link) {
            let why = "the server was silent for too long, and the request went on without it";
            return Err(Rejection::new(Status::REQUEST_TERMINATED, CLAUSE, why));
        }
        let invoked = self.relays.values_mut().find_map(|relay| match &mut relay.passage {
            Passage::Initial(initial) if initial.invoked(&link) => Some(initial),
            Passage::Initial(_) | Passage::Dialog { .. } => None,
        });
        let frozen = invoked.map(|initial| {
            initial.progressed();
            (initial.criteria.clone(), initial.onward.charging_vector().ok().flatten())
        });
        let (frozen, charged) = frozen.unzip();
        let set = self.registration.set_of(&link.served);
        let profile = set.and_then(|set| set.service_profile(&link.served));
        let criteria = match (frozen, profile) {
            (Some(criteria), _) => criteria,
            (None, Some(profile)) => step.policy.chain(profile),
            (None, None) => {
                let why = "the original dialog is not known any more";
                return Err(Rejection::new(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST, CLAUSE, why));
            }
        };
        let mut edit = draft.onward.edit();
        edit.remove(Name::PServedUser);
        if let Ok(Some(mut vector)) = draft.onward.charging_vector()
            && vector.orig_ioi.as_deref().is_some_and(|ioi| ioi.starts_with(TYPE_3))
        {
            // Between us and the server its network was the originating one.
            vector.orig_ioi = charged.flatten().and_then(|charged| charged.orig_ioi);
            edit.replace(Name::PChargingVector, vector);
        }
        let timer = ask_for_timer(&mut edit, &draft.request, step)?;
        let mut initial = Initial {
            key: link.key,
            case: link.case,
            served: link.served,
            binding: link.binding,
            recorded: None,
            onward: edit.finish(),
            timer,
            criteria,
            last: Some(link.last),
            depth: link.depth.saturating_add(1),
            stage: Stage::Onward,
        };
        if initial.is_terminating() && !self.is_for(&initial.served, initial.onward.uri(), step.policy) {
            // TS 24.229 §5.4.3.3: retargeted; the served user now diverts, as if it called: a chain of its own.
            initial.case = SessionCase::OriginatingCdiv;
            initial.last = None;
        }
        self.begin(&draft, initial, step)
    }

    /// The passage that sent the request to the server went on without it, and no other did: the callee is rung already.
    fn has_passed_over(&self, link: &Link) -> bool {
        let passages = || {
            self.relays.values().filter_map(|relay| match &relay.passage {
                Passage::Initial(initial) => Some(initial),
                Passage::Dialog { .. } => None,
            })
        };
        let went_on = |initial: &Initial| {
            initial.key == link.key
                && initial.case == link.case
                && initial.depth == link.depth
                && !initial.invoked(link)
                && initial.last >= Some(link.last)
        };
        passages().any(|initial| went_on(initial)) && !passages().any(|initial| initial.invoked(link))
    }

    /// The Request-URI still means the served user: it is the identity, an alias, or a GRUU of one.
    fn is_for(&self, served: &Impu, uri: &Uri, policy: &Policy) -> bool {
        let Ok(now) = self.identity_in(uri, policy) else { return false };
        if now == *served {
            return true;
        }
        let Some(set) = self.registration.set_of(served) else { return false };
        let group = |impu: &Impu| set.profile.identity(impu).map(|identity| &identity.alias_group);
        group(&now).is_some_and(|alias| group(served) == Some(alias))
    }

    /// Sends the request to an application server.
    fn visit(
        &mut self,
        relay: &mut Relay,
        criterion: &InitialFilterCriteria,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let Passage::Initial(initial) = &mut relay.passage else { return Ok(()) };
        initial.last = Some(criterion.priority);
        let server = Uri::parse(&criterion.application_server.server_name)
            .ok()
            .filter(Uri::is_sip)
            .and_then(|uri| if uri.has_param("lr") { Some(uri) } else { uri.with_param("lr", None).ok() });
        let Some(server) = server else {
            // A criterion without usable server is passed over.
            return self.proceed(relay, step);
        };
        let link = Link {
            key: initial.key,
            case: initial.case,
            last: criterion.priority,
            depth: initial.depth,
            binding: initial.binding,
            served: initial.served.clone(),
        };
        let originating = !initial.is_terminating();
        let mut edit = proxy::forwarded(&initial.onward);
        edit.push_top(Name::Route, self.original_dialog_identifier(&link, originating, step));
        edit.push_top(Name::Route, NameAddr::new(server));
        edit.replace(Name::PServedUser, served_user(&initial.served, initial.case));
        self.charge_towards_server(&mut edit, initial, step);
        initial.record_route(&mut edit, step.policy);
        let handling = criterion.application_server.default_handling;
        let patience = match handling {
            DefaultHandling::SessionContinued => step.policy.session.as_continued_timeout_ms,
            DefaultHandling::SessionTerminated => step.policy.session.as_terminated_timeout_ms,
        };
        initial.stage = Stage::Server(Visit {
            default_handling: handling,
            silent_at: Some(step.now() + Span::from_millis(patience.into())),
        });
        step.say(format!(
            "{} to application server {}",
            relay.request.method(),
            criterion.application_server.server_name
        ));
        relay.open(edit.finish(), None, Vec::new(), step);
        Ok(())
    }

    fn original_dialog_identifier(&self, link: &Link, originating: bool, step: &Step<'_>) -> String {
        let tokens = &step.policy.tokens;
        let token = tokens.mint_with(TokenKind::OriginalDialog, &self.impi, link.key, &link.note());
        let orig = if originating { ";orig" } else { "" };
        format!("<sip:{token}@{};lr{orig}>", step.policy.host_port())
    }

    /// A branch of an initial request ended without success.
    pub(crate) fn initial_refused(&mut self, relay: &mut Relay, branch: BranchId, step: &mut Step<'_>) {
        let Passage::Initial(initial) = &relay.passage else { return };
        let proceeded = match &initial.stage {
            Stage::Server(visit) => {
                let fails = relay
                    .context
                    .refusal(branch)
                    .is_some_and(|status| status == Status::REQUEST_TIMEOUT || status.class() == 5);
                let skips = visit.silent_at.is_some()
                    && fails
                    && visit.default_handling == DefaultHandling::SessionContinued;
                if !skips {
                    return;
                }
                relay.context.forget(branch);
                self.proceed(relay, step)
            }
            Stage::Contacts(_) => self.next_contacts(relay, branch, step),
            Stage::Profile | Stage::Onward => return,
        };
        if let Err(rejection) = proceeded {
            self.refuse_relay(relay, rejection, step);
        }
    }

    /// An application server has been silent too long.
    pub(crate) fn server_silent(&mut self, relay: &mut Relay, step: &mut Step<'_>) {
        let Passage::Initial(initial) = &mut relay.passage else { return };
        let Stage::Server(visit) = &mut initial.stage else { return };
        visit.silent_at = None;
        let goes_on = visit.default_handling == DefaultHandling::SessionContinued && relay.ending.is_none();
        step.say("an application server is silent");
        let unanswered: Vec<BranchId> = relay.context.unanswered().collect();
        for branch in unanswered {
            relay.abandon(branch, step);
            relay.fails(branch, BranchFailure::Timeout);
            if goes_on {
                relay.context.forget(branch);
            }
        }
        if goes_on && let Err(rejection) = self.proceed(relay, step) {
            self.refuse_relay(relay, rejection, step);
        }
    }

    /// Answers a request that was on its way with a refusal of ours.
    pub(crate) fn refuse_relay(&self, relay: &mut Relay, rejection: Rejection, step: &mut Step<'_>) {
        relay.cancel_unanswered(None, step);
        if relay.answered == Answered::No {
            relay.answered = Answered::Refused;
            self.refuse(relay.tx, &relay.request, rejection, step);
        }
    }
}

impl ImplicitRegistrationSet {
    /// The service profile of an identity of the set.
    pub(crate) fn service_profile(&self, impu: &Impu) -> Option<&ServiceProfile> {
        self.profile
            .profiles
            .iter()
            .find(|profile| profile.identities.iter().any(|identity| identity.impu == *impu))
    }
}

/// P-Served-User (RFC 5502 §4, RFC 8498 §4).
fn served_user(served: &Impu, case: SessionCase) -> String {
    let (case, state) = match case {
        SessionCase::Originating => ("orig", "reg"),
        SessionCase::OriginatingUnregistered => ("orig", "unreg"),
        SessionCase::TerminatingRegistered => ("term", "reg"),
        SessionCase::TerminatingUnregistered => ("term", "unreg"),
        SessionCase::OriginatingCdiv => return format!("<{served}>;orig-cdiv"),
    };
    format!("<{served}>;sescase={case};regstate={state}")
}
