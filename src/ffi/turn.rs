//! A context's turn: the callbacks that are due are made.

use std::ffi::c_void;

use super::binding::{Binding, Calls};
use super::boundary::protect;
use super::context_memory::{Context, wake_own_loop};
use super::handle::{set_current, tagged};
use super::watch_params::sss_child_event;
use crate::reap::callback::Call;
use crate::reap::deliver::{self, Progress};
use crate::reap::drain;
use crate::reap::id::ContextId;

/// What a host's loop calls.
pub(crate) const CALLS: Calls = Calls { readable, deferred };

/// What the callback for unknown children answers where it has seen to the child.
pub(crate) const TAKEN: u32 = 1;

/// The host's deferred call: the loop's next turn.
unsafe extern "C" fn deferred(ctx: *mut c_void) {
    // SAFETY: the host calls with the context it was given, until it is freed.
    let id = unsafe { (*ctx.cast::<Context>()).id };
    // A callback may have freed the context: only a live one may be touched.
    if deliver_to(id, deliver::TURN) == Stopped::Early && deliver::due(id) {
        // SAFETY: the id is live, so the memory is.
        wake_own_loop(unsafe { &*ctx.cast::<Context>() });
    }
}

/// The host's word that the context's descriptor is readable.
unsafe extern "C" fn readable(ctx: *mut c_void) {
    let direct = protect(|| {
        // SAFETY: the host calls with the context it was given, until it is freed.
        let ctx = unsafe { &*ctx.cast::<Context>() };
        let _ = drain::readable(ctx.id, deliver::TURN);
        if ctx.binding.as_ref().is_some_and(Binding::defers) {
            wake_own_loop(ctx);
            return None;
        }
        Some(ctx.id)
    });
    if let Some(id) = direct.flatten() {
        dispatch(id, deliver::TURN);
    }
}

/// Makes the callbacks that are due; what is left keeps the descriptor readable.
pub(crate) fn dispatch(id: ContextId, budget: u32) {
    deliver_to(id, budget);
    protect(|| deliver::keep_readable(id));
}

/// Whether callbacks may be left.
#[derive(PartialEq, Eq)]
enum Stopped {
    AtTheEnd,
    Early,
}

/// Makes the callbacks that are due, no Rust value that needs dropping on the
/// stack while one runs.
fn deliver_to(ctx: ContextId, budget: u32) -> Stopped {
    let mut left = budget;
    let mut progress = Progress::First;
    let mut call = Call::Nothing;
    loop {
        let Some(next) = protect(|| deliver::next(ctx, progress, &mut call)) else {
            return Stopped::Early;
        };
        let Some(turn) = next else {
            return Stopped::AtTheEnd;
        };
        progress = Progress::After(turn);
        let outer = set_current(match (&call, turn.watch()) {
            (_, None) => std::ptr::null_mut(),
            (Call::Told { source, .. }, Some(_)) => source.0.cast(),
            (_, Some(id)) => tagged(id),
        });
        match &call {
            Call::Nothing | Call::Child { callback: None, .. } => {}
            &Call::Child {
                callback: Some(callback),
                pid,
                status,
                pvt,
            } => {
                // SAFETY: the daemon's callback with its own data.
                unsafe { callback(pid, status, pvt.0) }
            }
            &Call::Unknown {
                unknown,
                pid,
                status,
            } => {
                // SAFETY: the daemon's callback with its own data.
                let verdict = unsafe { (unknown.call)(pid, status, unknown.pvt.0) };
                protect(|| deliver::judged(ctx, pid, status, verdict == TAKEN));
            }
            Call::Told {
                call,
                source,
                told,
                pvt,
            } => {
                let event = sss_child_event::from(told);
                // SAFETY: the daemon's callback with its own data; sss_child_watch()
                // took it as one that is told of this struct.
                unsafe { call(source.0, (&raw const event).cast(), pvt.0) }
            }
            &Call::Orphan {
                unknown,
                pid,
                status,
            } => {
                // SAFETY: as above.
                let answer = unsafe { (unknown.call)(pid, status, unknown.pvt.0) };
                progress = Progress::Answered(turn, answer);
            }
            Call::Event {
                call,
                source,
                record,
                pvt,
            } => {
                // SAFETY: the daemon's callback with its own data; the record is
                // of the struct that it takes.
                unsafe { call(source.0, record.as_ptr(), pvt.0) }
            }
            Call::Ask {
                call,
                source,
                record,
                pvt,
            } => {
                // SAFETY: as above.
                let answer = unsafe { call(source.0, record.as_ptr(), pvt.0) };
                progress = Progress::Answered(turn, answer);
            }
        }
        set_current(outer);
        left -= 1;
        if left == 0 {
            protect(|| deliver::end(ctx, progress));
            return Stopped::Early;
        }
    }
}

pub(crate) fn call_back(own: ContextId, callable: &drain::Callable) {
    if callable.own {
        deliver_to(own, u32::MAX);
    }
    let mut bare = callable.bare;
    while let Some(id) = bare {
        deliver_to(id, u32::MAX);
        if !callable.others {
            return;
        }
        bare = protect(|| deliver::next_bare(id.depth, Some(id.index))).flatten();
    }
}
