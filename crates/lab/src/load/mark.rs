//! How a message tells to whom it belongs: requests of ours by their branch, requests of the network's by their Call-ID.

use std::fmt;

const COOKIE: &str = "z9hG4bKload";

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Registration,
    Call,
    Message,
    Subscription {
        /// Whether it is kept, rather than ended at once.
        stays: bool,
    },
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Registration,
        Self::Call,
        Self::Message,
        Self::Subscription { stays: false },
        Self::Subscription { stays: true },
    ];

    const fn letter(self) -> char {
        match self {
            Self::Registration => 'r',
            Self::Call => 'c',
            Self::Message => 'm',
            Self::Subscription { stays: false } => 's',
            Self::Subscription { stays: true } => 'k',
        }
    }
}

/// One of a run: where it is kept, and which of those kept there, for places are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Tells the messages of one run from those of another.
    pub(super) run: u32,
    pub(super) kind: Kind,
    pub(super) place: u32,
    pub(super) serial: u32,
}

impl Mark {
    /// The branch of its request `step`.
    pub(super) fn branch(self, step: u32) -> Branch {
        Branch(self, step)
    }

    /// Reads the branch of a request of this run.
    pub(super) fn of_branch(run: u32, branch: &str) -> Option<(Self, u32)> {
        let (mark, step) = branch.strip_prefix(COOKIE)?.rsplit_once('.')?;
        Some((Self::read(run, mark)?, u32::from_str_radix(step, 16).ok()?))
    }

    /// Reads a Call-ID of this run.
    pub(super) fn read(run: u32, text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let hex = |text: &str| u32::from_str_radix(text, 16).ok();
        if hex(parts.next()?)? != run {
            return None;
        }
        let place = parts.next()?;
        let letter = place.chars().next()?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.letter() == letter)?;
        let mark = Self { run, kind, place: hex(place.get(1..)?)?, serial: hex(parts.next()?)? };
        parts.next().is_none().then_some(mark)
    }
}

/// Its Call-ID.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}{:x}.{:x}", self.run, self.kind.letter(), self.place, self.serial)
    }
}

/// A branch, as Via has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Branch(Mark, u32);

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COOKIE}{}.{:x}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for kind in Kind::ALL {
            let mark = Mark { run: 0xabc, kind, place: 255, serial: 31 };
            assert_eq!(Mark::read(0xabc, &mark.to_string()), Some(mark));
            assert_eq!(Mark::of_branch(0xabc, &mark.branch(2).to_string()), Some((mark, 2)));
            assert_eq!(Mark::read(1, &mark.to_string()), None, "another run's");
        }
        for wrong in ["", "abc", "abc.c", "abc.cff", "abc.xff.1", "abc.cff.1.2", "abc.é.1", "abc.c-1.1"] {
            assert_eq!(Mark::read(0xabc, wrong), None, "{wrong}");
        }
        assert_eq!(Mark::of_branch(0xabc, "z9hG4bKabc.cff.1.2"), None);
    }
}
