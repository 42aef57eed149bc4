//! TS 24.229 §5.4.1.2.2F step 10, RFC 3261 §10.3 — the 200 (OK) to REGISTER.

use super::register::{Register, Wish};
use super::{ContactBinding, ImplicitRegistrationSet, User};
use crate::{Effect, Impu, Policy, Timestamp, gruu, token::TokenKind, user::Step};
use sip::{Name, Response, Status};
use std::fmt::Write;

impl User {
    /// Answers a REGISTER that asks for the bindings and changes none.
    pub(crate) fn tell_bindings(&mut self, register: &Register, step: &mut Step<'_>) {
        let response = self.ok(register, &[], step);
        step.effect(Effect::Respond { tx: register.tx, response });
        step.say("told its bindings");
    }

    /// The 200 (OK): every contact of the identity in To; `removed` are those that have just ended.
    pub(crate) fn ok(&self, register: &Register, removed: &[String], step: &mut Step<'_>) -> Response {
        let policy = step.policy;
        let tag = step.tag();
        let mut answer = register.request.respond(Status::OK, &tag);
        for path in register.request.lines(Name::Path) {
            answer = answer.header(Name::Path, path);
        }
        let set = self.registration.set_of(&register.impu).filter(|set| !set.bindings.is_empty());
        if let Some(set) = set {
            let associated = associated(set);
            if !associated.is_empty() {
                answer = answer.header(Name::PAssociatedUri, associated);
            }
            if let Some(binding) = answered_binding(set, register) {
                answer = answer.header(Name::ServiceRoute, self.service_route(binding, policy));
                if binding.reg_id.is_some() && matches!(register.wish, Wish::Bind(_)) {
                    answer = answer.header(Name::Require, "outbound");
                }
            }
            let with_gruus = register.supports("gruu");
            for binding in &set.bindings {
                let contact = self.contact(binding, &register.impu, with_gruus, policy, step.now());
                answer = answer.header(Name::Contact, contact);
            }
            if at_home(register, policy)
                && let Some(addresses) = charging_functions(set)
            {
                answer = answer.header(Name::PChargingFunctionAddresses, addresses);
            }
        }
        for contact in self.siblings_contacts(&register.impu, step.now()) {
            answer = answer.header(Name::Contact, contact);
        }
        for contact in removed {
            answer = answer.header(Name::Contact, format_args!("{contact};expires=0"));
        }
        if let Some(mut vector) = register.charging_vector() {
            vector.term_ioi = Some(policy.domain.clone());
            answer = answer.header(Name::PChargingVector, vector);
        }
        answer.finish()
    }

    /// One URI of ours that leads back to this user and tells the binding.
    fn service_route(&self, binding: &ContactBinding, policy: &Policy) -> String {
        let token = policy.tokens.mint(TokenKind::ServiceRoute, &self.impi, binding.id);
        let mut route = format!("<sip:{token}@{}", policy.name.host());
        if let Some(port) = policy.name.port() {
            // Writing to a String does not fail.
            let _ = write!(route, ":{port}");
        }
        route.push_str(";lr>");
        route
    }

    fn contact(
        &self,
        binding: &ContactBinding,
        impu: &Impu,
        with_gruus: bool,
        policy: &Policy,
        now: Timestamp,
    ) -> String {
        let mut contact = binding.contact_header();
        let _ = write!(contact, ";expires={}", binding.expires_at.seconds_after(now));
        if with_gruus && binding.gruu.is_some() {
            if let Some(public) = binding.instance_id.as_deref().and_then(|id| gruu::public(impu, id)) {
                let _ = write!(contact, ";pub-gruu=\"{public}\"");
            }
            if let Some(temporary) = gruu::temporary(policy, &self.impi, binding) {
                let _ = write!(contact, ";temp-gruu=\"{temporary}\"");
            }
        }
        contact
    }
}

impl ContactBinding {
    /// Its Contact header value, `expires` apart.
    pub(crate) fn contact_header(&self) -> String {
        format!("<{}>{}", self.uri.as_str(), self.params)
    }
}

/// P-Associated-URI: the default identity first; neither barred ones nor wildcards.
fn associated(set: &ImplicitRegistrationSet) -> String {
    let mut list = String::new();
    for identity in set.unbarred().filter(|identity| identity.is_distinct()) {
        let separator = if list.is_empty() { "" } else { ", " };
        let _ = write!(list, "{separator}<{}>", identity.text);
    }
    list
}

/// The binding this REGISTER made; for one that made none, the latest.
fn answered_binding<'a>(set: &'a ImplicitRegistrationSet, register: &Register) -> Option<&'a ContactBinding> {
    let made = |binding: &&ContactBinding| {
        *binding.call_id == *register.request.call_id() && binding.cseq == register.request.cseq().number
    };
    match &register.wish {
        Wish::Bind(_) => set.bindings.iter().find(made),
        Wish::Fetch => set.bindings.last(),
        Wish::RemoveAll | Wish::Remove(_) => None,
    }
}

/// Whether the P-CSCF is in the home network.
fn at_home(register: &Register, policy: &Policy) -> bool {
    register
        .visited_network()
        .is_some_and(|network| network.trim_matches('"').eq_ignore_ascii_case(&policy.domain))
}

pub(super) fn charging_functions(set: &ImplicitRegistrationSet) -> Option<String> {
    let charging = set.charging.as_ref()?;
    let named = [
        ("ccf", &charging.primary_ccf),
        ("ccf", &charging.secondary_ccf),
        ("ecf", &charging.primary_ecf),
        ("ecf", &charging.secondary_ecf),
    ];
    let mut value = String::new();
    for (name, address) in named.into_iter().filter_map(|(name, address)| Some((name, address.as_ref()?))) {
        let separator = if value.is_empty() { "" } else { "; " };
        let _ = write!(value, "{separator}{name}=\"{address}\"");
    }
    (!value.is_empty()).then_some(value)
}
