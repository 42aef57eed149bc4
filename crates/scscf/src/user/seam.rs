//! TS 24.229 §5.4.2 — where the registration-state event package joins.

use super::{Departed, User};
use crate::event::{Reply, ServerTx, Source, Trigger};
use crate::{Rejection, Span, SubscriptionId, Timestamp, Told, user::Step};
use sip::{Request, Status};

impl User {
    pub(crate) fn subscribe(
        &mut self,
        _: ServerTx,
        _: &Request,
        _: Source,
        _: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        Err(Rejection::new(Status::BAD_EVENT, "TS 24.229 §5.4.2.1.1", "not offered"))
    }
    pub(crate) fn notify_all(&mut self, _: &mut Step<'_>) {}
    pub(crate) fn bindings_departed(&mut self, _: Vec<Departed>, _: &'static str, _: &mut Step<'_>) {}
    pub(crate) fn notify_answered(&mut self, _: SubscriptionId, _: Reply, _: &mut Step<'_>) {}
    pub(crate) fn refer_answered(&mut self, _: &Reply, _: &mut Step<'_>) {}
    pub(crate) fn subscriptions_deadline(&self) -> Option<Timestamp> {
        None
    }
    pub(crate) fn subscriptions_due(&mut self, _: &mut Step<'_>) {}
    pub(crate) fn reauthenticate(
        &mut self,
        _: Trigger,
        _: Option<Span>,
        _: Option<Box<str>>,
        _: &mut Step<'_>,
    ) -> Told {
        Told::NotRegistered
    }
    pub(crate) fn reauthentication_succeeded(&mut self, _: &mut Step<'_>) {}
    pub(crate) fn reauthentication_challenged(&mut self) {}
    pub(crate) fn reauthentication_deadline(&self) -> Option<Timestamp> {
        None
    }
    pub(crate) fn reauthentication_due(&mut self, _: &mut Step<'_>) {}
    pub(crate) fn resumed(&mut self, _: &mut Step<'_>) {}
}
