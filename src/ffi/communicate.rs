//! `sss_child_communicate`: a child, what it reads and what it writes.

use std::ffi::c_void;

use nix::errno::Errno;

use super::boundary::{errno_t, guard, symver};
use super::child_memory::ChildPlace;
use super::communicate_params::sss_communicate;
use super::context_memory::wake_own_loop;
use super::handle::{sss_child_ctx, sss_sigchild_ctx};
use super::params::{Handle, In, Out};
use super::spawn_params::sss_spawn;
use crate::communicate;
use crate::reap::callback::Pvt;
use crate::spawn::SpawnError;
use crate::sys::cancel::NoCancellation;

/// Start a child, write to its standard input, read its standard output and error,
/// and call back once when it has ended and its output was read to the end.
///
/// popen(3) and pclose(3) without blocking. SIGPIPE is never raised for the
/// daemon. A child that ends does not end its output: its own children may hold
/// the pipe; and one that closes its output may live on. The callback waits for
/// both, and for the first no longer than sss_communicate.drain_ns.
///
/// The handle is a child's as any other: sss_child_kill(), sss_child_pid(),
/// sss_child_set_deadline(), sss_child_wait() (for the child alone). Freeing or
/// releasing it closes the pipes, and no callback comes any more; when it is freed
/// the child is still reaped.
///
/// @param memctx       as for sss_child_register().
/// @param sigchld_ctx  a context whose descriptor is polled, or with a host.
/// @param spawn        what to start, as for sss_child_spawn(). Its descriptor map
///                     must not name a stream that is a pipe here; without a map
///                     the child has the daemon's other standard descriptors.
/// @param comm         what to do with its streams; not kept.
/// @param child_ctx    as for sss_child_register(), as is the handle; but
///                     sss_child_set_cb() is ENOTSUP for it.
///
/// @return as sss_child_spawn(); EINVAL also for an unknown bit in comm->mask, both
///         input and input_fn, a field without the stream that it belongs to,
///         ERROR_TO_OUTPUT with ERROR or without OUTPUT, a drain_ns below 0, a
///         descriptor map that names a pipe's target (step SSS_SPAWN_STEP_FDS), or
///         a deadline as sss_child_set_deadline() refuses; ENOTSUP without a host where
///         sss_sigchld_ctx_fd() was never called; EMFILE, ENFILE (step
///         SSS_SPAWN_STEP_FDS) for the pipes.
///
/// Thread-safe without a host, as sss_child_spawn(). Not for signal handlers, and
/// no cancellation point.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_communicate(
    memctx: *mut c_void,
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    spawn: In<sss_spawn>,
    comm: In<sss_communicate>,
    child_ctx: Out<*mut sss_child_ctx>,
) -> errno_t {
    guard(|| {
        let _uncancelled = NoCancellation::begin();
        let (ctx, given) = (sigchld_ctx.context()?, comm.read()?);
        let mut params = given.params()?;
        let place = ChildPlace::new(ctx, memctx, child_ctx)?;
        params.handle = place.object().map(Pvt);
        let mut params = Some(params);
        let started = spawn.with_spec(|spec| match params.take() {
            Some(params) => communicate::start(ctx.id, spec, params),
            None => Err(SpawnError::from(Errno::EINVAL)),
        });
        let settled = place.settle(started, child_ctx);
        wake_own_loop(ctx);
        settled
    })
}
symver!("sss_child_communicate");
