//! Between this node and the others: says words, and does what their words ask.

use super::delivery::{abroad, foreign};
use super::link::{Ears, Slot};
use super::parcel::Parcel;
use crate::shell::Shell;
use crate::word::Word;
use bytes::Bytes;
use cluster::Input;
use diameter::Message as DiameterMessage;
use scscf::cx::{DemandAnswer, ResultCode};
use scscf::{AskTx, CxTx, Event, Impi, ServerTx, Source, Told};
use sip::transaction::{ClientId, ServerId};
use sip::{Message, Method, Request, Response};
use std::rc::Rc;

/// The node as it hears of the others.
pub(crate) struct Hearing(pub(crate) Rc<Shell>);

impl Ears for Hearing {
    fn took(&self, from: Slot, word: Bytes) {
        self.0.contained(|shell| match Word::decode(&word) {
            Ok(word) => shell.took_word(from, word),
            Err(error) => {
                shell.telemetry.unreadable_words.inc();
                tracing::error!(%error, "a word of another node cannot be read");
            }
        });
        self.0.take_own();
    }

    fn up(&self, _: Slot) {
        self.0.contained(Shell::owners_changed);
    }

    fn gone(&self, slot: Slot) {
        self.0.contained(|shell| {
            if let Some((node, incarnation)) = shell.links.peer(slot) {
                shell.own(Input::Gone { node, incarnation });
            }
            shell.peer_lost(slot);
        });
    }

    fn severed(&self, slot: Slot) {
        self.0.contained(|shell| shell.peer_lost(slot));
    }
}

impl Shell {
    /// Says a word to a node; `false` if it cannot be said.
    pub(crate) fn say(&self, slot: Slot, word: &Word) -> bool {
        let said = self.links.say(slot, &word.encode()).is_ok();
        if !said {
            self.telemetry.unsaid.inc();
        }
        said
    }

    /// Says a word to every node there is.
    pub(crate) fn tell_peers(&self, word: &Word) {
        let ownership = self.membership.ownership.borrow();
        let me = ownership.me();
        for member in ownership.members().iter().filter(|member| member.node != me.node) {
            if let Some(slot) = self.links.slot(&member.node, member.incarnation) {
                self.say(slot, word);
            }
        }
    }

    fn took_word(self: &Rc<Self>, from: Slot, word: Word) {
        match word {
            Word::Request { number, impi, octets, address, trusted } => {
                let Some(request) = self.read_request(octets) else {
                    self.say(from, &Word::Declined { number, elsewhere: false });
                    return;
                };
                let tx = ServerTx(foreign(from, number));
                self.bring(&impi, Parcel::Request { tx, request, source: Source { address, trusted } });
            }
            Word::Ack { impi, octets, address, trusted } => {
                if let Some(request) = self.read_request(octets) {
                    self.bring(&impi, Parcel::Ack { request, source: Source { address, trusted } });
                }
            }
            Word::Cancel { number, impi, reason } => {
                let of = ServerTx(foreign(from, number));
                // It may be at a node that has the user on loan to us.
                if !self.cancel_away(of, reason.as_deref()) && self.shards.is_here(&impi) {
                    let of = self.copies.leader(of).unwrap_or(of);
                    self.deliver_cancel(&impi, Event::Cancel { of, reason });
                }
            }
            Word::Demand { number, impi, octets } => self.took_foreign_demand(from, number, &impi, octets),
            Word::Wish { number, impi, wish } => {
                self.bring(&impi, Parcel::Wish { ask: AskTx(foreign(from, number)), wish });
            }
            Word::Sibling { impi, from, contacts } => self.bring(&impi, Parcel::Sibling { from, contacts }),
            Word::Response { number, octets } => self.took_foreign_response(from, number, octets),
            Word::Again { number, client, octets } => self.took_foreign_again(from, number, client, octets),
            Word::NotAgain { client, octets } => {
                if let Some((slot, client)) = abroad(client) {
                    self.say(slot, &Word::NotAgain { client, octets });
                } else if let Some(response) = self.read_response(octets) {
                    self.took_another_acceptance(ClientId(client), response);
                }
            }
            Word::DemandAnswer { number, answer } => {
                if let Some(Parcel::Demand { tx, .. }) = self.answered_abroad(from, number) {
                    self.answer_demand(tx, answer);
                }
            }
            Word::Told { number, told } => {
                if let Some(Parcel::Wish { ask, .. }) = self.answered_abroad(from, number) {
                    self.tell(ask, told);
                }
            }
            Word::Declined { number, elsewhere } => self.declined(from, number, elsewhere),
            Word::Lend { shard, users } => self.borrow(from, shard, users),
            Word::Borrowed { shard } => self.heir_agrees(from, shard),
            Word::Keep { number, impi, keep } => self.keep_for(from, number, impi, keep),
            Word::Kept { number, refused } => self.kept(from, number, refused),
            Word::Returned { impi } => self.returned(from, &impi),
            Word::Show { number, show } => self.show_abroad(from, number, show),
            Word::Shown { number, json } => self.shown_abroad(from, number, json),
            Word::Observed { number, json } => self.observed_abroad(from, number, json),
            Word::Unwatch { number } => self.unwatch_abroad(from, number),
            Word::Changed => self.own(Input::Changed),
            Word::Drain => self.drain(),
        }
    }

    fn read_request(&self, octets: Bytes) -> Option<Request> {
        match Message::parse_datagram(octets) {
            Ok(Message::Request(request)) => Some(request),
            Ok(Message::Response(_)) | Err(_) => {
                self.telemetry.unreadable_words.inc();
                None
            }
        }
    }

    fn read_response(&self, octets: Bytes) -> Option<Response> {
        match Message::parse_datagram(octets) {
            Ok(Message::Response(response)) => Some(response),
            Ok(Message::Request(_)) | Err(_) => {
                self.telemetry.unreadable_words.inc();
                None
            }
        }
    }

    /// What was given to another node and is answered by it now; what it says of anything else comes too late.
    fn answered_abroad(&self, from: Slot, number: u64) -> Option<Parcel> {
        let mut given = self.deliveries.given.borrow_mut();
        if given.get(&number).is_none_or(|given| given.slot != from) {
            self.telemetry.late.inc();
            return None;
        }
        given.remove(&number).map(|given| given.parcel)
    }

    fn took_foreign_response(self: &Rc<Self>, from: Slot, number: u64, octets: Bytes) {
        let Some(response) = self.read_response(octets) else { return };
        let status = response.status();
        let tx = {
            let mut given = self.deliveries.given.borrow_mut();
            let known = given.get_mut(&number).filter(|given| given.slot == from);
            let Some((known, tx)) = known.and_then(|given| match &given.parcel {
                Parcel::Request { tx, .. } => Some((*tx, given)).map(|(tx, given)| (given, tx)),
                Parcel::Ack { .. } | Parcel::Demand { .. } | Parcel::Wish { .. } | Parcel::Sibling { .. } => {
                    None
                }
            }) else {
                self.telemetry.late.inc();
                return;
            };
            if status.is_final() {
                if response.cseq().method == Method::Invite {
                    self.deliveries.invites.borrow_mut().remove(&tx);
                }
                if response.cseq().method == Method::Invite && status.is_success() {
                    // More of them may come, each of another far end, or the same again.
                    known.until = Some(self.clock.tick() + self.relays.life());
                } else {
                    given.remove(&number);
                }
            }
            tx
        };
        self.respond(tx, response);
    }

    fn took_foreign_again(self: &Rc<Self>, from: Slot, number: u64, client: u64, octets: Bytes) {
        let Some(response) = self.read_response(octets.clone()) else { return };
        let tx = self.deliveries.given.borrow().get(&number).filter(|given| given.slot == from).and_then(
            |given| match &given.parcel {
                Parcel::Request { tx, .. } => Some(*tx),
                Parcel::Ack { .. } | Parcel::Demand { .. } | Parcel::Wish { .. } | Parcel::Sibling { .. } => {
                    None
                }
            },
        );
        let Some(tx) = tx else {
            self.telemetry.strays.inc();
            return;
        };
        if let Some((slot, number)) = abroad(tx.0) {
            self.say(slot, &Word::Again { number, client: foreign(from, client), octets });
            return;
        }
        let again = self.transact(|table, now, out| table.again(ServerId(tx.0), &response, now, out));
        if again.is_err() {
            self.say(from, &Word::NotAgain { client, octets });
        }
    }

    fn took_foreign_demand(self: &Rc<Self>, from: Slot, number: u64, impi: &Impi, octets: Bytes) {
        let message = DiameterMessage::decode(octets.clone());
        let demand = message.ok().and_then(|message| self.read_demand(&message, impi));
        match demand {
            Some(demand) => {
                let tx = CxTx(foreign(from, number));
                self.bring(impi, Parcel::Demand { tx, demand, octets });
            }
            None => {
                let answer = DemandAnswer::of(ResultCode::UNABLE_TO_COMPLY);
                self.say(from, &Word::DemandAnswer { number, answer });
            }
        }
    }

    /// A response to a request that another node took goes there; `false` if the request is ours.
    pub(crate) fn respond_abroad(&self, tx: ServerTx, response: &Response) -> bool {
        let Some((slot, number)) = abroad(tx.0) else { return false };
        self.say(slot, &Word::Response { number, octets: response.as_bytes().clone() });
        true
    }

    /// Tells an operator how a wish was taken, here or at another node.
    pub(crate) fn tell(&self, ask: AskTx, told: Told) {
        match abroad(ask.0) {
            Some((slot, number)) => {
                self.say(slot, &Word::Told { number, told });
            }
            None => self.operators.tell(ask, told),
        }
    }

    /// An operator's wish does not reach its user.
    pub(crate) fn tell_nothing(&self, ask: AskTx) {
        match abroad(ask.0) {
            Some((slot, number)) => {
                self.say(slot, &Word::Declined { number, elsewhere: false });
            }
            None => self.operators.forget(ask),
        }
    }

    /// Gives the shards of this node away; if there is nobody to have them, new requests are refused.
    pub(crate) fn drain(self: &Rc<Self>) {
        if self.is_alone() {
            self.draining.set(true);
        } else {
            tracing::info!("giving the shards away");
        }
        self.own(Input::Drain);
    }

    /// Whether no other node is there.
    pub(crate) fn is_alone(&self) -> bool {
        self.membership.ownership.borrow().members().len() <= 1
    }

    /// Whether another node is there that would have what is ours.
    pub(crate) fn has_heirs(&self) -> bool {
        let ownership = self.membership.ownership.borrow();
        let me = &ownership.me().node;
        ownership.members().iter().any(|member| member.node != *me && !member.draining)
    }

    /// Forgets INVITEs at other nodes whose 2xx cannot come again.
    pub(crate) fn forget_accepted(&self) {
        let now = self.clock.tick();
        self.deliveries.given.borrow_mut().retain(|_, given| given.until.is_none_or(|until| until > now));
    }
}
