//! Watches and the children they watch: one slot each in a slab, an index by
//! pid, the young in a list. Pure: no syscall, and no allocation but in
//! `reserve`.
//!
//! The first watch of a child *leads*: its slot also carries what concerns the
//! child itself. A watch that ends before its child leaves the slot behind,
//! *abandoned*: the child is still to be reaped.

use hashbrown::HashTable;

use super::callback::Sink;
use super::id::{MAX_GENERATION, MAX_SLOTS};
use super::status::{Change, Jobs, LOST};
use crate::sys::pidfd::Pidfd;
use crate::sys::wiped::{self, Anchored};

/// No slot.
pub(crate) const NIL: u32 = u32::MAX;

/// The pid in a slot that has no child yet.
const NO_PID: i32 = 0;

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Flags: u16 {
        /// The slot is in use.
        const USED = 1 << 0;
        /// It carries the child itself: the index by pid has it.
        const LEADS = 1 << 1;
        /// The child has a pidfd.
        const OLD = 1 << 2;
        /// Young, and among the newest 1/64 of the young.
        const FRESH = 1 << 3;
        /// The watch is over. The slot stays to reap the child, or because it is in the
        /// queue.
        const ABANDONED = 1 << 4;
        /// In its context's queue.
        const QUEUED = 1 << 5;
        /// The child's end is known and still to be told.
        const ENDED = 1 << 6;
        /// With ENDED: the child's status is lost.
        const LOST = 1 << 7;
        /// The child's end was told. The slot still has the status.
        const TOLD = 1 << 8;
        /// The watch is over, the handle is not freed yet.
        const INERT = 1 << 9;
        /// When the watch ends, the child is handed back to the daemon.
        const RELEASE = 1 << 10;
        /// It has a hook.
        const HOOKED = 1 << 11;
        /// The hook runs or has run.
        const HOOK_RUN = 1 << 12;
        /// Nobody holds its handle: the watch frees itself once the end was told.
        const UNHELD = 1 << 13;
        /// With LEADS: the child has ended, its watches know, and it is not reaped
        /// yet.
        const ZOMBIE = 1 << 14;
        /// The child is not reaped before this watch was told of its end.
        const KEEPS = 1 << 15;
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) sink: Sink,
    pub(crate) generation: u32,
    pub(crate) pid: i32,
    end: u16,
    pub(crate) jobs: Jobs,
    /// The next in the context's queue.
    pub(crate) next_queued: u32,
    /// The next watch of the same child; of a free slot: the next free one.
    next_watch: u32,
    next_young: u32,
    /// Of a young child: the young one before it. Of an old one: its pidfd.
    link: u32,
    pub(crate) context: u16,
    pub(crate) flags: Flags,
}

impl Slot {
    pub(crate) fn is(&self, flags: Flags) -> bool {
        self.flags.contains(flags)
    }

    /// The child's end, once it is known.
    pub(crate) fn end(&self) -> Change {
        if self.is(Flags::LOST) {
            Change::Lost
        } else {
            Change::End(self.end)
        }
    }

    /// Whether it is reserved for a watch that is still to be registered.
    pub(crate) fn is_reserved(&self) -> bool {
        self.pid == NO_PID && self.is(Flags::USED)
    }

    /// Whether there is something to tell.
    pub(crate) fn is_due(&self) -> bool {
        self.is(Flags::ENDED) || !self.jobs.is_empty()
    }

    /// The child's end, as a raw status.
    pub(crate) fn end_status(&self) -> i32 {
        if self.is(Flags::LOST) {
            LOST
        } else {
            i32::from(self.end)
        }
    }

    pub(crate) fn pidfd(&self) -> Option<Pidfd> {
        self.is(Flags::OLD).then(|| Pidfd::from_bits(self.link))
    }
}

/// How many slots a segment has: at 48 bytes each they fill three pages.
const SEGMENT: usize = 256;
type Segment = [Slot; SEGMENT];

const FREE: Slot = Slot {
    sink: Sink::NOBODY,
    generation: 1,
    pid: 0,
    end: 0,
    jobs: Jobs::NONE,
    next_queued: NIL,
    next_watch: NIL,
    next_young: NIL,
    link: NIL,
    context: 0,
    flags: Flags::empty(),
};

/// The young, in the order of their registration, the newest 1/64 marked.
#[derive(Debug)]
struct Young {
    head: u32,
    tail: u32,
    count: u32,
    /// The first that is FRESH.
    fresh: u32,
    fresh_count: u32,
    /// Where a sweep that was broken off goes on.
    cursor: u32,
}

/// Where a young child stood in the list of the young, as read before it was removed.
#[derive(Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) fresh: bool,
    pub(crate) neighbours: [u32; 2],
}

pub(crate) struct Table {
    // Boxed, so that slots stay where they are and growth copies pointers only.
    #[allow(clippy::vec_box)]
    segments: Vec<wiped::Box<Segment>>,
    free: u32,
    freed: u32,
    made: u32,
    by_pid: HashTable<u32, Anchored>,
    young: Young,
    old: u32,
    /// How many ends were latched.
    latches: u32,
}

fn hash(pid: i32) -> u64 {
    u64::from(pid.unsigned_abs()).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The hash of a leader's pid: one type for all uses, so that what grows the
/// index is compiled once.
fn rehash(segments: &[wiped::Box<Segment>]) -> impl Fn(&u32) -> u64 {
    |&leader| hash(segments[leader as usize / SEGMENT][leader as usize % SEGMENT].pid)
}

impl Table {
    pub(crate) const fn new() -> Self {
        Table {
            segments: Vec::new(),
            free: NIL,
            freed: 0,
            made: 0,
            by_pid: HashTable::new_in(Anchored::new()),
            young: Young {
                head: NIL,
                tail: NIL,
                count: 0,
                fresh: NIL,
                fresh_count: 0,
                cursor: NIL,
            },
            old: 0,
            latches: 0,
        }
    }

    /// Whether `more` watches fit without an allocation.
    pub(crate) fn has_room(&self, more: u32) -> bool {
        self.by_pid.capacity() - self.by_pid.len() >= more as usize
            && self.unused() >= more as usize
    }

    fn unused(&self) -> usize {
        self.freed as usize + self.segments.len() * SEGMENT - self.made as usize
    }

    /// Makes room for `more` watches; None when memory or ids are out.
    pub(crate) fn reserve(&mut self, more: u32) -> Option<()> {
        self.by_pid
            .try_reserve(more as usize, rehash(&self.segments))
            .ok()?;
        while self.unused() < more as usize {
            if self.made + more > MAX_SLOTS {
                return None;
            }
            self.segments.try_reserve(1).ok()?;
            self.segments.push(wiped::filled(FREE)?);
        }
        Some(())
    }

    pub(crate) fn slot(&self, at: u32) -> &Slot {
        &self.segments[at as usize / SEGMENT][at as usize % SEGMENT]
    }

    pub(crate) fn slot_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.segments[at as usize / SEGMENT][at as usize % SEGMENT]
    }

    /// The slot of a handle that is not freed.
    #[inline(always)]
    pub(crate) fn resolve(&self, at: u32, generation: u32) -> Option<&Slot> {
        (at < self.made)
            .then(|| self.slot(at))
            .filter(|slot| slot.generation == generation && slot.is(Flags::USED))
    }

    /// The generation of the slot that insert() takes next.
    pub(crate) fn next_generation(&self) -> u32 {
        let at = self.next_index();
        if at < self.made {
            self.slot(at).generation
        } else {
            FREE.generation
        }
    }

    /// A watch's child is gone; the watch has its end until the handle is freed. Gives
    /// the watch a number, the greater the later its child ended. The number is kept in
    /// `next_watch`, which a watch without a child does not need.
    pub(crate) fn latch(&mut self, at: u32) {
        self.latches = (self.latches + 1) % NIL;
        let number = self.latches;
        self.slot_mut(at).next_watch = number;
    }

    /// The latest watch that holds the end of a former child with this pid.
    pub(crate) fn latched(&self, pid: i32) -> Option<u32> {
        (0..self.made)
            .filter(|&at| {
                let slot = self.slot(at);
                slot.pid == pid
                    && slot.is(Flags::USED)
                    && !slot.is(Flags::ABANDONED)
                    && self.holds_end(at)
            })
            .max_by_key(|&at| self.slot(at).next_watch)
    }

    /// Whether a watch has the end of a child that is gone.
    pub(crate) fn holds_end(&self, at: u32) -> bool {
        let slot = self.slot(at);
        !slot.is(Flags::LEADS)
            && slot.flags.intersects(Flags::ENDED | Flags::INERT)
            && slot.next_watch != NIL
            && self
                .find(slot.pid)
                .is_none_or(|leader| !self.is_watch_of(at, leader))
    }

    /// Whether `watch` is one of the watches that `leader` leads.
    pub(crate) fn is_watch_of(&self, watch: u32, leader: u32) -> bool {
        let mut at = leader;
        while at != NIL && at != watch {
            at = self.slot(at).next_watch;
        }
        at != NIL
    }

    /// The slot that insert() takes next.
    pub(crate) fn next_index(&self) -> u32 {
        if self.free == NIL {
            self.made
        } else {
            self.free
        }
    }

    /// How many slots were ever used: the bound for a walk over all.
    pub(crate) fn bound(&self) -> u32 {
        self.made
    }

    pub(crate) fn young(&self) -> u32 {
        self.young.count
    }

    /// The young that are not among the newest.
    pub(crate) fn settled(&self) -> u32 {
        self.young.count - self.young.fresh_count
    }

    pub(crate) fn old(&self) -> u32 {
        self.old
    }

    /// The first young one: where a walk over them begins.
    pub(crate) fn first_young(&self) -> u32 {
        self.young.head
    }

    /// Whether a sweep was interrupted.
    pub(crate) fn is_swept_in_part(&self) -> bool {
        self.young.cursor != NIL
    }

    /// Begins a sweep. False where one was interrupted: then that one goes on.
    pub(crate) fn sweep_from_start(&mut self) -> bool {
        let begins = !self.is_swept_in_part();
        if begins {
            self.young.cursor = self.young.head;
        }
        begins
    }

    /// The next young child of a sweep.
    pub(crate) fn next_to_sweep(&mut self) -> Option<u32> {
        let at = self.young.cursor;
        if at == NIL {
            return None;
        }
        self.young.cursor = self.slot(at).next_young;
        Some(at)
    }

    pub(crate) fn next_young(&self, at: u32) -> u32 {
        self.slot(at).next_young
    }

    /// The young ones registered before and after this one; none for an old one.
    pub(crate) fn neighbours(&self, at: u32) -> [u32; 2] {
        let slot = self.slot(at);
        if slot.is(Flags::OLD) {
            [NIL; 2]
        } else {
            [slot.link, slot.next_young]
        }
    }

    /// How a young child stands; none for an old one.
    pub(crate) fn standing(&self, at: u32) -> Option<Standing> {
        let slot = self.slot(at);
        (!slot.is(Flags::OLD)).then(|| Standing {
            fresh: slot.is(Flags::FRESH),
            neighbours: self.neighbours(at),
        })
    }

    /// The slot that leads the watches of the child with this pid.
    pub(crate) fn find(&self, pid: i32) -> Option<u32> {
        self.by_pid
            .find(hash(pid), |&leader| self.slot(leader).pid == pid)
            .copied()
    }

    /// Takes a slot for a watch of `pid`. With a `leader` it joins that child's watches,
    /// as the last; without one it leads a new young child. Call `reserve` first.
    pub(crate) fn insert(&mut self, pid: i32, context: u16, leader: Option<u32>) -> u32 {
        let at = self.take(pid, context, Flags::USED);
        match leader {
            Some(leader) => {
                // Last: they are told in the order of their registration.
                let mut last = leader;
                while self.slot(last).next_watch != NIL {
                    last = self.slot(last).next_watch;
                }
                self.slot_mut(last).next_watch = at;
            }
            None => self.lead(at),
        }
        at
    }

    /// Takes a slot for a watch whose child comes later. Call `reserve` first.
    pub(crate) fn hold(&mut self, context: u16) -> u32 {
        self.take(NO_PID, context, Flags::USED | Flags::INERT)
    }

    fn take(&mut self, pid: i32, context: u16, flags: Flags) -> u32 {
        let at = if self.free == NIL {
            self.made += 1;
            self.made - 1
        } else {
            let at = self.free;
            self.free = self.slot(at).next_watch;
            self.freed -= 1;
            at
        };
        let generation = self.slot(at).generation;
        *self.slot_mut(at) = Slot {
            generation,
            pid,
            context,
            flags,
            ..FREE
        };
        at
    }

    fn lead(&mut self, at: u32) {
        let pid = self.slot(at).pid;
        self.by_pid
            .insert_unique(hash(pid), at, rehash(&self.segments));
        self.slot_mut(at).flags |= Flags::LEADS;
        self.append_young(at);
    }

    /// The watches of a child, from its leader on.
    pub(crate) fn next_watch(&self, at: u32) -> u32 {
        self.slot(at).next_watch
    }

    /// Gives a young child its pidfd.
    pub(crate) fn make_old(&mut self, leader: u32, pidfd: Pidfd) {
        self.unlink_young(leader);
        let slot = self.slot_mut(leader);
        slot.flags |= Flags::OLD;
        slot.link = pidfd.to_bits();
        self.old += 1;
    }

    /// Takes an old child's pidfd away.
    pub(crate) fn make_young(&mut self, leader: u32) -> Option<Pidfd> {
        let pidfd = self.take_pidfd(leader)?;
        self.append_young(leader);
        Some(pidfd)
    }

    #[inline(always)]
    fn take_pidfd(&mut self, leader: u32) -> Option<Pidfd> {
        let pidfd = self.slot(leader).pidfd()?;
        self.slot_mut(leader).flags -= Flags::OLD;
        self.old -= 1;
        Some(pidfd)
    }

    /// Removes a child that was reaped or handed back. Its watches stay in the table, but
    /// belong to no child any more. The caller closes the pidfd that this returns.
    #[inline(always)]
    pub(crate) fn remove_child(&mut self, leader: u32) -> Option<Pidfd> {
        if !self.slot(leader).is(Flags::LEADS) {
            return None;
        }
        let pidfd = self.take_pidfd(leader);
        if pidfd.is_none() {
            self.unlink_young(leader);
        }
        self.slot_mut(leader).flags -= Flags::LEADS | Flags::ZOMBIE;
        let pid = self.slot(leader).pid;
        if let Ok(entry) = self.by_pid.find_entry(hash(pid), |&other| other == leader) {
            entry.remove();
        }
        pidfd
    }

    /// Takes a watch out of its child's watches; if it led them, the next one does.
    /// False, and nothing is done, where it is the only one.
    pub(crate) fn leave_child(&mut self, at: u32) -> bool {
        let Some(leader) = self.find(self.slot(at).pid) else {
            return false;
        };
        let next = self.slot(at).next_watch;
        if leader == at {
            if next == NIL {
                return false;
            }
            self.hand_over(at, next);
        } else {
            let mut before = leader;
            while self.slot(before).next_watch != at {
                before = self.slot(before).next_watch;
                if before == NIL {
                    return false;
                }
            }
            self.slot_mut(before).next_watch = next;
        }
        self.slot_mut(at).next_watch = NIL;
        true
    }

    fn hand_over(&mut self, from: u32, to: u32) {
        let pid = self.slot(from).pid;
        if let Some(entry) = self.by_pid.find_mut(hash(pid), |&other| other == from) {
            *entry = to;
        }
        let former = *self.slot(from);
        let of_child = Flags::LEADS | Flags::OLD | Flags::FRESH | Flags::ZOMBIE;
        self.slot_mut(from).flags -= of_child;
        let heir = self.slot_mut(to);
        heir.flags |= former.flags & of_child;
        heir.link = former.link;
        heir.next_young = former.next_young;
        if former.is(Flags::OLD) {
            return;
        }
        let young = &mut self.young;
        for end in [
            &mut young.head,
            &mut young.tail,
            &mut young.fresh,
            &mut young.cursor,
        ] {
            if *end == from {
                *end = to;
            }
        }
        if former.link != NIL {
            self.slot_mut(former.link).next_young = to;
        }
        if former.next_young != NIL {
            self.slot_mut(former.next_young).link = to;
        }
    }

    /// Makes a slot's handle invalid: the slot gets the next generation.
    #[inline(always)]
    pub(crate) fn expire(&mut self, at: u32) {
        let slot = self.slot_mut(at);
        slot.generation += 1;
        slot.sink = Sink::NOBODY;
        slot.flags -= Flags::HOOKED | Flags::HOOK_RUN;
        slot.flags |= Flags::ABANDONED;
    }

    /// Frees a slot that leads no child and is in no queue.
    pub(crate) fn release(&mut self, at: u32) {
        let free = self.free;
        let slot = self.slot_mut(at);
        debug_assert!(!slot.flags.intersects(Flags::LEADS | Flags::QUEUED));
        *slot = Slot {
            generation: slot.generation,
            next_watch: free,
            ..FREE
        };
        // A slot whose generations are used up is never given out again.
        if slot.generation < MAX_GENERATION {
            self.free = at;
            self.freed += 1;
        }
    }

    /// Writes down a change for one watch.
    pub(crate) fn record(&mut self, at: u32, change: Change) {
        let slot = self.slot_mut(at);
        match change {
            Change::End(status) => {
                slot.end = status;
                slot.flags |= Flags::ENDED;
            }
            Change::Lost => slot.flags |= Flags::ENDED | Flags::LOST,
            Change::Stop(_) | Change::Continue => slot.jobs.push(change),
        }
    }

    fn append_young(&mut self, at: u32) {
        let tail = self.young.tail;
        let slot = self.slot_mut(at);
        slot.link = tail;
        slot.next_young = NIL;
        slot.flags |= Flags::FRESH;
        if tail == NIL {
            self.young.head = at;
        } else {
            self.slot_mut(tail).next_young = at;
        }
        self.young.tail = at;
        if self.young.fresh == NIL {
            self.young.fresh = at;
        }
        self.young.count += 1;
        self.young.fresh_count += 1;
        self.settle();
    }

    #[inline(always)]
    fn unlink_young(&mut self, at: u32) {
        let Slot {
            link: before,
            next_young: after,
            flags,
            ..
        } = *self.slot(at);
        if before == NIL {
            self.young.head = after;
        } else {
            self.slot_mut(before).next_young = after;
        }
        if after == NIL {
            self.young.tail = before;
        } else {
            self.slot_mut(after).link = before;
        }
        if self.young.cursor == at {
            self.young.cursor = after;
        }
        if flags.contains(Flags::FRESH) {
            self.young.fresh_count -= 1;
            if self.young.fresh == at {
                self.young.fresh = after;
            }
        }
        let slot = self.slot_mut(at);
        slot.flags -= Flags::FRESH;
        slot.link = NIL;
        slot.next_young = NIL;
        self.young.count -= 1;
        self.settle();
    }

    /// Moves the mark between the settled and the newest 1/64, at least one.
    fn settle(&mut self) {
        let wanted = (self.young.count / 64).max(1).min(self.young.count);
        while self.young.fresh_count > wanted {
            let at = self.young.fresh;
            self.slot_mut(at).flags -= Flags::FRESH;
            self.young.fresh = self.slot(at).next_young;
            self.young.fresh_count -= 1;
        }
        while self.young.fresh_count < wanted {
            let at = match self.young.fresh {
                NIL => self.young.tail,
                fresh => self.slot(fresh).link,
            };
            self.slot_mut(at).flags |= Flags::FRESH;
            self.young.fresh = at;
            self.young.fresh_count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Every link of the table agrees with every other.
    fn check(table: &Table) {
        let mut young = Vec::new();
        let (mut at, mut before) = (table.young.head, NIL);
        while at != NIL {
            let slot = table.slot(at);
            assert!(slot.is(Flags::LEADS) && !slot.is(Flags::OLD));
            assert_eq!(slot.link, before);
            young.push(at);
            (before, at) = (at, slot.next_young);
        }
        assert_eq!(table.young.tail, before);
        assert_eq!(young.len(), table.young.count as usize);
        let fresh = young
            .iter()
            .filter(|&&at| table.slot(at).is(Flags::FRESH))
            .count();
        assert_eq!(fresh, table.young.fresh_count as usize);
        assert_eq!(fresh, (young.len() / 64).max(1).min(young.len()));
        assert!(
            young[young.len() - fresh..]
                .iter()
                .all(|&at| table.slot(at).is(Flags::FRESH))
        );
        assert_eq!(
            table.young.fresh,
            young.get(young.len() - fresh).copied().unwrap_or(NIL)
        );
    }

    proptest! {
        #[test]
        fn the_young_and_the_index_agree_with_a_model(
            steps in proptest::collection::vec((0u8..5, 1i32..300), 1..800),
        ) {
            let mut table = Table::new();
            // Per child: its watches, and its pidfd.
            let mut model: BTreeMap<i32, (Vec<u32>, Option<u32>)> = BTreeMap::new();
            for (step, pid) in steps {
                match step {
                    0 | 1 => {
                        table.reserve(1).unwrap();
                        let leader = table.find(pid);
                        let at = table.insert(pid, 0, leader);
                        model.entry(pid).or_default().0.push(at);
                    }
                    2 => {
                        if let Some((_, pidfd @ None)) = model.get_mut(&pid) {
                            let leader = table.find(pid).unwrap();
                            table.make_old(leader, Pidfd::from_bits(pid.unsigned_abs()));
                            *pidfd = Some(pid.unsigned_abs());
                        }
                    }
                    3 => {
                        let watches = model.get_mut(&pid).map(|(watches, _)| watches);
                        if let Some(watches) = watches.filter(|watches| watches.len() > 1) {
                            let at = watches.swap_remove(0);
                            prop_assert!(table.leave_child(at));
                            table.expire(at);
                            table.release(at);
                        }
                    }
                    _ => {
                        if let Some((watches, pidfd)) = model.remove(&pid) {
                            let leader = table.find(pid).unwrap();
                            let had = table.remove_child(leader).map(Pidfd::to_bits);
                            prop_assert_eq!(had, pidfd);
                            for at in watches {
                                table.expire(at);
                                table.release(at);
                            }
                        }
                    }
                }
                check(&table);
                for (pid, (watches, pidfd)) in &model {
                    let leader = table.find(*pid).unwrap();
                    prop_assert_eq!(table.slot(leader).pidfd().map(Pidfd::to_bits), *pidfd);
                    let mut chain = Vec::new();
                    let mut at = leader;
                    while at != NIL {
                        chain.push(at);
                        at = table.next_watch(at);
                    }
                    chain.sort_unstable();
                    let mut expected = watches.clone();
                    expected.sort_unstable();
                    prop_assert_eq!(chain, expected);
                }
            }
        }
    }

    #[test]
    fn a_slot_is_small() {
        assert_eq!(size_of::<Slot>(), 48);
    }

    #[test]
    fn a_used_up_slot_is_never_given_out_again() {
        let mut table = Table::new();
        table.reserve(1).unwrap();
        let at = table.insert(1, 0, None);
        table.slot_mut(at).generation = MAX_GENERATION - 1;
        table.remove_child(at);
        table.expire(at);
        table.release(at);
        table.reserve(1).unwrap();
        assert_ne!(table.insert(1, 0, None), at);
    }
}
