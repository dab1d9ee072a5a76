//! Children that the library itself starts: registered without a window.

use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::callback::{ChildFn, Pvt, Sink};
use super::id::{ContextId, WatchId};
use super::log::{Note, note};
use super::process::{Attending, Reaper, lock};
use super::register::Found;
use super::status::{Change, classify};
use super::table::Flags;
use super::tasks::TaskId;
use crate::spawn::{Gate, SpawnError, Spawned, Spec, spawn};
use crate::sys::error::Error;
use crate::sys::pidfd::Pidfd;
use crate::sys::poll;

/// The first and the longest pause between two looks at a child that was killed, in
/// nanoseconds.
const FIRST_NAP: u64 = 100_000;
const LAST_NAP: u64 = 32_000_000;

/// A child of ours that runs its program, or is held at its gate, and is watched.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) watch: WatchId,
    pub(crate) pid: i32,
    /// The master of its pseudoterminal.
    pub(crate) pty: Option<OwnedFd>,
}

/// Who is told of the child's end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Told {
    Callback(Option<ChildFn>, Pvt),
    /// A task of the context, stepped with Why::Child and this token.
    Task(TaskId, u64),
    /// The same, with the child a zombie until the step is over.
    Keeping(TaskId, u64),
    /// The rich watch that was prepared.
    Rich(u32),
}

/// Starts a child and watches it, without a window between. On an error there is
/// no process and no watch.
///
/// Every family starts its children by this: it takes a [`Spec`] from C
/// (`ffi::spawn_params`), or from an [`OwnedSpec`](crate::spawn::OwnedSpec)
/// that it has kept, changes the fields that it needs (`CStringArray::environment`
/// adds variables, `fds` descriptors) and calls this. [`take_gate`] opens the gate
/// of a spec that has one; [`super::kill`] signals the child by its watch.
pub(crate) fn start(ctx: ContextId, spec: &Spec, told: Told) -> Result<Started, SpawnError> {
    start_known(ctx, spec, told, |_| ())
}

/// The same; `known` is told of the pid before anybody can be told of its end.
pub(crate) fn start_known(
    ctx: ContextId,
    spec: &Spec,
    told: Told,
    known: impl FnOnce(i32),
) -> Result<Started, SpawnError> {
    start_with(ctx, told, |pidfd| {
        let child = spawn(&Spec { pidfd, ..*spec })?;
        known(child.pid);
        Ok(child)
    })
}

/// The same for a child that `make` makes, which is told whether a pidfd is needed.
pub(crate) fn start_with(
    ctx: ContextId,
    told: Told,
    make: impl FnOnce(bool) -> Result<Spawned, SpawnError>,
) -> Result<Started, SpawnError> {
    let pidfd = begin(ctx)?;
    let mut child = make(pidfd).inspect_err(|error| give_up(ctx, error.pid))?;
    let (pid, pty) = (child.pid, child.pty.take());
    let watch = end(ctx, child, told)?;
    Ok(Started { watch, pid, pty })
}

/// A child that is started over several turns of the loop: until it is registered,
/// or this is dropped, it counts as being spawned.
#[derive(Debug)]
pub(crate) struct Starting {
    ctx: ContextId,
    /// Whether the child needs a pidfd.
    pub(crate) pidfd: bool,
    /// The child, once it is known. If this is dropped, nobody is told of it.
    pub(crate) pid: i32,
    registered: bool,
}

impl Starting {
    pub(crate) fn begin(ctx: ContextId) -> Result<Self, Error> {
        Ok(Starting {
            ctx,
            pidfd: begin(ctx)?,
            pid: 0,
            registered: false,
        })
    }

    /// Gives a reserved watch its child, which is not told of before [`unmute`]. ESRCH
    /// where the watch is over: then the child is still the caller's.
    pub(crate) fn register(
        mut self,
        id: WatchId,
        child: Spawned,
        callback: Option<ChildFn>,
        pvt: Pvt,
    ) -> Result<(), (Self, Error)> {
        let registered = lock(self.ctx.depth).and_then(|mut reaper| {
            reaper.register_muted(id, child, Sink::of(callback, pvt))?;
            reaper.spawned();
            Ok(())
        });
        match registered {
            Ok(()) => {
                self.registered = true;
                Ok(())
            }
            Err(errno) => Err((self, errno)),
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if !self.registered {
            give_up(self.ctx, self.pid);
        }
    }
}

/// Lets a muted watch tell of its child from now on. Where the program does not run
/// nobody is told of the child, but it is reaped.
pub(crate) fn unmute(id: WatchId, runs: bool) {
    let Ok(mut reaper) = lock(id.depth()) else {
        return;
    };
    let Ok((at, _)) = reaper.watch(id) else {
        return;
    };
    reaper.forget_muted(at);
    let slot = reaper.table.slot_mut(at);
    if !runs && !slot.is_reserved() {
        slot.sink = Sink::NOBODY;
    }
    if slot.is_due() {
        reaper.enqueue(at);
    }
}

/// Begins a spawn; whether the child needs a pidfd. Until the spawn is over there is room
/// for its watch, and unknown children are put off: another thread may reap this child
/// before it is registered, and would take it for an unknown one.
fn begin(ctx: ContextId) -> Result<bool, Error> {
    let mut reaper = lock(ctx.depth)?;
    reaper.context(ctx)?;
    reaper.reserve()?;
    let wanted = reaper.spawning as usize + 1;
    reaper
        .gates
        .try_reserve(wanted)
        .map_err(|_| Errno::ENOMEM)?;
    reaper.spawning += 1;
    if !reaper.trusts_signal(ctx.index) {
        reaper.distrust_signal(ctx.index);
    }
    Ok(!reaper.trusts_signal(ctx.index) && reaper.may_have_pidfd(ctx.index))
}

/// Registers the child. EINVAL where the context was freed meanwhile, ESRCH where
/// the task was removed; then the child is ended.
fn end(ctx: ContextId, child: Spawned, told: Told) -> Result<WatchId, Error> {
    let mut reaper = lock(ctx.depth)?;
    if let Err(errno) = reaper.may_tell(ctx, told) {
        drop(reaper);
        put_down(ctx.depth, child);
        return Err(errno);
    }
    if reaper.live(ctx).is_some_and(|ctx| ctx.params.hosted) {
        reaper.attending = Attending::One(ctx.index);
    }
    let id = reaper.register_spawned(ctx.index, child, told);
    reaper.spawned();
    Ok(id)
}

/// Kills a child that nobody is to be told of. The lock is given up while it dies; the
/// spawn goes on until then, so that it is not told as an unknown child.
fn put_down(depth: u32, child: Spawned) {
    let mut nap = FIRST_NAP;
    while let Ok(mut reaper) = lock(depth) {
        if reaper.put_down(child.pid) {
            reaper.spawned();
            return;
        }
        drop(reaper);
        poll::readable(None, nap);
        nap = (nap * 2).min(LAST_NAP);
    }
}

/// The spawn failed. If it had a child (not 0), that is dead, and nobody is told of it.
fn give_up(ctx: ContextId, dead: i32) {
    if let Ok(mut reaper) = lock(ctx.depth) {
        reaper.parked.forget(dead);
        reaper.spawned();
    }
}

/// The gate that holds a watch's child, taken out to be opened.
pub(crate) fn take_gate(id: WatchId) -> Result<Gate, Error> {
    let mut reaper = lock(id.depth())?;
    let (at, slot) = reaper.watch(id)?;
    let over = slot.flags.intersects(Flags::INERT | Flags::ENDED);
    let none = if over { Errno::ESRCH } else { Errno::EALREADY };
    reaper.take_gate(at).ok_or(none.into())
}

impl Reaper {
    /// Whether there is somebody to tell, and room for it.
    fn may_tell(&mut self, ctx: ContextId, told: Told) -> Result<(), Error> {
        self.live(ctx).ok_or(Errno::EINVAL)?;
        match told {
            Told::Callback(..) | Told::Rich(_) => Ok(()),
            Told::Task(id, _) | Told::Keeping(id, _) => self.reserve_for_task(id),
        }
    }

    /// Registers a child that was spawned, even if other code has reaped it meanwhile.
    fn register_spawned(&mut self, me: u16, child: Spawned, told: Told) -> WatchId {
        let pid = child.pid;
        let known = self.find_fresh(pid);
        let keep = matches!(told, Told::Keeping(..));
        let found = match child.pidfd {
            Some(fd) => self.find_spawned(pid, Pidfd::from(fd)),
            None if self.remotes.holds(pid) => Found::default(),
            None => self
                .find_child(me, pid, known, keep, !matches!(told, Told::Callback(..)))
                .unwrap_or_else(|_| {
                    self.counts.lost += 1;
                    note(Note::Lost(pid));
                    Found {
                        change: Some(Change::Lost),
                        ..Found::default()
                    }
                }),
        };
        let sink = match told {
            Told::Callback(callback, pvt) => Sink::of(callback, pvt),
            Told::Task(id, token) | Told::Keeping(id, token) => self.task_sink(id, token),
            Told::Rich(rich) => self.prepared_sink(rich),
        };
        let id = self.insert(me, pid, found, sink, keep);
        if let Told::Rich(rich) = told {
            self.begin_prepared(id.index(), rich);
        }
        if let Some(gate) = child.gate {
            self.gates.push((id.index(), gate));
        }
        id
    }

    fn register_muted(&mut self, id: WatchId, child: Spawned, sink: Sink) -> Result<(), Error> {
        let (at, slot) = self.watch(id)?;
        if !slot.is_reserved() {
            return Err(Errno::EALREADY.into());
        }
        let me = slot.context;
        let pid = child.pid;
        self.muted.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.serving = Some(me);
        let known = self.find_fresh(pid);
        let found = match child.pidfd {
            Some(fd) => self.find_spawned(pid, Pidfd::from(fd)),
            None if self.remotes.holds(pid) => Found::default(),
            None => self.find_child(me, pid, known, false, false)?,
        };
        self.muted.push(at);
        let made = self.insert_reserved(at, pid, found, sink);
        debug_assert_eq!(made, id);
        Ok(())
    }

    /// The watch in this slot is muted no more, or is over.
    pub(crate) fn forget_muted(&mut self, at: u32) {
        if let Some(place) = self.muted.iter().position(|&muted| muted == at) {
            self.muted.swap_remove(place);
        }
    }

    /// A walk for unknown children may have taken it before it was registered.
    fn find_spawned(&mut self, pid: i32, pidfd: Pidfd) -> Found {
        let taken = self.is_held(pidfd) == Ok(false);
        let now = self.kernel.now();
        let status = self.parked.claim(pid, now).filter(|_| taken);
        if status.is_some() {
            self.kernel.close(pidfd);
        }
        Found {
            change: status.map(classify),
            pidfd: status.is_none().then_some(pidfd),
            ..Found::default()
        }
    }

    /// One spawn less is going on.
    fn spawned(&mut self) {
        self.spawning -= 1;
        if self.spawning > 0 {
            return;
        }
        if std::mem::take(&mut self.guard.put_off) {
            self.prompt_keeper();
        }
        if let Some(owner) = self.for_unknown() {
            if self.is_due(owner) {
                self.announce(owner);
            }
        }
    }
}
