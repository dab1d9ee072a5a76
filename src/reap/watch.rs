//! Watches: registering a child, and ending it again.

use std::ffi::{c_int, c_void};

use nix::errno::Errno;

use super::callback::{ChildFn, Pvt, Sink};
use super::id::{ContextId, WatchId};
use super::reaper::{Attending, Reaper, lock, process};
use super::rich::Facts;
use super::status::{Change, Jobs, classify};
use super::table::{Flags, NIL};
use crate::sys::pidfd::{self, Pidfd};
use crate::sys::usage::Usage;
use crate::sys::{clock, wait};

/// What runs before a watch ends.
pub(crate) type HookFn = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook {
    pub(crate) call: HookFn,
    /// The handle.
    pub(crate) child: Pvt,
    pub(crate) pvt: Pvt,
}

/// What becomes of a child whose last watch ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// It is still reaped.
    Free,
    /// It is the daemon's again.
    Release,
}

/// One watch, as an enumeration shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) id: WatchId,
    pub(crate) pid: i32,
    pub(crate) ended: bool,
    pub(crate) callback: Option<ChildFn>,
    pub(crate) pvt: Pvt,
}

/// Registers a child. `due` is set where the context's host is to come round: it
/// is not woken otherwise.
pub(crate) fn register(
    ctx: ContextId,
    pid: i32,
    callback: Option<ChildFn>,
    pvt: Pvt,
    due: &mut bool,
) -> Result<WatchId, Errno> {
    let mut reaper = lock(ctx.depth)?;
    let hosted = reaper.context(ctx)?.params.hosted;
    if hosted {
        reaper.attending = Attending::One(ctx.index);
    }
    let registered = reaper
        .reserve_for(pid)
        .and_then(|()| reaper.register(ctx.index, pid, Sink::of(callback, pvt)));
    reaper.attending = Attending::Nobody;
    *due = hosted && reaper.is_due(ctx.index);
    registered
}

/// Makes a watch whose child comes later, and room for that.
pub(crate) fn reserve(ctx: ContextId) -> Result<WatchId, Errno> {
    let mut reaper = lock(ctx.depth)?;
    reaper.context(ctx)?;
    reaper.reserve()?;
    let at = reaper.table.hold(ctx.index);
    reaper.reserved += 1;
    let generation = reaper.table.slot(at).generation;
    Ok(WatchId::new(at, generation, reaper.depth))
}

/// Gives a reserved watch its child. Does not fail for want of memory.
pub(crate) fn register_reserved(
    id: WatchId,
    pid: i32,
    callback: Option<ChildFn>,
    pvt: Pvt,
) -> Result<(), Errno> {
    let mut reaper = lock(id.depth())?;
    let (at, slot) = reaper.watch(id)?;
    if !slot.is_reserved() {
        return Err(Errno::EALREADY);
    }
    let me = slot.context;
    let known = reaper.find_fresh(pid);
    let found = reaper.find_child(me, pid, known, false, false)?;
    let known = known.and_then(|_| reaper.table.find(pid));
    let hook = reaper.table.slot(at).flags & (Flags::HOOKED | Flags::HOOK_RUN);
    // The slot that is given back last is taken first, so the id stays.
    reaper.table.release(at);
    reaper.reserved -= 1;
    let made = reaper.insert(me, pid, known, found, Sink::of(callback, pvt), false);
    debug_assert_eq!(made, id);
    reaper.table.slot_mut(at).flags |= hook;
    Ok(())
}

/// Nobody holds the handle: it frees itself once the child's end was told.
pub(crate) fn let_free_itself(id: WatchId) {
    let Ok(mut reaper) = lock(id.depth()) else {
        return;
    };
    if let Ok((at, slot)) = reaper.watch(id) {
        // Another thread may have told the end already.
        let over = slot.is(Flags::INERT) && !slot.is(Flags::RUNNING);
        reaper.table.slot_mut(at).flags |= Flags::UNHELD;
        if over {
            reaper.end_watch(at, false);
        }
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

/// Whether the watch's child is still to be reaped.
pub(crate) fn expect_unreaped(id: WatchId) -> Result<(), Errno> {
    let reaper = lock(id.depth())?;
    let (_, slot) = reaper.watch(id)?;
    if slot.flags.intersects(Flags::INERT | Flags::ENDED) {
        return Err(Errno::ESRCH);
    }
    Ok(())
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
    if hook.is_some() && short > 0 {
        reaper.hooks.try_reserve(short).map_err(|_| Errno::ENOMEM)?;
        reaper.hooks.resize(wanted, None);
    }
    let running = reaper.table.slot(at).flags & Flags::HOOK_RUN;
    reaper.take_hook(at);
    reaper.table.slot_mut(at).flags |= running;
    if let Some(hook) = hook {
        reaper.hooks[at as usize] = Some(hook);
        reaper.table.slot_mut(at).flags |= Flags::HOOKED;
    }
    Ok(())
}

/// What is to happen before the memory of a watch goes, and the watch with it.
pub(crate) enum Begun {
    /// Its hook is to be asked first.
    Ask(Hook),
    /// It will end as it should; so it would have ended before.
    Was(Ending),
}

/// Sets what becomes of the child when the watch ends, unless its hook is to be
/// asked first. EBUSY where that runs: it cannot end its own watch.
pub(crate) fn begin_end(id: WatchId, ending: Ending) -> Result<Begun, Errno> {
    let mut reaper = lock(id.depth())?;
    match reaper.watch(id) {
        Ok((at, _)) => Ok(match reaper.begin_hook(at)? {
            Some(hook) => Begun::Ask(hook),
            None => Begun::Was(reaper.set_ending(at, ending)),
        }),
        Err(Errno::ESRCH) => Ok(Begun::Was(Ending::Free)),
        Err(errno) => Err(errno),
    }
}

/// Whether the handle was not freed.
pub(crate) fn is_there(id: WatchId) -> bool {
    lock(id.depth()).is_ok_and(|reaper| reaper.watch(id).is_ok())
}

/// The watch lives on, so the hook may run again.
pub(crate) fn refuse(id: WatchId) {
    if let Ok(mut reaper) = lock(id.depth())
        && let Ok((at, _)) = reaper.watch(id)
    {
        reaper.table.slot_mut(at).flags -= Flags::HOOK_RUN;
    }
}

/// The next hook, at or after `cursor`, of a context that ends; each once.
pub(crate) fn next_hook(ctx: ContextId, cursor: &mut u32) -> Option<Hook> {
    let mut reaper = lock(ctx.depth).ok()?;
    reaper.context(ctx).ok()?;
    while (*cursor as usize) < reaper.hooks.len() {
        let at = *cursor;
        *cursor += 1;
        let slot = reaper.table.slot(at);
        if slot.context == ctx.index && slot.is(Flags::HOOKED) && !slot.is(Flags::HOOK_RUN) {
            return reaper.take_hook(at);
        }
    }
    None
}

/// Sets what becomes of the child when the watch ends; what it was.
pub(crate) fn set_ending(id: WatchId, ending: Ending) -> Ending {
    if let Ok(mut reaper) = lock(id.depth())
        && let Ok((at, _)) = reaper.watch(id)
    {
        return reaper.set_ending(at, ending);
    }
    Ending::Free
}

/// What is to happen before a watch ends.
pub(crate) enum Ended {
    Done,
    /// Its hook is to be asked first.
    Ask(Hook),
}

/// Ends a watch and its handle as `ending` or `set_ending` says, unless its hook
/// is to be asked first. No callback of the watch runs once this returns. A hook cannot end its own.
pub(crate) fn end(id: WatchId, ending: Ending) -> Result<Ended, Errno> {
    end_asked(id, ending, false)
}

/// The same, the hook having agreed.
pub(crate) fn end_now(id: WatchId, ending: Ending) -> Result<(), Errno> {
    end_asked(id, ending, true).map(drop)
}

fn end_asked(id: WatchId, ending: Ending, asked: bool) -> Result<Ended, Errno> {
    let own = process(id.depth())?;
    let mut reaper = own.value.reaper.lock();
    loop {
        let at = match reaper.watch(id) {
            Ok((at, _)) => at,
            Err(Errno::ESRCH) => return Ok(Ended::Done),
            Err(errno) => return Err(errno),
        };
        if !asked && let Some(hook) = reaper.begin_hook(at)? {
            return Ok(Ended::Ask(hook));
        }
        if !reaper.runs_elsewhere(reaper.table.slot(at)) {
            let over = Flags::INERT | Flags::ENDED;
            let release = ending == Ending::Release || reaper.table.slot(at).is(Flags::RELEASE);
            if ending == Ending::Release && reaper.table.slot(at).flags.intersects(over) {
                reaper.table.slot_mut(at).flags -= Flags::HOOK_RUN;
                return Err(Errno::ESRCH);
            }
            let companion = reaper.companion(reaper.table.slot(at).sink);
            reaper.end_watch(at, release);
            drop(reaper);
            if let Some(companion) = companion {
                super::task::remove(companion);
            }
            return Ok(Ended::Done);
        }
        // The one that runs is the last.
        reaper.silence(at);
        reaper = own.value.wait_for_return(reaper);
    }
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

/// How a child stands that is to be registered.
#[derive(Default)]
pub(crate) struct Found {
    /// What was waited for already, by the look or by a sweep before it.
    pub(crate) change: Option<Change>,
    /// What it has used, with the end.
    pub(crate) usage: Option<Usage>,
    /// The pidfd that it needs, if it does.
    pub(crate) pidfd: Option<Pidfd>,
    /// It was only looked at, and may have ended.
    pub(crate) unwaited: bool,
}

impl Reaper {
    fn register(&mut self, me: u16, pid: i32, sink: Sink) -> Result<WatchId, Errno> {
        let known = self.find_fresh(pid);
        let found = self.find_child(me, pid, known, false, false)?;
        // The look may have ended what was known.
        let known = known.and_then(|_| self.table.find(pid));
        Ok(self.insert(me, pid, known, found, sink, false))
    }

    pub(crate) fn insert(
        &mut self,
        me: u16,
        pid: i32,
        known: Option<u32>,
        found: Found,
        sink: Sink,
        keep: bool,
    ) -> WatchId {
        let at = self.table.insert(pid, me, known);
        if keep {
            self.begin_keep(at);
        }
        let slot = self.table.slot_mut(at);
        slot.sink = sink;
        let id = WatchId::new(at, slot.generation, self.depth);
        self.at_mut(me).watches += 1;
        let leader = known.map_or(at, |_| self.join_others(me, at));
        if let Some(pidfd) = found.pidfd {
            if let Err(errno) = self.adopt_pidfd(leader, pidfd) {
                self.no_pidfd(errno);
            }
            // Nobody polls for one that is dead already.
            if !self.at(me).polled {
                self.wait_child(leader);
            }
        } else if let Some(change) = found.change {
            self.changed(leader, change, Facts::used(found.usage));
        } else if self.table.slot(leader).is(Flags::ZOMBIE) {
            self.tell_lying(leader, at);
        } else if found.unwaited {
            self.wait_child(leader);
        }
        if self.table.slot(leader).is(Flags::LEADS) {
            self.unheard(me, leader);
        }
        id
    }

    /// A watch of a child that has ended and is kept: it is told as the others
    /// were.
    fn tell_lying(&mut self, leader: u32, at: u32) {
        let mut other = leader;
        while other == at {
            other = self.table.next_watch(other);
        }
        let change = self.table.slot(other).end();
        self.record_late(at, other);
        self.table.record(at, change);
        self.enqueue(at);
    }

    /// A new watch takes the place of its context's former one, and of one that
    /// was only kept to reap the child; the leader from then on.
    fn join_others(&mut self, me: u16, at: u32) -> u32 {
        let slot = self.table.slot(at);
        let pid = slot.pid;
        if slot.sink.is_plain() {
            if let Some(former) = self.own_watch(me, pid, at) {
                self.supersede(former);
            }
        }
        let leader = self.table.find(pid).unwrap_or(at);
        if self.table.slot(leader).is(Flags::ABANDONED)
            && self.leave(leader)
            && !self.table.slot(leader).is(Flags::QUEUED)
        {
            self.table.release(leader);
        }
        let leader = self.table.find(pid).unwrap_or(at);
        self.rejoin(leader);
        leader
    }

    /// Room for one watch more than those that are promised to a spawn or to a
    /// reservation.
    pub(crate) fn reserve(&mut self) -> Result<(), Errno> {
        let wanted = self.spawning + self.reserved + 1;
        self.table.reserve(wanted).ok_or(Errno::ENOMEM)
    }

    /// The same for `pid`; nothing is allocated for a stranger.
    pub(crate) fn reserve_for(&mut self, pid: i32) -> Result<(), Errno> {
        let there = self.table.has_room(self.spawning + self.reserved + 1);
        if !there && !wait::is_child_pid(pid) && !self.parked.holds(pid) {
            return Err(Errno::ESRCH);
        }
        self.reserve()
    }

    /// Where a child has neither a pidfd nor a signal: looks after it by time.
    fn unheard(&mut self, me: u16, leader: u32) {
        let ctx = self.at(me);
        if ctx.polled && !ctx.signalled && !self.table.slot(leader).is(Flags::OLD) {
            let now = clock::now();
            let after = self.policy.poll_after(self.table.young());
            self.alarm(me, now + after, now);
        }
    }

    /// The child in the table with this pid. One whose status somebody else took
    /// is over, and its pid may be another child's by now.
    pub(crate) fn find_fresh(&mut self, pid: i32) -> Option<u32> {
        let leader = self.table.find(pid)?;
        let stale = self
            .table
            .slot(leader)
            .pidfd()
            .is_some_and(|pidfd| !wait::is_child(pidfd.borrow()));
        if stale && self.table.slot(leader).is(Flags::ZOMBIE) {
            self.bury_stolen(leader);
            return None;
        }
        if stale && self.wait_child(leader) {
            return None;
        }
        Some(leader)
    }

    pub(crate) fn find_child(
        &mut self,
        me: u16,
        pid: i32,
        known: Option<u32>,
        keep: bool,
        rich: bool,
    ) -> Result<Found, Errno> {
        let lies = known.is_some_and(|leader| self.table.slot(leader).is(Flags::ZOMBIE));
        if lies {
            return Ok(Found::default());
        }
        let held = known.is_some_and(|leader| self.table.slot(leader).is(Flags::OLD));
        let trusted = held || self.trusts_signal(me);
        // A signal that was taken away has just given it one, or ended it.
        let known = known.and_then(|_| self.table.find(pid));
        let held = known.is_some_and(|leader| self.table.slot(leader).is(Flags::OLD));
        let mut refused = None;
        if !held && !trusted {
            match self.ensure_descriptor(me).and_then(|()| pidfd::open(pid)) {
                Ok(fd) => return self.find_held(pid, Pidfd::from(fd)),
                Err(Errno::ESRCH) => return self.find_gone(pid),
                Err(errno) => refused = Some(errno),
            }
        }
        if keep || known.is_some_and(|leader| self.keeps(leader)) {
            match wait::look_pid(pid) {
                Ok(_) => {
                    if let Some(errno) = refused {
                        self.no_pidfd(errno);
                    }
                    self.parked.forget(pid);
                    return Ok(Found {
                        unwaited: true,
                        ..Found::default()
                    });
                }
                Err(_) if !wait::is_child_pid(pid) => return self.find_gone(pid),
                Err(_) if held => {
                    return Ok(Found {
                        unwaited: true,
                        ..Found::default()
                    });
                }
                Err(_) => {
                    self.ensure_descriptor(me)?;
                    let fd = pidfd::open(pid)?;
                    return self.find_held(pid, Pidfd::from(fd));
                }
            }
        }
        // A wait, not only a look: who is no child of ours is refused, and who
        // ended before is reaped, at the cost of one syscall.
        let known_options = known.map_or(0, |leader| self.options(leader));
        let options = self.at(me).params.options | known_options;
        let waited = if rich || known.is_some_and(|leader| self.wants_usage(leader)) {
            wait::waitpid_usage(pid, options)
                .map(|found| found.map(|(_, status, usage)| (status, Some(usage))))
        } else {
            wait::waitpid(pid, options).map(|found| found.map(|(_, status)| (status, None)))
        };
        match waited {
            Ok(found) => {
                if let Some(errno) = refused {
                    self.no_pidfd(errno);
                }
                self.parked.forget(pid);
                self.counts.reaped += u64::from(found.is_some());
                Ok(Found {
                    change: found.map(|(status, _)| classify(status)),
                    usage: found.and_then(|(_, usage)| usage),
                    ..Found::default()
                })
            }
            Err(_) if !wait::is_child_pid(pid) => self.find_gone(pid),
            Err(_) if held => Ok(Found::default()),
            // Neither SIGCHLD nor a sweep ever tells of it.
            Err(_) => {
                self.ensure_descriptor(me)?;
                let fd = pidfd::open(pid)?;
                self.find_held(pid, Pidfd::from(fd))
            }
        }
    }

    /// What the pidfd stands for cannot change.
    pub(crate) fn find_held(&mut self, pid: i32, pidfd: Pidfd) -> Result<Found, Errno> {
        if !wait::is_child(pidfd.borrow()) {
            pidfd.close();
            return self.find_gone(pid);
        }
        self.parked.forget(pid);
        Ok(Found {
            pidfd: Some(pidfd),
            ..Found::default()
        })
    }

    /// No child of ours, or one that was reaped before.
    fn find_gone(&mut self, pid: i32) -> Result<Found, Errno> {
        if let Some(leader) = self.table.find(pid) {
            self.wait_child(leader);
        }
        let status = self.parked.claim(pid, clock::now()).ok_or(Errno::ESRCH)?;
        Ok(Found {
            change: Some(classify(status)),
            ..Found::default()
        })
    }

    /// The watch that a context has on a child, but for this one.
    fn own_watch(&self, me: u16, pid: i32, but: u32) -> Option<u32> {
        let mut at = self.table.find(pid).unwrap_or(NIL);
        while at != NIL {
            let slot = self.table.slot(at);
            if at != but && slot.context == me && !slot.is(Flags::ABANDONED) && slot.sink.is_plain()
            {
                return Some(at);
            }
            at = self.table.next_watch(at);
        }
        None
    }

    /// A newer watch takes this one's place: its handle stays, inert.
    fn supersede(&mut self, at: u32) {
        self.leave(at);
        let slot = self.table.slot_mut(at);
        slot.flags |= Flags::INERT;
        slot.jobs = Jobs::NONE;
        let context = slot.context;
        let held = !slot.is(Flags::UNHELD);
        self.at_mut(context).watches -= 1;
        if !held && !self.table.slot(at).is(Flags::RUNNING) {
            self.end_watch(at, false);
        }
    }

    /// Takes a watch out of its child's; false where it is the only one.
    fn leave(&mut self, at: u32) -> bool {
        let slot = *self.table.slot(at);
        let pidfd = self
            .table
            .find(slot.pid)
            .and_then(|leader| self.table.slot(leader).pidfd());
        if !self.table.leave_child(at) {
            return false;
        }
        if let Some(pidfd) = pidfd
            && let Some(leader) = self.table.find(slot.pid)
        {
            if let Some(descriptor) = &self.at(slot.context).descriptor {
                descriptor.remove(pidfd.borrow());
            }
            self.rejoin(leader);
        }
        true
    }

    #[inline(always)]
    pub(crate) fn end_watch(&mut self, at: u32, release: bool) {
        self.take_hook(at);
        // A child that is held still ends with its gate.
        self.take_gate(at);
        let slot = self.table.slot_mut(at);
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

    fn set_ending(&mut self, at: u32, ending: Ending) -> Ending {
        let flags = &mut self.table.slot_mut(at).flags;
        let release = flags.contains(Flags::RELEASE);
        flags.set(Flags::RELEASE, ending == Ending::Release);
        if release {
            Ending::Release
        } else {
            Ending::Free
        }
    }

    #[inline(always)]
    fn begin_hook(&mut self, at: u32) -> Result<Option<Hook>, Errno> {
        let slot = self.table.slot_mut(at);
        if slot.is(Flags::HOOK_RUN) {
            return Err(Errno::EBUSY);
        }
        if !slot.is(Flags::HOOKED) {
            return Ok(None);
        }
        slot.flags |= Flags::HOOK_RUN;
        Ok(self.hooks[at as usize])
    }

    #[inline(always)]
    fn take_hook(&mut self, at: u32) -> Option<Hook> {
        self.table.slot_mut(at).flags -= Flags::HOOKED | Flags::HOOK_RUN;
        self.hooks.get_mut(at as usize)?.take()
    }
}
