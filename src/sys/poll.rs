//! poll(2): where the library waits for a while, because the daemon asked it to.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::bits::ToSigned;

/// Waits until a descriptor is readable, `nanoseconds` have passed or a signal was
/// handled; without a descriptor only for time or a signal. Whether it is readable.
pub(crate) fn readable(fd: Option<BorrowedFd>, nanoseconds: u64) -> bool {
    let mut poll = libc::pollfd {
        fd: fd.map_or(-1, |fd| fd.as_raw_fd()),
        events: libc::POLLIN,
        revents: 0,
    };
    let most = nanoseconds.min(i64::MAX.unsigned_abs());
    let time = libc::timespec {
        tv_sec: (most / 1_000_000_000).to_signed(),
        tv_nsec: (most % 1_000_000_000).to_signed(),
    };
    // SAFETY: both outlive the call.
    let ready = unsafe { libc::ppoll(&raw mut poll, 1, &raw const time, std::ptr::null()) };
    ready == 1
}
