//! Makes a process of a spawn spec, with its pidfd or its exec error.
//!
//! As a rule the child shares our memory until it execs (vfork), so that its start costs
//! the same whatever the daemon's size. Three things need a child with memory of its own
//! (fork): a new uid or gid, because the loss of PR_GET_DUMPABLE that comes with it would
//! be the daemon's too, and because the new user may stop the child; a start gate,
//! because a vfork child blocks the thread that should open the gate; and a spec that
//! asks for it.

mod compile;
mod map;
mod owned;
pub(crate) mod path;
pub(crate) mod post;
mod spec;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;

use nix::errno::Errno;

pub(crate) use self::map::FdMap;
pub(crate) use self::owned::{OwnedSpec, copied};
pub(crate) use self::path::DEFAULT as DEFAULT_SEARCH;
pub(crate) use self::spec::{Cwd, PTY, Rlimit, Spec};
pub(crate) use crate::sys::program::Step;
pub(crate) use crate::sys::strings::CStrArray;
pub(crate) use crate::sys::strings::CStringArray;

use crate::sys::clone::{self, Child, Failure, Manner, Meeting, Pidfd};
use crate::sys::close_range::{self, is_missing};
use crate::sys::credentials::{gids, uids};
use crate::sys::error::{Call, Error};
use crate::sys::gate;
use crate::sys::kept::Kept;
use crate::sys::mmap::Shared;
use crate::sys::syscall::IS_BARE;
use crate::sys::{fd, pidfd, wait};

/// Why there is no child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpawnError {
    /// The step that failed. None for an error of no step but of the context.
    pub(crate) step: Option<Step>,
    pub(crate) errno: i32,
    /// The call that failed, where it is known: most steps are calls of the child's.
    pub(crate) call: Option<Call>,
    /// The dead child, if others could have waited for it; else 0.
    pub(crate) pid: i32,
}

impl SpawnError {
    pub(crate) fn new(step: Step, errno: i32) -> Self {
        SpawnError {
            step: Some(step),
            errno,
            call: None,
            pid: 0,
        }
    }

    /// An error of what a step needs.
    pub(crate) fn during(step: Step, error: Error) -> Self {
        SpawnError {
            step: Some(step),
            ..error.into()
        }
    }

    /// The error without its step.
    pub(crate) fn source(self) -> Error {
        Error {
            call: self.call,
            errno: Errno::from_raw(self.errno),
        }
    }
}

impl From<Error> for SpawnError {
    fn from(error: Error) -> Self {
        SpawnError {
            step: None,
            errno: error.errno as i32,
            call: error.call,
            pid: 0,
        }
    }
}

impl From<Errno> for SpawnError {
    fn from(errno: Errno) -> Self {
        Error::from(errno).into()
    }
}

/// Two errors are equal whichever child they are of.
impl PartialEq for SpawnError {
    fn eq(&self, other: &Self) -> bool {
        (self.step, self.errno) == (other.step, other.errno)
    }
}

/// A child that runs its program, or is held at its gate.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: i32,
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) gate: Option<Gate>,
    /// The master of its pseudoterminal.
    pub(crate) pty: Option<OwnedFd>,
}

/// What holds a child back before its exec. Dropping it unopened ends the child.
#[derive(Debug)]
pub(crate) struct Gate {
    pid: i32,
    end: Kept,
    meeting: Shared<Meeting>,
}

impl Gate {
    /// Lets the child exec, and waits until it has. A child that fails here
    /// still has to be reaped, as any other; ESRCH if it is dead already.
    pub(crate) fn open(self) -> Result<(), SpawnError> {
        if !self.meeting.is_alive(self.pid) || gate::open(&self.end).is_err() {
            return Err(SpawnError::new(Step::Gate, libc::ESRCH));
        }
        self.meeting
            .execed(self.pid)
            .map_err(|errno| SpawnError::new(Step::Exec, errno))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        gate::close(&self.end);
    }
}

/// Makes the child. On an error no process is left, and none was to be seen:
/// no SIGCHLD, nothing for anybody's waitpid(-1) (but for a held child's).
pub(crate) fn spawn(spec: &Spec) -> Result<Spawned, SpawnError> {
    spec.check()?;
    let ties = compile::Ties::new(spec)?;
    let mut manner = first_manner(spec);
    let mut relieved = false;
    loop {
        let failure = match attempt(spec, manner, &ties) {
            Ok(child) => return Ok(spawned(child, ties)),
            Err(failure) => failure,
        };
        // A failure with a pid left a dead held child, which others may have reaped: the
        // caller has to know that pid.
        if failure.error.errno == libc::EMFILE && failure.error.pid == 0 && !relieved {
            relieved = true;
            if fd::relieved() {
                continue;
            }
        }
        manner = next_manner(manner, failure).ok_or(failure.error)?;
    }
}

/// The same for a child that is the caller's, with a pidfd if it is wanted: without
/// one no child is left.
pub(crate) fn spawn_unwatched(spec: &Spec, wanted: bool) -> Result<Spawned, SpawnError> {
    if spec.gate {
        return Err(SpawnError::new(Step::Gate, libc::ENOTSUP));
    }
    let mut child = spawn(&Spec {
        pidfd: wanted,
        ..*spec
    })?;
    if wanted && child.pidfd.is_none() {
        match pidfd::open(child.pid) {
            Ok(fd) => child.pidfd = Some(fd),
            Err(mut error) => {
                wait::put_down(child.pid);
                if error.errno == Errno::ENOSYS {
                    error.errno = Errno::ENOTSUP;
                }
                return Err(SpawnError::during(Step::Clone, error));
            }
        }
    }
    Ok(child)
}

/// An error, and whether its cause was the system call or the child.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    error: SpawnError,
    by_clone: bool,
}

impl From<SpawnError> for Attempt {
    fn from(error: SpawnError) -> Self {
        Attempt {
            error,
            by_clone: false,
        }
    }
}

fn attempt(spec: &Spec, manner: Manner, ties: &compile::Ties) -> Result<Child, Attempt> {
    let candidates = compile::candidates(spec)?;
    let program = compile::program(spec, manner, ties, candidates.as_ref())?;
    clone::start(&program, manner).map_err(|failure| {
        let by_clone = matches!(failure, Failure::Clone(_));
        let error = match failure {
            Failure::Memory(error) => SpawnError::during(Step::Memory, error),
            Failure::Clone(error) => SpawnError::during(clone_step(manner, error.errno), error),
            Failure::Child { pid, failed } => {
                let (step, errno) = match failed {
                    Some((index, errno)) => (program.step(index), errno),
                    None => (Step::Exec, libc::EINTR),
                };
                SpawnError {
                    pid,
                    ..SpawnError::new(step, errno)
                }
            }
        };
        Attempt { error, by_clone }
    })
}

/// The step of an error of clone3(2): some of its errors are about the cgroup.
fn clone_step(manner: Manner, errno: Errno) -> Step {
    match errno {
        Errno::EACCES | Errno::EBADF | Errno::EBUSY | Errno::ENODEV | Errno::EOPNOTSUPP
            if manner.cgroup.is_some() =>
        {
            Step::Cgroup
        }
        _ => Step::Clone,
    }
}

fn spawned(child: Child, ties: compile::Ties) -> Spawned {
    let (gate, pty) = ties.into_ours();
    let gate = child.meeting.zip(gate);
    let gate = gate.map(|(meeting, end)| Gate {
        pid: child.pid,
        end: end.into(),
        meeting,
    });
    Spawned {
        pid: child.pid,
        pidfd: child.pidfd,
        gate,
        pty,
    }
}

fn first_manner(spec: &Spec) -> Manner {
    let ids_change = spec.uid.is_some_and(|uid| !uids().are(uid))
        || spec.gid.is_some_and(|gid| !gids().are(gid));
    let share_memory = IS_BARE && !(spec.fork || spec.gate || ids_change);
    Manner {
        share_memory,
        share_files: share_memory && close_range::is_there(),
        pidfd: if spec.pidfd {
            Pidfd::Clone
        } else {
            Pidfd::None
        },
        cgroup: spec.cgroup,
    }
}

/// The next best manner where this one is not possible: an old kernel, a filter, or no
/// descriptor left for the pidfd. None if it would fail as well.
fn next_manner(manner: Manner, Attempt { error, by_clone }: Attempt) -> Option<Manner> {
    let missing = is_missing(error.errno);
    if !by_clone {
        let unparted = manner.share_files && error.step == Some(Step::Close) && missing;
        return unparted.then_some(Manner {
            share_files: false,
            ..manner
        });
    }
    if manner.pidfd == Pidfd::Clone && matches!(error.errno, libc::EMFILE | libc::ENFILE) {
        return Some(Manner {
            pidfd: Pidfd::None,
            ..manner
        });
    }
    // A kernel before 5.7 does not know the cgroup field, and answers E2BIG.
    if manner.cgroup.is_some() && (missing || error.errno == libc::E2BIG) {
        return Some(Manner {
            cgroup: None,
            ..manner
        });
    }
    if !missing {
        return None;
    }
    if manner.share_files {
        return Some(Manner {
            share_files: false,
            ..manner
        });
    }
    if manner.share_memory {
        return Some(Manner {
            share_memory: false,
            ..manner
        });
    }
    (manner.pidfd == Pidfd::Clone).then_some(Manner {
        pidfd: Pidfd::Open,
        ..manner
    })
}
