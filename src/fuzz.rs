//! One function for each target of fuzz/: bytes go in, and what must hold is
//! asserted. It exists in a fuzzer's build only, which sets the cfg.

use std::ffi::CString;

use crate::spawn::path::Candidates;

/// Every path that is tried ends with the file's name and is short enough.
pub fn spawn_path(data: &[u8]) {
    let mut parts = data.splitn(2, |&byte| byte == 0);
    let (Some(file), Some(list)) = (parts.next(), parts.next()) else {
        return;
    };
    let (Ok(file), Ok(list)) = (CString::new(file), CString::new(list)) else {
        return;
    };
    let candidates = Candidates::new(&file, &list).expect("memory");
    let directories = list.to_bytes().split(|&byte| byte == b':').count();
    assert!(candidates.iter().count() <= directories);
    for path in candidates.iter() {
        let path = path.to_bytes();
        assert!(path.ends_with(file.to_bytes()));
        assert!(path.len() < 4096);
    }
}
