//! When a file is rotated and what is removed then: decisions only.

use super::stamp;
use crate::sys::memory;

/// What a writer does next with bytes for a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Write so many of them.
    Write(usize),
    /// Rotate first.
    Rotate,
}

/// When a file is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Bytes in a file, 0 for any number.
    pub(crate) size: u64,
    /// A line may be split between files where a file would become twice as large
    /// otherwise. For bytes that need not be lines.
    pub(crate) tears: bool,
}

impl Limit {
    /// The next step. `size` is the file's, `mid_line` tells that it does not end
    /// in a newline.
    pub(crate) fn next(self, pending: &[u8], size: u64, mid_line: bool) -> Step {
        if self.size == 0 || size + pending.len() as u64 <= self.size {
            return Step::Write(pending.len());
        }
        let room = take(pending, self.size.saturating_sub(size));
        if let Some(last) = memory::find_last(b'\n', room) {
            return Step::Write(last + 1);
        }
        // Not even one line fits.
        if size > 0 && !mid_line {
            return Step::Rotate;
        }
        let hard = if self.tears {
            self.size.saturating_mul(2)
        } else {
            u64::MAX
        };
        if size >= hard {
            return Step::Rotate;
        }
        let room = take(pending, hard - size);
        match memory::find(b'\n', room) {
            Some(first) => Step::Write(first + 1),
            None => Step::Write(room.len()),
        }
    }
}

/// The first bytes, as many as there are and no more than `most`.
fn take(bytes: &[u8], most: u64) -> &[u8] {
    &bytes[..usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len())]
}

/// The time in the name of a rotated file of the log `base`; None for any other
/// file.
pub(crate) fn rotated(base: &[u8], name: &[u8]) -> Option<u64> {
    stamp::parse(name.strip_prefix(base)?.strip_prefix(b".")?)
}

/// The name of a file that is rotated now. It sorts after all others, also where
/// the clock went back.
pub(crate) fn next_time(now: u64, rotated: &[u64]) -> u64 {
    let newest = rotated.iter().copied().max();
    newest.map_or(now, |newest| now.max(newest.saturating_add(1)))
}

/// Sorts the times of the rotated files, and tells how many of the first are too
/// many. `keep` 0 keeps all.
pub(crate) fn surplus(rotated: &mut [u64], keep: u32) -> usize {
    rotated.sort_unstable();
    match keep {
        0 => 0,
        keep => rotated.len().saturating_sub(keep as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(size: u64) -> Limit {
        Limit { size, tears: false }
    }

    #[test]
    fn a_file_takes_the_lines_that_fit() {
        assert_eq!(lines(10).next(b"abc\nabc\nabc\n", 0, false), Step::Write(8));
        assert_eq!(lines(10).next(b"abc\n", 8, false), Step::Rotate);
        assert_eq!(lines(10).next(b"a\n", 8, false), Step::Write(2));
        assert_eq!(lines(0).next(b"abc\n", 1 << 40, false), Step::Write(4));
    }

    #[test]
    fn a_line_is_not_torn() {
        // A line that is too long for any file gets a file for itself.
        assert_eq!(lines(4).next(b"abcdef\nx\n", 0, false), Step::Write(7));
        assert_eq!(lines(4).next(b"abcdef\nx\n", 1, false), Step::Rotate);
        // The rest of a line that has begun goes into the same file.
        assert_eq!(lines(4).next(b"ef\nx\n", 4, true), Step::Write(3));
        assert_eq!(lines(4).next(b"x\n", 7, false), Step::Rotate);
    }

    #[test]
    fn bytes_without_newlines_are_torn_at_last() {
        let raw = Limit {
            size: 4,
            tears: true,
        };
        assert_eq!(raw.next(&[0; 100], 0, false), Step::Write(8));
        assert_eq!(raw.next(&[0; 92], 8, true), Step::Rotate);
    }

    #[test]
    fn names_of_others_are_left_alone() {
        assert_eq!(rotated(b"log", b"log.19700101T000000.000000005Z"), Some(5));
        for name in [
            "log",
            "log.1",
            "log2.19700101T000000.000000005Z",
            "log.19700101T000000.000000005Z.gz",
            "og.19700101T000000.000000005Z",
        ] {
            assert_eq!(rotated(b"log", name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn the_oldest_go() {
        let mut times = [5, 1, 3];
        assert_eq!(surplus(&mut times, 2), 1);
        assert_eq!(times, [1, 3, 5]);
        assert_eq!(surplus(&mut times, 0), 0);
        assert_eq!(surplus(&mut times, 7), 0);
        assert_eq!(next_time(4, &times), 6);
        assert_eq!(next_time(9, &times), 9);
        assert_eq!(next_time(9, &[]), 9);
    }

    /// Writes all of it as a writer would; the files that come of it.
    fn write(limit: Limit, mut pending: &[u8]) -> Vec<Vec<u8>> {
        let mut files = vec![Vec::new()];
        while !pending.is_empty() {
            let file = files.last_mut().unwrap();
            let mid_line = file.last().is_some_and(|&last| last != b'\n');
            match limit.next(pending, file.len() as u64, mid_line) {
                Step::Write(length) => {
                    assert!(length > 0);
                    file.extend_from_slice(&pending[..length]);
                    pending = &pending[length..];
                }
                Step::Rotate => {
                    assert!(!file.is_empty());
                    files.push(Vec::new());
                }
            }
        }
        files
    }

    proptest! {
        #[test]
        fn files_hold_all_bytes_and_whole_lines(
            text in prop::collection::vec(prop_oneof![1 => Just(b'\n'), 6 => Just(b'x')], 0..400),
            size in 1u64..60,
        ) {
            let files = write(lines(size), &text);
            prop_assert_eq!(files.concat(), text);
            let (last, full) = files.split_last().unwrap();
            for file in full {
                prop_assert_eq!(file.last(), Some(&b'\n'));
            }
            for file in full.iter().chain([last]) {
                let lines = file.iter().filter(|&&byte| byte == b'\n').count();
                prop_assert!(file.len() as u64 <= size || lines <= 1);
            }
        }

        #[test]
        fn bytes_fill_no_more_than_two_files(
            text in prop::collection::vec(prop_oneof![1 => Just(b'\n'), 30 => Just(b'x')], 0..400),
            size in 1u64..60,
        ) {
            let files = write(Limit { size, tears: true }, &text);
            prop_assert!(files.iter().all(|file| file.len() as u64 <= 2 * size));
            prop_assert_eq!(files.concat(), text);
        }
    }
}
