//! `sss_child_spawn`, `sss_child_spawn_unwatched` and `sss_child_open_gate`: how a child
//! is started.

use std::ffi::{c_int, c_void};
use std::os::fd::IntoRawFd;

use super::boundary::{errno_t, guard, symver};
use super::child::sss_child_fn_t;
use super::child_memory::ChildPlace;
use super::context_memory::wake_own_loop;
use super::handle::{sss_child_ctx, sss_sigchild_ctx};
use super::params::{Handle, In, Out};
use super::spawn_params::sss_spawn;
use crate::reap::spawned;
use crate::spawn::{SpawnError, spawn_unwatched};
use crate::sys::cancel::NoCancellation;

/// Start a child process and call back when it ends, without a window between.
///
/// Returns when the child has executed its program, or is held at its gate; it
/// does not call back itself. A failure of any step in the child is the call's
/// own: then there is no process, no callback and nothing to free. The daemon's
/// signal handlers never run in the child, nor do pthread_atfork(3)'s, and its
/// memory is not copied, so that the cost does not grow with it (but see
/// SSS_SPAWN_GATE, SSS_SPAWN_FORK and sss_spawn.uid); it grows with the highest
/// source in sss_spawn.fds.
///
/// @param memctx       as for sss_child_register().
/// @param sigchld_ctx  the context.
/// @param spawn        what to start; not kept.
/// @param cb           the callback, or NULL.
/// @param pvt          handed to cb as it is; borrowed until the watch ends.
/// @param child_ctx    as for sss_child_register(), as is the handle.
///
/// @return 0; EINVAL for a NULL pointer, a field out of its range or an unknown
///         bit; E2BIG for a struct of a later version that uses what this library
///         does not know; otherwise the errno of the step that failed, which is
///         written to *spawn->failed_step: ENOENT, EACCES, ENOEXEC, E2BIG of
///         execve(2), EBADF for a closed descriptor, EAGAIN where RLIMIT_NPROC
///         forbids it, EPERM, ENOMEM, and so on; EPERM from a thread that is not
///         the host's loop; ECHILD where the context belongs to another process.
///
/// Thread-safe without a host; other threads may fork, exec and change the table
/// of descriptors meanwhile, but not the environment, nor a descriptor that spawn
/// names. The calling thread's signals are blocked meanwhile. Not for signal
/// handlers, and no cancellation point.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_spawn(
    memctx: *mut c_void,
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    spawn: In<sss_spawn>,
    cb: sss_child_fn_t,
    pvt: *mut c_void,
    child_ctx: Out<*mut sss_child_ctx>,
) -> errno_t {
    guard(|| {
        let _uncancelled = NoCancellation::begin();
        let (ctx, given) = (sigchld_ctx.context()?, spawn.read()?);
        let place = ChildPlace::new(ctx, memctx, child_ctx)?;
        let (cb, pvt) = place.callback(cb, pvt);
        let told = spawned::Told::Callback(cb, pvt);
        let settled = given.with_pty(
            |spec| {
                let started = spawned::start(ctx.id, spec, told)?;
                Ok((started.watch, started.pty))
            },
            |watch| place.settle(watch, child_ctx),
        );
        wake_own_loop(ctx);
        settled
    })
}
symver!("sss_child_spawn");

/// Start a child process that the library does not watch: the caller waits for it.
///
/// The child is started as by sss_child_spawn(), which says what struct sss_spawn
/// means, and belongs to the caller from then on, as after fork(2): the library
/// neither calls back nor reaps it, unless a context of scope SSS_SCOPE_ALL is
/// there, which reaps every child of the process. It may be registered later.
///
/// @param spawn  what to start; not kept. Without SSS_SPAWN_GATE and SSS_SPAWN_PTY
///               (ENOTSUP).
/// @param pid    where to write the child's pid.
/// @param pidfd  where to write a pidfd of the child, which the caller closes and
///               which is close-on-exec; NULL for none.
///
/// @return as sss_child_spawn(), but for what concerns a context; ENOTSUP where a
///         pidfd is asked for and the kernel has none (Linux before 5.3): then there
///         is no child.
///
/// Thread-safe, as sss_child_spawn(). Not for signal handlers, and no cancellation
/// point.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_spawn_unwatched(
    spawn: In<sss_spawn>,
    pid: Out<libc::pid_t>,
    pidfd: Out<c_int>,
) -> errno_t {
    guard(|| {
        let _uncancelled = NoCancellation::begin();
        let pid = pid.required()?;
        let child = spawn.with_spec(|spec| spawn_unwatched(spec, !pidfd.is_null()))?;
        if let Some(fd) = child.pidfd {
            pidfd.write(fd.into_raw_fd());
        }
        pid.write(child.pid);
        Ok(())
    })
}
symver!("sss_child_spawn_unwatched");

/// Let a child that is held at its gate (SSS_SPAWN_GATE) execute its program.
///
/// Returns when it has. A watch that ends while its child is held ends the
/// child: it exits with 127.
///
/// @param child  the handle that sss_child_spawn() gave.
///
/// @return 0; EINVAL for NULL; EALREADY where the child has no gate or it was
///         opened before; ESRCH where the child is dead or the handle was freed;
///         the errno of execve(2) where that fails: the child exits with 127 then,
///         which cb is told; EPERM from a thread that is not the host's loop; ECHILD in
///         a process that is not the handle's.
///
/// Thread-safe without a host. Not for signal handlers, and no cancellation point.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_open_gate(child: Handle<sss_child_ctx>) -> errno_t {
    guard(|| {
        let _uncancelled = NoCancellation::begin();
        let child = child.child()?;
        let gate = spawned::take_gate(child.id())?;
        gate.open().map_err(SpawnError::source)
    })
}
symver!("sss_child_open_gate");
