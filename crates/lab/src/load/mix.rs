//! What is started, and in which order.

use super::Error;

/// What can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Procedure {
    Register,
    Reregister,
    Call,
    Message,
    Subscribe,
}

impl Procedure {
    pub(super) const ALL: [Self; 5] =
        [Self::Register, Self::Reregister, Self::Call, Self::Message, Self::Subscribe];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Reregister => "reregister",
            Self::Call => "call",
            Self::Message => "message",
            Self::Subscribe => "subscribe",
        }
    }
}

/// How often each kind of procedure is started in a mix, in proportion to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Initial registrations, which are challenged.
    pub register: u32,
    /// Re-registrations.
    pub reregister: u32,
    /// Calls.
    pub call: u32,
    /// Short messages.
    pub message: u32,
    /// Subscriptions to the registration state, each ended at once.
    pub subscribe: u32,
}

impl Default for Shares {
    fn default() -> Self {
        Self { register: 5, reregister: 25, call: 40, message: 20, subscribe: 10 }
    }
}

impl Shares {
    fn of(&self, procedure: Procedure) -> u32 {
        match procedure {
            Procedure::Register => self.register,
            Procedure::Reregister => self.reregister,
            Procedure::Call => self.call,
            Procedure::Message => self.message,
            Procedure::Subscribe => self.subscribe,
        }
    }
}

/// Hands out procedures in their shares, as evenly as can be.
#[derive(Debug)]
pub(super) struct Mix {
    /// Share and credit of each.
    entries: Vec<(Procedure, i64, i64)>,
}

impl Mix {
    pub(super) fn of(shares: &Shares) -> Result<Self, Error> {
        let entries = Procedure::ALL.map(|procedure| (procedure, i64::from(shares.of(procedure)), 0));
        let entries: Vec<_> = entries.into_iter().filter(|(_, share, _)| *share > 0).collect();
        if entries.is_empty() {
            return Err(Error::Plan("at least one share is above 0"));
        }
        Ok(Self { entries })
    }

    pub(super) fn only(procedure: Procedure) -> Self {
        Self { entries: vec![(procedure, 1, 0)] }
    }

    pub(super) fn procedures(&self) -> impl Iterator<Item = Procedure> {
        self.entries.iter().map(|(procedure, ..)| *procedure)
    }

    /// The next: everyone earns its share, and the richest pays for all.
    pub(super) fn next(&mut self) -> Procedure {
        let all: i64 = self.entries.iter().map(|(_, share, _)| share).sum();
        self.entries.iter_mut().for_each(|(_, share, credit)| *credit += *share);
        match self.entries.iter_mut().max_by_key(|(_, _, credit)| *credit) {
            Some((procedure, _, credit)) => {
                *credit -= all;
                *procedure
            }
            None => Procedure::Register,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shares_are_kept_and_spread() {
        let shares = Shares { register: 0, reregister: 1, call: 4, message: 2, subscribe: 1 };
        let mut mix = Mix::of(&shares).unwrap();
        assert!(mix.procedures().all(|procedure| procedure != Procedure::Register));
        let eight: Vec<_> = (0..8).map(|_| mix.next()).collect();
        for procedure in Procedure::ALL {
            let count = eight.iter().filter(|one| **one == procedure).count();
            assert_eq!(count, shares.of(procedure) as usize, "{eight:?}");
        }
        assert!(eight.windows(3).all(|three| three != [Procedure::Call; 3]), "{eight:?}");
        let none = Shares { register: 0, reregister: 0, call: 0, message: 0, subscribe: 0 };
        assert!(matches!(Mix::of(&none), Err(Error::Plan(_))));
        let mut one = Mix::only(Procedure::Message);
        assert_eq!([one.next(), one.next()], [Procedure::Message; 2]);
    }
}
