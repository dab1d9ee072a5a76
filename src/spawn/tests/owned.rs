//! A spec that was copied and outlives what it was copied from.

use std::os::fd::AsRawFd;

use super::{FdMap, Step, Strings, end_of, plain, read, refused};
use crate::spawn::{Cwd, OwnedSpec, Spec, spawn};

/// A copy of a spec whose original is gone completely.
fn copy_of(
    script: &str,
    edit: impl FnOnce(Spec) -> Result<OwnedSpec, crate::spawn::SpawnError>,
) -> OwnedSpec {
    let argv = Strings::new(&["sh", "-c", script]);
    let argv = argv.array();
    let envp = Strings::new(&["PATH=/bin:/usr/bin", "NAME=value"]);
    let envp = envp.array();
    let path = std::ffi::CString::new("sh").expect("no NUL");
    edit(Spec {
        path: &path,
        search: Some(c"/nowhere:/bin"),
        argv: argv.as_array(),
        envp: envp.as_array(),
        ..plain()
    })
    .expect("copies")
}

#[test]
fn it_starts_a_child_again_and_again() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let copy = copy_of(
        "echo $NAME; pwd; umask; ulimit -n; echo to the same >&5",
        |spec| {
            let directory = std::fs::File::open("/usr").expect("a directory");
            let fds = [1, 5].map(|target| FdMap {
                source: writer.as_raw_fd(),
                target,
            });
            let limits = [crate::spawn::Rlimit {
                resource: libc::RLIMIT_NOFILE,
                limit: libc::rlimit64 {
                    rlim_cur: 77,
                    rlim_max: 77,
                },
            }];
            OwnedSpec::new(&Spec {
                cwd: Some(Cwd::Fd(directory.as_raw_fd())),
                fds: Some(&fds),
                umask: Some(0o27),
                rlimits: &limits,
                ..spec
            })
        },
    );
    drop(writer);
    for _ in 0..2 {
        let child = spawn(&copy.spec()).expect("spawns");
        end_of(child.pid);
    }
    drop(copy);
    let once = "value\n/usr\n0027\n77\nto the same\n";
    assert_eq!(read(reader), format!("{once}{once}"));
}

#[test]
fn a_field_may_be_changed_in_it() {
    let copy = copy_of("exit 3", |spec| OwnedSpec::new(&spec));
    let gone = spawn(&Spec {
        cwd: Some(Cwd::Path(c"/nowhere")),
        ..copy.spec()
    });
    assert_eq!(gone.unwrap_err(), refused(Step::Cwd, libc::ENOENT));
    end_of(spawn(&copy.spec()).expect("spawns").pid);
}

#[test]
fn what_no_child_could_do_is_not_copied() {
    let closed = [FdMap {
        source: 9_999,
        target: 0,
    }];
    let error = OwnedSpec::new(&Spec {
        fds: Some(&closed),
        ..plain()
    });
    assert_eq!(error.unwrap_err(), refused(Step::Descriptors, libc::EBADF));
    let error = OwnedSpec::new(&Spec {
        umask: Some(0o1000),
        ..plain()
    });
    assert_eq!(error.unwrap_err(), refused(Step::Spec, libc::EINVAL));
}
