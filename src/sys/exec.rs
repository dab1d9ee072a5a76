//! execve(2) and the system calls before it: what a new process does, laid out
//! in advance by its parent.
//!
//! The child may share the parent's memory, so it does nothing but raw system
//! calls: no libc function, no allocation, no panic, no call out of
//! [`child_main`]. Everything that it needs stands in a [`Program`].

use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicU32, Ordering};

use super::close_range::close_range;
use super::robust::Latches;
use super::strings::CStrArray;
use super::syscall::{address, call, id, int, word};

/// What a spawn was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Step {
    /// Looking at the spec.
    Spec = 1,
    /// Memory for the child's start.
    Memory = 2,
    /// Making the process.
    Clone = 3,
    /// Entering the cgroup.
    Cgroup = 4,
    /// Setting signals to their default.
    Signals = 5,
    /// setsid(2).
    Session = 6,
    /// setpgid(2).
    ProcessGroup = 7,
    /// Taking the controlling terminal.
    Terminal = 8,
    /// Becoming the terminal's foreground process group.
    Foreground = 9,
    /// chdir(2) or fchdir(2).
    Cwd = 10,
    /// umask(2).
    Umask = 11,
    /// Closing the other descriptors.
    Close = 12,
    /// oom_score_adj.
    OomScoreAdj = 13,
    /// The descriptor map.
    Descriptors = 14,
    /// setpriority(2).
    Nice = 15,
    /// setrlimit(2).
    Rlimit = 16,
    /// setgroups(2).
    Groups = 17,
    /// setresgid(2).
    Gid = 18,
    /// setresuid(2).
    Uid = 19,
    /// no_new_privs.
    NoNewPrivs = 20,
    /// The parent-death signal, or a parent that is dead already.
    Pdeathsig = 21,
    /// The start gate.
    Gate = 22,
    /// execve(2).
    Exec = 23,
}

/// The bytes that a file of /proc or of a cgroup takes.
#[derive(Debug, Clone, Copy)]
struct Text {
    bytes: [u8; 8],
    length: usize,
}

impl Text {
    fn new(value: i32) -> Result<Self, i32> {
        let mut bytes = [0; 8];
        let mut rest = bytes.as_mut_slice();
        std::io::Write::write_fmt(&mut rest, format_args!("{value}")).map_err(|_| libc::EINVAL)?;
        let length = 8 - rest.len();
        Ok(Text { bytes, length })
    }
}

/// One thing that the child does.
#[derive(Debug, Clone, Copy)]
enum Op {
    Call {
        number: libc::c_long,
        args: [usize; 5],
    },
    DefaultSignals,
    Foreground {
        terminal: i32,
    },
    Write {
        directory: i32,
        path: *const c_char,
        text: Text,
    },
    CloseRange {
        first: u32,
        last: u32,
        shared: bool,
    },
    ParentIs {
        pid: i32,
        pidfd: i32,
    },
    Hold {
        gate: i32,
        parent: i32,
    },
}

/// What the child does, in order, and then execs. It borrows all that the child
/// will read.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    ops: Vec<Op>,
    steps: Vec<Step>,
    candidates: Vec<*const c_char>,
    argv: CStrArray<'a>,
    envp: CStrArray<'a>,
    held: bool,
}

static ALL_SIGNALS_OPEN: u64 = 0;

impl<'a> Program<'a> {
    pub(crate) fn new(argv: CStrArray<'a>, envp: CStrArray<'a>) -> Self {
        Program {
            ops: Vec::new(),
            steps: Vec::new(),
            candidates: Vec::new(),
            argv,
            envp,
            held: false,
        }
    }

    fn push(&mut self, step: Step, op: Op) -> Result<(), i32> {
        self.ops.try_reserve(1).map_err(|_| libc::ENOMEM)?;
        self.steps.try_reserve(1).map_err(|_| libc::ENOMEM)?;
        self.ops.push(op);
        self.steps.push(step);
        Ok(())
    }

    fn call(&mut self, step: Step, number: libc::c_long, args: &[usize]) -> Result<(), i32> {
        let mut all = [0; 5];
        all[..args.len()].copy_from_slice(args);
        self.push(step, Op::Call { number, args: all })
    }

    /// A path to execute when those before it were not found.
    pub(crate) fn candidate(&mut self, path: &'a CStr) -> Result<(), i32> {
        self.candidates.try_reserve(1).map_err(|_| libc::ENOMEM)?;
        self.candidates.push(path.as_ptr());
        Ok(())
    }

    /// Every signal to its default disposition.
    pub(crate) fn default_signals(&mut self) -> Result<(), i32> {
        self.push(Step::Signals, Op::DefaultSignals)
    }

    pub(crate) fn unblock_signals(&mut self) -> Result<(), i32> {
        let mask = address(&raw const ALL_SIGNALS_OPEN);
        self.call(
            Step::Signals,
            libc::SYS_rt_sigprocmask,
            &[word(libc::SIG_SETMASK), mask, 0, size_of::<u64>()],
        )
    }

    pub(crate) fn setsid(&mut self) -> Result<(), i32> {
        self.call(Step::Session, libc::SYS_setsid, &[])
    }

    pub(crate) fn setpgid(&mut self, pgrp: i32) -> Result<(), i32> {
        self.call(Step::ProcessGroup, libc::SYS_setpgid, &[0, word(pgrp)])
    }

    pub(crate) fn controlling_terminal(&mut self, terminal: i32) -> Result<(), i32> {
        #[allow(clippy::cast_possible_truncation, reason = "0x540E")]
        let request = libc::TIOCSCTTY as usize;
        self.call(
            Step::Terminal,
            libc::SYS_ioctl,
            &[word(terminal), request, 0],
        )
    }

    /// Makes the child's group the terminal's foreground group.
    pub(crate) fn foreground(&mut self, terminal: i32) -> Result<(), i32> {
        self.push(Step::Foreground, Op::Foreground { terminal })
    }

    pub(crate) fn chdir(&mut self, path: &'a CStr) -> Result<(), i32> {
        self.call(Step::Cwd, libc::SYS_chdir, &[address(path.as_ptr())])
    }

    pub(crate) fn fchdir(&mut self, fd: i32) -> Result<(), i32> {
        self.call(Step::Cwd, libc::SYS_fchdir, &[word(fd)])
    }

    pub(crate) fn umask(&mut self, mask: u32) -> Result<(), i32> {
        self.call(Step::Umask, libc::SYS_umask, &[id(mask)])
    }

    /// Closes a range of descriptors; with `shared` the child first parts from
    /// its parent's table.
    pub(crate) fn close_range(&mut self, first: u32, last: u32, shared: bool) -> Result<(), i32> {
        self.push(
            Step::Close,
            Op::CloseRange {
                first,
                last,
                shared,
            },
        )
    }

    pub(crate) fn dup(&mut self, from: i32, to: i32, cloexec: bool) -> Result<(), i32> {
        let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
        self.call(
            Step::Descriptors,
            libc::SYS_dup3,
            &[word(from), word(to), word(flags)],
        )
    }

    /// Keeps a descriptor open over the exec.
    pub(crate) fn inherit(&mut self, fd: i32) -> Result<(), i32> {
        self.call(
            Step::Descriptors,
            libc::SYS_fcntl,
            &[word(fd), word(libc::F_SETFD), 0],
        )
    }

    /// Moves the child into the cgroup whose directory this is.
    pub(crate) fn enter_cgroup(&mut self, directory: i32) -> Result<(), i32> {
        self.push(
            Step::Cgroup,
            Op::Write {
                directory,
                path: c"cgroup.procs".as_ptr(),
                text: Text::new(0)?,
            },
        )
    }

    pub(crate) fn oom_score_adj(&mut self, value: i32) -> Result<(), i32> {
        self.push(
            Step::OomScoreAdj,
            Op::Write {
                directory: libc::AT_FDCWD,
                path: c"/proc/self/oom_score_adj".as_ptr(),
                text: Text::new(value)?,
            },
        )
    }

    pub(crate) fn nice(&mut self, value: i32) -> Result<(), i32> {
        self.call(Step::Nice, libc::SYS_setpriority, &[0, 0, word(value)])
    }

    pub(crate) fn rlimit(&mut self, resource: u32, limit: &'a libc::rlimit64) -> Result<(), i32> {
        self.call(
            Step::Rlimit,
            libc::SYS_prlimit64,
            &[0, id(resource), address(&raw const *limit), 0],
        )
    }

    pub(crate) fn setgroups(&mut self, groups: &'a [u32]) -> Result<(), i32> {
        self.call(
            Step::Groups,
            libc::SYS_setgroups,
            &[groups.len(), address(groups.as_ptr())],
        )
    }

    pub(crate) fn setresgid(&mut self, gid: u32) -> Result<(), i32> {
        self.call(Step::Gid, libc::SYS_setresgid, &[id(gid); 3])
    }

    pub(crate) fn setresuid(&mut self, uid: u32) -> Result<(), i32> {
        self.call(Step::Uid, libc::SYS_setresuid, &[id(uid); 3])
    }

    /// The signal that the child gets when the thread that made it ends, which
    /// is set too late if the caller, process `parent`, is dead by then. A child
    /// in another pid namespace sees that at its `pidfd` only (-1: none).
    pub(crate) fn pdeathsig(&mut self, signal: i32, parent: i32, pidfd: i32) -> Result<(), i32> {
        self.call(
            Step::Pdeathsig,
            libc::SYS_prctl,
            &[word(libc::PR_SET_PDEATHSIG), word(signal), 0, 0, 0],
        )?;
        self.push(Step::Pdeathsig, Op::ParentIs { pid: parent, pidfd })
    }

    pub(crate) fn no_new_privs(&mut self) -> Result<(), i32> {
        self.call(
            Step::NoNewPrivs,
            libc::SYS_prctl,
            &[word(libc::PR_SET_NO_NEW_PRIVS), 1, 0, 0, 0],
        )
    }

    /// Waits for a byte at `gate`, while the process behind the pidfd `parent`
    /// lives (-1: no pidfd to be had).
    pub(crate) fn hold(&mut self, gate: i32, parent: i32) -> Result<(), i32> {
        self.held = true;
        self.push(Step::Gate, Op::Hold { gate, parent })
    }

    /// Whether the child stops at a gate.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// The child's view of this, telling its errors to `report`.
    pub(crate) fn start(&self, report: &Report, latches: *const Latches) -> Start {
        Start {
            ops: self.ops.as_ptr(),
            count: self.ops.len(),
            candidates: self.candidates.as_ptr(),
            candidate_count: self.candidates.len(),
            argv: self.argv.as_ptr(),
            envp: self.envp.as_ptr(),
            report,
            latches,
        }
    }

    /// The step that a child's report means.
    pub(crate) fn step(&self, index: u32) -> Step {
        self.steps
            .get(index as usize)
            .copied()
            .unwrap_or(Step::Exec)
    }
}

/// Where the child leaves the number of the op that failed, and its errno.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Report {
    index: AtomicU32,
    errno: AtomicU32,
}

impl Report {
    /// The failed op and its errno, if the child failed.
    pub(crate) fn failure(&self) -> Option<(u32, i32)> {
        match self.errno.load(Ordering::Acquire) {
            0 => None,
            errno => Some((self.index.load(Ordering::Relaxed), errno.cast_signed())),
        }
    }
}

/// All that the child reads.
#[derive(Debug)]
pub(crate) struct Start {
    ops: *const Op,
    count: usize,
    candidates: *const *const c_char,
    candidate_count: usize,
    argv: *const *const c_char,
    envp: *const *const c_char,
    report: *const Report,
    /// NULL for a child that shares the parent's memory.
    latches: *const Latches,
}

/// The exit code of a child that could not exec; its parent has the report.
const EXIT_FAILED: i32 = 127;

/// Where a new process begins: does what stands in its [`Program`], and execs.
///
/// # Safety
/// In a new process, all signals blocked, with a [`Start`] whose pointers hold.
#[inline(never)]
pub(crate) unsafe extern "C" fn child_main(start: *const Start) -> ! {
    // SAFETY: as the caller promises; indices stay below the counts.
    unsafe {
        let start = &*start;
        if !start.latches.is_null()
            && let Err(errno) = Latches::own(start.latches)
        {
            fail(start, 0, errno);
        }
        let mut index = 0;
        while index < start.count {
            if let Err(errno) = perform(&*start.ops.add(index), start) {
                fail(start, index, errno);
            }
            index = index.wrapping_add(1);
        }
        let errno = execute(start);
        fail(start, start.count, errno);
    }
}

#[inline(always)]
unsafe fn fail(start: &Start, index: usize, errno: i32) -> ! {
    // SAFETY: the report outlives the child's start.
    unsafe {
        #[allow(clippy::cast_possible_truncation, reason = "a few dozen ops")]
        (*start.report).index.store(index as u32, Ordering::Relaxed);
        (*start.report)
            .errno
            .store(errno.cast_unsigned(), Ordering::Release);
        exit();
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
            Op::DefaultSignals => default_signals(),
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
            Op::Hold { gate, parent } => {
                (*start.latches).ready.open();
                hold(gate, parent)
            }
        }
    }
}

/// The highest signal number.
const SIGNALS: i32 = 64;

/// Setting all is one system call each; to ask first would be one more for those
/// that are not at their default.
#[inline(always)]
unsafe fn default_signals() -> Result<(), i32> {
    // The kernel's struct sigaction, all zero: SIG_DFL.
    let action = [0_u64; 4];
    let mut signal = 1;
    while signal <= SIGNALS {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            // SAFETY: a valid sigaction.
            unsafe {
                call!(
                    SYS_rt_sigaction,
                    word(signal),
                    address(action.as_ptr()),
                    0,
                    size_of::<u64>()
                )?;
            }
        }
        signal = signal.wrapping_add(1);
    }
    Ok(())
}

/// SIGTTOU is blocked here, so that a group in the background may do this.
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

/// getppid is 0 where the parent lives outside of the child's pid namespace,
/// before its death and after: there its pidfd tells, if there is one.
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
        // Waits, by its lock, for a parent that was just looking for children to
        // send the signal to: its pidfd tells of its death no sooner.
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

/// The parent's end of the gate may have copies in processes that it forked, so
/// that its death shows at its pidfd only.
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

/// Tries the candidates as execvp(3) does, but for its shell: what is in no
/// executable format is ENOEXEC.
#[inline(always)]
unsafe fn execute(start: &Start) -> i32 {
    let mut denied = false;
    let mut last = libc::ENOENT;
    let mut index = 0;
    while index < start.candidate_count {
        // SAFETY: C strings and NULL-terminated arrays of them.
        let result = unsafe {
            let path = *start.candidates.add(index);
            call!(
                SYS_execve,
                address(path),
                address(start.argv),
                address(start.envp)
            )
        };
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
