//! One run of a unit: the service that its start makes, and what is asked of it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::report::UnitId;
use super::settings::{Mode, Settings};
use crate::log::{self, LogId};
use crate::reap::callback::{Pvt, Record};
use crate::reap::id::ContextId;
use crate::reap::spawned::{self, Told};
use crate::reap::status::LOST;
use crate::reap::watch::{self, Ask, How};
use crate::service::kill;
use crate::service::ledger::{Follow, What};
use crate::service::tracker::{self, Report, ServiceId, Sink, Wish};
use crate::spawn::{CStringArray, FdMap, OwnedSpec, SpawnError, Spec};
use crate::sys::error::Error;
use crate::sys::notify_socket::NotifySocket;
use crate::sys::{credentials, fd, file, pidfd, procfs, signal, wait};

pub(crate) const EXITED: u32 = 1;
pub(crate) const MAIN_CHANGED: u32 = 2;
pub(crate) const DEAD: u32 = 3;
pub(crate) const ADOPTED: u32 = 4;

/// What a run's service tells the unit.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) service: u64,
    pub(crate) kind: u32,
    pub(crate) pid: i32,
    pub(crate) status: i32,
    /// ADOPTED: whose child it was, or 0.
    pub(crate) parent: i32,
}

fn record(report: &Report) -> Record {
    let (kind, pid, status, parent) = match report.what {
        What::Exited { pid, status, .. } => (EXITED, pid, status, 0),
        What::MainChanged { pid } => (MAIN_CHANGED, pid, 0, 0),
        What::Dead { .. } => (DEAD, 0, 0, 0),
        What::Adopted { pid, parent, .. } => (ADOPTED, pid, 0, parent),
    };
    Record::of(Seen {
        service: report.id.tagged(),
        kind,
        pid,
        status,
        parent,
    })
}

/// A run that was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) service: ServiceId,
    /// Where its output goes: the log, and the number of its source there.
    output: Option<(LogId, u64)>,
}

pub(crate) struct Started {
    pub(crate) run: Run,
    pub(crate) pid: i32,
    /// The descriptor on which its line comes.
    pub(crate) ready: Option<OwnedFd>,
}

/// Variables in our environment that our own supervisor has set for us.
const OURS: [&[u8]; 8] = [
    b"NOTIFY_SOCKET=",
    b"WATCHDOG_USEC=",
    b"WATCHDOG_PID=",
    b"LISTEN_FDS=",
    b"LISTEN_PID=",
    b"LISTEN_FDNAMES=",
    b"LISTEN_PIDFDID=",
    b"FDSTORE=",
];

/// Starts a run.
pub(crate) fn start(
    ctx: ContextId,
    id: UnitId,
    settings: &Settings,
    notify: Option<&NotifySocket>,
    watchdog: u64,
) -> Result<Started, Error> {
    let spec = settings.spec.spec();
    let (ready, line) = match settings.mode {
        Mode::Newline(_) => {
            let (ready, line) = file::pipe()?;
            file::set_nonblocking(ready.as_fd())?;
            (Some(ready), Some(line))
        }
        _ => (None, None),
    };
    // Each run has a pipe of its own: a line that the former run left unfinished is not
    // joined with this one's.
    let output = settings.log.map(|log| {
        log::pipe(log, settings.name.as_c_str().to_bytes()).map(|(end, source)| (log, end, source))
    });
    let output = output.transpose()?;
    let end = output.as_ref().map(|(_, end, _)| end);
    let fds = descriptors(&spec, settings, line.as_ref(), end)?;
    let environment = environment(&spec, settings, notify, watchdog)?;
    let spec = Spec {
        // sd_listen_fds(3) takes the sockets only if LISTEN_PID is its own pid.
        own_pid: (!settings.sockets.is_empty()).then_some(c"LISTEN_PID"),
        envp: environment.as_array(),
        fds: fds.as_deref().or(spec.fds),
        ..spec
    };
    let wish = Wish {
        tag: true,
        environment: true,
        descent: true,
        connector: false,
        make_cgroup: settings.cgroup,
        cgroup: None,
        exact: settings.guard.is_some(),
        follow: match settings.mode {
            Mode::Forking => Follow::Forking,
            _ => Follow::First,
        },
        pid_file: settings
            .pid_file
            .as_ref()
            .map(|path| copied(path.as_c_str()))
            .transpose()?,
    };
    let sink = Sink {
        call: Some(settings.run_fn),
        source: Pvt(std::ptr::null_mut()),
        pvt: Pvt::number(id.tagged()),
        record,
    };
    // The guard is started before the first process, so that the run is never without it.
    let prepare = |service| match &settings.guard {
        Some(path) => guard(ctx, service, path.as_c_str()),
        None => Ok(()),
    };
    let service =
        tracker::spawn_after(ctx, &spec, wish, sink, prepare).map_err(SpawnError::source)?;
    let pid = tracker::standing(service).map_or(0, |standing| standing.root);
    Ok(Started {
        run: Run {
            service,
            output: output.map(|(log, _, source)| (log, source)),
        },
        pid,
        ready,
    })
}

/// Starts the guard of a run: it kills the cgroup when this process has died, and ends
/// when the cgroup is empty again or removed. In a session of its own: a terminal's
/// signals are not for it.
fn guard(ctx: ContextId, service: ServiceId, path: &CStr) -> Result<(), Error> {
    let supervisor = pidfd::open(nix::unistd::getpid().as_raw())?;
    let (events, kill) = kill::handles(service)?;
    let targets = [&supervisor, &events, &kill].into_iter().zip(0..);
    let mut map = [FdMap {
        source: 0,
        target: 0,
    }; 3];
    for (entry, (source, target)) in map.iter_mut().zip(targets) {
        (entry.source, entry.target) = (source.as_raw_fd(), target);
    }
    let argv = CStringArray::new([path].into_iter())?;
    let environment = CStringArray::new(std::iter::empty())?;
    let spec = Spec {
        fds: Some(&map),
        session: true,
        ..Spec::new(path, argv.as_array(), environment.as_array())
    };
    start_unwatched(ctx, &spec)
}

/// Starts a child of which nobody is told. It is still reaped.
fn start_unwatched(ctx: ContextId, spec: &Spec) -> Result<(), Error> {
    let nobody = Told::Callback(None, Pvt(std::ptr::null_mut()));
    let started = spawned::start(ctx, spec, nobody).map_err(SpawnError::source)?;
    watch::unwatch(started.watch, How::Keep, Ask::Nobody).map(drop)
}

fn copied(text: &CStr) -> Result<CString, Error> {
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(text.count_bytes() + 1)
        .map_err(|_| Errno::ENOMEM)?;
    bytes.extend_from_slice(text.to_bytes());
    CString::new(bytes).map_err(|_| Errno::EINVAL.into())
}

/// What goes to the log.
const OUTPUT: [RawFd; 2] = [libc::STDOUT_FILENO, libc::STDERR_FILENO];

/// The descriptors of the program, where it gets more than its spec says.
fn descriptors(
    spec: &Spec,
    settings: &Settings,
    line: Option<&OwnedFd>,
    output: Option<&OwnedFd>,
) -> Result<Option<Vec<FdMap>>, Error> {
    if settings.sockets.is_empty() && line.is_none() && output.is_none() {
        return Ok(None);
    }
    let mut map = Vec::new();
    let most = spec.fds.map_or(3, <[FdMap]>::len) + settings.sockets.len() + 3;
    map.try_reserve_exact(most).map_err(|_| Errno::ENOMEM)?;
    match spec.fds {
        Some(fds) => map.extend_from_slice(fds),
        None => {
            let last = if output.is_some() { 1 } else { fd::FIRST };
            let inherited = (0..last).filter(|&number| fd::is_inherited(number));
            map.extend(inherited.map(|number| FdMap {
                source: number,
                target: number,
            }));
        }
    }
    for target in OUTPUT {
        map.extend(output.map(|end| FdMap {
            source: end.as_raw_fd(),
            target,
        }));
    }
    for (target, socket) in (fd::FIRST..).zip(&settings.sockets) {
        map.push(FdMap {
            source: socket.fd.as_raw_fd(),
            target,
        });
    }
    if let (Mode::Newline(target), Some(line)) = (settings.mode, line) {
        map.push(FdMap {
            source: line.as_raw_fd(),
            target,
        });
    }
    Ok(Some(map))
}

/// The environment of the program.
fn environment(
    spec: &Spec,
    settings: &Settings,
    notify: Option<&NotifySocket>,
    watchdog: u64,
) -> Result<CStringArray, Error> {
    let count = settings.sockets.len();
    let listen = (count > 0)
        .then(|| variable(&[b"LISTEN_FDS=", Number::of(count as u64).as_bytes()]))
        .transpose()?;
    let names = (count > 0).then(|| names(settings)).transpose()?;
    // The child writes its own id there.
    let own_pid = (count > 0).then_some(c"LISTEN_PID=0000000000");
    let alive = (watchdog > 0)
        .then(|| {
            let usec = Number::of(watchdog.div_ceil(1_000));
            variable(&[b"WATCHDOG_USEC=", usec.as_bytes()])
        })
        .transpose()?;
    let ours = [
        notify.map(NotifySocket::variable),
        listen.as_ref(),
        names.as_ref(),
        alive.as_ref(),
    ];
    let ours = ours.into_iter().flatten().map(CString::as_c_str);
    CStringArray::new(without_ours(spec).chain(ours).chain(own_pid))
}

/// The environment of a spec without what speaks of our own supervisor.
fn without_ours<'a>(spec: &Spec<'a>) -> impl Iterator<Item = &'a CStr> + Clone + use<'a> {
    spec.envp.iter().filter(|variable| {
        let bytes = variable.to_bytes();
        !OURS.iter().any(|name| bytes.starts_with(name))
    })
}

fn names(settings: &Settings) -> Result<CString, Error> {
    let mut text = Vec::new();
    let length: usize = settings
        .sockets
        .iter()
        .map(|socket| socket.name.as_c_str().count_bytes() + 1)
        .sum();
    text.try_reserve_exact(length).map_err(|_| Errno::ENOMEM)?;
    for socket in &settings.sockets {
        if !text.is_empty() {
            text.push(b':');
        }
        text.extend_from_slice(socket.name.as_c_str().to_bytes());
    }
    variable(&[b"LISTEN_FDNAMES=", &text])
}

fn variable(parts: &[&[u8]]) -> Result<CString, Error> {
    let mut text = Vec::new();
    let length: usize = parts.iter().map(|part| part.len()).sum();
    text.try_reserve_exact(length + 1)
        .map_err(|_| Errno::ENOMEM)?;
    parts.iter().for_each(|part| text.extend_from_slice(part));
    CString::new(text).map_err(|_| Errno::EINVAL.into())
}

/// A number in decimal.
struct Number {
    digits: [u8; 20],
    from: usize,
}

impl Number {
    fn of(mut number: u64) -> Self {
        let mut decimal = Number {
            digits: [b'0'; 20],
            from: 20,
        };
        loop {
            decimal.from -= 1;
            decimal.digits[decimal.from] = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[self.from..]
    }
}

/// Starts the command of a stop's step, with MAINPID in its environment. It is
/// reaped, and nobody is told of its end.
pub(crate) fn command(ctx: ContextId, command: &OwnedSpec, main: i32) -> Result<(), Error> {
    let spec = command.spec();
    let pid = Number::of(u64::from(main.unsigned_abs()));
    let variable = variable(&[b"MAINPID=", pid.as_bytes()])?;
    let kept = without_ours(&spec).filter(|one| !one.to_bytes().starts_with(b"MAINPID="));
    let environment = CStringArray::new(kept.chain([variable.as_c_str()]))?;
    let spec = Spec {
        envp: environment.as_array(),
        ..spec
    };
    start_unwatched(ctx, &spec)
}

/// Signals the main process, if it is still one of the run's.
pub(crate) fn kill_main(service: Option<ServiceId>, main: i32, signal: i32) {
    if service.is_some_and(|service| is_member(service, main)) {
        let _ = signal::kill(main, signal);
    }
}

/// The same for its process group. Where no process of the run leads the group, it may be
/// our own, with all that we started: then only the run's processes are signalled.
pub(crate) fn kill_group(service: Option<ServiceId>, main: i32, signal: i32) {
    let Some(service) = service.filter(|&service| is_member(service, main)) else {
        return;
    };
    let Some(group) = signal::group_of(main) else {
        return;
    };
    if is_member(service, group) {
        let _ = signal::kill(-group, signal);
        return;
    }
    let elsewhere = &mut |one: &kill::Member| signal::group_of(one.pid) != Some(group);
    let _ = kill::kill(service, signal, elsewhere, true);
}

/// Signals every process of a run, but for its logins where these are spared; SIGKILL
/// until none is left. False where its processes could not be found for want of
/// descriptors or memory.
pub(crate) fn kill_tree(service: ServiceId, signal: i32, spares: bool) -> bool {
    let killed = kill::kill(service, signal, &mut |one| spares && one.login, spares);
    !killed.is_err_and(|error| error.is_shortage())
}

/// How many processes of a run a stop has still to end; at least one where a shortage keeps
/// us from looking.
pub(crate) fn remaining(service: ServiceId, spares: bool) -> usize {
    kill::remaining(service, |one| spares && one.login)
        .unwrap_or_else(|error| usize::from(error.is_shortage()))
}

/// Forgets a run. Its processes are still reaped, and what they write is still read.
pub(crate) fn free(run: Run) {
    let _ = tracker::free(run.service);
}

/// All processes of a run are dead: its output ends with what its pipe holds now.
pub(crate) fn end(run: Run) {
    if let Some((log, source)) = run.output {
        let _ = log::end_source(log, source);
    }
    free(run);
}

/// How many processes of a run live.
pub(crate) fn living(service: ServiceId) -> u32 {
    tracker::living(service).unwrap_or(0)
}

/// Whether a process of a run lives, other than the one whose end is being told. Where
/// that is not certain it is true, and DEAD comes later.
pub(crate) fn lives(service: ServiceId) -> bool {
    tracker::lives(service).unwrap_or(false)
}

/// How many processes live. Before it counts it looks for new ones, also below those
/// that are known.
pub(crate) fn processes(service: ServiceId) -> u32 {
    let _ = tracker::pids(service, |_| ());
    living(service)
}

pub(crate) fn is_member(service: ServiceId, pid: i32) -> bool {
    let mut found = false;
    let _ = tracker::pids(service, |member| found |= member == pid);
    found
}

/// Whether a process is there, and no zombie; true where a shortage keeps us from looking.
#[inline(never)]
pub(crate) fn runs(pid: i32) -> bool {
    procfs::stat(pid).map_or_else(Error::is_shortage, |stat| !stat.is_dead())
}

/// Whether a child of ours has ended and is not reaped yet.
pub(crate) fn is_dead(pid: i32) -> bool {
    wait::dead_status(pid).is_some()
}

/// The raw status of such a child, or SSS_WAIT_STATUS_LOST.
pub(crate) fn dead_status(pid: i32) -> i32 {
    wait::dead_status(pid).unwrap_or(LOST)
}

pub(crate) fn exists(pid: i32) -> bool {
    pid > 0 && signal::kill(pid, 0) != Err(Errno::ESRCH.into())
}

/// Whether a sender with this uid may speak for the unit: root, ourselves, or the
/// user that it was started as.
pub(crate) fn is_trusted(uid: u32, settings: &Settings) -> bool {
    let own = credentials::uids().effective;
    uid == 0 || uid == own || settings.spec.spec().uid == Some(uid)
}

/// What came on a ready descriptor.
pub(crate) enum Line {
    Nothing,
    /// A newline.
    Whole,
    /// It was closed without one.
    End,
}

/// Reads until a newline, but only so many times: a program that writes without end keeps its
/// pipe full, and would keep the loop here. The loop calls again for the rest.
pub(crate) fn read_line(fd: &OwnedFd) -> Line {
    let mut bytes = [0; 256];
    for _ in 0..MOST_READS {
        match nix::unistd::read(fd.as_fd(), &mut bytes) {
            Ok(0) => return Line::End,
            Ok(length) if bytes[..length].contains(&b'\n') => return Line::Whole,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Line::Nothing,
            Err(_) => return Line::End,
        }
    }
    Line::Nothing
}

/// As much as a pipe holds, unless its size was changed.
const MOST_READS: u32 = 256;

/// A spec's own map must leave room for what the unit adds.
pub(crate) fn check_targets(
    spec: &Spec,
    sockets: usize,
    mode: Mode,
    logs: bool,
) -> Result<(), Error> {
    let sockets = fd::FIRST..fd::FIRST + RawFd::try_from(sockets).map_err(|_| Errno::EINVAL)?;
    let line = match mode {
        Mode::Newline(line) if line < fd::FIRST || sockets.contains(&line) => {
            return Err(Errno::EINVAL.into());
        }
        Mode::Newline(line) => Some(line),
        _ => None,
    };
    let taken = |entry: &FdMap| {
        sockets.contains(&entry.target)
            || line == Some(entry.target)
            || (logs && OUTPUT.contains(&entry.target))
    };
    if spec.fds.is_some_and(|fds| fds.iter().any(taken)) {
        return Err(Errno::EINVAL.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_never_ends_is_not_read_without_end() {
        let endless = std::fs::File::open("/dev/zero").unwrap();
        assert!(matches!(read_line(&endless.into()), Line::Nothing));
    }
}
