//! pipe(2), and reading and writing without blocking and without SIGPIPE.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::error::{Call, During, Error};
use super::file;

/// The end that the library keeps, which does not block, and the child's.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) ours: OwnedFd,
    pub(crate) childs: OwnedFd,
}

impl Pipe {
    /// The child writes, the library reads.
    pub(crate) fn from_child() -> Result<Self, Error> {
        let (ours, childs) = file::pipe()?;
        Self { ours, childs }.ready()
    }

    /// The library writes, the child reads.
    pub(crate) fn to_child() -> Result<Self, Error> {
        let (childs, ours) = file::pipe()?;
        Self { ours, childs }.ready()
    }

    fn ready(self) -> Result<Self, Error> {
        fcntl(&self.ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).during(Call::fcntl)?;
        // A large pipe means fewer turns of the loop for much data. A user whose pipes
        // hold too much already gets the usual size.
        let _ = fcntl(&self.ours, FcntlArg::F_SETPIPE_SZ(SIZE));
        Ok(self)
    }
}

/// How much a pipe is to hold.
const SIZE: i32 = 256 * 1024;

/// Appends to `buffer` what is there to read, as much as it has room for, and
/// `most` at most. 0 at the end of the file, None where there is nothing now.
pub(crate) fn read(
    from: BorrowedFd,
    buffer: &mut Vec<u8>,
    most: usize,
) -> Result<Option<usize>, Error> {
    now(|| file::read_onto(from, buffer, most))
}

/// What a call on a descriptor that does not block says; None where it would block.
fn now(mut call: impl FnMut() -> Result<usize, Error>) -> Result<Option<usize>, Error> {
    loop {
        match call() {
            Err(error) if error == Errno::EAGAIN => return Ok(None),
            Err(error) if error == Errno::EINTR => {}
            done => return done.map(Some),
        }
    }
}

/// How many bytes there are to read.
pub(crate) fn unread(from: BorrowedFd) -> usize {
    let mut count = 0;
    // SAFETY: writes an int of this frame.
    let asked = unsafe { libc::ioctl(from.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    match asked {
        0 => usize::try_from(count).unwrap_or(0),
        _ => 0,
    }
}

/// Reads and drops bytes that nobody wants.
pub(crate) fn skip(from: BorrowedFd) -> Result<Option<usize>, Error> {
    let mut nowhere = [0u8; 16 * 1024];
    now(|| nix::unistd::read(from, &mut nowhere).during(Call::read))
}

/// Writes as much as there is room for: None where there is none now, EPIPE where
/// nobody reads any more. The thread must have begun [`NoSigpipe`].
pub(crate) fn write(
    to: BorrowedFd,
    bytes: &[u8],
    quiet: &mut NoSigpipe,
) -> Result<Option<usize>, Error> {
    let put = now(|| file::write(to, bytes));
    quiet.raised |= put.is_err_and(|error| error == Errno::EPIPE);
    put
}

/// Keeps the SIGPIPE of a write from the daemon: blocked in this thread, and
/// taken back if it was raised. One that was pending before stays.
pub(crate) struct NoSigpipe {
    former: libc::sigset_t,
    was_pending: bool,
    raised: bool,
}

impl NoSigpipe {
    pub(crate) fn begin() -> Self {
        let set = sigpipe();
        // SAFETY: sets are plain data, for which zeros are valid.
        let (mut former, mut pending): (libc::sigset_t, libc::sigset_t) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        // SAFETY: all three outlive the calls.
        let was_pending = unsafe {
            libc::sigpending(&raw mut pending);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut former);
            libc::sigismember(&raw const pending, libc::SIGPIPE) == 1
        };
        NoSigpipe {
            former,
            was_pending,
            raised: false,
        }
    }
}

impl Drop for NoSigpipe {
    fn drop(&mut self) {
        let set = sigpipe();
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: all of it outlives the calls.
        unsafe {
            if self.raised && !self.was_pending {
                libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const now);
            }
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.former,
                std::ptr::null_mut(),
            );
        }
    }
}

fn sigpipe() -> libc::sigset_t {
    // SAFETY: plain data, for which zeros are valid; the set outlives the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGPIPE);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_reader_that_is_gone_raises_nothing() {
        let pipe = Pipe::to_child().unwrap();
        drop(pipe.childs);
        // The test's runtime ignores SIGPIPE, which this test needs raised.
        // SAFETY: no handler, and this test alone looks at the signal.
        let former = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let mut quiet = NoSigpipe::begin();
        // Another test may have forked a child with a copy of the end that was dropped.
        let put = loop {
            match write(pipe.ours.as_fd(), b"x", &mut quiet) {
                Ok(_) => std::thread::yield_now(),
                failed => break failed,
            }
        };
        drop(quiet);
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGPIPE, former) };
        assert_eq!(put, Err(Errno::EPIPE.into()));
    }

    #[test]
    fn neither_end_blocks() {
        let pipe = Pipe::from_child().unwrap();
        let mut buffer = Vec::with_capacity(4);
        assert_eq!(read(pipe.ours.as_fd(), &mut buffer, 9), Ok(None));
        let mut quiet = NoSigpipe::begin();
        let put = write(pipe.childs.as_fd(), b"abcdef", &mut quiet);
        assert_eq!(put, Ok(Some(6)));
        assert_eq!(unread(pipe.ours.as_fd()), 6);
        assert_eq!(read(pipe.ours.as_fd(), &mut buffer, 3), Ok(Some(3)));
        assert_eq!(buffer, b"abc");
        assert_eq!(skip(pipe.ours.as_fd()), Ok(Some(3)));
        assert_eq!(skip(pipe.ours.as_fd()), Ok(None));
        drop(pipe.childs);
        // Another test may have forked a child with a copy of the end that was dropped.
        let end = loop {
            match skip(pipe.ours.as_fd()) {
                Ok(None) => std::thread::yield_now(),
                end => break end,
            }
        };
        assert_eq!(end, Ok(Some(0)));
    }
}
