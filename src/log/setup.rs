//! What a log is made of; it never changes.

use std::ffi::{CStr, CString};

use nix::errno::Errno;

use super::lines::Format;
use super::rotation::Limit;
use super::text::{bytes, string};
use crate::reap::callback::{EventFn, Pvt};
use crate::sys::error::Error;
use crate::sys::file;
use crate::sys::kept::Kept;

/// Where a log's text goes.
#[derive(Debug)]
pub(crate) enum Place {
    File {
        /// What a relative `dir` is relative to.
        base: Option<Kept>,
        dir: CString,
        name: CString,
        mode: u32,
    },
    /// The daemon, told by its loop.
    Callback,
    /// /dev/log; the text in front of each line there.
    Syslog(Vec<u8>),
    /// The journal's stream socket; the text that is sent there first.
    Journal(Vec<u8>),
    Descriptor(Kept),
}

#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) place: Place,
    /// Bytes are split into lines.
    pub(crate) lines: bool,
    pub(crate) format: Format,
    pub(crate) max_line: usize,
    pub(crate) max_queue: usize,
    /// Children wait where the queue is full; else what they write is dropped.
    pub(crate) blocks: bool,
    pub(crate) limit: Limit,
    /// The age at which a file is rotated, in nanoseconds; 0 for never.
    pub(crate) max_age: u64,
    /// How many rotated files stay; 0 for all.
    pub(crate) keep: u32,
    /// Who is told of lines, where they go to the daemon, and of sources that have ended.
    pub(crate) told: Option<Told>,
}

/// Who is told a log's events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) call: EventFn,
    pub(crate) record: super::mailbox::RecordFn,
    /// The log as the daemon knows it.
    pub(crate) handle: Pvt,
    pub(crate) pvt: Pvt,
}

impl Setup {
    /// Lines are told by the context's loop, and no writer writes them.
    pub(crate) fn tells_lines(&self) -> bool {
        matches!(self.place, Place::Callback)
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> Option<&Kept> {
        match &self.place {
            Place::File { base, .. } => base.as_ref(),
            Place::Descriptor(fd) => Some(fd),
            _ => None,
        }
    }

    /// A copy for a forked process, which has copies of the descriptors.
    pub(crate) fn copy(&self) -> Result<Setup, Error> {
        let place = match &self.place {
            Place::File {
                base,
                dir,
                name,
                mode,
            } => Place::File {
                base: match base {
                    Some(base) => Some(base.copy()?),
                    None => None,
                },
                dir: string(dir.to_bytes())?,
                name: string(name.to_bytes())?,
                mode: *mode,
            },
            Place::Callback => Place::Callback,
            Place::Syslog(head) => Place::Syslog(bytes(&[head])?),
            Place::Journal(head) => Place::Journal(bytes(&[head])?),
            Place::Descriptor(own) => Place::Descriptor(own.copy()?),
        };
        Ok(Setup {
            place,
            format: Format {
                prefix: bytes(&[&self.format.prefix])?,
                ..self.format
            },
            ..*self
        })
    }
}

/// The directory that a relative path starts from, kept for a daemon that changes its
/// working directory later.
pub(crate) fn base_of(path: &CStr) -> Result<Option<Kept>, Error> {
    if path.to_bytes().starts_with(b"/") {
        return Ok(None);
    }
    file::open_directory(None, c".").map(|dir| Some(dir.into()))
}

/// A file's place, of a path; EINVAL where it names no file.
pub(crate) fn place_of(base: Option<Kept>, path: &CStr, mode: u32) -> Result<Place, Error> {
    let path = path.to_bytes();
    let (dir, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(0) => (&b"/"[..], &path[1..]),
        Some(slash) => path.split_at(slash + 1),
        None => (&b"."[..], path),
    };
    if name.is_empty() || name == b"." || name == b".." {
        return Err(Errno::EINVAL.into());
    }
    Ok(Place::File {
        base,
        dir: string(dir)?,
        name: string(name)?,
        mode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_directory_and_a_name() {
        for (path, wanted) in [
            (c"log", Some((c".", c"log"))),
            (c"/log", Some((c"/", c"log"))),
            (c"a/b/log", Some((c"a/b/", c"log"))),
            (c"../log", Some((c"../", c"log"))),
            (c"", None),
            (c"a/", None),
            (c"a/..", None),
        ] {
            let got = match place_of(None, path, 0o640) {
                Ok(Place::File { dir, name, .. }) => Some((dir, name)),
                _ => None,
            };
            let got = got
                .as_ref()
                .map(|(dir, name)| (dir.as_c_str(), name.as_c_str()));
            assert_eq!(got, wanted, "{path:?}");
        }
    }
}
