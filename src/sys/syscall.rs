//! The system call instruction itself: no libc function, no errno, no cancellation point.
//! A child that shares its parent's memory may use this. On a machine whose instruction
//! is not known here libc's syscall(2) is used, and no child shares memory.

#[cfg(sss_syscall_instruction)]
use std::arch::asm;

use super::bits::ToUnsigned;

/// Whether a child may share its parent's memory.
pub(crate) const IS_BARE: bool = cfg!(sss_syscall_instruction);

/// One system call with all six arguments; the result is the kernel's, an
/// errno as a negative number.
///
/// # Safety
/// As the call demands: every pointer among `args` must be what `number` says.
#[cfg(all(sss_syscall_instruction, target_arch = "x86_64"))]
#[inline(always)]
pub(crate) unsafe fn raw(number: libc::c_long, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    let result: isize;
    // SAFETY: the kernel keeps every register but rax, rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// One system call with all six arguments; the result is the kernel's, an
/// errno as a negative number.
///
/// # Safety
/// As the call demands: every pointer among `args` must be what `number` says.
#[cfg(all(sss_syscall_instruction, target_arch = "aarch64"))]
#[inline(always)]
pub(crate) unsafe fn raw(number: libc::c_long, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    let result: isize;
    // SAFETY: the kernel keeps every register but x0.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            options(nostack),
        );
    }
    result
}

/// One system call with all six arguments; the result is the kernel's, an
/// errno as a negative number.
///
/// # Safety
/// As the call demands: every pointer among `args` must be what `number` says.
#[cfg(not(sss_syscall_instruction))]
pub(crate) unsafe fn raw(number: libc::c_long, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    #[allow(clippy::cast_possible_truncation, reason = "pointers have 64 bits")]
    // SAFETY: as the caller promises.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) } as isize;
    if result == -1 {
        return -(nix::errno::Errno::last_raw() as isize);
    }
    result
}

/// The result as a value or a positive errno.
#[inline(always)]
pub(crate) fn outcome(result: isize) -> Result<usize, i32> {
    if result < 0 {
        #[allow(clippy::cast_possible_truncation, reason = "an errno is below 4096")]
        return Err(-result as i32);
    }
    Ok(result.to_unsigned())
}

/// A descriptor or a pid from a result that holds nothing else.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the kernel's type is int"
)]
#[inline(always)]
pub(crate) const fn int(value: usize) -> i32 {
    value as i32
}

/// A signed argument as the register holds it.
#[inline(always)]
pub(crate) fn word(value: i32) -> usize {
    (value as isize).to_unsigned()
}

/// An id or a mode as the register holds it.
#[inline(always)]
pub(crate) const fn id(value: u32) -> usize {
    value as usize
}

/// A pointer as the register holds it, its memory the kernel's to read and write.
#[inline(always)]
pub(crate) fn address<T>(pointer: *const T) -> usize {
    pointer.expose_provenance()
}

/// `call!(SYS_x, a, b)`: [`raw`] with the arguments left out as zero.
macro_rules! call {
    ($number:ident) => {
        call!($number, 0, 0, 0, 0, 0, 0)
    };
    ($number:ident, $a:expr) => {
        call!($number, $a, 0, 0, 0, 0, 0)
    };
    ($number:ident, $a:expr, $b:expr) => {
        call!($number, $a, $b, 0, 0, 0, 0)
    };
    ($number:ident, $a:expr, $b:expr, $c:expr) => {
        call!($number, $a, $b, $c, 0, 0, 0)
    };
    ($number:ident, $a:expr, $b:expr, $c:expr, $d:expr) => {
        call!($number, $a, $b, $c, $d, 0, 0)
    };
    ($number:ident, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => {
        call!($number, $a, $b, $c, $d, $e, 0)
    };
    ($number:ident, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr) => {
        $crate::sys::syscall::outcome($crate::sys::syscall::raw(
            libc::$number,
            [$a, $b, $c, $d, $e, $f],
        ))
    };
}
pub(crate) use call;
