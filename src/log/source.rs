//! A descriptor that a log reads.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;

use super::lines::Splitter;
use super::one_log::Log;
use crate::sys::arc::Arc;
use crate::sys::lock::Mutex;

pub(crate) struct Source {
    /// As the daemon knows it.
    pub(crate) id: u64,
    pub(crate) log: Arc<Log>,
    pub(crate) fd: OwnedFd,
    /// Names it in front of lines.
    pub(crate) label: Vec<u8>,
    /// All its writers are dead, or nobody wants the rest: it ends with what it
    /// holds now.
    pub(crate) ends: AtomicBool,
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

impl Reading {
    pub(crate) fn new(splitter: Splitter) -> Self {
        Reading {
            splitter,
            carry: Vec::new(),
            ended: false,
        }
    }
}
