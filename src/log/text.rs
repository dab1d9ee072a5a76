//! Bytes and strings whose allocation may fail.

use std::ffi::CString;

use nix::errno::Errno;

use crate::sys::error::Error;

/// The parts in one piece of memory.
pub(crate) fn bytes(parts: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let mut joined = Vec::new();
    joined
        .try_reserve_exact(parts.iter().map(|part| part.len()).sum())
        .map_err(|_| Errno::ENOMEM)?;
    for part in parts {
        joined.extend_from_slice(part);
    }
    Ok(joined)
}

/// A C string of bytes without a NUL; EINVAL with one.
pub(crate) fn string(text: &[u8]) -> Result<CString, Error> {
    CString::from_vec_with_nul(bytes(&[text, b"\0"])?).map_err(|_| Errno::EINVAL.into())
}
