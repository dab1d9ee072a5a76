//! What `sss_forksrv_*` takes and tells: `struct sss_forksrv_params`, `struct
//! sss_forksrv_event`.

use std::ffi::{CStr, c_int, c_void};

use nix::errno::Errno;

use super::context_memory::Context;
use super::handle::{sss_child_ctx, sss_sigchild_ctx};
use super::helpers;
use super::object::{Held, Memory};
use super::params::{Handle, Str, event_fn};
use super::spawn_params::fork_is_forced;
use crate::forksrv::client::{Beginning, Client, Event, Kind, Restart, Settings};
use crate::forksrv::protocol::Way;
use crate::forksrv::server::OWN_CREDENTIALS;
use crate::reap;
use crate::reap::callback::Pvt;
use crate::reap::id::ContextId;
use crate::sys::error::Error;
use crate::sys::opaque::Opaque;
use crate::sys::zygote::Hook;

/// A fork server. Opaque.
#[allow(non_camel_case_types)]
pub struct sss_forksrv(#[allow(dead_code)] Memory<Server>);

pub(crate) struct Server {
    pub(super) client: Client,
    /// Its memory is there for as long as the context is known.
    pub(super) ctx: *mut sss_sigchild_ctx,
    pub(super) id: ContextId,
}

impl Server {
    /// Its context, if that was not freed.
    pub(super) fn context(&self) -> Result<&Context, Error> {
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
    /// most, 1 to 1,000 (more count as that); 0 for 5. The next one waits until
    /// restart_interval has passed since the first of these.
    pub restart_burst: u32,
    /// In nanoseconds; 0 for ten seconds.
    pub restart_interval: i64,
    /// How long a request may take, in nanoseconds; 0 for ten seconds.
    pub timeout: i64,
    /// The path of the helper; NULL for what the environment variable SSS_FORKSRV_HELPER
    /// says (but not in a set-user-ID program), or the installed one.
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

/// Runs in a launched process; what it returns, 0 to 255, is the exit code.
#[allow(non_camel_case_types)]
pub type sss_forksrv_function_t = Option<unsafe extern "C" fn(arg: *mut c_void) -> c_int>;

/// How often servers are begun where nothing else is said.
const BURST: u32 = 5;
const TEN_SECONDS: u64 = 10_000_000_000;

impl sss_forksrv_params<'_> {
    pub(super) fn settings(&self, srv: *mut sss_forksrv) -> Result<Settings, Error> {
        let has = |flag| self.flags & flag != 0;
        let fork = has(SSS_FORKSRV_FORK);
        if self.flags & !KNOWN != 0
            || fork && (has(SSS_FORKSRV_RESTART) || self.helper.get().is_some())
            || !fork && self.preload.is_some()
            || has(SSS_FORKSRV_CLONE_PARENT) && has(SSS_FORKSRV_SERVERS_CHILDREN)
            || has(SSS_FORKSRV_UID) && self.uid == u32::MAX
            || has(SSS_FORKSRV_GID) && self.gid == u32::MAX
        {
            return Err(Errno::EINVAL.into());
        }
        // A server with fewer rights cannot give the daemon's own to a child.
        let dropped = has(SSS_FORKSRV_UID) || has(SSS_FORKSRV_GID);
        Ok(Settings {
            beginning: if fork {
                Beginning::Fork(self.preload.map(|call| Hook {
                    call,
                    pvt: Opaque(self.preload_pvt),
                }))
            } else {
                Beginning::Exec(
                    helpers::path(self.helper, c"SSS_FORKSRV_HELPER", "sss-forksrv")?,
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
                        burst: match self.restart_burst {
                            0 => BURST,
                            burst => burst.min(1000),
                        },
                        interval: time(self.restart_interval)?,
                    })
                })
                .transpose()?,
            timeout: time(self.timeout)?,
            event: self.event.map(event_fn),
            source: Pvt(srv.cast()),
            pvt: Pvt(self.pvt),
            uid: has(SSS_FORKSRV_UID).then_some(self.uid),
            gid: has(SSS_FORKSRV_GID).then_some(self.gid),
            no_new_privs: has(SSS_FORKSRV_NO_NEW_PRIVS),
        })
    }
}

/// Nanoseconds, of which 0 is ten seconds.
fn time(nanoseconds: i64) -> Result<u64, Error> {
    match u64::try_from(nanoseconds) {
        Ok(0) => Ok(TEN_SECONDS),
        Ok(time) => Ok(time),
        Err(_) => Err(Errno::EINVAL.into()),
    }
}
