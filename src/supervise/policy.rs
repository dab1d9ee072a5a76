//! Whether a unit that ended is started again, and when. Pure: the times and
//! the random number come in as arguments.

use nix::errno::Errno;

use crate::sys::error::Error;

/// After which ends a unit is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Restart {
    #[default]
    Never,
    OnFailure,
    Always,
}

/// The most starts that a window may be given: each takes eight bytes.
pub(crate) const MAX_STARTS: u32 = 10_000;

/// The policy of one unit. Times are nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Policy {
    pub(crate) restart: Restart,
    /// From an end to the next start.
    pub(crate) delay: u64,
    /// Each further end doubles the delay up to this; the same as `delay`
    /// where the delay is fixed.
    pub(crate) delay_max: u64,
    /// A random part of the delay, in percent, is taken off.
    pub(crate) jitter: u8,
    /// A run of this length makes the next delay the first again.
    pub(crate) stable: u64,
    /// At most this many starts...
    pub(crate) starts: u32,
    /// ...within this time. 0 in either: no limit.
    pub(crate) window: u64,
}

impl Policy {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.delay_max < self.delay || self.jitter > 100 || self.starts > MAX_STARTS {
            return Err(Errno::EINVAL.into());
        }
        Ok(())
    }

    fn is_limited(&self) -> bool {
        self.starts > 0 && self.window > 0
    }
}

/// What the policy says of an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// No start follows.
    Over,
    /// A start follows this many nanoseconds later.
    After(u64),
    /// A start would follow, but there were too many.
    TooMany,
}

/// The starts that the policy has to remember.
#[derive(Debug)]
pub(crate) struct History {
    policy: Policy,
    /// Times of the last starts, a ring; as long as the limit.
    starts: Vec<u64>,
    next: usize,
    /// The delay of the next start.
    delay: u64,
    started: u64,
}

impl History {
    /// Takes all the memory that it will need.
    pub(crate) fn new(policy: Policy) -> Result<Self, Error> {
        policy.check()?;
        let mut starts = Vec::new();
        if policy.is_limited() {
            starts
                .try_reserve_exact(policy.starts as usize)
                .map_err(|_| Errno::ENOMEM)?;
        }
        Ok(History {
            policy,
            starts,
            next: 0,
            delay: policy.delay,
            started: 0,
        })
    }

    /// The unit is started now.
    pub(crate) fn started(&mut self, now: u64) {
        self.started = now;
        if self.starts.len() < self.starts.capacity().min(self.policy.starts as usize) {
            self.starts.push(now);
        } else if let Some(oldest) = self.starts.get_mut(self.next) {
            *oldest = now;
            self.next = (self.next + 1) % self.starts.len();
        }
    }

    /// Whether one more start would be one too many.
    pub(crate) fn is_full(&self, at: u64) -> bool {
        if !self.policy.is_limited() || self.starts.len() < self.policy.starts as usize {
            return false;
        }
        let oldest = self.starts[self.next];
        at.saturating_sub(oldest) < self.policy.window
    }

    /// Somebody asked for a start: what happened before does not count.
    pub(crate) fn forget(&mut self) {
        self.starts.clear();
        self.next = 0;
        self.delay = self.policy.delay;
    }

    /// The unit ended; `random` decides the jitter.
    pub(crate) fn ended(&mut self, failed: bool, now: u64, random: u64) -> Verdict {
        match self.policy.restart {
            Restart::Always => {}
            Restart::OnFailure if failed => {}
            Restart::OnFailure | Restart::Never => return Verdict::Over,
        }
        self.again(now, random)
    }

    /// The same, where the start was decided already.
    pub(crate) fn again(&mut self, now: u64, random: u64) -> Verdict {
        if self.policy.stable > 0 && now.saturating_sub(self.started) >= self.policy.stable {
            self.delay = self.policy.delay;
        }
        let off = self.delay / 100 * u64::from(self.policy.jitter);
        let delay = self.delay - if off > 0 { random % (off + 1) } else { 0 };
        if self.is_full(now.saturating_add(delay)) {
            return Verdict::TooMany;
        }
        self.delay = self
            .delay
            .saturating_mul(2)
            .clamp(self.policy.delay, self.policy.delay_max);
        Verdict::After(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn policy() -> Policy {
        Policy {
            restart: Restart::OnFailure,
            delay: SECOND,
            delay_max: 8 * SECOND,
            jitter: 0,
            stable: 60 * SECOND,
            starts: 0,
            window: 0,
        }
    }

    #[test]
    fn a_success_is_the_end_unless_always() {
        let mut history = History::new(policy()).unwrap();
        assert_eq!(history.ended(false, 1, 0), Verdict::Over);
        let always = Policy {
            restart: Restart::Always,
            ..policy()
        };
        let mut history = History::new(always).unwrap();
        assert_eq!(history.ended(false, 1, 0), Verdict::After(SECOND));
    }

    #[test]
    fn the_delay_doubles_to_its_maximum_and_a_stable_run_resets_it() {
        let mut history = History::new(policy()).unwrap();
        let mut now = 0;
        for wanted in [1, 2, 4, 8, 8] {
            history.started(now);
            now += SECOND;
            assert_eq!(history.ended(true, now, 0), Verdict::After(wanted * SECOND));
        }
        history.started(now);
        assert_eq!(
            history.ended(true, now + 60 * SECOND, 0),
            Verdict::After(SECOND)
        );
    }

    #[test]
    fn bad_policies_are_refused() {
        for bad in [
            Policy {
                delay_max: 1,
                ..policy()
            },
            Policy {
                jitter: 101,
                ..policy()
            },
            Policy {
                starts: MAX_STARTS + 1,
                window: 1,
                ..policy()
            },
        ] {
            assert_eq!(History::new(bad).err(), Some(Errno::EINVAL.into()));
        }
    }

    proptest! {
        #[test]
        fn no_window_has_more_starts_than_the_limit(
            starts in 1u32..6,
            window in 1u64..50,
            jitter in 0u8..=100,
            runs in proptest::collection::vec((0u64..20, any::<u64>()), 1..60),
        ) {
            let policy = Policy {
                restart: Restart::Always,
                delay: 3,
                delay_max: 12,
                jitter,
                stable: 15,
                starts,
                window,
            };
            let mut history = History::new(policy).unwrap();
            let (mut now, mut all) = (0, Vec::new());
            for (run, random) in runs {
                history.started(now);
                all.push(now);
                now += run;
                match history.ended(true, now, random) {
                    Verdict::After(delay) => {
                        prop_assert!(delay <= 12);
                        now += delay;
                    }
                    Verdict::TooMany => break,
                    Verdict::Over => prop_assert!(false),
                }
            }
            for (at, &start) in all.iter().enumerate() {
                let within = all[at..].iter().filter(|&&other| other - start < window);
                prop_assert!(within.count() <= starts as usize);
            }
        }
    }
}
