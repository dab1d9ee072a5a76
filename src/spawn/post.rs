//! A child that a fork server makes for its client, and that waits until the client lets
//! it exec.
//!
//! The child reports by a socket of its own: that it is ready, or the step at which
//! it failed. When it is ready it waits there for one byte. So whatever becomes of
//! the server meanwhile, the client knows what became of the child, and no child
//! runs that its client has given up.

use std::os::fd::{OwnedFd, RawFd};

use super::compile;
pub(crate) use super::spec::{Post, Then};
use super::{SpawnError, Spec, Step, map};
use crate::sys::clone::{self, Failure, Manner, Pidfd};
use crate::sys::close_range::is_missing;
use crate::sys::syscall::IS_BARE;

/// The first number above all targets of the map.
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
    /// It has execed or is no more; known because it shared our memory.
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
    // The spec's descriptors came with the order, so they are open.
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
                .map_err(|error| SpawnError::during(Step::Clone, error))?;
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
            Err(Failure::Clone(error)) if is_missing(error.errno as i32) && manner.share_memory => {
                manner.share_memory = false;
            }
            Err(Failure::Clone(error))
                if is_missing(error.errno as i32) && spec.pidfd && manner.pidfd != Pidfd::None =>
            {
                manner.pidfd = Pidfd::None;
            }
            Err(Failure::Clone(error)) => return Err(SpawnError::during(Step::Clone, error)),
            Err(Failure::Memory(error)) => return Err(SpawnError::during(Step::Memory, error)),
            // A posted child reports its failure itself, so this does not happen.
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
