//! From a spec to the program of its child.
//!
//! The order of the steps matters. What uses the caller's descriptors by their own
//! numbers comes before the map. What needs privilege comes before the credentials. The
//! parent-death signal comes after them, because a change of credentials clears it.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::map::{FdMap, FdOp, Plan, plan};
use super::path::{Candidates, is_searched};
use super::spec::{Post, Then};
use super::{Cwd, PTY, SpawnError, Spec, Step};
use crate::sys::clone::{Manner, getpid};
use crate::sys::close_range::LAST;
use crate::sys::credentials::uids;
use crate::sys::gate;
use crate::sys::namespace::child_is_elsewhere;
use crate::sys::pidfd;
use crate::sys::program::Program;
use crate::sys::pty::Pty;

/// Descriptors of ours that the child uses until its exec.
#[derive(Debug)]
pub(crate) struct Ties {
    /// Our end of the gate, and the child's.
    gate: Option<(OwnedFd, OwnedFd)>,
    /// Our own pidfd, by which the child sees us die.
    parent: Option<OwnedFd>,
    pty: Option<Pty>,
}

impl Ties {
    pub(crate) fn new(spec: &Spec) -> Result<Self, SpawnError> {
        let pty = spec.pty.then(|| Pty::new(spec.uid)).transpose();
        let pty = pty.map_err(|error| SpawnError::during(Step::Pty, error))?;
        let gate = spec.gate.then(gate::pair).transpose();
        let gate = gate.map_err(|error| SpawnError::during(Step::Gate, error))?;
        let parent = Self::parent(spec)?;
        Ok(Ties { gate, parent, pty })
    }

    fn parent(spec: &Spec) -> Result<Option<OwnedFd>, SpawnError> {
        let step = if spec.gate {
            Step::Gate
        } else if spec.pdeathsig.is_some() && child_is_elsewhere() {
            Step::Pdeathsig
        } else {
            return Ok(None);
        };
        match pidfd::open(getpid()) {
            Ok(parent) => Ok(Some(parent)),
            // Without a pidfd, the end of file at the gate or the signal itself must be
            // enough.
            Err(error) if matches!(error.errno, Errno::ENOSYS | Errno::EPERM) => Ok(None),
            Err(errno) => Err(SpawnError::during(step, errno)),
        }
    }

    /// Our end of the gate, and the pseudoterminal's master.
    pub(crate) fn into_ours(self) -> (Option<OwnedFd>, Option<OwnedFd>) {
        let gate = self.gate.map(|(ours, _)| ours);
        (gate, self.pty.map(|pty| pty.master))
    }

    /// The map with the pseudoterminal's number put in; None where the spec's own map can
    /// be used.
    fn map(&self, spec: &Spec) -> Result<Option<Vec<FdMap>>, i32> {
        let Some(terminal) = self.terminal() else {
            return Ok(None);
        };
        let standard = [0, 1, 2].map(|target| FdMap {
            source: PTY,
            target,
        });
        let given = spec.fds.unwrap_or(&standard);
        let mut map = Vec::new();
        map.try_reserve_exact(given.len())
            .map_err(|_| libc::ENOMEM)?;
        map.extend(given.iter().map(|&entry| match entry.source {
            PTY => FdMap {
                source: terminal,
                ..entry
            },
            _ => entry,
        }));
        Ok(Some(map))
    }

    /// The child's terminal, by our number.
    fn terminal(&self) -> Option<RawFd> {
        self.pty.as_ref().map(|pty| pty.terminal.as_raw_fd())
    }
}

/// The paths to try, where they are searched for.
pub(crate) fn candidates(spec: &Spec) -> Result<Option<Candidates>, SpawnError> {
    match spec.search {
        Some(list) if is_searched(spec.path) => Candidates::new(spec.path, list)
            .map(Some)
            .map_err(out_of_memory),
        _ => Ok(None),
    }
}

fn out_of_memory(errno: i32) -> SpawnError {
    SpawnError::new(Step::Memory, errno)
}

/// Lays out what the child does.
pub(crate) fn program<'a>(
    spec: &'a Spec,
    manner: Manner,
    ties: &Ties,
    candidates: Option<&'a Candidates>,
) -> Result<Program<'a>, SpawnError> {
    let mut program = Program::new(spec.argv, spec.envp);
    let fds = [
        ties.gate.as_ref().map(|(_, childs)| childs),
        ties.parent.as_ref(),
    ]
    .map(|fd| fd.map(AsRawFd::as_raw_fd));
    let late_cwd = spec.cwd.filter(|_| spec.cwd_as_child);
    let [gate, parent] = fds;
    let mut fds = [gate, parent, late_cwd.and_then(Cwd::fd)];
    lay_out(&mut program, spec, manner, Some(ties), None, ALL, &mut fds)
        .and_then(|()| {
            let [gate, parent, cwd] = fds;
            credentials(&mut program, spec, uids().effective)?;
            enter(
                &mut program,
                spec.cwd_may_fail,
                cwd.map(Cwd::Fd).or(late_cwd),
            )?;
            // It is the caller's, and may be open over an exec.
            if let Some(fd) = cwd.filter(|&fd| fd > 2 || spec.fds.is_some()) {
                program.close(fd)?;
            }
            death(&mut program, spec, parent.unwrap_or(-1))?;
            if spec.shell {
                program.shell()?;
            }
            program.signal_mask(&spec.blocked_signals)?;
            if let Some(gate) = gate {
                program.hold(gate, parent.unwrap_or(-1))?;
            }
            execute(&mut program, spec, candidates)
        })
        .map_err(out_of_memory)?;
    Ok(program)
}

/// Lays out what a child does that is made for somebody else (see [`Post`]).
pub(crate) fn posted<'a>(
    spec: &'a Spec,
    post: &Post<'a>,
    manner: Manner,
    candidates: Option<&'a Candidates>,
) -> Result<Program<'a>, SpawnError> {
    let mut program = Program::new(spec.argv, spec.envp);
    program.write_on_failure(post.failed);
    let (early, late) = match post.then {
        Some(then) if then.as_child => (None, Some(then)),
        then => (then, None),
    };
    let mut fds = [
        Some(post.failed.socket),
        post.client,
        post.until_exec,
        late.and_then(|then| then.cwd.fd()),
    ];
    assume(&mut program, post)
        .and_then(|()| {
            let changed = post.changed_signals;
            lay_out(&mut program, spec, manner, None, early, changed, &mut fds)
        })
        .and_then(|()| {
            let [socket, client, _, cwd] = fds.map(|fd| fd.unwrap_or(-1));
            let effective = post
                .identity
                .map_or_else(|| uids().effective, |own| own.uids[1]);
            credentials(&mut program, spec, effective)?;
            if let Some(then) = late {
                let kept = then.cwd.fd().map(|_| Cwd::Fd(cwd));
                enter(&mut program, then.may_fail, kept.or(Some(then.cwd)))?;
            }
            death(&mut program, spec, -1)?;
            if spec.shell {
                program.shell()?;
            }
            program.signal_mask(&spec.blocked_signals)?;
            program.send(socket, post.ready)?;
            program.hold(socket, client)?;
            if post.function.is_some() {
                return fds
                    .into_iter()
                    .flatten()
                    .try_for_each(|fd| program.close(fd));
            }
            execute(&mut program, spec, candidates)
        })
        .map_err(out_of_memory)?;
    Ok(program)
}

/// First of all the child takes over the rights of the process that it is made for: the
/// rest is done with no more rights than that.
fn assume<'a>(program: &mut Program<'a>, post: &Post<'a>) -> Result<(), i32> {
    program.drop_bounding(post.dropped)?;
    if let Some(identity) = post.identity {
        program.assume(identity.uids, identity.gids, &identity.groups)?;
    }
    if let Some(capabilities) = post.capabilities {
        program.capset(capabilities)?;
    }
    if post.no_new_privs {
        program.no_new_privs()?;
    }
    Ok(())
}

/// The signals that may not be at their default: all, as nobody has looked.
const ALL: u64 = u64::MAX;

/// Lays out what comes before the credentials. The child keeps `fds` until its exec; they
/// are replaced by their numbers in the child.
fn lay_out<'a>(
    program: &mut Program<'a>,
    spec: &'a Spec,
    manner: Manner,
    ties: Option<&Ties>,
    then: Option<Then<'a>>,
    changed_signals: u64,
    fds: &mut [Option<i32>],
) -> Result<(), i32> {
    // If clone3 did not place the child in its cgroup, the child enters it itself.
    let cgroup = spec.cgroup.filter(|_| manner.cgroup.is_none());
    let mut keep = Vec::new();
    keep.try_reserve(fds.len()).map_err(|_| libc::ENOMEM)?;
    keep.extend(fds.iter().flatten());
    let map = ties.map_or(Ok(None), |ties| ties.map(spec))?;
    let plan = plan(map.as_deref().or(spec.fds), &keep, cgroup.as_slice())?;

    program.dispositions(spec.ignored_signals, manner.share_memory, changed_signals)?;
    session(program, spec, ties.and_then(Ties::terminal))?;
    if !spec.cwd_as_child {
        enter(program, spec.cwd_may_fail, spec.cwd)?;
    }
    if let Some(then) = then {
        enter(program, then.may_fail, Some(then.cwd))?;
    }
    if let Some(mask) = spec.umask {
        program.umask(mask)?;
    }
    program.close_range(plan.close_from, LAST, manner.share_files)?;
    if let Some(directory) = cgroup {
        program.enter_cgroup(directory)?;
    }
    // A vfork child has an oom_score_adj of its own, unlike other processes that share
    // memory.
    if let Some(value) = spec.oom_score_adj {
        program.oom_score_adj(value)?;
    }
    descriptors(program, &plan)?;
    limits(program, spec)?;
    for (fd, &kept) in fds.iter_mut().flatten().zip(&plan.kept) {
        *fd = kept;
    }
    Ok(())
}

fn execute<'a>(
    program: &mut Program<'a>,
    spec: &'a Spec,
    candidates: Option<&'a Candidates>,
) -> Result<(), i32> {
    match candidates {
        Some(candidates) => candidates
            .iter()
            .try_for_each(|path| program.candidate(path)),
        None => program.candidate(spec.path),
    }
}

fn enter<'a>(program: &mut Program<'a>, may_fail: bool, cwd: Option<Cwd<'a>>) -> Result<(), i32> {
    match cwd {
        Some(Cwd::Path(path)) => program.chdir(path, may_fail),
        Some(Cwd::Fd(fd)) => program.fchdir(fd, may_fail),
        None => Ok(()),
    }
}

fn session(program: &mut Program, spec: &Spec, pty: Option<RawFd>) -> Result<(), i32> {
    if spec.session || spec.pty {
        program.setsid()?;
    }
    if let Some(pgrp) = spec.pgrp {
        program.setpgid(pgrp)?;
    }
    if let Some(terminal) = spec.terminal.or(pty) {
        program.controlling_terminal(terminal)?;
    }
    if let Some(terminal) = spec.foreground {
        program.foreground(terminal)?;
    }
    Ok(())
}

fn descriptors(program: &mut Program, plan: &Plan) -> Result<(), i32> {
    for op in &plan.ops {
        match *op {
            FdOp::Dup { from, to, cloexec } => program.dup(from, to, cloexec)?,
            FdOp::Inherit(fd) => program.inherit(fd)?,
            FdOp::Close { first, last } => program.close_range(first, last, false)?,
        }
    }
    Ok(())
}

/// Limits come after the map, as RLIMIT_NOFILE may forbid its targets.
fn limits<'a>(program: &mut Program<'a>, spec: &'a Spec) -> Result<(), i32> {
    if let Some(nice) = spec.nice {
        program.nice(nice)?;
    }
    for rlimit in spec.rlimits {
        program.rlimit(rlimit.resource, &rlimit.limit)?;
    }
    Ok(())
}

fn credentials<'a>(program: &mut Program<'a>, spec: &'a Spec, effective: u32) -> Result<(), i32> {
    let dropped: Option<&[u32]> = (spec.uid.is_some() && effective == 0).then_some(&[]);
    if let Some(groups) = spec.groups.or(dropped) {
        program.setgroups(groups)?;
    }
    if let Some(gid) = spec.gid {
        program.setresgid(gid)?;
    }
    if let Some(uid) = spec.uid {
        program.setresuid(uid)?;
    }
    if let Some(value) = spec.own_pid.and_then(|name| spec.envp.value(name)) {
        program.own_pid(value.as_ptr().expose_provenance())?;
    }
    if spec.no_new_privs {
        program.no_new_privs()?;
    }
    Ok(())
}

/// Sets the parent-death signal, after the credentials, whose change clears it.
fn death(program: &mut Program, spec: &Spec, parent: i32) -> Result<(), i32> {
    match spec.pdeathsig {
        Some(signal) => program.pdeathsig(signal, getpid(), parent),
        None => Ok(()),
    }
}
