//! Children that nobody registered, while the process has services.
//!
//! An orphan of a service looks like any unknown child, and its evidence is gone
//! once it is reaped. So while there are services nobody here waits for an unknown
//! child: the services' keeper is prompted, attributes it, and gives back what
//! belongs to the application.

use super::callback::Call;
use super::id::ContextId;
use super::log::{Note, note};
use super::process::{Reaper, lock};
use super::tasks::TaskId;
use crate::sys::fd;

/// Sets the task that looks at unknown children from now on; None: the reaper itself
/// does.
pub(crate) fn guard(depth: u32, keeper: Option<TaskId>) {
    if let Ok(mut reaper) = lock(depth) {
        reaper.guard.keeper = keeper;
    }
}

/// Whether the reaper prompted the keeper since its last look.
pub(crate) fn is_prompted(depth: u32) -> bool {
    lock(depth).is_ok_and(|reaper| reaper.guard.prompted)
}

/// The keeper is about to look.
pub(crate) fn take_prompt(depth: u32) {
    if let Ok(mut reaper) = lock(depth) {
        reaper.guard.prompted = false;
    }
}

/// Whether somebody registered this child, or is about to.
pub(crate) fn is_watched(depth: u32, pid: i32) -> bool {
    lock(depth).is_ok_and(|mut reaper| {
        let watched = reaper.table.find(pid).is_some();
        let spawning = reaper.spawning > 0;
        reaper.guard.put_off |= spawning && !watched;
        watched || spawning
    })
}

/// Whether a context says what becomes of unknown children. Where one has the scope ALL,
/// nobody needs to say.
pub(crate) fn answers(ctx: ContextId) -> bool {
    lock(ctx.depth).is_ok_and(|mut reaper| {
        reaper.for_unknown().is_some()
            || reaper.live(ctx).is_some_and(|context| {
                context.params.unknown.is_some() || context.params.reap_orphans
            })
    })
}

/// What became of an unknown child that ended.
#[allow(clippy::large_enum_variant, reason = "it is looked at once")]
pub(crate) enum Given {
    /// It is reaped and told, or it is not for us to reap.
    Done,
    /// The statuses that wait to be told are too many: later.
    Later,
    /// The daemon is to say whether to reap it.
    Ask(Call),
}

/// Gives an ended child that no service claims to the application.
pub(crate) fn give(ctx: ContextId, pid: i32) -> Given {
    let Ok(mut reaper) = lock(ctx.depth) else {
        return Given::Done;
    };
    if reaper.table.find(pid).is_some() {
        return Given::Done;
    }
    if let Some(owner) = reaper.for_unknown() {
        if !reaper.room_or_walk_again(owner) {
            return Given::Later;
        }
        reaper.wait_unknown(owner, pid, 0);
        return Given::Done;
    }
    let Some(context) = reaper.live(ctx) else {
        return Given::Done;
    };
    let params = context.params;
    if let Some(unknown) = params.unknown {
        return match reaper.kernel.look(pid, None) {
            Ok(Some((status, _))) => Given::Ask(Call::Orphan {
                unknown,
                pid,
                status,
            }),
            _ => Given::Done,
        };
    }
    if params.reap_orphans {
        reaper.reap_unknown(pid);
    }
    Given::Done
}

/// The daemon said to reap it.
pub(crate) fn reap(depth: u32, pid: i32) {
    if let Ok(mut reaper) = lock(depth) {
        reaper.reap_unknown(pid);
    }
}

/// An orphan has been left for a minute.
pub(crate) fn note_left(depth: u32, pid: i32) {
    if let Ok(mut reaper) = lock(depth) {
        reaper.counts.unknown += 1;
    }
    note(Note::Left(pid));
}

/// How many pidfds may be held to learn of ends sooner: an eighth of what the
/// process may have open.
pub(crate) fn spare_pidfds() -> usize {
    fd::limit() as usize / 8
}

impl Reaper {
    /// There may be an unknown child to look at; false where the reaper itself is
    /// to look.
    pub(crate) fn prompt_keeper(&mut self) -> bool {
        let Some(keeper) = self.guard.keeper else {
            return false;
        };
        self.guard.prompted = true;
        self.post_task(keeper);
        true
    }

    /// Whether unknown children are the keeper's.
    pub(crate) fn is_guarded(&self) -> bool {
        self.guard.keeper.is_some()
    }
}
