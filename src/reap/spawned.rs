//! Children that the library itself starts: registered without a window.

use nix::errno::Errno;

use super::callback::{ChildFn, Pvt};
use super::id::{ContextId, WatchId};
use super::log::{Note, note};
use super::reaper::{Attending, Reaper, lock};
use super::status::Change;
use super::table::Flags;
use super::watch::Found;
use crate::spawn::{Gate, Spawned};
use crate::sys::pidfd::Pidfd;

/// A spawn begins: whether its child needs a pidfd. Until it is over there is
/// room for its watch, and no unknown child is told of, as it may be this one:
/// another thread may reap it before it is registered.
pub(crate) fn begin_spawn(ctx: ContextId) -> Result<bool, Errno> {
    let mut reaper = lock(ctx.depth)?;
    reaper.context(ctx)?;
    reaper.reserve()?;
    let wanted = reaper.spawning as usize + 1;
    reaper
        .gates
        .try_reserve(wanted)
        .map_err(|_| Errno::ENOMEM)?;
    reaper.spawning += 1;
    Ok(!reaper.trusts_signal(ctx.index))
}

/// A spawn is over. Its child, if there is one, is registered; None where the
/// context was freed meanwhile.
pub(crate) fn end_spawn(
    ctx: ContextId,
    child: Option<Spawned>,
    callback: Option<ChildFn>,
    pvt: Pvt,
) -> Option<WatchId> {
    let mut reaper = lock(ctx.depth).ok()?;
    reaper.spawning -= 1;
    let hosted = reaper.live(ctx).map(|ctx| ctx.hosted);
    if hosted == Some(true) {
        reaper.attending = Attending::One(ctx.index);
    }
    let id = child
        .filter(|_| hosted.is_some())
        .map(|child| reaper.register_spawned(ctx.index, child, callback, pvt));
    reaper.attending = Attending::Nobody;
    if reaper.spawning == 0
        && let Some(owner) = reaper.for_unknown()
        && reaper.is_due(owner)
    {
        reaper.announce(owner);
    }
    id
}

/// The gate that holds a watch's child, taken out to be opened.
pub(crate) fn take_gate(id: WatchId) -> Result<Gate, Errno> {
    let mut reaper = lock(id.depth())?;
    let (at, slot) = reaper.watch(id)?;
    let over = slot.flags.intersects(Flags::INERT | Flags::ENDED);
    let none = if over { Errno::ESRCH } else { Errno::EALREADY };
    reaper.take_gate(at).ok_or(none)
}

impl Reaper {
    /// Our own child, whatever became of it meanwhile.
    fn register_spawned(
        &mut self,
        me: u16,
        child: Spawned,
        callback: Option<ChildFn>,
        pvt: Pvt,
    ) -> WatchId {
        let pid = child.pid;
        let known = self.find_fresh(pid);
        let found = match child.pidfd {
            Some(fd) => Found {
                change: None,
                pidfd: Some(Pidfd::from(fd)),
            },
            None => self.find_child(me, pid, known).unwrap_or_else(|_| {
                self.counts.lost += 1;
                note(Note::Lost(pid));
                Found {
                    change: Some(Change::Lost),
                    pidfd: None,
                }
            }),
        };
        let known = known.and_then(|_| self.table.find(pid));
        let id = self.insert(me, pid, known, found, callback, pvt);
        if let Some(gate) = child.gate {
            self.gates.push((id.index(), gate));
        }
        id
    }

    pub(crate) fn take_gate(&mut self, at: u32) -> Option<Gate> {
        let place = self.gates.iter().position(|&(held, _)| held == at)?;
        Some(self.gates.swap_remove(place).1)
    }
}
