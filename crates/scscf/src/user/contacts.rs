//! TS 24.229 §5.4.3.3, RFC 3841 — which contacts a request for this user is forwarded to, and in which order.

use super::chain::Stage;
use super::relay::{Passage, Relay};
use super::{ContactBinding, ImplicitRegistrationSet, Step, User, number_in};
use crate::gruu;
use crate::token::TokenKind;
use crate::{Impu, Policy, Rejection, Timestamp};
use sip::preferences::{Preferences, q_value};
use sip::proxy::{self, BranchId};
use sip::{Method, Name, NameAddr, Params, Status, Uri};
use std::collections::VecDeque;

const CLAUSE: &str = "TS 24.229 §5.4.3.3";

/// A contact to forward to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) uri: Uri,
    pub(crate) path: Vec<Box<str>>,
    pub(crate) binding: u64,
    /// Other flows of the same instance, the latest first.
    flows: Vec<Self>,
}

/// A contact before preferences are weighed.
struct Candidate {
    target: Target,
    params: Params,
    instance: Option<Box<str>>,
    since: Timestamp,
    emergency: bool,
}

impl User {
    /// After the last server of a terminating request: to the contacts of the user.
    pub(crate) fn reach_contacts(&mut self, relay: &mut Relay, step: &mut Step<'_>) -> Result<(), Rejection> {
        let Passage::Initial(initial) = &mut relay.passage else { return Ok(()) };
        let gruu = initial.onward.uri().has_param("gr");
        if *relay.request.method() == Method::Subscribe && !gruu {
            let why = "no application server takes this event package, and the S-CSCF does not offer it";
            return Err(Rejection::new(Status::BAD_EVENT, "TS 24.229 §5.4.2.1.1", why)
                .with(crate::Remedy::AllowEvents(super::subscribe::offered(&step.policy.reg_event))));
        }
        let candidates = self.candidates(&initial.served, initial.onward.uri(), step.policy)?;
        let preferences = Preferences::of(&initial.onward)
            .map_err(|malformed| Rejection::new(Status::BAD_REQUEST, "RFC 3841 §9", malformed.to_string()))?;
        let weighed = candidates.iter().map(|candidate| (&candidate.params, q_value(&candidate.params)));
        let order = preferences.rank(weighed);
        let mut targets: Vec<_> = candidates.into_iter().map(|candidate| Some(candidate.target)).collect();
        let mut groups: VecDeque<Vec<Target>> = order
            .into_iter()
            .map(|group| group.into_iter().filter_map(|at| targets.get_mut(at)?.take()).collect())
            .collect();
        let Some(first) = groups.pop_front() else {
            let why = "no contact can be reached";
            return Err(Rejection::new(Status::TEMPORARILY_UNAVAILABLE, CLAUSE, why));
        };
        initial.stage = Stage::Contacts(groups);
        self.fork(relay, first, step)
    }

    /// A contact refused: another flow of it, or those of lower preference when all of this group did.
    pub(crate) fn next_contacts(
        &mut self,
        relay: &mut Relay,
        branch: BranchId,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let status = relay.context.refusal(branch);
        let known = relay.branches.iter_mut().find(|known| known.id == branch);
        let (flows, binding) =
            known.map(|branch| (std::mem::take(&mut branch.flows), branch.binding)).unwrap_or_default();
        if status == Some(Status::FLOW_FAILED)
            && let Some(binding) = binding
        {
            // Nobody beyond the edge said so: it is no answer of the user's.
            relay.context.forget(branch);
            self.flow_failed(binding, step);
        }
        let is_flow_failure = status.is_some_and(|status| {
            [Status::FLOW_FAILED, Status::REQUEST_TIMEOUT, Status::SERVICE_UNAVAILABLE].contains(&status)
        });
        let mut flows = flows.into_iter().filter(|target| self.is_bound_contact(target.binding));
        if is_flow_failure && let Some(mut next) = flows.next() {
            next.flows = flows.collect();
            relay.context.forget(branch);
            return self.fork(relay, vec![next], step);
        }
        drop(flows);
        if !relay.context.is_done() || relay.context.is_declined() {
            return Ok(());
        }
        match self.next_group(relay) {
            Some(group) => self.fork(relay, group, step),
            None => Ok(()),
        }
    }

    /// The contacts of the next lower preference that are still bound.
    fn next_group(&self, relay: &mut Relay) -> Option<Vec<Target>> {
        let Passage::Initial(initial) = &mut relay.passage else { return None };
        let Stage::Contacts(groups) = &mut initial.stage else { return None };
        loop {
            let mut group = groups.pop_front()?;
            group.retain(|target| self.is_bound_contact(target.binding));
            if !group.is_empty() {
                return Some(group);
            }
        }
    }

    /// Forwards to contacts of equal preference at once.
    fn fork(&mut self, relay: &mut Relay, group: Vec<Target>, step: &mut Step<'_>) -> Result<(), Rejection> {
        let Passage::Initial(initial) = &relay.passage else { return Ok(()) };
        let onward = &initial.onward;
        let breadth = proxy::max_breadth(onward)
            .map_err(|malformed| Rejection::new(Status::BAD_REQUEST, "RFC 5393 §5", malformed.to_string()))?;
        let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
        let shares: Vec<u32> = proxy::shares(breadth.unwrap_or(proxy::DEFAULT_BREADTH), count)
            .map_err(|narrow| {
                Rejection::new(Status::MAX_BREADTH_EXCEEDED, "RFC 5393 §5", narrow.to_string())
            })?
            .collect();
        let mut branches = Vec::with_capacity(group.len());
        for (target, share) in group.into_iter().zip(shares) {
            let mut edit = proxy::forwarded(onward);
            edit.uri(&target.uri);
            for name in
                [Name::PUserDatabase, Name::PServedUser, Name::PChargingFunctionAddresses, Name::Route]
            {
                edit.remove(name);
            }
            for hop in &target.path {
                edit.append(Name::Route, hop);
            }
            edit.replace(Name::PCalledPartyId, format_args!("<{}>", onward.uri_text()));
            if breadth.is_some() || count > 1 {
                edit.replace(Name::MaxBreadth, share);
            }
            initial.record_route(&mut edit, step.policy);
            branches.push((edit.finish(), target));
        }
        for (request, target) in branches {
            step.say(format!("{} to contact {}", relay.request.method(), target.uri));
            relay.open(request, Some(target.binding), target.flows, step);
        }
        Ok(())
    }

    /// The contacts that the Request-URI means: all of the identity, or those of a GRUU (RFC 5627 §5).
    fn candidates(&self, served: &Impu, uri: &Uri, policy: &Policy) -> Result<Vec<Candidate>, Rejection> {
        let mut all = self.all_candidates(served);
        let Some(gr) = uri.param("gr") else { return Ok(all) };
        if let Some(instance) = gr.filter(|value| !value.is_empty()) {
            let identity = Impu::of(uri);
            all.retain(|candidate| {
                let own = candidate.instance.as_deref().and_then(|id| gruu::public(&identity, id));
                own.is_some_and(|own| own.rsplit_once(";gr=").is_some_and(|(_, gr)| gr == instance))
            });
            return Ok(all);
        }
        let binding = self.behind_temporary_gruu(uri, policy).ok_or_else(|| {
            Rejection::new(Status::NOT_FOUND, "RFC 5627 §5.4", "this temporary GRUU is not valid")
        })?;
        let id = binding.id;
        all.retain(|candidate| {
            candidate.target.binding == id || candidate.target.flows.iter().any(|flow| flow.binding == id)
        });
        Ok(all)
    }

    /// The contact binding for which a temporary GRUU was minted, as long as it is valid.
    fn behind_temporary_gruu(&self, uri: &Uri, policy: &Policy) -> Option<&ContactBinding> {
        let (TokenKind::TemporaryGruu, owner, discriminator) = policy.tokens.open(uri.user()?)? else {
            return None;
        };
        self.registration
            .bindings()
            .find(|binding| owner == self.impi && gruu::belongs(discriminator, binding))
    }

    /// The identity that a Request-URI means: itself, the telephone number in it, or that of a temporary GRUU. Where the user is
    /// not known here, what says that it is a telephone number is known to the HSS as one.
    pub(crate) fn identity_in(&self, uri: &Uri, policy: &Policy) -> Result<Impu, Rejection> {
        let named = Impu::of(uri);
        if self.registration.set_of(&named).is_some() {
            return Ok(named);
        }
        if uri.param("gr").is_some_and(|gr| gr.is_none_or(str::is_empty)) {
            let binding = self.behind_temporary_gruu(uri, policy);
            let holds = |set: &&ImplicitRegistrationSet| {
                binding.is_some_and(|binding| set.bindings.iter().any(|held| held.id == binding.id))
            };
            let set = self.registration.sets.iter().find(holds);
            let identity = set.and_then(|set| set.profile.default_identity());
            return identity.map(|identity| identity.impu.clone()).ok_or_else(|| {
                Rejection::new(Status::NOT_FOUND, "RFC 5627 §5.4", "this temporary GRUU is not valid")
            });
        }
        let is_phone = uri.param("user").flatten().is_some_and(|kind| kind.eq_ignore_ascii_case("phone"));
        let known = |number: &Impu| is_phone || self.registration.set_of(number).is_some();
        Ok(number_in(uri).filter(known).unwrap_or(named))
    }

    /// Whether a Request-URI means an identity that is known here.
    pub(crate) fn is_called(&self, uri: &Uri, policy: &Policy) -> bool {
        self.identity_in(uri, policy).is_ok_and(|named| self.registration.set_of(&named).is_some())
    }

    fn all_candidates(&self, served: &Impu) -> Vec<Candidate> {
        let own = self.registration.set_of(served).into_iter().flat_map(|set| &set.bindings);
        let own = own.map(|binding| Candidate {
            target: Target {
                uri: binding.uri.clone(),
                path: binding.path.clone(),
                binding: binding.id,
                flows: Vec::new(),
            },
            params: binding.params.clone(),
            instance: binding.instance_id.clone(),
            since: binding.registered_at,
            emergency: binding.emergency,
        });
        let shared = self.registration.siblings.values().flatten();
        let shared = shared.filter(|contact| contact.impus.contains(served)).filter_map(|contact| {
            let address = NameAddr::parse(&contact.contact).ok()?;
            Some(Candidate {
                instance: address.param("+sip.instance").map(Into::into),
                target: Target {
                    uri: address.uri,
                    path: contact.path.clone(),
                    binding: contact.id,
                    flows: Vec::new(),
                },
                params: address.params,
                // When it was registered, only its own user knows.
                since: Timestamp::default(),
                emergency: false,
            })
        });
        let mut all: Vec<Candidate> = own.chain(shared).collect();
        // An emergency contact is for a call back, when there is no other. Barring does not matter for it.
        if self.is_barred(served) {
            all.retain(|candidate| candidate.emergency);
        } else if all.iter().any(|candidate| !candidate.emergency) {
            all.retain(|candidate| !candidate.emergency);
        }
        one_flow_each(all)
    }

    fn is_barred(&self, impu: &Impu) -> bool {
        let set = self.registration.set_of(impu);
        set.and_then(|set| set.profile.identity(impu)).is_some_and(|identity| identity.barred)
    }

    /// TS 24.229 §5.4.8: whether no request reaches the identity: it is barred, and has no emergency contact to be called
    /// back at.
    pub(crate) fn is_out_of_reach(&self, impu: &Impu) -> bool {
        let bindings = self.registration.set_of(impu).into_iter().flat_map(|set| &set.bindings);
        self.is_barred(impu) && !bindings.into_iter().any(|binding| binding.emergency)
    }

    /// Whether a contact, own or a sibling's, is still bound.
    pub(crate) fn is_bound_contact(&self, id: u64) -> bool {
        self.registration.bindings().any(|binding| binding.id == id)
            || self.registration.siblings.values().flatten().any(|contact| contact.id == id)
    }
}

/// RFC 5626 §7.1: one flow of an instance at a time, the one registered last; the others are tried when it fails.
fn one_flow_each(mut all: Vec<Candidate>) -> Vec<Candidate> {
    all.sort_by_key(|candidate| std::cmp::Reverse(candidate.since));
    let mut chosen: Vec<Candidate> = Vec::with_capacity(all.len());
    for candidate in all {
        let same =
            chosen.iter_mut().find(|known| known.instance.is_some() && known.instance == candidate.instance);
        match same {
            Some(known) => known.target.flows.push(candidate.target),
            None => chosen.push(candidate),
        }
    }
    chosen
}
