//! The writing threads: each takes a log that has something to write, one at a time.

use std::sync::atomic::Ordering;

use super::file_target::Done;
use super::one_log::{LONGEST_PAUSE, Log, PAUSE, Phase};
use super::target::{self, Target};
use super::threads::{LOGS, State, Threads, Writer};
use crate::sys::arc::Arc;
use crate::sys::clock;

/// The chunks of one log that are written before others have their turn.
const TURN: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// All is written.
    Rests,
    HasMore,
    /// A write failed, perhaps after some was written. `full`: the target's receiver is
    /// only slow.
    Fails {
        some: bool,
        full: bool,
    },
}

impl Threads {
    fn run_writer(&'static self, slot: usize) {
        while let Some(log) = self.next_log(slot) {
            let outcome = super::guarded(|| self.work_on(&log)).unwrap_or(Outcome::Rests);
            if !self.has_worked(slot, &log, outcome) {
                return;
            }
        }
    }

    /// The next log to write; None where the writer is to end.
    fn next_log(&self, slot: usize) -> Option<Arc<Log>> {
        let mut state = self.state.lock();
        loop {
            if state.logs.is_empty() {
                state.writers[slot] = Writer::default();
                return None;
            }
            if let Some(log) = state.ready.pop_front() {
                log.work.lock().phase = Phase::Busy;
                state.writers[slot].busy_since = clock::now();
                if !state.ready.is_empty() && state.idle == 0 {
                    // Wakes the reader, which watches whether this writer hangs.
                    if let Some(poller) = &state.poller {
                        poller.wake();
                    }
                }
                return Some(log);
            }
            state.idle += 1;
            let seen = self.work.seen();
            drop(state);
            self.work.wait(seen);
            state = self.state.lock();
            state.idle -= 1;
        }
    }

    fn work_on(&self, log: &Arc<Log>) -> Outcome {
        if log.setup.tells_lines() {
            return Outcome::Rests;
        }
        let mut target = log.target.lock();
        if log.reopen.swap(false, Ordering::AcqRel) {
            target.reopen();
        }
        let mut some = false;
        for _ in 0..TURN {
            let Some(mut chunk) = self.next_chunk(log) else {
                return match target.rest(&log.setup) {
                    Ok(()) => Outcome::Rests,
                    Err(errno) => {
                        log.counts.failed(errno);
                        Outcome::Fails { some, full: false }
                    }
                };
            };
            let mut done = Done::default();
            let written = target.write(&log.setup, &chunk, &mut done);
            if let Some(errno) = done.error {
                log.counts.failed(errno);
            }
            some |= done.bytes > 0;
            let counts = &log.counts;
            counts
                .written
                .fetch_add(done.bytes as u64, Ordering::Relaxed);
            counts
                .rotations
                .fetch_add(done.rotations, Ordering::Relaxed);
            let mut backlog = log.backlog.lock();
            backlog.queue.is_done(done.bytes);
            if done.bytes < chunk.len() {
                chunk.drain(..done.bytes);
                backlog.queue.put_back(chunk);
            } else {
                self.spares.lock().give(chunk);
            }
            if let Err(errno) = written {
                counts.failed(errno);
                if target::is_gone(&log.setup, errno) {
                    backlog.give_up();
                }
                drop(backlog);
                self.let_go_on(log);
                let full = target::is_full(errno);
                return Outcome::Fails { some, full };
            }
            drop(backlog);
            self.let_go_on(log);
        }
        Outcome::HasMore
    }

    fn next_chunk(&self, log: &Log) -> Option<Vec<u8>> {
        let mut backlog = log.backlog.lock();
        if let Some(chunk) = backlog.queue.take() {
            return Some(chunk);
        }
        let mut spare = || self.spares.lock().take();
        backlog.tell_lost(&log.setup, clock::realtime(), &mut spare);
        backlog.queue.take()
    }

    /// What comes after a log was worked on; false where the writer is to end.
    fn has_worked(&self, slot: usize, log: &Arc<Log>, outcome: Outcome) -> bool {
        let mut gone = None;
        let mut state = self.state.lock();
        state.writers[slot].busy_since = 0;
        let mut work = log.work.lock();
        let again = work.phase == Phase::Again;
        work.phase = Phase::Idle;
        let (some, full) = match outcome {
            Outcome::Fails { some, full } => (some, Some(full)),
            Outcome::Rests | Outcome::HasMore => (true, None),
        };
        if some {
            work.pause = PAUSE;
            work.ends_by = state.ends_by;
        }
        let now = clock::now();
        let freed = log.is_freed();
        let ended = freed && work.sources == 0;
        match full {
            Some(full) if freed && !(full && work.may_wait(now)) => {
                // Nobody is left to whom it matters, and children must not wait for it.
                log.backlog.lock().close();
                if ended {
                    gone = self.forget(&mut state, log);
                } else {
                    state.let_held_go_on();
                }
            }
            Some(_) => {
                work.phase = Phase::Pausing(now + work.pause);
                work.pause = (2 * work.pause).min(LONGEST_PAUSE);
                state.pausing = true;
                if let Some(poller) = &state.poller {
                    poller.wake();
                }
            }
            None if again || outcome == Outcome::HasMore => {
                drop(work);
                self.schedule(&mut state, log);
            }
            None => {
                if ended && log.backlog.lock().is_over() {
                    gone = self.forget(&mut state, log);
                }
            }
        }
        if state.logs.is_empty() {
            self.end_threads(&mut state);
        }
        let goes_on = self.writer_goes_on(&mut state, slot);
        drop(state);
        if let Some(gone) = gone {
            // This thread closes the target: close(2) may block where a file server
            // hangs, and must not do so in the reader or the daemon, which may drop the
            // log last.
            *gone.target.lock() = Target::default();
        }
        self.tell_progress();
        goes_on
    }

    /// A writer that another one has taken over from ends, unless that one hangs too.
    fn writer_goes_on(&self, state: &mut State, slot: usize) -> bool {
        if !std::mem::take(&mut state.writers[slot].hangs) {
            return true;
        }
        let others = state.writers.iter().enumerate();
        let replaced = others
            .filter(|(at, writer)| *at != slot && writer.lives && !writer.hangs)
            .count()
            > 0;
        if replaced {
            state.writers[slot] = Writer::default();
        }
        !replaced
    }
}

/// The thread.
pub(super) fn write(slot: usize) {
    if let Some(threads) = LOGS.get() {
        threads.value.run_writer(slot);
    }
}
