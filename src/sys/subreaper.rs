//! PR_SET_CHILD_SUBREAPER of prctl(2).

use nix::sys::prctl;

use super::error::{Call, During, Error};

/// Makes the process, and all its threads, a subreaper; or ends that.
pub(crate) fn set(on: bool) -> Result<(), Error> {
    prctl::set_child_subreaper(on).during(Call::prctl)
}

/// Whether the process is a subreaper.
pub(crate) fn is_set() -> Result<bool, Error> {
    prctl::get_child_subreaper().during(Call::prctl)
}

/// Whether orphans come to this process: a subreaper, or pid 1.
pub(crate) fn adopts() -> Result<bool, Error> {
    Ok(nix::unistd::getpid().as_raw() == 1 || is_set()?)
}
