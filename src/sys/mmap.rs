//! mmap(2): stacks for children that share our memory, and memory to share with
//! those that do not. libc's calls, as ThreadSanitizer is blind to any others.

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::errno::Errno;

use super::error::{Call, Error};
use super::syscall::{address, call, word};
use super::unload::Unloading;

/// Enough for the child's few locals, and a multiple of every page size.
const STACK: usize = 64 * 1024;
/// Pages without access below the stack, where an overflow faults.
const GUARD: usize = 64 * 1024;
/// Guard and stack together. The mapping is aligned to this size, so that a signal
/// handler finds the bottom of the stack that it runs on.
const WHOLE: usize = GUARD + STACK;

/// Stacks between two uses: as many as threads commonly spawn at once. Atomic
/// slots, not a lock: a fork in another thread leaves no slot held in its child.
static SPARE: [AtomicPtr<u8>; 8] = [const { AtomicPtr::new(null_mut()) }; 8];

fn map(length: usize, protection: i32, flags: i32) -> Result<NonNull<u8>, Error> {
    // SAFETY: a new mapping.
    let start = unsafe {
        libc::mmap(
            null_mut(),
            length,
            protection,
            flags | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(Call::mmap.failed(Errno::last()));
    }
    NonNull::new(start.cast()).ok_or(Call::mmap.failed(Errno::ENOMEM))
}

fn unmap(start: *mut u8, length: usize) {
    // SAFETY: the caller's own mapping, whole; it cannot fail.
    let _ = unsafe { libc::munmap(start.cast(), length) };
}

/// The stack of one child, above a guard.
#[derive(Debug)]
pub(crate) struct Stack {
    start: NonNull<u8>,
}

impl Stack {
    /// A spare stack or a new one.
    pub(crate) fn take() -> Result<Self, Error> {
        for slot in &SPARE {
            if let Some(start) = NonNull::new(slot.swap(null_mut(), Ordering::Acquire)) {
                return Ok(Stack { start });
            }
        }
        let start = map_aligned()?;
        // SAFETY: the upper part of the mapping, which nobody uses yet.
        let opened = unsafe {
            call!(
                SYS_mprotect,
                address(start.as_ptr()) + GUARD,
                STACK,
                word(libc::PROT_READ | libc::PROT_WRITE)
            )
        };
        match opened {
            Ok(_) => Ok(Stack { start }),
            Err(errno) => {
                // It could not be made accessible, so it must not become a spare one.
                unmap(start.as_ptr(), WHOLE);
                Err(Call::mprotect.failed(Errno::from_raw(errno)))
            }
        }
    }

    /// The lowest address of the stack proper.
    pub(crate) fn bottom(&self) -> usize {
        address(self.start.as_ptr()) + GUARD
    }

    /// Leaves an address at the bottom, for [`left_at_bottom`].
    pub(crate) fn leave(&self, address: usize) {
        // SAFETY: the stack's own memory, which no child uses yet.
        unsafe {
            self.start
                .as_ptr()
                .add(GUARD)
                .cast::<usize>()
                .write(address)
        };
    }

    pub(crate) fn len(&self) -> usize {
        STACK
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let start = self.start.as_ptr();
        let kept = SPARE.iter().any(|slot| {
            slot.compare_exchange(null_mut(), start, Ordering::Release, Ordering::Relaxed)
                .is_ok()
        });
        if !kept {
            unmap(start, WHOLE);
        }
    }
}

/// What was left at the bottom of the stack that the caller runs on.
///
/// # Safety
/// The caller runs on a [`Stack`] with something left there.
#[inline(always)]
pub(crate) unsafe fn left_at_bottom() -> usize {
    let here = 0_u8;
    let bottom = (address(&raw const here) & !(WHOLE - 1)) + GUARD;
    // SAFETY: as the caller promises.
    unsafe { std::ptr::with_exposed_provenance::<usize>(bottom).read() }
}

/// A whole stack's mapping, without access yet. To align it, twice the size is mapped and
/// the rest given back.
fn map_aligned() -> Result<NonNull<u8>, Error> {
    let twice = map(
        2 * WHOLE,
        libc::PROT_NONE,
        libc::MAP_PRIVATE | libc::MAP_STACK | libc::MAP_NORESERVE,
    )?;
    let before = twice.as_ptr().align_offset(WHOLE);
    let start = twice.as_ptr().wrapping_add(before);
    if before > 0 {
        unmap(twice.as_ptr(), before);
    }
    unmap(start.wrapping_add(WHOLE), WHOLE - before);
    NonNull::new(start).ok_or(Call::mmap.failed(Errno::ENOMEM))
}

/// Unmaps the stacks that wait for their next use.
pub(crate) fn unmap_spares(_: &Unloading) {
    for slot in &SPARE {
        let start = slot.swap(null_mut(), Ordering::Acquire);
        if !start.is_null() {
            unmap(start, WHOLE);
        }
    }
}

/// A `T`, all zero at first, in memory that forked children share.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    value: NonNull<T>,
}

// SAFETY: it owns its mapping; T says whether it may be shared between threads.
unsafe impl<T: Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// A `T` of zero bytes is valid and needs no drop.
    pub(crate) unsafe fn zeroed() -> Result<Self, Error> {
        let start = map(
            size_of::<T>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
        )?;
        Ok(Shared {
            value: start.cast(),
        })
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.value.as_ptr()
    }
}

impl<T> std::ops::Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mapping lives as long as this.
        unsafe { self.value.as_ref() }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        unmap(self.as_ptr().cast(), size_of::<T>());
    }
}
