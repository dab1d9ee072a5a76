//! Reading a source, by the reader alone.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use nix::errno::Errno;

use super::lines::{End, Line, Origin};
use super::mailbox::{self, Kind};
use super::queue::CHUNK;
use super::source::{Reading, Source};
use super::threads::Threads;
use crate::sys::{clock, file, pipe};

/// The most that one read takes: the size of a pipe. benches/README.md tells how to
/// measure other sizes.
const READ: usize = CHUNK;
/// The most that is read from one source before others have their turn.
const TURN: usize = 4 * CHUNK;
/// A read of less than this is copied into a chunk that waits already.
const SMALL: usize = CHUNK / 4;

/// What is to be done with a source that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    /// It has no more for now.
    Waits,
    /// It has more.
    HasMore,
    /// There is no room.
    NoRoom,
    /// It is read no more.
    Ended,
}

impl Source {
    /// Begins to count what is queued of it, for flush().
    pub(super) fn owe(&self) {
        // The kernel does not tell all of what a terminal or a socket for datagrams holds,
        // but that is less than a turn. Besides there is what was read and found no room, and
        // an end to be read.
        let held = pipe::unread(self.fd.as_fd()).max(TURN) + CHUNK;
        self.owed.store(held, Ordering::Relaxed);
    }

    pub(super) fn owes(&self) -> bool {
        self.owed.load(Ordering::Relaxed) > 0
    }

    fn queued(&self, bytes: usize) {
        let left = self.owed.load(Ordering::Relaxed).saturating_sub(bytes);
        self.owed.store(left, Ordering::Relaxed);
    }

    /// Reads what there is, within bounds; nothing unless `is_there`, as then the
    /// descriptor is not the source's any more. `scratch` is the reader's.
    pub(crate) fn read(&self, threads: &Threads, scratch: &mut Vec<u8>, is_there: bool) -> After {
        let mut reading = self.reading.lock();
        reading.ended |= !is_there;
        let late = self.is_late();
        let mut got = 0;
        while got < TURN {
            match self.read_once(&mut reading, threads, scratch) {
                Ok(0) => return After::NoRoom,
                Ok(more) => got += more,
                Err(After::Ended) if !self.finish(&mut reading, threads) => return After::NoRoom,
                Err(after) => {
                    self.queued(usize::MAX);
                    return after;
                }
            }
        }
        // It should have ended, but somebody writes to it faster than it is read.
        if late && self.finish(&mut reading, threads) {
            reading.ended = true;
            self.queued(usize::MAX);
            return After::Ended;
        }
        After::HasMore
    }

    /// Reads once: how much, or 0 where there is no room.
    fn read_once(
        &self,
        reading: &mut Reading,
        threads: &Threads,
        scratch: &mut Vec<u8>,
    ) -> Result<usize, After> {
        if !reading.carry.is_empty() {
            return Ok(self.carry_on(reading, threads));
        }
        if reading.ended {
            return Err(After::Ended);
        }
        let setup = &self.log.setup;
        let mut most = READ;
        if self.blocks() && !setup.lines {
            let backlog = self.log.backlog.lock();
            if !backlog.is_closed() {
                // Once a late source has dropped bytes, nothing is taken before half of
                // the queue is free.
                let takes = backlog.untold.is_nothing() || backlog.queue.has_drained();
                most = if takes {
                    most.min(backlog.queue.room())
                } else {
                    0
                };
            }
            if most == 0 {
                return Ok(0);
            }
        }
        scratch.clear();
        let got = match file::read_onto(self.fd.as_fd(), scratch, most) {
            Ok(0) => Err(After::Ended),
            Ok(got) => Ok(got),
            Err(error) if error == Errno::EAGAIN && self.ends() => Err(After::Ended),
            Err(error) if matches!(error.errno, Errno::EAGAIN | Errno::EINTR) => Err(After::Waits),
            // A terminal whose other side is closed, a reset connection.
            Err(_) => Err(After::Ended),
        };
        let got = match got {
            Ok(got) => got,
            Err(After::Ended) => {
                reading.ended = true;
                return Err(After::Ended);
            }
            Err(after) => return Err(after),
        };
        self.log.counts.read(got);
        if setup.lines {
            let used = self.split(reading, threads, scratch);
            let rest = &scratch[used..];
            if !rest.is_empty() {
                // No memory to keep it: it is dropped and counted.
                if reading.carry.try_reserve_exact(rest.len()).is_ok() {
                    reading.carry.extend_from_slice(rest);
                } else {
                    self.log.backlog.lock().drop_bytes(0, rest.len());
                }
                return Ok(0);
            }
        } else {
            self.pass(threads, scratch);
            self.queued(got);
        }
        Ok(got)
    }

    /// Hands on what there was no room for before; 0 where there still is none.
    fn carry_on(&self, reading: &mut Reading, threads: &Threads) -> usize {
        let mut carry = std::mem::take(&mut reading.carry);
        let used = self.split(reading, threads, &carry);
        if used == carry.len() {
            return used;
        }
        carry.drain(..used);
        reading.carry = carry;
        0
    }

    /// Whether it waits for room; otherwise what finds no room is dropped and counted.
    fn blocks(&self) -> bool {
        self.log.setup.blocks && !self.is_late()
    }

    fn origin(&self) -> Origin<'_> {
        Origin {
            source: self.id,
            label: &self.label,
        }
    }

    /// Splits bytes into lines and queues them; how many were used.
    fn split(&self, reading: &mut Reading, threads: &Threads, bytes: &[u8]) -> usize {
        let log = &self.log;
        let blocks = self.blocks();
        let mut spare = || threads.spares.lock().take();
        let mut backlog = log.backlog.lock();
        let used = reading.splitter.feed(bytes, clock::realtime(), |line| {
            backlog.put(&log.setup, blocks, line, self.origin(), &mut spare)
        });
        drop(backlog);
        self.queued(used);
        threads.deliver(log);
        used
    }

    /// Queues bytes as they are.
    fn pass(&self, threads: &Threads, scratch: &mut Vec<u8>) {
        let mut backlog = self.log.backlog.lock();
        let room = backlog.queue.room();
        let has_drained = backlog.tell_lost(&self.log.setup, 0, &mut || None);
        let taken = if has_drained && !backlog.is_closed() {
            scratch.len().min(room)
        } else {
            0
        };
        let dropped = scratch.len() - taken;
        scratch.truncate(taken);
        if taken >= SMALL {
            let spare = threads.spares.lock().take();
            let fresh = spare.or_else(|| super::queue::memory(CHUNK).ok());
            match fresh {
                Some(fresh) => {
                    if let Err(chunk) = backlog.queue.push(std::mem::replace(scratch, fresh)) {
                        backlog.drop_bytes(0, chunk.len());
                    }
                }
                None => backlog.drop_bytes(0, taken),
            }
        } else if taken > 0 {
            let spare = || threads.spares.lock().take();
            if backlog.queue.append(&[&scratch[..]], spare).is_err() {
                backlog.drop_bytes(0, taken);
            }
        }
        if dropped > 0 {
            backlog.drop_bytes(0, dropped);
        }
        drop(backlog);
        threads.deliver(&self.log);
    }

    /// The source is read to its end: queues the last line, and tells the end. False
    /// where there is no room for it.
    fn finish(&self, reading: &mut Reading, threads: &Threads) -> bool {
        let log = &self.log;
        let blocks = self.blocks();
        let mut spare = || threads.spares.lock().take();
        let mut backlog = log.backlog.lock();
        let finished = reading
            .splitter
            .finish(|line| backlog.put(&log.setup, blocks, line, self.origin(), &mut spare));
        // Set before the end is told: the receiver may ask at once.
        self.over.store(finished, Ordering::Release);
        let told =
            finished && (backlog.is_closed() || self.tell_end(&mut backlog.queue, &mut spare));
        if !told {
            self.over.store(false, Ordering::Release);
            self.put_off_end();
        }
        drop(backlog);
        // The loop tells the end, whatever the target is.
        if told && !log.setup.tells_lines() {
            log.task.post();
        }
        threads.deliver(log);
        told
    }

    fn tell_end(
        &self,
        lines: &mut super::queue::Queue,
        spare: &mut dyn FnMut() -> Option<Vec<u8>>,
    ) -> bool {
        if self.log.setup.told.is_none() || self.log.task.is_over() {
            return true;
        }
        let line = Line {
            head: &[],
            tail: &[],
            time: clock::realtime(),
            end: End::Newline,
        };
        if self.log.setup.tells_lines() {
            return mailbox::append(lines, Kind::Drained, self.origin(), &line, spare);
        }
        let mut events = self.log.events.lock();
        mailbox::append(&mut events, Kind::Drained, self.origin(), &line, spare)
    }
}
