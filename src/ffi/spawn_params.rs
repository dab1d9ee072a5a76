//! `struct sss_spawn`: what a child is to be, as C writes it down.

use std::os::fd::{IntoRawFd, OwnedFd};

use super::params::{In, List, Out, Str, Strs};
use crate::spawn::{CStrArray, Cwd, DEFAULT_SEARCH, FdMap, PTY, Rlimit, SpawnError, Spec, Step};
use crate::sys::accounts::{self, Account};
use crate::sys::environment;
use crate::sys::error::Error;

/// sss_spawn.uid counts. Where the caller's effective uid is 0 and
/// SSS_SPAWN_GROUPS is not given, the supplementary groups are dropped too.
pub const SSS_SPAWN_UID: u32 = 0x1;
/// sss_spawn.gid counts.
pub const SSS_SPAWN_GID: u32 = 0x2;
/// sss_spawn.groups and groups_count count.
pub const SSS_SPAWN_GROUPS: u32 = 0x4;
/// sss_spawn.umask counts.
pub const SSS_SPAWN_UMASK: u32 = 0x8;
/// sss_spawn.rlimits and rlimits_count count.
pub const SSS_SPAWN_RLIMITS: u32 = 0x10;
/// sss_spawn.nice counts.
pub const SSS_SPAWN_NICE: u32 = 0x20;
/// sss_spawn.oom_score_adj counts.
pub const SSS_SPAWN_OOM_SCORE_ADJ: u32 = 0x40;
/// sss_spawn.pgrp counts.
pub const SSS_SPAWN_PGRP: u32 = 0x80;
/// sss_spawn.terminal_fd counts.
pub const SSS_SPAWN_TERMINAL: u32 = 0x100;
/// sss_spawn.foreground_fd counts.
pub const SSS_SPAWN_FOREGROUND: u32 = 0x200;
/// sss_spawn.pdeathsig counts.
pub const SSS_SPAWN_PDEATHSIG: u32 = 0x400;
/// sss_spawn.cgroup_fd counts.
pub const SSS_SPAWN_CGROUP: u32 = 0x800;
/// sss_spawn.cwd_fd counts; sss_spawn.cwd must be NULL then.
pub const SSS_SPAWN_CWD_FD: u32 = 0x1000;
/// sss_spawn.fds and fds_count count. Without it the child has the caller's
/// descriptors 0, 1 and 2, unless they are close-on-exec, and no others.
pub const SSS_SPAWN_FDS: u32 = 0x2000;
/// sss_spawn.sigmask counts.
pub const SSS_SPAWN_SIGMASK: u32 = 0x4000;
/// sss_spawn.sigignore counts.
pub const SSS_SPAWN_SIGIGNORE: u32 = 0x8000;

/// Look for a sss_spawn.path without a slash in the directories of the caller's
/// PATH (/bin and /usr/bin if it has none), as execvp(3) does.
pub const SSS_SPAWN_SEARCH_PATH: u32 = 0x1_0000;
/// Make a session of its own, and a process group, for the child: setsid(2).
/// It cannot go with SSS_SPAWN_PGRP.
pub const SSS_SPAWN_SESSION: u32 = 0x2_0000;
/// The child and its children gain no privilege by exec: PR_SET_NO_NEW_PRIVS.
pub const SSS_SPAWN_NO_NEW_PRIVS: u32 = 0x4_0000;
/// Hold the child right before its exec until sss_child_open_gate(). It ends, with
/// 127, if its watch ends or the caller dies first. Its memory is a copy of the
/// caller's until then, and it holds one descriptor in the caller.
pub const SSS_SPAWN_GATE: u32 = 0x8_0000;
/// Never share memory with the child until it execs. Slower the more memory the
/// caller has; for valgrind and sanitizers. The environment variable
/// SSS_SIGCHLD_SPAWN_FORK, set to anything, does this for each spawn, except in a
/// set-user-ID program.
pub const SSS_SPAWN_FORK: u32 = 0x10_0000;
/// Run a script that does not begin with "#!" by /bin/sh, as execvp(3) does. Without
/// this flag it is ENOEXEC.
pub const SSS_SPAWN_SHELL: u32 = 0x20_0000;
/// Enter sss_spawn.cwd or cwd_fd with the child's credentials, and not with the
/// caller's.
pub const SSS_SPAWN_CWD_AS_CHILD: u32 = 0x40_0000;
/// A working directory that cannot be entered is no error: the child stays in the
/// caller's.
pub const SSS_SPAWN_CWD_MAY_FAIL: u32 = 0x80_0000;
/// Give the child a new pseudoterminal as its controlling terminal, in a session of
/// its own, and its master to sss_spawn.pty_master. Its descriptors 0, 1 and 2 are
/// the terminal, unless SSS_SPAWN_FDS says otherwise. It cannot go with
/// SSS_SPAWN_PGRP and SSS_SPAWN_TERMINAL.
pub const SSS_SPAWN_PTY: u32 = 0x100_0000;
/// sss_spawn.user counts. It cannot go with SSS_SPAWN_UID.
pub const SSS_SPAWN_USER: u32 = 0x200_0000;
/// Only for sss_forksrv_launch() and sss_forksrv_launch_function(): do not wait; an
/// event tells what has come of it.
pub const SSS_SPAWN_ASYNC: u32 = 0x400_0000;

/// A sss_spawn_fd.source: the child's new pseudoterminal, with SSS_SPAWN_PTY.
pub const SSS_SPAWN_FD_PTY: i32 = -1;

/// A spawn failed while it looked at its sss_spawn: EINVAL. The steps are numbered
/// in the order in which they are taken, but for SSS_SPAWN_STEP_USER and
/// SSS_SPAWN_STEP_PTY, which come second and third.
pub const SSS_SPAWN_STEP_SPEC: u32 = 1;
/// A spawn failed for want of memory.
pub const SSS_SPAWN_STEP_MEMORY: u32 = 2;
/// A spawn failed to make the process: clone(2). EAGAIN for a limit on processes.
pub const SSS_SPAWN_STEP_CLONE: u32 = 3;
/// A spawn failed to enter the cgroup.
pub const SSS_SPAWN_STEP_CGROUP: u32 = 4;
/// A spawn failed to set signals to their default or to unblock them.
pub const SSS_SPAWN_STEP_SIGNALS: u32 = 5;
/// A spawn failed at setsid(2).
pub const SSS_SPAWN_STEP_SESSION: u32 = 6;
/// A spawn failed at setpgid(2): EPERM for a group of another session, or for one
/// that leads a session.
pub const SSS_SPAWN_STEP_PGRP: u32 = 7;
/// A spawn failed to take the controlling terminal: TIOCSCTTY.
pub const SSS_SPAWN_STEP_TERMINAL: u32 = 8;
/// A spawn failed to become the foreground group: tcsetpgrp(3).
pub const SSS_SPAWN_STEP_FOREGROUND: u32 = 9;
/// A spawn failed at chdir(2) or fchdir(2).
pub const SSS_SPAWN_STEP_CWD: u32 = 10;
/// A spawn failed at umask(2).
pub const SSS_SPAWN_STEP_UMASK: u32 = 11;
/// A spawn failed to close the other descriptors.
pub const SSS_SPAWN_STEP_CLOSE: u32 = 12;
/// A spawn failed to set oom_score_adj.
pub const SSS_SPAWN_STEP_OOM_SCORE_ADJ: u32 = 13;
/// A spawn failed at the descriptor map: EBADF for a source that is closed or a
/// target beyond RLIMIT_NOFILE, EINVAL for one target twice.
pub const SSS_SPAWN_STEP_FDS: u32 = 14;
/// A spawn failed at setpriority(2).
pub const SSS_SPAWN_STEP_NICE: u32 = 15;
/// A spawn failed at setrlimit(2).
pub const SSS_SPAWN_STEP_RLIMITS: u32 = 16;
/// A spawn failed at setgroups(2).
pub const SSS_SPAWN_STEP_GROUPS: u32 = 17;
/// A spawn failed at setresgid(2).
pub const SSS_SPAWN_STEP_GID: u32 = 18;
/// A spawn failed at setresuid(2).
pub const SSS_SPAWN_STEP_UID: u32 = 19;
/// A spawn failed to set no_new_privs.
pub const SSS_SPAWN_STEP_NO_NEW_PRIVS: u32 = 20;
/// A spawn failed to set the parent-death signal.
pub const SSS_SPAWN_STEP_PDEATHSIG: u32 = 21;
/// A spawn failed to make the start gate: EMFILE or ENFILE for its descriptors.
pub const SSS_SPAWN_STEP_GATE: u32 = 22;
/// A spawn failed at execve(2): its errno, or EINTR if a signal ended the child
/// before; EAGAIN if the new user has reached RLIMIT_NPROC.
pub const SSS_SPAWN_STEP_EXEC: u32 = 23;
/// A spawn failed to find sss_spawn.user: ENOENT if there is none with this name.
pub const SSS_SPAWN_STEP_USER: u32 = 24;
/// A spawn failed to make a pseudoterminal: ENOSPC if there are too many.
pub const SSS_SPAWN_STEP_PTY: u32 = 25;

const _: () = {
    assert!(SSS_SPAWN_STEP_SPEC == Step::Spec as u32);
    assert!(SSS_SPAWN_STEP_MEMORY == Step::Memory as u32);
    assert!(SSS_SPAWN_STEP_CLONE == Step::Clone as u32);
    assert!(SSS_SPAWN_STEP_CGROUP == Step::Cgroup as u32);
    assert!(SSS_SPAWN_STEP_SIGNALS == Step::Signals as u32);
    assert!(SSS_SPAWN_STEP_SESSION == Step::Session as u32);
    assert!(SSS_SPAWN_STEP_PGRP == Step::ProcessGroup as u32);
    assert!(SSS_SPAWN_STEP_TERMINAL == Step::Terminal as u32);
    assert!(SSS_SPAWN_STEP_FOREGROUND == Step::Foreground as u32);
    assert!(SSS_SPAWN_STEP_CWD == Step::Cwd as u32);
    assert!(SSS_SPAWN_STEP_UMASK == Step::Umask as u32);
    assert!(SSS_SPAWN_STEP_CLOSE == Step::Close as u32);
    assert!(SSS_SPAWN_STEP_OOM_SCORE_ADJ == Step::OomScoreAdj as u32);
    assert!(SSS_SPAWN_STEP_FDS == Step::Descriptors as u32);
    assert!(SSS_SPAWN_STEP_NICE == Step::Nice as u32);
    assert!(SSS_SPAWN_STEP_RLIMITS == Step::Rlimit as u32);
    assert!(SSS_SPAWN_STEP_GROUPS == Step::Groups as u32);
    assert!(SSS_SPAWN_STEP_GID == Step::Gid as u32);
    assert!(SSS_SPAWN_STEP_UID == Step::Uid as u32);
    assert!(SSS_SPAWN_STEP_NO_NEW_PRIVS == Step::NoNewPrivs as u32);
    assert!(SSS_SPAWN_STEP_PDEATHSIG == Step::Pdeathsig as u32);
    assert!(SSS_SPAWN_STEP_GATE == Step::Gate as u32);
    assert!(SSS_SPAWN_STEP_EXEC == Step::Exec as u32);
    assert!(SSS_SPAWN_STEP_USER == Step::User as u32);
    assert!(SSS_SPAWN_STEP_PTY == Step::Pty as u32);
    assert!(SSS_SPAWN_FD_PTY == PTY);
};

const KNOWN: u32 = SSS_SPAWN_UID
    | SSS_SPAWN_GID
    | SSS_SPAWN_GROUPS
    | SSS_SPAWN_UMASK
    | SSS_SPAWN_RLIMITS
    | SSS_SPAWN_NICE
    | SSS_SPAWN_OOM_SCORE_ADJ
    | SSS_SPAWN_PGRP
    | SSS_SPAWN_TERMINAL
    | SSS_SPAWN_FOREGROUND
    | SSS_SPAWN_PDEATHSIG
    | SSS_SPAWN_CGROUP
    | SSS_SPAWN_CWD_FD
    | SSS_SPAWN_FDS
    | SSS_SPAWN_SEARCH_PATH
    | SSS_SPAWN_SESSION
    | SSS_SPAWN_NO_NEW_PRIVS
    | SSS_SPAWN_GATE
    | SSS_SPAWN_FORK
    | SSS_SPAWN_SIGMASK
    | SSS_SPAWN_SIGIGNORE
    | SSS_SPAWN_SHELL
    | SSS_SPAWN_CWD_AS_CHILD
    | SSS_SPAWN_CWD_MAY_FAIL
    | SSS_SPAWN_PTY
    | SSS_SPAWN_USER;

/// One entry of a child's descriptor map.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_spawn_fd {
    /// A descriptor of the caller, borrowed until the spawn returns, or
    /// SSS_SPAWN_FD_PTY. It may be close-on-exec, and come often.
    pub source: i32,
    /// What it is in the child, open over the exec: 0 or more, below the caller's
    /// RLIMIT_NOFILE. No target comes twice; sources and targets may overlap in
    /// any way, also in rings.
    pub target: i32,
}

/// One resource limit of a child; see setrlimit(2).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_spawn_rlimit {
    /// RLIMIT_*.
    pub resource: u32,
    /// 0.
    pub reserved: u32,
    /// The soft limit in the resource's unit; UINT64_MAX is none.
    pub soft: u64,
    /// The hard limit, no less than soft; UINT64_MAX is none.
    pub hard: u64,
}

/// A child to be. Zero it, set size, path and argv, and what else is needed.
/// Everything in it, descriptors included, is borrowed until the spawn returns;
/// descriptors are the caller's own numbers.
///
/// The child begins with every signal at its default action and none blocked (but see
/// sigmask and sigignore), and with no descriptors but those that fds names. What is
/// not given stays as the caller has it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_spawn<'a> {
    /// sizeof(struct sss_spawn), which tells the struct's version.
    pub size: usize,
    /// SSS_SPAWN_*, ORed: which fields count, but for path, argv, envp, cwd and
    /// failed_step, which have no bit; and what else is wanted.
    pub mask: u32,
    /// The mask for modes of new files, 0 to 0777; see umask(2).
    pub umask: u32,
    /// The program. A relative path is looked up from the child's cwd, with the
    /// child's credentials.
    pub path: Str<'a>,
    /// The arguments, ended by NULL; argv[0] has to be there.
    pub argv: Strs<'a>,
    /// The environment, ended by NULL; or NULL for the caller's.
    pub envp: Strs<'a>,
    /// The working directory, entered with the caller's credentials unless
    /// SSS_SPAWN_CWD_AS_CHILD is given; or NULL for the caller's, or cwd_fd.
    pub cwd: Str<'a>,
    /// The descriptor map.
    pub fds: List<'a, sss_spawn_fd>,
    /// How many entries fds has; 0 leaves the child without descriptors.
    pub fds_count: usize,
    /// Resource limits, set in this order with the caller's credentials, and after
    /// fds, whose targets RLIMIT_NOFILE does not hinder.
    pub rlimits: List<'a, sss_spawn_rlimit>,
    /// How many entries rlimits has.
    pub rlimits_count: usize,
    /// Supplementary groups; see setgroups(2).
    pub groups: List<'a, u32>,
    /// How many entries groups has; 0 drops all.
    pub groups_count: usize,
    /// Real, effective and saved user id, not UINT32_MAX. A child whose ids change
    /// is made by fork(2), which takes the longer the more memory the caller has.
    pub uid: u32,
    /// Real, effective and saved group id. Setting uid does not set it.
    pub gid: u32,
    /// The nice value itself, -20 to 19; see setpriority(2).
    pub nice: i32,
    /// -1000 to 1000; see proc_pid_oom_score_adj(5).
    pub oom_score_adj: i32,
    /// The process group to join, of the caller's session; 0 makes one of the
    /// child's own.
    pub pgrp: i32,
    /// 1 to 64: the signal that the child gets when the calling thread (not the
    /// process) ends; see PR_SET_PDEATHSIG in prctl(2). A caller that is dead
    /// before it is set makes the child end.
    pub pdeathsig: i32,
    /// The terminal to make the child's controlling terminal, with
    /// SSS_SPAWN_SESSION; see TIOCSCTTY in ioctl_tty(2). In the child it is open
    /// only if fds maps it.
    pub terminal_fd: i32,
    /// The child's controlling terminal, whose foreground process group its group
    /// becomes; see tcsetpgrp(3).
    pub foreground_fd: i32,
    /// The directory of the cgroup (v2) that the child is made in, or enters before
    /// its program where the kernel has no CLONE_INTO_CGROUP (Linux 5.7).
    pub cgroup_fd: i32,
    /// The working directory by a descriptor, in place of cwd.
    pub cwd_fd: i32,
    /// Where to write the SSS_SPAWN_STEP_* at which a spawn failed; or NULL. It is
    /// left alone on success, and by errors that are no step's: of the other
    /// arguments, of size, and of the context.
    pub failed_step: Out<'a, u32>,
    /// The user to run as, by name, in place of uid: sets the user and group id and
    /// the supplementary groups as initgroups(3) does. SSS_SPAWN_GID and
    /// SSS_SPAWN_GROUPS take the place of their parts. The name is looked up by
    /// getpwnam_r(3) and getgrouplist(3) in the caller, before there is a child.
    pub user: Str<'a>,
    /// The signals that are blocked in the child: bit n - 1 stands for signal n.
    /// Without SSS_SPAWN_SIGMASK no signal is blocked.
    pub sigmask: u64,
    /// The signals that the child ignores, not SIGKILL and SIGSTOP: bit n - 1 stands
    /// for signal n. Without SSS_SPAWN_SIGIGNORE no signal is ignored.
    pub sigignore: u64,
    /// Where to write the master of the child's pseudoterminal, which the caller
    /// closes, and which is close-on-exec; with SSS_SPAWN_PTY. It is left alone if the
    /// spawn fails.
    pub pty_master: Out<'a, i32>,
}

impl In<'_, sss_spawn<'_>> {
    /// Hands the spec that C wrote down to `spawn`, which has no place for the master of a
    /// pseudoterminal (ENOTSUP), and tells C the step that failed. What `spawn` keeps it
    /// copies: see [`crate::spawn::OwnedSpec`].
    pub(super) fn with_spec<T>(
        self,
        spawn: impl FnOnce(&Spec) -> Result<T, SpawnError>,
    ) -> Result<T, Error> {
        self.read()?.with_any_spec(|spec| {
            if spec.pty {
                return Err(SpawnError::new(Step::Pty, libc::ENOTSUP));
            }
            spawn(spec)
        })
    }
}

impl<'a> sss_spawn<'a> {
    /// As with_spec(), for a `spawn` that gives that master too, which is C's if `settle`
    /// goes well.
    pub(super) fn with_pty<T>(
        &self,
        spawn: impl FnOnce(&Spec) -> Result<(T, Option<OwnedFd>), SpawnError>,
        settle: impl FnOnce(Result<T, Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut pty = None;
        let spawned = self.with_any_spec(|spec| {
            let (spawned, master) = spawn(spec)?;
            pty = master;
            Ok(spawned)
        });
        settle(spawned)?;
        if let Some(master) = pty {
            self.pty_master.write(master.into_raw_fd());
        }
        Ok(())
    }

    fn with_any_spec<T>(
        &self,
        spawn: impl FnOnce(&Spec) -> Result<T, SpawnError>,
    ) -> Result<T, Error> {
        let outcome = self.user().and_then(|user| {
            let rlimits = self.rlimits()?;
            spawn(&self.spec(&rlimits, user.as_ref())?)
        });
        outcome.map_err(|error| {
            if let Some(step) = error.step {
                self.failed_step.write(step as u32);
            }
            error.source()
        })
    }

    /// Who is named, looked up.
    fn user(&self) -> Result<Option<Account>, SpawnError> {
        if self.mask & SSS_SPAWN_USER == 0 {
            return Ok(None);
        }
        let named = self.user.get().ok_or(invalid())?;
        if self.mask & (SSS_SPAWN_UID | !KNOWN) != 0 {
            return Err(invalid());
        }
        accounts::find(named)
            .map(Some)
            .map_err(|error| SpawnError::during(Step::User, error))
    }

    fn spec(
        &self,
        rlimits: &'a [Rlimit],
        user: Option<&'a Account>,
    ) -> Result<Spec<'a>, SpawnError> {
        let has = |bit| self.mask & bit != 0;
        let counted = |bit, value: i32| has(bit).then_some(value);
        if self.mask & !KNOWN != 0
            || (has(SSS_SPAWN_CWD_FD) && self.cwd.get().is_some())
            || (has(SSS_SPAWN_PTY) && self.pty_master.is_null())
        {
            return Err(invalid());
        }
        let (Some(path), Some(argv)) = (self.path.get(), self.argv.get()) else {
            return Err(invalid());
        };
        let envp = match self.envp.get() {
            Some(envp) => envp,
            None => CStrArray::environ(),
        };
        let mut spec = Spec::new(path, argv, envp);
        if has(SSS_SPAWN_SEARCH_PATH) {
            spec.search = Some(environment::variable(c"PATH").unwrap_or(DEFAULT_SEARCH));
        }
        if has(SSS_SPAWN_CWD_FD) {
            spec.cwd = Some(Cwd::Fd(self.cwd_fd));
        } else {
            spec.cwd = self.cwd.get().map(Cwd::Path);
        }
        if has(SSS_SPAWN_FDS) {
            spec.fds = Some(maps(list(self.fds, self.fds_count)?));
        }
        if let Some(user) = user {
            spec.uid = Some(user.uid);
            spec.gid = Some(user.gid);
            spec.groups = Some(&user.groups);
        }
        if has(SSS_SPAWN_UID) {
            spec.uid = Some(self.uid);
        }
        if has(SSS_SPAWN_GID) {
            spec.gid = Some(self.gid);
        }
        if has(SSS_SPAWN_GROUPS) {
            spec.groups = Some(list(self.groups, self.groups_count)?);
        }
        if has(SSS_SPAWN_SIGMASK) {
            spec.blocked_signals = self.sigmask;
        }
        if has(SSS_SPAWN_SIGIGNORE) {
            spec.ignored_signals = self.sigignore;
        }
        spec.rlimits = rlimits;
        spec.shell = has(SSS_SPAWN_SHELL);
        spec.cwd_as_child = has(SSS_SPAWN_CWD_AS_CHILD);
        spec.cwd_may_fail = has(SSS_SPAWN_CWD_MAY_FAIL);
        spec.pty = has(SSS_SPAWN_PTY);
        spec.umask = has(SSS_SPAWN_UMASK).then_some(self.umask);
        spec.nice = counted(SSS_SPAWN_NICE, self.nice);
        spec.oom_score_adj = counted(SSS_SPAWN_OOM_SCORE_ADJ, self.oom_score_adj);
        spec.pgrp = counted(SSS_SPAWN_PGRP, self.pgrp);
        spec.pdeathsig = counted(SSS_SPAWN_PDEATHSIG, self.pdeathsig);
        spec.terminal = counted(SSS_SPAWN_TERMINAL, self.terminal_fd);
        spec.foreground = counted(SSS_SPAWN_FOREGROUND, self.foreground_fd);
        spec.cgroup = counted(SSS_SPAWN_CGROUP, self.cgroup_fd);
        spec.session = has(SSS_SPAWN_SESSION);
        spec.no_new_privs = has(SSS_SPAWN_NO_NEW_PRIVS);
        spec.gate = has(SSS_SPAWN_GATE);
        spec.fork = has(SSS_SPAWN_FORK) || fork_is_forced();
        Ok(spec)
    }

    fn rlimits(&self) -> Result<Vec<Rlimit>, SpawnError> {
        let mut rlimits = Vec::new();
        if self.mask & SSS_SPAWN_RLIMITS == 0 {
            return Ok(rlimits);
        }
        let given = list(self.rlimits, self.rlimits_count)?;
        if given.iter().any(|rlimit| rlimit.reserved != 0) {
            return Err(invalid());
        }
        rlimits
            .try_reserve_exact(given.len())
            .map_err(|_| SpawnError::new(Step::Memory, libc::ENOMEM))?;
        rlimits.extend(given.iter().map(|rlimit| Rlimit {
            resource: rlimit.resource,
            limit: libc::rlimit64 {
                rlim_cur: rlimit.soft,
                rlim_max: rlimit.hard,
            },
        }));
        Ok(rlimits)
    }
}

fn invalid() -> SpawnError {
    SpawnError::new(Step::Spec, libc::EINVAL)
}

const _: () = {
    assert!(size_of::<sss_spawn_fd>() == size_of::<FdMap>());
    assert!(align_of::<sss_spawn_fd>() == align_of::<FdMap>());
};

fn maps(fds: &[sss_spawn_fd]) -> &[FdMap] {
    // SAFETY: two structs of two ints, both laid out as C has it.
    unsafe { std::slice::from_raw_parts(fds.as_ptr().cast(), fds.len()) }
}

fn list<T>(list: List<'_, T>, count: usize) -> Result<&[T], SpawnError> {
    list.of(count, usize::MAX).map_err(|_| invalid())
}

/// Whether SSS_SIGCHLD_SPAWN_FORK is set, as for a run under valgrind.
pub(super) fn fork_is_forced() -> bool {
    environment::trusted_variable(c"SSS_SIGCHLD_SPAWN_FORK").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::strings::CStringArray;
    use nix::errno::Errno;

    fn plain(argv: &CStringArray) -> sss_spawn<'_> {
        // SAFETY: integers and pointers, for all of which zero is valid.
        let mut spawn: sss_spawn = unsafe { std::mem::zeroed() };
        spawn.size = size_of::<sss_spawn>();
        spawn.path = Str::of(Some(c"/bin/true"));
        spawn.argv = Strs::of(Some(argv.as_array()));
        spawn
    }

    fn argv() -> CStringArray {
        CStringArray::new([c"true"].into_iter()).unwrap()
    }

    fn with(
        given: &sss_spawn,
        look: impl FnOnce(&Spec) -> Result<(), SpawnError>,
    ) -> Result<(), Error> {
        // SAFETY: made by plain(), but for its size.
        unsafe { In::from_raw(given) }.with_spec(look)
    }

    #[test]
    fn fields_count_with_their_bit_only() {
        let argv = argv();
        let given = plain(&argv);
        let parsed = with(&given, |spec| {
            assert!(spec.uid.is_none() && spec.nice.is_none() && spec.cwd.is_none());
            assert!(spec.fds.is_none() && spec.groups.is_none() && spec.search.is_none());
            Ok(())
        });
        assert_eq!(parsed, Ok(()));
        let mut with_bits = given;
        with_bits.mask = SSS_SPAWN_UID | SSS_SPAWN_FDS | SSS_SPAWN_SEARCH_PATH;
        let parsed = with(&with_bits, |spec| {
            assert_eq!(spec.uid, Some(0));
            assert_eq!(spec.fds.map(<[FdMap]>::len), Some(0));
            assert!(spec.search.is_some());
            Ok(())
        });
        assert_eq!(parsed, Ok(()));
    }

    #[test]
    fn what_is_refused() {
        let argv = argv();
        let mut step = 0;
        let bad = |change: &dyn Fn(&mut sss_spawn)| {
            let mut given = plain(&argv);
            change(&mut given);
            with(&given, |spec| spec.check())
        };
        assert_eq!(
            bad(&|given| given.path = Str::of(None)),
            Err(Errno::EINVAL.into())
        );
        assert_eq!(
            bad(&|given| given.argv = Strs::of(None)),
            Err(Errno::EINVAL.into())
        );
        assert_eq!(
            bad(&|given| given.mask = 1 << 31),
            Err(Errno::EINVAL.into())
        );
        assert_eq!(bad(&|given| given.size = 8), Err(Errno::EINVAL.into()));
        assert_eq!(bad(&|given| given.size = 5000), Err(Errno::E2BIG.into()));
        assert_eq!(
            bad(&|given| {
                given.mask = SSS_SPAWN_FDS;
                given.fds_count = 1;
            }),
            Err(Errno::EINVAL.into())
        );
        assert_eq!(
            bad(&|given| {
                given.mask = SSS_SPAWN_CWD_FD;
                given.cwd = Str::of(Some(c"/"));
            }),
            Err(Errno::EINVAL.into())
        );
        let none = CStringArray::new([].into_iter()).unwrap();
        let mut given = plain(&none);
        // SAFETY: this frame's.
        given.failed_step = unsafe { Out::from_raw(&raw mut step) };
        assert_eq!(with(&given, |spec| spec.check()), Err(Errno::EINVAL.into()));
        assert_eq!(step, SSS_SPAWN_STEP_SPEC);
        // SAFETY: NULL is allowed.
        let null: In<sss_spawn> = unsafe { In::from_raw(std::ptr::null()) };
        let parsed = null.with_spec(|_| Ok(()));
        assert_eq!(parsed, Err(Errno::EINVAL.into()));
    }
}
