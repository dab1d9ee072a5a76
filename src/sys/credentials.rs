//! credentials(7) of the calling thread.

use super::syscall::{address, call};

/// Real, effective and saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) real: u32,
    pub(crate) effective: u32,
    pub(crate) saved: u32,
}

impl Ids {
    /// Whether all three are `id` already.
    pub(crate) fn are(self, id: u32) -> bool {
        self == Ids {
            real: id,
            effective: id,
            saved: id,
        }
    }
}

pub(crate) fn uids() -> Ids {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: three valid pointers; it cannot fail.
    let _ = unsafe {
        call!(
            SYS_getresuid,
            address::<u32>(&raw mut real),
            address::<u32>(&raw mut effective),
            address::<u32>(&raw mut saved)
        )
    };
    Ids {
        real,
        effective,
        saved,
    }
}

pub(crate) fn gids() -> Ids {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: three valid pointers; it cannot fail.
    let _ = unsafe {
        call!(
            SYS_getresgid,
            address::<u32>(&raw mut real),
            address::<u32>(&raw mut effective),
            address::<u32>(&raw mut saved)
        )
    };
    Ids {
        real,
        effective,
        saved,
    }
}
