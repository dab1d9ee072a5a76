//! What the reaper holds of tasks; [`super::task`] is how they are used.

use std::os::fd::RawFd;

use nix::errno::Errno;

use super::callback::Call;
use super::deadlines::NOWHERE;
use super::table::NIL;
use crate::sys::arc::Arc;
use crate::sys::epoll::Interest;
use crate::sys::error::Error;
use crate::sys::thread::Thread;
use crate::sys::usage::Usage;

/// Why a task is stepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// post() was called, from any thread; posts merge.
    Posted,
    /// A child that it watches ended.
    Child(ChildEnd),
    /// Its time has come.
    Deadline,
    /// A descriptor that it watches is ready, or has an error.
    Readable(RawFd),
    /// The callback that step() asked for has returned: go on.
    Returned,
    /// The same of a Call::Ask, with the answer.
    Answered(u32),
}

/// The end of a child that a task watches. The watch is over with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChildEnd {
    /// As given to watch_child().
    pub(crate) token: u64,
    pub(crate) pid: i32,
    /// As waitpid(2) gives it, or [`super::status::LOST`].
    pub(crate) status: i32,
    /// What it has used; None where somebody else waited for it.
    pub(crate) usage: Option<Usage>,
    /// The child is a zombie until the step is over: see
    /// [`super::task::watch_child`].
    pub(crate) kept: bool,
    /// When it was found, in nanoseconds of CLOCK_MONOTONIC; u64::MAX where that is
    /// not known.
    pub(crate) found: u64,
}

/// A library object that lives on a context.
pub(crate) trait Task: Send + Sync {
    /// Runs in the context's dispatch, in its loop's thread, without the reaper's
    /// lock. Does the work, and returns the next C callback to make, if any; the
    /// caller makes it with no Rust frame of the task's on the stack, then steps
    /// with Why::Returned.
    fn step(&self, why: Why) -> Option<Call>;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
    pub(crate) depth: u32,
}

/// As many as fit into a queue's link and an event's datum.
const MAX_TASKS: u32 = 1 << 24;

/// A descriptor that a task watches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    pub(crate) fd: RawFd,
    pub(crate) interest: Interest,
    /// Its event was taken, so that it is not watched until the step is over.
    pub(crate) ready: bool,
}

#[derive(Default)]
pub(crate) struct Entry {
    pub(crate) task: Option<Arc<dyn Task>>,
    pub(crate) generation: u32,
    pub(crate) context: u16,
    posted: bool,
    /// Its deadline has passed.
    expired: bool,
    /// The step that was put off: its callback's return, or a child's end.
    returned: Option<Why>,
    /// It put an end off, and is stepped with nothing else before.
    pub(crate) held: bool,
    /// In its context's queue.
    pub(crate) queued: bool,
    /// The thread that steps it, or makes the callback that it asked for.
    pub(crate) runner: Option<Thread>,
    /// The next in the context's queue; of a free entry: the next free one.
    pub(crate) next: u32,
    /// Where its deadline stands among the context's.
    pub(crate) place: u32,
    pub(crate) fds: Vec<Watched>,
    /// The descriptor that the step is about.
    pub(crate) stepped_fd: Option<RawFd>,
    /// Watches whose children ended, linked as in a context's queue.
    pub(crate) ends: (u32, u32),
    /// The watch that keeps the zombie which the step is about.
    pub(crate) kept: Option<u32>,
    /// Its watches of children whose end it was not told yet.
    pub(crate) watches: u32,
}

/// What to step a task with next.
pub(crate) enum Reason {
    Why(Why),
    /// With the end of this watch's child.
    End(u32),
}

impl Entry {
    /// Takes the next reason to step it.
    pub(crate) fn take(&mut self) -> Option<Reason> {
        if std::mem::take(&mut self.held) {
            self.held = !self.posted && !self.expired;
            if self.held {
                return None;
            }
            // The step that is made again stands for these too.
            (self.posted, self.expired) = (false, false);
        }
        if let Some(returned) = self.returned.take() {
            return Some(Reason::Why(returned));
        }
        if std::mem::take(&mut self.posted) {
            return Some(Reason::Why(Why::Posted));
        }
        if self.ends.0 != NIL {
            return Some(Reason::End(self.ends.0));
        }
        if std::mem::take(&mut self.expired) {
            return Some(Reason::Why(Why::Deadline));
        }
        let ready = self.fds.iter().find(|watched| watched.ready)?.fd;
        self.stepped_fd = Some(ready);
        Some(Reason::Why(Why::Readable(ready)))
    }

    pub(crate) fn is_due(&self) -> bool {
        let waits = self.returned.is_some()
            || self.ends.0 != NIL
            || self.fds.iter().any(|watched| watched.ready);
        self.task.is_some() && (self.posted || self.expired || waits && !self.held)
    }

    pub(crate) fn watched(&mut self, fd: RawFd) -> Option<&mut Watched> {
        self.fds.iter_mut().find(|watched| watched.fd == fd)
    }

    pub(crate) fn post(&mut self) {
        self.posted = true;
    }

    pub(crate) fn expire(&mut self) {
        self.expired = true;
    }

    pub(crate) fn take_back_deadline(&mut self) {
        self.expired = false;
    }

    pub(crate) fn put_off(&mut self, returned: Why) {
        self.returned = Some(returned);
    }
}

/// The tasks of all contexts: a slab.
#[derive(Default)]
pub(crate) struct Tasks {
    entries: Vec<Entry>,
    /// Free ones, linked.
    free: Option<u32>,
}

impl Tasks {
    pub(crate) const fn new() -> Self {
        Tasks {
            entries: Vec::new(),
            free: None,
        }
    }

    pub(crate) fn entry(&self, index: u32) -> &Entry {
        &self.entries[index as usize]
    }

    pub(crate) fn entry_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.entries[index as usize]
    }

    /// How many there ever were.
    pub(crate) fn bound(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(MAX_TASKS)
    }

    /// A task that was not removed.
    pub(crate) fn find(&self, id: TaskId) -> Option<&Entry> {
        self.entries
            .get(id.index as usize)
            .filter(|entry| entry.generation == id.generation && entry.task.is_some())
    }

    pub(crate) fn find_mut(&mut self, id: TaskId) -> Option<&mut Entry> {
        self.entries
            .get_mut(id.index as usize)
            .filter(|entry| entry.generation == id.generation && entry.task.is_some())
    }

    /// Takes a task up; its index and generation.
    pub(crate) fn insert(
        &mut self,
        task: Arc<dyn Task>,
        context: u16,
    ) -> Result<(u32, u32), Error> {
        let index = match self.free {
            Some(index) => index,
            None => {
                let index = self.bound();
                if index == MAX_TASKS {
                    return Err(Errno::ENOMEM.into());
                }
                self.entries.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                self.entries.push(Entry {
                    next: NIL,
                    ..Entry::default()
                });
                index
            }
        };
        let entry = self.entry_mut(index);
        let next = entry.next;
        let generation = entry.generation.wrapping_add(1);
        *entry = Entry {
            task: Some(task),
            generation,
            context,
            next: NIL,
            place: NOWHERE,
            ends: (NIL, NIL),
            ..Entry::default()
        };
        self.free = Some(next).filter(|&next| next != NIL);
        Ok((index, generation))
    }

    /// Gives the entry of a removed task back, unless a queue or a step has it.
    pub(crate) fn release(&mut self, index: u32) {
        let free = self.free.unwrap_or(NIL);
        let entry = self.entry_mut(index);
        if entry.task.is_none() && !entry.queued && entry.runner.is_none() {
            entry.fds = Vec::new();
            entry.next = free;
            self.free = Some(index);
        }
    }
}
