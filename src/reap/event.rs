//! What a rich watch is told: which changes, and what a record of one holds.
//! Pure.

use super::id::WatchId;
use super::status::{Change, LOST};
use crate::sys::usage::Usage;

bitflags::bitflags! {
    /// Changes of a child and of its deadline, as C names them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Events: u8 {
        const EXITED = 1 << 0;
        const KILLED = 1 << 1;
        const DUMPED = 1 << 2;
        const STOPPED = 1 << 3;
        const CONTINUED = 1 << 4;
        /// A step of the deadline was taken.
        const STEP = 1 << 5;
        /// The child outlived every step.
        const UNKILLABLE = 1 << 6;
        /// It ended, and its status is lost. This cannot be asked for: each watch that
        /// asked for some kind of end is told, as it may have been that kind.
        const LOST = 1 << 7;

        const ENDS = Self::EXITED.bits() | Self::KILLED.bits() | Self::DUMPED.bits();
        const JOBS = Self::STOPPED.bits() | Self::CONTINUED.bits();
    }
}

impl Events {
    /// What a watch is told if it does not say.
    pub(crate) const DEFAULT: Events = Events::ENDS.union(Events::UNKILLABLE);
    /// What may be asked for.
    pub(crate) const KNOWN: Events = Events::ENDS
        .union(Events::JOBS)
        .union(Events::STEP)
        .union(Events::UNKILLABLE);

    /// The one event that a change is.
    pub(crate) fn of(change: Change) -> Events {
        match change {
            Change::End(raw) => match raw & 0xff {
                0 => Events::EXITED,
                low if low & 0x80 != 0 => Events::DUMPED,
                _ => Events::KILLED,
            },
            Change::Lost => Events::LOST,
            Change::Stop(_) => Events::STOPPED,
            Change::Continue => Events::CONTINUED,
        }
    }

    /// Whether a watch that asked for these is told of this one.
    pub(crate) fn ask_for(self, event: Events) -> bool {
        if event == Events::LOST {
            return self.intersects(Events::ENDS);
        }
        self.contains(event)
    }
}

bitflags::bitflags! {
    /// Parts of a record: what is wanted, and what is there.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Fields: u8 {
        /// The CLD_ code, the exit status or signal, the raw status.
        const STATUS = 1 << 0;
        const RUSAGE = 1 << 1;
        const MAXRSS = 1 << 2;
        const TIME = 1 << 3;
        const START = 1 << 4;
        const CGROUP = 1 << 5;
        const IDENTITY = 1 << 6;
        /// The step of the deadline.
        const STEP = 1 << 7;
    }
}

impl Fields {
    /// What costs nothing, or next to nothing.
    pub(crate) const DEFAULT: Fields = Fields::STATUS
        .union(Fields::RUSAGE)
        .union(Fields::MAXRSS)
        .union(Fields::TIME)
        .union(Fields::STEP);
}

/// Where a child's end is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The library waited for it.
    Waited,
    /// Somebody else did, and the pidfd had the status.
    Recovered,
    /// Somebody else did, and the status is lost.
    Lost,
}

/// A step of a deadline that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) index: u32,
    pub(crate) signum: i32,
    /// 0, or why the signal was not sent.
    pub(crate) errno: i32,
}

/// What the child's end left behind, to be latched for all its watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) source: Source,
    /// CLOCK_MONOTONIC, when the end was seen.
    pub(crate) at: u64,
    /// None where somebody else waited for it.
    pub(crate) usage: Option<Usage>,
    /// The usage's largest resident set is the child's own.
    pub(crate) own_peak: bool,
    /// It was a zombie while the callback ran.
    pub(crate) kept: bool,
}

/// What a callback is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) id: WatchId,
    pub(crate) pid: i32,
    pub(crate) event: Events,
    pub(crate) have: Fields,
    /// None for the events of the deadline, which are no change of the child.
    pub(crate) change: Option<Change>,
    pub(crate) end: End,
    pub(crate) start_ns: i64,
    pub(crate) cgroup: u64,
    pub(crate) identity: u64,
    pub(crate) step: Taken,
}

/// How a child's change came to be known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) source: Source,
    pub(crate) usage: Option<Usage>,
    /// The child is still a zombie.
    pub(crate) kept: bool,
}

impl Facts {
    pub(crate) const WAITED: Facts = Facts {
        source: Source::Waited,
        usage: None,
        kept: false,
    };
    pub(crate) const LOST: Facts = Facts {
        source: Source::Lost,
        ..Facts::WAITED
    };
    pub(crate) const RECOVERED: Facts = Facts {
        source: Source::Recovered,
        ..Facts::WAITED
    };

    pub(crate) fn used(usage: Option<Usage>) -> Self {
        Facts {
            usage,
            ..Facts::WAITED
        }
    }
}

/// A CLD_ code and what belongs to it: the exit status or the signal.
pub(crate) fn code_and_status(change: Change) -> Option<(i32, i32)> {
    Some(match change {
        Change::End(raw) => match raw & 0xff {
            0 => (libc::CLD_EXITED, i32::from(raw >> 8)),
            low if low & 0x80 != 0 => (libc::CLD_DUMPED, i32::from(low & 0x7f)),
            low => (libc::CLD_KILLED, i32::from(low & 0x7f)),
        },
        Change::Lost => return None,
        Change::Stop(signum) => (libc::CLD_STOPPED, i32::from(signum)),
        Change::Continue => (libc::CLD_CONTINUED, libc::SIGCONT),
    })
}

/// The status as waitpid(2) gives it.
pub(crate) fn raw_status(change: Change) -> i32 {
    match change {
        Change::End(raw) => i32::from(raw),
        Change::Lost => LOST,
        Change::Stop(signum) => i32::from(signum) << 8 | 0x7f,
        Change::Continue => 0xffff,
    }
}

/// Whether a child's largest resident set is its own. The kernel carries the
/// peak of the memory that a process had before its exec over it: after
/// vfork(2), posix_spawn(3) and our own spawn that is the daemon's. A figure
/// above the daemon's own peak cannot be that.
pub(crate) fn peak_is_own(child: &Usage, own_peak: i64) -> bool {
    child.max_rss > own_peak
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reap::status::classify;
    use proptest::prelude::*;

    proptest! {
        /// As the macros of <sys/wait.h> have it.
        #[test]
        fn an_event_says_what_the_raw_status_says(
            raw in prop_oneof![
                (0i32..256).prop_map(|code| code << 8),
                (1i32..127).prop_map(|signum| signum),
                (1i32..127).prop_map(|signum| signum | 0x80),
                (1i32..65).prop_map(|signum| signum << 8 | 0x7f),
                Just(0xffff),
            ],
        ) {
            let change = classify(raw);
            prop_assert_eq!(raw_status(change), raw);
            let event = Events::of(change);
            let (code, status) = code_and_status(change).unwrap();
            if libc::WIFEXITED(raw) {
                prop_assert_eq!(event, Events::EXITED);
                prop_assert_eq!((code, status), (libc::CLD_EXITED, libc::WEXITSTATUS(raw)));
            } else if libc::WIFSIGNALED(raw) {
                let dumped = libc::WCOREDUMP(raw);
                prop_assert_eq!(event, if dumped { Events::DUMPED } else { Events::KILLED });
                let cld = if dumped { libc::CLD_DUMPED } else { libc::CLD_KILLED };
                prop_assert_eq!((code, status), (cld, libc::WTERMSIG(raw)));
            } else if libc::WIFSTOPPED(raw) {
                prop_assert_eq!(event, Events::STOPPED);
                prop_assert_eq!((code, status), (libc::CLD_STOPPED, libc::WSTOPSIG(raw)));
            } else {
                prop_assert_eq!(event, Events::CONTINUED);
                prop_assert_eq!((code, status), (libc::CLD_CONTINUED, libc::SIGCONT));
            }
        }
    }

    #[test]
    fn a_lost_end_is_told_to_who_asked_for_any() {
        let lost = Events::of(Change::Lost);
        assert!(Events::DUMPED.ask_for(lost));
        assert!(!Events::JOBS.ask_for(lost));
        assert!(!Events::EXITED.ask_for(Events::of(classify(libc::SIGKILL))));
        assert_eq!(raw_status(Change::Lost), LOST);
        assert_eq!(code_and_status(Change::Lost), None);
    }

    #[test]
    fn a_peak_that_may_be_the_daemons_is_not_told() {
        let usage = Usage {
            max_rss: 4096,
            ..Usage::default()
        };
        assert!(peak_is_own(&usage, 4095));
        assert!(!peak_is_own(&usage, 4096));
    }
}
