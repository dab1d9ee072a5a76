//! What only tests ask of the kernel.

use nix::errno::Errno;

use super::bits::ToUnsigned;

/// Whether a descriptor becomes readable within so many milliseconds.
pub(crate) fn readable(fd: i32, timeout: i32) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, timeout) == 1 }
}

/// A system call that a filter refuses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    pub(crate) call: libc::c_long,
    /// Only with any of these bits in its first argument; 0: always.
    pub(crate) flags: i32,
    pub(crate) answer: Answer,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Errno(i32),
    Kill,
}

/// The offsets of the number and of the first argument's low word in the kernel's struct
/// seccomp_data.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;

/// Refuses system calls to this thread and its children, for good.
pub(crate) fn refuse(calls: &[Refused]) {
    let mut code = Vec::new();
    for refused in calls {
        code.push(load(NUMBER));
        let number = u32::try_from(refused.call).expect("a small number");
        let answer = match refused.answer {
            Answer::Errno(errno) => libc::SECCOMP_RET_ERRNO | errno.unsigned_abs(),
            Answer::Kill => libc::SECCOMP_RET_KILL_PROCESS,
        };
        if refused.flags == 0 {
            code.push(jump(libc::BPF_JEQ, number, 0, 1));
        } else {
            code.push(jump(libc::BPF_JEQ, number, 0, 3));
            code.push(load(FIRST_ARGUMENT));
            code.push(jump(libc::BPF_JSET, refused.flags.to_unsigned(), 0, 1));
        }
        code.push(answer_with(answer));
    }
    code.push(answer_with(libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog {
        len: u16::try_from(code.len()).expect("a short filter"),
        filter: code.as_mut_ptr(),
    };
    // SAFETY: a valid filter program, copied by the kernel.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
    };
    assert_eq!(installed, 0, "no filter: {}", Errno::last());
}

fn load(offset: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

fn jump(test: u32, value: u32, yes: u8, no: u8) -> libc::sock_filter {
    instruction(libc::BPF_JMP | test | libc::BPF_K, value, yes, no)
}

fn answer_with(answer: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, answer, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).expect("an opcode has 16 bits"),
        jt,
        jf,
        k,
    }
}

/// Whether this process has no child at all, whatever its exit signal.
pub(crate) fn has_no_child() -> bool {
    // SAFETY: NULL for the siginfo is allowed to the system call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_ALL,
            0,
            0,
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL,
            0,
        )
    };
    result == -1 && Errno::last() == Errno::ECHILD
}

/// setuid(2) of the whole process.
pub(crate) fn setuid(uid: u32) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::setuid(uid) }, 0);
}

/// A forked child that keeps copies of all descriptors until it is killed, a
/// minute at most.
pub(crate) fn fork_idle() -> i32 {
    // SAFETY: the child does nothing but wait for its end.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: no pointers.
        unsafe { libc::alarm(60) };
        loop {
            // SAFETY: no arguments.
            unsafe { libc::pause() };
        }
    }
    pid
}

/// The number of a pseudo-terminal, and whether its other end may be opened now.
pub(crate) fn unlock_terminal(master: &std::fs::File) -> (u32, bool) {
    use std::os::fd::AsRawFd;
    let (mut number, unlocked) = (0_u32, 0_i32);
    // SAFETY: two ints of this frame.
    let failed = unsafe {
        libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number)
            | libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked)
    };
    (number, failed == 0)
}

/// Ends this process by SIGALRM when a test hangs.
pub(crate) fn deadline(seconds: u32) {
    // SAFETY: no pointers.
    unsafe { libc::alarm(seconds) };
}
