//! struct rusage: what a process has used, in nanoseconds and bytes.

use nix::sys::resource::{UsageWho, getrusage};

/// What a process and the children that it waited for have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) user_ns: i64,
    pub(crate) system_ns: i64,
    /// The largest resident set, in bytes.
    pub(crate) max_rss: i64,
    pub(crate) minor_faults: i64,
    pub(crate) major_faults: i64,
    /// Times the file system had to read or write.
    pub(crate) in_blocks: i64,
    pub(crate) out_blocks: i64,
    pub(crate) voluntary_switches: i64,
    pub(crate) involuntary_switches: i64,
}

impl From<&libc::rusage> for Usage {
    fn from(raw: &libc::rusage) -> Self {
        Usage {
            user_ns: nanoseconds(&raw.ru_utime),
            system_ns: nanoseconds(&raw.ru_stime),
            max_rss: raw.ru_maxrss.saturating_mul(1024),
            minor_faults: raw.ru_minflt,
            major_faults: raw.ru_majflt,
            in_blocks: raw.ru_inblock,
            out_blocks: raw.ru_oublock,
            voluntary_switches: raw.ru_nvcsw,
            involuntary_switches: raw.ru_nivcsw,
        }
    }
}

fn nanoseconds(time: &libc::timeval) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_usec.saturating_mul(1_000))
}

/// The largest resident set that this process has had, in bytes.
pub(crate) fn own_peak() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(i64::MAX, |usage| usage.max_rss().saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_nanoseconds_and_sizes_in_bytes() {
        // SAFETY: integers, for which zeros are valid.
        let mut raw: libc::rusage = unsafe { std::mem::zeroed() };
        raw.ru_utime = libc::timeval {
            tv_sec: 2,
            tv_usec: 3,
        };
        raw.ru_stime = libc::timeval {
            tv_sec: i64::MAX,
            tv_usec: 999_999,
        };
        raw.ru_maxrss = 4;
        raw.ru_nivcsw = 5;
        let usage = Usage::from(&raw);
        assert_eq!(usage.user_ns, 2_000_003_000);
        assert_eq!(usage.system_ns, i64::MAX);
        assert_eq!(usage.max_rss, 4096);
        assert_eq!(usage.involuntary_switches, 5);
        assert_eq!(usage.minor_faults, 0);
    }

    #[test]
    fn the_own_peak_is_that_of_a_running_process() {
        assert!((1 << 16..1 << 50).contains(&own_peak()));
    }
}
