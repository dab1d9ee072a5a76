//! What runs when something woke a context: the sources, each where it is
//! worth its cost. Statuses are collected here and told afterwards.

use nix::errno::Errno;

use super::id::ContextId;
use super::policy::{AT_ONCE, CHEAP_WALK, LOOK_WITHIN, PID_WAIT, SHARE, WALK_SHARE, When};
use super::reaper::{Attending, Reaper, lock};
use super::sweep::Peeked;
use crate::sys::{clock, wait};

/// For whom the caller is to make callbacks, as no loop comes round for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callable {
    /// The context has callbacks due, and a loop that would have to be woken.
    pub(crate) own: bool,
    /// The first of those that have neither a host nor a descriptor.
    pub(crate) bare: Option<ContextId>,
    /// There are other contexts.
    pub(crate) others: bool,
}

/// SIGCHLD came, and named a child that changed, if any. Signals merge: others
/// may have changed too.
pub(crate) fn signalled(id: ContextId, hint: Option<i32>) -> Result<Callable, Errno> {
    let mut reaper = lock(id.depth)?;
    let ctx = reaper.context(id)?;
    ctx.signalled = true;
    let hosted = ctx.params.hosted;
    reaper.attending = if hosted {
        Attending::One(id.index)
    } else {
        Attending::Bare(id.index)
    };
    let put_off = std::mem::replace(&mut reaper.put_off, u64::MAX);
    reaper.after_signal(id.index, hint);
    if reaper.put_off != u64::MAX {
        reaper.put_off = reaper.put_off.min(put_off);
    } else if put_off != u64::MAX {
        reaper.alarm(id.index, put_off, clock::now());
    }
    reaper.attending = Attending::Nobody;
    Ok(Callable {
        own: (hosted || reaper.at(id.index).polled) && reaper.is_due(id.index),
        bare: reaper.next_bare(None),
        others: reaper.contexts.len() > 1,
    })
}

/// The context's descriptor is readable.
pub(crate) fn readable(id: ContextId, budget: u32) -> Result<(), Errno> {
    let mut reaper = lock(id.depth)?;
    let ctx = reaper.context(id)?;
    if !ctx.polled {
        return Err(Errno::ENOTSUP);
    }
    ctx.announced = false;
    reaper.attending = Attending::One(id.index);
    if reaper.take_pidfds(id.index, budget).timer {
        reaper.at_mut(id.index).alarm_at = None;
        reaper.run_deadlines(id.index);
        reaper.after_alarm(id.index);
    }
    reaper.attending = Attending::Nobody;
    Ok(())
}

/// All that a watch may ask for.
const BOTH: i32 = libc::WUNTRACED | libc::WCONTINUED;

impl Reaper {
    fn after_signal(&mut self, me: u16, hint: Option<i32>) {
        // Those that got no pidfd at their registration may get one now.
        if self.at(me).params.untrusted && self.table.young() > 0 {
            self.promote_all(me);
        }
        let owner = self.for_unknown();
        if let Some(owner) = owner
            && self.children() <= CHEAP_WALK
            && self.walk_sees_all(owner)
        {
            let reaped = self.counts.reaped;
            self.walk(owner);
            // A walk does not show that a child was taken by somebody else.
            if let Some(leader) = hint.and_then(|pid| self.table.find(pid)) {
                self.wait_child(leader);
            }
            let owed = self.sweep_owed || self.counts.reaped == reaped;
            if owed || !self.owe_each(me) {
                self.take_unpolled_pidfds();
                self.sweep();
            }
            self.remember_unknown(owner);
            self.promote();
            return;
        }
        match hint {
            None => {
                self.timer_at = None;
                self.take_unpolled_pidfds();
                let walks = self.counts.walks;
                self.sweep_now(me, owner, clock::now(), true);
                if let Some(owner) = owner
                    && self.counts.walks == walks
                {
                    self.walk(owner);
                }
                if let Some(owner) = owner {
                    self.remember_unknown(owner);
                }
            }
            Some(pid) => {
                self.take_hint(owner, pid);
                self.take_unpolled_pidfds();
                self.sweep_in_time(me, owner);
                if let Some(owner) = owner {
                    self.look_in_time(me, owner);
                }
            }
        }
        self.promote();
    }

    /// The timer of a context's descriptor ran out.
    fn after_alarm(&mut self, me: u16) {
        let owner = self.for_unknown();
        if self.sweep_owed {
            self.sweep_in_time(me, owner);
        }
        if let Some(by) = self.policy.each_by() {
            let now = clock::now();
            if now >= by || !self.alarm(me, by, now) {
                self.sweep();
            }
        }
        if let Some(owner) = owner
            && let Some(by) = self.policy.look_by()
        {
            let now = clock::now();
            if now >= by || !self.alarm(me, by, now) {
                self.walk(owner);
            }
        }
        if let Some(owner) = owner {
            self.remember_unknown(owner);
        }
        self.poll_unheard(me);
        self.promote();
    }

    /// A walk was made: each young child is to be waited for later. False where that
    /// is to be now.
    fn owe_each(&mut self, me: u16) -> bool {
        if self.table.young() == 0 {
            return true;
        }
        let now = clock::now();
        let by = self.policy.owe_each(now + LOOK_WITHIN);
        // The alarm that was set for it may have been another one's, and be over.
        now < by && self.alarm(me, by, now)
    }

    /// Whether waitpid(-1) with this context's options tells all there is.
    fn walk_sees_all(&self, owner: u16) -> bool {
        let options = self.at(owner).params.options;
        if self.may_keep() || (self.riches.stoppers > 0 && options != BOTH) {
            return false;
        }
        self.contexts
            .iter()
            .all(|ctx| !ctx.live || ctx.params.options & !options == 0)
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
                self.died_young(standing, self.sweep_cost() > AT_ONCE);
            }
        } else if self.prompt_keeper() {
            // It may be a service's.
        } else if let Some(owner) = owner
            && self
                .parked
                .has_room(self.at(owner).params.unknown.is_some())
            && let Ok(Some((pid, status))) = wait::waitpid(pid, self.at(owner).params.options)
        {
            self.found_unknown(owner, pid, status);
        }
    }

    fn sweep_cost(&self) -> u64 {
        u64::from(self.table.young() + self.old_may_stop()) * PID_WAIT
    }

    /// Sweeps in the cheapest of its ways.
    fn sweep_now(&mut self, me: u16, owner: Option<u16>, now: u64, charged: bool) {
        let cost = self.sweep_cost();
        if cost == 0 {
            return;
        }
        let walk = self.policy.walk_cost(self.children());
        let walks =
            cost > AT_ONCE && cost > walk && self.policy.each_by().is_none_or(|by| now < by);
        if walks && let Some(peeked) = self.sweep_walking(owner, now, cost) {
            let (took, within) = match peeked {
                Peeked::All => (walk, LOOK_WITHIN),
                Peeked::Some => (cost, LOOK_WITHIN.min(cost * WALK_SHARE)),
            };
            self.policy.swept(took, WALK_SHARE, now);
            let by = self.policy.owe_each(now + within);
            if self.alarm(me, by, now) {
                return;
            }
        }
        let settled = self.table.settled();
        let swept = self.sweep();
        if charged {
            self.policy.died(swept.settled == 0, settled);
        }
        self.policy.swept(cost, SHARE, now);
    }

    /// Sweeps in the way in which the kernel walks; None where that did not show
    /// all that ended.
    fn sweep_walking(&mut self, owner: Option<u16>, now: u64, most: u64) -> Option<Peeked> {
        let Some(owner) = owner.filter(|&owner| self.walk_sees_all(owner)) else {
            return self.ends_only().then(|| self.peek(now, most)).flatten();
        };
        self.sweep_owed = false;
        if self.walk(owner) {
            return Some(Peeked::All);
        }
        // The unknown may have to be told first; ours need not wait for that.
        (!self.at(owner).walk_again).then_some(Peeked::Some)
    }

    /// A signal that named one child may hide others: looks for them now, or
    /// later where that is dear.
    fn sweep_in_time(&mut self, me: u16, owner: Option<u16>) {
        let cost = self.sweep_cost();
        if cost <= AT_ONCE {
            if cost > 0 {
                self.sweep();
            }
            self.sweep_owed = false;
            return;
        }
        let now = clock::now();
        if let When::At(at) = self.policy.sweep(now) {
            self.sweep_owed = true;
            if self.alarm(me, at, now) {
                return;
            }
        }
        self.sweep_now(me, owner, now, false);
    }

    fn look_in_time(&mut self, me: u16, owner: u16) {
        if !self.policy.earn(self.children()) {
            if self.policy.look_by().is_some() {
                return;
            }
            let now = clock::now();
            let by = self.policy.owe(now);
            if self.alarm(me, by, now) {
                return;
            }
        }
        self.walk(owner);
    }

    /// Looks after children that neither a signal nor a pidfd tells of: where
    /// no pidfd can be had, and the unknown ones.
    pub(crate) fn poll_unheard(&mut self, me: u16) {
        let ctx = self.at(me);
        if !ctx.polled || ctx.signalled {
            return;
        }
        let mut after = None;
        if self.table.young() > 0 && !self.promote_all(me) {
            self.sweep();
            after = Some(self.policy.poll_after(self.table.young()));
        }
        if self.for_unknown() == Some(me) {
            self.walk(me);
            after = after.or(Some(LOOK_WITHIN));
        }
        if let Some(after) = after {
            let now = clock::now();
            self.alarm(me, now + after, now);
        }
    }
}
