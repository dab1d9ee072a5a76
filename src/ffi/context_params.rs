//! What `sss_sigchld_ctx_*` takes and tells: `struct sss_ctx_params`, `struct
//! sss_child_info`, `struct sss_ctx_stats`, `struct sss_ctx_audit`.

use std::ffi::{c_int, c_void};

use nix::errno::Errno;

use super::child::sss_child_fn_t;
use super::host_params::sss_host;
use super::params::In;
use super::turn;
use crate::reap::audit::Audit;
use crate::reap::callback::{Pvt, Unknown};
use crate::reap::context::{Params, Scope, Stats};
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
    /// from sss_sigchld_ctx_signalled(), sss_child_handler() and
    /// sss_sigchld_ctx_dispatch().
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

impl sss_ctx_params<'_> {
    /// What it says, but for the host, its loop and its memory.
    pub(super) fn params(&self) -> Result<Params, Error> {
        let known = SSS_CTX_PARAM_OPTIONS
            | SSS_CTX_PARAM_SCOPE
            | SSS_CTX_PARAM_FLAGS
            | SSS_CTX_PARAM_MAX_PIDFDS;
        if self.mask & !known != 0 {
            return Err(Errno::EINVAL.into());
        }
        let mut params = Params {
            unknown: self.unknown_fn.map(|call| Unknown {
                call,
                pvt: Pvt(self.unknown_pvt),
            }),
            ..Params::default()
        };
        if self.reserved != 0 {
            return Err(Errno::E2BIG.into());
        }
        if self.mask & SSS_CTX_PARAM_MAX_PIDFDS != 0 {
            params.max_pidfds = Some(self.max_pidfds);
        }
        if self.mask & SSS_CTX_PARAM_OPTIONS != 0 {
            params.options = self.options;
        }
        if self.mask & SSS_CTX_PARAM_SCOPE != 0 {
            params.scope = match self.scope {
                SSS_SCOPE_REGISTERED => Scope::Registered,
                SSS_SCOPE_ALL => Scope::All,
                _ => return Err(Errno::EINVAL.into()),
            };
        }
        if self.mask & SSS_CTX_PARAM_FLAGS != 0 {
            if self.flags & !(SSS_CTX_UNTRUSTED | SSS_CTX_REAP_ORPHANS) != 0 {
                return Err(Errno::EINVAL.into());
            }
            params.untrusted = self.flags & SSS_CTX_UNTRUSTED != 0;
            params.reap_orphans = self.flags & SSS_CTX_REAP_ORPHANS != 0;
        }
        Ok(params)
    }
}

impl From<Stats> for sss_ctx_stats {
    fn from(counts: Stats) -> Self {
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

impl From<Audit> for sss_ctx_audit {
    fn from(audit: Audit) -> Self {
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
        sss_ctx_audit {
            size: 0,
            findings,
            reserved: 0,
            recovered: audit.reaper.recovered,
            lost: audit.reaper.lost,
            parked: audit.reaper.parked,
            unknown: audit.reaper.unknown,
        }
    }
}
