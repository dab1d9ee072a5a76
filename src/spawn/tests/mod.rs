//! Real processes, and the pure parts under proptest.

mod attributes;
mod descriptors;
mod errors;
mod fallback;
mod gate;
mod owned;
mod parent;
mod plan;
mod search;

use std::ffi::CString;
use std::io::{PipeReader, Read};
use std::os::fd::AsRawFd;
use std::process::Command;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{CStrArray, CStringArray, FdMap, SpawnError, Spawned, Spec, Step, spawn};

/// Set in a process that runs a single test.
const ALONE: &str = "SSS_SIGCHLD_TEST_ALONE";

/// `if !alone!(name) { return; }`: runs the rest of test `name` in a process of
/// its own, where nothing else opens descriptors or makes children.
macro_rules! alone {
    ($name:ident) => {
        $crate::spawn::tests::runs_alone(concat!(module_path!(), "::", stringify!($name)))
    };
}
use alone;

fn runs_alone(name: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        crate::sys::probe::deadline(900);
        return true;
    }
    let output = test_process(name).output().expect("the test binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{name}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    print!("{}", skipped(&text));
    false
}

/// The lines that say what did not run.
fn skipped(text: &str) -> String {
    text.lines()
        .filter(|line| line.contains("SKIP"))
        .fold(String::new(), |all, line| all + line + "\n")
}

/// This test binary with one test, also an ignored one, which only another test
/// runs.
fn test_process(name: &str) -> Command {
    let (_, name) = name.split_once("::").expect("a module path");
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command
        .args([name, "--exact", "--include-ignored", "--nocapture"])
        .arg("--test-threads=1")
        .env(ALONE, "1");
    command
}

fn is_root() -> bool {
    let root = crate::sys::credentials::uids().effective == 0;
    if !root {
        println!("SKIP: needs root");
    }
    root
}

/// C strings as argv or envp.
struct Strings(Vec<CString>);

impl Strings {
    fn new(strings: &[&str]) -> Self {
        let owned = strings
            .iter()
            .map(|&string| CString::new(string).expect("no NUL"));
        Strings(owned.collect())
    }

    fn array(&self) -> CStringArray {
        CStringArray::new(self.0.iter().map(CString::as_c_str)).expect("memory")
    }
}

/// Hands a spec for `sh -c script` to `edit` and spawns it.
fn shell<'a>(
    script: &'a str,
    edit: impl FnOnce(&mut Spec<'_>) + 'a,
) -> Result<Spawned, SpawnError> {
    let strings = Strings::new(&["sh", "-c", script]);
    let argv = strings.array();
    let mut spec = Spec::new(c"/bin/sh", argv.as_array(), CStrArray::environ());
    edit(&mut spec);
    spawn(&spec)
}

/// What `sh -c script` prints, with its descriptor 1 a pipe and the others as
/// `map` says, and how it ended.
fn output_with(
    spec: &Spec,
    script: &str,
    map: &[FdMap],
) -> Result<(String, WaitStatus), SpawnError> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let strings = Strings::new(&["sh", "-c", script]);
    let argv = strings.array();
    let mut map = map.to_vec();
    map.push(FdMap {
        source: writer.as_raw_fd(),
        target: 1,
    });
    let spec = Spec {
        path: c"/bin/sh",
        argv: argv.as_array(),
        fds: Some(&map),
        ..spec.clone()
    };
    let spawned = spawn(&spec)?;
    drop(writer);
    if let Some(gate) = spawned.gate {
        gate.open()?;
    }
    Ok((read(reader), end_of(spawned.pid)))
}

/// The plainest spec; [`output_with`] fills in the program.
fn plain() -> Spec<'static> {
    Spec::new(c"/bin/sh", CStrArray::environ(), CStrArray::environ())
}

fn output(spec: &Spec, script: &str) -> String {
    let (text, status) = output_with(spec, script, &[]).expect("spawns");
    assert!(
        matches!(status, WaitStatus::Exited(_, 0)),
        "{status:?}: {text}"
    );
    text
}

fn read(mut reader: PipeReader) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    text
}

fn end_of(pid: i32) -> WaitStatus {
    waitpid(Pid::from_raw(pid), Some(WaitPidFlag::empty())).expect("our child")
}

fn refused(step: Step, errno: i32) -> SpawnError {
    SpawnError::new(step, errno)
}

/// The fork and the vfork path, which must not differ.
fn both(test: impl Fn(Spec<'static>)) {
    for fork in [false, true] {
        test(Spec { fork, ..plain() });
    }
}
