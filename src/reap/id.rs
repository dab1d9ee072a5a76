//! 64-bit ids: a number is never given to a second watch of the process.
//!
//! An id holds a slot's index, the slot's generation, and how many forks led to this
//! process, so that a handle of its parent is recognized.

const INDEX_BITS: u32 = 24;
const GENERATION_BITS: u32 = 27;
const DEPTH_BITS: u32 = 12;

/// The most slots there can be: Linux has 2^22 pids at most.
pub(crate) const MAX_SLOTS: u32 = 1 << INDEX_BITS;
/// A slot that used up its generations is not used again.
pub(crate) const MAX_GENERATION: u32 = (1 << GENERATION_BITS) - 1;

/// The id of a watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WatchId(u64);

impl WatchId {
    /// No watch: generations begin with 1.
    pub(crate) const NONE: WatchId = WatchId(0);

    pub(crate) fn new(index: u32, generation: u32, depth: u32) -> Self {
        debug_assert!(index < MAX_SLOTS && (1..=MAX_GENERATION).contains(&generation));
        let depth = u64::from(depth) & ((1 << DEPTH_BITS) - 1);
        WatchId(
            1 | u64::from(index) << 1
                | u64::from(generation) << (1 + INDEX_BITS)
                | depth << (1 + INDEX_BITS + GENERATION_BITS),
        )
    }

    /// The number as C sees it: odd, so that it is never an object's address.
    pub(crate) fn tagged(self) -> u64 {
        self.0
    }

    pub(crate) fn from_tagged(number: u64) -> Option<Self> {
        (number & 1 == 1).then_some(WatchId(number))
    }

    #[allow(clippy::cast_possible_truncation)] // masked
    pub(crate) fn index(self) -> u32 {
        (self.0 >> 1) as u32 & (MAX_SLOTS - 1)
    }

    #[allow(clippy::cast_possible_truncation)] // masked
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> (1 + INDEX_BITS)) as u32 & MAX_GENERATION
    }

    #[allow(clippy::cast_possible_truncation)] // 12 bits are left
    pub(crate) fn depth(self) -> u32 {
        (self.0 >> (1 + INDEX_BITS + GENERATION_BITS)) as u32
    }
}

/// The id of a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ContextId {
    pub(crate) index: u16,
    pub(crate) generation: u32,
    pub(crate) depth: u32,
}

impl ContextId {
    /// No context: generations begin with 1.
    pub(crate) const NONE: ContextId = ContextId {
        index: 0,
        generation: 0,
        depth: 0,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_holds_its_parts(
            index in 0..MAX_SLOTS,
            generation in 1..=MAX_GENERATION,
            depth in 0u32..1 << DEPTH_BITS,
        ) {
            let id = WatchId::new(index, generation, depth);
            prop_assert_eq!((id.index(), id.generation(), id.depth()), (index, generation, depth));
            prop_assert_eq!(WatchId::from_tagged(id.tagged()), Some(id));
        }
    }
}
