//! The life of one unit. Pure: (state, event, now) gives the next state and
//! what is to be done; the unit does it, and tells of it as further events.
//!
//! A *run* is what one start brought about: the main process and all that came
//! from it. A run is over when the whole tree is dead, or with [`Over::Main`]
//! when the main process has ended; what lives on then is counted, and is no
//! state of its own.
//!
//! The code that drives the machine performs the actions in order and at once: after
//! [`Action::Spawn`] comes [`Event::Spawned`] or [`Event::SpawnFailed`] before anything
//! else, and after [`Action::Decide`] comes [`Event::Decided`]. [`Event::MainEnded`]
//! comes before the [`Event::AllDead`] of the same run.

use nix::errno::Errno;

use super::policy::{History, Policy, Verdict};
use crate::sys::error::Error;

#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub(crate) enum State {
    Stopped,
    Starting,
    Running,
    Reloading,
    Stopping,
    Backoff,
    Failed,
}

/// When a run is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Over {
    /// When all of its processes are dead.
    #[default]
    Tree,
    /// When its main process has ended; the others live on.
    Main,
}

/// What a unit is started for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Kind {
    /// It is to run until it is stopped.
    #[default]
    LongLived,
    /// It does one thing and ends; it is ready once that succeeded.
    Oneshot,
}

/// Times are nanoseconds; 0 where there is no limit.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) kind: Kind,
    pub(crate) over: Over,
    /// It says itself that it is ready. Otherwise it counts as ready as soon as it was
    /// started.
    pub(crate) announces: bool,
    pub(crate) ready_within: u64,
    /// It says itself that a reload is done.
    pub(crate) reload_announces: bool,
    pub(crate) reload_within: u64,
    pub(crate) watchdog: u64,
    /// How long each step of a stop may take. After the last comes SIGKILL for
    /// all.
    pub(crate) steps: Vec<u64>,
    /// How long after SIGKILL a process that still lives is told of.
    pub(crate) kill_within: u64,
    /// The owner is asked after each end.
    pub(crate) decides: bool,
}

/// What somebody asks of a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    Start,
    Stop,
    Restart,
    Reload,
    /// Stop, by SIGKILL at once.
    Kill,
    /// A unit that comes before it failed: its start is given up.
    GiveUp,
    /// Its stop, or its start after a delay, waits for others. Meanwhile it is not started
    /// again by itself.
    StayDown,
}

/// The owner's answer after an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// As the policy says.
    Policy,
    /// Start it again, after the policy's delay and within its limit.
    Restart,
    /// Leave it; it has failed if its run had.
    GiveUp,
    /// Leave it in BACKOFF until a command comes.
    Wait,
}

impl Choice {
    /// The daemon's answer; what it cannot mean is the policy's.
    pub(crate) fn of(answer: u32) -> Self {
        match answer {
            1 => Choice::Restart,
            2 => Choice::GiveUp,
            3 => Choice::Wait,
            _ => Choice::Policy,
        }
    }
}

/// What happened to a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// The start that was asked for succeeded.
    Spawned,
    SpawnFailed,
    Ready,
    /// The main process ended; with `alone` no other process of this or a former run lives.
    MainEnded {
        failed: bool,
        alone: bool,
    },
    /// The last process of the run is dead, after its main process.
    AllDead,
    /// The processes to be killed could not be found now, for want of descriptors or
    /// memory.
    KillFailed,
    /// It said that it is reading its configuration anew, and since when, if it said that
    /// too.
    ReloadBegun(Option<u64>),
    /// It said that it stops.
    StopBegun,
    /// A sign of life.
    Ping,
    /// It said that it is broken.
    Broken,
    /// The present time limit is this far away at least.
    Extend(u64),
    /// It gives signs of life this often from now on; 0: none.
    Watchdog(u64),
    /// The time that `deadline` returned has come.
    Time,
    Decided(Choice),
}

/// What the unit is to do, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Start a run. Spawned or SpawnFailed follows.
    Spawn,
    /// Take this step of the stop.
    Step(usize),
    /// SIGKILL for all that a stop reaches.
    Kill,
    /// Tell that some processes survived SIGKILL.
    Unkillable,
    Reload,
    /// Tell of the new state.
    Tell(State),
    /// Ask the owner. Decided follows.
    Decide,
}

/// Why a run counts as failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    Start,
    Exit,
    NotReady,
    Watchdog,
    Limit,
    Dependency,
}

const MOST: usize = 6;

/// How long until a kill that found nobody, for want of descriptors, is tried again.
const KILL_AGAIN: u64 = 100_000_000;
/// How long until a kill that left survivors is tried again.
const KILL_SURVIVORS: u64 = 10_000_000_000;

/// The actions of one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Actions {
    list: [Option<Action>; MOST],
}

impl Actions {
    const fn none() -> Self {
        Actions { list: [None; MOST] }
    }

    fn push(&mut self, action: Action) {
        if let Some(free) = self.list.iter_mut().find(|place| place.is_none()) {
            *free = Some(action);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Action> {
        self.list.into_iter().flatten()
    }
}

#[derive(Debug)]
pub(crate) struct Machine {
    config: Config,
    history: History,
    state: State,
    /// The number of the last start.
    number: u64,
    /// The owner wants it up.
    wanted: bool,
    /// The stop that goes on is the first half of a restart.
    again: bool,
    /// The main process of the run lives.
    main: bool,
    /// Some process of the run lives.
    tree: bool,
    cause: Option<Cause>,
    /// The step of the stop that was taken last.
    step: usize,
    /// SIGKILL was sent.
    killed: bool,
    /// Some survived it for too long.
    survived: bool,
    /// The time limit of the state.
    limit: Option<u64>,
    /// Until when a sign of life has to come.
    alive_by: Option<u64>,
    watchdog: u64,
    random: u64,
    /// The last start was a command's.
    commanded: bool,
    /// When a reload was asked for, if the program has not said since then that it began.
    reload_asked: Option<u64>,
}

impl Machine {
    pub(crate) fn new(config: Config, policy: Policy, seed: u64) -> Result<Self, Error> {
        let history = History::new(policy)?;
        Ok(Machine {
            watchdog: config.watchdog,
            config,
            history,
            state: State::Stopped,
            number: 0,
            wanted: false,
            again: false,
            main: false,
            tree: false,
            cause: None,
            step: 0,
            killed: false,
            survived: false,
            limit: None,
            alive_by: None,
            random: seed | 1,
            commanded: false,
            reload_asked: None,
        })
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The number of the last start, from 1 on.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Why the last run counts as failed.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Whether the end of the run's main process was not told yet.
    pub(crate) fn has_main(&self) -> bool {
        self.main
    }

    /// Whether a process of this run or a former one is left that a stop would end.
    pub(crate) fn has_processes(&self) -> bool {
        self.tree
    }

    /// Whether the processes that outlive the main one are left alone.
    pub(crate) fn spares_others(&self) -> bool {
        self.config.over == Over::Main && (self.wanted || self.again)
    }

    /// How often it has to give a sign of life; 0 for never.
    pub(crate) fn watchdog(&self) -> u64 {
        self.config.watchdog
    }

    pub(crate) fn is_oneshot(&self) -> bool {
        self.config.kind == Kind::Oneshot
    }

    /// Whether the last start was a command's, and no restart.
    pub(crate) fn was_commanded(&self) -> bool {
        self.commanded
    }

    /// When Event::Time is to come.
    pub(crate) fn deadline(&self) -> Option<u64> {
        match (self.limit, self.alive_by) {
            (Some(limit), Some(alive)) => Some(limit.min(alive)),
            (limit, alive) => limit.or(alive),
        }
    }

    /// A command. EAGAIN for a reload of what does not run; nothing changes then.
    pub(crate) fn command(&mut self, command: Command, now: u64) -> Result<Actions, Error> {
        let mut actions = Actions::none();
        self.commanded |= matches!(command, Command::Start | Command::Restart);
        match (command, self.state) {
            (
                Command::Start | Command::Restart,
                State::Stopped | State::Failed | State::Backoff,
            ) => {
                self.wanted = true;
                self.history.forget();
                if self.tree && self.config.over == Over::Tree {
                    // A stop that was given up left some processes: these are stopped
                    // first.
                    self.again = true;
                    self.stop(now, &mut actions);
                } else {
                    self.start(now, &mut actions);
                }
            }
            // A stop that waited for others (StayDown) may have cleared this.
            (Command::Start, State::Starting | State::Running | State::Reloading) => {
                self.wanted = true;
            }
            (Command::Start | Command::Restart, State::Stopping) => {
                self.wanted = true;
                self.again = true;
                self.history.forget();
            }
            (Command::Restart, State::Starting | State::Running | State::Reloading) => {
                // Here too StayDown may have cleared this.
                self.wanted = true;
                self.again = true;
                self.history.forget();
                self.stop(now, &mut actions);
            }
            (Command::Stop, State::Stopping) => {
                self.wanted = false;
                self.again = false;
            }
            (Command::Stop, _) => {
                self.wanted = false;
                self.again = false;
                if self.tree {
                    self.stop(now, &mut actions);
                } else if self.state != State::Stopped {
                    self.enter(State::Stopped, &mut actions);
                }
            }
            (Command::Kill, State::Stopping) => {
                self.wanted = false;
                self.again = false;
                self.kill(now, &mut actions);
            }
            (Command::Kill, _) if self.tree => {
                self.wanted = false;
                self.again = false;
                self.enter(State::Stopping, &mut actions);
                self.kill(now, &mut actions);
            }
            (Command::Kill, _) => return self.command(Command::Stop, now),
            (Command::GiveUp, State::Stopped | State::Failed | State::Backoff) => {
                self.wanted = false;
                self.cause = Some(Cause::Dependency);
                self.enter(State::Failed, &mut actions);
            }
            (Command::GiveUp, _) => {}
            (Command::StayDown, state) => {
                self.wanted = false;
                self.again = false;
                if state == State::Backoff {
                    self.limit = None;
                }
            }
            (Command::Reload, State::Running) => {
                actions.push(Action::Reload);
                if self.config.reload_announces {
                    self.enter(State::Reloading, &mut actions);
                    self.limit = after(now, self.config.reload_within);
                    self.reload_asked = Some(now);
                }
            }
            (Command::Reload, _) => return Err(Errno::EAGAIN.into()),
        }
        Ok(actions)
    }

    /// Something happened. What cannot happen in a state changes nothing.
    pub(crate) fn event(&mut self, event: Event, now: u64) -> Actions {
        let mut actions = Actions::none();
        match event {
            Event::Spawned => self.spawned(now, &mut actions),
            Event::SpawnFailed => {
                self.cause = Some(Cause::Start);
                self.over(now, &mut actions);
            }
            // A oneshot is ready once it has ended, whatever it says before.
            Event::Ready if self.is_oneshot() && self.state == State::Starting => {}
            Event::Ready => self.ready(now, &mut actions),
            Event::MainEnded { failed, alone } => self.main_ended(failed, alone, now, &mut actions),
            Event::AllDead => self.all_dead(now, &mut actions),
            Event::KillFailed => {
                if self.state == State::Stopping && self.killed {
                    self.killed = false;
                    self.limit = after(now, KILL_AGAIN);
                }
            }
            Event::ReloadBegun(since) => match self.state {
                State::Running => {
                    self.enter(State::Reloading, &mut actions);
                    self.limit = after(now, self.config.reload_within);
                }
                // A reload that began before this one was asked for is another one.
                State::Reloading if since.is_none_or(|since| Some(since) >= self.reload_asked) => {
                    self.reload_asked = None;
                }
                _ => {}
            },
            Event::StopBegun => {
                if self.is_up() {
                    self.enter(State::Stopping, &mut actions);
                    self.begin_steps(now);
                }
            }
            Event::Ping => self.ping(now),
            Event::Broken => {
                if self.is_up() {
                    self.fail(Cause::Watchdog, now, &mut actions);
                }
            }
            // A process of a former run has no say in when the next one starts.
            Event::Extend(_) if !self.is_up() && self.state != State::Stopping => {}
            Event::Extend(time) => {
                let to = now.saturating_add(time);
                self.limit = self.limit.map(|limit| limit.max(to));
                self.alive_by = self.alive_by.map(|alive| alive.max(to));
            }
            Event::Watchdog(time) => {
                self.watchdog = time;
                self.ping(now);
            }
            Event::Time => self.time(now, &mut actions),
            Event::Decided(choice) => self.decided(choice, now, &mut actions),
        }
        actions
    }

    /// Ready, or on the way from or to it.
    fn is_up(&self) -> bool {
        matches!(
            self.state,
            State::Starting | State::Running | State::Reloading
        )
    }

    fn enter(&mut self, state: State, actions: &mut Actions) {
        self.state = state;
        self.limit = None;
        self.survived = false;
        self.reload_asked = None;
        if !matches!(state, State::Running | State::Reloading) {
            self.alive_by = None;
        }
        actions.push(Action::Tell(state));
    }

    fn start(&mut self, now: u64, actions: &mut Actions) {
        self.number += 1;
        self.cause = None;
        self.again = false;
        self.killed = false;
        self.watchdog = self.config.watchdog;
        self.history.started(now);
        self.enter(State::Starting, actions);
        self.limit = after(now, self.config.ready_within);
        actions.push(Action::Spawn);
    }

    fn spawned(&mut self, now: u64, actions: &mut Actions) {
        self.main = true;
        self.tree = true;
        if !self.config.announces && self.config.kind == Kind::LongLived {
            self.ready(now, actions);
        }
    }

    fn ready(&mut self, now: u64, actions: &mut Actions) {
        // While a reload that was asked for has not begun, this is the end of another
        // one.
        let up = matches!(self.state, State::Starting | State::Reloading);
        if up && self.reload_asked.is_none() {
            self.enter(State::Running, actions);
            self.ping(now);
        }
    }

    fn ping(&mut self, now: u64) {
        self.alive_by = match self.state {
            State::Running | State::Reloading => after(now, self.watchdog),
            _ => None,
        };
    }

    /// The run is broken: it ends as failed.
    fn fail(&mut self, cause: Cause, now: u64, actions: &mut Actions) {
        self.cause = self.cause.or(Some(cause));
        self.stop(now, actions);
    }

    fn main_ended(&mut self, failed: bool, alone: bool, now: u64, actions: &mut Actions) {
        if !self.main {
            return;
        }
        self.main = false;
        self.tree = !alone;
        // If the run was told to end, it does not matter how it ends.
        if failed && self.wanted && !self.again {
            self.cause = self.cause.or(Some(Cause::Exit));
        }
        if self.config.kind == Kind::Oneshot && !failed && self.state == State::Starting {
            // What it was started for is done.
            self.enter(State::Running, actions);
            self.wanted = false;
        }
        // A stop ends all processes. With Over::Main a restart leaves those alone that
        // outlive their main process.
        if alone || self.spares_others() {
            self.over(now, actions);
        } else if self.state != State::Stopping {
            self.stop(now, actions);
        }
    }

    fn all_dead(&mut self, now: u64, actions: &mut Actions) {
        let told = !self.tree;
        self.tree = false;
        // With Over::Main the run was over before, unless a stop was to end the rest.
        if !told && !self.main && self.state == State::Stopping {
            self.over(now, actions);
        }
    }

    fn stop(&mut self, now: u64, actions: &mut Actions) {
        if !self.tree {
            self.over(now, actions);
            return;
        }
        self.enter(State::Stopping, actions);
        self.killed = false;
        if self.config.steps.is_empty() {
            self.kill(now, actions);
        } else {
            self.begin_steps(now);
            actions.push(Action::Step(0));
        }
    }

    fn begin_steps(&mut self, now: u64) {
        self.step = 0;
        self.limit = match self.config.steps.first() {
            Some(&time) => after(now, time),
            None => Some(now),
        };
    }

    fn kill(&mut self, now: u64, actions: &mut Actions) {
        self.killed = true;
        self.limit = after(now, self.config.kill_within).or(after(now, KILL_SURVIVORS));
        actions.push(Action::Kill);
    }

    fn time(&mut self, now: u64, actions: &mut Actions) {
        if self.alive_by.is_some_and(|alive| alive <= now) {
            self.alive_by = None;
            self.fail(Cause::Watchdog, now, actions);
            return;
        }
        if self.limit.is_none_or(|limit| limit > now) {
            return;
        }
        self.limit = None;
        match self.state {
            State::Starting => self.fail(Cause::NotReady, now, actions),
            // The program has not said that it is done: it is taken as running with its
            // former configuration.
            State::Reloading => self.enter(State::Running, actions),
            State::Stopping if self.killed => {
                let told = std::mem::replace(&mut self.survived, true);
                if !told && self.config.kill_within > 0 {
                    actions.push(Action::Unkillable);
                }
                // A kill gives up where processes come faster than it finds them, and no
                // command leads out of this state.
                self.kill(now, actions);
                self.limit = after(now, KILL_SURVIVORS);
            }
            State::Stopping => {
                self.step += 1;
                match self.config.steps.get(self.step) {
                    Some(&time) => {
                        self.limit = after(now, time);
                        actions.push(Action::Step(self.step));
                    }
                    None => self.kill(now, actions),
                }
            }
            State::Backoff => {
                self.commanded = false;
                self.start(now, actions);
            }
            State::Stopped | State::Running | State::Failed => {}
        }
    }

    /// A run is over: another one follows, or none.
    fn over(&mut self, now: u64, actions: &mut Actions) {
        if self.again {
            self.start(now, actions);
            return;
        }
        let stopped = !self.wanted && self.cause.is_none();
        if stopped || (!self.wanted && self.state == State::Stopping) {
            self.enter(State::Stopped, actions);
            return;
        }
        if self.config.decides {
            self.enter(State::Backoff, actions);
            actions.push(Action::Decide);
            return;
        }
        self.settle(Choice::Policy, now, actions);
    }

    fn decided(&mut self, choice: Choice, now: u64, actions: &mut Actions) {
        // A command may have come before the answer.
        if self.state == State::Backoff && self.limit.is_none() && self.wanted {
            self.settle(choice, now, actions);
        }
    }

    fn settle(&mut self, choice: Choice, now: u64, actions: &mut Actions) {
        self.random = xorshift(self.random);
        let verdict = match choice {
            Choice::Policy => self.history.ended(self.cause.is_some(), now, self.random),
            Choice::Restart => self.history.again(now, self.random),
            Choice::GiveUp => Verdict::Over,
            Choice::Wait => return,
        };
        match verdict {
            Verdict::After(delay) => {
                if self.state != State::Backoff {
                    self.enter(State::Backoff, actions);
                }
                // A delay of 0 is a time limit too: it is over at once.
                self.limit = Some(now.saturating_add(delay));
            }
            Verdict::Over => {
                self.wanted = false;
                let state = if self.cause.is_some() {
                    State::Failed
                } else {
                    State::Stopped
                };
                self.enter(state, actions);
            }
            Verdict::TooMany => {
                self.wanted = false;
                self.cause = Some(Cause::Limit);
                self.enter(State::Failed, actions);
            }
        }
    }
}

/// A time limit; none where it is 0.
fn after(now: u64, time: u64) -> Option<u64> {
    (time > 0).then(|| now.saturating_add(time))
}

/// Marsaglia's generator: a jitter needs no better one.
fn xorshift(mut x: u64) -> u64 {
    x ^= x << 13;
    x ^= x >> 7;
    x ^ (x << 17)
}

#[cfg(test)]
mod tests {
    use super::super::policy::Restart;
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const MS: u64 = 1_000_000;

    fn config() -> Config {
        Config {
            kind: Kind::LongLived,
            over: Over::Tree,
            announces: false,
            ready_within: 50 * MS,
            reload_announces: false,
            reload_within: 50 * MS,
            watchdog: 0,
            steps: vec![20 * MS],
            kill_within: 20 * MS,
            decides: false,
        }
    }

    fn policy(restart: Restart) -> Policy {
        Policy {
            restart,
            delay: 10 * MS,
            delay_max: 40 * MS,
            jitter: 10,
            stable: 500 * MS,
            starts: 4,
            window: 1_000 * MS,
        }
    }

    /// What the world does to a unit.
    #[derive(Clone, Copy, Debug)]
    enum Deed {
        Command(Command),
        EndMain(bool),
        EndOther,
        Fork,
        Say(Event),
        Wait,
        Choose(Choice),
        FailSpawn,
    }

    type Seen = BTreeMap<(State, &'static str), BTreeSet<State>>;

    /// The processes of one unit, which obey the machine's actions.
    #[derive(Debug)]
    struct World {
        machine: Machine,
        config: Config,
        policy: Policy,
        now: u64,
        main: bool,
        others: u32,
        choice: Choice,
        spawn_fails: bool,
        /// Whether the last of Start, Restart and Stop was not Stop.
        wanted: bool,
        /// Starts since the last command that asked for one.
        starts: Vec<u64>,
        told: State,
        seen: Seen,
    }

    impl World {
        fn new(config: Config, policy: Policy) -> Self {
            World {
                machine: Machine::new(config.clone(), policy, 7).unwrap(),
                config,
                policy,
                now: 1,
                main: false,
                others: 0,
                choice: Choice::Policy,
                spawn_fails: false,
                wanted: false,
                starts: Vec::new(),
                told: State::Stopped,
                seen: Seen::new(),
            }
        }

        fn name(event: Event) -> &'static str {
            match event {
                Event::Spawned => "started",
                Event::SpawnFailed => "start failed",
                Event::Ready => "ready",
                Event::MainEnded { .. } => "main process ended",
                Event::AllDead => "all processes dead",
                Event::KillFailed => "kill failed",
                Event::ReloadBegun(_) => "says it reloads",
                Event::StopBegun => "says it stops",
                Event::Ping | Event::Extend(_) | Event::Watchdog(_) => "sign of life",
                Event::Broken => "says it is broken",
                Event::Time => "time limit",
                Event::Decided(_) => "owner decided",
            }
        }

        fn event(&mut self, event: Event) {
            let before = self.machine.state();
            let actions = self.machine.event(event, self.now);
            self.saw(before, Self::name(event), actions);
            self.perform(actions);
        }

        fn command(&mut self, command: Command) {
            let before = self.machine.state();
            let name = match command {
                Command::Start => "start command",
                Command::Stop => "stop command",
                Command::Restart => "restart command",
                Command::Reload => "reload command",
                Command::Kill => "kill command",
                Command::GiveUp => "a unit before failed",
                Command::StayDown => "a stop waits",
            };
            let over = matches!(before, State::Stopped | State::Failed);
            let none = matches!(command, Command::Reload | Command::GiveUp);
            if !none && (command != Command::StayDown || !over) {
                self.wanted = matches!(command, Command::Start | Command::Restart);
                self.starts.clear();
            }
            if let Ok(actions) = self.machine.command(command, self.now) {
                self.saw(before, name, actions);
                self.perform(actions);
            }
        }

        fn saw(&mut self, before: State, name: &'static str, actions: Actions) {
            let told: Vec<State> = actions
                .iter()
                .filter_map(|action| match action {
                    Action::Tell(state) => Some(state),
                    _ => None,
                })
                .collect();
            let next = self.seen.entry((before, name)).or_default();
            next.extend(told);
        }

        fn perform(&mut self, actions: Actions) {
            for action in actions.iter() {
                match action {
                    Action::Spawn => self.spawn(),
                    Action::Kill => {
                        assert_eq!(self.machine.state(), State::Stopping);
                        self.others = 0;
                        if self.main {
                            self.main = false;
                            self.event(Event::MainEnded {
                                failed: true,
                                alone: true,
                            });
                        } else {
                            self.event(Event::AllDead);
                        }
                    }
                    Action::Step(step) => assert!(step < self.config.steps.len()),
                    Action::Tell(state) => self.told = state,
                    Action::Decide => self.event(Event::Decided(self.choice)),
                    Action::Reload | Action::Unkillable => {}
                }
            }
        }

        fn spawn(&mut self) {
            assert!(self.wanted, "started though it was stopped");
            assert!(!self.main, "two main processes");
            assert!(
                self.others == 0 || self.config.over == Over::Main,
                "a process of the former run lives"
            );
            self.starts.push(self.now);
            let window = self.policy.window;
            let recent = self.starts.iter().filter(|&&at| self.now - at < window);
            assert!(recent.count() <= self.policy.starts as usize);
            if self.spawn_fails {
                self.event(Event::SpawnFailed);
            } else {
                self.main = true;
                self.event(Event::Spawned);
            }
        }

        fn alive(&self) -> bool {
            self.main || self.others > 0
        }

        fn act(&mut self, deed: Deed) {
            self.now += MS;
            match deed {
                Deed::Command(command) => self.command(command),
                Deed::EndMain(failed) if self.main => {
                    self.main = false;
                    let alone = self.others == 0;
                    self.event(Event::MainEnded { failed, alone });
                }
                Deed::EndOther if self.others > 0 => {
                    self.others -= 1;
                    if !self.alive() {
                        self.event(Event::AllDead);
                    }
                }
                Deed::Fork if self.alive() => self.others += 1,
                Deed::Say(event) if self.alive() => self.event(event),
                Deed::Wait => {
                    if let Some(deadline) = self.machine.deadline() {
                        self.now = self.now.max(deadline);
                        self.event(Event::Time);
                    }
                }
                Deed::Choose(choice) => self.choice = choice,
                Deed::FailSpawn => self.spawn_fails = !self.spawn_fails,
                _ => {}
            }
            self.check();
        }

        fn check(&self) {
            let state = self.machine.state();
            assert_eq!(state, self.told, "not told of");
            assert_eq!(self.machine.main, self.main);
            assert_eq!(self.machine.tree, self.alive());
            match state {
                State::Starting | State::Running | State::Reloading => assert!(self.main),
                State::Stopping => assert!(self.alive(), "nobody is left to stop"),
                State::Stopped | State::Backoff | State::Failed => {
                    assert!(!self.main);
                    assert!(self.others == 0 || self.config.over == Over::Main);
                }
            }
            if state == State::Stopped && !self.wanted {
                assert!(!self.alive(), "a stop left somebody");
            }
        }

        /// Stops it and lets time go by: nobody is left.
        fn end(&mut self) {
            self.act(Deed::Command(Command::Stop));
            for _ in 0..10 {
                self.act(Deed::Wait);
            }
            assert_eq!(self.machine.state(), State::Stopped);
            assert!(!self.alive());
        }
    }

    fn deeds() -> impl Strategy<Value = Deed> {
        let command = prop_oneof![
            3 => Just(Command::Start),
            1 => Just(Command::Stop),
            1 => Just(Command::Restart),
            1 => Just(Command::Reload),
            1 => Just(Command::Kill),
            1 => Just(Command::GiveUp),
            1 => Just(Command::StayDown),
        ];
        let say = prop_oneof![
            Just(Event::Ready),
            Just(Event::ReloadBegun(None)),
            Just(Event::ReloadBegun(Some(1))),
            Just(Event::StopBegun),
            Just(Event::Ping),
            Just(Event::Broken),
            Just(Event::Extend(30 * MS)),
            Just(Event::Watchdog(15 * MS)),
        ];
        let choice = prop_oneof![
            Just(Choice::Policy),
            Just(Choice::Restart),
            Just(Choice::GiveUp),
            Just(Choice::Wait),
        ];
        prop_oneof![
            4 => command.prop_map(Deed::Command),
            4 => any::<bool>().prop_map(Deed::EndMain),
            2 => Just(Deed::EndOther),
            2 => Just(Deed::Fork),
            4 => say.prop_map(Deed::Say),
            4 => Just(Deed::Wait),
            1 => choice.prop_map(Deed::Choose),
            1 => Just(Deed::FailSpawn),
        ]
    }

    fn configs() -> impl Strategy<Value = (Config, Policy)> {
        (
            any::<[bool; 5]>(),
            0usize..3,
            0usize..3,
            prop_oneof![Just(0), Just(15 * MS)],
        )
            .prop_map(|(flags, steps, restart, watchdog)| {
                let [oneshot, main, announces, reload_announces, decides] = flags;
                let config = Config {
                    kind: if oneshot {
                        Kind::Oneshot
                    } else {
                        Kind::LongLived
                    },
                    over: if main { Over::Main } else { Over::Tree },
                    announces,
                    reload_announces,
                    decides,
                    watchdog,
                    steps: vec![20 * MS; steps],
                    ..config()
                };
                let restart = [Restart::Never, Restart::OnFailure, Restart::Always][restart];
                (config, policy(restart))
            })
    }

    #[test]
    fn a_oneshot_is_not_ready_by_its_word() {
        let config = Config {
            kind: Kind::Oneshot,
            ..config()
        };
        let mut world = World::new(config, policy(Restart::Never));
        world.act(Deed::Command(Command::Start));
        world.act(Deed::Say(Event::Ready));
        assert_eq!(world.machine.state(), State::Starting);
        world.act(Deed::EndMain(true));
        assert_eq!(world.machine.state(), State::Failed);
    }

    #[test]
    fn a_kill_that_found_nobody_is_tried_again() {
        let mut machine = Machine::new(config(), policy(Restart::Never), 1).unwrap();
        machine.command(Command::Start, 0).unwrap();
        machine.event(Event::Spawned, 0);
        machine.command(Command::Stop, 0).unwrap();
        for _ in 0..3 {
            let now = machine.deadline().unwrap();
            let actions = machine.event(Event::Time, now);
            assert!(actions.iter().any(|action| action == Action::Kill));
            machine.event(Event::KillFailed, now);
        }
        assert_eq!(machine.state(), State::Stopping);
    }

    #[test]
    fn those_that_survive_a_kill_are_killed_again_and_told_once() {
        for kill_within in [0, 20 * MS] {
            let config = Config {
                steps: Vec::new(),
                kill_within,
                ..config()
            };
            let mut machine = Machine::new(config, policy(Restart::Never), 1).unwrap();
            machine.command(Command::Start, 0).unwrap();
            machine.event(Event::Spawned, 0);
            machine.command(Command::Stop, 0).unwrap();
            let mut told = 0;
            for _ in 0..3 {
                let now = machine.deadline().unwrap();
                let actions = machine.event(Event::Time, now);
                assert!(actions.iter().any(|action| action == Action::Kill));
                let is_told = |action: &Action| *action == Action::Unkillable;
                told += actions.iter().filter(is_told).count();
            }
            assert_eq!(told, usize::from(kill_within > 0));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn no_sequence_loses_a_process_or_starts_a_stopped_unit(
            (config, policy) in configs(),
            deeds in proptest::collection::vec(deeds(), 1..80),
        ) {
            let mut world = World::new(config, policy);
            for deed in deeds {
                world.act(deed);
            }
            world.end();
        }
    }

    #[test]
    fn a_crash_loop_ends_in_failed() {
        let mut world = World::new(config(), policy(Restart::OnFailure));
        world.act(Deed::Command(Command::Start));
        for _ in 0..3 {
            world.act(Deed::EndMain(true));
            assert_eq!(world.machine.state(), State::Backoff);
            world.act(Deed::Wait);
            assert_eq!(world.machine.state(), State::Running);
        }
        world.act(Deed::EndMain(true));
        assert_eq!(world.machine.state(), State::Failed);
        assert_eq!(world.machine.cause(), Some(Cause::Limit));
        assert_eq!(world.machine.number(), 4);
        world.act(Deed::Command(Command::Start));
        assert_eq!(world.machine.state(), State::Running);
    }

    #[test]
    fn a_delay_before_a_start_is_not_extended() {
        let mut world = World::new(config(), policy(Restart::Always));
        world.act(Deed::Command(Command::Start));
        world.act(Deed::EndMain(true));
        assert_eq!(world.machine.state(), State::Backoff);
        let before = world.machine.deadline();
        world.event(Event::Extend(1_000 * MS));
        assert_eq!(world.machine.deadline(), before);
    }

    #[test]
    fn a_start_that_is_given_up_in_backoff_has_failed() {
        for waits in [true, false] {
            let mut world = World::new(config(), policy(Restart::Always));
            world.act(Deed::Command(Command::Start));
            world.act(Deed::EndMain(true));
            if waits {
                world.act(Deed::Command(Command::StayDown));
                assert_eq!(world.machine.deadline(), None);
            }
            assert_eq!(world.machine.state(), State::Backoff);
            world.act(Deed::Command(Command::GiveUp));
            assert_eq!(world.machine.state(), State::Failed);
            assert_eq!(world.machine.cause(), Some(Cause::Dependency));
            assert_eq!(world.machine.deadline(), None);
            // It is wanted again.
            world.act(Deed::Command(Command::Start));
            world.act(Deed::EndMain(true));
            world.act(Deed::Wait);
            assert_eq!(world.machine.state(), State::Running);
        }
    }

    #[test]
    fn a_tree_is_stopped_before_its_unit_is_started_again() {
        let mut world = World::new(config(), policy(Restart::Always));
        world.act(Deed::Command(Command::Start));
        world.act(Deed::Fork);
        world.act(Deed::EndMain(false));
        assert_eq!(world.machine.state(), State::Stopping);
        world.act(Deed::EndOther);
        assert_eq!(world.machine.state(), State::Backoff);
    }

    #[test]
    fn logins_survive_the_restart_of_their_daemon() {
        let config = Config {
            over: Over::Main,
            ..config()
        };
        let mut world = World::new(config, policy(Restart::Always));
        world.act(Deed::Command(Command::Start));
        world.act(Deed::Fork);
        world.act(Deed::Command(Command::Restart));
        world.act(Deed::EndMain(true));
        assert_eq!(world.machine.state(), State::Running);
        assert_eq!(world.others, 1);
        world.act(Deed::Command(Command::Stop));
        world.act(Deed::EndMain(true));
        assert_eq!(world.machine.state(), State::Stopping);
        world.end();
    }

    #[test]
    fn a_reload_that_was_asked_for_is_not_ended_by_another_one() {
        let config = Config {
            reload_announces: true,
            ..config()
        };
        let mut world = World::new(config, policy(Restart::Never));
        world.act(Deed::Command(Command::Start));
        let before = world.now;
        world.act(Deed::Command(Command::Reload));
        for said in [Event::Ready, Event::ReloadBegun(Some(before)), Event::Ready] {
            world.act(Deed::Say(said));
            assert_eq!(world.machine.state(), State::Reloading);
        }
        world.act(Deed::Say(Event::ReloadBegun(Some(world.now))));
        world.act(Deed::Say(Event::Ready));
        assert_eq!(world.machine.state(), State::Running);
    }

    #[test]
    fn a_hanging_start_is_a_failure() {
        let config = Config {
            announces: true,
            ..config()
        };
        let mut world = World::new(config, policy(Restart::Never));
        world.act(Deed::Command(Command::Start));
        assert_eq!(world.machine.state(), State::Starting);
        world.act(Deed::Wait);
        assert_eq!(world.machine.state(), State::Stopping);
        world.act(Deed::EndMain(true));
        assert_eq!(world.machine.state(), State::Failed);
        assert_eq!(world.machine.cause(), Some(Cause::NotReady));
    }

    /// Random walks over all configurations see each transition that there is.
    fn transitions() -> Seen {
        use proptest::strategy::ValueTree;
        use proptest::test_runner::{Config as Runs, RngAlgorithm, TestRng, TestRunner};
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(Runs::default(), rng);
        let mut all = Seen::new();
        for _ in 0..800 {
            let (config, policy) = configs().new_tree(&mut runner).unwrap().current();
            let walk = proptest::collection::vec(deeds(), 100);
            let mut world = World::new(config, policy);
            for deed in walk.new_tree(&mut runner).unwrap().current() {
                world.act(deed);
            }
            for (key, next) in world.seen {
                all.entry(key).or_default().extend(next);
            }
        }
        all
    }

    /// The table of sss_supervisor(7) is what the machine does. Made anew with
    /// SSS_UPDATE_TABLE=1.
    #[test]
    fn the_table_in_the_manual_is_true() {
        const BEGIN: &str = ".\\\" table of states\n";
        const END: &str = ".\\\" end of table\n";
        let mut table = String::new();
        for ((state, event), next) in transitions() {
            if next.is_empty() {
                continue;
            }
            let next: Vec<String> = next.iter().map(|state| name(*state)).collect();
            table += &format!("{:<10} {event:<20} {}\n", name(state), next.join(", "));
        }
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/man/sss_supervisor.7");
        let text = std::fs::read_to_string(page).unwrap();
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (there, after) = rest.split_once(END).unwrap();
        if std::env::var_os("SSS_UPDATE_TABLE").is_some() {
            std::fs::write(page, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        } else {
            assert_eq!(there, table);
        }
    }

    fn name(state: State) -> String {
        format!("{state:?}").to_uppercase()
    }
}
