//! Tests the drain against a model of the kernel, without a process. Children end in any
//! order and together, signals merge or name nobody, other code waits for our children,
//! loops stand still. Each end must be told once, with the right status, and as LOST only
//! if other code took it. Zombies must be kept until their end was told. Children that
//! nobody registered are told of in scope All, and left alone in scope Registered. Where a
//! context asks for stops and continues, the last one of a child must be told, in order and
//! before its end.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;

use nix::errno::Errno;
use proptest::prelude::*;

use super::agenda::Debt;
use super::callback::{Call, ChildFn, Pvt, Sink, Unknown};
use super::inheritance::Inheritance;
use super::kernel::{Kernel, Waited};
use super::pidfds::Promoted;
use super::policy::{HOLD, LOOK_WITHIN, Seen, UNHEARD_LAST};
use super::process::{Attending, Reaper};
use super::status::LOST;
use super::subscriber::{Context, Params, Scope};
use crate::sys::epoll::{Descriptor, Event};
use crate::sys::error::Error;
use crate::sys::lock::Mutex;
use crate::sys::pidfd::{Exit, Pidfd};
use crate::sys::signal::Disposition;
use crate::sys::usage::Usage;

/// A child of ours: alive, a zombie with this status, or one that other code waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Lives,
    Dead(i32),
    Taken(i32),
}

#[derive(Default)]
struct World {
    now: u64,
    children: BTreeMap<i32, State>,
    /// The last stop or continue of a living child that nobody has waited for: its status.
    jobs: BTreeMap<i32, i32>,
    /// Children that must still be zombies when their end is told.
    kept: BTreeSet<i32>,
    /// The child of each pidfd.
    pidfds: BTreeMap<u32, i32>,
    next_pidfd: u32,
    /// The pidfds in each epoll (`watched`), and those with an event to be taken
    /// (`ready`).
    watched: BTreeSet<(RawFd, u32)>,
    ready: BTreeSet<(RawFd, u32)>,
    /// No pidfd can be opened.
    refused: bool,
    /// What each system call takes, in nanoseconds.
    price: u64,
}

impl World {
    fn becomes_readable(&mut self, pid: i32) {
        for &(epoll, pidfd) in &self.watched {
            if self.pidfds.get(&pidfd) == Some(&pid) {
                self.ready.insert((epoll, pidfd));
            }
        }
    }

    fn end(&mut self, pid: i32, status: i32) {
        self.children.insert(pid, State::Dead(status));
        self.jobs.remove(&pid);
        self.becomes_readable(pid);
    }

    fn take_job(&mut self, pid: i32, options: i32) -> Option<i32> {
        let status = *self.jobs.get(&pid)?;
        asks(options, status).then(|| self.jobs.remove(&pid))?
    }
}

/// Whether a wait with these options tells of this stop or continue.
fn asks(options: i32, status: i32) -> bool {
    let option = if libc::WIFSTOPPED(status) {
        libc::WUNTRACED
    } else {
        libc::WCONTINUED
    };
    options & option != 0
}

struct Model(Mutex<World>);

impl Model {
    fn leaked() -> &'static Model {
        Box::leak(Box::new(Model(Mutex::new(World {
            next_pidfd: 1_000_000,
            price: 300,
            ..World::default()
        }))))
    }
}

impl Kernel for Model {
    fn now(&self) -> u64 {
        let mut world = self.0.lock();
        world.now += 50;
        world.now
    }

    fn yield_now(&self) {}

    fn wait(
        &self,
        pid: i32,
        options: i32,
        _: bool,
    ) -> Result<Option<(i32, i32, Option<Usage>)>, Error> {
        let mut world = self.0.lock();
        world.now += world.price;
        assert!(
            pid != -1 || world.kept.is_empty(),
            "could take one that is kept"
        );
        let ours = |state: &State| !matches!(state, State::Taken(_));
        let found = world
            .children
            .iter()
            .filter(|&(&child, state)| (pid == -1 || pid == child) && ours(state))
            .map(|(&child, &state)| (child, state))
            .collect::<Vec<_>>();
        if found.is_empty() {
            return Err(Errno::ECHILD.into());
        }
        for (child, state) in found {
            let status = match state {
                State::Dead(status) => {
                    world.children.remove(&child);
                    Some(status)
                }
                _ => world.take_job(child, options),
            };
            if let Some(status) = status {
                return Ok(Some((child, status, None)));
            }
        }
        Ok(None)
    }

    fn reap(&self, pidfd: Pidfd, _: bool) -> Result<Waited, Error> {
        let pid = self.0.lock().pidfds[&pidfd.to_bits()];
        let found = self.wait(pid, 0, false)?;
        Ok(found.map(|(_, status, _)| (status, None)))
    }

    fn look(&self, pid: i32, _: Option<Pidfd>) -> Result<Waited, Error> {
        let mut world = self.0.lock();
        world.now += world.price;
        match world.children.get(&pid) {
            Some(State::Dead(status)) => Ok(Some((*status, None))),
            Some(State::Lives) => Ok(None),
            _ => Err(Errno::ECHILD.into()),
        }
    }

    fn look_at_mute(&self, pid: i32) -> Result<Waited, Error> {
        self.look(pid, None)
    }

    fn jobs(&self, pid: i32, options: i32) -> Result<Option<i32>, Error> {
        Ok(self.0.lock().take_job(pid, options))
    }

    fn any_dead(&self) -> Result<Option<i32>, Error> {
        let world = self.0.lock();
        let dead = |state: &State| matches!(state, State::Dead(_));
        let found = world.children.iter().find(|(_, state)| dead(state));
        Ok(found.map(|(&pid, _)| pid))
    }

    fn ended_children(&self, ended: &mut Vec<i32>) -> Result<bool, Error> {
        let world = self.0.lock();
        let dead = |state: &State| matches!(state, State::Dead(_));
        ended.extend(
            world
                .children
                .iter()
                .filter(|(_, state)| dead(state))
                .map(|(&pid, _)| pid),
        );
        Ok(true)
    }

    fn is_child(&self, pid: i32) -> bool {
        matches!(
            self.0.lock().children.get(&pid),
            Some(State::Lives | State::Dead(_))
        )
    }

    fn holds_child(&self, pidfd: Pidfd) -> Result<bool, Error> {
        let pid = self.0.lock().pidfds[&pidfd.to_bits()];
        Ok(self.is_child(pid))
    }

    fn exit_status(&self, pidfd: Pidfd) -> Exit {
        let world = self.0.lock();
        let pid = world.pidfds[&pidfd.to_bits()];
        match world.children.get(&pid) {
            Some(&State::Taken(status)) => Exit::Known(status),
            _ => Exit::Unknown,
        }
    }

    fn open(&self, pid: i32) -> Result<Pidfd, Error> {
        let mut world = self.0.lock();
        world.now += world.price;
        if world.refused {
            return Err(Errno::EMFILE.into());
        }
        if !world.children.contains_key(&pid) {
            return Err(Errno::ESRCH.into());
        }
        world.next_pidfd += 1;
        let pidfd = world.next_pidfd;
        world.pidfds.insert(pidfd, pid);
        Ok(Pidfd::from_bits(pidfd))
    }

    fn close(&self, pidfd: Pidfd) {
        let mut world = self.0.lock();
        world.now += world.price;
        world.pidfds.remove(&pidfd.to_bits());
    }

    fn move_up(&self, pidfd: Pidfd, _: u32) -> Pidfd {
        pidfd
    }

    fn descriptor_limit(&self) -> u32 {
        1_000
    }

    fn has_descriptors(&self, _: u32, _: u32) -> bool {
        !self.0.lock().refused
    }

    fn add(&self, to: &Descriptor, pidfd: Pidfd, pid: i32) -> Result<(), Error> {
        let mut world = self.0.lock();
        world.now += world.price;
        let entry = (to.raw(), pidfd.to_bits());
        world.watched.insert(entry);
        if world.children.get(&pid) != Some(&State::Lives) {
            world.ready.insert(entry);
        }
        Ok(())
    }

    fn remove(&self, from: &Descriptor, pidfd: Pidfd) -> bool {
        let mut world = self.0.lock();
        world.now += world.price;
        let entry = (from.raw(), pidfd.to_bits());
        world.ready.remove(&entry);
        world.watched.remove(&entry)
    }

    fn take(&self, from: &Descriptor, events: &mut [Event]) -> Result<usize, Error> {
        let mut world = self.0.lock();
        let mut taken = 0;
        while taken < events.len() {
            let next = world.ready.iter().find(|entry| entry.0 == from.raw());
            let Some(&entry) = next else { break };
            world.ready.remove(&entry);
            events[taken] = Event::Pidfd(world.pidfds[&entry.1]);
            taken += 1;
        }
        Ok(taken)
    }

    fn disposition(&self) -> Disposition {
        Disposition::default()
    }

    fn raise_sigchld(&self) {}

    fn sigchld_pending(&self) -> bool {
        false
    }
}

extern "C" fn told(_: i32, _: i32, _: *mut libc::c_void) {}

extern "C" fn told_of_unknown(_: i32, _: i32, _: *mut libc::c_void) -> u32 {
    0
}

/// What the daemon does, or what happens to it.
#[derive(Clone, Debug)]
enum Step {
    /// This many children are made and registered in a context, to be kept or not.
    Make(u8, bool, bool),
    /// This many are made that nobody registers.
    Stray(u8),
    /// One of these strays is registered, late.
    Adopt(u8, bool),
    /// Children end together: by these numbers among the living.
    End(Vec<u8>),
    /// Registered children stop, or go on if they are stopped: by these numbers.
    Jobs(Vec<u8>),
    /// SIGCHLD is passed on; it names the latest that ended, or nobody, or a wrong one.
    Signal(bool, Option<u8>),
    /// Somebody else waits for one that has ended, or for one that lives.
    Steal(u8),
    /// A context's descriptor is dispatched.
    Turn,
    /// Time goes by.
    Pass(u32),
    /// From now on pidfds can be opened, or not.
    Refuse(bool),
    /// The daemon closes a context's descriptor.
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u8..40, any::<bool>(), proptest::bool::weighted(0.2))
            .prop_map(|(count, which, keep)| Step::Make(count, which, keep)),
        (1u8..10).prop_map(Step::Stray),
        (any::<u8>(), any::<bool>()).prop_map(|(number, which)| Step::Adopt(number, which)),
        proptest::collection::vec(any::<u8>(), 1..12).prop_map(Step::End),
        proptest::collection::vec(any::<u8>(), 1..6).prop_map(Step::Jobs),
        (any::<bool>(), proptest::option::of(any::<u8>()))
            .prop_map(|(which, hint)| Step::Signal(which, hint)),
        any::<u8>().prop_map(Step::Steal),
        Just(Step::Turn),
        (0u32..50_000_000).prop_map(Step::Pass),
        any::<bool>().prop_map(Step::Refuse),
        Just(Step::Close),
    ]
}

/// The stops and continues of a child.
struct Jobs {
    /// Those that its context asks for.
    options: i32,
    stopped: bool,
    /// Since the last one that was told.
    untold: Vec<i32>,
}

struct Daemon {
    reaper: Reaper,
    model: &'static Model,
    next_pid: i32,
    /// The registered children whose end was not told yet: the status, if it has ended,
    /// and whether other code took it.
    expected: BTreeMap<i32, (Option<i32>, bool)>,
    /// The same for children that nobody has registered.
    strays: BTreeMap<i32, (Option<i32>, bool)>,
    /// Of each registered child until its end is told.
    jobs: BTreeMap<i32, Jobs>,
    /// How many there were, which tells them apart.
    job_count: i32,
    scope: Scope,
    latest: i32,
}

const CONTINUED: i32 = 0xffff;
const OPTIONS: [i32; 4] = [
    0,
    libc::WUNTRACED,
    libc::WCONTINUED,
    libc::WUNTRACED | libc::WCONTINUED,
];

impl Daemon {
    /// Two contexts: one of this scope with a signal, and one with a descriptor too. With
    /// these options they ask for stops and continues.
    fn new(scope: Scope, options: [i32; 2]) -> Self {
        let model = Model::leaked();
        let inheritance = Box::leak(Box::new(Mutex::new(Inheritance::new())));
        let mut reaper = Reaper::new(model, 0, inheritance);
        for (made, polled, options) in [(1, false, options[0]), (2, true, options[1])] {
            reaper.grow().unwrap();
            let index = u16::try_from(reaper.contexts.len() - 1).unwrap();
            *reaper.at_mut(index) = Context {
                live: true,
                generation: 1,
                made,
                params: Params {
                    scope: if polled { Scope::Registered } else { scope },
                    options,
                    unknown: Some(Unknown {
                        call: told_of_unknown,
                        pvt: Pvt(std::ptr::null_mut()),
                    }),
                    ..Params::default()
                },
                signalled: true,
                ..Context::dead()
            };
            if polled {
                reaper.ensure_descriptor(index).unwrap();
                reaper.at_mut(index).polled = true;
            }
        }
        reaper.parked.reserve().unwrap();
        reaper.running.reserve(16);
        reaper.descriptor_limit = 1_000;
        Daemon {
            reaper,
            model,
            next_pid: 100,
            expected: BTreeMap::new(),
            strays: BTreeMap::new(),
            jobs: BTreeMap::new(),
            job_count: 0,
            scope,
            latest: 0,
        }
    }

    fn fork(&mut self) -> i32 {
        self.next_pid += 1;
        let mut world = self.model.0.lock();
        world.children.insert(self.next_pid, State::Lives);
        self.next_pid
    }

    fn make(&mut self, index: u16, keep: bool) {
        let pid = self.fork();
        self.register(index, pid, keep);
        self.expected.insert(pid, (None, false));
    }

    fn stray(&mut self) {
        let pid = self.fork();
        self.strays.insert(pid, (None, false));
    }

    fn register(&mut self, index: u16, pid: i32, keep: bool) {
        self.reaper.reserve().unwrap();
        let known = self.reaper.find_fresh(pid);
        let found = self.reaper.find_child(index, pid, known, keep, false);
        let sink = Sink::of(Some(told as ChildFn), Pvt(std::ptr::null_mut()));
        self.reaper.insert(index, pid, found.unwrap(), sink, keep);
        let jobs = Jobs {
            options: self.reaper.at(index).params.options,
            stopped: false,
            untold: Vec::new(),
        };
        self.jobs.insert(pid, jobs);
        if keep {
            self.model.0.lock().kept.insert(pid);
        }
    }

    /// Registers a stray. Its end may have been found already.
    fn adopt(&mut self, number: u8, index: u16) {
        let ours = |&(_, &(_, taken)): &(&i32, &(Option<i32>, bool))| !taken;
        let Some((&pid, &stray)) = self
            .strays
            .iter()
            .filter(ours)
            .nth(usize::from(number % 16))
        else {
            return;
        };
        self.register(index, pid, false);
        self.strays.remove(&pid);
        self.expected.insert(pid, stray);
    }

    fn nth(&self, number: u8) -> Option<i32> {
        let all = self.expected.len() + self.strays.len();
        let mut pids = self.expected.keys().chain(self.strays.keys());
        pids.nth(usize::from(number) % all.max(1)).copied()
    }

    /// What is to be told of a child.
    fn of(&mut self, pid: i32) -> &mut (Option<i32>, bool) {
        let expected = self.expected.get_mut(&pid);
        expected.unwrap_or_else(|| self.strays.get_mut(&pid).unwrap())
    }

    fn end(&mut self, number: u8) {
        let Some(pid) = self.nth(number) else { return };
        if self.of(pid).0.is_none() {
            let status = i32::from(number) << 8;
            self.model.0.lock().end(pid, status);
            self.of(pid).0 = Some(status);
            self.latest = pid;
        }
    }

    fn job(&mut self, number: u8) {
        let Some(pid) = self.nth(number) else { return };
        let ended = self.of(pid).0.is_some();
        let Some(jobs) = self.jobs.get_mut(&pid).filter(|_| !ended) else {
            return;
        };
        jobs.stopped = !jobs.stopped;
        self.job_count += 1;
        let status = if jobs.stopped {
            (self.job_count % 64 + 1) << 8 | 0x7f
        } else {
            CONTINUED
        };
        jobs.untold.push(status);
        self.model.0.lock().jobs.insert(pid, status);
        self.latest = pid;
    }

    fn steal(&mut self, number: u8) {
        let Some(pid) = self.nth(number) else { return };
        let mut world = self.model.0.lock();
        if let Some(&State::Dead(status)) = world.children.get(&pid) {
            world.children.insert(pid, State::Taken(status));
            world.kept.remove(&pid);
            drop(world);
            self.of(pid).1 = true;
        }
    }

    fn signal(&mut self, index: u16, hint: Option<u8>) {
        let hint = hint.map(|number| match number % 4 {
            0 => self.nth(number).unwrap_or(1),
            _ => self.latest,
        });
        self.reaper.attending = Attending::Nobody;
        self.reaper.serve(index);
        self.reaper.after_signal(index, hint.filter(|&pid| pid > 0));
        self.pay();
        self.deliver(0);
        self.deliver(1);
    }

    fn turn(&mut self) {
        self.reaper.serve(1);
        self.reaper.take_pidfds(1, &mut 256).unwrap();
        self.pay();
        // Both, so that no stop of before the next step is still to be told.
        self.deliver(0);
        self.deliver(1);
    }

    /// Does what pay_all() does.
    fn pay(&mut self) {
        while self.reaper.pay() {}
        if self.reaper.begin_scan() {
            let mut ended = Vec::new();
            let began = self.model.now();
            let all = self.model.ended_children(&mut ended);
            self.reaper.end_scan(all, began);
            while !ended.is_empty() {
                self.reaper.take_scanned(&mut ended);
            }
            while self.reaper.pay() {}
        }
    }

    fn deliver(&mut self, index: u16) {
        let (model, expected, strays) = (self.model, &mut self.expected, &mut self.strays);
        let all_jobs = &mut self.jobs;
        let mut tell = |call| match call {
            Call::Child { pid, status, .. }
                if libc::WIFSTOPPED(status) || libc::WIFCONTINUED(status) =>
            {
                let Jobs {
                    options, untold, ..
                } = all_jobs.get_mut(&pid).expect("told before the end");
                assert!(asks(*options, status), "nobody asked for {status:#x}");
                // Continues look alike: the one that is told is the last.
                let found = untold.iter().rposition(|&job| job == status);
                untold.drain(..=found.expect("told once, and in order"));
            }
            Call::Child { pid, status, .. } => {
                all_jobs.remove(&pid);
                let (ended, taken) = expected.remove(&pid).expect("told once");
                let ended = ended.expect("told of one that lives");
                assert!(status == ended || (taken && status == LOST), "{status}");
                let mut world = model.0.lock();
                if world.kept.remove(&pid) {
                    let state = world.children.get(&pid);
                    assert!(taken || state == Some(&State::Dead(status)), "{state:?}");
                }
            }
            Call::Unknown { pid, status, .. } => {
                let told = strays.remove(&pid).expect("told once, and nobody's");
                assert_eq!(told, (Some(status), false));
            }
            _ => {}
        };
        while self.reaper.tell_next(index, &mut tell) {}
    }

    /// Every end must be told within the longest time between two looks.
    fn settle(&mut self) {
        for _ in 0..100 {
            let next = self.reaper.agenda.next();
            let mut world = self.model.0.lock();
            world.now = world
                .now
                .max(next.min(world.now + LOOK_WITHIN + UNHEARD_LAST));
            drop(world);
            self.turn();
            self.deliver(0);
            if self.reaper.agenda.is_empty() {
                break;
            }
        }
        let untold: Vec<_> = self
            .expected
            .iter()
            .filter(|(_, (ended, _))| ended.is_some())
            .collect();
        assert!(untold.is_empty(), "{untold:?}");
        for (pid, jobs) in &self.jobs {
            let last = jobs.untold.last();
            let told = !last.is_some_and(|&last| asks(jobs.options, last));
            assert!(told, "{pid}: {:x?}", jobs.untold);
        }
        let table = self.reaper.children() as usize;
        assert_eq!(table, self.expected.len());
        let world = self.model.0.lock();
        for (pid, &(ended, taken)) in &self.strays {
            let left = self.scope == Scope::Registered || ended.is_none() || taken;
            assert!(left, "{pid} is untold");
            assert!(world.children.contains_key(pid), "{pid} was reaped");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_end_is_told_once_and_right(
        all in any::<bool>(),
        options in proptest::array::uniform2(proptest::sample::select(&OPTIONS[..])),
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let scope = if all { Scope::All } else { Scope::Registered };
        let mut daemon = Daemon::new(scope, options);
        for step in steps {
            match step {
                Step::Make(count, polled, keep) => {
                    (0..count).for_each(|_| daemon.make(u16::from(polled), keep));
                }
                Step::Stray(count) => (0..count).for_each(|_| daemon.stray()),
                Step::Adopt(number, polled) => daemon.adopt(number, u16::from(polled)),
                Step::End(numbers) => {
                    numbers.into_iter().for_each(|number| daemon.end(number));
                    // The signals have merged into one, which names one of the children.
                    daemon.signal(0, Some(1));
                }
                Step::Jobs(numbers) => {
                    numbers.into_iter().for_each(|number| daemon.job(number));
                    daemon.signal(0, Some(1));
                }
                Step::Signal(polled, hint) => daemon.signal(u16::from(polled), hint),
                Step::Steal(number) => daemon.steal(number),
                Step::Turn => daemon.turn(),
                Step::Pass(time) => daemon.model.0.lock().now += u64::from(time),
                Step::Refuse(refused) => daemon.model.0.lock().refused = refused,
                Step::Close => daemon.reaper.lose_descriptor(1),
            }
        }
        daemon.signal(0, Some(1));
        daemon.settle();
    }
}

/// Calls `part` until it says that there is no more; returns how many calls that took. No
/// call may hold the lock for much longer than HOLD.
fn parts(daemon: &mut Daemon, mut part: impl FnMut(&mut Reaper) -> bool) -> usize {
    for count in 1.. {
        let began = daemon.model.now();
        let more = part(&mut daemon.reaper);
        assert!(daemon.model.now() - began < 2 * HOLD);
        if !more {
            return count;
        }
    }
    unreachable!()
}

#[test]
fn what_goes_through_all_children_gives_the_lock_up_between() {
    let mut daemon = Daemon::new(Scope::Registered, [0; 2]);
    for _ in 0..1_000 {
        daemon.make(0, false);
    }
    daemon.model.0.lock().price = 10_000;
    let ctx = daemon.reaper.at_mut(0);
    ctx.params.max_pidfds = Some(2_000);
    let promoted = parts(&mut daemon, |reaper| {
        reaper.promote_all(0) == Promoted::Some
    });
    assert!(promoted > 5);
    assert_eq!(
        (daemon.reaper.table.young(), daemon.reaper.table.old()),
        (0, 1_000)
    );
    daemon.reaper.at_mut(0).polled = true;
    let mut cursor = 0;
    let joined = parts(&mut daemon, |reaper| reaper.join_some(0, &mut cursor));
    assert!(joined > 2);
    for number in 0..200 {
        daemon.end(number);
    }
    let taken = parts(&mut daemon, |reaper| !reaper.take_all_pidfds());
    assert!(taken > 1);
    assert_eq!(daemon.reaper.table.old(), 800);
    daemon.reaper.at_mut(0).params.options = libc::WUNTRACED;
    let swept = parts(&mut daemon, |reaper| {
        let now = reaper.kernel.now();
        reaper.sweep(now).0 == Seen::Some
    });
    assert!(swept > 2);
    let mut cursor = 0;
    let ended = parts(&mut daemon, |reaper| reaper.end_some(0, &mut cursor, HOLD));
    assert!(ended > 5);
    assert_eq!(daemon.reaper.at(0).watches, 0);
    // They are the other context's to reap.
    assert_eq!(daemon.reaper.table.old(), 800);
}

/// The signal of an end that a sweep has passed over comes, merged, before that sweep is
/// over: another one follows.
#[test]
fn an_end_behind_an_interrupted_sweep_is_found() {
    // Stops are asked for, so each child is waited for.
    let mut daemon = Daemon::new(Scope::Registered, [libc::WUNTRACED, 0]);
    for _ in 0..1_000 {
        daemon.make(0, false);
    }
    daemon.model.0.lock().price = 10_000;
    // A signal that names nobody. The rest of its sweep is owed.
    daemon.reaper.serve(0);
    daemon.reaper.after_signal(0, None);
    assert!(daemon.reaper.table.is_swept_in_part());
    daemon.end(5);
    daemon.end(250);
    daemon.reaper.after_signal(0, Some(daemon.latest));
    daemon.pay();
    daemon.model.0.lock().now += LOOK_WITHIN;
    daemon.pay();
    daemon.deliver(0);
    assert_eq!(daemon.expected.len(), 998);
}

#[test]
fn a_descriptor_is_lost_part_by_part() {
    let mut daemon = Daemon::new(Scope::Registered, [0; 2]);
    for _ in 0..1_000 {
        daemon.make(1, false);
    }
    daemon.reaper.at_mut(1).params.max_pidfds = Some(2_000);
    while daemon.reaper.promote_all(1) == Promoted::Some {}
    assert_eq!(daemon.reaper.table.old(), 1_000);
    daemon.model.0.lock().price = 10_000;
    let lost = parts(&mut daemon, |reaper| {
        if reaper.at(1).descriptor.is_some() {
            reaper.lose_descriptor(1);
        } else {
            reaper.pay();
        }
        reaper.agenda.is_owed(Debt::Demote)
    });
    assert!(lost > 2);
    assert_eq!(daemon.reaper.table.young(), 1_000);
}

/// A walk falls due after pay() has read the clock, and before the facts are collected.
#[test]
fn a_walk_that_falls_due_meanwhile_stays_owed() {
    let mut daemon = Daemon::new(Scope::All, [libc::WUNTRACED, 0]);
    for _ in 0..100 {
        daemon.make(0, false);
    }
    daemon.reaper.serve(0);
    let now = daemon.model.now();
    daemon.reaper.agenda.owe(Debt::Each, now);
    daemon.reaper.agenda.owe(Debt::Walk, now + 75);
    daemon.reaper.pay();
    assert!(!daemon.reaper.agenda.is_due(Debt::Each, now));
    assert!(daemon.reaper.agenda.is_owed(Debt::Walk));
}
