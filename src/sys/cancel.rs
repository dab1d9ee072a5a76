//! pthread_setcancelstate(3): a cancelled thread unwinds, which must not happen
//! while a process is being made, nor through Rust's frames.

use std::ffi::c_int;

unsafe extern "C" {
    safe fn pthread_setcancelstate(state: c_int, old: &mut c_int) -> c_int;
}

/// PTHREAD_CANCEL_DISABLE, alike in glibc and musl.
const DISABLE: c_int = 1;

/// While it lives the calling thread is not cancelled.
#[derive(Debug)]
pub(crate) struct NoCancellation {
    old: c_int,
}

impl NoCancellation {
    pub(crate) fn begin() -> Self {
        let mut old = 0;
        pthread_setcancelstate(DISABLE, &mut old);
        NoCancellation { old }
    }
}

impl Drop for NoCancellation {
    fn drop(&mut self) {
        let mut ours = 0;
        pthread_setcancelstate(self.old, &mut ours);
    }
}
