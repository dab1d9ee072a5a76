//! fcntl(2) on descriptors: which numbers the library's own have.
//!
//! A daemon that was started with 0, 1 or 2 closed gets these numbers for the next
//! descriptors that anybody opens; later it puts /dev/null there, or prints to them. So
//! each descriptor that the library keeps goes through here and gets a higher number.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::bits::{ToSigned, ToUnsigned};
use super::error::{Call, During, Error};
use super::syscall::{call, word};

/// The first number that is none of the standard descriptors.
pub(crate) const FIRST: RawFd = 3;

/// A new descriptor of ours, moved if its number is a standard one. On an error
/// it is closed.
pub(crate) fn above_standard(fd: OwnedFd) -> Result<OwnedFd, Error> {
    if fd.as_raw_fd() >= FIRST {
        return Ok(fd);
    }
    duplicate(&fd)
}

/// The function that gives back descriptors which the library can do without; null for
/// none.
static RELIEF: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// Has `relief` called where there is no descriptor left: it says whether it gave some
/// back.
pub(crate) fn relieve_by(relief: fn() -> bool) {
    RELIEF.store(relief as *mut (), Ordering::Release);
}

/// Whether some descriptors were given back.
#[cold]
#[inline(never)]
pub(crate) fn relieved() -> bool {
    let relief = RELIEF.load(Ordering::Acquire);
    if relief.is_null() {
        return false;
    }
    // SAFETY: stored by relieve_by(), as this.
    let relief: fn() -> bool = unsafe { std::mem::transmute(relief) };
    relief()
}

/// Calls `make`, and once more if there was no descriptor left and some could be given
/// back. All code of the library that opens a descriptor uses this, except under the
/// reaper's lock, where none can be given back.
pub(crate) fn again<T, E: PartialEq<Errno>>(make: impl Fn() -> Result<T, E>) -> Result<T, E> {
    match make() {
        Err(error) if error == Errno::EMFILE && relieved() => make(),
        made => made,
    }
}

/// A close-on-exec duplicate above the standard descriptors.
pub(crate) fn duplicate(fd: impl AsFd) -> Result<OwnedFd, Error> {
    duplicate_from(fd, FIRST)
}

/// A close-on-exec duplicate with a number that is `least` or more: EINVAL where
/// RLIMIT_NOFILE does not allow it.
pub(crate) fn duplicate_from(fd: impl AsFd, least: RawFd) -> Result<OwnedFd, Error> {
    let new = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(least.max(FIRST))).during(Call::fcntl)?;
    // SAFETY: the kernel gave it to us just now.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// The same of a descriptor that is the daemon's, by its number; EBADF where it
/// is closed.
pub(crate) fn duplicate_raw(fd: RawFd) -> Result<OwnedFd, Error> {
    if fd < 0 {
        return Err(Call::fcntl.failed(Errno::EBADF));
    }
    // SAFETY: the daemon keeps it open for this call; if not, the call says EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    again(|| duplicate(fd))
}

/// A descriptor that this process was executed with, close-on-exec from now on. Nobody
/// else in this process owns it.
pub(crate) fn inherited(fd: RawFd) -> Result<OwnedFd, Error> {
    // SAFETY: no pointers.
    let set = unsafe {
        call!(
            SYS_fcntl,
            word(fd),
            word(libc::F_SETFD),
            word(libc::FD_CLOEXEC)
        )
    };
    set.during(Call::fcntl)?;
    // SAFETY: open, as just seen, and the program's argument by agreement.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether this is open, and a child would have it after its exec.
pub(crate) fn is_inherited(fd: RawFd) -> bool {
    // SAFETY: no pointers.
    let flags = unsafe { call!(SYS_fcntl, word(fd), word(libc::F_GETFD)) };
    flags.is_ok_and(|flags| flags & (libc::FD_CLOEXEC as usize) == 0)
}

/// Whether the process has no descriptor left.
pub(crate) fn is_short() -> bool {
    // SAFETY: no pointers; one that is always there.
    let fd = unsafe { libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    if fd >= 0 {
        // SAFETY: opened just now.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        return false;
    }
    Errno::last() == Errno::EMFILE
}

/// RLIMIT_NOFILE's soft limit.
pub(crate) fn limit() -> u32 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` outlives the call.
    let code = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if code != 0 {
        return 1_024;
    }
    u32::try_from(limit.rlim_cur).unwrap_or(u32::MAX)
}

/// Whether so many descriptors more can be opened below this limit. None is opened to
/// find out, as another thread could need it meanwhile. Of a big table only the end is
/// looked at.
pub(crate) fn has_room(limit: u32, wanted: u32) -> bool {
    const LOOKED_AT: usize = 4_096;
    let free = (0..limit.min(i32::MAX.to_unsigned()))
        .rev()
        .take(LOOKED_AT)
        .filter(|fd| !is_open(fd.to_signed()));
    free.take(wanted as usize).count() == wanted as usize
}

/// Whether this is an open descriptor.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: no pointers.
    unsafe { call!(SYS_fcntl, word(fd), word(libc::F_GETFD)) }.is_ok()
}
