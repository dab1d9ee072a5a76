//! Logs: what children write, on disk and elsewhere, by threads of their own.
//!
//! ```text
//! pipes -> reader (source) -> backlog -> writer (target) -> files, sockets
//!                                     -> the context's loop (task) -> callback
//! ```
//!
//! - pure: [`lines`] splits and formats, [`stamp`] writes times, [`rotation`]
//!   decides when a file is full and what is removed, [`queue`] and [`backlog`]
//!   keep what is not written yet, [`mailbox`] what is to be told;
//! - [`setup`] is what a log is made of, [`source`] what it reads and [`drain`]
//!   how, [`telling`] how far its events were told;
//! - [`target`] and [`file_target`] write;
//! - [`reader`] and [`writers`] are the threads, [`threads`] what they share,
//!   [`one_log`] what is shared of each log; [`task`] is the part of the loop.
//!
//! A forked child has none of the threads and leaves all of this alone
//! ([`crate::sys::fork::PerProcess`]), until [`after_fork`] makes it anew.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use nix::errno::Errno;

use crate::reap::context;
use crate::reap::id::ContextId;
use crate::sys::arc::Arc;
use crate::sys::error::Error;
use crate::sys::fork::Former;
use crate::sys::kept::Kept;
use crate::sys::lock::Mutex;
use crate::sys::poller::Poller;
use crate::sys::unload::{self, Unloading};
use crate::sys::{clock, fd, file};

pub(crate) mod backlog;
mod drain;
mod file_target;
pub(crate) mod lines;
pub(crate) mod mailbox;
mod one_log;
pub(crate) mod queue;
mod reader;
pub(crate) mod rotation;
pub(crate) mod setup;
mod source;
pub(crate) mod stamp;
mod target;
pub(crate) mod task;
mod telling;
pub(crate) mod text;
mod threads;
mod writers;

use lines::Splitter;
use one_log::Log;
use setup::Setup;
use source::{Reading, Source};
use target::Target;
use threads::{LOGS, Threads, next_id};

/// The id of a log, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LogId(pub(crate) u64);

/// A label's length, at most.
pub(crate) const LABEL: usize = 64;

/// Opens a log. `begun` gets its id before anybody can be told of it.
pub(crate) fn open(ctx: ContextId, setup: Setup, begun: impl FnOnce(LogId)) -> Result<(), Error> {
    context::check(ctx)?;
    let id = LogId(next_id());
    let threads = &LOGS.get_or_make(make_threads)?.value;
    let mut target = Target::default();
    target.open(&setup)?;
    begun(id);
    begin(threads, ctx, id, setup, target).map(drop)
}

/// The plugin that contains this library is being unloaded.
fn unload(going: &Unloading) {
    if let Some(own) = LOGS.get() {
        own.value.end(going);
        LOGS.forget(going);
    }
}

fn make_threads(_depth: u32) -> Option<Threads> {
    unload::also(unload);
    // New descriptors may get the numbers of those that this process has closed.
    for (threads, former) in LOGS.former() {
        threads.pollers.items(former).for_each(Poller::doubt);
        for source in threads.sources.items(former) {
            source.fd.part_if_gone();
        }
        for log in threads.logs.items(former) {
            for_each_fd(log, Kept::part_if_gone);
        }
    }
    Threads::new(reader::read, writers::write)
}

fn begin(
    threads: &'static Threads,
    ctx: ContextId,
    id: LogId,
    setup: Setup,
    target: Target,
) -> Result<Arc<Log>, Error> {
    let log = Arc::try_new(Log::new(id.0, ctx, setup, target))?;
    task::begin(ctx, &log)?;
    if let Err(errno) = threads.add(&log) {
        task::end(&log);
        return Err(errno);
    }
    Ok(log)
}

/// Has a log read a descriptor, which is duplicated; the source's number.
pub(crate) fn attach(id: LogId, fd: RawFd, label: &[u8]) -> Result<u64, Error> {
    let (own, log) = find(id)?;
    attach_own(own, log, fd::duplicate_raw(fd)?, label, next_id())
}

fn attach_own(
    own: &'static Threads,
    log: Arc<Log>,
    fd: OwnedFd,
    label: &[u8],
    id: u64,
) -> Result<u64, Error> {
    let label = text::bytes(&[label])?;
    file::set_nonblocking(fd.as_fd())?;
    let splitter = Splitter::new(log.setup.max_line);
    own.attach(Source {
        id,
        log,
        fd: fd.into(),
        label,
        ends_by: AtomicU64::new(0),
        over: AtomicBool::new(false),
        reading: Mutex::new(Reading::new(splitter)),
        owed: AtomicUsize::new(0),
    })?;
    Ok(id)
}

/// A new pipe that a log reads: its writing end, and the source's number.
pub(crate) fn pipe(id: LogId, label: &[u8]) -> Result<(OwnedFd, u64), Error> {
    let (own, log) = find(id)?;
    let (read, write) = file::pipe()?;
    let source = attach_own(own, log, read, label, next_id())?;
    Ok((write, source))
}

/// All writers of a source are dead: it ends with what it holds.
pub(crate) fn end_source(id: LogId, source: u64) -> Result<(), Error> {
    let (own, log) = find(id)?;
    if own.end_source(log.id, source) {
        Ok(())
    } else {
        Err(Errno::ESRCH.into())
    }
}

/// Has a log's target opened anew.
pub(crate) fn reopen(id: LogId) -> Result<(), Error> {
    let (own, log) = find(id)?;
    own.reopen(&log);
    Ok(())
}

/// Waits until what a log's sources hold now is written; ETIMEDOUT after so many
/// nanoseconds.
pub(crate) fn flush(id: LogId, timeout: u64) -> Result<(), Error> {
    let (own, log) = find(id)?;
    if log.setup.tells_lines() {
        return Err(Errno::ENOTSUP.into());
    }
    own.flush(&log, clock::now().saturating_add(timeout))
}

/// Lets go of a log: its sources end with what they hold, which is still written.
/// No event of it is told any more once this returns.
pub(crate) fn free(id: LogId) -> Result<(), Error> {
    let (own, log) = match find(id) {
        Ok(found) => found,
        Err(errno) => {
            if errno == Errno::ECHILD {
                close_inherited(id);
            }
            return Err(errno);
        }
    };
    task::end(&log);
    own.free(&log);
    // After a fork some of its sources may not have been taken over.
    close_inherited(id);
    Ok(())
}

/// Whether this thread of this process may free a log.
pub(crate) fn may_free(id: LogId) -> Result<(), Error> {
    find(id).map(drop)
}

/// What is known of a log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) sources: u64,
    pub(crate) read: u64,
    pub(crate) written: u64,
    pub(crate) queued: u64,
    pub(crate) lines: u64,
    pub(crate) dropped_lines: u64,
    pub(crate) dropped_bytes: u64,
    pub(crate) rotations: u64,
    pub(crate) errors: u64,
    pub(crate) last_error: u32,
    /// Of the process.
    pub(crate) writers: u64,
    pub(crate) takeovers: u64,
}

pub(crate) fn stats(id: LogId) -> Result<Stats, Error> {
    let (own, log) = find(id)?;
    let state = own.state.lock();
    let backlog = log.backlog.lock();
    let counts = &log.counts;
    Ok(Stats {
        sources: state.sources_of(id.0).count() as u64,
        read: counts.read.load(Ordering::Relaxed),
        written: counts.written.load(Ordering::Relaxed),
        queued: backlog.queue.bytes() as u64,
        lines: backlog.lines,
        dropped_lines: backlog.lost.lines,
        dropped_bytes: backlog.lost.bytes,
        rotations: counts.rotations.load(Ordering::Relaxed),
        errors: counts.errors.load(Ordering::Relaxed),
        last_error: counts.last_error.load(Ordering::Relaxed),
        writers: Threads::writers(&state),
        takeovers: state.takeovers,
    })
}

/// A log of this process, for a thread that may use it.
fn find(id: LogId) -> Result<(&'static Threads, Arc<Log>), Error> {
    let own = LOGS.get().ok_or(Errno::ECHILD)?;
    let found = own.value.state.lock().find(id.0);
    match found {
        Some(log) => match context::check(log.ctx) {
            Err(error) if error == Errno::EPERM => Err(Errno::EPERM.into()),
            // A log outlives its context.
            _ => Ok((&own.value, log)),
        },
        None if id.0 < own.value.first_id => Err(Errno::ECHILD.into()),
        None => Err(Errno::ESRCH.into()),
    }
}

// Forked children.

/// The logs of a context from before the fork go on in this process. After an error it
/// may be called again, for those that are left.
pub(crate) fn after_fork(before: ContextId, now: ContextId) -> Result<(), Error> {
    for (threads, former) in LOGS.former() {
        while let Some(log) = threads.logs.find(former, |log| log.ctx == before) {
            if !log.is_freed() {
                take_along(threads, former, log, now)?;
            }
            leave(threads, former, log);
        }
    }
    Ok(())
}

fn take_along(
    threads: &'static Threads,
    former: Former,
    log: &Log,
    now: ContextId,
) -> Result<(), Error> {
    if log.setup.told.is_some() {
        // It was polled before, and is to be polled again.
        context::descriptor(now)?;
    }
    let own = &LOGS.get_or_make(make_threads)?.value;
    let begun = own.state.lock().find(log.id);
    let made = match begun {
        // An earlier call has come this far.
        Some(made) => made,
        None => {
            let setup = match log.setup.copy() {
                // The daemon has closed all descriptors, the log's own too: it ends here.
                Err(error) if error == Errno::EBADF => return Ok(()),
                copied => copied?,
            };
            // A writer held the target at the fork, and is not in this process: the
            // target is opened by its name.
            let mut target = log
                .target
                .try_lock()
                .map_or_else(Target::default, |target| target.copy());
            // Opened at once, as the root directory may change. If this fails it is tried
            // again later.
            let _ = target.open(&setup);
            begin(own, now, LogId(log.id), setup, target)?
        }
    };
    while let Some(source) = source_of(threads, former, log) {
        if source.fd.is_there() {
            take_source_along(own, source, made.clone())?;
        }
        leave_source(threads, former, source);
    }
    Ok(())
}

fn take_source_along(own: &Threads, source: &Source, log: Arc<Log>) -> Result<(), Error> {
    let splitter = match source.reading.try_lock() {
        Some(reading) => reading.splitter.copy()?,
        // It was being read at the fork: what was read belongs to the former process.
        None => Splitter::new(log.setup.max_line),
    };
    own.attach(Source {
        id: source.id,
        log,
        fd: source.fd.copy()?,
        label: text::bytes(&[&source.label])?,
        ends_by: AtomicU64::new(source.ends_by.load(Ordering::Relaxed)),
        over: AtomicBool::new(false),
        reading: Mutex::new(Reading::new(splitter)),
        owed: AtomicUsize::new(0),
    })
}

/// Closes the descriptors of a log of a process that this one was forked from.
fn close_inherited(id: LogId) {
    for (threads, former) in LOGS.former() {
        while let Some(log) = threads.logs.find(former, |log| log.id == id.0) {
            leave(threads, former, log);
        }
    }
}

fn source_of(threads: &'static Threads, former: Former, log: &Log) -> Option<&'static Source> {
    threads
        .sources
        .find(former, |source| source.log.id == log.id)
}

fn leave_source(threads: &'static Threads, former: Former, source: &Source) {
    source.fd.close();
    threads.sources.leave(former, source);
}

/// In a forked child: calls `what` for each of a log's own descriptors, and not for those of
/// its sources.
#[inline(never)]
fn for_each_fd(log: &Log, what: fn(&Kept)) {
    if let Some(target) = log.target.try_lock() {
        target.fds().for_each(what);
    }
    log.setup.fd().into_iter().for_each(what);
}

fn leave(threads: &'static Threads, former: Former, log: &Log) {
    while let Some(source) = source_of(threads, former, log) {
        leave_source(threads, former, source);
    }
    for_each_fd(log, Kept::close);
    threads.logs.leave(former, log);
    if threads.logs.find(former, |_| true).is_some() {
        return;
    }
    // The reader's descriptors too, once no log is left.
    while let Some(poller) = threads.pollers.find(former, |_| true) {
        poller.close();
        threads.pollers.leave(former, poller);
    }
}

/// Runs a thread's body; None where it panicked, which must not end the thread.
fn guarded<T>(body: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(body)).ok()
}
