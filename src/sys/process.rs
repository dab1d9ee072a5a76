//! getpid(2) and its kin.

use super::syscall::{call, int, word};

/// Our pid, as the kernel knows it now.
pub(crate) fn own() -> i32 {
    super::clone::getpid()
}

/// Our parent's pid; 0 where our pid namespace does not show it.
pub(crate) fn parent() -> i32 {
    // SAFETY: no pointers; it cannot fail.
    int(unsafe { call!(SYS_getppid) }.unwrap_or(0))
}

/// Our session and our process group.
pub(crate) fn home() -> [i32; 2] {
    // SAFETY: no pointers; they cannot fail for the caller.
    unsafe {
        [
            int(call!(SYS_getsid, word(0)).unwrap_or(0)),
            int(call!(SYS_getpgid, word(0)).unwrap_or(0)),
        ]
    }
}
