//! What C holds: a context's memory, a child's id.

use std::ffi::{c_int, c_void};

use nix::errno::Errno;

use super::host::{Binding, Host};
use crate::reap::id::{ContextId, WatchId};

/// A context: what sss_sigchld_ctx_init() and sss_sigchld_ctx_create() make.
/// Opaque.
#[allow(non_camel_case_types)]
pub struct sss_sigchild_ctx {
    pub(crate) id: ContextId,
    /// The host, for life; None where the memory is the library's.
    pub(crate) host: Option<Host>,
    /// What ties it to the host's loop.
    pub(crate) binding: Option<Binding>,
    /// It is being freed.
    pub(crate) ending: bool,
}

/// A handle to one watch of a child: what sss_child_register() makes. Opaque.
///
/// Without a host the pointer is the watch's 64-bit id itself and points to no
/// memory: one that was freed is told from every later one, and using it is
/// harmless. With a host it points to an object of the host's, and the host's
/// rules for freed memory hold.
#[allow(non_camel_case_types)]
pub struct sss_child_ctx {
    pub(crate) id: WatchId,
    /// The host's free.
    pub(crate) free: unsafe extern "C" fn(memory: *mut c_void) -> c_int,
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
