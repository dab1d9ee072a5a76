//! Variables of the daemon's environment. As for every reader of it, nobody may change it
//! meanwhile.

use std::ffi::{CStr, c_char};

/// getenv(3).
pub(crate) fn variable<'a>(name: &CStr) -> Option<&'a CStr> {
    // SAFETY: NULL or a C string in the environment.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value))
    }
}

/// secure_getenv(3): none in a set-user-ID program.
pub(crate) fn trusted_variable<'a>(name: &CStr) -> Option<&'a CStr> {
    unsafe extern "C" {
        fn secure_getenv(name: *const c_char) -> *const c_char;
    }
    // SAFETY: as above.
    unsafe {
        let value = secure_getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value))
    }
}
