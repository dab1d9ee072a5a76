//! Signals to a watched child: never to a stranger.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::id::WatchId;
use super::pidfds::GIVEN_BACK;
use super::process::{Reaper, lock};
use super::table::{Flags, Slot};
use crate::sys::error::Error;
use crate::sys::fd::duplicate;
use crate::sys::pidfd::Reach;
use crate::sys::{pidfd, signal, wait};

/// The lock that also guards the reap is held: while it is, the child's pid is
/// the child's, zombie or not.
pub(crate) fn kill(id: WatchId, signum: i32) -> Result<(), Error> {
    if !signal::is_signal(signum) {
        return Err(Errno::EINVAL.into());
    }
    let mut reaper = lock(id.depth())?;
    let leader = reaper.unreaped(id)?;
    let send = |reaper: &Reaper| {
        let slot = reaper.table.slot(leader);
        reaper.send(slot, signum, Reach::Process)
    };
    match send(&reaper) {
        Err(error) if error == Errno::EBADF => {
            // The daemon has closed it; the child is not reaped, and its pid its own.
            reaper.lose_pidfd(leader);
            send(&reaper)
        }
        sent => sent,
    }
}

/// Other code of the daemon may have reaped the child, whose pid may be a
/// stranger's by now; the pidfd tells. A zombie takes no signal.
fn by_pid(held: BorrowedFd, target: i32, signum: i32) -> Result<(), Error> {
    if !pidfd::has_ended(held) {
        return signal::kill(target, signum);
    }
    if wait::is_child(held) {
        Ok(())
    } else {
        Err(Errno::ESRCH.into())
    }
}

/// A pidfd of the child, the caller's own.
pub(crate) fn pidfd(id: WatchId) -> Result<OwnedFd, Error> {
    let mut reaper = lock(id.depth())?;
    let leader = reaper.unreaped(id)?;
    match reaper.own_pidfd(leader) {
        Err(error) if error == Errno::EMFILE && reaper.give_back(GIVEN_BACK) > 0 => {
            reaper.own_pidfd(leader)
        }
        opened => opened,
    }
}

impl Reaper {
    fn own_pidfd(&self, leader: u32) -> Result<OwnedFd, Error> {
        let slot = self.table.slot(leader);
        match slot.pidfd() {
            Some(held) => duplicate(held.borrow()),
            None if self.remotes.is_reaped(slot.pid) => Err(Errno::ESRCH.into()),
            None => pidfd::open_once(slot.pid),
        }
    }

    /// Sends a signal to the child of this slot, which leads and is not reaped, or to
    /// the process group that this child leads.
    pub(crate) fn send(&self, slot: &Slot, signum: i32, reach: Reach) -> Result<(), Error> {
        let target = match reach {
            Reach::Process => slot.pid,
            Reach::Group => -slot.pid,
        };
        match slot.pidfd() {
            Some(held) => match pidfd::send_as_far(held.borrow(), signum, reach) {
                // A filter may refuse the newer call, and an older kernel knows no groups
                // (EINVAL); where it is the child that may not be signalled, kill(2) says
                // so too.
                Err(error)
                    if matches!(error.errno, Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) =>
                {
                    by_pid(held.borrow(), target, signum)
                }
                sent => sent,
            },
            // It is dead, and a fork server reaps it.
            None if self.remotes.is_reaped(slot.pid) => Ok(()),
            None => signal::kill(target, signum),
        }
    }

    /// The leader of a watch's child, if the child is still to be reaped.
    fn unreaped(&self, id: WatchId) -> Result<u32, Error> {
        let (_, slot) = self.watch(id)?;
        if slot.flags.intersects(Flags::INERT | Flags::ENDED) {
            return Err(Errno::ESRCH.into());
        }
        self.table.find(slot.pid).ok_or(Errno::ESRCH.into())
    }
}
