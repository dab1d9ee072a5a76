//! futex(2): waiting for an event whose lock is not held meanwhile.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts events; whoever waits names the count that he has seen.
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
        let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        let forever = std::ptr::null::<libc::timespec>();
        // SAFETY: the word outlives the call.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), operation, seen, forever) };
    }

    pub(crate) fn tell_all(&self) {
        self.0.fetch_add(1, Ordering::Release);
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the word outlives the call.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), operation, i32::MAX) };
    }
}
