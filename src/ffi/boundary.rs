//! What every export does at the border: keep errno, stop panics, map errors.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;

use crate::reap::log;
use crate::sys::error::Error;

/// 0 or a positive errno.
#[allow(non_camel_case_types)]
pub type errno_t = std::ffi::c_int;

/// Gives an export its version node. Only the shared library has nodes: in a
/// static one the directive would break linking.
macro_rules! symver {
    ($name:literal) => {
        #[cfg(sss_symver)]
        ::core::arch::global_asm!(concat!(
            ".symver ",
            $name,
            ", ",
            $name,
            "@@LIBSSS_SIGCHLD_0.1"
        ));
    };
}
pub(crate) use symver;

/// Runs an export's body: errno is as before, a panic becomes
/// ENOTRECOVERABLE, messages noted under the lock go out.
pub(crate) fn guard(body: impl FnOnce() -> Result<(), Error>) -> errno_t {
    protect(|| body().inspect_err(tell_of)).map_or(Errno::ENOTRECOVERABLE as errno_t, |done| {
        done.err().map_or(0, |error| error.errno as errno_t)
    })
}

/// The daemon gets the errno alone; its log tells which call it comes from.
#[cold]
fn tell_of(error: &Error) {
    if error.call.is_some() {
        log::note(log::Note::Failed(*error));
    }
}

/// Runs library code that C must never unwind out of; None after a panic.
pub(crate) fn protect<T>(body: impl FnOnce() -> T) -> Option<T> {
    let mut body = Some(body);
    let mut outcome = None;
    run(&mut || outcome = body.take().map(|body| body()));
    outcome
}

/// One copy for all exports: an unwinding frame in each would be a sixth of the
/// library.
#[inline(never)]
fn run(body: &mut dyn FnMut()) {
    let saved = Errno::last_raw();
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        log::note(log::Note::Panic);
    }
    if log::may_be_due() {
        tell();
    }
    // Written only if it has changed: after a fork(2) of the daemon the first write to a
    // page costs a fault.
    if Errno::last_raw() != saved {
        Errno::set_raw(saved);
    }
}

/// Hands what this call noted to the daemon.
#[cold]
#[inline(never)]
fn tell() {
    // SAFETY: the daemon's callback; the line outlives the call.
    log::take(|sink, level, line| unsafe { (sink.call)(level, line, sink.pvt.0) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_errno() {
        assert_eq!(
            guard(|| panic!("caught")),
            Errno::ENOTRECOVERABLE as errno_t
        );
    }

    #[test]
    fn errno_is_kept() {
        Errno::set_raw(77);
        assert_eq!(
            guard(|| Err(Errno::EINVAL.into())),
            Errno::EINVAL as errno_t
        );
        assert_eq!(Errno::last_raw(), 77);
    }
}
