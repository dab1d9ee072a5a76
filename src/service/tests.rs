//! Ledger and attribution against a model of the kernel's process tree: forks,
//! exits and reparenting, with the supervisor looking at any moment between.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::attribute::{Evidence, Facts, Identity, Verdict, look_at};
use super::ledger::{Follow, Key, Ledger, Outside, Usage, What};
use crate::sys::error::Error;
use crate::sys::procfs::Said;

const US: i32 = 1;

#[derive(Clone, Debug)]
struct Process {
    parent: i32,
    dead: bool,
    in_execve: bool,
    service: u32,
}

/// What the kernel has. Children stand in the order in which they came.
#[derive(Clone, Debug, Default)]
struct World {
    processes: BTreeMap<i32, Process>,
    children: Vec<i32>,
    last: i32,
    evidence: Option<Evidence>,
}

impl World {
    fn new(evidence: Option<Evidence>) -> Self {
        World {
            last: 100,
            evidence,
            ..World::default()
        }
    }

    fn fork(&mut self, parent: i32, service: u32) -> i32 {
        self.last += 1;
        let process = Process {
            parent,
            dead: false,
            in_execve: false,
            service,
        };
        self.processes.insert(self.last, process);
        if parent == US {
            self.children.push(self.last);
        }
        self.last
    }

    fn fork_below(&mut self, parent: i32) -> i32 {
        let service = self.processes[&parent].service;
        self.fork(parent, service)
    }

    /// Reparent the children, then turn zombie: one step, as in exit_notify().
    fn exit(&mut self, pid: i32) {
        for (&child, process) in &mut self.processes {
            if process.parent == pid {
                process.parent = US;
                self.children.push(child);
            }
        }
        self.processes.get_mut(&pid).unwrap().dead = true;
    }

    fn reap(&mut self, pid: i32) {
        assert!(self.processes[&pid].dead);
        self.processes.remove(&pid);
        self.children.retain(|&child| child != pid);
    }

    fn alive(&self) -> Vec<i32> {
        let alive = |(&pid, process): (&i32, &Process)| (!process.dead).then_some(pid);
        self.processes.iter().filter_map(alive).collect()
    }
}

impl Facts for &World {
    fn identity(&mut self, pid: i32) -> Result<Option<Identity>, Error> {
        Ok(Some(Identity::Inode(pid.unsigned_abs().into())))
    }

    fn cgroup(&mut self, pid: i32) -> Result<Option<u32>, Error> {
        let service = self.processes[&pid].service;
        Ok((self.evidence == Some(Evidence::Cgroup)).then_some(service))
    }

    fn tag(&mut self, pid: i32) -> Result<Option<u64>, Error> {
        let service = self.processes[&pid].service;
        Ok((self.evidence == Some(Evidence::Tag)).then_some(tag(service)))
    }

    fn environment(&mut self, pid: i32) -> Result<Said<u64>, Error> {
        let process = &self.processes[&pid];
        let readable = self.evidence == Some(Evidence::Environment) && !process.dead;
        Ok(if process.in_execve {
            Said::NotYet
        } else if readable {
            Said::This(tag(process.service))
        } else {
            Said::Nothing
        })
    }
}

fn tag(service: u32) -> u64 {
    1000 + u64::from(service)
}

struct Kernel<'a>(&'a World);

impl Outside for Kernel<'_> {
    fn cgroup_is_empty(&mut self, _: u32) -> bool {
        true
    }

    fn pid_file(&mut self, _: u32) -> Option<i32> {
        None
    }

    fn lives(&mut self, pid: i32) -> bool {
        !self.0.processes[&pid].dead
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Event {
    key: Key,
    what: What,
}

struct Supervisor {
    ledger: Ledger,
    keys: Vec<Key>,
    told: Vec<Event>,
}

impl Supervisor {
    fn new() -> Self {
        Supervisor {
            ledger: Ledger::default(),
            keys: Vec::new(),
            told: Vec::new(),
        }
    }

    fn start(&mut self, world: &mut World, follow: Follow) -> (Key, i32) {
        let services = u32::try_from(self.ledger.services().count()).unwrap();
        let key = self.ledger.add(tag(services), follow).unwrap();
        self.keys.push(key);
        let pid = world.fork(US, key.index);
        self.ledger.started(key, pid);
        (key, pid)
    }

    fn scan(&mut self, world: &World) {
        if world.evidence == Some(Evidence::Descent) {
            self.walk(world);
        }
        for &pid in &world.children.clone() {
            let verdict = look_at(&mut self.ledger, pid, &mut &*world).unwrap();
            if verdict == Verdict::Unclaimed {
                self.ledger.orphans += 1;
            }
        }
    }

    /// Everything below live members, as /proc/PID/task/TID/children shows it.
    fn walk(&mut self, world: &World) {
        let mut found = true;
        while found {
            found = false;
            for (&pid, process) in &world.processes {
                let Some(parent) = self.ledger.process(process.parent) else {
                    continue;
                };
                let identity = Identity::Inode(pid.unsigned_abs().into());
                let service = parent.service;
                found |= self
                    .ledger
                    .below(service, pid, process.parent, identity, Evidence::Descent)
                    .unwrap();
            }
        }
    }

    /// Peek, scan, record, peek the new ones, reap when nothing is new.
    fn turn(&mut self, world: &mut World) {
        self.scan(world);
        loop {
            let dead = world
                .children
                .iter()
                .copied()
                .find(|pid| world.processes[pid].dead && self.ledger.process(*pid).is_some());
            let Some(pid) = dead else { break };
            self.scan(world);
            self.ledger.ended(pid, 0, Usage::default());
            self.tell();
            world.reap(pid);
        }
        self.ledger.settle(&mut Kernel(world));
        self.tell();
    }

    fn tell(&mut self) {
        for &key in &self.keys {
            while let Some(what) = self.ledger.next(key) {
                self.told.push(Event { key, what });
            }
        }
    }
}

/// One step of a scenario: a process forks the given child, or ends (None). Processes
/// are named by letters; P is the first.
type Step = (char, Option<char>);

const IDEAL: &[Step] = &[('P', Some('C')), ('P', None), ('C', None)];
const DAEMONISE: &[Step] = &[
    ('P', Some('I')),
    ('I', Some('D')),
    ('P', None),
    ('I', None),
    ('D', None),
];
const BOTH_AT_ONCE: &[Step] = &[('P', Some('C')), ('C', None), ('P', None)];
const WRONG_ORDER: &[Step] = &[
    ('P', Some('I')),
    ('I', Some('D')),
    ('I', None),
    ('P', None),
    ('D', None),
];

fn name(names: &BTreeMap<char, i32>, wanted: i32) -> char {
    *names.iter().find(|&(_, &pid)| pid == wanted).unwrap().0
}

/// Runs a scenario; bit n of `looks` says whether the supervisor gets to work
/// after step n. What it told, by letters: "+C" adopted, "-P" exited, "." dead.
fn run(scenario: &[Step], looks: usize, evidence: Option<Evidence>) -> Vec<String> {
    let mut world = World::new(evidence);
    let mut supervisor = Supervisor::new();
    let (_, first) = supervisor.start(&mut world, Follow::Forking);
    let mut names = BTreeMap::from([('P', first)]);
    for (at, &(who, child)) in scenario.iter().enumerate() {
        let pid = names[&who];
        match child {
            Some(child) => {
                names.insert(child, world.fork_below(pid));
            }
            None => world.exit(pid),
        }
        if looks & 1 << at != 0 {
            supervisor.turn(&mut world);
        }
    }
    supervisor.turn(&mut world);
    assert!(
        evidence.is_none() || world.processes.is_empty(),
        "{evidence:?} {looks:b}: {world:?}"
    );
    supervisor
        .told
        .iter()
        .filter_map(|event| match event.what {
            What::Adopted { pid, .. } => Some(format!("+{}", name(&names, pid))),
            What::Exited { pid, .. } => Some(format!("-{}", name(&names, pid))),
            What::MainChanged { .. } => None,
            What::Dead { .. } => Some(".".into()),
        })
        .collect()
}

fn place(told: &[String], what: &str) -> usize {
    told.iter().position(|told| told == what).unwrap()
}

/// Whatever the supervisor saw and when, this holds.
fn check(scenario: &[Step], looks: usize, evidence: Evidence) {
    let told = run(scenario, looks, Some(evidence));
    let what = format!("{evidence:?} {looks:b}: {told:?}");
    let mut expected = vec![".".to_string(), "-P".to_string()];
    for &(_, child) in scenario {
        if let Some(child) = child {
            expected.extend([format!("+{child}"), format!("-{child}")]);
        }
    }
    let mut sorted = told.clone();
    sorted.sort();
    expected.sort();
    assert_eq!(sorted, expected, "{what}");
    assert_eq!(told.last().unwrap(), ".", "{what}");
    for &(parent, child) in scenario {
        if let Some(child) = child {
            let adopted = place(&told, &format!("+{child}"));
            assert!(adopted < place(&told, &format!("-{child}")), "{what}");
            assert!(adopted < place(&told, &format!("-{parent}")), "{what}");
        }
    }
}

#[test]
fn each_scenario_in_each_order_with_each_evidence() {
    for scenario in [IDEAL, DAEMONISE, BOTH_AT_ONCE, WRONG_ORDER] {
        for looks in 0..1 << scenario.len() {
            for evidence in [Evidence::Cgroup, Evidence::Tag] {
                check(scenario, looks, evidence);
            }
            // Descent has to have seen them while they lived below.
            check(scenario, looks | 0b11, Evidence::Descent);
        }
    }
    // A zombie's environment cannot be read: it is evidence only for a process that lived
    // when it was looked at.
    for scenario in [IDEAL, DAEMONISE] {
        check(scenario, usize::MAX >> 1, Evidence::Environment);
    }
}

#[test]
fn a_process_in_execve_is_asked_again() {
    let mut world = World::new(Some(Evidence::Environment));
    let mut supervisor = Supervisor::new();
    supervisor.start(&mut world, Follow::Forking);
    let pid = world.fork(US, 0);
    for (in_execve, verdict) in [
        (true, Verdict::NotYet),
        (false, Verdict::Adopted(0)),
        (true, Verdict::Known),
    ] {
        world.processes.get_mut(&pid).unwrap().in_execve = in_execve;
        let seen = look_at(&mut supervisor.ledger, pid, &mut &world).unwrap();
        assert_eq!(seen, verdict);
    }
}

#[test]
fn the_lists_of_the_seed() {
    let prompt = |scenario: &[Step]| run(scenario, usize::MAX, Some(Evidence::Tag)).join(" ");
    let busy = |scenario: &[Step]| run(scenario, 0, Some(Evidence::Tag)).join(" ");
    assert_eq!(prompt(IDEAL), "+C -P -C .");
    assert_eq!(prompt(DAEMONISE), "+I -P +D -I -D .");
    assert_eq!(busy(BOTH_AT_ONCE), "+C -P -C .");
    assert_eq!(prompt(WRONG_ORDER), "+D +I -P -I -D .");
    // The kernel's order: D came to us before I did.
    assert_eq!(busy(WRONG_ORDER), "+D +I -P -D -I .");
}

#[test]
fn without_evidence_nobody_is_claimed() {
    for scenario in [IDEAL, DAEMONISE, BOTH_AT_ONCE, WRONG_ORDER] {
        for looks in 0..1 << scenario.len() {
            assert_eq!(run(scenario, looks, None), ["-P", "."]);
        }
    }
}

#[test]
fn the_main_process_is_followed() {
    let mut world = World::new(Some(Evidence::Tag));
    let mut supervisor = Supervisor::new();
    let (_, first) = supervisor.start(&mut world, Follow::Forking);
    let second = world.fork_below(first);
    let third = world.fork_below(second);
    let worker = world.fork_below(third);
    world.exit(first);
    supervisor.turn(&mut world);
    world.exit(second);
    supervisor.turn(&mut world);
    world.exit(third);
    supervisor.turn(&mut world);
    world.exit(worker);
    supervisor.turn(&mut world);
    let mains: Vec<i32> = supervisor
        .told
        .iter()
        .filter_map(|event| match event.what {
            What::MainChanged { pid } => Some(pid),
            _ => None,
        })
        .collect();
    assert_eq!(mains, [second, third, worker]);
}

#[test]
fn a_main_process_that_cannot_be_told_from_others_is_none() {
    let mut world = World::new(Some(Evidence::Tag));
    let mut supervisor = Supervisor::new();
    let (key, first) = supervisor.start(&mut world, Follow::Forking);
    let one = world.fork_below(first);
    let two = world.fork_below(first);
    world.exit(first);
    supervisor.turn(&mut world);
    supervisor.ledger.touch(key.index);
    supervisor.turn(&mut world);
    world.exit(one);
    supervisor.turn(&mut world);
    world.exit(two);
    supervisor.turn(&mut world);
    let mains = supervisor.told.iter().filter_map(|event| match event.what {
        What::MainChanged { pid } => Some(pid),
        _ => None,
    });
    assert_eq!(mains.collect::<Vec<_>>(), [0, two]);
}

#[test]
fn a_main_process_that_ends_leaves_others() {
    let mut world = World::new(Some(Evidence::Tag));
    let mut supervisor = Supervisor::new();
    let (key, first) = supervisor.start(&mut world, Follow::First);
    let worker = world.fork_below(first);
    world.exit(first);
    supervisor.turn(&mut world);
    assert!(supervisor.told.contains(&Event {
        key,
        what: What::MainChanged { pid: 0 }
    }));
    world.exit(worker);
    supervisor.turn(&mut world);
    let dead = supervisor.told.last().unwrap();
    assert_eq!(dead.what, What::Dead { orphans: 0 });
}

#[test]
fn descent_gives_the_former_parent() {
    let mut world = World::new(Some(Evidence::Descent));
    let mut supervisor = Supervisor::new();
    let (key, first) = supervisor.start(&mut world, Follow::First);
    let child = world.fork_below(first);
    supervisor.turn(&mut world);
    world.exit(first);
    supervisor.turn(&mut world);
    assert!(supervisor.told.contains(&Event {
        key,
        what: What::Adopted {
            pid: child,
            parent: first,
            evidence: Evidence::Descent,
        }
    }));
}

#[test]
fn a_silent_service_keeps_its_claim_until_it_is_gone() {
    let mut world = World::new(Some(Evidence::Tag));
    let mut supervisor = Supervisor::new();
    let (key, first) = supervisor.start(&mut world, Follow::First);
    let child = world.fork_below(first);
    world.exit(first);
    supervisor.ledger.silence(key);
    supervisor.turn(&mut world);
    assert!(supervisor.told.is_empty());
    assert!(supervisor.ledger.process(child).is_some());
    world.exit(child);
    supervisor.turn(&mut world);
    assert!(supervisor.told.is_empty());
    assert!(world.processes.is_empty());
    assert_eq!(supervisor.ledger.services().count(), 0);
    // Its place is another's now, its key is not.
    let (other, _) = supervisor.start(&mut world, Follow::First);
    assert_eq!(other.index, key.index);
    assert_ne!(other.generation, key.generation);
}

/// Other code waited for the first one, so its pid was free before its EXITED was told.
#[test]
fn an_end_that_is_told_late_takes_no_later_process_along() {
    for silent in [false, true] {
        let mut ledger = Ledger::default();
        let former = ledger.add(tag(0), Follow::First).unwrap();
        let later = ledger.add(tag(1), Follow::First).unwrap();
        ledger.started(former, 100);
        ledger.ended(100, -1, Usage::default());
        ledger.started(later, 100);
        if silent {
            ledger.silence(former);
        } else {
            let told = ledger.next(former);
            assert!(matches!(told, Some(What::Exited { pid: 100, .. })));
        }
        assert_eq!(ledger.get(former).unwrap().processes, 0);
        assert_eq!(ledger.get(later).unwrap().processes, 1);
        assert_eq!(ledger.process(100).unwrap().service, later.index);
    }
}

#[test]
fn a_start_that_fails_leaves_no_process() {
    let mut ledger = Ledger::default();
    let failed = ledger.add(tag(0), Follow::First).unwrap();
    ledger.started(failed, 100);
    ledger.abandon(failed);
    let next = ledger.add(tag(1), Follow::First).unwrap();
    assert_eq!(next.index, failed.index);
    assert_eq!(ledger.members(next.index).count(), 0);
    ledger.started(next, 100);
    assert_eq!(ledger.get(next).unwrap().processes, 1);
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Fork(usize),
    Exit(usize),
    Look,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        3 => any::<usize>().prop_map(Deed::Fork),
        3 => any::<usize>().prop_map(Deed::Exit),
        1 => Just(Deed::Look),
    ];
    proptest::collection::vec(deed, 0..200)
}

proptest! {
    #[test]
    fn all_are_attributed_and_none_wrongly(
        deeds in deeds(),
        services in 1usize..8,
        evidence in prop_oneof![
            Just(Evidence::Cgroup), Just(Evidence::Tag), Just(Evidence::Descent),
            Just(Evidence::Environment)
        ],
    ) {
        let mut world = World::new(Some(evidence));
        let mut supervisor = Supervisor::new();
        let mut origin = BTreeMap::new();
        for _ in 0..services {
            let (key, pid) = supervisor.start(&mut world, Follow::First);
            origin.insert(pid, key);
        }
        for deed in deeds {
            let alive = world.alive();
            match deed {
                Deed::Look => supervisor.turn(&mut world),
                _ if alive.is_empty() => {}
                Deed::Fork(who) => {
                    let parent = alive[who % alive.len()];
                    let child = world.fork_below(parent);
                    origin.insert(child, origin[&parent]);
                }
                Deed::Exit(who) => world.exit(alive[who % alive.len()]),
            }
        }
        for pid in world.alive() {
            world.exit(pid);
        }
        supervisor.turn(&mut world);
        let (mut adopted, mut exited, mut dead) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for event in &supervisor.told {
            prop_assert!(!dead.contains(&event.key.index));
            match event.what {
                What::Adopted { pid, .. } => {
                    prop_assert_eq!(origin[&pid], event.key);
                    prop_assert!(adopted.insert(pid));
                }
                What::Exited { pid, .. } => {
                    prop_assert_eq!(origin[&pid], event.key);
                    prop_assert!(exited.insert(pid));
                }
                What::MainChanged { .. } => {}
                What::Dead { .. } => {
                    dead.insert(event.key.index);
                }
            }
        }
        prop_assert_eq!(dead.len(), services);
        let sure = matches!(evidence, Evidence::Cgroup | Evidence::Tag);
        if sure {
            prop_assert!(world.processes.is_empty());
            prop_assert_eq!(exited.len(), origin.len());
        }
    }
}
