//! The services of this process: looking at our children, and handing out what
//! the ledger says.
//!
//! Two kinds of tasks stand on a context's loop. Each service has one, which
//! watches its processes and makes its callbacks; so freeing a service ends its
//! callbacks by removing the task. Each context that has services has a *keeper*,
//! which looks when something else prompts it: a pidfd of a process further down,
//! a record of the connector, time, or the reaper that found an unknown child.
//!
//! What makes this exact is the order. Before the kernel shows the end of a process it
//! gives the children of that process to us. So when a task is told of an end, a look
//! that begins now sees all those children. Only after such a look the end is written
//! down.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use hashbrown::HashTable;
use nix::errno::Errno;

use super::attribute::{Evidence, Facts, Identity, Verdict, look_at};
use super::ledger::{Follow, Key, Ledger, Outside, State, Usage, What, hash};
use super::tag;
use crate::reap::callback::{Call, EventFn, Pvt, Record};
use crate::reap::id::{ContextId, WatchId};
use crate::reap::orphan::{self, Given};
use crate::reap::spawned::{self, Told};
use crate::reap::task::{self, Arc, ChildEnd, Interest, Task, TaskId, Why};
use crate::spawn::{Rlimit, SpawnError, Spec, Step};
use crate::sys::bits::ToSigned;
use crate::sys::cgroup::Cgroup;
use crate::sys::connector::{Connector, Message, Read};
use crate::sys::error::{Error, unless_short};
use crate::sys::fork::PerProcess;
use crate::sys::lock::{Mutex, MutexGuard};
use crate::sys::pidfd::Exit;
use crate::sys::procfs::Said;
use crate::sys::strings::CStringArray;
use crate::sys::subreaper::Trial;
use crate::sys::{clock, fd, pidfd, procfs, rlimit_tag, unload, wait};

/// A slow look comes SLOW_FIRST after something changed. While nothing changes the
/// interval grows, each time by the factor SLOWER, up to SLOW_LAST.
const SLOW_FIRST: u64 = 1_000_000_000;
const SLOW_LAST: u64 = 60_000_000_000;
const SLOWER: u64 = 4;
/// How soon to look again after a look whose readings did not agree, in nanoseconds.
const AGAIN: u64 = 1_000_000;
/// How soon to look again after a look for which there were no descriptors or no memory.
const AFTER_SHORTAGE: u64 = 100_000_000;
/// So long an end waits for such a look. Then it is told, as what it has the daemon close
/// may be what is missing.
const LONGEST_SHORTAGE: u64 = 3_000_000_000;
/// At most this many looks for one answer. A look that met a child which had just died may
/// have missed that child's children, so it is repeated.
const MOST_LOOKS: u32 = 3;
/// Walks below the members get one part in so many of the time.
const SHARE: u64 = 16;
/// How long until a message tells of an orphan that nobody claims and nobody may reap.
const SPOKEN_OF_AFTER: u64 = 60_000_000_000;

/// How many of the connector's records are read at once.
const MOST_RECORDS: u32 = 16_384;
const FD_SETSIZE: i32 = 1024;
/// SSS_UNKNOWN_REAP of the header.
pub(crate) const REAP: u32 = 2;

static TRACKER: PerProcess<Mutex<Tracker>> = PerProcess::new();

/// The id of a service: never given to another one of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ServiceId(WatchId);

impl ServiceId {
    fn new(key: Key, depth: u32) -> Self {
        ServiceId(WatchId::new(key.index, key.generation, depth))
    }

    fn key(self) -> Key {
        Key {
            index: self.0.index(),
            generation: self.0.generation(),
        }
    }

    pub(crate) fn tagged(self) -> u64 {
        self.0.tagged()
    }
}

/// One event, and the state of the service with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) id: ServiceId,
    pub(crate) what: What,
    pub(crate) root: i32,
    /// How many processes are known, the one that is told of included.
    pub(crate) processes: u32,
    pub(crate) usage: Usage,
}

/// Who is told of a service.
#[derive(Clone, Copy)]
pub(crate) struct Sink {
    pub(crate) call: Option<EventFn>,
    pub(crate) source: Pvt,
    pub(crate) pvt: Pvt,
    /// The record as C reads it.
    pub(crate) record: fn(&Report) -> Record,
}

/// Which evidence of a service is wanted, and how its main process is followed.
pub(crate) struct Wish {
    pub(crate) tag: bool,
    pub(crate) environment: bool,
    pub(crate) descent: bool,
    pub(crate) connector: bool,
    /// Make one below the daemon's own.
    pub(crate) make_cgroup: bool,
    pub(crate) cgroup: Option<i32>,
    /// The start fails without a cgroup.
    pub(crate) exact: bool,
    pub(crate) follow: Follow,
    pub(crate) pid_file: Option<CString>,
}

/// Why a kind of evidence is not used: an errno, or 0.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Refused {
    pub(crate) tag: i32,
    pub(crate) environment: i32,
    pub(crate) cgroup: i32,
    pub(crate) connector: i32,
}

struct Extra {
    ctx: ContextId,
    /// None once the handle was freed.
    task: Option<TaskId>,
    keeper: TaskId,
    cgroup: Option<Cgroup>,
    pid_file: Option<CString>,
    /// The user that the first process ran as, once that could be read.
    owner: Option<u32>,
    /// The session of the main process; kept when that has ended.
    session: Option<i32>,
    descent: bool,
    refused: Refused,
    used: u32,
}

struct Keeper {
    ctx: ContextId,
    task: TaskId,
}

/// A child of ours that no evidence claims.
struct Foreign {
    pid: i32,
    /// The number of the look that last saw it.
    look: u64,
    since: u64,
    /// It ended, and was given to the application, or that was asked about it.
    asked: bool,
    /// Then this tells it from a later process with its pid. None: it could not be read.
    identity: Option<Identity>,
    spoken_of: bool,
}

/// A zombie whose EXITED was told.
struct ToldEnd {
    pid: i32,
    /// Tells it from a later process with its pid. None: it could not be read.
    identity: Option<Identity>,
    /// Number of the last look that listed it; a look that does not list it drops it.
    look: u64,
}

pub(crate) struct Tracker {
    depth: u32,
    pub(super) ledger: Ledger,
    extras: Vec<Option<Extra>>,
    keepers: Vec<Keeper>,
    connector: Option<Connector>,
    /// Whether some service has its tag in the environment.
    environment: bool,
    children: Vec<i32>,
    /// What the look before found.
    previous: Vec<i32>,
    scratch: procfs::Scratch,
    text: Vec<u8>,
    walked: Vec<i32>,
    foreign: HashTable<Foreign>,
    /// Ended children that nobody claims, to be given to the application.
    pub(super) unclaimed: Vec<i32>,
    /// Pidfds of processes below, whose ends prompt a look.
    below: HashTable<(i32, OwnedFd)>,
    /// The service that is being killed: a child that is attributed to it is stopped at
    /// once. One that forks and exits over and over would be gone a moment later.
    pub(super) stopping: Option<u32>,
    looks: u64,
    look_began: u64,
    agreed: bool,
    /// The last look failed.
    short: bool,
    /// Those whose EXITED was told. They have left the ledger, but are among our
    /// children until the callback has returned and they are reaped. Sorted by pid.
    told: Vec<ToldEnd>,
    walk_from: u64,
    interval: u64,
    slow_at: u64,
}

/// This process's services.
fn tracker() -> Result<MutexGuard<'static, Tracker>, Error> {
    Ok(TRACKER.get().ok_or(Errno::ECHILD)?.value.lock())
}

fn tracker_of(id: ServiceId) -> Result<MutexGuard<'static, Tracker>, Error> {
    let own = TRACKER.get().ok_or(Errno::ECHILD)?;
    let tracker = own.value.lock();
    // Ids hold only some bits of the depth: the id is made anew and compared.
    if ServiceId::new(id.key(), tracker.depth) == id {
        Ok(tracker)
    } else {
        Err(Errno::ECHILD.into())
    }
}

fn made(ctx: ContextId) -> Result<MutexGuard<'static, Tracker>, Error> {
    unload::also(|going| TRACKER.forget(going));
    let own = TRACKER.get_or_make(|_| Some(Mutex::new(Tracker::new(ctx.depth))))?;
    Ok(own.value.lock())
}

/// What tells a process from a later one of its pid.
pub(super) fn identity(pid: i32) -> Result<Option<Identity>, Error> {
    let inode = unless_short(pidfd::open(pid))?.and_then(|fd| pidfd::inode(fd.as_fd()));
    if let Some(inode) = inode {
        return Ok(Some(Identity::Inode(inode)));
    }
    let stat = unless_short(procfs::stat(pid))?;
    Ok(stat.map(|stat| Identity::Started(stat.started)))
}

/// Whether a process is gone for sure, or its pid another's.
fn is_gone(pid: i32, known: Identity) -> bool {
    identity(pid).is_ok_and(|now| now != Some(known))
}

/// What can be asked of the kernel about one child.
struct Kernel<'a> {
    extras: &'a [Option<Extra>],
    text: &'a mut Vec<u8>,
    environment: bool,
}

impl Facts for Kernel<'_> {
    fn identity(&mut self, pid: i32) -> Result<Option<Identity>, Error> {
        identity(pid)
    }

    fn cgroup(&mut self, pid: i32) -> Result<Option<u32>, Error> {
        let with_cgroup =
            |extra: &Option<Extra>| extra.as_ref().is_some_and(|extra| extra.cgroup.is_some());
        if !self.extras.iter().any(with_cgroup) {
            return Ok(None);
        }
        let Some(path) = procfs::cgroup(pid, self.text)? else {
            return Ok(None);
        };
        let holder = (0..)
            .zip(self.extras)
            .find(|(_, extra)| {
                let cgroup = extra.as_ref().and_then(|extra| extra.cgroup.as_ref());
                cgroup.is_some_and(|cgroup| cgroup.holds(path))
            })
            .map(|(index, _)| index);
        Ok(holder)
    }

    fn tag(&mut self, pid: i32) -> Result<Option<u64>, Error> {
        rlimit_tag::soft(pid, self.text)
    }

    fn environment(&mut self, pid: i32) -> Result<Said<u64>, Error> {
        if !self.environment {
            return Ok(Said::Nothing);
        }
        procfs::variable(pid, self.text, tag::parse)
    }
}

impl Outside for Kernel<'_> {
    fn cgroup_is_empty(&mut self, service: u32) -> bool {
        let extra = self.extras.get(service as usize);
        let cgroup = extra.and_then(|extra| extra.as_ref()?.cgroup.as_ref());
        cgroup.is_none_or(Cgroup::is_empty)
    }

    fn pid_file(&mut self, service: u32) -> Option<i32> {
        let extra = self.extras.get(service as usize)?.as_ref()?;
        procfs::pid_file(extra.pid_file.as_ref()?, self.text)
    }

    fn lives(&mut self, pid: i32) -> bool {
        wait::dead_status(pid).is_none()
    }
}

/// A service that is being started: what its first process needs.
struct Starting {
    id: ServiceId,
    task: TaskId,
    /// RLIMIT_LOCKS for the child, where the tag is wanted and may be set.
    tag: Option<(u32, libc::rlimit64)>,
    /// `VARIABLE=tag`, where it is wanted.
    environment: Option<[u8; tag::VARIABLE.len() + 18]>,
    /// The directory of its cgroup, open until the start is over.
    cgroup: Option<i32>,
    trial: Trial,
}

impl Starting {
    fn settle(&self, started: bool) {
        if started {
            self.trial.keep();
        } else {
            give_up(self.id);
        }
    }
}

/// Makes a service of which no process runs yet.
fn begin(ctx: ContextId, wish: Wish, sink: Sink) -> Result<Starting, Error> {
    procfs::check()?;
    let trial = Trial::begin()?;
    let (cgroup, cgroup_errno) = cgroup_for(&wish);
    if wish.exact && cgroup.is_none() {
        return Err(Errno::from_raw(cgroup_errno).into());
    }
    let tag = tag::random()?;
    // A limit that forbids it is a reason not to use it, not to fail.
    let limit = wish.tag.then(|| rlimit_tag::for_child(tag)).transpose();
    let mut refused = Refused {
        cgroup: cgroup_errno,
        tag: limit.as_ref().err().map_or(0, |&error| error.errno as i32),
        ..Refused::default()
    };
    let limit = limit.unwrap_or(None);
    let mut tracker = made(ctx)?;
    let keeper = tracker.keeper(ctx)?;
    let slots = tracker.ledger.services().count() + 1;
    let short = (slots + 1).saturating_sub(tracker.extras.len());
    tracker
        .extras
        .try_reserve(short)
        .map_err(|_| Errno::ENOMEM)?;
    let key = tracker.ledger.add(tag, wish.follow)?;
    let id = ServiceId::new(key, tracker.depth);
    let mut starting = Starting {
        id,
        task: keeper,
        tag: limit,
        environment: wish.environment.then(|| tag::assignment(tag)),
        cgroup: cgroup.as_ref().map(|cgroup| cgroup.directory().as_raw_fd()),
        trial,
    };
    let service = Arc::try_new(ServiceTask { id, sink });
    let task = service.and_then(|service| task::add(ctx, &service));
    let task = match task {
        Ok(task) => task,
        Err(errno) => {
            tracker.ledger.abandon(key);
            return Err(errno);
        }
    };
    starting.task = task;
    // Nothing fails from here on, so that no start leaves it open without a service.
    if wish.connector {
        refused.connector = tracker
            .listen(keeper)
            .err()
            .map_or(0, |error| error.errno as i32);
    }
    let used = [
        (limit.is_some(), Evidence::Tag),
        (wish.environment, Evidence::Environment),
        (wish.descent, Evidence::Descent),
        (cgroup.is_some(), Evidence::Cgroup),
        (tracker.connector.is_some(), Evidence::ForkRecord),
    ];
    let used = used
        .iter()
        .filter(|(used, _)| *used)
        .fold(0, |mask, &(_, evidence)| mask | 1 << evidence as u32);
    tracker.environment |= wish.environment;
    let extra = Extra {
        ctx,
        task: Some(task),
        keeper,
        cgroup,
        pid_file: wish.pid_file,
        owner: None,
        session: None,
        descent: wish.descent,
        refused,
        used,
    };
    while tracker.extras.len() <= key.index as usize {
        tracker.extras.push(None);
    }
    tracker.extras[key.index as usize] = Some(extra);
    orphan::guard(tracker.depth, Some(keeper));
    Ok(starting)
}

fn cgroup_for(wish: &Wish) -> (Option<Cgroup>, i32) {
    let cgroup = match wish.cgroup {
        Some(directory) => Cgroup::given(directory),
        // The random number makes the name unique; it need not be secret.
        None if wish.make_cgroup || wish.exact => tag::random().and_then(Cgroup::make),
        None => return (None, 0),
    };
    match cgroup {
        Ok(cgroup) => (Some(cgroup), 0),
        Err(error) => (None, error.errno as i32),
    }
}

/// The kernel would not start a process in the service's cgroup.
fn without_cgroup(id: ServiceId, errno: Errno) {
    if let Ok(mut tracker) = tracker_of(id) {
        tracker.without_cgroup(id.key(), errno);
    }
}

/// The first process did not get the tag: the spec's own limits or environment take
/// precedence.
fn without_tag(id: ServiceId, errno: Errno) {
    if let Ok(mut tracker) = tracker_of(id) {
        if let Some(extra) = tracker.extra_mut(id.key()) {
            extra.refused.tag = errno as i32;
            extra.used &= !(1 << Evidence::Tag as u32);
        }
    }
}

/// Starts the first process of a new service. `begun` gets its id before anybody can be told
/// of it.
pub(crate) fn spawn(
    ctx: ContextId,
    spec: &Spec,
    wish: Wish,
    sink: Sink,
    begun: impl FnOnce(ServiceId),
) -> Result<(), SpawnError> {
    let prepare = |id| {
        begun(id);
        Ok(())
    };
    spawn_after(ctx, spec, wish, sink, prepare).map(drop)
}

/// The same; `prepare` comes between the making of the service, with its cgroup, and
/// the start.
pub(crate) fn spawn_after(
    ctx: ContextId,
    spec: &Spec,
    wish: Wish,
    sink: Sink,
    prepare: impl FnOnce(ServiceId) -> Result<(), Error>,
) -> Result<ServiceId, SpawnError> {
    spec.check()?;
    if spec.gate {
        return Err(SpawnError::new(Step::Spec, libc::EINVAL));
    }
    let exact = wish.exact;
    let starting = begin(ctx, wish, sink)?;
    let outcome = prepare(starting.id)
        .map_err(SpawnError::from)
        .and_then(|()| start(ctx, spec, &starting, exact));
    starting.settle(outcome.is_ok());
    outcome.map(|()| starting.id)
}

/// The spec with the evidence that the process is to carry along. The caller's own
/// limits win.
fn start(ctx: ContextId, spec: &Spec, starting: &Starting, exact: bool) -> Result<(), SpawnError> {
    let mut rlimits = Vec::new();
    rlimits
        .try_reserve_exact(spec.rlimits.len() + 1)
        .map_err(|_| Errno::ENOMEM)?;
    rlimits.extend_from_slice(spec.rlimits);
    if let Some((resource, limit)) = starting.tag {
        if rlimits.iter().any(|own| own.resource == resource) {
            without_tag(starting.id, Errno::EEXIST);
        } else {
            rlimits.push(Rlimit { resource, limit });
        }
    }
    let environment = match &starting.environment {
        Some(assignment) => {
            let variable = CStr::from_bytes_with_nul(assignment).map_err(|_| Errno::EINVAL)?;
            Some(CStringArray::environment(spec.envp, &[variable])?)
        }
        None => None,
    };
    let known = |pid| {
        if let Ok(mut tracker) = tracker_of(starting.id) {
            tracker.started(starting.id.key(), pid);
        }
    };
    let mut spec = Spec {
        rlimits: &rlimits,
        envp: environment
            .as_ref()
            .map_or(spec.envp, CStringArray::as_array),
        cgroup: starting.cgroup.or(spec.cgroup),
        ..*spec
    };
    let told = Told::Keeping(starting.task, 0);
    let mut outcome = spawned::start_known(ctx, &spec, told, known);
    if let Err(error) = &outcome {
        if error.step == Some(Step::Cgroup) && starting.cgroup.is_some() && !exact {
            // The cgroup was made, but no process can be placed in it: the service goes
            // on without it.
            without_cgroup(starting.id, Errno::from_raw(error.errno));
            spec.cgroup = None;
            outcome = spawned::start_known(ctx, &spec, told, known);
        }
    }
    outcome.map(drop)
}

fn watch(task: TaskId, pid: i32) -> Result<WatchId, Error> {
    task::watch_child(task, pid, None, 0, true)
}

/// Removes a service whose start failed.
fn give_up(id: ServiceId) {
    let Ok(mut tracker) = tracker_of(id) else {
        return;
    };
    let task = tracker
        .extra_mut(id.key())
        .and_then(|extra| extra.task.take());
    tracker.ledger.abandon(id.key());
    let extra = tracker
        .extras
        .get_mut(id.key().index as usize)
        .and_then(Option::take);
    tracker.rest_if_idle();
    drop(tracker);
    drop(extra);
    if let Some(task) = task {
        task::remove(task);
    }
}

/// Makes a running child the first process of a new service. ESRCH where it is no child
/// of ours, EBUSY where a service has it. `begun` as for [`spawn`].
pub(crate) fn attach(
    ctx: ContextId,
    pid: i32,
    wish: Wish,
    sink: Sink,
    begun: impl FnOnce(ServiceId),
) -> Result<(), Error> {
    if !wait::is_child_pid(pid) {
        return Err(Errno::ESRCH.into());
    }
    let exact = wish.exact;
    let starting = begin(ctx, wish, sink)?;
    begun(starting.id);
    let attached = tracker_of(starting.id)
        .and_then(|mut tracker| tracker.attach(starting.id.key(), starting.task, pid, exact));
    starting.settle(attached.is_ok());
    attached
}

/// Ends the events of a service. None runs once this returns, but for the
/// caller's own. Its processes stay claimed until they are gone.
pub(crate) fn free(id: ServiceId) -> Result<(), Error> {
    let task = {
        let mut tracker = tracker_of(id)?;
        let Some(extra) = tracker.extra_mut(id.key()) else {
            return Ok(());
        };
        let Some(task) = extra.task.take() else {
            return Ok(());
        };
        task
    };
    // This ends the task's watches; the keeper makes them anew below. The lock is not
    // held, as a step in another thread may want it.
    task::remove(task);
    let mut tracker = tracker_of(id)?;
    tracker.ledger.silence(id.key());
    tracker.keep_watching(id.key());
    tracker.settle();
    Ok(())
}

/// The pids of a service's live processes, after a look.
pub(crate) fn pids(id: ServiceId, mut tell: impl FnMut(i32)) -> Result<(), Error> {
    let mut tracker = tracker_of(id)?;
    tracker.ledger.get(id.key()).ok_or(Errno::ESRCH)?;
    tracker.look()?;
    tracker.walk(Some(id.key().index), u64::MAX);
    let members = tracker.ledger.members(id.key().index);
    members.for_each(|process| tell(process.pid));
    Ok(())
}

/// The first and the main process, 0 for none, and what evidence is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) root: i32,
    pub(crate) main: i32,
    pub(crate) processes: u32,
    pub(crate) dead: bool,
    pub(crate) used: u32,
    pub(crate) refused: Refused,
    pub(crate) usage: Usage,
}

/// How many processes of a service are known and live now; without a look for more.
pub(crate) fn living(id: ServiceId) -> Result<u32, Error> {
    let tracker = tracker_of(id)?;
    tracker.ledger.get(id.key()).ok_or(Errno::ESRCH)?;
    Ok(tracker.living(id.key().index))
}

/// Whether a process of a service lives, other than the one whose end is being told. A
/// process that is dead but not reaped yet may have left a child, which the kernel then
/// gave to us. So this looks again until a look finds no further process. Where none is
/// known, not even a dead one, the look that came before each end was told is enough.
pub(crate) fn lives(id: ServiceId) -> Result<bool, Error> {
    let mut tracker = tracker_of(id)?;
    tracker.ledger.get(id.key()).ok_or(Errno::ESRCH)?;
    while tracker.living(id.key().index) == 0 {
        let known = tracker.ledger.get(id.key()).map(|one| one.processes);
        if known == Some(0) && tracker.agreed {
            return Ok(false);
        }
        match tracker.look_for_new() {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            // Children may have been missed. DEAD is told when a complete look finds none.
            Err(_) => return Ok(true),
        }
    }
    Ok(true)
}

/// How a service stands.
pub(crate) fn standing(id: ServiceId) -> Result<Standing, Error> {
    let tracker = tracker_of(id)?;
    let service = tracker.ledger.get(id.key()).ok_or(Errno::ESRCH)?;
    let extra = tracker.extra(id.key()).ok_or(Errno::ESRCH)?;
    Ok(Standing {
        root: service.root,
        main: service.main,
        processes: service.processes,
        dead: service.dead,
        used: extra.used,
        refused: extra.refused,
        usage: service.usage,
    })
}

pub(crate) fn check(id: ServiceId) -> Result<ContextId, Error> {
    let tracker = tracker_of(id)?;
    tracker
        .extra(id.key())
        .filter(|extra| extra.task.is_some())
        .map(|extra| extra.ctx)
        .ok_or(Errno::ESRCH.into())
}

/// For a kill: the lock, with what the ledger and the cgroup say.
pub(super) fn with<T>(
    id: ServiceId,
    f: impl FnOnce(&mut Tracker, Key) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut tracker = tracker_of(id)?;
    let key = id.key();
    tracker.ledger.get(key).ok_or(Errno::ESRCH)?;
    f(&mut tracker, key)
}

impl Tracker {
    fn new(depth: u32) -> Self {
        Tracker {
            depth,
            ledger: Ledger::default(),
            extras: Vec::new(),
            keepers: Vec::new(),
            connector: None,
            environment: false,
            children: Vec::new(),
            previous: Vec::new(),
            scratch: procfs::Scratch::default(),
            text: Vec::new(),
            walked: Vec::new(),
            foreign: HashTable::new(),
            unclaimed: Vec::new(),
            below: HashTable::new(),
            stopping: None,
            looks: 0,
            look_began: 0,
            agreed: true,
            short: false,
            told: Vec::new(),
            walk_from: 0,
            interval: SLOW_FIRST,
            slow_at: 0,
        }
    }

    fn extra(&self, key: Key) -> Option<&Extra> {
        self.ledger.get(key)?;
        self.extras.get(key.index as usize)?.as_ref()
    }

    fn extra_mut(&mut self, key: Key) -> Option<&mut Extra> {
        self.ledger.get(key)?;
        self.extras.get_mut(key.index as usize)?.as_mut()
    }

    pub(super) fn cgroup(&self, key: Key) -> Option<&Cgroup> {
        self.extra(key)?.cgroup.as_ref()
    }

    /// The user that a service's first process ran as, and the session of its main one.
    pub(super) fn owner_and_session(&self, key: Key) -> (u32, Option<i32>) {
        self.extra(key)
            .map_or((0, None), |extra| (extra.owner.unwrap_or(0), extra.session))
    }

    /// Notes a service's user and session from its main process, which may be a zombie. Later
    /// its pid may be a stranger's.
    pub(super) fn note_main(&mut self, service: u32) -> Result<(), Error> {
        let Some(main) = self.ledger.main_or_first(service) else {
            return Ok(());
        };
        let stat = unless_short(procfs::stat(main))?;
        let uid = unless_short(procfs::real_uid(main))?;
        if let Some(Some(extra)) = self.extras.get_mut(service as usize) {
            extra.session = stat.map(|stat| stat.session).or(extra.session);
            extra.owner = extra.owner.or(uid);
        }
        Ok(())
    }

    /// The context's keeper, made where there is none.
    fn keeper(&mut self, ctx: ContextId) -> Result<TaskId, Error> {
        if let Some(keeper) = self.keepers.iter().find(|keeper| keeper.ctx == ctx) {
            return Ok(keeper.task);
        }
        self.keepers.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let keeper = Arc::try_new(KeeperTask {
            ctx,
            known: AtomicBool::new(false),
            asking: AtomicI32::new(0),
        })?;
        let task = task::add(ctx, &keeper)?;
        keeper.known.store(true, Ordering::Relaxed);
        self.keepers.push(Keeper { ctx, task });
        // The time of the slow look was set for the other keepers only: it is to be set
        // anew.
        self.slow_at = 0;
        Ok(task)
    }

    /// Opens the connector, for as long as there are services.
    fn listen(&mut self, keeper: TaskId) -> Result<(), Error> {
        if self.connector.is_some() {
            return Ok(());
        }
        let connector = Connector::open()?;
        task::watch_fd(keeper, connector.fd().as_raw_fd(), Interest::READ)?;
        self.connector = Some(connector);
        Ok(())
    }

    fn close_connector(&mut self) {
        if let Some(connector) = self.connector.take() {
            self.unwatch(connector.fd().as_raw_fd());
        }
    }

    /// A later descriptor may have the same number, so this comes before each is closed.
    fn unwatch(&self, fd: i32) {
        for keeper in &self.keepers {
            task::unwatch_fd(keeper.task, fd);
        }
    }

    /// Once no service is left, closes the connector and leaves unknown children to the reaper.
    fn rest_if_idle(&mut self) {
        if self.ledger.services().next().is_none() {
            self.close_connector();
            self.environment = false;
            // One that the application was asked about may lie there for long, and is not asked
            // about again.
            self.foreign.retain(|known| known.asked);
            orphan::guard(self.depth, None);
        }
    }

    fn forget_foreign(&mut self, pid: i32) {
        if let Ok(entry) = self.foreign.find_entry(hash(pid), |known| known.pid == pid) {
            entry.remove();
        }
    }

    /// Looks at our children: each new one is attributed, or left to the application.
    pub(super) fn look(&mut self) -> Result<(), Error> {
        // The child that the reaper prompted us for is among our children by now.
        orphan::take_prompt(self.depth);
        // A process that was forked before its parent ended has its connector record by
        // now.
        self.read_connector();
        self.look_began = clock::now();
        let mut children = std::mem::take(&mut self.children);
        let read = self.read_children(&mut children);
        self.looks += 1;
        let done = read.and_then(|agreed| {
            self.agreed = agreed;
            // The youngest is last in the list.
            let first = children.last().filter(|_| self.stopping.is_some());
            for &pid in first.into_iter().chain(&children) {
                self.look_at(pid)?;
            }
            Ok(())
        });
        self.children = children;
        let look = self.looks;
        if done.is_ok() {
            self.foreign.retain(|known| known.look == look);
            self.told.retain(|told| told.look == look);
        }
        self.short = done.is_err();
        if self.short {
            self.agreed = false;
            self.look_again(AFTER_SHORTAGE);
        } else if !self.agreed {
            self.look_again(AGAIN);
        }
        self.tell();
        done
    }

    /// Reads our children; whether none can have been missed. One reading is enough where
    /// no other code could take a child out of the list meanwhile, and all children that
    /// we still watch are in it.
    fn read_children(&mut self, children: &mut Vec<i32>) -> Result<bool, Error> {
        std::mem::swap(&mut self.previous, children);
        let alone = procfs::own_children_once(children, &mut self.scratch)?;
        let ledger = &self.ledger;
        let mut rest = children.iter();
        let all_there = self
            .previous
            .iter()
            .filter(|&&pid| {
                let process = ledger.process(pid);
                process.is_some_and(|process| process.state == State::Ours)
            })
            .all(|pid| rest.any(|other| other == pid));
        if alone && all_there {
            return Ok(true);
        }
        procfs::own_children(children, &mut self.scratch)
    }

    fn look_at(&mut self, pid: i32) -> Result<(), Error> {
        let known = self.ledger.process(pid).map(|process| process.state);
        if matches!(known, Some(State::Ours | State::Ended)) {
            return Ok(());
        }
        if known.is_none() && (self.was_told(pid)? || self.is_foreign_still(pid)?) {
            return Ok(());
        }
        let mut kernel = Kernel {
            extras: &self.extras,
            text: &mut self.text,
            environment: self.environment,
        };
        // Opened before the pid is asked about: if the process still lives when the signal is
        // sent, it is the one that the answers were about.
        let pidfd = self.stopping.and_then(|_| pidfd::open(pid).ok());
        match look_at(&mut self.ledger, pid, &mut kernel)? {
            Verdict::Known | Verdict::Starting => {}
            Verdict::NotYet => self.agreed = false,
            Verdict::Adopted(service) => {
                if let Some(pidfd) = pidfd.filter(|_| self.stopping == Some(service)) {
                    let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGSTOP);
                }
                // Its parent is known if it was claimed by what was known of it while it
                // lived below.
                let process = self.ledger.process(pid);
                let known = match known {
                    Some(State::Below(known)) if process.is_some_and(|one| one.parent != 0) => {
                        Some(known)
                    }
                    _ => None,
                };
                self.take(service, pid, known);
            }
            Verdict::Unclaimed => {
                // If it is dead, the evidence that it carried may be gone, and its
                // children may have come to us after the list was read.
                self.agreed &= wait::lives(pid);
                self.add_foreign(pid)?;
            }
        }
        Ok(())
    }

    /// A process was attributed: watches it. `known` is its identity from when it lived
    /// below.
    fn take(&mut self, service: u32, pid: i32, known: Option<Identity>) {
        self.forget_foreign(pid);
        let held = self.take_below(pid);
        let extra = self.extras.get(service as usize).and_then(Option::as_ref);
        let Some(extra) = extra else {
            return;
        };
        let task = extra.task.unwrap_or(extra.keeper);
        if watch(task, pid).is_err() {
            self.agreed = false; // its children may not have been in the list
            // Somebody else reaped it in this moment: only its pidfd can say how it ended
            // (Linux 6.15). Or there is no memory.
            let inode = held
                .as_ref()
                .and_then(|fd| pidfd::inode_of_held(fd.as_fd()));
            let status = match (held, known, inode) {
                (Some(fd), Some(Identity::Inode(known)), Some(inode)) if known == inode => {
                    pidfd::exit_status(fd.as_fd())
                }
                _ => Exit::Unknown,
            };
            let status = match status {
                Exit::Known(status) => status,
                Exit::InFlight | Exit::Unknown => crate::reap::status::LOST,
            };
            self.ledger.ended(pid, status, Usage::default());
        }
        self.changed();
    }

    /// Whether a child is a zombie whose EXITED was told already. A look from within that
    /// callback still finds it, and would otherwise adopt it and tell its end again.
    fn was_told(&mut self, pid: i32) -> Result<bool, Error> {
        let look = self.looks;
        match self.told_at(pid) {
            Ok(at) => {
                let told = &mut self.told[at];
                let is_it = match told.identity {
                    None => wait::dead_status(pid).is_some(),
                    known => identity(pid)? == known,
                };
                told.look = look;
                Ok(is_it)
            }
            Err(_) => Ok(false),
        }
    }

    /// The EXITED of a process leaves the ledger, and the process with it.
    fn note_told(&mut self, pid: i32) {
        if wait::dead_status(pid).is_none() {
            return; // other code reaped it
        }
        let identity = match identity(pid) {
            Ok(None) => return,
            Ok(known) => known,
            Err(_) => None,
        };
        let look = self.looks;
        let told = ToldEnd {
            pid,
            identity,
            look,
        };
        match self.told_at(pid) {
            Ok(at) => self.told[at] = told,
            Err(at) if self.told.try_reserve(1).is_ok() => self.told.insert(at, told),
            Err(_) => {}
        }
    }

    fn told_at(&self, pid: i32) -> Result<usize, usize> {
        self.told.binary_search_by_key(&pid, |told| told.pid)
    }

    /// Whether a child that nobody claimed is still unclaimed. One that ended is given to
    /// the application. A pid may be another process's by now, so its tag is read again.
    fn is_foreign_still(&mut self, pid: i32) -> Result<bool, Error> {
        let look = self.looks;
        let Some(known) = self.foreign.find_mut(hash(pid), |known| known.pid == pid) else {
            return Ok(false);
        };
        let tag = rlimit_tag::soft(pid, &mut self.text)?;
        if tag.and_then(|tag| self.ledger.by_tag(tag)).is_some() {
            return Ok(false);
        }
        let asked = known.asked;
        let since = known.since;
        if asked
            && (wait::lives(pid) || known.identity.is_some() && identity(pid)? != known.identity)
        {
            return Ok(false); // another process has its pid by now
        }
        known.look = look;
        if !asked && wait::dead_status(pid).is_some() && !orphan::is_watched(self.depth, pid) {
            self.unclaimed_ended(pid);
        } else if asked && clock::now() - since > SPOKEN_OF_AFTER {
            self.speak_of(pid);
        }
        Ok(true)
    }

    fn add_foreign(&mut self, pid: i32) -> Result<(), Error> {
        self.forget_foreign(pid);
        self.foreign
            .try_reserve(1, |known| hash(known.pid))
            .map_err(|_| Errno::ENOMEM)?;
        let foreign = Foreign {
            pid,
            look: self.looks,
            since: clock::now(),
            asked: false,
            identity: None,
            spoken_of: false,
        };
        self.foreign
            .insert_unique(hash(pid), foreign, |known| hash(known.pid));
        if !orphan::is_watched(self.depth, pid) {
            self.ledger.orphans += 1;
            if wait::dead_status(pid).is_some() {
                self.unclaimed_ended(pid);
            }
        }
        Ok(())
    }

    fn unclaimed_ended(&mut self, pid: i32) {
        if self.unclaimed.try_reserve(1).is_err() {
            return;
        }
        self.unclaimed.push(pid);
        let now = clock::now();
        if let Some(known) = self.foreign.find_mut(hash(pid), |known| known.pid == pid) {
            known.asked = true;
            known.identity = identity(pid).unwrap_or(None);
            known.since = now;
        }
        for keeper in &self.keepers {
            task::post(keeper.task);
        }
    }

    fn speak_of(&mut self, pid: i32) {
        if let Some(known) = self.foreign.find_mut(hash(pid), |known| known.pid == pid) {
            if !std::mem::replace(&mut known.spoken_of, true) {
                orphan::note_left(self.depth, pid);
            }
        }
    }

    /// Walks below the members of one service, or of all, unless that costs too much now.
    /// What lives there is remembered, so that it is known when it becomes our child.
    pub(super) fn walk(&mut self, service: Option<u32>, at_most_at: u64) {
        if service.is_some_and(|service| !self.may_walk(service)) {
            return;
        }
        let begun = clock::now();
        if begun.max(at_most_at) < self.walk_from {
            return;
        }
        let mut stack = std::mem::take(&mut self.walked);
        stack.clear();
        let extras = &self.extras;
        let descends = |index: u32| {
            let extra = extras.get(index as usize).and_then(Option::as_ref);
            extra.is_some_and(|extra| extra.descent)
        };
        let members = self.ledger.begin_walk(service, &descends, &mut stack);
        if members.is_ok() {
            self.walk_cgroups(service);
            self.walk_from_members(&mut stack);
            self.forget_unseen();
        }
        self.walked = stack;
        self.walk_from = begun + (clock::now() - begun) * SHARE;
    }

    /// Whether, as far as we know, a service has no child of ours left, only processes
    /// below. If those are dead its DEAD is due, so a walk must not be put off.
    fn may_be_dead(&self, service: u32) -> bool {
        let mut members = self.ledger.members(service);
        self.may_walk(service) && members.all(|one| one.state != State::Ours)
    }

    /// Whether a service has members, and evidence by which some of them are known while
    /// they live below: those that are gone are to be forgotten.
    fn may_walk(&self, service: u32) -> bool {
        let extra = self.extras.get(service as usize).and_then(Option::as_ref);
        let known_below = extra.is_some_and(|extra| extra.cgroup.is_some() || extra.descent)
            || self.connector.is_some();
        known_below && self.ledger.at(service).is_some_and(|at| at.processes > 0)
    }

    /// Finds the processes that are in a service's cgroup and are no children of ours:
    /// these live below.
    fn walk_cgroups(&mut self, service: Option<u32>) {
        for index in 0..self.extras.len() {
            let at = u32::try_from(index).unwrap_or(u32::MAX);
            if service.is_some_and(|service| service != at) {
                continue;
            }
            let extra = self.extras[index].as_ref();
            let Some(cgroup) = extra.and_then(|extra| extra.cgroup.as_ref()) else {
                continue;
            };
            let mut found = Vec::new();
            if cgroup.members(&mut found).is_err() {
                continue;
            }
            for pid in found {
                let parent = procfs::stat(pid).map_or(0, |stat| stat.parent);
                if parent != 0 && parent != std::process::id().to_signed() {
                    self.add_below(at, pid, parent, Evidence::Cgroup);
                }
            }
        }
    }

    fn walk_from_members(&mut self, stack: &mut Vec<i32>) {
        let mut found = Vec::new();
        while let Some(pid) = stack.pop() {
            let Some(member) = self.ledger.process(pid).copied() else {
                continue;
            };
            found.clear();
            if procfs::children_of(pid, &mut found, &mut self.scratch).is_err() {
                continue;
            }
            for &child in &found {
                if self.add_below(member.service, child, pid, Evidence::Descent) {
                    if stack.try_reserve(1).is_ok() {
                        stack.push(child);
                    }
                }
            }
        }
    }

    /// A process lives below a member; whether it is new.
    fn add_below(&mut self, service: u32, pid: i32, parent: i32, evidence: Evidence) -> bool {
        let held = self.below.find(hash(pid), |(held, _)| *held == pid);
        let ended = held.map(|(_, fd)| pidfd::has_ended(fd.as_fd()));
        if ended == Some(true) {
            // The process that had this pid before has ended, perhaps in the same clock
            // tick. Its end was to prompt a look.
            self.ledger.vanished(pid);
            self.drop_below(pid);
            self.look_again(AGAIN);
        }
        let held = match self.ledger.process(pid).map(|process| process.state) {
            // The pid cannot be another process's as long as the process that is held
            // lives.
            Some(State::Below(identity)) if ended == Some(false) => Some(identity),
            _ => None,
        };
        let Some(identity) = held.or_else(|| identity(pid).ok().flatten()) else {
            return false;
        };
        let new = self
            .ledger
            .below(service, pid, parent, identity, evidence)
            .unwrap_or(false);
        if new {
            self.changed();
            self.hold_below(service, pid);
        }
        new
    }

    /// Has the end of a process below prompt a look, if there is a descriptor to
    /// spare.
    fn hold_below(&mut self, service: u32, pid: i32) {
        if self.below.len() >= orphan::spare_pidfds() {
            return;
        }
        let Some(extra) = self.extras.get(service as usize).and_then(Option::as_ref) else {
            return;
        };
        let keeper = extra.keeper;
        if self.below.try_reserve(1, |(pid, _)| hash(*pid)).is_err() {
            return;
        }
        let Ok(fd) = pidfd::open(pid) else {
            return;
        };
        // The low numbers are left to the daemon, which may use select(2).
        let fd = fd::duplicate_from(&fd, FD_SETSIZE).unwrap_or(fd);
        if task::watch_fd(keeper, fd.as_raw_fd(), Interest::READ).is_ok() {
            self.below
                .insert_unique(hash(pid), (pid, fd), |(pid, _)| hash(*pid));
        }
    }

    fn drop_below(&mut self, pid: i32) {
        drop(self.take_below(pid));
    }

    fn take_below(&mut self, pid: i32) -> Option<OwnedFd> {
        let entry = self.below.find_entry(hash(pid), |(held, _)| *held == pid);
        let ((_, fd), _) = entry.ok()?.remove();
        self.unwatch(fd.as_raw_fd());
        Some(fd)
    }

    /// Forgets those that a walk did not find and that are gone.
    fn forget_unseen(&mut self) {
        let mut unseen = Vec::new();
        if self.ledger.unseen(&mut unseen).is_err() {
            return;
        }
        for (pid, known) in unseen {
            if is_gone(pid, known) {
                self.ledger.vanished(pid);
                self.drop_below(pid);
            }
        }
    }

    /// The first process of a service runs.
    fn started(&mut self, key: Key, pid: i32) {
        self.forget_foreign(pid);
        self.ledger.started(key, pid);
        // In a shortage it is read again later.
        let _ = self.note_main(key.index);
        self.changed();
    }

    fn attach(&mut self, key: Key, task: TaskId, pid: i32, exact: bool) -> Result<(), Error> {
        self.look()?;
        if self.ledger.process(pid).is_some() {
            return Err(Errno::EBUSY.into());
        }
        match self.move_into_cgroup(key, pid) {
            Err(error) if exact => return Err(error),
            Err(error) => self.without_cgroup(key, error.errno),
            Ok(()) => {}
        }
        let tag = self.ledger.get(key).ok_or(Errno::ESRCH)?.tag;
        if let Some(extra) = self.extra_mut(key) {
            if extra.used & 1 << Evidence::Environment as u32 != 0 {
                extra.refused.environment = Errno::EOPNOTSUPP as i32;
                extra.used &= !(1 << Evidence::Environment as u32);
            }
        }
        let wanted = self
            .extra(key)
            .is_some_and(|extra| extra.used & 1 << Evidence::Tag as u32 != 0);
        let refused = if wanted {
            rlimit_tag::set(pid, tag).err()
        } else {
            None
        };
        if let (Some(error), Some(extra)) = (refused, self.extra_mut(key)) {
            extra.refused.tag = error.errno as i32;
            extra.used &= !(1 << Evidence::Tag as u32);
        }
        watch(task, pid)?;
        self.started(key, pid);
        self.walk(Some(key.index), u64::MAX);
        self.tag_below(key, pid);
        Ok(())
    }

    fn without_cgroup(&mut self, key: Key, errno: Errno) {
        if let Some(extra) = self.extra_mut(key) {
            extra.cgroup = None;
            extra.refused.cgroup = errno as i32;
            extra.used &= !(1 << Evidence::Cgroup as u32);
        }
    }

    /// Moves a process and all that live below it into the service's cgroup, if it has one.
    /// Children of those that were moved are born in it.
    fn move_into_cgroup(&mut self, key: Key, root: i32) -> Result<(), Error> {
        /// How many looks there are at most: one more is needed only where a process
        /// forked during a look.
        const LOOKS: u32 = 64;
        let extra = self.extras.get(key.index as usize).and_then(Option::as_ref);
        let Some(cgroup) = extra.and_then(|extra| extra.cgroup.as_ref()) else {
            return Ok(());
        };
        let me = std::process::id().to_signed();
        for _ in 0..LOOKS {
            let (mut left, mut found, mut moved) = (Vec::new(), Vec::new(), false);
            let mut next = Some((root, me));
            while let Some((pid, parent)) = next {
                // The pid may be another process's by now. It is not if the parent is
                // still the one it was found below, or ourselves.
                let stat = unless_short(procfs::stat(pid))?;
                if let Some(stat) = stat.filter(|stat| [parent, me].contains(&stat.parent)) {
                    let place = procfs::cgroup(pid, &mut self.text)?;
                    if place.is_some_and(|path| !cgroup.holds(path)) && !stat.is_dead() {
                        match cgroup.move_in(pid) {
                            Err(error) if error == Errno::ESRCH && pid != root => {}
                            done => done?,
                        }
                        moved = true;
                    }
                    found.clear();
                    unless_short(procfs::children_of(pid, &mut found, &mut self.scratch))?;
                    left.try_reserve(found.len()).map_err(|_| Errno::ENOMEM)?;
                    left.extend(found.iter().map(|&child| (child, pid)));
                }
                next = left.pop();
            }
            if !moved {
                break;
            }
        }
        Ok(())
    }

    /// Gives the tag to all that live below a process that was attached.
    fn tag_below(&mut self, key: Key, but: i32) {
        let Some(service) = self.ledger.get(key) else {
            return;
        };
        let wanted = self
            .extra(key)
            .is_some_and(|extra| extra.used & 1 << Evidence::Tag as u32 != 0);
        if !wanted {
            return;
        }
        for process in self.ledger.members(key.index) {
            if process.pid != but {
                let _ = rlimit_tag::set(process.pid, service.tag);
            }
        }
    }

    /// The service is silent: the keeper watches its processes from now on.
    fn keep_watching(&mut self, key: Key) {
        let Some(extra) = self.extra(key) else {
            return;
        };
        let keeper = extra.keeper;
        // One that cannot be watched may have been reaped when the watch before was ended:
        // no look has shown yet which children it left us.
        self.agreed &= self
            .ledger
            .keep_ours(key.index, |pid| watch(keeper, pid).is_ok());
    }

    /// A child of a service has ended: first looks for children that came to us by that,
    /// then writes the end down. Where a look fails for want of descriptors or memory, an
    /// end that is to be told is put off. Whether it is.
    fn child_ended(&mut self, end: ChildEnd, teller: Option<TaskId>) -> bool {
        let service = self.ledger.process(end.pid).map(|process| process.service);
        if let Some(service) = service {
            if self.ledger.main_or_first(service) == Some(end.pid) {
                let _ = self.note_main(service);
            }
        }
        // One look is enough for all that were dead before it began.
        if end.found >= self.look_began || !self.agreed {
            if let (Err(error), Some(task)) = (self.look(), teller) {
                let now = clock::now();
                if error.is_shortage() && now < clock::later(end.found, LONGEST_SHORTAGE) {
                    task::put_off(task, end, clock::later(now, AFTER_SHORTAGE));
                    return true;
                }
            }
        }
        let usage = end.usage.map_or(Usage::default(), |usage| Usage {
            user: usage.user_ns.unsigned_abs(),
            system: usage.system_ns.unsigned_abs(),
        });
        self.ledger.ended(end.pid, end.status, usage);
        if let Some(service) = service {
            let urgent = clock::now() < self.walk_from && self.may_be_dead(service);
            self.walk(Some(service), if urgent { u64::MAX } else { 0 });
        }
        self.changed();
        self.tell();
        false
    }

    /// Settles which services are dead, and which process is the main one.
    fn settle(&mut self) {
        if !self.agreed && self.look().is_err() {
            return;
        }
        if !self.agreed {
            return;
        }
        let mut kernel = Kernel {
            extras: &self.extras,
            text: &mut self.text,
            environment: self.environment,
        };
        self.ledger.settle(&mut kernel);
        self.drop_released();
        self.tell();
    }

    /// Drops the services whose last process is gone and whose handle was freed.
    fn drop_released(&mut self) {
        let mut any = false;
        for index in 0..self.extras.len() {
            let at = u32::try_from(index).unwrap_or(u32::MAX);
            if self.ledger.at(at).is_none() && self.extras[index].take().is_some() {
                any = true;
            }
        }
        if any {
            self.rest_if_idle();
        }
    }

    /// Has the services that got events make their callbacks, and has those settled that
    /// something happened to.
    fn tell(&mut self) {
        while let Some(index) = self.ledger.next_fresh() {
            if let Some(Some(extra)) = self.extras.get(index as usize) {
                if let Some(task) = extra.task {
                    task::post(task);
                }
            }
        }
        // Nothing can be settled after a look that failed. A deadline for the next is set.
        if !self.short && self.ledger.is_touched() {
            for keeper in &self.keepers {
                task::post(keeper.task);
            }
        }
    }

    /// Something changed: slow looks begin anew.
    fn changed(&mut self) {
        self.interval = SLOW_FIRST;
        self.look_again(SLOW_FIRST);
    }

    /// Has the keepers look in so many nanoseconds, or earlier.
    fn look_again(&mut self, after: u64) {
        let now = clock::now();
        let at = clock::later(now, after);
        if self.slow_at > now && self.slow_at <= at {
            return;
        }
        self.slow_at = at;
        for keeper in &self.keepers {
            task::set_deadline(keeper.task, Some(at));
        }
    }

    /// Looks, and says whether that found a process; EAGAIN where children may have been
    /// missed.
    pub(super) fn look_for_new(&mut self) -> Result<bool, Error> {
        let before = self.known();
        for _ in 0..MOST_LOOKS {
            self.look()?;
            if self.agreed {
                return Ok(self.known() != before);
            }
        }
        Err(Errno::EAGAIN.into())
    }

    /// Two counts, of which one at least changes when a look finds a process.
    fn known(&self) -> (u64, usize) {
        (self.ledger.orphans, self.ledger.len())
    }

    fn living(&self, index: u32) -> u32 {
        if self.ledger.at(index).is_none_or(|one| one.processes == 0) {
            return 0;
        }
        let members = self.ledger.members(index);
        let living = members.filter(|process| match process.state {
            State::Ended => false,
            State::Ours => wait::dead_status(process.pid).is_none(),
            State::Below(known) => !is_gone(process.pid, known),
        });
        u32::try_from(living.count()).unwrap_or(u32::MAX)
    }

    /// A look that nothing prompted.
    fn slow_look(&mut self) {
        if self.ledger.services().all(|(_, service)| service.dead) {
            self.slow_at = 0;
            return;
        }
        let before = self.known();
        let _ = self.look();
        self.walk(None, u64::MAX);
        self.touch_those_with_cgroups();
        self.interval = if before == self.known() {
            (self.interval * SLOWER).min(SLOW_LAST)
        } else {
            SLOW_FIRST
        };
        self.look_again(self.interval);
        self.tell();
    }

    /// A cgroup may have become empty, or a pid file been written, without an event.
    fn touch_those_with_cgroups(&mut self) {
        for (index, extra) in (0..).zip(&self.extras) {
            let cgroup = extra.as_ref().is_some_and(|extra| extra.cgroup.is_some());
            let has_pid_file = extra.as_ref().is_some_and(|extra| extra.pid_file.is_some());
            if cgroup || has_pid_file {
                self.ledger.touch(index);
            }
        }
    }

    /// A descriptor of the keeper's is readable.
    fn readable(&mut self, fd: i32) {
        let connector = self.connector.as_ref();
        if connector.is_some_and(|connector| connector.fd().as_raw_fd() == fd) {
            if self.read_connector() {
                let _ = self.look();
            }
            return;
        }
        let ended = self
            .below
            .iter()
            .find(|(_, held)| held.as_raw_fd() == fd)
            .map(|&(pid, _)| pid);
        if let Some(pid) = ended {
            self.drop_below(pid);
            let process = self.ledger.process(pid).copied();
            let _ = self.look();
            if let Some(process) = process {
                self.walk(Some(process.service), 0);
                // A walk may be put off.
                if let State::Below(known) = process.state {
                    if is_gone(pid, known) {
                        self.ledger.vanished(pid);
                        self.tell();
                    }
                }
            }
        }
    }

    /// Reads the connector's records in order: each fork below a member makes a new
    /// member. Whether a member ended, or may have.
    fn read_connector(&mut self) -> bool {
        let mut gone: Vec<(i32, u32)> = Vec::new();
        let mut prompted = false;
        for _ in 0..MOST_RECORDS {
            let Some(read) = self.connector.as_ref().map(Connector::read) else {
                return false;
            };
            match read {
                Ok(Read::Message(Message::Fork { parent, child })) => {
                    self.forked(parent, child, &mut gone);
                }
                Ok(Read::Message(Message::Exit { pid })) => {
                    prompted |= self.exited(pid) || gone.iter().any(|&(known, _)| known == pid);
                }
                Ok(Read::Message(_)) => {}
                Ok(Read::Overrun) => {
                    prompted = true;
                    self.walk(None, u64::MAX);
                }
                Ok(Read::Nothing) | Err(_) => break,
            }
        }
        prompted
    }

    /// A process ended, or, if the record is old, one that had this pid before. Whether it is
    /// a member. One below that its parent waits for is gone, and a fork by its pid is a
    /// stranger's from then on.
    fn exited(&mut self, pid: i32) -> bool {
        let Some(process) = self.ledger.process(pid) else {
            return false;
        };
        if let State::Below(known) = process.state {
            let held = self.below.find(hash(pid), |(held, _)| *held == pid);
            let ended = held.is_some_and(|(_, fd)| pidfd::has_ended(fd.as_fd()));
            let dead = procfs::stat(pid).map(|stat| stat.is_dead());
            // Another one that lives may have begun in the same clock tick.
            if is_gone(pid, known) || ended && dead == Ok(false) {
                self.ledger.vanished(pid);
                self.drop_below(pid);
            } else if dead == Ok(true) {
                self.ledger.note_dead(pid);
            }
        }
        true
    }

    fn forked(&mut self, parent: i32, child: i32, gone: &mut Vec<(i32, u32)>) {
        let service = match self.ledger.process(parent) {
            Some(process) if process.has_exited_below() => return,
            Some(process) => process.service,
            None => match gone.iter().rev().find(|&&(pid, _)| pid == parent) {
                Some(&(_, service)) => service,
                None => return,
            },
        };
        // The child's parent is the one that forked it or, if that has ended, whoever adopted
        // it: a member, or this process. Otherwise the record is old, and its pids belong to
        // other processes by now.
        if let Ok(stat) = procfs::stat(child) {
            let member = self.ledger.process(stat.parent);
            if stat.parent != std::process::id().to_signed()
                && member.is_none_or(|member| member.service != service)
            {
                return;
            }
        }
        self.add_below(service, child, parent, Evidence::ForkRecord);
        let missing = self.ledger.process(child).is_none();
        if missing && gone.try_reserve(1).is_ok() {
            gone.push((child, service));
        }
    }

    fn call(&mut self, id: ServiceId, sink: &Sink) -> Option<Call> {
        let key = id.key();
        loop {
            let what = self.ledger.next(key)?;
            match what {
                What::Exited { pid, .. } => self.note_told(pid),
                What::MainChanged { .. } => drop(self.note_main(key.index)),
                _ => {}
            }
            let service = self.ledger.get(key)?;
            let report = Report {
                id,
                what,
                root: service.root,
                processes: service.processes,
                usage: service.usage,
            };
            if let Some(call) = sink.call {
                return Some(Call::Event {
                    call,
                    source: sink.source,
                    record: (sink.record)(&report),
                    pvt: sink.pvt,
                });
            }
        }
    }

    /// A context is over, and with it its services' tasks.
    fn context_gone(&mut self, ctx: ContextId) {
        self.keepers.retain(|keeper| keeper.ctx != ctx);
        for index in 0..self.extras.len() {
            let gone = self.extras[index]
                .as_ref()
                .is_some_and(|extra| extra.ctx == ctx);
            if gone {
                let at = u32::try_from(index).unwrap_or(u32::MAX);
                if let Some(key) = self.ledger.key(at) {
                    self.ledger.abandon(key);
                }
                self.extras[index] = None;
            }
        }
        let ledger = &self.ledger;
        self.below
            .retain(|&mut (pid, _)| ledger.process(pid).is_some());
        let heir = self.keepers.first().map(|keeper| keeper.task);
        orphan::guard(self.depth, heir);
        self.rest_if_idle();
        // The keeper that is gone may be the one that watched it.
        if let (Some(connector), Some(heir)) = (&self.connector, heir) {
            let fd = connector.fd().as_raw_fd();
            self.unwatch(fd);
            let _ = task::watch_fd(heir, fd, Interest::READ);
        }
    }
}

struct ServiceTask {
    id: ServiceId,
    sink: Sink,
}

impl Task for ServiceTask {
    fn step(&self, why: Why) -> Option<Call> {
        let mut tracker = tracker_of(self.id).ok()?;
        if let Why::Child(end) = why {
            let me = tracker.extra(self.id.key()).and_then(|extra| extra.task);
            if tracker.child_ended(end, me) {
                return None;
            }
        }
        // If DEAD is next, tell it in a step of its own: the zombie of the last EXITED is
        // reaped only when this step is over.
        if why != Why::Posted && tracker.ledger.is_dead_next(self.id.key()) {
            if let Some(Some(task)) = tracker.extra(self.id.key()).map(|extra| extra.task) {
                task::post(task);
            }
            return None;
        }
        let call = tracker.call(self.id, &self.sink);
        if call.is_none() {
            tracker.tell();
        }
        call
    }
}

struct KeeperTask {
    ctx: ContextId,
    /// The tracker has it in its list. If not, its drop must not take the tracker's lock,
    /// which is held then.
    known: AtomicBool,
    /// The child that the daemon is being asked about.
    asking: AtomicI32,
}

impl Task for KeeperTask {
    fn step(&self, why: Why) -> Option<Call> {
        let mut tracker = tracker().ok()?;
        match why {
            Why::Child(end) => {
                tracker.child_ended(end, None);
            }
            Why::Readable(fd) => tracker.readable(fd),
            Why::Deadline => tracker.slow_look(),
            Why::Posted => {
                if orphan::is_prompted(tracker.depth) {
                    let _ = tracker.look();
                }
                tracker.settle();
            }
            Why::Answered(answer) => {
                if answer == REAP {
                    orphan::reap(tracker.depth, self.asking.load(Ordering::Relaxed));
                }
            }
            Why::Returned => {}
        }
        tracker.next_unclaimed(self.ctx, &self.asking)
    }
}

impl Drop for KeeperTask {
    fn drop(&mut self) {
        if !self.known.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(mut tracker) = tracker() {
            tracker.context_gone(self.ctx);
        }
    }
}

impl Tracker {
    /// The next ended child that nobody claims, as the scope wants it.
    fn next_unclaimed(&mut self, ctx: ContextId, asking: &AtomicI32) -> Option<Call> {
        // They are left to a context that can answer, if there is one: its keeper was posted
        // as well.
        let mut keepers = self.keepers.iter();
        if self.unclaimed.is_empty()
            || !orphan::answers(ctx) && keepers.any(|keeper| orphan::answers(keeper.ctx))
        {
            return None;
        }
        while let Some(pid) = self.unclaimed.pop() {
            match orphan::give(ctx, pid) {
                Given::Done => {}
                Given::Later => {
                    let known = self.foreign.find_mut(hash(pid), |known| known.pid == pid);
                    if let Some(known) = known {
                        known.asked = false;
                    }
                }
                Given::Ask(call) => {
                    asking.store(pid, Ordering::Relaxed);
                    return Some(call);
                }
            }
        }
        None
    }
}
