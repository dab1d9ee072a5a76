//! A spec that outlives the call it was given to.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::map::FdMap;
use super::spec::{Cwd, PTY, Rlimit, Spec};
use super::{CStrArray, SpawnError, Step};
use crate::sys::error::Error;
use crate::sys::fd;
use crate::sys::strings::{CStrBuf, CStringArray};

/// A deep copy of a [`Spec`]. Its descriptors are duplicates, so that the daemon
/// may close its own; where the spec has no map, a child gets 0 to 2 as they are
/// when it is started.
#[derive(Debug)]
pub(crate) struct OwnedSpec {
    /// The fields that hold no reference.
    plain: Spec<'static>,
    path: CStrBuf,
    search: Option<CStrBuf>,
    argv: CStringArray,
    envp: CStringArray,
    cwd: Option<CStrBuf>,
    fds: Option<Vec<FdMap>>,
    groups: Option<Vec<u32>>,
    rlimits: Vec<Rlimit>,
    /// The duplicates, whose numbers are in `plain` and `fds`.
    _held: Held,
}

impl OwnedSpec {
    /// Checks and copies a spec. Fails with a step's error as [`super::spawn`] would;
    /// ENOMEM and EMFILE leave nothing behind.
    pub(crate) fn new(spec: &Spec) -> Result<Self, SpawnError> {
        spec.check()?;
        let mut held = Held::with_room_for(spec)?;
        let mut fds = spec.fds.map(copied).transpose()?;
        for entry in fds.iter_mut().flatten() {
            if !(spec.pty && entry.source == PTY) {
                entry.source = held.duplicate(Step::Descriptors, entry.source)?;
            }
        }
        let (cwd, cwd_fd) = match spec.cwd {
            Some(Cwd::Path(path)) => (Some(CStrBuf::new(path).map_err(memory)?), None),
            Some(Cwd::Fd(fd)) => (None, Some(Cwd::Fd(held.duplicate(Step::Cwd, fd)?))),
            None => (None, None),
        };
        let mut duplicate =
            |step, fd: Option<RawFd>| fd.map(|fd| held.duplicate(step, fd)).transpose();
        let plain = Spec {
            path: c"",
            search: None,
            argv: CStrArray::empty(),
            envp: CStrArray::empty(),
            cwd: cwd_fd,
            fds: None,
            groups: None,
            rlimits: &[],
            terminal: duplicate(Step::Terminal, spec.terminal)?,
            foreground: duplicate(Step::Foreground, spec.foreground)?,
            cgroup: duplicate(Step::Cgroup, spec.cgroup)?,
            uid: spec.uid,
            gid: spec.gid,
            umask: spec.umask,
            blocked_signals: spec.blocked_signals,
            ignored_signals: spec.ignored_signals,
            cwd_as_child: spec.cwd_as_child,
            cwd_may_fail: spec.cwd_may_fail,
            shell: spec.shell,
            pty: spec.pty,
            nice: spec.nice,
            oom_score_adj: spec.oom_score_adj,
            session: spec.session,
            pgrp: spec.pgrp,
            pdeathsig: spec.pdeathsig,
            no_new_privs: spec.no_new_privs,
            own_pid: None,
            gate: spec.gate,
            pidfd: spec.pidfd,
            fork: spec.fork,
        };
        Ok(OwnedSpec {
            plain,
            path: CStrBuf::new(spec.path).map_err(memory)?,
            search: spec.search.map(CStrBuf::new).transpose().map_err(memory)?,
            argv: CStringArray::new(spec.argv.iter()).map_err(memory)?,
            envp: CStringArray::new(spec.envp.iter()).map_err(memory)?,
            cwd,
            fds,
            groups: spec.groups.map(copied).transpose()?,
            rlimits: copied(spec.rlimits)?,
            _held: held,
        })
    }

    /// The spec to start a child with; a field may be changed in it.
    pub(crate) fn spec(&self) -> Spec<'_> {
        let cwd = self.cwd.as_ref();
        Spec {
            path: self.path.as_c_str(),
            search: self.search.as_ref().map(CStrBuf::as_c_str),
            argv: self.argv.as_array(),
            envp: self.envp.as_array(),
            cwd: cwd
                .map(|path| Cwd::Path(path.as_c_str()))
                .or(self.plain.cwd),
            fds: self.fds.as_deref(),
            groups: self.groups.as_deref(),
            rlimits: &self.rlimits,
            ..self.plain
        }
    }
}

/// The duplicates, each with the number of the original.
#[derive(Debug)]
struct Held(Vec<(RawFd, OwnedFd)>);

impl Held {
    fn with_room_for(spec: &Spec) -> Result<Self, SpawnError> {
        let mut held = Vec::new();
        let most = spec.fds.map_or(0, <[FdMap]>::len) + 4;
        held.try_reserve_exact(most)
            .map_err(|_| memory(Errno::ENOMEM))?;
        Ok(Held(held))
    }

    /// The number of our duplicate, one for each descriptor that is named.
    fn duplicate(&mut self, step: Step, fd: RawFd) -> Result<RawFd, SpawnError> {
        if let Some((_, ours)) = self.0.iter().find(|&&(theirs, _)| theirs == fd) {
            return Ok(ours.as_raw_fd());
        }
        let ours = fd::duplicate_raw(fd).map_err(|error| SpawnError::during(step, error))?;
        let number = ours.as_raw_fd();
        self.0.push((fd, ours));
        Ok(number)
    }
}

/// A copy of a list; ENOMEM at the step of memory where there is no room.
pub(crate) fn copied<T: Copy>(list: &[T]) -> Result<Vec<T>, SpawnError> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(list.len())
        .map_err(|_| memory(Errno::ENOMEM))?;
    copy.extend_from_slice(list);
    Ok(copy)
}

fn memory(error: impl Into<Error>) -> SpawnError {
    SpawnError::during(Step::Memory, error.into())
}
