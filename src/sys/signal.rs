//! kill(2), and how SIGCHLD stands.

use nix::errno::Errno;

pub(crate) fn kill(pid: i32, signum: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    Errno::result(unsafe { libc::kill(pid, signum) }).map(drop)
}

/// Whether `signum` is 0 or a signal.
pub(crate) fn is_signal(signum: i32) -> bool {
    (0..=libc::SIGRTMAX()).contains(&signum)
}

/// Sends this process SIGCHLD, as a way to wake whoever takes it.
pub(crate) fn raise_sigchld() {
    // SAFETY: as above.
    unsafe { libc::kill(libc::getpid(), libc::SIGCHLD) };
}

/// What the process does with SIGCHLD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Disposition {
    handler: usize,
    flags: i32,
}

impl Disposition {
    pub(crate) fn read() -> Self {
        // SAFETY: sigaction is plain data, for which zeros are valid.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: reads only; `action` outlives the call.
        unsafe { libc::sigaction(libc::SIGCHLD, std::ptr::null(), &raw mut action) };
        Disposition {
            handler: action.sa_sigaction,
            flags: action.sa_flags,
        }
    }

    pub(crate) fn ignored(self) -> bool {
        self.handler == libc::SIG_IGN
    }

    pub(crate) fn no_zombies(self) -> bool {
        self.flags & libc::SA_NOCLDWAIT != 0
    }

    pub(crate) fn no_stops(self) -> bool {
        self.flags & libc::SA_NOCLDSTOP != 0
    }

    /// Whether children are reaped by the kernel itself.
    pub(crate) fn auto_reaps(self) -> bool {
        self.ignored() || self.no_zombies()
    }

    pub(crate) fn same_handler(self, other: Self) -> bool {
        self.handler == other.handler
    }
}

/// Whether the calling thread blocks SIGCHLD.
pub(crate) fn sigchld_blocked() -> bool {
    // SAFETY: sigset_t is plain data; both calls write it only.
    unsafe {
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut mask);
        libc::sigismember(&raw const mask, libc::SIGCHLD) == 1
    }
}
