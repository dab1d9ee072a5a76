//! A child's change is written down for each of its watches, and these are queued in
//! their contexts.

use super::agenda::Debt;
use super::event::Facts;
use super::log::{Note, note};
use super::policy::LOOK_WITHIN;
use super::process::{Reaper, TASK};
use super::status::{Change, classify};
use super::table::{Flags, NIL};

/// A watch may be queued for a stop when its child ends. Then it is moved to the end of
/// the queue, so that ends are told in order, if it is found among this many entries.
/// Else stop and end are told together, before the ends of others that ended earlier.
const LOOKED_THROUGH: u32 = 256;

impl Reaper {
    /// Writes down what was found out about a child, for each of its watches;
    /// whether it ended.
    pub(crate) fn tell(&mut self, leader: u32, change: Change, facts: Facts) -> bool {
        let ended = matches!(change, Change::End(_) | Change::Lost);
        if ended {
            self.record_end(leader, facts);
        }
        let gone = ended && !facts.kept;
        if gone {
            self.let_go(leader);
        } else if ended {
            self.lie(leader);
        }
        let mut at = leader;
        while at != NIL {
            let next = self.table.next_watch(at);
            let slot = self.table.slot(at);
            if !slot.is(Flags::ABANDONED) {
                let told = match self.rich_asks_for(slot.sink, change) {
                    Some(told) => told,
                    None if slot.sink.task().is_some() => ended,
                    None => self.at(slot.context).asks_for(change),
                };
                let companion = self.companion(slot.sink);
                if gone {
                    self.table.latch(at);
                }
                if told {
                    self.table.record(at, change);
                }
                if let Some(companion) = companion {
                    self.post_task(companion);
                } else if told {
                    self.enqueue(at);
                }
            } else if gone && !slot.is(Flags::QUEUED) {
                self.table.release(at);
            }
            at = next;
        }
        ended
    }

    /// Takes a child out of the table and closes its pidfd.
    pub(crate) fn let_go(&mut self, leader: u32) {
        if let Some(pidfd) = self.table.remove_child(leader) {
            let ours = self.part(leader, pidfd);
            self.close_pidfd(pidfd, ours);
        }
    }

    /// A child that nobody registered ended.
    pub(crate) fn found_unknown(&mut self, owner: u16, pid: i32, status: i32) {
        if !matches!(classify(status), Change::End(_)) {
            return;
        }
        self.counts.reaped += 1;
        self.counts.unknown += 1;
        self.parked.park(pid, status, self.kernel.now());
        if self.at(owner).params.unknown.is_some() {
            self.announce(owner);
            self.remember_unknown(owner);
        } else {
            note(Note::Unknown(pid));
        }
    }

    /// Has unknown children that a spawn puts off told later.
    pub(crate) fn remember_unknown(&mut self, owner: u16) {
        if self.spawning > 0 && self.at(owner).params.unknown.is_some() {
            let now = self.kernel.now();
            if let Some(since) = self.parked.untold_after(now.saturating_sub(LOOK_WITHIN)) {
                self.agenda.owe(Debt::Tell, since + LOOK_WITHIN);
            }
        }
    }

    /// Queues a watch in its context. Ends are told in the order in which they
    /// were waited for.
    #[inline(always)]
    pub(crate) fn enqueue(&mut self, at: u32) {
        let slot = self.table.slot(at);
        if let Some(task) = slot.sink.task() {
            self.queue_end(task, at);
            return;
        }
        if !self.muted.is_empty() && self.muted.contains(&at) {
            return;
        }
        if slot.is(Flags::QUEUED) {
            if !slot.is(Flags::ENDED) || slot.next_queued == NIL || !self.unqueue(at) {
                return;
            }
        }
        let slot = self.table.slot_mut(at);
        slot.flags |= Flags::QUEUED;
        slot.next_queued = NIL;
        let index = slot.context;
        self.append(index, at);
    }

    /// Puts a watch or a task last in a context's queue.
    #[inline(always)]
    pub(crate) fn append(&mut self, index: u16, link: u32) {
        let ctx = self.at_mut(index);
        ctx.queued += 1;
        let tail = std::mem::replace(&mut ctx.tail, link);
        if tail == NIL {
            ctx.head = link;
        } else {
            *self.next_queued(tail) = link;
        }
        self.announce(index);
    }

    /// What comes after this in the queue.
    #[inline(always)]
    fn next_queued(&mut self, link: u32) -> &mut u32 {
        if link & TASK == 0 {
            &mut self.table.slot_mut(link).next_queued
        } else {
            &mut self.tasks.entry_mut(link & !TASK).next
        }
    }

    /// Takes a watch that is not the last out of its context's queue; false where
    /// it is not found soon.
    fn unqueue(&mut self, at: u32) -> bool {
        let index = self.table.slot(at).context;
        let next = self.table.slot(at).next_queued;
        let mut before = self.at(index).head;
        if before == at {
            self.at_mut(index).head = next;
        } else {
            let mut left = LOOKED_THROUGH;
            while *self.next_queued(before) != at {
                before = *self.next_queued(before);
                left -= 1;
                if left == 0 {
                    return false;
                }
            }
            *self.next_queued(before) = next;
        }
        self.at_mut(index).queued -= 1;
        true
    }

    /// Takes the first watch or task out of a context's queue.
    #[inline(always)]
    pub(crate) fn dequeue(&mut self, index: u16) {
        let link = self.at(index).head;
        if link & TASK == 0 {
            self.table.slot_mut(link).flags -= Flags::QUEUED;
        } else {
            self.tasks.entry_mut(link & !TASK).queued = false;
        }
        let next = *self.next_queued(link);
        let ctx = self.at_mut(index);
        ctx.queued -= 1;
        ctx.head = next;
        if next == NIL {
            ctx.tail = NIL;
        }
    }

    pub(crate) fn is_due(&self, index: u16) -> bool {
        let ctx = self.at(index);
        ctx.head != NIL || self.unknown_is_due(index)
    }

    fn unknown_is_due(&self, index: u16) -> bool {
        let ctx = self.at(index);
        (ctx.params.unknown.is_some() && self.parked.is_due(self.told_until())
            || ctx.walk_again && self.spawning == 0)
            && self.for_unknown() == Some(index)
    }
}
