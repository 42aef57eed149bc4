//! RFC 3261 §16.7, §16.10, §16.11 — between the transaction table and users that forward requests: responses, CANCEL and ACK.

use super::delivery::abroad;
use super::sending::Sent;
use crate::shell::Shell;
use crate::word::Word;
use ahash::AHashMap;
use scscf::{Event, Impi, Purpose, Reply, ServerTx};
use sip::transaction::{ClientId, ServerId, Timers};
use sip::{Method, Name, Request, Response, Status};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// INVITEs on their way through users.
pub(crate) struct Relays {
    /// Whose each INVITE without final response is: CANCEL leads there.
    invites: RefCell<AHashMap<ServerTx, Whose>>,
    /// Those that were accepted: their 2xx may come again.
    accepted: RefCell<AHashMap<ClientId, Accepted>>,
    /// Until which tick that is listened for, in order.
    until: RefCell<VecDeque<(u64, ClientId)>>,
    /// 64*T1, milliseconds.
    life: u64,
}

enum Whose {
    /// The directory is asked.
    Sought(Request),
    Of(Impi),
}

struct Accepted {
    tx: ServerTx,
    impi: Impi,
    purpose: Purpose,
}

impl Relays {
    pub(crate) fn new(config: &crate::Config) -> Self {
        Self {
            invites: RefCell::default(),
            accepted: RefCell::default(),
            until: RefCell::default(),
            life: Timers { t1: config.sip.t1, ..Timers::default() }.life(),
        }
    }

    /// How long a 2xx may come again, milliseconds.
    pub(crate) fn life(&self) -> u64 {
        self.life
    }

    /// An INVITE has been brought to this user.
    pub(crate) fn brought(&self, tx: ServerTx, request: &Request, impi: &Impi) {
        if *request.method() == Method::Invite {
            self.invites.borrow_mut().insert(tx, Whose::Of(impi.clone()));
        }
    }

    /// It is not known yet whose a request is.
    pub(crate) fn sought(&self, tx: ServerTx, request: &Request) {
        if *request.method() == Method::Invite {
            self.invites.borrow_mut().insert(tx, Whose::Sought(request.clone()));
        }
    }

    /// An INVITE was cancelled while its user was sought.
    pub(crate) fn is_given_up(&self, tx: ServerTx, request: &Request) -> bool {
        *request.method() == Method::Invite && !self.invites.borrow().contains_key(&tx)
    }

    fn of(&self, tx: ServerTx) -> Option<Result<Impi, Request>> {
        self.invites.borrow().get(&tx).map(|whose| match whose {
            Whose::Sought(request) => Err(request.clone()),
            Whose::Of(impi) => Ok(impi.clone()),
        })
    }

    /// A request has its final response.
    pub(crate) fn concluded(&self, tx: ServerTx, response: &Response) {
        if response.cseq().method == Method::Invite {
            self.invites.borrow_mut().remove(&tx);
        }
    }

    fn accepted(&self, id: ClientId) -> Option<(ServerTx, Impi, Purpose)> {
        self.accepted.borrow().get(&id).map(|known| (known.tx, known.impi.clone(), known.purpose))
    }

    fn accept(&self, id: ClientId, accepted: Accepted, now: u64) {
        let mut known = self.accepted.borrow_mut();
        let mut until = self.until.borrow_mut();
        while let Some((_, over)) = until.pop_front_if(|(at, _)| *at <= now) {
            known.remove(&over);
        }
        known.insert(id, accepted);
        until.push_back((now + self.life, id));
    }
}

impl Shell {
    /// A response to a request of a user's. Provisional ones matter to a request that is forwarded only, and 100 to none.
    pub(crate) fn took_response(self: &Rc<Self>, id: ClientId, response: Response) {
        let status = response.status();
        if status.is_success() && response.cseq().method == Method::Invite {
            self.took_acceptance(id, response);
        } else if status.is_final() {
            self.replied(id, Reply::Response(response));
        } else {
            self.heard(id, &response);
            if status != Status::TRYING
                && let Some((impi, purpose)) = self.outbox.relayed(id)
            {
                self.deliver_reply(impi, purpose, Reply::Response(response));
            }
        }
    }

    /// RFC 6026 §7.2: a 2xx to an INVITE. The first is its user's business, and so is one of another far end; one that comes
    /// again is sent again as it went before.
    fn took_acceptance(self: &Rc<Self>, id: ClientId, response: Response) {
        if let Some(Sent { impi, purpose, relayed, .. }) = self.outbox.take(id) {
            self.outbox.forget_invite(&impi, purpose);
            if let Some(relayed) = relayed {
                let accepted = Accepted { tx: relayed.tx, impi: impi.clone(), purpose };
                self.relays.accept(id, accepted, self.clock.tick());
            }
            self.deliver_reply(impi, purpose, Reply::Response(response));
            return;
        }
        let Some((tx, impi, purpose)) = self.relays.accepted(id) else {
            self.telemetry.strays.inc();
            return;
        };
        if let Some((slot, number)) = abroad(tx.0) {
            let octets = response.as_bytes().clone();
            self.say(slot, &Word::Again { number, client: id.0, octets });
            return;
        }
        let again = self.transact(|table, now, out| table.again(ServerId(tx.0), &response, now, out));
        if again.is_err() {
            self.took_one_more(impi, purpose, response);
        }
    }

    /// A 2xx that whoever took the INVITE has not sent before.
    pub(crate) fn took_another_acceptance(self: &Rc<Self>, id: ClientId, response: Response) {
        match self.relays.accepted(id) {
            Some((_, impi, purpose)) => self.took_one_more(impi, purpose, response),
            None => {
                self.telemetry.strays.inc();
            }
        }
    }

    fn took_one_more(self: &Rc<Self>, impi: Impi, purpose: Purpose, response: Response) {
        // One more answer than was asked for: it must not count for another one.
        if let Some((_, duties)) = self.shards.here(&impi) {
            duties.ask();
        }
        self.deliver_reply(impi, purpose, Reply::Response(response));
    }

    /// RFC 3261 §9.2: an INVITE shall end.
    pub(crate) fn took_cancel(self: &Rc<Self>, of: Option<ServerId>, request: &Request) {
        let Some(of) = of.map(|of| ServerTx(of.0)) else { return };
        match self.relays.of(of) {
            Some(Ok(impi)) => {
                let reason: Option<Box<str>> = request.get(Name::Reason).map(|reason| reason.into());
                if !self.cancel_away(of, reason.as_deref()) {
                    let of = self.copies.leader(of).unwrap_or(of);
                    self.deliver_cancel(&impi, Event::Cancel { of, reason });
                }
            }
            Some(Err(invite)) => {
                let response = invite.respond(Status::REQUEST_TERMINATED, &self.tag());
                self.respond(of, response.finish());
            }
            None => {
                self.telemetry.unrouted.inc();
            }
        }
    }
}
