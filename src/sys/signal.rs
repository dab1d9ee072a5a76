//! kill(2), and the state of SIGCHLD.

use super::error::{Call, Error};

pub(crate) fn kill(pid: i32, signum: i32) -> Result<(), Error> {
    // SAFETY: no memory is passed.
    Call::kill
        .result(unsafe { libc::kill(pid, signum) })
        .map(drop)
}

/// The process group of a process. It must not be reaped.
pub(crate) fn group_of(pid: i32) -> Option<i32> {
    // SAFETY: no memory is passed.
    let group = unsafe { libc::getpgid(pid) };
    (group > 0).then_some(group)
}

/// Whether a process leads its process group. It must not be reaped.
pub(crate) fn leads_group(pid: i32) -> bool {
    // SAFETY: no memory is passed.
    unsafe { libc::getpgid(pid) == pid }
}

/// Whether `signum` is 0 or a signal.
pub(crate) fn is_signal(signum: i32) -> bool {
    (0..=libc::SIGRTMAX()).contains(&signum)
}

/// Ignores the signals that a terminal sends, or somebody who ends a whole process group:
/// this process ends with another one, and not before it. All others get their default.
/// Rust's runtime has handlers for SIGSEGV and SIGBUS, with which a process survives the
/// first such signal that it is sent; and were SIGCHLD ignored, our children would leave no
/// status.
pub(crate) fn ignore_terminal() {
    for signum in 1..=libc::SIGRTMAX() {
        let handler = match signum {
            libc::SIGHUP
            | libc::SIGINT
            | libc::SIGQUIT
            | libc::SIGTERM
            | libc::SIGTSTP
            | libc::SIGTTIN
            | libc::SIGTTOU
            | libc::SIGPIPE
            | libc::SIGALRM
            | libc::SIGUSR1
            | libc::SIGUSR2 => libc::SIG_IGN,
            _ => libc::SIG_DFL,
        };
        // SAFETY: no handler is set.
        unsafe { libc::signal(signum, handler) };
    }
}

/// The signals that are not at their default, a bit for each.
pub(crate) fn changed() -> u64 {
    let mut changed = 0;
    for signum in 1..=64 {
        // Room for the kernel's struct sigaction of each architecture; its first word is the
        // handler. By the system call, as libc's function refuses the signals that libc keeps
        // to itself.
        let mut action = [0_u64; 8];
        // SAFETY: reads only, and writes less than the array.
        let code = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signum,
                std::ptr::null::<u64>(),
                action.as_mut_ptr(),
                size_of::<u64>(),
            )
        };
        // Flags do not count: signal(3) sets some even with the default, and an exec clears
        // them.
        if code != 0 || action[0] != 0 {
            changed |= 1 << (signum - 1);
        }
    }
    changed
}

/// Sends this process SIGCHLD, as a way to wake the loop that takes it.
///
/// With the default disposition the signal is dropped unless the main thread blocks it,
/// and that thread may have ended without blocking it. So where this thread blocks it,
/// the signal is sent to the process by way of this thread, whose mask counts then (Linux
/// 6.9).
pub(crate) fn raise_sigchld() {
    // SAFETY: no memory is passed.
    let (pid, tid) = unsafe { (libc::getpid(), libc::gettid()) };
    if pid == tid || !sigchld_blocked() || !by_way_of(tid) {
        // SAFETY: as above.
        unsafe { libc::kill(pid, libc::SIGCHLD) };
    }
}

const PIDFD_SIGNAL_THREAD_GROUP: u32 = 1 << 1;

/// Sends the process of a thread of ours SIGCHLD; false where the kernel cannot.
fn by_way_of(tid: i32) -> bool {
    // SAFETY: no memory is passed but a NULL, which is allowed; the descriptor is ours.
    unsafe {
        let thread = libc::syscall(libc::SYS_pidfd_open, tid, libc::PIDFD_THREAD);
        if thread < 0 {
            return false;
        }
        let sent = libc::syscall(
            libc::SYS_pidfd_send_signal,
            thread,
            libc::SIGCHLD,
            std::ptr::null_mut::<libc::siginfo_t>(),
            PIDFD_SIGNAL_THREAD_GROUP,
        );
        libc::syscall(libc::SYS_close, thread);
        sent == 0
    }
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
    let mut mask = 0u64;
    // SAFETY: writes a set of so many bytes.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK,
            0usize,
            &raw mut mask,
            size_of_val(&mask),
        )
    };
    mask & SIGCHLD != 0
}

/// Whether SIGCHLD waits to be taken by the calling thread.
pub(crate) fn sigchld_pending() -> bool {
    is_pending(libc::SIGCHLD)
}

/// Whether a signal waits to be taken by the calling thread.
pub(crate) fn is_pending(signal: i32) -> bool {
    let mut pending = 0u64;
    // SAFETY: as above.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigpending,
            &raw mut pending,
            size_of_val(&pending),
        )
    };
    pending & 1 << (signal - 1) != 0
}

/// SIGCHLD's bit in the kernel's signal sets, which have eight bytes.
const SIGCHLD: u64 = 1 << (libc::SIGCHLD - 1);

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    use super::*;
    use crate::sys::{seqpacket, zygote};

    #[test]
    fn a_server_has_changed_no_signals_but_those_of_a_terminal() {
        let (ours, theirs) = seqpacket::pair().unwrap();
        let pid = zygote::fork(&theirs, |told| {
            seqpacket::send(told.as_fd(), &changed().to_ne_bytes(), &[]).map_or(1, |()| 0)
        })
        .unwrap();
        let pid = Pid::from_raw(pid);
        assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 0)));
        let mut bytes = [0; 8];
        seqpacket::receive_one(ours.as_fd(), &mut bytes, &mut None).unwrap();
        // The C library does not let its own two be set.
        let changed = u64::from_ne_bytes(bytes) & !(0b11 << 31);
        assert_eq!(changed.count_ones(), 11);
    }
}
