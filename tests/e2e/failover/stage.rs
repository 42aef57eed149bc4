//! One run: a node that is going to be struck, people whom it serves, and people whom others serve.

use super::bystanders::Bystanders;
use super::facts::{Facts, fall_silent};
use super::fault::Fault;
use crate::town::{Resident, Town};
use e2e::{Answer, Phone, Text, eventually};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// For so long after everything is whole again nobody may hear anything new.
const AFTERWARDS: Duration = Duration::from_millis(250);
const WHOLE_WITHIN: Duration = Duration::from_secs(30);

/// Chance that can be had again: SplitMix64.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

/// What a moment leaves behind.
pub(super) struct Played {
    /// From the stroke to the first right answer, or from the deadline to what it brings.
    pub(super) took: Duration,
    /// The telephones of all who took part, one for each user at least.
    pub(super) phones: Vec<Phone>,
}

impl Played {
    pub(super) fn of<const N: usize>(took: Duration, phones: [Phone; N]) -> Self {
        Self { took, phones: phones.into() }
    }
}

/// One run.
pub(super) struct Stage<'a> {
    pub(super) town: &'a mut Town,
    pub(super) fault: Fault,
    /// The node that is struck.
    pub(super) struck: String,
    chance: Chance,
    /// Users of earlier runs, and of this one.
    taken: &'a mut BTreeSet<String>,
    /// Users of that node.
    residents: Vec<String>,
    struck_at: Option<Instant>,
    bystanders: Option<Bystanders>,
}

impl<'a> Stage<'a> {
    /// Chooses the node to be struck, and has people there whom nothing may happen to.
    pub(super) fn set(
        town: &'a mut Town,
        fault: Fault,
        mut chance: Chance,
        taken: &'a mut BTreeSet<String>,
    ) -> Self {
        let rests = eventually(WHOLE_WITHIN, || town.cluster.is_at_rest().then_some(()));
        assert!(rests.is_some(), "the cluster does not come to rest: {}", town.cluster.state());
        let ids = town.cluster.ids();
        let struck = ids[chance.below(ids.len())].clone();
        let mut stage = Self {
            town,
            fault,
            struck,
            chance,
            taken,
            residents: Vec::new(),
            struck_at: None,
            bystanders: None,
        };
        stage.bystanders = Some(Bystanders::gather(&mut stage));
        stage
    }

    fn phone_of(&mut self, node: &str) -> Phone {
        let users = self.town.cluster.users_of(node);
        let fresh: Vec<String> = users.into_iter().filter(|name| !self.taken.contains(name)).collect();
        assert!(!fresh.is_empty(), "every user of {node} has had his run");
        let name = fresh[self.chance.below(fresh.len())].clone();
        self.taken.insert(name.clone());
        if node == self.struck {
            self.residents.push(name.clone());
        }
        Phone::among(&name, &self.town.cluster.entries_but(&self.struck))
    }

    /// The telephone of a user of the node that is going to be struck; it sends its requests to the others.
    pub(super) fn phone(&mut self) -> Phone {
        let struck = self.struck.clone();
        self.phone_of(&struck)
    }

    /// A registered user of the node that is going to be struck.
    pub(super) fn resident(&mut self) -> Resident {
        Resident::at(self.phone())
    }

    /// A registered user of another node.
    pub(super) fn neighbour(&mut self) -> Resident {
        let node = self.other();
        Resident::at(self.phone_of(&node))
    }

    /// A P-CSCF that a user is watched by.
    pub(super) fn pcscf_of(&self, who: &Resident) -> Phone {
        Phone::among(&who.name(), &self.town.cluster.entries_but(&self.struck))
    }

    /// One of the nodes that are not struck.
    pub(super) fn other(&mut self) -> String {
        let others: Vec<String> =
            self.town.cluster.ids().into_iter().filter(|id| *id != self.struck).collect();
        others[self.chance.below(others.len())].clone()
    }

    /// Strikes; when.
    pub(super) fn strike(&mut self) -> Instant {
        let owned = self.town.cluster.users_of(&self.struck);
        let moved: Vec<&String> = self.residents.iter().filter(|name| !owned.contains(name)).collect();
        assert!(moved.is_empty(), "{} does not serve {moved:?} any more", self.struck);
        let struck = self.fault.strike(&mut self.town.cluster, &self.struck);
        self.struck_at = Some(struck);
        if let Some(bystanders) = &mut self.bystanders {
            bystanders.ask_the_struck(self.fault);
        }
        struck
    }

    /// Whether nobody may notice anything at all.
    pub(super) fn is_gentle(&self) -> bool {
        self.fault == Fault::Terminate
    }

    /// Has a request made until it is answered for good; the answer. A node that leaves puts nobody off.
    pub(super) fn endures(&self, phone: &mut Phone, attempt: impl FnMut(&mut Phone) -> Text) -> Text {
        let (answer, again) = phone.insist(self.fault.patience(), attempt);
        self.nobody_was_put_off(again);
        answer
    }

    pub(super) fn nobody_was_put_off(&self, times: u32) {
        assert!(!self.is_gentle() || times == 0, "{:?}: put off {times} times", self.fault);
    }

    /// The answer to a challenge, until it is answered for good.
    pub(super) fn answers(&self, phone: &mut Phone, challenge: &Text) -> Text {
        let line = phone.contact_line(3600) + &phone.authorization(challenge, Answer::Right, "yes");
        let within = self.fault.patience();
        self.endures(phone, |phone| {
            let sent = phone.begin_to_register(&line);
            phone.exchange_within(&sent, within).unwrap_or_else(|| panic!("no answer within {within:?}"))
        })
    }

    /// The moment is over. Undoes the stroke, and holds what everybody has then against what everybody had before; a frozen
    /// node stands still for `pause` in all.
    pub(super) fn ends(mut self, mut played: Played, pause: Duration) -> Duration {
        let fault = self.fault;
        let mut bystanders = self.bystanders.take().expect("bystanders");
        bystanders.are_served(self.town, fault);
        let mut names: Vec<String> = played.phones.iter().map(|phone| phone.name.clone()).collect();
        names.sort();
        names.dedup();
        let mut phones: Vec<&mut Phone> = played.phones.iter_mut().collect();
        phones.extend(bystanders.phones());
        fall_silent(&mut phones);
        let before: Vec<Facts> = names.iter().map(|name| Facts::of(self.town, name)).collect();
        let end = self.struck_at.expect("a stroke") + pause;
        if fault == Fault::Freeze {
            std::thread::sleep(end.saturating_duration_since(Instant::now()));
            // What came meanwhile came from those who serve them now.
            fall_silent(&mut phones);
        }
        let when = format!("{fault:?}, {} struck", self.struck);
        let heard: Vec<usize> = phones.iter().map(|phone| phone.heard().len()).collect();

        fault.undo(&mut self.town.cluster, &self.struck, end);
        self.town.cluster.balances(WHOLE_WITHIN);
        std::thread::sleep(AFTERWARDS);
        fall_silent(&mut phones);
        for (phone, before) in phones.iter().zip(heard) {
            let (known, new) = phone.heard().split_at(before);
            for text in new {
                // A copy says nothing (RFC 3261 §17.1.2.2), nor does the end of a call that has failed.
                let says_nothing = known.iter().any(|one| {
                    let is_copy = one.all == text.all;
                    let ends_it = text.method() == "CANCEL"
                        && one.method() == "INVITE"
                        && one.header("Call-ID") == text.header("Call-ID");
                    is_copy || ends_it
                });
                assert!(says_nothing, "{when}: {} hears of it: {}", phone.name, text.all);
            }
        }
        for (name, before) in names.iter().zip(before) {
            before.still_hold(self.town, name, &when);
        }
        bystanders.have_lost_nothing(self.town, fault);
        played.took
    }
}
