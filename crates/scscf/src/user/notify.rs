//! TS 24.229 §5.4.2.1.2 — notification about registration state.
//!
//! One NOTIFY at a time per dialog: what happens until its final response is told, merged, by the next one. The dialog's
//! CSeq and the document's version rise in the state that is saved before the request leaves, so a new owner of the user
//! goes on above them.

use super::{Departed, InFlight, RegSubscription, Step, Subscriber, User};
use crate::token::TokenKind;
use crate::{Effect, Impi, Policy, Purpose, Reply, Span, SubscriptionId, Timestamp};
use sip::{Method, Name, SubscriptionState, Substate, reginfo};

/// A NOTIFY without any fate after so long is given up. Longer than Timer F, so this only matters when its fate was lost
/// together with the node that sent it.
const GIVEN_UP_AFTER: Span = Span::seconds(180);

/// Ended contacts kept for one subscriber until they can be told; the oldest give way.
const MAX_DEPARTED: usize = 64;

impl User {
    /// The registration state changed: every subscriber is told.
    pub(crate) fn notify_all(&mut self, step: &mut Step<'_>) {
        for id in self.subscription_ids() {
            self.notify(id, step);
        }
    }

    /// A UE registered contacts in the place of others (C.4 rows 12 to 14): its subscriptions go with it to the new ones, and
    /// both are told in one document.
    pub(crate) fn bindings_replaced(&mut self, departed: Vec<Departed>, by: &[u64], step: &mut Step<'_>) {
        for subscription in self.subscriptions.values_mut() {
            let moves = departed.iter().any(|ended| subscription.bindings.contains(&ended.id));
            if moves {
                let new = by.iter().filter(|id| !subscription.bindings.contains(id)).copied();
                let new: Vec<u64> = new.collect();
                subscription.bindings.extend(new);
            }
        }
        self.bindings_departed(departed, "noresource", step);
    }

    /// Contacts ended, or ended for some identities: notes them for every subscriber, ends the subscriptions that go with
    /// them, and tells everyone.
    ///
    /// The registration no longer holds them when this is called. `last_reason` is the reason in Subscription-State of the
    /// subscriptions that end.
    pub(crate) fn bindings_departed(
        &mut self,
        departed: Vec<Departed>,
        last_reason: &'static str,
        step: &mut Step<'_>,
    ) {
        let bindings = || self.registration.sets.iter().flat_map(|set| &set.bindings);
        let remaining: Vec<u64> = bindings().map(|binding| binding.id).collect();
        let nobody_to_ask = bindings().all(|binding| binding.emergency);
        if nobody_to_ask {
            self.reauthentication_over(step);
        }
        let mut dropped = Vec::new();
        for (&id, subscription) in &mut self.subscriptions {
            step.changed();
            subscription.note(&departed);
            if subscription.ending.is_some() {
                continue;
            }
            let own = subscription.bindings.clone();
            subscription.bindings.retain(|id| remaining.contains(id));
            let left = subscription.subscriber == Subscriber::Ue && subscription.bindings.is_empty();
            if left && by_the_ue(&departed, &own) {
                // As if it had unsubscribed; with its security associations going, nothing could reach it.
                dropped.push(id);
            } else if left || remaining.is_empty() {
                subscription.ending = Some(last_reason.into());
            }
        }
        for id in dropped {
            self.end_subscription(id, step);
        }
        self.notify_all(step);
    }

    /// Tells one subscriber, now or as soon as the NOTIFY before has its final response.
    pub(super) fn notify(&mut self, id: SubscriptionId, step: &mut Step<'_>) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        step.changed();
        if subscription.in_flight.is_some() {
            subscription.stale = true;
            return;
        }
        let body = match self.subscriptions.get(&id) {
            Some(subscription) => self.document(subscription, step).to_xml(),
            None => return,
        };
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        let request = subscription.request(id, &self.impi, &body, step);
        step.effect(Effect::Send { purpose: Purpose::Notify(id), request });
    }

    /// What became of a NOTIFY.
    pub(crate) fn notify_answered(&mut self, id: SubscriptionId, reply: Reply, step: &mut Step<'_>) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return step.say("answer to a NOTIFY of a subscription that has ended");
        };
        let Some(in_flight) = subscription.in_flight else {
            return step.say("answer to no NOTIFY in flight");
        };
        let status = match &reply {
            Reply::Response(response) if response.cseq().number != in_flight.cseq => {
                return step.say("answer to an earlier NOTIFY");
            }
            Reply::Response(response) if !response.status().is_final() => return,
            Reply::Response(response) => response.status().code(),
            Reply::Timeout | Reply::Unsendable => 0,
        };
        step.changed();
        step.say(format!("NOTIFY to {} answered {status}", subscription.subscriber_uri));
        subscription.in_flight = None;
        subscription.departed.drain(..usize::from(in_flight.told).min(subscription.departed.len()));
        if let Some((_, answered)) = &mut subscription.last_notify {
            *answered = Some(status);
        }
        if let Reply::Response(response) = &reply
            && response.status().is_success()
        {
            subscription.dialog.refresh_target(response);
        }
        let stale = std::mem::take(&mut subscription.stale);
        let ended = in_flight.last || is_gone(&reply);
        if ended {
            self.subscriptions.remove(&id);
        } else if stale {
            self.notify(id, step);
        }
        if in_flight.demand || ended {
            self.demand_answered(id, status, step);
        }
    }

    /// Removes a subscription without another word to its subscriber.
    pub(super) fn end_subscription(&mut self, id: SubscriptionId, step: &mut Step<'_>) {
        if self.subscriptions.remove(&id).is_some() {
            step.changed();
            self.demand_answered(id, 0, step);
        }
    }

    /// The next moment a subscription acts by itself.
    pub(crate) fn subscriptions_deadline(&self) -> Option<Timestamp> {
        self.subscriptions.values().filter_map(|subscription| subscription.deadline()).min()
    }

    /// Ends the subscriptions whose time is over, and gives up NOTIFYs whose fate was lost.
    pub(crate) fn subscriptions_due(&mut self, step: &mut Step<'_>) {
        for id in self.subscription_ids() {
            let Some(subscription) = self.subscriptions.get_mut(&id) else { continue };
            if subscription.ending.is_none() && subscription.expires_at <= step.now() {
                subscription.ending = Some("timeout".into());
                self.notify(id, step);
            }
            let given_up = self.subscriptions.get(&id).and_then(|subscription| subscription.given_up_at());
            if given_up.is_some_and(|at| at <= step.now()) {
                self.notify_answered(id, Reply::Timeout, step);
            }
        }
    }

    /// A new owner: NOTIFYs that were in flight may never have left. Their dialogs.
    pub(crate) fn notifies_in_doubt(&mut self) -> Vec<SubscriptionId> {
        let mut dialogs = Vec::new();
        for (id, subscription) in &mut self.subscriptions {
            if let Some(in_doubt) = subscription.in_flight.take() {
                subscription.demand |= in_doubt.demand;
                subscription.stale = false;
                dialogs.push(*id);
            }
        }
        dialogs
    }

    /// Each dialog in doubt gets one more NOTIFY, with the state as it is now, a higher CSeq and a higher version, unless there
    /// was something new to tell it anyway.
    pub(crate) fn notify_again(&mut self, in_doubt: Vec<SubscriptionId>, step: &mut Step<'_>) {
        for id in in_doubt {
            if self.subscriptions.get(&id).is_some_and(|subscription| subscription.in_flight.is_none()) {
                self.notify(id, step);
            }
        }
    }

    fn subscription_ids(&self) -> Vec<SubscriptionId> {
        self.subscriptions.keys().copied().collect()
    }
}

impl RegSubscription {
    fn deadline(&self) -> Option<Timestamp> {
        let expiry = self.ending.is_none().then_some(self.expires_at);
        [expiry, self.given_up_at()].into_iter().flatten().min()
    }

    fn given_up_at(&self) -> Option<Timestamp> {
        self.in_flight?;
        self.last_notify.map(|(sent, _)| sent + GIVEN_UP_AFTER)
    }

    /// Keeps ended contacts for the next document.
    fn note(&mut self, departed: &[Departed]) {
        self.departed.extend_from_slice(departed);
        let told = usize::from(self.in_flight.map_or(0, |in_flight| in_flight.told));
        let excess = (self.departed.len() - told.min(self.departed.len())).saturating_sub(MAX_DEPARTED);
        self.departed.drain(told..told + excess);
    }

    /// The NOTIFY with `body`, which is in flight from now on.
    fn request(&mut self, id: SubscriptionId, impi: &Impi, body: &[u8], step: &Step<'_>) -> sip::Request {
        let state = match &self.ending {
            Some(reason) => SubscriptionState::new(Substate::Terminated).with_param("reason", reason),
            None => SubscriptionState::new(Substate::Active)
                .with_param("expires", &self.expires_at.seconds_after(step.now()).to_string()),
        };
        let event = sip::Event {
            package: self.kind.token().into(),
            id: None,
            params: self.event_id.as_deref().map_or_else(Default::default, |id| {
                let mut params = sip::Params::default();
                params.insert("id", id);
                params
            }),
        };
        let mut request = self
            .dialog
            .request(Method::Notify)
            .header(Name::Event, event)
            .header(Name::SubscriptionState, state)
            .header(Name::Contact, contact(id, impi, step.policy));
        if let Some(icid) = &self.icid {
            let vector = sip::ChargingVector {
                orig_ioi: Some(step.policy.domain.clone()),
                ..sip::ChargingVector::new(icid)
            };
            request = request.header(Name::PChargingVector, vector);
        }
        self.version = self.version.saturating_add(1);
        self.in_flight = Some(InFlight {
            cseq: self.dialog.local_cseq,
            demand: std::mem::take(&mut self.demand),
            last: self.ending.is_some(),
            told: u16::try_from(self.departed.len()).unwrap_or(u16::MAX),
        });
        self.last_notify = Some((step.now(), None));
        request.body(reginfo::CONTENT_TYPE, body).finish()
    }
}

/// The Contact of our side of a dialog: it leads back to the user and the subscription.
pub(super) fn contact(id: SubscriptionId, impi: &Impi, policy: &Policy) -> String {
    let token = policy.tokens.mint(TokenKind::RegEvent, impi, id.0);
    let name = policy.name.as_str();
    let (scheme, rest) = name.split_once(':').unwrap_or(("sip", name));
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    format!("<{scheme}:{token}@{place}>")
}

/// Whether the UE itself ended these contacts of its own.
fn by_the_ue(departed: &[Departed], own: &[u64]) -> bool {
    let mut ended = departed.iter().filter(|contact| own.contains(&contact.id)).peekable();
    ended.peek().is_some() && ended.all(|contact| contact.event == reginfo::ContactEvent::Unregistered)
}

/// Whether the fate of a NOTIFY says that nobody listens any more (RFC 6665 §4.2.2).
fn is_gone(reply: &Reply) -> bool {
    match reply {
        Reply::Response(response) => {
            matches!(response.status().code(), 404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 604)
        }
        Reply::Timeout => true,
        Reply::Unsendable => false,
    }
}
