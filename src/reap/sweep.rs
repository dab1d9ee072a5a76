//! The first source: asking the kernel, for one child after the other or for
//! all at once.

use nix::errno::Errno;

use super::agenda::Debt;
use super::event::Facts;
use super::policy::{BETWEEN_CLOCKS, HOLD, LOOK_WITHIN, Look, Seen};
use super::process::Reaper;
use super::status::classify;
use super::table::{Flags, NIL, Standing};

impl Reaper {
    /// Waits for each young child, and for each old one that may stop: O(n). Goes on
    /// where an interrupted sweep stopped. Also returns how many of the settled, those
    /// not among the newest, have died.
    pub(crate) fn sweep(&mut self, now: u64) -> (Seen, u32) {
        let mut died = 0;
        let young = self.old_cursor != 0 || self.sweep_young(now, &mut died);
        if !(young && self.sweep_old(now)) {
            self.agenda.owe(Debt::Each, now);
            return (Seen::Some, died);
        }
        self.agenda.paid(Debt::Each);
        self.agenda.paid(Debt::Sweep);
        (Seen::All, died)
    }

    /// Waits for the young; false where it stops early.
    fn sweep_young(&mut self, now: u64, died: &mut u32) -> bool {
        if self.table.sweep_from_start() {
            self.counts.sweeps += 1;
        }
        let mut left = BETWEEN_CLOCKS;
        while let Some(at) = self.table.next_to_sweep() {
            let fresh = self.table.slot(at).is(Flags::FRESH);
            if self.wait_child(at) && !fresh {
                *died += 1;
            }
            left -= 1;
            if left == 0 {
                left = BETWEEN_CLOCKS;
                if self.kernel.now() >= now + HOLD {
                    return false;
                }
            }
        }
        true
    }

    /// Asks for any dead child, with WNOWAIT, and waits for it, until there is none.
    pub(crate) fn peek(&mut self, now: u64) -> Seen {
        self.counts.sweeps += 1;
        loop {
            let Ok(dead) = self.kernel.any_dead() else {
                return Seen::Hidden;
            };
            let Some(pid) = dead else {
                self.agenda.paid(Debt::Sweep);
                return Seen::All;
            };
            let Some(leader) = self.table.find(pid) else {
                return Seen::Hidden;
            };
            let standing = self.table.standing(leader);
            if !self.wait_child(leader) {
                return Seen::Hidden;
            }
            if let Some(standing) = standing {
                self.died_young(standing, true);
            }
            if self.kernel.now() >= now + HOLD {
                return Seen::Some;
            }
        }
    }

    /// A source found the end of a young child. With `look_around` the neighbours are
    /// waited for too, as it would cost much to find the next end otherwise.
    pub(crate) fn died_young(&mut self, standing: Standing, look_around: bool) {
        self.policy.died(standing.fresh, self.table.settled());
        if look_around {
            self.look_around(standing.neighbours);
        }
    }

    /// Children that end together were often registered together. Waits for the
    /// neighbours of one that ended, in both directions, up to the first that lives.
    fn look_around(&mut self, neighbours: [u32; 2]) {
        let mut left = BETWEEN_CLOCKS * 4;
        for (way, mut at) in neighbours.into_iter().enumerate() {
            while at != NIL && left > 0 {
                let next = self.table.neighbours(at)[way];
                if !self.wait_child(at) {
                    break;
                }
                left -= 1;
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
        self.riches.stoppers == 0 && self.indices(|ctx| ctx.params.options != 0).next().is_none()
    }

    /// Looks for stops of the old children, from where an interrupted look stopped; false
    /// where this one stops early too.
    fn sweep_old(&mut self, now: u64) -> bool {
        let mut at = std::mem::take(&mut self.old_cursor);
        if self.old_may_stop() == 0 {
            return true;
        }
        if at == 0 {
            self.take_all_pidfds();
        }
        let mut left = BETWEEN_CLOCKS;
        while at < self.table.bound() {
            if self.table.slot(at).is(Flags::LEADS | Flags::OLD) {
                self.look_for_stops(at);
                left -= 1;
            }
            at += 1;
            if left == 0 {
                left = BETWEEN_CLOCKS;
                if self.kernel.now() >= now + HOLD {
                    self.old_cursor = at;
                    return false;
                }
            }
        }
        true
    }

    /// Whether one more unknown child can be waited for. If not, it asks for another walk, which
    /// the delivery makes once it has told the children that were collected. Until then the
    /// others stay zombies, so nothing is lost.
    pub(crate) fn room_or_walk_again(&mut self, owner: u16) -> bool {
        let told = self.at(owner).params.unknown.is_some();
        let room = self.parked.has_room(told);
        if !room {
            self.at_mut(owner).walk_again = true;
        }
        room
    }

    /// Waits for any child until there is none: the full look at the unknown. For each
    /// wait the kernel walks over all children. Call `take_all_pidfds` first: a child
    /// that other code reaped must be told before its pid is another's.
    pub(crate) fn walk(&mut self, owner: u16, now: u64) -> Seen {
        self.counts.walks += 1;
        if self.is_guarded() {
            return self.walk_guarded(now);
        }
        if self.may_keep() {
            return self.walk_beside_kept(owner, now);
        }
        let look_around = Look::Walk.is_dear(self.children());
        loop {
            if !self.room_or_walk_again(owner) {
                return Seen::Hidden;
            }
            let found = self.wait_any(self.at(owner).params.options);
            if let Ok(Some((pid, status, usage))) = found {
                let facts = Facts::used(usage);
                self.found(owner, pid, status, facts, look_around);
                if self.kernel.now() >= now + HOLD {
                    return Seen::Some;
                }
                continue;
            }
            self.agenda.paid(Debt::Walk);
            // The process has no child: other code has reaped those in the table.
            if found.is_err_and(|error| error == Errno::ECHILD) && self.table.young() > 0 {
                self.agenda.owe(Debt::Each, now);
            }
            return Seen::All;
        }
    }

    /// The same while unknown children are the keeper's. WNOWAIT returns the first zombie
    /// over and over: an unknown or kept one hides those behind it.
    fn walk_guarded(&mut self, now: u64) -> Seen {
        self.agenda.paid(Debt::Walk);
        while let Ok(Some(pid)) = self.kernel.any_dead() {
            let known = self.table.find(pid);
            if !known.is_some_and(|leader| self.wait_child(leader)) || self.is_kept(pid) {
                self.prompt_keeper();
                return Seen::Hidden;
            }
            if self.kernel.now() >= now + HOLD {
                return Seen::Some;
            }
        }
        Seen::All
    }

    /// A walk or a peek was made instead of a wait for each child. It does not show that
    /// other code reaped one, so a wait for each is owed.
    pub(crate) fn owe_each(&mut self, now: u64) {
        if self.table.young() > 0 {
            self.agenda.owe(Debt::Each, now + LOOK_WITHIN);
        }
    }

    fn found(&mut self, owner: u16, pid: i32, status: i32, facts: Facts, look_around: bool) {
        let Some(leader) = self.table.find(pid) else {
            self.found_unknown(owner, pid, status);
            return;
        };
        self.counts.reaped += 1;
        let standing = self.table.standing(leader);
        if self.tell(leader, classify(status), facts) {
            if let Some(standing) = standing {
                // The kernel walks over the living again for the next one.
                self.died_young(standing, look_around);
            }
        }
    }

    /// A look was made that began at `now`: this kind of look rests for some time. If the
    /// look stopped early, its remainder is owed for the end of that time.
    pub(crate) fn looked(&mut self, look: Look, seen: Seen, now: u64) {
        let after = self.kernel.now();
        let rests_until = self.policy.looked(look, seen, after - now, after);
        if seen == Seen::Some {
            let debt = match look {
                Look::Walk => Debt::Walk,
                Look::Scan => Debt::Scan,
                Look::Peek | Look::Each => Debt::Sweep,
            };
            self.agenda.owe(debt, rests_until);
        }
    }
}
