//! `struct sss_host`: how the library meets a daemon's allocator and loop.

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::sys::fork::Setting;
use crate::sys::thread::{self, Thread};
use nix::errno::Errno;

use super::boundary::{errno_t, guard, protect, read_sized, symver};
use super::context;
use super::handle::{CHILD_TYPE, Child, run_hook, sss_child_ctx, sss_sigchild_ctx, tagged};
use crate::reap;
use crate::reap::callback::{ChildFn, Pvt};
use crate::reap::deliver;
use crate::reap::id::{ContextId, WatchId};
use crate::reap::watch::{self, Ask, How};

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
/// and defer_free may be left out together: then the library wakes itself by its
/// descriptor. watch_sigchld may be left out.
///
/// A context with a host may only be used from the thread that made it: from
/// any other thread each call returns EPERM.
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
    /// With these three functions every callback comes in the loop's next turn.
    /// Without them callbacks come straight from readable() and from
    /// sss_child_handler().
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

    /// Take SIGCHLD for this loop: unblock it, and from the loop (never from a
    /// signal handler) call sss_child_handler() with ctx as its private_data
    /// and, where the loop has it, the signal's siginfo_t. Writes *watch.
    /// Returns 0 or an errno.
    ///
    /// NULL if the loop has no signals: the context then lives by its
    /// descriptor alone, and options must be 0.
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

/// A host's table, checked: what must be set is, and what comes together does.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    memory: Option<Memory>,
    deferral: Option<Deferral>,
    watch_fd: WatchFdFn,
    pub(crate) watch_sigchld: Option<WatchSigchldFn>,
    unwatch: PointerFn,
}

/// The host's allocator.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(super) alloc: AllocFn,
    pub(super) free: FreeFn,
}

/// How the host's loop calls back in its next turn.
#[derive(Clone, Copy)]
struct Deferral {
    make: DeferNewFn,
    run: PointerFn,
    free: PointerFn,
}

type PointerFn = unsafe extern "C" fn(*mut c_void);
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

static DEFAULT: Setting<Option<Host>> = Setting::new(None);

/// The host of sss_sigchld_ctx_init().
pub(crate) fn default() -> Option<Host> {
    DEFAULT.get()
}

/// Copies and checks a daemon's table.
///
/// # Safety
/// `host` points to a table as large as its size says.
pub(crate) unsafe fn from_c(host: *const sss_host) -> Result<Host, Errno> {
    // SAFETY: the caller vouches for the table.
    let table: sss_host = unsafe { read_sized(host) }?;
    let memory = match (table.alloc, table.free) {
        (Some(alloc), Some(free)) => Some(Memory { alloc, free }),
        (None, None) => None,
        _ => return Err(Errno::EINVAL),
    };
    let deferral = match (table.defer_new, table.defer, table.defer_free) {
        (Some(make), Some(run), Some(free)) => Some(Deferral { make, run, free }),
        (None, None, None) => None,
        _ => return Err(Errno::EINVAL),
    };
    Ok(Host {
        memory,
        deferral,
        watch_fd: table.watch_fd.ok_or(Errno::EINVAL)?,
        watch_sigchld: table.watch_sigchld,
        unwatch: table.unwatch.ok_or(Errno::EINVAL)?,
    })
}

/// Set the host that sss_sigchld_ctx_init() uses, once, at the daemon's start.
///
/// @param host  the table, copied; NULL takes the default away. Contexts that
///              exist keep the host they were made with.
///
/// @return 0; EINVAL where a function that must be set is NULL, only some of
///         those that come together are set, or size is too small; E2BIG where
///         size is larger than the library knows and the rest is not zero;
///         ENOMEM.
///
/// Thread-safe. Not for signal handlers.
///
/// # Safety
/// `host` is NULL or points to a table as large as its size says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sss_host_set_default(host: *const sss_host) -> errno_t {
    guard(|| {
        let table = if host.is_null() {
            None
        } else {
            // SAFETY: not NULL; the caller vouches for the rest.
            Some(unsafe { from_c(host) }?)
        };
        DEFAULT.set(table)
    })
}
symver!("sss_host_set_default");

/// What ties a context to its host's loop.
pub(crate) struct Binding {
    host: Host,
    ctx: ContextId,
    /// The loop's.
    thread: Thread,
    event_loop: *mut c_void,
    deferral: *mut c_void,
    descriptor: *mut c_void,
    signal: *mut c_void,
}

impl Binding {
    /// Joins a fresh context to its loop; undoes what it did where it fails.
    pub(crate) fn attach(
        host: Host,
        memory: *mut sss_sigchild_ctx,
        event_loop: *mut c_void,
    ) -> Result<(), Errno> {
        let mut binding = Binding {
            host,
            // SAFETY: the memory of a live context.
            ctx: unsafe { (*memory).id },
            thread: thread::current(),
            event_loop,
            deferral: std::ptr::null_mut(),
            descriptor: std::ptr::null_mut(),
            signal: std::ptr::null_mut(),
        };
        let joined = binding.join(memory);
        if joined.is_err() {
            binding.part();
            return joined;
        }
        // SAFETY: the memory of a live context.
        unsafe { (*memory).binding = Some(binding) };
        Ok(())
    }

    fn join(&mut self, memory: *mut sss_sigchild_ctx) -> Result<(), Errno> {
        let id = self.ctx;
        let owner = memory.cast::<c_void>();
        if let Some(deferral) = self.host.deferral {
            // SAFETY: the host's own functions with its own loop.
            self.deferral =
                unsafe { (deferral.make)(owner, self.event_loop, context::deferred, owner) };
            if self.deferral.is_null() {
                return Err(Errno::ENOMEM);
            }
        }
        let descriptor = reap::context::descriptor(id)?;
        // SAFETY: as above.
        errno(unsafe {
            (self.host.watch_fd)(
                owner,
                self.event_loop,
                descriptor,
                context::readable,
                owner,
                &raw mut self.descriptor,
            )
        })?;
        if let Some(watch_sigchld) = self.host.watch_sigchld {
            // SAFETY: as above.
            errno(unsafe { watch_sigchld(owner, self.event_loop, memory, &raw mut self.signal) })?;
            reap::context::signal_taken(id)?;
        } else {
            reap::context::unheard(id)?;
        }
        Ok(())
    }

    /// Frees what join() made, the last first.
    pub(crate) fn part(&mut self) {
        // SAFETY: each was made by the host and is given back once.
        unsafe {
            for watch in [&mut self.signal, &mut self.descriptor] {
                if !watch.is_null() {
                    (self.host.unwatch)(std::mem::replace(watch, std::ptr::null_mut()));
                }
            }
            let made = std::mem::replace(&mut self.deferral, std::ptr::null_mut());
            match self.host.deferral {
                Some(deferral) if !made.is_null() => (deferral.free)(made),
                _ => {}
            }
        }
    }

    /// The host's allocator, which is the loop thread's own: EPERM from another one.
    pub(crate) fn check_thread(&self, id: ContextId) -> Result<Option<Memory>, Errno> {
        reap::context::check_attached(id, self.thread)?;
        Ok(self.host.memory)
    }

    /// Whether callbacks wait for the loop's next turn.
    pub(crate) fn defers(&self) -> bool {
        self.host.deferral.is_some()
    }

    /// Has the loop come round for the callbacks that are due.
    pub(crate) fn defer(&self) {
        match self.host.deferral {
            // SAFETY: made by the host, not freed before the context is.
            Some(deferral) => unsafe { (deferral.run)(self.deferral) },
            None => deliver::keep_readable(self.ctx),
        }
    }
}

/// Joins a context that went over a fork to its loop again.
pub(crate) fn reattach(memory: *mut sss_sigchild_ctx) -> Result<(), Errno> {
    // SAFETY: a live context of this process, one thread.
    let Some(mut former) = (unsafe { (*memory).binding.take() }) else {
        return Ok(());
    };
    former.part();
    Binding::attach(former.host, memory, former.event_loop)
}

fn errno(code: errno_t) -> Result<(), Errno> {
    match code {
        0 => Ok(()),
        code => Err(Errno::from_raw(code)),
    }
}

/// Allocates a context's memory, its id still 0.
pub(crate) fn allocate_context(
    host: Option<&Host>,
    memctx: *mut c_void,
    type_name: &'static CStr,
) -> Result<*mut sss_sigchild_ctx, Errno> {
    let memory: *mut sss_sigchild_ctx = match host.and_then(|host| host.memory) {
        // SAFETY: the host's own function with its own parent.
        Some(own) => unsafe {
            (own.alloc)(
                memctx,
                size_of::<sss_sigchild_ctx>(),
                type_name.as_ptr(),
                Some(context_gone),
            )
        },
        // It has no memctx that could be the parent.
        None if !memctx.is_null() => return Err(Errno::EINVAL),
        // SAFETY: plain calloc(3); a failed allocation is NULL, not an abort.
        None => unsafe { libc::calloc(1, size_of::<sss_sigchild_ctx>()) },
    }
    .cast();
    if memory.is_null() {
        return Err(Errno::ENOMEM);
    }
    // SAFETY: large enough and aligned.
    unsafe {
        memory.write(sss_sigchild_ctx {
            id: ContextId::NONE,
            memory: host.and_then(|host| host.memory),
            hosted: host.is_some(),
            binding: None,
            ending: false,
        });
    }
    Ok(memory)
}

/// Frees a context that never came to be.
///
/// # Safety
/// `memory` is from allocate_context().
pub(crate) unsafe fn discard_context(memory: *mut sss_sigchild_ctx) {
    // SAFETY: the caller vouches for the memory.
    unsafe {
        match (*memory).memory {
            Some(own) => {
                (own.free)(memory.cast());
            }
            None => {
                let _ = reap::context::free((*memory).id, run_hook);
                libc::free(memory.cast());
            }
        }
    }
}

/// Ends a context and frees its memory.
///
/// # Safety
/// `memory` is a live context.
pub(crate) unsafe fn free_context(memory: *mut sss_sigchild_ctx) -> Result<(), Errno> {
    // SAFETY: the caller vouches for the memory.
    let ctx = unsafe { &mut *memory };
    if ctx.ending {
        // From inside a hook of its own watches.
        return Err(Errno::EBUSY);
    }
    let Some(own) = ctx.memory else {
        match reap::context::check(ctx.id) {
            Err(Errno::EPERM) => return Err(Errno::EPERM),
            _ => ctx.ending = true,
        }
        if let Some(mut binding) = ctx.binding.take() {
            binding.part();
        }
        let ended = reap::context::free(ctx.id, run_hook);
        // SAFETY: without an allocator of the host's the memory is calloc's.
        unsafe { libc::free(memory.cast()) };
        return ended;
    };
    match reap::context::check(ctx.id) {
        // The memory stays its parent's, who may still free it.
        Err(Errno::ECHILD) => return reap::context::free(ctx.id, run_hook),
        other => other?,
    }
    // SAFETY: the host's memory; context_gone() ends the context.
    match unsafe { (own.free)(memory.cast()) } {
        0 => Ok(()),
        _ => Err(Errno::EBUSY),
    }
}

/// The host's word that a context's memory is about to be freed.
unsafe extern "C" fn context_gone(memory: *mut c_void) {
    let memory = memory.cast::<sss_sigchild_ctx>();
    protect(|| {
        // SAFETY: still readable; the loop's thread.
        unsafe {
            (*memory).ending = true;
            // In a forked child the loop's watches are only freed: they are
            // this process's own copies.
            if let Some(mut binding) = (*memory).binding.take() {
                binding.part();
            }
            let _ = reap::context::free((*memory).id, run_hook);
        }
    });
}

/// Where a new watch's handle will be.
pub(crate) enum ChildPlace {
    /// The handle is the id itself.
    Plain,
    /// The handle is an object of the host's.
    Hosted(*mut sss_child_ctx),
    /// Nobody takes it: the watch frees itself once its end was told.
    Nowhere,
}

impl ChildPlace {
    /// Allocates before anything else happens. `handle` is where C wants the
    /// handle: it may do without where the memctx owns it.
    pub(crate) fn new(
        ctx: &sss_sigchild_ctx,
        memctx: *mut c_void,
        handle: *mut *mut sss_child_ctx,
    ) -> Result<Self, Errno> {
        let owned = !memctx.is_null();
        if owned && ctx.memory.is_none() {
            return Err(Errno::EINVAL);
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
                size_of::<sss_child_ctx>(),
                CHILD_TYPE.as_ptr(),
                Some(child_gone),
            )
        }
        .cast::<sss_child_ctx>();
        if memory.is_null() {
            return Err(Errno::ENOMEM);
        }
        // SAFETY: large enough and aligned.
        unsafe {
            memory.write(sss_child_ctx {
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
    ///
    /// # Safety
    /// `out` is NULL or writable.
    pub(crate) unsafe fn settle(
        self,
        made: Result<WatchId, Errno>,
        out: *mut *mut sss_child_ctx,
    ) -> Result<(), Errno> {
        let handle = made.map(|id| self.fill(id));
        if handle.is_err() {
            self.discard();
        }
        let handle = handle?;
        if !out.is_null() {
            // SAFETY: not NULL; the caller vouches for it.
            unsafe { out.write(handle) };
        }
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
                memory
            }
        }
    }

    fn discard(self) {
        if let ChildPlace::Hosted(memory) = self {
            // SAFETY: made by new(), known to nobody else.
            unsafe { ((*memory).free)(memory.cast()) };
        }
    }
}

/// The host's word that a handle's memory is about to be freed.
unsafe extern "C" fn child_gone(memory: *mut c_void) {
    // SAFETY: still readable.
    let id = unsafe { (*memory.cast::<sss_child_ctx>()).id };
    protect(|| watch::unwatch(id, How::Keep, Ask::Gone(run_hook)));
}
