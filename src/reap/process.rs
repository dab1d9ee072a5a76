//! The process's one reaper: its state and its lock.

use std::ops::{Deref, DerefMut};

use nix::errno::Errno;

use super::agenda::Agenda;
use super::callback::Hook;
use super::event::Facts;
use super::id::{ContextId, WatchId};
use super::inheritance::{Inheritance, Inherited};
use super::kernel::{Kernel, LINUX};
use super::parked::ParkingLot;
use super::policy::Policy;
use super::remotes::Remotes;
use super::riches::Riches;
use super::subscriber::{Context, Scope};
use super::table::{Flags, Slot, Table};
use super::tasks::{TaskId, Tasks};
use crate::spawn::Gate;
use crate::sys::epoll::Descriptor;
use crate::sys::error::Error;
use crate::sys::fork::{Generation, PerProcess, leak, unleak, unmap_pages};
use crate::sys::futex::EventCount;
use crate::sys::lock::{Mutex, MutexGuard};
use crate::sys::mmap;
use crate::sys::thread::{self, Thread};
use crate::sys::timer::SignalTimer;
use crate::sys::unload::Unloading;
use crate::sys::wiped;

/// What a process has: its reaper, which is wiped in a forked child; what such a child
/// can know of it instead; and the count that wakes threads which wait for a callback to
/// return.
pub(crate) struct Process {
    reaper: wiped::Box<Mutex<Reaper>>,
    pub(crate) inheritance: &'static Mutex<Inheritance>,
    pub(crate) returned: EventCount,
}

impl Process {
    pub(crate) fn new(depth: u32) -> Option<Self> {
        for (former, _) in PROCESS.former() {
            if let Some(mut inheritance) = former.inheritance.try_lock() {
                inheritance.part();
            }
        }
        let inheritance = leak(Mutex::new(Inheritance::new()))?;
        Some(Process {
            reaper: wiped::boxed(|| Mutex::new(Reaper::new(&LINUX, depth, inheritance)))?,
            inheritance,
            returned: EventCount::new(),
        })
    }

    #[inline(never)] // most exports begin with it
    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked(self.reaper.lock())
    }

    /// The same, unless somebody has the lock.
    pub(crate) fn try_lock(&self) -> Option<Locked<'_>> {
        self.reaper.try_lock().map(Locked)
    }

    /// Gives the lock up until some callback has returned.
    pub(crate) fn wait_for_return<'a>(&'a self, mut reaper: Locked<'a>) -> Locked<'a> {
        reaper.waiting += 1;
        let seen = self.returned.seen();
        drop(reaper);
        self.returned.wait(seen);
        let mut reaper = self.lock();
        reaper.waiting -= 1;
        reaper
    }

    /// The hook that this thread began last has returned.
    pub(crate) fn hook_returned(&self, reaper: &mut Reaper) {
        reaper.ran();
        if reaper.waiting > 0 {
            self.returned.tell_all();
        }
    }
}

/// The reaper, locked. The alarms are set as the lock is released.
#[must_use]
pub(crate) struct Locked<'a>(MutexGuard<'a, Reaper>);

impl Deref for Locked<'_> {
    type Target = Reaper;

    fn deref(&self) -> &Reaper {
        &self.0
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Reaper {
        &mut self.0
    }
}

impl Drop for Locked<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.agenda.unsettled {
            self.settle();
        }
        self.serving = None;
        self.attending = Attending::Nobody;
    }
}

impl<'a> Locked<'a> {
    /// Gives the lock up while something is done.
    pub(crate) fn unlocked<R>(self, what: impl FnOnce() -> R) -> (Self, R) {
        let mutex: &'a Mutex<Reaper> = MutexGuard::mutex(&self.0);
        drop(self);
        let result = what();
        (Locked(mutex.lock()), result)
    }

    /// Gives the lock up, to another thread if one waits for it, and takes it again.
    pub(crate) fn give_way(self) -> Self {
        self.unlocked(|| ()).0
    }
}

pub(crate) static PROCESS: PerProcess<Process> = PerProcess::new();

/// The plugin that contains this library is being unloaded: frees the library's memory,
/// unless there still are children or contexts.
pub(crate) fn unload(going: &Unloading) {
    mmap::unmap_spares(going);
    let Some(own) = PROCESS.get() else {
        return;
    };
    if own.value.lock().is_idle() {
        let inheritance = own.value.inheritance;
        PROCESS.forget(going);
        unleak(inheritance, going);
        unmap_pages(going);
    }
}

/// Set in a queue's link that is a task's index, not a slot's.
pub(crate) const TASK: u32 = 1 << 31;

/// Ids hold twelve bits of a process's depth.
const DEPTH_MASK: u32 = 0xfff;

/// This process's part, if the id with this depth is of this process.
pub(crate) fn process(depth: u32) -> Result<&'static Generation<Process>, Error> {
    PROCESS
        .get()
        .filter(|own| own.depth() & DEPTH_MASK == depth & DEPTH_MASK)
        .ok_or(Errno::ECHILD.into())
}

/// The reaper, locked, if the id with this depth is of this process.
pub(crate) fn lock(depth: u32) -> Result<Locked<'static>, Error> {
    Ok(process(depth)?.value.lock())
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

/// Zombies that are kept until each watch that wants to look at them has been told.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Keep {
    /// Watches that keep their child.
    pub(crate) keepers: u32,
    /// A kept zombie may have hidden unknown ones.
    pub(crate) hidden: bool,
}

/// The services' keeper, which looks at unknown children while there are services.
#[derive(Default)]
pub(crate) struct Guard {
    pub(crate) keeper: Option<TaskId>,
    /// The keeper was prompted since its last look.
    pub(crate) prompted: bool,
    /// The keeper asked about a child that may be one being spawned: it is prompted again
    /// when no spawn is in progress.
    pub(crate) put_off: bool,
}

pub(crate) struct Reaper {
    pub(crate) kernel: &'static dyn Kernel,
    pub(crate) depth: u32,
    pub(crate) table: Table,
    pub(crate) contexts: Vec<wiped::Box<Context>>,
    pub(crate) inheritance: &'static Mutex<Inheritance>,
    /// By slot, up to the last slot that ever had a hook.
    pub(crate) hooks: Vec<Option<Hook>>,
    /// How many hooks there are.
    pub(crate) hooked: u32,
    /// The tokens of tasks' watches, by slot.
    pub(crate) tokens: Vec<u64>,
    /// Ends of tasks' watches that were not told yet: the slot, how the end came to be
    /// known, and when.
    pub(crate) task_ends: Vec<(u32, Facts, u64)>,
    pub(crate) task_watches: usize,
    pub(crate) riches: Riches,
    pub(crate) keep: Keep,
    pub(crate) guard: Guard,
    pub(crate) tasks: Tasks,
    /// The gates that hold spawned children, with the slots of their watches.
    pub(crate) gates: Vec<(u32, Gate)>,
    /// Statuses of watches that are being released and have ended meanwhile.
    pub(crate) released: Vec<(WatchId, i32)>,
    pub(crate) parked: ParkingLot,
    pub(crate) remotes: Remotes,
    pub(crate) policy: Policy,
    pub(crate) agenda: Agenda,
    pub(crate) counts: Counts,
    /// A timer that sends SIGCHLD, to wake contexts without a descriptor; and when it
    /// runs out.
    pub(crate) timer: Option<SignalTimer>,
    pub(crate) signal_at: Option<u64>,
    /// The kernel knows pidfds, but cannot wait for one.
    pub(crate) pidfds_useless: bool,
    /// There may be children that send no SIGCHLD and have no pidfd that is polled.
    pub(crate) mute: bool,
    /// A look found an ended child that SIGCHLD should have told of, and no SIGCHLD was
    /// passed on since.
    pub(crate) doubted: bool,
    /// RLIMIT_NOFILE's soft limit, when it was last read.
    pub(crate) descriptor_limit: u32,
    /// The most pidfds there may be: as many as were left when some were last given back,
    /// or a few more.
    pub(crate) pidfds_at_most: u32,
    /// No look for free descriptors before this time: the last one found too few.
    pub(crate) short_until: u64,
    /// The slot at which a look for stops of the old goes on; 0: at the first.
    pub(crate) old_cursor: u32,
    /// The slot at which [`Reaper::demote`] goes on.
    pub(crate) demoting: u32,
    /// `counts.reaped` when the unheard were last looked at.
    pub(crate) unheard_since: u64,
    /// The context whose loop runs now.
    pub(crate) serving: Option<u16>,
    /// The contexts whose callbacks are made as soon as the lock is released, so that
    /// they need not be woken.
    pub(crate) attending: Attending,
    /// Children that are being spawned and not registered yet.
    pub(crate) spawning: u32,
    /// Watches that are reserved and have no child yet.
    pub(crate) reserved: u32,
    /// Slots of watches whose children are not told of yet.
    pub(crate) muted: Vec<u32>,
    /// What runs outside the lock. In pages that a fork does not copy: each exit
    /// writes here, and the first write after a fork would cost a fault.
    pub(crate) running: allocator_api2::vec::Vec<Running, wiped::Wiped>,
    /// Threads that wait for a callback to return.
    pub(crate) waiting: u32,
    /// How many contexts were made.
    pub(crate) made: u64,
}

/// A callback or a hook that runs: whoever frees its watch or its context in
/// another thread waits for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) thread: Thread,
    pub(crate) context: ContextId,
    /// NONE for a callback about an unknown child, and for a task.
    pub(crate) watch: WatchId,
    pub(crate) hook: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attending {
    Nobody,
    One(u16),
    /// This one, and all that have neither host nor descriptor.
    Bare(u16),
}

impl Reaper {
    /// Whether there is no context, no watch and no child.
    fn is_idle(&self) -> bool {
        let used = |at| self.table.slot(at).is(Flags::USED);
        self.spawning == 0
            && self.contexts.iter().all(|ctx| !ctx.live)
            && !(0..self.table.bound()).any(used)
    }

    pub(crate) fn new(
        kernel: &'static dyn Kernel,
        depth: u32,
        inheritance: &'static Mutex<Inheritance>,
    ) -> Self {
        Reaper {
            kernel,
            depth,
            table: Table::new(),
            contexts: Vec::new(),
            inheritance,
            hooks: Vec::new(),
            hooked: 0,
            tokens: Vec::new(),
            task_ends: Vec::new(),
            task_watches: 0,
            riches: Riches::new(),
            keep: Keep::default(),
            guard: Guard::default(),
            tasks: Tasks::new(),
            gates: Vec::new(),
            released: Vec::new(),
            parked: ParkingLot::new(),
            remotes: Remotes::new(),
            policy: Policy::new(),
            agenda: Agenda::new(),
            counts: Counts::default(),
            timer: None,
            signal_at: None,
            pidfds_useless: false,
            mute: false,
            doubted: false,
            descriptor_limit: 0,
            pidfds_at_most: u32::MAX,
            short_until: 0,
            old_cursor: 0,
            demoting: 0,
            unheard_since: 0,
            serving: None,
            attending: Attending::Nobody,
            spawning: 0,
            reserved: 0,
            muted: Vec::new(),
            running: allocator_api2::vec::Vec::new_in(wiped::Wiped),
            waiting: 0,
            made: 0,
        }
    }

    /// A live context, for the thread that may use it.
    #[inline(never)]
    pub(crate) fn context(&mut self, id: ContextId) -> Result<&mut Context, Error> {
        let ctx = self.live(id).ok_or(Errno::EINVAL)?;
        ctx.admits()?;
        Ok(ctx)
    }

    /// A live context, for any thread.
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

    pub(crate) fn id_of(&self, index: u16) -> ContextId {
        ContextId {
            index,
            generation: self.at(index).generation,
            depth: self.depth,
        }
    }

    /// The indices of the live contexts that `which` takes.
    pub(crate) fn indices(&self, which: impl Fn(&Context) -> bool) -> impl Iterator<Item = u16> {
        (0u16..)
            .zip(&self.contexts)
            .filter(move |(_, ctx)| ctx.live && which(ctx))
            .map(|(index, _)| index)
    }

    /// The slot of a live handle, for the thread that may use it; ESRCH where
    /// the handle was freed.
    #[inline(never)]
    pub(crate) fn watch(&self, id: WatchId) -> Result<(u32, &Slot), Error> {
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
        self.indices(|ctx| ctx.params.scope == Scope::All)
            .min_by_key(|&index| self.at(index).made)
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

    /// Makes room for one more context.
    pub(crate) fn grow(&mut self) -> Option<()> {
        self.contexts.try_reserve(1).ok()?;
        self.inheritance.lock().reserve(self.contexts.len()).ok()?;
        self.contexts.push(wiped::boxed(Context::dead)?);
        Some(())
    }

    /// Writes down how a context is now, for children that are forked from now on.
    pub(crate) fn bequeath_context(&self, index: u16) {
        let ctx = self.at(index);
        let inherited = ctx.live.then(|| Inherited {
            generation: ctx.generation,
            params: ctx.params,
            descriptor: ctx.descriptor.as_ref().map(Descriptor::fds),
        });
        self.inheritance.lock().set(index, inherited);
    }

    /// Takes out the gate that holds a watch's child, if there is one.
    pub(crate) fn take_gate(&mut self, at: u32) -> Option<Gate> {
        let place = self.gates.iter().position(|&(held, _)| held == at)?;
        Some(self.gates.swap_remove(place).1)
    }

    /// Whether something that `which` takes runs in another thread.
    pub(crate) fn runs_elsewhere(&self, which: impl Fn(&Running) -> bool) -> bool {
        let me = thread::current();
        self.running
            .iter()
            .any(|running| running.thread != me && which(running))
    }
}
