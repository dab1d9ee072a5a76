//! Handing out the callbacks that are due. The caller makes each with no lock
//! held and nothing of ours on its stack that would need dropping.

use super::agenda::Debt;
use super::callback::Call;
use super::id::{ContextId, WatchId};
use super::log::{Note, note};
use super::process::{Reaper, TASK, lock, process};
use super::table::{Flags, NIL};
use super::tasks::{Reason, Task, Why};
use crate::sys::arc::Arc;
use crate::sys::thread;

/// How many callbacks one turn of a loop makes if it does not say.
pub(crate) const TURN: u32 = 256;

/// A callback that was handed out. The caller gives this back when it has returned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    /// A watch's callback; None: an unknown child's.
    Call(Option<WatchId>),
    Task(u32),
}

impl Turn {
    /// The watch that was told, if it is one.
    pub(crate) fn watch(self) -> Option<WatchId> {
        match self {
            Turn::Call(watch) => watch,
            Turn::Task(_) => None,
        }
    }
}

/// What is next.
enum Due {
    Nothing,
    Call(Turn),
    Step(Step),
}

/// A task to be stepped, without the lock.
struct Step {
    index: u32,
    task: Arc<dyn Task>,
    why: Why,
}

/// Whether a callback of the context is due.
pub(crate) fn due(id: ContextId) -> bool {
    lock(id.depth).is_ok_and(|mut reaper| reaper.live(id).is_some() && reaper.is_due(id.index))
}

/// Where a thread is in making a context's callbacks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Progress {
    /// It begins.
    First,
    /// This callback has returned.
    After(Turn),
    /// The same, with an answer for its task.
    Answered(Turn, u32),
}

/// Writes the next callback to `call`. None where there are no more, or where another
/// thread makes this context's callbacks and goes on until none is left. After None the
/// caller's dispatch is over.
pub(crate) fn next(id: ContextId, progress: Progress, call: &mut Call) -> Option<Turn> {
    let own = process(id.depth).ok()?;
    let mut reaper = own.value.lock();
    let mut step = match progress {
        Progress::First => {
            reaper.begin(id)?;
            None
        }
        Progress::After(turn) => reaper.returned(turn, Why::Returned),
        Progress::Answered(turn, answer) => reaper.returned(turn, Why::Answered(answer)),
    };
    loop {
        if let Some(Step { index, task, why }) = step {
            drop(reaper);
            *call = run(&task, why).unwrap_or(Call::Nothing);
            drop(task);
            reaper = own.value.lock();
            if matches!(call, Call::Nothing) {
                reaper.stepped(index);
            }
            if reaper.waiting > 0 {
                own.value.returned.tell_all();
            }
            return Some(Turn::Task(index));
        }
        if reaper.waiting > 0 {
            own.value.returned.tell_all();
        }
        let ending = reaper.live(id)?.ending;
        let due = if ending {
            Due::Nothing
        } else {
            reaper.next_call(id.index, call)
        };
        match due {
            Due::Call(turn) => return Some(turn),
            Due::Step(next) => step = Some(next),
            Due::Nothing => {
                reaper.stop(id);
                if reaper.waiting > 0 {
                    own.value.returned.tell_all();
                }
                return None;
            }
        }
    }
}

/// Steps a task; a panic must not leave it running for ever.
fn run(task: &Arc<dyn Task>, why: Why) -> Option<Call> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task.step(why))).unwrap_or_else(|_| {
        note(Note::Panic);
        None
    })
}

/// The caller stops though there may be more.
pub(crate) fn end(id: ContextId, last: Progress) {
    let Ok(own) = process(id.depth) else {
        return;
    };
    let mut reaper = own.value.lock();
    match last {
        Progress::First => {}
        Progress::After(Turn::Task(index)) => reaper.put_off(index, Why::Returned),
        Progress::Answered(Turn::Task(index), answer) => {
            reaper.put_off(index, Why::Answered(answer));
        }
        Progress::After(turn) | Progress::Answered(turn, _) => {
            drop(reaper.returned(turn, Why::Returned));
        }
    }
    reaper.stop(id);
    if reaper.waiting > 0 {
        own.value.returned.tell_all();
    }
}

/// The unknown-child callback's answer.
pub(crate) fn judged(id: ContextId, pid: i32, status: i32, taken: bool) {
    if let Ok(mut reaper) = lock(id.depth) {
        if taken {
            reaper.parked.forget_status(pid, status);
        } else {
            note(Note::Unknown(pid));
        }
    }
}

/// What is left after a budget keeps the descriptor readable.
pub(crate) fn keep_readable(id: ContextId) {
    if let Ok(mut reaper) = lock(id.depth) {
        // Another thread that makes the callbacks goes on until there is none.
        let ours = reaper
            .live(id)
            .is_some_and(|ctx| !ctx.is_dispatched_elsewhere());
        if ours && reaper.is_due(id.index) {
            reaper.announce(id.index);
        }
    }
}

/// The next context after index `after` that has callbacks due and nothing of its own
/// that would wake it.
pub(crate) fn next_bare(depth: u32, after: Option<u16>) -> Option<ContextId> {
    lock(depth).ok()?.next_bare(after)
}

impl Reaper {
    pub(crate) fn next_bare(&self, after: Option<u16>) -> Option<ContextId> {
        let first = after.map_or(0, |after| usize::from(after) + 1);
        (first..self.contexts.len())
            .filter_map(|at| u16::try_from(at).ok())
            .find(|&index| self.at(index).is_bare() && self.is_due(index))
            .map(|index| self.id_of(index))
    }

    /// The calling thread makes the callbacks, if no other one does.
    fn begin(&mut self, id: ContextId) -> Option<()> {
        let ctx = self.live(id)?;
        ctx.announced = false;
        let me = thread::current();
        if ctx.is_dispatched_elsewhere() {
            return None;
        }
        // Room for what runs, beside all hooks.
        let hooked = self.hooked as usize;
        self.running.try_reserve(hooked + 1).ok()?;
        let ctx = self.live(id)?;
        match &mut ctx.dispatcher {
            None => ctx.dispatcher = Some((me, 1)),
            Some((_, depth)) => *depth += 1,
        }
        Some(())
    }

    /// A callback has returned: the step to make, where a task asked for it.
    fn returned(&mut self, turn: Turn, why: Why) -> Option<Step> {
        let index = match turn {
            Turn::Task(index) => index,
            Turn::Call(watch) => {
                self.ran();
                self.told(watch?);
                return None;
            }
        };
        let entry = self.tasks.entry(index);
        // The task does not run: there is no step to go on with.
        entry.runner?;
        let Some(task) = entry.task.clone() else {
            // It was removed meanwhile.
            self.stepped(index);
            return None;
        };
        Some(Step { index, task, why })
    }

    /// A callback of a watch has returned.
    fn told(&mut self, id: WatchId) {
        let at = id.index();
        let Some(slot) = self.table.resolve(at, id.generation()) else {
            return;
        };
        let (keeps, over) = (
            slot.is(Flags::KEEPS | Flags::INERT),
            slot.is(Flags::INERT | Flags::UNHELD),
        );
        if keeps {
            self.told_end(at);
        }
        // In a nested dispatch an outer callback of this watch may still run.
        if over && !self.is_told(at) {
            self.end_watch(at, false);
        }
    }

    /// A task's callback has returned, and its step is made in the next dispatch.
    fn put_off(&mut self, index: u32, why: Why) {
        let entry = self.tasks.entry_mut(index);
        if entry.runner.is_none() {
            return;
        }
        entry.put_off(why);
        if entry.task.is_none() {
            self.stepped(index);
            return;
        }
        // The step is not over: the zombie that it is about is kept, and the descriptor
        // stays as it is.
        entry.runner = None;
        self.ran();
        self.enqueue_task(index);
    }

    fn stop(&mut self, id: ContextId) {
        let Some(ctx) = self.live(id) else {
            return;
        };
        ctx.dispatcher = match ctx.dispatcher {
            Some((dispatcher, depth)) if depth > 1 => Some((dispatcher, depth - 1)),
            _ => None,
        };
    }

    /// Makes the next callback that is due, if there is one, for the model.
    #[cfg(test)]
    pub(crate) fn tell_next(&mut self, index: u16, callback: impl FnOnce(Call)) -> bool {
        let mut call = Call::Nothing;
        let Due::Call(turn) = self.next_call(index, &mut call) else {
            return false;
        };
        callback(call);
        self.returned(turn, Why::Returned);
        true
    }

    fn next_call(&mut self, index: u16, call: &mut Call) -> Due {
        loop {
            let at = self.at(index).head;
            if at == NIL {
                return self.next_unknown(index, call);
            }
            if at & TASK != 0 {
                self.dequeue(index);
                match self.next_step(at & !TASK) {
                    Some(step) => return Due::Step(step),
                    None => continue,
                }
            }
            let slot = *self.table.slot(at);
            if slot.sink.rich().is_some() && !slot.is(Flags::ABANDONED) {
                match self.next_rich(index, at, call) {
                    Some(turn) => return Due::Call(turn),
                    None => continue,
                }
            }
            let slot = self.table.slot_mut(at);
            let status = if slot.is(Flags::ABANDONED) {
                None
            } else if let Some(job) = slot.jobs.pop() {
                Some(job)
            } else if slot.is(Flags::ENDED) {
                slot.flags -= Flags::ENDED;
                slot.flags |= Flags::INERT | Flags::TOLD;
                Some(slot.end_status())
            } else {
                None
            };
            let slot = *slot;
            if !slot.is_due() || slot.is(Flags::ABANDONED) {
                self.dequeue(index);
                if slot.is(Flags::ABANDONED) && !slot.is(Flags::LEADS) {
                    self.table.release(at);
                }
            }
            let Some(status) = status else {
                continue;
            };
            let watch = WatchId::new(at, slot.generation, self.depth);
            self.runs(self.id_of(index), watch, false);
            let ctx = self.at_mut(index);
            ctx.delivered += 1;
            if slot.is(Flags::INERT) {
                ctx.watches -= 1;
            }
            let (callback, pvt) = slot.sink.callback();
            *call = Call::Child {
                callback,
                pid: slot.pid,
                status,
                pvt,
            };
            return Due::Call(Turn::Call(Some(watch)));
        }
    }

    /// What the first watch of the queue, a rich one, has to tell next.
    fn next_rich(&mut self, index: u16, at: u32, call: &mut Call) -> Option<Turn> {
        let next = self.next_told(at);
        let slot = *self.table.slot(at);
        if !slot.is_due() && !self.rich_is_due(slot.sink) {
            self.dequeue(index);
        }
        if next.is_none() && slot.is(Flags::INERT | Flags::UNHELD) {
            // Its end was not asked for, and nobody frees it.
            self.end_watch(at, false);
        }
        let (callback, source, pvt, told) = next?;
        let watch = WatchId::new(at, slot.generation, self.depth);
        self.runs(self.id_of(index), watch, false);
        self.at_mut(index).delivered += 1;
        *call = callback.map_or(Call::Nothing, |call| Call::Told {
            call,
            source,
            told,
            pvt,
        });
        Some(Turn::Call(Some(watch)))
    }

    /// The next reason to step a task that was queued.
    fn next_step(&mut self, index: u32) -> Option<Step> {
        loop {
            let entry = self.tasks.entry_mut(index);
            let Some(task) = entry.task.clone() else {
                self.tasks.release(index);
                return None;
            };
            let why = match entry.take()? {
                Reason::Why(why) => Some(why),
                Reason::End(at) => self.tell_end(index, at),
            };
            if let Some(why) = why {
                let entry = self.tasks.entry_mut(index);
                entry.runner = Some(thread::current());
                let context = entry.context;
                self.runs(self.id_of(context), WatchId::NONE, false);
                return Some(Step { index, task, why });
            }
        }
    }

    fn next_unknown(&mut self, index: u16, call: &mut Call) -> Due {
        if self.for_unknown() != Some(index) {
            return Due::Nothing;
        }
        let unknown = self.at(index).params.unknown;
        let until = self.told_until();
        let shown = unknown.and_then(|unknown| Some((unknown, self.parked.show(until)?)));
        if shown.is_none()
            && self.spawning == 0
            && std::mem::take(&mut self.at_mut(index).walk_again)
        {
            let now = self.kernel.now();
            self.agenda.owe(Debt::Walk, now);
            self.pay();
            return self.next_call(index, call);
        }
        let Some((unknown, parked)) = shown else {
            return Due::Nothing;
        };
        self.at_mut(index).delivered += 1;
        *call = Call::Unknown {
            unknown,
            pid: parked.pid,
            status: parked.status,
        };
        self.runs(self.id_of(index), WatchId::NONE, false);
        Due::Call(Turn::Call(None))
    }
}
