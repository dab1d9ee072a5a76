//! A pointer of the daemon's: carried, never followed.

use std::ffi::c_void;

/// The daemon's private data, handed back to its callbacks as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opaque(pub(crate) *mut c_void);

// SAFETY: only the daemon's own callbacks look behind it, under its own rules.
unsafe impl Send for Opaque {}
// SAFETY: as above.
unsafe impl Sync for Opaque {}
