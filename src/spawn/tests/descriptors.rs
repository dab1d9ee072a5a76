//! What descriptors a child has.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::{CStringArray, FdMap, Spec, alone, both, end_of, output_with, plain, read, spawn};

/// Prints the numbers of the shell's open descriptors. The one by which it reads the
/// directory is closed before the names are looked at.
pub(super) const LIST: &str =
    "for f in /proc/self/fd/*; do [ -e \"$f\" ] && echo \"${f##*/}\"; done; exit 0";

pub(super) fn numbers(text: &str) -> BTreeSet<RawFd> {
    text.lines()
        .map(|line| line.parse().expect("a number"))
        .collect()
}

fn inheritable(file: &File) {
    fcntl(file, FcntlArg::F_SETFD(FdFlag::empty())).expect("an open file");
}

fn null() -> File {
    let file = File::open("/dev/null").expect("a file");
    inheritable(&file);
    file
}

#[test]
fn a_child_has_its_map_only() {
    let files: Vec<File> = (0..20).map(|_| null()).collect();
    both(|spec| {
        for pidfd in [false, true] {
            for gate in [false, true] {
                let spec = Spec {
                    pidfd,
                    gate,
                    ..spec.clone()
                };
                let map = [(3, 0), (5, 7), (7, 5), (9, 300)].map(|(source, target)| FdMap {
                    source: files[source].as_raw_fd(),
                    target,
                });
                let (text, status) = output_with(&spec, LIST, &map).expect("spawns");
                assert_eq!(numbers(&text), [0, 1, 5, 7, 300].into(), "{status:?}");
            }
        }
    });
}

#[test]
fn without_a_map_a_child_has_the_standard_three() {
    if !alone!(without_a_map_a_child_has_the_standard_three) {
        return;
    }
    let files: Vec<File> = (0..20).map(|_| null()).collect();
    both(|spec| {
        for gate in [false, true] {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            // Descriptor 1 must be what the list goes to; it is kept meanwhile.
            let kept = nix::unistd::dup(std::io::stdout()).expect("a copy");
            nix::unistd::dup2_stdout(&writer).expect("stdout");
            let argv = CStringArray::new(
                [c"sh", c"-c", &std::ffi::CString::new(LIST).expect("no NUL")].into_iter(),
            )
            .map(|argv| {
                (
                    spawn(&Spec {
                        argv: argv.as_array(),
                        gate,
                        ..spec.clone()
                    }),
                    (),
                )
            });
            nix::unistd::dup2_stdout(&kept).expect("stdout");
            drop(writer);
            let spawned = argv.expect("memory").0.expect("spawns");
            if let Some(gate) = spawned.gate {
                gate.open().expect("opens");
            }
            assert_eq!(numbers(&read(reader)), [0, 1, 2].into());
            end_of(spawned.pid);
        }
    });
    drop(files);
}

/// Pipes whose write ends go round in a ring: what the child writes to one comes
/// out of the next.
#[test]
fn a_ring_turns() {
    both(|spec| {
        for length in 1..6 {
            let pipes: Vec<_> = (0..length)
                .map(|_| std::io::pipe().expect("a pipe"))
                .collect();
            let fds: Vec<RawFd> = pipes.iter().map(|(_, writer)| writer.as_raw_fd()).collect();
            let map: Vec<FdMap> = (0..length)
                .map(|at| FdMap {
                    source: fds[at],
                    target: fds[(at + 1) % length],
                })
                .collect();
            let script: String = fds
                .iter()
                .map(|fd| format!("echo {fd} > /proc/self/fd/{fd};"))
                .collect();
            output_with(&spec, &script, &map).expect("spawns");
            let (readers, writers): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
            drop(writers);
            for (at, reader) in readers.into_iter().enumerate() {
                assert_eq!(read(reader), format!("{}\n", fds[(at + 1) % length]));
            }
        }
    });
}

#[test]
fn one_source_may_have_many_targets() {
    both(|spec| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let map = [2, 7, 8].map(|target| FdMap {
            source: writer.as_raw_fd(),
            target,
        });
        output_with(&spec, "echo a >&2; echo b >&7; echo c >&8", &map).expect("spawns");
        drop(writer);
        assert_eq!(read(reader), "a\nb\nc\n");
    });
}

/// A child made in one thread must not get what other threads have open, nor
/// change what they have.
#[test]
fn ten_thousand_children_of_four_threads_have_their_maps_only() {
    const THREADS: usize = 4;
    const CHILDREN: usize = 10_000;
    let spawn_and_look = |thread: usize| {
        for round in 0..CHILDREN / THREADS {
            let files: Vec<File> = (0..=round % 7).map(|_| null()).collect();
            let source = files[round % files.len()].as_raw_fd();
            let target = 3 + RawFd::try_from((round + thread) % 40).expect("small");
            let map = [FdMap { source, target }];
            let spec = Spec {
                pidfd: round % 2 == 0,
                ..plain()
            };
            let (text, status) = output_with(&spec, LIST, &map).expect("spawns");
            assert_eq!(numbers(&text), [1, target].into(), "{status:?}");
            for file in &files {
                let flags = fcntl(file, FcntlArg::F_GETFD).expect("still open");
                assert_eq!(flags, 0);
            }
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || spawn_and_look(thread));
        }
    });
}
