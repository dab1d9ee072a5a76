//! Messages: noted under the lock, handed to the daemon once it is released.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::fmt::Write;

use crate::sys::lock::Mutex;

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
    /// No pidfd could be had, with this errno; sweeps go on.
    NoPidfd(i32),
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
            Note::Lost(_) | Note::AutoReap | Note::Replaced => LOG_WARNING,
            Note::Recovered(_) | Note::Unknown(_) | Note::NoPidfd(_) => LOG_INFO,
            Note::Context(_) => LOG_DEBUG,
        }
    }

    fn write(self, line: &mut Line) -> std::fmt::Result {
        match self {
            Note::Panic => write!(line, "internal error: a call was given up"),
            Note::Lost(pid) => {
                write!(
                    line,
                    "child {pid}: its status was taken by somebody else and is lost"
                )
            }
            Note::Recovered(pid) => {
                write!(
                    line,
                    "child {pid}: its status was taken by somebody else and was recovered"
                )
            }
            Note::Unknown(pid) => write!(line, "child {pid} ended, and nobody had registered it"),
            Note::NoPidfd(errno) => {
                write!(
                    line,
                    "no pidfd to be had (errno {errno}): children are waited for one by one"
                )
            }
            Note::AutoReap => {
                write!(
                    line,
                    "SIGCHLD is ignored or has SA_NOCLDWAIT: the kernel discards statuses"
                )
            }
            Note::Replaced => write!(line, "SIGCHLD's handler was replaced"),
            Note::Context(index) => write!(line, "context {index}: SIGCHLD taken by the loop"),
        }
    }
}

/// One message, on the stack: logging allocates nothing.
struct Line {
    text: [u8; 160],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        // The last byte stays NUL.
        let room = self.text.len() - 1 - self.length;
        let taken = part.len().min(room);
        self.text[self.length..self.length + taken].copy_from_slice(&part.as_bytes()[..taken]);
        self.length += taken;
        Ok(())
    }
}

const KEPT: usize = 8;

thread_local! {
    // What one call noted; more than KEPT are told as the first ones.
    static NOTES: Cell<[Option<Note>; KEPT]> = const { Cell::new([None; KEPT]) };
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

static SINK: Mutex<Option<Sink>> = Mutex::new(None);

pub(crate) fn set_sink(sink: Option<Sink>) {
    *SINK.lock() = sink;
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
    }
}

/// Whether this call noted anything.
pub(crate) fn is_due() -> bool {
    COUNT.get() > 0
}

/// The messages of this call, each as its level and a NUL-terminated line.
pub(crate) fn take(mut each: impl FnMut(Sink, u32, *const c_char)) {
    COUNT.set(0);
    let notes = NOTES.replace([None; KEPT]);
    // Bounded: in a forked child a thread that is not there may hold the lock.
    let free = (0..1_000).find_map(|_| SINK.try_lock());
    let Some(sink) = free.and_then(|sink| *sink) else {
        return;
    };
    for note in notes.into_iter().flatten() {
        let mut line = Line {
            text: [0; 160],
            length: 0,
        };
        if note.write(&mut line).is_ok() {
            each(sink, note.level(), line.text.as_ptr().cast());
        }
    }
}
