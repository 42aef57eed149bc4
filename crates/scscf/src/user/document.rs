//! TS 24.229 §5.4.2.1.2 — what a subscriber is told: the registration of the user as a document of RFC 3680.
//!
//! A document is a function of the state: full, with every identity that is not barred. Only what has ended must be
//! remembered per subscriber, because it is told once.

use super::{ContactBinding, Departed, RegSubscription, Step, SubscriptionKind, User};
use crate::event::SharedContact;
use crate::profile::{IdentityType, PublicIdentity};
use crate::{Impu, Timestamp, gruu};
use sip::reginfo::{
    Contact, ContactEvent, ContactState, DocumentState, Reginfo, Registration, RegistrationState,
};

impl User {
    /// The next document for `subscription`.
    pub(super) fn document(&self, subscription: &RegSubscription, step: &Step<'_>) -> Reginfo {
        let demand = subscription.kind == SubscriptionKind::RegistrationState
            && self.authentication.reauthentication.is_some();
        let mut registrations: Vec<Registration> = Vec::new();
        for set in &self.registration.sets {
            for identity in set.profile.identities().filter(|identity| !identity.barred) {
                let mut contacts: Vec<Contact> = set
                    .bindings
                    .iter()
                    .map(|binding| self.active(binding, &identity.impu, demand, step))
                    .collect();
                let state = match contacts.is_empty() {
                    true => RegistrationState::Init,
                    false if demand && set.bindings.iter().any(|binding| !binding.emergency) => {
                        RegistrationState::ReAuthenticate
                    }
                    false => RegistrationState::Active,
                };
                contacts.extend(self.shared(&identity.impu, step.now()));
                registrations.push(Registration {
                    aor: address(identity),
                    id: registration_id(&identity.impu),
                    state,
                    contacts,
                    wildcarded_identity: wildcard(identity).map(Into::into),
                });
            }
        }
        for departed in &subscription.departed {
            for impu in &departed.impus {
                let known = registrations.iter_mut().find(|known| known.id == registration_id(impu));
                match known {
                    Some(registration) => {
                        if registration.state == RegistrationState::Init {
                            registration.state = RegistrationState::Terminated;
                        }
                        let ended = terminated(departed, impu);
                        match registration.contacts.iter_mut().find(|contact| contact.id == ended.id) {
                            // The identity was given back before anybody heard that it was gone.
                            Some(contact) if contact.state == ContactState::Active => {}
                            Some(contact) => *contact = ended,
                            None => registration.contacts.push(ended),
                        }
                    }
                    None => registrations.push(Registration {
                        aor: impu.as_str().into(),
                        id: registration_id(impu),
                        state: RegistrationState::Terminated,
                        contacts: vec![terminated(departed, impu)],
                        wildcarded_identity: None,
                    }),
                }
            }
        }
        Reginfo { version: subscription.version, state: DocumentState::Full, registrations }
    }

    fn active(&self, binding: &ContactBinding, impu: &Impu, demand: bool, step: &Step<'_>) -> Contact {
        let explicit = binding.impu == *impu;
        // The words of RFC 3680 for a demand are those of the other dialect.
        let event = match demand && binding.event == ContactEvent::Shortened {
            true => ContactEvent::Registered,
            false => binding.event,
        };
        let event = match event == ContactEvent::Registered && !explicit {
            true => ContactEvent::Created,
            false => event,
        };
        let mut contact =
            Contact::new(contact_id(binding.id, impu), ContactState::Active, event, binding.uri.as_str());
        contact.expires = Some(binding.expires_at.seconds_after(step.now()));
        contact.duration_registered = Some((step.now() - binding.registered_at).as_seconds());
        contact.callid = Some(binding.call_id.as_ref().into());
        contact.cseq = Some(binding.cseq);
        tell_params(&mut contact, &binding.params);
        if let (Some(first_cseq), Some(instance)) = (binding.gruu, &binding.instance_id)
            && let Some(public) = gruu::public(impu, instance)
        {
            contact.pub_gruu = Some(public);
            contact.temp_gruu =
                gruu::temporary(step.policy, &self.impi, binding).map(|uri| (uri, first_cseq));
        }
        contact
    }

    /// Contacts of other private user identities under the same public identity.
    fn shared(&self, impu: &Impu, now: Timestamp) -> impl Iterator<Item = Contact> {
        self.registration
            .siblings
            .values()
            .flatten()
            .filter(move |contact| contact.impus.contains(impu) && contact.expires_at > now)
            .filter_map(move |shared| sibling(shared, impu, now))
    }
}

fn sibling(shared: &SharedContact, impu: &Impu, now: Timestamp) -> Option<Contact> {
    let address = sip::NameAddr::parse(&shared.contact).ok()?;
    let mut contact = Contact::new(
        contact_id(shared.id, impu),
        ContactState::Active,
        ContactEvent::Registered,
        address.uri.as_str(),
    );
    contact.expires = Some(shared.expires_at.seconds_after(now));
    tell_params(&mut contact, &address.params);
    Some(contact)
}

fn terminated(departed: &Departed, impu: &Impu) -> Contact {
    let mut contact =
        Contact::new(contact_id(departed.id, impu), ContactState::Terminated, departed.event, &*departed.uri);
    contact.expires = Some(0);
    contact.callid = Some(departed.call_id.as_ref().into());
    contact.cseq = Some(departed.cseq);
    contact
}

/// Contact header parameters: `q` has an attribute of its own, the others are told as they came.
fn tell_params(contact: &mut Contact, params: &sip::Params) {
    contact.q = params.get("q").filter(|q| is_preference(q)).map(Into::into);
    contact.unknown_params = params
        .iter()
        .filter(|(name, _)| !["q", "expires"].iter().any(|known| name.eq_ignore_ascii_case(known)))
        .map(|(name, value)| (name.into(), value.unwrap_or("").into()))
        .collect();
}

/// A decimal from 0 to 1, as the schema wants it: any other text would make the whole document invalid.
fn is_preference(q: &str) -> bool {
    q.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.') && q.parse::<f32>().is_ok_and(|q| q <= 1.0)
}

/// The identity itself, or an example of a wildcarded one.
fn address(identity: &PublicIdentity) -> String {
    match wildcard(identity) {
        Some(expression) => example(expression),
        None => identity.impu.as_str().into(),
    }
}

fn wildcard(identity: &PublicIdentity) -> Option<&str> {
    (identity.kind == IdentityType::WildcardedImpu)
        .then(|| identity.wildcard.as_deref().unwrap_or(&identity.text))
}

/// A public identity in the range of a wildcarded one, whose expression stands between exclamation marks
/// (TS 23.003 §13.4A). Receivers go by the expression, which is told beside it.
fn example(expression: &str) -> String {
    let mut parts = expression.splitn(3, '!');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(before), Some(_), Some(after)) if before.ends_with(':') => {
            format!("{before}wildcardimpu{after}")
        }
        (Some(before), Some(_), Some(after)) => format!("{before}{after}"),
        _ => expression.into(),
    }
}

fn registration_id(impu: &Impu) -> String {
    format!("r{:x}", fingerprint(impu))
}

/// Unique in the document: a binding is told under each identity it is bound to.
fn contact_id(binding: u64, impu: &Impu) -> String {
    format!("c{binding:x}.{:x}", fingerprint(impu))
}

/// FNV-1a: the same on every node and in every release, which identifiers of documents need.
fn fingerprint(impu: &Impu) -> u64 {
    impu.as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}
