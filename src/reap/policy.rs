//! When to sweep, when to walk, when a young child gets a pidfd. Pure: costs
//! and times come in, decisions go out.
//!
//! All figures are nanoseconds, measured on Linux 6.18 on two cores of a virtual
//! machine; only their ratios matter. `benches/run.py --sweep` compares builds
//! with other values.

/// A waitpid(pid) that finds nothing: 290 to 340 at any number of children.
pub(crate) const PID_WAIT: u64 = 300;
/// What a child costs that waitpid(-1) walks over in vain: 14 with 1,000
/// children, 80 with 10,000.
pub(crate) const WALKED_CHILD: u64 = 30;
/// The same at most, where other processors end children meanwhile.
pub(crate) const DEAR_CHILD: u64 = 200;
/// What a pidfd costs in its life: pidfd_open 2,400 to 3,300, epoll_ctl 1,300 and
/// 1,000, close 1,600.
pub(crate) const PIDFD: u64 = 7_000;
/// A sweep that costs less than this is made at once: two clock reads, a timer
/// and the wake-up for it cost as much.
pub(crate) const AT_ONCE: u64 = 6_000;
/// Dearer sweeps that wait for each child get one part in so many of the time.
pub(crate) const SHARE: u64 = 15;
/// Sweeps that walk, which cost a tenth, get one part in so many.
pub(crate) const WALK_SHARE: u64 = 48;
/// Sweeps that walk are put off for no longer, unless that is more than SHARE
/// allows: an exit whose signal merged with another's waits so long.
pub(crate) const LATE: u64 = 25_000_000;
/// An exit that is handled without a walk earns this much towards one: looks at
/// the unknown cost about a fiftieth of what the exits do.
pub(crate) const EARNED: u64 = 100;
/// So few children that a walk is made for each signal, as the plain loop does.
pub(crate) const CHEAP_WALK: u32 = 16;
/// One walk in so many is timed, where there are few children.
pub(crate) const TIMED: u64 = 16;
/// A walk that goes on finding somebody is broken off after so long, and gets its
/// SHARE: among many who live the kernel walks over them for each who ends.
pub(crate) const WALK_FOR: u64 = 2_000_000;
/// The longest that a look at the unknown is put off, or at each young child.
pub(crate) const LOOK_WITHIN: u64 = 1_000_000_000;
/// How many children get their pidfd in one go.
pub(crate) const PROMOTED_AT_ONCE: u32 = 256;
/// Where neither a signal nor a pidfd tells of a child: how often to look.
pub(crate) const POLL_AT_LEAST: u64 = 1_000_000_000;
pub(crate) const POLL_AT_MOST: u64 = 10_000_000;

#[derive(Debug)]
pub(crate) struct Policy {
    /// What sweeps in vain over the settled young have cost, so to say: each
    /// death of a newcomer is charged one, each other death is credited one.
    vain: u64,
    promoting: bool,
    /// No dear sweep before.
    sweep_from: u64,
    /// What the last empty walks took, and over how many children.
    walk: u64,
    walked: u32,
    /// What exits have earned since the last walk.
    earned: u64,
    /// The unknown are to be looked at until then.
    look_by: Option<u64>,
    /// Each young child is to be waited for until then: a sweep that walked does
    /// not show that one was taken by somebody else.
    each_by: Option<u64>,
}

/// What is to be done now, or at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    At(u64),
}

impl Policy {
    pub(crate) const fn new() -> Self {
        Policy {
            vain: 0,
            promoting: false,
            sweep_from: 0,
            walk: 0,
            walked: 0,
            earned: 0,
            look_by: None,
            each_by: None,
        }
    }

    /// A child ended that `si_pid` or a sweep over `settled` others told of.
    pub(crate) fn died(&mut self, fresh: bool, settled: u32) {
        let sweep = u64::from(settled) * PID_WAIT;
        self.vain = if fresh {
            self.vain + sweep
        } else {
            self.vain.saturating_sub(sweep)
        };
        if settled > 0 && self.vain >= u64::from(settled) * PIDFD {
            self.promoting = true;
        }
    }

    /// How many of the settled get a pidfd now.
    pub(crate) fn promote(&self, settled: u32) -> u32 {
        if self.promoting {
            settled.min(PROMOTED_AT_ONCE)
        } else {
            0
        }
    }

    /// All the settled have theirs, or none can be had: it costs the same
    /// again before the next attempt.
    pub(crate) fn promoted(&mut self) {
        self.promoting = false;
        self.vain = 0;
    }

    /// When to sweep, at this cost, if it is not cheap.
    pub(crate) fn sweep(&self, now: u64) -> When {
        if now >= self.sweep_from {
            When::Now
        } else {
            When::At(self.sweep_from)
        }
    }

    /// A sweep of this cost was begun, of a kind that gets this share.
    pub(crate) fn swept(&mut self, cost: u64, share: u64, now: u64) {
        let rest = (cost * share).min(LATE).max(cost * SHARE);
        self.sweep_from = now + cost + rest;
    }

    /// What a walk over all children is thought to cost: what the last ones took,
    /// but there may be many more children since then, or fewer.
    pub(crate) fn walk_cost(&self, children: u32) -> u64 {
        let cost = u64::from(children) * WALKED_CHILD;
        if self.walk == 0 {
            return cost;
        }
        let child = self.walk / u64::from(self.walked.max(1));
        let fewer = u64::from(self.walked.saturating_sub(children));
        (self.walk - fewer * child.min(DEAR_CHILD)).max(cost / 2)
    }

    /// SIGCHLD came: whether a look at the unknown has been earned.
    pub(crate) fn earn(&mut self, children: u32) -> bool {
        self.earned += EARNED;
        self.earned >= self.walk_cost(children)
    }

    /// A look is put off: until when, at most.
    pub(crate) fn owe(&mut self, now: u64) -> u64 {
        *self.look_by.get_or_insert(now + LOOK_WITHIN)
    }

    /// A look was broken off, though it was owed: when to go on.
    pub(crate) fn broke_off(&mut self, now: u64) -> u64 {
        *self.look_by.insert(now + WALK_FOR * SHARE)
    }

    /// Until when a look is owed.
    pub(crate) fn look_by(&self) -> Option<u64> {
        self.look_by
    }

    /// A walk over all children that found nothing took `cost`.
    pub(crate) fn timed(&mut self, cost: u64, children: u32) {
        // The last few weigh most; one that was interrupted does not decide.
        self.walk = match self.walk {
            0 => cost.max(1),
            _ => {
                let walk = self.walk_cost(children);
                ((walk * 3 + cost.min(walk * 4)) / 4).max(1)
            }
        };
        self.walked = children;
    }

    /// Everybody was looked at.
    pub(crate) fn walked(&mut self) {
        self.earned = 0;
        self.look_by = None;
    }

    /// A sweep walked: until when each is to be waited for.
    pub(crate) fn owe_each(&mut self, by: u64) -> u64 {
        let by = self.each_by.map_or(by, |owed| owed.min(by));
        self.each_by = Some(by);
        by
    }

    /// Until when that is owed.
    pub(crate) fn each_by(&self) -> Option<u64> {
        self.each_by
    }

    /// Each was waited for.
    pub(crate) fn waited_for_each(&mut self) {
        self.each_by = None;
    }

    /// How long until the next look where nothing tells of `young` children.
    pub(crate) fn poll_after(&self, young: u32) -> u64 {
        (u64::from(young) * PID_WAIT * SHARE * 4).clamp(POLL_AT_MOST, POLL_AT_LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_daemon_promotes_its_settled_children() {
        let mut policy = Policy::new();
        let deaths = (1..)
            .take_while(|_| {
                policy.died(true, 1_000);
                policy.promote(1_000) == 0
            })
            .count();
        assert!((10..60).contains(&deaths), "{deaths} deaths");
        assert_eq!(policy.promote(1_000), PROMOTED_AT_ONCE);
        policy.promoted();
        assert_eq!(policy.promote(1_000), 0);
    }

    #[test]
    fn a_storm_does_not_promote() {
        let mut policy = Policy::new();
        for settled in (0..10_000).rev() {
            policy.died(false, settled);
            assert_eq!(policy.promote(settled), 0);
        }
    }

    #[test]
    fn dear_sweeps_get_a_share_of_the_time() {
        let mut policy = Policy::new();
        assert_eq!(policy.sweep(5), When::Now);
        policy.swept(1_000_000, SHARE, 5);
        let from = 5 + 1_000_000 * (SHARE + 1);
        assert_eq!(policy.sweep(1_000_006), When::At(from));
        assert_eq!(policy.sweep(from), When::Now);
        // A walk's exits are told in time, unless there are very many children.
        policy.swept(2_000_000, WALK_SHARE, 0);
        let at = |policy: &Policy| match policy.sweep(0) {
            When::Now => 0,
            When::At(at) => at,
        };
        assert_eq!(at(&policy), 2_000_000 + 2_000_000 * SHARE);
        policy.swept(1_000_000, WALK_SHARE, 0);
        assert_eq!(at(&policy), 1_000_000 + LATE);
        policy.swept(100_000, WALK_SHARE, 0);
        assert_eq!(at(&policy), 100_000 * (WALK_SHARE + 1));
    }

    #[test]
    fn looks_cost_no_more_than_the_exits_and_come_within_a_second() {
        let mut policy = Policy::new();
        policy.timed(100 * EARNED, 100);
        let looks = (0..1_000)
            .filter(|_| {
                let now = policy.earn(100);
                if now {
                    policy.walked();
                }
                now
            })
            .count();
        assert_eq!(looks, 10);
        assert!(!policy.earn(100));
        assert_eq!(policy.owe(50), 50 + LOOK_WITHIN);
        assert_eq!(policy.owe(60), 50 + LOOK_WITHIN);
        assert_eq!(policy.broke_off(70), 70 + WALK_FOR * SHARE);
        let later = 80 + LOOK_WITHIN;
        assert_eq!(policy.broke_off(later), later + WALK_FOR * SHARE);
        policy.walked();
        assert_eq!(policy.look_by(), None);
    }

    #[test]
    fn a_walk_is_dearer_among_more_children_than_the_last() {
        let mut policy = Policy::new();
        policy.timed(200, 0);
        assert_eq!(policy.walk_cost(0), 200);
        assert!(!policy.earn(10_000));
        let walks = (0..10).take_while(|_| {
            policy.timed(2_000_000, 10_000);
            policy.walk_cost(10_000) < 1_500_000
        });
        assert!(walks.count() < 8);
    }

    #[test]
    fn a_walk_is_cheaper_among_fewer_children_than_the_last() {
        let mut policy = Policy::new();
        policy.timed(2_000_000, 10_000);
        assert_eq!(policy.walk_cost(5_000), 1_000_000);
        assert_eq!(policy.walk_cost(0), 0);
        // Most of what was walked over was nobody's here.
        let mut policy = Policy::new();
        policy.timed(2_000_000, 10);
        assert!(policy.walk_cost(0) > 1_990_000);
    }
}
