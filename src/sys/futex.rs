//! futex(2): sleeping until a word of this process's memory changes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::time::TimeSpec;

/// Returns when `word` is no longer `seen` and a wake-up came. It may also return without
/// a reason.
pub(super) fn wait(word: &AtomicU32, seen: u32) {
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let forever = std::ptr::null::<libc::timespec>();
    // SAFETY: the word outlives the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, seen, forever) };
}

/// The same, after so many nanoseconds at the latest.
fn wait_for(word: &AtomicU32, seen: u32, nanoseconds: u64) {
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let timeout = TimeSpec::from_duration(Duration::from_nanos(nanoseconds));
    let timeout = std::ptr::from_ref(timeout.as_ref());
    // SAFETY: the word and the time outlive the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, seen, timeout) };
}

/// Wakes so many of those that wait for `word`.
pub(super) fn wake(word: &AtomicU32, most: i32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: only the address is used. Another thread may have freed the word meanwhile:
    // to wake nobody is harmless.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, most) };
}

/// Counts events. A thread that waits passes the count that it has seen, and holds no
/// lock meanwhile.
#[derive(Debug, Default)]
pub(crate) struct EventCount(AtomicU32);

impl EventCount {
    pub(crate) const fn new() -> Self {
        EventCount(AtomicU32::new(0))
    }

    pub(crate) fn seen(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Returns when an event came after `seen`; also without one.
    pub(crate) fn wait(&self, seen: u32) {
        wait(&self.0, seen);
    }

    /// The same, after so many nanoseconds at the latest.
    pub(crate) fn wait_for(&self, seen: u32, nanoseconds: u64) {
        wait_for(&self.0, seen, nanoseconds);
    }

    pub(crate) fn tell_all(&self) {
        self.0.fetch_add(1, Ordering::Release);
        wake(&self.0, i32::MAX);
    }
}
