#![no_main]
//! Where a program is looked for: a file name, and a PATH.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sss_sigchld::fuzz::spawn_path(data));
