//! Which session with which run of which node a slot stands for, for ever.

use super::{REVIVE, Slot};

/// Every session there was, from slot 1.
#[derive(Debug, Default)]
pub(super) struct Runs(Vec<Run>);

#[derive(Debug)]
struct Run {
    node: Box<str>,
    incarnation: u64,
    over: Option<(u64, Over)>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The process ended.
    Gone,
    /// A later run of the node has proved itself.
    Superseded,
    /// One side gave it up.
    Severed,
}

impl Run {
    fn is(&self, node: &str, incarnation: u64) -> bool {
        self.incarnation == incarnation && *self.node == *node
    }
}

impl Runs {
    pub(super) fn whose(&self, slot: Slot) -> Option<(&str, u64)> {
        let run = self.0.get(usize::from(slot.0).checked_sub(1)?)?;
        Some((&run.node, run.incarnation))
    }

    /// A slot for the next session with this run; `None`: there are no more.
    pub(super) fn begin(&mut self, node: &str, incarnation: u64) -> Option<Slot> {
        let slot = Slot(u16::try_from(self.0.len() + 1).ok()?);
        self.0.push(Run { node: node.into(), incarnation, over: None });
        Some(slot)
    }

    pub(super) fn end(&mut self, slot: Slot, now: u64, over: Over) {
        if let Some(run) = usize::from(slot.0).checked_sub(1).and_then(|at| self.0.get_mut(at)) {
            run.over = Some((now, over));
        }
    }

    /// How many sessions with this run there will have been with the next.
    pub(super) fn next_session(&self, node: &str, incarnation: u64) -> u64 {
        self.0.iter().filter(|run| run.is(node, incarnation)).count() as u64 + 1
    }

    /// When a session may begin with a member with which there is none. `has_later`: there is one with another run of its node.
    pub(super) fn due(&self, node: &str, incarnation: u64, has_later: bool) -> Option<u64> {
        if self.0.len() >= usize::from(u16::MAX) {
            return None;
        }
        let last = self.0.iter().rev().find(|run| run.is(node, incarnation));
        match last.and_then(|run| run.over) {
            Some((_, Over::Superseded)) if has_later => None,
            Some((at, Over::Gone | Over::Superseded)) => Some(at + REVIVE),
            Some((_, Over::Severed)) | None => Some(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_never_used_again_and_there_is_an_end_to_them() {
        let mut runs = Runs::default();
        for number in 1..=u16::MAX {
            assert_eq!(runs.begin("a", u64::from(number % 100)), Some(Slot(number)));
            runs.end(Slot(number), 0, Over::Severed);
        }
        assert_eq!((runs.begin("b", 1), runs.due("b", 1, false)), (None, None));
        assert_eq!(runs.whose(Slot(101)), Some(("a", 1)));
        assert_eq!((runs.whose(Slot(0)), Runs::default().whose(Slot(1))), (None, None));
        assert_eq!(runs.next_session("a", 1), 657);
    }

    #[test]
    fn a_member_whose_process_was_taken_for_ended_is_tried_again_but_not_at_once() {
        let mut runs = Runs::default();
        assert_eq!(runs.due("a", 1, false), Some(0));
        let slot = runs.begin("a", 1).unwrap_or(Slot(0));
        runs.end(slot, 1_000, Over::Gone);
        assert_eq!(runs.due("a", 1, false), Some(1_000 + REVIVE));
        runs.end(slot, 1_000, Over::Superseded);
        assert_eq!(runs.due("a", 1, true), None, "while a later run is here");
    }
}
