//! Which process belongs to which service, and what is to be told of it. Pure: what the
//! kernel shows comes in, events come out, and nothing here makes a syscall.
//!
//! The ledger has three kinds of processes: those *below*, which live somewhere under a
//! member and are no children of ours; *ours*, which are; and those that *ended*, whose
//! end is still to be told. A service is dead when it has none of these left.

use std::collections::VecDeque;

use hashbrown::HashTable;
use nix::errno::Errno;

use crate::sys::bits::ToUnsigned;
use crate::sys::error::{Error, out_of_memory};

/// By what a process was attributed; the numbers are the header's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Evidence {
    /// Started or attached by the daemon.
    Started = 1,
    /// It is in the service's cgroup.
    Cgroup = 2,
    /// The kernel told of the fork.
    ForkRecord = 3,
    /// It was seen below a member.
    Descent = 4,
    /// Its RLIMIT_LOCKS is the service's tag.
    Tag = 5,
    /// Its environment holds the service's tag.
    Environment = 6,
}

/// What tells a process from a later one with its pid: the inode of its pidfd,
/// or, before Linux 6.9, its start time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Identity {
    Inode(u64),
    Started(u64),
}

/// What tells one service of a process from another, for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Alive, below a member; its identity tells it from a later process of its pid.
    Below(Identity),
    /// A child of ours.
    Ours,
    /// It was, and its EXITED is queued.
    Ended,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Its parent before it became our child, or 0.
    pub(crate) parent: i32,
    pub(crate) service: u32,
    pub(crate) evidence: Evidence,
    pub(crate) state: State,
    /// The last walk below the service's members found it.
    seen: bool,
    /// It was seen dead: it has no children, and forks no more.
    pub(crate) dead: bool,
}

impl Process {
    /// It ended below. Its pid may be another process's as soon as its parent has waited.
    pub(crate) fn has_exited_below(&self) -> bool {
        self.dead && matches!(self.state, State::Below(_))
    }
}

/// Processor time in nanoseconds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Usage {
    pub(crate) user: u64,
    pub(crate) system: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Adopted {
        pid: i32,
        parent: i32,
        evidence: Evidence,
    },
    Exited {
        pid: i32,
        parent: i32,
        status: i32,
        evidence: Evidence,
    },
    /// 0: the main process ended, and others live on.
    MainChanged {
        pid: i32,
    },
    Dead {
        orphans: u64,
    },
}

/// How the main process is found again after the first one ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Follow {
    /// It is not: the first process is the main one.
    #[default]
    First,
    /// The service puts itself into the background, by any number of forks.
    Forking,
}

#[derive(Debug)]
pub(crate) struct Service {
    generation: u32,
    used: bool,
    pub(crate) tag: u64,
    /// The first process; 0 while it is being started.
    pub(crate) root: i32,
    follow: Follow,
    /// The main process, or 0.
    pub(crate) main: i32,
    /// The main process that the daemon was last told; None before it was told anything.
    told_main: Option<i32>,
    /// The processes so far each ended with 0, so that the next one is followed.
    forking: bool,
    /// How many of its processes are in the ledger.
    pub(crate) processes: u32,
    /// How many ever did.
    pub(crate) arrivals: u64,
    /// Its handle was freed: nothing is told any more.
    pub(crate) mute: bool,
    /// DEAD was queued.
    pub(crate) dead: bool,
    touched: bool,
    fresh: bool,
    orphans_before: u64,
    pub(crate) usage: Usage,
    events: VecDeque<What>,
}

/// What a look cannot know by itself when it settles a service.
pub(crate) trait Outside {
    /// Whether the service's cgroup, if it has one, is empty.
    fn cgroup_is_empty(&mut self, service: u32) -> bool;
    /// The pid in its pid file, if it has one.
    fn pid_file(&mut self, service: u32) -> Option<i32>;
    /// Whether a child of ours lives.
    fn lives(&mut self, pid: i32) -> bool;
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    processes: HashTable<Process>,
    services: Vec<Service>,
    free: Vec<u32>,
    /// Services that something happened to since they were settled.
    touched: Vec<u32>,
    /// Services that got events since somebody last asked.
    fresh: Vec<u32>,
    /// Orphans that nobody claimed.
    pub(crate) orphans: u64,
}

/// Where a pid is in a table.
pub(super) fn hash(pid: i32) -> u64 {
    u64::from(pid.to_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Ledger {
    /// A service that is about to be started, with room for all that it needs.
    pub(crate) fn add(&mut self, tag: u64, follow: Follow) -> Result<Key, Error> {
        self.services.try_reserve(1).map_err(out_of_memory)?;
        let slots = self.services.len() + 1;
        for list in [&mut self.free, &mut self.touched, &mut self.fresh] {
            let short = slots.saturating_sub(list.len());
            list.try_reserve(short).map_err(out_of_memory)?;
        }
        let mut events = VecDeque::new();
        // MAIN_CHANGED and DEAD, and the first process's end.
        events.try_reserve(3).map_err(out_of_memory)?;
        self.processes
            .try_reserve(1, |process| hash(process.pid))
            .map_err(out_of_memory)?;
        let index = match self.free.pop() {
            Some(index) => index,
            None => u32::try_from(self.services.len()).map_err(|_| Errno::ENOMEM)?,
        };
        let former = self.services.get(index as usize);
        let service = Service {
            generation: former.map_or(1, |former| former.generation),
            used: true,
            tag,
            root: 0,
            follow,
            main: 0,
            told_main: None,
            forking: follow == Follow::Forking,
            processes: 0,
            arrivals: 0,
            mute: false,
            dead: false,
            touched: former.is_some_and(|former| former.touched),
            fresh: former.is_some_and(|former| former.fresh),
            orphans_before: self.orphans,
            usage: Usage::default(),
            events,
        };
        let generation = service.generation;
        match self.services.get_mut(index as usize) {
            Some(slot) => *slot = service,
            None => self.services.push(service),
        }
        Ok(Key { index, generation })
    }

    /// The first process of a service was started, or attached.
    pub(crate) fn started(&mut self, key: Key, pid: i32) {
        let Some(service) = self.get_mut(key) else {
            return;
        };
        service.root = pid;
        if service.follow == Follow::First {
            service.main = pid;
            service.told_main = Some(pid);
        }
        // A former process with this pid is gone: its end is queued, or was never seen.
        self.remove(pid);
        self.insert(Process {
            pid,
            parent: 0,
            service: key.index,
            evidence: Evidence::Started,
            state: State::Ours,
            seen: true,
            dead: false,
        });
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Service> {
        self.services
            .get(key.index as usize)
            .filter(|service| service.used && service.generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Service> {
        self.services
            .get_mut(key.index as usize)
            .filter(|service| service.used && service.generation == key.generation)
    }

    pub(crate) fn at(&self, index: u32) -> Option<&Service> {
        self.services
            .get(index as usize)
            .filter(|service| service.used)
    }

    pub(crate) fn key(&self, index: u32) -> Option<Key> {
        self.at(index).map(|service| Key {
            index,
            generation: service.generation,
        })
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = (u32, &Service)> {
        (0..)
            .zip(&self.services)
            .filter(|(_, service)| service.used)
    }

    pub(crate) fn process(&self, pid: i32) -> Option<&Process> {
        self.processes.find(hash(pid), |process| process.pid == pid)
    }

    fn process_mut(&mut self, pid: i32) -> Option<&mut Process> {
        self.processes
            .find_mut(hash(pid), |process| process.pid == pid)
    }

    /// A service's main process, or the first one while there is no other, if it was not
    /// seen to end.
    pub(crate) fn main_or_first(&self, index: u32) -> Option<i32> {
        let service = self.at(index)?;
        let pid = if service.main == 0 {
            service.root
        } else {
            service.main
        };
        let is_member = |one: &&Process| one.service == index && one.state != State::Ended;
        self.process(pid).filter(is_member).map(|one| one.pid)
    }

    /// The processes of a service that were not seen to end.
    pub(crate) fn members(&self, index: u32) -> impl Iterator<Item = &Process> {
        self.processes
            .iter()
            .filter(move |process| process.service == index && process.state != State::Ended)
    }

    /// The service that has this tag. While its first process is being started, that
    /// process cannot be told from an orphan yet.
    pub(crate) fn by_tag(&self, tag: u64) -> Option<u32> {
        self.services()
            .find(|(_, service)| service.tag == tag && !service.dead)
            .map(|(index, _)| index)
    }

    /// Room for one more process of a service, and for all that it may still tell.
    fn room_for_process(&mut self, service: u32) -> Result<(), Error> {
        self.processes
            .try_reserve(1, |process| hash(process.pid))
            .map_err(out_of_memory)?;
        let service = self
            .services
            .get_mut(service as usize)
            .ok_or(Errno::ESRCH)?;
        // ADOPTED and EXITED of each; MAIN_CHANGED after each; DEAD.
        let owed = (service.processes as usize + 1) * 3 + 1;
        service.events.try_reserve(owed).map_err(out_of_memory)
    }

    /// A process lives below a member. One that is known already is the same.
    pub(crate) fn below(
        &mut self,
        service: u32,
        pid: i32,
        parent: i32,
        identity: Identity,
        evidence: Evidence,
    ) -> Result<bool, Error> {
        if let Some(known) = self.process_mut(pid) {
            match known.state {
                State::Below(former) if former == identity => {
                    known.seen = true;
                    known.parent = parent;
                    return Ok(false);
                }
                State::Below(_) => self.vanished(pid),
                State::Ours | State::Ended => return Ok(false),
            }
        }
        self.room_for_process(service)?;
        self.insert(Process {
            pid,
            parent,
            service,
            evidence,
            state: State::Below(identity),
            seen: true,
            dead: false,
        });
        Ok(true)
    }

    /// A process turned out to be a child of ours that belongs to a service.
    pub(crate) fn adopted(
        &mut self,
        service: u32,
        pid: i32,
        parent: i32,
        evidence: Evidence,
    ) -> Result<(), Error> {
        self.room_for_process(service)?;
        self.remove(pid);
        self.insert(Process {
            pid,
            parent,
            service,
            evidence,
            state: State::Ours,
            seen: true,
            dead: false,
        });
        self.touch(service);
        self.queue(
            service,
            What::Adopted {
                pid,
                parent,
                evidence,
            },
        );
        Ok(())
    }

    /// A child of ours that belongs to a service has ended.
    pub(crate) fn ended(&mut self, pid: i32, status: i32, usage: Usage) {
        let Some(process) = self.process_mut(pid) else {
            return;
        };
        if process.state == State::Ended {
            return;
        }
        process.state = State::Ended;
        let process = *process;
        self.touch(process.service);
        if let Some(service) = self.services.get_mut(process.service as usize) {
            service.usage.user += usage.user;
            service.usage.system += usage.system;
            let was_main = service.main == pid;
            if was_main {
                service.main = 0;
            }
            // A process that comes after one that failed is no further step of a start.
            if was_main || service.root == pid {
                service.forking &= status == 0;
            }
        }
        self.queue(
            process.service,
            What::Exited {
                pid,
                parent: process.parent,
                status,
                evidence: process.evidence,
            },
        );
    }

    /// A process below is gone without having become ours.
    pub(crate) fn vanished(&mut self, pid: i32) {
        let Some(&process) = self.process(pid) else {
            return;
        };
        if let State::Below(_) = process.state {
            self.remove(pid);
            if let Some(service) = self.services.get_mut(process.service as usize) {
                if service.main == pid {
                    service.main = 0;
                }
            }
        }
    }

    /// A walk below the members of one service, or of all, begins; appends those members
    /// whose children are to be looked at.
    pub(crate) fn begin_walk(
        &mut self,
        service: Option<u32>,
        descends: &dyn Fn(u32) -> bool,
        members: &mut Vec<i32>,
    ) -> Result<(), Error> {
        members
            .try_reserve(self.processes.len())
            .map_err(out_of_memory)?;
        for process in self.processes.iter_mut() {
            process.seen = service.is_some_and(|service| service != process.service)
                || process.state == State::Ended;
            if !process.seen && !process.dead && descends(process.service) {
                members.push(process.pid);
            }
        }
        Ok(())
    }

    /// Appends the processes below that the walk did not find, with their identities.
    pub(crate) fn unseen(&self, found: &mut Vec<(i32, Identity)>) -> Result<(), Error> {
        for process in self.processes.iter().filter(|process| !process.seen) {
            if let State::Below(identity) = process.state {
                found.try_reserve(1).map_err(out_of_memory)?;
                found.push((process.pid, identity));
            }
        }
        Ok(())
    }

    /// How many processes are known.
    pub(crate) fn len(&self) -> usize {
        self.processes.len()
    }

    /// Keeps those children of ours of a silent service that `keep` says, and forgets the
    /// others; whether it kept all.
    pub(crate) fn keep_ours(&mut self, index: u32, mut keep: impl FnMut(i32) -> bool) -> bool {
        let before = self.processes.len();
        self.processes.retain(|process| {
            process.service != index || process.state != State::Ours || keep(process.pid)
        });
        let gone = before - self.processes.len();
        if let Some(service) = self.services.get_mut(index as usize) {
            service.processes -= u32::try_from(gone).unwrap_or(0);
        }
        self.touch(index);
        gone == 0
    }

    /// Forgets a service and its processes, which nobody watches any more.
    pub(crate) fn abandon(&mut self, key: Key) {
        if self.get(key).is_some() {
            self.processes
                .retain(|process| process.service != key.index);
            self.services[key.index as usize].processes = 0;
            self.release(key.index);
        }
    }

    /// A process is dead, and not reaped yet.
    pub(crate) fn note_dead(&mut self, pid: i32) {
        if let Some(process) = self.process_mut(pid) {
            process.dead = true;
        }
    }

    /// Two looks agreed after the last end, so what they show is final: tells which
    /// services are dead, and which main processes changed.
    pub(crate) fn settle(&mut self, outside: &mut impl Outside) {
        while let Some(index) = self.touched.pop() {
            self.services[index as usize].touched = false;
            self.settle_one(index, outside);
        }
    }

    fn settle_one(&mut self, index: u32, outside: &mut impl Outside) {
        let Some(service) = self.at(index) else {
            return;
        };
        if service.root == 0 || service.dead {
            return;
        }
        if service.processes == 0 {
            if outside.cgroup_is_empty(index) {
                let orphans = self.orphans - service.orphans_before;
                if let Some(service) = self.services.get_mut(index as usize) {
                    service.dead = true;
                    service.main = 0;
                }
                self.queue(index, What::Dead { orphans });
                self.release_if_done(index);
            }
            return;
        }
        self.find_main(index, outside);
    }

    /// Tells of the main process where it changed.
    fn find_main(&mut self, index: u32, outside: &mut impl Outside) {
        let Some(service) = self.at(index) else {
            return;
        };
        if service.main != 0 || self.main_or_first(index).is_some() {
            return;
        }
        let mut found = 0;
        if service.forking {
            let mut ours = self
                .members(index)
                .filter(|process| process.state == State::Ours && outside.lives(process.pid))
                .map(|process| process.pid);
            found = match (ours.next(), ours.next()) {
                (Some(only), None) => only,
                _ => 0,
            };
            drop(ours);
            if found == 0 {
                found = outside
                    .pid_file(index)
                    .filter(|&pid| self.members(index).any(|process| process.pid == pid))
                    .unwrap_or(0);
            }
        }
        if found == 0 && !self.is_without_main(index, outside) {
            return;
        }
        let Some(service) = self.services.get_mut(index as usize) else {
            return;
        };
        service.main = found;
        if service.told_main != Some(found) {
            service.told_main = Some(found);
            self.queue(index, What::MainChanged { pid: found });
        }
    }

    /// Whether a process lives, so that the loss of the main process is to be told. Not
    /// where a dead process of a forking service is still to be told: its end shows what
    /// goes on. Not where all are dead: DEAD tells that.
    fn is_without_main(&mut self, index: u32, outside: &mut impl Outside) -> bool {
        let Some(service) = self.at(index) else {
            return false;
        };
        if service.told_main == Some(0) {
            return false;
        }
        let forking = service.forking;
        let mut any = false;
        for process in self.members(index) {
            let lives = process.state != State::Ours || outside.lives(process.pid);
            if !lives && forking {
                return false;
            }
            any |= lives;
            if any && !forking {
                break;
            }
        }
        any
    }

    /// Has the service settled.
    pub(crate) fn touch(&mut self, index: u32) {
        if let Some(service) = self.services.get_mut(index as usize) {
            if service.used && !service.touched {
                service.touched = true;
                self.touched.push(index);
            }
        }
    }

    pub(crate) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    fn queue(&mut self, index: u32, what: What) {
        let Some(service) = self.services.get_mut(index as usize) else {
            return;
        };
        if !service.mute {
            service.events.push_back(what);
            if !service.fresh {
                service.fresh = true;
                self.fresh.push(index);
            }
        } else {
            self.forget(index, what);
        }
    }

    /// After an EXITED its process leaves the ledger. If other code waited for it, its pid may
    /// be another process's by now, which stays.
    fn forget(&mut self, index: u32, what: What) {
        if let What::Exited { pid, .. } = what {
            let process = self.process(pid);
            if process.is_some_and(|one| one.service == index && one.state == State::Ended) {
                self.remove(pid);
            }
        }
    }

    /// A service that got events since it was last asked for.
    pub(crate) fn next_fresh(&mut self) -> Option<u32> {
        let index = self.fresh.pop()?;
        self.services[index as usize].fresh = false;
        Some(index)
    }

    /// Whether a service's next event is its last.
    pub(crate) fn is_dead_next(&self, key: Key) -> bool {
        let next = self.get(key).and_then(|service| service.events.front());
        matches!(next, Some(What::Dead { .. }))
    }

    /// A service's next event. The process of an EXITED leaves the ledger with it.
    pub(crate) fn next(&mut self, key: Key) -> Option<What> {
        let what = self.get_mut(key)?.events.pop_front()?;
        self.forget(key.index, what);
        Some(what)
    }

    /// Ends the events of a service. Its processes stay claimed until they are gone.
    pub(crate) fn silence(&mut self, key: Key) {
        let Some(service) = self.get_mut(key) else {
            return;
        };
        service.mute = true;
        while let Some(what) = self.services[key.index as usize].events.pop_front() {
            self.forget(key.index, what);
        }
        self.touch(key.index);
        self.release_if_done(key.index);
    }

    fn release_if_done(&mut self, index: u32) {
        let done = self
            .at(index)
            .is_some_and(|service| service.mute && service.processes == 0 && service.dead);
        if done {
            self.release(index);
        }
    }

    fn release(&mut self, index: u32) {
        if let Some(service) = self.services.get_mut(index as usize) {
            service.used = false;
            service.generation += 1;
            service.events = VecDeque::new();
            self.free.push(index);
        }
    }

    fn insert(&mut self, process: Process) {
        if let Some(service) = self.services.get_mut(process.service as usize) {
            service.processes += 1;
            service.arrivals += 1;
        }
        self.processes
            .insert_unique(hash(process.pid), process, |process| hash(process.pid));
    }

    fn remove(&mut self, pid: i32) {
        if let Ok(entry) = self
            .processes
            .find_entry(hash(pid), |process| process.pid == pid)
        {
            let (process, _) = entry.remove();
            if let Some(service) = self.services.get_mut(process.service as usize) {
                service.processes -= 1;
            }
            self.touch(process.service);
        }
    }
}
