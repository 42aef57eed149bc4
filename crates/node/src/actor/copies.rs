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
    order: RefCell<VecDeque<(u64, u64)>>,
    hashing: RandomState,
}

enum Known {
    /// It is at work, and these are its copies.
    AtWork(Vec<Parcel>),
    Answered(Response),
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
                Some(Known::AtWork(copies)) if !copies.is_empty() => order.push_back((now + MEMORY, key)),
                Some(Known::AtWork(_) | Known::Answered(_)) | None => {
                    known.remove(&key);
                }
            }
        }
    }

    /// A request is not at work here any more; its copies are what it was.
    pub(super) fn lost(&self, tx: ServerTx) -> Vec<Parcel> {
        let key = self.open.borrow_mut().remove(&tx);
        match key.and_then(|key| self.known.borrow_mut().remove(&key)) {
            Some(Known::AtWork(copies)) => copies,
            Some(Known::Answered(_)) | None => Vec::new(),
        }
    }
}

impl Shell {
    /// Whether a request is the first of its kind; a copy is answered as the first was, or will be.
    pub(super) fn is_first(self: &Rc<Self>, parcel: &Parcel) -> bool {
        let Parcel::Request { tx, request, source } = parcel else { return true };
        if *request.method() == Method::Cancel || self.is_alone() {
            return true;
        }
        let copies = &self.copies;
        let now = self.clock.tick();
        copies.forget_old(now);
        let Some(key) = copies.key(request, source) else { return true };
        let answer = {
            let mut known = copies.known.borrow_mut();
            match known.get_mut(&key) {
                Some(Known::AtWork(others)) => {
                    if others.len() >= FOLLOWERS {
                        None
                    } else {
                        self.telemetry.copies.inc();
                        others.push(parcel.clone());
                        return false;
                    }
                }
                Some(Known::Answered(response)) => Some(response.clone()),
                None => {
                    if copies.order.borrow().len() < MOST {
                        known.insert(key, Known::AtWork(Vec::new()));
                        copies.open.borrow_mut().insert(*tx, key);
                        copies.order.borrow_mut().push_back((now + MEMORY, key));
                    }
                    return true;
                }
            }
        };
        self.telemetry.copies.inc();
        match answer {
            Some(answer) => self.respond(*tx, answer),
            None => self.unavailable(*tx, request),
        }
        false
    }

    /// A request has its final response: so have its copies.
    pub(super) fn answer_copies(self: &Rc<Self>, tx: ServerTx, response: &Response) {
        let Some(key) = self.copies.open.borrow_mut().remove(&tx) else { return };
        let before = match self.copies.known.borrow_mut().get_mut(&key) {
            Some(known) => std::mem::replace(known, Known::Answered(response.clone())),
            None => return,
        };
        let Known::AtWork(copies) = before else { return };
        for copy in copies {
            if let Parcel::Request { tx, .. } = copy {
                self.respond(tx, response.clone());
            }
        }
    }
}
