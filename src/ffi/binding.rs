//! What ties a context to its host's loop.

use std::ffi::c_void;

use nix::errno::Errno;

use super::boundary::errno_t;
use super::handle::sss_sigchild_ctx;
use super::host_params::{Host, Memory, PointerFn};
use crate::reap::id::ContextId;
use crate::reap::{context, deliver};
use crate::sys::error::Error;
use crate::sys::thread::{self, Thread};

/// What the loop calls with the context.
#[derive(Clone, Copy)]
pub(crate) struct Calls {
    /// The descriptor is readable.
    pub(crate) readable: PointerFn,
    /// The turn has come that was asked for.
    pub(crate) deferred: PointerFn,
}

/// What ties a context to its host's loop.
pub(crate) struct Binding {
    host: Host,
    calls: Calls,
    ctx: ContextId,
    /// The loop's.
    thread: Thread,
    event_loop: *mut c_void,
    deferral: *mut c_void,
    descriptor: *mut c_void,
    signal: *mut c_void,
}

impl Binding {
    /// Joins a context to its loop; undoes what it did where it fails. `owner` is the
    /// context's memory.
    pub(crate) fn attach(
        host: Host,
        calls: Calls,
        ctx: ContextId,
        owner: *mut sss_sigchild_ctx,
        event_loop: *mut c_void,
    ) -> Result<Self, Error> {
        let mut binding = Binding {
            host,
            calls,
            ctx,
            thread: thread::current(),
            event_loop,
            deferral: std::ptr::null_mut(),
            descriptor: std::ptr::null_mut(),
            signal: std::ptr::null_mut(),
        };
        match binding.join(owner) {
            Ok(()) => Ok(binding),
            Err(error) => {
                binding.part();
                Err(error)
            }
        }
    }

    /// The same anew, for a context that went over a fork. Where it fails it is parted.
    pub(crate) fn reattach(
        &mut self,
        ctx: ContextId,
        owner: *mut sss_sigchild_ctx,
    ) -> Result<(), Error> {
        self.part();
        *self = Self::attach(self.host, self.calls, ctx, owner, self.event_loop)?;
        Ok(())
    }

    fn join(&mut self, memory: *mut sss_sigchild_ctx) -> Result<(), Error> {
        let id = self.ctx;
        let owner = memory.cast::<c_void>();
        if let Some(deferral) = self.host.deferral {
            // SAFETY: the host's own functions with its own loop.
            self.deferral =
                unsafe { (deferral.make)(owner, self.event_loop, self.calls.deferred, owner) };
            if self.deferral.is_null() {
                return Err(Errno::ENOMEM.into());
            }
        }
        let descriptor = context::descriptor(id)?;
        // SAFETY: as above.
        errno(unsafe {
            (self.host.watch_fd)(
                owner,
                self.event_loop,
                descriptor,
                self.calls.readable,
                owner,
                &raw mut self.descriptor,
            )
        })?;
        if let Some(watch_sigchld) = self.host.watch_sigchld {
            // SAFETY: as above.
            errno(unsafe { watch_sigchld(owner, self.event_loop, memory, &raw mut self.signal) })?;
            context::signal_taken(id)?;
        } else {
            context::unheard(id)?;
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
    pub(crate) fn check_thread(&self, id: ContextId) -> Result<Option<Memory>, Error> {
        context::check_attached(id, self.thread)?;
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
            Some(deferral) if !self.deferral.is_null() => unsafe {
                (deferral.run)(self.deferral);
            },
            _ => deliver::keep_readable(self.ctx),
        }
    }
}

fn errno(code: errno_t) -> Result<(), Error> {
    match code {
        0 => Ok(()),
        code => Err(Errno::from_raw(code).into()),
    }
}
