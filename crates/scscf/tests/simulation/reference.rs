//! The model: which contacts are bound until when, and what may change that.

use crate::world::World;
use scscf::view::View;
use scscf::{Span, Timestamp};
use std::collections::BTreeMap;

/// What a step may do to the bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Licence {
    /// Nothing: whatever was not proved, asked by the network or brought by time.
    None,
    /// A REGISTER that proved itself may do what it says.
    Proved,
    /// The network may end bindings.
    Ends,
    /// The network may bring expiries forward.
    Shortens,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Reference {
    /// Expiry of each contact.
    pub(crate) bindings: BTreeMap<String, Timestamp>,
    /// Deadline of the re-authentication that is pending.
    pub(crate) deadline: Option<Timestamp>,
}

pub(crate) fn bindings(view: &View) -> BTreeMap<String, Timestamp> {
    view.bindings.iter().map(|binding| (binding.contact.clone(), binding.expires_at)).collect()
}

impl Reference {
    /// Holds what a step did against its licence, and learns from it.
    pub(crate) fn follow(&mut self, licence: Licence, world: &World, what: &str) {
        let view = world.user.view();
        let now = bindings(&view);
        match licence {
            Licence::None => assert_eq!(now, self.bindings, "nothing may change the bindings: {what}"),
            Licence::Proved => {
                for (contact, &expires_at) in &now {
                    let longest = world.now + Span::seconds(world.policy.registration.max_expires.into());
                    assert!(
                        expires_at <= longest && expires_at > world.now,
                        "{contact} until {expires_at:?}: {what}"
                    );
                }
            }
            Licence::Ends => {
                for (contact, expires_at) in &now {
                    assert_eq!(
                        self.bindings.get(contact),
                        Some(expires_at),
                        "an end is no beginning: {what}"
                    );
                }
            }
            Licence::Shortens => {
                assert!(now.keys().eq(self.bindings.keys()), "no contact comes or goes: {what}");
                for (contact, expires_at) in &now {
                    assert!(*expires_at <= self.bindings[contact], "never longer: {what}");
                }
            }
        }
        let deadline = view.reauthentication.as_ref().map(|pending| pending.deadline);
        if let (Some(before), Some(after)) = (self.deadline, deadline) {
            // Another one may have begun only after the first was over.
            let begun = view.reauthentication.as_ref().is_some_and(|pending| pending.since == world.now);
            assert!(before == after || begun, "a deadline does not move: {what}");
        }
        self.bindings = now;
        self.deadline = deadline;
    }

    /// Time has passed: what expired is gone, what did not is there.
    pub(crate) fn pass(&mut self, world: &World) {
        let lapsed = self.deadline.is_some_and(|deadline| deadline <= world.now);
        let mut expected = std::mem::take(&mut self.bindings);
        expected.retain(|_, expires_at| *expires_at > world.now && !lapsed);
        let view = world.user.view();
        assert_eq!(bindings(&view), expected, "time alone ends bindings, exactly when it should");
        self.deadline = view.reauthentication.map(|pending| pending.deadline);
        self.bindings = expected;
    }
}
