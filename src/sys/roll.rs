//! Lists that a forked child can read, whatever other threads did at the fork.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use super::arc::{Arc, Counted};
use super::error::{Error, out_of_memory};
use super::fork::Former;

/// A process's items of one kind. Each change is one store of a pointer, so a fork copies
/// the list as it was before the change or after it, also where another thread holds a
/// lock. The process itself adds and removes; only its forked children read.
pub(crate) struct Roll<T> {
    first: AtomicPtr<Place<T>>,
}

struct Place<T> {
    /// Null while the place is free.
    item: AtomicPtr<Counted<T>>,
    /// It never changes: places are used again, and freed with the list.
    next: *mut Place<T>,
}

// SAFETY: it owns counted pointers, which threads add and remove by atomics.
unsafe impl<T: Send + Sync> Send for Roll<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Roll<T> {}

impl<T> Roll<T> {
    pub(crate) const fn new() -> Self {
        Roll {
            first: AtomicPtr::new(null_mut()),
        }
    }

    /// Adds an item; ENOMEM.
    pub(crate) fn add(&self, item: &Arc<T>) -> Result<(), Error> {
        let item = item.clone().into_raw();
        if self.places().any(|place| swap(place, null_mut(), item)) {
            return Ok(());
        }
        // SAFETY: it has a size.
        let place = unsafe { alloc(Layout::new::<Place<T>>()) }.cast::<Place<T>>();
        let Some(place) = NonNull::new(place) else {
            // SAFETY: from into_raw() above.
            drop(unsafe { Arc::from_raw(item) });
            return Err(out_of_memory(()));
        };
        let mut next = self.first.load(Ordering::Acquire);
        loop {
            let item = AtomicPtr::new(item);
            // SAFETY: large enough, and not in the list yet.
            unsafe { place.write(Place { item, next }) };
            let (place, order) = (place.as_ptr(), Ordering::AcqRel);
            let added = self
                .first
                .compare_exchange(next, place, order, Ordering::Acquire);
            match added {
                Ok(_) => return Ok(()),
                Err(other) => next = other,
            }
        }
    }

    /// Removes an item, if it is there.
    pub(crate) fn remove(&self, item: &Arc<T>) {
        let raw = item.as_raw();
        if self.places().any(|place| swap(place, raw, null_mut())) {
            // SAFETY: from into_raw() in add(), and taken out just now.
            drop(unsafe { Arc::from_raw(raw) });
        }
    }

    /// In a forked child: the items.
    pub(crate) fn items(&'static self, _: Former) -> impl Iterator<Item = &'static T> {
        self.places()
            // SAFETY: null, or what add() stored. A former process's items are never
            // dropped here.
            .filter_map(|place| unsafe { place.item.load(Ordering::Acquire).as_ref() })
            .map(Counted::value)
    }

    /// In a forked child: the first item of this kind.
    pub(crate) fn find(
        &'static self,
        former: Former,
        which: impl Fn(&T) -> bool,
    ) -> Option<&'static T> {
        self.items(former).find(|item| which(item))
    }

    /// In a forked child: forgets an item, without dropping it.
    pub(crate) fn leave(&'static self, _: Former, item: &T) {
        for place in self.places() {
            // SAFETY: as in items().
            let found = unsafe { place.item.load(Ordering::Acquire).as_ref() };
            if found.is_some_and(|found| std::ptr::eq(found.value(), item)) {
                place.item.store(null_mut(), Ordering::Release);
            }
        }
    }

    fn places(&self) -> impl Iterator<Item = &Place<T>> {
        let mut next = self.first.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: null, or a place, which lives as long as the list.
            let place = unsafe { next.as_ref() }?;
            next = place.next;
            Some(place)
        })
    }
}

fn swap<T>(place: &Place<T>, from: *mut Counted<T>, to: *mut Counted<T>) -> bool {
    let (done, not) = (Ordering::AcqRel, Ordering::Relaxed);
    place.item.compare_exchange(from, to, done, not).is_ok()
}

impl<T> Drop for Roll<T> {
    fn drop(&mut self) {
        let mut next = *self.first.get_mut();
        while let Some(place) = NonNull::new(next) {
            // SAFETY: allocated by add() with this layout, and in nobody's hands now.
            unsafe {
                let Place { item, next: other } = place.read();
                if let Some(item) = NonNull::new(item.into_inner()) {
                    drop(Arc::from_raw(item.as_ptr()));
                }
                dealloc(place.as_ptr().cast(), Layout::new::<Place<T>>());
                next = other;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_and_go_and_places_are_used_again() {
        let item = Arc::try_new(AtomicPtr::<u8>::default()).unwrap();
        let roll = Roll::new();
        for _ in 0..3 {
            roll.add(&item).unwrap();
            roll.add(&item).unwrap();
            roll.remove(&item);
            assert_eq!(roll.places().count(), 2);
            roll.remove(&item);
            roll.remove(&item);
        }
        let held = |place: &&Place<_>| !place.item.load(Ordering::Relaxed).is_null();
        assert_eq!(roll.places().filter(held).count(), 0);
        roll.add(&item).unwrap();
    }
}
