//! The first source: asking the kernel, for one child after the other or for
//! all at once.

use nix::errno::Errno;

use super::policy::{CHEAP_WALK, TIMED, WALK_FOR};
use super::reaper::Reaper;
use super::rich::Facts;
use super::status::classify;
use super::table::{Flags, NIL, Standing};
use crate::sys::usage::Usage;
use crate::sys::{clock, wait};

/// What a sweep over the young found.
#[derive(Default, Debug)]
pub(crate) struct Swept {
    /// Of those that were not among the newest.
    pub(crate) settled: u32,
}

/// Whom a sweep that walks has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Peeked {
    All,
    /// There may be more: where children end all the while it is never over.
    Some,
}

impl Reaper {
    /// Waits for each young child, and for each old one that may stop: O(n).
    pub(crate) fn sweep(&mut self) -> Swept {
        let mut swept = Swept::default();
        self.counts.sweeps += 1;
        self.sweep_owed = false;
        self.policy.waited_for_each();
        let mut at = self.table.first_young();
        while at != NIL {
            let next = self.table.next_young(at);
            let fresh = self.table.slot(at).is(Flags::FRESH);
            if self.wait_child(at) && !fresh {
                swept.settled += 1;
            }
            at = next;
        }
        if self.old_may_stop() > 0 {
            self.sweep_old();
        }
        swept
    }

    /// The same by asking who of all is dead, until nobody is or it has taken as
    /// long as `most`. None, with some perhaps found, where one who is not ours to
    /// wait for hides the others.
    pub(crate) fn peek(&mut self, now: u64, most: u64) -> Option<Peeked> {
        self.counts.sweeps += 1;
        let mut began = now;
        while began - now < most {
            let children = self.children();
            let Some(pid) = wait::any_dead().ok()? else {
                self.policy.timed(clock::now() - began, children);
                self.sweep_owed = false;
                return Some(Peeked::All);
            };
            let leader = self.table.find(pid)?;
            let standing = self.table.standing(leader);
            if !self.wait_child(leader) {
                return None;
            }
            if let Some(standing) = standing {
                self.died_young(standing, true);
            }
            began = clock::now();
        }
        Some(Peeked::Some)
    }

    /// A source found the end of a child that was young, and looks at its
    /// neighbours where the next ones are dear to find.
    pub(crate) fn died_young(&mut self, standing: Standing, look_around: bool) {
        self.policy.died(standing.fresh, self.table.settled());
        if look_around {
            self.look_around(standing.neighbours);
        }
    }

    /// Children that end together often lie together: from a young one that
    /// ended on, both ways, up to one that lives.
    fn look_around(&mut self, neighbours: [u32; 2]) {
        for (way, mut at) in neighbours.into_iter().enumerate() {
            while at != NIL {
                let next = self.table.neighbours(at)[way];
                if !self.wait_child(at) {
                    break;
                }
                at = next;
            }
        }
    }

    /// How many waits a sweep makes for old children: stops and continues make
    /// no pidfd readable.
    pub(crate) fn old_may_stop(&self) -> u32 {
        if self.ends_only() {
            0
        } else {
            self.table.old()
        }
    }

    /// Whether nobody asks for stops and continues.
    pub(crate) fn ends_only(&self) -> bool {
        self.riches.stoppers == 0
            && !self
                .contexts
                .iter()
                .any(|ctx| ctx.live && ctx.params.options != 0)
    }

    fn sweep_old(&mut self) {
        self.take_all_pidfds();
        for at in 0..self.table.bound() {
            if self.table.slot(at).is(Flags::LEADS | Flags::OLD) {
                self.look_for_stops(at);
            }
        }
    }

    /// Tells of an old child's stops and continues, and of its end too if the
    /// wait happens to return it.
    pub(crate) fn look_for_stops(&mut self, leader: u32) {
        if self.keeps(leader) || self.table.slot(leader).is(Flags::ZOMBIE) {
            self.wait_child(leader);
            return;
        }
        let options = self.options(leader);
        let pid = self.table.slot(leader).pid;
        while options != 0
            && let Ok(Some((_, status))) = wait::waitpid(pid, options)
        {
            self.counts.reaped += 1;
            if self.changed(leader, classify(status), Facts::WAITED) {
                return;
            }
        }
    }

    /// Waits for any child until there is none: the full look at the unknown. The
    /// kernel walks over all children for each; where they end all the while, the
    /// rest is left for later. Whether everybody was seen.
    pub(crate) fn walk(&mut self, owner: u16) -> bool {
        // Who was taken by somebody else is told before his pid is another's.
        self.take_all_pidfds();
        if self.is_guarded() {
            return self.walk_guarded();
        }
        if self.may_keep() {
            self.counts.walks += 1;
            self.policy.walked();
            return self.walk_beside_kept(owner);
        }
        let children = self.children();
        let timed = children > CHEAP_WALK || self.counts.walks.is_multiple_of(TIMED);
        self.counts.walks += 1;
        let mut until = None;
        loop {
            let ctx = self.at(owner);
            if !self.parked.has_room(ctx.params.unknown.is_some()) {
                // They stay zombies, and nothing is lost, until those that were
                // collected have been told; the delivery asks for the rest.
                self.at_mut(owner).walk_again = true;
                return false;
            }
            let options = ctx.params.options;
            let began = timed.then(clock::now);
            if let Some(now) = began
                && now > *until.get_or_insert(now + WALK_FOR)
            {
                let by = self.policy.broke_off(now);
                if self.alarm(owner, by, now) {
                    return false;
                }
            }
            let found = self.wait_any(options);
            if let Ok(Some((pid, status, usage))) = found {
                self.found(owner, pid, status, usage);
                continue;
            }
            if let Some(began) = began {
                self.policy.timed(clock::now() - began, children);
            }
            self.policy.walked();
            // No child at all: whoever is in the table was taken.
            if found.err() == Some(Errno::ECHILD) && self.table.young() > 0 {
                self.sweep();
            }
            return true;
        }
    }

    /// The same while unknown children are the keeper's: an unknown one at the head
    /// hides the others from a wait that leaves it there, and so does a kept one.
    fn walk_guarded(&mut self) -> bool {
        self.counts.walks += 1;
        self.policy.walked();
        while let Ok(Some(pid)) = wait::any_dead() {
            let Some(leader) = self.table.find(pid) else {
                self.prompt_keeper();
                break;
            };
            if !self.wait_child(leader) || self.is_kept(pid) {
                self.prompt_keeper();
                break;
            }
        }
        if self.table.young() > 0 {
            self.sweep();
        }
        true
    }

    /// waitpid(-1), with what the child has used where anybody wants to know.
    fn wait_any(&self, options: i32) -> Result<Option<(i32, i32, Option<Usage>)>, Errno> {
        if !self.may_want_usage() {
            let found = wait::waitpid(-1, options)?;
            return Ok(found.map(|(pid, status)| (pid, status, None)));
        }
        let found = wait::waitpid_usage(-1, options)?;
        Ok(found.map(|(pid, status, usage)| (pid, status, Some(usage))))
    }

    fn found(&mut self, owner: u16, pid: i32, status: i32, usage: Option<Usage>) {
        let Some(leader) = self.table.find(pid) else {
            self.found_unknown(owner, pid, status);
            return;
        };
        self.counts.reaped += 1;
        let standing = self.table.standing(leader);
        if self.changed(leader, classify(status), Facts::used(usage))
            && let Some(standing) = standing
        {
            // The kernel walks over the living again for the next one.
            self.died_young(standing, self.children() > CHEAP_WALK);
        }
    }
}
