//! /proc/PID/status: what a process may do, as the kernel has it.

use std::fmt::Write;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::uio::pread;

use super::error::{Call, During, Error, out_of_memory};
use super::fd::again;

/// A process's state that a child of its own would inherit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Status {
    pub(crate) umask: Option<u32>,
    /// Real, effective, saved.
    pub(crate) uids: [u32; 3],
    pub(crate) gids: [u32; 3],
    pub(crate) groups: Vec<u32>,
    pub(crate) inheritable: u64,
    pub(crate) permitted: u64,
    pub(crate) effective: u64,
    pub(crate) bounding: u64,
    pub(crate) no_new_privs: bool,
}

/// A path below /proc, without an allocation.
struct Path {
    bytes: [u8; 32],
    length: usize,
}

impl Write for Path {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let place = self
            .bytes
            .get_mut(self.length..end)
            .ok_or(std::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Our own state.
pub(crate) fn own() -> Result<Status, Error> {
    StatusFile::open(b"/proc/self/status")?.read()
}

/// The file of a process, open: it goes on to be that process's, and is read anew each
/// time.
#[derive(Debug)]
pub(crate) struct StatusFile(OwnedFd);

/// It has some 1,500 bytes, and more with many groups.
const PART: usize = 2048;

impl StatusFile {
    /// ENOENT where /proc does not show the process. Where /proc is that of another pid
    /// namespace it would show another process by this number: see [`shows_our_pids`].
    pub(crate) fn of(pid: i32) -> Result<Self, Error> {
        let mut path = Path {
            bytes: [0; 32],
            length: 0,
        };
        write!(path, "/proc/{pid}/status").map_err(|_| Call::open.failed(Errno::ENAMETOOLONG))?;
        Self::open(&path.bytes[..path.length])
    }

    fn open(path: &[u8]) -> Result<Self, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = again(|| open(path, flags, Mode::empty())).during(Call::open)?;
        Ok(StatusFile(file))
    }

    /// The process's state now; ESRCH where it is no more.
    pub(crate) fn read(&self) -> Result<Status, Error> {
        let mut text = Vec::new();
        loop {
            let length = text.len();
            text.try_reserve(PART).map_err(out_of_memory)?;
            text.resize(length + PART, 0);
            let at = i64::try_from(length).map_err(|_| Call::pread.failed(Errno::EFBIG))?;
            let got = loop {
                match pread(&self.0, &mut text[length..], at) {
                    Err(Errno::EINTR) => {}
                    got => break got.during(Call::pread)?,
                }
            };
            text.truncate(length + got);
            // The kernel gives it in one go: a read that does not fill the buffer is the
            // last.
            if got < PART {
                return parse(&text).ok_or(Call::pread.failed(Errno::EPROTO));
            }
        }
    }
}

/// Whether /proc is that of our own pid namespace.
pub(crate) fn shows_our_pids() -> bool {
    let mut number = [0_u8; 16];
    // SAFETY: writes into the buffer, no more than it holds.
    let length = unsafe {
        libc::readlink(
            c"/proc/self".as_ptr(),
            number.as_mut_ptr().cast(),
            number.len(),
        )
    };
    usize::try_from(length)
        .ok()
        .and_then(|length| std::str::from_utf8(number.get(..length)?).ok())
        .and_then(|number| number.parse().ok())
        == Some(super::clone::getpid())
}

fn parse(text: &[u8]) -> Option<Status> {
    let mut status = Status::default();
    let mut ids = 0;
    for line in text.split(|&byte| byte == b'\n') {
        // This is read for each launch, so the many lines that are none of these are
        // passed over quickly.
        if !matches!(line.first(), Some(b'U' | b'G' | b'C' | b'N')) {
            continue;
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let value = std::str::from_utf8(&line[colon + 1..]).ok()?;
        let mut words = value.split_ascii_whitespace();
        match &line[..colon] {
            b"Umask" => status.umask = Some(u32::from_str_radix(words.next()?, 8).ok()?),
            b"Uid" => {
                status.uids = three(&mut words)?;
                ids += 1;
            }
            b"Gid" => {
                status.gids = three(&mut words)?;
                ids += 1;
            }
            b"Groups" => {
                for word in words {
                    status.groups.try_reserve(1).ok()?;
                    status.groups.push(word.parse().ok()?);
                }
            }
            b"CapInh" => status.inheritable = set(words.next()?)?,
            b"CapPrm" => status.permitted = set(words.next()?)?,
            b"CapEff" => status.effective = set(words.next()?)?,
            b"CapBnd" => status.bounding = set(words.next()?)?,
            b"NoNewPrivs" => status.no_new_privs = words.next()? == "1",
            _ => {}
        }
    }
    (ids == 2).then_some(status)
}

fn three<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<[u32; 3]> {
    let mut next = || words.next()?.parse().ok();
    Some([next()?, next()?, next()?])
}

fn set(word: &str) -> Option<u64> {
    u64::from_str_radix(word, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_understood() {
        let text = b"Name:\tsh\nUmask:\t0022\nState:\tS (sleeping)\nUid:\t1\t2\t3\t4\n\
            Gid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapInh:\t0000000000000000\n\
            CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000001\n\
            CapBnd:\t000001ffffffffff\nNoNewPrivs:\t1\nSeccomp:\t0\n";
        let status = parse(text).unwrap();
        assert_eq!(status.umask, Some(0o22));
        assert_eq!((status.uids, status.gids), ([1, 2, 3], [5, 6, 7]));
        assert_eq!(status.groups, [9, 10]);
        assert_eq!((status.effective, status.permitted), (1, 0x1ff_ffff_ffff));
        assert!(status.no_new_privs);
        assert_eq!(parse(b"Uid:\t1\t2\n"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn our_own_state_is_there() {
        let own = super::own().unwrap();
        assert!(shows_our_pids());
        let ids = crate::sys::credentials::uids();
        assert_eq!(own.uids, [ids.real, ids.effective, ids.saved]);
        assert!(own.umask.is_some());
        let file = StatusFile::of(crate::sys::clone::getpid()).unwrap();
        for _ in 0..2 {
            assert_eq!(file.read().map(|own| own.uids), Ok(own.uids));
        }
        assert_eq!(StatusFile::of(0).err(), Some(Errno::ENOENT.into()));
    }
}
