//! The process's one reaper: its state, its lock, and what happens to a status
//! that a source found.

use crate::sys::lock::{Mutex, MutexGuard};
use nix::errno::Errno;

use super::context::{Context, Scope};
use super::id::{ContextId, WatchId};
use super::inheritance::{Inheritance, Inherited};
use super::keep::Keep;
use super::log::{Note, note};
use super::orphan::Guard;
use super::parked::ParkingLot;
use super::policy::{LOOK_WITHIN, Policy};
use super::rich::{Facts, Riches};
use super::status::{Change, classify};
use super::table::{Flags, NIL, Slot, Table};
use super::tasks::Tasks;
use super::watch::Hook;
use crate::spawn::Gate;
use crate::sys::epoll::Descriptor;
use crate::sys::fork::{Generation, PerProcess, leak};
use crate::sys::futex::EventCount;
use crate::sys::pidfd::{self, Exit, Pidfd};
use crate::sys::timer::SignalTimer;
use crate::sys::usage::Usage;
use crate::sys::wiped;
use crate::sys::{clock, signal, thread, wait};

/// What a process has: the reaper, which a forked child cannot look at, what
/// that has of it instead, and who waits for a callback to return.
pub(crate) struct Process {
    pub(crate) reaper: wiped::Box<Mutex<Reaper>>,
    pub(crate) inheritance: &'static Mutex<Inheritance>,
    pub(crate) returned: EventCount,
}

impl Process {
    pub(crate) fn new(depth: u32) -> Option<Self> {
        let inheritance = leak(Mutex::new(Inheritance::new()))?;
        Some(Process {
            reaper: wiped::boxed(|| Mutex::new(Reaper::new(depth, inheritance)))?,
            inheritance,
            returned: EventCount::new(),
        })
    }

    /// Gives the lock up until some callback has returned.
    pub(crate) fn wait_for_return<'a>(
        &'a self,
        mut reaper: MutexGuard<'a, Reaper>,
    ) -> MutexGuard<'a, Reaper> {
        reaper.waiting += 1;
        let seen = self.returned.seen();
        drop(reaper);
        self.returned.wait(seen);
        let mut reaper = self.reaper.lock();
        reaper.waiting -= 1;
        reaper
    }
}

pub(crate) static PROCESS: PerProcess<Process> = PerProcess::new();

/// So often a status that is on its way to a pidfd is asked for, the processor
/// given up each time, before it is left for later.
const PATIENCE: u32 = 64;
/// How much later, in nanoseconds, where the pidfd's own word reaches nobody.
const RETRY: u64 = 1_000_000;

/// In a queue's link: a task's index, not a slot's.
pub(crate) const TASK: u32 = 1 << 31;

/// Ids hold twelve bits of a process's depth.
const DEPTH_MASK: u32 = 0xfff;

/// This process's part, if the id with this depth is of this process.
pub(crate) fn process(depth: u32) -> Result<&'static Generation<Process>, Errno> {
    PROCESS
        .get()
        .filter(|own| own.depth() & DEPTH_MASK == depth & DEPTH_MASK)
        .ok_or(Errno::ECHILD)
}

/// The reaper, locked, if the id with this depth is of this process.
#[inline(never)] // most exports begin with it
pub(crate) fn lock(depth: u32) -> Result<MutexGuard<'static, Reaper>, Errno> {
    let mut reaper = process(depth)?.value.reaper.lock();
    // A call that was given up may have left it.
    reaper.attending = Attending::Nobody;
    Ok(reaper)
}

/// Counts of the whole process.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) young: u64,
    pub(crate) old: u64,
    pub(crate) reaped: u64,
    pub(crate) unknown: u64,
    pub(crate) parked: u64,
    pub(crate) dropped: u64,
    pub(crate) recovered: u64,
    pub(crate) lost: u64,
    pub(crate) sweeps: u64,
    pub(crate) walks: u64,
    pub(crate) promoted: u64,
    pub(crate) no_pidfd: u64,
}

pub(crate) struct Reaper {
    pub(crate) depth: u32,
    pub(crate) table: Table,
    pub(crate) contexts: Vec<wiped::Box<Context>>,
    inheritance: &'static Mutex<Inheritance>,
    /// By slot; as long as the last slot that ever had one.
    pub(crate) hooks: Vec<Option<Hook>>,
    /// Of the watches of tasks, by slot.
    pub(crate) tokens: Vec<u64>,
    pub(crate) tasks: Tasks,
    /// By slot: ends of watches of tasks that were not told yet.
    pub(crate) task_ends: Vec<(u32, Facts)>,
    pub(crate) task_watches: usize,
    pub(crate) riches: Riches,
    pub(crate) keep: Keep,
    pub(crate) guard: Guard,
    /// What holds spawned children back, by slot.
    pub(crate) gates: Vec<(u32, Gate)>,
    pub(crate) parked: ParkingLot,
    pub(crate) policy: Policy,
    pub(crate) counts: Counts,
    /// Wakes contexts that have no descriptor, and for when it is set.
    pub(crate) timer: Option<SignalTimer>,
    pub(crate) timer_at: Option<u64>,
    /// When to come round, as soon as the timer can be set, or u64::MAX.
    pub(crate) put_off: u64,
    /// A sweep was put off.
    pub(crate) sweep_owed: bool,
    /// Who calls back as soon as the lock is released, so need not be woken.
    pub(crate) attending: Attending,
    /// Children that are being spawned and not registered yet.
    pub(crate) spawning: u32,
    /// Watches that are reserved and have no child yet.
    pub(crate) reserved: u32,
    /// Threads that wait for a callback to return.
    pub(crate) waiting: u32,
    /// How many contexts were made.
    pub(crate) made: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attending {
    Nobody,
    One(u16),
    /// This one, and all that have neither host nor descriptor.
    Bare(u16),
}

impl Reaper {
    pub(crate) fn new(depth: u32, inheritance: &'static Mutex<Inheritance>) -> Self {
        Reaper {
            depth,
            table: Table::new(),
            contexts: Vec::new(),
            inheritance,
            hooks: Vec::new(),
            tokens: Vec::new(),
            tasks: Tasks::new(),
            task_ends: Vec::new(),
            task_watches: 0,
            riches: Riches::new(),
            keep: Keep::default(),
            guard: Guard::default(),
            gates: Vec::new(),
            parked: ParkingLot::new(),
            policy: Policy::new(),
            counts: Counts::default(),
            timer: None,
            timer_at: None,
            put_off: u64::MAX,
            sweep_owed: false,
            attending: Attending::Nobody,
            spawning: 0,
            reserved: 0,
            waiting: 0,
            made: 0,
        }
    }

    /// A live context, for the thread that may use it.
    #[inline(never)]
    pub(crate) fn context(&mut self, id: ContextId) -> Result<&mut Context, Errno> {
        let ctx = self.live(id).ok_or(Errno::EINVAL)?;
        ctx.admits()?;
        Ok(ctx)
    }

    /// A live context, whoever asks.
    pub(crate) fn live(&mut self, id: ContextId) -> Option<&mut Context> {
        self.contexts
            .get_mut(usize::from(id.index))
            .map(|ctx| &mut **ctx)
            .filter(|ctx| ctx.live && ctx.generation == id.generation)
    }

    pub(crate) fn at(&self, index: u16) -> &Context {
        &self.contexts[usize::from(index)]
    }

    pub(crate) fn at_mut(&mut self, index: u16) -> &mut Context {
        &mut self.contexts[usize::from(index)]
    }

    /// The slot of a live handle, for the thread that may use it; ESRCH where
    /// the handle was freed.
    #[inline(never)]
    pub(crate) fn watch(&self, id: WatchId) -> Result<(u32, &Slot), Errno> {
        let at = id.index();
        let slot = self
            .table
            .resolve(at, id.generation())
            .ok_or(Errno::ESRCH)?;
        self.at(slot.context).admits()?;
        Ok((at, slot))
    }

    /// The context that is told of unknown children: the one made first.
    pub(crate) fn for_unknown(&self) -> Option<u16> {
        self.contexts
            .iter()
            .enumerate()
            .filter(|(_, ctx)| ctx.live && ctx.params.scope == Scope::All)
            .min_by_key(|(_, ctx)| ctx.made)
            .and_then(|(index, _)| u16::try_from(index).ok())
    }

    /// How many children the table holds.
    pub(crate) fn children(&self) -> u32 {
        self.table.young() + self.table.old()
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            young: u64::from(self.table.young()),
            old: u64::from(self.table.old()),
            parked: self.parked.len() as u64,
            dropped: self.parked.dropped(),
            ..self.counts
        }
    }

    /// The options of a sweep's wait for one child: what its watches ask for.
    pub(crate) fn options(&self, leader: u32) -> i32 {
        let mut options = 0;
        let mut at = leader;
        while at != NIL {
            let slot = self.table.slot(at);
            if slot.sink.rich().is_some() {
                options |= self.rich_options(slot.sink);
            } else if !slot.is(Flags::ABANDONED) {
                options |= self.at(slot.context).params.options;
            }
            at = self.table.next_watch(at);
        }
        options
    }

    /// Waits for one child, until it has nothing new to say; whether it ended.
    pub(crate) fn wait_child(&mut self, leader: u32) -> bool {
        loop {
            let slot = *self.table.slot(leader);
            if slot.is(Flags::ZOMBIE) {
                return false;
            }
            let keeps = self.keeps(leader);
            let waited = if keeps {
                self.look(leader)
            } else {
                self.wait(leader)
            };
            let (change, facts) = match (waited, slot.pidfd()) {
                (Ok(Some((status, usage))), _) => {
                    let facts = Facts {
                        kept: keeps
                            && !matches!(classify(status), Change::Stop(_) | Change::Continue),
                        ..Facts::used(usage)
                    };
                    self.counts.reaped += u64::from(!facts.kept);
                    (classify(status), facts)
                }
                (Err(Errno::ECHILD), Some(pidfd)) => {
                    match self.recover(slot.context, slot.pid, pidfd) {
                        Some(Change::Lost) => (Change::Lost, Facts::LOST),
                        Some(change) => (change, Facts::RECOVERED),
                        None => return false,
                    }
                }
                (Err(Errno::ECHILD), None) => {
                    self.counts.lost += 1;
                    note(Note::Lost(slot.pid));
                    (Change::Lost, Facts::LOST)
                }
                (Ok(None) | Err(_), _) => return false,
            };
            if self.changed(leader, change, facts) {
                return true;
            }
        }
    }

    /// Waits for one child: its raw status, and what it has used where that is
    /// wanted.
    fn wait(&self, leader: u32) -> Result<Option<(i32, Option<Usage>)>, Errno> {
        let slot = self.table.slot(leader);
        let plain = |status| (status, None);
        let rich = |(status, usage)| (status, Some(usage));
        match (slot.pidfd(), self.wants_usage(leader)) {
            (Some(pidfd), false) => Ok(wait::reap(pidfd.borrow())?.map(plain)),
            (Some(pidfd), true) => Ok(wait::reap_usage(pidfd.borrow())?.map(rich)),
            (None, false) => Ok(
                wait::waitpid(slot.pid, self.options(leader))?.map(|(_, status)| (status, None))
            ),
            (None, true) => Ok(wait::waitpid_usage(slot.pid, self.options(leader))?
                .map(|(_, status, usage)| (status, Some(usage)))),
        }
    }

    /// Somebody else reaped a child whose pidfd we hold. None where that is not
    /// over yet: the pidfd tells again.
    fn recover(&mut self, home: u16, pid: i32, pidfd: Pidfd) -> Option<Change> {
        for _ in 0..PATIENCE {
            match pidfd::exit_status(pidfd.borrow()) {
                Exit::Known(status) => {
                    self.counts.recovered += 1;
                    note(Note::Recovered(pid));
                    return Some(classify(status));
                }
                Exit::Unknown => {
                    self.counts.lost += 1;
                    note(Note::Lost(pid));
                    return Some(Change::Lost);
                }
                Exit::InFlight => std::thread::yield_now(),
            }
        }
        let now = clock::now();
        self.alarm(home, now + RETRY, now);
        None
    }

    /// Writes down what a source found out about a child, for each of its
    /// watches; whether it ended.
    pub(crate) fn changed(&mut self, leader: u32, change: Change, facts: Facts) -> bool {
        let ended = matches!(change, Change::End(_) | Change::Lost);
        if ended {
            self.record_end(leader, facts);
        }
        let gone = ended && !facts.kept;
        if gone {
            self.let_go(leader);
        } else if ended {
            self.lie(leader);
        }
        let mut at = leader;
        while at != NIL {
            let next = self.table.next_watch(at);
            let slot = self.table.slot(at);
            if !slot.is(Flags::ABANDONED) {
                let told = match self.rich_asks_for(slot.sink, change) {
                    Some(told) => told,
                    None if slot.sink.task().is_some() => ended,
                    None => self.at(slot.context).asks_for(change),
                };
                if gone {
                    self.table.latch(at);
                }
                let companion = self.companion(self.table.slot(at).sink);
                if told {
                    self.table.record(at, change);
                }
                if let Some(companion) = companion {
                    self.post_task(companion);
                } else if told {
                    self.enqueue(at);
                }
            } else if gone && !slot.is(Flags::QUEUED) {
                self.table.release(at);
            }
            at = next;
        }
        ended
    }

    /// Takes a child out of the table and closes its pidfd.
    pub(crate) fn let_go(&mut self, leader: u32) {
        if let Some(pidfd) = self.table.remove_child(leader) {
            self.part(leader, pidfd);
            self.close_pidfd(pidfd);
        }
    }

    /// Makes room for one more context.
    pub(crate) fn grow(&mut self) -> Option<()> {
        self.contexts.try_reserve(1).ok()?;
        self.inheritance.lock().reserve(self.contexts.len()).ok()?;
        self.contexts.push(wiped::boxed(Context::dead)?);
        Some(())
    }

    /// Closes a pidfd that the table had.
    pub(crate) fn close_pidfd(&self, pidfd: Pidfd) {
        self.inheritance.lock().remove_pidfd(pidfd);
        pidfd.close();
    }

    /// The table has a pidfd.
    pub(crate) fn bequeath_pidfd(&self, pidfd: Pidfd) {
        self.inheritance.lock().add_pidfd(pidfd);
    }

    /// Has a child that is forked from now on know a context as it is.
    pub(crate) fn bequeath_context(&self, index: u16) {
        let ctx = self.at(index);
        let inherited = ctx.live.then(|| Inherited {
            generation: ctx.generation,
            params: ctx.params,
            descriptor: ctx.descriptor.as_ref().map(Descriptor::fds),
        });
        self.inheritance.lock().set(index, inherited);
    }

    /// Queues a watch in its context. Ends are told in the order in which they
    /// were waited for, also that of a child whose stop is still to be told.
    #[inline(always)]
    pub(crate) fn enqueue(&mut self, at: u32) {
        let slot = self.table.slot(at);
        if let Some(task) = slot.sink.task() {
            self.queue_end(task, at);
            return;
        }
        if slot.is(Flags::QUEUED) {
            if !slot.is(Flags::ENDED) || slot.next_queued == NIL {
                return;
            }
            self.unqueue(at);
        }
        let slot = self.table.slot_mut(at);
        slot.flags |= Flags::QUEUED;
        slot.next_queued = NIL;
        let index = slot.context;
        self.append(index, at);
    }

    /// Puts a watch or a task last in a context's queue.
    #[inline(always)]
    pub(crate) fn append(&mut self, index: u16, link: u32) {
        let ctx = self.at_mut(index);
        ctx.queued += 1;
        let tail = std::mem::replace(&mut ctx.tail, link);
        if tail == NIL {
            ctx.head = link;
        } else {
            *self.next_queued(tail) = link;
        }
        self.announce(index);
    }

    /// What comes after this in the queue.
    #[inline(always)]
    fn next_queued(&mut self, link: u32) -> &mut u32 {
        if link & TASK == 0 {
            &mut self.table.slot_mut(link).next_queued
        } else {
            &mut self.tasks.entry_mut(link & !TASK).next
        }
    }

    /// Takes a watch that is not the last out of its context's queue.
    fn unqueue(&mut self, at: u32) {
        let index = self.table.slot(at).context;
        let next = self.table.slot(at).next_queued;
        let mut before = self.at(index).head;
        if before == at {
            self.at_mut(index).head = next;
        } else {
            while *self.next_queued(before) != at {
                before = *self.next_queued(before);
            }
            *self.next_queued(before) = next;
        }
        self.at_mut(index).queued -= 1;
    }

    /// Takes the first watch or task out of a context's queue.
    #[inline(always)]
    pub(crate) fn dequeue(&mut self, index: u16) {
        let link = self.at(index).head;
        if link & TASK == 0 {
            self.table.slot_mut(link).flags -= Flags::QUEUED;
        } else {
            self.tasks.entry_mut(link & !TASK).queued = false;
        }
        let next = *self.next_queued(link);
        let ctx = self.at_mut(index);
        ctx.queued -= 1;
        ctx.head = next;
        if next == NIL {
            ctx.tail = NIL;
        }
    }

    /// A child that nobody registered ended.
    pub(crate) fn found_unknown(&mut self, owner: u16, pid: i32, status: i32) {
        if !matches!(classify(status), Change::End(_)) {
            return;
        }
        self.counts.reaped += 1;
        self.counts.unknown += 1;
        self.parked.park(pid, status, clock::now());
        if self.at(owner).params.unknown.is_some() {
            self.announce(owner);
            self.remember_unknown(owner);
        } else {
            note(Note::Unknown(pid));
        }
    }

    /// Has a context come round for unknown children that a spawn puts off.
    pub(crate) fn remember_unknown(&mut self, owner: u16) {
        if self.spawning > 0 && self.at(owner).params.unknown.is_some() {
            let now = clock::now();
            if let Some(since) = self.parked.untold_after(now.saturating_sub(LOOK_WITHIN)) {
                self.alarm(owner, since + LOOK_WITHIN, now);
            }
        }
    }

    /// Has a context's loop come round for what is due.
    pub(crate) fn announce(&mut self, index: u16) {
        let attending = self.attending;
        let ctx = self.at_mut(index);
        if ctx.announced
            || attending == Attending::One(index)
            || attending == Attending::Bare(index)
        {
            return;
        }
        if ctx.polled {
            ctx.announced = true;
            if let Some(descriptor) = &ctx.descriptor {
                descriptor.wake();
            }
        } else if !matches!(attending, Attending::Bare(_)) {
            // The one way to wake a daemon that gave us no descriptor is the
            // signal that it takes anyway.
            ctx.announced = true;
            signal::raise_sigchld();
        }
    }

    /// Has a context come round at a time; false where it cannot be.
    pub(crate) fn alarm(&mut self, index: u16, at: u64, now: u64) -> bool {
        let timer_at = self.timer_at;
        let ctx = self.at_mut(index);
        let polled = ctx.descriptor.as_ref().filter(|_| ctx.polled);
        let set = if polled.is_some() {
            ctx.alarm_at
        } else {
            timer_at
        };
        // One that ran out is there until the descriptor is read: set again it would
        // not be. A signal may have been lost, as they merge.
        if set.is_some_and(|set| set <= at && (polled.is_some() || set > now)) {
            return true;
        }
        let after = at.saturating_sub(now);
        if let Some(descriptor) = polled {
            descriptor.arm(after);
            ctx.alarm_at = Some(at);
            return true;
        }
        if self.timer.is_none() {
            self.timer = SignalTimer::new().ok();
        }
        let Some(timer) = &self.timer else {
            return false;
        };
        // The pending one may be the timer's own. It brings us back here.
        if signal::sigchld_pending() {
            self.put_off = self.put_off.min(at);
            return true;
        }
        timer.arm(after);
        self.timer_at = Some(at);
        if signal::sigchld_pending() {
            // The timer may have run out right before.
            timer.arm(after.min(RETRY));
            self.timer_at = Some(at.min(now + RETRY));
        }
        true
    }

    /// The last context is gone: no timer any more, unless its signal is pending.
    pub(crate) fn end_timer(&mut self) {
        self.put_off = u64::MAX;
        self.timer_at = None;
        if let Some(timer) = self.timer.take() {
            // It does not run out from here on.
            timer.arm(u64::MAX);
            if signal::sigchld_pending() {
                timer.arm(1);
                self.timer = Some(timer);
            }
        }
    }

    /// Whether a callback of this watch runs in another thread.
    pub(crate) fn runs_elsewhere(&self, slot: &Slot) -> bool {
        // A callback that dispatches may run below another one of the same watch,
        // whose return cleared the flag.
        self.at(slot.context)
            .dispatcher
            .is_some_and(|(dispatcher, depth)| {
                dispatcher != thread::current() && (depth > 1 || slot.is(Flags::RUNNING))
            })
    }
}
