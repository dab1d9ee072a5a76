#![no_main]
//! The messages of a fork server and its client.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sss_sigchld::fuzz::forksrv(data));
