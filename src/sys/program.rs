//! What a new process will do, laid out in advance by its parent: system calls in
//! order, and then execve(2). [`super::child`] does it.

use std::ffi::{CStr, c_char};
use std::ptr::null;
use std::sync::atomic::{AtomicU32, Ordering};

use super::bits::ToSigned;
use super::robust::Latches;
use super::strings::CStrArray;
use super::syscall::{address, id, word};

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
    /// Finding a user by name.
    User = 24,
    /// Making a pseudoterminal.
    Pty = 25,
}

impl Step {
    const ALL: [Step; 25] = [
        Step::Spec,
        Step::Memory,
        Step::Clone,
        Step::Cgroup,
        Step::Signals,
        Step::Session,
        Step::ProcessGroup,
        Step::Terminal,
        Step::Foreground,
        Step::Cwd,
        Step::Umask,
        Step::Close,
        Step::OomScoreAdj,
        Step::Descriptors,
        Step::Nice,
        Step::Rlimit,
        Step::Groups,
        Step::Gid,
        Step::Uid,
        Step::NoNewPrivs,
        Step::Pdeathsig,
        Step::Gate,
        Step::Exec,
        Step::User,
        Step::Pty,
    ];

    /// The step with this number.
    pub(crate) fn from_number(number: u32) -> Option<Step> {
        Step::ALL.into_iter().find(|&step| step as u32 == number)
    }
}

/// The bytes that a file of /proc or of a cgroup takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    pub(super) bytes: [u8; 8],
    pub(super) length: usize,
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
pub(super) enum Op {
    Call {
        number: libc::c_long,
        args: [usize; 5],
    },
    /// Each signal to its default or, with its bit in `ignore`, ignored. With `catch`
    /// the stop signals are caught instead of their default.
    Dispositions {
        ignore: u64,
        catch: bool,
        /// The signals that may not be at their default now.
        changed: u64,
    },
    /// chdir(2), which may fail.
    TryChdir(*const c_char),
    /// fchdir(2), which may fail.
    TryFchdir(i32),
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
    /// Writes the child's own process id there, in decimal with a NUL.
    OwnPid {
        text: *mut u8,
    },
}

/// The shell by which execvp(3) runs scripts without a first line.
pub(super) const SHELL: &CStr = c"/bin/sh";

/// What the child does, in order, and then execs. It borrows all that the child
/// will read.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    ops: Vec<Op>,
    steps: Vec<Step>,
    candidates: Vec<*const c_char>,
    argv: CStrArray<'a>,
    envp: CStrArray<'a>,
    /// The shell's arguments, of which the second is the child's to fill in; empty
    /// without a shell.
    shell: Vec<*const c_char>,
    held: bool,
    letter: Option<Letter<'a>>,
}

/// The message that a child sends to a socket when it fails before its exec. Two of its
/// words are filled in by the child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Letter<'a> {
    pub(crate) socket: i32,
    pub(crate) words: &'a [u32; LETTER],
    /// The word for its [`Step`], and the word for its errno.
    pub(crate) step: usize,
    pub(crate) errno: usize,
}

/// How many words a letter has.
pub(crate) const LETTER: usize = 8;

impl<'a> Program<'a> {
    pub(crate) fn new(argv: CStrArray<'a>, envp: CStrArray<'a>) -> Self {
        Program {
            ops: Vec::new(),
            steps: Vec::new(),
            candidates: Vec::new(),
            argv,
            envp,
            shell: Vec::new(),
            held: false,
            letter: None,
        }
    }

    /// Has the child tell of its failure by a socket too.
    pub(crate) fn write_on_failure(&mut self, letter: Letter<'a>) {
        self.letter = Some(letter);
    }

    /// Sends a message by a socket: SIGPIPE is not raised.
    pub(crate) fn send(&mut self, socket: i32, message: &'a [u8]) -> Result<(), i32> {
        self.call(
            Step::Gate,
            libc::SYS_sendto,
            &[
                word(socket),
                address(message.as_ptr()),
                message.len(),
                word(libc::MSG_NOSIGNAL),
                0,
            ],
        )
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

    /// Has a file in no executable format run as a script by the shell.
    pub(crate) fn shell(&mut self) -> Result<(), i32> {
        let rest = || self.argv.iter().skip(1);
        self.shell
            .try_reserve_exact(rest().count() + 3)
            .map_err(|_| libc::ENOMEM)?;
        self.shell.extend([SHELL.as_ptr(), null()]);
        self.shell.extend(rest().map(CStr::as_ptr));
        self.shell.push(null());
        Ok(())
    }

    /// Sets every signal to its default action, and ignores those in `ignore`.
    /// A child that shares our memory must not stop before its exec, since this thread
    /// waits for it in the kernel and could not stop too: it catches the stop signals
    /// (`catch`), the exec takes the handlers away, and [`Report::stops`] tells what it
    /// was sent.
    pub(crate) fn dispositions(
        &mut self,
        ignore: u64,
        catch: bool,
        changed: u64,
    ) -> Result<(), i32> {
        self.push(
            Step::Signals,
            Op::Dispositions {
                ignore,
                catch,
                changed,
            },
        )
    }

    /// The signals that are blocked from now on, a bit for each; the child began with
    /// all of them blocked.
    pub(crate) fn signal_mask(&mut self, mask: &'a u64) -> Result<(), i32> {
        self.call(
            Step::Signals,
            libc::SYS_rt_sigprocmask,
            &[
                word(libc::SIG_SETMASK),
                address(&raw const *mask),
                0,
                size_of::<u64>(),
            ],
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

    /// Enters a directory. With `may_fail` a failure is no error: the child stays where it
    /// is.
    pub(crate) fn chdir(&mut self, path: &'a CStr, may_fail: bool) -> Result<(), i32> {
        if may_fail {
            return self.push(Step::Cwd, Op::TryChdir(path.as_ptr()));
        }
        self.call(Step::Cwd, libc::SYS_chdir, &[address(path.as_ptr())])
    }

    pub(crate) fn fchdir(&mut self, fd: i32, may_fail: bool) -> Result<(), i32> {
        if may_fail {
            return self.push(Step::Cwd, Op::TryFchdir(fd));
        }
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

    /// Closes one descriptor.
    pub(crate) fn close(&mut self, fd: i32) -> Result<(), i32> {
        self.call(Step::Close, libc::SYS_close, &[word(fd)])
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

    /// Drops capabilities that an exec is not to give any more.
    pub(crate) fn drop_bounding(&mut self, dropped: u64) -> Result<(), i32> {
        for capability in (0..u64::BITS).filter(|bit| dropped >> bit & 1 != 0) {
            self.call(
                Step::Uid,
                libc::SYS_prctl,
                &[word(libc::PR_CAPBSET_DROP), id(capability), 0, 0, 0],
            )?;
        }
        Ok(())
    }

    /// Takes over another process's ids.
    pub(crate) fn assume(
        &mut self,
        uids: [u32; 3],
        gids: [u32; 3],
        groups: &'a [u32],
    ) -> Result<(), i32> {
        self.setgroups(groups)?;
        self.call(Step::Gid, libc::SYS_setresgid, &gids.map(id))?;
        self.call(Step::Uid, libc::SYS_setresuid, &uids.map(id))
    }

    /// Lowers the sets of capabilities: the kernel's header and data.
    pub(crate) fn capset(&mut self, capabilities: &'a Capabilities) -> Result<(), i32> {
        self.call(
            Step::Uid,
            libc::SYS_capset,
            &[
                address(&raw const capabilities.header),
                address(&raw const capabilities.data),
            ],
        )
    }

    /// Waits for a byte at `gate`, while the process behind the pidfd `parent` lives (-1:
    /// there is no pidfd).
    pub(crate) fn hold(&mut self, gate: i32, parent: i32) -> Result<(), i32> {
        self.held = true;
        self.push(Step::Gate, Op::Hold { gate, parent })
    }

    /// Writes the child's own process id to this address, which has room for eleven
    /// bytes: it is the value of a variable, which the parent cannot know before the fork.
    pub(crate) fn own_pid(&mut self, address: usize) -> Result<(), i32> {
        let text = std::ptr::with_exposed_provenance_mut(address);
        self.push(Step::Exec, Op::OwnPid { text })
    }

    /// Whether the child stops at a gate.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// This as the child reads it, with its errors going to `report`.
    pub(crate) fn start(&self, report: &Report, latches: *const Latches) -> Start {
        Start {
            ops: self.ops.as_ptr(),
            count: self.ops.len(),
            candidates: self.candidates.as_ptr(),
            candidate_count: self.candidates.len(),
            argv: self.argv.as_ptr(),
            envp: self.envp.as_ptr(),
            shell: if self.shell.is_empty() {
                null()
            } else {
                self.shell.as_ptr()
            },
            report,
            latches,
            steps: self.steps.as_ptr(),
            letter: self
                .letter
                .as_ref()
                .map_or(Writing::NOTHING, |letter| Writing {
                    socket: letter.socket,
                    words: letter.words,
                    step: letter.step,
                    errno: letter.errno,
                }),
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

/// What the child tells its parent, whose memory it shares.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Report {
    /// The number of the op that failed.
    pub(super) index: AtomicU32,
    pub(super) errno: AtomicU32,
    /// Set when it has come to its execve(2).
    pub(super) execs: AtomicU32,
    /// Which of [`STOPS`] it was sent.
    pub(super) stops: [AtomicU32; STOPS.len()],
}

/// The signals that stop a process unless it catches them: ^Z, and the terminal's
/// to a group in the background.
pub(crate) const STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

impl Report {
    /// The failed op and its errno, if the child failed.
    pub(crate) fn failure(&self) -> Option<(u32, i32)> {
        match self.errno.load(Ordering::Acquire) {
            0 => None,
            errno => Some((self.index.load(Ordering::Relaxed), errno.to_signed())),
        }
    }

    /// Whether the child has come to its execve(2).
    pub(crate) fn came_to_exec(&self) -> bool {
        self.execs.load(Ordering::Acquire) != 0
    }

    /// The stop signals that the child was sent, and that did not stop it.
    pub(crate) fn stops(&self) -> impl Iterator<Item = i32> {
        let noted = |at: &usize| self.stops[*at].load(Ordering::Acquire) != 0;
        (0..STOPS.len()).filter(noted).map(|at| STOPS[at])
    }
}

/// All that the child reads.
#[derive(Debug)]
pub(crate) struct Start {
    pub(super) ops: *const Op,
    pub(super) count: usize,
    pub(super) candidates: *const *const c_char,
    pub(super) candidate_count: usize,
    pub(super) argv: *const *const c_char,
    pub(super) envp: *const *const c_char,
    /// The shell's arguments, or NULL.
    pub(super) shell: *const *const c_char,
    pub(super) report: *const Report,
    /// NULL for a child that shares the parent's memory, and for one that nobody
    /// waits for.
    pub(super) latches: *const Latches,
    /// The step of each op.
    pub(super) steps: *const Step,
    pub(super) letter: Writing,
}

/// A [`Letter`] as the child has it.
#[derive(Debug)]
pub(super) struct Writing {
    /// -1 for none.
    pub(super) socket: i32,
    pub(super) words: *const [u32; LETTER],
    pub(super) step: usize,
    pub(super) errno: usize,
}

impl Writing {
    const NOTHING: Writing = Writing {
        socket: -1,
        words: null(),
        step: 0,
        errno: 0,
    };
}

/// The kernel's struct __user_cap_header_struct of version 3 with its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Capabilities {
    header: [u32; 2],
    /// Effective, permitted and inheritable: the lower halves, then the upper ones.
    data: [u32; 6],
}

impl Capabilities {
    pub(crate) fn new(effective: u64, permitted: u64, inheritable: u64) -> Self {
        let half = |set: u64, shift: u32| {
            #[allow(clippy::cast_possible_truncation, reason = "one half")]
            let half = (set >> shift) as u32;
            half
        };
        let [low, high] =
            [0, 32].map(|shift| [effective, permitted, inheritable].map(|set| half(set, shift)));
        Capabilities {
            header: [0x2008_0522, 0],
            data: [low[0], low[1], low[2], high[0], high[1], high[2]],
        }
    }
}
