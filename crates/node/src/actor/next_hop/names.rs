//! What names lead to: found lately, or being looked up. Who asks for the same name at once shares one lookup.

use super::candidates::{MOST, Place};
use super::dns::{Missed, Seen};
use crate::actor::sending::Delayed;
use crate::shell::Shell;
use ahash::AHashMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// A name and what is to be known of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) name: Box<str>,
    pub(crate) wants: Wants,
}

/// What is to be known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wants {
    /// Its addresses; the URI says the port.
    Addresses,
    /// Its servers, by whatever transport.
    Services,
    /// Its servers by UDP.
    Udp,
    /// Its servers by TCP.
    Tcp,
    /// The name is that of a list of static routes.
    Listed,
}

/// What is known of a name.
pub(crate) enum Known {
    Places(Rc<[Place]>),
    /// It leads nowhere.
    Nothing,
    Unasked,
}

/// Names remembered.
const NAMES: usize = 4096;
/// Names being looked up at once.
const LOOKUPS: usize = 512;
/// A lookup has so long.
const DEADLINE: Duration = Duration::from_secs(3);
/// The longest that an answer is believed, milliseconds.
const LONGEST: u64 = 3_600_000;
/// How long it is believed that a name leads nowhere, or that nobody answers, milliseconds.
const BRIEF: u64 = 5_000;
/// How long after its time an answer still serves while nobody gives another, milliseconds.
const STALE: u64 = 3_600_000;

pub(crate) struct Names {
    known: RefCell<AHashMap<Box<str>, [Option<Remembered>; 5]>>,
    asked: RefCell<AHashMap<Question, Vec<Delayed>>>,
    /// Requests that wait for a name.
    waiting: Cell<usize>,
    most_waiting: usize,
}

#[derive(Clone, Debug)]
struct Remembered {
    /// None: the name leads nowhere.
    places: Rc<[Place]>,
    until: u64,
    /// When the answer was to be asked for again.
    due: u64,
}

impl Names {
    pub(crate) fn new(most_waiting: usize) -> Self {
        Self { known: RefCell::default(), asked: RefCell::default(), waiting: Cell::new(0), most_waiting }
    }

    pub(crate) fn known(&self, name: &str, wants: Wants, now: u64) -> Known {
        let known = self.known.borrow();
        let remembered = known.get(name).and_then(|of_name| of_name[wants as usize].as_ref());
        match remembered.filter(|remembered| remembered.until > now) {
            Some(remembered) if remembered.places.is_empty() => Known::Nothing,
            Some(remembered) => Known::Places(Rc::clone(&remembered.places)),
            None => Known::Unasked,
        }
    }

    /// Remembers what was seen; where nobody answered, what was known before serves a while longer.
    fn learn(&self, question: &Question, seen: Result<Seen, Missed>, now: u64) -> Rc<[Place]> {
        let mut known = self.known.borrow_mut();
        if known.len() >= NAMES && !known.contains_key(&question.name) {
            known.retain(|_, of_name| of_name.iter().flatten().any(|remembered| remembered.until > now));
            if known.len() >= NAMES {
                known.clear();
            }
        }
        let of_name = known.entry(question.name.clone()).or_default();
        let place = &mut of_name[question.wants as usize];
        let old = place.take().filter(|old| !old.places.is_empty() && now < old.due + STALE);
        let new = match (seen, old) {
            (Ok(Seen { places, ttl }), _) => {
                let until = now + u64::try_from(ttl.as_millis()).unwrap_or(LONGEST).min(LONGEST);
                Remembered { places: places.into_iter().take(MOST).collect(), until, due: until }
            }
            (Err(Missed::Unanswered), Some(old)) => Remembered { until: now + BRIEF, ..old },
            (Err(_), _) => Remembered { places: Rc::from([]), until: now + BRIEF, due: now + BRIEF },
        };
        let places = Rc::clone(&new.places);
        *place = Some(new);
        places
    }

    /// Puts a request with the others that wait for the same name. What is full says no.
    fn queue(&self, question: &Question, delayed: Delayed) -> Queued {
        let mut asked = self.asked.borrow_mut();
        let lookups = asked.len();
        if self.waiting.get() >= self.most_waiting {
            return Queued::Refused(delayed);
        }
        let queued = match asked.get_mut(question) {
            Some(others) => {
                others.push(delayed);
                Queued::Behind
            }
            None if lookups >= LOOKUPS => return Queued::Refused(delayed),
            None => {
                asked.insert(question.clone(), vec![delayed]);
                Queued::First
            }
        };
        self.waiting.set(self.waiting.get() + 1);
        queued
    }

    fn waiters(&self, question: &Question) -> Vec<Delayed> {
        let waiters = self.asked.borrow_mut().remove(question).unwrap_or_default();
        self.waiting.set(self.waiting.get() - waiters.len());
        waiters
    }
}

enum Queued {
    First,
    Behind,
    Refused(Delayed),
}

impl Shell {
    /// Holds a request back until its name is known.
    pub(crate) fn await_name(self: &Rc<Self>, question: Question, delayed: Delayed) {
        match self.hops.names.queue(&question, delayed) {
            Queued::Behind => {}
            Queued::Refused(delayed) => {
                self.telemetry.lookup_failures.inc();
                self.resume(delayed, None);
            }
            Queued::First => {
                self.telemetry.lookups.inc();
                let shell = Rc::clone(self);
                tokio::task::spawn_local(async move { shell.look_up(question).await });
            }
        }
    }

    async fn look_up(self: Rc<Self>, question: Question) {
        let (routes, dns) = (Rc::clone(&self.hops.routes), Rc::clone(&self.hops.dns));
        let asked = question.clone();
        // In a task of its own, so that nobody waits in vain should it crash.
        let looking = tokio::task::spawn_local(async move {
            tokio::time::timeout(DEADLINE, dns.look_up(&asked, &routes)).await
        });
        let seen = match looking.await {
            Ok(Ok(seen)) => seen,
            Ok(Err(_)) | Err(_) => Err(Missed::Unanswered),
        };
        if let Err(missed) = &seen {
            self.telemetry.lookup_failures.inc();
            tracing::debug!(name = &*question.name, ?missed, "a name was not found");
        }
        let places = self.hops.names.learn(&question, seen, self.clock.tick());
        for delayed in self.hops.names.waiters(&question) {
            let candidates = self.draw(&places, delayed.wish());
            self.contained(|shell| shell.resume(delayed, candidates));
        }
        self.take_own();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::candidates::Rank;
    use super::*;
    use sip::Transport as Kind;

    fn question(name: &str) -> Question {
        Question { name: name.into(), wants: Wants::Services }
    }

    fn seen(count: u8, seconds: u64) -> Result<Seen, Missed> {
        let place = |record| Place {
            transport: Kind::Udp,
            address: ([192, 0, 2, record], 5060).into(),
            rank: Rank::default(),
            weight: 0,
            record,
        };
        Ok(Seen { places: (0..count).map(place).collect(), ttl: Duration::from_secs(seconds) })
    }

    /// How many places are known; none where it leads nowhere.
    fn known(names: &Names, name: &str, now: u64) -> Option<usize> {
        match names.known(name, Wants::Services, now) {
            Known::Places(places) => Some(places.len()),
            Known::Nothing => Some(0),
            Known::Unasked => None,
        }
    }

    #[test]
    fn an_answer_holds_for_its_time_within_bounds() {
        let names = Names::new(10);
        assert_eq!(names.learn(&question("a"), seen(2, 60), 1000).len(), 2);
        assert_eq!(known(&names, "a", 60_999), Some(2));
        assert_eq!(known(&names, "a", 61_000), None);
        assert!(matches!(names.known("a", Wants::Addresses, 1000), Known::Unasked));
        names.learn(&question("b"), seen(20, 1_000_000), 0);
        assert_eq!(known(&names, "b", LONGEST - 1), Some(MOST));
        assert_eq!(known(&names, "b", LONGEST), None);
        assert_eq!(names.learn(&question("c"), seen(1, 0), 7).len(), 1, "it serves those who asked");
        assert_eq!(known(&names, "c", 7), None);
        assert_eq!(names.learn(&question("d"), Err(Missed::Nothing), 0).len(), 0);
        assert_eq!((known(&names, "d", BRIEF - 1), known(&names, "d", BRIEF)), (Some(0), None));
    }

    #[test]
    fn an_old_answer_serves_where_there_is_none_but_not_for_ever() {
        let names = Names::new(10);
        names.learn(&question("a"), seen(2, 60), 0);
        assert_eq!(names.learn(&question("a"), Err(Missed::Unanswered), 70_000).len(), 2);
        assert_eq!(known(&names, "a", 70_000 + BRIEF - 1), Some(2));
        assert_eq!(names.learn(&question("a"), Err(Missed::Unanswered), 60_000 + STALE).len(), 0);
        names.learn(&question("b"), seen(2, 60), 0);
        assert_eq!(names.learn(&question("b"), Err(Missed::Nothing), 70_000).len(), 0);
        assert_eq!(names.learn(&question("b"), Err(Missed::Unanswered), 80_000).len(), 0);
    }

    #[test]
    fn names_are_bounded_and_those_whose_time_is_over_go_first() {
        let names = Names::new(10);
        for n in 0..NAMES {
            let seconds = if n < 10 { 60 } else { 1 };
            names.learn(&question(&format!("host{n}")), seen(1, seconds), 0);
        }
        names.learn(&question("one-more"), seen(1, 60), 2000);
        assert_eq!(names.known.borrow().len(), 11);
        assert_eq!((known(&names, "host0", 2000), known(&names, "one-more", 2000)), (Some(1), Some(1)));
        for n in 0..2 * NAMES {
            names.learn(&question(&format!("other{n}")), seen(1, 60), 2000);
            assert!(names.known.borrow().len() <= NAMES);
        }
    }
}
