//! The start gate: held, let go, given up, and the death of either side.

use std::io::{PipeReader, Read};
use std::os::fd::AsRawFd;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{FdMap, Spawned, Spec, Step, alone, end_of, plain, read, refused, spawn};
use crate::spawn::CStringArray;
use crate::sys::probe::fork_idle;

/// A held `sh -c 'echo ran'`, and the pipe that its output goes to.
fn held() -> (Spawned, PipeReader) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let argv = CStringArray::new([c"sh", c"-c", c"echo ran"].into_iter()).expect("memory");
    let map = [FdMap {
        source: writer.as_raw_fd(),
        target: 1,
    }];
    let spec = Spec {
        argv: argv.as_array(),
        fds: Some(&map),
        gate: true,
        ..plain()
    };
    (spawn(&spec).expect("held"), reader)
}

fn executable(pid: i32) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).expect("our child")
}

#[test]
fn a_held_child_runs_nothing_until_its_gate_opens() {
    let (spawned, reader) = held();
    assert_eq!(
        executable(spawned.pid),
        std::env::current_exe().expect("a path")
    );
    spawned.gate.expect("a gate").open().expect("opens");
    assert_eq!(read(reader), "ran\n");
    assert_eq!(
        end_of(spawned.pid),
        WaitStatus::Exited(Pid::from_raw(spawned.pid), 0)
    );
}

#[test]
fn a_gate_given_up_ends_the_child() {
    let (spawned, reader) = held();
    drop(spawned.gate);
    assert_eq!(read(reader), "");
    assert_eq!(
        end_of(spawned.pid),
        WaitStatus::Exited(Pid::from_raw(spawned.pid), 127)
    );
}

#[test]
fn a_held_child_can_be_terminated() {
    for reaped in [false, true] {
        let (spawned, reader) = held();
        let pid = Pid::from_raw(spawned.pid);
        kill(pid, Signal::SIGTERM).expect("our child");
        assert_eq!(read(reader), "");
        let gate = spawned.gate.expect("a gate");
        if reaped {
            assert_eq!(
                end_of(spawned.pid),
                WaitStatus::Signaled(pid, Signal::SIGTERM, false)
            );
        }
        assert_eq!(gate.open().unwrap_err(), refused(Step::Gate, libc::ESRCH));
        if !reaped {
            assert_eq!(
                end_of(spawned.pid),
                WaitStatus::Signaled(pid, Signal::SIGTERM, false)
            );
        }
    }
}

/// The parent, in a process of its own: prints the pid of the held child and of a process
/// that has copies of all its descriptors, and is killed.
#[test]
#[ignore = "the parent of held_children_die_with_their_parent"]
fn parent_of_the_held() {
    let argv = CStringArray::new([c"sleep", c"100"].into_iter()).expect("memory");
    let spec = Spec {
        path: c"/bin/sleep",
        argv: argv.as_array(),
        gate: true,
        ..plain()
    };
    let spawned = spawn(&spec).expect("held");
    let idle = fork_idle();
    println!("\npids {} {idle}", spawned.pid);
    let _ = kill(Pid::this(), Signal::SIGKILL);
}

#[test]
fn held_children_die_with_their_parent() {
    if !alone!(held_children_die_with_their_parent) {
        return;
    }
    nix::sys::prctl::set_child_subreaper(true).expect("a subreaper");
    let name = concat!(module_path!(), "::parent_of_the_held");
    let mut parent = super::test_process(name)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the test binary runs");
    let mut out = parent.stdout.take().expect("a pipe");
    let mut text = Vec::new();
    // The idle copy holds the pipe: read up to the line, not to the end.
    while !text.ends_with(b"\n") || !String::from_utf8_lossy(&text).contains("\npids ") {
        let mut byte = [0];
        out.read_exact(&mut byte).expect("the line comes");
        text.push(byte[0]);
    }
    parent.wait().expect("our child");
    let text = String::from_utf8(text).expect("text");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("pids "))
        .expect("the line");
    let (held, idle) = line.split_once(' ').expect("two pids");
    let (held, idle): (i32, i32) = (held.parse().expect("a pid"), idle.parse().expect("a pid"));
    // The gate's other end is still open in the idle process.
    assert_eq!(end_of(held), WaitStatus::Exited(Pid::from_raw(held), 127));
    assert_eq!(
        waitpid(Pid::from_raw(idle), Some(WaitPidFlag::WNOHANG)),
        Ok(WaitStatus::StillAlive)
    );
    kill(Pid::from_raw(idle), Signal::SIGKILL).expect("ours now");
    end_of(idle);
}
