//! PR_SET_CHILD_SUBREAPER of prctl(2).

use nix::errno::Errno;
use nix::sys::prctl;

/// Makes the process, and all its threads, a subreaper; or ends that.
pub(crate) fn set(on: bool) -> Result<(), Errno> {
    prctl::set_child_subreaper(on)
}

/// Whether the process is a subreaper.
pub(crate) fn is_set() -> Result<bool, Errno> {
    prctl::get_child_subreaper()
}

/// Whether orphans come to this process: a subreaper, or pid 1.
pub(crate) fn adopts() -> Result<bool, Errno> {
    Ok(nix::unistd::getpid().as_raw() == 1 || is_set()?)
}
