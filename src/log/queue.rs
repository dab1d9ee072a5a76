//! What was read and is not written yet, bounded in bytes.

use std::collections::VecDeque;

use nix::errno::Errno;

use crate::sys::error::Error;

/// The size of most chunks; a line that is longer gets one for itself.
pub(crate) const CHUNK: usize = 64 * 1024;

/// What did not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Lost {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

impl Lost {
    pub(crate) fn count(&mut self, lines: u64, bytes: usize) {
        self.lines += lines;
        self.bytes += bytes as u64;
    }

    pub(crate) fn is_nothing(self) -> bool {
        self == Lost::default()
    }
}

/// Chunks in order. A chunk that the writer took out still counts.
#[derive(Debug)]
pub(crate) struct Queue {
    chunks: VecDeque<Vec<u8>>,
    bytes: usize,
    limit: usize,
    /// All that was ever added, in bytes.
    added: u64,
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Self {
        Queue {
            chunks: VecDeque::new(),
            bytes: 0,
            limit,
            added: 0,
        }
    }

    /// Bytes that are not written yet.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many bytes were ever added.
    pub(crate) fn added(&self) -> u64 {
        self.added
    }

    /// Whether the first so many bytes that were ever added are written or given up.
    pub(crate) fn is_past(&self, added: u64) -> bool {
        self.added - self.bytes as u64 >= added
    }

    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes)
    }

    /// Whether there is enough room again for a source that was held back.
    pub(crate) fn has_drained(&self) -> bool {
        self.bytes <= self.limit / 2
    }

    /// Adds the parts, all into one chunk. `spare` gives a chunk's memory.
    pub(crate) fn append(
        &mut self,
        parts: &[&[u8]],
        spare: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Result<(), Error> {
        let length = parts.iter().map(|part| part.len()).sum();
        let fits = |chunk: &&mut Vec<u8>| chunk.capacity() - chunk.len() >= length;
        if self.chunks.back_mut().as_ref().is_some_and(fits) {
            self.extend_last(parts);
        } else {
            self.reserve()?;
            let mut chunk = match spare() {
                Some(chunk) if chunk.capacity() >= length => chunk,
                _ => memory(length.max(CHUNK))?,
            };
            chunk.clear();
            self.chunks.push_back(chunk);
            self.extend_last(parts);
        }
        self.count(length);
        Ok(())
    }

    /// Room for a chunk, and for the one that the writer took out and may give back.
    fn reserve(&mut self) -> Result<(), Error> {
        self.chunks.try_reserve(2).map_err(|_| Errno::ENOMEM.into())
    }

    fn count(&mut self, added: usize) {
        self.bytes += added;
        self.added += added as u64;
    }

    fn extend_last(&mut self, parts: &[&[u8]]) {
        if let Some(chunk) = self.chunks.back_mut() {
            for part in parts {
                chunk.extend_from_slice(part);
            }
        }
    }

    /// Adds a chunk as it is, or gives it back where memory is out.
    pub(crate) fn push(&mut self, chunk: Vec<u8>) -> Result<(), Vec<u8>> {
        if self.reserve().is_err() {
            return Err(chunk);
        }
        self.count(chunk.len());
        self.chunks.push_back(chunk);
        Ok(())
    }

    /// Takes the oldest chunk out; its bytes count until [`Queue::is_done`].
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        self.chunks.pop_front()
    }

    /// `bytes` that were taken out are written, or given up.
    pub(crate) fn is_done(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    /// Gives back what is left of the chunk that was taken out last.
    pub(crate) fn put_back(&mut self, chunk: Vec<u8>) {
        if !chunk.is_empty() {
            // There is room, see reserve(): without memory VecDeque would abort.
            self.chunks.push_front(chunk);
        }
    }

    /// Gives everything up; how much it was.
    pub(crate) fn clear(&mut self) -> Lost {
        let mut lost = Lost::default();
        while let Some(chunk) = self.chunks.pop_front() {
            let lines = chunk.iter().filter(|&&byte| byte == b'\n').count();
            lost.count(lines as u64, chunk.len());
            self.bytes -= chunk.len();
        }
        lost
    }
}

/// An empty chunk of this capacity.
pub(crate) fn memory(capacity: usize) -> Result<Vec<u8>, Error> {
    let mut chunk = Vec::new();
    chunk
        .try_reserve_exact(capacity)
        .map_err(|_| Errno::ENOMEM)?;
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chunk_that_was_taken_out_counts() {
        let mut queue = Queue::new(100);
        queue.append(&[b"abc", b"\n"], || None).unwrap();
        let mut chunk = queue.take().unwrap();
        assert_eq!((queue.bytes(), queue.room()), (4, 96));
        queue.is_done(3);
        chunk.drain(..3);
        queue.put_back(chunk);
        assert_eq!(queue.bytes(), 1);
        assert_eq!(queue.take().unwrap(), b"\n");
        queue.is_done(1);
        assert_eq!((queue.bytes(), queue.take()), (0, None));
    }

    #[test]
    fn what_is_given_up_is_told() {
        let mut queue = Queue::new(100);
        queue.append(&[b"abc\n"], || None).unwrap();
        queue.push(b"d\ne\n".to_vec()).unwrap();
        assert_eq!(queue.clear(), Lost { lines: 3, bytes: 8 });
        assert_eq!(queue.bytes(), 0);
        assert!(queue.clear().is_nothing());
    }

    proptest! {
        /// Any order of adding, taking and giving back keeps the bytes and the sum.
        #[test]
        fn bytes_come_out_as_they_went_in(
            steps in prop::collection::vec((0u8..4, 0usize..200_000), 1..60),
        ) {
            let mut queue = Queue::new(1 << 20);
            let (mut put, mut got, mut next) = (Vec::new(), Vec::new(), 0u8);
            for (kind, length) in steps {
                match kind {
                    0 | 1 => {
                        next = next.wrapping_add(1);
                        let bytes = vec![next; if kind == 0 { length % 100 } else { length }];
                        put.extend_from_slice(&bytes);
                        if kind == 0 {
                            queue.append(&[&bytes], || None).unwrap();
                        } else {
                            queue.push(bytes).unwrap();
                        }
                    }
                    _ => if let Some(mut chunk) = queue.take() {
                        let done = if kind == 2 { chunk.len() } else { length.min(chunk.len()) };
                        got.extend(chunk.drain(..done));
                        queue.is_done(done);
                        queue.put_back(chunk);
                    }
                }
                prop_assert_eq!(queue.bytes(), put.len() - got.len());
                // A chunk that is taken out now can be given back without memory.
                let chunks = &queue.chunks;
                prop_assert!(chunks.is_empty() || chunks.capacity() > chunks.len());
                prop_assert_eq!(queue.room(), (1usize << 20).saturating_sub(queue.bytes()));
            }
            while let Some(chunk) = queue.take() {
                queue.is_done(chunk.len());
                got.extend(chunk);
            }
            prop_assert_eq!(got, put);
        }
    }
}
