//! epoll(7) and eventfd(2) for a thread of the library's own.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::epoll::holds;
use super::error::{Call, During, Error};
use super::fd::{above_standard, again};
use super::file;

const WAKE: u64 = u64::MAX;
const EVENTS: usize = 64;

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: Epoll,
    wake: EventFd,
}

/// What poll() found.
pub(crate) struct Ready {
    events: [EpollEvent; EVENTS],
    count: usize,
}

impl Ready {
    pub(crate) fn new() -> Self {
        Ready {
            events: [EpollEvent::empty(); EVENTS],
            count: 0,
        }
    }

    /// The time was up.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The tokens of what is readable.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = u64> {
        self.events[..self.count]
            .iter()
            .map(EpollEvent::data)
            .filter(|&token| token != WAKE)
    }
}

impl Poller {
    pub(crate) fn new() -> Result<Self, Error> {
        let epoll = Epoll(above_standard(
            again(|| Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC))
                .during(Call::epoll_create)?
                .0,
        )?);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = again(|| EventFd::from_value_and_flags(0, flags)).during(Call::eventfd)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, WAKE);
        epoll.add(&wake, event).during(Call::epoll_ctl)?;
        Ok(Poller { epoll, wake })
    }

    /// In a forked child, where it is never dropped: closes the copies of its
    /// descriptors, unless others are there by now.
    pub(crate) fn close_inherited(&self) {
        let fds = [self.epoll.0.as_raw_fd(), self.wake.as_fd().as_raw_fd()];
        if holds(fds[0], fds[1]) {
            drop(fds.map(file::take));
        }
    }

    /// Level-triggered. EPERM for what is always readable, as files are.
    pub(crate) fn add(&self, fd: BorrowedFd, token: u64) -> Result<(), Error> {
        self.epoll
            .add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))
            .during(Call::epoll_ctl)
    }

    pub(crate) fn remove(&self, fd: BorrowedFd) {
        let _ = self.epoll.delete(fd);
    }

    /// Has poll() return.
    pub(crate) fn wake(&self) {
        let _ = self.wake.write(1);
    }

    /// Waits so many milliseconds, or for ever.
    pub(crate) fn poll(&self, timeout: Option<u32>, ready: &mut Ready) {
        let timeout = timeout
            .and_then(|timeout| EpollTimeout::try_from(timeout).ok())
            .unwrap_or(EpollTimeout::NONE);
        ready.count = self.epoll.wait(&mut ready.events, timeout).unwrap_or(0);
        let count = ready.count;
        if ready.events[..count]
            .iter()
            .any(|event| event.data() == WAKE)
        {
            let mut count = [0; 8];
            let _ = nix::unistd::read(self.wake.as_fd(), &mut count);
        }
    }
}
