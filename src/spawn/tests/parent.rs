//! The parent-death signal in both orders, and whether another process can block a
//! parent.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, mkfifo};

use super::search::Directory;
use super::{CStrArray, Spec, Step, alone, both, end_of, plain, refused, spawn};
use crate::spawn::CStringArray;
use crate::sys::clone::{self, Manner, Pidfd, getpid};
use crate::sys::probe::{Answer, Refused, refuse};
use crate::sys::program::Program;

#[test]
#[ignore = "the parent of a_parent_that_dies_takes_its_child_along"]
fn parent_that_dies() {
    let argv = CStringArray::new([c"sleep", c"100"].into_iter()).expect("memory");
    let spec = Spec {
        path: c"/bin/sleep",
        argv: argv.as_array(),
        pdeathsig: Some(libc::SIGTERM),
        fork: std::env::var_os("FORK").is_some(),
        ..plain()
    };
    println!("\npid {}", spawn(&spec).expect("spawns").pid);
    let _ = kill(Pid::this(), Signal::SIGKILL);
}

/// The pid that a test process prints.
fn pid_in(text: &str) -> i32 {
    let line = text.lines().find_map(|line| line.strip_prefix("pid "));
    line.expect("a pid").parse().expect("a number")
}

#[test]
fn a_parent_that_dies_takes_its_child_along() {
    if !alone!(a_parent_that_dies_takes_its_child_along) {
        return;
    }
    nix::sys::prctl::set_child_subreaper(true).expect("a subreaper");
    for fork in [false, true] {
        let mut parent = super::test_process(concat!(module_path!(), "::parent_that_dies"));
        if fork {
            parent.env("FORK", "1");
        }
        // The child has the pipe too: its end of file shows that both have ended.
        let output = parent.output().expect("the test binary runs");
        let pid = pid_in(&String::from_utf8_lossy(&output.stdout));
        assert_eq!(
            end_of(pid),
            WaitStatus::Signaled(Pid::from_raw(pid), Signal::SIGTERM, false)
        );
    }
}

/// Makes a child that stops at descriptor 0, a socket, before it sets its
/// parent-death signal, and dies.
#[test]
#[ignore = "the parent of a_parent_that_died_before_is_noticed"]
fn parent_that_is_dead() {
    let argv = CStringArray::new([c"true"].into_iter()).expect("memory");
    let mut program = Program::new(argv.as_array(), CStrArray::environ());
    let laid_out = program
        .hold(0, -1)
        .and_then(|()| program.pdeathsig(libc::SIGTERM, getpid(), -1))
        .and_then(|()| program.candidate(c"/bin/true"));
    laid_out.expect("memory");
    let manner = Manner {
        share_memory: false,
        share_files: false,
        pidfd: Pidfd::None,
        cgroup: None,
    };
    println!(
        "\npid {}",
        clone::start(&program, manner).expect("held").pid
    );
    if std::env::var_os("DIE").is_some() {
        let _ = kill(Pid::this(), Signal::SIGKILL);
    }
    // Otherwise it lives until its child is gone.
    let _ = nix::sys::wait::wait().map(|status| println!("status {status:?}"));
}

#[test]
fn a_parent_that_died_before_is_noticed() {
    if !alone!(a_parent_that_died_before_is_noticed) {
        return;
    }
    nix::sys::prctl::set_child_subreaper(true).expect("a subreaper");
    for dies in [true, false] {
        let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
        let mut command = super::test_process(concat!(module_path!(), "::parent_that_is_dead"));
        command
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::piped());
        if dies {
            command.env("DIE", "1");
        }
        let mut parent = command.spawn().expect("the test binary runs");
        let mut out = parent.stdout.take().expect("a pipe");
        let mut text = String::new();
        let dead = dies.then(|| parent.wait().expect("our child"));
        ours.write_all(b"x").expect("the child is held");
        out.read_to_string(&mut text).expect("text");
        let status = parent.wait().expect("our child");
        if dead.is_some() {
            let pid = pid_in(&text);
            assert_eq!(end_of(pid), WaitStatus::Exited(Pid::from_raw(pid), 127));
        } else {
            assert!(
                text.contains("status Exited") && text.contains(", 0)"),
                "{text}"
            );
            assert!(status.success());
        }
    }
}

/// A directory whose cgroup.procs is a FIFO, at which a child without clone3
/// waits for a reader in the middle of its start.
struct Pause {
    directory: Directory,
    open: std::fs::File,
}

impl Pause {
    fn new() -> Self {
        refuse(&[Refused {
            call: libc::SYS_clone3,
            flags: 0,
            answer: Answer::Errno(libc::ENOSYS),
        }]);
        let directory = Directory::new("pause");
        mkfifo(&directory.path().join("cgroup.procs"), Mode::S_IRWXU).expect("a FIFO");
        let open = std::fs::File::open(directory.path()).expect("the directory");
        Pause { directory, open }
    }

    /// Sends `signal` to the child of the spawning thread while it waits, then
    /// lets it go on.
    fn interrupt(&self, signal: Signal) {
        let child = paused_child();
        kill(Pid::from_raw(child), signal).expect("a child");
        if signal == Signal::SIGSTOP {
            // It stops before it runs on. That state is not waited for: its parent may
            // have ended it by then.
            std::fs::read(self.directory.path().join("cgroup.procs")).expect("the FIFO");
        } else {
            wait_for_state(child, "Z");
        }
    }
}

/// How long a state may take to come.
const DEADLINE: Duration = Duration::from_secs(300);

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "the state does not come");
        std::thread::yield_now();
    }
}

/// State letter and the rest of /proc/PID/stat after the name.
fn state(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit_once(')')?.1.trim().chars().next()?;
    Some(state.to_string())
}

fn wait_for_state(pid: i32, wanted: &str) {
    // A killed child may have been reaped by its spawn already.
    until(|| state(pid).is_none_or(|state| state == wanted).then_some(()));
}

/// The one child of this process once it waits at the FIFO.
fn paused_child() -> i32 {
    until(|| {
        let tasks = std::fs::read_dir("/proc/self/task").ok()?;
        let children = tasks.flatten().find_map(|task| {
            let text = std::fs::read_to_string(task.path().join("children")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        })?;
        let waiting = std::fs::read_to_string(format!("/proc/{children}/syscall")).ok()?;
        waiting
            .starts_with(&format!("{} ", libc::SYS_openat))
            .then_some(children)
    })
}

#[test]
fn a_stopped_child_does_not_hold_its_parent() {
    if !alone!(a_stopped_child_does_not_hold_its_parent) {
        return;
    }
    let pause = Pause::new();
    let spec = Spec {
        fork: true,
        cgroup: Some(pause.open.as_raw_fd()),
        path: c"/bin/true",
        ..plain()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| pause.interrupt(Signal::SIGSTOP));
        let spawned = spawn(&spec).expect("spawns");
        assert_eq!(
            end_of(spawned.pid),
            WaitStatus::Exited(Pid::from_raw(spawned.pid), 0)
        );
    });
}

#[test]
fn a_child_killed_on_its_way_is_an_error() {
    if !alone!(a_child_killed_on_its_way_is_an_error) {
        return;
    }
    let pause = Pause::new();
    both(|spec| {
        let spec = Spec {
            cgroup: Some(pause.open.as_raw_fd()),
            ..spec
        };
        std::thread::scope(|scope| {
            scope.spawn(|| pause.interrupt(Signal::SIGKILL));
            assert_eq!(spawn(&spec).unwrap_err(), refused(Step::Exec, libc::EINTR));
        });
        assert!(crate::sys::probe::has_no_child());
    });
}
