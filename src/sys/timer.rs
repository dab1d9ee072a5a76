//! timer_create(2): SIGCHLD after a time, for a context that has no
//! descriptor, so that the daemon's own way of taking the signal wakes it.

use super::bits::ToSigned;
use super::error::{Call, Error};

#[derive(Debug)]
pub(crate) struct SignalTimer(libc::timer_t);

// SAFETY: a timer id is a kernel number, good in every thread.
unsafe impl Send for SignalTimer {}

impl SignalTimer {
    pub(crate) fn new() -> Result<Self, Error> {
        // SAFETY: sigevent is plain data, for which zeros are valid.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGCHLD;
        let mut timer: libc::timer_t = std::ptr::null_mut();
        // SAFETY: both outlive the call.
        let code =
            unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        Call::timer_create.result(code).map(|_| SignalTimer(timer))
    }

    /// Fires once after `nanoseconds`, at least one. A signal of it that is
    /// pending is void from now on, and every SIGCHLD that merged with it is
    /// lost (Linux 6.13 and later, posixtimer_deliver_signal), unless the
    /// timer fires again before the signal is taken.
    #[inline(never)]
    pub(crate) fn arm(&self, nanoseconds: u64) {
        let nanoseconds = nanoseconds.max(1);
        let time = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: (nanoseconds / 1_000_000_000).to_signed(),
                tv_nsec: (nanoseconds % 1_000_000_000).to_signed(),
            },
        };
        // SAFETY: a timer of ours; `time` outlives the call.
        unsafe { libc::timer_settime(self.0, 0, &raw const time, std::ptr::null_mut()) };
    }
}

impl Drop for SignalTimer {
    /// A pending signal of it becomes void, as with [`SignalTimer::arm`].
    fn drop(&mut self) {
        // SAFETY: a timer of ours, deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}
