//! What `sss_log_*` takes and tells: `struct sss_log_params`, `struct sss_log_event`,
//! `struct sss_log_stats`.

use std::ffi::{CStr, c_char, c_void};

use nix::errno::Errno;

use super::object::{Held, Memory};
use super::params::{Handle, Str, event_fn};
use crate::log::lines::Format;
use crate::log::mailbox::{Event, Kind};
use crate::log::rotation::Limit;
use crate::log::setup::{self, Place, Setup, Told};
use crate::log::text;
use crate::log::{self, LABEL, LogId, Stats};
use crate::reap::callback::Pvt;
use crate::sys::bits::ToSigned;
use crate::sys::error::Error;
use crate::sys::opaque::Record;
use crate::sys::{fd, unix};

/// A log: what sss_log_open() makes. Opaque.
#[allow(non_camel_case_types)]
pub struct sss_log(#[allow(dead_code)] Memory<Open>);

/// What the daemon has of a log.
pub(crate) struct Open(pub(super) LogId);

impl Held for sss_log {
    type Value = Open;
    const NAME: &'static CStr = c"struct sss_log";
}

impl Handle<'_, sss_log> {
    pub(super) fn id(self) -> Result<LogId, Error> {
        Ok(self.get()?.0)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let _ = log::free(self.0);
    }
}

/// sss_log_params.target: a file, sss_log_params.path.
pub const SSS_LOG_TO_FILE: u32 = 1;
/// sss_log_params.target: sss_log_params.event_fn, line by line.
pub const SSS_LOG_TO_CALLBACK: u32 = 2;
/// sss_log_params.target: syslog, by /dev/log, line by line.
pub const SSS_LOG_TO_SYSLOG: u32 = 3;
/// sss_log_params.target: the journal, by its stream socket, line by line.
pub const SSS_LOG_TO_JOURNAL: u32 = 4;
/// sss_log_params.target: another descriptor, sss_log_params.fd.
pub const SSS_LOG_TO_FD: u32 = 5;

/// sss_log_params.dir_fd counts.
pub const SSS_LOG_DIR_FD: u32 = 0x1;
/// sss_log_params.mode counts.
pub const SSS_LOG_MODE: u32 = 0x2;
/// sss_log_params.max_size counts.
pub const SSS_LOG_MAX_SIZE: u32 = 0x4;
/// sss_log_params.max_age counts.
pub const SSS_LOG_MAX_AGE: u32 = 0x8;
/// sss_log_params.keep counts.
pub const SSS_LOG_KEEP: u32 = 0x10;
/// sss_log_params.max_line counts.
pub const SSS_LOG_MAX_LINE: u32 = 0x20;
/// sss_log_params.max_queue counts.
pub const SSS_LOG_MAX_QUEUE: u32 = 0x40;
/// sss_log_params.fd counts.
pub const SSS_LOG_FD: u32 = 0x80;
/// sss_log_params.priority counts.
pub const SSS_LOG_PRIORITY: u32 = 0x100;

/// Split what is read into lines, which are never torn or mixed. The callback,
/// syslog and the journal get lines in any case.
pub const SSS_LOG_LINES: u32 = 0x1_0000;
/// Put the time at which a line's first byte was read in front of it, in UTC with
/// nanoseconds, as 2026-11-26T22:17:40.123456789Z. Implies SSS_LOG_LINES.
pub const SSS_LOG_TIME: u32 = 0x2_0000;
/// Put the source's label in front of each line. Implies SSS_LOG_LINES.
pub const SSS_LOG_LABEL: u32 = 0x4_0000;
/// Where the queue is full, stop reading: who writes to the pipe is blocked once
/// the pipe is full too. Without this, what finds no room is dropped and counted.
pub const SSS_LOG_BLOCK: u32 = 0x8_0000;

const KNOWN: u32 = SSS_LOG_DIR_FD
    | SSS_LOG_MODE
    | SSS_LOG_MAX_SIZE
    | SSS_LOG_MAX_AGE
    | SSS_LOG_KEEP
    | SSS_LOG_MAX_LINE
    | SSS_LOG_MAX_QUEUE
    | SSS_LOG_FD
    | SSS_LOG_PRIORITY
    | SSS_LOG_LINES
    | SSS_LOG_TIME
    | SSS_LOG_LABEL
    | SSS_LOG_BLOCK;

/// sss_log_event.kind: a line. Only where the target is the callback.
pub const SSS_LOG_EVENT_LINE: u32 = 1;
/// sss_log_event.kind: a part of a line that is longer than max_line; the rest
/// comes as the next line of the source.
pub const SSS_LOG_EVENT_SPLIT: u32 = 2;
/// sss_log_event.kind: the last line of a source, which has no newline.
pub const SSS_LOG_EVENT_PARTIAL: u32 = 3;
/// sss_log_event.kind: lines were dropped; text tells how many.
pub const SSS_LOG_EVENT_DROPPED: u32 = 4;
/// sss_log_event.kind: a source has ended, and all that it held was read. Any
/// target. Where lines go to the callback too, they have all come before.
pub const SSS_LOG_EVENT_DRAINED: u32 = 5;

/// What a log tells.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_log_event {
    /// sizeof(struct sss_log_event) of the library.
    pub size: usize,
    /// SSS_LOG_EVENT_*.
    pub kind: u32,
    /// 0; for later use.
    pub reserved: u32,
    /// The source's number, or 0.
    pub source: u64,
    /// When the line's first byte was read, or the source's end: nanoseconds since
    /// 1970-01-01 UTC.
    pub time: i64,
    /// The source's label, "" if it has none.
    pub label: *const c_char,
    /// The line without its newline, followed by a NUL, which the line may hold
    /// too. "" for SSS_LOG_EVENT_DRAINED.
    pub text: *const c_char,
    /// The length of text in bytes.
    pub length: usize,
}

/// Told what a log has to tell; see sss_log_params.event_fn.
///
/// Called as a sss_child_fn_t is, by the context's loop. The event, and what it
/// points to, is valid until the callback returns or frees the log.
///
/// @param log    the log.
/// @param event  what there is to tell.
/// @param pvt    as given in struct sss_log_params.
#[allow(non_camel_case_types)]
pub type sss_log_event_fn_t =
    Option<unsafe extern "C" fn(log: *mut sss_log, event: *const sss_log_event, pvt: *mut c_void)>;

/// What sss_log_open() makes a log of. Zero it, set size and target, and what is
/// needed. Nothing in it is kept, but for pvt.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_log_params<'a> {
    /// sizeof(struct sss_log_params), which tells the struct's version.
    pub size: usize,
    /// Which of the fields count, and what to do with lines: SSS_LOG_*, ORed.
    pub mask: u32,
    /// SSS_LOG_TO_*: where it goes. Always counts.
    pub target: u32,
    /// SSS_LOG_TO_FILE: the file, made if it is not there. Its directory is opened
    /// once, and everything else goes by that.
    pub path: Str<'a>,
    /// In front of each line; implies SSS_LOG_LINES. At most 256 bytes. Or NULL.
    pub prefix: Str<'a>,
    /// Syslog and journal: the name of the program there, at most 64 bytes; NULL for the
    /// process's own name.
    pub identifier: Str<'a>,
    /// A relative path is relative to this directory; borrowed, and duplicated.
    /// Default: the working directory.
    pub dir_fd: i32,
    /// A new file's permissions, less the umask; default 0640.
    pub mode: u32,
    /// Rotate before a file is larger than this, in bytes; 0, the default, for
    /// never. Without SSS_LOG_LINES a file ends with a newline if one comes before
    /// it is twice as large.
    pub max_size: u64,
    /// Rotate before a file is written to that is so old, in nanoseconds; 0, the
    /// default, for never.
    pub max_age: i64,
    /// How many rotated files stay, 0 for all; default 10.
    pub keep: u32,
    /// The longest line in bytes, 1 to 16 MiB; default 64 KiB. Longer ones are
    /// split.
    pub max_line: u32,
    /// How much may wait to be written, in bytes: at least four times max_line and
    /// 4096. Default: 1 MiB, or four times max_line where that is more.
    pub max_queue: u64,
    /// SSS_LOG_TO_FD: the descriptor; borrowed, and duplicated. Its flags are left
    /// alone.
    pub fd: i32,
    /// Syslog and journal: facility and severity as in syslog(3); default
    /// LOG_DAEMON | LOG_INFO.
    pub priority: u32,
    /// Told of lines, where they go to the callback, and of sources that have ended;
    /// or NULL. With it the context's descriptor must be polled.
    pub event_fn: sss_log_event_fn_t,
    /// Handed to event_fn as it is; borrowed until the log is freed.
    pub pvt: *mut c_void,
}

/// Counts of one log, and in writers and takeovers of the process.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct sss_log_stats {
    /// sizeof(struct sss_log_stats), set by the caller.
    pub size: usize,
    /// Sources that have not ended, now.
    pub sources: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Bytes that were written, with all that stands in front of lines.
    pub bytes_written: u64,
    /// Bytes that wait to be written, now.
    pub bytes_queued: u64,
    /// Lines that were taken.
    pub lines: u64,
    /// Lines that were dropped.
    pub dropped_lines: u64,
    /// Bytes that were dropped.
    pub dropped_bytes: u64,
    /// Files that were rotated.
    pub rotations: u64,
    /// Writes, openings and rotations that failed. They are tried again.
    pub errors: u64,
    /// The errno of the last of them, or 0.
    pub last_error: u32,
    /// 0; for later use.
    pub reserved: u32,
    /// Writing threads of the process, now.
    pub writers: u64,
    /// How often another writing thread took over from one whose write hung.
    pub takeovers: u64,
}

impl From<Stats> for sss_log_stats {
    fn from(counts: Stats) -> Self {
        sss_log_stats {
            size: 0,
            sources: counts.sources,
            bytes_read: counts.read,
            bytes_written: counts.written,
            bytes_queued: counts.queued,
            lines: counts.lines,
            dropped_lines: counts.dropped_lines,
            dropped_bytes: counts.dropped_bytes,
            rotations: counts.rotations,
            errors: counts.errors,
            last_error: counts.last_error,
            reserved: 0,
            writers: counts.writers,
            takeovers: counts.takeovers,
        }
    }
}

const MODE: u32 = 0o640;
const KEEP: u32 = 10;
const LINE: u32 = 64 * 1024;
const LONGEST_LINE: u32 = 16 * 1024 * 1024;
const QUEUE: u64 = 1024 * 1024;
const LEAST_QUEUE: u64 = 4096;
const PREFIX: usize = 256;
#[allow(clippy::cast_sign_loss)] // both are positive
const PRIORITY: u32 = (libc::LOG_DAEMON | libc::LOG_INFO) as u32;
const PRIORITIES: u32 = 0x3ff;

/// Bytes of a C string, none for NULL; EINVAL where there are more than `most`, or
/// a newline.
pub(super) fn short(text: Option<&CStr>, most: usize) -> Result<&[u8], Error> {
    let bytes = text.unwrap_or_default().to_bytes();
    if bytes.len() > most || bytes.contains(&b'\n') {
        return Err(Errno::EINVAL.into());
    }
    Ok(bytes)
}

impl<'a> sss_log_params<'a> {
    fn has(&self, bit: u32) -> bool {
        self.mask & bit != 0
    }

    fn or<T>(&self, bit: u32, value: T, default: T) -> T {
        if self.has(bit) { value } else { default }
    }

    pub(super) fn setup(&self, handle: *mut sss_log) -> Result<Setup, Error> {
        if self.mask & !KNOWN != 0 {
            return Err(Errno::EINVAL.into());
        }
        let max_line = self.or(SSS_LOG_MAX_LINE, self.max_line, LINE);
        let least = 4 * u64::from(max_line);
        let max_queue = self.or(SSS_LOG_MAX_QUEUE, self.max_queue, QUEUE.max(least));
        let max_age = self.or(SSS_LOG_MAX_AGE, self.max_age, 0);
        if !(1..=LONGEST_LINE).contains(&max_line) || max_queue < least.max(LEAST_QUEUE) {
            return Err(Errno::EINVAL.into());
        }
        let (place, prefix) = (self.place()?, short(self.prefix.get(), PREFIX)?);
        let (time, label) = (self.has(SSS_LOG_TIME), self.has(SSS_LOG_LABEL));
        let to_bytes = matches!(place, Place::File { .. } | Place::Descriptor(_));
        let lines = !to_bytes || self.has(SSS_LOG_LINES) || time || label || !prefix.is_empty();
        let told = self.event_fn.map(|call| Told {
            call: event_fn(call),
            record,
            handle: Pvt(handle.cast()),
            pvt: Pvt(self.pvt),
        });
        Ok(Setup {
            place,
            lines,
            format: Format {
                prefix: text::bytes(&[prefix])?,
                time,
                label,
            },
            max_line: max_line as usize,
            max_queue: usize::try_from(max_queue).map_err(|_| Errno::EINVAL)?,
            blocks: self.has(SSS_LOG_BLOCK),
            limit: Limit {
                size: self.or(SSS_LOG_MAX_SIZE, self.max_size, 0),
                tears: !lines,
            },
            max_age: u64::try_from(max_age).map_err(|_| Errno::EINVAL)?,
            keep: self.or(SSS_LOG_KEEP, self.keep, KEEP),
            told,
        })
    }

    fn place(&self) -> Result<Place, Error> {
        let priority = self.or(SSS_LOG_PRIORITY, self.priority, PRIORITY);
        if priority > PRIORITIES {
            return Err(Errno::EINVAL.into());
        }
        let mut digits = [0; 10];
        match self.target {
            SSS_LOG_TO_FILE => {
                let path = self.path.required()?;
                let base = match self.has(SSS_LOG_DIR_FD) {
                    true => Some(fd::duplicate_raw(self.dir_fd)?.into()),
                    false => setup::base_of(path)?,
                };
                let mode = self.or(SSS_LOG_MODE, self.mode, MODE);
                if mode > 0o777 {
                    return Err(Errno::EINVAL.into());
                }
                setup::place_of(base, path, mode)
            }
            SSS_LOG_TO_CALLBACK if self.event_fn.is_some() => Ok(Place::Callback),
            SSS_LOG_TO_SYSLOG => {
                let number = decimal(priority, &mut digits);
                let name = self.name()?;
                let head = text::bytes(&[b"<", number, b">", name, b": "])?;
                Ok(Place::Syslog(head))
            }
            SSS_LOG_TO_JOURNAL => {
                let number = decimal(priority & 7, &mut digits);
                let name = self.name()?;
                // The journal's header: identifier, unit, level; no level prefixes, no
                // forwarding.
                let head = text::bytes(&[name, b"\n\n", number, b"\n0\n0\n0\n0\n"])?;
                Ok(Place::Journal(head))
            }
            SSS_LOG_TO_FD if self.has(SSS_LOG_FD) => {
                Ok(Place::Descriptor(fd::duplicate_raw(self.fd)?.into()))
            }
            _ => Err(Errno::EINVAL.into()),
        }
    }

    fn name(&self) -> Result<&'a [u8], Error> {
        match self.identifier.get() {
            None => short(Some(unix::program_name()), PREFIX),
            identifier => short(identifier, LABEL),
        }
    }
}

fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        #[allow(clippy::cast_possible_truncation)] // a digit
        {
            digits[at] = b'0' + (number % 10) as u8;
        }
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// The event as the daemon sees it; its texts stay where they are.
fn record(event: &Event) -> Record {
    Record::of(sss_log_event {
        size: size_of::<sss_log_event>(),
        kind: match event.kind {
            Kind::Line => SSS_LOG_EVENT_LINE,
            Kind::Split => SSS_LOG_EVENT_SPLIT,
            Kind::Partial => SSS_LOG_EVENT_PARTIAL,
            Kind::Dropped => SSS_LOG_EVENT_DROPPED,
            Kind::Drained => SSS_LOG_EVENT_DRAINED,
        },
        reserved: 0,
        source: event.source,
        time: event.time.to_signed(),
        label: event.label.as_ptr().cast(),
        text: event.text.as_ptr().cast(),
        length: event.text.len(),
    })
}
