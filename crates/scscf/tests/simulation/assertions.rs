//! What must hold after every step, beside what `World::step` holds the user against.

use crate::world::{BARRED, Sent, World};
use scscf::Purpose;
use sip::reginfo::{ContactState, DocumentState, RegistrationState};
use std::collections::{BTreeMap, BTreeSet};

/// What the subscribers of one user have been told, by dialog.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    dialogs: BTreeMap<(String, String), Told>,
    seen: BTreeSet<((String, String), u32)>,
    /// The HSS has changed the profile in this run.
    pub(crate) profile_changes: bool,
}

#[derive(Debug, Default)]
struct Told {
    active: BTreeSet<String>,
    terminated: BTreeSet<String>,
    over: bool,
}

pub(crate) fn bounded(world: &World) {
    let view = world.user.view();
    assert!(view.authentication.challenges_outstanding <= world.policy.authentication.max_pending);
    assert!(view.bindings.len() <= world.policy.registration.max_contacts);
    assert!(view.subscriptions.len() <= world.policy.reg_event.max_subscriptions);
    assert!(world.believed || view.bindings.is_empty(), "registered here, and the HSS knows nothing of it");
    if let Some(pending) = &view.reauthentication {
        assert!(!view.bindings.is_empty(), "nobody is left to authenticate");
        assert!(pending.deadline > world.now, "a deadline that passed");
        for binding in &view.bindings {
            assert!(binding.expires_at <= pending.deadline, "{} outlives the deadline", binding.contact);
        }
    }
}

impl Heard {
    /// Reads what has been sent since the last look; `takeover` excuses what is told again.
    pub(crate) fn listen(&mut self, world: &World, takeover: bool) {
        let profile_changes = self.profile_changes;
        for sent in &world.sent {
            if matches!(sent.purpose, Purpose::Notify(_)) {
                self.notify(sent, world, takeover, profile_changes);
            }
        }
    }

    fn notify(&mut self, sent: &Sent, world: &World, takeover: bool, profile_changes: bool) {
        let dialog =
            (sent.request.call_id().to_owned(), sent.request.from_tag().unwrap_or_default().to_owned());
        if !self.seen.insert((dialog.clone(), sent.request.cseq().number)) {
            return;
        }
        let document = sent.document();
        assert_eq!(document.state, DocumentState::Full);
        let legacy = sent.event().starts_with("registration-state");
        let (mut active, mut terminated) = (BTreeSet::new(), BTreeSet::new());
        for registration in &document.registrations {
            assert_ne!(registration.aor, BARRED, "a barred identity is told");
            let demand = registration.state == RegistrationState::ReAuthenticate;
            assert!(legacy || !demand, "the other dialect on a reg dialog");
            for contact in registration.contacts.iter().filter(|contact| !contact.uri.contains("sibling")) {
                let known = active.contains(&contact.id) || terminated.contains(&contact.id);
                assert!(!known, "identifiers are unique in the document");
                match contact.state {
                    ContactState::Active => active.insert(contact.id.clone()),
                    ContactState::Terminated => terminated.insert(contact.id.clone()),
                };
                assert!(contact.expires.is_some());
            }
        }
        let bound: BTreeSet<_> =
            world.user.view().bindings.into_iter().map(|binding| binding.contact).collect();
        let told: BTreeSet<_> = document
            .registrations
            .iter()
            .flat_map(|registration| &registration.contacts)
            .filter(|contact| contact.state == ContactState::Active && !contact.uri.contains("sibling"))
            .map(|contact| contact.uri.clone())
            .collect();
        assert_eq!(told, bound, "what is told is what is bound");
        let before = self.dialogs.entry(dialog).or_default();
        assert!(!before.over || takeover, "nothing follows the last NOTIFY");
        for id in &before.active {
            assert!(active.contains(id) || terminated.contains(id), "{id} vanished without a word");
        }
        if !takeover {
            for id in &before.terminated {
                // The HSS may give an identity back, and take it again; then its contacts are there again, and end again.
                assert!(!terminated.contains(id) || profile_changes, "{id} ended twice");
            }
        }
        *before = Told { active, terminated, over: sent.state().starts_with("terminated") };
    }
}
