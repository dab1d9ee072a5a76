//! The units of this process: doing what their machines decide.
//!
//! Each unit has a task on its context's loop. Commands may come from any thread:
//! they are written down, and the task carries them out in the loop's thread, which
//! alone starts programs, so that a parent-death signal follows that thread. One
//! lock covers all units: a unit's readiness starts others.
//!
//! A run is a service ([`crate::service`]): its first process and all that comes
//! of it. Its events arrive by [`told`], and are carried out by the task too.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::machine::{Action, Actions, Choice, Command, Event, Machine, State};
use super::notify::{self, Said};
use super::order::{Go, Order, take_out};
pub(crate) use super::report::{Report, UnitId, What};
use super::run::{self, Run, Seen};
use super::settings::{Mode, Scope, Settings, Step};
use crate::reap::callback::{Call, EventFn, Pvt, Record};
use crate::reap::id::{ContextId, WatchId};
use crate::reap::status::LOST;
use crate::reap::task::{self, Arc, Interest, Task, TaskId, Why};
use crate::service::tracker::ServiceId;
use crate::sys::bits::ToSigned;
use crate::sys::clock;
use crate::sys::error::{Error, out_of_memory};
use crate::sys::fork::{Generation, PerProcess};
use crate::sys::lock::{Mutex, MutexGuard};
use crate::sys::notify_socket::NotifySocket;
use crate::sys::{pidfd, poll, unload, wait};

static UNITS: PerProcess<Mutex<Units>> = PerProcess::new();

fn made() -> Result<&'static Generation<Mutex<Units>>, Error> {
    unload::also(|going| UNITS.forget(going));
    UNITS.get_or_make(|depth| Some(Mutex::new(Units::new(depth))))
}

/// How a unit stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) report: Report,
    pub(crate) restarts: u64,
    pub(crate) next: u64,
    pub(crate) waits: bool,
    pub(crate) text: Text,
}

/// The last STATUS of a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    bytes: [u8; notify::MAX_STATUS],
    length: usize,
}

impl Text {
    const EMPTY: Text = Text {
        bytes: [0; notify::MAX_STATUS],
        length: 0,
    };

    fn set(&mut self, text: &[u8]) -> bool {
        let length = text.len().min(notify::MAX_STATUS);
        let changed = self.as_bytes() != &text[..length];
        self.bytes[..length].copy_from_slice(&text[..length]);
        self.length = length;
        changed
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Room for the events of a unit that wait for their callbacks; more get it if there is
/// memory.
const MOST_EVENTS: usize = 32;

#[derive(Clone, Copy, Debug)]
enum Due {
    Tell(Report),
    Ask(Report),
}

impl Due {
    /// Whether it may be dropped when the queue is full. Essential events and questions may
    /// not.
    fn is_passing(&self) -> bool {
        matches!(self, Due::Tell(report) if report.what != What::Essential)
    }

    /// Whether it may come of a reload: a program can cause any number of these.
    fn is_of_reload(&self) -> bool {
        matches!(self, Due::Tell(report) if report.what == What::State
            && matches!(report.state, State::Running | State::Reloading))
    }
}

/// What was asked of a unit and not carried out yet.
#[derive(Clone, Copy, Default, Debug)]
struct Wishes {
    /// Start, stop, restart or kill: the last one counts.
    command: Option<Command>,
    reload: bool,
}

/// What the service of a run has told.
#[derive(Clone, Copy, Debug)]
struct Inbox {
    /// The main process ended, with this status, and whether it was the last. The
    /// messages that were sent before are read already.
    ended: Option<(i32, bool)>,
    /// The new main process, or 0 for none.
    main: Option<i32>,
    /// All processes of the present run are dead.
    dead: bool,
    /// The processes to be killed could not be found.
    kill_failed: bool,
}

impl Inbox {
    const EMPTY: Inbox = Inbox {
        ended: None,
        main: None,
        dead: false,
        kill_failed: false,
    };
}

#[derive(Debug)]
struct Unit {
    settings: Settings,
    machine: Machine,
    /// The machine's state that was told last.
    state: State,
    ctx: ContextId,
    task: TaskId,
    /// Its number in the order of its context.
    number: u32,
    /// The present run, or the last one.
    run: Option<Run>,
    /// Former runs of which processes live on.
    former: Vec<Run>,
    inbox: Inbox,
    main: i32,
    /// Readable once the main process has ended, where that is no child of ours: nobody else
    /// tells us.
    main_end: Option<OwnedFd>,
    /// The last main process that was known: messages that it sent before it ended may
    /// still come.
    spokesman: i32,
    /// How the last process of the present run ended, or the first that failed, since the end
    /// of its last main process.
    last: i32,
    status: i32,
    error: i32,
    restarts: u64,
    since: u64,
    text: Text,
    wishes: Wishes,
    due: Vec<Due>,
    notify: Option<NotifySocket>,
    ready: Option<OwnedFd>,
    armed: Option<u64>,
    /// The present run has a live process.
    lives: bool,
    /// It is in `Units::touched`.
    touched: bool,
    /// How many messages have put its deadline off.
    put_off: u32,
    /// How many of its services SIGKILL is still to be sent to.
    to_kill: usize,
    /// Another one has its name and its place.
    replaced: bool,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    unit: Option<Unit>,
}

/// The order of one context's units.
#[derive(Debug)]
struct Group {
    ctx: ContextId,
    order: Order,
    /// The slot of each number of the order.
    slots: Vec<u32>,
    /// The units of the events that wait, in the order in which the events came. There is
    /// room for all that can wait.
    turns: VecDeque<u32>,
    units: u32,
    shutdown: Option<Shutdown>,
}

/// All units of a context are being stopped.
#[derive(Debug)]
struct Shutdown {
    /// The task that steps it; None where the daemon waits for the end.
    task: Option<TaskId>,
    /// When all are killed, and then when it is given up.
    at: u64,
    /// SIGKILL was sent.
    killed: bool,
    /// Some survived that for too long.
    given_up: bool,
    told: Option<Told>,
}

/// Who is told that a shutdown is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) call: Option<EventFn>,
    pub(crate) source: Pvt,
    pub(crate) pvt: Pvt,
    /// Of what is left.
    pub(crate) record: fn(Left) -> Record,
}

/// How many are left at the end of a shutdown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) units: u32,
    pub(crate) processes: u32,
}

/// A shutdown that is over.
struct Over {
    task: Option<TaskId>,
    told: Option<Told>,
    left: Left,
}

#[derive(Debug)]
pub(crate) struct Units {
    depth: u32,
    slots: Vec<Slot>,
    groups: Vec<Group>,
    /// Units whose deadline or events may have changed; room for each.
    touched: Vec<u32>,
    /// Some have processes that are to be killed once the lock is free.
    kills: bool,
}

fn units() -> Result<MutexGuard<'static, Units>, Error> {
    Ok(UNITS.get().ok_or(Errno::ECHILD)?.value.lock())
}

/// The task of one unit.
struct UnitTask(UnitId);

impl Task for UnitTask {
    fn step(&self, why: Why) -> Option<Call> {
        let mut units = units().ok()?;
        let index = units.find(self.0)?;
        let call = units.step(index, why, clock::now());
        drop(kill_due(units));
        call
    }
}

/// Carries out the kills that the machines have decided on. A kill takes long where a
/// process does not die, so the lock is free meanwhile.
fn kill_due(mut units: MutexGuard<'static, Units>) -> Result<MutexGuard<'static, Units>, Error> {
    while units.kills {
        let mut slots = units.slots.iter_mut().enumerate();
        let next = slots.find_map(|(index, slot)| {
            let unit = slot.unit.as_mut().filter(|unit| unit.to_kill > 0)?;
            Some((index, unit))
        });
        let Some((index, unit)) = next else {
            units.kills = false;
            continue;
        };
        unit.to_kill -= 1;
        let Some(service) = unit.services().nth(unit.to_kill) else {
            continue;
        };
        let spares = unit.settings.spares_logins;
        let id = units.id(u32::try_from(index).unwrap_or(u32::MAX));
        drop(units);
        let found = run::kill_tree(service, libc::SIGKILL, spares);
        units = self::units()?;
        let failed = units.find(id).filter(|_| !found);
        if let Some(unit) = failed.and_then(|index| units.unit_mut(index)) {
            unit.inbox.kill_failed = true;
            task::post(unit.task);
        }
    }
    Ok(units)
}

/// Adds a unit behind those of the names. EEXIST where there is one of its name,
/// ENOENT for an unknown name; ENOTSUP where nobody polls the context.
pub(crate) fn add(
    ctx: ContextId,
    settings: Settings,
    machine: Machine,
    after: &[&std::ffi::CStr],
    begun: impl FnOnce(UnitId),
) -> Result<(), Error> {
    let own = made()?;
    let mut notify = settings.talks.then(NotifySocket::new).transpose()?;
    let mut units = own.value.lock();
    units.drop_ended();
    let mut unwanted = None;
    let added = units.add(ctx, settings, machine, after, &mut notify, &mut unwanted);
    // Locked until then: nobody can be told of it before.
    let added = added.map(begun);
    drop(units);
    // Not with the lock: somebody who found the socket may have had the task stepped.
    unwanted.into_iter().for_each(task::remove);
    added
}

/// The task of a shutdown.
struct ShutdownTask {
    ctx: ContextId,
    /// The task itself, once the shutdown is over.
    over: Mutex<Option<TaskId>>,
}

impl Task for ShutdownTask {
    fn step(&self, why: Why) -> Option<Call> {
        let mut over = self.over.lock();
        if over.is_none() {
            let mut units = units().ok()?;
            let now = clock::now();
            let late = why == Why::Deadline;
            if late {
                // First finds the processes that are dead and whose ends are about to be told.
                let mut cursor = 0;
                while let Some(index) = units.next_of(self.ctx, &mut cursor) {
                    units.look(index, now);
                }
                units.shut_down_late(self.ctx, now);
            } else {
                units.settle(self.ctx, None, now);
            }
            units = kill_due(units).ok()?;
            if late {
                units.await_last(self.ctx);
            }
            let end = units.end_shutdown(self.ctx)?;
            *over = end.task;
            let told = end.told.and_then(|told| Some((told.call?, told)));
            if let Some((call, told)) = told {
                return Some(Call::Event {
                    call,
                    source: told.source,
                    record: (told.record)(end.left),
                    pvt: told.pvt,
                });
            }
        }
        let task = over.take();
        drop(over);
        task.into_iter().for_each(task::remove);
        None
    }
}

/// How long after SIGKILL a shutdown waits for the last ones.
const LAST_WAIT: u64 = 2_000_000_000;

/// Stops all units of a context in reverse order. During another one EALREADY, and
/// that one ends within this time.
pub(crate) fn shutdown(ctx: ContextId, timeout: u64, told: Told) -> Result<(), Error> {
    let own = made()?;
    let at = clock::now().saturating_add(timeout);
    if own.value.lock().hasten_shutdown(ctx, at) {
        return Err(Errno::EALREADY.into());
    }
    let task = Arc::try_new(ShutdownTask {
        ctx,
        over: Mutex::new(None),
    });
    let task = task.and_then(|task| task::add(ctx, &task))?;
    let mut units = own.value.lock();
    if let Err(errno) = units.begin_shutdown(ctx, Some(task), at, Some(told)) {
        drop(units);
        task::remove(task);
        return Err(errno);
    }
    task::set_deadline(task, Some(at));
    // The loop's thread takes it from here.
    task::post(task);
    Ok(())
}

/// The same in the calling thread, which waits for the end; no callback is made
/// meanwhile.
pub(crate) fn shutdown_wait(ctx: ContextId, timeout: u64) -> Result<Left, Error> {
    let own = made()?;
    let at = clock::now().saturating_add(timeout);
    if own.value.lock().hasten_shutdown(ctx, at) {
        return Err(Errno::EALREADY.into());
    }
    own.value.lock().begin_shutdown(ctx, None, at, None)?;
    let mut pause = FIRST_PAUSE;
    loop {
        let mut units = units()?;
        let now = clock::now();
        let mut cursor = 0;
        while let Some(index) = units.next_of(ctx, &mut cursor) {
            units.look(index, now);
            let deadline = units.unit(index).and_then(|unit| unit.machine.deadline());
            if deadline.is_some_and(|deadline| deadline <= now) {
                units.time(index, now);
            }
        }
        if units.shutdown_is_late(ctx, now) {
            units.shut_down_late(ctx, now);
            units = kill_due(units)?;
            units.await_last(ctx);
        } else {
            units.settle(ctx, None, now);
            units = kill_due(units)?;
        }
        if let Some(over) = units.end_shutdown(ctx) {
            return Ok(over.left);
        }
        drop(units);
        poll::readable(None, pause);
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// How often a shutdown that is waited for looks at its processes.
const FIRST_PAUSE: u64 = 500_000;
const LAST_PAUSE: u64 = 10_000_000;

/// Asks something of a unit; its task does it. EAGAIN for a reload of what does
/// not run; ESHUTDOWN for a start during a shutdown; ESRCH where the unit is gone.
pub(crate) fn command(id: UnitId, command: Command) -> Result<(), Error> {
    let mut units = units()?;
    let index = units.expect(id)?;
    let starts = matches!(command, Command::Start | Command::Restart);
    if starts && units.is_shutting_down(index) {
        return Err(Errno::ESHUTDOWN.into());
    }
    let unit = units.unit_mut(index).ok_or(Errno::ESRCH)?;
    match command {
        Command::Reload if unit.machine.state() != State::Running => {
            return Err(Errno::EAGAIN.into());
        }
        Command::Reload => unit.wishes.reload = true,
        // A restart is a start as well.
        Command::Start if unit.wishes.command == Some(Command::Restart) => {}
        command => unit.wishes.command = Some(command),
    }
    task::post(unit.task);
    Ok(())
}

/// How a unit stands.
pub(crate) fn standing(id: UnitId) -> Result<Standing, Error> {
    let units = units()?;
    let index = units.expect(id)?;
    units.standing(index).ok_or(Errno::ESRCH.into())
}

/// The next unit of a context at or after `cursor`.
pub(crate) fn next(ctx: ContextId, cursor: &mut u32) -> Option<UnitId> {
    let units = units().ok()?;
    units.next_of(ctx, cursor).map(|index| units.id(index))
}

/// What a unit was made of, for its name and who is told.
pub(crate) fn with<T>(id: UnitId, f: impl FnOnce(&Settings) -> T) -> Result<T, Error> {
    let units = units()?;
    let index = units.expect(id)?;
    units
        .unit(index)
        .map(|unit| f(&unit.settings))
        .ok_or(Errno::ESRCH.into())
}

/// Takes a unit out: no callback of it runs once this returns. Its processes live
/// on, and are reaped when they end.
pub(crate) fn remove(id: UnitId) {
    let Ok(mut units) = units() else {
        return;
    };
    let Some(unit) = units.find(id).and_then(|index| units.take(index)) else {
        return;
    };
    units.wake(unit.ctx);
    drop(units);
    // Not with the lock, which a step in another thread may want.
    task::remove(unit.task);
    unit.former.into_iter().chain(unit.run).for_each(run::free);
}

/// Reads what a unit's program has said before one of its processes ended, unless its main
/// process had ended before that. The lock is free between the parts.
fn hear_before_end(id: UnitId, seen: Seen) {
    let mut heard = 0;
    while heard < MOST_QUEUED {
        let Ok(mut units) = units() else {
            return;
        };
        let now = clock::now();
        let Some(index) = units.find(id) else {
            return;
        };
        let counts = units
            .unit(index)
            .is_some_and(|unit| unit.is_current(seen.service) && unit.inbox.ended.is_none());
        match if counts {
            units.hear(index, seen.pid, now)
        } else {
            0
        } {
            0 => return,
            count => heard += count,
        }
    }
}

/// The service of a unit's run tells something; no lock is held.
pub(crate) fn told(id: UnitId, seen: Seen) {
    if seen.kind == run::EXITED {
        // Messages that are not read yet may say which process is the main one. What is
        // sent after the end of the main process counts after it.
        hear_before_end(id, seen);
    }
    let Ok(mut units) = units() else {
        return;
    };
    let Some(index) = units.find(id) else {
        return;
    };
    let Some(unit) = units.unit_mut(index) else {
        return;
    };
    let current = unit.is_current(seen.service);
    match seen.kind {
        run::ADOPTED if current => {
            let task = unit.task;
            // State changes come first: half of the room is kept for them.
            if unit.due.len() < MOST_EVENTS / 2 {
                let (pid, parent) = (seen.pid, seen.parent);
                units.tell(index, What::Adopted { pid, parent }, clock::now());
            }
            task::post(task);
            return;
        }
        run::EXITED if current => {
            if seen.pid == unit.main || !unit.settings.failed(unit.last) {
                unit.last = seen.status;
            }
            if unit.inbox.main == Some(seen.pid) {
                // It ended before it could become the main process.
                unit.inbox.main = Some(0);
            }
            if seen.pid == unit.main {
                let alone = !unit.services().any(run::lives);
                unit.inbox.ended = Some((seen.status, alone));
            } else if !unit.touched && unit.due.is_empty() && !unit.settings.spares_logins {
                // Otherwise the task looks whether only logins are left.
                return;
            }
            task::post(unit.task);
            return;
        }
        // Where the program has named another main process, the end of the first changes
        // nothing.
        run::MAIN_CHANGED if current && (unit.main == 0 || unit.inbox.ended.is_some()) => {
            unit.inbox.main = Some(seen.pid);
        }
        run::DEAD if current => unit.inbox.dead = true,
        run::DEAD => {
            let is_it = |run: &Run| run.service.tagged() == seen.service;
            let Some(gone) = unit.former.iter().position(is_it) else {
                return;
            };
            run::end(unit.former.swap_remove(gone));
        }
        _ => return,
    }
    task::post(unit.task);
}

impl Units {
    fn new(depth: u32) -> Self {
        Units {
            depth,
            slots: Vec::new(),
            groups: Vec::new(),
            touched: Vec::new(),
            kills: false,
        }
    }

    fn id(&self, index: u32) -> UnitId {
        let generation = self.slots[index as usize].generation;
        UnitId(WatchId::new(index, generation, self.depth))
    }

    fn find(&self, id: UnitId) -> Option<u32> {
        let index = id.0.index();
        ((index as usize) < self.slots.len() && self.id(index) == id)
            .then_some(index)
            .filter(|&index| self.unit(index).is_some())
    }

    /// The same for a call of the daemon's: ESRCH also where the context was freed. The unit
    /// itself is forgotten later.
    fn expect(&self, id: UnitId) -> Result<u32, Error> {
        let index = self.find(id).filter(|&index| !self.is_ended(index));
        index.ok_or(Errno::ESRCH.into())
    }

    /// Whether the context of a unit was freed: the task is gone with it.
    fn is_ended(&self, index: u32) -> bool {
        let unit = self.unit(index);
        unit.is_some_and(|unit| !task::is_there(unit.task))
    }

    fn unit(&self, index: u32) -> Option<&Unit> {
        self.slots.get(index as usize)?.unit.as_ref()
    }

    fn unit_mut(&mut self, index: u32) -> Option<&mut Unit> {
        self.slots.get_mut(index as usize)?.unit.as_mut()
    }

    fn group(&mut self, ctx: ContextId) -> Option<&mut Group> {
        self.groups.iter_mut().find(|group| group.ctx == ctx)
    }

    fn named(&mut self, ctx: ContextId, name: &std::ffi::CStr) -> Option<&mut Unit> {
        let mut units = self.slots.iter_mut().filter_map(|slot| slot.unit.as_mut());
        units
            .find(|unit| unit.ctx == ctx && !unit.replaced && unit.settings.name.as_c_str() == name)
    }

    /// On failure the task in `unwanted` is to be removed.
    fn add(
        &mut self,
        ctx: ContextId,
        settings: Settings,
        machine: Machine,
        after: &[&std::ffi::CStr],
        notify: &mut Option<NotifySocket>,
        unwanted: &mut Option<TaskId>,
    ) -> Result<UnitId, Error> {
        let replaced = self
            .named(ctx, settings.name.as_c_str())
            .map(|unit| unit.number);
        if replaced.is_some() && !settings.replaces {
            return Err(Errno::EEXIST.into());
        }
        let mut before = Vec::new();
        before
            .try_reserve_exact(after.len())
            .map_err(out_of_memory)?;
        for name in after {
            before.push(self.named(ctx, name).ok_or(Errno::ENOENT)?.number);
        }
        let (mut due, mut former) = (Vec::new(), Vec::new());
        due.try_reserve_exact(MOST_EVENTS).map_err(out_of_memory)?;
        former.try_reserve(1).map_err(out_of_memory)?;
        self.slots.try_reserve(1).map_err(out_of_memory)?;
        let all = self.slots.len() + 1;
        let short = all.saturating_sub(self.touched.len());
        self.touched.try_reserve(short).map_err(out_of_memory)?;
        self.make_group(ctx)?;
        let free = self.slots.iter().position(|slot| slot.unit.is_none());
        let index = free.unwrap_or(self.slots.len());
        let index = u32::try_from(index).map_err(out_of_memory)?;
        if free.is_none() {
            self.slots.push(Slot::default());
        }
        self.slots[index as usize].generation += 1;
        let id = self.id(index);
        let task = Arc::try_new(UnitTask(id)).and_then(|task| task::add(ctx, &task))?;
        let watched = notify.as_ref().map_or(Ok(()), |socket| {
            task::watch_fd(task, socket.as_fd().as_raw_fd(), Interest::READ)
        });
        *unwanted = Some(task);
        let number = watched.and_then(|()| self.enlist(ctx, index, &before, replaced))?;
        *unwanted = None;
        if let Some(former) = self.named(ctx, settings.name.as_c_str()) {
            former.replaced = true;
        }
        self.slots[index as usize].unit = Some(Unit {
            settings,
            machine,
            state: State::Stopped,
            ctx,
            task,
            number,
            run: None,
            former,
            inbox: Inbox::EMPTY,
            main: 0,
            main_end: None,
            spokesman: 0,
            last: 0,
            status: 0,
            error: 0,
            restarts: 0,
            since: clock::now(),
            text: Text::EMPTY,
            wishes: Wishes::default(),
            due,
            notify: notify.take(),
            ready: None,
            armed: None,
            lives: false,
            touched: false,
            put_off: 0,
            to_kill: 0,
            replaced: false,
        });
        if replaced.is_some() {
            self.wake(ctx);
        }
        Ok(id)
    }

    fn enlist(
        &mut self,
        ctx: ContextId,
        index: u32,
        before: &[u32],
        former: Option<u32>,
    ) -> Result<u32, Error> {
        let group = self.group(ctx).ok_or(Errno::EINVAL)?;
        group.slots.try_reserve(1).map_err(out_of_memory)?;
        let most = (group.units as usize + 1) * MOST_EVENTS;
        let short = most.saturating_sub(group.turns.len());
        group.turns.try_reserve(short).map_err(out_of_memory)?;
        let number = group.order.add(before, former)?;
        while group.slots.len() <= number as usize {
            group.slots.push(index);
        }
        group.slots[number as usize] = index;
        group.units += 1;
        Ok(number)
    }

    /// Takes a unit out of everything but its task.
    fn take(&mut self, index: u32) -> Option<Unit> {
        let unit = self.slots[index as usize].unit.take()?;
        take_out(&mut self.touched, index);
        if let Some(group) = self.group(unit.ctx) {
            group.order.remove(unit.number);
            group.turns.retain(|&other| other != index);
            group.units -= 1;
        }
        self.drop_groups();
        Some(unit)
    }

    fn drop_groups(&mut self) {
        self.groups.retain(|group| {
            let shutdown = group.shutdown.as_ref();
            // If its task is gone, so is the context.
            let goes_on = |of: &Shutdown| of.task.is_none_or(task::is_there);
            group.units > 0 || shutdown.is_some_and(goes_on)
        });
    }

    /// Forgets units whose context was freed.
    fn drop_ended(&mut self) {
        for index in 0..u32::try_from(self.slots.len()).unwrap_or(0) {
            if self.is_ended(index) {
                drop(self.take(index));
            }
        }
        self.drop_groups();
    }

    /// Whether a shutdown is in progress. If so, it is to be over by this time.
    fn hasten_shutdown(&mut self, ctx: ContextId, at: u64) -> bool {
        let Some(shutdown) = self.group(ctx).and_then(|group| group.shutdown.as_mut()) else {
            return false;
        };
        if at < shutdown.at && !shutdown.killed {
            shutdown.at = at;
            if let Some(task) = shutdown.task {
                task::set_deadline(task, Some(at));
            }
        }
        true
    }

    fn begin_shutdown(
        &mut self,
        ctx: ContextId,
        task: Option<TaskId>,
        at: u64,
        told: Option<Told>,
    ) -> Result<(), Error> {
        self.make_group(ctx)?;
        let group = self.group(ctx).ok_or(Errno::ENOMEM)?;
        if group.shutdown.is_some() {
            return Err(Errno::EALREADY.into());
        }
        group.shutdown = Some(Shutdown {
            task,
            at,
            killed: false,
            given_up: false,
            told,
        });
        let mut cursor = 0;
        while let Some(index) = self.next_of(ctx, &mut cursor) {
            let Some(unit) = self.unit_mut(index) else {
                continue;
            };
            unit.wishes.command = None;
            // The stop may have to wait for others: until then the unit is not started
            // again.
            let _ = unit.machine.command(Command::StayDown, 0);
            self.touch(index);
            let Some(unit) = self.unit(index) else {
                continue;
            };
            let (number, down) = (unit.number, unit.is_down());
            let Some(group) = self.group(ctx) else {
                continue;
            };
            if down {
                group.order.cancel_start(number);
            } else {
                group.order.stop(number);
            }
        }
        Ok(())
    }

    /// The next unit of a context at or after `cursor`.
    fn next_of(&self, ctx: ContextId, cursor: &mut u32) -> Option<u32> {
        while (*cursor as usize) < self.slots.len() {
            let index = *cursor;
            *cursor += 1;
            if self.unit(index).is_some_and(|unit| unit.ctx == ctx) {
                return Some(index);
            }
        }
        None
    }

    fn is_shutting_down(&self, index: u32) -> bool {
        let Some(unit) = self.unit(index) else {
            return false;
        };
        let mut groups = self.groups.iter();
        groups.any(|group| group.ctx == unit.ctx && group.shutdown.is_some())
    }

    /// The shutdown's time is over: kills what lives, and a while later gives up.
    fn shut_down_late(&mut self, ctx: ContextId, now: u64) {
        let Some(shutdown) = self.group(ctx).and_then(|group| group.shutdown.as_mut()) else {
            return;
        };
        if std::mem::replace(&mut shutdown.killed, true) {
            shutdown.given_up = true;
            return;
        }
        let mut cursor = 0;
        while let Some(index) = self.next_of(ctx, &mut cursor) {
            self.do_command(index, Command::Kill, now);
        }
        self.settle(ctx, None, now);
    }

    /// SIGKILL was sent to all. That takes long where a process does not die, and the ends
    /// of the others are told only now: the last wait begins here.
    fn await_last(&mut self, ctx: ContextId) {
        let at = clock::now() + LAST_WAIT;
        if let Some(shutdown) = self.group(ctx).and_then(|group| group.shutdown.as_mut()) {
            shutdown.at = at;
            if let Some(task) = shutdown.task {
                task::set_deadline(task, Some(at));
            }
        }
    }

    fn shutdown_is_late(&mut self, ctx: ContextId, now: u64) -> bool {
        let shutdown = self.group(ctx).and_then(|group| group.shutdown.as_ref());
        shutdown.is_some_and(|shutdown| shutdown.at <= now)
    }

    /// The end of a shutdown, if it is over.
    fn end_shutdown(&mut self, ctx: ContextId) -> Option<Over> {
        let mut left = Left {
            units: 0,
            processes: 0,
        };
        let mut cursor = 0;
        while let Some(index) = self.next_of(ctx, &mut cursor) {
            let unit = self.unit(index)?;
            if !unit.is_down() {
                left.units += 1;
                left.processes += unit.processes();
            }
        }
        let group = self.group(ctx)?;
        let shutdown = group.shutdown.as_ref()?;
        if left.units > 0 && !shutdown.given_up {
            return None;
        }
        let shutdown = group.shutdown.take()?;
        self.drop_groups();
        Some(Over {
            task: shutdown.task,
            told: shutdown.told,
            left,
        })
    }

    /// Looks by itself which processes of a unit live: the loop may not have told of the
    /// ends.
    fn look(&mut self, index: u32, now: u64) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        if unit.is_down() {
            return;
        }
        // The loop may have told of the main process's end already.
        let told = unit.inbox.ended.is_some();
        if !told && unit.main != 0 && !run::runs(unit.main) {
            // All that was said before the end counts before it.
            let (main, mut heard) = (unit.main, 0);
            while heard < MOST_QUEUED {
                match self.hear(index, main, clock::now()) {
                    0 => break,
                    count => heard += count,
                }
            }
        }
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        let alone = unit
            .services()
            .map(|one| run::remaining(one, false))
            .sum::<usize>()
            == 0;
        if !told && unit.main != 0 && !run::runs(unit.main) {
            unit.inbox.ended = Some((run::dead_status(unit.main), alone));
        }
        if alone {
            unit.former.drain(..).for_each(run::end);
            unit.inbox.dead = unit.lives;
            // Some of the ends were not told, and at most the main process's is known.
            unit.last = unit.inbox.ended.map_or(LOST, |(status, _)| status);
        }
        self.take_inbox(index, now);
    }

    fn make_group(&mut self, ctx: ContextId) -> Result<(), Error> {
        if self.group(ctx).is_none() {
            self.groups.try_reserve(1).map_err(out_of_memory)?;
            self.groups.push(Group {
                ctx,
                order: Order::default(),
                slots: Vec::new(),
                turns: VecDeque::new(),
                units: 0,
                shutdown: None,
            });
        }
        Ok(())
    }

    fn standing(&self, index: u32) -> Option<Standing> {
        let unit = self.unit(index)?;
        let group = self.groups.iter().find(|group| group.ctx == unit.ctx);
        let mut report = unit.report(What::State, unit.machine.state(), unit.since);
        // This also counts processes further down, of which no event tells.
        report.processes = unit.services().map(run::processes).sum();
        Some(Standing {
            report,
            restarts: unit.restarts,
            next: unit.machine.deadline().unwrap_or(0),
            waits: group.is_some_and(|group| group.order.waits(unit.number)),
            text: unit.text,
        })
    }

    fn step(&mut self, index: u32, why: Why, now: u64) -> Option<Call> {
        match why {
            Why::Posted => {
                self.take_inbox(index, now);
                self.take_wishes(index, now);
            }
            Why::Deadline => self.time(index, now),
            Why::Readable(fd) => self.read(index, fd, now),
            Why::Answered(answer) => {
                let choice = Choice::of(answer);
                self.event(index, Event::Decided(choice), now);
            }
            Why::Child(_) | Why::Returned => {}
        }
        let ctx = self.unit(index)?.ctx;
        self.settle(ctx, Some(index), now);
        self.next_call(index)
    }

    /// Has the loop carry out what a removal has queued. A removal may come from any
    /// thread, but only the loop's thread starts programs.
    fn wake(&self, ctx: ContextId) {
        let Some(group) = self.groups.iter().find(|group| group.ctx == ctx) else {
            return;
        };
        let go = group
            .order
            .next()
            .map(|number| group.slots[number as usize]);
        let turn = group.turns.front().copied();
        for index in go.into_iter().chain(turn) {
            if let Some(unit) = self.unit(index) {
                task::post(unit.task);
            }
        }
        let shutdown = group.shutdown.as_ref();
        let task = shutdown.and_then(|shutdown| shutdown.task);
        task.into_iter().for_each(task::post);
    }

    /// Carries out what the order of a context has queued, and has each unit stepped that
    /// has something to do or to tell. For the thread of the context's loop only.
    fn settle(&mut self, ctx: ContextId, stepped: Option<u32>, now: u64) {
        while let Some((index, go)) = self.next_go(ctx) {
            let (number, command) = match go {
                Go::Command(number, command) => (number, command),
                Go::GiveUp(number) => (number, Command::GiveUp),
            };
            self.do_command(index, command, now);
            if command == Command::Stop {
                if let Some(group) = self.group(ctx) {
                    group.order.stop_begun(number);
                }
            }
        }
        while let Some(index) = self.touched.pop() {
            let Some(unit) = self.unit_mut(index) else {
                continue;
            };
            unit.touched = false;
            let deadline = unit.machine.deadline();
            if unit.armed != deadline {
                if deadline.is_none_or(|due| due > now) {
                    unit.put_off = 0;
                }
                unit.armed = deadline;
                task::set_deadline(unit.task, deadline);
            }
            if !unit.due.is_empty() && stepped != Some(index) {
                task::post(unit.task);
            }
            let (ctx, down) = (unit.ctx, unit.is_down());
            if down {
                let shutdown = self.group(ctx).and_then(|group| group.shutdown.as_ref());
                if let Some(task) = shutdown.and_then(|shutdown| shutdown.task) {
                    task::post(task);
                }
            }
        }
    }

    fn next_go(&mut self, ctx: ContextId) -> Option<(u32, Go)> {
        let group = self.group(ctx)?;
        let number = group.order.next()?;
        Some((group.slots[number as usize], group.order.take()?))
    }

    fn touch(&mut self, index: u32) {
        if let Some(unit) = self.unit_mut(index) {
            if !std::mem::replace(&mut unit.touched, true) {
                self.touched.push(index);
            }
        }
    }

    fn take_wishes(&mut self, index: u32, now: u64) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        let wishes = std::mem::take(&mut unit.wishes);
        let (ctx, number) = (unit.ctx, unit.number);
        match wishes.command {
            Some(Command::Restart) if self.is_up(index) => {
                if let Some(group) = self.group(ctx) {
                    if group.order.restart_later(number) {
                        group.order.start(number);
                    } else {
                        group.order.restart(number);
                        self.do_command(index, Command::Restart, now);
                    }
                }
            }
            Some(Command::Start | Command::Restart) => {
                if let Some(group) = self.group(ctx) {
                    group.order.start(number);
                }
            }
            Some(Command::Stop) => {
                if let Some(group) = self.group(ctx) {
                    group.order.stop(number);
                }
            }
            Some(command) => self.do_command(index, command, now),
            None => {}
        }
        if wishes.reload {
            self.do_command(index, Command::Reload, now);
        }
    }

    fn is_up(&self, index: u32) -> bool {
        self.unit(index).is_some_and(|unit| {
            matches!(
                unit.machine.state(),
                State::Starting | State::Running | State::Reloading | State::Stopping
            )
        })
    }

    fn do_command(&mut self, index: u32, command: Command, now: u64) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        // A reload of a unit that no longer runs is dropped.
        if let Ok(actions) = unit.machine.command(command, now) {
            self.perform(index, actions, now);
        }
        self.touch(index);
    }

    fn event(&mut self, index: u32, event: Event, now: u64) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        let actions = unit.machine.event(event, now);
        self.perform(index, actions, now);
        self.touch(index);
    }

    fn perform(&mut self, index: u32, actions: Actions, now: u64) {
        for action in actions.iter() {
            match action {
                Action::Spawn => {
                    let event = match self.start(index) {
                        Ok(()) => Event::Spawned,
                        Err(error) => {
                            if let Some(unit) = self.unit_mut(index) {
                                unit.error = error.errno as i32;
                            }
                            Event::SpawnFailed
                        }
                    };
                    self.event(index, event, now);
                }
                Action::Step(step) => self.take_step(index, step),
                Action::Kill => self.kill(index),
                Action::Reload => {
                    if let Some(unit) = self.unit_mut(index) {
                        run::kill_main(unit.service(), unit.main, unit.settings.reload_signal);
                    }
                }
                Action::Unkillable => self.tell(index, What::Unkillable, now),
                Action::Tell(state) => self.entered(index, state, now),
                Action::Decide => {
                    if let Some(unit) = self.unit(index) {
                        let report = unit.report(What::State, State::Backoff, now);
                        self.push(index, Due::Ask(report));
                    }
                }
            }
        }
    }

    /// Starts a run.
    fn start(&mut self, index: u32) -> Result<(), Error> {
        let id = self.id(index);
        let unit = self.unit_mut(index).ok_or(Errno::ESRCH)?;
        unit.former.try_reserve(1).map_err(out_of_memory)?;
        unit.unwatch_ready();
        let started = run::start(
            unit.ctx,
            id,
            &unit.settings,
            unit.notify.as_ref(),
            unit.machine.watchdog(),
        )?;
        // The last run is kept as a former one until all of its processes are dead.
        if let Some(last) = unit.run.replace(started.run) {
            unit.former.push(last);
        }
        unit.inbox = Inbox::EMPTY;
        unit.lives = true;
        unit.main = started.pid;
        unit.spokesman = started.pid;
        unit.last = 0;
        unit.error = 0;
        if let Some(ready) = started.ready {
            // If this fails the unit is not ready in time, which is told.
            let _ = task::watch_fd(unit.task, ready.as_raw_fd(), Interest::READ);
            unit.ready = Some(ready);
        }
        Ok(())
    }

    /// Has SIGKILL sent once the lock is free.
    fn kill(&mut self, index: u32) {
        if let Some(unit) = self.unit_mut(index) {
            unit.to_kill = unit.services().count();
            self.kills = true;
        }
    }

    fn take_step(&mut self, index: u32, step: usize) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        match unit.settings.steps.get(step) {
            Some(&Step::Signal(signal, scope)) => {
                let Some(scope) = unit.reach(scope) else {
                    return;
                };
                if (signal, scope) == (libc::SIGKILL, Scope::Tree) {
                    self.kill(index);
                    return;
                }
                for signal in [signal, libc::SIGCONT] {
                    unit.send(signal, scope);
                }
            }
            Some(Step::Command(command)) => {
                // If the command cannot be started, the step does nothing.
                let _ = run::command(unit.ctx, command, unit.main);
            }
            None => {}
        }
    }

    /// The machine is in another state.
    fn entered(&mut self, index: u32, state: State, now: u64) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        let former = std::mem::replace(&mut unit.state, state);
        if state == State::Starting && !unit.machine.was_commanded() {
            unit.restarts += 1;
        }
        unit.since = now;
        if !matches!(state, State::Starting) {
            unit.unwatch_ready();
        }
        if state == State::Stopping && unit.main == 0 {
            // Perhaps only logins are left. The stop does not wait for their ends, so the
            // task looks now.
            task::post(unit.task);
        }
        let mut report = unit.report(What::State, former, now);
        report.delay = match state {
            State::Backoff => unit
                .machine
                .deadline()
                .map_or(0, |deadline| deadline.saturating_sub(now)),
            _ => 0,
        };
        let essential = (state == State::Failed && unit.settings.essential)
            .then(|| unit.report(What::Essential, former, now));
        let done = unit.machine.is_oneshot() && state == State::Running;
        let (ctx, number) = (unit.ctx, unit.number);
        self.push(index, Due::Tell(report));
        if let Some(essential) = essential {
            self.push(index, Due::Tell(essential));
        }
        if let Some(group) = self.group(ctx) {
            group.order.entered(number, state, done);
        }
    }

    fn tell(&mut self, index: u32, what: What, now: u64) {
        if let Some(unit) = self.unit(index) {
            let report = unit.report(what, unit.state, now);
            self.push(index, Due::Tell(report));
        }
    }

    /// Has an event told, after all that came before.
    fn push(&mut self, index: u32, due: Due) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        if unit.merge(&due) {
            return;
        }
        let (ctx, full) = (unit.ctx, unit.due.len() >= MOST_EVENTS);
        let mut room = !full || unit.due.try_reserve(1).is_ok();
        if let Some(group) = self.group(ctx) {
            // The room that `enlist` made is kept for the other units.
            let theirs = group.units as usize * MOST_EVENTS;
            room = room && (!full || group.turns.try_reserve(theirs).is_ok());
            if room {
                group.turns.push_back(index);
            }
        }
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        if !room {
            // The oldest that a later one makes superfluous is left out.
            let oldest = unit.due.iter().position(Due::is_passing).unwrap_or(0);
            unit.due.remove(oldest);
        }
        unit.due.push(due);
    }

    /// The next callback of a unit, if it is this unit's turn. Otherwise posts the task
    /// of the unit whose turn it is.
    fn next_call(&mut self, index: u32) -> Option<Call> {
        let ctx = self.unit(index)?.ctx;
        loop {
            let next = *self.group(ctx)?.turns.front()?;
            let unit = self.unit_mut(next)?;
            if next != index {
                task::post(unit.task);
                return None;
            }
            let call = unit.next_call();
            self.group(ctx)?.turns.pop_front();
            if call.is_some() {
                return call;
            }
        }
    }

    /// A deadline came: first reads what could cancel it.
    fn time(&mut self, index: u32, now: u64) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        unit.armed = None;
        self.read_ready(index, now);
        self.take_inbox(index, now);
        let heard = self.hear(index, 0, now);
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        // There may be more to read, or an end that is about to be told.
        let is_due = unit.machine.deadline().is_some_and(|due| due <= now);
        let more = is_due && heard > 0 && unit.put_off < MOST_QUEUED;
        unit.put_off = if more { unit.put_off + heard } else { 0 };
        if more || (unit.main != 0 && run::is_dead(unit.main)) {
            let again = if more { now } else { now + RETRY };
            unit.armed = Some(again);
            task::set_deadline(unit.task, Some(again));
            return;
        }
        if unit.state == State::Stopping && unit.main == 0 {
            self.look(index, now);
        }
        self.event(index, Event::Time, now);
    }

    /// Carries out what the runs have told.
    fn take_inbox(&mut self, index: u32, now: u64) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        let inbox = std::mem::replace(&mut unit.inbox, Inbox::EMPTY);
        if inbox.dead {
            // Before the end of its main process counts, which may start the next run.
            unit.lives = false;
            unit.run.take().into_iter().for_each(run::end);
        }
        if let Some((status, alone)) = inbox.ended {
            self.main_ended(index, status, alone, inbox.main, now);
        } else if let Some(main) = inbox.main {
            self.set_main(index, main, now);
        }
        if inbox.kill_failed {
            self.event(index, Event::KillFailed, now);
        }
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        let alone = unit.former.is_empty();
        if !unit.lives && (alone || unit.machine.has_main()) {
            // It does no harm if it was told before.
            self.all_dead(index, alone, now);
        } else {
            self.leave_logins(index, now);
        }
    }

    /// The last process of a run that counts is dead; with `alone` none of a former run lives.
    fn all_dead(&mut self, index: u32, alone: bool, now: u64) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        if unit.machine.has_main() {
            // If it is not known which process it was, it may be any that was told of. Nobody
            // told how one ended that was no child of ours.
            unit.status = if unit.main == 0 { unit.last } else { LOST };
            unit.main = 0;
            let failed = unit.settings.failed(unit.status);
            self.event(index, Event::MainEnded { failed, alone }, now);
        } else {
            self.event(index, Event::AllDead, now);
        }
    }

    /// A stop that spares logins is over when they alone are left. They are counted
    /// until they are dead.
    fn leave_logins(&mut self, index: u32, now: u64) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        if !unit.settings.spares_logins || unit.state != State::Stopping || unit.main != 0 {
            return;
        }
        let mut services = unit.services();
        if services.any(|service| run::remaining(service, true) > 0) {
            return;
        }
        drop(services);
        if unit.former.try_reserve(1).is_err() {
            return;
        }
        unit.former.extend(unit.run.take());
        unit.lives = false;
        self.all_dead(index, true, now);
    }

    fn main_ended(
        &mut self,
        index: u32,
        status: i32,
        alone: bool,
        successor: Option<i32>,
        now: u64,
    ) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        let failed = unit.settings.failed(status);
        let goes_on = match unit.state {
            State::Stopping => false,
            // Its child may be dead already, and its end is still to be told.
            State::Starting => true,
            _ => !alone,
        };
        if unit.settings.mode == Mode::Forking && status == 0 && goes_on {
            // A main process that forked and ended goes on in its child, perhaps after
            // more forks. Until the service has found that one, the main process is
            // unknown.
            unit.main = 0;
            if let Some(successor) = successor {
                self.set_main(index, successor, now);
            }
            if !alone {
                self.event(index, Event::Ready, now);
            }
            return;
        }
        // If the main process had ended before, its status stays.
        if unit.machine.has_main() {
            unit.status = status;
        }
        unit.main = 0;
        // Otherwise the run's DEAD tells that.
        if alone {
            unit.lives = false;
        }
        self.event(index, Event::MainEnded { failed, alone }, now);
    }

    fn set_main(&mut self, index: u32, main: i32, now: u64) {
        if let Some(unit) = self.unit_mut(index) {
            if unit.main != main {
                unit.main = main;
                if main != 0 {
                    unit.spokesman = main;
                }
                unit.watch_main();
                self.tell(index, What::Main, now);
            }
        }
    }

    /// Reads what the unit's program says.
    fn read(&mut self, index: u32, fd: RawFd, now: u64) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        let is = |watched: &Option<OwnedFd>| watched.as_ref().map(AsRawFd::as_raw_fd) == Some(fd);
        if is(&unit.ready) {
            self.read_ready(index, now);
            return;
        }
        if is(&unit.main_end) {
            unwatch(unit.task, &mut unit.main_end);
            self.look(index, now);
            return;
        }
        // When an end was told, all messages before it were read. So what is read now is
        // newer than an end in the inbox.
        self.take_inbox(index, now);
        self.hear(index, 0, now);
    }

    fn read_ready(&mut self, index: u32, now: u64) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        match unit.ready.as_ref().map(run::read_line) {
            Some(run::Line::Nothing) | None => {}
            Some(run::Line::End) => unit.unwatch_ready(),
            Some(run::Line::Whole) => {
                unit.unwatch_ready();
                self.event(index, Event::Ready, now);
            }
        }
    }

    /// Reads messages of the unit's program, for a moment from `now` on; how many. `ending`
    /// is one of its processes, whose end is being told, or 0.
    fn hear(&mut self, index: u32, ending: i32, now: u64) -> u32 {
        for count in 0..MOST_MESSAGES {
            if count > 0 && clock::now() > now + LONGEST_HEARING {
                return count;
            }
            let message = self
                .unit(index)
                .and_then(|unit| unit.notify.as_ref()?.receive());
            let (Some(message), Some(unit)) = (message, self.unit(index)) else {
                return count;
            };
            // Descriptors that came with it are closed when it is dropped: that
            // ends a BARRIER, once all before it is handled.
            if unit.believes(message.pid, message.uid) {
                let since = notify::parse(message.text()).find_map(|said| match said {
                    Said::Since(time) => Some(time),
                    _ => None,
                });
                for said in notify::parse(message.text()) {
                    self.heard(index, said, since, ending, now);
                }
            }
        }
        MOST_MESSAGES
    }

    /// Handles one line of a message; `since` is from another line of it.
    fn heard(&mut self, index: u32, said: Said, since: Option<u64>, ending: i32, now: u64) {
        let Some(unit) = self.unit_mut(index) else {
            return;
        };
        let event = match said {
            Said::Ready => Event::Ready,
            Said::Reloading => Event::ReloadBegun(since),
            Said::Stopping => Event::StopBegun,
            Said::Ping => Event::Ping,
            Said::Broken => Event::Broken,
            Said::Extend(time) => Event::Extend(time),
            Said::Watchdog(time) => Event::Watchdog(time),
            Said::Status(text) => {
                if unit.text.set(text) {
                    self.tell(index, What::Status, now);
                }
                return;
            }
            Said::MainPid(pid) => {
                let service = unit.service();
                if pid == ending || service.is_some_and(|service| run::is_member(service, pid)) {
                    self.set_main(index, pid, now);
                }
                return;
            }
            Said::Since(_) => return,
        };
        self.event(index, event, now);
    }
}

/// How many messages are read at once, and for how long, in nanoseconds: others wait for the
/// lock, and for their turn.
const MOST_MESSAGES: u32 = 64;
const LONGEST_HEARING: u64 = 1_000_000;
/// How many are read before a deadline fires or an end counts: more than a queue holds, which
/// net.unix.max_dgram_qlen bounds, mostly to 10 or 512. So a program that never stops sending
/// cannot put a deadline off for ever.
const MOST_QUEUED: u32 = 1024;
/// How soon a deadline comes again that a dead main process puts off.
const RETRY: u64 = 1_000_000;

impl Unit {
    /// Whether a stop has nothing left to do. Logins that it spared may be left: the
    /// machine does not count them.
    fn is_down(&self) -> bool {
        let over = matches!(self.state, State::Stopped | State::Failed);
        over && !self.lives && !self.machine.has_processes()
    }

    /// Whether a service is the present run.
    fn is_current(&self, service: u64) -> bool {
        self.run.map(|run| run.service.tagged()) == Some(service)
    }

    fn service(&self) -> Option<ServiceId> {
        self.run.map(|run| run.service)
    }

    /// All runs of which processes may live.
    fn services(&self) -> impl Iterator<Item = ServiceId> {
        let runs = self.former.iter().copied().chain(self.run);
        runs.map(|run| run.service)
    }

    fn processes(&self) -> u32 {
        self.services().map(run::living).sum()
    }

    #[inline(never)]
    fn unwatch_ready(&mut self) {
        unwatch(self.task, &mut self.ready);
    }

    /// Watches for the end of a main process that is no child of ours.
    fn watch_main(&mut self) {
        unwatch(self.task, &mut self.main_end);
        if self.main != 0 && !wait::is_child_pid(self.main) {
            self.main_end = pidfd::open(self.main).ok();
            if let Some(end) = &self.main_end {
                let _ = task::watch_fd(self.task, end.as_raw_fd(), Interest::READ);
            }
        }
    }

    /// Whom a step reaches now: if the main process is not known, or has ended, all. None if
    /// the main process is dead, its end is not told yet, and the other processes are to be
    /// left alone.
    fn reach(&self, scope: Scope) -> Option<Scope> {
        if self.main == 0 {
            return Some(Scope::Tree);
        }
        if scope == Scope::Tree || run::runs(self.main) {
            return Some(scope);
        }
        (!self.machine.spares_others()).then_some(Scope::Tree)
    }

    fn send(&self, signal: i32, scope: Scope) {
        match scope {
            Scope::Main => run::kill_main(self.service(), self.main, signal),
            Scope::Group => run::kill_group(self.service(), self.main, signal),
            // The outcome of a step is looked at when its time is over.
            Scope::Tree => self.services().for_each(|service| {
                let _ = run::kill_tree(service, signal, self.settings.spares_logins);
            }),
        }
    }

    /// Whether the sender of a message may speak for the unit.
    fn believes(&self, pid: i32, uid: u32) -> bool {
        if pid <= 0 || !run::is_trusted(uid, &self.settings) {
            return false;
        }
        // systemd-notify, run by root, sends with the pid of its parent. That is the main
        // process, or ourselves where systemd-notify is the main process and then
        // executes another program.
        if pid == self.spokesman || pid == std::process::id().to_signed() {
            return true;
        }
        if !self.settings.notify_all {
            // While the main process is not known, each process may be it.
            return self.main == 0 && self.lives && self.is_member(pid);
        }
        // A sender that is dead and reaped can no longer be checked.
        !run::exists(pid) || self.is_member(pid)
    }

    fn is_member(&self, pid: i32) -> bool {
        self.services().any(|service| run::is_member(service, pid))
    }

    fn report(&self, what: What, former: State, time: u64) -> Report {
        Report {
            what,
            state: self.state,
            former,
            cause: self.machine.cause(),
            start: self.machine.number(),
            time,
            delay: 0,
            main: self.main,
            status: self.status,
            processes: self.processes(),
            error: self.error,
            code: exit_code(self.status),
        }
    }

    /// Puts an event in the place of one that waits and that it makes superfluous. A program
    /// can send STATUS, MAINPID and reloads without end: a callback that comes late learns
    /// the last of each.
    fn merge(&mut self, due: &Due) -> bool {
        let Due::Tell(report) = due else {
            return false;
        };
        let last = self.due.len().wrapping_sub(1);
        let former = match report.what {
            What::Status | What::Main => self
                .due
                .iter()
                .position(|due| matches!(due, Due::Tell(other) if other.what == report.what)),
            What::State if due.is_of_reload() && self.due.len() >= MOST_EVENTS / 2 => {
                self.due[last].is_of_reload().then_some(last)
            }
            _ => None,
        };
        former.is_some_and(|former| {
            self.due.remove(former);
            self.due.push(*due);
            true
        })
    }

    /// The callback of its next event, if there is somebody to tell.
    fn next_call(&mut self) -> Option<Call> {
        let sink = self.settings.sink;
        match (self.due.remove(0), sink.call, sink.decide) {
            (Due::Tell(report), Some(call), _) => Some(Call::Event {
                call,
                source: sink.source,
                record: (sink.record)(&report),
                pvt: sink.pvt,
            }),
            (Due::Ask(report), _, Some(call)) => Some(Call::Ask {
                call,
                source: sink.source,
                record: (sink.record)(&report),
                pvt: sink.pvt,
            }),
            _ => None,
        }
    }
}

fn unwatch(task: TaskId, fd: &mut Option<OwnedFd>) {
    if let Some(fd) = fd.take() {
        task::unwatch_fd(task, fd.as_raw_fd());
    }
}

/// What a supervisor exits with for a process that ended so.
fn exit_code(status: i32) -> i32 {
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) != 0 {
        libc::WEXITSTATUS(status)
    } else if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status)
    } else {
        1
    }
}
