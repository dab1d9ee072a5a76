//! Objects of the families as C holds them: a value of ours in memory of the
//! host's, or of malloc(3) where there is no host.
//!
//! ```ignore
//! pub struct sss_log(object::Memory<Log>);          // opaque to C
//! impl Held for Log { type C = sss_log; const NAME: &CStr = c"struct sss_log"; }
//!
//! let place = Place::<Log>::new(ctx, memctx)?;       // before anything else happens
//! let made = Log::open(ctx.id, place.pointer());     // who calls back with it may know it
//! unsafe { place.settle(made, out) }                 // gives it to C, or the memory back
//! let log = unsafe { object::get::<Log>(log) }?;     // EINVAL for NULL
//! unsafe { object::free::<Log>(log) }                // drops the value: it ends itself
//! ```

use std::ffi::{CStr, c_int, c_void};

use nix::errno::Errno;

use super::boundary::protect;
use super::context_memory::Context;

/// A value that C holds by a pointer to an opaque struct. Its Drop ends it: also
/// in a forked child, where it only closes what it inherited.
pub(crate) trait Held: Sized {
    /// The opaque struct.
    type C;
    /// Its tag, as the host's allocator shows it.
    const NAME: &'static CStr;
}

/// What a pointer to an opaque struct points to.
pub(crate) struct Memory<T> {
    /// None until it is made, and once it ended.
    value: Option<T>,
    /// The host's free; None where the memory is malloc's.
    free: Option<unsafe extern "C" fn(memory: *mut c_void) -> c_int>,
}

/// Memory for an object that is still to be made.
pub(crate) struct Place<T: Held>(*mut Memory<T>);

impl<T: Held> Place<T> {
    /// ENOMEM; EINVAL for a memctx without a host; EPERM from a thread that is not
    /// the host's loop, whose allocator it is.
    pub(crate) fn new(ctx: &Context, memctx: *mut c_void) -> Result<Self, Errno> {
        let size = size_of::<Memory<T>>();
        let own = match &ctx.binding {
            Some(binding) => binding.check_thread(ctx.id)?,
            None => None,
        };
        let (memory, free) = match own {
            Some(own) => {
                // SAFETY: the host's own function with its own parent.
                let memory =
                    unsafe { (own.alloc)(memctx, size, T::NAME.as_ptr(), Some(gone::<T>)) };
                (memory, Some(own.free))
            }
            None if !memctx.is_null() => return Err(Errno::EINVAL),
            // SAFETY: plain malloc(3); a failed allocation is NULL, not an abort.
            None => (unsafe { libc::malloc(size) }, None),
        };
        let memory = memory.cast::<Memory<T>>();
        if memory.is_null() {
            return Err(Errno::ENOMEM);
        }
        // SAFETY: large enough, and aligned as malloc aligns.
        unsafe { memory.write(Memory { value: None, free }) };
        Ok(Place(memory))
    }

    /// The object as C will know it.
    pub(crate) fn pointer(&self) -> *mut T::C {
        self.0.cast()
    }

    /// Gives the object to C, or the memory back where it was not made. With a NULL
    /// `out` the memctx owns it.
    ///
    /// # Safety
    /// `out` is NULL or writable.
    pub(crate) unsafe fn settle(
        self,
        made: Result<T, Errno>,
        out: *mut *mut T::C,
    ) -> Result<(), Errno> {
        match made {
            Ok(value) => {
                // SAFETY: written by new(), and known to nobody else.
                unsafe { (*self.0).value = Some(value) };
                if !out.is_null() {
                    // SAFETY: not NULL; the caller vouches for it.
                    unsafe { out.write(self.0.cast()) };
                }
                std::mem::forget(self);
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }
}

impl<T: Held> Drop for Place<T> {
    fn drop(&mut self) {
        // SAFETY: written by new(), holds no value, and known to nobody else.
        unsafe { give_back(self.0) };
    }
}

/// # Safety
/// `memory` is from Place::new() and is not used again.
unsafe fn give_back<T>(memory: *mut Memory<T>) -> c_int {
    // SAFETY: the caller vouches for the memory.
    unsafe {
        match (*memory).free {
            Some(free) => free(memory.cast()),
            None => {
                libc::free(memory.cast());
                0
            }
        }
    }
}

/// # Safety
/// `object` is NULL or an object of this kind that is not freed.
pub(crate) unsafe fn get<'a, T: Held>(object: *mut T::C) -> Result<&'a T, Errno> {
    // SAFETY: the caller vouches for it.
    let memory = unsafe { object.cast::<Memory<T>>().as_ref() };
    memory
        .and_then(|memory| memory.value.as_ref())
        .ok_or(Errno::EINVAL)
}

/// Ends an object and frees its memory; NULL is fine. EBUSY where a destructor of
/// the host's refused: it lives on.
///
/// # Safety
/// `object` is NULL or an object of this kind, and is not used again.
pub(crate) unsafe fn free<T: Held>(object: *mut T::C) -> Result<(), Errno> {
    let memory = object.cast::<Memory<T>>();
    if memory.is_null() {
        return Ok(());
    }
    // SAFETY: the caller vouches for it.
    unsafe {
        if (*memory).free.is_none() {
            drop((*memory).value.take());
        }
        // With a host gone() drops the value.
        match give_back(memory) {
            0 => Ok(()),
            _ => Err(Errno::EBUSY),
        }
    }
}

/// The host's word that an object's memory is about to be freed.
unsafe extern "C" fn gone<T: Held>(memory: *mut c_void) {
    // SAFETY: still readable, and written by Place::new().
    protect(|| drop(unsafe { (*memory.cast::<Memory<T>>()).value.take() }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reap::id::ContextId;
    use std::cell::Cell;

    thread_local! {
        static DROPPED: Cell<u32> = const { Cell::new(0) };
    }

    struct Thing(u32);
    struct Opaque;

    impl Held for Thing {
        type C = Opaque;
        const NAME: &'static CStr = c"struct thing";
    }

    impl Drop for Thing {
        fn drop(&mut self) {
            DROPPED.set(DROPPED.get() + self.0);
        }
    }

    #[test]
    fn an_object_lives_from_settle_to_free() {
        let ctx = Context {
            id: ContextId::NONE,
            memory: None,
            hosted: false,
            binding: None,
            ending: false,
        };
        let mut out = std::ptr::null_mut();
        // SAFETY: the pointers are this frame's.
        unsafe {
            let place = Place::<Thing>::new(&ctx, std::ptr::null_mut()).unwrap();
            let failed = place.settle(Err(Errno::ENOENT), &raw mut out);
            assert_eq!((failed, out.is_null()), (Err(Errno::ENOENT), true));

            let place = Place::<Thing>::new(&ctx, std::ptr::null_mut()).unwrap();
            let pointer = place.pointer();
            place.settle(Ok(Thing(3)), &raw mut out).unwrap();
            assert_eq!(out, pointer);
            assert_eq!(get::<Thing>(out).unwrap().0, 3);
            assert_eq!(DROPPED.get(), 0);
            free::<Thing>(out).unwrap();
            assert_eq!(DROPPED.get(), 3);
            assert_eq!(
                get::<Thing>(std::ptr::null_mut()).err(),
                Some(Errno::EINVAL)
            );
            free::<Thing>(std::ptr::null_mut()).unwrap();
            let parent = (&raw mut out).cast();
            assert_eq!(Place::<Thing>::new(&ctx, parent).err(), Some(Errno::EINVAL));
        }
    }
}
