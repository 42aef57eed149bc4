//! Brings what arrives to the user it is for, wherever the user is: here, at another node, or between two of them.

use super::link::Slot;
use super::membership::Place;
use super::parcel::Parcel;
use crate::shell::Shell;
use crate::word::Word;
use ahash::AHashMap;
use scscf::{Impi, ServerTx};
use sip::Method;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use store::ShardId;

/// What is on its way to users of other nodes, or waits for a shard that has no owner.
#[derive(Default)]
pub(crate) struct Deliveries {
    /// What other nodes have not answered yet.
    pub(super) given: RefCell<AHashMap<u64, Given>>,
    /// The INVITEs among them, for CANCEL.
    pub(super) invites: RefCell<AHashMap<ServerTx, u64>>,
    held: RefCell<VecDeque<Held>>,
    next: Cell<u64>,
}

/// Something that another node has.
pub(super) struct Given {
    pub(super) slot: Slot,
    pub(super) impi: Impi,
    pub(super) parcel: Parcel,
    /// Of an INVITE that was accepted: until which tick its 2xx may come again.
    pub(super) until: Option<u64>,
    /// Until which tick it may wait for an owner if this one declines.
    patience: u64,
}

struct Held {
    impi: Impi,
    parcel: Parcel,
    until: u64,
}

/// Parcels that may wait for an owner; more are declined.
const MOST_HELD: usize = 20_000;
/// Marks transactions of other nodes: the slot of the node stands below it, its number below that.
const FOREIGN: u64 = 1 << 63;
const NUMBER_BITS: u32 = 47;

/// The number of a transaction of another node's, as ours.
pub(super) const fn foreign(slot: Slot, number: u64) -> u64 {
    FOREIGN | (slot.0 as u64) << NUMBER_BITS | number & ((1 << NUMBER_BITS) - 1)
}

/// Whose transaction it is, and its number there; `None` if it is ours.
pub(crate) const fn abroad(tx: u64) -> Option<(Slot, u64)> {
    if tx & FOREIGN == 0 {
        return None;
    }
    let slot = (tx & !FOREIGN) >> NUMBER_BITS;
    Some((Slot(slot as u16), tx & ((1 << NUMBER_BITS) - 1)))
}

impl Deliveries {
    pub(super) fn draw(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    fn forget_invite(&self, parcel: &Parcel) {
        if let Parcel::Request { tx, request, .. } = parcel
            && *request.method() == Method::Invite
        {
            self.invites.borrow_mut().remove(tx);
        }
    }

    /// What other nodes have to answer.
    pub(crate) fn waiting(&self) -> usize {
        self.given.borrow().values().filter(|given| given.until.is_none()).count() + self.held.borrow().len()
    }

    /// When the first of those that wait gives up; they are looked at more often than that.
    pub(crate) fn next_due(&self, now: u64) -> Option<u64> {
        (!self.held.borrow().is_empty()).then_some(now + RETRY)
    }
}

/// Those that wait for an owner are looked at again so often, milliseconds.
const RETRY: u64 = 20;
/// No request takes longer to be answered: an INVITE rings until Timer C. Milliseconds.
const LONGEST: u64 = 600_000;
/// After a save was refused, the table of owners is read anew within so long.
const LOOK: Duration = Duration::from_millis(100);

impl Shell {
    /// Brings something to its user.
    pub(crate) fn bring(self: &Rc<Self>, impi: &Impi, parcel: Parcel) {
        let patience = self.clock.tick() + self.config.cluster.hold;
        self.bring_until(impi, parcel, patience);
    }

    fn bring_until(self: &Rc<Self>, impi: &Impi, parcel: Parcel, patience: u64) {
        let shard = ShardId::of(impi.as_str());
        if self.is_lent(impi) {
            return self.hand_in(impi, parcel);
        }
        match self.place(shard) {
            Place::Mine => {
                if let Some(parcel) = self.give_to_lender(impi, parcel, patience) {
                    self.hand_in(impi, parcel);
                }
            }
            Place::Leaving if self.shards.is_here(impi) => self.hand_in(impi, parcel),
            Place::Suspended if parcel.is_in_dialog() && self.shards.is_here(impi) => {
                self.hand_in(impi, parcel)
            }
            Place::Suspended => match self.membership.ailing_since() {
                Some(_) => self.hold(impi, parcel, patience.min(self.doubted_until(self.clock.tick()))),
                // It was this node that was away, and what it finds may be old.
                None => self.decline(parcel),
            },
            // Whoever sent it here looks for the owner, and knows how long it has waited already.
            Place::Leaving | Place::Nowhere | Place::At(_) if parcel.sender().is_some() => {
                if let Some((slot, number)) = parcel.sender() {
                    self.say(slot, &Word::Declined { number, elsewhere: true });
                }
            }
            Place::At(slot) if self.links.is_up(slot) => self.give(slot, impi, parcel, patience),
            Place::At(_) | Place::Leaving | Place::Nowhere => self.hold(impi, parcel, patience),
        }
    }

    fn hand_in(self: &Rc<Self>, impi: &Impi, parcel: Parcel) {
        if !self.is_first(&parcel) {
            return;
        }
        let event = parcel.event();
        self.deliver(impi, event, Some(parcel).filter(Parcel::is_owed));
    }

    pub(super) fn give(self: &Rc<Self>, slot: Slot, impi: &Impi, parcel: Parcel, patience: u64) {
        let deliveries = &self.deliveries;
        let number = deliveries.draw();
        let word = parcel.word(number, impi);
        self.telemetry.given.inc();
        if !self.say(slot, &word) {
            self.decline(parcel);
            return;
        }
        if !parcel.is_owed() {
            return;
        }
        if let Parcel::Request { tx, request, .. } = &parcel
            && *request.method() == Method::Invite
        {
            deliveries.invites.borrow_mut().insert(*tx, number);
        }
        let given = Given { slot, impi: impi.clone(), parcel, until: None, patience };
        deliveries.given.borrow_mut().insert(number, given);
    }

    fn hold(self: &Rc<Self>, impi: &Impi, parcel: Parcel, until: u64) {
        let is_full = self.deliveries.held.borrow().len() >= MOST_HELD;
        if is_full || self.clock.tick() >= until {
            if let Parcel::Request { tx, request, .. } = &parcel
                && !is_full
            {
                return self.put_off_briefly(*tx, request);
            }
            return self.decline(parcel);
        }
        self.telemetry.held.inc();
        self.deliveries.held.borrow_mut().push_back(Held { impi: impi.clone(), parcel, until });
        self.pace();
    }

    /// Tries once more to bring what waits for an owner.
    pub(crate) fn bring_held(self: &Rc<Self>) {
        let held = std::mem::take(&mut *self.deliveries.held.borrow_mut());
        for Held { impi, parcel, until } in held {
            let has_place = match self.place(ShardId::of(impi.as_str())) {
                Place::At(slot) => self.links.is_up(slot),
                Place::Nowhere | Place::Leaving => self.shards.is_here(&impi),
                Place::Mine => true,
                Place::Suspended => parcel.is_in_dialog() && self.shards.is_here(&impi),
            };
            if has_place || self.clock.tick() >= until {
                self.bring_until(&impi, parcel, until);
            } else {
                self.deliveries.held.borrow_mut().push_back(Held { impi, parcel, until });
            }
        }
    }

    /// Declines what was given to nodes that cannot be reached for too long, though they are not gone, or that never answer.
    pub(crate) fn decline_unreachable(self: &Rc<Self>) {
        let now = self.clock.tick();
        let stranded: Vec<u64> = {
            let given = self.deliveries.given.borrow();
            let stranded = given.iter().filter(|(_, given)| {
                let is_stranded = given.patience <= now && !self.links.is_up(given.slot);
                given.until.is_none() && (is_stranded || given.patience + LONGEST <= now)
            });
            stranded.map(|(number, _)| *number).collect()
        };
        for number in stranded {
            let given = self.deliveries.given.borrow_mut().remove(&number);
            if let Some(given) = given {
                self.deliveries.forget_invite(&given.parcel);
                self.decline(given.parcel);
            }
        }
    }

    /// Who owns what changed: what was given to a node that is not the owner any more goes to the one that is.
    pub(crate) fn owners_changed(self: &Rc<Self>) {
        let astray: Vec<u64> = {
            let given = self.deliveries.given.borrow();
            let astray = given.iter().filter(|(_, given)| {
                given.until.is_none()
                    && self.place(ShardId::of(given.impi.as_str())) != Place::At(given.slot)
                    && self.loans.lender(&given.impi) != Some(given.slot)
                    && !self.may_ring_at(given)
            });
            astray.map(|(number, _)| *number).collect()
        };
        astray.into_iter().for_each(|number| self.give_again(number));
        self.bring_held();
    }

    /// An INVITE stays with whoever gave its user away: whether the user is lent, the heir alone knows. A node that lives
    /// answers what it was given, or declines it.
    fn may_ring_at(&self, given: &Given) -> bool {
        let is_invite =
            matches!(&given.parcel, Parcel::Request { request, .. } if *request.method() == Method::Invite);
        is_invite
            && self.links.is_up(given.slot)
            && self.links.peer(given.slot).is_some_and(|(node, incarnation)| {
                let ownership = self.membership.ownership.borrow();
                let mut members = ownership.members().iter();
                members.any(|member| member.node == node && member.incarnation == incarnation)
            })
    }

    /// A node does not hear us any more: what it had goes to whoever owns it now.
    pub(crate) fn peer_lost(self: &Rc<Self>, slot: Slot) {
        self.peer_shows_no_more(slot);
        self.loans_lost(slot);
        let lost: Vec<u64> = {
            let given = self.deliveries.given.borrow();
            given.iter().filter(|(_, given)| given.slot == slot).map(|(number, _)| *number).collect()
        };
        lost.into_iter().for_each(|number| self.give_again(number));
    }

    fn give_again(self: &Rc<Self>, number: u64) {
        let Some(given) = self.deliveries.given.borrow_mut().remove(&number) else { return };
        self.deliveries.forget_invite(&given.parcel);
        if given.until.is_none() {
            self.bring_again(&given.impi, given.parcel);
        }
    }

    /// Brings something to a user whose owner lost it, and may have been at work for it. An INVITE may be ringing somewhere: it
    /// is not sent twice, its sender tries anew.
    pub(crate) fn bring_again(self: &Rc<Self>, impi: &Impi, parcel: Parcel) {
        self.telemetry.given_again.inc();
        match parcel {
            Parcel::Request { tx, request, .. } if *request.method() == Method::Invite => {
                self.put_off_briefly(tx, &request);
            }
            Parcel::Request { .. }
            | Parcel::Ack { .. }
            | Parcel::Demand { .. }
            | Parcel::Wish { .. }
            | Parcel::Sibling { .. } => self.bring(impi, parcel),
        }
    }

    /// Brings something that waited for a user and reached nobody, and its copies.
    pub(super) fn bring_anew(self: &Rc<Self>, impi: &Impi, parcel: Parcel) {
        let copies = match &parcel {
            Parcel::Request { tx, .. } => self.copies.lost(*tx),
            Parcel::Ack { .. } | Parcel::Demand { .. } | Parcel::Wish { .. } | Parcel::Sibling { .. } => {
                Vec::new()
            }
        };
        self.bring(impi, parcel);
        copies.into_iter().for_each(|copy| self.bring(impi, copy));
    }

    /// The store says that a user is another node's now: what it owed is brought there, as soon as it is known where.
    pub(super) fn bring_elsewhere(self: &Rc<Self>, impi: Impi, parcel: Parcel) {
        if let Parcel::Request { tx, .. } = &parcel {
            for copy in self.copies.lost(*tx) {
                self.bring_elsewhere(impi.clone(), copy);
            }
        }
        let shell = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(LOOK).await;
            match shell.place(ShardId::of(impi.as_str())) {
                // The table says otherwise; whoever asked may ask again.
                Place::Mine => shell.decline(parcel),
                Place::Suspended | Place::Leaving | Place::At(_) | Place::Nowhere => {
                    shell.bring_again(&impi, parcel);
                }
            }
        });
    }

    /// The other node does not take it.
    pub(super) fn declined(self: &Rc<Self>, slot: Slot, number: u64, elsewhere: bool) {
        let is_known = self.deliveries.given.borrow().get(&number).is_some_and(|given| given.slot == slot);
        let Some(given) = is_known.then(|| self.deliveries.given.borrow_mut().remove(&number)).flatten()
        else {
            return;
        };
        self.deliveries.forget_invite(&given.parcel);
        if elsewhere {
            // If it had the user on loan to us, it has not any more.
            self.returned(slot, &given.impi);
            // Our table is older than its: it is asked for anew before the next try.
            self.own(cluster::Input::Changed);
            self.hold(&given.impi, given.parcel, given.patience);
        } else {
            self.decline(given.parcel);
        }
    }

    /// An INVITE that has not reached its user yet, or is at another node, shall end. `false` if it is here.
    pub(crate) fn cancel_away(self: &Rc<Self>, of: ServerTx, reason: Option<&str>) -> bool {
        let number = self.deliveries.invites.borrow().get(&of).copied();
        if let Some(number) = number {
            let to =
                self.deliveries.given.borrow().get(&number).map(|given| (given.slot, given.impi.clone()));
            if let Some((slot, impi)) = to {
                self.say(slot, &Word::Cancel { number, impi, reason: reason.map(Into::into) });
            }
            return true;
        }
        let held = {
            let mut held = self.deliveries.held.borrow_mut();
            let at =
                held.iter().position(|held| matches!(&held.parcel, Parcel::Request { tx, .. } if *tx == of));
            at.and_then(|at| held.remove(at))
        };
        let Some(Held { parcel: Parcel::Request { tx, request, .. }, .. }) = held else { return false };
        let response = request.respond(sip::Status::REQUEST_TERMINATED, &self.tag());
        self.respond(tx, response.finish());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_of_another_node_is_known_by_its_number() {
        let most = (1 << NUMBER_BITS) - 1;
        for (slot, number) in [(1, 1), (77, 123_456), (u16::MAX, most)] {
            assert_eq!(abroad(foreign(Slot(slot), number)), Some((Slot(slot), number)));
        }
        assert_eq!(abroad(0), None);
        assert_eq!(abroad(u64::MAX >> 1), None);
    }
}
