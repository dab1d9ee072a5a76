//! The second source: pidfds of the old children, edge-triggered in the epoll
//! of the context whose watch leads.

use nix::errno::Errno;

use super::log::{Note, note};
use super::reaper::Reaper;
use super::table::{Flags, NIL};
use crate::sys::epoll::{BATCH, Descriptor, Event};
use crate::sys::pidfd::{self, Pidfd};
use crate::sys::wait;

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

    /// Joins a child's pidfd to its context's epoll.
    pub(crate) fn adopt_pidfd(&mut self, leader: u32, pidfd: Pidfd) -> Result<(), Errno> {
        if let Err(errno) = self.join(leader, pidfd) {
            pidfd.close();
            return Err(errno);
        }
        self.table.make_old(leader, pidfd);
        Ok(())
    }

    fn join(&mut self, leader: u32, pidfd: Pidfd) -> Result<(), Errno> {
        let home = self.table.slot(leader).context;
        self.ensure_descriptor(home)?;
        match &self.at(home).descriptor {
            Some(descriptor) => descriptor.add(pidfd.borrow(), leader),
            None => Err(Errno::EBADF),
        }
    }

    pub(crate) fn ensure_descriptor(&mut self, index: u16) -> Result<(), Errno> {
        if self.at(index).descriptor.is_none() {
            self.at_mut(index).descriptor = Some(Descriptor::new()?);
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

    /// Gives a pidfd to every young child of one context; false where one got
    /// none, as then the others would not either.
    pub(crate) fn promote_all(&mut self, index: u16) -> bool {
        let mut at = self.table.first_young();
        while at != NIL {
            let next = self.table.next_young(at);
            if self.table.slot(at).context == index {
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

    pub(crate) fn no_pidfd(&mut self, errno: Errno) {
        self.counts.no_pidfd += 1;
        note(Note::NoPidfd(errno as i32));
    }

    /// Moves a child's pidfd to the context whose watch leads now.
    pub(crate) fn rehome(&mut self, from: u16, leader: u32) {
        let slot = *self.table.slot(leader);
        let Some(pidfd) = slot.pidfd() else {
            return;
        };
        if let Some(descriptor) = &self.at(from).descriptor {
            descriptor.remove(pidfd.borrow());
        }
        if let Err(errno) = self.join(leader, pidfd) {
            self.no_pidfd(errno);
            if let Some(pidfd) = self.table.make_young(leader) {
                pidfd.close();
            }
        }
    }

    /// Takes what a context's epoll has, at most `budget` endings; whether the
    /// timer was among it.
    pub(crate) fn take_pidfds(&mut self, index: u16, budget: u32) -> bool {
        let mut timer = false;
        let mut left = budget as usize;
        while left > 0 {
            let mut events = [Event::Wake; BATCH];
            let mut count = 0;
            let asked = left.min(BATCH);
            let Some(descriptor) = &self.at(index).descriptor else {
                return timer;
            };
            let found = descriptor.take(asked, |event| {
                events[count] = event;
                count += 1;
            });
            for event in &events[..count] {
                match *event {
                    Event::Timer => timer = true,
                    Event::Wake => {}
                    // One batch may end two watches of one slot's neighbours;
                    // a slot that is no old child's any more is passed over.
                    Event::Pidfd(leader) => {
                        if leader < self.table.bound()
                            && self.table.slot(leader).is(Flags::LEADS | Flags::OLD)
                        {
                            self.wait_child(leader);
                        }
                    }
                }
            }
            left -= count.min(left);
            if found < asked {
                break;
            }
        }
        timer
    }

    /// The same for the contexts whose descriptor nobody polls.
    pub(crate) fn take_unpolled_pidfds(&mut self) {
        if self.table.old() == 0 {
            return;
        }
        for index in 0..self.contexts.len() {
            let ctx = &self.contexts[index];
            if ctx.live && !ctx.polled && ctx.descriptor.is_some() {
                #[allow(clippy::cast_possible_truncation)] // contexts are counted in u16
                self.take_pidfds(index as u16, u32::MAX);
            }
        }
    }
}
