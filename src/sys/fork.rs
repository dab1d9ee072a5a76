//! Tells a forked child from its parent: one value of a kind per process, and settings
//! that a fork copies whole.
//!
//! getpid(2) cannot tell: pid 1 can clone a child that is pid 1 of a pid
//! namespace of its own. A page under MADV_WIPEONFORK (madvise(2)) can.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::UnsafeCell;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use lock_api::RawMutex;
use nix::errno::Errno;

use super::error::{Call, Error, out_of_memory};
use super::lock::RawFutex;
use super::unload::Unloading;

const UNSET: u32 = 0;
const BUSY: u32 = 1;
const SET: u32 = 2;

/// One `T` for each process: a forked child has none until it makes its own.
pub(crate) struct PerProcess<T: 'static> {
    state: WipedWord,
    current: AtomicPtr<Generation<T>>,
}

/// A process's value, and that of the process that it was forked from.
pub(crate) struct Generation<T: 'static> {
    pub(crate) value: T,
    parent: Option<&'static Generation<T>>,
    depth: u32,
}

/// Proof that a value is a former process's: no thread of this process uses it.
#[derive(Clone, Copy)]
pub(crate) struct Former(());

impl<T: 'static> Generation<T> {
    /// How many forks lie between this process and the first that used this.
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }
}

impl<T: Sync + 'static> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        PerProcess {
            state: WipedWord::new(),
            current: AtomicPtr::new(null_mut()),
        }
    }

    /// This process's own value.
    pub(crate) fn get(&self) -> Option<&'static Generation<T>> {
        match self.state.get()?.load(Ordering::Acquire) {
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
        while let Some(generation) = found {
            if generation.depth == depth {
                break;
            }
            found = generation.parent;
        }
        found
    }

    /// The values of the processes that this one was forked from, the newest first.
    pub(crate) fn former(&self) -> impl Iterator<Item = (&'static T, Former)> + use<T> {
        let newest = match self.get() {
            Some(own) => own.parent,
            None => self.inherited(),
        };
        std::iter::successors(newest, |generation| generation.parent)
            .map(|generation| (&generation.value, Former(())))
    }

    /// This process's own value, made if there is none.
    pub(crate) fn get_or_make(
        &self,
        make: impl FnOnce(u32) -> Option<T>,
    ) -> Result<&'static Generation<T>, Error> {
        let word = self.state.get_or_map()?;
        loop {
            match word.compare_exchange(UNSET, BUSY, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(SET) => return self.inherited().ok_or_else(|| out_of_memory(())),
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
        made.ok_or_else(|| out_of_memory(()))
    }

    /// Drops this process's own value; what a forked child has of its parents stays,
    /// as their memory may be wiped.
    pub(crate) fn forget(&self, going: &Unloading) {
        if let Some(own) = self.get() {
            self.current.store(null_mut(), Ordering::Release);
            unleak(own, going);
        }
    }
}

/// A word that is zero in a forked child: the first of a page that a fork wipes.
struct WipedWord(AtomicPtr<AtomicU32>);

impl WipedWord {
    const fn new() -> Self {
        WipedWord(AtomicPtr::new(null_mut()))
    }

    fn get(&self) -> Option<&'static AtomicU32> {
        // SAFETY: the page is mapped once and never unmapped.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    fn get_or_map(&self) -> Result<&'static AtomicU32, Error> {
        match self.get() {
            Some(word) => Ok(word),
            None => self.map(),
        }
    }

    fn map(&self) -> Result<&'static AtomicU32, Error> {
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
            return Err(Call::mmap.failed(Errno::last()));
        }
        // SAFETY: the page just mapped; madvise takes it whole.
        let wiped = unsafe { libc::madvise(page, size_of::<AtomicU32>(), libc::MADV_WIPEONFORK) };
        let first = Call::madvise.result(wiped).map(|_| {
            self.0
                .compare_exchange(null_mut(), page.cast(), Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        });
        if first != Ok(true) {
            // SAFETY: known to nobody.
            unsafe { libc::munmap(page, size_of::<AtomicU32>()) };
            first?;
        } else {
            remember(page.cast());
        }
        self.get().ok_or_else(|| out_of_memory(()))
    }
}

/// The pages that are mapped, for [`unmap_pages`]; more than there are such words.
static PAGES: [AtomicPtr<AtomicU32>; 16] = [const { AtomicPtr::new(null_mut()) }; 16];

fn remember(page: *mut AtomicU32) {
    for place in &PAGES {
        let free = place.compare_exchange(null_mut(), page, Ordering::AcqRel, Ordering::Relaxed);
        if free.is_ok() {
            return;
        }
    }
}

/// Unmaps the pages of all words: nobody reads one any more.
pub(crate) fn unmap_pages(_: &Unloading) {
    for place in &PAGES {
        let page = place.swap(null_mut(), Ordering::AcqRel);
        if !page.is_null() {
            // SAFETY: mapped by map(), and in nobody's hands any more.
            unsafe { libc::munmap(page.cast(), size_of::<AtomicU32>()) };
        }
    }
}

/// What the daemon set for the whole process. A forked child finds the value that
/// was current at the fork, whatever another thread did with it then: the lock is
/// on a page that the fork wipes, and a new value never overwrites the current one.
pub(crate) struct Setting<T: 'static> {
    lock: WipedWord,
    initial: T,
    slots: [UnsafeCell<T>; 2],
    /// 0 for the initial value, or a slot's number, from 1.
    current: AtomicUsize,
}

// SAFETY: the slots are reached with the lock held.
unsafe impl<T: Send + Sync> Sync for Setting<T> {}

impl<T: Copy + 'static> Setting<T> {
    pub(crate) const fn new(initial: T) -> Self {
        Setting {
            lock: WipedWord::new(),
            initial,
            slots: [UnsafeCell::new(initial), UnsafeCell::new(initial)],
            current: AtomicUsize::new(0),
        }
    }

    pub(crate) fn get(&self) -> T {
        // set() maps the page before it stores a value.
        let (1.., Some(word)) = (self.current.load(Ordering::Acquire), self.lock.get()) else {
            return self.initial;
        };
        let lock = RawFutex::of_word(word);
        lock.lock();
        let at = self.current.load(Ordering::Relaxed) - 1;
        // SAFETY: nobody writes while the lock is held.
        let value = unsafe { *self.slots[at].get() };
        // SAFETY: locked above.
        unsafe { lock.unlock() };
        value
    }

    pub(crate) fn set(&self, value: T) -> Result<(), Error> {
        let lock = RawFutex::of_word(self.lock.get_or_map()?);
        lock.lock();
        let at = usize::from(self.current.load(Ordering::Relaxed) == 1);
        // SAFETY: not the current one, and nobody else writes.
        unsafe { *self.slots[at].get() = value };
        self.current.store(at + 1, Ordering::Release);
        // SAFETY: locked above.
        unsafe { lock.unlock() };
        Ok(())
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

/// Takes back what [`leak`] gave, and drops it.
pub(crate) fn unleak<T>(value: &'static T, _: &Unloading) {
    let place = std::ptr::from_ref(value).cast_mut();
    // SAFETY: allocated by leak() with this layout. Nobody else has it: no thread is
    // in here, and the caller gives up its own reference.
    unsafe {
        std::ptr::drop_in_place(place);
        dealloc(place.cast(), Layout::new::<T>());
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

    #[test]
    fn a_setting_is_the_latest() {
        static SETTING: Setting<u64> = Setting::new(7);
        assert_eq!(SETTING.get(), 7);
        for value in 8..12 {
            SETTING.set(value).unwrap();
            assert_eq!(SETTING.get(), value);
        }
    }

    #[test]
    fn a_forked_child_finds_a_whole_setting_and_a_free_lock() {
        static SETTING: Setting<[u64; 8]> = Setting::new([0; 8]);
        SETTING.set([1; 8]).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let status = std::thread::scope(|scope| {
            scope.spawn(|| {
                for value in 2.. {
                    SETTING.set([value; 8]).unwrap();
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let status = (0..200).map(|_| {
                // SAFETY: the child reads and sets, and ends; where it hangs its
                // alarm ends it.
                unsafe {
                    let pid = libc::fork();
                    if pid == 0 {
                        libc::alarm(60);
                        let value = SETTING.get();
                        let whole = value.iter().all(|&word| word == value[0]);
                        let set = SETTING.set([0; 8]).is_ok() && SETTING.get() == [0; 8];
                        libc::_exit(i32::from(!(whole && set)));
                    }
                    let mut status = -1;
                    libc::waitpid(pid, &raw mut status, 0);
                    status
                }
            });
            let status = status.max();
            stop.store(true, Ordering::Relaxed);
            status
        });
        assert_eq!(status, Some(0));
    }
}
