//! Looks for what could keep exits from being told, and repairs it.

use super::agenda::Debt;
use super::drain::pay_all;
use super::id::ContextId;
use super::log::{Note, note};
use super::pidfds::GIVEN_BACK;
use super::process::{Attending, Counts, Reaper, lock};
use crate::sys::error::Error;
use crate::sys::fd;
use crate::sys::signal::{self, Disposition};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Audit {
    pub(crate) ignored: bool,
    pub(crate) no_zombies: bool,
    pub(crate) no_stops: bool,
    pub(crate) replaced: bool,
    pub(crate) blocked: bool,
    pub(crate) reaper: Counts,
}

pub(crate) fn audit(id: ContextId) -> Result<Audit, Error> {
    let now = Disposition::read();
    let blocked = signal::sigchld_blocked();
    let mut reaper = lock(id.depth)?;
    let ctx = reaper.context(id)?;
    let replaced = !now.same_handler(ctx.disposition);
    let no_stops = ctx.params.options != 0 && now.no_stops();
    ctx.disposition = now;
    let (reachable, hosted) = (ctx.polled, ctx.params.hosted);
    if hosted {
        reaper.attending = Attending::One(id.index);
    }
    reaper.serve(id.index);
    // A pidfd tells what no signal does.
    if reachable && (now.auto_reaps() || replaced) {
        reaper.at_mut(id.index).signalled = false;
        reaper.look_at_unheard(Some(id.index));
    }
    if now.auto_reaps() {
        note(Note::AutoReap);
    }
    if replaced {
        note(Note::Replaced);
    }
    reaper.descriptor_limit = reaper.kernel.descriptor_limit();
    reaper.find_lost_descriptors();
    reaper.doubt_pidfds();
    if fd::is_short() {
        reaper.give_back(GIVEN_BACK * 4);
    }
    let at = reaper.kernel.now();
    for debt in [Debt::Pidfds, Debt::Each, Debt::Walk] {
        reaper.agenda.owe(debt, at);
    }
    let attending = reaper.attending;
    // A look that stopped early, as it had held the lock for long, goes on at once.
    while reaper.live(id).is_some() && reaper.hasten_looks() {
        reaper = pay_all(reaper, id, attending);
    }
    Ok(Audit {
        ignored: now.ignored(),
        no_zombies: now.no_zombies(),
        no_stops,
        replaced,
        blocked,
        reaper: reaper.counts(),
    })
}

impl Reaper {
    /// Makes the looks that are owed due at once; whether there are any.
    fn hasten_looks(&mut self) -> bool {
        self.policy.end_rests();
        let now = self.kernel.now();
        let sweep = self.agenda.hasten(Debt::Sweep, now);
        self.agenda.hasten(Debt::Walk, now) || sweep
    }
}
