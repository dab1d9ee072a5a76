//! credentials(7) of the calling thread.

use super::bits::ToUnsigned;
use super::error::{Call, Error};
use super::syscall::{address, call, id, int};

/// Real, effective, saved and the file system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) real: u32,
    pub(crate) effective: u32,
    pub(crate) saved: u32,
    pub(crate) fs: u32,
}

impl Ids {
    /// Whether all are `id` already.
    pub(crate) fn are(self, id: u32) -> bool {
        self == Ids {
            real: id,
            effective: id,
            saved: id,
            fs: id,
        }
    }
}

/// Whether the real, effective and saved ids of the process are these.
pub(crate) fn are(uid: u32, gid: u32) -> bool {
    let mut ids = [[0; 3]; 2];
    let [[ruid, euid, suid], [rgid, egid, sgid]] = &mut ids;
    // SAFETY: the pointers are valid, and with those the calls cannot fail.
    unsafe {
        libc::getresuid(ruid, euid, suid);
        libc::getresgid(rgid, egid, sgid);
    }
    ids == [[uid; 3], [gid; 3]]
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
    // SAFETY: no pointers. What is no id changes nothing; the result is the id.
    let fs =
        unsafe { call!(SYS_setfsuid, id(u32::MAX)) }.map_or(u32::MAX, |fs| int(fs).to_unsigned());
    Ids {
        real,
        effective,
        saved,
        fs,
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
    // SAFETY: no pointers. What is no id changes nothing; the result is the id.
    let fs =
        unsafe { call!(SYS_setfsgid, id(u32::MAX)) }.map_or(u32::MAX, |fs| int(fs).to_unsigned());
    Ids {
        real,
        effective,
        saved,
        fs,
    }
}

/// Gives up the privileges of the process for good. An id that is None stays. With a uid
/// the supplementary groups are dropped too.
pub(crate) fn drop_to(uid: Option<u32>, gid: Option<u32>, no_new_privs: bool) -> Result<(), Error> {
    // SAFETY: no list of groups; no pointers. libc's calls, which know of threads.
    unsafe {
        if uid.is_some() && uids().effective == 0 {
            Call::setgroups.result(libc::setgroups(0, std::ptr::null()))?;
        }
        if let Some(gid) = gid {
            Call::setresgid.result(libc::setresgid(gid, gid, gid))?;
        }
        if let Some(uid) = uid {
            Call::setresuid.result(libc::setresuid(uid, uid, uid))?;
        }
        if no_new_privs {
            Call::prctl.result(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        }
    }
    Ok(())
}
