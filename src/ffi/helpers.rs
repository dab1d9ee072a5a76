//! Where the programs are that the library itself executes.

use std::ffi::CStr;

use nix::errno::Errno;

use super::params::Str;
use crate::sys::environment;
use crate::sys::error::Error;
use crate::sys::strings::CStrBuf;

/// Where they are installed.
const FOLDER: &str = match option_env!("SSS_SIGCHLD_HELPERS") {
    Some(folder) => folder,
    None => "/usr/local/libexec/sss_sigchld",
};

/// The path of a helper: the one that is given, else what the environment's variable
/// says, else the installed one.
pub(super) fn path(given: Str<'_>, variable: &CStr, name: &str) -> Result<CStrBuf, Error> {
    let path = given
        .get()
        .or_else(|| environment::trusted_variable(variable));
    if let Some(path) = path {
        return CStrBuf::new(path);
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
