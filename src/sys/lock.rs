//! A mutex on futex(2), after Drepper's "Futexes Are Tricky": nothing is
//! allocated, no state is shared with other mutexes that a fork could copy
//! half-way, and a page that a fork wipes is an unlocked one.
//!
//! The standard library's spins before it sleeps, which is worth little where the
//! lock is held over system calls, and asks at each lock and unlock whether the
//! thread panics: a call for a thread-local and twice the code, for a poison that
//! is not wanted here. A panic is caught at the border, the lock is given up on its
//! way there, and what it left is used on.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};

use super::futex;

const FREE: u32 = 0;
const LOCKED: u32 = 1;
/// Locked, and somebody may sleep.
const AWAITED: u32 = 2;

pub(crate) struct Mutex<T> {
    state: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time, whose writes the next one
// sees: unlocking releases what locking acquires.
unsafe impl<T: Send> Sync for Mutex<T> {}

/// The lock is held for as long as this lives.
#[must_use]
pub(crate) struct MutexGuard<'a, T>(&'a Mutex<T>, PhantomData<&'a mut T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex {
            state: AtomicU32::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.try_lock().unwrap_or_else(|| {
            await_free(&self.state);
            MutexGuard(self, PhantomData)
        })
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.state.load(Ordering::Relaxed) != FREE
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.state
            .compare_exchange(FREE, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then(|| MutexGuard(self, PhantomData))
    }
}

#[cold]
#[inline(never)]
fn await_free(state: &AtomicU32) {
    while state.swap(AWAITED, Ordering::Acquire) != FREE {
        futex::wait(state, AWAITED);
    }
}

#[cold]
#[inline(never)]
fn wake_one(state: &AtomicU32) {
    futex::wake(state, 1);
}

impl<'a, T> MutexGuard<'a, T> {
    pub(crate) fn mutex(&self) -> &'a Mutex<T> {
        self.0
    }

    /// Whether another thread may wait for it.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.state.load(Ordering::Relaxed) == AWAITED
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline(never)] // each use has a second one, for a panic
    fn drop(&mut self) {
        if self.0.state.swap(FREE, Ordering::Release) == AWAITED {
            wake_one(&self.0.state);
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held.
        unsafe { &mut *self.0.value.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_at_a_time() {
        const THREADS: usize = 4;
        const TURNS: usize = 100_000;
        let counted = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..TURNS {
                        let mut counted = counted.lock();
                        let seen = *counted;
                        std::hint::black_box(&counted);
                        *counted = seen + 1;
                    }
                });
            }
        });
        assert_eq!(*counted.lock(), THREADS * TURNS);
        assert_eq!(counted.state.load(Ordering::Relaxed), FREE);
    }

    #[test]
    fn who_waits_is_woken() {
        let turn = Mutex::new(());
        let held = turn.lock();
        assert!(turn.try_lock().is_none());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| drop(turn.lock()));
            while turn.state.load(Ordering::Relaxed) != AWAITED {
                std::thread::yield_now();
            }
            assert!(!waiter.is_finished());
            drop(held);
        });
        assert!(turn.try_lock().is_some());
    }

    #[test]
    fn a_panic_gives_the_lock_up() {
        let value = Mutex::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            *value.lock() = 2;
            let _held = value.lock();
            panic!("caught");
        }));
        assert!(panicked.is_err());
        assert_eq!(*value.try_lock().unwrap(), 2);
    }
}
