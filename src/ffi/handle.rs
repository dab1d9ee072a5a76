//! What C holds: a context, a child.

use std::cell::Cell;

use crate::reap::callback::Hook;
use crate::reap::id::WatchId;

/// A context: what sss_sigchld_ctx_init() and sss_sigchld_ctx_create() make.
/// Opaque.
#[allow(non_camel_case_types, dead_code)]
pub struct sss_sigchild_ctx([u8; 0]);

/// A handle to one watch of a child: what sss_child_register() makes. Opaque.
///
/// Without a host that allocates the pointer is the watch's 64-bit id itself and points to no
/// memory: one that was freed is told from every later one, and using it is
/// harmless. With such a host it points to an object of the host's, and the
/// host's rules for freed memory hold.
#[allow(non_camel_case_types, dead_code)]
pub struct sss_child_ctx([u8; 0]);

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

/// The handle that is the id itself.
pub(crate) fn tagged(id: WatchId) -> *mut sss_child_ctx {
    #[allow(clippy::cast_possible_truncation)] // 64-bit pointers: checked in lib.rs
    std::ptr::without_provenance_mut(id.tagged() as usize)
}
