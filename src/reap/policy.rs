//! Facts in, plan out: which look is made now, which later, and when a young
//! child gets a pidfd. Pure.
//!
//! All figures are nanoseconds, measured on Linux 6.18 on two cores of a virtual
//! machine; only their ratios matter. `benches/run.py` compares builds with other
//! values.

/// A waitpid(pid) that finds nothing: 290 to 340 at any number of children.
pub(crate) const PID_WAIT: u64 = 300;
/// What each child costs that waitpid(-1) walks over without a result: 14 with 1,000
/// children, 80 with 10,000.
pub(crate) const WALKED_CHILD: u64 = 30;
/// What a pidfd costs in its life: pidfd_open 2,400 to 3,300, epoll_ctl 1,300 and
/// 1,000, close 1,600.
pub(crate) const PIDFD: u64 = 7_000;
/// The longest that a look is put off.
pub(crate) const LOOK_WITHIN: u64 = 1_000_000_000;
/// No look holds the lock for longer: the rest is left for later.
pub(crate) const HOLD: u64 = 2_000_000;
/// The clock is read after so many steps of what may take long.
pub(crate) const BETWEEN_CLOCKS: u32 = 64;
/// How many children get their pidfd in one go.
pub(crate) const PROMOTED_AT_ONCE: u32 = 256;
/// How long a kept zombie may hide unknown ones before /proc is scanned: most are gone
/// long before.
pub(crate) const SCAN_AFTER: u64 = 10_000_000;
/// Where neither a signal nor a pidfd tells of a child: how long until the next
/// look, after one that found something, and at most.
pub(crate) const UNHEARD_FIRST: u64 = 10_000_000;
pub(crate) const UNHEARD_LAST: u64 = 60_000_000_000;
/// The time between two checks whether SIGCHLD is still passed on grows by this factor. The
/// slow looks of services use the same one, so that an idle loop wakes up for both at once.
const LESS_OFTEN: u64 = 4;

/// A kind of look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A wait for each young child.
    Each,
    /// WNOWAIT shows the children that have ended, one after the other.
    Peek,
    /// waitpid(-1) until it finds no child.
    Walk,
    /// /proc lists our children, and a look at each tells whether it has ended.
    Scan,
}

impl Look {
    /// A look rests for its own duration multiplied by this, so that it takes about one
    /// part in so many of the time. The kernel's own walks cost a tenth of waits for each
    /// child, so a smaller part is enough to make them as often.
    fn share(self) -> u64 {
        match self {
            Look::Each => 15,
            Look::Peek | Look::Scan => 48,
            // Unknown children are not waited for so eagerly.
            Look::Walk => 480,
        }
    }

    /// Whether a look that makes so many waits, or walks over so many children, is
    /// expensive: then it may be put off.
    pub(crate) fn is_dear(self, children: u32) -> bool {
        self.price(children) > self.at_once()
    }

    fn price(self, children: u32) -> u64 {
        let each = match self {
            Look::Each => PID_WAIT,
            Look::Peek | Look::Walk | Look::Scan => WALKED_CHILD,
        };
        u64::from(children) * each
    }

    /// A look that costs no more than this is made at once. To put it off would cost as
    /// much, for the clock, the timer and the wake-up.
    fn at_once(self) -> u64 {
        match self {
            Look::Each => 6_000,
            Look::Peek | Look::Walk | Look::Scan => 1_000,
        }
    }
}

/// How much a look has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    All,
    /// It stopped early, as it had held the lock for as long as it may. There may be more.
    Some,
    /// It cannot show all. A zombie that must not be waited for now hides the others, or
    /// there is no room to keep more unknown children.
    Hidden,
}

/// How things stand when something woke a context.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) now: u64,
    /// It was a signal that named nobody. Nothing else tells who ended, so no look is put
    /// off.
    pub(crate) unnamed: bool,
    /// Waits that a look at each takes: for the young, and for the old that may
    /// stop.
    pub(crate) waits: u32,
    /// All that the table holds.
    pub(crate) children: u32,
    /// Some context takes the unknown, and they are to be looked at.
    pub(crate) walk: bool,
    /// Other children than the named one may have ended.
    pub(crate) sweep: bool,
    /// Each child is to be waited for: that was put off for as long as it may be.
    pub(crate) each: bool,
    /// A walk would show everything, and would reap no child that must be kept.
    pub(crate) can_walk: bool,
    /// Nobody asks for stops, which a peek does not show.
    pub(crate) can_peek: bool,
}

/// When a look is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Never,
    Now,
    At(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The look at the unknown.
    pub(crate) walk: When,
    /// The look for others of the known, and its kind.
    pub(crate) sweep: When,
    pub(crate) by: Look,
}

#[derive(Debug)]
pub(crate) struct Policy {
    /// Promotion ledger: a newcomer's death adds the price of a sweep, a settled
    /// child's death subtracts it.
    vain: u64,
    promoting: bool,
    /// Until when each kind of look rests.
    rests: [u64; 4],
    /// Whether the last peek could not show all. Then each child was waited for.
    hidden: bool,
    /// How long until the next look at the unheard.
    unheard: u64,
    /// How long until the next check whether SIGCHLD is still passed on.
    doubt: u64,
}

impl Policy {
    pub(crate) const fn new() -> Self {
        Policy {
            vain: 0,
            promoting: false,
            rests: [0; 4],
            hidden: false,
            unheard: UNHEARD_FIRST,
            doubt: LOOK_WITHIN,
        }
    }

    /// What is looked at, how, and when.
    pub(crate) fn plan(&self, facts: &Facts) -> Plan {
        let walk_rested = self.when(Look::Walk, facts) == When::Now;
        let walk = if !facts.walk {
            When::Never
        } else if walk_rested {
            When::Now
        } else {
            // The next signal after its rest makes the walk. An alarm at the end of the
            // rest would cost more than the look, so the alarm is set for a second from
            // now.
            When::At(facts.now + LOOK_WITHIN)
        };
        let dear = Look::Each.is_dear(facts.waits);
        let by = if facts.each || Look::Each.price(facts.waits) <= Look::Walk.price(facts.children)
        {
            Look::Each
        } else if facts.can_walk && walk_rested && (facts.walk || dear) {
            // A walk that is made anyway shows the known too.
            Look::Walk
        } else if facts.can_peek && dear {
            Look::Peek
        } else {
            Look::Each
        };
        let sweep = if facts.waits == 0 || !(facts.sweep || facts.each) {
            When::Never
        } else if facts.each {
            When::Now
        } else {
            self.when(by, facts)
        };
        Plan { walk, sweep, by }
    }

    fn when(&self, look: Look, facts: &Facts) -> When {
        let mut from = self.rests[look as usize];
        if look == Look::Peek && self.hidden {
            // Another zombie hid the others then, and each child was waited for. That may
            // happen again, so the peek rests as long as such a wait.
            from = from.max(self.rests[Look::Each as usize]);
        }
        let dear = match look {
            Look::Each => look.is_dear(facts.waits),
            Look::Peek | Look::Walk | Look::Scan => look.is_dear(facts.children),
        };
        if facts.unnamed || !dear || facts.now >= from {
            When::Now
        } else {
            When::At(from)
        }
    }

    /// When a scan that is asked for now is to be made.
    pub(crate) fn scan_at(&self, now: u64) -> u64 {
        (now + SCAN_AFTER).max(self.rests[Look::Scan as usize])
    }

    /// A look was made and took so long; returns until when its kind rests. A look that
    /// was interrupted found something all the while, and so rests less.
    pub(crate) fn looked(&mut self, look: Look, seen: Seen, took: u64, now: u64) -> u64 {
        if look == Look::Peek {
            self.hidden = seen == Seen::Hidden;
        }
        let rest = if took <= look.at_once() {
            0
        } else if seen == Seen::Some {
            took * Look::Each.share()
        } else {
            took * look.share()
        };
        let rest = rest.min(LOOK_WITHIN);
        self.rests[look as usize] = now + rest;
        now + rest
    }

    /// The next look of each kind is made at once: it was asked for.
    pub(crate) fn end_rests(&mut self) {
        self.rests = [0; 4];
    }

    /// A young child's end was found, by `si_pid` or by a sweep over `settled` others.
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

    /// All the settled have a pidfd, or none can be opened. The ledger begins again at
    /// zero: the next attempt comes when it is full again.
    pub(crate) fn promoted(&mut self) {
        self.promoting = false;
        self.vain = 0;
    }

    /// A look at children of which nothing tells was made: how long until the next one.
    pub(crate) fn unheard(&mut self, found: bool, young: u32) -> u64 {
        // A look costs this much at least: it gets a sixtieth of the time.
        let first = (u64::from(young) * PID_WAIT * 60).clamp(UNHEARD_FIRST, LOOK_WITHIN);
        self.unheard = if found {
            first
        } else {
            (self.unheard * 2).clamp(first, UNHEARD_LAST)
        };
        self.unheard
    }

    /// There is a new child that SIGCHLD should tell of: how long until the check whether
    /// it does.
    pub(crate) fn doubt_anew(&mut self) -> u64 {
        self.doubt = LOOK_WITHIN;
        self.doubt
    }

    /// That look found nothing amiss: how long until the next time.
    pub(crate) fn doubt_less(&mut self) -> u64 {
        self.doubt = (self.doubt * LESS_OFTEN).min(UNHEARD_LAST);
        self.doubt
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

    const FACTS: Facts = Facts {
        now: 1_000_000,
        unnamed: false,
        waits: 0,
        children: 0,
        walk: false,
        sweep: true,
        each: false,
        can_walk: false,
        can_peek: true,
    };

    #[test]
    fn few_are_waited_for_and_many_are_asked_for_in_one_go() {
        let policy = Policy::new();
        let few = Facts {
            waits: 10,
            children: 10,
            ..FACTS
        };
        let many = Facts {
            waits: 1_000,
            children: 1_000,
            ..FACTS
        };
        let all = Facts {
            walk: true,
            can_walk: true,
            ..many
        };
        let plan = |facts| policy.plan(&facts);
        assert_eq!((plan(few).sweep, plan(few).by), (When::Now, Look::Each));
        assert_eq!((plan(many).sweep, plan(many).by), (When::Now, Look::Peek));
        assert_eq!((plan(all).walk, plan(all).by), (When::Now, Look::Walk));
        assert_eq!(plan(FACTS).sweep, When::Never);
        // Old ones make the list long, and are not waited for.
        let old = Facts { waits: 90, ..many };
        assert_eq!(plan(old).by, Look::Each);
        let overdue = Facts { each: true, ..all };
        assert_eq!(
            (plan(overdue).sweep, plan(overdue).by),
            (When::Now, Look::Each)
        );
    }

    #[test]
    fn a_cheap_look_is_made_whatever_the_last_one_took() {
        let mut policy = Policy::new();
        let few = Facts {
            walk: true,
            can_walk: true,
            waits: 3,
            children: 3,
            ..FACTS
        };
        policy.looked(Look::Walk, Seen::All, LOOK_WITHIN, few.now);
        policy.looked(Look::Each, Seen::All, LOOK_WITHIN, few.now);
        let plan = policy.plan(&few);
        assert_eq!((plan.walk, plan.sweep), (When::Now, When::Now));
    }

    #[test]
    fn a_dear_look_rests_for_its_share_and_a_second_at_most() {
        let mut policy = Policy::new();
        let all = Facts {
            walk: true,
            can_walk: true,
            children: 10_000,
            ..FACTS
        };
        assert_eq!(policy.looked(Look::Walk, Seen::All, 900, all.now), all.now);
        assert_eq!(policy.plan(&all).walk, When::Now);
        let from = policy.looked(Look::Walk, Seen::All, 100_000, all.now);
        assert_eq!(from, all.now + 48_000_000);
        assert_eq!(policy.plan(&all).walk, When::At(all.now + LOOK_WITHIN));
        assert_eq!(policy.plan(&Facts { now: from, ..all }).walk, When::Now);
        let unnamed = Facts {
            unnamed: true,
            ..all
        };
        assert_eq!(policy.plan(&unnamed).walk, When::Now);
        let from = policy.looked(Look::Walk, Seen::All, 1_000_000_000, 5);
        assert_eq!(from, 5 + LOOK_WITHIN);
    }

    #[test]
    fn many_are_asked_for_in_one_go_while_a_walk_rests() {
        let mut policy = Policy::new();
        let all = Facts {
            walk: true,
            can_walk: true,
            waits: 1_000,
            children: 1_000,
            ..FACTS
        };
        policy.looked(Look::Walk, Seen::All, 1_000_000, all.now);
        let plan = policy.plan(&all);
        assert_eq!(plan.walk, When::At(all.now + LOOK_WITHIN));
        assert_eq!((plan.sweep, plan.by), (When::Now, Look::Peek));
    }

    #[test]
    fn a_peek_that_ends_in_a_wait_for_each_rests_as_long_as_that() {
        let mut policy = Policy::new();
        let many = Facts {
            waits: 1_000,
            children: 1_000,
            ..FACTS
        };
        let after = policy.looked(Look::Each, Seen::All, 300_000, many.now);
        policy.looked(Look::Peek, Seen::All, 900, many.now);
        assert_eq!(policy.plan(&many).sweep, When::Now);
        policy.looked(Look::Peek, Seen::Hidden, 900, many.now);
        assert_eq!(policy.plan(&many).sweep, When::At(after));
        let rested = Facts { now: after, ..many };
        assert_eq!(policy.plan(&rested).sweep, When::Now);
    }

    #[test]
    fn the_unheard_are_looked_at_ever_less_until_something_is_found() {
        let mut policy = Policy::new();
        let mut last = 0;
        for _ in 0..20 {
            let after = policy.unheard(false, 3);
            assert!(after >= last);
            last = after;
        }
        assert_eq!(last, UNHEARD_LAST);
        assert_eq!(policy.unheard(true, 3), UNHEARD_FIRST);
    }

    #[test]
    fn a_signal_is_doubted_ever_less_until_there_is_a_new_child() {
        let mut policy = Policy::new();
        assert_eq!(policy.doubt_anew(), LOOK_WITHIN);
        assert_eq!(policy.doubt_less(), LESS_OFTEN * LOOK_WITHIN);
        for _ in 0..20 {
            policy.doubt_less();
        }
        assert_eq!(policy.doubt_less(), UNHEARD_LAST);
        assert_eq!(policy.doubt_anew(), LOOK_WITHIN);
    }
}
