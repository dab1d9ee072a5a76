//! Descriptors that the library keeps. It can tell whether they are still its own, where
//! a daemon closes every number and opens other files there.

use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;

use super::error::{Call, Error};
use super::fd::duplicate;
use super::file::{self, File};

/// A descriptor that is identified by its file: it is closed only if it is still ours.
#[derive(Debug)]
pub(crate) struct Kept {
    fd: AtomicI32,
    /// None where its file system did not tell: then it is taken for ours.
    file: Option<File>,
}

impl From<OwnedFd> for Kept {
    fn from(fd: OwnedFd) -> Self {
        let file = file::file_of(fd.as_fd()).ok();
        let fd = fd.into_raw_fd().into();
        Kept { fd, file }
    }
}

impl Kept {
    /// A duplicate; EBADF where the daemon has closed it.
    pub(crate) fn copy(&self) -> Result<Kept, Error> {
        self.there().and_then(duplicate).map(Kept::from)
    }

    /// Whether it is still ours.
    #[inline(never)]
    pub(crate) fn is_there(&self) -> bool {
        match file::file_of(self.as_fd()) {
            Ok(file) => self.is_of(file),
            // Where the file system does not answer, the descriptor counts as ours as
            // long as it is open.
            Err(error) => error != Errno::EBADF,
        }
    }

    /// Itself; EBADF where it is not ours any more.
    pub(crate) fn there(&self) -> Result<&Self, Error> {
        let gone = || Call::fcntl.failed(Errno::EBADF);
        self.is_there().then_some(self).ok_or_else(gone)
    }

    /// The same of one whose file was just asked for.
    pub(crate) fn is_of(&self, file: File) -> bool {
        self.file.is_none_or(|own| own == file)
    }

    fn number(&self) -> RawFd {
        self.fd.load(Ordering::Relaxed)
    }

    /// Before this process opens the same file once more, perhaps by the same number: where
    /// the daemon has closed this, it is not there from now on.
    pub(crate) fn part_if_gone(&self) {
        /// Never open: above what any limit allows.
        const NOWHERE: RawFd = RawFd::MAX;
        if !self.is_there() {
            self.fd.store(NOWHERE, Ordering::Relaxed);
        }
    }

    /// Closes it though it is not dropped: a forked child never drops what it has copies of.
    pub(crate) fn close(&self) {
        if self.is_there() {
            // It is not used after this: its owner drops or forgets it.
            drop(file::take(self.number()));
        }
    }
}

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: as we know it is open; else each call says EBADF, or is for a file of
        // the daemon's, which was said to be ours.
        unsafe { BorrowedFd::borrow_raw(self.number()) }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.close();
    }
}
