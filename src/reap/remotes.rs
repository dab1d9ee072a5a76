//! Children of a fork server's own, which the server reaps. It tells their statuses, as
//! the kernel keeps none for our pidfds (before Linux 6.15). Pure; [`super::remote`] is
//! what the server's client calls.
//!
//! Before Linux 5.3 there are no pidfds, and their pids must do. A pid is the child's until
//! the server is asked to reap it.

use nix::errno::Errno;

use crate::sys::error::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The server will tell.
    Awaited,
    /// The child is dead, and the server is asked to reap it: its pid may be another's soon.
    Ended,
    Told(i32),
    /// Nobody listens to its server any more; until when its end is waited for.
    Orphan(u64),
}

/// What is known of an end that no wait of ours finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Status(i32),
    Later,
    Never,
}

#[derive(Debug, Default)]
pub(crate) struct Remotes(Vec<(i32, State)>);

impl Remotes {
    pub(crate) const fn new() -> Self {
        Remotes(Vec::new())
    }

    /// The server will tell of it. `watched` says whether a child is still watched; old
    /// entries of the others are dropped.
    pub(super) fn expect(&mut self, pid: i32, watched: impl Fn(i32) -> bool) -> Result<(), Error> {
        self.forget(pid);
        self.0
            .retain(|&(pid, state)| state == State::Awaited || watched(pid));
        self.0.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.0.push((pid, State::Awaited));
        Ok(())
    }

    fn state(&self, pid: i32) -> Option<State> {
        let found = self.0.iter().find(|&&(known, _)| known == pid);
        found.map(|&(_, state)| state)
    }

    /// Whether it is a server's child, whose end was not told.
    pub(super) fn holds(&self, pid: i32) -> bool {
        matches!(self.state(pid), Some(State::Awaited | State::Ended))
    }

    /// Whether the server was asked to reap it: its pid may be another's.
    pub(super) fn is_reaped(&self, pid: i32) -> bool {
        self.state(pid) == Some(State::Ended)
    }

    /// Forgets a child; whether it was known.
    pub(super) fn forget(&mut self, pid: i32) -> bool {
        let before = self.0.len();
        self.0.retain(|&(known, _)| known != pid);
        self.0.len() < before
    }

    pub(super) fn set(&mut self, pid: i32, state: State) {
        for (_, known) in self.0.iter_mut().filter(|(known, _)| *known == pid) {
            *known = state;
        }
    }

    /// A status is given once.
    pub(crate) fn take(&mut self, pid: i32, now: u64) -> Word {
        let word = match self.state(pid) {
            Some(State::Awaited | State::Ended) => Word::Later,
            Some(State::Orphan(until)) if now < until => Word::Later,
            Some(State::Told(status)) => Word::Status(status),
            Some(State::Orphan(_)) | None => Word::Never,
        };
        if word != Word::Later {
            self.forget(pid);
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_waited_for_and_given_once() {
        let mut remotes = Remotes::new();
        assert_eq!(remotes.take(7, 0), Word::Never);
        remotes.0.push((7, State::Awaited));
        assert_eq!(remotes.take(7, 0), Word::Later);
        assert!(remotes.holds(7) && !remotes.is_reaped(7));
        remotes.set(7, State::Ended);
        assert_eq!(remotes.take(7, 0), Word::Later);
        assert!(remotes.holds(7) && remotes.is_reaped(7));
        remotes.set(7, State::Told(256));
        assert!(!remotes.holds(7));
        assert_eq!(remotes.take(7, 0), Word::Status(256));
        assert_eq!(remotes.take(7, 0), Word::Never);
    }
    #[test]
    fn an_orphan_is_not_waited_for_for_ever() {
        let mut remotes = Remotes::new();
        remotes.0.push((7, State::Orphan(5)));
        assert_eq!(remotes.take(7, 4), Word::Later);
        assert_eq!(remotes.take(7, 5), Word::Never);
    }
}
