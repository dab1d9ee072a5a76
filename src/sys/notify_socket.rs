//! The socket of sd_notify(3): datagrams to an address of its own, each with its
//! sender's credentials.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::error::{Call, Error, out_of_memory};
use super::{fd, seqpacket};

/// The longest message; a longer one is cut, and then ignored.
const LONGEST: usize = 4096 + 1;

/// A SOCK_DGRAM socket at an abstract address that the kernel chose: it leaves no file
/// behind, and no other unit's program uses it by chance.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    fd: OwnedFd,
    /// `NOTIFY_SOCKET=@...`
    variable: CString,
}

/// One message. Descriptors that came with it are closed with it.
#[derive(Debug)]
pub(crate) struct Message {
    /// The sender as the kernel vouches for it; 0 where our pid namespace does not
    /// show it.
    pub(crate) pid: i32,
    pub(crate) uid: u32,
    text: [u8; LONGEST],
    length: usize,
    _fds: Vec<OwnedFd>,
}

impl Message {
    pub(crate) fn text(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

impl NotifySocket {
    pub(crate) fn new() -> Result<Self, Error> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no memory is passed; the descriptor is ours alone.
        let fd = unsafe {
            let raw = fd::again(|| Call::socket.result(libc::socket(libc::AF_UNIX, kind, 0)))?;
            OwnedFd::from_raw_fd(raw)
        };
        let fd = fd::above_standard(fd)?;
        seqpacket::pass_credentials(fd.as_fd())?;
        let name = bind(fd.as_fd())?;
        Ok(NotifySocket {
            variable: variable(&name)?,
            fd,
        })
    }

    /// The variable by which a program finds it.
    pub(crate) fn variable(&self) -> &CString {
        &self.variable
    }

    /// The next message, without waiting.
    pub(crate) fn receive(&self) -> Option<Message> {
        let mut message = Message {
            pid: 0,
            uid: u32::MAX,
            text: [0; LONGEST],
            length: 0,
            _fds: Vec::new(),
        };
        let received =
            seqpacket::receive(self.fd.as_fd(), &mut message.text, &mut message._fds).ok()?;
        if let Some(sender) = received.sender {
            message.pid = sender.pid;
            message.uid = sender.uid;
        }
        message.length = if received.truncated {
            0
        } else {
            received.length
        };
        Some(message)
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The kernel chose no name, or a strange one.
const NO_NAME: Error = Call::getsockname.failed(Errno::EADDRNOTAVAIL);

/// Binds to an address of the kernel's choice; its abstract name.
fn bind(fd: BorrowedFd) -> Result<Vec<u8>, Error> {
    // SAFETY: plain data, for which zeros are valid.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).unwrap_or(0);
    let family = size_of::<libc::sa_family_t>();
    let length = |bytes: usize| libc::socklen_t::try_from(bytes).unwrap_or(0);
    // SAFETY: the address lives; its family alone asks for one of the kernel's.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length(family)) };
    Call::bind.result(bound)?;
    let mut told = length(size_of_val(&address));
    // SAFETY: the address and its length live, and are as long as said.
    let named =
        unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut told) };
    Call::getsockname.result(named)?;
    // After the family comes a NUL, then the name.
    let end = (told as usize).saturating_sub(family);
    let path = address.sun_path.get(1..end).ok_or(NO_NAME)?;
    let mut name = Vec::new();
    name.try_reserve_exact(path.len()).map_err(out_of_memory)?;
    name.extend(path.iter().map(|byte| byte.to_ne_bytes()[0]));
    Ok(name)
}

fn variable(name: &[u8]) -> Result<CString, Error> {
    const BEFORE: &[u8] = b"NOTIFY_SOCKET=@";
    let mut text = Vec::new();
    // With its NUL, which is added without an allocation.
    text.try_reserve_exact(BEFORE.len() + name.len() + 1)
        .map_err(out_of_memory)?;
    text.extend_from_slice(BEFORE);
    text.extend_from_slice(name);
    CString::new(text).map_err(|_| NO_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn sender(socket: &NotifySocket) -> UnixDatagram {
        let text = socket.variable().to_str().unwrap();
        let name = text.strip_prefix("NOTIFY_SOCKET=@").unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender
            .connect_addr(&SocketAddr::from_abstract_name(name).unwrap())
            .unwrap();
        sender
    }

    #[test]
    fn a_message_says_who_sent_it() {
        let socket = NotifySocket::new().unwrap();
        assert!(socket.receive().is_none());
        sender(&socket).send(b"READY=1").unwrap();
        let message = socket.receive().unwrap();
        assert_eq!(message.text(), b"READY=1");
        assert_eq!(message.pid.unsigned_abs(), std::process::id());
        assert!(socket.receive().is_none());
    }

    #[test]
    fn what_is_too_long_says_nothing() {
        let socket = NotifySocket::new().unwrap();
        sender(&socket).send(&[b'x'; LONGEST + 1]).unwrap();
        assert_eq!(socket.receive().unwrap().text(), b"");
    }
}
