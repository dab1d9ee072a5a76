//! dlclose(3) of a plugin that this library is linked into statically: what the library
//! has for the whole process is freed, its threads first. At exit(3) nothing is freed, as
//! other threads may still be in here.
//!
//! The order of calls shows which of the two it is: at exit the functions of atexit(3)
//! run before any object's destructors; at dlclose a plugin's own run after them. Where a
//! linker orders that otherwise nothing is freed. The shared library stays loaded (-z
//! nodelete).

use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// What to do when the plugin goes; null while there is nothing to do.
static AT_UNLOAD: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// exit(3) has begun.
static EXITS: AtomicBool = AtomicBool::new(false);

/// What else is to be called, in the order of first use.
static PARTS: [AtomicPtr<()>; 4] = [const { AtomicPtr::new(null_mut()) }; 4];

/// Proof that the plugin is being unloaded: the code that unloads it has made sure that
/// no thread is in here, or will be.
pub(crate) struct Unloading(());

/// Has `unload` called when the plugin is unloaded. To be called once.
pub(crate) fn prepare(unload: fn(&Unloading)) {
    // SAFETY: the function is there for as long as it is registered.
    if unsafe { libc::atexit(note_exit) } == 0 {
        AT_UNLOAD.store(unload as *mut (), Ordering::Release);
    }
}

/// Has `part` called before the function of [`prepare`]. The part that was added last is
/// called first; one that was added already stays where it is.
pub(crate) fn also(part: fn(&Unloading)) {
    let part = part as *mut ();
    for place in &PARTS {
        match place.compare_exchange(null_mut(), part, Ordering::AcqRel, Ordering::Acquire) {
            Err(other) if other != part => {}
            _ => return,
        }
    }
}

extern "C" fn note_exit() {
    EXITS.store(true, Ordering::Release);
}

extern "C" fn unload() {
    let function = AT_UNLOAD.swap(null_mut(), Ordering::AcqRel);
    if function.is_null() || EXITS.load(Ordering::Acquire) {
        return;
    }
    let parts = PARTS.iter().rev().map(|part| part.load(Ordering::Acquire));
    for part in parts.chain([function]).filter(|part| !part.is_null()) {
        // SAFETY: prepare() and also() store functions of this type alone.
        let part: fn(&Unloading) = unsafe { std::mem::transmute(part) };
        part(&Unloading(()));
    }
}

#[used]
#[unsafe(link_section = ".fini_array")]
static UNLOAD: extern "C" fn() = unload;
