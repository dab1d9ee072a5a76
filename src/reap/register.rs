//! A watch begins: a child is registered.

use nix::errno::Errno;

use super::agenda::Debt;
use super::callback::{ChildFn, Pvt, Sink};
use super::event::Facts;
use super::id::{ContextId, WatchId};
use super::log::{Note, note};
use super::process::{Attending, Reaper, lock};
use super::status::{Change, Jobs, classify};
use super::table::{Flags, NIL};
use crate::sys::error::Error;
use crate::sys::pidfd::Pidfd;
use crate::sys::usage::Usage;

/// Registers a child. `due` is set where the context's host must dispatch it: nothing
/// else wakes the host for this.
pub(crate) fn register(
    ctx: ContextId,
    pid: i32,
    callback: Option<ChildFn>,
    pvt: Pvt,
    due: &mut bool,
) -> Result<WatchId, Error> {
    let mut reaper = lock(ctx.depth)?;
    let hosted = reaper.context(ctx)?.params.hosted;
    if hosted {
        reaper.attending = Attending::One(ctx.index);
    }
    reaper.serving = Some(ctx.index);
    let registered = reaper
        .reserve_for(pid)
        .and_then(|()| reaper.register(ctx.index, pid, Sink::of(callback, pvt)));
    *due = hosted && reaper.is_due(ctx.index);
    registered
}

/// Makes a watch whose child comes later, and room for that.
pub(crate) fn reserve(ctx: ContextId) -> Result<WatchId, Error> {
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
) -> Result<(), Error> {
    let mut reaper = lock(id.depth())?;
    let (at, slot) = reaper.watch(id)?;
    if !slot.is_reserved() {
        return Err(Errno::EALREADY.into());
    }
    let me = slot.context;
    reaper.serving = Some(me);
    let known = reaper.find_fresh(pid);
    let found = reaper.find_child(me, pid, known, false, false)?;
    let made = reaper.insert_reserved(at, pid, found, Sink::of(callback, pvt));
    debug_assert_eq!(made, id);
    Ok(())
}

/// What is known of a child that is to be registered.
#[derive(Default)]
pub(crate) struct Found {
    /// The change that a wait has already returned, now or before.
    pub(crate) change: Option<Change>,
    /// What it has used, with the end.
    pub(crate) usage: Option<Usage>,
    /// A pidfd of the child, if one was opened or given.
    pub(crate) pidfd: Option<Pidfd>,
    /// The child was only looked at, not waited for, and may have ended.
    pub(crate) unwaited: bool,
}

impl Reaper {
    fn register(&mut self, me: u16, pid: i32, sink: Sink) -> Result<WatchId, Error> {
        let known = self.find_fresh(pid);
        let found = self.find_child(me, pid, known, false, false)?;
        Ok(self.insert(me, pid, found, sink, false))
    }

    /// The watch of a child in the slot that was reserved for it.
    pub(crate) fn insert_reserved(
        &mut self,
        at: u32,
        pid: i32,
        found: Found,
        sink: Sink,
    ) -> WatchId {
        let slot = self.table.slot(at);
        let (me, hook) = (slot.context, slot.flags & (Flags::HOOKED | Flags::HOOK_RUN));
        // insert() takes the slot that was freed last, so the watch keeps its id.
        self.table.release(at);
        self.reserved -= 1;
        let made = self.insert(me, pid, found, sink, false);
        self.table.slot_mut(at).flags |= hook;
        made
    }

    pub(crate) fn insert(
        &mut self,
        me: u16,
        pid: i32,
        found: Found,
        sink: Sink,
        keep: bool,
    ) -> WatchId {
        // The search for the child may have found its end, and taken it out of the table.
        let known = self.table.find(pid);
        let at = self.table.insert(pid, me, known);
        if keep {
            self.begin_keep(at);
        }
        let slot = self.table.slot_mut(at);
        slot.sink = sink;
        let id = WatchId::new(at, slot.generation, self.depth);
        self.at_mut(me).watches += 1;
        let leader = known.map_or(at, |_| self.join_others(me, at));
        if self.table.slot(leader).is(Flags::ZOMBIE) {
            // The child's end is known: another pidfd has nothing to tell.
            if let Some(pidfd) = found.pidfd {
                self.kernel.close(pidfd);
            }
            self.tell_lying(leader, at);
        } else if let Some(pidfd) = found.pidfd {
            let adopted = self.adopt_pidfd(leader, pidfd);
            if let Err(errno) = adopted {
                self.no_pidfd(errno);
                self.hear_without_pidfd(leader);
            }
            // If the child is dead already, nobody polls a pidfd that would tell.
            if adopted.is_err() || !self.at(me).polled {
                self.wait_child(leader);
            }
        } else if let Some(change) = found.change {
            self.tell(leader, change, Facts::used(found.usage));
        } else if found.unwaited {
            self.wait_child(leader);
        }
        if self.table.slot(leader).is(Flags::LEADS) {
            self.unheard(leader);
        }
        id
    }

    /// Queues the end for a new watch of a kept zombie, as the other watches have it.
    fn tell_lying(&mut self, leader: u32, at: u32) {
        let mut other = leader;
        while other == at {
            other = self.table.next_watch(other);
        }
        let change = self.table.slot(other).end();
        self.record_late(at, leader);
        self.table.record(at, change);
        self.enqueue(at);
    }

    /// A new watch takes the place of its context's former one, and of an abandoned one
    /// that was only there to reap the child. Returns the leader after that.
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
        self.rejoin(leader, None);
        leader
    }

    /// Makes room for one more watch, beside those that spawns in progress and
    /// reservations need.
    pub(crate) fn reserve(&mut self) -> Result<(), Error> {
        let wanted = self.spawning + self.reserved + 1;
        self.table.reserve(wanted).ok_or(Errno::ENOMEM.into())
    }

    /// The same for a watch of `pid`. ESRCH, and no allocation, where that is no child of
    /// ours.
    pub(crate) fn reserve_for(&mut self, pid: i32) -> Result<(), Error> {
        let there = self.table.has_room(self.spawning + self.reserved + 1);
        if !there && !self.kernel.is_child(pid) && !self.parked.holds(pid) {
            return Err(Errno::ESRCH.into());
        }
        self.reserve()
    }

    /// Where neither a pidfd nor SIGCHLD tells a child's watches of its end: has it
    /// looked at from time to time.
    pub(crate) fn unheard(&mut self, leader: u32) {
        if self.table.slot(leader).is(Flags::OLD) {
            return;
        }
        let mut doubtful = false;
        let mut at = leader;
        while at != NIL {
            let ctx = self.at(self.table.slot(at).context);
            if ctx.is_deaf() {
                self.owe_unheard();
                return;
            }
            doubtful |= ctx.is_doubtful();
            at = self.table.next_watch(at);
        }
        if doubtful {
            self.owe_doubt();
        }
    }

    /// Schedules a check whether SIGCHLD is still passed on to contexts that also have a
    /// descriptor.
    pub(crate) fn owe_doubt(&mut self) {
        let after = self.policy.doubt_anew();
        let now = self.kernel.now();
        self.agenda.owe(Debt::Unheard, now + after);
    }

    pub(crate) fn owe_unheard(&mut self) {
        let after = self.policy.unheard(true, self.table.young());
        let now = self.kernel.now();
        self.agenda.owe(Debt::Unheard, now + after);
    }

    /// The child in the table with this pid. None where other code took its status: then
    /// that child is ended here, as its pid may be another child's by now.
    pub(crate) fn find_fresh(&mut self, pid: i32) -> Option<u32> {
        let leader = self.table.find(pid)?;
        let pidfd = self.table.slot(leader).pidfd();
        let lies = self.table.slot(leader).is(Flags::ZOMBIE);
        if lies && !self.still_lies(leader) {
            self.bury_stolen(leader);
            return None;
        }
        let stale = pidfd.is_some_and(|pidfd| self.kernel.holds_child(pidfd) != Ok(true));
        if stale && self.wait_child(leader) {
            return None;
        }
        Some(leader)
    }

    /// What is known of a child that is to be watched. Where SIGCHLD cannot be relied on, a
    /// pidfd is opened for it. Else it is waited for once, which also takes an end that came
    /// before. ESRCH where it is no child of ours.
    pub(crate) fn find_child(
        &mut self,
        me: u16,
        pid: i32,
        known: Option<u32>,
        keep: bool,
        rich: bool,
    ) -> Result<Found, Error> {
        let lies = known.is_some_and(|leader| self.table.slot(leader).is(Flags::ZOMBIE));
        if lies || self.is_remote(pid, known) {
            return Ok(Found::default());
        }
        let mut trusted = self.trusts_signal(me);
        if !trusted {
            self.distrust_signal(me);
            trusted = self.trusts_signal(me);
        }
        // distrust_signal() may just have given the child a pidfd, or ended it.
        let known = known.and_then(|_| self.table.find(pid));
        let held = known.is_some_and(|leader| self.table.slot(leader).is(Flags::OLD));
        let mut refused = None;
        if !held && !trusted {
            match self.open_pidfd(me, pid) {
                Ok(pidfd) => {
                    // Nobody polls the pidfd. Where only a wait with __WALL sees the
                    // child, it sends no SIGCHLD either.
                    if !self.at(me).polled && self.kernel.look(pid, None).is_err() {
                        self.hear_by_time(me);
                    }
                    return Ok(self.held(pid, pidfd));
                }
                Err(error) if error == Errno::ESRCH => return self.find_gone(pid),
                Err(errno) => refused = Some(errno),
            }
        }
        if keep || known.is_some_and(|leader| self.keeps(leader)) {
            let looked = self.kernel.look(pid, None);
            if looked.is_err() && !self.kernel.is_child(pid) {
                return self.find_gone(pid);
            }
            if looked.is_err() && !held {
                // Neither SIGCHLD nor a wait for any child ever tells of it.
                let pidfd = self.open_pidfd(me, pid)?;
                self.hear_by_time(me);
                return Ok(self.held(pid, pidfd));
            }
            if let Some(errno) = refused {
                self.no_pidfd(errno);
            }
            self.parked.forget(pid);
            return Ok(Found {
                unwaited: true,
                ..Found::default()
            });
        }
        // A wait, not only a look: with one syscall it refuses a pid that is no child of
        // ours, and reaps a child that has ended.
        let known_options = known.map_or(0, |leader| self.options(leader));
        let options = self.at(me).params.options | known_options;
        let usage = rich || known.is_some_and(|leader| self.wants_usage(leader));
        let found = match self.wait_new(pid, options, usage) {
            Ok(found) => found,
            Err(_) if !self.kernel.is_child(pid) => return self.find_gone(pid),
            Err(_) if held => return Ok(Found::default()),
            // Neither SIGCHLD nor a wait for any child ever tells of it.
            Err(_) => match self.open_pidfd(me, pid) {
                Ok(pidfd) => {
                    self.hear_by_time(me);
                    return Ok(self.held(pid, pidfd));
                }
                Err(_) => {
                    self.mute = true;
                    self.owe_unheard();
                    self.wait_pid(pid, options, usage)?
                }
            },
        };
        if let Some(errno) = refused {
            self.no_pidfd(errno);
        }
        self.parked.forget(pid);
        self.counts.reaped += u64::from(found.is_some());
        Ok(Found {
            change: found.map(|(_, status, _)| classify(status)),
            usage: found.and_then(|(_, _, usage)| usage),
            ..Found::default()
        })
    }

    /// Whether this is a fork server's child that is watched, and known by its pid alone.
    fn is_remote(&self, pid: i32, known: Option<u32>) -> bool {
        known.is_some_and(|leader| self.table.slot(leader).pidfd().is_none())
            && self.remotes.holds(pid)
    }

    /// A child sends no SIGCHLD, but has a pidfd. If nobody polls that, the child is looked at
    /// from time to time.
    fn hear_by_time(&mut self, me: u16) {
        if !self.at(me).polled {
            self.mute = true;
            self.owe_unheard();
        }
    }

    /// What is known of a child by its pidfd, which is taken over. A pidfd, unlike a pid,
    /// cannot come to mean another process.
    pub(crate) fn find_held(&mut self, pid: i32, pidfd: Pidfd) -> Result<Found, Error> {
        match self.is_held(pidfd) {
            Ok(true) => Ok(self.held(pid, pidfd)),
            Ok(false) => {
                self.kernel.close(pidfd);
                self.find_gone(pid)
            }
            Err(_) => {
                self.kernel.close(pidfd);
                Ok(Found::default())
            }
        }
    }

    /// What is known of a child of ours that has this pidfd.
    pub(crate) fn held(&mut self, pid: i32, pidfd: Pidfd) -> Found {
        self.parked.forget(pid);
        Found {
            pidfd: Some(pidfd),
            ..Found::default()
        }
    }

    /// This pid is no child of ours, or none any more: its status, where it was reaped as
    /// an unknown child, else ESRCH.
    fn find_gone(&mut self, pid: i32) -> Result<Found, Error> {
        if let Some(leader) = self.table.find(pid) {
            self.wait_child(leader);
        }
        let now = self.kernel.now();
        let status = self.parked.claim(pid, now).ok_or(Errno::ESRCH)?;
        Ok(Found {
            change: Some(classify(status)),
            ..Found::default()
        })
    }

    /// The plain watch that a context has of a child, other than `but`.
    fn own_watch(&self, me: u16, pid: i32, but: u32) -> Option<u32> {
        let mut at = self.table.find(pid).unwrap_or(NIL);
        while at != NIL {
            let slot = self.table.slot(at);
            let over = slot.flags.intersects(Flags::ABANDONED | Flags::INERT);
            if at != but && slot.context == me && !over && slot.sink.is_plain() {
                return Some(at);
            }
            at = self.table.next_watch(at);
        }
        None
    }

    /// A newer watch takes this one's place. Its handle stays valid, and is told nothing
    /// any more.
    fn supersede(&mut self, at: u32) {
        self.leave(at);
        let slot = self.table.slot_mut(at);
        slot.flags |= Flags::INERT;
        slot.flags -= Flags::ENDED;
        slot.jobs = Jobs::NONE;
        let (context, held) = (slot.context, !slot.is(Flags::UNHELD));
        self.at_mut(context).watches -= 1;
        if !held && !self.is_told(at) {
            self.end_watch_seldom(at);
        }
    }

    /// Takes a watch out of its child's watches; false where it is the only one.
    pub(crate) fn leave(&mut self, at: u32) -> bool {
        let slot = *self.table.slot(at);
        if !self.table.leave_child(at) {
            return false;
        }
        if let Some(leader) = self.table.find(slot.pid) {
            self.rejoin(leader, Some(slot.context));
        }
        true
    }

    /// Whether SIGCHLD can be relied on to tell of a context's children. If not
    /// they need a pidfd from their registration on.
    pub(crate) fn trusts_signal(&self, index: u16) -> bool {
        let ctx = self.at(index);
        if ctx.params.untrusted || ctx.is_deaf() {
            return false;
        }
        // A descriptor that nobody polls could not wake it in the signal's stead.
        if !ctx.polled {
            return true;
        }
        let now = self.kernel.disposition();
        !now.auto_reaps() && (!ctx.params.hosted || now.same_handler(ctx.disposition))
    }

    /// SIGCHLD does not reach a context any more, or cannot be relied on. Its young
    /// children would never be heard of again, so they are looked at now.
    pub(crate) fn distrust_signal(&mut self, index: u16) {
        let ctx = self.at(index);
        if ctx.params.untrusted || !ctx.polled || !ctx.signalled {
            return;
        }
        let now = self.kernel.disposition();
        let ctx = self.at_mut(index);
        if !now.auto_reaps() {
            note(Note::Replaced);
            ctx.disposition = now;
        }
        ctx.signalled = false;
        self.look_at_unheard(Some(index));
    }
}
