//! The reading thread: drains all sources, and looks after the writers.

use std::os::fd::AsFd;

use super::drain::After;
use super::one_log::Phase;
use super::queue;
use super::threads::{LOGS, PATIENCE, State, Threads, Writer, token};
use crate::sys::poller::{Poller, Ready};
use crate::sys::{clock, poll};

impl Threads {
    pub(super) fn run_reader(&'static self) {
        let mut scratch = Vec::new();
        let mut ready = Ready::new();
        loop {
            let mut state = self.state.lock();
            if state.logs.is_empty() {
                state.reader = false;
                let poller = self.take_poller(&mut state);
                drop(state);
                drop(poller);
                self.spares.lock().clear();
                return;
            }
            let wait = self.look_after_writers(&mut state, clock::now());
            let Some(poller) = state.poller.clone() else {
                return;
            };
            let wait = if state.attention.is_empty() && !state.flushing {
                wait
            } else {
                Some(0)
            };
            drop(state);
            if scratch.capacity() == 0 {
                match queue::memory(queue::CHUNK) {
                    Ok(chunk) => scratch = chunk,
                    Err(_) => {
                        // Children wait until there is memory again. The poller does not: it
                        // would tell of them at once.
                        poll::readable(None, 100_000_000);
                        continue;
                    }
                }
            }
            poller.poll(wait, &mut ready);
            for token in ready.tokens() {
                if self
                    .read_source(token, &poller, &mut scratch, true)
                    .is_none()
                {
                    poller.doubt();
                }
            }
            self.attend(&poller, &mut scratch, ready.is_empty());
        }
    }

    /// `told`: the poller told of it, which knows the file itself. Otherwise the daemon
    /// may have closed the descriptor, and the number may be another file's.
    fn read_source(
        &self,
        token: u64,
        poller: &Poller,
        scratch: &mut Vec<u8>,
        told: bool,
    ) -> Option<After> {
        let source = self.state.lock().source(token).cloned()?;
        if scratch.capacity() == 0 {
            return None;
        }
        let after = source.read(self, scratch, told || source.fd.is_there());
        match after {
            After::Waits => {}
            After::HasMore => {
                if source.ends() {
                    let mut state = self.state.lock();
                    state.attend(token);
                }
            }
            After::NoRoom => {
                // The poller is level-triggered, and would tell of it again and again.
                poller.remove(source.fd.as_fd());
                let mut state = self.state.lock();
                if !state.held.contains(&token) {
                    state.held.push(token);
                }
                // There may be room by now.
                if source.log.backlog.lock().may_take() {
                    state.let_held_go_on();
                }
            }
            After::Ended => {
                poller.remove(source.fd.as_fd());
                let mut state = self.state.lock();
                self.sources.remove(&source);
                state.remove(token);
                source.log.work.lock().sources -= 1;
                self.schedule(&mut state, &source.log);
                drop(state);
                self.tell_progress();
            }
        }
        Some(after)
    }

    /// Sources that are not readable, but have something to do.
    fn attend(&self, poller: &Poller, scratch: &mut Vec<u8>, timed_out: bool) {
        let mut state = self.state.lock();
        state.may_go_on |= timed_out;
        let mut flushing = std::mem::take(&mut state.flushing);
        let mut left = state.attention.len();
        while left > 0 && !state.attention.is_empty() {
            let token = state.attention.swap_remove(0);
            left -= 1;
            drop(state);
            self.read_source(token, poller, scratch, false);
            state = self.state.lock();
        }
        if std::mem::take(&mut state.may_go_on) {
            for _ in 0..state.held.len() {
                if state.held.is_empty() {
                    break;
                }
                let token = state.held.remove(0);
                let Some(source) = state.source(token).cloned() else {
                    continue;
                };
                if !source.log.backlog.lock().queue.has_drained() {
                    state.held.push(token);
                    continue;
                }
                drop(state);
                let polled = poller.add(source.fd.as_fd(), token);
                self.read_source(token, poller, scratch, false);
                state = self.state.lock();
                // The poller would not tell of it: it is tried again after the next
                // pause.
                let unseen = polled.is_err() && state.source(token).is_some();
                if unseen && !state.held.contains(&token) {
                    state.held.push(token);
                }
                flushing = true;
            }
        }
        drop(state);
        if flushing {
            self.read_for_flush(poller, scratch);
        }
    }

    /// Reads all sources of the logs that flush() waits for, until what they held when this
    /// began is queued. One that is held has its turn once it has room.
    fn read_for_flush(&self, poller: &Poller, scratch: &mut Vec<u8>) {
        let mut state = self.state.lock();
        for at in 0..state.logs.len() {
            let Some(log) = state.logs.get(at).cloned() else {
                break;
            };
            let (begins, begun) = {
                let mut work = log.work.lock();
                if work.asked == work.done {
                    continue;
                }
                let begins = work.begun == work.done;
                if begins {
                    work.begun = work.asked;
                }
                (begins, work.begun)
            };
            let mut all = true;
            for index in 0..state.sources.len() {
                let (generation, used) = &state.sources[index];
                let token = token(index, *generation);
                let own = used.as_ref().filter(|source| source.log.id == log.id);
                let Some(source) = own.cloned() else {
                    continue;
                };
                if begins {
                    source.owe();
                }
                if !source.owes() {
                    continue;
                }
                if state.held.contains(&token) {
                    all = false;
                    continue;
                }
                drop(state);
                let after = self.read_source(token, poller, scratch, false);
                let owes = source.owes();
                drop(source);
                state = self.state.lock();
                all &= !owes;
                state.flushing |= owes && after != Some(After::NoRoom);
            }
            if all {
                let mut work = log.work.lock();
                work.done = begun;
                state.flushing |= work.asked != begun;
            }
        }
        drop(state);
        self.tell_progress();
    }

    /// Has paused logs tried again, and another writer take over where one hangs;
    /// milliseconds until there is something to look at again.
    fn look_after_writers(&'static self, state: &mut State, now: u64) -> Option<u32> {
        let mut next = None;
        if std::mem::take(&mut state.pausing) {
            next = self.end_pauses(state, now);
        }
        if !state.ready.is_empty() && state.idle == 0 {
            let working = |writer: &&Writer| writer.lives && !writer.hangs;
            let freed_at = state
                .writers
                .iter()
                .filter(working)
                .map(|writer| match writer.busy_since {
                    0 => u64::MAX, // about to take one
                    since => since + PATIENCE,
                })
                .max();
            match freed_at {
                Some(at) if at > now => {
                    if at != u64::MAX {
                        next = earlier(next, at);
                    } else {
                        next = earlier(next, now + PATIENCE);
                    }
                }
                _ => {
                    if self.start_writer(state).is_ok() {
                        for writer in &mut state.writers {
                            writer.hangs |= writer.lives
                                && writer.busy_since != 0
                                && writer.busy_since + PATIENCE <= now;
                        }
                        state.takeovers += 1;
                    }
                    next = earlier(next, now + PATIENCE);
                }
            }
        }
        // Where memory was short, nothing tells that there is room.
        if !state.held.is_empty() {
            next = earlier(next, now + PATIENCE);
            state.attend_late();
        }
        next.map(|at| {
            u32::try_from(at.saturating_sub(now).div_ceil(1_000_000)).unwrap_or(u32::MAX >> 1)
        })
    }

    /// Has logs tried again whose pause is over; when the next one's is.
    fn end_pauses(&self, state: &mut State, now: u64) -> Option<u64> {
        let mut next = None;
        for at in 0..state.logs.len() {
            let log = state.logs[at].clone();
            let mut work = log.work.lock();
            if let Phase::Pausing(until) = work.phase {
                if until > now {
                    state.pausing = true;
                    next = earlier(next, until);
                    continue;
                }
                work.phase = Phase::Idle;
                drop(work);
                self.schedule(state, &log);
            }
        }
        next
    }
}

fn earlier(one: Option<u64>, other: u64) -> Option<u64> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// The thread.
pub(super) fn read(_: usize) {
    while let Some(threads) = LOGS.get() {
        // After a panic it goes on where it was.
        if super::guarded(|| threads.value.run_reader()).is_some() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::super::backlog::test_setup;
    use super::super::one_log::Log;
    use super::super::target::Target;
    use super::super::threads::WRITERS;
    use super::*;
    use crate::reap::id::ContextId;
    use crate::sys::arc::Arc;

    /// By the times that are passed in: another writer takes over after a second and no
    /// earlier, once for each writer that hangs, and only up to the limit.
    #[test]
    fn one_writer_more_for_each_that_hangs_a_second() {
        static THREADS: OnceLock<Threads> = OnceLock::new();
        // The threads end at once: the writers' states are set by hand.
        let threads = THREADS.get_or_init(|| Threads::new(|_| {}, |_| {}).unwrap());
        let log = Log::new(1, ContextId::NONE, test_setup(true), Target::default());
        let mut state = threads.state.lock();
        state.ready.push_back(Arc::try_new(log).unwrap());
        state.writers[0].lives = true;
        for hanging in 0..WRITERS {
            assert_eq!(Threads::writers(&state), hanging as u64 + 1);
            assert_eq!(state.takeovers, hanging as u64);
            let since = 1 + hanging as u64 * 2 * PATIENCE;
            state.writers[hanging].busy_since = since;
            let wait = threads.look_after_writers(&mut state, since + PATIENCE - 1);
            assert_eq!((wait, state.takeovers), (Some(1), hanging as u64));
            threads.look_after_writers(&mut state, since + PATIENCE);
            // The new one is about to take a log.
            threads.look_after_writers(&mut state, since + PATIENCE);
        }
        assert_eq!(Threads::writers(&state), WRITERS as u64);
        assert_eq!(state.takeovers, WRITERS as u64 - 1);
    }
}
