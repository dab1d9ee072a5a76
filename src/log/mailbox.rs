//! Events on their way to the daemon's callback, as bytes in a queue.

use super::lines::{End, Line, Origin};
use super::queue::Queue;

/// What is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Line,
    /// A line whose rest comes as another.
    Split,
    /// A last line without its newline.
    Partial,
    /// What was dropped, in words.
    Dropped,
    /// A source has ended.
    Drained,
}

const KINDS: [Kind; 5] = [
    Kind::Line,
    Kind::Split,
    Kind::Partial,
    Kind::Dropped,
    Kind::Drained,
];

impl Kind {
    pub(crate) fn of(end: End) -> Self {
        match end {
            End::Newline => Kind::Line,
            End::Split => Kind::Split,
            End::Missing => Kind::Partial,
        }
    }
}

/// Kind, length of the label, length of the text, time, source.
const HEAD: usize = 1 + 1 + 4 + 8 + 8;

/// One event, its texts in the chunk, each followed by a NUL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Event<'a> {
    pub(crate) kind: Kind,
    pub(crate) source: u64,
    pub(crate) time: u64,
    pub(crate) label: &'a [u8],
    pub(crate) text: &'a [u8],
}

/// Adds an event; false where there is no room or no memory for it.
#[allow(clippy::cast_possible_truncation)] // a label is short, a line is at most 4 GiB
pub(crate) fn append(
    queue: &mut Queue,
    kind: Kind,
    origin: Origin,
    line: &Line,
    spare: &mut dyn FnMut() -> Option<Vec<u8>>,
) -> bool {
    let mut head = [0; HEAD];
    // The library's own words have no source.
    let kind = match (kind, origin.source) {
        (Kind::Line, 0) => Kind::Dropped,
        (kind, _) => kind,
    };
    head[0] = kind as u8;
    head[1] = origin.label.len() as u8;
    head[2..6].copy_from_slice(&(line.len() as u32).to_ne_bytes());
    head[6..14].copy_from_slice(&line.time.to_ne_bytes());
    head[14..].copy_from_slice(&origin.source.to_ne_bytes());
    let parts = [&head[..], origin.label, b"\0", line.head, line.tail, b"\0"];
    let length: usize = parts.iter().map(|part| part.len()).sum();
    // The end of a source is told in any case.
    (kind == Kind::Drained || length <= queue.room()) && queue.append(&parts, spare).is_ok()
}

/// The event at the beginning of these bytes, and its length.
pub(crate) fn read(bytes: &[u8]) -> Option<(Event<'_>, usize)> {
    let head = bytes.get(..HEAD)?;
    let label = usize::from(head[1]);
    let text = u32::from_ne_bytes(head[2..6].try_into().ok()?) as usize;
    let rest = &bytes[HEAD..];
    let length = label + 1 + text + 1;
    let event = Event {
        kind: *KINDS.get(usize::from(head[0]))?,
        time: u64::from_ne_bytes(head[6..14].try_into().ok()?),
        source: u64::from_ne_bytes(head[14..].try_into().ok()?),
        label: rest.get(..label)?,
        text: rest.get(label + 1..length - 1)?,
    };
    Some((event, HEAD + length))
}

/// How an event becomes the daemon's record.
pub(crate) type RecordFn = fn(&Event) -> crate::sys::opaque::Record;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn events_come_out_as_they_went_in(
            events in prop::collection::vec(
                (1u64.., 0u64.., prop::collection::vec(any::<u8>(), 0..40),
                 prop::collection::vec(any::<u8>(), 0..3000), 0usize..5),
                1..40,
            ),
        ) {
            let mut queue = Queue::new(1 << 20);
            for (source, time, label, text, kind) in &events {
                let (head, tail) = text.split_at(text.len() / 2);
                let line = Line { head, tail, time: *time, end: End::Newline };
                let origin = Origin { source: *source, label };
                prop_assert!(append(&mut queue, KINDS[*kind], origin, &line, &mut || None));
            }
            let mut chunk = Vec::new();
            for (source, time, label, text, kind) in &events {
                if chunk.is_empty() {
                    chunk = queue.take().unwrap();
                }
                let (event, length) = read(&chunk).unwrap();
                prop_assert_eq!(event, Event {
                    kind: KINDS[*kind], source: *source, time: *time, label, text,
                });
                prop_assert_eq!(chunk[length - 1], 0);
                chunk.drain(..length);
                queue.is_done(length);
            }
            prop_assert!(chunk.is_empty());
            prop_assert_eq!(queue.bytes(), 0);
        }
    }
}
