//! Handing out the callbacks that are due. The caller makes each with no lock
//! held and nothing of ours on its stack that would need dropping.

use super::callback::Call;
use super::id::ContextId;
use super::log::{Note, note};
use super::reaper::{Reaper, lock, process};
use super::table::{Flags, NIL};
use crate::sys::thread;

/// How many callbacks one turn of a loop makes if it does not say.
pub(crate) const TURN: u32 = 256;

/// A callback that was handed out, to be told when it has returned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    at: u32,
    generation: u32,
}

impl Turn {
    const UNKNOWN: Turn = Turn {
        at: NIL,
        generation: 0,
    };
}

/// Whether a callback of the context is due.
pub(crate) fn due(id: ContextId) -> bool {
    lock(id.depth).is_ok_and(|mut reaper| reaper.live(id).is_some() && reaper.is_due(id.index))
}

/// The calling thread makes the context's callbacks; false where another one
/// does, and goes on until there is none left.
pub(crate) fn begin(id: ContextId) -> bool {
    let Ok(mut reaper) = lock(id.depth) else {
        return false;
    };
    let Some(ctx) = reaper.live(id) else {
        return false;
    };
    ctx.announced = false;
    let me = thread::current();
    match &mut ctx.dispatcher {
        None => ctx.dispatcher = Some((me, 1)),
        Some((dispatcher, depth)) if *dispatcher == me => *depth += 1,
        Some(_) => return false,
    }
    true
}

/// The next callback, the last one having returned; None, and the caller is no
/// dispatcher any more, where there is none.
pub(crate) fn next(id: ContextId, last: Option<Turn>) -> Option<(Call, Turn)> {
    let own = process(id.depth).ok()?;
    let mut reaper = own.value.reaper.lock();
    reaper.returned(last);
    reaper.live(id)?;
    let call = reaper.next_call(id.index);
    if call.is_none() {
        reaper.stop(id);
    }
    if reaper.waiting > 0 {
        own.value.returned.tell_all();
    }
    call
}

/// The caller stops though there may be more.
pub(crate) fn end(id: ContextId, last: Option<Turn>) {
    let Ok(own) = process(id.depth) else {
        return;
    };
    let mut reaper = own.value.reaper.lock();
    reaper.returned(last);
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
    if let Ok(mut reaper) = lock(id.depth)
        && reaper.live(id).is_some()
        && reaper.is_due(id.index)
    {
        reaper.announce(id.index);
    }
}

/// The next context after `after` that has callbacks due and nothing of its
/// own that would wake it.
pub(crate) fn next_bare(depth: u32, after: Option<ContextId>) -> Option<ContextId> {
    let reaper = lock(depth).ok()?;
    let first = after.map_or(0, |after| usize::from(after.index) + 1);
    (first..reaper.contexts.len())
        .filter_map(|at| u16::try_from(at).ok())
        .find(|&index| {
            let ctx = reaper.at(index);
            ctx.live && !ctx.hosted && !ctx.polled && reaper.is_due(index)
        })
        .map(|index| ContextId {
            index,
            generation: reaper.at(index).generation,
            depth: reaper.depth,
        })
}

impl Reaper {
    fn is_due(&self, index: u16) -> bool {
        let ctx = self.at(index);
        ctx.head != NIL || self.unknown_is_due(index)
    }

    fn unknown_is_due(&self, index: u16) -> bool {
        let ctx = self.at(index);
        (ctx.unknown.is_some() && self.parked.is_due() || ctx.walk_again)
            && self.for_unknown() == Some(index)
    }

    fn returned(&mut self, last: Option<Turn>) {
        if let Some(turn) = last
            && let Some(slot) = self.table.resolve(turn.at, turn.generation)
            && slot.is(Flags::RUNNING)
        {
            self.table.slot_mut(turn.at).flags -= Flags::RUNNING;
        }
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

    fn next_call(&mut self, index: u16) -> Option<(Call, Turn)> {
        loop {
            let at = self.at(index).head;
            if at == NIL {
                return self.next_unknown(index);
            }
            let slot = self.table.slot_mut(at);
            let status = if slot.is(Flags::ABANDONED) {
                None
            } else if let Some(job) = slot.jobs.pop() {
                Some(job)
            } else if slot.is(Flags::ENDED) {
                slot.flags -= Flags::ENDED;
                slot.flags |= Flags::INERT;
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
            self.table.slot_mut(at).flags |= Flags::RUNNING;
            let ctx = self.at_mut(index);
            ctx.delivered += 1;
            if slot.is(Flags::INERT) {
                ctx.watches -= 1;
            }
            let call = Call::Child {
                callback: slot.callback,
                pid: slot.pid,
                status,
                pvt: slot.pvt,
            };
            let turn = Turn {
                at,
                generation: slot.generation,
            };
            return Some((call, turn));
        }
    }

    fn next_unknown(&mut self, index: u16) -> Option<(Call, Turn)> {
        if self.for_unknown() != Some(index) {
            return None;
        }
        let unknown = self.at(index).unknown;
        let shown = unknown.and_then(|unknown| Some((unknown, self.parked.show()?)));
        if shown.is_none() && std::mem::take(&mut self.at_mut(index).walk_again) {
            self.walk(index);
            return self.next_call(index);
        }
        let (unknown, parked) = shown?;
        self.at_mut(index).delivered += 1;
        let call = Call::Unknown {
            unknown,
            pid: parked.pid,
            status: parked.status,
        };
        Some((call, Turn::UNKNOWN))
    }
}
