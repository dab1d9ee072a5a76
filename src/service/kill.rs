//! Signalling a whole service, and ending it whole.
//!
//! A tree that forks while it is walked is never seen whole in one look. So each new
//! member is stopped first, until a look finds no new one, and then all are killed; what
//! was started in between is found by the next round, as a subreaper catches every
//! orphan. A process that has got SIGKILL forks no more, though it may take some time to
//! end.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::ledger::{Identity, Key, State};
use super::tracker::{ServiceId, Tracker, identity, with};
use crate::reap::orphan;
use crate::sys::error::{Error, unless_short};
use crate::sys::{clock, pidfd, procfs, signal, wait};

/// How long a kill goes on while new processes come, in nanoseconds.
const LONGEST: u64 = 5_000_000_000;
/// How long those that were killed are waited for, in nanoseconds: in one round, and in
/// all. The end of one that takes longer is told when it comes.
const PATIENCE: u64 = 20_000_000;
const WHOLE_PATIENCE: u64 = 200_000_000;

/// A member, as a rule or the daemon looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    pub(crate) uid: u32,
    /// Of another user and in another session than the service's main process, or
    /// a parent of one that is.
    pub(crate) login: bool,
}

/// What became of the members.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) signalled: u32,
    pub(crate) spared: u32,
    /// May not be signalled: EPERM.
    pub(crate) refused: u32,
    /// Alive at the end, and neither spared nor refused.
    pub(crate) left: u32,
    pub(crate) rounds: u32,
    pub(crate) by_cgroup: bool,
}

/// One that a kill holds.
struct Target {
    pid: i32,
    pidfd: Option<OwnedFd>,
    identity: Option<Identity>,
    refused: bool,
    /// It has got SIGKILL.
    killed: bool,
}

impl Target {
    /// Holds a member, if it is still the process that the ledger knows; by a pidfd where
    /// there is one to spare.
    fn hold(pid: i32, known: Option<Identity>, spare: bool) -> Result<Option<Self>, Error> {
        let pidfd = if spare { pidfd::open(pid).ok() } else { None };
        let now = identity(pid)?;
        let same = match known {
            Some(known) => now == Some(known),
            None => wait::is_child_pid(pid),
        };
        Ok((same && now.is_some()).then_some(Target {
            pid,
            pidfd,
            identity: now,
            refused: false,
            killed: false,
        }))
    }

    fn send(&self, signum: i32) -> Result<(), Error> {
        if let Some(pidfd) = &self.pidfd {
            return pidfd::send_signal(pidfd.as_fd(), signum);
        }
        // No pidfd could be had or spared: the signal goes to the pid, after a check just
        // before it that this is still the same process.
        let now = pidfd::open(self.pid);
        if identity(self.pid)? != self.identity {
            return Err(Errno::ESRCH.into());
        }
        match now {
            Ok(pidfd) => pidfd::send_signal(pidfd.as_fd(), signum),
            Err(_) => signal::kill(self.pid, signum),
        }
    }

    fn lives(&self) -> bool {
        match procfs::stat(self.pid) {
            Ok(stat) => {
                let now = identity(self.pid);
                !stat.is_dead() && now.map_or(true, |now| now == self.identity)
            }
            Err(error) => error.is_shortage(),
        }
    }

    fn await_end(&self, until: u64) {
        loop {
            let left = until.saturating_sub(clock::now()).div_ceil(1_000_000);
            let left = u16::try_from(left).unwrap_or(u16::MAX);
            if left == 0 {
                return;
            }
            if let Some(pidfd) = &self.pidfd {
                let mut waiting = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
                if poll(&mut waiting, PollTimeout::from(left)) != Err(Errno::EINTR) {
                    return;
                }
            } else if self.lives() {
                let _ = poll(&mut [], PollTimeout::from(1_u16));
            } else {
                return;
            }
        }
    }
}

/// How many members live that are not spared; zombies are not counted. Looks by itself,
/// without the loop. At least one where it is not certain that nobody is left.
pub(crate) fn remaining(id: ServiceId, spare: impl Fn(&Member) -> bool) -> Result<usize, Error> {
    with(id, |tracker, key| {
        let (members, _) = members(tracker, key)?;
        let count = members.iter().filter(|(member, _)| !spare(member)).count();
        if count > 0 {
            return Ok(count);
        }
        // A parent may have died between the look and the walk, and left a child that
        // neither saw: nobody is left only if another look finds nobody new.
        Ok(usize::from(tracker.look_for_new().unwrap_or(true)))
    })
}

/// What another process needs to watch the service's cgroup and to kill it:
/// cgroup.events and cgroup.kill. ENOTSUP where it has none.
pub(crate) fn handles(id: ServiceId) -> Result<(OwnedFd, OwnedFd), Error> {
    with(id, |tracker, key| {
        let cgroup = tracker.cgroup(key).ok_or(Errno::ENOTSUP)?;
        Ok((cgroup.open_events()?, cgroup.open_kill()?))
    })
}

/// Sends a signal to all members but those that are spared. SIGKILL goes on until
/// none is left.
pub(crate) fn kill(
    id: ServiceId,
    signum: i32,
    spare: &mut dyn FnMut(&Member) -> bool,
    may_spare: bool,
) -> Result<Outcome, Error> {
    if !(1..=64).contains(&signum) {
        return Err(Errno::EINVAL.into());
    }
    let mut round = Round {
        id,
        outcome: Outcome::default(),
        targets: Vec::new(),
        spared: Vec::new(),
        arrivals: 0,
        short: None,
        // A rule is asked before anything is done to a process.
        stop_at_once: signum == libc::SIGKILL && !may_spare,
    };
    if signum != libc::SIGKILL {
        round.collect(spare)?;
        round.send_new(0, signum, true);
        round.outcome.rounds = 1;
        return round.short.map_or(Ok(round.outcome), Err);
    }
    if !may_spare {
        let killed = with(id, |tracker, key| match tracker.cgroup(key) {
            Some(cgroup) => cgroup.kill(),
            None => Err(Errno::ENOENT.into()),
        });
        round.outcome.by_cgroup = killed.is_ok();
    }
    round.until_nothing_is_left(spare)?;
    Ok(round.outcome)
}

struct Round {
    id: ServiceId,
    outcome: Outcome,
    targets: Vec<Target>,
    spared: Vec<i32>,
    /// How many processes the service has had.
    arrivals: u64,
    /// Why the last look left some of the members out.
    short: Option<Error>,
    /// A look stops each new process as it finds it.
    stop_at_once: bool,
}

impl Round {
    fn until_nothing_is_left(
        &mut self,
        spare: &mut dyn FnMut(&Member) -> bool,
    ) -> Result<(), Error> {
        let begun = clock::now();
        let (mut quiet, mut waited, mut seen_whole) = (0, 0, false);
        while clock::now() - begun < LONGEST {
            self.outcome.rounds += 1;
            let (before, arrivals) = (self.targets.len(), self.arrivals);
            if let Err(error) = self.collect(spare) {
                self.kill_held();
                self.kill_stopped();
                return Err(error);
            }
            // A stopped process forks no more: once a look finds nobody new, all are
            // held.
            if self.targets.len() > before {
                quiet = 0;
                self.send_new(before, libc::SIGSTOP, false);
                continue;
            }
            // One that ended during the look may have left a child: only when the next
            // look finds nobody either is nobody left but those that were killed.
            quiet = if self.kill_held() == 0 && arrivals == self.arrivals {
                quiet + 1
            } else {
                0
            };
            let nobody_ends = !self.targets.iter().any(|target| target.killed);
            if quiet >= 2 && (nobody_ends || waited >= WHOLE_PATIENCE) {
                if let Some(error) = self.short {
                    self.kill_stopped();
                    return Err(error);
                }
                seen_whole = true;
                break;
            }
            waited += self.wait_for_ends(PATIENCE.min(WHOLE_PATIENCE.saturating_sub(waited)));
            self.targets.retain(Target::lives);
        }
        if !seen_whole {
            // None of those that are stopped stays so.
            self.kill_held();
            self.kill_stopped();
        }
        let left = self.targets.iter().filter(|target| !target.refused);
        let left = u32::try_from(left.count()).unwrap_or(u32::MAX);
        // Given up while new processes still came: some of them are not among the targets.
        self.outcome.left = left.max(u32::from(!seen_whole));
        let refused = self.targets.iter().filter(|target| target.refused);
        self.outcome.refused = u32::try_from(refused.count()).unwrap_or(u32::MAX);
        self.outcome.spared = u32::try_from(self.spared.len()).unwrap_or(u32::MAX);
        Ok(())
    }

    /// Looks for members, and holds those that are neither held nor spared.
    fn collect(&mut self, spare: &mut dyn FnMut(&Member) -> bool) -> Result<(), Error> {
        let stop = self.stop_at_once;
        let (members, arrivals) = with(self.id, |tracker, key| {
            tracker.stopping = stop.then_some(key.index);
            let found = members(tracker, key);
            tracker.stopping = None;
            found
        })?;
        self.arrivals = arrivals;
        self.spared.clear();
        self.short = None;
        for (member, known) in members {
            if self.targets.iter().any(|target| target.pid == member.pid) {
                continue;
            }
            // `spare` may be the daemon's own code, so it is called without a lock.
            if spare(&member) {
                self.spared.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                self.spared.push(member.pid);
                continue;
            }
            let to_spare = self.targets.len() < orphan::spare_pidfds();
            match Target::hold(member.pid, known, to_spare) {
                Ok(Some(target)) => {
                    self.targets.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                    self.targets.push(target);
                }
                Ok(None) => {}
                Err(error) if self.targets.is_empty() => return Err(error),
                // The next round goes on, when those that are held were killed.
                Err(error) => {
                    self.short = Some(error);
                    break;
                }
            }
        }
        self.outcome.spared = u32::try_from(self.spared.len()).unwrap_or(u32::MAX);
        Ok(())
    }

    /// Kills by pid the children that a look may have stopped. They are not reaped, so
    /// their pids are still theirs, and no descriptor is needed.
    fn kill_stopped(&self) {
        if !self.stop_at_once {
            return;
        }
        let _ = with(self.id, |tracker, key| {
            for process in tracker.ledger.members(key.index) {
                if process.state == State::Ours && wait::is_child_pid(process.pid) {
                    let _ = signal::kill(process.pid, libc::SIGKILL);
                }
            }
            Ok(())
        });
    }

    /// Sends a signal to the targets from `since` on. It counts whom the signal reached,
    /// unless that is the SIGSTOP before a SIGKILL.
    fn send_new(&mut self, since: usize, signum: i32, counts: bool) {
        for target in &mut self.targets[since..] {
            match target.send(signum) {
                Ok(()) => self.outcome.signalled += u32::from(counts),
                Err(error) if error == Errno::EPERM => {
                    target.refused = true;
                    self.outcome.refused += u32::from(counts);
                }
                Err(_) => {}
            }
        }
    }

    /// Kills those that were not killed yet; how many.
    fn kill_held(&mut self) -> u32 {
        let mut reached = 0;
        for target in self.targets.iter_mut().filter(|target| !target.killed) {
            match target.send(libc::SIGKILL) {
                Ok(()) => {
                    target.killed = true;
                    reached += 1;
                }
                Err(error) if error == Errno::EPERM => target.refused = true,
                Err(_) => {}
            }
        }
        self.outcome.signalled += reached;
        reached
    }

    /// Waits a moment for those that were killed to end, as only then their children
    /// become ours. How long it took.
    fn wait_for_ends(&self, most: u64) -> u64 {
        let begun = clock::now();
        for target in self.targets.iter().filter(|target| target.killed) {
            target.await_end(clock::later(begun, most));
        }
        clock::now() - begun
    }
}

/// A service's live members, with the identities of those below, and how many processes
/// the service has had.
#[allow(clippy::type_complexity, reason = "taken apart at once")]
fn members(
    tracker: &mut Tracker,
    key: Key,
) -> Result<(Vec<(Member, Option<Identity>)>, u64), Error> {
    tracker.look()?;
    tracker.walk(Some(key.index), u64::MAX);
    tracker.note_main(key.index)?;
    let service = tracker.ledger.get(key).ok_or(Errno::ESRCH)?;
    let (owner, session) = tracker.owner_and_session(key);
    let me = nix::unistd::getpid().as_raw();
    let mut found = Vec::new();
    found
        .try_reserve(service.processes as usize)
        .map_err(|_| Errno::ENOMEM)?;
    let mut dead = Vec::new();
    for process in tracker.ledger.members(key.index) {
        if process.dead {
            continue;
        }
        // Without descriptors all would look as if they were gone.
        let Some(stat) = unless_short(procfs::stat(process.pid))? else {
            continue;
        };
        if stat.is_dead() || process.pid == me {
            let ours = process.state == State::Ours;
            if ours && wait::dead_status(process.pid).is_some() && dead.try_reserve(1).is_ok() {
                dead.push(process.pid);
            }
            continue;
        }
        // A login whose user is not known would be killed.
        let Some(uid) = unless_short(procfs::real_uid(process.pid))? else {
            continue;
        };
        let known = match process.state {
            State::Below(identity) => Some(identity),
            State::Ours | State::Ended => None,
        };
        let member = Member {
            pid: process.pid,
            parent: stat.parent,
            session: stat.session,
            uid,
            login: uid != owner && session != Some(stat.session),
        };
        // Room for all of them was made.
        found.push((member, known));
    }
    let arrivals = service.arrivals;
    // Thousands of zombies need not be looked at in each round.
    for pid in dead {
        tracker.ledger.note_dead(pid);
    }
    spare_parents(&mut found, session);
    Ok((found, arrivals))
}

/// A login's parent may be a process of the service's own user that has left the
/// service's session. Without that parent the login ends, so it is spared too.
fn spare_parents(members: &mut [(Member, Option<Identity>)], session: Option<i32>) {
    let mut changed = true;
    while changed {
        changed = false;
        for at in 0..members.len() {
            let candidate = members[at].0;
            if candidate.login || session == Some(candidate.session) {
                continue;
            }
            let mut others = members.iter().map(|(member, _)| member);
            if others.any(|member| member.login && member.parent == candidate.pid) {
                members[at].0.login = true;
                changed = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_carries_a_login_is_spared_with_it() {
        let member = |pid, parent, session, uid, login| {
            let member = Member {
                pid,
                parent,
                session,
                uid,
                login,
            };
            (member, None)
        };
        // The daemon, a connection's monitor, its user's half, a shell.
        let mut members = [
            member(10, 1, 10, 0, false),
            member(20, 10, 20, 0, false),
            member(21, 20, 20, 1000, true),
            member(22, 21, 22, 1000, true),
            member(30, 10, 30, 0, false),
        ];
        spare_parents(&mut members, Some(10));
        let spared: Vec<i32> = members
            .iter()
            .filter(|(member, _)| member.login)
            .map(|(member, _)| member.pid)
            .collect();
        assert_eq!(spared, [20, 21, 22]);
    }
}
