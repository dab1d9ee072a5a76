//! set_robust_list(2): the kernel marks and wakes a futex when its owner execs or dies.
//! That is how a forked child tells its parent that it has exec'ed: unlike the end of
//! file of a pipe, no stray copy of a descriptor in some other process can delay it, and
//! it takes up no descriptor of the child's. It is also how a thread tells that it has
//! run its last instruction, without being joined.

use std::ptr::null;
use std::sync::atomic::{AtomicU32, Ordering};

use super::bits::{ToSigned, ToUnsigned};
use super::syscall::{address, call, int};

/// The value of a latch that its owner has opened; it is no thread's id.
const OPEN: u32 = 1 << 29;

/// Closed until its owner opens it, execs or dies.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Latch {
    next: *const Latch,
    word: AtomicU32,
}

/// The kernel's struct robust_list_head.
#[repr(C)]
#[derive(Debug)]
struct Head {
    first: *const Latch,
    offset: isize,
    pending: *const Latch,
}

/// The two latches of a forked child, in memory that it shares with its parent.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Latches {
    head: Head,
    /// Opened when the child is set up and held.
    pub(crate) ready: Latch,
    /// Opened by the child's exec or end.
    pub(crate) gone: Latch,
}

/// How a wait for a latch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It is open.
    Open,
    /// Its owner execed or died.
    Left,
    /// Neither within the time.
    TimedOut,
}

// SAFETY: the kernel and the owner reach the list by the addresses in it, which only
// link() writes; whoever looks on reads the words.
unsafe impl Send for Latches {}
// SAFETY: as above.
unsafe impl Sync for Latches {}

impl Latches {
    pub(crate) const fn new() -> Self {
        Latches {
            head: Head {
                first: null(),
                offset: 0,
                pending: null(),
            },
            ready: Latch::new(),
            gone: Latch::new(),
        }
    }

    /// Links the list, whose addresses hold in the child too.
    ///
    /// # Safety
    /// `this` points to zeroed memory that outlives the child's use of it.
    pub(crate) unsafe fn link(this: *mut Latches) {
        // SAFETY: as the caller promises.
        unsafe {
            let ready = &raw const (*this).ready;
            let gone = &raw const (*this).gone;
            (*this).head = Head {
                first: ready,
                offset: std::mem::offset_of!(Latch, word).to_signed(),
                pending: null(),
            };
            (*this).ready.next = gone;
            // The list ends where it began, at its head.
            (*this).gone.next = (&raw const (*this).head).cast();
        }
    }

    /// In the child: makes both latches its own.
    ///
    /// # Safety
    /// Linked, and not the list of another live thread.
    #[inline(always)]
    pub(crate) unsafe fn own(this: *const Latches) -> Result<(), i32> {
        // SAFETY: as the caller promises.
        unsafe {
            let tid = int(call!(SYS_gettid)?);
            let owned = tid.to_unsigned() | libc::FUTEX_WAITERS;
            (*this).ready.word.store(owned, Ordering::SeqCst);
            (*this).gone.word.store(owned, Ordering::SeqCst);
            call!(SYS_set_robust_list, address(this), size_of::<Head>())?;
        }
        Ok(())
    }
}

impl Latch {
    const fn new() -> Self {
        Latch {
            next: null(),
            word: AtomicU32::new(0),
        }
    }

    /// In the child: opens the latch.
    #[inline(always)]
    pub(crate) fn open(&self) {
        self.word.store(OPEN, Ordering::SeqCst);
        // SAFETY: wakes whoever waits on this word; no memory is written.
        let _ = unsafe {
            call!(
                SYS_futex,
                address(self.word.as_ptr()),
                libc::FUTEX_WAKE.to_unsigned() as usize,
                1
            )
        };
    }

    /// Whether it has no owner, or its owner has died.
    pub(crate) fn is_free(&self) -> bool {
        self.word.load(Ordering::SeqCst) == 0 || self.state() == Wait::Left
    }

    /// Marks it as about to have an owner, a thread that does not run yet.
    pub(crate) fn promise(&self) {
        self.word.store(libc::FUTEX_WAITERS, Ordering::SeqCst);
    }

    /// Marks it as having no owner.
    pub(crate) fn disown(&self) {
        self.word.store(0, Ordering::SeqCst);
    }

    /// The latch's state now.
    pub(crate) fn state(&self) -> Wait {
        match self.word.load(Ordering::SeqCst) {
            OPEN => Wait::Open,
            word if word & libc::FUTEX_OWNER_DIED != 0 => Wait::Left,
            _ => Wait::TimedOut,
        }
    }

    /// Waits for the owner, some milliseconds at most.
    pub(crate) fn wait(&self, milliseconds: u32) -> Wait {
        let timeout = libc::timespec {
            tv_sec: i64::from(milliseconds / 1000),
            tv_nsec: i64::from(milliseconds % 1000) * 1_000_000,
        };
        let seen = self.word.load(Ordering::SeqCst);
        if self.state() != Wait::TimedOut {
            return self.state();
        }
        // SAFETY: the word and the timeout are valid for the call. Any error is
        // a reason to look at the word again.
        let _ = unsafe {
            call!(
                SYS_futex,
                address(self.word.as_ptr()),
                libc::FUTEX_WAIT.to_unsigned() as usize,
                seen as usize,
                address(&raw const timeout)
            )
        };
        self.state()
    }
}
