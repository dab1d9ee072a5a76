//! `sss_service_*` and `sss_subreaper_*`: a process and all that comes of it.

use std::ffi::{c_int, c_void};

use nix::errno::Errno;

use super::boundary::{errno_t, guard, symver};
use super::context_memory::wake_own_loop;
use super::handle::sss_sigchild_ctx;
use super::object::Place;
use super::params::{Handle, In, Out, OutList, OutStruct};
use super::service_params::{
    SSS_SERVICE_SPARE_LOGINS, Service, sink, sss_service, sss_service_fn_t, sss_service_kill,
    sss_service_killed, sss_service_member, sss_service_params, sss_service_status,
};
use super::spawn_params::sss_spawn;
use crate::reap;
use crate::service::kill::{self, Member};
use crate::service::tracker;
use crate::sys::cancel::NoCancellation;
use crate::sys::subreaper;

/// Start a service: a child, and all processes that come of it, whatever they do
/// to get away.
///
/// The process becomes a subreaper, if it is none: see sss_subreaper_enable().
/// From then on each process of the service that loses its parent becomes a child
/// of this one, is told by ADOPTED, and is reaped; see sss_adoption(7) for how it
/// is known.
///
/// @param memctx       as for sss_child_register().
/// @param sigchld_ctx  the context. Somebody polls its descriptor; a host does.
/// @param spawn        what to start, as for sss_child_spawn(); not kept.
///                     SSS_SPAWN_GATE cannot be used. Its own RLIMIT_LOCKS wins
///                     over the tag.
/// @param params       how the service is known and followed; NULL: by tag,
///                     environment and descent, its first process the main one.
/// @param cb           told of the service, or NULL.
/// @param pvt          handed to cb as it is; borrowed until the handle is freed.
/// @param service      written last, on success only; free it with
///                     sss_service_free(), after DEAD too. May be NULL where
///                     memctx is not.
///
/// @return 0; EINVAL for a NULL pointer, an unknown bit, SSS_SPAWN_GATE, or a pid_file
///         without SSS_SERVICE_FORKING; ENOTSUP without a host where
///         sss_sigchld_ctx_fd() was never called; ENOENT where /proc is not mounted or
///         does not show children; EXDEV where /proc is that of another pid namespace; with
///         SSS_SERVICE_EXACT the errno for which there is no cgroup (ENOENT, EROFS,
///         EACCES, EBUSY and so on); otherwise as sss_child_spawn().
///
/// Thread-safe without a host, as sss_child_spawn(). Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_service_spawn(
    memctx: *mut c_void,
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    spawn: In<sss_spawn>,
    params: In<sss_service_params>,
    cb: sss_service_fn_t,
    pvt: *mut c_void,
    service: Out<*mut sss_service>,
) -> errno_t {
    guard(|| {
        let _uncancelled = NoCancellation::begin();
        if service.is_null() && memctx.is_null() {
            return Err(Errno::EINVAL.into());
        }
        let (ctx, wish) = (sigchld_ctx.context()?, params.wish()?);
        reap::context::check(ctx.id)?;
        let place = Place::<sss_service>::new(ctx, memctx)?;
        let sink = sink(cb, &place, pvt);
        let begun = |id| place.put(Service(id));
        let started = spawn.with_spec(|spec| tracker::spawn(ctx.id, spec, wish, sink, begun));
        let settled = place.settle(started, service);
        wake_own_loop(ctx);
        settled
    })
}
symver!("sss_service_spawn");

/// Make a child that already runs, and all that lives below it, a service.
///
/// @param memctx       as for sss_service_spawn().
/// @param sigchld_ctx  the context.
/// @param pid          a child of this process that is no service's; it may be
///                     registered as well.
/// @param params       as for sss_service_spawn(). A tag is set from outside, for
///                     the processes of users that the daemon may trace; the
///                     environment cannot be. With a cgroup the child and all that
///                     lives below it are moved there.
/// @param cb           told of the service, or NULL.
/// @param pvt          handed to cb as it is; borrowed until the handle is freed.
/// @param service      as for sss_service_spawn().
///
/// @return 0; EINVAL; ESRCH where pid is no child of this process; EBUSY where a
///         service has it; with SSS_SERVICE_EXACT the errno for which a process cannot
///         be moved into the cgroup; otherwise as sss_service_spawn().
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_service_attach(
    memctx: *mut c_void,
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    pid: libc::pid_t,
    params: In<sss_service_params>,
    cb: sss_service_fn_t,
    pvt: *mut c_void,
    service: Out<*mut sss_service>,
) -> errno_t {
    guard(|| {
        if pid <= 0 || (service.is_null() && memctx.is_null()) {
            return Err(Errno::EINVAL.into());
        }
        let (ctx, wish) = (sigchld_ctx.context()?, params.wish()?);
        reap::context::check(ctx.id)?;
        let place = Place::<sss_service>::new(ctx, memctx)?;
        let sink = sink(cb, &place, pvt);
        let begun = |id| place.put(Service(id));
        let attached = tracker::attach(ctx.id, pid, wish, sink, begun);
        let settled = place.settle(attached, service);
        wake_own_loop(ctx);
        settled
    })
}
symver!("sss_service_attach");

/// End a service's events and free its handle.
///
/// No callback of it runs once this returns; where another thread is in one, this
/// waits for it to return. The processes live on, and are still reaped; while the
/// context lives they stay claimed, so that none of them is taken for an unknown
/// child.
///
/// @param service  the handle; NULL is allowed. It is not used again.
///
/// @return 0, in a forked child too, where only the memory is freed; EBUSY where a
///         destructor that the daemon put on the host's memory refused; EPERM from a
///         thread that is not the host's loop.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_service_free(service: Handle<sss_service>) -> errno_t {
    guard(|| {
        if service.is_null() {
            return Ok(());
        }
        match service.id() {
            Err(error) if !matches!(error.errno, Errno::ESRCH | Errno::ECHILD | Errno::EINVAL) => {
                return Err(error);
            }
            // If its context is gone, or it is a parent's, only the memory is left.
            _ => {}
        }
        service.free()
    })
}
symver!("sss_service_free");

/// The pids of a service's live processes, after a look at them.
///
/// A pid is a number only: a process may have ended since. Children of this process
/// stay what they are until their EXITED.
///
/// @param service  the handle.
/// @param pids     room for *count pids, or NULL where *count is 0.
/// @param count    in: how many fit; out: how many there are, which may be more
///                 than fit: then the first ones were written.
///
/// @return 0; EINVAL for a NULL pointer; ESRCH where the service's context is gone;
///         ENOMEM; EPERM from a thread that is not the host's loop; ECHILD.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_service_pids(
    service: Handle<sss_service>,
    pids: OutList<libc::pid_t>,
    count: Out<usize>,
) -> errno_t {
    guard(|| {
        let id = service.id()?;
        pids.write(count, |each| tracker::pids(id, each))
    })
}
symver!("sss_service_pids");

/// A service's main process.
///
/// @param service  the handle.
/// @param pid      written on success: the main process, or 0 where it ended or
///                 is not known; see SSS_SERVICE_FORKING.
///
/// @return 0; EINVAL for a NULL pointer; ESRCH; EPERM; ECHILD: as
///         sss_service_pids().
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_service_main_pid(
    service: Handle<sss_service>,
    pid: Out<libc::pid_t>,
) -> errno_t {
    guard(|| {
        let (pid, id) = (pid.required()?, service.id()?);
        pid.write(tracker::standing(id)?.main);
        Ok(())
    })
}
symver!("sss_service_main_pid");

/// How a service stands, and which evidence the system refused, and why.
///
/// @param service  the handle.
/// @param status   written on success; its size is set by the caller.
///
/// @return 0; EINVAL for a NULL pointer or a size that is too small; ESRCH; EPERM;
///         ECHILD: as sss_service_pids().
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_service_status(
    service: Handle<sss_service>,
    status: OutStruct<sss_service_status>,
) -> errno_t {
    guard(|| {
        let (status, id) = (status.required()?, service.id()?);
        let standing = tracker::standing(id)?;
        status.write(sss_service_status::of(id, &standing))
    })
}
symver!("sss_service_status");

/// Signal a whole service, and with SIGKILL end it whole.
///
/// By the cgroup's own kill where the service has one and nothing is spared, and
/// in rounds that stop and then kill whoever is found, until nobody is left. Only
/// processes of the service are signalled, by their pidfds, never this process,
/// never its other children. The ends come as events in the usual way.
///
/// @param service  the handle.
/// @param how      what to send, and whom to spare; NULL: SIGKILL to all.
/// @param killed   written on success; its size is set by the caller; or NULL.
///
/// @return 0, also where processes were refused or left; EINVAL for a NULL service,
///         no signal or an unknown flag; ESRCH; ENOMEM; EPERM from a thread that is
///         not the host's loop; ECHILD.
///
/// Thread-safe without a host. Not for signal handlers. With SIGKILL it takes
/// milliseconds, where a process does not end by it a fifth of a second, and five seconds
/// at most.
#[unsafe(no_mangle)]
pub extern "C" fn sss_service_kill(
    service: Handle<sss_service>,
    how: In<sss_service_kill>,
    killed: OutStruct<sss_service_killed>,
) -> errno_t {
    guard(|| {
        let (given, killed) = (how.read_if_given()?, killed.checked()?);
        let (signal, flags) = given.map_or((libc::SIGKILL, 0), |how| (how.signal, how.flags));
        let spare_fn = given.and_then(|how| how.spare_fn.map(|call| (call, how.spare_pvt)));
        if flags & !SSS_SERVICE_SPARE_LOGINS != 0 {
            return Err(Errno::EINVAL.into());
        }
        let id = service.id()?;
        let mut spare = |member: &Member| {
            if flags & SSS_SERVICE_SPARE_LOGINS != 0 && member.login {
                return true;
            }
            let shown = sss_service_member::from(member);
            // SAFETY: the daemon's callback with its own data.
            spare_fn.is_some_and(|(call, pvt)| unsafe { call(&raw const shown, pvt) } != 0)
        };
        let may_spare = flags != 0 || spare_fn.is_some();
        let outcome = kill::kill(id, signal, &mut spare, may_spare)?;
        killed.write_if_given(outcome.into())
    })
}
symver!("sss_service_kill");

/// Become the parent of orphans: PR_SET_CHILD_SUBREAPER of prctl(2).
///
/// A process below this one whose parent ends becomes a child of this process
/// from then on, unless a nearer subreaper takes it. It holds for the whole
/// process and over exec, and children do not inherit it. Only who becomes an
/// orphan later is adopted, so call it before the first fork. A process that is
/// pid 1 of its pid namespace adopts without it.
///
/// @param enable  1 to begin, 0 to end; who was adopted stays a child.
///
/// @return 0; EINVAL for another value.
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_subreaper_enable(enable: c_int) -> errno_t {
    guard(|| match enable {
        0 | 1 => subreaper::set(enable == 1),
        _ => Err(Errno::EINVAL.into()),
    })
}
symver!("sss_subreaper_enable");

/// Whether this process is a subreaper; see sss_subreaper_enable().
///
/// @param enabled  written on success: 1 or 0. It is 0 for a pid 1 that was not
///                 made one.
///
/// @return 0; EINVAL for NULL.
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_subreaper_is_enabled(enabled: Out<c_int>) -> errno_t {
    guard(|| {
        let enabled = enabled.required()?;
        enabled.write(c_int::from(subreaper::is_set()?));
        Ok(())
    })
}
symver!("sss_subreaper_is_enabled");
