//! What the reaper asks of the kernel about children: behind a trait, so that the
//! drain, with every merge and every theft, is tested against a model without a
//! process.

use crate::sys::epoll::{Descriptor, EVENTS, Event};
use crate::sys::error::Error;
use crate::sys::pidfd::{self, Exit, Pidfd};
use crate::sys::signal::{self, Disposition};
use crate::sys::usage::Usage;
use crate::sys::{clock, fd, procfs, wait};

/// A raw status, and what the child has used if that was asked.
pub(crate) type Waited = Option<(i32, Option<Usage>)>;

pub(crate) trait Kernel: Sync {
    /// CLOCK_MONOTONIC in nanoseconds.
    fn now(&self) -> u64;
    /// Gives the processor up for a moment.
    fn yield_now(&self);

    /// waitpid(2) with `options | WNOHANG`, -1 for any child: its pid.
    fn wait(
        &self,
        pid: i32,
        options: i32,
        usage: bool,
    ) -> Result<Option<(i32, i32, Option<Usage>)>, Error>;
    /// The end of the process behind a pidfd, which this reaps.
    fn reap(&self, pidfd: Pidfd, usage: bool) -> Result<Waited, Error>;
    /// A child's end; the child stays a zombie.
    fn look(&self, pid: i32, pidfd: Option<Pidfd>) -> Result<Waited, Error>;
    /// The same for one that sends no SIGCHLD.
    fn look_at_mute(&self, pid: i32) -> Result<Waited, Error>;
    /// A child's stop or continue, never its end.
    fn jobs(&self, pid: i32, options: i32) -> Result<Option<i32>, Error>;
    /// A child that has ended and that nobody has waited for. It stays a zombie.
    fn any_dead(&self) -> Result<Option<i32>, Error>;
    /// All children that ended and nobody has waited for, from /proc; also those that
    /// another zombie hides from `any_dead`. Returns whether these are all. Called
    /// without the lock, as it takes a microsecond for each child.
    fn ended_children(&self, ended: &mut Vec<i32>) -> Result<bool, Error>;
    /// Whether this is a child of ours that nobody has reaped.
    fn is_child(&self, pid: i32) -> bool;
    /// The same; EBADF where the number is no pidfd, EINVAL where none can be waited
    /// for.
    fn holds_child(&self, pidfd: Pidfd) -> Result<bool, Error>;
    /// What is known of the end of a process that somebody else reaped.
    fn exit_status(&self, pidfd: Pidfd) -> Exit;

    fn open(&self, pid: i32) -> Result<Pidfd, Error>;
    fn close(&self, pidfd: Pidfd);
    /// The same at a number that select(2) does not need, where the limit allows.
    fn move_up(&self, pidfd: Pidfd, limit: u32) -> Pidfd;
    /// RLIMIT_NOFILE's soft limit.
    fn descriptor_limit(&self) -> u32;
    /// Whether so many more descriptors can be opened under this limit.
    fn has_descriptors(&self, limit: u32, wanted: u32) -> bool;

    /// Has a context told of a pidfd once, when it becomes readable.
    fn add(&self, to: &Descriptor, pidfd: Pidfd, pid: i32) -> Result<(), Error>;
    /// False where it has no such pidfd: then the number is not ours to close.
    fn remove(&self, from: &Descriptor, pidfd: Pidfd) -> bool;
    /// Takes what there is, without waiting.
    fn take(&self, from: &Descriptor, events: &mut [Event]) -> Result<usize, Error>;

    fn disposition(&self) -> Disposition;
    /// Sends SIGCHLD to this process, to wake the loop that takes it.
    fn raise_sigchld(&self);
    /// Whether SIGCHLD waits to be taken by the calling thread.
    fn sigchld_pending(&self) -> bool;
}

pub(crate) type Events = [Event; EVENTS];

/// The real one.
pub(crate) struct Linux;

pub(crate) static LINUX: Linux = Linux;

impl Kernel for Linux {
    fn now(&self) -> u64 {
        clock::now()
    }

    fn yield_now(&self) {
        std::thread::yield_now();
    }

    fn wait(
        &self,
        pid: i32,
        options: i32,
        usage: bool,
    ) -> Result<Option<(i32, i32, Option<Usage>)>, Error> {
        if usage {
            let found = wait::waitpid_usage(pid, options)?;
            return Ok(found.map(|(pid, status, usage)| (pid, status, Some(usage))));
        }
        let found = wait::waitpid(pid, options)?;
        Ok(found.map(|(pid, status)| (pid, status, None)))
    }

    fn reap(&self, pidfd: Pidfd, usage: bool) -> Result<Waited, Error> {
        if usage {
            let found = wait::reap_usage(pidfd.borrow())?;
            return Ok(found.map(|(status, usage)| (status, Some(usage))));
        }
        Ok(wait::reap(pidfd.borrow())?.map(|status| (status, None)))
    }

    fn look(&self, pid: i32, pidfd: Option<Pidfd>) -> Result<Waited, Error> {
        let found = match pidfd {
            Some(pidfd) => wait::look(pidfd.borrow())?,
            None => wait::look_pid(pid)?,
        };
        Ok(found.map(|(status, usage)| (status, Some(usage))))
    }

    fn look_at_mute(&self, pid: i32) -> Result<Waited, Error> {
        let found = wait::look_mute(pid)?;
        Ok(found.map(|(status, usage)| (status, Some(usage))))
    }

    fn jobs(&self, pid: i32, options: i32) -> Result<Option<i32>, Error> {
        wait::jobs(pid, options)
    }

    fn any_dead(&self) -> Result<Option<i32>, Error> {
        wait::any_dead()
    }

    fn ended_children(&self, ended: &mut Vec<i32>) -> Result<bool, Error> {
        let all = procfs::own_children(ended, &mut procfs::Scratch::default())?;
        ended.retain(|&pid| matches!(wait::look_pid(pid), Ok(Some(_))));
        Ok(all)
    }

    fn is_child(&self, pid: i32) -> bool {
        wait::is_child_pid(pid)
    }

    fn holds_child(&self, pidfd: Pidfd) -> Result<bool, Error> {
        wait::holds_child(pidfd.borrow())
    }

    fn exit_status(&self, pidfd: Pidfd) -> Exit {
        pidfd::exit_status(pidfd.borrow())
    }

    fn open(&self, pid: i32) -> Result<Pidfd, Error> {
        pidfd::open_once(pid).map(Pidfd::from)
    }

    fn close(&self, pidfd: Pidfd) {
        pidfd.close();
    }

    fn move_up(&self, pidfd: Pidfd, limit: u32) -> Pidfd {
        pidfd.move_up(limit)
    }

    fn descriptor_limit(&self) -> u32 {
        fd::limit()
    }

    fn has_descriptors(&self, limit: u32, wanted: u32) -> bool {
        fd::has_room(limit, wanted)
    }

    fn add(&self, to: &Descriptor, pidfd: Pidfd, pid: i32) -> Result<(), Error> {
        to.add(pidfd.borrow(), pid)
    }

    fn remove(&self, from: &Descriptor, pidfd: Pidfd) -> bool {
        from.remove(pidfd.borrow())
    }

    fn take(&self, from: &Descriptor, events: &mut [Event]) -> Result<usize, Error> {
        from.take(events)
    }

    fn disposition(&self) -> Disposition {
        Disposition::read()
    }

    fn raise_sigchld(&self) {
        signal::raise_sigchld();
    }

    fn sigchld_pending(&self) -> bool {
        signal::sigchld_pending()
    }
}
