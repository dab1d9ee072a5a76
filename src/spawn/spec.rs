//! What a caller asks for, borrowed; [`super::OwnedSpec`] is a copy of it.

use std::ffi::CStr;
use std::os::fd::RawFd;

use super::map::FdMap;
use super::{SpawnError, Step};
use crate::sys::fd::is_open;
use crate::sys::process_status::Status;
use crate::sys::program::{Capabilities, Letter};
use crate::sys::strings::CStrArray;
use crate::sys::zygote::Hook;

/// The working directory of a child.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cwd<'a> {
    Path(&'a CStr),
    Fd(RawFd),
}

impl Cwd<'_> {
    pub(crate) fn fd(self) -> Option<RawFd> {
        match self {
            Cwd::Path(_) => None,
            Cwd::Fd(fd) => Some(fd),
        }
    }
}

/// One resource limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rlimit {
    pub(crate) resource: u32,
    pub(crate) limit: libc::rlimit64,
}

/// A child to be. Each descriptor stays the caller's.
#[derive(Debug, Clone)]
pub(crate) struct Spec<'a> {
    /// What to execute. A relative path is looked up from the new cwd.
    pub(crate) path: &'a CStr,
    /// Directories, separated by colons, to look for a `path` without a slash.
    pub(crate) search: Option<&'a CStr>,
    pub(crate) argv: CStrArray<'a>,
    pub(crate) envp: CStrArray<'a>,
    pub(crate) cwd: Option<Cwd<'a>>,
    /// Enter the cwd with the child's credentials, not the caller's.
    pub(crate) cwd_as_child: bool,
    /// A cwd that cannot be entered is no error: the child stays in the caller's.
    pub(crate) cwd_may_fail: bool,
    /// Hand a program in no executable format to /bin/sh.
    pub(crate) shell: bool,
    /// The child's descriptors; it has no others. Without a map: 0 to 2 as they are, or
    /// with a pty its terminal as all three. The source [`PTY`] is the pty's.
    pub(crate) fds: Option<&'a [FdMap]>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// Supplementary groups. Without them a privileged caller's are dropped
    /// where the uid is given.
    pub(crate) groups: Option<&'a [u32]>,
    pub(crate) umask: Option<u32>,
    /// The blocked and the ignored signals: bit n - 1 stands for signal n.
    pub(crate) blocked_signals: u64,
    pub(crate) ignored_signals: u64,
    pub(crate) rlimits: &'a [Rlimit],
    pub(crate) nice: Option<i32>,
    pub(crate) oom_score_adj: Option<i32>,
    /// A session of its own.
    pub(crate) session: bool,
    /// The process group to be in; 0 is one of its own.
    pub(crate) pgrp: Option<i32>,
    /// The controlling terminal, for a child with a session of its own.
    pub(crate) terminal: Option<RawFd>,
    /// A new pseudoterminal as the controlling terminal, and a session of its own.
    pub(crate) pty: bool,
    /// The terminal whose foreground group the child's group becomes.
    pub(crate) foreground: Option<RawFd>,
    /// The signal that the child gets when the calling thread ends.
    pub(crate) pdeathsig: Option<i32>,
    pub(crate) no_new_privs: bool,
    /// The variable of `envp`, which is ours, that the child sets to its own process
    /// id; its value has room for ten digits.
    pub(crate) own_pid: Option<&'a CStr>,
    /// The directory of the cgroup to start in.
    pub(crate) cgroup: Option<RawFd>,
    /// Hold the child before its exec until the gate is opened.
    pub(crate) gate: bool,
    /// Give its pidfd, where one can be opened.
    pub(crate) pidfd: bool,
    /// Never share memory with the child.
    pub(crate) fork: bool,
}

impl<'a> Spec<'a> {
    pub(crate) fn new(path: &'a CStr, argv: CStrArray<'a>, envp: CStrArray<'a>) -> Self {
        Spec {
            path,
            search: None,
            argv,
            envp,
            cwd: None,
            cwd_as_child: false,
            cwd_may_fail: false,
            shell: false,
            fds: None,
            uid: None,
            gid: None,
            groups: None,
            umask: None,
            blocked_signals: 0,
            ignored_signals: 0,
            rlimits: &[],
            nice: None,
            oom_score_adj: None,
            session: false,
            pgrp: None,
            terminal: None,
            pty: false,
            foreground: None,
            pdeathsig: None,
            no_new_privs: false,
            own_pid: None,
            cgroup: None,
            gate: false,
            pidfd: false,
            fork: false,
        }
    }

    /// Refuses what no child could do, before a child is made.
    pub(crate) fn check(&self) -> Result<(), SpawnError> {
        self.check_shape()?;
        self.check_open()
    }

    /// The same for a spec whose descriptors are known to be open.
    pub(super) fn check_shape(&self) -> Result<(), SpawnError> {
        if self.argv.is_empty()
            || !id_is_valid(self.uid)
            || !id_is_valid(self.gid)
            || self.umask.is_some_and(|mask| mask > 0o777)
            || self.nice.is_some_and(|nice| !(-20..=19).contains(&nice))
            || self
                .oom_score_adj
                .is_some_and(|value| !(-1000..=1000).contains(&value))
            || self.pgrp.is_some_and(|pgrp| pgrp < 0)
            || self.ignored_signals & UNIGNORABLE != 0
            || ((self.cwd_as_child || self.cwd_may_fail) && self.cwd.is_none())
            || (self.pty && (self.terminal.is_some() || self.pgrp.is_some()))
            || self
                .pdeathsig
                .is_some_and(|signal| !(1..=64).contains(&signal))
        {
            return Err(SpawnError::new(Step::Spec, libc::EINVAL));
        }
        self.check_map()
    }

    fn check_map(&self) -> Result<(), SpawnError> {
        let entries = self.fds.unwrap_or_default();
        if entries.iter().any(|entry| entry.target < 0) {
            return Err(SpawnError::new(Step::Descriptors, libc::EINVAL));
        }
        let mut targets = Vec::new();
        targets
            .try_reserve_exact(entries.len())
            .map_err(|_| SpawnError::new(Step::Memory, libc::ENOMEM))?;
        targets.extend(entries.iter().map(|entry| entry.target));
        targets.sort_unstable();
        if targets.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(SpawnError::new(Step::Descriptors, libc::EINVAL));
        }
        Ok(())
    }

    /// A closed number must not come to mean a descriptor that is opened for the
    /// spawn itself.
    fn check_open(&self) -> Result<(), SpawnError> {
        let cwd = self.cwd.and_then(Cwd::fd);
        let pty = self.pty.then_some(PTY);
        let sources = self
            .fds
            .unwrap_or_default()
            .iter()
            .map(|entry| entry.source)
            .filter(|&source| Some(source) != pty);
        let others = [
            (Step::Cwd, cwd),
            (Step::Terminal, self.terminal),
            (Step::Foreground, self.foreground),
            (Step::Cgroup, self.cgroup),
        ];
        sources
            .map(|fd| (Step::Descriptors, fd))
            .chain(
                others
                    .into_iter()
                    .filter_map(|(step, fd)| Some((step, fd?))),
            )
            .find(|&(_, fd)| !is_open(fd))
            .map_or(Ok(()), |(step, _)| Err(SpawnError::new(step, libc::EBADF)))
    }
}

/// How a child is made for somebody else, beside its spec: see [`super::post`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Post<'a> {
    /// What it sends when it is ready.
    pub(crate) ready: &'a [u8],
    /// What it sends when it has failed, and where to: that socket is also the one
    /// for `ready`, and its number is above each target of the map.
    pub(crate) failed: Letter<'a>,
    /// The client's pidfd, by which the child sees the client die.
    pub(crate) client: Option<RawFd>,
    /// A descriptor that is kept until the exec and closed by it: so the other end sees
    /// when the child has execed.
    pub(crate) until_exec: Option<RawFd>,
    /// The server's signals that are not at their default.
    pub(crate) changed_signals: u64,
    /// Entered after the spec's cwd.
    pub(crate) then: Option<Then<'a>>,
    /// The child is the client's, not the server's.
    pub(crate) siblings: bool,
    /// The child takes over these ids, if they are not the server's.
    pub(crate) identity: Option<&'a Status>,
    /// Capabilities that the server may gain by exec and the child may not.
    pub(crate) dropped: u64,
    /// The child's sets of capabilities, where they are lower.
    pub(crate) capabilities: Option<&'a Capabilities>,
    pub(crate) no_new_privs: bool,
    /// What it runs in place of a program.
    pub(crate) function: Option<Hook>,
}

/// A directory that the child enters from another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Then<'a> {
    pub(crate) cwd: Cwd<'a>,
    /// With the child's credentials.
    pub(crate) as_child: bool,
    pub(crate) may_fail: bool,
}

/// As a source in a map this means the child's new pseudoterminal.
pub(crate) const PTY: RawFd = -1;

const UNIGNORABLE: u64 = 1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1);

/// The id of all ones means "unchanged" to setresuid(2).
fn id_is_valid(id: Option<u32>) -> bool {
    id != Some(u32::MAX)
}
