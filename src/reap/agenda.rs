//! What is owed, by when. Pure: times come in.
//!
//! Each debt has an alarm: [`super::wake`] sets it as the lock is released, in each loop
//! that runs, so that a loop that blocks holds nothing up. Any loop that runs pays what
//! is due. The deadlines of tasks, which only their own context's loop runs, are kept by
//! [`super::deadlines`] and share that context's alarm.

/// What can be owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Debt {
    /// A look for other children that ended, after a signal that named one.
    Sweep,
    /// A wait for each young child: only this shows that other code reaped one.
    Each,
    /// A look at the unknown.
    Walk,
    /// A look at pidfds in epolls that nobody polls, or that have to be asked again.
    Pidfds,
    /// Unknown children that a spawn in progress puts off.
    Tell,
    /// A look at children that neither a signal nor a pidfd tells of, or of which no
    /// signal may tell any more.
    Unheard,
    /// Children that have the pidfds of a lost descriptor are to be made young.
    Demote,
    /// A scan of /proc for the unknown, which is made without the lock.
    Scan,
}

const DEBTS: usize = 8;
const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Agenda {
    by: [u64; DEBTS],
    /// The alarms may be later than the first debt.
    pub(crate) unsettled: bool,
}

impl Agenda {
    pub(crate) const fn new() -> Self {
        Agenda {
            by: [NEVER; DEBTS],
            unsettled: false,
        }
    }

    /// This is to be done by then, or earlier if it was already owed for an earlier time.
    pub(crate) fn owe(&mut self, what: Debt, by: u64) {
        let owed = &mut self.by[what as usize];
        if by < *owed {
            *owed = by;
            self.unsettled = true;
        }
    }

    /// It was done.
    pub(crate) fn paid(&mut self, what: Debt) {
        self.by[what as usize] = NEVER;
    }

    /// Has something that is owed done by then; whether it is owed.
    pub(crate) fn hasten(&mut self, what: Debt, by: u64) -> bool {
        let owed = self.is_owed(what);
        if owed {
            self.owe(what, by);
        }
        owed
    }

    /// Nothing is owed any more.
    pub(crate) fn clear(&mut self) {
        *self = Agenda::new();
    }

    pub(crate) fn is_owed(&self, what: Debt) -> bool {
        self.by[what as usize] != NEVER
    }

    pub(crate) fn is_due(&self, what: Debt, now: u64) -> bool {
        self.by[what as usize] <= now
    }

    /// When the first debt is due; u64::MAX where there is none.
    pub(crate) fn next(&self) -> u64 {
        self.by.iter().copied().fold(NEVER, u64::min)
    }

    /// The same of what is paid with the lock held.
    pub(crate) fn next_locked(&self) -> u64 {
        self.by[..Debt::Scan as usize]
            .iter()
            .copied()
            .fold(NEVER, u64::min)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next() == NEVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_debt_decides_and_the_earlier_of_two_counts() {
        let mut agenda = Agenda::new();
        assert_eq!(agenda.next(), NEVER);
        assert!(!agenda.unsettled);
        agenda.owe(Debt::Walk, 50);
        agenda.owe(Debt::Walk, 70);
        agenda.owe(Debt::Sweep, 60);
        assert!(agenda.unsettled);
        assert_eq!(agenda.next(), 50);
        assert!(agenda.is_due(Debt::Walk, 50) && !agenda.is_due(Debt::Sweep, 59));
        agenda.paid(Debt::Walk);
        assert_eq!(agenda.next(), 60);
        assert!(agenda.hasten(Debt::Sweep, 40) && !agenda.hasten(Debt::Walk, 40));
        assert_eq!(agenda.next(), 40);
        agenda.owe(Debt::Scan, 30);
        assert_eq!((agenda.next(), agenda.next_locked()), (30, 40));
        agenda.clear();
        assert!(agenda.is_empty());
    }
}
