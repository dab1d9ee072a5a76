//! What the daemon gets or gave as it is: its own pointers, and plain records.

use std::ffi::c_void;
use std::mem::MaybeUninit;

/// The daemon's private data, handed back to its callbacks as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opaque(pub(crate) *mut c_void);

// SAFETY: only the daemon's own callbacks look behind it, under its own rules.
unsafe impl Send for Opaque {}
// SAFETY: as above.
unsafe impl Sync for Opaque {}

const WORDS: usize = 32;

/// A C struct of at most 256 bytes, by value: a callback that is handed a copy
/// may free whatever the library has.
#[derive(Clone, Copy)]
pub(crate) struct Record([MaybeUninit<u64>; WORDS]);

impl Record {
    /// `T` is a `#[repr(C)]` struct without a destructor.
    pub(crate) fn of<T: Copy>(value: T) -> Self {
        const {
            assert!(size_of::<T>() <= size_of::<Record>());
            assert!(align_of::<T>() <= align_of::<Record>());
        }
        let mut record = Record([MaybeUninit::uninit(); WORDS]);
        // SAFETY: large enough and aligned, as just seen.
        unsafe { record.0.as_mut_ptr().cast::<T>().write(value) };
        record
    }

    pub(crate) fn as_ptr(&self) -> *const c_void {
        self.0.as_ptr().cast()
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Record")
    }
}
