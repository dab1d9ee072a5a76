//! Waiting in the calling thread for children to end. No callback is made
//! meanwhile; deadlines go on, and what ends besides is told by its own loop.

use nix::errno::Errno;

use super::event::Told;
use super::id::{ContextId, WatchId};
use super::process::lock;
use super::table::{Flags, NIL};
use super::watch::next_from;
use crate::sys::error::Error;
use crate::sys::{clock, poll};

/// How long to wait at first and at last, in nanoseconds, where no descriptor
/// tells of the end.
const FIRST_NAP: u64 = 1_000_000;
const LAST_NAP: u64 = 32_000_000;

/// Waits until `until`, in nanoseconds of CLOCK_MONOTONIC, for a watch's child to
/// end, and takes the end: no callback tells of it any more. ETIMEDOUT where it
/// lives on; ESRCH where the watch is over without an end.
pub(crate) fn wait(id: WatchId, until: u64) -> Result<Told, Error> {
    wait_for_end(id, until)?;
    let mut reaper = lock(id.depth())?;
    let (at, _) = reaper.watch(id)?;
    reaper.take_end_of(at).ok_or(Errno::ESRCH.into())
}

/// Waits until all children that a context watches have ended. ETIMEDOUT where
/// one lives on; their ends are told by the context's dispatch.
pub(crate) fn wait_all(ctx: ContextId, until: u64) -> Result<(), Error> {
    let mut result = Ok(());
    let mut cursor = 0;
    super::context::check(ctx)?;
    while let Some(seen) = next_from(ctx, &mut cursor) {
        match wait_for_end(seen.id, until) {
            Err(error) if error == Errno::ESRCH => {}
            Err(error) if error == Errno::ETIMEDOUT => result = Err(error),
            waited => waited?,
        }
    }
    result
}

/// The next child at or after `cursor` that a context watches and that lives.
pub(crate) fn next_living(ctx: ContextId, cursor: &mut u32) -> Option<i32> {
    let mut reaper = lock(ctx.depth).ok()?;
    reaper.context(ctx).ok()?;
    while *cursor < reaper.table.bound() {
        let at = *cursor;
        *cursor += 1;
        let slot = *reaper.table.slot(at);
        let over = Flags::ABANDONED | Flags::INERT | Flags::ENDED;
        if !slot.is(Flags::USED)
            || slot.flags.intersects(over)
            || slot.context != ctx.index
            || slot.sink.task().is_some()
        {
            continue;
        }
        // Each child once, however many watches the context has of it.
        let mut first = reaper.table.find(slot.pid).unwrap_or(NIL);
        while first != NIL && reaper.table.slot(first).context != ctx.index {
            first = reaper.table.next_watch(first);
        }
        if first == at {
            return Some(slot.pid);
        }
    }
    None
}

fn wait_for_end(id: WatchId, until: u64) -> Result<(), Error> {
    let mut nap = FIRST_NAP;
    loop {
        let mut reaper = lock(id.depth())?;
        let (at, slot) = reaper.watch(id)?;
        let (context, pid) = (slot.context, slot.pid);
        if reaper.knows_end(at) {
            return Ok(());
        }
        if slot_is_over(&reaper, at) {
            return Err(Errno::ESRCH.into());
        }
        let leader = reaper.table.find(pid).ok_or(Errno::ESRCH)?;
        if reaper.wait_child(leader) {
            continue;
        }
        reaper.run_deadlines(context);
        if reaper.knows_end(at) {
            return Ok(());
        }
        let now = clock::now();
        if now >= until {
            return Err(Errno::ETIMEDOUT.into());
        }
        let deadline = reaper.at(context).deadlines.first();
        let by = deadline.map_or(until, |(at, _)| at.min(until));
        drop(reaper);
        // Without a pidfd the child is looked at again and again.
        let pidfd = super::kill::pidfd(id).ok();
        let held = pidfd.as_ref().map(std::os::fd::AsFd::as_fd);
        let left = by.saturating_sub(now).max(1);
        let most = if held.is_some() { left } else { left.min(nap) };
        if poll::readable(held, most) || held.is_none() {
            // The child is dead, but cannot be waited for while a tracer holds the
            // zombie.
            if nap > FIRST_NAP && held.is_some() {
                poll::readable(None, nap.min(left));
            }
            nap = (nap * 2).min(LAST_NAP);
        }
    }
}

fn slot_is_over(reaper: &super::process::Reaper, at: u32) -> bool {
    reaper.table.slot(at).is(Flags::INERT)
}
