//! A descriptor that a log reads.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::lines::Splitter;
use super::one_log::Log;
use crate::sys::arc::Arc;
use crate::sys::kept::Kept;
use crate::sys::lock::Mutex;
use crate::sys::{clock, poll};

/// How long a source that ends may wait for room, in nanoseconds.
pub(super) const LAST_WORDS: u64 = 5_000_000_000;

pub(crate) struct Source {
    /// As the daemon knows it.
    pub(crate) id: u64,
    pub(crate) log: Arc<Log>,
    pub(crate) fd: Kept,
    /// Names it in front of lines.
    pub(crate) label: Vec<u8>,
    /// All its writers are dead, or nobody wants the rest: it ends with what it
    /// holds now, at this time at the latest; 0 for not yet. CLOCK_MONOTONIC.
    pub(crate) ends_by: AtomicU64,
    /// It has ended, which its owner may know already.
    pub(crate) over: AtomicBool,
    pub(crate) reading: Mutex<Reading>,
}

pub(crate) struct Reading {
    pub(crate) splitter: Splitter,
    /// What was read and there was no room for.
    pub(super) carry: Vec<u8>,
    pub(super) ended: bool,
}

impl Source {
    pub(super) fn ends(&self) -> bool {
        self.ends_by.load(Ordering::Acquire) != 0
    }

    /// It should have ended: what there is no room for is dropped.
    pub(super) fn is_late(&self) -> bool {
        let by = self.ends_by.load(Ordering::Acquire);
        by != 0 && clock::now() >= by
    }

    /// One that is late has no memory to tell its end: it is tried again later.
    pub(super) fn put_off_end(&self) {
        if self.is_late() {
            self.ends_by
                .store(clock::now() + LAST_WORDS, Ordering::Release);
        }
    }

    /// It holds nothing that is not queued. False also while it is being read.
    pub(super) fn is_read(&self) -> bool {
        self.reading.try_lock().is_some_and(|reading| {
            reading.carry.is_empty() && !self.ends() && !poll::readable(Some(self.fd.as_fd()), 0)
        })
    }
}

impl Reading {
    pub(crate) fn new(splitter: Splitter) -> Self {
        Reading {
            splitter,
            carry: Vec::new(),
            ended: false,
        }
    }
}
