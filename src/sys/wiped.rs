//! Memory that a fork(2) does not copy: whole pages of the allocator's under
//! MADV_WIPEONFORK (madvise(2)). A forked child has zeros there and must not look. In
//! return the fork write-protects none of these pages, and the parent's next write to
//! them costs no fault.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use allocator_api2::alloc::{AllocError, Allocator};

use super::error::{Call, Error};

pub(crate) type Box<T> = allocator_api2::boxed::Box<T, Wiped>;

/// A value in pages of its own; None, and nothing is made, when memory is out.
pub(crate) fn boxed<T>(make: impl FnOnce() -> T) -> Option<Box<T>> {
    let place = Box::try_new_uninit_in(Wiped).ok()?;
    Some(Box::write(place, make()))
}

/// The same value over and over.
pub(crate) fn filled<T: Copy, const N: usize>(value: T) -> Option<Box<[T; N]>> {
    let mut place = Box::<[T; N]>::try_new_uninit_in(Wiped).ok()?;
    for at in 0..N {
        // SAFETY: inside the array.
        unsafe { place.as_mut_ptr().cast::<T>().add(at).write(value) };
    }
    // SAFETY: all of it was written.
    Some(unsafe { place.assume_init() })
}

/// Allocates pages that a fork wipes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wiped;

// SAFETY: every block is the global allocator's, of the size that was asked for
// or more, and stays until it is deallocated.
unsafe impl Allocator for Wiped {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let pages = pages(layout).ok_or(AllocError)?;
        // SAFETY: its size is not zero.
        let block = NonNull::new(unsafe { alloc(pages) }).ok_or(AllocError)?;
        // Where this fails a forked child has copies, and there are as many faults as
        // with other memory.
        if !LEAKS_ARE_LOOKED_FOR.load(Ordering::Relaxed) {
            let _ = advise(block, pages, libc::MADV_WIPEONFORK);
        }
        Ok(NonNull::slice_from_raw_parts(block, layout.size()))
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        let Some(pages) = pages(layout) else {
            return;
        };
        // Pages that stay under MADV_WIPEONFORK must not be used for anything else: a
        // forked child would find zeros there. If this fails they are leaked.
        if advise(block, pages, libc::MADV_KEEPONFORK).is_ok() {
            // SAFETY: allocated above with the same layout.
            unsafe { dealloc(block.as_ptr(), pages) };
        }
    }
}

/// The same for one hash table, which itself points only into the middle of its
/// block: without its start valgrind takes it for possibly lost.
#[derive(Debug)]
pub(crate) struct Anchored {
    /// Where the table's block begins, for leak checkers.
    start: AtomicPtr<u8>,
}

impl Anchored {
    pub(crate) const fn new() -> Self {
        Anchored {
            start: AtomicPtr::new(null_mut()),
        }
    }
}

// SAFETY: every block comes from Wiped, a sound allocator, and goes back to it.
unsafe impl Allocator for Anchored {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = Wiped.allocate(layout)?;
        self.start.store(block.as_ptr().cast(), Ordering::Relaxed);
        Ok(block)
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        // A table that grows has its new block already.
        let _ = self.start.compare_exchange(
            block.as_ptr(),
            null_mut(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        // SAFETY: as the caller vouches; allocated above by Wiped.
        unsafe { Wiped.deallocate(block, layout) };
    }
}

/// The whole pages that a layout takes.
fn pages(layout: Layout) -> Option<Layout> {
    // SAFETY: no memory is passed.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    let size = layout.size().max(1).checked_next_multiple_of(page)?;
    Layout::from_size_align(size, page.max(layout.align())).ok()
}

/// LeakSanitizer is there: at a forked child's exit it would take for leaked
/// whatever only wiped memory pointed to, the daemon's own data included.
static LEAKS_ARE_LOOKED_FOR: AtomicBool = AtomicBool::new(false);

/// To be called before the first allocation and with no lock held: it takes the loader's
/// lock, under which a plugin's destructors may call us.
pub(crate) fn prepare() {
    // SAFETY: looks a name up.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__lsan_do_leak_check".as_ptr()) };
    LEAKS_ARE_LOOKED_FOR.store(!found.is_null(), Ordering::Relaxed);
}

fn advise(block: NonNull<u8>, pages: Layout, advice: i32) -> Result<(), Error> {
    // SAFETY: these pages are nobody else's.
    let code = unsafe { libc::madvise(block.as_ptr().cast(), pages.size(), advice) };
    Call::madvise.result(code).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a forked child finds in the first word of a block.
    fn in_a_child(block: *const u64) -> u64 {
        // SAFETY: the child reads its own memory and ends.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::_exit(i32::try_from(block.read_volatile()).unwrap_or(255));
            }
            let mut status = -1;
            libc::waitpid(pid, &raw mut status, 0);
            u64::from(libc::WEXITSTATUS(status).unsigned_abs())
        }
    }

    #[test]
    fn a_forked_child_finds_zeros_and_in_freed_memory_what_others_put_there() {
        let words = filled::<u64, 3_000>(7).unwrap();
        assert_eq!(in_a_child(&raw const words[0]), 0);
        assert_eq!(in_a_child(&raw const words[2_999]), 0);
        assert_eq!((words[0], words[2_999]), (7, 7));
        let place = words.as_ptr();
        drop(words);
        // These are likely the same pages; if not, the test only shows less.
        let layout = pages(Layout::new::<[u64; 3_000]>()).unwrap();
        // SAFETY: written before it is read, freed with the same layout.
        unsafe {
            let again = alloc(layout).cast::<u64>();
            again.write(9);
            assert_eq!(in_a_child(again), 9, "{place:p} {again:p}");
            dealloc(again.cast(), layout);
        }
    }
}
