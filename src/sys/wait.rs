//! waitpid(2) and waitid(2). No wait here blocks, but for one that was killed.
//!
//! The calls are made without libc, because of errno. A wait that finds no child is an
//! error, and libc would write errno, on a page that hardly anything else writes. After
//! each fork(2) of the daemon the first write to a page costs a fault.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::error::{Call, During, Error};
use super::syscall::{address, call, id, int, word};
use super::usage::Usage;

fn waitid(kind: libc::idtype_t, whom: libc::id_t, options: i32) -> Result<libc::siginfo_t, Error> {
    waitid_usage(kind, whom, options, std::ptr::null_mut())
}

/// `usage` is NULL or written.
fn waitid_usage(
    kind: libc::idtype_t,
    whom: libc::id_t,
    options: i32,
    usage: *mut libc::rusage,
) -> Result<libc::siginfo_t, Error> {
    // SAFETY: siginfo_t is plain data, for which zeros are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `info` outlives the call, as does `usage`.
        let waited = unsafe {
            call!(
                SYS_waitid,
                id(kind),
                id(whom),
                address(&raw mut info),
                word(options),
                address(usage)
            )
        };
        match waited {
            Ok(_) => return Ok(info),
            Err(libc::EINTR) => {}
            failed => return failed.during(Call::waitid).map(|_| info),
        }
    }
}

fn pid_of(info: &libc::siginfo_t) -> i32 {
    // SAFETY: waitid fills it in, or leaves the zero.
    unsafe { info.si_pid() }
}

/// Looks at a child, which stays a zombie if it has ended; also at one that was cloned without
/// SIGCHLD, which only __WALL sees. The pid in what is returned is 0 while it lives.
fn look_at(kind: libc::idtype_t, whom: libc::id_t) -> Result<libc::siginfo_t, Error> {
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    waitid(kind, whom, look)
}

/// Whether `pid` is a child of ours, reaped by nobody.
pub(crate) fn is_child_pid(pid: i32) -> bool {
    look_at(libc::P_PID, pid.unsigned_abs()).is_ok()
}

/// The raw status of a child that has ended and that nobody has waited for. It stays a
/// zombie.
pub(crate) fn dead_status(pid: i32) -> Option<i32> {
    let info = look_at(libc::P_PID, pid.unsigned_abs()).ok()?;
    (pid_of(&info) != 0).then(|| status_of(&info)).flatten()
}

/// Whether the process behind a pidfd is a child of ours, reaped by nobody. EBADF
/// where this is no pidfd, EINVAL where the kernel cannot wait for one (Linux 5.3).
pub(crate) fn holds_child(pidfd: BorrowedFd) -> Result<bool, Error> {
    match look_at(libc::P_PIDFD, raw(pidfd)) {
        Ok(_) => Ok(true),
        Err(error) if error == Errno::ECHILD => Ok(false),
        Err(error) => Err(error),
    }
}

/// The same, where a doubt means no.
pub(crate) fn is_child(pidfd: BorrowedFd) -> bool {
    holds_child(pidfd) == Ok(true)
}

/// Whether `pid` is a child of ours that has not ended.
pub(crate) fn lives(pid: i32) -> bool {
    look_at(libc::P_PID, pid.unsigned_abs()).is_ok_and(|info| pid_of(&info) == 0)
}

/// Whether `pid` is a child of ours that has ended and that nobody has waited for.
pub(crate) fn is_dead(pid: i32) -> bool {
    look_at(libc::P_PID, pid.unsigned_abs()).is_ok_and(|info| pid_of(&info) != 0)
}

/// waitpid(2) with `options | WNOHANG`: a pid and its raw status, or None
/// where nothing has changed. `pid` -1 means any child.
pub(crate) fn waitpid(pid: i32, options: i32) -> Result<Option<(i32, i32)>, Error> {
    let mut status = 0;
    let options = options | libc::WNOHANG;
    loop {
        // SAFETY: `status` outlives the call.
        let found = unsafe {
            call!(
                SYS_wait4,
                word(pid),
                address(&raw mut status),
                word(options)
            )
        };
        match found.map_err(Errno::from_raw) {
            Ok(0) => return Ok(None),
            Ok(found) => return Ok(Some((int(found), status))),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Call::waitpid.failed(errno)),
        }
    }
}

/// The same, and what the child has used.
pub(crate) fn waitpid_usage(pid: i32, options: i32) -> Result<Option<(i32, i32, Usage)>, Error> {
    let mut status = 0;
    // SAFETY: integers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let options = options | libc::WNOHANG;
    loop {
        // SAFETY: both outlive the call.
        let found = unsafe {
            call!(
                SYS_wait4,
                word(pid),
                address(&raw mut status),
                word(options),
                address(&raw mut usage)
            )
        };
        match found.map_err(Errno::from_raw) {
            Ok(0) => return Ok(None),
            Ok(found) => return Ok(Some((int(found), status, Usage::from(&usage)))),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Call::waitpid.failed(errno)),
        }
    }
}

/// A child that has ended and that nobody has waited for. It stays a zombie.
pub(crate) fn any_dead() -> Result<Option<i32>, Error> {
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let pid = pid_of(&waitid(libc::P_ALL, 0, look)?);
    Ok((pid != 0).then_some(pid))
}

/// Reaps the process behind a pidfd: its raw wait status, or None where it lives or a
/// tracer still holds the zombie.
pub(crate) fn reap(pidfd: BorrowedFd) -> Result<Option<i32>, Error> {
    let options = libc::WEXITED | libc::WNOHANG | libc::__WALL;
    let info = waitid(libc::P_PIDFD, raw(pidfd), options)?;
    Ok((pid_of(&info) != 0).then(|| status_of(&info)).flatten())
}

/// The same, and what the process has used.
pub(crate) fn reap_usage(pidfd: BorrowedFd) -> Result<Option<(i32, Usage)>, Error> {
    let options = libc::WEXITED | libc::WNOHANG | libc::__WALL;
    // SAFETY: integers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let info = waitid_usage(libc::P_PIDFD, raw(pidfd), options, &raw mut usage)?;
    let status = (pid_of(&info) != 0).then(|| status_of(&info)).flatten();
    Ok(status.map(|status| (status, Usage::from(&usage))))
}

/// The raw status of a child that has ended and stays a zombie, and what it has used;
/// None where it lives or a tracer still holds the zombie.
pub(crate) fn look(pidfd: BorrowedFd) -> Result<Option<(i32, Usage)>, Error> {
    peek(libc::P_PIDFD, raw(pidfd), libc::__WALL)
}

/// The same by pid. ECHILD also for a child that was cloned without SIGCHLD.
pub(crate) fn look_pid(pid: i32) -> Result<Option<(i32, Usage)>, Error> {
    peek(libc::P_PID, pid.unsigned_abs(), 0)
}

/// The same for a child that may send no SIGCHLD.
pub(crate) fn look_mute(pid: i32) -> Result<Option<(i32, Usage)>, Error> {
    peek(libc::P_PID, pid.unsigned_abs(), libc::__WALL)
}

fn peek(kind: libc::idtype_t, whom: libc::id_t, more: i32) -> Result<Option<(i32, Usage)>, Error> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | more;
    // SAFETY: integers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let info = waitid_usage(kind, whom, options, &raw mut usage)?;
    let status = (pid_of(&info) != 0).then(|| status_of(&info)).flatten();
    Ok(status.map(|status| (status, Usage::from(&usage))))
}

/// Waits for a stop or a continue, never for an end: WUNTRACED and WCONTINUED in
/// `options` say for which. The raw status.
pub(crate) fn jobs(pid: i32, options: i32) -> Result<Option<i32>, Error> {
    // WUNTRACED and WSTOPPED are the same bit.
    let options = options & (libc::WSTOPPED | libc::WCONTINUED) | libc::WNOHANG;
    let info = waitid(libc::P_PID, pid.unsigned_abs(), options)?;
    if pid_of(&info) == 0 {
        return Ok(None);
    }
    // SAFETY: set with every CLD_ code.
    let status = unsafe { info.si_status() };
    Ok(match info.si_code {
        libc::CLD_STOPPED | libc::CLD_TRAPPED => Some((status & 0xff) << 8 | 0x7f),
        libc::CLD_CONTINUED => Some(0xffff),
        _ => None,
    })
}

fn raw(fd: BorrowedFd) -> libc::id_t {
    fd.as_raw_fd().unsigned_abs()
}

/// The raw status that waitpid would have given. WEXITED also returns a traced
/// child's stops, which end nothing.
fn status_of(info: &libc::siginfo_t) -> Option<i32> {
    // SAFETY: set with every CLD_ code.
    let status = unsafe { info.si_status() };
    match info.si_code {
        libc::CLD_EXITED => Some((status & 0xff) << 8),
        libc::CLD_KILLED => Some(status & 0x7f),
        libc::CLD_DUMPED => Some(status & 0x7f | 0x80),
        _ => None,
    }
}

/// Kills a child that is nobody's and waits for its end.
pub(crate) fn put_down(pid: i32) {
    // SAFETY: no memory is passed; the child is ours and not reaped.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        while libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) < 0
            && Errno::last() == Errno::EINTR
        {}
    }
}
