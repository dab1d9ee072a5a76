//! Values that pass through unchanged: the daemon's own pointers, and plain records.

use std::ffi::c_void;
use std::mem::MaybeUninit;

/// The daemon's private data, handed back to its callbacks as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opaque(pub(crate) *mut c_void);

impl Opaque {
    /// A number, for callbacks of our own.
    pub(crate) fn number(number: u64) -> Self {
        #[allow(clippy::cast_possible_truncation)] // 64-bit pointers: checked in lib.rs
        Opaque(std::ptr::without_provenance_mut(number as usize))
    }
}

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

/// Bytes that the maker of this keeps valid: the daemon's, or a buffer of ours that a
/// callback may look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes {
    first: *const u8,
    length: usize,
}

// SAFETY: shared bytes, which nobody changes meanwhile.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    pub(crate) const NONE: Bytes = Bytes {
        first: c"".as_ptr().cast(),
        length: 0,
    };

    /// # Safety
    /// There are so many bytes, which stay as they are as long as this is used.
    pub(crate) unsafe fn from_raw(first: *const u8, length: usize) -> Self {
        if length == 0 {
            return Self::NONE;
        }
        Bytes { first, length }
    }

    /// What is in a buffer, for as long as it is not touched.
    pub(crate) fn of(buffer: &[u8]) -> Self {
        Bytes {
            first: buffer.as_ptr(),
            length: buffer.len(),
        }
    }

    /// The same with a NUL behind it, which does not count. The buffer is empty, or
    /// has room for one byte more.
    pub(crate) fn with_nul(buffer: &mut Vec<u8>) -> Self {
        match buffer.spare_capacity_mut().first_mut() {
            Some(behind) => {
                behind.write(0);
                Self::of(buffer)
            }
            None => Self::NONE,
        }
    }

    /// The room behind what a buffer holds, for the daemon to write to.
    pub(crate) fn room(buffer: &mut Vec<u8>) -> Self {
        let room = buffer.spare_capacity_mut();
        Bytes {
            first: room.as_ptr().cast(),
            length: room.len(),
        }
    }

    /// The daemon wrote so many bytes to the room of an empty buffer; None where
    /// that is more than there was.
    pub(crate) fn filled(buffer: &mut Vec<u8>, count: usize) -> Option<Self> {
        if count > buffer.capacity() {
            return None;
        }
        // SAFETY: so many were written, as the daemon says.
        unsafe { buffer.set_len(count) };
        Some(Self::of(buffer))
    }

    pub(crate) fn is_empty(self) -> bool {
        self.length == 0
    }

    pub(crate) fn as_ptr(self) -> *const u8 {
        self.first
    }

    pub(crate) fn len(self) -> usize {
        self.length
    }

    pub(crate) fn advance(&mut self, count: usize) {
        let count = count.min(self.length);
        // SAFETY: not beyond the end.
        self.first = unsafe { self.first.add(count) };
        self.length -= count;
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: valid, as whoever made it promised.
        unsafe { std::slice::from_raw_parts(self.first, self.length) }
    }
}
