//! `sss_sigchld_ctx_*` and `sss_child_handler`: a subscriber of the reaper.

use std::ffi::{c_int, c_void};

use nix::errno::Errno;

use super::boundary::{errno_t, guard, symver};
use super::child_memory::of_daemon;
use super::context_memory::{self, wake_own_loop};
use super::context_params::{
    SSS_CHILD_ENDED, SSS_CHILD_RUNNING, sss_child_info, sss_child_info_fn_t, sss_ctx_audit,
    sss_ctx_params, sss_ctx_stats, sss_siginfo_t, sss_unknown_child_fn_t, tevent_context,
    tevent_signal,
};
use super::handle::sss_sigchild_ctx;
use super::host;
use super::host_params::Host;
use super::params::{Handle, In, Out, OutStruct};
use super::turn;
use crate::reap::callback::{Pvt, Unknown};
use crate::reap::context::{Params, Scope};
use crate::reap::{self, audit, deliver, drain};
use crate::sys::error::Error;

/// Make a context in the manner of SSSD: scope ALL, the default host.
///
/// Takes SIGCHLD for the loop where there is a host. Where SIGCHLD is ignored
/// or blocked before, the host unblocks it and takes it; the former disposition
/// comes back when the context is freed. Children that ended earlier are looked
/// for once.
///
/// @param memctx       with a host set by sss_host_set_default(): the parent of
///                     the context's memory, or NULL. Without a host: NULL.
/// @param ev           with a host: its event loop, borrowed. Without: NULL.
/// @param options      WUNTRACED and WCONTINUED, ORed, or 0: whether stopped and
///                     continued children call back too. Each sweep waits with
///                     exactly options | WNOHANG.
/// @param sigchld_ctx  written last, on success only; free it with
///                     sss_sigchld_ctx_free().
///
/// @return 0; EINVAL for a NULL sigchld_ctx, any other bit in options, or a
///         memctx or ev without a host; ENOMEM; EMFILE or ENFILE where a host's
///         context gets no descriptors, EMFILE also past 65,536 contexts;
///         EIO or another errno that the host gave.
///         Nothing has changed then.
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_sigchld_ctx_init(
    memctx: *mut c_void,
    ev: *mut tevent_context,
    options: c_int,
    sigchld_ctx: Out<*mut sss_sigchild_ctx>,
) -> errno_t {
    guard(|| {
        let host = host::default();
        if host.is_none() && !(memctx.is_null() && ev.is_null()) {
            return Err(Errno::EINVAL.into());
        }
        let params = Params {
            options,
            scope: Scope::All,
            ..Params::default()
        };
        create(params, host, memctx, ev.cast(), sigchld_ctx)
    })
}
symver!("sss_sigchld_ctx_init");

/// Make a context.
///
/// @param params       what to make; not kept.
/// @param sigchld_ctx  written last, on success only; free it with
///                     sss_sigchld_ctx_free().
///
/// @return as sss_sigchld_ctx_init(); EINVAL also for a NULL or too small
///         params, an unknown bit in mask, flags or options, an unknown scope, a
///         host with a function missing; E2BIG for params or a host of a later
///         version that uses what this library does not know; ENOTSUP for options
///         with a host that has no signals.
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_sigchld_ctx_create(
    params: In<sss_ctx_params>,
    sigchld_ctx: Out<*mut sss_sigchild_ctx>,
) -> errno_t {
    guard(|| {
        let given = params.read()?;
        let params = given.params()?;
        let host = given.host.get()?;
        if host.is_none() && !(given.memctx.is_null() && given.r#loop.is_null()) {
            return Err(Errno::EINVAL.into());
        }
        create(params, host, given.memctx, given.r#loop, sigchld_ctx)
    })
}
symver!("sss_sigchld_ctx_create");

fn create(
    mut params: Params,
    host: Option<Host>,
    memctx: *mut c_void,
    event_loop: *mut c_void,
    out: Out<*mut sss_sigchild_ctx>,
) -> Result<(), Error> {
    let out = out.required()?;
    params.check()?;
    if let Some(host) = &host {
        params.hosted = true;
        if host.watch_sigchld.is_none() && params.options != 0 {
            return Err(Errno::ENOTSUP.into());
        }
    }
    let calls = turn::CALLS;
    out.write(context_memory::make(
        &params, host, memctx, event_loop, calls,
    )?);
    Ok(())
}

/// The SIGCHLD handler: collect the statuses of children that ended, and call
/// back.
///
/// Fits tevent_signal_handler_t. Any other loop calls sss_sigchld_ctx_signalled(), which
/// does the same. Never call either from a sigaction(2) handler: they take locks.
///
/// With a host that defers it collects, and the callbacks come in the loop's next
/// turn. Otherwise they come before it returns, this context's and those of every
/// other context without a host whose descriptor was never asked for.
///
/// @param ev            ignored.
/// @param se            ignored.
/// @param signum        ignored.
/// @param count         ignored: signals merge.
/// @param siginfo       the signal's siginfo_t, or NULL. Its si_pid, where
///                      si_code is a CLD_ code, saves looking at the others; it
///                      is a hint only.
/// @param private_data  the struct sss_sigchild_ctx. NULL, and a context of
///                      another process, do nothing.
///
/// Thread-safe without a host. Not for signal handlers.
///
/// # Safety
/// `private_data` is NULL or a context that is not freed, `siginfo` NULL or a
/// siginfo_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sss_child_handler(
    ev: *mut tevent_context,
    se: *mut tevent_signal,
    signum: c_int,
    count: c_int,
    siginfo: *mut c_void,
    private_data: *mut c_void,
) {
    let _ = (ev, se, signum, count);
    // SAFETY: a context and a siginfo_t, or NULL, as the caller promises.
    let (ctx, siginfo) = unsafe {
        (
            Handle::from_raw(private_data.cast()),
            siginfo.cast::<sss_siginfo_t>().as_ref(),
        )
    };
    let _ = collect(ctx, siginfo);
}
symver!("sss_child_handler");

/// SIGCHLD was seen: collect the statuses of children that ended, and call back.
///
/// sss_child_handler() for loops other than tevent. Call it from the loop
/// whenever SIGCHLD was seen, never from a sigaction(2) handler: it takes locks.
/// Callbacks come as they do there.
///
/// @param sigchld_ctx  the context.
/// @param siginfo      what came with the signal, or NULL. Its si_pid, where
///                     si_code is a CLD_ code, saves looking at the others; it
///                     is a hint only.
///
/// @return 0; EINVAL for a NULL sigchld_ctx; EPERM from a thread that is not the
///         host's loop; ECHILD in a process that is not the context's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_sigchld_ctx_signalled(
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    siginfo: Option<&sss_siginfo_t>,
) -> errno_t {
    collect(sigchld_ctx, siginfo)
}
symver!("sss_sigchld_ctx_signalled");

fn collect(sigchld_ctx: Handle<sss_sigchild_ctx>, siginfo: Option<&sss_siginfo_t>) -> errno_t {
    let mut drained = None;
    let code = guard(|| {
        let ctx = sigchld_ctx.context()?;
        let mut callable = drain::signalled(ctx.id, siginfo.and_then(hint_of))?;
        match &ctx.binding {
            Some(binding) if binding.defers() => {
                if std::mem::take(&mut callable.own) {
                    binding.defer();
                }
            }
            Some(_) => {}
            // A host that is not attached yet, or not any more, makes no turns.
            None => callable.own &= !ctx.hosted,
        }
        drained = Some((ctx.id, callable));
        Ok(())
    });
    if let Some((own, callable)) = drained {
        turn::call_back(own, &callable);
    }
    code
}

fn hint_of(info: &sss_siginfo_t) -> Option<i32> {
    // SAFETY: a CLD_ code, all of which are of this range, says that it is set.
    (libc::CLD_EXITED..=libc::CLD_CONTINUED)
        .contains(&info.si_code)
        .then(|| unsafe { info.si_pid() })
}

/// Free a context: every watch of it ends, its callbacks do not come any more.
///
/// The hooks of its watches run first and cannot refuse. Handles stay valid,
/// inert: freeing them is harmless, in any order. Children that live on are
/// reaped by the other contexts of the process; when the last one is gone they
/// are nobody's. With a host the former disposition of SIGCHLD comes back and
/// the memory is freed; freeing it in the host's own way is as good.
///
/// Where another thread is in a callback of this context, waits for it.
///
/// @param sigchld_ctx  the context; NULL is allowed.
///
/// @return 0; EBUSY where a destructor of the daemon's on the memory refused, or where
///         the context is being freed already and the call comes from a hook that this
///         runs; EPERM from a thread that is not the host's loop; ECHILD in a forked
///         child: there it closes the descriptors that were inherited and frees the
///         memory, if the memory is the library's.
///
/// Thread-safe without a host, but for one context it must be the last call.
/// Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_sigchld_ctx_free(sigchld_ctx: Handle<sss_sigchild_ctx>) -> errno_t {
    guard(|| sigchld_ctx.free_context())
}
symver!("sss_sigchld_ctx_free");

/// Take a context along into a forked child, for daemons that make it before
/// daemon(3).
///
/// To be called in the child, before anything else of the library. The context
/// works there as a new one: options, scope, host and unknown-child callback are
/// kept, its watches are not (the children are the former process's): their
/// handles are inert and to be freed. An event loop that needs it must have been
/// made ready after the fork before (tevent_re_initialise()). A descriptor that
/// sss_sigchld_ctx_fd() told is closed: ask for it anew.
///
/// @param sigchld_ctx  the context.
///
/// @return 0, also where the context is of this process; EINVAL for NULL; EBUSY
///         where another thread of the daemon's was inside the library when the
///         process forked; ENOMEM, EMFILE, ENFILE, EAGAIN where a log finds no thread,
///         or an errno that the host gave. After any error but EINVAL the context tells
///         of nothing: call again, which does the rest or fails again, or free it.
///
/// Not thread-safe: call it while the child has one thread. Not for signal
/// handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_sigchld_ctx_after_fork(sigchld_ctx: Handle<sss_sigchild_ctx>) -> errno_t {
    guard(|| sigchld_ctx.renew())
}
symver!("sss_sigchld_ctx_after_fork");

/// Set the callback for children that ended and that nobody registered. In scope
/// REGISTERED it is called only while the context has services.
///
/// @param sigchld_ctx  the context. Of several of scope ALL, the one that was made
///                     first is told.
/// @param unknown_fn   the callback, or NULL: statuses are parked then, for a
///                     registration that comes late.
/// @param pvt          handed to it as it is; borrowed until replaced. A call
///                     that another thread has begun may still use the former.
///
/// @return 0; EINVAL for NULL; EPERM from a thread that is not the host's loop;
///         ECHILD in a process that is not the context's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_sigchld_ctx_set_unknown_fn(
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    unknown_fn: sss_unknown_child_fn_t,
    pvt: *mut c_void,
) -> errno_t {
    guard(|| {
        let ctx = sigchld_ctx.context()?;
        let unknown = unknown_fn.map(|call| Unknown {
            call,
            pvt: Pvt(pvt),
        });
        reap::context::set_unknown(ctx.id, unknown)
    })
}
symver!("sss_sigchld_ctx_set_unknown_fn");

/// Show every watch of a context whose child's end was not told yet.
///
/// The callback may use every function of the library, free watches and the
/// context included; watches that come meanwhile may be shown or not.
///
/// @param sigchld_ctx  the context.
/// @param info_fn      called for each watch, in no particular order.
/// @param pvt          handed to it as it is.
///
/// @return 0, also where the callback stopped it; EINVAL for a NULL pointer;
///         EPERM from a thread that is not the host's loop; ECHILD in a process
///         that is not the context's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_sigchld_ctx_foreach(
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    info_fn: sss_child_info_fn_t,
    pvt: *mut c_void,
) -> errno_t {
    guard(|| {
        let id = sigchld_ctx.context()?.id;
        let (show, pvt) = (info_fn.ok_or(Errno::EINVAL)?, Pvt(pvt));
        reap::context::check(id)?;
        let mut cursor = 0;
        while let Some(seen) = reap::watch::next_from(id, &mut cursor) {
            let (cb, pvt_of_cb) = of_daemon(seen.callback, seen.pvt);
            let info = sss_child_info {
                size: size_of::<sss_child_info>(),
                id: seen.id.tagged(),
                pid: seen.pid,
                state: if seen.ended {
                    SSS_CHILD_ENDED
                } else {
                    SSS_CHILD_RUNNING
                },
                cb,
                pvt: pvt_of_cb,
            };
            // SAFETY: the daemon's callback with its own data.
            if unsafe { show(&raw const info, pvt.0) } != 0 {
                break;
            }
        }
        Ok(())
    })
}
symver!("sss_sigchld_ctx_foreach");

/// Tell a context's counts.
///
/// @param sigchld_ctx  the context.
/// @param stats        its size set by the caller; the rest is written.
///
/// @return 0; EINVAL for a NULL pointer or a size too small; EPERM from a thread
///         that is not the host's loop; ECHILD in a process that is not the
///         context's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_sigchld_ctx_stats(
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    stats: OutStruct<sss_ctx_stats>,
) -> errno_t {
    guard(|| {
        let ctx = sigchld_ctx.context()?;
        let counts = reap::context::stats(ctx.id)?;
        stats.write(counts.into())
    })
}
symver!("sss_sigchld_ctx_stats");

/// The context's descriptor, to be polled for reading.
///
/// It is readable while sss_sigchld_ctx_dispatch() has work. It needs no
/// SIGCHLD: the signal may be at its default, ignored, blocked or somebody
/// else's. From the first call on the children of this context are held by
/// pidfds, unless sss_sigchld_ctx_signalled() or sss_child_handler() is called for it
/// too. Not for a context with a host, whose loop watches it already.
///
/// Stops and continues are told by SIGCHLD only. Where it does not tell of them,
/// unknown children (scope ALL) and children without a pidfd are looked for by time:
/// ever less often while nothing is found, at last once a minute.
///
/// @param sigchld_ctx  the context.
/// @param fd           written on success; the context's, not to be closed,
///                     valid until it is freed.
///
/// @return 0; EINVAL for a NULL pointer; ENOTSUP with a host; EMFILE, ENFILE,
///         ENOMEM where no descriptor can be had; ECHILD in a process that is
///         not the context's.
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_sigchld_ctx_fd(
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    fd: Out<c_int>,
) -> errno_t {
    guard(|| {
        let (ctx, fd) = (sigchld_ctx.context()?, fd.required()?);
        if ctx.binding.is_some() {
            return Err(Errno::ENOTSUP.into());
        }
        fd.write(reap::context::descriptor(ctx.id)?);
        Ok(())
    })
}
symver!("sss_sigchld_ctx_fd");

/// Collect statuses by the context's descriptor, and call back.
///
/// Never blocks. What is left after the budget keeps the descriptor readable.
///
/// @param sigchld_ctx  a context whose descriptor was asked for.
/// @param budget       how many callbacks to make at most; 0 for the default,
///                     which is 256.
///
/// @return 0; EINVAL for NULL; ENOTSUP with a host, or where sss_sigchld_ctx_fd()
///         was never called; EBADF where the daemon has closed the descriptor: ask
///         for it anew; ECHILD in a process that is not the context's.
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_sigchld_ctx_dispatch(
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    budget: u32,
) -> errno_t {
    let budget = if budget == 0 { deliver::TURN } else { budget };
    let mut drained = None;
    let code = guard(|| {
        let ctx = sigchld_ctx.context()?;
        if ctx.binding.is_some() {
            return Err(Errno::ENOTSUP.into());
        }
        drain::readable(ctx.id, budget)?;
        drained = Some(ctx.id);
        Ok(())
    });
    if let Some(id) = drained {
        turn::dispatch(id, budget);
    }
    code
}
symver!("sss_sigchld_ctx_dispatch");

/// Look at what could keep exits from being told, and mend what can be mended.
///
/// Looks at SIGCHLD's disposition and mask and once at every child. Where the
/// signal cannot be relied on (ignored, SA_NOCLDWAIT, handler replaced) and the
/// context's descriptor is polled, its children get pidfds.
///
/// @param sigchld_ctx  the context.
/// @param found        its size set by the caller; the rest is written.
///
/// @return 0; EINVAL for a NULL pointer or a size too small; EPERM from a thread
///         that is not the host's loop; ECHILD in a process that is not the
///         context's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_sigchld_ctx_audit(
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    found: OutStruct<sss_ctx_audit>,
) -> errno_t {
    guard(|| {
        let ctx = sigchld_ctx.context()?;
        if found.is_null() {
            return Err(Errno::EINVAL.into());
        }
        let audit = audit::audit(ctx.id)?;
        wake_own_loop(ctx);
        found.write(audit.into())
    })
}
symver!("sss_sigchld_ctx_audit");
