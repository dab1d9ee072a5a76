//! `sss_version`.

use std::ffi::c_char;

/// The library's version, such as "0.1.0".
///
/// @return a string in static memory, never NULL.
///
/// Thread-safe, and safe in a signal handler.
#[unsafe(no_mangle)]
pub extern "C" fn sss_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
crate::ffi::boundary::symver!("sss_version");
