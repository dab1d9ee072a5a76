//! One log, and what the threads know of it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::sys::error::Error;

use super::backlog::Backlog;
use super::queue::Queue;
use super::setup::Setup;
use super::source::LAST_WORDS;
use super::target::Target;
use super::telling::{Slot, Telling};
use crate::reap::id::ContextId;
use crate::sys::lock::Mutex;

/// The first pause after a write that failed, and the longest; in nanoseconds.
pub(super) const PAUSE: u64 = 20_000_000;
pub(super) const LONGEST_PAUSE: u64 = 1_000_000_000;

/// How a log's work stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Nothing to do.
    Idle,
    /// It waits for a writer.
    Ready,
    /// A writer has it.
    Busy,
    /// The same, and more work came meanwhile.
    Again,
    /// A write failed: it is tried again at this time.
    Pausing(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) read: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) rotations: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) last_error: AtomicU32,
}

impl Counts {
    pub(crate) fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, error: Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let errno = (error.errno as i32).unsigned_abs();
        self.last_error.store(errno, Ordering::Relaxed);
    }
}

pub(crate) struct Log {
    pub(crate) id: u64,
    pub(crate) ctx: ContextId,
    pub(crate) setup: Setup,
    pub(crate) backlog: Mutex<Backlog>,
    /// Ends of sources that are to be told, where lines go elsewhere.
    pub(crate) events: Mutex<Queue>,
    /// What the loop tells right now.
    pub(crate) telling: Mutex<Telling>,
    pub(crate) task: Slot,
    pub(crate) target: Mutex<Target>,
    pub(super) reopen: AtomicBool,
    /// The daemon has let go of it. Set under the state's lock.
    pub(super) freed: AtomicBool,
    pub(crate) counts: Counts,
    /// What follows belongs to the state: it is looked at under the state's lock only.
    pub(super) work: Mutex<Work>,
}

pub(super) struct Work {
    pub(super) phase: Phase,
    pub(super) pause: u64,
    /// When a freed log with a full target is given up. Each write that takes something moves
    /// it on. Never later than the State's, which is set at unload.
    pub(super) ends_by: u64,
    pub(super) sources: u32,
    /// How often flush() asked for all sources to be read, and up to which of these
    /// requests that has begun and was done.
    pub(super) asked: u64,
    pub(super) begun: u64,
    pub(super) done: u64,
}

impl Work {
    /// Whether a freed log, whose target is full, tries again: a slow receiver loses nothing,
    /// and one that hangs keeps no thread.
    pub(super) fn may_wait(&mut self, now: u64) -> bool {
        self.ends_by = self.ends_by.min(now + LAST_WORDS);
        now < self.ends_by
    }
}

impl Log {
    pub(super) fn is_freed(&self) -> bool {
        self.freed.load(Ordering::Acquire)
    }

    pub(crate) fn new(id: u64, ctx: ContextId, setup: Setup, target: Target) -> Self {
        Log {
            id,
            ctx,
            backlog: Mutex::new(Backlog::new(setup.max_queue)),
            events: Mutex::new(Queue::new(usize::MAX)),
            telling: Mutex::new(Telling::new()),
            task: Slot::new(),
            setup,
            target: Mutex::new(target),
            reopen: AtomicBool::new(false),
            freed: AtomicBool::new(false),
            counts: Counts::default(),
            work: Mutex::new(Work {
                phase: Phase::Idle,
                pause: PAUSE,
                ends_by: u64::MAX,
                sources: 0,
                asked: 0,
                begun: 0,
                done: 0,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::backlog::test_setup;
    use super::*;

    #[test]
    fn a_full_target_has_five_seconds() {
        let log = Log::new(1, ContextId::NONE, test_setup(true), Target::default());
        let mut work = log.work.lock();
        assert!(work.may_wait(10));
        assert!(work.may_wait(9 + LAST_WORDS));
        assert!(!work.may_wait(10 + LAST_WORDS));
        // The library is unloaded: the end for all logs comes earlier.
        work.ends_by = 20 + LAST_WORDS;
        assert!(work.may_wait(19 + LAST_WORDS));
        assert!(!work.may_wait(20 + LAST_WORDS));
    }
}
