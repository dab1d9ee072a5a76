//! socketpair(2): the two ends of a start gate. Unlike a pipe's, its write
//! raises no SIGPIPE when the held child is dead.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::error::{Call, During, Error};
use super::fd::{above_standard, again};
use super::kept::Kept;
use super::syscall::{address, call, word};

/// The two ends, the parent's and the child's.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Error> {
    let mut fds = [-1_i32; 2];
    // SAFETY: room for two descriptors, which are ours alone afterwards.
    let (ours, childs) = unsafe {
        let place = address(fds.as_mut_ptr());
        again(|| {
            call!(
                SYS_socketpair,
                word(libc::AF_UNIX),
                word(libc::SOCK_STREAM | libc::SOCK_CLOEXEC),
                0,
                place
            )
            .during(Call::socketpair)
        })?;
        (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    };
    Ok((above_standard(ours)?, above_standard(childs)?))
}

/// Lets the child at the other end go.
pub(crate) fn open(end: &Kept) -> Result<(), Error> {
    let end = end.there()?;
    let byte = 1_u8;
    // SAFETY: one byte of this frame.
    unsafe {
        call!(
            SYS_sendto,
            word(end.as_fd().as_raw_fd()),
            address(&raw const byte),
            1,
            word(libc::MSG_NOSIGNAL)
        )
        .during(Call::sendmsg)?;
    }
    Ok(())
}

/// Lets the child at the other end see the end of file, even where processes
/// that were forked meanwhile have copies of this end.
pub(crate) fn close(end: &Kept) {
    if !end.is_there() {
        return;
    }
    // SAFETY: no pointers. It cannot fail on a socket that is connected.
    let _ = unsafe {
        call!(
            SYS_shutdown,
            word(end.as_fd().as_raw_fd()),
            word(libc::SHUT_RDWR)
        )
    };
}
