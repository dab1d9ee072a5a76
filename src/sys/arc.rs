//! A counted pointer like `std::sync::Arc`, but with an allocation that can fail: std's
//! aborts when memory is out.

use std::alloc::{Layout, alloc, dealloc};
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::{Error, out_of_memory};

#[repr(C)]
pub(crate) struct Counted<T: ?Sized> {
    count: AtomicUsize,
    value: T,
}

impl<T> Counted<T> {
    pub(crate) fn value(&self) -> &T {
        &self.value
    }
}

/// Shared ownership of a value; the last owner drops it.
pub(crate) struct Arc<T: ?Sized> {
    counted: NonNull<Counted<T>>,
    owns: PhantomData<Counted<T>>,
}

// SAFETY: as for std's: owners in several threads reach the value by `&T`, and
// any of them may drop it.
unsafe impl<T: ?Sized + Send + Sync> Send for Arc<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send + Sync> Sync for Arc<T> {}

impl<T> Arc<T> {
    /// Fails with ENOMEM, and drops the value, when memory is out.
    pub(crate) fn try_new(value: T) -> Result<Self, Error> {
        // SAFETY: the layout has a size; what is there is written before it is read.
        let counted = unsafe {
            let place = alloc(Layout::new::<Counted<T>>()).cast::<Counted<T>>();
            let place = NonNull::new(place).ok_or_else(|| out_of_memory(()))?;
            place.write(Counted {
                count: AtomicUsize::new(1),
                value,
            });
            place
        };
        Ok(Arc {
            counted,
            owns: PhantomData,
        })
    }

    pub(crate) fn as_raw(&self) -> *mut Counted<T> {
        self.counted.as_ptr()
    }

    /// Hands this owner's count to the pointer; [`Arc::from_raw`] takes it back.
    pub(crate) fn into_raw(self) -> *mut Counted<T> {
        let raw = self.as_raw();
        std::mem::forget(self);
        raw
    }

    /// # Safety
    /// The pointer is from [`Arc::into_raw`], and its count is taken back only once.
    pub(crate) unsafe fn from_raw(raw: *mut Counted<T>) -> Self {
        Arc {
            // SAFETY: from an Arc, which is never null.
            counted: unsafe { NonNull::new_unchecked(raw) },
            owns: PhantomData,
        }
    }

    /// The same value as a trait object: `arc.coerce(|pointer| pointer)`.
    pub(crate) fn coerce<U: ?Sized>(
        self,
        unsize: fn(*mut Counted<T>) -> *mut Counted<U>,
    ) -> Arc<U> {
        let seen = unsize(self.counted.as_ptr());
        assert!(std::ptr::addr_eq(seen, self.counted.as_ptr()));
        std::mem::forget(self);
        Arc {
            // SAFETY: the address of what exists.
            counted: unsafe { NonNull::new_unchecked(seen) },
            owns: PhantomData,
        }
    }
}

impl<T: ?Sized> Clone for Arc<T> {
    fn clone(&self) -> Self {
        // SAFETY: this owner keeps it.
        unsafe { self.counted.as_ref() }
            .count
            .fetch_add(1, Ordering::Relaxed);
        Arc {
            counted: self.counted,
            owns: PhantomData,
        }
    }
}

impl<T: ?Sized> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this owner keeps it.
        unsafe { &self.counted.as_ref().value }
    }
}

impl<T: ?Sized> Drop for Arc<T> {
    fn drop(&mut self) {
        // SAFETY: this owner keeps it up to here.
        let count = unsafe { &self.counted.as_ref().count };
        // AcqRel, instead of a fence for the last owner only: the thread sanitizer does
        // not know fences.
        if count.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // SAFETY: the last owner; allocated with the layout that the value tells.
        unsafe {
            let layout = Layout::for_value(self.counted.as_ref());
            self.counted.drop_in_place();
            dealloc(self.counted.as_ptr().cast(), layout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tells<'a>(&'a AtomicUsize);

    impl Drop for Tells<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    trait Count: Send + Sync {
        fn dropped(&self) -> usize;
    }

    impl Count for Tells<'_> {
        fn dropped(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn the_last_owner_drops_the_value_once() {
        let dropped = AtomicUsize::new(0);
        let one = Arc::try_new(Tells(&dropped)).unwrap();
        let two: Arc<dyn Count + '_> = one.clone().coerce(|pointer| pointer);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let mine = one.clone();
                scope.spawn(move || assert_eq!(mine.0.load(Ordering::Relaxed), 0));
            }
        });
        drop(one);
        assert_eq!(two.dropped(), 0);
        drop(two);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}
