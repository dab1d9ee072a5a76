//! getpwnam_r(3) and getgrouplist(3): a user's ids by name. They ask the sources that
//! nsswitch.conf(5) names, so they may take long and run code of others.

use std::ffi::{CStr, c_char};
use std::ptr::null_mut;

use nix::errno::Errno;

use super::error::{Call, Error, out_of_memory};

/// The user that a child is to become.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The supplementary groups, `gid` among them, as initgroups(3) sets them.
    pub(crate) groups: Vec<u32>,
}

/// More than a line of any user or group database should need.
const MOST: usize = 1 << 20;

/// ENOENT where there is no such user.
pub(crate) fn find(name: &CStr) -> Result<Account, Error> {
    let (uid, gid) = ids(name)?;
    let groups = groups(name, gid)?;
    Ok(Account { uid, gid, groups })
}

fn ids(name: &CStr) -> Result<(u32, u32), Error> {
    let mut buffer: Vec<c_char> = Vec::new();
    let mut size = 1024;
    loop {
        buffer.try_reserve_exact(size).map_err(out_of_memory)?;
        // SAFETY: passwd is plain data, for which zeros are valid.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = null_mut();
        // SAFETY: the buffer has room for `size` bytes; all outlive the call.
        let error = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                &raw mut entry,
                buffer.as_mut_ptr(),
                size,
                &raw mut found,
            )
        };
        match error {
            0 if found.is_null() => return Err(Call::getpwnam_r.failed(Errno::ENOENT)),
            0 => return Ok((entry.pw_uid, entry.pw_gid)),
            libc::ERANGE if size < MOST => size *= 4,
            libc::EINTR => {}
            // Some databases report "no such user" in this way.
            libc::ESRCH => return Err(Call::getpwnam_r.failed(Errno::ENOENT)),
            error => return Err(Call::getpwnam_r.failed(Errno::from_raw(error))),
        }
    }
}

fn groups(name: &CStr, gid: u32) -> Result<Vec<u32>, Error> {
    let mut groups: Vec<u32> = Vec::new();
    let mut room = 32;
    loop {
        let length = usize::try_from(room).map_err(out_of_memory)?;
        groups.try_reserve_exact(length).map_err(out_of_memory)?;
        let mut count = room;
        // SAFETY: room for so many groups; what it says it wrote is there.
        unsafe {
            if libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) >= 0 {
                groups.set_len(usize::try_from(count).unwrap_or(0));
                return Ok(groups);
            }
        }
        // There was too little room: some libcs give the number that is needed in
        // `count`.
        if length > MOST {
            return Err(Call::getgrouplist.failed(Errno::EINVAL));
        }
        room = count.max(room * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_and_nobody_else_by_a_strange_name() {
        let root = find(c"root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(find(c"no such user").unwrap_err(), Errno::ENOENT);
        assert_eq!(find(c"").unwrap_err(), Errno::ENOENT);
    }
}
