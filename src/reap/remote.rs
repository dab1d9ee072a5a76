//! What a fork server's client tells of children that the server reaps.

use super::id::ContextId;
use super::process::{Reaper, lock};
use super::remotes::State;
use crate::sys::error::Error;

/// How long, in nanoseconds, an end is waited for that no server will tell: the child is
/// ours soon.
const PATIENCE: u64 = 10_000_000_000;

impl Reaper {
    /// Waits for the child again: its pidfd may have become readable before, and wakes
    /// the loop only once.
    fn look_again(&mut self, pid: i32) {
        if let Some(leader) = self.table.find(pid) {
            self.wait_child(leader);
        }
    }
}

/// The server will tell how this child ends.
pub(crate) fn expect(ctx: ContextId, pid: i32) -> Result<(), Error> {
    let mut reaper = lock(ctx.depth)?;
    let Reaper { remotes, table, .. } = &mut *reaper;
    remotes.expect(pid, |pid| table.find(pid).is_some())
}

/// The server is about to be asked to reap it.
pub(crate) fn ended(ctx: ContextId, pid: i32) {
    if let Ok(mut reaper) = lock(ctx.depth) {
        reaper.remotes.set(pid, State::Ended);
    }
}

/// The server has told how it ended.
pub(crate) fn told(ctx: ContextId, pid: i32, status: i32) {
    if let Ok(mut reaper) = lock(ctx.depth) {
        reaper.remotes.set(pid, State::Told(status));
        reaper.look_again(pid);
    }
}

/// The server will not tell: the child is ours, or nobody's.
pub(crate) fn forget(ctx: ContextId, pid: i32) {
    if let Ok(mut reaper) = lock(ctx.depth) {
        if reaper.remotes.forget(pid) {
            reaper.look_again(pid);
        }
    }
}

/// Nobody listens any more to the server whose child it is.
pub(crate) fn orphan(ctx: ContextId, pid: i32) {
    if let Ok(mut reaper) = lock(ctx.depth) {
        let until = reaper.kernel.now().saturating_add(PATIENCE);
        reaper.remotes.set(pid, State::Orphan(until));
    }
}
