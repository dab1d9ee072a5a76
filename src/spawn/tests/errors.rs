//! What cannot be spawned: the step, the errno, and nothing left behind.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::search::Directory;
use super::{FdMap, Spec, Step, Strings, alone, both, is_root, refused, spawn};
use crate::spawn::{Cwd, Rlimit};
use crate::sys::probe::{Answer, Refused, has_no_child, refuse, setuid};

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// Spawns what must fail, and looks for remains.
fn fails(spec: &Spec, step: Step, errno: i32) {
    let strings = Strings::new(&["x"]);
    let argv = strings.array();
    let spec = Spec {
        argv: argv.as_array(),
        ..spec.clone()
    };
    let before = open_descriptors();
    for (gate, pidfd) in [(false, false), (false, true), (true, false), (true, true)] {
        let spec = Spec {
            gate,
            pidfd,
            ..spec.clone()
        };
        // For a step after the gate the error comes when the gate is opened, and the
        // child is the caller's to reap.
        if gate && step == Step::Exec {
            let spawned = spawn(&spec).expect("held");
            let opened = spawned.gate.expect("a gate").open();
            assert_eq!(opened.unwrap_err(), refused(step, errno));
            super::end_of(spawned.pid);
        } else {
            assert_eq!(spawn(&spec).unwrap_err(), refused(step, errno));
        }
        assert!(has_no_child());
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn what_cannot_be_executed() {
    if !alone!(what_cannot_be_executed) {
        return;
    }
    let directory = Directory::new("exec");
    let garbage = directory.file("garbage", "no format\n", 0o755);
    let denied = directory.file("denied", "#!/bin/sh\n", 0o644);
    both(|spec| {
        let path = |path| Spec {
            path,
            ..spec.clone()
        };
        fails(&path(c"/nonexistent"), Step::Exec, libc::ENOENT);
        fails(&path(c""), Step::Exec, libc::ENOENT);
        fails(&path(&garbage), Step::Exec, libc::ENOEXEC);
        fails(&path(&denied), Step::Exec, libc::EACCES);
        fails(&path(c"/tmp"), Step::Exec, libc::EACCES);
        let long = Strings::new(&[&"x".repeat(1 << 18)]);
        let envp = long.array();
        let spec = Spec {
            envp: envp.as_array(),
            ..path(c"/bin/true")
        };
        fails(&spec, Step::Exec, libc::E2BIG);
    });
}

#[test]
fn what_the_spec_forbids() {
    if !alone!(what_the_spec_forbids) {
        return;
    }
    let closed = 900;
    both(|spec| {
        let map = |source, target| [FdMap { source, target }];
        let bad_map = |map: &[FdMap], errno| {
            let spec = Spec {
                fds: Some(map),
                ..spec.clone()
            };
            fails(&spec, Step::Descriptors, errno);
        };
        bad_map(&map(closed, 0), libc::EBADF);
        bad_map(&map(closed, closed), libc::EBADF);
        bad_map(&map(-1, 0), libc::EBADF);
        bad_map(&map(0, -1), libc::EINVAL);
        bad_map(&[map(0, 5), map(1, 5)].concat(), libc::EINVAL);
        bad_map(&map(0, i32::MAX), libc::EBADF);
        // The numbers that the spawn's own descriptors will get.
        let next = [(); 2].map(|()| File::open("/dev/null").expect("a file"));
        let next = next.map(|file| file.as_raw_fd());
        bad_map(&map(next[0], 0), libc::EBADF);
        bad_map(&map(next[1], 0), libc::EBADF);

        let spec = || spec.clone();
        let einval = |spec| fails(&spec, Step::Spec, libc::EINVAL);
        einval(Spec {
            umask: Some(0o1000),
            ..spec()
        });
        einval(Spec {
            nice: Some(20),
            ..spec()
        });
        einval(Spec {
            oom_score_adj: Some(1001),
            ..spec()
        });
        einval(Spec {
            pgrp: Some(-1),
            ..spec()
        });
        einval(Spec {
            pdeathsig: Some(65),
            ..spec()
        });
        einval(Spec {
            uid: Some(u32::MAX),
            ..spec()
        });
        einval(Spec {
            gid: Some(u32::MAX),
            ..spec()
        });
        let none = Strings::new(&[]);
        let argv = none.array();
        let empty = Spec {
            argv: argv.as_array(),
            ..spec()
        };
        assert_eq!(
            spawn(&empty).unwrap_err(),
            refused(Step::Spec, libc::EINVAL)
        );
    });
}

#[test]
fn what_the_kernel_refuses_the_child() {
    if !alone!(what_the_kernel_refuses_the_child) {
        return;
    }
    let gone = Directory::new("gone");
    std::env::set_current_dir(gone.path()).expect("the directory");
    drop(gone);
    let null = File::open("/dev/null").expect("a file");
    let fd = null.as_raw_fd();
    both(|spec| {
        let spec = || spec.clone();
        let cwd = |cwd| Spec {
            cwd: Some(cwd),
            ..spec()
        };
        fails(&cwd(Cwd::Path(c"below")), Step::Cwd, libc::ENOENT);
        let here = Spec {
            path: c"./sh",
            ..cwd(Cwd::Path(c"."))
        };
        fails(&here, Step::Exec, libc::ENOENT);
        fails(&cwd(Cwd::Fd(fd)), Step::Cwd, libc::ENOTDIR);
        fails(
            &Spec {
                pgrp: Some(1),
                ..spec()
            },
            Step::ProcessGroup,
            libc::EPERM,
        );
        fails(
            &Spec {
                terminal: Some(fd),
                session: true,
                ..spec()
            },
            Step::Terminal,
            libc::ENOTTY,
        );
        fails(
            &Spec {
                foreground: Some(fd),
                ..spec()
            },
            Step::Foreground,
            libc::ENOTTY,
        );
        fails(
            &Spec {
                cgroup: Some(fd),
                ..spec()
            },
            Step::Cgroup,
            libc::EBADF,
        );
        let backwards = [Rlimit {
            resource: libc::RLIMIT_CORE,
            limit: libc::rlimit64 {
                rlim_cur: 2,
                rlim_max: 1,
            },
        }];
        fails(
            &Spec {
                rlimits: &backwards,
                ..spec()
            },
            Step::Rlimit,
            libc::EINVAL,
        );
    });
}

#[test]
fn a_relative_path_is_looked_up_from_the_new_cwd() {
    both(|spec| {
        let spec = Spec {
            cwd: Some(Cwd::Path(c"/bin")),
            path: c"./sh",
            ..spec
        };
        let strings = Strings::new(&["sh", "-c", "exit 3"]);
        let argv = strings.array();
        let spawned = spawn(&Spec {
            argv: argv.as_array(),
            ..spec
        })
        .expect("spawns");
        assert!(format!("{:?}", super::end_of(spawned.pid)).ends_with(", 3)"));
    });
}

#[test]
fn too_many_processes() {
    if !alone!(too_many_processes) || !is_root() {
        return;
    }
    let none = [Rlimit {
        resource: libc::RLIMIT_NPROC,
        limit: libc::rlimit64 {
            rlim_cur: 0,
            rlim_max: 0,
        },
    }];
    let spec = Spec {
        uid: Some(54_321),
        ..super::plain()
    };
    // One process of the user must be counted before another one takes that uid.
    let first = super::shell("exec sleep 100", |first| first.uid = spec.uid).expect("spawns");
    let strings = Strings::new(&["x"]);
    let argv = strings.array();
    let second = Spec {
        argv: argv.as_array(),
        rlimits: &none,
        ..spec
    };
    assert_eq!(
        spawn(&second).unwrap_err(),
        refused(Step::Exec, libc::EAGAIN)
    );
    kill(Pid::from_raw(first.pid), Signal::SIGKILL).expect("our child");
    super::end_of(first.pid);

    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NPROC, 1, 1)
        .expect("a limit");
    setuid(54_322);
    both(|spec| fails(&spec, Step::Clone, libc::EAGAIN));
}

#[test]
fn a_user_may_not_become_another() {
    if !alone!(a_user_may_not_become_another) || !is_root() {
        return;
    }
    setuid(54_323);
    both(|spec| {
        let spec = || spec.clone();
        fails(
            &Spec {
                uid: Some(0),
                ..spec()
            },
            Step::Uid,
            libc::EPERM,
        );
        fails(
            &Spec {
                gid: Some(54_324),
                ..spec()
            },
            Step::Gid,
            libc::EPERM,
        );
        fails(
            &Spec {
                groups: Some(&[1, 2]),
                ..spec()
            },
            Step::Groups,
            libc::EPERM,
        );
        fails(
            &Spec {
                nice: Some(-20),
                ..spec()
            },
            Step::Nice,
            libc::EACCES,
        );
    });
}

#[test]
fn a_failed_child_is_nobodys() {
    if !alone!(a_failed_child_is_nobodys) {
        return;
    }
    let mut sigchld = SigSet::empty();
    sigchld.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&sigchld), None).expect("a mask");
    // A thread that waits for any child can steal one only if it is visible.
    let over = AtomicBool::new(false);
    let stolen = std::thread::scope(|scope| {
        let thief = scope.spawn(|| {
            let mut stolen = 0;
            while !over.load(Ordering::Relaxed) {
                if waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok() {
                    stolen += 1;
                }
                std::thread::yield_now();
            }
            stolen
        });
        both(|spec| {
            for _ in 0..300 {
                let spec = Spec {
                    path: c"/nonexistent",
                    ..spec.clone()
                };
                assert_eq!(spawn(&spec).unwrap_err(), refused(Step::Exec, libc::ENOENT));
            }
        });
        over.store(true, Ordering::Relaxed);
        thief.join().expect("the thief")
    });
    assert_eq!(stolen, 0);
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("procfs");
    let pending = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.expect("the line").trim(), 16).expect("a mask")
    };
    assert_eq!((pending("SigPnd:") | pending("ShdPnd:")) & (1 << 16), 0);
}

#[test]
fn a_child_killed_before_its_exec_is_an_error() {
    if !alone!(a_child_killed_before_its_exec_is_an_error) {
        return;
    }
    refuse(&[Refused {
        call: libc::SYS_execve,
        flags: 0,
        answer: Answer::Kill,
    }]);
    both(|spec| {
        assert_eq!(spawn(&spec).unwrap_err(), refused(Step::Exec, libc::EINTR));
        assert!(has_no_child());
    });
}

#[test]
fn the_environment_is_given() {
    let strings = Strings::new(&["/usr/bin/env"]);
    let argv = strings.array();
    let variables = Strings::new(&["A=1", "B=2"]);
    let envp = variables.array();
    let spec = Spec::new(c"/bin/sh", argv.as_array(), envp.as_array());
    let text = super::output(&spec, "echo $A $B ${HOME-none}");
    assert_eq!(text, "1 2 none\n");
}
