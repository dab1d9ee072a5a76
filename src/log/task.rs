//! What a log tells the daemon, by the context's loop.

use super::mailbox::{self, Kind};
use super::one_log::Log;
use super::telling::Begun;
use super::threads::LOGS;
use crate::reap::callback::Call;
use crate::reap::id::ContextId;
use crate::reap::task::{self, Arc, Task, Why};
use crate::sys::error::Error;

struct Teller {
    log: Arc<Log>,
}

/// Has a log's events told by its context, if they are asked for.
pub(crate) fn begin(ctx: ContextId, log: &Arc<Log>) -> Result<(), Error> {
    if log.setup.told.is_none() {
        return Ok(());
    }
    let teller = Arc::try_new(Teller { log: log.clone() })?;
    let id = task::add(ctx, &teller)?;
    *log.task.0.lock() = Begun::Yes(id);
    Ok(())
}

/// No event of it is told any more once this returns.
pub(crate) fn end(log: &Log) {
    let begun = std::mem::replace(&mut *log.task.0.lock(), Begun::Over);
    if let Begun::Yes(id) = begun {
        task::remove(id);
    }
}

impl Task for Teller {
    fn step(&self, _: Why) -> Option<Call> {
        let threads = &LOGS.get()?.value;
        let log = &self.log;
        let told = log.setup.told?;
        let mut telling = log.telling.lock();
        loop {
            let at = telling.told;
            if let Some((event, length)) = mailbox::read(&telling.chunk[at..]) {
                let record = (told.record)(&event);
                let is_line = matches!(event.kind, Kind::Line | Kind::Partial);
                telling.told += length;
                telling.lines += u64::from(is_line);
                return Some(Call::Event {
                    call: told.call,
                    source: told.handle,
                    record,
                    pvt: told.pvt,
                });
            }
            let chunk = std::mem::take(&mut telling.chunk);
            telling.told = 0;
            if !chunk.is_empty() {
                with_queue(log, |queue| queue.is_done(chunk.len()));
                threads.spares.lock().give(chunk);
                threads.has_told(log);
            }
            match with_queue(log, super::queue::Queue::take) {
                Some(next) => telling.chunk = next,
                None if threads.tell_lost(log) => {}
                None => return None,
            }
        }
    }
}

/// Where a log's events wait.
fn with_queue<T>(log: &Log, of: impl FnOnce(&mut super::queue::Queue) -> T) -> T {
    if log.setup.tells_lines() {
        of(&mut log.backlog.lock().queue)
    } else {
        of(&mut log.events.lock())
    }
}

impl Drop for Teller {
    /// The context or the log is over: what only this task would have taken is dropped.
    fn drop(&mut self) {
        *self.log.task.0.lock() = Begun::Over;
        if !self.log.setup.tells_lines() {
            return;
        }
        if let Some(threads) = LOGS.get() {
            let log = &self.log;
            // Its chunk stays: the callback that ends the context may still look at it.
            let telling = log.telling.lock();
            let mut backlog = log.backlog.lock();
            let lines = backlog.lost.lines + backlog.lines - telling.lines;
            backlog.queue.is_done(telling.chunk.len());
            backlog.lost.bytes += (telling.chunk.len() - telling.told) as u64;
            backlog.close();
            // close() takes the bytes for text.
            backlog.lost.lines = lines;
            drop(backlog);
            threads.value.has_told(log);
        }
    }
}
