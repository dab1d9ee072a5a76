//! proc(5): the list of our children, and what can be asked of a process.
//!
//! Nothing here allocates, except that buffers which the caller hands in are grown by
//! `try_reserve`.

use super::bits::ToSigned;
use super::directory;
use super::error::{Call, During, Error, out_of_memory, unless_short};
use super::fd::again;
use std::ffi::CStr;
use std::fmt::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, stat as stat_path};
use nix::unistd::{getpid, read};

/// "/proc/PID/task/TID/children" and shorter ones.
struct Path {
    text: [u8; 64],
    length: usize,
}

impl Write for Path {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.length + part.len();
        // The last byte stays the NUL.
        if end >= self.text.len() {
            return Err(fmt::Error);
        }
        self.text[self.length..end].copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl Path {
    fn as_c_str(&self) -> Result<&CStr, Error> {
        CStr::from_bytes_until_nul(&self.text).map_err(|_| Call::open.failed(Errno::ENAMETOOLONG))
    }
}

fn path_of(path: fmt::Arguments) -> Result<Path, Error> {
    let mut built = Path {
        text: [0; 64],
        length: 0,
    };
    built
        .write_fmt(path)
        .map_err(|_| Call::open.failed(Errno::ENAMETOOLONG))?;
    Ok(built)
}

fn open_at(path: fmt::Arguments) -> Result<OwnedFd, Error> {
    let path = path_of(path)?;
    let path = path.as_c_str()?;
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    again(|| open(path, flags, Mode::empty())).during(Call::open)
}

/// Appends what a file holds.
fn read_all(fd: &OwnedFd, text: &mut Vec<u8>) -> Result<(), Error> {
    loop {
        let before = text.len();
        text.try_reserve(4096).map_err(out_of_memory)?;
        text.resize(text.capacity(), 0);
        let got = read(fd, &mut text[before..]);
        text.truncate(before + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Call::read.failed(errno)),
        }
    }
}

fn read_file(path: fmt::Arguments, text: &mut Vec<u8>) -> Result<(), Error> {
    text.clear();
    read_all(&open_at(path)?, text)
}

/// Whether /proc is there and shows the pids that we use: ENOENT where it is not
/// mounted, EXDEV where it is another pid namespace's.
pub(crate) fn check() -> Result<(), Error> {
    let mut text = Vec::new();
    read_file(format_args!("/proc/self/status"), &mut text)?;
    let field = |name: &str| {
        text.split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(name.as_bytes()))
    };
    let numbers = |line: &[u8]| {
        line.split(u8::is_ascii_whitespace)
            .filter_map(number)
            .count()
    };
    if field("Pid:").and_then(|line| line.split(u8::is_ascii_whitespace).find_map(number))
        != Some(getpid().as_raw())
    {
        return Err(Call::open.failed(Errno::EXDEV));
    }
    // One number for each namespace from the mount's to the process's.
    match field("NSpid:").map(numbers) {
        Some(1) => {}
        Some(_) => return Err(Call::open.failed(Errno::EXDEV)),
        // Linux before 4.1.
        None => return Err(Call::open.failed(Errno::ENOENT)),
    }
    // Without CONFIG_PROC_CHILDREN there is no such file.
    open_at(format_args!("/proc/self/task/{}/children", getpid())).map(drop)
}

fn number(text: &[u8]) -> Option<i32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_i32, |number, &digit| {
        let digit = char::from(digit).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.to_signed())
    })
}

fn numbers(text: &[u8], found: &mut Vec<i32>) -> Result<(), Error> {
    for word in text.split(u8::is_ascii_whitespace) {
        if let Some(pid) = number(word) {
            found.try_reserve(1).map_err(out_of_memory)?;
            found.push(pid);
        }
    }
    Ok(())
}

/// Buffers for a look, kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    threads: Vec<i32>,
    text: Vec<u8>,
    again: Vec<i32>,
}

/// Appends the children of a process as one reading of all its threads shows them; forked
/// children are listed with the thread that forked them, orphans with the first thread
/// that lives. ENOENT or ESRCH where the process is gone.
pub(crate) fn children_of(
    pid: i32,
    found: &mut Vec<i32>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let task = open_at(format_args!("/proc/{pid}/task"))?;
    scratch.threads.clear();
    directory::names(task.as_fd(), &mut |name| {
        numbers(name.to_bytes(), &mut scratch.threads)
    })?;
    for at in 0..scratch.threads.len() {
        let thread = scratch.threads[at];
        scratch.text.clear();
        let children = open_at(format_args!("/proc/{pid}/task/{thread}/children"));
        match children.and_then(|children| read_list(&children, &mut scratch.text)) {
            Ok(()) => numbers(&scratch.text, found)?,
            // The thread has ended; its children are another's.
            Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Our children by one reading. True if we have one thread: then nobody can reap a child
/// during the reading, so none is missed.
pub(crate) fn own_children_once(
    found: &mut Vec<i32>,
    scratch: &mut Scratch,
) -> Result<bool, Error> {
    found.clear();
    let me = getpid().as_raw();
    if has_one_thread(me) {
        scratch.text.clear();
        let children = open_at(format_args!("/proc/{me}/task/{me}/children"))?;
        read_list(&children, &mut scratch.text)?;
        numbers(&scratch.text, found)?;
        return Ok(true);
    }
    children_of(me, found, scratch)?;
    Ok(false)
}

/// Whether a process has one thread, by the links of its task directory: "." and "..",
/// and one for each thread. Where a kernel counts otherwise, the answer is no.
fn has_one_thread(pid: i32) -> bool {
    path_of(format_args!("/proc/{pid}/task"))
        .and_then(|path| stat_path(path.as_c_str()?).during(Call::stat))
        .is_ok_and(|stat| stat.st_nlink == 3)
}

/// Appends a list of numbers that the kernel makes as it is read. It fills a page at a
/// time, so one that is not full was the last. To read until the end of file would cost
/// the kernel one more walk over all children.
fn read_list(fd: &OwnedFd, text: &mut Vec<u8>) -> Result<(), Error> {
    /// The smallest page of any architecture.
    const PAGE: usize = 4096;
    /// More than a number and its blank.
    const ENTRY: usize = 16;
    loop {
        let before = text.len();
        text.try_reserve(PAGE).map_err(out_of_memory)?;
        text.resize(before + PAGE, 0);
        let got = read(fd, &mut text[before..]);
        text.truncate(before + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(got) if got < PAGE - ENTRY => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Call::read.failed(errno)),
        }
    }
}

/// How often the children are read at most until two readings agree.
const READINGS: u32 = 32;

/// Our own children, zombies too. One reading may miss some while one is taken out of the
/// list; two that agree do not. Two agree where the second has all of the first in the
/// same order: children that came meanwhile are at the end. False where no two agreed:
/// then the list is the last one.
pub(crate) fn own_children(found: &mut Vec<i32>, scratch: &mut Scratch) -> Result<bool, Error> {
    let me = getpid().as_raw();
    found.clear();
    children_of(me, found, scratch)?;
    for _ in 0..READINGS {
        let mut again = std::mem::take(&mut scratch.again);
        again.clear();
        let read = children_of(me, &mut again, scratch);
        let agree = read.is_ok() && is_within(found, &again);
        std::mem::swap(found, &mut again);
        scratch.again = again;
        read?;
        if agree {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a list has all of another one, in its order.
fn is_within(part: &[i32], whole: &[i32]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|one| rest.any(|other| other == one))
}

/// The number that a pid file holds.
pub(crate) fn pid_file(path: &CStr, text: &mut Vec<u8>) -> Option<i32> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = open(path, flags, Mode::empty()).ok()?;
    text.clear();
    read_all(&file, text).ok()?;
    text.split(u8::is_ascii_whitespace)
        .find(|word| !word.is_empty())
        .and_then(number)
}

/// Appends the numbers that a file holds.
pub(crate) fn read_numbers(file: &OwnedFd, found: &mut Vec<i32>) -> Result<(), Error> {
    let mut text = Vec::new();
    read_all(file, &mut text)?;
    numbers(&text, found)
}

/// Parts of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// 'R', 'S', 'Z' and so on.
    pub(crate) state: u8,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    pub(crate) threads: i32,
    /// In ticks of CLOCK_BOOTTIME.
    pub(crate) started: u64,
}

impl Stat {
    /// Whether the whole process has ended. A process whose first thread has ended shows
    /// as a zombie too while other threads live.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }
}

pub(crate) fn stat(pid: i32) -> Result<Stat, Error> {
    let mut buffer = [0_u8; 1024];
    parse_stat(read_stat(pid, &mut buffer)?).ok_or(Call::read.failed(Errno::EIO))
}

fn read_stat(pid: i32, buffer: &mut [u8; 1024]) -> Result<&[u8], Error> {
    let file = open_at(format_args!("/proc/{pid}/stat"))?;
    let got = read(&file, buffer).during(Call::read)?;
    Ok(&buffer[..got])
}

/// The fields of /proc/PID/stat from the third, the state, on. The command's name, field
/// 2, may hold anything, parentheses too.
fn stat_fields(text: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let name_end = text.iter().rposition(|&byte| byte == b')')?;
    let fields = text[name_end + 1..].split(u8::is_ascii_whitespace);
    Some(fields.filter(|field| !field.is_empty()))
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    let mut fields = stat_fields(text)?;
    let state = *fields.next()?.first()?;
    let parent = number(fields.next()?)?;
    let session = number(fields.nth(1)?)?;
    let threads = number(fields.nth(13)?)?;
    let started = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
    Some(Stat {
        state,
        parent,
        session,
        threads,
        started,
    })
}

/// The real uid of a process.
pub(crate) fn real_uid(pid: i32) -> Result<u32, Error> {
    let file = open_at(format_args!("/proc/{pid}/status"))?;
    let mut buffer = [0_u8; 2048];
    let got = read(&file, &mut buffer).during(Call::read)?;
    buffer[..got]
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Uid:"))
        .and_then(|line| {
            line.split(u8::is_ascii_whitespace)
                .find(|word| !word.is_empty())
        })
        .and_then(|word| std::str::from_utf8(word).ok()?.parse().ok())
        .ok_or(Call::read.failed(Errno::EIO))
}

/// A soft limit by its name in /proc/PID/limits; of a zombie too. None where there
/// is no limit.
pub(crate) fn limit(pid: i32, name: &str, text: &mut Vec<u8>) -> Result<Option<u64>, Error> {
    let read = unless_short(read_file(format_args!("/proc/{pid}/limits"), text))?;
    let soft = |()| {
        let line = text
            .split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(name.as_bytes()))?;
        let soft = line
            .split(u8::is_ascii_whitespace)
            .find(|word| !word.is_empty())?;
        std::str::from_utf8(soft).ok()?.parse().ok()
    };
    Ok(read.and_then(soft))
}

/// What a process's environment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said<T> {
    This(T),
    Nothing,
    /// It is in execve(2), which has not written the new environment yet: ask again later.
    NotYet,
}

/// What `find` makes of the first variable, `NAME=value`, that it knows.
pub(crate) fn variable<T>(
    pid: i32,
    text: &mut Vec<u8>,
    find: impl Fn(&[u8]) -> Option<T>,
) -> Result<Said<T>, Error> {
    // It may leave execve(2) between the two questions: then both are asked again.
    for _ in 0..8 {
        let read = unless_short(read_file(format_args!("/proc/{pid}/environ"), text))?;
        if read.is_none() {
            return Ok(Said::Nothing);
        }
        if !text.is_empty() {
            let found = text.split(|&byte| byte == 0).find_map(find);
            return Ok(found.map_or(Said::Nothing, Said::This));
        }
        match unless_short(environment_bounds(pid))?.flatten() {
            Some((_, 0)) => return Ok(Said::NotYet),
            Some((start, end)) if start < end => {}
            _ => return Ok(Said::Nothing),
        }
    }
    Ok(Said::NotYet)
}

/// The addresses at which a process's environment begins and ends; None if it has ended.
/// Both are 0 until execve(2) has written the environment (fs/binfmt_elf.c).
fn environment_bounds(pid: i32) -> Result<Option<(u64, u64)>, Error> {
    let mut buffer = [0_u8; 1024];
    let text = read_stat(pid, &mut buffer)?;
    let mut fields = stat_fields(text).ok_or(Call::read.failed(Errno::EIO))?;
    let dead = matches!(fields.next(), Some(b"Z" | b"X"));
    let mut bounds = fields
        .skip(46)
        .map(|field| std::str::from_utf8(field).ok()?.parse().ok());
    let (start, end) = (bounds.next().flatten(), bounds.next().flatten());
    Ok(start.zip(end).filter(|_| !dead))
}

/// The path of a process's cgroup (v2), below the root of our cgroup namespace;
/// of a zombie too.
pub(crate) fn cgroup(pid: i32, text: &mut Vec<u8>) -> Result<Option<&[u8]>, Error> {
    let read = unless_short(read_file(format_args!("/proc/{pid}/cgroup"), text))?;
    Ok(read.and_then(|()| {
        text.split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(b"0::"))
    }))
}

/// Reads a file of ours in /proc/self.
pub(crate) fn own_file(name: &str, text: &mut Vec<u8>) -> Result<(), Error> {
    read_file(format_args!("/proc/self/{name}"), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = b"12 (a) R 1 (b) S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 1\n";
        let parsed = parse_stat(stat).unwrap();
        assert_eq!(
            parsed,
            Stat {
                state: b'S',
                parent: 7,
                session: 9,
                threads: 1,
                started: 4711
            }
        );
        assert_eq!(parse_stat(b"12 (a"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn our_own_stat() {
        let me = getpid().as_raw();
        let stat = stat(me).unwrap();
        assert_eq!(stat.parent, nix::unistd::getppid().as_raw());
        assert!(stat.started > 0);
        assert!(crate::sys::credentials::uids().are(real_uid(me).unwrap()));
    }

    #[test]
    fn numbers_are_numbers() {
        assert_eq!(number(b"4711"), Some(4711));
        assert_eq!(number(b""), None);
        assert_eq!(number(b"47x"), None);
        assert_eq!(number(b"99999999999"), None);
    }

    #[test]
    fn who_came_meanwhile_does_not_matter_and_who_went_does() {
        assert!(is_within(&[], &[1]));
        assert!(is_within(&[1, 2], &[1, 2, 3]));
        assert!(is_within(&[1, 2], &[1, 3, 2]));
        assert!(!is_within(&[1, 2], &[1, 3]));
        assert!(!is_within(&[1, 2], &[2, 1]));
    }

    #[test]
    fn a_list_of_several_pages_is_read_whole() {
        let (reading, writing) = nix::unistd::pipe().unwrap();
        let mut wanted = Vec::new();
        let mut sent = String::new();
        for number in 1_000_000..1_001_700 {
            wanted.push(number);
            sent += &format!("{number} ");
        }
        assert!(sent.len() > 3 * 4096);
        nix::unistd::write(&writing, sent.as_bytes()).unwrap();
        drop(writing);
        let mut text = Vec::new();
        read_list(&reading, &mut text).unwrap();
        let mut found = Vec::new();
        numbers(&text, &mut found).unwrap();
        assert_eq!(found, wanted);
    }

    #[test]
    fn our_proc_is_ours() {
        assert_eq!(check(), Ok(()));
    }
}
