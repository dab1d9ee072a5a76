//! What `sss_supervisor_*` takes and tells: `struct sss_unit`, `struct sss_unit_event`,
//! `struct sss_unit_status`, `struct sss_shutdown_event`.

use std::ffi::{CStr, c_char, c_int, c_void};

use nix::errno::Errno;

use super::boundary::protect;
use super::handle::sss_sigchild_ctx;
use super::helpers;
use super::logs_params::sss_log;
use super::object::{Held, Memory};
use super::params::{Handle, In, List, Str, ask_fn, event_fn};
use super::spawn_params::sss_spawn;
use crate::reap::callback::{Pvt, Record};
use crate::spawn::OwnedSpec;
use crate::supervise::machine::{Cause, Config, Kind, Over, State};
use crate::supervise::policy::{Policy, Restart};
use crate::supervise::run::{self, Seen};
use crate::supervise::settings::{self, Mode, Scope, Settings, Sink, Socket, Step};
use crate::supervise::units::{self, Left, Report, Standing, UnitId, What};
use crate::sys::bits::ToSigned;
use crate::sys::error::Error;
use crate::sys::fd;
use crate::sys::strings::CStrBuf;

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
/// A stop leaves the unit's logins alone, which are those that SSS_SERVICE_SPARE_LOGINS
/// spares. It is over when they alone are left.
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
/// sss_unit_event.cause: a unit that it waited for failed, or ended.
pub const SSS_UNIT_CAUSE_DEPENDENCY: u32 = 6;

/// The decision callback's answer: as the unit's policy says.
pub const SSS_UNIT_DECIDE_POLICY: u32 = 0;
/// The decision callback's answer: start it again, after the policy's delay and
/// within its limit.
pub const SSS_UNIT_DECIDE_RESTART: u32 = 1;
/// The decision callback's answer: leave it down.
pub const SSS_UNIT_DECIDE_GIVE_UP: u32 = 2;
/// The decision callback's answer: leave it in BACKOFF until a command comes:
/// a start, a restart or a stop.
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

/// Asked what is to follow an end of a unit that nobody asked for, or a start that
/// failed; not a oneshot's success. Called as a sss_child_fn_t is.
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
    /// SSS_UNIT_*, ORed: which integer fields and stop_steps count, and what else is wanted.
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
    /// Names of units that were added before. This one is started when they are ready,
    /// and starting it starts them. They are stopped when this one is down, and stopping
    /// one of them stops it. NULL for none.
    pub after: List<'a, Str<'a>>,
    /// How many there are.
    pub after_count: usize,
    /// SSS_UNIT_FORKING: the file with the main process's id, which counts as in
    /// sss_service_params.pid_file; or NULL. With another start mode it is EINVAL.
    pub pid_file: Str<'a>,
    /// Listening sockets for the program; or NULL. They become its descriptors 3
    /// and on.
    pub sockets: List<'a, sss_unit_socket<'a>>,
    /// How many there are.
    pub sockets_count: usize,
    /// Where stdout and stderr go, by a pipe of its own for each start; or NULL: where
    /// spawn says. Borrowed until the unit is removed.
    pub log: Handle<'a, sss_log>,
    /// Asked what is to follow, see sss_unit_decide_fn_t; or NULL.
    pub decide: sss_unit_decide_fn_t,
    /// SSS_UNIT_GUARD: the path of the guard's program; NULL for what the environment
    /// variable SSS_GUARD_HELPER says (but not in a set-user-ID program), or the
    /// installed one.
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
pub(crate) struct Unit(pub(super) UnitId);

impl Held for sss_unit_ctx {
    type Value = Unit;
    const NAME: &'static CStr = c"struct sss_unit_ctx";
}

impl Handle<'_, sss_unit_ctx> {
    pub(super) fn id(self) -> Result<UnitId, Error> {
        Ok(self.get()?.0)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        units::remove(self.0);
    }
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

impl<'a> sss_unit<'a> {
    fn has(&self, bit: u32) -> bool {
        self.mask & bit != 0
    }

    fn time(&self, bit: u32, value: i64, default: u64) -> Result<u64, Error> {
        if !self.has(bit) {
            return Ok(default);
        }
        u64::try_from(value).map_err(|_| Errno::EINVAL.into())
    }

    fn counted<T: Copy>(&self, bit: u32, value: T, default: T) -> T {
        if self.has(bit) { value } else { default }
    }

    /// What the unit is, and the time of each step of its stop.
    pub(super) fn settings(
        &self,
        cb: sss_unit_fn_t,
        pvt: *mut c_void,
        source: *mut sss_unit_ctx,
    ) -> Result<(Settings, Vec<u64>), Error> {
        if self.mask & !MASK != 0 {
            return Err(Errno::EINVAL.into());
        }
        let mode = self.mode()?;
        let name = self.name.required()?;
        settings::check_name(name)?;
        let (steps, times) = self.steps()?;
        let codes = self.success_codes.of(self.success_codes_count, 255)?;
        if codes.iter().any(|code| !(1..=255).contains(code)) {
            return Err(Errno::EINVAL.into());
        }
        let signals = if self.success_signals.is_null() {
            &[libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE]
        } else {
            self.success_signals.of(self.success_signals_count, 64)?
        };
        let sockets = self.sockets()?;
        let log = (!self.log.is_null()).then(|| self.log.id());
        let log = log.transpose()?;
        let reload_signal = self.counted(SSS_UNIT_RELOAD_SIGNAL, self.reload_signal, libc::SIGHUP);
        settings::signal_set(&[reload_signal])?;
        let spec = owned(self.spawn, sockets.len(), mode, log.is_some())?;
        let pid_file = self.pid_file.get().map(CStrBuf::new).transpose()?;
        if pid_file.is_some() && mode != Mode::Forking {
            return Err(Errno::EINVAL.into());
        }
        let settings = Settings {
            name: CStrBuf::new(name)?,
            spec,
            mode,
            talks: mode == Mode::Notify
                || self.has(SSS_UNIT_RELOAD_NOTIFIES)
                || (self.has(SSS_UNIT_WATCHDOG) && self.watchdog > 0),
            steps,
            codes: copied(codes)?,
            signals: settings::signal_set(signals)?,
            essential: self.has(SSS_UNIT_ESSENTIAL),
            replaces: self.has(SSS_UNIT_REPLACE),
            notify_all: self.has(SSS_UNIT_NOTIFY_ALL),
            cgroup: self.has(SSS_UNIT_CGROUP),
            guard: self
                .has(SSS_UNIT_GUARD)
                .then(|| helpers::path(self.guard, c"SSS_GUARD_HELPER", "sss-guard"))
                .transpose()?,
            spares_logins: self.has(SSS_UNIT_SPARE_LOGINS),
            reload_signal,
            log,
            pid_file,
            sockets,
            run_fn: service_told,
            sink: Sink {
                call: cb.map(event_fn),
                decide: self.decide.map(ask_fn),
                source: Pvt(source.cast()),
                pvt: Pvt(pvt),
                record,
            },
        };
        Ok((settings, times))
    }

    /// The units that it comes after.
    pub(super) fn names(&self) -> Result<Vec<&'a CStr>, Error> {
        let given = self.after.of(self.after_count, MOST_NAMES)?;
        let mut names = Vec::new();
        names
            .try_reserve_exact(given.len())
            .map_err(|_| Errno::ENOMEM)?;
        for name in given {
            names.push(name.required()?);
        }
        Ok(names)
    }

    pub(super) fn policy(&self) -> Result<Policy, Error> {
        let delay = self.time(SSS_UNIT_DELAY, self.delay, 100 * MILLISECOND)?;
        let policy = Policy {
            restart: match self.counted(SSS_UNIT_RESTART, self.restart, SSS_UNIT_RESTART_NEVER) {
                SSS_UNIT_RESTART_NEVER => Restart::Never,
                SSS_UNIT_RESTART_ON_FAILURE => Restart::OnFailure,
                SSS_UNIT_RESTART_ALWAYS => Restart::Always,
                _ => return Err(Errno::EINVAL.into()),
            },
            delay,
            delay_max: self.time(SSS_UNIT_DELAY, self.delay_max, delay)?,
            jitter: u8::try_from(self.counted(SSS_UNIT_JITTER, self.jitter, 0))
                .map_err(|_| Errno::EINVAL)?,
            stable: self.time(SSS_UNIT_STABLE, self.stable, 10 * SECOND)?,
            starts: self.counted(SSS_UNIT_START_LIMIT, self.start_limit, 5),
            window: self.time(SSS_UNIT_START_LIMIT, self.start_window, 10 * SECOND)?,
        };
        policy.check()?;
        Ok(policy)
    }

    pub(super) fn config(&self, mode: Mode, steps: Vec<u64>) -> Result<Config, Error> {
        let ready_within = self.time(SSS_UNIT_READY_TIMEOUT, self.ready_timeout, 90 * SECOND)?;
        Ok(Config {
            kind: match self.counted(SSS_UNIT_KIND, self.kind, SSS_UNIT_LONG_LIVED) {
                SSS_UNIT_LONG_LIVED => Kind::LongLived,
                // A oneshot is ready when it has ended.
                SSS_UNIT_ONESHOT if mode == Mode::Exec => Kind::Oneshot,
                _ => return Err(Errno::EINVAL.into()),
            },
            over: if self.has(SSS_UNIT_OVER_MAIN) {
                Over::Main
            } else {
                Over::Tree
            },
            announces: mode != Mode::Exec,
            ready_within,
            reload_announces: self.has(SSS_UNIT_RELOAD_NOTIFIES),
            reload_within: ready_within,
            watchdog: self.time(SSS_UNIT_WATCHDOG, self.watchdog, 0)?,
            steps,
            kill_within: self.time(SSS_UNIT_KILL_TIMEOUT, self.kill_timeout, 5 * SECOND)?,
            decides: self.decide.is_some(),
        })
    }

    fn mode(&self) -> Result<Mode, Error> {
        let default = SSS_UNIT_EXEC;
        Ok(
            match self.counted(SSS_UNIT_START_MODE, self.start_mode, default) {
                SSS_UNIT_EXEC => Mode::Exec,
                SSS_UNIT_NOTIFY => Mode::Notify,
                SSS_UNIT_FORKING => Mode::Forking,
                SSS_UNIT_NEWLINE => {
                    Mode::Newline(self.counted(SSS_UNIT_READY_FD, self.ready_fd, fd::FIRST))
                }
                _ => return Err(Errno::EINVAL.into()),
            },
        )
    }

    /// The steps of a stop, and the time of each.
    fn steps(&self) -> Result<(Vec<Step>, Vec<u64>), Error> {
        let (mut steps, mut times) = (Vec::new(), Vec::new());
        steps
            .try_reserve_exact(MOST_STEPS)
            .map_err(|_| Errno::ENOMEM)?;
        times
            .try_reserve_exact(MOST_STEPS)
            .map_err(|_| Errno::ENOMEM)?;
        if !self.has(SSS_UNIT_STOP_STEPS) {
            steps.push(Step::Signal(libc::SIGTERM, Scope::Main));
            times.push(10 * SECOND);
            return Ok((steps, times));
        }
        for step in self.stop_steps.of(self.stop_steps_count, MOST_STEPS)? {
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

    fn sockets(&self) -> Result<Vec<Socket>, Error> {
        let given = self.sockets.of(self.sockets_count, MOST_SOCKETS)?;
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
}

/// Nobody would open a gate.
fn owned(given: In<sss_spawn>, sockets: usize, mode: Mode, logs: bool) -> Result<OwnedSpec, Error> {
    given.with_spec(|spec| {
        run::check_targets(spec, sockets, mode, logs)?;
        if spec.gate {
            return Err(Errno::EINVAL.into());
        }
        OwnedSpec::new(spec)
    })
}

fn copied<T: Clone>(list: &[T]) -> Result<Vec<T>, Error> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(list.len())
        .map_err(|_| Errno::ENOMEM)?;
    copy.extend_from_slice(list);
    Ok(copy)
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

impl sss_unit_status {
    /// How a unit stands that has this name.
    pub(super) fn of(name: *const c_char, standing: &Standing) -> Self {
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
}

impl From<Left> for sss_shutdown_event {
    fn from(left: Left) -> Self {
        sss_shutdown_event {
            size: size_of::<sss_shutdown_event>(),
            units_left: left.units,
            processes_left: left.processes,
        }
    }
}
