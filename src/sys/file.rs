//! Files by directory descriptor: openat(2), renameat2(2), unlinkat(2), statx(2);
//! pipe(2), read(2), write(2).

use std::ffi::CStr;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl, openat};
use nix::sys::stat::Mode;

use super::directory;
use super::error::{Call, During, Error};
use super::fd::{above_standard, again};

/// Takes a descriptor that is the caller's to give, without having checked it.
pub(crate) fn take(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller hands it over.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub(crate) fn set_nonblocking(fd: BorrowedFd) -> Result<(), Error> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).during(Call::fcntl)?);
    let set = fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK));
    set.during(Call::fcntl).map(drop)
}

/// A pipe, reading end first; both are close-on-exec.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    let (read, write) = again(|| nix::unistd::pipe2(OFlag::O_CLOEXEC)).during(Call::pipe2)?;
    Ok((above_standard(read)?, above_standard(write)?))
}

/// Reads once, to the end of `bytes`, no more than its capacity and `most`.
pub(crate) fn read_onto(fd: BorrowedFd, bytes: &mut Vec<u8>, most: usize) -> Result<usize, Error> {
    let room = bytes.capacity() - bytes.len();
    // SAFETY: writes within the spare capacity.
    let got = unsafe {
        libc::read(
            fd.as_raw_fd(),
            bytes.as_mut_ptr().add(bytes.len()).cast(),
            room.min(most),
        )
    };
    let got = Call::read.result(got)?.unsigned_abs();
    // SAFETY: the kernel wrote so many of them.
    unsafe { bytes.set_len(bytes.len() + got) };
    Ok(got)
}

/// Writes one byte or more; EIO where the kernel takes none, as a device may.
pub(crate) fn write(fd: BorrowedFd, bytes: &[u8]) -> Result<usize, Error> {
    match nix::unistd::write(fd, bytes) {
        Ok(0) => Err(Call::write.failed(Errno::EIO)),
        written => written.during(Call::write),
    }
}

pub(crate) fn open_directory(base: Option<BorrowedFd>, path: &CStr) -> Result<OwnedFd, Error> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = again(|| match base {
        Some(base) => openat(base, path, flags, Mode::empty()),
        None => openat(AT_FDCWD, path, flags, Mode::empty()),
    });
    above_standard(opened.during(Call::openat)?)
}

/// Opens a regular file to append to it, made if it is not there. EINVAL for
/// anything else than a regular file.
pub(crate) fn open_append(dir: BorrowedFd, name: &CStr, mode: u32) -> Result<OwnedFd, Error> {
    // O_NONBLOCK, so that this does not wait for the reader of a FIFO.
    let flags = OFlag::O_WRONLY
        | OFlag::O_APPEND
        | OFlag::O_CREAT
        | OFlag::O_CLOEXEC
        | OFlag::O_NOCTTY
        | OFlag::O_NONBLOCK;
    let opened = match again(|| openat(dir, name, flags, Mode::from_bits_truncate(mode))) {
        Err(Errno::ENXIO) => return Err(Call::openat.failed(Errno::EINVAL)),
        opened => above_standard(opened.during(Call::openat)?)?,
    };
    if !stat(opened.as_fd())?.regular {
        return Err(Call::openat.failed(Errno::EINVAL));
    }
    Ok(opened)
}

/// The last byte of a file; None where it is empty or cannot be read.
pub(crate) fn last_byte(dir: BorrowedFd, name: &CStr, size: u64) -> Option<u8> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = again(|| openat(dir, name, flags, Mode::empty())).ok()?;
    let last = libc::off_t::try_from(size.checked_sub(1)?).ok()?;
    let mut byte = 0u8;
    // SAFETY: one byte of this frame.
    let got = unsafe { libc::pread(file.as_raw_fd(), (&raw mut byte).cast(), 1, last) };
    (got == 1).then_some(byte)
}

/// What identifies an open file: its inode, and the file system's device.
pub(crate) type File = (u64, (u32, u32));

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stat {
    pub(crate) regular: bool,
    pub(crate) size: u64,
    pub(crate) links: u32,
    pub(crate) file: File,
    /// When it was made, where the file system knows that; CLOCK_REALTIME in nanoseconds.
    pub(crate) made: Option<u64>,
    /// When it was changed last.
    pub(crate) changed: u64,
}

impl Stat {
    pub(crate) fn is_same_file(&self, other: &Stat) -> bool {
        self.file == other.file
    }
}

pub(crate) fn stat(fd: BorrowedFd) -> Result<Stat, Error> {
    statx(fd.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

/// Which file is open here, from what the kernel has cached: a file server, which may be
/// gone for good, is not asked.
pub(crate) fn file_of(fd: BorrowedFd) -> Result<File, Error> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    Ok(statx(fd.as_raw_fd(), c"", flags)?.file)
}

pub(crate) fn stat_at(dir: BorrowedFd, name: &CStr) -> Result<Stat, Error> {
    statx(dir.as_raw_fd(), name, libc::AT_SYMLINK_NOFOLLOW)
}

fn statx(fd: RawFd, name: &CStr, flags: i32) -> Result<Stat, Error> {
    let wanted = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: a string and a struct that outlive the call.
    let code = unsafe { libc::statx(fd, name.as_ptr(), flags, wanted, found.as_mut_ptr()) };
    match Errno::result(code) {
        // No statx here: glibc does it by fstatat(2), but for some flags; and old filters of
        // containers refuse it.
        Err(Errno::ENOSYS | Errno::EINVAL | Errno::EPERM) => {
            fstatat(fd, name, flags & !libc::AT_STATX_DONT_SYNC, &mut found)?;
        }
        done => drop(done.during(Call::statx)?),
    }
    // SAFETY: zeros, or what the kernel wrote.
    let found = unsafe { found.assume_init() };
    let time = |time: libc::statx_timestamp| {
        time.tv_sec.unsigned_abs() * 1_000_000_000 + u64::from(time.tv_nsec)
    };
    let knows_made = found.stx_mask & libc::STATX_BTIME != 0;
    Ok(Stat {
        regular: u32::from(found.stx_mode) & libc::S_IFMT == libc::S_IFREG,
        size: found.stx_size,
        links: found.stx_nlink,
        file: (found.stx_ino, (found.stx_dev_major, found.stx_dev_minor)),
        made: knows_made.then(|| time(found.stx_btime)),
        changed: time(found.stx_ctime),
    })
}

/// The same, without the time at which the file was made.
fn fstatat(
    fd: RawFd,
    name: &CStr,
    flags: i32,
    found: &mut MaybeUninit<libc::statx>,
) -> Result<(), Error> {
    let mut old = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: a string and a struct that outlive the call.
    let code = unsafe { libc::fstatat(fd, name.as_ptr(), old.as_mut_ptr(), flags) };
    Call::stat.result(code)?;
    // SAFETY: zeros are valid for both, or what the kernel wrote.
    let (old, found) = unsafe { (old.assume_init(), found.assume_init_mut()) };
    #[allow(clippy::cast_possible_truncation, reason = "as statx(2) tells them")]
    {
        found.stx_mode = old.st_mode as u16;
        found.stx_nlink = old.st_nlink as u32;
        found.stx_ctime.tv_nsec = old.st_ctime_nsec.unsigned_abs() as u32;
    }
    found.stx_size = old.st_size.unsigned_abs();
    found.stx_ino = old.st_ino;
    found.stx_dev_major = libc::major(old.st_dev);
    found.stx_dev_minor = libc::minor(old.st_dev);
    found.stx_ctime.tv_sec = old.st_ctime;
    Ok(())
}

/// A directory, and the mount by which it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    inode: u64,
    device: (u32, u32),
    mount: u64,
}

impl Place {
    /// None where the kernel does not tell (before Linux 5.8).
    pub(crate) fn of(path: &CStr) -> Option<Self> {
        let wanted = libc::STATX_INO | libc::STATX_MNT_ID;
        let mut found = MaybeUninit::<libc::statx>::zeroed();
        // SAFETY: a string and a struct that outlive the call.
        let code =
            unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), 0, wanted, found.as_mut_ptr()) };
        Call::statx.result(code).ok()?;
        // SAFETY: zeros, or what the kernel wrote.
        let found = unsafe { found.assume_init() };
        (found.stx_mask & wanted == wanted).then_some(Place {
            inode: found.stx_ino,
            device: (found.stx_dev_major, found.stx_dev_minor),
            mount: found.stx_mnt_id,
        })
    }

    /// The working directory of a child of ours.
    pub(crate) fn of_process(pid: i32) -> Option<Self> {
        let mut path = [0; 32];
        write!(&mut path[..], "/proc/{pid}/cwd").ok()?;
        Self::of(CStr::from_bytes_until_nul(&path).ok()?)
    }
}

/// Gives a file another name, which must not be taken: EEXIST then.
pub(crate) fn rename(dir: BorrowedFd, from: &CStr, to: &CStr) -> Result<(), Error> {
    let fd = dir.as_raw_fd();
    // SAFETY: strings that outlive the call.
    let code = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            fd,
            from.as_ptr(),
            fd,
            to.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    match Errno::result(code) {
        // Not every file system has the flag.
        Err(Errno::EINVAL | Errno::ENOSYS) => {}
        renamed => return renamed.during(Call::renameat2).map(drop),
    }
    match stat_at(dir, to) {
        Err(error) if error == Errno::ENOENT => {}
        Ok(_) => return Err(Call::renameat2.failed(Errno::EEXIST)),
        Err(error) => return Err(error),
    }
    // SAFETY: as above.
    let renamed = unsafe { libc::renameat(fd, from.as_ptr(), fd, to.as_ptr()) };
    Call::renameat2.result(renamed).map(drop)
}

pub(crate) fn unlink(dir: BorrowedFd, name: &CStr) -> Result<(), Error> {
    // SAFETY: a string that outlives the call.
    let unlinked = unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), 0) };
    Call::unlinkat.result(unlinked).map(drop)
}

/// Shows each name of a directory.
pub(crate) fn list(dir: BorrowedFd, mut each: impl FnMut(&[u8])) -> Result<(), Error> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = again(|| openat(dir, c".", flags, Mode::empty())).during(Call::openat)?;
    directory::names(opened.as_fd(), &mut |name| {
        each(name.to_bytes());
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_s_life() {
        let path = std::env::temp_dir().join(format!("sss-file-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let dir = {
            let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
            open_directory(None, &path).unwrap()
        };
        let dir = dir.as_fd();
        let file = open_append(dir, c"one", 0o600).unwrap();
        assert_eq!(last_byte(dir, c"one", 0), None);
        assert_eq!(write(file.as_fd(), b"abc\n"), Ok(4));
        let found = stat(file.as_fd()).unwrap();
        assert_eq!((found.size, found.links, found.regular), (4, 1, true));
        assert_eq!(last_byte(dir, c"one", 4), Some(b'\n'));
        assert!(found.is_same_file(&stat_at(dir, c"one").unwrap()));
        let other = open_append(dir, c"two", 0o600).unwrap();
        assert!(!found.is_same_file(&stat(other.as_fd()).unwrap()));
        assert_eq!(rename(dir, c"one", c"two"), Err(Errno::EEXIST.into()));
        assert_eq!(rename(dir, c"one", c"three"), Ok(()));
        let mut names = Vec::new();
        list(dir, |name| names.push(name.to_vec())).unwrap();
        names.sort();
        assert_eq!(names, [&b"."[..], b"..", b"three", b"two"]);
        for name in [c"two", c"three"] {
            assert_eq!(unlink(dir, name), Ok(()));
        }
        assert_eq!(unlink(dir, c"two"), Err(Errno::ENOENT.into()));
        assert_eq!(
            open_append(dir, c"..", 0o600).err(),
            Some(Errno::EISDIR.into())
        );
        std::fs::remove_dir(path).unwrap();
        assert_eq!(stat(file.as_fd()).unwrap().links, 0);
    }
}
