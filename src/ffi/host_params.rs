//! `struct sss_host`: how the library meets a daemon's allocator and loop.

use std::ffi::{c_char, c_int, c_void};

use nix::errno::Errno;

use super::boundary::errno_t;
use super::handle::sss_sigchild_ctx;
use super::params::In;
use crate::sys::error::Error;

/// A daemon's event loop, and its allocator if it wants, as the library uses
/// them.
///
/// Most daemons need none: they poll sss_sigchld_ctx_fd(), or use a header of
/// sss_sigchld/, each of which holds the host for one event loop. A host is a
/// table of functions. It is copied when it is given; its functions stay callable
/// for as long as a context uses it. All are called from the loop's thread only,
/// without a lock held.
///
/// watch_fd and unwatch must be set. alloc and free may be left out together:
/// then all memory is the library's and every memctx is NULL. defer_new, defer
/// and defer_free may be left out together: then callbacks come straight from
/// readable() and from sss_sigchld_ctx_signalled(), and not in the loop's next turn.
/// watch_sigchld may be left out, for a loop without signals: then the context lives
/// by its descriptor alone, and its options must be 0.
///
/// A context with a host is for the thread that made it: see sss_sigchld(7), CONTRACT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_host {
    /// sizeof(struct sss_host), which tells the table's version.
    pub size: usize,

    /// Allocate size bytes under parent, zeroed, aligned for any object.
    ///
    /// parent is a memctx that the daemon passed, or memory that this function
    /// returned, or NULL. type_name is a string in static memory.
    ///
    /// If gone is not NULL, call gone(memory) once when the memory is freed, in
    /// whatever way, while it is still readable: after the daemon's own
    /// destructor on it has agreed and before anything below it is released.
    ///
    /// Returns NULL when out of memory.
    pub alloc: Option<
        unsafe extern "C" fn(
            parent: *mut c_void,
            size: usize,
            type_name: *const c_char,
            gone: Option<unsafe extern "C" fn(memory: *mut c_void)>,
        ) -> *mut c_void,
    >,

    /// Free what alloc returned. Returns 0, or -1 when a destructor of the
    /// daemon's refused: then nothing was freed.
    pub free: Option<unsafe extern "C" fn(memory: *mut c_void) -> c_int>,

    /// Prepare calls of fn(arg) from the loop's next turn.
    ///
    /// owner is the context's memory. All allocation happens here, so that
    /// defer() cannot fail. Returns NULL when out of memory.
    pub defer_new: Option<
        unsafe extern "C" fn(
            owner: *mut c_void,
            r#loop: *mut c_void,
            r#fn: unsafe extern "C" fn(arg: *mut c_void),
            arg: *mut c_void,
        ) -> *mut c_void,
    >,

    /// Have the loop make the prepared call once, in its next turn and not
    /// before this function returned. A second call before that changes nothing.
    /// The library may call it from inside fn.
    pub defer: Option<unsafe extern "C" fn(deferral: *mut c_void)>,

    /// Cancel and free what defer_new returned; also from inside its own call.
    pub defer_free: Option<unsafe extern "C" fn(deferral: *mut c_void)>,

    /// Call readable(arg) from the loop whenever fd is readable (level
    /// triggered). fd is borrowed: not to be closed. Writes *watch.
    /// Returns 0 or an errno.
    pub watch_fd: Option<
        unsafe extern "C" fn(
            owner: *mut c_void,
            r#loop: *mut c_void,
            fd: c_int,
            readable: unsafe extern "C" fn(arg: *mut c_void),
            arg: *mut c_void,
            watch: *mut *mut c_void,
        ) -> errno_t,
    >,

    /// Take SIGCHLD for this loop: unblock it, or whatever else this way of taking
    /// it needs, and from the loop (never from a signal handler) call
    /// sss_sigchld_ctx_signalled() with ctx and, where the loop has it, the signal's
    /// siginfo_t. Writes *watch. Returns 0 or an errno.
    pub watch_sigchld: Option<
        unsafe extern "C" fn(
            owner: *mut c_void,
            r#loop: *mut c_void,
            ctx: *mut sss_sigchild_ctx,
            watch: *mut *mut c_void,
        ) -> errno_t,
    >,

    /// End and free a watch of watch_fd or watch_sigchld; for SIGCHLD give the
    /// daemon its former disposition back. Also from inside the watch's own call.
    pub unwatch: Option<unsafe extern "C" fn(watch: *mut c_void)>,
}

/// A host's table after its checks: the functions that every host has are set, and of those
/// that belong together either all are set or none.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    pub(super) memory: Option<Memory>,
    pub(super) deferral: Option<Deferral>,
    pub(super) watch_fd: WatchFdFn,
    pub(super) watch_sigchld: Option<WatchSigchldFn>,
    pub(super) unwatch: PointerFn,
}

/// The host's allocator.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(super) alloc: AllocFn,
    pub(super) free: FreeFn,
}

/// How the host's loop calls back in its next turn.
#[derive(Clone, Copy)]
pub(super) struct Deferral {
    pub(super) make: DeferNewFn,
    pub(super) run: PointerFn,
    pub(super) free: PointerFn,
}

pub(super) type PointerFn = unsafe extern "C" fn(*mut c_void);
type FreeFn = unsafe extern "C" fn(*mut c_void) -> c_int;
type AllocFn =
    unsafe extern "C" fn(*mut c_void, usize, *const c_char, Option<PointerFn>) -> *mut c_void;
type DeferNewFn =
    unsafe extern "C" fn(*mut c_void, *mut c_void, PointerFn, *mut c_void) -> *mut c_void;
type WatchFdFn = unsafe extern "C" fn(
    *mut c_void,
    *mut c_void,
    c_int,
    PointerFn,
    *mut c_void,
    *mut *mut c_void,
) -> errno_t;
type WatchSigchldFn = unsafe extern "C" fn(
    *mut c_void,
    *mut c_void,
    *mut sss_sigchild_ctx,
    *mut *mut c_void,
) -> errno_t;

impl In<'_, sss_host> {
    /// Copies and checks a daemon's table; None for NULL.
    pub(super) fn get(self) -> Result<Option<Host>, Error> {
        let Some(table) = self.read_if_given()? else {
            return Ok(None);
        };
        let memory = match (table.alloc, table.free) {
            (Some(alloc), Some(free)) => Some(Memory { alloc, free }),
            (None, None) => None,
            _ => return Err(Errno::EINVAL.into()),
        };
        let deferral = match (table.defer_new, table.defer, table.defer_free) {
            (Some(make), Some(run), Some(free)) => Some(Deferral { make, run, free }),
            (None, None, None) => None,
            _ => return Err(Errno::EINVAL.into()),
        };
        Ok(Some(Host {
            memory,
            deferral,
            watch_fd: table.watch_fd.ok_or(Errno::EINVAL)?,
            watch_sigchld: table.watch_sigchld,
            unwatch: table.unwatch.ok_or(Errno::EINVAL)?,
        }))
    }
}
