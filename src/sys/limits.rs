//! getrlimit(2), setrlimit(2) and getpriority(2).

use nix::errno::Errno;

/// As many resources as the kernel has.
pub(crate) const RESOURCES: u32 = 16;

/// The limits of this process, by resource.
pub(crate) fn all() -> [libc::rlimit64; RESOURCES as usize] {
    let mut limits = [libc::rlimit64 {
        rlim_cur: libc::RLIM64_INFINITY,
        rlim_max: libc::RLIM64_INFINITY,
    }; RESOURCES as usize];
    for (resource, limit) in (0..RESOURCES).zip(&mut limits) {
        // SAFETY: writes one limit; a resource that the kernel does not know leaves
        // it alone.
        unsafe { libc::prlimit64(0, resource as _, std::ptr::null(), limit) };
    }
    limits
}

/// Raises the soft limit of descriptors to the hard one.
pub(crate) fn raise_descriptors() {
    let resource = libc::RLIMIT_NOFILE;
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads and writes one limit of this frame.
    unsafe {
        if libc::prlimit64(0, resource, std::ptr::null(), &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::prlimit64(0, resource, &raw const limit, std::ptr::null_mut());
        }
    }
}

/// The nice value of the calling thread.
pub(crate) fn nice() -> i32 {
    Errno::clear();
    // SAFETY: no memory is passed.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if nice == -1 && Errno::last() != Errno::UnknownErrno {
        return 0;
    }
    nice
}
