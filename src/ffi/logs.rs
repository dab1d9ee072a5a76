//! `sss_log_*`: what children write, on disk and elsewhere.

use std::ffi::{c_int, c_void};
use std::os::fd::IntoRawFd;

use nix::errno::Errno;

use super::boundary::{errno_t, guard, symver};
use super::handle::sss_sigchild_ctx;
use super::logs_params::{Open, short, sss_log, sss_log_params, sss_log_stats};
use super::object::Place;
use super::params::{Handle, In, Out, OutStruct, Str};
use crate::log::{self, LABEL};

/// Open a log.
///
/// The first log of a process starts two threads, one that reads and one that
/// writes; they end with the last, once its text is written. They block all signals.
///
/// @param memctx       with a host: the parent of the log's memory, or NULL; freeing
///                     the parent frees the log. Without a host: NULL.
/// @param sigchld_ctx  the context whose loop calls event_fn, and with which the log
///                     goes over a fork (sss_sigchld_ctx_after_fork()). The log
///                     outlives it, but for events.
/// @param params       what to make; not kept.
/// @param log          written last, on success only; free it with sss_log_free().
///
/// @return 0; EINVAL for a NULL sigchld_ctx, params or log, a memctx without a host,
///         or anything in params that is out of range or missing; E2BIG for params
///         of a later version that use what this library does not know; ENOTSUP for
///         an event_fn in a context whose descriptor nobody polls; ENOMEM; EAGAIN
///         where no thread can be had; EMFILE, ENFILE; an errno of the file's or
///         socket's opening; EPERM from a thread that is not the host's loop; ECHILD
///         in a process that is not the context's. Nothing has changed then.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_log_open(
    memctx: *mut c_void,
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    params: In<sss_log_params>,
    log: Out<*mut sss_log>,
) -> errno_t {
    guard(|| {
        let (ctx, params, log) = (sigchld_ctx.context()?, params.read()?, log.required()?);
        let object = Place::<sss_log>::new(ctx, memctx)?;
        let opened = params
            .setup(object.pointer())
            .and_then(|setup| log::open(ctx.id, setup, |id| object.put(Open(id))));
        object.settle(opened, log)
    })
}
symver!("sss_log_open");

/// Have a log read a descriptor: the reading end of a pipe, a socket, a terminal.
///
/// @param log     the log.
/// @param fd      borrowed, and duplicated: close it when this has returned. It is
///                made non-blocking, for all who share it.
/// @param label   names it, with SSS_LOG_LABEL in front of its lines; at most 64
///                bytes. Or NULL.
/// @param source  written on success, if not NULL: the source's number, never used
///                twice.
///
/// @return 0; EINVAL for NULL, or a label that is too long or has a newline; EBADF;
///         ENOTSUP for a file or another descriptor that cannot be polled; ENOMEM;
///         EMFILE; EPERM from a thread that is not
///         the host's loop; ECHILD in a process that is not the log's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_log_attach(
    log: Handle<sss_log>,
    fd: c_int,
    label: Str<'_>,
    source: Out<u64>,
) -> errno_t {
    guard(|| {
        let (id, label) = (log.id()?, short(label.get(), LABEL)?);
        source.write(log::attach(id, fd, label)?);
        Ok(())
    })
}
symver!("sss_log_attach");

/// Make a pipe that a log reads, for one start of one child.
///
/// Map its writing end to the child's standard output and standard error, or make
/// one for each, and close it in the daemon once the child is started: a pipe that
/// outlives its child never ends.
///
/// @param log       the log.
/// @param label     as for sss_log_attach().
/// @param write_fd  written on success: the writing end, close-on-exec, the caller's
///                  to close.
/// @param source    as for sss_log_attach().
///
/// @return as sss_log_attach(); EINVAL also for a NULL write_fd.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_log_pipe(
    log: Handle<sss_log>,
    label: Str<'_>,
    write_fd: Out<c_int>,
    source: Out<u64>,
) -> errno_t {
    guard(|| {
        let (id, label) = (log.id()?, short(label.get(), LABEL)?);
        let write_fd = write_fd.required()?;
        let (write, number) = log::pipe(id, label)?;
        write_fd.write(write.into_raw_fd());
        source.write(number);
        Ok(())
    })
}
symver!("sss_log_pipe");

/// Say that all who write to a source are dead: it ends with what it holds now.
///
/// Without this a source ends when its last writer has closed it, which a
/// grandchild can put off for as long as it lives. It may wait five seconds for room
/// in the queue, also with SSS_LOG_BLOCK: a target may hang. What finds none by then is
/// dropped and counted.
///
/// @param log     the log.
/// @param source  the source's number.
///
/// @return 0; EINVAL for NULL; ESRCH where the source has ended; EPERM; ECHILD: as
///         sss_log_attach().
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_log_drain(log: Handle<sss_log>, source: u64) -> errno_t {
    guard(|| log::end_source(log.id()?, source))
}
symver!("sss_log_drain");

/// Open a log's file anew by its name, or connect its socket anew: after logrotate
/// has renamed the file.
///
/// Done by the writing thread, soon, between two lines. Where it fails the former
/// file is written on, and it is tried again.
///
/// @param log  the log.
///
/// @return 0; EINVAL for NULL; EPERM; ECHILD: as sss_log_attach().
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_log_reopen(log: Handle<sss_log>) -> errno_t {
    guard(|| log::reopen(log.id()?))
}
symver!("sss_log_reopen");

/// Wait until what a log's sources hold now is read and written.
///
/// For a daemon's end, after its children's: what is still queued when the process
/// exits is lost.
///
/// @param log      the log.
/// @param timeout  how long to wait at most, in nanoseconds; 0 only asks whether it is.
///
/// @return 0; ETIMEDOUT where it is not written; EINVAL for NULL or a negative timeout;
///         ENOTSUP where the target is the callback; EPERM; ECHILD: as sss_log_attach().
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_log_flush(log: Handle<sss_log>, timeout: i64) -> errno_t {
    guard(|| {
        let id = log.id()?;
        log::flush(id, u64::try_from(timeout).map_err(|_| Errno::EINVAL)?)
    })
}
symver!("sss_log_flush");

/// Tell a log's counts.
///
/// @param log    the log.
/// @param stats  its size set by the caller; the rest is written.
///
/// @return 0; EINVAL for a NULL pointer or a size too small; EPERM; ECHILD: as
///         sss_log_attach().
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_log_stats(log: Handle<sss_log>, stats: OutStruct<sss_log_stats>) -> errno_t {
    guard(|| stats.write(log::stats(log.id()?)?.into()))
}
symver!("sss_log_stats");

/// Free a log.
///
/// No event of it is told once this returns. Its sources end with what they hold now, as
/// by sss_log_drain(), and who still writes to one gets SIGPIPE; what was read is written
/// in the background, unless a write fails, or a target that is full takes nothing for five
/// seconds. This waits for nothing: sss_log_flush() does.
///
/// @param log  the log; NULL is allowed.
///
/// @return 0; EBUSY where a destructor that the daemon put on the host's memory
///         refused; EPERM from a thread that is not the host's loop; ECHILD in a
///         process that is not the log's: its copies of the log's descriptors are
///         closed, and its memory is freed.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_log_free(log: Handle<sss_log>) -> errno_t {
    guard(|| {
        if log.is_null() {
            return Ok(());
        }
        let usable = log::may_free(log.id()?);
        if usable == Err(Errno::EPERM.into()) {
            return usable;
        }
        // In a forked child this closes its copies of the descriptors.
        log.free()?;
        usable
    })
}
symver!("sss_log_free");
