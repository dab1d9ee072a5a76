//! pthread_create(3): threads of the library's own.

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

use nix::errno::Errno;

use super::error::{Call, Error, out_of_memory};
use super::robust::Latches;
use super::unload::Unloading;

/// Enough for what our threads do, sanitizers included.
const STACK: usize = 512 * 1024;

struct Start {
    run: fn(usize),
    argument: usize,
    end: &'static Latches,
}

/// Threads that are started and ended one by one, `N` at most. Nobody joins them, but one
/// can wait until none of them runs an instruction any more.
pub(crate) struct Crew<const N: usize>([Latches; N]);

impl<const N: usize> Crew<N> {
    pub(crate) const fn new() -> Self {
        Crew([const { Latches::new() }; N])
    }

    /// Starts a thread as [`start`] does; calls come one at a time.
    pub(crate) fn start(
        &'static self,
        name: &'static CStr,
        run: fn(usize),
        argument: usize,
    ) -> Result<(), Error> {
        let free = self.0.iter().find(|end| end.gone.is_free());
        start(name, run, argument, free.ok_or(Errno::EAGAIN)?)
    }

    /// Waits until all have ended; they were told to end before.
    pub(crate) fn wait_for_ends(&self, _: &Unloading) {
        // Twice: one of them may have started another in a place that was looked at.
        for end in self.0.iter().chain(&self.0) {
            while !end.gone.is_free() {
                end.gone.wait(1_000);
            }
        }
    }
}

/// Starts a thread that nobody joins, with all signals blocked: none of the
/// daemon's handlers ever runs in it.
///
/// Signals are blocked by pthread_sigmask(3), which leaves glibc's own signals alone. A
/// raw rt_sigprocmask(2) would also block the signal by which setresuid(3) reaches each
/// thread, and the daemon's setresuid() would hang.
fn start(
    name: &'static CStr,
    run: fn(usize),
    argument: usize,
    end: &'static Latches,
) -> Result<(), Error> {
    // SAFETY: checked, and freed by the thread, or below where there is none.
    let memory = unsafe { libc::malloc(size_of::<Start>()) }.cast::<Start>();
    if memory.is_null() {
        return Err(out_of_memory(()));
    }
    // SAFETY: large enough; malloc aligns for any type.
    unsafe { memory.write(Start { run, argument, end }) };
    // SAFETY: static, and in no list: the thread that had it is dead.
    unsafe { Latches::link(std::ptr::from_ref(end).cast_mut()) };
    end.gone.promise();
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut former = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sets of this frame; the first call writes one, the second reads it.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), former.as_mut_ptr());
    }
    let started = create(name, memory);
    // SAFETY: written above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, former.as_ptr(), null_mut()) };
    if started.is_err() {
        end.gone.disown();
        // SAFETY: no thread has it.
        unsafe { libc::free(memory.cast()) };
    }
    started
}

fn create(name: &CStr, memory: *mut Start) -> Result<(), Error> {
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: initialised by the first call and used between it and the last.
    let mut code = unsafe {
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
        let code = libc::pthread_create(
            thread.as_mut_ptr(),
            attributes.as_ptr(),
            begin,
            memory.cast(),
        );
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        code
    };
    if code == libc::EINVAL {
        // The program's thread-local data takes up more than our stack.
        // SAFETY: the same with the default attributes.
        code = unsafe { libc::pthread_create(thread.as_mut_ptr(), null(), begin, memory.cast()) };
    }
    if code != 0 {
        return Err(Call::pthread_create.failed(Errno::from_raw(code)));
    }
    // SAFETY: it was started. It has not ended where the starter holds a lock that the
    // thread takes first; otherwise at worst the name is missed.
    unsafe {
        let thread = thread.assume_init();
        libc::pthread_setname_np(thread, name.as_ptr());
        libc::pthread_detach(thread);
    }
    Ok(())
}

extern "C" fn begin(memory: *mut c_void) -> *mut c_void {
    // SAFETY: start()'s, this thread's from now on.
    let start = unsafe {
        let start = memory.cast::<Start>().read();
        libc::free(memory);
        start
    };
    // This replaces the C library's robust list, which is for robust mutexes: we have
    // none.
    // SAFETY: linked by start(), for this thread alone.
    if unsafe { Latches::own(start.end) }.is_err() {
        start.end.gone.disown();
    }
    (start.run)(start.argument);
    null_mut()
}
