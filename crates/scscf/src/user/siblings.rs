//! TS 24.229 §5.4.1.2.2F — public identities shared by several private ones: their users tell each other their contacts.

use super::{ImplicitRegistrationSet, Registration, User};
use crate::event::SharedContact;
use crate::{Effect, Impi, Impu, Timestamp, user::Step};

/// Most private identities whose contacts are kept.
const MOST_SIBLINGS: usize = 32;

impl User {
    /// Tells the contacts of the set of `impu` to whoever shares it; nobody does unless the HSS named further private
    /// identities or somebody has spoken up.
    pub(crate) fn tell_siblings(&self, impu: &Impu, step: &mut Step<'_>) {
        let Some(set) = self.registration.set_of(impu) else { return };
        let also = self.registration.departed_siblings.clone();
        let shared = set.associated_identities.iter().any(|impi| *impi != self.impi)
            || !self.registration.siblings.is_empty()
            || !also.is_empty();
        if shared {
            let impus: Vec<_> = set.unbarred().map(|identity| identity.impu.clone()).collect();
            let contacts = shared_contacts(set, &impus);
            step.effect(Effect::TellSiblings { impus, contacts, also });
        }
    }

    /// Another private identity told its contacts.
    pub(crate) fn sibling_told(&mut self, impi: Impi, mut contacts: Vec<SharedContact>, step: &mut Step<'_>) {
        if impi == self.impi {
            return;
        }
        if !self.is_registered() {
            return self.sibling_goes_on(&impi, &contacts, step);
        }
        for contact in &mut contacts {
            contact.impus.retain(|impu| self.registration.set_of(impu).is_some());
        }
        contacts.retain(|contact| !contact.impus.is_empty() && contact.expires_at > step.now());
        contacts.truncate(step.policy.registration.max_contacts);
        let known = self.registration.siblings.get(&impi);
        let news = known.is_none();
        if known.map_or(contacts.is_empty(), |known| *known == contacts) {
            return;
        }
        self.registration.departed_siblings.retain(|departed| *departed != impi);
        if contacts.is_empty() {
            self.sibling_departed(&impi);
        } else if news && self.registration.siblings.len() >= MOST_SIBLINGS {
            step.say("too many private identities share these public ones");
            return;
        } else {
            self.registration.siblings.insert(impi, contacts);
        }
        step.changed();
        step.say("another private identity told its contacts");
        if news {
            // It has only just come up, and does not know ours.
            let shared: Vec<_> =
                self.registration.sets.iter().filter_map(|set| set.unbarred().next()).collect();
            for impu in shared.into_iter().map(|identity| identity.impu.clone()).collect::<Vec<_>>() {
                self.tell_siblings(&impu, step);
            }
        }
        self.notify_all(step);
    }

    /// A sibling has no contacts any more. It is told of ours all the same: its sessions may go on at them.
    fn sibling_departed(&mut self, impi: &Impi) {
        let Registration { siblings, departed_siblings, .. } = &mut self.registration;
        siblings.remove(impi);
        if departed_siblings.len() < MOST_SIBLINGS && !departed_siblings.contains(impi) {
            departed_siblings.push(impi.clone());
        }
    }

    /// Nobody is registered here any more, but a session may go on at a contact of a sibling, for as long as that is bound.
    fn sibling_goes_on(&mut self, impi: &Impi, contacts: &[SharedContact], step: &mut Step<'_>) {
        let Some(known) = self.registration.siblings.get_mut(impi) else { return };
        known.retain_mut(|known| {
            let told = contacts.iter().find(|told| told.id == known.id);
            known.expires_at = told.map_or(known.expires_at, |told| told.expires_at);
            told.is_some()
        });
        if known.is_empty() {
            self.registration.siblings.remove(impi);
        }
        step.changed();
        step.say("another private identity told its contacts");
    }

    /// Nobody is registered here any more: of the siblings only those contacts matter at which sessions go on.
    pub(crate) fn forget_siblings(&mut self) {
        let Self { registration, sessions, relays, .. } = self;
        let branches = relays.values().flat_map(|relay| &relay.branches).filter(|branch| !branch.done);
        let used: Vec<u64> = sessions
            .iter()
            .filter_map(|session| session.binding)
            .chain(branches.filter_map(|branch| branch.binding))
            .collect();
        registration.siblings.retain(|_, contacts| {
            contacts.retain(|contact| used.contains(&contact.id));
            !contacts.is_empty()
        });
        registration.departed_siblings = Vec::new();
    }

    /// What siblings told lapses by itself.
    pub(crate) fn siblings_due(&mut self, step: &mut Step<'_>) {
        let now = step.now();
        if !self.registration.siblings.values().flatten().any(|contact| contact.expires_at <= now) {
            return;
        }
        let mut lapsed = Vec::new();
        for (impi, contacts) in &mut self.registration.siblings {
            contacts.retain(|contact| contact.expires_at > now);
            if contacts.is_empty() {
                lapsed.push(impi.clone());
            }
        }
        for impi in lapsed {
            self.sibling_departed(&impi);
        }
        step.changed();
        if self.is_registered() {
            self.notify_all(step);
        } else {
            self.registration.departed_siblings = Vec::new();
        }
    }

    /// Contact values of other private identities under `impu`, for the 200 (OK).
    pub(crate) fn siblings_contacts(&self, impu: &Impu, now: Timestamp) -> impl Iterator<Item = String> {
        self.registration.siblings.values().flatten().filter(move |contact| contact.impus.contains(impu)).map(
            move |contact| format!("{};expires={}", contact.contact, contact.expires_at.seconds_after(now)),
        )
    }
}

fn shared_contacts(set: &ImplicitRegistrationSet, impus: &[Impu]) -> Vec<SharedContact> {
    set.bindings
        .iter()
        .filter(|binding| !binding.emergency)
        .map(|binding| SharedContact {
            impus: impus.to_vec(),
            contact: binding.contact_header().into(),
            expires_at: binding.expires_at,
            id: binding.id,
            path: binding.path.clone(),
        })
        .collect()
}
