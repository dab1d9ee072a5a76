//! The second source: pidfds of the old children, edge-triggered in the epoll
//! of the contexts that watch them.
//!
//! Descriptors belong to the daemon. So the number of pidfds is limited, some are given
//! back when descriptors run short, and a number that no epoll of ours knows is never
//! closed: the daemon has closed our pidfd, and the number may be another file's by now.

use nix::errno::Errno;

use super::agenda::Debt;
use super::kernel::Events;
use super::log::{Note, note};
use super::policy::{BETWEEN_CLOCKS, HOLD, LOOK_WITHIN};
use super::process::{PROCESS, Reaper};
use super::subscriber::Context;
use super::table::{Flags, NIL, Slot};
use crate::sys::epoll::{Descriptor, EVENTS, Event};
use crate::sys::error::Error;
use crate::sys::pidfd::Pidfd;

/// What a context's epoll had beside pidfds.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Taken {
    pub(crate) timer: bool,
    wake: bool,
    /// There may be more.
    pub(crate) more: bool,
}

/// How many of the children that need a pidfd got one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Promoted {
    All,
    /// As many as was possible in the time that the lock may be held.
    Some,
    /// The next one could not be opened.
    Refused,
}

/// How many pidfds may have low numbers, which a daemon that uses select(2) needs.
const LOW: u32 = 64;
/// How many pidfds are given back at once.
pub(crate) const GIVEN_BACK: u32 = 16;
/// How often [`relieve`] tries the lock. It yields the processor after each try.
const PATIENCE: u32 = 64;

/// Gives some pidfds back, after a call of the library found no descriptor left; whether
/// there were any. Does nothing where the caller itself has the lock.
pub(crate) fn relieve() -> bool {
    let Some(own) = PROCESS.get() else {
        return false;
    };
    for _ in 0..PATIENCE {
        if let Some(mut reaper) = own.value.try_lock() {
            return reaper.give_back(GIVEN_BACK) > 0;
        }
        std::thread::yield_now();
    }
    false
}

impl Reaper {
    /// The most pidfds there may be when one is opened for a child of this context.
    fn most_pidfds(&self, index: u16) -> u32 {
        let params = &self.at(index).params;
        let most = params.max_pidfds.unwrap_or(self.descriptor_limit / 2);
        if params.untrusted {
            return most;
        }
        most.min(self.pidfds_at_most)
    }

    /// Whether one more pidfd may be opened for a child of this context.
    pub(crate) fn may_have_pidfd(&mut self, index: u16) -> bool {
        if self.pidfds_useless {
            return false;
        }
        if self.table.old() < self.most_pidfds(index) {
            return true;
        }
        // The limit may have been raised.
        self.descriptor_limit = self.kernel.descriptor_limit();
        self.end_shortage();
        self.table.old() < self.most_pidfds(index)
    }

    /// After some pidfds were given back: allows a few more again once there are free
    /// descriptors for these and for the daemon.
    fn end_shortage(&mut self) {
        if self.table.old() < self.pidfds_at_most {
            return;
        }
        let now = self.kernel.now();
        if now < self.short_until {
            return;
        }
        let limit = self.descriptor_limit;
        if self
            .kernel
            .has_descriptors(limit, (GIVEN_BACK * 2).min(limit / 4))
        {
            self.pidfds_at_most = self.table.old() + GIVEN_BACK;
        } else {
            self.short_until = now + LOOK_WITHIN;
        }
    }

    /// Opens a pidfd of a child of ours. ESRCH where the pid is no child of ours.
    pub(crate) fn open_pidfd(&mut self, index: u16, pid: i32) -> Result<Pidfd, Error> {
        if self.pidfds_useless {
            return Err(Errno::ENOSYS.into());
        }
        if !self.may_have_pidfd(index) {
            return Err(Errno::EMFILE.into());
        }
        self.ensure_descriptor(index)?;
        let pidfd = match self.kernel.open(pid) {
            // The other contexts can do without their pidfds.
            Err(error)
                if error == Errno::EMFILE
                    && self.at(index).params.untrusted
                    && self.give_back(GIVEN_BACK) > 0 =>
            {
                self.kernel.open(pid)?
            }
            opened => opened?,
        };
        match self.is_held(pidfd) {
            Ok(true) => Ok(pidfd),
            Ok(false) => {
                // Other code has reaped the child, and the pid is another process's
                // already.
                self.kernel.close(pidfd);
                Err(Errno::ESRCH.into())
            }
            Err(errno) => {
                self.kernel.close(pidfd);
                Err(errno)
            }
        }
    }

    /// Whether a pidfd that was just opened is a child's of ours. ENOSYS where the kernel
    /// knows pidfds but cannot wait for one (Linux 5.3): then none is opened from now on.
    pub(crate) fn is_held(&mut self, pidfd: Pidfd) -> Result<bool, Error> {
        match self.kernel.holds_child(pidfd) {
            Err(error) if error == Errno::EINVAL => {
                self.pidfds_useless = true;
                Err(Errno::ENOSYS.into())
            }
            held => held,
        }
    }

    /// Gives a young child a pidfd.
    pub(crate) fn make_old(&mut self, leader: u32) -> Result<(), Error> {
        let slot = *self.table.slot(leader);
        match self.open_pidfd(slot.context, slot.pid) {
            Ok(pidfd) => self.adopt_pidfd(leader, pidfd),
            Err(error) if error == Errno::ESRCH => {
                self.wait_child(leader);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a young child this pidfd of its own.
    pub(crate) fn adopt_pidfd(&mut self, leader: u32, pidfd: Pidfd) -> Result<(), Error> {
        if self.table.slot(leader).is(Flags::OLD) {
            // Another thread registered it meanwhile, and it has one.
            self.kernel.close(pidfd);
            return Ok(());
        }
        let pidfd = if self.table.old() < LOW {
            pidfd
        } else {
            self.kernel.move_up(pidfd, self.descriptor_limit)
        };
        if let Err(errno) = self.join(leader, pidfd) {
            self.part(leader, pidfd);
            self.kernel.close(pidfd);
            return Err(errno);
        }
        self.table.make_old(leader, pidfd);
        self.inheritance.lock().add_pidfd(pidfd);
        Ok(())
    }

    /// Puts a child's pidfd into the epolls of the contexts that watch the child: those
    /// whose descriptor is polled, and in any case that of the leading watch.
    fn join(&mut self, leader: u32, pidfd: Pidfd) -> Result<(), Error> {
        let mut at = leader;
        while at != NIL {
            let Slot { context, pid, .. } = *self.table.slot(at);
            if at == leader {
                self.ensure_descriptor(context)?;
            }
            let ctx = self.at(context);
            if at == leader || ctx.polled {
                if let Some(descriptor) = &ctx.descriptor {
                    self.kernel.add(descriptor, pidfd, pid)?;
                }
            }
            at = self.table.next_watch(at);
        }
        Ok(())
    }

    /// Takes a pidfd out of every epoll that it may be in; whether one had it.
    pub(crate) fn part(&mut self, leader: u32, pidfd: Pidfd) -> bool {
        let mut ours = false;
        let mut at = leader;
        while at != NIL {
            if let Some(descriptor) = &self.at(self.table.slot(at).context).descriptor {
                ours |= self.kernel.remove(descriptor, pidfd);
            }
            at = self.table.next_watch(at);
        }
        ours
    }

    /// Closes a pidfd that is no longer in the table, but only if it is `ours`: an epoll
    /// of ours knew it.
    pub(crate) fn close_pidfd(&self, pidfd: Pidfd, ours: bool) {
        self.inheritance.lock().remove_pidfd(pidfd);
        if ours {
            self.kernel.close(pidfd);
        }
    }

    /// The watches of an old child have changed: its pidfd goes into the epolls of those
    /// that watch it now. `from` is the context of a watch that has left.
    pub(crate) fn rejoin(&mut self, leader: u32, from: Option<u16>) {
        let Some(pidfd) = self.table.slot(leader).pidfd() else {
            return;
        };
        let joined = self.join(leader, pidfd);
        let left = from.filter(|&index| joined.is_err() || !self.watches(index, leader));
        let mut ours = false;
        if let Some(index) = left {
            if let Some(descriptor) = &self.at(index).descriptor {
                ours = self.kernel.remove(descriptor, pidfd);
            }
        }
        if let Err(errno) = joined {
            self.no_pidfd(errno);
            ours |= self.part(leader, pidfd);
            self.table.make_young(leader);
            self.close_pidfd(pidfd, ours);
            self.hear_without_pidfd(leader);
        }
        // The child may have ended, and its SIGCHLD may have been left to the epoll that the
        // pidfd has just been taken out of.
        if left.is_some() {
            let now = self.kernel.now();
            let debt = if joined.is_err() {
                Debt::Each
            } else {
                Debt::Pidfds
            };
            self.agenda.owe(debt, now);
        }
    }

    /// A number that the table has is no pidfd: the daemon has closed it, and perhaps
    /// others. From now on the child is waited for by its pid.
    pub(crate) fn lose_pidfd(&mut self, leader: u32) {
        let slot = *self.table.slot(leader);
        note(Note::Closed(slot.pid));
        self.make_young(leader);
        let gone = self.at(slot.context).descriptor.as_ref();
        if gone.is_some_and(Descriptor::is_gone) {
            self.lose_descriptor(slot.context);
        } else {
            self.doubt_pidfds();
        }
    }

    /// Has each pidfd checked whether it still is one.
    pub(crate) fn doubt_pidfds(&mut self) {
        self.demoting = 0;
        let now = self.kernel.now();
        self.agenda.owe(Debt::Demote, now);
    }

    /// Gives up an old child's pidfd.
    fn make_young(&mut self, leader: u32) {
        if let Some(pidfd) = self.table.make_young(leader) {
            let ours = self.part(leader, pidfd);
            self.close_pidfd(pidfd, ours);
            self.hear_without_pidfd(leader);
        }
    }

    /// The daemon has closed a context's descriptor, and the number may be another file's
    /// by now. The context has none until the daemon asks for a new one.
    pub(crate) fn lose_descriptor(&mut self, index: u16) {
        let ctx = self.at_mut(index);
        let Some(descriptor) = ctx.descriptor.take() else {
            return;
        };
        descriptor.forget();
        ctx.polled = false;
        ctx.announced = false;
        ctx.alarm_at = None;
        self.bequeath_context(index);
        self.at_mut(index).bereft = true;
        self.demoting = 0;
        self.demote();
        if !self.agenda.is_empty() {
            self.agenda.unsettled = true;
        }
    }

    /// Makes those children young whose pidfds wake nobody any more: the pidfds were in
    /// the epoll of a lost descriptor, or the daemon has closed them. Stops when the lock
    /// was held for long enough; the rest is owed. At the end a wait for each young child
    /// is owed, as the signal of one that has ended may have been taken already.
    pub(crate) fn demote(&mut self) {
        let until = self.kernel.now() + HOLD;
        let mut left = BETWEEN_CLOCKS;
        self.agenda.paid(Debt::Demote);
        while self.demoting < self.table.bound() {
            let at = self.demoting;
            self.demoting += 1;
            let slot = *self.table.slot(at);
            let Some(pidfd) = slot.pidfd().filter(|_| slot.is(Flags::LEADS)) else {
                continue;
            };
            if self.at(slot.context).bereft || self.kernel.holds_child(pidfd).is_err() {
                note(Note::Closed(slot.pid));
                self.make_young(at);
            }
            left -= 1;
            if left == 0 {
                left = BETWEEN_CLOCKS;
                let now = self.kernel.now();
                if now >= until {
                    self.agenda.owe(Debt::Demote, now);
                    return;
                }
            }
        }
        for ctx in &mut self.contexts {
            ctx.bereft = false;
        }
        if self.table.young() > 0 {
            let now = self.kernel.now();
            self.agenda.owe(Debt::Each, now);
        }
    }

    /// Looks whether the daemon has closed descriptors of ours.
    pub(crate) fn find_lost_descriptors(&mut self) {
        let mut index = 0;
        while usize::from(index) < self.contexts.len() {
            if self
                .at(index)
                .descriptor
                .as_ref()
                .is_some_and(Descriptor::is_gone)
            {
                self.lose_descriptor(index);
            }
            index += 1;
        }
    }

    /// Gives up to `wanted` pidfds back, as descriptors run short; how many. Those whose
    /// children SIGCHLD tells of too come first. Those of untrusted contexts stay:
    /// without the pidfd, other code that waits for the child takes its status for good,
    /// and the pid may be another child's by then.
    pub(crate) fn give_back(&mut self, wanted: u32) -> u32 {
        let had = self.table.old();
        if had == 0 {
            return 0;
        }
        for also_deaf in [false, true] {
            for at in 0..self.table.bound() {
                let slot = self.table.slot(at);
                if had - self.table.old() >= wanted {
                    break;
                }
                if slot.is(Flags::LEADS | Flags::OLD)
                    && (also_deaf || !self.at(slot.context).is_deaf())
                    && !self.is_untrusted(at)
                {
                    self.make_young(at);
                }
            }
        }
        self.pidfds_at_most = self.table.old();
        let given = had - self.table.old();
        if given > 0 {
            // The signal of one that has ended may have been taken already.
            let now = self.kernel.now();
            self.agenda.owe(Debt::Each, now);
        }
        given
    }

    /// Whether an untrusted context watches this child.
    fn is_untrusted(&self, leader: u32) -> bool {
        let mut at = leader;
        while at != NIL && !self.at(self.table.slot(at).context).params.untrusted {
            at = self.table.next_watch(at);
        }
        at != NIL
    }

    pub(crate) fn ensure_descriptor(&mut self, index: u16) -> Result<(), Error> {
        if self.at(index).descriptor.is_none() {
            let descriptor = match Descriptor::new() {
                Err(error) if error == Errno::EMFILE && self.give_back(GIVEN_BACK) > 0 => {
                    Descriptor::new()?
                }
                made => made?,
            };
            self.at_mut(index).descriptor = Some(descriptor);
            self.bequeath_context(index);
        }
        Ok(())
    }

    /// Gives pidfds to as many settled children as the policy says, the oldest first.
    pub(crate) fn promote(&mut self) {
        let mut left = self.policy.promote(self.table.settled());
        if left == 0 {
            return;
        }
        let mut at = self.table.first_young();
        while left > 0 && at != NIL && !self.table.slot(at).is(Flags::FRESH) {
            let next = self.table.next_young(at);
            if let Err(errno) = self.make_old(at) {
                self.no_pidfd(errno);
                self.policy.promoted();
                return;
            }
            self.counts.promoted += 1;
            left -= 1;
            at = next;
        }
        if self.table.settled() == 0 {
            self.policy.promoted();
        }
    }

    /// Gives a pidfd to every young child that a context watches, for as long as the lock
    /// may be held. Stops at the first that gets none, as the others would not get one
    /// either.
    pub(crate) fn promote_all(&mut self, index: u16) -> Promoted {
        let until = self.kernel.now() + HOLD;
        let mut left = BETWEEN_CLOCKS;
        let mut at = self.table.first_young();
        while at != NIL {
            let next = self.table.next_young(at);
            if self.watches(index, at) {
                if let Err(errno) = self.make_old(at) {
                    self.no_pidfd(errno);
                    return Promoted::Refused;
                }
                self.counts.promoted += 1;
                left -= 1;
            }
            if left == 0 {
                left = BETWEEN_CLOCKS;
                if self.kernel.now() >= until {
                    return Promoted::Some;
                }
            }
            at = next;
        }
        Promoted::All
    }

    fn watches(&self, index: u16, leader: u32) -> bool {
        let mut at = leader;
        while at != NIL && self.table.slot(at).context != index {
            at = self.table.next_watch(at);
        }
        at != NIL
    }

    pub(crate) fn no_pidfd(&mut self, error: Error) {
        self.counts.no_pidfd += 1;
        note(Note::NoPidfd(error));
    }

    /// A context's descriptor is polled from now on: puts the pidfds of its children into
    /// its epoll, from the slot `cursor` on, for as long as the lock may be held; whether
    /// there are more.
    pub(crate) fn join_some(&mut self, index: u16, cursor: &mut u32) -> bool {
        let until = self.kernel.now() + HOLD;
        let mut left = BETWEEN_CLOCKS;
        while *cursor < self.table.bound() {
            let slot = self.table.slot(*cursor);
            *cursor += 1;
            if !slot.is(Flags::USED) || slot.context != index {
                continue;
            }
            if let Some(leader) = self.table.find(slot.pid) {
                self.rejoin(leader, None);
            }
            left -= 1;
            if left == 0 {
                left = BETWEEN_CLOCKS;
                if self.kernel.now() >= until {
                    return true;
                }
            }
        }
        false
    }

    /// Takes the events of a context's epoll, and waits for the children whose pidfds are
    /// among them. Takes at most `left` events, which it counts down, and only for as
    /// long as the lock may be held. Returns what there was beside pidfds. EBADF where
    /// the daemon has closed the epoll.
    pub(crate) fn take_pidfds(&mut self, index: u16, left: &mut u32) -> Result<Taken, Error> {
        let mut taken = Taken::default();
        let mut until = u64::MAX;
        let mut events: Events = [Event::Wake; EVENTS];
        while *left > 0 {
            let asked = EVENTS.min(*left as usize);
            let Some(descriptor) = &self.at(index).descriptor else {
                return Ok(taken);
            };
            let Ok(found) = self.kernel.take(descriptor, &mut events[..asked]) else {
                self.lose_descriptor(index);
                return Err(Errno::EBADF.into());
            };
            for event in &events[..found] {
                match *event {
                    Event::Timer => taken.timer = true,
                    Event::Wake => taken.wake = true,
                    Event::Watched { task, fd } => self.fd_is_ready(task, fd),
                    // Another context may have been quicker.
                    Event::Pidfd(pid) => {
                        if let Some(leader) = self.table.find(pid) {
                            self.wait_child(leader);
                        }
                    }
                }
                *left -= 1;
            }
            if found < asked {
                return Ok(taken);
            }
            // Usually one call takes all the events, and the clock is not read.
            let now = self.kernel.now();
            if now >= until {
                break;
            }
            until = until.min(now + HOLD);
        }
        taken.more = true;
        Ok(taken)
    }

    /// The same for the contexts whose descriptor nobody polls. What is left is
    /// owed at once.
    pub(crate) fn take_unpolled_pidfds(&mut self) {
        if !self.take_pidfds_where(|ctx| !ctx.polled) {
            let now = self.kernel.now();
            self.agenda.owe(Debt::Pidfds, now);
        }
    }

    /// The same for all; false where some are left.
    pub(crate) fn take_all_pidfds(&mut self) -> bool {
        self.take_pidfds_where(|_| true)
    }

    fn take_pidfds_where(&mut self, which: impl Fn(&Context) -> bool) -> bool {
        if self.table.old() == 0 {
            return true;
        }
        let mut all = true;
        for index in 0..self.contexts.len() {
            let ctx = &self.contexts[index];
            if ctx.live && ctx.descriptor.is_some() && which(ctx) {
                #[allow(clippy::cast_possible_truncation)] // contexts are counted in u16
                let index = index as u16;
                let Ok(taken) = self.take_pidfds(index, &mut { u32::MAX }) else {
                    continue;
                };
                all &= !taken.more;
                // The timer and the wake-up are for the context's own loop: both are set
                // again.
                if let Some(descriptor) = &self.at(index).descriptor {
                    if taken.timer {
                        descriptor.arm(1);
                    }
                    if taken.wake {
                        descriptor.wake();
                    }
                }
            }
        }
        all
    }
}
