//! Children of a fork server's own, which the server reaps. It tells their statuses, as
//! the kernel keeps none for our pidfds (before Linux 6.15).

use nix::errno::Errno;

use super::id::ContextId;
use super::process::{Reaper, lock};

/// How long, in nanoseconds, an end is waited for whose server is being ended: the child
/// is ours soon.
const PATIENCE: u64 = 10_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The server will tell.
    Awaited,
    Told(i32),
    /// The server is being ended; until when its child is waited for.
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

    /// Whether it was known.
    fn forget(&mut self, pid: i32) -> bool {
        let before = self.0.len();
        self.0.retain(|&(known, _)| known != pid);
        self.0.len() < before
    }

    fn set(&mut self, pid: i32, state: State) {
        for (_, known) in self.0.iter_mut().filter(|(known, _)| *known == pid) {
            *known = state;
        }
    }

    /// A status is given once.
    pub(crate) fn take(&mut self, pid: i32, now: u64) -> Word {
        let state = self.0.iter().find(|&&(known, _)| known == pid);
        let word = match state.map(|&(_, state)| state) {
            Some(State::Awaited) => Word::Later,
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

impl Reaper {
    fn expect_remote(&mut self, pid: i32) -> Result<(), Errno> {
        self.remotes.forget(pid);
        // What nobody watches any more.
        let table = &self.table;
        self.remotes
            .0
            .retain(|&(pid, state)| state == State::Awaited || table.find(pid).is_some());
        self.remotes.0.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.remotes.0.push((pid, State::Awaited));
        Ok(())
    }

    /// Its pidfd may have told already, and tells once only.
    fn look_again(&mut self, pid: i32) {
        if let Some(leader) = self.table.find(pid) {
            self.wait_child(leader);
        }
    }
}

/// The server will tell how this child ends.
pub(crate) fn expect(ctx: ContextId, pid: i32) -> Result<(), Errno> {
    lock(ctx.depth)?.expect_remote(pid)
}

/// It has told.
pub(crate) fn told(ctx: ContextId, pid: i32, status: i32) {
    if let Ok(mut reaper) = lock(ctx.depth) {
        reaper.remotes.set(pid, State::Told(status));
        reaper.look_again(pid);
    }
}

/// It will not tell: the child is ours, or nobody's.
pub(crate) fn forget(ctx: ContextId, pid: i32) {
    if let Ok(mut reaper) = lock(ctx.depth) {
        if reaper.remotes.forget(pid) {
            reaper.look_again(pid);
        }
    }
}

/// The server is being ended, and nobody waits for its end.
pub(crate) fn orphan(ctx: ContextId, pid: i32) {
    if let Ok(mut reaper) = lock(ctx.depth) {
        let until = reaper.kernel.now().saturating_add(PATIENCE);
        reaper.remotes.set(pid, State::Orphan(until));
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
        remotes.set(7, State::Told(256));
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
