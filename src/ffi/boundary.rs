//! What every export does at the border: keep errno, stop panics, map errors.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;

use crate::reap::log;

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
pub(crate) fn guard(body: impl FnOnce() -> Result<(), Errno>) -> errno_t {
    protect(body).map_or(Errno::ENOTRECOVERABLE as errno_t, |done| {
        done.err().map_or(0, |errno| errno as errno_t)
    })
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
    // Not without need: after a fork(2) of the daemon's a write costs a fault.
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

/// Copies an extensible struct that begins with its size, as openat2(2) does:
/// a shorter one is filled up with zeros, a longer one must end in zeros.
///
/// # Safety
/// `source` is NULL or readable for as many bytes as its first field says, and
/// every bit pattern that it may hold is a valid `T`.
pub(crate) unsafe fn read_sized<T: Copy>(source: *const T) -> Result<T, Errno> {
    if source.is_null() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: every such struct begins with its size.
    let size = unsafe { source.cast::<usize>().read() };
    if size < size_of::<usize>() * 2 || size > 4096 {
        return Err(if size > 4096 {
            Errno::E2BIG
        } else {
            Errno::EINVAL
        });
    }
    if size > size_of::<T>() {
        // SAFETY: the caller vouches for `size` readable bytes.
        let tail = unsafe {
            std::slice::from_raw_parts(
                source.cast::<u8>().add(size_of::<T>()),
                size - size_of::<T>(),
            )
        };
        if tail.iter().any(|&byte| byte != 0) {
            return Err(Errno::E2BIG);
        }
    }
    let mut copy = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: both are valid for the smaller of the two sizes.
    unsafe {
        std::ptr::copy_nonoverlapping(
            source.cast::<u8>(),
            copy.as_mut_ptr().cast::<u8>(),
            size.min(size_of::<T>()),
        );
    }
    // SAFETY: zeros, or what the caller wrote.
    Ok(unsafe { copy.assume_init() })
}

/// Writes an extensible struct back, no further than the caller's size.
///
/// # Safety
/// `target` is NULL or writable for as many bytes as its first field says.
pub(crate) unsafe fn write_sized<T: Copy>(target: *mut T, mut value: T) -> Result<(), Errno> {
    if target.is_null() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: every such struct begins with its size.
    let size = unsafe { target.cast::<usize>().read() };
    if size < size_of::<usize>() * 2 {
        return Err(Errno::EINVAL);
    }
    let known = size.min(size_of::<T>());
    // SAFETY: `value` begins with its size; both are valid for `known` bytes.
    unsafe {
        (&raw mut value).cast::<usize>().write(size);
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), target.cast::<u8>(), known);
        // A caller of a newer header must not read what we never wrote.
        target.cast::<u8>().add(known).write_bytes(0, size - known);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Sized2 {
        size: usize,
        first: usize,
        second: usize,
    }

    #[test]
    fn sized_struct_grows_as_openat2_does() {
        let long = [32usize, 1, 2, 0];
        let tail = [32usize, 1, 2, 3];
        let short = [16usize, 1];
        let tiny = [8usize];
        // SAFETY: each array is as long as its first element says.
        unsafe {
            let known = read_sized(long.as_ptr().cast::<Sized2>()).unwrap();
            assert_eq!((known.first, known.second), (1, 2));
            assert_eq!(
                read_sized(tail.as_ptr().cast::<Sized2>()),
                Err(Errno::E2BIG)
            );
            let filled = read_sized(short.as_ptr().cast::<Sized2>()).unwrap();
            assert_eq!((filled.first, filled.second), (1, 0));
            assert_eq!(
                read_sized(tiny.as_ptr().cast::<Sized2>()),
                Err(Errno::EINVAL)
            );
        }
    }

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
        assert_eq!(guard(|| Err(Errno::EINVAL)), Errno::EINVAL as errno_t);
        assert_eq!(Errno::last_raw(), 77);
    }
}
