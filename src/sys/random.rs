//! getrandom(2).

use nix::errno::Errno;

use super::error::{Call, Error};

/// A random number that nobody can guess.
pub(crate) fn number() -> Result<u64, Error> {
    let mut bytes = [0_u8; 8];
    loop {
        // SAFETY: writes no more than the array's eight bytes.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        match Errno::result(got) {
            Ok(8) => return Ok(u64::from_ne_bytes(bytes)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Call::getrandom.failed(errno)),
        }
    }
}
