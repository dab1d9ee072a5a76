//! Whose process this is, and one value of a kind per process.
//!
//! getpid(2) cannot tell: pid 1 can clone a child that is pid 1 of a pid
//! namespace of its own. A page under MADV_WIPEONFORK (madvise(2)) can.

use std::alloc::{Layout, alloc};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use nix::errno::Errno;

const UNSET: u32 = 0;
const BUSY: u32 = 1;
const SET: u32 = 2;

/// One `T` for each process: a forked child has none until it makes its own.
pub(crate) struct PerProcess<T: 'static> {
    /// The first word of the page that a fork wipes.
    page: AtomicPtr<AtomicU32>,
    current: AtomicPtr<Generation<T>>,
}

/// A process's value, and that of the process that it was forked from.
pub(crate) struct Generation<T: 'static> {
    pub(crate) value: T,
    parent: Option<&'static Generation<T>>,
    depth: u32,
}

impl<T: 'static> Generation<T> {
    /// How many forks lie between this process and the first that used this.
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }
}

impl<T: Sync + 'static> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        PerProcess {
            page: AtomicPtr::new(null_mut()),
            current: AtomicPtr::new(null_mut()),
        }
    }

    fn word(&self) -> Option<&'static AtomicU32> {
        // SAFETY: the page is mapped once and never unmapped.
        unsafe { self.page.load(Ordering::Acquire).as_ref() }
    }

    /// This process's own value.
    pub(crate) fn get(&self) -> Option<&'static Generation<T>> {
        match self.word()?.load(Ordering::Acquire) {
            SET => self.inherited(),
            _ => None,
        }
    }

    /// The newest value, also if it is a former process's.
    pub(crate) fn inherited(&self) -> Option<&'static Generation<T>> {
        // SAFETY: values are never freed.
        unsafe { self.current.load(Ordering::Acquire).as_ref() }
    }

    /// The value of a process that this one was forked from.
    pub(crate) fn of_depth(&self, depth: u32) -> Option<&'static Generation<T>> {
        let mut found = self.inherited();
        while let Some(generation) = found
            && generation.depth != depth
        {
            found = generation.parent;
        }
        found
    }

    /// This process's own value, made if there is none.
    pub(crate) fn get_or_make(
        &self,
        make: impl FnOnce(u32) -> Option<T>,
    ) -> Result<&'static Generation<T>, Errno> {
        let word = match self.word() {
            Some(word) => word,
            None => self.map()?,
        };
        loop {
            match word.compare_exchange(UNSET, BUSY, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(SET) => return self.inherited().ok_or(Errno::ENOMEM),
                Err(_) => std::thread::yield_now(),
            }
        }
        let parent = self.inherited();
        let depth = parent.map_or(0, |parent| parent.depth + 1);
        let made = make(depth).and_then(|value| {
            leak(Generation {
                value,
                parent,
                depth,
            })
        });
        if let Some(made) = made {
            let made = std::ptr::from_ref(made).cast_mut();
            self.current.store(made, Ordering::Release);
        }
        word.store(if made.is_some() { SET } else { UNSET }, Ordering::Release);
        made.ok_or(Errno::ENOMEM)
    }

    fn map(&self) -> Result<&'static AtomicU32, Errno> {
        // SAFETY: a new anonymous page, nobody else's.
        let page = unsafe {
            libc::mmap(
                null_mut(),
                size_of::<AtomicU32>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        // SAFETY: the page just mapped; madvise takes it whole.
        let wiped = unsafe { libc::madvise(page, size_of::<AtomicU32>(), libc::MADV_WIPEONFORK) };
        let first = Errno::result(wiped).map(|_| {
            self.page
                .compare_exchange(null_mut(), page.cast(), Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        });
        if first != Ok(true) {
            // SAFETY: known to nobody.
            unsafe { libc::munmap(page, size_of::<AtomicU32>()) };
            first?;
        }
        self.word().ok_or(Errno::ENOMEM)
    }
}

/// A leaked box, or None: Box::new would abort when memory is out.
pub(crate) fn leak<T>(value: T) -> Option<&'static T> {
    // SAFETY: T has a size; the pointer is checked, written before it is read,
    // and never freed.
    unsafe {
        let place = NonNull::new(alloc(Layout::new::<T>()).cast::<T>())?;
        place.write(value);
        Some(place.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static VALUE: PerProcess<u32> = PerProcess::new();

    #[test]
    fn a_forked_child_has_no_value_until_it_makes_one() {
        assert_eq!(VALUE.get_or_make(Some).unwrap().value, 0);
        assert_eq!(VALUE.get().unwrap().value, 0);
        // SAFETY: the child only uses atomics and malloc, which glibc allows.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let none = VALUE.get().is_none();
            let own = VALUE.get_or_make(Some).is_ok_and(|own| own.value == 1);
            let former = VALUE.of_depth(0).is_some_and(|former| former.value == 0);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!(none && own && former))) };
        }
        let mut status = -1;
        // SAFETY: our own child.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(status, 0);
        assert_eq!(VALUE.get().unwrap().value, 0);
    }
}
