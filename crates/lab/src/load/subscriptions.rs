//! RFC 3680 §4, RFC 6665 §4.1 — users who subscribe to their own registration state, hear of it, and subscribe no more.

use super::{
    arrival::{Arrival, ORIGINATING},
    ground::{Dialog, Ground},
    mark::{Kind, Mark},
    places::Places,
    report::stages,
    tally::Tally,
    text::{Start, Text},
    timers::{GIVE_UP, T2, Wait, Whose},
};
use std::io::Write;
use tokio::time::Instant;

stages! { STAGES:
    TO_200 = "subscribe_to_200", "SUBSCRIBE to 200";
    TO_NOTIFY = "subscribe_to_notify", "SUBSCRIBE to NOTIFY";
    TO_LAST_NOTIFY = "unsubscribe_to_notify", "unsubscribing to last NOTIFY";
    FROM_INTENDED = "subscribe_to_200_from_intended", "SUBSCRIBE to 200 from intended";
}
const FOR_S: u32 = 600;

#[derive(Debug)]
struct Subscription {
    mark: Mark,
    user: u32,
    intended: Instant,
    wait: Wait,
    begun: Instant,
    /// Whether it subscribes no more.
    leaves: bool,
    /// Whether it waits to make its request anew.
    patient: bool,
    cseq: u32,
    /// Whether the SUBSCRIBE of that CSeq was accepted, and the NOTIFY to it has come.
    accepted: bool,
    notified: bool,
    dialog: Option<Box<Dialog>>,
    failed: bool,
}

/// All subscriptions of a run.
#[derive(Debug)]
pub(super) struct Subscriptions {
    pub(super) tally: Tally,
    begun: u32,
    subscriptions: Places<Subscription>,
}

impl Subscriptions {
    pub(super) fn new() -> Self {
        Self { tally: Tally::new(STAGES), begun: 0, subscriptions: Places::default() }
    }

    /// How many are under way.
    pub(super) fn in_flight(&self) -> u64 {
        self.subscriptions.kept()
    }

    /// Has the next user subscribe.
    pub(super) fn begin(&mut self, ground: &mut Ground, intended: Instant) {
        let number = self.begun;
        self.begun = self.begun.wrapping_add(1);
        self.tally.started();
        let user = number % ground.users.len() as u32;
        if !ground.user(user).registered {
            return self.tally.failed("the subscriber is not registered");
        }
        let wait = ground.fresh(user);
        let kept = self.subscriptions.keep(number, |place| Subscription {
            mark: ground.mark(Kind::Subscription, place, number),
            user,
            intended,
            wait,
            begun: ground.now,
            leaves: false,
            patient: false,
            cseq: 1,
            accepted: false,
            notified: false,
            dialog: None,
            failed: false,
        });
        let Some(place) = kept else {
            return self.tally.failed("too many subscriptions are under way already");
        };
        if let Some(subscription) = self.subscriptions.at(place) {
            subscription.transmit(ground);
        }
    }

    pub(super) fn response(&mut self, ground: &mut Ground, mark: Mark, cseq: u32, text: &Text<'_>) {
        let Start::Response { status, line } = text.start else { return };
        let Some(subscription) =
            self.subscriptions.of(mark).filter(|one| one.cseq == cseq && !one.accepted && !one.patient)
        else {
            ground.seen.late += 1;
            return;
        };
        if let Some(at) = ground.anew_at(status, text, subscription.begun) {
            subscription.patient = true;
            subscription.wait.until(at);
            return ground.timers.set(at, Whose::Subscription(mark.place));
        }
        match status {
            ..200 => return subscription.wait.proceeding(),
            200..300 if !subscription.leaves => {
                self.tally.record(TO_200, ground.now - subscription.wait.since);
                self.tally.record(FROM_INTENDED, ground.now - subscription.intended);
                self.tally.reached();
                let (own, dialog) = Dialog::answered(ground, subscription.user, text);
                subscription.dialog = Some(Box::new(dialog));
                if !own {
                    ground.seen.unexpected.count("200 to SUBSCRIBE without the Record-Route of every proxy");
                    subscription
                        .fail(&mut self.tally, "200 to SUBSCRIBE without the Record-Route of every proxy");
                }
            }
            200..300 => {}
            _ => {
                subscription.fail(&mut self.tally, &format!("SUBSCRIBE: {line}"));
                return self.subscriptions.forget(mark.place);
            }
        }
        subscription.accepted = true;
        subscription.await_notify(ground);
        self.go_on(ground, mark.place);
    }

    /// A NOTIFY.
    pub(super) fn request(&mut self, ground: &mut Ground, mark: Mark, arrival: &Arrival<'_, '_>) {
        let Arrival { method, text, .. } = *arrival;
        if method != "NOTIFY" {
            ground.seen.unexpected.count(&format!("{method} that belongs to a subscription"));
            return arrival.answer(ground, "481 Call/Transaction Does Not Exist");
        }
        let Some(subscription) = self.subscriptions.of(mark) else {
            ground.seen.late += 1;
            return arrival.answer(ground, "481 Call/Transaction Does Not Exist");
        };
        arrival.answer(ground, "200 OK");
        if !arrival.is_routed(ground, subscription.user, ORIGINATING) {
            let what = arrival.astray(ground);
            subscription.fail(&mut self.tally, &what);
        }
        let ends = text.subscription_state.starts_with("terminated");
        let since = ground.now - subscription.wait.since;
        match (subscription.leaves, ends) {
            (false, true) => {
                let cause = format!("NOTIFY: {}", text.subscription_state);
                subscription.fail(&mut self.tally, &cause);
                return self.subscriptions.forget(mark.place);
            }
            (false, false) if !subscription.notified => self.tally.record(TO_NOTIFY, since),
            (true, true) => self.tally.record(TO_LAST_NOTIFY, since),
            // The registration has changed, or it comes again.
            _ => return,
        }
        subscription.notified = true;
        self.go_on(ground, mark.place);
    }

    pub(super) fn due(&mut self, ground: &mut Ground, place: u32, at: Instant) {
        let found = self.subscriptions.at(place).filter(|one| one.wait.due == Some(at));
        let Some(subscription) = found else { return };
        if std::mem::take(&mut subscription.patient) {
            self.tally.retried();
            subscription.cseq += 1;
            subscription.wait = ground.fresh(subscription.user);
            subscription.transmit(ground);
        } else if subscription.accepted {
            subscription.starve(&mut self.tally, "SUBSCRIBE: no NOTIFY (Timer N)");
            self.subscriptions.forget(place);
        } else if ground.again(subscription.user, &mut subscription.wait, T2) {
            self.tally.sent_again();
            subscription.transmit(ground);
        } else {
            subscription.starve(&mut self.tally, "SUBSCRIBE: no answer (Timer F)");
            self.subscriptions.forget(place);
        }
    }

    /// When both the response and the NOTIFY have come: from subscribing to unsubscribing, and to the end.
    fn go_on(&mut self, ground: &mut Ground, place: u32) {
        let Some(subscription) = self.subscriptions.at(place) else { return };
        if !subscription.accepted || !subscription.notified {
            return;
        }
        if !subscription.leaves {
            subscription.leaves = true;
            subscription.begun = ground.now;
            subscription.cseq += 1;
            subscription.accepted = false;
            subscription.notified = false;
            subscription.wait = ground.fresh(subscription.user);
            subscription.transmit(ground);
        } else {
            if !subscription.failed {
                self.tally.succeeded(None);
            }
            self.subscriptions.forget(place);
        }
    }
}

impl Subscription {
    fn fail(&mut self, tally: &mut Tally, cause: &str) {
        if !std::mem::replace(&mut self.failed, true) {
            tally.failed(cause);
        }
    }

    fn starve(&mut self, tally: &mut Tally, cause: &str) {
        if !std::mem::replace(&mut self.failed, true) {
            tally.unanswered(cause);
        }
    }

    /// Its SUBSCRIBE is not sent again any more; the NOTIFY must come by Timer N.
    fn await_notify(&mut self, ground: &mut Ground) {
        let at = self.wait.since + GIVE_UP;
        self.wait.until(at);
        ground.timers.set(at, Whose::Subscription(self.mark.place));
    }

    fn transmit(&self, ground: &mut Ground) {
        if let Some(due) = self.wait.due {
            ground.timers.set(due, Whose::Subscription(self.mark.place));
        }
        ground.send(self.user, self.wait.to, |ground, out| self.write(ground, out));
    }

    fn write(&self, ground: &Ground, out: &mut Vec<u8>) {
        let Self { mark, cseq, .. } = *self;
        let (domain, name) = (&ground.domain, &ground.user(self.user).name);
        let (local, branch) = (ground.address_of(self.user), mark.branch(cseq));
        let expires = match &self.dialog {
            Some(dialog) => {
                ground.write_head(self.user, "SUBSCRIBE", &dialog.target, branch, out);
                out.extend_from_slice(&dialog.route);
                let _ = write!(out, "From: {}\r\nTo: {}\r\n", dialog.from, dialog.to);
                0
            }
            None => {
                let uri = format_args!("sip:{name}@{domain}");
                ground.write_head(self.user, "SUBSCRIBE", uri, branch, out);
                ground.write_service_route(self.user, out);
                let _ = write!(
                    out,
                    "From: <sip:{name}@{domain}>;tag=o{mark}\r\nTo: <sip:{name}@{domain}>\r\n\
                     P-Charging-Vector: icid-value=\"{mark}\";orig-ioi={domain}\r\n"
                );
                FOR_S
            }
        };
        let _ = write!(
            out,
            "Record-Route: <sip:{ORIGINATING}@{local};lr>\r\nMax-Forwards: 70\r\nCall-ID: {mark}\r\n\
             CSeq: {cseq} SUBSCRIBE\r\nContact: <sip:{name}@{local}>\r\nP-Asserted-Identity: <sip:{name}@{domain}>\r\n\
             Event: reg\r\nAccept: application/reginfo+xml\r\nExpires: {expires}\r\nContent-Length: 0\r\n\r\n"
        );
    }
}
