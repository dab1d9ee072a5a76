//! Writes text to each kind of target.

use std::os::fd::AsFd;

use nix::errno::Errno;

use super::file_target::{Done, File, Path};
use super::setup::{Place, Setup};
use crate::sys::error::Error;
use crate::sys::kept::Kept;
use crate::sys::unix::{self, Kind};
use crate::sys::{file, memory};

const SYSLOG: &std::ffi::CStr = c"/dev/log";
const JOURNAL: &std::ffi::CStr = c"/run/systemd/journal/stdout";
/// A datagram that is too long is cut to this length, which every syslog takes.
const DATAGRAM: usize = 1024;

/// What a writer has open.
#[derive(Debug, Default)]
pub(crate) struct Target {
    file: File,
    socket: Option<Kept>,
    /// It is to be connected anew before the next line begins.
    reconnect: bool,
    /// The last text sent on the stream ended in the middle of a line.
    mid_line: bool,
}

impl Target {
    /// Opens it, so that what is wrong is found at once.
    pub(crate) fn open(&mut self, setup: &Setup) -> Result<(), Error> {
        match &setup.place {
            Place::File { .. } => self.file.open(path_of(&setup.place), setup),
            Place::Syslog(_) => self.connect(SYSLOG, Kind::Datagrams, &[]),
            Place::Journal(head) => self.connect(JOURNAL, Kind::Stream, head),
            Place::Callback | Place::Descriptor(_) => Ok(()),
        }
    }

    /// A copy for a forked process: files are opened by the same directory.
    pub(crate) fn copy(&self) -> Self {
        Target {
            file: self.file.copy(),
            ..Target::default()
        }
    }

    /// Its descriptors.
    pub(crate) fn fds(&self) -> impl Iterator<Item = &Kept> {
        self.file.fds().chain(&self.socket)
    }

    /// It is to be opened anew before anything else is written.
    pub(crate) fn reopen(&mut self) {
        self.file.reopen();
        self.reconnect = true;
    }

    /// There is nothing to write: does what else is due.
    pub(crate) fn rest(&mut self, setup: &Setup) -> Result<(), Error> {
        match &setup.place {
            Place::File { .. } => self.file.rest(path_of(&setup.place), setup),
            _ => Ok(()),
        }
    }

    /// Writes as much as it can.
    pub(crate) fn write(
        &mut self,
        setup: &Setup,
        text: &[u8],
        done: &mut Done,
    ) -> Result<(), Error> {
        match &setup.place {
            Place::File { .. } => self.file.write(path_of(&setup.place), setup, text, done),
            Place::Descriptor(fd) => {
                while done.bytes < text.len() {
                    done.bytes += file::write(fd.as_fd(), &text[done.bytes..])?;
                }
                Ok(())
            }
            Place::Syslog(head) => {
                self.connect(SYSLOG, Kind::Datagrams, &[])?;
                let sent = self.send_lines(head, text, done);
                self.disconnect_if_gone(sent)
            }
            Place::Journal(head) => {
                let sent = self.send_stream(head, text, done);
                self.disconnect_if_gone(sent)
            }
            Place::Callback => Ok(()),
        }
    }

    fn connect(&mut self, path: &std::ffi::CStr, kind: Kind, head: &[u8]) -> Result<(), Error> {
        if self.reconnect && !self.mid_line {
            self.socket = None;
            self.reconnect = false;
        }
        if self.socket.is_some() {
            return Ok(());
        }
        let socket = unix::connect(path, kind)?;
        // The socket is new: a few bytes fit.
        if !head.is_empty() && unix::send(socket.as_fd(), head)? != head.len() {
            return Err(Errno::EAGAIN.into());
        }
        self.socket = Some(socket.into());
        Ok(())
    }

    fn send_lines(&self, head: &[u8], text: &[u8], done: &mut Done) -> Result<(), Error> {
        let socket = self.socket.as_ref().ok_or(Errno::ENOTCONN)?.as_fd();
        while done.bytes < text.len() {
            let rest = &text[done.bytes..];
            let length = memory::find(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..length];
            match unix::send_datagram(socket, [head, line]) {
                Err(error) if error == Errno::EMSGSIZE => {
                    done.error = Some(Errno::EMSGSIZE.into());
                    unix::send_datagram(socket, [head, &line[..length.min(DATAGRAM)]])?;
                }
                sent => sent?,
            }
            done.bytes += (length + 1).min(rest.len());
        }
        Ok(())
    }

    fn send_stream(&mut self, head: &[u8], text: &[u8], done: &mut Done) -> Result<(), Error> {
        while done.bytes < text.len() {
            self.connect(JOURNAL, Kind::Stream, head)?;
            let mut rest = &text[done.bytes..];
            if self.reconnect {
                // The line that has begun belongs to the former connection.
                let end = memory::find(b'\n', rest).map_or(rest.len(), |end| end + 1);
                rest = &rest[..end];
            }
            let socket = self.socket.as_ref().ok_or(Errno::ENOTCONN)?;
            let sent = unix::send(socket.as_fd(), rest)?;
            self.mid_line = rest[..sent].last() != Some(&b'\n');
            done.bytes += sent;
        }
        Ok(())
    }

    /// After any error but a full buffer the socket is connected anew.
    fn disconnect_if_gone(&mut self, sent: Result<(), Error>) -> Result<(), Error> {
        if sent.is_err_and(|error| !is_full(error)) {
            self.socket = None;
            self.mid_line = false;
        }
        sent
    }
}

/// # Panics
/// For another place than a file, which no caller has.
fn path_of(place: &Place) -> Path<'_> {
    match place {
        Place::File {
            base,
            dir,
            name,
            mode,
        } => Path {
            base: base.as_ref(),
            dir,
            name,
            mode: *mode,
        },
        _ => unreachable!("a file's place"),
    }
}

/// Whether the receiver is there, and has not read yet what it was sent before.
pub(crate) fn is_full(error: Error) -> bool {
    matches!(error.errno, Errno::EAGAIN | Errno::ENOBUFS)
}

/// Whether nobody will ever read from it again, so that what is for it is dropped.
pub(crate) fn is_gone(setup: &Setup, error: Error) -> bool {
    matches!(setup.place, Place::Descriptor(_))
        && matches!(error.errno, Errno::EPIPE | Errno::EBADF)
}
