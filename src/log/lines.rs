//! Makes lines of bytes, and of lines the text that is written.

use super::stamp::Stamper;
use crate::sys::error::Error;

/// Where a line is from.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) source: u64,
    pub(crate) label: &'a [u8],
}

impl Origin<'_> {
    /// The library itself.
    pub(crate) const NONE: Origin<'static> = Origin {
        source: 0,
        label: b"",
    };
}

/// How a line ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// By a newline.
    Newline,
    /// It was longer than a line may be: the rest comes as a line of its own.
    Split,
    /// Its writers ended before they wrote a newline.
    Missing,
}

impl End {
    /// What is written in the log behind a line that ends so.
    pub(crate) fn mark(self) -> &'static [u8] {
        match self {
            End::Newline => b"\n",
            End::Split => b" [line continues]\n",
            End::Missing => b" [no newline]\n",
        }
    }
}

/// A line without its newline, in two parts: what came with earlier reads, and
/// what came with the last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) tail: &'a [u8],
    /// When its first byte was read, CLOCK_REALTIME in nanoseconds.
    pub(crate) time: u64,
    pub(crate) end: End,
}

impl Line<'_> {
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }
}

/// What became of a line that was handed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Taken,
    /// Hand it on again later.
    NoRoom,
}

/// Splits what is read from one source.
#[derive(Debug)]
pub(crate) struct Splitter {
    partial: Vec<u8>,
    /// When the first byte of `partial` was read.
    since: u64,
    /// The longest line.
    most: usize,
}

/// A partial line's memory above this is given back at its end.
const KEPT: usize = 4096;

impl Splitter {
    pub(crate) fn new(most: usize) -> Self {
        Splitter {
            partial: Vec::new(),
            since: 0,
            most: most.max(1),
        }
    }

    /// A copy of the state, for another process.
    pub(crate) fn copy(&self) -> Result<Self, Error> {
        let partial = super::text::bytes(&[&self.partial])?;
        Ok(Splitter { partial, ..*self })
    }

    /// Hands on each line that `input` completes and keeps what it does not.
    /// Tells how much of `input` was used: less than all only after a
    /// [`Verdict::NoRoom`].
    pub(crate) fn feed(
        &mut self,
        input: &[u8],
        now: u64,
        mut each: impl FnMut(&Line) -> Verdict,
    ) -> usize {
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            if self.partial.is_empty() {
                self.since = now;
            }
            let room = self.most - self.partial.len();
            let window = &rest[..rest.len().min(room + 1)];
            let newline = crate::sys::memory::find(b'\n', window);
            let (length, end) = match newline {
                Some(length) => (length, End::Newline),
                None if window.len() > room => (room, End::Split),
                None if self.keep(rest) => return input.len(),
                // No memory for it: it is handed on as it is.
                None => (rest.len(), End::Split),
            };
            let line = Line {
                head: &self.partial,
                tail: &rest[..length],
                time: self.since,
                end,
            };
            if each(&line) == Verdict::NoRoom {
                break;
            }
            used += length + usize::from(end == End::Newline);
            self.clear();
        }
        used
    }

    /// The source has ended: hands on what is left as the last line. False after
    /// a [`Verdict::NoRoom`].
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&Line) -> Verdict) -> bool {
        let line = Line {
            head: &self.partial,
            tail: &[],
            time: self.since,
            end: End::Missing,
        };
        if !self.partial.is_empty() && each(&line) == Verdict::NoRoom {
            return false;
        }
        self.partial = Vec::new();
        true
    }

    fn keep(&mut self, rest: &[u8]) -> bool {
        let kept = self.partial.try_reserve(rest.len()).is_ok();
        if kept {
            self.partial.extend_from_slice(rest);
        }
        kept
    }

    fn clear(&mut self) {
        if self.partial.capacity() > KEPT {
            self.partial = Vec::new();
        }
        self.partial.clear();
    }
}

/// What stands in front of each line of a log.
#[derive(Debug, Default)]
pub(crate) struct Format {
    pub(crate) prefix: Vec<u8>,
    pub(crate) time: bool,
    pub(crate) label: bool,
}

/// The parts of a line's text, to be written one after the other.
pub(crate) type Text<'a> = [&'a [u8]; 8];

impl Format {
    /// The text of a line: prefix, time, label, the line, its mark.
    pub(crate) fn text<'a>(
        &'a self,
        line: &Line<'a>,
        label: &'a [u8],
        stamper: &'a mut Stamper,
    ) -> Text<'a> {
        let mut text: Text = [&[]; 8];
        text[0] = &self.prefix;
        if self.time {
            text[1] = stamper.text(line.time);
            text[2] = b" ";
        }
        if self.label && !label.is_empty() {
            text[3] = label;
            text[4] = b" ";
        }
        text[5] = line.head;
        text[6] = line.tail;
        text[7] = line.end.mark();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (Vec<u8>, u64, End);

    fn owned(line: &Line) -> Owned {
        ([line.head, line.tail].concat(), line.time, line.end)
    }

    /// The same, written the slow way.
    fn expected(input: &[u8], most: usize) -> Vec<(Vec<u8>, End)> {
        let mut lines = Vec::new();
        let mut line = Vec::new();
        for &byte in input {
            if byte == b'\n' {
                lines.push((std::mem::take(&mut line), End::Newline));
                continue;
            }
            if line.len() == most {
                lines.push((std::mem::take(&mut line), End::Split));
            }
            line.push(byte);
        }
        if !line.is_empty() {
            lines.push((line, End::Missing));
        }
        lines
    }

    #[test]
    fn a_line_of_exactly_the_most_is_whole() {
        let mut splitter = Splitter::new(3);
        let mut lines = Vec::new();
        for part in [&b"ab"[..], b"c", b"\nabcd", b"e"] {
            splitter.feed(part, 1, |line| {
                lines.push(owned(line));
                Verdict::Taken
            });
        }
        assert_eq!(
            lines,
            [
                (b"abc".to_vec(), 1, End::Newline),
                (b"abc".to_vec(), 1, End::Split)
            ]
        );
        assert!(splitter.finish(|line| {
            lines.push(owned(line));
            Verdict::Taken
        }));
        assert_eq!(lines[2], (b"de".to_vec(), 1, End::Missing));
    }

    #[test]
    fn a_line_has_the_time_of_its_first_byte() {
        let mut splitter = Splitter::new(100);
        let mut times = Vec::new();
        for (part, now) in [(&b"a"[..], 5), (b"b\nc", 6), (b"\n", 7)] {
            splitter.feed(part, now, |line| {
                times.push(line.time);
                Verdict::Taken
            });
        }
        assert_eq!(times, [5, 6]);
    }

    #[test]
    fn text_of_a_line() {
        let format = Format {
            prefix: b"web: ".to_vec(),
            time: true,
            label: true,
        };
        let line = Line {
            head: b"one ",
            tail: b"two",
            time: 1,
            end: End::Missing,
        };
        let mut stamper = Stamper::new();
        let text = format.text(&line, b"stderr", &mut stamper).concat();
        assert_eq!(
            String::from_utf8(text.clone()).unwrap(),
            "web: 1970-01-01T00:00:00.000000001Z stderr one two [no newline]\n"
        );
        let bare = Format::default();
        assert_eq!(
            bare.text(&line, b"stderr", &mut stamper).concat(),
            b"one two [no newline]\n"
        );
    }

    proptest! {
        /// However the bytes arrive, and however often there is no room.
        #[test]
        fn lines_are_those_of_the_whole(
            input in prop::collection::vec(prop_oneof![3 => Just(b'\n'), 20 => any::<u8>()], 0..300),
            cuts in prop::collection::vec(1usize..40, 1..20),
            refusals in prop::collection::vec(any::<bool>(), 1..20),
            most in 1usize..20,
        ) {
            let mut splitter = Splitter::new(most);
            let mut lines: Vec<(Vec<u8>, End)> = Vec::new();
            let mut refusals = refusals.into_iter().chain([false]).cycle();
            let mut verdict = |line: &Line, lines: &mut Vec<(Vec<u8>, End)>| {
                if refusals.next().unwrap() {
                    return Verdict::NoRoom;
                }
                let (bytes, _, end) = owned(line);
                lines.push((bytes, end));
                Verdict::Taken
            };
            let mut rest = &input[..];
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let (part, later) = rest.split_at(rest.len().min(cuts.next().unwrap()));
                rest = later;
                let mut used = 0;
                while used < part.len() {
                    used += splitter.feed(&part[used..], 0, |line| verdict(line, &mut lines));
                }
            }
            while !splitter.finish(|line| verdict(line, &mut lines)) {}
            prop_assert_eq!(lines, expected(&input, most));
        }
    }
}
