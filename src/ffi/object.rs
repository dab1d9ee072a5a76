//! Objects of the families as C holds them: a value of ours in memory of the
//! host's, or of malloc(3) where there is no host.
//!
//! ```ignore
//! pub struct sss_log(object::Memory<Log>);          // opaque to C
//! impl Held for sss_log { type Value = Log; const NAME: &CStr = c"struct sss_log"; }
//!
//! let place = Place::<sss_log>::new(ctx, memctx)?;   // before anything else happens
//! let made = Log::open(ctx.id, place.pointer(), |log| place.put(log));
//! place.settle(made, out)                            // gives it to C, or the memory back
//! let log = log.get()?;                              // a parameter: EINVAL for NULL
//! log.free()                                         // drops the value: it ends itself
//! ```

use std::ffi::{CStr, c_int, c_void};

use nix::errno::Errno;

use super::boundary::protect;
use super::context_memory::Context;
use super::params::{Handle, Out};
use crate::sys::error::Error;

/// An opaque struct, by a pointer to which C holds a value.
pub(crate) trait Held: Sized {
    /// Its Drop ends it: also in a forked child, where it only closes what it
    /// inherited.
    type Value;
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
pub(crate) struct Place<C: Held>(*mut Memory<C::Value>);

impl<C: Held> Place<C> {
    /// ENOMEM; EINVAL for a memctx without a host; EPERM from a thread that is not
    /// the host's loop, whose allocator it is.
    pub(crate) fn new(ctx: &Context, memctx: *mut c_void) -> Result<Self, Error> {
        let size = size_of::<Memory<C::Value>>();
        let own = match &ctx.binding {
            Some(binding) => binding.check_thread(ctx.id)?,
            None => None,
        };
        let (memory, free) = match own {
            Some(own) => {
                // SAFETY: the host's own function with its own parent.
                let memory =
                    unsafe { (own.alloc)(memctx, size, C::NAME.as_ptr(), Some(gone::<C::Value>)) };
                (memory, Some(own.free))
            }
            None if !memctx.is_null() => return Err(Errno::EINVAL.into()),
            // SAFETY: plain malloc(3); a failed allocation is NULL, not an abort.
            None => (unsafe { libc::malloc(size) }, None),
        };
        let memory = memory.cast::<Memory<C::Value>>();
        if memory.is_null() {
            return Err(Errno::ENOMEM.into());
        }
        // SAFETY: large enough, and aligned as malloc aligns.
        unsafe { memory.write(Memory { value: None, free }) };
        Ok(Place(memory))
    }

    /// The object as C will know it.
    pub(crate) fn pointer(&self) -> *mut C {
        self.0.cast()
    }

    /// Gives it its value, once, before a callback can be given it: another thread may run
    /// the loop, and the callback may use the object, and free it.
    pub(crate) fn put(&self, value: C::Value) {
        // SAFETY: written by new(), and known to nobody else.
        unsafe { (*self.0).value = Some(value) };
    }

    /// Writes the object's pointer to `out`; the object may have been freed by a callback. On
    /// an error frees the memory. With a NULL `out` the memctx owns it.
    pub(crate) fn settle<E: Into<Error>>(
        self,
        made: Result<(), E>,
        out: Out<*mut C>,
    ) -> Result<(), Error> {
        made.map_err(E::into)?;
        out.write(self.pointer());
        std::mem::forget(self);
        Ok(())
    }
}

impl<C: Held> Drop for Place<C> {
    fn drop(&mut self) {
        // SAFETY: written by new(). What was not made is told to nobody.
        unsafe { give_back(self.0) };
    }
}

/// Ends the value, if there is one, and frees the memory; not 0 where the host refuses.
///
/// # Safety
/// `memory` is from Place::new() and is not used again.
unsafe fn give_back<T>(memory: *mut Memory<T>) -> c_int {
    // SAFETY: the caller vouches for the memory.
    unsafe {
        match (*memory).free {
            // gone() drops the value.
            Some(free) => free(memory.cast()),
            None => {
                drop((*memory).value.take());
                libc::free(memory.cast());
                0
            }
        }
    }
}

#[allow(private_bounds, reason = "nobody but C calls from outside")]
impl<'a, C: Held> Handle<'a, C> {
    /// EINVAL for NULL. Not to be kept over a callback, which may free the object.
    pub(crate) fn get(self) -> Result<&'a C::Value, Error> {
        // SAFETY: NULL, or an object of this kind that is not freed.
        let memory = unsafe { self.as_ptr().cast::<Memory<C::Value>>().as_ref() };
        memory
            .and_then(|memory| memory.value.as_ref())
            .ok_or(Errno::EINVAL.into())
    }

    /// Ends an object and frees its memory; NULL is allowed. Fails with EBUSY if the host's
    /// memory has a destructor of the daemon's that refuses: the object stays as it is.
    pub(crate) fn free(self) -> Result<(), Error> {
        let memory = self.as_ptr().cast::<Memory<C::Value>>();
        if memory.is_null() {
            return Ok(());
        }
        // SAFETY: an object of this kind, which C does not use again.
        match unsafe { give_back(memory) } {
            0 => Ok(()),
            _ => Err(Errno::EBUSY.into()),
        }
    }
}

/// The host's word that an object's memory is about to be freed.
unsafe extern "C" fn gone<T>(memory: *mut c_void) {
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

    impl Held for Opaque {
        type Value = Thing;
        const NAME: &'static CStr = c"struct thing";
    }

    impl Drop for Thing {
        fn drop(&mut self) {
            DROPPED.set(DROPPED.get() + self.0);
        }
    }

    #[test]
    fn an_object_lives_from_put_to_free() {
        let ctx = Context {
            id: ContextId::NONE,
            memory: None,
            hosted: false,
            binding: None,
            ending: false,
            former: Vec::new(),
        };
        let null = std::ptr::null_mut();
        let mut object = null;
        // SAFETY: this frame's.
        let out = unsafe { Out::from_raw(&raw mut object) };
        // SAFETY: NULL, or the object until it is freed.
        let handle = |object: *mut Opaque| unsafe { Handle::from_raw(object) };
        let place = || Place::<Opaque>::new(&ctx, std::ptr::null_mut()).unwrap();
        let failed = |place: Place<Opaque>| place.settle(Err::<(), _>(Errno::ENOENT), out);
        assert_eq!(failed(place()), Err(Errno::ENOENT.into()));
        let begun = place();
        begun.put(Thing(10));
        assert_eq!(failed(begun), Err(Errno::ENOENT.into()));
        assert_eq!(DROPPED.replace(0), 10);
        assert!(object.is_null());

        let place = place();
        let pointer = place.pointer();
        place.put(Thing(3));
        // A callback in another thread has it already.
        assert_eq!(handle(pointer).get().unwrap().0, 3);
        place.settle(Ok::<_, Error>(()), out).unwrap();
        assert_eq!(object, pointer);
        assert_eq!(handle(object).get().unwrap().0, 3);
        assert_eq!(DROPPED.get(), 0);
        handle(object).free().unwrap();
        assert_eq!(DROPPED.get(), 3);
        assert_eq!(handle(null).get().err(), Some(Errno::EINVAL.into()));
        handle(null).free().unwrap();
        // A callback may free it before it is C's.
        let early = Place::<Opaque>::new(&ctx, null.cast()).unwrap();
        early.put(Thing(4));
        handle(early.pointer()).free().unwrap();
        assert_eq!(DROPPED.get(), 7);
        early.settle(Ok::<_, Error>(()), out).unwrap();
        assert_eq!(DROPPED.get(), 7);
        let parent = (&raw mut object).cast();
        let failed = Place::<Opaque>::new(&ctx, parent);
        assert_eq!(failed.err(), Some(Errno::EINVAL.into()));
    }
}
