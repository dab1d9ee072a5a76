//! Contexts: subscribers of the reaper.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use super::callback::Unknown;
use super::deadlines::Deadlines;
use super::id::ContextId;
use super::log::{Note, note};
use super::reaper::{Attending, Counts, PROCESS, Process, Reaper, TASK, lock, process};
use super::status::Change;
use super::table::{Flags, NIL};
use super::task;
use crate::sys::epoll::Descriptor;
use crate::sys::signal::Disposition;
use crate::sys::thread::{self, Thread};
use crate::sys::wiped;

/// Whose children a context waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Scope {
    #[default]
    Registered,
    All,
}

/// What a context is made of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Params {
    pub(crate) options: i32,
    pub(crate) scope: Scope,
    pub(crate) untrusted: bool,
    pub(crate) hosted: bool,
    pub(crate) unknown: Option<Unknown>,
    /// Orphans that no service claims are reaped, in scope Registered too.
    pub(crate) reap_orphans: bool,
}

impl Params {
    pub(crate) fn check(&self) -> Result<(), Errno> {
        if self.options & !(libc::WUNTRACED | libc::WCONTINUED) != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) live: bool,
    pub(crate) generation: u32,
    /// The how manieth of the process it is.
    pub(crate) made: u64,
    pub(crate) params: Params,
    /// With a host: the loop's thread, the only one that may call.
    thread: Thread,
    pub(crate) descriptor: Option<Descriptor>,
    /// Somebody polls the descriptor.
    pub(crate) polled: bool,
    /// SIGCHLD reaches this context.
    pub(crate) signalled: bool,
    /// SIGCHLD's disposition when this context last looked.
    pub(crate) disposition: Disposition,
    /// The queue of watches that have something to tell.
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) queued: u32,
    pub(crate) watches: u64,
    pub(crate) delivered: u64,
    /// It was woken, and has not come round yet.
    pub(crate) announced: bool,
    /// When its timer runs out.
    pub(crate) alarm_at: Option<u64>,
    /// It is being freed: no callback begins any more.
    pub(crate) ending: bool,
    /// A walk stopped for want of room.
    pub(crate) walk_again: bool,
    /// The thread that makes callbacks, and how deep it is in them.
    pub(crate) dispatcher: Option<(Thread, u32)>,
    /// How many tasks live on it, and when they are to be stepped.
    pub(crate) tasks: u32,
    pub(crate) deadlines: Deadlines,
}

impl Context {
    pub(crate) fn dead() -> Self {
        Context {
            live: false,
            generation: 1,
            made: 0,
            params: Params::default(),
            thread: Thread::default(),
            descriptor: None,
            polled: false,
            signalled: false,
            disposition: Disposition::default(),
            head: NIL,
            tail: NIL,
            queued: 0,
            watches: 0,
            delivered: 0,
            announced: false,
            alarm_at: None,
            ending: false,
            walk_again: false,
            dispatcher: None,
            tasks: 0,
            deadlines: Deadlines::new(),
        }
    }

    /// Whether the calling thread may use it.
    pub(crate) fn admits(&self) -> Result<(), Errno> {
        if self.params.hosted && self.thread != thread::current() {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Whether its watches are told of a change.
    pub(crate) fn asks_for(&self, change: Change) -> bool {
        match change {
            Change::End(_) | Change::Lost => true,
            Change::Stop(_) => self.params.options & libc::WUNTRACED != 0,
            Change::Continue => self.params.options & libc::WCONTINUED != 0,
        }
    }
}

/// What a process needs once.
fn prepare() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        wiped::prepare();
        // Panics are caught at the border; the default hook would print them.
        if cfg!(not(test)) {
            std::panic::set_hook(Box::new(|_| {}));
        }
    }
}

pub(crate) fn create(params: &Params) -> Result<ContextId, Errno> {
    prepare();
    let own = PROCESS.get_or_make(Process::new)?;
    let mut reaper = own.value.reaper.lock();
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
    reaper.made += 1;
    let made = reaper.made;
    let ctx = reaper.at_mut(index);
    let generation = ctx.generation;
    *ctx = Context {
        live: true,
        generation,
        made,
        params: Params {
            // A status that the kernel discards is had from a pidfd only.
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
    if !params.hosted {
        reaper.look_once(index);
    }
    Ok(id)
}

/// Whether the context is live, of this process, and this thread's to use.
pub(crate) fn check(id: ContextId) -> Result<(), Errno> {
    lock(id.depth)?.context(id).map(drop)
}

/// The same, without the lock, for one that a host's loop of this thread has.
pub(crate) fn check_attached(id: ContextId, loops: Thread) -> Result<(), Errno> {
    process(id.depth)?;
    if loops != thread::current() {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// The host's loop has no signals: what ended before told nobody.
pub(crate) fn unheard(id: ContextId) -> Result<(), Errno> {
    let mut reaper = lock(id.depth)?;
    reaper.context(id)?;
    reaper.attending = Attending::One(id.index);
    reaper.poll_unheard(id.index);
    reaper.attending = Attending::Nobody;
    Ok(())
}

/// The host has taken SIGCHLD: what ended before told nobody.
pub(crate) fn signal_taken(id: ContextId) -> Result<(), Errno> {
    let mut reaper = lock(id.depth)?;
    let ctx = reaper.context(id)?;
    ctx.signalled = true;
    ctx.disposition = Disposition::read();
    reaper.attending = Attending::One(id.index);
    reaper.look_once(id.index);
    reaper.attending = Attending::Nobody;
    note(Note::Context(id.index));
    Ok(())
}

pub(crate) fn set_unknown(id: ContextId, unknown: Option<Unknown>) -> Result<(), Errno> {
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

/// The descriptor to poll; from now on somebody does.
pub(crate) fn descriptor(id: ContextId) -> Result<RawFd, Errno> {
    let mut reaper = lock(id.depth)?;
    reaper.context(id)?;
    reaper.ensure_descriptor(id.index)?;
    let ctx = reaper.at_mut(id.index);
    let hosted = ctx.params.hosted;
    let first = !std::mem::replace(&mut ctx.polled, true);
    ctx.announced = false;
    let raw = ctx.descriptor.as_ref().map_or(-1, Descriptor::raw);
    if reaper.is_due(id.index) {
        reaper.announce(id.index);
    }
    if first {
        reaper.join_all(id.index);
    }
    if first && !hosted {
        reaper.poll_unheard(id.index);
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

pub(crate) fn stats(id: ContextId) -> Result<Stats, Errno> {
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
pub(crate) fn begin_end(id: ContextId) -> Result<(), Errno> {
    let own = process(id.depth)?;
    let mut reaper = own.value.reaper.lock();
    reaper.context(id)?.ending = true;
    while reaper
        .live(id)
        .and_then(|ctx| ctx.dispatcher)
        .is_some_and(|(dispatcher, _)| dispatcher != thread::current())
    {
        reaper = own.value.wait_for_return(reaper);
    }
    Ok(())
}

/// Ends a context and its watches; their hooks have run.
pub(crate) fn free(id: ContextId) -> Result<(), Errno> {
    let own = match process(id.depth) {
        Ok(own) => own,
        Err(errno) => {
            close_inherited(id);
            return Err(errno);
        }
    };
    own.value.reaper.lock().context(id)?;
    let mut cursor = 0;
    while task::remove_next(id, &mut cursor) {}
    let mut reaper = own.value.reaper.lock();
    reaper.context(id)?;
    reaper.end_context(id.index);
    if reaper.waiting > 0 {
        own.value.returned.tell_all();
    }
    Ok(())
}

/// A context made before a fork: this process's copies of its descriptors go.
pub(crate) fn close_inherited(id: ContextId) {
    // Held by a thread that is not here: then the state may be torn, and the
    // descriptors stay open until exec closes them.
    if let Some(former) = PROCESS.of_depth(id.depth)
        && let Some(mut inheritance) = former.value.inheritance.try_lock()
    {
        inheritance.close(id);
    }
}

/// The context of a former process as one of this process, which is to close
/// what it inherited of the former.
pub(crate) fn after_fork(id: ContextId) -> Result<ContextId, Errno> {
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
    /// Whether SIGCHLD can be relied on to tell of a context's children. If not
    /// they need a pidfd from their registration on.
    pub(crate) fn trusts_signal(&mut self, index: u16) -> bool {
        let ctx = self.at(index);
        if ctx.params.untrusted || (ctx.polled && !ctx.signalled) {
            return false;
        }
        // A descriptor that nobody polls could not wake it in the signal's stead.
        if !ctx.polled {
            return true;
        }
        let now = Disposition::read();
        if now.auto_reaps() {
            self.at_mut(index).signalled = false;
            self.poll_unheard(index);
            return false;
        }
        let ctx = self.at_mut(index);
        if !ctx.params.hosted || now.same_handler(ctx.disposition) {
            return true;
        }
        // Somebody took the signal from the host: what is young now would never
        // be heard of again.
        note(Note::Replaced);
        ctx.disposition = now;
        ctx.signalled = false;
        self.poll_unheard(index);
        false
    }

    /// Looks for what ended before a context could be told.
    fn look_once(&mut self, index: u16) {
        if self.at(index).params.scope == Scope::All {
            self.walk(index);
        }
        if self.table.young() > 0 {
            self.sweep();
        }
    }

    fn end_context(&mut self, index: u16) {
        let heir = self
            .contexts
            .iter()
            .enumerate()
            .filter(|(at, ctx)| ctx.live && *at != usize::from(index))
            .min_by_key(|(_, ctx)| ctx.made)
            .and_then(|(at, _)| u16::try_from(at).ok());
        // Placeholders leave the queue first, so that slots can go.
        while self.at(index).head != NIL {
            let at = self.at(index).head;
            self.dequeue(index);
            if at & TASK != 0 {
                self.tasks.release(at & !TASK);
                continue;
            }
            if self.table.slot(at).is(Flags::ABANDONED) && !self.table.slot(at).is(Flags::LEADS) {
                self.table.release(at);
            }
        }
        for at in 0..self.table.bound() {
            let slot = self.table.slot(at);
            if !slot.is(Flags::USED) || slot.context != index {
                continue;
            }
            if !slot.is(Flags::ABANDONED) {
                self.end_watch(at, false);
            }
            let slot = self.table.slot(at);
            if slot.is(Flags::LEADS) && slot.context == index {
                self.bequeath(at, index, heir);
            }
        }
        let walk_again = self.at(index).walk_again;
        self.close_context(index);
        if heir.is_none() {
            self.sweep_owed = false;
            self.parked.clear();
            self.end_timer();
        }
        // What it was to come round for is done now: its timer is gone.
        if self.sweep_owed || self.policy.each_by().is_some() {
            self.sweep();
        }
        if let Some(heir) = heir {
            self.poll_unheard(heir);
        }
        if let Some(owner) = self.for_unknown() {
            if walk_again || self.policy.look_by().is_some() {
                self.walk(owner);
            }
            if self.is_due(owner) {
                self.announce(owner);
            }
            // It may be the unknown's owner from now on, and hear of no signal.
            self.poll_unheard(owner);
        }
    }

    /// A child that is still to be reaped goes to another context, or to none.
    fn bequeath(&mut self, leader: u32, from: u16, heir: Option<u16>) {
        match heir {
            Some(heir) => {
                if let Some(pidfd) = self.table.slot(leader).pidfd()
                    && let Some(descriptor) = &self.at(from).descriptor
                {
                    descriptor.remove(pidfd.borrow());
                }
                self.table.slot_mut(leader).context = heir;
                self.rejoin(leader);
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
        // Nothing of it is closed while a forked child takes it for inherited.
        self.bequeath_context(index);
        drop(descriptor);
        for at in 0..self.table.bound() {
            let slot = self.table.slot(at);
            if slot.is(Flags::LEADS | Flags::OLD)
                && slot.context == index
                && let Some(pidfd) = self.table.make_young(at)
            {
                self.close_pidfd(pidfd);
            }
        }
    }
}
