//! Kernels and filters that refuse what the spawn would like best.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::attributes::Cgroup;
use super::descriptors::{LIST, numbers};
use super::{FdMap, Spec, alone, both, output, output_with, spawn};
use crate::sys::probe::{Answer, Refused, has_no_child, refuse};

const ERRNOS: [i32; 3] = [libc::ENOSYS, libc::EPERM, libc::EINVAL];

fn no(call: libc::c_long, flags: i32, errno: i32) -> Refused {
    Refused {
        call,
        flags,
        answer: Answer::Errno(errno),
    }
}

/// With one more filter in force, a child must still be what it was asked to be.
fn still_spawns() {
    let files: Vec<File> = (0..8)
        .map(|_| File::open("/dev/null").expect("a file"))
        .collect();
    both(|spec| {
        for gate in [false, true] {
            let spec = Spec {
                pidfd: true,
                gate,
                ..spec.clone()
            };
            let map = [(2, 0), (4, 9)].map(|(source, target)| FdMap {
                source: files[source].as_raw_fd(),
                target,
            });
            let (text, status) = output_with(&spec, LIST, &map).expect("spawns");
            assert_eq!(numbers(&text), [0, 1, 9].into(), "{status:?}");
            let spawned = spawn(&Spec {
                path: c"/bin/true",
                ..spec
            })
            .expect("spawns");
            assert!(spawned.pidfd.is_some());
            if let Some(gate) = spawned.gate {
                gate.open().expect("opens");
            }
            super::end_of(spawned.pid);
            assert!(has_no_child());
        }
    });
}

macro_rules! refusals {
    ($($name:ident: $call:ident, $flags:expr;)*) => { $(
        #[test]
        fn $name() {
            if !alone!($name) {
                return;
            }
            for errno in ERRNOS {
                // The filter that came last is asked first.
                refuse(&[no(libc::$call, $flags, errno)]);
                still_spawns();
            }
        }
    )* };
}

refusals! {
    without_close_range: SYS_close_range, 0;
    without_clone3: SYS_clone3, 0;
    without_shared_memory: SYS_clone, libc::CLONE_VM;
    without_shared_descriptors: SYS_clone, libc::CLONE_FILES;
    without_clone_pidfd: SYS_clone, libc::CLONE_PIDFD;
}

#[test]
fn without_anything() {
    if !alone!(without_anything) {
        return;
    }
    refuse(&[
        no(libc::SYS_clone3, 0, libc::ENOSYS),
        no(libc::SYS_close_range, 0, libc::EPERM),
        no(
            libc::SYS_clone,
            libc::CLONE_VM | libc::CLONE_PIDFD | libc::CLONE_FILES,
            libc::EINVAL,
        ),
    ]);
    still_spawns();
}

#[test]
fn without_any_pidfd() {
    if !alone!(without_any_pidfd) {
        return;
    }
    refuse(&[
        no(libc::SYS_pidfd_open, 0, libc::ENOSYS),
        no(libc::SYS_clone, libc::CLONE_PIDFD, libc::EINVAL),
    ]);
    for gate in [false, true] {
        both(|spec| {
            let spec = Spec {
                pidfd: true,
                gate,
                path: c"/bin/true",
                ..spec
            };
            let spawned = spawn(&spec).expect("spawns");
            assert!(spawned.pidfd.is_none());
            if let Some(gate) = spawned.gate {
                gate.open().expect("opens");
            }
            super::end_of(spawned.pid);
        });
    }
}

#[test]
fn without_a_descriptor_for_the_pidfd() {
    if !alone!(without_a_descriptor_for_the_pidfd) {
        return;
    }
    let mut files = Vec::new();
    let limit = 64;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, limit, limit)
        .expect("a limit");
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    both(|spec| {
        let spawned = spawn(&Spec {
            pidfd: true,
            path: c"/bin/true",
            ..spec
        })
        .expect("spawns");
        assert!(spawned.pidfd.is_none());
        super::end_of(spawned.pid);
    });
}

#[test]
fn without_close_range_in_a_full_table() {
    if !alone!(without_close_range_in_a_full_table) {
        return;
    }
    refuse(&[no(libc::SYS_close_range, 0, libc::ENOSYS)]);
    let limit = 64;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, limit, limit)
        .expect("a limit");
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    both(|spec| {
        let spawned = spawn(&Spec {
            path: c"/bin/true",
            ..spec
        })
        .expect("spawns");
        super::end_of(spawned.pid);
    });
}

#[test]
fn a_cgroup_without_clone3() {
    if !alone!(a_cgroup_without_clone3) {
        return;
    }
    let Some(cgroup) = Cgroup::new() else {
        return;
    };
    for errno in [libc::ENOSYS, libc::EPERM, libc::EINVAL, libc::E2BIG] {
        refuse(&[no(libc::SYS_clone3, 0, errno)]);
        both(|spec| {
            let text = output(&cgroup.spec(&spec), "cat /proc/self/cgroup");
            assert!(cgroup.holds(&text), "{text}");
        });
    }
}
