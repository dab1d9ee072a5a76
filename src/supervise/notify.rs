//! sd_notify(3) datagrams. Pure: text in, what it says out.

/// The longest datagram that is read; a longer one is ignored whole.
pub(crate) const MAX_DATAGRAM: usize = 4096;
/// The most of a STATUS text that is kept.
pub(crate) const MAX_STATUS: usize = 240;

/// What one line of a datagram says. A line that is none of these, or that is
/// malformed, is passed over: systemd does the same, so that programs may send
/// what a later version knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said<'a> {
    Ready,
    /// Its configuration is being read again.
    Reloading,
    /// When that began, in nanoseconds of CLOCK_MONOTONIC: the last nanosecond of the
    /// microsecond that it said.
    Since(u64),
    Stopping,
    Status(&'a [u8]),
    MainPid(i32),
    /// A sign of life.
    Ping,
    /// WATCHDOG=trigger: it finds itself broken.
    Broken,
    /// WATCHDOG_USEC: how often signs of life come from now on, in nanoseconds.
    Watchdog(u64),
    /// The present time limit moves: at least this long from now, in nanoseconds.
    Extend(u64),
}

/// What the lines of a datagram say, in order.
pub(crate) fn parse(datagram: &[u8]) -> impl Iterator<Item = Said<'_>> {
    let datagram = if datagram.len() > MAX_DATAGRAM {
        &[]
    } else {
        datagram
    };
    datagram.split(|&byte| byte == b'\n').filter_map(line)
}

fn line(line: &[u8]) -> Option<Said<'_>> {
    let equals = line.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (&line[..equals], &line[equals + 1..]);
    match name {
        b"READY" => (value == b"1").then_some(Said::Ready),
        b"RELOADING" => (value == b"1").then_some(Said::Reloading),
        b"STOPPING" => (value == b"1").then_some(Said::Stopping),
        b"MONOTONIC_USEC" => microseconds(value).map(|time| Said::Since(time.saturating_add(999))),
        b"STATUS" => Some(Said::Status(&value[..value.len().min(MAX_STATUS)])),
        b"MAINPID" => number(value)
            .and_then(|pid| i32::try_from(pid).ok())
            .filter(|&pid| pid > 0)
            .map(Said::MainPid),
        b"WATCHDOG" => match value {
            b"1" => Some(Said::Ping),
            b"trigger" => Some(Said::Broken),
            _ => None,
        },
        b"WATCHDOG_USEC" => microseconds(value).map(Said::Watchdog),
        b"EXTEND_TIMEOUT_USEC" => microseconds(value).map(Said::Extend),
        // BARRIER, FDSTORE, ERRNO and the like ask nothing of us: the descriptors that came
        // with the datagram are closed with it.
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn microseconds(digits: &[u8]) -> Option<u64> {
    number(digits)?.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(datagram: &[u8]) -> Vec<Said<'_>> {
        parse(datagram).collect()
    }

    #[test]
    fn the_lines_of_sd_notify_are_understood() {
        assert_eq!(
            all(b"READY=1\nSTATUS=all well\nMAINPID=77\nWATCHDOG_USEC=5\n"),
            [
                Said::Ready,
                Said::Status(b"all well"),
                Said::MainPid(77),
                Said::Watchdog(5_000)
            ]
        );
        assert_eq!(
            all(b"RELOADING=1\nMONOTONIC_USEC=12"),
            [Said::Reloading, Said::Since(12_999)]
        );
        assert_eq!(
            all(b"WATCHDOG=1\nWATCHDOG=trigger\nBARRIER=1\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=1"),
            [
                Said::Ping,
                Said::Broken,
                Said::Stopping,
                Said::Extend(1_000)
            ]
        );
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        for bad in [
            &b"READY"[..],
            b"READY=0",
            b"READY=1 ",
            b" READY=1",
            b"MAINPID=0",
            b"MAINPID=-1",
            b"MAINPID=99999999999",
            b"MAINPID=",
            b"WATCHDOG_USEC=18446744073709551615",
            b"EXTEND_TIMEOUT_USEC=1s",
            b"=1",
            b"",
        ] {
            assert_eq!(all(bad), [], "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(all(&[b"READY=1\n".repeat(1_000)].concat()), []);
    }

    #[test]
    fn a_status_is_cut() {
        let long = [b"STATUS=", &b"x".repeat(2_000)[..]].concat();
        assert_eq!(all(&long), [Said::Status(&b"x".repeat(MAX_STATUS))]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..5_000)) {
            parse(&bytes).for_each(drop);
        }
    }
}
