//! Where execvp(3) looks for a program: pure.

use std::ffi::CStr;

/// Where it looks without a PATH.
pub(crate) const DEFAULT: &CStr = c"/bin:/usr/bin";

/// No path is longer, its NUL counted.
#[allow(clippy::cast_sign_loss)] // it is positive
const PATH_MAX: usize = libc::PATH_MAX as usize;

/// The paths to try, one after the other in one buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Candidates {
    bytes: Vec<u8>,
}

impl Candidates {
    /// `file` in each directory of the colon-separated `list`, of which an empty
    /// one is the working directory. A directory that makes the path too long is
    /// left out.
    pub(crate) fn new(file: &CStr, list: &CStr) -> Result<Self, i32> {
        let file = file.to_bytes_with_nul();
        let directories = || {
            list.to_bytes()
                .split(|&byte| byte == b':')
                .filter(|directory| directory.len() + 1 + file.len() <= PATH_MAX)
        };
        let length = directories()
            .map(|directory| directory.len() + 1 + file.len())
            .sum();
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| libc::ENOMEM)?;
        for directory in directories() {
            bytes.extend_from_slice(directory);
            if !directory.is_empty() {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(file);
        }
        Ok(Candidates { bytes })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.bytes
            .split_inclusive(|&byte| byte == 0)
            .filter_map(|path| CStr::from_bytes_with_nul(path).ok())
    }
}

/// Whether `file` is looked for at all: with a slash, or empty, it is a path.
pub(crate) fn is_searched(file: &CStr) -> bool {
    !file.is_empty() && !file.to_bytes().contains(&b'/')
}
