//! RFC 3680 §4, RFC 6665 §4.1 — users who subscribe to their own registration state, hear of it, and subscribe no more; or who
//! stay subscribed, and hear of every registration of theirs from then on.

use super::{
    arrival::{Arrival, ORIGINATING},
    ground::{Dialog, Ground},
    mark::{Kind, Mark},
    places::Places,
    report::{Kept, stages},
    tally::Tally,
    text::{Start, Text},
    timers::{GIVE_UP, T2, Wait, Whose},
};
use crate::wire::text::parameter;
use std::{collections::BTreeMap, io::Write, time::Duration};
use tokio::time::Instant;

stages! { STAGES:
    TO_200 = "subscribe_to_200", "SUBSCRIBE to 200";
    TO_NOTIFY = "subscribe_to_notify", "SUBSCRIBE to NOTIFY";
    TO_LAST_NOTIFY = "unsubscribe_to_notify", "unsubscribing to last NOTIFY";
    FROM_REGISTER = "register_to_notify", "REGISTER to NOTIFY";
    FROM_INTENDED = "subscribe_to_200_from_intended", "SUBSCRIBE to 200 from intended";
}
/// Asked for by those that are ended at once, in seconds.
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
    /// Whether it is kept and nothing is due.
    rests: bool,
    /// CSeq of the last NOTIFY, and when that came.
    heard: Option<(u32, Instant)>,
    /// Its tag.
    notifier: String,
}

/// All subscriptions of a run: those that are ended at once, or those that stay.
#[derive(Debug)]
pub(super) struct Subscriptions {
    pub(super) tally: Tally,
    begun: u32,
    subscriptions: Places<Subscription>,
    stay: bool,
    /// Of those that stay, whose is where; and how many of them rest.
    of_users: BTreeMap<u32, u32>,
    resting: u64,
    /// NOTIFYs that came, and those of them that were answered with 200.
    notifies: u64,
    answered: u64,
}

impl Subscriptions {
    pub(super) fn new() -> Self {
        Self {
            tally: Tally::new(STAGES),
            begun: 0,
            subscriptions: Places::default(),
            stay: false,
            of_users: BTreeMap::new(),
            resting: 0,
            notifies: 0,
            answered: 0,
        }
    }

    /// Those that stay count from the beginning, whatever is measured.
    pub(super) fn that_stay() -> Self {
        let mut all = Self { stay: true, ..Self::new() };
        all.tally.measure();
        all
    }

    /// How many are under way.
    pub(super) fn in_flight(&self) -> u64 {
        self.subscriptions.kept() - self.resting
    }

    /// Has the next user subscribe.
    pub(super) fn begin(&mut self, ground: &mut Ground, intended: Instant) {
        let user = self.begun % ground.users.len() as u32;
        self.subscribe(ground, user, intended);
    }

    /// A user has registered. If it has no subscription that stays, it subscribes; else that is to hear of it, unless it has
    /// already since the REGISTER left: the NOTIFY is another way than the 200.
    pub(super) fn registered(&mut self, ground: &mut Ground, user: u32) {
        let Some(place) = self.of_users.get(&user).copied() else {
            return self.subscribe(ground, user, ground.now);
        };
        let since = ground.user(user).wait.since;
        let Some(subscription) = self.subscriptions.at(place).filter(|one| one.rests) else { return };
        if subscription.heard.is_some_and(|(_, at)| at >= since) {
            return;
        }
        subscription.rests = false;
        subscription.notified = false;
        subscription.wait = Wait::sent(ground.now);
        subscription.await_notify(ground);
        self.resting -= 1;
    }

    fn subscribe(&mut self, ground: &mut Ground, user: u32, intended: Instant) {
        let number = self.begun;
        self.begun = self.begun.wrapping_add(1);
        self.tally.started();
        if !ground.user(user).registered {
            return self.tally.failed("the subscriber is not registered");
        }
        let wait = ground.fresh(user);
        let stays = self.stay;
        let kept = self.subscriptions.keep(number, |place| Subscription {
            mark: ground.mark(Kind::Subscription { stays }, place, number),
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
            rests: false,
            heard: None,
            notifier: String::new(),
        });
        let Some(place) = kept else {
            return self.tally.failed("too many subscriptions are under way already");
        };
        if stays {
            self.of_users.insert(user, place);
        }
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
            return ground.timers.set(at, subscription.whose());
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
            // It was put off after it had ended the subscription.
            481 if subscription.leaves && subscription.notified => {}
            _ => {
                subscription.fail(&mut self.tally, &format!("SUBSCRIBE: {line}"));
                return self.forget(mark.place);
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
            self.notifies += 1;
            ground.seen.late += 1;
            return arrival.answer(ground, "481 Call/Transaction Does Not Exist");
        };
        // A SUBSCRIBE that was put off and made anew may have made two dialogs, of which one is wanted.
        let wanted = subscription.dialog.as_ref().and_then(|dialog| parameter(&dialog.to, "tag"));
        let tag = parameter(text.from, "tag").unwrap_or("");
        if wanted.is_some_and(|wanted| wanted != tag) {
            ground.seen.late += 1;
            return arrival.answer(ground, "481 Call/Transaction Does Not Exist");
        }
        arrival.answer(ground, "200 OK");
        // RFC 3261 §12.2.2: requests in a dialog are numbered.
        if subscription.notifier == tag && subscription.heard.is_some_and(|(last, _)| text.cseq <= last) {
            ground.seen.repeated += 1;
            return;
        }
        subscription.notifier.replace_range(.., tag);
        let before = subscription.heard.replace((text.cseq, ground.now));
        self.notifies += 1;
        self.answered += 1;
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
                return self.forget(mark.place);
            }
            (false, false) => match before {
                None => self.tally.record(TO_NOTIFY, since),
                // The registration has changed.
                Some((_, before)) => {
                    let registering = ground.user(subscription.user).wait.since;
                    if before < registering {
                        self.tally.record(FROM_REGISTER, ground.now - registering);
                    }
                }
            },
            (true, true) => self.tally.record(TO_LAST_NOTIFY, since),
            (true, false) => return,
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
            let cause = match subscription.heard {
                Some(_) if self.stay => "REGISTER: no NOTIFY (Timer N)",
                _ => "SUBSCRIBE: no NOTIFY (Timer N)",
            };
            subscription.starve(&mut self.tally, cause);
            self.forget(place);
        } else if ground.again(subscription.user, &mut subscription.wait, T2) {
            self.tally.sent_again();
            subscription.transmit(ground);
        } else {
            subscription.starve(&mut self.tally, "SUBSCRIBE: no answer (Timer F)");
            self.forget(place);
        }
    }

    /// How those that stay have fared.
    pub(super) fn kept(mut self) -> Kept {
        let is_active = |one: &&mut Subscription| one.accepted && one.notified && !one.failed;
        let active = self.subscriptions.all().filter(is_active).count() as u64;
        let Self { notifies, answered, .. } = self;
        Kept { active, notifies, answered, ..Kept::of(self.tally.count(Duration::ZERO)) }
    }

    fn forget(&mut self, place: u32) {
        if let Some(subscription) = self.subscriptions.at(place).filter(|_| self.stay) {
            self.resting -= u64::from(subscription.rests);
            self.of_users.remove(&subscription.user);
        }
        self.subscriptions.forget(place);
    }

    /// When both the response and the NOTIFY have come: from subscribing to unsubscribing, and to the end; or to rest.
    fn go_on(&mut self, ground: &mut Ground, place: u32) {
        let Some(subscription) = self.subscriptions.at(place) else { return };
        if !subscription.accepted || !subscription.notified {
            return;
        }
        if self.stay {
            if !std::mem::replace(&mut subscription.rests, true) {
                subscription.wait.due = None;
                self.resting += 1;
            }
        } else if !subscription.leaves {
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
            self.forget(place);
        }
    }
}

impl Subscription {
    fn whose(&self) -> Whose {
        Whose::Subscription { stays: self.stays(), place: self.mark.place }
    }

    fn stays(&self) -> bool {
        self.mark.kind == Kind::Subscription { stays: true }
    }

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
        ground.timers.set(at, self.whose());
    }

    fn transmit(&self, ground: &mut Ground) {
        if let Some(due) = self.wait.due {
            ground.timers.set(due, self.whose());
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
                if self.stays() { ground.expires } else { FOR_S }
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
