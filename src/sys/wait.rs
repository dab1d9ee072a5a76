//! waitpid(2) and waitid(2). No wait here blocks, but for one that was killed.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

fn waitid(kind: libc::idtype_t, id: libc::id_t, options: i32) -> Result<libc::siginfo_t, Errno> {
    // SAFETY: siginfo_t is plain data, for which zeros are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `info` outlives the call.
        let code = unsafe { libc::waitid(kind, id, &raw mut info, options) };
        match Errno::result(code) {
            Ok(_) => return Ok(info),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn pid_of(info: &libc::siginfo_t) -> i32 {
    // SAFETY: waitid fills it in, or leaves the zero.
    unsafe { info.si_pid() }
}

/// Whether `pid` is a child of ours, reaped by nobody; also one that was cloned
/// without SIGCHLD, which only __WALL sees.
pub(crate) fn is_child_pid(pid: i32) -> bool {
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    waitid(libc::P_PID, pid.unsigned_abs(), look).is_ok()
}

/// Whether the process behind a pidfd is a child of ours, reaped by nobody.
pub(crate) fn is_child(pidfd: BorrowedFd) -> bool {
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    waitid(libc::P_PIDFD, raw(pidfd), look).is_ok()
}

/// waitpid(2) with `options | WNOHANG`: a pid and its raw status, or None
/// where nothing has changed. `pid` -1 means any child.
pub(crate) fn waitpid(pid: i32, options: i32) -> Result<Option<(i32, i32)>, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call.
        let found = unsafe { libc::waitpid(pid, &raw mut status, options | libc::WNOHANG) };
        match Errno::result(found) {
            Ok(0) => return Ok(None),
            Ok(found) => return Ok(Some((found, status))),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Reaps the process behind a pidfd: its raw wait status, or None where it
/// lives or a tracer still holds the corpse.
pub(crate) fn reap(pidfd: BorrowedFd) -> Result<Option<i32>, Errno> {
    let options = libc::WEXITED | libc::WNOHANG | libc::__WALL;
    let info = waitid(libc::P_PIDFD, raw(pidfd), options)?;
    Ok((pid_of(&info) != 0).then(|| status_of(&info)).flatten())
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
