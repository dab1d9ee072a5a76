//! What a raw wait status says, and what is kept of it until it is told.

/// The status that is told where the real one is lost.
pub(crate) const LOST: i32 = -1;
const CONTINUED: i32 = 0xffff;

/// A change of a child's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// It ended, with this raw status.
    End(u16),
    /// It ended, and somebody else has the status.
    Lost,
    /// It stopped, by this signal.
    Stop(u8),
    /// It was continued.
    Continue,
}

/// A status that waitpid(2) gave.
pub(crate) fn classify(raw: i32) -> Change {
    let low = u16::try_from(raw & 0xffff).unwrap_or(0);
    if libc::WIFSTOPPED(raw) {
        Change::Stop(low.to_be_bytes()[0])
    } else if libc::WIFCONTINUED(raw) {
        Change::Continue
    } else {
        Change::End(low)
    }
}

/// Stops and continues that are due: the latest two, in order. A third takes
/// the place of the first, as the kernel itself keeps only the latest.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Jobs([u8; 2]);

const CONTINUE_MARK: u8 = 0xff;

impl Jobs {
    pub(crate) const NONE: Jobs = Jobs([0; 2]);

    pub(crate) fn push(&mut self, job: Change) {
        let mark = match job {
            Change::Stop(signum) => signum,
            Change::Continue => CONTINUE_MARK,
            Change::End(_) | Change::Lost => return,
        };
        match self.0 {
            [0, _] => self.0[0] = mark,
            [_, 0] => self.0[1] = mark,
            [_, second] => self.0 = [second, mark],
        }
    }

    /// The earliest, as a raw status.
    pub(crate) fn pop(&mut self) -> Option<i32> {
        let [first, second] = self.0;
        self.0 = [second, 0];
        match first {
            0 => None,
            CONTINUE_MARK => Some(CONTINUED),
            signum => Some(i32::from(signum) << 8 | 0x7f),
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0[0] == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_what_waitpid_gives() {
        assert_eq!(classify(7 << 8), Change::End(7 << 8));
        assert_eq!(classify(libc::SIGSEGV | 0x80), Change::End(0x8b));
        assert_eq!(classify(libc::SIGSTOP << 8 | 0x7f), Change::Stop(19));
        assert_eq!(classify(0xffff), Change::Continue);
    }

    #[test]
    fn a_lost_status_is_none_of_the_four() {
        assert!(!libc::WIFEXITED(LOST) && !libc::WIFSIGNALED(LOST));
        assert!(!libc::WIFSTOPPED(LOST) && !libc::WIFCONTINUED(LOST));
    }

    #[test]
    fn jobs_keep_their_order_and_the_latest_two() {
        let mut jobs = Jobs::NONE;
        for job in [Change::Stop(19), Change::Continue, Change::Stop(20)] {
            jobs.push(job);
        }
        assert_eq!(jobs.pop(), Some(0xffff));
        assert_eq!(jobs.pop(), Some(20 << 8 | 0x7f));
        assert_eq!(jobs.pop(), None);
        assert!(jobs.is_empty());
    }
}
