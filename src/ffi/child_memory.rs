//! Handles of children: the id itself, or an object of the host's.

use std::ffi::{CStr, c_int, c_void};

use nix::errno::Errno;

use super::boundary::protect;
use super::context_memory::Context;
use super::handle::{run_hook, set_current, sss_child_ctx, tagged};
use super::params::{Handle, Out};
use crate::reap::callback::{ChildFn, Pvt};
use crate::reap::id::WatchId;
use crate::reap::watch::{self, Ask, How};
use crate::sys::error::Error;

/// A handle that is an object of the host's.
pub(crate) struct ChildMemory {
    pub(crate) id: WatchId,
    /// The host's free.
    pub(crate) free: unsafe extern "C" fn(memory: *mut c_void) -> c_int,
    /// The daemon's callback, which hosted() calls.
    pub(crate) cb: Option<ChildFn>,
    pub(crate) pvt: *mut c_void,
}

/// Its struct tag, as the host's allocator shows it.
const CHILD_TYPE: &CStr = c"struct sss_child_ctx";

/// The callback of a handle that is an object of the host's: only the object
/// knows its own address.
pub(crate) unsafe extern "C" fn hosted(pid: c_int, wait_status: c_int, child: *mut c_void) {
    let child = child.cast::<ChildMemory>();
    set_current(child.cast());
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
        let child = pvt.0.cast::<ChildMemory>();
        // SAFETY: the object of a watch that has not ended.
        return unsafe { ((*child).cb, (*child).pvt) };
    }
    (cb, pvt.0)
}

/// A decoded handle.
pub(crate) enum Child {
    /// The pointer is the id.
    Plain(WatchId),
    /// The id is in an object of the host's.
    Hosted(WatchId, *mut ChildMemory),
}

impl Handle<'_, sss_child_ctx> {
    /// EINVAL for NULL.
    pub(crate) fn child(self) -> Result<Child, Error> {
        let child = self.as_ptr();
        if child.is_null() {
            return Err(Errno::EINVAL.into());
        }
        if let Some(id) = WatchId::from_tagged(child.addr() as u64) {
            return Ok(Child::Plain(id));
        }
        let child = child.cast::<ChildMemory>();
        // SAFETY: not tagged, so the host's memory, which is not freed.
        Ok(Child::Hosted(unsafe { (*child).id }, child))
    }
}

impl Child {
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

/// Where a new watch's handle will be.
#[derive(Clone, Copy)]
pub(crate) enum ChildPlace {
    /// The handle is the id itself.
    Plain,
    /// The handle is an object of the host's.
    Hosted(*mut ChildMemory),
    /// Nobody takes it: the watch frees itself once its end was told.
    Nowhere,
}

impl ChildPlace {
    /// Allocates before anything else happens. `handle` is where C wants the
    /// handle: it may do without where the memctx owns it.
    pub(crate) fn new(
        ctx: &Context,
        memctx: *mut c_void,
        handle: Out<*mut sss_child_ctx>,
    ) -> Result<Self, Error> {
        let owned = !memctx.is_null();
        if owned && ctx.memory.is_none() {
            return Err(Errno::EINVAL.into());
        }
        if handle.is_null() && !owned {
            return Ok(ChildPlace::Nowhere);
        }
        let own = match &ctx.binding {
            Some(binding) => binding.check_thread(ctx.id)?,
            None => None,
        };
        let Some(own) = own else {
            return Ok(ChildPlace::Plain);
        };
        // SAFETY: the host's own function with its own parent.
        let memory = unsafe {
            (own.alloc)(
                memctx,
                size_of::<ChildMemory>(),
                CHILD_TYPE.as_ptr(),
                Some(child_gone),
            )
        }
        .cast::<ChildMemory>();
        if memory.is_null() {
            return Err(Errno::ENOMEM.into());
        }
        // SAFETY: large enough and aligned.
        unsafe {
            memory.write(ChildMemory {
                id: WatchId::NONE,
                free: own.free,
                cb: None,
                pvt: std::ptr::null_mut(),
            });
        }
        Ok(ChildPlace::Hosted(memory))
    }

    /// The handle, where it is an object of the host's.
    pub(crate) fn object(&self) -> Option<*mut c_void> {
        match *self {
            ChildPlace::Hosted(memory) => Some(memory.cast()),
            ChildPlace::Plain | ChildPlace::Nowhere => None,
        }
    }

    /// What the watch is to call so that the daemon's callback is called.
    pub(crate) fn callback(&self, cb: Option<ChildFn>, pvt: *mut c_void) -> (Option<ChildFn>, Pvt) {
        match *self {
            ChildPlace::Plain | ChildPlace::Nowhere => (cb, Pvt(pvt)),
            ChildPlace::Hosted(object) => {
                let child = Child::Hosted(WatchId::NONE, object);
                child.keep(cb, pvt);
                child.callback(cb, pvt)
            }
        }
    }

    /// Gives the handle to C, or the place back where there is no watch.
    pub(crate) fn settle(
        self,
        made: Result<WatchId, Error>,
        out: Out<*mut sss_child_ctx>,
    ) -> Result<(), Error> {
        let handle = made.map(|id| self.fill(id));
        if handle.is_err() {
            self.discard();
        }
        out.write(handle?);
        Ok(())
    }

    fn fill(&self, id: WatchId) -> *mut sss_child_ctx {
        match *self {
            ChildPlace::Plain => tagged(id),
            ChildPlace::Nowhere => {
                watch::let_free_itself(id);
                tagged(id)
            }
            ChildPlace::Hosted(memory) => {
                // SAFETY: made by new().
                unsafe { (*memory).id = id };
                memory.cast()
            }
        }
    }

    /// The handle of a watch that is made later; None where nobody takes it.
    pub(crate) fn handle(&self, id: WatchId) -> Option<Pvt> {
        match *self {
            ChildPlace::Plain => Some(Pvt(tagged(id).cast())),
            ChildPlace::Hosted(memory) => Some(Pvt(memory.cast())),
            ChildPlace::Nowhere => None,
        }
    }

    /// Gives C the handle of a reserved watch.
    pub(crate) fn show(&self, id: WatchId, out: Out<*mut sss_child_ctx>) {
        if let ChildPlace::Hosted(memory) = *self {
            // SAFETY: made by new().
            unsafe { (*memory).id = id };
        }
        if let Some(handle) = self.handle(id) {
            out.write(handle.0.cast());
        }
    }

    pub(crate) fn discard(&self) {
        if let ChildPlace::Hosted(memory) = *self {
            // SAFETY: made by new(), known to nobody else.
            unsafe { ((*memory).free)(memory.cast()) };
        }
    }
}

/// The host's word that a handle's memory is about to be freed.
unsafe extern "C" fn child_gone(memory: *mut c_void) {
    // SAFETY: still readable.
    let id = unsafe { (*memory.cast::<ChildMemory>()).id };
    // Without a watch there is no callback to wait for: those of unknown children and of
    // tasks have no id either.
    if id != WatchId::NONE {
        protect(|| watch::unwatch(id, How::Keep, Ask::Gone(run_hook)));
    }
}
