//! TS 24.229 §5.4.3.3, RFC 3841 — which contacts a request for this user is forwarded to, and in which order.

use super::chain::Stage;
use super::relay::{Passage, Relay};
use super::{Step, User};
use crate::gruu;
use crate::token::TokenKind;
use crate::{Impu, Rejection, Timestamp};
use sip::preferences::{self, Preferences};
use sip::proxy::{self, BranchId};
use sip::{Method, Name, NameAddr, Params, Request, Status, Uri};

const CLAUSE: &str = "TS 24.229 §5.4.3.3";

/// A contact to forward to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) uri: Uri,
    pub(crate) path: Vec<Box<str>>,
    pub(crate) binding: u64,
    /// Other flows of the same instance, the latest first.
    flows: Vec<Target>,
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
    pub(crate) fn to_contacts(&mut self, relay: &mut Relay, step: &mut Step<'_>) -> Result<(), Rejection> {
        let Passage::Initial(initial) = &mut relay.passage else { return Ok(()) };
        let gruu = initial.onward.uri().has_param("gr");
        if *relay.request.method() == Method::Subscribe && !gruu {
            let why = "no application server takes this event package, and the S-CSCF does not offer it";
            return Err(Rejection::new(Status::BAD_EVENT, "TS 24.229 §5.4.2.1.1", why)
                .with(crate::Remedy::AllowEvents(super::subscribe::offered(&step.policy.reg_event))));
        }
        let candidates = self.candidates(&initial.served, &initial.onward, step)?;
        let preferences = Preferences::of(&relay.request)
            .map_err(|malformed| Rejection::new(Status::BAD_REQUEST, "RFC 3841 §9", malformed.to_string()))?;
        let weighed = candidates.iter().map(|one| (&one.params, preferences::q_value(&one.params)));
        let order = preferences.rank(weighed);
        let mut groups: Vec<Vec<Target>> = order
            .into_iter()
            .map(|group| {
                group.into_iter().filter_map(|index| Some(candidates.get(index)?.target.clone())).collect()
            })
            .filter(|group: &Vec<Target>| !group.is_empty())
            .collect();
        if groups.is_empty() {
            let why = "no contact can be reached";
            return Err(Rejection::new(Status::TEMPORARILY_UNAVAILABLE, CLAUSE, why));
        }
        let first = groups.remove(0);
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
        let failed_flow = relay.context.refusal(branch).is_some_and(|status| {
            [Status::FLOW_FAILED, Status::REQUEST_TIMEOUT, Status::SERVICE_UNAVAILABLE].contains(&status)
        });
        let known = relay.branches.iter_mut().find(|known| known.id == branch);
        let flows = known.map(|branch| std::mem::take(&mut branch.flows)).unwrap_or_default();
        let still = |target: &Target| self.is_bound_contact(target.binding);
        if failed_flow && let Some(at) = flows.iter().position(still) {
            let mut flows = flows;
            let mut next = flows.remove(at);
            next.flows = flows.split_off(at);
            relay.context.forget(branch);
            return self.fork(relay, vec![next], step);
        }
        if !relay.context.is_done() || relay.context.is_declined() {
            return Ok(());
        }
        loop {
            let Passage::Initial(initial) = &mut relay.passage else { return Ok(()) };
            let Stage::Contacts(groups) = &mut initial.stage else { return Ok(()) };
            if groups.is_empty() {
                return Ok(());
            }
            let group: Vec<Target> =
                groups.remove(0).into_iter().filter(|target| self.is_bound_contact(target.binding)).collect();
            if !group.is_empty() {
                return self.fork(relay, group, step);
            }
        }
    }

    /// Forwards to contacts of equal preference at once.
    fn fork(&mut self, relay: &mut Relay, group: Vec<Target>, step: &mut Step<'_>) -> Result<(), Rejection> {
        let Passage::Initial(initial) = &relay.passage else { return Ok(()) };
        let onward = initial.onward.clone();
        let key = initial.key;
        let breadth = proxy::max_breadth(&onward)
            .map_err(|malformed| Rejection::new(Status::BAD_REQUEST, "RFC 5393 §5", malformed.to_string()))?;
        let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
        let shares: Vec<u32> = proxy::shares(breadth.unwrap_or(proxy::DEFAULT_BREADTH), count)
            .map_err(|narrow| {
                Rejection::new(Status::MAX_BREADTH_EXCEEDED, "RFC 5393 §5", narrow.to_string())
            })?
            .collect();
        let called = onward.uri_text().to_owned();
        for (target, share) in group.into_iter().zip(shares) {
            let mut edit = proxy::forwarded(&onward);
            edit.uri(&target.uri);
            for name in
                [Name::PUserDatabase, Name::PServedUser, Name::PChargingFunctionAddresses, Name::Route]
            {
                edit.remove(name);
            }
            for hop in &target.path {
                edit.append(Name::Route, hop);
            }
            edit.replace(Name::PCalledPartyId, format_args!("<{called}>"));
            if breadth.is_some() || count > 1 {
                edit.replace(Name::MaxBreadth, share);
            }
            self.record_route(&mut edit, &relay.request, key, step);
            step.say(format!("{} to contact {}", relay.request.method(), target.uri));
            relay.open(edit.finish(), Some(target.binding), target.flows, step);
        }
        Ok(())
    }

    /// The contacts that the Request-URI means: all of the identity, or those of a GRUU (RFC 5627 §5).
    fn candidates(
        &self,
        served: &Impu,
        request: &Request,
        step: &Step<'_>,
    ) -> Result<Vec<Candidate>, Rejection> {
        let not_found = |why: &'static str| Rejection::new(Status::NOT_FOUND, "RFC 5627 §5.4", why);
        let mut all = self.all_candidates(served);
        let uri = request.uri();
        if let Some(gr) = uri.param("gr") {
            match gr.filter(|value| !value.is_empty()) {
                Some(instance) => {
                    let identity = Impu::of(uri);
                    all.retain(|candidate| {
                        let own = candidate.instance.as_deref().and_then(|id| gruu::public(&identity, id));
                        own.is_some_and(|own| own.rsplit_once(";gr=").is_some_and(|(_, gr)| gr == instance))
                    });
                    if all.is_empty() {
                        let why = "the instance of this GRUU has no contact";
                        return Err(Rejection::new(Status::TEMPORARILY_UNAVAILABLE, "RFC 5627 §5.4", why));
                    }
                }
                None => {
                    let opened = uri.user().and_then(|user| step.policy.tokens.open(user));
                    let Some((TokenKind::TemporaryGruu, _, discriminator)) = opened else {
                        return Err(not_found("this temporary GRUU was never minted"));
                    };
                    let mut bindings = self.registration.bindings();
                    let Some(binding) = bindings.find(|binding| gruu::belongs(discriminator, binding)) else {
                        return Err(not_found("this temporary GRUU is not valid any more"));
                    };
                    all.retain(|candidate| {
                        candidate.target.binding == binding.id
                            || candidate.target.flows.iter().any(|flow| flow.binding == binding.id)
                    });
                }
            }
        }
        Ok(all)
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
                since: contact.expires_at,
                emergency: false,
            })
        });
        let mut all: Vec<Candidate> = own.chain(shared).collect();
        // An emergency contact is for a call back, when there is no other.
        if all.iter().any(|candidate| !candidate.emergency) {
            all.retain(|candidate| !candidate.emergency);
        }
        one_flow_each(all)
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
