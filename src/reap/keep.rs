//! Zombies that are kept until every watch that wants to look at them has been told:
//! until then the pid is not reused, and /proc/PID can be read.
//!
//! A watch that keeps its child has the flag KEEPS until it was told of the end.
//! The child's end is looked at instead of waited for, told to every watch, and
//! the child *lies* (the flag ZOMBIE) in the table until none of its watches
//! keeps it any more. Then it is *buried*: waited for, and let go.
//!
//! Meanwhile the library must not call waitpid(-1), which would reap a kept zombie. It
//! finds unknown ends with WNOWAIT. But that returns the first zombie over and over: if a
//! kept one is the first, those behind it are found by a scan of /proc.

use super::agenda::Debt;
use super::policy::{HOLD, Look, Seen};
use super::process::Reaper;
use super::table::{Flags, NIL};
use crate::sys::error::Error;

impl Reaper {
    /// Whether a wait for any child could take one that is to be kept.
    pub(crate) fn may_keep(&self) -> bool {
        self.keep.keepers > 0
    }

    /// Whether this child lies there, a zombie that is kept.
    pub(crate) fn is_kept(&self, pid: i32) -> bool {
        self.table
            .find(pid)
            .is_some_and(|at| self.table.slot(at).is(Flags::ZOMBIE))
    }

    /// A watch keeps its child from now on.
    pub(crate) fn begin_keep(&mut self, at: u32) {
        self.table.slot_mut(at).flags |= Flags::KEEPS;
        self.keep.keepers += 1;
    }

    /// Whether one of a child's watches keeps it.
    pub(crate) fn keeps(&self, leader: u32) -> bool {
        if self.keep.keepers == 0 {
            return false;
        }
        let mut at = leader;
        while at != NIL && !self.table.slot(at).is(Flags::KEEPS) {
            at = self.table.next_watch(at);
        }
        at != NIL
    }

    /// A child has ended and is kept.
    pub(crate) fn lie(&mut self, leader: u32) {
        self.table.slot_mut(leader).flags |= Flags::ZOMBIE;
    }

    /// The leader of the kept zombie that a watch belongs to, where the zombie still
    /// lies.
    pub(crate) fn lying(&self, at: u32) -> Option<u32> {
        let slot = self.table.slot(at);
        if !slot
            .flags
            .intersects(Flags::ENDED | Flags::INERT | Flags::KEEPS)
        {
            return None;
        }
        let leader = self.table.find(slot.pid)?;
        (self.table.slot(leader).is(Flags::ZOMBIE) && self.table.is_watch_of(at, leader))
            .then_some(leader)
    }

    /// A watch was told of its child's end, or ends: it keeps nothing any more.
    pub(crate) fn told_end(&mut self, at: u32) {
        let lying = self.lying(at);
        self.end_keep(at);
        if let Some(leader) = lying {
            self.bury_unkept(leader);
        }
    }

    pub(crate) fn end_keep(&mut self, at: u32) {
        let slot = self.table.slot_mut(at);
        if slot.is(Flags::KEEPS) {
            slot.flags -= Flags::KEEPS;
            self.keep.keepers -= 1;
        }
    }

    /// Waits for a zombie that nobody keeps any more.
    pub(crate) fn bury_unkept(&mut self, leader: u32) {
        if !self.keeps(leader) {
            self.reap_kept(leader);
            self.bury(leader);
        }
    }

    /// A kept zombie is gone: takes it out of the table.
    fn bury(&mut self, leader: u32) {
        self.let_go(leader);
        let mut at = leader;
        while at != NIL {
            let next = self.table.next_watch(at);
            let slot = self.table.slot(at);
            if !slot.is(Flags::ABANDONED) {
                self.record_burial(at);
                self.table.latch(at);
            } else if !slot.is(Flags::QUEUED) {
                self.table.release(at);
            }
            at = next;
        }
        if std::mem::take(&mut self.keep.hidden) {
            self.agenda.paid(Debt::Scan);
            if let Some(owner) = self.for_unknown() {
                self.at_mut(owner).walk_again = true;
                self.announce(owner);
            }
        }
    }

    /// The child of this pid that lies was waited for by somebody else, and the
    /// pid may be another's.
    pub(crate) fn bury_stolen(&mut self, leader: u32) {
        let mut at = leader;
        while at != NIL {
            self.end_keep(at);
            at = self.table.next_watch(at);
        }
        self.bury(leader);
    }

    /// Whether a child that lies is still there, and was not waited for by somebody
    /// else.
    pub(crate) fn still_lies(&self, leader: u32) -> bool {
        let slot = self.table.slot(leader);
        let held = slot
            .pidfd()
            .and_then(|pidfd| self.kernel.holds_child(pidfd).ok());
        held.unwrap_or_else(|| {
            let is_dead = |found| matches!(found, Ok(Some(_)));
            // A living process with this pid is another one. Only __WALL sees one that
            // sends no SIGCHLD.
            is_dead(self.kernel.look(slot.pid, None)) || is_dead(self.kernel.look_at_mute(slot.pid))
        })
    }

    /// Before a watch is told of its child's end: somebody else may have waited for the
    /// zombie that is kept.
    pub(crate) fn find_stolen(&mut self, at: u32) {
        if !self.may_keep() {
            return;
        }
        if let Some(leader) = self.lying(at).filter(|&leader| !self.still_lies(leader)) {
            self.bury_stolen(leader);
        }
    }

    /// Looks for unknown children beside those that are kept, one by one: a wait
    /// for any could take one of these.
    pub(crate) fn walk_beside_kept(&mut self, owner: u16, now: u64) -> Seen {
        // Each walk takes at least one, however long the kernel needs to find it.
        let mut found = false;
        let mut refused = None;
        loop {
            if !self.room_or_walk_again(owner) {
                return Seen::Hidden;
            }
            let pid = match self.kernel.any_dead() {
                Ok(Some(pid)) => pid,
                Ok(None) => {
                    self.agenda.paid(Debt::Walk);
                    return Seen::All;
                }
                Err(_) => {
                    self.agenda.paid(Debt::Walk);
                    if self.table.young() > 0 {
                        self.agenda.owe(Debt::Each, now);
                    }
                    return Seen::All;
                }
            };
            if std::mem::replace(&mut found, true) && self.kernel.now() >= now + HOLD {
                return Seen::Some;
            }
            if let Some(leader) = self.table.find(pid) {
                let ended = self.wait_child(leader);
                let lies = |at: u32| self.table.slot(at).is(Flags::ZOMBIE);
                if ended && !self.table.find(pid).is_some_and(lies) {
                    continue;
                }
                // It hides those behind it: they are looked for when it is gone, or by a
                // scan if it stays.
                self.keep.hidden = true;
                self.agenda.owe(Debt::Scan, self.policy.scan_at(now));
                return Seen::Hidden;
            }
            // Another thread may have waited for it meanwhile. A tracer may hold it: then it
            // stays, and hides those behind it.
            if !self.wait_unknown(owner, pid, 0) && refused.replace(pid) == Some(pid) {
                return Seen::Hidden;
            }
        }
    }

    /// Whether /proc is to be scanned for the unknown now.
    pub(crate) fn begin_scan(&mut self) -> bool {
        if !self.keep.hidden || !self.agenda.is_due(Debt::Scan, self.kernel.now()) {
            return false;
        }
        self.agenda.paid(Debt::Scan);
        !self.is_guarded() && self.for_unknown().is_some()
    }

    /// The scan was made, without the lock. One that may have missed some, as children
    /// came and went all the while, is made again. Without /proc, or without memory,
    /// the unknown are found when the kept one is gone.
    pub(crate) fn end_scan(&mut self, all: Result<bool, Error>, began: u64) {
        let now = self.kernel.now();
        let rests_until = self.policy.looked(Look::Scan, Seen::All, now - began, now);
        if all == Ok(false) && self.keep.hidden {
            self.agenda.owe(Debt::Scan, rests_until);
        }
    }

    /// Takes what a scan has found, as many as the lock may be held for.
    pub(crate) fn take_scanned(&mut self, ended: &mut Vec<i32>) {
        let began = self.kernel.now();
        let Some(owner) = self.for_unknown().filter(|_| !self.is_guarded()) else {
            ended.clear();
            return;
        };
        while let Some(pid) = ended.pop() {
            if let Some(leader) = self.table.find(pid) {
                if !self.table.slot(leader).is(Flags::ZOMBIE) {
                    self.wait_child(leader);
                }
            } else if !self.room_or_walk_again(owner) {
                ended.clear();
            } else {
                self.wait_unknown(owner, pid, 0);
            }
            if self.kernel.now() >= began + HOLD {
                return;
            }
        }
    }
}
