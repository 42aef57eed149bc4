//! TS 24.229 §5.4 — one private user identity as a value, and the table of contents of its procedures.

mod accept;
mod asserted;
mod authentication;
mod chain;
mod challenge;
mod contacts;
mod deregister;
mod document;
mod entry;
mod expiry;
mod notify;
mod ok;
mod originating;
mod push_profile;
mod reauthenticate;
mod refer;
mod register;
mod registration;
mod relay;
mod release;
mod session;
mod showing;
mod siblings;
mod state;
mod step;
mod subscribe;
mod terminating;
mod termination;
mod third_party;
mod trust;

pub(crate) use deregister::Cause;
pub use release::{Leg, Receipt, Release, ReleaseCause, ToldSide};
pub use session::{Party, Session};
pub use state::{
    Authentication, Challenge, ContactBinding, Departed, ImplicitRegistrationSet, InFlight, Phase,
    Reauthentication, RegSubscription, Registration, Subscriber, SubscriptionKind,
};
pub use step::Step;
pub(crate) use terminating::number_in;
pub use third_party::{Messages, Notes, Said, ServerRegistration, ThirdParty};

use crate::event::{AttemptId, ServerTx, Source};
use crate::ifc::Criteria;
use crate::view::RegistrationState;
use crate::{
    Effect, Event, Impi, Impu, Moment, Outcome, Policy, Purpose, Rejection, RelayId, SubscriptionId, Told,
};
use serde::{Deserialize, Serialize};
use sip::{Method, Request};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All that one private user identity owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    impi: Impi,
    #[serde(default)]
    authentication: Authentication,
    #[serde(default)]
    registration: Registration,
    #[serde(default)]
    /// Boxed: a leaf of the map has room for eleven.
    subscriptions: BTreeMap<SubscriptionId, Box<RegSubscription>>,
    #[serde(default)]
    sessions: Vec<Session>,
    /// Requests on their way. They die with the actor: their senders hear 500, and begin anew.
    #[serde(skip)]
    relays: BTreeMap<RelayId, Box<relay::Relay>>,
    /// What became of sessions that were released.
    #[serde(skip)]
    receipts: Vec<Receipt>,
    /// REGISTERs waiting for the HSS. They die with the actor: the UE retransmits, and the challenge still stands.
    #[serde(skip)]
    attempts: Vec<(AttemptId, Attempt)>,
}

/// A REGISTER between two answers of the HSS.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attempt {
    register: register::Register,
    goal: Goal,
}

/// What the HSS was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Goal {
    /// A vector.
    Challenge(challenge::Provocation),
    /// An assignment, after the answer to the challenge of this nonce if the REGISTER was authenticated by one.
    Assign { nonce: Option<Box<str>>, authenticated: bool },
}

/// A user in one line, for lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Registration state.
    pub state: RegistrationState,
    /// Contact bindings.
    pub bindings: usize,
    /// Reg-event subscriptions.
    pub subscriptions: usize,
    /// Sessions.
    pub sessions: usize,
    /// A network-initiated re-authentication is pending.
    pub reauthentication: bool,
}

impl User {
    /// A user of whom nothing is known.
    pub fn new(impi: Impi) -> Self {
        Self {
            impi,
            authentication: Authentication::default(),
            registration: Registration::default(),
            subscriptions: BTreeMap::new(),
            sessions: Vec::new(),
            relays: BTreeMap::new(),
            receipts: Vec::new(),
            attempts: Vec::new(),
        }
    }

    /// (state, event, moment) -> (state', outcome). Read it as the table of contents.
    pub fn step(&mut self, event: Event, moment: Moment, policy: &Policy) -> Outcome {
        let mut step = Step::new(moment, policy);
        // What the former owner had in flight is in doubt before anything new is said.
        let mut in_doubt = Vec::new();
        if matches!(event, Event::Resumed) {
            self.servers_in_doubt();
            self.sessions_in_doubt(step.now());
            in_doubt = self.notifies_in_doubt();
        }
        self.forget_relays(&step);
        // What is overdue happens first: no event meets a state that time has ended.
        self.overdue(&mut step);
        match event {
            Event::Request { tx, request, source } => {
                if let Err(rejection) = self.request(tx, &request, source, &mut step) {
                    self.refuse(tx, &request, rejection, &mut step);
                }
            }
            Event::Ack { request, source } => self.acknowledged(&request, source, &mut step),
            Event::Cancel { of, reason } => self.cancelled(of, reason, &mut step),
            Event::Reply { to: Purpose::Relay(id, branch), reply } => {
                self.relay_answered(id, branch, reply, &mut step);
            }
            Event::Reply { to: Purpose::Release(id, side), reply } => {
                self.release_answered(id, side, &reply, &mut step);
            }
            Event::Reply { to: Purpose::Notify(id), reply } => self.notify_answered(id, reply, &mut step),
            Event::Reply { to: Purpose::Refer, reply } => self.refer_answered(&reply, &mut step),
            Event::Reply { to: Purpose::ThirdPartyRegister(id), reply } => {
                self.server_answered(id, &reply, &mut step);
            }
            Event::CxAnswer { to, answer } => self.cx_answered(to, answer, &mut step),
            Event::CxDemand { tx, demand } => self.demanded(tx, demand, &mut step),
            Event::Reauthenticate { by, period, reason, ask } => {
                let told = self.reauthenticate(by, period, reason, &mut step);
                tell(ask, told, &mut step);
            }
            Event::Deregister { reason, ask } => {
                let told = self.deregister_for_operator(reason, &mut step);
                tell(ask, told, &mut step);
            }
            Event::Sibling { impi, contacts } => self.sibling_told(impi, contacts, &mut step),
            Event::Deadline => {}
            Event::Resumed => {
                self.authentication.resumed();
                self.deadline(&mut step);
                self.notify_again(in_doubt, &mut step);
            }
        }
        // A challenge whose assignment died with a former owner may have outlived its time.
        self.overdue(&mut step);
        // Whatever ended the contact: no session outlives it.
        self.release_unbound(ReleaseCause::Unbound, &mut step);
        self.authentication.close_window(step.now());
        self.settle_servers(&mut step);
        self.trim();
        let owns_nothing = self.owns_nothing();
        step.finish(owns_nothing)
    }

    /// Gives back room that lists do not use: there are millions of users.
    fn trim(&mut self) {
        if self.attempts.is_empty() {
            self.attempts = Vec::new();
        }
        self.authentication.challenges.shrink_to_fit();
        self.registration.sets.shrink_to_fit();
        for set in &mut self.registration.sets {
            set.bindings.shrink_to_fit();
        }
    }

    fn overdue(&mut self, step: &mut Step<'_>) {
        if self.next_deadline().is_some_and(|at| at <= step.now()) {
            self.deadline(step);
        }
    }

    fn request(
        &mut self,
        tx: ServerTx,
        request: &Request,
        source: Source,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        match request.method() {
            Method::Register => self.register(tx, request, source, step),
            Method::Subscribe if self.watches_registration(request, step.policy) => {
                self.subscribe(tx, request, source, step)
            }
            Method::Subscribe
            | Method::Options
            | Method::Invite
            | Method::Ack
            | Method::Cancel
            | Method::Bye
            | Method::Notify
            | Method::Message
            | Method::Publish
            | Method::Info
            | Method::Prack
            | Method::Update
            | Method::Refer
            | Method::Other(_) => self.relay(tx, request, source, step),
        }
    }

    /// Answers with a refusal; the only place that does.
    fn refuse(&self, tx: ServerTx, request: &Request, rejection: Rejection, step: &mut Step<'_>) {
        let tag = step.tag();
        let response = rejection.response(request, &tag, step.policy.name.host());
        step.effect(Effect::Respond { tx, response });
        step.refuse(rejection);
    }

    fn deregister_for_operator(&mut self, reason: Box<str>, step: &mut Step<'_>) -> Told {
        if self.registration.bindings().all(|binding| binding.emergency) {
            return Told::NotRegistered;
        }
        self.network_initiated_deregistration(Cause::Administrative(reason), step);
        Told::Deregistering
    }

    /// Whose user it is.
    pub const fn impi(&self) -> &Impi {
        &self.impi
    }

    /// Whether a contact is bound.
    pub fn is_registered(&self) -> bool {
        self.registration.bindings().next().is_some()
    }

    /// Every public identity of every set, barred ones included: what the directory maps to this user.
    pub fn impus(&self) -> impl Iterator<Item = &Impu> {
        self.registration.sets.iter().flat_map(|set| set.profile.identities()).map(|identity| &identity.impu)
    }

    /// Hands out every list of filter criteria, so that equal ones of many users can be made one (`ifc::Criteria`).
    pub fn share_criteria(&mut self, mut share: impl FnMut(&mut Criteria)) {
        let mut sets = self.registration.sets.iter_mut().filter_map(|set| Arc::get_mut(&mut set.profile));
        sets.by_ref().flat_map(|profile| &mut profile.profiles).for_each(|it| share(&mut it.criteria));
    }

    /// Wrong answers to challenges, ever.
    pub const fn wrong_answers(&self) -> u32 {
        self.authentication.wrong_answers
    }

    /// The user in one line.
    pub fn summary(&self) -> Summary {
        let bindings = self.registration.bindings().count();
        let state = match (bindings, self.registration.sets.is_empty()) {
            (0, true) => RegistrationState::NotRegistered,
            (0, false) => RegistrationState::UnregisteredServices,
            _ => RegistrationState::Registered,
        };
        Summary {
            state,
            bindings,
            subscriptions: self.subscriptions.len(),
            sessions: self.sessions.len() + self.early_sessions(),
            reauthentication: self.authentication.reauthentication.is_some(),
        }
    }

    /// Law 12: nothing is left that anybody could ask for.
    fn owns_nothing(&self) -> bool {
        self.registration.sets.is_empty()
            && self.subscriptions.is_empty()
            && self.registration.third_party.is_empty()
            && self.authentication.challenges.is_empty()
            && self.attempts.is_empty()
            && self.sessions.is_empty()
            && self.relays.values().all(|relay| relay.lingers())
            && self.authentication.window_end().is_none()
    }
}

impl Authentication {
    /// What awaited the HSS died with the former actor; the UE may answer again.
    fn resumed(&mut self) {
        for challenge in &mut self.challenges {
            challenge.verified = false;
        }
    }
}

fn tell(ask: Option<crate::AskTx>, told: Told, step: &mut Step<'_>) {
    if let Some(ask) = ask {
        step.effect(Effect::Tell { ask, told });
    }
}
