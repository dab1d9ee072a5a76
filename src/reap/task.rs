//! Tasks: how an object of the library lives on a context's loop.
//!
//! A service, a log, a unit or a fork server implements [`Task`] and is handed
//! to [`add`]. From then on the context's dispatch steps it, one reason at a
//! time, never in two threads at once and never while a callback that it asked
//! for runs:
//!
//! | called for                        | steps it with                 |
//! |-----------------------------------|-------------------------------|
//! | [`post`], from any thread; merges | Why::Posted                   |
//! | [`set_deadline`]                  | Why::Deadline, once           |
//! | [`watch_fd`]                      | Why::Readable(fd), over again |
//! | [`watch_child`]                   | Why::Child(end), once         |
//! | the Call that step() returned     | Why::Returned or Answered     |
//!
//! `step` runs without the reaper's lock and may call everything here, [`remove`]
//! of itself included. What it must not do is call C: it returns a [`Call`]
//! instead, which is made when no Rust frame is on the stack, since a callback may
//! exit, or free the object. To make several, return the first, and the next when
//! stepped with Why::Returned. A panic in it is caught and logged.
//!
//! ```ignore
//! struct Log { state: Mutex<State> }
//! impl Task for Log {
//!     fn step(&self, why: Why) -> Option<Call> {
//!         match why {
//!             Why::Readable(fd) => self.read(fd), // may do less than all: it comes again
//!             Why::Child(end) if end.status != LOST => self.ended(end.token, end.status),
//!             _ => return None,
//!         }
//!         self.state.lock().next_event().map(|event| Call::Event {
//!             call, source, record: Record::of(event), pvt })
//!     }
//! }
//! let log = Arc::try_new(Log::new()?)?;       // crate::sys::arc::Arc: can fail
//! let id = task::add(ctx, &log)?;             // ENOTSUP: nobody polls the context
//! task::watch_fd(id, fd, Interest::READ)?;
//! ```
//!
//! The object's own lock is taken inside `step`, so it must not be held over a
//! call of [`remove`], which may wait for a step in another thread. Holding it over
//! the other functions is fine: they take the reaper's lock, and no step holds
//! that. When the context ends its tasks are removed: the owner learns it by its
//! Drop or by ESRCH. In a forked child all of this does nothing, or is ECHILD.

use std::os::fd::{OwnedFd, RawFd};

use nix::errno::Errno;

pub(crate) use super::tasks::{ChildEnd, Task, TaskId, Why};
pub(crate) use crate::sys::arc::Arc;
pub(crate) use crate::sys::epoll::Interest;

use super::callback::{Own, Sink};
use super::deadlines::{DEADLINES, NOWHERE};
use super::event::Facts;
use super::id::{ContextId, WatchId};
use super::process::{Reaper, lock, process};
use super::riches::RICH;
use super::table::{Flags, NIL};
use super::tasks::{Entry, Watched};
use crate::sys::error::{Error, out_of_memory};
use crate::sys::pidfd::Pidfd;
use crate::sys::thread;

/// Has a context step a task. ENOTSUP where nobody polls the context's
/// descriptor; EINVAL where the context is over or ends; ENOMEM.
pub(crate) fn add<T: Task + 'static>(ctx: ContextId, task: &Arc<T>) -> Result<TaskId, Error> {
    add_any(ctx, task.clone().coerce(|pointer| pointer))
}

/// Not once for each kind of task, for the library's size.
#[inline(never)]
fn add_any(ctx: ContextId, task: Arc<dyn Task>) -> Result<TaskId, Error> {
    let mut reaper = lock(ctx.depth)?;
    let context = reaper.live(ctx).ok_or(Errno::EINVAL)?;
    if context.ending {
        return Err(Errno::EINVAL.into());
    }
    if !context.polled {
        return Err(Errno::ENOTSUP.into());
    }
    reaper.reserve_deadline(ctx.index)?;
    let (index, generation) = reaper.tasks.insert(task, ctx.index)?;
    reaper.at_mut(ctx.index).tasks += 1;
    Ok(TaskId {
        index,
        generation,
        depth: ctx.depth,
    })
}

/// Whether a task is still there: neither removed nor gone with its context.
pub(crate) fn is_there(id: TaskId) -> bool {
    lock(id.depth).is_ok_and(|reaper| reaper.tasks.find(id).is_some())
}

/// Has a task stepped with Why::Posted, in the next turn of its loop at the
/// latest. From any thread. Never fails; nothing where the task is removed.
pub(crate) fn post(id: TaskId) {
    if let Ok(mut reaper) = lock(id.depth) {
        reaper.post_task(id);
    }
}

/// Sets when a task is stepped with Why::Deadline, in nanoseconds of
/// CLOCK_MONOTONIC; None for never. Takes the place of the former deadline, also
/// of one that has passed and was not told yet.
pub(crate) fn set_deadline(id: TaskId, at: Option<u64>) {
    if let Ok(mut reaper) = lock(id.depth) {
        if let Some(entry) = reaper.tasks.find_mut(id) {
            entry.take_back_deadline();
            reaper.set_deadline(id.index, at);
        }
    }
}

/// Called from inside a step with a child's end, which must then return no callback. The
/// same step is made again at `until`, or earlier if the task is posted, and no other step
/// before that. A kept zombie stays until then.
pub(crate) fn put_off(id: TaskId, end: ChildEnd, until: u64) {
    if let Ok(mut reaper) = lock(id.depth) {
        if let Some(entry) = reaper.tasks.find_mut(id) {
            entry.put_off(Why::Child(end));
            entry.held = true;
            reaper.set_deadline(id.index, Some(until));
        }
    }
}

/// Has a task stepped with Why::Readable(fd) for as long as the descriptor is
/// ready, as with a level-triggered poll; errors and hang-ups count as ready.
/// A descriptor that the task watches already is watched for this from now on.
/// Errors are epoll_ctl(2)'s: EPERM for a plain file, EEXIST where another task
/// of the context watches it; ESRCH where the task is removed.
pub(crate) fn watch_fd(id: TaskId, fd: RawFd, interest: Interest) -> Result<(), Error> {
    let mut locked = lock(id.depth)?;
    let reaper = &mut *locked;
    let entry = reaper.tasks.find_mut(id).ok_or(Errno::ESRCH)?;
    let context = &reaper.contexts[usize::from(entry.context)];
    let descriptor = context.descriptor.as_ref().ok_or(Errno::ENOTSUP)?;
    let stepped = entry.stepped_fd == Some(fd);
    if let Some(watched) = entry.watched(fd) {
        watched.interest = interest;
        // If its event is taken already, stepped() watches it again, with the new
        // interest.
        if !watched.ready && !stepped {
            descriptor.watch(fd, id.index, interest, true)?;
        }
        return Ok(());
    }
    entry.fds.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    descriptor.watch(fd, id.index, interest, false)?;
    entry.fds.push(Watched {
        fd,
        interest,
        ready: false,
    });
    Ok(())
}

/// Stops watching a descriptor. Call this before the descriptor is closed. No step with
/// it begins once this returns.
pub(crate) fn unwatch_fd(id: TaskId, fd: RawFd) {
    if let Ok(mut reaper) = lock(id.depth) {
        let reaper = &mut *reaper;
        if let Some(entry) = reaper.tasks.find_mut(id) {
            if let Some(place) = entry.fds.iter().position(|watched| watched.fd == fd) {
                entry.fds.swap_remove(place);
                let context = &reaper.contexts[usize::from(entry.context)];
                if let Some(descriptor) = &context.descriptor {
                    descriptor.unwatch(fd);
                }
            }
        }
    }
}

/// Has a task stepped with Why::Child, once, when a child ends; also one that ended
/// before. Other watches of the child, this context's included, are not touched. `pidfd`,
/// if there is one, must be this child's, and is taken over. The id can end the watch
/// earlier ([`super::watch::unwatch`]); the step ends it too. With `keep_zombie` the
/// child stays a zombie until the step, and the callback that it asked for, are over:
/// /proc/PID can be read, unless other code waited for the child. ESRCH where the pid is
/// no child of this process or the task is removed; ENOMEM.
pub(crate) fn watch_child(
    id: TaskId,
    pid: i32,
    pidfd: Option<OwnedFd>,
    token: u64,
    keep_zombie: bool,
) -> Result<WatchId, Error> {
    let mut reaper = lock(id.depth)?;
    let me = reaper.tasks.find(id).ok_or(Errno::ESRCH)?.context;
    reaper.reserve_for(pid)?;
    reaper.reserve_for_task(id)?;
    let known = reaper.find_fresh(pid);
    let found = match pidfd {
        Some(fd) => reaper.find_held(pid, Pidfd::from(fd))?,
        None => reaper.find_child(me, pid, known, keep_zombie, false)?,
    };
    let sink = reaper.task_sink(id, token);
    Ok(reaper.insert(me, pid, found, sink, keep_zombie))
}

/// Takes a task off its context, and ends its watches; their children are still
/// reaped. No step begins once this returns, and none runs in another thread, nor
/// a callback that it asked for. Also from inside the task's own step or callback.
pub(crate) fn remove(id: TaskId) {
    let Ok(own) = process(id.depth) else {
        return;
    };
    let mut reaper = own.value.lock();
    // Dropped at the end, when the lock is released.
    let task = reaper.take_task(id);
    while reaper.tasks.bound() > id.index && reaper.task_runs_elsewhere(id) {
        reaper = own.value.wait_for_return(reaper);
    }
    drop(reaper);
    drop(task);
}

/// A context ends: removes its next task at or after `cursor`; false where there
/// is none.
pub(crate) fn remove_next(ctx: ContextId, cursor: &mut u32) -> bool {
    let Ok(mut reaper) = lock(ctx.depth) else {
        return false;
    };
    while reaper.live(ctx).is_some_and(|ctx| ctx.tasks > 0) && *cursor < reaper.tasks.bound() {
        let index = *cursor;
        *cursor += 1;
        let entry = reaper.tasks.entry(index);
        if entry.task.is_some() && entry.context == ctx.index {
            let id = TaskId {
                index,
                generation: entry.generation,
                depth: ctx.depth,
            };
            let task = reaper.take_task(id);
            drop(reaper);
            drop(task);
            return true;
        }
    }
    false
}

impl Reaper {
    /// Makes room for the token of a watch, whichever slot it gets; ESRCH where the
    /// task is removed.
    pub(crate) fn reserve_for_task(&mut self, id: TaskId) -> Result<(), Error> {
        self.tasks.find(id).ok_or(Errno::ESRCH)?;
        let wanted = self.table.bound() as usize + 1;
        let short = wanted.saturating_sub(self.tokens.len());
        self.tokens.try_reserve(short).map_err(|_| Errno::ENOMEM)?;
        // Room for the end of every task's watch, this one included.
        let room = self.task_watches + 1;
        self.task_ends.try_reserve(room).map_err(out_of_memory)
    }

    /// The sink of the watch that is inserted next, in the room that was made for it.
    pub(crate) fn task_sink(&mut self, id: TaskId, token: u64) -> Sink {
        let at = self.table.next_index() as usize;
        if self.tokens.len() <= at {
            self.tokens.resize(at + 1, 0);
        }
        self.tokens[at] = token;
        self.tasks.entry_mut(id.index).watches += 1;
        self.task_watches += 1;
        Sink::Own(Own::Task(id.index))
    }

    /// Removes a task, with its deadline, descriptors and watches. The caller drops it
    /// once the lock is released.
    fn take_task(&mut self, id: TaskId) -> Option<Arc<dyn Task>> {
        let task = self.tasks.find_mut(id)?.task.take();
        self.set_deadline(id.index, None);
        self.tasks.entry_mut(id.index).kept = None;
        let entry = self.tasks.entry(id.index);
        let context = entry.context;
        if let Some(descriptor) = &self.at(context).descriptor {
            for watched in &entry.fds {
                descriptor.unwatch(watched.fd);
            }
        }
        let mut at = 0;
        while self.tasks.entry(id.index).watches > 0 && at < self.table.bound() {
            let slot = self.table.slot(at);
            if slot.is(Flags::USED) && slot.sink.task() == Some(id.index) {
                self.end_watch_seldom(at);
            }
            at += 1;
        }
        while let Some(at) = self.next_end(id.index) {
            self.take_end(id.index);
            if !self.table.slot(at).is(Flags::LEADS) {
                self.table.release(at);
            }
        }
        self.at_mut(context).tasks -= 1;
        self.tasks.release(id.index);
        task
    }

    fn task_runs_elsewhere(&self, id: TaskId) -> bool {
        let entry = self.tasks.entry(id.index);
        entry.generation == id.generation
            && entry
                .runner
                .is_some_and(|runner| runner != thread::current())
    }

    /// See [`post`].
    pub(crate) fn post_task(&mut self, id: TaskId) {
        if let Some(entry) = self.tasks.find_mut(id) {
            entry.post();
            self.enqueue_task(id.index);
        }
    }

    /// Queues a task that has a reason to be stepped, unless it is queued or runs.
    pub(crate) fn enqueue_task(&mut self, index: u32) {
        let entry = self.tasks.entry_mut(index);
        if entry.queued || entry.runner.is_some() || !entry.is_due() {
            return;
        }
        entry.queued = true;
        entry.next = NIL;
        let context = entry.context;
        self.append(context, super::process::TASK | index);
    }

    pub(crate) fn set_deadline(&mut self, index: u32, at: Option<u64>) {
        self.set_deadline_of(self.tasks.entry(index).context, index, at);
    }

    /// The same for a task, or for a rich watch (its index with [`RICH`]).
    pub(crate) fn set_deadline_of(&mut self, context: u16, key: u32, at: Option<u64>) {
        let (tasks, riches) = (&mut self.tasks, &mut self.riches);
        let place = if key & RICH == 0 {
            tasks.entry(key).place
        } else {
            riches.get(key & !RICH).map_or(NOWHERE, |rich| rich.place)
        };
        let mut moved = |key: u32, place: u32| {
            if key & RICH == 0 {
                tasks.entry_mut(key).place = place;
            } else if let Some(rich) = riches.get_mut(key & !RICH) {
                rich.place = place;
            }
        };
        let deadlines = &mut self.contexts[usize::from(context)].deadlines;
        if place != NOWHERE {
            deadlines.remove(place, &mut moved);
        }
        if let Some(at) = at {
            deadlines.insert(at, key, &mut moved);
            self.alarm(context, at);
        }
    }

    /// Queues the tasks, and runs the rich watches, whose deadlines have passed. Sets the
    /// alarm for the next deadline.
    pub(crate) fn run_deadlines(&mut self, index: u16) {
        if self.at(index).deadlines.first().is_none() {
            return;
        }
        let now = self.kernel.now();
        let mut left = DEADLINES;
        while let Some((at, key)) = self.at(index).deadlines.first() {
            if at > now || left == 0 {
                self.alarm(index, at.max(now + 1));
                return;
            }
            left -= 1;
            if key & RICH != 0 {
                self.deadline_passed(key & !RICH, now);
                continue;
            }
            self.set_deadline(key, None);
            self.tasks.entry_mut(key).expire();
            self.enqueue_task(key);
        }
    }

    /// A descriptor that a task watches is ready.
    pub(crate) fn fd_is_ready(&mut self, index: u32, fd: RawFd) {
        if index >= self.tasks.bound() {
            return;
        }
        if let Some(watched) = self.tasks.entry_mut(index).watched(fd) {
            watched.ready = true;
            self.enqueue_task(index);
        }
    }

    /// The child of a task's watch ended.
    pub(crate) fn queue_end(&mut self, task: u32, at: u32) {
        let slot = self.table.slot_mut(at);
        if slot.is(Flags::QUEUED) {
            return;
        }
        slot.flags |= Flags::QUEUED;
        slot.next_queued = NIL;
        let (head, tail) = self.tasks.entry(task).ends;
        if tail == NIL {
            self.tasks.entry_mut(task).ends = (at, at);
        } else {
            self.table.slot_mut(tail).next_queued = at;
            self.tasks.entry_mut(task).ends = (head, at);
        }
        self.enqueue_task(task);
    }

    fn next_end(&self, task: u32) -> Option<u32> {
        Some(self.tasks.entry(task).ends.0).filter(|&at| at != NIL)
    }

    /// Takes the first watch off the ends that a task is to be told.
    fn take_end(&mut self, task: u32) {
        let (at, tail) = self.tasks.entry(task).ends;
        let slot = self.table.slot_mut(at);
        slot.flags -= Flags::QUEUED;
        let next = slot.next_queued;
        self.tasks.entry_mut(task).ends = (next, if next == NIL { NIL } else { tail });
    }

    /// Ends the task's watch of a child that has ended, and returns the reason with which the
    /// task is stepped. None if the watch was ended before.
    pub(crate) fn tell_end(&mut self, task: u32, at: u32) -> Option<Why> {
        self.take_end(task);
        let slot = *self.table.slot(at);
        if slot.is(Flags::ABANDONED) {
            if !slot.is(Flags::LEADS) {
                self.table.release(at);
            }
            return None;
        }
        self.at_mut(slot.context).delivered += 1;
        self.find_stolen(at);
        let slot = *self.table.slot(at);
        let (facts, found) = self.take_task_end(at);
        if slot.is(Flags::KEEPS) {
            self.tasks.entry_mut(task).kept = Some(at);
        } else {
            self.end_watch_seldom(at);
        }
        Some(Why::Child(ChildEnd {
            token: self.tokens[at as usize],
            pid: slot.pid,
            status: slot.end_status(),
            usage: facts.usage,
            kept: facts.kept,
            found,
        }))
    }

    /// How the end of a task's watch came to be known, and when.
    pub(crate) fn take_task_end(&mut self, at: u32) -> (Facts, u64) {
        let place = self.task_ends.iter().position(|&(of, ..)| of == at);
        place.map_or((Facts::WAITED, u64::MAX), |place| {
            let (_, facts, found) = self.task_ends.swap_remove(place);
            (facts, found)
        })
    }

    /// A step, and the callback that it asked for, are over. If the step was about a
    /// descriptor, that is watched again.
    pub(crate) fn stepped(&mut self, index: u32) {
        self.ran();
        let entry = self.tasks.entry_mut(index);
        entry.runner = None;
        if entry.held && entry.task.is_some() {
            self.enqueue_task(index);
            return;
        }
        let fd = entry.stepped_fd.take();
        if let Some(at) = entry.kept.take() {
            self.end_watch_seldom(at);
        }
        let entry = self.tasks.entry_mut(index);
        if entry.task.is_none() {
            self.tasks.release(index);
            return;
        }
        if let Some(fd) = fd {
            self.watch_again(index, fd);
        }
        self.enqueue_task(index);
    }

    fn watch_again(&mut self, index: u32, fd: RawFd) {
        let entry: &mut Entry = self.tasks.entry_mut(index);
        let context = entry.context;
        let Some(watched) = entry.watched(fd) else {
            return;
        };
        watched.ready = false;
        let interest = watched.interest;
        if let Some(descriptor) = &self.at(context).descriptor {
            let _ = descriptor.watch(fd, index, interest, true);
        }
    }
}

#[cfg(test)]
#[allow(clippy::zombie_processes)] // the reaper waits for them
mod tests {
    use super::super::callback::{Call, ChildFn, Pvt, Record};
    use super::super::deliver::{self, Progress};
    use super::super::escalation::{Step, Whom};
    use super::super::event::{Events, Fields};
    use super::super::watch::{self, Ask, How};
    use super::super::{context, drain, register, rich};
    use super::*;
    use crate::sys::lock::Mutex;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::sync::atomic::{AtomicU32, Ordering};

    extern "C" fn event(_: *mut libc::c_void, _: *const libc::c_void, _: *mut libc::c_void) {}

    extern "C" fn told(_: i32, _: i32, _: *mut libc::c_void) {}

    fn call() -> Call {
        let nothing = Pvt(std::ptr::null_mut());
        Call::Event {
            call: event,
            source: nothing,
            record: Record::of(7u64),
            pvt: nothing,
        }
    }

    /// Notes why it was stepped, and asks for so many callbacks.
    struct Noting {
        whys: Mutex<Vec<Why>>,
        calls: AtomicU32,
        dropped: Option<std::sync::mpsc::Sender<()>>,
    }

    impl Task for Noting {
        fn step(&self, why: Why) -> Option<Call> {
            self.whys.lock().push(why);
            let left = self.calls.load(Ordering::Relaxed);
            self.calls.store(left.saturating_sub(1), Ordering::Relaxed);
            (left > 0).then(call)
        }
    }

    impl Drop for Noting {
        fn drop(&mut self) {
            if let Some(dropped) = &self.dropped {
                dropped.send(()).unwrap();
            }
        }
    }

    impl Noting {
        fn new(dropped: Option<std::sync::mpsc::Sender<()>>) -> Self {
            Noting {
                whys: Mutex::new(Vec::new()),
                calls: AtomicU32::new(0),
                dropped,
            }
        }

        fn taken(&self) -> Vec<Why> {
            std::mem::take(&mut *self.whys.lock())
        }
    }

    struct Loop {
        ctx: ContextId,
        fd: RawFd,
    }

    impl Loop {
        fn new() -> Self {
            let ctx = context::create(&context::Params::default()).unwrap();
            let fd = context::descriptor(ctx).unwrap();
            Loop { ctx, fd }
        }

        fn is_ready(&self, timeout: i32) -> bool {
            crate::sys::probe::readable(self.fd, timeout)
        }

        /// One dispatch, as the border makes it; the calls made.
        fn dispatch(&self, budget: u32) -> usize {
            drain::readable(self.ctx, budget).unwrap();
            let (mut progress, mut call, mut calls) = (Progress::First, Call::Nothing, 0);
            for _ in 0..budget {
                let Some(turn) = deliver::next(self.ctx, progress, &mut call) else {
                    return calls;
                };
                calls += usize::from(!matches!(call, Call::Nothing));
                progress = Progress::After(turn);
            }
            deliver::end(self.ctx, progress);
            deliver::keep_readable(self.ctx);
            calls
        }

        /// Dispatches until there is something noted.
        fn run(&self, task: &Noting) -> Vec<Why> {
            while task.whys.lock().is_empty() {
                assert!(self.is_ready(60_000));
                self.dispatch(100);
            }
            task.taken()
        }
    }

    impl Drop for Loop {
        fn drop(&mut self) {
            let _ = context::free(self.ctx, |_| true);
        }
    }

    fn noting(of: &Loop) -> (Arc<Noting>, TaskId) {
        let task = Arc::try_new(Noting::new(None)).unwrap();
        let id = add(of.ctx, &task).unwrap();
        (task, id)
    }

    #[test]
    fn posts_merge_and_calls_are_made_one_after_the_other() {
        let turns = Loop::new();
        let (task, id) = noting(&turns);
        assert!(!turns.is_ready(0));
        std::thread::scope(|scope| {
            scope.spawn(|| post(id));
            scope.spawn(|| post(id));
        });
        assert!(turns.is_ready(0));
        task.calls.store(2, Ordering::Relaxed);
        assert_eq!(turns.dispatch(100), 2);
        assert_eq!(task.taken(), [Why::Posted, Why::Returned, Why::Returned]);
        assert!(!turns.is_ready(0));
        // A budget that ends between a callback and its return.
        post(id);
        task.calls.store(1, Ordering::Relaxed);
        assert_eq!(turns.dispatch(1), 1);
        assert_eq!(task.taken(), [Why::Posted]);
        assert!(turns.is_ready(0));
        assert_eq!(turns.dispatch(100), 0);
        assert_eq!(task.taken(), [Why::Returned]);
        assert!(!turns.is_ready(0));
    }

    #[test]
    fn a_deadline_is_told_once_and_can_be_moved_and_taken_back() {
        let turns = Loop::new();
        let (first, first_id) = noting(&turns);
        let (second, second_id) = noting(&turns);
        set_deadline(first_id, Some(u64::MAX));
        set_deadline(first_id, Some(1));
        set_deadline(second_id, Some(crate::sys::clock::now() + 1_000_000));
        assert_eq!(turns.run(&first), [Why::Deadline]);
        assert_eq!(turns.run(&second), [Why::Deadline]);
        set_deadline(second_id, Some(1));
        set_deadline(second_id, None);
        set_deadline(first_id, Some(1));
        assert_eq!(turns.run(&first), [Why::Deadline]);
        assert_eq!(second.taken(), []);
    }

    /// A deadline is set without an allocation, however many rich watches have one too.
    #[test]
    fn a_task_has_room_for_its_deadline_beside_those_of_rich_watches() {
        let turns = Loop::new();
        let held = child();
        let pid = i32::try_from(held.id()).unwrap();
        for _ in 0..40 {
            let step = Step {
                after: 3_600_000_000_000,
                signum: libc::SIGKILL,
                whom: Whom::Child,
            };
            let params = rich::Params {
                child: rich::Child::Pid(pid),
                events: Events::ENDS,
                want: Fields::empty(),
                keep_zombie: false,
                deadline: Some(rich::Deadline {
                    steps: vec![step],
                    unkillable: None,
                }),
                call: None,
                pvt: Pvt(std::ptr::null_mut()),
                handle: None,
            };
            rich::watch(turns.ctx, params, &mut false).unwrap();
            let (_, id) = noting(&turns);
            let room = lock(id.depth).unwrap().at(turns.ctx.index).deadlines.room();
            assert!(room > 0);
            remove(id);
        }
        drop(turns);
        end(held);
    }

    #[test]
    fn a_descriptor_is_told_of_for_as_long_as_it_is_ready() {
        let turns = Loop::new();
        let (task, id) = noting(&turns);
        let (mut reader, mut writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let fd = reader.as_raw_fd();
        watch_fd(id, fd, Interest::READ).unwrap();
        assert!(!turns.is_ready(0));
        writer.write_all(b"ab").unwrap();
        assert_eq!(turns.run(&task), [Why::Readable(fd)]);
        assert_eq!(turns.run(&task), [Why::Readable(fd)]);
        reader.read_exact(&mut [0; 2]).unwrap();
        turns.dispatch(100);
        assert_eq!(task.taken(), []);
        watch_fd(id, writer.as_raw_fd(), Interest::WRITE).unwrap();
        assert_eq!(turns.run(&task), [Why::Readable(writer.as_raw_fd())]);
        unwatch_fd(id, writer.as_raw_fd());
        drop(writer);
        assert_eq!(turns.run(&task), [Why::Readable(fd)], "a hang-up");
        unwatch_fd(id, fd);
        turns.dispatch(100);
        assert_eq!(task.taken(), []);
        assert_eq!(watch_fd(id, -1, Interest::BOTH), Err(Errno::EBADF.into()));
    }

    fn child() -> std::process::Child {
        std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// For a child whose context is gone: another test's context may have it now, and wait for
    /// it.
    fn end(mut held: std::process::Child) {
        held.kill().unwrap();
        let _ = held.wait();
    }

    #[test]
    fn the_end_of_a_child_is_told_beside_the_contexts_own_watch() {
        let turns = Loop::new();
        let (task, id) = noting(&turns);
        let mut held = child();
        let pid = i32::try_from(held.id()).unwrap();
        watch_child(id, pid, None, 5, false).unwrap();
        let nothing = Pvt(std::ptr::null_mut());
        register::register(turns.ctx, pid, Some(told as ChildFn), nothing, &mut false).unwrap();
        watch_child(id, pid, None, 6, false).unwrap();
        let dropped = watch_child(id, pid, None, 7, false).unwrap();
        watch::unwatch(dropped, How::Keep, Ask::Nobody).unwrap();
        drop(held.stdin.take());
        let mut whys = turns.run(&task);
        while whys.len() < 2 {
            whys.extend(turns.run(&task));
        }
        let ends = whys.iter().map(|why| match why {
            Why::Child(end) => (end.token, end.pid, end.status, end.usage.is_some()),
            _ => (0, 0, 0, false),
        });
        let mut ends: Vec<_> = ends.collect();
        ends.sort_unstable();
        assert_eq!(ends, [(5, pid, 0, true), (6, pid, 0, true)]);
        let stats = context::stats(turns.ctx).unwrap();
        assert_eq!((stats.watches, stats.pending), (0, 0));
        assert_eq!(
            watch_child(id, pid, None, 8, false),
            Err(Errno::ESRCH.into())
        );
    }

    #[test]
    fn a_child_that_ended_before_is_told_and_its_pidfd_taken() {
        let turns = Loop::new();
        let (task, id) = noting(&turns);
        let mut held = child();
        let pid = i32::try_from(held.id()).unwrap();
        let pidfd = crate::sys::pidfd::open(pid).unwrap();
        drop(held.stdin.take());
        assert!(crate::sys::probe::readable(pidfd.as_raw_fd(), 60_000));
        watch_child(id, pid, Some(pidfd), 9, false).unwrap();
        assert!(matches!(
            turns.run(&task)[..],
            [Why::Child(ChildEnd { token: 9, .. })]
        ));
    }

    #[test]
    fn a_child_is_started_for_a_task() {
        use super::super::spawned::{Told, start};
        use crate::spawn::{CStrArray, CStringArray, Spec};
        let turns = Loop::new();
        let (task, id) = noting(&turns);
        let argv = CStringArray::new([c"sh", c"-c", c"exit 3"].into_iter()).unwrap();
        let spec = Spec::new(c"/bin/sh", argv.as_array(), CStrArray::environ());
        for told in [Told::Task(id, 11), Told::Keeping(id, 11)] {
            let started = start(turns.ctx, &spec, told).unwrap();
            let [Why::Child(end)] = turns.run(&task)[..] else {
                panic!("one step");
            };
            assert_eq!((end.token, end.pid, end.status), (11, started.pid, 3 << 8));
            assert!(end.usage.is_some());
            assert_eq!(end.kept, matches!(told, Told::Keeping(..)));
            assert_eq!(context::stats(turns.ctx).unwrap().watches, 0);
        }
        remove(id);
        let late = start(turns.ctx, &spec, Told::Task(id, 12));
        assert_eq!(late.unwrap_err().errno, libc::ESRCH);
    }

    /// Notes at each step, and when its callback has returned, whether its child can
    /// be looked at.
    struct Looking {
        pid: i32,
        zombie: Mutex<Vec<bool>>,
    }

    impl Task for Looking {
        fn step(&self, why: Why) -> Option<Call> {
            let there = crate::sys::wait::is_child_pid(self.pid);
            self.zombie.lock().push(there);
            match why {
                Why::Child(end) => {
                    assert!(end.kept && end.usage.is_some());
                    Some(call())
                }
                _ => None,
            }
        }
    }

    fn look_at_a_child_that_ends(turns: &Loop) -> (Arc<Looking>, TaskId, i32) {
        let mut held = child();
        let pid = i32::try_from(held.id()).unwrap();
        let looking = Arc::try_new(Looking {
            pid,
            zombie: Mutex::new(Vec::new()),
        })
        .unwrap();
        let id = add(turns.ctx, &looking).unwrap();
        watch_child(id, pid, None, 1, true).unwrap();
        drop(held.stdin.take());
        (looking, id, pid)
    }

    #[test]
    fn a_zombie_is_kept_until_the_step_and_its_callback_are_over() {
        let turns = Loop::new();
        let (looking, id, pid) = look_at_a_child_that_ends(&turns);
        while looking.zombie.lock().len() < 2 {
            assert!(turns.is_ready(60_000));
            turns.dispatch(100);
        }
        assert_eq!(*looking.zombie.lock(), [true, true]);
        assert!(!crate::sys::wait::is_child_pid(pid));
        // The turn of the loop ends before the step: the zombie is kept. Then the step goes
        // on, or the task is removed.
        for removed in [false, true] {
            let (looking, id, pid) = look_at_a_child_that_ends(&turns);
            while looking.zombie.lock().is_empty() {
                assert!(turns.is_ready(60_000));
                turns.dispatch(1);
            }
            assert!(crate::sys::wait::is_child_pid(pid));
            if removed {
                remove(id);
            }
            turns.dispatch(100);
            assert_eq!(looking.zombie.lock().len(), if removed { 1 } else { 2 });
            assert!(!crate::sys::wait::is_child_pid(pid));
            remove(id);
            assert_eq!(context::stats(turns.ctx).unwrap().watches, 0);
        }
        // A task is removed while its child is a kept zombie.
        let mut held = child();
        let pid = i32::try_from(held.id()).unwrap();
        let pidfd = crate::sys::pidfd::open(pid).unwrap();
        drop(held.stdin.take());
        assert!(crate::sys::probe::readable(pidfd.as_raw_fd(), 60_000));
        watch_child(id, pid, None, 2, true).unwrap();
        assert!(crate::sys::wait::is_child_pid(pid));
        remove(id);
        turns.dispatch(100);
        assert!(!crate::sys::wait::is_child_pid(pid));
    }

    #[test]
    fn one_that_comes_while_a_zombie_lies_knows_what_the_first_does() {
        let turns = Loop::new();
        let (first, first_id) = noting(&turns);
        let (late, late_id) = noting(&turns);
        let mut held = child();
        let pid = i32::try_from(held.id()).unwrap();
        watch_child(first_id, pid, None, 1, true).unwrap();
        drop(held.stdin.take());
        // The end is taken, and nobody is told.
        while crate::sys::wait::look_pid(pid) == Ok(None) {
            std::thread::yield_now();
        }
        drain::readable(turns.ctx, 100).unwrap();
        watch_child(late_id, pid, None, 2, true).unwrap();
        let [Why::Child(one)] = turns.run(&first)[..] else {
            panic!("one step");
        };
        let [Why::Child(other)] = turns.run(&late)[..] else {
            panic!("one step");
        };
        assert!(one.kept && other.kept);
        assert_eq!(one.usage, other.usage);
        assert_ne!(other.found, u64::MAX);
        assert!(!crate::sys::wait::is_child_pid(pid));
    }

    /// Holds its step until it may go on, and removes itself if it is told to.
    struct Held {
        begun: Mutex<std::sync::mpsc::Sender<()>>,
        go: Mutex<std::sync::mpsc::Receiver<Option<TaskId>>>,
    }

    impl Task for Held {
        fn step(&self, _: Why) -> Option<Call> {
            self.begun.lock().send(()).unwrap();
            if let Some(own) = self.go.lock().recv().unwrap() {
                remove(own);
            }
            None
        }
    }

    #[test]
    fn remove_waits_for_a_step_in_another_thread_but_not_for_its_own() {
        for itself in [false, true] {
            let turns = Loop::new();
            let (begun, has_begun) = std::sync::mpsc::channel();
            let (may_go, go) = std::sync::mpsc::channel();
            let task = Held {
                begun: Mutex::new(begun),
                go: Mutex::new(go),
            };
            let id = add(turns.ctx, &Arc::try_new(task).unwrap()).unwrap();
            post(id);
            std::thread::scope(|scope| {
                let dispatcher = scope.spawn(|| turns.dispatch(100));
                has_begun.recv().unwrap();
                let remover = (!itself).then(|| scope.spawn(|| remove(id)));
                if let Some(remover) = &remover {
                    while lock(id.depth).unwrap().waiting == 0 {
                        std::thread::yield_now();
                    }
                    assert!(!remover.is_finished());
                }
                may_go.send(itself.then_some(id)).unwrap();
                dispatcher.join().unwrap();
            });
            post(id);
            assert_eq!(watch_fd(id, 0, Interest::READ), Err(Errno::ESRCH.into()));
            turns.dispatch(100);
        }
    }

    #[test]
    fn a_context_that_ends_drops_its_tasks() {
        let (dropped, is_dropped) = std::sync::mpsc::channel();
        let turns = Loop::new();
        let held = child();
        let task = Noting::new(Some(dropped));
        let id = add(turns.ctx, &Arc::try_new(task).unwrap()).unwrap();
        watch_child(id, i32::try_from(held.id()).unwrap(), None, 1, false).unwrap();
        post(id);
        drop(turns);
        is_dropped.recv().unwrap();
        post(id);
        set_deadline(id, Some(1));
        remove(id);
        end(held);
    }

    #[test]
    fn a_context_that_nobody_polls_has_no_tasks() {
        let ctx = context::create(&context::Params::default()).unwrap();
        let task = Arc::try_new(Noting::new(None)).unwrap();
        assert_eq!(add(ctx, &task), Err(Errno::ENOTSUP.into()));
        context::free(ctx, |_| true).unwrap();
        assert_eq!(add(ctx, &task), Err(Errno::EINVAL.into()));
    }
}
