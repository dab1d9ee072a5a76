//! cgroups(7), version 2: the directory of one service's processes.
//!
//! It is made only below the daemon's own cgroup, where processes can be placed in it.
//! Elsewhere we may have the right to make a directory but not to start processes in it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, getpid, read, unlinkat, write};

use super::directory;
use super::error::{Call, During, Error, out_of_memory};
use super::fd::again;
use super::procfs;

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// A cgroup of a service.
#[derive(Debug)]
pub(crate) struct Cgroup {
    directory: OwnedFd,
    /// As /proc/PID/cgroup shows it for a member.
    path: Vec<u8>,
    /// Some if we made it: how to remove it.
    made: Option<Made>,
}

#[derive(Debug)]
struct Made {
    parent: CString,
    name: CString,
}

/// A mount of the cgroup2 file system: where, and which cgroup is at its root.
struct Mount {
    point: Vec<u8>,
    root: Vec<u8>,
}

fn copy(parts: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let mut copy = Vec::new();
    let length = parts.iter().map(|part| part.len()).sum();
    copy.try_reserve_exact(length).map_err(out_of_memory)?;
    parts.iter().for_each(|part| copy.extend_from_slice(part));
    Ok(copy)
}

fn c_string(parts: &[&[u8]]) -> Result<CString, Error> {
    let bytes = copy(&[&copy(parts)?, &[0]])?;
    CString::from_vec_with_nul(bytes).map_err(|_| Call::open.failed(Errno::EINVAL))
}

/// The error where we are in no cgroup of version 2, or none is mounted.
const NO_CGROUP: Error = Call::open.failed(Errno::ENOENT);

/// The first mount of cgroup2. Paths with blanks, which are escaped, are not supported.
fn mount() -> Result<Mount, Error> {
    let mut text = Vec::new();
    procfs::own_file("mountinfo", &mut text)?;
    for line in text.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b' ');
        let (Some(root), Some(point)) = (fields.nth(3), fields.next()) else {
            continue;
        };
        if fields.skip_while(|&field| field != b"-").nth(1) == Some(b"cgroup2") {
            return Ok(Mount {
                point: copy(&[point])?,
                root: copy(&[root])?,
            });
        }
    }
    Err(NO_CGROUP)
}

fn join(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

/// The daemon's own cgroup: where it is mounted, and what it is called.
fn own() -> Result<(CString, Vec<u8>), Error> {
    let mount = mount()?;
    let mut text = Vec::new();
    let own = procfs::cgroup(getpid().as_raw(), &mut text)?.ok_or(NO_CGROUP)?;
    let below = own.strip_prefix(join(&mount.root)).ok_or(NO_CGROUP)?;
    let place = c_string(&[join(&mount.point), join(below)])?;
    Ok((place, copy(&[own])?))
}

/// The beginning of the name of each cgroup that a daemon makes, so that those of a
/// daemon that crashed are recognized: "sss-", its pid and its start time.
fn prefix(pid: i32, started: u64) -> Result<Vec<u8>, Error> {
    use std::io::Write;
    let mut name = Vec::new();
    name.try_reserve(48).map_err(out_of_memory)?;
    write!(name, "sss-{pid}-{started}-").map_err(out_of_memory)?;
    Ok(name)
}

impl Cgroup {
    /// Makes one below the daemon's own, and checks whether it can be killed.
    pub(crate) fn make(tag: u64) -> Result<Self, Error> {
        use std::io::Write;
        let (parent, own) = own()?;
        remove_leftovers(&parent);
        let me = getpid().as_raw();
        let mut name = prefix(me, procfs::stat(me)?.started)?;
        write!(name, "{tag:016x}").map_err(out_of_memory)?;
        let path = copy(&[join(&own), b"/", &name])?;
        let name = c_string(&[&name])?;
        let above =
            again(|| open(parent.as_c_str(), DIRECTORY, Mode::empty())).during(Call::open)?;
        let mode = Mode::from_bits_truncate(0o755);
        mkdirat(&above, name.as_c_str(), mode).during(Call::mkdirat)?;
        let made = Made { parent, name };
        match again(|| openat(&above, made.name.as_c_str(), DIRECTORY, Mode::empty())) {
            Ok(directory) => {
                let cgroup = Cgroup {
                    directory,
                    path,
                    made: Some(made),
                };
                cgroup.open_kill()?;
                Ok(cgroup)
            }
            Err(errno) => {
                made.remove();
                Err(Call::openat.failed(errno))
            }
        }
    }

    /// One that the daemon made: a copy of its directory's descriptor is kept.
    pub(crate) fn given(directory: i32) -> Result<Self, Error> {
        if directory < 0 {
            return Err(Call::openat.failed(Errno::EBADF));
        }
        // SAFETY: the caller's, borrowed for this call.
        let given = unsafe { BorrowedFd::borrow_raw(directory) };
        let directory =
            again(|| openat(given, c".", DIRECTORY, Mode::empty())).during(Call::openat)?;
        let link = c_string(&[b"/proc/self/fd/", number(directory.as_raw_fd())?.as_slice()])?;
        let place = nix::fcntl::readlink(link.as_c_str()).during(Call::readlink)?;
        let mount = mount()?;
        let place = std::os::unix::ffi::OsStrExt::as_bytes(place.as_os_str());
        let below = place
            .strip_prefix(join(&mount.point))
            .ok_or(Call::readlink.failed(Errno::EINVAL))?;
        let path = copy(&[join(&mount.root), below])?;
        Ok(Cgroup {
            directory,
            path,
            made: None,
        })
    }

    /// Where a child is to be placed.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Whether a member's path in /proc/PID/cgroup is this one or below it. The path of a
    /// cgroup that was removed ends with " (deleted)".
    pub(crate) fn holds(&self, path: &[u8]) -> bool {
        path.strip_prefix(self.path.as_slice())
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || rest == b" (deleted)")
    }

    pub(crate) fn open_kill(&self) -> Result<OwnedFd, Error> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        again(|| openat(&self.directory, c"cgroup.kill", flags, Mode::empty())).during(Call::openat)
    }

    /// Kills all members, however fast they fork (Linux 5.14).
    pub(crate) fn kill(&self) -> Result<(), Error> {
        write(self.open_kill()?, b"1").during(Call::write).map(drop)
    }

    /// Moves a process that runs already into it.
    pub(crate) fn move_in(&self, pid: i32) -> Result<(), Error> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let procs = again(|| openat(&self.directory, c"cgroup.procs", flags, Mode::empty()));
        let procs = procs.during(Call::openat)?;
        write(procs, &number(pid)?).during(Call::write).map(drop)
    }

    pub(crate) fn open_events(&self) -> Result<OwnedFd, Error> {
        open_events(self.directory.as_fd())
    }

    /// Whether no process is in it or below it; zombies do not count.
    pub(crate) fn is_empty(&self) -> bool {
        match self.open_events().and_then(|events| is_populated(&events)) {
            Ok(populated) => !populated,
            // The cgroup was removed. A shortage says nothing: it is looked at again
            // later.
            Err(error) => !error.is_shortage(),
        }
    }

    /// Appends the processes that are directly in it.
    pub(crate) fn members(&self, found: &mut Vec<i32>) -> Result<(), Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let procs = again(|| openat(&self.directory, c"cgroup.procs", flags, Mode::empty()));
        let procs = procs.during(Call::openat)?;
        procfs::read_numbers(&procs, found)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Some(made) = &self.made {
            made.remove();
        }
    }
}

impl Made {
    /// A cgroup with processes in it stays, and with it its name.
    fn remove(&self) {
        let Ok(above) = open(self.parent.as_c_str(), DIRECTORY, Mode::empty()) else {
            return;
        };
        remove_tree(above.as_fd(), &self.name, DEEPEST);
    }
}

fn open_events(directory: BorrowedFd) -> Result<OwnedFd, Error> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    again(|| openat(directory, c"cgroup.events", flags, Mode::empty())).during(Call::openat)
}

/// Whether a process is in the cgroup whose cgroup.events this is, or below it.
fn is_populated(events: &OwnedFd) -> Result<bool, Error> {
    let mut text = [0_u8; 256];
    let got = read(events, &mut text).during(Call::read)?;
    let mut lines = text[..got].split(|&byte| byte == b'\n');
    Ok(lines.any(|line| line == b"populated 1"))
}

/// How many levels of cgroups are removed.
const DEEPEST: u32 = 8;

/// Removes a cgroup and those that programs made in it, where no process is in it or below. A
/// file, "." and ".." are passed over, as rmdir(2) fails with another errno for them.
fn remove_tree(above: BorrowedFd, name: &CStr, levels: u32) {
    let remove = || unlinkat(above, name, UnlinkatFlags::RemoveDir);
    if levels == 0 || remove() != Err(Errno::EBUSY) {
        return;
    }
    let Ok(inside) = openat(above, name, DIRECTORY, Mode::empty()) else {
        return;
    };
    // A program that lives still needs those that are empty.
    if !matches!(
        open_events(inside.as_fd()).and_then(|events| is_populated(&events)),
        Ok(false)
    ) {
        return;
    }
    let _ = directory::names(inside.as_fd(), &mut |name| {
        remove_tree(inside.as_fd(), name, levels - 1);
        Ok(())
    });
    let _ = remove();
}

fn number(value: i32) -> Result<Vec<u8>, Error> {
    use std::io::Write;
    let mut text = Vec::new();
    text.try_reserve(12).map_err(out_of_memory)?;
    write!(text, "{value}").map_err(out_of_memory)?;
    Ok(text)
}

/// Removes the empty cgroups of daemons that are no more. One that still has processes
/// cannot be removed, and is left to the daemon that was started anew.
fn remove_leftovers(parent: &CStr) {
    let Ok(above) = open(parent, DIRECTORY, Mode::empty()) else {
        return;
    };
    let _ = directory::names(above.as_fd(), &mut |name| {
        if let Some((pid, started)) = maker(name.to_bytes()) {
            // A shortage says nothing of it.
            let lives =
                procfs::stat(pid).map_or_else(Error::is_shortage, |stat| stat.started == started);
            if !lives {
                remove_tree(above.as_fd(), name, DEEPEST);
            }
        }
        Ok(())
    });
}

/// Which daemon made the cgroup of this name.
fn maker(name: &[u8]) -> Option<(i32, u64)> {
    let name = std::str::from_utf8(name.strip_prefix(b"sss-")?).ok()?;
    let mut parts = name.split('-');
    let pid = parts.next()?.parse().ok()?;
    let started = parts.next()?.parse().ok()?;
    let tag = parts.next()?;
    (tag.len() == 16 && parts.next().is_none()).then_some((pid, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_and_of_others() {
        assert_eq!(maker(b"sss-12-345-0123456789abcdef"), Some((12, 345)));
        assert_eq!(maker(b"sss-12-345-0123456789abcde"), None);
        assert_eq!(maker(b"sss-12-x-0123456789abcdef"), None);
        assert_eq!(maker(b"system.slice"), None);
    }

    #[test]
    fn made_and_removed() {
        let Ok(cgroup) = Cgroup::make(0x1234) else {
            eprintln!("no cgroup can be made here");
            return;
        };
        assert!(cgroup.is_empty());
        assert!(cgroup.holds(&cgroup.path));
        assert!(!cgroup.holds(b"/elsewhere"));
        let made = cgroup.made.as_ref().unwrap();
        let place = c_string(&[made.parent.to_bytes(), b"/", made.name.to_bytes()]).unwrap();
        let given = open(place.as_c_str(), DIRECTORY, Mode::empty()).unwrap();
        let same = Cgroup::given(given.as_raw_fd()).unwrap();
        assert_eq!(same.path, cgroup.path);
        drop(same);
        drop(given);
        drop(cgroup);
        assert!(open(place.as_c_str(), DIRECTORY, Mode::empty()).is_err());
    }
}
