//! The attributes of a child, as seen from inside, and that its parent keeps its own.

use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask,
};

use super::search::Directory;
use super::{FdMap, Spec, alone, both, is_root, output, output_with};
use crate::spawn::{Cwd, Rlimit};

/// The lines of a /proc/PID/status that a spec can change.
fn status_of(text: &str) -> Vec<&str> {
    const LINES: [&str; 9] = [
        "Umask:",
        "Uid:",
        "Gid:",
        "Groups:",
        "SigBlk:",
        "SigIgn:",
        "SigCgt:",
        "NoNewPrivs:",
        "Seccomp:",
    ];
    text.lines()
        .filter(|line| LINES.iter().any(|name| line.starts_with(name)))
        .collect()
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

const STATUS: &str = "exec cat /proc/self/status";

#[test]
fn signals_are_default_and_open() {
    if !alone!(signals_are_default_and_open) {
        return;
    }
    extern "C" fn handler(_: i32) {}
    let set = |signal, handler| {
        let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
        #[allow(unsafe_code)]
        // SAFETY: the handler does nothing.
        unsafe { sigaction(signal, &action) }.expect("a handler");
    };
    set(Signal::SIGHUP, SigHandler::SigIgn);
    set(Signal::SIGPIPE, SigHandler::SigIgn);
    set(Signal::SIGUSR1, SigHandler::Handler(handler));
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None).expect("a mask");
    for gate in [false, true] {
        both(|spec| {
            let text = output(&Spec { gate, ..spec }, STATUS);
            for name in ["SigBlk:", "SigIgn:", "SigCgt:"] {
                assert_eq!(u64::from_str_radix(field(&text, name), 16), Ok(0), "{name}");
            }
        });
    }
}

#[test]
fn umask_limits_nice_and_oom() {
    both(|spec| {
        let rlimits = [Rlimit {
            resource: libc::RLIMIT_NOFILE,
            limit: libc::rlimit64 {
                rlim_cur: 5,
                rlim_max: 77,
            },
        }];
        let spec = Spec {
            umask: Some(0o123),
            rlimits: &rlimits,
            nice: Some(7),
            oom_score_adj: Some(321),
            no_new_privs: true,
            ..spec
        };
        // A target above the new limit must still be possible.
        let null = std::fs::File::open("/dev/null").expect("a file");
        let map = [FdMap {
            source: null.as_raw_fd(),
            target: 50,
        }];
        let script = "umask; ulimit -Sn; ulimit -Hn; nice; cat /proc/self/oom_score_adj;
            grep NoNewPrivs /proc/self/status";
        let (text, _) = output_with(&spec, script, &map).expect("spawns");
        assert_eq!(text, "0123\n5\n77\n7\n321\nNoNewPrivs:\t1\n");
    });
}

#[test]
fn credentials() {
    if !is_root() {
        return;
    }
    both(|spec| {
        let spec = Spec {
            uid: Some(1234),
            gid: Some(2345),
            groups: Some(&[7, 9]),
            ..spec
        };
        let text = output(&spec, STATUS);
        assert_eq!(field(&text, "Uid:"), ["1234"; 4].join("\t"));
        assert_eq!(field(&text, "Gid:"), ["2345"; 4].join("\t"));
        assert_eq!(field(&text, "Groups:"), "7 9");
        assert_eq!(u64::from_str_radix(field(&text, "CapEff:"), 16), Ok(0));

        let dropped = output(
            &Spec {
                groups: None,
                ..spec
            },
            STATUS,
        );
        assert_eq!(field(&dropped, "Groups:"), "");
    });
}

#[test]
fn cwd_by_path_and_by_descriptor() {
    both(|spec| {
        let directory = Directory::new("cwd");
        let open = std::fs::File::open(directory.path()).expect("the directory");
        let there = directory.path().display().to_string() + "\n";
        let path = std::ffi::CString::new(there.trim_end()).expect("no NUL");
        for cwd in [Cwd::Path(&path), Cwd::Fd(open.as_raw_fd())] {
            assert_eq!(
                output(
                    &Spec {
                        cwd: Some(cwd),
                        ..spec.clone()
                    },
                    "pwd -P"
                ),
                there
            );
        }
        drop(directory);
    });
}

/// pgrp and session of the shell itself: fields 5 and 6 after the name.
const IDS: &str = "read -r pid comm state ppid pgrp session tty tpgid rest < /proc/$$/stat;
    echo $pid $pgrp $session $tty $tpgid";

fn ids(spec: &Spec) -> Vec<i32> {
    ids_with(spec, &[])
}

fn ids_with(spec: &Spec, map: &[FdMap]) -> Vec<i32> {
    let (text, status) = output_with(spec, IDS, map).expect("spawns");
    let parsed: Result<Vec<i32>, _> = text.split_whitespace().map(str::parse).collect();
    parsed.unwrap_or_else(|_| panic!("{status:?}: {text}"))
}

#[test]
fn session_and_group() {
    both(|spec| {
        let [pid, pgrp, session, ..] = ids(&Spec {
            session: true,
            ..spec.clone()
        })[..] else {
            panic!("no ids");
        };
        assert_eq!((pgrp, session), (pid, pid));
        let [pid, pgrp, session, ..] = ids(&Spec {
            pgrp: Some(0),
            ..spec.clone()
        })[..] else {
            panic!("no ids");
        };
        assert_eq!(pgrp, pid);
        assert_ne!(session, pid);
        let leader = super::shell("exec sleep 100", |spec| spec.pgrp = Some(0)).expect("a leader");
        let joined = ids(&Spec {
            pgrp: Some(leader.pid),
            ..spec
        });
        assert_eq!(joined[1], leader.pid);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(leader.pid), Signal::SIGKILL)
            .expect("our child");
        super::end_of(leader.pid);
    });
}

#[test]
fn a_terminal_and_its_foreground_group() {
    if !alone!(a_terminal_and_its_foreground_group) {
        return;
    }
    both(|spec| {
        let (_master, terminal) = pseudo_terminal();
        let fd = terminal.as_raw_fd();
        let spec = Spec {
            session: true,
            terminal: Some(fd),
            foreground: Some(fd),
            ..spec
        };
        let [pid, pgrp, session, tty, tpgid] = ids(&spec)[..] else {
            panic!("no ids");
        };
        assert_eq!((pgrp, session, tpgid), (pid, pid, pid));
        assert_ne!(tty, 0);
    });
}

/// A new pseudo-terminal's two ends, nobody's controlling terminal.
fn pseudo_terminal() -> (std::fs::File, std::fs::File) {
    let open = |path: &str| {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOCTTY);
        options.open(path).expect("a terminal")
    };
    let master = open("/dev/ptmx");
    let (number, unlocked) = crate::sys::probe::unlock_terminal(&master);
    assert!(unlocked);
    let terminal = open(&format!("/dev/pts/{number}"));
    (master, terminal)
}

/// All state that a child which shares our memory could have changed.
fn own_state() -> String {
    let read = |path| std::fs::read_to_string(path).expect("procfs");
    let status = read("/proc/thread-self/status");
    let stat = read("/proc/thread-self/stat");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    format!(
        "{:?} pgrp, session, tty {:?} nice {} limits {} oom {} dumpable {:?} cwd {:?} cgroup {}",
        status_of(&status),
        &fields[2..5],
        fields[16],
        read("/proc/self/limits"),
        read("/proc/self/oom_score_adj"),
        nix::sys::prctl::get_dumpable(),
        std::env::current_dir(),
        read("/proc/self/cgroup"),
    )
}

#[test]
fn the_parent_stays_as_it_is() {
    if !alone!(the_parent_stays_as_it_is) {
        return;
    }
    let root = is_root();
    let rlimits = [Rlimit {
        resource: libc::RLIMIT_CORE,
        limit: libc::rlimit64 {
            rlim_cur: 0,
            rlim_max: 0,
        },
    }];
    sigprocmask(
        SigmaskHow::SIG_BLOCK,
        Some(&SigSet::from(Signal::SIGUSR2)),
        None,
    )
    .expect("a mask");
    let before = own_state();
    for (uid, gate, ok) in [
        (None, false, true),
        (None, false, false),
        (Some(4321), false, true),
        (Some(4321), true, true),
    ] {
        if uid.is_some() && !root {
            continue;
        }
        both(|spec| {
            let spec = Spec {
                umask: Some(0o77),
                rlimits: &rlimits,
                nice: Some(5),
                oom_score_adj: Some(500),
                session: true,
                cwd: Some(Cwd::Path(c"/")),
                no_new_privs: true,
                pdeathsig: Some(libc::SIGKILL),
                uid,
                gid: uid,
                gate,
                path: if ok { c"/bin/true" } else { c"/nonexistent" },
                ..spec
            };
            let Ok(spawned) = super::spawn(&spec) else {
                assert!(!ok);
                assert_eq!(own_state(), before);
                return;
            };
            assert!(ok);
            assert_eq!(own_state(), before);
            if let Some(gate) = spawned.gate {
                gate.open().expect("opens");
            }
            super::end_of(spawned.pid);
            assert_eq!(own_state(), before);
        });
    }
}

#[test]
fn a_cgroup_from_the_first_instruction() {
    if !alone!(a_cgroup_from_the_first_instruction) {
        return;
    }
    let Some(cgroup) = Cgroup::new() else {
        return;
    };
    both(|spec| {
        let text = output(&cgroup.spec(&spec), "cat /proc/self/cgroup");
        assert!(cgroup.holds(&text), "{text}");
    });
}

/// A cgroup (v2) that is removed when its test ends.
pub(super) struct Cgroup {
    path: std::path::PathBuf,
    directory: std::fs::File,
}

impl Cgroup {
    pub(super) fn new() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("procfs");
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let (path, kind) = (words.nth(1)?, words.next()?);
            (kind == "cgroup2").then_some(path)
        });
        let path = std::path::Path::new(root.unwrap_or("/"))
            .join(format!("sss_spawn.{}", std::process::id()));
        if root.is_none() || std::fs::create_dir(&path).is_err() {
            println!("SKIP: no cgroup can be made here");
            return None;
        }
        let directory = std::fs::File::open(&path).expect("the cgroup");
        Some(Cgroup { path, directory })
    }

    pub(super) fn spec<'a>(&self, spec: &Spec<'a>) -> Spec<'a> {
        Spec {
            cgroup: Some(self.directory.as_raw_fd()),
            ..spec.clone()
        }
    }

    pub(super) fn holds(&self, listed: &str) -> bool {
        let name = self
            .path
            .file_name()
            .expect("a name")
            .to_str()
            .expect("ASCII");
        listed
            .lines()
            .any(|line| line.starts_with("0::") && line.ends_with(name))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.path);
    }
}

#[test]
fn a_pidfd_where_it_is_asked_for() {
    for gate in [false, true] {
        both(|spec| {
            let spec = Spec {
                gate,
                path: c"/bin/true",
                ..spec
            };
            let without = super::spawn(&spec).expect("spawns");
            assert!(without.pidfd.is_none());
            let with = super::spawn(&Spec {
                pidfd: true,
                ..spec
            })
            .expect("spawns");
            let pidfd = with.pidfd.expect("a pidfd");
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))
                .expect("procfs");
            assert_eq!(field(&info, "Pid:"), with.pid.to_string());
            for (pid, gate) in [(without.pid, without.gate), (with.pid, with.gate)] {
                if let Some(gate) = gate {
                    gate.open().expect("opens");
                }
                super::end_of(pid);
            }
        });
    }
}
