//! What C holds: a context's memory, a child's id.

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use nix::errno::Errno;

use super::host::{Binding, Memory};
use crate::reap::callback::{ChildFn, Hook, Pvt};
use crate::reap::id::{ContextId, WatchId};

/// A context: what sss_sigchld_ctx_init() and sss_sigchld_ctx_create() make.
/// Opaque.
#[allow(non_camel_case_types)]
pub struct sss_sigchild_ctx {
    pub(crate) id: ContextId,
    /// The host's allocator, for life; None where the memory is the library's.
    pub(crate) memory: Option<Memory>,
    /// It was made with a host.
    pub(crate) hosted: bool,
    /// What ties it to the host's loop.
    pub(crate) binding: Option<Binding>,
    /// It is being freed.
    pub(crate) ending: bool,
}

/// A handle to one watch of a child: what sss_child_register() makes. Opaque.
///
/// Without a host that allocates the pointer is the watch's 64-bit id itself and points to no
/// memory: one that was freed is told from every later one, and using it is
/// harmless. With such a host it points to an object of the host's, and the
/// host's rules for freed memory hold.
#[allow(non_camel_case_types)]
pub struct sss_child_ctx {
    pub(crate) id: WatchId,
    /// The host's free.
    pub(crate) free: unsafe extern "C" fn(memory: *mut c_void) -> c_int,
    /// The daemon's callback, which hosted() calls.
    pub(crate) cb: Option<ChildFn>,
    pub(crate) pvt: *mut c_void,
}

thread_local! {
    /// The handle whose callback this thread is in, or NULL.
    static CURRENT: Cell<*mut sss_child_ctx> = const { Cell::new(std::ptr::null_mut()) };
}

/// The handle whose callback the calling thread is in, or NULL.
pub(crate) fn current() -> *mut sss_child_ctx {
    CURRENT.get()
}

/// Sets it, and returns what it was.
pub(crate) fn set_current(child: *mut sss_child_ctx) -> *mut sss_child_ctx {
    CURRENT.replace(child)
}

/// Asks the daemon's hook of a watch; false where it refuses.
pub(crate) fn run_hook(hook: &Hook) -> bool {
    // SAFETY: the daemon's hook, with what it was set with.
    unsafe { (hook.call)(hook.child.0, hook.pvt.0) == 0 }
}

/// The callback of a handle that is an object of the host's: only the object
/// knows its own address.
pub(crate) unsafe extern "C" fn hosted(pid: c_int, wait_status: c_int, child: *mut c_void) {
    let child = child.cast::<sss_child_ctx>();
    set_current(child);
    // SAFETY: freeing the object ends the watch, so it is there.
    let (cb, pvt) = unsafe { ((*child).cb, (*child).pvt) };
    if let Some(cb) = cb {
        // SAFETY: the daemon's callback with its own data.
        unsafe { cb(pid, wait_status, pvt) };
    }
}

/// The daemon's callback and data, given those of the watch.
pub(crate) fn of_daemon(cb: Option<ChildFn>, pvt: Pvt) -> (Option<ChildFn>, *mut c_void) {
    if cb.is_some_and(|cb| std::ptr::fn_addr_eq(cb, hosted as ChildFn)) {
        let child = pvt.0.cast::<sss_child_ctx>();
        // SAFETY: the object of a watch that has not ended.
        return unsafe { ((*child).cb, (*child).pvt) };
    }
    (cb, pvt.0)
}

/// The struct tag of sss_child_ctx, as the host's allocator shows it.
pub(crate) const CHILD_TYPE: &std::ffi::CStr = c"struct sss_child_ctx";
/// The struct tag of sss_sigchild_ctx.
pub(crate) const CONTEXT_TYPE: &std::ffi::CStr = c"struct sss_sigchild_ctx";

/// A decoded handle.
pub(crate) enum Child {
    /// The pointer is the id.
    Plain(WatchId),
    /// The id is in an object of the host's.
    Hosted(WatchId, *mut sss_child_ctx),
}

impl Child {
    /// # Safety
    /// `child` is NULL, or a handle that sss_child_register() wrote and, with
    /// a host, whose memory is not freed.
    pub(crate) unsafe fn from_c(child: *mut sss_child_ctx) -> Result<Child, Errno> {
        if child.is_null() {
            return Err(Errno::EINVAL);
        }
        if let Some(id) = WatchId::from_tagged(child.addr() as u64) {
            return Ok(Child::Plain(id));
        }
        // SAFETY: not tagged, so the host's memory, which the caller vouches for.
        Ok(Child::Hosted(unsafe { (*child).id }, child))
    }

    pub(crate) fn id(&self) -> WatchId {
        match *self {
            Child::Plain(id) | Child::Hosted(id, _) => id,
        }
    }

    /// What the watch is to call so that the daemon's callback is called.
    pub(crate) fn callback(&self, cb: Option<ChildFn>, pvt: *mut c_void) -> (Option<ChildFn>, Pvt) {
        match *self {
            Child::Plain(_) => (cb, Pvt(pvt)),
            Child::Hosted(_, object) => (cb.map(|_| hosted as ChildFn), Pvt(object.cast())),
        }
    }

    /// Keeps the daemon's callback where hosted() finds it.
    pub(crate) fn keep(&self, cb: Option<ChildFn>, pvt: *mut c_void) {
        if let Child::Hosted(_, object) = *self {
            // SAFETY: the host's memory, used in the loop's thread only.
            unsafe {
                (*object).cb = cb;
                (*object).pvt = pvt;
            }
        }
    }
}

/// The handle that is the id itself.
pub(crate) fn tagged(id: WatchId) -> *mut sss_child_ctx {
    #[allow(clippy::cast_possible_truncation)] // 64-bit pointers: checked in lib.rs
    std::ptr::without_provenance_mut(id.tagged() as usize)
}

/// # Safety
/// `ctx` is NULL or a context that is not freed.
pub(crate) unsafe fn context<'a>(
    ctx: *mut sss_sigchild_ctx,
) -> Result<&'a sss_sigchild_ctx, Errno> {
    // SAFETY: the caller vouches for it.
    unsafe { ctx.as_ref() }.ok_or(Errno::EINVAL)
}
