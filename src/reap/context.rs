//! Contexts: subscribers of the reaper.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use super::agenda::Debt;
use super::callback::Unknown;
use super::id::ContextId;
use super::log::{Note, note};
use super::policy::{BETWEEN_CLOCKS, HOLD};
use super::process::{Attending, Counts, PROCESS, Process, Reaper, TASK, lock, process};
use super::subscriber::Context;
pub(crate) use super::subscriber::{Params, Scope};
use super::table::{Flags, NIL};
use super::{task, watch};
use crate::sys::epoll::Descriptor;
use crate::sys::error::Error;
use crate::sys::signal::Disposition;
use crate::sys::thread::{self, Thread};
use crate::sys::{fd, unload, wiped};

/// Sets up what a process needs once.
fn prepare() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        wiped::prepare();
        unload::prepare(super::process::unload);
        fd::relieve_by(super::pidfds::relieve);
        // Panics are caught at the border; the default hook would print them.
        if cfg!(not(test)) {
            std::panic::set_hook(Box::new(|_| {}));
        }
    }
}

/// How many callbacks may run at a time before a dispatch has to make room.
const RUNNING: usize = 16;

pub(crate) fn create(params: &Params) -> Result<ContextId, Error> {
    prepare();
    let own = PROCESS.get_or_make(Process::new)?;
    let mut reaper = own.value.lock();
    let disposition = Disposition::read();
    if disposition.auto_reaps() && !params.hosted {
        note(Note::AutoReap);
    }
    let free = reaper.contexts.iter().position(|ctx| !ctx.live);
    let at = free.unwrap_or(reaper.contexts.len());
    let index = u16::try_from(at).map_err(|_| Errno::EMFILE)?;
    if free.is_none() {
        reaper.grow().ok_or(Errno::ENOMEM)?;
    }
    if params.scope == Scope::All {
        reaper.parked.reserve().map_err(|_| Errno::ENOMEM)?;
    }
    // Room for what runs outside the lock, beside all hooks.
    let hooked = reaper.hooked as usize;
    reaper
        .running
        .try_reserve(hooked + RUNNING)
        .map_err(|_| Errno::ENOMEM)?;
    reaper.descriptor_limit = reaper.kernel.descriptor_limit();
    reaper.made += 1;
    let made = reaper.made;
    let ctx = reaper.at_mut(index);
    let generation = ctx.generation;
    *ctx = Context {
        live: true,
        generation,
        made,
        params: Params {
            // Where the kernel discards statuses, only a pidfd still has them.
            untrusted: params.untrusted || (disposition.auto_reaps() && !params.hosted),
            ..*params
        },
        thread: thread::current(),
        disposition,
        ..Context::dead()
    };
    reaper.bequeath_context(index);
    let id = ContextId {
        index,
        generation,
        depth: reaper.depth,
    };
    reaper.serving = Some(index);
    if !params.hosted {
        reaper.look_once(params.scope == Scope::All);
    }
    Ok(id)
}

/// Whether the context is live, of this process, and this thread's to use.
pub(crate) fn check(id: ContextId) -> Result<(), Error> {
    lock(id.depth)?.context(id).map(drop)
}

/// The same, without the lock, for a context in a host's loop that runs in the thread
/// `loops`.
pub(crate) fn check_attached(id: ContextId, loops: Thread) -> Result<(), Error> {
    process(id.depth)?;
    if loops != thread::current() {
        return Err(Errno::EPERM.into());
    }
    Ok(())
}

/// The host's loop has no signals: what ended before told nobody.
pub(crate) fn unheard(id: ContextId) -> Result<(), Error> {
    let mut reaper = lock(id.depth)?;
    reaper.context(id)?;
    reaper.attending = Attending::One(id.index);
    reaper.serving = Some(id.index);
    reaper.look_at_unheard(Some(id.index));
    Ok(())
}

/// The host has taken SIGCHLD: what ended before told nobody.
pub(crate) fn signal_taken(id: ContextId) -> Result<(), Error> {
    let mut reaper = lock(id.depth)?;
    let ctx = reaper.context(id)?;
    ctx.signalled = true;
    ctx.watches_signal = true;
    ctx.disposition = Disposition::read();
    let walk = ctx.params.scope == Scope::All;
    reaper.attending = Attending::One(id.index);
    reaper.serving = Some(id.index);
    reaper.look_once(walk);
    note(Note::Context(id.index));
    Ok(())
}

pub(crate) fn set_unknown(id: ContextId, unknown: Option<Unknown>) -> Result<(), Error> {
    let mut reaper = lock(id.depth)?;
    let ctx = reaper.context(id)?;
    ctx.params.unknown = unknown;
    reaper.bequeath_context(id.index);
    if unknown.is_some()
        && reaper.parked.is_due(reaper.told_until())
        && reaper.for_unknown() == Some(id.index)
    {
        reaper.announce(id.index);
    }
    Ok(())
}

/// The descriptor to poll. From now on the library takes it that somebody does.
pub(crate) fn descriptor(id: ContextId) -> Result<RawFd, Error> {
    let mut reaper = lock(id.depth)?;
    reaper.context(id)?;
    reaper.ensure_descriptor(id.index)?;
    reaper.serve(id.index);
    // A new one has no alarm yet.
    if let Some((at, _)) = reaper.at(id.index).deadlines.first() {
        reaper.alarm(id.index, at);
    }
    let ctx = reaper.at_mut(id.index);
    let hosted = ctx.params.hosted;
    let first = !std::mem::replace(&mut ctx.polled, true);
    ctx.announced = false;
    let raw = ctx.descriptor.as_ref().map_or(-1, Descriptor::raw);
    if reaper.is_due(id.index) {
        reaper.announce(id.index);
    }
    let mut cursor = 0;
    while first && reaper.join_some(id.index, &mut cursor) {
        reaper = reaper.give_way();
        reaper.context(id)?;
        reaper.serve(id.index);
    }
    if first && !hosted {
        reaper.look_at_unheard(Some(id.index));
    }
    Ok(raw)
}

/// Counts of one context, and the process's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stats {
    pub(crate) watches: u64,
    pub(crate) pending: u64,
    pub(crate) delivered: u64,
    pub(crate) reaper: Counts,
}

pub(crate) fn stats(id: ContextId) -> Result<Stats, Error> {
    let mut reaper = lock(id.depth)?;
    let ctx = reaper.context(id)?;
    let (watches, pending, delivered) = (ctx.watches, u64::from(ctx.queued), ctx.delivered);
    Ok(Stats {
        watches,
        pending,
        delivered,
        reaper: reaper.counts(),
    })
}

/// A context is being freed: no callback of it begins any more, and none runs
/// in another thread once this returns.
fn begin_end(id: ContextId) -> Result<(), Error> {
    let own = process(id.depth)?;
    let mut reaper = own.value.lock();
    reaper.context(id)?.ending = true;
    while reaper.runs_elsewhere(|running| running.context == id) {
        reaper = own.value.wait_for_return(reaper);
    }
    Ok(())
}

/// Ends a context and its watches, whose hooks run first.
pub(crate) fn free(id: ContextId, run: watch::RunHook) -> Result<(), Error> {
    // In a forked child there is nothing to wait for, and no hook runs.
    let _ = begin_end(id);
    watch::run_hooks(id, run);
    let own = match process(id.depth) {
        Ok(own) => own,
        Err(errno) => {
            close_inherited(id);
            return Err(errno);
        }
    };
    own.value.lock().context(id)?.ending = true;
    let mut cursor = 0;
    while task::remove_next(id, &mut cursor) {}
    let mut reaper = own.value.lock();
    // A hook that another thread began meanwhile.
    while reaper.runs_elsewhere(|running| running.context == id) {
        reaper = own.value.wait_for_return(reaper);
    }
    reaper.context(id)?;
    let mut cursor = 0;
    while reaper.end_some(id.index, &mut cursor, HOLD) {
        reaper = reaper.give_way();
        reaper.context(id)?;
    }
    reaper.end_context(id.index);
    if reaper.waiting > 0 {
        own.value.returned.tell_all();
    }
    Ok(())
}

/// Closes this process's copies of the descriptors of a context that was made before a
/// fork.
pub(crate) fn close_inherited(id: ContextId) {
    // A thread that did not come along in the fork may hold the lock. Then the state may
    // be inconsistent, and the descriptors stay open until exec closes them.
    if let Some(former) = PROCESS.of_depth(id.depth) {
        if let Some(mut inheritance) = former.value.inheritance.try_lock() {
            inheritance.close(id);
        }
    }
}

/// Makes a context like one of the process that forked this one. The caller is to close
/// what it inherited of the former context.
pub(crate) fn after_fork(id: ContextId) -> Result<ContextId, Error> {
    if process(id.depth).is_ok() {
        check(id)?;
        return Ok(id);
    }
    let former = PROCESS.of_depth(id.depth).ok_or(Errno::EINVAL)?;
    let inheritance = former.value.inheritance.try_lock().ok_or(Errno::EBUSY)?;
    let params = inheritance.params(id).ok_or(Errno::EINVAL)?;
    drop(inheritance);
    create(&params)
}

impl Reaper {
    /// The context that gets the children of one that ends: the one made first.
    fn successor_of(&self, index: u16) -> Option<u16> {
        self.indices(|ctx| !ctx.ending)
            .filter(|&other| other != index)
            .min_by_key(|&other| self.at(other).made)
    }

    /// Ends a context's watches from `cursor` on, for so long at most; whether there
    /// are more.
    pub(crate) fn end_some(&mut self, index: u16, cursor: &mut u32, hold: u64) -> bool {
        let successor = self.successor_of(index);
        let until = self.kernel.now().saturating_add(hold);
        let mut left = BETWEEN_CLOCKS;
        // The queue is emptied first, so that the slots in it can be freed.
        while self.at(index).head != NIL || *cursor < self.table.bound() {
            if left == 0 {
                if self.kernel.now() >= until {
                    return true;
                }
                left = BETWEEN_CLOCKS;
            }
            if self.at(index).head != NIL {
                self.end_first_due(index);
                left -= 1;
            } else {
                left -= u32::from(self.end_slot(index, *cursor, successor));
                *cursor += 1;
            }
        }
        false
    }

    /// Takes the first out of the queue of a context that ends.
    fn end_first_due(&mut self, index: u16) {
        let at = self.at(index).head;
        self.dequeue(index);
        if at & TASK != 0 {
            self.tasks.release(at & !TASK);
        } else if self.table.slot(at).is(Flags::ABANDONED) && !self.table.slot(at).is(Flags::LEADS)
        {
            self.table.release(at);
        }
    }

    /// Ends the watch in a slot, if it is of this context; whether it is.
    fn end_slot(&mut self, index: u16, at: u32, successor: Option<u16>) -> bool {
        let slot = self.table.slot(at);
        if !slot.is(Flags::USED) || slot.context != index {
            return false;
        }
        if !slot.is(Flags::ABANDONED) {
            self.end_watch_seldom(at);
        }
        let slot = self.table.slot(at);
        if slot.is(Flags::LEADS) && slot.context == index {
            self.hand_over(at, index, successor);
        }
        true
    }

    /// Ends what is left of a context after `end_some`.
    fn end_context(&mut self, index: u16) {
        self.end_some(index, &mut 0, u64::MAX);
        let successor = self.successor_of(index);
        let walk_again = self.at(index).walk_again;
        self.close_context(index);
        let Some(successor) = successor else {
            self.parked.clear();
            self.end_timer();
            return;
        };
        if walk_again {
            let now = self.kernel.now();
            self.agenda.owe(Debt::Walk, now);
        }
        // Its alarm is gone: what is owed has one in another loop from now on.
        self.serve(successor);
        self.look_at_unheard(Some(successor));
        if let Some(owner) = self.for_unknown() {
            // Another context may own unknown children from now on, and SIGCHLD may not
            // reach it.
            self.look_at_unheard(Some(owner));
            if self.is_due(owner) {
                self.announce(owner);
            }
        }
    }

    /// A child that is still to be reaped goes to another context, or to none.
    fn hand_over(&mut self, leader: u32, from: u16, successor: Option<u16>) {
        match successor {
            Some(successor) => {
                self.table.slot_mut(leader).context = successor;
                self.rejoin(leader, Some(from));
            }
            None => {
                self.let_go(leader);
                self.table.release(leader);
            }
        }
    }

    /// The context is gone, and its descriptors.
    fn close_context(&mut self, index: u16) {
        let ctx = self.at_mut(index);
        ctx.live = false;
        ctx.generation = ctx.generation.wrapping_add(1).max(1);
        let descriptor = ctx.descriptor.take();
        ctx.params.unknown = None;
        // Before anything of it is closed: a forked child must not close a number that
        // was reused.
        self.bequeath_context(index);
        if let Some(descriptor) = descriptor {
            if descriptor.is_gone() {
                descriptor.forget();
            }
        }
    }
}
