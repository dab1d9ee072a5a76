//! The deadlines of one context: a binary heap, the nearest first, in which
//! each key's place is known, so that it can be moved and taken out. Pure; no
//! allocation but in `reserve`.

use std::collections::TryReserveError;

/// How many deadlines one turn looks at, so that the lock is not held for long.
pub(crate) const DEADLINES: u32 = 256;

/// The place of a key that has no deadline.
pub(crate) const NOWHERE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: Vec<(u64, u32)>,
}

impl Deadlines {
    pub(crate) const fn new() -> Self {
        Deadlines { heap: Vec::new() }
    }

    /// Makes room for so many keys in all.
    pub(crate) fn reserve(&mut self, all: usize) -> Result<(), TryReserveError> {
        self.heap.try_reserve(all.saturating_sub(self.heap.len()))
    }

    /// How many more keys there is room for.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.heap.capacity() - self.heap.len()
    }

    /// The nearest deadline, and its key.
    pub(crate) fn first(&self) -> Option<(u64, u32)> {
        self.heap.first().copied()
    }

    /// Gives a deadline to a key that has none. `moved` is called with each key's new
    /// place.
    pub(crate) fn insert(&mut self, at: u64, key: u32, moved: &mut impl FnMut(u32, u32)) {
        self.heap.push((at, key));
        self.settle(self.heap.len() - 1, moved);
    }

    /// Removes the deadline at this place.
    pub(crate) fn remove(&mut self, place: u32, moved: &mut impl FnMut(u32, u32)) {
        let place = place as usize;
        let (_, key) = self.heap.swap_remove(place);
        moved(key, NOWHERE);
        if place < self.heap.len() {
            self.settle(place, moved);
        }
    }

    /// Moves what stands at a place to where it belongs.
    fn settle(&mut self, mut place: usize, moved: &mut impl FnMut(u32, u32)) {
        while place > 0 && self.heap[place] < self.heap[(place - 1) / 2] {
            self.swap(place, (place - 1) / 2, moved);
            place = (place - 1) / 2;
        }
        loop {
            let children = place * 2 + 1..(place * 2 + 3).min(self.heap.len());
            let Some(least) = children.min_by_key(|&child| self.heap[child]) else {
                break;
            };
            if self.heap[place] <= self.heap[least] {
                break;
            }
            self.swap(place, least, moved);
            place = least;
        }
        self.tell(place, moved);
    }

    fn swap(&mut self, one: usize, other: usize, moved: &mut impl FnMut(u32, u32)) {
        self.heap.swap(one, other);
        self.tell(one, moved);
        self.tell(other, moved);
    }

    #[allow(clippy::cast_possible_truncation)] // no more places than keys
    fn tell(&self, place: usize, moved: &mut impl FnMut(u32, u32)) {
        moved(self.heap[place].1, place as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_nearest_is_first_whatever_was_moved(
            steps in proptest::collection::vec((0u32..40, proptest::option::of(0u64..50)), 0..300),
        ) {
            let mut deadlines = Deadlines::new();
            let mut places = [NOWHERE; 40];
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            deadlines.reserve(40).unwrap();
            for (key, at) in steps {
                let mut moved = |key: u32, place: u32| places[key as usize] = place;
                if model.remove(&key).is_some() {
                    let place = places[key as usize];
                    let mut moved = |key: u32, place: u32| places[key as usize] = place;
                    deadlines.remove(place, &mut moved);
                    prop_assert_eq!(places[key as usize], NOWHERE);
                } else if let Some(at) = at {
                    deadlines.insert(at, key, &mut moved);
                    model.insert(key, at);
                }
                let nearest = model.iter().map(|(&key, &at)| (at, key)).min();
                prop_assert_eq!(deadlines.first(), nearest);
                for (key, place) in (0u32..).zip(places) {
                    let there = (place != NOWHERE).then(|| deadlines.heap[place as usize].1);
                    prop_assert_eq!(there, model.contains_key(&key).then_some(key));
                }
            }
        }
    }
}
