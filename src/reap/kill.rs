//! Signals to a watched child: never to a stranger.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::id::WatchId;
use super::reaper::{Reaper, lock};
use super::table::{Flags, Slot};
use crate::sys::{pidfd, signal, wait};

/// The lock that also guards the reap is held: while it is, the child's pid is
/// the child's, zombie or not.
pub(crate) fn kill(id: WatchId, signum: i32) -> Result<(), Errno> {
    if !signal::is_signal(signum) {
        return Err(Errno::EINVAL);
    }
    let reaper = lock(id.depth())?;
    let leader = reaper.unreaped(id)?;
    reaper.send(reaper.table.slot(leader), signum)
}

/// Other code of the daemon may have reaped the child, whose pid may be a
/// stranger's by now; the pidfd tells. A zombie takes no signal.
fn by_pid(held: BorrowedFd, pid: i32, signum: i32) -> Result<(), Errno> {
    if !pidfd::has_ended(held) {
        return signal::kill(pid, signum);
    }
    if wait::is_child(held) {
        Ok(())
    } else {
        Err(Errno::ESRCH)
    }
}

/// A pidfd of the child, the caller's own.
pub(crate) fn pidfd(id: WatchId) -> Result<OwnedFd, Errno> {
    let reaper = lock(id.depth())?;
    let leader = reaper.unreaped(id)?;
    let slot = reaper.table.slot(leader);
    match slot.pidfd() {
        Some(held) => held
            .borrow()
            .try_clone_to_owned()
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EMFILE))),
        None => pidfd::open(slot.pid),
    }
}

impl Reaper {
    /// Sends a signal to the child of this slot, which leads and is not reaped.
    pub(crate) fn send(&self, slot: &Slot, signum: i32) -> Result<(), Errno> {
        match slot.pidfd() {
            Some(held) => match pidfd::send_signal(held.borrow(), signum) {
                // A filter may refuse the newer call; where it is the child that may
                // not be signalled, kill(2) says so too.
                Err(Errno::ENOSYS | Errno::EPERM) => by_pid(held.borrow(), slot.pid, signum),
                sent => sent,
            },
            None => signal::kill(slot.pid, signum),
        }
    }

    /// The leader of a watch's child, if the child is still to be reaped.
    fn unreaped(&self, id: WatchId) -> Result<u32, Errno> {
        let (_, slot) = self.watch(id)?;
        if slot.flags.intersects(Flags::INERT | Flags::ENDED) {
            return Err(Errno::ESRCH);
        }
        self.table.find(slot.pid).ok_or(Errno::ESRCH)
    }
}
