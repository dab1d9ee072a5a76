#![no_main]
//! Datagrams of sd_notify(3).

libfuzzer_sys::fuzz_target!(|data: &[u8]| sss_sigchld::fuzz::notify(data));
