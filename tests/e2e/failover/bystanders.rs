//! People of the struck node to whom nothing happens at that moment: what was acknowledged to them before holds afterwards.

use super::facts::Facts;
use super::fault::Fault;
use super::stage::Stage;
use crate::town::{Resident, SOON, Town, hangs_up, talk};
use e2e::phone::{Dialog, Leg, Sent};
use e2e::{Phone, Text};

/// One who is registered, subscribed and talks; one who left; and two who ask the struck node itself.
pub(super) struct Bystanders {
    talker: Resident,
    peer: Resident,
    call: Leg,
    dialog: Dialog,
    /// The last NOTIFY that the talker heard.
    notify: Text,
    facts: Facts,
    gone: Resident,
    insider: Resident,
    insider_facts: Facts,
    stranger: Phone,
    asked: Vec<Sent>,
    struck: std::net::SocketAddr,
}

fn number(notify: &Text) -> u32 {
    let number = notify.header("CSeq").split(' ').next().and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("{}", notify.all))
}

impl Bystanders {
    pub(super) fn gather(stage: &mut Stage<'_>) -> Self {
        let (mut talker, mut peer) = (stage.resident(), stage.neighbour());
        let dialog = talker.subscribes("reg");
        let (call, _) = talk(&mut talker, &mut peer);
        assert_eq!(talker.reregisters().status(), 200);
        let notify = talker.phone.notified(&dialog, SOON, 200).expect("a NOTIFY of the registration");
        let mut gone = stage.resident();
        let former = gone.former.clone();
        let (left, _) = gone.phone.insist(SOON, |phone| phone.register_protected(&former, 0));
        assert_eq!(left.status(), 200, "{}", left.all);
        stage.town.forgets(&gone.name(), SOON);
        let insider = stage.resident();
        let stranger = stage.phone();
        let facts = Facts::of(stage.town, &talker.name());
        let insider_facts = Facts::of(stage.town, &insider.name());
        assert!(facts.is_registered() && insider_facts.is_registered(), "{facts:?}, {insider_facts:?}");
        let struck = stage.town.cluster.node(&stage.struck).sip;
        Self {
            talker,
            peer,
            call,
            dialog,
            notify,
            facts,
            gone,
            insider,
            insider_facts,
            stranger,
            asked: Vec::new(),
            struck,
        }
    }

    pub(super) fn phones(&mut self) -> Vec<&mut Phone> {
        vec![&mut self.talker.phone, &mut self.peer.phone, &mut self.gone.phone]
    }

    /// Right after the stroke: a node that is cut off is asked for what it would have to save.
    pub(super) fn ask_the_struck(&mut self, fault: Fault) {
        if fault != Fault::Cut {
            return;
        }
        let line = self.insider.phone.contact_line(1800)
            + &self.insider.phone.authorization(&self.insider.former, e2e::Answer::Right, "yes");
        let unprotected = self.stranger.unprotected();
        for (phone, line) in [(&mut self.insider.phone, line), (&mut self.stranger, unprotected)] {
            phone.enters_at(self.struck);
            let sent = phone.begin_to_register(&line);
            phone.send(&sent);
            self.asked.push(sent);
        }
    }

    /// They are served, and a node that is cut off has put off what it could not save.
    pub(super) fn are_served(&mut self, town: &Town, fault: Fault) {
        let when = format!("{fault:?}, while it lasts");
        self.facts.still_hold(town, &self.talker.name(), &when);
        let none = Facts::of(town, &self.gone.name());
        assert!(!none.is_registered(), "{when}: {none:?}");
        for (phone, sent) in [&mut self.insider.phone, &mut self.stranger].into_iter().zip(&self.asked) {
            let answer = phone.persist(sent, SOON);
            let answer = answer.unwrap_or_else(|| panic!("{when}: {} is not answered", phone.name));
            let is_put_off = answer.status() == 503 && !answer.header("Retry-After").is_empty();
            assert!(is_put_off, "{when}: what cannot be saved is acknowledged: {}", answer.all);
        }
    }

    /// The cluster is whole again: what they had they have, and it works.
    pub(super) fn have_lost_nothing(mut self, town: &Town, fault: Fault) {
        let when = format!("{fault:?}, afterwards");
        self.facts.still_hold(town, &self.talker.name(), &when);
        self.insider_facts.still_hold(town, &self.insider.name(), &when);
        let none = Facts::of(town, &self.gone.name());
        assert!(!none.is_registered(), "{when}: {none:?}");

        assert_eq!(self.talker.reregisters().status(), 200, "{when}");
        let next = self
            .talker
            .phone
            .wait(SOON, |text| text.method() == "NOTIFY" && text.header("Call-ID") == self.dialog.call_id);
        let next = next.unwrap_or_else(|| panic!("{when}: the subscription says nothing"));
        self.talker.phone.respond(&next, 200);
        assert_eq!(number(&next), number(&self.notify) + 1, "{when}: {}", next.all);
        hangs_up(&mut self.talker, &mut self.call, &mut self.peer);
    }
}
