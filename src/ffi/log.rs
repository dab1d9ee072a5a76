//! `sss_sigchld_set_log_fn`: where the library's messages go.

use std::ffi::{c_char, c_void};

use super::boundary::{errno_t, guard, symver};
use crate::reap::callback::Pvt;
use crate::reap::log;

/// Receives the library's messages; see sss_sigchld_set_log_fn().
///
/// @param level    a severity of syslog(3): LOG_ERR (3) to LOG_DEBUG (7).
/// @param message  one line without a newline, in the library's memory, valid
///                 until the callback returns.
/// @param pvt      as given to sss_sigchld_set_log_fn().
#[allow(non_camel_case_types)]
pub type sss_log_fn_t =
    Option<unsafe extern "C" fn(level: u32, message: *const c_char, pvt: *mut c_void)>;

/// Send the library's messages to a callback.
///
/// The library prints nothing; without a callback its messages are dropped.
/// One callback serves the whole process. It runs in whatever thread called
/// into the library, after that call's work is done, without a lock held, and
/// must not call back into the library. Where a function fails because a system
/// call did, a message of level LOG_DEBUG names that call.
///
/// @param log_fn  the callback, or NULL for none.
/// @param pvt     handed to the callback as it is; borrowed until replaced.
///
/// @return 0; ENOMEM.
///
/// Thread-safe; a message that another thread is just handing over may still
/// reach the former callback. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_sigchld_set_log_fn(log_fn: sss_log_fn_t, pvt: *mut c_void) -> errno_t {
    guard(|| {
        log::set_sink(log_fn.map(|call| log::Sink {
            call,
            pvt: Pvt(pvt),
        }))
    })
}
symver!("sss_sigchld_set_log_fn");
