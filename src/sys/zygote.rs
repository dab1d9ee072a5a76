//! A process forked from the daemon that goes on in our code: the C library's own
//! fork(2), as the daemon's functions run in it.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::clone::AllBlocked;
use super::close_range::{LAST, close_range};
use super::error::{Call, Error};
use super::opaque::Opaque;
use super::signal;

/// A function of the daemon's that such a process calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook {
    pub(crate) call: unsafe extern "C" fn(pvt: *mut c_void) -> c_int,
    pub(crate) pvt: Opaque,
}

impl Hook {
    /// The addresses of the function and of what it is given, for a message.
    pub(crate) fn addresses(self) -> [u64; 2] {
        [self.call as usize as u64, self.pvt.0.addr() as u64]
    }

    /// A hook whose addresses came in a message from the process that we were forked from.
    #[allow(clippy::cast_possible_truncation, reason = "pointers have 64 bits")]
    pub(crate) fn at(entry: u64, pvt: u64) -> Self {
        // SAFETY: the sender took the address from a function of this type. We are a fork
        // of the sender, so the function is at the same address here.
        let call = unsafe {
            std::mem::transmute::<usize, unsafe extern "C" fn(*mut c_void) -> c_int>(entry as usize)
        };
        Hook {
            call,
            pvt: Opaque(std::ptr::with_exposed_provenance_mut(pvt as usize)),
        }
    }

    pub(crate) fn run(self) -> i32 {
        // SAFETY: the daemon's function with what it was given with.
        unsafe { (self.call)(self.pvt.0) }
    }
}

/// The number of the descriptor that the process is given.
const KEPT: i32 = 3;

/// Ends the process where a panic passes by, which must not return into the daemon's own
/// code: this process is a copy of it.
struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        // SAFETY: ends the process, with the exit code of Rust's own.
        unsafe { libc::_exit(101) }
    }
}

/// Forks a process that calls `run` with `kept`, and ends with what that returns. It
/// has no other descriptors than the standard ones, no handlers and no blocked
/// signals of the daemon's. The daemon should have one thread: what the others hold
/// at this moment stays locked.
pub(crate) fn fork(kept: &OwnedFd, run: impl FnOnce(OwnedFd) -> i32) -> Result<i32, Error> {
    // A signal that comes now must not run a handler of the daemon's in the child.
    let _blocked = AllBlocked::begin();
    // SAFETY: the child stays in this function until it ends.
    let pid = Call::fork.result(unsafe { libc::fork() })?;
    if pid != 0 {
        return Ok(pid);
    }
    // SAFETY: the child's own table, in which nothing else of ours is used again.
    let kept = unsafe {
        if kept.as_raw_fd() == KEPT {
            libc::fcntl(KEPT, libc::F_SETFD, libc::FD_CLOEXEC);
        } else {
            libc::dup3(kept.as_raw_fd(), KEPT, libc::O_CLOEXEC);
        }
        let _ = close_range(KEPT.unsigned_abs() + 1, LAST, false);
        default_signals();
        OwnedFd::from_raw_fd(KEPT)
    };
    let _last = Last;
    let code = run(kept);
    // SAFETY: ends the process: no handler of the daemon's runs at its exit.
    unsafe { libc::_exit(code) }
}

/// Lets in signals, which were blocked since the fork, once no handler is left.
///
/// # Safety
/// The daemon's handlers are not wanted in this process any more.
unsafe fn default_signals() {
    // SAFETY: a set of this frame; no handler is installed.
    unsafe {
        signal::ignore_terminal();
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}
