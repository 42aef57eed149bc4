//! Places for transactions, used again with a new generation, so that an old reference never finds a new transaction.

/// One place in one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SlotRef {
    index: u32,
    generation: u32,
}

impl SlotRef {
    pub(super) const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    pub(super) const fn from_u64(number: u64) -> Self {
        Self { index: number as u32, generation: (number >> 32) as u32 }
    }
}

pub(super) struct Slots<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// A place for something that is made with its own reference in hand; to be filled at once.
    pub(super) fn reserve(&mut self) -> SlotRef {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() as u32 - 1
        });
        let generation = self.places.get(index as usize).map_or(0, |place| place.0);
        SlotRef { index, generation }
    }

    pub(super) fn fill(&mut self, slot: SlotRef, value: T) {
        if let Some(place) = self.places.get_mut(slot.index as usize) {
            place.1 = Some(value);
        }
    }

    pub(super) fn get(&self, slot: SlotRef) -> Option<&T> {
        self.places.get(slot.index as usize).filter(|place| place.0 == slot.generation)?.1.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: SlotRef) -> Option<&mut T> {
        self.places.get_mut(slot.index as usize).filter(|place| place.0 == slot.generation)?.1.as_mut()
    }

    pub(super) fn remove(&mut self, slot: SlotRef) -> Option<T> {
        let place = self.places.get_mut(slot.index as usize).filter(|place| place.0 == slot.generation)?;
        let value = place.1.take()?;
        place.0 = place.0.wrapping_add(1);
        self.free.push(slot.index);
        Some(value)
    }

    /// Everything that lives, in order of place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SlotRef, &T)> {
        self.places.iter().enumerate().filter_map(|(index, (generation, value))| {
            Some((SlotRef { index: index as u32, generation: *generation }, value.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_reference_finds_nothing() {
        let mut slots = Slots::new();
        let first = slots.reserve();
        slots.fill(first, 'a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.reserve();
        slots.fill(second, 'b');
        assert_eq!((slots.get(first), slots.get(second), slots.len()), (None, Some(&'b'), 1));
        assert_eq!(slots.remove(first), None);
        assert_eq!(SlotRef::from_u64(second.to_u64()), second);
        assert_ne!(first, second);
    }
}
