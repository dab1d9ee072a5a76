//! The one door through which a child is reaped: look, tell, reap.
//!
//! Every wait of the library's that can reap is made here, under the lock. A child that
//! the table holds goes through [`Reaper::wait_child`]: `ask` waits for a change, which
//! reaps a child that has ended, `tell` (in `record`) writes it down for each watch. A
//! child that a watch keeps is looked at with WNOWAIT and told, and reaped when no
//! watch keeps it any more (in `keep`). A wait for any child ([`Reaper::wait_any`])
//! looks the pid up in the table and tells in the same way.

use nix::errno::Errno;

use super::agenda::Debt;
use super::event::Facts;
use super::log::{Note, note};
use super::process::Reaper;
use super::remotes::Word;
use super::status::{Change, classify};
use super::table::{Flags, NIL};
use crate::sys::error::Error;
use crate::sys::pidfd::{Exit, Pidfd};
use crate::sys::signal;
use crate::sys::usage::Usage;

/// How often a status that is on its way to a pidfd is asked for, before it is left for
/// later. The processor is yielded after each try.
const PATIENCE: u32 = 64;
/// How much later it is asked for again, in nanoseconds: an event of the pidfd
/// reaches nobody where no loop polls its epoll.
const RETRY: u64 = 1_000_000;

impl Reaper {
    /// Waits for one child, until it has nothing new to say; whether it ended.
    pub(crate) fn wait_child(&mut self, leader: u32) -> bool {
        while let Some((change, facts)) = self.ask(leader) {
            if self.tell(leader, change, facts) {
                return true;
            }
        }
        false
    }

    /// The next change of a child, if there is one.
    #[inline(always)]
    fn ask(&mut self, leader: u32) -> Option<(Change, Facts)> {
        let slot = *self.table.slot(leader);
        if slot.is(Flags::ZOMBIE) {
            return None;
        }
        if self.keeps(leader) {
            return self.ask_kept(leader);
        }
        let usage = self.wants_usage(leader);
        if let Some(pidfd) = slot.pidfd() {
            match self.kernel.reap(pidfd, usage) {
                Ok(found) => return found.map(|found| self.reaped(found)),
                Err(error) if error == Errno::ECHILD => return self.recover(slot.pid, pidfd),
                // No pidfd any more.
                Err(_) => self.lose_pidfd(leader),
            }
        }
        match self.wait_pid(slot.pid, self.options(leader), usage) {
            Ok(found) => found.map(|(_, status, usage)| self.reaped((status, usage))),
            Err(error) if error == Errno::ECHILD => self.ask_elsewhere(slot.pid),
            Err(_) => None,
        }
    }

    /// What is known of a child that is not ours to wait for. None where a fork server
    /// will tell.
    #[cold]
    fn ask_elsewhere(&mut self, pid: i32) -> Option<(Change, Facts)> {
        match self.remotes.take(pid, self.kernel.now()) {
            Word::Status(status) => {
                self.counts.recovered += 1;
                Some((classify(status), Facts::RECOVERED))
            }
            Word::Later => None,
            Word::Never => Some(self.lost(pid)),
        }
    }

    /// The same for a child that is kept: its end is looked at with WNOWAIT, so that it stays
    /// a zombie. Its stops are waited for, because a look would return the same stop over and
    /// over.
    #[cold]
    #[inline(never)]
    fn ask_kept(&mut self, leader: u32) -> Option<(Change, Facts)> {
        let slot = *self.table.slot(leader);
        let options = self.options(leader);
        if options != 0 {
            if let Ok(Some(status)) = self.kernel.jobs(slot.pid, options) {
                return Some(self.reaped((status, None)));
            }
        }
        let kept = |(status, usage)| {
            let facts = Facts {
                kept: true,
                ..Facts::used(usage)
            };
            (classify(status), facts)
        };
        match (self.kernel.look(slot.pid, slot.pidfd()), slot.pidfd()) {
            (Ok(found), _) => found.map(kept),
            (Err(error), Some(pidfd)) if error == Errno::ECHILD => self.recover(slot.pid, pidfd),
            // Only __WALL sees one that sends no SIGCHLD.
            (Err(error), None) if error == Errno::ECHILD => {
                match self.kernel.look_at_mute(slot.pid) {
                    Ok(found) => {
                        self.hear_nothing_of_one();
                        found.map(kept)
                    }
                    Err(_) => self.ask_elsewhere(slot.pid),
                }
            }
            (Err(_), Some(_)) => {
                self.lose_pidfd(leader);
                self.ask_kept(leader)
            }
            (Err(_), None) => None,
        }
    }

    fn lost(&mut self, pid: i32) -> (Change, Facts) {
        self.counts.lost += 1;
        note(Note::Lost(pid));
        (Change::Lost, Facts::LOST)
    }

    /// Waits for a child of this pid; also one that sends no SIGCHLD, which only __WALL
    /// finds.
    pub(crate) fn wait_pid(
        &mut self,
        pid: i32,
        options: i32,
        usage: bool,
    ) -> Result<Option<(i32, i32, Option<Usage>)>, Error> {
        let found = self.kernel.wait(pid, options, usage);
        if found.as_ref().err() != Some(&Errno::ECHILD.into()) {
            return found;
        }
        let found = self.kernel.wait(pid, options | libc::__WALL, usage);
        if found.is_ok() {
            self.hear_nothing_of_one();
        }
        found
    }

    /// Waits for a child that is being registered. Where this fails it may be no child of
    /// ours, or one that needs a pidfd: the caller finds out.
    pub(crate) fn wait_new(
        &self,
        pid: i32,
        options: i32,
        usage: bool,
    ) -> Result<Option<(i32, i32, Option<Usage>)>, Error> {
        self.kernel.wait(pid, options, usage)
    }

    /// A child sends no SIGCHLD, and no pidfd tells of it: has it looked at from time to time.
    fn hear_nothing_of_one(&mut self) {
        if !std::mem::replace(&mut self.mute, true) {
            self.owe_unheard();
        }
    }

    /// A child has no pidfd any more, or got none: makes sure that its end is still
    /// found.
    pub(crate) fn hear_without_pidfd(&mut self, leader: u32) {
        self.unheard(leader);
        let pid = self.table.slot(leader).pid;
        if self.kernel.look(pid, None).is_err() && self.kernel.is_child(pid) {
            self.hear_nothing_of_one();
        }
    }

    /// Waits for any child: its pid, its raw status, and what it has used where
    /// anybody wants to know.
    pub(crate) fn wait_any(
        &self,
        options: i32,
    ) -> Result<Option<(i32, i32, Option<Usage>)>, Error> {
        self.kernel.wait(-1, options, self.may_want_usage())
    }

    /// Waits for one that nobody registered, which `owner` is told of; whether there
    /// was something to say.
    pub(crate) fn wait_unknown(&mut self, owner: u16, pid: i32, options: i32) -> bool {
        let found = self.kernel.wait(pid, options, false);
        let Ok(Some((pid, status, _))) = found else {
            return false;
        };
        self.found_unknown(owner, pid, status);
        true
    }

    /// The same for one that nobody is told of.
    pub(crate) fn reap_unknown(&mut self, pid: i32) {
        if self.table.find(pid).is_none() {
            if let Ok(Some(_)) = self.kernel.wait(pid, 0, false) {
                self.counts.reaped += 1;
                self.counts.unknown += 1;
            }
        }
    }

    /// Waits for a zombie that was kept.
    pub(crate) fn reap_kept(&mut self, leader: u32) {
        let slot = *self.table.slot(leader);
        let reaped = match slot.pidfd().map(|pidfd| self.kernel.reap(pidfd, false)) {
            Some(Ok(found)) => found.is_some(),
            Some(Err(error)) if error == Errno::ECHILD => false,
            // No pidfd any more, or none before.
            _ => matches!(self.wait_pid(slot.pid, 0, false), Ok(Some(_))),
        };
        self.counts.reaped += u64::from(reaped);
    }

    /// Kills and reaps a child that nobody is to be told of; false while it is still
    /// dying. A walk may have reaped it meanwhile.
    pub(crate) fn put_down(&mut self, pid: i32) -> bool {
        let now = self.kernel.now();
        if self.parked.claim(pid, now).is_some() {
            return true;
        }
        let living = self.kernel.wait(pid, libc::__WALL, false) == Ok(None);
        if living {
            // Its pid is its own, as nobody waits for it without the lock.
            let _ = signal::kill(pid, libc::SIGKILL);
        }
        !living
    }

    fn reaped(&mut self, (status, usage): (i32, Option<Usage>)) -> (Change, Facts) {
        self.counts.reaped += 1;
        (classify(status), Facts::used(usage))
    }

    /// The status of a child that other code reaped and whose pidfd we hold; it comes from
    /// the pidfd or from a fork server. None if it is not known yet: then it is asked for
    /// again later.
    fn recover(&mut self, pid: i32, pidfd: Pidfd) -> Option<(Change, Facts)> {
        for _ in 0..PATIENCE {
            match self.kernel.exit_status(pidfd) {
                Exit::Known(status) => {
                    self.counts.recovered += 1;
                    note(Note::Recovered(pid));
                    return Some((classify(status), Facts::RECOVERED));
                }
                Exit::Unknown => match self.ask_elsewhere(pid) {
                    None => break,
                    told => return told,
                },
                Exit::InFlight => self.kernel.yield_now(),
            }
        }
        let now = self.kernel.now();
        self.agenda.owe(Debt::Pidfds, now + RETRY);
        None
    }

    /// The options of a wait for one child: what its watches ask for.
    pub(crate) fn options(&self, leader: u32) -> i32 {
        let mut options = 0;
        let mut at = leader;
        while at != NIL {
            let slot = self.table.slot(at);
            if slot.sink.rich().is_some() {
                options |= self.rich_options(slot.sink);
            } else if !slot.is(Flags::ABANDONED) {
                options |= self.at(slot.context).params.options;
            }
            at = self.table.next_watch(at);
        }
        options
    }

    /// Tells of an old child's stops and continues, which its pidfd does not, and
    /// of its end too if the wait happens to return it.
    pub(crate) fn look_for_stops(&mut self, leader: u32) {
        if self.keeps(leader) || self.table.slot(leader).is(Flags::ZOMBIE) {
            self.wait_child(leader);
            return;
        }
        let options = self.options(leader);
        let pid = self.table.slot(leader).pid;
        let usage = self.wants_usage(leader);
        if options == 0 {
            return;
        }
        loop {
            let Ok(Some((_, status, usage))) = self.kernel.wait(pid, options, usage) else {
                return;
            };
            let (change, facts) = self.reaped((status, usage));
            if self.tell(leader, change, facts) {
                return;
            }
        }
    }
}
