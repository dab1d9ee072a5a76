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
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;

use super::backlog::Spares;
use super::one_log::{Log, PAUSE, Phase};
use super::source::{LAST_WORDS, Source};
use crate::sys::arc::Arc;
use crate::sys::clock;
use crate::sys::error::Error;
use crate::sys::fork::PerProcess;
use crate::sys::futex::EventCount;
use crate::sys::lock::Mutex;
use crate::sys::poller::Poller;
use crate::sys::pthread::Crew;
use crate::sys::roll::Roll;
use crate::sys::unload::Unloading;

/// How long a write may hold up other logs, in nanoseconds.
pub(super) const PATIENCE: u64 = 1_000_000_000;
/// The most writers: so many targets may hang at the same time.
pub(crate) const WRITERS: usize = 16;

pub(crate) static LOGS: PerProcess<Threads> = PerProcess::new();

/// One writer.
#[derive(Clone, Copy, Default)]
pub(super) struct Writer {
    pub(super) lives: bool,
    /// Since when it has had its log; 0 for none.
    pub(super) busy_since: u64,
    /// Another one has taken over from it.
    pub(super) hangs: bool,
}

pub(crate) struct State {
    pub(crate) logs: Vec<Arc<Log>>,
    pub(super) sources: Vec<(u32, Option<Arc<Source>>)>,
    pub(super) live_sources: usize,
    /// Sources that the reader is to look at, though they may not be readable.
    pub(super) attention: Vec<u64>,
    /// Sources for which there was no room.
    pub(super) held: Vec<u64>,
    /// Some queue has drained: the reader tries the sources in `held` again.
    pub(super) may_go_on: bool,
    pub(super) ready: VecDeque<Arc<Log>>,
    /// A log may be pausing.
    pub(super) pausing: bool,
    pub(super) writers: [Writer; WRITERS],
    pub(super) idle: u32,
    pub(super) reader: bool,
    pub(super) poller: Option<Arc<Poller>>,
    /// How often another writer took over.
    pub(crate) takeovers: u64,
    /// A log may wait for all of its sources to be read.
    pub(super) flushing: bool,
    /// When the library is unloaded: what full targets have not taken by then is dropped.
    /// u64::MAX else.
    pub(super) ends_by: u64,
}

pub(crate) struct Threads {
    pub(crate) state: Mutex<State>,
    /// The same logs and sources once more, in a form that forked children can read.
    pub(super) logs: Roll<Log>,
    pub(super) sources: Roll<Source>,
    pub(super) pollers: Roll<Poller>,
    pub(crate) spares: Mutex<Spares>,
    /// There is work for writers.
    pub(super) work: EventCount,
    /// Something was written, for flush().
    pub(super) progress: EventCount,
    pub(super) waiting: AtomicU32,
    /// Ids below this are a former process's.
    pub(crate) first_id: u64,
    /// The functions that the reader and a writer run.
    reads: fn(usize),
    writes: fn(usize),
    /// The reader, the writers, and those that were told to end and still run.
    crew: Crew<{ WRITERS + 8 }>,
}

/// Logs and sources are numbered together, over forks too.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

impl Threads {
    pub(super) fn new(reads: fn(usize), writes: fn(usize)) -> Option<Self> {
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
                flushing: false,
                ends_by: u64::MAX,
            }),
            logs: Roll::new(),
            sources: Roll::new(),
            pollers: Roll::new(),
            spares: Mutex::new(Spares::new()),
            work: EventCount::new(),
            progress: EventCount::new(),
            waiting: AtomicU32::new(0),
            first_id: NEXT_ID.load(Ordering::Relaxed),
            reads,
            writes,
            crew: Crew::new(),
        })
    }

    /// Adds a log, and starts the threads if it is the first.
    pub(crate) fn add(&'static self, log: &Arc<Log>) -> Result<(), Error> {
        let mut state = self.state.lock();
        let logs = state.logs.len() + 1;
        state.logs.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let short = logs.saturating_sub(state.ready.len());
        state.ready.try_reserve(short).map_err(|_| Errno::ENOMEM)?;
        if state.poller.is_none() {
            let poller = Arc::try_new(Poller::new()?)?;
            self.pollers.add(&poller)?;
            state.poller = Some(poller);
        }
        let started = self.start(&mut state).and_then(|()| self.logs.add(log));
        if started.is_ok() {
            state.logs.push(log.clone());
        } else if !state.reader {
            self.take_poller(&mut state);
        } else if state.logs.is_empty() {
            self.end_threads(&mut state);
        }
        started
    }

    /// The caller drops it without the lock.
    pub(super) fn take_poller(&self, state: &mut State) -> Option<Arc<Poller>> {
        let poller = state.poller.take()?;
        self.pollers.remove(&poller);
        Some(poller)
    }

    pub(super) fn start(&'static self, state: &mut State) -> Result<(), Error> {
        if !state.reader {
            self.crew.start(c"sss-log-read", self.reads, 0)?;
            state.reader = true;
        }
        if !state.writers.iter().any(|writer| writer.lives) {
            self.start_writer(state)?;
        }
        Ok(())
    }

    pub(super) fn start_writer(&'static self, state: &mut State) -> Result<(), Error> {
        let free = state.writers.iter().position(|writer| !writer.lives);
        let slot = free.ok_or(Errno::EAGAIN)?;
        self.crew.start(c"sss-log-write", self.writes, slot)?;
        state.writers[slot] = Writer {
            lives: true,
            ..Writer::default()
        };
        Ok(())
    }

    /// The last log is gone: each thread sees it and ends.
    pub(super) fn end_threads(&self, state: &mut State) {
        if let Some(poller) = &state.poller {
            poller.wake();
        }
        self.work.tell_all();
    }

    pub(crate) fn attach(&self, source: Source) -> Result<(), Error> {
        let source = Arc::try_new(source)?;
        let mut state = self.state.lock();
        if source.log.is_freed() {
            return Err(Errno::ESRCH.into());
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
        self.sources.add(&source)?;
        poller.add(source.fd.as_fd(), token).map_err(|mut error| {
            self.sources.remove(&source);
            if error.errno == Errno::EPERM {
                error.errno = Errno::ENOTSUP;
            }
            error
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

    /// The daemon frees a log: what its sources hold is still written.
    pub(crate) fn free(&self, log: &Arc<Log>) {
        let mut state = self.state.lock();
        log.freed.store(true, Ordering::Release);
        if log.setup.tells_lines() {
            // Nobody is told any more.
            log.backlog.lock().close();
            state.let_held_go_on();
        }
        state.end_sources(|source| source.log.id == log.id);
        // A writer looks once more, and drops the log if there is nothing to write.
        self.schedule(&mut state, log);
        if let Some(poller) = &state.poller {
            poller.wake();
        }
    }

    /// Lets go of all logs, and waits until what they hold is written and no thread is
    /// in here any more.
    pub(super) fn end(&self, going: &Unloading) {
        self.state.lock().ends_by = clock::now() + LAST_WORDS;
        loop {
            let state = self.state.lock();
            let next = state.logs.iter().find(|log| !log.is_freed());
            let Some(log) = next.cloned() else {
                break;
            };
            drop(state);
            self.free(&log);
        }
        self.crew.wait_for_ends(going);
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

    /// Something was put into a log's queue: wakes a writer, or the context's loop.
    pub(crate) fn deliver(&self, log: &Arc<Log>) {
        if log.setup.tells_lines() {
            log.task.post();
        } else {
            let mut state = self.state.lock();
            self.schedule(&mut state, log);
        }
    }

    pub(super) fn schedule(&self, state: &mut State, log: &Arc<Log>) {
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

    /// Queues the notice of what was dropped, where a log's queue is empty; whether there
    /// is something to tell now.
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

    pub(super) fn let_go_on(&self, log: &Log) {
        if !log.backlog.lock().queue.has_drained() {
            return;
        }
        self.state.lock().let_held_go_on();
    }

    pub(super) fn tell_progress(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.progress.tell_all();
        }
    }

    /// Waits until what a log's sources hold now is read and written.
    pub(crate) fn flush(&self, log: &Arc<Log>, until: u64) -> Result<(), Error> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let mut state = self.state.lock();
        let mut round = 0;
        // Where all is read already, as it may be for callers that only ask, the reader need
        // not look.
        if !state.sources_of(log.id).all(|source| source.is_read()) {
            let mut work = log.work.lock();
            work.asked += 1;
            round = work.asked;
            drop(work);
            state.flushing = true;
            if let Some(poller) = &state.poller {
                poller.wake();
            }
        }
        let mut mark = None;
        let flushed = loop {
            if log.work.lock().done >= round {
                let backlog = log.backlog.lock();
                let mark = mark.get_or_insert_with(|| backlog.mark(&log.setup));
                if backlog.is_past(mark) {
                    break Ok(());
                }
            }
            let now = clock::now();
            if now >= until {
                break Err(Errno::ETIMEDOUT.into());
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

    /// Takes a log off the list; the caller drops it without the lock.
    pub(super) fn forget(&self, state: &mut State, log: &Arc<Log>) -> Option<Arc<Log>> {
        let at = state.logs.iter().position(|other| other.id == log.id)?;
        self.logs.remove(log);
        Some(state.logs.swap_remove(at))
    }

    /// Writers there are now.
    pub(crate) fn writers(state: &State) -> u64 {
        state.writers.iter().filter(|writer| writer.lives).count() as u64
    }
}

pub(super) fn token(index: usize, generation: u32) -> u64 {
    (u64::from(generation) << 32) | index as u64
}

/// The place of a token's source in the list.
#[allow(clippy::cast_possible_truncation)] // masked
fn place(token: u64) -> usize {
    (token & u64::from(u32::MAX)) as usize
}

impl State {
    pub(super) fn source(&self, token: u64) -> Option<&Arc<Source>> {
        let (generation, source) = self.sources.get(place(token))?;
        source
            .as_ref()
            .filter(|_| u64::from(*generation) == token >> 32)
    }

    pub(super) fn remove(&mut self, token: u64) {
        let (generation, source) = &mut self.sources[place(token)];
        // Never u32::MAX: the token could be the poller's own.
        *generation = (*generation + 1) & (u32::MAX >> 1);
        *source = None;
        self.live_sources -= 1;
        self.attention.retain(|&other| other != token);
        self.held.retain(|&other| other != token);
    }

    pub(super) fn attend(&mut self, token: u64) {
        if !self.attention.contains(&token) {
            self.attention.push(token);
        }
    }

    pub(super) fn end_sources(&mut self, mut which: impl FnMut(&Source) -> bool) -> bool {
        let mut found = false;
        for index in 0..self.sources.len() {
            let (generation, source) = &self.sources[index];
            let token = token(index, *generation);
            if let Some(source) = source {
                if !source.over.load(Ordering::Acquire) && which(source) {
                    let by = clock::now() + LAST_WORDS;
                    // A second request must not make it end later.
                    let (set, seen) = (Ordering::Release, Ordering::Relaxed);
                    let _ = source.ends_by.compare_exchange(0, by, set, seen);
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

    /// Has the reader look at sources that should have ended, though their log has
    /// no room.
    pub(super) fn attend_late(&mut self) {
        for at in 0..self.held.len() {
            let token = self.held[at];
            if self.source(token).is_some_and(|source| source.is_late()) {
                self.attend(token);
            }
        }
    }

    pub(super) fn let_held_go_on(&mut self) {
        if !self.held.is_empty() && !self.may_go_on {
            self.may_go_on = true;
            if let Some(poller) = &self.poller {
                poller.wake();
            }
        }
    }

    /// The log with this id, unless the daemon has let go of it.
    pub(crate) fn find(&self, id: u64) -> Option<Arc<Log>> {
        let found = self.logs.iter().find(|log| log.id == id);
        found.filter(|log| !log.is_freed()).cloned()
    }

    pub(crate) fn sources_of(&self, log: u64) -> impl Iterator<Item = &Arc<Source>> {
        self.sources
            .iter()
            .filter_map(|(_, source)| source.as_ref())
            .filter(move |source| source.log.id == log)
    }
}
