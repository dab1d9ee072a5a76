//! `sss_child_*`: one watch of one child.

use std::ffi::{c_int, c_void};
use std::os::fd::IntoRawFd;

use nix::errno::Errno;

use super::boundary::{errno_t, guard, symver};
use super::child_memory::{Child, ChildPlace};
use super::handle::{current, run_hook, sss_child_ctx, sss_sigchild_ctx};
use super::params::{Handle, Out};
use crate::reap::callback::{Hook, HookFn, Pvt};
use crate::reap::watch::{self, Ask, How, Released};
use crate::reap::{kill, register};
use crate::sys::error::Error;

/// Given as wait_status where the status cannot be had because somebody else
/// took it. None of WIFEXITED, WIFSIGNALED, WIFSTOPPED and WIFCONTINUED is true
/// for it.
pub const SSS_WAIT_STATUS_LOST: c_int = -1;

/// Tells that a child ended, stopped or continued.
///
/// Called exactly once for the end of each watched child, and for stops and
/// continues as the context's options ask; from the loop or from dispatch,
/// never from a signal handler, without a lock held. The callbacks of one
/// context run one at a time, unless one of them dispatches itself, in the order
/// in which the statuses were waited for. A callback may use every function of the
/// library, on any handle, its own included, and may free the context; it may also
/// fork or call exit(3). It must not throw, longjmp(3) or end its thread.
///
/// @param pid          the child's process id; after its end a number only, as
///                     the process is reaped.
/// @param wait_status  as waitpid(2) gives it, or SSS_WAIT_STATUS_LOST.
/// @param pvt          as given at registration.
#[allow(non_camel_case_types)]
pub type sss_child_fn_t =
    Option<unsafe extern "C" fn(pid: c_int, wait_status: c_int, pvt: *mut c_void)>;

/// Runs when a watch is about to end; see sss_child_set_destructor().
///
/// @param child  the handle.
/// @param pvt    as given to sss_child_set_destructor().
///
/// @return 0 to agree, -1 to refuse an explicit sss_child_free().
#[allow(non_camel_case_types)]
pub type sss_child_destructor_t =
    Option<unsafe extern "C" fn(child: *mut sss_child_ctx, pvt: *mut c_void) -> c_int>;

/// Call back when a child process ends.
///
/// The child may have ended already: the callback then comes from the next
/// dispatch, to which the context's descriptor or its host wakes the loop; a
/// context that is woken by sss_child_handler() alone is woken by a SIGCHLD that
/// the library sends to the process. If pid was registered before in the same context, the new
/// registration takes its place and the former handle becomes inert; other
/// contexts' watches of the same child are not touched, each is told.
///
/// @param memctx       with a host: the parent of the handle's memory, or NULL
///                     for none; freeing the parent ends the watch. Without a
///                     host: NULL.
/// @param sigchld_ctx  the context.
/// @param pid          a child of this process, greater than 0.
/// @param cb           the callback, or NULL: the child is reaped all the same.
/// @param pvt          handed to cb as it is; borrowed until the watch ends.
/// @param child_ctx    written last, on success only. The owner frees it with
///                     sss_child_free(), after the child's end too; the library
///                     never does, though the end of the context makes it
///                     inert. NULL to fire and forget: the watch frees itself
///                     once the child's end was told, or with the context; where
///                     memctx is not NULL it is the memctx that owns it.
///
/// @return 0; EINVAL for a NULL sigchld_ctx, a memctx without a host that
///         allocates, or pid <= 0; ESRCH where pid is no child of
///         this process, or ended while SIGCHLD was ignored; ENOMEM; EMFILE,
///         ENFILE, ENOSYS where another watch keeps the zombie of a child that
///         sends no SIGCHLD, and no pidfd can be had for it; EPERM from a thread
///         that is not the host's loop; ECHILD where the context belongs to
///         another process. Nothing has changed then: nobody waits for the child,
///         and the caller has to (see sss_child_reserve(), which rules out ENOMEM).
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_register(
    memctx: *mut c_void,
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    pid: libc::pid_t,
    cb: sss_child_fn_t,
    pvt: *mut c_void,
    child_ctx: Out<*mut sss_child_ctx>,
) -> errno_t {
    guard(|| {
        let ctx = sigchld_ctx.context()?;
        if pid <= 0 {
            return Err(Errno::EINVAL.into());
        }
        let place = ChildPlace::new(ctx, memctx, child_ctx)?;
        let mut due = false;
        let (cb, pvt) = place.callback(cb, pvt);
        let registered = register::register(ctx.id, pid, cb, pvt, &mut due);
        let settled = place.settle(registered, child_ctx);
        // Even where the registration failed, its look may have ended another watch.
        if let (true, Some(binding)) = (due, &ctx.binding) {
            binding.defer();
        }
        settled
    })
}
symver!("sss_child_register");

/// Make a handle, and room for its watch, before the child is forked.
///
/// sss_child_register_reserved() then gives it the child and cannot fail for want
/// of memory, so that no child is left that nobody reaps. Where the fork fails,
/// use the handle for the next one or free it. Until it has a child it is inert.
///
/// @param memctx       as for sss_child_register().
/// @param sigchld_ctx  the context.
/// @param child_ctx    written on success; as for sss_child_register(), but not
///                     NULL.
///
/// @return 0; EINVAL for a NULL sigchld_ctx or child_ctx or a memctx without a
///         host that allocates; ENOMEM; EPERM from a thread that is not the
///         host's loop; ECHILD where the context belongs to another process.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_reserve(
    memctx: *mut c_void,
    sigchld_ctx: Handle<sss_sigchild_ctx>,
    child_ctx: Out<*mut sss_child_ctx>,
) -> errno_t {
    guard(|| {
        let ctx = sigchld_ctx.context()?;
        let place = ChildPlace::new(ctx, memctx, child_ctx.required()?)?;
        place.settle(register::reserve(ctx.id), child_ctx)
    })
}
symver!("sss_child_reserve");

/// Watch a child by a handle that was made before its fork.
///
/// As sss_child_register(), but it does not fail for want of memory.
///
/// @param child  a handle of sss_child_reserve() that has no child yet.
/// @param pid    a child of this process, greater than 0.
/// @param cb     the callback, or NULL: the child is reaped all the same.
/// @param pvt    handed to cb as it is; borrowed until the watch ends.
///
/// @return 0; EINVAL for NULL or pid <= 0; EALREADY where the handle has or had a
///         child; ESRCH where pid is no child of this process, or the handle was
///         freed; EMFILE, ENFILE, ENOSYS, EPERM: as sss_child_register(); ECHILD
///         in a process that is not the handle's. The handle is as before then,
///         and the child is still the caller's to wait for.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_register_reserved(
    child: Handle<sss_child_ctx>,
    pid: libc::pid_t,
    cb: sss_child_fn_t,
    pvt: *mut c_void,
) -> errno_t {
    guard(|| {
        let child = child.child()?;
        if pid <= 0 {
            return Err(Errno::EINVAL.into());
        }
        let (called, with) = child.callback(cb, pvt);
        register::register_reserved(child.id(), pid, called, with)?;
        child.keep(cb, pvt);
        Ok(())
    })
}
symver!("sss_child_register_reserved");

/// The handle whose callback the calling thread is in.
///
/// For a watch that was registered without taking its handle, or whose callback
/// came before the caller of sss_child_register() had it. With nested callbacks it
/// is the innermost one's.
///
/// @param child  written on success; the handle as sss_child_register() writes it,
///               not a second one. One that nobody holds is valid until its
///               callback returns.
///
/// @return 0; EINVAL for NULL; ESRCH where the thread is in no child's callback.
///
/// Thread-safe. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_current(child: Out<*mut sss_child_ctx>) -> errno_t {
    guard(|| {
        let child = child.required()?;
        let current = current();
        if current.is_null() {
            return Err(Errno::ESRCH.into());
        }
        child.write(current);
        Ok(())
    })
}
symver!("sss_child_current");

/// End a watch and free its handle.
///
/// There is no callback after this returns: where another thread is in the
/// watch's callback, this waits for it to return (so do not hold a lock that
/// the callback takes). The process itself lives on, unless it is held at its gate
/// (SSS_SPAWN_GATE), and is still reaped when it ends, for as long as the daemon
/// has a context. Two callbacks that run in two threads must not free each other's
/// watches: each would wait for the other.
///
/// A hook set with sss_child_set_destructor() runs first and may refuse.
/// With a host this frees the handle's memory, and a destructor that the daemon
/// put on it may refuse too.
///
/// @param child  the handle; NULL is allowed. Without a host a handle that was
///               freed before, or whose context is gone, is allowed too.
///
/// @return 0; EBUSY where a hook or destructor refused, or from inside the
///         watch's own hook: the watch lives on;
///         EPERM from a thread that is not the host's loop; ECHILD in a process
///         that is not the handle's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_free(child: Handle<sss_child_ctx>) -> errno_t {
    guard(|| {
        if child.is_null() {
            return Ok(());
        }
        unwatch(&child.child()?, How::Keep).map(drop)
    })
}
symver!("sss_child_free");

/// What sss_child_release() writes where the child has not ended: true for none
/// of WIFEXITED, WIFSIGNALED, WIFSTOPPED and WIFCONTINUED.
pub const SSS_WAIT_STATUS_NONE: c_int = -65537;

/// End a watch and hand the child back to the daemon, or its status if it has
/// ended.
///
/// As sss_child_free(), but the library does not wait for the child any more:
/// waitpid(2) on it is the caller's. Where the library has waited for it already,
/// as registering and starting a child may do, its status is written instead, and
/// waitpid(2) would find nothing. No callback comes after this returns; an end
/// that was due is told by wait_status only. In a context of scope ALL the child
/// is an unknown one from then on, and may be waited for as such. Where another
/// watch holds the same child, it stays the library's.
///
/// @param child        the handle; NULL is allowed.
/// @param wait_status  written on success: SSS_WAIT_STATUS_NONE where the child
///                     is handed back, else its status as waitpid(2) gives it, or
///                     SSS_WAIT_STATUS_LOST. May be NULL. With a NULL child
///                     SSS_WAIT_STATUS_NONE is written.
///
/// @return 0; ESRCH where a newer registration has taken the watch's place, or
///         the handle was freed (it is left as it was: free it); EBUSY where
///         a hook or destructor refused; EPERM; ECHILD: as sss_child_free().
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_release(
    child: Handle<sss_child_ctx>,
    wait_status: Out<c_int>,
) -> errno_t {
    guard(|| {
        let released = if child.is_null() {
            Released::Back
        } else {
            unwatch(&child.child()?, How::Release)?
        };
        wait_status.write(match released {
            Released::Back => SSS_WAIT_STATUS_NONE,
            Released::Ended(status) => status,
        });
        Ok(())
    })
}
symver!("sss_child_release");

fn unwatch(child: &Child, how: How) -> Result<Released, Error> {
    match *child {
        Child::Plain(id) => watch::unwatch(id, how, Ask::Hook(run_hook)),
        Child::Hosted(id, memory) => {
            // SAFETY: a handle with a host, which is asked while its memory is there,
            // carries the host's own free.
            let free = || unsafe { ((*memory).free)(memory.cast()) } == 0;
            watch::unwatch(id, how, Ask::Memory(run_hook, &free))
        }
    }
}

/// Change a watch's callback and its data.
///
/// Holds for every call that has not begun, one that is due included.
///
/// @param child  the handle.
/// @param cb     the callback, or NULL for none.
/// @param pvt    handed to cb as it is; borrowed until the watch ends.
///
/// @return 0; EINVAL for NULL; ESRCH where the watch is over; EPERM from a
///         thread that is not the host's loop; ECHILD in a process that is not
///         the handle's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_set_cb(
    child: Handle<sss_child_ctx>,
    cb: sss_child_fn_t,
    pvt: *mut c_void,
) -> errno_t {
    guard(|| {
        let child = child.child()?;
        let (called, with) = child.callback(cb, pvt);
        watch::set_callback(child.id(), called, with)?;
        child.keep(cb, pvt);
        Ok(())
    })
}
symver!("sss_child_set_cb");

/// Set a hook that runs when the watch ends by an explicit free or with its
/// context.
///
/// It runs once, before the watch ends, without a lock held. When it returns -1
/// to sss_child_free() or sss_child_release(), the watch and the handle live
/// on, and the hook with them. The end of the context, or of the handle's
/// memory in another way than by those two, ends the watch whatever it returns.
///
/// @param child       the handle.
/// @param destructor  the hook, or NULL for none.
/// @param pvt         handed to the hook as it is; borrowed until it has run.
///
/// @return 0; EINVAL for NULL; ESRCH where the handle was freed or its context
///         is gone; ENOMEM; EPERM from a thread that is not the host's loop;
///         ECHILD in a process that is not the handle's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_set_destructor(
    child: Handle<sss_child_ctx>,
    destructor: sss_child_destructor_t,
    pvt: *mut c_void,
) -> errno_t {
    guard(|| {
        let id = child.child()?.id();
        let hook = destructor.map(|call| Hook {
            // SAFETY: only the pointee type of the first argument differs; the
            // core hands it back as it is.
            call: unsafe {
                std::mem::transmute::<
                    unsafe extern "C" fn(*mut sss_child_ctx, *mut c_void) -> c_int,
                    HookFn,
                >(call)
            },
            child: Pvt(child.as_ptr().cast()),
            pvt: Pvt(pvt),
        });
        watch::set_hook(id, hook)
    })
}
symver!("sss_child_set_destructor");

/// The watch's id: unlike a pid it is not given to another watch during the
/// life of the process.
///
/// @param child  the handle.
/// @param id     written on success.
///
/// @return 0; EINVAL for a NULL pointer; EPERM from a thread that is not the
///         host's loop; ECHILD in a process that is not the handle's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_id(child: Handle<sss_child_ctx>, id: Out<u64>) -> errno_t {
    guard(|| {
        let (watch, id) = (child.child()?.id(), id.required()?);
        watch::check(watch)?;
        id.write(watch.tagged());
        Ok(())
    })
}
symver!("sss_child_id");

/// The process id of a watched child.
///
/// Once the child has ended and its callback was made it is a number only: the
/// system may have given it to another process. To signal the child, use
/// sss_child_kill().
///
/// @param child  the handle.
/// @param pid    written on success.
///
/// @return 0; EINVAL for a NULL pointer; ESRCH where the handle was freed or its
///         context is gone; EPERM from a thread that is not the host's loop;
///         ECHILD in a process that is not the handle's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_pid(child: Handle<sss_child_ctx>, pid: Out<libc::pid_t>) -> errno_t {
    guard(|| {
        let (child, pid) = (child.child()?, pid.required()?);
        pid.write(watch::pid(child.id())?);
        Ok(())
    })
}
symver!("sss_child_pid");

/// Send a signal to a watched child, and never to a stranger.
///
/// The child cannot be reaped by the library while it is sent, so that its pid
/// cannot have been given to another process; with a pidfd not even another
/// waiter in the process changes that (see SSS_CTX_UNTRUSTED).
///
/// @param child   the handle.
/// @param signum  a signal, or 0 to test only: 0 to SIGRTMAX.
///
/// @return 0; EINVAL for a NULL pointer or no signal; ESRCH where the child was
///         reaped or the watch is over; EPERM where kill(2) is not permitted,
///         or from a thread that is not the host's loop; ECHILD in a process
///         that is not the handle's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_kill(child: Handle<sss_child_ctx>, signum: c_int) -> errno_t {
    guard(|| kill::kill(child.child()?.id(), signum))
}
symver!("sss_child_kill");

/// A pidfd of a watched child, for the caller to keep.
///
/// @param child  the handle.
/// @param pidfd  written on success: a new descriptor, close-on-exec, which the
///               caller closes. The library is still the one who waits.
///
/// @return 0; EINVAL for a NULL pointer; ESRCH where the child was reaped or the
///         watch is over; EMFILE, ENFILE, ENOMEM, ENOSYS: as pidfd_open(2);
///         EPERM from a thread that is not the host's loop; ECHILD in a process
///         that is not the handle's.
///
/// Thread-safe without a host. Not for signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn sss_child_pidfd(child: Handle<sss_child_ctx>, pidfd: Out<c_int>) -> errno_t {
    guard(|| {
        let (child, pidfd) = (child.child()?, pidfd.required()?);
        pidfd.write(kill::pidfd(child.id())?.into_raw_fd());
        Ok(())
    })
}
symver!("sss_child_pidfd");
