//! prlimit(2) of RLIMIT_LOCKS, which the kernel has not enforced since Linux 2.4.25: a
//! number that is inherited over fork and exec, and that can be read from a zombie.

use std::ptr::{null, null_mut};

use nix::errno::Errno;

use super::error::{Call, Error};
use super::procfs;

const RESOURCE: libc::__rlimit_resource_t = libc::RLIMIT_LOCKS;

/// The soft limit of a process; of another user's by /proc/PID/limits, where
/// prlimit(2) wants CAP_SYS_RESOURCE.
pub(crate) fn soft(pid: i32, text: &mut Vec<u8>) -> Result<Option<u64>, Error> {
    match get(pid) {
        Ok(limit) => Ok(Some(limit.rlim_cur)),
        Err(error) if error == Errno::EPERM => procfs::limit(pid, "Max file locks", text),
        Err(_) => Ok(None),
    }
}

/// Soft and hard limit of a process; EPERM for another user's.
fn get(pid: i32) -> Result<libc::rlimit64, Error> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes the one struct.
    Call::prlimit.result(unsafe { libc::prlimit64(pid, RESOURCE, null(), &raw mut limit) })?;
    Ok(limit)
}

/// Sets the soft limit of a process that runs already.
pub(crate) fn set(pid: i32, tag: u64) -> Result<(), Error> {
    let limit = libc::rlimit64 {
        rlim_cur: tag,
        rlim_max: get(pid)?.rlim_max,
    };
    // SAFETY: reads the one struct.
    let code = unsafe { libc::prlimit64(pid, RESOURCE, &raw const limit, null_mut()) };
    Call::prlimit.result(code).map(drop)
}

/// The limit that a child sets for itself. EPERM where the hard limit forbids
/// the tag.
pub(crate) fn for_child(tag: u64) -> Result<(u32, libc::rlimit64), Error> {
    let own = get(0)?;
    if own.rlim_max < tag {
        return Err(Call::prlimit.failed(Errno::EPERM));
    }
    let limit = libc::rlimit64 {
        rlim_cur: tag,
        rlim_max: own.rlim_max,
    };
    Ok((RESOURCE, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_limit() {
        let limit = get(0).unwrap();
        assert!(limit.rlim_cur <= limit.rlim_max);
        assert_eq!(get(-1).unwrap_err(), Errno::ESRCH);
    }
}
