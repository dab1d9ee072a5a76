//! The client: a server's life as a task of the context's loop, and the launches
//! that other threads ask of it.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

use super::launch::{self, Launching, Left, Link, Looked, Needs, Progress, Stray, launch};
use super::protocol::{REPLY, Reply, Request, Way};
use super::server;
use crate::reap::callback::{Call, ChildFn, EventFn, Pvt};
use crate::reap::event::{Events, Fields, raw_status};
use crate::reap::id::{ContextId, WatchId};
use crate::reap::spawned::{self, Started, Starting, Told};
use crate::reap::status::LOST;
use crate::reap::task::{self, Arc, Interest, Task, TaskId, Why};
use crate::reap::watch::{self, Ask, How};
use crate::reap::{remote, rich, wait};
use crate::spawn::{CStringArray, FdMap, SpawnError, Spawned, Spec, spawn};
use crate::sys::error::{Error, out_of_memory};
use crate::sys::file::Place;
use crate::sys::lock::Mutex;
use crate::sys::opaque::Record;
use crate::sys::strings::CStrBuf;
use crate::sys::subreaper::Trial;
use crate::sys::zygote::{self, Hook};
use crate::sys::{clock, fd, pidfd, process, seqpacket};

/// How a server is started.
pub(crate) enum Beginning {
    /// By exec of the helper. With the flag the child has memory of its own until then.
    Exec(CStrBuf, bool),
    /// By fork of the daemon; the hook runs in it first.
    Fork(Option<Hook>),
}

/// When a server that died is restarted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restart {
    /// How many servers may be started within the interval.
    pub(crate) burst: u32,
    pub(crate) interval: u64,
}

/// The settings of a server.
pub(crate) struct Settings {
    pub(crate) beginning: Beginning,
    pub(crate) way: Way,
    /// server::OWN_CREDENTIALS.
    pub(crate) options: u32,
    pub(crate) restart: Option<Restart>,
    /// For each request, in nanoseconds.
    pub(crate) timeout: u64,
    pub(crate) event: Option<EventFn>,
    pub(crate) source: Pvt,
    pub(crate) pvt: Pvt,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) no_new_privs: bool,
}

/// What happened to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// It takes requests.
    Ready = 1,
    /// It died, or could not be begun anew.
    Crashed = 2,
    /// Another one has taken its place.
    Restarted = 3,
    /// It ended as it was told to.
    Stopped = 4,
    /// A launch that the caller did not wait for: its program runs.
    Launched = 5,
    /// It failed.
    Failed = 6,
}

/// An event as C sees it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Event {
    pub(crate) kind: u32,
    pub(crate) pid: i32,
    pub(crate) wait_status: i32,
    pub(crate) errno: i32,
    pub(crate) restarts: u64,
    /// Of a launch: the handle.
    pub(crate) child: Pvt,
    /// Of a launch that failed: the step.
    pub(crate) step: u32,
    pub(crate) padding: u32,
    pub(crate) reserved: [u64; 2],
}

impl Event {
    /// An event of the server's own, with the fields of a launch empty.
    fn new(kind: Kind, pid: i32, restarts: u64) -> Self {
        Event {
            kind: kind as u32,
            pid,
            wait_status: 0,
            errno: 0,
            restarts,
            child: Pvt(std::ptr::null_mut()),
            step: 0,
            padding: 0,
            reserved: [0; 2],
        }
    }
}

/// Who is told of a launch that the caller does not wait for, and of its child.
pub(crate) struct Asked {
    /// The watch, reserved.
    pub(crate) id: WatchId,
    /// Its handle; None where nobody takes it.
    pub(crate) handle: Option<Pvt>,
    pub(crate) callback: Option<ChildFn>,
    pub(crate) pvt: Pvt,
}

/// Such a launch, while it goes on.
struct Launch {
    launching: Launching,
    /// Until the child is registered.
    starting: Option<Starting>,
    needs: Needs,
    /// When to go on sending, where no event tells that this is possible.
    again: u64,
    asked: Asked,
}

/// A launch that is over and not told yet.
struct Over {
    asked: Asked,
    pid: i32,
    /// None: its program runs.
    error: Option<SpawnError>,
}

/// The most events that one step makes.
const EVENTS: usize = 8;

/// A server and its client, as C holds it.
pub(crate) struct Client {
    shared: Arc<Shared>,
    task: TaskId,
}

/// What the task and the launching threads share.
struct Shared {
    ctx: ContextId,
    settings: Settings,
    /// The process that has this.
    owner: i32,
    state: Mutex<State>,
}

struct State {
    task: Option<TaskId>,
    link: Option<Arc<Link>>,
    events: VecDeque<Event>,
    /// Launches that were given up, and may still come to something.
    strays: Vec<Stray>,
    /// Launches that go on, and those that are over and not told: there is room in the
    /// second for all of the first.
    launches: Vec<Launch>,
    over: VecDeque<Over>,
    /// Launches that a step has taken out.
    stepped: usize,
    /// When to begin the next server.
    restart_at: Option<u64>,
    /// The own children of the server that `link` leads to. Another server gives the same
    /// numbers again.
    children: Vec<Theirs>,
    /// The server's queue was full when it was to be asked to reap.
    asking: bool,
    /// The control socket is watched for room too.
    for_room: bool,
    restarts: u64,
    /// When servers were begun, the latest last.
    begun: VecDeque<u64>,
    stopping: bool,
    /// No event is told any more. The task goes on until the server is gone.
    freed: bool,
}

/// A child of the server's own. The server keeps its end until we ask for it.
struct Theirs {
    /// 0 where the server did not tell it.
    number: u64,
    /// 0 where it is not known.
    pid: i32,
    whose: Whose,
    /// It has ended, or its launch was given up. The server is to be asked to reap it.
    ask: bool,
    /// The server was asked. It may die before it reaps the child; then the child is
    /// ours.
    asked: bool,
}

/// Who is to hear of such a child's end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// A thread is about to register it.
    Launching,
    /// Its watches. If there are none any more, it is the daemon's, which waits for it by
    /// pid.
    Launched,
    /// Its launch was given up.
    Nobodys,
}

impl State {
    /// Whether this is the present server. The children of a former one are ours.
    fn is_present(&self, link: &Link) -> bool {
        self.link
            .as_deref()
            .is_some_and(|present| std::ptr::eq(present, link))
    }

    /// A child of this server's.
    fn place(&self, link: &Link, number: u64) -> Option<usize> {
        self.children
            .iter()
            .position(|child| child.number == number)
            .filter(|_| self.is_present(link))
    }

    /// Room for one launch more, and to tell of all.
    fn make_room(&mut self) -> Result<(), Error> {
        let going_on = self.launches.len() + self.stepped;
        self.launches
            .try_reserve(self.stepped + 1)
            .and_then(|()| self.over.try_reserve(going_on + 1))
            .map_err(out_of_memory)
    }

    /// A child that the server can be asked to reap now: its number and pid, and whose it
    /// is.
    fn to_reap(&self) -> Option<(u64, i32, Whose)> {
        let child = self
            .children
            .iter()
            .find(|child| child.ask && !child.asked && child.whose != Whose::Launching)?;
        Some((child.number, child.pid, child.whose))
    }
}

/// The token of the server's own end.
const SERVER: u64 = 1;

/// That of a child that nobody is told of.
const NOBODY: u64 = 2;

/// How soon to try again after a start that failed at once, in nanoseconds.
const RETRY: u64 = 1_000_000_000;

/// How soon to send on where no event tells that it can be done.
const AGAIN: u64 = 2_000_000;

fn interest(needs: Needs) -> Interest {
    match needs {
        Needs::Room => Interest::BOTH,
        Needs::Word | Needs::RoomForRequest | Needs::Time => Interest::READ,
    }
}

impl Client {
    /// Starts a server. `made` gets the client before anybody can be told of the server:
    /// whoever is told may end it while this still runs.
    pub(crate) fn start(
        ctx: ContextId,
        settings: Settings,
        made: impl FnOnce(Self),
    ) -> Result<(), SpawnError> {
        let mut events = VecDeque::new();
        let mut begun = VecDeque::new();
        let burst = settings.restart.map_or(0, |restart| restart.burst) as usize;
        events
            .try_reserve(EVENTS)
            .and_then(|()| begun.try_reserve(burst + 1))
            .map_err(|_| Errno::ENOMEM)?;
        let shared = Arc::try_new(Shared {
            ctx,
            settings,
            owner: process::own(),
            state: Mutex::new(State {
                task: None,
                link: None,
                events,
                strays: Vec::new(),
                launches: Vec::new(),
                over: VecDeque::new(),
                stepped: 0,
                restart_at: None,
                children: Vec::new(),
                asking: false,
                for_room: false,
                restarts: 0,
                begun,
                stopping: false,
                freed: false,
            }),
        })?;
        let task = task::add(ctx, &shared)?;
        shared.state.lock().task = Some(task);
        made(Client {
            shared: shared.clone(),
            task,
        });
        let trial = Trial::begin()?;
        shared.begin(task)?;
        trial.keep();
        Ok(())
    }

    /// Launches a child and watches it: its program, or a function in its place.
    pub(crate) fn launch(
        &self,
        spec: &Spec,
        function: Option<Hook>,
        told: Told,
    ) -> Result<Started, SpawnError> {
        let shared = &self.shared;
        shared.may_run(function)?;
        let link = shared.link()?;
        let deadline = clock::now().saturating_add(shared.settings.timeout);
        let mut theirs = None;
        let started = spawned::start_with(shared.ctx, told, |pidfd| {
            let spec = Spec { pidfd, ..*spec };
            launch(
                &link,
                &spec,
                function,
                shared.settings.way,
                deadline,
                |number, pid| {
                    theirs = Some(number);
                    shared
                        .remember(&link, number, pid, Whose::Launching)
                        .map(drop)
                },
            )
            .map_err(|(error, left)| {
                match left {
                    Left::Nothing => {}
                    Left::Reaped(number) => shared.reaped(&link, number, None),
                    Left::Stray(stray) => shared.leave(stray, self.task),
                    Left::Child(number, pid) => {
                        shared.give_up(&link, number, pid, self.task);
                    }
                }
                error
            })
        });
        if let Some(number) = theirs {
            let whose = match &started {
                Ok(_) => Whose::Launched,
                Err(_) => Whose::Nobodys,
            };
            shared.launched(&link, number, whose, self.task);
        }
        started
    }

    /// Begins a launch that the loop goes on with; an event tells what comes of it, after
    /// `begun` was called. Gives the master of the child's pseudoterminal. An error leaves
    /// the watch as it was.
    pub(crate) fn launch_later(
        &self,
        spec: &Spec,
        function: Option<Hook>,
        asked: Asked,
        begun: impl FnOnce(),
    ) -> Result<Option<OwnedFd>, SpawnError> {
        let shared = &self.shared;
        shared.may_run(function)?;
        if shared.settings.event.is_none() {
            // Nobody would hear that it has failed.
            return Err(Errno::EINVAL.into());
        }
        if process::own() != shared.owner {
            return Err(Errno::ECHILD.into());
        }
        let starting = Starting::begin(shared.ctx)?;
        let deadline = clock::now().saturating_add(shared.settings.timeout);
        let spec = Spec {
            pidfd: starting.pidfd,
            // The process is held until the loop runs, and must not hold the server up:
            // before that this thread may ask the server for another process, and wait.
            fork: true,
            ..*spec
        };
        let way = shared.settings.way;
        // The lock is held from here on: nothing here waits, and the loop must not step
        // the launch before it is complete.
        let mut state = shared.state.lock();
        let link = state.link.clone().ok_or(Errno::ENOTCONN)?;
        state.make_room()?;
        let (launching, needs, pty) = Launching::begin(&link, &spec, function, way, deadline)?;
        let launch = Launch {
            launching,
            starting: Some(starting),
            needs,
            again: clock::now() + AGAIN,
            asked,
        };
        let fd = launch.launching.fd();
        if let Err(errno) = task::watch_fd(self.task, fd, interest(needs)) {
            drop(state);
            shared.leave(launch.launching.give_up(), self.task);
            return Err(errno.into());
        }
        state.launches.push(launch);
        begun();
        shared.listen_for_room(&mut state, self.task);
        shared.set_alarm(&state, self.task);
        Ok(pty)
    }

    /// Waits for a child, without taking its end from whoever watches it: the raw
    /// status. EAGAIN where it lives and `block` is not set.
    pub(crate) fn wait(&self, pid: i32, block: bool) -> Result<i32, Error> {
        let until = if block { u64::MAX } else { 0 };
        let theirs = match self.wait_directly(pid, until) {
            Err(error) if error == Errno::ESRCH => self.shared.theirs(pid),
            waited => return waited,
        };
        // No child of ours: the server is asked. The child is not watched here, so that
        // no record of it is left when its pid becomes free.
        let asked = theirs.and_then(|(link, number)| {
            let deadline = if block {
                u64::MAX
            } else {
                clock::now().saturating_add(self.shared.settings.timeout)
            };
            let status = link.wait(number, block, deadline)?;
            if status.is_some() {
                self.shared.reaped(&link, number, status);
            }
            status.ok_or(Errno::EAGAIN.into())
        });
        match asked {
            // The server's children are ours by now.
            Err(error) if matches!(error.errno, Errno::ECONNRESET | Errno::ENOTCONN) => {
                self.wait_directly(pid, until).map_err(|mut error| {
                    if error.errno == Errno::ESRCH {
                        error.errno = Errno::ECHILD;
                    }
                    error
                })
            }
            asked => asked,
        }
    }

    /// By a watch of its own; ESRCH where it is no child of ours.
    fn wait_directly(&self, pid: i32, until: u64) -> Result<i32, Error> {
        let params = rich::Params {
            child: rich::Child::Pid(pid),
            events: Events::DEFAULT,
            want: Fields::DEFAULT,
            keep_zombie: false,
            deadline: None,
            call: None,
            pvt: Pvt(std::ptr::null_mut()),
            handle: None,
        };
        // A child whose handle was freed is still ours to reap. One that has a handle may be
        // handed back meanwhile.
        let kept = watch::is_abandoned(self.shared.ctx, pid);
        let id = rich::watch(self.shared.ctx, params, &mut false)?;
        let waited = wait::wait(id, until);
        // A child that was not watched is the daemon's again.
        if kept || watch::unwatch(id, How::Release, Ask::Nobody).is_err() {
            let _ = watch::unwatch(id, How::Keep, Ask::Nobody);
        }
        match waited {
            Ok(told) => Ok(told.change.map_or(LOST, raw_status)),
            Err(error) if error == Errno::ETIMEDOUT => Err(Errno::EAGAIN.into()),
            Err(error) => Err(error),
        }
    }

    /// Tells the server to end. Its children live on.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        if process::own() != self.shared.owner {
            return Err(Errno::ECHILD.into());
        }
        let link = {
            let mut state = self.shared.state.lock();
            // A server that has died already is not restarted either.
            state.stopping = true;
            state.restart_at = None;
            state.link.clone().ok_or(Errno::ENOTCONN)?
        };
        let deadline = clock::now().saturating_add(self.shared.settings.timeout);
        link.request(&Request::Stop, None, deadline)
    }

    /// The server's pid.
    pub(crate) fn pid(&self) -> Result<i32, Error> {
        Ok(self.shared.link()?.pid)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        task::remove(self.task);
        if process::own() == self.shared.owner {
            Shared::abandon(&self.shared);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Its context was freed before the server was gone.
        if process::own() == self.owner {
            for child in &self.state.lock().children {
                remote::orphan(self.ctx, child.pid);
            }
        }
    }
}

impl Shared {
    fn link(&self) -> Result<Arc<Link>, Error> {
        if process::own() != self.owner {
            return Err(Errno::ECHILD.into());
        }
        self.state.lock().link.clone().ok_or(Errno::ENOTCONN.into())
    }

    /// The server that has this child, and its number there: ENOTCONN where none has it.
    fn theirs(&self, pid: i32) -> Result<(Arc<Link>, u64), Error> {
        self.link()?;
        let state = self.state.lock();
        let child = state.children.iter().find(|child| child.pid == pid);
        let number = child.map(|child| child.number);
        let found = state.link.clone().zip(number.filter(|&number| number != 0));
        found.ok_or(Errno::ENOTCONN.into())
    }

    /// Whether the server can have its children run functions.
    fn may_run(&self, function: Option<Hook>) -> Result<(), Error> {
        let forked = matches!(self.settings.beginning, Beginning::Fork(_));
        if function.is_some() && (!forked || self.settings.way == Way::Clients) {
            return Err(Errno::ENOTSUP.into());
        }
        Ok(())
    }

    /// Starts a server, and has the context's loop watch it.
    fn begin(&self, task: TaskId) -> Result<(), SpawnError> {
        let (ours, theirs) = seqpacket::pair()?;
        let ours = fd::above_standard(ours)?;
        let theirs = fd::above_standard(theirs)?;
        seqpacket::pass_credentials(ours.as_fd())?;
        seqpacket::pass_credentials(theirs.as_fd())?;
        // Another thread may run the loop and hear of this server. The lock makes it wait
        // until the link is stored.
        let mut state = self.state.lock();
        if state.stopping {
            return Err(Errno::ENOTCONN.into());
        }
        let mut kept = None;
        let started = spawned::start_with(self.ctx, Told::Task(task, SERVER), |_| {
            let child = self.make(&theirs)?;
            kept = child.pidfd.as_ref().and_then(|fd| fd::duplicate(fd).ok());
            Ok(child)
        })?;
        drop(theirs);
        let link = Arc::try_new(Link {
            control: ours,
            pid: started.pid,
            pidfd: kept,
            place: match self.settings.beginning {
                Beginning::Exec(..) => Place::of_process(started.pid),
                // The daemon's preload hook may change the working directory.
                Beginning::Fork(_) => None,
            },
        });
        let watched = link.and_then(|link| {
            let own = pidfd::open(process::own()).ok();
            let hello = Request::Hello {
                client: process::own(),
                options: self.settings.options,
            };
            link.request(&hello, own.as_ref().map(AsRawFd::as_raw_fd), 0)?;
            task::watch_fd(task, link.control.as_raw_fd(), Interest::READ)?;
            Ok(link)
        });
        let link = match watched {
            Ok(link) => link,
            Err(errno) => {
                let _ = watch::unwatch(started.watch, How::Keep, Ask::Nobody);
                return Err(errno.into());
            }
        };
        state.link = Some(link);
        if let Some(restart) = self.settings.restart {
            if state.begun.len() > restart.burst as usize {
                state.begun.pop_front();
            }
            state.begun.push_back(clock::now());
        }
        Ok(())
    }

    fn make(&self, control: &OwnedFd) -> Result<Spawned, SpawnError> {
        match &self.settings.beginning {
            Beginning::Exec(helper, fork) => {
                let path: &CStr = helper.as_c_str();
                let argv = CStringArray::new([path].into_iter())?;
                let envp = CStringArray::new([].into_iter())?;
                let map = [FdMap {
                    source: control.as_raw_fd(),
                    target: server::CONTROL,
                }];
                spawn(&Spec {
                    fds: Some(&map),
                    uid: self.settings.uid,
                    gid: self.settings.gid,
                    no_new_privs: self.settings.no_new_privs,
                    pidfd: true,
                    fork: *fork,
                    ..Spec::new(path, argv.as_array(), envp.as_array())
                })
            }
            Beginning::Fork(hook) => {
                let hook = *hook;
                let drop = server::Dropped {
                    uid: self.settings.uid,
                    gid: self.settings.gid,
                    no_new_privs: self.settings.no_new_privs,
                };
                let pid = zygote::fork(control, |control| {
                    server::serve(control, true, || match drop.apply() {
                        Ok(()) => hook.map_or(0, Hook::run),
                        Err(_) => server::EXIT_NO_START,
                    })
                })?;
                Ok(Spawned {
                    pid,
                    pidfd: pidfd::open(pid).ok(),
                    gate: None,
                    pty: None,
                })
            }
        }
    }

    /// A launch was given up: the loop sees to what may still come of it.
    fn leave(&self, stray: Stray, task: TaskId) {
        self.keep(stray);
        task::post(task);
    }

    /// Without memory the process ends all the same, but may stay a zombie.
    #[inline(never)]
    fn keep(&self, stray: Stray) {
        let mut state = self.state.lock();
        if state.strays.try_reserve(1).is_ok() {
            state.strays.push(stray);
        }
    }

    /// The server is freed, and its task removed: launches that go on are given up. A task
    /// that tells nothing sees to what is left, until the server is gone.
    fn abandon(shared: &Arc<Self>) {
        let (link, launches, over) = {
            let mut state = shared.state.lock();
            state.freed = true;
            state.stopping = true;
            state.restart_at = None;
            state.events.clear();
            (
                state.link.clone(),
                std::mem::take(&mut state.launches),
                std::mem::take(&mut state.over),
            )
        };
        if let Some(link) = &link {
            // The server reads it as the end of file, also where forked children have copies
            // of our socket, and ends.
            seqpacket::finish(link.control.as_fd());
        }
        for over in over {
            shared.settle(&over);
        }
        // Without memory, or where the context is freed, a process that comes of a launch
        // ends all the same, but stays a zombie.
        let next = task::add(shared.ctx, shared);
        for launch in launches {
            if launch.launching.has_gone() {
                // Its program runs, and its end is told.
                shared.settle(&Over {
                    asked: launch.asked,
                    pid: 0,
                    error: None,
                });
                continue;
            }
            if launch.asked.handle.is_none() {
                let _ = watch::unwatch(launch.asked.id, How::Keep, Ask::Nobody);
            }
            shared.keep(launch.launching.give_up());
        }
        let Ok(next) = next else {
            return;
        };
        let mut state = shared.state.lock();
        state.task = Some(next);
        for stray in &mut state.strays {
            stray.watched = false;
        }
        drop(state);
        if let Some(link) = &link {
            let _ = task::watch_fd(next, link.control.as_raw_fd(), Interest::READ);
            let pidfd = link.pidfd.as_ref().and_then(|fd| fd::duplicate(fd).ok());
            match task::watch_child(next, link.pid, pidfd, SERVER, false) {
                // It is gone already.
                Err(error) if error == Errno::ESRCH => shared.ended(link.pid, 0, next),
                _ => {}
            }
        }
        task::post(next);
    }

    /// Steps the launches that `which` takes.
    fn step_launches(&self, which: impl Fn(&Launch) -> bool, task: TaskId) {
        let mut at = 0;
        loop {
            let mut launch = {
                let mut state = self.state.lock();
                let rest = state.launches.get(at..).unwrap_or_default();
                let Some(place) = rest.iter().position(&which) else {
                    break;
                };
                at += place;
                state.stepped += 1;
                state.launches.swap_remove(at)
            };
            let over = self.step_launch(&mut launch, task);
            let mut state = self.state.lock();
            state.stepped -= 1;
            if over.is_none() {
                // swap_remove left room, so push does not allocate. It goes back to `at` and is
                // passed over: each launch is stepped once.
                state.launches.push(launch);
                let last = state.launches.len() - 1;
                state.launches.swap(at, last);
                at += 1;
                continue;
            }
            drop(state);
            self.finish(launch, over.unwrap_or(Ok(())), task);
        }
        let mut state = self.state.lock();
        self.listen_for_room(&mut state, task);
        self.set_alarm(&state, task);
    }

    /// Steps a launch: its outcome, or None where it goes on.
    fn step_launch(&self, launch: &mut Launch, task: TaskId) -> Option<Result<(), SpawnError>> {
        loop {
            match launch.launching.step() {
                Progress::Waits(needs) => {
                    if interest(needs) != interest(launch.needs) {
                        let fd = launch.launching.fd();
                        let _ = task::watch_fd(task, fd, interest(needs));
                    }
                    launch.needs = needs;
                    launch.again = clock::now() + AGAIN;
                    return None;
                }
                Progress::Held => {
                    if let Err(error) = self.let_go(launch) {
                        return Some(Err(error));
                    }
                }
                Progress::Runs => return Some(Ok(())),
                Progress::Failed(error) => return Some(Err(error)),
            }
        }
    }

    /// The process is held: registers it, and lets it go.
    fn let_go(&self, launch: &mut Launch) -> Result<(), SpawnError> {
        // A handle that was freed gives its launch up.
        watch::pid(launch.asked.id)?;
        let Some(mut starting) = launch.starting.take() else {
            return Ok(());
        };
        let (pid, number) = launch.launching.process();
        let servers = launch.launching.is_servers();
        starting.pid = pid;
        if servers {
            if let Err(errno) = self.remember(launch.launching.link(), number, pid, Whose::Launched)
            {
                launch.starting = Some(starting);
                return Err(errno.into());
            }
        }
        let Asked {
            id, callback, pvt, ..
        } = launch.asked;
        if let Err((starting, errno)) =
            starting.register(id, launch.launching.child(), callback, pvt)
        {
            if servers {
                self.reaped(launch.launching.link(), number, None);
            }
            launch.starting = Some(starting);
            return Err(errno.into());
        }
        launch.launching.let_go();
        Ok(())
    }

    /// A launch is over.
    fn finish(&self, launch: Launch, outcome: Result<(), SpawnError>, task: TaskId) {
        let Launch {
            launching,
            mut starting,
            asked,
            ..
        } = launch;
        task::unwatch_fd(task, launching.fd());
        let (pid, _) = launching.process();
        if outcome.is_err() && !launching.has_gone() {
            if let Some(starting) = &mut starting {
                starting.pid = pid;
            }
            let ours = pid > 0 && launching.is_ours();
            let stray = launching.give_up();
            if ours {
                // It is reaped with the watched children, and nobody is told.
                if let Ok(watch) = task::watch_child(task, pid, None, NOBODY, false) {
                    let _ = watch::unwatch(watch, How::Keep, Ask::Nobody);
                }
            } else {
                self.leave(stray, task);
            }
        }
        drop(starting);
        let over = Over {
            asked,
            pid,
            error: outcome.err(),
        };
        // There is room.
        self.state.lock().over.push_back(over);
    }

    /// What a launch has come to is told now: its child's end may be told from here on.
    fn settle(&self, over: &Over) {
        let id = over.asked.id;
        spawned::unmute(id, over.error.is_none());
        if over.asked.handle.is_some() {
            return;
        }
        if over.error.is_some() && watch::pid(id) == Ok(0) {
            let _ = watch::unwatch(id, How::Keep, Ask::Nobody);
        } else {
            watch::let_free_itself(id);
        }
    }

    /// The control socket is watched for room while something waits for that.
    fn listen_for_room(&self, state: &mut State, task: TaskId) {
        let Some(link) = &state.link else {
            return;
        };
        let wanted = state.asking
            || state
                .launches
                .iter()
                .any(|launch| launch.needs == Needs::RoomForRequest);
        if wanted != state.for_room {
            state.for_room = wanted;
            let interest = if wanted {
                Interest::BOTH
            } else {
                Interest::READ
            };
            let _ = task::watch_fd(task, link.control.as_raw_fd(), interest);
        }
    }

    /// The task's deadline is the next of all that it waits for.
    fn set_alarm(&self, state: &State, task: TaskId) {
        let launches = state.launches.iter().map(|launch| {
            let again = (launch.needs == Needs::Time).then_some(launch.again);
            launch.launching.deadline().min(again.unwrap_or(u64::MAX))
        });
        task::set_deadline(task, launches.chain(state.restart_at).min());
    }

    fn watch_strays(&self, task: TaskId) {
        let mut state = self.state.lock();
        for stray in state.strays.iter_mut().filter(|stray| !stray.watched) {
            let fd = stray.socket.as_raw_fd();
            stray.watched = task::watch_fd(task, fd, Interest::READ).is_ok();
        }
    }

    /// A descriptor is readable: the control socket, or that of a stray.
    fn readable(&self, fd: i32, task: TaskId) {
        let link = self.state.lock().link.clone();
        if let Some(link) = link.filter(|link| link.control.as_raw_fd() == fd) {
            self.listen(&link, task);
            self.ask(task);
            self.step_launches(|launch| launch.needs == Needs::RoomForRequest, task);
            return;
        }
        if self.is_launch(fd) {
            self.step_launches(|launch| launch.launching.fd() == fd, task);
            return;
        }
        let stray = {
            let mut state = self.state.lock();
            let place = state
                .strays
                .iter()
                .position(|stray| stray.socket.as_raw_fd() == fd);
            place.map(|place| state.strays.swap_remove(place))
        };
        let Some(mut stray) = stray else {
            task::unwatch_fd(task, fd);
            return;
        };
        match stray.look(|pid| self.put_down(pid)) {
            Looked::MoreToCome => self.state.lock().strays.push(stray),
            Looked::Nothing => task::unwatch_fd(task, fd),
            Looked::Child(number, pid) => {
                task::unwatch_fd(task, fd);
                self.give_up(&stray.link, number, pid, task);
            }
        }
    }

    fn is_launch(&self, fd: i32) -> bool {
        let state = self.state.lock();
        state
            .launches
            .iter()
            .any(|launch| launch.launching.fd() == fd)
    }

    /// Takes what the server says on its own.
    fn listen(&self, link: &Link, task: TaskId) {
        let mut bytes = [0; REPLY];
        loop {
            let got = match seqpacket::receive_one(link.control.as_fd(), &mut bytes, &mut None) {
                Ok(got) => got,
                Err(error) if error == Errno::EAGAIN => return,
                Err(_) => break,
            };
            if got.length == 0 {
                break;
            }
            match Reply::decode(&bytes[..got.length]) {
                Ok(Reply::Hello) => self.tell(Kind::Ready, link.pid, 0, 0),
                Ok(Reply::SigChld { child }) => self.ended_there(link, child),
                Ok(Reply::Status {
                    child,
                    status,
                    errno,
                }) => self.reaped(link, child, (errno == 0).then_some(status)),
                Ok(_) | Err(_) => {}
            }
        }
        // The server's end is told by the watch of it.
        task::unwatch_fd(task, link.control.as_raw_fd());
    }

    /// The server has a child of its own. False where the server is no more: the child is ours.
    fn remember(&self, link: &Link, number: u64, pid: i32, whose: Whose) -> Result<bool, Error> {
        let mut state = self.state.lock();
        if !state.is_present(link) {
            return Ok(false);
        }
        state.children.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        // A child that had this pid before has been reaped, but the server's Status for it has
        // not arrived yet. Its entry is dropped.
        let had = |child: &Theirs| pid > 0 && child.pid == pid;
        if let Some(place) = state.children.iter().position(had) {
            state.children.swap_remove(place);
            remote::forget(self.ctx, pid);
        }
        if whose != Whose::Nobodys {
            remote::expect(self.ctx, pid)?;
        }
        state.children.push(Theirs {
            number,
            pid,
            whose,
            ask: false,
            // Without a number the server cannot be asked.
            asked: number == 0,
        });
        Ok(true)
    }

    /// A launch is over. The child may have ended before.
    fn launched(&self, link: &Link, number: u64, whose: Whose, task: TaskId) {
        let mut state = self.state.lock();
        let Some(place) = state.place(link, number) else {
            return;
        };
        let child = &mut state.children[place];
        child.whose = whose;
        child.ask |= whose == Whose::Nobodys;
        if child.ask {
            drop(state);
            task::post(task);
        }
    }

    /// A launch was given up, and has left a child of that server's behind.
    fn give_up(&self, link: &Link, number: u64, pid: i32, task: TaskId) {
        match self.remember(link, number, pid, Whose::Nobodys) {
            Ok(true) => self.launched(link, number, Whose::Nobodys, task),
            Ok(false) => {
                self.put_down(pid);
            }
            // Without memory it stays a zombie of the server's.
            Err(_) => {}
        }
    }

    /// Ends a process that nobody watches, if it is our child by now. A watched child with
    /// this pid is another process, which has got the pid since. Whether the process is
    /// gone.
    fn put_down(&self, pid: i32) -> bool {
        watch::is_watched(self.ctx, pid) || launch::put_down(pid)
    }

    /// A child of the server's has ended.
    fn ended_there(&self, link: &Link, number: u64) {
        let mut state = self.state.lock();
        if let Some(place) = state.place(link, number) {
            state.children[place].ask = true;
        }
    }

    /// A child's status was taken; or, without one, the child is not the server's to tell of.
    fn reaped(&self, link: &Link, number: u64, status: Option<i32>) {
        // Locked until it is told: a new child of this pid is not to be taken for it.
        let mut state = self.state.lock();
        let Some(place) = state.place(link, number) else {
            return;
        };
        let pid = state.children.swap_remove(place).pid;
        match status {
            Some(status) => remote::told(self.ctx, pid, status),
            None => remote::forget(self.ctx, pid),
        }
    }

    /// Has the server reap what has ended; the pidfd then tells whoever watches it.
    /// Where its queue is full the rest is asked for when there is room: an end that
    /// is not asked for is never told.
    fn ask(&self, task: TaskId) {
        let Ok(link) = self.link() else {
            return;
        };
        let mut full = false;
        while !full {
            let Some((number, pid, whose)) = self.state.lock().to_reap() else {
                break;
            };
            let wanted = whose == Whose::Nobodys || watch::is_watched(self.ctx, pid);
            if wanted {
                remote::ended(self.ctx, pid);
            }
            full = wanted && link.forget(number) == Err(Errno::ETIMEDOUT.into());
            let mut state = self.state.lock();
            let Some(place) = state.place(&link, number) else {
                continue;
            };
            let child = &mut state.children[place];
            child.asked = wanted && !full;
            if !wanted {
                // It stays until the daemon waits for it by pid.
                child.ask = false;
                remote::forget(self.ctx, pid);
            }
        }
        let mut state = self.state.lock();
        state.asking = full;
        self.listen_for_room(&mut state, task);
    }

    fn tell(&self, kind: Kind, pid: i32, wait_status: i32, errno: i32) {
        let mut state = self.state.lock();
        let event = Event {
            wait_status,
            errno,
            ..Event::new(kind, pid, state.restarts)
        };
        if state.events.len() < EVENTS && !state.freed {
            state.events.push_back(event);
        }
    }

    /// The server is no more.
    fn ended(&self, pid: i32, status: i32, task: TaskId) {
        // First reads what the server said last: a hello, and which children it has
        // reaped. Their pids may be other processes' by now.
        let Ok(link) = self.link() else {
            // begin() failed after the process was made, and its caller got the error.
            return;
        };
        self.listen(&link, task);
        let (stopping, children) = {
            let mut state = self.state.lock();
            state.asking = false;
            state.for_room = false;
            let children = std::mem::take(&mut state.children);
            state.link = None;
            (state.stopping, children)
        };
        // They are ours now.
        for child in &children {
            remote::forget(self.ctx, child.pid);
        }
        for child in children
            .iter()
            .filter(|child| child.whose == Whose::Nobodys)
        {
            self.put_down(child.pid);
        }
        task::unwatch_fd(task, link.control.as_raw_fd());
        self.step_orphans(task);
        let kind = if stopping {
            Kind::Stopped
        } else {
            Kind::Crashed
        };
        self.tell(kind, pid, status, 0);
        if !stopping {
            self.restart_in_time(task);
        }
    }

    /// Launches of a server that has died come to an end soon.
    fn step_orphans(&self, task: TaskId) {
        for launch in &mut self.state.lock().launches {
            launch.launching.server_died();
        }
        self.step_launches(|_| true, task);
    }

    /// A deadline has come.
    fn late(&self, task: TaskId) {
        let now = clock::now();
        let restart = {
            let mut state = self.state.lock();
            let due = state.restart_at.is_some_and(|at| at <= now);
            if due {
                state.restart_at = None;
            }
            due
        };
        if restart {
            self.restart_in_time(task);
        }
        self.step_launches(
            |launch| {
                launch.launching.deadline() <= now
                    || launch.needs == Needs::Time && launch.again <= now
            },
            task,
        );
    }

    /// Begins the next server, or sets when to do so.
    fn restart_in_time(&self, task: TaskId) {
        let Some(restart) = self.settings.restart else {
            return;
        };
        let (begun, first) = {
            let state = self.state.lock();
            let place = state.begun.len().checked_sub(restart.burst as usize);
            let first = place.and_then(|place| state.begun.get(place).copied());
            (state.begun.len(), first)
        };
        let allowed = match first {
            Some(first) if begun >= restart.burst as usize => {
                first.saturating_add(restart.interval)
            }
            _ => 0,
        };
        if allowed > clock::now() {
            self.restart_at(allowed, task);
            return;
        }
        match self.begin(task) {
            Ok(()) => {
                let pid = {
                    let mut state = self.state.lock();
                    state.restarts += 1;
                    state.link.as_ref().map_or(0, |link| link.pid)
                };
                self.tell(Kind::Restarted, pid, 0, 0);
            }
            // It was told to stop meanwhile.
            Err(_) if self.state.lock().stopping => {}
            Err(error) => {
                self.tell(Kind::Crashed, 0, 0, error.errno);
                let after = restart.interval.max(RETRY);
                self.restart_at(clock::now().saturating_add(after), task);
            }
        }
    }

    fn restart_at(&self, at: u64, task: TaskId) {
        let mut state = self.state.lock();
        state.restart_at = (!state.stopping).then_some(at);
        self.set_alarm(&state, task);
    }

    fn next_event(&self) -> Option<Call> {
        loop {
            let event = self.state.lock().events.pop_front();
            let event = event.or_else(|| self.next_over())?;
            if let Some(call) = self.settings.event {
                return Some(Call::Event {
                    call,
                    source: self.settings.source,
                    record: Record::of(event),
                    pvt: self.settings.pvt,
                });
            }
        }
    }
}

impl Shared {
    /// The event of a launch that is over, and whose handle is not freed.
    fn next_over(&self) -> Option<Event> {
        loop {
            let (over, restarts) = {
                let mut state = self.state.lock();
                (state.over.pop_front()?, state.restarts)
            };
            let freed = watch::pid(over.asked.id).is_err();
            self.settle(&over);
            if freed {
                continue;
            }
            let kind = match over.error {
                None => Kind::Launched,
                Some(_) => Kind::Failed,
            };
            let step = over.error.and_then(|error| error.step);
            return Some(Event {
                errno: over.error.map_or(0, |error| error.errno),
                child: over.asked.handle.unwrap_or(Pvt(std::ptr::null_mut())),
                step: step.map_or(0, |step| step as u32),
                ..Event::new(kind, over.pid, restarts)
            });
        }
    }
}

impl Task for Shared {
    fn step(&self, why: Why) -> Option<Call> {
        let task = self.state.lock().task?;
        match why {
            Why::Posted => {
                self.watch_strays(task);
                self.ask(task);
            }
            Why::Readable(fd) => self.readable(fd, task),
            Why::Child(end) if end.token == SERVER => self.ended(end.pid, end.status, task),
            Why::Deadline => self.late(task),
            _ => {}
        }
        let state = self.state.lock();
        let over = state.freed && state.link.is_none() && state.strays.is_empty();
        drop(state);
        if over {
            task::remove(task);
        }
        self.next_event()
    }
}
