//! `sss_child_watch`, `sss_child_set_deadline`, `sss_child_wait` and
//! `sss_sigchld_ctx_wait_all`: everything that there is to know of a child's end.

use std::ffi::{c_int, c_void};
use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::boundary::{errno_t, guard, symver};
use super::child_memory::ChildPlace;
use super::context_memory::wake_own_loop;
use super::handle::{sss_child_ctx, sss_sigchild_ctx};
use super::params::{Handle, In, Out, OutList, OutStruct};
use super::watch_params::{SSS_WATCH_TAKE_PIDFD, sss_child_event, sss_deadline, sss_watch};
use crate::reap::callback::Pvt;
use crate::reap::event::raw_status;
use crate::reap::{rich, wait};
use crate::sys::clock;
use crate::sys::error::Error;

/// Watch a child, and be told everything there is to know.
///
/// A child may have any number of watches, in any contexts; in one context they
/// are told in the order in which they were made. sss_child_register() takes the
/// place of no watch that was made here. A child that has ended already is told
/// of in the next dispatch; also one that was waited for, as long as a handle of
/// its watches is held: the record is that of its end then.
///
/// By pid, an unreaped child comes before the record of a former one with the
/// same number; by pidfd, only the child that it stands for is meant.
///
/// @param memctx       as for sss_child_register().
/// @param sigchld_ctx  the context.
/// @param watch        whom to watch, and what to tell; not kept.
/// @param child_ctx    as for sss_child_register(), as is the handle; but
///                     sss_child_set_cb() is ENOTSUP for it.
///
/// @return 0; EINVAL for a NULL pointer, none or both of pid and pidfd, a pid
///         below 1, an unknown bit in a mask, 0 in events or want, a pidfd of a
///         thread (PIDFD_THREAD), or a deadline as sss_child_set_deadline()
///         refuses; E2BIG for a struct of a later version that uses what this
///         library does not know; EBADF where pidfd is no pidfd, or a directory
///         of /proc; ESRCH where it is no child of this process, or was waited
///         for; ENOTSUP for STOPPED or CONTINUED in a context that no SIGCHLD
///         wakes, or a deadline in one whose descriptor nobody polls; EMFILE,
///         ENFILE where the pidfd cannot be duplicated; ENOMEM; EPERM, ECHILD:
///         as sss_child_register(). After an error nothing has changed, and a
///         pidfd that was to be taken is still the caller's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_watch(
    memctx: *mut c_void,
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    watch: In<sss_watch>,
    child_ctx: Out<*mut sss_child_ctx>,
) -> errno_t {
    guard(|| {
        let (ctx, given) = (sigchld_ctx.context()?, watch.read()?);
        let mut params = given.params()?;
        let place = ChildPlace::new(ctx, memctx, child_ctx)?;
        params.handle = place.object().map(Pvt);
        let mut due = false;
        let made = rich::watch(ctx.id, params, &mut due);
        if made.is_ok() && given.mask & SSS_WATCH_TAKE_PIDFD != 0 {
            // SAFETY: the caller gave it to us; ours is a duplicate.
            drop(unsafe { OwnedFd::from_raw_fd(given.pidfd) });
        }
        let settled = place.settle(made, child_ctx);
        if due {
            wake_own_loop(ctx);
        }
        settled
    })
}
symver!("sss_child_watch");
/// Set a deadline for a watched child, in place of the former one.
///
/// While the child lives its steps are taken one after the other, by the
/// context's loop. Before each the library looks whether the child has ended. A
/// loop that comes round late takes one step at a time: each waits for its time
/// after the former was taken. When a step's signal cannot be sent (EPERM), the
/// steps go on, and the record says so. The end of the child, or of the watch,
/// ends its deadline.
///
/// @param child     a handle of sss_child_watch() or sss_child_communicate().
/// @param deadline  the steps, copied; or NULL for no deadline any more.
///
/// @return 0; EINVAL for a NULL child, an unknown bit, no step or more than 16, a
///         step without a signal or with an unknown whom, a time below 0, or one
///         whose sum with the former ones and the clock passes INT64_MAX; E2BIG
///         as for sss_child_watch(); ESRCH where the child has ended or the
///         handle was freed; ENOTSUP for a handle of another function, or without
///         a host where sss_sigchld_ctx_fd() was never called; ENOMEM; EPERM, ECHILD: as
///         sss_child_kill().
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_set_deadline(
    child: Handle<sss_child_ctx>,
    deadline: In<sss_deadline>,
) -> errno_t {
    guard(|| {
        let (child, deadline) = (child.child()?, deadline.get()?);
        rich::set_deadline(child.id(), deadline)
    })
}
symver!("sss_child_set_deadline");

/// Wait for one child to end, in the calling thread.
///
/// No callback is made meanwhile, neither this watch's nor another's. The end is
/// taken: the watch's callback is not made for it any more; the handle is still
/// to be freed. A watch whose end was told before answers with that end. Other
/// children that end meanwhile are told of by the next dispatch, and deadlines
/// are kept.
///
/// @param child        a handle of any function.
/// @param timeout_ns   how long to wait at most, in nanoseconds: 0 to look only,
///                     -1 without end.
/// @param wait_status  written on success, as waitpid(2) gives it, or
///                     SSS_WAIT_STATUS_LOST; or NULL.
/// @param record       written on success, its size set by the caller; or NULL.
///                     The watch of sss_child_register() and sss_child_spawn()
///                     has the status only.
///
/// @return 0; ETIMEDOUT where the child lives on; EINVAL for a NULL child, a
///         timeout below -1 or a record too small; ESRCH where the watch is over
///         without an end, or the handle was freed; EPERM from a thread that is
///         not the host's loop; ECHILD in a process that is not the handle's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_wait(
    child: Handle<sss_child_ctx>,
    timeout_ns: i64,
    wait_status: Out<c_int>,
    record: OutStruct<sss_child_event>,
) -> errno_t {
    guard(|| {
        let child = child.child()?;
        let until = until(timeout_ns)?;
        let record = record.checked()?;
        let told = wait::wait(child.id(), until)?;
        wait_status.write(told.change.map_or(0, raw_status));
        record.write_if_given(sss_child_event::from(&told))
    })
}
symver!("sss_child_wait");

/// A timeout as a time of CLOCK_MONOTONIC.
fn until(timeout_ns: i64) -> Result<u64, Error> {
    match u64::try_from(timeout_ns) {
        Ok(timeout) => Ok(clock::now().saturating_add(timeout)),
        Err(_) if timeout_ns == -1 => Ok(u64::MAX),
        Err(_) => Err(Errno::EINVAL.into()),
    }
}

/// Wait for all children that a context watches to end, in the calling thread,
/// and tell whom it left behind.
///
/// No callback is made meanwhile: the ends are told by the next dispatch.
/// Deadlines are kept. For a shutdown: signal the children, or give each a
/// deadline, then call this.
///
/// @param sigchld_ctx  the context.
/// @param timeout_ns   how long to wait at most, in nanoseconds: 0 to look only,
///                     -1 without end.
/// @param left         where to write the pids of those that live on; or NULL.
/// @param left_count   in: how many left has room for; out, with 0 and ETIMEDOUT:
///                     how many live on, which may be more. NULL where left is.
///
/// @return 0 where all have ended; ETIMEDOUT where some live on; EINVAL for a NULL
///         context, a timeout below -1, or one of the last two NULL alone; EPERM
///         from a thread that is not the host's loop; ECHILD in a process that is
///         not the context's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_sigchld_ctx_wait_all(
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    timeout_ns: i64,
    left: OutList<i32>,
    left_count: Out<usize>,
) -> errno_t {
    guard(|| {
        let ctx = sigchld_ctx.context()?;
        let until = until(timeout_ns)?;
        if left.is_null() != left_count.is_null() {
            return Err(Errno::EINVAL.into());
        }
        let waited = wait::wait_all(ctx.id, until);
        wake_own_loop(ctx);
        let is_over = waited.is_ok() || waited == Err(Errno::ETIMEDOUT.into());
        if is_over && !left_count.is_null() {
            left.write(left_count, |each| {
                let mut cursor = 0;
                while let Some(pid) = wait::next_living(ctx.id, &mut cursor) {
                    each(pid);
                }
                Ok(())
            })?;
        }
        waited
    })
}
symver!("sss_sigchld_ctx_wait_all");
