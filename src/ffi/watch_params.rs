//! What `sss_child_watch` takes and tells: `struct sss_watch`, `struct sss_child_event`,
//! `struct sss_deadline`.

use std::ffi::c_void;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::handle::sss_child_ctx;
use super::params::{In, List, event_fn};
use crate::reap::callback::Pvt;
use crate::reap::escalation::{MAX_STEPS, Step, Whom};
use crate::reap::event::{Events, Fields, Source, Told, code_and_status, raw_status};
use crate::reap::rich;
use crate::sys::bits::ToSigned;
use crate::sys::error::Error;
use crate::sys::{fd, process_info, signal};

/// The child exited by itself. As all SSS_CHILD_EVENT_*: a bit of
/// sss_watch.events, and the value of sss_child_event.event.
pub const SSS_CHILD_EVENT_EXITED: u32 = 0x1;
/// A signal killed the child, and it left no core.
pub const SSS_CHILD_EVENT_KILLED: u32 = 0x2;
/// A signal killed the child, and it left a core.
pub const SSS_CHILD_EVENT_DUMPED: u32 = 0x4;
/// A signal stopped the child. Only where SIGCHLD wakes the context.
pub const SSS_CHILD_EVENT_STOPPED: u32 = 0x8;
/// The child was continued. Only where SIGCHLD wakes the context.
pub const SSS_CHILD_EVENT_CONTINUED: u32 = 0x10;
/// A step of the watch's deadline was taken.
pub const SSS_CHILD_EVENT_STEP: u32 = 0x20;
/// The child outlived the last step of the watch's deadline by
/// sss_deadline.unkillable_ns.
pub const SSS_CHILD_EVENT_UNKILLABLE: u32 = 0x40;
/// The child ended, and its status cannot be had because somebody else took it.
/// Told to every watch that asks for EXITED, KILLED or DUMPED; no bit to ask
/// for.
pub const SSS_CHILD_EVENT_LOST: u32 = 0x80;

/// code, status, wait_status and core_dumped. As all SSS_RECORD_*: a bit of
/// sss_watch.want and of sss_child_event.have.
pub const SSS_RECORD_STATUS: u32 = 0x1;
/// user_ns to involuntary_switches, without max_rss.
pub const SSS_RECORD_RUSAGE: u32 = 0x2;
/// max_rss.
pub const SSS_RECORD_MAXRSS: u32 = 0x4;
/// time_ns.
pub const SSS_RECORD_TIME: u32 = 0x8;
/// start_ns and start_granularity_ns. Costs a read of /proc when the watch is
/// made.
pub const SSS_RECORD_START: u32 = 0x10;
/// cgroup_id. Costs a pidfd.
pub const SSS_RECORD_CGROUP: u32 = 0x20;
/// identity. Costs a pidfd.
pub const SSS_RECORD_IDENTITY: u32 = 0x40;
/// step, step_signal and step_errno: the latest step of the watch's deadline.
pub const SSS_RECORD_STEP: u32 = 0x80;

/// sss_child_event.source: the library waited for the child.
pub const SSS_SOURCE_WAITED: u32 = 1;
/// sss_child_event.source: somebody else did, or SIGCHLD is ignored, and the
/// status was had from the child's pidfd.
pub const SSS_SOURCE_RECOVERED: u32 = 2;
/// sss_child_event.source: somebody else did, and the status is lost.
pub const SSS_SOURCE_LOST: u32 = 3;

/// sss_watch.pid counts.
pub const SSS_WATCH_PID: u32 = 0x1;
/// sss_watch.pidfd counts.
pub const SSS_WATCH_PIDFD: u32 = 0x2;
/// sss_watch.events counts; without it EXITED, KILLED, DUMPED and UNKILLABLE.
pub const SSS_WATCH_EVENTS: u32 = 0x4;
/// sss_watch.want counts; without it STATUS, RUSAGE, MAXRSS, TIME and STEP.
pub const SSS_WATCH_WANT: u32 = 0x8;

/// Keep the child a zombie until the callback of its end has returned, so that
/// /proc/PID can be read there and no other process has its pid.
pub const SSS_WATCH_KEEP_ZOMBIE: u32 = 0x1_0000;
/// sss_watch.pidfd is the library's from the call's success on, which closes it.
/// Without it the descriptor is duplicated.
pub const SSS_WATCH_TAKE_PIDFD: u32 = 0x2_0000;

/// sss_deadline_step.whom: the child alone.
pub const SSS_STEP_CHILD: u32 = 0;
/// sss_deadline_step.whom: every process of the child's process group, if the
/// child leads it; else the child alone.
pub const SSS_STEP_GROUP: u32 = 1;

/// sss_deadline.unkillable_ns counts. Without it 10 seconds where the last step
/// sends SIGKILL, and UNKILLABLE is never told where it sends another signal.
pub const SSS_DEADLINE_UNKILLABLE: u32 = 0x1;

/// One step of a deadline.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_deadline_step {
    /// Nanoseconds, 0 or more, after the former step was taken, or, for the
    /// first, after the deadline was set.
    pub after_ns: i64,
    /// The signal to send: 1 to SIGRTMAX.
    pub signum: i32,
    /// SSS_STEP_CHILD or SSS_STEP_GROUP.
    pub whom: u32,
}

/// A deadline for a child: signals to send one after the other while it lives.
/// Zero it, set size and the steps.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_deadline<'a> {
    /// sizeof(struct sss_deadline), which tells the struct's version.
    pub size: usize,
    /// SSS_DEADLINE_*, ORed: which fields count.
    pub mask: u32,
    /// 0.
    pub reserved: u32,
    /// The steps in their order; copied.
    pub steps: List<'a, sss_deadline_step>,
    /// How many: 1 to 16.
    pub steps_count: usize,
    /// Nanoseconds, 0 or more, after the last step until UNKILLABLE is told.
    pub unkillable_ns: i64,
}

/// What happened to a child. What the kernel or the watch did not provide is
/// zero, and its bit is not in have.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_child_event {
    /// sizeof(struct sss_child_event) of the library.
    pub size: usize,
    /// SSS_RECORD_*, ORed: which of the fields from code on hold something.
    /// What was not wanted may be there.
    pub have: u32,
    /// What happened: one SSS_CHILD_EVENT_*.
    pub event: u32,
    /// The watch's id, as sss_child_id() tells it.
    pub id: u64,
    /// The child's process id. After the callback, where zombie_kept is 0
    /// already in it, a number only.
    pub pid: i32,
    /// SSS_SOURCE_*: where an end is known from; for another event
    /// SSS_SOURCE_WAITED.
    pub source: u32,
    /// CLD_EXITED and so on, as si_code in waitid(2).
    pub code: i32,
    /// The exit status, or the signal that killed, stopped or continued it.
    pub status: i32,
    /// As waitpid(2) gives it; SSS_WAIT_STATUS_LOST for LOST.
    pub wait_status: i32,
    /// 1 where the child left a core, else 0.
    pub core_dumped: u32,
    /// 1 while the child is still a zombie because SSS_WATCH_KEEP_ZOMBIE asked
    /// for it. It is 0 where the zombie was gone before: other code waits for
    /// our children, or SIGCHLD is ignored.
    pub zombie_kept: u32,
    /// The latest step of the deadline that was taken, counted from 0.
    pub step: u32,
    /// The signal of that step.
    pub step_signal: i32,
    /// 0, or why it was not sent: EPERM, as kill(2).
    pub step_errno: i32,
    /// When the end was seen, or the step taken: nanoseconds of
    /// CLOCK_MONOTONIC.
    pub time_ns: i64,
    /// Time that the child, and the children that it waited for, ran in user
    /// mode: nanoseconds.
    pub user_ns: i64,
    /// The same in the kernel: nanoseconds.
    pub system_ns: i64,
    /// Page faults for which nothing was read from a disk.
    pub minor_faults: i64,
    /// Page faults for which something was read from a disk.
    pub major_faults: i64,
    /// Times the file system had to read for it.
    pub in_blocks: i64,
    /// Times the file system had to write for it.
    pub out_blocks: i64,
    /// Times it gave the processor up by itself.
    pub voluntary_switches: i64,
    /// Times the processor was taken from it.
    pub involuntary_switches: i64,
    /// The largest resident set of it or of one of the children that it waited
    /// for: bytes. Not there where it is not above the calling process's own
    /// peak: after vfork(2), posix_spawn(3) and sss_child_spawn() the kernel
    /// counts the caller's memory as the child's.
    pub max_rss: i64,
    /// When the child was started: nanoseconds of CLOCK_BOOTTIME, rounded down.
    pub start_ns: i64,
    /// To multiples of this many nanoseconds.
    pub start_granularity_ns: i64,
    /// The cgroup (v2) in which it ended: the inode number of its directory.
    pub cgroup_id: u64,
    /// A number that no other process has until the next boot: the inode of its
    /// pidfd (Linux 6.9).
    pub identity: u64,
}

/// Told of what happened to a child; see sss_child_watch().
///
/// Called as a sss_child_fn_t is.
///
/// @param child  the handle of the watch.
/// @param event  what happened; valid until the callback returns.
/// @param pvt    as given with the callback.
#[allow(non_camel_case_types)]
pub type sss_child_event_fn_t = Option<
    unsafe extern "C" fn(
        child: *mut sss_child_ctx,
        event: *const sss_child_event,
        pvt: *mut c_void,
    ),
>;

/// Whom to watch, and what to tell of it. Zero it, set size, pid or pidfd, cb,
/// and what else is needed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_watch<'a> {
    /// sizeof(struct sss_watch), which tells the struct's version.
    pub size: usize,
    /// SSS_WATCH_*, ORed: which fields count, and what else is wanted. One of
    /// SSS_WATCH_PID and SSS_WATCH_PIDFD.
    pub mask: u32,
    /// The child, greater than 0.
    pub pid: i32,
    /// A pidfd of the child, as pidfd_open(2) gives it.
    pub pidfd: i32,
    /// SSS_CHILD_EVENT_*, ORed, at least one: what to call back for. An end
    /// that is not among them is not told; the watch is over all the same.
    pub events: u32,
    /// SSS_RECORD_*, ORed, at least one: what the record is to hold.
    pub want: u32,
    /// 0.
    pub reserved: u32,
    /// A deadline for the child, which begins now; or NULL.
    pub deadline: In<'a, sss_deadline<'a>>,
    /// The callback, or NULL: the child is reaped all the same.
    pub cb: sss_child_event_fn_t,
    /// Handed to cb as it is; borrowed until the watch ends.
    pub pvt: *mut c_void,
}

const _: () = {
    assert!(SSS_CHILD_EVENT_EXITED == Events::EXITED.bits() as u32);
    assert!(SSS_CHILD_EVENT_KILLED == Events::KILLED.bits() as u32);
    assert!(SSS_CHILD_EVENT_DUMPED == Events::DUMPED.bits() as u32);
    assert!(SSS_CHILD_EVENT_STOPPED == Events::STOPPED.bits() as u32);
    assert!(SSS_CHILD_EVENT_CONTINUED == Events::CONTINUED.bits() as u32);
    assert!(SSS_CHILD_EVENT_STEP == Events::STEP.bits() as u32);
    assert!(SSS_CHILD_EVENT_UNKILLABLE == Events::UNKILLABLE.bits() as u32);
    assert!(SSS_CHILD_EVENT_LOST == Events::LOST.bits() as u32);
    assert!(SSS_RECORD_STATUS == Fields::STATUS.bits() as u32);
    assert!(SSS_RECORD_RUSAGE == Fields::RUSAGE.bits() as u32);
    assert!(SSS_RECORD_MAXRSS == Fields::MAXRSS.bits() as u32);
    assert!(SSS_RECORD_TIME == Fields::TIME.bits() as u32);
    assert!(SSS_RECORD_START == Fields::START.bits() as u32);
    assert!(SSS_RECORD_CGROUP == Fields::CGROUP.bits() as u32);
    assert!(SSS_RECORD_IDENTITY == Fields::IDENTITY.bits() as u32);
    assert!(SSS_RECORD_STEP == Fields::STEP.bits() as u32);
};

const KNOWN: u32 = SSS_WATCH_PID
    | SSS_WATCH_PIDFD
    | SSS_WATCH_EVENTS
    | SSS_WATCH_WANT
    | SSS_WATCH_KEEP_ZOMBIE
    | SSS_WATCH_TAKE_PIDFD;

impl sss_watch<'_> {
    pub(super) fn params(&self) -> Result<rich::Params, Error> {
        let has = |bit| self.mask & bit != 0;
        if self.mask & !KNOWN != 0
            || self.reserved != 0
            || has(SSS_WATCH_PID) == has(SSS_WATCH_PIDFD)
            || has(SSS_WATCH_TAKE_PIDFD) && !has(SSS_WATCH_PIDFD)
            || has(SSS_WATCH_PID) && self.pid < 1
        {
            return Err(Errno::EINVAL.into());
        }
        let events = if has(SSS_WATCH_EVENTS) {
            u8::try_from(self.events)
                .ok()
                .and_then(Events::from_bits)
                .unwrap_or(Events::empty())
        } else {
            Events::DEFAULT
        };
        let want = if has(SSS_WATCH_WANT) {
            u8::try_from(self.want)
                .ok()
                .and_then(Fields::from_bits)
                .unwrap_or(Fields::empty())
        } else {
            Fields::DEFAULT
        };
        if events.is_empty() || !Events::KNOWN.contains(events) || want.is_empty() {
            return Err(Errno::EINVAL.into());
        }
        let deadline = self.deadline.get()?;
        let child = if has(SSS_WATCH_PID) {
            rich::Child::Pid(self.pid)
        } else {
            let own = fd::duplicate_raw(self.pidfd)?;
            let pid = process_info::pid_of(own.as_fd())?;
            rich::Child::Pidfd(own, pid)
        };
        Ok(rich::Params {
            child,
            events,
            want,
            keep_zombie: has(SSS_WATCH_KEEP_ZOMBIE),
            deadline,
            call: self.cb.map(event_fn),
            pvt: Pvt(self.pvt),
            handle: None,
        })
    }
}

impl In<'_, sss_deadline<'_>> {
    /// A deadline as C wrote it down; None for NULL.
    pub(super) fn get(self) -> Result<Option<rich::Deadline>, Error> {
        let Some(given) = self.read_if_given()? else {
            return Ok(None);
        };
        if given.mask & !SSS_DEADLINE_UNKILLABLE != 0
            || given.reserved != 0
            || given.steps_count == 0
        {
            return Err(Errno::EINVAL.into());
        }
        let listed = given.steps.of(given.steps_count, MAX_STEPS)?;
        let mut steps = Vec::new();
        steps
            .try_reserve_exact(listed.len())
            .map_err(|_| Errno::ENOMEM)?;
        for step in listed {
            steps.push(Step {
                after: u64::try_from(step.after_ns).map_err(|_| Errno::EINVAL)?,
                signum: Some(step.signum)
                    .filter(|&signum| signum != 0 && signal::is_signal(signum))
                    .ok_or(Errno::EINVAL)?,
                whom: match step.whom {
                    SSS_STEP_CHILD => Whom::Child,
                    SSS_STEP_GROUP => Whom::Group,
                    _ => return Err(Errno::EINVAL.into()),
                },
            });
        }
        let kills = steps
            .last()
            .is_some_and(|step| step.signum == libc::SIGKILL);
        let unkillable = if given.mask & SSS_DEADLINE_UNKILLABLE != 0 {
            Some(u64::try_from(given.unkillable_ns).map_err(|_| Errno::EINVAL)?)
        } else {
            kills.then_some(UNKILLABLE_NS)
        };
        Ok(Some(rich::Deadline { steps, unkillable }))
    }
}

const UNKILLABLE_NS: u64 = 10_000_000_000;

impl From<&Told> for sss_child_event {
    fn from(told: &Told) -> Self {
        let has = |field| told.have.contains(field);
        let (code, status) = told.change.and_then(code_and_status).unwrap_or_default();
        let used = told
            .end
            .usage
            .filter(|_| has(Fields::RUSAGE))
            .unwrap_or_default();
        let peak = told.end.usage.filter(|_| has(Fields::MAXRSS));
        let step = Some(told.step).filter(|_| has(Fields::STEP));
        sss_child_event {
            size: size_of::<sss_child_event>(),
            have: told.have.bits().into(),
            event: told.event.bits().into(),
            id: told.id.tagged(),
            pid: told.pid,
            source: match told.end.source {
                Source::Waited => SSS_SOURCE_WAITED,
                Source::Recovered => SSS_SOURCE_RECOVERED,
                Source::Lost => SSS_SOURCE_LOST,
            },
            code,
            status,
            wait_status: told.change.map_or(0, raw_status),
            core_dumped: u32::from(code == libc::CLD_DUMPED),
            zombie_kept: u32::from(told.end.kept),
            step: step.map_or(0, |step| step.index),
            step_signal: step.map_or(0, |step| step.signum),
            step_errno: step.map_or(0, |step| step.errno),
            time_ns: told.end.at.to_signed(),
            user_ns: used.user_ns,
            system_ns: used.system_ns,
            minor_faults: used.minor_faults,
            major_faults: used.major_faults,
            in_blocks: used.in_blocks,
            out_blocks: used.out_blocks,
            voluntary_switches: used.voluntary_switches,
            involuntary_switches: used.involuntary_switches,
            max_rss: peak.map_or(0, |used| used.max_rss),
            start_ns: if has(Fields::START) { told.start_ns } else { 0 },
            start_granularity_ns: if has(Fields::START) {
                process_info::tick_ns()
            } else {
                0
            },
            cgroup_id: if has(Fields::CGROUP) { told.cgroup } else { 0 },
            identity: if has(Fields::IDENTITY) {
                told.identity
            } else {
                0
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::c_int;

    /// When UNKILLABLE is told where the last step has this signal.
    fn unkillable(last: c_int, mask: u32) -> Option<u64> {
        let steps = [libc::SIGTERM, last].map(|signum| sss_deadline_step {
            after_ns: 1,
            signum,
            whom: SSS_STEP_CHILD,
        });
        let given = sss_deadline {
            size: size_of::<sss_deadline>(),
            mask,
            reserved: 0,
            // SAFETY: the steps are read before this frame, which has them, is left; as below.
            steps: unsafe { List::from_raw(steps.as_ptr()) },
            steps_count: steps.len(),
            unkillable_ns: 7,
        };
        // SAFETY: as above.
        let parsed = unsafe { In::from_raw(&raw const given) }.get().unwrap();
        parsed.unwrap().unkillable
    }

    #[test]
    fn one_that_outlives_sigkill_is_told_of_after_ten_seconds() {
        assert_eq!(unkillable(libc::SIGKILL, 0), Some(10_000_000_000));
        assert_eq!(unkillable(libc::SIGINT, 0), None);
        assert_eq!(unkillable(libc::SIGKILL, SSS_DEADLINE_UNKILLABLE), Some(7));
        assert_eq!(unkillable(libc::SIGINT, SSS_DEADLINE_UNKILLABLE), Some(7));
    }
}
