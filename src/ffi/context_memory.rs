//! What a pointer to a context points to: memory of the host's, or of calloc(3).

use std::ffi::{CStr, c_void};

use nix::errno::Errno;

use super::binding::{Binding, Calls};
use super::boundary::protect;
use super::handle::{run_hook, sss_sigchild_ctx};
use super::host_params::{Host, Memory};
use super::params::Handle;
use crate::reap::context::Params;
use crate::reap::id::ContextId;
use crate::reap::{context, deliver};
use crate::sys::error::Error;

/// A context.
pub(crate) struct Context {
    pub(crate) id: ContextId,
    /// The host's allocator, for life; None where the memory is the library's.
    pub(crate) memory: Option<Memory>,
    /// It was made with a host.
    pub(crate) hosted: bool,
    /// What ties it to the host's loop.
    pub(crate) binding: Option<Binding>,
    /// It is being freed.
    pub(crate) ending: bool,
    /// Its ids in the processes before the fork, the latest last, until all of them was
    /// taken over: more than one where that failed and the process was forked again.
    pub(crate) former: Vec<ContextId>,
}

/// Its struct tag, as the host's allocator shows it.
const CONTEXT_TYPE: &CStr = c"struct sss_sigchild_ctx";

impl<'a> Handle<'a, sss_sigchild_ctx> {
    /// EINVAL for NULL. Not to be kept over a callback, which may free the context.
    pub(crate) fn context(self) -> Result<&'a Context, Error> {
        // SAFETY: NULL, or a context that is not freed.
        unsafe { self.as_ptr().cast::<Context>().as_ref() }.ok_or(Errno::EINVAL.into())
    }

    /// Makes a context this process's own after a fork. After an error another call goes on
    /// where this one failed.
    pub(crate) fn renew(self) -> Result<(), Error> {
        // SAFETY: NULL, or a context that is not freed, which no other thread uses now.
        let ctx = unsafe { self.as_ptr().cast::<Context>().as_mut() }.ok_or(Errno::EINVAL)?;
        if context::check(ctx.id) == Err(Errno::ECHILD.into()) {
            ctx.former.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        }
        let id = context::after_fork(ctx.id)?;
        if id != ctx.id {
            ctx.former.push(std::mem::replace(&mut ctx.id, id));
        }
        let Some(&former) = ctx.former.last() else {
            return Ok(());
        };
        // The loop lets go of the descriptors before they are closed: an
        // epoll of its own keeps those that the parent has open.
        if let Some(binding) = &mut ctx.binding {
            binding.part();
        }
        context::close_inherited(former);
        if let Some(binding) = &mut ctx.binding {
            binding.reattach(id, self.as_ptr())?;
        }
        for &former in &ctx.former {
            crate::log::after_fork(former, id)?;
        }
        ctx.former = Vec::new();
        wake_own_loop(ctx);
        Ok(())
    }

    /// Ends a context and frees its memory; NULL is fine.
    pub(crate) fn free_context(self) -> Result<(), Error> {
        let memory = self.as_ptr().cast::<Context>();
        if memory.is_null() {
            return Ok(());
        }
        // SAFETY: a context that is not freed, and whose last call this is.
        let ctx = unsafe { &mut *memory };
        if ctx.ending {
            // The call comes from inside a hook of one of its own watches.
            return Err(Errno::EBUSY.into());
        }
        let Some(own) = ctx.memory else {
            match context::check(ctx.id) {
                Err(error) if error == Errno::EPERM => return Err(Errno::EPERM.into()),
                _ => ctx.ending = true,
            }
            if let Some(mut binding) = ctx.binding.take() {
                binding.part();
            }
            let ended = context::free(ctx.id, run_hook);
            ctx.former = Vec::new();
            // SAFETY: without an allocator of the host's the memory is calloc's.
            unsafe { libc::free(memory.cast()) };
            return ended;
        };
        match context::check(ctx.id) {
            // The memory stays with its parent in the host, which may still free it.
            Err(error) if error == Errno::ECHILD => return context::free(ctx.id, run_hook),
            other => other?,
        }
        // SAFETY: the host's memory; context_gone() ends the context.
        match unsafe { (own.free)(memory.cast()) } {
            0 => Ok(()),
            _ => Err(Errno::EBUSY.into()),
        }
    }
}

/// Has the host's loop call back for what is due; without a host the reaper
/// has woken the context already.
pub(crate) fn wake_own_loop(ctx: &Context) {
    if let Some(binding) = &ctx.binding {
        if deliver::due(ctx.id) {
            binding.defer();
        }
    }
}

/// Makes a context; with a host it joins the loop.
pub(crate) fn make(
    params: &Params,
    host: Option<Host>,
    memctx: *mut c_void,
    event_loop: *mut c_void,
    calls: Calls,
) -> Result<*mut sss_sigchild_ctx, Error> {
    let memory = allocate_context(host.as_ref(), memctx)?;
    let made = context::create(params).and_then(|id| {
        // SAFETY: freshly allocated; the host's functions may look at its id.
        unsafe { (*memory).id = id };
        let Some(host) = host else {
            return Ok(());
        };
        let binding = Binding::attach(host, calls, id, memory.cast(), event_loop)?;
        // SAFETY: as above.
        unsafe { (*memory).binding = Some(binding) };
        Ok(())
    });
    if let Err(error) = made {
        // SAFETY: made above, and handed to nobody.
        unsafe { discard_context(memory) };
        return Err(error);
    }
    // SAFETY: as above.
    wake_own_loop(unsafe { &*memory });
    Ok(memory.cast())
}

/// Allocates a context's memory, its id still 0.
fn allocate_context(host: Option<&Host>, memctx: *mut c_void) -> Result<*mut Context, Error> {
    let memory: *mut Context = match host.and_then(|host| host.memory) {
        // SAFETY: the host's own function with its own parent.
        Some(own) => unsafe {
            (own.alloc)(
                memctx,
                size_of::<Context>(),
                CONTEXT_TYPE.as_ptr(),
                Some(context_gone),
            )
        },
        // Without an allocator of the host's no memctx can be the parent.
        None if !memctx.is_null() => return Err(Errno::EINVAL.into()),
        // SAFETY: plain calloc(3); a failed allocation is NULL, not an abort.
        None => unsafe { libc::calloc(1, size_of::<Context>()) },
    }
    .cast();
    if memory.is_null() {
        return Err(Errno::ENOMEM.into());
    }
    // SAFETY: large enough and aligned.
    unsafe {
        memory.write(Context {
            id: ContextId::NONE,
            memory: host.and_then(|host| host.memory),
            hosted: host.is_some(),
            binding: None,
            ending: false,
            former: Vec::new(),
        });
    }
    Ok(memory)
}

/// Frees a context that never came to be.
///
/// # Safety
/// `memory` is from allocate_context().
unsafe fn discard_context(memory: *mut Context) {
    // SAFETY: the caller vouches for the memory.
    unsafe {
        match (*memory).memory {
            Some(own) => {
                (own.free)(memory.cast());
            }
            None => {
                let _ = context::free((*memory).id, run_hook);
                libc::free(memory.cast());
            }
        }
    }
}

/// The host's word that a context's memory is about to be freed.
unsafe extern "C" fn context_gone(memory: *mut c_void) {
    let memory = memory.cast::<Context>();
    protect(|| {
        // SAFETY: still readable; the loop's thread.
        unsafe {
            (*memory).ending = true;
            // In a forked child the loop's watches are only freed: they are
            // this process's own copies.
            if let Some(mut binding) = (*memory).binding.take() {
                binding.part();
            }
            let _ = context::free((*memory).id, run_hook);
            (*memory).former = Vec::new();
        }
    });
}
