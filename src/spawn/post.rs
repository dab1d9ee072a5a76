//! A child that a fork server makes for its client, and that waits until the client lets
//! it exec.
//!
//! The child reports by a socket of its own: that it is ready, or the step at which
//! it failed. When it is ready it waits there for one byte. So whatever becomes of
//! the server meanwhile, the client knows what became of the child, and no child
//! runs that its client has given up.

use std::os::fd::{OwnedFd, RawFd};

use super::compile;
use super::{Cwd, SpawnError, Spec, Step, map};
use crate::sys::clone::{self, Failure, Manner, Pidfd};
use crate::sys::close_range::is_missing;
use crate::sys::process_status::Status;
use crate::sys::program::{Capabilities, Letter};
use crate::sys::syscall::IS_BARE;
use crate::sys::zygote::Hook;

/// How a child is made for somebody else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Post<'a> {
    /// What it sends when it is ready.
    pub(crate) ready: &'a [u8],
    /// What it sends when it has failed, and where to: that socket is also the one
    /// for `ready`, and its number is above each target of the map.
    pub(crate) failed: Letter<'a>,
    /// The client's pidfd, by which it sees that die.
    pub(crate) client: Option<RawFd>,
    /// Close-on-exec, and kept until then: the other end sees when it has execed.
    pub(crate) until_exec: Option<RawFd>,
    /// The server's signals that are not at their default.
    pub(crate) changed_signals: u64,
    /// Entered after the spec's cwd.
    pub(crate) then: Option<Then<'a>>,
    /// It is the client's child, not the server's.
    pub(crate) siblings: bool,
    /// It takes over these ids, if they are not the server's.
    pub(crate) identity: Option<&'a Status>,
    /// Capabilities that the server may gain by exec and the child may not.
    pub(crate) dropped: u64,
    /// Its sets of capabilities, where they are lower.
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

/// The first number that no target of the map is at.
pub(crate) fn above_targets(map: &[map::FdMap]) -> RawFd {
    map.iter()
        .map(|entry| entry.target.saturating_add(1))
        .max()
        .unwrap_or(0)
}

/// A child that was made.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) pid: i32,
    pub(crate) pidfd: Option<OwnedFd>,
    /// It has execed or is no more: it shared our memory.
    pub(crate) gone: bool,
    /// It is known to have come to its exec.
    pub(crate) execs: bool,
}

/// Whether the child will share our memory until it execs: not with `spec.fork`,
/// with a pidfd and with other credentials.
pub(crate) fn shares_memory(spec: &Spec, post: &Post) -> bool {
    IS_BARE
        && !spec.fork
        && !spec.pidfd
        && post.identity.is_none()
        && post.function.is_none()
        && spec.uid.is_none()
        && spec.gid.is_none()
}

/// Makes the child.
pub(crate) fn post(spec: &Spec, post: &Post) -> Result<Posted, SpawnError> {
    // Its descriptors came with the order, so they are open.
    spec.check_shape()?;
    let candidates = compile::candidates(spec)?;
    let mut manner = Manner {
        share_memory: shares_memory(spec, post),
        share_files: false,
        pidfd: if spec.pidfd {
            Pidfd::Clone
        } else {
            Pidfd::None
        },
        cgroup: None,
    };
    loop {
        let program = compile::posted(spec, post, manner, candidates.as_ref())?;
        if let Some(function) = post.function {
            let (pid, pidfd) = clone::post_function(&program, function)
                .map_err(|errno| SpawnError::new(Step::Clone, errno))?;
            return Ok(Posted {
                pid,
                pidfd,
                gone: false,
                execs: false,
            });
        }
        match clone::post(&program, manner, post.siblings) {
            Ok((pid, pidfd, execs)) => {
                return Ok(Posted {
                    pid,
                    pidfd,
                    gone: manner.share_memory,
                    execs: manner.share_memory && execs,
                });
            }
            Err(Failure::Clone(errno)) if is_missing(errno) && manner.share_memory => {
                manner.share_memory = false;
            }
            Err(Failure::Clone(errno))
                if is_missing(errno) && spec.pidfd && manner.pidfd != Pidfd::None =>
            {
                manner.pidfd = Pidfd::None;
            }
            Err(Failure::Clone(errno)) => return Err(SpawnError::new(Step::Clone, errno)),
            Err(Failure::Memory(errno)) => return Err(SpawnError::new(Step::Memory, errno)),
            // It tells of itself, so this does not come.
            Err(Failure::Child { pid, .. }) => {
                return Ok(Posted {
                    pid,
                    pidfd: None,
                    gone: true,
                    execs: false,
                });
            }
        }
    }
}
