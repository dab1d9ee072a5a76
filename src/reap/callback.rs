//! The daemon's callbacks, as the core holds them: it never calls one.

use std::ffi::{c_int, c_void};

use super::event::Told;

pub(crate) use crate::sys::opaque::{Opaque as Pvt, Record};

/// Told of a child.
pub(crate) type ChildFn = unsafe extern "C" fn(c_int, c_int, *mut c_void);

/// Told of an event of an object of the library's, in the manner of all
/// families: the object, the event's record (valid during the call), pvt.
pub(crate) type EventFn = unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void);

/// The same, for a callback that returns an answer.
pub(crate) type AskFn = unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void) -> u32;

/// Told of a child that nobody registered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unknown {
    pub(crate) call: unsafe extern "C" fn(c_int, c_int, *mut c_void) -> u32,
    pub(crate) pvt: Pvt,
}

/// What runs before a watch ends.
pub(crate) type HookFn = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook {
    pub(crate) call: HookFn,
    /// The handle.
    pub(crate) child: Pvt,
    pub(crate) pvt: Pvt,
}

/// Who is told of a watch's child: 16 bytes, as there may be many.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sink {
    C(ChildFn, Pvt),
    Own(Own),
}

/// The library's own receivers, without a C function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    Nobody,
    /// The task with this index.
    Task(u32),
    /// The rich watch with this index.
    Rich(u32),
}

impl Sink {
    pub(crate) const NOBODY: Sink = Sink::Own(Own::Nobody);

    pub(crate) fn of(callback: Option<ChildFn>, pvt: Pvt) -> Self {
        callback.map_or(Sink::NOBODY, |callback| Sink::C(callback, pvt))
    }

    pub(crate) fn callback(self) -> (Option<ChildFn>, Pvt) {
        match self {
            Sink::C(callback, pvt) => (Some(callback), pvt),
            Sink::Own(_) => (None, Pvt(std::ptr::null_mut())),
        }
    }

    /// Whether the watch is as sss_child_register() makes it: one for each child in each
    /// context.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, Sink::C(..) | Sink::Own(Own::Nobody))
    }

    pub(crate) fn rich(self) -> Option<u32> {
        match self {
            Sink::Own(Own::Rich(rich)) => Some(rich),
            _ => None,
        }
    }

    pub(crate) fn task(self) -> Option<u32> {
        match self {
            Sink::Own(Own::Task(task)) => Some(task),
            _ => None,
        }
    }
}

/// One callback that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    /// None: a task was stepped and asks for no callback.
    Nothing,
    Child {
        callback: Option<ChildFn>,
        pid: i32,
        status: i32,
        pvt: Pvt,
    },
    Unknown {
        unknown: Unknown,
        pid: i32,
        status: i32,
    },
    /// What a rich watch is told. The record is a copy, as below.
    Told {
        call: EventFn,
        source: Pvt,
        told: Told,
        pvt: Pvt,
    },
    /// An unknown child ended that the daemon may leave to somebody else; the task
    /// is stepped with the answer.
    Orphan {
        unknown: Unknown,
        pid: i32,
        status: i32,
    },
    /// A task's event. The record is a copy: the callback may free its object.
    Event {
        call: EventFn,
        source: Pvt,
        record: Record,
        pvt: Pvt,
    },
    /// The same; the task is stepped with the answer.
    Ask {
        call: AskFn,
        source: Pvt,
        record: Record,
        pvt: Pvt,
    },
}
