//! `sss_supervisor_*`: units, which are kept running and stopped whole.

use std::ffi::{CStr, c_char, c_int, c_void};

use nix::errno::Errno;

use super::boundary::{errno_t, guard, protect, symver};
use super::context_memory::Context;
use super::handle::sss_sigchild_ctx;
use super::helpers;
use super::logs::{self, sss_log};
use super::object::{Held, Memory, Place};
use super::params::{Handle, In, List, Out, OutStruct, Str, ask_fn, event_fn};
use super::spawn::{sss_spawn, with_spec};
use crate::reap::callback::{Pvt, Record};
use crate::reap::context;
use crate::spawn::OwnedSpec;
use crate::supervise::machine::{Cause, Command, Config, Kind, Machine, Over, State};
use crate::supervise::policy::{Policy, Restart};
use crate::supervise::run::{self, Seen};
use crate::supervise::settings::{self, Mode, Scope, Settings, Sink, Socket, Step};
use crate::supervise::units::{self, Left, Report, Standing, UnitId, What};
use crate::sys::bits::ToSigned;
use crate::sys::cancel::NoCancellation;
use crate::sys::error::Error;
use crate::sys::strings::CStrBuf;
use crate::sys::{fd, random, subreaper};

/// sss_unit.kind counts.
pub const SSS_UNIT_KIND: u32 = 0x1;
/// sss_unit.start_mode counts.
pub const SSS_UNIT_START_MODE: u32 = 0x2;
/// sss_unit.restart counts.
pub const SSS_UNIT_RESTART: u32 = 0x4;
/// sss_unit.delay and delay_max count.
pub const SSS_UNIT_DELAY: u32 = 0x8;
/// sss_unit.jitter counts.
pub const SSS_UNIT_JITTER: u32 = 0x10;
/// sss_unit.stable counts.
pub const SSS_UNIT_STABLE: u32 = 0x20;
/// sss_unit.start_limit and start_window count.
pub const SSS_UNIT_START_LIMIT: u32 = 0x40;
/// sss_unit.ready_timeout counts.
pub const SSS_UNIT_READY_TIMEOUT: u32 = 0x80;
/// sss_unit.reload_signal counts.
pub const SSS_UNIT_RELOAD_SIGNAL: u32 = 0x100;
/// sss_unit.watchdog counts.
pub const SSS_UNIT_WATCHDOG: u32 = 0x200;
/// sss_unit.stop_steps and stop_steps_count count.
pub const SSS_UNIT_STOP_STEPS: u32 = 0x400;
/// sss_unit.kill_timeout counts.
pub const SSS_UNIT_KILL_TIMEOUT: u32 = 0x800;
/// sss_unit.ready_fd counts.
pub const SSS_UNIT_READY_FD: u32 = 0x1000;

/// When the unit has failed for good the whole supervisor is to end: the event
/// that tells it has SSS_UNIT_EVENT_ESSENTIAL and the exit code to end with.
pub const SSS_UNIT_ESSENTIAL: u32 = 0x1_0000;
/// A run is over when its main process has ended, and a restart leaves the other
/// processes alone: the logins of an sshd. Without it a run is over when all of its
/// processes are dead, and the others are stopped first. A stop is for all
/// processes either way, but for those that the spare rule names.
pub const SSS_UNIT_OVER_MAIN: u32 = 0x2_0000;
/// With SSS_UNIT_NOTIFY: messages of every process of the unit count. Without it
/// only those of the main process do.
pub const SSS_UNIT_NOTIFY_ALL: u32 = 0x4_0000;
/// Give each run a cgroup (v2) of its own below the daemon's, where that can be had:
/// its processes are then known and killed whatever they do.
pub const SSS_UNIT_CGROUP: u32 = 0x10_0000;
/// A stop leaves the unit's logins alone, as SSS_SERVICE_SPARE_LOGINS has it: processes
/// of another user in another session than the main process, and those that they hang
/// from. It is over when they alone are left.
pub const SSS_UNIT_SPARE_LOGINS: u32 = 0x20_0000;
/// The unit takes the name of one that the context has, and its place: those that come
/// after that one come after this one from now on. The former one goes on until it is
/// stopped, which stops it alone, and this one is not started before that one is down.
pub const SSS_UNIT_REPLACE: u32 = 0x80_0000;
/// Each run has a cgroup, and a guard beside it: a small process that kills the cgroup
/// when the daemon has died, whatever it died of. A run that cannot have both is a
/// failed start.
pub const SSS_UNIT_GUARD: u32 = 0x40_0000;
/// A reload is over when the program has said RELOADING=1 and then READY=1, as with
/// systemd's notify-reload. Without it the reload signal is all of it.
pub const SSS_UNIT_RELOAD_NOTIFIES: u32 = 0x8_0000;

/// sss_unit.kind: the unit is to run until it is stopped.
pub const SSS_UNIT_LONG_LIVED: u32 = 1;
/// sss_unit.kind: the unit does one thing and ends. It is ready for those that
/// come after it once it has succeeded.
pub const SSS_UNIT_ONESHOT: u32 = 2;

/// sss_unit.start_mode: ready as soon as its program was executed. A program that
/// cannot be executed is a failed start.
pub const SSS_UNIT_EXEC: u32 = 1;
/// sss_unit.start_mode: ready when it says READY=1 as with sd_notify(3): its
/// environment has NOTIFY_SOCKET.
pub const SSS_UNIT_NOTIFY: u32 = 2;
/// sss_unit.start_mode: ready when the first process has ended with 0, as daemon(3)
/// has it; the process that it leaves behind is the main one.
pub const SSS_UNIT_FORKING: u32 = 3;
/// sss_unit.start_mode: ready when it writes a line to the descriptor ready_fd, as
/// with s6's notification-fd.
pub const SSS_UNIT_NEWLINE: u32 = 4;

/// sss_unit.restart: a unit that ended is not started again.
pub const SSS_UNIT_RESTART_NEVER: u32 = 1;
/// sss_unit.restart: it is started again after a failure.
pub const SSS_UNIT_RESTART_ON_FAILURE: u32 = 2;
/// sss_unit.restart: it is always started again, unless it was stopped.
pub const SSS_UNIT_RESTART_ALWAYS: u32 = 3;

/// sss_stop_step.scope: the main process.
pub const SSS_STOP_MAIN: u32 = 1;
/// sss_stop_step.scope: the process group of the main process; of a group that no
/// process of the unit leads, such as the daemon's own, only those of the unit.
pub const SSS_STOP_GROUP: u32 = 2;
/// sss_stop_step.scope: every process of the unit that the spare rule does not
/// name.
pub const SSS_STOP_TREE: u32 = 3;

/// The unit is down.
pub const SSS_UNIT_STOPPED: u32 = 0;
/// It was started and is not ready.
pub const SSS_UNIT_STARTING: u32 = 1;
/// It is ready.
pub const SSS_UNIT_RUNNING: u32 = 2;
/// It reads its configuration again.
pub const SSS_UNIT_RELOADING: u32 = 3;
/// It is being stopped.
pub const SSS_UNIT_STOPPING: u32 = 4;
/// It ended, and is to be started again.
pub const SSS_UNIT_BACKOFF: u32 = 5;
/// It ended, failed, and is not started again.
pub const SSS_UNIT_FAILED: u32 = 6;

/// sss_unit_event.type: the unit is in another state.
pub const SSS_UNIT_EVENT_STATE: u32 = 1;
/// sss_unit_event.type: it said a new STATUS; sss_supervisor_status() has it.
pub const SSS_UNIT_EVENT_STATUS: u32 = 2;
/// sss_unit_event.type: processes survived SIGKILL for kill_timeout.
pub const SSS_UNIT_EVENT_UNKILLABLE: u32 = 3;
/// sss_unit_event.type: it has another main process.
pub const SSS_UNIT_EVENT_MAIN: u32 = 4;
/// sss_unit_event.type: an essential unit has failed for good. The supervisor is to
/// end, with exit_code.
pub const SSS_UNIT_EVENT_ESSENTIAL: u32 = 5;
/// sss_unit_event.type: a process of the unit became a child of this one, as its parent
/// ended. Not told of each where they come faster than the callback returns.
pub const SSS_UNIT_EVENT_ADOPTED: u32 = 6;

/// sss_unit_event.cause: the last run did not fail.
pub const SSS_UNIT_CAUSE_NONE: u32 = 0;
/// sss_unit_event.cause: it could not be started; error has the errno.
pub const SSS_UNIT_CAUSE_START: u32 = 1;
/// sss_unit_event.cause: its main process ended with a failure.
pub const SSS_UNIT_CAUSE_EXIT: u32 = 2;
/// sss_unit_event.cause: it was not ready in time.
pub const SSS_UNIT_CAUSE_NOT_READY: u32 = 3;
/// sss_unit_event.cause: it gave no sign of life in time, or said that it is broken.
pub const SSS_UNIT_CAUSE_WATCHDOG: u32 = 4;
/// sss_unit_event.cause: it was started too often.
pub const SSS_UNIT_CAUSE_LIMIT: u32 = 5;
/// sss_unit_event.cause: a unit that comes before it failed.
pub const SSS_UNIT_CAUSE_DEPENDENCY: u32 = 6;

/// The decision callback's answer: as the unit's policy says.
pub const SSS_UNIT_DECIDE_POLICY: u32 = 0;
/// The decision callback's answer: start it again, after the policy's delay and
/// within its limit.
pub const SSS_UNIT_DECIDE_RESTART: u32 = 1;
/// The decision callback's answer: leave it down.
pub const SSS_UNIT_DECIDE_GIVE_UP: u32 = 2;
/// The decision callback's answer: leave it in BACKOFF until
/// sss_supervisor_start().
pub const SSS_UNIT_DECIDE_WAIT: u32 = 3;

/// One step of a stop. When its timeout has passed and processes of the unit that
/// the stop is for still live, the next step is taken; after the last, they get
/// SIGKILL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_stop_step<'a> {
    /// The signal, 1 to SIGRTMAX; 0 where command is given. SIGCONT follows it, so
    /// that a stopped process takes it.
    pub signum: i32,
    /// SSS_STOP_*: who gets the signal.
    pub scope: u32,
    /// How long the step may take, in nanoseconds; more than 0.
    pub timeout: i64,
    /// A command that stops the unit, started as a child with MAINPID in its
    /// environment; or NULL. Copied. What sss_unit.spawn says of the gate and the
    /// environment is true of it too.
    pub command: In<'a, sss_spawn<'a>>,
}

/// A listening socket that a unit's program gets by LISTEN_FDS; see
/// sd_listen_fds(3).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_unit_socket<'a> {
    /// A descriptor of the caller, duplicated.
    pub fd: i32,
    /// 0.
    pub reserved: i32,
    /// Its name in LISTEN_FDNAMES, without a colon; or NULL for "unknown". Copied.
    pub name: Str<'a>,
}

/// Something happened to a unit. Valid until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_unit_event {
    /// sizeof(struct sss_unit_event) of the library.
    pub size: usize,
    /// SSS_UNIT_EVENT_*.
    pub r#type: u32,
    /// SSS_UNIT_STOPPED and its like: the state now.
    pub state: u32,
    /// The state before.
    pub former_state: u32,
    /// SSS_UNIT_CAUSE_*: why the last run failed.
    pub cause: u32,
    /// The number of the last start, from 1 on.
    pub start: u64,
    /// When, in nanoseconds of CLOCK_MONOTONIC.
    pub time: i64,
    /// BACKOFF: in how many nanoseconds the next start comes.
    pub delay: i64,
    /// The main process; 0 for none, or where it is unknown.
    pub main_pid: i32,
    /// How the last main process ended, as waitpid(2) gives it; 0 before.
    pub wait_status: i32,
    /// How many processes of the unit live.
    pub processes: u32,
    /// The errno of a start that failed, or 0.
    pub error: i32,
    /// SSS_UNIT_EVENT_ESSENTIAL: the code that the supervisor is to exit with: the
    /// main process's own, 128 + signal, or 1.
    pub exit_code: i32,
    /// SSS_UNIT_EVENT_ADOPTED: the process.
    pub pid: i32,
    /// SSS_UNIT_EVENT_ADOPTED: whose child it was, or 0 where that is unknown.
    pub former_parent: i32,
    /// 0.
    pub reserved: i32,
}

/// Told of a unit. Called as a sss_child_fn_t is; it may use every function on
/// every unit, and free the unit.
///
/// @param unit   the unit.
/// @param event  what happened; read no more than event->size bytes.
/// @param pvt    as given to sss_supervisor_add().
#[allow(non_camel_case_types)]
pub type sss_unit_fn_t = Option<
    unsafe extern "C" fn(unit: *mut sss_unit_ctx, event: *const sss_unit_event, pvt: *mut c_void),
>;

/// Asked what is to follow the end of a unit's run that nobody asked for: runit's
/// finish. Called as a sss_child_fn_t is.
///
/// @param unit   the unit.
/// @param event  the end: state is BACKOFF.
/// @param pvt    as given to sss_supervisor_add().
///
/// @return SSS_UNIT_DECIDE_*; anything else is SSS_UNIT_DECIDE_POLICY.
#[allow(non_camel_case_types)]
pub type sss_unit_decide_fn_t = Option<
    unsafe extern "C" fn(
        unit: *mut sss_unit_ctx,
        event: *const sss_unit_event,
        pvt: *mut c_void,
    ) -> u32,
>;

/// What a unit is. Zero it, set size, name and spawn, and what else is needed.
/// Everything in it is copied, and descriptors are duplicated, when it is added.
/// Times are nanoseconds, 0 or more.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_unit<'a> {
    /// sizeof(struct sss_unit), which tells the struct's version.
    pub size: usize,
    /// SSS_UNIT_*, ORed: which integer fields count, and what else is wanted.
    pub mask: u32,
    /// SSS_UNIT_LONG_LIVED or SSS_UNIT_ONESHOT; default SSS_UNIT_LONG_LIVED.
    pub kind: u32,
    /// 1 to 255 bytes without a slash, control character or space; no two units of
    /// a context have the same, but see SSS_UNIT_REPLACE.
    pub name: Str<'a>,
    /// The program. SSS_SPAWN_GATE is not allowed. NOTIFY_SOCKET, WATCHDOG_* and
    /// LISTEN_* of its environment are replaced or taken out.
    pub spawn: In<'a, sss_spawn<'a>>,
    /// SSS_UNIT_EXEC and its like; default SSS_UNIT_EXEC.
    pub start_mode: u32,
    /// SSS_UNIT_RESTART_*; default SSS_UNIT_RESTART_NEVER.
    pub restart: u32,
    /// From an end to the next start; default 100 ms.
    pub delay: i64,
    /// Each further end doubles the delay up to this, no less than delay; default
    /// delay, so that it is fixed.
    pub delay_max: i64,
    /// A run of this length makes the next delay the first again; 0 for never;
    /// default 10 s.
    pub stable: i64,
    /// No more than start_limit starts come within this time; default 10 s.
    pub start_window: i64,
    /// See start_window: 1 to 10,000, or 0 for no limit; default 5. A start that
    /// would be one more makes the unit FAILED. Starts by command begin the count
    /// anew.
    pub start_limit: u32,
    /// A random part of each delay, in percent of it, is taken off: 0 to 100;
    /// default 0.
    pub jitter: u32,
    /// How long it may be STARTING, or RELOADING; 0 for no limit; default 90 s.
    pub ready_timeout: i64,
    /// How often it has to give a sign of life (WATCHDOG=1) once it is RUNNING; 0
    /// for never; default 0. It learns it by WATCHDOG_USEC.
    pub watchdog: i64,
    /// After SIGKILL, how long until SSS_UNIT_EVENT_UNKILLABLE; default 5 s.
    pub kill_timeout: i64,
    /// The steps of a stop. Default: one, SIGTERM for the main process, 10 s.
    pub stop_steps: List<'a, sss_stop_step<'a>>,
    /// How many steps there are, 0 to 16; 0: SIGKILL at once.
    pub stop_steps_count: usize,
    /// The signal of a reload, for the main process; default SIGHUP.
    pub reload_signal: i32,
    /// SSS_UNIT_NEWLINE: the number of the descriptor in the program; default 3.
    pub ready_fd: i32,
    /// Exit codes, 1 to 255, that are no failure, as 0 is none; or NULL.
    pub success_codes: List<'a, i32>,
    /// How many there are.
    pub success_codes_count: usize,
    /// Signals by which an end is no failure; NULL: SIGHUP, SIGINT, SIGTERM and
    /// SIGPIPE.
    pub success_signals: List<'a, i32>,
    /// How many there are; 0 with a pointer: none.
    pub success_signals_count: usize,
    /// Names of units that were added before. This one is started after they are
    /// ready, which starts them too, and they are stopped after it is down, which
    /// stops it too. NULL for none.
    pub after: List<'a, Str<'a>>,
    /// How many there are.
    pub after_count: usize,
    /// SSS_UNIT_FORKING: the file with the main process's id; or NULL: it is the
    /// only one that lives on, else it is unknown.
    pub pid_file: Str<'a>,
    /// Listening sockets for the program; or NULL. They become its descriptors 3
    /// and on.
    pub sockets: List<'a, sss_unit_socket<'a>>,
    /// How many there are.
    pub sockets_count: usize,
    /// Where stdout and stderr go, by a pipe of its own for each start; or NULL: where
    /// spawn says. Borrowed until the unit is removed.
    pub log: Handle<'a, sss_log>,
    /// Asked after each end that nobody asked for; or NULL.
    pub decide: sss_unit_decide_fn_t,
    /// SSS_UNIT_GUARD: the path of the guard's program; NULL for the installed one, or
    /// what the environment variable SSS_GUARD_HELPER says (but in a set-user-ID
    /// program).
    pub guard: Str<'a>,
}

/// How a unit stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_unit_status {
    /// sizeof(struct sss_unit_status), set by the caller.
    pub size: usize,
    /// SSS_UNIT_STOPPED and its like.
    pub state: u32,
    /// SSS_UNIT_CAUSE_*: why the last run failed.
    pub cause: u32,
    /// How many starts there were.
    pub starts: u64,
    /// Of those, how many were no command's.
    pub restarts: u64,
    /// Since when the unit has been in its state, in nanoseconds of
    /// CLOCK_MONOTONIC.
    pub since: i64,
    /// When the next start, or time limit, comes, in nanoseconds of CLOCK_MONOTONIC;
    /// 0 for none.
    pub next: i64,
    /// The main process; 0 for none, or where it is unknown.
    pub main_pid: i32,
    /// How the last main process ended, as waitpid(2) gives it; 0 before.
    pub wait_status: i32,
    /// How many processes of the unit live.
    pub processes: u32,
    /// 1: a start or stop was asked for, and waits for other units.
    pub waits: u32,
    /// The errno of the last start that failed, or 0.
    pub error: i32,
    /// 0.
    pub reserved: i32,
    /// The unit's name, as long as the unit is there.
    pub name: *const c_char,
    /// The last STATUS that it gave, NUL-terminated; cut at 240 bytes.
    pub text: [c_char; 248],
}

/// A unit: what sss_supervisor_add() makes. Opaque.
#[allow(non_camel_case_types)]
pub struct sss_unit_ctx(#[allow(dead_code)] Memory<Unit>);

/// What C holds of a unit.
pub(crate) struct Unit(UnitId);

impl Held for sss_unit_ctx {
    type Value = Unit;
    const NAME: &'static CStr = c"struct sss_unit_ctx";
}

impl Drop for Unit {
    fn drop(&mut self) {
        units::remove(self.0);
    }
}

const MASK: u32 = 0x1fff
    | SSS_UNIT_ESSENTIAL
    | SSS_UNIT_OVER_MAIN
    | SSS_UNIT_NOTIFY_ALL
    | SSS_UNIT_CGROUP
    | SSS_UNIT_RELOAD_NOTIFIES
    | SSS_UNIT_SPARE_LOGINS
    | SSS_UNIT_REPLACE
    | SSS_UNIT_GUARD;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

const MOST_STEPS: usize = 16;
const MOST_SOCKETS: usize = 256;
const MOST_NAMES: usize = 1_000;

fn time(given: &sss_unit, bit: u32, value: i64, default: u64) -> Result<u64, Error> {
    if given.mask & bit == 0 {
        return Ok(default);
    }
    u64::try_from(value).map_err(|_| Errno::EINVAL.into())
}

fn counted<T: Copy>(given: &sss_unit, bit: u32, value: T, default: T) -> T {
    if given.mask & bit == 0 {
        default
    } else {
        value
    }
}

fn copied<T: Clone>(list: &[T]) -> Result<Vec<T>, Error> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(list.len())
        .map_err(|_| Errno::ENOMEM)?;
    copy.extend_from_slice(list);
    Ok(copy)
}
fn policy(given: &sss_unit) -> Result<Policy, Error> {
    let delay = time(given, SSS_UNIT_DELAY, given.delay, 100 * MILLISECOND)?;
    let policy = Policy {
        restart: match counted(
            given,
            SSS_UNIT_RESTART,
            given.restart,
            SSS_UNIT_RESTART_NEVER,
        ) {
            SSS_UNIT_RESTART_NEVER => Restart::Never,
            SSS_UNIT_RESTART_ON_FAILURE => Restart::OnFailure,
            SSS_UNIT_RESTART_ALWAYS => Restart::Always,
            _ => return Err(Errno::EINVAL.into()),
        },
        delay,
        delay_max: time(given, SSS_UNIT_DELAY, given.delay_max, delay)?,
        jitter: u8::try_from(counted(given, SSS_UNIT_JITTER, given.jitter, 0))
            .map_err(|_| Errno::EINVAL)?,
        stable: time(given, SSS_UNIT_STABLE, given.stable, 10 * SECOND)?,
        starts: counted(given, SSS_UNIT_START_LIMIT, given.start_limit, 5),
        window: time(given, SSS_UNIT_START_LIMIT, given.start_window, 10 * SECOND)?,
    };
    policy.check()?;
    Ok(policy)
}

fn mode(given: &sss_unit) -> Result<Mode, Error> {
    let default = SSS_UNIT_EXEC;
    Ok(
        match counted(given, SSS_UNIT_START_MODE, given.start_mode, default) {
            SSS_UNIT_EXEC => Mode::Exec,
            SSS_UNIT_NOTIFY => Mode::Notify,
            SSS_UNIT_FORKING => Mode::Forking,
            SSS_UNIT_NEWLINE => {
                Mode::Newline(counted(given, SSS_UNIT_READY_FD, given.ready_fd, fd::FIRST))
            }
            _ => return Err(Errno::EINVAL.into()),
        },
    )
}

fn config(given: &sss_unit, mode: Mode, steps: Vec<u64>) -> Result<Config, Error> {
    let has = |bit| given.mask & bit != 0;
    let ready_within = time(
        given,
        SSS_UNIT_READY_TIMEOUT,
        given.ready_timeout,
        90 * SECOND,
    )?;
    Ok(Config {
        kind: match counted(given, SSS_UNIT_KIND, given.kind, SSS_UNIT_LONG_LIVED) {
            SSS_UNIT_LONG_LIVED => Kind::LongLived,
            // A oneshot is ready when it has ended.
            SSS_UNIT_ONESHOT if mode == Mode::Exec => Kind::Oneshot,
            _ => return Err(Errno::EINVAL.into()),
        },
        over: if has(SSS_UNIT_OVER_MAIN) {
            Over::Main
        } else {
            Over::Tree
        },
        announces: mode != Mode::Exec,
        ready_within,
        reload_announces: has(SSS_UNIT_RELOAD_NOTIFIES),
        reload_within: ready_within,
        watchdog: time(given, SSS_UNIT_WATCHDOG, given.watchdog, 0)?,
        steps,
        kill_within: time(given, SSS_UNIT_KILL_TIMEOUT, given.kill_timeout, 5 * SECOND)?,
        decides: given.decide.is_some(),
    })
}

/// Nobody would open a gate.
fn owned(given: In<sss_spawn>, sockets: usize, mode: Mode, logs: bool) -> Result<OwnedSpec, Error> {
    with_spec(given, |spec| {
        run::check_targets(spec, sockets, mode, logs)?;
        if spec.gate {
            return Err(Errno::EINVAL.into());
        }
        OwnedSpec::new(spec)
    })
}

/// The steps of a stop, and the time of each.
fn steps(given: &sss_unit) -> Result<(Vec<Step>, Vec<u64>), Error> {
    let (mut steps, mut times) = (Vec::new(), Vec::new());
    steps
        .try_reserve_exact(MOST_STEPS)
        .map_err(|_| Errno::ENOMEM)?;
    times
        .try_reserve_exact(MOST_STEPS)
        .map_err(|_| Errno::ENOMEM)?;
    if given.mask & SSS_UNIT_STOP_STEPS == 0 {
        steps.push(Step::Signal(libc::SIGTERM, Scope::Main));
        times.push(10 * SECOND);
        return Ok((steps, times));
    }
    for step in given.stop_steps.of(given.stop_steps_count, MOST_STEPS)? {
        let time = u64::try_from(step.timeout).map_err(|_| Errno::EINVAL)?;
        let scope = match step.scope {
            SSS_STOP_MAIN => Scope::Main,
            SSS_STOP_GROUP => Scope::Group,
            SSS_STOP_TREE => Scope::Tree,
            0 if !step.command.is_null() => Scope::Main,
            _ => return Err(Errno::EINVAL.into()),
        };
        if time == 0 || step.command.is_null() == (step.signum == 0) {
            return Err(Errno::EINVAL.into());
        }
        steps.push(if step.command.is_null() {
            settings::signal_set(&[step.signum])?;
            Step::Signal(step.signum, scope)
        } else {
            Step::Command(owned(step.command, 0, Mode::Exec, false)?)
        });
        times.push(time);
    }
    Ok((steps, times))
}

fn sockets(given: &sss_unit) -> Result<Vec<Socket>, Error> {
    let given = given.sockets.of(given.sockets_count, MOST_SOCKETS)?;
    let mut sockets = Vec::new();
    sockets
        .try_reserve_exact(given.len())
        .map_err(|_| Errno::ENOMEM)?;
    for socket in given {
        if socket.reserved != 0 {
            return Err(Errno::EINVAL.into());
        }
        let name = socket.name.get().unwrap_or(c"unknown");
        if name.to_bytes().contains(&b':') {
            return Err(Errno::EINVAL.into());
        }
        sockets.push(Socket {
            fd: fd::duplicate_raw(socket.fd)?,
            name: CStrBuf::new(name)?,
        });
    }
    Ok(sockets)
}

fn settings(
    given: &sss_unit,
    cb: sss_unit_fn_t,
    pvt: *mut c_void,
    source: *mut sss_unit_ctx,
) -> Result<(Settings, Vec<u64>), Error> {
    let has = |bit| given.mask & bit != 0;
    if given.mask & !MASK != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mode = mode(given)?;
    let name = given.name.required()?;
    settings::check_name(name)?;
    let (steps, times) = steps(given)?;
    let codes = given.success_codes.of(given.success_codes_count, 255)?;
    if codes.iter().any(|code| !(1..=255).contains(code)) {
        return Err(Errno::EINVAL.into());
    }
    let signals = if given.success_signals.is_null() {
        &[libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE]
    } else {
        given.success_signals.of(given.success_signals_count, 64)?
    };
    let sockets = sockets(given)?;
    let log = (!given.log.is_null()).then(|| logs::id_of(given.log));
    let log = log.transpose()?;
    let reload_signal = counted(
        given,
        SSS_UNIT_RELOAD_SIGNAL,
        given.reload_signal,
        libc::SIGHUP,
    );
    settings::signal_set(&[reload_signal])?;
    let spec = owned(given.spawn, sockets.len(), mode, log.is_some())?;
    let pid_file = given.pid_file.get().map(CStrBuf::new).transpose()?;
    if pid_file.is_some() && mode != Mode::Forking {
        return Err(Errno::EINVAL.into());
    }
    let settings = Settings {
        name: CStrBuf::new(name)?,
        spec,
        mode,
        talks: mode == Mode::Notify
            || has(SSS_UNIT_RELOAD_NOTIFIES)
            || (has(SSS_UNIT_WATCHDOG) && given.watchdog > 0),
        steps,
        codes: copied(codes)?,
        signals: settings::signal_set(signals)?,
        essential: has(SSS_UNIT_ESSENTIAL),
        replaces: has(SSS_UNIT_REPLACE),
        notify_all: has(SSS_UNIT_NOTIFY_ALL),
        cgroup: has(SSS_UNIT_CGROUP),
        guard: has(SSS_UNIT_GUARD)
            .then(|| helpers::path(given.guard, c"SSS_GUARD_HELPER", "sss-guard"))
            .transpose()?,
        spares_logins: has(SSS_UNIT_SPARE_LOGINS),
        reload_signal,
        log,
        pid_file,
        sockets,
        run_fn: service_told,
        sink: Sink {
            call: cb.map(event_fn),
            decide: given.decide.map(ask_fn),
            source: Pvt(source.cast()),
            pvt: Pvt(pvt),
            record,
        },
    };
    Ok((settings, times))
}

/// A run's service calls back; no lock is held.
unsafe extern "C" fn service_told(_: *mut c_void, record: *const c_void, pvt: *mut c_void) {
    protect(|| {
        // SAFETY: the record that `run` asks the service for.
        let seen = unsafe { *record.cast::<Seen>() };
        if let Some(id) = UnitId::from_tagged(pvt.addr() as u64) {
            units::told(id, seen);
        }
    });
}

fn state_number(state: State) -> u32 {
    match state {
        State::Stopped => SSS_UNIT_STOPPED,
        State::Starting => SSS_UNIT_STARTING,
        State::Running => SSS_UNIT_RUNNING,
        State::Reloading => SSS_UNIT_RELOADING,
        State::Stopping => SSS_UNIT_STOPPING,
        State::Backoff => SSS_UNIT_BACKOFF,
        State::Failed => SSS_UNIT_FAILED,
    }
}

fn cause_number(cause: Option<Cause>) -> u32 {
    match cause {
        None => SSS_UNIT_CAUSE_NONE,
        Some(Cause::Start) => SSS_UNIT_CAUSE_START,
        Some(Cause::Exit) => SSS_UNIT_CAUSE_EXIT,
        Some(Cause::NotReady) => SSS_UNIT_CAUSE_NOT_READY,
        Some(Cause::Watchdog) => SSS_UNIT_CAUSE_WATCHDOG,
        Some(Cause::Limit) => SSS_UNIT_CAUSE_LIMIT,
        Some(Cause::Dependency) => SSS_UNIT_CAUSE_DEPENDENCY,
    }
}

fn record(report: &Report) -> Record {
    let (pid, former_parent) = match report.what {
        What::Adopted { pid, parent } => (pid, parent),
        _ => (0, 0),
    };
    Record::of(sss_unit_event {
        size: size_of::<sss_unit_event>(),
        r#type: match report.what {
            What::State => SSS_UNIT_EVENT_STATE,
            What::Status => SSS_UNIT_EVENT_STATUS,
            What::Unkillable => SSS_UNIT_EVENT_UNKILLABLE,
            What::Main => SSS_UNIT_EVENT_MAIN,
            What::Essential => SSS_UNIT_EVENT_ESSENTIAL,
            What::Adopted { .. } => SSS_UNIT_EVENT_ADOPTED,
        },
        state: state_number(report.state),
        former_state: state_number(report.former),
        cause: cause_number(report.cause),
        start: report.start,
        time: report.time.to_signed(),
        delay: report.delay.to_signed(),
        main_pid: report.main,
        wait_status: report.status,
        processes: report.processes,
        error: report.error,
        exit_code: report.code,
        pid,
        former_parent,
        reserved: 0,
    })
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
///         EBADF for a closed descriptor; ENOTSUP where nobody polls the context's
///         descriptor; ENOMEM, EMFILE, ENFILE; EPERM from a thread that is not the
///         host's loop; ECHILD where the context belongs to another process. Nothing
///         has changed then.
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
        let (settings, times) = settings(&given, cb, pvt, place.pointer())?;
        let after = names(&given)?;
        let config = config(&given, settings.mode, times)?;
        let machine = Machine::new(config, policy(&given)?, random::number()?)?;
        subreaper::set(true)?;
        let added = units::add(ctx.id, settings, machine, &after).map(Unit);
        place.settle(added, unit_ctx)
    })
}
symver!("sss_supervisor_add");

fn names<'a>(given: &sss_unit<'a>) -> Result<Vec<&'a CStr>, Error> {
    let given = given.after.of(given.after_count, MOST_NAMES)?;
    let mut names = Vec::new();
    names
        .try_reserve_exact(given.len())
        .map_err(|_| Errno::ENOMEM)?;
    for name in given {
        names.push(name.required()?);
    }
    Ok(names)
}

fn id_of(unit: Handle<sss_unit_ctx>) -> Result<UnitId, Error> {
    Ok(unit.get()?.0)
}

/// Start a unit, and before it all units that come before it and are not ready.
///
/// Returns at once: the start is made by the loop, and events tell of it. A unit
/// that runs is left alone; one in BACKOFF or FAILED is started now, and its count of
/// starts begins anew. Until those that come before it are ready it stays as it is,
/// and becomes FAILED (SSS_UNIT_CAUSE_DEPENDENCY) if one of them fails.
///
/// @param unit  the unit.
///
/// @return 0; EINVAL for NULL; ESHUTDOWN during sss_supervisor_shutdown(); ESRCH where
///         its context was freed; ECHILD in a process that is not the unit's.
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_supervisor_start(unit: Handle<sss_unit_ctx>) -> errno_t {
    guard(|| units::command(id_of(unit)?, Command::Start))
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
    guard(|| units::command(id_of(unit)?, Command::Stop))
}
symver!("sss_supervisor_stop");

/// Stop a unit and start it again; start it where it does not run. Units that come
/// after it are left alone.
///
/// @param unit  the unit.
///
/// @return as sss_supervisor_start().
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_supervisor_restart(unit: Handle<sss_unit_ctx>) -> errno_t {
    guard(|| units::command(id_of(unit)?, Command::Restart))
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
    guard(|| units::command(id_of(unit)?, Command::Reload))
}
symver!("sss_supervisor_reload");

fn status(name: *const c_char, standing: &Standing) -> sss_unit_status {
    let report = &standing.report;
    let mut text = [0; 248];
    for (to, &from) in text.iter_mut().zip(standing.text.as_bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    sss_unit_status {
        size: size_of::<sss_unit_status>(),
        state: state_number(report.state),
        cause: cause_number(report.cause),
        starts: report.start,
        restarts: standing.restarts,
        since: report.time.to_signed(),
        next: standing.next.to_signed(),
        main_pid: report.main,
        wait_status: report.status,
        processes: report.processes,
        waits: u32::from(standing.waits),
        error: report.error,
        reserved: 0,
        name,
        text,
    }
}

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
        let id = id_of(unit)?;
        let standing = units::standing(id)?;
        let name = units::with(id, |settings| settings.name.as_c_str().as_ptr())?;
        status.write(self::status(name, &standing))
    })
}
symver!("sss_supervisor_status");

/// A context that this thread may use.
fn checked(sigchld_ctx: Handle<'_, sss_sigchild_ctx>) -> Result<&Context, Error> {
    let ctx = sigchld_ctx.context()?;
    context::check(ctx.id)?;
    Ok(ctx)
}

/// Shown one unit; see sss_supervisor_foreach().
///
/// @param unit    the unit.
/// @param status  how it stands; valid until the callback returns.
/// @param pvt     as given to sss_supervisor_foreach().
///
/// @return 0 to go on, anything else to stop.
#[allow(non_camel_case_types)]
pub type sss_unit_info_fn_t = Option<
    unsafe extern "C" fn(
        unit: *mut sss_unit_ctx,
        status: *const sss_unit_status,
        pvt: *mut c_void,
    ) -> c_int,
>;

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
            let id = units::next(ctx, &mut cursor)?;
            let standing = units::standing(id).ok()?;
            let (unit, name) = units::with(id, |settings| {
                (settings.sink.source, settings.name.as_c_str().as_ptr())
            })
            .ok()?;
            Some((unit, status(name, &standing)))
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

/// A shutdown is over.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_shutdown_event {
    /// sizeof(struct sss_shutdown_event) of the library.
    pub size: usize,
    /// How many units are not down. sss_supervisor_foreach() names them: their state
    /// is SSS_UNIT_STOPPING.
    pub units_left: u32,
    /// How many processes live.
    pub processes_left: u32,
}

/// Told that a shutdown is over. Called as a sss_child_fn_t is.
///
/// @param sigchld_ctx  the context.
/// @param event        what was left; read no more than event->size bytes.
/// @param pvt          as given to sss_supervisor_shutdown().
#[allow(non_camel_case_types)]
pub type sss_shutdown_fn_t = Option<
    unsafe extern "C" fn(
        sigchld_ctx: *mut sss_sigchild_ctx,
        event: *const sss_shutdown_event,
        pvt: *mut c_void,
    ),
>;

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
///         earlier; ENOTSUP where nobody polls the context's descriptor; ENOMEM;
///         EPERM from a thread that is not the host's loop; ECHILD where the context
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
                record: left,
            },
        )
    })
}
symver!("sss_supervisor_shutdown");

fn left(left: Left) -> Record {
    Record::of(shutdown_event(left))
}

fn shutdown_event(left: Left) -> sss_shutdown_event {
    sss_shutdown_event {
        size: size_of::<sss_shutdown_event>(),
        units_left: left.units,
        processes_left: left.processes,
    }
}

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
        left.write_if_given(shutdown_event(over))?;
        if over.units > 0 {
            return Err(Errno::ETIMEDOUT.into());
        }
        Ok(())
    })
}
symver!("sss_supervisor_shutdown_wait");
