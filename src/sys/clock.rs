//! clock_gettime(2).

const MINUTE: u64 = 60_000_000_000;

/// When to make a look that is wanted `after` nanoseconds from `now`. If `after` is half a
/// minute or more, it is the next whole minute of the clock: so all such looks wake an idle
/// loop up together, once a minute at most.
pub(crate) fn later(now: u64, after: u64) -> u64 {
    if after < MINUTE / 2 {
        now + after
    } else {
        now + MINUTE - now % MINUTE
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
pub(crate) fn now() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CLOCK_REALTIME in nanoseconds.
pub(crate) fn realtime() -> u64 {
    read(libc::CLOCK_REALTIME)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid timespec; these clocks are always there.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_once_a_minute_comes_together() {
        assert_eq!(later(7, MINUTE / 2 - 1), MINUTE / 2 + 6);
        for now in [0, 1, MINUTE - 1, MINUTE, 5 * MINUTE + 9] {
            for after in [MINUTE / 2, MINUTE - 1, MINUTE] {
                let at = later(now, after);
                assert!(at > now && at <= now + MINUTE && at % MINUTE == 0);
            }
        }
    }
}
