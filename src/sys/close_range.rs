//! close_range(2), in the child, and what is done where it is missing.

use std::mem::MaybeUninit;

use super::syscall::{address, call, id, word};

/// `last` that means every descriptor from `first` on.
pub(crate) const LAST: u32 = u32::MAX;

/// Whether a call failed because this kernel or a filter does not have it.
#[inline(always)]
pub(crate) const fn is_missing(errno: i32) -> bool {
    matches!(errno, libc::ENOSYS | libc::EPERM | libc::EINVAL)
}

/// Whether the call is there. The parent asks, and closes nothing by it. A child that
/// found out and failed would do harm: its end may hang up a terminal, and ends the pid
/// namespace whose first process it was.
pub(crate) fn is_there() -> bool {
    // SAFETY: no pointers; no descriptor has this number.
    unsafe { call!(SYS_close_range, id(LAST), id(LAST)) }.is_ok()
}

/// Closes `first` to `last`. With `shared`, the table is the parent's until this call.
/// Only the kernel can separate from it without touching the parent's descriptors, so
/// there is no replacement for the call then.
///
/// # Safety
/// In a child, which owns its descriptors or with `shared` will own them.
#[inline(always)]
pub(crate) unsafe fn close_range(first: u32, last: u32, shared: bool) -> Result<(), i32> {
    // SAFETY: no pointers.
    let closed = unsafe {
        call!(
            SYS_close_range,
            id(first),
            id(last),
            if shared {
                id(libc::CLOSE_RANGE_UNSHARE)
            } else {
                0
            }
        )
    };
    match closed {
        Err(errno) if is_missing(errno) && !shared => {}
        Err(errno) => return Err(errno),
        Ok(_) => return Ok(()),
    }
    if last == LAST {
        // SAFETY: the table is the child's own.
        return unsafe { close_listed(first) };
    }
    let mut fd = first;
    while fd <= last {
        // SAFETY: the table is the child's own; a number that is not open is EBADF.
        let _ = unsafe { call!(SYS_close, id(fd)) };
        fd = fd.wrapping_add(1);
    }
    Ok(())
}

/// The offsets of d_reclen and d_name in the kernel's struct linux_dirent64.
const RECORD_LENGTH: usize = 16;
const NAME: usize = 19;

/// How far to search for a descriptor that makes room when it is closed. One at or above
/// the soft limit makes none, and that limit is by default no higher than this
/// (/proc/sys/fs/nr_open).
const MOST: u32 = 1 << 20;

/// Closes what /proc/self/fd lists from `first` on.
#[inline(always)]
unsafe fn close_listed(first: u32) -> Result<(), i32> {
    let mut buffer = MaybeUninit::<[u64; 128]>::uninit();
    let bytes = buffer.as_mut_ptr().cast::<u8>();
    // SAFETY: the buffer is written by getdents64 before it is read, record by
    // record, within the length that it returned; each name ends with NUL.
    unsafe {
        let mut fd = first;
        let directory = loop {
            let opened = call!(
                SYS_openat,
                word(libc::AT_FDCWD),
                address(c"/proc/self/fd".as_ptr()),
                word(libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC)
            );
            match opened {
                Ok(directory) => break directory,
                // The table is full: closes one of those that are to be closed anyway, to
                // make room.
                Err(libc::EMFILE) if fd < MOST => {
                    while call!(SYS_close, id(fd)).is_err() && fd < MOST {
                        fd = fd.wrapping_add(1);
                    }
                }
                Err(errno) => return Err(errno),
            }
        };
        loop {
            let length = call!(SYS_getdents64, directory, address(bytes), 1024)?;
            if length == 0 {
                break;
            }
            let mut at = 0;
            while at < length {
                let record = bytes.add(at);
                at = at.wrapping_add(record.add(RECORD_LENGTH).cast::<u16>().read() as usize);
                if let Some(fd) = number(record.add(NAME)) {
                    if fd >= first as usize && fd != directory {
                        let _ = call!(SYS_close, fd);
                    }
                }
            }
        }
        call!(SYS_close, directory)?;
    }
    Ok(())
}

/// The decimal number in a string; none in "." and "..".
#[inline(always)]
unsafe fn number(mut text: *const u8) -> Option<usize> {
    let mut value: usize = 0;
    // SAFETY: the caller's string ends with NUL, where the loop ends.
    unsafe {
        while text.read() != 0 {
            let digit = text.read().wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value.wrapping_mul(10).wrapping_add(digit as usize);
            text = text.add(1);
        }
    }
    Some(value)
}
