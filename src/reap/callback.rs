//! The daemon's callbacks, as the core holds them: it never calls one.

use std::ffi::{c_int, c_void};

pub(crate) use crate::sys::opaque::Opaque as Pvt;

/// Told of a child.
pub(crate) type ChildFn = unsafe extern "C" fn(c_int, c_int, *mut c_void);

/// Told of a child that nobody registered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unknown {
    pub(crate) call: unsafe extern "C" fn(c_int, c_int, *mut c_void) -> u32,
    pub(crate) pvt: Pvt,
}

/// One callback that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
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
}
