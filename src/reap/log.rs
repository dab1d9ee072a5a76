//! Messages: noted under the lock, handed to the daemon once it is released.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::error::Error;
use crate::sys::fork::Setting;

use super::callback::Pvt;

/// Where messages go.
#[derive(Clone, Copy)]
pub(crate) struct Sink {
    pub(crate) call: unsafe extern "C" fn(u32, *const c_char, *mut c_void),
    pub(crate) pvt: Pvt,
}

/// What is worth a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// A fault of the library's own.
    Panic,
    /// The status of this child was taken by somebody else and is lost.
    Lost(i32),
    /// The same, but a pidfd still had it.
    Recovered(i32),
    /// This child was waited for and nobody had registered it.
    Unknown(i32),
    /// This child ended a minute ago, no service claims it, and nobody reaps it.
    Left(i32),
    /// No pidfd could be opened; sweeps go on.
    NoPidfd(Error),
    /// A system call of ours failed, and so the daemon's call did.
    Failed(Error),
    /// The daemon has closed the pidfd of this child.
    Closed(i32),
    /// SIGCHLD is ignored or has SA_NOCLDWAIT.
    AutoReap,
    /// SIGCHLD's handler was replaced.
    Replaced,
    /// The reaper runs for a context with this index.
    Context(u16),
}

const LOG_ERR: u32 = 3;
const LOG_WARNING: u32 = 4;
const LOG_INFO: u32 = 6;
const LOG_DEBUG: u32 = 7;

impl Note {
    fn level(self) -> u32 {
        match self {
            Note::Panic => LOG_ERR,
            Note::Lost(_) | Note::Left(_) | Note::Closed(_) | Note::AutoReap | Note::Replaced => {
                LOG_WARNING
            }
            Note::Recovered(_) | Note::Unknown(_) | Note::NoPidfd(_) => LOG_INFO,
            Note::Context(_) | Note::Failed(_) => LOG_DEBUG,
        }
    }

    fn error(self) -> Option<Error> {
        match self {
            Note::NoPidfd(error) | Note::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// The message: text, a number if there is one, text. What failed is appended by the
    /// error's own text: see [`Note::error`].
    fn parts(self) -> (&'static str, Option<i32>, &'static str) {
        match self {
            Note::Panic => ("internal error: a call was given up", None, ""),
            Note::Lost(pid) => (
                "child ",
                Some(pid),
                ": its status was taken by somebody else and is lost",
            ),
            Note::Recovered(pid) => (
                "child ",
                Some(pid),
                ": its status was taken by somebody else and was recovered",
            ),
            Note::Unknown(pid) => ("child ", Some(pid), " ended, and nobody had registered it"),
            Note::Left(pid) => (
                "child ",
                Some(pid),
                " ended, is no service's, and nobody reaps it",
            ),
            Note::NoPidfd(_) => (
                "no pidfd to be had, children are waited for one by one: ",
                None,
                "",
            ),
            Note::Failed(_) => ("", None, ""),
            Note::Closed(pid) => (
                "child ",
                Some(pid),
                ": a descriptor of the library's was closed by somebody else",
            ),
            Note::AutoReap => (
                "SIGCHLD is ignored or has SA_NOCLDWAIT: the kernel discards statuses",
                None,
                "",
            ),
            Note::Replaced => ("SIGCHLD's handler was replaced", None, ""),
            Note::Context(index) => (
                "context ",
                Some(i32::from(index)),
                ": SIGCHLD taken by the loop",
            ),
        }
    }
}

/// One message, on the stack: logging allocates nothing. The last byte stays
/// NUL.
struct Line {
    text: [u8; 128],
    length: usize,
}

impl Line {
    fn of(note: Note) -> Self {
        let mut line = Line {
            text: [0; 128],
            length: 0,
        };
        let (before, number, after) = note.parts();
        line.push(before.as_bytes());
        if let Some(number) = number {
            line.push_number(number.unsigned_abs());
        }
        line.push(after.as_bytes());
        if let Some(error) = note.error() {
            // What does not fit is cut.
            let _ = write!(line, "{error}");
        }
        line
    }

    fn push(&mut self, part: &[u8]) {
        let room = self.text.len() - 1;
        for &byte in part {
            if self.length < room {
                self.text[self.length] = byte;
                self.length += 1;
            }
        }
    }

    fn push_number(&mut self, number: u32) {
        if number > 9 {
            self.push_number(number / 10);
        }
        #[allow(clippy::cast_possible_truncation)] // a digit
        self.push(&[b'0' + (number % 10) as u8]);
    }
}

impl Write for Line {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.push(part.as_bytes());
        Ok(())
    }
}

const KEPT: usize = 8;

thread_local! {
    // What one call noted. Of more than KEPT messages only the first are told.
    static NOTES: Cell<[Option<Note>; KEPT]> = const { Cell::new([None; KEPT]) };
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

/// How many messages all threads have. This is looked at first, as it costs less than a
/// thread-local.
static PENDING: AtomicUsize = AtomicUsize::new(0);

static SINK: Setting<Option<Sink>> = Setting::new(None);

pub(crate) fn set_sink(sink: Option<Sink>) -> Result<(), Error> {
    SINK.set(sink)
}

/// Remembers a message for the end of this call.
#[cold]
#[inline(never)]
pub(crate) fn note(note: Note) {
    let count = COUNT.get();
    if count < KEPT {
        let mut notes = NOTES.get();
        notes[count] = Some(note);
        NOTES.set(notes);
        COUNT.set(count + 1);
        PENDING.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether this call may have noted anything.
pub(crate) fn may_be_due() -> bool {
    PENDING.load(Ordering::Relaxed) > 0
}

/// The messages of this call, each as its level and a NUL-terminated line.
pub(crate) fn take(mut each: impl FnMut(Sink, u32, *const c_char)) {
    let count = COUNT.replace(0);
    if count == 0 {
        return;
    }
    PENDING.fetch_sub(count, Ordering::Relaxed);
    let notes = NOTES.replace([None; KEPT]);
    let Some(sink) = SINK.get() else {
        return;
    };
    for note in notes.into_iter().flatten() {
        each(sink, note.level(), Line::of(note).text.as_ptr().cast());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::error::Call;
    use nix::errno::Errno;

    fn text(note: Note) -> String {
        let line = Line::of(note);
        String::from_utf8(line.text[..line.length].to_vec()).unwrap()
    }

    #[test]
    fn a_message_names_the_call_that_failed() {
        assert_eq!(
            text(Note::NoPidfd(Call::pidfd_open.failed(Errno::EMFILE))),
            "no pidfd to be had, children are waited for one by one: \
             pidfd_open: Too many open files"
        );
    }

    #[test]
    fn messages_are_whole_and_terminated() {
        assert_eq!(
            text(Note::Unknown(4_194_304)),
            "child 4194304 ended, and nobody had registered it"
        );
        for note in [
            Note::Recovered(i32::MAX),
            Note::NoPidfd(Call::pidfd_open.failed(Errno::EMFILE)),
            Note::AutoReap,
        ] {
            let line = Line::of(note);
            assert!(line.length < line.text.len() - 1, "{note:?} is cut");
            assert_eq!(line.text[line.length], 0);
        }
    }
}
