//! TS 24.229 §5.4.3.2 — requests initiated by the served user.

use super::asserted::{assert_identity, claimed, preferred};
use super::chain::{Initial, Stage, TYPE_3};
use super::entry::Entry;
use super::relay::{Draft, Passage, Relay};
use super::session::next_hop;
use super::{ImplicitRegistrationSet, Step, User, trust};
use crate::cx::ServerAssignmentType;
use crate::event::CxPurpose;
use crate::ifc::{Chain, SessionCase};
use crate::{Effect, Impu, Policy, Rejection};
use sip::proxy;
use sip::{ChargingVector, Method, Name, NameAddr, Request, RequestEdit, Scheme, Status, Uri};

const CLAUSE: &str = "TS 24.229 §5.4.3.2";
/// TS 24.229 §5.4.3.1, TS 23.380: an S-CSCF without data makes the UE register anew.
const RESTORATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ims-3gpp version=\"1\"><alternative-service>\
<type>restoration</type><reason>the registration is not known</reason><action>initial-registration</action>\
</alternative-service></ims-3gpp>";

impl User {
    /// A request outside any dialog: whose it is decides what is done.
    pub(crate) fn initial(
        &mut self,
        draft: Draft,
        entry: Entry,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        // What a server returns belongs to a session that is counted already.
        let begins = *draft.request.method() == Method::Invite && !matches!(entry, Entry::Chain(_));
        if begins && self.sessions.len() + self.early_sessions() >= step.policy.session.max_sessions {
            let why = "the maximum number of sessions is reached";
            return Err(Rejection::new(Status::BUSY_HERE, CLAUSE, why));
        }
        match entry {
            Entry::Binding(binding) => self.originating(draft, binding, step),
            Entry::Originating => self.originating_for_server(draft, step),
            Entry::Chain(link) => self.resume_chain(draft, link, step),
            Entry::Dialog(_) | Entry::Release(_) if !self.is_called(draft.onward.uri(), step.policy) => {
                let why = "the Route of a dialog leads to the user of that dialog only";
                Err(Rejection::new(Status::FORBIDDEN, "TS 24.229 §5.4.3.1", why))
            }
            Entry::Dialog(_) | Entry::Release(_) | Entry::Terminating => self.terminating(draft, step),
        }
    }

    /// The user's own request, by its Service-Route.
    fn originating(&mut self, draft: Draft, binding: u64, step: &mut Step<'_>) -> Result<(), Rejection> {
        let bound = |set: &&ImplicitRegistrationSet| set.bindings.iter().any(|held| held.id == binding);
        let Some(set) = self.registration.sets.iter().find(bound) else {
            return self.unknown_binding(&draft, step);
        };
        // 1) the served user
        let claimed = claimed(&draft.request)?;
        let known = |uri: &Uri| set.profile.identity(&Impu::of(uri));
        let served = match claimed.iter().find_map(known) {
            Some(identity) if identity.barred => {
                return Err(Rejection::new(
                    Status::FORBIDDEN,
                    CLAUSE,
                    "the identity of the caller is barred",
                ));
            }
            Some(identity) => identity,
            None if !claimed.is_empty() => {
                let why = "the asserted identity is none of the registration";
                return Err(Rejection::new(Status::FORBIDDEN, CLAUSE, why));
            }
            None => preferred(&draft.request, set).ok_or_else(|| {
                Rejection::new(Status::FORBIDDEN, CLAUSE, "no identity of the caller may be used")
            })?,
        };
        let profile = set.service_profile(&served.impu);
        let criteria = profile.map_or_else(Chain::default, |profile| step.policy.chain(profile));
        step.policy.media.check(profile.and_then(|profile| profile.media_profile), &draft.request)?;
        let served_impu = served.impu.clone();
        let mut edit = draft.onward.edit();
        assert_identity(&mut edit, &claimed, served, set);
        edit.remove(Name::PServedUser);
        edit.remove(Name::PPreferredIdentity);
        edit.remove(Name::PAssertedService);
        self.choose_service(&mut edit, &draft.request, set, &served_impu);
        if draft.request.has(Name::PChargingVector) {
            // 5) ours is the originating network
            if let Ok(Some(mut vector)) = draft.request.charging_vector() {
                vector.orig_ioi = Some(step.policy.domain.clone());
                vector.term_ioi = None;
                edit.replace(Name::PChargingVector, vector);
            }
        } else {
            let mut vector = ChargingVector::new(&format!("{:016x}", step.mint()));
            vector.orig_ioi = Some(step.policy.domain.clone());
            edit.replace(Name::PChargingVector, vector);
        }
        let first = Initial::first(&draft, edit, SessionCase::Originating, served_impu, criteria, step)?;
        let initial = Initial { binding: Some(binding), ..first };
        self.begin(&draft, initial, step)
    }

    /// TS 23.380: data of the registration are lost, or the binding is gone. The UE is made to register.
    fn unknown_binding(&self, draft: &Draft, step: &mut Step<'_>) -> Result<(), Rejection> {
        if self.is_registered() {
            let why = "the contact of this Service-Route is not registered any more";
            return Err(Rejection::new(Status::FORBIDDEN, CLAUSE, why));
        }
        let why = "the registration is not known";
        let rejection = Rejection::new(Status::SERVER_TIMEOUT, "TS 24.229 §5.4.3.2", why);
        let tag = step.tag();
        let response = draft
            .request
            .respond(rejection.status, &tag)
            .header(Name::Warning, format_args!("399 {} \"{why} ({CLAUSE})\"", step.policy.name.host()))
            .body("application/3gpp-ims+xml", RESTORATION.as_bytes())
            .finish();
        step.effect(Effect::Respond { tx: draft.tx, response });
        step.refuse(rejection);
        Ok(())
    }

    /// An application server asks for originating services on behalf of a user (TS 24.229 §5.7.3).
    fn originating_for_server(&mut self, draft: Draft, step: &mut Step<'_>) -> Result<(), Rejection> {
        let served = self.served_by_server(&draft.request)?;
        let impu = Impu::of(&served);
        let set = self.registration.set_of(&impu);
        let registered = set.is_some_and(|set| !set.bindings.is_empty());
        if set.and_then(|set| set.profile.identity(&impu)).is_some_and(|identity| identity.barred) {
            return Err(Rejection::new(Status::FORBIDDEN, CLAUSE, "the identity of the caller is barred"));
        }
        let case = if registered { SessionCase::Originating } else { SessionCase::OriginatingUnregistered };
        let profile = set.and_then(|set| set.service_profile(&impu));
        let criteria = profile.map(|profile| step.policy.chain(profile));
        let mut edit = draft.onward.edit();
        edit.remove(Name::PServedUser);
        if !draft.request.has(Name::PAssertedIdentity) {
            edit.append(Name::PAssertedIdentity, NameAddr::new(served));
        }
        let known = criteria.is_some();
        let initial = Initial::first(&draft, edit, case, impu, criteria.unwrap_or_default(), step)?;
        if known { self.begin(&draft, initial, step) } else { self.ask_for_profile(&draft, initial, step) }
    }

    /// TS 29.228 §6.1.2: the profile of a user who is not registered.
    pub(crate) fn ask_for_profile(
        &mut self,
        draft: &Draft,
        initial: Initial,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let initial = Initial { stage: Stage::Profile, ..initial };
        let served = initial.served.as_str().into();
        let relay = self.begin_relay(draft, Passage::Initial(Box::new(initial)), step);
        let request =
            self.unregistered_assignment(vec![served], ServerAssignmentType::UnregisteredUser, step);
        step.effect(Effect::CxRequest { purpose: CxPurpose::Profile(relay.id), request });
        step.say("asks the HSS for the profile of a user who is not registered");
        self.keep_relay(relay, step);
        Ok(())
    }

    /// After the last server: onward to the other party.
    pub(crate) fn onward(&mut self, relay: &mut Relay, step: &mut Step<'_>) -> Result<(), Rejection> {
        let Passage::Initial(initial) = &mut relay.passage else { return Ok(()) };
        initial.stage = Stage::Onward;
        let mut edit = proxy::forwarded(&initial.onward);
        edit.remove(Name::PServedUser);
        let mut next = next_hop(&initial.onward)?;
        if !initial.onward.has(Name::Route) {
            match onward_of(initial.onward.uri(), step.policy)? {
                Onward::To(uri) => {
                    edit.uri(&uri);
                    next = uri;
                }
                Onward::Out(bgcf) => {
                    edit.push_top(Name::Route, NameAddr::new(bgcf.clone()));
                    next = bgcf;
                }
                Onward::AsItIs => {}
            }
        }
        if !trust::includes(&next, step.policy) {
            trust::keep_what_is_inside(&mut edit);
            trust::keep_who_is_private(&mut edit, &initial.onward);
            relay.outside = true;
        }
        if let Ok(Some(mut vector)) = initial.onward.charging_vector() {
            // 9) what the access network charged stays here
            if vector.params.has("access-network-charging-info") || vector.orig_ioi.is_none() {
                vector.params.remove("access-network-charging-info");
                vector.orig_ioi = Some(step.policy.domain.clone());
                edit.replace(Name::PChargingVector, vector);
            }
        }
        initial.record_route(&mut edit, step.policy);
        step.say(format!("{} onward to {}", relay.request.method(), initial.onward.uri_text()));
        relay.open(edit.finish(), None, Vec::new(), step);
        Ok(())
    }

    /// D.5: charging and access data for an application server (TS 24.229 §5.4.3.2, §5.4.3.3).
    pub(crate) fn charge_towards_server(&self, edit: &mut RequestEdit, initial: &Initial, step: &Step<'_>) {
        if let Ok(Some(mut vector)) = initial.onward.charging_vector() {
            vector.orig_ioi = Some(format!("{TYPE_3}{}", step.policy.domain).into());
            vector.term_ioi = None;
            edit.replace(Name::PChargingVector, vector);
        }
        let set = self.registration.set_of(&initial.served);
        if let Some(addresses) = set.and_then(super::ok::charging_functions) {
            edit.replace(Name::PChargingFunctionAddresses, addresses);
        }
    }

    /// P-Asserted-Service for P-Preferred-Service (RFC 6050), if the profile allows the service.
    fn choose_service(
        &self,
        edit: &mut RequestEdit,
        request: &Request,
        set: &ImplicitRegistrationSet,
        served: &Impu,
    ) {
        let Some(wanted) = request.get(Name::PPreferredService) else { return };
        edit.remove(Name::PPreferredService);
        let allowed = set.service_profile(served).map_or(&[][..], |profile| &profile.service_ids);
        if allowed.is_empty() || allowed.iter().any(|id| id.eq_ignore_ascii_case(&wanted)) {
            edit.replace(Name::PAssertedService, wanted);
        }
    }
}

/// Key of a passage: odd for an INVITE, whose dialog is kept.
pub(crate) fn passage_key(request: &Request, step: &mut Step<'_>) -> u64 {
    let chance = step.mint() & !1;
    chance | u64::from(*request.method() == Method::Invite)
}

/// Whether the dialogs of this key are kept as sessions.
pub(crate) const fn keeps_session(key: u64) -> bool {
    key & 1 == 1
}

/// Where a request without Route goes.
enum Onward {
    /// To what the Request-URI says.
    AsItIs,
    /// To this Request-URI.
    To(Uri),
    /// By this BGCF.
    Out(Uri),
}

/// TS 24.229 §5.4.3.2 step 10: a telephone number breaks out, or is sought in the home network.
fn onward_of(uri: &Uri, policy: &Policy) -> Result<Onward, Rejection> {
    if matches!(uri.scheme(), Scheme::Urn | Scheme::Other) {
        let why = "no application server took it, and a Request-URI of this scheme leads nowhere";
        return Err(Rejection::new(Status::UNSUPPORTED_URI_SCHEME, CLAUSE, why));
    }
    if uri.scheme() != Scheme::Tel {
        let claims = uri.param("user").flatten().is_some_and(|kind| kind.eq_ignore_ascii_case("phone"));
        let is_number = || uri.user().is_some_and(is_number);
        if claims && uri.host().eq_ignore_ascii_case(&policy.domain) && !is_number() {
            let why = "the Request-URI holds no telephone number";
            return Err(Rejection::new(Status::ADDRESS_INCOMPLETE, CLAUSE, why));
        }
        return Ok(Onward::AsItIs);
    }
    if let Ok(bgcf) = Uri::parse(&policy.session.bgcf) {
        return Ok(Onward::Out(bgcf));
    }
    let canonical = Impu::of(uri);
    let number = canonical.as_str().trim_start_matches("tel:");
    match Uri::parse(&format!("sip:{number}@{};user=phone", policy.domain)) {
        Ok(home) if number.starts_with('+') => Ok(Onward::To(home)),
        Ok(_) | Err(_) => Err(Rejection::new(Status::NOT_FOUND, CLAUSE, "a local number leads nowhere")),
    }
}

/// Digits, visual separators apart.
fn is_number(user: &str) -> bool {
    let number = user.split(';').next().unwrap_or(user).trim_start_matches('+');
    let is_digit = |octet: u8| octet.is_ascii_hexdigit() || b"*#".contains(&octet);
    number.bytes().any(is_digit) && number.bytes().all(|octet| is_digit(octet) || b"-.()".contains(&octet))
}
