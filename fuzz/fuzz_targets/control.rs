#![no_main]
//! Requests to the control socket of sss-supervise: control.c.

use sss_sigchld as _; // which it calls

unsafe extern "C" {
    fn fuzz_control(data: *const u8, size: usize) -> i32;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // SAFETY: it reads these bytes and keeps none.
    unsafe { fuzz_control(data.as_ptr(), data.len()) };
});
