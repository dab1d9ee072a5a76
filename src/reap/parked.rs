//! Statuses of children that nobody had registered: kept, bounded, for the
//! unknown-child callback and for a registration that comes late.

use std::collections::TryReserveError;

/// How many are kept. All memory is taken when the first context of scope ALL
/// is made: nothing is allocated once a status has been waited for.
pub(crate) const CAPACITY: usize = 256;
/// Nanoseconds after which a status is given up: a registration follows its fork soon,
/// and the pid may belong to another process by now.
pub(crate) const KEEP: u64 = 60_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parked {
    pub(crate) pid: i32,
    pub(crate) status: i32,
    since: u64,
    told: bool,
}

/// A queue: the oldest first.
#[derive(Debug, Default)]
pub(crate) struct ParkingLot {
    kept: Vec<Parked>,
    dropped: u64,
}

impl ParkingLot {
    pub(crate) const fn new() -> Self {
        ParkingLot {
            kept: Vec::new(),
            dropped: 0,
        }
    }

    pub(crate) fn reserve(&mut self) -> Result<(), TryReserveError> {
        self.kept.try_reserve_exact(CAPACITY - self.kept.len())
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether one more can be taken without giving up one that is still to be
    /// told (`telling`: there is a callback).
    pub(crate) fn has_room(&self, telling: bool) -> bool {
        self.kept.len() < CAPACITY || !telling || self.kept.iter().any(|parked| parked.told)
    }

    /// Keeps a status; a former one of the same pid is over, and where there is
    /// no room the oldest goes, of those that were told first.
    pub(crate) fn park(&mut self, pid: i32, status: i32, now: u64) {
        self.forget(pid);
        self.expire(now);
        if self.kept.len() >= CAPACITY {
            let oldest = self.kept.iter().position(|parked| parked.told);
            self.take(oldest.unwrap_or(0));
            self.dropped += 1;
        }
        self.kept.push(Parked {
            pid,
            status,
            since: now,
            told: false,
        });
    }

    /// The oldest come first.
    fn expire(&mut self, now: u64) {
        let is_old = |oldest: &Parked| now - oldest.since >= KEEP;
        while self.kept.first().is_some_and(is_old) {
            self.take(0);
            self.dropped += 1;
        }
    }

    /// Each pid is kept once.
    fn position(&self, pid: i32) -> Option<usize> {
        self.kept.iter().position(|parked| parked.pid == pid)
    }

    #[inline(never)]
    fn take(&mut self, at: usize) -> Parked {
        self.kept.remove(at)
    }

    pub(crate) fn holds(&self, pid: i32) -> bool {
        self.position(pid).is_some()
    }

    /// The status of `pid`, for a registration that comes late.
    pub(crate) fn claim(&mut self, pid: i32, now: u64) -> Option<i32> {
        self.expire(now);
        let at = self.position(pid)?;
        Some(self.take(at).status)
    }

    /// `pid` is another process by now.
    pub(crate) fn forget(&mut self, pid: i32) {
        if let Some(at) = self.position(pid) {
            self.take(at);
        }
    }

    /// The callback that was shown this status took it.
    pub(crate) fn forget_status(&mut self, pid: i32, status: i32) {
        if let Some(at) = self.position(pid) {
            if self.kept[at].told && self.kept[at].status == status {
                self.take(at);
            }
        }
    }

    /// Whether one, parked at `until` or before, was not shown to the unknown-child
    /// callback yet.
    pub(crate) fn is_due(&self, until: u64) -> bool {
        self.kept
            .iter()
            .any(|parked| !parked.told && parked.since <= until)
    }

    /// When the oldest untold status was parked that was parked after this time.
    pub(crate) fn untold_after(&self, after: u64) -> Option<u64> {
        let untold = self.kept.iter().filter(|parked| !parked.told);
        untold.map(|parked| parked.since).find(|&at| at > after)
    }

    /// The oldest that was parked at `until` or before and not shown. From now on it
    /// counts as shown.
    pub(crate) fn show(&mut self, until: u64) -> Option<Parked> {
        let mut kept = self.kept.iter_mut();
        let due = kept.find(|parked| !parked.told && parked.since <= until)?;
        due.told = true;
        Some(*due)
    }

    pub(crate) fn clear(&mut self) {
        self.kept = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lot() -> ParkingLot {
        let mut lot = ParkingLot::new();
        lot.reserve().unwrap();
        lot
    }

    #[test]
    fn a_late_registration_claims_once() {
        let mut lot = lot();
        lot.park(7, 0x100, 1);
        assert_eq!(lot.claim(7, 2), Some(0x100));
        assert_eq!(lot.claim(7, 2), None);
    }

    #[test]
    fn an_old_status_is_nobodys() {
        let mut lot = lot();
        lot.park(7, 0x100, 1);
        assert_eq!(lot.claim(7, 1 + KEEP), None);
        assert_eq!(lot.dropped(), 1);
    }

    #[test]
    fn what_was_told_goes_first() {
        let mut lot = lot();
        for pid in 0..CAPACITY {
            lot.park(i32::try_from(pid).unwrap(), 0, 1);
        }
        assert!(!lot.has_room(true));
        assert!(!lot.is_due(0));
        assert_eq!(lot.show(0), None);
        assert_eq!(lot.show(1).map(|parked| parked.pid), Some(0));
        assert!(lot.has_room(true));
        lot.park(1_000_000, 0, 2);
        assert_eq!(lot.claim(0, 2), None);
        assert_eq!(lot.claim(1, 2), Some(0));
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_never_gives_a_former_status(
            pids in proptest::collection::vec(0i32..2000, 0..2000),
        ) {
            let mut lot = lot();
            for (at, pid) in pids.iter().enumerate() {
                lot.park(*pid, i32::try_from(at).unwrap(), at as u64);
                prop_assert!(lot.len() <= CAPACITY);
            }
            if let Some(last) = pids.last() {
                let at = pids.len() - 1;
                prop_assert_eq!(lot.claim(*last, at as u64), Some(i32::try_from(at).unwrap()));
                prop_assert_eq!(lot.claim(*last, at as u64), None);
            }
        }
    }
}
