//! lock_api's mutex on futex(2), after Drepper's "Futexes Are Tricky": nothing is
//! allocated, no state is shared with other mutexes that a fork could copy
//! half-way, as parking_lot's table of parked threads is, and a page that a fork
//! wipes is an unlocked one.
//!
//! The standard library's spins before it sleeps, which is worth little where the lock is
//! held over system calls, and checks at each lock and unlock whether the thread panics,
//! for a poison flag that is not wanted here: a panic releases the lock, is caught at the
//! border, and the state that it left is used further.
//!
//! A thread that unlocks and locks again is quicker than one that has to be woken first,
//! and a loop that takes many dead children does so every other millisecond: a thread
//! that was woken in vain once is handed the lock.

use std::sync::atomic::{AtomicU32, Ordering};

use super::futex;

pub(crate) type Mutex<T> = lock_api::Mutex<RawFutex, T>;
/// The lock is held for as long as this lives.
pub(crate) type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawFutex, T>;

const FREE: u32 = 0;
const LOCKED: u32 = 1;
/// Locked, and somebody may sleep.
const AWAITED: u32 = 2;
/// Locked, and a thread that was woken in vain waits until the lock is handed to it.
const STARVED: u32 = 3;
/// Not locked yet, but reserved for a thread that was woken.
const HANDED: u32 = 4;

/// The lock without what it guards. Zero bytes are a free one.
#[repr(transparent)]
pub(crate) struct RawFutex(AtomicU32);

impl RawFutex {
    /// The lock whose state this word is.
    pub(super) fn of_word(word: &AtomicU32) -> &Self {
        // SAFETY: transparent.
        unsafe { &*std::ptr::from_ref(word).cast() }
    }
}

// SAFETY: one thread at a time gets from FREE to another state, and unlocking
// releases what the next one's locking acquires.
unsafe impl lock_api::RawMutex for RawFutex {
    #[allow(clippy::declare_interior_mutable_const)] // lock_api's way to say new()
    const INIT: Self = RawFutex(AtomicU32::new(FREE));
    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock(&self) {
        if !self.try_lock() {
            await_free(&self.0);
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.0
            .compare_exchange(FREE, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != FREE
    }

    #[inline]
    unsafe fn unlock(&self) {
        let unlocked = self
            .0
            .compare_exchange(LOCKED, FREE, Ordering::Release, Ordering::Relaxed);
        if unlocked.is_err() {
            unlock_awaited(&self.0);
        }
    }
}

/// Locks it, and leaves it AWAITED, as others may sleep.
#[cold]
#[inline(never)]
fn await_free(state: &AtomicU32) {
    let mut woken = false;
    loop {
        let seen = state.load(Ordering::Relaxed);
        let mine = seen == FREE || (seen == HANDED && woken);
        let mark = if mine {
            AWAITED
        } else {
            seen.max(if woken { STARVED } else { AWAITED })
        };
        let marked = state.compare_exchange(seen, mark, Ordering::Acquire, Ordering::Relaxed);
        if marked.is_err() {
            continue;
        }
        if mine {
            return;
        }
        futex::wait(state, mark);
        woken = true;
    }
}

/// A lock that is handed over (HANDED) is taken by a thread that was woken, such as the
/// one that set STARVED.
#[cold]
#[inline(never)]
fn unlock_awaited(state: &AtomicU32) {
    let next = |held| Some(if held == STARVED { HANDED } else { FREE });
    let _ = state.fetch_update(Ordering::Release, Ordering::Relaxed, next);
    futex::wake(state, 1);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

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
        assert!(counted.try_lock().is_some());
    }

    #[test]
    fn who_waits_is_woken() {
        let turn = Mutex::new(());
        // SAFETY: its state is read.
        let state = unsafe { &turn.raw().0 };
        let held = turn.lock();
        assert!(turn.try_lock().is_none());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| drop(turn.lock()));
            while state.load(Ordering::Relaxed) != AWAITED {
                std::thread::yield_now();
            }
            assert!(!waiter.is_finished());
            drop(held);
        });
        assert!(turn.try_lock().is_some());
    }

    #[test]
    fn who_was_woken_in_vain_is_next() {
        let had_it = Mutex::new(false);
        // SAFETY: its state is read.
        let state = unsafe { &had_it.raw().0 };
        let held = had_it.lock();
        std::thread::scope(|scope| {
            scope.spawn(|| *had_it.lock() = true);
            while state.load(Ordering::Relaxed) != STARVED {
                futex::wake(state, 1);
                std::thread::yield_now();
            }
            drop(held);
            assert!(*had_it.lock());
        });
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

    /// Forks beside threads that contend for a lock. Each child contends for one of
    /// its own, which is free.
    #[test]
    fn a_fork_beside_busy_threads_leaves_the_child_its_locks() {
        let stop = AtomicBool::new(false);
        let busy = Mutex::new(());
        let forked = std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let held = busy.lock();
                        std::thread::yield_now();
                        drop(held);
                    }
                });
            }
            let forked = (0..300).try_for_each(|_| in_a_child(contend));
            stop.store(true, Ordering::Relaxed);
            forked
        });
        assert_eq!(forked, Ok(()), "a child hung");
    }

    /// Another thread waits for the lock that this one holds.
    fn contend() {
        let own = Mutex::new(());
        std::thread::scope(|scope| {
            let held = own.lock();
            scope.spawn(|| drop(own.lock()));
            for _ in 0..4 {
                std::thread::yield_now();
            }
            drop(held);
        });
    }

    /// Why these locks are not parking_lot's: a fork copies its table of parked
    /// threads while another thread holds a part of it, and no thread of the child
    /// will ever release that. `cargo test --release -- --ignored parking_lot`
    #[test]
    #[ignore = "shows a fault of parking_lot's, not of the library"]
    fn a_fork_beside_busy_threads_leaves_the_child_parking_lot_s_table_locked() {
        let stop = AtomicBool::new(false);
        let lock = parking_lot::Mutex::new(());
        let told = parking_lot::Condvar::new();
        let forked = std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        told.wait_for(&mut lock.lock(), Duration::from_nanos(1));
                    }
                });
            }
            let tell = || _ = told.notify_all();
            let forked = (0..100_000).try_for_each(|_| in_a_child(tell));
            stop.store(true, Ordering::Relaxed);
            forked
        });
        assert_eq!(forked, Err(libc::SIGALRM), "no child hung");
    }

    /// The error is the raw wait status of a child that did not end by itself.
    fn in_a_child(work: impl Fn()) -> Result<(), i32> {
        // SAFETY: the child works with its own locks and ends; where it hangs its
        // alarm ends it.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::alarm(20);
                work();
                libc::_exit(0);
            }
            let mut status = -1;
            libc::waitpid(pid, &raw mut status, 0);
            if status == 0 { Ok(()) } else { Err(status) }
        }
    }
}
