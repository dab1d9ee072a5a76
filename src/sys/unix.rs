//! unix(7): the sockets of /dev/log and of the journal.

use std::ffi::{CStr, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::error::{Call, Error};
use super::fd::{above_standard, again};

unsafe extern "C" {
    static program_invocation_short_name: *const libc::c_char;
}

/// The program's name without its directories, as glibc and musl have it.
pub(crate) fn program_name() -> &'static CStr {
    // SAFETY: set before main() and never freed; NULL is looked for.
    unsafe {
        let name = program_invocation_short_name;
        if name.is_null() {
            return c"";
        }
        CStr::from_ptr(name)
    }
}

/// What a socket carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Datagrams,
    Stream,
}

/// A non-blocking socket, connected to this path.
#[allow(clippy::cast_possible_truncation)] // the constants and the size are small
pub(crate) fn connect(path: &CStr, kind: Kind) -> Result<OwnedFd, Error> {
    let kind = match kind {
        Kind::Datagrams => libc::SOCK_DGRAM,
        Kind::Stream => libc::SOCK_STREAM,
    };
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is passed.
    let make = || Call::socket.result(unsafe { libc::socket(libc::AF_UNIX, kind | flags, 0) });
    let fd = again(make)?;
    // SAFETY: new, and ours alone.
    let socket = above_standard(unsafe { OwnedFd::from_raw_fd(fd) })?;
    // SAFETY: plain data, for which zeros are valid.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.to_bytes_with_nul();
    if bytes.len() > address.sun_path.len() {
        return Err(Call::connect.failed(Errno::ENAMETOOLONG));
    }
    for (place, &byte) in address.sun_path.iter_mut().zip(bytes) {
        // c_char is signed on some architectures.
        *place = c_char::from_ne_bytes([byte]);
    }
    // SAFETY: an address of this size, which outlives the call.
    Call::connect.result(unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    })?;
    Ok(socket)
}

/// Sends without waiting, and without SIGPIPE.
pub(crate) fn send(socket: BorrowedFd, bytes: &[u8]) -> Result<usize, Error> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: bytes that outlive the call.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            flags,
        )
    };
    Call::sendmsg.result(sent).map(isize::unsigned_abs)
}

/// Sends two parts as one datagram, without waiting.
pub(crate) fn send_datagram(socket: BorrowedFd, parts: [&[u8]; 2]) -> Result<(), Error> {
    let vectors = parts.map(|part| libc::iovec {
        iov_base: part.as_ptr().cast_mut().cast(),
        iov_len: part.len(),
    });
    // SAFETY: plain data, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_ptr().cast_mut();
    message.msg_iovlen = vectors.len();
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the vectors and what they point to outlive the call, which only reads.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    Call::sendmsg.result(sent).map(drop)
}
