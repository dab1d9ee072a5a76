//! What a forked child can know of its parent's contexts. The reaper itself is wiped in
//! the child ([`crate::sys::wiped`]). This tells how to make the contexts anew, and which
//! descriptors to close.

use std::collections::TryReserveError;
use std::os::fd::RawFd;

use super::id::ContextId;
use super::subscriber::Params;
use crate::sys::epoll::{Descriptor, are_together};
use crate::sys::pidfd::Pidfd;
use crate::sys::wait;

#[derive(Debug)]
pub(crate) struct Inheritance {
    /// By index.
    contexts: Vec<Option<Inherited>>,
    /// A bit for each pidfd, by its number. Set after it was opened, cleared
    /// before it is closed: a child may find too few here, never a stranger's.
    pidfds: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Inherited {
    pub(crate) generation: u32,
    pub(crate) params: Params,
    pub(crate) descriptor: Option<[RawFd; Descriptor::FDS]>,
}

impl Inheritance {
    pub(crate) const fn new() -> Self {
        Inheritance {
            contexts: Vec::new(),
            pidfds: Vec::new(),
        }
    }

    /// Makes room for the context of this index, the next one at most.
    pub(crate) fn reserve(&mut self, index: usize) -> Result<(), TryReserveError> {
        if self.contexts.len() <= index {
            self.contexts.try_reserve(1)?;
            self.contexts.push(None);
        }
        Ok(())
    }

    pub(crate) fn set(&mut self, index: u16, context: Option<Inherited>) {
        self.contexts[usize::from(index)] = context;
    }

    /// What the parent's context was made of, if it was live.
    pub(crate) fn params(&self, id: ContextId) -> Option<Params> {
        self.contexts
            .get(usize::from(id.index))
            .copied()
            .flatten()
            .filter(|context| context.generation == id.generation)
            .map(|context| context.params)
    }

    pub(crate) fn add_pidfd(&mut self, pidfd: Pidfd) {
        let (word, bit) = place(pidfd);
        // Without memory a child keeps one descriptor more.
        while self.pidfds.len() <= word && self.pidfds.try_reserve(1).is_ok() {
            self.pidfds.push(0);
        }
        if let Some(word) = self.pidfds.get_mut(word) {
            *word |= bit;
        }
    }

    pub(crate) fn remove_pidfd(&mut self, pidfd: Pidfd) {
        let (word, bit) = place(pidfd);
        if let Some(word) = self.pidfds.get_mut(word) {
            *word &= !bit;
        }
    }

    /// In the child, before it has descriptors of its own, which may get the same numbers:
    /// forgets those that it has closed.
    pub(crate) fn part(&mut self) {
        for context in self.contexts.iter_mut().flatten() {
            context.descriptor = context.descriptor.filter(|&fds| are_together(fds));
        }
    }

    /// In the child: closes its copies of a context's descriptors, and of all
    /// pidfds, which are of no use to it. Nothing is taken out of an epoll that
    /// the parent still uses.
    pub(crate) fn close(&mut self, id: ContextId) {
        if self.params(id).is_none() {
            return;
        }
        for (word, bits) in (0u32..).zip(&mut self.pidfds) {
            while *bits != 0 {
                let pidfd = Pidfd::from_bits(word * u64::BITS + bits.trailing_zeros());
                // Any other answer means that the child has closed it, and the number may
                // be another file's: no pidfd, or one of a child of its own.
                if wait::holds_child(pidfd.borrow()) == Ok(false) {
                    pidfd.close();
                }
                *bits &= *bits - 1;
            }
        }
        if let Some(Inherited {
            descriptor: Some(fds),
            ..
        }) = self.contexts[usize::from(id.index)].take()
        {
            Descriptor::close_inherited(fds);
        }
    }
}

fn place(pidfd: Pidfd) -> (usize, u64) {
    let fd = pidfd.to_bits();
    ((fd / u64::BITS) as usize, 1 << (fd % u64::BITS))
}
