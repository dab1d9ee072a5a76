#![no_main]
//! A log's line splitter: longest line, cuts, refusals, then bytes.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sss_sigchld::fuzz::log_lines(data));
