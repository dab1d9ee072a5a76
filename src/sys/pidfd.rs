//! pidfd_open(2), pidfd_send_signal(2) and the pidfd's ioctl(2).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use std::sync::atomic::{AtomicU8, Ordering};

use nix::errno::Errno;

use super::bits::{ToSigned, ToUnsigned};
use super::error::{Call, Error};
use super::fd::{above_standard, again};

/// A pidfd as the table holds it: four bytes, without a destructor. The code that takes
/// it out of the table closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pidfd(u32);

impl Pidfd {
    pub(crate) fn from_bits(bits: u32) -> Self {
        Pidfd(bits)
    }

    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }

    pub(crate) fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: made of an OwnedFd, and closed only when taken out.
        unsafe { BorrowedFd::borrow_raw(self.0.to_signed()) }
    }

    /// The same with a number of FD_SETSIZE or above; unchanged where that is not
    /// possible.
    pub(crate) fn move_up(self, limit: u32) -> Self {
        const FD_SETSIZE: i32 = 1_024;
        let least = FD_SETSIZE;
        if self.0.to_signed() >= least || limit <= least.to_unsigned() {
            return self;
        }
        match super::fd::duplicate_from(self.borrow(), least) {
            Ok(fd) => {
                self.close();
                Pidfd::from(fd)
            }
            Err(_) => self,
        }
    }

    pub(crate) fn close(self) {
        // SAFETY: made of an OwnedFd, and given back once.
        drop(unsafe { OwnedFd::from_raw_fd(self.0.to_signed()) });
    }
}

impl From<OwnedFd> for Pidfd {
    fn from(fd: OwnedFd) -> Self {
        Pidfd(fd.into_raw_fd().to_unsigned())
    }
}

/// A close-on-exec descriptor of `pid`, a zombie too; above 2.
pub(crate) fn open(pid: i32) -> Result<OwnedFd, Error> {
    again(|| open_once(pid))
}

/// The same under the reaper's lock, where no other descriptors can be given back.
pub(crate) fn open_once(pid: i32) -> Result<OwnedFd, Error> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = Call::pidfd_open.result(fd)?;
    let fd = i32::try_from(fd).map_err(|_| Call::pidfd_open.failed(Errno::EBADF))?;
    // SAFETY: the kernel just gave it to us.
    above_standard(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Which processes a signal by pidfd reaches.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Reach {
    Process = 0,
    /// The process group that the process leads: PIDFD_SIGNAL_PROCESS_GROUP (Linux 6.9).
    Group = 1 << 2,
}

pub(crate) fn send_signal(pidfd: BorrowedFd, signum: i32) -> Result<(), Error> {
    send_as_far(pidfd, signum, Reach::Process)
}

/// ESRCH where the process leads no group, EINVAL where the kernel cannot reach groups.
pub(crate) fn send_as_far(pidfd: BorrowedFd, signum: i32, reach: Reach) -> Result<(), Error> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed.
    let code = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signum,
            no_info,
            reach as u32,
        )
    };
    Call::pidfd_send_signal.result(code).map(drop)
}

/// Whether the process has ended, reaped or not.
pub(crate) fn has_ended(pidfd: BorrowedFd) -> bool {
    let mut polled = libc::pollfd {
        fd: pidfd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd of this frame.
    unsafe { libc::poll(&raw mut polled, 1, 0) == 1 }
}

/// struct pidfd_info of linux/pidfd.h, its first version.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ruid: u32,
    rgid: u32,
    euid: u32,
    egid: u32,
    suid: u32,
    sgid: u32,
    fsuid: u32,
    fsgid: u32,
    exit_code: i32,
}

const PIDFD_INFO_PID: u64 = 1 << 0;
const PIDFD_INFO_CGROUPID: u64 = 1 << 2;
const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// The kernel takes the struct's size from it.
const PIDFD_GET_INFO: libc::Ioctl = libc::_IOWR::<PidfdInfo>(0xFF, 11);

/// What the kernel has of a process that somebody else waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Its raw wait status (Linux 6.15).
    Known(i32),
    /// It is being reaped at this moment: the waiter has the status, the pidfd not yet.
    /// The pidfd becomes readable once more when it has (EPOLLHUP).
    InFlight,
    /// Nothing.
    Unknown,
}

/// PID_FS_MAGIC of linux/magic.h. The field in struct statfs has a width that depends on
/// the architecture.
const PIDFS: u64 = 0x5049_4446;

/// Whether the kernel has a file system of pidfds (Linux 6.9). Before, they share one
/// anonymous inode, and the ioctl does not exist.
fn on_pidfs(pidfd: BorrowedFd) -> bool {
    // SAFETY: statfs is plain data, for which zeros are valid.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `found` outlives the call.
    let code = unsafe { libc::fstatfs(pidfd.as_raw_fd(), &raw mut found) };
    code == 0 && u64::try_from(found.f_type) == Ok(PIDFS)
}

/// The inode of a pidfd: a number that no other process has, or will have, until the next
/// boot (Linux 6.9).
pub(crate) fn inode(pidfd: BorrowedFd) -> Option<u64> {
    /// The answer for one pidfd holds for all. There is no lock, which a fork could copy
    /// while it is held: two threads may both ask.
    static PIDFS_IS_THERE: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;
    let mut known = PIDFS_IS_THERE.load(Ordering::Relaxed);
    if known == UNKNOWN {
        known = if on_pidfs(pidfd) { YES } else { NO };
        PIDFS_IS_THERE.store(known, Ordering::Relaxed);
    }
    if known == NO {
        return None;
    }
    nix::sys::stat::fstat(pidfd).ok().map(|stat| stat.st_ino)
}

/// The same where the daemon may have closed it, and have another file at its number.
pub(crate) fn inode_of_held(pidfd: BorrowedFd) -> Option<u64> {
    on_pidfs(pidfd).then(|| inode(pidfd)).flatten()
}

/// Asks for the exit of a process that is no child of ours any more.
pub(crate) fn exit_status(pidfd: BorrowedFd) -> Exit {
    if !on_pidfs(pidfd) {
        return Exit::Unknown;
    }
    // The status may come between the kernel's two looks, which then find
    // neither it nor the process.
    match ask(pidfd) {
        Err(error) if error == Errno::ESRCH => ask(pidfd).unwrap_or(Exit::Unknown),
        answer => answer.unwrap_or(Exit::Unknown),
    }
}

fn ask(pidfd: BorrowedFd) -> Result<Exit, Error> {
    let info = info(pidfd, PIDFD_INFO_EXIT)?;
    Ok(if info.mask & PIDFD_INFO_EXIT != 0 {
        Exit::Known(info.exit_code)
    } else {
        Exit::InFlight
    })
}

/// The mask that comes back tells what was filled in, which may not be all that was
/// asked.
fn info(pidfd: BorrowedFd, wanted: u64) -> Result<PidfdInfo, Error> {
    let mut info = PidfdInfo {
        mask: wanted,
        ..PidfdInfo::default()
    };
    // SAFETY: the struct is as large as the request says.
    let code = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    Call::ioctl.result(code).map(|_| info)
}

/// The pid of a process that is not reaped, as this process counts pids (Linux
/// 6.13); None where the kernel does not tell.
pub(crate) fn info_pid(pidfd: BorrowedFd) -> Option<i32> {
    if !on_pidfs(pidfd) {
        return None;
    }
    let info = info(pidfd, PIDFD_INFO_PID).ok()?;
    let pid = i32::try_from(info.pid).ok()?;
    (info.mask & PIDFD_INFO_PID != 0 && pid > 0).then_some(pid)
}

/// The id of the process's cgroup (v2), also where it is a zombie; once it is
/// reaped, of the cgroup in which it ended (Linux 6.15).
pub(crate) fn cgroup_id(pidfd: BorrowedFd) -> Option<u64> {
    if !on_pidfs(pidfd) {
        return None;
    }
    // Without the second bit the kernel answers ESRCH for a process that is reaped.
    let info = info(pidfd, PIDFD_INFO_CGROUPID | PIDFD_INFO_EXIT).ok()?;
    (info.mask & PIDFD_INFO_CGROUPID != 0).then_some(info.cgroupid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_ioctl_number_says_the_size() {
        assert_eq!(size_of::<PidfdInfo>(), 64);
    }

    #[test]
    fn two_pidfds_of_one_process_tell_the_same() {
        let own = i32::try_from(std::process::id()).unwrap();
        let (Ok(one), Ok(other)) = (open(own), open(own)) else {
            return;
        };
        assert_eq!(inode(one.as_fd()), inode(other.as_fd()));
        assert_eq!(cgroup_id(one.as_fd()), cgroup_id(other.as_fd()));
        assert!(info_pid(one.as_fd()).is_none_or(|pid| pid == own));
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(cgroup_id(null.as_fd()), None);
        assert_eq!(info_pid(null.as_fd()), None);
    }
}
