//! What `sss_service_*` takes and tells: `struct sss_service_params`, `struct
//! sss_service_event`, `struct sss_service_status`, `struct sss_service_kill`.

use std::ffi::{CStr, CString, c_int, c_void};

use nix::errno::Errno;

use super::object::{Held, Memory, Place};
use super::params::{Handle, In, Str, event_fn};
use crate::reap;
use crate::reap::callback::{Pvt, Record};
use crate::service::attribute::Evidence;
use crate::service::kill::{Member, Outcome};
use crate::service::ledger::{Follow, What};
use crate::service::tracker::{self, Report, ServiceId, Sink, Standing, Wish};
use crate::sys::error::Error;

/// An event: a process of the service became a child of this process, because its
/// parent ended.
pub const SSS_SERVICE_ADOPTED: u32 = 1;
/// An event: a process of the service that was a child of this process ended.
pub const SSS_SERVICE_EXITED: u32 = 2;
/// An event: the service's main process is another one. pid is 0 where it ended
/// and others live on, or after a forking start where it is not known which of them it is.
pub const SSS_SERVICE_MAIN_CHANGED: u32 = 3;
/// An event, the last one: no process of the service is left.
pub const SSS_SERVICE_DEAD: u32 = 4;

/// sss_service_event.evidence: started or attached by the daemon.
pub const SSS_EVIDENCE_STARTED: u32 = 1;
/// sss_service_event.evidence: the process is in the service's cgroup.
pub const SSS_EVIDENCE_CGROUP: u32 = 2;
/// sss_service_event.evidence: the kernel told of the fork.
pub const SSS_EVIDENCE_FORK: u32 = 3;
/// sss_service_event.evidence: the process was seen below one of the service's.
pub const SSS_EVIDENCE_DESCENT: u32 = 4;
/// sss_service_event.evidence: its RLIMIT_LOCKS is the service's tag.
pub const SSS_EVIDENCE_TAG: u32 = 5;
/// sss_service_event.evidence: its environment holds the service's tag.
pub const SSS_EVIDENCE_ENVIRONMENT: u32 = 6;

const _: () = {
    assert!(SSS_EVIDENCE_STARTED == Evidence::Started as u32);
    assert!(SSS_EVIDENCE_CGROUP == Evidence::Cgroup as u32);
    assert!(SSS_EVIDENCE_FORK == Evidence::ForkRecord as u32);
    assert!(SSS_EVIDENCE_DESCENT == Evidence::Descent as u32);
    assert!(SSS_EVIDENCE_TAG == Evidence::Tag as u32);
    assert!(SSS_EVIDENCE_ENVIRONMENT == Evidence::Environment as u32);
};

/// sss_service_params.evidence counts. Without it: tag, environment, descent.
pub const SSS_SERVICE_PARAM_EVIDENCE: u32 = 0x1;
/// sss_service_params.flags counts.
pub const SSS_SERVICE_PARAM_FLAGS: u32 = 0x2;
/// sss_service_params.cgroup_fd counts.
pub const SSS_SERVICE_PARAM_CGROUP: u32 = 0x4;

/// Use a tag in the soft RLIMIT_LOCKS, which the kernel does not look at.
pub const SSS_SERVICE_BY_TAG: u32 = 0x1;
/// Use a tag in the environment variable SSS_SERVICE_TAG.
pub const SSS_SERVICE_BY_ENVIRONMENT: u32 = 0x2;
/// Remember who is seen below the service's processes.
pub const SSS_SERVICE_BY_DESCENT: u32 = 0x4;
/// Use a cgroup (v2), made below the daemon's own where cgroup_fd gives none.
pub const SSS_SERVICE_BY_CGROUP: u32 = 0x8;
/// Use the proc connector's fork records. It tells of every fork in the system.
pub const SSS_SERVICE_BY_CONNECTOR: u32 = 0x10;

/// No service without a cgroup: the start fails with the reason.
pub const SSS_SERVICE_EXACT: u32 = 0x1;
/// The program puts itself into the background: when its first process has ended
/// with 0, the main process is the only child of ours that is left of the service,
/// else the one that pid_file names, else unknown; and so on for each next one.
pub const SSS_SERVICE_FORKING: u32 = 0x2;

/// How a service is known and followed. Zero it, set size, set what is needed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_service_params<'a> {
    /// sizeof(struct sss_service_params), which tells the struct's version.
    pub size: usize,
    /// Which of evidence, flags and cgroup_fd count: SSS_SERVICE_PARAM_*, ORed.
    pub mask: u32,
    /// SSS_SERVICE_BY_*, ORed. What the system refuses is left out, and told by
    /// sss_service_status(). With 0 no orphan is claimed.
    pub evidence: u32,
    /// SSS_SERVICE_EXACT and SSS_SERVICE_FORKING, ORed; default 0.
    pub flags: u32,
    /// The directory of a cgroup (v2) for this service alone, in which the daemon
    /// may start processes; duplicated.
    pub cgroup_fd: i32,
    /// With SSS_SERVICE_FORKING: the file that the program writes its pid to, read
    /// with the daemon's credentials; or NULL. Copied.
    pub pid_file: Str<'a>,
}

/// What happened to a service. Valid during the callback.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_service_event {
    /// sizeof(struct sss_service_event) of the library.
    pub size: usize,
    /// The service's id: given to no other service of this process.
    pub id: u64,
    /// SSS_SERVICE_ADOPTED and so on.
    pub event: u32,
    /// SSS_EVIDENCE_*: by what the process was attributed; 0 for events that are
    /// no process's.
    pub evidence: u32,
    /// The process, or the new main process, or 0.
    pub pid: i32,
    /// The parent that the process had before it was adopted, where known, or 0.
    pub former_parent: i32,
    /// The service's first process, a number only once it ended.
    pub root: i32,
    /// EXITED: as waitpid(2) gives it, or SSS_WAIT_STATUS_LOST. Else 0.
    pub wait_status: i32,
    /// How many processes of the service are known to be left.
    pub processes: u32,
    /// 0.
    pub reserved: u32,
    /// DEAD: how many children became known since the service's start that were
    /// neither registered nor claimed by any service.
    pub orphans: u64,
    /// Processor time of the service's children that were reaped, in nanoseconds;
    /// 0 where it is not known.
    pub user_ns: i64,
    /// The same, spent in the kernel.
    pub system_ns: i64,
}

/// Tells of a service.
///
/// Called as a sss_child_fn_t is. A process's ADOPTED comes before its EXITED,
/// and before the EXITED of the parent that it had; DEAD is the last event.
///
/// @param service  the handle.
/// @param event    what happened; valid until the callback returns.
/// @param pvt      as given at the start.
#[allow(non_camel_case_types)]
pub type sss_service_fn_t = Option<
    unsafe extern "C" fn(
        service: *mut sss_service,
        event: *const sss_service_event,
        pvt: *mut c_void,
    ),
>;

/// A service: what sss_service_spawn() and sss_service_attach() make. Opaque.
#[allow(non_camel_case_types)]
pub struct sss_service(#[allow(dead_code)] Memory<Service>);

/// Ends the service's events when its memory goes.
pub(crate) struct Service(pub(super) ServiceId);

impl Held for sss_service {
    type Value = Service;
    const NAME: &'static CStr = c"struct sss_service";
}

impl Handle<'_, sss_service> {
    /// The id of a service, for the thread that may use it.
    pub(super) fn id(self) -> Result<ServiceId, Error> {
        let id = self.get()?.0;
        reap::context::check(tracker::check(id)?)?;
        Ok(id)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = tracker::free(self.0);
    }
}

/// How a service stands, and what it is known by.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_service_status {
    /// sizeof(struct sss_service_status), set by the caller.
    pub size: usize,
    /// The service's id.
    pub id: u64,
    /// Its first process, a number only once it ended.
    pub root: i32,
    /// Its main process, or 0.
    pub main: i32,
    /// How many of its processes are known.
    pub processes: u32,
    /// 1 once DEAD was told or is due.
    pub dead: u32,
    /// The evidence that is in use: SSS_SERVICE_BY_*, ORed.
    pub evidence: u32,
    /// Why there is no tag although one was asked for: an errno (EPERM: the hard
    /// RLIMIT_LOCKS forbids it, or the process is another user's; EEXIST: the
    /// spawn has its own), or 0.
    pub tag_errno: i32,
    /// The same for the tag in the environment (EOPNOTSUPP: attached).
    pub environment_errno: i32,
    /// The same for a cgroup.
    pub cgroup_errno: i32,
    /// The same for the connector.
    pub connector_errno: i32,
    /// 0.
    pub reserved: u32,
    /// Processor time of the service's children that were reaped, in nanoseconds;
    /// 0 where it is not known.
    pub user_ns: i64,
    /// The same, spent in the kernel.
    pub system_ns: i64,
}

/// A process of a service, as a spare rule looks at it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_service_member {
    /// sizeof(struct sss_service_member) of the library.
    pub size: usize,
    /// The process.
    pub pid: i32,
    /// Its parent.
    pub parent: i32,
    /// Its session.
    pub session: i32,
    /// Its real user id.
    pub uid: u32,
    /// 1 where SSS_SERVICE_SPARE_LOGINS would spare it.
    pub login: u32,
    /// 0.
    pub reserved: u32,
}

/// Says whether a process is to be spared. It may call nothing of this service.
///
/// @param member  the process; valid until the callback returns.
/// @param pvt     as given with it.
///
/// @return 0 to signal it, anything else to spare it.
#[allow(non_camel_case_types)]
pub type sss_service_spare_fn_t =
    Option<unsafe extern "C" fn(member: *const sss_service_member, pvt: *mut c_void) -> c_int>;

/// Spare logins: processes of another user than the first process, in another session
/// than the main process. Their parents are spared too, if these are not in the main
/// process's session. So sshd can be restarted while its logins go on.
pub const SSS_SERVICE_SPARE_LOGINS: u32 = 0x1;

/// How to signal a service. Zero it, set size and signal.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_service_kill {
    /// sizeof(struct sss_service_kill), which tells the struct's version.
    pub size: usize,
    /// 1 to 64. SIGKILL goes on until no process is left; any other is sent once to
    /// each.
    pub signal: i32,
    /// 0 or SSS_SERVICE_SPARE_LOGINS.
    pub flags: u32,
    /// Asked about each process that the flags do not spare, or NULL.
    pub spare_fn: sss_service_spare_fn_t,
    /// Handed to spare_fn as it is.
    pub spare_pvt: *mut c_void,
}

/// What became of a service that was signalled.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_service_killed {
    /// sizeof(struct sss_service_killed), set by the caller.
    pub size: usize,
    /// How many processes the signal was sent to, those of a cgroup's own kill not
    /// counted.
    pub signalled: u32,
    /// How many were spared.
    pub spared: u32,
    /// How many may not be signalled: EPERM.
    pub refused: u32,
    /// SIGKILL: how many have not ended yet. At least 1 if the kill was given up, because
    /// new processes still came after five seconds.
    pub left: u32,
    /// How many looks it took.
    pub rounds: u32,
    /// 1 where the cgroup's own kill was used.
    pub by_cgroup: u32,
}

fn nanoseconds(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// The core's report as C reads it.
fn record(report: &Report) -> Record {
    let mut event = sss_service_event {
        size: size_of::<sss_service_event>(),
        id: report.id.tagged(),
        event: 0,
        evidence: 0,
        pid: 0,
        former_parent: 0,
        root: report.root,
        wait_status: 0,
        processes: report.processes,
        reserved: 0,
        orphans: 0,
        user_ns: nanoseconds(report.usage.user),
        system_ns: nanoseconds(report.usage.system),
    };
    match report.what {
        What::Adopted {
            pid,
            parent,
            evidence,
        } => {
            event.event = SSS_SERVICE_ADOPTED;
            event.pid = pid;
            event.former_parent = parent;
            event.evidence = evidence as u32;
        }
        What::Exited {
            pid,
            parent,
            status,
            evidence,
        } => {
            event.event = SSS_SERVICE_EXITED;
            event.pid = pid;
            event.former_parent = parent;
            event.wait_status = status;
            event.evidence = evidence as u32;
        }
        What::MainChanged { pid } => {
            event.event = SSS_SERVICE_MAIN_CHANGED;
            event.pid = pid;
        }
        What::Dead { orphans } => {
            event.event = SSS_SERVICE_DEAD;
            event.orphans = orphans;
        }
    }
    Record::of(event)
}

/// Who is told of a service.
pub(super) fn sink(cb: sss_service_fn_t, place: &Place<sss_service>, pvt: *mut c_void) -> Sink {
    Sink {
        call: cb.map(event_fn),
        source: Pvt(place.pointer().cast()),
        pvt: Pvt(pvt),
        record,
    }
}

const EVIDENCE: u32 = SSS_SERVICE_BY_TAG
    | SSS_SERVICE_BY_ENVIRONMENT
    | SSS_SERVICE_BY_DESCENT
    | SSS_SERVICE_BY_CGROUP
    | SSS_SERVICE_BY_CONNECTOR;

impl In<'_, sss_service_params<'_>> {
    /// How the service is known and followed; the default for NULL.
    pub(super) fn wish(self) -> Result<Wish, Error> {
        let mut wish = Wish {
            tag: true,
            environment: true,
            descent: true,
            connector: false,
            make_cgroup: false,
            cgroup: None,
            exact: false,
            follow: Follow::First,
            pid_file: None,
        };
        let Some(given) = self.read_if_given()? else {
            return Ok(wish);
        };
        let known = SSS_SERVICE_PARAM_EVIDENCE | SSS_SERVICE_PARAM_FLAGS | SSS_SERVICE_PARAM_CGROUP;
        if given.mask & !known != 0 {
            return Err(Errno::EINVAL.into());
        }
        if given.mask & SSS_SERVICE_PARAM_EVIDENCE != 0 {
            if given.evidence & !EVIDENCE != 0 {
                return Err(Errno::EINVAL.into());
            }
            let has = |bit| given.evidence & bit != 0;
            wish.tag = has(SSS_SERVICE_BY_TAG);
            wish.environment = has(SSS_SERVICE_BY_ENVIRONMENT);
            wish.descent = has(SSS_SERVICE_BY_DESCENT);
            wish.make_cgroup = has(SSS_SERVICE_BY_CGROUP);
            wish.connector = has(SSS_SERVICE_BY_CONNECTOR);
        }
        if given.mask & SSS_SERVICE_PARAM_FLAGS != 0 {
            if given.flags & !(SSS_SERVICE_EXACT | SSS_SERVICE_FORKING) != 0 {
                return Err(Errno::EINVAL.into());
            }
            wish.exact = given.flags & SSS_SERVICE_EXACT != 0;
            if given.flags & SSS_SERVICE_FORKING != 0 {
                wish.follow = Follow::Forking;
            }
        }
        if given.mask & SSS_SERVICE_PARAM_CGROUP != 0 {
            wish.cgroup = Some(given.cgroup_fd);
        }
        if let Some(path) = given.pid_file.get() {
            if wish.follow != Follow::Forking {
                return Err(Errno::EINVAL.into());
            }
            let path = path.to_bytes_with_nul();
            let mut copy = Vec::new();
            copy.try_reserve_exact(path.len())
                .map_err(|_| Errno::ENOMEM)?;
            copy.extend_from_slice(path);
            wish.pid_file = CString::from_vec_with_nul(copy).ok();
        }
        Ok(wish)
    }
}

impl sss_service_status {
    pub(super) fn of(id: ServiceId, standing: &Standing) -> Self {
        let used = [
            (Evidence::Tag, SSS_SERVICE_BY_TAG),
            (Evidence::Environment, SSS_SERVICE_BY_ENVIRONMENT),
            (Evidence::Descent, SSS_SERVICE_BY_DESCENT),
            (Evidence::Cgroup, SSS_SERVICE_BY_CGROUP),
            (Evidence::ForkRecord, SSS_SERVICE_BY_CONNECTOR),
        ];
        let evidence = used
            .iter()
            .filter(|&&(evidence, _)| standing.used & 1 << evidence as u32 != 0)
            .fold(0, |mask, &(_, bit)| mask | bit);
        sss_service_status {
            size: size_of::<sss_service_status>(),
            id: id.tagged(),
            root: standing.root,
            main: standing.main,
            processes: standing.processes,
            dead: u32::from(standing.dead),
            evidence,
            tag_errno: standing.refused.tag,
            environment_errno: standing.refused.environment,
            cgroup_errno: standing.refused.cgroup,
            connector_errno: standing.refused.connector,
            reserved: 0,
            user_ns: nanoseconds(standing.usage.user),
            system_ns: nanoseconds(standing.usage.system),
        }
    }
}

impl From<&Member> for sss_service_member {
    fn from(member: &Member) -> Self {
        sss_service_member {
            size: size_of::<sss_service_member>(),
            pid: member.pid,
            parent: member.parent,
            session: member.session,
            uid: member.uid,
            login: u32::from(member.login),
            reserved: 0,
        }
    }
}

impl From<Outcome> for sss_service_killed {
    fn from(outcome: Outcome) -> Self {
        sss_service_killed {
            size: size_of::<sss_service_killed>(),
            signalled: outcome.signalled,
            spared: outcome.spared,
            refused: outcome.refused,
            left: outcome.left,
            rounds: outcome.rounds,
            by_cgroup: u32::from(outcome.by_cgroup),
        }
    }
}
