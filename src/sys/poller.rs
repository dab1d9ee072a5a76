//! epoll(7) and eventfd(2) for a thread of the library's own.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;

use super::epoll::{WAKE, holds, tell_wake, waker};
use super::error::{Call, During, Error};
use super::fd::{above_standard, again};
use super::{file, poll};

const EVENTS: usize = 64;
/// The longest wait where the daemon has closed the epoll, in nanoseconds.
const BLIND: u64 = 1_000_000_000;

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: ManuallyDrop<Epoll>,
    wake: ManuallyDrop<EventFd>,
    /// The daemon has closed it: nothing is told any more.
    lost: AtomicBool,
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.close();
    }
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

    /// Whether the time was up.
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
        let wake = again(|| waker(&epoll))?;
        Ok(Poller {
            epoll: ManuallyDrop::new(epoll),
            wake: ManuallyDrop::new(wake),
            lost: AtomicBool::new(false),
        })
    }

    /// Closes its descriptors, unless others are there by now. A forked child, which has
    /// copies of them, never drops it.
    pub(crate) fn close(&self) {
        if !self.lost.load(Ordering::Relaxed) && self.is_there() {
            drop([self.epoll.0.as_raw_fd(), self.wake.as_fd().as_raw_fd()].map(file::take));
        }
    }

    fn is_there(&self) -> bool {
        holds(self.epoll.0.as_raw_fd(), self.wake.as_fd().as_raw_fd())
    }

    /// Looks whether the daemon has closed it. To be called when the epoll told of an unknown
    /// token, and before this process makes another epoll, which may get the same number.
    pub(crate) fn doubt(&self) {
        if !self.is_there() {
            self.lost.store(true, Ordering::Relaxed);
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
        tell_wake(&self.epoll, &self.wake);
    }

    /// Waits so many milliseconds, or for ever.
    pub(crate) fn poll(&self, timeout: Option<u32>, ready: &mut Ready) {
        let timeout = timeout
            .and_then(|timeout| EpollTimeout::try_from(timeout).ok())
            .unwrap_or(EpollTimeout::NONE);
        ready.count = 0;
        if self.lost.load(Ordering::Relaxed) {
            poll::readable(None, BLIND);
            return;
        }
        match self.epoll.wait(&mut ready.events, timeout) {
            Ok(count) => ready.count = count,
            Err(Errno::EINTR) => {}
            Err(_) => self.lost.store(true, Ordering::Relaxed),
        }
    }
}
