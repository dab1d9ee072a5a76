//! A descriptor that a log reads.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

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
    /// All its writers are dead, or nobody wants the rest: it ends with what it holds
    /// now, by this time at the latest, of CLOCK_MONOTONIC. 0: not so yet.
    pub(crate) ends_by: AtomicU64,
    /// It has ended, which its owner may know already.
    pub(crate) over: AtomicBool,
    pub(crate) reading: Mutex<Reading>,
    /// For flush(): how much is to be queued until what it held is; 0 once it is. The
    /// reader's alone.
    pub(crate) owed: AtomicUsize,
}

pub(crate) struct Reading {
    pub(crate) splitter: Splitter,
    /// What was read and found no room.
    pub(super) carry: Vec<u8>,
    pub(super) ended: bool,
}

impl Source {
    pub(super) fn ends(&self) -> bool {
        self.ends_by.load(Ordering::Acquire) != 0
    }

    /// Whether it should have ended by now: then what finds no room is dropped.
    pub(super) fn is_late(&self) -> bool {
        let by = self.ends_by.load(Ordering::Acquire);
        by != 0 && clock::now() >= by
    }

    /// There was no memory for the event of its end. The deadline is moved on, so that the
    /// end is tried again and not dropped.
    pub(super) fn put_off_end(&self) {
        if self.is_late() {
            self.ends_by
                .store(clock::now() + LAST_WORDS, Ordering::Release);
        }
    }

    /// Whether it holds nothing that is not queued. False also while it is being read.
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
