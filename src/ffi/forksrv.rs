//! `sss_forksrv_*`: a small process that makes children for a large one.

use std::ffi::{c_int, c_void};

use nix::errno::Errno;

use super::boundary::{errno_t, guard, symver};
use super::child::sss_child_fn_t;
use super::child_memory::ChildPlace;
use super::context_memory::wake_own_loop;
use super::forksrv_params::{Server, sss_forksrv, sss_forksrv_function_t, sss_forksrv_params};
use super::handle::{sss_child_ctx, sss_sigchild_ctx};
use super::object::Place;
use super::params::{Handle, In, Out};
use super::spawn_params::{SSS_SPAWN_ASYNC, sss_spawn};
use crate::forksrv::client::{Asked, Client};
use crate::reap::register;
use crate::reap::spawned::Told;
use crate::reap::watch::{self, Ask, How};
use crate::spawn::SpawnError;
use crate::sys::cancel::NoCancellation;
use crate::sys::error::Error;
use crate::sys::opaque::Opaque;
use crate::sys::zygote::Hook;

/// Start a fork server: a process that makes children for this one.
///
/// It is begun by exec of an installed helper, at a cost that does not grow with the
/// daemon, or with SSS_FORKSRV_FORK by fork(2) of the daemon. This process becomes a
/// subreaper (sss_subreaper_enable()), so that no child's end is lost with the server.
/// The server ends when this process does, when it is stopped, and when it is freed;
/// its children live on.
///
/// @param memctx      with a host: the parent of the server's memory, or NULL for
///                    none. Without a host: NULL.
/// @param sigchld_ctx the context, whose descriptor has to be polled.
/// @param params      what the server is to be; not kept.
/// @param srv         written on success. sss_forksrv_free() ends it.
///
/// @return 0; EINVAL for a NULL pointer, an unknown flag, flags that exclude each
///         other, a preload hook without SSS_FORKSRV_FORK or a helper with it, an id that
///         is UINT32_MAX, or a negative time; E2BIG for a struct of a later version;
///         ENOTSUP without a host where sss_sigchld_ctx_fd() was never called; ENOENT and
///         what else execve(2) says of the helper; EAGAIN, ENOMEM, EMFILE, ENFILE; EPERM
///         from a thread that is not the host's loop; ECHILD where the context belongs to
///         another process.
///
/// Thread-safe without a host, but with SSS_FORKSRV_FORK see fork(2). Not for signal
/// handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_forksrv_start(
    memctx: *mut c_void,
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    params: In<sss_forksrv_params>,
    srv: Out<*mut sss_forksrv>,
) -> errno_t {
    guard(|| {
        let _uncancelled = NoCancellation::begin();
        let (ctx, params, srv) = (sigchld_ctx.context()?, params.read()?, srv.required()?);
        let place = Place::<sss_forksrv>::new(ctx, memctx)?;
        let settings = params.settings(place.pointer())?;
        let made = Client::start(ctx.id, settings, |client| {
            place.put(Server {
                client,
                ctx: sigchld_ctx.as_ptr(),
                id: ctx.id,
            });
        });
        let settled = place.settle(made.map_err(SpawnError::source), srv);
        wake_own_loop(ctx);
        settled
    })
}
symver!("sss_forksrv_start");

/// Have a fork server launch a child, and call back when it ends.
///
/// Much of what the spec leaves open is the daemon's at this moment, the credentials
/// included (but see SSS_FORKSRV_OWN_CREDENTIALS); the rest is the server's. See
/// sss_forksrv(7). Returns when the child runs its program. The handle is an ordinary one.
///
/// A launch that fails leaves no process: a child that was made is held until this
/// process lets it go.
///
/// With SSS_SPAWN_ASYNC it waits for nothing, so that a server that is slow or stopped
/// does not hold up a loop: it returns when the request is made, with a handle that is
/// inert (pid 0) until SSS_FORKSRV_LAUNCHED tells, from the context's loop, that the
/// program runs, or SSS_FORKSRV_FAILED why it does not, at the latest when the request's
/// time is over. Freeing the handle or the server before that gives the launch up,
/// without an event: a child that has not been let go ends.
///
/// @param memctx    as for sss_child_register(), with the server's context.
/// @param srv       the server.
/// @param spawn     what to start; not kept. SSS_SPAWN_PDEATHSIG is EINVAL.
/// @param cb        the callback, or NULL.
/// @param pvt       handed to cb as it is; borrowed until the watch ends.
/// @param child_ctx as for sss_child_register(), as is the handle.
///
/// @return as sss_child_spawn(), and: EINVAL for SSS_SPAWN_ASYNC where the server has no
///         event function; ENOTCONN where no server runs; ECONNRESET where it
///         died meanwhile; ETIMEDOUT where it did not answer in time; EPROTO where it did
///         not understand; ENOTSUP for SSS_SPAWN_GATE.
///
/// Thread-safe without a host. Not for signal handlers, and no cancellation point.
#[unsafe(no_mangle)]
pub extern "C" fn sss_forksrv_launch(
    memctx: *mut c_void,
    srv: Handle<sss_forksrv>,
    spawn: In<sss_spawn>,
    cb: sss_child_fn_t,
    pvt: *mut c_void,
    child_ctx: Out<*mut sss_child_ctx>,
) -> errno_t {
    guard(|| launch(memctx, srv, spawn, None, cb, pvt, child_ctx))
}
symver!("sss_forksrv_launch");

/// Have a server that was started with SSS_FORKSRV_FORK launch a process that runs a
/// function, not a program.
///
/// The process is a copy of the server: it has what the daemon had when the server was
/// started, and what the preload hook has loaded since. It is the server's own child, as
/// what a CLONE_PARENT child has of libc is not fit for use. It ends by _exit(2).
///
/// @param memctx    as for sss_forksrv_launch().
/// @param srv       the server.
/// @param spawn     as for sss_forksrv_launch(); of path, argv and envp nothing comes,
///                  though path and argv have to be there.
/// @param function  in the program, or a library that was loaded before the server was
///                  started.
/// @param arg       handed to function, in its own memory: an address that was good when
///                  the server was started, or that the preload hook has made good.
/// @param cb        as for sss_forksrv_launch().
/// @param pvt       as for sss_forksrv_launch().
/// @param child_ctx as for sss_forksrv_launch().
///
/// @return as sss_forksrv_launch(), and: EINVAL for a NULL function; ENOTSUP where the
///         server was not started by fork, or with SSS_FORKSRV_CLONE_PARENT.
///
/// Thread-safe without a host. Not for signal handlers, and no cancellation point.
#[unsafe(no_mangle)]
pub extern "C" fn sss_forksrv_launch_function(
    memctx: *mut c_void,
    srv: Handle<sss_forksrv>,
    spawn: In<sss_spawn>,
    function: sss_forksrv_function_t,
    arg: *mut c_void,
    cb: sss_child_fn_t,
    pvt: *mut c_void,
    child_ctx: Out<*mut sss_child_ctx>,
) -> errno_t {
    guard(|| {
        let function = Hook {
            call: function.ok_or(Errno::EINVAL)?,
            pvt: Opaque(arg),
        };
        launch(memctx, srv, spawn, Some(function), cb, pvt, child_ctx)
    })
}
symver!("sss_forksrv_launch_function");

fn launch(
    memctx: *mut c_void,
    srv: Handle<sss_forksrv>,
    spawn: In<sss_spawn>,
    function: Option<Hook>,
    cb: sss_child_fn_t,
    pvt: *mut c_void,
    child_ctx: Out<*mut sss_child_ctx>,
) -> Result<(), Error> {
    let _uncancelled = NoCancellation::begin();
    let (server, mut given) = (srv.get()?, spawn.read()?);
    let ctx = server.context()?;
    let place = ChildPlace::new(ctx, memctx, child_ctx)?;
    let (called, with) = place.callback(cb, pvt);
    // With SSS_SPAWN_ASYNC the watch is there before the child.
    let mut reserved = None;
    if given.mask & SSS_SPAWN_ASYNC != 0 {
        given.mask -= SSS_SPAWN_ASYNC;
        reserved = Some(register::reserve(ctx.id).inspect_err(|_| place.discard())?);
    }
    let settled = given.with_pty(
        |spec| {
            let Some(id) = reserved else {
                let told = Told::Callback(called, with);
                let started = server.client.launch(spec, function, told)?;
                return Ok((Some(started.watch), started.pty));
            };
            let asked = Asked {
                id,
                handle: place.handle(id),
                callback: called,
                pvt: with,
            };
            // The loop may tell of the child before this returns, so the handle is shown now.
            let begun = || place.show(id, child_ctx);
            let pty = server.client.launch_later(spec, function, asked, begun)?;
            Ok((None, pty))
        },
        |made| {
            if let Some(id) = reserved.filter(|_| made.is_err()) {
                let _ = watch::unwatch(id, How::Keep, Ask::Nobody);
            }
            let unshown = made.transpose();
            unshown.map_or(Ok(()), |made| place.settle(made, child_ctx))
        },
    );
    wake_own_loop(ctx);
    settled
}

/// Wait for a launched child, by its pid, as waitpid(2).
///
/// It is tried directly first, and never takes an end from a handle: that is still
/// called back. A child of the server's own that no handle watches (it was given up by
/// sss_child_release()) is waited for, and reaped, by the server.
///
/// @param srv          the server.
/// @param pid          a child of this process or of the server.
/// @param options      0, or WNOHANG: do not wait.
/// @param wait_status  written on success: as waitpid(2) gives it, or
///                     SSS_WAIT_STATUS_LOST.
///
/// @return 0; EINVAL for a NULL pointer, pid <= 0 or other options; EAGAIN where the child
///         lives, with WNOHANG; ECHILD where it is no child of either, or in a process that is
///         not the server's client; ETIMEDOUT where the server did not answer WNOHANG in
///         time; EMFILE or ENOMEM, in the caller or in the server; EPERM from a thread that
///         is not the host's loop.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_forksrv_waitpid(
    srv: Handle<sss_forksrv>,
    pid: libc::pid_t,
    options: c_int,
    wait_status: Out<c_int>,
) -> errno_t {
    guard(|| {
        let (server, wait_status) = (srv.get()?, wait_status.required()?);
        if pid <= 0 || options & !libc::WNOHANG != 0 {
            return Err(Errno::EINVAL.into());
        }
        wait_status.write(server.client.wait(pid, options == 0)?);
        Ok(())
    })
}
symver!("sss_forksrv_waitpid");

/// The server's process id. It changes with a restart; after the server's end it is a
/// number only.
///
/// @param srv  the server.
/// @param pid  written on success.
///
/// @return 0; EINVAL for a NULL pointer; ENOTCONN where no server runs; ECHILD in a process
///         that is not the server's client.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_forksrv_pid(srv: Handle<sss_forksrv>, pid: Out<libc::pid_t>) -> errno_t {
    guard(|| {
        let (server, pid) = (srv.get()?, pid.required()?);
        pid.write(server.client.pid()?);
        Ok(())
    })
}
symver!("sss_forksrv_pid");

/// Tell a fork server to end. Its children live on and stay watched. SSS_FORKSRV_STOPPED
/// tells its end. None is begun anew, whatever this returns, also where the last one has
/// died already (ENOTCONN).
///
/// @param srv  the server.
///
/// @return 0; EINVAL for NULL; ENOTCONN where no server runs; ECONNRESET where it has just
///         died; ETIMEDOUT where it takes no requests; ECHILD in a process that is not its
///         client.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_forksrv_stop(srv: Handle<sss_forksrv>) -> errno_t {
    guard(|| srv.get()?.client.stop())
}
symver!("sss_forksrv_stop");

/// End a fork server and free it. Its children live on and stay watched. No event
/// comes once this returns: where another thread is in the server's callback, this
/// waits for it to return. No other thread may be inside a function of this server, a
/// launch that waits included; launches with SSS_SPAWN_ASYNC are given up.
///
/// @param srv  the server; NULL is allowed.
///
/// @return 0; EBUSY where a destructor of the host's refused.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_forksrv_free(srv: Handle<sss_forksrv>) -> errno_t {
    guard(|| srv.free())
}
symver!("sss_forksrv_free");
