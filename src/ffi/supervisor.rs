//! `sss_supervisor_*`: units, which are kept running and stopped whole.

use std::ffi::c_void;

use nix::errno::Errno;

use super::boundary::{errno_t, guard, protect, symver};
use super::context_memory::Context;
use super::handle::sss_sigchild_ctx;
use super::object::Place;
use super::params::{Handle, In, Out, OutStruct, event_fn};
use super::supervisor_params::{
    Unit, sss_shutdown_event, sss_shutdown_fn_t, sss_unit, sss_unit_ctx, sss_unit_fn_t,
    sss_unit_info_fn_t, sss_unit_status,
};
use crate::reap::callback::{Pvt, Record};
use crate::reap::context;
use crate::supervise::machine::{Command, Machine};
use crate::supervise::units;
use crate::sys::cancel::NoCancellation;
use crate::sys::error::Error;
use crate::sys::{random, subreaper};

/// A context that this thread may use.
fn checked(sigchld_ctx: Handle<'_, sss_sigchild_ctx>) -> Result<&Context, Error> {
    let ctx = sigchld_ctx.context()?;
    context::check(ctx.id)?;
    Ok(ctx)
}

/// Add a unit to the supervisor of a context. It is not started.
///
/// All units of a context are one supervisor. Adding the first makes the process a
/// subreaper (sss_subreaper_enable()), so that programs which put themselves into
/// the background are not lost. The context's descriptor must be polled or its host
/// attached.
///
/// @param memctx       with a host: the parent of the unit's memory, or NULL;
///                     freeing it removes the unit. Without a host: NULL.
/// @param sigchld_ctx  the context.
/// @param unit         what to add; copied.
/// @param cb           told of the unit, or NULL.
/// @param pvt          handed to cb and to unit->decide as it is; borrowed until the
///                     unit is removed.
/// @param unit_ctx     written last, on success only; free it with
///                     sss_supervisor_remove(), also after the context was freed.
///
/// @return 0; EINVAL for a NULL pointer, a field out of its range, an unknown bit, a
///         descriptor that both the spawn's map and the unit name; E2BIG for a struct
///         of a later version that uses what this library does not know; EEXIST for a
///         name that the context has, without SSS_UNIT_REPLACE; ENOENT for an unknown
///         name in unit->after, ELOOP for one that comes after the unit to replace;
///         EBADF for a closed descriptor; ENOTSUP without a host where
///         sss_sigchld_ctx_fd() was never called; ENOMEM, EMFILE, ENFILE; EPERM from a
///         thread that is not the host's loop; ECHILD where the context belongs to another
///         process. Nothing has changed then.
///
/// Thread-safe without a host. Not for signal handlers, and no cancellation point.
#[unsafe(no_mangle)]
pub extern "C" fn sss_supervisor_add(
    memctx: *mut c_void,
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    unit: In<sss_unit>,
    cb: sss_unit_fn_t,
    pvt: *mut c_void,
    unit_ctx: Out<*mut sss_unit_ctx>,
) -> errno_t {
    guard(|| {
        let _uncancelled = NoCancellation::begin();
        let (ctx, unit_ctx) = (sigchld_ctx.context()?, unit_ctx.required()?);
        let given = unit.read()?;
        let place = Place::<sss_unit_ctx>::new(ctx, memctx)?;
        let (settings, times) = given.settings(cb, pvt, place.pointer())?;
        let after = given.names()?;
        let config = given.config(settings.mode, times)?;
        let machine = Machine::new(config, given.policy()?, random::number()?)?;
        let begun = |id| place.put(Unit(id));
        let added = units::add(ctx.id, settings, machine, &after, begun);
        if added.is_ok() {
            // If it cannot be one, the unit's start says so.
            let _ = subreaper::set(true);
        }
        place.settle(added, unit_ctx)
    })
}
symver!("sss_supervisor_add");

/// Start a unit, and before it all units that come before it and are not ready.
///
/// Returns at once: the start is made by the loop, and events tell of it. A unit
/// that runs is left alone; one in BACKOFF or FAILED is started now, and its count of
/// starts begins anew. Until those that come before it are ready it stays as it is,
/// and becomes FAILED (SSS_UNIT_CAUSE_DEPENDENCY) if one of them fails, or ends and is not
/// started again.
///
/// @param unit  the unit.
///
/// @return 0; EINVAL for NULL; ESHUTDOWN during sss_supervisor_shutdown(); ESRCH where
///         its context was freed; ECHILD in a process that is not the unit's.
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_supervisor_start(unit: Handle<sss_unit_ctx>) -> errno_t {
    guard(|| units::command(unit.id()?, Command::Start))
}
symver!("sss_supervisor_start");

/// Stop a unit, and before it all units that come after it.
///
/// Returns at once: the stop is made by the loop, and events tell of it. The steps
/// of the unit are taken one after the other, then its processes are killed.
///
/// @param unit  the unit.
///
/// @return as sss_supervisor_start(), but for ESHUTDOWN.
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_supervisor_stop(unit: Handle<sss_unit_ctx>) -> errno_t {
    guard(|| units::command(unit.id()?, Command::Stop))
}
symver!("sss_supervisor_stop");

/// Stop a unit and start it again; start it where it does not run. Where a start of it
/// waits for other units, the restart waits with it. Units that come after it are left
/// alone.
///
/// @param unit  the unit.
///
/// @return as sss_supervisor_start().
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_supervisor_restart(unit: Handle<sss_unit_ctx>) -> errno_t {
    guard(|| units::command(unit.id()?, Command::Restart))
}
symver!("sss_supervisor_restart");

/// Have a unit read its configuration again: send its reload signal.
///
/// @param unit  the unit.
///
/// @return 0; EAGAIN where it is not RUNNING; otherwise as sss_supervisor_stop().
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_supervisor_reload(unit: Handle<sss_unit_ctx>) -> errno_t {
    guard(|| units::command(unit.id()?, Command::Reload))
}
symver!("sss_supervisor_reload");

/// Tell how a unit stands.
///
/// @param unit    the unit.
/// @param status  size set by the caller; written on success, no further than that.
///
/// @return 0; EINVAL for a NULL pointer or too small a size; ESRCH where its context
///         was freed; ECHILD in a process that is not the unit's.
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_supervisor_status(
    unit: Handle<sss_unit_ctx>,
    status: OutStruct<sss_unit_status>,
) -> errno_t {
    guard(|| {
        let id = unit.id()?;
        let standing = units::standing(id)?;
        let name = units::with(id, |settings| settings.name.as_c_str().as_ptr())?;
        status.write(sss_unit_status::of(name, &standing))
    })
}
symver!("sss_supervisor_status");

/// Show every unit of a context, in no particular order.
///
/// The callback may use every function, on every unit; a unit that it adds may or
/// may not be shown.
///
/// @param sigchld_ctx  the context.
/// @param cb           called for each unit.
/// @param pvt          handed to cb as it is.
///
/// @return 0; EINVAL for a NULL pointer; EPERM from a thread that is not the host's
///         loop; ECHILD where the context belongs to another process.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_supervisor_foreach(
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    cb: sss_unit_info_fn_t,
    pvt: *mut c_void,
) -> errno_t {
    let mut ctx = None;
    let checked = guard(|| {
        ctx = Some(checked(sigchld_ctx)?.id);
        Ok(())
    });
    let (Some(ctx), Some(show)) = (ctx, cb) else {
        return if checked == 0 {
            Errno::EINVAL as errno_t
        } else {
            checked
        };
    };
    let (mut cursor, pvt) = (0, Pvt(pvt));
    loop {
        let shown = protect(|| {
            loop {
                let id = units::next(ctx, &mut cursor)?;
                // Another thread may have removed it just now.
                let Ok(standing) = units::standing(id) else {
                    continue;
                };
                let told = units::with(id, |settings| {
                    (settings.sink.source, settings.name.as_c_str().as_ptr())
                });
                if let Ok((unit, name)) = told {
                    return Some((unit, sss_unit_status::of(name, &standing)));
                }
            }
        });
        let Some(Some((unit, status))) = shown else {
            return 0;
        };
        // SAFETY: the daemon's callback with its own data.
        if unsafe { show(unit.0.cast(), &raw const status, pvt.0) } != 0 {
            return 0;
        }
    }
}
symver!("sss_supervisor_foreach");

/// Take a unit out of its supervisor.
///
/// No callback of it runs once this returns: where another thread is in one, this
/// waits for it. Its processes are not signalled; they are reaped when they end. To
/// stop them first, wait for SSS_UNIT_STOPPED after sss_supervisor_stop(). Units that
/// came after it come after it no more.
///
/// @param unit  the unit; NULL is allowed.
///
/// @return 0; EBUSY where a destructor of the host's refused.
///
/// Thread-safe without a host; with one for the loop's thread. Not for signal
/// handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_supervisor_remove(unit: Handle<sss_unit_ctx>) -> errno_t {
    guard(|| unit.free())
}
symver!("sss_supervisor_remove");

/// Stop all units of a context in reverse order, and tell when they are down.
///
/// Returns at once. Until it is over no unit can be started. At the deadline what
/// still lives is killed, all at once; two seconds later it is told of what is left
/// then.
///
/// @param sigchld_ctx  the context.
/// @param timeout      how long the stop may take, in nanoseconds; 0 kills at once.
/// @param cb           told of the end, once; or NULL.
/// @param pvt          handed to cb as it is; borrowed until then.
///
/// @return 0; EINVAL for a NULL context or a timeout below 0; EALREADY during another
///         shutdown, which keeps its cb and ends within this timeout where that is
///         earlier; ENOTSUP without a host where sss_sigchld_ctx_fd() was never called;
///         ENOMEM; EPERM from a thread that is not the host's loop; ECHILD where the context
///         belongs to another process.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_supervisor_shutdown(
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    timeout: i64,
    cb: sss_shutdown_fn_t,
    pvt: *mut c_void,
) -> errno_t {
    guard(|| {
        let ctx = checked(sigchld_ctx)?;
        let timeout = u64::try_from(timeout).map_err(|_| Errno::EINVAL)?;
        units::shutdown(
            ctx.id,
            timeout,
            units::Told {
                call: cb.map(event_fn),
                source: Pvt(sigchld_ctx.as_ptr().cast()),
                pvt: Pvt(pvt),
                record: |left| Record::of(sss_shutdown_event::from(left)),
            },
        )
    })
}
symver!("sss_supervisor_shutdown");

/// Stop all units of a context in reverse order, in the calling thread.
///
/// For the end of a daemon whose loop turns no more: no callback is made meanwhile, of
/// units or anything else. Each unit's steps are taken and times kept as by
/// sss_supervisor_shutdown(). The units' events are told by the next dispatch, if there
/// is one; ended processes are reaped by it, or by whoever is left when the daemon has
/// exited. Nobody else may dispatch the context meanwhile.
///
/// @param sigchld_ctx  the context.
/// @param timeout      as for sss_supervisor_shutdown().
/// @param left         size set by the caller; what was left is written, no further
///                     than that, with 0 and ETIMEDOUT. Or NULL.
///
/// @return 0 where all are down; ETIMEDOUT where some are not; EINVAL for a NULL
///         context, too small a size or a timeout below 0; EALREADY during another
///         shutdown, as there; ENOMEM; EPERM from a thread that is not the host's loop;
///         ECHILD where the context belongs to another process.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_supervisor_shutdown_wait(
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    timeout: i64,
    left: OutStruct<sss_shutdown_event>,
) -> errno_t {
    guard(|| {
        let _uncancelled = NoCancellation::begin();
        let ctx = checked(sigchld_ctx)?;
        let timeout = u64::try_from(timeout).map_err(|_| Errno::EINVAL)?;
        let left = left.checked()?;
        let over = units::shutdown_wait(ctx.id, timeout)?;
        left.write_if_given(over.into())?;
        if over.units > 0 {
            return Err(Errno::ETIMEDOUT.into());
        }
        Ok(())
    })
}
symver!("sss_supervisor_shutdown_wait");
