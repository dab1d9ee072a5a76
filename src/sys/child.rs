//! What a new process does until its exec: the system calls of a
//! [`Program`](super::program::Program).
//!
//! The child may share the parent's memory, so it does nothing but raw system calls: no
//! libc function, no allocation, no panic, no call out of [`child_main`]. `make
//! check-child-calls` checks the machine code for that.

use std::ffi::c_char;
use std::sync::atomic::Ordering;

use super::bits::ToUnsigned;
use super::close_range::close_range;
use super::mmap::left_at_bottom;
use super::program::{LETTER, Op, Report, SHELL, STOPS, Start, Step, Text};
use super::robust::Latches;
use super::syscall::{address, call, id, int, word};

/// The exit code of a child that could not exec; its parent has the report.
const EXIT_FAILED: i32 = 127;

/// Where a new process begins: does what its [`Program`] says, and execs.
///
/// # Safety
/// In a new process, all signals blocked, with a [`Start`] whose pointers hold.
#[inline(never)]
pub(crate) unsafe extern "C" fn child_main(start: *const Start) -> ! {
    // SAFETY: as the caller promises; indices stay below the counts.
    unsafe {
        let start = &*start;
        if !start.latches.is_null() {
            if let Err(errno) = Latches::own(start.latches) {
                fail(start, 0, errno);
            }
        }
        perform_all(start);
        (*start.report).execs.store(1, Ordering::Release);
        let errno = execute(start);
        fail(start, start.count, errno);
    }
}

/// Does what a program says, or ends the process.
#[inline(always)]
unsafe fn perform_all(start: &Start) {
    let mut index = 0;
    while index < start.count {
        // SAFETY: the index is below the count.
        unsafe {
            if let Err(errno) = perform(&*start.ops.add(index), start) {
                fail(start, index, errno);
            }
        }
        index = index.wrapping_add(1);
    }
}

/// What a forked process does before it runs a function in place of a program.
///
/// # Safety
/// In a new process, all signals blocked, with a [`Start`] whose pointers hold.
pub(crate) unsafe fn prepare(start: &Start) {
    // SAFETY: as the caller promises.
    unsafe { perform_all(start) };
}

#[inline(always)]
unsafe fn fail(start: &Start, index: usize, errno: i32) -> ! {
    // SAFETY: the report outlives the child's start.
    unsafe {
        #[allow(clippy::cast_possible_truncation, reason = "a few dozen ops")]
        (*start.report).index.store(index as u32, Ordering::Relaxed);
        (*start.report)
            .errno
            .store(errno.to_unsigned(), Ordering::Release);
        if start.letter.socket >= 0 {
            write_letter(start, index, errno);
        }
        exit();
    }
}

#[inline(always)]
unsafe fn write_letter(start: &Start, index: usize, errno: i32) {
    let letter = &start.letter;
    let mut words = [0_u32; LETTER];
    let mut at = 0;
    // SAFETY: as long as both arrays; the index is an op's, or their number.
    unsafe {
        while at < LETTER {
            let mut value = (*letter.words).as_ptr().add(at).read();
            if at == letter.step {
                value = if index < start.count {
                    *start.steps.add(index) as u32
                } else {
                    Step::Exec as u32
                };
            } else if at == letter.errno {
                value = errno.to_unsigned();
            }
            words.as_mut_ptr().add(at).write_volatile(value);
            at = at.wrapping_add(1);
        }
        let _ = call!(
            SYS_sendto,
            word(letter.socket),
            address(words.as_ptr()),
            LETTER.wrapping_mul(4),
            word(libc::MSG_NOSIGNAL)
        );
    }
}

#[inline(always)]
unsafe fn exit() -> ! {
    loop {
        // SAFETY: no pointers; it does not return.
        let _ = unsafe { call!(SYS_exit_group, word(EXIT_FAILED)) };
    }
}

#[inline(always)]
unsafe fn perform(op: &Op, start: &Start) -> Result<(), i32> {
    // SAFETY: the program borrows what its ops point to.
    unsafe {
        match *op {
            Op::Call { number, args } => {
                let [a, b, c, d, e] = args;
                super::syscall::outcome(super::syscall::raw(number, [a, b, c, d, e, 0]))?;
                Ok(())
            }
            Op::Dispositions {
                ignore,
                catch,
                changed,
            } => dispositions(ignore, catch, changed),
            Op::TryChdir(path) => {
                let _ = call!(SYS_chdir, address(path));
                Ok(())
            }
            Op::TryFchdir(fd) => {
                let _ = call!(SYS_fchdir, word(fd));
                Ok(())
            }
            Op::Foreground { terminal } => foreground(terminal),
            Op::Write {
                directory,
                path,
                ref text,
            } => write(directory, path, text),
            Op::CloseRange {
                first,
                last,
                shared,
            } => close_range(first, last, shared),
            Op::ParentIs { pid, pidfd } => parent_is(pid, pidfd),
            Op::OwnPid { text } => own_pid(text),
            Op::Hold { gate, parent } => {
                if !start.latches.is_null() {
                    (*start.latches).ready.open();
                }
                hold(gate, parent)
            }
        }
    }
}

/// # Safety
/// There is room for the longest process id.
#[inline(always)]
unsafe fn own_pid(text: *mut u8) -> Result<(), i32> {
    // SAFETY: no pointers.
    let mut pid = unsafe { call!(SYS_getpid) }?;
    let mut digits = [0_u8; 10];
    let mut count = 0;
    while pid > 0 && count < digits.len() {
        digits[count] = b'0' + (pid % 10).to_le_bytes()[0];
        pid /= 10;
        count += 1;
    }
    let mut at = 0;
    // SAFETY: as the caller promises.
    unsafe {
        while at < count {
            text.add(at).write(digits[count - 1 - at]);
            at += 1;
        }
        text.add(count).write(0);
    }
    Ok(())
}

/// The highest signal number.
const SIGNALS: i32 = 64;

/// The kernel's struct sigaction; all zero is SIG_DFL.
#[repr(C)]
#[derive(Clone, Copy)]
struct Action {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Sets each signal without asking first: to ask would cost one more call for those that
/// are not at their default.
#[inline(always)]
unsafe fn dispositions(ignore: u64, catch: bool, changed: u64) -> Result<(), i32> {
    let default = Action {
        handler: libc::SIG_DFL,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    let ignored = Action {
        handler: libc::SIG_IGN,
        ..default
    };
    let noted = noted();
    let mut signal = 1;
    while signal <= SIGNALS {
        let bit = 1 << signal.wrapping_sub(1);
        let caught = catch && is_stop(signal);
        let touched = (changed | ignore) & bit != 0 || caught;
        if touched && signal != libc::SIGKILL && signal != libc::SIGSTOP {
            let action = if ignore & bit != 0 {
                &ignored
            } else if caught {
                &noted
            } else {
                &default
            };
            // SAFETY: a valid sigaction.
            unsafe {
                call!(
                    SYS_rt_sigaction,
                    word(signal),
                    address(&raw const *action),
                    0,
                    size_of::<u64>()
                )?;
            }
        }
        signal = signal.wrapping_add(1);
    }
    Ok(())
}

#[inline(always)]
const fn is_stop(signal: i32) -> bool {
    matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)
}

/// The action of a stop signal that is caught, with SA_RESTART.
#[inline(always)]
fn noted() -> Action {
    #[cfg(all(sss_syscall_instruction, target_arch = "x86_64"))]
    let (flags, restorer) = {
        unsafe extern "C" {
            fn sss_sigchld_sigreturn();
        }
        const SA_RESTORER: i32 = 0x0400_0000;
        (SA_RESTORER, sss_sigchld_sigreturn as *const () as usize)
    };
    #[cfg(not(all(sss_syscall_instruction, target_arch = "x86_64")))]
    let (flags, restorer) = (0, 0);
    Action {
        handler: note_stop as *const () as usize,
        flags: word(libc::SA_RESTART | flags) as u64,
        restorer,
        mask: 0,
    }
}

/// Notes a stop signal. It finds the child's report by the stack on which it runs:
/// several threads may start children at the same time.
unsafe extern "C" fn note_stop(signal: i32) {
    // SAFETY: on the stack of a child that shares the parent's memory, at whose
    // bottom its report was left.
    unsafe {
        let report = std::ptr::with_exposed_provenance::<Report>(left_at_bottom());
        let mut at = 0;
        while at < STOPS.len() {
            if STOPS[at] == signal {
                (*report).stops[at].store(1, Ordering::Release);
            }
            at = at.wrapping_add(1);
        }
    }
}

// Where a handler returns to. On x86_64 the kernel needs such a restorer.
#[cfg(all(sss_syscall_instruction, target_arch = "x86_64"))]
std::arch::global_asm!(
    ".pushsection .text.sss_sigchld_sigreturn, \"ax\", @progbits",
    ".hidden sss_sigchld_sigreturn",
    ".globl sss_sigchld_sigreturn",
    ".type sss_sigchld_sigreturn, @function",
    "sss_sigchld_sigreturn:",
    "mov eax, 15",
    "syscall",
    ".size sss_sigchld_sigreturn, . - sss_sigchld_sigreturn",
    ".popsection",
);

/// All signals are blocked, SIGTTOU too, so that a group in the background may do this.
#[inline(always)]
unsafe fn foreground(terminal: i32) -> Result<(), i32> {
    // SAFETY: the group is an int on this stack.
    unsafe {
        let group = int(call!(SYS_getpgid, 0)?);
        #[allow(clippy::cast_possible_truncation, reason = "0x5410")]
        let request = libc::TIOCSPGRP as usize;
        call!(
            SYS_ioctl,
            word(terminal),
            request,
            address(&raw const group)
        )?;
    }
    Ok(())
}

#[inline(always)]
unsafe fn write(directory: i32, path: *const c_char, text: &Text) -> Result<(), i32> {
    // SAFETY: the path is a C string, the text its length in bytes.
    unsafe {
        let fd = call!(
            SYS_openat,
            word(directory),
            address(path),
            word(libc::O_WRONLY | libc::O_CLOEXEC)
        )?;
        call!(SYS_write, fd, address(&raw const text.bytes), text.length)?;
        call!(SYS_close, fd)?;
    }
    Ok(())
}

/// getppid is 0 where the parent is outside of the child's pid namespace, before the
/// parent's death and after it. There the parent's pidfd tells, if there is one.
#[inline(always)]
unsafe fn parent_is(pid: i32, pidfd: i32) -> Result<(), i32> {
    // SAFETY: a pollfd and a timeout on this stack.
    unsafe {
        let parent = call!(SYS_getppid)?;
        if parent == word(pid) {
            return Ok(());
        }
        if parent != 0 {
            return Err(libc::ESRCH);
        }
        // A dying parent sends its children their signals while it holds a lock of the
        // kernel's, and its pidfd becomes readable after that. This call waits for the same
        // lock, so a parent that was sending then is seen as dead below.
        let options = libc::WEXITED | libc::WNOHANG;
        let _ = call!(SYS_waitid, id(libc::P_ALL), 0, 0, word(options));
        let mut polled = readable(pidfd);
        let at_once = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match call!(
            SYS_ppoll,
            address(&raw mut polled),
            1,
            address(&raw const at_once)
        )? {
            0 => Ok(()),
            _ => Err(libc::ESRCH),
        }
    }
}

#[inline(always)]
const fn readable(fd: i32) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

/// The parent's end of the gate may have copies in processes that it forked, so that only
/// its pidfd shows its death.
#[inline(always)]
unsafe fn hold(gate: i32, parent: i32) -> Result<(), i32> {
    let mut polled = [readable(gate), readable(parent)];
    // SAFETY: two pollfds and a byte on this stack.
    unsafe {
        while let Err(errno) = call!(SYS_ppoll, address(&raw mut polled), 2) {
            if errno != libc::EINTR {
                return Err(errno);
            }
        }
        if polled[0].revents == 0 {
            exit();
        }
        let mut byte = 0_u8;
        match call!(SYS_read, word(gate), address(&raw mut byte), 1) {
            Ok(1) => Ok(()),
            _ => exit(),
        }
    }
}

/// Tries the candidates as execvp(3) does.
#[inline(always)]
unsafe fn execute(start: &Start) -> i32 {
    let mut denied = false;
    let mut last = libc::ENOENT;
    let mut index = 0;
    while index < start.candidate_count {
        // SAFETY: C strings and NULL-terminated arrays of them.
        let mut result = unsafe {
            let path = *start.candidates.add(index);
            call!(
                SYS_execve,
                address(path),
                address(start.argv),
                address(start.envp)
            )
        };
        if result == Err(libc::ENOEXEC) && !start.shell.is_null() {
            // SAFETY: an array of the parent's, which nobody else reads or writes.
            result = unsafe {
                let script = *start.candidates.add(index);
                start.shell.cast_mut().add(1).write(script);
                call!(
                    SYS_execve,
                    address(SHELL.as_ptr()),
                    address(start.shell),
                    address(start.envp)
                )
            };
        }
        match result {
            Err(libc::EACCES) => denied = true,
            Err(
                errno @ (libc::ENOENT
                | libc::ESTALE
                | libc::ENOTDIR
                | libc::ENODEV
                | libc::ETIMEDOUT),
            ) => last = errno,
            Err(errno) => return errno,
            Ok(_) => {}
        }
        index = index.wrapping_add(1);
    }
    if denied { libc::EACCES } else { last }
}
