//! `sss_sigchld_ctx_*` and `sss_child_handler`: a subscriber of the reaper.

use std::ffi::{c_int, c_void};

use nix::errno::Errno;

use super::boundary::{errno_t, guard, symver};
use super::child::sss_child_fn_t;
use super::child_memory::of_daemon;
use super::context_memory::{self, wake_own_loop};
use super::handle::sss_sigchild_ctx;
use super::host::{self, sss_host};
use super::params::{Handle, In, Out, OutStruct};
use super::turn;
use crate::reap::callback::{Pvt, Unknown};
use crate::reap::context::{Params, Scope};
use crate::reap::{self, audit, deliver, drain};
use crate::sys::error::Error;

/// An event loop of tevent's; the library hands it to the host only.
#[allow(non_camel_case_types)]
pub enum tevent_context {}
/// A signal event of tevent's; never looked at.
#[allow(non_camel_case_types)]
pub enum tevent_signal {}

/// siginfo_t, or void in a C dialect that has none.
#[allow(non_camel_case_types)]
pub type sss_siginfo_t = libc::siginfo_t;

/// Only children that were registered are ever waited for: popen(3),
/// system(3) and other libraries keep theirs. The default of
/// sss_sigchld_ctx_create().
pub const SSS_SCOPE_REGISTERED: u32 = 1;
/// Every child of the process is waited for, as waitpid(-1) does: for daemons
/// that own all their children. What was not registered goes to the
/// unknown-child callback.
pub const SSS_SCOPE_ALL: u32 = 2;

/// Other code in this process waits for children that are not its own: hold a
/// pidfd for each child from its registration on, so that a status that was
/// taken is noticed and recovered, and no signal reaches a reused pid.
pub const SSS_CTX_UNTRUSTED: u32 = 0x1;
/// While this context has services: reap orphans that no service claims, also in
/// scope REGISTERED without an unknown-child callback. They cannot be told from
/// children of popen(3) and system(3), so it is for daemons that use neither.
pub const SSS_CTX_REAP_ORPHANS: u32 = 0x2;

/// sss_ctx_params.options counts.
pub const SSS_CTX_PARAM_OPTIONS: u32 = 0x1;
/// sss_ctx_params.scope counts.
pub const SSS_CTX_PARAM_SCOPE: u32 = 0x2;
/// sss_ctx_params.flags counts.
pub const SSS_CTX_PARAM_FLAGS: u32 = 0x4;
/// sss_ctx_params.max_pidfds counts.
pub const SSS_CTX_PARAM_MAX_PIDFDS: u32 = 0x8;

/// The unknown-child callback's answer: not mine. The status is kept for a
/// sss_child_register() that comes late.
pub const SSS_UNKNOWN_PARK: u32 = 0;
/// The unknown-child callback's answer: mine. The status is forgotten.
pub const SSS_UNKNOWN_TAKEN: u32 = 1;
/// The answer in scope REGISTERED, where the child was not waited for: reap it.
pub const SSS_UNKNOWN_REAP: u32 = 2;
/// The answer in scope REGISTERED: leave it to somebody else.
pub const SSS_UNKNOWN_LEAVE: u32 = 3;

const _: () = {
    assert!(SSS_UNKNOWN_TAKEN == turn::TAKEN);
    assert!(SSS_UNKNOWN_REAP == crate::service::tracker::REAP);
};

/// sss_child_info.state: no end was seen yet.
pub const SSS_CHILD_RUNNING: u32 = 0;
/// sss_child_info.state: the child was reaped, its callback is due.
pub const SSS_CHILD_ENDED: u32 = 1;

/// Told of a child that ended and that nobody registered.
///
/// Called as a sss_child_fn_t is, for the end of a child only. In scope ALL the
/// child was reaped. In scope REGISTERED, while the context has services, it was
/// not, and the answer says whether to: it may be an orphan, or a child of
/// popen(3), of which nobody knows.
///
/// @param pid          the child.
/// @param wait_status  as waitpid(2) gives it.
/// @param pvt          as given with the callback.
///
/// @return scope ALL: SSS_UNKNOWN_TAKEN or SSS_UNKNOWN_PARK; anything else parks.
///         Scope REGISTERED: SSS_UNKNOWN_REAP or SSS_UNKNOWN_LEAVE; anything else
///         leaves, and the child is not asked about again.
#[allow(non_camel_case_types)]
pub type sss_unknown_child_fn_t =
    Option<unsafe extern "C" fn(pid: c_int, wait_status: c_int, pvt: *mut c_void) -> u32>;

/// What sss_sigchld_ctx_create() makes a context of. Zero it, set size, set
/// what is needed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_ctx_params<'a> {
    /// sizeof(struct sss_ctx_params), which tells the struct's version.
    pub size: usize,
    /// Which of options, scope, flags and max_pidfds count: SSS_CTX_PARAM_*, ORed.
    pub mask: u32,
    /// WUNTRACED and WCONTINUED, ORed; default 0.
    pub options: i32,
    /// SSS_SCOPE_REGISTERED or SSS_SCOPE_ALL; default SSS_SCOPE_REGISTERED.
    pub scope: u32,
    /// SSS_CTX_*, ORed; default 0.
    pub flags: u32,
    /// The host's table, copied; NULL: the library's own memory, and callbacks
    /// from sss_child_handler() and sss_sigchld_ctx_dispatch().
    pub host: In<'a, sss_host>,
    /// With a host: the parent of the context's memory, or NULL. Without: NULL.
    pub memctx: *mut c_void,
    /// With a host: its event loop, borrowed until the context is freed.
    pub r#loop: *mut c_void,
    /// Told of children that nobody registered, or NULL. In scope REGISTERED only
    /// while the context has services.
    pub unknown_fn: sss_unknown_child_fn_t,
    /// Handed to unknown_fn as it is; borrowed until the context is freed.
    pub unknown_pvt: *mut c_void,
    /// How many pidfds the library may hold when a child of this context is to get
    /// one, those of other contexts' children included; 0 for none; default half of
    /// RLIMIT_NOFILE's soft limit. Not those that a call hands out.
    pub max_pidfds: u32,
    /// 0; for later use.
    pub reserved: u32,
}

/// One watch, as sss_sigchld_ctx_foreach() shows it.
#[repr(C)]
pub struct sss_child_info {
    /// sizeof(struct sss_child_info) of the library.
    pub size: usize,
    /// The watch's id, as sss_child_id() tells it.
    pub id: u64,
    /// The child.
    pub pid: i32,
    /// SSS_CHILD_RUNNING or SSS_CHILD_ENDED.
    pub state: u32,
    /// The callback.
    pub cb: sss_child_fn_t,
    /// The callback's data.
    pub pvt: *mut c_void,
}

/// Shown one watch; see sss_sigchld_ctx_foreach().
///
/// @param info  valid until the callback returns.
/// @param pvt   as given to sss_sigchld_ctx_foreach().
///
/// @return 0 to go on, anything else to stop.
#[allow(non_camel_case_types)]
pub type sss_child_info_fn_t =
    Option<unsafe extern "C" fn(info: *const sss_child_info, pvt: *mut c_void) -> c_int>;

/// Counts of one context, and from `young` on of the whole process since its
/// first context.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct sss_ctx_stats {
    /// sizeof(struct sss_ctx_stats), set by the caller.
    pub size: usize,
    /// Watches of this context whose child's end was not told yet, now.
    pub watches: u64,
    /// Callbacks of this context that are due, now.
    pub pending: u64,
    /// Callbacks that were made: ends, stops and continues.
    pub delivered: u64,
    /// Children of the process that the reaper holds without a pidfd, now.
    pub young: u64,
    /// Children of the process that the reaper holds by a pidfd, now.
    pub old: u64,
    /// Statuses that the reaper waited for.
    pub reaped: u64,
    /// Of those, statuses of children that nobody had registered; and children that ended
    /// beside services and were left to the daemon for a minute.
    pub unknown: u64,
    /// Statuses kept for a late registration, now.
    pub parked: u64,
    /// Parked statuses that were given up: too many or too old.
    pub dropped: u64,
    /// Statuses that somebody else took and that were recovered by a pidfd.
    pub recovered: u64,
    /// Statuses that somebody else took and that could not be had.
    pub lost: u64,
    /// Sweeps over the young children.
    pub sweeps: u64,
    /// Looks at all children, waitpid(-1) until it finds nothing.
    pub walks: u64,
    /// Children that got a pidfd after their registration.
    pub promoted: u64,
    /// Times that no pidfd could be had.
    pub no_pidfd: u64,
}

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
        let known = SSS_CTX_PARAM_OPTIONS
            | SSS_CTX_PARAM_SCOPE
            | SSS_CTX_PARAM_FLAGS
            | SSS_CTX_PARAM_MAX_PIDFDS;
        if given.mask & !known != 0 {
            return Err(Errno::EINVAL.into());
        }
        let mut params = Params {
            unknown: given.unknown_fn.map(|call| Unknown {
                call,
                pvt: Pvt(given.unknown_pvt),
            }),
            ..Params::default()
        };
        if given.reserved != 0 {
            return Err(Errno::E2BIG.into());
        }
        if given.mask & SSS_CTX_PARAM_MAX_PIDFDS != 0 {
            params.max_pidfds = Some(given.max_pidfds);
        }
        if given.mask & SSS_CTX_PARAM_OPTIONS != 0 {
            params.options = given.options;
        }
        if given.mask & SSS_CTX_PARAM_SCOPE != 0 {
            params.scope = match given.scope {
                SSS_SCOPE_REGISTERED => Scope::Registered,
                SSS_SCOPE_ALL => Scope::All,
                _ => return Err(Errno::EINVAL.into()),
            };
        }
        if given.mask & SSS_CTX_PARAM_FLAGS != 0 {
            if given.flags & !(SSS_CTX_UNTRUSTED | SSS_CTX_REAP_ORPHANS) != 0 {
                return Err(Errno::EINVAL.into());
            }
            params.untrusted = given.flags & SSS_CTX_UNTRUSTED != 0;
            params.reap_orphans = given.flags & SSS_CTX_REAP_ORPHANS != 0;
        }
        let host = host::from_c(given.host)?;
        if host.is_none() && !(given.memctx.is_null() && given.r#loop.is_null()) {
            return Err(Errno::EINVAL.into());
        }
        create(params, host, given.memctx, given.r#loop, sigchld_ctx)
    })
}
symver!("sss_sigchld_ctx_create");

fn create(
    mut params: Params,
    host: Option<host::Host>,
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
/// Fits tevent_signal_handler_t. From any other loop, call it whenever SIGCHLD
/// was seen, with NULL or 0 for all arguments but private_data. Never call it
/// from a sigaction(2) handler: it takes locks.
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
/// @return 0; EBUSY where a destructor of the daemon's on the memory refused, or
///         from inside a hook of one of its watches; EPERM from a thread that is not the host's loop; ECHILD in a forked
///         child: there it closes the descriptors that were inherited and frees
///         the memory, if the memory is the library's.
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

impl From<reap::context::Stats> for sss_ctx_stats {
    fn from(counts: reap::context::Stats) -> Self {
        sss_ctx_stats {
            size: 0,
            watches: counts.watches,
            pending: counts.pending,
            delivered: counts.delivered,
            young: counts.reaper.young,
            old: counts.reaper.old,
            reaped: counts.reaper.reaped,
            unknown: counts.reaper.unknown,
            parked: counts.reaper.parked,
            dropped: counts.reaper.dropped,
            recovered: counts.reaper.recovered,
            lost: counts.reaper.lost,
            sweeps: counts.reaper.sweeps,
            walks: counts.reaper.walks,
            promoted: counts.reaper.promoted,
            no_pidfd: counts.reaper.no_pidfd,
        }
    }
}

/// The context's descriptor, to be polled for reading.
///
/// It is readable while sss_sigchld_ctx_dispatch() has work. It needs no
/// SIGCHLD: the signal may be at its default, ignored, blocked or somebody
/// else's. From the first call on the children of this context are held by
/// pidfds, unless sss_child_handler() is called for it too. Not for a context
/// with a host, whose loop watches it already.
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

/// Something keeps statuses from being seen: SIGCHLD is ignored.
pub const SSS_AUDIT_IGNORED: u32 = 0x1;
/// SIGCHLD is taken with SA_NOCLDWAIT: children do not become zombies.
pub const SSS_AUDIT_NOCLDWAIT: u32 = 0x2;
/// SIGCHLD is taken with SA_NOCLDSTOP, though options ask for stops.
pub const SSS_AUDIT_NOCLDSTOP: u32 = 0x4;
/// SIGCHLD's handler is not the one that stood when this context last looked.
pub const SSS_AUDIT_REPLACED: u32 = 0x8;
/// SIGCHLD is blocked in the calling thread.
pub const SSS_AUDIT_BLOCKED: u32 = 0x10;

/// What sss_sigchld_ctx_audit() found.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct sss_ctx_audit {
    /// sizeof(struct sss_ctx_audit), set by the caller.
    pub size: usize,
    /// SSS_AUDIT_*, ORed: the state of SIGCHLD.
    pub findings: u32,
    /// 0; for later use.
    pub reserved: u32,
    /// As in struct sss_ctx_stats.
    pub recovered: u64,
    /// As in struct sss_ctx_stats.
    pub lost: u64,
    /// As in struct sss_ctx_stats.
    pub parked: u64,
    /// As in struct sss_ctx_stats.
    pub unknown: u64,
}

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
        let mut findings = 0;
        for (is_so, bit) in [
            (audit.ignored, SSS_AUDIT_IGNORED),
            (audit.no_zombies, SSS_AUDIT_NOCLDWAIT),
            (audit.no_stops, SSS_AUDIT_NOCLDSTOP),
            (audit.replaced, SSS_AUDIT_REPLACED),
            (audit.blocked, SSS_AUDIT_BLOCKED),
        ] {
            if is_so {
                findings |= bit;
            }
        }
        found.write(sss_ctx_audit {
            size: 0,
            findings,
            reserved: 0,
            recovered: audit.reaper.recovered,
            lost: audit.reaper.lost,
            parked: audit.reaper.parked,
            unknown: audit.reaper.unknown,
        })
    })
}
symver!("sss_sigchld_ctx_audit");
