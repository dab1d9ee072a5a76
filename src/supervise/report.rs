//! What a unit is told of.

use super::machine::{Cause, State};
use crate::reap::id::WatchId;

/// The id of a unit: never given to another one of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UnitId(pub(super) WatchId);

impl UnitId {
    pub(crate) fn tagged(self) -> u64 {
        self.0.tagged()
    }

    pub(crate) fn from_tagged(number: u64) -> Option<Self> {
        WatchId::from_tagged(number).map(UnitId)
    }
}

/// What a unit is told of, as its record is made of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    State,
    Status,
    Unkillable,
    Main,
    Essential,
    /// A process of the unit is our child now; `parent` is its parent before, or 0.
    Adopted {
        pid: i32,
        parent: i32,
    },
}

/// One event of a unit, with how it stood then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) what: What,
    pub(crate) state: State,
    pub(crate) former: State,
    pub(crate) cause: Option<Cause>,
    pub(crate) start: u64,
    pub(crate) time: u64,
    pub(crate) delay: u64,
    pub(crate) main: i32,
    pub(crate) status: i32,
    pub(crate) processes: u32,
    pub(crate) error: i32,
    pub(crate) code: i32,
}
