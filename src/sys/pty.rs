//! pts(4): a pseudoterminal for a child.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::error::{Call, During, Error};
use super::fd::{above_standard, again};

/// The master, which the daemon gets, and the child's end; both close-on-exec.
#[derive(Debug)]
pub(crate) struct Pty {
    pub(crate) master: OwnedFd,
    pub(crate) terminal: OwnedFd,
}

impl Pty {
    /// A new one. With `owner` the terminal is given to that user, as sshd(8) and
    /// login(1) do, if we may give it away.
    pub(crate) fn new(owner: Option<u32>) -> Result<Self, Error> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = again(|| open(c"/dev/ptmx", flags, Mode::empty())).during(Call::open)?;
        let master = above_standard(master)?;
        let unlocked = 0_i32;
        // SAFETY: an int of this frame.
        let code =
            unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) };
        Call::ioctl.result(code)?;
        // Opened by the master, as the terminal's path may lead elsewhere in a container.
        // SAFETY: the argument is an int.
        let terminal = unsafe {
            let open = || libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags.bits());
            OwnedFd::from_raw_fd(again(|| Call::ioctl.result(open()))?)
        };
        let terminal = above_standard(terminal)?;
        if let Some(owner) = owner {
            // SAFETY: no pointers. A caller who may not is no error: see above.
            unsafe { libc::fchown(terminal.as_raw_fd(), owner, u32::MAX) };
        }
        Ok(Pty { master, terminal })
    }
}
