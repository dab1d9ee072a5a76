//! Where the programs are that the library executes itself.

use std::ffi::{CStr, c_char};

use nix::errno::Errno;

use crate::sys::strings::CStrBuf;

/// Where they are installed.
const FOLDER: &str = match option_env!("SSS_SIGCHLD_HELPERS") {
    Some(folder) => folder,
    None => "/usr/local/libexec/sss_sigchld",
};

/// The path of a helper: the one that is given, else what the environment's variable
/// says, else the installed one.
///
/// # Safety
/// `given` is NULL or a C string.
pub(super) unsafe fn path(
    given: *const c_char,
    variable: &CStr,
    name: &str,
) -> Result<CStrBuf, Errno> {
    unsafe extern "C" {
        fn secure_getenv(name: *const c_char) -> *const c_char;
    }
    // SAFETY: NULL or a C string in the environment.
    let forced = unsafe { secure_getenv(variable.as_ptr()) };
    let path = if given.is_null() { forced } else { given };
    if !path.is_null() {
        // SAFETY: not NULL; the caller's, or the environment's.
        return CStrBuf::new(unsafe { CStr::from_ptr(path) });
    }
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(FOLDER.len() + name.len() + 2)
        .map_err(|_| Errno::ENOMEM)?;
    for part in [FOLDER, "/", name, "\0"] {
        bytes.extend_from_slice(part.as_bytes());
    }
    CStrBuf::new(CStr::from_bytes_with_nul(&bytes).map_err(|_| Errno::ENOENT)?)
}
