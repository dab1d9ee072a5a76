//! The descriptor map as a sequence of dup and close: pure.

use std::os::fd::RawFd;

use crate::sys::bits::ToUnsigned;

/// One entry of the map: the child has the caller's `source` as `target`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct FdMap {
    pub(crate) source: RawFd,
    pub(crate) target: RawFd,
}

impl FdMap {
    pub(crate) fn new(source: RawFd, target: RawFd) -> Self {
        FdMap { source, target }
    }
}

/// One step towards the child's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FdOp {
    /// dup3(2).
    Dup {
        from: RawFd,
        to: RawFd,
        cloexec: bool,
    },
    /// Keep it open over the exec.
    Inherit(RawFd),
    /// Close these and all between.
    Close { first: u32, last: u32 },
}

/// What the child does to its descriptors.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The first descriptor that nothing in the plan needs: this and all above
    /// are closed, and never copied, when the child parts from the parent's table.
    pub(crate) close_from: u32,
    pub(crate) ops: Vec<FdOp>,
    /// Where each of the kept descriptors is in the end.
    pub(crate) kept: Vec<RawFd>,
}

/// The descriptors that a child without a map gets from its parent.
const STANDARD: std::ops::Range<RawFd> = 0..3;

/// A pending dup, and how many pending dups still read what is at `to`.
#[derive(Clone, Copy, Debug)]
struct Move {
    from: RawFd,
    to: RawFd,
    cloexec: bool,
    readers: u32,
    done: bool,
}

/// Plans the map. The sources and `keep`, descriptors for the child's own use
/// up to its exec, are not negative, and no target comes twice. `needed` must
/// stay open until the first op.
pub(crate) fn plan(map: Option<&[FdMap]>, keep: &[RawFd], needed: &[RawFd]) -> Result<Plan, i32> {
    let entries = map.unwrap_or_default();
    let mut busy = vec_with(entries.len() * 2 + keep.len() + STANDARD.len())?;
    busy.extend(
        entries
            .iter()
            .flat_map(|entry| [entry.source, entry.target]),
    );
    busy.extend_from_slice(keep);
    if map.is_none() {
        busy.extend(STANDARD);
    }
    busy.sort_unstable();
    let mut free = (0..).filter(|fd| busy.binary_search(fd).is_err());

    let mut targets = vec_with(entries.len() + keep.len() + STANDARD.len())?;
    targets.extend(entries.iter().map(|entry| entry.target));
    targets.sort_unstable();
    let mut kept = vec_with(keep.len())?;
    for &fd in keep {
        let displaced = targets.binary_search(&fd).is_ok();
        kept.extend(if displaced { free.next() } else { Some(fd) });
    }

    let mut ops = vec_with(2 * (entries.len() + keep.len()) + targets.capacity() + 2)?;
    let mut moves = vec_with(entries.len() + keep.len())?;
    for entry in entries {
        if entry.source == entry.target {
            ops.push(FdOp::Inherit(entry.target));
        } else {
            moves.push(pending(entry.source, entry.target, false));
        }
    }
    for (&from, &to) in keep.iter().zip(&kept) {
        if from != to {
            moves.push(pending(from, to, true));
        }
    }
    let scratch = free.next().unwrap_or(RawFd::MAX);
    let used_scratch = order(moves, scratch, &mut ops)?;

    let highest_read = entries
        .iter()
        .map(|entry| entry.source)
        .chain(keep.iter().copied())
        .chain(needed.iter().copied())
        .chain(map.is_none().then_some(STANDARD.end - 1))
        .max()
        .unwrap_or(-1);
    let highest_open = kept
        .iter()
        .copied()
        .chain(used_scratch.then_some(scratch))
        .fold(highest_read, RawFd::max);

    let mut wanted = targets;
    wanted.extend_from_slice(&kept);
    if map.is_none() {
        wanted.extend(STANDARD);
    }
    wanted.sort_unstable();
    close_gaps(&wanted, highest_open, &mut ops);
    Ok(Plan {
        close_from: highest_read.to_unsigned().wrapping_add(1),
        ops,
        kept,
    })
}

fn pending(from: RawFd, to: RawFd, cloexec: bool) -> Move {
    Move {
        from,
        to,
        cloexec,
        readers: 0,
        done: false,
    }
}

/// Orders the moves so that nothing is overwritten before it was read. When each target
/// that is left is still to be read, only rings are left. Each is opened by moving one
/// descriptor out of the way, to `scratch`. Returns whether `scratch` was used.
fn order(mut moves: Vec<Move>, scratch: RawFd, ops: &mut Vec<FdOp>) -> Result<bool, i32> {
    // As numbers, which are sorted elsewhere too: the code for another type takes 3,000 bytes.
    let mut keys = vec_with(moves.len())?;
    keys.extend(
        (0..)
            .zip(&moves)
            .map(|(at, m)| u64::from(m.to.to_unsigned()) << 32 | at),
    );
    keys.sort_unstable();
    let mut sorted = vec_with(moves.len())?;
    sorted.extend(keys.iter().map(|key| moves[(key & 0xffff_ffff) as usize]));
    moves = sorted;
    let find = |moves: &[Move], to: RawFd| moves.binary_search_by_key(&to, |m| m.to).ok();
    for reader in 0..moves.len() {
        if let Some(read) = find(&moves, moves[reader].from) {
            moves[read].readers += 1;
        }
    }
    let mut ready = vec_with(moves.len())?;
    ready.extend((0..moves.len()).filter(|&at| moves[at].readers == 0));
    let mut used_scratch = false;
    for start in 0..moves.len() {
        // This also takes what the chains that end in a ring have freed.
        drain(&mut moves, &mut ready, ops, &find);
        if moves[start].done {
            continue;
        }
        break_ring(&mut moves, start, scratch, ops, &find);
        used_scratch = true;
        ready.push(start);
    }
    drain(&mut moves, &mut ready, ops, &find);
    Ok(used_scratch)
}

fn drain(
    moves: &mut [Move],
    ready: &mut Vec<usize>,
    ops: &mut Vec<FdOp>,
    find: &impl Fn(&[Move], RawFd) -> Option<usize>,
) {
    while let Some(at) = ready.pop() {
        let &mut Move {
            from,
            to,
            cloexec,
            ref mut done,
            ..
        } = &mut moves[at];
        *done = true;
        ops.push(FdOp::Dup { from, to, cloexec });
        let Some(read) = find(moves, from) else {
            continue;
        };
        moves[read].readers -= 1;
        if moves[read].readers == 0 && !moves[read].done {
            ready.push(read);
        }
    }
}

/// Copies what `start` is about to overwrite, and lets its one reader read the
/// copy.
fn break_ring(
    moves: &mut [Move],
    start: usize,
    scratch: RawFd,
    ops: &mut Vec<FdOp>,
    find: &impl Fn(&[Move], RawFd) -> Option<usize>,
) {
    let overwritten = moves[start].to;
    ops.push(FdOp::Dup {
        from: overwritten,
        to: scratch,
        cloexec: true,
    });
    let mut at = start;
    while moves[at].from != overwritten {
        // Goes round the ring: finds the move that writes what this one reads.
        match find(moves, moves[at].from) {
            Some(writer) => at = writer,
            None => return,
        }
    }
    moves[at].from = scratch;
    moves[start].readers = 0;
}

/// Closes all numbers up to `highest` that are not `wanted`, which is sorted.
fn close_gaps(wanted: &[RawFd], highest: RawFd, ops: &mut Vec<FdOp>) {
    let mut first = 0;
    for &fd in wanted.iter().take_while(|&&fd| fd <= highest) {
        if first < fd {
            ops.push(close(first, fd - 1));
        }
        first = fd + 1;
    }
    if first <= highest {
        ops.push(close(first, highest));
    }
}

fn close(first: RawFd, last: RawFd) -> FdOp {
    FdOp::Close {
        first: first.to_unsigned(),
        last: last.to_unsigned(),
    }
}

fn vec_with<T>(capacity: usize) -> Result<Vec<T>, i32> {
    let mut vec = Vec::new();
    vec.try_reserve(capacity).map_err(|_| libc::ENOMEM)?;
    Ok(vec)
}
