//! What runs when something woke a context: it collects the facts and carries out the
//! policy's plan. Statuses are collected here and told afterwards.

use nix::errno::Errno;

use super::agenda::Debt;
use super::id::ContextId;
use super::pidfds::Promoted;
use super::policy::{Facts, Look, Plan, Seen, UNHEARD_FIRST, When};
use super::process::{Attending, Locked, Reaper, lock};
use crate::sys::clock;
use crate::sys::error::Error;

/// The contexts whose callbacks the caller must make, as nothing else wakes their loops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callable {
    /// The signalled context has callbacks due, and would otherwise have to be woken.
    pub(crate) own: bool,
    /// The first of those that have neither a host nor a descriptor.
    pub(crate) bare: Option<ContextId>,
    /// There are other contexts.
    pub(crate) others: bool,
}

/// SIGCHLD came, and named a child that changed, if any. Signals merge: others
/// may have changed too.
pub(crate) fn signalled(id: ContextId, hint: Option<i32>) -> Result<Callable, Error> {
    let mut reaper = lock(id.depth)?;
    let ctx = reaper.context(id)?;
    ctx.signalled = true;
    let hosted = ctx.params.hosted;
    let attending = if hosted {
        Attending::One(id.index)
    } else {
        Attending::Bare(id.index)
    };
    reaper.doubted = false;
    reaper.attending = attending;
    // This signal may be the one that was sent to wake them.
    reaper.bare_come_round();
    reaper.serve(id.index);
    // A number below 1 names nobody.
    reaper.after_signal(id.index, hint.filter(|&pid| pid > 0));
    let mut reaper = pay_all(reaper, id, attending);
    reaper.live(id).ok_or(Errno::EINVAL)?;
    let callable = Callable {
        own: (hosted || reaper.at(id.index).polled) && reaper.is_due(id.index),
        bare: reaper.next_bare(None),
        others: reaper.contexts.len() > 1,
    };
    Ok(callable)
}

/// The context's descriptor is readable. EBADF where the daemon has closed it.
pub(crate) fn readable(id: ContextId, budget: u32) -> Result<(), Error> {
    let mut reaper = lock(id.depth)?;
    let ctx = reaper.context(id)?;
    if !ctx.polled {
        return Err(Errno::ENOTSUP.into());
    }
    ctx.announced = false;
    // Where another thread makes its callbacks, that thread has to be woken.
    let attending = if ctx.is_dispatched_elsewhere() {
        Attending::Nobody
    } else {
        Attending::One(id.index)
    };
    let mut timer = false;
    let mut left = budget;
    loop {
        reaper.attending = attending;
        reaper.serve(id.index);
        let taken = reaper.take_pidfds(id.index, &mut left)?;
        timer |= taken.timer;
        if !taken.more || left == 0 {
            break;
        }
        reaper = reaper.give_way();
        reaper.context(id)?;
    }
    if timer {
        reaper.at_mut(id.index).alarm_at = None;
        reaper.run_deadlines(id.index);
    }
    drop(pay_all(reaper, id, attending));
    Ok(())
}

/// All wait options that a watch may ask for.
const BOTH: i32 = libc::WUNTRACED | libc::WCONTINUED;

/// Pays what is due. The lock is given up between one look and the next, so that
/// no thread waits for all of them.
pub(crate) fn pay_all(
    mut reaper: Locked<'static>,
    id: ContextId,
    attending: Attending,
) -> Locked<'static> {
    let mut ended = Vec::new();
    loop {
        if reaper.pay() {
            reaper = reaper.give_way();
        } else if !ended.is_empty() {
            reaper.take_scanned(&mut ended);
            reaper = reaper.give_way();
        } else if reaper.begin_scan() {
            let kernel = reaper.kernel;
            let began = kernel.now();
            let all;
            (reaper, all) = reaper.unlocked(|| kernel.ended_children(&mut ended));
            // take_scanned() takes from the end: the oldest first.
            ended.reverse();
            reaper.end_scan(all, began);
        } else {
            return reaper;
        }
        if reaper.live(id).is_none() {
            return reaper;
        }
        reaper.attending = attending;
        reaper.serve(id.index);
    }
}

impl Reaper {
    fn bare_come_round(&mut self) {
        for ctx in &mut self.contexts {
            if ctx.is_bare() {
                ctx.announced = false;
            }
        }
    }

    pub(crate) fn after_signal(&mut self, me: u16, hint: Option<i32>) {
        // Those that got no pidfd at their registration may get one now.
        if self.at(me).params.untrusted && self.table.young() > 0 {
            self.promote_all(me);
        }
        let owner = self.for_unknown();
        if !self.walk_for_all(owner, hint) {
            match hint {
                Some(pid) => self.take_hint(owner, pid),
                None => self.signal_at = None,
            }
            let waits = self.table.young() + self.old_may_stop();
            if owner.is_some() || waits > 0 {
                let facts = self.facts(owner, true, true, hint.is_none());
                self.perform(owner, &facts);
            }
        }
        self.take_unpolled_pidfds();
        if let Some(owner) = owner {
            self.remember_unknown(owner);
        }
        self.promote();
    }

    /// Pays what is due, as much as the lock may be held for; whether there is more.
    pub(crate) fn pay(&mut self) -> bool {
        if self.agenda.is_empty() {
            return false;
        }
        let now = self.kernel.now();
        if self.agenda.next_locked() > now {
            return false;
        }
        if self.agenda.is_due(Debt::Pidfds, now) {
            self.agenda.paid(Debt::Pidfds);
            self.take_unpolled_pidfds();
        }
        if self.agenda.is_due(Debt::Demote, now) {
            self.demote();
        }
        let owner = self.for_unknown();
        if self.agenda.is_due(Debt::Tell, now) {
            self.agenda.paid(Debt::Tell);
            if let Some(owner) = owner {
                self.remember_unknown(owner);
                if self.is_due(owner) {
                    self.announce(owner);
                }
            }
        }
        if self.agenda.is_due(Debt::Unheard, now) {
            self.look_at_unheard(None);
        }
        let walk = self.agenda.is_due(Debt::Walk, now);
        let sweep = self.agenda.is_due(Debt::Sweep, now);
        if walk || sweep || self.agenda.is_due(Debt::Each, now) {
            let facts = self.facts(owner, walk, sweep, false);
            self.perform(owner, &facts);
        }
        self.promote();
        self.agenda.next_locked() <= now
    }

    fn facts(&self, owner: Option<u16>, walk: bool, sweep: bool, unnamed: bool) -> Facts {
        let now = self.kernel.now();
        Facts {
            now,
            unnamed,
            waits: self.table.young() + self.old_may_stop(),
            children: self.children(),
            walk: walk && owner.is_some(),
            sweep,
            each: self.agenda.is_due(Debt::Each, now),
            can_walk: owner.is_some_and(|owner| self.walk_sees_all(owner)),
            can_peek: self.ends_only(),
        }
    }

    fn perform(&mut self, owner: Option<u16>, facts: &Facts) {
        let now = facts.now;
        let plan = self.policy.plan(facts);
        let Plan { walk, sweep, by } = plan;
        // One that is not due yet stays owed for then.
        if facts.sweep || facts.waits == 0 {
            self.agenda.paid(Debt::Sweep);
        }
        if facts.waits == 0 {
            self.agenda.paid(Debt::Each);
        }
        // A walk that is owed for later stays owed, also where that time has come since the
        // facts were collected.
        let planned = facts.walk && self.agenda.is_due(Debt::Walk, now);
        if owner.is_none() || walk == When::Now || planned {
            self.agenda.paid(Debt::Walk);
        }
        for (when, debt) in [(walk, Debt::Walk), (sweep, Debt::Sweep)] {
            if let When::At(at) = when {
                self.agenda.owe(debt, at);
            }
        }
        let walks = walk == When::Now || (sweep == When::Now && by == Look::Walk);
        let mut seen = Seen::Hidden;
        if let Some(owner) = owner.filter(|_| walks) {
            if !self.take_all_pidfds() {
                self.agenda.owe(Debt::Walk, now);
                self.agenda.owe(Debt::Sweep, now);
                return;
            }
            seen = self.walk(owner, now);
            self.looked(Look::Walk, seen, now);
        }
        if sweep != When::Now {
            return;
        }
        if by == Look::Peek {
            seen = self.peek(now);
            self.looked(Look::Peek, seen, now);
        }
        if by == Look::Each || seen == Seen::Hidden {
            let settled = self.table.settled();
            let resumed = self.old_cursor != 0 || self.table.is_swept_in_part();
            let (seen, died) = self.sweep(now);
            if resumed && facts.sweep {
                // It has passed over children that may have ended since.
                self.agenda.owe(Debt::Sweep, now);
            }
            if facts.unnamed {
                self.policy.died(died == 0, settled);
            }
            if seen == Seen::All {
                self.looked(Look::Each, seen, now);
            }
        } else {
            self.owe_each(now);
        }
    }

    /// If a walk is due anyway, makes it before the child that the signal named is waited
    /// for. So all children, this one too, are told in the order of the walk. Returns
    /// whether a walk was made.
    fn walk_for_all(&mut self, owner: Option<u16>, hint: Option<i32>) -> bool {
        let Some(pid) = hint.filter(|_| owner.is_some()) else {
            return false;
        };
        let facts = self.facts(owner, true, true, false);
        let plan = self.policy.plan(&facts);
        if !facts.can_walk || plan.walk != When::Now {
            return false;
        }
        self.perform(owner, &facts);
        // A walk does not show that other code took the named child, so that is waited
        // for too. A walk that was interrupted goes on later and finds the child then.
        let whole = !self.agenda.is_owed(Debt::Walk);
        if let Some(leader) = self.table.find(pid).filter(|_| whole) {
            self.wait_child(leader);
        }
        true
    }

    /// Whether waitpid(-1) with this context's options tells all there is.
    fn walk_sees_all(&self, owner: u16) -> bool {
        let options = self.at(owner).params.options;
        if self.may_keep() || self.is_guarded() || (self.riches.stoppers > 0 && options != BOTH) {
            return false;
        }
        self.indices(|ctx| ctx.params.options & !options != 0)
            .next()
            .is_none()
    }

    /// Waits for the child that the signal named, after a look in the table.
    fn take_hint(&mut self, owner: Option<u16>, pid: i32) {
        if let Some(leader) = self.table.find(pid) {
            let standing = self.table.standing(leader);
            // By the pidfd first: it cannot mean another process of that pid.
            if !self.wait_child(leader) {
                if standing.is_none() {
                    self.look_for_stops(leader);
                }
            } else if let Some(standing) = standing {
                let dear = Look::Each.is_dear(self.table.young() + self.old_may_stop());
                self.died_young(standing, dear);
            }
        } else if self.prompt_keeper() {
            // It may be a service's.
        } else if let Some(owner) = owner {
            if self.room_or_walk_again(owner) {
                self.wait_unknown(owner, pid, self.at(owner).params.options);
            }
        }
    }

    /// A context was made, or has just taken SIGCHLD: children that ended before told
    /// nobody. So all of them are looked at now, for as long as the lock may be held; the
    /// rest is owed.
    pub(crate) fn look_once(&mut self, walk: bool) {
        self.policy.end_rests();
        let now = self.kernel.now();
        if walk && self.for_unknown().is_some() {
            self.agenda.owe(Debt::Walk, now);
        }
        if self.table.young() > 0 {
            self.agenda.owe(Debt::Each, now);
        }
        self.pay();
    }

    /// Looks at children that neither a signal nor a pidfd tells of: those that get no
    /// pidfd, those that send no SIGCHLD, and unknown ones. Each look comes later than
    /// the one before, unless that found something. `first` is a context that has just
    /// come to need this: then it is the first look for that one.
    pub(crate) fn look_at_unheard(&mut self, first: Option<u16>) {
        match first {
            None => {
                self.agenda.paid(Debt::Unheard);
                self.look_whether_heard();
            }
            Some(index) if self.at(index).is_doubtful() => self.owe_doubt(),
            Some(_) => {}
        }
        let now = self.kernel.now();
        let mut again = self.mute;
        let mut more = false;
        if self.children() == 0 {
            self.mute = false;
            again = false;
        }
        if self.table.young() > 0 {
            let mut index = 0;
            while usize::from(index) < self.contexts.len() {
                let wanted = first.is_none_or(|first| first == index);
                if wanted && self.at(index).is_deaf() {
                    match self.promote_all(index) {
                        Promoted::All => {}
                        Promoted::Some => more = true,
                        Promoted::Refused => again = true,
                    }
                }
                index += 1;
            }
        }
        if again {
            self.take_unpolled_pidfds();
            self.sweep(now);
        }
        let owner = self.for_unknown().filter(|&owner| self.at(owner).is_deaf());
        if let Some(owner) = owner {
            if first.is_none_or(|first| first == owner) {
                if self.take_all_pidfds() {
                    self.walk(owner, now);
                } else {
                    self.agenda.owe(Debt::Walk, now);
                }
            }
            again = true;
        }
        if again {
            let found = first.is_some() || self.counts.reaped != self.unheard_since;
            let after = self.policy.unheard(found, self.table.young());
            self.agenda.owe(Debt::Unheard, clock::later(now, after));
        }
        if more {
            self.agenda.owe(Debt::Unheard, now);
        }
        self.unheard_since = self.counts.reaped;
    }

    /// A daemon may pass SIGCHLD on once, and use only its descriptor after that. So this
    /// looks for ended children from time to time, at growing intervals. If it finds
    /// one, and no SIGCHLD is passed on before the next look, the context is treated
    /// as one that SIGCHLD does not reach.
    fn look_whether_heard(&mut self) {
        let doubted = std::mem::take(&mut self.doubted);
        let mut doubtful = false;
        for ctx in &mut self.contexts {
            if ctx.is_doubtful() {
                ctx.signalled = !doubted;
                doubtful = true;
            }
        }
        let owner = self
            .for_unknown()
            .filter(|&owner| self.at(owner).is_doubtful());
        if !doubtful || doubted || (owner.is_none() && self.table.young() == 0) {
            return;
        }
        let now = self.kernel.now();
        // First take what pidfds tell: of these children SIGCHLD need not have told.
        let all = self.take_all_pidfds();
        let before = self.counts.reaped;
        self.sweep(now);
        match owner {
            Some(owner) if all => {
                self.walk(owner, now);
            }
            Some(_) => self.agenda.owe(Debt::Walk, now),
            None => {}
        }
        self.doubted = self.counts.reaped != before;
        let after = if self.doubted {
            UNHEARD_FIRST
        } else {
            self.policy.doubt_less()
        };
        self.agenda.owe(Debt::Unheard, clock::later(now, after));
    }
}
