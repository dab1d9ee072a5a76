//! A watch is used, and ends.

use nix::errno::Errno;

use super::callback::{ChildFn, Hook, Pvt, Sink};
use super::id::{ContextId, WatchId};
use super::process::{Reaper, Running, lock, process};
use super::status::Jobs;
use super::table::Flags;
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
    if reaper.table.slot(at).is(Flags::INERT) && !reaper.is_told(at) {
        reaper.end_watch(at, false);
    }
}

/// Whether the handle is of this process and this thread's to use.
pub(crate) fn check(id: WatchId) -> Result<(), Errno> {
    match lock(id.depth())?.watch(id) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The child's pid; after its end a number only.
pub(crate) fn pid(id: WatchId) -> Result<i32, Errno> {
    let reaper = lock(id.depth())?;
    let (_, slot) = reaper.watch(id)?;
    Ok(slot.pid)
}

/// Whether a child with this pid is watched, or kept to be reaped.
pub(crate) fn is_watched(ctx: ContextId, pid: i32) -> bool {
    lock(ctx.depth).is_ok_and(|reaper| reaper.table.find(pid).is_some())
}

pub(crate) fn set_callback(id: WatchId, callback: Option<ChildFn>, pvt: Pvt) -> Result<(), Errno> {
    let mut reaper = lock(id.depth())?;
    let (at, slot) = reaper.watch(id)?;
    if slot.is(Flags::INERT) {
        return Err(Errno::ESRCH);
    }
    if slot.sink.rich().is_some() {
        return Err(Errno::ENOTSUP);
    }
    reaper.table.slot_mut(at).sink = Sink::of(callback, pvt);
    Ok(())
}

pub(crate) fn set_hook(id: WatchId, hook: Option<Hook>) -> Result<(), Errno> {
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

/// What is to happen before a watch ends.
pub(crate) enum Ended<T> {
    Done(T),
    /// Its hook is to be asked first, and told of by `hook_returned`.
    Ask(Hook),
}

/// What a watch had when it was released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Released {
    /// The child is the daemon's to wait for.
    Back,
    /// It has ended, with this raw status.
    Ended(i32),
}

/// Ends a watch and its handle, unless its hook is to be asked first (`asked`: it
/// has agreed). No callback and no hook of the watch runs in another thread once
/// this returns. EBUSY where this thread's own hook does: it cannot end its own.
pub(crate) fn end(id: WatchId, asked: bool) -> Result<Ended<()>, Errno> {
    let ended = end_as(id, asked, |reaper, at| {
        let companion = reaper.companion(reaper.table.slot(at).sink);
        reaper.end_watch(at, false);
        Ok(companion)
    })?;
    match ended {
        Some(Ended::Ask(hook)) => return Ok(Ended::Ask(hook)),
        Some(Ended::Done(Some(companion))) => super::task::remove(companion),
        Some(Ended::Done(None)) | None => {}
    }
    Ok(Ended::Done(()))
}

/// The same, and the child is handed back, or its status. ESRCH where a newer
/// registration took the watch's place, or the handle was freed.
pub(crate) fn release(id: WatchId, asked: bool) -> Result<Ended<Released>, Errno> {
    end_as(id, asked, |reaper, at| {
        let released = reaper.releases(at)?;
        reaper.end_watch(at, true);
        Ok(released)
    })?
    .ok_or(Errno::ESRCH)
}

/// What releasing a watch would give; nothing is done.
pub(crate) fn would_release(id: WatchId) -> Result<Released, Errno> {
    let reaper = lock(id.depth())?;
    let (at, _) = reaper.watch(id)?;
    reaper.releases(at)
}

/// Ends a watch as `how` says; None where it is over.
fn end_as<T>(
    id: WatchId,
    asked: bool,
    how: impl Fn(&mut Reaper, u32) -> Result<T, Errno>,
) -> Result<Option<Ended<T>>, Errno> {
    let own = process(id.depth())?;
    let mut reaper = own.value.lock();
    loop {
        let there = match reaper.watch(id) {
            Ok((at, _)) => Some(at),
            Err(Errno::ESRCH) => None,
            Err(errno) => return Err(errno),
        };
        // Also that of a watch which its own callback has ended.
        if reaper.runs_elsewhere(|running| running.watch == id) {
            reaper = own.value.wait_for_return(reaper);
            continue;
        }
        let Some(at) = there else {
            return Ok(None);
        };
        if !asked {
            if let Some(hook) = reaper.begin_hook(at)? {
                return Ok(Some(Ended::Ask(hook)));
            }
        }
        return how(&mut reaper, at).map(|done| Some(Ended::Done(done)));
    }
}

/// A hook has returned. `refused`: the watch lives on, so it may run again.
pub(crate) fn hook_returned(id: WatchId, refused: bool) {
    let Ok(own) = process(id.depth()) else {
        return;
    };
    let mut reaper = own.value.lock();
    reaper.ran();
    if refused {
        let at = reaper.watch(id).map(|(at, _)| at);
        if let Ok(at) = at {
            reaper.table.slot_mut(at).flags -= Flags::HOOK_RUN;
        }
    }
    if reaper.waiting > 0 {
        own.value.returned.tell_all();
    }
}

/// Whether the handle was not freed.
pub(crate) fn is_there(id: WatchId) -> bool {
    lock(id.depth()).is_ok_and(|reaper| reaper.watch(id).is_ok())
}

/// The memory of a watch was not freed: the hook may run again.
pub(crate) fn lives_on(id: WatchId) {
    if let Ok(mut reaper) = lock(id.depth()) {
        let at = reaper.watch(id).map(|(at, _)| at);
        if let Ok(at) = at {
            reaper.table.slot_mut(at).flags -= Flags::HOOK_RUN | Flags::RELEASE;
        }
    }
}

/// Has the watch's end, in whatever way it comes, hand the child back.
pub(crate) fn set_release(id: WatchId) {
    if let Ok(mut reaper) = lock(id.depth()) {
        let at = reaper.watch(id).map(|(at, _)| at);
        if let Ok(at) = at {
            reaper.table.slot_mut(at).flags |= Flags::RELEASE;
        }
    }
}

/// Begins a hook, if there is one that has not run.
pub(crate) fn begin_hook(id: WatchId) -> Result<Option<Hook>, Errno> {
    let mut reaper = lock(id.depth())?;
    match reaper.watch(id).map(|(at, _)| at) {
        Ok(at) => reaper.begin_hook(at),
        Err(Errno::ESRCH) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The next hook, at or after `cursor`, of a context that ends; each once.
pub(crate) fn next_hook(ctx: ContextId, cursor: &mut u32) -> Option<(WatchId, Hook)> {
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
            return Some((id, hook));
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
    #[inline(always)]
    pub(crate) fn end_watch(&mut self, at: u32, release: bool) {
        self.take_hook(at);
        // A child that is held still ends with its gate.
        self.take_gate(at);
        let slot = self.table.slot_mut(at);
        let release = release || slot.is(Flags::RELEASE);
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
        if let Some(task) = task {
            self.tasks.entry_mut(task).watches -= 1;
            self.task_watches -= 1;
            self.take_task_end(at);
        }
        let lying = self.lying(at);
        self.end_keep(at);
        self.end_rich(at);
        // Only a watch of a child that is still to be reaped has company.
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
    fn begin_hook(&mut self, at: u32) -> Result<Option<Hook>, Errno> {
        let slot = self.table.slot_mut(at);
        if !slot.is(Flags::HOOKED) {
            return Ok(None);
        }
        let id = WatchId::new(at, slot.generation, self.depth);
        if slot.is(Flags::HOOK_RUN) {
            let me = thread::current();
            let own = |run: &Running| run.hook && run.thread == me && run.watch == id;
            return if self.running.iter().any(own) {
                Err(Errno::EBUSY)
            } else {
                // It has agreed.
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

    /// What the release of a watch gives.
    fn releases(&self, at: u32) -> Result<Released, Errno> {
        let slot = self.table.slot(at);
        if slot.flags.intersects(Flags::ENDED | Flags::TOLD) {
            Ok(Released::Ended(slot.end_status()))
        } else if slot.is(Flags::INERT) {
            Err(Errno::ESRCH)
        } else {
            Ok(Released::Back)
        }
    }
}
