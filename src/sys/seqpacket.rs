//! unix(7): a pair of SOCK_SEQPACKET sockets, and messages with descriptors and
//! with the sender's credentials. No call here blocks, but for [`ready`]. Datagrams
//! are received in the same way.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::clock;
use super::error::{Call, Error, out_of_memory};
use super::fd::again;

/// How many descriptors one message carries at most. The kernel takes 253.
pub(crate) const DESCRIPTORS: usize = 128;

/// Room for the ancillary data of one message: rights and credentials.
const ANCILLARY: usize = 1024;

/// Aligned as struct cmsghdr has to be.
#[repr(C, align(8))]
struct Ancillary([u8; ANCILLARY]);

/// Who sent a message, as the kernel vouches for it, in our own namespaces. A
/// process that our pid namespace does not show has pid 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) pid: i32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A message that was received. Its descriptors went to the caller's list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// 0 is the end of file.
    pub(crate) length: usize,
    /// None where the socket does not pass credentials.
    pub(crate) sender: Option<Sender>,
    /// The message, or the list of its descriptors, did not fit.
    pub(crate) truncated: bool,
}

/// Two connected ends, close-on-exec and nonblocking.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Error> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let place = fds.as_mut_ptr();
    // SAFETY: room for two descriptors.
    again(|| Call::socketpair.result(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, place) }))?;
    // SAFETY: the kernel just gave them to us.
    unsafe { Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))) }
}

/// From now on the credentials of the sender come with each message that this
/// end receives.
pub(crate) fn pass_credentials(end: BorrowedFd) -> Result<(), Error> {
    let on: libc::c_int = 1;
    // SAFETY: an int of this frame, and its size.
    let code = unsafe {
        libc::setsockopt(
            end.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSCRED,
            (&raw const on).cast(),
            socklen(size_of_val(&on)),
        )
    };
    Call::setsockopt.result(code).map(drop)
}

#[allow(clippy::cast_possible_truncation, reason = "a few bytes")]
const fn socklen(length: usize) -> libc::socklen_t {
    length as libc::socklen_t
}

/// Sends one message with copies of `fds`. EAGAIN where the other end's queue is
/// full, ETOOMANYREFS where this user has too many descriptors on their way.
pub(crate) fn send(end: BorrowedFd, bytes: &[u8], fds: &[RawFd]) -> Result<(), Error> {
    if fds.len() > DESCRIPTORS {
        return Err(Call::sendmsg.failed(Errno::E2BIG));
    }
    let mut ancillary = Ancillary([0; ANCILLARY]);
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: plain data, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        let length = socklen(size_of_val(fds));
        message.msg_control = (&raw mut ancillary).cast();
        // SAFETY: computes sizes; the header lies in `ancillary`, which has room
        // for as many descriptors as were let through above.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(length) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(length) as _;
            std::ptr::copy_nonoverlapping(
                fds.as_ptr().cast::<u8>(),
                libc::CMSG_DATA(header),
                size_of_val(fds),
            );
        }
    }
    loop {
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: the message points to this frame and to what the caller lent.
        let sent = unsafe { libc::sendmsg(end.as_raw_fd(), &raw const message, flags) };
        match Errno::result(sent) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Call::sendmsg.failed(errno)),
        }
    }
}

/// Receives one message. Its descriptors, close-on-exec, are added to `fds`, which
/// is grown first: ENOMEM leaves the message where it is.
pub(crate) fn receive(
    end: BorrowedFd,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<Received, Error> {
    fds.try_reserve(DESCRIPTORS + 128).map_err(out_of_memory)?;
    receive_with(end, buffer, &mut |fd| fds.push(fd))
}

/// The same of a message that carries one descriptor at most; others are closed. It allocates
/// nothing, so it cannot fail once the kernel has handed the message over.
pub(crate) fn receive_one(
    end: BorrowedFd,
    buffer: &mut [u8],
    first: &mut Option<OwnedFd>,
) -> Result<Received, Error> {
    *first = None;
    receive_with(end, buffer, &mut |fd| {
        first.get_or_insert(fd);
    })
}

fn receive_with(
    end: BorrowedFd,
    buffer: &mut [u8],
    take: &mut dyn FnMut(OwnedFd),
) -> Result<Received, Error> {
    let mut ancillary = Ancillary([0; ANCILLARY]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: plain data, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut ancillary).cast();
    message.msg_controllen = ANCILLARY as _;
    let length = loop {
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        // SAFETY: the message points to this frame and to what the caller lent.
        let got = unsafe { libc::recvmsg(end.as_raw_fd(), &raw mut message, flags) };
        match Errno::result(got) {
            Ok(got) => break got.unsigned_abs(),
            // The other end was closed with something unread. The kernel reports that
            // once, before the messages that it has sent.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(errno) => return Err(Call::recvmsg.failed(errno)),
        }
    };
    let mut sender = None;
    // SAFETY: the kernel wrote the headers and what they describe into
    // `ancillary`; each descriptor is ours alone from now on.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(known) = header.as_ref() {
            let data = libc::CMSG_DATA(header);
            #[allow(clippy::unnecessary_cast, reason = "its type differs between libcs")]
            let length = known.cmsg_len as usize;
            let bytes = length.saturating_sub(libc::CMSG_LEN(0) as usize);
            match (known.cmsg_level, known.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for at in 0..bytes / size_of::<RawFd>() {
                        let fd = data.cast::<RawFd>().add(at).read_unaligned();
                        take(OwnedFd::from_raw_fd(fd));
                    }
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if bytes >= size_of::<libc::ucred>() => {
                    let ucred = data.cast::<libc::ucred>().read_unaligned();
                    sender = Some(Sender {
                        pid: ucred.pid,
                        uid: ucred.uid,
                        gid: ucred.gid,
                    });
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(Received {
        length,
        sender,
        truncated: message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
    })
}

/// Tells the other end that no more will be sent; it may still send.
pub(crate) fn finish(end: BorrowedFd) {
    // SAFETY: no memory is passed. It cannot fail on a connected socket.
    let _ = unsafe { libc::shutdown(end.as_raw_fd(), libc::SHUT_WR) };
}

/// What to wait for at a descriptor, and what came of it.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Wait(libc::pollfd);

impl Wait {
    pub(crate) fn readable(fd: BorrowedFd) -> Self {
        Self::new(fd.as_raw_fd(), libc::POLLIN)
    }

    pub(crate) fn writable(fd: BorrowedFd) -> Self {
        Self::new(fd.as_raw_fd(), libc::POLLOUT)
    }

    pub(crate) fn both(fd: BorrowedFd) -> Self {
        Self::new(fd.as_raw_fd(), libc::POLLIN | libc::POLLOUT)
    }

    /// Never ready.
    pub(crate) fn nothing() -> Self {
        Self::new(-1, 0)
    }

    fn new(fd: RawFd, events: i16) -> Self {
        Wait(libc::pollfd {
            fd,
            events,
            revents: 0,
        })
    }

    /// Ready, at its end, or in error.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.revents != 0
    }
}

/// Waits until one of them is ready: false where the deadline came first, in
/// nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn ready(waits: &mut [Wait], deadline: Option<u64>) -> Result<bool, Error> {
    loop {
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_sub(clock::now());
            libc::timespec {
                tv_sec: i64::try_from(left / 1_000_000_000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(left % 1_000_000_000).unwrap_or(0),
            }
        });
        let timeout = left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: as many pollfds as the count says, and a timespec of this frame.
        let polled = unsafe {
            libc::ppoll(
                waits.as_mut_ptr().cast(),
                waits.len() as libc::nfds_t,
                timeout,
                std::ptr::null(),
            )
        };
        match Errno::result(polled) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Call::poll.failed(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn what_was_sent_is_received_though_the_sender_left_something_unread() {
        let (ours, theirs) = pair().unwrap();
        send(theirs.as_fd(), b"unread", &[]).unwrap();
        send(ours.as_fd(), b"last words", &[]).unwrap();
        drop(ours);
        let mut buffer = [0; 16];
        // Another test may have forked a child with a copy of the end that was dropped.
        let mut length = || {
            loop {
                match receive(theirs.as_fd(), &mut buffer, &mut Vec::new()) {
                    Err(error) if error.errno == Errno::EAGAIN => std::thread::yield_now(),
                    got => break got.unwrap().length,
                }
            }
        };
        assert_eq!(length(), 10);
        assert_eq!(length(), 0);
    }

    #[test]
    fn a_message_carries_descriptors_and_who_sent_it() {
        let (ours, theirs) = pair().unwrap();
        pass_credentials(theirs.as_fd()).unwrap();
        let fds = [theirs.as_raw_fd(); DESCRIPTORS];
        send(ours.as_fd(), b"one", &fds).unwrap();
        send(ours.as_fd(), b"three", &fds[..2]).unwrap();
        send(ours.as_fd(), b"two", &[]).unwrap();
        let mut buffer = [0; 16];
        let mut got = Vec::new();
        let first = receive(theirs.as_fd(), &mut buffer, &mut got).unwrap();
        assert_eq!(
            (&buffer[..first.length], got.len()),
            (&b"one"[..], DESCRIPTORS)
        );
        assert!(!first.truncated);
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(first.sender.map(|sender| sender.pid), Some(pid));
        let mut one = None;
        let third = receive_one(theirs.as_fd(), &mut buffer, &mut one);
        assert_eq!((third.unwrap().length, one.is_some()), (5, true));
        got.clear();
        assert_eq!(
            receive(theirs.as_fd(), &mut buffer, &mut got)
                .unwrap()
                .length,
            3
        );
        assert!(got.is_empty());
        assert_eq!(
            receive(theirs.as_fd(), &mut buffer, &mut got).err(),
            Some(Errno::EAGAIN.into())
        );
        // Another test's fork may have a copy.
        finish(ours.as_fd());
        assert_eq!(
            receive(theirs.as_fd(), &mut buffer, &mut got)
                .unwrap()
                .length,
            0
        );
    }

    #[test]
    fn too_much_is_told() {
        let (ours, theirs) = pair().unwrap();
        send(ours.as_fd(), b"too long", &[]).unwrap();
        let mut buffer = [0; 3];
        let got = receive(theirs.as_fd(), &mut buffer, &mut Vec::new()).unwrap();
        assert!(got.truncated);
        let fds = [ours.as_raw_fd(); DESCRIPTORS + 1];
        assert_eq!(send(ours.as_fd(), b"x", &fds), Err(Errno::E2BIG.into()));
    }

    #[test]
    fn a_deadline_ends_a_wait() {
        let (ours, theirs) = pair().unwrap();
        let mut waits = [Wait::readable(ours.as_fd()), Wait::nothing()];
        assert_eq!(ready(&mut waits, Some(clock::now())), Ok(false));
        finish(theirs.as_fd());
        assert_eq!(ready(&mut waits, None), Ok(true));
        assert!(waits[0].is_ready() && !waits[1].is_ready());
    }
}
