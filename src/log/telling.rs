//! How far a log's events were told, and by which task.

use crate::reap::task::{self, TaskId};
use crate::sys::lock::Mutex;

/// A log's task.
pub(crate) struct Slot(pub(super) Mutex<Begun>);

#[derive(Clone, Copy)]
pub(super) enum Begun {
    No,
    Yes(TaskId),
    /// Nobody is told any more.
    Over,
}

impl Slot {
    pub(crate) fn new() -> Self {
        Slot(Mutex::new(Begun::No))
    }

    pub(crate) fn post(&self) {
        let begun = *self.0.lock();
        if let Begun::Yes(id) = begun {
            task::post(id);
        }
    }

    /// Whether nobody is told any more, as the context or the log is over.
    pub(crate) fn is_over(&self) -> bool {
        matches!(*self.0.lock(), Begun::Over)
    }
}

/// The chunk that is being told, and how far it is.
pub(crate) struct Telling {
    pub(super) chunk: Vec<u8>,
    pub(super) told: usize,
    /// How many lines were told, of this chunk and those before.
    pub(super) lines: u64,
}

impl Telling {
    pub(crate) fn new() -> Self {
        Telling {
            chunk: Vec::new(),
            told: 0,
            lines: 0,
        }
    }
}
