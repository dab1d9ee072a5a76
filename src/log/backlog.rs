//! A log's queue, and what happens to a line that it has no room for.

use std::io::Write;

use super::lines::{End, Line, Origin, Verdict};
use super::mailbox::{self, Kind};
use super::queue::{Lost, Queue};
use super::setup::Setup;
use super::stamp::Stamper;

/// Chunks that are not in use. They are kept, as the kernel would have to clear memory
/// that was given back to it.
#[derive(Debug)]
pub(crate) struct Spares {
    chunks: Vec<Vec<u8>>,
}

/// How many chunks are kept: a megabyte.
const SPARES: usize = 16;

impl Spares {
    pub(crate) const fn new() -> Self {
        Spares { chunks: Vec::new() }
    }

    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        self.chunks.pop()
    }

    pub(crate) fn give(&mut self, mut chunk: Vec<u8>) {
        chunk.clear();
        if chunk.capacity() == super::queue::CHUNK
            && self.chunks.len() < SPARES
            && self.chunks.try_reserve(1).is_ok()
        {
            self.chunks.push(chunk);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.chunks = Vec::new();
    }
}

/// What flush() waits for.
pub(crate) struct Mark {
    /// So many bytes of the queue are to be written.
    added: u64,
    /// What was dropped is told behind them.
    untold: bool,
}

#[derive(Debug)]
pub(crate) struct Backlog {
    pub(crate) queue: Queue,
    /// What was dropped and not told of yet.
    pub(crate) untold: Lost,
    /// All that was dropped.
    pub(crate) lost: Lost,
    /// Lines that were taken.
    pub(crate) lines: u64,
    /// The last line found no memory.
    no_memory: bool,
    /// Everything is dropped from now on.
    closed: bool,
    stamper: Stamper,
}

impl Backlog {
    pub(crate) fn new(limit: usize) -> Self {
        Backlog {
            queue: Queue::new(limit),
            untold: Lost::default(),
            lost: Lost::default(),
            lines: 0,
            no_memory: false,
            closed: false,
            stamper: Stamper::new(),
        }
    }

    /// Adds a line, or drops it, or refuses it, as the policy is.
    pub(crate) fn put(
        &mut self,
        setup: &Setup,
        blocks: bool,
        line: &Line,
        origin: Origin,
        spare: &mut dyn FnMut() -> Option<Vec<u8>>,
    ) -> Verdict {
        // Once something was dropped, nothing is taken until half of the queue is free.
        // So there is one notice for all that was dropped, not one for each line.
        let stopped = self.closed || !self.tell_lost(setup, line.time, spare);
        if !stopped && self.append(setup, line, origin, spare) {
            self.lines += u64::from(line.end != End::Split);
            return Verdict::Taken;
        }
        if blocks && !self.closed {
            return Verdict::NoRoom;
        }
        self.drop_bytes(u64::from(line.end != End::Split), line.len() + 1);
        Verdict::Taken
    }

    fn append(
        &mut self,
        setup: &Setup,
        line: &Line,
        origin: Origin,
        spare: &mut dyn FnMut() -> Option<Vec<u8>>,
    ) -> bool {
        if setup.tells_lines() {
            let kind = Kind::of(line.end);
            return mailbox::append(&mut self.queue, kind, origin, line, spare);
        }
        let text = setup.format.text(line, origin.label, &mut self.stamper);
        let length: usize = text.iter().map(|part| part.len()).sum();
        if length > self.queue.room() {
            return false;
        }
        self.no_memory = self.queue.append(&text, spare).is_err();
        !self.no_memory
    }

    /// Whether a source that was refused may try again at once.
    pub(crate) fn may_take(&self) -> bool {
        self.queue.has_drained() && !self.no_memory
    }

    pub(crate) fn drop_bytes(&mut self, lines: u64, bytes: usize) {
        self.untold.count(lines, bytes);
        self.lost.count(lines, bytes);
    }

    /// Drops what waits, and all that comes.
    pub(crate) fn close(&mut self) {
        self.give_up();
        self.closed = true;
    }

    /// All that has come by now.
    pub(crate) fn mark(&self, setup: &Setup) -> Mark {
        Mark {
            added: self.queue.added(),
            untold: setup.lines && !self.untold.is_nothing(),
        }
    }

    /// Whether all that had come at the mark is written, and what was dropped by then told,
    /// whatever comes meanwhile.
    pub(crate) fn is_past(&self, mark: &mut Mark) -> bool {
        if mark.untold && self.queue.added() > mark.added {
            // The notice is queued before anything else.
            mark.added = self.queue.added();
            mark.untold = false;
        }
        !mark.untold && self.queue.is_past(mark.added)
    }

    /// Whether nothing of it is to be written any more.
    pub(crate) fn is_over(&self) -> bool {
        self.closed || self.queue.bytes() == 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Drops what waits.
    pub(crate) fn give_up(&mut self) {
        let lost = self.queue.clear();
        self.lost.lines += lost.lines;
        self.lost.bytes += lost.bytes;
    }

    /// Adds a line that tells what was dropped, once there is room again. Whether
    /// nothing is left to tell.
    pub(crate) fn tell_lost(
        &mut self,
        setup: &Setup,
        now: u64,
        spare: &mut dyn FnMut() -> Option<Vec<u8>>,
    ) -> bool {
        if self.untold.is_nothing() {
            return true;
        }
        if !self.queue.has_drained() {
            return false;
        }
        if setup.lines {
            let mut text = [0; 96];
            let length = notice(self.untold, &mut text);
            let line = Line {
                head: &text[..length],
                tail: &[],
                time: now,
                end: End::Newline,
            };
            if !self.append(setup, &line, Origin::NONE, spare) {
                return false;
            }
        }
        self.untold = Lost::default();
        true
    }
}

fn notice(lost: Lost, text: &mut [u8; 96]) -> usize {
    let mut rest = &mut text[..];
    let _ = write!(
        rest,
        "[sss_sigchld: dropped {} lines, {} bytes]",
        lost.lines, lost.bytes
    );
    let left = rest.len();
    text.len() - left
}

#[cfg(test)]
pub(super) fn test_setup(blocks: bool) -> Setup {
    Setup {
        place: super::setup::Place::Syslog(Vec::new()),
        lines: true,
        format: super::lines::Format::default(),
        max_line: 100,
        max_queue: 200,
        blocks,
        limit: super::rotation::Limit {
            size: 0,
            tears: false,
        },
        max_age: 0,
        keep: 0,
        told: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(backlog: &mut Backlog, setup: &Setup, text: &[u8]) -> Verdict {
        let line = Line {
            head: &[],
            tail: text,
            time: 0,
            end: End::Newline,
        };
        backlog.put(setup, setup.blocks, &line, Origin::NONE, &mut || None)
    }

    #[test]
    fn the_longest_notice_is_whole() {
        let mut text = [0; 96];
        let lost = Lost {
            lines: u64::MAX,
            bytes: u64::MAX,
        };
        let length = notice(lost, &mut text);
        assert_eq!(text[..length].last(), Some(&b']'));
    }

    proptest! {
        /// However lines come and are written: each is written or counted, in
        /// order, and the queue keeps its limit.
        #[test]
        fn each_line_is_written_or_counted(
            steps in prop::collection::vec((any::<bool>(), 0usize..90), 1..200),
        ) {
            let setup = test_setup(false);
            let mut backlog = Backlog::new(setup.max_queue);
            let (mut text, mut put_lines) = (Vec::new(), 0);
            let write = |backlog: &mut Backlog, text: &mut Vec<u8>| {
                if let Some(chunk) = backlog.queue.take() {
                    backlog.queue.is_done(chunk.len());
                    text.extend(chunk);
                }
            };
            for (writes, length) in steps {
                if writes {
                    write(&mut backlog, &mut text);
                } else {
                    put_lines += 1;
                    prop_assert_eq!(put(&mut backlog, &setup, &vec![b'x'; length]), Verdict::Taken);
                }
                prop_assert!(backlog.queue.bytes() <= setup.max_queue);
            }
            while backlog.queue.bytes() > 0 || !backlog.tell_lost(&setup, 0, &mut || None) {
                write(&mut backlog, &mut text);
            }
            write(&mut backlog, &mut text);
            let text = String::from_utf8(text).unwrap();
            let (notices, lines): (Vec<_>, Vec<_>) =
                text.lines().partition(|line| line.starts_with('['));
            let told: u64 = notices
                .iter()
                .map(|notice| notice.split(' ').nth(2).unwrap().parse::<u64>().unwrap())
                .sum();
            prop_assert_eq!(lines.len() as u64 + told, put_lines);
            prop_assert_eq!(told, backlog.lost.lines);
            prop_assert_eq!(lines.len() as u64, backlog.lines);
        }

        #[test]
        fn who_may_be_blocked_loses_nothing(lengths in prop::collection::vec(0usize..90, 1..100)) {
            let setup = test_setup(true);
            let mut backlog = Backlog::new(setup.max_queue);
            let (mut text, mut wanted) = (Vec::new(), Vec::new());
            for length in lengths {
                let line = vec![b'x'; length];
                while put(&mut backlog, &setup, &line) == Verdict::NoRoom {
                    let chunk = backlog.queue.take().unwrap();
                    backlog.queue.is_done(chunk.len());
                    text.extend(chunk);
                }
                wanted.extend(line);
                wanted.push(b'\n');
            }
            while let Some(chunk) = backlog.queue.take() {
                text.extend(chunk);
            }
            prop_assert_eq!(text, wanted);
            prop_assert!(backlog.lost.is_nothing());
        }
    }
}
