//! `sss_host_set_default`: the host of `sss_sigchld_ctx_init`.

use super::boundary::{errno_t, guard, symver};
use super::host_params::{Host, sss_host};
use super::params::In;
use crate::sys::fork::Setting;

static DEFAULT: Setting<Option<Host>> = Setting::new(None);

/// The host of sss_sigchld_ctx_init().
pub(crate) fn default() -> Option<Host> {
    DEFAULT.get()
}

/// Set the host that sss_sigchld_ctx_init() uses, once, at the daemon's start.
///
/// @param host  the table, copied; NULL takes the default away. Contexts that
///              exist keep the host they were made with.
///
/// @return 0; EINVAL where a function that must be set is NULL, only some of
///         those that come together are set, or size is too small; E2BIG where
///         size is larger than the library knows and the rest is not zero;
///         ENOMEM.
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_host_set_default(host: In<sss_host>) -> errno_t {
    guard(|| DEFAULT.set(host.get()?))
}
symver!("sss_host_set_default");
