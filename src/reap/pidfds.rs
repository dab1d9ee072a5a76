//! The second source: pidfds of the old children, edge-triggered in the epoll
//! of the context whose watch leads.

use nix::errno::Errno;

use super::context::Context;
use super::log::{Note, note};
use super::reaper::Reaper;
use super::table::{Flags, NIL, Slot};
use crate::sys::epoll::{Descriptor, Event};
use crate::sys::pidfd::{self, Pidfd};
use crate::sys::wait;

/// What a context's epoll had beside pidfds.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Taken {
    pub(crate) timer: bool,
    wake: bool,
}

impl Reaper {
    /// Gives a young child a pidfd.
    pub(crate) fn make_old(&mut self, leader: u32) -> Result<(), Errno> {
        let slot = *self.table.slot(leader);
        self.ensure_descriptor(slot.context)?;
        let pidfd = match pidfd::open(slot.pid) {
            Ok(pidfd) => Pidfd::from(pidfd),
            // Somebody else reaped it.
            Err(Errno::ESRCH) => {
                self.wait_child(leader);
                return Ok(());
            }
            Err(errno) => return Err(errno),
        };
        if !wait::is_child(pidfd.borrow()) {
            // Reaped by somebody else, and the pid is a stranger's already.
            pidfd.close();
            self.wait_child(leader);
            return Ok(());
        }
        self.adopt_pidfd(leader, pidfd)
    }

    /// Gives a young child this pidfd of its own.
    pub(crate) fn adopt_pidfd(&mut self, leader: u32, pidfd: Pidfd) -> Result<(), Errno> {
        if self.table.slot(leader).is(Flags::OLD) {
            // Another thread registered it meanwhile, and it has one.
            pidfd.close();
            return Ok(());
        }
        if let Err(errno) = self.join(leader, pidfd) {
            self.part(leader, pidfd);
            pidfd.close();
            return Err(errno);
        }
        self.table.make_old(leader, pidfd);
        self.bequeath_pidfd(pidfd);
        Ok(())
    }

    /// Has a pidfd wake whoever watches the child: each context whose descriptor
    /// is polled, and at least that of the watch which leads.
    pub(crate) fn join(&mut self, leader: u32, pidfd: Pidfd) -> Result<(), Errno> {
        let mut at = leader;
        while at != NIL {
            let Slot { context, pid, .. } = *self.table.slot(at);
            if at == leader {
                self.ensure_descriptor(context)?;
            }
            let ctx = self.at(context);
            if let Some(descriptor) = &ctx.descriptor
                && (at == leader || ctx.polled)
            {
                descriptor.add(pidfd.borrow(), pid)?;
            }
            at = self.table.next_watch(at);
        }
        Ok(())
    }

    /// Takes a pidfd out of every epoll that it may be in.
    pub(crate) fn part(&mut self, leader: u32, pidfd: Pidfd) {
        let mut at = leader;
        while at != NIL {
            if let Some(descriptor) = &self.at(self.table.slot(at).context).descriptor {
                descriptor.remove(pidfd.borrow());
            }
            at = self.table.next_watch(at);
        }
    }

    pub(crate) fn ensure_descriptor(&mut self, index: u16) -> Result<(), Errno> {
        if self.at(index).descriptor.is_none() {
            self.at_mut(index).descriptor = Some(Descriptor::new()?);
            self.bequeath_context(index);
        }
        Ok(())
    }

    /// Gives pidfds to those whom the policy says, the oldest first.
    pub(crate) fn promote(&mut self) {
        let mut left = self.policy.promote(self.table.settled());
        if left == 0 {
            return;
        }
        let mut at = self.table.first_young();
        while left > 0 && at != NIL && !self.table.slot(at).is(Flags::FRESH) {
            let next = self.table.next_young(at);
            if let Err(errno) = self.make_old(at) {
                self.no_pidfd(errno);
                self.policy.promoted();
                return;
            }
            self.counts.promoted += 1;
            left -= 1;
            at = next;
        }
        if self.table.settled() == 0 {
            self.policy.promoted();
        }
    }

    /// Gives a pidfd to every young child that a context watches; false where one
    /// got none, as then the others would not either.
    pub(crate) fn promote_all(&mut self, index: u16) -> bool {
        let mut at = self.table.first_young();
        while at != NIL {
            let next = self.table.next_young(at);
            if self.watches(index, at) {
                if let Err(errno) = self.make_old(at) {
                    self.no_pidfd(errno);
                    return false;
                }
                self.counts.promoted += 1;
            }
            at = next;
        }
        true
    }

    fn watches(&self, index: u16, leader: u32) -> bool {
        let mut at = leader;
        while at != NIL && self.table.slot(at).context != index {
            at = self.table.next_watch(at);
        }
        at != NIL
    }

    pub(crate) fn no_pidfd(&mut self, errno: Errno) {
        self.counts.no_pidfd += 1;
        note(Note::NoPidfd(errno as i32));
    }

    /// The watches of an old child are others than before.
    pub(crate) fn rejoin(&mut self, leader: u32) {
        if let Some(pidfd) = self.table.slot(leader).pidfd()
            && let Err(errno) = self.join(leader, pidfd)
        {
            self.no_pidfd(errno);
            self.part(leader, pidfd);
            self.table.make_young(leader);
            self.close_pidfd(pidfd);
        }
    }

    /// Somebody polls for a context from now on: its children's pidfds are to
    /// wake it.
    pub(crate) fn join_all(&mut self, index: u16) {
        for at in 0..self.table.bound() {
            let slot = self.table.slot(at);
            if slot.is(Flags::USED)
                && slot.context == index
                && let Some(leader) = self.table.find(slot.pid)
            {
                self.rejoin(leader);
            }
        }
    }

    /// Takes what a context's epoll has, at most `budget` endings; what else was
    /// among it.
    pub(crate) fn take_pidfds(&mut self, index: u16, budget: u32) -> Taken {
        let mut taken = Taken::default();
        let mut left = budget as usize;
        let mut batch = Descriptor::batch();
        while left > 0 {
            let asked = left.min(batch.len());
            let found = match &self.at(index).descriptor {
                Some(descriptor) => descriptor.take(&mut batch[..asked]),
                None => 0,
            };
            for event in &batch[..found] {
                let Some(descriptor) = &self.at(index).descriptor else {
                    return taken;
                };
                match descriptor.understand(*event) {
                    Event::Timer => taken.timer = true,
                    Event::Wake => taken.wake = true,
                    Event::Watched { task, fd } => self.fd_is_ready(task, fd),
                    // Another context may have been quicker.
                    Event::Pidfd(pid) => {
                        if let Some(leader) = self.table.find(pid) {
                            self.wait_child(leader);
                        }
                    }
                }
            }
            left -= found;
            if found < asked {
                break;
            }
        }
        taken
    }

    /// The same for the contexts whose descriptor nobody polls.
    pub(crate) fn take_unpolled_pidfds(&mut self) {
        self.take_pidfds_where(|ctx| !ctx.polled);
    }

    /// The same for all.
    pub(crate) fn take_all_pidfds(&mut self) {
        self.take_pidfds_where(|_| true);
    }

    fn take_pidfds_where(&mut self, which: impl Fn(&Context) -> bool) {
        if self.table.old() == 0 {
            return;
        }
        for index in 0..self.contexts.len() {
            let ctx = &self.contexts[index];
            if ctx.live && ctx.descriptor.is_some() && which(ctx) {
                #[allow(clippy::cast_possible_truncation)] // contexts are counted in u16
                let index = index as u16;
                let taken = self.take_pidfds(index, u32::MAX);
                // What was not meant for us comes again.
                let ctx = self.at_mut(index);
                if let Some(descriptor) = &ctx.descriptor {
                    if taken.timer {
                        descriptor.arm(1);
                    }
                    if taken.wake {
                        descriptor.wake();
                    }
                }
            }
        }
    }
}
