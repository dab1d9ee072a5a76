//! clone(2) and clone3(2): a process that runs a [`Program`], and its pidfd.
//!
//! The child's exit signal is 0 until it execs; then the kernel makes it SIGCHLD. So other
//! code does not notice a child that fails before its exec: it sends no SIGCHLD, and
//! waitpid(-1) does not find it. A held child has SIGCHLD from the start, because it may be
//! killed while it is held, and that end is to be told.

#[cfg(sss_syscall_instruction)]
use std::arch::asm;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr::null;

use super::child::{child_main, prepare};
use super::error::{Call, During, Error};
use super::fd::above_standard;
use super::mmap::{Shared, Stack};
use super::program::{Program, Report, Start};
use super::robust::{Latch, Latches, Wait};
use super::syscall::{address, call, int, word};
use super::zygote::Hook;
use super::{pidfd, signal};

/// How a child is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manner {
    /// Share memory as vfork(2) does; otherwise copy it as fork(2) does.
    pub(crate) share_memory: bool,
    /// Whether the descriptor table too is the parent's at first.
    pub(crate) share_files: bool,
    pub(crate) pidfd: Pidfd,
    /// The directory of the cgroup that the child starts in.
    pub(crate) cgroup: Option<i32>,
}

/// Where a child's pidfd comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pidfd {
    None,
    /// clone gives it with the child (CLONE_PIDFD).
    Clone,
    /// It is opened for a forked child that has not execed yet, which nobody
    /// else can have reaped.
    Open,
}

/// A new process: execed, or held.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) pidfd: Option<OwnedFd>,
    /// Where a held child will report what happens to it.
    pub(crate) meeting: Option<Shared<Meeting>>,
}

/// Why there is no process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was no memory for a stack or a shared page.
    Memory(Error),
    /// The kernel made none.
    Clone(Error),
    /// It failed at an op of its program, with an errno, or was killed before it execed.
    /// `pid` is 0 unless others could have waited for it.
    Child {
        pid: i32,
        failed: Option<(u32, i32)>,
    },
}

/// What a forked child and its parent share.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Meeting {
    latches: Latches,
    report: Report,
}

// SAFETY: the pointers in it are the kernel's and the child's; Rust follows none.
unsafe impl Sync for Meeting {}

/// Runs `program` in a new process. Returns once it has execed, is held or is no
/// more; the calling thread's signals are blocked while it shares our memory.
pub(crate) fn start(program: &Program, manner: Manner) -> Result<Child, Failure> {
    if manner.share_memory {
        vfork(program, manner)
    } else {
        fork(program, manner)
    }
}

fn vfork(program: &Program, manner: Manner) -> Result<Child, Failure> {
    let stack = Stack::take().map_err(Failure::Memory)?;
    let report = Report::default();
    stack.leave(address(&raw const report));
    let start = program.start(&report, null());
    let blocked = AllBlocked::begin();
    let (pid, pidfd) = clone(&start, manner, Some(&stack), 0).map_err(Failure::Clone)?;
    settle(pid, &report)?;
    report
        .stops()
        .for_each(|signal| pass_on(pid, pidfd.as_ref(), signal));
    drop(blocked);
    Ok(Child {
        pid,
        pidfd,
        meeting: None,
    })
}

/// Sends the child a stop signal that it was sent before its exec, as ^Z sends it to each
/// process of a terminal's foreground group. Not if that is over already: where the
/// signal was sent to us too and is not pending any more, we have been stopped and
/// continued since, and the child with us.
fn pass_on(pid: i32, pidfd: Option<&OwnedFd>, signal: i32) {
    // SAFETY: no pointers.
    let group = |pid| unsafe { call!(SYS_getpgid, word(pid)) };
    if group(pid) == group(0) && !signal::is_pending(signal) {
        return;
    }
    let _ = match pidfd {
        Some(pidfd) => pidfd::send_signal(pidfd.as_fd(), signal),
        None => signal::kill(pid, signal),
    };
}

fn fork(program: &Program, manner: Manner) -> Result<Child, Failure> {
    // SAFETY: atomics and pointers, for all of which zero is valid.
    let meeting = unsafe { Shared::<Meeting>::zeroed() }.map_err(Failure::Memory)?;
    // SAFETY: zeroed just now, mapped until the child has left it.
    unsafe { Latches::link(&raw mut (*meeting.as_ptr()).latches) };
    let start = program.start(&meeting.report, &raw const meeting.latches);
    let held = program.is_held();
    let exit_signal = if held { libc::SIGCHLD } else { 0 };
    let blocked = AllBlocked::begin();
    let (pid, pidfd) = clone(&start, manner, None, exit_signal).map_err(Failure::Clone)?;
    drop(blocked);
    let pidfd = match manner.pidfd {
        Pidfd::None => None,
        Pidfd::Clone | Pidfd::Open => pidfd.or_else(|| pidfd::open(pid).ok()),
    };
    if !held {
        wait(&meeting.latches.gone, pid);
        settle(pid, &meeting.report)?;
        return Ok(Child {
            pid,
            pidfd,
            meeting: None,
        });
    }
    if wait(&meeting.latches.ready, pid) == Wait::Open {
        return Ok(Child {
            pid,
            pidfd,
            meeting: Some(meeting),
        });
    }
    reap(pid);
    let failed = meeting.report.failure();
    Err(Failure::Child { pid, failed })
}

/// Runs `program` in a new process that reports by itself ([`Program::write_on_failure`])
/// and is waited for by its parent: with `siblings` that is the parent of the calling
/// process. One that shares our memory has execed or is no more when this returns, and it
/// is known whether it came to its exec. Any other one has just begun.
pub(crate) fn post(
    program: &Program,
    manner: Manner,
    siblings: bool,
) -> Result<(i32, Option<OwnedFd>, bool), Failure> {
    let stack = manner.share_memory.then(Stack::take).transpose();
    let stack = stack.map_err(Failure::Memory)?;
    let report = Report::default();
    if let Some(stack) = &stack {
        stack.leave(address(&raw const report));
    }
    let start = program.start(&report, null());
    // The kernel gives a sibling our own exit signal, whatever is asked for.
    let more = if siblings {
        libc::CLONE_PARENT
    } else {
        libc::SIGCHLD
    };
    let (pid, pidfd) = clone(&start, manner, stack.as_ref(), more).map_err(Failure::Clone)?;
    // Passes on stop signals that it was sent before its exec.
    for signal in report.stops() {
        let _ = signal::kill(pid, signal);
    }
    Ok((pid, pidfd, report.came_to_exec()))
}

/// The same for a process that runs a function of the daemon's: by libc's fork, so that
/// libc works in it.
pub(crate) fn post_function(
    program: &Program,
    function: Hook,
) -> Result<(i32, Option<OwnedFd>), Error> {
    let report = Report::default();
    let start = program.start(&report, null());
    let blocked = AllBlocked::begin();
    // SAFETY: the child does what the program says, then calls the function, and ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: a new process with all signals blocked; the pointers are copies.
        unsafe {
            prepare(&start);
            std::mem::forget(blocked);
            libc::_exit(function.run());
        }
    }
    let pid = Call::fork.result(pid)?;
    // The server reaps it only when it is asked to, so the pid is still its own.
    Ok((pid, pidfd::open(pid).ok()))
}

/// Finds out whether the child has execed, or has failed or was killed: then it is
/// reaped.
fn settle(pid: i32, report: &Report) -> Result<(), Failure> {
    let failed = report.failure();
    if failed.is_some() {
        reap(pid);
        return Err(Failure::Child { pid: 0, failed });
    }
    // With __WCLONE only a child that has not execed is waited for, and one that
    // has left us without exec is about to end.
    match wait_for(pid, libc::WEXITED | libc::__WCLONE) {
        Ok(_) => Err(Failure::Child { pid: 0, failed }),
        Err(_) => Ok(()),
    }
}

fn reap(pid: i32) {
    // ECHILD: another waitpid of this process has reaped the held child.
    let _ = wait_for(pid, libc::WEXITED | libc::__WALL);
}

/// The si_code of the child's change, 0 if there is none.
fn wait_for(pid: i32, options: i32) -> Result<i32, i32> {
    // SAFETY: all zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: a siginfo_t of this frame.
        let waited = unsafe {
            call!(
                SYS_waitid,
                libc::P_PID as usize,
                word(pid),
                address(&raw mut info),
                word(options)
            )
        };
        match waited {
            Ok(_) => return Ok(info.si_code),
            Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// How long a wait relies on the kernel's wake-up before it looks by itself.
const LOOK_MILLISECONDS: u32 = 20;

/// Waits until the latch opens or its owner has left.
fn wait(latch: &Latch, pid: i32) -> Wait {
    loop {
        let state = latch.wait(LOOK_MILLISECONDS);
        if state != Wait::TimedOut {
            return state;
        }
        match condition(pid) {
            Condition::Running => {}
            Condition::Ended => return Wait::Left,
            Condition::Stopped => resume(latch, pid),
        }
    }
}

/// A child that already runs under another uid can be stopped by that user, which must
/// not block its parent. The latch is still closed, so the stop came before the exec.
fn resume(latch: &Latch, pid: i32) {
    if latch.state() != Wait::TimedOut {
        return;
    }
    // SAFETY: no pointers.
    let _ = unsafe { call!(SYS_kill, word(pid), word(libc::SIGCONT)) };
}

enum Condition {
    Running,
    Stopped,
    Ended,
}

fn condition(pid: i32) -> Condition {
    let options = libc::WEXITED | libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    match wait_for(pid, options) {
        Ok(libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED) | Err(_) => Condition::Ended,
        Ok(libc::CLD_STOPPED) => Condition::Stopped,
        Ok(_) => Condition::Running,
    }
}

impl Shared<Meeting> {
    /// Whether the held child is still there.
    pub(crate) fn is_alive(&self, pid: i32) -> bool {
        self.latches.gone.state() == Wait::TimedOut && !matches!(condition(pid), Condition::Ended)
    }

    /// Waits for the exec of a child that was let go, or its errno.
    pub(crate) fn execed(&self, pid: i32) -> Result<(), i32> {
        wait(&self.latches.gone, pid);
        self.report
            .failure()
            .map_or(Ok(()), |(_, errno)| Err(errno))
    }
}

/// Our own pid, as the kernel knows it now.
pub(crate) fn getpid() -> i32 {
    // SAFETY: no pointers; it cannot fail.
    int(unsafe { call!(SYS_getpid) }.unwrap_or(0))
}

/// All signals blocked, also those that libc keeps to itself: neither a handler
/// nor a cancellation runs on memory that a child is using.
pub(super) struct AllBlocked {
    old: u64,
}

impl AllBlocked {
    pub(super) fn begin() -> Self {
        let all = u64::MAX;
        let mut old = 0;
        // SAFETY: two masks of this frame.
        let _ = unsafe {
            call!(
                SYS_rt_sigprocmask,
                word(libc::SIG_SETMASK),
                address(&raw const all),
                address(&raw mut old),
                size_of::<u64>()
            )
        };
        AllBlocked { old }
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        // SAFETY: a mask of ours.
        let _ = unsafe {
            call!(
                SYS_rt_sigprocmask,
                word(libc::SIG_SETMASK),
                address(&raw const self.old),
                0,
                size_of::<u64>()
            )
        };
    }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// struct clone_args of linux/sched.h; libc has none on s390x.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes the process, which begins in [`child_main`]: on `stack`, or without one
/// on a copy of this thread's. The caller has blocked all signals.
fn clone(
    start: &Start,
    manner: Manner,
    stack: Option<&Stack>,
    exit_signal: i32,
) -> Result<(i32, Option<OwnedFd>), Error> {
    let mut pidfd = -1_i32;
    let mut flags = 0;
    if manner.share_memory {
        flags |= libc::CLONE_VM | libc::CLONE_VFORK;
    }
    if manner.share_files {
        flags |= libc::CLONE_FILES;
    }
    if manner.pidfd == Pidfd::Clone {
        flags |= libc::CLONE_PIDFD;
    }
    let flags = word(flags);
    let (bottom, length) = stack.map_or((0, 0), |stack| (stack.bottom(), stack.len()));
    let pid = if let Some(cgroup) = manner.cgroup {
        let args = CloneArgs {
            flags: flags as u64 | CLONE_INTO_CGROUP,
            pidfd: address(&raw mut pidfd) as u64,
            exit_signal: word(exit_signal) as u64,
            stack: bottom as u64,
            stack_size: length as u64,
            cgroup: word(cgroup) as u64,
            ..CloneArgs::default()
        };
        let args = [address(&raw const args), size_of::<CloneArgs>(), 0];
        // SAFETY: valid arguments; the child's stack is its own and its Start,
        // in this frame, is either copied or kept until the child has left.
        unsafe { enter(libc::SYS_clone3, args, start) }
    } else {
        let top = bottom + length;
        let mut args = [flags | word(exit_signal), top, address(&raw mut pidfd)];
        if cfg!(target_arch = "s390x") {
            args.swap(0, 1); // see clone(2), C library/kernel differences
        }
        // SAFETY: as above.
        unsafe { enter(libc::SYS_clone, args, start) }
    }
    .during(Call::clone)?;
    // An old kernel ignores CLONE_PIDFD and leaves the number at -1.
    // SAFETY: else the kernel gave it to us just now.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    // If it cannot be moved above the standard descriptors there is none, as if no
    // descriptor were left.
    let pidfd = pidfd.and_then(|pidfd| above_standard(pidfd).ok());
    Ok((int(pid), pidfd))
}

/// The system call in the parent, and a call of [`child_main`] in the child.
///
/// # Safety
/// The arguments make a process, not a thread; its stack, if not a copy of this
/// one, is its own, and `start` holds until it has left our memory.
#[cfg(all(sss_syscall_instruction, target_arch = "x86_64"))]
#[inline(never)]
unsafe fn enter(
    number: libc::c_long,
    [a, b, c]: [usize; 3],
    start: *const Start,
) -> Result<usize, i32> {
    let result: isize;
    // SAFETY: the parent's registers are the kernel's to keep; the child leaves
    // by the call, on an aligned stack.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call {child}",
            "ud2",
            "2:",
            child = sym child_main,
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") 0_usize,
            in("r8") 0_usize,
            in("r12") start,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    super::syscall::outcome(result)
}

/// The system call in the parent, and a call of [`child_main`] in the child.
///
/// # Safety
/// The arguments make a process, not a thread; its stack, if not a copy of this
/// one, is its own, and `start` holds until it has left our memory.
#[cfg(all(sss_syscall_instruction, target_arch = "aarch64"))]
#[inline(never)]
unsafe fn enter(
    number: libc::c_long,
    [a, b, c]: [usize; 3],
    start: *const Start,
) -> Result<usize, i32> {
    let result: isize;
    // SAFETY: the parent's registers are the kernel's to keep; the child leaves
    // by the call, on an aligned stack.
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x20",
            "bl {child}",
            "brk #1",
            "2:",
            child = sym child_main,
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") 0_usize,
            in("x4") 0_usize,
            in("x20") start,
            lateout("x30") _,
        );
    }
    super::syscall::outcome(result)
}

/// The system call in the parent, and a call of [`child_main`] in the child.
///
/// # Safety
/// The arguments make a process, not a thread, with a copy of our memory.
#[cfg(not(sss_syscall_instruction))]
unsafe fn enter(
    number: libc::c_long,
    [a, b, c]: [usize; 3],
    start: *const Start,
) -> Result<usize, i32> {
    // SAFETY: as the caller promises; the child goes on with a copy of this stack.
    unsafe {
        let result = super::syscall::raw(number, [a, b, c, 0, 0, 0]);
        if result == 0 {
            child_main(start);
        }
        super::syscall::outcome(result)
    }
}
