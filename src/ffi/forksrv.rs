//! `sss_forksrv_*`: a small process that makes children for a large one.

use std::ffi::{CStr, c_int, c_void};

use nix::errno::Errno;

use super::boundary::{errno_t, guard, symver};
use super::child::sss_child_fn_t;
use super::child_memory::ChildPlace;
use super::context_memory::{Context, wake_own_loop};
use super::handle::{sss_child_ctx, sss_sigchild_ctx};
use super::helpers;
use super::object::{Held, Memory, Place};
use super::params::{Handle, In, Out, Str, event_fn};
use super::spawn::{SSS_SPAWN_ASYNC, fork_is_forced, sss_spawn, with_pty};
use crate::forksrv::client::{Asked, Beginning, Client, Event, Kind, Restart, Settings};
use crate::forksrv::protocol::Way;
use crate::forksrv::server::OWN_CREDENTIALS;
use crate::reap;
use crate::reap::callback::Pvt;
use crate::reap::id::ContextId;
use crate::reap::register;
use crate::reap::spawned::Told;
use crate::reap::watch::{self, Ask, How};
use crate::spawn::SpawnError;
use crate::sys::cancel::NoCancellation;
use crate::sys::error::Error;
use crate::sys::opaque::Opaque;
use crate::sys::zygote::Hook;

/// A fork server. Opaque.
#[allow(non_camel_case_types)]
pub struct sss_forksrv(#[allow(dead_code)] Memory<Server>);

pub(crate) struct Server {
    client: Client,
    /// Its memory is there for as long as the context is known.
    ctx: *mut sss_sigchild_ctx,
    id: ContextId,
}

impl Server {
    /// Its context, if that was not freed.
    fn context(&self) -> Result<&Context, Error> {
        reap::context::check(self.id)?;
        // SAFETY: live, as just seen.
        unsafe { Handle::from_raw(self.ctx) }.context()
    }
}

impl Held for sss_forksrv {
    type Value = Server;
    const NAME: &'static CStr = c"struct sss_forksrv";
}

/// Start the server by fork(2) of the daemon itself, not by exec of the helper:
/// early, while the daemon is small and has one thread. Only such a server has a
/// preload hook.
pub const SSS_FORKSRV_FORK: u32 = 0x1;
/// Begin another server when one has died; not with SSS_FORKSRV_FORK, as the daemon
/// has grown since.
pub const SSS_FORKSRV_RESTART: u32 = 0x2;
/// Children begin with the server's credentials, not with those that the daemon has
/// at the launch: for a server that keeps a privilege which the daemon gives up.
pub const SSS_FORKSRV_OWN_CREDENTIALS: u32 = 0x4;
/// The server, and so all its children, gain no privilege by exec.
pub const SSS_FORKSRV_NO_NEW_PRIVS: u32 = 0x8;
/// Children are the daemon's own from the start (CLONE_PARENT), or launches fail with
/// EINVAL. Without this and SSS_FORKSRV_SERVERS_CHILDREN the server decides.
pub const SSS_FORKSRV_CLONE_PARENT: u32 = 0x10;
/// Children are the server's, until that dies.
pub const SSS_FORKSRV_SERVERS_CHILDREN: u32 = 0x20;
/// sss_forksrv_params.uid counts: the server runs with it, and without supplementary
/// groups.
pub const SSS_FORKSRV_UID: u32 = 0x40;
/// sss_forksrv_params.gid counts.
pub const SSS_FORKSRV_GID: u32 = 0x80;

const KNOWN: u32 = SSS_FORKSRV_FORK
    | SSS_FORKSRV_RESTART
    | SSS_FORKSRV_OWN_CREDENTIALS
    | SSS_FORKSRV_NO_NEW_PRIVS
    | SSS_FORKSRV_CLONE_PARENT
    | SSS_FORKSRV_SERVERS_CHILDREN
    | SSS_FORKSRV_UID
    | SSS_FORKSRV_GID;

/// The server takes requests.
pub const SSS_FORKSRV_READY: u32 = 1;
/// The server died, or (pid 0, with an errno) could not be begun anew. Its children
/// live on as the daemon's own.
pub const SSS_FORKSRV_CRASHED: u32 = 2;
/// Another server has taken its place.
pub const SSS_FORKSRV_RESTARTED: u32 = 3;
/// The server ended, as sss_forksrv_stop() told it to.
pub const SSS_FORKSRV_STOPPED: u32 = 4;
/// A launch with SSS_SPAWN_ASYNC is over: the program runs, or has run already. The
/// child's callback is called after this.
pub const SSS_FORKSRV_LAUNCHED: u32 = 5;
/// A launch with SSS_SPAWN_ASYNC has failed. There is no process, and no callback will
/// be called; the handle is still to be freed.
pub const SSS_FORKSRV_FAILED: u32 = 6;

const _: () = {
    assert!(SSS_FORKSRV_READY == Kind::Ready as u32);
    assert!(SSS_FORKSRV_CRASHED == Kind::Crashed as u32);
    assert!(SSS_FORKSRV_RESTARTED == Kind::Restarted as u32);
    assert!(SSS_FORKSRV_STOPPED == Kind::Stopped as u32);
    assert!(SSS_FORKSRV_LAUNCHED == Kind::Launched as u32);
    assert!(SSS_FORKSRV_FAILED == Kind::Failed as u32);
    assert!(size_of::<sss_forksrv_event>() == size_of::<Event>());
};

/// What happened to a fork server.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_forksrv_event {
    /// SSS_FORKSRV_READY, CRASHED, RESTARTED, STOPPED, LAUNCHED or FAILED; ignore others.
    pub event: u32,
    /// The server's pid; after its end a number only. LAUNCHED: the child's.
    pub pid: i32,
    /// CRASHED and STOPPED: as waitpid(2) gives it, or SSS_WAIT_STATUS_LOST.
    pub wait_status: i32,
    /// CRASHED with pid 0: why no other server could be begun. FAILED: what
    /// sss_forksrv_launch() would return. Else 0.
    pub error: i32,
    /// How many took the place of one that died.
    pub restarts: u64,
    /// LAUNCHED and FAILED: the handle, as sss_forksrv_launch() wrote it; NULL where
    /// it was asked for none.
    pub child: *mut sss_child_ctx,
    /// FAILED: the SSS_SPAWN_STEP_* that failed, or 0.
    pub step: u32,
    /// 0.
    pub padding: u32,
    /// 0.
    pub reserved: [u64; 2],
}

/// Told of a server's events, from the loop. It may call everything, and free the
/// server.
#[allow(non_camel_case_types)]
pub type sss_forksrv_fn_t = Option<
    unsafe extern "C" fn(srv: *mut sss_forksrv, event: *const sss_forksrv_event, pvt: *mut c_void),
>;

/// Runs in the server before it is ready. Anything but 0, up to 255, ends the server
/// with that code.
#[allow(non_camel_case_types)]
pub type sss_forksrv_preload_t = Option<unsafe extern "C" fn(pvt: *mut c_void) -> c_int>;

/// A fork server to be. Zero it, set size, and what else is needed. It is not kept.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_forksrv_params<'a> {
    /// sizeof(struct sss_forksrv_params), which tells the struct's version.
    pub size: usize,
    /// SSS_FORKSRV_*, ORed.
    pub flags: u32,
    /// With SSS_FORKSRV_RESTART: so many servers are begun within restart_interval at
    /// most; 0 for 5.
    pub restart_burst: u32,
    /// In nanoseconds; 0 for ten seconds.
    pub restart_interval: i64,
    /// How long a request may take, in nanoseconds; 0 for ten seconds.
    pub timeout: i64,
    /// The path of the helper; NULL for the installed one, or what the environment
    /// variable SSS_FORKSRV_HELPER says (but in a set-user-ID program).
    pub helper: Str<'a>,
    /// Told of events, or NULL.
    pub event: sss_forksrv_fn_t,
    /// Handed to event as it is; borrowed until the server is freed.
    pub pvt: *mut c_void,
    /// With SSS_FORKSRV_FORK: runs in the server before it is ready, or NULL. What it
    /// loads is there for each function that is launched without exec.
    pub preload: sss_forksrv_preload_t,
    /// Handed to preload.
    pub preload_pvt: *mut c_void,
    /// The server's user id, for good.
    pub uid: u32,
    /// The server's group id, for good.
    pub gid: u32,
}

/// How often servers are begun where nothing else is said.
const BURST: u32 = 5;
const TEN_SECONDS: u64 = 10_000_000_000;

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
///         other, a preload hook without SSS_FORKSRV_FORK, or a negative time; E2BIG
///         for a struct of a later version; ENOTSUP where nobody polls the context's
///         descriptor; ENOENT and what else execve(2) says of the helper; EAGAIN,
///         ENOMEM, EMFILE, ENFILE; EPERM from a thread that is not the host's loop;
///         ECHILD where the context belongs to another process.
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
        let settings = settings(&params, place.pointer())?;
        let made = Client::start(ctx.id, settings)
            .map(|client| Server {
                client,
                ctx: sigchld_ctx.as_ptr(),
                id: ctx.id,
            })
            .map_err(SpawnError::source);
        let settled = place.settle(made, srv);
        wake_own_loop(ctx);
        settled
    })
}
symver!("sss_forksrv_start");

fn settings(params: &sss_forksrv_params, srv: *mut sss_forksrv) -> Result<Settings, Error> {
    let has = |flag| params.flags & flag != 0;
    let fork = has(SSS_FORKSRV_FORK);
    if params.flags & !KNOWN != 0
        || fork && (has(SSS_FORKSRV_RESTART) || params.helper.get().is_some())
        || !fork && params.preload.is_some()
        || has(SSS_FORKSRV_CLONE_PARENT) && has(SSS_FORKSRV_SERVERS_CHILDREN)
        || has(SSS_FORKSRV_UID) && params.uid == u32::MAX
        || has(SSS_FORKSRV_GID) && params.gid == u32::MAX
    {
        return Err(Errno::EINVAL.into());
    }
    // A server with fewer rights cannot give the daemon's own to a child.
    let dropped = has(SSS_FORKSRV_UID) || has(SSS_FORKSRV_GID);
    Ok(Settings {
        beginning: if fork {
            Beginning::Fork(params.preload.map(|call| Hook {
                call,
                pvt: Opaque(params.preload_pvt),
            }))
        } else {
            Beginning::Exec(
                helpers::path(params.helper, c"SSS_FORKSRV_HELPER", "sss-forksrv")?,
                fork_is_forced(),
            )
        },
        way: match (
            has(SSS_FORKSRV_CLONE_PARENT),
            has(SSS_FORKSRV_SERVERS_CHILDREN),
        ) {
            (true, _) => Way::Clients,
            (_, true) => Way::Servers,
            _ => Way::Any,
        },
        options: if has(SSS_FORKSRV_OWN_CREDENTIALS) || dropped {
            OWN_CREDENTIALS
        } else {
            0
        },
        restart: has(SSS_FORKSRV_RESTART)
            .then(|| {
                Ok::<_, Error>(Restart {
                    burst: match params.restart_burst {
                        0 => BURST,
                        burst => burst.min(1000),
                    },
                    interval: time(params.restart_interval)?,
                })
            })
            .transpose()?,
        timeout: time(params.timeout)?,
        event: params.event.map(event_fn),
        source: Pvt(srv.cast()),
        pvt: Pvt(params.pvt),
        uid: has(SSS_FORKSRV_UID).then_some(params.uid),
        gid: has(SSS_FORKSRV_GID).then_some(params.gid),
        no_new_privs: has(SSS_FORKSRV_NO_NEW_PRIVS),
    })
}

/// Nanoseconds, of which 0 is ten seconds.
fn time(nanoseconds: i64) -> Result<u64, Error> {
    match u64::try_from(nanoseconds) {
        Ok(0) => Ok(TEN_SECONDS),
        Ok(time) => Ok(time),
        Err(_) => Err(Errno::EINVAL.into()),
    }
}

/// Have a fork server launch a child, and call back when it ends.
///
/// What the spec leaves open is the daemon's at this moment: working directory, umask,
/// resource limits, nice value, environment, descriptors 0 to 2, process group, and its
/// credentials (see SSS_FORKSRV_OWN_CREDENTIALS); what is not in sss_spawn at all is the
/// server's. Returns when the child runs its program. The handle is an ordinary one.
///
/// A launch that fails leaves no process: a child that was made is held until this
/// process lets it go.
///
/// With SSS_SPAWN_ASYNC it waits for nothing, so that a server that is slow or stopped
/// does not hold up a loop: it returns when the request is made, with a handle that is
/// inert (pid 0) until SSS_FORKSRV_LAUNCHED tells, from the context's loop, that the
/// program runs, or SSS_FORKSRV_FAILED why it does not, at the latest when the request's
/// time is over. To free the handle before gives the launch up. sss_forksrv_free() gives
/// up all that go on, without an event: a child that has not been let go ends.
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

/// Runs in a launched process; what it returns, 0 to 255, is the exit code.
#[allow(non_camel_case_types)]
pub type sss_forksrv_function_t = Option<unsafe extern "C" fn(arg: *mut c_void) -> c_int>;

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
    if given.mask & SSS_SPAWN_ASYNC != 0 {
        given.mask -= SSS_SPAWN_ASYNC;
        let id = register::reserve(ctx.id).inspect_err(|_| place.discard())?;
        let asked = Asked {
            id,
            handle: place.handle(id),
            callback: called,
            pvt: with,
        };
        let settled = with_pty(
            &given,
            |spec| {
                // The loop may tell of the child before this returns, so the handle is
                // shown now.
                let begun = || place.show(id, child_ctx);
                let pty = server.client.launch_later(spec, function, asked, begun)?;
                Ok(((), pty))
            },
            |begun| begun,
        );
        if settled.is_err() {
            let _ = watch::unwatch(id, How::Keep, Ask::Nobody);
            place.discard();
        }
        wake_own_loop(ctx);
        return settled;
    }
    let told = Told::Callback(called, with);
    let settled = with_pty(
        &given,
        |spec| {
            let started = server.client.launch(spec, function, told)?;
            Ok((started.watch, started.pty))
        },
        |watch| place.settle(watch, child_ctx),
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
///         not the server's client; ETIMEDOUT where the server did not answer WNOHANG in time.
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
/// waits for it to return. No launch may be going on.
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
