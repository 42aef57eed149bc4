//! Where what is under way is kept: places that are used again, each for one at a time.

use super::mark::Mark;

/// How many places there are at most.
const MOST: usize = 1 << 18;

/// Each with the serial number of whom it is for now.
#[derive(Debug)]
pub(super) struct Places<T> {
    slots: Vec<Option<(u32, T)>>,
    free: Vec<u32>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Places<T> {
    /// Keeps what `make` makes of its place; the place, unless all are taken.
    pub(super) fn keep(&mut self, serial: u32, make: impl FnOnce(u32) -> T) -> Option<u32> {
        if let Some(place) = self.free.pop() {
            self.slots[place as usize] = Some((serial, make(place)));
            return Some(place);
        }
        if self.slots.len() >= MOST {
            return None;
        }
        let place = self.slots.len() as u32;
        self.slots.push(Some((serial, make(place))));
        Some(place)
    }

    /// What is at a place.
    pub(super) fn at(&mut self, place: u32) -> Option<&mut T> {
        self.slots.get_mut(place as usize)?.as_mut().map(|(_, kept)| kept)
    }

    /// What a message belongs to, if it is kept still.
    pub(super) fn of(&mut self, mark: Mark) -> Option<&mut T> {
        let slot = self.slots.get_mut(mark.place as usize)?.as_mut();
        slot.filter(|(serial, _)| *serial == mark.serial).map(|(_, kept)| kept)
    }

    /// How many are kept.
    pub(super) fn kept(&self) -> u64 {
        (self.slots.len() - self.free.len()) as u64
    }

    /// Frees a place.
    pub(super) fn forget(&mut self, place: u32) {
        if self.slots.get_mut(place as usize).and_then(Option::take).is_some() {
            self.free.push(place);
        }
    }

    /// All that are kept.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().flatten().map(|(_, kept)| kept)
    }

    /// Places ever used, and those of them that are free.
    #[cfg(test)]
    pub(super) fn used(&self) -> (usize, usize) {
        (self.slots.len(), self.free.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::mark::Kind;

    #[test]
    fn a_place_is_used_again_and_not_mistaken() {
        let mark = |place, serial| Mark { run: 1, kind: Kind::Call, place, serial };
        let mut places = Places::default();
        assert_eq!(places.keep(7, |place| place + 100), Some(0));
        assert_eq!(places.keep(8, |place| place + 100), Some(1));
        assert_eq!(places.of(mark(1, 8)), Some(&mut 101));
        places.forget(1);
        places.forget(1);
        assert_eq!(places.of(mark(1, 8)), None);
        assert_eq!(places.at(1), None);
        assert_eq!(places.keep(9, |place| place + 200), Some(1));
        assert_eq!(places.of(mark(1, 8)), None, "the former one");
        assert_eq!(places.of(mark(1, 9)), Some(&mut 201));
        assert_eq!(places.of(mark(5, 9)), None);
        assert_eq!((places.all().count(), places.kept(), places.used()), (2, 2, (2, 0)));
    }

    #[test]
    fn there_are_no_more_than_a_bound() {
        let mut places = Places::default();
        for number in 0..MOST {
            assert!(places.keep(number as u32, |_| ()).is_some());
        }
        assert_eq!(places.keep(0, |_| ()), None);
        places.forget(5);
        assert_eq!(places.keep(0, |_| ()), Some(5));
    }
}
