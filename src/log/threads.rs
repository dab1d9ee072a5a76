//! The reader and the writers of a process, and what they share.
//!
//! One thread reads all sources and never writes. Writers take the logs that have
//! something to write, one log at a time; mostly there is one writer. Where its
//! write lasts longer than [`PATIENCE`] the reader starts another one for the
//! other logs, up to [`WRITERS`].
//!
//! Locks are taken in the order state, backlog or events, spares; a log's target
//! before any of them, by its writer only, which holds it over the write.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;

use super::backlog::{Backlog, Spares};
use super::file_target::Done;
use super::queue::Queue;
use super::setup::Setup;
use super::source::{After, Source};
use super::target::{self, Target};
use super::task;
use crate::reap::id::ContextId;
use crate::sys::arc::Arc;
use crate::sys::clock;
use crate::sys::fork::PerProcess;
use crate::sys::futex::EventCount;
use crate::sys::lock::Mutex;
use crate::sys::poller::{Poller, Ready};
use crate::sys::pthread;

/// How long a write may hold up other logs, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;
/// The most writers: so many targets may hang at the same time.
pub(crate) const WRITERS: usize = 16;
/// So many chunks of one log, before others have their turn.
const TURN: usize = 16;
/// The first pause after a write that failed, and the longest.
const PAUSE: u64 = 20_000_000;
const LONGEST_PAUSE: u64 = 1_000_000_000;

pub(crate) static LOGS: PerProcess<Threads> = PerProcess::new();

/// What became of a log's work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing to do.
    Idle,
    /// It waits for a writer.
    Ready,
    /// A writer has it.
    Busy,
    /// The same, and more work came meanwhile.
    Again,
    /// A write failed: it is tried again at this time.
    Pausing(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) read: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) rotations: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) last_error: AtomicU32,
}

impl Counts {
    pub(crate) fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn failed(&self, errno: Errno) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let errno = (errno as i32).unsigned_abs();
        self.last_error.store(errno, Ordering::Relaxed);
    }
}

pub(crate) struct Log {
    pub(crate) id: u64,
    pub(crate) ctx: ContextId,
    pub(crate) setup: Setup,
    pub(crate) backlog: Mutex<Backlog>,
    /// Ends to be told, where lines go elsewhere.
    pub(crate) events: Mutex<Queue>,
    /// What the loop tells right now.
    pub(crate) telling: Mutex<task::Telling>,
    pub(crate) task: task::Slot,
    pub(crate) target: Mutex<Target>,
    reopen: AtomicBool,
    pub(crate) counts: Counts,
    /// The rest is the state's: looked at under its lock only.
    work: Mutex<Work>,
}

struct Work {
    phase: Phase,
    pause: u64,
    sources: u32,
    /// The daemon has let go of it.
    freed: bool,
}

impl Log {
    pub(crate) fn new(id: u64, ctx: ContextId, setup: Setup, target: Target) -> Self {
        Log {
            id,
            ctx,
            backlog: Mutex::new(Backlog::new(setup.max_queue)),
            events: Mutex::new(Queue::new(usize::MAX)),
            telling: Mutex::new(task::Telling::new()),
            task: task::Slot::new(),
            setup,
            target: Mutex::new(target),
            reopen: AtomicBool::new(false),
            counts: Counts::default(),
            work: Mutex::new(Work {
                phase: Phase::Idle,
                pause: PAUSE,
                sources: 0,
                freed: false,
            }),
        }
    }
}

/// One writer.
#[derive(Clone, Copy, Default)]
struct Writer {
    lives: bool,
    /// Since when it has had its log; 0 for none.
    busy_since: u64,
    /// Another one has taken over from it.
    hangs: bool,
}

pub(crate) struct State {
    pub(crate) logs: Vec<Arc<Log>>,
    sources: Vec<(u32, Option<Arc<Source>>)>,
    live_sources: usize,
    /// Sources that the reader is to look at, though they may not be readable.
    attention: Vec<u64>,
    /// Sources for which there was no room.
    held: Vec<u64>,
    /// A log of theirs may have room again.
    may_go_on: bool,
    ready: VecDeque<Arc<Log>>,
    /// A log may be pausing.
    pausing: bool,
    writers: [Writer; WRITERS],
    idle: u32,
    reader: bool,
    poller: Option<Arc<Poller>>,
    /// How often another writer took over.
    pub(crate) takeovers: u64,
    /// Rounds of the reader that flush() asked for, and that are done.
    asked: u64,
    done: u64,
}

pub(crate) struct Threads {
    pub(crate) state: Mutex<State>,
    pub(crate) spares: Mutex<Spares>,
    /// There is work for writers.
    work: EventCount,
    /// Something was written, for flush().
    progress: EventCount,
    waiting: AtomicU32,
    /// Ids below this are a former process's.
    pub(crate) first_id: u64,
}

/// Logs and sources are numbered together, over forks too.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

impl Threads {
    pub(crate) fn new(_depth: u32) -> Option<Self> {
        Some(Threads {
            state: Mutex::new(State {
                logs: Vec::new(),
                sources: Vec::new(),
                live_sources: 0,
                attention: Vec::new(),
                held: Vec::new(),
                may_go_on: false,
                ready: VecDeque::new(),
                pausing: false,
                writers: [Writer::default(); WRITERS],
                idle: 0,
                reader: false,
                poller: None,
                takeovers: 0,
                asked: 0,
                done: 0,
            }),
            spares: Mutex::new(Spares::new()),
            work: EventCount::new(),
            progress: EventCount::new(),
            waiting: AtomicU32::new(0),
            first_id: NEXT_ID.load(Ordering::Relaxed),
        })
    }

    /// Adds a log, and starts the threads if it is the first.
    pub(crate) fn add(&'static self, log: &Arc<Log>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let logs = state.logs.len() + 1;
        state.logs.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let short = logs.saturating_sub(state.ready.len());
        state.ready.try_reserve(short).map_err(|_| Errno::ENOMEM)?;
        if state.poller.is_none() {
            state.poller = Some(Arc::try_new(Poller::new()?)?);
        }
        let started = self.start(&mut state);
        if started.is_ok() {
            state.logs.push(log.clone());
        } else if !state.reader {
            state.poller = None;
        } else if state.logs.is_empty() {
            self.end_threads(&mut state);
        }
        started
    }

    fn start(&'static self, state: &mut State) -> Result<(), Errno> {
        if !state.reader {
            pthread::start(c"sss-log-read", read, 0)?;
            state.reader = true;
        }
        if !state.writers.iter().any(|writer| writer.lives) {
            self.start_writer(state)?;
        }
        Ok(())
    }

    fn start_writer(&'static self, state: &mut State) -> Result<(), Errno> {
        let free = state.writers.iter().position(|writer| !writer.lives);
        let slot = free.ok_or(Errno::EAGAIN)?;
        pthread::start(c"sss-log-write", write, slot)?;
        state.writers[slot] = Writer {
            lives: true,
            ..Writer::default()
        };
        Ok(())
    }

    /// The last log is gone: each thread sees it and ends.
    fn end_threads(&self, state: &mut State) {
        if let Some(poller) = &state.poller {
            poller.wake();
        }
        self.work.tell_all();
    }

    pub(crate) fn attach(&self, source: Source) -> Result<(), Errno> {
        let source = Arc::try_new(source)?;
        let mut state = self.state.lock();
        if source.log.work.lock().freed {
            return Err(Errno::ESRCH);
        }
        let all = state.live_sources + 1;
        let State {
            attention, held, ..
        } = &mut *state;
        for list in [attention, held] {
            let short = all.saturating_sub(list.len());
            list.try_reserve(short).map_err(|_| Errno::ENOMEM)?;
        }
        let free = state.sources.iter().position(|(_, used)| used.is_none());
        let index = match free {
            Some(index) => index,
            None => {
                state.sources.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                state.sources.push((0, None));
                state.sources.len() - 1
            }
        };
        let token = token(index, state.sources[index].0);
        let poller = state.poller.clone().ok_or(Errno::ESRCH)?;
        poller
            .add(source.fd.as_fd(), token)
            .map_err(|errno| match errno {
                Errno::EPERM => Errno::ENOTSUP,
                errno => errno,
            })?;
        source.log.work.lock().sources += 1;
        state.sources[index].1 = Some(source);
        state.live_sources += 1;
        Ok(())
    }

    /// Has the source end with what it holds. False where there is none.
    pub(crate) fn end_source(&self, log: u64, id: u64) -> bool {
        let mut state = self.state.lock();
        state.end_sources(|source| source.id == id && source.log.id == log)
    }

    /// The daemon lets go of a log: what its sources hold is still written.
    pub(crate) fn free(&self, log: &Arc<Log>) {
        let mut state = self.state.lock();
        log.work.lock().freed = true;
        if log.setup.tells_lines() {
            // Nobody is told any more.
            log.backlog.lock().close();
            state.let_held_go_on();
        }
        state.end_sources(|source| source.log.id == log.id);
        // The writer looks once more, and lets it go if there is nothing.
        self.schedule(&mut state, log);
        if let Some(poller) = &state.poller {
            poller.wake();
        }
    }

    pub(crate) fn reopen(&self, log: &Arc<Log>) {
        log.reopen.store(true, Ordering::Release);
        let mut state = self.state.lock();
        let mut work = log.work.lock();
        if matches!(work.phase, Phase::Pausing(_)) {
            work.phase = Phase::Idle;
            work.pause = PAUSE;
        }
        drop(work);
        self.schedule(&mut state, log);
        if let Some(poller) = &state.poller {
            poller.wake();
        }
    }

    /// Something was put into a log's queue: whoever writes it is told.
    pub(crate) fn deliver(&self, log: &Arc<Log>) {
        if log.setup.told.is_some() {
            log.task.post();
        }
        if !log.setup.tells_lines() {
            let mut state = self.state.lock();
            self.schedule(&mut state, log);
        }
    }

    fn schedule(&self, state: &mut State, log: &Arc<Log>) {
        let mut work = log.work.lock();
        match work.phase {
            Phase::Idle => {
                work.phase = Phase::Ready;
                drop(work);
                state.ready.push_back(log.clone());
                if state.idle > 0 {
                    self.work.tell_all();
                }
            }
            Phase::Busy => work.phase = Phase::Again,
            Phase::Ready | Phase::Again | Phase::Pausing(_) => {}
        }
    }

    /// Has what was dropped told, where a log's queue is empty; whether there is
    /// something to tell now.
    pub(crate) fn tell_lost(&self, log: &Log) -> bool {
        let mut spare = || self.spares.lock().take();
        let mut backlog = log.backlog.lock();
        log.setup.tells_lines()
            && !backlog.is_closed()
            && !backlog.untold.is_nothing()
            && backlog.tell_lost(&log.setup, clock::realtime(), &mut spare)
    }

    /// The loop has told what was in a log's queue: sources may have room again.
    pub(crate) fn has_told(&self, log: &Log) {
        self.let_go_on(log);
        self.tell_progress();
    }

    fn let_go_on(&self, log: &Log) {
        if !log.backlog.lock().queue.has_drained() {
            return;
        }
        self.state.lock().let_held_go_on();
    }

    fn tell_progress(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.progress.tell_all();
        }
    }

    /// Waits until what a log's sources hold now is read and written.
    pub(crate) fn flush(&self, log: &Arc<Log>, until: u64) -> Result<(), Errno> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let mut state = self.state.lock();
        state.asked += 1;
        let round = state.asked;
        if let Some(poller) = &state.poller {
            poller.wake();
        }
        let flushed = loop {
            let held = state.held.iter().any(|&token| {
                state
                    .source(token)
                    .is_some_and(|source| source.log.id == log.id)
            });
            if state.done >= round && !held && log.backlog.lock().queue.bytes() == 0 {
                break Ok(());
            }
            let now = clock::now();
            if now >= until {
                break Err(Errno::ETIMEDOUT);
            }
            let seen = self.progress.seen();
            drop(state);
            self.progress.wait_for(seen, until - now);
            state = self.state.lock();
        };
        drop(state);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        flushed
    }

    // The reader.

    fn run_reader(&'static self) {
        let mut scratch = Vec::new();
        let mut ready = Ready::new();
        loop {
            let mut state = self.state.lock();
            if state.logs.is_empty() {
                state.reader = false;
                let poller = state.poller.take();
                drop(state);
                drop(poller);
                self.spares.lock().clear();
                return;
            }
            let wait = self.look_after_writers(&mut state);
            let Some(poller) = state.poller.clone() else {
                return;
            };
            let wait = if state.attention.is_empty() && state.asked == state.done {
                wait
            } else {
                Some(0)
            };
            drop(state);
            if scratch.capacity() == 0 {
                match super::queue::memory(super::queue::CHUNK) {
                    Ok(chunk) => scratch = chunk,
                    Err(_) => {
                        // Until there is memory again children wait.
                        poller.poll(Some(100), &mut Ready::new());
                        continue;
                    }
                }
            }
            poller.poll(wait, &mut ready);
            for token in ready.tokens() {
                self.read_source(token, &poller, &mut scratch);
            }
            self.attend(&poller, &mut scratch, ready.is_empty());
        }
    }

    fn read_source(&self, token: u64, poller: &Poller, scratch: &mut Vec<u8>) {
        let Some(source) = self.state.lock().source(token).cloned() else {
            return;
        };
        if scratch.capacity() == 0 {
            return;
        }
        let after = source.read(self, scratch);
        match after {
            After::Waits => {}
            After::HasMore => {
                if source.ends.load(Ordering::Acquire) {
                    let mut state = self.state.lock();
                    state.attend(token);
                }
            }
            After::NoRoom => {
                // Level-triggered, it would be told of again and again.
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
                state.remove(token);
                source.log.work.lock().sources -= 1;
                self.schedule(&mut state, &source.log);
                drop(state);
                self.tell_progress();
            }
        }
    }

    /// Sources that are not readable, but have something to do.
    fn attend(&self, poller: &Poller, scratch: &mut Vec<u8>, timed_out: bool) {
        let mut state = self.state.lock();
        state.may_go_on |= timed_out;
        let round = state.asked;
        let rounds = state.done < round;
        let mut left = state.attention.len();
        while left > 0 && !state.attention.is_empty() {
            let token = state.attention.swap_remove(0);
            left -= 1;
            drop(state);
            self.read_source(token, poller, scratch);
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
                let _ = poller.add(source.fd.as_fd(), token);
                self.read_source(token, poller, scratch);
                state = self.state.lock();
            }
        }
        if rounds {
            let count = state.sources.len();
            for index in 0..count {
                let (generation, used) = &state.sources[index];
                let token = token(index, *generation);
                if used.is_some() && !state.held.contains(&token) {
                    drop(state);
                    self.read_source(token, poller, scratch);
                    state = self.state.lock();
                }
            }
            state.done = round;
            drop(state);
            self.tell_progress();
        }
    }

    /// Has paused logs tried again, and another writer take over where one hangs;
    /// milliseconds until there is something to look at again.
    fn look_after_writers(&'static self, state: &mut State) -> Option<u32> {
        let now = clock::now();
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
        // Where memory was short nobody tells that there is room.
        if !state.held.is_empty() {
            next = earlier(next, now + PATIENCE);
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

    // The writers.

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
                    // The reader looks whether this one hangs.
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
        for _ in 0..TURN {
            let Some(mut chunk) = self.next_chunk(log) else {
                return match target.rest(&log.setup) {
                    Ok(()) => Outcome::Rests,
                    Err(errno) => {
                        log.counts.failed(errno);
                        Outcome::Pauses
                    }
                };
            };
            let mut done = Done::default();
            let written = target.write(&log.setup, &chunk, &mut done);
            if let Some(errno) = done.error {
                log.counts.failed(errno);
            }
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
                return if done.bytes > 0 {
                    Outcome::PausesShortly
                } else {
                    Outcome::Pauses
                };
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
        let pause = match outcome {
            Outcome::Pauses => {
                let pause = work.pause;
                work.pause = (2 * pause).min(LONGEST_PAUSE);
                Some(pause)
            }
            Outcome::PausesShortly => {
                work.pause = PAUSE;
                Some(PAUSE)
            }
            Outcome::Rests | Outcome::HasMore => {
                work.pause = PAUSE;
                None
            }
        };
        let ended = work.freed && work.sources == 0;
        match pause {
            Some(_) if work.freed => {
                // Nobody is left to care for it, and children do not wait for it.
                log.backlog.lock().close();
                if ended {
                    gone = state.forget(log);
                } else {
                    state.let_held_go_on();
                }
            }
            Some(pause) => {
                work.phase = Phase::Pausing(clock::now() + pause);
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
                    gone = state.forget(log);
                }
            }
        }
        if state.logs.is_empty() {
            self.end_threads(&mut state);
        }
        let goes_on = self.writer_goes_on(&mut state, slot);
        drop(state);
        drop(gone);
        self.tell_progress();
        goes_on
    }

    /// One that another has taken over from ends, if the other has not come to a
    /// stop too.
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

    /// Writers there are now.
    pub(crate) fn writers(state: &State) -> u64 {
        state.writers.iter().filter(|writer| writer.lives).count() as u64
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// All is written.
    Rests,
    HasMore,
    /// A write failed.
    Pauses,
    /// The same, after some of it was written.
    PausesShortly,
}

fn earlier(one: Option<u64>, other: u64) -> Option<u64> {
    Some(one.map_or(other, |one| one.min(other)))
}

fn token(index: usize, generation: u32) -> u64 {
    (u64::from(generation) << 32) | index as u64
}

/// Where a token's source stands.
#[allow(clippy::cast_possible_truncation)] // masked
fn place(token: u64) -> usize {
    (token & u64::from(u32::MAX)) as usize
}

impl State {
    fn source(&self, token: u64) -> Option<&Arc<Source>> {
        let (generation, source) = self.sources.get(place(token))?;
        source
            .as_ref()
            .filter(|_| u64::from(*generation) == token >> 32)
    }

    fn remove(&mut self, token: u64) {
        let (generation, source) = &mut self.sources[place(token)];
        // Not u32::MAX, with which a token could be the poller's own.
        *generation = (*generation + 1) & (u32::MAX >> 1);
        *source = None;
        self.live_sources -= 1;
        self.attention.retain(|&other| other != token);
        self.held.retain(|&other| other != token);
    }

    fn attend(&mut self, token: u64) {
        if !self.attention.contains(&token) {
            self.attention.push(token);
        }
    }

    fn end_sources(&mut self, mut which: impl FnMut(&Source) -> bool) -> bool {
        let mut found = false;
        for index in 0..self.sources.len() {
            let (generation, source) = &self.sources[index];
            let token = token(index, *generation);
            if let Some(source) = source {
                if which(source) {
                    source.ends.store(true, Ordering::Release);
                    found = true;
                    self.attend(token);
                }
            }
        }
        match &self.poller {
            Some(poller) if found => poller.wake(),
            _ => {}
        }
        found
    }

    fn let_held_go_on(&mut self) {
        if !self.held.is_empty() && !self.may_go_on {
            self.may_go_on = true;
            if let Some(poller) = &self.poller {
                poller.wake();
            }
        }
    }

    /// Takes a log off the list; the caller drops it without the lock.
    fn forget(&mut self, log: &Arc<Log>) -> Option<Arc<Log>> {
        let at = self.logs.iter().position(|other| other.id == log.id)?;
        Some(self.logs.swap_remove(at))
    }

    /// The log with this id, unless the daemon has let go of it.
    pub(crate) fn find(&self, id: u64) -> Option<Arc<Log>> {
        let found = self.logs.iter().find(|log| log.id == id);
        found.filter(|log| !log.work.lock().freed).cloned()
    }

    /// In a forked child: takes out one of the former process's logs, which must
    /// not be dropped.
    pub(crate) fn take_one(&mut self, which: impl Fn(&Log) -> bool) -> Option<Arc<Log>> {
        let freed = |log: &Log| log.work.try_lock().is_none_or(|work| work.freed);
        let at = self.logs.iter().position(|log| which(log) && !freed(log))?;
        Some(self.logs.swap_remove(at))
    }

    /// The same for the reader's descriptors, once no log is left.
    pub(crate) fn take_poller(&mut self) -> Option<Arc<Poller>> {
        self.poller.take_if(|_| self.logs.is_empty())
    }

    /// The same for one of a log's sources.
    pub(crate) fn take_source(&mut self, log: u64) -> Option<Arc<Source>> {
        self.sources
            .iter_mut()
            .find(|(_, used)| used.as_ref().is_some_and(|source| source.log.id == log))
            .and_then(|(_, used)| used.take())
    }

    pub(crate) fn sources_of(&self, log: u64) -> impl Iterator<Item = &Arc<Source>> {
        self.sources
            .iter()
            .filter_map(|(_, source)| source.as_ref())
            .filter(move |source| source.log.id == log)
    }
}

fn read(_: usize) {
    while let Some(threads) = LOGS.get() {
        // After a fault of our own it goes on where it was.
        if super::guarded(|| threads.value.run_reader()).is_some() {
            return;
        }
    }
}

fn write(slot: usize) {
    if let Some(threads) = LOGS.get() {
        threads.value.run_writer(slot);
    }
}
