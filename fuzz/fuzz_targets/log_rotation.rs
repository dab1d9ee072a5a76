#![no_main]
//! When a log's file is full, and which names are rotated files.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sss_sigchld::fuzz::log_rotation(data));
