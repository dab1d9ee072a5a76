//! What the kernel tells of a process beside its end: when it started, which
//! cgroup it is in, and a number that no other process of this boot has.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::error::{Call, Error};
use super::pidfd;

/// The length of a clock tick, in which field 22 of /proc/PID/stat counts.
pub(crate) fn tick_ns() -> i64 {
    // SAFETY: no memory is passed.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    1_000_000_000 / per_second.max(1)
}

/// When a process started, in nanoseconds of CLOCK_BOOTTIME, rounded down to
/// [`tick_ns`]. The process may be a zombie; it must not be reaped.
pub(crate) fn start_ns(pid: i32) -> Option<i64> {
    let mut text = [0; 1024];
    // Under the reaper's lock, where no descriptors can be given back.
    let length = read_proc(format_args!("/proc/{pid}/stat\0"), &mut text, open)?;
    start_ticks(&text[..length])?.checked_mul(tick_ns())
}

/// The 22nd field. The second, the program's name in parentheses, may hold
/// blanks and parentheses of its own.
fn start_ticks(stat: &[u8]) -> Option<i64> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// Which process a pidfd stands for, as this process counts pids. EBADF where
/// it is no pidfd, or a directory of /proc; EINVAL where it stands for a thread;
/// ESRCH where the process was reaped.
pub(crate) fn pid_of(pidfd: BorrowedFd) -> Result<i32, Error> {
    // SAFETY: no memory is passed.
    let flags = Call::fcntl.result(unsafe { libc::fcntl(pidfd.as_raw_fd(), libc::F_GETFL) })?;
    if let Some(pid) = pidfd::info_pid(pidfd) {
        if flags & PIDFD_THREAD != 0 {
            return Err(Call::fcntl.failed(Errno::EINVAL));
        }
        return Ok(pid);
    }
    let mut text = [0; 1024];
    let fd = pidfd.as_raw_fd();
    let length = read_proc(
        format_args!("/proc/self/fdinfo/{fd}\0"),
        &mut text,
        |path| super::fd::again(|| open(path)),
    );
    let length = length.ok_or(Call::read.failed(Errno::EBADF))?;
    match pid_line(&text[..length]) {
        None => Err(Call::read.failed(Errno::EBADF)),
        Some(_) if flags & PIDFD_THREAD != 0 => Err(Call::fcntl.failed(Errno::EINVAL)),
        Some(pid) if pid > 0 => Ok(pid),
        Some(_) => Err(Call::read.failed(Errno::ESRCH)),
    }
}

/// A pidfd of a thread that need not lead its process (Linux 6.9).
const PIDFD_THREAD: i32 = libc::O_EXCL;

/// The line "Pid:" that only a pidfd's fdinfo has; -1 once it is reaped.
fn pid_line(fdinfo: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(fdinfo).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    line.trim().parse().ok()
}

fn open(path: &CStr) -> nix::Result<OwnedFd> {
    let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty())
}

/// Reads the start of a file whose name ends with a NUL, without an allocation.
fn read_proc(
    name: std::fmt::Arguments,
    text: &mut [u8],
    open: fn(&CStr) -> nix::Result<OwnedFd>,
) -> Option<usize> {
    let mut path = Name {
        bytes: [0; 40],
        length: 0,
    };
    std::fmt::Write::write_fmt(&mut path, name).ok()?;
    let path = CStr::from_bytes_until_nul(&path.bytes).ok()?;
    nix::unistd::read(open(path).ok()?, text).ok()
}

struct Name {
    bytes: [u8; 40],
    length: usize,
}

impl std::fmt::Write for Name {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let end = self.length + part.len();
        let place = self
            .bytes
            .get_mut(self.length..end)
            .ok_or(std::fmt::Error)?;
        place.copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn a_name_may_hold_anything() {
        let stat = b"7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4321 20 21";
        assert_eq!(start_ticks(stat), Some(4321));
        assert_eq!(start_ticks(b"7 (a) S 1"), None);
        assert_eq!(start_ticks(b""), None);
    }

    #[test]
    fn this_process_started_before_now() {
        let start = start_ns(own_pid()).unwrap();
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap();
        let now = now.tv_sec() * 1_000_000_000 + now.tv_nsec();
        assert!((1..=now).contains(&start), "{start} {now}");
        assert_eq!(start % tick_ns(), 0);
        assert_eq!(start_ns(0), None);
    }

    #[test]
    fn a_pidfd_and_what_is_none() {
        let Ok(own) = pidfd::open(own_pid()) else {
            return;
        };
        assert_eq!(pid_of(own.as_fd()), Ok(own_pid()));
        let directory = std::fs::File::open("/proc/self").unwrap();
        assert_eq!(pid_of(directory.as_fd()), Err(Errno::EBADF.into()));
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(pid_of(null.as_fd()), Err(Errno::EBADF.into()));
        assert_eq!(pid_line(b"pos:\t0\nPid:\t12\nNSpid:\t12\n"), Some(12));
        assert_eq!(pid_line(b"Pid:\t-1\n"), Some(-1));
        assert_eq!(pid_line(b"pos:\t0\n"), None);
    }
}
