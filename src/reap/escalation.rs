//! A deadline with steps: which signal is due, and when. Pure: the time comes
//! in, the decision goes out.
//!
//! A step's time counts from the moment in which the former one was taken, not from when
//! it was due: a loop that runs late must not send SIGTERM and SIGKILL in one go.

use nix::errno::Errno;

use super::event::Taken;
use crate::sys::error::Error;

/// Which processes a step's signal reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whom {
    Child,
    /// Every process of the child's process group.
    Group,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    /// Nanoseconds after the former step, or after the deadline was set.
    pub(crate) after: u64,
    pub(crate) signum: i32,
    pub(crate) whom: Whom,
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// A step's number, counted from 0, and the step.
    Step(u32, Step),
    /// Every step was taken, and the child has lived on for as long as it may.
    Unkillable,
}

/// The most steps that one deadline has.
pub(crate) const MAX_STEPS: usize = 16;

/// A deadline that was set.
#[derive(Debug)]
pub(crate) struct Escalation {
    steps: Vec<Step>,
    /// How long after the last step the child counts as unkillable.
    unkillable: Option<u64>,
    next: u32,
    at: Option<u64>,
    /// When each step was taken, and its signal's errno; as many as there are steps.
    done: Vec<(u64, i32)>,
    /// How many steps were told of.
    told: u32,
}

impl Escalation {
    /// Begins at `now`. EINVAL without a step, with too many, or where one of
    /// its times cannot be told by a clock of 63 bits.
    pub(crate) fn begin(
        steps: Vec<Step>,
        unkillable: Option<u64>,
        now: u64,
    ) -> Result<Self, Error> {
        if steps.is_empty() || steps.len() > MAX_STEPS {
            return Err(Errno::EINVAL.into());
        }
        let mut times = steps.iter().map(|step| step.after).chain(unkillable);
        let last = times.try_fold(now, u64::checked_add);
        if last.is_none_or(|last| i64::try_from(last).is_err()) {
            return Err(Errno::EINVAL.into());
        }
        let at = now + steps[0].after;
        let mut done = Vec::new();
        done.try_reserve_exact(steps.len())
            .map_err(|_| Errno::ENOMEM)?;
        Ok(Escalation {
            steps,
            unkillable,
            next: 0,
            at: Some(at),
            done,
            told: 0,
        })
    }

    /// When something is due next; None when all is done.
    pub(crate) fn at(&self) -> Option<u64> {
        self.at
    }

    /// Nothing is due any more.
    pub(crate) fn stop(&mut self) {
        self.at = None;
    }

    /// The signal of the step that was taken last was sent, or not: its errno.
    pub(crate) fn sent(&mut self, now: u64, errno: i32) {
        if self.done.len() < self.steps.len() {
            self.done.push((now, errno));
        }
    }

    /// The first step that was taken and not told of, and when it was taken. From now on
    /// it counts as told.
    pub(crate) fn tell(&mut self) -> Option<(Taken, u64)> {
        let index = self.told;
        let &(at, errno) = self.done.get(index as usize)?;
        let signum = self.steps[index as usize].signum;
        self.told += 1;
        let taken = Taken {
            index,
            signum,
            errno,
        };
        Some((taken, at))
    }

    /// Whether there is a step that was taken and not told of.
    pub(crate) fn is_untold(&self) -> bool {
        (self.told as usize) < self.done.len()
    }

    /// What is due now, if anything. From then on it counts as done.
    pub(crate) fn take(&mut self, now: u64) -> Option<Due> {
        if self.at? > now {
            return None;
        }
        let index = self.next;
        let step = self.steps.get(index as usize).copied();
        self.next += 1;
        let after = match self.steps.get(self.next as usize) {
            Some(next) => Some(next.after),
            None if step.is_some() => self.unkillable,
            None => None,
        };
        self.at = after.map(|after| now.saturating_add(after));
        Some(step.map_or(Due::Unkillable, |step| Due::Step(index, step)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step(after: u64, signum: i32) -> Step {
        Step {
            after,
            signum,
            whom: Whom::Child,
        }
    }

    #[test]
    fn a_late_loop_takes_one_step_at_a_time() {
        let steps = vec![step(10, libc::SIGTERM), step(5, libc::SIGKILL)];
        let mut escalation = Escalation::begin(steps.clone(), Some(7), 100).unwrap();
        assert_eq!(escalation.take(109), None);
        assert_eq!(escalation.take(1000), Some(Due::Step(0, steps[0])));
        escalation.sent(1000, 0);
        let first = Taken {
            index: 0,
            signum: libc::SIGTERM,
            errno: 0,
        };
        assert_eq!(escalation.tell(), Some((first, 1000)));
        assert_eq!((escalation.tell(), escalation.is_untold()), (None, false));
        assert_eq!(escalation.take(1004), None);
        assert_eq!(escalation.at(), Some(1005));
        assert_eq!(escalation.take(1005), Some(Due::Step(1, steps[1])));
        escalation.sent(1006, libc::EPERM);
        assert!(escalation.is_untold());
        let second = Taken {
            index: 1,
            signum: libc::SIGKILL,
            errno: libc::EPERM,
        };
        assert_eq!(escalation.tell(), Some((second, 1006)));
        assert_eq!(escalation.take(1011), None);
        assert_eq!(escalation.take(1012), Some(Due::Unkillable));
        assert_eq!(escalation.at(), None);
        assert_eq!(escalation.take(u64::MAX), None);
        assert_eq!(escalation.tell(), None);
    }

    #[test]
    fn times_that_no_clock_tells() {
        let most = i64::MAX.unsigned_abs();
        assert!(Escalation::begin(vec![step(most, 1)], None, 0).is_ok());
        assert!(Escalation::begin(vec![step(most, 1)], None, 1).is_err());
        assert!(Escalation::begin(vec![step(1, 1)], Some(u64::MAX), 1).is_err());
        assert!(Escalation::begin(vec![step(u64::MAX, 1); 2], None, 1).is_err());
        assert!(Escalation::begin(Vec::new(), Some(1), 1).is_err());
        assert!(Escalation::begin(vec![step(0, 1); MAX_STEPS + 1], None, 1).is_err());
    }

    proptest! {
        #[test]
        fn steps_come_once_in_order_and_never_early(
            afters in proptest::collection::vec(0u64..50, 1..=MAX_STEPS),
            unkillable in proptest::option::of(0u64..50),
            turns in proptest::collection::vec(0u64..40, 0..60),
        ) {
            let steps: Vec<_> = afters.iter().map(|&after| step(after, 1)).collect();
            let mut escalation = Escalation::begin(steps.clone(), unkillable, 1000).unwrap();
            let (mut now, mut former, mut taken) = (1000, 1000, 0);
            for turn in turns {
                now += turn;
                let Some(due) = escalation.take(now) else {
                    prop_assert!(escalation.at().is_none_or(|at| at > now));
                    continue;
                };
                let after = match due {
                    Due::Step(index, step) => {
                        prop_assert_eq!(index as usize, taken);
                        prop_assert_eq!(step, steps[taken]);
                        step.after
                    }
                    Due::Unkillable => {
                        prop_assert_eq!(taken, steps.len());
                        unkillable.unwrap()
                    }
                };
                prop_assert!(now >= former + after);
                former = now;
                taken += 1;
            }
            prop_assert!(taken <= steps.len() + usize::from(unkillable.is_some()));
        }
    }
}
