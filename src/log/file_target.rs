//! A file that is rotated, written by one writer at a time.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;

use super::lines::End;
use super::rotation::{self, Step};
use super::setup::Setup;
use super::stamp;
use super::text::{bytes, string};
use crate::sys::error::Error;
use crate::sys::kept::Kept;
use crate::sys::{clock, file, memory};

const SECOND: u64 = 1_000_000_000;

/// Where a file is; parts of a [`super::setup::Place::File`].
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    pub(crate) base: Option<&'a Kept>,
    pub(crate) dir: &'a CStr,
    pub(crate) name: &'a CStr,
    pub(crate) mode: u32,
}

#[derive(Debug)]
struct Opened {
    fd: Kept,
    size: u64,
    /// It does not end in a newline.
    mid_line: bool,
    /// The rest of the mark behind a line that a former writer did not finish.
    mark: &'static [u8],
    /// When it was made, CLOCK_REALTIME.
    made: u64,
}

impl Opened {
    /// Writes what is left of the mark.
    fn end_former_line(&mut self) -> Result<(), Error> {
        while !self.mark.is_empty() {
            let written = file::write(self.fd.as_fd(), self.mark)?;
            self.size += written as u64;
            self.mark = self.mark.get(written..).unwrap_or_default();
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
pub(crate) struct File {
    /// The directory. Files are opened and renamed by it, so that rotation works after a
    /// setuid or a chroot.
    dir: Option<Kept>,
    opened: Option<Opened>,
    /// The file is to be opened anew by its name.
    reopen: bool,
    /// When to try again to open it anew, CLOCK_MONOTONIC.
    reopen_from: u64,
    /// No rotation before this time; set where one failed.
    rotate_from: u64,
}

/// What writing did, however it ended.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) bytes: usize,
    pub(crate) rotations: u64,
    /// The last of the errors in spite of which it went on.
    pub(crate) error: Option<Error>,
}

impl File {
    /// Opens it, so that what is wrong with it is found at once.
    pub(crate) fn open(&mut self, path: Path, setup: &Setup) -> Result<(), Error> {
        if self.opened.is_none() {
            self.opened = Some(self.open_by_name(path, setup)?);
            self.reopen = false;
        }
        Ok(())
    }

    /// A copy for a forked process, which opens the file itself.
    pub(crate) fn copy(&self) -> Self {
        File {
            dir: self.dir.as_ref().and_then(|dir| dir.copy().ok()),
            ..File::default()
        }
    }

    /// Its descriptors.
    pub(crate) fn fds(&self) -> impl Iterator<Item = &Kept> {
        let file = self.opened.as_ref().map(|opened| &opened.fd);
        self.dir.iter().chain(file)
    }

    pub(crate) fn reopen(&mut self) {
        self.reopen = true;
        self.reopen_from = 0;
    }

    /// Nothing waits to be written: a reopening that was asked for is done now.
    pub(crate) fn rest(&mut self, path: Path, setup: &Setup) -> Result<(), Error> {
        if self.reopen {
            self.opened = Some(self.open_by_name(path, setup)?);
            self.reopen = false;
        }
        Ok(())
    }

    pub(crate) fn write(
        &mut self,
        path: Path,
        setup: &Setup,
        mut pending: &[u8],
        done: &mut Done,
    ) -> Result<(), Error> {
        self.look(path, setup, done);
        self.open(path, setup)?;
        if let Some(opened) = &mut self.opened {
            opened.end_former_line()?;
        }
        while !pending.is_empty() {
            let Some(opened) = &self.opened else {
                return Err(Errno::ENOENT.into());
            };
            let length = match self.next(opened, setup, pending) {
                Step::Write(length) => length,
                Step::Rotate => {
                    if let Err(error) = self.rotate(path, setup, done) {
                        // Nothing is lost: the file grows beyond its size.
                        done.error = Some(error);
                        self.rotate_from = clock::now() + SECOND;
                    }
                    continue;
                }
            };
            let written = file::write(opened.fd.as_fd(), &pending[..length])?;
            if let Some(opened) = &mut self.opened {
                opened.size += written as u64;
                opened.mid_line = pending[written - 1] != b'\n';
            }
            done.bytes += written;
            pending = &pending[written..];
            if self.reopen {
                self.reopen_at_line_end(path, setup, pending, done);
            }
        }
        Ok(())
    }

    fn next(&self, opened: &Opened, setup: &Setup, pending: &[u8]) -> Step {
        if self.reopen && opened.mid_line {
            // The line that has begun belongs to the former file.
            let end = memory::find(b'\n', pending).map_or(pending.len(), |end| end + 1);
            return Step::Write(end);
        }
        let may_rotate = self.rotate_from == 0 || clock::now() >= self.rotate_from;
        if !may_rotate {
            return Step::Write(pending.len());
        }
        let aged = setup.max_age > 0
            && opened.size > 0
            && !opened.mid_line
            && clock::realtime().saturating_sub(opened.made) >= setup.max_age;
        if aged {
            return Step::Rotate;
        }
        setup.limit.next(pending, opened.size, opened.mid_line)
    }

    /// Looks whether other code has removed or truncated the file.
    fn look(&mut self, path: Path, setup: &Setup, done: &mut Done) {
        let Some(opened) = &mut self.opened else {
            return;
        };
        match file::stat(opened.fd.as_fd()) {
            Ok(found) if found.links > 0 && opened.fd.is_of(found.file) => {
                opened.size = found.size;
                if found.size == 0 {
                    opened.mid_line = false;
                    opened.mark = b"";
                }
            }
            Err(error) if error != Errno::EBADF => {}
            // Or the daemon has closed it, and the number may be another file's.
            _ => {
                self.opened = None;
                return;
            }
        }
        if self.reopen && !opened.mid_line && clock::now() >= self.reopen_from {
            self.reopen_now(path, setup, done);
        }
    }

    fn reopen_at_line_end(&mut self, path: Path, setup: &Setup, pending: &[u8], done: &mut Done) {
        let mid_line = self.opened.as_ref().is_some_and(|opened| opened.mid_line);
        let is_due = !mid_line || memory::find(b'\n', pending).is_none();
        if is_due && clock::now() >= self.reopen_from {
            self.reopen_now(path, setup, done);
        }
    }

    /// Opens the file anew by its name. Where that fails the former file is kept for now.
    fn reopen_now(&mut self, path: Path, setup: &Setup, done: &mut Done) {
        match self.open_by_name(path, setup) {
            Ok(opened) => {
                self.opened = Some(opened);
                self.reopen = false;
            }
            Err(errno) => {
                done.error = Some(errno);
                self.reopen_from = clock::now() + SECOND;
            }
        }
    }

    fn open_by_name(&mut self, path: Path, setup: &Setup) -> Result<Opened, Error> {
        let mut opened = self.open_in_directory(path);
        if opened.as_ref().err() == Some(&Errno::ENOENT.into()) {
            // The directory was removed; perhaps there is another one by now.
            self.dir = None;
            opened = self.open_in_directory(path);
        }
        let mut opened = opened?;
        // The file ends in the middle of a line: its former writer ended there.
        if setup.lines && opened.mid_line {
            opened.mid_line = false;
            opened.mark = End::Missing.mark();
            // What a full disk does not take now is written before the first line.
            let _ = opened.end_former_line();
        }
        Ok(opened)
    }

    fn open_in_directory(&mut self, path: Path) -> Result<Opened, Error> {
        let dir = match self.dir.take().filter(Kept::is_there) {
            Some(dir) => self.dir.insert(dir),
            None => {
                let base = path.base.map(Kept::there).transpose()?;
                let opened = file::open_directory(base.map(AsFd::as_fd), path.dir)?;
                self.dir.insert(opened.into())
            }
        };
        let fd = file::open_append(dir.as_fd(), path.name, path.mode)?;
        let found = file::stat(fd.as_fd())?;
        let last = file::last_byte(dir.as_fd(), path.name, found.size);
        Ok(Opened {
            fd: fd.into(),
            size: found.size,
            mid_line: last.is_some_and(|last| last != b'\n'),
            mark: b"",
            made: found.made.unwrap_or_else(|| {
                // Made by the last rotation, if there was one.
                let times = times(dir.as_fd(), path.name).unwrap_or_default();
                times.into_iter().max().unwrap_or(found.changed)
            }),
        })
    }

    /// Renames the file, unless another process has done so, then makes a new one. If we
    /// are killed in between, the next process that opens the log makes the file. If we
    /// are killed after that, the next rotation removes what is too old.
    fn rotate(&mut self, path: Path, setup: &Setup, done: &mut Done) -> Result<(), Error> {
        let (Some(dir), Some(opened)) = (&self.dir, &mut self.opened) else {
            return Err(Errno::ENOENT.into());
        };
        let dir = dir.there()?.as_fd();
        let current = file::stat(opened.fd.as_fd())?;
        if current.size < opened.size {
            // Other code has truncated it, as logrotate's copytruncate does.
            opened.size = current.size;
            return Ok(());
        }
        let mut times = times(dir, path.name)?;
        match file::stat_at(dir, path.name) {
            Ok(named) if named.is_same_file(&current) => {
                let mut time = rotation::next_time(clock::realtime(), &times);
                times.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                while let Err(errno) = file::rename(dir, path.name, &name_at(path.name, time)?) {
                    if errno != Errno::EEXIST {
                        return Err(errno);
                    }
                    time += 1;
                }
                times.push(time);
                done.rotations += 1;
            }
            Err(error) if error != Errno::ENOENT => return Err(error),
            // Another process has renamed it: only a new file is needed.
            _ => {}
        }
        let surplus = rotation::surplus(&mut times, setup.keep);
        for &time in &times[..surplus] {
            match file::unlink(dir, &name_at(path.name, time)?) {
                // It stays, and the next rotation tries again: others go on.
                Err(error) if error != Errno::ENOENT => done.error = Some(error),
                _ => {}
            }
        }
        let fresh = self.open_in_directory(path)?;
        if file::stat(fresh.fd.as_fd())?.is_same_file(&current) {
            // The name is a symbolic link, so nothing was renamed above. The new open found
            // the same full file: without this error it would rotate for ever.
            return Err(Errno::ELOOP.into());
        }
        self.opened = Some(fresh);
        self.rotate_from = 0;
        Ok(())
    }
}

/// The times of the files that were rotated.
fn times(dir: BorrowedFd, base: &CStr) -> Result<Vec<u64>, Error> {
    let mut times = Vec::new();
    let mut full = false;
    file::list(dir, |name| {
        if let Some(time) = rotation::rotated(base.to_bytes(), name) {
            match times.try_reserve(1) {
                Ok(()) => times.push(time),
                Err(_) => full = true,
            }
        }
    })?;
    if full {
        return Err(Errno::ENOMEM.into());
    }
    Ok(times)
}

fn name_at(base: &CStr, time: u64) -> Result<CString, Error> {
    string(&bytes(&[base.to_bytes(), b".", &stamp::name(time)])?)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::fd::AsRawFd;

    use super::super::backlog::test_setup;
    use super::*;

    /// The daemon has closed all of a log's descriptors, and has a file of its own there.
    #[test]
    fn what_stands_at_its_numbers_is_not_written() {
        let dir = std::env::temp_dir().join(format!("sss-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let own = std::fs::File::create(dir.join("own")).unwrap();
        let named = CString::new(dir.to_str().unwrap()).unwrap();
        let path = Path {
            base: None,
            dir: &named,
            name: c"log",
            mode: 0o600,
        };
        let setup = test_setup(true);
        let mut target = File::default();
        let mut done = Done::default();
        target.write(path, &setup, b"one\n", &mut done).unwrap();
        for fd in target.fds() {
            let mut fd = file::take(fd.as_fd().as_raw_fd());
            nix::unistd::dup2(&own, &mut fd).unwrap();
            std::mem::forget(fd);
        }
        target.write(path, &setup, b"two\n", &mut done).unwrap();
        assert_eq!(std::fs::read(dir.join("log")).unwrap(), b"one\ntwo\n");
        assert_eq!(own.metadata().unwrap().len(), 0);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
