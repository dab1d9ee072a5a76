//! What is done with a watch, and how it ends.

use nix::errno::Errno;

use super::callback::{ChildFn, Hook, Pvt, Sink};
use super::id::{ContextId, WatchId};
use super::process::{Locked, Process, Reaper, Running, lock, process};
use super::status::Jobs;
use super::table::Flags;
use crate::sys::error::Error;
use crate::sys::thread;

/// One watch, as an enumeration shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) id: WatchId,
    pub(crate) pid: i32,
    pub(crate) ended: bool,
    pub(crate) callback: Option<ChildFn>,
    pub(crate) pvt: Pvt,
}

/// Nobody holds the handle: it frees itself once the child's end was told.
pub(crate) fn let_free_itself(id: WatchId) {
    let Ok(mut reaper) = lock(id.depth()) else {
        return;
    };
    let Ok(at) = reaper.watch(id).map(|(at, _)| at) else {
        return;
    };
    reaper.table.slot_mut(at).flags |= Flags::UNHELD;
    // Another thread may have told the end already.
    let slot = *reaper.table.slot(at);
    if slot.is(Flags::INERT) && !reaper.is_told(at) {
        let companion = reaper.companion(slot.sink);
        reaper.end_watch_seldom(at);
        drop(reaper);
        if let Some(companion) = companion {
            super::task::remove(companion);
        }
    }
}

/// Whether the handle is of this process and this thread's to use.
pub(crate) fn check(id: WatchId) -> Result<(), Error> {
    match lock(id.depth())?.watch(id) {
        Err(error) if error != Errno::ESRCH => Err(error),
        _ => Ok(()),
    }
}

/// The child's pid. After the child's end this is only a number, as the pid may be
/// reused.
pub(crate) fn pid(id: WatchId) -> Result<i32, Error> {
    let reaper = lock(id.depth())?;
    let (_, slot) = reaper.watch(id)?;
    Ok(slot.pid)
}

/// Whether a child has no watch any more, and is still the library's to reap.
pub(crate) fn is_abandoned(ctx: ContextId, pid: i32) -> bool {
    lock(ctx.depth).is_ok_and(|reaper| {
        let leader = reaper.table.find(pid);
        leader.is_some_and(|at| reaper.table.slot(at).is(Flags::ABANDONED))
    })
}

/// Whether a child with this pid is watched, or kept to be reaped.
#[inline(never)]
pub(crate) fn is_watched(ctx: ContextId, pid: i32) -> bool {
    lock(ctx.depth).is_ok_and(|reaper| reaper.table.find(pid).is_some())
}

pub(crate) fn set_callback(id: WatchId, callback: Option<ChildFn>, pvt: Pvt) -> Result<(), Error> {
    let mut reaper = lock(id.depth())?;
    let (at, slot) = reaper.watch(id)?;
    if slot.is(Flags::INERT) {
        return Err(Errno::ESRCH.into());
    }
    if slot.sink.rich().is_some() {
        return Err(Errno::ENOTSUP.into());
    }
    reaper.table.slot_mut(at).sink = Sink::of(callback, pvt);
    Ok(())
}

pub(crate) fn set_hook(id: WatchId, hook: Option<Hook>) -> Result<(), Error> {
    let mut reaper = lock(id.depth())?;
    let (at, _) = reaper.watch(id)?;
    let wanted = at as usize + 1;
    let short = wanted.saturating_sub(reaper.hooks.len());
    if hook.is_some() {
        reaper.hooks.try_reserve(short).map_err(|_| Errno::ENOMEM)?;
        // Each may run while others do.
        let hooked = reaper.hooked as usize;
        reaper
            .running
            .try_reserve(hooked + 2)
            .map_err(|_| Errno::ENOMEM)?;
        if short > 0 {
            reaper.hooks.resize(wanted, None);
        }
    }
    let running = reaper.table.slot(at).flags & Flags::HOOK_RUN;
    reaper.take_hook(at);
    reaper.table.slot_mut(at).flags |= running;
    if let Some(hook) = hook {
        reaper.hooks[at as usize] = Some(hook);
        reaper.hooked += 1;
        reaper.table.slot_mut(at).flags |= Flags::HOOKED;
    }
    Ok(())
}

/// What becomes of the child whose watch ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// It is still reaped when it ends.
    Keep,
    /// It is handed back to the daemon, or its status if it has ended.
    Release,
}

/// Runs a hook; false where it refuses.
pub(crate) type RunHook = fn(&Hook) -> bool;

/// Who is asked, without the lock held, before a watch ends.
pub(crate) enum Ask<'a> {
    /// Nobody.
    Nobody,
    /// The hook, if there is one.
    Hook(RunHook),
    /// The hook, and then the host, which frees the handle's memory or refuses to
    /// (false). Freeing it ends the watch, by `Gone`.
    Memory(RunHook, &'a dyn Fn() -> bool),
    /// The hook, whose answer does not matter: the handle's memory is freed anyway.
    Gone(RunHook),
}

/// What a watch had when it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Released {
    /// The child is the daemon's to wait for, or no release was asked for.
    Back,
    /// It has ended, with this raw status.
    Ended(i32),
}

/// Ends a watch and its handle. No callback and no hook of the watch runs in another
/// thread once this returns. EBUSY where somebody refused, or where this thread's own
/// hook runs: it cannot end its own watch. With How::Release, ESRCH where the handle was
/// freed or a newer registration took the watch's place.
pub(crate) fn unwatch(id: WatchId, how: How, ask: Ask) -> Result<Released, Error> {
    let mut own = &process(id.depth())?.value;
    let (mut reaper, mut there) = quiet(own, id)?;
    if let Some(at) = there {
        // Fails before anything is changed where it cannot be released.
        reaper.released(at, how)?;
        let hook = match ask {
            Ask::Nobody => None,
            // EBUSY: the watch's own hook frees the handle's memory, and is not run
            // again.
            Ask::Gone(run) => reaper
                .begin_hook(at)
                .unwrap_or(None)
                .map(|hook| (hook, run)),
            Ask::Hook(run) | Ask::Memory(run, _) => reaper.begin_hook(at)?.map(|hook| (hook, run)),
        };
        if let Some((hook, run)) = hook {
            drop(reaper);
            let agreed = run(&hook);
            // The hook may have forked.
            own = &process(id.depth())?.value;
            reaper = own.lock();
            own.hook_returned(&mut reaper);
            if !agreed && !matches!(ask, Ask::Gone(_)) {
                reaper.lives_on(id);
                return Err(Errno::EBUSY.into());
            }
            drop(reaper);
            (reaper, there) = quiet(own, id)?;
            if there.is_none() && how == How::Keep {
                // The hook has freed the handle's memory, and with it the watch.
                return Ok(Released::Back);
            }
        }
    }
    let released = match there {
        Some(at) => reaper.released(at, how)?,
        None if how == How::Release => return Err(Errno::ESRCH.into()),
        None => Released::Back,
    };
    if let Ask::Memory(_, free) = ask {
        if let Some(at) = there.filter(|_| how == How::Release && released == Released::Back) {
            reaper.table.slot_mut(at).flags |= Flags::RELEASE;
        }
        drop(reaper);
        let freed = free();
        if freed && how == How::Keep {
            return Ok(released);
        }
        // A destructor of the daemon's may have forked.
        let mut reaper = lock(id.depth())?;
        if !freed {
            reaper.lives_on(id);
            return Err(Errno::EBUSY.into());
        }
        let ended = reaper.released.iter().position(|&(watch, _)| watch == id);
        return Ok(match ended {
            Some(at) => Released::Ended(reaper.released.swap_remove(at).1),
            None => released,
        });
    }
    let Some(at) = there else {
        return Ok(released);
    };
    let companion = reaper.companion(reaper.table.slot(at).sink);
    reaper.end_watch(at, how == How::Release);
    drop(reaper);
    if let Some(companion) = companion {
        super::task::remove(companion);
    }
    Ok(released)
}

/// The reaper, once no callback and no hook of a watch runs in another thread, and
/// the watch's slot, if it is not over.
fn quiet(own: &'static Process, id: WatchId) -> Result<(Locked<'static>, Option<u32>), Error> {
    let mut reaper = own.lock();
    loop {
        let there = match reaper.watch(id) {
            Ok((at, _)) => Some(at),
            Err(error) if error == Errno::ESRCH => None,
            Err(error) => return Err(error),
        };
        // Waits also for a watch that is gone from the table because its own callback, which
        // still runs, has ended it.
        if !reaper.runs_elsewhere(|running| running.watch == id) {
            return Ok((reaper, there));
        }
        reaper = own.wait_for_return(reaper);
    }
}

/// Runs each hook of a context that ends, once. Their answers do not matter.
pub(crate) fn run_hooks(ctx: ContextId, run: RunHook) {
    let mut cursor = 0;
    while let Some(hook) = next_hook(ctx, &mut cursor) {
        run(&hook);
        if let Ok(own) = process(ctx.depth) {
            own.value.hook_returned(&mut own.value.lock());
        }
    }
}

/// Begins the next hook, at or after `cursor`, of a context that ends.
fn next_hook(ctx: ContextId, cursor: &mut u32) -> Option<Hook> {
    let mut reaper = lock(ctx.depth).ok()?;
    reaper.context(ctx).ok()?;
    while (*cursor as usize) < reaper.hooks.len() {
        let at = *cursor;
        *cursor += 1;
        let slot = reaper.table.slot(at);
        if slot.context == ctx.index && slot.is(Flags::HOOKED) && !slot.is(Flags::HOOK_RUN) {
            let id = WatchId::new(at, slot.generation, reaper.depth);
            let hook = reaper.take_hook(at)?;
            reaper.runs(ctx, id, true);
            return Some(hook);
        }
    }
    None
}

/// The next watch of a context at or after `cursor` whose end was not told.
pub(crate) fn next_from(ctx: ContextId, cursor: &mut u32) -> Option<Seen> {
    let mut reaper = lock(ctx.depth).ok()?;
    reaper.context(ctx).ok()?;
    while *cursor < reaper.table.bound() {
        let at = *cursor;
        *cursor += 1;
        let slot = reaper.table.slot(at);
        if slot.is(Flags::USED)
            && !slot.flags.intersects(Flags::ABANDONED | Flags::INERT)
            && slot.context == ctx.index
            && slot.sink.task().is_none()
        {
            let (callback, pvt) = slot.sink.callback();
            return Some(Seen {
                id: WatchId::new(at, slot.generation, reaper.depth),
                pid: slot.pid,
                ended: slot.is(Flags::ENDED),
                callback,
                pvt,
            });
        }
    }
    None
}

impl Reaper {
    /// end_watch() for calls that are rare: a copy of it in each would make the library
    /// larger.
    #[inline(never)]
    pub(crate) fn end_watch_seldom(&mut self, at: u32) {
        self.end_watch(at, false);
    }

    #[inline(always)]
    pub(crate) fn end_watch(&mut self, at: u32, release: bool) {
        self.take_hook(at);
        if !self.muted.is_empty() {
            self.forget_muted(at);
        }
        // A child that is still held at its gate ends when the gate is dropped.
        self.take_gate(at);
        let slot = self.table.slot_mut(at);
        let marked = slot.is(Flags::RELEASE);
        let release = release || marked;
        let over = slot.is(Flags::INERT);
        let ended = slot.is(Flags::ENDED);
        let reserved = slot.is_reserved();
        slot.jobs = Jobs::NONE;
        let context = slot.context;
        let task = slot.sink.task();
        self.reserved -= u32::from(reserved);
        if !over {
            self.at_mut(context).watches -= 1;
        }
        if marked {
            self.ended_unseen(at);
        }
        if let Some(task) = task {
            self.tasks.entry_mut(task).watches -= 1;
            self.task_watches -= 1;
            self.take_task_end(at);
        }
        let lying = self.lying(at);
        self.end_keep(at);
        self.end_rich(at);
        // Only while the child is still to be reaped can other watches share it.
        if (lying.is_some() || !over && !ended)
            && !self.leave(at)
            && release
            && lying.is_none()
            && self.table.slot(at).is(Flags::LEADS)
        {
            self.let_go(at);
        }
        self.table.expire(at);
        if lying.is_some() {
            let pid = self.table.slot(at).pid;
            let sole = self.table.slot(at).is(Flags::LEADS);
            if let Some(leader) = self.table.find(pid) {
                self.bury_unkept(leader);
            }
            if sole {
                // It was released with its child.
                return;
            }
        }
        if !self
            .table
            .slot(at)
            .flags
            .intersects(Flags::LEADS | Flags::QUEUED)
        {
            self.table.release(at);
        }
    }

    #[inline(always)]
    fn begin_hook(&mut self, at: u32) -> Result<Option<Hook>, Error> {
        let slot = self.table.slot_mut(at);
        if !slot.is(Flags::HOOKED) {
            return Ok(None);
        }
        let id = WatchId::new(at, slot.generation, self.depth);
        if slot.is(Flags::HOOK_RUN) {
            let me = thread::current();
            let own = |run: &Running| run.hook && run.thread == me && run.watch == id;
            return if self.running.iter().any(own) {
                Err(Errno::EBUSY.into())
            } else {
                // The hook has run and agreed.
                Ok(None)
            };
        }
        slot.flags |= Flags::HOOK_RUN;
        let context = self.id_of(self.table.slot(at).context);
        self.runs(context, id, true);
        Ok(self.hooks[at as usize])
    }

    #[inline(always)]
    fn take_hook(&mut self, at: u32) -> Option<Hook> {
        self.table.slot_mut(at).flags -= Flags::HOOKED | Flags::HOOK_RUN;
        let hook = self.hooks.get_mut(at as usize)?.take();
        self.hooked -= u32::from(hook.is_some());
        hook
    }

    /// Whether a callback of the watch in this slot runs.
    pub(crate) fn is_told(&self, at: u32) -> bool {
        let id = WatchId::new(at, self.table.slot(at).generation, self.depth);
        self.running.iter().any(|run| run.watch == id && !run.hook)
    }

    /// Something begins to run outside the lock; there is room for it.
    pub(crate) fn runs(&mut self, context: ContextId, watch: WatchId, hook: bool) {
        self.running.push(Running {
            thread: thread::current(),
            context,
            watch,
            hook,
        });
    }

    /// What this thread began last has returned.
    pub(crate) fn ran(&mut self) {
        let me = thread::current();
        if let Some(last) = self.running.iter().rposition(|run| run.thread == me) {
            self.running.remove(last);
        }
    }

    /// What the end of a watch returns.
    fn released(&self, at: u32, how: How) -> Result<Released, Error> {
        let slot = self.table.slot(at);
        if how == How::Keep {
            Ok(Released::Back)
        } else if slot.flags.intersects(Flags::ENDED | Flags::TOLD) {
            Ok(Released::Ended(slot.end_status()))
        } else if slot.is(Flags::INERT) {
            Err(Errno::ESRCH.into())
        } else {
            Ok(Released::Back)
        }
    }

    /// A watch ends as the host frees its memory. If its child has ended since the release
    /// began, unwatch() finds the status here.
    fn ended_unseen(&mut self, at: u32) {
        let id = WatchId::new(at, self.table.slot(at).generation, self.depth);
        if let Ok(Released::Ended(status)) = self.released(at, How::Release) {
            if self.released.try_reserve(1).is_ok() {
                self.released.push((id, status));
            }
        }
    }

    /// Somebody refused to have a watch end: its hook may run again.
    fn lives_on(&mut self, id: WatchId) {
        let at = self.watch(id).map(|(at, _)| at);
        if let Ok(at) = at {
            self.table.slot_mut(at).flags -= Flags::HOOK_RUN | Flags::RELEASE;
        }
    }
}
