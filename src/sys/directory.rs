//! getdents64(2): the names in a directory. Nothing here allocates.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::error::{Call, Error};

/// Shows each name that was not read from this descriptor before, "." and ".." too.
pub(crate) fn names(
    directory: BorrowedFd,
    each: &mut dyn FnMut(&CStr) -> Result<(), Error>,
) -> Result<(), Error> {
    /// The offsets of d_reclen and d_name in struct linux_dirent64.
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    let mut buffer = [0_u8; 2048];
    loop {
        // SAFETY: writes no more than the buffer's length.
        let got = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                directory.as_raw_fd(),
                buffer.as_mut_ptr(),
                buffer.len(),
            )
        };
        let Ok(got) = usize::try_from(Call::getdents.result(got)?) else {
            return Err(Call::getdents.failed(Errno::EIO));
        };
        if got == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..got];
        while rest.len() > NAME {
            let length = u16::from_ne_bytes([rest[LENGTH], rest[LENGTH + 1]]);
            let (entry, after) = rest.split_at(usize::from(length).clamp(NAME, rest.len()));
            each(CStr::from_bytes_until_nul(&entry[NAME..]).unwrap_or_default())?;
            rest = after;
        }
    }
}
