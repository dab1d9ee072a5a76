//! Where a program is looked for.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{CStrArray, CString, Spec, Step, Strings, alone, both, end_of, refused, spawn};
use crate::spawn::path::{Candidates, is_searched};

fn paths(file: &str, list: &str) -> Vec<String> {
    let file = CString::new(file).expect("no NUL");
    let list = CString::new(list).expect("no NUL");
    let candidates = Candidates::new(&file, &list).expect("memory");
    candidates
        .iter()
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn each_directory_in_order_and_empty_is_the_cwd() {
    assert_eq!(paths("x", "/a:/b"), ["/a/x", "/b/x"]);
    assert_eq!(paths("x", ""), ["x"]);
    assert_eq!(paths("x", ":/a::b:"), ["x", "/a/x", "x", "b/x", "x"]);
}

#[test]
fn too_long_a_directory_is_left_out() {
    let fits = "d".repeat(4096 - 3);
    let long = "d".repeat(4096 - 2);
    assert_eq!(
        paths("x", &format!("{fits}:{long}:/a")),
        [format!("{fits}/x"), "/a/x".into()]
    );
}

#[test]
fn a_slash_or_nothing_is_not_searched_for() {
    assert!(is_searched(c"x"));
    assert!(!is_searched(c"./x"));
    assert!(!is_searched(c""));
}

/// A directory that is removed when its test ends.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sss_spawn.{}.{name}", std::process::id()));
        fs::create_dir(&path).expect("a new directory");
        Directory(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str, text: &str, mode: u32) -> CString {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
        CString::new(path.into_os_string().into_encoded_bytes()).expect("no NUL")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn denied_is_remembered_until_something_runs() {
    if !alone!(denied_is_remembered_until_something_runs) {
        return;
    }
    let (denied, empty, good) = (
        Directory::new("denied"),
        Directory::new("empty"),
        Directory::new("good"),
    );
    denied.file("prog", "#!/bin/sh\nexit 1\n", 0o644);
    good.file("prog", "#!/bin/sh\nexit 7\n", 0o755);
    let list = |directories: &[&Directory]| {
        let joined: Vec<String> = directories
            .iter()
            .map(|directory| directory.path().display().to_string())
            .collect();
        CString::new(joined.join(":")).expect("no NUL")
    };
    both(|spec| {
        let strings = Strings::new(&["prog"]);
        let argv = strings.array();
        let run = |list: &CString| {
            spawn(&Spec {
                path: c"prog",
                search: Some(list),
                argv: argv.as_array(),
                envp: CStrArray::environ(),
                ..spec.clone()
            })
        };
        let found = run(&list(&[&denied, &empty, &good])).expect("found");
        assert_eq!(
            format!("{:?}", end_of(found.pid)),
            format!("Exited(Pid({}), 7)", found.pid)
        );
        assert_eq!(
            run(&list(&[&denied, &empty])).unwrap_err(),
            refused(Step::Exec, libc::EACCES)
        );
        assert_eq!(
            run(&list(&[&empty])).unwrap_err(),
            refused(Step::Exec, libc::ENOENT)
        );
    });
}
