//! epoll(7), eventfd(2) and timerfd_create(2): what a context's descriptor is
//! made of.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::error::{Call, During, Error};
use super::fd::above_standard;

/// What woke a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// wake() was called.
    Wake,
    /// The timer ran out.
    Timer,
    /// The pidfd of this process became readable.
    Pidfd(i32),
    /// A descriptor that a task watches became ready. It is not told of again
    /// before watch() is called anew.
    Watched { task: u32, fd: RawFd },
}

bitflags::bitflags! {
    /// What a descriptor is watched for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Interest: u8 {
        const READ = 1 << 0;
        const WRITE = 1 << 1;
        const BOTH = Self::READ.bits() | Self::WRITE.bits();
    }
}

pub(super) const WAKE: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
/// With this bit an event's datum holds a task's number, of 30 bits, and its descriptor,
/// of 32.
const WATCHED: u64 = 1 << 62;

/// How many events one look takes.
pub(crate) const EVENTS: usize = 16;

/// An epoll that holds pidfds, an eventfd to wake it and a timerfd.
#[derive(Debug)]
pub(crate) struct Descriptor {
    epoll: Epoll,
    wake: EventFd,
    timer: TimerFd,
}

impl Descriptor {
    /// How many file descriptors it is made of.
    pub(crate) const FDS: usize = 3;

    pub(crate) fn fds(&self) -> [RawFd; Self::FDS] {
        [
            self.raw(),
            self.wake.as_fd().as_raw_fd(),
            self.timer.as_fd().as_raw_fd(),
        ]
    }

    /// In a forked child: closes its copies of them, unless others are there by now.
    pub(crate) fn close_inherited(fds: [RawFd; Self::FDS]) {
        if !are_together(fds) {
            return;
        }
        for fd in fds {
            // SAFETY: copies that no value here owns.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }

    pub(crate) fn new() -> Result<Self, Error> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).during(Call::epoll_create)?;
        let epoll = Epoll(above_standard(epoll.0)?);
        let wake = waker(&epoll)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )
        .during(Call::timerfd_create)?;
        // SAFETY: the same timerfd by another number.
        let timer = unsafe { TimerFd::from_owned_fd(above_standard(timer.into())?) };
        let event = EpollEvent::new(EpollFlags::EPOLLIN, TIMER);
        epoll.add(&timer, event).during(Call::epoll_ctl)?;
        Ok(Descriptor { epoll, wake, timer })
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.epoll.0.as_raw_fd()
    }

    /// Adds a pidfd, edge-triggered: a zombie that a tracer holds keeps its pidfd
    /// readable though it cannot be waited for, and its release is an edge of its own.
    pub(crate) fn add(&self, pidfd: BorrowedFd, pid: i32) -> Result<(), Error> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        let event = EpollEvent::new(flags, u64::from(pid.unsigned_abs()));
        match self.epoll.add(pidfd, event) {
            Err(Errno::EEXIST) => Ok(()),
            added => added.during(Call::epoll_ctl),
        }
    }

    /// Removes a pidfd; false where it is not in the epoll. A close alone would leave the
    /// entry while a forked child has a copy of the pidfd.
    pub(crate) fn remove(&self, pidfd: BorrowedFd) -> bool {
        self.epoll.delete(pidfd).is_ok()
    }

    /// Tells of a task's descriptor once, as soon as it is ready; with `again` a
    /// descriptor that is in the epoll already is watched anew. `task` is below 2^30.
    pub(crate) fn watch(
        &self,
        fd: RawFd,
        task: u32,
        interest: Interest,
        again: bool,
    ) -> Result<(), Error> {
        if fd < 0 {
            return Err(Call::epoll_ctl.failed(Errno::EBADF));
        }
        let mut flags = EpollFlags::EPOLLONESHOT;
        flags.set(EpollFlags::EPOLLIN, interest.contains(Interest::READ));
        flags.set(EpollFlags::EPOLLOUT, interest.contains(Interest::WRITE));
        let data = WATCHED | u64::from(task) << 32 | u64::from(fd.unsigned_abs());
        let mut event = EpollEvent::new(flags, data);
        // SAFETY: only epoll_ctl(2) sees the number, and refuses one that is none.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let watched = if again {
            self.epoll.modify(fd, &mut event)
        } else {
            self.epoll.add(fd, event)
        };
        watched.during(Call::epoll_ctl)
    }

    /// Ends what watch() began for a descriptor.
    pub(crate) fn unwatch(&self, fd: RawFd) {
        // SAFETY: as in watch().
        let _ = self.remove(unsafe { BorrowedFd::borrow_raw(fd) });
    }

    /// Makes the descriptor readable until an Event::Wake is taken.
    pub(crate) fn wake(&self) {
        tell_wake(&self.epoll, &self.wake);
    }

    /// Fires once after `nanoseconds`, at least one.
    pub(crate) fn arm(&self, nanoseconds: u64) {
        let after = TimeSpec::from_duration(Duration::from_nanos(nanoseconds.max(1)));
        let _ = self
            .timer
            .set(Expiration::OneShot(after), TimerSetTimeFlags::empty());
    }

    /// Takes what there is without waiting, as much as `events` holds at most.
    pub(crate) fn take(&self, events: &mut [Event]) -> Result<usize, Error> {
        let mut batch = [EpollEvent::empty(); EVENTS];
        let most = events.len().min(EVENTS);
        let found = match self.epoll.wait(&mut batch[..most], EpollTimeout::ZERO) {
            Err(Errno::EINTR) => 0,
            found => found.during(Call::epoll_wait)?,
        };
        for (event, taken) in events.iter_mut().zip(&batch[..found]) {
            *event = self.understand(*taken);
        }
        Ok(found)
    }

    /// Whether the numbers are not ours any more: the daemon has closed them, and they
    /// may be other files' by now.
    pub(crate) fn is_gone(&self) -> bool {
        !are_together(self.fds())
    }

    /// Drops this without closing anything.
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }

    /// What an event means. Resets what caused it.
    fn understand(&self, event: EpollEvent) -> Event {
        match event.data() {
            WAKE => Event::Wake,
            TIMER => {
                // The read fails with EAGAIN where the timer was set anew meanwhile.
                let mut count = [0; 8];
                let _ = nix::unistd::read(self.timer.as_fd(), &mut count);
                Event::Timer
            }
            #[allow(clippy::cast_possible_truncation)] // added as such
            watched if watched & WATCHED != 0 => Event::Watched {
                task: (watched >> 32) as u32 & ((1 << 30) - 1),
                fd: watched as RawFd,
            },
            #[allow(clippy::cast_possible_truncation)] // added as an i32
            pid => Event::Pidfd(pid as i32),
        }
    }
}

/// An eventfd that is always readable. It is added to the epoll, which does not tell of
/// it yet.
pub(super) fn waker(epoll: &Epoll) -> Result<EventFd, Error> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let wake = EventFd::from_value_and_flags(1, flags).during(Call::eventfd)?;
    // SAFETY: the same eventfd by another number.
    let wake = unsafe { EventFd::from_owned_fd(above_standard(wake.into())?) };
    let silent = EpollEvent::new(EpollFlags::empty(), WAKE);
    epoll.add(&wake, silent).during(Call::epoll_ctl)?;
    Ok(wake)
}

/// Has the epoll tell of its waker once. That is by an edge, as nothing else wakes a loop
/// that polls the epoll itself by edges. Nothing is written: if the daemon has something
/// else at one of the two numbers by now, the call fails.
pub(super) fn tell_wake(epoll: &Epoll, wake: &EventFd) {
    let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    let _ = epoll.modify(wake, &mut EpollEvent::new(edge, WAKE));
}

/// Whether these are a Descriptor's still.
pub(crate) fn are_together([epoll, wake, timer]: [RawFd; Descriptor::FDS]) -> bool {
    holds(epoll, wake) && holds(epoll, timer)
}

/// Whether an epoll has this descriptor: then it cannot be added again. Both may be the
/// daemon's by now, so an entry that could be added is removed at once; it asks for no
/// events.
pub(super) fn holds(epoll: RawFd, fd: RawFd) -> bool {
    let mut nothing = libc::epoll_event {
        events: 0,
        u64: WAKE,
    };
    // SAFETY: an event of this frame; what is no epoll is refused.
    unsafe {
        if libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut nothing) == 0 {
            libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut());
            return false;
        }
    }
    Errno::last() == Errno::EEXIST
}
