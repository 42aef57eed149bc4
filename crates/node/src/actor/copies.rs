//! RFC 3261 §17.2.3 — one request that a peer sent to several nodes, because the first was slow: whoever serves its user answers all
//! its copies alike.

use super::parcel::Parcel;
use crate::shell::Shell;
use ahash::{AHashMap, RandomState};
use scscf::{ServerTx, Source};
use sip::{Method, Request, Response};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Requests of a short while ago, by their topmost Via and method.
#[derive(Default)]
pub(crate) struct Copies {
    known: RefCell<AHashMap<u64, Known>>,
    /// Those that are not answered yet.
    open: RefCell<AHashMap<ServerTx, u64>>,
    /// Copies of those, and which request is at work for each.
    following: RefCell<AHashMap<ServerTx, ServerTx>>,
    order: RefCell<VecDeque<(u64, u64)>>,
    hashing: RandomState,
}

enum Known {
    /// It is at work, and has copies.
    AtWork(ServerTx, Vec<Parcel>),
    Answered(Response),
}

/// What a request is to those before it.
enum Standing {
    First,
    /// It waits for the answer to the first.
    Follows,
    Answered(Response),
    /// Too many wait already.
    OneTooMany,
}

/// A peer that heard nothing turns to another node within so long, milliseconds.
const MEMORY: u64 = 8_000;
/// Requests that are remembered; beyond that a copy counts as another request.
const MOST: usize = 200_000;
/// Copies of one request; more are put off.
const FOLLOWERS: usize = 8;

impl Copies {
    /// What a request and its copies have in common; `None` if its branch does not tell it from others (RFC 3261 §8.1.1.7).
    fn key(&self, request: &Request, source: &Source) -> Option<u64> {
        let via = request.via();
        let branch = via.branch().filter(|branch| branch.starts_with("z9hG4bK"))?;
        let sender = (&via.host, via.port, source.address);
        Some(self.hashing.hash_one((branch, sender, request.method().as_str())))
    }

    fn forget_old(&self, now: u64) {
        let mut order = self.order.borrow_mut();
        let mut known = self.known.borrow_mut();
        while let Some((_, key)) = order.pop_front_if(|(until, _)| *until <= now) {
            match known.get(&key) {
                // Somebody waits for the answer of one that rings.
                Some(Known::AtWork(_, copies)) if !copies.is_empty() => order.push_back((now + MEMORY, key)),
                Some(Known::AtWork(..) | Known::Answered(_)) | None => {
                    known.remove(&key);
                }
            }
        }
    }

    /// The request that is at work for this one, if that is a copy.
    pub(super) fn leader(&self, tx: ServerTx) -> Option<ServerTx> {
        let following = self.following.borrow();
        if following.is_empty() { None } else { following.get(&tx).copied() }
    }

    fn standing(&self, parcel: &Parcel, now: u64) -> Standing {
        let Parcel::Request { tx, request, source } = parcel else { return Standing::First };
        self.forget_old(now);
        let Some(key) = self.key(request, source) else { return Standing::First };
        let mut known = self.known.borrow_mut();
        match known.get_mut(&key) {
            Some(Known::AtWork(_, others)) if others.len() >= FOLLOWERS => Standing::OneTooMany,
            Some(Known::AtWork(leader, others)) => {
                self.following.borrow_mut().insert(*tx, *leader);
                others.push(parcel.clone());
                Standing::Follows
            }
            Some(Known::Answered(response)) => Standing::Answered(response.clone()),
            None => {
                if self.order.borrow().len() < MOST {
                    known.insert(key, Known::AtWork(*tx, Vec::new()));
                    self.open.borrow_mut().insert(*tx, key);
                    self.order.borrow_mut().push_back((now + MEMORY, key));
                }
                Standing::First
            }
        }
    }

    /// A request is not at work here any more; its copies are what it was.
    pub(super) fn lost(&self, tx: ServerTx) -> Vec<Parcel> {
        let key = self.open.borrow_mut().remove(&tx);
        let known = key.and_then(|key| self.known.borrow_mut().remove(&key));
        self.freed(known)
    }

    /// A request has its answer; tells which copies shall have it, too.
    fn answered(&self, tx: ServerTx, response: &Response) -> Vec<Parcel> {
        let Some(key) = self.open.borrow_mut().remove(&tx) else { return Vec::new() };
        let answered = Known::Answered(response.clone());
        let before = self.known.borrow_mut().get_mut(&key).map(|known| std::mem::replace(known, answered));
        self.freed(before)
    }

    /// The copies of one that is at work no longer follow it.
    fn freed(&self, known: Option<Known>) -> Vec<Parcel> {
        let Some(Known::AtWork(_, copies)) = known else { return Vec::new() };
        let mut following = self.following.borrow_mut();
        for copy in &copies {
            if let Parcel::Request { tx, .. } = copy {
                following.remove(tx);
            }
        }
        copies
    }
}

impl Shell {
    /// Whether a request is the first of its kind; a copy is answered as the first was, or will be.
    pub(super) fn is_first(self: &Rc<Self>, parcel: &Parcel) -> bool {
        let Parcel::Request { tx, request, .. } = parcel else { return true };
        if *request.method() == Method::Cancel || self.is_alone() {
            return true;
        }
        let standing = self.copies.standing(parcel, self.clock.tick());
        if !matches!(standing, Standing::First) {
            self.telemetry.copies.inc();
        }
        match standing {
            Standing::First => return true,
            Standing::Follows => {}
            Standing::Answered(answer) => self.respond(*tx, answer),
            Standing::OneTooMany => self.unavailable(*tx, request),
        }
        false
    }

    /// A request has its final response: so have its copies.
    pub(super) fn answer_copies(self: &Rc<Self>, tx: ServerTx, response: &Response) {
        for copy in self.copies.answered(tx, response) {
            if let Parcel::Request { tx, .. } = copy {
                self.respond(tx, response.clone());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sip::Status;
    use std::net::Ipv4Addr;

    fn request(tx: u64, branch: &str) -> Parcel {
        let text = format!(
            "INVITE sip:b@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch={branch}\r\n\
             From: <sip:a@example.org>;tag=a\r\nTo: <sip:b@example.org>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        let Ok(sip::Message::Request(request)) = sip::Message::parse_datagram(text.into_bytes().into())
        else {
            panic!("a request");
        };
        let source = Source { address: Ipv4Addr::LOCALHOST.into(), trusted: true };
        Parcel::Request { tx: ServerTx(tx), request, source }
    }

    fn response(parcel: &Parcel) -> Response {
        let Parcel::Request { request, .. } = parcel else { panic!("a request") };
        request.respond(Status::OK, "tag").finish()
    }

    fn numbers(parcels: &[Parcel]) -> Vec<u64> {
        let number = |parcel: &Parcel| {
            let Parcel::Request { tx, .. } = parcel else { panic!("a request") };
            tx.0
        };
        parcels.iter().map(number).collect()
    }

    #[test]
    fn copies_are_answered_as_the_first_however_long_it_rings() {
        let copies = Copies::default();
        let first = request(1, "z9hG4bKone");
        assert!(matches!(copies.standing(&first, 0), Standing::First));
        assert!(matches!(copies.standing(&request(2, "z9hG4bKone"), 5), Standing::Follows));
        for time in 1..20 {
            let other = request(100 + time, &format!("z9hG4bKother{time}"));
            assert!(matches!(copies.standing(&other, time * MEMORY / 2), Standing::First));
        }
        assert_eq!(numbers(&copies.answered(ServerTx(1), &response(&first))), [2]);
    }

    #[test]
    fn a_first_without_copies_and_an_answer_are_forgotten_in_time() {
        let copies = Copies::default();
        for (tx, now) in [(1, 0), (2, MEMORY)] {
            assert!(matches!(copies.standing(&request(tx, "z9hG4bKone"), now), Standing::First));
        }
        copies.answered(ServerTx(2), &response(&request(2, "z9hG4bKone")));
        let again = request(3, "z9hG4bKone");
        assert!(matches!(copies.standing(&again, 2 * MEMORY - 1), Standing::Answered(_)));
        assert!(matches!(copies.standing(&again, 2 * MEMORY), Standing::First));
    }

    #[test]
    fn one_copy_too_many_is_put_off_and_the_others_still_follow() {
        let copies = Copies::default();
        let first = request(0, "z9hG4bKone");
        assert!(matches!(copies.standing(&first, 0), Standing::First));
        for number in 1..=8 {
            assert!(matches!(copies.standing(&request(number, "z9hG4bKone"), 0), Standing::Follows));
        }
        assert!(matches!(copies.standing(&request(9, "z9hG4bKone"), 0), Standing::OneTooMany));
        assert_eq!(copies.leader(ServerTx(9)), None);
        assert_eq!(numbers(&copies.answered(ServerTx(0), &response(&first))), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_copy_leads_to_the_first_until_that_is_answered_or_lost() {
        let copies = Copies::default();
        for (branch, first, copy) in [("z9hG4bKone", 1, 2), ("z9hG4bKtwo", 3, 4)] {
            copies.standing(&request(first, branch), 0);
            copies.standing(&request(copy, branch), 0);
        }
        assert_eq!([2, 4].map(|tx| copies.leader(ServerTx(tx))), [1, 3].map(|tx| Some(ServerTx(tx))));
        copies.answered(ServerTx(1), &response(&request(1, "z9hG4bKone")));
        assert_eq!(numbers(&copies.lost(ServerTx(3))), [4]);
        assert_eq!([1, 2, 3, 4].map(|tx| copies.leader(ServerTx(tx))), [None; 4]);
    }
}
