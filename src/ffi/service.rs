//! `sss_service_*` and `sss_subreaper_*`: a process and all that comes of it.

use std::ffi::c_int;

use nix::errno::Errno;

use super::boundary::{errno_t, guard, symver};
use crate::sys::subreaper;

/// Become the parent of orphans: PR_SET_CHILD_SUBREAPER of prctl(2).
///
/// A process below this one whose parent ends becomes a child of this process
/// from then on, unless a nearer subreaper takes it. It holds for the whole
/// process and over exec, and children do not inherit it. Only who becomes an
/// orphan later is adopted, so call it before the first fork. A process that is
/// pid 1 of its pid namespace adopts without it.
///
/// @param enable  1 to begin, 0 to end; who was adopted stays a child.
///
/// @return 0; EINVAL for another value.
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_subreaper_enable(enable: c_int) -> errno_t {
    guard(|| match enable {
        0 | 1 => subreaper::set(enable == 1),
        _ => Err(Errno::EINVAL),
    })
}
symver!("sss_subreaper_enable");

/// Whether this process is a subreaper; see sss_subreaper_enable().
///
/// @param enabled  written on success: 1 or 0. It is 0 for a pid 1 that was not
///                 made one.
///
/// @return 0; EINVAL for NULL.
///
/// Thread-safe. Not for signal handlers.
///
/// # Safety
/// `enabled` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sss_subreaper_is_enabled(enabled: *mut c_int) -> errno_t {
    guard(|| {
        if enabled.is_null() {
            return Err(Errno::EINVAL);
        }
        let is_set = subreaper::is_set()?;
        // SAFETY: not NULL; the caller vouches for it.
        unsafe { enabled.write(c_int::from(is_set)) };
        Ok(())
    })
}
symver!("sss_subreaper_is_enabled");
